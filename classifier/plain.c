#include "classifier/plain.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64u /* alternatives and optional parts written out one in another */

struct byte_set {
    uint8_t bits[32];
};

struct written_row {
    bool is_unused, is_partial;
    unsigned length;
    uint8_t more[PLAIN_MAX_BYTES]; /* as in plain_row */
    struct byte_set sets[PLAIN_MAX_BYTES];
};

struct rows {
    unsigned count, depth;
    bool ignores_case;
    struct written_row row[PLAIN_MAX_ROWS];
};

/* ---- reading a pattern ---- */

static void add_range(struct byte_set *s, unsigned first, unsigned last)
{
    for (unsigned b = first; b <= last; b++)
        s->bits[b >> 3] |= (uint8_t)(1u << (b & 7));
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One character, escaped or not; -1 for what is no single byte (\d, \b ...). */
static int read_char(const char **text)
{
    const char *p = *text;
    if (*p != '\\') {
        *text = p + 1;
        return (uint8_t)*p;
    }
    static const char letters[] = "rntf", values[] = "\r\n\t\f";
    const char *letter = p[1] ? strchr(letters, p[1]) : NULL;
    int high = p[1] == 'x' ? hex_digit(p[2]) : -1, low = high < 0 ? -1 : hex_digit(p[3]);
    bool is_word = (p[1] >= '0' && p[1] <= '9') || (p[1] >= 'a' && p[1] <= 'z') || (p[1] >= 'A' && p[1] <= 'Z');
    if (low >= 0) {
        *text = p + 4;
        return high << 4 | low;
    }
    if (!p[1] || (is_word && !letter))
        return -1;
    *text = p + 2;
    return letter ? (uint8_t)values[letter - letters] : (uint8_t)p[1];
}

/* Each letter in both its cases. */
static void fold(struct byte_set *s)
{
    for (unsigned b = 'A'; b <= 'Z'; b++) {
        unsigned other = b | 0x20;
        bool has = (s->bits[b >> 3] >> (b & 7) | s->bits[other >> 3] >> (other & 7)) & 1;
        if (has) {
            add_range(s, b, b);
            add_range(s, other, other);
        }
    }
}

static bool read_class(const char **text, struct byte_set *set, bool ignores_case)
{
    const char *p = *text + 1;
    bool is_negated = *p == '^';
    p += is_negated;
    while (*p && *p != ']') {
        if (*p == '[')
            return false; /* perhaps a POSIX class */
        int first = read_char(&p), last = first;
        if (first >= 0 && p[0] == '-' && p[1] != ']') {
            p++;
            last = read_char(&p);
        }
        if (first < 0 || last < first)
            return false;
        add_range(set, (unsigned)first, (unsigned)last);
    }
    if (ignores_case)
        fold(set);
    for (unsigned i = 0; is_negated && i < sizeof set->bits; i++)
        set->bits[i] = (uint8_t)~set->bits[i];
    *text = p + 1;
    return *p == ']';
}

/* \d and \s */
static bool read_shorthand(const char **text, struct byte_set *set)
{
    char letter = (*text)[0] == '\\' ? (*text)[1] : 0;
    if (letter == 'd') {
        add_range(set, '0', '9');
    } else if (letter == 's') {
        add_range(set, '\t', '\r');
        add_range(set, ' ', ' ');
    } else {
        return false;
    }
    *text += 2;
    return true;
}

static bool read_set(const char **text, struct byte_set *set, bool ignores_case)
{
    memset(set, 0, sizeof *set);
    if (read_shorthand(text, set))
        return true;
    if (**text == '[')
        return read_class(text, set, ignores_case);
    if (**text == '.') {
        add_range(set, 0, 255);
        (*text)++;
        return true;
    }
    if (strchr("()|*+?{}^$", **text))
        return false;
    int byte = read_char(text);
    if (byte < 0)
        return false;
    add_range(set, (unsigned)byte, (unsigned)byte);
    if (ignores_case)
        fold(set);
    return true;
}

/* The end of the alternative at p: its '|' or the ')' of its group; NULL when it does not close. */
static const char *end_of_alternative(const char *p)
{
    unsigned depth = 0;
    for (; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '[') {
            while (*p && *p != ']')
                p += *p == '\\' && p[1] ? 2 : 1;
            if (!*p)
                return NULL;
        } else if (*p == '(')
            depth++;
        else if (*p == ')' && depth-- == 0)
            return p;
        else if (*p == '|' && depth == 0)
            return p;
    }
    return NULL;
}

static void expand(struct rows *rows, unsigned row, const char *text);

/* Goes on with another row, a copy of the one so far, over the text "head rest"; where there is no room this one ends. */
static bool fork_row(struct rows *rows, unsigned row, const char *head, size_t head_size, const char *rest)
{
    if (rows->count == PLAIN_MAX_ROWS || rows->depth == MAX_DEPTH) {
        rows->row[row].is_partial = true;
        return false;
    }
    size_t rest_size = strlen(rest);
    char *text = malloc(head_size + rest_size + 1);
    if (!text)
        abort();
    memcpy(text, head, head_size);
    memcpy(text + head_size, rest, rest_size + 1);
    rows->row[rows->count] = rows->row[row];
    rows->depth++;
    expand(rows, rows->count++, text);
    rows->depth--;
    free(text);
    return true;
}

/* At "(?:": each alternative in a row of its own, which take this one's place. */
static void expand_group(struct rows *rows, unsigned row, const char *text)
{
    const char *alternative = text + 3, *close = alternative, *end;
    while ((close = end_of_alternative(close)) && *close == '|')
        close++;
    const char *rest = close ? close + 1 : "";
    if (!close || (*rest && strchr("*+{", *rest))) {
        rows->row[row].is_partial = true;
        return;
    }
    if (*rest == '?' && !fork_row(rows, row, "", 0, ++rest))
        return;
    if (*rest && strchr("?+", *rest)) { /* "(?:a)??" */
        rows->row[row].is_partial = true;
        return;
    }
    for (end = end_of_alternative(alternative); end != close; end = end_of_alternative(alternative)) {
        if (!fork_row(rows, row, alternative, (size_t)(end - alternative), rest))
            return;
        alternative = end + 1;
    }
    rows->row[row].is_unused = fork_row(rows, row, alternative, (size_t)(close - alternative), rest);
}

static bool meet(const struct byte_set *a, const struct byte_set *b)
{
    for (unsigned i = 0; i < sizeof a->bits; i++)
        if (a->bits[i] & b->bits[i])
            return true;
    return false;
}

/*
 * False when the row cannot go on so. What comes after a repeated set must not be in that set: then the repetition takes all
 * it finds, and there is nothing to try again.
 */
static bool append(struct written_row *row, const struct byte_set *set, unsigned long times, unsigned long more)
{
    if (row->length && row->more[row->length - 1] && meet(&row->sets[row->length - 1], set))
        return false;
    for (; times > 0 && row->length < PLAIN_MAX_BYTES; times--) {
        row->more[row->length] = 0;
        row->sets[row->length++] = *set;
    }
    if (row->length)
        row->more[row->length - 1] = (uint8_t)(more < PLAIN_ANY_MORE ? more : PLAIN_ANY_MORE);
    return !times && (more < PLAIN_ANY_MORE || more == ULONG_MAX);
}

/* Behind a set: how often it may stand there. False for what is none of "", "?", "*", "+", "{2}", "{2,}", "{2,5}". */
static bool read_times(const char **text, unsigned long *ret_least, unsigned long *ret_most)
{
    const char *p = *text;
    *ret_least = *p == '?' || *p == '*' ? 0 : 1;
    *ret_most = *p == '*' || *p == '+' ? ULONG_MAX : 1;
    bool is_counted = *p == '{';
    if (is_counted) {
        char *end;
        *ret_least = *ret_most = strtoul(p + 1, &end, 10);
        if (end == p + 1)
            return false;
        if (*end == ',')
            *ret_most = end[1] == '}' ? ULONG_MAX : strtoul(end + 1, &end, 10);
        end += *end == ',';
        if (*end != '}' || *ret_most < *ret_least || !*ret_most)
            return false;
        p = end;
    }
    if (is_counted || (*p && strchr("?*+", *p)))
        p++;
    *text = p;
    return !*p || !strchr("?*+{", *p);
}

/* A row that ends before its text does is partial: the pattern begins so, and may not go on so. */
static void expand(struct rows *rows, unsigned row, const char *text)
{
    struct written_row *r = &rows->row[row];
    while (*text) {
        if (!strncmp(text, "(?:", 3)) {
            expand_group(rows, row, text);
            return;
        }
        struct byte_set set;
        unsigned long least, most;
        r->is_partial = !read_set(&text, &set, rows->ignores_case);
        if (r->is_partial)
            return;
        bool has_times = read_times(&text, &least, &most);
        if (has_times && !least && !fork_row(rows, row, "", 0, text))
            return;
        least += !least;
        if (!has_times || !append(r, &set, least, most == ULONG_MAX ? most : most - least)) {
            r->is_partial = true;
            return;
        }
    }
}

static struct rows *rows_of(const char *regex)
{
    struct rows *rows = malloc(sizeof *rows); /* much of it is never used: a row is set when it is begun */
    if (!rows)
        abort();
    rows->count = 1;
    rows->depth = 0;
    memset(&rows->row[0], 0, sizeof rows->row[0]);
    rows->ignores_case = !strncmp(regex, "(?i)", 4);
    char *whole = NULL;
    /* alternatives at the top are those of a group around everything */
    if (asprintf(&whole, "(?:%s)", regex + (rows->ignores_case ? 4 : 0)) < 0)
        abort();
    expand(rows, 0, whole);
    free(whole);
    return rows;
}

bool plain_fits(const char *regex)
{
    struct rows *rows = rows_of(regex);
    bool fits = true;
    for (unsigned i = 0; i < rows->count; i++)
        fits &= rows->row[i].is_unused || !rows->row[i].is_partial;
    free(rows);
    return fits;
}

bool plain_is_fixed(const char *regex)
{
    struct rows *rows = rows_of(regex);
    bool is_fixed = true;
    for (unsigned i = 0; i < rows->count; i++)
        for (unsigned k = 0; !rows->row[i].is_unused && k <= rows->row[i].length; k++)
            is_fixed &= !rows->row[i].is_partial && !(k && rows->row[i].more[k - 1]);
    free(rows);
    return is_fixed;
}

/* ---- the table ---- */

#define INTERN_SLOTS 131072u /* of the hash by which equal sets are found; twice the sets there can be */

struct builder {
    struct plain_table *table;
    uint32_t slots[INTERN_SLOTS]; /* index + 1; 0 = free */
};

static uint32_t hash_of(const struct byte_set *set)
{
    uint64_t hash = 0, word;
    for (unsigned i = 0; i < sizeof set->bits; i += sizeof word) {
        memcpy(&word, set->bits + i, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 32;
    }
    return (uint32_t)hash;
}

static uint16_t intern(struct builder *b, const struct byte_set *set)
{
    struct plain_table *t = b->table;
    uint32_t slot = hash_of(set) % INTERN_SLOTS;
    for (; b->slots[slot]; slot = (slot + 1) % INTERN_SLOTS)
        if (!memcmp(t->sets[b->slots[slot] - 1], set->bits, sizeof set->bits))
            return (uint16_t)(b->slots[slot] - 1);
    b->slots[slot] = t->set_count + 1;
    if (!(t->set_count & (t->set_count - 1))) { /* a power of two: full */
        t->sets = realloc(t->sets, (t->set_count ? t->set_count * 2 : 1) * sizeof *t->sets);
        if (!t->sets)
            abort();
    }
    memcpy(t->sets[t->set_count], set->bits, sizeof set->bits);
    return (uint16_t)t->set_count++;
}

static unsigned width(const struct byte_set *set)
{
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof set->bits; i++)
        n += (unsigned)__builtin_popcount(set->bits[i]);
    return n;
}

/* Of the first bytes the bits that are the same in all of a set; what those do not say becomes a test. */
static void find_tests(struct plain_row *row, const struct written_row *written)
{
    unsigned widths[PLAIN_MAX_BYTES];
    for (unsigned at = 0; at < row->fixed; at++) {
        const struct byte_set *set = &written->sets[at];
        unsigned any = 0, all = 255, w = width(set), fixed_bits = 0;
        for (unsigned byte = 0; byte < 256; byte++)
            if (set->bits[byte >> 3] >> (byte & 7) & 1) {
                any |= byte;
                all &= byte;
            }
        if (at < PLAIN_HEAD_BYTES) {
            fixed_bits = ~(any ^ all) & 255;
            row->mask |= (uint64_t)fixed_bits << 8 * at;
            row->value |= (uint64_t)(all & fixed_bits) << 8 * at;
        }
        if (w == 256u >> __builtin_popcount(fixed_bits))
            continue;
        unsigned i = row->test_count++;
        for (; i > 0 && widths[i - 1] > w; i--) {
            widths[i] = widths[i - 1];
            row->test_at[i] = row->test_at[i - 1];
        }
        widths[i] = w;
        row->test_at[i] = (uint8_t)at;
    }
}

static void add_row(struct builder *b, uint32_t pattern, struct written_row *written)
{
    struct plain_table *t = b->table;
    if (!(t->row_count & (t->row_count - 1))) {
        t->rows = realloc(t->rows, (t->row_count ? t->row_count * 2 : 1) * sizeof *t->rows);
        if (!t->rows)
            abort();
    }
    if (!written->length) { /* every pattern takes a byte at least */
        memset(&written->sets[0], 0xff, sizeof written->sets[0]);
        written->length = 1;
    }
    written->more[written->length - 1] = 0; /* nothing comes after it */
    struct plain_row *row = &t->rows[t->row_count++];
    *row = (struct plain_row){
        .pattern = (uint16_t)pattern, .is_partial = written->is_partial, .length = (uint8_t)written->length};
    for (unsigned i = 0; i < written->length; i++) {
        row->sets[i] = intern(b, &written->sets[i]);
        row->more[i] = written->more[i];
        if (!row->repeats)
            row->fixed++;
        row->repeats |= row->more[i] != 0;
    }
    find_tests(row, written);
}

static bool begins_with(const struct plain_table *t, const struct plain_row *row, unsigned byte)
{
    return t->sets[row->sets[0]][byte >> 3] >> (byte & 7) & 1;
}

/* Counts, sums up, fills in. */
static void index_rows(struct plain_table *t, const struct pack *pack, unsigned transport, unsigned side)
{
    uint32_t *start = t->by_first[transport][side].start, fill[256];
    struct plain_entry *list = NULL;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < t->row_count; i++) {
            const struct pack_pattern *p = &pack->patterns[t->rows[i].pattern];
            if (!pack_applies(&pack->rules[p->rule], p->slot, transport, side))
                continue;
            const struct plain_row *row = &t->rows[i];
            struct plain_entry entry = {.mask = row->mask,
                                        .value = row->value,
                                        .row = i,
                                        .pattern = row->pattern,
                                        .length = row->length,
                                        .is_more = row->test_count || row->repeats || row->is_partial};
            bool is_one = (row->mask & 255) == 255; /* the one byte that it begins with */
            unsigned first = is_one ? row->value & 255 : 0, last = is_one ? first : 255;
            for (unsigned byte = first; byte <= last; byte++)
                if (!begins_with(t, row, byte))
                    continue;
                else if (pass == 0)
                    start[byte + 1]++;
                else
                    list[fill[byte]++] = entry;
        }
        for (unsigned byte = 0; pass == 0 && byte < 256; byte++) {
            start[byte + 1] += start[byte];
            fill[byte] = start[byte];
        }
        if (pass == 0)
            list = calloc(start[256] + 1, sizeof *list);
        if (!list)
            abort();
    }
    t->by_first[transport][side].list = list;
}

void plain_build(struct plain_table *t, const struct pack *pack, bool chains)
{
    memset(t, 0, sizeof *t);
    struct builder *b = calloc(1, sizeof *b);
    if (!b)
        abort();
    b->table = t;
    for (uint32_t i = 0; i < pack->pattern_count; i++) {
        bool is_chain = pack->rules[pack->patterns[i].rule].chain.count != 0;
        if (!pack_is_prefix(pack->patterns[i].slot) || is_chain != chains)
            continue;
        struct rows *rows = rows_of(pack->patterns[i].regex);
        for (unsigned r = 0; r < rows->count; r++)
            if (!rows->row[r].is_unused && b->table->set_count + PLAIN_MAX_BYTES < UINT16_MAX)
                add_row(b, i, &rows->row[r]);
        free(rows);
    }
    free(b);
    for (unsigned transport = 0; transport < PACK_TRANSPORTS; transport++)
        for (unsigned side = 0; side < PACK_SIDES; side++)
            index_rows(t, pack, transport, side);
}

void plain_free(struct plain_table *t)
{
    for (unsigned transport = 0; transport < PACK_TRANSPORTS; transport++)
        for (unsigned side = 0; side < PACK_SIDES; side++)
            free(t->by_first[transport][side].list);
    free(t->sets);
    free(t->rows);
    memset(t, 0, sizeof *t);
}

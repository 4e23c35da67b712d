#include "classifier/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64u /* alternatives and optional parts written out one in another */

struct byte_set {
    uint8_t bits[32];
};

struct rows {
    unsigned count, depth;
    struct {
        unsigned length;
        struct byte_set sets[PLAIN_MAX_BYTES];
    } row[PLAIN_MAX_ROWS];
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

static bool read_class(const char **text, struct byte_set *set)
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
    for (unsigned i = 0; is_negated && i < sizeof set->bits; i++)
        set->bits[i] = (uint8_t)~set->bits[i];
    *text = p + 1;
    return *p == ']';
}

static bool read_set(const char **text, struct byte_set *set)
{
    memset(set, 0, sizeof *set);
    if (**text == '[')
        return read_class(text, set);
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

static bool expand(struct rows *rows, unsigned row, const char *text);

/* Goes on with another row, a copy of the one so far, over the text "head rest". */
static bool fork_row(struct rows *rows, unsigned row, const char *head, size_t head_size, const char *rest)
{
    if (rows->count == PLAIN_MAX_ROWS || rows->depth == MAX_DEPTH)
        return false;
    size_t rest_size = strlen(rest);
    char *text = malloc(head_size + rest_size + 1);
    if (!text)
        abort();
    memcpy(text, head, head_size);
    memcpy(text + head_size, rest, rest_size + 1);
    rows->row[rows->count] = rows->row[row];
    rows->depth++;
    bool ok = expand(rows, rows->count++, text);
    rows->depth--;
    free(text);
    return ok;
}

/* At "(?:": each alternative but the last in a row of its own, the last in this one. */
static bool expand_group(struct rows *rows, unsigned row, const char *text)
{
    const char *alternative = text + 3, *close = alternative, *end;
    while ((close = end_of_alternative(close)) && *close == '|')
        close++;
    if (!close)
        return false;
    const char *rest = close + 1;
    if (*rest && strchr("*+{", *rest))
        return false;
    if (*rest == '?' && !fork_row(rows, row, "", 0, ++rest))
        return false;
    for (end = end_of_alternative(alternative); end != close; end = end_of_alternative(alternative)) {
        if (!fork_row(rows, row, alternative, (size_t)(end - alternative), rest))
            return false;
        alternative = end + 1;
    }
    unsigned last = rows->count;
    if (!fork_row(rows, row, alternative, (size_t)(close - alternative), rest))
        return false;
    rows->row[row] = rows->row[last]; /* a fork's own first row is complete: it takes this one's place */
    rows->row[last].length = 0;
    return true;
}

static bool append(struct rows *rows, unsigned row, const struct byte_set *set, unsigned long times)
{
    if (times > PLAIN_MAX_BYTES || rows->row[row].length + times > PLAIN_MAX_BYTES)
        return false;
    while (times--)
        rows->row[row].sets[rows->row[row].length++] = *set;
    return true;
}

static bool expand(struct rows *rows, unsigned row, const char *text)
{
    while (*text) {
        if (!strncmp(text, "(?:", 3))
            return expand_group(rows, row, text);
        struct byte_set set;
        if (!read_set(&text, &set))
            return false;
        unsigned long times = 1;
        if (*text == '{') {
            char *end;
            times = strtoul(text + 1, &end, 10);
            if (*end != '}' || end == text + 1)
                return false;
            text = end + 1;
        }
        if (*text && strchr("*+{", *text))
            return false;
        if (*text == '?' && !fork_row(rows, row, "", 0, ++text))
            return false;
        if (!append(rows, row, &set, times))
            return false;
    }
    return true;
}

static struct rows *rows_of(const char *regex)
{
    struct rows *rows = malloc(sizeof *rows);
    if (!rows)
        abort();
    rows->count = 1;
    rows->depth = 0;
    rows->row[0].length = 0;
    char *whole = NULL;
    /* alternatives at the top are those of a group around everything */
    if (asprintf(&whole, "(?:%s)", regex) < 0)
        abort();
    bool ok = expand(rows, 0, whole);
    free(whole);
    if (ok)
        return rows;
    free(rows);
    return NULL;
}

bool plain_fits(const char *regex)
{
    struct rows *rows = rows_of(regex);
    free(rows);
    return rows != NULL;
}

/* ---- the table ---- */

#define INTERN_SLOTS 16384u /* of the hash by which equal sets are found; more than twice the sets there can be */

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

static void add_row(struct builder *b, uint32_t pattern, unsigned length, const struct byte_set *sets)
{
    struct plain_table *t = b->table;
    if (!(t->row_count & (t->row_count - 1))) {
        t->rows = realloc(t->rows, (t->row_count ? t->row_count * 2 : 1) * sizeof *t->rows);
        if (!t->rows)
            abort();
    }
    struct plain_row *row = &t->rows[t->row_count++];
    *row = (struct plain_row){.pattern = (uint16_t)pattern, .length = (uint8_t)length};
    unsigned narrowest[2] = {257, 257};
    for (unsigned i = 0; i < length; i++) {
        row->sets[i] = intern(b, &sets[i]);
        unsigned w = width(&sets[i]);
        if (w < narrowest[0]) {
            narrowest[1] = narrowest[0];
            row->key_at[1] = row->key_at[0];
            narrowest[0] = w;
            row->key_at[0] = (uint8_t)i;
        } else if (w < narrowest[1]) {
            narrowest[1] = w;
            row->key_at[1] = (uint8_t)i;
        }
    }
}

static bool begins_with(const struct plain_table *t, const struct plain_row *row, unsigned byte)
{
    return t->sets[row->sets[0]][byte >> 3] >> (byte & 7) & 1;
}

/* Counts, sums up, fills in. */
static void index_rows(struct plain_table *t, const struct pack *pack, unsigned transport, unsigned side)
{
    uint32_t *start = t->by_first[transport][side].start, fill[256];
    uint16_t *list = NULL;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < t->row_count; i++) {
            const struct pack_pattern *p = &pack->patterns[t->rows[i].pattern];
            if (!pack_applies(&pack->rules[p->rule], p->slot, transport, side))
                continue;
            for (unsigned byte = 0; byte < 256; byte++)
                if (!begins_with(t, &t->rows[i], byte))
                    continue;
                else if (pass == 0)
                    start[byte + 1]++;
                else
                    list[fill[byte]++] = (uint16_t)i;
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
        if (!pack->patterns[i].is_plain || is_chain != chains)
            continue;
        struct rows *rows = rows_of(pack->patterns[i].regex);
        for (unsigned r = 0; rows && r < rows->count; r++)
            if (rows->row[r].length && t->row_count < UINT16_MAX && t->set_count + PLAIN_MAX_BYTES < INTERN_SLOTS / 2)
                add_row(b, i, rows->row[r].length, rows->row[r].sets);
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

#include <stdlib.h>
#include <string.h>

#include "classifier/inspect.h"
#include "classifier/pack_source.h"
#include "classifier/plain.h"

const char *const pack_transport_names[] = {"tcp", "udp", "any", NULL};
const char *const pack_compare_names[] = {"equal", "at_least", "at_most", NULL};
const char *const pack_endian_names[] = {"big", "little", NULL};
static const char *const side_names[] = {"client", "server", "any", NULL};
static const char *const then_side_names[] = {"same", "other", NULL};

#define CONDITION_KEYS                                                                                                 \
    {.name = "prefix", .type = YML_TYPE_STRINGS}, {.name = "search", .type = YML_TYPE_STRINGS},                        \
        {.name = "within", .type = YML_TYPE_U64, .min = 1, .max = CL_STREAM_MAX_BYTES},                                \
        {.name = "length", .type = YML_TYPE_ANY}, {.name = "length_field", .type = YML_TYPE_ANY},                      \
        {.name = "bytes", .type = YML_TYPE_LIST},                                                                      \
    {                                                                                                                  \
        .name = "fields", .type = YML_TYPE_LIST                                                                        \
    }
#define CLAUSE_KEYS                                                                                                    \
    CONDITION_KEYS, {.name = "from", .type = YML_TYPE_CHOICE, .choices = side_names},                                  \
        {.name = "transport", .type = YML_TYPE_CHOICE, .choices = pack_transport_names},                               \
        {.name = "port", .type = YML_TYPE_ANY}, {.name = "port_hint", .type = YML_TYPE_ANY},                           \
        {.name = "confidence", .type = YML_TYPE_U64, .min = 1, .max = 99}, {.name = "chain", .type = YML_TYPE_MAP},    \
    {                                                                                                                  \
        .name = "then", .type = YML_TYPE_MAP                                                                           \
    }

const struct yml_key pack_signature_keys[] = {
    {.name = "id", .type = YML_TYPE_U64, .required = true, .min = 1, .max = PACK_IP_PROTOCOL_SIGNATURE_ID - 1},
    {.name = "name", .type = YML_TYPE_STRING},
    {.name = "over", .type = YML_TYPE_STRING},
    {.name = "later", .type = YML_TYPE_BOOL},
    {.name = "midflow", .type = YML_TYPE_BOOL},
    {.name = "inspector", .type = YML_TYPE_STRING},
    {.name = "any_of", .type = YML_TYPE_LIST},
    {.name = "examples", .type = YML_TYPE_LIST},
    CLAUSE_KEYS,
    {.name = NULL},
};
static const struct yml_key clause_keys[] = {CLAUSE_KEYS, {.name = NULL}};
static const struct yml_key then_keys[] = {
    {.name = "from", .type = YML_TYPE_CHOICE, .required = true, .choices = then_side_names},
    {.name = "same", .type = YML_TYPE_LIST},
    {.name = "step", .type = YML_TYPE_LIST},
    {.name = "or_none", .type = YML_TYPE_BOOL},
    CONDITION_KEYS,
    {.name = NULL},
};

#define AT_KEYS                                                                                                        \
    {                                                                                                                  \
        .name = "at", .type = YML_TYPE_STRING, .required = true, .expected = "an offset in bytes"                      \
    }
#define FIELD_KEYS                                                                                                     \
    AT_KEYS, {.name = "size", .type = YML_TYPE_U64, .required = true, .min = 1, .max = 8},                             \
    {                                                                                                                  \
        .name = "endian", .type = YML_TYPE_CHOICE, .choices = pack_endian_names                                        \
    }
static const struct yml_key bytes_keys[] = {
    AT_KEYS, {.name = "hex", .type = YML_TYPE_STRING}, {.name = "text", .type = YML_TYPE_STRING}, {.name = NULL}};
static const struct yml_key field_keys[] = {
    FIELD_KEYS,
    {.name = "mask", .type = YML_TYPE_U64},
    {.name = "equals", .type = YML_TYPE_U64},
    {.name = "min", .type = YML_TYPE_U64},
    {.name = "max", .type = YML_TYPE_U64},
    {.name = NULL},
};
static const struct yml_key length_field_keys[] = {
    FIELD_KEYS,
    {.name = "mask", .type = YML_TYPE_U64},
    {.name = "unit", .type = YML_TYPE_U64, .min = 1, .max = 65536},
    {.name = "plus", .type = YML_TYPE_STRING, .expected = "a number of bytes"},
    {.name = "is", .type = YML_TYPE_CHOICE, .choices = pack_compare_names},
    {.name = NULL},
};
static const struct yml_key same_keys[] = {
    AT_KEYS,
    {.name = "size", .type = YML_TYPE_U64, .required = true, .min = 1, .max = 16},
    {.name = "first_at", .type = YML_TYPE_U64, .max = PACK_HEAD_BYTES - 1},
    {.name = NULL},
};
static const struct yml_key step_keys[] = {
    FIELD_KEYS,
    {.name = "first_at", .type = YML_TYPE_U64, .max = PACK_HEAD_BYTES - 1},
    {.name = "min", .type = YML_TYPE_U64},
    {.name = "max", .type = YML_TYPE_U64, .required = true},
    {.name = NULL},
};

static const struct yml_key chain_keys[] = {
    {.name = "at", .type = YML_TYPE_U64, .required = true, .max = PLAIN_MAX_BYTES - 1},
    {.name = "size", .type = YML_TYPE_U64, .required = true, .min = 1, .max = 8},
    {.name = "endian", .type = YML_TYPE_CHOICE, .choices = pack_endian_names},
    {.name = "mask", .type = YML_TYPE_U64},
    {.name = "unit", .type = YML_TYPE_U64, .min = 1, .max = 65536},
    {.name = "plus", .type = YML_TYPE_STRING, .expected = "a number of bytes"},
    {.name = "max", .type = YML_TYPE_U64, .min = 1, .max = UINT32_MAX},
    {.name = "count", .type = YML_TYPE_U64, .required = true, .min = 1, .max = 16},
    {.name = "resync", .type = YML_TYPE_BOOL},
    {.name = NULL},
};

/* ---- numbers ---- */

static bool read_number(const char **text, uint32_t max, uint32_t *ret)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    unsigned long value = strtoul(*text, &end, 10);
    if (value > max)
        return false;
    *ret = (uint32_t)value;
    *text = end;
    return true;
}

bool pack_read_range(struct pack_source *s, const struct yml_node *node, uint32_t max, uint32_t open,
                     struct pack_range *ret)
{
    struct pack_range range = {0, 0};
    const char *p = node->text ? node->text : "";
    bool ok = read_number(&p, max, &range.first);
    range.last = range.first;
    if (ok && !strncmp(p, "..", 2)) {
        p += 2;
        if (!*p && open)
            range.last = open;
        else
            ok = read_number(&p, max, &range.last);
    }
    if (!ok || *p || range.last < range.first)
        return yml_fail(s->error, node, "\"%.40s\", expected N%s or N..M, numbers up to %u",
                        node->text ? node->text : "a list or map", open ? ", N.." : "", max);
    *ret = range;
    return true;
}

static bool read_ranges(struct pack_source *s, const struct yml_node *node, uint32_t max, uint32_t open,
                        struct pack_ranges *ret)
{
    uint32_t count = node->kind == YML_LIST ? node->length : 1;
    if (!count || count > PACK_MAX_RANGES)
        return yml_fail(s->error, node, "%s: %u numbers or ranges, expected 1 to %u", node->key, count,
                        PACK_MAX_RANGES);
    ret->list = pack_alloc(s->pack, count * sizeof *ret->list);
    const struct yml_node *item = node->kind == YML_LIST ? node->first : node;
    for (ret->count = 0; ret->count < count; item = item->next)
        if (!pack_read_range(s, item, max, open, &ret->list[ret->count++]))
            return false;
    return true;
}

static bool read_signed(struct pack_source *s, const struct yml_node *map, const char *key, int32_t *ret)
{
    const struct yml_node *node = yml_get(map, key);
    if (!node)
        return true;
    char *end;
    long value = strtol(node->text, &end, 10);
    if (*end || end == node->text || value < -65536 || value > 65536)
        return yml_fail(s->error, node, "%s: \"%.40s\", expected a number of bytes from -65536 to 65536", key,
                        node->text);
    *ret = (int32_t)value;
    return true;
}

/* ---- conditions other than patterns ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_bytes_check(struct pack_source *s, const struct yml_node *node, struct pack_check *check)
{
    if (!yml_check_map(node, bytes_keys, "bytes", s->error) || !read_signed(s, node, "at", &check->at))
        return false;
    const struct yml_node *hex = yml_get(node, "hex"), *text = yml_get(node, "text");
    if (!hex == !text)
        return yml_fail(s->error, node, "bytes, expected either \"hex\" or \"text\"");
    const char *p = hex ? hex->text : text->text;
    uint32_t size = 0;
    while (*p) {
        if (hex && *p == ' ') {
            p++;
            continue;
        }
        if (size == PACK_CHECK_BYTES)
            return yml_fail(s->error, node, "too many bytes, expected at most %u", PACK_CHECK_BYTES);
        if (!hex) {
            check->bytes[size++] = (uint8_t)*p++;
            continue;
        }
        int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);
        if (low < 0)
            return yml_fail(s->error, hex, "hex: \"%.40s\", expected pairs of hexadecimal digits", hex->text);
        check->bytes[size++] = (uint8_t)(high << 4 | low);
        p += 2;
    }
    if (!size)
        return yml_fail(s->error, node, "no bytes, expected 1 to %u", PACK_CHECK_BYTES);
    check->kind = PACK_BYTES;
    check->size = (uint8_t)size;
    return true;
}

static bool read_field(struct pack_source *s, const struct yml_node *node, const struct yml_key *keys, const char *what,
                       struct pack_check *check)
{
    if (!yml_check_map(node, keys, what, s->error) || !read_signed(s, node, "at", &check->at))
        return false;
    check->size = (uint8_t)yml_get_u64(node, "size", 1);
    check->little = (uint8_t)yml_get_choice(node, "endian", pack_endian_names, 0);
    check->mask = yml_get_u64(node, "mask", UINT64_MAX);
    check->max = UINT64_MAX;
    check->first_at = (uint32_t)yml_get_u64(node, "first_at", check->at < 0 ? 0 : (uint32_t)check->at);
    return true;
}

static bool read_field_check(struct pack_source *s, const struct yml_node *node, struct pack_check *check)
{
    if (!read_field(s, node, field_keys, "a field", check))
        return false;
    const struct yml_node *equals = yml_get(node, "equals"), *min = yml_get(node, "min"), *max = yml_get(node, "max");
    if (!equals == (!min && !max))
        return yml_fail(s->error, node, "a field, expected either \"equals\" or \"min\" and \"max\"");
    check->kind = PACK_FIELD;
    check->min = yml_get_u64(node, equals ? "equals" : "min", 0);
    check->max = yml_get_u64(node, equals ? "equals" : "max", UINT64_MAX);
    if (check->max < check->min)
        return yml_fail(s->error, max, "max is under min, expected it at or over");
    return true;
}

static bool read_length_field(struct pack_source *s, const struct yml_node *node, struct pack_check *check)
{
    if (!read_field(s, node, length_field_keys, "a length_field", check) || !read_signed(s, node, "plus", &check->plus))
        return false;
    check->kind = PACK_LENGTH_FIELD;
    check->unit = (uint32_t)yml_get_u64(node, "unit", 1);
    check->compare = (uint8_t)yml_get_choice(node, "is", pack_compare_names, PACK_EQUAL);
    return true;
}

static bool read_first_at(struct pack_source *s, const struct yml_node *node, const struct pack_check *check)
{
    if (check->first_at + check->size <= PACK_HEAD_BYTES)
        return true;
    return yml_fail(s->error, node, "compares past byte %u of the first packet, expected an offset within it",
                    PACK_HEAD_BYTES);
}

static bool read_same_check(struct pack_source *s, const struct yml_node *node, struct pack_check *check)
{
    if (!read_field(s, node, same_keys, "a same", check))
        return false;
    check->kind = PACK_SAME;
    return read_first_at(s, node, check);
}

static bool read_step_check(struct pack_source *s, const struct yml_node *node, struct pack_check *check)
{
    if (!read_field(s, node, step_keys, "a step", check))
        return false;
    check->kind = PACK_STEP;
    check->min = yml_get_u64(node, "min", 0);
    check->max = yml_get_u64(node, "max", 0);
    return read_first_at(s, node, check);
}

typedef bool read_check(struct pack_source *s, const struct yml_node *node, struct pack_check *check);

static bool read_checks(struct pack_source *s, const struct yml_node *list, read_check *read, struct pack_step *step)
{
    const struct yml_node *item = !list ? NULL : list->kind == YML_LIST ? list->first : list;
    for (; item; item = list->kind == YML_LIST ? item->next : NULL) {
        if (step->check_count == PACK_MAX_CHECKS)
            return yml_fail(s->error, item, "too many conditions, expected at most %u", PACK_MAX_CHECKS);
        if (!step->checks)
            step->checks = pack_alloc(s->pack, PACK_MAX_CHECKS * sizeof *step->checks);
        if (!read(s, item, &step->checks[step->check_count++]))
            return false;
    }
    return true;
}

/* ---- patterns ---- */

static bool add_pattern(struct pack_source *s, const struct yml_node *node, enum pack_slot slot, uint32_t within)
{
    char why[200];
    bool is_prefix = slot == PACK_SLOT_PREFIX || slot == PACK_SLOT_THEN_PREFIX;
    if (!pack_check_pattern(node->text, is_prefix, why, sizeof why))
        return yml_fail(s->error, node, "%s", why);
    if (s->patterns.count == PACK_MAX_PATTERNS)
        return yml_fail(s->error, node, "too many patterns, expected at most %u", PACK_MAX_PATTERNS);
    struct pack_pattern *p = pack_vector_add(&s->patterns, sizeof *p);
    *p = (struct pack_pattern){.regex = pack_strdup(s->pack, node->text), .within = within, .slot = (uint8_t)slot};
    p->rule = (uint16_t)(s->rules.count - 1);
    p->is_plain = is_prefix && plain_fits(node->text);
    p->file = node->file;
    p->line = node->line;
    p->column = node->column;
    return true;
}

/* Alternatives of one slot; adds the longest's length to the rule's specificity. */
static bool read_patterns(struct pack_source *s, const struct yml_node *node, enum pack_slot slot, uint32_t within,
                          struct pack_step *step, size_t *specificity)
{
    size_t longest = 0;
    const struct yml_node *item = !node ? NULL : node->kind == YML_LIST ? node->first : node;
    if (node && !item)
        return yml_fail(s->error, node, "%s: an empty list, expected patterns", node->key);
    for (; item; item = node->kind == YML_LIST ? item->next : NULL) {
        if (!add_pattern(s, item, slot, within))
            return false;
        size_t size = strlen(item->text);
        longest = size > longest ? size : longest;
    }
    if (node)
        step->slots |= (uint8_t)(1u << slot);
    *specificity += longest;
    return true;
}

/* ---- clauses ---- */

/* The clause's member, else the signature's. */
static const struct yml_node *pick(const struct yml_node *clause, const struct yml_node *signature, const char *key)
{
    const struct yml_node *node = clause ? yml_get(clause, key) : NULL;
    return node ? node : yml_get(signature, key);
}

static bool read_conditions(struct pack_source *s, const struct yml_node *map, struct pack_step *step)
{
    const struct yml_node *length = yml_get(map, "length");
    if (length && !read_ranges(s, length, 65535, 65535, &step->lengths))
        return false;
    return read_checks(s, yml_get(map, "length_field"), read_length_field, step) &&
           read_checks(s, yml_get(map, "bytes"), read_bytes_check, step) &&
           read_checks(s, yml_get(map, "fields"), read_field_check, step);
}

static bool read_then(struct pack_source *s, const struct yml_node *node, struct pack_rule *rule, size_t *specificity)
{
    if (!node)
        return true;
    if (!yml_check_map(node, then_keys, "a second packet (then)", s->error))
        return false;
    rule->has_then = 1;
    rule->then_other = yml_get_choice(node, "from", then_side_names, 1) == 1;
    if (!rule->then_other && rule->transports & 1u << PACK_TCP)
        return yml_fail(s->error, node, "a second packet of the same side, expected it with transport: udp only");
    rule->or_none = yml_get_bool(node, "or_none", false);
    if (rule->or_none && rule->then_other)
        return yml_fail(s->error, node, "or_none, expected it with from: same only");
    uint32_t within = (uint32_t)yml_get_u64(node, "within", 0);
    if (!read_conditions(s, node, &rule->then) ||
        !read_checks(s, yml_get(node, "same"), read_same_check, &rule->then) ||
        !read_checks(s, yml_get(node, "step"), read_step_check, &rule->then) ||
        !read_patterns(s, yml_get(node, "prefix"), PACK_SLOT_THEN_PREFIX, 0, &rule->then, specificity) ||
        !read_patterns(s, yml_get(node, "search"), PACK_SLOT_THEN_SEARCH, within, &rule->then, specificity))
        return false;
    if (!rule->then.slots && !rule->then.check_count && !rule->then.lengths.count)
        return yml_fail(s->error, node, "a second packet without conditions, expected at least one");
    return true;
}

static bool read_chain(struct pack_source *s, const struct yml_node *node, struct pack_rule *rule)
{
    struct pack_chain *k = &rule->chain;
    if (!node)
        return true;
    if (!yml_check_map(node, chain_keys, "a chain", s->error) || !read_signed(s, node, "plus", &k->plus))
        return false;
    k->at = (uint8_t)yml_get_u64(node, "at", 0);
    k->size = (uint8_t)yml_get_u64(node, "size", 1);
    k->little = (uint8_t)yml_get_choice(node, "endian", pack_endian_names, 0);
    k->mask = yml_get_u64(node, "mask", UINT64_MAX);
    k->unit = (uint32_t)yml_get_u64(node, "unit", 1);
    k->max = (uint32_t)yml_get_u64(node, "max", 65536);
    k->count = (uint8_t)yml_get_u64(node, "count", 1);
    k->resync = yml_get_bool(node, "resync", false);
    bool is_row = rule->first.slots == 1u << PACK_SLOT_PREFIX;
    for (uint32_t i = s->patterns.count; i > 0; i--) {
        const struct pack_pattern *p = &((struct pack_pattern *)s->patterns.items)[i - 1];
        if (p->rule == s->rules.count - 1)
            is_row &= plain_is_fixed(p->regex);
    }
    bool is_alone = !rule->inspector && !rule->has_then && !rule->first.check_count && !rule->first.lengths.count;
    if (!is_row || !is_alone || !rule->midflow || rule->transports != 1u << PACK_TCP || rule->sides != 3)
        return yml_fail(s->error, node,
                        "a chain, expected it in a signature of TCP from any side with \"midflow\" and a plain row "
                        "of bytes as \"prefix\", and no other conditions but ports");
    return true;
}

static uint8_t bits_of(unsigned choice, unsigned both)
{
    return choice == both ? (uint8_t)((1u << both) - 1) : (uint8_t)(1u << choice);
}

static unsigned choice_of(const struct yml_node *node, const char *const *choices, unsigned missing)
{
    for (unsigned i = 0; node && choices[i]; i++)
        if (!strcmp(node->text, choices[i]))
            return i;
    return missing;
}

/* `clause` NULL: the signature is its only clause. */
static bool read_rule(struct pack_source *s, const struct yml_node *clause, const struct yml_node *signature,
                      cl_signature index, uint8_t inspector)
{
    const struct yml_node *at = clause ? clause : signature;
    if (s->rules.count == PACK_MAX_RULES)
        return yml_fail(s->error, at, "too many clauses, expected at most %u", PACK_MAX_RULES);
    pack_vector_add(&s->rules, sizeof(struct pack_rule));
    struct pack_rule rule = {.signature = index, .inspector = inspector};
    rule.later = yml_get_bool(signature, "later", false);
    if (rule.later && (inspector || !yml_get(signature, "over") || pick(clause, signature, "then")))
        return yml_fail(s->error, at, "later, expected it with \"over\", without \"inspector\" and \"then\"");
    rule.midflow = yml_get_bool(signature, "midflow", false);
    const struct yml_node *confidence = pick(clause, signature, "confidence");
    uint64_t value = 90, within = 0;
    if (confidence)
        yml_parse_u64(confidence, &value);
    rule.confidence = (uint8_t)value;
    rule.transports =
        bits_of(choice_of(pick(clause, signature, "transport"), pack_transport_names, PACK_TCP), PACK_TRANSPORTS);
    rule.sides = bits_of(choice_of(pick(clause, signature, "from"), side_names, PACK_SIDES), PACK_SIDES);
    const struct yml_node *port = pick(clause, signature, "port"), *hint = pick(clause, signature, "port_hint");
    if ((port && !read_ranges(s, port, 65535, 0, &rule.ports)) ||
        (hint && !read_ranges(s, hint, 65535, 0, &rule.port_hints)))
        return false;
    if ((clause && !read_conditions(s, clause, &rule.first)) || !read_conditions(s, signature, &rule.first))
        return false;
    const struct yml_node *within_node = pick(clause, signature, "within");
    if (within_node)
        yml_parse_u64(within_node, &within);
    size_t specificity = 0;
    if (!read_patterns(s, pick(clause, signature, "prefix"), PACK_SLOT_PREFIX, 0, &rule.first, &specificity) ||
        !read_patterns(s, pick(clause, signature, "search"), PACK_SLOT_SEARCH, (uint32_t)within, &rule.first,
                       &specificity) ||
        !read_then(s, pick(clause, signature, "then"), &rule, &specificity) ||
        !read_chain(s, pick(clause, signature, "chain"), &rule))
        return false;
    if (!rule.first.slots)
        return yml_fail(s->error, at, "no pattern, expected \"prefix\" or \"search\": a signature looks at content");
    specificity += 8u * (rule.first.check_count + rule.then.check_count + (rule.first.lengths.count != 0) +
                         (rule.ports.count != 0) + rule.chain.count);
    rule.specificity = (uint16_t)(specificity > UINT16_MAX ? UINT16_MAX : specificity);
    ((struct pack_rule *)s->rules.items)[s->rules.count - 1] = rule;
    return true;
}

/* ---- examples ---- */

struct buffer {
    uint8_t bytes[4096];
    uint32_t size;
};

/* \xHH \r \n \t \\, and \pad(N): zeroes up to N bytes. */
static bool read_escape(const char **text, struct buffer *out)
{
    const char *p = *text;
    uint32_t total;
    if (!strncmp(p, "pad(", 4)) {
        p += 4;
        if (!read_number(&p, sizeof out->bytes, &total) || *p != ')' || total < out->size)
            return false;
        memset(out->bytes + out->size, 0, total - out->size);
        out->size = total;
        *text = p + 1;
        return true;
    }
    static const char letters[] = "rnt\\", values[] = "\r\n\t\\";
    const char *letter = *p ? strchr(letters, *p) : NULL;
    int high = *p == 'x' ? hex_digit(p[1]) : -1, low = high < 0 ? -1 : hex_digit(p[2]);
    if (!letter && low < 0)
        return false;
    out->bytes[out->size++] = letter ? (uint8_t)values[letter - letters] : (uint8_t)(high << 4 | low);
    *text = p + (letter ? 1 : 3);
    return true;
}

static bool read_payload(struct pack_source *s, const struct yml_node *node, struct pack_example *example)
{
    struct buffer out = {.size = 0};
    const char *p = node->text;
    bool ok = p && *p;
    while (ok && *p) {
        if (out.size == sizeof out.bytes)
            ok = false;
        else if (*p != '\\')
            out.bytes[out.size++] = (uint8_t)*p++;
        else {
            p++;
            ok = read_escape(&p, &out);
        }
    }
    if (!ok || example->packet_count == 4)
        return yml_fail(s->error, node,
                        "not a payload, expected up to 4 of 1 to %zu bytes each, with \\xHH \\r \\n \\t \\\\ \\pad(N)",
                        sizeof out.bytes);
    example->packet[example->packet_count].bytes = pack_alloc(s->pack, out.size);
    memcpy(example->packet[example->packet_count].bytes, out.bytes, out.size);
    example->packet[example->packet_count].size_bytes = out.size;
    example->packet_count++;
    return true;
}

static const struct yml_key example_keys[] = {
    {.name = "packets", .type = YML_TYPE_STRINGS, .required = true},
    {.name = "from", .type = YML_TYPE_CHOICE, .choices = side_names},
    {.name = "transport", .type = YML_TYPE_CHOICE, .choices = pack_transport_names},
    {.name = "port", .type = YML_TYPE_U64, .min = 1, .max = 65535},
    {.name = NULL},
};

/* A text, a list of texts (packets), or a map that says more. */
static bool read_example(struct pack_source *s, const struct yml_node *node, cl_signature index,
                         const struct pack_rule *rule)
{
    const struct yml_node *packets = node;
    if (node->kind == YML_MAP) {
        if (!yml_check_map(node, example_keys, "an example", s->error))
            return false;
        packets = yml_get(node, "packets");
    }
    struct pack_example *example = pack_alloc(s->pack, sizeof *example);
    example->signature = index;
    example->file = node->file;
    example->line = node->line;
    example->side = rule->sides & 1u << PACK_CLIENT ? PACK_CLIENT : PACK_SERVER;
    example->transport = rule->transports & 1u << PACK_TCP ? PACK_TCP : PACK_UDP;
    example->client_port = 50000;
    example->server_port = rule->ports.count ? (uint16_t)rule->ports.list[0].first : 50001;
    if (node->kind == YML_MAP) {
        example->side = (uint8_t)yml_get_choice(node, "from", side_names, example->side);
        example->transport = (uint8_t)yml_get_choice(node, "transport", pack_transport_names, example->transport);
        example->server_port = (uint16_t)yml_get_u64(node, "port", example->server_port);
    }
    const struct yml_node *item = packets->kind == YML_LIST ? packets->first : packets;
    for (; item; item = packets->kind == YML_LIST ? item->next : NULL) {
        bool turned = example->packet_count % 2 && rule->has_then && rule->then_other;
        if (example->packet_count < 4)
            example->packet[example->packet_count].side = turned ? !example->side : example->side;
        if (!read_payload(s, item, example))
            return false;
    }
    if (example->side >= PACK_SIDES || example->transport >= PACK_TRANSPORTS)
        return yml_fail(s->error, node, "an example from any side or transport, expected one of them");
    example->next = s->pack->examples;
    s->pack->examples = example;
    return true;
}

bool pack_read_signature(struct pack_source *s, const struct yml_node *node, cl_signature index)
{
    unsigned inspector = 0;
    const struct yml_node *name = yml_get(node, "inspector");
    if (name) {
        while (cl_inspectors[inspector] && strcmp(cl_inspectors[inspector]->name, name->text))
            inspector++;
        if (!cl_inspectors[inspector])
            return yml_fail(s->error, name, "inspector: \"%.40s\", expected one that this program has", name->text);
        inspector++;
    }
    uint32_t first_rule = s->rules.count;
    const struct yml_node *any_of = yml_get(node, "any_of");
    if (any_of && !any_of->first)
        return yml_fail(s->error, any_of, "any_of: an empty list, expected clauses");
    if (!any_of && !read_rule(s, NULL, node, index, (uint8_t)inspector))
        return false;
    for (const struct yml_node *clause = any_of ? any_of->first : NULL; clause; clause = clause->next)
        if (!yml_check_map(clause, clause_keys, "a clause", s->error) ||
            !read_rule(s, clause, node, index, (uint8_t)inspector))
            return false;
    const struct yml_node *examples = yml_get(node, "examples");
    const struct pack_rule *rule = &((struct pack_rule *)s->rules.items)[first_rule];
    for (const struct yml_node *e = examples ? examples->first : NULL; e; e = e->next)
        if (!read_example(s, e, index, rule))
            return false;
    return true;
}

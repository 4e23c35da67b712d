#include "base/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define YML_MAX_KEY_BYTES 64u

/* ---- errors ---- */

static void set_error(struct yml_error *error, const char *file, size_t line, size_t column, const char *format,
                      va_list args)
{
    int n = snprintf(error->text, sizeof error->text, "%s:%zu:%zu: ", file, line, column);
    if (n >= 0 && (size_t)n < sizeof error->text)
        vsnprintf(error->text + n, sizeof error->text - (size_t)n, format, args);
}

bool yml_fail(struct yml_error *error, const struct yml_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_error(error, node->file, node->line, node->column, format, args);
    va_end(args);
    return false;
}

bool yml_fail_at_key(struct yml_error *error, const struct yml_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_error(error, node->file, node->key ? node->key_line : node->line, node->key ? node->key_column : node->column,
              format, args);
    va_end(args);
    return false;
}

/* ---- reading ---- */

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *file;
    struct yml_error *error;
    uint32_t nodes;
};

__attribute__((format(printf, 3, 4))) static bool fail_mark(struct reader *r, yaml_mark_t mark, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_error(r->error, r->file, mark.line + 1, mark.column + 1, format, args);
    va_end(args);
    return false;
}

static bool next_event(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return true;
    memset(&r->event, 0, sizeof r->event);
    const char *problem = r->parser.problem ? r->parser.problem : "cannot be read as YAML";
    if (r->parser.error == YAML_READER_ERROR) {
        yaml_mark_t mark = r->parser.mark;
        return fail_mark(r, mark, "%s, expected YAML in UTF-8", problem);
    }
    return fail_mark(r, r->parser.problem_mark, "%s%s%s", problem, r->parser.context ? " " : "",
                     r->parser.context ? r->parser.context : "");
}

static struct yml_node *new_node(struct reader *r, enum yml_kind kind)
{
    if (r->nodes == YML_MAX_NODES) {
        fail_mark(r, r->event.start_mark, "too many values, expected at most %u", YML_MAX_NODES);
        return NULL;
    }
    r->nodes++;
    struct yml_node *node = calloc(1, sizeof *node);
    if (!node)
        abort();
    node->file = r->file;
    node->kind = (uint8_t)kind;
    node->line = (uint32_t)r->event.start_mark.line + 1;
    node->column = (uint32_t)r->event.start_mark.column + 1;
    return node;
}

static char *copy_text(const yaml_event_t *event)
{
    char *text = strndup((const char *)event->data.scalar.value, event->data.scalar.length);
    if (!text)
        abort();
    return text;
}

static bool check_scalar(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    if (e->data.scalar.anchor)
        return fail_mark(r, e->start_mark, "an anchor (&), expected a value written out");
    if (e->data.scalar.tag)
        return fail_mark(r, e->start_mark, "a tag (!), expected a value without one");
    if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
        return fail_mark(r, e->start_mark, "a zero byte inside a text");
    return true;
}

static struct yml_node *read_node(struct reader *r, unsigned depth);

/* The current event is the key. Returns it as text that the caller frees. */
static char *read_key(struct reader *r, const struct yml_node *map)
{
    yaml_mark_t mark = r->event.start_mark;
    if (r->event.type != YAML_SCALAR_EVENT) {
        fail_mark(r, mark, r->event.type == YAML_ALIAS_EVENT ? "an alias (*), expected a key" : "expected a key");
        return NULL;
    }
    if (!check_scalar(r))
        return NULL;
    if (!r->event.data.scalar.length || r->event.data.scalar.length > YML_MAX_KEY_BYTES) {
        fail_mark(r, mark, "a key of %zu bytes, expected 1 to %u", r->event.data.scalar.length, YML_MAX_KEY_BYTES);
        return NULL;
    }
    if (map->length == YML_MAX_KEYS) {
        fail_mark(r, mark, "too many keys, expected at most %u in one map", YML_MAX_KEYS);
        return NULL;
    }
    for (const struct yml_node *n = map->first; n; n = n->next)
        if (!strcmp(n->key, (const char *)r->event.data.scalar.value)) {
            fail_mark(r, mark, "\"%s\" a second time, the first is at line %u", n->key, n->key_line);
            return NULL;
        }
    return copy_text(&r->event);
}

static bool read_members(struct reader *r, struct yml_node *parent, unsigned depth)
{
    yaml_event_type_t end = parent->kind == YML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    struct yml_node **link = &parent->first;
    while (next_event(r)) {
        if (r->event.type == end)
            return true;
        char *key = NULL;
        yaml_mark_t mark = r->event.start_mark;
        if (parent->kind == YML_MAP) {
            key = read_key(r, parent);
            if (!key)
                return false;
            if (!next_event(r)) {
                free(key);
                return false;
            }
        }
        struct yml_node *child = read_node(r, depth + 1);
        if (!child) {
            free(key);
            return false;
        }
        child->key = key;
        child->key_line = (uint32_t)mark.line + 1;
        child->key_column = (uint32_t)mark.column + 1;
        *link = child;
        link = &child->next;
        parent->length++;
    }
    return false;
}

static struct yml_node *read_scalar(struct reader *r)
{
    if (!check_scalar(r))
        return NULL;
    struct yml_node *node = new_node(r, YML_SCALAR);
    if (!node)
        return NULL;
    node->text = copy_text(&r->event);
    node->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

/* The current event starts the node. */
static struct yml_node *read_node(struct reader *r, unsigned depth)
{
    const yaml_event_t *e = &r->event;
    if (e->type == YAML_SCALAR_EVENT)
        return read_scalar(r);
    if (e->type == YAML_ALIAS_EVENT) {
        fail_mark(r, e->start_mark, "an alias (*), expected a value written out");
        return NULL;
    }
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    if (is_map ? e->data.mapping_start.anchor != NULL : e->data.sequence_start.anchor != NULL) {
        fail_mark(r, e->start_mark, "an anchor (&), expected a value written out");
        return NULL;
    }
    if (is_map ? e->data.mapping_start.tag != NULL : e->data.sequence_start.tag != NULL) {
        fail_mark(r, e->start_mark, "a tag (!), expected a value without one");
        return NULL;
    }
    if (depth >= YML_MAX_DEPTH) {
        fail_mark(r, e->start_mark, "nested too deep, expected at most %u levels", YML_MAX_DEPTH);
        return NULL;
    }
    struct yml_node *node = new_node(r, is_map ? YML_MAP : YML_LIST);
    if (node && !read_members(r, node, depth)) {
        yml_free(node);
        return NULL;
    }
    return node;
}

static struct yml_node *read_document(struct reader *r)
{
    /* stream start, document start, the root */
    if (!next_event(r) || !next_event(r))
        return NULL;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        fail_mark(r, r->event.start_mark, "nothing in the file, expected keys and values");
        return NULL;
    }
    if (!next_event(r))
        return NULL;
    struct yml_node *root = read_node(r, 0);
    if (!root)
        return NULL;
    /* document end, stream end */
    if (next_event(r) && next_event(r)) {
        if (r->event.type == YAML_STREAM_END_EVENT)
            return root;
        fail_mark(r, r->event.start_mark, "a second document, expected one a file");
    }
    yml_free(root);
    return NULL;
}

struct yml_node *yml_read_memory(const char *file, const void *bytes, size_t size_bytes, struct yml_error *error)
{
    struct reader r = {.file = file, .error = error};
    if (size_bytes > YML_MAX_BYTES) {
        snprintf(error->text, sizeof error->text, "%s:1:1: a file of %zu bytes, expected at most %u", file, size_bytes,
                 YML_MAX_BYTES);
        return NULL;
    }
    if (!yaml_parser_initialize(&r.parser))
        abort();
    yaml_parser_set_input_string(&r.parser, bytes, size_bytes);
    struct yml_node *root = read_document(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return root;
}

struct yml_node *yml_read_file(const char *file, struct yml_error *error)
{
    FILE *in = fopen(file, "rbe");
    char *bytes = in ? malloc(YML_MAX_BYTES + 1) : NULL;
    if (in && !bytes)
        abort();
    size_t size_bytes = in ? fread(bytes, 1, YML_MAX_BYTES + 1, in) : 0;
    struct yml_node *root = NULL;
    if (!in || ferror(in))
        snprintf(error->text, sizeof error->text, "%s:1:1: cannot be read: %s", file, strerror(errno));
    else
        root = yml_read_memory(file, bytes, size_bytes, error);
    if (in)
        fclose(in);
    free(bytes);
    return root;
}

void yml_free(struct yml_node *node)
{
    while (node) {
        struct yml_node *next = node->next;
        yml_free(node->first); /* depth is bounded by the reader */
        free(node->key);
        free(node->text);
        free(node);
        node = next;
    }
}

/* ---- checking ---- */

static unsigned edit_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > YML_MAX_KEY_BYTES || b_length > YML_MAX_KEY_BYTES)
        return UINT32_MAX;
    unsigned row[YML_MAX_KEY_BYTES + 1];
    for (unsigned j = 0; j <= b_length; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned substitute = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = substitute < shorter + 1 ? substitute : shorter + 1;
        }
    }
    return row[b_length];
}

const char *yml_nearest(const char *word, const char *const *first, size_t stride)
{
    const char *nearest = NULL;
    unsigned limit = strlen(word) < 6 ? 2 : (unsigned)strlen(word) / 3;
    for (const char *p = (const char *)first;; p += stride) {
        const char *name;
        memcpy(&name, p, sizeof name);
        if (!name)
            return nearest;
        unsigned distance = edit_distance(word, name);
        if (distance <= limit && distance < strlen(name)) {
            nearest = name;
            limit = distance ? distance - 1 : 0;
        }
    }
}

bool yml_parse_u64(const struct yml_node *node, uint64_t *ret_value)
{
    if (node->kind != YML_SCALAR || node->quoted || !node->text[0])
        return false;
    bool is_hex = node->text[0] == '0' && node->text[1] == 'x';
    const char *digits = node->text + (is_hex ? 2 : 0);
    /* 010 is eight to some readers and ten to others: refused */
    if (!digits[0] || strspn(digits, is_hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits) ||
        (!is_hex && digits[0] == '0' && digits[1]))
        return false;
    errno = 0;
    uint64_t value = strtoull(digits, NULL, is_hex ? 16 : 10);
    if (errno)
        return false;
    *ret_value = value;
    return true;
}

bool yml_parse_bool(const struct yml_node *node, bool *ret_value)
{
    if (node->kind != YML_SCALAR || node->quoted)
        return false;
    *ret_value = !strcmp(node->text, "true");
    return *ret_value || !strcmp(node->text, "false");
}

static bool is_string(const struct yml_node *node)
{
    return node->kind == YML_SCALAR && (node->text[0] || node->quoted);
}

/* What stands there, for errors: `"text"`, "a list", "a map", "nothing". */
static const char *found(const struct yml_node *node, char *buffer, size_t size)
{
    if (node->kind == YML_LIST)
        return "a list";
    if (node->kind == YML_MAP)
        return "a map of keys";
    if (!node->text[0] && !node->quoted)
        return "nothing";
    snprintf(buffer, size, "\"%.60s\"", node->text);
    return buffer;
}

static bool fail_type(const struct yml_node *node, const struct yml_key *key, const char *fallback,
                      struct yml_error *error)
{
    char buffer[72];
    const char *what = found(node, buffer, sizeof buffer);
    const char *expected = key->expected ? key->expected : fallback;
    if (node->key)
        return yml_fail(error, node, "%s: %s, expected %s", node->key, what, expected);
    return yml_fail(error, node, "%s, expected %s", what, expected);
}

static bool check_u64(const struct yml_node *node, const struct yml_key *key, struct yml_error *error)
{
    uint64_t value;
    if (!yml_parse_u64(node, &value))
        return fail_type(node, key, "a whole number", error);
    if ((!key->min && !key->max) || (value >= key->min && value <= key->max))
        return true;
    return yml_fail(error, node, "%s%s%s, expected %s from %" PRIu64 " to %" PRIu64, node->key ? node->key : "",
                    node->key ? ": " : "", node->text, key->expected ? key->expected : "a whole number", key->min,
                    key->max);
}

static bool check_choice(const struct yml_node *node, const struct yml_key *key, struct yml_error *error)
{
    char list[256] = "one of";
    for (const char *const *c = key->choices; *c; c++) {
        if (node->kind == YML_SCALAR && !strcmp(node->text, *c))
            return true;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", c == key->choices ? " " : ", ", *c);
    }
    const char *near = is_string(node) ? yml_nearest(node->text, key->choices, sizeof *key->choices) : NULL;
    size_t used = strlen(list);
    if (near)
        snprintf(list + used, sizeof list - used, " (did you mean \"%s\"?)", near);
    struct yml_key plain = {.name = key->name};
    return fail_type(node, &plain, list, error);
}

static bool check_strings(const struct yml_node *node, const struct yml_key *key, struct yml_error *error)
{
    if (is_string(node))
        return true;
    if (node->kind != YML_LIST)
        return fail_type(node, key, "a list of texts", error);
    for (const struct yml_node *item = node->first; item; item = item->next)
        if (!is_string(item))
            return fail_type(item, key, "a text", error);
    return true;
}

bool yml_check_value(const struct yml_node *node, const struct yml_key *key, struct yml_error *error)
{
    bool ignored;
    switch (key->type) {
    case YML_TYPE_ANY:
        return true;
    case YML_TYPE_STRING:
        return is_string(node) || fail_type(node, key, "a text", error);
    case YML_TYPE_U64:
        return check_u64(node, key, error);
    case YML_TYPE_BOOL:
        return yml_parse_bool(node, &ignored) || fail_type(node, key, "true or false", error);
    case YML_TYPE_CHOICE:
        return check_choice(node, key, error);
    case YML_TYPE_LIST:
        return node->kind == YML_LIST || fail_type(node, key, "a list", error);
    case YML_TYPE_STRINGS:
        return check_strings(node, key, error);
    case YML_TYPE_MAP:
        return node->kind == YML_MAP || fail_type(node, key, "a map of keys", error);
    }
    return false;
}

bool yml_check_map(const struct yml_node *node, const struct yml_key *keys, const char *what, struct yml_error *error)
{
    struct yml_key self = {.expected = what};
    if (node->kind != YML_MAP)
        return fail_type(node, &self, what, error);
    for (const struct yml_node *member = node->first; member; member = member->next) {
        const struct yml_key *key = keys;
        while (key->name && strcmp(key->name, member->key))
            key++;
        if (!key->name) {
            const char *near = yml_nearest(member->key, &keys->name, sizeof *keys);
            return yml_fail_at_key(error, member, "\"%s\" is no key of %s%s%s%s", member->key, what,
                                   near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        }
        if (!yml_check_value(member, key, error))
            return false;
    }
    for (const struct yml_key *key = keys; key->name; key++)
        if (key->required && !yml_get(node, key->name))
            return yml_fail_at_key(error, node, "%s without \"%s\", expected the key", what, key->name);
    return true;
}

/* ---- getters ---- */

const struct yml_node *yml_get(const struct yml_node *map, const char *key)
{
    for (const struct yml_node *n = map->first; n; n = n->next)
        if (n->key && !strcmp(n->key, key))
            return n;
    return NULL;
}

const char *yml_get_string(const struct yml_node *map, const char *key, const char *missing)
{
    const struct yml_node *n = yml_get(map, key);
    return n && n->text ? n->text : missing;
}

uint64_t yml_get_u64(const struct yml_node *map, const char *key, uint64_t missing)
{
    const struct yml_node *n = yml_get(map, key);
    uint64_t value = missing;
    return n && yml_parse_u64(n, &value) ? value : missing;
}

bool yml_get_bool(const struct yml_node *map, const char *key, bool missing)
{
    const struct yml_node *n = yml_get(map, key);
    bool value;
    return n && yml_parse_bool(n, &value) ? value : missing;
}

unsigned yml_get_choice(const struct yml_node *map, const char *key, const char *const *choices, unsigned missing)
{
    const struct yml_node *n = yml_get(map, key);
    for (unsigned i = 0; n && n->text && choices[i]; i++)
        if (!strcmp(n->text, choices[i]))
            return i;
    return missing;
}

/*
 * A strict reader for the YAML that operators write (configuration, protocol pack): one pass over libyaml's events into a
 * small tree whose nodes know file, line and column, and a check of maps against const tables of keys.
 *
 * The prefix is yml_ because libyaml exports names in yaml_ (yaml_free among them).
 *
 * Refused: duplicate keys, anchors, aliases, tags, keys that are not plain words, several documents, more than
 * YML_MAX_DEPTH levels, YML_MAX_NODES nodes or YML_MAX_BYTES bytes. Every error reads
 * "file:line:column: what, what was expected". Control thread; memory is malloc's, running out of it ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YML_MAX_BYTES (8u << 20)
#define YML_MAX_NODES 400000u
#define YML_MAX_DEPTH 16u
#define YML_MAX_KEYS  4096u /* of one map: duplicates are looked for one by one */

enum yml_kind { YML_SCALAR, YML_LIST, YML_MAP };

struct yml_node {
    const char *file;       /* name for errors */
    char *key;              /* member of a map: its key; else NULL */
    char *text;             /* scalar: its value, NUL terminated (a value with a NUL inside is refused); else NULL */
    struct yml_node *first; /* list: items, map: members, in the order of the file */
    struct yml_node *next;
    uint32_t line, column; /* of the value, from 1 */
    uint32_t key_line, key_column;
    uint32_t length; /* items or members */
    uint8_t kind;    /* enum yml_kind */
    bool quoted;     /* scalar in quotes or a block: text whatever it looks like */
};

struct yml_error {
    char text[512]; /* "file:line:column: ..." */
};

/* The root node, NULL with *error set. `file` is kept by pointer: it must outlive the tree. */
struct yml_node *yml_read_file(const char *file, struct yml_error *error);
struct yml_node *yml_read_memory(const char *file, const void *bytes, size_t size_bytes, struct yml_error *error);
void yml_free(struct yml_node *root);

/* Sets *error to "file:line:column: ..." at the node (or at its key) and returns false. */
__attribute__((format(printf, 3, 4))) bool yml_fail(struct yml_error *error, const struct yml_node *node,
                                                    const char *format, ...);
__attribute__((format(printf, 3, 4))) bool yml_fail_at_key(struct yml_error *error, const struct yml_node *node,
                                                           const char *format, ...);

/* What a member's value must be. */
enum yml_type {
    YML_TYPE_ANY,
    YML_TYPE_STRING, /* any scalar that is not empty; empty only in quotes */
    YML_TYPE_U64,    /* decimal or 0x, within min .. max */
    YML_TYPE_BOOL,   /* true or false, nothing else */
    YML_TYPE_CHOICE, /* one of `choices` */
    YML_TYPE_LIST,
    YML_TYPE_STRINGS, /* list of strings, or one string that stands for a list of one */
    YML_TYPE_MAP,
};

/* One allowed key of a map; tables end with .name = NULL. */
struct yml_key {
    const char *name;
    enum yml_type type;
    bool required;
    uint64_t min, max;          /* U64: both 0 = any */
    const char *expected;       /* "a number of seconds"; NULL = a phrase made from the type */
    const char *const *choices; /* CHOICE, NULL terminated */
};

/*
 * Checks that `node` is a map, that all its keys stand in the table and their values fit, and that required ones are there.
 * After it the getters below cannot fail. `what` names the map in errors ("a link", "the configuration").
 */
bool yml_check_map(const struct yml_node *node, const struct yml_key *keys, const char *what, struct yml_error *error);
/* The same for one value that does not stand in a checked map (items of a list). */
bool yml_check_value(const struct yml_node *node, const struct yml_key *key, struct yml_error *error);

/* The member of that key, NULL when there is none. */
const struct yml_node *yml_get(const struct yml_node *map, const char *key);
/* Values of members that were checked; `missing` when there is no such member. */
const char *yml_get_string(const struct yml_node *map, const char *key, const char *missing);
uint64_t yml_get_u64(const struct yml_node *map, const char *key, uint64_t missing);
bool yml_get_bool(const struct yml_node *map, const char *key, bool missing);
/* Index in the NULL-terminated choices. */
unsigned yml_get_choice(const struct yml_node *map, const char *key, const char *const *choices, unsigned missing);

/* Scalars by themselves; false when the text is not one. */
bool yml_parse_u64(const struct yml_node *node, uint64_t *ret_value);
bool yml_parse_bool(const struct yml_node *node, bool *ret_value);

/* The nearest of the names (NULL terminated, `stride` bytes from one char pointer to the next); NULL when none is near. */
const char *yml_nearest(const char *word, const char *const *first, size_t stride);

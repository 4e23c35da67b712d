/*
 * The table of configuration keys: what config.c reads by and config_text.c writes by. Private to these two.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum dp_key_kind {
    DP_KEY_NUMBER,            /* unsigned, of 1, 2, 4 or 8 bytes */
    DP_KEY_SWITCH,            /* bool */
    DP_KEY_CHOICE,            /* enum, index into choices */
    DP_KEY_TEXT,              /* char[size] */
    DP_KEY_CPUS,              /* workers.cpus: numbers and their count */
    DP_KEY_CATEGORY_NUMBERS,  /* uint32_t[RDR_CATEGORIES]: a map {1: n, ...}, or one number for all */
    DP_KEY_CATEGORY_PRIORITY, /* uint8_t[RDR_CATEGORIES]: a map {1: priority, ...}, or a list of categories */
    DP_KEY_SECTION,           /* a map described by the section of that name */
    DP_KEY_LIST,              /* a list of maps described by the section of that name */
};

struct dp_key {
    const char *name;
    const char *fallback; /* default, written as in the file; NULL = the key must be given */
    const char *text;     /* documentation: what it is, one or two sentences */
    const char *expected; /* for errors: "a number of seconds"; NULL = a phrase made from the kind */
    const char *const *choices;
    uint64_t min, max; /* of numbers; both 0 = any */
    uint32_t offset;   /* in struct dp_config, or in the element of a list */
    uint16_t size;     /* of the field */
    uint8_t kind;      /* enum dp_key_kind */
};

struct dp_section {
    const char *path;          /* "" is the root; "links[]" an element of the list */
    const char *what;          /* in errors: "a link" */
    const char *text;          /* documentation */
    const struct dp_key *keys; /* end with .name = NULL */
    uint32_t element_size;     /* list: of an element */
    uint32_t count_offset;     /* list: of the count in struct dp_config, an unsigned */
    uint32_t elements_max;
};

#define DP_SECTION_KEYS_MAX 24u

/* In the order of the documentation; ends with .path = NULL. */
extern const struct dp_section dp_sections[];

/* The section behind a key of kind SECTION or LIST. */
const struct dp_section *dp_section_of(const struct dp_section *parent, const struct dp_key *key);

/* A number field of 1, 2, 4 or 8 bytes. */
uint64_t dp_number_get(const void *field, uint16_t size);
void dp_number_set(void *field, uint16_t size, uint64_t value);

/*
 * Records between the two engines of a cascade that describe themselves: before its first record a sender defines each
 * kind it will send, field by field, and a receiver of another version takes the fields that both know.
 *
 * A *kind* of record is a const table: for each field its number (never used again for anything else), name, type, and
 * place in a C struct. Adding a field or a whole table of state is adding a line here and there; neither the session nor
 * the peer's older version needs to know.
 *
 * Wire, all integers big-endian:
 *   definition   kind u8, fields u8, name (u8 size, text), then per field {number u8, type u8, size u16}
 *   record       kind u8, length u24 of what follows, then the fields in the order of the definition:
 *                an unsigned integer or bytes of the size that was defined; a blob as u16 size and bytes
 *
 * What a receiver does with a field: the same number and type, stored, also when the widths differ as long as the value
 * fits; an unknown number, skipped; its own field that the sender has not, zero, unless it is required, which refuses the
 * definition. Bytes after the last defined field belong to a later version and are skipped.
 *
 * Any thread; nothing is allocated. Cost: about 2 ns a field.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"

#define CASCADE_KINDS_MAX        32u
#define CASCADE_FIELDS_MAX       64u
#define CASCADE_NAME_MAX_BYTES   31u
#define CASCADE_RECORD_MAX_BYTES (1u << 20)

enum cascade_type {
    CASCADE_UINT = 1,  /* 1, 2, 4 or 8 bytes in the struct, in the host's order */
    CASCADE_BYTES = 2, /* a fixed number of bytes */
    CASCADE_BLOB = 3,  /* struct cascade_blob; after decoding it points into the record */
};

struct cascade_blob {
    const uint8_t *bytes;
    uint16_t size_bytes;
};

struct cascade_field {
    uint8_t number;
    uint8_t type; /* enum cascade_type */
    bool required;
    uint16_t size_bytes; /* in the struct and on the wire; a blob's is 0 */
    uint16_t offset;
    const char *name;
};

struct cascade_kind {
    uint8_t number;
    uint8_t field_count;
    uint16_t struct_bytes;
    const char *name;
    const struct cascade_field *fields;
};

#define CASCADE_FIELD(struct_type, field_number, field_type, member, is_required)                                      \
    {                                                                                                                  \
        .number = (field_number), .type = (field_type), .required = (is_required),                                     \
        .size_bytes = (field_type) == CASCADE_BLOB ? 0 : sizeof(((struct_type *)0)->member),                           \
        .offset = offsetof(struct_type, member), .name = #member                                                       \
    }

/* Why a definition or a record of the peer is refused; names as in JSON, metrics and the log. */
#define CASCADE_REFUSALS(X)                                                                                            \
    X(none, "accepted")                                                                                                \
    X(cut_off, "ends within a field")                                                                                  \
    X(kind_unknown, "a kind that was not defined")                                                                     \
    X(kind_defined_twice, "a kind that was defined before")                                                            \
    X(name_differs, "a kind's number with another name")                                                               \
    X(field_count, "more fields than are followed")                                                                    \
    X(field_type, "a known field with another type")                                                                   \
    X(field_size, "a field of a size that its type cannot have")                                                       \
    X(field_twice, "one field defined twice")                                                                          \
    X(field_missing, "a required field is not defined")                                                                \
    X(value_too_wide, "a value that does not fit our field")                                                           \
    X(too_long, "a record longer than is followed")                                                                    \
    X(misplaced, "a kind that has no place where it came")
enum cascade_refusal {
#define X(name, text) CASCADE_REFUSAL_##name,
    CASCADE_REFUSALS(X)
#undef X
        CASCADE_REFUSAL_COUNT
};
const char *cascade_refusal_name(enum cascade_refusal refusal);
const char *cascade_refusal_text(enum cascade_refusal refusal);

/* How to read one kind as the peer defined it; made once, by cascade_define(). */
struct cascade_plan {
    const struct cascade_kind *kind; /* ours; NULL: not defined, or a kind we do not know, whose records are skipped */
    uint8_t field_count;
    struct {
        uint8_t type;
        uint8_t ours; /* index of our field, or CASCADE_SKIP */
        uint16_t size_bytes;
    } fields[CASCADE_FIELDS_MAX];
};
#define CASCADE_SKIP UINT8_MAX

struct cascade_reader {
    const struct cascade_kind *const *kinds; /* ours, NULL at the end */
    bool defined[CASCADE_KINDS_MAX];
    struct cascade_plan plans[CASCADE_KINDS_MAX]; /* by number */
};

/* Writes a kind's definition; its size, or 0 when `size` is too small. */
size_t cascade_write_definition(const struct cascade_kind *kind, uint8_t *to, size_t size);
/* Writes one record of `values`, a struct of that kind; its size, or 0 when `size` is too small. */
size_t cascade_write_record(const struct cascade_kind *kind, const void *values, uint8_t *to, size_t size);

void cascade_reader_init(struct cascade_reader *reader, const struct cascade_kind *const *kinds);
/* Takes one definition off the cursor. */
enum cascade_refusal cascade_define(struct cascade_reader *reader, struct cursor *c);
/*
 * Takes one record off the cursor and fills `ret_values`, of `values_size` bytes: a kind whose struct is larger is refused
 * (misplaced). *ret_kind is NULL for a kind that the peer defined and we do not know. After a refusal of one record that was
 * there whole the cursor stands behind it, else it has failed. Blobs point into the cursor's bytes.
 */
enum cascade_refusal cascade_read_record(const struct cascade_reader *reader, struct cursor *c,
                                         const struct cascade_kind **ret_kind, void *ret_values, size_t values_size);
/* True when the first `size` bytes hold a whole record; *ret_size_bytes is its size as soon as 4 bytes are there. */
bool cascade_record_whole(const uint8_t *bytes, size_t size, size_t *ret_size_bytes);

/*
 * Raw Data Records: the schema table, and the codec of RDRv1.
 *
 * The wire format is shared by all known receivers (docs/rdr.md gives it with its sources): a 20-byte header, then fields
 * of {type code, 4-byte length, value}, big-endian. The length in the header is four ASCII decimal digits. Fields are known
 * by position alone: order and count are the contract, so every list here is written once, in rdr/schema.c, and serves the
 * encoder, the decoder, the collector's tables, the documentation and the tests.
 *
 * This room does not know how numbers were counted. Any thread may use codec and schema: no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdr/fields.h"

#define RDR_RECORD_MAX_BYTES (9999u + 5u)
#define RDR_FIELDS_MAX       64u
#define RDR_HEADER_BYTES     20u

/* Types: name, code on the wire, size of a value in bytes (0 = any). */
#define RDR_TYPES(X)                                                                                                   \
    X(INT8, 11, 1)                                                                                                     \
    X(INT16, 12, 2)                                                                                                    \
    X(INT32, 13, 4)                                                                                                    \
    X(UINT8, 14, 1)                                                                                                    \
    X(UINT16, 15, 2)                                                                                                   \
    X(UINT32, 16, 4)                                                                                                   \
    X(FLOAT, 21, 4)                                                                                                    \
    X(BOOLEAN, 31, 1)                                                                                                  \
    X(STRING, 41, 0)
enum rdr_type {
#define X(name, code, size) RDR_##name = code,
    RDR_TYPES(X)
#undef X
};

struct rdr_field {
    const char *name; /* as in the reference guides, upper case: "SUBSCRIBER_ID"; also the collector's column */
    enum rdr_type type;
    enum rdr_type other_type; /* taken by the decoder as well where sources disagree; 0 = none */
    const char *unit;         /* "bytes", "kilobytes", "ms", "s", "UNIX seconds", "IPv4", "IPv6 text" or "" */
    const char *note;         /* for docs/rdr.md */
};

struct rdr_schema {
    uint32_t tag;
    const char *name;  /* "TRANSACTION_USAGE" */
    const char *table; /* the collector's table: "RPT_TUR" */
    uint8_t category;  /* default formatter category 1..4 */
    unsigned field_count;
    const struct rdr_field *fields;
    const char *certainty; /* of order and types, for docs/rdr.md */
};

enum {
    RDR_TAG_TRANSACTION = 4042321936u,
    RDR_TAG_TRANSACTION_USAGE = 4042323000u,
    RDR_TAG_HTTP_TRANSACTION_USAGE = 4042323004u,
    RDR_TAG_FLOW_START = 4042321942u,
    RDR_TAG_FLOW_END = 4042321944u,
    RDR_TAG_LINK_USAGE = 4042321925u,
};

/* All known records, in tag order; *ret_count of them. */
const struct rdr_schema *rdr_schemas(unsigned *ret_count);
/* NULL when the tag is not known. */
const struct rdr_schema *rdr_schema_find(uint32_t tag);
/*
 * The later layout of a record that carries IPv6 addresses as text: same tag and table, more fields. The decoder tells the
 * layouts of a tag by their field count. NULL when the record has no such layout: it is not sent for an IPv6 flow.
 */
const struct rdr_schema *rdr_schema_find_ipv6(uint32_t tag);
/* Position of a field, or -1. */
int rdr_field_find(const struct rdr_schema *schema, const char *name);

const char *rdr_type_name(enum rdr_type type);    /* "UINT16" */
uint32_t rdr_type_size_bytes(enum rdr_type type); /* of a value; 0 for STRING */

/*
 * A field's value: integers in `integer` whatever their type, strings by pointer (not copied). IPv4 addresses in host order
 * (10.1.2.3 is 0x0A010203). BOOLEAN is 0 or 1, FLOAT the bits of an IEEE 754 number.
 */
struct rdr_value {
    int64_t integer;
    const char *string;
    uint16_t string_bytes;
};

/*
 * What the ten header bytes that every known receiver ignores (offsets 5..14) carry of ours: enough for a collector to
 * tell doubles after a hand-over. All zero when rdr.header_ids is off ("zeros").
 */
struct rdr_header_ids {
    uint16_t creator;  /* who made the flow: high 16 bits of its uid */
    uint16_t epoch;    /* of the owner that made the record */
    uint16_t interval; /* number of the record of this flow, low 16 bits */
    uint32_t uid_low;  /* low 32 bits of the flow's number */
};

/*
 * Encodes one record. `values` has schema->field_count entries. The longest strings are cut so that what follows the length
 * stays within 9,999 bytes. `ids` NULL = zeros. Returns its size in bytes; -ERANGE when an integer does not fit its field's
 * type (names the field in *ret_field when that is not NULL), -ENOSPC when `size` is too small. RDR_RECORD_MAX_BYTES is
 * always enough.
 */
int rdr_encode(const struct rdr_schema *schema, uint8_t processor_id, const struct rdr_header_ids *ids,
               const struct rdr_value values[], uint8_t *buffer, size_t size, unsigned *ret_field);

/* Why the decoder refuses; X-macro gives enum, text and counter name. */
#define RDR_REFUSALS(X)                                                                                                \
    X(bad_length_digits, "length is not four decimal digits")                                                          \
    X(short_length, "length below 15")                                                                                 \
    X(unknown_tag, "tag is not known")                                                                                 \
    X(field_count, "number of fields is not the schema's")                                                             \
    X(field_type, "field type is not the schema's")                                                                    \
    X(field_length, "field length does not fit its type or the record")                                                \
    X(trailing_bytes, "bytes after the last field")
enum rdr_refusal {
    RDR_ACCEPTED,
#define X(name, text) RDR_REFUSED_##name,
    RDR_REFUSALS(X)
#undef X
        RDR_REFUSAL_COUNT
};
const char *rdr_refusal_text(enum rdr_refusal refusal);
const char *rdr_refusal_name(enum rdr_refusal refusal);

struct rdr_record {
    const struct rdr_schema *schema;
    uint8_t processor_id;
    uint32_t size_bytes; /* whole record */
    struct rdr_header_ids ids;
    struct rdr_value values[RDR_FIELDS_MAX]; /* strings point into the input */
};

/*
 * Decodes the record at the start of `bytes`. Returns its size in bytes, 0 when more bytes are needed, -EBADMSG when it is
 * refused (*ret_refusal says why, *ret_field at which field; both are untouched when more bytes are needed). Strict: tag,
 * field count, types and lengths must be the schema's; INT16 and UINT16 are both taken where sources disagree (PACKAGE_ID).
 */
int rdr_decode(const uint8_t *bytes, size_t size, struct rdr_record *ret_record, enum rdr_refusal *ret_refusal,
               unsigned *ret_field);

#include <errno.h>

#include "base/cursor.h"
#include "rdr/rdr.h"

#define LENGTH_MIN 15u /* the rest of the header */

const char *rdr_refusal_text(enum rdr_refusal refusal)
{
    switch (refusal) {
#define X(name, text)                                                                                                  \
    case RDR_REFUSED_##name:                                                                                           \
        return text;
        RDR_REFUSALS(X)
#undef X
    case RDR_ACCEPTED:
    case RDR_REFUSAL_COUNT:
        break;
    }
    return "accepted";
}

const char *rdr_refusal_name(enum rdr_refusal refusal)
{
    switch (refusal) {
#define X(name, text)                                                                                                  \
    case RDR_REFUSED_##name:                                                                                           \
        return #name;
        RDR_REFUSALS(X)
#undef X
    case RDR_ACCEPTED:
    case RDR_REFUSAL_COUNT:
        break;
    }
    return "accepted";
}

/* Four decimal digits; -1 when they are not. Letters that one receiver lets pass are no digits. */
static int length_digits(struct cursor *c)
{
    int length = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = cursor_u8(c);
        if (digit < '0' || digit > '9')
            return -1;
        length = 10 * length + digit - '0';
    }
    return length;
}

static int64_t take_integer(struct cursor *c, enum rdr_type type)
{
    switch (type) {
    case RDR_INT8:
        return (int8_t)cursor_u8(c);
    case RDR_UINT8:
    case RDR_BOOLEAN:
        return cursor_u8(c);
    case RDR_INT16:
        return (int16_t)cursor_be16(c);
    case RDR_UINT16:
        return cursor_be16(c);
    case RDR_INT32:
        return (int32_t)cursor_be32(c);
    case RDR_UINT32:
    case RDR_FLOAT:
        return cursor_be32(c);
    case RDR_STRING:
        break;
    }
    return 0;
}

static enum rdr_refusal take_field(struct cursor *c, const struct rdr_field *field, struct rdr_value *ret_value)
{
    uint8_t code = cursor_u8(c);
    uint32_t value_bytes = cursor_be32(c);
    if (!c->ok)
        return RDR_REFUSED_field_length;
    if (code != field->type && (!field->other_type || code != field->other_type))
        return RDR_REFUSED_field_type;
    enum rdr_type type = (enum rdr_type)code;
    *ret_value = (struct rdr_value){0};
    if (type == RDR_STRING) {
        ret_value->string = (const char *)cursor_take(c, value_bytes);
        ret_value->string_bytes = (uint16_t)value_bytes;
    } else {
        if (value_bytes != rdr_type_size_bytes(type))
            return RDR_REFUSED_field_length;
        ret_value->integer = take_integer(c, type);
    }
    return c->ok ? RDR_ACCEPTED : RDR_REFUSED_field_length;
}

static enum rdr_refusal take_record(struct cursor *c, struct rdr_record *record, unsigned *field)
{
    record->ids.creator = cursor_be16(c);
    record->ids.epoch = cursor_be16(c);
    record->ids.interval = cursor_be16(c);
    record->ids.uid_low = cursor_be32(c);
    uint32_t tag = cursor_be32(c);
    uint8_t field_count = cursor_u8(c);
    record->schema = rdr_schema_find(tag);
    if (!record->schema)
        return RDR_REFUSED_unknown_tag;
    if (field_count != record->schema->field_count) {
        record->schema = rdr_schema_find_ipv6(tag);
        if (!record->schema || field_count != record->schema->field_count)
            return RDR_REFUSED_field_count;
    }
    for (*field = 0; *field < field_count; ++*field) {
        enum rdr_refusal refusal = take_field(c, &record->schema->fields[*field], &record->values[*field]);
        if (refusal)
            return refusal;
    }
    return cursor_left(c) ? RDR_REFUSED_trailing_bytes : RDR_ACCEPTED;
}

int rdr_decode(const uint8_t *bytes, size_t size, struct rdr_record *ret_record, enum rdr_refusal *ret_refusal,
               unsigned *ret_field)
{
    struct cursor c = cursor_of(bytes, size);
    unsigned field = 0;
    enum rdr_refusal refusal = RDR_ACCEPTED;
    uint8_t processor_id = cursor_u8(&c);
    int length = cursor_left(&c) < 4 ? -1 : length_digits(&c);
    if (length < 0 && size < 5)
        return 0;
    if (length < 0) {
        refusal = RDR_REFUSED_bad_length_digits;
    } else if ((unsigned)length < LENGTH_MIN) {
        refusal = RDR_REFUSED_short_length;
    } else {
        struct cursor body = cursor_sub(&c, (size_t)length);
        if (!body.ok)
            return 0;
        ret_record->processor_id = processor_id;
        ret_record->size_bytes = (uint32_t)length + 5;
        refusal = take_record(&body, ret_record, &field);
    }
    *ret_refusal = refusal;
    *ret_field = field;
    return refusal ? -EBADMSG : length + 5;
}

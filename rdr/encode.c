#include <errno.h>
#include <string.h>

#include "rdr/rdr.h"

#define FIELD_HEADER_BYTES 5u
#define LENGTH_END         5u /* the length in the header counts what follows it */
#define LENGTH_MAX         9999u

static const struct {
    int64_t low, high;
} ranges[] = {
    [RDR_INT8] = {INT8_MIN, INT8_MAX},    [RDR_INT16] = {INT16_MIN, INT16_MAX},
    [RDR_INT32] = {INT32_MIN, INT32_MAX}, [RDR_UINT8] = {0, UINT8_MAX},
    [RDR_UINT16] = {0, UINT16_MAX},       [RDR_UINT32] = {0, UINT32_MAX},
    [RDR_FLOAT] = {0, UINT32_MAX},        [RDR_BOOLEAN] = {0, 1},
};

static uint8_t *put_be(uint8_t *p, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = 0; i < size_bytes; i++)
        p[i] = (uint8_t)(value >> 8 * (size_bytes - 1 - i));
    return p + size_bytes;
}

/*
 * The greatest string length at which the record fits: strings above it are cut to it, the others stay whole. A search over
 * 16 bits, only for records that are too long.
 */
static uint32_t longest_string_that_fits(const struct rdr_schema *schema, const struct rdr_value values[],
                                         uint32_t budget_bytes)
{
    uint32_t fits = 0;
    for (uint32_t bit = 1u << 15; bit; bit >>= 1) {
        uint32_t sum = 0;
        for (unsigned i = 0; i < schema->field_count; i++)
            if (schema->fields[i].type == RDR_STRING)
                sum += values[i].string_bytes < (fits | bit) ? values[i].string_bytes : fits | bit;
        if (sum <= budget_bytes)
            fits |= bit;
    }
    return fits;
}

int rdr_encode(const struct rdr_schema *schema, uint8_t processor_id, const struct rdr_header_ids *ids,
               const struct rdr_value values[], uint8_t *buffer, size_t size, unsigned *ret_field)
{
    uint32_t fixed_bytes = RDR_HEADER_BYTES, string_bytes = 0, string_max = UINT16_MAX;
    for (unsigned i = 0; i < schema->field_count; i++) {
        enum rdr_type type = schema->fields[i].type;
        fixed_bytes += FIELD_HEADER_BYTES + rdr_type_size_bytes(type);
        if (type == RDR_STRING) {
            string_bytes += values[i].string_bytes;
        } else if (values[i].integer < ranges[type].low || values[i].integer > ranges[type].high) {
            if (ret_field)
                *ret_field = i;
            return -ERANGE;
        }
    }
    if (fixed_bytes + string_bytes > LENGTH_MAX + LENGTH_END) {
        string_max = longest_string_that_fits(schema, values, LENGTH_MAX + LENGTH_END - fixed_bytes);
        string_bytes = 0;
        for (unsigned i = 0; i < schema->field_count; i++)
            if (schema->fields[i].type == RDR_STRING)
                string_bytes += values[i].string_bytes < string_max ? values[i].string_bytes : string_max;
    }
    uint32_t record_bytes = fixed_bytes + string_bytes, length = record_bytes - LENGTH_END;
    if (record_bytes > size)
        return -ENOSPC;

    uint8_t *p = buffer;
    *p++ = processor_id;
    for (uint32_t unit = 1000; unit; unit /= 10)
        *p++ = (uint8_t)('0' + length / unit % 10);
    static const struct rdr_header_ids no_ids;
    if (!ids)
        ids = &no_ids;
    p = put_be(p, ids->creator, 2);
    p = put_be(p, ids->epoch, 2);
    p = put_be(p, ids->interval, 2);
    p = put_be(p, ids->uid_low, 4);
    p = put_be(p, schema->tag, 4);
    *p++ = (uint8_t)schema->field_count;
    for (unsigned i = 0; i < schema->field_count; i++) {
        enum rdr_type type = schema->fields[i].type;
        *p++ = (uint8_t)type;
        if (type != RDR_STRING) {
            p = put_be(p, rdr_type_size_bytes(type), 4);
            p = put_be(p, (uint64_t)values[i].integer, rdr_type_size_bytes(type));
            continue;
        }
        uint32_t value_bytes = values[i].string_bytes < string_max ? values[i].string_bytes : string_max;
        p = put_be(p, value_bytes, 4);
        if (value_bytes)
            memcpy(p, values[i].string, value_bytes);
        p += value_bytes;
    }
    return (int)record_bytes;
}

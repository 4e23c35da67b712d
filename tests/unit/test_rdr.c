#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdr/rdr.h"

static uint8_t record[RDR_RECORD_MAX_BYTES];

/* All layouts: those of rdr_schemas() and the later ones with IPv6 addresses. */
static unsigned all_layouts(const struct rdr_schema *ret_layouts[32])
{
    unsigned count, length = 0;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    for (unsigned i = 0; i < count; i++) {
        ret_layouts[length++] = &schemas[i];
        if (rdr_schema_find_ipv6(schemas[i].tag))
            ret_layouts[length++] = rdr_schema_find_ipv6(schemas[i].tag);
    }
    return length;
}

static int64_t lowest(enum rdr_type type)
{
    return type == RDR_INT8 ? -128 : type == RDR_INT16 ? -32768 : type == RDR_INT32 ? -2147483648ll : 0;
}

static int64_t highest(enum rdr_type type)
{
    switch (type) {
    case RDR_INT8:
        return 127;
    case RDR_INT16:
        return 32767;
    case RDR_INT32:
        return 2147483647;
    case RDR_UINT8:
        return 255;
    case RDR_UINT16:
        return 65535;
    default:
        return 4294967295;
    }
}

/* A record of the layout with every integer at one end of its range and strings of some length. */
static int make(const struct rdr_schema *schema, bool high, const char *text, struct rdr_value values[RDR_FIELDS_MAX])
{
    struct rdr_header_ids ids = {.creator = 0xfffe, .epoch = 0x0102, .interval = 0xffff, .uid_low = 0x89abcdef};
    for (unsigned i = 0; i < schema->field_count; i++) {
        enum rdr_type type = schema->fields[i].type;
        values[i] = (struct rdr_value){.integer = high ? highest(type) : lowest(type)};
        if (type == RDR_STRING)
            values[i] = (struct rdr_value){.string = text, .string_bytes = (uint16_t)strlen(text)};
    }
    return rdr_encode(schema, 7, &ids, values, record, sizeof record, NULL);
}

Test(rdr, worked_example_byte_for_byte)
{
    static const struct rdr_field fields[] = {{.name = "SUBSCRIBER_ID", .type = RDR_STRING},
                                              {.name = "PACKAGE_ID", .type = RDR_INT16}};
    struct rdr_schema schema = {.tag = RDR_TAG_FLOW_START, .field_count = 2, .fields = fields};
    struct rdr_value values[] = {{.string = "bob", .string_bytes = 3}, {.integer = 7}};
    static const uint8_t expected[35] = {0x01, '0', '0', '3',  '0',  0,    0,    0,    0,    0, 0, 0,
                                         0,    0,   0,   0xf0, 0xf0, 0xf0, 0x16, 0x02, 0x29, 0, 0, 0,
                                         3,    'b', 'o', 'b',  0x0c, 0,    0,    0,    2,    0, 7};
    cr_assert_eq(rdr_encode(&schema, 1, NULL, values, record, sizeof record, NULL), 35);
    cr_assert_arr_eq(record, expected, 35);
}

Test(rdr, header_ids_fill_bytes_5_to_14)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    make(rdr_schema_find(RDR_TAG_FLOW_END), false, "", values);
    static const uint8_t expected[] = {0xff, 0xfe, 0x01, 0x02, 0xff, 0xff, 0x89,
                                       0xab, 0xcd, 0xef, 0xf0, 0xf0, 0xf0, 0x18};
    cr_assert_arr_eq(record + 5, expected, sizeof expected);
    cr_assert_eq(record[0], 7);
}

Test(rdr, types_without_a_known_record_encode)
{
    static const struct rdr_field fields[] = {{.name = "A", .type = RDR_FLOAT}, {.name = "B", .type = RDR_BOOLEAN}};
    struct rdr_schema schema = {.tag = 1, .field_count = 2, .fields = fields};
    struct rdr_value values[] = {{.integer = 0x3f800000}, {.integer = 1}};
    static const uint8_t expected[] = {21, 0, 0, 0, 4, 0x3f, 0x80, 0, 0, 31, 0, 0, 0, 1, 1};
    cr_assert_eq(rdr_encode(&schema, 1, NULL, values, record, sizeof record, NULL), 35);
    cr_assert_arr_eq(record + 20, expected, sizeof expected);
    values[1].integer = 2;
    cr_assert_eq(rdr_encode(&schema, 1, NULL, values, record, sizeof record, NULL), -ERANGE);
}

Test(rdr, every_layout_makes_the_round_trip_at_both_ends_of_its_ranges)
{
    const struct rdr_schema *layouts[32];
    unsigned length = all_layouts(layouts);
    cr_assert_eq(length, 8);
    for (unsigned i = 0; i < 2 * length; i++) {
        const struct rdr_schema *schema = layouts[i / 2];
        struct rdr_value values[RDR_FIELDS_MAX];
        struct rdr_record decoded;
        enum rdr_refusal refusal;
        unsigned field;
        int size = make(schema, i % 2, i % 2 ? "two words\n\xff" : "", values);
        cr_assert_gt(size, 20, "%s", schema->name);
        cr_assert_eq(rdr_decode(record, sizeof record, &decoded, &refusal, &field), size, "%s: %s at field %u",
                     schema->name, rdr_refusal_text(refusal), field);
        cr_assert_eq(decoded.schema, schema);
        cr_assert_eq(decoded.size_bytes, (unsigned)size);
        cr_assert_eq(decoded.processor_id, 7);
        cr_assert_eq(decoded.ids.creator, 0xfffe);
        cr_assert_eq(decoded.ids.epoch, 0x0102);
        cr_assert_eq(decoded.ids.interval, 0xffff);
        cr_assert_eq(decoded.ids.uid_low, 0x89abcdef);
        for (unsigned f = 0; f < schema->field_count; f++) {
            cr_assert_eq(decoded.values[f].integer, values[f].integer, "%s.%s", schema->name, schema->fields[f].name);
            cr_assert_eq(decoded.values[f].string_bytes, values[f].string_bytes);
            cr_assert_eq(memcmp(decoded.values[f].string ? decoded.values[f].string : "",
                                values[f].string ? values[f].string : "", values[f].string_bytes),
                         0);
        }
    }
}

Test(rdr, integers_out_of_range_are_refused_by_field)
{
    const struct rdr_schema *layouts[32];
    unsigned length = all_layouts(layouts);
    for (unsigned i = 0; i < length; i++)
        for (unsigned f = 0; f < layouts[i]->field_count; f++) {
            enum rdr_type type = layouts[i]->fields[f].type;
            if (type == RDR_STRING)
                continue;
            struct rdr_value values[RDR_FIELDS_MAX];
            unsigned field = 99;
            make(layouts[i], true, "x", values);
            values[f].integer = highest(type) + 1;
            cr_assert_eq(rdr_encode(layouts[i], 0, NULL, values, record, sizeof record, &field), -ERANGE);
            cr_assert_eq(field, f);
            values[f].integer = lowest(type) - 1;
            cr_assert_eq(rdr_encode(layouts[i], 0, NULL, values, record, sizeof record, &field), -ERANGE);
            cr_assert_eq(field, f);
        }
}

Test(rdr, a_buffer_one_byte_short_is_refused_and_not_written_past)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_TRANSACTION_USAGE);
    int size = make(schema, true, "abc", values);
    memset(record, 0xa5, sizeof record);
    cr_assert_eq(rdr_encode(schema, 0, NULL, values, record, (size_t)size - 1, NULL), -ENOSPC);
    cr_assert_eq(record[size - 1], 0xa5);
    cr_assert_eq(rdr_encode(schema, 0, NULL, values, record, (size_t)size, NULL), size);
    cr_assert_eq(record[size], 0xa5);
}

Test(rdr, records_past_9999_bytes_are_cut_in_their_longest_strings)
{
    static char text[65536];
    memset(text, 'u', sizeof text - 1);
    struct rdr_value values[RDR_FIELDS_MAX];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_HTTP_TRANSACTION_USAGE);
    make(schema, true, "short", values);
    values[RDR_HTTP_HTTP_URL].string = text;
    values[RDR_HTTP_HTTP_URL].string_bytes = 65535;
    cr_assert_eq(rdr_encode(schema, 0, NULL, values, record, sizeof record, NULL), (int)RDR_RECORD_MAX_BYTES);
    cr_assert_arr_eq(record + 1, "9999", 4);
    struct rdr_record decoded;
    enum rdr_refusal refusal;
    unsigned field;
    cr_assert_eq(rdr_decode(record, sizeof record, &decoded, &refusal, &field), (int)RDR_RECORD_MAX_BYTES);
    cr_assert_eq(decoded.values[RDR_HTTP_USER_AGENT].string_bytes, 5, "a short string stays whole");

    /* All long: cut alike, nothing lost but the remainder of the division. */
    for (unsigned f = 0; f < schema->field_count; f++)
        if (schema->fields[f].type == RDR_STRING)
            values[f] = values[RDR_HTTP_HTTP_URL];
    int size = rdr_encode(schema, 0, NULL, values, record, sizeof record, NULL);
    cr_assert_gt(size, (int)RDR_RECORD_MAX_BYTES - 5);
    cr_assert_eq(rdr_decode(record, sizeof record, &decoded, &refusal, &field), size);
    cr_assert_eq(decoded.values[RDR_HTTP_SUBSCRIBER_ID].string_bytes, decoded.values[RDR_HTTP_HTTP_URL].string_bytes);
}

Test(rdr, input_cut_at_every_length_asks_for_more)
{
    const struct rdr_schema *layouts[32];
    unsigned length = all_layouts(layouts);
    for (unsigned i = 0; i < length; i++) {
        struct rdr_value values[RDR_FIELDS_MAX];
        struct rdr_record decoded;
        enum rdr_refusal refusal = RDR_REFUSAL_COUNT;
        unsigned field;
        int size = make(layouts[i], true, "text", values);
        for (int cut = 0; cut < size; cut++) {
            uint8_t *exact = malloc((size_t)cut + 1); /* its own block, so that a sanitizer sees a byte too far */
            memcpy(exact, record, (size_t)cut);
            cr_assert_eq(rdr_decode(exact, (size_t)cut, &decoded, &refusal, &field), 0, "%d of %d", cut, size);
            cr_assert_eq(refusal, RDR_REFUSAL_COUNT);
            free(exact);
        }
    }
}

static enum rdr_refusal refusal_of(const uint8_t *bytes, size_t size, unsigned *ret_field)
{
    struct rdr_record decoded;
    enum rdr_refusal refusal = RDR_ACCEPTED;
    cr_assert_eq(rdr_decode(bytes, size, &decoded, &refusal, ret_field), -EBADMSG);
    return refusal;
}

/* Offsets in a FLOW_START: 20 SUBSCRIBER_ID (5 + 1), 26 PACKAGE_ID (5 + 2), 33 SERVICE_ID ... */
Test(rdr, every_refusal_has_its_reason)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_FLOW_START);
    unsigned field, seen = 0;
#define EXPECT(reason, expected_field, change)                                                                         \
    do {                                                                                                               \
        int size = make(schema, true, "s", values);                                                                    \
        change;                                                                                                        \
        cr_assert_eq(refusal_of(record, (size_t)size, &field), RDR_REFUSED_##reason, #reason);                         \
        cr_assert_eq(field, expected_field, "%s: field %u", #reason, field);                                           \
        seen |= 1u << RDR_REFUSED_##reason;                                                                            \
    } while (0)
    EXPECT(bad_length_digits, 0, record[1] = 'A');
    EXPECT(bad_length_digits, 0, record[4] = ':');
    EXPECT(short_length, 0, memcpy(record + 1, "0014", 4));
    EXPECT(unknown_tag, 0, record[15] = 0);
    EXPECT(field_count, 0, record[19]--);
    EXPECT(field_type, 0, record[20] = RDR_UINT8);
    EXPECT(field_type, 1, record[26] = RDR_INT32);
    EXPECT(field_length, 1, record[30] = 3);
    EXPECT(field_length, 0, memset(record + 21, 0xff, 4));
    EXPECT(field_length, 0, memcpy(record + 1, "0015", 4));
    EXPECT(trailing_bytes, 14, {
        int length = size - 5 + 1;
        record[2] = (uint8_t)('0' + length / 100);
        record[3] = (uint8_t)('0' + length / 10 % 10);
        record[4] = (uint8_t)('0' + length % 10);
        size++;
    });
#undef EXPECT
    cr_assert_eq(seen, ((1u << RDR_REFUSAL_COUNT) - 1) & ~1u, "a refusal without a test");
}

Test(rdr, a_cut_inside_the_record_by_a_smaller_length_is_refused_at_every_length)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_LINK_USAGE);
    unsigned field;
    int size = make(schema, true, "", values);
    for (int length = 15; length < size - 5; length++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%04d", length);
        memcpy(record + 1, digits, 4);
        enum rdr_refusal refusal = refusal_of(record, (size_t)length + 5, &field);
        cr_assert_eq(refusal, RDR_REFUSED_field_length, "length %d: %s", length, rdr_refusal_text(refusal));
    }
}

Test(rdr, package_id_is_taken_as_int16_and_as_uint16)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    struct rdr_record decoded;
    enum rdr_refusal refusal;
    unsigned field;
    make(rdr_schema_find(RDR_TAG_FLOW_START), false, "s", values);
    cr_assert_eq(record[26], RDR_INT16, "sent as INT16");
    rdr_decode(record, sizeof record, &decoded, &refusal, &field);
    cr_assert_eq(decoded.values[RDR_FLOW_PACKAGE_ID].integer, -32768);
    record[26] = RDR_UINT16;
    cr_assert_gt(rdr_decode(record, sizeof record, &decoded, &refusal, &field), 0);
    cr_assert_eq(decoded.values[RDR_FLOW_PACKAGE_ID].integer, 32768);
}

Test(rdr, ipv4_goes_out_with_its_first_octet_first)
{
    struct rdr_value values[RDR_FIELDS_MAX];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_FLOW_START);
    make(schema, false, "", values);
    values[RDR_FLOW_SERVER_IP].integer = 0x0a010203;
    rdr_encode(schema, 0, NULL, values, record, sizeof record, NULL);
    static const uint8_t expected[] = {RDR_UINT32, 0, 0, 0, 4, 10, 1, 2, 3};
    cr_assert_arr_eq(record + 20 + 5 + 7 + 9 + 6, expected, sizeof expected);
}

Test(rdr, schemas_are_what_the_contract_says)
{
    static const struct {
        uint32_t tag;
        unsigned field_count, ipv6_field_count;
        const char *table;
    } expected[] = {
        {0xF0F0F005, 13, 0, "RPT_LUR"},      {0xF0F0F010, 25, 0, "RPT_TR"},   {0xF0F0F016, 14, 0, "RPT_FLOW_START"},
        {0xF0F0F018, 14, 0, "RPT_FLOW_END"}, {0xF0F0F438, 25, 29, "RPT_TUR"}, {0xF0F0F43C, 27, 49, "RPT_HTTP"},
    };
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    cr_assert_eq(count, sizeof expected / sizeof expected[0]);
    for (unsigned i = 0; i < count; i++) {
        const struct rdr_schema *ipv6 = rdr_schema_find_ipv6(schemas[i].tag);
        cr_assert_eq(schemas[i].tag, expected[i].tag);
        cr_assert_eq(schemas[i].field_count, expected[i].field_count);
        cr_assert_eq(ipv6 ? ipv6->field_count : 0, expected[i].ipv6_field_count);
        cr_assert_str_eq(schemas[i].table, expected[i].table);
        cr_assert_eq(rdr_schema_find(expected[i].tag), &schemas[i]);
    }
    cr_assert_null(rdr_schema_find(1));
    const struct rdr_schema *tr = rdr_schema_find(RDR_TAG_TRANSACTION),
                            *tur = rdr_schema_find(RDR_TAG_TRANSACTION_USAGE);
    cr_assert_eq(tr->fields[RDR_TR_SKIPPED_SESSIONS].type, RDR_INT32);
    cr_assert_eq(tur->fields[RDR_TUR_SKIPPED_SESSIONS].type, RDR_UINT32);
    cr_assert_eq(rdr_field_find(tur, "FLOW_CLOSE_MODE"), 24);
    cr_assert_eq(rdr_field_find(tur, "USER_AGENT"), -1);
    const struct rdr_schema *http_ipv6 = rdr_schema_find_ipv6(RDR_TAG_HTTP_TRANSACTION_USAGE);
    cr_assert_str_eq(http_ipv6->fields[37].name, "3GPP_IMEISV");
}

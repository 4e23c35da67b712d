/* Records that describe themselves: versions that differ, and peers that lie. */
#include <criterion/criterion.h>

#include "dataplane/cascade/schema.h"

struct sample {
    uint8_t address[4];
    uint16_t port;
    uint32_t generation;
    uint64_t bytes;
    struct cascade_blob text;
    uint8_t mark;
};

static const struct cascade_field fields[] = {
    CASCADE_FIELD(struct sample, 1, CASCADE_BYTES, address, true),
    CASCADE_FIELD(struct sample, 2, CASCADE_UINT, port, true),
    CASCADE_FIELD(struct sample, 3, CASCADE_UINT, generation, false),
    CASCADE_FIELD(struct sample, 4, CASCADE_UINT, bytes, false),
    CASCADE_FIELD(struct sample, 5, CASCADE_BLOB, text, false),
    CASCADE_FIELD(struct sample, 6, CASCADE_UINT, mark, false),
};
static const struct cascade_kind kind = {
    .number = 7, .field_count = 6, .struct_bytes = sizeof(struct sample), .name = "sample", .fields = fields};
static const struct cascade_kind *const kinds[] = {&kind, NULL};

static const struct sample values = {.address = {10, 0, 0, 1},
                                     .port = 443,
                                     .generation = 0x01020304,
                                     .bytes = UINT64_C(0x1122334455667788),
                                     .text = {(const uint8_t *)"example.org", 11},
                                     .mark = 9};

static enum cascade_refusal define(struct cascade_reader *reader, const struct cascade_kind *theirs)
{
    uint8_t wire[512];
    size_t size = cascade_write_definition(theirs, wire, sizeof wire);
    cr_assert(size);
    struct cursor c = cursor_of(wire, size);
    return cascade_define(reader, &c);
}

static void reader_of(struct cascade_reader *reader, const struct cascade_kind *theirs)
{
    cascade_reader_init(reader, kinds);
    cr_assert_eq(define(reader, theirs), CASCADE_REFUSAL_none);
}

/* The peer's kind: ours with `count` fields of its own choice. */
static struct cascade_kind kind_of(const struct cascade_field *theirs, unsigned count)
{
    struct cascade_kind other = kind;
    other.fields = theirs;
    other.field_count = (uint8_t)count;
    return other;
}

Test(cascade_schema, bytes_of_a_record)
{
    static const uint8_t expected[] = {7,    0,    0,    4 + 2 + 4 + 8 + 13 + 1,
                                       10,   0,    0,    1,
                                       0x01, 0xbb, 1,    2,
                                       3,    4,    0x11, 0x22,
                                       0x33, 0x44, 0x55, 0x66,
                                       0x77, 0x88, 0,    11,
                                       'e',  'x',  'a',  'm',
                                       'p',  'l',  'e',  '.',
                                       'o',  'r',  'g',  9};
    uint8_t wire[64];
    cr_assert_eq(cascade_write_record(&kind, &values, wire, sizeof wire), sizeof expected);
    cr_assert_arr_eq(wire, expected, sizeof expected);
    cr_assert_eq(cascade_write_record(&kind, &values, wire, sizeof expected - 1), 0);
}

Test(cascade_schema, same_version)
{
    struct cascade_reader reader;
    reader_of(&reader, &kind);
    uint8_t wire[128];
    size_t size = cascade_write_record(&kind, &values, wire, sizeof wire), whole;
    for (size_t cut = 0; cut < size; cut++)
        cr_assert_not(cascade_record_whole(wire, cut, &whole));
    cr_assert(cascade_record_whole(wire, size, &whole));
    cr_assert_eq(whole, size);
    struct cursor c = cursor_of(wire, size);
    struct sample got;
    const struct cascade_kind *got_kind;
    cr_assert_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_none);
    cr_assert_eq(got_kind, &kind);
    cr_assert_eq(cursor_left(&c), 0);
    cr_assert_arr_eq(got.address, values.address, 4);
    cr_assert_eq(got.port, 443);
    cr_assert_eq(got.generation, values.generation);
    cr_assert_eq(got.bytes, values.bytes);
    cr_assert_eq(got.mark, 9);
    cr_assert_eq(got.text.size_bytes, 11);
    cr_assert_arr_eq(got.text.bytes, "example.org", 11);
}

/* Another order, a wider and a narrower integer, a field that we do not know, one of ours that is missing. */
Test(cascade_schema, other_version)
{
    struct other {
        uint64_t generation;
        uint16_t unknown;
        uint8_t address[4];
        uint16_t port;
        uint32_t bytes;
        struct cascade_blob unknown_text;
    };
    static const struct cascade_field theirs[] = {
        CASCADE_FIELD(struct other, 3, CASCADE_UINT, generation, false),
        CASCADE_FIELD(struct other, 200, CASCADE_UINT, unknown, false),
        CASCADE_FIELD(struct other, 201, CASCADE_BLOB, unknown_text, false),
        CASCADE_FIELD(struct other, 1, CASCADE_BYTES, address, false),
        CASCADE_FIELD(struct other, 2, CASCADE_UINT, port, false),
        CASCADE_FIELD(struct other, 4, CASCADE_UINT, bytes, false),
    };
    struct cascade_kind other = kind_of(theirs, 6);
    struct cascade_reader reader;
    reader_of(&reader, &other);
    struct other sent = {.generation = 77,
                         .unknown = 5,
                         .address = {1, 2, 3, 4},
                         .port = 80,
                         .bytes = 1000,
                         .unknown_text = {(const uint8_t *)"later", 5}};
    uint8_t wire[128];
    size_t size = cascade_write_record(&other, &sent, wire, sizeof wire);
    struct cursor c = cursor_of(wire, size);
    struct sample got;
    const struct cascade_kind *got_kind;
    cr_assert_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_none);
    cr_assert_eq(got.generation, 77);
    cr_assert_eq(got.bytes, 1000);
    cr_assert_eq(got.port, 80);
    cr_assert_eq(got.address[3], 4);
    cr_assert_eq(got.mark, 0);
    cr_assert_eq(got.text.size_bytes, 0);

    sent.generation = UINT64_C(1) << 32;
    size = cascade_write_record(&other, &sent, wire, sizeof wire);
    c = cursor_of(wire, size);
    cr_assert_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_value_too_wide);
    cr_assert(c.ok);
    cr_assert_eq(cursor_left(&c), 0);
}

/* What a later version appends to a record is not read. */
Test(cascade_schema, longer_record_and_unknown_kind)
{
    struct cascade_reader reader;
    reader_of(&reader, &kind);
    uint8_t wire[128];
    size_t size = cascade_write_record(&kind, &values, wire, sizeof wire);
    wire[3] = (uint8_t)(wire[3] + 3);
    memset(wire + size, 0xee, 3);
    struct cursor c = cursor_of(wire, size + 3);
    struct sample got;
    const struct cascade_kind *got_kind;
    cr_assert_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_none);
    cr_assert_eq(got.mark, 9);
    cr_assert_eq(cursor_left(&c), 0);

    struct cascade_kind later = kind;
    later.number = 30;
    later.name = "later";
    cr_assert_eq(define(&reader, &later), CASCADE_REFUSAL_none);
    size = cascade_write_record(&later, &values, wire, sizeof wire);
    c = cursor_of(wire, size);
    cr_assert_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_none);
    cr_assert_null(got_kind);
    cr_assert_eq(cursor_left(&c), 0);
}

Test(cascade_schema, refused_definitions)
{
    static const struct cascade_field missing[] = {CASCADE_FIELD(struct sample, 2, CASCADE_UINT, port, true)};
    static const struct cascade_field twice[] = {CASCADE_FIELD(struct sample, 2, CASCADE_UINT, port, true),
                                                 CASCADE_FIELD(struct sample, 2, CASCADE_UINT, port, true)};
    static const struct cascade_field type[] = {{1, CASCADE_UINT, true, 4, 0, "address"}};
    static const struct cascade_field size[] = {{1, CASCADE_BYTES, true, 5, 0, "address"}};
    static const struct cascade_field odd[] = {{2, CASCADE_UINT, true, 3, 0, "port"}};
    static const struct cascade_field none[] = {{200, 9, false, 3, 0, "what"}};
    static const struct {
        const struct cascade_field *fields;
        unsigned count;
        enum cascade_refusal refusal;
    } cases[] = {
        {missing, 1, CASCADE_REFUSAL_field_missing}, {twice, 2, CASCADE_REFUSAL_field_twice},
        {type, 1, CASCADE_REFUSAL_field_type},       {size, 1, CASCADE_REFUSAL_field_size},
        {odd, 1, CASCADE_REFUSAL_field_size},        {none, 1, CASCADE_REFUSAL_field_size},
    };
    struct cascade_reader reader;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cascade_kind other = kind_of(cases[i].fields, cases[i].count);
        cascade_reader_init(&reader, kinds);
        cr_expect_eq(define(&reader, &other), cases[i].refusal, "case %u", i);
        cr_expect_not(reader.defined[7]);
    }
    struct cascade_kind other = kind;
    other.name = "sampler";
    cascade_reader_init(&reader, kinds);
    cr_expect_eq(define(&reader, &other), CASCADE_REFUSAL_name_differs);
    cr_expect_eq(define(&reader, &kind), CASCADE_REFUSAL_none);
    cr_expect_eq(define(&reader, &kind), CASCADE_REFUSAL_kind_defined_twice);
    other.number = CASCADE_KINDS_MAX;
    cr_expect_eq(define(&reader, &other), CASCADE_REFUSAL_kind_unknown);
    uint8_t wire[512];
    size_t whole = cascade_write_definition(&kind, wire, sizeof wire);
    for (size_t cut = 0; cut < whole; cut++) {
        struct cursor c = cursor_of(wire, cut);
        cascade_reader_init(&reader, kinds);
        cr_expect_eq(cascade_define(&reader, &c), CASCADE_REFUSAL_cut_off, "cut at %zu", cut);
    }
}

Test(cascade_schema, refused_records)
{
    struct cascade_reader reader;
    reader_of(&reader, &kind);
    uint8_t wire[128];
    size_t size = cascade_write_record(&kind, &values, wire, sizeof wire);
    struct sample got;
    const struct cascade_kind *got_kind;
    for (size_t body = 0; body < size - 4; body++) { /* a length that lies: too short for the fields */
        wire[3] = (uint8_t)body;
        struct cursor c = cursor_of(wire, size);
        cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_cut_off);
        cr_expect_null(got_kind);
    }
    wire[3] = (uint8_t)(size - 4 + 1); /* longer than what is there */
    struct cursor c = cursor_of(wire, size);
    cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_cut_off);
    cr_expect_not(c.ok);
    wire[3] = (uint8_t)(size - 4);
    c = cursor_of(wire, size);
    cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got - 1), CASCADE_REFUSAL_misplaced);
    cr_expect(c.ok && !cursor_left(&c));
    wire[1] = 0xff;
    c = cursor_of(wire, size);
    cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_too_long);
    size = cascade_write_record(&kind, &values, wire, sizeof wire);
    wire[0] = 8;
    c = cursor_of(wire, size);
    cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_kind_unknown);
    wire[0] = 7;
    wire[22] = 0xff; /* a blob larger than the record */
    c = cursor_of(wire, size);
    cr_expect_eq(cascade_read_record(&reader, &c, &got_kind, &got, sizeof got), CASCADE_REFUSAL_cut_off);
}

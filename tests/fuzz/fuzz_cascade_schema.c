/*
 * Any bytes as a peer's definitions (their number first) and the records after them. What is read of a kind whose
 * definition is ours must be written as the same bytes again.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/cascade/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct values {
    uint8_t address[16];
    uint64_t bytes;
    uint32_t packets;
    uint16_t port;
    uint8_t flags;
    struct cascade_blob text;
};

static const struct cascade_field fields[] = {
    CASCADE_FIELD(struct values, 1, CASCADE_BYTES, address, true),
    CASCADE_FIELD(struct values, 2, CASCADE_UINT, bytes, false),
    CASCADE_FIELD(struct values, 3, CASCADE_UINT, packets, false),
    CASCADE_FIELD(struct values, 4, CASCADE_UINT, port, false),
    CASCADE_FIELD(struct values, 5, CASCADE_UINT, flags, false),
    CASCADE_FIELD(struct values, 6, CASCADE_BLOB, text, false),
};
static const struct cascade_kind theirs = {1, 6, sizeof(struct values), "defined by the peer", fields},
                                 ours = {2, 6, sizeof(struct values), "ours", fields};
static const struct cascade_kind *const kinds[] = {&theirs, &ours, NULL};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t wire[1 << 17];
    struct cascade_reader reader;
    struct values values;
    struct cursor own = cursor_of(wire, cascade_write_definition(&ours, wire, sizeof wire)), c = cursor_of(bytes, size);
    cascade_reader_init(&reader, kinds);
    if (cascade_define(&reader, &own) != CASCADE_REFUSAL_none)
        abort();
    for (unsigned definitions = cursor_u8(&c); definitions && c.ok; definitions--)
        cascade_define(&reader, &c);
    while (cursor_left(&c)) {
        const uint8_t *from = c.p;
        const struct cascade_kind *kind;
        size_t whole_bytes;
        bool whole = cascade_record_whole(from, cursor_left(&c), &whole_bytes);
        enum cascade_refusal refusal = cascade_read_record(&reader, &c, &kind, &values, sizeof values);
        if (refusal >= CASCADE_REFUSAL_COUNT || (c.ok && (!whole || (size_t)(c.p - from) != whole_bytes)))
            abort();
        if (!c.ok)
            break;
        if (kind != &ours)
            continue;
        size_t again = cascade_write_record(&ours, &values, wire, sizeof wire);
        if (!again || again > whole_bytes || memcmp(wire + 4, from + 4, again - 4))
            abort();
    }
    return 0;
}

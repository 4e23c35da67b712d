#include "dataplane/cascade/schema.h"

#define HEADER_BYTES 4u

static_assert(CASCADE_FIELDS_MAX < CASCADE_SKIP, "an index is never the mark");

const char *cascade_refusal_name(enum cascade_refusal refusal)
{
    static const char *const names[CASCADE_REFUSAL_COUNT] = {
#define X(name, text) #name,
        CASCADE_REFUSALS(X)
#undef X
    };
    return names[refusal];
}

const char *cascade_refusal_text(enum cascade_refusal refusal)
{
    static const char *const texts[CASCADE_REFUSAL_COUNT] = {
#define X(name, text) text,
        CASCADE_REFUSALS(X)
#undef X
    };
    return texts[refusal];
}

/* ---- writing ---- */

static void put_be(uint8_t *to, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = size_bytes; i-- > 0; value >>= 8)
        to[i] = (uint8_t)value;
}

static uint64_t load_uint(const void *from, unsigned size_bytes)
{
    uint64_t value = 0;
    switch (size_bytes) {
    case 1:
        return *(const uint8_t *)from;
    case 2: {
        uint16_t half;
        memcpy(&half, from, sizeof half);
        return half;
    }
    case 4: {
        uint32_t word;
        memcpy(&word, from, sizeof word);
        return word;
    }
    default:
        memcpy(&value, from, sizeof value);
        return value;
    }
}

static void store_uint(void *to, uint64_t value, unsigned size_bytes)
{
    switch (size_bytes) {
    case 1:
        *(uint8_t *)to = (uint8_t)value;
        break;
    case 2: {
        uint16_t half = (uint16_t)value;
        memcpy(to, &half, sizeof half);
        break;
    }
    case 4: {
        uint32_t word = (uint32_t)value;
        memcpy(to, &word, sizeof word);
        break;
    }
    default:
        memcpy(to, &value, sizeof value);
    }
}

size_t cascade_write_definition(const struct cascade_kind *kind, uint8_t *to, size_t size)
{
    size_t name_bytes = strlen(kind->name), needed = 3 + name_bytes + 4u * kind->field_count;
    if (needed > size)
        return 0;
    uint8_t *p = to;
    *p++ = kind->number;
    *p++ = kind->field_count;
    *p++ = (uint8_t)name_bytes;
    memcpy(p, kind->name, name_bytes);
    p += name_bytes;
    for (unsigned i = 0; i < kind->field_count; i++, p += 4) {
        p[0] = kind->fields[i].number;
        p[1] = kind->fields[i].type;
        put_be(p + 2, kind->fields[i].size_bytes, 2);
    }
    return needed;
}

static size_t body_bytes(const struct cascade_kind *kind, const uint8_t *values)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < kind->field_count; i++) {
        const struct cascade_field *field = &kind->fields[i];
        bytes += field->type == CASCADE_BLOB
                     ? 2u + ((const struct cascade_blob *)(const void *)(values + field->offset))->size_bytes
                     : field->size_bytes;
    }
    return bytes;
}

size_t cascade_write_record(const struct cascade_kind *kind, const void *values, uint8_t *to, size_t size)
{
    const uint8_t *from = values;
    size_t body = body_bytes(kind, from);
    if (body > CASCADE_RECORD_MAX_BYTES || HEADER_BYTES + body > size)
        return 0;
    to[0] = kind->number;
    put_be(to + 1, body, 3);
    uint8_t *p = to + HEADER_BYTES;
    for (unsigned i = 0; i < kind->field_count; i++) {
        const struct cascade_field *field = &kind->fields[i];
        const uint8_t *value = from + field->offset;
        if (field->type == CASCADE_UINT) {
            put_be(p, load_uint(value, field->size_bytes), field->size_bytes);
            p += field->size_bytes;
        } else if (field->type == CASCADE_BYTES) {
            memcpy(p, value, field->size_bytes);
            p += field->size_bytes;
        } else {
            const struct cascade_blob *blob = (const struct cascade_blob *)(const void *)value;
            put_be(p, blob->size_bytes, 2);
            if (blob->size_bytes)
                memcpy(p + 2, blob->bytes, blob->size_bytes);
            p += 2u + blob->size_bytes;
        }
    }
    return HEADER_BYTES + body;
}

/* ---- reading ---- */

void cascade_reader_init(struct cascade_reader *reader, const struct cascade_kind *const *kinds)
{
    memset(reader, 0, sizeof *reader);
    reader->kinds = kinds;
}

static const struct cascade_kind *own_kind(const struct cascade_reader *reader, unsigned number)
{
    for (const struct cascade_kind *const *kind = reader->kinds; *kind; kind++)
        if ((*kind)->number == number)
            return *kind;
    return NULL;
}

static bool size_fits_type(unsigned type, unsigned size_bytes)
{
    if (type == CASCADE_UINT)
        return size_bytes == 1 || size_bytes == 2 || size_bytes == 4 || size_bytes == 8;
    return type == CASCADE_BYTES ? size_bytes > 0 : type == CASCADE_BLOB && size_bytes == 0;
}

/* One field of a definition into the plan. Types of fields that we do not know must be known all the same: to skip them. */
static enum cascade_refusal plan_field(struct cascade_plan *plan, unsigned i, unsigned number, unsigned type,
                                       unsigned size_bytes, uint64_t *seen)
{
    if (!size_fits_type(type, size_bytes))
        return CASCADE_REFUSAL_field_size;
    plan->fields[i].type = (uint8_t)type;
    plan->fields[i].size_bytes = (uint16_t)size_bytes;
    plan->fields[i].ours = CASCADE_SKIP;
    for (unsigned k = 0; plan->kind && k < plan->kind->field_count; k++) {
        const struct cascade_field *field = &plan->kind->fields[k];
        if (field->number != number)
            continue;
        if (field->type != type)
            return CASCADE_REFUSAL_field_type;
        if (type == CASCADE_BYTES && field->size_bytes != size_bytes)
            return CASCADE_REFUSAL_field_size;
        if (*seen & UINT64_C(1) << k)
            return CASCADE_REFUSAL_field_twice;
        *seen |= UINT64_C(1) << k;
        plan->fields[i].ours = (uint8_t)k;
    }
    return CASCADE_REFUSAL_none;
}

enum cascade_refusal cascade_define(struct cascade_reader *reader, struct cursor *c)
{
    unsigned number = cursor_u8(c), count = cursor_u8(c), name_bytes = cursor_u8(c);
    const uint8_t *name = cursor_take(c, name_bytes);
    if (!c->ok)
        return CASCADE_REFUSAL_cut_off;
    if (number >= CASCADE_KINDS_MAX)
        return CASCADE_REFUSAL_kind_unknown;
    if (reader->defined[number])
        return CASCADE_REFUSAL_kind_defined_twice;
    if (count > CASCADE_FIELDS_MAX)
        return CASCADE_REFUSAL_field_count;
    struct cascade_plan plan = {.kind = own_kind(reader, number), .field_count = (uint8_t)count};
    if (plan.kind && (strlen(plan.kind->name) != name_bytes || memcmp(plan.kind->name, name, name_bytes)))
        return CASCADE_REFUSAL_name_differs;
    uint64_t seen = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned field_number = cursor_u8(c), type = cursor_u8(c), size_bytes = cursor_be16(c);
        if (!c->ok)
            return CASCADE_REFUSAL_cut_off;
        enum cascade_refusal refusal = plan_field(&plan, i, field_number, type, size_bytes, &seen);
        if (refusal)
            return refusal;
    }
    for (unsigned k = 0; plan.kind && k < plan.kind->field_count; k++)
        if (plan.kind->fields[k].required && !(seen & UINT64_C(1) << k))
            return CASCADE_REFUSAL_field_missing;
    reader->plans[number] = plan;
    reader->defined[number] = true;
    return CASCADE_REFUSAL_none;
}

static uint64_t take_be(struct cursor *c, unsigned size_bytes)
{
    switch (size_bytes) {
    case 1:
        return cursor_u8(c);
    case 2:
        return cursor_be16(c);
    case 4:
        return cursor_be32(c);
    default:
        return cursor_be64(c);
    }
}

static bool fits(uint64_t value, unsigned size_bytes)
{
    return size_bytes == 8 || value >> (8 * size_bytes) == 0;
}

static enum cascade_refusal read_fields(const struct cascade_plan *plan, struct cursor *c, uint8_t *values)
{
    for (unsigned i = 0; i < plan->field_count; i++) {
        unsigned type = plan->fields[i].type, size_bytes = plan->fields[i].size_bytes;
        const struct cascade_field *ours =
            plan->fields[i].ours == CASCADE_SKIP ? NULL : &plan->kind->fields[plan->fields[i].ours];
        if (type == CASCADE_UINT) {
            uint64_t value = take_be(c, size_bytes);
            if (ours && !fits(value, ours->size_bytes))
                return CASCADE_REFUSAL_value_too_wide;
            if (ours)
                store_uint(values + ours->offset, value, ours->size_bytes);
            continue;
        }
        unsigned bytes = type == CASCADE_BLOB ? cursor_be16(c) : size_bytes;
        const uint8_t *from = cursor_take(c, bytes);
        if (!from || !ours)
            continue;
        if (type == CASCADE_BLOB) {
            struct cascade_blob blob = {.bytes = from, .size_bytes = (uint16_t)bytes};
            memcpy(values + ours->offset, &blob, sizeof blob);
        } else {
            memcpy(values + ours->offset, from, bytes);
        }
    }
    return c->ok ? CASCADE_REFUSAL_none : CASCADE_REFUSAL_cut_off;
}

enum cascade_refusal cascade_read_record(const struct cascade_reader *reader, struct cursor *c,
                                         const struct cascade_kind **ret_kind, void *ret_values, size_t values_size)
{
    unsigned number = cursor_u8(c);
    uint32_t body_size = cursor_be24(c);
    *ret_kind = NULL;
    if (c->ok && body_size > CASCADE_RECORD_MAX_BYTES) {
        c->ok = false;
        return CASCADE_REFUSAL_too_long;
    }
    struct cursor body = cursor_sub(c, body_size);
    if (!c->ok)
        return CASCADE_REFUSAL_cut_off;
    if (number >= CASCADE_KINDS_MAX || !reader->defined[number])
        return CASCADE_REFUSAL_kind_unknown;
    const struct cascade_plan *plan = &reader->plans[number];
    if (!plan->kind)
        return CASCADE_REFUSAL_none;
    if (plan->kind->struct_bytes > values_size)
        return CASCADE_REFUSAL_misplaced;
    memset(ret_values, 0, plan->kind->struct_bytes);
    enum cascade_refusal refusal = read_fields(plan, &body, ret_values);
    if (!refusal)
        *ret_kind = plan->kind;
    return refusal;
}

bool cascade_record_whole(const uint8_t *bytes, size_t size, size_t *ret_size_bytes)
{
    struct cursor c = cursor_of(bytes, size);
    cursor_skip(&c, 1);
    size_t body = cursor_be24(&c);
    *ret_size_bytes = c.ok ? HEADER_BYTES + body : 0;
    return c.ok && cursor_left(&c) >= body;
}

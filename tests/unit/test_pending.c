/*
 * Putting a direction's first bytes in order, against a model that keeps a byte and a mark for every offset; and the pools.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/pending.h"

#define BUDGET_BYTES (1u << 20)

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((random_state >> 32) * limit) >> 32);
}

static void expect_nothing_taken(const struct dp_pending_pool *pool)
{
    struct dp_pending_usage usage;
    dp_pending_usage(pool, &usage);
    cr_expect_eq(usage.blocks, 0, "%u blocks", usage.blocks);
    cr_expect_eq(usage.infos, 0, "%u texts", usage.infos);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        cr_expect_eq(usage.buffers[i], 0, "%u buffers of class %u", usage.buffers[i], i);
}

/* A copy on the heap of just this size, so that a sanitizer sees each byte that is read beyond it. */
static enum dp_stream_result add(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t seq,
                                 const void *bytes, uint32_t size)
{
    uint8_t *copy = malloc(size);
    memcpy(copy, bytes, size);
    enum dp_stream_result result = dp_stream_add(pool, stream, seq, copy, size);
    free(copy);
    return result;
}

static struct dp_pending *take(struct dp_pending_pool *pool, uint32_t *handle, uint32_t base_seq)
{
    struct dp_pending *pending = dp_pending_take(pool, handle);
    cr_assert(pending);
    for (unsigned d = 0; d < 2; d++) {
        pending->stream[d].started = true;
        pending->stream[d].base_seq = base_seq;
    }
    return pending;
}

static void expect_bytes(const struct dp_stream *stream, const char *expected)
{
    cr_expect_eq(stream->in_order_bytes, strlen(expected), "%u bytes in order", stream->in_order_bytes);
    cr_expect(!memcmp(stream->bytes, expected, strlen(expected)), "%.*s", stream->in_order_bytes,
              (const char *)stream->bytes);
}

/* ---- the model ---- */

struct model {
    uint8_t bytes[CL_STREAM_MAX_BYTES];
    bool present[CL_STREAM_MAX_BYTES];
    unsigned in_order, waited;
    uint32_t skipped; /* bytes of a first gap that was given up */
    bool ambiguous;
};

static unsigned model_runs(const struct model *m)
{
    unsigned runs = 0;
    for (unsigned i = m->in_order; i < CL_STREAM_MAX_BYTES; i++)
        runs += m->present[i] && !(i && m->present[i - 1]);
    return runs;
}

static void model_skip(struct model *m)
{
    unsigned shift = 0;
    while (!m->present[shift])
        shift++;
    memmove(m->bytes, m->bytes + shift, CL_STREAM_MAX_BYTES - shift);
    memmove(m->present, m->present + shift, (CL_STREAM_MAX_BYTES - shift) * sizeof *m->present);
    memset(m->present + CL_STREAM_MAX_BYTES - shift, 0, shift * sizeof *m->present);
    m->skipped += shift;
}

static void model_advance(struct model *m)
{
    while (m->in_order < CL_STREAM_MAX_BYTES && m->present[m->in_order])
        m->in_order++;
}

/* `offset` from the first byte that is kept, which may be before it. */
static void model_add(struct model *m, int64_t offset, const uint8_t *bytes, uint32_t size)
{
    static struct model before;
    before = *m;
    if (offset + size <= 0 || offset >= CL_STREAM_MAX_BYTES)
        return;
    for (uint32_t i = 0; i < size; i++) {
        int64_t at = offset + i;
        if (at < 0 || at >= CL_STREAM_MAX_BYTES)
            continue;
        if (m->present[at]) {
            m->ambiguous |= m->bytes[at] != bytes[i];
        } else {
            m->present[at] = true;
            m->bytes[at] = bytes[i];
        }
    }
    model_advance(m);
    if (model_runs(m) > DP_PENDING_SEGMENTS) { /* one run too many: it is as if it had not come */
        before.ambiguous = m->ambiguous;
        *m = before;
    }
    if (!m->in_order && ++m->waited >= 4) {
        model_skip(m);
        model_advance(m);
    }
}

static uint8_t true_byte(uint32_t offset)
{
    return (uint8_t)(offset * 7 + offset / 251);
}

struct walk {
    uint32_t span;      /* how far from the in-order bytes segments begin */
    uint32_t size_max;  /* of a segment */
    uint32_t lies_1_in; /* segments with a byte that is not true; 0: none */
    uint32_t segments;
};

/* Sends random segments of one direction to both; they must agree after each. Returns how many bytes got in order. */
static unsigned walk(struct dp_pending_pool *pool, const struct walk *w, uint64_t seed, bool *ret_ambiguous)
{
    static struct model model;
    uint8_t bytes[2 * CL_STREAM_MAX_BYTES];
    uint32_t handle;
    random_state = seed;
    uint32_t base_seq = random_below(2) ? random_below(UINT32_MAX) : UINT32_MAX - random_below(3000);
    struct dp_stream *stream = &take(pool, &handle, base_seq)->stream[0];
    memset(&model, 0, sizeof model);
    for (unsigned i = 0; i < w->segments; i++) {
        int64_t offset = (int64_t)model.in_order + random_below(w->span) - w->span / 2;
        uint32_t size = 1 + random_below(w->size_max);
        for (uint32_t b = 0; b < size; b++)
            bytes[b] = true_byte((uint32_t)(offset + model.skipped + b));
        if (w->lies_1_in && !random_below(w->lies_1_in))
            bytes[random_below(size)] ^= 0x55;
        unsigned before = model.in_order;
        enum dp_stream_result result = add(pool, stream, base_seq + model.skipped + (uint32_t)offset, bytes, size);
        model_add(&model, offset, bytes, size);
        cr_assert_eq(stream->in_order_bytes, model.in_order, "seed %lu, segment %u: %u bytes in order, not %u",
                     (unsigned long)seed, i, stream->in_order_bytes, model.in_order);
        cr_assert(!model.in_order || !memcmp(stream->bytes, model.bytes, model.in_order), "seed %lu, segment %u",
                  (unsigned long)seed, i);
        cr_assert_eq(stream->ambiguous, model.ambiguous, "seed %lu, segment %u", (unsigned long)seed, i);
        cr_assert_eq(result == DP_STREAM_GREW, model.in_order > before);
        cr_assert_eq(result == DP_STREAM_FULL, offset >= CL_STREAM_MAX_BYTES);
    }
    *ret_ambiguous = model.ambiguous;
    dp_pending_drop(pool, handle);
    return model.in_order;
}

Test(pending, random_segments_are_put_in_order_as_by_the_model)
{
    static const struct walk walks[] = {
        {.span = 40, .size_max = 30, .segments = 200},
        {.span = 40, .size_max = 30, .lies_1_in = 50, .segments = 200},
        {.span = 4000, .size_max = 1460, .segments = 60},
        {.span = 4000, .size_max = 1460, .lies_1_in = 5, .segments = 60},
        {.span = 600, .size_max = 1, .segments = 400},
        {.span = 20000, .size_max = 9000, .lies_1_in = 3, .segments = 30},
    };
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    unsigned full = 0, ambiguous = 0, part = 0;
    for (unsigned w = 0; w < sizeof walks / sizeof *walks; w++)
        for (uint64_t seed = 1; seed <= 300; seed++) {
            bool is_ambiguous;
            unsigned in_order = walk(pool, &walks[w], seed, &is_ambiguous);
            full += in_order == CL_STREAM_MAX_BYTES;
            part += in_order > 0 && in_order < CL_STREAM_MAX_BYTES;
            ambiguous += is_ambiguous;
            cr_assert(walks[w].lies_1_in || !is_ambiguous);
        }
    /* The walks went where they were meant to go. */
    cr_expect_geq(full, 100, "%u", full);
    cr_expect_geq(part, 100, "%u", part);
    cr_expect_geq(ambiguous, 100, "%u", ambiguous);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

/* ---- single rules ---- */

Test(pending, a_segment_that_fills_part_of_a_gap_counts_though_all_runs_are_taken)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    uint32_t handle;
    struct dp_stream *stream = &take(pool, &handle, 1000)->stream[0];
    cr_expect_eq(add(pool, stream, 1000, "ab", 2), DP_STREAM_GREW);
    for (unsigned i = 0; i < DP_PENDING_SEGMENTS; i++)
        cr_expect_eq(add(pool, stream, 1010 + 10 * i, "X", 1), DP_STREAM_WAITING);
    cr_expect_eq(stream->segment_count, DP_PENDING_SEGMENTS);
    cr_expect_eq(add(pool, stream, 1100, "fifth", 5), DP_STREAM_WAITING);
    cr_expect_eq(stream->segment_count, DP_PENDING_SEGMENTS);
    cr_expect_eq(add(pool, stream, 1002, "cd", 2), DP_STREAM_GREW);
    expect_bytes(stream, "abcd");
    cr_expect_eq(add(pool, stream, 1004, "efghij", 6), DP_STREAM_GREW);
    expect_bytes(stream, "abcdefghijX");
    cr_expect_eq(stream->segment_count, DP_PENDING_SEGMENTS - 1);
    dp_pending_drop(pool, handle);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

Test(pending, bytes_that_disagree_are_told_also_when_the_segment_brings_new_ones)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    uint32_t handle;
    struct dp_stream *stream = &take(pool, &handle, 0)->stream[0];
    add(pool, stream, 0, "GET /good", 9);
    cr_expect_eq(add(pool, stream, 5, "good HTTP", 9), DP_STREAM_GREW);
    cr_expect_not(stream->ambiguous);
    cr_expect_eq(add(pool, stream, 5, "evil HTTP/1.1", 13), DP_STREAM_GREW);
    cr_expect(stream->ambiguous);
    expect_bytes(stream, "GET /good HTTP/1.1");
    /* Bytes before the first one that is kept are unknown, so nothing can be said of them. */
    struct dp_stream *late = &dp_pending_get(pool, handle)->stream[1];
    add(pool, late, 10, "later", 5);
    for (unsigned i = 0; i < 3; i++)
        add(pool, late, 10, "later", 5);
    expect_bytes(late, "later");
    cr_expect_eq(late->base_seq, 10);
    cr_expect_eq(add(pool, late, 0, "0123456789later!", 16), DP_STREAM_GREW);
    cr_expect_not(late->ambiguous);
    expect_bytes(late, "later!");
    dp_pending_drop(pool, handle);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

Test(pending, only_a_gap_at_the_beginning_is_given_up)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    uint32_t handle;
    struct dp_pending *pending = take(pool, &handle, UINT32_MAX - 2);
    struct dp_stream *stream = &pending->stream[0];
    add(pool, stream, UINT32_MAX - 2, "abc", 3);
    for (uint32_t i = 0; i < 20; i++)
        cr_expect_eq(add(pool, stream, 5 + i, "x", 1), DP_STREAM_WAITING);
    expect_bytes(stream, "abc");
    cr_expect_eq(add(pool, stream, 0, "defgh", 5), DP_STREAM_GREW);
    expect_bytes(stream, "abcdefghxxxxxxxxxxxxxxxxxxxx");

    stream = &pending->stream[1];
    cr_expect_eq(add(pool, stream, 7, "7", 1), DP_STREAM_WAITING);
    cr_expect_eq(add(pool, stream, 9, "9", 1), DP_STREAM_WAITING);
    cr_expect_eq(add(pool, stream, 7, "7", 1), DP_STREAM_WAITING);
    cr_expect_eq(add(pool, stream, 10, "a", 1), DP_STREAM_GREW);
    expect_bytes(stream, "7");
    cr_expect_eq(add(pool, stream, 8, "8", 1), DP_STREAM_GREW);
    expect_bytes(stream, "789a");
    dp_pending_drop(pool, handle);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

Test(pending, distances_of_half_the_sequence_space_are_refused_without_arithmetic_trouble)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    uint32_t handle;
    struct dp_stream *stream = &take(pool, &handle, 1)->stream[0];
    cr_expect_eq(add(pool, stream, 1 + (1u << 31), "x", 1), DP_STREAM_WAITING);
    cr_expect_eq(add(pool, stream, 1u << 31, "x", 1), DP_STREAM_FULL);
    cr_expect_eq(add(pool, stream, 0, "x", 1), DP_STREAM_WAITING);
    cr_expect_eq(add(pool, stream, 1 + CL_STREAM_MAX_BYTES, "x", 1), DP_STREAM_FULL);
    cr_expect_null(stream->bytes);
    cr_expect_eq(add(pool, stream, CL_STREAM_MAX_BYTES, "x", 1), DP_STREAM_WAITING);
    cr_expect_not_null(stream->bytes);
    dp_pending_drop(pool, handle);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

/* Bytes before the end of the buffer stay what they were while it grows through all sizes. */
Test(pending, buffers_grow_through_the_classes_and_give_the_smaller_ones_back)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(BUDGET_BYTES);
    struct dp_pending_usage usage;
    uint8_t bytes[CL_STREAM_MAX_BYTES + 1000];
    uint32_t handle, sent = 0;
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = true_byte(i);
    struct dp_stream *stream = &take(pool, &handle, UINT32_MAX - 4000)->stream[0];
    for (uint32_t step = 512; sent + step <= sizeof bytes; sent += step) {
        enum dp_stream_result result = add(pool, stream, UINT32_MAX - 4000 + sent, bytes + sent, step);
        uint32_t kept = sent + step < CL_STREAM_MAX_BYTES ? sent + step : CL_STREAM_MAX_BYTES;
        cr_expect_eq(result, sent < CL_STREAM_MAX_BYTES ? DP_STREAM_GREW : DP_STREAM_FULL);
        cr_assert_eq(stream->in_order_bytes, kept);
        cr_assert(!memcmp(stream->bytes, bytes, kept));
        dp_pending_usage(pool, &usage);
        for (unsigned i = 0; i < DP_PENDING_CLASSES; i++) {
            bool fits = kept <= DP_PENDING_MIN_BYTES << i && (!i || kept > DP_PENDING_MIN_BYTES << (i - 1));
            cr_expect_eq(usage.buffers[i], fits, "%u bytes, class %u: %u", kept, i, usage.buffers[i]);
        }
    }
    dp_pending_drop(pool, handle);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

Test(pending, an_exhausted_pool_says_so_and_keeps_what_it_has)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(64 << 10);
    struct dp_pending_usage usage;
    uint8_t bytes[1024];
    uint32_t handles[4096], count = 0;
    memset(bytes, 'b', sizeof bytes);
    /* Every flow keeps both directions, so buffers end before blocks. */
    bool has_memory = true;
    while (has_memory && count < sizeof handles / sizeof *handles) {
        struct dp_pending *pending = dp_pending_take(pool, &handles[count]);
        if (!pending)
            break;
        count++;
        for (unsigned d = 0; d < 2 && has_memory; d++) {
            enum dp_stream_result result = add(pool, &pending->stream[d], 0, bytes, sizeof bytes);
            has_memory = result == DP_STREAM_GREW;
            cr_expect(has_memory || result == DP_STREAM_NO_MEMORY);
            cr_expect_eq(pending->stream[d].in_order_bytes, has_memory ? sizeof bytes : 0);
        }
    }
    cr_expect_not(has_memory);
    dp_pending_usage(pool, &usage);
    uint64_t taken_bytes = 0;
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        taken_bytes += (uint64_t)usage.buffers[i] * (DP_PENDING_MIN_BYTES << i);
    cr_expect_leq(taken_bytes, 64u << 10);
    cr_expect_geq(taken_bytes, 32u << 10);
    /* A flow that has a buffer and needs a larger one keeps the one it has. */
    struct dp_stream *first = &dp_pending_get(pool, handles[0])->stream[0];
    cr_expect_eq(add(pool, first, sizeof bytes, bytes, sizeof bytes), DP_STREAM_NO_MEMORY);
    cr_expect_eq(first->in_order_bytes, sizeof bytes);
    cr_expect(!memcmp(first->bytes, bytes, sizeof bytes));
    for (uint32_t i = 0; i < count; i++)
        dp_pending_drop(pool, handles[i]);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

Test(pending, blocks_and_texts_are_bounded_zeroed_and_come_back)
{
    struct dp_pending_pool *pool = dp_pending_pool_create(64 << 10);
    uint32_t handles[4096], count = 0, infos = 0;
    static const struct dp_pending zero;
    for (unsigned round = 0; round < 2; round++) {
        struct dp_pending *pending;
        for (count = infos = 0; (pending = dp_pending_take(pool, &handles[count])); count++) {
            cr_assert(!memcmp(pending, &zero, sizeof zero));
            cr_assert_eq(dp_pending_get(pool, handles[count]), pending);
            struct cl_info info, kept;
            dp_pending_texts(pool, pending, &info);
            for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
                cr_expect_eq(info.size_bytes[i], 0);
            cr_assert(dp_pending_keep_texts(pool, pending, &info));
            cr_expect_eq(pending->info, 0);
            cl_info_set(&info, CL_TEXT_host, "a.example", 9);
            cl_info_set(&info, CL_TEXT_version, "TLS 1.3", 7);
            if (dp_pending_keep_texts(pool, pending, &info)) {
                infos++;
                cl_info_set(&info, CL_TEXT_url, "/", 1);
                cr_expect(dp_pending_keep_texts(pool, pending, &info));
                dp_pending_texts(pool, pending, &kept);
                for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
                    cr_expect_eq(kept.size_bytes[i], info.size_bytes[i]);
                    cr_expect(!memcmp(kept.text[i], info.text[i], info.size_bytes[i]));
                }
            }
            memset(&pending->state, 's', sizeof pending->state);
        }
        struct dp_pending_usage usage;
        dp_pending_usage(pool, &usage);
        cr_expect_eq(usage.blocks, count);
        cr_expect_eq(usage.infos, infos);
        cr_expect_gt(count, infos);
        cr_expect_gt(infos, 0);
        for (uint32_t i = 0; i < count; i++)
            dp_pending_drop(pool, handles[i]);
        expect_nothing_taken(pool);
    }
    cr_expect_null(dp_pending_get(pool, 0));
    dp_pending_drop(pool, 0);
    expect_nothing_taken(pool);
    dp_pending_pool_free(pool);
}

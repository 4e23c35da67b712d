#include "dataplane/pending.h"

#include <stdlib.h>
#include <string.h>

#define GAP_PATIENCE 4u /* payload packets without the first byte before it is given up */

/* A stack of free indexes over an array that is reserved once. */
struct pool {
    uint8_t *memory;
    uint32_t *free;
    uint32_t free_count, count;
    size_t item_bytes;
};

struct dp_pending_pool {
    struct pool blocks;
    struct pool infos;
    struct pool buffers[DP_PENDING_CLASSES];
};

static bool pool_init(struct pool *pool, uint32_t count, size_t item_bytes)
{
    pool->memory = calloc(count, item_bytes); /* untouched pages cost nothing until used */
    pool->free = calloc(count, sizeof *pool->free);
    if (!pool->memory || !pool->free)
        return false;
    pool->item_bytes = item_bytes;
    pool->count = pool->free_count = count;
    for (uint32_t i = 0; i < count; i++)
        pool->free[i] = count - 1 - i;
    return true;
}

static void pool_fini(struct pool *pool)
{
    free(pool->memory);
    free(pool->free);
}

static void *pool_at(const struct pool *pool, uint32_t index)
{
    return pool->memory + (size_t)index * pool->item_bytes;
}

static void *pool_take(struct pool *pool)
{
    return pool->free_count ? pool_at(pool, pool->free[--pool->free_count]) : NULL;
}

static void pool_give(struct pool *pool, const void *item)
{
    pool->free[pool->free_count++] = (uint32_t)((size_t)((const uint8_t *)item - pool->memory) / pool->item_bytes);
}

struct dp_pending_pool *dp_pending_pool_create(uint64_t budget_bytes)
{
    struct dp_pending_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    /* An eighth for blocks, a quarter for texts, the rest for buffers, half of it in the smallest class. */
    bool ok =
        pool_init(&pool->blocks, (uint32_t)(budget_bytes / 8 / sizeof(struct dp_pending)) + 1,
                  sizeof(struct dp_pending)) &&
        pool_init(&pool->infos, (uint32_t)(budget_bytes / 4 / sizeof(struct cl_info)) + 1, sizeof(struct cl_info));
    uint64_t left = budget_bytes * 5 / 8;
    for (unsigned i = 0; ok && i < DP_PENDING_CLASSES; i++) {
        uint64_t share = i + 1 < DP_PENDING_CLASSES ? left / 2 : left;
        left -= share;
        size_t size = (size_t)DP_PENDING_MIN_BYTES << i;
        ok = pool_init(&pool->buffers[i], (uint32_t)(share / size) + 1, size);
    }
    if (!ok) {
        dp_pending_pool_free(pool);
        return NULL;
    }
    return pool;
}

void dp_pending_pool_free(struct dp_pending_pool *pool)
{
    if (!pool)
        return;
    pool_fini(&pool->blocks);
    pool_fini(&pool->infos);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        pool_fini(&pool->buffers[i]);
    free(pool);
}

struct dp_pending *dp_pending_take(struct dp_pending_pool *pool, uint32_t *ret_handle)
{
    struct dp_pending *pending = pool_take(&pool->blocks);
    if (!pending)
        return NULL;
    memset(pending, 0, sizeof *pending);
    *ret_handle = pool->blocks.free[pool->blocks.free_count] + 1;
    return pending;
}

struct dp_pending *dp_pending_get(struct dp_pending_pool *pool, uint32_t handle)
{
    return handle ? pool_at(&pool->blocks, handle - 1) : NULL;
}

static void stream_drop(struct dp_pending_pool *pool, struct dp_stream *stream)
{
    if (stream->bytes)
        pool_give(&pool->buffers[stream->size_class], stream->bytes);
    stream->bytes = NULL;
}

void dp_pending_drop(struct dp_pending_pool *pool, uint32_t handle)
{
    struct dp_pending *pending = dp_pending_get(pool, handle);
    if (!pending)
        return;
    stream_drop(pool, &pending->stream[0]);
    stream_drop(pool, &pending->stream[1]);
    if (pending->info)
        pool_give(&pool->infos, pool_at(&pool->infos, pending->info - 1u));
    pool_give(&pool->blocks, pending);
}

struct cl_info *dp_pending_info(struct dp_pending_pool *pool, struct dp_pending *pending)
{
    if (!pending->info) {
        struct cl_info *info = pool_take(&pool->infos);
        if (!info)
            return NULL;
        memset(info->size_bytes, 0, sizeof info->size_bytes);
        pending->info = pool->infos.free[pool->infos.free_count] + 1;
    }
    return pool_at(&pool->infos, pending->info - 1u);
}

void dp_pending_usage(const struct dp_pending_pool *pool, struct dp_pending_usage *ret_usage)
{
    ret_usage->blocks = pool->blocks.count - pool->blocks.free_count;
    ret_usage->infos = pool->infos.count - pool->infos.free_count;
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        ret_usage->buffers[i] = pool->buffers[i].count - pool->buffers[i].free_count;
}

/* Makes room for `need` bytes by moving to a larger buffer; false when that is not to be had. */
static bool stream_reserve(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t need, uint32_t used)
{
    if (stream->bytes && need <= DP_PENDING_MIN_BYTES << stream->size_class)
        return true;
    unsigned size_class = stream->bytes ? stream->size_class + 1u : 0;
    while (size_class < DP_PENDING_CLASSES &&
           (need > DP_PENDING_MIN_BYTES << size_class || !pool->buffers[size_class].free_count))
        size_class++;
    if (size_class >= DP_PENDING_CLASSES)
        return false;
    uint8_t *bytes = pool_take(&pool->buffers[size_class]);
    if (stream->bytes)
        memcpy(bytes, stream->bytes, used);
    stream_drop(pool, stream);
    stream->bytes = bytes;
    stream->size_class = (uint8_t)size_class;
    return true;
}

static uint32_t stream_used(const struct dp_stream *stream)
{
    return stream->segment_count ? stream->segments[stream->segment_count - 1].end : stream->in_order_bytes;
}

/* Copies the part of [begin, end) that is not there yet; true when what is there already differs from `bytes`. */
static bool stream_fill(struct dp_stream *stream, uint32_t begin, uint32_t end, const uint8_t *bytes)
{
    bool differs = false;
    for (uint32_t at = begin; at < end;) {
        bool present = at < stream->in_order_bytes;
        uint32_t until = present ? stream->in_order_bytes : end;
        for (unsigned i = 0; !present && i < stream->segment_count; i++) {
            if (at >= stream->segments[i].begin && at < stream->segments[i].end) {
                present = true;
                until = stream->segments[i].end;
            } else if (stream->segments[i].begin > at && stream->segments[i].begin < until) {
                until = stream->segments[i].begin;
            }
        }
        if (until > end)
            until = end;
        if (present)
            differs |= memcmp(stream->bytes + at, bytes + (at - begin), until - at) != 0;
        else
            memcpy(stream->bytes + at, bytes + (at - begin), until - at);
        at = until;
    }
    return differs;
}

static void stream_remove_run(struct dp_stream *stream, unsigned at)
{
    stream->segment_count--;
    memmove(&stream->segments[at], &stream->segments[at + 1],
            (stream->segment_count - at) * sizeof stream->segments[0]);
}

/* Extends the in-order bytes to `end`, then over the runs that they now touch; true when they grew. */
static bool stream_extend(struct dp_stream *stream, uint16_t end)
{
    uint16_t before = stream->in_order_bytes;
    if (end > before)
        stream->in_order_bytes = end;
    while (stream->segment_count && stream->segments[0].begin <= stream->in_order_bytes) {
        if (stream->segments[0].end > stream->in_order_bytes)
            stream->in_order_bytes = stream->segments[0].end;
        stream_remove_run(stream, 0);
    }
    return stream->in_order_bytes > before;
}

/* Keeps [begin, end) as a run ahead of a gap. Runs stay sorted and apart; one too many is forgotten: it will come again. */
static void stream_note_run(struct dp_stream *stream, uint16_t begin, uint16_t end)
{
    unsigned at = 0;
    while (at < stream->segment_count && stream->segments[at].end < begin)
        at++;
    while (at < stream->segment_count && stream->segments[at].begin <= end) {
        if (stream->segments[at].begin < begin)
            begin = stream->segments[at].begin;
        if (stream->segments[at].end > end)
            end = stream->segments[at].end;
        stream_remove_run(stream, at);
    }
    if (stream->segment_count == DP_PENDING_SEGMENTS)
        return;
    memmove(&stream->segments[at + 1], &stream->segments[at],
            (stream->segment_count - at) * sizeof stream->segments[0]);
    stream->segments[at].begin = begin;
    stream->segments[at].end = end;
    stream->segment_count++;
}

/* The direction's first bytes will not come: it begins with what came after them. */
static bool stream_skip_first_gap(struct dp_stream *stream)
{
    uint16_t shift = stream->segments[0].begin;
    memmove(stream->bytes, stream->bytes + shift, (size_t)(stream_used(stream) - shift));
    stream->base_seq += shift;
    for (unsigned i = 0; i < stream->segment_count; i++) {
        stream->segments[i].begin = (uint16_t)(stream->segments[i].begin - shift);
        stream->segments[i].end = (uint16_t)(stream->segments[i].end - shift);
    }
    return stream_extend(stream, 0);
}

enum dp_stream_result dp_stream_add(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t seq,
                                    const uint8_t *bytes, uint32_t size_bytes)
{
    uint32_t begin = seq - stream->base_seq;
    if (begin > INT32_MAX) { /* it begins before the first byte that is kept */
        uint32_t before = stream->base_seq - seq;
        if (before >= size_bytes)
            return DP_STREAM_WAITING;
        bytes += before;
        size_bytes -= before;
        begin = 0;
    }
    if (begin >= CL_STREAM_MAX_BYTES)
        return DP_STREAM_FULL;
    uint32_t end = size_bytes < CL_STREAM_MAX_BYTES - begin ? begin + size_bytes : CL_STREAM_MAX_BYTES;
    if (!stream_reserve(pool, stream, end, stream_used(stream)))
        return DP_STREAM_NO_MEMORY;
    stream->ambiguous |= stream_fill(stream, begin, end, bytes);
    bool grew = false;
    if (begin <= stream->in_order_bytes)
        grew = stream_extend(stream, (uint16_t)end);
    else
        stream_note_run(stream, (uint16_t)begin, (uint16_t)end);
    if (!stream->in_order_bytes && stream->segment_count && ++stream->waited >= GAP_PATIENCE)
        grew = stream_skip_first_gap(stream);
    return grew ? DP_STREAM_GREW : DP_STREAM_WAITING;
}

#include "dataplane/pending.h"

#include <stdlib.h>
#include <string.h>

#define GAP_PATIENCE 4u /* payload packets that wait on a gap before it is given up */

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

/* Notes [begin, end) as present; false when there are too many runs. Runs stay sorted and apart. */
static bool stream_note(struct dp_stream *stream, uint16_t begin, uint16_t end)
{
    unsigned at = 0;
    while (at < stream->segment_count && stream->segments[at].end < begin)
        at++;
    if (at < stream->segment_count && stream->segments[at].begin <= end) {
        if (begin < stream->segments[at].begin)
            stream->segments[at].begin = begin;
        if (end > stream->segments[at].end)
            stream->segments[at].end = end;
        while (at + 1u < stream->segment_count && stream->segments[at + 1].begin <= stream->segments[at].end) {
            if (stream->segments[at + 1].end > stream->segments[at].end)
                stream->segments[at].end = stream->segments[at + 1].end;
            memmove(&stream->segments[at + 1], &stream->segments[at + 2],
                    (stream->segment_count - at - 2u) * sizeof stream->segments[0]);
            stream->segment_count--;
        }
        return true;
    }
    if (stream->segment_count == DP_PENDING_SEGMENTS)
        return false;
    memmove(&stream->segments[at + 1], &stream->segments[at],
            (stream->segment_count - at) * sizeof stream->segments[0]);
    stream->segments[at].begin = begin;
    stream->segments[at].end = end;
    stream->segment_count++;
    return true;
}

/* Joins the first run to the in-order bytes when it touches them. */
static bool stream_join(struct dp_stream *stream)
{
    if (!stream->segment_count || stream->segments[0].begin > stream->in_order_bytes)
        return false;
    bool grew = stream->segments[0].end > stream->in_order_bytes;
    if (grew)
        stream->in_order_bytes = stream->segments[0].end;
    stream->segment_count--;
    memmove(&stream->segments[0], &stream->segments[1], stream->segment_count * sizeof stream->segments[0]);
    return grew;
}

/* The first gap will not be filled: what comes after it moves to the end of the in-order bytes, or to the front. */
static bool stream_skip_gap(struct dp_stream *stream)
{
    if (stream->in_order_bytes || !stream->segment_count)
        return false;
    uint16_t shift = stream->segments[0].begin;
    memmove(stream->bytes, stream->bytes + shift, (size_t)(stream_used(stream) - shift));
    stream->base_seq += shift;
    for (unsigned i = 0; i < stream->segment_count; i++) {
        stream->segments[i].begin = (uint16_t)(stream->segments[i].begin - shift);
        stream->segments[i].end = (uint16_t)(stream->segments[i].end - shift);
    }
    return stream_join(stream);
}

enum dp_stream_result dp_stream_add(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t seq,
                                    const uint8_t *bytes, uint32_t size_bytes)
{
    int32_t offset = (int32_t)(seq - stream->base_seq);
    if (offset < 0) {
        if ((uint32_t)-offset >= size_bytes)
            return DP_STREAM_WAITING;
        bytes += -offset;
        size_bytes -= (uint32_t)-offset;
        offset = 0;
    }
    uint32_t begin = (uint32_t)offset;
    if (begin >= CL_STREAM_MAX_BYTES)
        return DP_STREAM_FULL;
    uint32_t end = begin + size_bytes < CL_STREAM_MAX_BYTES ? begin + size_bytes : CL_STREAM_MAX_BYTES;
    if (!stream_reserve(pool, stream, end, stream_used(stream)))
        return DP_STREAM_FULL;
    bool differs = stream_fill(stream, begin, end, bytes);
    bool grew = stream_note(stream, (uint16_t)begin, (uint16_t)end) && stream_join(stream);
    if (!grew && ++stream->waited >= GAP_PATIENCE)
        grew = stream_skip_gap(stream);
    if (grew) {
        stream->waited = 0;
        return DP_STREAM_GREW;
    }
    return differs ? DP_STREAM_AMBIGUOUS : DP_STREAM_WAITING;
}

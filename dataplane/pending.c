#include "dataplane/pending.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/attributes.h"
#include "dataplane/pool.h"

#define GAP_PATIENCE 4u /* payload packets without the first byte before it is given up */

/* What all pools of one budget share. */
struct memory {
    struct dp_pool blocks;
    struct dp_pool infos;
    struct dp_pool buffers[DP_PENDING_CLASSES];
    unsigned holders; /* pools that share it; control thread */
};

struct dp_pending_pool {
    struct memory *memory;
    struct dp_pool_cache blocks;
    struct dp_pool_cache infos;
    struct dp_pool_cache buffers[DP_PENDING_CLASSES];
};

/* Sixteenths of the buffers' memory, by class: a request mostly fits 512 bytes, a ClientHello 1 or 2 KiB. */
static const uint8_t buffer_shares[DP_PENDING_CLASSES] = {1, 2, 5, 4, 2, 2};

static bool memory_init(struct memory *memory, uint64_t budget_bytes)
{
    /* An eighth for blocks, one for texts, the rest for buffers. */
    bool ok = dp_pool_init(&memory->blocks, (uint32_t)(budget_bytes / 8 / sizeof(struct dp_pending)) + 1,
                           sizeof(struct dp_pending)) &&
              dp_pool_init(&memory->infos, (uint32_t)(budget_bytes / 8 / sizeof(struct dp_attributes)) + 1,
                           sizeof(struct dp_attributes));
    for (unsigned i = 0; ok && i < DP_PENDING_CLASSES; i++) {
        uint64_t share = budget_bytes * 6 / 8 * buffer_shares[i] / 16;
        size_t size = (size_t)DP_PENDING_MIN_BYTES << i;
        ok = dp_pool_init(&memory->buffers[i], (uint32_t)(share / size) + 1, size);
    }
    return ok;
}

struct dp_pending_pool *dp_pending_pool_create(uint64_t budget_bytes)
{
    struct dp_pending_pool *pool = calloc(1, sizeof *pool);
    struct memory *memory = calloc(1, sizeof *memory);
    if (!pool || !memory) {
        free(pool);
        free(memory);
        return NULL;
    }
    pool->memory = memory;
    memory->holders = 1;
    if (!memory_init(memory, budget_bytes)) {
        dp_pending_pool_free(pool);
        return NULL;
    }
    return pool;
}

struct dp_pending_pool *dp_pending_pool_share(struct dp_pending_pool *other)
{
    struct dp_pending_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->memory = other->memory;
    pool->memory->holders++;
    return pool;
}

void dp_pending_pool_flush(struct dp_pending_pool *pool)
{
    dp_pool_flush(&pool->memory->blocks, &pool->blocks);
    dp_pool_flush(&pool->memory->infos, &pool->infos);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        dp_pool_flush(&pool->memory->buffers[i], &pool->buffers[i]);
}

void dp_pending_pool_free(struct dp_pending_pool *pool)
{
    if (!pool)
        return;
    struct memory *memory = pool->memory;
    free(pool);
    if (--memory->holders)
        return;
    dp_pool_fini(&memory->blocks);
    dp_pool_fini(&memory->infos);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        dp_pool_fini(&memory->buffers[i]);
    free(memory);
}

struct dp_pending *dp_pending_take(struct dp_pending_pool *pool, uint32_t *ret_handle)
{
    uint32_t item = dp_pool_take(&pool->memory->blocks, &pool->blocks);
    if (item == DP_POOL_NONE)
        return NULL;
    struct dp_pending *pending = dp_pool_at(&pool->memory->blocks, item);
    memset(pending, 0, sizeof *pending);
    *ret_handle = item + 1;
    return pending;
}

struct dp_pending *dp_pending_get(struct dp_pending_pool *pool, uint32_t handle)
{
    return handle ? dp_pool_at(&pool->memory->blocks, handle - 1) : NULL;
}

static void stream_drop(struct dp_pending_pool *pool, struct dp_stream *stream)
{
    if (!stream->bytes)
        return;
    struct dp_pool *buffers = &pool->memory->buffers[stream->size_class];
    dp_pool_give(buffers, &pool->buffers[stream->size_class], dp_pool_index(buffers, stream->bytes));
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
        dp_pool_give(&pool->memory->infos, &pool->infos, pending->info - 1);
    dp_pool_give(&pool->memory->blocks, &pool->blocks, handle - 1);
}

void dp_pending_texts(const struct dp_pending_pool *pool, const struct dp_pending *pending, struct cl_info *ret_info)
{
    if (pending->info)
        dp_attributes_unpack(dp_pool_at(&pool->memory->infos, pending->info - 1), ret_info);
    else
        memset(ret_info->size_bytes, 0, sizeof ret_info->size_bytes);
}

bool dp_pending_keep_texts(struct dp_pending_pool *pool, struct dp_pending *pending, const struct cl_info *info)
{
    unsigned total = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
        total += info->size_bytes[i];
    if (!total)
        return true;
    if (!pending->info) {
        uint32_t item = dp_pool_take(&pool->memory->infos, &pool->infos);
        if (item == DP_POOL_NONE)
            return false;
        pending->info = item + 1;
    }
    dp_attributes_pack(dp_pool_at(&pool->memory->infos, pending->info - 1), info);
    return true;
}

static uint32_t taken(const struct dp_pool *pool, const struct dp_pool_cache *cache)
{
    return pool->count - dp_pool_available(pool) - cache->count;
}

void dp_pending_usage(const struct dp_pending_pool *pool, struct dp_pending_usage *ret_usage)
{
    ret_usage->blocks = taken(&pool->memory->blocks, &pool->blocks);
    ret_usage->infos = taken(&pool->memory->infos, &pool->infos);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        ret_usage->buffers[i] = taken(&pool->memory->buffers[i], &pool->buffers[i]);
}

/* Makes room for `need` bytes by moving to a larger buffer; false when that is not to be had. */
static bool stream_reserve(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t need, uint32_t used)
{
    if (stream->bytes && need <= DP_PENDING_MIN_BYTES << stream->size_class)
        return true;
    uint32_t item = DP_POOL_NONE;
    unsigned size_class = stream->bytes ? stream->size_class + 1u : 0;
    for (; size_class < DP_PENDING_CLASSES; size_class++) {
        if (need > DP_PENDING_MIN_BYTES << size_class)
            continue;
        item = dp_pool_take(&pool->memory->buffers[size_class], &pool->buffers[size_class]);
        if (item != DP_POOL_NONE)
            break;
    }
    if (item == DP_POOL_NONE)
        return false;
    uint8_t *bytes = dp_pool_at(&pool->memory->buffers[size_class], item);
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

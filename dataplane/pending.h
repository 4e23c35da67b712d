/*
 * What inspection keeps of an undecided flow: the classifier's state and, when more than one packet is needed, the first
 * bytes of each direction in order. From a bounded pool that all workers share (a flow may change hands), each through a
 * pool of its own with a small cache, returned at the verdict; a flow that is judged by its first payload packet never takes
 * any. Buffers grow from 256 bytes to 8 KiB by doubling; a pool that is empty makes the flow be judged by what is there
 * (pending_exhausted).
 *
 * TCP bytes are put in order here: up to DP_PENDING_SEGMENTS runs of bytes ahead of a gap are kept in the buffer at their
 * place, a fifth is forgotten. Where segments overlap the bytes that came first stay; if the later ones differ the stream is
 * ambiguous, once and for all. A gap in the middle is waited for as long as the flow's budget lasts: bytes behind it are
 * never judged as if they followed those before it. One at the beginning (the first segment was lost) is given up after four
 * packets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "classifier/classifier.h"
#include "dataplane/learn.h"

#define DP_PENDING_SEGMENTS  4u /* runs of bytes ahead of a gap, per direction */
#define DP_PENDING_CLASSES   6u /* buffers of 256 bytes to 8 KiB */
#define DP_PENDING_MIN_BYTES 256u

struct dp_stream {
    uint8_t *bytes;          /* first bytes of the direction, NULL = none kept */
    bool started;            /* base_seq is valid */
    bool ambiguous;          /* a segment disagreed with bytes that came before it */
    uint32_t base_seq;       /* sequence number of bytes[0] */
    uint16_t in_order_bytes; /* contiguous from bytes[0] */
    uint8_t size_class;      /* buffer of DP_PENDING_MIN_BYTES << size_class */
    uint8_t segment_count;
    uint8_t waited; /* payload packets that came while the first byte was missing */
    struct {
        uint16_t begin, end; /* offsets in bytes[] of what came ahead of a gap */
    } segments[DP_PENDING_SEGMENTS];
};

struct dp_pending {
    struct cl_state state;
    uint32_t pack;              /* number of the pack that left the state; 0 = none did */
    struct dp_stream stream[2]; /* [from_server] */
    uint16_t payload_packets[2];
    uint16_t charged[2];       /* against the budget of packets, in sixteenths: see charge() of stage_classify.c */
    uint32_t payload_bytes[2]; /* against the budget of bytes */
    struct dp_learned learned; /* by the flow's first payload packet */
    uint32_t info;             /* index of the block of texts found so far + 1, 0 = none */
    struct cl_verdict verdict;
    uint16_t packets_to_verdict;        /* when the protocol became final; 0 = it is not */
    uint8_t payload_packets_to_verdict; /* likewise */
};

struct dp_pending_pool;

/* `budget_bytes` bounds blocks, buffers and texts together. NULL when memory is short. */
struct dp_pending_pool *dp_pending_pool_create(uint64_t budget_bytes);
/* A pool for another thread, of the same memory: handles and blocks are valid in both. NULL when memory is short. */
struct dp_pending_pool *dp_pending_pool_share(struct dp_pending_pool *other);
/* Gives what it holds back for its thread to the others. Its thread. */
void dp_pending_pool_flush(struct dp_pending_pool *pool);
/* The memory goes with the last of those that share it. */
void dp_pending_pool_free(struct dp_pending_pool *pool);

/* A zeroed block and its handle, or NULL. Worker. */
struct dp_pending *dp_pending_take(struct dp_pending_pool *pool, uint32_t *ret_handle);
struct dp_pending *dp_pending_get(struct dp_pending_pool *pool, uint32_t handle);
/* Returns the block and all that it holds. */
void dp_pending_drop(struct dp_pending_pool *pool, uint32_t handle);

/* The texts found so far, none when nothing was kept. */
void dp_pending_texts(const struct dp_pending_pool *pool, const struct dp_pending *pending, struct cl_info *ret_info);
/*
 * Keeps the texts of `info` in place of those kept before, packed into a block of 512 bytes and cut as in attributes.h. False
 * when no block is free. Nothing is taken for no texts.
 */
bool dp_pending_keep_texts(struct dp_pending_pool *pool, struct dp_pending *pending, const struct cl_info *info);

/* What is taken now, or held back for other threads. While they rest; for tests. */
struct dp_pending_usage {
    uint32_t blocks, infos, buffers[DP_PENDING_CLASSES];
};
void dp_pending_usage(const struct dp_pending_pool *pool, struct dp_pending_usage *ret_usage);

enum dp_stream_result {
    DP_STREAM_GREW,      /* in_order_bytes is larger now */
    DP_STREAM_WAITING,   /* kept ahead of a gap, or old news: nothing new in order */
    DP_STREAM_FULL,      /* past CL_STREAM_MAX_BYTES: not kept */
    DP_STREAM_NO_MEMORY, /* no buffer large enough is free: not kept, so it will never be in order */
};

/*
 * Puts a TCP segment in its place; `seq` is that of its first payload byte, stream->base_seq is set. Linear in the segment's
 * bytes, besides a copy of what is kept each time that the buffer grows.
 */
enum dp_stream_result dp_stream_add(struct dp_pending_pool *pool, struct dp_stream *stream, uint32_t seq,
                                    const uint8_t *bytes, uint32_t size_bytes);

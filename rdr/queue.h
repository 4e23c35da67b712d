/*
 * A bounded queue of encoded records: bytes in a ring, each record after its 2-byte size, allocated once.
 *
 * A record that was taken out to be sent and could not be goes back in front, in its old place: the ring has a reserve for
 * these beyond its limit. One thread; only rdr_queue_records() may be called from any.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RDR_QUEUE_PREFIX_BYTES 2u

struct rdr_queue {
    uint8_t *bytes;
    uint32_t mask;            /* capacity - 1, a power of two */
    uint32_t limit_bytes;     /* for records that come in at the back, prefixes counted */
    uint32_t first, last;     /* free-running positions: first byte in use, first byte free */
    _Atomic uint32_t records; /* w: owner, r: any, relaxed */
};

/* False when memory is short. */
bool rdr_queue_init(struct rdr_queue *queue, uint32_t limit_bytes, uint32_t reserve_bytes);
void rdr_queue_free(struct rdr_queue *queue);
static inline uint32_t rdr_queue_used_bytes(const struct rdr_queue *queue)
{
    return queue->last - queue->first;
}
static inline uint32_t rdr_queue_records(const struct rdr_queue *queue)
{
    return atomic_load_explicit(&queue->records, memory_order_relaxed);
}
/* False when the record would pass the limit. */
bool rdr_queue_push(struct rdr_queue *queue, const uint8_t *record, uint32_t size_bytes);
/* Only for a record that was taken out; there is always room for `reserve_bytes` of these. */
void rdr_queue_push_front(struct rdr_queue *queue, const uint8_t *record, uint32_t size_bytes);
/* Size of the first record, 0 when there is none. */
uint32_t rdr_queue_first_size(const struct rdr_queue *queue);
/* Copies the first record out; it stays. */
void rdr_queue_copy_first(const struct rdr_queue *queue, uint8_t *ret_record);
void rdr_queue_pop(struct rdr_queue *queue);

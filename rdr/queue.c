#include "rdr/queue.h"

#include <stdlib.h>
#include <string.h>

static void ring_write(struct rdr_queue *queue, uint32_t position, const uint8_t *bytes, uint32_t size_bytes)
{
    uint32_t at = position & queue->mask, to_end = queue->mask + 1 - at;
    uint32_t head = size_bytes < to_end ? size_bytes : to_end;
    memcpy(queue->bytes + at, bytes, head);
    memcpy(queue->bytes, bytes + head, size_bytes - head);
}

static void ring_read(const struct rdr_queue *queue, uint32_t position, uint8_t *bytes, uint32_t size_bytes)
{
    uint32_t at = position & queue->mask, to_end = queue->mask + 1 - at;
    uint32_t head = size_bytes < to_end ? size_bytes : to_end;
    memcpy(bytes, queue->bytes + at, head);
    memcpy(bytes + head, queue->bytes, size_bytes - head);
}

static void write_record(struct rdr_queue *queue, uint32_t position, const uint8_t *record, uint32_t size_bytes)
{
    const uint8_t prefix[RDR_QUEUE_PREFIX_BYTES] = {(uint8_t)(size_bytes >> 8), (uint8_t)size_bytes};
    ring_write(queue, position, prefix, sizeof prefix);
    ring_write(queue, position + RDR_QUEUE_PREFIX_BYTES, record, size_bytes);
}

static void add_records(struct rdr_queue *queue, int32_t difference)
{
    atomic_store_explicit(&queue->records, rdr_queue_records(queue) + (uint32_t)difference, memory_order_relaxed);
}

bool rdr_queue_init(struct rdr_queue *queue, uint32_t limit_bytes, uint32_t reserve_bytes)
{
    uint64_t capacity = 4096;
    while (capacity < (uint64_t)limit_bytes + reserve_bytes)
        capacity *= 2;
    memset(queue, 0, sizeof *queue);
    if (capacity > 1u << 31)
        return false;
    queue->mask = (uint32_t)capacity - 1;
    queue->limit_bytes = limit_bytes;
    queue->bytes = calloc(1, capacity);
    return queue->bytes != NULL;
}

void rdr_queue_free(struct rdr_queue *queue)
{
    free(queue->bytes);
    queue->bytes = NULL;
}

bool rdr_queue_push(struct rdr_queue *queue, const uint8_t *record, uint32_t size_bytes)
{
    uint32_t needed = RDR_QUEUE_PREFIX_BYTES + size_bytes;
    if (rdr_queue_used_bytes(queue) + needed > queue->limit_bytes)
        return false;
    write_record(queue, queue->last, record, size_bytes);
    queue->last += needed;
    add_records(queue, 1);
    return true;
}

void rdr_queue_push_front(struct rdr_queue *queue, const uint8_t *record, uint32_t size_bytes)
{
    queue->first -= RDR_QUEUE_PREFIX_BYTES + size_bytes;
    write_record(queue, queue->first, record, size_bytes);
    add_records(queue, 1);
}

uint32_t rdr_queue_first_size(const struct rdr_queue *queue)
{
    if (queue->first == queue->last)
        return 0;
    uint8_t prefix[RDR_QUEUE_PREFIX_BYTES];
    ring_read(queue, queue->first, prefix, sizeof prefix);
    return (uint32_t)prefix[0] << 8 | prefix[1];
}

void rdr_queue_copy_first(const struct rdr_queue *queue, uint8_t *ret_record)
{
    ring_read(queue, queue->first + RDR_QUEUE_PREFIX_BYTES, ret_record, rdr_queue_first_size(queue));
}

void rdr_queue_pop(struct rdr_queue *queue)
{
    queue->first += RDR_QUEUE_PREFIX_BYTES + rdr_queue_first_size(queue);
    add_records(queue, -1);
}

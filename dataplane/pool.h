/*
 * A pool of equal items that several threads share, because flows, and what is kept for them, change hands: who gives an
 * item back need not be who took it. Each thread has a cache of its own; what it lacks or has too much of goes in bundles
 * of DP_POOL_BUNDLE_ITEMS through one lock-free stack, so a take or a give is a compare-and-swap once in eight times. Last
 * in, first out: the items that are in use stay few and warm, memory that was never needed is never touched.
 *
 * Bounded by its count; of that, each other thread may hold back as much as its cache takes (2 bundles less one).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_POOL_BUNDLE_ITEMS 8u
#define DP_POOL_NONE         UINT32_MAX

struct dp_pool {
    uint8_t *memory;
    size_t item_bytes;
    uint32_t count;
    uint32_t *next;        /* by item: the next of its bundle, or DP_POOL_NONE */
    uint32_t *next_bundle; /* by the first item of a bundle: the first of the one below it in the stack; relaxed */
    /* Tag << 32 | first item of the bundle on top. The tag is counted up at each push and pop, against ABA. */
    uint64_t top;
};

/* A thread's own. All zero: empty. */
struct dp_pool_cache {
    uint32_t count;
    uint32_t items[2 * DP_POOL_BUNDLE_ITEMS];
};

/* Control thread. False when memory is short; dp_pool_fini() is then still due. 1 <= count < DP_POOL_NONE. */
bool dp_pool_init(struct dp_pool *pool, uint32_t count, size_t item_bytes);
void dp_pool_fini(struct dp_pool *pool);

/* Any thread, with its own cache. The index of an item with whatever it held, or DP_POOL_NONE. */
uint32_t dp_pool_take(struct dp_pool *pool, struct dp_pool_cache *cache);
void dp_pool_give(struct dp_pool *pool, struct dp_pool_cache *cache, uint32_t item);
/* Gives all that the cache holds to the stack, for a thread that rests. */
void dp_pool_flush(struct dp_pool *pool, struct dp_pool_cache *cache);

/* Items in the stack: without those in caches. While all threads rest. */
uint32_t dp_pool_available(const struct dp_pool *pool);

static inline void *dp_pool_at(const struct dp_pool *pool, uint32_t item)
{
    return pool->memory + (size_t)item * pool->item_bytes;
}

/* Of a pointer that dp_pool_at() returned. */
static inline uint32_t dp_pool_index(const struct dp_pool *pool, const void *item)
{
    return (uint32_t)((size_t)((const uint8_t *)item - pool->memory) / pool->item_bytes);
}

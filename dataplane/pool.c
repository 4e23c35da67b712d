#include "dataplane/pool.h"

#include <rte_branch_prediction.h>
#include <stdlib.h>
#include <string.h>

/* The next tag, and the bundle that is then on top. */
static uint64_t with_top(uint64_t top, uint32_t first)
{
    return ((top >> 32) + 1) << 32 | first;
}

/* Puts `count` items on the stack as one bundle. */
static void push(struct dp_pool *pool, const uint32_t items[], uint32_t count)
{
    for (uint32_t i = 0; i + 1 < count; i++)
        pool->next[items[i]] = items[i + 1];
    pool->next[items[count - 1]] = DP_POOL_NONE;
    uint64_t top = __atomic_load_n(&pool->top, __ATOMIC_RELAXED), mine;
    do {
        __atomic_store_n(&pool->next_bundle[items[0]], (uint32_t)top, __ATOMIC_RELAXED);
        mine = with_top(top, items[0]);
        /* Release: the bundle's links, and what was written to the items, go before; partner: the acquire in pop(). */
    } while (!__atomic_compare_exchange_n(&pool->top, &top, mine, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* Takes the bundle on top into an empty cache. */
static void pop(struct dp_pool *pool, struct dp_pool_cache *cache)
{
    /* Acquire, here and on failure below: next_bundle of that bundle was written before; partner: the release in push(). */
    uint64_t top = __atomic_load_n(&pool->top, __ATOMIC_ACQUIRE), below;
    do {
        if ((uint32_t)top == DP_POOL_NONE)
            return;
        /* It may be another's by now; then the tag has changed and the exchange fails. */
        uint32_t next = __atomic_load_n(&pool->next_bundle[(uint32_t)top], __ATOMIC_RELAXED);
        below = with_top(top, next);
    } while (!__atomic_compare_exchange_n(&pool->top, &top, below, true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
    for (uint32_t item = (uint32_t)top; item != DP_POOL_NONE; item = pool->next[item])
        cache->items[cache->count++] = item;
}

bool dp_pool_init(struct dp_pool *pool, uint32_t count, size_t item_bytes)
{
    memset(pool, 0, sizeof *pool);
    pool->memory = calloc(count, item_bytes); /* untouched pages cost nothing until used */
    pool->next = calloc(count, sizeof *pool->next);
    pool->next_bundle = calloc(count, sizeof *pool->next_bundle);
    if (!pool->memory || !pool->next || !pool->next_bundle)
        return false;
    pool->item_bytes = item_bytes;
    pool->count = count;
    pool->top = DP_POOL_NONE;
    for (uint32_t end = count; end;) { /* the lowest on top */
        uint32_t items[DP_POOL_BUNDLE_ITEMS], begin = (end - 1) / DP_POOL_BUNDLE_ITEMS * DP_POOL_BUNDLE_ITEMS;
        for (uint32_t i = begin; i < end; i++)
            items[i - begin] = end - 1 - (i - begin); /* a cache is emptied from its end */
        push(pool, items, end - begin);
        end = begin;
    }
    return true;
}

void dp_pool_fini(struct dp_pool *pool)
{
    free(pool->memory);
    free(pool->next);
    free(pool->next_bundle);
    memset(pool, 0, sizeof *pool);
}

uint32_t dp_pool_take(struct dp_pool *pool, struct dp_pool_cache *cache)
{
    if (unlikely(!cache->count))
        pop(pool, cache);
    return likely(cache->count) ? cache->items[--cache->count] : DP_POOL_NONE;
}

void dp_pool_give(struct dp_pool *pool, struct dp_pool_cache *cache, uint32_t item)
{
    if (unlikely(cache->count == 2 * DP_POOL_BUNDLE_ITEMS)) {
        cache->count -= DP_POOL_BUNDLE_ITEMS;
        push(pool, &cache->items[cache->count], DP_POOL_BUNDLE_ITEMS);
    }
    cache->items[cache->count++] = item;
}

void dp_pool_flush(struct dp_pool *pool, struct dp_pool_cache *cache)
{
    while (cache->count) {
        uint32_t count = cache->count < DP_POOL_BUNDLE_ITEMS ? cache->count : DP_POOL_BUNDLE_ITEMS;
        cache->count -= count;
        push(pool, &cache->items[cache->count], count);
    }
}

uint32_t dp_pool_available(const struct dp_pool *pool)
{
    uint32_t count = 0;
    for (uint32_t first = (uint32_t)pool->top; first != DP_POOL_NONE; first = pool->next_bundle[first])
        for (uint32_t item = first; item != DP_POOL_NONE; item = pool->next[item])
            count++;
    return count;
}

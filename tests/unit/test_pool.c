#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/pool.h"

enum { ITEMS_MAX = 1000, THREADS = 4, ROUNDS = 20000 };

TestSuite(pool, .timeout = 60);

/* All that can be taken by one cache, each once. */
static uint32_t take_all(struct dp_pool *pool, struct dp_pool_cache *cache)
{
    static bool seen[ITEMS_MAX];
    uint32_t count = 0;
    memset(seen, 0, sizeof seen);
    for (uint32_t item; (item = dp_pool_take(pool, cache)) != DP_POOL_NONE; count++) {
        cr_assert_lt(item, pool->count);
        cr_assert_not(seen[item], "item %u twice", item);
        seen[item] = true;
        cr_assert_eq(dp_pool_index(pool, dp_pool_at(pool, item)), item);
    }
    return count;
}

Test(pool, all_items_of_any_count_can_be_taken_the_lowest_first)
{
    for (uint32_t count = 1; count < 70; count++) {
        struct dp_pool pool;
        struct dp_pool_cache cache = {0};
        cr_assert(dp_pool_init(&pool, count, 24));
        cr_expect_eq(dp_pool_available(&pool), count);
        for (uint32_t i = 0; i < count; i++)
            cr_expect_eq(dp_pool_take(&pool, &cache), i);
        cr_expect_eq(dp_pool_take(&pool, &cache), DP_POOL_NONE);
        dp_pool_fini(&pool);
    }
}

Test(pool, what_one_takes_another_gives_and_nothing_is_lost)
{
    struct dp_pool pool;
    struct dp_pool_cache caches[3] = {0};
    uint32_t held[ITEMS_MAX], held_count = 0;
    uint64_t random = 7;
    cr_assert(dp_pool_init(&pool, ITEMS_MAX, 8));
    for (unsigned step = 0; step < 200000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct dp_pool_cache *cache = &caches[(random >> 33) % 3];
        bool fills = step / 5000 % 2; /* long ways up and down */
        if ((random >> 40) % 4 ? fills : !fills) {
            uint32_t item = dp_pool_take(&pool, cache);
            uint32_t elsewhere = caches[0].count + caches[1].count + caches[2].count - cache->count;
            if (item == DP_POOL_NONE)
                cr_assert_eq(held_count + elsewhere, ITEMS_MAX, "only what others hold back is missing");
            else
                held[held_count++] = item;
        } else if (held_count) {
            dp_pool_give(&pool, cache, held[--held_count]);
        }
        cr_assert_leq(cache->count, 2 * DP_POOL_BUNDLE_ITEMS);
    }
    while (held_count)
        dp_pool_give(&pool, &caches[held_count % 3], held[held_count - 1]), held_count--;
    for (unsigned i = 0; i < 3; i++)
        dp_pool_flush(&pool, &caches[i]);
    cr_expect_eq(dp_pool_available(&pool), ITEMS_MAX);
    cr_expect_eq(take_all(&pool, &caches[0]), ITEMS_MAX);
    dp_pool_fini(&pool);
}

/* ---- threads ---- */

struct user {
    pthread_t thread;
    struct dp_pool *pool;
    struct dp_pool_cache cache;
    uint64_t number, random, doubles;
};

/* An item is its holder's alone: what it wrote there, plainly, stands there until it gives the item back. */
static void *use(void *context)
{
    struct user *user = context;
    uint32_t held[40];
    unsigned count = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        user->random = user->random * 6364136223846793005u + 1442695040888963407u;
        for (unsigned n = (user->random >> 33) % 40; count < n;) {
            uint32_t item = dp_pool_take(user->pool, &user->cache);
            if (item == DP_POOL_NONE)
                break;
            *(uint64_t *)dp_pool_at(user->pool, item) = user->number;
            held[count++] = item;
        }
        for (unsigned n = (user->random >> 43) % 40; count > n;) {
            uint32_t item = held[--count];
            user->doubles += *(uint64_t *)dp_pool_at(user->pool, item) != user->number;
            dp_pool_give(user->pool, &user->cache, item);
        }
    }
    while (count)
        dp_pool_give(user->pool, &user->cache, held[--count]);
    dp_pool_flush(user->pool, &user->cache);
    return NULL;
}

Test(pool, no_item_has_two_holders)
{
    static struct user users[THREADS];
    struct dp_pool pool;
    struct dp_pool_cache cache = {0};
    cr_assert(dp_pool_init(&pool, 100, 8)); /* fewer than they want */
    for (unsigned t = 0; t < THREADS; t++) {
        users[t] = (struct user){.pool = &pool, .number = t + 1, .random = t};
        cr_assert_eq(pthread_create(&users[t].thread, NULL, use, &users[t]), 0);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        pthread_join(users[t].thread, NULL);
        cr_expect_eq(users[t].doubles, 0, "thread %u: %lu", t, (unsigned long)users[t].doubles);
    }
    cr_expect_eq(dp_pool_available(&pool), 100);
    cr_expect_eq(take_all(&pool, &cache), 100);
    dp_pool_fini(&pool);
}

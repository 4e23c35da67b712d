/*
 * What the flow table's tests share: numbered keys, a table with a fixed seed, random numbers whose seed is printed.
 */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>

#include "flowtable/table.h"

#define NS UINT64_C(1000000000)

static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Key number i: every fourth is IPv6; neighbours differ in as little as the protocol, the context or one port. */
static inline struct ft_key numbered_key(uint64_t i)
{
    uint64_t state = i / 8;
    uint8_t bytes[32];
    for (unsigned word = 0; word < 4; word++) {
        uint64_t r = next_random(&state);
        memcpy(bytes + 8 * word, &r, 8);
    }
    uint16_t ports[2];
    uint64_t r = next_random(&state);
    memcpy(ports, &r, sizeof ports);
    ports[0] = (uint16_t)(ports[0] + (i & 1));
    struct ft_key key;
    ft_key_make(&key, i / 8 % 4 == 0, bytes, bytes + 16, ports[0], ports[1], i & 2 ? 6 : 17,
                i & 4 ? ft_context(100, 0, FT_TUNNEL_NONE) : 0);
    return key;
}

/* An IPv4 key of the shard, the n-th such of the stream `state`. */
static inline struct ft_key key_of_shard(uint8_t shard, uint64_t *state)
{
    for (;;) {
        struct ft_key key = numbered_key(next_random(state));
        if (!key.is_v6 && ft_shard_of(&key) == shard)
            return key;
    }
}

static inline struct ft_config test_config(uint64_t capacity_flows)
{
    struct ft_config config;
    ft_config_init(&config);
    config.capacity_flows = capacity_flows;
    config.secret_seed = 42;
    config.unanswered_share_pct = 100;
    config.hugepages = false;
    return config;
}

static inline struct ft *create(const struct ft_config *config)
{
    char error[256] = "";
    struct ft *ft = ft_create(config, error, sizeof error);
    cr_assert_not_null(ft, "%s", error);
    return ft;
}

static inline ft_slot lookup(struct ft *ft, const struct ft_key *key)
{
    uint64_t hash = ft_hash(ft, key);
    ft_slot slot;
    uint32_t hits = ft_lookup_bulk(ft, key, &hash, 1, &slot);
    cr_assert_eq(hits, slot != FT_SLOT_NONE);
    return slot;
}

static inline int insert(struct ft *ft, const struct ft_key *key, uint64_t uid, uint64_t now_ns, ft_slot *ret_slot)
{
    return ft_insert(ft, key, ft_hash(ft, key), uid, now_ns, ret_slot);
}

static inline ft_slot must_insert(struct ft *ft, const struct ft_key *key, uint64_t uid, uint64_t now_ns)
{
    ft_slot slot = FT_SLOT_NONE;
    cr_assert_eq(insert(ft, key, uid, now_ns, &slot), 0);
    return slot;
}

static inline void set_class(struct ft *ft, ft_slot slot, enum ft_timeout timeout_class)
{
    ft_write_begin(ft_hot(ft, slot));
    ft_set_timeout_class(ft, slot, timeout_class);
    ft_write_end(ft_hot(ft, slot));
}

static inline struct ft_stats stats_of(const struct ft *ft)
{
    struct ft_stats stats;
    ft_stats(ft, &stats);
    return stats;
}

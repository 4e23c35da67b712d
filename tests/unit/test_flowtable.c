/*
 * The flow table, one thread: limits, generations, bulk calls, floods, the hash, determinism, reclaim.
 */
#include <rte_byteorder.h>
#include <rte_hash_crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "flowtable/table_priv.h"
#include "flowtable_util.h"

/* ---- create ---- */

static void assert_refused(const struct ft_config *config, const char *key, const char *value)
{
    char error[256] = "";
    cr_assert_null(ft_create(config, error, sizeof error));
    cr_assert_not_null(strstr(error, key), "\"%s\" does not name %s", error, key);
    cr_assert_not_null(strstr(error, value), "\"%s\" does not name %s", error, value);
}

Test(flowtable, values_out_of_range_are_named)
{
    struct ft_config config = test_config(4095);
    assert_refused(&config, "capacity_flows", "4095");
    config.capacity_flows = 0;
    assert_refused(&config, "capacity_flows", " 0 ");
    config.capacity_flows = FT_CAPACITY_FLOWS_MAX + 1;
    assert_refused(&config, "capacity_flows", "2147483649");
    config.capacity_flows = UINT64_MAX;
    assert_refused(&config, "capacity_flows", "18446744073709551615");
    config = test_config(4096);
    config.timeout_ns[FT_TIMEOUT_udp_answered] = 0;
    assert_refused(&config, "timeouts_s.udp_answered", " 0 ");
    config.timeout_ns[FT_TIMEOUT_udp_answered] = UINT64_MAX;
    assert_refused(&config, "timeouts_s.udp_answered", "18446744073709551615");
    config = test_config(4096);
    config.readers_max = 65;
    assert_refused(&config, "readers_max", "65");
    config.readers_max = 0;
    assert_refused(&config, "readers_max", " 0 ");
    config = test_config(4096);
    config.unanswered_share_pct = 101;
    assert_refused(&config, "unanswered_share_pct", "101");
    config.unanswered_share_pct = 0;
    assert_refused(&config, "unanswered_share_pct", " 0 ");
}

Test(flowtable, a_table_larger_than_memory_is_refused_with_both_sizes)
{
    uint64_t present_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct ft_config config = test_config(present_bytes / 128);
    if (config.capacity_flows > FT_CAPACITY_FLOWS_MAX)
        cr_skip_test("this machine has memory for the largest table");
    char present[32];
    snprintf(present, sizeof present, "%lu MiB", present_bytes >> 20);
    assert_refused(&config, "capacity_flows", present);
}

Test(flowtable, no_address_space_is_refused_with_the_size)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    cr_assert_not_null(statm);
    cr_assert_eq(fscanf(statm, "%ld", &pages), 1);
    fclose(statm);
    rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
    cr_assert_eq(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}), 0);
    struct ft_config config = test_config(1 << 20);
    assert_refused(&config, "capacity_flows", "MiB of address space");
}

Test(flowtable, nothing_is_done_by_destroying_nothing)
{
    ft_destroy(NULL);
    struct ft_config config;
    ft_config_init(&config);
    struct ft *ft = create(&config);
    cr_assert_eq(stats_of(ft).capacity_flows, config.capacity_flows);
    ft_destroy(ft);
}

Test(flowtable, memory_per_flow_is_within_the_budget)
{
    struct ft_config config = test_config(4 << 20);
    struct ft *ft = create(&config);
    /* Buckets, hot, cold, link, chunks; an IPv6 flow's addresses are 32 more. */
    uint64_t slots = (uint64_t)ft->chunk_count << ft->chunk_shift;
    uint64_t bytes = stats_of(ft).memory_bytes - slots * sizeof(struct ft_v6);
    cr_assert_leq(bytes / config.capacity_flows, 160);
    ft_destroy(ft);
}

/* The capacity can be used up to the last flow that keys spread at random bring, at every size of chunk. */
Test(flowtable, holds_its_capacity)
{
    static const uint64_t capacities[] = {4096, 4097, 65536, 200000};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct ft_config config = test_config(capacities[c]);
        struct ft *ft = create(&config);
        for (uint64_t i = 0; i < capacities[c]; i++) {
            struct ft_key key = numbered_key(i);
            must_insert(ft, &key, i, NS);
        }
        cr_assert_eq(stats_of(ft).flows, capacities[c]);
        ft_destroy(ft);
    }
}

/* ---- one flow ---- */

Test(flowtable, a_new_flow_is_blank_but_for_its_key_uid_and_times)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    struct ft_key key = numbered_key(1);
    ft_slot slot = must_insert(ft, &key, 77, 5 * NS);
    /* Dirty it, so that the next flow in this slot would show what is left behind. */
    struct ft_hot *hot = ft_hot(ft, slot);
    struct ft_cold *cold = ft_cold(ft, slot);
    ft_write_begin(hot);
    memset(&hot->tcp_state, 0xff, sizeof *hot - offsetof(struct ft_hot, tcp_state));
    FT_SET(hot->timeout_class, FT_TIMEOUT_tcp_opening);
    memset(cold, 0xff, sizeof *cold);
    ft_write_end(hot);
    uint32_t generation = ft_generation(hot);
    ft_remove(ft, slot);
    cr_assert_eq(slot, must_insert(ft, &key, 78, 6 * NS), "the slot freed last is reused first");
    cr_assert_eq(ft_generation(hot), generation + 2);
    struct ft_hot blank_hot = {
        .sequence = hot->sequence, .last_ns = 6 * NS, .ip_proto = key.ip_proto, .is_v6 = key.is_v6};
    memcpy(blank_hot.addr_v4, hot->addr_v4, sizeof blank_hot.addr_v4);
    memcpy(blank_hot.port_be16, key.port_be16, sizeof blank_hot.port_be16);
    blank_hot.context = key.context;
    struct ft_cold blank_cold = {.uid = 78, .first_ns = 6 * NS};
    cr_assert_eq(memcmp(hot, &blank_hot, sizeof blank_hot), 0);
    cr_assert_eq(memcmp(cold, &blank_cold, sizeof blank_cold), 0);
    ft_destroy(ft);
}

Test(flowtable, a_recycled_slot_is_told_by_its_generation)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 5;
    struct ft_key key = key_of_shard(9, &stream);
    ft_slot slot = must_insert(ft, &key, 0, NS);
    uint32_t last = ft_generation(ft_hot(ft, slot));
    struct ft_flow copy;
    for (uint64_t i = 1; i < 1000; i++) {
        ft_remove(ft, slot);
        cr_assert_eq(ft_generation(ft_hot(ft, slot)), last + 1, "even: free");
        cr_assert_not(ft_read(ft, slot, &copy));
        cr_assert_not(ft_find(ft, &key, &copy));
        key = key_of_shard(9, &stream);
        cr_assert_eq(must_insert(ft, &key, i, NS), slot);
        cr_assert(ft_read(ft, slot, &copy));
        cr_assert_eq(ft_generation(&copy.hot), last + 2);
        cr_assert_eq(copy.cold.uid, i);
        last += 2;
    }
    ft_destroy(ft);
}

Test(flowtable, the_count_of_writes_wraps_without_touching_the_generation)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    struct ft_key key = numbered_key(3);
    ft_slot slot = must_insert(ft, &key, 1, NS);
    struct ft_hot *hot = ft_hot(ft, slot);
    uint32_t generation = ft_generation(hot);
    hot->sequence |= UINT32_MAX - 1;
    ft_write_begin(hot);
    cr_assert_eq(hot->sequence, (uint64_t)generation << 32 | UINT32_MAX);
    ft_write_end(hot);
    cr_assert_eq(hot->sequence, (uint64_t)generation << 32);
    ft_destroy(ft);
}

Test(flowtable, touch_counts_the_version)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    struct ft_key key = numbered_key(3);
    ft_slot slot = must_insert(ft, &key, 1, NS);
    for (unsigned i = 0; i < 3; i++) {
        ft_write_begin(ft_hot(ft, slot));
        ft_touch(ft_cold(ft, slot));
        ft_write_end(ft_hot(ft, slot));
    }
    struct ft_flow copy;
    cr_assert(ft_find(ft, &key, &copy));
    cr_assert_eq(copy.cold.version, 3);
    ft_destroy(ft);
}

Test(flowtable, reading_a_slot_that_is_no_slot_finds_nothing)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    struct ft_flow copy;
    cr_assert_not(ft_read(ft, FT_SLOT_NONE, &copy));
    cr_assert_not(ft_read(ft, ft->chunk_count << ft->chunk_shift, &copy));
    cr_assert_not(ft_read(ft, 0, &copy));
    ft_destroy(ft);
}

/* ---- full ---- */

Test(flowtable, an_overfull_shard_is_refused_alone)
{
    struct ft_config config = test_config(65536);
    struct ft *ft = create(&config);
    uint64_t stream = 11, kept = 0, refused = 0;
    struct ft_key *keys = calloc(2000, sizeof *keys);
    ft_slot slot;
    for (unsigned i = 0; i < 2000; i++) {
        struct ft_key key = key_of_shard(7, &stream);
        if (insert(ft, &key, i, NS, &slot) == 0)
            keys[kept++] = key;
        else
            refused++;
    }
    struct ft_stats stats = stats_of(ft);
    cr_assert_eq(stats.refused_no_bucket, refused);
    cr_assert_eq(stats.refused_no_slot, 0);
    cr_assert_eq(kept + refused, 2000);
    cr_assert_gt(kept, ft->shard_buckets * FT_BUCKET_PLACES * 9 / 10, "displacement fills nine tenths and more: %lu",
                 kept);
    for (uint64_t i = 0; i < kept; i++)
        cr_assert_neq(lookup(ft, &keys[i]), FT_SLOT_NONE);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        for (unsigned i = 0; i < 200 && shard != 7; i++) {
            struct ft_key key = key_of_shard((uint8_t)shard, &stream);
            must_insert(ft, &key, i, NS);
        }
    /* Taken out again, in another order, the shard's buckets are as they were before. */
    for (uint64_t i = 0; i < kept; i++)
        ft_remove(ft, lookup(ft, &keys[(i * 7919) % kept]));
    for (uint32_t i = 0; i < ft->shard_buckets; i++) {
        struct ft_bucket bucket = ft->buckets[7 * ft->shard_buckets + i], blank = {.version = bucket.version};
        cr_assert_eq(bucket.version & 1, 0);
        cr_assert_eq(memcmp(&bucket, &blank, sizeof bucket), 0, "bucket %u", i);
    }
    free(keys);
    ft_destroy(ft);
}

/* A slot's key is compared to the last byte: tags and buckets collide by chance, rarer than a test would meet. */
Test(flowtable, each_byte_of_the_key_is_compared)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    for (uint64_t number = 0; number < 16; number++) {
        struct ft_key key = numbered_key(number);
        ft_slot slot = must_insert(ft, &key, 1, NS);
        cr_assert(ft_slot_holds(ft, slot, &key));
        for (size_t i = 0; i < offsetof(struct ft_key, zero); i++) {
            bool is_used = key.is_v6 || i < 4 || (i >= 16 && i < 20) || i >= 32;
            struct ft_key other = key;
            ((uint8_t *)&other)[i] ^= 0x10;
            cr_assert_eq(ft_slot_holds(ft, slot, &other), !is_used, "byte %zu of key %lu", i, number);
        }
    }
    ft_destroy(ft);
}

/* Buckets of the shards in use hold more than all slots together: slots run out first, and chunks returned go to who
 * asks. */
Test(flowtable, chunks_move_between_shards)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 13, slots = (uint64_t)ft->chunk_count << ft->chunk_shift;
    ft_slot *taken = calloc(slots, sizeof *taken);
    uint64_t count = 0;
    ft_slot slot;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        for (unsigned i = 0; i < 60; i++) {
            struct ft_key key = key_of_shard((uint8_t)shard, &stream);
            if (insert(ft, &key, i, NS, &slot) == 0)
                taken[count++] = slot;
        }
    cr_assert_geq(count, ft->capacity_flows);
    cr_assert_gt(stats_of(ft).refused_no_slot, 0);
    struct ft_key key = key_of_shard(255, &stream);
    cr_assert_eq(insert(ft, &key, 1, NS, &slot), -ENOSPC);
    for (uint64_t i = 0; i < 64; i++)
        ft_remove(ft, taken[i]);
    for (unsigned i = 0; i < 32; i++) {
        key = key_of_shard(255, &stream);
        must_insert(ft, &key, i, NS);
    }
    free(taken);
    ft_destroy(ft);
}

/* The head of the shared stack is never the same word twice, or a slow owner's exchange could succeed on a stale link
 * (ABA). */
Test(flowtable, the_stack_of_chunks_counts_each_pop)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 15, seen[8];
    uint64_t *stack = &ft->free_chunks[FT_V4];
    ft_slot slots[64];
    unsigned repeated = 0;
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 64; i++) {
            struct ft_key key = key_of_shard(3, &stream);
            if (insert(ft, &key, i, NS, &slots[i]) != 0)
                slots[i] = FT_SLOT_NONE;
        }
        for (unsigned i = 64; i-- > 0;)
            if (slots[i] != FT_SLOT_NONE)
                ft_remove(ft, slots[i]);
        seen[round] = *stack;
        for (unsigned i = 0; i < round; i++) {
            cr_assert_neq(seen[i], *stack);
            repeated += (uint32_t)seen[i] == (uint32_t)*stack;
        }
    }
    cr_assert_gt(repeated, 0, "the same chunk was on top again, under another word");
    cr_assert_gt(*stack >> 32, 8);
    ft_destroy(ft);
}

/* IPv4 flows fill the slots from the first on, IPv6 flows from the last, so that the array of addresses is dense. */
Test(flowtable, families_have_chunks_of_their_own)
{
    struct ft_config config = test_config(65536);
    struct ft *ft = create(&config);
    uint64_t slots = (uint64_t)ft->chunk_count << ft->chunk_shift, chunk_slots = UINT64_C(1) << ft->chunk_shift;
    uint64_t count[FT_FAMILIES] = {0}, lowest_v6 = slots, highest_v4 = 0;
    for (uint64_t i = 0; i < 50000; i++) {
        struct ft_key key = numbered_key(i);
        ft_slot slot = must_insert(ft, &key, i, NS);
        count[key.is_v6]++;
        if (key.is_v6 && slot < lowest_v6)
            lowest_v6 = slot;
        if (!key.is_v6 && slot > highest_v4)
            highest_v4 = slot;
    }
    cr_assert_lt(highest_v4, lowest_v6);
    cr_assert_leq(highest_v4, count[FT_V4] + FT_SHARDS * chunk_slots, "a chunk that is not full for each shard");
    cr_assert_leq(slots - lowest_v6, count[FT_V6] + FT_SHARDS * chunk_slots);
    ft_destroy(ft);
}

/* When one family has taken all, what it returns serves the other. */
Test(flowtable, families_share_the_slots)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 21, slots = (uint64_t)ft->chunk_count << ft->chunk_shift, count = 0;
    ft_slot *taken = calloc(slots, sizeof *taken), slot;
    for (unsigned i = 0; i < FT_SHARDS * 60; i++) {
        struct ft_key key = key_of_shard((uint8_t)i, &stream);
        if (insert(ft, &key, i, NS, &slot) == 0)
            taken[count++] = slot;
    }
    cr_assert_geq(count, ft->capacity_flows);
    cr_assert_gt(stats_of(ft).refused_no_slot, 0, "IPv4 took every chunk");
    struct ft_key v6;
    uint64_t number = 0;
    do
        v6 = numbered_key(number += 8);
    while (!v6.is_v6);
    cr_assert_eq(insert(ft, &v6, 1, NS, &slot), -ENOSPC);
    for (uint64_t i = 0; i < count; i++)
        ft_remove(ft, taken[i]);
    uint64_t v6_count = 0;
    for (; v6_count < 3000; number += 8) {
        struct ft_key key = numbered_key(number);
        if (!key.is_v6)
            continue;
        slot = must_insert(ft, &key, number, NS);
        struct ft_flow flow;
        cr_assert(ft_find(ft, &key, &flow));
        cr_assert_eq(flow.slot, slot);
        v6_count++;
    }
    free(taken);
    ft_destroy(ft);
}

/* A sweep leaves a shard with free slots ahead of need, so that no insert must take a chunk. */
Test(flowtable, a_margin_of_free_slots_is_kept_by_sweeps)
{
    struct ft_config config = test_config(1000000);
    struct ft *ft = create(&config);
    uint64_t stream = 22;
    ft_slot found[1];
    for (unsigned i = 0; i < 3000; i++) {
        struct ft_key key = key_of_shard(8, &stream);
        must_insert(ft, &key, i, NS);
        if (i % (ft->margin_slots - 1) == 0)
            cr_assert_eq(ft_sweep(ft, 8, NS, 1, found, 1), 0);
    }
    cr_assert_eq(stats_of(ft).chunks_taken_late, 1, "the first");
    for (unsigned i = 0; i < 3000; i++) {
        struct ft_key key = key_of_shard(9, &stream);
        must_insert(ft, &key, i, NS);
    }
    cr_assert_geq(stats_of(ft).chunks_taken_late, 1 + (3000u >> ft->chunk_shift), "unswept, each");
    cr_assert_eq(ft_sweep(ft, 10, NS, 1, found, 1), 0);
    cr_assert_eq(ft->shards[10].chunks[FT_V4] + ft->shards[10].chunks[FT_V6], 0, "a shard without flows takes none");
    ft_destroy(ft);
}

/* ---- bulk ---- */

Test(flowtable, a_key_twice_in_a_burst_is_added_once)
{
    struct ft_config config = test_config(65536);
    struct ft *ft = create(&config);
    struct ft_key keys[FT_BURST_MAX];
    uint64_t hashes[FT_BURST_MAX], uids[FT_BURST_MAX], now_ns[FT_BURST_MAX];
    ft_slot slots[FT_BURST_MAX], again[FT_BURST_MAX];
    int errors[FT_BURST_MAX];
    for (unsigned i = 0; i < FT_BURST_MAX; i++) {
        keys[i] = numbered_key(i % 20);
        hashes[i] = ft_hash(ft, &keys[i]);
        uids[i] = 100 + i;
        now_ns[i] = NS + i;
        slots[i] = 7777;
        errors[i] = 7777;
    }
    cr_assert_eq(ft_lookup_bulk(ft, keys, hashes, FT_BURST_MAX, again), 0);
    uint32_t wanted = ~(1u << 3), inserted = ft_insert_bulk(ft, keys, hashes, wanted, uids, now_ns, slots, errors);
    cr_assert_eq(inserted, (0xfffffu & wanted) | 1u << 23, "the first of each key that is wanted");
    cr_assert_eq(slots[3], 7777);
    cr_assert_eq(errors[3], 7777);
    cr_assert_eq(stats_of(ft).flows, 20);
    cr_assert_eq(ft_lookup_bulk(ft, keys, hashes, FT_BURST_MAX, again), UINT32_MAX);
    for (unsigned i = 0; i < FT_BURST_MAX; i++) {
        unsigned first = i == 3 ? 23 : i < 20 ? i : i == 23 ? 23 : i - 20;
        cr_assert_eq(ft_cold(ft, again[i])->uid, 100 + first);
        cr_assert_eq(ft_cold(ft, again[i])->first_ns, NS + first);
        if (i == 3)
            continue;
        cr_assert_eq(slots[i], again[i]);
        cr_assert_eq(errors[i], 0);
    }
    /* The slots taken for the twins went back. */
    uint64_t used = 0;
    for (uint32_t chunk = 0; chunk < ft->chunk_count; chunk++)
        used += ft->chunks[chunk].used;
    cr_assert_eq(used, 20);
    ft_slot removed[20];
    memcpy(removed, again, sizeof removed);
    ft_remove_bulk(ft, removed, 20);
    cr_assert_eq(stats_of(ft).flows, 0);
    cr_assert_eq(ft_lookup_bulk(ft, keys, hashes, FT_BURST_MAX, again), 0);
    ft_destroy(ft);
}

Test(flowtable, a_burst_that_does_not_fit_is_refused_key_by_key)
{
    struct ft_config config = test_config(65536);
    config.unanswered_share_pct = 5;
    struct ft *ft = create(&config);
    uint64_t stream = 24, max = ft->unanswered_max;
    cr_assert_lt(max, FT_BURST_MAX);
    struct ft_key keys[FT_BURST_MAX];
    uint64_t hashes[FT_BURST_MAX], zeros[FT_BURST_MAX] = {0};
    ft_slot slots[FT_BURST_MAX];
    int errors[FT_BURST_MAX];
    for (unsigned i = 0; i < FT_BURST_MAX; i++) {
        keys[i] = key_of_shard(33, &stream);
        hashes[i] = ft_hash(ft, &keys[i]);
    }
    uint32_t inserted = ft_insert_bulk(ft, keys, hashes, UINT32_MAX, zeros, zeros, slots, errors);
    cr_assert_eq(inserted, (1u << max) - 1);
    for (unsigned i = 0; i < FT_BURST_MAX; i++) {
        cr_assert_eq(errors[i], i < max ? 0 : -EDQUOT);
        cr_assert_eq(slots[i] == FT_SLOT_NONE, i >= max);
    }
    cr_assert_eq(stats_of(ft).refused_unanswered, FT_BURST_MAX - max);
    cr_assert_eq(ft->shards[33].free_slots[FT_V4] + max, ft->shards[33].chunks[FT_V4] << ft->chunk_shift);
    ft_destroy(ft);
}

/* ---- half-open and unanswered ---- */

Test(flowtable, a_flood_of_unanswered_flows_leaves_established_ones_alone)
{
    struct ft_config config = test_config(65536);
    config.unanswered_share_pct = 25;
    struct ft *ft = create(&config);
    uint64_t stream = 17, flooded = 0, refused = 0, uid = 0;
    struct ft_key *established = calloc(FT_SHARDS * 100, sizeof *established);
    for (unsigned i = 0; i < FT_SHARDS * 100; i++) {
        established[i] = key_of_shard((uint8_t)(i / 100), &stream);
        set_class(ft, must_insert(ft, &established[i], ++uid, NS), FT_TIMEOUT_tcp_established);
    }
    cr_assert_eq(stats_of(ft).unanswered, 0);
    static const enum ft_timeout classes[] = {FT_TIMEOUT_tcp_opening, FT_TIMEOUT_udp_unanswered, FT_TIMEOUT_other,
                                              FT_TIMEOUT_tcp_started_before};
    for (uint64_t i = 0; i < 200000; i++) {
        struct ft_key key = numbered_key(1000000 + i);
        ft_slot slot;
        if (insert(ft, &key, ++uid, NS, &slot) == 0) {
            set_class(ft, slot, classes[i % 4]);
            flooded++;
        } else {
            refused++;
        }
    }
    struct ft_stats stats = stats_of(ft);
    cr_assert_eq(flooded, FT_SHARDS * 64u, "a quarter of a shard's share of 256, in each");
    cr_assert_eq(stats.unanswered, flooded);
    cr_assert_eq(stats.refused_unanswered, refused);
    for (unsigned i = 0; i < FT_SHARDS * 100; i++)
        cr_assert_neq(lookup(ft, &established[i]), FT_SLOT_NONE);

    /* One that is answered makes room for one more in its shard, and only there. */
    struct ft_flow flow;
    uint64_t position = 0;
    do
        cr_assert(ft_walk(ft, 3, &position, &flow));
    while (flow.hot.timeout_class != FT_TIMEOUT_udp_unanswered);
    set_class(ft, flow.slot, FT_TIMEOUT_udp_answered);
    struct ft_key here = key_of_shard(3, &stream), there = key_of_shard(4, &stream), again = key_of_shard(3, &stream);
    ft_slot slot;
    cr_assert_eq(insert(ft, &there, ++uid, NS, &slot), -EDQUOT);
    must_insert(ft, &here, ++uid, NS);
    cr_assert_eq(insert(ft, &again, ++uid, NS, &slot), -EDQUOT);
    free(established);
    ft_destroy(ft);
}

/* ---- the hash ---- */

#define HASH_KEYS 4096u

/* Pairs among `pairs` (or of all keys when NULL) whose 12 bits agree; stores them in `ret_pairs`. */
static unsigned count_pairs(const uint32_t bits[HASH_KEYS], const uint32_t (*pairs)[2], unsigned length,
                            uint32_t (*ret_pairs)[2])
{
    unsigned count = 0;
    if (pairs) {
        for (unsigned i = 0; i < length; i++)
            count += bits[pairs[i][0]] == bits[pairs[i][1]];
        return count;
    }
    for (uint32_t i = 0; i < HASH_KEYS; i++)
        for (uint32_t j = 0; j < i; j++)
            if (bits[i] == bits[j] && count < length) {
                ret_pairs[count][0] = i;
                ret_pairs[count++][1] = j;
            }
    return count;
}

enum hash_kind { HASH_BUCKET, HASH_TAG, HASH_CRC };

static void hash_all(enum hash_kind kind, uint64_t seed, uint32_t bits[HASH_KEYS])
{
    struct ft_config config = test_config(4096);
    config.secret_seed = seed;
    struct ft *ft = create(&config);
    for (uint32_t i = 0; i < HASH_KEYS; i++) {
        struct ft_key key = numbered_key(i);
        uint64_t hash = ft_hash(ft, &key);
        cr_assert_eq((uint8_t)hash, ft_shard_of(&key));
        bits[i] = kind == HASH_BUCKET ? hash >> 52
                  : kind == HASH_TAG  ? hash >> 20 & 0xfff
                                      : rte_hash_crc(&key, sizeof key, (uint32_t)seed) >> 20;
    }
    ft_destroy(ft);
}

/* Of the pairs that collide under one seed, how many collide under another; about HASH_KEYS / 2 pairs to begin with. */
static unsigned pairs_kept(enum hash_kind kind, uint64_t seed, unsigned *ret_pairs)
{
    static uint32_t bits[HASH_KEYS], pairs[4 * HASH_KEYS][2];
    hash_all(kind, 1, bits);
    *ret_pairs = count_pairs(bits, NULL, 4 * HASH_KEYS, pairs);
    hash_all(kind, seed, bits);
    return count_pairs(bits, pairs, *ret_pairs, NULL);
}

Test(flowtable, pairs_that_collide_under_one_secret_do_not_under_another)
{
    for (uint64_t seed = 2; seed < 12; seed++) {
        unsigned pairs, kept = pairs_kept(HASH_BUCKET, seed, &pairs);
        cr_assert_gt(pairs, 1500);
        cr_assert_lt(pairs, 3000);
        cr_assert_lt(kept, 12, "seed %lu: %u of %u pairs", seed, kept, pairs);
        kept = pairs_kept(HASH_TAG, seed, &pairs);
        cr_assert_gt(pairs, 1500);
        cr_assert_lt(pairs, 3000);
        cr_assert_lt(kept, 12, "seed %lu: %u of %u pairs", seed, kept, pairs);
    }
}

/* Why a CRC with a secret start does not count as keyed: it fails the test above, with all its pairs. */
Test(flowtable, pairs_that_collide_under_one_start_of_a_crc_do_under_all)
{
    for (uint64_t seed = 2; seed < 12; seed++) {
        unsigned pairs, kept = pairs_kept(HASH_CRC, seed, &pairs);
        cr_assert_gt(pairs, 1500);
        cr_assert_eq(kept, pairs);
    }
}

Test(flowtable, secrets_are_drawn_anew_unless_a_seed_is_given)
{
    struct ft_config config = test_config(4096), drawn = test_config(4096);
    drawn.secret_seed = 0;
    struct ft *a = create(&config), *b = create(&config), *c = create(&drawn), *d = create(&drawn);
    struct ft_key key = numbered_key(0);
    cr_assert_eq(ft_hash(a, &key), ft_hash(b, &key));
    cr_assert_neq(ft_hash(c, &key), ft_hash(d, &key));
    ft_destroy(a);
    ft_destroy(b);
    ft_destroy(c);
    ft_destroy(d);
}

/* Every byte of a key counts, in both hashes, also those that an IPv4 key leaves zero. */
Test(flowtable, each_byte_of_the_key_is_hashed)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    struct ft_key v6 = numbered_key(0), v4 = numbered_key(8);
    cr_assert(v6.is_v6 && !v4.is_v6);
    for (size_t i = 0; i < sizeof v6 - 2; i++) {
        struct ft_key other = v6;
        if (i != offsetof(struct ft_key, is_v6)) {
            ((uint8_t *)&other)[i] ^= 1;
            cr_assert_neq(ft_hash(ft, &v6) >> 32, ft_hash(ft, &other) >> 32, "byte %zu", i);
            cr_assert_neq(ft_hash(ft, &v6) >> 8 & 0xffffff, ft_hash(ft, &other) >> 8 & 0xffffff, "byte %zu", i);
        }
        bool is_used = i < 4 || (i >= 16 && i < 20) || (i >= 32 && i < 41);
        if (is_used) {
            other = v4;
            ((uint8_t *)&other)[i] ^= 1;
            cr_assert_neq(ft_hash(ft, &v4) >> 32, ft_hash(ft, &other) >> 32, "byte %zu", i);
            cr_assert_neq(ft_hash(ft, &v4) >> 8 & 0xffffff, ft_hash(ft, &other) >> 8 & 0xffffff, "byte %zu", i);
        }
    }
    ft_destroy(ft);
}

/* Keys in arithmetic progression must spread as well as any. */
Test(flowtable, a_port_scan_fills_the_table_like_random_keys)
{
    static const uint8_t client[4] = {10, 0, 0, 1}, server[4] = {192, 168, 1, 1};
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct ft_config config = test_config(65536);
        config.secret_seed = seed;
        struct ft *ft = create(&config);
        for (unsigned port = 0; port < 65536; port++) {
            struct ft_key key;
            ft_key_make(&key, false, client, server, rte_cpu_to_be_16(40000), rte_cpu_to_be_16((uint16_t)port), 6, 0);
            must_insert(ft, &key, port, NS);
        }
        ft_destroy(ft);
    }
}

/* ---- determinism ---- */

/* One shard's life: a fixed sequence of operations; returns a digest of every answer, slot numbers left out. */
struct life {
    struct ft *ft;
    uint8_t shard;
    uint64_t stream;
    uint64_t uid;
    uint64_t now_ns;
    uint64_t digest;
};

static void live_a_little(struct life *life)
{
    ft_slot slots[8];
    for (unsigned i = 0; i < 6; i++) {
        struct ft_key key = key_of_shard(life->shard, &life->stream);
        ft_slot slot = FT_SLOT_NONE;
        int result = insert(life->ft, &key, ++life->uid, life->now_ns, &slot);
        life->digest = life->digest * 31 + (uint64_t)(result == 0);
    }
    life->now_ns += 4 * NS;
    unsigned count = ft_sweep(life->ft, life->shard, life->now_ns, 100, slots, 8);
    for (unsigned i = 0; i < count; i++) {
        life->digest = life->digest * 31 + ft_cold(life->ft, slots[i])->uid;
        ft_remove(life->ft, slots[i]);
    }
}

Test(flowtable, a_shard_does_not_depend_on_the_others)
{
    uint64_t digests[2][4];
    for (unsigned order = 0; order < 2; order++) {
        struct ft_config config = test_config(4096);
        struct ft *ft = create(&config);
        struct life lives[4];
        for (unsigned i = 0; i < 4; i++)
            lives[i] = (struct life){.ft = ft, .shard = (uint8_t)(60 * i), .stream = i, .now_ns = 100 * NS};
        /* Once one shard after the other, once in turns. */
        for (unsigned step = 0; step < 4 * 300; step++)
            live_a_little(&lives[order ? step % 4 : step / 300]);
        for (unsigned i = 0; i < 4; i++)
            digests[order][i] = lives[i].digest;
        cr_assert_gt(stats_of(ft).expired, 1000);
        cr_assert_gt(stats_of(ft).refused_no_bucket + stats_of(ft).displaced, 0);
        ft_destroy(ft);
    }
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(digests[0][i], digests[1][i], "shard %u", 60 * i);
}

/* ---- reclaim ---- */

Test(flowtable, a_slot_is_not_reused_before_readers_have_passed)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 43;
    int reader = ft_reader_register(ft), other = ft_reader_register(ft);
    cr_assert_eq(reader, 0);
    cr_assert_eq(other, 1);
    ft_reader_online(ft, reader);
    ft_reader_online(ft, other);
    struct ft_key key = key_of_shard(1, &stream);
    ft_slot slot = must_insert(ft, &key, 1, NS), ignored[1];
    ft_remove(ft, slot);
    ft_sweep(ft, 1, NS, 1, ignored, 1);
    ft_reader_quiescent(ft, reader);
    ft_sweep(ft, 1, NS, 1, ignored, 1);
    for (unsigned i = 0; i < 20; i++) {
        key = key_of_shard(1, &stream);
        cr_assert_neq(must_insert(ft, &key, i, NS), slot, "the other reader may hold it");
    }
    ft_reader_offline(ft, other);
    ft_sweep(ft, 1, NS, 1, ignored, 1);
    bool is_reused = false;
    for (unsigned i = 0; i < 20; i++) {
        key = key_of_shard(1, &stream);
        is_reused |= must_insert(ft, &key, i, NS) == slot;
    }
    cr_assert(is_reused);
    ft_reader_offline(ft, reader);
    ft_reader_unregister(ft, reader);
    ft_reader_unregister(ft, other);
    ft_destroy(ft);
}

Test(flowtable, a_stuck_reader_is_named_and_bounds_nothing_but_new_flows)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 47;
    int good = ft_reader_register(ft), stuck = ft_reader_register(ft), asleep = ft_reader_register(ft);
    ft_reader_online(ft, good);
    ft_reader_online(ft, stuck);
    (void)asleep;
    uint64_t inserted = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct ft_key key = key_of_shard((uint8_t)(i % 2), &stream);
        ft_slot slot;
        if (insert(ft, &key, i, NS, &slot) == 0) {
            ft_remove(ft, slot);
            inserted++;
        }
        ft_reader_quiescent(ft, good);
    }
    /* All slots wait for the stuck reader: each was used once. The first chunk is never used. */
    cr_assert_eq(inserted, (uint64_t)(ft->chunk_count - 1) << ft->chunk_shift);
    cr_assert_eq(ft_stuck_reader(ft, 100 * NS, 10 * NS), -1);
    ft_reader_quiescent(ft, good);
    cr_assert_eq(ft_stuck_reader(ft, 105 * NS, 10 * NS), -1);
    ft_reader_quiescent(ft, good);
    cr_assert_eq(ft_stuck_reader(ft, 110 * NS, 10 * NS), stuck);
    ft_reader_quiescent(ft, stuck);
    cr_assert_eq(ft_stuck_reader(ft, 111 * NS, 10 * NS), -1);
    /* Now everything comes back. */
    ft_reader_offline(ft, good);
    ft_reader_offline(ft, stuck);
    struct ft_key key = key_of_shard(0, &stream);
    must_insert(ft, &key, 1, NS);
    key = key_of_shard(1, &stream);
    must_insert(ft, &key, 1, NS);
    ft_slot ignored[1];
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        ft_sweep(ft, (uint8_t)shard, NS, 1, ignored, 1);
    for (unsigned i = 0; i < 40; i++) {
        key = key_of_shard(200, &stream);
        must_insert(ft, &key, i, NS);
    }
    ft_destroy(ft);
}

Test(flowtable, readers_are_numbered_up_to_their_limit)
{
    struct ft_config config = test_config(4096);
    config.readers_max = 3;
    struct ft *ft = create(&config);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ft_reader_register(ft), i);
    cr_assert_eq(ft_reader_register(ft), -ENOSPC);
    ft_reader_unregister(ft, 1);
    cr_assert_eq(ft_reader_register(ft), 1);
    ft_destroy(ft);
}

/* ---- copies by the owner, its half ---- */

Test(flowtable, an_owner_answers_requests_for_its_shards_only)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 53;
    struct ft_key key = key_of_shard(70, &stream);
    ft_slot slot = must_insert(ft, &key, 99, NS);
    struct ft_copy_request *request = &ft->requests[5];
    request->slot = slot;
    request->state = FT_COPY_ASKED;
    ft->copies_asked = 1;
    struct ft_shard_set owned = {{0}};
    owned.words[0] = UINT64_MAX;
    ft_owner_poll(ft, &owned);
    cr_assert_eq(request->state, FT_COPY_ASKED);
    ft_slot ignored[1];
    ft_sweep(ft, 71, NS, 1, ignored, 1);
    cr_assert_eq(request->state, FT_COPY_ASKED);
    owned.words[1] = UINT64_C(1) << (70 - 64);
    ft_owner_poll(ft, &owned);
    cr_assert_eq(request->state, FT_COPY_ANSWERED);
    cr_assert(request->found);
    cr_assert_eq(request->flow.cold.uid, 99);
    cr_assert_eq(memcmp(&request->flow.key, &key, sizeof key), 0);
    request->state = FT_COPY_ASKED;
    ft_sweep(ft, 70, NS, 1, ignored, 1);
    cr_assert_eq(request->state, FT_COPY_ANSWERED);
    ft_destroy(ft);
}

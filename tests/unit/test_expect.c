/*
 * The table of expectations: what is found, for whom, until when; what a full table, a greedy host and many threads do to it.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "dataplane/expect.h"

#define SECOND_NS UINT64_C(1000000000)
#define NOW_NS    (UINT64_C(1700000000) * SECOND_NS)
#define TCP       6
#define UDP       17

static struct dp_expect *table_of(uint32_t capacity, uint32_t per_host_max, bool is_by_pair)
{
    struct dp_expect_config config = {
        .capacity = capacity, .per_host_max = per_host_max, .is_by_pair = is_by_pair, .secret_seed = 7};
    struct dp_expect *table = dp_expect_create(&config);
    cr_assert(table);
    return table;
}

/* Hosts are 10.0.0.x; a peer of 0 is any. */
static struct dp_expectation entry_of(uint8_t host, uint16_t port, uint8_t peer, uint8_t kind)
{
    struct dp_expectation entry = {
        .address = {10, 0, 0, host}, .port_be16 = __builtin_bswap16(port), .ip_proto = UDP, .kind = kind};
    if (peer)
        memcpy(entry.peer, (uint8_t[4]){10, 0, 0, peer}, 4);
    return entry;
}

static struct ft_key key_of(uint8_t src, uint16_t src_port, uint8_t dst, uint16_t dst_port, uint32_t context)
{
    struct ft_key key;
    ft_key_make(&key, false, (uint8_t[4]){10, 0, 0, src}, (uint8_t[4]){10, 0, 0, dst}, __builtin_bswap16(src_port),
                __builtin_bswap16(dst_port), UDP, context);
    return key;
}

/* At the endpoint of 10.0.0.`host`. */
static bool finds(const struct dp_expect *table, const struct ft_key *key, uint8_t host, uint64_t now_ns,
                  struct dp_expectation *ret)
{
    unsigned endpoint = key->addr[0][3] == host ? 0 : 1;
    return dp_expect_find(table, key, endpoint, key->port_be16[endpoint], key->ip_proto, now_ns, ret);
}

static const uint8_t greedy[16] = {10, 0, 0, 200};
static const uint8_t modest[16] = {10, 0, 0, 201};

Test(expect, is_found_at_its_address_port_peer_and_context_until_it_ends)
{
    struct dp_expect *table = table_of(1024, 1024, false);
    struct dp_expectation any = entry_of(1, 6000, 0, 1), own = entry_of(1, 6000, 9, 2), found;
    struct ft_key from_9 = key_of(9, 7000, 1, 6000, 0), from_8 = key_of(8, 7000, 1, 6000, 0);
    struct ft_key other_port = key_of(9, 7000, 1, 6001, 0), other_context = key_of(9, 7000, 1, 6000, 5);
    cr_expect_not(dp_expect_any(table, UDP, NOW_NS));
    cr_expect_not(finds(table, &from_9, 1, NOW_NS, &found));
    cr_expect_eq(dp_expect_add(table, &own, modest, 10 * SECOND_NS, NOW_NS), DP_EXPECT_ADDED);
    cr_expect_not(finds(table, &from_8, 1, NOW_NS, &found), "it is for another peer");
    cr_expect_eq(dp_expect_add(table, &any, modest, 20 * SECOND_NS, NOW_NS), DP_EXPECT_ADDED);
    cr_assert(finds(table, &from_9, 1, NOW_NS, &found));
    cr_expect_eq(found.kind, 2, "the one for this very peer goes first");
    cr_assert(finds(table, &from_8, 1, NOW_NS, &found));
    cr_expect_eq(found.kind, 1);
    cr_expect_not(finds(table, &other_port, 1, NOW_NS, &found));
    cr_expect_not(finds(table, &other_context, 1, NOW_NS, &found));
    cr_expect_not(finds(table, &from_9, 9, NOW_NS, &found), "the other endpoint was not announced");
    cr_assert(finds(table, &from_9, 1, NOW_NS + 10 * SECOND_NS, &found));
    cr_expect_eq(found.kind, 1, "the other one has ended");
    cr_expect(dp_expect_any(table, UDP, NOW_NS + 20 * SECOND_NS - 1));
    cr_expect_not(dp_expect_any(table, UDP, NOW_NS + 20 * SECOND_NS));
    cr_expect_not(dp_expect_any(table, TCP, NOW_NS), "none of TCP was ever there");
    cr_expect_not(finds(table, &from_9, 1, NOW_NS + 20 * SECOND_NS, &found));
    dp_expect_destroy(table);
}

Test(expect, the_same_again_renews)
{
    struct dp_expect *table = table_of(64, 1024, false);
    struct dp_expectation entry = entry_of(1, 6000, 0, 1), found;
    struct ft_key key = key_of(9, 7000, 1, 6000, 0);
    for (unsigned i = 0; i < 100; i++) {
        entry.kind = (uint8_t)i;
        cr_expect_eq(dp_expect_add(table, &entry, modest, SECOND_NS, NOW_NS + i), DP_EXPECT_ADDED);
    }
    cr_assert(finds(table, &key, 1, NOW_NS + SECOND_NS, &found));
    cr_expect_eq(found.kind, 99);
    uint64_t position = 0;
    unsigned length = 0;
    while (dp_expect_walk(table, &position, NOW_NS + 99, &found)) {
        cr_expect_eq(found.until_ns, SECOND_NS, "exported times are relative");
        length++;
    }
    cr_expect_eq(length, 1);
    dp_expect_clear(table);
    cr_expect_not(finds(table, &key, 1, NOW_NS, &found));
    dp_expect_destroy(table);
}

Test(expect, full_it_forgets_what_would_end_first)
{
    enum { CAPACITY = 64, MORE = 400 };
    struct dp_expect *table = table_of(CAPACITY, 100000, false);
    struct dp_expectation last = entry_of(2, 1, 0, 2), found;
    struct ft_key key = key_of(9, 7000, 2, 1, 0);
    unsigned evicted = 0, living = 0;
    cr_expect_eq(dp_expect_add(table, &last, modest, 1000 * SECOND_NS, NOW_NS), DP_EXPECT_ADDED);
    for (unsigned i = 0; i < MORE; i++) {
        struct dp_expectation entry = entry_of(1, (uint16_t)(1000 + i), 0, 1);
        evicted += dp_expect_add(table, &entry, modest, 10 * SECOND_NS, NOW_NS + i) == DP_EXPECT_EVICTED;
    }
    for (uint64_t position = 0; dp_expect_walk(table, &position, NOW_NS + MORE, &found);)
        living++;
    cr_expect_leq(living, CAPACITY);
    cr_expect_eq(living + evicted, MORE + 1, "each that is missing was counted");
    cr_expect(finds(table, &key, 2, NOW_NS + MORE, &found), "it lives longer than all that came after it");
    dp_expect_destroy(table);
}

Test(expect, a_greedy_host_has_its_share_and_no_more)
{
    enum { SHARE = 50, TRIES = 100000 };
    struct dp_expect *table = table_of(4096, SHARE, false);
    unsigned added = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        struct dp_expectation entry = entry_of(1, (uint16_t)i, 0, 1);
        enum dp_expect_result result = dp_expect_add(table, &entry, greedy, 10 * SECOND_NS, NOW_NS);
        cr_assert(result == DP_EXPECT_ADDED || result == DP_EXPECT_REFUSED);
        added += result == DP_EXPECT_ADDED;
    }
    cr_expect_eq(added, SHARE);
    struct dp_expectation entry = entry_of(3, 6000, 0, 1);
    cr_expect_eq(dp_expect_add(table, &entry, modest, 10 * SECOND_NS, NOW_NS), DP_EXPECT_ADDED);
    entry = entry_of(1, 6000, 0, 1);
    cr_expect_eq(dp_expect_add(table, &entry, greedy, 10 * SECOND_NS, NOW_NS + 10 * SECOND_NS / SHARE), DP_EXPECT_ADDED,
                 "one more when one part of the lifetime has passed");
    cr_expect_eq(dp_expect_add(table, &entry, greedy, 10 * SECOND_NS, NOW_NS + 10 * SECOND_NS / SHARE),
                 DP_EXPECT_REFUSED);
    dp_expect_destroy(table);
}

Test(expect, by_pair_the_clients_of_one_address_do_not_crowd_out_each_other)
{
    struct dp_expect *table = table_of(4096, 1000, true);
    struct dp_expectation found;
    for (unsigned client = 1; client <= 200; client++) {
        struct dp_expectation entry = entry_of(250, 0, (uint8_t)client, 6);
        entry.ip_proto = 0;
        entry.named = (uint16_t)client;
        cr_expect_eq(dp_expect_add(table, &entry, entry.peer, 60 * SECOND_NS, NOW_NS), DP_EXPECT_ADDED);
    }
    for (unsigned client = 1; client <= 200; client++) {
        struct ft_key key = key_of((uint8_t)client, 7000, 250, 443, 0);
        unsigned server = key.addr[0][3] == 250 ? 0 : 1;
        cr_assert(dp_expect_find(table, &key, server, 0, 0, NOW_NS, &found));
        cr_expect_eq(found.named, client);
    }
    dp_expect_destroy(table);
}

/* ---- several threads ---- */

enum { ROUNDS = 40000, PORTS = 40 };
static struct dp_expect *shared;

/* Entries whose fields agree with each other: a torn one would not. */
static void *write_entries(void *context)
{
    unsigned seed = *(const unsigned *)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t mark = (uint8_t)(seed + i);
        struct dp_expectation entry = entry_of(1, (uint16_t)(1 + i % PORTS), 0, mark);
        entry.named = mark;
        entry.zero2 = mark;
        dp_expect_add(shared, &entry, greedy, 10 * SECOND_NS, NOW_NS + i);
    }
    return NULL;
}

Test(expect, readers_see_whole_entries_while_several_write)
{
    pthread_t writers[2];
    unsigned seeds[2] = {1, 100}, hits = 0;
    shared = table_of(64, 1u << 30, false);
    for (unsigned w = 0; w < 2; w++)
        cr_assert_eq(pthread_create(&writers[w], NULL, write_entries, &seeds[w]), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ft_key key = key_of(9, 7000, 1, (uint16_t)(1 + i % PORTS), 0);
        struct dp_expectation found;
        if (!finds(shared, &key, 1, NOW_NS, &found))
            continue;
        hits++;
        cr_assert_eq(found.named, found.kind);
        cr_assert_eq(found.zero2, found.kind);
        cr_assert_eq(found.port_be16, key.port_be16[key.addr[0][3] == 1 ? 0 : 1]);
    }
    for (unsigned w = 0; w < 2; w++)
        pthread_join(writers[w], NULL);
    for (unsigned port = 1; port <= PORTS; port++) {
        struct ft_key key = key_of(9, 7000, 1, (uint16_t)port, 0);
        struct dp_expectation found;
        hits += finds(shared, &key, 1, NOW_NS, &found);
    }
    cr_expect_gt(hits, 0);
    dp_expect_destroy(shared);
}

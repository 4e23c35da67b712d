/* Two flow tables and the records between them: after each round the replica is what the original is. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/cascade/replica.h"

#define FLOWS_MAX 6000u
#define SECOND_NS UINT64_C(1000000000)

static uint32_t id_of(const void *context, uint16_t index)
{
    (void)context;
    return index;
}

static uint16_t index_of(const void *context, uint32_t id)
{
    (void)context;
    return (uint16_t)id;
}

static const struct cascade_names names = {id_of, id_of, index_of, index_of, NULL};
static const struct cascade_kind *const kinds[] = {&cascade_flow_kind, &cascade_flow_touch_kind,
                                                   &cascade_flow_gone_kind, NULL};

static struct ft *original, *copy;
static struct cascade_export *export;
static struct cascade_replica *replica;
static struct cascade_reader reader;
static uint32_t random_state;
static uint8_t wire[1 << 22];
static size_t wire_used, wire_room;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)random_state * below) >> 32);
}

static struct ft *make_table(uint64_t capacity)
{
    struct ft_config config;
    char error[256];
    ft_config_init(&config);
    config.capacity_flows = capacity;
    config.unanswered_share_pct = 100;
    struct ft *ft = ft_create(&config, error, sizeof error);
    cr_assert_not_null(ft, "%s", error);
    return ft;
}

static void start(void)
{
    original = make_table(1u << 14);
    copy = make_table(1u << 15); /* another size, another secret: other slots, other buckets */
    export = cascade_export_create(original, ft_reader_register(original), &names, NULL);
    replica = cascade_replica_create(copy, ft_slot_count(original), &names);
    cr_assert(export && replica);
    cascade_reader_init(&reader, kinds);
    for (unsigned i = 0; kinds[i]; i++) {
        uint8_t text[1024];
        struct cursor c = cursor_of(text, cascade_write_definition(kinds[i], text, sizeof text));
        cr_assert_eq(cascade_define(&reader, &c), CASCADE_REFUSAL_none);
    }
    wire_room = sizeof wire;
}

static void stop(void)
{
    cascade_export_destroy(export);
    cascade_replica_destroy(replica);
    ft_destroy(original);
    ft_destroy(copy);
}

static bool into_wire(void *context, const uint8_t *record, size_t size_bytes)
{
    (void)context;
    if (wire_used + size_bytes > wire_room)
        return false;
    memcpy(wire + wire_used, record, size_bytes);
    wire_used += size_bytes;
    return true;
}

/* One round of a shard, in pieces as large as the wire has room; returns how many records it took. */
static uint64_t round_of(uint8_t shard, bool frozen)
{
    uint64_t changed;
    bool done;
    do {
        wire_used = 0;
        done = cascade_export_round(export, shard, frozen, into_wire, NULL, &changed);
        cascade_replica_apply(replica, &reader, shard, wire, wire_used, 0, NULL);
    } while (!done);
    return changed;
}

static uint64_t round_of_all(bool frozen)
{
    uint64_t changed = 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        changed += round_of((uint8_t)shard, frozen);
    return changed;
}

static void make_key(unsigned number, struct ft_key *ret_key)
{
    uint8_t low[16] = {10, 0, (uint8_t)(number >> 8), (uint8_t)number}, high[16] = {192, 0, 2, 1};
    bool is_v6 = number % 5 == 0;
    ft_key_make(ret_key, is_v6, low, high, (uint16_t)number, 443, 6, 0);
}

/* ---- random life of the original ---- */

static ft_slot slots[FLOWS_MAX];
static uint64_t next_uid = 1;

static void life_of(unsigned number)
{
    struct ft_key key;
    make_key(number, &key);
    if (slots[number] == FT_SLOT_NONE) {
        if (ft_insert(original, &key, ft_hash(original, &key), next_uid++, SECOND_NS, &slots[number]))
            slots[number] = FT_SLOT_NONE;
        return;
    }
    struct ft_hot *hot = ft_hot(original, slots[number]);
    struct ft_cold *cold = ft_cold(original, slots[number]);
    switch (draw(6)) {
    case 0:
        ft_remove(original, slots[number]);
        slots[number] = FT_SLOT_NONE;
        return;
    case 1:
        ft_write_begin(hot);
        FT_SET(hot->name, (uint16_t)(1 + draw(500)));
        FT_SET(cold->protocol, hot->name);
        FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_DECIDED));
        ft_touch(cold);
        ft_write_end(hot);
        return;
    default:
        ft_write_begin(hot);
        FT_SET(hot->packets[0], hot->packets[0] + 1);
        FT_SET(hot->bytes[0], hot->bytes[0] + draw(1500));
        FT_SET(hot->last_ns, hot->last_ns + draw(1000));
        ft_write_end(hot);
    }
}

/* ---- comparison, by other means than digests ---- */

static bool equal_flows(const struct ft_flow *a, const struct ft_flow *b)
{
    return !memcmp(&a->key, &b->key, sizeof a->key) && a->cold.uid == b->cold.uid && a->hot.name == b->hot.name &&
           a->hot.flags == b->hot.flags && a->hot.packets[0] == b->hot.packets[0] &&
           a->hot.bytes[0] == b->hot.bytes[0] && a->hot.last_ns == b->hot.last_ns &&
           a->cold.version == b->cold.version && a->hot.timeout_class == b->hot.timeout_class;
}

static uint64_t count_flows(struct ft *ft)
{
    struct ft_stats stats;
    ft_stats(ft, &stats);
    return stats.flows;
}

static void expect_equal_tables(void)
{
    struct ft_flow a, b;
    unsigned differ = 0;
    cr_assert_eq(count_flows(original), count_flows(copy));
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint64_t position = 0;
        while (ft_walk(original, (uint8_t)shard, &position, &a))
            differ += !ft_find(copy, &a.key, &b) || !equal_flows(&a, &b);
        struct cascade_digest sent, applied;
        cascade_export_digest(export, (uint8_t)shard, &sent);
        cascade_replica_digest(replica, (uint8_t)shard, &applied);
        cr_expect(cascade_digest_equal(&sent, &applied), "shard %u: %lu %lx, %lu %lx", shard, sent.flows, sent.sum,
                  applied.flows, applied.sum);
    }
    cr_assert_eq(differ, 0);
}

static void run_life(uint32_t seed, size_t room)
{
    random_state = seed;
    wire_room = room;
    for (unsigned i = 0; i < FLOWS_MAX; i++)
        slots[i] = FT_SLOT_NONE;
    for (unsigned turn = 0; turn < 12; turn++) {
        for (unsigned i = 0; i < 20000; i++)
            life_of(draw(FLOWS_MAX));
        round_of_all(turn % 3 == 0);
        expect_equal_tables();
    }
    cr_expect_eq(round_of_all(false), 0, "what has not changed is not sent");
    struct cascade_replica_stats stats;
    cascade_replica_stats(replica, &stats);
    for (unsigned i = 0; i < CASCADE_FLOW_REFUSAL_COUNT; i++)
        cr_expect_eq(stats.refused[i], 0, "%s", cascade_flow_refusal_name(i));
    cr_expect_gt(stats.touches, 0);
    cr_expect_gt(stats.gone, 0);
}

TestSuite(cascade_replica, .init = start, .fini = stop);

Test(cascade_replica, follows_a_random_life)
{
    uint32_t seed = (uint32_t)time(NULL);
    printf("seed %u\n", seed);
    run_life(seed, sizeof wire);
}

/* A sink that is full again and again loses nothing. */
Test(cascade_replica, a_small_sink)
{
    run_life(4, 700);
    struct cascade_export_stats stats;
    cascade_export_stats(export, &stats);
    cr_expect_gt(stats.paused, 1000);
}

/* The sender forgets what it sent, as for a new connection: the receiver clears, all comes again. */
Test(cascade_replica, begins_anew)
{
    run_life(5, sizeof wire);
    cascade_export_reset(export);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        cascade_replica_clear(replica, (uint8_t)shard, NULL);
    cr_expect_eq(count_flows(copy), 0);
    cr_expect_eq(round_of_all(false), count_flows(original));
    expect_equal_tables();
}

Test(cascade_replica, taken_over)
{
    run_life(6, sizeof wire);
    uint64_t flows = count_flows(copy);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        cascade_replica_own(replica, (uint8_t)shard);
        cascade_replica_clear(replica, (uint8_t)shard, NULL);
    }
    cr_expect_eq(count_flows(copy), flows, "they are no replicas any more");
}

static size_t flow_record(unsigned number, uint32_t slot, uint32_t generation, uint32_t version, uint64_t uid,
                          uint8_t *ret_shard, uint8_t *to, size_t size)
{
    struct cascade_flow record = {.touch = {.slot = slot, .generation = generation, .bytes_client = number},
                                  .uid = uid,
                                  .version = version,
                                  .ip_proto = 6};
    struct ft_key key;
    make_key(number, &key);
    memcpy(record.address_0, key.addr[0], 16);
    memcpy(record.address_1, key.addr[1], 16);
    memcpy(record.ports, key.port_be16, 4);
    record.is_v6 = key.is_v6;
    *ret_shard = ft_shard_of(&key);
    return cascade_write_record(&cascade_flow_kind, &record, to, size);
}

static uint64_t refused(enum cascade_flow_refusal refusal)
{
    struct cascade_replica_stats stats;
    cascade_replica_stats(replica, &stats);
    return stats.refused[refusal];
}

Test(cascade_replica, stale_and_lying_records)
{
    uint8_t record[512], shard, other;
    struct cascade_flow_gone gone = {.slot = 9, .generation = 7, .uid = 50, .version = 3};
    size_t size = flow_record(1, 9, 7, 3, 50, &shard, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 1);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 1,
                 "the same again is the same");
    cr_expect_eq(cascade_replica_apply(replica, &reader, (uint8_t)(shard + 1), record, size, 0, NULL), 0);
    cr_expect_eq(refused(CASCADE_FLOW_REFUSAL_wrong_shard), 1);
    size = flow_record(1, 9, 7, 2, 50, &shard, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 0, "an older version");
    size = flow_record(1, 9, 5, 9, 40, &shard, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 0, "an older generation");
    cr_expect_eq(refused(CASCADE_FLOW_REFUSAL_stale), 2);
    size = flow_record(2, UINT32_MAX, 7, 9, 41, &other, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, other, record, size, 0, NULL), 0,
                 "no such slot at the sender");
    struct cascade_flow_touch touch = {.slot = UINT32_MAX, .generation = 7};
    size = cascade_write_record(&cascade_flow_touch_kind, &touch, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 0);
    touch = (struct cascade_flow_touch){.slot = 9, .generation = 9};
    size = cascade_write_record(&cascade_flow_touch_kind, &touch, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 0);
    cr_expect_eq(refused(CASCADE_FLOW_REFUSAL_unknown_flow), 2);

    size = cascade_write_record(&cascade_flow_gone_kind, &gone, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 1);
    cr_expect_eq(count_flows(copy), 0);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 1, "it says what holds");
    size = flow_record(1, 9, 7, 4, 50, &shard, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 0, "no rising from the dead");
    cr_expect_eq(count_flows(copy), 0);
    size = flow_record(1, 9, 9, 1, 60, &shard, record, sizeof record);
    cr_expect_eq(cascade_replica_apply(replica, &reader, shard, record, size, 0, NULL), 1, "the slot's next flow");
    struct cascade_digest digest;
    cascade_replica_digest(replica, shard, &digest);
    cr_expect_eq(digest.flows, 1);
}

/* A table that is too small: what finds no room is refused and counted, and the digest tells. */
Test(cascade_replica, no_room)
{
    struct ft *small = make_table(FT_CAPACITY_FLOWS_MIN);
    cascade_replica_destroy(replica);
    replica = cascade_replica_create(small, ft_slot_count(original), &names);
    for (unsigned i = 0; i < FLOWS_MAX; i++) {
        struct ft_key key;
        make_key(i, &key);
        for (unsigned k = 0; k < 2; k++) {
            key.context = k;
            cr_assert_eq(ft_insert(original, &key, ft_hash(original, &key), next_uid++, SECOND_NS, &slots[i]), 0);
        }
    }
    round_of_all(false);
    uint64_t sent = 0, applied = 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        struct cascade_digest digest;
        cascade_export_digest(export, (uint8_t)shard, &digest);
        sent += digest.flows;
        cascade_replica_digest(replica, (uint8_t)shard, &digest);
        applied += digest.flows;
    }
    cr_expect_eq(sent, 2 * FLOWS_MAX);
    cr_expect_gt(refused(CASCADE_FLOW_REFUSAL_no_space), 0);
    cr_expect_eq(applied + refused(CASCADE_FLOW_REFUSAL_no_space), sent);
    cr_expect_eq(applied, count_flows(small));
    cascade_replica_destroy(replica);
    ft_destroy(small);
    replica = NULL;
}

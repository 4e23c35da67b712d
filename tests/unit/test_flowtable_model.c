/*
 * Random operations on the flow table against a plain map: an array by key number. Every answer of the table is
 * compared as it comes; now and then the whole table is.
 */
#include <stdlib.h>

#include "flowtable/table_priv.h"
#include "flowtable_util.h"

#ifdef __SANITIZE_THREAD__
#define SCALE 10u
#else
#define SCALE 1u
#endif
#define ROUNDS (150000 / SCALE) /* bursts of 16 keys on average, each looked up and then acted on */

struct model_flow {
    struct ft_key key;
    uint64_t hash;
    bool live;
    uint8_t timeout_class;
    ft_slot slot;
    uint32_t generation;
    uint64_t uid;
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t bytes;
};

struct model {
    struct ft *ft;
    struct ft_config config;
    struct model_flow *flows; /* by key number */
    uint32_t *by_slot;        /* key number + 1, 0 = free */
    uint32_t key_count;
    uint64_t live;
    uint64_t uid;
    uint64_t now_ns;
    uint64_t random;
    int reader; /* makes slots wait, -1: none */
    bool is_online;
    uint64_t inserted, removed, refused, refused_no_slot, expired, twins, operations;
};

static uint32_t pick(struct model *m, uint32_t below)
{
    return (uint32_t)(next_random(&m->random) % below);
}

static void check_flow(struct model *m, const struct model_flow *flow, const struct ft_flow *copy)
{
    cr_assert_eq(memcmp(&copy->key, &flow->key, sizeof copy->key), 0);
    cr_assert_eq(copy->slot, flow->slot);
    cr_assert_eq(copy->cold.uid, flow->uid);
    cr_assert_eq(copy->cold.first_ns, flow->first_ns);
    cr_assert_eq(copy->hot.last_ns, flow->last_ns);
    cr_assert_eq(copy->hot.bytes[0], flow->bytes);
    cr_assert_eq(copy->hot.timeout_class, flow->timeout_class);
    cr_assert_eq(ft_generation(&copy->hot), flow->generation);
    cr_assert_eq(ft_expired(m->ft, &copy->hot, m->now_ns),
                 m->now_ns > flow->last_ns && m->now_ns - flow->last_ns > m->config.timeout_ns[flow->timeout_class]);
}

/* What an insert answered for one key. */
static void model_inserted(struct model *m, uint32_t number, uint64_t uid, int result, ft_slot slot)
{
    struct model_flow *flow = &m->flows[number];
    if (result != 0) {
        cr_assert(result == -ENOSPC || result == -EXFULL, "refused with %d", result);
        m->refused_no_slot += result == -ENOSPC;
        cr_assert_eq(slot, FT_SLOT_NONE);
        m->refused++;
        return;
    }
    cr_assert_eq(m->by_slot[slot], 0, "slot %u is taken", slot);
    m->by_slot[slot] = number + 1;
    uint32_t generation = ft_generation(ft_hot(m->ft, slot));
    cr_assert(generation & 1);
    flow->live = true;
    flow->slot = slot;
    flow->generation = generation;
    flow->uid = uid;
    flow->first_ns = flow->last_ns = m->now_ns;
    flow->bytes = 0;
    flow->timeout_class = 0;
    m->live++;
    m->inserted++;
}

static void model_insert(struct model *m, uint32_t number)
{
    struct model_flow *flow = &m->flows[number];
    ft_slot slot = FT_SLOT_NONE;
    uint64_t uid = ++m->uid;
    int result = ft_insert(m->ft, &flow->key, flow->hash, uid, m->now_ns, &slot);
    model_inserted(m, number, uid, result, slot);
}

/* Keys of a burst by ft_insert_bulk(); the same key may be there twice. */
static void model_insert_bulk(struct model *m, const uint32_t numbers[], const struct ft_key keys[],
                              const uint64_t hashes[], uint32_t wanted)
{
    uint64_t uids[FT_BURST_MAX], now_ns[FT_BURST_MAX];
    ft_slot slots[FT_BURST_MAX];
    int errors[FT_BURST_MAX];
    for (unsigned i = 0; i < FT_BURST_MAX; i++) {
        uids[i] = ++m->uid;
        now_ns[i] = m->now_ns;
    }
    uint32_t inserted = ft_insert_bulk(m->ft, keys, hashes, wanted, uids, now_ns, slots, errors);
    cr_assert_eq(inserted & ~wanted, 0);
    for (uint32_t left = wanted; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        const struct model_flow *flow = &m->flows[numbers[i]];
        if (flow->live) { /* the second of two */
            cr_assert_eq(inserted >> i & 1, 0);
            cr_assert_eq(errors[i], 0);
            cr_assert_eq(slots[i], flow->slot);
            m->twins++;
            continue;
        }
        cr_assert_eq(inserted >> i & 1, errors[i] == 0);
        model_inserted(m, numbers[i], uids[i], errors[i], slots[i]);
    }
}

static void model_removed(struct model *m, struct model_flow *flow)
{
    m->by_slot[flow->slot] = 0;
    flow->live = false;
    m->live--;
    m->removed++;
}

static void model_remove(struct model *m, struct model_flow *flow)
{
    ft_remove(m->ft, flow->slot);
    model_removed(m, flow);
}

static void model_write(struct model *m, struct model_flow *flow)
{
    struct ft_hot *hot = ft_hot(m->ft, flow->slot);
    flow->last_ns = m->now_ns;
    flow->bytes += 1 + pick(m, 1500);
    ft_write_begin(hot);
    FT_SET(hot->last_ns, flow->last_ns);
    FT_SET(hot->bytes[0], flow->bytes);
    if (pick(m, 4) == 0) {
        flow->timeout_class = (uint8_t)pick(m, FT_TIMEOUT_COUNT);
        ft_set_timeout_class(m->ft, flow->slot, (enum ft_timeout)flow->timeout_class);
    }
    ft_write_end(hot);
}

static void model_sweep(struct model *m)
{
    ft_slot slots[64];
    uint8_t shard = (uint8_t)pick(m, FT_SHARDS);
    unsigned count = ft_sweep(m->ft, shard, m->now_ns, 1 + pick(m, 2000), slots, 1 + pick(m, 64));
    for (unsigned i = 0; i < count; i++) {
        cr_assert_neq(m->by_slot[slots[i]], 0, "ageing found a free slot, or one slot twice");
        struct model_flow *flow = &m->flows[m->by_slot[slots[i]] - 1];
        cr_assert_eq((uint8_t)flow->hash, shard);
        cr_assert_gt(m->now_ns - flow->last_ns, m->config.timeout_ns[flow->timeout_class]);
        model_removed(m, flow);
        m->expired++;
    }
    for (unsigned i = 0; i < count; i += FT_BURST_MAX)
        ft_remove_bulk(m->ft, slots + i, count - i < FT_BURST_MAX ? count - i : FT_BURST_MAX);
}

/* The burst's flows come and go one by one, or all at once by the bulk calls. */
static void model_act(struct model *m, const uint32_t numbers[], unsigned count, uint32_t fill_pct)
{
    for (unsigned i = 0; i < count; i++) {
        struct model_flow *flow = &m->flows[numbers[i]];
        bool wish = pick(m, 100) < fill_pct;
        if (!flow->live && wish)
            model_insert(m, numbers[i]);
        else if (flow->live && !wish)
            model_remove(m, flow);
        else if (flow->live)
            model_write(m, flow);
    }
}

static void model_act_bulk(struct model *m, const uint32_t numbers[], const struct ft_key keys[],
                           const uint64_t hashes[], unsigned count, uint32_t fill_pct)
{
    ft_slot removed[FT_BURST_MAX];
    unsigned removed_count = 0;
    uint32_t wanted = 0;
    for (unsigned i = 0; i < count; i++) {
        struct model_flow *flow = &m->flows[numbers[i]];
        bool wish = pick(m, 100) < fill_pct;
        if (!flow->live) {
            wanted |= (uint32_t)wish << i;
        } else if (!wish) {
            removed[removed_count++] = flow->slot;
            model_removed(m, flow);
        } else {
            model_write(m, flow);
        }
    }
    ft_remove_bulk(m->ft, removed, removed_count);
    model_insert_bulk(m, numbers, keys, hashes, wanted);
}

/* In one call or in its steps, with hints that are good, old, or any slot at all: the answer is the same. */
static uint32_t model_lookup(struct model *m, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                             ft_slot ret_slots[])
{
    if (pick(m, 2))
        return ft_lookup_bulk(m->ft, keys, hashes, count, ret_slots);
    ft_slot hints[FT_BURST_MAX];
    ft_prefetch_index(m->ft, hashes, count);
    ft_prefetch_flows(m->ft, keys, hashes, count, hints);
    for (unsigned i = 0; i < count; i++)
        if (!pick(m, 4))
            hints[i] = pick(m, m->ft->chunk_count << m->ft->chunk_shift);
    return ft_lookup_hinted(m->ft, keys, hashes, hints, count, ret_slots);
}

/* A burst of lookups; each key found or missed is then inserted, written or removed, as `fill_pct` says. */
static void model_burst(struct model *m, uint32_t fill_pct)
{
    struct ft_key keys[FT_BURST_MAX];
    uint64_t hashes[FT_BURST_MAX];
    uint32_t numbers[FT_BURST_MAX];
    ft_slot slots[FT_BURST_MAX];
    unsigned count = 1 + pick(m, FT_BURST_MAX);
    for (unsigned i = 0; i < count; i++) {
        numbers[i] = pick(m, m->key_count);
        keys[i] = m->flows[numbers[i]].key;
        hashes[i] = m->flows[numbers[i]].hash;
    }
    uint32_t hits = model_lookup(m, keys, hashes, count, slots);
    for (unsigned i = 0; i < count; i++) {
        const struct model_flow *flow = &m->flows[numbers[i]];
        cr_assert_eq(hits >> i & 1, flow->live);
        cr_assert_eq(slots[i], flow->live ? flow->slot : FT_SLOT_NONE);
    }
    if (pick(m, 2))
        model_act(m, numbers, count, fill_pct);
    else
        model_act_bulk(m, numbers, keys, hashes, count, fill_pct);
    m->operations += 2 * count;
}

static void check_all(struct model *m)
{
    struct ft_flow copy;
    for (uint32_t i = 0; i < m->key_count; i++) {
        const struct model_flow *flow = &m->flows[i];
        cr_assert_eq(ft_find(m->ft, &flow->key, &copy), flow->live);
        if (!flow->live)
            continue;
        check_flow(m, flow, &copy);
        ft_copy(m->ft, flow->slot, &copy);
        check_flow(m, flow, &copy);
        cr_assert(ft_read(m->ft, flow->slot, &copy));
        check_flow(m, flow, &copy);
    }
    uint64_t walked = 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint64_t position = 0;
        int64_t last_slot = -1;
        while (ft_walk(m->ft, (uint8_t)shard, &position, &copy)) {
            cr_assert_gt((int64_t)copy.slot, last_slot);
            last_slot = copy.slot;
            cr_assert_neq(m->by_slot[copy.slot], 0);
            check_flow(m, &m->flows[m->by_slot[copy.slot] - 1], &copy);
            cr_assert_eq(ft_shard_of(&copy.key), shard);
            walked++;
        }
    }
    cr_assert_eq(walked, m->live);
    uint64_t unanswered = 0;
    for (uint32_t i = 0; i < m->key_count; i++)
        unanswered += m->flows[i].live && ft_timeout_unanswered((enum ft_timeout)m->flows[i].timeout_class);
    struct ft_stats stats = stats_of(m->ft);
    cr_assert_eq(stats.flows, m->live);
    cr_assert_eq(stats.inserted, m->inserted);
    cr_assert_eq(stats.removed, m->removed);
    cr_assert_eq(stats.expired, m->expired);
    cr_assert_eq(stats.refused_no_slot, m->refused_no_slot);
    cr_assert_eq(stats.refused_no_bucket, m->refused - m->refused_no_slot);
    cr_assert_eq(stats.refused_unanswered, 0);
    cr_assert_eq(stats.unanswered, unanswered);
}

static struct model *model_create(uint64_t capacity, uint32_t key_count, uint64_t seed)
{
    cr_log_info("capacity %lu, %u keys, seed %lu", capacity, key_count, seed);
    struct model *m = calloc(1, sizeof *m);
    m->config = test_config(capacity);
    m->config.secret_seed = seed;
    m->ft = create(&m->config);
    m->key_count = key_count;
    m->flows = calloc(key_count, sizeof *m->flows);
    m->by_slot = calloc(2 * capacity + 2 * FT_SHARDS * 4096, sizeof *m->by_slot);
    m->reader = -1;
    m->now_ns = 1000 * NS;
    m->random = seed;
    for (uint32_t i = 0; i < key_count; i++) {
        m->flows[i].key = numbered_key(i);
        m->flows[i].hash = ft_hash(m->ft, &m->flows[i].key);
    }
    return m;
}

static void model_destroy(struct model *m)
{
    ft_destroy(m->ft);
    free(m->by_slot);
    free(m->flows);
    free(m);
}

/* A reader that comes, holds freed slots back for a while, and goes. */
static void model_read(struct model *m)
{
    if (pick(m, 50) == 0) {
        if (m->is_online)
            ft_reader_offline(m->ft, m->reader);
        else
            ft_reader_online(m->ft, m->reader);
        m->is_online = !m->is_online;
    } else if (m->is_online && pick(m, 10) == 0) {
        ft_reader_quiescent(m->ft, m->reader);
    }
}

/* Fills, empties and refills, with ageing on a clock that mostly goes on; `rounds` bursts. */
static void model_run(struct model *m, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        unsigned phase = round * 6 / rounds;
        static const uint32_t fill_pct[6] = {95, 50, 100, 10, 90, 0};
        model_burst(m, fill_pct[phase]);
        if (m->reader >= 0)
            model_read(m);
        if (pick(m, 4) == 0) {
            m->now_ns += pick(m, 3) ? pick(m, 200000000) : pick(m, 2) * (uint64_t)pick(m, 20) * NS;
            model_sweep(m);
        }
        if (round % (rounds / 6) == rounds / 6 - 1)
            check_all(m);
    }
    cr_assert_gt(m->expired, 1000);
    cr_assert_gt(m->twins, 0);
    cr_assert_gt(m->operations, 1000000 / SCALE);
}

Test(flowtable_model, smallest_table_overfilled)
{
    struct model *m = model_create(4096, 20000, 1);
    m->reader = ft_reader_register(m->ft);
    model_run(m, ROUNDS);
    cr_assert_gt(m->refused, 0, "five keys a place cannot all fit");
    struct ft_stats stats = stats_of(m->ft);
    cr_assert_gt(stats.displaced, 0);
    model_destroy(m);
}

Test(flowtable_model, table_of_50000_within_its_capacity)
{
    struct model *m = model_create(50000, 50000, 2);
    model_run(m, ROUNDS);
    cr_assert_eq(m->refused, 0);
    model_destroy(m);
}

Test(flowtable_model, table_of_a_million)
{
    struct model *m = model_create(1000000, 120000, 3);
    m->reader = ft_reader_register(m->ft);
    model_run(m, ROUNDS);
    cr_assert_eq(m->refused, 0);
    model_destroy(m);
}

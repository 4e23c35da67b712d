/*
 * Traffic that means harm, in a world of its own:
 *
 *   flood      every fourth packet the SYN of a new random flow, the table full
 *   overfull   the same, but all these flows fall into one shard, which anybody can arrange
 *   adversary  flows made by one who knows all but the secret: in one shard, and neighbours under a secret of his own
 */
#include <inttypes.h>
#include <rte_cycles.h>

#include "bench/bench.h"

#define USUAL_FLOWS  1000000u
#define SYN_EVERY    4u
#define SHARD        7u
#define SECOND_NS    UINT64_C(1000000000)
#define FLOOD_NUMBER UINT64_C(0x08000000) /* above the flows that stay */
#define OWN_SECRET   12345u
#define STREAM       65536u
#define BATCH        32u

struct hostile {
    struct bench_world *world;
    struct dp_worker *worker;
    struct bench_source established, syns, both;
    struct bench_sink sink;
    uint64_t flood; /* number of the next new flow */
    uint64_t ahead_ns;
    uint32_t length;
    bool one_shard;
};

/* ---- flood ---- */

static void set_syn(struct hostile *hostile, struct bench_source *source, uint32_t at)
{
    struct bench_tuple tuple;
    bench_tuple(hostile->flood++, hostile->world->family, &tuple);
    if (hostile->one_shard)
        bench_force_shard(&tuple, SHARD, (unsigned)bench_random());
    bench_source_set(source, at, &tuple, false, BENCH_TCP_SYN, BENCH_64_BYTES);
}

static void set_established(struct hostile *hostile, struct bench_source *source, uint32_t at)
{
    struct bench_tuple tuple;
    bench_tuple(bench_random() % hostile->world->flows, hostile->world->family, &tuple);
    bench_source_set(source, at, &tuple, bench_random() >> 63, BENCH_TCP_ACK, BENCH_64_BYTES);
}

static void prepare_syns(void *context)
{
    struct hostile *hostile = context;
    for (uint32_t at = 0; at < hostile->length; at++)
        set_syn(hostile, &hostile->syns, at);
}

static void prepare_both(void *context)
{
    struct hostile *hostile = context;
    for (uint32_t at = 0; at < hostile->length; at++)
        if (at % SYN_EVERY == SYN_EVERY - 1)
            set_syn(hostile, &hostile->both, at);
        else
            set_established(hostile, &hostile->both, at);
}

static void run(struct hostile *hostile, const struct bench_source *source, uint32_t begin)
{
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_source_receive(source, hostile->worker, at, bench_now_ns() + hostile->ahead_ns);
    dp_worker_finish(hostile->worker);
}

static void run_established(void *context, uint32_t begin)
{
    struct hostile *hostile = context;
    run(hostile, &hostile->established, begin);
}

static void run_syns(void *context, uint32_t begin)
{
    struct hostile *hostile = context;
    run(hostile, &hostile->syns, begin);
}

static void run_both(void *context, uint32_t begin)
{
    struct hostile *hostile = context;
    run(hostile, &hostile->both, begin);
}

static uint64_t refused(const struct hostile *hostile)
{
    const uint64_t *packets = hostile->worker->stats.outcome_packets;
    return packets[DP_OUTCOME_flow_table_no_slot] + packets[DP_OUTCOME_flow_table_no_bucket] +
           packets[DP_OUTCOME_flow_table_unanswered];
}

/* Until nearly every new flow is refused. */
static void fill_up(struct hostile *hostile)
{
    uint64_t before;
    do {
        before = refused(hostile);
        prepare_syns(hostile);
        for (uint32_t at = 0; at < hostile->length; at += BENCH_CHUNK)
            run_syns(hostile, at);
    } while (refused(hostile) - before < (uint64_t)hostile->length * 9 / 10);
}

/* Flows that stay and were lost, or lost their verdict. */
static uint64_t count_lost(const struct hostile *hostile)
{
    struct ft *flows = hostile->world->engine->flows;
    uint64_t lost = 0;
    for (uint64_t i = 0; i < hostile->world->flows; i++) {
        struct ft_key key;
        ft_slot slot;
        bench_key(i, hostile->world->family, &key);
        uint64_t hash = ft_hash(flows, &key);
        if (!ft_lookup_bulk(flows, &key, &hash, 1, &slot) || !(ft_hot(flows, slot)->flags & FT_FLOW_DECIDED) ||
            !ft_hot(flows, slot)->name)
            lost++;
    }
    return lost;
}

/* ---- rows ---- */

/* The first of a pair of rows is for a flood of random flows, the second for one shard. */
#define WHATS(X)                                                                                                       \
    X(flood, "others", "normal") /* cycles of the other packets against those without a flood */                       \
    X(flood, "syn", NULL)        /* cycles of a SYN that is refused */                                                 \
    X(flood, "after", "before")  /* cycles a second after it ended */                                                  \
    X(flood, "lost", NULL)       /* established flows gone, or without their verdict */                                \
    X(overfull, "others", "normal")                                                                                    \
    X(overfull, "syn", NULL)                                                                                           \
    X(overfull, "after", "before")                                                                                     \
    X(overfull, "lost", NULL)                                                                                          \
    X(adversary, "lookup", "random") /* cycles of a look-up and account */

enum { OTHERS, SYN, AFTER, LOST, FLOOD_ROWS, ADVERSARY = 2 * FLOOD_ROWS, WHAT_COUNT };

static bool name_row(const struct bench_world *world, unsigned what, struct bench_row *ret_row)
{
    static const struct {
        const char *group, *name, *peer;
    } whats[] = {
#define X(group, name, peer) {#group, name, peer},
        WHATS(X)
#undef X
    };
    static_assert(RTE_DIM(whats) == WHAT_COUNT, "rows in the order of the enum");
    static const double goals[] = {[OTHERS] = 1.3, [SYN] = 0, [AFTER] = 1.1, [LOST] = 0};
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "cycles", .peer_name = whats[what].peer};
    if (what == ADVERSARY) {
        ret_row->goal = BENCH_AT_MOST;
        ret_row->goal_ratio = 1 / 0.95;
    } else if (what % FLOOD_ROWS != SYN) {
        ret_row->goal = BENCH_AT_MOST;
        ret_row->goal_ratio = goals[what % FLOOD_ROWS];
    }
    if (what < ADVERSARY && what % FLOOD_ROWS == LOST)
        ret_row->unit = "flows";
    snprintf(ret_row->name, sizeof ret_row->name, "%s.%s.%s.uniform.%s.%s", whats[what].group, whats[what].name, flows,
             bench_family_name(world->family), whats[what].peer ? whats[what].peer : "ours");
    return bench_takes(world->bench, world->flows, USUAL_FLOWS) && bench_wants(world->bench, ret_row->name);
}

/* Of 32 packets 8 are SYNs; what those alone cost is taken off, the rest falls on the other 24. */
static struct bench_sample others(const struct bench_sample *both, const struct bench_sample *syns)
{
    struct bench_sample sample = *both;
    for (unsigned i = 0; i < sample.rounds; i++)
        sample.round[i] = (both->round[i] * SYN_EVERY - syns->round[i]) / (SYN_EVERY - 1);
    return sample;
}

static void flood_rows(struct hostile *hostile, struct bench_row rows[], const bool wanted[])
{
    struct bench *bench = hostile->world->bench;
    const struct bench_variant variants[] = {
        {.name = "established", .run = run_established, .context = hostile},
        {.name = "both", .run = run_both, .prepare = prepare_both, .context = hostile},
        {.name = "syns", .run = run_syns, .prepare = prepare_syns, .context = hostile},
    };
    struct bench_sample before, after, during[3];
    for (uint32_t at = 0; at < hostile->length; at++)
        set_established(hostile, &hostile->established, at);
    bench_measure(variants, 1, bench->effort, hostile->length, &before);
    fill_up(hostile);
    bench_measure(variants, 3, bench->effort, hostile->length, during);
    hostile->ahead_ns += SECOND_NS;
    bench_measure(variants, 1, bench->effort, hostile->length, &after);
    rows[OTHERS].ours = others(&during[1], &during[2]);
    rows[OTHERS].peer = during[0];
    rows[SYN].ours = during[2];
    rows[AFTER].ours = after;
    rows[AFTER].peer = before;
    rows[LOST].ours = bench_sample_constant((double)count_lost(hostile), bench->effort.rounds);
    for (unsigned i = 0; i < FLOOD_ROWS; i++)
        if (wanted[i])
            bench_report(bench, &rows[i]);
}

/* ---- adversary ---- */

struct keys {
    struct bench_world *world;
    struct ft_key *keys;
    uint64_t *hashes;
};

static void account(void *context, uint32_t begin)
{
    struct keys *keys = context;
    struct ft *flows = keys->world->engine->flows;
    ft_slot slots[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        if (unlikely(ft_lookup_bulk(flows, &keys->keys[at], &keys->hashes[at], BATCH, slots) != UINT32_MAX))
            bench_fail("our table lost a flow");
        for (unsigned i = 0; i < BATCH; i++) {
            struct ft_hot *hot = ft_hot(flows, slots[i]);
            ft_write_begin(hot);
            FT_SET(hot->packets[0], hot->packets[0] + 1);
            FT_SET(hot->bytes[0], hot->bytes[0] + 64);
            ft_write_end(hot);
        }
    }
}

/* A key that its maker may choose: in the shard, and in one sixteenth of its buckets were the secret his own. */
static void draw_adversary(const struct bench_world *world, const struct ft *own, uint64_t *number,
                           struct ft_key *ret_key)
{
    do {
        struct bench_tuple tuple;
        bench_tuple((*number)++, world->family, &tuple);
        bench_force_shard(&tuple, SHARD, (unsigned)*number);
        bench_tuple_key(&tuple, ret_key);
    } while (ft_hash(own, ret_key) >> 60);
}

/* Inserts `count` flows of the set, then draws the stream from them. */
static void keys_create(struct keys *keys, struct bench_world *world, const struct ft *own, uint32_t count,
                        uint64_t number)
{
    struct ft *flows = world->engine->flows;
    *keys = (struct keys){.world = world,
                          .keys = bench_alloc(STREAM * sizeof *keys->keys),
                          .hashes = bench_alloc(STREAM * sizeof *keys->hashes)};
    for (uint32_t i = 0; i < STREAM; i++) {
        if (i >= count) {
            uint32_t from = (uint32_t)(bench_random() % count);
            keys->keys[i] = keys->keys[from];
            keys->hashes[i] = keys->hashes[from];
            continue;
        }
        if (own)
            draw_adversary(world, own, &number, &keys->keys[i]);
        else
            bench_key(number++, world->family, &keys->keys[i]);
        keys->hashes[i] = ft_hash(flows, &keys->keys[i]);
        ft_slot slot;
        if (ft_insert(flows, &keys->keys[i], keys->hashes[i], i, bench_now_ns(), &slot))
            bench_fail("our table refused a flow of the adversary");
        ft_write_begin(ft_hot(flows, slot));
        ft_set_timeout_class(flows, slot, FT_TIMEOUT_tcp_established);
        ft_write_end(ft_hot(flows, slot));
    }
}

static void keys_destroy(struct keys *keys)
{
    bench_free(keys->keys, STREAM * sizeof *keys->keys);
    bench_free(keys->hashes, STREAM * sizeof *keys->hashes);
}

static void adversary_row(struct bench_world *world, struct bench_row *row)
{
    char error[256];
    struct keys own_keys, random_keys;
    struct bench_sample samples[2];
    struct ft_config config;
    ft_config_init(&config);
    config.secret_seed = OWN_SECRET;
    config.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    struct ft *own = ft_create(&config, error, sizeof error);
    if (!own)
        bench_fail("%s", error);
    uint32_t count = (uint32_t)RTE_MIN(world->flows / 1024 + 4, UINT64_C(4096));
    keys_create(&own_keys, world, own, count, FLOOD_NUMBER * 2);
    keys_create(&random_keys, world, NULL, count, FLOOD_NUMBER * 4);
    const struct bench_variant variants[] = {
        {.name = "adversary", .run = account, .context = &own_keys},
        {.name = "random", .run = account, .context = &random_keys},
    };
    bench_measure(variants, 2, world->bench->effort, STREAM, samples);
    row->ours = samples[0];
    row->peer = samples[1];
    bench_report(world->bench, row);
    keys_destroy(&own_keys);
    keys_destroy(&random_keys);
    ft_destroy(own);
}

/* ---- world ---- */

static void hostile_create(struct hostile *hostile, struct bench_world *world, bool one_shard)
{
    struct bench *bench = world->bench;
    *hostile = (struct hostile){.world = world,
                                .worker = world->engine->workers[0],
                                .flood = FLOOD_NUMBER,
                                .length = bench->effort.chunks * BENCH_CHUNK,
                                .one_shard = one_shard};
    bench_source_create(&hostile->established, bench->pool, hostile->length);
    bench_source_create(&hostile->syns, bench->pool, hostile->length);
    bench_source_create(&hostile->both, bench->pool, hostile->length);
    world->engine->transmit = bench_sink_transmit;
    world->engine->transmit_context = &hostile->sink;
}

static void hostile_destroy(struct hostile *hostile)
{
    bench_sink_flush(&hostile->sink);
    bench_source_destroy(&hostile->established);
    bench_source_destroy(&hostile->syns);
    bench_source_destroy(&hostile->both);
}

void bench_hostile_rows(struct bench *bench, uint64_t flows, enum bench_family family)
{
    static struct bench_world world;
    static struct hostile hostile;
    struct bench_row rows[WHAT_COUNT];
    bool wanted[WHAT_COUNT], any[2] = {false, false};
    world = (struct bench_world){.bench = bench, .flows = flows, .family = family};
    for (unsigned what = 0; what < WHAT_COUNT; what++) {
        wanted[what] = name_row(&world, what, &rows[what]);
        if (what < ADVERSARY)
            any[what / FLOOD_ROWS] |= wanted[what];
    }
    const struct bench_world_options options = {.flows = flows, .spare_flows = flows / 8 + 4096, .family = family};
    for (unsigned one_shard = 0; one_shard < 2; one_shard++) {
        if (!any[one_shard])
            continue;
        bench_world_create(&world, bench, &options);
        hostile_create(&hostile, &world, one_shard);
        flood_rows(&hostile, &rows[one_shard * FLOOD_ROWS], &wanted[one_shard * FLOOD_ROWS]);
        hostile_destroy(&hostile);
        bench_world_destroy(&world);
    }
    if (wanted[ADVERSARY]) {
        bench_world_create(&world, bench, &options);
        adversary_row(&world, &rows[ADVERSARY]);
        bench_world_destroy(&world);
    }
}

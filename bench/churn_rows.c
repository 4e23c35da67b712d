/* The flow table alone: flows that come and go, batches of 32. Changes the population: after all other rows. */
#include <rte_cycles.h>

#include "bench/bench.h"

#define BATCH          32u
#define SCATTER        UINT64_C(2654435761) /* a prime above every population: multiples of it visit every place once */
#define GOAL_FLOWS_MIN 1000000u

/* Each variant has its own: all do the same in the same order. */
struct churn {
    struct bench_world *world;
    uint32_t *live; /* flow numbers there now; grows by none: a new flow takes the place of the one that left */
    ft_slot *slots; /* ours: where they are */
    uint64_t next_flow, next_place;
};

enum { INSERT, REMOVE, PARTS };
static const char *const part_names[PARTS] = {"insert", "remove"};
static const double part_goals[PARTS] = {1.0, 0.4};

/* 32 flows that come, and the 32 whose places they take. */
static void next_batch(struct churn *churn, uint64_t ret_new[], uint64_t ret_old[], uint64_t ret_places[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t place = ret_places[i] = churn->next_place++ * SCATTER % churn->world->flows;
        ret_old[i] = churn->live[place];
        ret_new[i] = churn->next_flow++;
        churn->live[place] = (uint32_t)ret_new[i];
    }
}

/* ---- ours ---- */

static void make_keys(const struct bench_world *world, const uint64_t flows[], struct ft_key keys[], uint64_t hashes[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        bench_key(flows[i], world->family, &keys[i]);
        hashes[i] = ft_hash(world->engine->flows, &keys[i]);
    }
}

static uint64_t ours_insert(struct bench_world *world, const struct ft_key keys[], const uint64_t hashes[],
                            ft_slot ret_slots[])
{
    struct ft *flows = world->engine->flows;
    int errors[BATCH];
    uint64_t uids[BATCH], now_ns[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        uids[i] = i;
        now_ns[i] = i ? now_ns[0] : bench_now_ns();
    }
    uint64_t before = rte_rdtsc_precise();
    uint32_t hits = ft_lookup_bulk(flows, keys, hashes, BATCH, ret_slots);
    if (unlikely(hits ||
                 ft_insert_bulk(flows, keys, hashes, UINT32_MAX, uids, now_ns, ret_slots, errors) != UINT32_MAX))
        bench_fail("our table took a new flow for an old one, or refused it");
    uint64_t cycles = rte_rdtsc_precise() - before;
    for (unsigned i = 0; i < BATCH; i++) { /* else the region of half-open flows would fill up */
        struct ft_hot *hot = ft_hot(flows, ret_slots[i]);
        ft_write_begin(hot);
        ft_set_timeout_class(flows, ret_slots[i], FT_TIMEOUT_tcp_established);
        ft_write_end(hot);
    }
    return cycles;
}

/* As ageing and the pipeline do it, who know a flow by its slot. */
static uint64_t ours_remove(struct bench_world *world, const ft_slot slots[])
{
    uint64_t before = rte_rdtsc_precise();
    ft_remove_bulk(world->engine->flows, slots, BATCH);
    return rte_rdtsc_precise() - before;
}

static void ours(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct churn *churn = context;
    uint64_t new[BATCH], old[BATCH], places[BATCH], hashes[BATCH];
    struct ft_key keys[BATCH];
    ft_slot slots[BATCH], old_slots[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        next_batch(churn, new, old, places);
        make_keys(churn->world, new, keys, hashes);
        ret_cycles[INSERT] += ours_insert(churn->world, keys, hashes, slots);
        for (unsigned i = 0; i < BATCH; i++) {
            old_slots[i] = churn->slots[places[i]];
            churn->slots[places[i]] = slots[i];
        }
        ret_cycles[REMOVE] += ours_remove(churn->world, old_slots);
    }
}

static void find_slots(struct churn *churn)
{
    struct bench_world *world = churn->world;
    churn->slots = bench_alloc(world->flows * sizeof *churn->slots);
    for (uint64_t i = 0; i < world->flows; i++) {
        struct ft_key key;
        bench_key(churn->live[i], world->family, &key);
        uint64_t hash = ft_hash(world->engine->flows, &key);
        if (!ft_lookup_bulk(world->engine->flows, &key, &hash, 1, &churn->slots[i]))
            bench_fail("our table lost a flow");
    }
}

/* ---- peers ---- */

static void make_peer_keys(const struct bench_world *world, const uint64_t flows[],
                           uint8_t keys[][BENCH_PEER_KEY_BYTES], uint32_t hashes[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct ft_key key;
        bench_key(flows[i], world->family, &key);
        bench_peer_key(&key, keys[i]);
        hashes[i] = bench_peer_hash(ft_hash(world->engine->flows, &key));
    }
}

static void rte(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct churn *churn = context;
    uint64_t new[BATCH], old[BATCH], places[BATCH];
    uint8_t keys[BATCH][BENCH_PEER_KEY_BYTES];
    uint32_t hashes[BATCH];
    int32_t positions[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        next_batch(churn, new, old, places);
        make_peer_keys(churn->world, new, keys, hashes);
        uint64_t before = rte_rdtsc_precise();
        bench_rte_insert(&churn->world->rte, keys, hashes, positions);
        ret_cycles[INSERT] += rte_rdtsc_precise() - before;
        make_peer_keys(churn->world, old, keys, hashes);
        before = rte_rdtsc_precise();
        bench_rte_remove(&churn->world->rte, keys, hashes);
        ret_cycles[REMOVE] += rte_rdtsc_precise() - before;
    }
}

#ifdef SCE_BENCH_URCU
static void lfht(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct churn *churn = context;
    uint64_t new[BATCH], old[BATCH], places[BATCH], hashes[BATCH];
    struct ft_key keys[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        next_batch(churn, new, old, places);
        make_keys(churn->world, new, keys, hashes);
        uint64_t before = rte_rdtsc_precise();
        for (unsigned i = 0; i < BATCH; i++)
            bench_lfht_add(churn->world->lfht, &keys[i], hashes[i]);
        ret_cycles[INSERT] += rte_rdtsc_precise() - before;
        make_keys(churn->world, old, keys, hashes);
        before = rte_rdtsc_precise();
        for (unsigned i = 0; i < BATCH; i++)
            if (unlikely(!bench_lfht_remove(churn->world->lfht, &keys[i], hashes[i])))
                bench_fail("cds_lfht lost a flow");
        bench_lfht_quiescent();
        ret_cycles[REMOVE] += rte_rdtsc_precise() - before;
    }
}
#endif

/* ---- rows ---- */

struct peer {
    const char *name;
    unsigned need;
    void (*run)(void *, uint32_t, uint64_t[]);
    bool has_goal;
};
static const struct peer peers[] = {
    {"rte_hash", BENCH_NEED_RTE, rte, true},
#ifdef SCE_BENCH_URCU
    {"cds_lfht", BENCH_NEED_LFHT, lfht, false},
#endif
};
#define PEERS RTE_DIM(peers)

static bool name_row(const struct bench_world *world, unsigned part, const struct peer *peer, struct bench_row *ret_row)
{
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "cycles", .peer_name = peer->name};
    if (peer->has_goal && world->flows >= GOAL_FLOWS_MIN) {
        ret_row->goal = BENCH_AT_MOST;
        ret_row->goal_ratio = part_goals[part];
    }
    snprintf(ret_row->name, sizeof ret_row->name, "table.%s.%s.uniform.%s.%s", part_names[part], flows,
             bench_family_name(world->family), peer->name);
    return bench_fits(world->flows, peer->need) && bench_wants(world->bench, ret_row->name);
}

unsigned bench_churn_needs(struct bench_world *world, bool *ret_any)
{
    unsigned needs = 0;
    struct bench_row row;
    for (unsigned part = 0; part < PARTS; part++)
        for (unsigned p = 0; p < PEERS; p++)
            if (name_row(world, part, &peers[p], &row)) {
                needs |= peers[p].need;
                *ret_any = true;
            }
    return needs;
}

static void churn_init(struct churn *churn, struct bench_world *world)
{
    *churn = (struct churn){
        .world = world, .live = bench_alloc(world->flows * sizeof *churn->live), .next_flow = world->flows};
    for (uint64_t i = 0; i < world->flows; i++)
        churn->live[i] = (uint32_t)i;
}

void bench_churn_rows(struct bench_world *world)
{
    struct bench *bench = world->bench;
    struct churn churns[PEERS + 1];
    struct bench_variant variants[PEERS + 1];
    struct bench_sample samples[(PEERS + 1) * PARTS];
    struct bench_row row;
    unsigned count = 1, variant_of[PEERS] = {0};
    variants[0] = (struct bench_variant){.name = "ours", .run_parts = ours, .part_count = PARTS, .context = &churns[0]};
    for (unsigned p = 0; p < PEERS; p++) {
        if (!name_row(world, INSERT, &peers[p], &row) && !name_row(world, REMOVE, &peers[p], &row))
            continue;
        variants[count] = (struct bench_variant){
            .name = peers[p].name, .run_parts = peers[p].run, .part_count = PARTS, .context = &churns[count]};
        variant_of[p] = count++;
    }
    if (count == 1)
        return;
    for (unsigned v = 0; v < count; v++)
        churn_init(&churns[v], world);
    find_slots(&churns[0]);
    bench_measure(variants, count, bench->effort, world->stream.length, samples);
    for (unsigned part = 0; part < PARTS; part++)
        for (unsigned p = 0; p < PEERS; p++)
            if (variant_of[p] && name_row(world, part, &peers[p], &row)) {
                row.ours = samples[part];
                row.peer = samples[variant_of[p] * PARTS + part];
                bench_report(bench, &row);
            }
    for (unsigned v = 0; v < count; v++)
        bench_free(churns[v].live, world->flows * sizeof *churns[v].live);
    bench_free(churns[0].slots, world->flows * sizeof *churns[0].slots);
}

/* The flow table alone: bulk look-up and account, look-up by any thread. */
#include "bench/bench.h"

#define BATCH 32u

/* ---- look-up and account ---- */

static void account_burst(struct bench_world *world, uint32_t at)
{
    struct ft *flows = world->engine->flows;
    ft_slot slots[BATCH];
    uint32_t hits = ft_lookup_bulk(flows, &world->stream.keys[at], &world->stream.hashes[at], BATCH, slots);
    if (unlikely(hits != UINT32_MAX))
        bench_fail("our table lost a flow");
    for (unsigned i = 0; i < BATCH; i++) {
        struct ft_hot *hot = ft_hot(flows, slots[i]);
        ft_write_begin(hot);
        FT_SET(hot->packets[0], hot->packets[0] + 1);
        FT_SET(hot->bytes[0], hot->bytes[0] + 64);
        ft_write_end(hot);
    }
}

static void ours_account(void *context, uint32_t begin)
{
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH)
        account_burst(context, at);
}

/* Two bursts ahead, as table.h says: what a caller can do that has more than one burst at hand. */
static void ours_account_ahead(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        uint32_t next = (at + BATCH) % stream->length, second = (at + 2 * BATCH) % stream->length;
        ft_prefetch_index(world->engine->flows, &stream->hashes[second], BATCH);
        ft_prefetch_flows(world->engine->flows, &stream->keys[next], &stream->hashes[next], BATCH);
        account_burst(world, at);
    }
}

static void ours_find(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    struct ft_flow flow;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at++)
        if (unlikely(!ft_find(world->engine->flows, &world->stream.keys[at], &flow)))
            bench_fail("our table lost a flow");
}

static void rte_account(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    struct bench_entry *entries = world->rte.entries;
    int32_t positions[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        bench_rte_find(&world->rte, &world->stream.peer_keys[at], &world->stream.peer_hashes[at], positions);
        for (unsigned i = 0; i < BATCH; i++) {
            entries[positions[i]].packets[0]++;
            entries[positions[i]].bytes[0] += 64;
        }
    }
}

static void floor_account(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH)
        bench_floor_account(&world->floor, &world->stream.floor_lines[at], &world->stream.floor_entries[at]);
}

#ifdef SCE_BENCH_URCU
static void lfht_account(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            if (unlikely(!bench_lfht_account(world->lfht, &world->stream.keys[at + i], world->stream.hashes[at + i])))
                bench_fail("cds_lfht lost a flow");
        bench_lfht_quiescent();
    }
}
#endif

/* A row of the table below is measured when it is wanted; ours and every wanted peer in turns. */
struct peer {
    const char *name;
    unsigned need;
    void (*run)(void *, uint32_t);
    enum bench_goal goal;
    double goal_ratio; /* from 1 M flows on */
};
static const struct peer lookup_peers[] = {
    {"rte_hash", BENCH_NEED_RTE, rte_account, BENCH_AT_MOST, 1 / 2.2},
    {"floor", BENCH_NEED_FLOOR, floor_account, BENCH_AT_MOST, 2.0},
#ifdef SCE_BENCH_URCU
    {"cds_lfht", BENCH_NEED_LFHT, lfht_account, BENCH_NO_GOAL, 0},
#endif
    {.name = NULL},
};

struct what {
    const char *name;
    void (*run)(void *, uint32_t);
    bool has_goal;
};
static const struct what whats[] = {
    {"lookup", ours_account, true},
    {"lookup_ahead", ours_account_ahead, true},
    {"find", ours_find, false},
    {.name = NULL},
};
#define WHATS RTE_DIM(whats)

#define GOAL_FLOWS_MIN 1000000u

static bool name_row(const struct bench_world *world, const char *what, enum bench_distribution distribution,
                     const struct peer *peer, struct bench_row *ret_row)
{
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "cycles", .peer_name = peer->name};
    snprintf(ret_row->name, sizeof ret_row->name, "table.%s.%s.%s.%s.%s", what, flows,
             bench_distribution_name(distribution), bench_family_name(world->family), peer->name);
    return bench_fits(world->flows, peer->need) && bench_wants(world->bench, ret_row->name);
}

unsigned bench_table_needs(struct bench_world *world, bool *ret_any)
{
    unsigned needs = 0;
    struct bench_row row;
    for (unsigned d = BENCH_UNIFORM; d <= BENCH_ZIPF; d++)
        for (const struct what *what = whats; what->name; what++)
            for (const struct peer *peer = lookup_peers; peer->name; peer++)
                if (name_row(world, what->name, d, peer, &row)) {
                    needs |= peer->need;
                    *ret_any = true;
                }
    return needs;
}

static void lookup_rows(struct bench_world *world, enum bench_distribution distribution)
{
    struct bench_variant variants[BENCH_VARIANTS_MAX];
    struct bench_sample samples[BENCH_VARIANTS_MAX];
    struct bench_row rows[BENCH_VARIANTS_MAX];
    unsigned ours_of[BENCH_VARIANTS_MAX], peer_of[BENCH_VARIANTS_MAX], row_count = 0, count = 0;
    int ours[WHATS];
    for (unsigned i = 0; i < WHATS; i++)
        ours[i] = -1;
    for (const struct peer *peer = lookup_peers; peer->name; peer++) {
        int own = -1;
        for (const struct what *what = whats; what->name; what++) {
            struct bench_row *row = &rows[row_count];
            if (!name_row(world, what->name, distribution, peer, row))
                continue;
            int *mine = &ours[what - whats];
            if (*mine < 0) {
                variants[count] = (struct bench_variant){.name = what->name, .run = what->run, .context = world};
                *mine = (int)count++;
            }
            if (own < 0) {
                variants[count] = (struct bench_variant){.name = peer->name, .run = peer->run, .context = world};
                own = (int)count++;
            }
            if (what->has_goal && world->flows >= GOAL_FLOWS_MIN) {
                row->goal = peer->goal;
                row->goal_ratio = peer->goal_ratio;
            }
            ours_of[row_count] = (unsigned)*mine;
            peer_of[row_count++] = (unsigned)own;
        }
    }
    if (!row_count)
        return;
    bench_world_draw(world, distribution);
    bench_measure(variants, count, world->bench->effort, world->stream.length, samples);
    for (unsigned i = 0; i < row_count; i++) {
        rows[i].ours = samples[ours_of[i]];
        rows[i].peer = samples[peer_of[i]];
        bench_report(world->bench, &rows[i]);
    }
}

/* What a flow takes, index included, against what it may take. */
static void memory_row(struct bench_world *world)
{
    static const double limits[] = {[BENCH_MIX] = 168, [BENCH_IPV4] = 160, [BENCH_IPV6] = 192};
    struct bench_row row = {.flows = world->flows, .unit = "bytes", .peer_name = "limit"};
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    snprintf(row.name, sizeof row.name, "table.memory.%s.uniform.%s.limit", flows, bench_family_name(world->family));
    row.goal = BENCH_AT_MOST;
    row.goal_ratio = 1;
    row.ours = bench_sample_constant((double)world->table_bytes / (double)world->flows, 1);
    row.peer = bench_sample_constant(limits[world->family], 1);
    /* of fewer flows large pages and first chunks are more than the flows */
    if (world->flows >= GOAL_FLOWS_MIN && bench_wants(world->bench, row.name))
        bench_report(world->bench, &row);
}

void bench_table_rows(struct bench_world *world)
{
    memory_row(world);
    lookup_rows(world, BENCH_UNIFORM);
    lookup_rows(world, BENCH_ZIPF);
}

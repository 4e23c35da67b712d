/* The flow table alone: bulk look-up and account, look-up by any thread. */
#include "bench/bench.h"

#define BATCH 32u

/* ---- look-up and account ---- */

/*
 * What is asked stands near, as after parsing, whatever the length of the stream: fetched some bursts before its turn, for
 * us and for peers alike.
 */
#define QUERY_BURSTS 4u

static void fetch_queries(const void *queries, size_t query_bytes, const struct bench_stream *stream, uint32_t at)
{
    const uint8_t *begin = (const uint8_t *)queries + query_bytes * ((at + QUERY_BURSTS * BATCH) % stream->length);
    for (size_t offset = 0; offset < query_bytes * BATCH; offset += RTE_CACHE_LINE_SIZE)
        rte_prefetch0(begin + offset);
}

static void account_burst(struct ft *flows, const ft_slot slots[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct ft_hot *hot = ft_hot(flows, slots[i]);
        ft_write_begin(hot);
        FT_SET(hot->packets[0], hot->packets[0] + 1);
        FT_SET(hot->bytes[0], hot->bytes[0] + 64);
        ft_write_end(hot);
    }
}

/* A burst of its own, as with nothing else at hand. */
static void ours_account_alone(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    ft_slot slots[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        fetch_queries(stream->keys, sizeof *stream->keys, stream, at);
        fetch_queries(stream->hashes, sizeof *stream->hashes, stream, at);
        if (unlikely(ft_lookup_bulk(world->engine->flows, &stream->keys[at], &stream->hashes[at], BATCH, slots) !=
                     UINT32_MAX))
            bench_fail("our table lost a flow");
        account_burst(world->engine->flows, slots);
    }
}

static uint32_t later(const struct bench_stream *stream, uint32_t at, unsigned bursts)
{
    return (at + bursts * BATCH) % stream->length;
}

/* Two bursts ahead, as table.h says and as the pipeline does. */
static void ours_account_ahead(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    struct ft *flows = world->engine->flows;
    ft_slot slots[2][BATCH] = {{0}};
    unsigned now = 0;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH, now = !now) {
        uint32_t next = later(stream, at, 1), second = later(stream, at, 2);
        fetch_queries(stream->keys, sizeof *stream->keys, stream, at);
        fetch_queries(stream->hashes, sizeof *stream->hashes, stream, at);
        ft_prefetch_index(flows, &stream->hashes[second], BATCH);
        ft_prefetch_flows(flows, &stream->keys[next], &stream->hashes[next], BATCH, slots[!now]);
        if (unlikely(ft_lookup_hinted(flows, &stream->keys[at], &stream->hashes[at], slots[now], BATCH, slots[now]) !=
                     UINT32_MAX))
            bench_fail("our table lost a flow");
        account_burst(flows, slots[now]);
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

static void rte_account_burst(struct bench_entry entries[], const int32_t positions[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        entries[positions[i]].packets[0]++;
        entries[positions[i]].bytes[0] += 64;
    }
}

static void fetch_rte_queries(const struct bench_stream *stream, uint32_t at)
{
    fetch_queries(stream->peer_keys, sizeof *stream->peer_keys, stream, at);
    fetch_queries(stream->peer_hashes, sizeof *stream->peer_hashes, stream, at);
}

static void rte_account_alone(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    int32_t positions[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        fetch_rte_queries(stream, at);
        bench_rte_find(&world->rte, &stream->peer_keys[at], &stream->peer_hashes[at], positions);
        rte_account_burst(world->rte.entries, positions);
    }
}

/* A burst ahead: the entries of one are fetched while the next is looked up. What its buckets need, only it can fetch. */
static void rte_account_ahead(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    int32_t positions[2][BATCH];
    unsigned now = 0;
    bench_rte_find(&world->rte, &stream->peer_keys[begin], &stream->peer_hashes[begin], positions[now]);
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH, now = !now) {
        fetch_rte_queries(stream, at);
        if (at + BATCH < begin + BENCH_CHUNK)
            bench_rte_find(&world->rte, &stream->peer_keys[at + BATCH], &stream->peer_hashes[at + BATCH],
                           positions[!now]);
        rte_account_burst(world->rte.entries, positions[now]);
    }
}

static void floor_account_burst(struct bench_entry *const entries[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        entries[i]->packets[0]++;
        entries[i]->bytes[0] += 64;
    }
}

static void fetch_floor_queries(const struct bench_stream *stream, uint32_t at)
{
    fetch_queries(stream->floor_lines, sizeof *stream->floor_lines, stream, at);
    fetch_queries(stream->floor_entries, sizeof *stream->floor_entries, stream, at);
}

static void floor_account_alone(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    struct bench_entry *entries[BATCH];
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH) {
        fetch_floor_queries(stream, at);
        bench_floor_fetch_lines(&world->floor, &stream->floor_lines[at]);
        bench_floor_fetch_entries(&world->floor, &stream->floor_lines[at], &stream->floor_entries[at], entries);
        floor_account_burst(entries);
    }
}

static void floor_account_ahead(void *context, uint32_t begin)
{
    struct bench_world *world = context;
    const struct bench_stream *stream = &world->stream;
    struct bench_entry *entries[2][BATCH];
    unsigned now = 0;
    bench_floor_fetch_entries(&world->floor, &stream->floor_lines[begin], &stream->floor_entries[begin], entries[now]);
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += BATCH, now = !now) {
        uint32_t next = later(stream, at, 1), second = later(stream, at, 2);
        fetch_floor_queries(stream, at);
        bench_floor_fetch_lines(&world->floor, &stream->floor_lines[second]);
        bench_floor_fetch_entries(&world->floor, &stream->floor_lines[next], &stream->floor_entries[next],
                                  entries[!now]);
        floor_account_burst(entries[now]);
    }
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
enum way { WAY_AHEAD, WAY_ALONE, WAYS };
struct peer {
    const char *name;
    unsigned need;
    void (*run[WAYS])(void *, uint32_t);
    enum bench_goal goal; /* ahead, from 1 M flows on */
    double goal_ratio;
};
static const struct peer lookup_peers[] = {
    {"rte_hash", BENCH_NEED_RTE, {rte_account_ahead, rte_account_alone}, BENCH_AT_MOST, 1 / 2.2},
    {"floor", BENCH_NEED_FLOOR, {floor_account_ahead, floor_account_alone}, BENCH_AT_MOST, 2.0},
#ifdef SCE_BENCH_URCU
    {"cds_lfht", BENCH_NEED_LFHT, {lfht_account, lfht_account}, BENCH_NO_GOAL, 0},
#endif
    {.name = NULL},
};
#define PEERS RTE_DIM(lookup_peers)

/* Each beside its peers in the same way: with the next bursts at hand, or a burst for itself. */
struct what {
    const char *name;
    void (*run)(void *, uint32_t);
    enum way way;
    bool has_goal;
};
static const struct what whats[] = {
    {"lookup", ours_account_ahead, WAY_AHEAD, true},
    {"lookup_alone", ours_account_alone, WAY_ALONE, false},
    {"find", ours_find, WAY_ALONE, false},
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

/* The variant's number; added when it is not there. */
static int variant_of(struct bench_variant variants[], unsigned *count, const char *name, void (*run)(void *, uint32_t),
                      struct bench_world *world)
{
    for (unsigned i = 0; i < *count; i++)
        if (variants[i].run == run)
            return (int)i;
    variants[*count] = (struct bench_variant){.name = name, .run = run, .context = world};
    return (int)(*count)++;
}

static void lookup_rows(struct bench_world *world, enum bench_distribution distribution)
{
    struct bench_variant variants[BENCH_VARIANTS_MAX];
    struct bench_sample samples[BENCH_VARIANTS_MAX];
    struct bench_row rows[WHATS * PEERS];
    int ours_of[WHATS * PEERS], peer_of[WHATS * PEERS];
    unsigned row_count = 0, count = 0;
    static_assert(WHATS + PEERS * WAYS <= BENCH_VARIANTS_MAX, "one each");
    for (const struct peer *peer = lookup_peers; peer->name; peer++)
        for (const struct what *what = whats; what->name; what++) {
            struct bench_row *row = &rows[row_count];
            if (!name_row(world, what->name, distribution, peer, row))
                continue;
            if (what->has_goal && world->flows >= GOAL_FLOWS_MIN) {
                row->goal = peer->goal;
                row->goal_ratio = peer->goal_ratio;
            }
            ours_of[row_count] = variant_of(variants, &count, what->name, what->run, world);
            peer_of[row_count++] = variant_of(variants, &count, peer->name, peer->run[what->way], world);
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

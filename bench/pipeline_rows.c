/* All stages between a source and a sink in memory, and the same loop with other things in their place. */
#include "bench/bench.h"

/* One loop's source and sink, and the worker whose stages stand between. */
struct loop {
    struct bench_world *world;
    struct dp_worker *worker;
    struct bench_source source;
    struct bench_sink sink;
};

/* ---- ours ---- */

static void ours(void *context, uint32_t begin)
{
    struct loop *loop = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_source_receive(&loop->source, loop->worker, at, bench_now_ns());
    dp_worker_finish(loop->worker);
}

static void staged(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct loop *loop = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_stages_burst(&loop->source, loop->worker, at, bench_now_ns(), ret_cycles);
    dp_worker_finish(loop->worker);
}

/* ---- swap5 ---- */

static void swap5(void *context, uint32_t begin)
{
    struct loop *loop = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_swap5_burst(&loop->source, &loop->sink, &loop->worker->burst, at);
}

/* ---- the same stages, rte_hash in place of our table; it, too, has two bursts in flight: entries are fetched one ahead ---- */

/* What the flow and account stages do for a decided flow, on the peer's entry. */
static void touch_entry(struct dp_worker *worker, struct bench_entry *entry, const struct dp_view *view,
                        uint64_t now_ns)
{
    uint8_t from_server = view->swap ^ (entry->flags & FT_FLOW_CLIENT_ENDPOINT);
    enum ft_tcp_event event = ft_tcp_event(view->tcp_flags);
    uint64_t timeout_ns = worker->engine->config.flow_table.timeout_ns[entry->timeout_class];
    if (unlikely((now_ns > entry->last_ns && now_ns - entry->last_ns > timeout_ns && entry->last_ns) ||
                 ft_tcp_reopens(entry->tcp_state, from_server, event)))
        bench_fail("an established flow ended");
    enum ft_tcp_state state = ft_tcp_next(entry->tcp_state, from_server, event);
    if (unlikely(state != entry->tcp_state)) {
        entry->tcp_state = (uint8_t)state;
        entry->timeout_class = ft_tcp_timeout(state);
    }
    entry->packets[from_server]++;
    entry->bytes[from_server] += view->ip_bytes;
    if (now_ns > entry->last_ns)
        entry->last_ns = now_ns;
    if (entry->flags & FT_FLOW_DECIDED)
        DP_COUNT(worker->usage[entry->flags >> FT_FLOW_LINK_SHIFT][worker->engine->service_of[entry->name]]
                     .bytes[from_server],
                 view->ip_bytes);
}

static void peer_find(struct loop *loop, struct dp_burst *burst, int32_t ret_positions[])
{
    uint8_t keys[DP_BURST_MAX][BENCH_PEER_KEY_BYTES];
    uint32_t hashes[DP_BURST_MAX];
    struct dp_worker *worker = loop->worker;
    dp_stage_parse(worker, burst);
    dp_stage_route(worker, burst);
    for (unsigned i = 0; i < DP_BURST_MAX; i++) {
        bench_peer_key(&burst->view[i].key, keys[i]);
        hashes[i] = bench_peer_hash(burst->hash[i]);
    }
    bench_rte_find(&loop->world->rte, keys, hashes, ret_positions);
}

static void peer_finish(struct loop *loop, struct dp_burst *burst, const int32_t positions[])
{
    struct dp_worker *worker = loop->worker;
    for (unsigned i = 0; i < DP_BURST_MAX; i++) {
        touch_entry(worker, &loop->world->rte.entries[positions[i]], &burst->view[i], burst->now_ns[i]);
        burst->outcome[i] = DP_OUTCOME_forwarded;
    }
    dp_stage_sink(worker, burst);
}

static void peer(void *context, uint32_t begin)
{
    struct loop *loop = context;
    struct dp_burst *bursts = loop->worker->ahead;
    int32_t positions[2][DP_BURST_MAX];
    unsigned turn = 0;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX) {
        bench_source_burst(&loop->source, &bursts[turn], at, bench_now_ns());
        peer_find(loop, &bursts[turn], positions[turn]);
        turn ^= 1;
        if (at != begin)
            peer_finish(loop, &bursts[turn], positions[turn]);
    }
    turn ^= 1;
    peer_finish(loop, &bursts[turn], positions[turn]);
}

/* ---- rows ---- */

struct what {
    const char *name;
    enum bench_sizes sizes;
};
static const struct what whats[] = {{"64B", BENCH_64_BYTES}, {"imix", BENCH_IMIX}};

enum { SWAP5, RTE, STAGED, PEERS };
static const char *const peer_names[PEERS] = {"swap5", "rte_hash", NULL};

/* The row against a peer, or the first one of those by stage. */
static bool name_row(const struct bench_world *world, const struct what *what, enum bench_distribution distribution,
                     unsigned which, struct bench_row *ret_row)
{
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "cycles", .peer_name = peer_names[which]};
    if (which == STAGED && what->sizes != BENCH_64_BYTES)
        return false;
    snprintf(ret_row->name, sizeof ret_row->name, "pipeline.%s.%s.%s.%s.%s", which == STAGED ? "stages" : what->name,
             flows, bench_distribution_name(distribution), bench_family_name(world->family),
             which == STAGED ? bench_stage_names[0] : peer_names[which]);
    return bench_fits(world->flows, which == RTE ? BENCH_NEED_RTE : 0) && bench_wants(world->bench, ret_row->name);
}

unsigned bench_pipeline_needs(struct bench_world *world, bool *ret_any)
{
    unsigned needs = 0;
    struct bench_row row;
    for (unsigned d = BENCH_UNIFORM; d <= BENCH_ZIPF; d++)
        for (unsigned w = 0; w < RTE_DIM(whats); w++)
            for (unsigned which = 0; which < PEERS; which++)
                if (name_row(world, &whats[w], d, which, &row)) {
                    needs |= which == RTE ? BENCH_NEED_RTE : 0u;
                    *ret_any = true;
                }
    return needs;
}

/* Rate against swap5: what part of a machine's forwarding is left; time against rte_hash. */
static void report_peer(struct bench *bench, struct bench_row *row, unsigned which, bool has_goal,
                        const struct bench_sample *ours_sample, const struct bench_sample *peer_sample)
{
    row->ours = *ours_sample;
    row->peer = *peer_sample;
    if (which == SWAP5) {
        row->unit = "Mpps";
        row->ours = bench_sample_rate(ours_sample, 1e-6);
        row->peer = bench_sample_rate(peer_sample, 1e-6);
    }
    if (has_goal && which == RTE) {
        row->goal = BENCH_AT_MOST;
        row->goal_ratio = 0.57;
    } else if (has_goal && row->flows <= 16000000) {
        row->goal = BENCH_AT_LEAST;
        row->goal_ratio = row->flows <= 1000000 ? 0.30 : 0.22;
    }
    bench_report(bench, row);
}

static void established_rows(struct bench_world *world, const struct what *what, enum bench_distribution distribution)
{
    struct bench *bench = world->bench;
    struct bench_row rows[PEERS];
    bool wanted[PEERS], any = false;
    for (unsigned which = 0; which < PEERS; which++)
        any |= wanted[which] = name_row(world, what, distribution, which, &rows[which]);
    if (!any)
        return;
    bench_world_draw(world, distribution);
    struct loop *loop = bench_alloc(sizeof *loop);
    *loop = (struct loop){.world = world, .worker = world->engine->workers[0]};
    bench_source_create(&loop->source, bench->pool, world->stream.length);
    bench_source_draw(&loop->source, world, what->sizes);
    world->engine->transmit = bench_sink_transmit;
    world->engine->transmit_context = &loop->sink;

    const struct bench_variant known[PEERS] = {
        [SWAP5] = {.name = "swap5", .run = swap5, .context = loop},
        [RTE] = {.name = "rte_hash", .run = peer, .context = loop},
        [STAGED] = {.name = "stages", .run_parts = staged, .part_count = BENCH_STAGE_COUNT, .context = loop},
    };
    struct bench_variant variants[PEERS + 1] = {{.name = "ours", .run = ours, .context = loop}};
    struct bench_sample samples[PEERS + BENCH_STAGE_COUNT];
    unsigned count = 1, sample_of[PEERS];
    for (unsigned which = 0; which < PEERS; which++)
        if (wanted[which]) {
            sample_of[which] = count; /* the one with parts is last */
            variants[count++] = known[which];
        }
    uint64_t opened = loop->worker->stats.flows_opened;
    bench_measure(variants, count, bench->effort, world->stream.length, samples);
    if (loop->worker->stats.flows_opened != opened)
        bench_fail("established flows were not found");
    bool has_goal = what->sizes == BENCH_64_BYTES && distribution == BENCH_UNIFORM;
    for (unsigned which = 0; which < STAGED; which++)
        if (wanted[which])
            report_peer(bench, &rows[which], which, has_goal, &samples[0], &samples[sample_of[which]]);
    if (wanted[STAGED])
        bench_stages_report(bench, &rows[STAGED], &samples[sample_of[STAGED]]);
    bench_sink_flush(&loop->sink);
    bench_source_destroy(&loop->source);
    bench_free(loop, sizeof *loop);
}

void bench_pipeline_rows(struct bench_world *world)
{
    for (unsigned d = BENCH_UNIFORM; d <= BENCH_ZIPF; d++)
        for (unsigned w = 0; w < RTE_DIM(whats); w++)
            established_rows(world, &whats[w], d);
}

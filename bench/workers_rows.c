/* Two workers against one, every packet at its owner; and with half the packets at the wrong worker, which hands them on. */
#include <rte_cycles.h>
#include <rte_launch.h>
#include <stdatomic.h>

#include "bench/bench.h"

#define USUAL_FLOWS 1000000u
#define WORKERS     2u
#define RING_MAX    (DP_HANDOFF_RING_PACKETS / 2) /* the source waits when the other falls behind */

/* One worker and what comes in at it. */
struct runner {
    struct bench_world *world;
    struct dp_worker *worker;
    struct bench_source source;
    unsigned chunks;
    bool strays;            /* packets of others come in, too */
    double chunk_cycles;    /* a packet, median of chunks */
    _Atomic bool *go;       /* release by main, acquire by workers */
    _Atomic unsigned *done; /* runners that have measured; the others' times count only while all run */
    unsigned runners;
} __rte_cache_aligned;

static void receive(struct runner *runner, uint32_t at)
{
    struct dp_worker *worker = runner->worker;
    uint64_t now_ns = bench_now_ns();
    if (runner->strays) {
        struct rte_ring *ring = runner->world->engine->workers[!worker->number]->handoff[worker->number];
        while (rte_ring_count(ring) > RING_MAX)
            dp_worker_take_handoffs(worker);
    }
    bench_source_receive(&runner->source, worker, at, now_ns);
    if (runner->strays)
        dp_worker_take_handoffs(worker);
}

static void run_chunk(struct runner *runner, uint32_t begin)
{
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        receive(runner, at);
    dp_worker_finish(runner->worker);
}

static int run(void *context)
{
    struct runner *runner = context;
    static double chunks[WORKERS][BENCH_CHUNKS_MAX];
    double *cycles = chunks[runner->worker->number];
    uint32_t at = 0;
    while (!atomic_load_explicit(runner->go, memory_order_acquire))
        rte_pause();
    for (unsigned i = 0; i < runner->chunks; i++) {
        uint64_t before = rte_rdtsc_precise();
        run_chunk(runner, at);
        cycles[i] = (double)(rte_rdtsc_precise() - before) / BENCH_CHUNK;
        at = (at + BENCH_CHUNK) % runner->source.length;
    }
    runner->chunk_cycles = bench_median(cycles, runner->chunks);
    atomic_fetch_add_explicit(runner->done, 1, memory_order_release);
    while (atomic_load_explicit(runner->done, memory_order_acquire) < runner->runners) {
        run_chunk(runner, at);
        at = (at + BENCH_CHUNK) % runner->source.length;
    }
    return 0;
}

/* Packets that are still in rings, one worker after the other; both rest. */
static void drain(struct bench_world *world)
{
    for (unsigned work = 1; work;) {
        work = 0;
        for (unsigned w = 0; w < WORKERS; w++)
            work += dp_worker_take_handoffs(world->engine->workers[w]);
    }
}

/* Sum of the rates of so many workers, in Mpps. */
static double rate(struct bench_world *world, struct runner runners[], unsigned count)
{
    _Atomic bool go = false;
    _Atomic unsigned done = 0;
    double sum = 0;
    for (unsigned w = 0; w < count; w++) {
        runners[w].go = &go;
        runners[w].done = &done;
        runners[w].runners = count;
    }
    if (count > 1 && rte_eal_remote_launch(run, &runners[1], 1))
        bench_fail("the second thread does not start");
    atomic_store_explicit(&go, true, memory_order_release);
    run(&runners[0]);
    rte_eal_mp_wait_lcore();
    drain(world);
    for (unsigned w = 0; w < count; w++)
        sum += bench_tsc_hz() / runners[w].chunk_cycles * 1e-6;
    return sum;
}

/* ---- rows ---- */

enum { ONE, OWNED, STRAYS, WAYS };

/* Frames of flows that a worker owns (or of all, when the ways mix them). */
static void draw(struct runner *runner, unsigned way)
{
    struct bench_world *world = runner->world;
    for (uint32_t at = 0; at < runner->source.length; at++) {
        struct bench_tuple tuple;
        struct ft_key key;
        do {
            bench_tuple(bench_random() % world->flows, world->family, &tuple);
            bench_tuple_key(&tuple, &key);
        } while (way == OWNED && world->engine->owner[ft_shard_of(&key)] != runner->worker->number);
        bench_source_set(&runner->source, at, &tuple, bench_random() >> 63, BENCH_TCP_ACK, BENCH_64_BYTES);
    }
}

static void set_owners(struct bench_world *world, unsigned count)
{
    uint8_t owner[FT_SHARDS];
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        owner[shard] = (uint8_t)(shard % count);
    dp_owner_set(world->engine, owner);
}

static bool name_row(const struct bench_world *world, unsigned way, struct bench_row *ret_row)
{
    static const char *const names[WAYS] = {[OWNED] = "owned", [STRAYS] = "half_handed_over"};
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "Mpps", .peer_name = "one_worker"};
    if (way == OWNED) {
        ret_row->goal = BENCH_AT_LEAST;
        ret_row->goal_ratio = 1.75;
    }
    snprintf(ret_row->name, sizeof ret_row->name, "workers.%s.%s.uniform.%s.one_worker", names[way], flows,
             bench_family_name(world->family));
    return bench_takes(world->bench, world->flows, USUAL_FLOWS) && bench_wants(world->bench, ret_row->name);
}

static void measure(struct bench_world *world, struct bench_sample samples[WAYS])
{
    static struct runner runners[WAYS][WORKERS];
    static struct bench_sink sinks[WORKERS];
    struct bench *bench = world->bench;
    world->engine->transmit = bench_sink_transmit;
    world->engine->transmit_context = sinks;
    for (unsigned way = 0; way < WAYS; way++) {
        set_owners(world, way == ONE ? 1 : WORKERS);
        for (unsigned w = 0; w < WORKERS; w++) {
            runners[way][w] = (struct runner){.world = world,
                                              .worker = world->engine->workers[w],
                                              .chunks = bench->effort.chunks,
                                              .strays = way == STRAYS};
            bench_source_create(&runners[way][w].source, bench->pool, bench->stream_length / 2);
            draw(&runners[way][w], way);
        }
        samples[way] = (struct bench_sample){0};
    }
    for (unsigned round = 0; round <= bench->effort.rounds; round++)
        for (unsigned way = 0; way < WAYS; way++) {
            set_owners(world, way == ONE ? 1 : WORKERS);
            double figure = rate(world, runners[way], way == ONE ? 1 : WORKERS);
            if (round)
                samples[way].round[samples[way].rounds++] = figure;
        }
    for (unsigned w = 0; w < WORKERS; w++) {
        const struct dp_stats *stats = &world->engine->workers[w]->stats;
        if (stats->flows_opened || stats->outcome_packets[DP_OUTCOME_handoff_full])
            bench_fail("a flow was not found, or a ring was full");
        bench_sink_flush(&sinks[w]);
        for (unsigned way = 0; way < WAYS; way++)
            bench_source_destroy(&runners[way][w].source);
    }
}

void bench_workers_rows(struct bench *bench, uint64_t flows, enum bench_family family)
{
    static struct bench_world world;
    struct bench_sample samples[WAYS];
    struct bench_row rows[WAYS];
    world = (struct bench_world){.bench = bench, .flows = flows, .family = family};
    bool owned = name_row(&world, OWNED, &rows[OWNED]), strays = name_row(&world, STRAYS, &rows[STRAYS]);
    if (!bench->has_two_cpus || (!owned && !strays))
        return;
    const struct bench_world_options options = {
        .flows = flows, .spare_flows = flows / 8 + 1024, .family = family, .workers = WORKERS};
    bench_world_create(&world, bench, &options);
    measure(&world, samples);
    for (unsigned way = OWNED; way < WAYS; way++) {
        rows[way].ours = samples[way];
        rows[way].peer = samples[ONE];
        if (way == OWNED ? owned : strays)
            bench_report(bench, &rows[way]);
    }
    bench_world_destroy(&world);
}

/*
 * TCP flows that open and close through all stages, beside flows that stay: SYN, SYN-ACK, ACK, FIN, FIN-ACK, ACK. A world of
 * its own, run until as many flows close as open and ageing retires as many.
 *
 * The packets of one flow lie STEP_FLOWS flows apart, so that nothing of it is in a cache by chance. Closed flows wait
 * CLOSED_NS; the clock goes as if FLOWS_PER_S opened, so PRIME_FLOWS pass before the first measurement.
 */
#include <inttypes.h>
#include <rte_cycles.h>

#include "bench/bench.h"

#define PHASES       6u
#define STEP_FLOWS   16384u
#define FLOWS_PER_S  1500000u
#define CLOSED_NS    1000000000u
#define PRIME_FLOWS  (FLOWS_PER_S * 13 / 10)
#define MIXED_EVERY  10u    /* of the mixed traffic one packet in so many opens or closes a flow */
#define SERVER_PORT  33333u /* of no protocol: the verdict is Generic */
#define GOAL_MFLOWS  1.5
#define BACKGROUND   1000000u
#define FIRST_NUMBER UINT64_C(0x08000000) /* above the flows that stay */

struct opening {
    struct bench_world *world; /* its own */
    struct dp_worker *worker;
    struct bench_source source;
    struct bench_sink sink;
    uint64_t packets; /* of the openings, so far */
    uint64_t now_ns;
    uint32_t length; /* a round's packets */
};

/* The next packet of the openings. */
static void set_opening(struct opening *opening, uint32_t at)
{
    static const uint8_t flags[PHASES] = {BENCH_TCP_SYN,
                                          BENCH_TCP_SYN | BENCH_TCP_ACK,
                                          BENCH_TCP_ACK,
                                          BENCH_TCP_FIN | BENCH_TCP_ACK,
                                          BENCH_TCP_FIN | BENCH_TCP_ACK,
                                          BENCH_TCP_ACK};
    static const bool from_server[PHASES] = {false, true, false, false, true, false};
    struct bench_tuple tuple;
    uint64_t step = opening->packets / PHASES;
    unsigned phase = (unsigned)(opening->packets++ % PHASES);
    uint64_t behind = (uint64_t)phase * STEP_FLOWS;
    if (step < behind)
        phase = 0, behind = 0; /* at the start: only SYNs, again and again */
    bench_tuple(FIRST_NUMBER + step - behind, opening->world->family, &tuple);
    tuple.server_port_be16 = rte_cpu_to_be_16(SERVER_PORT);
    bench_source_set(&opening->source, at, &tuple, from_server[phase], flags[phase], BENCH_64_BYTES);
}

static void prepare_openings(void *context)
{
    struct opening *opening = context;
    for (uint32_t at = 0; at < opening->length; at++)
        set_opening(opening, at);
}

static void prepare_mixed(void *context)
{
    struct opening *opening = context;
    struct bench_tuple tuple;
    for (uint32_t at = 0; at < opening->length; at++) {
        if (at % MIXED_EVERY == 0) {
            set_opening(opening, at);
            continue;
        }
        bench_tuple(bench_random() % opening->world->flows, opening->world->family, &tuple);
        bench_source_set(&opening->source, at, &tuple, bench_random() >> 63, BENCH_TCP_ACK, BENCH_64_BYTES);
    }
}

static void drop_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)context;
    (void)event;
    (void)attributes;
}

/* What the record thread does on a core of its own. */
static void take_events(struct opening *opening)
{
    while (dp_engine_drain_events(opening->world->engine, UINT32_MAX, drop_event, NULL))
        ;
}

/* Time goes on as if FLOWS_PER_S opened. */
static uint64_t next_ns(struct opening *opening, unsigned every)
{
    return opening->now_ns += UINT64_C(1000000000) * DP_BURST_MAX / PHASES / FLOWS_PER_S / every;
}

static void run(struct opening *opening, uint32_t begin, unsigned every)
{
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_source_receive(&opening->source, opening->worker, at, next_ns(opening, every));
    dp_worker_finish(opening->worker);
}

static void openings(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    uint64_t before = rte_rdtsc_precise();
    run(context, begin, 1);
    ret_cycles[0] += rte_rdtsc_precise() - before;
    take_events(context);
}

static void mixed(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    uint64_t before = rte_rdtsc_precise();
    run(context, begin, MIXED_EVERY);
    ret_cycles[0] += rte_rdtsc_precise() - before;
    take_events(context);
}

static void swap5(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct opening *opening = context;
    uint64_t before = rte_rdtsc_precise();
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_swap5_burst(&opening->source, &opening->sink, &opening->worker->burst, at);
    ret_cycles[0] += rte_rdtsc_precise() - before;
}

static void staged(void *context, uint32_t begin, uint64_t ret_cycles[])
{
    struct opening *opening = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at += DP_BURST_MAX)
        bench_stages_burst(&opening->source, opening->worker, at, next_ns(opening, 1), ret_cycles);
    dp_worker_finish(opening->worker);
    take_events(opening);
}

/* ---- rows ---- */

enum { OPEN_CLOSE, MIXED, STAGED, WHATS };
#define SAMPLES_MAX (WHATS + 1 + BENCH_STAGE_COUNT)

static bool name_row(const struct bench_world *world, unsigned what, struct bench_row *ret_row)
{
    static const char *const names[WHATS] = {"open_close", "mixed", "open_close_stages"};
    static const char *const ends[WHATS] = {"goal", "swap5", NULL};
    *ret_row = (struct bench_row){.flows = world->flows, .unit = "cycles", .peer_name = ends[what]};
    if (what == MIXED)
        ret_row->unit = "Mpps";
    if (what == OPEN_CLOSE) {
        ret_row->unit = "Mflows/s";
        ret_row->goal = BENCH_AT_LEAST;
        ret_row->goal_ratio = 1;
    }
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    snprintf(ret_row->name, sizeof ret_row->name, "pipeline.%s.%s.uniform.%s.%s", names[what], flows,
             bench_family_name(world->family), what == STAGED ? bench_stage_names[0] : ends[what]);
    return bench_takes(world->bench, world->flows, BACKGROUND) && bench_wants(world->bench, ret_row->name);
}

static void prime(struct opening *opening)
{
    for (uint64_t packets = 0; packets < (uint64_t)PRIME_FLOWS * PHASES; packets += opening->length) {
        prepare_openings(opening);
        for (uint32_t at = 0; at < opening->length; at += BENCH_CHUNK) {
            run(opening, at, 1);
            take_events(opening);
        }
    }
}

static void check(const struct opening *opening)
{
    const struct dp_stats *stats = &opening->worker->stats;
    uint64_t refused = stats->outcome_packets[DP_OUTCOME_flow_table_no_slot] +
                       stats->outcome_packets[DP_OUTCOME_flow_table_no_bucket] +
                       stats->outcome_packets[DP_OUTCOME_flow_table_unanswered];
    if (refused || stats->flows_opened < opening->packets / PHASES || !stats->flows_closed || stats->events_lost)
        bench_fail("opening and closing: %" PRIu64 " packets refused, %" PRIu64 " flows opened, %" PRIu64
                   " closed, %" PRIu64 " events lost",
                   refused, stats->flows_opened, stats->flows_closed, stats->events_lost);
}

void bench_opening_rows(struct bench *bench, uint64_t flows, enum bench_family family)
{
    static struct bench_world world;
    static struct opening opening;
    struct bench_row rows[WHATS];
    bool wanted[WHATS], any = false;
    world = (struct bench_world){.bench = bench, .flows = flows, .family = family};
    for (unsigned what = 0; what < WHATS; what++)
        any |= wanted[what] = name_row(&world, what, &rows[what]);
    if (!any)
        return;
    const struct bench_world_options options = {
        .flows = flows, .spare_flows = FLOWS_PER_S * 2, .family = family, .closed_timeout_ns = CLOSED_NS};
    bench_world_create(&world, bench, &options);
    opening = (struct opening){.world = &world,
                               .worker = world.engine->workers[0],
                               .now_ns = bench_now_ns(),
                               .length = bench->effort.chunks * BENCH_CHUNK};
    bench_source_create(&opening.source, bench->pool, opening.length);
    world.engine->transmit = bench_sink_transmit;
    world.engine->transmit_context = &opening.sink;
    prime(&opening);

    const struct bench_variant known[WHATS] = {
        {.name = "open_close",
         .run_parts = openings,
         .part_count = 1,
         .prepare = prepare_openings,
         .in_waves = true,
         .context = &opening},
        {.name = "mixed",
         .run_parts = mixed,
         .part_count = 1,
         .prepare = prepare_mixed,
         .in_waves = true,
         .context = &opening},
        {.name = "stages",
         .run_parts = staged,
         .part_count = BENCH_STAGE_COUNT,
         .prepare = prepare_openings,
         .in_waves = true,
         .context = &opening},
    };
    struct bench_variant variants[WHATS + 1];
    struct bench_sample samples[SAMPLES_MAX];
    unsigned count = 0, sample_of[WHATS] = {0};
    for (unsigned what = 0; what < WHATS; what++)
        if (wanted[what]) {
            sample_of[what] = count;
            variants[count++] = known[what];
            if (what == MIXED)
                variants[count++] =
                    (struct bench_variant){.name = "swap5", .run_parts = swap5, .part_count = 1, .context = &opening};
        }
    bench_measure(variants, count, bench->effort, opening.length, samples);
    check(&opening);
    if (wanted[OPEN_CLOSE]) {
        rows[OPEN_CLOSE].ours = bench_sample_rate(&samples[sample_of[OPEN_CLOSE]], 1e-6 / PHASES);
        rows[OPEN_CLOSE].peer = bench_sample_constant(GOAL_MFLOWS, bench->effort.rounds);
        bench_report(bench, &rows[OPEN_CLOSE]);
    }
    if (wanted[MIXED]) {
        rows[MIXED].ours = bench_sample_rate(&samples[sample_of[MIXED]], 1e-6);
        rows[MIXED].peer = bench_sample_rate(&samples[sample_of[MIXED] + 1], 1e-6);
        bench_report(bench, &rows[MIXED]);
    }
    if (wanted[STAGED])
        bench_stages_report(bench, &rows[STAGED], &samples[sample_of[STAGED]]);
    bench_sink_flush(&opening.sink);
    bench_source_destroy(&opening.source);
    bench_world_destroy(&world);
}

/* The pipeline with the time taken between its stages. */
#include "bench/bench.h"

const char *const bench_stage_names[BENCH_STAGE_COUNT] = {
#define X(name) #name,
    BENCH_STAGES(X)
#undef X
};

/* Says dp_worker_receive_ahead() again, so that the engine's own need not carry a clock. */
void bench_stages_burst(const struct bench_source *source, struct dp_worker *worker, uint32_t begin, uint64_t now_ns,
                        uint64_t cycles[])
{
    struct dp_burst *burst = dp_worker_next(worker), *held = worker->held;
    uint64_t last = rte_rdtsc(), now;
#define TAKE(stage) (now = rte_rdtsc(), cycles[BENCH_STAGE_##stage] += now - last, last = now)
    bench_source_burst(source, burst, begin, now_ns);
    TAKE(source);
    if (held)
        dp_stage_flow_prefetch(worker, held);
    TAKE(prefetch);
    dp_stage_parse(worker, burst);
    TAKE(parse);
    worker->held = burst;
    if (held) {
        dp_stage_route(worker, held);
        TAKE(route);
        for (unsigned first = 0; first < held->count;) {
            unsigned end = dp_stage_flow(worker, held, first);
            TAKE(flow);
            if (held->has_rest)
                dp_stage_classify(worker, held, first, end);
            TAKE(classify);
            if (held->has_rest)
                dp_stage_account(worker, held, first, end);
            TAKE(account);
            first = end;
        }
        dp_stage_sink(worker, held);
        TAKE(sink);
    }
    dp_worker_housekeeping(worker, now_ns);
    TAKE(ageing);
#undef TAKE
}

void bench_stages_report(struct bench *bench, const struct bench_row *first, const struct bench_sample samples[])
{
    size_t stem = strlen(first->name) - strlen(bench_stage_names[0]);
    for (unsigned stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        struct bench_row row = *first;
        snprintf(row.name + stem, sizeof row.name - stem, "%s", bench_stage_names[stage]);
        row.ours = samples[stage];
        bench_report(bench, &row);
    }
}

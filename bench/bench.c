#include "bench/bench.h"

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <stdlib.h>

#include "base/json.h"
#include "dataplane/ports.h"

#define MBUFS      16383u
#define MBUF_CACHE 512u

#define FAMILIES_FLOWS_MAX 20000000u /* above, IPv4 alone: memory */
#define SLOPE_FEW          1000u
#define SLOPE_MANY         16000000u

static const uint64_t populations_quick[] = {1000, 1000000, 4000000, 16000000, 0};
static const uint64_t populations_usual[] = {1000, 100000, 1000000, 4000000, 16000000, 0};
static const uint64_t populations_full[] = {1000, 100000, 1000000, 4000000, 16000000, 64000000, 0};

uint64_t bench_now_ns(void)
{
    static double ns_per_cycle;
    if (ns_per_cycle == 0)
        ns_per_cycle = 1e9 / (double)rte_get_tsc_hz();
    return (uint64_t)((double)rte_rdtsc() * ns_per_cycle);
}

/* ---- rows ---- */

/* What --quick leaves out. */
static bool is_quick(const char *name)
{
    return (strstr(name, ".uniform.mix.") || strstr(name, "hash.") || strstr(name, "dpi.")) &&
           !strstr(name, ".cds_lfht") && !strstr(name, ".find.") && !strstr(name, ".imix.");
}

bool bench_wants(const struct bench *bench, const char *name)
{
    return (!bench->options.only || strstr(name, bench->options.only)) && (!bench->options.quick || is_quick(name));
}

bool bench_takes(const struct bench *bench, uint64_t flows, uint64_t usual_flows)
{
    return bench->own_populations || flows == usual_flows;
}

static bool goal_met(const struct bench_row *row)
{
    return row->goal == BENCH_AT_MOST ? row->ratio <= row->goal_ratio : row->ratio >= row->goal_ratio;
}

static void print_json(const struct bench *bench, const struct bench_row *row, FILE *out)
{
    struct json json;
    json_init(&json);
    json_object_begin(&json, NULL);
    json_text(&json, "event", "row");
    json_text(&json, "name", row->name);
    json_decimal(&json, "ours", bench_sample_median(&row->ours), 2);
    if (row->peer_name)
        json_decimal(&json, "peer", bench_sample_median(&row->peer), 2);
    else
        json_none(&json, "peer");
    json_text(&json, "unit", row->unit);
    if (row->peer_name)
        json_decimal(&json, "ratio", row->ratio, 3);
    else
        json_none(&json, "ratio");
    json_text(&json, "peer_name", row->peer_name ? row->peer_name : "");
    json_u64(&json, "flows", row->flows);
    json_u64(&json, "rounds", row->ours.rounds);
    json_decimal(&json, "ours_min", bench_sample_min(&row->ours), 2);
    json_decimal(&json, "ours_max", bench_sample_max(&row->ours), 2);
    if (row->peer_name) {
        json_decimal(&json, "peer_min", bench_sample_min(&row->peer), 2);
        json_decimal(&json, "peer_max", bench_sample_max(&row->peer), 2);
    }
    if (row->goal != BENCH_NO_GOAL) {
        json_text(&json, "goal", row->goal == BENCH_AT_MOST ? "at_most" : "at_least");
        json_decimal(&json, "goal_ratio", row->goal_ratio, 3);
        json_bool(&json, "goal_met", goal_met(row));
    }
    json_text(&json, "machine", bench->machine);
    json_object_end(&json);
    json_line(&json, out);
    fflush(out);
    json_free(&json);
}

static void print_text(const struct bench_row *row, FILE *out)
{
    fprintf(out, "%-54s %8.2f %7.2f-%-7.2f", row->name, bench_sample_median(&row->ours), bench_sample_min(&row->ours),
            bench_sample_max(&row->ours));
    if (row->peer_name)
        fprintf(out, " %8.2f %7.2f-%-7.2f %6.2f", bench_sample_median(&row->peer), bench_sample_min(&row->peer),
                bench_sample_max(&row->peer), row->ratio);
    else
        fprintf(out, " %8s %15s %6s", "-", "", "-");
    fprintf(out, "  %-8s", row->unit);
    if (row->goal != BENCH_NO_GOAL)
        fprintf(out, " %s %.2f%s", row->goal == BENCH_AT_MOST ? "<=" : ">=", row->goal_ratio,
                goal_met(row) ? "" : "  missed");
    fprintf(out, "\n");
    fflush(out);
}

void bench_report(struct bench *bench, const struct bench_row *row)
{
    if (bench->row_count == bench->row_capacity) {
        bench->row_capacity = bench->row_capacity ? bench->row_capacity * 2 : 64;
        bench->rows = realloc(bench->rows, bench->row_capacity * sizeof *bench->rows);
        if (!bench->rows)
            bench_fail("memory is short");
    }
    struct bench_row *own = &bench->rows[bench->row_count++];
    *own = *row;
    own->ratio = own->peer_name ? bench_sample_ratio(&own->ours, &own->peer) : bench_sample_median(&own->ours);
    if (bench->options.json)
        print_json(bench, own, bench->out);
    else
        print_text(own, bench->out);
}

/* ---- machine ---- */

/* "AMD EPYC (family 26, model 2), TSC 2.596 GHz" */
static void name_machine(char *text, size_t size)
{
    char line[256], model[64] = "unknown CPU";
    int family = 0, number = 0;
    FILE *in = fopen("/proc/cpuinfo", "re");
    while (in && fgets(line, sizeof line, in) && line[0] != '\n') {
        (void)sscanf(line, "model name : %63[^\n]", model);
        (void)sscanf(line, "cpu family : %d", &family);
        (void)sscanf(line, "model : %d", &number);
    }
    if (in)
        fclose(in);
    snprintf(text, size, "%s (family %d, model %d), TSC %.3f GHz", model, family, number, bench_tsc_hz() / 1e9);
}

/* The last CPUs that we may use: the first one has the most of a system's own work. */
static void choose_cpus(uint32_t *ret_main, uint32_t *ret_second)
{
    cpu_set_t allowed;
    *ret_main = *ret_second = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        return;
    bool found = false;
    for (uint32_t cpu = CPU_SETSIZE; cpu-- > 0;)
        if (CPU_ISSET(cpu, &allowed)) {
            if (found) {
                *ret_second = cpu;
                return;
            }
            *ret_main = *ret_second = cpu;
            found = true;
        }
}

static void start(struct bench *bench)
{
    static uint32_t second;
    uint32_t main_cpu;
    char error[512];
    struct dp_eal_options options;
    choose_cpus(&main_cpu, &second);
    bench->has_two_cpus = main_cpu != second;
    dp_eal_options_init(&options, 1);
    options.worker_cpus = &second;
    options.main_cpu = (int)main_cpu;
    if (dp_eal_start(&options, error, sizeof error))
        bench_fail("%s", error);
    bench_heap_create(&bench->pool_heap, (size_t)96 << 20);
    bench->pool = rte_pktmbuf_pool_create("bench", MBUFS, MBUF_CACHE, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE,
                                          bench->pool_heap.socket);
    if (!bench->pool)
        bench_fail("no memory for %u mbufs", MBUFS);
    name_machine(bench->machine, sizeof bench->machine);
}

static void print_header(struct bench *bench)
{
    static const char peers[] =
        "rte_hash: RW_CONCURRENCY_LF, bulk of 32 with hash, 48-byte keys, entries of 64 bytes prefetched, in "
        "table.lookup "
        "while the next burst is looked up; "
        "cds_lfht: QSBR, as many buckets as flows, hash beforehand; "
        "floor: two dependent lines, prefetched 32 at a time, in table.lookup two bursts ahead; "
        "swap5: MACs, addresses, ports swapped; "
        "libndpi: all protocols, in our pipeline in the place of our classification, no packet after the first name";
    static const char memory[] =
        "EAL --no-huge; tables, peers, mbufs on transparent hugepages by madvise, touched first";
    FILE *out = bench->out;
    if (bench->options.json) {
        struct json json;
        json_init(&json);
        json_object_begin(&json, NULL);
        json_text(&json, "event", "bench");
        json_text(&json, "machine", bench->machine);
        json_text(&json, "memory", memory);
        json_text(&json, "peers", peers);
        json_object_end(&json);
        json_line(&json, out);
        json_free(&json);
        return;
    }
    fprintf(out, "%s; CPU %d\n%s\n%s\n", bench->machine, sched_getcpu(), memory, peers);
    fprintf(
        out,
        "medians of %u rounds in turns, least and most; ratio = ours / peer; cycles are the TSC's, an operation\n\n",
        bench->effort.rounds);
    fprintf(out, "%-54s %8s %15s %8s %15s %6s  %-8s %s\n", "row", "ours", "", "peer", "", "ratio", "unit", "goal");
}

/* ---- run ---- */

/* In this order: the last ones change the population. */
static const struct group {
    unsigned (*needs)(struct bench_world *world, bool *ret_any);
    void (*rows)(struct bench_world *world);
} groups[] = {
    {bench_table_needs, bench_table_rows},
    {bench_pipeline_needs, bench_pipeline_rows},
    {bench_churn_needs, bench_churn_rows},
    {bench_ageing_needs, bench_ageing_rows},
};

static void run_world(struct bench *bench, uint64_t flows, enum bench_family family)
{
    static struct bench_world world;
    bool any = false;
    unsigned needs = 0;
    world = (struct bench_world){.bench = bench, .flows = flows, .family = family};
    for (unsigned i = 0; i < RTE_DIM(groups); i++)
        needs |= groups[i].needs(&world, &any);
    if (!any)
        return;
    const struct bench_world_options world_options = {
        .flows = flows, .spare_flows = flows / 8 + 1024, .family = family, .needs = needs};
    bench_world_create(&world, bench, &world_options);
    for (unsigned i = 0; i < RTE_DIM(groups); i++)
        groups[i].rows(&world);
    bench_world_destroy(&world);
}

static void run_population(struct bench *bench, uint64_t flows)
{
    for (unsigned family = BENCH_MIX; family <= BENCH_IPV6; family++) {
        if (family != BENCH_IPV4 && flows > FAMILIES_FLOWS_MAX)
            continue;
        run_world(bench, flows, family);
        bench_opening_rows(bench, flows, family);
        bench_hostile_rows(bench, flows, family);
        bench_workers_rows(bench, flows, family);
    }
    bench_capacity_rows(bench, flows);
}

static const struct bench_row *find_row(const struct bench *bench, const char *format, uint64_t flows)
{
    char name[96], text[24];
    const char *at = strstr(format, "%s");
    bench_flows_name(flows, text, sizeof text);
    snprintf(name, sizeof name, "%.*s%s%s", (int)(at - format), format, text, at + 2);
    for (size_t i = 0; i < bench->row_count; i++)
        if (strcmp(bench->rows[i].name, name) == 0)
            return &bench->rows[i];
    return NULL;
}

static struct bench_sample difference(const struct bench_sample *a, const struct bench_sample *b)
{
    struct bench_sample sample = *a;
    for (unsigned i = 0; i < sample.rounds; i++)
        sample.round[i] = a->round[i] - b->round[i];
    return sample;
}

/* What the memory of 16 million flows adds to the cycles of a thousand, against what it adds to the floor. */
static void slope_row(struct bench *bench, const char *group, const char *format, enum bench_goal goal)
{
    static const char floor_format[] = "table.lookup.%s.uniform.mix.floor";
    const struct bench_row *few = find_row(bench, format, SLOPE_FEW), *many = find_row(bench, format, SLOPE_MANY);
    const struct bench_row *floor_few = find_row(bench, floor_format, SLOPE_FEW);
    const struct bench_row *floor_many = find_row(bench, floor_format, SLOPE_MANY);
    if (!few || !many || !floor_few || !floor_many)
        return;
    struct bench_row row = {.flows = SLOPE_MANY,
                            .unit = "cycles",
                            .peer_name = "floor",
                            .ours = difference(&many->ours, &few->ours),
                            .peer = difference(&floor_many->peer, &floor_few->peer),
                            .goal = goal,
                            .goal_ratio = 1.5};
    snprintf(row.name, sizeof row.name, "%s.slope.1K-16M.uniform.mix.floor", group);
    bench_report(bench, &row);
}

size_t bench_run(const struct bench_options *options, FILE *out)
{
    struct bench bench = {.options = *options, .out = out};
    bench.effort = options->quick ? (struct bench_effort){5, 48} : (struct bench_effort){7, 128};
    if (options->rounds)
        bench.effort.rounds = options->rounds;
    bench.stream_length = options->quick ? 1u << 19 : 1u << 21;
    const uint64_t *usual = options->full ? populations_full : options->quick ? populations_quick : populations_usual;
    bench.own_populations = options->population_count != 0;
    if (!options->population_count)
        for (unsigned i = 0; usual[i]; i++)
            bench.options.populations[bench.options.population_count++] = usual[i];
    start(&bench);
    print_header(&bench);
    bench_hash_rows(&bench);
    for (unsigned i = 0; i < bench.options.population_count; i++)
        run_population(&bench, bench.options.populations[i]);
    bench_dpi_rows(&bench);
    slope_row(&bench, "pipeline", "pipeline.64B.%s.uniform.mix.rte_hash", BENCH_AT_MOST);
    slope_row(&bench, "table", "table.lookup.%s.uniform.mix.rte_hash", BENCH_NO_GOAL);
    if (options->svg)
        bench_plot(&bench, options->svg);
    if (!options->json)
        fprintf(out, "\n%u %% of the process's memory was on large pages\n", bench.hugepage_pct);
    free(bench.rows);
    rte_mempool_free(bench.pool);
    bench_heap_destroy(&bench.pool_heap);
    dp_eal_stop();
    return bench.row_count;
}

/* How many flows fit, what they take, and what the last of them cost: a table filled to its capacity, IPv4. */
#include <rte_cycles.h>

#include "bench/bench.h"

#define USUAL_FLOWS    64000000u
#define BATCH          32u
#define TENTHS         10u
#define STEP_CYCLES    32u
#define STEPS          8192u
#define INSERT_MAX_US  5.0
#define MEMORY_MAX_GIB 12.0

struct filling {
    uint64_t refused;
    double tenth_cycles[TENTHS]; /* of an insert, mean */
    uint64_t histogram[STEPS];   /* of single inserts, STEP_CYCLES a step */
};

static void fill(struct ft *flows, uint64_t count, struct filling *filling)
{
    struct ft_key keys[BATCH];
    uint64_t hashes[BATCH], now_ns = bench_now_ns(), sums[TENTHS] = {0}, counts[TENTHS] = {0};
    ft_slot slots[BATCH];
    for (uint64_t begin = 0; begin + BATCH <= count; begin += BATCH) {
        uint64_t tenth = begin * TENTHS / count;
        for (unsigned i = 0; i < BATCH; i++) {
            bench_key(begin + i, BENCH_IPV4, &keys[i]);
            hashes[i] = ft_hash(flows, &keys[i]);
        }
        ft_lookup_bulk(flows, keys, hashes, BATCH, slots);
        for (unsigned i = 0; i < BATCH; i++) {
            uint64_t before = rte_rdtsc();
            int error = ft_insert(flows, &keys[i], hashes[i], begin + i, now_ns, &slots[i]);
            uint64_t cycles = rte_rdtsc() - before;
            filling->refused += error != 0;
            filling->histogram[RTE_MIN(cycles / STEP_CYCLES, STEPS - 1)]++;
            sums[tenth] += cycles;
            counts[tenth]++;
        }
    }
    for (unsigned i = 0; i < TENTHS; i++)
        filling->tenth_cycles[i] = (double)sums[i] / (double)(counts[i] ? counts[i] : 1);
}

static double percentile_us(const struct filling *filling, double share)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < STEPS; i++)
        total += filling->histogram[i];
    for (unsigned i = 0; i < STEPS; i++)
        if ((double)(seen += filling->histogram[i]) >= share * (double)total)
            return (i + 1) * STEP_CYCLES / bench_tsc_hz() * 1e6;
    return 0;
}

enum { REFUSED, MEMORY, P999, CLIFF, WHATS };

static bool name_row(const struct bench *bench, uint64_t flows, unsigned what, struct bench_row *ret_row)
{
    static const struct {
        const char *name, *unit;
        double goal;
    } whats[WHATS] = {
        [REFUSED] = {"refused", "flows", 0},
        [MEMORY] = {"memory", "GiB", MEMORY_MAX_GIB},
        [P999] = {"insert_p999", "us", INSERT_MAX_US},
        [CLIFF] = {"insert_last_tenth", "cycles", 0},
    };
    char text[24];
    bench_flows_name(flows, text, sizeof text);
    *ret_row = (struct bench_row){.flows = flows, .unit = whats[what].unit};
    if (what == CLIFF) {
        ret_row->peer_name = "first_tenth";
    } else {
        ret_row->goal = BENCH_AT_MOST;
        ret_row->goal_ratio = whats[what].goal;
    }
    snprintf(ret_row->name, sizeof ret_row->name, "capacity.%s.%s.uniform.ipv4.%s", whats[what].name, text,
             what == CLIFF ? "first_tenth" : "ours");
    return bench_takes(bench, flows, USUAL_FLOWS) && bench_wants(bench, ret_row->name);
}

/* One filling is one round: its figures are of millions of inserts. */
void bench_capacity_rows(struct bench *bench, uint64_t flows)
{
    static struct filling filling;
    char error[256];
    struct bench_row rows[WHATS];
    bool wanted[WHATS], any = false;
    for (unsigned what = 0; what < WHATS; what++)
        any |= wanted[what] = name_row(bench, flows, what, &rows[what]);
    if (!any)
        return;
    struct ft_config config;
    ft_config_init(&config);
    config.capacity_flows = flows < FT_CAPACITY_FLOWS_MIN ? FT_CAPACITY_FLOWS_MIN : flows;
    config.unanswered_share_pct = 100;
    bench_need_memory(flows, 0);
    uint64_t before_bytes = bench_resident_bytes();
    struct ft *table = ft_create(&config, error, sizeof error);
    if (!table)
        bench_fail("%s", error);
    filling = (struct filling){0};
    fill(table, flows, &filling);
    uint64_t bytes = bench_resident_bytes() - before_bytes;
    rows[REFUSED].ours = bench_sample_constant((double)filling.refused, 1);
    rows[MEMORY].ours = bench_sample_constant((double)bytes / (double)(1u << 30), 1);
    rows[P999].ours = bench_sample_constant(percentile_us(&filling, 0.999), 1);
    rows[CLIFF].ours = bench_sample_constant(filling.tenth_cycles[TENTHS - 1], 1);
    rows[CLIFF].peer = bench_sample_constant(filling.tenth_cycles[0], 1);
    for (unsigned what = 0; what < WHATS; what++)
        if (wanted[what])
            bench_report(bench, &rows[what]);
    ft_destroy(table);
}

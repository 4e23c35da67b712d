/* Ageing of the flow table: what a sweep costs when nothing can expire, when all must be looked at, when all expires. */
#include <rte_cycles.h>
#include <stdlib.h>

#include "bench/bench.h"

#define SECOND_NS   UINT64_C(1000000000)
#define DAY_NS      (86400 * SECOND_NS)
#define CALLS_MAX   65536u
#define CALL_MAX_US 20.0
#define FOUND_MAX   32u
#define STEPS       4u /* of a time-out */

/* The rows; those before `call` are cycles a flow. */
#define WHATS(X)                                                                                                       \
    X(skip, "cycles")        /* a sweep over all shards, no chunk can have an expired flow */                          \
    X(look, "cycles")        /* every slot is looked at, none is expired; peer: reading as many lines one by one */    \
    X(call, "us")            /* the 99.9th percentile of one call, budget as the engine's; peer: the limit */          \
    X(call_after_jump, "us") /* the same, the clock a day further on: every flow is looked at */                       \
    X(expire, "cycles")      /* every flow is expired and removed */

enum what {
#define X(name, unit) WHAT_##name,
    WHATS(X)
#undef X
        WHAT_COUNT
};

static bool name_row(const struct bench_world *world, enum what what, struct bench_row *ret_row)
{
    static const char *const names[] = {
#define X(name, unit) #name,
        WHATS(X)
#undef X
    };
    static const char *const units[] = {
#define X(name, unit) unit,
        WHATS(X)
#undef X
    };
    static const char *const peers[WHAT_COUNT] = {
        [WHAT_look] = "read", [WHAT_call] = "limit", [WHAT_call_after_jump] = "limit"};
    char flows[24];
    bench_flows_name(world->flows, flows, sizeof flows);
    *ret_row = (struct bench_row){.flows = world->flows, .unit = units[what], .peer_name = peers[what]};
    snprintf(ret_row->name, sizeof ret_row->name, "table.sweep_%s.%s.uniform.%s%s%s", names[what], flows,
             bench_family_name(world->family), peers[what] ? "." : "", peers[what] ? peers[what] : "");
    if (what == WHAT_call || what == WHAT_call_after_jump) {
        ret_row->goal = BENCH_AT_MOST;
        ret_row->goal_ratio = 1;
    }
    return bench_wants(world->bench, ret_row->name);
}

unsigned bench_ageing_needs(struct bench_world *world, bool *ret_any)
{
    struct bench_row row;
    bool look = name_row(world, WHAT_look, &row);
    for (unsigned what = 0; what < WHAT_COUNT; what++)
        *ret_any |= name_row(world, what, &row);
    return look ? BENCH_NEED_FLOOR : 0;
}

/* The slots of all flows. */
static ft_slot *list_slots(struct bench_world *world)
{
    ft_slot *slots = bench_alloc(world->flows * sizeof *slots);
    struct ft_flow flow;
    uint64_t count = 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        for (uint64_t position = 0; ft_walk(world->engine->flows, (uint8_t)shard, &position, &flow);)
            if (count < world->flows)
                slots[count++] = flow.slot;
    if (count != world->flows)
        bench_fail("our table lost a flow");
    return slots;
}

/* Every flow had a packet just now: bounds of chunks say nothing of it until a sweep looks. */
static void renew(struct bench_world *world, const ft_slot slots[], uint64_t now_ns)
{
    for (uint64_t i = 0; i < world->flows; i++)
        FT_SET(ft_hot(world->engine->flows, slots[i])->last_ns, now_ns);
}

/* A whole sweep; returns how many flows were found. */
static uint64_t sweep_all(struct ft *flows, uint64_t now_ns, unsigned first_shard, unsigned shards, bool remove)
{
    ft_slot slots[FOUND_MAX];
    uint64_t found = 0;
    for (unsigned shard = first_shard; shard < first_shard + shards; shard++)
        for (unsigned count = 1; count;) {
            count = ft_sweep(flows, (uint8_t)shard, now_ns, UINT32_MAX, slots, FOUND_MAX);
            if (remove)
                ft_remove_bulk(flows, slots, count);
            found += count;
        }
    return found;
}

/*
 * Lets the clock run until every flow, had it had no packet, would be expired, and gives each one a packet a second
 * before. In steps, as ageing sees it; a clock that jumps is a case of its own.
 */
static uint64_t pass_timeout(struct bench_world *world, const ft_slot slots[], uint64_t now_ns, bool renewed)
{
    uint64_t timeout_ns = world->engine->config.flow_table.timeout_ns[FT_TIMEOUT_tcp_established];
    uint64_t step_ns = timeout_ns / STEPS + 5 * SECOND_NS;
    for (unsigned step = 1; step < STEPS; step++)
        sweep_all(world->engine->flows, now_ns + step * step_ns, 0, FT_SHARDS, false);
    now_ns += STEPS * step_ns;
    if (renewed)
        renew(world, slots, now_ns - SECOND_NS);
    return now_ns;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The 99.9th percentile of calls with the engine's budget, in cycles. */
static double sweep_calls(struct bench_world *world, uint64_t now_ns)
{
    static uint32_t calls[CALLS_MAX];
    ft_slot slots[FOUND_MAX];
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        uint64_t before = rte_rdtsc_precise();
        ft_sweep(world->engine->flows, (uint8_t)(i % FT_SHARDS), now_ns, world->engine->config.sweep_slots, slots,
                 FOUND_MAX);
        calls[i] = (uint32_t)(rte_rdtsc_precise() - before);
    }
    qsort(calls, CALLS_MAX, sizeof *calls, compare);
    return calls[CALLS_MAX - CALLS_MAX / 1000];
}

/* Cycles a line. */
static double read_lines(const struct bench_floor *floor)
{
    uint64_t sum = 0, before = rte_rdtsc_precise();
    for (uint64_t i = 0; i < floor->entry_count; i++)
        sum += *(volatile uint64_t *)&floor->entries[i].last_ns;
    (void)sum;
    return (double)(rte_rdtsc_precise() - before) / (double)floor->entry_count;
}

void bench_ageing_rows(struct bench_world *world)
{
    struct bench *bench = world->bench;
    struct bench_row rows[WHAT_COUNT];
    bool wanted[WHAT_COUNT], any = false;
    for (unsigned what = 0; what < WHAT_COUNT; what++)
        any |= wanted[what] = name_row(world, what, &rows[what]);
    if (!any)
        return;
    struct ft *flows = world->engine->flows;
    uint64_t now_ns = bench_now_ns(), before;
    ft_slot *slots = list_slots(world);
    for (unsigned round = 0; round < bench->effort.rounds; round++) {
        now_ns = pass_timeout(world, slots, now_ns, true);
        before = rte_rdtsc_precise();
        if (sweep_all(flows, now_ns, 0, FT_SHARDS, false))
            bench_fail("a flow expired before its time");
        rows[WHAT_look].ours.round[round] = (double)(rte_rdtsc_precise() - before) / (double)world->flows;
        rows[WHAT_look].peer.round[round] = wanted[WHAT_look] ? read_lines(&world->floor) : 0;
        before = rte_rdtsc_precise();
        sweep_all(flows, now_ns += SECOND_NS, 0, FT_SHARDS, false);
        rows[WHAT_skip].ours.round[round] = (double)(rte_rdtsc_precise() - before) / (double)world->flows;
        now_ns = pass_timeout(world, slots, now_ns, true);
        rows[WHAT_call].ours.round[round] = sweep_calls(world, now_ns) / bench_tsc_hz() * 1e6;
        now_ns += DAY_NS;
        renew(world, slots, now_ns - SECOND_NS);
        rows[WHAT_call_after_jump].ours.round[round] = sweep_calls(world, now_ns) / bench_tsc_hz() * 1e6;
    }
    now_ns = pass_timeout(world, slots, now_ns, false);
    unsigned shards = FT_SHARDS / BENCH_ROUNDS_MAX;
    for (unsigned round = 0; round < bench->effort.rounds; round++) {
        before = rte_rdtsc_precise();
        uint64_t expired = sweep_all(flows, now_ns, round * shards, shards, true);
        rows[WHAT_expire].ours.round[round] = (double)(rte_rdtsc_precise() - before) / (double)(expired ? expired : 1);
    }
    bench_free(slots, world->flows * sizeof *slots);
    for (unsigned what = 0; what < WHAT_COUNT; what++) {
        rows[what].ours.rounds = rows[what].peer.rounds = bench->effort.rounds;
        if (what == WHAT_call || what == WHAT_call_after_jump)
            rows[what].peer = bench_sample_constant(CALL_MAX_US, bench->effort.rounds);
        if (wanted[what])
            bench_report(bench, &rows[what]);
    }
}

/*
 * Ageing in the flow table: when flows are found, what is looked at, clocks that jump.
 */
#include "flowtable/table_priv.h"
#include "flowtable_util.h"

static unsigned sweep_all(struct ft *ft, uint8_t shard, uint64_t now_ns, ft_slot slots[], unsigned size)
{
    return ft_sweep(ft, shard, now_ns, UINT32_MAX, slots, size);
}

Test(flowtable_age, each_class_expires_after_its_own_time)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 19;
    for (unsigned class = 0; class < FT_TIMEOUT_COUNT; class ++) {
        struct ft_key key = key_of_shard(1, &stream);
        uint64_t born_ns = 1000000 * NS * (class + 1), timeout_ns = config.timeout_ns[class];
        ft_slot slot = must_insert(ft, &key, class, born_ns), found[4];
        set_class(ft, slot, (enum ft_timeout) class);
        struct ft_hot *hot = ft_hot(ft, slot);
        cr_assert_not(ft_expired(ft, hot, born_ns + timeout_ns));
        cr_assert(ft_expired(ft, hot, born_ns + timeout_ns + 1));
        cr_assert_eq(sweep_all(ft, 1, born_ns, found, 4), 0);
        cr_assert_eq(sweep_all(ft, 1, born_ns + timeout_ns, found, 4), 0);
        cr_assert_eq(sweep_all(ft, 1, born_ns + timeout_ns + FT_SWEEP_LATE_NS, found, 4), 1, "class %u", class);
        cr_assert_eq(found[0], slot);
        ft_remove(ft, slot);
    }
    ft_destroy(ft);
}

Test(flowtable_age, packets_and_a_shorter_class_move_the_end)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 23, now_ns = 1000 * NS;
    struct ft_key key = key_of_shard(1, &stream);
    ft_slot slot = must_insert(ft, &key, 1, now_ns), found[4];
    set_class(ft, slot, FT_TIMEOUT_tcp_established);
    for (unsigned i = 0; i < 10; i++) {
        now_ns += 3599 * NS;
        cr_assert_eq(sweep_all(ft, 1, now_ns, found, 4), 0);
        ft_write_begin(ft_hot(ft, slot));
        FT_SET(ft_hot(ft, slot)->last_ns, now_ns);
        ft_write_end(ft_hot(ft, slot));
    }
    cr_assert_eq(sweep_all(ft, 1, now_ns + 20 * NS, found, 4), 0);
    set_class(ft, slot, FT_TIMEOUT_tcp_closed);
    cr_assert_eq(sweep_all(ft, 1, now_ns + 21 * NS, found, 4), 1, "its 10 s have passed, though it was not due");
    ft_destroy(ft);
}

Test(flowtable_age, a_budget_is_kept_and_the_sweep_goes_on_where_it_stopped)
{
    struct ft_config config = test_config(1000000);
    struct ft *ft = create(&config);
    uint64_t stream = 29;
    enum { FLOWS = 1000 };
    for (unsigned i = 0; i < FLOWS; i++) {
        struct ft_key key = key_of_shard(1, &stream);
        must_insert(ft, &key, i, NS);
    }
    ft_slot found[FLOWS];
    unsigned count = 0, calls = 0;
    while (count < FLOWS) {
        uint64_t swept = stats_of(ft).swept;
        unsigned now_found = ft_sweep(ft, 1, 100 * NS, 32, found, 7);
        cr_assert_leq(stats_of(ft).swept - swept, 32);
        cr_assert_leq(now_found, 7);
        for (unsigned i = 0; i < now_found; i++)
            ft_remove(ft, found[i]);
        count += now_found;
        cr_assert_lt(++calls, 1000);
    }
    cr_assert_eq(stats_of(ft).flows, 0);
    cr_assert_eq(stats_of(ft).expired, FLOWS);
    ft_destroy(ft);
}

Test(flowtable_age, flows_that_are_not_due_are_passed_over)
{
    struct ft_config config = test_config(65536);
    struct ft *ft = create(&config);
    uint64_t stream = 31;
    ft_slot found[16];
    cr_assert_eq(sweep_all(ft, 1, 1000 * NS, found, 16), 0);
    for (unsigned i = 0; i < 200; i++) {
        struct ft_key key = key_of_shard(1, &stream);
        set_class(ft, must_insert(ft, &key, i, 1000 * NS),
                  i % 10 ? FT_TIMEOUT_tcp_established : FT_TIMEOUT_udp_answered);
    }
    for (uint64_t s = 1000; s <= 1180; s++)
        cr_assert_eq(sweep_all(ft, 1, s * NS, found, 16), 0);
    cr_assert_eq(stats_of(ft).swept, 0);
    /* Packets renew the 20 of them: each is looked at once more, no other is. */
    struct ft_flow flow;
    uint64_t position = 0;
    while (ft_walk(ft, 1, &position, &flow))
        if (flow.hot.timeout_class == FT_TIMEOUT_udp_answered)
            FT_SET(ft_hot(ft, flow.slot)->last_ns, 1100 * NS);
    for (uint64_t s = 1181; s <= 1280; s++)
        cr_assert_eq(sweep_all(ft, 1, s * NS, found, 16), 0);
    cr_assert_eq(stats_of(ft).swept, 20);
    cr_assert_eq(sweep_all(ft, 1, 1282 * NS, found, 16), 16);
    ft_destroy(ft);
}

/* A time-out far beyond the span of the due times. */
Test(flowtable_age, long_time_outs_are_met)
{
    struct ft_config config = test_config(65536);
    uint64_t day_ns = 86400 * NS;
    config.timeout_ns[FT_TIMEOUT_tcp_established] = 30 * day_ns;
    struct ft *ft = create(&config);
    uint64_t stream = 32, born_ns = 20000 * day_ns;
    ft_slot found[4];
    for (unsigned i = 0; i < 4; i++) {
        struct ft_key key = key_of_shard(1, &stream);
        set_class(ft, must_insert(ft, &key, i, born_ns), FT_TIMEOUT_tcp_established);
    }
    /* Steps of ten minutes, then of two days, which is more than the due times can tell. */
    uint64_t now_ns = born_ns;
    for (; now_ns < born_ns + 2 * day_ns; now_ns += 600 * NS)
        cr_assert_eq(sweep_all(ft, 1, now_ns, found, 4), 0);
    cr_assert_lt(stats_of(ft).swept, 4 * 2 * 24, "not looked at in each of the 288 rounds");
    for (; now_ns <= born_ns + 30 * day_ns; now_ns += 2 * day_ns)
        cr_assert_eq(sweep_all(ft, 1, now_ns, found, 4), 0);
    cr_assert_eq(sweep_all(ft, 1, born_ns + 30 * day_ns, found, 4), 0);
    cr_assert_eq(sweep_all(ft, 1, born_ns + 30 * day_ns + NS, found, 4), 4);
    ft_destroy(ft);
}

Test(flowtable_age, a_clock_set_back_neither_ends_flows_early_nor_keeps_them)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 37, day_ns = 86400 * NS, old_ns = 100 * day_ns, new_ns = 99 * day_ns;
    ft_slot found[64];
    struct ft_key keys[40];
    for (unsigned i = 0; i < 40; i++) {
        keys[i] = key_of_shard(1, &stream);
        set_class(ft, must_insert(ft, &keys[i], i, old_ns), FT_TIMEOUT_udp_answered);
    }
    cr_assert_eq(sweep_all(ft, 1, old_ns + NS, found, 64), 0);
    /* A day back: nothing expires at once, nor before its 180 seconds by the new clock are over. */
    cr_assert_eq(sweep_all(ft, 1, new_ns, found, 64), 0);
    cr_assert_eq(sweep_all(ft, 1, new_ns + 180 * NS, found, 64), 0);
    cr_assert_eq(sweep_all(ft, 1, new_ns + 182 * NS, found, 64), 40);
    ft_destroy(ft);
}

Test(flowtable_age, one_wrong_stamp_keeps_no_flow)
{
    struct ft_config config = test_config(4096);
    struct ft *ft = create(&config);
    uint64_t stream = 41, now_ns = 1000 * NS;
    ft_slot found[4];
    struct ft_key future = key_of_shard(1, &stream);
    must_insert(ft, &future, 1, now_ns * 1000000);
    cr_assert_eq(sweep_all(ft, 1, now_ns, found, 4), 0);
    cr_assert_eq(sweep_all(ft, 1, now_ns + 32 * NS, found, 4), 1);
    ft_remove(ft, found[0]);
    /* And small swings of a capture's stamps change nothing. */
    struct ft_key key = key_of_shard(1, &stream);
    ft_slot slot = must_insert(ft, &key, 2, now_ns + 40 * NS);
    cr_assert_eq(sweep_all(ft, 1, now_ns + 40 * NS - NS / 2, found, 4), 0);
    cr_assert_eq(ft_hot(ft, slot)->last_ns, now_ns + 40 * NS);
    ft_destroy(ft);
}

/* Every flow is looked at after a jump, no call looks at more than its budget, and rounds come to their ends. */
static void jump(uint64_t first_ns, uint64_t step_ns, unsigned budget_slots)
{
    enum { FLOWS = 3000, CALLS = 2000 };
    struct ft_config config = test_config(1000000);
    config.unanswered_share_pct = 100;
    struct ft *ft = create(&config);
    uint64_t stream = 43, now_ns = first_ns, swept = 0;
    ft_slot found[32];
    cr_assert_eq(sweep_all(ft, 1, now_ns, found, 32), 0);
    for (unsigned i = 0; i < FLOWS; i++) {
        struct ft_key key = key_of_shard(1, &stream);
        set_class(ft, must_insert(ft, &key, i, now_ns), FT_TIMEOUT_tcp_established);
    }
    cr_assert_eq(stats_of(ft).swept, 0);
    now_ns += step_ns;
    for (unsigned call = 0; call < CALLS; call++) {
        cr_assert_eq(ft_sweep(ft, 1, now_ns, budget_slots, found, 32), 0);
        cr_assert_leq(stats_of(ft).swept - swept, budget_slots);
        swept = stats_of(ft).swept;
    }
    cr_assert_eq(swept, FLOWS, "once each: their due times are of the new clock now");
    cr_assert(ft_sweep_is_over(ft, 1));
    /* To and fro, a day with every call: a round goes on from where it is, so it comes to its last chunk. */
    bool is_through = false;
    for (unsigned call = 0; call < CALLS && !is_through; call++) {
        ft_sweep(ft, 1, now_ns + (call & 1 ? 0 : 86400 * NS), budget_slots, found, 32);
        is_through = ft->shards[1].sweep_chunk == ft->shards[1].last;
    }
    cr_assert(is_through);
    ft_destroy(ft);
}

Test(flowtable_age, a_clock_that_jumps_costs_no_call_more_than_its_budget)
{
    jump(100000 * NS, 3000 * NS, 64);
    jump(100000 * NS, (uint64_t)-50000 * NS, 64);
}

/*
 * The engine at its limits: full tables, empty pools, full rings, fragments that come as they like. Whatever happens, a packet
 * goes on its way, is counted once, and nothing is kept.
 */
#include "tests/unit/engine_util.h"

static struct lab lab;

TestSuite(engine_limits, .timeout = 120);

static const char request[] = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 2\r\n\r\nok";

static struct lab_flow flow_of(uint8_t client, uint8_t server, uint16_t client_port, uint16_t server_port)
{
    return (struct lab_flow){
        .client = client, .server = server, .client_port = client_port, .server_port = server_port};
}

/* ---- a full table ---- */

Test(engine_limits, a_flood_of_syns_is_bypassed_and_leaves_the_others_alone)
{
    enum { FLOOD = 20000 };
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow old = flow_of(1, 2, 1000, 40000);
    lab_handshake(&lab, &old);
    for (unsigned i = 0; i < FLOOD; i++) {
        struct lab_flow syn = flow_of((uint8_t)(3 + i / 10000), 2, (uint16_t)(10000 + i % 10000), 80);
        lab_tcp(&lab, &syn, false, TCP_SYN, NULL, 0);
        if (i % 1000 == 0)
            lab_tcp_text(&lab, &old, i % 2000 == 0, "\1\2\3");
    }
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    uint64_t bypassed = stats.outcome_packets[DP_OUTCOME_flow_table_unanswered];
    cr_expect_gt(bypassed, FLOOD / 2);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_forwarded] + bypassed, lab.sent_packets);
    cr_expect_eq(stats.flows_opened, FLOOD + 1 - bypassed);
    struct ft_flow flow;
    cr_assert(lab_find(&lab, &old, 6, &flow));
    for (unsigned d = 0; d < 2; d++)
        cr_expect_eq(flow.hot.packets[d], old.packets[d]);
    lab_finish(&lab);
}

Test(engine_limits, a_table_without_slots_bypasses)
{
    lab_config(&lab);
    lab.config.flow_table.unanswered_share_pct = 100;
    lab_start(&lab);
    for (unsigned i = 0; i < 20000; i++) {
        struct lab_flow udp = flow_of((uint8_t)(3 + i / 10000), 2, (uint16_t)(10000 + i % 10000), 40000);
        lab_udp(&lab, &udp, false, "x", 1);
    }
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_gt(stats.outcome_packets[DP_OUTCOME_flow_table_no_slot], 1000);
    cr_expect_eq(stats.flows_opened + stats.outcome_packets[DP_OUTCOME_flow_table_no_slot] +
                     stats.outcome_packets[DP_OUTCOME_flow_table_no_bucket],
                 20000);
    lab_finish(&lab);
}

Test(engine_limits, a_load_made_for_one_shard_fills_its_buckets_alone)
{
    unsigned sent = 0;
    lab_config(&lab);
    lab.config.flow_table.unanswered_share_pct = 100;
    lab_start(&lab);
    for (unsigned i = 0; sent < 3000; i++) {
        struct lab_flow udp = flow_of((uint8_t)(3 + i / 50000 % 200), 2, (uint16_t)(1 + i % 50000), 40000);
        struct ft_key key;
        lab_key(&udp, 17, &key);
        if (ft_shard_of(&key))
            continue;
        lab_udp(&lab, &udp, false, "x", 1);
        sent++;
    }
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_gt(stats.outcome_packets[DP_OUTCOME_flow_table_no_bucket], 1000);
    struct lab_flow other = flow_of(1, 2, 3, 2);
    struct ft_key key;
    lab_key(&other, 17, &key);
    cr_assert_neq(ft_shard_of(&key), 0);
    lab_udp(&lab, &other, false, "x", 1);
    lab_flush(&lab);
    cr_expect_eq(lab.last_outcome, DP_OUTCOME_forwarded);
    lab_finish(&lab);
}

/* The SYN that ends a flow finds no room for the new one: what follows in the burst must not go to the old one's slot. */
Test(engine_limits, a_flow_that_cannot_begin_anew_is_gone)
{
    struct ft_key key;
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = flow_of(1, 2, 1000, 80);
    uint8_t shard = (lab_key(&tcp, 6, &key), ft_shard_of(&key));
    lab_handshake(&lab, &tcp);
    lab_goodbye(&lab, &tcp);
    lab_flush(&lab);
    for (unsigned i = 0; i < 50000; i++) {
        struct lab_flow syn = flow_of(3, 2, (uint16_t)(1 + i), 80);
        lab_key(&syn, 6, &key);
        if (ft_shard_of(&key) == shard)
            lab_tcp(&lab, &syn, false, TCP_SYN, NULL, 0);
    }
    lab_flush(&lab);
    cr_assert_eq(lab.last_outcome, DP_OUTCOME_flow_table_unanswered);
    struct dp_stats before = lab_stats(&lab);
    lab_tcp(&lab, &tcp, false, TCP_SYN, NULL, 0);
    lab_tcp(&lab, &tcp, true, TCP_SYN | TCP_ACK, NULL, 0);
    lab_tcp(&lab, &tcp, false, TCP_ACK, NULL, 0);
    lab_flush(&lab);
    struct dp_stats after = lab_stats(&lab);
    struct ft_flow flow;
    cr_expect_not(lab_find(&lab, &tcp, 6, &flow));
    cr_expect_eq(after.outcome_packets[DP_OUTCOME_flow_table_unanswered] -
                     before.outcome_packets[DP_OUTCOME_flow_table_unanswered],
                 3);
    cr_expect_eq(after.flows_closed, before.flows_closed + 1);
    lab_finish(&lab);
}

/* ---- empty pools ---- */

Test(engine_limits, without_memory_for_inspection_flows_are_judged_at_once)
{
    enum { FLOWS = 200 };
    static struct lab_flow flows[FLOWS];
    static uint8_t payload[1000];
    lab_config(&lab);
    lab.config.pending_bytes = 64 << 10;
    lab_start(&lab);
    memset(payload, 1, sizeof payload);
    for (unsigned i = 0; i < FLOWS; i++) {
        flows[i] = flow_of(1, 2, (uint16_t)(60000 + i), 40000);
        lab_handshake(&lab, &flows[i]);
    }
    for (unsigned n = 0; n < 5; n++)
        for (unsigned i = 0; i < FLOWS; i++)
            lab_tcp(&lab, &flows[i], false, TCP_ACK, payload, sizeof payload);
    lab_flush(&lab);
    unsigned judged = 0;
    for (unsigned i = 0; i < FLOWS; i++) {
        struct ft_flow flow;
        cr_assert(lab_find(&lab, &flows[i], 6, &flow));
        cr_expect_eq(flow.hot.bytes[0], flows[i].bytes[0]);
        if (!(flow.hot.flags & FT_FLOW_DECIDED))
            continue;
        judged++;
        cr_expect_str_eq(lab_protocol(&lab, &flow), "Generic TCP");
        cr_expect_geq(flow.cold.payload_packets_to_verdict, 1);
        cr_expect_leq(flow.cold.payload_packets_to_verdict, 5);
    }
    /* Who is not judged holds all that came: 5,000 bytes, in a buffer of the largest class. */
    struct dp_pending_usage usage;
    dp_pending_usage(lab.engine->workers[0]->pending, &usage);
    cr_expect_eq(usage.blocks, FLOWS - judged);
    cr_expect_eq(usage.buffers[DP_PENDING_CLASSES - 1], FLOWS - judged);
    cr_expect_gt(judged, 100);
    cr_expect_lt(judged, FLOWS);
    cr_expect_eq(lab_stats(&lab).pending_exhausted, judged, "each once: %lu, %u", lab_stats(&lab).pending_exhausted,
                 judged);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_finish(&lab);
}

static void http_exchange(struct lab_flow *flow)
{
    lab_handshake(&lab, flow);
    lab_tcp_text(&lab, flow, false, request);
    lab_tcp_text(&lab, flow, true, response);
}

Test(engine_limits, without_attribute_blocks_flows_lose_their_texts_alone)
{
    lab_config(&lab);
    lab.config.attribute_blocks = 10;
    lab_start(&lab);
    for (unsigned i = 0; i < 25; i++) {
        struct lab_flow http = flow_of(1, 2, (uint16_t)(1000 + i), 80);
        http_exchange(&http);
    }
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).attributes_exhausted, 15);
    cr_expect_eq(lab_stats(&lab).verdicts[CL_METHOD_inspector], 25);
    lab_close_all(&lab);
    lab_take_events(&lab);
    unsigned with_texts = 0;
    for (unsigned i = 0; i < lab.event_count; i++)
        if (lab.events[i].event.kind == DP_EVENT_FLOW_END && lab.events[i].has_texts) {
            lab_expect_text(&lab.events[i], CL_TEXT_host, "www.example.com");
            with_texts++;
        }
    cr_expect_eq(with_texts, 10);
    /* They came back through the ring and are used again. */
    struct lab_flow http = flow_of(1, 2, 999, 80);
    http_exchange(&http);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).attributes_exhausted, 15);
    lab_finish(&lab);
}

/* ---- full rings ---- */

/* Flows of other IP protocols: judged at their first packet, so each makes a start event. */
static void open_flows(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct lab_flow flow = flow_of((uint8_t)(1 + i % 200), (uint8_t)(201 + i / 200 % 50), 0, 0);
        struct frame f = lab_ip_frame(&flow, false, 100 + i / 10000);
        frame_put_zeros(&f, 20);
        lab_add(&lab, &f);
    }
    lab_flush(&lab);
}

Test(engine_limits, events_that_find_no_room_are_lost_counted_and_leave_nothing)
{
    enum { ROOM = DP_EVENT_RING_EVENTS - 1 };
    lab_config(&lab);
    lab.config.flow_table.capacity_flows = 1 << 16;
    lab_start(&lab);
    struct lab_flow http = flow_of(1, 2, 1000, 80);
    http_exchange(&http);
    lab_flush(&lab);
    open_flows(9000);
    cr_expect_eq(lab_stats(&lab).events_lost, 9001 - ROOM);
    lab_close_all(&lab); /* with nobody who takes events it must not wait */
    cr_expect_eq(lab_stats(&lab).events_lost, 9001 - ROOM + 9001);
    cr_expect_eq(dp_attributes_available(&lab.engine->workers[0]->attributes), lab.config.attribute_blocks);
    cr_expect_eq(lab_take_events(&lab), ROOM);
    for (unsigned i = 0; i < lab.event_count; i++)
        cr_assert_eq(lab.events[i].event.kind, DP_EVENT_FLOW_START);
    lab_finish(&lab);
}

Test(engine_limits, a_start_that_was_not_told_is_not_marked_as_told)
{
    lab_config(&lab);
    lab.config.flow_table.capacity_flows = 1 << 16;
    lab_start(&lab);
    open_flows(DP_EVENT_RING_EVENTS + 10);
    unsigned reported = 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint64_t position = 0;
        struct ft_flow flow;
        while (ft_walk(lab.engine->flows, (uint8_t)shard, &position, &flow))
            reported += (flow.hot.flags & FT_FLOW_START_REPORTED) != 0;
    }
    cr_expect_eq(reported, DP_EVENT_RING_EVENTS - 1);
    lab_finish(&lab);
}

/* The block of a flow whose end was lost is used again at once: what was told of it before must not change. */
Test(engine_limits, texts_of_an_event_in_the_ring_stay_what_they_were)
{
    lab_config(&lab);
    lab.config.flow_table.capacity_flows = 1 << 16;
    lab.config.attribute_blocks = 2;
    lab_start(&lab);
    struct lab_flow first = flow_of(1, 2, 1000, 80), second = flow_of(1, 2, 1001, 80);
    http_exchange(&first);
    lab_tcp(&lab, &first, false, TCP_ACK, NULL, 0);
    lab_flush(&lab);
    ft_slot slot = lab.last_slot;
    dp_account_bytes(lab.engine->workers[0], slot, 1, UINT64_C(1) << 32, lab.now_ns); /* an interim event */
    open_flows(DP_EVENT_RING_EVENTS);
    lab_tcp(&lab, &first, false, TCP_RST, NULL, 0);
    lab_tcp(&lab, &first, false, TCP_SYN, NULL, 0); /* ends the first flow; nobody is told */
    lab_handshake(&lab, &second);
    lab_tcp_text(&lab, &second, false, "GET /other HTTP/1.1\r\nHost: other.example.net\r\n\r\n");
    lab_tcp_text(&lab, &second, true, response);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).attributes_exhausted, 0);
    lab_take_events(&lab);
    const struct lab_event *interim = lab_event_of(&lab, DP_EVENT_FLOW_INTERIM, 0);
    cr_assert(interim);
    lab_expect_text(interim, CL_TEXT_host, "www.example.com");
    cr_expect_null(lab_event_of(&lab, DP_EVENT_FLOW_END, 0));
    lab_close_all(&lab);
    lab_take_events(&lab);
    unsigned others = 0;
    for (unsigned i = 0; i < lab.event_count; i++)
        if (lab.events[i].has_texts) {
            lab_expect_text(&lab.events[i], CL_TEXT_host, "other.example.net");
            others++;
        }
    cr_expect_eq(others, 1);
    lab_expect_all_returned(&lab);
    lab_stop(&lab);
}

static void take_some(void *context)
{
    struct lab *l = context;
    dp_engine_drain_events(l->engine, 100, lab_on_event, l);
}

Test(engine_limits, a_worker_that_ends_its_flows_waits_for_the_record_thread)
{
    lab_config(&lab);
    lab.config.flow_table.capacity_flows = 1 << 16;
    lab.config.flow_events = false;
    lab_start(&lab);
    lab.engine->event_wait = take_some;
    lab.engine->event_wait_context = &lab;
    open_flows(9999);
    cr_expect_eq(lab.event_count, 0);
    lab_close_all(&lab);
    unsigned waited_for = lab.event_count;
    cr_expect_gt(waited_for, 0);
    while (dp_engine_drain_events(lab.engine, 64, lab_on_event, &lab))
        ;
    cr_expect_eq(lab.event_count, 9999);
    cr_expect_eq(lab_stats(&lab).events_lost, 0);
    /* While packets come it does not wait. */
    lab.engine->config.flow_events = true;
    lab.event_count = 0;
    open_flows(9999);
    cr_expect_eq(lab.event_count, 0);
    cr_expect_eq(lab_stats(&lab).events_lost, 9999 - (DP_EVENT_RING_EVENTS - 1));
    lab_finish(&lab);
}

Test(engine_limits, a_busy_worker_does_not_keep_the_record_thread_from_the_others)
{
    lab_config(&lab);
    lab.config.worker_count = 3;
    lab.config.flow_table.capacity_flows = 1 << 16;
    lab_start(&lab);
    uint8_t owner[FT_SHARDS] = {0};
    dp_owner_set(lab.engine, owner);
    open_flows(500);
    memset(owner, 2, sizeof owner);
    dp_owner_set(lab.engine, owner);
    lab.worker = 2;
    for (unsigned i = 0; i < 5; i++) {
        struct lab_flow flow = flow_of((uint8_t)(1 + i), 2, 0, 0);
        struct frame f = lab_ip_frame(&flow, false, 250);
        frame_put_zeros(&f, 20);
        lab_add(&lab, &f);
    }
    lab_flush(&lab);
    cr_expect_eq(dp_engine_drain_events(lab.engine, 30, lab_on_event, &lab), 15);
    unsigned of_last = 0;
    for (unsigned i = 0; i < lab.event_count; i++)
        of_last += lab.events[i].event.worker == 2;
    cr_expect_eq(of_last, 5);
    lab_finish(&lab);
}

/* ---- fragments ---- */

static void send_fragment(struct lab_flow *flow, unsigned which)
{
    lab_fragment(&lab, flow, false, 77, which * 400, 400, which < 2);
}

Test(engine_limits, fragments_in_any_order_are_the_flows)
{
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    lab_config(&lab);
    lab.number = 1;
    lab.config.offline = true;
    lab_start(&lab);
    for (unsigned n = 0; n < 12; n++) {
        struct lab_flow udp = flow_of(1, 2, (uint16_t)(1000 + n), 40000);
        struct ft_flow flow;
        udp.is_v6 = n >= 6;
        uint64_t first_number = lab.number, first_ns = lab.now_ns;
        for (unsigned i = 0; i < 3; i++) {
            send_fragment(&udp, orders[n % 6][i]);
            if (n % 2)
                lab_flush(&lab);
            lab.now_ns += LAB_SECOND_NS;
        }
        lab_flush(&lab);
        cr_assert(lab_find(&lab, &udp, 17, &flow), "order %u", n);
        cr_expect_eq(flow.hot.packets[0], 3, "order %u: %u packets", n, flow.hot.packets[0]);
        cr_expect_eq(flow.hot.bytes[0], udp.bytes[0], "order %u", n);
        cr_expect_eq(flow.cold.first_ns, first_ns, "order %u", n);
        cr_expect_eq(flow.cold.uid & DP_UID_NUMBER_MASK, first_number, "order %u", n);
        cr_expect_eq(flow.hot.last_ns, first_ns + 2 * LAB_SECOND_NS, "order %u", n);
        cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes, "order %u", n);
    }
    cr_expect_eq(lab_stats(&lab).flows_opened, 12);
    cr_expect_eq(lab_stats(&lab).credited_fragments, 2 * (1 + 2 + 1 + 2));
    lab_finish(&lab);
}

Test(engine_limits, fragments_whose_first_never_comes_go_to_the_flow_without_ports)
{
    lab_config(&lab);
    lab.number = 1;
    lab.config.offline = true;
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 1000, 40000), portless = flow_of(1, 2, 0, 0);
    struct ft_flow flow;
    uint64_t begin_ns = lab.now_ns;
    send_fragment(&udp, 1);
    lab.now_ns += LAB_SECOND_NS;
    send_fragment(&udp, 2);
    lab_flush(&lab);
    cr_expect_not(lab_find(&lab, &portless, 17, &flow));
    cr_expect_eq(lab_stats(&lab).outcome_packets[DP_OUTCOME_forwarded], 2);
    lab.now_ns = begin_ns + DP_FRAGMENT_TIMEOUT_NS + 2 * LAB_SECOND_NS;
    lab_age(&lab);
    cr_assert(lab_find(&lab, &portless, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], 2);
    cr_expect_eq(flow.hot.bytes[0], udp.bytes[0]);
    cr_expect_eq(flow.cold.uid & DP_UID_NUMBER_MASK, 1);
    cr_expect_eq(flow.cold.first_ns, begin_ns);
    cr_expect_eq(flow.hot.last_ns, begin_ns + LAB_SECOND_NS);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    /* What is still on its way at the end is told as well. */
    send_fragment(&udp, 1);
    lab_flush(&lab);
    lab_close_all(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    cr_expect_eq(lab_stats(&lab).credited_fragments, 3);
    lab_finish(&lab);
}

Test(engine_limits, an_id_that_comes_again_after_the_time_out_is_another_datagram)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 1000, 40000), portless = flow_of(1, 2, 0, 0);
    struct ft_flow flow;
    for (unsigned round = 0; round < 3; round++) { /* without housekeeping between them */
        send_fragment(&udp, 1 + round % 2);
        lab_flush(&lab);
        lab.now_ns += DP_FRAGMENT_TIMEOUT_NS;
    }
    send_fragment(&udp, 0);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &portless, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], 3);
    cr_assert(lab_find(&lab, &udp, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], 1);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    cr_expect_eq(lab_stats(&lab).uncredited_fragments, 0);
    lab_finish(&lab);
}

/* A capture's stamps are out of order by a little: the older entry is not due yet, the younger one is. */
Test(engine_limits, a_timed_out_datagram_behind_a_younger_one_is_credited_once)
{
    lab_config(&lab);
    lab_start(&lab);
    for (unsigned part = 0; part < 3; part += 2) { /* what meets it: a first fragment, a later one */
        struct lab_flow udp = flow_of(1, (uint8_t)(10 + part), 60000, 40000),
                        portless = flow_of(1, (uint8_t)(10 + part), 0, 0);
        struct ft_flow flow;
        uint64_t credited = lab_stats(&lab).credited_fragments;
        lab.now_ns += DP_CLOCK_DISORDER_NS / 2;
        lab_fragment(&lab, &udp, false, 99, 400, 400, true);
        lab_flush(&lab);
        lab.now_ns -= DP_CLOCK_DISORDER_NS / 2;
        send_fragment(&udp, 1);
        lab_flush(&lab);
        lab.now_ns += DP_FRAGMENT_TIMEOUT_NS;
        send_fragment(&udp, part);
        lab_flush(&lab);
        cr_assert(lab_find(&lab, &portless, 17, &flow));
        cr_expect_eq(flow.hot.packets[0], 1);
        cr_expect_eq(lab_find(&lab, &udp, 17, &flow), part == 0);
        if (part == 0)
            cr_expect_eq(flow.hot.packets[0], 1);
        lab.now_ns += 2 * DP_FRAGMENT_TIMEOUT_NS;
        lab_age(&lab);
        cr_expect_eq(lab_stats(&lab).credited_fragments, credited + 2 + (part != 0));
        cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    }
    lab_finish(&lab);
}

Test(engine_limits, fragments_whose_flow_is_refused_are_counted)
{
    struct ft_key key;
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 1000, 40000);
    uint8_t shard = (lab_key(&udp, 17, &key), ft_shard_of(&key));
    for (unsigned i = 0; i < 60000; i++) {
        struct lab_flow other = flow_of(3, 2, (uint16_t)(1 + i), 80);
        lab_key(&other, 17, &key);
        if (ft_shard_of(&key) == shard)
            lab_udp(&lab, &other, false, "x", 1);
    }
    send_fragment(&udp, 1);
    send_fragment(&udp, 2);
    lab_flush(&lab);
    send_fragment(&udp, 0);
    lab_flush(&lab);
    cr_expect_eq(lab.last_outcome, DP_OUTCOME_flow_table_unanswered);
    cr_expect_eq(lab_stats(&lab).uncredited_fragments, 2);
    cr_expect_eq(lab_stats(&lab).credited_fragments, 0);
    lab_finish(&lab);
}

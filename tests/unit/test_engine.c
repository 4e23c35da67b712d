/*
 * The pipeline in the test's own thread: packets in, outcomes, flows, ledger and events out.
 */
#include "tests/unit/engine_util.h"

static struct lab lab;

TestSuite(engine, .timeout = 60);

static const char request[] = "GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: test/1\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 2\r\n\r\nok";

static struct lab_flow flow_of(uint8_t client, uint8_t server, uint16_t client_port, uint16_t server_port)
{
    return (struct lab_flow){.client = client,
                             .server = server,
                             .client_port = client_port,
                             .server_port = server_port,
                             .seq = {1000u * client_port, 77}};
}

/* ---- every kind of packet ends once ---- */

static void add_not_ip(void)
{
    struct frame f = {.size = 0};
    frame_ethernet(&f, 0x0806);
    frame_put_zeros(&f, 46);
    lab_add_bytes(&lab, f.bytes, f.size);
}

static void add_cut(const struct frame *frame, uint32_t size)
{
    lab_add_bytes(&lab, frame->bytes, size);
}

Test(engine, each_packet_of_any_kind_ends_once)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = flow_of(1, 2, 1000, 80), udp = flow_of(1, 2, 1000, 53), icmp = flow_of(3, 4, 0, 0);
    lab_handshake(&lab, &tcp);
    lab_udp(&lab, &udp, false, "hello", 5);
    struct frame f = lab_ip_frame(&icmp, false, 1);
    frame_put_zeros(&f, 8);
    lab_add(&lab, &f);
    f = lab_ip_frame(&icmp, false, 89);
    frame_put_zeros(&f, 24);
    lab_add(&lab, &f);
    add_not_ip();
    f = lab_ip_frame(&tcp, false, 6);
    frame_tcp(&f, 1000, 80, 1, TCP_ACK, 0);
    frame_end(&f);
    add_cut(&f, 10);                      /* short_ethernet */
    add_cut(&f, LAB_LINK_BYTES + 10);     /* short_ipv4 */
    add_cut(&f, LAB_LINK_BYTES + 20 + 4); /* short_tcp */
    f.bytes[LAB_LINK_BYTES] = 0x95;
    add_cut(&f, f.size); /* bad_ip_version */
    lab_flush(&lab);

    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_forwarded], 6);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_not_ip)], 1);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_short_ethernet)], 1);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_short_ipv4)], 1);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_short_tcp)], 1);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_bad_ip_version)], 1);
    cr_expect_eq(stats.flows_opened, 4);
    lab_expect_partition(&lab);

    /* ICMP and other protocols are judged at their first packet. */
    struct ft_flow flow;
    cr_assert(lab_find(&lab, &icmp, 1, &flow));
    cr_expect_str_eq(lab_protocol(&lab, &flow), "ICMP");
    cr_expect_eq(flow.cold.packets_to_verdict, 1);
    cr_expect_eq(flow.cold.payload_packets_to_verdict, 0);
    cr_expect_eq(flow.hot.timeout_class, FT_TIMEOUT_other);
    cr_assert(lab_find(&lab, &icmp, 89, &flow));
    cr_expect_eq(flow.cold.method, CL_METHOD_signature);
    lab_finish(&lab);
}

Test(engine, a_receive_only_link_sends_nothing_and_says_so)
{
    lab_config(&lab);
    lab.config.links[0].mode = DP_RECEIVE_ONLY;
    lab_start(&lab);
    struct lab_flow tcp = flow_of(1, 2, 1000, 80);
    lab_handshake(&lab, &tcp);
    add_not_ip();
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_receive_only], 3);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_forwarded], 0);
    cr_expect_eq(stats.outcome_packets[dp_outcome_of_parse(DP_PARSE_not_ip)], 1);
    lab_finish(&lab);
}

/* Takes packets as a port would: all but each third. */
static unsigned offered, taken;
static void transmit_some(void *context, struct dp_worker *worker, struct dp_burst *burst)
{
    (void)worker;
    cr_assert_eq(context, &lab);
    for (unsigned i = 0; i < burst->count; i++) {
        if (offered++ % 3 == 2) {
            burst->outcome[i] = DP_OUTCOME_tx_refused;
            continue;
        }
        rte_pktmbuf_free(burst->mbuf[i]);
        burst->mbuf[i] = NULL;
        taken++;
    }
}

Test(engine, what_the_port_does_not_take_is_dropped_and_freed)
{
    lab_config(&lab);
    lab_start(&lab);
    lab.engine->transmit = transmit_some;
    lab.engine->transmit_context = &lab;
    struct lab_flow tcp = flow_of(1, 2, 1000, 80);
    lab_handshake(&lab, &tcp);
    for (unsigned i = 0; i < 30; i++)
        lab_tcp_text(&lab, &tcp, i % 2, "x");
    add_not_ip();
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_tx_refused], 34 / 3);
    cr_expect_eq(taken, 34 - 34 / 3);
    lab_finish(&lab);
}

/* ---- a flow's life ---- */

Test(engine, a_flow_is_counted_by_direction_and_told_with_all_that_is_known)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow http = flow_of(9, 2, 1000, 80); /* the client has the higher address */
    struct ft_flow flow;
    lab_handshake(&lab, &http);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &http, 6, &flow));
    cr_expect_not(flow.hot.flags & FT_FLOW_DECIDED);
    cr_expect_eq(flow.hot.tcp_state, FT_TCP_ESTABLISHED);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    cr_expect_eq(lab_take_events(&lab), 0);
    lab.now_ns += LAB_SECOND_NS;
    lab_tcp_text(&lab, &http, false, request); /* names it; the response is looked at for its texts */
    lab_flush(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_tcp_text(&lab, &http, true, response);
    lab_flush(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    cr_assert_eq(lab_take_events(&lab), 1);
    cr_expect_eq(lab.events[0].event.kind, DP_EVENT_FLOW_START);
    cr_expect_eq(lab.events[0].event.now_ns, lab.now_ns);
    cr_expect_not(lab.events[0].has_texts); /* they go with the end */
    lab.now_ns += LAB_SECOND_NS;
    for (unsigned i = 0; i < 50; i++) /* packets of a judged flow */
        lab_tcp(&lab, &http, i % 5 != 0, TCP_ACK, request, i);
    lab_flush(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_goodbye(&lab, &http);
    lab_flush(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab.now_ns += 60 * LAB_SECOND_NS;
    lab_age(&lab);
    cr_assert_eq(lab_take_events(&lab), 1);

    const struct lab_event *end = &lab.events[0];
    const struct ft_flow *f = &end->event.flow;
    cr_expect_eq(end->event.kind, DP_EVENT_FLOW_END);
    cr_expect_eq(end->event.close, DP_CLOSE_FIN);
    cr_expect_eq(f->cold.first_ns, LAB_START_NS);
    cr_expect_eq(f->hot.last_ns, LAB_START_NS + 2 * LAB_SECOND_NS);
    cr_expect_str_eq(lab_protocol(&lab, f), "HTTP");
    cr_expect_eq(f->cold.method, CL_METHOD_inspector);
    cr_expect_eq(f->cold.packets_to_verdict, 4);
    cr_expect_eq(f->cold.payload_packets_to_verdict, 1);
    for (unsigned d = 0; d < 2; d++) {
        cr_expect_eq(f->hot.packets[d], http.packets[d]);
        cr_expect_eq(f->hot.bytes[d], http.bytes[d]);
        cr_expect_eq(ft_flow_packets_high(&f->hot, &f->cold, d), 0,
                     "not what stood there while the flow was undecided");
    }
    struct ft_key key;
    cr_expect_eq(f->hot.flags & FT_FLOW_CLIENT_ENDPOINT, lab_key(&http, 6, &key));
    cr_expect_not(memcmp(&f->key, &key, sizeof key));
    cr_expect_eq(f->cold.uid >> 48, lab.config.creator);
    lab_expect_text(end, CL_TEXT_host, "www.example.com");
    lab_expect_text(end, CL_TEXT_url, "/index.html");
    lab_expect_text(end, CL_TEXT_user_agent, "test/1");
    lab_expect_text(end, CL_TEXT_server, "unit");
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.closes[DP_CLOSE_FIN], 1);
    cr_expect_eq(stats.verdicts[CL_METHOD_inspector], 1);
    cr_expect_eq(stats.flows_started_before, 0);
    lab_finish(&lab);
}

Test(engine, usage_goes_up_and_down_by_the_subscribers_side)
{
    lab_config(&lab);
    lab.config.link_count = 2;
    lab_start(&lab);
    struct lab_flow out = flow_of(1, 2, 1000, 80), in = flow_of(3, 4, 1000, 80);
    struct dp_usage usage[DP_SERVICES_MAX];
    lab.side = DP_SUBSCRIBER;
    lab_handshake(&lab, &out);
    lab_tcp_text(&lab, &out, false, request);
    lab_tcp_text(&lab, &out, true, response);
    for (unsigned i = 0; i < 20; i++)
        lab_tcp(&lab, &out, i % 4 == 0, TCP_ACK, request, i);
    lab_flush(&lab);
    lab.side = DP_NETWORK; /* the first packet comes from the network: a subscriber's server */
    lab.link = 1;
    lab_handshake(&lab, &in);
    lab_tcp_text(&lab, &in, false, request);
    lab_tcp_text(&lab, &in, true, response);
    for (unsigned i = 0; i < 20; i++)
        lab_tcp(&lab, &in, i % 4 == 0, TCP_ACK, request, i);
    lab_flush(&lab);
    unsigned service = 0;
    for (unsigned link = 0; link < 2; link++) {
        const struct lab_flow *flow = link ? &in : &out;
        dp_engine_usage(lab.engine, link, usage);
        for (service = 0; service < DP_SERVICES_MAX && !usage[service].sessions; service++)
            ;
        cr_assert_lt(service, DP_SERVICES_MAX);
        cr_expect_eq(usage[service].bytes[0], flow->bytes[link], "link %u", link);
        cr_expect_eq(usage[service].bytes[1], flow->bytes[!link], "link %u", link);
        cr_expect_eq(usage[service].sessions, 1);
        cr_expect_eq(usage[service].concurrent_sessions, 1);
        cr_expect_eq(usage[service].duration_ns, 0);
    }
    lab.now_ns += 5 * LAB_SECOND_NS;
    lab_goodbye(&lab, &in);
    lab_flush(&lab);
    lab_close_all(&lab);
    dp_engine_usage(lab.engine, 1, usage);
    cr_expect_eq(usage[service].bytes[0], in.bytes[1]);
    cr_expect_eq(usage[service].bytes[1], in.bytes[0]);
    cr_expect_eq(usage[service].concurrent_sessions, 0);
    cr_expect_eq(usage[service].duration_ns, 5 * LAB_SECOND_NS);
    lab_finish(&lab);
}

Test(engine, subscriber_nets_say_who_is_who_where_no_side_does)
{
    static const struct {
        uint8_t client, server;
        bool is_v6, subscriber_is_server;
    } cases[] = {
        {.client = 1, .server = 200},
        {.client = 200, .server = 1, .subscriber_is_server = true},
        {.client = 1, .server = 2},
        {.client = 200, .server = 201},
        {.client = 127, .server = 128},
        {.client = 128, .server = 127, .subscriber_is_server = true},
        {.client = 200, .server = 7, .is_v6 = true, .subscriber_is_server = true},
        {.client = 200, .server = 8, .is_v6 = true},
    };
    lab_config(&lab);
    lab.side = DP_SIDES;
    lab.config.subscriber_net_count = 2;
    lab.config.subscriber_nets[0] = (struct dp_subscriber_net){.address = {10, 0, 0, 0}, .bits = 25};
    lab.config.subscriber_nets[1] =
        (struct dp_subscriber_net){.address = {0x20, 1, 0xd, 0xb8}, .bits = 125, .is_v6 = true};
    lab_start(&lab);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lab_flow udp = flow_of(cases[i].client, cases[i].server, 1000, 2000);
        struct ft_flow flow;
        udp.is_v6 = cases[i].is_v6;
        lab_udp(&lab, &udp, false, "x", 1);
        lab_flush(&lab);
        cr_assert(lab_find(&lab, &udp, 17, &flow));
        cr_expect_eq((bool)(flow.hot.flags & FT_FLOW_SUBSCRIBER_IS_SERVER), cases[i].subscriber_is_server, "case %u",
                     i);
    }
    lab_finish(&lab);
}

Test(engine, every_timeout_class_ends_a_flow_at_its_time_with_its_reason)
{
    enum { OPENING, ESTABLISHED, CLOSING, CLOSED, RESET, BEFORE, UNANSWERED, ANSWERED, OTHER, CASES };
    static const uint8_t classes[CASES] = {
        FT_TIMEOUT_tcp_opening,    FT_TIMEOUT_tcp_established, FT_TIMEOUT_tcp_closing,
        FT_TIMEOUT_tcp_closed,     FT_TIMEOUT_tcp_closed,      FT_TIMEOUT_tcp_started_before,
        FT_TIMEOUT_udp_unanswered, FT_TIMEOUT_udp_answered,    FT_TIMEOUT_other};
    static const uint8_t closes[CASES] = {
        [CLOSED] = DP_CLOSE_FIN,       [RESET] = DP_CLOSE_RST,     [OPENING] = DP_CLOSE_AGED,
        [ESTABLISHED] = DP_CLOSE_AGED, [CLOSING] = DP_CLOSE_AGED,  [BEFORE] = DP_CLOSE_AGED,
        [UNANSWERED] = DP_CLOSE_AGED,  [ANSWERED] = DP_CLOSE_AGED, [OTHER] = DP_CLOSE_AGED};
    struct lab_flow flows[CASES];
    lab_config(&lab);
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        lab.config.flow_table.timeout_ns[i] = (10 + 10 * i) * LAB_SECOND_NS;
    lab_start(&lab);
    for (unsigned i = 0; i < CASES; i++)
        flows[i] = flow_of(1, 2, (uint16_t)(1000 + i), (uint16_t)(i == OTHER ? 0 : 40000));
    for (unsigned i = ESTABLISHED; i <= RESET; i++)
        lab_handshake(&lab, &flows[i]);
    lab_tcp(&lab, &flows[OPENING], false, TCP_SYN, NULL, 0);
    lab_tcp(&lab, &flows[CLOSING], true, TCP_FIN, NULL, 0);
    lab_goodbye(&lab, &flows[CLOSED]);
    lab_tcp(&lab, &flows[RESET], true, TCP_RST, NULL, 0);
    lab_tcp(&lab, &flows[BEFORE], false, TCP_ACK, "x", 1);
    lab_udp(&lab, &flows[UNANSWERED], false, "x", 1);
    lab_udp(&lab, &flows[ANSWERED], false, "x", 1);
    lab_udp(&lab, &flows[ANSWERED], true, "x", 1);
    flows[OTHER].client_port = 0;
    struct frame f = lab_ip_frame(&flows[OTHER], false, 47);
    frame_put_zeros(&f, 20);
    lab_add(&lab, &f);
    lab_flush(&lab);
    lab_take_events(&lab);
    uint64_t begin_ns = lab.now_ns;
    for (unsigned c = 0; c < CASES; c++) {
        struct ft_flow flow;
        static const uint8_t protos[CASES] = {6, 6, 6, 6, 6, 6, 17, 17, 47};
        cr_assert(lab_find(&lab, &flows[c], protos[c], &flow), "case %u", c);
        cr_expect_eq(flow.hot.timeout_class, classes[c], "case %u: class %u", c, flow.hot.timeout_class);
    }
    cr_expect_eq(lab_stats(&lab).flows_started_before, 1);
    for (unsigned class = 0; class < FT_TIMEOUT_COUNT; class ++) {
        lab.now_ns = begin_ns + (10 + 10 * class) * LAB_SECOND_NS;
        lab_age(&lab);
        cr_expect_eq(lab_take_events(&lab), 0, "class %u ends early", class);
        lab.now_ns += 5 * LAB_SECOND_NS;
        lab_age(&lab);
        unsigned ends = 0;
        lab_take_events(&lab);
        for (unsigned i = 0; i < lab.event_count; i++) {
            const struct dp_event *event = &lab.events[i].event;
            if (event->kind != DP_EVENT_FLOW_END)
                continue;
            for (unsigned c = 0; c < CASES; c++) {
                struct ft_key key;
                lab_key(&flows[c], event->flow.key.ip_proto, &key);
                if (memcmp(&key, &event->flow.key, sizeof key))
                    continue;
                cr_expect_eq(classes[c], class);
                cr_expect_eq(event->close, closes[c], "case %u: %s", c, dp_close_name(event->close));
                ends++;
            }
        }
        cr_expect_eq(ends, class == FT_TIMEOUT_tcp_closed ? 2 : 1, "class %u: %u ended", class, ends);
    }
    lab_finish(&lab);
}

/* With few slots a shard has fewer than a portion of ageing; the round takes no longer for that. */
Test(engine, ageing_comes_round_in_its_time)
{
    for (unsigned large = 0; large < 2; large++) {
        if (!large)
            lab_config(&lab);
        lab.config.flow_table.capacity_flows = large ? 1 << 18 : FT_CAPACITY_FLOWS_MIN;
        lab.config.sweep_slots = 64;
        if (!large) {
            lab_start(&lab);
        } else {
            char error[256];
            lab.engine = dp_engine_create(&lab.config, error, sizeof error);
            cr_assert(lab.engine, "%s", error);
            lab.sent_packets = lab.sent_bytes = 0;
        }
        for (unsigned i = 0; i < 500; i++) {
            struct lab_flow udp = flow_of(1, 2, (uint16_t)(1000 + i), 40000);
            lab_udp(&lab, &udp, false, "x", 1);
            lab_udp(&lab, &udp, true, "x", 1);
        }
        lab_flush(&lab);
        uint64_t due_ns = lab.now_ns + lab.config.flow_table.timeout_ns[FT_TIMEOUT_udp_answered];
        uint64_t end_ns = due_ns + FT_SWEEP_LATE_NS + DP_SWEEP_ROUND_NS + LAB_SECOND_NS;
        for (; lab.now_ns < due_ns; lab.now_ns += LAB_SECOND_NS / 500)
            dp_worker_housekeeping(lab.engine->workers[0], lab.now_ns);
        cr_expect_eq(lab_stats(&lab).flows_closed, 0);
        for (; lab.now_ns < end_ns; lab.now_ns += LAB_SECOND_NS / 500)
            dp_worker_housekeeping(lab.engine->workers[0], lab.now_ns);
        cr_expect_eq(lab_stats(&lab).flows_closed, 500, "%lu closed", lab_stats(&lab).flows_closed);
        if (!large)
            dp_engine_destroy(lab.engine);
    }
    lab_finish(&lab);
}

Test(engine, a_flow_begins_anew_within_a_burst)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = flow_of(1, 2, 1000, 80), other = flow_of(5, 6, 1000, 80);
    lab_handshake(&lab, &tcp);
    lab_tcp_text(&lab, &tcp, false, request);
    lab_goodbye(&lab, &tcp);
    lab_udp(&lab, &other, false, "x", 1);
    struct lab_flow again = tcp;
    memset(again.packets, 0, sizeof again.packets);
    memset(again.bytes, 0, sizeof again.bytes);
    lab_handshake(&lab, &again);
    lab_tcp_text(&lab, &again, false, request);
    lab_udp(&lab, &other, true, "x", 1);
    lab_flush(&lab);
    struct ft_flow flow;
    cr_assert(lab_find(&lab, &tcp, 6, &flow));
    for (unsigned d = 0; d < 2; d++) {
        cr_expect_eq(flow.hot.packets[d], again.packets[d]);
        cr_expect_eq(flow.hot.bytes[d], again.bytes[d]);
    }
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_take_events(&lab);
    const struct lab_event *end = lab_event_of(&lab, DP_EVENT_FLOW_END, 0);
    cr_assert(end);
    cr_expect_eq(end->event.close, DP_CLOSE_FIN);
    for (unsigned d = 0; d < 2; d++) {
        cr_expect_eq(end->event.flow.hot.packets[d], tcp.packets[d]);
        cr_expect_eq(end->event.flow.hot.bytes[d], tcp.bytes[d]);
    }
    cr_expect_eq(lab_stats(&lab).flows_opened, 3);
    lab_finish(&lab);
}

/* While a reader holds the table a closed flow's slot is not used again: what is found in it is not the new flow. */
Test(engine, packets_after_one_that_begins_anew_go_to_the_new_flow)
{
    lab_config(&lab);
    lab_start(&lab);
    int reader = ft_reader_register(lab.engine->flows);
    cr_assert_geq(reader, 0);
    struct lab_flow tcp = flow_of(1, 2, 1000, 80);
    lab_handshake(&lab, &tcp);
    lab_goodbye(&lab, &tcp);
    lab_flush(&lab);
    ft_reader_online(lab.engine->flows, reader);
    struct lab_flow again = flow_of(1, 2, 1000, 80);
    lab_handshake(&lab, &again);
    lab_tcp_text(&lab, &again, false, request);
    lab_flush(&lab);
    struct ft_flow flow;
    cr_assert(lab_find(&lab, &tcp, 6, &flow));
    for (unsigned d = 0; d < 2; d++) {
        cr_expect_eq(flow.hot.packets[d], again.packets[d], "%u packets", flow.hot.packets[d]);
        cr_expect_eq(flow.hot.bytes[d], again.bytes[d]);
    }
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    ft_reader_offline(lab.engine->flows, reader);
    ft_reader_unregister(lab.engine->flows, reader);
    lab_finish(&lab);
}

Test(engine, an_expired_flow_that_is_met_again_is_two_flows)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 1000, 40000), one_fin = flow_of(1, 2, 1001, 40000);
    lab_udp(&lab, &udp, false, "x", 1);
    lab_handshake(&lab, &one_fin);
    lab_tcp(&lab, &one_fin, false, TCP_FIN, NULL, 0);
    lab_flush(&lab);
    lab.now_ns += lab.config.flow_table.timeout_ns[FT_TIMEOUT_udp_unanswered];
    lab_udp(&lab, &udp, true, "y", 1); /* in time, to the nanosecond */
    lab_tcp(&lab, &one_fin, false, TCP_SYN, NULL, 0);
    lab_flush(&lab);
    lab_take_events(&lab);
    cr_assert_eq(lab.event_count, 2, "%u", lab.event_count);
    cr_expect_eq(lab.events[1].event.close, DP_CLOSE_FIN, "not %s", dp_close_name(lab.events[1].event.close));
    cr_expect_eq(lab.events[1].event.flow.key.ip_proto, 6);
    lab.now_ns += lab.config.flow_table.timeout_ns[FT_TIMEOUT_udp_answered] + 1;
    lab_udp(&lab, &udp, true, "z", 1); /* too late: a new flow, whose client is the old one's server */
    lab_udp(&lab, &udp, false, "z", 1);
    lab_flush(&lab);
    lab_take_events(&lab);
    const struct lab_event *end = lab_event_of(&lab, DP_EVENT_FLOW_END, 0);
    cr_assert(end);
    cr_expect_eq(end->event.close, DP_CLOSE_AGED);
    cr_expect_eq(end->event.flow.hot.packets[0], 1);
    cr_expect_eq(end->event.flow.hot.packets[1], 1);
    struct ft_flow flow;
    struct ft_key key;
    cr_assert(lab_find(&lab, &udp, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], 1);
    cr_expect_eq(flow.hot.packets[1], 1);
    cr_expect_neq(flow.hot.flags & FT_FLOW_CLIENT_ENDPOINT, lab_key(&udp, 17, &key));
    cr_expect_eq(lab_stats(&lab).flows_opened, 4);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_finish(&lab);
}

Test(engine, joined_in_the_middle_is_marked_and_judged_as_established_when_both_sides_speak)
{
    static const struct {
        bool started_before;
        const char *protocol;
        unsigned payload_packets;
    } expected[] = {{true, "Generic TCP", 2},
                    {true, "Generic Non-Established TCP", 0},
                    {false, "Generic Non-Established TCP", 0},
                    {true, "Generic TCP", 1}};
    struct lab_flow flows[4];
    lab_config(&lab);
    lab_start(&lab);
    for (unsigned i = 0; i < 4; i++)
        flows[i] = flow_of(1, 2, (uint16_t)(60000 + i), 40001);
    lab_tcp_text(&lab, &flows[0], false, "\1\2\3"); /* both */
    lab_tcp_text(&lab, &flows[0], true, "\4\5\6");
    lab_tcp(&lab, &flows[1], false, TCP_ACK, NULL, 0); /* one side */
    lab_tcp(&lab, &flows[2], false, TCP_SYN, NULL, 0); /* its beginning */
    lab_tcp_text(&lab, &flows[3], false, "\1\2\3");    /* both, of one the end */
    lab_tcp(&lab, &flows[3], true, TCP_FIN, NULL, 0);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).flows_started_before, 3);
    lab_close_all(&lab);
    lab_take_events(&lab);
    unsigned seen = 0;
    for (unsigned n = 0; n < lab.event_count; n++) {
        const struct ft_flow *flow = &lab.events[n].event.flow;
        if (lab.events[n].event.kind != DP_EVENT_FLOW_END)
            continue;
        unsigned client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
        unsigned i = rte_be_to_cpu_16(flow->key.port_be16[client]) - 60000u;
        cr_assert_lt(i, 4);
        cr_expect_eq(lab.events[n].event.close, DP_CLOSE_END);
        cr_expect_eq((bool)(flow->hot.flags & FT_FLOW_STARTED_BEFORE), expected[i].started_before, "flow %u", i);
        cr_expect_str_eq(lab_protocol(&lab, flow), expected[i].protocol, "flow %u", i);
        cr_expect_eq(flow->cold.payload_packets_to_verdict, expected[i].payload_packets, "flow %u", i);
        seen++;
    }
    cr_expect_eq(seen, 4);
    lab_finish(&lab);
}

/* ---- the ledger ---- */

/* Random traffic of many flows in random order, with a look at the ledger after each burst. */
Test(engine, the_ledger_is_right_at_every_moment)
{
    enum { FLOWS = 60, BURSTS = 400 };
    static const char *const payloads[] = {request, "SSH-2.0-unit_test\r\n", "\1\2\3\4", "EHLO unit.example\r\n", "x"};
    static struct lab_flow flows[FLOWS];
    lab_config(&lab);
    lab_start(&lab);
    srand(7);
    for (unsigned i = 0; i < FLOWS; i++) {
        flows[i] = flow_of((uint8_t)(1 + rand() % 9), (uint8_t)(10 + i % 7), (uint16_t)(1000 + i), 80);
        flows[i].is_v6 = i % 5 == 0;
    }
    for (unsigned b = 0; b < BURSTS; b++) {
        for (int n = rand() % (int)DP_BURST_MAX; n >= 0; n--) {
            struct lab_flow *flow = &flows[rand() % FLOWS];
            const char *payload = payloads[rand() % 5];
            bool from_server = rand() % 2;
            lab.side = from_server;
            switch (rand() % 8) {
            case 0:
                lab_tcp(&lab, flow, from_server, TCP_SYN, NULL, 0);
                break;
            case 1:
                lab_tcp(&lab, flow, from_server, rand() % 4 ? TCP_FIN : TCP_RST, NULL, 0);
                break;
            case 2:
                lab_udp(&lab, flow, from_server, payload, (uint32_t)strlen(payload));
                break;
            default:
                lab_tcp_text(&lab, flow, from_server, payload);
            }
        }
        lab_flush(&lab);
        lab.now_ns += (uint64_t)(rand() % 8) * LAB_SECOND_NS;
        if (b % 3 == 0)
            lab_age(&lab);
        lab_take_events(&lab);
        cr_assert_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes, "burst %u", b);
    }
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_gt(stats.flows_opened, 200);
    cr_expect_gt(stats.closes[DP_CLOSE_FIN], 10);
    cr_expect_gt(stats.closes[DP_CLOSE_RST], 10);
    cr_expect_gt(stats.closes[DP_CLOSE_AGED], 10);
    lab_expect_partition(&lab);
    lab_close_all(&lab);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_finish(&lab);
}

/* Sum of end events of the same traffic: per direction, nothing is lost or doubled between flows. */
Test(engine, events_of_ended_flows_carry_all_packets_and_bytes)
{
    static struct lab_flow flows[40];
    uint64_t sent[2][2] = {{0}}, told[2][2] = {{0}};
    lab_config(&lab);
    lab.config.flow_events = false;
    lab_start(&lab);
    srand(3);
    for (unsigned i = 0; i < 40; i++)
        flows[i] = flow_of(1, 2, (uint16_t)(1000 + i), 80);
    for (unsigned n = 0; n < 3000; n++) {
        struct lab_flow *flow = &flows[rand() % 40];
        static const uint8_t flags[] = {TCP_SYN, TCP_ACK, TCP_ACK, TCP_ACK, TCP_ACK, TCP_FIN, TCP_RST};
        lab_tcp(&lab, flow, false, flags[rand() % 7], "abcdef", (uint32_t)(rand() % 7));
        if (rand() % 3)
            lab_tcp(&lab, flow, true, TCP_ACK, "0123456789", (uint32_t)(rand() % 11));
        if (rand() % 50 == 0)
            lab.now_ns += 20 * LAB_SECOND_NS;
    }
    lab_flush(&lab);
    lab_close_all(&lab);
    lab_take_events(&lab);
    for (unsigned i = 0; i < lab.event_count; i++) {
        const struct ft_flow *flow = &lab.events[i].event.flow;
        cr_assert_eq(lab.events[i].event.kind, DP_EVENT_FLOW_END);
        struct ft_key key;
        /* a flow may have begun with the server's packet */
        bool swapped = lab_key(&flows[0], 6, &key) != (flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT);
        for (unsigned d = 0; d < 2; d++) {
            told[d ^ swapped][0] += flow->hot.packets[d];
            told[d ^ swapped][1] += flow->hot.bytes[d];
        }
    }
    for (unsigned i = 0; i < 40; i++)
        for (unsigned d = 0; d < 2; d++) {
            sent[d][0] += flows[i].packets[d];
            sent[d][1] += flows[i].bytes[d];
        }
    for (unsigned d = 0; d < 2; d++) {
        cr_expect_eq(told[d][0], sent[d][0], "%lu packets of %lu", told[d][0], sent[d][0]);
        cr_expect_eq(told[d][1], sent[d][1], "%lu bytes of %lu", told[d][1], sent[d][1]);
    }
    cr_expect_gt(lab.event_count, 100);
    lab_finish(&lab);
}

/* Judged by its budget, then answered: the flow of a test of judged flows. */
static struct ft_hot *judged_udp(struct lab_flow *udp)
{
    for (unsigned i = 0; i < 8; i++)
        lab_udp(&lab, udp, false, "\1\2\3", 3);
    lab_flush(&lab);
    struct ft_hot *hot = ft_hot(lab.engine->flows, lab.last_slot);
    cr_assert(hot->flags & FT_FLOW_DECIDED);
    cr_expect_eq(hot->timeout_class, FT_TIMEOUT_udp_unanswered);
    lab_udp(&lab, udp, true, "\1\2\3", 3);
    lab_flush(&lab);
    cr_expect_eq(hot->timeout_class, FT_TIMEOUT_udp_answered);
    cr_expect(hot->flags & FT_FLOW_ANSWERED);
    return hot;
}

Test(engine, counts_pass_32_bits)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 60000, 61000);
    struct ft_hot *hot = judged_udp(&udp);
    struct ft_flow flow;
    hot->packets[0] = UINT32_MAX - 1;
    hot->packets[1] = UINT32_MAX;
    for (unsigned i = 0; i < 3; i++)
        lab_udp(&lab, &udp, false, "x", 1);
    lab_udp(&lab, &udp, true, "x", 1);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &udp, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], 1);
    cr_expect_eq(flow.cold.packets_high[0], 1);
    cr_expect_eq(flow.hot.packets[1], 0);
    cr_expect_eq(flow.cold.packets_high[1], 1);
    lab_finish(&lab);
}

Test(engine, a_judged_flow_that_expired_is_not_met_again)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow udp = flow_of(1, 2, 60000, 61000);
    uint64_t timeout_ns = lab.config.flow_table.timeout_ns[FT_TIMEOUT_udp_answered];
    judged_udp(&udp);
    for (unsigned i = 0; i < 3; i++) { /* each packet renews it */
        lab.now_ns += timeout_ns;
        lab_udp(&lab, &udp, i % 2, "x", 1);
        lab_flush(&lab);
        cr_expect_eq(lab_stats(&lab).flows_opened, 1);
    }
    lab.now_ns += timeout_ns + 1;
    lab_udp(&lab, &udp, false, "x", 1);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).flows_opened, 2);
    cr_expect_eq(lab_stats(&lab).closes[DP_CLOSE_AGED], 1);
    cr_expect_eq(lab_ledger_bytes(&lab), lab.sent_ip_bytes);
    lab_finish(&lab);
}

/* Data in SYN and SYN+ACK: judged before the handshake is done, which the client's ACK still does. */
Test(engine, a_flow_judged_in_its_handshake_is_established_by_the_ack)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = flow_of(1, 2, 60000, 80);
    struct ft_flow flow;
    lab_tcp(&lab, &tcp, false, TCP_SYN, request, sizeof request - 1);
    lab_tcp(&lab, &tcp, true, TCP_SYN | TCP_ACK, response, sizeof response - 1);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &tcp, 6, &flow));
    cr_expect(flow.hot.flags & FT_FLOW_DECIDED);
    cr_expect_eq(flow.hot.tcp_state, FT_TCP_SYN_RECEIVED);
    lab_tcp(&lab, &tcp, false, TCP_ACK, NULL, 0);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &tcp, 6, &flow));
    cr_expect_eq(flow.hot.tcp_state, FT_TCP_ESTABLISHED);
    cr_expect_eq(flow.hot.timeout_class, FT_TIMEOUT_tcp_established);
    lab_finish(&lab);
}

/* ---- two bursts in flight ---- */

Test(engine, a_held_burst_is_as_if_it_came_later)
{
    lab_config(&lab);
    lab_start(&lab);
    struct dp_worker *worker = lab.engine->workers[0];
    struct lab_flow a = flow_of(1, 2, 1000, 80), b = flow_of(1, 2, 1001, 80);
    struct ft_flow flow;
    dp_worker_finish(worker); /* nothing to finish */
    lab.ahead = true;
    lab_tcp(&lab, &a, false, TCP_SYN, NULL, 0);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).received_packets, 1);
    cr_expect_not(lab_find(&lab, &a, 6, &flow));
    lab_tcp(&lab, &b, false, TCP_SYN, NULL, 0);
    lab_flush(&lab);
    cr_expect(lab_find(&lab, &a, 6, &flow));
    cr_expect_not(lab_find(&lab, &b, 6, &flow));
    cr_expect_eq(lab_stats(&lab).outcome_packets[DP_OUTCOME_forwarded], 1);
    dp_worker_finish(worker);
    cr_expect(lab_find(&lab, &b, 6, &flow));
    dp_worker_finish(worker);
    cr_expect_eq(lab_stats(&lab).received_packets, 2);
    cr_expect_eq(lab_stats(&lab).outcome_packets[DP_OUTCOME_forwarded], 2);
    lab_finish(&lab);
}

/* Flows that begin, are judged, end and begin anew; fragments before their first; what is not IP. */
static void send_of_all(bool ahead)
{
    lab_config(&lab);
    lab.ahead = ahead;
    lab_start(&lab);
    for (unsigned round = 0; round < 40; round++) {
        struct lab_flow tcp = flow_of(1, 2, (uint16_t)(1000 + round % 7), 80), udp = flow_of(3, 4, 2000, 3000);
        lab_handshake(&lab, &tcp);
        lab_tcp_text(&lab, &tcp, false, request);
        lab_tcp_text(&lab, &tcp, true, response);
        for (unsigned i = 0; i < round; i++)
            lab_tcp_text(&lab, &tcp, i % 3 == 0, "and more");
        lab_fragment(&lab, &udp, false, (uint16_t)round, 800, 200, false);
        if (round % 4 == 0)
            add_not_ip();
        if (round % 5 == 0)
            lab_flush(&lab);
        lab_fragment(&lab, &udp, false, (uint16_t)round, 0, 800, true);
        if (round % 2)
            lab_goodbye(&lab, &tcp);
        lab.now_ns += LAB_SECOND_NS / 10;
    }
    lab_flush(&lab);
    dp_worker_finish(lab.engine->workers[0]);
    lab_close_all(&lab);
}

Test(engine, a_held_burst_changes_nothing)
{
    struct dp_stats stats[2];
    struct lab_event *events[2];
    unsigned counts[2];
    for (unsigned ahead = 0; ahead < 2; ahead++) {
        send_of_all(ahead);
        stats[ahead] = lab_stats(&lab);
        counts[ahead] = lab_take_events(&lab);
        events[ahead] = calloc(counts[ahead], sizeof *events[ahead]);
        memcpy(events[ahead], lab.events, counts[ahead] * sizeof *events[ahead]);
        lab_expect_partition(&lab);
        lab_expect_all_returned(&lab);
        lab_clear(&lab);
    }
    dp_eal_stop();
    cr_expect_eq(memcmp(&stats[0], &stats[1], sizeof stats[0]), 0);
    cr_expect_gt(stats[0].closes[DP_CLOSE_FIN], 5);
    cr_expect_gt(stats[0].credited_fragments, 5);
    cr_assert_eq(counts[0], counts[1]);
    for (unsigned i = 0; i < counts[0]; i++) {
        const struct dp_event *one = &events[0][i].event, *two = &events[1][i].event;
        cr_expect_eq(one->kind, two->kind);
        cr_expect_eq(one->now_ns, two->now_ns);
        cr_expect_eq(memcmp(&one->flow.key, &two->flow.key, sizeof one->flow.key), 0);
        cr_expect_eq(memcmp(one->flow.hot.packets, two->flow.hot.packets, sizeof one->flow.hot.packets), 0);
        cr_expect_eq(memcmp(one->flow.hot.bytes, two->flow.hot.bytes, sizeof one->flow.hot.bytes), 0);
        cr_expect_eq(one->flow.cold.uid, two->flow.cold.uid);
    }
    free(events[0]);
    free(events[1]);
}

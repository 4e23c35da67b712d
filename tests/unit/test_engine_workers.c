/*
 * Several workers in one thread: the test hands packets to whom it likes and says when rings are emptied. What comes out must
 * be what one worker says.
 */
#include "tests/unit/engine_util.h"

static struct lab lab;

TestSuite(engine_workers, .timeout = 120);

/* ---- the same traffic through one, two, four workers ---- */

enum { FLOWS = 50, PACKETS = 4000, FLOWS_TOLD_MAX = 4000 };

/* What is told of a flow, comparable as bytes. */
struct told {
    uint64_t uid, first_ns, last_ns, packets[2], bytes[2];
    struct ft_key key;
    uint16_t flags, protocol, name;
    uint8_t method, close, packets_to_verdict, payload_packets_to_verdict;
    struct dp_attributes texts;
};

struct outcome {
    unsigned count;
    struct told told[FLOWS_TOLD_MAX];
    uint64_t received_packets, forwarded_packets, flows_opened, handed_off, credited_fragments;
    struct dp_usage usage[DP_SERVICES_MAX];
};

enum spread { RIGHT, WRONG, RANDOM };

static int by_uid(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

static void keep(struct outcome *outcome)
{
    for (unsigned i = 0; i < lab.event_count; i++) {
        const struct dp_event *event = &lab.events[i].event;
        if (event->kind != DP_EVENT_FLOW_END)
            continue;
        cr_assert_lt(outcome->count, FLOWS_TOLD_MAX);
        struct told *told = &outcome->told[outcome->count++];
        const struct ft_flow *flow = &event->flow;
        *told = (struct told){.uid = flow->cold.uid,
                              .first_ns = flow->cold.first_ns,
                              .last_ns = flow->hot.last_ns,
                              .packets = {flow->hot.packets[0], flow->hot.packets[1]},
                              .bytes = {flow->hot.bytes[0], flow->hot.bytes[1]},
                              .flags = flow->hot.flags,
                              .protocol = flow->cold.protocol,
                              .name = flow->hot.name,
                              .method = flow->cold.method,
                              .close = event->close,
                              .packets_to_verdict = (uint8_t)flow->cold.packets_to_verdict,
                              .payload_packets_to_verdict = flow->cold.payload_packets_to_verdict};
        told->key = flow->key;
        for (unsigned t = 0; lab.events[i].has_texts && t < CL_TEXT_COUNT; t++) {
            unsigned size;
            const char *text = dp_attributes_text(&lab.events[i].attributes, (enum cl_text)t, &size);
            memcpy(told->texts.text + (text - lab.events[i].attributes.text), text, size);
            told->texts.size_bytes[t] = lab.events[i].attributes.size_bytes[t];
        }
    }
}

/* The packet at the end of the burst goes to the worker that the spread says. */
static void choose_worker(enum spread spread, const struct ft_key *key, bool is_fragment)
{
    struct ft_key portless = *key;
    portless.port_be16[0] = portless.port_be16[1] = 0;
    unsigned owner = lab.engine->owner[ft_shard_of(is_fragment ? &portless : key)];
    lab.worker = spread == RIGHT   ? owner
                 : spread == WRONG ? (owner + 1) % lab.config.worker_count
                                   : (unsigned)rand() % lab.config.worker_count;
}

/* Three fragments in any order; one in four lacks its first. */
static void send_datagram(struct lab_flow *flow, bool from_server, uint16_t id, unsigned random)
{
    for (unsigned i = 0; i < 3; i++) {
        unsigned part = random % 2 ? (random / 2 + i) % 3 : (random / 2 + 2 * i) % 3;
        if (part == 0 && random / 16 % 4 == 0)
            continue;
        lab_fragment(&lab, flow, from_server, id, part * 400, 400, part < 2);
        lab_flush(&lab);
        lab_hand_over(&lab); /* between two fragments of a datagram nothing may be on its way, see replay.h */
    }
}

static void send_one(struct lab_flow *flows, enum spread spread, unsigned random, unsigned packet)
{
    static const char *const payloads[] = {"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n", "SSH-2.0-unit\r\n", "\1\2\3\4",
                                           "x"};
    struct lab_flow *flow = &flows[random % FLOWS];
    const char *payload = payloads[random / 64 % 4];
    bool from_server = random / 256 % 2, is_udp = random % FLOWS % 3 == 0;
    unsigned what = random / 512 % 12;
    struct ft_key key;
    lab_key(flow, is_udp ? 17 : 6, &key);
    bool is_fragment = is_udp && what < 4;
    choose_worker(spread, &key, is_fragment);
    if (is_fragment)
        send_datagram(flow, from_server, (uint16_t)packet, random / 8192);
    else if (is_udp)
        lab_udp(&lab, flow, from_server, payload, (uint32_t)strlen(payload));
    else if (what == 0)
        lab_tcp(&lab, flow, from_server, TCP_SYN, NULL, 0);
    else if (what == 1)
        lab_tcp(&lab, flow, from_server, random / 8192 % 3 ? TCP_FIN : TCP_RST, NULL, 0);
    else
        lab_tcp_text(&lab, flow, from_server, payload);
    lab_flush(&lab);
    lab_hand_over(&lab);
}

static void run(unsigned workers, enum spread spread, struct outcome *outcome)
{
    static struct lab_flow flows[FLOWS];
    char error[1024];
    struct rte_mempool *pool = lab.pool;
    struct lab_event *events = lab.events;
    lab_config(&lab);
    lab.pool = pool;
    lab.events = events;
    lab.number = 1;
    lab.config.offline = true;
    lab.config.worker_count = workers;
    lab.engine = dp_engine_create(&lab.config, error, sizeof error);
    cr_assert(lab.engine, "%s", error);
    memset(outcome, 0, sizeof *outcome);
    uint64_t random = 12345;
    for (unsigned i = 0; i < FLOWS; i++)
        flows[i] = (struct lab_flow){.client = (uint8_t)(1 + i % 7),
                                     .server = (uint8_t)(100 + i % 5),
                                     .client_port = (uint16_t)(60000 + i),
                                     .server_port = 61000,
                                     .is_v6 = i % 4 == 0};
    for (unsigned n = 0; n < PACKETS; n++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        send_one(flows, spread, (unsigned)(random >> 36), n);
        if (n % 20 == 19)
            lab.now_ns += (random >> 60) * LAB_SECOND_NS;
        if (n % 100 == 99) {
            lab_age(&lab);
            lab_take_events(&lab);
            keep(outcome);
        }
    }
    lab_expect_partition(&lab);
    struct dp_stats stats = lab_stats(&lab);
    outcome->received_packets = stats.received_packets;
    outcome->forwarded_packets = stats.outcome_packets[DP_OUTCOME_forwarded];
    outcome->handed_off = stats.handed_off;
    lab_expect_all_returned(&lab);
    keep(outcome);
    stats = lab_stats(&lab);
    outcome->flows_opened = stats.flows_opened;
    outcome->credited_fragments = stats.credited_fragments;
    dp_engine_usage(lab.engine, 0, outcome->usage);
    qsort(outcome->told, outcome->count, sizeof outcome->told[0], by_uid);
    dp_engine_destroy(lab.engine);
}

Test(engine_workers, any_number_of_workers_and_any_spread_tell_the_same)
{
    static struct outcome one, many;
    static const struct {
        unsigned workers;
        enum spread spread;
    } cases[] = {{2, RIGHT}, {2, WRONG}, {2, RANDOM}, {4, RIGHT}, {4, WRONG}, {4, RANDOM}, {7, RANDOM}};
    lab_start_eal();
    lab.pool = rte_pktmbuf_pool_create("lab", LAB_MBUFS, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    lab.events = calloc(LAB_EVENTS_MAX, sizeof *lab.events);
    run(1, RIGHT, &one);
    cr_expect_gt(one.count, 200);
    cr_expect_gt(one.credited_fragments, 300);
    cr_expect_eq(one.handed_off, 0);
    cr_expect_eq(one.forwarded_packets, one.received_packets);
    for (unsigned c = 0; c < sizeof cases / sizeof *cases; c++) {
        run(cases[c].workers, cases[c].spread, &many);
        cr_expect_eq(many.received_packets, one.received_packets, "case %u", c);
        cr_expect_eq(many.forwarded_packets, one.forwarded_packets, "case %u", c);
        cr_expect_eq(many.flows_opened, one.flows_opened, "case %u", c);
        cr_expect_eq(many.credited_fragments, one.credited_fragments, "case %u", c);
        cr_expect(!memcmp(many.usage, one.usage, sizeof one.usage), "case %u", c);
        cr_expect_eq(many.count, one.count, "case %u", c);
        for (unsigned i = 0; i < one.count; i++)
            cr_assert(!memcmp(&many.told[i], &one.told[i], sizeof one.told[i]), "case %u, flow %u", c, i);
        if (cases[c].spread == RIGHT)
            cr_expect_leq(many.handed_off, one.received_packets / 3, "fragments alone, and not all");
        else
            cr_expect_geq(many.handed_off, one.received_packets / 3, "case %u: %lu", c, many.handed_off);
    }
    rte_mempool_free(lab.pool);
    free(lab.events);
    dp_eal_stop();
}

/* ---- full rings ---- */

Test(engine_workers, a_full_ring_bypasses_and_keeps_nothing)
{
    enum { ROOM = DP_HANDOFF_RING_PACKETS - 1, MORE = 50 };
    struct ft_key key;
    lab_config(&lab);
    lab.config.worker_count = 2;
    lab_start(&lab);
    struct lab_flow udp = {.client = 1, .server = 2, .client_port = 60000, .server_port = 61000};
    lab_key(&udp, 17, &key);
    lab.worker = !lab.engine->owner[ft_shard_of(&key)];
    for (unsigned i = 0; i < ROOM + MORE; i++)
        lab_udp(&lab, &udp, false, "x", 1);
    lab_flush(&lab);
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_handoff_full], MORE);
    cr_expect_eq(stats.handed_off, ROOM);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_forwarded], 0);
    cr_expect_eq(rte_mempool_avail_count(lab.pool), LAB_MBUFS - ROOM);
    lab_hand_over(&lab);
    stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[DP_OUTCOME_forwarded], ROOM);
    struct ft_flow flow;
    cr_assert(lab_find(&lab, &udp, 17, &flow));
    cr_expect_eq(flow.hot.packets[0], ROOM);
    lab_finish(&lab);
}

/* A datagram's count is with the owner of its addresses; its flow is another's, whose ring is full. */
Test(engine_workers, fragments_lost_with_a_full_ring_are_counted)
{
    struct ft_key key, portless;
    lab_config(&lab);
    lab.config.worker_count = 2;
    lab_start(&lab);
    struct lab_flow udp = {.client = 1, .server = 2, .client_port = 60000, .server_port = 61000};
    struct lab_flow addresses = {.client = 1, .server = 2};
    lab_key(&addresses, 17, &portless);
    unsigned judge = lab.engine->owner[ft_shard_of(&portless)];
    do {
        udp.client_port++;
        lab_key(&udp, 17, &key);
    } while (lab.engine->owner[ft_shard_of(&key)] == judge);
    lab.worker = judge;
    lab_fragment(&lab, &udp, false, 5, 400, 400, true);
    lab_fragment(&lab, &udp, false, 5, 800, 400, false);
    for (unsigned i = 0; i < DP_HANDOFF_RING_PACKETS - 1; i++)
        lab_udp(&lab, &udp, false, "x", 1);
    lab_fragment(&lab, &udp, false, 5, 0, 400, true);
    lab_flush(&lab);
    cr_expect_eq(lab.last_outcome, DP_OUTCOME_handoff_full);
    cr_expect_eq(lab_stats(&lab).uncredited_fragments, 2);
    lab_hand_over(&lab);
    cr_expect_eq(lab_stats(&lab).credited_fragments, 0);
    lab_finish(&lab);
}

Test(engine_workers, packets_of_a_flow_keep_their_order_over_a_ring)
{
    static const char request[] = "GET /path HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
    struct ft_key key;
    lab_config(&lab);
    lab.config.worker_count = 3;
    lab_start(&lab);
    struct lab_flow tcp = {.client = 1, .server = 2, .client_port = 60000, .server_port = 61000};
    lab_key(&tcp, 6, &key);
    lab.worker = (lab.engine->owner[ft_shard_of(&key)] + 1u) % 3;
    lab_handshake(&lab, &tcp);
    lab_tcp_text(&lab, &tcp, false, request);
    lab_tcp_text(&lab, &tcp, true, "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 0\r\n\r\n");
    lab_goodbye(&lab, &tcp);
    lab_handshake(&lab, &tcp);
    lab_flush(&lab);
    lab_hand_over(&lab);
    lab_take_events(&lab);
    const struct lab_event *end = lab_event_of(&lab, DP_EVENT_FLOW_END, 0);
    cr_assert(end);
    cr_expect_eq(end->event.close, DP_CLOSE_FIN);
    cr_expect_not(end->event.flow.hot.flags & FT_FLOW_STARTED_BEFORE);
    lab_expect_text(end, CL_TEXT_url, "/path");
    cr_expect_eq(lab_stats(&lab).flows_opened, 2);
    lab_finish(&lab);
}

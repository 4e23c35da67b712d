/*
 * First bytes in odd shapes through the whole pipeline: the verdict is the right one or none, never another.
 */
#include "tests/unit/engine_util.h"

static struct lab lab;

TestSuite(engine_inspect, .timeout = 60);

#define CLIENT_PORT 60001 /* no protocol's own */
#define SERVER_PORT 60002

static const char request[] = "GET /path HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: test/1\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 2\r\n\r\nok";
static unsigned flows_made;

static struct lab_flow new_flow(void)
{
    flows_made++;
    return (struct lab_flow){.client = (uint8_t)flows_made,
                             .server = 200,
                             .client_port = CLIENT_PORT,
                             .server_port = SERVER_PORT,
                             .seq = {UINT32_MAX - 5 * flows_made, 77}};
}

/* A ClientHello with a server name, 5 + 4 + ... bytes; as small as they come. */
static uint32_t client_hello(uint8_t *bytes)
{
    static const char name[] = "sni.example.com";
    uint32_t name_size = sizeof name - 1;
    struct frame f = {.size = 0};
    frame_put(&f, "\x16\x03\x01", 3);
    frame_put_length(&f, 5);
    frame_put(&f, "\x01\x00", 2);
    frame_put_length(&f, 9);
    frame_put(&f, "\x03\x03", 2);
    for (unsigned i = 0; i < 32; i++)
        frame_put_u8(&f, 0x40 + i);
    frame_put_u8(&f, 0); /* session id */
    frame_put(&f, "\x00\x02\x13\x01\x01\x00", 6);
    frame_put_be16(&f, 9 + name_size); /* extensions */
    frame_put_be16(&f, 0);
    frame_put_be16(&f, 5 + name_size);
    frame_put_be16(&f, 3 + name_size);
    frame_put_u8(&f, 0);
    frame_put_be16(&f, name_size);
    frame_put(&f, name, name_size);
    frame_end(&f);
    memcpy(bytes, f.bytes, f.size);
    return f.size;
}

static struct ft_flow find(const struct lab_flow *tcp)
{
    struct ft_flow flow;
    cr_assert(lab_find(&lab, tcp, 6, &flow));
    return flow;
}

/* The event of the flow's end, after ending all flows. */
static const struct lab_event *end_of(const struct lab_flow *tcp)
{
    struct ft_key key;
    lab_key(tcp, 6, &key);
    lab_close_all(&lab);
    lab_take_events(&lab);
    for (unsigned i = 0; i < lab.event_count; i++)
        if (lab.events[i].event.kind == DP_EVENT_FLOW_END && !memcmp(&key, &lab.events[i].event.flow.key, sizeof key))
            return &lab.events[i];
    cr_assert_fail("no end of this flow");
    return NULL;
}

static void expect_http(const struct lab_flow *tcp)
{
    const struct lab_event *end = end_of(tcp);
    cr_expect_str_eq(lab_protocol(&lab, &end->event.flow), "HTTP");
    cr_expect_eq(end->event.flow.cold.method, CL_METHOD_inspector);
    lab_expect_text(end, CL_TEXT_host, "www.example.com");
    lab_expect_text(end, CL_TEXT_url, "/path");
    lab_expect_text(end, CL_TEXT_user_agent, "test/1");
}

static void expect_generic(const struct lab_flow *tcp)
{
    const struct lab_event *end = end_of(tcp);
    cr_expect_str_eq(lab_protocol(&lab, &end->event.flow), "Generic TCP");
    cr_expect_eq(end->event.flow.cold.method, CL_METHOD_generic);
}

Test(engine_inspect, three_segments_in_any_order_with_any_of_them_twice)
{
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const uint32_t cuts[4] = {0, 3, 25, sizeof request - 1};
    lab_config(&lab);
    lab_start(&lab);
    for (unsigned order = 0; order < 6; order++)
        for (unsigned twice = 0; twice <= 3; twice++) {
            struct lab_flow tcp = new_flow();
            lab_handshake(&lab, &tcp);
            uint32_t base = tcp.seq[0];
            for (unsigned i = 0; i < 3; i++) {
                unsigned part = orders[order][i];
                for (unsigned n = 0; n < 1 + (part == twice); n++)
                    lab_tcp_at(&lab, &tcp, false, TCP_ACK, base + cuts[part], request + cuts[part],
                               cuts[part + 1] - cuts[part]);
            }
            lab_tcp_text(&lab, &tcp, true, response);
            lab_flush(&lab);
            expect_http(&tcp);
        }
    cr_expect_eq(lab_stats(&lab).flows_ambiguous, 0);
    lab_finish(&lab);
}

Test(engine_inspect, frames_that_come_as_chains_of_mbufs)
{
    lab_config(&lab);
    lab_start(&lab);
    for (uint32_t size = 1; size < 80; size += 7) {
        struct lab_flow tcp = new_flow();
        lab.segment_bytes = size;
        lab_handshake(&lab, &tcp);
        lab_tcp_text(&lab, &tcp, false, request);
        lab_tcp_text(&lab, &tcp, true, response);
        lab_flush(&lab);
        expect_http(&tcp);
    }
    lab_finish(&lab);
}

Test(engine_inspect, one_byte_a_segment)
{
    uint8_t hello[256];
    uint32_t hello_size = client_hello(hello);
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow http = new_flow(), tls = new_flow(), nothing = new_flow();
    lab_handshake(&lab, &http);
    lab_handshake(&lab, &tls);
    lab_handshake(&lab, &nothing);
    for (uint32_t i = 0; i < 130; i++) {
        if (i < sizeof request - 1)
            lab_tcp(&lab, &http, false, TCP_ACK, request + i, 1);
        lab_tcp(&lab, &tls, false, TCP_ACK, hello + i % hello_size, 1);
        lab_tcp(&lab, &nothing, false, TCP_ACK, "\3", 1);
    }
    lab_flush(&lab);
    lab_tcp_text(&lab, &http, true, response);
    lab_flush(&lab);
    struct ft_flow flow = find(&http);
    cr_expect_str_eq(lab_protocol(&lab, &flow), "HTTP");
    cr_expect_leq(flow.cold.payload_packets_to_verdict, sizeof request, "%u", flow.cold.payload_packets_to_verdict);
    flow = find(&tls);
    cr_expect_str_eq(lab_protocol(&lab, &flow), "TLS");
    cr_expect_leq(flow.cold.payload_packets_to_verdict, 128, "%u", flow.cold.payload_packets_to_verdict);
    flow = find(&nothing);
    cr_expect_str_eq(lab_protocol(&lab, &flow), "Generic TCP");
    cr_expect_eq(flow.cold.payload_packets_to_verdict, 128, "16 of them count as a packet");
    cr_expect_eq(flow.cold.packets_to_verdict, 131);
    lab_finish(&lab);
}

/* A flow that ends while an inspector waits for more is what its pattern says. */
Test(engine_inspect, a_flow_that_ends_in_the_middle_of_its_hello)
{
    uint8_t hello[256];
    uint32_t hello_size = client_hello(hello);
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tls;
    for (uint32_t size = 6; size < hello_size; size += 20) {
        tls = new_flow();
        lab_handshake(&lab, &tls);
        lab_tcp(&lab, &tls, false, TCP_ACK, hello, 3);
        lab_tcp_at(&lab, &tls, false, TCP_ACK, tls.seq[0], hello + 3, size - 3);
        lab_flush(&lab);
        cr_expect_not(find(&tls).hot.flags & FT_FLOW_DECIDED);
        const struct lab_event *end = end_of(&tls);
        cr_expect_str_eq(lab_protocol(&lab, &end->event.flow), "TLS", "%u bytes: %s", size,
                         lab_protocol(&lab, &end->event.flow));
        cr_expect_eq(end->event.flow.cold.payload_packets_to_verdict, 2);
    }
    lab_finish(&lab);
}

Test(engine_inspect, data_in_the_syn)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow whole = new_flow(), begun = new_flow(), again = new_flow();
    /* All of it in the SYN. */
    lab_tcp(&lab, &whole, false, TCP_SYN, request, sizeof request - 1);
    lab_tcp(&lab, &whole, true, TCP_SYN | TCP_ACK, response, sizeof response - 1);
    lab_flush(&lab);
    expect_http(&whole);
    /* The beginning in the SYN, the rest behind it. */
    lab_tcp(&lab, &begun, false, TCP_SYN, request, 10);
    lab_tcp(&lab, &begun, true, TCP_SYN | TCP_ACK, NULL, 0);
    lab_tcp(&lab, &begun, false, TCP_ACK, request + 10, sizeof request - 11);
    lab_tcp_text(&lab, &begun, true, response);
    lab_flush(&lab);
    expect_http(&begun);
    /* The server did not take the data: they come again at the same numbers, cut in another way. */
    lab_tcp(&lab, &again, false, TCP_SYN, request, 10);
    uint32_t base = again.seq[0] - 10;
    lab_tcp(&lab, &again, true, TCP_SYN | TCP_ACK, NULL, 0);
    lab_tcp_at(&lab, &again, false, TCP_ACK, base, request, 4);
    lab_tcp_at(&lab, &again, false, TCP_ACK, base + 4, request + 4, sizeof request - 5);
    lab_tcp_text(&lab, &again, true, response);
    lab_flush(&lab);
    expect_http(&again);
    cr_expect_eq(lab_stats(&lab).flows_ambiguous, 0);
    lab_finish(&lab);
}

Test(engine_inspect, a_first_segment_that_is_lost_makes_no_wrong_name)
{
    lab_config(&lab);
    lab_start(&lab);
    /* For good: what follows is no protocol, though its middle looks like one. */
    struct lab_flow lost = new_flow();
    lab_handshake(&lab, &lost);
    lost.seq[0] += 100;
    for (unsigned i = 0; i < 12; i++)
        lab_tcp(&lab, &lost, false, TCP_ACK, "\1\2\3GET /path HTTP/1.1\r\n", 22);
    lab_flush(&lab);
    expect_generic(&lost);
    /* Of a request: its second half is no request. */
    lost = new_flow();
    lab_handshake(&lab, &lost);
    lost.seq[0] += 20;
    lab_tcp(&lab, &lost, false, TCP_ACK, request + 20, sizeof request - 21);
    lab_flush(&lab);
    expect_generic(&lost);
    /* It comes late, after three others. */
    struct lab_flow late = new_flow();
    lab_handshake(&lab, &late);
    uint32_t base = late.seq[0];
    for (unsigned i = 1; i <= 3; i++)
        lab_tcp_at(&lab, &late, false, TCP_ACK, base + 10 * i, request + 10 * i, i < 3 ? 10 : sizeof request - 31);
    lab_tcp_at(&lab, &late, false, TCP_ACK, base, request, 10);
    lab_tcp_text(&lab, &late, true, response);
    lab_flush(&lab);
    expect_http(&late);
    /* A gap in the middle: bytes behind it are not put to those before it. */
    struct lab_flow gap = new_flow();
    lab_handshake(&lab, &gap);
    base = gap.seq[0];
    lab_tcp_at(&lab, &gap, false, TCP_ACK, base, "\1\2\3", 3);
    for (unsigned i = 0; i < 9; i++)
        lab_tcp_at(&lab, &gap, false, TCP_ACK, base + 10 + i, "S", 1);
    lab_flush(&lab);
    expect_generic(&gap);
    lab_finish(&lab);
}

/* The first payload that is seen begins before the stream and reaches into it: it is judged, though nothing else comes. */
Test(engine_inspect, a_first_payload_that_begins_before_the_first_byte)
{
    char bytes[200];
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = new_flow();
    lab_handshake(&lab, &tcp);
    snprintf(bytes, sizeof bytes, "?%s", request);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0] - 1, bytes, (uint32_t)strlen(bytes));
    lab_flush(&lab);
    expect_http(&tcp);
    lab_finish(&lab);
}

Test(engine_inspect, segments_that_disagree_flag_the_flow_once_and_the_first_bytes_judge)
{
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = new_flow();
    lab_handshake(&lab, &tcp);
    uint32_t base = tcp.seq[0];
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, base, "GET /path HTT", 13);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, base + 5, "EVIL", 4);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, base + 5, "evil HTTP", 9);
    lab_flush(&lab);
    cr_expect(find(&tcp).hot.flags & FT_FLOW_AMBIGUOUS);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, base + 13, request + 13, sizeof request - 14);
    lab_tcp_text(&lab, &tcp, true, response);
    lab_flush(&lab);
    cr_expect_eq(lab_stats(&lab).flows_ambiguous, 1);
    const struct lab_event *end = end_of(&tcp);
    cr_expect(end->event.flow.hot.flags & FT_FLOW_AMBIGUOUS);
    lab_expect_text(end, CL_TEXT_url, "/path");
    lab_finish(&lab);
}

/* The server's side has a stream of its own, and a budget of its own. */
Test(engine_inspect, a_server_that_speaks_first)
{
    static const char banner[] = "SSH-2.0-OpenSSH_9.2\r\n";
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = new_flow();
    lab_handshake(&lab, &tcp);
    uint32_t base = tcp.seq[1];
    lab_tcp_at(&lab, &tcp, true, TCP_ACK, base + 4, banner + 4, sizeof banner - 5);
    lab_tcp_at(&lab, &tcp, true, TCP_ACK, base, banner, 4);
    lab_flush(&lab);
    const struct lab_event *end = end_of(&tcp);
    cr_expect_str_eq(lab_protocol(&lab, &end->event.flow), "SSH");
    lab_expect_text(end, CL_TEXT_server, "OpenSSH_9.2");
    lab_finish(&lab);
}

Test(engine_inspect, texts_are_kept_over_packets)
{
    static const char first[] = "GET /path HTTP/1.1\r\nHost: www.example.com\r\n",
                      second[] = "User-Agent: test/1\r\n\r\n";
    lab_config(&lab);
    lab_start(&lab);
    struct lab_flow tcp = new_flow(), other = new_flow();
    lab_handshake(&lab, &tcp);
    lab_handshake(&lab, &other);
    lab_tcp_text(&lab, &tcp, false, first);
    lab_tcp_text(&lab, &other, false, "GET /other HTTP/1.1\r\nHost: other.example.net\r\nX: ");
    lab_tcp_text(&lab, &tcp, false, second);
    lab_tcp_text(&lab, &tcp, true, response);
    lab_tcp_text(&lab, &other, true, response);
    lab_flush(&lab);
    expect_http(&tcp);
    lab_finish(&lab);
}

/* UDP has no sequence: each datagram is looked at by itself, up to the budget. */
Test(engine_inspect, datagrams_are_looked_at_up_to_the_budget)
{
    static const uint8_t query[] = {0,   7,   1,   0,   0,   1, 0,   0,   0,   0, 0, 0, 7, 'e', 'x',
                                    'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1};
    lab_config(&lab);
    lab.config.classification.payload_packets_max = 3;
    lab_start(&lab);
    struct lab_flow early = new_flow(), late = new_flow();
    struct ft_flow flow;
    for (unsigned i = 0; i < 4; i++) {
        lab_udp(&lab, &late, false, "\1\2\3", 3);
        lab_udp(&lab, &early, false, i < 2 ? (const void *)"\1\2\3" : query, i < 2 ? 3 : sizeof query);
    }
    lab_udp(&lab, &late, false, query, sizeof query);
    lab_flush(&lab);
    cr_assert(lab_find(&lab, &early, 17, &flow));
    cr_expect_str_eq(lab_protocol(&lab, &flow), "DNS");
    cr_expect_eq(flow.cold.payload_packets_to_verdict, 3);
    cr_assert(lab_find(&lab, &late, 17, &flow));
    cr_expect_str_eq(lab_protocol(&lab, &flow), "Generic UDP");
    cr_expect_eq(flow.cold.payload_packets_to_verdict, 3);
    lab_finish(&lab);
}

/* One direction alone, the other never seen: each budget by itself makes the flow final. */
static unsigned segments_until_decided(const struct lab_flow *tcp, bool from_server, uint32_t size)
{
    static uint8_t noise[1000];
    struct lab_flow flow = *tcp;
    memset(noise, 0xe5, sizeof noise);
    for (unsigned sent = 0; sent < 1000; sent++) {
        lab_tcp(&lab, &flow, from_server, TCP_ACK, noise, size);
        lab_flush(&lab);
        if (find(&flow).hot.flags & FT_FLOW_DECIDED)
            return sent + 1;
    }
    return 0;
}

Test(engine_inspect, budgets_of_packets_and_bytes_in_one_direction_alone)
{
    lab_config(&lab);
    lab.config.classification.payload_packets_max = 5;
    lab.config.classification.payload_bytes_max = 1500;
    lab_start(&lab);
    static const struct {
        uint32_t size;
        unsigned segments;
    } runs[] = {{1, 80}, {4, 20}, {15, 6}, {16, 5}, {300, 5}, {400, 4}, {1000, 2}};
    for (unsigned i = 0; i < RTE_DIM(runs); i++)
        for (unsigned side = 0; side < 2; side++) {
            struct lab_flow tcp = new_flow();
            if (!side)
                lab_tcp(&lab, &tcp, false, TCP_SYN, NULL, 0);
            unsigned segments = segments_until_decided(&tcp, side, runs[i].size);
            cr_expect_eq(segments, runs[i].segments, "%u bytes: %u segments", runs[i].size, segments);
        }
    struct dp_pending_usage usage;
    dp_pending_usage(lab.engine->workers[0]->pending, &usage);
    cr_expect_eq(usage.blocks + usage.buffers[0] + usage.buffers[1] + usage.buffers[2] + usage.buffers[3], 0,
                 "a decided flow keeps nothing");
    lab_finish(&lab);
}

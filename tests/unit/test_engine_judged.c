/* What comes after the verdict: bytes that were judged come again, the same or others. See dataplane/judged.h. */
#include "dataplane/judged.h"
#include "tests/unit/engine_util.h"

static struct lab lab;

static const char request[] = "\x13"
                              "BitTorrent protocolEXTBYTESaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb";
static const char evil[] = "\x13"
                           "BitTorrent protocolEXTBYTESaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbc";
#define REQUEST_BYTES ((uint32_t)sizeof request - 1)

static struct lab_flow new_flow(void)
{
    static uint16_t port = 40000;
    return (struct lab_flow){
        .client = 1, .server = 2, .client_port = ++port, .server_port = 8081, .seq = {0xfffffff0u, 77}};
}

/* A segment with an acknowledgement of all that the other side sent up to `ack`. */
static void send_ack(struct lab_flow *tcp, bool from_server, uint32_t ack)
{
    struct frame f = lab_ip_frame(tcp, from_server, 6);
    frame_tcp(&f, from_server ? tcp->server_port : tcp->client_port, from_server ? tcp->client_port : tcp->server_port,
              tcp->seq[from_server], TCP_ACK, 0);
    uint32_t at = LAB_LINK_BYTES + 20 + 8;
    for (unsigned i = 0; i < 4; i++)
        f.bytes[at + i] = (uint8_t)(ack >> (24 - 8 * i));
    lab_note(tcp, from_server, &f);
    lab_add(&lab, &f);
}

static struct ft_flow find(const struct lab_flow *tcp)
{
    struct ft_flow flow;
    lab_flush(&lab);
    cr_assert(lab_find(&lab, tcp, 6, &flow));
    return flow;
}

static bool is_ambiguous(const struct lab_flow *tcp)
{
    return find(tcp).hot.flags & FT_FLOW_AMBIGUOUS;
}

static bool is_watched(const struct lab_flow *tcp)
{
    struct ft_flow flow = find(tcp);
    return ft_flow_is_watched(&flow.hot);
}

/* A flow whose request was judged; seq[0] is that of the request again. */
static struct lab_flow judged_flow(const char *first)
{
    struct lab_flow tcp = new_flow();
    lab_handshake(&lab, &tcp);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], first, (uint32_t)strlen(first));
    struct ft_flow flow = find(&tcp);
    cr_assert(flow.hot.flags & FT_FLOW_DECIDED);
    cr_assert_str_eq(lab_protocol(&lab, &flow), "BitTorrent");
    return tcp;
}

static void start(void)
{
    lab_config(&lab);
    lab_start(&lab);
}

Test(engine_judged, the_same_bytes_again_are_no_news)
{
    start();
    struct lab_flow tcp = judged_flow(request);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], request, REQUEST_BYTES);
    cr_expect_not(is_ambiguous(&tcp));
    /* And with more behind them. */
    char longer[200];
    snprintf(longer, sizeof longer, "%sand a message", request);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], longer, (uint32_t)strlen(longer));
    cr_expect_not(is_ambiguous(&tcp));
    cr_expect_eq(lab_stats(&lab).flows_ambiguous, 0);
    lab_finish(&lab);
}

Test(engine_judged, other_bytes_in_their_place_are_flagged_once_whichever_came_first)
{
    start();
    for (unsigned i = 0; i < 2; i++) {
        struct lab_flow tcp = judged_flow(i ? evil : request);
        for (unsigned n = 0; n < 3; n++)
            lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], i ? request : evil, REQUEST_BYTES);
        cr_expect(is_ambiguous(&tcp));
        cr_expect_eq(lab_stats(&lab).flows_ambiguous, i + 1);
        cr_expect_not(is_watched(&tcp), "there is no more to find out");
    }
    lab_finish(&lab);
}

Test(engine_judged, one_bit_anywhere_and_a_part_of_them)
{
    start();
    for (uint32_t at = 0; at < REQUEST_BYTES; at++) {
        char other[sizeof request];
        struct lab_flow tcp = judged_flow(request);
        memcpy(other, request, sizeof request);
        other[at] ^= 1;
        lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], other, REQUEST_BYTES);
        cr_expect(is_ambiguous(&tcp), "byte %u", at);
    }
    struct lab_flow part = judged_flow(request);
    lab_tcp_at(&lab, &part, false, TCP_ACK, part.seq[0] + 4, request + 4, 10);
    cr_expect(is_ambiguous(&part), "a part cannot be compared");
    struct lab_flow before = judged_flow(request);
    lab_tcp_at(&lab, &before, false, TCP_ACK, before.seq[0] - 1, "?", 1);
    lab_tcp_at(&lab, &before, false, TCP_ACK, before.seq[0] + REQUEST_BYTES, "more", 4);
    cr_expect_not(is_ambiguous(&before), "a keep-alive before them, more behind them: no byte of them");
    lab_finish(&lab);
}

Test(engine_judged, what_the_other_side_has_acknowledged_is_not_watched_any_more)
{
    start();
    struct lab_flow tcp = judged_flow(request);
    send_ack(&tcp, true, tcp.seq[0] + REQUEST_BYTES - 1);
    cr_expect(is_watched(&tcp), "the last byte is still open");
    send_ack(&tcp, true, tcp.seq[0] + REQUEST_BYTES);
    struct ft_flow flow = find(&tcp);
    cr_expect_not(ft_flow_is_watched(&flow.hot));
    cr_expect_eq(flow.cold.packets_high[0] + flow.cold.packets_high[1] + flow.cold.pending, 0);
    lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0], evil, REQUEST_BYTES);
    cr_expect_not(is_ambiguous(&tcp), "its receiver throws it away");
    lab_finish(&lab);
}

Test(engine_judged, it_ends_without_an_acknowledgement)
{
    start();
    struct lab_flow tcp = judged_flow(request);
    for (unsigned i = 0; i < DP_JUDGED_PACKETS; i++) {
        cr_expect(is_watched(&tcp), "packet %u", i);
        lab_tcp_at(&lab, &tcp, false, TCP_ACK, tcp.seq[0] + REQUEST_BYTES + i, "x", 1);
    }
    cr_expect_not(is_watched(&tcp));
    lab_finish(&lab);
}

Test(engine_judged, a_name_by_port_rests_on_no_bytes)
{
    start();
    struct lab_flow tcp = new_flow();
    lab_handshake(&lab, &tcp);
    for (unsigned i = 0; i < 2 * lab.config.classification.payload_packets_max; i++)
        lab_tcp(&lab, &tcp, false, TCP_ACK, "\x01\x02\x03\x04 nothing that anybody speaks", 32);
    struct ft_flow flow = find(&tcp);
    cr_expect(flow.hot.flags & FT_FLOW_DECIDED);
    cr_expect_eq(flow.hot.flags & FT_FLOW_WATCHED, 0);
    lab_finish(&lab);
}

Test(engine_judged, a_second_syn_that_begins_elsewhere)
{
    start();
    struct lab_flow tcp = new_flow();
    lab_tcp_at(&lab, &tcp, false, TCP_SYN, 1000, NULL, 0);
    lab_tcp_at(&lab, &tcp, false, TCP_SYN, 1000, NULL, 0);
    cr_expect_not(is_ambiguous(&tcp));
    lab_tcp_at(&lab, &tcp, false, TCP_SYN, 1001, NULL, 0);
    cr_expect(is_ambiguous(&tcp));
    lab_finish(&lab);
}

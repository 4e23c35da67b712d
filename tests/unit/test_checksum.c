/* Wrong checksums: which packets have one, and what becomes of them. What is right comes from DPDK's own functions. */
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/checksum.h"
#include "tests/unit/engine_util.h"

static struct lab lab;

struct shape {
    bool is_v6, is_udp;
    uint32_t payload_bytes, options; /* of IPv4 */
};

/* A packet with all its sums right. */
static struct frame right_frame(const struct shape *shape)
{
    struct frame f = {.size = 0};
    frame_ethernet(&f, shape->is_v6 ? 0x86dd : 0x0800);
    if (shape->is_v6)
        frame_ipv6(&f, shape->is_udp ? 17 : 6, 1, 2);
    else
        frame_ipv4(&f, shape->is_udp ? 17 : 6, 1, 2, shape->options);
    uint32_t at = f.size;
    if (shape->is_udp)
        frame_udp(&f, 40000, 40001);
    else
        frame_tcp(&f, 40000, 40001, 1, TCP_ACK, 0);
    for (uint32_t i = 0; i < shape->payload_bytes; i++)
        frame_put_u8(&f, i * 7 & 0xff);
    frame_end(&f);
    void *ip = f.bytes + LAB_LINK_BYTES, *transport = f.bytes + at;
    uint16_t sum = shape->is_v6 ? rte_ipv6_udptcp_cksum(ip, transport) : rte_ipv4_udptcp_cksum(ip, transport);
    memcpy(f.bytes + at + (shape->is_udp ? 6 : 16), &sum, 2);
    if (!shape->is_v6) {
        uint16_t header = (uint16_t)~rte_raw_cksum(ip, 20 + shape->options);
        memcpy(f.bytes + LAB_LINK_BYTES + 10, &header, 2);
    }
    return f;
}

static bool is_wrong(const struct frame *f, uint32_t size, uint64_t nic)
{
    struct rte_mbuf m = mbuf_of(f->bytes, size);
    struct dp_view view;
    m.ol_flags = nic;
    dp_parse(&m, DP_LINK_ETHERNET, &view);
    return view.result == DP_PARSE_ok && dp_checksum_is_wrong(&m, &view);
}

static const struct shape shapes[] = {
    {false, false, 100, 0}, {false, true, 100, 0}, {true, false, 100, 0}, {true, true, 100, 0},
    {false, false, 33, 0},  {false, true, 1, 8},   {true, true, 7, 0},    {false, false, 0, 40},
};

Test(checksum, every_bit_that_a_sum_covers)
{
    for (unsigned i = 0; i < RTE_DIM(shapes); i++) {
        struct frame f = right_frame(&shapes[i]);
        cr_expect_not(is_wrong(&f, f.size, 0), "shape %u", i);
        uint32_t transport = LAB_LINK_BYTES + (shapes[i].is_v6 ? 40 : 20 + shapes[i].options);
        unsigned found = 0;
        for (uint32_t at = transport; at < f.size; at++) {
            bool is_length = shapes[i].is_udp ? at - transport >= 4 && at - transport < 6 : at - transport == 12;
            if (is_length)
                continue; /* another length is another packet */
            f.bytes[at] ^= 0x10;
            cr_expect(is_wrong(&f, f.size, 0), "shape %u, byte %u", i, at - transport);
            f.bytes[at] ^= 0x10;
            found++;
        }
        cr_expect_geq(found, 6);
        f.bytes[LAB_LINK_BYTES + (shapes[i].is_v6 ? 23 : 15)] ^= 1; /* last byte of the source */
        cr_expect(is_wrong(&f, f.size, 0));
    }
}

Test(checksum, chains_of_any_cut)
{
    struct frame f = right_frame(&shapes[4]);
    for (uint32_t cut = 60; cut < f.size; cut++)
        for (unsigned bad = 0; bad < 2; bad++) {
            struct rte_mbuf m[2];
            struct dp_view view;
            f.bytes[f.size - 1] ^= (uint8_t)bad;
            mbuf_chain(m, 2, f.bytes, f.size, &cut);
            dp_parse(&m[0], DP_LINK_ETHERNET, &view);
            cr_expect_eq(dp_checksum_is_wrong(&m[0], &view), bad, "cut %u", cut);
            f.bytes[f.size - 1] ^= (uint8_t)bad;
        }
}

Test(checksum, what_is_not_known_is_not_wrong)
{
    struct frame udp = right_frame(&shapes[1]);
    uint32_t transport = LAB_LINK_BYTES + 20;
    udp.bytes[transport + 6] = udp.bytes[transport + 7] = 0;
    cr_expect_not(is_wrong(&udp, udp.size, 0), "UDP without a checksum");
    struct frame tcp = right_frame(&shapes[0]);
    tcp.bytes[transport + 16] ^= 1;
    cr_expect(is_wrong(&tcp, tcp.size, 0));
    cr_expect_not(is_wrong(&tcp, tcp.size - 1, 0), "cut by the capture");
    cr_expect_not(is_wrong(&tcp, tcp.size, RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD), "the NIC knows");
    struct frame right = right_frame(&shapes[0]);
    cr_expect(is_wrong(&right, right.size, RTE_MBUF_F_RX_L4_CKSUM_BAD));
    cr_expect(is_wrong(&right, right.size, RTE_MBUF_F_RX_IP_CKSUM_BAD));
    cr_expect_not(is_wrong(&right, right.size, RTE_MBUF_F_RX_L4_CKSUM_NONE));
}

/* The wrong one first, as one who wants to mislead would send it. */
static void expect_judged(enum dp_checksums checksums, const char *protocol, unsigned outcome)
{
    static const char lie[] = "\x13"
                              "BitTorrent protocolEXTBYTESaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb";
    static const char truth[] = "SSH-2.0-OpenSSH_9.2\r\n";
    lab_config(&lab);
    lab.config.checksums = checksums;
    lab_start(&lab);
    for (unsigned i = 0; i < 2; i++) {
        struct frame f = {.size = 0};
        frame_ethernet(&f, 0x0800);
        frame_ipv4(&f, 6, 1, 2, 0);
        frame_tcp(&f, 40000, 40001, 1, TCP_ACK, 0);
        frame_put(&f, i ? truth : lie, i ? sizeof truth - 1 : sizeof lie - 1);
        frame_end(&f);
        uint16_t header = (uint16_t)~rte_raw_cksum(f.bytes + LAB_LINK_BYTES, 20);
        memcpy(f.bytes + LAB_LINK_BYTES + 10, &header, 2);
        uint16_t sum = rte_ipv4_udptcp_cksum((void *)(f.bytes + LAB_LINK_BYTES), f.bytes + LAB_LINK_BYTES + 20);
        sum = (uint16_t)(sum + !i);
        memcpy(f.bytes + LAB_LINK_BYTES + 36, &sum, 2);
        lab_send(&lab, &f);
    }
    struct dp_stats stats = lab_stats(&lab);
    cr_expect_eq(stats.outcome_packets[outcome], outcome == DP_OUTCOME_forwarded ? 2 : 1);
    lab_close_all(&lab);
    lab_take_events(&lab);
    const struct lab_event *end = lab_event_of(&lab, DP_EVENT_FLOW_END, 0);
    cr_assert(end);
    cr_expect_str_eq(lab_protocol(&lab, &end->event.flow), protocol);
    lab_finish(&lab);
}

Test(checksum, ignored)
{
    expect_judged(DP_CHECKSUMS_IGNORE, "BitTorrent", DP_OUTCOME_forwarded);
}

Test(checksum, checked)
{
    expect_judged(DP_CHECKSUMS_CHECK, "SSH", DP_OUTCOME_bad_checksum);
}

Test(checksum, dropped)
{
    expect_judged(DP_CHECKSUMS_DROP, "SSH", DP_OUTCOME_bad_checksum_dropped);
}

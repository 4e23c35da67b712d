/*
 * Tunnels that are looked into, by frames put together by hand; and the messages of SCTP.
 */
#include <criterion/criterion.h>

#include "dataplane/sctp.h"
#include "dataplane/tunnel.h"
#include "tests/unit/frames.h"

#define POLICY_ALL ((dp_tunnel_policy)((1u << DP_TUNNEL_COUNT) - 1))

enum { OUTER_1 = 1, OUTER_2 = 2, INNER_1 = 11, INNER_2 = 12 };

static void put_bytes(struct frame *f, unsigned count, const uint8_t *bytes)
{
    frame_put(f, bytes, count);
}
#define PUT(f, ...) put_bytes(f, (unsigned)sizeof((uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

static void outer_udp(struct frame *f, uint16_t port)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 17, OUTER_1, OUTER_2, 0);
    frame_udp(f, 50000, port);
}

static void outer_gre(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 47, OUTER_1, OUTER_2, 0);
}

/* What all of them carry. */
static void inner_ip(struct frame *f, bool is_v6)
{
    if (is_v6)
        frame_ipv6(f, 17, INNER_1, INNER_2);
    else
        frame_ipv4(f, 17, INNER_1, INNER_2, 0);
    frame_udp(f, 1111, 2222);
    frame_put(f, "payload", 7);
}

static void gre(struct frame *f)
{
    outer_gre(f);
    PUT(f, 0, 0, 0x08, 0);
    inner_ip(f, false);
}

static void gre_with_all(struct frame *f)
{
    outer_gre(f);
    PUT(f, 0xb0, 0, 0x86, 0xdd, 1, 2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1);
    inner_ip(f, true);
}

static void gre_ethernet(struct frame *f)
{
    outer_gre(f);
    PUT(f, 0x20, 0, 0x65, 0x58, 0, 0, 0, 9);
    frame_ethernet(f, 0x0800);
    inner_ip(f, false);
}

static void pptp(struct frame *f)
{
    outer_gre(f);
    PUT(f, 0x30, 0x81, 0x88, 0x0b, 0, 40, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21);
    inner_ip(f, false);
}

static void l2tp(struct frame *f)
{
    outer_udp(f, 1701);
    PUT(f, 0x4a, 2, 0, 50, 0, 1, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 3, 0, 0x57);
    inner_ip(f, true);
}

static void gtp_u(struct frame *f)
{
    outer_udp(f, 2152);
    PUT(f, 0x30, 0xff, 0, 35, 0, 0, 0, 1);
    inner_ip(f, false);
}

static void gtp_u_with_extension(struct frame *f)
{
    outer_udp(f, 2152);
    PUT(f, 0x34, 0xff, 0, 60, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 9, 0);
    inner_ip(f, true);
}

static void vxlan(struct frame *f)
{
    outer_udp(f, 4789);
    PUT(f, 8, 0, 0, 0, 0, 1, 2, 0);
    frame_ethernet(f, 0x0800);
    inner_ip(f, false);
}

static void geneve_with_option(struct frame *f)
{
    outer_udp(f, 6081);
    PUT(f, 2, 0, 0x65, 0x58, 0, 1, 2, 0, 1, 2, 3, 1, 0, 0, 0, 0);
    frame_ethernet(f, 0x86dd);
    inner_ip(f, true);
}

static void teredo(struct frame *f)
{
    outer_udp(f, 3544);
    PUT(f, 0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6);
    inner_ip(f, true);
}

static void gtp_u_in_vxlan(struct frame *f)
{
    outer_udp(f, 4789);
    PUT(f, 8, 0, 0, 0, 0, 1, 2, 0);
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 17, 21, 22, 0);
    frame_udp(f, 50000, 2152);
    PUT(f, 0x30, 0xff, 0, 35, 0, 0, 0, 1);
    inner_ip(f, false);
}

static const struct {
    const char *name;
    void (*make)(struct frame *);
    enum dp_tunnel tunnel;
    enum ft_tunnel kind;
    bool is_v6;
    uint32_t network;
} entered[] = {
    {"GRE", gre, DP_TUNNEL_gre, FT_TUNNEL_GRE, false, 0},
    {"GRE with checksum, key, sequence", gre_with_all, DP_TUNNEL_gre, FT_TUNNEL_GRE, true, 0},
    {"GRE with Ethernet", gre_ethernet, DP_TUNNEL_gre, FT_TUNNEL_GRE, false, 0},
    {"GRE of PPTP", pptp, DP_TUNNEL_gre, FT_TUNNEL_GRE, false, 0},
    {"L2TP", l2tp, DP_TUNNEL_l2tp, FT_TUNNEL_L2TP, true, 0},
    {"GTP-U", gtp_u, DP_TUNNEL_gtp_u, FT_TUNNEL_GTP_U, false, 0},
    {"GTP-U with an extension", gtp_u_with_extension, DP_TUNNEL_gtp_u, FT_TUNNEL_GTP_U, true, 0},
    {"VXLAN", vxlan, DP_TUNNEL_vxlan, FT_TUNNEL_VXLAN, false, 0x000102},
    {"Geneve", geneve_with_option, DP_TUNNEL_geneve, FT_TUNNEL_GENEVE, true, 0x000102},
    {"Teredo", teredo, DP_TUNNEL_teredo, FT_TUNNEL_TEREDO, true, 0},
};
#define ENTERED (sizeof entered / sizeof *entered)

static struct rte_mbuf segment_of(uint8_t *bytes, uint32_t size)
{
    struct rte_mbuf m;
    memset(&m, 0, sizeof m);
    m.buf_addr = bytes;
    m.data_len = (uint16_t)size;
    m.pkt_len = size;
    m.nb_segs = 1;
    return m;
}

static bool enter(const struct rte_mbuf *mbuf, dp_tunnel_policy policy, struct dp_view *ret_outer, struct dp_view *ret)
{
    dp_parse(mbuf, DP_LINK_ETHERNET, ret_outer);
    *ret = *ret_outer;
    return dp_tunnel_enter(mbuf, policy, ret);
}

Test(tunnel, the_view_becomes_that_of_the_inner_packet)
{
    for (unsigned i = 0; i < ENTERED; i++) {
        struct frame f = {.size = 0};
        struct dp_view outer, view;
        entered[i].make(&f);
        frame_end(&f);
        struct rte_mbuf m = segment_of(f.bytes, f.size);
        cr_assert(enter(&m, (dp_tunnel_policy)(1u << entered[i].tunnel), &outer, &view), "%s", entered[i].name);
        cr_expect_eq(view.result, DP_PARSE_ok);
        cr_expect_eq(view.key.is_v6, entered[i].is_v6, "%s", entered[i].name);
        cr_expect_eq(view.key.ip_proto, 17);
        cr_expect_eq(view.key.addr[0][entered[i].is_v6 ? 15 : 3], INNER_1, "%s", entered[i].name);
        cr_expect_eq(view.key.addr[1][entered[i].is_v6 ? 15 : 3], INNER_2);
        cr_expect_eq(view.key.port_be16[0], __builtin_bswap16(1111));
        cr_expect_eq(view.key.context, entered[i].network | (uint32_t)entered[i].kind << 24, "%s", entered[i].name);
        cr_expect_eq(view.swap, 0);
        cr_expect_eq(view.payload_bytes, 7, "%s", entered[i].name);
        cr_expect(!memcmp(f.bytes + view.payload_offset, "payload", 7), "%s", entered[i].name);
        cr_expect_eq(view.ip_bytes, outer.ip_bytes, "counted from the outermost header on");
        cr_expect_eq(view.ip_bytes, f.size - 14);
        cr_expect_eq(f.bytes[view.ip_offset] >> 4, entered[i].is_v6 ? 6 : 4);
        /* Not by the others' policy. */
        cr_expect_not(enter(&m, (dp_tunnel_policy)(POLICY_ALL & ~(1u << entered[i].tunnel)), &outer, &view), "%s",
                      entered[i].name);
        cr_expect(!memcmp(&outer, &view, sizeof view));
    }
}

Test(tunnel, segments_change_nothing_and_what_is_cut_off_stays_with_the_tunnel)
{
    for (unsigned i = 0; i < ENTERED; i++) {
        struct frame f = {.size = 0};
        struct dp_view outer, whole, view;
        entered[i].make(&f);
        frame_end(&f);
        struct rte_mbuf m = segment_of(f.bytes, f.size);
        cr_assert(enter(&m, POLICY_ALL, &outer, &whole));
        for (uint32_t cut = 1; cut < f.size; cut++) {
            struct rte_mbuf parts[2] = {segment_of(f.bytes, cut), segment_of(f.bytes + cut, f.size - cut)};
            parts[0].next = &parts[1];
            parts[0].nb_segs = 2;
            parts[0].pkt_len = f.size;
            cr_assert(enter(parts, POLICY_ALL, &outer, &view), "%s cut at %u", entered[i].name, cut);
            cr_assert(!memcmp(&view, &whole, sizeof view), "%s cut at %u", entered[i].name, cut);
            struct rte_mbuf shorter = segment_of(f.bytes, cut);
            bool is_entered = enter(&shorter, POLICY_ALL, &outer, &view);
            cr_assert_eq(is_entered, cut >= whole.payload_offset, "%s short of %u", entered[i].name, cut);
            cr_assert(is_entered || !memcmp(&outer, &view, sizeof view));
        }
    }
}

Test(tunnel, one_in_the_other_is_of_the_outermost_kind)
{
    struct frame f = {.size = 0};
    struct dp_view outer, view;
    gtp_u_in_vxlan(&f);
    frame_end(&f);
    struct rte_mbuf m = segment_of(f.bytes, f.size);
    cr_assert(enter(&m, POLICY_ALL, &outer, &view));
    cr_expect_eq(view.key.addr[0][3], INNER_1);
    cr_expect_eq(view.key.context, 0x000102u | (uint32_t)FT_TUNNEL_VXLAN << 24);
    cr_assert(enter(&m, 1u << DP_TUNNEL_vxlan, &outer, &view));
    cr_expect_eq(view.key.addr[0][3], 21, "GTP-U is a flow of VXLAN's inside");
    cr_expect_eq(view.key.port_be16[0] == __builtin_bswap16(2152) || view.key.port_be16[1] == __builtin_bswap16(2152),
                 1);
}

Test(tunnel, control_messages_and_other_forms_stay_with_the_tunnel)
{
    static const struct {
        uint16_t port; /* 0: GRE */
        uint8_t head[8];
    } refused[] = {
        {0, {0x40, 0, 0x08, 0}},                /* GRE with routing */
        {0, {0, 2, 0x08, 0}},                   /* of an unknown version */
        {0, {0, 0, 0x12, 0x34}},                /* with an unknown type */
        {0, {0x30, 0x01, 0x08, 0}},             /* version 1 without PPP */
        {1701, {0xc8, 2, 0, 12, 0, 1, 0, 0}},   /* L2TP control */
        {1701, {0x00, 3, 0, 1, 0, 1, 0, 0}},    /* version 3 */
        {2152, {0x32, 1, 0, 4, 0, 0, 0, 0}},    /* echo request */
        {2152, {0x50, 0xff, 0, 4, 0, 0, 0, 0}}, /* version 2 */
        {4789, {0, 0, 0, 0, 0, 1, 2, 0}},       /* no network */
        {6081, {0x40, 0, 0x65, 0x58, 0, 1, 2}}, /* version 1 */
        {3544, {0, 2, 0, 0, 0, 0, 0, 0}},
    };
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct frame f = {.size = 0};
        struct dp_view outer, view;
        if (refused[i].port)
            outer_udp(&f, refused[i].port);
        else
            outer_gre(&f);
        frame_put(&f, refused[i].head, refused[i].port ? 8 : 4);
        inner_ip(&f, false);
        frame_end(&f);
        struct rte_mbuf m = segment_of(f.bytes, f.size);
        cr_expect_not(enter(&m, POLICY_ALL, &outer, &view), "%u", i);
        cr_expect(!memcmp(&outer, &view, sizeof view), "%u", i);
    }
}

/* ---- SCTP ---- */

Test(sctp, the_first_message_that_begins)
{
    struct dp_sctp_message message;
    static const uint8_t sack_then_data[] = {3, 0, 0, 5, 9, 0, 0, 0, 0, 3,  0,   19,  0,   0,
                                             0, 1, 0, 0, 0, 0, 0, 0, 0, 18, 'a', 'b', 'c', 0};
    cr_assert(dp_sctp_message(sack_then_data, sizeof sack_then_data, &message));
    cr_expect_eq(message.ppid, 18);
    cr_expect_eq(message.size_bytes, 3);
    cr_expect_eq(message.bytes[0], 'a');
    cr_assert(dp_sctp_message(sack_then_data, 25, &message), "cut in its bytes");
    cr_expect_eq(message.size_bytes, 1);
    cr_expect_not(dp_sctp_message(sack_then_data, 23, &message), "cut in its head");
    uint8_t later[sizeof sack_then_data];
    memcpy(later, sack_then_data, sizeof later);
    later[9] = 1;
    cr_expect_not(dp_sctp_message(later, sizeof later, &message), "the end of a message that began before");
    static const uint8_t i_data[] = {64, 2, 0, 21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 'x'};
    cr_assert(dp_sctp_message(i_data, sizeof i_data, &message));
    cr_expect_eq(message.ppid, 60);
    cr_expect_eq(message.size_bytes, 1);
    static const uint8_t endless[64] = {5, 0, 0, 0};
    cr_expect_not(dp_sctp_message(endless, sizeof endless, &message));
    cr_expect_not(dp_sctp_message(endless, 0, &message));
}

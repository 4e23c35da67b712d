#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/packet.h"
#include "frames.h"

/* By itself and as part of a burst, which must make no difference. */
static struct dp_view parse_mbuf(struct rte_mbuf *m, enum dp_link_type link_type)
{
    struct dp_view view, views[3];
    memset(&view, 0xa5, sizeof view);
    dp_parse(m, link_type, &view);
    struct rte_mbuf *const burst[3] = {m, m, m};
    const uint8_t link_types[3] = {(uint8_t)link_type, (uint8_t)link_type, (uint8_t)link_type};
    memset(views, 0xa5, sizeof views);
    dp_parse_bulk(burst, link_types, 3, views);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(memcmp(&view, &views[i], sizeof view), 0);
    return view;
}

static struct dp_view parse_as(const struct frame *f, enum dp_link_type link_type)
{
    struct rte_mbuf m = mbuf_of(f->bytes, f->size);
    return parse_mbuf(&m, link_type);
}

static struct dp_view parse(const struct frame *f)
{
    return parse_as(f, DP_LINK_ETHERNET);
}

static unsigned port(const struct dp_view *view, bool of_destination)
{
    return rte_be_to_cpu_16(view->key.port_be16[of_destination ^ view->swap]);
}

static uint8_t last_byte(const struct dp_view *view, bool of_destination)
{
    return view->key.addr[of_destination ^ view->swap][view->key.is_v6 ? 15 : 3];
}

/* ---- frames, each by its own builder ---- */

static void tcp4(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 6, 2, 1, 0);
    frame_tcp(f, 40000, 80, 0x01020304, 0x18, 0);
    frame_put(f, "hello", 5);
    frame_end(f);
}

static void tcp6(struct frame *f)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 6, 2, 1);
    frame_tcp(f, 40000, 80, 0x01020304, 0x02, 20);
    frame_put(f, "hello", 5);
    frame_end(f);
}

static void udp4_after_tags(struct frame *f, const uint16_t *types, const uint16_t *ids, unsigned count)
{
    frame_ethernet(f, count ? types[0] : 0x0800);
    for (unsigned i = 0; i < count; i++) {
        frame_put_be16(f, 0xa000u | ids[i]);
        frame_put_be16(f, i + 1 < count ? types[i + 1] : 0x0800);
    }
    frame_ipv4(f, 17, 1, 2, 0);
    frame_udp(f, 1000, 2000);
    frame_put(f, "abc", 3);
    frame_end(f);
}

static void qinq_udp(struct frame *f)
{
    static const uint16_t types[] = {0x88a8, 0x8100}, ids[] = {100, 200};
    udp4_after_tags(f, types, ids, 2);
}

static void five_tags(struct frame *f)
{
    static const uint16_t types[] = {0x88a8, 0x9100, 0x8100, 0x8100, 0x8100}, ids[] = {1, 2, 3, 4, 5};
    udp4_after_tags(f, types, ids, 5);
}

static void mpls_udp(struct frame *f, unsigned labels)
{
    frame_ethernet(f, 0x8847);
    for (unsigned i = 0; i < labels; i++)
        frame_put_be32(f, (1000u + i) << 12 | (i + 1 == labels) << 8 | 64);
    frame_ipv6(f, 17, 1, 2);
    frame_udp(f, 1000, 2000);
    frame_put(f, "abc", 3);
    frame_end(f);
}

static void eight_labels(struct frame *f)
{
    mpls_udp(f, 8);
}

static void nine_labels(struct frame *f)
{
    mpls_udp(f, 9);
}

static void pppoe(struct frame *f, unsigned version_type_code, unsigned protocol)
{
    frame_ethernet(f, 0x8864);
    frame_put_be16(f, version_type_code);
    frame_put_be16(f, 77);
    frame_put_length(f, f->size + 2);
    frame_put_be16(f, protocol);
    frame_ipv4(f, 6, 1, 2, 0);
    frame_tcp(f, 1000, 2000, 1, 0x10, 12);
    frame_end(f);
}

static void pppoe_tcp(struct frame *f)
{
    pppoe(f, 0x1100, 0x0021);
}

static void pppoe_padi_code(struct frame *f)
{
    pppoe(f, 0x1109, 0x0021);
}

static void pppoe_lcp(struct frame *f)
{
    pppoe(f, 0x1100, 0xc021);
}

static void metadata(struct frame *f, unsigned version_length)
{
    frame_ethernet(f, 0x8909);
    frame_put_be16(f, version_length);
    frame_put_be32(f, 0x00010008);
    frame_put_be16(f, 0x0800);
    frame_ipv4(f, 17, 1, 2, 0);
    frame_udp(f, 1000, 2000);
    frame_end(f);
}

static void metadata_udp(struct frame *f)
{
    metadata(f, 0x0101);
}

static void metadata_unknown(struct frame *f)
{
    metadata(f, 0x0201);
}

static void arp(struct frame *f)
{
    frame_ethernet(f, 0x0806);
    frame_put_zeros(f, 46);
}

static void options4(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 17, 1, 2, 40);
    frame_udp(f, 53, 5353);
    frame_put(f, "query", 5);
    frame_end(f);
}

static void extensions6(struct frame *f)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 0, 1, 2);
    frame_ipv6_extension(f, 43, 0, 8);
    frame_ipv6_extension(f, 60, 2, 24);
    frame_ipv6_extension(f, 51, 1, 16);
    frame_ipv6_extension(f, 135, 4, 24); /* the authentication header: 4 * (4 + 2) bytes */
    frame_ipv6_extension(f, 17, 0, 8);
    frame_udp(f, 53, 5353);
    frame_put(f, "query", 5);
    frame_end(f);
}

static void extensions6_too_many(struct frame *f)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 0, 1, 2);
    for (int i = 0; i < 9; i++)
        frame_ipv6_extension(f, i < 8 ? 60 : 17, 0, 8);
    frame_udp(f, 53, 5353);
    frame_end(f);
}

static void sctp4(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 132, 1, 2, 0);
    frame_put_be16(f, 2905);
    frame_put_be16(f, 2906);
    frame_put_zeros(f, 8);
    frame_put(f, "\0\3\0\4", 4);
    frame_end(f);
}

static void icmp4(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 1, 1, 2, 0);
    frame_put(f, "\x08\0\0\0\0\1\0\1ping", 12);
    frame_end(f);
}

static void icmp6(struct frame *f)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 58, 1, 2);
    frame_put(f, "\x80\0\0\0\0\1\0\1ping", 12);
    frame_end(f);
}

static void gre4(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 47, 1, 2, 0);
    frame_put(f, "\0\0\x08\0", 4);
    frame_ipv4(f, 6, 3, 4, 0);
    frame_end(f);
}

/* IP headers of the versions named in `versions`, then UDP 1000 -> 2000 with 3 bytes. */
static void tunnel(struct frame *f, const char *versions)
{
    frame_ethernet(f, versions[0] == '4' ? 0x0800 : 0x86dd);
    for (uint8_t i = 0; versions[i]; i++) {
        unsigned next = versions[i + 1] == '4' ? 4 : versions[i + 1] == '6' ? 41 : 17;
        uint8_t src = (uint8_t)(2 * i + 1), dst = (uint8_t)(2 * i + 2);
        if (versions[i] == '4')
            frame_ipv4(f, next, src, dst, 0);
        else
            frame_ipv6(f, next, src, dst);
    }
    frame_udp(f, 1000, 2000);
    frame_put(f, "abc", 3);
    frame_end(f);
}

static void tunnel_6in4(struct frame *f)
{
    tunnel(f, "46");
}

static void tunnel_three_deep(struct frame *f)
{
    tunnel(f, "4646");
}

static void tunnel_four_deep(struct frame *f)
{
    tunnel(f, "44444");
}

static void fragment4(struct frame *f, unsigned offset_bytes, bool more, uint32_t data_bytes)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 17, 1, 2, 0);
    f->bytes[20] = (uint8_t)((more ? 0x20 : 0) | offset_bytes / 8 >> 8);
    f->bytes[21] = (uint8_t)(offset_bytes / 8);
    if (offset_bytes == 0) {
        frame_put_be16(f, 1000);
        frame_put_be16(f, 2000);
        frame_put_be16(f, 3000); /* longer than this fragment */
        frame_put_be16(f, 0);
        data_bytes -= 8;
    }
    frame_put_zeros(f, data_bytes);
    frame_end(f);
}

static void fragment6(struct frame *f, unsigned offset_bytes, bool more, uint32_t data_bytes)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 44, 1, 2);
    frame_ipv6_fragment(f, 6, offset_bytes, more, 0xdeadbeef);
    if (offset_bytes == 0) {
        frame_tcp(f, 1000, 2000, 7, 0x10, 0);
        data_bytes -= 20;
    }
    frame_put_zeros(f, data_bytes);
    frame_end(f);
}

static void fragment4_empty(struct frame *f)
{
    fragment4(f, 800, true, 0);
}

static void fragment4_past_the_end(struct frame *f)
{
    fragment4(f, 65528, false, 8);
}

static void fragment6_first(struct frame *f)
{
    fragment6(f, 0, true, 160);
}

static void fragment_header_twice(struct frame *f)
{
    frame_ethernet(f, 0x86dd);
    frame_ipv6(f, 44, 1, 2);
    frame_ipv6_fragment(f, 44, 0, true, 1);
    frame_ipv6_fragment(f, 17, 0, true, 2);
    frame_udp(f, 1, 2);
    frame_end(f);
}

/* ---- refusals: a good frame with one thing wrong ---- */

static void cut_to(struct frame *f, uint32_t size)
{
    f->size = size;
}

static void short_ethernet(struct frame *f)
{
    tcp4(f);
    cut_to(f, 13);
}

static void short_vlan(struct frame *f)
{
    qinq_udp(f);
    cut_to(f, 14 + 4 + 3);
}

static void short_mpls(struct frame *f)
{
    mpls_udp(f, 2);
    cut_to(f, 14 + 7);
}

static void mpls_of_nothing(struct frame *f)
{
    mpls_udp(f, 2);
    cut_to(f, 14 + 8);
}

static void mpls_pseudowire(struct frame *f)
{
    mpls_udp(f, 2);
    f->bytes[14 + 8] = 0; /* control word */
}

static void short_pppoe(struct frame *f)
{
    pppoe_tcp(f);
    cut_to(f, 14 + 7);
}

static void ip_version_5(struct frame *f)
{
    tcp4(f);
    f->bytes[14] = 0x55;
}

static void short_ipv4(struct frame *f)
{
    tcp4(f);
    cut_to(f, 14 + 19);
}

static void no_byte_of_ipv4(struct frame *f)
{
    tcp4(f);
    cut_to(f, 14);
}

static void ipv4_header_of_16(struct frame *f)
{
    tcp4(f);
    f->bytes[14] = 0x44;
}

static void ipv4_options_cut(struct frame *f)
{
    options4(f);
    cut_to(f, 14 + 59);
}

static void ipv4_total_below_header(struct frame *f)
{
    options4(f);
    f->bytes[17] = 59;
}

static void short_ipv6(struct frame *f)
{
    tcp6(f);
    cut_to(f, 14 + 39);
}

static void no_byte_of_ipv6(struct frame *f)
{
    tcp6(f);
    cut_to(f, 14);
}

static void tunnel_of_nothing(struct frame *f)
{
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, 41, 1, 2, 0);
    frame_end(f);
}

static void short_extension(struct frame *f)
{
    extensions6(f);
    cut_to(f, 14 + 40 + 8 + 23);
}

static void short_tcp(struct frame *f)
{
    tcp4(f);
    cut_to(f, 14 + 20 + 19);
}

/* The frame is long enough, the datagram is not: padding must not be read as a header. */
static void tcp_past_the_datagram(struct frame *f)
{
    tcp4(f);
    f->bytes[17] = 20 + 19;
}

static void tcp_offset_16(struct frame *f)
{
    tcp4(f);
    f->bytes[14 + 20 + 12] = 0x40;
}

static void tcp_offset_past_the_datagram(struct frame *f)
{
    tcp4(f); /* has 5 bytes after 20 */
    f->bytes[14 + 20 + 12] = 0x70;
}

static void short_udp(struct frame *f)
{
    qinq_udp(f);
    cut_to(f, f->size - 3 - 1);
}

static void udp_length_7(struct frame *f)
{
    options4(f);
    f->bytes[14 + 60 + 5] = 7;
}

static void udp_length_past_the_datagram(struct frame *f)
{
    options4(f);
    f->bytes[14 + 60 + 5] = 14;
}

static void short_sctp(struct frame *f)
{
    sctp4(f);
    cut_to(f, 14 + 20 + 11);
}

static void short_icmp(struct frame *f)
{
    icmp4(f);
    cut_to(f, 14 + 20 + 7);
}

static const struct {
    void (*build)(struct frame *f);
    enum dp_parse_result result;
} cases[] = {
    {tcp4, DP_PARSE_ok},
    {tcp6, DP_PARSE_ok},
    {qinq_udp, DP_PARSE_ok},
    {eight_labels, DP_PARSE_ok},
    {pppoe_tcp, DP_PARSE_ok},
    {options4, DP_PARSE_ok},
    {extensions6, DP_PARSE_ok},
    {sctp4, DP_PARSE_ok},
    {icmp4, DP_PARSE_ok},
    {icmp6, DP_PARSE_ok},
    {gre4, DP_PARSE_ok},
    {tunnel_6in4, DP_PARSE_ok},
    {tunnel_three_deep, DP_PARSE_ok},
    {fragment6_first, DP_PARSE_ok},
    {metadata_udp, DP_PARSE_ok},
    {metadata_unknown, DP_PARSE_not_ip},
    {arp, DP_PARSE_not_ip},
    {pppoe_lcp, DP_PARSE_not_ip},
    {mpls_pseudowire, DP_PARSE_not_ip},
    {short_ethernet, DP_PARSE_short_ethernet},
    {five_tags, DP_PARSE_too_many_tags},
    {nine_labels, DP_PARSE_too_many_tags},
    {short_vlan, DP_PARSE_short_vlan},
    {short_mpls, DP_PARSE_short_mpls},
    {mpls_of_nothing, DP_PARSE_short_mpls},
    {short_pppoe, DP_PARSE_bad_pppoe},
    {pppoe_padi_code, DP_PARSE_bad_pppoe},
    {ip_version_5, DP_PARSE_bad_ip_version},
    {short_ipv4, DP_PARSE_short_ipv4},
    {no_byte_of_ipv4, DP_PARSE_short_ipv4},
    {ipv4_header_of_16, DP_PARSE_bad_ipv4_header_length},
    {ipv4_options_cut, DP_PARSE_bad_ipv4_header_length},
    {ipv4_total_below_header, DP_PARSE_bad_ipv4_total_length},
    {short_ipv6, DP_PARSE_short_ipv6},
    {no_byte_of_ipv6, DP_PARSE_short_ipv6},
    {tunnel_of_nothing, DP_PARSE_short_ipv6},
    {short_extension, DP_PARSE_bad_ipv6_extension},
    {extensions6_too_many, DP_PARSE_bad_ipv6_extension},
    {fragment_header_twice, DP_PARSE_bad_ipv6_extension},
    {fragment4_empty, DP_PARSE_bad_fragment},
    {fragment4_past_the_end, DP_PARSE_bad_fragment},
    {short_tcp, DP_PARSE_short_tcp},
    {tcp_past_the_datagram, DP_PARSE_short_tcp},
    {tcp_offset_16, DP_PARSE_bad_tcp_offset},
    {tcp_offset_past_the_datagram, DP_PARSE_bad_tcp_offset},
    {short_udp, DP_PARSE_short_udp},
    {udp_length_7, DP_PARSE_bad_udp_length},
    {udp_length_past_the_datagram, DP_PARSE_bad_udp_length},
    {short_sctp, DP_PARSE_short_sctp},
    {short_icmp, DP_PARSE_short_icmp},
    {tunnel_four_deep, DP_PARSE_too_many_tunnels},
};
#define CASES (sizeof cases / sizeof cases[0])

static const char *result_name(unsigned result)
{
    static const char *const names[] = {
#define X(name, text) #name,
        DP_PARSE_RESULTS(X)
#undef X
    };
    return result < DP_PARSE_RESULT_COUNT ? names[result] : "?";
}

Test(parse, every_result_is_given_by_some_frame_and_every_frame_gives_its_own)
{
    bool given[DP_PARSE_RESULT_COUNT] = {false};
    for (size_t i = 0; i < CASES; i++) {
        struct frame f = {.size = 0};
        cases[i].build(&f);
        struct dp_view view = parse(&f);
        cr_expect_eq(view.result, cases[i].result, "case %zu: %s, expected %s", i, result_name(view.result),
                     result_name(cases[i].result));
        given[view.result] = true;
    }
    for (unsigned r = 0; r < DP_PARSE_RESULT_COUNT; r++)
        cr_expect(given[r], "no frame gives %s", result_name(r));
}

Test(parse, ipv4_tcp_fills_every_field)
{
    struct frame f = {.size = 0};
    tcp4(&f);
    frame_put_zeros(&f, 1); /* padded to 60 bytes */
    struct dp_view view = parse(&f), expected;
    memset(&expected, 0, sizeof expected);
    expected.key = (struct ft_key){.addr = {{10, 0, 0, 1}, {10, 0, 0, 2}},
                                   .port_be16 = {rte_cpu_to_be_16(80), rte_cpu_to_be_16(40000)},
                                   .ip_proto = 6};
    expected.swap = 1;
    expected.tcp_flags = 0x18;
    expected.dscp = 46;
    expected.payload_offset = 14 + 20 + 20;
    expected.payload_bytes = 5;
    expected.ip_bytes = 45;
    expected.tcp_seq = 0x01020304;
    expected.ip_offset = 14;
    expected.transport_offset = 14 + 20;
    cr_assert_eq(memcmp(&view, &expected, sizeof view), 0);
}

Test(parse, ipv6_tcp_with_options)
{
    struct frame f = {.size = 0};
    tcp6(&f);
    struct dp_view view = parse(&f);
    cr_assert_eq(view.key.is_v6, 1);
    cr_assert_eq(view.key.addr[0][0], 0x20);
    cr_assert_eq(last_byte(&view, false), 2);
    cr_assert_eq(last_byte(&view, true), 1);
    cr_assert_eq(port(&view, false), 40000);
    cr_assert_eq(port(&view, true), 80);
    cr_assert_eq(view.dscp, 46);
    cr_assert_eq(view.tcp_flags, 0x02);
    cr_assert_eq(view.payload_offset, 14 + 40 + 40);
    cr_assert_eq(view.payload_bytes, 5);
    cr_assert_eq(view.ip_bytes, 40 + 40 + 5);
}

Test(parse, vlan_ids_make_the_context)
{
    static const struct {
        uint16_t types[4], ids[4];
        unsigned count;
        uint16_t outer, inner;
    } tagged[] = {
        {{0}, {0}, 0, 0, 0},
        {{0x8100}, {5}, 1, 5, 0},
        {{0x88a8, 0x8100}, {5, 4095}, 2, 5, 4095},
        {{0x9100, 0x9100}, {5, 6}, 2, 5, 6},
        {{0x8100, 0x8100, 0x8100, 0x8100}, {5, 6, 7, 8}, 4, 5, 6},
        {{0x8100, 0x8100}, {0, 6}, 2, 6, 0}, /* a priority tag has no id */
    };
    for (size_t i = 0; i < sizeof tagged / sizeof tagged[0]; i++) {
        struct frame f = {.size = 0};
        udp4_after_tags(&f, tagged[i].types, tagged[i].ids, tagged[i].count);
        struct dp_view view = parse(&f);
        cr_expect_eq(view.result, DP_PARSE_ok);
        cr_expect_eq(view.key.context, ft_context(tagged[i].outer, tagged[i].inner, FT_TUNNEL_NONE), "case %zu", i);
        cr_expect_eq(view.ip_offset, 14 + 4 * tagged[i].count);
        cr_expect_eq(view.payload_bytes, 3);
    }
}

Test(parse, labels_and_sessions_stay_out_of_the_key)
{
    struct frame plain = {.size = 0}, labelled = {.size = 0}, pppoe_frame = {.size = 0};
    mpls_udp(&labelled, 8);
    frame_ethernet(&plain, 0x86dd);
    frame_put(&plain, labelled.bytes + 14 + 32, labelled.size - 14 - 32);
    struct dp_view of_plain = parse(&plain), of_labelled = parse(&labelled);
    cr_assert_eq(memcmp(&of_plain.key, &of_labelled.key, sizeof of_plain.key), 0);
    cr_assert_eq(of_plain.ip_bytes, of_labelled.ip_bytes);
    cr_assert_eq(of_labelled.ip_offset, 14 + 32);

    pppoe_tcp(&pppoe_frame);
    struct dp_view of_pppoe = parse(&pppoe_frame);
    cr_assert_eq(of_pppoe.key.context, 0);
    cr_assert_eq(of_pppoe.ip_offset, 14 + 8);
    cr_assert_eq(port(&of_pppoe, true), 2000);
}

Test(parse, transports_without_ports)
{
    static const struct {
        void (*build)(struct frame *f);
        uint8_t proto;
        unsigned src_port, dst_port;
        uint16_t payload_offset;
        uint32_t payload_bytes;
    } others[] = {
        {sctp4, 132, 2905, 2906, 14 + 20 + 12, 4},
        {icmp4, 1, 0, 0, 14 + 20 + 8, 4},
        {icmp6, 58, 0, 0, 14 + 40 + 8, 4},
        {gre4, 47, 0, 0, 14 + 20, 24},
        {extensions6, 17, 53, 5353, 14 + 40 + 8 + 24 + 16 + 24 + 8 + 8, 5},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct frame f = {.size = 0};
        others[i].build(&f);
        struct dp_view view = parse(&f);
        cr_expect_eq(view.key.ip_proto, others[i].proto);
        cr_expect_eq(port(&view, false), others[i].src_port);
        cr_expect_eq(port(&view, true), others[i].dst_port);
        cr_expect_eq(view.payload_offset, others[i].payload_offset);
        cr_expect_eq(view.payload_bytes, others[i].payload_bytes, "case %zu", i);
    }
}

Test(parse, innermost_header_is_keyed_and_outermost_length_counted)
{
    static const struct {
        const char *versions;
        enum ft_tunnel tunnel;
    } tunnels[] = {
        {"4", FT_TUNNEL_NONE},    {"6", FT_TUNNEL_NONE},    {"44", FT_TUNNEL_IPIP},  {"46", FT_TUNNEL_6IN4},
        {"64", FT_TUNNEL_4IN6},   {"66", FT_TUNNEL_6IN6},   {"446", FT_TUNNEL_6IN4}, {"664", FT_TUNNEL_4IN6},
        {"4466", FT_TUNNEL_6IN6}, {"4444", FT_TUNNEL_IPIP},
    };
    for (size_t i = 0; i < sizeof tunnels / sizeof tunnels[0]; i++) {
        struct frame f = {.size = 0};
        tunnel(&f, tunnels[i].versions);
        struct dp_view view = parse(&f);
        unsigned inner = (unsigned)strlen(tunnels[i].versions) - 1;
        cr_expect_eq(view.result, DP_PARSE_ok);
        cr_expect_eq(view.key.context, ft_context(0, 0, tunnels[i].tunnel), "%s", tunnels[i].versions);
        cr_expect_eq(view.key.is_v6, tunnels[i].versions[inner] == '6');
        cr_expect_eq(last_byte(&view, false), 2 * inner + 1);
        cr_expect_eq(last_byte(&view, true), 2 * inner + 2);
        cr_expect_eq(port(&view, false), 1000);
        cr_expect_eq(view.ip_bytes, f.size - 14);
        cr_expect_eq(view.payload_bytes, 3);
        cr_expect_eq(view.ip_offset, f.size - 3 - 8 - (view.key.is_v6 ? 40 : 20));
    }
}

Test(parse, fragments)
{
    static const struct {
        void (*build)(struct frame *f, unsigned offset_bytes, bool more, uint32_t data_bytes);
        unsigned offset_bytes;
        bool more;
        uint32_t data_bytes;
        unsigned flags, src_port;
        uint32_t payload_bytes;
    } fragments[] = {
        {fragment4, 0, true, 1480, DP_VIEW_FRAGMENT | DP_VIEW_FIRST_FRAGMENT, 1000, 1472},
        {fragment4, 1480, true, 1480, DP_VIEW_FRAGMENT, 0, 1480},
        {fragment4, 65520, false, 15, DP_VIEW_FRAGMENT | DP_VIEW_LAST_FRAGMENT, 0, 15},
        {fragment6, 0, true, 160, DP_VIEW_FRAGMENT | DP_VIEW_FIRST_FRAGMENT, 1000, 140},
        {fragment6, 160, true, 80, DP_VIEW_FRAGMENT, 0, 80},
        {fragment6, 65528, false, 7, DP_VIEW_FRAGMENT | DP_VIEW_LAST_FRAGMENT, 0, 7},
        {fragment6, 0, false, 160, 0, 1000, 140}, /* atomic: whole */
    };
    for (size_t i = 0; i < sizeof fragments / sizeof fragments[0]; i++) {
        struct frame f = {.size = 0};
        fragments[i].build(&f, fragments[i].offset_bytes, fragments[i].more, fragments[i].data_bytes);
        struct dp_view view = parse(&f);
        cr_expect_eq(view.result, DP_PARSE_ok, "case %zu: %s", i, result_name(view.result));
        cr_expect_eq(view.flags, fragments[i].flags);
        cr_expect_eq(port(&view, false), fragments[i].src_port);
        cr_expect_eq(view.key.ip_proto, fragments[i].build == fragment4 ? 17 : 6);
        cr_expect_eq(view.payload_bytes, fragments[i].payload_bytes);
        if (!view.flags)
            continue;
        cr_expect_eq(view.fragment_offset_bytes, fragments[i].offset_bytes);
        cr_expect_eq(view.fragment_bytes, fragments[i].data_bytes);
        cr_expect_eq(view.fragment_id, view.key.is_v6 ? 0xdeadbeef : 0x1234);
    }
}

/* Later fragments of a tunnel packet have no inner header, so its first one must not be keyed by it either. */
Test(parse, a_fragmented_tunnel_packet_keeps_the_tunnels_key)
{
    struct frame first = {.size = 0}, later = {.size = 0};
    tunnel(&first, "44");
    tunnel(&later, "44");
    first.bytes[20] = 0x20;
    later.bytes[21] = 10;
    struct dp_view of_first = parse(&first), of_later = parse(&later);
    cr_assert_eq(of_first.result, DP_PARSE_ok);
    cr_assert_eq(of_later.result, DP_PARSE_ok);
    cr_assert_eq(memcmp(&of_first.key, &of_later.key, sizeof of_first.key), 0);
    cr_assert_eq(of_first.key.ip_proto, 4);
    cr_assert_eq(of_first.key.context, 0);
    cr_assert_eq(last_byte(&of_first, true), 2);
}

Test(parse, a_frame_cut_by_the_capture_counts_what_was_on_the_wire)
{
    struct frame f = {.size = 0};
    tcp6(&f);
    cut_to(&f, 14 + 40 + 20); /* not even the TCP options */
    struct dp_view view = parse(&f);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.flags, DP_VIEW_TRUNCATED);
    cr_assert_eq(view.ip_bytes, 40 + 40 + 5);
    cr_assert_eq(view.payload_bytes, 0);
    cr_assert_eq(view.payload_offset, f.size);
    cr_assert_eq(port(&view, true), 80);
}

Test(parse, an_inner_datagram_longer_than_its_carrier_is_truncated)
{
    struct frame f = {.size = 0};
    tunnel(&f, "44");
    f.bytes[14 + 20 + 3] = (uint8_t)(f.bytes[14 + 20 + 3] + 1);
    struct dp_view view = parse(&f);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.flags, DP_VIEW_TRUNCATED);
    cr_assert_eq(view.payload_bytes, 3);
}

Test(parse, length_zero_means_all_that_is_there)
{
    struct frame f4 = {.size = 0}, f6 = {.size = 0}, jumbo = {.size = 0};
    tcp4(&f4);
    f4.bytes[16] = f4.bytes[17] = 0;
    struct dp_view view = parse(&f4);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.ip_bytes, 45);
    cr_assert_eq(view.payload_bytes, 5);
    cr_assert_eq(view.flags, 0);

    tcp6(&f6);
    f6.bytes[18] = f6.bytes[19] = 0;
    view = parse(&f6);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.ip_bytes, 85);
    cr_assert_eq(view.payload_bytes, 5);

    options4(&jumbo);
    jumbo.bytes[14 + 60 + 4] = jumbo.bytes[14 + 60 + 5] = 0;
    view = parse(&jumbo);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.payload_bytes, 5);
}

/* An IPv6 header of payload length 0 that says "no next header" is empty: what follows is padding. */
Test(parse, no_next_header_has_no_payload)
{
    struct frame f = {.size = 0};
    frame_ethernet(&f, 0x86dd);
    frame_ipv6(&f, 59, 1, 2);
    frame_end(&f);
    frame_put_zeros(&f, 6);
    struct dp_view view = parse(&f);
    cr_assert_eq(view.result, DP_PARSE_ok);
    cr_assert_eq(view.ip_bytes, 40);
    cr_assert_eq(view.payload_bytes, 0);
}

Test(parse, padding_is_no_payload)
{
    struct frame f = {.size = 0};
    qinq_udp(&f);
    frame_put_zeros(&f, 18);
    struct dp_view view = parse(&f);
    cr_assert_eq(view.payload_bytes, 3);
    /* Nor is what UDP's own length leaves out. */
    f.bytes[f.size - 18 - 3 - 8 + 5] = 8 + 1;
    view = parse(&f);
    cr_assert_eq(view.payload_bytes, 1);
    cr_assert_eq(view.ip_bytes, 20 + 8 + 3);
}

Test(parse, link_types)
{
    static const struct {
        enum dp_link_type link_type;
        uint32_t size;
        const char *bytes;
        enum dp_parse_result result;
    } links[] = {
        {DP_LINK_RAW_IP, 0, "", DP_PARSE_ok},
        {DP_LINK_SLL, 16, "\0\0\0\1\0\6\2\0\0\0\0\1\0\0\x08\0", DP_PARSE_ok},
        {DP_LINK_SLL, 20, "\0\0\0\1\0\6\2\0\0\0\0\1\0\0\x81\0\0\5\x08\0", DP_PARSE_ok},
        {DP_LINK_SLL, 16, "\0\0\0\1\0\6\2\0\0\0\0\1\0\0\x08\6", DP_PARSE_not_ip},
        {DP_LINK_SLL2, 20, "\x08\0\0\0\0\0\0\2\0\1\4\6\2\0\0\0\0\1\0\0", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\2\0\0\0", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\0\0\0\2", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\x0a\0\0\0", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\x18\0\0\0", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\0\0\0\x1c", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\x1e\0\0\0", DP_PARSE_ok},
        {DP_LINK_NULL, 4, "\x07\0\0\0", DP_PARSE_not_ip},
        {DP_LINK_LOOP, 4, "\0\0\0\2", DP_PARSE_ok},
        {DP_LINK_LOOP, 4, "\0\0\0\x18", DP_PARSE_ok},
        {DP_LINK_PPP, 4, "\xff\3\0\x21", DP_PARSE_ok},
        {DP_LINK_PPP, 2, "\0\x21", DP_PARSE_ok},
        {DP_LINK_PPP, 1, "\x21", DP_PARSE_ok},
        {DP_LINK_PPP, 2, "\0\x57", DP_PARSE_ok},
        {DP_LINK_PPP, 8, "\xff\3\2\x81\0\1\1\x40", DP_PARSE_ok},
        {DP_LINK_PPP, 4, "\xff\3\xc0\x21", DP_PARSE_not_ip},
        {DP_LINK_CHDLC, 4, "\x0f\0\x08\0", DP_PARSE_ok},
        {DP_LINK_CHDLC, 4, "\x8f\0\x80\x35", DP_PARSE_not_ip}, /* SLARP keepalive */
        {DP_LINK_PPP, 4, "\x0f\0\x08\0", DP_PARSE_ok},         /* Cisco HDLC all the same */
        {DP_LINK_PPP, 4, "\x8f\0\x80\x35", DP_PARSE_not_ip},
    };
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        struct frame f = {.size = 0};
        frame_put(&f, links[i].bytes, links[i].size);
        frame_ipv4(&f, 17, 1, 2, 0);
        frame_udp(&f, 1000, 2000);
        frame_end(&f);
        struct dp_view view = parse_as(&f, links[i].link_type);
        cr_expect_eq(view.result, links[i].result, "case %zu: %s", i, result_name(view.result));
        if (view.result == DP_PARSE_ok) {
            cr_expect_eq(view.ip_offset, links[i].size);
            cr_expect_eq(port(&view, false), 1000);
        }
    }
    struct frame sll2_vlan = {.size = 0}, raw6 = {.size = 0};
    frame_put(&sll2_vlan, "\x81\0\0\0\0\0\0\2\0\1\4\6\2\0\0\0\0\1\0\0\0\7\x08\0", 24);
    frame_ipv4(&sll2_vlan, 17, 1, 2, 0);
    frame_udp(&sll2_vlan, 1000, 2000);
    frame_end(&sll2_vlan);
    cr_expect_eq(parse_as(&sll2_vlan, DP_LINK_SLL2).key.context, ft_context(7, 0, FT_TUNNEL_NONE));
    frame_ipv6(&raw6, 17, 1, 2);
    frame_udp(&raw6, 1000, 2000);
    frame_end(&raw6);
    cr_expect_eq(parse_as(&raw6, DP_LINK_RAW_IP).key.is_v6, 1);
}

Test(parse, link_headers_cut_off)
{
    static const struct {
        enum dp_link_type link_type;
        uint32_t size;
    } links[] = {
        {DP_LINK_ETHERNET, 13}, {DP_LINK_RAW_IP, 0}, {DP_LINK_SLL, 15}, {DP_LINK_SLL2, 19}, {DP_LINK_NULL, 3},
        {DP_LINK_LOOP, 3},      {DP_LINK_PPP, 0},    {DP_LINK_PPP, 2},  {DP_LINK_PPP, 3},   {DP_LINK_CHDLC, 3},
    };
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        struct frame f = {.size = 0};
        frame_put(&f, "\xff\x03", 2);
        frame_put_zeros(&f, 30);
        f.size = links[i].size;
        cr_expect_eq(parse_as(&f, links[i].link_type).result, DP_PARSE_short_ethernet, "case %zu", i);
    }
}

/* The frame ends where a page without access begins: a read past it is a crash, with any compiler. */
Test(parse, no_length_of_a_frame_is_read_past)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (FRAME_BYTES_MAX + page - 1) / page * page;
    uint8_t *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(map, MAP_FAILED);
    cr_assert_eq(mprotect(map + room, page, PROT_NONE), 0);
    for (size_t i = 0; i < CASES; i++) {
        struct frame f = {.size = 0};
        cases[i].build(&f);
        struct dp_view whole = parse(&f);
        for (uint32_t size = 0; size <= f.size; size++) {
            uint8_t *bytes = map + room - size;
            memcpy(bytes, f.bytes, size);
            for (unsigned link_type = 0; link_type <= DP_LINK_CHDLC; link_type++) {
                struct rte_mbuf m = mbuf_of(bytes, size);
                struct dp_view view = parse_mbuf(&m, (enum dp_link_type)link_type);
                cr_assert_leq(view.payload_offset + view.payload_bytes, size);
                if (link_type != DP_LINK_ETHERNET || view.result != DP_PARSE_ok)
                    continue;
                cr_assert_eq(whole.result, DP_PARSE_ok, "case %zu cut to %u is ok, whole is not", i, size);
                cr_assert_eq(memcmp(&view.key, &whole.key, sizeof view.key), 0);
                cr_assert_eq(view.ip_bytes, whole.ip_bytes);
                cr_assert_eq((view.flags & DP_VIEW_TRUNCATED) != 0, size < f.size, "case %zu cut to %u", i, size);
            }
        }
    }
    munmap(map, room + page);
}

Test(parse, segments_do_not_change_the_view)
{
    for (size_t i = 0; i < CASES; i++) {
        struct frame f = {.size = 0};
        cases[i].build(&f);
        struct dp_view whole = parse(&f);
        for (uint32_t a = 0; a <= f.size; a++) {
            for (uint32_t b = a; b <= f.size; b += 1 + b % 7) {
                struct rte_mbuf segments[3];
                mbuf_chain(segments, 3, f.bytes, f.size, (uint32_t[]){a, b});
                struct dp_view view = parse_mbuf(segments, DP_LINK_ETHERNET);
                cr_assert_eq(memcmp(&view, &whole, sizeof view), 0, "case %zu cut at %u and %u", i, a, b);
            }
        }
    }
}

Test(parse, one_byte_segments)
{
    struct frame f = {.size = 0};
    extensions6(&f);
    struct dp_view whole = parse(&f), view;
    struct rte_mbuf segments[FRAME_BYTES_MAX];
    uint32_t cuts[FRAME_BYTES_MAX];
    for (uint32_t i = 0; i < f.size; i++)
        cuts[i] = i + 1;
    mbuf_chain(segments, f.size, f.bytes, f.size, cuts);
    dp_parse(segments, DP_LINK_ETHERNET, &view);
    cr_assert_eq(memcmp(&view, &whole, sizeof view), 0);
}

Test(bytes, in_place_or_copied_or_refused)
{
    uint8_t bytes[64], scratch[64];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    struct rte_mbuf segments[3];
    mbuf_chain(segments, 3, bytes, sizeof bytes, (uint32_t[]){20, 21});
    for (uint32_t offset = 0; offset <= 66; offset++) {
        for (uint32_t size = 0; size <= 66; size++) {
            const uint8_t *p = dp_bytes(segments, offset, size, scratch);
            cr_assert_eq(p != NULL, offset + size <= sizeof bytes, "%u bytes from %u", size, offset);
            if (!p)
                continue;
            cr_assert_eq(memcmp(p, bytes + offset, size), 0);
            bool crosses = offset < 21 && offset + size > 21 - (offset < 20);
            if (size)
                cr_assert_eq(p == scratch, crosses, "%u bytes from %u", size, offset);
        }
    }
    cr_assert_null(dp_bytes(segments, UINT32_MAX, 2, scratch));
    cr_assert_null(dp_bytes(segments, 2, UINT32_MAX, scratch));
}

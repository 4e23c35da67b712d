#include <netinet/in.h>
#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "base/cursor.h"
#include "dataplane/packet.h"

#define VLAN_TAGS_MAX       4u
#define MPLS_LABELS_MAX     8u
#define TUNNELS_MAX         3u
#define IPV6_EXTENSIONS_MAX 8u
#define IP_BYTES_MAX        65535u

/* Extension headers end before this, so that what may follow (3 more IP headers of 60, a TCP header) ends in 16 bits. */
#define IPV6_EXTENSIONS_END_MAX 0xff00u

/* PPP protocol numbers (RFC 1332, 5072, 3032). */
#define PPP_IPV4           0x0021u
#define PPP_IPV6           0x0057u
#define PPP_MPLS           0x0281u
#define PPP_MPLS_MULTICAST 0x0283u

#define ETHER_TYPE_CISCO_METADATA 0x8909u

#define MPLS_BOTTOM_OF_STACK 0x100u
#define IPV4_MORE_FRAGMENTS  0x2000u
#define IPV4_FRAGMENT_OFFSET 0x1fffu
#define IPV6_MORE_FRAGMENTS  0x0001u
#define IPV6_FRAGMENT_OFFSET 0xfff8u

/* Where parsing stands. offset <= end always. */
struct parser {
    const struct rte_mbuf *mbuf;
    const uint8_t *first; /* bytes of the first segment */
    uint32_t first_bytes;
    uint32_t offset; /* of the next header, from the start of the frame */
    uint32_t end;    /* of what is there of the innermost datagram: the least of the frame's and the datagrams' ends */
    uint32_t limit;  /* the least of the datagrams' ends alone, past `end` when the capture cut the frame */
    uint16_t vlan[2];
    enum dp_parse_result when_empty; /* what to say when the IP header that is due has not one byte */
};

/* What keys a packet, out of an IPv4 or IPv6 header. */
struct ip_endpoints {
    const uint8_t *src, *dst; /* 4 or 16 bytes */
    bool is_v6;
    uint8_t proto;
};

const uint8_t *dp_bytes(const struct rte_mbuf *mbuf, uint32_t offset, uint32_t size, uint8_t *scratch)
{
    uint32_t frame_bytes = rte_pktmbuf_pkt_len(mbuf);
    if (offset > frame_bytes || size > frame_bytes - offset)
        return NULL;
    if (size == 0)
        return scratch;
    return rte_pktmbuf_read(mbuf, offset, size, scratch);
}

static __rte_always_inline uint32_t bytes_left(const struct parser *p)
{
    return p->end - p->offset;
}

/* The next `size` bytes, in place or copied into `scratch`; NULL when there are fewer. Does not move on. */
static __rte_always_inline const void *header(const struct parser *p, uint32_t size, uint8_t *scratch)
{
    if (unlikely(bytes_left(p) < size))
        return NULL;
    if (unlikely(p->offset + size > p->first_bytes))
        return dp_bytes(p->mbuf, p->offset, size, scratch);
    return p->first + p->offset;
}

/*
 * The same to be read by a cursor. The headers that every packet has are read as DPDK's packed structs instead, whose size
 * is what header() was asked for: gcc 12 does not fold a cursor's checks away, 10 cycles a packet.
 */
static __rte_always_inline bool peek(const struct parser *p, uint32_t size, uint8_t *scratch, struct cursor *ret_header)
{
    const void *bytes = header(p, size, scratch);
    if (!bytes)
        return false;
    *ret_header = cursor_of(bytes, size);
    return true;
}

/* Narrows the bounds to a datagram of `bytes` that starts at p->offset. */
static __rte_always_inline void enter_datagram(struct parser *p, uint32_t bytes, struct dp_view *view)
{
    uint32_t datagram_end = p->offset + bytes;
    if (unlikely(datagram_end > p->end))
        view->flags |= DP_VIEW_TRUNCATED;
    p->end = RTE_MIN(p->end, datagram_end);
    p->limit = RTE_MIN(p->limit, datagram_end);
    view->ip_offset = (uint16_t)p->offset;
    if (view->ip_bytes == 0)
        view->ip_bytes = bytes;
}

/* A fragment that carries `bytes` of its datagram. */
static enum dp_parse_result enter_fragment(uint32_t bytes, uint32_t offset_bytes, bool is_last, uint32_t id,
                                           struct dp_view *view)
{
    if (bytes == 0 || bytes > IP_BYTES_MAX || offset_bytes + bytes > IP_BYTES_MAX)
        return DP_PARSE_bad_fragment;
    view->flags |= DP_VIEW_FRAGMENT;
    if (offset_bytes == 0)
        view->flags |= DP_VIEW_FIRST_FRAGMENT;
    if (is_last)
        view->flags |= DP_VIEW_LAST_FRAGMENT;
    view->fragment_id = id;
    view->fragment_offset_bytes = (uint16_t)offset_bytes;
    view->fragment_bytes = (uint16_t)bytes;
    return DP_PARSE_ok;
}

static bool is_later_fragment(const struct dp_view *view)
{
    return (view->flags & (DP_VIEW_FRAGMENT | DP_VIEW_FIRST_FRAGMENT)) == DP_VIEW_FRAGMENT;
}

static __rte_always_inline enum dp_parse_result parse_ipv4(struct parser *p, uint8_t scratch[40],
                                                           struct ip_endpoints *ret_ip, struct dp_view *view)
{
    const struct rte_ipv4_hdr *ip = header(p, sizeof *ip, scratch);
    if (!ip)
        return DP_PARSE_short_ipv4;
    uint32_t header_bytes = (ip->version_ihl & 0xfu) * 4;
    uint32_t total_bytes = rte_be_to_cpu_16(ip->total_length);
    uint32_t fragment = rte_be_to_cpu_16(ip->fragment_offset);
    view->dscp = ip->type_of_service >> 2;
    ret_ip->proto = ip->next_proto_id;
    ret_ip->src = (const uint8_t *)ip + offsetof(struct rte_ipv4_hdr, src_addr);
    ret_ip->dst = (const uint8_t *)ip + offsetof(struct rte_ipv4_hdr, dst_addr);
    ret_ip->is_v6 = false;

    if (unlikely(header_bytes < 20 || header_bytes > bytes_left(p)))
        return DP_PARSE_bad_ipv4_header_length;
    if (unlikely(total_bytes == 0))
        total_bytes = bytes_left(p);
    if (unlikely(total_bytes < header_bytes))
        return DP_PARSE_bad_ipv4_total_length;
    enter_datagram(p, total_bytes, view);
    p->offset += header_bytes;
    if (likely((fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) == 0))
        return DP_PARSE_ok;
    return enter_fragment(p->limit - p->offset, (fragment & IPV4_FRAGMENT_OFFSET) * 8u,
                          !(fragment & IPV4_MORE_FRAGMENTS), rte_be_to_cpu_16(ip->packet_id), view);
}

static bool is_ipv6_extension(uint8_t proto)
{
    switch (proto) {
    case IPPROTO_HOPOPTS:
    case IPPROTO_ROUTING:
    case IPPROTO_FRAGMENT:
    case IPPROTO_AH:
    case IPPROTO_DSTOPTS:
    case IPPROTO_MH:
    case 139: /* Host Identity Protocol, RFC 7401 */
    case 140: /* Shim6, RFC 5533 */
        return true;
    default:
        return false;
    }
}

/*
 * Walks the chain of extension headers and leaves the upper layer's number in ret_ip->proto. A fragment header with
 * offset 0 and no more fragments is a whole datagram (RFC 6946); behind one with an offset there is no header.
 */
static enum dp_parse_result parse_ipv6_extensions(struct parser *p, struct ip_endpoints *ret_ip, struct dp_view *view)
{
    for (unsigned count = 0; is_ipv6_extension(ret_ip->proto); count++) {
        uint8_t scratch[8];
        struct cursor c;
        if (count == IPV6_EXTENSIONS_MAX || !peek(p, sizeof scratch, scratch, &c))
            return DP_PARSE_bad_ipv6_extension;
        uint8_t kind = ret_ip->proto;
        ret_ip->proto = cursor_u8(&c);
        uint32_t length = cursor_u8(&c);
        uint16_t fragment = cursor_be16(&c);
        uint32_t fragment_id = cursor_be32(&c);
        uint32_t header_bytes = kind == IPPROTO_FRAGMENT ? 8 : kind == IPPROTO_AH ? (length + 2) * 4 : (length + 1) * 8;
        if (header_bytes > bytes_left(p) || p->offset + header_bytes > IPV6_EXTENSIONS_END_MAX)
            return DP_PARSE_bad_ipv6_extension;
        p->offset += header_bytes;
        if (kind != IPPROTO_FRAGMENT || (fragment & (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS)) == 0)
            continue;
        if (view->flags & DP_VIEW_FRAGMENT)
            return DP_PARSE_bad_ipv6_extension;
        enum dp_parse_result result = enter_fragment(p->limit - p->offset, fragment & IPV6_FRAGMENT_OFFSET,
                                                     !(fragment & IPV6_MORE_FRAGMENTS), fragment_id, view);
        if (result != DP_PARSE_ok || is_later_fragment(view))
            return result;
    }
    return DP_PARSE_ok;
}

static __rte_always_inline enum dp_parse_result parse_ipv6(struct parser *p, uint8_t scratch[40],
                                                           struct ip_endpoints *ret_ip, struct dp_view *view)
{
    const struct rte_ipv6_hdr *ip = header(p, sizeof *ip, scratch);
    if (!ip)
        return DP_PARSE_short_ipv6;
    uint32_t total_bytes = 40u + rte_be_to_cpu_16(ip->payload_len);
    view->dscp = rte_be_to_cpu_32(ip->vtc_flow) >> 22 & 0x3f;
    ret_ip->proto = ip->proto;
    ret_ip->src = ip->src_addr;
    ret_ip->dst = ip->dst_addr;
    ret_ip->is_v6 = true;

    if (unlikely(total_bytes == 40 && ret_ip->proto != IPPROTO_NONE))
        total_bytes = bytes_left(p);
    enter_datagram(p, total_bytes, view);
    p->offset += 40;
    return parse_ipv6_extensions(p, ret_ip, view);
}

static __rte_always_inline enum dp_parse_result parse_tcp(struct parser *p, uint8_t scratch[20], uint16_t ports_be16[2],
                                                          struct dp_view *view)
{
    const struct rte_tcp_hdr *tcp = header(p, sizeof *tcp, scratch);
    if (!tcp)
        return DP_PARSE_short_tcp;
    ports_be16[0] = tcp->src_port;
    ports_be16[1] = tcp->dst_port;
    view->tcp_seq = rte_be_to_cpu_32(tcp->sent_seq);
    view->tcp_ack = rte_be_to_cpu_32(tcp->recv_ack);
    view->tcp_flags = tcp->tcp_flags;
    uint32_t header_bytes = (uint32_t)(tcp->data_off >> 4) * 4;
    /* The options of a fragmented segment may end in a later fragment. */
    if (unlikely(header_bytes < 20 || (header_bytes > p->limit - p->offset && (view->flags & DP_VIEW_FRAGMENT) == 0)))
        return DP_PARSE_bad_tcp_offset;
    p->offset += RTE_MIN(header_bytes, bytes_left(p));
    return DP_PARSE_ok;
}

static __rte_always_inline enum dp_parse_result parse_udp(struct parser *p, uint8_t scratch[20], uint16_t ports_be16[2],
                                                          const struct dp_view *view)
{
    const struct rte_udp_hdr *udp = header(p, sizeof *udp, scratch);
    if (!udp)
        return DP_PARSE_short_udp;
    ports_be16[0] = udp->src_port;
    ports_be16[1] = udp->dst_port;
    uint32_t bytes = rte_be_to_cpu_16(udp->dgram_len);
    if (likely(bytes != 0)) {
        /* In a first fragment it is the length of the whole datagram. */
        if (unlikely(bytes < 8 || (bytes > p->limit - p->offset && (view->flags & DP_VIEW_FRAGMENT) == 0)))
            return DP_PARSE_bad_udp_length;
        p->end = RTE_MIN(p->end, p->offset + bytes);
    }
    p->offset += 8;
    return DP_PARSE_ok;
}

static enum dp_parse_result parse_sctp(struct parser *p, uint8_t scratch[20], uint16_t ports_be16[2])
{
    const struct rte_sctp_hdr *sctp = header(p, sizeof *sctp, scratch);
    if (!sctp)
        return DP_PARSE_short_sctp;
    ports_be16[0] = sctp->src_port;
    ports_be16[1] = sctp->dst_port;
    p->offset += (uint32_t)sizeof *sctp;
    return DP_PARSE_ok;
}

static enum dp_parse_result parse_icmp(struct parser *p)
{
    if (bytes_left(p) < 8)
        return DP_PARSE_short_icmp;
    p->offset += 8;
    return DP_PARSE_ok;
}

static __rte_always_inline enum dp_parse_result parse_transport(struct parser *p, const struct ip_endpoints *ip,
                                                                enum ft_tunnel tunnel, struct dp_view *view)
{
    uint8_t scratch[20];
    uint16_t ports_be16[2] = {0, 0};
    enum dp_parse_result result = DP_PARSE_ok;
    view->transport_offset = (uint16_t)p->offset;
    if (likely(!is_later_fragment(view))) {
        if (ip->proto == IPPROTO_TCP)
            result = parse_tcp(p, scratch, ports_be16, view);
        else if (ip->proto == IPPROTO_UDP)
            result = parse_udp(p, scratch, ports_be16, view);
        else if (ip->proto == IPPROTO_SCTP)
            result = parse_sctp(p, scratch, ports_be16);
        else if (ip->proto == IPPROTO_ICMP || ip->proto == IPPROTO_ICMPV6)
            result = parse_icmp(p);
        if (unlikely(result != DP_PARSE_ok))
            return result;
    }
    view->payload_offset = (uint16_t)p->offset;
    view->payload_bytes = bytes_left(p);

    /* Twice, so that each has its sizes as constants. */
    uint32_t context = ft_context(p->vlan[0], p->vlan[1], tunnel);
    if (ip->is_v6)
        view->swap = ft_key_make(&view->key, true, ip->src, ip->dst, ports_be16[0], ports_be16[1], ip->proto, context);
    else
        view->swap = ft_key_make(&view->key, false, ip->src, ip->dst, ports_be16[0], ports_be16[1], ip->proto, context);
    return DP_PARSE_ok;
}

/* An IP header and those it carries, down to the innermost. The header's own version counts, not the carrier's word. */
static __rte_always_inline enum dp_parse_result parse_ip(struct parser *p, struct dp_view *view)
{
    static const enum ft_tunnel tunnels[2][2] = {{FT_TUNNEL_IPIP, FT_TUNNEL_6IN4}, {FT_TUNNEL_4IN6, FT_TUNNEL_6IN6}};
    enum ft_tunnel tunnel = FT_TUNNEL_NONE;
    struct ip_endpoints ip = {.is_v6 = false};
    for (unsigned depth = 0;; depth++) {
        uint8_t scratch[40];
        const uint8_t *first_byte = header(p, 1, scratch);
        if (!first_byte)
            return p->when_empty;
        uint8_t version = *first_byte >> 4;
        bool outer_is_v6 = ip.is_v6;
        enum dp_parse_result result = version == 4   ? parse_ipv4(p, scratch, &ip, view)
                                      : version == 6 ? parse_ipv6(p, scratch, &ip, view)
                                                     : DP_PARSE_bad_ip_version;
        if (unlikely(result != DP_PARSE_ok))
            return result;
        if (depth > 0)
            tunnel = tunnels[outer_is_v6][ip.is_v6];
        if (likely((ip.proto != IPPROTO_IPIP && ip.proto != IPPROTO_IPV6) || (view->flags & DP_VIEW_FRAGMENT)))
            return parse_transport(p, &ip, tunnel, view);
        if (depth == TUNNELS_MAX)
            return DP_PARSE_too_many_tunnels;
        p->when_empty = ip.proto == IPPROTO_IPIP ? DP_PARSE_short_ipv4 : DP_PARSE_short_ipv6;
    }
}

/* Everything from here on finds an IP header: ok means that it is due at p->offset. */
static enum dp_parse_result found_ip(struct parser *p, enum dp_parse_result when_empty)
{
    p->when_empty = when_empty;
    return DP_PARSE_ok;
}

static enum dp_parse_result parse_mpls(struct parser *p)
{
    uint8_t scratch[4];
    struct cursor c;
    for (unsigned labels = 0;; labels++) {
        if (labels == MPLS_LABELS_MAX)
            return DP_PARSE_too_many_tags;
        if (!peek(p, 4, scratch, &c))
            return DP_PARSE_short_mpls;
        p->offset += 4;
        if (cursor_be32(&c) & MPLS_BOTTOM_OF_STACK)
            break;
    }
    if (!peek(p, 1, scratch, &c))
        return DP_PARSE_short_mpls;
    uint8_t version = cursor_u8(&c) >> 4;
    return version == 4 || version == 6 ? DP_PARSE_ok : DP_PARSE_not_ip;
}

/* From the PPP protocol number on, which is one byte when odd (RFC 1661, 6.5). */
static enum dp_parse_result parse_ppp(struct parser *p, enum dp_parse_result when_short)
{
    uint8_t scratch[2];
    struct cursor c;
    if (!peek(p, 1, scratch, &c))
        return when_short;
    uint16_t protocol = cursor_u8(&c);
    p->offset++;
    if (!(protocol & 1)) {
        if (!peek(p, 1, scratch, &c))
            return when_short;
        protocol = (uint16_t)(protocol << 8 | cursor_u8(&c));
        p->offset++;
    }
    switch (protocol) {
    case PPP_IPV4:
        return found_ip(p, DP_PARSE_short_ipv4);
    case PPP_IPV6:
        return found_ip(p, DP_PARSE_short_ipv6);
    case PPP_MPLS:
    case PPP_MPLS_MULTICAST:
        return parse_mpls(p);
    default:
        return DP_PARSE_not_ip;
    }
}

static enum dp_parse_result parse_pppoe(struct parser *p)
{
    uint8_t scratch[6];
    struct cursor c;
    if (!peek(p, 6, scratch, &c) || cursor_be16(&c) != 0x1100) /* version 1, type 1, code 0: session data */
        return DP_PARSE_bad_pppoe;
    p->offset += 6;
    return parse_ppp(p, DP_PARSE_bad_pppoe);
}

/* The tag at p->offset. An id of 0 is a priority alone and takes no place in the context. */
static bool parse_vlan_tag(struct parser *p, uint16_t *ret_ether_type)
{
    uint8_t scratch[4];
    struct cursor c;
    if (!peek(p, 4, scratch, &c))
        return false;
    uint16_t id = cursor_be16(&c) & 0xfff;
    *ret_ether_type = cursor_be16(&c);
    if (p->vlan[0] == 0)
        p->vlan[0] = id;
    else if (p->vlan[1] == 0)
        p->vlan[1] = id;
    p->offset += 4;
    return true;
}

/* Cisco MetaData, a tag with a security group: version 1, one option, its type and value, the type of what follows. */
static bool parse_metadata_tag(struct parser *p, uint16_t *ret_ether_type)
{
    uint8_t scratch[8];
    struct cursor c;
    if (!peek(p, sizeof scratch, scratch, &c) || cursor_be16(&c) != 0x0101)
        return false;
    cursor_skip(&c, 4);
    *ret_ether_type = cursor_be16(&c);
    p->offset += 8;
    return true;
}

static enum dp_parse_result parse_ether_type(struct parser *p, uint16_t ether_type)
{
    for (unsigned tags = 0;; tags++) {
        switch (ether_type) {
        case RTE_ETHER_TYPE_IPV4:
            return found_ip(p, DP_PARSE_short_ipv4);
        case RTE_ETHER_TYPE_IPV6:
            return found_ip(p, DP_PARSE_short_ipv6);
        case RTE_ETHER_TYPE_VLAN:
        case RTE_ETHER_TYPE_QINQ:
        case RTE_ETHER_TYPE_QINQ1:
            if (tags == VLAN_TAGS_MAX)
                return DP_PARSE_too_many_tags;
            if (!parse_vlan_tag(p, &ether_type))
                return DP_PARSE_short_vlan;
            break;
        case ETHER_TYPE_CISCO_METADATA:
            if (tags == VLAN_TAGS_MAX)
                return DP_PARSE_too_many_tags;
            if (!parse_metadata_tag(p, &ether_type))
                return DP_PARSE_not_ip;
            break;
        case RTE_ETHER_TYPE_MPLS:
        case RTE_ETHER_TYPE_MPLSM:
            return parse_mpls(p);
        case RTE_ETHER_TYPE_PPPOE_SESSION:
            return parse_pppoe(p);
        default:
            return DP_PARSE_not_ip;
        }
    }
}

/* A link header of `header_bytes` with an Ethernet type at `type_offset`. */
static enum dp_parse_result parse_typed_link(struct parser *p, uint32_t header_bytes, uint32_t type_offset)
{
    uint8_t scratch[20];
    const uint8_t *bytes = header(p, header_bytes, scratch);
    if (!bytes)
        return DP_PARSE_short_ethernet;
    rte_be16_t ether_type;
    memcpy(&ether_type, bytes + type_offset, sizeof ether_type);
    p->offset += header_bytes;
    return parse_ether_type(p, rte_be_to_cpu_16(ether_type));
}

/* BSD null and loop: a protocol family in the byte order of the host that captured, or big-endian; all are small. */
static enum dp_parse_result parse_family_link(struct parser *p)
{
    uint8_t scratch[4];
    struct cursor c;
    if (!peek(p, 4, scratch, &c))
        return DP_PARSE_short_ethernet;
    uint32_t family = cursor_be32(&c);
    if (family > 0xffff)
        family = __builtin_bswap32(family);
    p->offset += 4;
    switch (family) {
    case 2: /* AF_INET everywhere */
        return found_ip(p, DP_PARSE_short_ipv4);
    case 10: /* AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, of macOS */
    case 24:
    case 28:
    case 30:
        return found_ip(p, DP_PARSE_short_ipv6);
    default:
        return DP_PARSE_not_ip;
    }
}

/*
 * PPP, with or without the address and control bytes of HDLC framing. Captures of serial lines of this type may be Cisco
 * HDLC all the same, which no PPP header looks like: address 0x0f or 0x8f, control 0, Ethernet type.
 */
static enum dp_parse_result parse_ppp_link(struct parser *p)
{
    uint8_t scratch[2];
    struct cursor c;
    if (peek(p, 2, scratch, &c)) {
        uint16_t address_control = cursor_be16(&c);
        if (address_control == 0x0f00 || address_control == 0x8f00)
            return parse_typed_link(p, 4, 2);
        if (address_control == 0xff03)
            p->offset += 2;
    }
    return parse_ppp(p, DP_PARSE_short_ethernet);
}

static __rte_noinline enum dp_parse_result parse_link(struct parser *p, enum dp_link_type link_type)
{
    switch (link_type) {
    case DP_LINK_ETHERNET:
        return parse_typed_link(p, RTE_ETHER_HDR_LEN, 12);
    case DP_LINK_RAW_IP:
        return found_ip(p, DP_PARSE_short_ethernet);
    case DP_LINK_SLL:
        return parse_typed_link(p, 16, 14);
    case DP_LINK_SLL2:
        return parse_typed_link(p, 20, 0);
    case DP_LINK_NULL:
    case DP_LINK_LOOP:
        return parse_family_link(p);
    case DP_LINK_PPP:
        return parse_ppp_link(p);
    case DP_LINK_CHDLC:
        return parse_typed_link(p, 4, 2);
    }
    return DP_PARSE_not_ip;
}

/* Ethernet with an IP header right behind it, as most frames are; anything else is parse_link()'s. */
static __rte_always_inline bool parse_plain_ethernet(struct parser *p)
{
    uint8_t scratch[RTE_ETHER_HDR_LEN];
    const uint8_t *bytes = header(p, RTE_ETHER_HDR_LEN, scratch);
    if (!bytes)
        return false;
    rte_be16_t ether_type;
    memcpy(&ether_type, bytes + 12, sizeof ether_type);
    if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
        p->when_empty = DP_PARSE_short_ipv4;
    else if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
        p->when_empty = DP_PARSE_short_ipv6;
    else
        return false;
    p->offset = RTE_ETHER_HDR_LEN;
    return true;
}

void dp_parse(const struct rte_mbuf *mbuf, enum dp_link_type link_type, struct dp_view *ret_view)
{
    struct parser p = {
        .mbuf = mbuf,
        .first = rte_pktmbuf_mtod(mbuf, const uint8_t *),
        .first_bytes = rte_pktmbuf_data_len(mbuf),
        .end = rte_pktmbuf_pkt_len(mbuf),
        .limit = UINT32_MAX,
    };
    memset(ret_view, 0, sizeof *ret_view);
    if (unlikely(link_type != DP_LINK_ETHERNET || !parse_plain_ethernet(&p))) {
        /* A copy: the parser of the plain case stays in registers, since its address goes to inlined functions alone. */
        struct parser link = p;
        enum dp_parse_result result = parse_link(&link, link_type);
        if (result != DP_PARSE_ok) {
            ret_view->result = (uint8_t)result;
            return;
        }
        p = link;
    }
    ret_view->result = (uint8_t)parse_ip(&p, ret_view);
}

/*
 * The short way for what most packets are: TCP or UDP over IPv4 without options or IPv6 without extensions, whole, in
 * Ethernet with at most one VLAN tag, headers in the first segment. Each length is checked once, and of what differs from
 * packet to packet only the IP version and the protocol are branched on. Whatever is not plain, or turns out not to be, is
 * dp_parse()'s, which gives the same view for plain packets as well.
 */
#include <netinet/in.h>
#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_prefetch.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/packet.h"

#define VLAN_TAG_BYTES 4u
#define PREFETCH_AHEAD 4u

/* Of the first 8 bytes of an IPv4 header: version and header length; more fragments and offset. As read on x86. */
#define IPV4_PLAIN_MASK  UINT64_C(0xff3f0000000000ff)
#define IPV4_PLAIN_VALUE UINT64_C(0x45)

static __rte_always_inline uint16_t be16_at(const uint8_t *bytes)
{
    rte_be16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* What of the view is known before the transport header is looked at. */
struct plain {
    const uint8_t *ip;
    uint32_t ip_offset, there_bytes; /* of the first segment */
    uint32_t ip_bytes, context;
    uint8_t proto, dscp;
};

/* `is_v6` and `is_tcp` are constants at each call. */
static __rte_always_inline bool parse_transport(const struct plain *p, bool is_v6, bool is_tcp, struct dp_view *view)
{
    const uint32_t ip_header_bytes = is_v6 ? 40 : 20;
    const uint8_t *ip = p->ip, *transport = ip + ip_header_bytes;
    const int32_t segment_bytes = (int32_t)(p->ip_bytes - ip_header_bytes);
    int32_t header_bytes = 8, length_bytes = segment_bytes;
    if (unlikely(p->ip_offset + ip_header_bytes + (is_tcp ? 20u : 8u) > p->there_bytes))
        return false;
    if (is_tcp) {
        header_bytes = (transport[offsetof(struct rte_tcp_hdr, data_off)] >> 4) * 4;
        if (unlikely(header_bytes < 20))
            return false;
    } else {
        length_bytes = rte_be_to_cpu_16(be16_at(transport + offsetof(struct rte_udp_hdr, dgram_len)));
    }
    if (unlikely(header_bytes > length_bytes || length_bytes > segment_bytes))
        return false;

    uint8_t swap = ft_key_make(&view->key, is_v6, ip + (is_v6 ? 8 : 12), ip + (is_v6 ? 24 : 16), be16_at(transport),
                               be16_at(transport + 2), is_tcp ? IPPROTO_TCP : IPPROTO_UDP, p->context);
    memset(&view->swap, 0, sizeof *view - offsetof(struct dp_view, swap));
    view->swap = swap;
    view->dscp = p->dscp;
    view->payload_offset = (uint16_t)(p->ip_offset + ip_header_bytes + (uint32_t)header_bytes);
    view->payload_bytes = (uint32_t)(length_bytes - header_bytes);
    view->ip_bytes = p->ip_bytes;
    view->ip_offset = (uint16_t)p->ip_offset;
    view->transport_offset = (uint16_t)(p->ip_offset + ip_header_bytes);
    if (is_tcp) {
        const struct rte_tcp_hdr *tcp = (const struct rte_tcp_hdr *)transport;
        view->tcp_flags = tcp->tcp_flags;
        view->tcp_seq = rte_be_to_cpu_32(tcp->sent_seq);
        view->tcp_ack = rte_be_to_cpu_32(tcp->recv_ack);
    }
    return true;
}

static __rte_always_inline bool parse_protocol(const struct plain *p, bool is_v6, struct dp_view *view)
{
    if (likely(p->proto == IPPROTO_TCP))
        return parse_transport(p, is_v6, true, view);
    return p->proto == IPPROTO_UDP && parse_transport(p, is_v6, false, view);
}

/* False when the packet is not plain; the view is void then. */
static __rte_always_inline bool parse_plain(const struct rte_mbuf *mbuf, struct dp_view *view)
{
    const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
    struct plain p = {.ip_offset = RTE_ETHER_HDR_LEN, .there_bytes = rte_pktmbuf_data_len(mbuf)};
    if (unlikely(p.there_bytes < RTE_ETHER_HDR_LEN + VLAN_TAG_BYTES + sizeof(struct rte_ipv4_hdr)))
        return false;
    uint16_t ether_type = be16_at(frame + 12);
    if (ether_type == RTE_BE16(RTE_ETHER_TYPE_VLAN)) {
        p.context = ft_context(rte_be_to_cpu_16(be16_at(frame + 14)), 0, FT_TUNNEL_NONE);
        ether_type = be16_at(frame + 16);
        p.ip_offset += VLAN_TAG_BYTES;
    }
    p.ip = frame + p.ip_offset;
    uint64_t first;
    memcpy(&first, p.ip, sizeof first);
    if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
        p.ip_bytes = rte_be_to_cpu_16((uint16_t)(first >> 16));
        p.dscp = (uint8_t)(first >> 8) >> 2;
        p.proto = p.ip[offsetof(struct rte_ipv4_hdr, next_proto_id)];
        return (first & IPV4_PLAIN_MASK) == IPV4_PLAIN_VALUE && p.ip_offset + p.ip_bytes <= rte_pktmbuf_pkt_len(mbuf) &&
               parse_protocol(&p, false, view);
    }
    if (ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6)) {
        p.ip_bytes = rte_be_to_cpu_16((uint16_t)(first >> 32)) + 40u;
        p.dscp = rte_be_to_cpu_16((uint16_t)first) >> 6 & 0x3f;
        p.proto = (uint8_t)(first >> 48);
        return (first & 0xf0) == 0x60 && p.ip_offset + p.ip_bytes <= rte_pktmbuf_pkt_len(mbuf) &&
               parse_protocol(&p, true, view);
    }
    return false;
}

void dp_parse_bulk(struct rte_mbuf *const mbufs[], const uint8_t link_types[], unsigned count,
                   struct dp_view ret_views[])
{
    for (unsigned i = 0; i < count && i < PREFETCH_AHEAD; i++)
        rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], const void *));
    for (unsigned i = 0; i < count; i++) {
        if (i + PREFETCH_AHEAD < count)
            rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + PREFETCH_AHEAD], const void *));
        if (unlikely(link_types[i] != DP_LINK_ETHERNET || !parse_plain(mbufs[i], &ret_views[i])))
            dp_parse(mbufs[i], link_types[i], &ret_views[i]);
    }
}

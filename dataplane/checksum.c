#include "dataplane/checksum.h"

#include <netinet/in.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

/* An IP header that begins here is the frame's first: an Ethernet header, two tags. Behind a tunnel it would be further. */
#define FIRST_IP_OFFSET_MAX 22u
#define IP_HEADER_BYTES_MAX 60u

/* What of an IP header the sums need. */
struct datagram {
    uint32_t end;           /* of the datagram, from the start of the frame; 0: not known */
    uint32_t addresses_sum; /* of source and destination */
    bool is_header_wrong;   /* IPv4 */
};

static bool read_ip(const struct rte_mbuf *mbuf, const struct dp_view *view, struct datagram *ret_datagram)
{
    uint8_t scratch[IP_HEADER_BYTES_MAX];
    const uint8_t *bytes = dp_bytes(mbuf, view->ip_offset, view->key.is_v6 ? 40 : 20, scratch);
    if (!bytes)
        return false;
    if (view->key.is_v6) {
        const struct rte_ipv6_hdr *ip = (const void *)bytes;
        uint32_t payload_bytes = rte_be_to_cpu_16(ip->payload_len);
        ret_datagram->end = payload_bytes ? view->ip_offset + 40u + payload_bytes : 0;
        ret_datagram->addresses_sum = rte_raw_cksum(ip->src_addr, 32);
        return true;
    }
    const struct rte_ipv4_hdr *ip = (const void *)bytes;
    uint32_t total_bytes = rte_be_to_cpu_16(ip->total_length), header_bytes = (ip->version_ihl & 0xfu) * 4;
    ret_datagram->end = total_bytes ? view->ip_offset + total_bytes : 0;
    ret_datagram->addresses_sum = rte_raw_cksum(&ip->src_addr, 8);
    if (header_bytes > 20)
        bytes = dp_bytes(mbuf, view->ip_offset, header_bytes, scratch);
    ret_datagram->is_header_wrong = bytes && rte_raw_cksum(bytes, header_bytes) != 0xffff;
    return bytes;
}

/* Sum of `size` bytes from `offset`, all there. By hand, since rte_raw_cksum_mbuf() of 22.11 adds segments of odd sizes wrong. */
static uint32_t sum_of(const struct rte_mbuf *segment, uint32_t offset, uint32_t size)
{
    uint32_t sum = 0, done = 0;
    for (; offset >= segment->data_len; segment = segment->next)
        offset -= segment->data_len;
    for (; done < size; segment = segment->next, offset = 0) {
        uint32_t part = RTE_MIN(size - done, segment->data_len - offset);
        uint16_t raw = rte_raw_cksum(rte_pktmbuf_mtod_offset(segment, const uint8_t *, offset), part);
        sum += done & 1 ? rte_bswap16(raw) : raw;
        done += part;
    }
    return sum;
}

/* TCP or UDP, whole and there. */
static bool is_transport_wrong(const struct rte_mbuf *mbuf, const struct dp_view *view, const struct datagram *datagram)
{
    uint8_t scratch[sizeof(struct rte_udp_hdr)];
    uint32_t begin = view->transport_offset, size = datagram->end - begin;
    if (view->key.ip_proto == IPPROTO_UDP) {
        const struct rte_udp_hdr *udp = (const void *)dp_bytes(mbuf, begin, sizeof *udp, scratch);
        if (!udp || !udp->dgram_cksum)
            return false;
        if (udp->dgram_len)
            size = rte_be_to_cpu_16(udp->dgram_len);
    }
    if (!size || begin + size > rte_pktmbuf_pkt_len(mbuf))
        return false;
    uint64_t all = (uint64_t)sum_of(mbuf, begin, size) + datagram->addresses_sum +
                   rte_cpu_to_be_16((uint16_t)view->key.ip_proto) + rte_cpu_to_be_16((uint16_t)(size & 0xffff)) +
                   rte_cpu_to_be_16((uint16_t)(size >> 16));
    while (all >> 16)
        all = (all & 0xffff) + (all >> 16);
    return all != 0xffff;
}

bool dp_checksum_is_wrong(const struct rte_mbuf *mbuf, const struct dp_view *view)
{
    uint64_t nic = view->ip_offset <= FIRST_IP_OFFSET_MAX ? mbuf->ol_flags : 0;
    uint64_t nic_ip = nic & RTE_MBUF_F_RX_IP_CKSUM_MASK, nic_l4 = nic & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    bool has_transport = (view->key.ip_proto == IPPROTO_TCP || view->key.ip_proto == IPPROTO_UDP) &&
                         !(view->flags & (DP_VIEW_FRAGMENT | DP_VIEW_TRUNCATED));
    bool is_ip_known = view->key.is_v6 || nic_ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    bool is_transport_known = !has_transport || nic_l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    if (is_ip_known && is_transport_known)
        return false;
    if (nic_ip == RTE_MBUF_F_RX_IP_CKSUM_BAD || (has_transport && nic_l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD))
        return true;
    struct datagram datagram = {.end = 0};
    if (!read_ip(mbuf, view, &datagram))
        return false;
    if (datagram.is_header_wrong)
        return true;
    return !is_transport_known && datagram.end > view->transport_offset && is_transport_wrong(mbuf, view, &datagram);
}

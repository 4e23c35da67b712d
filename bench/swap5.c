/* What testpmd's 5tswap does: MACs, addresses and ports swapped. */
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "bench/bench.h"

static void swap_bytes(void *a, void *b, size_t size)
{
    uint8_t first[16], second[16];
    memcpy(first, a, size);
    memcpy(second, b, size);
    memcpy(a, second, size);
    memcpy(b, first, size);
}

static void swap_packet(struct rte_mbuf *mbuf)
{
    struct rte_ether_hdr *ether = rte_pktmbuf_mtod(mbuf, struct rte_ether_hdr *);
    struct rte_tcp_hdr *tcp;
    swap_bytes(&ether->src_addr, &ether->dst_addr, RTE_ETHER_ADDR_LEN);
    if (ether->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
        struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
        swap_bytes(&ip->src_addr, &ip->dst_addr, 4);
        if (ip->next_proto_id != IPPROTO_TCP)
            return;
        tcp = (struct rte_tcp_hdr *)((uint8_t *)ip + rte_ipv4_hdr_len(ip));
    } else if (ether->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6)) {
        struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(ether + 1);
        swap_bytes(ip->src_addr, ip->dst_addr, 16);
        if (ip->proto != IPPROTO_TCP)
            return;
        tcp = (struct rte_tcp_hdr *)(ip + 1);
    } else {
        return;
    }
    swap_bytes(&tcp->src_port, &tcp->dst_port, 2);
}

void bench_swap5_burst(const struct bench_source *source, struct bench_sink *sink, struct dp_burst *burst,
                       uint32_t begin)
{
    bench_source_burst(source, burst, begin, bench_now_ns());
    for (unsigned i = 0; i < DP_BURST_MAX; i++)
        swap_packet(burst->mbuf[i]);
    bench_sink_burst(sink, burst->mbuf, DP_BURST_MAX);
}

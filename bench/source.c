#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "bench/bench.h"

void bench_source_create(struct bench_source *source, struct rte_mempool *pool, uint32_t length)
{
    *source = (struct bench_source){.pool = pool,
                                    .length = length,
                                    .frames = bench_alloc((size_t)length * BENCH_FRAME_BYTES),
                                    .frame_bytes = bench_alloc(length * sizeof *source->frame_bytes),
                                    .side = bench_alloc(length)};
}

void bench_source_destroy(struct bench_source *source)
{
    bench_free(source->frames, (size_t)source->length * BENCH_FRAME_BYTES);
    bench_free(source->frame_bytes, source->length * sizeof *source->frame_bytes);
    bench_free(source->side, source->length);
}

static_assert(sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv6_hdr) + sizeof(struct rte_tcp_hdr) <=
                  BENCH_FRAME_BYTES,
              "all headers are copied");

#define SMALLEST_V4_BYTES 64u
#define SMALLEST_V6_BYTES 78u

/* The smallest frame has no payload: what an IPv4 header and TCP's leave of it is Ethernet's padding. */
static void write_frame(uint8_t ret_frame[BENCH_FRAME_BYTES], const struct bench_tuple *tuple, bool from_server,
                        uint8_t tcp_flags, uint16_t frame_bytes)
{
    memset(ret_frame, 0, BENCH_FRAME_BYTES);
    struct rte_ether_hdr *ether = (struct rte_ether_hdr *)ret_frame;
    memset(ether, from_server ? 2 : 4, 2 * RTE_ETHER_ADDR_LEN);
    const uint8_t *source = from_server ? tuple->server : tuple->client;
    const uint8_t *destination = from_server ? tuple->client : tuple->server;
    bool is_smallest = frame_bytes == (tuple->is_v6 ? SMALLEST_V6_BYTES : SMALLEST_V4_BYTES);
    uint8_t *transport;
    if (tuple->is_v6) {
        struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(ether + 1);
        ether->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV6);
        ip->vtc_flow = RTE_BE32(0x60000000);
        ip->payload_len = rte_cpu_to_be_16(
            (uint16_t)(is_smallest ? sizeof(struct rte_tcp_hdr) : frame_bytes - sizeof *ether - sizeof *ip));
        ip->proto = IPPROTO_TCP;
        ip->hop_limits = 64;
        memcpy(ip->src_addr, source, 16);
        memcpy(ip->dst_addr, destination, 16);
        transport = (uint8_t *)(ip + 1);
    } else {
        struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
        ether->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
        ip->version_ihl = 0x45;
        ip->total_length = rte_cpu_to_be_16(
            (uint16_t)(is_smallest ? sizeof *ip + sizeof(struct rte_tcp_hdr) : frame_bytes - sizeof *ether));
        ip->time_to_live = 64;
        ip->next_proto_id = IPPROTO_TCP;
        memcpy(&ip->src_addr, source, 4);
        memcpy(&ip->dst_addr, destination, 4);
        transport = (uint8_t *)(ip + 1);
    }
    memcpy(transport, from_server ? &tuple->server_port_be16 : &tuple->client_port_be16, 2);
    memcpy(transport + 2, from_server ? &tuple->client_port_be16 : &tuple->server_port_be16, 2);
    struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)transport;
    tcp->data_off = 0x50;
    tcp->tcp_flags = tcp_flags;
}

static uint16_t frame_bytes_of(enum bench_sizes sizes, bool is_v6)
{
    unsigned draw = (unsigned)(bench_random() % 12);
    if (sizes == BENCH_IMIX && draw >= 7)
        return draw < 11 ? 594 : 1518;
    return is_v6 ? SMALLEST_V6_BYTES : SMALLEST_V4_BYTES;
}

void bench_source_set(struct bench_source *source, uint32_t at, const struct bench_tuple *tuple, bool from_server,
                      uint8_t tcp_flags, enum bench_sizes sizes)
{
    source->frame_bytes[at] = frame_bytes_of(sizes, tuple->is_v6);
    source->side[at] = from_server ? DP_NETWORK : DP_SUBSCRIBER;
    write_frame(source->frames[at], tuple, from_server, tcp_flags, source->frame_bytes[at]);
}

void bench_source_draw(struct bench_source *source, const struct bench_world *world, enum bench_sizes sizes)
{
    for (uint32_t i = 0; i < source->length; i++) {
        struct bench_tuple tuple;
        bench_tuple(world->stream.flows[i], world->family, &tuple);
        bench_source_set(source, i, &tuple, bench_random() >> 63, BENCH_TCP_ACK, sizes);
    }
}

void bench_source_burst(const struct bench_source *source, struct dp_burst *burst, uint32_t begin, uint64_t now_ns)
{
    if (unlikely(rte_pktmbuf_alloc_bulk(source->pool, burst->mbuf, DP_BURST_MAX)))
        bench_fail("mbufs were lost");
    burst->count = DP_BURST_MAX;
    for (unsigned i = 0; i < DP_BURST_MAX; i++) {
        struct rte_mbuf *mbuf = burst->mbuf[i];
        memcpy(rte_pktmbuf_mtod(mbuf, void *), source->frames[begin + i], BENCH_FRAME_BYTES);
        mbuf->data_len = source->frame_bytes[begin + i];
        mbuf->pkt_len = mbuf->data_len;
        burst->now_ns[i] = now_ns;
        burst->number[i] = 0;
        burst->link[i] = 0;
        burst->side[i] = source->side[begin + i];
        burst->link_type[i] = DP_LINK_ETHERNET;
    }
}

static void put(struct bench_sink *sink, struct rte_mbuf *mbuf)
{
    sink->fifo[sink->position] = mbuf;
    sink->position = (sink->position + 1) % BENCH_FIFO_MBUFS;
    if (sink->position % DP_BURST_MAX == 0) {
        struct rte_mbuf **oldest = &sink->fifo[sink->position];
        rte_pktmbuf_free_bulk(oldest, DP_BURST_MAX); /* NULL is passed over */
        memset(oldest, 0, DP_BURST_MAX * sizeof *oldest);
    }
}

void bench_source_receive(const struct bench_source *source, struct dp_worker *worker, uint32_t begin, uint64_t now_ns)
{
    bench_source_burst(source, dp_worker_next(worker), begin, now_ns);
    dp_worker_receive_ahead(worker);
    dp_worker_housekeeping(worker, now_ns);
}

void bench_sink_burst(struct bench_sink *sink, struct rte_mbuf *mbufs[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (likely(mbufs[i] != NULL))
            put(sink, mbufs[i]);
}

void bench_sink_flush(struct bench_sink *sink)
{
    rte_pktmbuf_free_bulk(sink->fifo, BENCH_FIFO_MBUFS);
    memset(sink, 0, sizeof *sink);
}

void bench_sink_transmit(void *sinks, struct dp_worker *worker, struct dp_burst *burst)
{
    bench_sink_burst((struct bench_sink *)sinks + worker->number, burst->mbuf, burst->count);
    memset(burst->mbuf, 0, sizeof burst->mbuf);
}

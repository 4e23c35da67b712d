/*
 * libndpi at its best: all protocols, flows from an array beside the table, of TCP only segments with payload, done with the
 * first name (nothing further dissected), its memory given back then.
 */
#include <ndpi_api.h>
#include <stdlib.h>

#include "bench/dpi.h"

#define IP_PROTO_TCP 6
/* As ndpiReader gives up. */
#define TCP_PACKETS_MAX 80u
#define UDP_PACKETS_MAX 24u

struct peer_flow {
    uint32_t generation; /* of the slot's flow; another one: this is of a flow that ended */
    uint32_t packets;
    struct ndpi_flow_struct *flow; /* NULL: none */
};

struct bench_ndpi {
    struct ndpi_detection_module_struct *module;
    struct peer_flow *flows; /* by slot */
    uint64_t slots;
    struct ndpi_flow_struct **free; /* structs to be used again */
    size_t free_count;
};

struct bench_ndpi *bench_ndpi_create(uint64_t capacity_flows)
{
    struct bench_ndpi *ndpi = calloc(1, sizeof *ndpi);
    NDPI_PROTOCOL_BITMASK all;
    NDPI_BITMASK_SET_ALL(all);
    ndpi->module = ndpi_init_detection_module(ndpi_no_prefs);
    if (!ndpi->module)
        bench_fail("libndpi does not start");
    ndpi_set_protocol_detection_bitmask2(ndpi->module, &all);
    ndpi_finalize_initialization(ndpi->module);
    ndpi->slots = capacity_flows * 2 + (FT_SHARDS * 4096u * 4);
    ndpi->flows = calloc(ndpi->slots, sizeof *ndpi->flows);
    ndpi->free = calloc(ndpi->slots, sizeof *ndpi->free);
    return ndpi;
}

void bench_ndpi_destroy(struct bench_ndpi *ndpi)
{
    for (uint64_t i = 0; i < ndpi->slots; i++)
        if (ndpi->flows[i].flow) {
            ndpi_free_flow_data(ndpi->flows[i].flow);
            free(ndpi->flows[i].flow);
        }
    for (size_t i = 0; i < ndpi->free_count; i++)
        free(ndpi->free[i]);
    ndpi_exit_detection_module(ndpi->module);
    free(ndpi->flows);
    free(ndpi->free);
    free(ndpi);
}

static void flow_give(struct bench_ndpi *ndpi, struct peer_flow *peer)
{
    ndpi_free_flow_data(peer->flow);
    ndpi->free[ndpi->free_count++] = peer->flow;
    peer->flow = NULL;
}

static void flow_take(struct bench_ndpi *ndpi, struct peer_flow *peer, uint32_t generation)
{
    if (peer->flow)
        flow_give(ndpi, peer);
    peer->flow = ndpi->free_count ? ndpi->free[--ndpi->free_count] : malloc(SIZEOF_FLOW_STRUCT);
    if (!peer->flow)
        bench_fail("no memory for libndpi's flows");
    memset(peer->flow, 0, SIZEOF_FLOW_STRUCT);
    peer->generation = generation;
    peer->packets = 0;
}

static void decide(struct dp_worker *worker, ft_slot slot, ndpi_protocol judged)
{
    struct ft_hot *hot = ft_hot(worker->engine->flows, slot);
    struct ft_cold *cold = ft_cold(worker->engine->flows, slot);
    ft_write_begin(hot);
    FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_DECIDED));
    FT_SET(cold->protocol, judged.master_protocol);
    FT_SET(cold->signature, judged.app_protocol);
    FT_SET(cold->method, BENCH_NDPI_METHOD);
    ft_write_end(hot);
}

void bench_ndpi_classify(struct bench_ndpi *ndpi, struct dp_worker *worker, const struct dp_burst *burst,
                         unsigned begin, unsigned end)
{
    struct ft *flows = worker->engine->flows;
    for (unsigned i = begin; i < end; i++) {
        const struct dp_view *view = &burst->view[i];
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        ft_slot slot = burst->slot[i];
        const struct ft_hot *hot = ft_hot(flows, slot);
        bool is_tcp = hot->ip_proto == IP_PROTO_TCP;
        if (hot->flags & FT_FLOW_DECIDED || (is_tcp && !view->payload_bytes))
            continue;
        struct peer_flow *peer = &ndpi->flows[slot];
        if (!peer->flow || peer->generation != ft_generation(hot))
            flow_take(ndpi, peer, ft_generation(hot));
        const uint8_t *ip = rte_pktmbuf_mtod_offset(burst->mbuf[i], const uint8_t *, view->ip_offset);
        uint16_t size_bytes = (uint16_t)(view->payload_offset + view->payload_bytes - view->ip_offset);
        ndpi_protocol judged =
            ndpi_detection_process_packet(ndpi->module, peer->flow, ip, size_bytes, burst->now_ns[i] / 1000000);
        if (judged.app_protocol == NDPI_PROTOCOL_UNKNOWN && judged.master_protocol == NDPI_PROTOCOL_UNKNOWN) {
            if (++peer->packets < (is_tcp ? TCP_PACKETS_MAX : UDP_PACKETS_MAX))
                continue;
            u_int8_t was_guessed;
            judged = ndpi_detection_giveup(ndpi->module, peer->flow, 1, &was_guessed);
        }
        decide(worker, slot, judged);
        flow_give(ndpi, peer);
    }
}

const char *bench_ndpi_name(const struct bench_ndpi *ndpi, uint16_t protocol)
{
    return protocol ? ndpi_get_proto_name(ndpi->module, protocol) : "";
}

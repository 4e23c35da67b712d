/*
 * An engine in a test: hand-built frames in, events and counters out, everything in the test's own thread on a clock of its own.
 *
 * Beside the engine the lab counts what it sent, from the frames themselves, so that the engine's counters are compared with
 * something that is not the engine's.
 */
#pragma once

#include <criterion/criterion.h>
#include <rte_mempool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dataplane/ports.h"
#include "dataplane/worker.h"
#include "tests/unit/frames.h"

#define LAB_MBUFS      8191u
#define LAB_EVENTS_MAX 20000u
#define LAB_SECOND_NS  UINT64_C(1000000000)
#define LAB_START_NS   (UINT64_C(1700000000) * LAB_SECOND_NS)
#define LAB_LINK_BYTES 14u /* Ethernet header: what is not the flow's */
#define TCP_FIN        0x01
#define TCP_SYN        0x02
#define TCP_RST        0x04
#define TCP_ACK        0x10

struct lab_event {
    struct dp_event event;
    bool has_texts;
    struct dp_attributes attributes;
};

struct lab {
    struct dp_engine_config config;
    struct dp_engine *engine;
    struct rte_mempool *pool;
    struct dp_burst burst;
    uint64_t now_ns;
    uint64_t number; /* of the last packet; 0 and it stays so: live */
    unsigned worker; /* that receives */
    bool ahead;      /* it holds each burst until the next one comes */
    uint8_t side, link;
    uint64_t sent_packets, sent_bytes, sent_ip_bytes; /* ip: of all frames, from the IP header on */
    uint32_t segment_bytes;                           /* frames come as chains of mbufs of this size; 0: in one */
    uint8_t last_outcome;
    ft_slot last_slot;
    struct lab_event *events; /* since lab_take_events() */
    unsigned event_count;
};

static inline void lab_config(struct lab *lab)
{
    memset(lab, 0, sizeof *lab);
    dp_engine_config_init(&lab->config);
    lab->config.flow_table.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    lab->config.flow_table.secret_seed = 1;
    lab->config.pending_bytes = 4u << 20;
    lab->config.attribute_blocks = 256;
    lab->config.flow_events = true;
    lab->config.link_count = 1;
    lab->config.sweep_slots = 4096;
    lab->side = DP_SUBSCRIBER;
    lab->now_ns = LAB_START_NS;
}

/* Once a process. */
static inline void lab_start_eal(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    char error[DP_ERROR_BYTES];
    struct dp_eal_options options;
    log_level_max = LOG_ERROR;
    dp_eal_options_init(&options, 0);
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), 0, "%s", error);
}

/* Mbufs without a cache, so that each one that is missing is missed. */
static inline void lab_start(struct lab *lab)
{
    char error[1024];
    lab_start_eal();
    lab->pool = rte_pktmbuf_pool_create("lab", LAB_MBUFS, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    cr_assert(lab->pool);
    lab->engine = dp_engine_create(&lab->config, error, sizeof error);
    cr_assert(lab->engine, "%s", error);
    lab->events = calloc(LAB_EVENTS_MAX, sizeof *lab->events);
}

/* ---- packets ---- */

/* Runs what was added through the pipeline of lab->worker. */
static inline void lab_flush(struct lab *lab)
{
    unsigned count = lab->burst.count;
    if (!count)
        return;
    struct dp_worker *worker = lab->engine->workers[lab->worker];
    if (lab->ahead) {
        *dp_worker_next(worker) = lab->burst;
        dp_worker_receive_ahead(worker);
        lab->burst.count = 0;
        return;
    }
    dp_worker_receive(worker, &lab->burst);
    lab->last_outcome = lab->burst.outcome[count - 1];
    lab->last_slot = lab->burst.slot[count - 1];
    lab->burst.count = 0;
}

static inline struct rte_mbuf *lab_mbuf(struct lab *lab, const uint8_t *bytes, uint32_t size)
{
    uint32_t part = lab->segment_bytes ? lab->segment_bytes : size;
    struct rte_mbuf *head = NULL;
    for (uint32_t at = 0; at < size; at += part) {
        struct rte_mbuf *segment = rte_pktmbuf_alloc(lab->pool);
        cr_assert(segment);
        uint32_t length = size - at < part ? size - at : part;
        memcpy(rte_pktmbuf_append(segment, (uint16_t)length), bytes + at, length);
        if (head)
            cr_assert_eq(rte_pktmbuf_chain(head, segment), 0);
        else
            head = segment;
    }
    return head;
}

static inline void lab_add_bytes(struct lab *lab, const uint8_t *bytes, uint32_t size)
{
    struct dp_burst *burst = &lab->burst;
    unsigned i = burst->count++;
    burst->mbuf[i] = lab_mbuf(lab, bytes, size);
    burst->now_ns[i] = lab->now_ns;
    burst->number[i] = lab->number ? lab->number++ : 0;
    burst->link[i] = lab->link;
    burst->side[i] = lab->side;
    burst->link_type[i] = DP_LINK_ETHERNET;
    lab->sent_packets++;
    lab->sent_bytes += size;
    if (burst->count == DP_BURST_MAX)
        lab_flush(lab);
}

static inline void lab_add(struct lab *lab, struct frame *frame)
{
    frame_end(frame);
    lab->sent_ip_bytes += frame->size - LAB_LINK_BYTES;
    lab_add_bytes(lab, frame->bytes, frame->size);
}

static inline void lab_send(struct lab *lab, struct frame *frame)
{
    lab_add(lab, frame);
    lab_flush(lab);
}

/* A flow as a test sees it; hosts are the last bytes of 10.0.0.x or 2001:db8::x. */
struct lab_flow {
    uint8_t client, server;
    bool is_v6;
    uint16_t client_port, server_port;
    uint32_t seq[2];               /* TCP: of the next byte, by direction */
    uint64_t packets[2], bytes[2]; /* what was sent, [from_server], from the IP header on */
};

static inline struct frame lab_ip_frame(const struct lab_flow *flow, bool from_server, unsigned proto)
{
    struct frame f = {.size = 0};
    uint8_t src = from_server ? flow->server : flow->client, dst = from_server ? flow->client : flow->server;
    frame_ethernet(&f, flow->is_v6 ? 0x86dd : 0x0800);
    if (flow->is_v6)
        frame_ipv6(&f, proto, src, dst);
    else
        frame_ipv4(&f, proto, src, dst, 0);
    return f;
}

static inline void lab_note(struct lab_flow *flow, bool from_server, const struct frame *f)
{
    flow->packets[from_server]++;
    flow->bytes[from_server] += f->size - LAB_LINK_BYTES;
}

/* Adds a TCP segment at `seq`, whatever the flow's own says. */
static inline void lab_tcp_at(struct lab *lab, struct lab_flow *flow, bool from_server, unsigned flags, uint32_t seq,
                              const void *payload, uint32_t size)
{
    struct frame f = lab_ip_frame(flow, from_server, 6);
    frame_tcp(&f, from_server ? flow->server_port : flow->client_port,
              from_server ? flow->client_port : flow->server_port, seq, flags, 0);
    if (size)
        frame_put(&f, payload, size);
    lab_note(flow, from_server, &f);
    lab_add(lab, &f);
}

/* Adds the next TCP segment of a direction. */
static inline void lab_tcp(struct lab *lab, struct lab_flow *flow, bool from_server, unsigned flags,
                           const void *payload, uint32_t size)
{
    lab_tcp_at(lab, flow, from_server, flags, flow->seq[from_server], payload, size);
    flow->seq[from_server] += size + ((flags & TCP_SYN) != 0) + ((flags & TCP_FIN) != 0);
}

static inline void lab_tcp_text(struct lab *lab, struct lab_flow *flow, bool from_server, const char *text)
{
    lab_tcp(lab, flow, from_server, TCP_ACK, text, (uint32_t)strlen(text));
}

static inline void lab_handshake(struct lab *lab, struct lab_flow *flow)
{
    lab_tcp(lab, flow, false, TCP_SYN, NULL, 0);
    lab_tcp(lab, flow, true, TCP_SYN | TCP_ACK, NULL, 0);
    lab_tcp(lab, flow, false, TCP_ACK, NULL, 0);
}

static inline void lab_goodbye(struct lab *lab, struct lab_flow *flow)
{
    lab_tcp(lab, flow, false, TCP_FIN | TCP_ACK, NULL, 0);
    lab_tcp(lab, flow, true, TCP_FIN | TCP_ACK, NULL, 0);
    lab_tcp(lab, flow, false, TCP_ACK, NULL, 0);
}

static inline void lab_udp(struct lab *lab, struct lab_flow *flow, bool from_server, const void *payload, uint32_t size)
{
    struct frame f = lab_ip_frame(flow, from_server, 17);
    frame_udp(&f, from_server ? flow->server_port : flow->client_port,
              from_server ? flow->client_port : flow->server_port);
    if (size)
        frame_put(&f, payload, size);
    lab_note(flow, from_server, &f);
    lab_add(lab, &f);
}

/*
 * Adds one fragment of a UDP datagram of the flow: `size` bytes from `offset`, of which the first eight at offset 0 are the UDP
 * header.
 */
static inline void lab_fragment(struct lab *lab, struct lab_flow *flow, bool from_server, uint16_t id, uint32_t offset,
                                uint32_t size, bool more)
{
    struct frame f = {.size = 0};
    if (flow->is_v6) {
        frame_ethernet(&f, 0x86dd);
        frame_ipv6(&f, 44, from_server ? flow->server : flow->client, from_server ? flow->client : flow->server);
        frame_ipv6_fragment(&f, 17, offset, more, id);
    } else {
        f = lab_ip_frame(flow, from_server, 17);
        f.bytes[LAB_LINK_BYTES + 4] = (uint8_t)(id >> 8);
        f.bytes[LAB_LINK_BYTES + 5] = (uint8_t)id;
        f.bytes[LAB_LINK_BYTES + 6] = (uint8_t)((offset / 8) >> 8 | (more ? 0x20 : 0));
        f.bytes[LAB_LINK_BYTES + 7] = (uint8_t)(offset / 8);
    }
    uint32_t header = 0;
    if (!offset) {
        frame_put_be16(&f, from_server ? flow->server_port : flow->client_port);
        frame_put_be16(&f, from_server ? flow->client_port : flow->server_port);
        frame_put_be16(&f, 2000);
        frame_put_be16(&f, 0);
        header = 8;
    }
    frame_put_zeros(&f, size - header);
    lab_note(flow, from_server, &f);
    lab_add(lab, &f);
}

/* The key of a flow and the swap of its client's packets. */
static inline uint8_t lab_key(const struct lab_flow *flow, unsigned proto, struct ft_key *ret_key)
{
    uint8_t address[2][16] = {{10, 0, 0, flow->client}, {10, 0, 0, flow->server}};
    if (flow->is_v6)
        for (unsigned i = 0; i < 2; i++) {
            memset(address[i], 0, 16);
            memcpy(address[i], "\x20\x01\x0d\xb8", 4);
            address[i][15] = i ? flow->server : flow->client;
        }
    return ft_key_make(ret_key, flow->is_v6, address[0], address[1], rte_cpu_to_be_16(flow->client_port),
                       rte_cpu_to_be_16(flow->server_port), (uint8_t)proto, 0);
}

/* A flow in the table; false when it is not there. Any number of lookups. */
static inline bool lab_find(struct lab *lab, const struct lab_flow *flow, unsigned proto, struct ft_flow *ret_flow)
{
    struct ft_key key;
    lab_key(flow, proto, &key);
    return ft_find(lab->engine->flows, &key, ret_flow);
}

/* Hands on what workers gave to each other, until nothing moves. */
static inline void lab_hand_over(struct lab *lab)
{
    for (unsigned moved = 1; moved;) {
        moved = 0;
        for (unsigned w = 0; w < lab->config.worker_count; w++)
            moved += dp_worker_take_handoffs(lab->engine->workers[w]);
    }
}

/* Ageing of all shards at the lab's time. */
static inline void lab_age(struct lab *lab)
{
    for (unsigned i = 0; i < 2 * FT_SHARDS; i++)
        for (unsigned w = 0; w < lab->config.worker_count; w++)
            dp_worker_housekeeping(lab->engine->workers[w], lab->now_ns);
}

static inline void lab_close_all(struct lab *lab)
{
    for (unsigned w = 0; w < lab->config.worker_count; w++)
        dp_worker_close_all(lab->engine->workers[w], lab->now_ns);
}

/* ---- what came out ---- */

static inline void lab_on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    struct lab *lab = context;
    cr_assert_lt(lab->event_count, LAB_EVENTS_MAX);
    struct lab_event *kept = &lab->events[lab->event_count++];
    kept->event = *event;
    kept->has_texts = attributes != NULL;
    if (attributes)
        kept->attributes = *attributes;
}

static inline unsigned lab_take_events(struct lab *lab)
{
    lab->event_count = 0;
    while (dp_engine_drain_events(lab->engine, 64, lab_on_event, lab))
        ;
    return lab->event_count;
}

static inline const struct lab_event *lab_event_of(const struct lab *lab, enum dp_event_kind kind, unsigned nth)
{
    for (unsigned i = 0; i < lab->event_count; i++)
        if (lab->events[i].event.kind == kind && !nth--)
            return &lab->events[i];
    return NULL;
}

static inline struct dp_stats lab_stats(const struct lab *lab)
{
    struct dp_stats stats;
    dp_engine_stats(lab->engine, &stats);
    return stats;
}

static inline const char *lab_protocol(const struct lab *lab, const struct ft_flow *flow)
{
    const struct cl_protocol_info *protocol = cl_protocol_get(lab->engine->classifier, flow->cold.protocol);
    return protocol ? protocol->name : "";
}

static inline void lab_expect_text(const struct lab_event *event, enum cl_text text, const char *expected)
{
    unsigned size;
    const char *bytes = dp_attributes_text(event->has_texts ? &event->attributes : NULL, text, &size);
    cr_expect(size == strlen(expected) && !memcmp(bytes, expected, size), "%s is \"%.*s\", not \"%s\"",
              cl_text_name(text), (int)size, bytes, expected);
}

/* What is charged to services, and what flows that are not judged hold. */
static inline uint64_t lab_ledger_bytes(const struct lab *lab)
{
    struct dp_usage usage[DP_SERVICES_MAX];
    uint64_t sum = 0, concurrent = 0, decided = 0;
    for (unsigned link = 0; link < FT_LINKS_MAX; link++) {
        dp_engine_usage(lab->engine, link, usage);
        for (unsigned s = 0; s < DP_SERVICES_MAX; s++) {
            sum += usage[s].bytes[0] + usage[s].bytes[1];
            concurrent += usage[s].concurrent_sessions;
        }
    }
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint64_t position = 0;
        struct ft_flow flow;
        while (ft_walk(lab->engine->flows, (uint8_t)shard, &position, &flow)) {
            bool is_decided = flow.hot.flags & FT_FLOW_DECIDED;
            decided += is_decided;
            sum += is_decided ? 0 : flow.hot.bytes[0] + flow.hot.bytes[1];
        }
    }
    cr_expect_eq(concurrent, decided, "%lu concurrent sessions, %lu judged flows", (unsigned long)concurrent,
                 (unsigned long)decided);
    return sum;
}

/* Everything that was sent came in and has ended, once. */
static inline void lab_expect_partition(const struct lab *lab)
{
    struct dp_stats stats = lab_stats(lab);
    uint64_t packets = 0, bytes = 0;
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++) {
        packets += stats.outcome_packets[i];
        bytes += stats.outcome_bytes[i];
    }
    cr_expect_eq(stats.received_packets, lab->sent_packets);
    cr_expect_eq(stats.received_bytes, lab->sent_bytes);
    cr_expect_eq(packets, lab->sent_packets, "%lu of %lu packets ended", (unsigned long)packets,
                 (unsigned long)lab->sent_packets);
    cr_expect_eq(bytes, lab->sent_bytes, "%lu of %lu bytes ended", (unsigned long)bytes,
                 (unsigned long)lab->sent_bytes);
}

/* Ends all flows; then nothing may be held by anybody. Returns the events of the end in lab->events. */
static inline void lab_expect_all_returned(struct lab *lab)
{
    lab_close_all(lab);
    lab_take_events(lab);
    struct ft_stats flows;
    ft_stats(lab->engine->flows, &flows);
    cr_expect_eq(flows.flows, 0, "%lu flows left", (unsigned long)flows.flows);
    cr_expect_eq(flows.unanswered, 0);
    for (unsigned w = 0; w < lab->config.worker_count; w++) {
        struct dp_pending_usage pending;
        const struct dp_worker *worker = lab->engine->workers[w];
        dp_pending_usage(worker->pending, &pending);
        cr_expect_eq(pending.blocks + pending.infos, 0, "worker %u: %u blocks, %u texts", w, pending.blocks,
                     pending.infos);
        for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
            cr_expect_eq(pending.buffers[i], 0, "worker %u: %u buffers of class %u", w, pending.buffers[i], i);
        cr_expect_eq(dp_attributes_available(&worker->attributes),
                     lab->config.attribute_blocks * lab->config.worker_count, "worker %u: %u blocks", w,
                     dp_attributes_available(&worker->attributes));
    }
    cr_expect_eq(rte_mempool_avail_count(lab->pool), LAB_MBUFS, "%u mbufs", rte_mempool_avail_count(lab->pool));
    struct dp_stats stats = lab_stats(lab);
    cr_expect_eq(stats.flows_opened, stats.flows_closed);
    uint64_t closes = 0, verdicts = 0;
    for (unsigned i = 0; i < DP_CLOSE_COUNT; i++)
        closes += stats.closes[i];
    for (unsigned i = 0; i < CL_METHOD_COUNT; i++)
        verdicts += stats.verdicts[i];
    cr_expect_eq(closes, stats.flows_closed);
    cr_expect_eq(verdicts, stats.flows_closed);
}

/* All but EAL: another lab may be started. */
static inline void lab_clear(struct lab *lab)
{
    dp_engine_destroy(lab->engine);
    rte_mempool_free(lab->pool);
    free(lab->events);
}

static inline void lab_stop(struct lab *lab)
{
    lab_clear(lab);
    dp_eal_stop();
}

/* The usual end of a test. */
static inline void lab_finish(struct lab *lab)
{
    lab_expect_partition(lab);
    lab_expect_all_returned(lab);
    lab_stop(lab);
}

/*
 * An engine without a test framework, for fuzz targets and cost tests: frames in, the pipeline run in the caller's thread,
 * and the books checked. A check that fails aborts.
 */
#pragma once

#include <rte_mempool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dataplane/ports.h"
#include "dataplane/worker.h"
#include "tests/unit/frames.h"

#define PIPE_MBUFS         2047u
#define PIPE_ATTRIBUTES    64u
#define PIPE_PENDING_BYTES (256u << 10)
#define PIPE_START_NS      (UINT64_C(1700000000) * 1000000000)

struct pipe {
    struct dp_engine *engine;
    struct rte_mempool *pool;
    struct dp_burst burst;
    uint64_t now_ns, sent_packets;
    uint32_t attributes;
};

static inline void pipe_check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "pipe: %s\n", what);
    abort();
}

static inline void pipe_start(struct pipe *pipe, enum dp_checksums checksums)
{
    char error[1024];
    struct dp_eal_options eal;
    struct dp_engine_config config;
    memset(pipe, 0, sizeof *pipe);
    log_level_max = LOG_ERROR;
    dp_eal_options_init(&eal, 0);
    pipe_check(!dp_eal_start(&eal, error, sizeof error), error);
    dp_engine_config_init(&config);
    config.flow_table.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    config.flow_table.secret_seed = 1;
    config.pending_bytes = PIPE_PENDING_BYTES;
    config.attribute_blocks = PIPE_ATTRIBUTES;
    config.link_count = 1;
    config.sweep_slots = 4096;
    config.checksums = checksums;
    pipe->pool =
        rte_pktmbuf_pool_create("pipe", PIPE_MBUFS, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    pipe_check(pipe->pool, "no mbufs");
    pipe->engine = dp_engine_create(&config, error, sizeof error);
    pipe_check(pipe->engine, error);
    pipe->now_ns = PIPE_START_NS;
}

static inline void pipe_on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)context, (void)event, (void)attributes;
}

static inline void pipe_flush(struct pipe *pipe)
{
    if (pipe->burst.count)
        dp_worker_receive(pipe->engine->workers[0], &pipe->burst);
    pipe->burst.count = 0;
    while (dp_engine_drain_events(pipe->engine, 64, pipe_on_event, NULL))
        ;
}

/* Takes a frame in; its lengths are filled in. */
static inline void pipe_send(struct pipe *pipe, struct frame *frame)
{
    frame_end(frame);
    unsigned i = pipe->burst.count++;
    struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pipe->pool);
    pipe_check(mbuf, "an mbuf was not given back");
    memcpy(rte_pktmbuf_append(mbuf, (uint16_t)frame->size), frame->bytes, frame->size);
    pipe->burst.mbuf[i] = mbuf;
    pipe->burst.now_ns[i] = pipe->now_ns;
    pipe->burst.number[i] = 0;
    pipe->burst.link[i] = 0;
    pipe->burst.side[i] = DP_SUBSCRIBER;
    pipe->burst.link_type[i] = DP_LINK_ETHERNET;
    pipe->sent_packets++;
    if (pipe->burst.count == DP_BURST_MAX)
        pipe_flush(pipe);
}

/* Each packet has ended once. */
static inline void pipe_check_packets(const struct pipe *pipe)
{
    struct dp_stats stats;
    uint64_t ended = 0;
    dp_engine_stats(pipe->engine, &stats);
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        ended += stats.outcome_packets[i];
    pipe_check(stats.received_packets == pipe->sent_packets && ended == pipe->sent_packets,
               "packets that did not end once");
    pipe_check(rte_mempool_avail_count(pipe->pool) == PIPE_MBUFS, "mbufs are missing");
}

/* Ends all flows: everything that was taken is back, and each flow was judged once and closed once. */
static inline void pipe_end_flows(struct pipe *pipe)
{
    struct dp_worker *worker = pipe->engine->workers[0];
    struct dp_pending_usage usage;
    struct ft_stats flows;
    struct dp_stats stats;
    uint64_t verdicts = 0;
    pipe_flush(pipe);
    dp_worker_close_all(worker, pipe->now_ns);
    pipe_flush(pipe);
    pipe_check_packets(pipe);
    dp_pending_usage(worker->pending, &usage);
    pipe_check(!usage.blocks && !usage.infos, "pending blocks are missing");
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        pipe_check(!usage.buffers[i], "pending buffers are missing");
    pipe_check(dp_attributes_available(&worker->attributes) == PIPE_ATTRIBUTES, "texts are missing");
    ft_stats(pipe->engine->flows, &flows);
    pipe_check(!flows.flows, "flows are left");
    dp_engine_stats(pipe->engine, &stats);
    for (unsigned i = 0; i < CL_METHOD_COUNT; i++)
        verdicts += stats.verdicts[i];
    pipe_check(stats.flows_opened == stats.flows_closed && verdicts == stats.flows_closed,
               "flows not judged or closed once");
    pipe->now_ns += 1000000000;
}

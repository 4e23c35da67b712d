#include "dataplane/worker.h"

void dp_stage_sink(struct dp_worker *worker, struct dp_burst *burst)
{
    struct dp_engine *engine = worker->engine;
    uint32_t frame_bytes[DP_BURST_MAX]; /* a sent mbuf is not ours to look at any more */
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] == DP_OUTCOME_HANDED_OFF)
            continue;
        frame_bytes[i] = rte_pktmbuf_pkt_len(burst->mbuf[i]);
        if (burst->outcome[i] == DP_OUTCOME_forwarded && engine->config.links[burst->link[i]].mode == DP_RECEIVE_ONLY)
            burst->outcome[i] = DP_OUTCOME_receive_only;
    }
    if (unlikely(engine->peer != NULL))
        for (unsigned i = 0; i < burst->count; i++)
            if (burst->outcome[i] != DP_OUTCOME_HANDED_OFF)
                dp_peer_return(worker, burst, i);
    if (engine->transmit)
        engine->transmit(engine->transmit_context, worker, burst);
    struct rte_mbuf *left[DP_BURST_MAX]; /* not sent: to be freed */
    unsigned left_count = 0, forwarded_packets = 0;
    uint64_t forwarded_bytes = 0;
    for (unsigned i = 0; i < burst->count; i++) {
        unsigned outcome = burst->outcome[i];
        if (outcome == DP_OUTCOME_HANDED_OFF)
            continue;
        if (likely(outcome == DP_OUTCOME_forwarded)) {
            forwarded_packets++;
            forwarded_bytes += frame_bytes[i];
        } else {
            dp_count_outcome(worker, outcome, frame_bytes[i]);
        }
        if (burst->mbuf[i])
            left[left_count++] = burst->mbuf[i];
    }
    DP_COUNT(worker->stats.outcome_packets[DP_OUTCOME_forwarded], forwarded_packets);
    DP_COUNT(worker->stats.outcome_bytes[DP_OUTCOME_forwarded], forwarded_bytes);
    rte_pktmbuf_free_bulk(left, left_count);
}

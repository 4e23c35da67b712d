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
    if (engine->transmit)
        engine->transmit(engine->transmit_context, worker, burst);
    for (unsigned i = 0; i < burst->count; i++) {
        unsigned outcome = burst->outcome[i];
        if (outcome == DP_OUTCOME_HANDED_OFF)
            continue;
        dp_count_outcome(worker, outcome, frame_bytes[i]);
        rte_pktmbuf_free(burst->mbuf[i]); /* NULL when it was sent */
    }
}

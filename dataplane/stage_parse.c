#include "dataplane/worker.h"

void dp_stage_parse(struct dp_worker *worker, struct dp_burst *burst)
{
    static_assert(DP_BURST_MAX <= DP_PARSE_BULK_MAX, "a burst is parsed at once");
    burst->credited = 0;
    dp_parse_bulk(burst->mbuf, burst->link_type, burst->count, burst->view);
    for (unsigned i = 0; i < burst->count; i++) {
        const struct dp_view *view = &burst->view[i];
        burst->resolved[i] = false;
        if (view->result != DP_PARSE_ok) {
            burst->outcome[i] = dp_outcome_of_parse(view->result);
            continue;
        }
        if (view->flags & DP_VIEW_TRUNCATED)
            DP_COUNT(worker->stats.truncated, 1);
        burst->outcome[i] = DP_OUTCOME_NONE;
    }
    /* A loop of its own: a key that was just written in small pieces cannot be read in large ones without a stall. */
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        burst->hash[i] = ft_hash(worker->engine->flows, &burst->view[i].key);
        burst->shard[i] = (uint8_t)burst->hash[i]; /* its low byte is the public shard */
    }
}

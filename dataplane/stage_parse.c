#include "dataplane/checksum.h"
#include "dataplane/worker.h"

/* Its receiver will throw it away. */
static uint8_t refuse_checksum(enum dp_checksums checksums)
{
    return checksums == DP_CHECKSUMS_DROP ? DP_OUTCOME_bad_checksum_dropped : DP_OUTCOME_bad_checksum;
}

void dp_stage_parse(struct dp_worker *worker, struct dp_burst *burst)
{
    static_assert(DP_BURST_MAX <= DP_PARSE_BULK_MAX, "a burst is parsed at once");
    const enum dp_checksums checksums = worker->engine->config.checksums;
    uint64_t hashes[DP_BURST_MAX], bytes = 0;
    unsigned count = 0;
    burst->credited = 0;
    dp_parse_bulk(burst->mbuf, burst->link_type, burst->count, burst->view);
    if (unlikely(worker->engine->config.tunnels))
        for (unsigned i = 0; i < burst->count; i++)
            dp_tunnel_enter(burst->mbuf[i], worker->engine->config.tunnels, &burst->view[i]);
    memset(burst->resolved, 0, sizeof burst->resolved);
    for (unsigned i = 0; i < burst->count; i++) {
        bytes += rte_pktmbuf_pkt_len(burst->mbuf[i]);
        const struct dp_view *view = &burst->view[i];
        burst->outcome[i] = DP_OUTCOME_NONE;
        if (unlikely(view->result != DP_PARSE_ok))
            burst->outcome[i] = dp_outcome_of_parse(view->result);
        else if (unlikely(view->flags & DP_VIEW_TRUNCATED))
            DP_COUNT(worker->stats.truncated, 1);
        if (unlikely(checksums != DP_CHECKSUMS_IGNORE) && view->result == DP_PARSE_ok &&
            dp_checksum_is_wrong(burst->mbuf[i], view))
            burst->outcome[i] = refuse_checksum(checksums);
    }
    DP_COUNT(worker->stats.received_packets, burst->count);
    DP_COUNT(worker->stats.received_bytes, bytes);
    /* A loop of its own: a key that was just written in small pieces cannot be read in large ones without a stall. */
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        burst->hash[i] = ft_hash(worker->engine->flows, &burst->view[i].key);
        burst->shard[i] = (uint8_t)burst->hash[i]; /* its low byte is the public shard */
        hashes[count] = burst->hash[i];
        count += worker->owner[burst->shard[i]] == worker->number;
    }
    ft_prefetch_index(worker->engine->flows, hashes, count);
}

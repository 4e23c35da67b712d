#include "dataplane/worker.h"

/* Gives a packet to another worker through the ring that only we fill and only it empties; its order per shard is kept. */
static void hand_off(struct dp_worker *worker, struct dp_burst *burst, unsigned i, unsigned owner)
{
    struct dp_meta *meta = rte_mbuf_to_priv(burst->mbuf[i]);
    meta->view = burst->view[i];
    meta->credit.packets = 0;
    if (burst->credited & 1u << i)
        meta->credit = burst->credit[i];
    meta->now_ns = burst->now_ns[i];
    meta->number = burst->number[i];
    meta->link = burst->link[i];
    meta->side = burst->side[i];
    meta->link_type = burst->link_type[i];
    meta->resolved = burst->resolved[i];
    struct rte_ring *ring = worker->engine->workers[owner]->handoff[worker->number];
    if (rte_ring_sp_enqueue(ring, burst->mbuf[i])) {
        burst->outcome[i] = DP_OUTCOME_handoff_full;
        DP_COUNT(worker->stats.uncredited_fragments, meta->credit.packets);
        return;
    }
    DP_COUNT(worker->stats.handed_off, 1);
    burst->mbuf[i] = NULL;
    burst->outcome[i] = DP_OUTCOME_HANDED_OFF;
}

/* A fragment is judged by the owner of its addresses' shard, who may be someone else; false when it was handed on or ended. */
static bool resolve_fragment(struct dp_worker *worker, struct dp_burst *burst, unsigned i)
{
    struct dp_view *view = &burst->view[i];
    unsigned owner = worker->engine->owner[dp_fragment_shard(view)];
    if (owner != worker->number) {
        hand_off(worker, burst, i, owner);
        return false;
    }
    dp_worker_expire_fragments(worker, burst->now_ns[i]);
    struct dp_fragment_origin origin = {.number = burst->number[i], .link = burst->link[i], .side = burst->side[i]};
    struct dp_fragment_credit *credit = &burst->credit[i];
    enum dp_fragment_verdict verdict = dp_fragment_judge(worker->fragments, view, burst->now_ns[i], &origin, credit);
    bool is_own = verdict != DP_FRAGMENT_PENDING && !memcmp(&credit->key, &view->key, sizeof view->key);
    if (credit->packets && !is_own) {
        /* of another datagram, which timed out: its key has no ports, so its flow is ours as its addresses are */
        dp_flow_credit(worker, credit, burst->now_ns[i]);
        credit->packets = 0;
    }
    if (verdict == DP_FRAGMENT_PENDING) {
        burst->outcome[i] = DP_OUTCOME_forwarded;
        return false;
    }
    burst->resolved[i] = true;
    burst->credited |= (credit->packets ? 1u : 0u) << i;
    burst->hash[i] = ft_hash(worker->engine->flows, &view->key);
    burst->shard[i] = (uint8_t)burst->hash[i];
    return true;
}

void dp_stage_route(struct dp_worker *worker, struct dp_burst *burst)
{
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        if ((burst->view[i].flags & DP_VIEW_FRAGMENT) && !burst->resolved[i] && !resolve_fragment(worker, burst, i))
            continue;
        unsigned owner = worker->engine->owner[burst->shard[i]];
        if (owner != worker->number)
            hand_off(worker, burst, i, owner);
    }
}

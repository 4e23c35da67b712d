#include "dataplane/worker.h"

/* What of a packet travels with its mbuf. */
static struct dp_meta *save_meta(const struct dp_burst *burst, unsigned i)
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
    meta->hops = burst->hops[i];
    meta->kind = DP_META_PACKET;
    return meta;
}

/*
 * Gives a packet to another worker through the ring that only we fill and only it empties, or parks it until its shard is
 * ours; the order per shard is kept.
 */
static void send_away(struct dp_worker *worker, struct dp_burst *burst, unsigned i, uint8_t shard)
{
    unsigned owner = worker->owner[shard];
    if (unlikely(owner == DP_OWNER_REMOTE)) {
        dp_peer_give(worker, burst, i, shard);
        return;
    }
    const struct dp_meta *meta = save_meta(burst, i);
    bool is_parked = owner == DP_OWNER_PARKED;
    if (is_parked ? !dp_owner_park(worker, burst->mbuf[i])
                  : rte_ring_sp_enqueue(worker->engine->workers[owner]->handoff[worker->number], burst->mbuf[i])) {
        burst->outcome[i] = DP_OUTCOME_handoff_full;
        DP_COUNT(worker->stats.uncredited_fragments, meta->credit.packets);
        return;
    }
    if (!is_parked) {
        worker->given[owner]++;
        DP_COUNT(worker->stats.handed_off, 1);
    }
    burst->mbuf[i] = NULL;
    burst->outcome[i] = DP_OUTCOME_HANDED_OFF;
}

/* True when we judge packets of the shard. A stray was given to us as to its owner: it is never passed on, see owner.h. */
static bool is_ours(const struct dp_worker *worker, uint8_t shard, bool is_stray)
{
    unsigned owner = worker->owner[shard];
    return owner == worker->number || (is_stray && owner < DP_OWNER_REMOTE);
}

/* A shard that has just come from the peer: what it sends of it comes before what waits here, see cascade/pair.h. */
static bool is_adopted(const struct dp_worker *worker, const struct dp_burst *burst, unsigned i)
{
    const struct dp_peer *peer = worker->engine->peer;
    return peer && burst->hops[i] && worker->owner[burst->shard[i]] == DP_OWNER_PARKED &&
           atomic_load_explicit(&peer->adopting, memory_order_acquire) == burst->shard[i];
}

/* A fragment is judged by the owner of its addresses' `shard`, who may be someone else; false when it was handed on or ended. */
static bool resolve_fragment(struct dp_worker *worker, struct dp_burst *burst, unsigned i, uint8_t shard)
{
    struct dp_view *view = &burst->view[i];
    if (!is_ours(worker, shard, burst->strays)) {
        send_away(worker, burst, i, shard);
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
    if (unlikely(atomic_load_explicit(&worker->engine->move.number, memory_order_acquire) != worker->move.number))
        dp_owner_see(worker);
    uint64_t now_ns = worker->now_ns;
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        bool is_stray = burst->strays;
        if ((burst->view[i].flags & DP_VIEW_FRAGMENT) && !burst->resolved[i]) {
            uint8_t addresses_shard = dp_fragment_shard(&burst->view[i]);
            if (!resolve_fragment(worker, burst, i, addresses_shard))
                continue;
            /* As a stray it was given to the owner of its addresses, which is that of its flow by chance alone. */
            is_stray &= burst->shard[i] == addresses_shard;
        }
        if (unlikely(!is_ours(worker, burst->shard[i], is_stray)) && !is_adopted(worker, burst, i))
            send_away(worker, burst, i, burst->shard[i]);
        else if (burst->now_ns[i] > now_ns) /* a stray's time says nothing of what else is on its way to us */
            now_ns = burst->now_ns[i];
    }
    worker->now_ns = RTE_MAX(now_ns, worker->now_ns);
}

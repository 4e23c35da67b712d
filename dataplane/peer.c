#include "dataplane/peer.h"

#include "dataplane/worker.h"

void dp_peer_init(struct dp_peer *peer)
{
    memset(peer, 0, sizeof *peer);
    atomic_store_explicit(&peer->adopting, -1, memory_order_relaxed);
}

/* ---- out ---- */

static bool send_frame(struct dp_peer *peer, struct dp_worker *worker, struct rte_mbuf *mbuf,
                       struct cascade_frame *frame)
{
    frame->epoch = peer->epoch[frame->shard];
    frame->sequence = peer->sequence[frame->shard];
    if (!cascade_frame_push(mbuf, frame, &peer->own_address, &peer->peer_address))
        return false;
    if (!peer->send(peer->send_context, worker, mbuf)) {
        rte_pktmbuf_adj(mbuf, CASCADE_FRAME_BYTES);
        return false;
    }
    peer->sequence[frame->shard]++;
    return true;
}

void dp_peer_give(struct dp_worker *worker, struct dp_burst *burst, unsigned i, uint8_t shard)
{
    struct cascade_frame frame = {.kind = CASCADE_FRAME_PROCESS,
                                  .shard = shard,
                                  .hops = (uint8_t)(burst->hops[i] + 1),
                                  .link = burst->link[i],
                                  .side = burst->side[i]};
    uint32_t frame_bytes = rte_pktmbuf_pkt_len(burst->mbuf[i]);
    if (frame.hops > CASCADE_HOPS_MAX) {
        burst->outcome[i] = DP_OUTCOME_map_disagree;
        return;
    }
    if (!send_frame(worker->engine->peer, worker, burst->mbuf[i], &frame)) {
        burst->outcome[i] = DP_OUTCOME_cascade_full;
        return;
    }
    dp_count_outcome(worker, DP_OUTCOME_handed_to_peer, frame_bytes);
    burst->mbuf[i] = NULL;
    burst->outcome[i] = DP_OUTCOME_HANDED_OFF;
}

bool dp_peer_return(struct dp_worker *worker, struct dp_burst *burst, unsigned i)
{
    if (burst->link[i] < DP_PEER_LINK || dp_outcome_fate(burst->outcome[i]) == DP_FATE_DROPPED)
        return false;
    struct cascade_frame frame = {.kind = CASCADE_FRAME_RETURN,
                                  .shard = burst->shard[i],
                                  .hops = burst->hops[i],
                                  .link = burst->link[i],
                                  .side = burst->side[i],
                                  .outcome = burst->outcome[i]};
    uint32_t frame_bytes = rte_pktmbuf_pkt_len(burst->mbuf[i]);
    if (!send_frame(worker->engine->peer, worker, burst->mbuf[i], &frame)) {
        burst->outcome[i] = DP_OUTCOME_tx_refused;
        return false;
    }
    dp_count_outcome(worker,
                     dp_outcome_fate(burst->outcome[i]) == DP_FATE_BYPASSED ? burst->outcome[i]
                                                                            : DP_OUTCOME_returned_to_peer,
                     frame_bytes);
    burst->mbuf[i] = NULL;
    burst->outcome[i] = DP_OUTCOME_HANDED_OFF;
    return true;
}

/* The worker that has the shard here, whoever owns it: also while it waits, see owner.h. */
static unsigned home_of(const struct dp_worker *worker, uint8_t shard)
{
    unsigned owner = worker->owner[shard];
    return owner == DP_OWNER_PARKED || owner == DP_OWNER_REMOTE ? worker->number : owner;
}

void dp_peer_poll_fence(struct dp_worker *worker)
{
    struct dp_peer *peer = worker->engine->peer;
    uint64_t due = atomic_load_explicit(&peer->fence_due, memory_order_acquire);
    uint8_t shard = (uint8_t)due;
    if (likely(!due) || home_of(worker, shard) != worker->number)
        return;
    struct rte_mbuf *mbuf = rte_pktmbuf_alloc(peer->fence_pool);
    struct cascade_fence fence = {.move = (uint32_t)(due >> 8), .packets = peer->sequence[shard]};
    struct cascade_frame frame = {.kind = CASCADE_FRAME_FENCE, .shard = shard};
    if (!mbuf || !cascade_fence_write(mbuf, &fence) || !send_frame(peer, worker, mbuf, &frame)) {
        rte_pktmbuf_free(mbuf); /* next time */
        return;
    }
    atomic_store_explicit(&peer->fence_due, 0, memory_order_release);
}

/* ---- in ---- */

void dp_peer_meet_fence(struct dp_worker *worker, struct rte_mbuf *mbuf)
{
    const struct dp_meta *meta = rte_mbuf_to_priv(mbuf);
    /* Release: what became of the packets before it goes before; partner: the acquire in cascade/pair.c. */
    atomic_store_explicit(&worker->engine->peer->fence[meta->shard], meta->fence, memory_order_release);
    rte_pktmbuf_free(mbuf);
}

/* To the shard's worker, behind what it was given before. */
static void give_to_worker(struct dp_worker *worker, struct rte_mbuf *mbuf, unsigned owner)
{
    const struct dp_meta *meta = rte_mbuf_to_priv(mbuf);
    uint32_t frame_bytes = rte_pktmbuf_pkt_len(mbuf);
    bool counts = meta->kind == DP_META_RETURNED;
    if (rte_ring_sp_enqueue(worker->engine->workers[owner]->handoff[worker->number], mbuf)) {
        if (counts)
            dp_count_outcome(worker, DP_OUTCOME_tx_refused, frame_bytes);
        rte_pktmbuf_free(mbuf);
        return;
    }
    worker->given[owner]++;
}

static void flush(struct dp_worker *worker, struct dp_burst *burst)
{
    if (burst->count)
        dp_worker_receive(worker, burst);
    burst->count = 0;
}

static void take_other(struct dp_worker *worker, struct rte_mbuf *mbuf, const struct cascade_frame *frame,
                       const struct cascade_fence *fence, uint64_t now_ns)
{
    struct dp_meta *meta = rte_mbuf_to_priv(mbuf);
    unsigned home = home_of(worker, frame->shard);
    *meta = (struct dp_meta){.now_ns = now_ns,
                             .link = dp_peer_link(frame->link),
                             .side = frame->side,
                             .shard = frame->shard,
                             .kind = frame->kind == CASCADE_FRAME_FENCE ? DP_META_FENCE : DP_META_RETURNED,
                             .fence = fence->move};
    if (meta->kind == DP_META_RETURNED) {
        DP_COUNT(worker->stats.received_packets, 1);
        DP_COUNT(worker->stats.received_bytes, rte_pktmbuf_pkt_len(mbuf));
    }
    if (home != worker->number)
        give_to_worker(worker, mbuf, home);
    else
        dp_worker_take_strays(worker, &mbuf, 1);
}

/* A frame whose packet we are to judge: into the burst. */
static void add(struct dp_burst *burst, struct rte_mbuf *mbuf, const struct cascade_frame *frame, uint64_t now_ns)
{
    unsigned i = burst->count++;
    burst->mbuf[i] = mbuf;
    burst->now_ns[i] = now_ns;
    burst->number[i] = 0;
    burst->link[i] = dp_peer_link(frame->link);
    burst->side[i] = frame->side;
    burst->link_type[i] = DP_LINK_ETHERNET;
    burst->hops[i] = frame->hops;
}

static bool is_sound(const struct cascade_frame *frame)
{
    return frame->link < FT_LINKS_MAX && frame->side < DP_SIDES;
}

void dp_peer_receive(struct dp_worker *worker, struct rte_mbuf *frames[], unsigned count, uint64_t now_ns)
{
    struct dp_peer *peer = worker->engine->peer;
    struct dp_burst *burst = &worker->from_peer;
    burst->count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct cascade_frame frame;
        struct cascade_fence fence = {0};
        enum cascade_frame_result result = cascade_frame_pull(frames[i], &frame);
        if (result == CASCADE_FRAME_ok && !is_sound(&frame))
            result = CASCADE_FRAME_kind;
        if (result == CASCADE_FRAME_ok && frame.kind == CASCADE_FRAME_FENCE && !cascade_fence_read(frames[i], &fence))
            result = CASCADE_FRAME_short_frame;
        if (result != CASCADE_FRAME_ok || frame.kind == CASCADE_FRAME_KEEP_ALIVE) {
            DP_COUNT(peer->stats.refused[result], result != CASCADE_FRAME_ok);
            rte_pktmbuf_free(frames[i]);
            continue;
        }
        cascade_path_take(&peer->path[frame.shard], frame.sequence);
        if (frame.kind == CASCADE_FRAME_PROCESS) {
            add(burst, frames[i], &frame, now_ns);
            continue;
        }
        flush(worker, burst); /* what came before it stays before it */
        take_other(worker, frames[i], &frame, &fence, now_ns);
    }
    flush(worker, burst);
}

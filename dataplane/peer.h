/*
 * The packets' part of a cascade: two engines, each on links of its own, of which one owns a shard. A packet of a shard that
 * the peer owns goes to it over the cascade port, is judged there, and comes back to leave by the link it came from.
 *
 * A shard has one path: whichever worker receives a packet gives it to the shard's worker (its owner in owner.h), and that
 * one alone sends it, as a frame (cascade/frame.h) numbered per shard. The other way the worker that polls the cascade port
 * gives what comes to the shard's worker, which judges it, or sends it on its link. So packets of a shard stay in the order
 * in which a worker received them, through the peer and back.
 *
 * Links: an engine numbers its own from 0; those of its peer are DP_PEER_LINK and up. So a number changes by that one bit
 * when it crosses (dp_peer_link()).
 *
 * Which engine owns a shard changes only while the shard is frozen on both (owner.h), by the rules of cascade/pair.h.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/burst.h"
#include "dataplane/cascade/frame.h"

#define DP_PEER_LINK (FT_LINKS_MAX / 2)

/* Counters of a worker's part in the cascade; one place each. */
struct dp_peer_stats {
    uint64_t refused[CASCADE_FRAME_RESULT_COUNT]; /* frames; by reason */
    uint64_t fences;
};

struct dp_engine;

struct dp_peer {
    /* w: control, while the shard is frozen; r: the shard's worker, ordered by the state of its move. */
    bool remote[FT_SHARDS];
    uint32_t epoch[FT_SHARDS];
    uint32_t sequence[FT_SHARDS]; /* of the next frame; the shard's worker */
    /*
     * A shard that has just become ours: the peer's packets of it are judged, those of our own links still wait. -1: none.
     * w: control, release; r: the shard's worker, acquire.
     */
    _Atomic int adopting;
    _Atomic uint32_t fence[FT_SHARDS]; /* number of the last fence that the shard's worker met; release, acquire */
    /* The polling worker's. */
    struct cascade_path path[FT_SHARDS];
    struct dp_peer_stats stats;
    struct rte_ether_addr own_address, peer_address;
    /*
     * A fence that control asks the shard's worker for: number << 8 | shard, 0: none. w: control, release; the worker when it
     * has sent it, release; r: the other one, acquire.
     */
    _Atomic uint64_t fence_due;
    struct rte_mempool *fence_pool;
    /* Gives a frame to the cascade port, behind what this worker gave before; false when there is no room. */
    bool (*send)(void *context, struct dp_worker *worker, struct rte_mbuf *frame);
    void *send_context;
};

/* All shards ours, nothing moves. */
void dp_peer_init(struct dp_peer *peer);

static inline uint8_t dp_peer_link(uint8_t link)
{
    return link ^ DP_PEER_LINK;
}

/* ---- the shard's worker ---- */

/* Sends packet i of the burst on the path of `shard`, which the peer owns. Its outcome says how that went. */
void dp_peer_give(struct dp_worker *worker, struct dp_burst *burst, unsigned i, uint8_t shard);
/* Sends packet i, which came from the peer and has its outcome, back; false: it is ours to send, or it was dropped. */
bool dp_peer_return(struct dp_worker *worker, struct dp_burst *burst, unsigned i);
/* A frame without packet that came out of a ring, or that is for ourselves: a fence. Frees it. */
void dp_peer_meet_fence(struct dp_worker *worker, struct rte_mbuf *mbuf);

/* Sends the fence that control asks for, if the shard is this worker's. Once a loop; one load when none is due. */
void dp_peer_poll_fence(struct dp_worker *worker);

/* ---- the worker that polls the cascade port ---- */

/* Frames as they were received, at most DP_BURST_MAX. Keeps none. */
void dp_peer_receive(struct dp_worker *worker, struct rte_mbuf *frames[], unsigned count, uint64_t now_ns);

/* ---- control ---- */

/*
 * Has the shard's worker send a fence of that number (not 0) behind everything that it has sent of the shard by then. False:
 * it has not sent the last one yet.
 */
static inline bool dp_peer_ask_fence(struct dp_peer *peer, uint8_t shard, uint32_t number)
{
    if (atomic_load_explicit(&peer->fence_due, memory_order_acquire))
        return false;
    atomic_store_explicit(&peer->fence_due, (uint64_t)number << 8 | shard, memory_order_release);
    return true;
}

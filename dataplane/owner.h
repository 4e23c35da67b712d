/*
 * The owner map, and how a shard changes hands while packets flow.
 *
 * Each shard of the flow table has one owner, the worker that alone writes its flows. Whoever receives a packet gives it to
 * the owner through a ring that has one producer and one consumer. Each worker routes by a map of its own, which changes
 * only between its bursts.
 *
 * A move takes a shard from one worker to another; there is one move at a time:
 *
 *   1. Control writes down shard, from, to, and counts the moves up (dp_owner_move()).
 *   2. Each worker sees that before it routes its next burst. It notes how many packets it has given to the old owner by
 *      then (its fence), and from then on gives the shard's packets to the new one. The new owner parks what it gets.
 *   3. The old owner goes on judging the shard's packets that come out of its rings. When it has judged as many of each
 *      worker's as that worker's fence says, no packet of the shard can be on its way to it any more. It waits until the
 *      others have judged what it had given them by then (fragments that it found the flow of: whoever does that next must
 *      not overtake them), hands out what it keeps by shard (datagrams in fragments) and releases the shard.
 *   4. The new owner takes it, judges the parked packets in their order, then newer ones.
 *
 * So no packet of the shard is judged by two workers at a time, none by none, and those that one worker received stay in
 * their order. Nothing that a flow's entry refers to moves: its memory is shared (pool.h). A packet that came out of a
 * ring is never passed on, whatever the map says by then: who gave it did so by the rule above.
 *
 * A move can stop between 3 and 4 (`hold`): the shard is then frozen, its flows rest and may be read and written by whoever
 * asked for it, until it lets the new owner go on by dp_owner_release(). With from = to a shard is frozen in place.
 *
 * What has to hold besides: packets of a flow go on coming to the worker they came to (no change of RSS while a shard is
 * moving), and every worker goes on calling dp_worker_take_handoffs().
 *
 * Ended events of one flow may come from two workers; their order is kept by the move's number, see
 * dp_engine_drain_events().
 */
#pragma once

#include <rte_mbuf.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/config.h"
#include "dataplane/fragment.h"

/* In a worker's own map: the shard will be its own, its packets wait. */
#define DP_OWNER_PARKED UINT8_MAX
/* In the map of the shard's worker: another engine owns it, see peer.h. */
#define DP_OWNER_REMOTE (UINT8_MAX - 1)
/* Packets that wait; more are passed on without being judged (handoff_full). */
#define DP_PARKED_PACKETS 4096u

struct dp_engine;
struct dp_worker;

enum dp_move_state {
    DP_MOVE_IDLE,     /* over, or none was ever begun */
    DP_MOVE_FENCING,  /* begun; packets of the shard may be on their way to the old owner */
    DP_MOVE_FROZEN,   /* `hold`: nobody judges the shard's packets */
    DP_MOVE_RELEASED, /* the new owner may take it */
};

/* One worker's word that it has seen a move. */
struct dp_fence {
    uint64_t given;        /* packets that it had given to the old owner by then */
    _Atomic uint32_t seen; /* the move's number; w: the worker, release; r: the old owner, acquire */
} __rte_cache_aligned;

/* What a worker has seen of the latest move; number 0: none. */
struct dp_move_seen {
    uint32_t number;
    uint8_t shard, from, to;
};

struct dp_move {
    _Atomic uint32_t number; /* moves begun; w: control, release; r: workers, acquire, once a burst */
    /* number << 2 | enum dp_move_state; w, release: control, then the old owner, whoever holds, the new owner; r, acquire */
    _Atomic uint64_t state;
    uint8_t shard, from,
        to; /* w: control, between moves; r: a worker that has seen the number and not set its fence yet */
    bool hold;
    struct dp_fence fences[DP_WORKERS_MAX];
    /* The old owner's. */
    bool flushing;                         /* all fences have been passed */
    uint64_t flushed[DP_WORKERS_MAX];      /* packets that it had given to each worker by then */
    struct dp_fragment_carrier *fragments; /* w: the old owner; r: the new one */
    /* The new owner's. */
    unsigned parked_count;
    struct rte_mbuf *parked[DP_PARKED_PACKETS];
};

/* ---- control thread ---- */

/* Says who owns what, while no worker runs and no shard moves. */
void dp_owner_set(struct dp_engine *engine, const uint8_t owner[FT_SHARDS]);
/* Begins a move, and returns at once. 0, -EBUSY (the last one, or the reload of
 * a pack, is not over), -EINVAL (no such shard or worker). */
int dp_owner_move(struct dp_engine *engine, unsigned shard, unsigned to, bool hold);
/* After DP_MOVE_IDLE what the workers did before is visible, after DP_MOVE_FROZEN the shard's last write. */
enum dp_move_state dp_owner_state(const struct dp_engine *engine);
/* Lets the new owner of a frozen shard go on: any one thread, for which the shard was frozen. */
void dp_owner_release(struct dp_engine *engine);

/* ---- worker ---- */

/* The worker's part when the latest move is one that it has not seen: before it routes a burst. */
void dp_owner_see(struct dp_worker *worker);
/*
 * The old and the new owner's part, between bursts: no packet that the worker has routed to itself is without its outcome.
 * Returns how many parked packets were judged. Cost: two loads when nothing moves.
 */
unsigned dp_owner_poll(struct dp_worker *worker);
/* A packet of the shard that will be ours: false when there is no room for it. */
bool dp_owner_park(struct dp_worker *worker, struct rte_mbuf *mbuf);

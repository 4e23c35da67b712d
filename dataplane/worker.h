/*
 * A worker: one thread that receives, owns shards of the flow table, and runs the stages. All it writes is its own, but
 * for rings.
 *
 * Engine: what workers share. Built by the control thread before the first packet, read-only after, but for pools of shared
 * items and the move of a shard (owner.h).
 */
#pragma once

#include <rte_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "classifier/classifier.h"
#include "dataplane/attributes.h"
#include "dataplane/burst.h"
#include "dataplane/config.h"
#include "dataplane/event.h"
#include "dataplane/learn.h"
#include "dataplane/owner.h"
#include "dataplane/peer.h"
#include "dataplane/pending.h"
#include "dataplane/reload.h"
#include "dataplane/stats.h"
#include "dataplane/tunnel.h"
#include "flowtable/table.h"

#define DP_HANDOFF_RING_PACKETS 4096u
#define DP_EVENT_RING_EVENTS    8192u
#define DP_SUBSCRIBER_NETS_MAX  64u
/* Ageing goes once through the table in this time. */
#define DP_SWEEP_ROUND_NS 5000000000u
/* Each time that a direction's bytes cross a multiple of 2 to this, what no record has carried yet is looked at. */
#define DP_VOLUME_CHECK_SHIFT  28
#define DP_FRAGMENT_TIMEOUT_NS 30000000000u

struct dp_engine;

struct dp_worker {
    struct dp_engine *engine;
    uint8_t number;
    uint64_t now_ns;   /* highest time seen */
    uint64_t uid_next; /* live: number of the next flow */
    struct cl_worker *classifier;
    uint32_t pack; /* number of its pack, see reload.h */
    struct dp_pending_pool *pending;
    struct dp_attribute_pool attributes;
    struct dp_fragments *fragments;
    struct rte_ring *events;        /* of struct dp_event; consumer: record thread */
    uint32_t event_order;           /* goes into events: number of a move that is over, of the last that we know */
    uint8_t owner[FT_SHARDS];       /* whom we give a shard's packets to; DP_OWNER_PARKED: nobody yet */
    struct dp_move_seen move;       /* the latest one that owner[] knows of */
    struct rte_ring **handoff;      /* [worker]: packets that it gave to us */
    uint64_t given[DP_WORKERS_MAX]; /* packets that we gave to it */
    _Atomic uint64_t
        taken[DP_WORKERS_MAX]; /* of those that it gave to us, judged; release; r: the old owner, acquire */
    unsigned sweep_shard;      /* the last one that ageing looked at */
    uint64_t swept_ns, sweep_due_slots;
    bool closing; /* in dp_worker_close_all() */
    struct dp_burst burst;
    struct dp_burst ahead[2];  /* of dp_worker_receive_ahead() */
    struct dp_burst from_peer; /* of dp_peer_receive() */
    struct dp_burst *held;     /* that one of them which is parsed and waits to be finished, or NULL */
    struct dp_stats stats;
    struct dp_usage usage[FT_LINKS_MAX][DP_SERVICES_MAX];
    struct cl_info info;                 /* texts of the flow at hand */
    uint8_t linear[CL_STREAM_MAX_BYTES]; /* payload that crosses segments */
    /* Of a newly loaded pack. given: w: control, release; r: worker, acquire. taken: the other way round. */
    _Atomic(struct cl_worker *) classifier_given, classifier_taken;
} __rte_cache_aligned;

struct dp_subscriber_net {
    uint8_t address[16]; /* IPv4 in the first four bytes */
    uint8_t bits;
    bool is_v6;
};

struct dp_engine_config {
    unsigned worker_count;
    uint16_t creator;
    bool offline;         /* replay: numbers come with the packets, a full event ring is waited for */
    bool flow_events;     /* make DP_EVENT_FLOW_START */
    unsigned sweep_slots; /* a portion of ageing: slots looked at in one loop of a worker */
    struct ft_config flow_table;
    struct cl_options classification;
    struct dp_learning_config learning;
    dp_tunnel_policy tunnels;
    uint64_t
        started_before_ns;  /* UDP flows that begin within it after the start count as begun before; UINT64_MAX: all */
    uint64_t pending_bytes; /* all workers together */
    uint32_t attribute_blocks; /* per worker */
    unsigned subscriber_net_count;
    struct dp_subscriber_net subscriber_nets[DP_SUBSCRIBER_NETS_MAX];
    enum dp_idle idle;
    enum dp_checksums checksums;
    struct dp_link_config links[DP_LINKS_MAX];
    unsigned link_count;
};

struct dp_engine {
    struct dp_engine_config config;
    struct ft *flows;
    struct cl_engine *classifier; /* control thread's; workers use their own part's, the record thread what it took */
    struct dp_reload reload;
    struct dp_learning learning; /* tables NULL: off */
    /* The worker that owns a shard, or will when the move is over; control thread, dp_owner_set(). */
    struct dp_peer *peer; /* NULL: no cascade */
    uint8_t owner[FT_SHARDS];
    struct dp_move move;
    struct dp_worker *workers[DP_WORKERS_MAX];
    uint8_t *service_of; /* [ft_hot.name] -> service; a reload adds to it, what stands there stays */
    struct dp_pool attributes;
    struct dp_attribute_pool event_attributes; /* the record thread's access to them */
    /*
     * Sends the packets whose fate is not "dropped": sets mbuf[i] to NULL for each it sent, outcome[i] to tx_refused for each
     * that the port did not take. NULL: nothing is sent (replay).
     */
    void (*transmit)(void *context, struct dp_worker *worker, struct dp_burst *burst);
    void *transmit_context;
    /*
     * Called by a worker whose event ring is full, until there is room, when offline and in dp_worker_close_all(): then no
     * packet waits. NULL: nobody takes events, what finds the ring full is lost.
     */
    void (*event_wait)(void *context);
    void *event_wait_context;
    /* The record thread's: events of one flow that two workers told are taken in their order. */
    struct dp_event *waiting_events; /* [worker]: taken from its ring, has to wait */
    bool event_waits[DP_WORKERS_MAX];
    uint32_t event_order, event_order_next; /* of the events that are taken now; the next there is, 0: not known */
    uint64_t started_ns;
    _Atomic bool stop; /* w: control, release; r: workers, acquire, once a loop */
};

void dp_engine_config_init(struct dp_engine_config *config);
/* NULL with the reason in `error`. EAL must be up. */
struct dp_engine *dp_engine_create(const struct dp_engine_config *config, char *error, size_t error_size);
void dp_engine_destroy(struct dp_engine *engine);

/* ---- worker thread ---- */

/* Packets as they were received: mbuf, times, number, link, side and link type set. Runs all stages. */
void dp_worker_receive(struct dp_worker *worker, struct dp_burst *burst);
/*
 * The same for who has one burst after the other: parses this one and holds it while what its flows need comes from memory,
 * and meanwhile finishes the one that it held. Packets stay in order: what is held is as if it had not been received yet,
 * but for received_packets and bytes. dp_worker_next() is where the burst is to be written; dp_worker_finish() ends the wait
 * of what is held, if anything is: when nothing more comes, and before dp_worker_receive().
 */
static inline struct dp_burst *dp_worker_next(struct dp_worker *worker)
{
    return &worker->ahead[worker->held == &worker->ahead[0]];
}
void dp_worker_receive_ahead(struct dp_worker *worker);
void dp_worker_finish(struct dp_worker *worker);
/*
 * Packets that other workers handed over, and our part in the move of a shard (owner.h); returns how many packets were judged.
 * Once a loop, also when there is nothing to receive.
 */
unsigned dp_worker_take_handoffs(struct dp_worker *worker);
/* Judges packets that were given to us as to their owner: their views and all else stand in their struct dp_meta. */
void dp_worker_take_strays(struct dp_worker *worker, struct rte_mbuf *const mbufs[], unsigned count);
/*
 * Ageing, fragments' time-outs, a newly loaded pack: a bounded piece of work, once a loop. Offline now_ns is the clock of a
 * moment at which every packet had been judged.
 */
void dp_worker_housekeeping(struct dp_worker *worker, uint64_t now_ns);
/* What inspection left under an earlier pack is made fit for the worker's. */
static inline void dp_pending_adopt(struct dp_worker *worker, struct dp_pending *pending)
{
    if (pending->pack == worker->pack)
        return;
    if (pending->pack)
        cl_state_adopt(cl_worker_engine(worker->classifier), pending->pack, &pending->state);
    pending->pack = worker->pack;
}
/*
 * Credits the datagrams whose first fragment has not come in time to the flow of their addresses. At each fragment and before
 * ageing, so that what comes out does not depend on how packets came in bursts.
 */
void dp_worker_expire_fragments(struct dp_worker *worker, uint64_t now_ns);
/* Ends every flow of the worker's shards. For the end of a run. */
void dp_worker_close_all(struct dp_worker *worker, uint64_t now_ns);
/* Ends one flow: event, pools, table. */
void dp_flow_close(struct dp_worker *worker, ft_slot slot, uint64_t now_ns, bool at_end);
/* Gives a flow its final verdict: entry, texts, usage, event. */
void dp_flow_decide(struct dp_worker *worker, ft_slot slot, const struct cl_verdict *verdict,
                    const struct cl_info *info, uint32_t packets, uint32_t payload_packets);
/*
 * Gives a flow that inspection will not decide any more its verdict: what it had found (`pending`, NULL = it found nothing),
 * else by ports and IP protocol.
 */
void dp_flow_conclude(struct dp_worker *worker, ft_slot slot, struct dp_pending *pending, const struct cl_info *info,
                      bool established, uint32_t packets);
/* Texts go along and are the receiver's, see event.h. False when the ring was full (counted; texts are dropped). */
bool dp_event_send(struct dp_worker *worker, ft_slot slot, enum dp_event_kind kind, enum dp_close close,
                   uint64_t now_ns);
/* Adds bytes of one direction to a flow and, when it is decided, to its service's usage. */
void dp_account_bytes(struct dp_worker *worker, ft_slot slot, uint8_t from_server, uint64_t bytes, uint64_t now_ns);
/* The one place where a packet's end is counted. */
static inline void dp_count_outcome(struct dp_worker *worker, unsigned outcome, uint32_t frame_bytes)
{
    DP_COUNT(worker->stats.outcome_packets[outcome], 1);
    DP_COUNT(worker->stats.outcome_bytes[outcome], frame_bytes);
}
/* Accounts fragments that were forwarded before it was known whose they were. */
void dp_flow_credit(struct dp_worker *worker, const struct dp_fragment_credit *credit, uint64_t now_ns);

/* ---- record thread ---- */

typedef void (*dp_event_handler)(void *context, const struct dp_event *event, const struct dp_attributes *attributes);
/*
 * Takes about `limit` events, shared evenly by the workers, gives their attribute blocks back after the handler; returns how
 * many. 0 says that there are none. Events of one flow come in their order, also when its shard changed hands meanwhile.
 */
unsigned dp_engine_drain_events(struct dp_engine *engine, unsigned limit, dp_event_handler handler, void *context);

/* ---- any thread ---- */

/* Sum over workers. `received = sum(outcome_packets) + in flight`; exact when workers rest. */
void dp_engine_stats(const struct dp_engine *engine, struct dp_stats *ret_stats);
/* Sum over workers of one link's usage by service. */
void dp_engine_usage(const struct dp_engine *engine, unsigned link, struct dp_usage ret_usage[DP_SERVICES_MAX]);

/*
 * A burst of packets on its way through the stages: parallel arrays, one entry a packet. Each stage is one function over
 * the whole burst in a file of its own, stage_NAME.c; none of them logs, locks, allocates or makes a system call.
 *
 *     source -> parse -> route -> flow -> classify -> account -> sink
 *                          \-> ring of the owning worker -> flow ...
 *
 * A packet whose `outcome` is set before the sink skips what lies between. `flow` takes packets in order and may stop
 * early at one that closes a flow which an earlier packet of the burst still holds; the pipeline then runs the later
 * stages for what was taken and goes on with the rest.
 */
#pragma once

#include <rte_mbuf.h>
#include <stdint.h>

#include "dataplane/fragment.h"
#include "dataplane/outcome.h"
#include "dataplane/packet.h"
#include "flowtable/table.h"

#define DP_BURST_MAX FT_BURST_MAX

/* Stamps of captures are out of order by less than this, or the clock was set back: replay.h says what then. */
#define DP_CLOCK_DISORDER_NS 1000000000u

/* Not an end: no outcome yet; now another worker's packet (its mbuf pointer here is NULL). */
#define DP_OUTCOME_NONE       255u
#define DP_OUTCOME_HANDED_OFF 254u
static_assert(DP_OUTCOME_COUNT < DP_OUTCOME_HANDED_OFF, "outcomes fit a byte beside the two marks");

struct dp_burst {
    unsigned count;
    bool strays; /* all of them were given by other workers */
    struct rte_mbuf *mbuf[DP_BURST_MAX];
    uint64_t now_ns[DP_BURST_MAX]; /* the engine's clock: steps back by DP_CLOCK_DISORDER_NS at most */
    uint64_t number[DP_BURST_MAX]; /* of the packet, from 1, in replay; 0 when live */
    uint8_t link[DP_BURST_MAX];
    uint8_t side[DP_BURST_MAX];      /* enum dp_side it came in at; DP_SIDES in replay: subscriber nets decide */
    uint8_t link_type[DP_BURST_MAX]; /* enum dp_link_type */
    uint8_t hops[DP_BURST_MAX];      /* how often it was given to a peer; of a packet of a link of ours 0 */
    uint8_t outcome[DP_BURST_MAX];   /* enum dp_outcome, or DP_OUTCOME_NONE */
    uint8_t shard[DP_BURST_MAX];     /* valid when parsed */
    uint8_t from_server[DP_BURST_MAX];
    bool resolved[DP_BURST_MAX];    /* a fragment whose key was found out by the owner of its addresses */
    uint32_t ordinal[DP_BURST_MAX]; /* number of the packet within its flow, from 1 */
    ft_slot slot[DP_BURST_MAX];     /* FT_SLOT_NONE: no flow */
    ft_slot hint[DP_BURST_MAX];     /* of dp_stage_flow_prefetch(), this burst's or an earlier one's, or 0 */
    struct dp_view view[DP_BURST_MAX];
    uint64_t hash[DP_BURST_MAX]; /* ft_hash() of the key; valid when parsed */
    bool has_rest;               /* the flow stage left packets to classify and account */
    uint32_t credited;           /* mask: packets that bring a credit along; credit[] is valid for these alone */
    struct dp_fragment_credit credit[DP_BURST_MAX];
};

/* What of it travels in the mbuf's private area when a packet is handed to its owner. */
struct dp_meta {
    struct dp_view view;
    struct dp_fragment_credit credit; /* packets == 0: none */
    uint64_t now_ns, number;
    uint8_t link, side, link_type, resolved;
    uint8_t outcome; /* of a packet on its way to the sender of its port */
    /* From the peer, see peer.h */
    uint8_t hops;
    uint8_t kind; /* enum dp_meta_kind */
    uint8_t shard;
    uint32_t fence;
};

/* A packet to be judged; one that the peer has judged; a fence. The last two have no view. */
enum dp_meta_kind { DP_META_PACKET, DP_META_RETURNED, DP_META_FENCE };
#define DP_META_BYTES ((uint16_t)RTE_ALIGN_CEIL(sizeof(struct dp_meta), RTE_MBUF_PRIV_ALIGN))

struct dp_worker;

/* Counts what was received, parses it, and has the memory fetch where the table will look for its flows. */
void dp_stage_parse(struct dp_worker *worker, struct dp_burst *burst);
/* Has the memory fetch the flows of a parsed burst; a hint, some time after the parse stage and some before the flow stage. */
void dp_stage_flow_prefetch(struct dp_worker *worker, struct dp_burst *burst);
/* Hands strays to their owners' rings and takes them out of the burst; names the flows of fragments; the worker's time. */
void dp_stage_route(struct dp_worker *worker, struct dp_burst *burst);
/*
 * Finds or makes the flows of packets [begin, count): key, TCP state, times, packet counts. A packet that changes nothing of a
 * decided flow but its counters is finished here (the fast path). Returns where it stopped.
 */
unsigned dp_stage_flow(struct dp_worker *worker, struct dp_burst *burst, unsigned begin);
/* The following three work on packets [begin, end). */
void dp_stage_classify(struct dp_worker *worker, struct dp_burst *burst, unsigned begin, unsigned end);
void dp_stage_account(struct dp_worker *worker, struct dp_burst *burst, unsigned begin, unsigned end);
/* Counts each packet's outcome once, sends what is to be sent, frees what is not. */
void dp_stage_sink(struct dp_worker *worker, struct dp_burst *burst);

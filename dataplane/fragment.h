/*
 * Fragments of one datagram follow the flow of its first fragment, also when they come before it.
 *
 * Only the first fragment has the ports. Nothing is held back or put together: a fragment that comes before its first is
 * forwarded at once and counted here, in the entry of its datagram; when the first names the flow the counts are credited
 * to it; when that does not happen within the time-out they are credited to the flow of the addresses with ports 0.
 * Overlapping fragments are the receiver's business.
 *
 * Who calls: every fragment (DP_VIEW_FRAGMENT) goes to the owner of the shard of its addresses, ft_shard_of(the key with
 * ports 0), see dp_fragment_shard(). That worker has a table of its own, which it alone touches; with the key that comes
 * back, packet and credit go on to the owner of the flow's shard. When a shard changes hands its entries go along.
 *
 * A datagram's entry goes when all its bytes have been seen, so that a fast sender may reuse ids at once, or at the
 * time-out, counted from the datagram's first packet here; from then on it is as if it had gone, whether or not the sweep
 * has come by. Another first fragment with the same id begins a new datagram. Full: the fragment is judged by its
 * addresses alone, counted.
 *
 * Memory: about 136 bytes a datagram, all at create. Time is handed in; it may stand still or step back. Cost: about 50 ns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/packet.h"

/* Each fragment judged ends in exactly one of the first five. */
#define DP_FRAGMENT_COUNTERS(X)                                                                                        \
    X(first_fragments, "first fragments, which named the flow of their datagram")                                      \
    X(followed_fragments, "later fragments that followed their first")                                                 \
    X(pending_fragments, "later fragments that came before their first and were counted for later")                    \
    X(portless_fragments, "later fragments judged without ports because the table was full")                           \
    X(complete_fragments, "fragments of protocols without ports: nothing to find out")                                 \
    X(unnamed_datagrams, "first fragments whose datagram was not remembered because the table was full")               \
    X(expired_datagrams, "datagrams whose first fragment did not come in time: credited to the flow with ports 0")

struct dp_fragment_stats {
#define X(name, text) uint64_t name;
    DP_FRAGMENT_COUNTERS(X)
#undef X
};

struct dp_fragment_config {
    uint32_t capacity_datagrams; /* 1 .. 2^24 */
    uint64_t timeout_ns;         /* fragment_timeout; 30 s by default */
    uint64_t secret_seed;        /* of the hash; 0: drawn from getrandom() */
};

/* Where a packet came in: what a flow that begins with it is made of besides its key. */
struct dp_fragment_origin {
    uint64_t number; /* as in struct dp_burst */
    uint8_t link, side;
};

/* Packets that were forwarded before it was known whose they are. All of a datagram go one way. */
struct dp_fragment_credit {
    struct ft_key key; /* whom to credit */
    uint8_t swap;      /* their direction in that key */
    uint32_t packets;  /* 0: nothing to credit */
    uint64_t bytes;    /* as dp_view.ip_bytes */
    uint64_t first_ns, last_ns;
    struct dp_fragment_origin origin; /* of the first of them */
};

enum dp_fragment_verdict {
    DP_FRAGMENT_FLOW,     /* view->key and view->swap name the flow; account the packet to it */
    DP_FRAGMENT_PENDING,  /* counted here, will come back as a credit: forward it, account it nowhere else */
    DP_FRAGMENT_PORTLESS, /* table full: account it to view->key as it is, with ports 0 */
};

struct dp_fragments;

/* NULL and errno (EINVAL, ENOMEM) on failure. */
struct dp_fragments *dp_fragments_create(const struct dp_fragment_config *config);
void dp_fragments_destroy(struct dp_fragments *fragments);

/* The shard whose owner judges this fragment, first or later. Any thread. */
uint8_t dp_fragment_shard(const struct dp_view *view);

/*
 * Judges a fragment: view->result is ok and view->flags has DP_VIEW_FRAGMENT. Fills in view->key and view->swap of a
 * later fragment whose first is known. *ret_credit is set in any case; it has packets when this fragment is the first of
 * a datagram of which others came before, or when it met one that had timed out. Its key may be another than the view's.
 */
enum dp_fragment_verdict dp_fragment_judge(struct dp_fragments *fragments, struct dp_view *view, uint64_t now_ns,
                                           const struct dp_fragment_origin *origin,
                                           struct dp_fragment_credit *ret_credit);

/*
 * Removes up to `length` timed-out datagrams, oldest first, and returns how many credits it wrote: those that had packets
 * to credit, to the key with ports 0. *ret_done says that no more have timed out; now_ns UINT64_MAX empties the table.
 * Cost follows what is removed, not the table's size.
 */
uint32_t dp_fragments_expire(struct dp_fragments *fragments, uint64_t now_ns, struct dp_fragment_credit *ret_credits,
                             uint32_t length, bool *ret_done);

/* Datagrams on their way from one table to another. */
struct dp_fragment_carrier;

/* What is known of a datagram, for a table in another process. */
struct dp_datagram_state {
    uint8_t addr[2][16]; /* ordered as in a key */
    uint32_t context, fragment_id;
    uint8_t id_ip_proto; /* 0 for IPv6 */
    uint8_t is_v6, direction;
    uint16_t port_be16[2];
    uint8_t ip_proto, swap;
    bool is_named;
    uint32_t pending_packets;
    uint64_t pending_bytes, created_ns, pending_first_ns, pending_last_ns;
    struct dp_fragment_origin origin;
    uint32_t seen_bytes, total_bytes;
};
uint32_t dp_fragment_carrier_count(const struct dp_fragment_carrier *carrier);
void dp_fragment_carrier_get(const struct dp_fragment_carrier *carrier, uint32_t index,
                             struct dp_datagram_state *ret_state);
/* False: there is no room for it. */
bool dp_fragment_carrier_add(struct dp_fragment_carrier *carrier, const struct dp_datagram_state *state);
/* Empties it. */
void dp_fragment_carrier_clear(struct dp_fragment_carrier *carrier);

/* Room for all of a table of that capacity. NULL when memory is short. */
struct dp_fragment_carrier *dp_fragment_carrier_create(uint32_t capacity_datagrams);
void dp_fragment_carrier_destroy(struct dp_fragment_carrier *carrier);
/* Moves all datagrams of a shard of addresses out of the table. The carrier is empty before. Cost: a look at each datagram. */
void dp_fragments_export(struct dp_fragments *fragments, uint8_t shard, struct dp_fragment_carrier *carrier);
/*
 * Moves them into another. What finds the table full is forgotten as if it had timed out: its credits are returned as by
 * dp_fragments_expire(), at most `length` at a time; *ret_done says that the carrier is empty.
 */
uint32_t dp_fragments_import(struct dp_fragments *fragments, struct dp_fragment_carrier *carrier,
                             struct dp_fragment_credit *ret_credits, uint32_t length, bool *ret_done);

/* Any thread: the owner counts relaxed. */
void dp_fragments_stats(const struct dp_fragments *fragments, struct dp_fragment_stats *ret_stats);
/* While the owner rests. */
void dp_fragments_stats_reset(struct dp_fragments *fragments);

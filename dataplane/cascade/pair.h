/*
 * One engine's end of a cascade: keeps the peer's replica up to date, and moves shards to it, one at a time, so that no packet
 * is judged by two engines or by none. tests/spin/cascade_move.pml is the model of the move.
 *
 *   A, the owner                                       B
 *   rounds until few records are left      RECORDS ->  applied to the replica, which no worker touches
 *   freeze: its packets park
 *   the last round, datagrams, digest    SHARD_END ->  compares its own digest; freezes the shard: its packets park
 *                                         <- READY     and sends a fence behind what it gave A before    <== fence
 *   the fence has come: nothing is on its way to A
 *   the epoch changes                        EPOCH ->  owns from here on; judges what comes from A
 *                                           <- ACK
 *   forgets the flows, gives the parked packets
 *   to B, and a fence behind them        fence ===>    then what parked here, then all is as before
 *
 * Until A sends EPOCH it may give up, by a refusal or a time-out: B gives A what it parked, A judges what it parked, in order.
 * After that there is no way back: when the session ends in between, the handshake of the next one says whose the shard is, by
 * its epoch.
 *
 * This file knows neither sockets nor ports: messages and frames go through calls that its owner gives, time is handed in. One
 * thread, control for the engine's owner map while a cascade runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/cascade/carry.h"
#include "dataplane/peer.h"

#define CASCADE_WIRE_VERSION 1u

struct cascade_pair_config {
    bool active;                /* owns every shard at the start; the other one owns none */
    uint64_t move_timeout_ns;   /* from the freeze to the change of epoch; 0: 200 ms */
    uint32_t converged_records; /* a round that sent no more than so many is followed by the freeze; 0: 64 */
    uint32_t rounds_max;        /* that a move waits for it; 0: 50 */
    struct rte_mempool *pool;   /* for fences */
};

/* The control session. `send` refuses what finds no room. */
struct cascade_pair_session {
    bool (*send)(void *context, uint8_t type, const void *body, size_t size_bytes);
    void *context;
};

/* How attempts ended, and why a peer was refused; names as in JSON and metrics. */
#define CASCADE_MOVE_ENDS(X)                                                                                           \
    X(none, "none yet")                                                                                                \
    X(moved, "the peer owns the shard")                                                                                \
    X(aborted, "given up by the operator")                                                                             \
    X(not_converged, "the shard changes faster than it is sent")                                                       \
    X(timeout, "the peer did not answer in time")                                                                      \
    X(digest_differs, "the peer's replica is not equal: it refused records")                                           \
    X(peer_busy, "the peer is moving another shard")                                                                   \
    X(session_lost, "the session ended")
enum cascade_move_end {
#define X(name, text) CASCADE_MOVE_END_##name,
    CASCADE_MOVE_ENDS(X)
#undef X
        CASCADE_MOVE_END_COUNT
};
const char *cascade_move_end_name(enum cascade_move_end end);
const char *cascade_move_end_text(enum cascade_move_end end);

#define CASCADE_PEER_REFUSALS(X)                                                                                       \
    X(none, "accepted")                                                                                                \
    X(bad_hello, "no handshake of a cascade")                                                                          \
    X(wire_version, "no common version of the wire")                                                                   \
    X(shards, "another number of shards or another shard function")                                                    \
    X(both_active, "both engines are active")                                                                          \
    X(definition, "a record definition that is not understood")
enum cascade_peer_refusal {
#define X(name, text) CASCADE_PEER_REFUSAL_##name,
    CASCADE_PEER_REFUSALS(X)
#undef X
        CASCADE_PEER_REFUSAL_COUNT
};
const char *cascade_peer_refusal_name(enum cascade_peer_refusal refusal);
const char *cascade_peer_refusal_text(enum cascade_peer_refusal refusal);

struct cascade_pair_stats {
    uint64_t moves[CASCADE_MOVE_END_COUNT]; /* attempts of this engine */
    uint64_t taken_over;                    /* shards that came from the peer */
    uint64_t flows_sent, flows_taken_over;  /* with moved shards */
    uint64_t hold_ns_max;                   /* from the freeze to the release */
    uint64_t messages_refused;              /* of the peer's: malformed, or out of place */
};

struct cascade_pair;

/* Sets up the engine's peer part; before its workers run. NULL when memory is short. */
struct cascade_pair *cascade_pair_create(struct dp_engine *engine, const struct cascade_pair_config *config,
                                         const struct cascade_pair_session *session);
/* When no worker runs any more. */
void cascade_pair_destroy(struct cascade_pair *pair);

void cascade_pair_opened(struct cascade_pair *pair, uint64_t now_ns);
void cascade_pair_closed(struct cascade_pair *pair, uint64_t now_ns);
/* Other than `none`: close the session, the peer is refused. */
enum cascade_peer_refusal cascade_pair_message(struct cascade_pair *pair, uint8_t type, const uint8_t *body,
                                               size_t size_bytes, uint64_t now_ns);
/* Goes on with rounds and moves. True when there is more to do at once. */
bool cascade_pair_poll(struct cascade_pair *pair, uint64_t now_ns);

/*
 * Begins to move a shard to the peer. 0, -EBUSY (a move is under way), -EPERM (the peer owns it), -ENOTCONN (no peer, or its
 * replica is not complete yet).
 */
int cascade_pair_move(struct cascade_pair *pair, unsigned shard);
/* Gives the move up if the epoch has not changed yet: 0, -EALREADY (it has), -ENOENT (there is none). */
int cascade_pair_abort(struct cascade_pair *pair);
bool cascade_pair_moving(const struct cascade_pair *pair);
/* The peer is there and has had a whole round of each of our shards. */
bool cascade_pair_is_ready(const struct cascade_pair *pair);
bool cascade_pair_owns(const struct cascade_pair *pair, unsigned shard);
enum cascade_move_end cascade_pair_last_end(const struct cascade_pair *pair);
void cascade_pair_stats(const struct cascade_pair *pair, struct cascade_pair_stats *ret_stats);
void cascade_pair_replica_stats(const struct cascade_pair *pair, struct cascade_replica_stats *ret_stats);

/*
 * A flow as it crosses between two engines: three kinds of records (schema.h).
 *
 *   flow        all of it: key, uid, counters, ledger of its records, verdict by stable ids, texts; while undecided what
 *               inspection has kept
 *   flow_touch  what each packet changes: counters, time, TCP state; names the flow by the sender's {slot, generation}
 *   flow_gone   it ended
 *
 * Times are nanoseconds of the sender's clock, carried as they are; the receiver adds the difference that the handshake
 * found. Verdicts are carried as ids that a pack keeps over its versions, never as indexes; the digest of the pack that
 * made them is told once, in the handshake, by its number.
 *
 * These structs are what fields are read from and written to; they never go on the wire as they lie in memory.
 */
#pragma once

#include <stdint.h>

#include "dataplane/cascade/schema.h"
#include "flowtable/flow.h"

/* Numbers of kinds: never reused. */
enum cascade_flow_kinds { CASCADE_KIND_FLOW = 1, CASCADE_KIND_FLOW_TOUCH = 2, CASCADE_KIND_FLOW_GONE = 3 };

/* What each packet of a decided flow changes. */
struct cascade_flow_touch {
    uint32_t slot, generation; /* the sender's */
    uint64_t last_ns;
    uint64_t packets_client, packets_server, bytes_client, bytes_server;
    uint16_t flags; /* FT_FLOW_*, without the link */
    uint8_t tcp_state;
    uint8_t timeout_class;
    uint8_t judged_packets_left; /* of a flow that is watched, see ft_cold.judged */
};

struct cascade_flow {
    struct cascade_flow_touch touch;
    uint64_t uid;
    uint32_t version;
    /* key */
    uint8_t address_0[16], address_1[16];
    uint8_t ports[4]; /* network order, endpoint 0 first */
    uint32_t context;
    uint8_t ip_proto, is_v6;
    uint8_t link;
    uint64_t first_ns;
    /* ledger of its records */
    uint64_t reported_bytes_client, reported_bytes_server;
    uint16_t interval;
    /* verdict; ids counted from 1, 0: none */
    uint32_t protocol_id, application_id, signature_id;
    uint8_t method, confidence;
    uint16_t packets_to_verdict;
    uint8_t payload_packets_to_verdict;
    uint8_t pack; /* number of the pack that judged, in the sender's handshake; 0 = undecided */
    /* undecided TCP: sequence numbers expected next */
    uint32_t next_seq_client, next_seq_server;
    /* decided and watched: the bytes that the verdict rests on */
    uint32_t judged_seq, judged_digest;
    uint16_t judged_size_bytes;
    uint8_t judged_from_server;
    struct cascade_blob texts;   /* struct dp_attributes: sizes, then the texts; empty: none */
    struct cascade_blob pending; /* what inspection has kept, see cascade/undecided.h; empty: nothing, or decided */
};

struct cascade_flow_gone {
    uint32_t slot, generation;
    uint64_t uid;
    uint32_t version;
};

extern const struct cascade_kind cascade_flow_kind, cascade_flow_touch_kind, cascade_flow_gone_kind;

/* Stable ids of runtime indexes, counted from 1, and back; 0 for 0: none, or not known here. The dataplane has them from its pack, a test from a table. */
struct cascade_names {
    uint32_t (*id_of_protocol)(const void *context, uint16_t index);
    uint32_t (*id_of_signature)(const void *context, uint16_t index);
    uint16_t (*protocol_of_id)(const void *context, uint32_t id);
    uint16_t (*signature_of_id)(const void *context, uint32_t id);
    const void *context;
};

/* From a copy of the flow (ft_read(), ft_copy()); texts and pending are the caller's. Any thread, about 20 ns. */
void cascade_flow_from(struct cascade_flow *to, const struct ft_flow *flow, const struct cascade_names *names);
void cascade_touch_from(struct cascade_flow_touch *to, const struct ft_flow *flow);

/* Why a flow of the peer is refused; names as in JSON and metrics. */
#define CASCADE_FLOW_REFUSALS(X)                                                                                       \
    X(none, "accepted")                                                                                                \
    X(bad_key, "no key: endpoints out of order, an unknown IP version, or bytes where none may be")                    \
    X(bad_state, "a TCP state or time-out class that this version does not know")                                      \
    X(wrong_shard, "not of the shard it was sent for")                                                                 \
    X(no_space, "no slot or no bucket for it")                                                                         \
    X(stale, "older than what is here")                                                                                \
    X(unknown_flow, "a touch or an end of a flow that was never sent")                                                 \
    X(not_replica, "this engine owns the shard")
enum cascade_flow_refusal {
#define X(name, text) CASCADE_FLOW_REFUSAL_##name,
    CASCADE_FLOW_REFUSALS(X)
#undef X
        CASCADE_FLOW_REFUSAL_COUNT
};
const char *cascade_flow_refusal_name(enum cascade_flow_refusal refusal);
const char *cascade_flow_refusal_text(enum cascade_flow_refusal refusal);

/* The key, checked: endpoints in order, unused bytes zero, a known IP version. */
enum cascade_flow_refusal cascade_flow_key(const struct cascade_flow *from, struct ft_key *ret_key);
/*
 * Writes the record into an entry of that key, which lies in this engine's table: between ft_write_begin() and
 * ft_write_end() of the caller, who is the writer of its shard. Times are moved by `clock_ns` (ours - the sender's).
 * Handles (pending, attributes) and the time-out class are left to the caller: ft_set_timeout_class().
 */
enum cascade_flow_refusal cascade_flow_apply(const struct cascade_flow *from, const struct cascade_names *names,
                                             int64_t clock_ns, struct ft_hot *hot, struct ft_cold *cold);
enum cascade_flow_refusal cascade_touch_apply(const struct cascade_flow_touch *from, int64_t clock_ns,
                                              struct ft_hot *hot, struct ft_cold *cold);
/* Of an entry: the handle of what inspection keeps, 0 when it keeps nothing. */
static inline uint32_t cascade_pending_of(const struct ft_hot *hot, const struct ft_cold *cold)
{
    return hot->flags & FT_FLOW_DECIDED ? 0 : cold->pending;
}

/* Serial arithmetic: `version` is newer than `than`. */
static inline bool cascade_is_newer(uint32_t version, uint32_t than)
{
    return (int32_t)(version - than) > 0;
}

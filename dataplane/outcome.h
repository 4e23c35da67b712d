/*
 * How a packet ends. Each packet that is received ends in exactly one of these, counted once, where it happens:
 *
 *     received = forwarded + dropped{reason} + bypassed{reason} + handed{reason}
 *
 * `bypassed` packets go on their way like forwarded ones, but were not judged: the engine could not, and fails open.
 * No counter here is computed from another.
 */
#pragma once

#include "dataplane/packet.h"

/* Handed: to the other engine of a cascade, which judges it; or back to it. */
enum dp_fate { DP_FATE_FORWARDED, DP_FATE_DROPPED, DP_FATE_BYPASSED, DP_FATE_HANDED, DP_FATE_COUNT };

/* fate, reason, text */
#define DP_OUTCOMES(X)                                                                                                 \
    X(FORWARDED, forwarded, "judged and sent on")                                                                      \
    X(DROPPED, receive_only, "link in receive-only mode: read, never sent")                                            \
    X(DROPPED, tx_refused, "the port did not take it")                                                                 \
    X(DROPPED, stopping, "received while the engine stopped")                                                          \
    X(DROPPED, bad_checksum_dropped, "wrong checksum of IPv4, TCP or UDP, by configuration")                           \
    X(BYPASSED, flow_table_no_slot, "new flow refused: no free slot")                                                  \
    X(BYPASSED, flow_table_no_bucket, "new flow refused: its buckets are full")                                        \
    X(BYPASSED, flow_table_unanswered, "new flow refused: too many half-open and unanswered flows")                    \
    X(BYPASSED, bad_checksum, "wrong checksum of IPv4, TCP or UDP: of no flow")                                        \
    X(FORWARDED, returned, "judged by the peer, which owns its shard, and sent on")                                    \
    X(HANDED, handed_to_peer, "given to the peer, which owns its shard")                                               \
    X(HANDED, returned_to_peer, "judged for the peer and given back")                                                  \
    X(BYPASSED, cascade_full, "no room on the cascade port")                                                           \
    X(BYPASSED, map_disagree, "each engine takes the other for the owner of its shard")                                \
    X(BYPASSED, handoff_full, "no room in the ring to the owning worker, or where packets wait for the next owner")

enum dp_outcome {
#define X(fate, reason, text) DP_OUTCOME_##reason,
    DP_OUTCOMES(X)
#undef X
        DP_OUTCOME_UNPARSED, /* + enum dp_parse_result - 1: bypassed, with the parse result as reason */
    DP_OUTCOME_COUNT = DP_OUTCOME_UNPARSED + DP_PARSE_RESULT_COUNT - 1
};

/* Ends that only one of two engines of a cascade can know. */
static inline bool dp_outcome_is_of_cascade(unsigned outcome)
{
    return outcome >= DP_OUTCOME_returned && outcome <= DP_OUTCOME_map_disagree;
}

static inline uint8_t dp_outcome_of_parse(uint8_t parse_result)
{
    return (uint8_t)(DP_OUTCOME_UNPARSED + parse_result - 1);
}

enum dp_fate dp_outcome_fate(unsigned outcome);
const char *dp_outcome_reason(unsigned outcome);
const char *dp_outcome_text(unsigned outcome);
const char *dp_fate_name(enum dp_fate fate); /* "forwarded" ... */

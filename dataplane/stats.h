/*
 * Counters of a worker: written by it alone, relaxed; summed by whoever asks. Each packet and event is counted in one place.
 */
#pragma once

#include "classifier/classifier.h"
#include "dataplane/event.h"
#include "dataplane/fragment.h"
#include "dataplane/outcome.h"

#define DP_SERVICES_MAX 64u

#define DP_COUNTERS(X)                                                                                                 \
    X(flows_opened, "flows that began")                                                                                \
    X(flows_closed, "flows that ended, whatever the reason")                                                           \
    X(flows_started_before, "flows whose beginning was not seen")                                                      \
    X(flows_started_before_closed, "of these, flows that ended")                                                       \
    X(started_before_bytes, "bytes of flows whose beginning was not seen")                                             \
    X(flows_ambiguous, "flows whose first segments disagreed")                                                         \
    X(handed_off, "packets given to the worker that owns their flow")                                                  \
    X(parked, "packets that waited for their shard to change hands")                                                   \
    X(shards_taken, "shards taken over from another worker, or taken up again")                                        \
    X(credited_fragments, "fragments accounted to a flow after they were forwarded")                                   \
    X(uncredited_fragments, "fragments forwarded whose flow could not be made")                                        \
    X(truncated, "packets cut short by the capture")                                                                   \
    X(pending_exhausted, "flows judged early because the inspection pool was empty")                                   \
    X(attributes_exhausted, "flows without texts because the attribute pool was empty")                                \
    X(announcements, "flows to come that control flows announced, and addresses of names")                             \
    X(announcements_refused, "announcements of hosts that have their share already")                                   \
    X(announcements_busy, "announcements lost because two workers wrote at one place")                                 \
    X(expectations_evicted, "announcements forgotten before their time because the table was full")                    \
    X(events_lost, "events that found the ring to the record thread full")

struct dp_stats {
    uint64_t received_packets, received_bytes;
    uint64_t outcome_packets[DP_OUTCOME_COUNT];
    uint64_t outcome_bytes[DP_OUTCOME_COUNT];
    uint64_t verdicts[CL_METHOD_COUNT]; /* flows by method of their final verdict */
    uint64_t closes[DP_CLOSE_COUNT];
#define X(name, text) uint64_t name;
    DP_COUNTERS(X)
#undef X
    struct dp_fragment_stats fragments;
};

/*
 * Usage of one service on one link. A flow is charged to its service when it is judged, with all its bytes so far; until
 * then it is charged nowhere, so at any moment: sum of usage + bytes of undecided flows = bytes accounted.
 */
struct dp_usage {
    uint64_t bytes[2]; /* up, down */
    uint64_t sessions;
    uint64_t duration_ns; /* of ended flows */
    uint64_t concurrent_sessions;
};

/* One writer: a plain add made of two relaxed accesses, which readers may see at any moment but never torn. */
#define DP_COUNT(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)

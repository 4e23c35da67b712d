/*
 * From events to Raw Data Records: the record thread's work. Workers count; this makes numbers that RDRs can carry of what
 * they say, encodes and queues them at the formatter.
 *
 *   flow start  FLOW_START (when flow_events)
 *   interim     TRANSACTION_USAGE family with the volumes since the last record, whatever the minimum
 *   flow end    the same for the rest; TRANSACTION, sampled, with the volumes of the whole flow; FLOW_END
 *   interval    LINK_USAGE per link and service; kilobytes (1,024 bytes) carry their remainder into the next interval; a run
 *               of non-zero records is framed by a zero record on each side
 *
 * A volume above 2^32 - 1 is split over several records; of a flow's TRANSACTION records only the first stands for it and
 * for those skipped before (SKIPPED_SESSIONS), so that their sum is the number of flows. A record that has no layout with IPv6
 * addresses is not sent for an IPv6 flow and counted (no_ipv6_layout); such flows take no part in sampling. Only one thread
 * may call; dp_records_stats() any.
 */
#pragma once

#include <stdio.h>

#include "dataplane/worker.h"
#include "rdr/formatter.h"

struct dp_records_config {
    uint32_t transaction_rate_per_s; /* TRANSACTION: 0 = none, UINT32_MAX = every flow, else sampled */
    bool transaction_usage;
    uint64_t transaction_usage_minimum_bytes;
    bool flow_events;
    bool header_ids;
    uint8_t processor_id;
    uint16_t epoch;
    uint64_t link_usage_interval_ns; /* 0: only dp_records_link_usage() */
};

#define DP_RECORD_COUNTERS(X)                                                                                          \
    X(made, "records encoded and given to the formatter")                                                              \
    X(no_ipv6_layout, "records not sent because their layout has no IPv6 addresses")                                   \
    X(transactions_skipped, "flows without a TRANSACTION record because of the rate")                                  \
    X(below_minimum, "flows without a TRANSACTION_USAGE record because of the minimum volume")                         \
    X(unencodable, "records refused by the encoder")

struct dp_record_stats {
#define X(name, text) uint64_t name;
    DP_RECORD_COUNTERS(X)
#undef X
};

struct dp_records;

/*
 * The formatter stays the caller's. `now_ns` begins the first interval; 0: the first flow that is told of begins it. NULL when
 * memory is short.
 */
struct dp_records *dp_records_create(struct dp_engine *engine, const struct dp_records_config *config,
                                     struct rdr_formatter *formatter, uint64_t now_ns);
void dp_records_destroy(struct dp_records *records);
/* As if new, but for the counters: after dp_replay_reset(). Counts up the epoch, since numbers of flows begin anew. */
void dp_records_reset(struct dp_records *records, uint64_t now_ns);

/* A dp_event_handler: `context` is the struct dp_records. */
void dp_records_event(void *records, const struct dp_event *event, const struct dp_attributes *attributes);
/* LINK_USAGE when the interval is over. */
void dp_records_tick(struct dp_records *records, uint64_t now_ns);
/* LINK_USAGE now, whatever the interval; for the end of a run. */
void dp_records_link_usage(struct dp_records *records, uint64_t now_ns);
void dp_records_stats(const struct dp_records *records, struct dp_record_stats *ret_stats);

/* The subscriber's address as text: SUBSCRIBER_ID until there are subscribers. `text` has INET6_ADDRSTRLEN bytes. */
void dp_flow_subscriber(const struct ft_flow *flow, char *text);

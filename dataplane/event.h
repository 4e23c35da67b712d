/*
 * What workers tell the record thread: one fixed struct per event, through a ring of one producer and one consumer a
 * worker. In live use a full ring never slows a packet: the event is counted as lost (events_lost); of an interim event the
 * bytes stay in the flow's ledger, for the next one. In replay, and when a worker ends all its flows, it waits instead.
 */
#pragma once

#include "flowtable/flow.h"

/* The flow's number within its uid; in replay that of its first packet. */
#define DP_UID_NUMBER_MASK 0xffffffffffffu

enum dp_event_kind {
    DP_EVENT_FLOW_START,   /* judged for the first time, or new without judgement yet */
    DP_EVENT_FLOW_INTERIM, /* volume since the last record would pass what a record can carry */
    DP_EVENT_FLOW_END,
};

enum dp_close { DP_CLOSE_FIN, DP_CLOSE_RST, DP_CLOSE_AGED, DP_CLOSE_END, DP_CLOSE_COUNT };

struct dp_event {
    struct ft_flow flow; /* as it was; reported_bytes = what earlier records carried */
    uint64_t now_ns;
    uint32_t attributes; /* block of the engine's pool, 0 = none; from now on the receiver's alone */
    uint32_t order;      /* of two events of a flow that different workers told the later has the larger */
    uint8_t kind;        /* enum dp_event_kind */
    uint8_t close;       /* enum dp_close, with DP_EVENT_FLOW_END */
    uint8_t worker;      /* that told it */
};

/* What one record can say of a direction. */
#define DP_RECORD_VOLUME_MAX UINT32_MAX

/* How many records it takes to carry the volumes of two directions; one when there is nothing. */
static inline uint32_t dp_records_of(uint64_t bytes, uint64_t other_bytes)
{
    uint64_t larger = bytes > other_bytes ? bytes : other_bytes;
    return larger ? (uint32_t)((larger - 1) / DP_RECORD_VOLUME_MAX) + 1 : 1;
}

const char *dp_close_name(enum dp_close close); /* "fin", "rst", "aged", "end" */

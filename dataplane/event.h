/*
 * What workers tell the record thread: one fixed struct per event, through a ring of one producer and one consumer a
 * worker. In live use a full ring never slows a packet: the event is counted as lost and its bytes stay in the ledger of
 * the worker (event_ring_full). In replay the worker waits, nothing is lost.
 */
#pragma once

#include "flowtable/flow.h"

/* The flow's number within its uid; in replay that of its first packet. */
#define DP_UID_NUMBER_MASK 0xffffffffffffu

enum dp_event_kind {
    DP_EVENT_FLOW_START,   /* judged for the first time, or new without judgement yet */
    DP_EVENT_FLOW_INTERIM, /* volume since the last record would pass what a record can carry */
    DP_EVENT_FLOW_END,     /* the attribute block goes to the receiver */
};

enum dp_close { DP_CLOSE_FIN, DP_CLOSE_RST, DP_CLOSE_AGED, DP_CLOSE_END, DP_CLOSE_COUNT };

struct dp_event {
    struct ft_flow flow; /* as it was; reported_bytes = what earlier records carried */
    uint64_t now_ns;
    uint32_t attributes; /* block of the worker's pool, 0 = none; owned by the receiver with DP_EVENT_FLOW_END */
    uint8_t kind;        /* enum dp_event_kind */
    uint8_t close;       /* enum dp_close, with DP_EVENT_FLOW_END */
    uint8_t worker;      /* whose pool the attributes are of */
};

const char *dp_close_name(enum dp_close close); /* "fin", "rst", "aged", "end" */

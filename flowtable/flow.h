/*
 * One flow: what the table keeps of it, in two parts of a cache line each.
 *
 * `struct ft_hot` is what every packet of a decided flow touches; `struct ft_cold` is touched when a flow starts, is
 * judged, is reported and ends. An IPv6 flow has its addresses in a third array, touched once a lookup. All three are
 * arrays indexed by slot.
 *
 * Who writes: the owner of the flow's shard alone, between ft_write_begin() and ft_write_end(). Who reads: the owner
 * freely; any other thread through ft_read(), which copies under the sequence. Because of those readers every field of
 * these two structs that changes during a flow's life is read and written by relaxed atomics (FT_GET, FT_SET), which
 * cost nothing on x86 and keep ThreadSanitizer able to see real races.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flowtable/key.h"

typedef uint32_t ft_slot; /* index of a flow's place in the table */
#define FT_SLOT_NONE UINT32_MAX

#define FT_GET(field)        __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define FT_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

/* ft_hot.flags */
enum {
    FT_FLOW_CLIENT_ENDPOINT = 1 << 0,      /* bit = the endpoint (0 or 1) that opened the flow */
    FT_FLOW_SUBSCRIBER_IS_SERVER = 1 << 1, /* the subscriber's side is the flow's server */
    FT_FLOW_STARTED_BEFORE = 1 << 2,       /* its beginning was not seen: joined in the middle or imported */
    FT_FLOW_DECIDED = 1 << 3,              /* the verdict is final: never inspected again */
    FT_FLOW_FINISHED = 1 << 4,             /* closed by its protocol (FIN or RST); waits for its last packets */
    FT_FLOW_RESET = 1 << 5,                /* the close was a RST */
    FT_FLOW_START_REPORTED = 1 << 6,       /* a Flow Start record was made */
    FT_FLOW_ANSWERED = 1 << 7,             /* both directions were seen */
    FT_FLOW_AMBIGUOUS = 1 << 8,            /* first segments disagreed: the receiver may have read other bytes */
    FT_FLOW_SEQ_KNOWN = 1 << 9,            /* while undecided: next_seq[0] is valid; << 1 (bit 10): next_seq[1] */
    FT_FLOW_ANNOUNCES = 1 << 9,            /* once decided: its payload may announce other flows */
    FT_FLOW_WATCHED = 1 << 10,             /* once decided: `judged` of ft_cold is valid */
    FT_FLOW_ESTABLISHED = 1 << 11,         /* TCP: the handshake was completed, or data went both ways */
    FT_FLOW_LINK_SHIFT = 12,               /* the four highest bits: number of the link the flow runs on */
};
#define FT_LINKS_MAX 16u

struct ft_hot {
    uint64_t sequence;     /* generation << 32 | count; odd count: being written. See table.h */
    uint8_t addr_v4[2][4]; /* endpoints; all zero for IPv6, whose addresses stand in the table's v6 array */
    uint16_t port_be16[2];
    uint32_t context;
    uint8_t ip_proto;
    uint8_t is_v6;
    uint8_t tcp_state;     /* enum ft_tcp_state; 0 for other protocols */
    uint8_t timeout_class; /* enum ft_timeout: index of the time-outs of struct ft_config */
    uint16_t flags;        /* FT_FLOW_* */
    uint16_t
        name; /* runtime index of what the flow is called at its finest: application, else protocol; 0 = undecided */
    uint64_t last_ns;    /* time of the last packet */
    uint32_t packets[2]; /* [from_server], low 32 bits; the rest is packets_high of ft_cold */
    uint64_t bytes[2];   /* [from_server], from the IP header on */
};
static_assert(sizeof(struct ft_hot) == 64, "one line");

struct ft_cold {
    uint64_t uid;               /* unique over a pair and over restarts: creator << 48 | number */
    uint64_t first_ns;          /* time of the first packet */
    uint64_t reported_bytes[2]; /* the record ledger: what records have carried so far */
    union {
        uint32_t next_seq[2]; /* while undecided, TCP: sequence number expected next; saves half-open flows a pool */
        uint32_t packets_high[2]; /* once decided: high 32 bits of the packet counts */
        struct {
            uint32_t seq;         /* of the first byte that the verdict rests on */
            uint16_t size_bytes;  /* of those bytes */
            uint8_t packets_left; /* after which they are forgotten */
            uint8_t from_server;  /* whose bytes they are */
        } judged;                 /* decided and ft_flow_is_watched(): what came before packets_high */
    };
    uint32_t version;            /* counted up at each change worth sending to a peer */
    uint16_t interval;           /* number of the next record of this flow */
    uint16_t packets_to_verdict; /* saturates at 65,535 */
    union {
        uint32_t pending;       /* handle of what inspection keeps of an undecided flow, 0 = nothing */
        uint32_t judged_digest; /* ft_flow_is_watched(): of the bytes that the verdict rests on */
    };
    uint32_t attributes;                /* handle of the flow's texts (host, URL ...), 0 = none */
    uint16_t protocol;                  /* runtime index of the wire protocol, 0 = undecided */
    uint16_t signature;                 /* runtime index of the signature that judged */
    uint8_t method;                     /* how the verdict was reached: classifier's enum, opaque here */
    uint8_t confidence;                 /* 0..100 */
    uint8_t payload_packets_to_verdict; /* saturates at 255 */
    uint8_t pack;                       /* number of the loaded pack that judged */
};
static_assert(sizeof(struct ft_cold) == 64, "one line");

/* A copy of a flow, as readers and record makers get it. */
struct ft_flow {
    struct ft_key key;
    ft_slot slot;
    struct ft_hot hot;
    struct ft_cold cold;
};

/* Decided, and the bytes that the verdict rests on are compared with what is sent again. */
static inline bool ft_flow_is_watched(const struct ft_hot *hot)
{
    const unsigned both = FT_FLOW_DECIDED | FT_FLOW_WATCHED;
    return (hot->flags & both) == both;
}

/* High 32 bits of a direction's packet count. */
static inline uint32_t ft_flow_packets_high(const struct ft_hot *hot, const struct ft_cold *cold, unsigned direction)
{
    return (hot->flags & FT_FLOW_DECIDED) && !ft_flow_is_watched(hot) ? cold->packets_high[direction] : 0;
}

/* Runtime index of the application, 0 = none. */
static inline uint16_t ft_flow_application(const struct ft_hot *hot, const struct ft_cold *cold)
{
    return hot->name != cold->protocol ? hot->name : 0;
}

/* The direction (index of the counters) in which the subscriber sends. */
static inline uint8_t ft_flow_up_direction(const struct ft_hot *hot)
{
    return (hot->flags & FT_FLOW_SUBSCRIBER_IS_SERVER) != 0;
}

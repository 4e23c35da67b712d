/*
 * TCP tracking by flags alone: a const table of states, one comment an arrow (tcp_track.c). Sequence numbers are not
 * followed here: what a bump in the wire needs is when a flow opens, is answered, closes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* State, its name (CLI, JSON), its time-out class (FT_TIMEOUTS of table.h). */
#define FT_TCP_STATES(X)                                                                                               \
    X(NONE, "none", other)                                  /* not TCP, or no packet yet */                            \
    X(SYN_SENT, "syn_sent", tcp_opening)                    /* SYN of the client */                                    \
    X(SYN_RECEIVED, "syn_received", tcp_opening)            /* the server answered it */                               \
    X(ESTABLISHED, "established", tcp_established)          /* ACK of the client after that, or data both ways */      \
    X(STARTED_BEFORE, "started_before", tcp_started_before) /* first packet was no SYN: joined in the middle */        \
    X(FIN_CLIENT, "fin_client", tcp_closing)                /* the client's FIN */                                     \
    X(FIN_SERVER, "fin_server", tcp_closing)                /* the server's FIN */                                     \
    X(CLOSED, "closed", tcp_closed)                         /* both FINs */                                            \
    X(RESET, "reset", tcp_closed)                           /* a RST */

enum ft_tcp_state {
#define X(state, name, timeout) FT_TCP_##state,
    FT_TCP_STATES(X)
#undef X
        FT_TCP_STATE_COUNT
};

/* Flag classes of a segment, in order of weight: RST beats SYN beats FIN beats the rest. */
enum ft_tcp_event {
    FT_TCP_EVENT_SYN,
    FT_TCP_EVENT_SYN_ACK,
    FT_TCP_EVENT_ACK,
    FT_TCP_EVENT_FIN,
    FT_TCP_EVENT_RST,
    FT_TCP_EVENT_COUNT
};

enum ft_tcp_event ft_tcp_event(uint8_t tcp_flags);

/* The next state. Any thread, no cost: one table look-up. `from_server` is 0 or 1. */
enum ft_tcp_state ft_tcp_next(enum ft_tcp_state state, uint8_t from_server, enum ft_tcp_event event);

/*
 * True when the segment begins a new flow between the same endpoints: a SYN, from either side, where a FIN or a RST was
 * seen. The caller then ends the old flow and inserts a new one, whose client is the sender of this SYN. Ask before
 * ft_tcp_next().
 */
bool ft_tcp_reopens(enum ft_tcp_state state, uint8_t from_server, enum ft_tcp_event event);

/* The time-out class (enum ft_timeout) of a state. */
uint8_t ft_tcp_timeout(enum ft_tcp_state state);

const char *ft_tcp_state_name(enum ft_tcp_state state);

/*
 * TCP tracking by flags alone: a const table of states, one comment an arrow (tcp_track.c). Sequence numbers are not
 * followed here: what a bump in the wire needs is when a flow opens, is answered, closes.
 */
#pragma once

#include <stdint.h>

enum ft_tcp_state {
    FT_TCP_NONE,           /* not TCP, or no packet yet */
    FT_TCP_SYN_SENT,       /* SYN of the client */
    FT_TCP_SYN_RECEIVED,   /* SYN+ACK of the server */
    FT_TCP_ESTABLISHED,    /* ACK of the client after it, or data both ways */
    FT_TCP_STARTED_BEFORE, /* first packet was no SYN: joined in the middle */
    FT_TCP_FIN_CLIENT,     /* the client's FIN */
    FT_TCP_FIN_SERVER,     /* the server's FIN */
    FT_TCP_CLOSED,         /* both FINs */
    FT_TCP_RESET,          /* a RST */
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

/* The next state. Any thread, no cost: two table look-ups. */
enum ft_tcp_state ft_tcp_next(enum ft_tcp_state state, uint8_t from_server, enum ft_tcp_event event);

/* The time-out class (enum ft_timeout) of a state. */
uint8_t ft_tcp_timeout(enum ft_tcp_state state);

const char *ft_tcp_state_name(enum ft_tcp_state state);

/*
 * The table of TCP states. Reading it: a row is a state, its two columns are the senders (client, server), each with
 * the five events. The client is who sent the first packet that was seen. RST ends any open state; a closed or reset
 * flow stays so until its time-out or until ft_tcp_reopens() says that a SYN begins a new flow.
 */
#include "flowtable/tcp_track.h"

#include "flowtable/table.h"

enum ft_tcp_event ft_tcp_event(uint8_t tcp_flags)
{
    enum { FIN = 0x01, SYN = 0x02, RST = 0x04, ACK = 0x10 };
    if (tcp_flags & RST)
        return FT_TCP_EVENT_RST;
    if (tcp_flags & SYN)
        return tcp_flags & ACK ? FT_TCP_EVENT_SYN_ACK : FT_TCP_EVENT_SYN;
    return tcp_flags & FIN ? FT_TCP_EVENT_FIN : FT_TCP_EVENT_ACK;
}

#define CLIENT           [0]
#define SERVER           [1]
#define ON(event, state) [FT_TCP_EVENT_##event] = FT_TCP_##state

static const uint8_t transitions[FT_TCP_STATE_COUNT][2][FT_TCP_EVENT_COUNT] = {
    [FT_TCP_NONE] =
        {
            CLIENT =
                {
                    ON(SYN, SYN_SENT),           /* the normal beginning */
                    ON(SYN_ACK, STARTED_BEFORE), /* its SYN passed unseen: who is taken as client is the server */
                    ON(ACK, STARTED_BEFORE),     /* joined in the middle */
                    ON(FIN, FIN_CLIENT),         /* joined at the end */
                    ON(RST, RESET),              /* joined at the end */
                },
            SERVER = /* only after an import that carries no state: as for the client */
            {
                ON(SYN, SYN_SENT),           /* an opening, whoever it comes from */
                ON(SYN_ACK, STARTED_BEFORE), /* the import's other side opened */
                ON(ACK, STARTED_BEFORE),     /* joined in the middle */
                ON(FIN, FIN_SERVER),         /* joined at the end */
                ON(RST, RESET),              /* joined at the end */
            },
        },
    [FT_TCP_SYN_SENT] =
        {
            CLIENT =
                {
                    ON(SYN, SYN_SENT),     /* retransmitted */
                    ON(SYN_ACK, SYN_SENT), /* answers a SYN that was not seen */
                    ON(ACK, SYN_SENT),     /* one-way traffic: a flood can send this too, so it opens nothing */
                    ON(FIN, FIN_CLIENT),   /* gives up, or one-way traffic ends */
                    ON(RST, RESET),        /* gives up */
                },
            SERVER =
                {
                    ON(SYN, SYN_RECEIVED),     /* simultaneous open */
                    ON(SYN_ACK, SYN_RECEIVED), /* the normal answer */
                    ON(ACK, SYN_RECEIVED),     /* an answer whose SYN+ACK passed unseen, or a challenge ACK */
                    ON(FIN, FIN_SERVER),       /* the same, and over already */
                    ON(RST, RESET),            /* refused */
                },
        },
    [FT_TCP_SYN_RECEIVED] =
        {
            CLIENT =
                {
                    ON(SYN, SYN_RECEIVED),    /* retransmitted: the SYN+ACK was lost behind us */
                    ON(SYN_ACK, ESTABLISHED), /* simultaneous open: acknowledges the server's SYN */
                    ON(ACK, ESTABLISHED),     /* the handshake is done */
                    ON(FIN, FIN_CLIENT),      /* closes at once */
                    ON(RST, RESET),           /* a SYN scan ends like this */
                },
            SERVER =
                {
                    ON(SYN, SYN_RECEIVED), /* retransmitted in a simultaneous open */
                    ON(SYN_ACK,
                       SYN_RECEIVED),     /* retransmitted, or the last step of a simultaneous open before our ACK */
                    ON(ACK, ESTABLISHED), /* it sends on: it has the client's ACK, or this is TCP Fast Open */
                    ON(FIN, FIN_SERVER),  /* closes at once */
                    ON(RST, RESET),       /* aborts */
                },
        },
    [FT_TCP_ESTABLISHED] =
        {
            CLIENT =
                {
                    ON(SYN, ESTABLISHED), /* a stray or forged SYN: the server answers by a challenge ACK (RFC 5961) */
                    ON(SYN_ACK, ESTABLISHED), /* retransmitted late */
                    ON(ACK, ESTABLISHED),     /* data */
                    ON(FIN, FIN_CLIENT),      /* the client has sent all */
                    ON(RST, RESET),           /* aborts */
                },
            SERVER =
                {
                    ON(SYN, ESTABLISHED),     /* a stray or forged SYN */
                    ON(SYN_ACK, ESTABLISHED), /* retransmitted: the ACK was lost behind us */
                    ON(ACK, ESTABLISHED),     /* data */
                    ON(FIN, FIN_SERVER),      /* the server has sent all */
                    ON(RST, RESET),           /* aborts */
                },
        },
    [FT_TCP_STARTED_BEFORE] =
        {
            CLIENT =
                {
                    ON(SYN, STARTED_BEFORE),     /* answered by nobody yet */
                    ON(SYN_ACK, STARTED_BEFORE), /* retransmitted */
                    ON(ACK, STARTED_BEFORE),     /* still one way only */
                    ON(FIN, FIN_CLIENT),         /* over */
                    ON(RST, RESET),              /* over */
                },
            SERVER =
                {
                    ON(SYN, STARTED_BEFORE),  /* a retransmitted SYN of who truly opened it: no answer */
                    ON(SYN_ACK, ESTABLISHED), /* both ways seen */
                    ON(ACK, ESTABLISHED),     /* both ways seen */
                    ON(FIN, FIN_SERVER),      /* over */
                    ON(RST, RESET),           /* over */
                },
        },
    [FT_TCP_FIN_CLIENT] =
        {
            CLIENT =
                {
                    ON(SYN, FIN_CLIENT),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, FIN_CLIENT), /* retransmitted late */
                    ON(ACK, FIN_CLIENT),     /* acknowledges what the server still sends */
                    ON(FIN, FIN_CLIENT),     /* retransmitted */
                    ON(RST, RESET),          /* aborts the half that was open */
                },
            SERVER =
                {
                    ON(SYN, FIN_CLIENT),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, FIN_CLIENT), /* retransmitted late */
                    ON(ACK, FIN_CLIENT),     /* data of the half that is open */
                    ON(FIN, CLOSED),         /* both have sent all */
                    ON(RST, RESET),          /* aborts */
                },
        },
    [FT_TCP_FIN_SERVER] =
        {
            CLIENT =
                {
                    ON(SYN, FIN_SERVER),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, FIN_SERVER), /* retransmitted late */
                    ON(ACK, FIN_SERVER),     /* data of the half that is open */
                    ON(FIN, CLOSED),         /* both have sent all */
                    ON(RST, RESET),          /* aborts */
                },
            SERVER =
                {
                    ON(SYN, FIN_SERVER),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, FIN_SERVER), /* retransmitted late */
                    ON(ACK, FIN_SERVER),     /* acknowledges what the client still sends */
                    ON(FIN, FIN_SERVER),     /* retransmitted */
                    ON(RST, RESET),          /* aborts the half that was open */
                },
        },
    [FT_TCP_CLOSED] =
        {
            CLIENT =
                {
                    ON(SYN, CLOSED),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, CLOSED), /* retransmitted late */
                    ON(ACK, CLOSED),     /* the last ACK */
                    ON(FIN, CLOSED),     /* retransmitted */
                    ON(RST, CLOSED),     /* a port closed for good answers a last packet: the close was the FINs' */
                },
            SERVER =
                {
                    ON(SYN, CLOSED),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, CLOSED), /* retransmitted late */
                    ON(ACK, CLOSED),     /* the last ACK */
                    ON(FIN, CLOSED),     /* retransmitted */
                    ON(RST, CLOSED),     /* a port closed for good answers a last packet: the close was the FINs' */
                },
        },
    [FT_TCP_RESET] =
        {
            CLIENT =
                {
                    ON(SYN, RESET),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, RESET), /* under way when the RST passed */
                    ON(ACK, RESET),     /* under way when the RST passed */
                    ON(FIN, RESET),     /* under way when the RST passed */
                    ON(RST, RESET),     /* one more */
                },
            SERVER =
                {
                    ON(SYN, RESET),     /* a new flow, if the caller asks ft_tcp_reopens() */
                    ON(SYN_ACK, RESET), /* under way when the RST passed */
                    ON(ACK, RESET),     /* under way when the RST passed */
                    ON(FIN, RESET),     /* under way when the RST passed */
                    ON(RST, RESET),     /* one more */
                },
        },
};

enum ft_tcp_state ft_tcp_next(enum ft_tcp_state state, uint8_t from_server, enum ft_tcp_event event)
{
    return (enum ft_tcp_state)transitions[state][from_server][event];
}

bool ft_tcp_reopens(enum ft_tcp_state state, uint8_t from_server, enum ft_tcp_event event)
{
    /* Either side may open next: what was the server may call back between the same ports. */
    (void)from_server;
    return event == FT_TCP_EVENT_SYN && (state == FT_TCP_FIN_CLIENT || state == FT_TCP_FIN_SERVER ||
                                         state == FT_TCP_CLOSED || state == FT_TCP_RESET);
}

uint8_t ft_tcp_timeout(enum ft_tcp_state state)
{
    static const uint8_t timeouts[FT_TCP_STATE_COUNT] = {
#define X(state, name, timeout) [FT_TCP_##state] = FT_TIMEOUT_##timeout,
        FT_TCP_STATES(X)
#undef X
    };
    return timeouts[state];
}

const char *ft_tcp_state_name(enum ft_tcp_state state)
{
    static const char *const names[FT_TCP_STATE_COUNT] = {
#define X(state, name, timeout) [FT_TCP_##state] = name,
        FT_TCP_STATES(X)
#undef X
    };
    return names[state];
}

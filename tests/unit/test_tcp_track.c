#include <criterion/criterion.h>
#include <string.h>

#include "flowtable/table.h"
#include "flowtable/tcp_track.h"

enum { CLIENT, SERVER };

/* The rules of TCP tracking said once more, as sentences that are tried in order; the table is not looked at. */
static enum ft_tcp_state expected(enum ft_tcp_state state, unsigned sender, enum ft_tcp_event event)
{
    bool is_over = state == FT_TCP_CLOSED || state == FT_TCP_RESET;
    if (is_over)
        return state;
    if (event == FT_TCP_EVENT_RST)
        return FT_TCP_RESET;
    enum ft_tcp_state fin_of_sender = sender == CLIENT ? FT_TCP_FIN_CLIENT : FT_TCP_FIN_SERVER;
    enum ft_tcp_state fin_of_other = sender == CLIENT ? FT_TCP_FIN_SERVER : FT_TCP_FIN_CLIENT;
    if (event == FT_TCP_EVENT_FIN)
        return state == fin_of_other ? FT_TCP_CLOSED : fin_of_sender;
    if (state == FT_TCP_FIN_CLIENT || state == FT_TCP_FIN_SERVER || state == FT_TCP_ESTABLISHED)
        return state;
    if (state == FT_TCP_NONE)
        return event == FT_TCP_EVENT_SYN ? FT_TCP_SYN_SENT : FT_TCP_STARTED_BEFORE;
    if (state == FT_TCP_STARTED_BEFORE)
        return sender == SERVER && event != FT_TCP_EVENT_SYN ? FT_TCP_ESTABLISHED : state;
    if (state == FT_TCP_SYN_SENT)
        return sender == SERVER ? FT_TCP_SYN_RECEIVED : state;
    /* SYN received: any acknowledgement but the server's own SYN+ACK ends the handshake. */
    if (event == FT_TCP_EVENT_ACK || (event == FT_TCP_EVENT_SYN_ACK && sender == CLIENT))
        return FT_TCP_ESTABLISHED;
    return state;
}

Test(tcp_track, every_cell_follows_the_rules)
{
    for (int state = 0; state < FT_TCP_STATE_COUNT; state++)
        for (unsigned sender = 0; sender < 2; sender++)
            for (int event = 0; event < FT_TCP_EVENT_COUNT; event++) {
                enum ft_tcp_state next =
                    ft_tcp_next((enum ft_tcp_state)state, (uint8_t)sender, (enum ft_tcp_event)event);
                cr_assert_eq(next, expected((enum ft_tcp_state)state, sender, (enum ft_tcp_event)event),
                             "%s, sender %u, event %d -> %s", ft_tcp_state_name((enum ft_tcp_state)state), sender,
                             event, ft_tcp_state_name(next));
            }
}

Test(tcp_track, flags_have_their_weight)
{
    for (unsigned flags = 0; flags < 256; flags++) {
        bool fin = flags & 1, syn = flags & 2, rst = flags & 4, ack = flags & 16;
        enum ft_tcp_event event = rst          ? FT_TCP_EVENT_RST
                                  : syn && ack ? FT_TCP_EVENT_SYN_ACK
                                  : syn        ? FT_TCP_EVENT_SYN
                                  : fin        ? FT_TCP_EVENT_FIN
                                               : FT_TCP_EVENT_ACK;
        cr_assert_eq(ft_tcp_event((uint8_t)flags), event, "flags %02x", flags);
    }
}

/* A connection as text: "c" or "s" and the segment's flags, then the state after it. */
struct step {
    const char *segment;
    enum ft_tcp_state state;
};

static uint8_t flags_of(const char *segment)
{
    uint8_t flags = 0;
    for (const char *letter = segment + 1; *letter; letter++)
        flags |= *letter == 'S' ? 0x02 : *letter == 'A' ? 0x10 : *letter == 'F' ? 0x01 : *letter == 'R' ? 0x04 : 0x08;
    return flags;
}

static void run(const struct step *steps, size_t length)
{
    enum ft_tcp_state state = FT_TCP_NONE;
    for (size_t i = 0; i < length; i++) {
        state = ft_tcp_next(state, steps[i].segment[0] == 's', ft_tcp_event(flags_of(steps[i].segment)));
        cr_assert_eq(state, steps[i].state, "step %zu %s: %s, expected %s", i, steps[i].segment,
                     ft_tcp_state_name(state), ft_tcp_state_name(steps[i].state));
    }
}

#define RUN(...)                                                                                                       \
    do {                                                                                                               \
        const struct step steps[] = {__VA_ARGS__};                                                                     \
        run(steps, sizeof steps / sizeof *steps);                                                                      \
    } while (0)

Test(tcp_track, normal_connection_closed_by_the_client)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"sSA", FT_TCP_SYN_RECEIVED}, {"cA", FT_TCP_ESTABLISHED}, {"cPA", FT_TCP_ESTABLISHED},
        {"sPA", FT_TCP_ESTABLISHED}, {"cFA", FT_TCP_FIN_CLIENT}, {"sA", FT_TCP_FIN_CLIENT}, {"sPA", FT_TCP_FIN_CLIENT},
        {"sFA", FT_TCP_CLOSED}, {"cA", FT_TCP_CLOSED});
}

Test(tcp_track, simultaneous_close)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"sSA", FT_TCP_SYN_RECEIVED}, {"cA", FT_TCP_ESTABLISHED}, {"sFA", FT_TCP_FIN_SERVER},
        {"cFA", FT_TCP_CLOSED}, {"sA", FT_TCP_CLOSED}, {"cA", FT_TCP_CLOSED});
}

Test(tcp_track, simultaneous_open)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"sS", FT_TCP_SYN_RECEIVED}, {"sSA", FT_TCP_SYN_RECEIVED}, {"cSA", FT_TCP_ESTABLISHED},
        {"sPA", FT_TCP_ESTABLISHED});
}

Test(tcp_track, refused_then_reset_stays)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"sRA", FT_TCP_RESET}, {"cA", FT_TCP_RESET}, {"cR", FT_TCP_RESET});
}

Test(tcp_track, aborted_in_the_middle)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"sSA", FT_TCP_SYN_RECEIVED}, {"cA", FT_TCP_ESTABLISHED}, {"sR", FT_TCP_RESET},
        {"cFA", FT_TCP_RESET});
}

Test(tcp_track, syn_and_its_answer_retransmitted)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"cS", FT_TCP_SYN_SENT}, {"sSA", FT_TCP_SYN_RECEIVED}, {"cS", FT_TCP_SYN_RECEIVED},
        {"sSA", FT_TCP_SYN_RECEIVED}, {"cA", FT_TCP_ESTABLISHED}, {"sSA", FT_TCP_ESTABLISHED},
        {"cS", FT_TCP_ESTABLISHED});
}

Test(tcp_track, joined_in_the_middle_is_established_when_both_ways_are_seen)
{
    RUN({"cPA", FT_TCP_STARTED_BEFORE}, {"cA", FT_TCP_STARTED_BEFORE}, {"sA", FT_TCP_ESTABLISHED},
        {"cFA", FT_TCP_FIN_CLIENT}, {"sFA", FT_TCP_CLOSED});
    RUN({"cSA", FT_TCP_STARTED_BEFORE}, {"sS", FT_TCP_STARTED_BEFORE}, {"sA", FT_TCP_ESTABLISHED});
}

Test(tcp_track, one_side_alone_never_establishes)
{
    RUN({"cS", FT_TCP_SYN_SENT}, {"cA", FT_TCP_SYN_SENT}, {"cPA", FT_TCP_SYN_SENT}, {"cSA", FT_TCP_SYN_SENT},
        {"cFA", FT_TCP_FIN_CLIENT});
}

Test(tcp_track, reset_after_both_fins_changes_nothing)
{
    RUN({"cFA", FT_TCP_FIN_CLIENT}, {"sFA", FT_TCP_CLOSED}, {"cR", FT_TCP_CLOSED}, {"sR", FT_TCP_CLOSED});
}

Test(tcp_track, only_a_syn_after_the_end_reopens)
{
    for (int state = 0; state < FT_TCP_STATE_COUNT; state++)
        for (int event = 0; event < FT_TCP_EVENT_COUNT; event++)
            for (uint8_t from_server = 0; from_server < 2; from_server++) {
                bool has_ended = state == FT_TCP_FIN_CLIENT || state == FT_TCP_FIN_SERVER || state == FT_TCP_CLOSED ||
                                 state == FT_TCP_RESET;
                cr_assert_eq(ft_tcp_reopens((enum ft_tcp_state)state, from_server, (enum ft_tcp_event)event),
                             has_ended && event == FT_TCP_EVENT_SYN);
            }
}

Test(tcp_track, states_have_names_and_time_outs)
{
    static const struct {
        const char *name;
        uint8_t timeout;
    } states[FT_TCP_STATE_COUNT] = {
        [FT_TCP_NONE] = {"none", FT_TIMEOUT_other},
        [FT_TCP_SYN_SENT] = {"syn_sent", FT_TIMEOUT_tcp_opening},
        [FT_TCP_SYN_RECEIVED] = {"syn_received", FT_TIMEOUT_tcp_opening},
        [FT_TCP_ESTABLISHED] = {"established", FT_TIMEOUT_tcp_established},
        [FT_TCP_STARTED_BEFORE] = {"started_before", FT_TIMEOUT_tcp_started_before},
        [FT_TCP_FIN_CLIENT] = {"fin_client", FT_TIMEOUT_tcp_closing},
        [FT_TCP_FIN_SERVER] = {"fin_server", FT_TIMEOUT_tcp_closing},
        [FT_TCP_CLOSED] = {"closed", FT_TIMEOUT_tcp_closed},
        [FT_TCP_RESET] = {"reset", FT_TIMEOUT_tcp_closed},
    };
    for (int state = 0; state < FT_TCP_STATE_COUNT; state++) {
        cr_assert_str_eq(ft_tcp_state_name((enum ft_tcp_state)state), states[state].name);
        cr_assert_eq(ft_tcp_timeout((enum ft_tcp_state)state), states[state].timeout);
    }
}

#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/join.h"

static struct dp_join *join;

static void setup(void)
{
    join = dp_join_create(2);
}

static void teardown(void)
{
    dp_join_destroy(join);
}

TestSuite(join, .init = setup, .fini = teardown);

static bool passes(uint8_t ip_proto, uint32_t flow, uint8_t swap, uint8_t tcp_flags, uint32_t payload_bytes)
{
    struct dp_view view;
    memset(&view, 0, sizeof view);
    view.result = DP_PARSE_ok;
    view.key.ip_proto = ip_proto;
    memcpy(view.key.addr[0], &flow, sizeof flow);
    view.swap = swap;
    view.tcp_flags = tcp_flags;
    view.payload_bytes = payload_bytes;
    return dp_join_passes(join, &view);
}

enum { SYN = 0x02, SYN_ACK = 0x12, ACK = 0x10 };

Test(join, handshake_and_the_first_payloads_of_each_side_are_left_out)
{
    cr_expect_not(passes(6, 1, 0, SYN, 0));
    cr_expect_not(passes(6, 1, 1, SYN_ACK, 0));
    cr_expect_not(passes(6, 1, 0, ACK, 0));
    cr_expect_not(passes(6, 1, 0, ACK, 10));
    cr_expect_not(passes(6, 1, 0, ACK, 10));
    cr_expect(passes(6, 1, 0, ACK, 10), "the third of this side");
    cr_expect(passes(6, 1, 1, ACK, 0), "one side's are over");
    cr_expect_not(passes(6, 1, 1, ACK, 10), "the other side has its own");
    cr_expect_not(passes(6, 1, 1, ACK, 10));
    cr_expect(passes(6, 1, 1, ACK, 10));
}

Test(join, a_syn_begins_the_flow_anew)
{
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(passes(6, 1, 0, ACK, 10), i == 2);
    cr_expect_not(passes(6, 1, 0, SYN, 0));
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(passes(6, 1, 0, ACK, 10), i == 2);
}

Test(join, flows_are_apart_and_a_reset_forgets_them)
{
    for (uint32_t flow = 0; flow < 3000; flow++) /* more than the table begins with */
        for (unsigned i = 0; i < 3; i++)
            cr_assert_eq(passes(17, flow, 0, 0, 10), i == 2, "flow %u", flow);
    cr_expect(passes(17, 7, 0, 0, 10));
    dp_join_reset(join);
    cr_expect_not(passes(17, 7, 0, 0, 10));
}

Test(join, other_protocols_pass_and_fragments_do_not)
{
    struct dp_view view;
    memset(&view, 0, sizeof view);
    view.result = DP_PARSE_ok;
    view.key.ip_proto = 1;
    cr_expect(dp_join_passes(join, &view));
    view.key.ip_proto = 17;
    view.flags = DP_VIEW_FRAGMENT;
    cr_expect_not(dp_join_passes(join, &view));
}

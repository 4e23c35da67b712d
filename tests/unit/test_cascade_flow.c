/* A flow through its records into another table: what arrives, and what is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/cascade/flow_state.h"
#include "flowtable/table.h"

/* Indexes here and ids there: id = 1000 + index, signature ids = 2000 + index. */
static uint32_t id_of_protocol(const void *context, uint16_t index)
{
    (void)context;
    return index ? 1000u + index : 0;
}

static uint32_t id_of_signature(const void *context, uint16_t index)
{
    (void)context;
    return index ? 2000u + index : 0;
}

/* The other engine's pack has other indexes: 500 more; it does not know id 1077. */
static uint16_t protocol_of_id(const void *context, uint32_t id)
{
    (void)context;
    return id > 1000 && id != 1077 ? (uint16_t)(id - 500) : 0;
}

static uint16_t signature_of_id(const void *context, uint32_t id)
{
    (void)context;
    return id > 2000 ? (uint16_t)(id - 1500) : 0;
}

static const struct cascade_names names = {id_of_protocol, id_of_signature, protocol_of_id, signature_of_id, NULL};
static const struct cascade_kind *const kinds[] = {&cascade_flow_kind, &cascade_flow_touch_kind,
                                                   &cascade_flow_gone_kind, NULL};

static struct ft_flow sample(bool is_v6, bool decided)
{
    struct ft_flow flow;
    memset(&flow, 0, sizeof flow);
    uint8_t low[16] = {10, 1, 2, 3}, high[16] = {192, 0, 2, 4};
    if (is_v6)
        low[15] = high[15] = 9;
    cr_assert_eq(ft_key_make(&flow.key, is_v6, low, high, 0x1234, 0x5678, 6, 0x01002003), 0);
    flow.slot = 77;
    flow.hot.sequence = UINT64_C(5) << 32 | 8;
    flow.hot.flags = (uint16_t)(FT_FLOW_CLIENT_ENDPOINT | FT_FLOW_ANSWERED | FT_FLOW_ESTABLISHED |
                                3u << FT_FLOW_LINK_SHIFT | (decided ? FT_FLOW_DECIDED : 0));
    flow.hot.tcp_state = FT_TCP_ESTABLISHED;
    flow.hot.timeout_class = FT_TIMEOUT_tcp_established;
    flow.hot.last_ns = UINT64_C(2000000000000);
    flow.hot.packets[0] = 11;
    flow.hot.packets[1] = 12;
    flow.hot.bytes[0] = UINT64_C(0x100000000);
    flow.hot.bytes[1] = 1300;
    flow.cold.uid = UINT64_C(0x0007000000000042);
    flow.cold.first_ns = UINT64_C(1000000000000);
    flow.cold.reported_bytes[0] = 100;
    flow.cold.reported_bytes[1] = 200;
    flow.cold.version = 9;
    flow.cold.interval = 3;
    flow.cold.pack = 1;
    if (decided) {
        flow.hot.name = 21;
        flow.cold.protocol = 20;
        flow.cold.signature = 30;
        flow.cold.method = 2;
        flow.cold.confidence = 90;
        flow.cold.packets_to_verdict = 4;
        flow.cold.payload_packets_to_verdict = 1;
        flow.cold.packets_high[1] = 6;
    } else {
        flow.cold.next_seq[0] = 0xfffffff0;
        flow.cold.next_seq[1] = 7;
    }
    return flow;
}

/* Sends a flow through the wire; the record's bytes stay in `wire`. */
static struct cascade_flow carried(const struct ft_flow *flow, uint8_t *wire, size_t size)
{
    static struct cascade_reader reader;
    struct cascade_flow from, got;
    const struct cascade_kind *kind;
    cascade_reader_init(&reader, kinds);
    size_t used = cascade_write_definition(&cascade_flow_kind, wire, size);
    struct cursor c = cursor_of(wire, used);
    cr_assert_eq(cascade_define(&reader, &c), CASCADE_REFUSAL_none);
    cascade_flow_from(&from, flow, &names);
    used = cascade_write_record(&cascade_flow_kind, &from, wire, size);
    cr_assert_gt(used, 0);
    c = cursor_of(wire, used);
    cr_assert_eq(cascade_read_record(&reader, &c, &kind, &got, sizeof got), CASCADE_REFUSAL_none);
    cr_assert_eq(kind, &cascade_flow_kind);
    return got;
}

static void there(bool is_v6, bool decided)
{
    uint8_t wire[1024];
    struct ft_flow flow = sample(is_v6, decided);
    struct cascade_flow got = carried(&flow, wire, sizeof wire);
    struct ft_key key;
    cr_assert_eq(cascade_flow_key(&got, &key), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(memcmp(&key, &flow.key, sizeof key), 0);
    struct ft_hot hot = {.sequence = UINT64_C(99) << 32};
    struct ft_cold cold = {.pending = 5, .attributes = 6};
    cr_assert_eq(cascade_flow_apply(&got, &names, -1000, &hot, &cold), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(hot.sequence, UINT64_C(99) << 32, "the receiver's own");
    cr_expect_eq(hot.flags, flow.hot.flags);
    cr_expect_eq(hot.tcp_state, flow.hot.tcp_state);
    cr_expect_eq(hot.last_ns, flow.hot.last_ns - 1000);
    cr_expect_eq(cold.first_ns, flow.cold.first_ns - 1000);
    cr_expect_arr_eq(hot.packets, flow.hot.packets, sizeof hot.packets);
    cr_expect_arr_eq(hot.bytes, flow.hot.bytes, sizeof hot.bytes);
    cr_expect_arr_eq(cold.next_seq, flow.cold.next_seq, sizeof cold.next_seq, "or the high halves of the counts");
    cr_expect_eq(cold.uid, flow.cold.uid);
    cr_expect_eq(cold.version, 9);
    cr_expect_arr_eq(cold.reported_bytes, flow.cold.reported_bytes, sizeof cold.reported_bytes);
    cr_expect_eq(cold.interval, 3);
    cr_expect_eq(hot.name, decided ? 521 : 0);
    cr_expect_eq(cold.protocol, decided ? 520 : 0);
    cr_expect_eq(cold.signature, decided ? 530 : 0);
    cr_expect_eq(cold.method, flow.cold.method);
    cr_expect_eq(cold.confidence, flow.cold.confidence);
    cr_expect_eq(cold.packets_to_verdict, flow.cold.packets_to_verdict);
    cr_expect_eq(cold.payload_packets_to_verdict, flow.cold.payload_packets_to_verdict);
    cr_expect_eq(cold.pending, decided ? 0 : 5,
                 "a handle of an undecided flow is the caller's; of a decided one it is another thing");
    cr_expect_eq(cold.attributes, 6);
}

Test(cascade_flow, arrives_as_it_was)
{
    there(false, true);
    there(false, false);
    there(true, true);
    there(true, false);
}

Test(cascade_flow, a_touch_changes_what_packets_change)
{
    struct ft_flow flow = sample(false, true);
    struct ft_hot hot = flow.hot;
    struct ft_cold cold = flow.cold;
    hot.flags = (uint16_t)((hot.flags & 0x0fff) | 5u << FT_FLOW_LINK_SHIFT);
    flow.hot.packets[1] = UINT32_MAX;
    flow.hot.bytes[0]++;
    flow.hot.last_ns += 5;
    flow.hot.tcp_state = FT_TCP_FIN_CLIENT;
    flow.hot.flags |= FT_FLOW_FINISHED;
    struct cascade_flow_touch touch;
    cascade_touch_from(&touch, &flow);
    cr_expect_eq(touch.slot, 77);
    cr_expect_eq(touch.generation, 5);
    cr_expect_eq(touch.packets_server, UINT64_C(6) << 32 | UINT32_MAX);
    cr_assert_eq(cascade_touch_apply(&touch, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(hot.packets[1], UINT32_MAX);
    cr_expect_eq(cold.packets_high[1], 6);
    cr_expect_eq(hot.bytes[0], flow.hot.bytes[0]);
    cr_expect_eq(hot.last_ns, flow.hot.last_ns);
    cr_expect_eq(hot.tcp_state, FT_TCP_FIN_CLIENT);
    cr_expect(hot.flags & FT_FLOW_FINISHED);
    cr_expect_eq(hot.flags >> FT_FLOW_LINK_SHIFT, 5, "the link is the receiver's");
    cr_expect_eq(cold.protocol, flow.cold.protocol);
}

Test(cascade_flow, a_name_that_the_pack_has_not)
{
    uint8_t wire[1024];
    struct ft_flow flow = sample(false, true);
    flow.hot.name = 77;
    struct cascade_flow got = carried(&flow, wire, sizeof wire);
    struct ft_hot hot = {0};
    struct ft_cold cold = {0};
    cr_assert_eq(cascade_flow_apply(&got, &names, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(hot.name, 520, "the protocol is known, the application is not");
    flow.cold.protocol = 77;
    got = carried(&flow, wire, sizeof wire);
    cr_assert_eq(cascade_flow_apply(&got, &names, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(hot.name, 0);
}

Test(cascade_flow, lies_are_refused)
{
    uint8_t wire[1024];
    struct ft_flow flow = sample(false, true);
    struct cascade_flow good = carried(&flow, wire, sizeof wire), bad;
    struct ft_key key;
    struct ft_hot hot = {0};
    struct ft_cold cold = {0};

    bad = good;
    memcpy(bad.address_0, good.address_1, 16);
    memcpy(bad.address_1, good.address_0, 16);
    cr_expect_eq(cascade_flow_key(&bad, &key), CASCADE_FLOW_REFUSAL_bad_key, "endpoints out of order");
    bad = good;
    bad.address_1[15] = 1;
    cr_expect_eq(cascade_flow_key(&bad, &key), CASCADE_FLOW_REFUSAL_bad_key, "an IPv4 address of 16 bytes");
    bad = good;
    bad.is_v6 = 2;
    cr_expect_eq(cascade_flow_key(&bad, &key), CASCADE_FLOW_REFUSAL_bad_key);
    bad = good;
    bad.touch.tcp_state = FT_TCP_STATE_COUNT;
    cr_expect_eq(cascade_flow_apply(&bad, &names, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_bad_state);
    bad = good;
    bad.touch.timeout_class = FT_TIMEOUT_COUNT;
    cr_expect_eq(cascade_flow_apply(&bad, &names, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_bad_state);
    bad = good;
    bad.link = FT_LINKS_MAX;
    cr_expect_eq(cascade_flow_apply(&bad, &names, 0, &hot, &cold), CASCADE_FLOW_REFUSAL_bad_state);
    bad = good;
    bad.first_ns = 10;
    cr_expect_eq(cascade_flow_apply(&bad, &names, -1000, &hot, &cold), CASCADE_FLOW_REFUSAL_none);
    cr_expect_eq(cold.first_ns, 0, "no time before time began");
}

Test(cascade_flow, versions_compare_around_the_end)
{
    cr_expect(cascade_is_newer(1, 0));
    cr_expect(cascade_is_newer(0, UINT32_MAX));
    cr_expect_not(cascade_is_newer(5, 5));
    cr_expect_not(cascade_is_newer(UINT32_MAX, 3));
}

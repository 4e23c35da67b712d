#include <criterion/criterion.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/run.h"
#include "dataplane/show.h"

#define FLOWS 5u

static struct dp_config config;
static struct dp_run *run;
static char error[DP_ERROR_BYTES];

/* A UDP packet of flow `number`, from the subscriber 10.0.0.1 or back; flow n has n + 1 packets of 100 + n payload bytes up. */
static struct rte_mbuf *make_packet(struct rte_mempool *pool, unsigned number, bool back)
{
    struct {
        struct rte_ether_hdr ethernet;
        struct rte_ipv4_hdr ip;
        struct rte_udp_hdr udp;
        uint8_t payload[200];
    } packet;
    uint16_t payload_bytes = (uint16_t)(100 + number);
    memset(&packet, 0, sizeof packet);
    packet.ethernet.ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
    packet.ip.version_ihl = 0x45;
    packet.ip.time_to_live = 64;
    packet.ip.next_proto_id = IPPROTO_UDP;
    packet.ip.total_length = rte_cpu_to_be_16((uint16_t)(20 + 8 + payload_bytes));
    packet.ip.src_addr = rte_cpu_to_be_32(back ? RTE_IPV4(192, 0, 2, 9) : RTE_IPV4(10, 0, 0, 1));
    packet.ip.dst_addr = rte_cpu_to_be_32(back ? RTE_IPV4(10, 0, 0, 1) : RTE_IPV4(192, 0, 2, 9));
    packet.udp.src_port = rte_cpu_to_be_16((uint16_t)(back ? 50000 : 40000 + number));
    packet.udp.dst_port = rte_cpu_to_be_16((uint16_t)(back ? 40000 + number : 50000));
    packet.udp.dgram_len = rte_cpu_to_be_16((uint16_t)(8 + payload_bytes));
    struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);
    cr_assert_not_null(mbuf);
    size_t size_bytes = sizeof packet - sizeof packet.payload + payload_bytes;
    memcpy(rte_pktmbuf_append(mbuf, (uint16_t)size_bytes), &packet, size_bytes);
    return mbuf;
}

static void inject(enum dp_side side, struct rte_mbuf *mbuf)
{
    /* a ring port gives its rx queue what is sent on its tx queue */
    const struct dp_port *port = dp_ports_at(dp_run_ports(run), 0, side);
    cr_assert_eq(rte_eth_tx_burst(port->port_id, 0, &mbuf, 1), 1);
}

static void wait_for(unsigned packets)
{
    struct dp_stats stats = {0};
    for (unsigned i = 0; i < 10000 && stats.outcome_packets[DP_OUTCOME_receive_only] < packets; i++) {
        rte_delay_us_sleep(1000);
        dp_engine_stats(dp_run_engine(run), &stats);
    }
    cr_assert_eq(stats.outcome_packets[DP_OUTCOME_receive_only], packets);
}

static void start(void)
{
    static const char text[] = "links: [{name: lab, subscriber: net_ring0, network: net_ring1, mode: receive-only}]\n"
                               "workers: {count: 1, idle: yield}\nmemory: {hugepages: off}\n"
                               "flow_table: {capacity_flows: 4096, unanswered_share_pct: 100}\n";
    struct dp_eal_options options;
    dp_eal_options_init(&options, 1);
    options.megabytes = 128;
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), 0, "%s", error);
    cr_assert_eq(dp_config_parse("f", text, strlen(text), &config, error, sizeof error), 0, "%s", error);
    int create_error;
    run = dp_run_create(&config, &create_error, error, sizeof error);
    cr_assert_not_null(run, "%s", error);
    cr_assert_eq(dp_run_start(run, error, sizeof error), 0, "%s", error);
    struct rte_mempool *pool =
        rte_pktmbuf_pool_create("injected", 1023, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    cr_assert_not_null(pool);
    unsigned packets = 0;
    for (unsigned i = 0; i < FLOWS; i++)
        for (unsigned k = 0; k <= i; k++, packets++)
            inject(DP_SUBSCRIBER, make_packet(pool, i, false));
    wait_for(packets); /* the two ports are not in order with each other: an answer comes after its question */
    inject(DP_NETWORK, make_packet(pool, 2, true));
    wait_for(packets + 1);
}

static void stop(void)
{
    dp_run_stop(run, 0);
    dp_run_destroy(run);
    dp_eal_stop();
}

/* The rows of an answer as a JSON array, without the end. */
static json_t *ask(const char *request)
{
    char *bytes;
    size_t size_bytes;
    json_t *rows = json_array();
    dp_control_answer(dp_show_commands, run, request, strlen(request), &bytes, &size_bytes);
    for (char *p = bytes, *newline; (newline = memchr(p, '\n', (size_t)(bytes + size_bytes - p))); p = newline + 1)
        json_array_append_new(rows, json_loadb(p, (size_t)(newline - p), 0, NULL));
    size_t last = json_array_size(rows) - 1;
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, last), "event")), "end");
    json_array_remove(rows, last);
    free(bytes);
    return rows;
}

static const char *text_of(json_t *rows, size_t row, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(rows, row), key));
    return text ? text : "(none)";
}

static long long number_of(json_t *rows, size_t row, const char *key)
{
    json_t *value = json_object_get(json_array_get(rows, row), key);
    return json_is_integer(value) ? (long long)json_integer_value(value) : -1;
}

static void expect_matches(const char *arguments, long long matched)
{
    char request[256];
    snprintf(request, sizeof request, "{\"command\":\"show\",\"what\":\"flows\"%s}", arguments);
    json_t *rows = ask(request);
    size_t last = json_array_size(rows) - 1;
    cr_expect_str_eq(text_of(rows, last, "event"), "flows_summary", "%s", arguments);
    cr_expect_eq(number_of(rows, last, "matched"), matched, "%s", arguments);
    cr_expect_eq(number_of(rows, last, "flows"), FLOWS);
    cr_expect_eq((long long)last, matched, "%s", arguments);
    json_decref(rows);
}

static void expect_refused(const char *arguments, const char *text)
{
    char request[256];
    snprintf(request, sizeof request, "{\"command\":\"show\",\"what\":\"flows\"%s}", arguments);
    json_t *rows = ask(request);
    cr_expect_eq(json_array_size(rows), 1);
    cr_expect_str_eq(text_of(rows, 0, "event"), "error");
    cr_expect_str_eq(text_of(rows, 0, "text"), text);
    json_decref(rows);
}

Test(show, flows_are_sorted_filtered_and_counted, .init = start, .fini = stop)
{
    json_t *rows = ask("{\"command\":\"show\",\"what\":\"flows\",\"sort\":\"bytes\",\"limit\":2}");
    cr_assert_eq(json_array_size(rows), 3);
    cr_expect_eq(number_of(rows, 0, "client_port"), 40004, "five packets");
    cr_expect_eq(number_of(rows, 0, "packets_up"), 5);
    cr_expect_eq(number_of(rows, 0, "bytes_up"), 5 * (20 + 8 + 104));
    cr_expect_eq(number_of(rows, 0, "packets_down"), 0);
    cr_expect_str_eq(text_of(rows, 0, "client_ip"), "10.0.0.1");
    cr_expect_str_eq(text_of(rows, 0, "server_ip"), "192.0.2.9");
    cr_expect_str_eq(text_of(rows, 0, "link"), "lab");
    cr_expect_str_eq(text_of(rows, 0, "state"), "unanswered");
    cr_expect_eq(number_of(rows, 1, "client_port"), 40003);
    cr_expect_eq(number_of(rows, 2, "shown"), 2);
    cr_expect_eq(number_of(rows, 2, "matched"), FLOWS);
    json_decref(rows);
    expect_matches("", FLOWS);
    expect_matches(",\"port\":50000", FLOWS);
    expect_matches(",\"port\":40002", 1);
    expect_matches(",\"state\":\"answered\"", 1);
    expect_matches(",\"state\":\"unanswered\"", FLOWS - 1);
    expect_matches(",\"client\":\"10.0.0.0/30\"", FLOWS);
    expect_matches(",\"client\":\"10.0.0.2/31\"", 0);
    expect_matches(",\"client\":\"192.0.2.9\"", 0);
    expect_matches(",\"server\":\"192.0.2.9\",\"port\":40001", 1);
    expect_matches(",\"server\":\"::/0\"", 0);
    expect_matches(",\"server\":\"0.0.0.0/0\"", FLOWS);
    expect_matches(",\"ip_proto\":17", FLOWS);
    expect_matches(",\"ip_proto\":6", 0);
    expect_matches(",\"protocol\":\"TLS\"", 0);
    expect_refused(",\"protocol\":\"No Such\"",
                   "protocol: the pack has no \"No Such\"; sce protocols lists what it has");
    expect_refused(",\"client\":\"10.0.0.0/33\"",
                   "client: \"10.0.0.0/33\", expected an address or a prefix such as 10.0.0.0/8");
    expect_refused(",\"sort\":\"size\"", "sort: \"size\", expected one of none, bytes, packets, age, idle");
}

Test(show, sums_agree_with_what_was_sent, .init = start, .fini = stop)
{
    const long long packets = FLOWS * (FLOWS + 1) / 2 + 1;
    long long bytes = 28 + 102;
    for (unsigned i = 0; i < FLOWS; i++)
        bytes += (long long)(i + 1) * (28 + 100 + i);
    json_t *rows = ask("{\"command\":\"show\",\"what\":\"stats\"}");
    cr_expect_eq(number_of(rows, 0, "received_packets"), packets);
    cr_expect_eq(number_of(rows, 0, "received_bytes"), bytes + 14 * packets);
    cr_expect_eq(number_of(rows, 0, "dropped_packets"), packets);
    cr_expect_eq(number_of(rows, 0, "forwarded_packets"), 0);
    cr_expect_eq(number_of(rows, 0, "bypassed_packets"), 0);
    cr_expect_eq(number_of(rows, 0, "flows"), FLOWS);
    cr_expect_eq(number_of(rows, 0, "flows_opened"), FLOWS);
    json_decref(rows);

    rows = ask("{\"command\":\"show\",\"what\":\"drops\"}");
    cr_expect_eq(json_array_size(rows), DP_OUTCOME_COUNT - 1);
    cr_expect_str_eq(text_of(rows, 0, "reason"), "receive_only");
    cr_expect_eq(number_of(rows, 0, "packets"), packets);
    for (size_t i = 1; i < json_array_size(rows); i++)
        cr_expect_eq(number_of(rows, i, "packets"), 0, "%s", text_of(rows, i, "reason"));
    json_decref(rows);

    rows = ask("{\"command\":\"show\",\"what\":\"protocols\"}");
    long long flows = 0, flow_packets = 0, flow_bytes = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        flows += number_of(rows, i, "flows");
        flow_packets += number_of(rows, i, "packets_up") + number_of(rows, i, "packets_down");
        flow_bytes += number_of(rows, i, "bytes_up") + number_of(rows, i, "bytes_down");
    }
    cr_expect_eq(flows, FLOWS);
    cr_expect_eq(flow_packets, packets);
    cr_expect_eq(flow_bytes, bytes);
    json_decref(rows);

    rows = ask("{\"command\":\"show\",\"what\":\"links\"}");
    cr_assert_eq(json_array_size(rows), 2);
    cr_expect_eq(number_of(rows, 0, "received_packets"), packets - 1);
    cr_expect_eq(number_of(rows, 1, "received_packets"), 1);
    cr_expect_str_eq(text_of(rows, 1, "side"), "network");
    cr_expect_str_eq(text_of(rows, 1, "mode"), "receive-only");
    cr_expect(json_is_null(json_object_get(json_array_get(rows, 0), "up")));
    json_decref(rows);
}

static void expect_not_loaded(const char *path, const char *text)
{
    char request[256];
    snprintf(request, sizeof request, "{\"command\":\"load\",\"what\":\"pack\",\"path\":\"%s\"}", path);
    json_t *rows = ask(request);
    cr_expect_eq(json_array_size(rows), 1);
    cr_expect_str_eq(text_of(rows, 0, "event"), "error");
    cr_expect(strstr(text_of(rows, 0, "text"), text), "%s", text_of(rows, 0, "text"));
    json_decref(rows);
}

Test(show, a_pack_is_loaded_or_refused, .init = start, .fini = stop)
{
    expect_not_loaded("etc/pack", "expected an absolute path");
    expect_not_loaded("/no/such.pack", "/no/such.pack");
    json_t *rows = ask("{\"command\":\"load\",\"what\":\"pack\",\"path\":\"" SOURCE_ROOT "/etc/pack/ip.yaml\"}");
    cr_expect_eq(json_array_size(rows), 1);
    cr_expect_str_eq(text_of(rows, 0, "event"), "pack", "%s", text_of(rows, 0, "text"));
    cr_expect_eq(number_of(rows, 0, "pack"), 2);
    cr_expect(json_is_true(json_object_get(json_array_get(rows, 0), "handed_out")));
    json_decref(rows);
    rows = ask("{\"command\":\"show\",\"what\":\"stats\"}");
    cr_expect_eq(number_of(rows, 0, "packs_loaded"), 2);
    cr_expect_str_eq(text_of(rows, 0, "pack"), "unnamed");
    json_decref(rows);
}

static void expect_not_set(const char *arguments)
{
    char request[256];
    snprintf(request, sizeof request, "{\"command\":\"set\",\"what\":\"shard\"%s}", arguments);
    json_t *rows = ask(request);
    cr_expect_eq(json_array_size(rows), 1);
    cr_expect_str_eq(text_of(rows, 0, "event"), "error", "%s", arguments);
    json_decref(rows);
}

Test(show, shards_have_owners_and_one_can_be_set, .init = start, .fini = stop)
{
    long long flows = 0, busy = 0;
    json_t *rows = ask("{\"command\":\"show\",\"what\":\"shards\"}");
    cr_assert_eq(json_array_size(rows), FT_SHARDS);
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        cr_expect_eq(number_of(rows, i, "shard"), i);
        cr_expect_eq(number_of(rows, i, "owner"), 0);
        cr_expect_str_eq(text_of(rows, i, "state"), "owned");
        flows += number_of(rows, i, "flows");
        busy = number_of(rows, i, "flows") ? i : busy;
    }
    cr_expect_eq(flows, FLOWS);
    char request[128];
    snprintf(request, sizeof request, "{\"command\":\"set\",\"what\":\"shard\",\"shard\":%lld,\"owner\":0}", busy);
    json_t *answer = ask(request);
    cr_assert_eq(json_array_size(answer), 1);
    cr_expect_str_eq(text_of(answer, 0, "event"), "shard", "%s", text_of(answer, 0, "text"));
    cr_expect_eq(number_of(answer, 0, "flows"), number_of(rows, (size_t)busy, "flows"));
    json_decref(answer);
    json_decref(rows);
    cr_expect_eq(dp_owner_state(dp_run_engine(run)), DP_MOVE_IDLE);
    rows = ask("{\"command\":\"show\",\"what\":\"stats\"}");
    cr_expect_eq(number_of(rows, 0, "shards_taken"), 1);
    json_decref(rows);
    expect_not_set("");
    expect_not_set(",\"shard\":1");
    expect_not_set(",\"owner\":0");
    expect_not_set(",\"shard\":1,\"owner\":1");
    expect_not_set(",\"shard\":256,\"owner\":0");
}

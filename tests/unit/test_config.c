#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/config.h"
#include "dataplane/drivers.h"

#define LINKS                                                                                                          \
    "links:\n"                                                                                                         \
    "  - name: a\n"                                                                                                    \
    "    subscriber: 0000:03:00.0\n"                                                                                   \
    "    network: 0000:03:00.1\n"

static int parse(const char *text, struct dp_config *config, char *error)
{
    error[0] = 0;
    return dp_config_parse("f.yaml", text, strlen(text), config, error, DP_ERROR_BYTES);
}

static void expect_error(const char *text, const char *expected)
{
    struct dp_config config;
    memset(&config, 0x5a, sizeof config);
    struct dp_config before = config;
    char error[DP_ERROR_BYTES];
    cr_expect_eq(parse(text, &config, error), -EINVAL, "accepted: %s", text);
    cr_expect_str_eq(error, expected);
    cr_expect(!memcmp(&before, &config, sizeof config), "touched on failure: %s", text);
}

Test(config, smallest_file_has_defaults)
{
    struct dp_config c;
    char error[DP_ERROR_BYTES];
    cr_assert_eq(parse(LINKS, &c, error), 0, "%s", error);
    cr_expect_eq(c.link_count, 1);
    cr_expect_str_eq(c.links[0].name, "a");
    cr_expect_str_eq(c.links[0].device[DP_SUBSCRIBER], "0000:03:00.0");
    cr_expect_str_eq(c.links[0].device[DP_NETWORK], "0000:03:00.1");
    cr_expect_eq(c.links[0].line[DP_SUBSCRIBER], 3);
    cr_expect_eq(c.links[0].line[DP_NETWORK], 4);
    cr_expect_eq(c.links[0].mode, DP_INLINE);
    cr_expect_eq(c.workers.count, 1);
    cr_expect_eq(c.workers.cpu_count, 0);
    cr_expect_eq(c.workers.idle, DP_IDLE_AUTO);
    cr_expect_eq(c.workers.burst_pkts, 32);
    cr_expect_eq(c.memory.hugepages, DP_HUGEPAGES_AUTO);
    cr_expect_eq(c.flow_table.capacity_flows, 1048576);
    cr_expect_eq(c.flow_table.timeouts_s[FT_TIMEOUT_tcp_established], 3600);
    cr_expect_eq(c.flow_table.timeouts_s[FT_TIMEOUT_other], 60);
    cr_expect_eq(c.classification.inspectors, true);
    cr_expect_eq(c.classification.payload_packets_max, 8);
    cr_expect_eq(c.classification.started_before_s, 10);
    cr_expect_str_eq(c.classification.pack, "");
    cr_expect_eq(c.rdr.destination_count, 0);
    cr_expect_eq(c.rdr.forwarding_mode, RDR_REDUNDANCY);
    cr_expect_eq(c.rdr.header_ids, DP_HEADER_IDS_ON);
    cr_expect_eq(c.rdr.link_usage_interval_s, 300);
    cr_expect_eq(c.rdr.transaction_rate_per_s, 100);
    cr_expect_eq(c.rdr.transaction_usage, false);
    cr_expect_eq(c.rdr.flow_events, false);
    cr_expect_eq(c.rdr.queue_kib[0], 8192);
    cr_expect_eq(c.rdr.queue_kib[3], 8192);
    cr_expect_eq(c.creator, 1);
}

Test(config, every_key_is_read)
{
    static const char text[] =
        "creator: 7\nmain_cpu: 3\n"
        "links:\n"
        "  - {name: up-1, subscriber: \"net_af_packet0,iface=p0,framecnt=4096\", network: \"net_pcap1,iface=p1\", "
        "mode: receive-only}\n"
        "  - {name: up-2, subscriber: net_null0, network: net_ring0}\n"
        "workers: {cpus: [2, 4], idle: sleep, burst_pkts: 8}\n"
        "memory: {hugepages: off, megabytes: 512, mbufs: 65536}\n"
        "flow_table: {capacity_flows: 4096, unanswered_share_pct: 7, timeouts_s: {tcp_opening: 5, other: 6}}\n"
        "classification: {pack: /etc/p, inspectors: false, payload_packets_max: 3, pending_megabytes: 9,\n"
        "  checksums: drop, payload_bytes_max: 777, started_before_s: 0}\n"
        "rdr:\n"
        "  destinations:\n"
        "    - {host: a.example, port: 1, categories: {1: 100, 3: 50}}\n"
        "    - {host: b.example, categories: [2, 4]}\n"
        "    - {host: c.example}\n"
        "  forwarding_mode: multicast\n  header_ids: zeros\n  processor_id: 5\n  queue_kib: {2: 16}\n"
        "  link_usage_interval_s: 1\n  transaction_rate_per_s: 2\n  transaction_usage: true\n"
        "  transaction_usage_minimum_bytes: 4294967296\n  flow_events: true\n"
        "control: {socket: /tmp/x.sock}\n";
    struct dp_config c;
    char error[DP_ERROR_BYTES];
    cr_assert_eq(parse(text, &c, error), 0, "%s", error);
    cr_expect_eq(c.creator, 7);
    cr_expect_eq(c.main_cpu, 3);
    cr_expect_eq(c.link_count, 2);
    cr_expect_str_eq(c.links[0].device[DP_SUBSCRIBER], "net_af_packet0,iface=p0,framecnt=4096");
    cr_expect_eq(c.links[0].mode, DP_RECEIVE_ONLY);
    cr_expect_eq(c.links[1].mode, DP_INLINE);
    cr_expect_eq(c.workers.count, 2);
    cr_expect_eq(c.workers.cpus[1], 4);
    cr_expect_eq(c.workers.idle, DP_IDLE_SLEEP);
    cr_expect_eq(c.workers.burst_pkts, 8);
    cr_expect_eq(c.memory.hugepages, DP_HUGEPAGES_OFF);
    cr_expect_eq(c.memory.megabytes, 512);
    cr_expect_eq(c.memory.mbufs, 65536);
    cr_expect_eq(c.flow_table.capacity_flows, 4096);
    cr_expect_eq(c.flow_table.unanswered_share_pct, 7);
    cr_expect_eq(c.flow_table.timeouts_s[FT_TIMEOUT_tcp_opening], 5);
    cr_expect_eq(c.flow_table.timeouts_s[FT_TIMEOUT_other], 6);
    cr_expect_eq(c.flow_table.timeouts_s[FT_TIMEOUT_udp_answered], 180, "a key left out has its default");
    cr_expect_str_eq(c.classification.pack, "/etc/p");
    cr_expect_eq(c.classification.inspectors, false);
    cr_expect_eq(c.classification.payload_packets_max, 3);
    cr_expect_eq(c.classification.pending_megabytes, 9);
    cr_expect_eq(c.classification.checksums, DP_CHECKSUMS_DROP);
    cr_expect_eq(c.classification.payload_bytes_max, 777);
    cr_expect_eq(c.classification.started_before_s, 0);
    cr_expect_eq(c.rdr.destination_count, 3);
    cr_expect_str_eq(c.rdr.destinations[0].host, "a.example");
    cr_expect_eq(c.rdr.destinations[0].port, 1);
    cr_expect_arr_eq(c.rdr.destinations[0].priority, ((uint8_t[]){100, 0, 50, 0}), 4);
    cr_expect_eq(c.rdr.destinations[1].port, 33000);
    cr_expect_arr_eq(c.rdr.destinations[1].priority, ((uint8_t[]){0, 100, 0, 100}), 4);
    cr_expect_arr_eq(c.rdr.destinations[2].priority, ((uint8_t[]){100, 100, 100, 100}), 4);
    cr_expect_eq(c.rdr.forwarding_mode, RDR_MULTICAST);
    cr_expect_eq(c.rdr.header_ids, DP_HEADER_IDS_ZEROS);
    cr_expect_eq(c.rdr.processor_id, 5);
    cr_expect_arr_eq(c.rdr.queue_kib, ((uint32_t[]){8192, 16, 8192, 8192}), 16);
    cr_expect_eq(c.rdr.link_usage_interval_s, 1);
    cr_expect_eq(c.rdr.transaction_rate_per_s, 2);
    cr_expect_eq(c.rdr.transaction_usage, true);
    cr_expect_eq(c.rdr.transaction_usage_minimum_bytes, 4294967296ull);
    cr_expect_eq(c.rdr.flow_events, true);
    cr_expect_str_eq(c.control.socket, "/tmp/x.sock");
}

Test(config, each_error_names_its_place_and_the_way_out)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"workers: {count: 2}\n", "f.yaml:1:1: the configuration without \"links\", expected the key"},
        {"links: []\n", "f.yaml:1:8: links: no item, expected at least one link"},
        {"links: eth0\n", "f.yaml:1:8: links: \"eth0\", expected a list"},
        {"links:\n  - eth0\n", "f.yaml:2:5: \"eth0\", expected a link"},
        {LINKS "flow_tabel:\n  capacity_flows: 1\n",
         "f.yaml:5:1: \"flow_tabel\" is no key of the configuration, did you mean \"flow_table\"?"},
        {LINKS "flow_table:\n  timeouts_s:\n    tcp_establishd: 5\n",
         "f.yaml:7:5: \"tcp_establishd\" is no key of timeouts_s, did you mean \"tcp_established\"?"},
        {LINKS "    mod: inline\n", "f.yaml:5:5: \"mod\" is no key of a link, did you mean \"mode\"?"},
        {LINKS "    mode: inlin\n",
         "f.yaml:5:11: mode: \"inlin\", expected one of inline, receive-only (did you mean \"inline\"?)"},
        {LINKS "workers:\n  count: 0\n", "f.yaml:6:10: count: 0, expected a number of threads from 1 to 60"},
        {LINKS "workers:\n  count: two\n", "f.yaml:6:10: count: \"two\", expected a number of threads"},
        {LINKS "workers:\n  count: 3\n  cpus: [1, 2]\n",
         "f.yaml:6:10: count: 3, expected 2, the length of cpus, or no such key"},
        {LINKS "workers:\n  cpus: [1, x]\n", "f.yaml:6:13: \"x\", expected a CPU number"},
        {LINKS "workers:\n  cpus: 1\n", "f.yaml:6:9: cpus: expected a list of CPU numbers"},
        {LINKS "workers:\n  burst_pkts: 33\n",
         "f.yaml:6:15: burst_pkts: 33, expected a number of packets from 1 to 32"},
        {LINKS "classification:\n  inspectors: yes\n", "f.yaml:6:15: inspectors: \"yes\", expected true or false"},
        {LINKS "rdr:\n  queue_kib: {5: 100}\n", "f.yaml:6:15: \"5\" is no key of the categories 1 to 4"},
        {LINKS "rdr:\n  queue_kib: {4: 1}\n", "f.yaml:6:18: 4: 1, expected a number of KiB from 16 to 4194303"},
        {LINKS "rdr:\n  destinations:\n    - port: 1\n",
         "f.yaml:7:7: a destination without \"host\", expected the key"},
        {LINKS "rdr:\n  destinations:\n    - host: h\n      port: 65536\n",
         "f.yaml:8:13: port: 65536, expected a TCP port from 1 to 65535"},
        {LINKS "rdr:\n  destinations:\n    - host: h\n      categories: {1: 101}\n",
         "f.yaml:8:23: 1: 101, expected a priority from 1 to 100"},
        {LINKS "rdr:\n  destinations:\n    - host: h\n      categories: [1, 1]\n",
         "f.yaml:8:23: category 1 a second time"},
        {LINKS "rdr:\n  destinations:\n    - host: h\n      categories: [5]\n",
         "f.yaml:8:20: 5, expected a category from 1 to 4"},
        {LINKS "rdr:\n  destinations:\n    - host: h\n    - host: h\n",
         "f.yaml:8:7: destination h port 33000 a second time, expected it once"},
        {LINKS LINKS, "f.yaml:5:1: \"links\" a second time, the first is at line 1"},
        {LINKS "  - name: a\n    subscriber: net_null0\n    network: net_null1\n",
         "f.yaml:5:11: name: \"a\" a second time, expected a name of its own for each link"},
        {LINKS "  - name: b c\n    subscriber: net_null0\n    network: net_null1\n",
         "f.yaml:5:11: name: \"b c\", expected a name of letters, digits, \"-\", \"_\", \".\""},
        {LINKS "  - name: b\n    subscriber: net_null0\n    network: 0000:03:00.0\n",
         "f.yaml:7:14: network: \"0000:03:00.0\" a second time, link a has it as subscriber; each port belongs to one "
         "side "
         "of one link"},
        {LINKS "  - name: b\n    subscriber: eth0\n    network: net_null0\n",
         "f.yaml:6:17: subscriber: \"eth0\": expected a PCI address (0000:03:00.0) or a device of net_af_packet, "
         "net_af_xdp, net_pcap, net_tap, net_memif, net_null, net_ring"},
        {LINKS "  - name: b\n    subscriber: net_afpacket0,iface=p0\n    network: net_null0\n",
         "f.yaml:6:17: subscriber: \"net_afpacket0,iface=p0\": expected a PCI address (0000:03:00.0) or a device of "
         "net_af_packet, net_af_xdp, net_pcap, net_tap, net_memif, net_null, net_ring; did you mean "
         "\"net_af_packet\"?"},
        {LINKS "  - name: b\n    subscriber: net_af_packet0\n    network: net_null0\n",
         "f.yaml:6:17: subscriber: \"net_af_packet0\": expected an argument iface, as in "
         "net_af_packet0,iface=eth1,framecnt=4096"},
        {LINKS "control:\n  socket:\n", "f.yaml:6:10: socket: nothing, expected a path"},
        {"links: &a\n  - *a\n", "f.yaml:1:8: an anchor (&), expected a value written out"},
        {"", "f.yaml:1:1: nothing in the file, expected keys and values"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(cases[i].text, cases[i].error);
}

Test(config, too_long_texts_and_lists_are_refused)
{
    char text[4096] = "links:\n";
    for (unsigned i = 0; i <= DP_LINKS_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "  - {name: l%u, subscriber: net_null%u, network: net_ring%u}\n", i, i, i);
    expect_error(text, "f.yaml:2:3: links: 17 items, expected at most 16");
    char name[64];
    memset(name, 'n', sizeof name);
    snprintf(text, sizeof text, "links:\n  - {name: %.32s, subscriber: net_null0, network: net_null1}\n", name);
    expect_error(text, "f.yaml:2:12: name: 32 bytes, expected at most 31");
}

Test(config, unreadable_file_is_named)
{
    struct dp_config config;
    char error[DP_ERROR_BYTES];
    cr_assert_eq(dp_config_load("/does/not/exist.yaml", &config, error, sizeof error), -EINVAL);
    cr_expect_str_eq(error, "/does/not/exist.yaml:1:1: cannot be read: No such file or directory");
}

static char *dump(const struct dp_config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    dp_config_dump(config, out);
    fclose(out);
    return text;
}

static void expect_round_trip(const struct dp_config *config)
{
    struct dp_config again;
    char error[DP_ERROR_BYTES];
    char *text = dump(config);
    cr_assert_eq(dp_config_parse(config->path, text, strlen(text), &again, error, sizeof error), 0, "%s\n%s", error,
                 text);
    /* where ports stand in the text is not a value */
    for (unsigned i = 0; i < DP_LINKS_MAX; i++)
        memcpy(again.links[i].line, config->links[i].line, sizeof again.links[i].line);
    cr_expect(!memcmp(config, &again, sizeof again), "dump differs from what was loaded:\n%s", text);
    free(text);
}

Test(config, dump_is_read_back_to_the_same)
{
    struct dp_config c;
    char error[DP_ERROR_BYTES];
    cr_assert_eq(parse(LINKS, &c, error), 0, "%s", error);
    expect_round_trip(&c);
    cr_assert_eq(
        parse(
            "creator: 65535\nlinks: [{name: x, subscriber: 'net_pcap0,rx_pcap=/a \"b\\c.pcap', network: net_null0}]\n",
            &c, error),
        -EINVAL, "a blank in a device");
    cr_assert_eq(parse("creator: 65535\n"
                       "links: [{name: x, subscriber: 'net_pcap0,rx_pcap=/a\"b\\c.pcap', network: net_null0}]\n"
                       "workers: {cpus: [0, 0, 5]}\n"
                       "classification: {pack: \"/p \\u00e9 '#\"}\n"
                       "rdr: {destinations: [{host: h, categories: {4: 1}}], queue_kib: 99, header_ids: zeros}\n",
                       &c, error),
                 0, "%s", error);
    expect_round_trip(&c);
}

Test(config, shipped_files_load)
{
    static const char *const files[] = {"etc/sce.yaml", "etc/lab-veth.yaml"};
    for (unsigned i = 0; i < 2; i++) {
        struct dp_config c;
        char error[DP_ERROR_BYTES] = "", path[512];
        snprintf(path, sizeof path, "%s/%s", SOURCE_ROOT, files[i]);
        cr_expect_eq(dp_config_load(path, &c, error, sizeof error), 0, "%s", error);
        expect_round_trip(&c);
    }
}

Test(config, documentation_is_the_tables)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    dp_config_document(out);
    fclose(out);
    FILE *in = fopen(SOURCE_ROOT "/docs/configuration.md", "r");
    cr_assert_not_null(in);
    char *page = calloc(1, size + 2);
    size_t page_size = fread(page, 1, size + 1, in);
    fclose(in);
    cr_expect(page_size == size && !memcmp(page, text, size),
              "docs/configuration.md is old: run ninja configuration.md");
    cr_expect(strstr(text, "| `tcp_opening` | a number of seconds, 1 to 604800 | `30` |") != NULL);
    free(page);
    free(text);
}

Test(config, workers_are_spread_behind_the_main_cpu)
{
    cpu_set_t two;
    CPU_ZERO(&two);
    CPU_SET(0, &two);
    CPU_SET(1, &two);
    if (sched_setaffinity(0, sizeof two, &two) < 0)
        cr_skip_test("needs two CPUs");
    struct dp_config c;
    uint32_t cpus[DP_WORKERS_MAX];
    dp_config_init(&c);
    cr_expect_not(dp_config_worker_cpus(&c, cpus));
    cr_expect_eq(cpus[0], 1);
    cr_expect_eq(dp_config_idle(&c), DP_IDLE_PAUSE);
    c.workers.count = 4;
    cr_expect(dp_config_worker_cpus(&c, cpus));
    cr_expect_arr_eq(cpus, ((uint32_t[]){1, 0, 1, 0}), 16);
    cr_expect_eq(dp_config_idle(&c), DP_IDLE_YIELD);
    c.workers.idle = DP_IDLE_SLEEP;
    cr_expect_eq(dp_config_idle(&c), DP_IDLE_SLEEP);
    c.workers.count = c.workers.cpu_count = 1;
    c.workers.cpus[0] = 700;
    cr_expect_not(dp_config_worker_cpus(&c, cpus));
    cr_expect_eq(cpus[0], 700);
}

Test(drivers, device_strings)
{
    char value[16], reason[256];
    cr_expect(dp_device_is_pci("0000:af:1f.7"));
    cr_expect(dp_device_is_pci("03:00.0"));
    cr_expect_not(dp_device_is_pci("0000:03:00.8"));
    cr_expect_not(dp_device_is_pci("0000:03:00"));
    cr_expect_not(dp_device_is_pci("0000:03:00.0,x=1"));
    cr_expect(dp_device_argument("net_pcap0,rx_iface=a,tx_iface=bb", "tx_iface", value, sizeof value));
    cr_expect_str_eq(value, "bb");
    cr_expect_not(dp_device_argument("net_pcap0,rx_iface=a", "iface", value, sizeof value));
    cr_expect_eq(dp_driver_of_device("net_pcap_x,iface=a")->interface_argument[0], 'i');
    cr_expect_null(dp_driver_of_device("net_pcapng0"));
    cr_expect(dp_device_check("net_pcap0,rx_iface=a", reason, sizeof reason));
    cr_expect_not(dp_device_check("net_null0,size", reason, sizeof reason));
    cr_expect_not(dp_device_check("net_null0,=1", reason, sizeof reason));
    cr_expect_not(dp_device_check("net_af_packet0,iface=", reason, sizeof reason));
}

Test(config, other_rooms_get_their_parts)
{
    static const char text[] =
        LINKS "flow_table: {capacity_flows: 8192, unanswered_share_pct: 9, timeouts_s: {other: 7}}\n"
              "classification: {pack: p.pack, inspectors: false, payload_packets_max: 3, payload_bytes_max: 99}\n"
              "memory: {hugepages: off}\n"
              "rdr: {destinations: [{host: h, port: 9, categories: {2: 5}}], queue_kib: {3: 64},\n"
              "  forwarding_mode: simple_load_balancing}\n";
    struct dp_config c;
    struct ft_config flows;
    struct cl_options classification;
    struct rdr_formatter_config rdr;
    char error[DP_ERROR_BYTES];
    cr_assert_eq(parse(text, &c, error), 0, "%s", error);
    dp_config_flow_table(&c, &flows);
    cr_expect_eq(flows.capacity_flows, 8192);
    cr_expect_eq(flows.unanswered_share_pct, 9);
    cr_expect_eq(flows.timeout_ns[FT_TIMEOUT_other], 7000000000ull);
    cr_expect_eq(flows.timeout_ns[FT_TIMEOUT_tcp_established], 3600000000000ull);
    cr_expect_eq(flows.hugepages, false);
    cr_expect_neq(flows.readers_max, 0);
    dp_config_classification(&c, &classification);
    cr_expect_str_eq(classification.pack_path, "p.pack");
    cr_expect_eq(classification.inspectors_off, true);
    cr_expect_eq(classification.payload_packets_max, 3);
    cr_expect_eq(classification.payload_bytes_max, 99);
    dp_config_rdr(&c, &rdr);
    cr_expect_eq(rdr.forwarding_mode, RDR_SIMPLE_LOAD_BALANCING);
    cr_expect_eq(rdr.destination_count, 1);
    cr_expect_str_eq(rdr.destinations[0].host, "h");
    cr_expect_eq(rdr.destinations[0].priority[1], 5);
    cr_expect_eq(rdr.queue_bytes[2], 65536);
    cr_expect_eq(rdr.queue_bytes[0], 8388608);
}

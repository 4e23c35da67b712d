#include "dataplane/config_keys.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/config.h"

#define AT(field)        .offset = offsetof(struct dp_config, field), .size = sizeof(((struct dp_config *)0)->field)
#define IN(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)

static const char *const modes[] = {"inline", "receive-only", NULL};
static const char *const idles[] = {"auto", "pause", "yield", "sleep", NULL};
static const char *const hugepages[] = {"auto", "on", "off", NULL};
static const char *const checksums[] = {"ignore", "check", "drop", NULL};
static const char *const tunnel_choices[] = {"outer", "inner", NULL};
static const char *const header_ids[] = {"on", "zeros", NULL};
static const char *const forwarding_modes[] = {"redundancy", "multicast", "simple_load_balancing", NULL};

#define DEVICE_EXPECTED "a PCI address (0000:03:00.0) or a DPDK device (net_af_packet0,iface=p0,framecnt=4096)"

static const struct dp_key root_keys[] = {
    {"links", NULL, "The links that the engine stands in, each a pair of ports.", .kind = DP_KEY_LIST, AT(links)},
    {"workers", "{}", "Threads that process packets.", .kind = DP_KEY_SECTION},
    {"main_cpu", "0", "CPU of the control thread and the record thread. They sleep most of the time.", "a CPU number",
     .max = 1023, .kind = DP_KEY_NUMBER, AT(main_cpu)},
    {"memory", "{}", "Memory of DPDK: packet buffers and queues.", .kind = DP_KEY_SECTION},
    {"flow_table", "{}", "The table of flows.", .kind = DP_KEY_SECTION},
    {"classification", "{}", "How flows are judged.", .kind = DP_KEY_SECTION},
    {"tunnels", "{}", "Tunnels whose inner flows are judged instead of the tunnel's.", .kind = DP_KEY_SECTION},
    {"rdr", "{}", "Raw Data Records: which are made, and who gets them.", .kind = DP_KEY_SECTION},
    {"control", "{}", "The control socket, which `sce show` talks to.", .kind = DP_KEY_SECTION},
    {"creator", "1",
     "Number of this engine among those that may hand flows to each other: a part of each flow's unique number. The "
     "two "
     "engines of a pair need different ones.",
     "a number of an engine", .min = 1, .max = 65535, .kind = DP_KEY_NUMBER, AT(creator)},
    {.name = NULL},
};

static const struct dp_key link_keys[] = {
    {"name", NULL, "Name of the link in `sce show` and in messages: letters, digits, `-`, `_`, `.`; at most 31.",
     "a name of letters, digits, \"-\", \"_\", \".\"", .kind = DP_KEY_TEXT, IN(struct dp_link_config, name)},
    {"subscriber", NULL,
     "The port on the subscribers' side: a PCI address such as `0000:03:00.0`, or a DPDK virtual device with its "
     "arguments such as `net_af_packet0,iface=p0,framecnt=4096`. See [nics.md](nics.md).",
     DEVICE_EXPECTED, .kind = DP_KEY_TEXT, IN(struct dp_link_config, device[DP_SUBSCRIBER])},
    {"network", NULL, "The port on the network's side, written in the same way.", DEVICE_EXPECTED, .kind = DP_KEY_TEXT,
     IN(struct dp_link_config, device[DP_NETWORK])},
    {"mode", "inline",
     "`inline`: a packet received on one side leaves by the other, unchanged. `receive-only`: both sides are fed by "
     "taps "
     "or mirror ports and nothing is ever sent.",
     .choices = modes, .kind = DP_KEY_CHOICE, IN(struct dp_link_config, mode)},
    {"mtu", "0",
     "Largest IP packet of both ports, for physical ports in networks with jumbo frames; frames larger than a packet "
     "buffer "
     "become chains. 0: what the ports have.",
     "a number of bytes", .max = 9600, .kind = DP_KEY_NUMBER, IN(struct dp_link_config, mtu)},
    {.name = NULL},
};

static const struct dp_key worker_keys[] = {
    {"count", "1",
     "Number of worker threads. They are put on the CPUs behind `main_cpu`, one each as far as there are CPUs. With "
     "`cpus` it may be left out.",
     "a number of threads", .min = 1, .max = DP_WORKERS_MAX, .kind = DP_KEY_NUMBER, AT(workers.count)},
    {"cpus", "[]", "CPU of each worker, instead of `count`: `[1, 2, 3]` is three workers. A CPU may stand twice.",
     "a list of CPU numbers", .max = 1023, .kind = DP_KEY_CPUS, AT(workers.cpus)},
    {"idle", "auto",
     "What a worker does when no packet waits. `pause`: spin, least delay, one whole CPU. `yield`: give the CPU to "
     "other "
     "threads, needed when workers share one. `sleep`: 50 us, for labs and laptops. `auto`: `yield` when threads share "
     "CPUs, else `pause`.",
     .choices = idles, .kind = DP_KEY_CHOICE, AT(workers.idle)},
    {"burst_pkts", "32", "Packets taken from a queue at once.", "a number of packets", .min = 1, .max = FT_BURST_MAX,
     .kind = DP_KEY_NUMBER, AT(workers.burst_pkts)},
    {.name = NULL},
};

static const struct dp_key memory_keys[] = {
    {"hugepages", "auto",
     "`auto`: hugepages when enough are free, else plain pages with a warning. `on`: refuse to start without. `off`: "
     "plain pages.",
     .choices = hugepages, .kind = DP_KEY_CHOICE, AT(memory.hugepages)},
    {"megabytes", "0", "Memory for DPDK. 0: what the packet buffers need.", "a number of megabytes", .max = 1048576,
     .kind = DP_KEY_NUMBER, AT(memory.megabytes)},
    {"mbufs", "0", "Packet buffers, about 2.3 KB each. 0: what ports, queues and workers need.", "a number of buffers",
     .max = 1u << 28, .kind = DP_KEY_NUMBER, AT(memory.mbufs)},
    {.name = NULL},
};

static const struct dp_key flow_table_keys[] = {
    {"capacity_flows", "1048576",
     "Flows that can be tracked at once. Memory: about 140 bytes a flow, 32 more for IPv6, reserved at the start.",
     "a number of flows", .min = 4096, .max = 1ull << 31, .kind = DP_KEY_NUMBER, AT(flow_table.capacity_flows)},
    {"unanswered_share_pct", "50",
     "Largest share of the table for half-open and unanswered flows, so that a flood does not push established flows "
     "out.",
     "a percentage", .min = 1, .max = 100, .kind = DP_KEY_NUMBER, AT(flow_table.unanswered_share_pct)},
    {"timeouts_s", "{}", "Time without a packet after which a flow ends.", .kind = DP_KEY_SECTION},
    {.name = NULL},
};

/* One text for each of FT_TIMEOUTS: a time-out without one does not compile. */
#define TEXT_tcp_opening        "TCP: SYN seen, handshake not finished."
#define TEXT_tcp_established    "TCP: established."
#define TEXT_tcp_closing        "TCP: one FIN seen."
#define TEXT_tcp_closed         "TCP: both FINs or a RST seen; waits for last packets."
#define TEXT_tcp_started_before "TCP whose SYN was not seen, and not seen both ways."
#define TEXT_udp_unanswered     "UDP seen one way."
#define TEXT_udp_answered       "UDP seen both ways."
#define TEXT_other              "ICMP and all other IP protocols."

static const struct dp_key timeout_keys[] = {
#define X(timeout, seconds)                                                                                            \
    {#timeout, #seconds,      TEXT_##timeout,        "a number of seconds",                                            \
     .min = 1, .max = 604800, .kind = DP_KEY_NUMBER, AT(flow_table.timeouts_s[FT_TIMEOUT_##timeout])},
    FT_TIMEOUTS(X)
#undef X
        {.name = NULL},
};

static const struct dp_key classification_keys[] = {
    {"pack", "\"\"",
     "Protocol pack: a compiled pack or a folder of pack sources. Empty: the pack that was built with the program.",
     "a file or a folder", .kind = DP_KEY_TEXT, AT(classification.pack)},
    {"inspectors", "true",
     "Protocol inspectors confirm what patterns suggest. `false`: the pack's patterns alone judge.",
     .kind = DP_KEY_SWITCH, AT(classification.inspectors)},
    {"checksums", "ignore",
     "Packets with a wrong IPv4, TCP or UDP checksum. `ignore`: not looked at. `check`: sent on, but of no flow and "
     "never "
     "judged, since their receiver throws them away; counted. `drop`: dropped and counted. Computed where the NIC does "
     "not. "
     "Traffic of this host itself (veth, loopback) has unfinished checksums.",
     .choices = checksums, .kind = DP_KEY_CHOICE, AT(classification.checksums)},
    {"ja4", "false",
     "The JA4 fingerprint of every TLS, QUIC and DTLS client is told among a flow's texts; about a microsecond a "
     "hello.",
     .kind = DP_KEY_SWITCH, AT(classification.ja4)},
    {"payload_packets_max", "8",
     "Packets with payload, per direction, after which a flow that nothing recognised gets its verdict by port or as "
     "generic.",
     "a number of packets", .min = 1, .max = 64, .kind = DP_KEY_NUMBER, AT(classification.payload_packets_max)},
    {"payload_bytes_max", "16384",
     "Bytes of payload, per direction, after which the same happens. Of a TCP stream the first 8192 are looked at.",
     "a number of bytes", .min = 64, .max = 1048576, .kind = DP_KEY_NUMBER, AT(classification.payload_bytes_max)},
    {"started_before_s", "10",
     "UDP flows that begin within this time after the start count as started before it: nothing in a datagram says "
     "that it "
     "is a flow's first.",
     "a number of seconds", .max = 3600, .kind = DP_KEY_NUMBER, AT(classification.started_before_s)},
    {"pending_megabytes", "64",
     "Memory for the first payloads of flows not judged yet, all workers together. When it is full flows are judged by "
     "what is there.",
     "a number of megabytes", .min = 1, .max = 65536, .kind = DP_KEY_NUMBER, AT(classification.pending_megabytes)},
    {"learning", "true",
     "Control flows (FTP, SIP, RTSP, H.323, MGCP, Megaco, TFTP, iperf3) tell which flows are to come, DNS answers "
     "which "
     "application an address stands for. `false`: each flow is judged by itself alone.",
     .kind = DP_KEY_SWITCH, AT(classification.learning)},
    {"expectations", "65536", "Announced flows that are remembered at once, 72 bytes each.", "a number of entries",
     .min = 64, .max = 1u << 26, .kind = DP_KEY_NUMBER, AT(classification.expectations)},
    {"learned_names", "65536", "Addresses of names that are remembered at once, for each client, 72 bytes each.",
     "a number of entries", .min = 64, .max = 1u << 26, .kind = DP_KEY_NUMBER, AT(classification.learned_names)},
    {"learned_per_host_max", "4096",
     "Announced flows, and names, that one host can have remembered at once: a host that announces more pushes nobody "
     "else's out.",
     "a number of entries", .min = 1, .max = 1u << 26, .kind = DP_KEY_NUMBER, AT(classification.learned_per_host_max)},
    {.name = NULL},
};

static const struct dp_key tunnel_keys[] = {
#define X(name, tunnel, text)                                                                                          \
    {#name, "outer", text ".", .choices = tunnel_choices, .kind = DP_KEY_CHOICE, AT(tunnels[DP_TUNNEL_##name])},
    DP_TUNNELS(X)
#undef X
        {.name = NULL},
};

static const struct dp_key rdr_keys[] = {
    {"destinations", "[]", "Collectors. None: records are made and counted as discarded.", .kind = DP_KEY_LIST,
     AT(rdr.destinations)},
    {"forwarding_mode", "redundancy",
     "`redundancy`: all records to the connected destination of highest priority. `multicast`: all to all. "
     "`simple_load_balancing`: one record to each destination in turn.",
     .choices = forwarding_modes, .kind = DP_KEY_CHOICE, AT(rdr.forwarding_mode)},
    {"header_ids", "on",
     "`on`: creator, epoch, interval and flow number stand in the ten header bytes that receivers ignore, so that a "
     "collector can tell doubles after a hand-over. `zeros`: those bytes are zero.",
     .choices = header_ids, .kind = DP_KEY_CHOICE, AT(rdr.header_ids)},
    {"processor_id", "0", "First byte of each record's header: which processor made it.", "a number", .max = 255,
     .kind = DP_KEY_NUMBER, AT(rdr.processor_id)},
    {"queue_kib", "8192", "Size of the queue of each category: `{1: 8192, 2: 1024}`, or one number for all four.",
     "a number of KiB from 16 to 4194303, or a map of them by category 1 to 4", .min = 16, .max = 4194303,
     .kind = DP_KEY_CATEGORY_NUMBERS, AT(rdr.queue_kib)},
    {"link_usage_interval_s", "300", "Period of Link Usage records. 0: off.", "a number of seconds", .max = 86400,
     .kind = DP_KEY_NUMBER, AT(rdr.link_usage_interval_s)},
    {"transaction_rate_per_s", "100", "Transaction records a second at most, a sample over all services. 0: off.",
     "a number of records a second", .max = 1000000, .kind = DP_KEY_NUMBER, AT(rdr.transaction_rate_per_s)},
    {"transaction_usage", "false",
     "A Transaction Usage record (HTTP flows: HTTP Transaction Usage) for each flow when it ends.",
     .kind = DP_KEY_SWITCH, AT(rdr.transaction_usage)},
    {"transaction_usage_minimum_bytes", "0", "Flows below this volume get no Transaction Usage record.",
     "a number of bytes", .kind = DP_KEY_NUMBER, AT(rdr.transaction_usage_minimum_bytes)},
    {"flow_events", "false", "Flow Start and Flow End records of each flow (real-time signalling).",
     .kind = DP_KEY_SWITCH, AT(rdr.flow_events)},
    {.name = NULL},
};

static const struct dp_key destination_keys[] = {
    {"host", NULL, "Address or name of the collector.", "an address or a host name", .kind = DP_KEY_TEXT,
     IN(struct rdr_destination_config, host)},
    {"port", "33000", "TCP port of the collector.", "a TCP port", .min = 1, .max = 65535, .kind = DP_KEY_NUMBER,
     IN(struct rdr_destination_config, port)},
    {"categories", "[1, 2, 3, 4]",
     "Categories of records that this collector gets, with its priority for each, 1 to 100, 100 the highest: "
     "`{1: 100, 3: 50}`; or a list of categories, at priority 100.",
     "a map of priorities 1 to 100 by category 1 to 4, or a list of categories", .min = 1, .max = 100,
     .kind = DP_KEY_CATEGORY_PRIORITY, IN(struct rdr_destination_config, priority)},
    {.name = NULL},
};

static const struct dp_key control_keys[] = {
    {"socket", "\"\"",
     "Path of the UNIX socket. Empty: `/run/opensce/sce.sock` for root, else `$XDG_RUNTIME_DIR/opensce/sce.sock`.",
     "a path", .kind = DP_KEY_TEXT, AT(control.socket)},
    {.name = NULL},
};

const struct dp_section dp_sections[] = {
    {"", "the configuration", "Everything but `links` may be left out.", root_keys, 0, 0, 0},
    {"links[]", "a link", "One link: a pair of ports. At most 16.", link_keys, sizeof(struct dp_link_config),
     offsetof(struct dp_config, link_count), DP_LINKS_MAX},
    {"workers", "workers", "Threads that process packets.", worker_keys, 0, 0, 0},
    {"memory", "memory", "Memory of DPDK: packet buffers and queues.", memory_keys, 0, 0, 0},
    {"flow_table", "flow_table", "The table of flows.", flow_table_keys, 0, 0, 0},
    {"flow_table.timeouts_s", "timeouts_s", "Seconds without a packet after which a flow ends, by what was seen of it.",
     timeout_keys, 0, 0, 0},
    {"classification", "classification", "How flows are judged.", classification_keys, 0, 0, 0},
    {"tunnels", "tunnels",
     "`outer`: a tunnel is one flow, named as the tunnel. `inner`: each packet belongs to the flow that it carries; "
     "what is "
     "no whole packet of IP (control messages, fragments, damage) stays with the tunnel's flow. At most two, one in "
     "the "
     "other, are entered.",
     tunnel_keys, 0, 0, 0},
    {"rdr", "rdr", "Raw Data Records: which are made, and who gets them.", rdr_keys, 0, 0, 0},
    {"rdr.destinations[]", "a destination", "One collector. At most 8.", destination_keys,
     sizeof(struct rdr_destination_config), offsetof(struct dp_config, rdr.destination_count), RDR_DESTINATIONS_MAX},
    {"control", "control", "The control socket, which `sce show` talks to.", control_keys, 0, 0, 0},
    {.path = NULL},
};

const char *dp_side_name(enum dp_side side)
{
    static const char *const names[DP_SIDES] = {"subscriber", "network"};
    return names[side];
}

const char *dp_link_mode_name(enum dp_link_mode mode)
{
    return modes[mode];
}

const struct dp_section *dp_section_of(const struct dp_section *parent, const struct dp_key *key)
{
    char path[64];
    snprintf(path, sizeof path, "%s%s%s%s", parent->path, parent->path[0] ? "." : "", key->name,
             key->kind == DP_KEY_LIST ? "[]" : "");
    for (const struct dp_section *s = dp_sections; s->path; s++)
        if (!strcmp(s->path, path))
            return s;
    return NULL;
}

uint64_t dp_number_get(const void *field, uint16_t size)
{
    /* little-endian: the low bytes of the value are the field */
    uint64_t value = 0;
    memcpy(&value, field, size);
    return value;
}

void dp_number_set(void *field, uint16_t size, uint64_t value)
{
    memcpy(field, &value, size);
}

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/ports.h"
#include "dataplane/records.h"
#include "dataplane/replay.h"
#include "tools/cli.h"
#include "tools/flow_output.h"

#define DRAIN_LIMIT_MS 30000u

static const char help_text[] =
    "usage: sce replay [OPTIONS] FILE...\n"
    "\n"
    "Runs captures (pcap, pcapng; - is stdin) through the pipeline and prints every flow with its verdict.\n"
    "No root, no hugepages, no configuration. Several files are one stream in time, in the order given.\n"
    "\n"
    "  -o, --output table|json|csv  table: usage by protocol (default); json, csv: one flow a line\n"
    "      --stream                 print flows as they close instead of in order of their first packet\n"
    "      --separate               one run for each file\n"
    "      --subscriber-net PREFIX  whose side is \"up\"; may be repeated; without it the client is the subscriber\n"
    "      --rdr HOST:PORT          send Raw Data Records there; nothing is sampled\n"
    "      --header-ids on|zeros    flow ids in the record header bytes that receivers ignore (default on)\n"
    "      --expect FILE            compare the output with FILE, print the first difference, exit 4 if there is one\n"
    "  -w, --workers N              worker threads, 1..60 (default 1); the output is the same for any number\n"
    "      --join-after N           join each flow in its middle: without its handshake and the first N payload "
    "packets\n"
    "                               of each side, 1..255\n"
    "      --pack FILE              protocol pack (default: the one built with the program)\n"
    "      --checksums ignore|check|drop  packets with wrong checksums (default ignore: captures of a host's own\n"
    "                           traffic have unfinished ones)\n"
    "      --inspectors on|off      off: the pack's patterns alone judge (default on)\n"
    "      --ja4                    tell the JA4 fingerprint of TLS, QUIC and DTLS clients (info.ja4)\n"
    "      --tunnels LIST           judge what these carry: gre,l2tp,gtp_u,vxlan,geneve,teredo, or all\n"
    "                               (default: a tunnel is one flow)\n"
    "      --capacity FLOWS         size of the flow table (default 1048576)\n"
    "      --seed N                 of the flow table's hash (default 1)\n"
    "  -q, --quiet                  no progress, no rates on stderr\n"
    "\n"
    "examples:\n"
    "  sce replay trace.pcap\n"
    "  sce replay -o json trace.pcap | jq 'select(.protocol == \"TLS\") | .info.host'\n"
    "  sce replay --separate -o csv --subscriber-net 10.0.0.0/8 *.pcap > flows.csv\n"
    "  sce collect & sce replay --rdr 127.0.0.1:33000 trace.pcap; sce report --db rdr.sqlite\n"
    "\n"
    "exit codes: 0 ok, 1 usage, 2 pack refused, 3 a capture or the collector failed, 4 --expect differs\n";

enum {
    OPT_STREAM = 256,
    OPT_SEPARATE,
    OPT_NET,
    OPT_RDR,
    OPT_IDS,
    OPT_EXPECT,
    OPT_PACK,
    OPT_INSPECTORS,
    OPT_CHECKSUMS,
    OPT_JA4,
    OPT_TUNNELS,
    OPT_CAPACITY,
    OPT_SEED,
    OPT_SPREAD,
    OPT_JOIN,
    OPT_ROTATE
};

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"stream", no_argument, NULL, OPT_STREAM},
    {"separate", no_argument, NULL, OPT_SEPARATE},
    {"subscriber-net", required_argument, NULL, OPT_NET},
    {"rdr", required_argument, NULL, OPT_RDR},
    {"header-ids", required_argument, NULL, OPT_IDS},
    {"expect", required_argument, NULL, OPT_EXPECT},
    {"workers", required_argument, NULL, 'w'},
    {"pack", required_argument, NULL, OPT_PACK},
    {"inspectors", required_argument, NULL, OPT_INSPECTORS},
    {"checksums", required_argument, NULL, OPT_CHECKSUMS},
    {"ja4", no_argument, NULL, OPT_JA4},
    {"tunnels", required_argument, NULL, OPT_TUNNELS},
    {"capacity", required_argument, NULL, OPT_CAPACITY},
    {"seed", required_argument, NULL, OPT_SEED},
    {"spread", required_argument, NULL, OPT_SPREAD}, /* for tests: right, or wrong worker first */
    {"rotate", required_argument, NULL, OPT_ROTATE}, /* for tests: a shard changes hands after so many packets */
    {"join-after", required_argument, NULL, OPT_JOIN},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct replay_command {
    struct dp_engine_config engine_config;
    struct rdr_formatter_config formatter_config;
    struct dp_records_config records_config;
    enum flow_format format;
    bool stream, separate, quiet, spread_wrong, help;
    unsigned join_after;
    const char *expect;

    struct dp_engine *engine;
    struct dp_replay *replay;
    struct rdr_formatter *formatter;
    struct dp_records *records;
    struct flow_output output;
    const char *current; /* file in progress */
    struct timespec started, last_progress;
    uint64_t rotate_packets;
    uint64_t packets, bytes; /* of runs that are over */
    bool progress_shown;
};

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int parse_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || *end || end == text || *text == '-' || value < min || value > max)
        return cli_usage_error("replay", "--%s %s: expected a number %" PRIu64 "..%" PRIu64, option, text, min, max);
    *ret_value = value;
    return CLI_OK;
}

/* One of two words: 0 or 1 into *ret_second. */
static int parse_choice(const char *option, const char *text, const char *first, const char *second, bool *ret_second)
{
    if (strcmp(text, first) && strcmp(text, second))
        return cli_usage_error("replay", "--%s %s: expected %s or %s", option, text, first, second);
    *ret_second = !strcmp(text, second);
    return CLI_OK;
}

static int add_subscriber_net(struct dp_engine_config *config, const char *text)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    struct dp_subscriber_net net = {.is_v6 = strchr(text, ':') != NULL};
    uint64_t bits = net.is_v6 ? 128 : 32;
    if (config->subscriber_net_count == DP_SUBSCRIBER_NETS_MAX)
        return cli_usage_error("replay", "--subscriber-net: at most %u of them", DP_SUBSCRIBER_NETS_MAX);
    if (length >= sizeof address)
        return cli_usage_error("replay", "--subscriber-net %s: expected a prefix such as 10.0.0.0/8 or 2001:db8::/32",
                               text);
    memcpy(address, text, length);
    address[length] = 0;
    if (inet_pton(net.is_v6 ? AF_INET6 : AF_INET, address, net.address) != 1)
        return cli_usage_error("replay", "--subscriber-net %s: expected a prefix such as 10.0.0.0/8 or 2001:db8::/32",
                               text);
    if (slash && parse_number("subscriber-net", slash + 1, 0, bits, &bits))
        return CLI_USAGE;
    net.bits = (uint8_t)bits;
    config->subscriber_nets[config->subscriber_net_count++] = net;
    return CLI_OK;
}

static int set_destination(struct rdr_formatter_config *config, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    struct rdr_destination_config *destination = &config->destinations[0];
    const char *host = text;
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length > 1 && text[0] == '[' && text[length - 1] == ']') { /* [::1]:33000 */
        host++;
        length -= 2;
    }
    if (!length || length >= sizeof destination->host)
        return cli_usage_error("replay", "--rdr %s: expected HOST:PORT", text);
    if (parse_number("rdr", colon + 1, 1, 65535, &port))
        return CLI_USAGE;
    memcpy(destination->host, host, length);
    destination->host[length] = 0;
    destination->port = (uint16_t)port;
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        destination->priority[i] = 100;
    config->destination_count = 1;
    return CLI_OK;
}

static int set_format(struct replay_command *c, const char *text)
{
    static const char *const names[] = {"table", "json", "csv"};
    for (unsigned i = 0; i < RTE_DIM(names); i++)
        if (!strcmp(text, names[i])) {
            c->format = (enum flow_format)i;
            return CLI_OK;
        }
    return cli_usage_error("replay", "--output %s: expected table, json or csv", text);
}

static int set_checksums(struct replay_command *c, const char *text)
{
    static const char *const names[] = {"ignore", "check", "drop"};
    for (unsigned i = 0; i < RTE_DIM(names); i++)
        if (!strcmp(text, names[i])) {
            c->engine_config.checksums = (enum dp_checksums)i;
            return CLI_OK;
        }
    return cli_usage_error("replay", "--checksums %s: expected ignore, check or drop", text);
}

/* "vxlan,gtp_u", or "all". */
static int set_tunnels(struct dp_engine_config *engine, const char *value)
{
    engine->tunnels = 0;
    if (!strcmp(value, "all")) {
        engine->tunnels = (dp_tunnel_policy)((1u << DP_TUNNEL_COUNT) - 1);
        return CLI_OK;
    }
    for (const char *at = value;;) {
        size_t size = strcspn(at, ",");
        unsigned i = 0;
        while (i < DP_TUNNEL_COUNT && (strlen(dp_tunnel_name(i)) != size || strncmp(dp_tunnel_name(i), at, size) != 0))
            i++;
        if (i == DP_TUNNEL_COUNT)
            return cli_usage_error("replay",
                                   "--tunnels %s: expected all, or some of gre,l2tp,gtp_u,vxlan,geneve,teredo", value);
        engine->tunnels |= (dp_tunnel_policy)(1u << i);
        if (!at[size])
            return CLI_OK;
        at += size + 1;
    }
}

static int set_option(struct replay_command *c, int option, const char *value)
{
    struct dp_engine_config *engine = &c->engine_config;
    uint64_t number;
    bool second;
    int error = CLI_OK;
    switch (option) {
    case 'o':
        return set_format(c, value);
    case 'q':
        c->quiet = true;
        return CLI_OK;
    case 'h':
        c->help = true;
        return CLI_OK;
    case 'w':
        if (!(error = parse_number("workers", value, 1, DP_WORKERS_MAX, &number)))
            engine->worker_count = (unsigned)number;
        return error;
    case OPT_STREAM:
        c->stream = true;
        return CLI_OK;
    case OPT_SEPARATE:
        c->separate = true;
        return CLI_OK;
    case OPT_NET:
        return add_subscriber_net(engine, value);
    case OPT_RDR:
        return set_destination(&c->formatter_config, value);
    case OPT_IDS:
        if (!(error = parse_choice("header-ids", value, "on", "zeros", &second)))
            c->records_config.header_ids = !second;
        return error;
    case OPT_EXPECT:
        c->expect = value;
        return CLI_OK;
    case OPT_PACK:
        engine->classification.pack_path = value;
        return CLI_OK;
    case OPT_INSPECTORS:
        return parse_choice("inspectors", value, "on", "off", &engine->classification.inspectors_off);
    case OPT_CHECKSUMS:
        return set_checksums(c, value);
    case OPT_JA4:
        engine->classification.ja4 = true;
        return CLI_OK;
    case OPT_TUNNELS:
        return set_tunnels(engine, value);
    case OPT_CAPACITY:
        return parse_number("capacity", value, 4096, 1ull << 31, &engine->flow_table.capacity_flows);
    case OPT_SEED:
        return parse_number("seed", value, 1, UINT64_MAX, &engine->flow_table.secret_seed);
    case OPT_JOIN:
        if (!(error = parse_number("join-after", value, 1, 255, &number))) {
            c->join_after = (unsigned)number;
            engine->started_before_ns = UINT64_MAX; /* of UDP, too */
        }
        return error;
    case OPT_SPREAD:
        return parse_choice("spread", value, "right", "wrong", &c->spread_wrong);
    case OPT_ROTATE:
        return parse_number("rotate", value, 1, UINT32_MAX, &c->rotate_packets);
    default:
        return CLI_USAGE;
    }
}

static int parse_arguments(struct replay_command *c, int argc, char **argv)
{
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:w:qh", long_options, NULL)) != -1)
        if (option == '?')
            return cli_usage_error("replay", "unknown option or missing value");
        else if (set_option(c, option, optarg))
            return CLI_USAGE;
    if (!c->help && optind == argc)
        return cli_usage_error("replay", "no capture given");
    if (c->stream && c->expect)
        return cli_usage_error("replay", "--expect compares flows in order of their first packet: not with --stream");
    return CLI_OK;
}

static void on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    struct replay_command *c = context;
    if (c->records)
        dp_records_event(c->records, event, attributes);
    flow_output_add(&c->output, event, attributes);
}

static void show_progress(void *context, uint64_t read_bytes, uint64_t size_bytes)
{
    struct replay_command *c = context;
    if (c->formatter)
        rdr_formatter_poll(c->formatter, wall_ns(), 0);
    if (c->quiet || !isatty(STDERR_FILENO) || seconds_since(&c->last_progress) < 0.2 || seconds_since(&c->started) < 1)
        return;
    clock_gettime(CLOCK_MONOTONIC, &c->last_progress);
    struct dp_stats stats;
    struct ft_stats flows;
    dp_engine_stats(c->engine, &stats);
    ft_stats(c->engine->flows, &flows);
    fprintf(stderr, "\r%s %3.0f%%  %.2f Mpps  %" PRIu64 " flows\033[K", c->current,
            size_bytes ? 100.0 * (double)read_bytes / (double)size_bytes : 0.0,
            (double)(c->packets + stats.received_packets) / seconds_since(&c->started) / 1e6, flows.flows);
    c->progress_shown = true;
}

static int start(struct replay_command *c)
{
    char error[1024];
    struct dp_eal_options eal;
    unsigned workers = c->engine_config.worker_count;
    dp_eal_options_init(&eal, workers > 1 ? workers : 0);
    if (dp_eal_start(&eal, error, sizeof error)) {
        log_line(LOG_ERROR, "replay", "%s", error);
        return CLI_RUNTIME;
    }
    c->engine = dp_engine_create(&c->engine_config, error, sizeof error);
    if (!c->engine) {
        log_line(LOG_ERROR, "replay", "%s", error);
        return CLI_CONFIG;
    }
    struct dp_replay_options options = {.handler = on_event,
                                        .handler_context = c,
                                        .progress = show_progress,
                                        .progress_context = c,
                                        .join_after = c->join_after,
                                        .spread_wrong = c->spread_wrong,
                                        .rotate_packets = c->rotate_packets};
    c->replay = dp_replay_create(c->engine, &options, error, sizeof error);
    if (c->replay && c->formatter_config.destination_count) {
        c->formatter = rdr_formatter_create(&c->formatter_config, error, sizeof error);
        c->records = c->formatter ? dp_records_create(c->engine, &c->records_config, c->formatter, 0) : NULL;
    }
    if (!c->replay || (c->formatter_config.destination_count && !c->records)) {
        log_line(LOG_ERROR, "replay", "%s", error);
        return CLI_RUNTIME;
    }
    return CLI_OK;
}

static void clear_progress(struct replay_command *c)
{
    if (c->progress_shown)
        fputs("\r\033[K", stderr);
    c->progress_shown = false;
}

/* Ends a run: flows, link usage, summary. */
static void finish_run(struct replay_command *c)
{
    uint64_t now_ns = dp_replay_finish(c->replay);
    if (c->records)
        dp_records_link_usage(c->records, now_ns);
    struct dp_stats stats;
    dp_engine_stats(c->engine, &stats);
    clear_progress(c);
    flow_output_finish(&c->output, &stats);
    c->packets += stats.received_packets;
    c->bytes += stats.received_bytes;
}

/* Waits for the collector: in replay nothing is lost, so the queue is emptied at each file's end. */
static int drain_records(struct replay_command *c)
{
    if (!c->formatter || rdr_formatter_drain(c->formatter, DRAIN_LIMIT_MS))
        return CLI_OK;
    struct rdr_formatter_stats stats;
    rdr_formatter_stats(c->formatter, &stats);
    log_line(LOG_ERROR, "replay",
             "the collector at %s:%u did not take all records: %" PRIu64 " of %" PRIu64 " sent, %" PRIu64
             " queued, %" PRIu64 " unconfirmed, %" PRIu64 " discarded; is \"sce collect\" running there?",
             c->formatter_config.destinations[0].host, c->formatter_config.destinations[0].port, stats.sent,
             stats.given, stats.queued, stats.unconfirmed, stats.discarded);
    return CLI_RUNTIME;
}

static void reset_run(struct replay_command *c)
{
    dp_replay_reset(c->replay);
    if (c->records)
        dp_records_reset(c->records, 0);
}

static int run_files(struct replay_command *c, char **files, int count)
{
    int result = CLI_OK;
    for (int i = 0; i < count; i++) {
        char error[1024];
        c->current = files[i];
        if (c->separate || count == 1)
            c->output.file = files[i];
        if (c->separate)
            c->output.file_count = 0;
        flow_output_file(&c->output, files[i], dp_replay_packets(c->replay) + 1);
        if (dp_replay_file(c->replay, files[i], error, sizeof error)) {
            clear_progress(c);
            log_line(LOG_ERROR, "replay", "%s", error);
            result = CLI_RUNTIME;
        }
        if (c->separate || i + 1 == count) {
            finish_run(c);
            if (i + 1 < count)
                reset_run(c);
        }
    }
    int drained = drain_records(c);
    return result ? result : drained;
}

static void report_rates(const struct replay_command *c)
{
    double seconds = seconds_since(&c->started);
    if (c->quiet)
        return;
    fprintf(stderr, "%" PRIu64 " packets, %" PRIu64 " bytes in %.3f s: %.3f Mpps, %.3f Gbit/s\n", c->packets, c->bytes,
            seconds, (double)c->packets / seconds / 1e6, (double)c->bytes * 8 / seconds / 1e9);
    if (!c->records)
        return;
    struct dp_record_stats made;
    struct rdr_formatter_stats sent;
    dp_records_stats(c->records, &made);
    rdr_formatter_stats(c->formatter, &sent);
    fprintf(stderr,
            "records: %" PRIu64 " made, %" PRIu64 " sent, %" PRIu64 " discarded, %" PRIu64 " unconfirmed, %" PRIu64
            " without an IPv6 layout\n",
            made.made, sent.sent, sent.discarded, sent.unconfirmed, made.no_ipv6_layout);
}

/* Compares the output with the expected file line by line. */
static int compare(FILE *output, const char *path)
{
    FILE *expected = fopen(path, "r");
    if (!expected) {
        log_line(LOG_ERROR, "replay", "%s: %s", path, strerror(errno));
        return CLI_RUNTIME;
    }
    char *ours = NULL, *theirs = NULL;
    size_t our_size = 0, their_size = 0;
    int result = CLI_OK;
    rewind(output);
    for (unsigned line = 1; result == CLI_OK; line++) {
        ssize_t our_length = getline(&ours, &our_size, output), their_length = getline(&theirs, &their_size, expected);
        if (our_length < 0 && their_length < 0)
            break;
        if (our_length == their_length && !memcmp(ours, theirs, (size_t)our_length))
            continue;
        fprintf(stderr, "%s:%u: differs\n- %s+ %s", path, line, their_length < 0 ? "(end)\n" : theirs,
                our_length < 0 ? "(end)\n" : ours);
        result = CLI_MISMATCH;
    }
    free(ours);
    free(theirs);
    fclose(expected);
    return result;
}

static void release(struct replay_command *c)
{
    flow_output_fini(&c->output);
    dp_records_destroy(c->records);
    rdr_formatter_destroy(c->formatter);
    dp_replay_destroy(c->replay);
    dp_engine_destroy(c->engine);
    dp_eal_stop();
}

static void set_defaults(struct replay_command *c)
{
    memset(c, 0, sizeof *c);
    dp_engine_config_init(&c->engine_config);
    c->engine_config.offline = true;
    c->engine_config.flow_events = true;
    c->engine_config.link_count = 1;
    c->engine_config.flow_table.capacity_flows = 1u << 20;
    c->engine_config.flow_table.secret_seed = 1;
    rdr_formatter_config_init(&c->formatter_config);
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        c->formatter_config.queue_bytes[i] = 256u << 20; /* of a capture read faster than a collector stores */
    c->records_config = (struct dp_records_config){.transaction_rate_per_s = UINT32_MAX,
                                                   .transaction_usage = true,
                                                   .flow_events = true,
                                                   .header_ids = true,
                                                   .processor_id = 1};
}

int cmd_replay(int argc, char **argv)
{
    static struct replay_command command;
    struct replay_command *c = &command;
    set_defaults(c);
    int error = parse_arguments(c, argc, argv);
    if (error)
        return error;
    if (c->help) {
        fputs(help_text, stdout);
        return CLI_OK;
    }
    FILE *out = c->expect ? tmpfile() : stdout;
    if (!out) {
        log_line(LOG_ERROR, "replay", "temporary file: %s", strerror(errno));
        return CLI_RUNTIME;
    }
    clock_gettime(CLOCK_MONOTONIC, &c->started);
    c->engine_config.flow_events = c->formatter_config.destination_count != 0;
    error = start(c);
    if (!error) {
        flow_output_init(&c->output, c->engine, c->format, c->stream, out);
        error = run_files(c, argv + optind, argc - optind);
        report_rates(c);
        release(c);
    }
    if (c->expect) {
        int compared = error ? error : compare(out, c->expect);
        fclose(out);
        return compared;
    }
    fflush(stdout);
    return error;
}

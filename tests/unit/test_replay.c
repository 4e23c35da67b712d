/*
 * Replay of captures that the test writes itself: what is told of them must be a function of the capture, whatever came
 * before, however many workers there are.
 */
#include <pcap/pcap.h>
#include <unistd.h>

#include "dataplane/replay.h"
#include "tests/unit/engine_util.h"

TestSuite(replay, .timeout = 120);

#define TOLD_MAX 4096u

static const char request[] = "GET /path HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 2\r\n\r\nok";

/* What is told of a flow, comparable as bytes. */
struct told {
    uint64_t uid, first_ns, last_ns, packets[2], bytes[2];
    struct ft_key key;
    uint16_t flags, protocol;
    uint8_t method, close, packets_to_verdict, payload_packets_to_verdict;
};

struct run {
    unsigned count;
    struct told told[TOLD_MAX];
    uint64_t clock_ns;
    struct dp_stats stats;
};

static struct dp_engine *engine;
static struct dp_replay *replay;
static struct run *current;
static char folder[] = "/tmp/opensce_test_replay_XXXXXX";
static char error[1024];

/* ---- writing captures ---- */

struct capture {
    char path[128];
    pcap_t *pcap;
    pcap_dumper_t *out;
    uint64_t packets, bytes;
};

static struct capture capture_begin(const char *name)
{
    struct capture c = {.pcap = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, 262144, PCAP_TSTAMP_PRECISION_NANO)};
    snprintf(c.path, sizeof c.path, "%s/%s", folder, name);
    c.out = pcap_dump_open(c.pcap, c.path);
    cr_assert(c.out, "%s", c.path);
    return c;
}

static void capture_end(struct capture *c)
{
    pcap_dump_close(c->out);
    pcap_close(c->pcap);
}

static void put(struct capture *c, uint64_t ns, struct frame *f)
{
    struct pcap_pkthdr header = {.ts = {.tv_sec = (time_t)(ns / LAB_SECOND_NS), .tv_usec = (long)(ns % LAB_SECOND_NS)}};
    frame_end(f);
    header.caplen = header.len = f->size;
    pcap_dump((u_char *)c->out, &header, f->bytes);
    c->packets++;
    c->bytes += f->size;
}

static void put_tcp(struct capture *c, uint64_t ns, struct lab_flow *flow, bool from_server, unsigned flags,
                    const char *payload)
{
    struct frame f = lab_ip_frame(flow, from_server, 6);
    uint32_t size = (uint32_t)strlen(payload);
    frame_tcp(&f, from_server ? flow->server_port : flow->client_port,
              from_server ? flow->client_port : flow->server_port, flow->seq[from_server], flags, 0);
    frame_put(&f, payload, size);
    flow->seq[from_server] += size + ((flags & TCP_SYN) != 0);
    put(c, ns, &f);
}

static void put_udp(struct capture *c, uint64_t ns, const struct lab_flow *flow, bool from_server, const char *payload)
{
    struct frame f = lab_ip_frame(flow, from_server, 17);
    frame_udp(&f, from_server ? flow->server_port : flow->client_port,
              from_server ? flow->client_port : flow->server_port);
    frame_put(&f, payload, (uint32_t)strlen(payload));
    put(c, ns, &f);
}

/* A datagram in two parts; the flow's worker and the datagram's may be two. */
static void put_datagram(struct capture *c, uint64_t ns, const struct lab_flow *flow, unsigned id, bool first_last)
{
    for (unsigned i = 0; i < 2; i++) {
        bool is_first = i == first_last;
        struct frame f = lab_ip_frame(flow, false, 17);
        f.bytes[LAB_LINK_BYTES + 5] = (uint8_t)id;
        f.bytes[LAB_LINK_BYTES + 6] = is_first ? 0x20 : 0;
        f.bytes[LAB_LINK_BYTES + 7] = is_first ? 0 : 5;
        frame_put_be16(&f, flow->client_port);
        frame_put_be16(&f, flow->server_port);
        frame_put_zeros(&f, 36);
        put(c, ns + i, &f);
    }
}

/* A later fragment whose first never comes. */
static void put_orphan(struct capture *c, uint64_t ns, const struct lab_flow *flow)
{
    struct frame f = lab_ip_frame(flow, false, 17);
    f.bytes[LAB_LINK_BYTES + 7] = 50;
    frame_put_zeros(&f, 100);
    put(c, ns, &f);
}

static struct lab_flow flow_of(unsigned number)
{
    return (struct lab_flow){.client = (uint8_t)(1 + number % 50),
                             .server = 200,
                             .client_port = (uint16_t)(60000 + number),
                             .server_port = 80};
}

/* Some of everything: whole flows, a refused one, one that ages, fragments, UDP. */
static void write_traffic(struct capture *c, unsigned seed, uint64_t start_ns)
{
    uint64_t ns = start_ns;
    for (unsigned i = 0; i < 200; i++) {
        struct lab_flow flow = flow_of(seed * 31 + i);
        put_tcp(c, ns += 1000000, &flow, false, TCP_SYN, "");
        if (i % 7 == seed % 7) {
            put_tcp(c, ns += 1000000, &flow, true, TCP_RST, "");
            continue;
        }
        put_tcp(c, ns += 1000000, &flow, true, TCP_SYN | TCP_ACK, "");
        put_tcp(c, ns += 1000000, &flow, false, TCP_ACK, i % 3 ? request : "\1\2\3");
        put_tcp(c, ns += 1000000, &flow, true, TCP_ACK, i % 3 ? response : "\4\5");
        if (i % 5 == 0)
            put_orphan(c, ns += 1000000, &flow);
        if (i % 4 == 0) {
            put_tcp(c, ns += 1000000, &flow, false, TCP_FIN, "");
            put_tcp(c, ns += 1000000, &flow, true, TCP_FIN, "");
        }
        flow.server_port = 61000;
        for (unsigned n = 0; n < 4; n++) {
            flow.client_port++;
            put_udp(c, ns += 1000000, &flow, false, "\1\2\3");
            put_datagram(c, ns += 1000000, &flow, 4 * i + n, n % 2);
            flow.client_port += 1000; /* and a flow that begins with a datagram */
            put_datagram(c, ns += 1000000, &flow, 4 * i + n, n % 2);
            put_udp(c, ns += 1000000, &flow, false, "\1\2\3");
            flow.client_port -= 1000;
        }
        ns += i % 50 == 49 ? 70 * LAB_SECOND_NS : 0;
    }
}

/* ---- replaying them ---- */

static int by_uid(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

static void on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)context;
    (void)attributes;
    if (event->kind != DP_EVENT_FLOW_END)
        return;
    cr_assert_lt(current->count, TOLD_MAX);
    const struct ft_flow *flow = &event->flow;
    current->told[current->count++] =
        (struct told){.uid = flow->cold.uid,
                      .first_ns = flow->cold.first_ns,
                      .last_ns = flow->hot.last_ns,
                      .packets = {flow->hot.packets[0], flow->hot.packets[1]},
                      .bytes = {flow->hot.bytes[0], flow->hot.bytes[1]},
                      .key = flow->key,
                      .flags = flow->hot.flags,
                      .protocol = flow->cold.protocol,
                      .method = flow->cold.method,
                      .close = event->close,
                      .packets_to_verdict = (uint8_t)flow->cold.packets_to_verdict,
                      .payload_packets_to_verdict = flow->cold.payload_packets_to_verdict};
}

static void make_folder(void)
{
    cr_assert(mkdtemp(folder));
}

static void start_eal(unsigned workers)
{
    struct dp_eal_options options;
    log_level_max = LOG_ERROR;
    dp_eal_options_init(&options, workers > 1 ? workers : 0);
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), 0, "%s", error);
}

static uint64_t rotate_packets;

static void start(unsigned workers, bool spread_wrong)
{
    struct dp_engine_config config;
    dp_engine_config_init(&config);
    config.offline = true;
    config.worker_count = workers;
    config.flow_table.capacity_flows = 1 << 14;
    config.flow_table.secret_seed = 1;
    config.pending_bytes = 4 << 20;
    config.attribute_blocks = 1024;
    engine = dp_engine_create(&config, error, sizeof error);
    cr_assert(engine, "%s", error);
    struct dp_replay_options options = {
        .handler = on_event, .spread_wrong = spread_wrong, .rotate_packets = rotate_packets};
    replay = dp_replay_create(engine, &options, error, sizeof error);
    cr_assert(replay, "%s", error);
}

static void stop(void)
{
    dp_replay_destroy(replay);
    dp_engine_destroy(engine);
}

static void run_begin(struct run *run)
{
    memset(run, 0, sizeof *run);
    current = run;
}

static void run_end(struct run *run)
{
    run->clock_ns = dp_replay_finish(replay);
    dp_engine_stats(engine, &run->stats);
    qsort(run->told, run->count, sizeof run->told[0], by_uid);
    uint64_t ended = 0;
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        ended += run->stats.outcome_packets[i];
    cr_expect_eq(ended, run->stats.received_packets);
}

static void run_file(struct run *run, const struct capture *capture)
{
    run_begin(run);
    cr_assert_eq(dp_replay_file(replay, capture->path, error, sizeof error), 0, "%s", error);
    run_end(run);
    cr_expect_eq(run->stats.received_packets, capture->packets);
    cr_expect_eq(run->stats.received_bytes, capture->bytes);
}

/* All but what depends on who did it. */
static void expect_same(const struct run *a, const struct run *b, const char *what)
{
    cr_expect_eq(a->count, b->count, "%s: %u and %u flows", what, a->count, b->count);
    for (unsigned i = 0; i < a->count && i < b->count; i++)
        cr_assert(!memcmp(&a->told[i], &b->told[i], sizeof a->told[i]), "%s: flow %u", what, i);
    cr_expect_eq(a->clock_ns, b->clock_ns, "%s", what);
    struct dp_stats x = a->stats, y = b->stats;
    x.handed_off = y.handed_off = x.parked = y.parked = x.shards_taken = y.shards_taken = 0;
    const uint64_t *p = (const uint64_t *)&x, *q = (const uint64_t *)&y;
    for (size_t i = 0; i < sizeof x / sizeof *p; i++)
        cr_expect_eq(p[i], q[i], "%s: counter %zu: %lu and %lu", what, i, p[i], q[i]);
}

static void clean(const struct capture *captures, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        unlink(captures[i].path);
    rmdir(folder);
    dp_eal_stop();
}

/* ---- tests ---- */

Test(replay, captures_one_after_the_other_are_as_each_alone)
{
    static struct run alone[2], in_turn;
    struct capture captures[2];
    make_folder();
    start_eal(1);
    for (unsigned i = 0; i < 2; i++) {
        captures[i] = capture_begin(i ? "older" : "newer");
        write_traffic(&captures[i], i, LAB_START_NS - i * 86400 * LAB_SECOND_NS);
        capture_end(&captures[i]);
        start(1, false);
        run_file(&alone[i], &captures[i]);
        cr_expect_gt(alone[i].count, 300);
        stop();
    }
    cr_expect_gt(alone[0].stats.fragments.expired_datagrams, 10);
    start(1, false);
    for (unsigned round = 0; round < 4; round++) {
        run_file(&in_turn, &captures[round % 2]);
        expect_same(&in_turn, &alone[round % 2], round % 2 ? "older" : "newer");
        dp_replay_reset(replay);
    }
    stop();
    clean(captures, 2);
}

/* Times of the capture, and 200 s to be alive in after the step. */
Test(replay, a_clock_that_steps_back_ends_no_flow_early_and_lets_none_live_for_ever)
{
    static struct run run;
    struct capture capture;
    make_folder();
    capture = capture_begin("steps");
    struct lab_flow steady = flow_of(1), silent = flow_of(2), later = flow_of(3), jitter = flow_of(4);
    uint64_t ns = LAB_START_NS;
    for (unsigned i = 0; i < 30; i++) { /* speaks each two seconds, before and after the step */
        put_udp(&capture, ns, &steady, i % 2, "\1\2\3");
        put_udp(&capture, ns - LAB_SECOND_NS / 2, &jitter, i % 2, "\1\2\3");
        if (i == 14)
            put_udp(&capture, ns, &silent, false, "\1\2\3");
        ns += 2 * LAB_SECOND_NS;
        if (i == 14)
            ns -= 86400 * LAB_SECOND_NS;
    }
    put_udp(&capture, ns, &later, false, "\1\2\3");
    ns += 300 * LAB_SECOND_NS;
    put_udp(&capture, ns, &silent, false, "\1\2\3"); /* far beyond its time-out */
    put_udp(&capture, ns, &later, false, "\1\2\3");
    capture_end(&capture);
    start_eal(1);
    start(1, false);
    run_file(&run, &capture);
    cr_expect_eq(run.count, 6, "%u flows", run.count);
    cr_expect_eq(run.told[0].packets[0], 15, "steady");
    cr_expect_eq(run.told[0].packets[1], 15);
    cr_expect_eq(run.told[1].packets[0], 15, "jitter");
    for (unsigned i = 2; i < 6; i++)
        cr_expect_eq(run.told[i].packets[0], 1);
    cr_expect_eq(run.told[0].close, DP_CLOSE_AGED);
    cr_expect_eq(run.told[2].close, DP_CLOSE_AGED, "silent");
    cr_expect_eq(run.told[4].close, DP_CLOSE_END);
    cr_expect_eq(run.told[2].first_ns, LAB_START_NS + 28 * LAB_SECOND_NS, "the capture's own time");
    cr_expect_eq(run.told[2].last_ns, LAB_START_NS + 28 * LAB_SECOND_NS);
    cr_expect_eq(run.told[3].last_ns, run.told[3].first_ns, "later");
    cr_expect_eq(run.told[4].first_ns, ns);
    cr_expect_eq(run.told[4].last_ns, ns);
    cr_expect_eq(run.clock_ns, ns);
    stop();
    clean(&capture, 1);
}

Test(replay, several_files_are_one_stream_in_time)
{
    static struct run whole, parts;
    struct capture captures[3];
    make_folder();
    static const char *const names[] = {"whole", "first", "second"};
    for (unsigned i = 0; i < 3; i++)
        captures[i] = capture_begin(names[i]);
    uint64_t ns = LAB_START_NS;
    struct lab_flow flows[20];
    for (unsigned i = 0; i < 20; i++)
        flows[i] = flow_of(i);
    for (unsigned i = 0; i < 600; i++) {
        unsigned part = i < 300 ? 1 : 2;
        for (unsigned copy = 0; copy <= part; copy += part)
            put_udp(&captures[copy], ns, &flows[i % 20], i % 40 >= 20, "\1\2\3");
        ns += LAB_SECOND_NS / 5;
    }
    for (unsigned i = 0; i < 3; i++)
        capture_end(&captures[i]);
    start_eal(1);
    start(1, false);
    run_file(&whole, &captures[0]);
    cr_expect_eq(whole.count, 20);
    dp_replay_reset(replay);
    run_begin(&parts);
    for (unsigned i = 1; i < 3; i++)
        cr_assert_eq(dp_replay_file(replay, captures[i].path, error, sizeof error), 0, "%s", error);
    run_end(&parts);
    expect_same(&parts, &whole, "parts");
    stop();
    clean(captures, 3);
}

Test(replay, a_damaged_capture_is_told_of_and_what_came_before_counts)
{
    static struct run run;
    struct capture captures[2];
    make_folder();
    for (unsigned i = 0; i < 2; i++) {
        captures[i] = capture_begin(i ? "good" : "bad");
        write_traffic(&captures[i], i, LAB_START_NS + i * 1000 * LAB_SECOND_NS);
        capture_end(&captures[i]);
    }
    FILE *file = fopen(captures[0].path, "r+b");
    cr_assert(file && !fseek(file, 0, SEEK_END));
    long size = ftell(file);
    cr_assert_eq(ftruncate(fileno(file), size - 10), 0);
    fclose(file);
    start_eal(1);
    start(1, false);
    run_begin(&run);
    cr_expect_lt(dp_replay_file(replay, captures[0].path, error, sizeof error), 0);
    cr_expect(strstr(error, captures[0].path), "%s", error);
    cr_expect_lt(dp_replay_file(replay, "/nonexistent/file.pcap", error, sizeof error), 0);
    cr_expect(strstr(error, "/nonexistent/file.pcap"), "%s", error);
    cr_expect_eq(dp_replay_file(replay, captures[1].path, error, sizeof error), 0);
    run_end(&run);
    cr_expect_eq(run.stats.received_packets, captures[0].packets - 1 + captures[1].packets);
    stop();
    clean(captures, 2);
}

static void compare_workers(unsigned workers)
{
    static struct run one, many;
    struct capture captures[2];
    make_folder();
    start_eal(workers);
    for (unsigned i = 0; i < 2; i++) {
        captures[i] = capture_begin(i ? "b" : "a");
        write_traffic(&captures[i], i, LAB_START_NS - i * 1000 * LAB_SECOND_NS);
        capture_end(&captures[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        start(1, false);
        run_file(&one, &captures[i]);
        stop();
        for (unsigned way = 0; way < 4; way++) {
            bool wrong = way % 2;
            rotate_packets = way / 2; /* a shard changes hands after each packet */
            start(workers, wrong);
            for (unsigned round = 0; round < 2; round++) {
                run_file(&many, &captures[i]);
                expect_same(&many, &one, wrong ? "wrong" : "right");
                cr_expect(rotate_packets || wrong == (many.stats.handed_off >= captures[i].packets / 2),
                          "%lu handed off", many.stats.handed_off);
                cr_expect_eq(many.stats.shards_taken, rotate_packets ? captures[i].packets : 0);
                dp_replay_reset(replay);
            }
            stop();
        }
    }
    clean(captures, 2);
}

Test(replay, two_workers_tell_what_one_does)
{
    compare_workers(2);
}

Test(replay, four_workers_tell_what_one_does)
{
    compare_workers(4);
}

/* ---- what flows announce ---- */

enum { TRANSFERS = 150 };

/* A transfer: its data flow follows the answer that announced it by a microsecond; one to the next port came just before. */
static void put_transfer(struct capture *c, uint64_t ns, struct lab_flow *control, unsigned number)
{
    char text[80];
    uint16_t port = (uint16_t)(20000 + 2 * number);
    struct lab_flow early = {.client = control->client, .server = control->server, .client_port = 50000};
    struct lab_flow data = early, stranger = early;
    early.server_port = data.server_port = stranger.server_port = port;
    early.client_port = 50001;
    stranger.client = 99;
    snprintf(text, sizeof text, "229 Entering Extended Passive Mode (|||%u|)\r\n", port);
    put_tcp(c, ns, &early, false, TCP_SYN, "");
    put_tcp(c, ns + 1, control, true, TCP_ACK, text);
    put_tcp(c, ns + 2, &data, false, TCP_SYN, "");
    put_tcp(c, ns + 3, &stranger, false, TCP_SYN, "");
    put_tcp(c, ns + 4, &data, true, TCP_SYN | TCP_ACK, "");
    put_tcp(c, ns + 5, &data, true, TCP_ACK, "GET / HTTP/1.1\r\nHost: of.the.file\r\n\r\n");
}

static void write_transfers(struct capture *c)
{
    struct lab_flow controls[10];
    uint64_t ns = LAB_START_NS;
    for (unsigned i = 0; i < 10; i++) {
        controls[i] = (struct lab_flow){.client = (uint8_t)(1 + i),
                                        .server = (uint8_t)(100 + i),
                                        .client_port = (uint16_t)(40000 + i),
                                        .server_port = 21};
        put_tcp(c, ns += 1000, &controls[i], false, TCP_SYN, "");
        put_tcp(c, ns += 1000, &controls[i], true, TCP_SYN | TCP_ACK, "");
        put_tcp(c, ns += 1000, &controls[i], true, TCP_ACK, "220 FTP server ready\r\n");
        put_tcp(c, ns += 1000, &controls[i], false, TCP_ACK, "USER unit\r\n");
    }
    for (unsigned i = 0; i < TRANSFERS; i++)
        put_transfer(c, ns += 1000, &controls[i % 10], i);
}

static void expect_transfers(const struct run *run)
{
    cl_protocol ftp_data = cl_protocol_find(engine->classifier, "FTP Data");
    unsigned learned = 0;
    for (unsigned i = 0; i < run->count; i++) {
        const struct told *told = &run->told[i];
        if (told->method != CL_METHOD_learned)
            continue;
        learned++;
        cr_expect_eq(told->protocol, ftp_data);
        cr_expect_eq(told->packets_to_verdict, 1);
        cr_expect_eq(told->payload_packets_to_verdict, 0);
        cr_expect_gt(told->packets[1], 0, "neither the early one nor the stranger's");
    }
    cr_expect_eq(run->count, 10 + 3 * TRANSFERS);
    cr_expect_eq(learned, TRANSFERS);
    cr_expect_eq(run->stats.announcements, TRANSFERS);
}

Test(replay, what_a_flow_announces_is_known_to_the_next_packet_whoever_has_it)
{
    static struct run one, many;
    static const struct {
        unsigned workers;
        bool spread_wrong;
    } cases[] = {{2, false}, {2, true}, {4, false}, {4, true}};
    struct capture capture;
    make_folder();
    capture = capture_begin("transfers");
    write_transfers(&capture);
    capture_end(&capture);
    start_eal(4);
    start(1, false);
    run_file(&one, &capture);
    expect_transfers(&one);
    stop();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(cases[i].workers, cases[i].spread_wrong);
        run_file(&many, &capture);
        expect_same(&many, &one, cases[i].spread_wrong ? "wrong spread" : "several workers");
        stop();
    }
    clean(&capture, 1);
}

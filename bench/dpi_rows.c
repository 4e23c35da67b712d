/*
 * Classification: the whole pipeline on captures merged in memory and on whole lives of HTTP, TLS and QUIC flows, against the
 * same pipeline with libndpi in the place of our classification stage. Both have the same source, parser, table, TCP
 * tracking, accounting, events and end of flows; frames lie in memory and are not copied. Events are taken away between
 * bursts, not timed: that is another core's work.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <rte_cycles.h>
#include <stdlib.h>

#include "base/json.h"
#include "bench/dpi.h"

#define CAPACITY_FLOWS   (UINT64_C(1) << 19)
#define LIFE_FLOWS       16384u
#define LIFE_GOAL_KFLOWS 400.0
#define FETCH_BYTES      512u
#define UNDECIDED_BYTES  1024.0
#define DRAIN_BURSTS     64u
#define PASSES           3u /* a round: their median counts */
#define GAP_NS           UINT64_C(7200000000000)
#define PASS_FLOWS_MAX   (UINT64_C(1) << 20)

/* What one engine calls a flow by its content; "" = nothing. */
struct verdict {
    struct ft_key key;
    uint64_t first_ns; /* since the pass began */
    const char *protocol, *application;
};

struct side {
    struct bench *bench;
    struct dp_engine *engine;
    struct dp_worker *worker;
    struct bench_ndpi *ndpi; /* NULL: ours */
    uint64_t begin_ns, now_ns;
    uint64_t not_timed_cycles;
    double held_bytes, held_flows; /* of the inspection pool, summed over bursts */
    struct verdict *verdicts;      /* NULL: not noted */
    size_t verdict_count;
};

/* Of one pass. */
struct figures {
    double cycles, classify_cycles;
    uint64_t flows;
};

static struct rte_mbuf_ext_shared_info shared; /* frames belong to nobody: what frees a burst only counts */

static void keep_frame(void *address, void *context)
{
    (void)address;
    (void)context;
}

/* A NIC writes into the cache. */
static void fetch(const struct bench_dpi_frame *frame)
{
    for (uint32_t at = 0; at < frame->size_bytes && at < FETCH_BYTES; at += 64)
        rte_prefetch0(frame->bytes + at);
}

static void fill(const struct side *side, const struct bench_dpi_stream *stream, size_t at, struct dp_burst *burst)
{
    burst->count = (unsigned)RTE_MIN(stream->length - at, (size_t)DP_BURST_MAX);
    if (unlikely(rte_pktmbuf_alloc_bulk(side->bench->pool, burst->mbuf, burst->count)))
        bench_fail("mbufs were lost");
    rte_mbuf_ext_refcnt_set(&shared, (uint16_t)(burst->count + 1));
    for (unsigned i = 0; i < burst->count; i++) {
        const struct bench_dpi_frame *frame = &stream->frames[at + i];
        struct rte_mbuf *mbuf = burst->mbuf[i];
        if (frame->client_at) {
            uint8_t *bytes = rte_pktmbuf_mtod(mbuf, uint8_t *);
            memcpy(bytes, frame->bytes, frame->size_bytes);
            memcpy(bytes + frame->client_at, &frame->client_be, sizeof frame->client_be);
        } else {
            rte_pktmbuf_attach_extbuf(mbuf, frame->bytes, 0, (uint16_t)frame->size_bytes, &shared);
            fetch(frame);
        }
        mbuf->data_len = (uint16_t)frame->size_bytes;
        mbuf->pkt_len = frame->size_bytes;
        burst->now_ns[i] = side->begin_ns + frame->at_ns;
        burst->number[i] = 0;
        burst->link[i] = 0;
        burst->side[i] = DP_SIDES;
        burst->link_type[i] = frame->link_type;
    }
}

/* What our protocol or port alone says counts as nothing: libndpi is not asked to guess either. */
static void note_verdict(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)attributes;
    struct side *side = context;
    if (event->kind != DP_EVENT_FLOW_END || !side->verdicts || side->verdict_count == PASS_FLOWS_MAX)
        return;
    const struct ft_cold *cold = &event->flow.cold;
    const struct cl_engine *classifier = side->engine->classifier;
    uint16_t application = ft_flow_application(&event->flow.hot, cold);
    struct verdict *verdict = &side->verdicts[side->verdict_count++];
    *verdict = (struct verdict){.key = event->flow.key, .first_ns = cold->first_ns, "", ""};
    verdict->first_ns -= side->begin_ns;
    if (cold->method == BENCH_NDPI_METHOD) {
#ifdef SCE_BENCH_NDPI
        verdict->protocol = bench_ndpi_name(side->ndpi, cold->protocol);
        verdict->application = bench_ndpi_name(side->ndpi, cold->signature);
#endif
    } else if (!side->ndpi && cold->method != CL_METHOD_generic && cold->method != CL_METHOD_port) {
        verdict->protocol = cl_protocol_get(classifier, cold->protocol)->name;
        verdict->application = application ? cl_protocol_get(classifier, application)->name : "";
    }
}

static void take_events(void *context)
{
    struct side *side = context;
    uint64_t before = rte_rdtsc();
    while (dp_engine_drain_events(side->engine, UINT32_MAX, note_verdict, side))
        ;
    side->not_timed_cycles += rte_rdtsc() - before;
}

/* What undecided flows hold now. */
static void note_held(struct side *side)
{
    uint64_t before = rte_rdtsc();
    struct dp_pending_usage usage;
    dp_pending_usage(side->worker->pending, &usage);
    side->held_flows += usage.blocks;
    side->held_bytes +=
        (double)usage.blocks * sizeof(struct dp_pending) + (double)usage.infos * sizeof(struct dp_attributes);
    for (unsigned i = 0; i < DP_PENDING_CLASSES; i++)
        side->held_bytes += (double)usage.buffers[i] * (DP_PENDING_MIN_BYTES << i);
    side->not_timed_cycles += rte_rdtsc() - before;
}

static void classify(struct side *side, unsigned begin, unsigned end)
{
#ifdef SCE_BENCH_NDPI
    if (side->ndpi) {
        bench_ndpi_classify(side->ndpi, side->worker, &side->worker->burst, begin, end);
        return;
    }
#endif
    dp_stage_classify(side->worker, &side->worker->burst, begin, end);
}

/* Says dp_worker_receive() again, with another classification or with a clock around ours. */
static void receive(struct side *side, struct figures *figures)
{
    struct dp_worker *worker = side->worker;
    struct dp_burst *burst = &worker->burst;
    dp_stage_parse(worker, burst);
    dp_stage_route(worker, burst);
    for (unsigned begin = 0; begin < burst->count;) {
        unsigned end = dp_stage_flow(worker, burst, begin);
        uint64_t before = rte_rdtsc();
        classify(side, begin, end);
        figures->classify_cycles += (double)(rte_rdtsc() - before);
        dp_stage_account(worker, burst, begin, end);
        begin = end;
    }
    dp_stage_sink(worker, burst);
}

/* The whole stream, and the end of all its flows. */
static struct figures run_pass(struct side *side, const struct bench_dpi_stream *stream, bool is_staged)
{
    struct figures figures = {0};
    struct dp_worker *worker = side->worker;
    uint64_t flows_before = worker->stats.flows_opened;
    side->not_timed_cycles = 0;
    side->verdict_count = 0;
    uint64_t before = rte_rdtsc_precise();
    for (size_t at = 0, bursts = 0; at < stream->length; at += DP_BURST_MAX) {
        fill(side, stream, at, &worker->burst);
        side->now_ns = RTE_MAX(side->now_ns, worker->burst.now_ns[worker->burst.count - 1]);
        if (side->ndpi || is_staged)
            receive(side, &figures);
        else
            dp_worker_receive(worker, &worker->burst);
        dp_worker_housekeeping(worker, side->now_ns);
        if (++bursts % DRAIN_BURSTS == 0) {
            take_events(side);
            note_held(side);
        }
    }
    dp_worker_close_all(worker, side->now_ns);
    take_events(side);
    figures.cycles = (double)(rte_rdtsc_precise() - before - side->not_timed_cycles);
    figures.flows = worker->stats.flows_opened - flows_before;
    side->begin_ns = side->now_ns += GAP_NS;
    if (worker->stats.events_lost)
        bench_fail("%" PRIu64 " events were lost", worker->stats.events_lost);
    return figures;
}

/* ---- sides ---- */

static void side_create(struct side *side, struct bench *bench, bool is_ndpi)
{
    char error[512];
    struct dp_engine_config config;
    dp_engine_config_init(&config);
    config.worker_count = 1;
    config.flow_table.capacity_flows = CAPACITY_FLOWS;
    config.link_count = 1;
    *side = (struct side){.bench = bench, .engine = dp_engine_create(&config, error, sizeof error)};
    if (!side->engine)
        bench_fail("%s", error);
    side->worker = side->engine->workers[0];
    side->engine->event_wait = take_events;
    side->engine->event_wait_context = side;
    side->begin_ns = side->now_ns = GAP_NS;
#ifdef SCE_BENCH_NDPI
    if (is_ndpi)
        side->ndpi = bench_ndpi_create(CAPACITY_FLOWS);
#else
    (void)is_ndpi;
#endif
}

static void side_destroy(struct side *side)
{
    dp_engine_destroy(side->engine);
#ifdef SCE_BENCH_NDPI
    if (side->ndpi)
        bench_ndpi_destroy(side->ndpi);
#endif
    free(side->verdicts);
}

#ifdef SCE_BENCH_NDPI
#define SIDES 2u
#else
#define SIDES 1u
#endif

/* ---- rounds ---- */

/* Cycles a packet, of a pass and of its classification, one figure a round. */
struct samples {
    struct bench_sample pass, classify;
    uint64_t flows;
};

static void run_round(struct side *side, const struct bench_dpi_stream *stream, struct samples *samples, bool drop)
{
    double pass[PASSES], classification[PASSES];
    for (unsigned i = 0; i < PASSES; i++) {
        struct figures whole = run_pass(side, stream, false);
        struct figures staged = side->ndpi ? whole : run_pass(side, stream, true);
        pass[i] = whole.cycles / (double)stream->length;
        classification[i] = staged.classify_cycles / (double)stream->length;
        samples->flows = whole.flows;
    }
    if (drop)
        return;
    samples->pass.round[samples->pass.rounds++] = bench_median(pass, PASSES);
    samples->classify.round[samples->classify.rounds++] = bench_median(classification, PASSES);
}

static void measure(struct bench *bench, struct side sides[], const struct bench_dpi_stream *stream,
                    struct samples samples[])
{
    memset(samples, 0, SIDES * sizeof *samples);
    for (unsigned round = 0; round <= bench->effort.rounds; round++)
        for (unsigned i = 0; i < SIDES; i++)
            run_round(&sides[i], stream, &samples[i], !round);
}

/* ---- rows ---- */

static struct bench_sample scaled(const struct bench_sample *sample, double factor)
{
    struct bench_sample result = *sample;
    for (unsigned i = 0; i < result.rounds; i++)
        result.round[i] *= factor;
    return result;
}

static void report(struct bench *bench, const char *name, const char *unit, const struct bench_sample *ours,
                   const struct bench_sample *peer, double goal_ratio)
{
    struct bench_row row = {.unit = unit, .peer_name = SIDES == 2 ? "libndpi" : NULL, .ours = *ours, .peer = *peer};
    if (goal_ratio != 0 && SIDES == 2) {
        row.goal = goal_ratio < 1 ? BENCH_AT_MOST : BENCH_AT_LEAST;
        row.goal_ratio = goal_ratio;
    }
    snprintf(row.name, sizeof row.name, "%s.libndpi", name);
    if (bench_wants(bench, row.name))
        bench_report(bench, &row);
}

static void report_rates(struct bench *bench, const char *what, const struct bench_dpi_stream *stream,
                         const struct samples samples[], double goal)
{
    char name[64];
    double packets_a_flow = (double)stream->length / (double)RTE_MAX(samples[0].flows, UINT64_C(1));
    struct bench_sample ours = bench_sample_rate(&samples[0].pass, 1e-6);
    struct bench_sample peer = bench_sample_rate(&samples[SIDES - 1].pass, 1e-6);
    snprintf(name, sizeof name, "dpi.%s.packets", what);
    report(bench, name, "Mpps", &ours, &peer, goal);
    ours = bench_sample_rate(&samples[0].pass, 1e-3 / packets_a_flow);
    peer = bench_sample_rate(&samples[SIDES - 1].pass, 1e-3 / packets_a_flow);
    snprintf(name, sizeof name, "dpi.%s.flows", what);
    report(bench, name, "kflows/s", &ours, &peer, goal);
    double ns = 1e9 / bench_tsc_hz();
    ours = scaled(&samples[0].classify, ns * packets_a_flow);
    peer = scaled(&samples[SIDES - 1].classify, ns * packets_a_flow);
    snprintf(name, sizeof name, "dpi.%s.classifier", what);
    report(bench, name, "ns/flow", &ours, &peer, 0.2);
}

static bool is_wanted(const struct bench *bench, const char *what)
{
    static const char *const ends[] = {"packets", "flows",   "classifier", "payload",
                                       "differ",  "unnamed", "undecided",  "goal"};
    for (unsigned i = 0; i < RTE_DIM(ends); i++) {
        char name[96];
        snprintf(name, sizeof name, "dpi.%s.%s.%s", what, ends[i], "libndpi");
        if (bench_wants(bench, name))
            return true;
    }
    return false;
}

/* ---- verdicts ---- */

static int by_key(const void *a, const void *b)
{
    const struct verdict *x = a, *y = b;
    int order = memcmp(&x->key, &y->key, sizeof x->key);
    return order ? order : (x->first_ns > y->first_ns) - (x->first_ns < y->first_ns);
}

/* Letters and digits alone count; what is nothing equals nothing. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && !isalnum((unsigned char)*a))
            a++;
        while (*b && !isalnum((unsigned char)*b))
            b++;
        if (!*a || tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return *a == *b;
    }
}

static bool agree(const struct verdict *a, const struct verdict *b)
{
    if (!*a->protocol && !*a->application && !*b->protocol && !*b->application)
        return true;
    const char *ours[] = {a->protocol, a->application}, *peers[] = {b->protocol, b->application};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < 2; k++)
            if (*ours[i] && same_name(ours[i], peers[k]))
                return true;
    return false;
}

static void print_difference(const struct bench *bench, const struct verdict *ours, const struct verdict *peer)
{
    char text[2][INET6_ADDRSTRLEN];
    struct json json;
    for (unsigned end = 0; end < 2; end++)
        inet_ntop(ours->key.is_v6 ? AF_INET6 : AF_INET, ours->key.addr[end], text[end], sizeof text[end]);
    json_init(&json);
    json_object_begin(&json, NULL);
    json_text(&json, "event", "difference");
    json_u64(&json, "ip_protocol", ours->key.ip_proto);
    json_text(&json, "address_0", text[0]);
    json_u64(&json, "port_0", rte_be_to_cpu_16(ours->key.port_be16[0]));
    json_text(&json, "address_1", text[1]);
    json_u64(&json, "port_1", rte_be_to_cpu_16(ours->key.port_be16[1]));
    json_text(&json, "protocol", ours->protocol);
    json_text(&json, "application", ours->application);
    json_text(&json, "peer_protocol", peer->protocol);
    json_text(&json, "peer_application", peer->application);
    json_object_end(&json);
    json_line(&json, bench->out);
    json_free(&json);
}

static void compare_verdicts(struct bench *bench, struct side sides[], const struct bench_dpi_stream *stream)
{
    for (unsigned i = 0; i < 2; i++) {
        sides[i].verdicts = malloc(PASS_FLOWS_MAX * sizeof *sides[i].verdicts);
        if (!sides[i].verdicts)
            bench_fail("no memory for verdicts");
        run_pass(&sides[i], stream, false);
        qsort(sides[i].verdicts, sides[i].verdict_count, sizeof *sides[i].verdicts, by_key);
    }
    uint64_t differ = 0, unnamed[2] = {0};
    for (size_t at[2] = {0, 0}; at[0] < sides[0].verdict_count && at[1] < sides[1].verdict_count;) {
        const struct verdict *ours = &sides[0].verdicts[at[0]], *peer = &sides[1].verdicts[at[1]];
        int order = by_key(ours, peer);
        at[0] += order <= 0;
        at[1] += order >= 0;
        if (order)
            continue;
        unnamed[0] += !*ours->protocol && !*ours->application;
        unnamed[1] += !*peer->protocol && !*peer->application;
        if (agree(ours, peer))
            continue;
        differ++;
        if (bench->options.json)
            print_difference(bench, ours, peer);
    }
    struct bench_sample ours = bench_sample_constant((double)differ, 1);
    struct bench_sample all = bench_sample_constant((double)sides[0].verdict_count, 1);
    struct bench_row row = {.unit = "flows", .peer_name = "all", .ours = ours, .peer = all};
    snprintf(row.name, sizeof row.name, "dpi.captures.differ.libndpi");
    bench_report(bench, &row);
    ours = bench_sample_constant((double)unnamed[0], 1);
    all = bench_sample_constant((double)unnamed[1], 1);
    report(bench, "dpi.captures.unnamed", "flows", &ours, &all, 0);
}

/* ---- groups ---- */

static const char *captures_of(const struct bench *bench)
{
    return bench->options.captures ? bench->options.captures : SCE_BENCH_CAPTURES;
}

static void capture_rows(struct bench *bench, struct side sides[])
{
    struct bench_dpi_stream stream;
    struct samples samples[2];
    if (!is_wanted(bench, "captures"))
        return;
    if (!bench_dpi_load(&stream, captures_of(bench), bench->pool))
        bench_fail("no capture below %s: name a folder with --captures", captures_of(bench));
    measure(bench, sides, &stream, samples);
    report_rates(bench, "captures", &stream, samples, 3);
    double ns_a_payload = 1e9 / bench_tsc_hz() * (double)stream.length / (double)stream.payload_packets;
    struct bench_sample ours = scaled(&samples[0].pass, ns_a_payload);
    struct bench_sample peer = scaled(&samples[SIDES - 1].pass, ns_a_payload);
    report(bench, "dpi.captures.payload", "ns/packet", &ours, &peer, 0);
    if (bench_wants(bench, "dpi.captures.undecided.limit")) {
        struct bench_row row = {.name = "dpi.captures.undecided.limit",
                                .unit = "bytes",
                                .peer_name = "limit",
                                .ours =
                                    bench_sample_constant(sides[0].held_bytes / RTE_MAX(sides[0].held_flows, 1.0), 1),
                                .peer = bench_sample_constant(UNDECIDED_BYTES, 1),
                                .goal = BENCH_AT_MOST,
                                .goal_ratio = 1};
        bench_report(bench, &row);
    }
    if (SIDES == 2 && bench_wants(bench, "dpi.captures.differ.libndpi"))
        compare_verdicts(bench, sides, &stream);
    bench_dpi_free(&stream);
}

static void life_rows(struct bench *bench, struct side sides[])
{
    static const struct life {
        const char *what, *file;
        uint8_t ip_proto;
        uint16_t server_port;
    } lives[] = {{"life_http", "http1.pcap", IPPROTO_TCP, 80},
                 {"life_tls", "tls13.pcapng", IPPROTO_TCP, 443},
                 {"life_quic", "quic.pcap", IPPROTO_UDP, 443}};
    for (unsigned i = 0; i < RTE_DIM(lives); i++) {
        struct bench_dpi_stream stream;
        struct samples samples[2];
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", SCE_BENCH_CAPTURES, lives[i].file);
        if (!is_wanted(bench, lives[i].what) ||
            !bench_dpi_repeat(&stream, path, lives[i].ip_proto, lives[i].server_port, LIFE_FLOWS, bench->pool))
            continue;
        measure(bench, sides, &stream, samples);
        report_rates(bench, lives[i].what, &stream, samples, i ? 0 : 4);
        struct bench_row row = {.unit = "kflows/s",
                                .flows = LIFE_FLOWS,
                                .peer_name = "goal",
                                .ours = bench_sample_rate(&samples[0].pass, 1e-3 / stream.template_count),
                                .peer = bench_sample_constant(LIFE_GOAL_KFLOWS, bench->effort.rounds),
                                .goal = BENCH_AT_LEAST,
                                .goal_ratio = 1};
        snprintf(row.name, sizeof row.name, "dpi.%s.goal", lives[i].what);
        if (!i && bench_wants(bench, row.name))
            bench_report(bench, &row);
        bench_dpi_free(&stream);
    }
}

void bench_dpi_rows(struct bench *bench)
{
    static struct side sides[2];
    if (!is_wanted(bench, "captures") && !is_wanted(bench, "life_http") && !is_wanted(bench, "life_tls") &&
        !is_wanted(bench, "life_quic"))
        return;
    shared.free_cb = keep_frame;
    for (unsigned i = 0; i < SIDES; i++)
        side_create(&sides[i], bench, i == 1);
    capture_rows(bench, sides);
    life_rows(bench, sides);
    for (unsigned i = 0; i < SIDES; i++)
        side_destroy(&sides[i]);
}

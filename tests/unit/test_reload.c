/*
 * A new pack in a running engine: verdicts and names of earlier packs stay, undecided flows go on, nothing is lost, a bad pack
 * changes nothing. The last test does it under traffic from threads.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/engine_util.h"

#define HEAD(version) "pack: {name: unit, version: '" version "'}\nfamily: mail\nprotocols:\n"
#define ALPHA         "  - {id: 110, name: Alpha, signatures: [{id: 11001, prefix: 'ALPHA-PROTOCOL'}]}\n"
#define BETA                                                                                                           \
    "  - {id: 120, name: Beta, signatures: [{id: 12001, transport: udp, from: client, prefix: 'BETA',\n"               \
    "     then: {from: other, same: [{at: 0, size: 4, first_at: 4}]}}]}\n"
#define GAMMA "  - {id: 130, name: Gamma, signatures: [{id: 13001, name: g, search: 'gamma[0-9]+end'}]}\n"
#define NEWER "  - {id: 130, name: Gamma New, signatures: [{id: 13001, name: g, search: 'gamma[0-9]+end'}]}\n"
#define EARLY "  - {id: 105, name: Early, family: web, signatures: [{id: 10501, prefix: 'EARLY'}]}\n"

/* Packs by number; what is alike in all stands at other indexes in each as they are read. */
static const char *const packs[] = {
    HEAD("1") ALPHA BETA GAMMA,
    HEAD("2") EARLY ALPHA BETA GAMMA,
    HEAD("3") ALPHA BETA NEWER,
    HEAD("4") EARLY BETA,
    HEAD("5") "  - {id: 110, name: Alpha, signatures: [{id: 11001, prefix: 'ALPHA-PROTOCOL', length: '5..'}]}\n" BETA,
};
#define PACKS (sizeof packs / sizeof *packs)

static struct lab lab;
static char folder[64];

static const char *path_of(unsigned pack)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/%u.yaml", folder, pack);
    return path;
}

static void start_with(unsigned workers)
{
    static char first[96];
    snprintf(folder, sizeof folder, "/tmp/test_reload.XXXXXX");
    cr_assert(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    for (unsigned i = 0; i < PACKS; i++) {
        FILE *out = fopen(path_of(i), "we");
        cr_assert(out);
        fputs(packs[i], out);
        fclose(out);
    }
    lab_config(&lab);
    snprintf(first, sizeof first, "%s", path_of(0));
    lab.config.classification.pack_path = first;
    lab.config.worker_count = workers;
    lab.config.flow_events = false;
    lab_start(&lab);
}

static void end(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

static void reload(unsigned pack)
{
    char error[1024];
    cr_assert(dp_reload_start(lab.engine, path_of(pack), error, sizeof error), "%s", error);
    lab_age(&lab);
    dp_reload_poll(lab.engine);
    lab_age(&lab);
    cr_assert(dp_reload_poll(lab.engine));
    lab_age(&lab);
}

static struct lab_flow new_flow(uint8_t client)
{
    return (struct lab_flow){
        .client = client, .server = 200, .client_port = 60001, .server_port = 60002, .seq = {1000u * client, 77}};
}

static void expect(const struct lab_flow *flow, unsigned proto, const char *name, const char *signature, unsigned pack)
{
    struct ft_flow found;
    cr_assert(lab_find(&lab, flow, proto, &found));
    cr_expect(found.hot.flags & FT_FLOW_DECIDED, "%s is undecided", name);
    cr_expect_str_eq(lab_protocol(&lab, &found), name);
    cr_expect_str_eq(cl_signature_name(lab.engine->classifier, found.cold.signature), signature);
    cr_expect_eq(found.cold.pack, pack, "%s by pack %u, not %u", name, found.cold.pack, pack);
}

static void expect_undecided(const struct lab_flow *flow, unsigned proto)
{
    struct ft_flow found;
    cr_assert(lab_find(&lab, flow, proto, &found));
    cr_expect_not(found.hot.flags & FT_FLOW_DECIDED);
}

TestSuite(reload, .timeout = 60);

static void send_tcp(struct lab_flow *flow, const char *text)
{
    lab_tcp_text(&lab, flow, false, text);
    lab_flush(&lab);
}

static void send_udp(struct lab_flow *flow, bool from_server, const char *text)
{
    lab_udp(&lab, flow, from_server, text, (uint32_t)strlen(text));
    lab_flush(&lab);
}

Test(reload, verdicts_and_names_are_those_of_the_pack_that_judged)
{
    start_with(1);
    struct lab_flow first = new_flow(1), second = new_flow(2), third = new_flow(3), early = new_flow(4);
    send_tcp(&first, "gamma1end");
    reload(2);
    send_tcp(&second, "gamma2end");
    reload(3);
    send_tcp(&third, "gamma3end");
    send_tcp(&early, "EARLY");
    reload(0);
    expect(&first, 6, "Gamma", "g", 1);
    expect(&second, 6, "Gamma New", "g", 2);
    expect(&early, 6, "Early", "Early", 3);
    expect_undecided(&third, 6); /* pack 4 does not know it */
    send_tcp(&third, "gamma4end");
    expect(&third, 6, "Gamma", "g", 4);
    /* the same entry has the same index in all packs, so the same flow counts with it */
    struct ft_flow a, b;
    cr_assert(lab_find(&lab, &first, 6, &a) && lab_find(&lab, &third, 6, &b));
    cr_expect_eq(a.cold.protocol, b.cold.protocol);
    cr_expect_eq(cl_signature_id(lab.engine->classifier, a.cold.signature), 13001);
    /* what is gone is known by name to those who ask for such flows, but not counted as known */
    const struct cl_protocol_info *info =
        cl_protocol_get(lab.engine->classifier, cl_protocol_find(lab.engine->classifier, "Gamma New"));
    cr_expect(info->is_gone);
    cr_expect_eq(info->id, 130);
    cr_expect_eq(cl_pack_info(lab.engine->classifier)->protocols, 7); /* three, and the four Generic */
    lab_expect_partition(&lab);
    lab_expect_all_returned(&lab);
    end();
}

Test(reload, an_undecided_stream_goes_on_with_its_bytes)
{
    start_with(1);
    struct lab_flow same = new_flow(1), changed = new_flow(2), gone = new_flow(3);
    send_tcp(&same, "ALPHA-");
    reload(1);
    send_tcp(&same, "PROTOCOL");
    expect(&same, 6, "Alpha", "Alpha", 2);
    send_tcp(&changed, "ALPHA-");
    reload(4);
    send_tcp(&changed, "PROTOCOL");
    expect(&changed, 6, "Alpha", "Alpha", 3);
    send_tcp(&gone, "ALPHA-");
    reload(3);
    send_tcp(&gone, "PROTOCOL");
    expect_undecided(&gone, 6);
    reload(0);
    send_tcp(&gone, "!");
    expect(&gone, 6, "Alpha", "Alpha", 5);
    lab_expect_all_returned(&lab);
    end();
}

Test(reload, a_second_packet_is_waited_for_where_the_clause_stayed)
{
    start_with(1);
    struct lab_flow kept = new_flow(1), skipped = new_flow(2);
    send_udp(&kept, false, "BETAwxyz");
    reload(1);
    send_udp(&kept, true, "wxyz");
    expect(&kept, 17, "Beta", "Beta", 2);
    /* over two loads it is forgotten, as nothing of the first is left */
    send_udp(&skipped, false, "BETAwxyz");
    reload(2);
    reload(1);
    send_udp(&skipped, true, "wxyz");
    expect_undecided(&skipped, 17);
    lab_expect_all_returned(&lab);
    end();
}

Test(reload, a_bad_pack_changes_nothing)
{
    start_with(1);
    char error[1024];
    const struct cl_engine *before = lab.engine->classifier;
    struct lab_flow flow = new_flow(1);
    FILE *out = fopen(path_of(1), "we");
    fputs(HEAD("2") "  - {id: 140, name: Delta, signatures: [{id: 1, prefix: '('}]}\n", out);
    fclose(out);
    cr_expect_not(dp_reload_start(lab.engine, path_of(1), error, sizeof error));
    cr_expect(strstr(error, "1.yaml:4:"), "%s", error);
    cr_expect_not(dp_reload_start(lab.engine, "/no/such.pack", error, sizeof error));
    cr_expect_eq(lab.engine->classifier, before);
    cr_expect(dp_reload_poll(lab.engine));
    send_tcp(&flow, "gamma1end");
    expect(&flow, 6, "Gamma", "g", 1);
    lab_expect_all_returned(&lab);
    end();
}

Test(reload, one_at_a_time)
{
    start_with(1);
    char error[1024];
    cr_assert(dp_reload_start(lab.engine, path_of(1), error, sizeof error));
    cr_expect_not(dp_reload_poll(lab.engine)); /* the worker has not looked */
    cr_expect_not(dp_reload_start(lab.engine, path_of(2), error, sizeof error));
    cr_expect(strstr(error, "try again"), "%s", error);
    lab_age(&lab);
    cr_expect(dp_reload_start(lab.engine, path_of(2), error, sizeof error));
    dp_engine_destroy(lab.engine); /* in the middle: nothing leaks, which the sanitizer knows */
    end();
}

/* ---- under traffic ---- */

#define THREADS      2u
#define RELOADS      40u
#define OPEN_FLOWS   6u /* of each thread at a time */
#define POLL_WAIT_US 50u
#define ROUNDS_AHEAD 200u /* x OPEN_FLOWS events: a part of DP_EVENT_RING_EVENTS */
#define LABELS       255u

struct traffic {
    struct lab lab; /* a copy: its own burst, the shared engine and pool */
    unsigned number;
    uint32_t next_port;
    _Atomic uint64_t rounds, rounds_allowed; /* so that the events of what is not drained fit their ring */
};

static _Atomic bool traffic_stops;
static struct traffic traffic[THREADS];
static uint64_t counted[3];          /* Alpha, Beta, Gamma and its other name */
static unsigned variant[LABELS + 1]; /* of packs[], by label */

/* A flow that the thread's own worker owns. */
static struct lab_flow own_flow(struct traffic *t, unsigned proto)
{
    for (;;) {
        struct ft_key key;
        struct lab_flow flow = {.client = (uint8_t)(t->number + 1),
                                .server = 200,
                                .client_port = (uint16_t)(20000 + t->next_port++ % 30000),
                                .server_port = 60002,
                                .seq = {t->next_port, 9}};
        lab_key(&flow, proto, &key);
        if (t->lab.engine->owner[ft_shard_of(&key)] == t->number)
            return flow;
    }
}

static void step(struct traffic *t)
{
    lab_flush(&t->lab);
    t->lab.now_ns += 1000;
    dp_worker_housekeeping(t->lab.engine->workers[t->number], t->lab.now_ns);
}

static void *traffic_main(void *context)
{
    struct traffic *t = context;
    while (!atomic_load_explicit(&traffic_stops, memory_order_relaxed)) {
        struct lab_flow flow[OPEN_FLOWS];
        if (atomic_load_explicit(&t->rounds, memory_order_relaxed) >=
            atomic_load_explicit(&t->rounds_allowed, memory_order_acquire)) {
            step(t);
            sched_yield();
            continue;
        }
        for (unsigned i = 0; i < OPEN_FLOWS; i++)
            flow[i] = own_flow(t, i % 3 == 1 ? 17 : 6);
        for (unsigned part = 0; part < 2; part++)
            for (unsigned i = 0; i < OPEN_FLOWS; i++) {
                if (i % 3 == 1)
                    lab_udp(&t->lab, &flow[i], part, part ? "wxyz" : "BETAwxyz", part ? 4 : 8);
                else if (i % 3)
                    lab_tcp_text(&t->lab, &flow[i], false, part ? "2end" : "gamma");
                else
                    lab_tcp_text(&t->lab, &flow[i], false, part ? "PROTOCOL" : "ALPHA-");
                step(t);
            }
        for (unsigned i = 0; i < OPEN_FLOWS; i++)
            if (i % 3 != 1)
                lab_tcp(&t->lab, &flow[i], false, TCP_RST, NULL, 0);
        t->lab.now_ns += 100 * LAB_SECOND_NS; /* ends them all, as fast as ageing looks */
        for (unsigned i = 0; i < 2 * FT_SHARDS; i++)
            step(t);
        atomic_fetch_add_explicit(&t->rounds, 1, memory_order_release);
    }
    return NULL;
}

static void judge_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    const struct cl_engine *classifier = lab.engine->classifier;
    const struct ft_flow *flow = &event->flow;
    const char *name = cl_protocol_get(classifier, flow->cold.protocol)->name;
    (void)context;
    (void)attributes;
    if (event->kind != DP_EVENT_FLOW_END)
        return;
    const char *gamma = variant[flow->cold.pack] == 2 ? "Gamma New" : "Gamma";
    unsigned kind = !strcmp(name, "Alpha") ? 0 : !strcmp(name, "Beta") ? 1 : !strcmp(name, gamma) ? 2 : 3;
    cr_assert_lt(kind, 3, "a flow of pack %u (variant %u) is \"%s\"", flow->cold.pack, variant[flow->cold.pack], name);
    cr_assert_eq(cl_signature_id(classifier, flow->cold.signature), 11001 + 1000 * kind);
    counted[kind]++;
}

static void drain(void)
{
    while (dp_engine_drain_events(lab.engine, 64, judge_event, NULL))
        ;
}

/* All events are taken: each thread may make some more. */
static void drain_and_allow(void)
{
    drain();
    for (unsigned i = 0; i < THREADS; i++)
        atomic_store_explicit(&traffic[i].rounds_allowed,
                              atomic_load_explicit(&traffic[i].rounds, memory_order_acquire) + ROUNDS_AHEAD,
                              memory_order_release);
}

/* Until each thread has begun and ended whole rounds: so that no flow lives through two loads. */
static void wait_for_rounds(uint64_t count)
{
    uint64_t from[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        from[i] = atomic_load_explicit(&traffic[i].rounds, memory_order_acquire);
    for (unsigned i = 0; i < THREADS; i++)
        while (atomic_load_explicit(&traffic[i].rounds, memory_order_acquire) < from[i] + count) {
            drain_and_allow();
            usleep(POLL_WAIT_US);
        }
}

Test(reload, many_times_under_traffic)
{
    char error[1024];
    pthread_t thread[THREADS];
    start_with(THREADS);
    lab.config.flow_events = false;
    variant[1] = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        traffic[i].lab = lab;
        traffic[i].lab.worker = i;
        traffic[i].number = i;
        cr_assert_eq(pthread_create(&thread[i], NULL, traffic_main, &traffic[i]), 0);
    }
    for (unsigned i = 1; i <= RELOADS; i++) {
        variant[i + 1] = i % 3;
        cr_assert(dp_reload_start(lab.engine, path_of(i % 3), error, sizeof error), "%s", error);
        while (!dp_reload_poll(lab.engine)) {
            drain_and_allow();
            usleep(POLL_WAIT_US);
        }
        wait_for_rounds(2);
    }
    atomic_store_explicit(&traffic_stops, true, memory_order_relaxed);
    uint64_t rounds = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        rounds += traffic[i].rounds;
        lab.sent_packets += traffic[i].lab.sent_packets;
        lab.sent_bytes += traffic[i].lab.sent_bytes;
    }
    lab_close_all(&lab);
    drain();
    struct dp_stats stats = lab_stats(&lab);
    for (unsigned kind = 0; kind < 3; kind++)
        cr_expect_eq(counted[kind], rounds * OPEN_FLOWS / 3, "kind %u: %lu of %lu", kind, (unsigned long)counted[kind],
                     (unsigned long)(rounds * OPEN_FLOWS / 3));
    cr_expect_geq(rounds, RELOADS * 2 * THREADS);
    cr_expect_eq(stats.events_lost, 0);
    cr_expect_eq(cl_engine_number(lab.engine->classifier), RELOADS + 1);
    uint64_t dropped = 0;
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        dropped += dp_outcome_fate(i) == DP_FATE_DROPPED ? stats.outcome_packets[i] : 0;
    cr_expect_eq(dropped, 0);
    lab_expect_partition(&lab);
    lab_expect_all_returned(&lab);
    end();
}

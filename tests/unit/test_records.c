/*
 * From events to records: packets through an engine, its events through dp_records, what arrives at a collector on loopback
 * decoded and compared with what was sent, field by field.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/records.h"
#include "rdr/rdr.h"
#include "tests/unit/engine_util.h"

TestSuite(records, .timeout = 60);

#define RECORDS_MAX 5000u
#define ARRIVED_MAX (4u << 20)
#define GIB         (UINT64_C(1) << 30)

static struct lab lab;
static struct rdr_formatter *formatter;
static struct dp_records *records;
static int listen_fd, fd;
static uint8_t arrived[ARRIVED_MAX];
static struct rdr_record got[RECORDS_MAX];
static unsigned got_count;

static const char request[] =
    "GET /path HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: test/1\r\nReferer: /from\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 2\r\n\r\nok";

/* ---- the collector ---- */

static uint16_t collector_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int room = 4 << 20;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    cr_assert_eq(bind(listen_fd, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(listen_fd, 1), 0);
    getsockname(listen_fd, (struct sockaddr *)&address, &size);
    fd = -1;
    return ntohs(address.sin_port);
}

static struct dp_records_config config_of_all(void)
{
    return (struct dp_records_config){.transaction_rate_per_s = UINT32_MAX,
                                      .transaction_usage = true,
                                      .flow_events = true,
                                      .header_ids = true,
                                      .processor_id = 3,
                                      .epoch = 9,
                                      .link_usage_interval_ns = 300 * LAB_SECOND_NS};
}

static void start(const struct dp_records_config *config)
{
    char error[256];
    struct rdr_formatter_config formatter_config;
    lab_start(&lab);
    rdr_formatter_config_init(&formatter_config);
    formatter_config.destination_count = 1;
    snprintf(formatter_config.destinations[0].host, sizeof formatter_config.destinations[0].host, "127.0.0.1");
    formatter_config.destinations[0].port = collector_start();
    formatter = rdr_formatter_create(&formatter_config, error, sizeof error);
    cr_assert(formatter, "%s", error);
    records = dp_records_create(lab.engine, config, formatter, lab.now_ns);
    cr_assert(records);
}

static void finish(void)
{
    dp_records_destroy(records);
    lab_finish(&lab);
    rdr_formatter_destroy(formatter);
    if (fd >= 0)
        close(fd);
    close(listen_fd);
}

static void tell(void)
{
    while (dp_engine_drain_events(lab.engine, 64, dp_records_event, records))
        ;
}

/* Tells all events; what arrives is in got[]. The strings lie in arrived[] until the next call. */
static unsigned collect(void)
{
    size_t size = 0;
    tell();
    got_count = 0;
    cr_assert(rdr_formatter_drain(formatter, 10000));
    if (fd < 0)
        fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
    ssize_t taken;
    while (fd >= 0 && (taken = recv(fd, arrived + size, ARRIVED_MAX - size, MSG_DONTWAIT)) > 0)
        size += (size_t)taken;
    for (size_t at = 0; at < size;) {
        enum rdr_refusal refusal;
        unsigned field;
        cr_assert_lt(got_count, RECORDS_MAX);
        int length = rdr_decode(arrived + at, size - at, &got[got_count], &refusal, &field);
        cr_assert_gt(length, 0, "at %zu: %s", at, rdr_refusal_text(refusal));
        got_count++;
        at += (size_t)length;
    }
    return got_count;
}

static unsigned count_of(uint32_t tag)
{
    unsigned count = 0;
    for (unsigned i = 0; i < got_count; i++)
        count += got[i].schema->tag == tag;
    return count;
}

static const struct rdr_record *nth(uint32_t tag, unsigned n)
{
    for (unsigned i = 0; i < got_count; i++)
        if (got[i].schema->tag == tag && !n--)
            return &got[i];
    cr_assert_fail("no such record");
    return NULL;
}

static void expect_integer_at(unsigned line, const struct rdr_record *r, unsigned field, int64_t expected)
{
    cr_expect_eq(r->values[field].integer, expected, "line %u: %s %s is %ld, not %ld", line, r->schema->name,
                 r->schema->fields[field].name, (long)r->values[field].integer, (long)expected);
}
#define expect_integer(...) expect_integer_at(__LINE__, __VA_ARGS__)

static void expect_string_at(unsigned line, const struct rdr_record *r, unsigned field, const char *expected)
{
    const struct rdr_value *v = &r->values[field];
    cr_expect(v->string_bytes == strlen(expected) && !memcmp(v->string, expected, v->string_bytes),
              "line %u: %s %s is \"%.*s\", not \"%s\"", line, r->schema->name, r->schema->fields[field].name,
              v->string_bytes, v->string, expected);
}
#define expect_string(...) expect_string_at(__LINE__, __VA_ARGS__)

static int64_t sum_of(uint32_t tag, unsigned field)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < got_count; i++)
        if (got[i].schema->tag == tag)
            sum += got[i].values[field].integer;
    return sum;
}

/* ---- traffic ---- */

static struct lab_flow flow_of(uint8_t client, uint8_t server, uint16_t client_port, uint16_t server_port)
{
    return (struct lab_flow){
        .client = client, .server = server, .client_port = client_port, .server_port = server_port};
}

static void http(struct lab_flow *flow)
{
    lab_handshake(&lab, flow);
    lab_tcp_text(&lab, flow, false, request);
    lab_tcp_text(&lab, flow, true, response);
    lab_flush(&lab);
}

static void end(struct lab_flow *flow)
{
    lab_goodbye(&lab, flow);
    lab_flush(&lab);
    lab_close_all(&lab);
}

static const struct cl_protocol_info *protocol_of(const char *name)
{
    const struct cl_engine *c = lab.engine->classifier;
    return cl_protocol_get(c, cl_protocol_find(c, name));
}

/* ---- every field ---- */

struct expected {
    const struct lab_flow *flow;
    const char *protocol;
    uint64_t first_ns, duration_ns, report_ns;
    int subscriber_is_server, close_mode;
};

/* Fields 1..25 of the transaction family, but for SKIPPED_SESSIONS. */
static void expect_transaction(const struct rdr_record *r, const struct expected *e)
{
    char subscriber[INET6_ADDRSTRLEN];
    const struct lab_flow *flow = e->flow;
    const struct cl_protocol_info *protocol = protocol_of(e->protocol);
    bool is_v6 = flow->is_v6, is_http = !strcmp(e->protocol, "HTTP");
    unsigned host = e->subscriber_is_server ? flow->server : flow->client;
    if (is_v6)
        snprintf(subscriber, sizeof subscriber, "2001:db8::%x", host);
    else
        snprintf(subscriber, sizeof subscriber, "10.0.0.%u", host);
    expect_string(r, RDR_TUR_SUBSCRIBER_ID, subscriber);
    expect_integer(r, RDR_TUR_PACKAGE_ID, 0);
    expect_integer(r, RDR_TUR_SERVICE_ID, protocol->service_id);
    expect_integer(r, RDR_TUR_PROTOCOL_ID, protocol->id);
    expect_integer(r, RDR_TUR_SERVER_IP, is_v6 ? 0 : 0x0a000000 + flow->server);
    expect_integer(r, RDR_TUR_SERVER_PORT, flow->server_port);
    expect_string(r, RDR_TUR_ACCESS_STRING, is_http ? "www.example.com" : "");
    expect_string(r, RDR_TUR_INFO_STRING, is_http ? "/path" : "");
    expect_integer(r, RDR_TUR_CLIENT_IP, is_v6 ? 0 : 0x0a000000 + flow->client);
    expect_integer(r, RDR_TUR_CLIENT_PORT, flow->client_port);
    expect_integer(r, RDR_TUR_INITIATING_SIDE, e->subscriber_is_server);
    expect_integer(r, RDR_TUR_REPORT_TIME, (int64_t)(e->report_ns / LAB_SECOND_NS));
    expect_integer(r, RDR_TUR_MILLISEC_DURATION, (int64_t)(e->duration_ns / 1000000));
    expect_integer(r, RDR_TUR_TIME_FRAME, 0);
    expect_integer(r, RDR_TUR_SESSION_UPSTREAM_VOLUME, (int64_t)flow->bytes[e->subscriber_is_server]);
    expect_integer(r, RDR_TUR_SESSION_DOWNSTREAM_VOLUME, (int64_t)flow->bytes[!e->subscriber_is_server]);
    expect_integer(r, RDR_TUR_SUBSCRIBER_COUNTER_ID, protocol->service_id);
    expect_integer(r, RDR_TUR_GLOBAL_COUNTER_ID, protocol->service_id);
    expect_integer(r, RDR_TUR_PACKAGE_COUNTER_ID, 0);
    expect_integer(r, RDR_TUR_IP_PROTOCOL, 6);
    expect_integer(r, RDR_TUR_ZONE_ID, 0);
    expect_integer(r, RDR_TUR_FLAVOR_ID, 0);
    expect_integer(r, RDR_TUR_FLOW_CLOSE_MODE, e->close_mode);
    cr_expect_eq(r->processor_id, 3);
}

static void expect_flow_record(const struct rdr_record *r, const struct expected *e, uint64_t report_ns)
{
    char subscriber[INET6_ADDRSTRLEN];
    snprintf(subscriber, sizeof subscriber, "10.0.0.%u", e->subscriber_is_server ? e->flow->server : e->flow->client);
    expect_string(r, RDR_FLOW_SUBSCRIBER_ID, subscriber);
    expect_integer(r, RDR_FLOW_SERVICE_ID, protocol_of(e->protocol)->service_id);
    expect_integer(r, RDR_FLOW_IP_PROTOCOL, 6);
    expect_integer(r, RDR_FLOW_SERVER_IP, 0x0a000000 + e->flow->server);
    expect_integer(r, RDR_FLOW_SERVER_PORT, e->flow->server_port);
    expect_integer(r, RDR_FLOW_CLIENT_IP, 0x0a000000 + e->flow->client);
    expect_integer(r, RDR_FLOW_CLIENT_PORT, e->flow->client_port);
    expect_integer(r, RDR_FLOW_INITIATING_SIDE, e->subscriber_is_server);
    expect_integer(r, RDR_FLOW_START_TIME, (int64_t)(e->first_ns / LAB_SECOND_NS));
    expect_integer(r, RDR_FLOW_REPORT_TIME, (int64_t)(report_ns / LAB_SECOND_NS));
    expect_integer(r, RDR_FLOW_BREACH_STATE, 0);
}

Test(records, an_http_flow_is_told_by_four_records)
{
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 8080);
    http(&flow);
    uint64_t decided_ns = lab.now_ns;
    lab.now_ns += 1500000000;
    lab_goodbye(&lab, &flow);
    lab_flush(&lab);
    lab.now_ns += 3600 * LAB_SECOND_NS;
    lab_age(&lab);
    cr_expect_eq(collect(), 4);
    struct expected e = {.flow = &flow,
                         .protocol = "HTTP",
                         .first_ns = LAB_START_NS,
                         .duration_ns = 1500000000,
                         .report_ns = lab.now_ns};
    const struct rdr_record *tr = nth(RDR_TAG_TRANSACTION, 0), *tur = nth(RDR_TAG_HTTP_TRANSACTION_USAGE, 0);
    expect_transaction(tr, &e);
    expect_integer(tr, RDR_TR_SKIPPED_SESSIONS, 1);
    expect_transaction(tur, &e);
    expect_integer(tur, RDR_TUR_SKIPPED_SESSIONS, 1);
    expect_string(tur, RDR_HTTP_USER_AGENT, "test/1");
    expect_string(tur, RDR_HTTP_HTTP_URL, "/path");
    cr_expect_gt(tur->values[RDR_TUR_PROTOCOL_SIGNATURE].integer, 0);
    const struct rdr_record *begin = nth(RDR_TAG_FLOW_START, 0), *over = nth(RDR_TAG_FLOW_END, 0);
    expect_flow_record(begin, &e, decided_ns);
    expect_flow_record(over, &e, lab.now_ns);
    cr_expect_eq(begin->values[RDR_FLOW_FLOW_ID].integer, over->values[RDR_FLOW_FLOW_ID].integer);
    for (unsigned i = 0; i < got_count; i++) {
        cr_expect_eq(got[i].ids.creator, lab.config.creator);
        cr_expect_eq(got[i].ids.epoch, 9);
        cr_expect_eq(got[i].ids.uid_low, begin->values[RDR_FLOW_FLOW_ID].integer);
    }
    finish();
}

Test(records, a_subscribers_server_and_a_reset)
{
    struct dp_records_config config = config_of_all();
    config.header_ids = false;
    lab_config(&lab);
    lab.side = DP_NETWORK;
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 61000);
    lab_handshake(&lab, &flow);
    lab_tcp_text(&lab, &flow, true, "\3\3\3");
    lab_tcp(&lab, &flow, true, TCP_RST, NULL, 0);
    lab_flush(&lab);
    lab_close_all(&lab);
    cr_expect_eq(collect(), 4);
    struct expected e = {.flow = &flow,
                         .protocol = "Generic TCP",
                         .first_ns = lab.now_ns,
                         .report_ns = lab.now_ns,
                         .subscriber_is_server = 1};
    expect_transaction(nth(RDR_TAG_TRANSACTION, 0), &e);
    expect_transaction(nth(RDR_TAG_TRANSACTION_USAGE, 0), &e);
    expect_flow_record(nth(RDR_TAG_FLOW_START, 0), &e, lab.now_ns);
    expect_flow_record(nth(RDR_TAG_FLOW_END, 0), &e, lab.now_ns);
    static const struct rdr_header_ids zeros;
    for (unsigned i = 0; i < got_count; i++)
        cr_expect(!memcmp(&got[i].ids, &zeros, sizeof zeros));
    finish();
}

Test(records, ipv6_flows_are_told_where_there_is_a_layout)
{
    struct dp_records_config config = config_of_all();
    struct dp_record_stats stats;
    lab_config(&lab);
    lab.config.link_count = 4;
    lab.link = 3;
    start(&config);
    struct lab_flow web = flow_of(9, 2, 60000, 80), other = flow_of(9, 3, 60000, 61000);
    web.is_v6 = other.is_v6 = true;
    http(&web);
    lab_handshake(&lab, &other);
    lab_flush(&lab);
    lab_close_all(&lab);
    cr_expect_eq(collect(), 2);
    struct expected e = {
        .flow = &web, .protocol = "HTTP", .first_ns = lab.now_ns, .report_ns = lab.now_ns, .close_mode = 1};
    const struct rdr_record *r = nth(RDR_TAG_HTTP_TRANSACTION_USAGE, 0);
    cr_expect_eq(r->schema, rdr_schema_find_ipv6(RDR_TAG_HTTP_TRANSACTION_USAGE));
    expect_transaction(r, &e);
    expect_string(r, RDR_HTTP_IPV6_USER_AGENT, "test/1");
    expect_string(r, RDR_HTTP_IPV6_HTTP_REFERER, "/from");
    expect_integer(r, RDR_HTTP_IPV6_LINK_ID, 3);
    expect_integer(r, RDR_HTTP_IPV6_IP_TYPE, 1);
    expect_string(r, RDR_HTTP_IPV6_SERVER_IPV6, "2001:db8::2");
    expect_string(r, RDR_HTTP_IPV6_CLIENT_IPV6, "2001:db8::9");
    r = nth(RDR_TAG_TRANSACTION_USAGE, 0);
    cr_expect_eq(r->schema, rdr_schema_find_ipv6(RDR_TAG_TRANSACTION_USAGE));
    e.flow = &other;
    e.protocol = "Generic TCP";
    expect_transaction(r, &e);
    expect_integer(r, RDR_TUR_IPV6_LINK_ID, 3);
    expect_integer(r, RDR_TUR_IPV6_IP_TYPE, 1);
    expect_string(r, RDR_TUR_IPV6_SERVER_IPV6, "2001:db8::3");
    expect_string(r, RDR_TUR_IPV6_CLIENT_IPV6, "2001:db8::9");
    dp_records_stats(records, &stats);
    cr_expect_eq(stats.no_ipv6_layout, 6, "TRANSACTION, FLOW_START and FLOW_END of two flows: %lu",
                 stats.no_ipv6_layout);
    cr_expect_eq(stats.made, 2);
    cr_expect_eq(stats.unencodable, 0);
    finish();
}

/* ---- volumes ---- */

#define GOODBYE_UP_BYTES   80 /* two packets */
#define GOODBYE_DOWN_BYTES 40

static void expect_intervals_differ(uint32_t tag)
{
    bool seen[100] = {false};
    for (unsigned i = 0; i < got_count; i++) {
        if (got[i].schema->tag != tag)
            continue;
        cr_assert_lt(got[i].ids.interval, 100);
        cr_expect_not(seen[got[i].ids.interval], "%s: interval %u twice", got[i].schema->name, got[i].ids.interval);
        seen[got[i].ids.interval] = true;
    }
}

/* Counters as they would be if the interim events had been lost: all is left to the flow's end. */
Test(records, volumes_beyond_32_bits_are_split_and_add_up)
{
    static const uint64_t volumes[][2] = {{UINT32_MAX - GOODBYE_UP_BYTES, 0},
                                          {(uint64_t)UINT32_MAX - GOODBYE_UP_BYTES + 1, 1},
                                          {10 * GIB, 3},
                                          {5, 9 * GIB + 7},
                                          {UINT64_C(2) * UINT32_MAX + 100, UINT64_C(2) * UINT32_MAX + 99}};
    static const unsigned counts[] = {1, 2, 3, 3, 3};
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    start(&config);
    for (unsigned i = 0; i < sizeof volumes / sizeof *volumes; i++) {
        struct lab_flow flow = flow_of(9, 2, (uint16_t)(60000 + i), 80);
        http(&flow);
        for (uint8_t d = 0; d < 2; d++)
            ft_hot(lab.engine->flows, lab.last_slot)->bytes[d] = volumes[i][d];
        end(&flow);
        collect();
        int64_t up = (int64_t)volumes[i][0] + GOODBYE_UP_BYTES, down = (int64_t)volumes[i][1] + GOODBYE_DOWN_BYTES;
        static const uint32_t tags[] = {RDR_TAG_HTTP_TRANSACTION_USAGE, RDR_TAG_TRANSACTION};
        for (unsigned t = 0; t < 2; t++) {
            cr_expect_eq(sum_of(tags[t], RDR_TUR_SESSION_UPSTREAM_VOLUME), up, "case %u", i);
            cr_expect_eq(sum_of(tags[t], RDR_TUR_SESSION_DOWNSTREAM_VOLUME), down, "case %u", i);
            cr_expect_eq(count_of(tags[t]), counts[i], "case %u: %u records", i, count_of(tags[t]));
            expect_intervals_differ(tags[t]);
        }
        cr_expect_eq(sum_of(RDR_TAG_TRANSACTION, RDR_TR_SKIPPED_SESSIONS), 1, "case %u", i);
    }
    struct dp_record_stats stats;
    dp_records_stats(records, &stats);
    cr_expect_eq(stats.unencodable, 0);
    finish();
}

Test(records, a_flow_that_passes_32_bits_is_told_of_before_it_does)
{
    static const uint64_t steps[] = {1000000, 64 << 20, 700 << 20, GIB + 12345};
    struct dp_records_config config = config_of_all();
    config.transaction_usage_minimum_bytes = 100 * GIB; /* what is told of in between is told to the end */
    lab_config(&lab);
    start(&config);
    for (unsigned s = 0; s < sizeof steps / sizeof *steps; s++) {
        struct lab_flow flow = flow_of(9, 2, (uint16_t)(60000 + s), 80);
        uint64_t total[2] = {0};
        http(&flow);
        while (total[0] < 20 * GIB) {
            dp_account_bytes(lab.engine->workers[0], lab.last_slot, 0, steps[s], lab.now_ns);
            dp_account_bytes(lab.engine->workers[0], lab.last_slot, 1, steps[s] / 3, lab.now_ns);
            total[0] += steps[s];
            total[1] += steps[s] / 3;
        }
        struct ft_flow before;
        cr_assert(lab_find(&lab, &flow, 6, &before));
        tell();
        unsigned interims = before.cold.interval;
        end(&flow);
        collect();
        unsigned count = count_of(RDR_TAG_HTTP_TRANSACTION_USAGE);
        cr_expect_eq(sum_of(RDR_TAG_HTTP_TRANSACTION_USAGE, RDR_TUR_SESSION_UPSTREAM_VOLUME),
                     (int64_t)(total[0] + flow.bytes[0]));
        cr_expect_eq(sum_of(RDR_TAG_HTTP_TRANSACTION_USAGE, RDR_TUR_SESSION_DOWNSTREAM_VOLUME),
                     (int64_t)(total[1] + flow.bytes[1]));
        /* as few as 32 bits allow, but for the distance between two looks and one step */
        uint64_t least = UINT32_MAX - (256u << 20) - steps[s];
        cr_expect_leq(count, total[0] / least + 2, "step %lu: %u records", (unsigned long)steps[s], count);
        cr_expect_eq(count, interims + 1, "step %lu: %u records, %u interims", (unsigned long)steps[s], count,
                     interims);
        expect_intervals_differ(RDR_TAG_HTTP_TRANSACTION_USAGE);
        for (unsigned i = 0; i < count; i++) {
            const struct rdr_record *r = nth(RDR_TAG_HTTP_TRANSACTION_USAGE, i);
            expect_string(r, RDR_TUR_ACCESS_STRING, "www.example.com");
            if (i + 1 < count)
                cr_expect_geq(r->values[RDR_TUR_SESSION_UPSTREAM_VOLUME].integer, (int64_t)least);
        }
        /* TRANSACTION says the whole flow at its end, as one. */
        cr_expect_eq(sum_of(RDR_TAG_TRANSACTION, RDR_TUR_SESSION_UPSTREAM_VOLUME), (int64_t)(total[0] + flow.bytes[0]));
        cr_expect_eq(sum_of(RDR_TAG_TRANSACTION, RDR_TR_SKIPPED_SESSIONS), 1);
        cr_expect_eq(count_of(RDR_TAG_FLOW_END), 1);
    }
    finish();
}

Test(records, one_step_beyond_all_limits_is_told_by_as_many_records)
{
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 80);
    http(&flow);
    ft_slot slot = lab.last_slot;
    dp_account_bytes(lab.engine->workers[0], slot, 0, 13 * GIB, lab.now_ns);
    dp_account_bytes(lab.engine->workers[0], slot, 0, GIB, lab.now_ns);
    end(&flow);
    collect();
    cr_expect_eq(sum_of(RDR_TAG_HTTP_TRANSACTION_USAGE, RDR_TUR_SESSION_UPSTREAM_VOLUME),
                 (int64_t)(14 * GIB + flow.bytes[0]));
    expect_intervals_differ(RDR_TAG_HTTP_TRANSACTION_USAGE);
    finish();
}

/* The packets themselves, not only dp_account_bytes(). */
Test(records, a_packet_that_would_pass_32_bits_makes_an_interim_record)
{
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 80);
    http(&flow);
    ft_hot(lab.engine->flows, lab.last_slot)->bytes[0] = 4 * GIB - 50;
    lab_tcp_text(&lab, &flow, false, "");
    lab_flush(&lab);
    collect();
    cr_expect_eq(count_of(RDR_TAG_HTTP_TRANSACTION_USAGE), 0);
    lab_tcp_text(&lab, &flow, false, "");
    lab_flush(&lab);
    collect();
    cr_assert_eq(count_of(RDR_TAG_HTTP_TRANSACTION_USAGE), 1);
    const struct rdr_record *r = nth(RDR_TAG_HTTP_TRANSACTION_USAGE, 0);
    expect_integer(r, RDR_TUR_SESSION_UPSTREAM_VOLUME, (int64_t)(4 * GIB - 10));
    expect_integer(r, RDR_TUR_FLOW_CLOSE_MODE, 3);
    finish();
}

/* There is no name to tell it by: it is told of when it is judged, or at its end. */
Test(records, a_flow_that_is_not_judged_makes_no_interim_record)
{
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 61000);
    lab_handshake(&lab, &flow);
    lab_flush(&lab);
    for (unsigned i = 0; i < 10; i++)
        dp_account_bytes(lab.engine->workers[0], lab.last_slot, 0, GIB, lab.now_ns);
    cr_expect_eq(collect(), 0);
    end(&flow);
    collect();
    cr_expect_eq(count_of(RDR_TAG_TRANSACTION_USAGE), 3);
    cr_expect_eq(sum_of(RDR_TAG_TRANSACTION_USAGE, RDR_TUR_SESSION_UPSTREAM_VOLUME),
                 (int64_t)(10 * GIB + flow.bytes[0]));
    finish();
}

/* An interim event that is lost leaves its bytes to the next one. */
Test(records, lost_interim_events_cost_no_byte)
{
    struct dp_records_config config = config_of_all();
    lab_config(&lab);
    lab.config.flow_table.capacity_flows = 1 << 16;
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 80);
    http(&flow);
    ft_slot slot = lab.last_slot;
    for (unsigned i = 0; i < DP_EVENT_RING_EVENTS; i++) { /* flows that start fill the ring */
        struct lab_flow other = flow_of((uint8_t)(10 + i % 200), (uint8_t)(210 + i / 200), 0, 0);
        struct frame f = lab_ip_frame(&other, false, 200);
        frame_put_zeros(&f, 20);
        lab_add(&lab, &f);
    }
    lab_flush(&lab);
    for (unsigned i = 0; i < 60; i++)
        dp_account_bytes(lab.engine->workers[0], slot, 0, 100 << 20, lab.now_ns);
    cr_expect_gt(lab_stats(&lab).events_lost, 1);
    lab.event_count = 0;
    lab_take_events(&lab);
    for (unsigned i = 0; i < 30; i++)
        dp_account_bytes(lab.engine->workers[0], slot, 0, 100 << 20, lab.now_ns);
    lab_goodbye(&lab, &flow);
    lab_tcp(&lab, &flow, false, TCP_SYN, NULL, 0); /* ends it */
    lab_flush(&lab);
    collect();
    cr_expect_eq(sum_of(RDR_TAG_HTTP_TRANSACTION_USAGE, RDR_TUR_SESSION_UPSTREAM_VOLUME),
                 (int64_t)((UINT64_C(9000) << 20) + flow.bytes[0] - 40));
    expect_intervals_differ(RDR_TAG_HTTP_TRANSACTION_USAGE);
    finish();
}

Test(records, flows_below_the_minimum_have_no_usage_record)
{
    struct dp_records_config config = config_of_all();
    struct dp_record_stats stats;
    lab_config(&lab);
    struct lab_flow small = flow_of(9, 2, 60000, 80), equal = flow_of(9, 3, 60000, 80);
    config.transaction_rate_per_s = 0;
    config.flow_events = false;
    config.transaction_usage_minimum_bytes = 1000;
    start(&config);
    http(&small);
    http(&equal);
    ft_hot(lab.engine->flows, lab.last_slot)->bytes[0] = 1000 - equal.bytes[1];
    lab_close_all(&lab);
    cr_expect_eq(collect(), 1);
    expect_integer(nth(RDR_TAG_HTTP_TRANSACTION_USAGE, 0), RDR_TUR_SERVER_IP, 0x0a000003);
    dp_records_stats(records, &stats);
    cr_expect_eq(stats.below_minimum, 1);
    cr_expect_eq(stats.transactions_skipped, 0);
    finish();
}

/* ---- sampling ---- */

static void end_flows(unsigned count, bool is_v6)
{
    for (unsigned i = 0; i < count; i++) {
        struct lab_flow flow = flow_of((uint8_t)(1 + i % 200), (uint8_t)(201 + i / 200 % 50), 0, 0);
        flow.is_v6 = is_v6;
        struct frame f = lab_ip_frame(&flow, false, 200);
        frame_put_zeros(&f, 20);
        lab_add(&lab, &f);
    }
    lab_flush(&lab);
    lab_close_all(&lab);
    tell();
}

Test(records, samples_stand_for_all_flows)
{
    struct dp_records_config config = config_of_all();
    struct dp_record_stats stats;
    lab_config(&lab);
    lab.config.flow_events = false;
    config.transaction_rate_per_s = 50;
    config.transaction_usage = config.flow_events = false;
    start(&config);
    end_flows(1000, false); /* a second's worth at once, no more */
    collect();
    cr_expect_eq(got_count, 50);
    for (unsigned i = 0; i < got_count; i++)
        expect_integer(&got[i], RDR_TR_SKIPPED_SESSIONS, 1);
    lab.now_ns += LAB_SECOND_NS / 10;
    end_flows(100, true); /* no layout: they take no sample's place */
    end_flows(200, false);
    collect();
    cr_expect_eq(got_count, 5);
    cr_expect_eq(sum_of(RDR_TAG_TRANSACTION, RDR_TR_SKIPPED_SESSIONS), 950 + 5);
    lab.now_ns += LAB_SECOND_NS;
    end_flows(1, false);
    collect();
    cr_expect_eq(sum_of(RDR_TAG_TRANSACTION, RDR_TR_SKIPPED_SESSIONS), 195 + 1);
    dp_records_stats(records, &stats);
    cr_expect_eq(stats.transactions_skipped, 950 + 195);
    cr_expect_eq(stats.no_ipv6_layout, 100);
    finish();
}

/* ---- link usage ---- */

/* The LINK_USAGE record of a service in what arrived, n-th; NULL when there is none. */
static const struct rdr_record *usage_of(unsigned link, unsigned service, unsigned n)
{
    for (unsigned i = 0; i < got_count; i++)
        if (got[i].schema->tag == RDR_TAG_LINK_USAGE && got[i].values[RDR_LUR_LINK_ID].integer == link &&
            got[i].values[RDR_LUR_SERVICE_USAGE_COUNTER_ID].integer == service && !n--)
            return &got[i];
    return NULL;
}

static void expect_zero_usage(const struct rdr_record *r)
{
    for (unsigned f = RDR_LUR_UPSTREAM_VOLUME; f <= RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS; f++)
        expect_integer(r, f, 0);
}

static void next_interval(void)
{
    lab.now_ns += 300 * LAB_SECOND_NS;
    tell();
    dp_records_tick(records, lab.now_ns);
    collect();
}

Test(records, kilobytes_carry_their_remainder_and_runs_are_framed_by_zeros)
{
    struct dp_records_config config = config_of_all();
    config.transaction_rate_per_s = 0;
    config.transaction_usage = config.flow_events = false;
    lab_config(&lab);
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        lab.config.flow_table.timeout_ns[i] = 100000 * LAB_SECOND_NS;
    start(&config);
    unsigned service = protocol_of("HTTP")->service_id;
    uint64_t start_ns = lab.now_ns;
    dp_records_tick(records, start_ns + 299 * LAB_SECOND_NS);
    cr_expect_eq(collect(), 0);
    next_interval();
    cr_expect_eq(got_count, 0, "nothing was used, nothing is told");

    struct lab_flow flow = flow_of(9, 2, 60000, 80);
    http(&flow);
    ft_slot slot = lab.last_slot;
    next_interval();
    cr_expect_eq(got_count, 2);
    const struct rdr_record *zero = usage_of(0, service, 0), *first = usage_of(0, service, 1);
    cr_assert(zero && first);
    expect_zero_usage(zero);
    expect_integer(zero, RDR_LUR_END_TIME, (int64_t)(start_ns / LAB_SECOND_NS + 300));
    expect_integer(zero, RDR_LUR_DURATION, 300);
    expect_integer(first, RDR_LUR_END_TIME, (int64_t)(start_ns / LAB_SECOND_NS + 600));
    expect_integer(first, RDR_LUR_CONFIGURED_DURATION, 300);
    expect_integer(first, RDR_LUR_DURATION, 300);
    expect_integer(first, RDR_LUR_SESSIONS, 1);
    expect_integer(first, RDR_LUR_CONCURRENT_SESSIONS, 1);
    expect_integer(first, RDR_LUR_SECONDS, 0);
    expect_integer(first, RDR_LUR_ACTIVE_SUBSCRIBERS, 1);
    expect_integer(first, RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS, 1);

    uint64_t told[2] = {0}, sent[2] = {flow.bytes[0], flow.bytes[1]};
    static const uint32_t steps[][2] = {{1, 1023}, {1023, 1}, {1024, 0}, {100000, 500}, {0, 3}, {700, 1700}};
    for (unsigned d = 0; d < 2; d++)
        told[d] += (uint64_t)first->values[RDR_LUR_UPSTREAM_VOLUME + d].integer;
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (uint8_t d = 0; d < 2; d++) {
            dp_account_bytes(lab.engine->workers[0], slot, d, steps[i][d], lab.now_ns);
            sent[d] += steps[i][d];
        }
        next_interval();
        cr_assert_eq(got_count, 1, "step %u", i);
        for (unsigned d = 0; d < 2; d++) {
            told[d] += (uint64_t)got[0].values[RDR_LUR_UPSTREAM_VOLUME + d].integer;
            cr_expect_eq(told[d], sent[d] / 1024, "step %u: %lu KB of %lu bytes", i, told[d], sent[d]);
        }
        expect_integer(&got[0], RDR_LUR_SESSIONS, 0);
        expect_integer(&got[0], RDR_LUR_CONCURRENT_SESSIONS, 1);
    }
    end(&flow);
    uint64_t duration_s = (lab.now_ns - start_ns - 300 * LAB_SECOND_NS) / LAB_SECOND_NS;
    next_interval();
    cr_assert_eq(got_count, 1);
    expect_integer(&got[0], RDR_LUR_SECONDS, (int64_t)duration_s);
    expect_integer(&got[0], RDR_LUR_CONCURRENT_SESSIONS, 0);
    next_interval();
    cr_assert_eq(got_count, 1, "one zero record ends the run");
    expect_zero_usage(&got[0]);
    next_interval();
    cr_expect_eq(got_count, 0);
    finish();
}

Test(records, more_kilobytes_than_a_record_holds_go_into_the_next)
{
    struct dp_records_config config = config_of_all();
    config.transaction_rate_per_s = 0;
    config.transaction_usage = config.flow_events = false;
    lab_config(&lab);
    start(&config);
    struct lab_flow flow = flow_of(9, 2, 60000, 80);
    http(&flow);
    uint64_t kb = UINT64_C(2) * UINT32_MAX + 77, told = 0;
    dp_account_bytes(lab.engine->workers[0], lab.last_slot, 0, kb * 1024, lab.now_ns);
    end(&flow);
    for (unsigned i = 0; i < 3; i++) {
        next_interval();
        cr_assert_eq(got_count, 1);
        expect_integer(&got[0], RDR_LUR_SESSIONS, i == 0);
        told += (uint64_t)got[0].values[RDR_LUR_UPSTREAM_VOLUME].integer;
    }
    cr_expect_eq(told, kb + flow.bytes[0] / 1024);
    next_interval();
    cr_assert_eq(got_count, 1);
    expect_zero_usage(&got[0]);
    finish();
}

Test(records, active_subscribers_are_counted_once_each)
{
    struct dp_records_config config = config_of_all();
    config.transaction_rate_per_s = 0;
    config.transaction_usage = config.flow_events = false;
    lab_config(&lab);
    lab.config.link_count = 2;
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        lab.config.flow_table.timeout_ns[i] = 100000 * LAB_SECOND_NS;
    start(&config);
    unsigned web = protocol_of("HTTP")->service_id, generic = protocol_of("Generic TCP")->service_id;
    cr_assert_neq(web, generic);
    struct lab_flow flows[6];
    for (unsigned i = 0; i < 6; i++) { /* subscribers 1, 1, 2, 2 over IPv4; ::3, ::3 over IPv6 */
        flows[i] = flow_of((uint8_t)(1 + i / 2), (uint8_t)(100 + i), 60000, 80);
        flows[i].is_v6 = i >= 4;
        http(&flows[i]);
    }
    lab.link = 1; /* the same subscriber on another link, and its server side */
    lab.side = DP_NETWORK;
    struct lab_flow served = flow_of(200, 1, 60000, 80);
    http(&served);
    lab.link = 0;
    lab.side = DP_SUBSCRIBER;
    struct lab_flow other = flow_of(1, 100, 60000, 61000);
    lab_handshake(&lab, &other);
    for (unsigned i = 0; i < 9; i++)
        lab_tcp_text(&lab, &other, false, "\3\3\3\3\3\3\3\3\3\3\3\3\3\3\3\3");
    lab_flush(&lab);
    next_interval();
    const struct rdr_record *r = usage_of(0, web, 0);
    cr_assert(r);
    expect_integer(r, RDR_LUR_ACTIVE_SUBSCRIBERS, 3);
    expect_integer(r, RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS, 3);
    r = usage_of(0, generic, 0);
    cr_assert(r);
    expect_integer(r, RDR_LUR_ACTIVE_SUBSCRIBERS, 1);
    expect_integer(r, RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS, 3);
    r = usage_of(1, web, 0);
    cr_assert(r);
    expect_integer(r, RDR_LUR_ACTIVE_SUBSCRIBERS, 1);
    /* Who was silent in the interval is not active, though the flow lives. */
    lab.now_ns += LAB_SECOND_NS;
    lab_tcp_text(&lab, &flows[2], false, "x");
    lab_flush(&lab);
    next_interval();
    r = usage_of(0, web, 0);
    cr_assert(r);
    expect_integer(r, RDR_LUR_ACTIVE_SUBSCRIBERS, 1);
    expect_integer(r, RDR_LUR_CONCURRENT_SESSIONS, 6);
    /* Who ended in the interval was active in it. */
    lab.now_ns += LAB_SECOND_NS;
    lab_goodbye(&lab, &flows[0]);
    lab_tcp(&lab, &flows[0], false, TCP_SYN, NULL, 0);
    lab_flush(&lab);
    next_interval();
    r = usage_of(0, web, 0);
    cr_assert(r);
    expect_integer(r, RDR_LUR_ACTIVE_SUBSCRIBERS, 1);
    finish();
}

Test(records, the_zero_that_ends_a_run_is_zero_though_others_are_active)
{
    struct dp_records_config config = config_of_all();
    config.transaction_rate_per_s = 0;
    config.transaction_usage = config.flow_events = false;
    lab_config(&lab);
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        lab.config.flow_table.timeout_ns[i] = 100000 * LAB_SECOND_NS;
    start(&config);
    unsigned web = protocol_of("HTTP")->service_id, generic = protocol_of("Generic TCP")->service_id;
    struct lab_flow flow = flow_of(1, 2, 60000, 80), other = flow_of(3, 4, 60000, 61000);
    http(&flow);
    lab_tcp(&lab, &flow, false, TCP_RST, NULL, 0);
    lab_tcp(&lab, &flow, false, TCP_SYN, NULL, 0); /* ends the first; the second is not judged yet */
    lab_handshake(&lab, &other);
    for (unsigned i = 0; i < 9; i++)
        lab_tcp_text(&lab, &other, false, "\3\3\3\3\3\3\3\3\3\3\3\3\3\3\3\3");
    lab_flush(&lab);
    next_interval();
    cr_assert(usage_of(0, web, 0));
    expect_integer(usage_of(0, web, 0), RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS, 2);
    lab_tcp_text(&lab, &other, false, "x");
    lab_flush(&lab);
    next_interval();
    cr_assert(usage_of(0, web, 0) && usage_of(0, generic, 0));
    expect_zero_usage(usage_of(0, web, 0));
    expect_integer(usage_of(0, generic, 0), RDR_LUR_TOTAL_ACTIVE_SUBSCRIBERS, 1);
    finish();
}

/* ---- over again ---- */

Test(records, after_a_reset_usage_begins_anew_with_the_first_flow)
{
    struct dp_records_config config = config_of_all();
    config.link_usage_interval_ns = 0;
    lab_config(&lab);
    start(&config);
    dp_records_reset(records, 0);
    unsigned service = protocol_of("HTTP")->service_id;
    for (unsigned round = 0; round < 2; round++) {
        struct lab_flow flow = flow_of(9, 2, 60000, 80);
        http(&flow);
        dp_account_bytes(lab.engine->workers[0], lab.last_slot, 0, 5000 - flow.bytes[0], lab.now_ns);
        lab.now_ns += 7 * LAB_SECOND_NS;
        end(&flow);
        tell();
        dp_records_link_usage(records, lab.now_ns);
        collect();
        const struct rdr_record *r = usage_of(0, service, 0);
        cr_assert(r, "round %u", round);
        cr_expect_null(usage_of(0, service, 1), "round %u", round);
        expect_integer(r, RDR_LUR_DURATION, 7);
        expect_integer(r, RDR_LUR_SESSIONS, 1);
        expect_integer(r, RDR_LUR_UPSTREAM_VOLUME, (5000 + GOODBYE_UP_BYTES) / 1024);
        cr_expect_eq(nth(RDR_TAG_FLOW_END, 0)->ids.epoch, 10 + round);
        memset(lab.engine->workers[0]->usage, 0, sizeof lab.engine->workers[0]->usage);
        dp_records_reset(records, 0);
        lab.now_ns -= 3600 * LAB_SECOND_NS; /* the next capture is older */
    }
    finish();
}

/*
 * The formatter against collectors that live in the test itself: sockets on loopback that the test reads when it wants to.
 * What arrived is the proof; the formatter's counters are compared with it.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "rdr/formatter.h"
#include "rdr/rdr.h"

#define SECOND_NS 1000000000ull

struct collector {
    int listen_fd, fd;
    uint16_t port;
    uint8_t *bytes; /* of its last connection */
    size_t size_bytes;
};

#define COLLECTORS_MAX      4u
#define COLLECTOR_MAX_BYTES (32u << 20)
static uint8_t arena[COLLECTORS_MAX][COLLECTOR_MAX_BYTES];
static unsigned collectors_made;

static void setup(void)
{
    log_level_max = LOG_ERROR;
}
TestSuite(formatter, .init = setup, .timeout = 60);

/* Bound, and refusing connections until collector_listen(). */
static void collector_init(struct collector *c, int family)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
    memset(c, 0, sizeof *c);
    c->bytes = arena[collectors_made++ % COLLECTORS_MAX];
    c->fd = -1;
    c->listen_fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->listen_fd < 0 || bind(c->listen_fd, address, size))
        cr_skip("no loopback of this family");
    getsockname(c->listen_fd, address, &size);
    c->port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
}

static void collector_listen(struct collector *c)
{
    cr_assert_eq(listen(c->listen_fd, 8), 0);
}

/* The connection that has come, if one has. */
static bool collector_accept(struct collector *c)
{
    c->fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK);
    c->size_bytes = 0;
    return c->fd >= 0;
}

static void collector_read(struct collector *c)
{
    for (;;) {
        cr_assert_leq(c->size_bytes + 65536, COLLECTOR_MAX_BYTES);
        ssize_t taken = recv(c->fd, c->bytes + c->size_bytes, 65536, MSG_DONTWAIT);
        if (taken <= 0)
            return;
        c->size_bytes += (size_t)taken;
    }
}

/* A record that carries its number, of about `size` bytes. */
static int make_record(uint32_t number, unsigned size, uint8_t *record)
{
    static char text[10000];
    const struct rdr_schema *schema = rdr_schema_find(RDR_TAG_FLOW_START);
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    memset(text, 'x', sizeof text);
    values[RDR_FLOW_SUBSCRIBER_ID] = (struct rdr_value){.string = text, .string_bytes = (uint16_t)size};
    values[RDR_FLOW_FLOW_ID].integer = number;
    return rdr_encode(schema, 1, NULL, values, record, RDR_RECORD_MAX_BYTES, NULL);
}

static int put(struct rdr_formatter *f, uint8_t category, uint32_t number, unsigned size)
{
    static uint8_t record[RDR_RECORD_MAX_BYTES];
    return rdr_formatter_put(f, category, record, (uint32_t)make_record(number, size, record));
}

/* Numbers of the whole records that arrived, in order; the rest must be the beginning of one. */
static unsigned arrived(const struct collector *c, uint32_t *numbers, unsigned length)
{
    unsigned n = 0, field;
    struct rdr_record record;
    enum rdr_refusal refusal;
    for (size_t at = 0; at < c->size_bytes && n < length;) {
        int size = rdr_decode(c->bytes + at, c->size_bytes - at, &record, &refusal, &field);
        cr_assert_geq(size, 0, "at %zu: %s", at, rdr_refusal_text(refusal));
        if (!size)
            break;
        numbers[n++] = (uint32_t)record.values[RDR_FLOW_FLOW_ID].integer;
        at += (size_t)size;
    }
    return n;
}

static struct rdr_formatter *make_formatter(enum rdr_forwarding_mode mode, struct collector *collectors, unsigned count)
{
    struct rdr_formatter_config config;
    char error[200];
    rdr_formatter_config_init(&config);
    config.forwarding_mode = mode;
    config.destination_count = count;
    for (unsigned i = 0; i < count; i++) {
        snprintf(config.destinations[i].host, sizeof config.destinations[i].host, "127.0.0.1");
        config.destinations[i].port = collectors[i].port;
        memset(config.destinations[i].priority, (int)(100 - i), RDR_CATEGORIES);
    }
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        config.queue_bytes[i] = 1 << 20;
    struct rdr_formatter *f = rdr_formatter_create(&config, error, sizeof error);
    cr_assert(f, "%s", error);
    return f;
}

static void check_partition(const struct rdr_formatter *f, uint64_t given)
{
    struct rdr_formatter_stats s;
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.given, given);
    cr_assert_eq(s.queued + s.sent + s.discarded + s.unconfirmed, given,
                 "%lu queued %lu sent %lu discarded %lu unconfirmed", s.queued, s.sent, s.discarded, s.unconfirmed);
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        cr_assert_eq(s.category[i].queued + s.category[i].sent + s.category[i].discarded + s.category[i].unconfirmed,
                     s.category[i].given);
}

static void poll_a_few_times(struct rdr_formatter *f, uint64_t now_ns)
{
    for (int i = 0; i < 5; i++)
        rdr_formatter_poll(f, now_ns, 2);
}

/* Lets both sides work until `wanted` records are at the collector, or a long time has passed. */
static void run_until(struct rdr_formatter *f, struct collector *c, uint64_t now_ns, unsigned wanted)
{
    static uint32_t numbers[100000];
    for (int i = 0; i < 20000; i++) {
        rdr_formatter_poll(f, now_ns, 1);
        if (c->fd < 0 && !collector_accept(c))
            continue;
        collector_read(c);
        if (i % 16 == 15 && arrived(c, numbers, 100000) >= wanted)
            break;
    }
    rdr_formatter_poll(f, now_ns, 1);
}

static void expect_sequence(const struct collector *c, uint32_t first, unsigned count)
{
    static uint32_t numbers[100000];
    unsigned n = arrived(c, numbers, 100000);
    cr_assert_eq(n, count, "%u records arrived, %u expected", n, count);
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(numbers[i], first + i);
}

Test(formatter, absent_collector_queues_and_gets_all_when_it_comes)
{
    struct collector c;
    struct rdr_formatter_stats s;
    collector_init(&c, AF_INET);
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
    for (uint32_t i = 0; i < 100; i++)
        cr_assert_eq(put(f, 1, i, 50), 0);
    poll_a_few_times(f, 0);
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.queued, 100);
    cr_assert_not(s.destination[0].connected);
    cr_assert_not(rdr_formatter_drain(f, 20), "nothing can be drained to nobody");
    check_partition(f, 100);
    collector_listen(&c);
    run_until(f, &c, 100 * SECOND_NS, 100);
    expect_sequence(&c, 0, 100);
    cr_assert(rdr_formatter_drain(f, 5000));
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, 100);
    cr_assert_eq(s.sent_bytes, c.size_bytes);
    cr_assert_eq(s.destination[0].sent, 100);
    cr_assert(s.destination[0].connected);
    check_partition(f, 100);
    rdr_formatter_destroy(f);
}

/* Tries at 0, 1, 3, 7, 15, 31, 61, 91 s: the wait doubles from 1 s to 30 s. */
Test(formatter, tries_again_with_a_wait_that_doubles_to_30_seconds)
{
    static const unsigned next_try_s[] = {1, 3, 7, 15, 31, 61, 91};
    for (unsigned round = 0; round < 7; round++) {
        struct collector c;
        collector_init(&c, AF_INET);
        struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
        uint64_t now_ns = 0, listen_ns = (next_try_s[round] - 1) * SECOND_NS + SECOND_NS / 2;
        for (; now_ns < listen_ns; now_ns += SECOND_NS / 2)
            rdr_formatter_poll(f, now_ns, 0);
        collector_listen(&c);
        poll_a_few_times(f, next_try_s[round] * SECOND_NS - 1);
        cr_assert_not(collector_accept(&c), "round %u: too early", round);
        poll_a_few_times(f, next_try_s[round] * SECOND_NS);
        cr_assert(collector_accept(&c), "round %u: no try at %u s", round, next_try_s[round]);
        rdr_formatter_destroy(f);
        close(c.listen_fd);
    }
}

/* The collector's window is closed and its receive buffer holds what its TCP acknowledged: FIONREAD is the second opinion. */
Test(formatter, collector_that_dies_in_mid_record)
{
    struct collector c;
    struct rdr_formatter_stats s;
    int small = 8192, in_buffer = 0;
    collector_init(&c, AF_INET);
    setsockopt(c.listen_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    collector_listen(&c);
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
    const unsigned count = 9000, size = 1001;
    uint8_t record[RDR_RECORD_MAX_BYTES];
    unsigned record_bytes = (unsigned)make_record(0, size, record);
    unsigned given = 0;
    while (given < count) {
        if (put(f, 1, given, size))
            break;
        given++;
        rdr_formatter_poll(f, 0, 0);
    }
    cr_assert_lt(given, count, "the kernel took it all: no partial record to test");
    given++; /* the discarded one */
    cr_assert(collector_accept(&c));
    for (int i = 0; i < 200; i++) {
        poll_a_few_times(f, 0);
        ioctl(c.fd, FIONREAD, &in_buffer);
        rdr_formatter_stats(f, &s);
        if (s.sent == (unsigned)in_buffer / record_bytes)
            break;
    }
    cr_assert_gt(in_buffer, 0);
    cr_assert_eq(s.sent, (unsigned)in_buffer / record_bytes, "sent is what the peer's TCP has, and no record more");
    check_partition(f, given);

    struct linger reset = {.l_onoff = 1};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c.fd);
    c.fd = -1;
    poll_a_few_times(f, 0);
    rdr_formatter_stats(f, &s);
    uint64_t sent = s.sent, unconfirmed = s.unconfirmed;
    cr_assert_eq(s.destination[0].disconnects, 1);
    cr_assert_eq(sent, (unsigned)in_buffer / record_bytes);
    cr_assert_gt(unconfirmed, 0);
    check_partition(f, given);

    /* The new connection starts with a whole record: the first that the kernel had not taken whole. */
    unsigned rest = (unsigned)(given - 1 - sent - unconfirmed);
    cr_assert_gt(rest, 0);
    run_until(f, &c, 10 * SECOND_NS, rest);
    expect_sequence(&c, (uint32_t)(sent + unconfirmed), rest);
    cr_assert(rdr_formatter_drain(f, 5000));
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, sent + rest);
    cr_assert_eq(s.unconfirmed, unconfirmed);
    cr_assert_eq(s.discarded, 1);
    cr_assert_eq(s.destination[0].connects, 2);
    check_partition(f, given);
    rdr_formatter_destroy(f);
}

Test(formatter, slow_collector_makes_the_newest_records_be_discarded_and_counted)
{
    struct collector c;
    struct rdr_formatter_stats s;
    collector_init(&c, AF_INET);
    collector_listen(&c);
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
    unsigned taken = 0, refused = 0;
    for (uint32_t i = 0; refused < 50; i++) {
        int error = put(f, 1, taken, 9000);
        cr_assert(!error || error == -ENOBUFS);
        if (error)
            refused++;
        else
            taken++;
        if (!refused)
            rdr_formatter_poll(f, 0, 0);
    }
    check_partition(f, taken + refused);
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.discarded, 50);
    cr_assert_eq(s.category[0].discarded, 50);
    cr_assert_eq(put(f, 2, 0, 10), 0, "another category has its own queue");
    rdr_formatter_poll(f, 0, 0);
    run_until(f, &c, 0, taken + 1);
    static uint32_t numbers[100000];
    cr_assert_eq(arrived(&c, numbers, 100000), taken + 1);
    cr_assert(rdr_formatter_drain(f, 5000));
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, taken + 1);
    check_partition(f, taken + refused + 1);
    rdr_formatter_destroy(f);
}

Test(formatter, drain_is_true_when_the_peer_has_all)
{
    struct collector c;
    collector_init(&c, AF_INET);
    collector_listen(&c);
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
    for (uint32_t i = 0; i < 300; i++)
        cr_assert_eq(put(f, 1, i, 100), 0);
    cr_assert(rdr_formatter_drain(f, 10000), "small enough for the kernel's buffers");
    check_partition(f, 300);
    rdr_formatter_destroy(f);
    cr_assert(collector_accept(&c));
    collector_read(&c);
    expect_sequence(&c, 0, 300);
    uint8_t byte;
    cr_assert_eq(recv(c.fd, &byte, 1, 0), 0, "closed in order, not reset");
}

Test(formatter, redundancy_follows_priority_and_fails_over_and_back)
{
    struct collector c[2];
    for (int i = 0; i < 2; i++) {
        collector_init(&c[i], AF_INET);
        collector_listen(&c[i]);
    }
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, c, 2);
    poll_a_few_times(f, 0);
    for (uint32_t i = 0; i < 10; i++)
        put(f, 1, i, 10);
    run_until(f, &c[0], 0, 10);
    cr_assert(collector_accept(&c[1]), "the standby is connected too");
    collector_read(&c[1]);
    expect_sequence(&c[0], 0, 10);
    expect_sequence(&c[1], 0, 0);
    cr_assert(rdr_formatter_drain(f, 5000));

    close(c[0].fd);
    c[0].fd = -1;
    poll_a_few_times(f, 0);
    for (uint32_t i = 10; i < 20; i++)
        put(f, 1, i, 10);
    run_until(f, &c[1], 0, 10);
    expect_sequence(&c[1], 10, 10);

    poll_a_few_times(f, 2 * SECOND_NS);
    for (uint32_t i = 20; i < 30; i++)
        put(f, 1, i, 10);
    run_until(f, &c[0], 2 * SECOND_NS, 10);
    expect_sequence(&c[0], 20, 10);
    check_partition(f, 30);
    rdr_formatter_destroy(f);
}

Test(formatter, multicast_gives_all_to_all_and_counts_a_record_once)
{
    struct collector c[2];
    struct rdr_formatter_stats s;
    for (int i = 0; i < 2; i++) {
        collector_init(&c[i], AF_INET);
        collector_listen(&c[i]);
    }
    struct rdr_formatter *f = make_formatter(RDR_MULTICAST, c, 2);
    poll_a_few_times(f, 0);
    for (uint32_t i = 0; i < 1000; i++)
        put(f, 1, i, 10);
    run_until(f, &c[0], 0, 1000);
    run_until(f, &c[1], 0, 1000);
    expect_sequence(&c[0], 0, 1000);
    expect_sequence(&c[1], 0, 1000);
    cr_assert(rdr_formatter_drain(f, 5000));
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, 1000);
    cr_assert_eq(s.destination[0].sent, 1000);
    cr_assert_eq(s.destination[1].sent, 1000);

    /* One of two dies: the other still gets every record. */
    close(c[0].fd);
    c[1].size_bytes = 0;
    for (uint32_t i = 1000; i < 2000; i++)
        put(f, 1, i, 10);
    run_until(f, &c[1], 0, 1000);
    expect_sequence(&c[1], 1000, 1000);
    cr_assert(rdr_formatter_drain(f, 5000));
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, 2000);
    cr_assert_not(s.destination[0].connected);
    check_partition(f, 2000);
    rdr_formatter_destroy(f);
}

/* Both windows closed, then one collector dies with records staged: the sum still holds, and the other loses none. */
Test(formatter, multicast_with_a_collector_that_dies_under_load)
{
    struct collector c[2];
    for (int i = 0; i < 2; i++) {
        collector_init(&c[i], AF_INET);
        collector_listen(&c[i]);
    }
    struct rdr_formatter *f = make_formatter(RDR_MULTICAST, c, 2);
    poll_a_few_times(f, 0);
    unsigned taken = 0, given = 0;
    for (; taken == given; given++) {
        taken += put(f, 1, taken, 5000) == 0;
        rdr_formatter_poll(f, 0, 0);
    }
    cr_assert(collector_accept(&c[0]));
    struct linger reset = {.l_onoff = 1};
    setsockopt(c[0].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c[0].fd);
    poll_a_few_times(f, 0);
    check_partition(f, given);
    run_until(f, &c[1], 0, taken);
    expect_sequence(&c[1], 0, taken);
    cr_assert(rdr_formatter_drain(f, 5000));
    struct rdr_formatter_stats s;
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.sent, taken);
    cr_assert_eq(s.unconfirmed, 0);
    check_partition(f, given);
    rdr_formatter_destroy(f);
}

Test(formatter, load_balancing_takes_turns)
{
    struct collector c[3];
    uint32_t numbers[100];
    for (int i = 0; i < 3; i++) {
        collector_init(&c[i], AF_INET);
        collector_listen(&c[i]);
    }
    struct rdr_formatter *f = make_formatter(RDR_SIMPLE_LOAD_BALANCING, c, 3);
    poll_a_few_times(f, 0);
    for (uint32_t i = 0; i < 30; i++)
        put(f, 1, i, 10);
    for (uint32_t i = 0; i < 3; i++) {
        run_until(f, &c[i], 0, 10);
        cr_assert_eq(arrived(&c[i], numbers, 100), 10);
        for (unsigned n = 0; n < 10; n++)
            cr_assert_eq(numbers[n], 3 * n + i);
    }
    check_partition(f, 30);
    rdr_formatter_destroy(f);
}

Test(formatter, categories_go_to_their_own_destinations_and_nowhere_is_discarded)
{
    struct collector c[2];
    struct rdr_formatter_config config;
    char error[200];
    rdr_formatter_config_init(&config);
    config.destination_count = 2;
    for (unsigned i = 0; i < 2; i++) {
        collector_init(&c[i], AF_INET);
        collector_listen(&c[i]);
        snprintf(config.destinations[i].host, sizeof config.destinations[i].host, "127.0.0.1");
        config.destinations[i].port = c[i].port;
        memset(config.destinations[i].priority, 0, RDR_CATEGORIES);
    }
    config.destinations[0].priority[0] = 1;
    config.destinations[1].priority[2] = 1;
    struct rdr_formatter *f = rdr_formatter_create(&config, error, sizeof error);
    cr_assert(f, "%s", error);
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert_eq(put(f, 1, i, 10), 0);
        cr_assert_eq(put(f, 2, i, 10), -ENOBUFS);
        cr_assert_eq(put(f, 3, 100 + i, 10), 0);
    }
    run_until(f, &c[0], 0, 20);
    run_until(f, &c[1], 0, 20);
    expect_sequence(&c[0], 0, 20);
    expect_sequence(&c[1], 100, 20);
    struct rdr_formatter_stats s;
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.category[1].discarded, 20);
    check_partition(f, 60);
    rdr_formatter_destroy(f);
}

Test(formatter, what_a_collector_says_is_ignored_until_it_closes)
{
    struct collector c;
    struct rdr_formatter_stats s;
    collector_init(&c, AF_INET);
    collector_listen(&c);
    struct rdr_formatter *f = make_formatter(RDR_REDUNDANCY, &c, 1);
    poll_a_few_times(f, 0);
    cr_assert(collector_accept(&c));
    for (int i = 0; i < 100; i++)
        cr_assert_eq(send(c.fd, "noise from a collector\n", 23, 0), 23);
    poll_a_few_times(f, 0);
    put(f, 4, 7, 10);
    run_until(f, &c, 0, 1);
    expect_sequence(&c, 7, 1);
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.destination[0].disconnects, 0);
    close(c.fd);
    poll_a_few_times(f, 0);
    rdr_formatter_stats(f, &s);
    cr_assert_eq(s.destination[0].disconnects, 1);
    cr_assert_not(s.destination[0].connected);
    rdr_formatter_destroy(f);
}

static void check_one_record_to(const char *host, int family)
{
    struct collector c;
    struct rdr_formatter_config config;
    char error[200];
    collector_init(&c, family);
    collector_listen(&c);
    rdr_formatter_config_init(&config);
    config.destination_count = 1;
    snprintf(config.destinations[0].host, sizeof config.destinations[0].host, "%s", host);
    config.destinations[0].port = c.port;
    struct rdr_formatter *f = rdr_formatter_create(&config, error, sizeof error);
    put(f, 1, 42, 10);
    for (uint64_t now_s = 0; now_s < 10 && c.fd < 0; now_s++) { /* a name has several addresses, tried in turn */
        poll_a_few_times(f, now_s * SECOND_NS);
        collector_accept(&c);
    }
    run_until(f, &c, 10 * SECOND_NS, 1);
    expect_sequence(&c, 42, 1);
    rdr_formatter_destroy(f);
}

Test(formatter, ipv6_destination)
{
    check_one_record_to("::1", AF_INET6);
}

Test(formatter, destination_by_name)
{
    check_one_record_to("localhost", AF_INET);
}

Test(formatter, wrong_configurations_are_refused_with_a_reason)
{
    struct rdr_formatter_config good, config;
    char error[400];
    rdr_formatter_config_init(&good);
    good.destination_count = 1;
    snprintf(good.destinations[0].host, sizeof good.destinations[0].host, "127.0.0.1");
    good.destinations[0].port = 33000;
#define REFUSED(change, word)                                                                                          \
    do {                                                                                                               \
        config = good;                                                                                                 \
        change;                                                                                                        \
        cr_assert_null(rdr_formatter_create(&config, error, sizeof error));                                            \
        cr_assert(strstr(error, word), "%s", error);                                                                   \
    } while (0)
    REFUSED(config.destination_count = 9, "at most 8");
    REFUSED(config.destinations[0].port = 0, "port");
    REFUSED(config.destinations[0].host[0] = 0, "host");
    REFUSED(config.destinations[0].priority[1] = 101, "1 to 100");
    REFUSED(memset(config.destinations[0].priority, 0, RDR_CATEGORIES), "1 to 100");
    REFUSED(config.queue_bytes[3] = 100, "category 4");
#undef REFUSED
    struct rdr_formatter *f = rdr_formatter_create(&good, error, sizeof error);
    cr_assert(f);
    uint8_t record[40] = {0};
    cr_assert_eq(rdr_formatter_put(f, 0, record, 40), -EINVAL);
    cr_assert_eq(rdr_formatter_put(f, 5, record, 40), -EINVAL);
    cr_assert_eq(rdr_formatter_put(f, 1, record, 19), -EINVAL);
    check_partition(f, 0);
    rdr_formatter_destroy(f);
}

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "dataplane/fragment.h"
#include "frames.h"

#define TIMEOUT_NS (30 * 1000000000ull)

/* One datagram's sender and receiver, as a test writes them down. */
struct datagram_case {
    bool is_v6;
    uint8_t proto, src, dst;
    uint16_t src_port, dst_port;
    uint32_t id;
    uint16_t vlan;
};

static const struct dp_fragment_origin origin = {.number = 5, .link = 2, .side = 1};

static const struct datagram_case udp4 = {.proto = 17, .src = 9, .dst = 1, .src_port = 53, .dst_port = 4000, .id = 77};
static const struct datagram_case tcp6 = {
    .is_v6 = true, .proto = 6, .src = 1, .dst = 2, .src_port = 80, .dst_port = 4001, .id = 0x80000001};

static struct dp_fragments *create(uint32_t capacity_datagrams)
{
    struct dp_fragments *f = dp_fragments_create(&(struct dp_fragment_config){
        .capacity_datagrams = capacity_datagrams, .timeout_ns = TIMEOUT_NS, .secret_seed = 1});
    cr_assert_not_null(f);
    return f;
}

static struct dp_view view_of(const struct datagram_case *c, uint16_t offset_bytes, uint16_t bytes, bool is_last)
{
    struct dp_view view = {.flags = DP_VIEW_FRAGMENT,
                           .fragment_id = c->id,
                           .fragment_offset_bytes = offset_bytes,
                           .fragment_bytes = bytes,
                           .ip_bytes = bytes + 20u};
    uint8_t src[16] = {10, 0, 0, c->src}, dst[16] = {10, 0, 0, c->dst};
    bool is_first = offset_bytes == 0;
    if (is_first)
        view.flags |= DP_VIEW_FIRST_FRAGMENT;
    if (is_last)
        view.flags |= DP_VIEW_LAST_FRAGMENT;
    view.swap =
        ft_key_make(&view.key, c->is_v6, src, dst, is_first ? rte_cpu_to_be_16(c->src_port) : 0,
                    is_first ? rte_cpu_to_be_16(c->dst_port) : 0, c->proto, ft_context(c->vlan, 0, FT_TUNNEL_NONE));
    return view;
}

static struct ft_key full_key(const struct datagram_case *c)
{
    return view_of(c, 0, 8, false).key;
}

static struct ft_key portless_key(const struct datagram_case *c)
{
    return view_of(c, 8, 8, false).key;
}

static void expect_key(const struct ft_key *key, const struct ft_key *expected)
{
    cr_assert_eq(memcmp(key, expected, sizeof *key), 0);
}

/* Judges a fragment that must follow the flow of its first, with no credit. */
static void expect_follows(struct dp_fragments *f, const struct datagram_case *c, uint16_t offset_bytes, bool is_last,
                           uint64_t now_ns)
{
    struct dp_fragment_credit credit;
    struct dp_view view = view_of(c, offset_bytes, 800, is_last), first = view_of(c, 0, 800, false);
    cr_assert_eq(dp_fragment_judge(f, &view, now_ns, &origin, &credit), DP_FRAGMENT_FLOW);
    expect_key(&view.key, &first.key);
    cr_assert_eq(view.swap, first.swap);
    cr_assert_eq(credit.packets, 0);
}

static void expect_pending(struct dp_fragments *f, const struct datagram_case *c, uint16_t offset_bytes, bool is_last,
                           uint64_t now_ns)
{
    struct dp_fragment_credit credit;
    struct dp_view view = view_of(c, offset_bytes, 800, is_last), before = view;
    cr_assert_eq(dp_fragment_judge(f, &view, now_ns, &origin, &credit), DP_FRAGMENT_PENDING);
    cr_assert_eq(memcmp(&view, &before, sizeof view), 0);
    cr_assert_eq(credit.packets, 0);
}

/* Judges the first fragment; returns the credit. */
static struct dp_fragment_credit judge_first(struct dp_fragments *f, const struct datagram_case *c, uint64_t now_ns)
{
    struct dp_fragment_credit credit;
    struct dp_view view = view_of(c, 0, 800, false), before = view;
    cr_assert_eq(dp_fragment_judge(f, &view, now_ns, &origin, &credit), DP_FRAGMENT_FLOW);
    cr_assert_eq(memcmp(&view, &before, sizeof view), 0);
    return credit;
}

static void expect_empty(struct dp_fragments *f)
{
    struct dp_fragment_credit credits[4];
    bool done;
    cr_assert_eq(dp_fragments_expire(f, UINT64_MAX, credits, 4, &done), 0);
    cr_assert(done);
}

Test(fragment, later_ones_follow_the_first)
{
    const struct datagram_case *both[] = {&udp4, &tcp6};
    for (int i = 0; i < 2; i++) {
        struct dp_fragments *f = create(16);
        cr_assert_eq(judge_first(f, both[i], 5).packets, 0);
        expect_follows(f, both[i], 800, false, 6);
        expect_follows(f, both[i], 1600, true, 7);
        expect_pending(f, both[i], 800, false, 8); /* all bytes were seen: another datagram */
        dp_fragments_destroy(f);
    }
}

Test(fragment, those_before_the_first_are_credited_to_its_flow)
{
    const struct datagram_case *both[] = {&udp4, &tcp6};
    for (int i = 0; i < 2; i++) {
        struct dp_fragments *f = create(16);
        expect_pending(f, both[i], 1600, true, 100);
        expect_pending(f, both[i], 800, false, 150);
        struct dp_fragment_credit credit = judge_first(f, both[i], 200);
        struct dp_view first = view_of(both[i], 0, 800, false);
        cr_assert_eq(credit.packets, 2);
        cr_assert_eq(credit.bytes, 2 * 820);
        cr_assert_eq(credit.first_ns, 100);
        cr_assert_eq(credit.last_ns, 150);
        cr_assert_eq(credit.swap, first.swap);
        expect_key(&credit.key, &first.key);
        expect_empty(f); /* complete */
        dp_fragments_destroy(f);
    }
}

Test(fragment, a_first_that_never_comes_leaves_a_flow_without_ports)
{
    struct dp_fragments *f = create(16);
    expect_pending(f, &udp4, 1600, true, 1000);
    expect_pending(f, &udp4, 800, false, 2000);
    struct dp_fragment_credit credit;
    bool done;
    cr_assert_eq(dp_fragments_expire(f, 1000 + TIMEOUT_NS - 1, &credit, 1, &done), 0);
    cr_assert(done);
    cr_assert_eq(dp_fragments_expire(f, 1000 + TIMEOUT_NS, &credit, 1, &done), 1);
    cr_assert(done);
    struct ft_key key = portless_key(&udp4);
    expect_key(&credit.key, &key);
    cr_assert_eq(credit.swap, 1, "from .9 to .1");
    cr_assert_eq(credit.packets, 2);
    cr_assert_eq(credit.bytes, 1640);
    cr_assert_eq(credit.first_ns, 1000);
    cr_assert_eq(credit.last_ns, 2000);
    cr_assert_eq(judge_first(f, &udp4, 1001 + TIMEOUT_NS).packets, 0);
    dp_fragments_destroy(f);
}

/* The sweep may come late: what happens must not depend on when. */
Test(fragment, a_timed_out_datagram_is_gone_before_the_sweep)
{
    struct dp_fragments *f = create(16);
    expect_pending(f, &udp4, 800, false, 0);
    struct dp_fragment_credit credit = judge_first(f, &udp4, TIMEOUT_NS);
    struct ft_key key = portless_key(&udp4);
    cr_assert_eq(credit.packets, 1);
    expect_key(&credit.key, &key);
    expect_follows(f, &udp4, 800, false, 2 * TIMEOUT_NS - 1);
    expect_pending(f, &udp4, 1600, false, 2 * TIMEOUT_NS);
    dp_fragments_destroy(f);
}

Test(fragment, a_second_first_begins_a_new_datagram)
{
    struct dp_fragments *f = create(16);
    struct datagram_case again = udp4;
    again.src_port = 54;
    judge_first(f, &udp4, 1);
    expect_follows(f, &udp4, 800, false, 2);
    cr_assert_eq(judge_first(f, &again, 3).packets, 0);
    expect_follows(f, &again, 800, false, 4);
    expect_follows(f, &again, 1600, true, 5);
    expect_empty(f);
    dp_fragments_destroy(f);
}

/* With src == dst only the ports say which way a packet goes. */
Test(fragment, equal_addresses_take_the_direction_of_the_first)
{
    for (int swap = 0; swap < 2; swap++) {
        struct datagram_case self = udp4;
        self.dst = self.src;
        self.src_port = swap ? 4000 : 53;
        self.dst_port = swap ? 53 : 4000;
        struct dp_fragments *f = create(16);
        expect_pending(f, &self, 1600, false, 1);
        struct dp_fragment_credit credit = judge_first(f, &self, 2);
        cr_assert_eq(credit.packets, 1);
        cr_assert_eq(credit.swap, swap);
        expect_follows(f, &self, 800, false, 3);
        dp_fragments_destroy(f);
    }
}

Test(fragment, each_part_of_the_identity_tells_datagrams_apart)
{
    struct datagram_case others[8];
    for (int i = 0; i < 8; i++)
        others[i] = udp4;
    others[1].id++;
    others[2].proto = 6;
    others[3].vlan = 5;
    others[4].src++;
    others[5].dst++;
    others[6].src = udp4.dst, others[6].dst = udp4.src;
    others[7].is_v6 = true;
    struct dp_fragments *f = create(16);
    judge_first(f, &others[0], 1);
    for (int i = 1; i < 8; i++)
        expect_pending(f, &others[i], 800, false, 2);
    for (int i = 1; i < 8; i++)
        cr_assert_eq(judge_first(f, &others[i], 3).packets, 1, "case %d", i);
    dp_fragments_destroy(f);
}

/* Between the fragment header and the upper layer of IPv6 may stand headers that only the first fragment shows. */
Test(fragment, ipv6_fragments_agree_whatever_next_header_they_name)
{
    struct datagram_case options = tcp6;
    options.proto = 60;
    struct dp_fragments *f = create(16);
    expect_pending(f, &options, 800, false, 1);
    struct dp_fragment_credit credit = judge_first(f, &tcp6, 2);
    struct ft_key key = full_key(&tcp6);
    cr_assert_eq(credit.packets, 1);
    expect_key(&credit.key, &key);
    struct dp_view later = view_of(&options, 1600, 800, false);
    cr_assert_eq(dp_fragment_judge(f, &later, 3, &origin, &credit), DP_FRAGMENT_FLOW);
    expect_key(&later.key, &key);
    dp_fragments_destroy(f);
}

Test(fragment, protocols_without_ports_need_no_entry)
{
    struct datagram_case icmp = udp4;
    icmp.proto = 1;
    struct dp_fragments *f = create(1);
    struct dp_fragment_credit credit;
    struct dp_view view = view_of(&icmp, 800, 800, false), before = view;
    cr_assert_eq(dp_fragment_judge(f, &view, 1, &origin, &credit), DP_FRAGMENT_FLOW);
    cr_assert_eq(memcmp(&view, &before, sizeof view), 0);
    cr_assert_eq(credit.packets, 0);
    expect_empty(f);
    dp_fragments_destroy(f);
}

Test(fragment, a_full_table_judges_by_addresses_and_recovers)
{
    struct dp_fragments *f = create(4);
    struct datagram_case c = udp4;
    for (c.id = 0; c.id < 4; c.id++)
        expect_pending(f, &c, 800, false, c.id);
    struct dp_fragment_credit credit;
    struct dp_view view = view_of(&c, 800, 800, false), before = view;
    cr_assert_eq(dp_fragment_judge(f, &view, 5, &origin, &credit), DP_FRAGMENT_PORTLESS);
    cr_assert_eq(memcmp(&view, &before, sizeof view), 0);
    cr_assert_eq(judge_first(f, &c, 6).packets, 0);
    cr_assert_eq(dp_fragment_judge(f, &view, 7, &origin, &credit), DP_FRAGMENT_PORTLESS,
                 "the first could not be remembered");
    /* Datagram 0 has timed out: its place is taken, its packet comes back. */
    credit = judge_first(f, &c, TIMEOUT_NS);
    struct ft_key key = portless_key(&c);
    cr_assert_eq(credit.packets, 1);
    cr_assert_eq(credit.first_ns, 0);
    expect_key(&credit.key, &key);
    expect_follows(f, &c, 800, false, TIMEOUT_NS);
    /* Datagram 1 has not: it is named, completed, and makes room. */
    c.id = 1;
    cr_assert_eq(judge_first(f, &c, TIMEOUT_NS).packets, 1);
    expect_follows(f, &c, 1600, true, TIMEOUT_NS);
    c.id = 9;
    expect_pending(f, &c, 800, false, TIMEOUT_NS);

    struct dp_fragment_stats stats;
    dp_fragments_stats(f, &stats);
    cr_assert_eq(stats.pending_fragments, 5);
    cr_assert_eq(stats.portless_fragments, 2);
    cr_assert_eq(stats.first_fragments, 3);
    cr_assert_eq(stats.followed_fragments, 2);
    cr_assert_eq(stats.unnamed_datagrams, 1);
    cr_assert_eq(stats.expired_datagrams, 1);
    dp_fragments_destroy(f);
}

Test(fragment, expiry_keeps_its_budget_and_its_place)
{
    struct dp_fragments *f = create(16);
    struct datagram_case c = udp4;
    for (c.id = 0; c.id < 10; c.id++) {
        if (c.id % 2)
            judge_first(f, &c, c.id); /* leaves no credit */
        else
            expect_pending(f, &c, 800, false, c.id);
    }
    struct dp_fragment_credit credits[4];
    bool done;
    cr_assert_eq(dp_fragments_expire(f, TIMEOUT_NS + 8, credits, 4, &done), 2);
    cr_assert_not(done);
    cr_assert_eq(credits[0].first_ns, 0);
    cr_assert_eq(credits[1].first_ns, 2);
    cr_assert_eq(dp_fragments_expire(f, TIMEOUT_NS + 8, credits, 4, &done), 2);
    cr_assert_not(done);
    cr_assert_eq(dp_fragments_expire(f, TIMEOUT_NS + 8, credits, 4, &done), 1);
    cr_assert(done);
    cr_assert_eq(credits[0].first_ns, 8);
    c.id = 9;
    expect_follows(f, &c, 800, false, TIMEOUT_NS + 8);
    dp_fragments_destroy(f);
}

Test(fragment, time_that_steps_back_expires_nothing)
{
    struct dp_fragments *f = create(16);
    judge_first(f, &udp4, 1000000);
    expect_follows(f, &udp4, 800, false, 0);
    struct dp_fragment_credit credit;
    bool done;
    cr_assert_eq(dp_fragments_expire(f, 0, &credit, 1, &done), 0);
    cr_assert(done);
    expect_follows(f, &udp4, 1600, true, 1000001);
    dp_fragments_destroy(f);
}

Test(fragment, wrong_configurations_are_refused)
{
    struct dp_fragment_config config = {.capacity_datagrams = 0, .timeout_ns = 1};
    cr_assert_null(dp_fragments_create(&config));
    cr_assert_eq(errno, EINVAL);
    config.capacity_datagrams = (1u << 24) + 1;
    cr_assert_null(dp_fragments_create(&config));
    config = (struct dp_fragment_config){.capacity_datagrams = 1, .timeout_ns = 0};
    cr_assert_null(dp_fragments_create(&config));
    dp_fragments_destroy(NULL);
}

Test(fragment, all_fragments_of_a_datagram_meet_at_one_shard)
{
    for (uint8_t src = 0; src < 200; src++) {
        struct datagram_case c = udp4;
        c.src = src;
        c.src_port = (uint16_t)(src * 31);
        struct dp_view first = view_of(&c, 0, 800, false), later = view_of(&c, 800, 800, false);
        cr_assert_eq(dp_fragment_shard(&first), dp_fragment_shard(&later));
    }
}

/* The parser's views of real fragments, IPv4, the later one first. */
Test(fragment, parsed_fragments)
{
    struct dp_fragments *f = create(16);
    struct dp_view views[2];
    for (unsigned i = 0; i < 2; i++) {
        struct frame frame = {.size = 0};
        frame_ethernet(&frame, 0x0800);
        frame_ipv4(&frame, 17, 7, 3, 0);
        frame.bytes[20] = i ? 0x20 : 0;
        frame.bytes[21] = i ? 0 : 40 / 8;
        if (i)
            frame_udp(&frame, 53, 4000);
        frame_put_zeros(&frame, 32);
        frame_end(&frame);
        struct rte_mbuf m = mbuf_of(frame.bytes, frame.size);
        dp_parse(&m, DP_LINK_ETHERNET, &views[i]);
        cr_assert_eq(views[i].result, DP_PARSE_ok);
    }
    struct dp_fragment_credit credit;
    cr_assert_eq(dp_fragment_judge(f, &views[0], 1, &origin, &credit), DP_FRAGMENT_PENDING);
    cr_assert_eq(dp_fragment_judge(f, &views[1], 2, &origin, &credit), DP_FRAGMENT_FLOW);
    cr_assert_eq(credit.packets, 1);
    cr_assert_eq(credit.bytes, 52);
    cr_assert_eq(credit.swap, 1);
    expect_key(&credit.key, &views[1].key);
    expect_empty(f);
    dp_fragments_destroy(f);
}

/* ---- many interleaved datagrams against a model ---- */

#define DATAGRAMS     3000
#define FRAGMENTS_MAX 6

struct model_datagram {
    struct datagram_case c;
    unsigned fragments;
    bool has_first;
    uint64_t start_ns, first_ns, arrival_ns[FRAGMENTS_MAX];
    /* What should be and what was counted to the full key and to the key without ports. */
    unsigned expected[2], counted[2];
};

struct arrival {
    uint64_t time_ns;
    unsigned datagram, fragment;
};

static int by_time(const void *a, const void *b)
{
    const struct arrival *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->datagram != y->datagram ? (x->datagram < y->datagram ? -1 : 1) : (int)x->fragment - (int)y->fragment;
}

static struct model_datagram model[DATAGRAMS];

/* The port pair is the datagram's number, so a key with ports names it; one without is looked up by its addresses. */
static void count(const struct ft_key *key, uint8_t swap, unsigned packets)
{
    unsigned number = rte_be_to_cpu_16(key->port_be16[swap]);
    bool is_portless = key->port_be16[0] == 0 && key->port_be16[1] == 0;
    if (is_portless)
        number = (unsigned)(key->addr[swap][4] << 8 | key->addr[swap][5]) + 1;
    cr_assert(number >= 1 && number <= DATAGRAMS);
    model[number - 1].counted[is_portless] += packets;
}

static struct dp_view model_view(const struct model_datagram *m, unsigned number, unsigned fragment)
{
    struct dp_view view = view_of(&m->c, (uint16_t)(fragment * 800), 800, fragment + 1 == m->fragments);
    uint8_t src[16] = {32, 1, 0, 0, (uint8_t)(number >> 8), (uint8_t)number}, dst[16] = {32, 1, 0, m->c.dst};
    uint32_t context = view.key.context;
    view.swap = ft_key_make(&view.key, true, src, dst, fragment ? 0 : rte_cpu_to_be_16((uint16_t)(number + 1)),
                            fragment ? 0 : rte_cpu_to_be_16(9), m->c.proto, context);
    return view;
}

static unsigned make_arrivals(struct arrival *arrivals)
{
    unsigned count_of_arrivals = 0;
    for (unsigned n = 0; n < DATAGRAMS; n++) {
        struct model_datagram *m = &model[n];
        *m = (struct model_datagram){.c = {.proto = n % 2 ? 6 : 17, .dst = (uint8_t)(n % 3), .id = n / 7}};
        m->fragments = 2 + (unsigned)rand() % (FRAGMENTS_MAX - 1);
        m->has_first = rand() % 5 != 0;
        uint64_t base_ns = (uint64_t)(rand() % 300) * 1000000000;
        /* A third takes longer than the time-out. */
        uint64_t spread_s = rand() % 3 ? 29 : 50;
        m->start_ns = UINT64_MAX;
        for (unsigned k = 0; k < m->fragments; k++) {
            m->arrival_ns[k] = base_ns + (uint64_t)rand() % (spread_s * 1000000000);
            if (k > 0 || m->has_first) {
                arrivals[count_of_arrivals++] = (struct arrival){m->arrival_ns[k], n, k};
                m->start_ns = RTE_MIN(m->start_ns, m->arrival_ns[k]);
            }
        }
    }
    qsort(arrivals, count_of_arrivals, sizeof *arrivals, by_time);
    return count_of_arrivals;
}

/* The rule by itself: an entry lives for 30 s; those in it follow the first when it comes within. */
static void expect_of_model(struct model_datagram *m)
{
    uint64_t times[FRAGMENTS_MAX];
    unsigned kinds[FRAGMENTS_MAX], n = 0;
    for (unsigned k = 0; k < m->fragments; k++) {
        if (k == 0 && !m->has_first)
            continue;
        unsigned at = n++;
        for (; at > 0 && times[at - 1] > m->arrival_ns[k]; at--) {
            times[at] = times[at - 1];
            kinds[at] = kinds[at - 1];
        }
        times[at] = m->arrival_ns[k];
        kinds[at] = k;
    }
    for (unsigned from = 0, to; from < n; from = to) {
        bool first_came = false;
        for (to = from; to < n && times[to] - times[from] < TIMEOUT_NS; to++)
            first_came |= kinds[to] == 0;
        m->expected[!first_came] += to - from;
    }
}

Test(fragment, many_interleaved_datagrams_against_a_model)
{
    static struct arrival arrivals[DATAGRAMS * FRAGMENTS_MAX];
    srand(4);
    unsigned arrivals_length = make_arrivals(arrivals);
    struct dp_fragments *f = create(DATAGRAMS);
    struct dp_fragment_credit credit, credits[3];
    bool done;
    for (unsigned i = 0; i < arrivals_length; i++) {
        struct dp_view view = model_view(&model[arrivals[i].datagram], arrivals[i].datagram, arrivals[i].fragment);
        enum dp_fragment_verdict verdict = dp_fragment_judge(f, &view, arrivals[i].time_ns, &origin, &credit);
        cr_assert_neq(verdict, DP_FRAGMENT_PORTLESS);
        if (verdict == DP_FRAGMENT_FLOW)
            count(&view.key, view.swap, 1);
        if (credit.packets)
            count(&credit.key, credit.swap, credit.packets);
        if (i % 5 == 0) { /* a lazy sweep */
            uint32_t n = dp_fragments_expire(f, arrivals[i].time_ns, credits, 3, &done);
            for (uint32_t k = 0; k < n; k++)
                count(&credits[k].key, credits[k].swap, credits[k].packets);
        }
    }
    do {
        uint32_t n = dp_fragments_expire(f, UINT64_MAX, credits, 3, &done);
        for (uint32_t k = 0; k < n; k++)
            count(&credits[k].key, credits[k].swap, credits[k].packets);
    } while (!done);
    unsigned totals[2] = {0, 0};
    for (unsigned n = 0; n < DATAGRAMS; n++) {
        expect_of_model(&model[n]);
        for (int portless = 0; portless < 2; portless++) {
            totals[portless] += model[n].expected[portless];
            cr_assert_eq(model[n].counted[portless], model[n].expected[portless], "datagram %u, %s: %u, not %u", n,
                         portless ? "without ports" : "with ports", model[n].counted[portless],
                         model[n].expected[portless]);
        }
    }
    cr_assert(totals[0] > DATAGRAMS && totals[1] > DATAGRAMS / 2, "the model must try both: %u, %u", totals[0],
              totals[1]);
    dp_fragments_destroy(f);
}

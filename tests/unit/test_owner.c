/*
 * Shards change hands while packets flow. Every packet bears its flow and its number in the flow; the sink, which runs in
 * whichever worker owns the flow at the time, expects the next number, in a plain field: two workers at one flow are a wrong
 * number or, under ThreadSanitizer, a report. Each flow's packets come to one worker, as RSS would have it.
 *
 * Twice: in one thread, where every step of every worker and of control falls when a seeded die says so; and in threads,
 * more of them than there are CPUs. Needs no EAL: mbufs and rings lie in plain memory, as with frames.h.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/worker.h"
#include "tests/unit/frames.h"

#ifdef __SANITIZE_THREAD__
#define SCALE 8u
#else
#define SCALE 1u
#endif

enum {
    WORKERS_MAX = 8,
    FLOWS_MAX = 6400,
    ACTIVE = 24,           /* flows that a worker receives at a time */
    FLOW_PACKETS_MAX = 60, /* a multiple of 3: whole datagrams */
    MBUFS = 3500,          /* below a ring's and the parking place's room: nothing can be full */
    FRAME_ROOM = 256,
    EVENTS_MAX = 16 * FLOWS_MAX,
    LINK_BYTES = 14,
    FIRST_PORT = 1024,
    STEPS_MAX = 1 << 20,
    ATTRIBUTE_BLOCKS = 8192,
    BUSY_SHARDS = 12, /* that flows are in: so few that packets of a moving shard are on their way most of the time */
};
#define START_NS UINT64_C(1700000000000000000)

enum kind { UDP, TCP, FRAGMENTS, HTTP, KINDS };

struct flow {
    enum kind kind;
    uint8_t client, server;
    uint16_t port;
    unsigned packets; /* that it will have */
    unsigned sent;    /* w: its receiver */
    uint32_t tcp_seq;
    uint64_t bytes; /* from the IP header on */
    unsigned out;   /* w: its owner, plainly */
    uint64_t told_packets, told_bytes;
};

struct mbuf {
    struct rte_mbuf head;
    uint8_t priv[DP_META_BYTES];
    uint8_t data[FRAME_ROOM];
} __rte_cache_aligned;

struct event {
    uint64_t uid;
    unsigned position;
    uint8_t kind;
};

/* One worker's side; the thread's own. */
struct receiver {
    struct dp_worker *worker;
    pthread_t thread;
    uint64_t random;
    unsigned active[ACTIVE], active_count;
    unsigned fresh; /* its next flow that has not begun */
    uint64_t sent, disordered, unjudged;
    struct dp_pool_cache free_mbufs;
    struct dp_burst burst;
};

static struct world {
    struct dp_engine *engine;
    unsigned workers, flow_count;
    struct flow flows[FLOWS_MAX];
    struct receiver receivers[WORKERS_MAX];
    struct mbuf *mbufs;
    struct dp_pool free_mbufs; /* its indexes are those of mbufs[] */
    uint64_t ended;            /* packets; atomic */
    struct event *events;
    unsigned event_count;
    uint64_t clock_us; /* atomic */
    uint64_t random;   /* control's */
    unsigned over;     /* atomic: receivers that have sent all; then: packets have ended */
    uint64_t moves;
    bool stop; /* atomic */
} world;

static unsigned draw(uint64_t *random, unsigned below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((*random >> 33) % below);
}

/* Of the flow, or of its addresses alone. */
static uint8_t shard_of(const struct flow *flow, bool of_addresses)
{
    struct ft_key key;
    uint8_t addr[2][16] = {{10, 0, 0, flow->client}, {10, 0, 0, flow->server}};
    ft_key_make(&key, false, addr[0], addr[1], of_addresses ? 0 : rte_cpu_to_be_16(flow->port),
                of_addresses ? 0 : rte_cpu_to_be_16(flow->kind == HTTP ? 80 : 60000), 17, 0);
    return ft_shard_of(&key);
}

/* ---- packets ---- */

static void put_fragment(struct frame *f, const struct flow *flow, unsigned index)
{
    static const unsigned begins[3] = {0, 64, 128};
    unsigned part = flow->sent % 3, id = index * (FLOW_PACKETS_MAX / 3 + 1) + flow->sent / 3;
    f->bytes[LINK_BYTES + 4] = (uint8_t)(id >> 8);
    f->bytes[LINK_BYTES + 5] = (uint8_t)id;
    f->bytes[LINK_BYTES + 6] = part < 2 ? 0x20 : 0;
    f->bytes[LINK_BYTES + 7] = (uint8_t)(begins[part] / 8);
    if (part == 0) {
        frame_put_be16(f, flow->port);
        frame_put_be16(f, 60000);
        frame_put_be16(f, 200);
        frame_put_be16(f, 0);
    }
    frame_put_zeros(f, part ? 64 : 56);
}

static void put_tcp(struct frame *f, struct flow *flow)
{
    static const char request[] = "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
    unsigned ordinal = flow->sent % 14;
    unsigned flags = ordinal == 0 ? 0x02 : ordinal == 13 ? 0x04 : 0x10; /* SYN, RST, ACK */
    unsigned size = ordinal == 0 || ordinal == 13 ? 0 : 8;
    frame_tcp(f, flow->port, flow->kind == HTTP ? 80 : 60000, flow->tcp_seq, flags, 0);
    if (flow->kind == HTTP && ordinal == 2) {
        frame_put(f, request, sizeof request - 1);
        size = (unsigned)sizeof request - 1;
    } else {
        frame_put_zeros(f, size);
    }
    flow->tcp_seq += size + (ordinal == 0);
}

/* The next packet of a flow; behind what IP says, in the last eight bytes, the flow's index and the packet's number. */
static void build(struct frame *f, unsigned index)
{
    struct flow *flow = &world.flows[index];
    f->size = f->lengths = 0;
    frame_ethernet(f, 0x0800);
    frame_ipv4(f, flow->kind == TCP || flow->kind == HTTP ? 6 : 17, flow->client, flow->server, 0);
    if (flow->kind == UDP) {
        frame_udp(f, flow->port, 60000);
        frame_put(f, "\1\2\3\4", 4);
    } else if (flow->kind == FRAGMENTS) {
        put_fragment(f, flow, index);
    } else {
        put_tcp(f, flow);
    }
    frame_end(f);
    flow->bytes += f->size - LINK_BYTES;
    frame_put_be32(f, index);
    frame_put_be32(f, flow->sent++);
}

static uint32_t be32_at(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, 4);
    return rte_be_to_cpu_32(value);
}

/* In the owner's thread: takes every packet that has ended, and expects its number. */
static void sink(void *context, struct dp_worker *worker, struct dp_burst *burst)
{
    struct receiver *receiver = &world.receivers[worker->number];
    uint64_t ended = 0;
    (void)context;
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] == DP_OUTCOME_HANDED_OFF)
            continue;
        struct rte_mbuf *mbuf = burst->mbuf[i];
        const uint8_t *tail = rte_pktmbuf_mtod_offset(mbuf, const uint8_t *, mbuf->data_len - 8);
        struct flow *flow = &world.flows[be32_at(tail)];
        receiver->disordered += flow->out != be32_at(tail + 4);
        flow->out++;
        receiver->unjudged += burst->outcome[i] != DP_OUTCOME_forwarded;
        burst->mbuf[i] = NULL;
        dp_pool_give(&world.free_mbufs, &receiver->free_mbufs, (uint32_t)((struct mbuf *)mbuf - world.mbufs));
        ended++;
    }
    __atomic_fetch_add(&world.ended, ended, __ATOMIC_RELAXED);
}

/* ---- what workers do ---- */

/* Up to `limit` packets of flows that come to this receiver; returns how many. */
static unsigned receive(struct receiver *receiver, unsigned limit)
{
    static __thread struct frame frame;
    struct dp_burst *burst = &receiver->burst;
    uint64_t now_ns = START_NS + 1000 * __atomic_add_fetch(&world.clock_us, 20, __ATOMIC_RELAXED);
    for (burst->count = 0; burst->count < limit;) {
        while (receiver->active_count < ACTIVE && receiver->fresh < world.flow_count) {
            receiver->active[receiver->active_count++] = receiver->fresh;
            receiver->fresh += world.workers;
        }
        uint32_t item;
        if (!receiver->active_count || (item = dp_pool_take(&world.free_mbufs, &receiver->free_mbufs)) == DP_POOL_NONE)
            break;
        struct mbuf *mbuf = &world.mbufs[item];
        unsigned at = draw(&receiver->random, receiver->active_count), index = receiver->active[at];
        build(&frame, index);
        memcpy(mbuf->data, frame.bytes, frame.size);
        mbuf->head.data_len = (uint16_t)frame.size;
        mbuf->head.pkt_len = frame.size;
        unsigned i = burst->count++;
        burst->mbuf[i] = &mbuf->head;
        burst->now_ns[i] = now_ns;
        burst->number[i] = 0;
        burst->link[i] = 0;
        burst->side[i] = DP_SUBSCRIBER;
        burst->link_type[i] = DP_LINK_ETHERNET;
        if (world.flows[index].sent == world.flows[index].packets)
            receiver->active[at] = receiver->active[--receiver->active_count];
    }
    unsigned count = burst->count;
    receiver->sent += count;
    if (count)
        dp_worker_receive(receiver->worker, burst);
    return count;
}

static void keep_house(struct receiver *receiver)
{
    dp_worker_housekeeping(receiver->worker, START_NS + 1000 * __atomic_load_n(&world.clock_us, __ATOMIC_RELAXED));
}

static bool has_sent_all(const struct receiver *receiver)
{
    return !receiver->active_count && receiver->fresh >= world.flow_count;
}

/* ---- what control does ---- */

static void on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)context;
    (void)attributes;
    const struct ft_hot *hot = &event->flow.hot;
    unsigned position = world.event_count++;
    cr_assert_lt(position, EVENTS_MAX);
    world.events[position] = (struct event){event->flow.cold.uid, position, event->kind};
    if (event->kind != DP_EVENT_FLOW_END)
        return;
    unsigned index = rte_be_to_cpu_16(hot->port_be16[hot->flags & FT_FLOW_CLIENT_ENDPOINT]) - (unsigned)FIRST_PORT;
    cr_assert_lt(index, world.flow_count);
    world.flows[index].told_packets += hot->packets[0] + hot->packets[1];
    world.flows[index].told_bytes += hot->bytes[0] + hot->bytes[1];
}

static void take_events(unsigned limit)
{
    dp_engine_drain_events(world.engine, limit, on_event, NULL);
}

/* Of a shard that has flows, mostly; to whomever. */
static void begin_move(bool hold)
{
    const struct flow *flow = &world.flows[draw(&world.random, world.flow_count)];
    unsigned to = draw(&world.random, world.workers);
    cr_assert_eq(dp_owner_move(world.engine, shard_of(flow, draw(&world.random, 2)), to, hold), 0);
    world.moves++;
}

/* ---- start and end ---- */

static void make_mbufs(unsigned count)
{
    cr_assert(dp_pool_init(&world.free_mbufs, count, 1));
    world.mbufs = aligned_alloc(RTE_CACHE_LINE_SIZE, count * sizeof *world.mbufs);
    memset(world.mbufs, 0, count * sizeof *world.mbufs);
    for (unsigned i = 0; i < count; i++) {
        struct mbuf *mbuf = &world.mbufs[i];
        mbuf->head.buf_addr = mbuf->data;
        mbuf->head.buf_len = FRAME_ROOM;
        mbuf->head.priv_size = DP_META_BYTES;
        mbuf->head.nb_segs = 1;
        rte_mbuf_refcnt_set(&mbuf->head, 1);
    }
}

static void make_flow(unsigned index)
{
    struct flow *flow = &world.flows[index];
    flow->kind = (enum kind)draw(&world.random, KINDS);
    flow->port = (uint16_t)(FIRST_PORT + index);
    flow->packets = 3 + 3 * draw(&world.random, FLOW_PACKETS_MAX / 3);
    do {
        flow->client = (uint8_t)(1 + draw(&world.random, 60));
        flow->server = (uint8_t)(100 + draw(&world.random, 100));
    } while (shard_of(flow, false) >= BUSY_SHARDS);
}

static void start(unsigned workers, unsigned flow_count, unsigned mbufs, uint64_t seed)
{
    char error[1024];
    struct dp_engine_config config;
    memset(&world, 0, sizeof world);
    world.random = seed;
    world.workers = workers;
    world.flow_count = flow_count;
    dp_engine_config_init(&config);
    config.worker_count = workers;
    config.flow_table.capacity_flows = 1 << 19; /* few shards hold all */
    config.flow_table.secret_seed = seed + 1;
    config.flow_table.unanswered_share_pct = 100;
    config.flow_table.hugepages = false;
    config.pending_bytes = 64 << 20;
    config.attribute_blocks = ATTRIBUTE_BLOCKS;
    config.flow_events = true;
    config.link_count = 1;
    world.engine = dp_engine_create(&config, error, sizeof error);
    cr_assert(world.engine, "%s", error);
    world.engine->transmit = sink;
    world.events = calloc(EVENTS_MAX, sizeof *world.events);
    make_mbufs(mbufs);
    for (unsigned i = 0; i < flow_count; i++)
        make_flow(i);
    for (unsigned w = 0; w < workers; w++)
        world.receivers[w] = (struct receiver){.worker = world.engine->workers[w], .random = seed + w, .fresh = w};
}

static int by_uid(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

/* Of each flow at most one start, then one end. */
static void expect_events_in_order(uint64_t seed)
{
    qsort(world.events, world.event_count, sizeof *world.events, by_uid);
    for (unsigned i = 0; i < world.event_count; i++) {
        const struct event *event = &world.events[i];
        bool is_last = i + 1 == world.event_count || event[1].uid != event->uid;
        cr_assert_eq(event->kind == DP_EVENT_FLOW_END, is_last, "seed %lu: flow %lx", (unsigned long)seed,
                     (unsigned long)event->uid);
    }
}

/* All workers rest. */
static void finish(uint64_t seed)
{
    struct dp_stats stats;
    struct ft_stats flows;
    uint64_t sent = 0;
    cr_assert_eq(dp_owner_state(world.engine), DP_MOVE_IDLE);
    for (unsigned w = 0; w < world.workers; w++) {
        const struct receiver *receiver = &world.receivers[w];
        cr_assert_eq(receiver->disordered, 0, "seed %lu, worker %u: %lu", (unsigned long)seed, w,
                     (unsigned long)receiver->disordered);
        cr_assert_eq(receiver->unjudged, 0, "seed %lu, worker %u: %lu", (unsigned long)seed, w,
                     (unsigned long)receiver->unjudged);
        sent += receiver->sent;
        dp_worker_close_all(world.engine->workers[w], START_NS + 1000 * world.clock_us);
        while (dp_engine_drain_events(world.engine, 4096, on_event, NULL))
            ;
    }
    for (unsigned i = 0; i < world.flow_count; i++) {
        const struct flow *flow = &world.flows[i];
        cr_assert_eq(flow->sent, flow->packets);
        cr_assert_eq(flow->out, flow->sent, "seed %lu, flow %u: %u of %u", (unsigned long)seed, i, flow->out,
                     flow->sent);
        cr_assert_eq(flow->told_packets, flow->sent, "seed %lu, flow %u of kind %d: %lu of %u packets told",
                     (unsigned long)seed, i, (int)flow->kind, (unsigned long)flow->told_packets, flow->sent);
        cr_assert_eq(flow->told_bytes, flow->bytes, "seed %lu, flow %u: %lu of %lu bytes told", (unsigned long)seed, i,
                     (unsigned long)flow->told_bytes, (unsigned long)flow->bytes);
    }
    expect_events_in_order(seed);
    dp_engine_stats(world.engine, &stats);
    cr_assert_eq(stats.received_packets, sent);
    cr_assert_eq(stats.outcome_packets[DP_OUTCOME_forwarded], sent);
    cr_assert_eq(stats.events_lost, 0);
    cr_assert_eq(stats.shards_taken, world.moves);
    cr_assert_eq(stats.flows_opened, stats.flows_closed);
    cr_assert_eq(stats.pending_exhausted + stats.attributes_exhausted, 0);
    ft_stats(world.engine->flows, &flows);
    cr_assert_eq(flows.flows, 0);
    for (unsigned w = 0; w < world.workers; w++) {
        struct dp_pending_usage pending;
        dp_pending_usage(world.engine->workers[w]->pending, &pending);
        cr_assert_eq(pending.blocks + pending.infos, 0);
        cr_assert_eq(dp_attributes_available(&world.engine->workers[w]->attributes), ATTRIBUTE_BLOCKS * world.workers);
    }
    cr_log_info("seed %lu: %lu packets, %lu moves, %lu parked, %lu handed off", (unsigned long)seed,
                (unsigned long)sent, (unsigned long)world.moves, (unsigned long)stats.parked,
                (unsigned long)stats.handed_off);
    dp_engine_destroy(world.engine);
    dp_pool_fini(&world.free_mbufs);
    free(world.mbufs);
    free(world.events);
}

/* ---- one thread, every order of steps ---- */

/* Packets of a shard's flows that have ended. */
static uint64_t ended_of_shard(unsigned shard)
{
    uint64_t ended = 0;
    for (unsigned i = 0; i < world.flow_count; i++) {
        const struct flow *flow = &world.flows[i];
        if (shard_of(flow, false) == shard)
            ended += flow->out;
    }
    return ended;
}

/* A frozen shard rests: nothing of it ends, from when it was first seen frozen until it is let go. */
struct frozen {
    bool is;
    uint64_t ended;
};

static void step_control(struct frozen *frozen, bool may_begin)
{
    enum dp_move_state state = dp_owner_state(world.engine);
    if (state == DP_MOVE_IDLE && may_begin) {
        begin_move(draw(&world.random, 4) == 0);
    } else if (state == DP_MOVE_FROZEN) {
        uint64_t ended = ended_of_shard(world.engine->move.shard);
        if (frozen->is)
            cr_assert_eq(ended, frozen->ended, "a packet of the frozen shard was judged");
        *frozen = (struct frozen){true, ended};
        if (draw(&world.random, 4) == 0) {
            dp_owner_release(world.engine);
            frozen->is = false;
        }
    }
}

static void run_by_dice(unsigned workers, uint64_t seed)
{
    struct frozen frozen = {false, 0};
    start(workers, 200, MBUFS, seed);
    unsigned busy[WORKERS_MAX]; /* some workers are slow: what is for them waits long */
    for (unsigned w = 0; w < workers; w++)
        busy[w] = 1 + draw(&world.random, 8);
    unsigned steps = 0;
    for (unsigned idle = 0; idle < 4000 || dp_owner_state(world.engine) != DP_MOVE_IDLE; idle++) {
        cr_assert_lt(steps++, STEPS_MAX, "seed %lu: it does not end", (unsigned long)seed);
        struct receiver *receiver = &world.receivers[draw(&world.random, workers)];
        unsigned die = draw(&world.random, 16);
        if (draw(&world.random, busy[receiver->worker->number]))
            continue;
        if (die < 6 && receive(receiver, 1 + draw(&world.random, draw(&world.random, 2) ? 32 : 4)))
            idle = 0;
        else if (die < 11 && dp_worker_take_handoffs(receiver->worker))
            idle = 0;
        else if (die == 11)
            keep_house(receiver);
        else if (die == 12 && draw(&world.random, 4) == 0)
            take_events(1 + draw(&world.random, 64));
        else
            step_control(&frozen, idle < 100);
    }
    finish(seed);
}

Test(owner, no_packet_is_lost_or_out_of_order_whatever_step_comes_when, .timeout = 60)
{
    for (uint64_t seed = 1; seed <= 24 / SCALE; seed++)
        run_by_dice((unsigned)(2 + seed % (WORKERS_MAX - 1)), seed);
}

/* ---- threads ---- */

static void *work(void *context)
{
    struct receiver *receiver = context;
    bool is_over = false;
    while (!__atomic_load_n(&world.stop, __ATOMIC_RELAXED)) {
        unsigned packets = receive(receiver, 1 + draw(&receiver->random, 32));
        packets += dp_worker_take_handoffs(receiver->worker);
        keep_house(receiver);
        if (!is_over && has_sent_all(receiver)) {
            is_over = true;
            __atomic_fetch_add(&world.over, 1, __ATOMIC_RELAXED);
        }
        if (!packets || draw(&receiver->random, 4) == 0)
            sched_yield();
    }
    return NULL;
}

static void run_threads(unsigned workers, unsigned flow_count, uint64_t seed)
{
    start(workers, flow_count, MBUFS, seed);
    for (unsigned w = 0; w < workers; w++)
        cr_assert_eq(pthread_create(&world.receivers[w].thread, NULL, work, &world.receivers[w]), 0);
    uint64_t expected = 0;
    for (unsigned i = 0; i < flow_count; i++)
        expected += world.flows[i].packets;
    for (unsigned looks = 0;; looks++) {
        bool is_over = __atomic_load_n(&world.over, __ATOMIC_RELAXED) == workers;
        enum dp_move_state state = dp_owner_state(world.engine);
        if (state == DP_MOVE_FROZEN)
            dp_owner_release(world.engine);
        else if (state == DP_MOVE_IDLE && is_over && __atomic_load_n(&world.ended, __ATOMIC_RELAXED) == expected)
            break;
        else if (state == DP_MOVE_IDLE && !is_over)
            begin_move(draw(&world.random, 4) == 0);
        take_events(256);
        cr_assert_lt(looks, 1u << 24, "it does not end");
        sched_yield();
    }
    __atomic_store_n(&world.stop, true, __ATOMIC_RELAXED);
    for (unsigned w = 0; w < workers; w++)
        pthread_join(world.receivers[w].thread, NULL);
    cr_assert_gt(world.moves, 5);
    finish(seed);
}

Test(owner, threads_on_few_cpus_keep_every_flow_in_order, .timeout = 60)
{
    run_threads(2, FLOWS_MAX / SCALE, 101);
    run_threads(4, FLOWS_MAX / SCALE, 102);
    run_threads(8, FLOWS_MAX / SCALE, 103);
}

/*
 * Two engines with two workers each, on a link each, joined by a cascade, in one thread: every step of every worker, of both
 * controls and of the channels falls when a seeded die says so. Shards move to and fro all the while.
 *
 * Every packet bears its flow and its number in the flow. What the sink of its link sees is compared with what was sent: none
 * lost, none doubled, none out of order; and each flow is told of once, by one of the two, with all its packets and bytes.
 */
#include "dataplane/cascade/pair.h"
#include "tests/unit/engine_util.h"

#define BOXES        2u
#define WORKERS      2u
#define FLOWS        300u
#define FLOW_PACKETS 40u
#define FRAMES_MAX   4096u
#define MESSAGES_MAX 8192u
#define STEPS_MAX    4000000u
#define FIRST_PORT   2000u

struct flow {
    unsigned box;             /* on whose link it is */
    unsigned sent, out, left; /* numbers of the next to come and to leave; how many have left */
    uint64_t bytes;           /* from the IP header on */
    uint64_t told, told_packets, told_bytes;
};

struct message {
    uint8_t type;
    size_t size;
    uint8_t *body;
};

struct box {
    unsigned number;
    struct lab lab;
    struct cascade_pair *pair;
    /* On their way to it. */
    struct rte_mbuf *frames[FRAMES_MAX];
    unsigned frame_begin, frame_end;
    uint64_t stalled_ns; /* until then the wire holds them back, so that messages overtake them */
    struct message messages[MESSAGES_MAX];
    unsigned message_begin, message_end;
};

static struct box boxes[BOXES];
static struct flow flows[FLOWS];
static struct rte_mempool *pool;
static uint64_t now_ns, random_state;
static unsigned disordered, unjudged;
static bool session_open;
static uint64_t lose_frame; /* the n-th frame is lost; 0: none */
static uint64_t frames_sent;

TestSuite(cascade_pair, .timeout = 100);

static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % below);
}

/* ---- channels ---- */

static bool send_frame(void *context, struct dp_worker *worker, struct rte_mbuf *mbuf)
{
    struct box *to = &boxes[!((struct box *)context)->number];
    (void)worker;
    if (to->frame_end - to->frame_begin == FRAMES_MAX)
        return false;
    if (++frames_sent == lose_frame)
        rte_pktmbuf_free(mbuf);
    else
        to->frames[to->frame_end++ % FRAMES_MAX] = mbuf;
    return true;
}

static bool send_message(void *context, uint8_t type, const void *body, size_t size)
{
    struct box *to = &boxes[!((struct box *)context)->number];
    if (!session_open || to->message_end - to->message_begin >= MESSAGES_MAX - 1 - draw(4))
        return false; /* a full buffer, now and then sooner */
    struct message *message = &to->messages[to->message_end++ % MESSAGES_MAX];
    *message = (struct message){type, size, malloc(size + 1)};
    memcpy(message->body, body, size);
    return true;
}

static void take_message(struct box *box)
{
    struct message *message = &box->messages[box->message_begin++ % MESSAGES_MAX];
    enum cascade_peer_refusal refusal =
        cascade_pair_message(box->pair, message->type, message->body, message->size, now_ns);
    cr_assert_eq(refusal, CASCADE_PEER_REFUSAL_none, "%s", cascade_peer_refusal_name(refusal));
    free(message->body);
}

static void take_frames(struct box *box, unsigned limit)
{
    struct rte_mbuf *frames[DP_BURST_MAX];
    unsigned count = 0;
    while (count < limit && box->frame_begin < box->frame_end)
        frames[count++] = box->frames[box->frame_begin++ % FRAMES_MAX];
    if (count)
        dp_peer_receive(box->lab.engine->workers[0], frames, count, now_ns);
}

static void open_session(void)
{
    session_open = true;
    for (unsigned b = 0; b < BOXES; b++)
        cascade_pair_opened(boxes[b].pair, now_ns);
}

/* What was on its way is lost, as with a connection that breaks. */
static void cut_session(void)
{
    session_open = false;
    for (unsigned b = 0; b < BOXES; b++) {
        while (boxes[b].message_begin < boxes[b].message_end)
            free(boxes[b].messages[boxes[b].message_begin++ % MESSAGES_MAX].body);
        cascade_pair_closed(boxes[b].pair, now_ns);
    }
}

/* ---- packets ---- */

static struct lab_flow addresses_of(unsigned index)
{
    return (struct lab_flow){.client = (uint8_t)(1 + index % 50),
                             .server = 200,
                             .client_port = (uint16_t)(FIRST_PORT + index),
                             .server_port = 60000};
}

static void send_packet(unsigned index)
{
    struct flow *flow = &flows[index];
    struct box *box = &boxes[flow->box];
    struct lab_flow addresses = addresses_of(index);
    bool from_server = flow->sent % 3 == 1;
    uint8_t payload[24] = {0xee, 0xee};
    uint32_t mark[2] = {index, flow->sent++};
    memcpy(payload + 16, mark, 8);
    box->lab.now_ns = now_ns;
    box->lab.worker = index % WORKERS;
    box->lab.side = from_server ? DP_NETWORK : DP_SUBSCRIBER;
    lab_udp(&box->lab, &addresses, from_server, payload, sizeof payload);
    flow->bytes += addresses.bytes[from_server];
    memset(box->lab.burst.hops, 0, sizeof box->lab.burst.hops);
    lab_flush(&box->lab);
}

static void transmit(void *context, struct dp_worker *worker, struct dp_burst *burst)
{
    const struct box *box = context;
    (void)worker;
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] == DP_OUTCOME_HANDED_OFF)
            continue;
        uint32_t mark[2];
        struct rte_mbuf *mbuf = burst->mbuf[i];
        memcpy(mark, rte_pktmbuf_mtod_offset(mbuf, uint8_t *, rte_pktmbuf_pkt_len(mbuf) - 8), 8);
        struct flow *flow = &flows[mark[0]];
        cr_assert_eq(flow->box, box->number, "it leaves where it came in");
        cr_assert_lt(burst->link[i], DP_PEER_LINK);
        disordered += flow->out != mark[1];
        flow->out = mark[1] + 1;
        flow->left++;
        unjudged += dp_outcome_fate(burst->outcome[i]) != DP_FATE_FORWARDED;
    }
}

/* ---- the die ---- */

static void poll_box(struct box *box)
{
    switch (draw(6)) {
    case 0:
        if (draw(100) == 0)
            box->stalled_ns = now_ns + 1000 * draw(1000);
        if (now_ns >= box->stalled_ns)
            take_frames(box, 1 + draw(DP_BURST_MAX));
        break;
    case 1:
        if (box->message_begin < box->message_end)
            take_message(box);
        break;
    case 2:
        cascade_pair_poll(box->pair, now_ns);
        break;
    case 3:
        lab_take_events(&box->lab);
        break;
    default: {
        struct dp_worker *worker = box->lab.engine->workers[draw(WORKERS)];
        dp_worker_take_handoffs(worker);
        dp_worker_housekeeping(worker, now_ns);
    }
    }
}

/* A shard that has flows, to whichever does not own it. */
static void try_move(void)
{
    struct lab_flow addresses = addresses_of(draw(FLOWS));
    struct ft_key key;
    uint8_t low[16] = {10, 0, 0, addresses.client}, high[16] = {10, 0, 0, addresses.server};
    ft_key_make(&key, false, low, high, rte_cpu_to_be_16(addresses.client_port),
                rte_cpu_to_be_16(addresses.server_port), 17, 0);
    unsigned shard = ft_shard_of(&key);
    for (unsigned b = 0; b < BOXES; b++)
        if (cascade_pair_owns(boxes[b].pair, shard))
            cascade_pair_move(boxes[b].pair, shard);
}

static bool all_quiet(void)
{
    for (unsigned b = 0; b < BOXES; b++)
        if (boxes[b].frame_begin != boxes[b].frame_end || boxes[b].message_begin != boxes[b].message_end ||
            cascade_pair_moving(boxes[b].pair))
            return false;
    return true;
}

static bool has_left(void)
{
    for (unsigned i = 0; i < FLOWS; i++)
        if (flows[i].out != flows[i].sent)
            return false;
    return true;
}

static void settle(bool all_must_leave)
{
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        now_ns += 1000;
        poll_box(&boxes[draw(BOXES)]);
        if (step > 2000 && all_quiet() && (!all_must_leave || has_left()))
            return;
    }
    cr_assert(false, "seed %lu: not quiet: %d %d", random_state, all_quiet(), has_left());
}

/* ---- accounts ---- */

static void on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    (void)context;
    (void)attributes;
    const struct ft_hot *hot = &event->flow.hot;
    unsigned index = rte_be_to_cpu_16(hot->port_be16[hot->flags & FT_FLOW_CLIENT_ENDPOINT]) - FIRST_PORT;
    if (event->kind != DP_EVENT_FLOW_END || index >= FLOWS)
        return;
    flows[index].told++;
    flows[index].told_packets += hot->packets[0] + hot->packets[1];
    flows[index].told_bytes += hot->bytes[0] + hot->bytes[1];
}

static void close_box(struct box *box)
{
    struct dp_engine *engine = box->lab.engine;
    for (unsigned w = 0; w < WORKERS; w++) {
        dp_worker_close_all(engine->workers[w], now_ns);
        while (dp_engine_drain_events(engine, 64, on_event, NULL))
            ;
    }
}

static void expect_accounts(uint64_t seed)
{
    unsigned wrong = 0;
    for (unsigned i = 0; i < FLOWS; i++)
        wrong += flows[i].told != 1 || flows[i].told_packets != flows[i].sent || flows[i].told_bytes != flows[i].bytes;
    cr_expect_eq(wrong, 0, "seed %lu: %u flows", seed, wrong);
    for (unsigned b = 0; b < BOXES; b++) {
        struct dp_stats stats = lab_stats(&boxes[b].lab);
        uint64_t ended = 0;
        for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
            ended += stats.outcome_packets[i];
        cr_expect_eq(ended, stats.received_packets, "seed %lu: box %u", seed, b);
        cr_expect_eq(dp_pool_available(&boxes[b].lab.engine->attributes), boxes[b].lab.engine->attributes.count);
    }
}

/* ---- the runs ---- */

static void start_box(unsigned number)
{
    char error[1024];
    struct box *box = &boxes[number];
    memset(box, 0, sizeof *box);
    box->number = number;
    lab_config(&box->lab);
    box->lab.config.worker_count = WORKERS;
    box->lab.config.flow_events = false;
    box->lab.config.flow_table.unanswered_share_pct = 100;
    box->lab.config.flow_table.secret_seed = number + 7;
    box->lab.config.creator = (uint16_t)(number + 1);
    box->lab.pool = pool;
    box->lab.engine = dp_engine_create(&box->lab.config, error, sizeof error);
    cr_assert(box->lab.engine, "%s", error);
    box->lab.events = calloc(LAB_EVENTS_MAX, sizeof *box->lab.events);
    box->lab.engine->transmit = transmit;
    box->lab.engine->transmit_context = box;
    struct cascade_pair_config config = {.active = number == 0, .pool = pool, .move_timeout_ns = UINT64_C(2000000000)};
    struct cascade_pair_session session = {send_message, box};
    box->pair = cascade_pair_create(box->lab.engine, &config, &session);
    cr_assert(box->pair);
    box->lab.engine->peer->send = send_frame;
    box->lab.engine->peer->send_context = box;
}

static void stop_box(struct box *box)
{
    cascade_pair_destroy(box->pair);
    dp_engine_destroy(box->lab.engine);
    free(box->lab.events);
}

static void start_world(uint64_t seed)
{
    random_state = seed;
    now_ns = LAB_START_NS;
    disordered = unjudged = 0;
    frames_sent = lose_frame = 0;
    memset(flows, 0, sizeof flows);
    for (unsigned i = 0; i < FLOWS; i++)
        flows[i].box = i % 2;
    for (unsigned b = 0; b < BOXES; b++)
        start_box(b);
}

static unsigned count_moves(enum cascade_move_end end)
{
    unsigned count = 0;
    for (unsigned b = 0; b < BOXES; b++) {
        struct cascade_pair_stats stats;
        cascade_pair_stats(boxes[b].pair, &stats);
        count += (unsigned)stats.moves[end];
    }
    return count;
}

enum { CUT = 1, ABORT = 2 };

static void run_world(uint64_t seed, unsigned trouble, unsigned *ret_moves)
{
    start_world(seed);
    open_session();
    unsigned left = FLOWS * FLOW_PACKETS;
    for (unsigned step = 0; left; step++) {
        now_ns += 1000;
        unsigned index = draw(FLOWS);
        if (draw(3) == 0 && flows[index].sent < FLOW_PACKETS) {
            send_packet(index);
            left--;
        } else if (flows[index].sent >= FLOW_PACKETS) {
            for (index = 0; flows[index].sent >= FLOW_PACKETS; index++)
                ;
            send_packet(index);
            left--;
        }
        poll_box(&boxes[draw(BOXES)]);
        poll_box(&boxes[draw(BOXES)]);
        if (draw(20) == 0)
            try_move();
        if ((trouble & ABORT) && draw(300) == 0)
            cascade_pair_abort(boxes[draw(BOXES)].pair);
        if ((trouble & CUT) && session_open && draw(1500) == 0)
            cut_session();
        else if (!session_open && draw(50) == 0)
            open_session();
    }
    if (!session_open)
        open_session();
    settle(true);
    cr_expect_eq(disordered, 0, "seed %lu", seed);
    cr_expect_eq(unjudged, 0, "seed %lu", seed);
    for (unsigned b = 0; b < BOXES; b++)
        close_box(&boxes[b]);
    expect_accounts(seed);
    *ret_moves += count_moves(CASCADE_MOVE_END_moved);
    for (unsigned b = 0; b < BOXES; b++)
        stop_box(&boxes[b]);
}

static void start(void)
{
    lab_start_eal();
    pool = rte_pktmbuf_pool_create("lab", LAB_MBUFS, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    cr_assert(pool);
}

Test(cascade_pair, shards_move_to_and_fro)
{
    unsigned moves = 0;
    start();
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(seed, 0, &moves);
    cr_expect_gt(moves, 60, "%u moves", moves);
    cr_expect_eq(rte_mempool_in_use_count(pool), 0);
}

Test(cascade_pair, moves_are_given_up)
{
    unsigned moves = 0;
    start();
    for (uint64_t seed = 11; seed <= 14; seed++)
        run_world(seed, ABORT, &moves);
    cr_expect_gt(moves, 10, "%u moves", moves);
    cr_expect_eq(rte_mempool_in_use_count(pool), 0);
}

Test(cascade_pair, the_session_breaks)
{
    unsigned moves = 0;
    start();
    for (uint64_t seed = 21; seed <= 26; seed++)
        run_world(seed, CUT | ABORT, &moves);
    cr_expect_gt(moves, 10, "%u moves", moves);
    cr_expect_eq(rte_mempool_in_use_count(pool), 0);
}

/* A frame that the wire lost is one packet, or a fence that comes again; the path says so, and moves go on. */
Test(cascade_pair, a_lost_frame_is_counted)
{
    start();
    for (uint64_t seed = 31; seed <= 44; seed++) {
        start_world(seed);
        lose_frame = 500 + 37 * (seed - 31);
        open_session();
        for (unsigned step = 0; step < FLOWS * FLOW_PACKETS; step++) {
            now_ns += 1000;
            send_packet(step % FLOWS);
            for (unsigned i = 0; i < 4; i++)
                poll_box(&boxes[draw(BOXES)]);
            if (draw(20) == 0)
                try_move();
        }
        settle(false);
        for (unsigned step = 0; step < 20000; step++, now_ns += 1000)
            poll_box(&boxes[draw(BOXES)]);
        uint64_t sent = 0, out = 0, missing = 0, late = 0;
        for (unsigned i = 0; i < FLOWS; i++) {
            sent += flows[i].sent;
            out += flows[i].left;
        }
        for (unsigned b = 0; b < BOXES; b++)
            for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
                missing += boxes[b].lab.engine->peer->path[shard].missing;
                late += boxes[b].lab.engine->peer->path[shard].late;
            }
        cr_expect_eq(late, 0);
        cr_expect_eq(missing, 1, "seed %lu: %lu missing", seed, missing);
        cr_expect_leq(sent - out, 1, "seed %lu: %lu packets lost", seed, sent - out);
        for (unsigned b = 0; b < BOXES; b++)
            close_box(&boxes[b]);
        for (unsigned b = 0; b < BOXES; b++)
            stop_box(&boxes[b]);
    }
}

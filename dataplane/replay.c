#include "dataplane/replay.h"
#include "dataplane/join.h"

#include <errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define MBUFS          8191u
#define MBUF_CACHE     64u
#define INPUT_RING     4096u
#define IN_FLIGHT_MAX  2048u /* below every ring's size: none can be full */
#define EVENTS_AT_ONCE 4096u
#define PROGRESS_EVERY 1024u /* bursts */

/* One worker thread's side; each line has one writer. */
struct runner {
    struct dp_replay *replay;
    struct dp_worker *worker;
    struct rte_ring *input;                        /* producer: reader; consumer: worker */
    _Atomic uint64_t finished __rte_cache_aligned; /* packets that ended here; w: worker, release; r: reader, acquire */
    _Atomic unsigned aged;                         /* number of the age_request that it has done; same pairing */
    _Atomic unsigned closed;                       /* number of dp_replay_finish() that it has done; same pairing */
};

/* From packet `number` on, the engine's clock is ahead of the stamps by `offset_ns`: they had gone back there. */
struct clock_step {
    uint64_t number, offset_ns;
};

struct dp_replay {
    struct dp_engine *engine;
    struct dp_replay_options options;
    struct rte_mempool *pool;
    struct dp_join *join; /* NULL: all packets are taken */
    uint64_t now_ns;      /* highest time so far */
    uint64_t number, sent, offset_ns;
    struct clock_step *steps;
    size_t step_count, step_capacity;
    bool threaded;
    struct runner *runners;
    uint8_t spread[FT_SHARDS];      /* whom the reader gives a shard's packets to, whoever owns it */
    uint64_t settled_ns;            /* the clock when nothing was on its way; r: workers after age_request */
    _Atomic unsigned age_request;   /* w: reader, release; r: workers, acquire */
    _Atomic unsigned close_request; /* w: reader, release; r: workers, acquire */
    _Atomic unsigned running;       /* worker threads; w: workers, release, when they leave; r: reader, acquire */
};

/*
 * The engine's clock at a packet: its stamp, as long as stamps are in order but for DP_CLOCK_DISORDER_NS. Where they go back
 * further the clock stands still and then goes on at their pace, so that flows neither end early nor live for ever.
 */
static uint64_t clock_at(struct dp_replay *replay, uint64_t stamp_ns)
{
    uint64_t now_ns = stamp_ns + replay->offset_ns;
    if (now_ns + DP_CLOCK_DISORDER_NS < replay->now_ns) {
        if (replay->step_count == replay->step_capacity) {
            replay->step_capacity = replay->step_capacity ? replay->step_capacity * 2 : 64;
            replay->steps = realloc(replay->steps, replay->step_capacity * sizeof *replay->steps);
            if (!replay->steps)
                abort();
        }
        replay->offset_ns += replay->now_ns - now_ns;
        now_ns = replay->now_ns;
        replay->steps[replay->step_count++] = (struct clock_step){replay->number, replay->offset_ns};
    }
    if (now_ns > replay->now_ns)
        replay->now_ns = now_ns;
    return now_ns;
}

/* How far the clock was ahead of the stamps at a packet. */
static uint64_t offset_at(const struct dp_replay *replay, uint64_t number)
{
    size_t low = 0, high = replay->step_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (replay->steps[middle].number <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? replay->steps[low - 1].offset_ns : 0;
}

/* Events leave with the capture's own times. */
static void on_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    const struct dp_replay *replay = context;
    struct dp_event own = *event;
    uint64_t offset_ns = offset_at(replay, own.flow.cold.uid & DP_UID_NUMBER_MASK);
    own.flow.cold.first_ns -= offset_ns;
    own.flow.hot.last_ns -= offset_ns;
    own.now_ns -= offset_ns;
    replay->options.handler(replay->options.handler_context, &own, attributes);
}

static unsigned take_events(struct dp_replay *replay)
{
    return dp_engine_drain_events(replay->engine, EVENTS_AT_ONCE, on_event, replay);
}

/* A worker whose event ring is full: alone, it is also the thread that empties it. */
static void event_wait(void *context)
{
    struct dp_replay *replay = context;
    if (replay->threaded)
        sched_yield();
    else
        take_events(replay);
}

static uint64_t outcomes_of(const struct dp_worker *worker)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        sum += worker->stats.outcome_packets[i];
    return sum;
}

static unsigned take_input(struct runner *runner)
{
    struct dp_burst *burst = &runner->worker->burst;
    burst->count = rte_ring_sc_dequeue_burst(runner->input, (void **)burst->mbuf, DP_BURST_MAX, NULL);
    for (unsigned i = 0; i < burst->count; i++) {
        const struct dp_meta *meta = rte_mbuf_to_priv(burst->mbuf[i]);
        burst->now_ns[i] = meta->now_ns;
        burst->number[i] = meta->number;
        burst->link[i] = meta->link;
        burst->side[i] = meta->side;
        burst->link_type[i] = meta->link_type;
    }
    unsigned count = burst->count;
    if (count)
        dp_worker_receive(runner->worker, burst);
    return count;
}

static int worker_main(void *context)
{
    struct runner *runner = context;
    struct dp_replay *replay = runner->replay;
    while (!atomic_load_explicit(&replay->engine->stop, memory_order_acquire)) {
        unsigned work = take_input(runner) + dp_worker_take_handoffs(runner->worker);
        if (work) {
            atomic_store_explicit(&runner->finished, outcomes_of(runner->worker), memory_order_release);
            continue;
        }
        unsigned request = atomic_load_explicit(&replay->age_request, memory_order_acquire);
        if (request != atomic_load_explicit(&runner->aged, memory_order_relaxed)) {
            for (unsigned portion = 0; portion < FT_SHARDS; portion++)
                dp_worker_housekeeping(runner->worker, replay->settled_ns); /* written before age_request was */
            atomic_store_explicit(&runner->aged, request, memory_order_release);
        }
        request = atomic_load_explicit(&replay->close_request, memory_order_acquire);
        if (request != atomic_load_explicit(&runner->closed, memory_order_relaxed)) {
            dp_worker_close_all(runner->worker, replay->now_ns); /* written before close_request was */
            atomic_store_explicit(&runner->closed, request, memory_order_release);
        }
        sched_yield();
    }
    atomic_fetch_sub_explicit(&replay->running, 1, memory_order_release);
    return 0;
}

static bool start_threads(struct dp_replay *replay, char *error, size_t error_size)
{
    unsigned count = replay->engine->config.worker_count;
    if (rte_lcore_count() < count + 1) {
        snprintf(error, error_size, "%u workers need %u lcores, EAL has %u", count, count + 1, rte_lcore_count());
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        char name[RTE_RING_NAMESIZE];
        snprintf(name, sizeof name, "input%u", i);
        replay->runners[i].input = rte_ring_create(name, INPUT_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (!replay->runners[i].input) {
            snprintf(error, error_size, "memory is short for the ring of worker %u", i);
            return false;
        }
    }
    atomic_store_explicit(&replay->running, count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++)
        rte_eal_remote_launch(worker_main, &replay->runners[i], 1 + i);
    return true;
}

struct dp_replay *dp_replay_create(struct dp_engine *engine, const struct dp_replay_options *options, char *error,
                                   size_t error_size)
{
    unsigned count = engine->config.worker_count;
    struct dp_replay *replay = calloc(1, sizeof *replay);
    struct runner *runners = aligned_alloc(RTE_CACHE_LINE_SIZE, count * sizeof *runners);
    if (!replay || !runners) {
        free(replay);
        free(runners);
        snprintf(error, error_size, "memory is short");
        return NULL;
    }
    memset(runners, 0, count * sizeof *runners);
    replay->engine = engine;
    replay->options = *options;
    replay->runners = runners;
    replay->threaded = count > 1;
    replay->join = options->join_after ? dp_join_create(options->join_after) : NULL;
    memcpy(replay->spread, engine->owner, sizeof replay->spread);
    for (unsigned i = 0; i < count; i++) {
        runners[i].replay = replay;
        runners[i].worker = engine->workers[i];
    }
    engine->event_wait = event_wait;
    engine->event_wait_context = replay;
    replay->pool =
        rte_pktmbuf_pool_create("replay", MBUFS, MBUF_CACHE, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (!replay->pool)
        snprintf(error, error_size, "no memory for %u mbufs", MBUFS);
    if (!replay->pool || (replay->threaded && !start_threads(replay, error, error_size))) {
        dp_replay_destroy(replay);
        return NULL;
    }
    return replay;
}

void dp_replay_destroy(struct dp_replay *replay)
{
    if (!replay)
        return;
    if (replay->threaded) {
        atomic_store_explicit(&replay->engine->stop, true, memory_order_release);
        while (atomic_load_explicit(&replay->running, memory_order_acquire))
            sched_yield();
        rte_eal_mp_wait_lcore();
        for (unsigned i = 0; i < replay->engine->config.worker_count; i++)
            rte_ring_free(replay->runners[i].input);
    }
    rte_mempool_free(replay->pool);
    dp_join_destroy(replay->join);
    free(replay->runners);
    free(replay->steps);
    free(replay);
}

static uint64_t finished(const struct dp_replay *replay)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < replay->engine->config.worker_count; i++)
        sum += atomic_load_explicit(&replay->runners[i].finished, memory_order_acquire);
    return sum;
}

/* Waits until at most `limit` packets are on their way. */
static void wait_in_flight(struct dp_replay *replay, uint64_t limit)
{
    while (replay->sent - finished(replay) > limit) {
        take_events(replay);
        sched_yield();
    }
}

/*
 * What a packet announces must be known when the flow comes that it announced, and not to flows that were before it, whichever
 * workers have them: such a packet is sent when all before it are done, and waited for.
 */
static bool announces(const struct dp_replay *replay, const struct rte_mbuf *mbuf, const struct dp_view *view)
{
    uint8_t scratch[CL_STREAM_MAX_BYTES];
    if (!replay->engine->learning.expected || view->result != DP_PARSE_ok || !view->payload_bytes)
        return false;
    uint32_t size_bytes = RTE_MIN(view->payload_bytes, CL_STREAM_MAX_BYTES);
    const uint8_t *bytes = dp_bytes(mbuf, view->payload_offset, size_bytes, scratch);
    return bytes && cl_may_announce(view->key.ip_proto, bytes, size_bytes);
}

/*
 * Ageing, from time to time, when nothing is on its way: a worker's own clock says nothing of what other workers will give it,
 * and flows that end at the same moment for any number of workers are reported at the same moment.
 */
static void settle(struct dp_replay *replay)
{
    if (replay->now_ns - replay->settled_ns < DP_SWEEP_ROUND_NS)
        return;
    wait_in_flight(replay, 0);
    replay->settled_ns = replay->now_ns;
    unsigned request = atomic_fetch_add_explicit(&replay->age_request, 1, memory_order_release) + 1;
    for (unsigned i = 0; i < replay->engine->config.worker_count; i++)
        while (atomic_load_explicit(&replay->runners[i].aged, memory_order_acquire) != request) {
            take_events(replay);
            sched_yield();
        }
}

static void wait_for_move(struct dp_replay *replay)
{
    while (dp_owner_state(replay->engine) != DP_MOVE_IDLE) {
        take_events(replay);
        sched_yield();
    }
}

static void rotate(struct dp_replay *replay, uint8_t shard)
{
    struct dp_engine *engine = replay->engine;
    wait_for_move(replay);
    dp_owner_move(engine, shard, (engine->owner[shard] + 1u) % engine->config.worker_count, false);
}

/* As a NIC with symmetric RSS: by the shard; fragments by their addresses; what is no flow to the first worker. */
static void feed(struct dp_replay *replay, struct rte_mbuf *mbuf, uint64_t now_ns, enum dp_link_type link_type)
{
    struct dp_engine *engine = replay->engine;
    struct dp_view view;
    unsigned target = 0;
    uint8_t shard = 0;
    dp_parse(mbuf, link_type, &view);
    if (engine->config.tunnels)
        dp_tunnel_enter(mbuf, engine->config.tunnels, &view);
    bool ordered = announces(replay, mbuf, &view);
    bool fragment = view.result == DP_PARSE_ok && (view.flags & DP_VIEW_FRAGMENT);
    if (view.result == DP_PARSE_ok) {
        shard = fragment ? dp_fragment_shard(&view) : ft_shard_of(&view.key);
        target = replay->spread[shard];
    }
    if (replay->options.spread_wrong)
        target = (target + 1) % engine->config.worker_count;

    struct dp_meta *meta = rte_mbuf_to_priv(mbuf);
    meta->now_ns = now_ns;
    meta->number = replay->number;
    meta->link = 0;
    meta->side = DP_SIDES;
    meta->link_type = (uint8_t)link_type;
    ordered |= fragment;
    settle(replay);
    wait_in_flight(replay, ordered ? 0 : IN_FLIGHT_MAX - 1);
    rte_ring_sp_enqueue(replay->runners[target].input, mbuf);
    replay->sent++;
    if (replay->options.rotate_packets && replay->number % replay->options.rotate_packets == 0)
        rotate(replay, shard);
    if (ordered)
        wait_in_flight(replay, 0);
}

static void run_inline(struct dp_replay *replay, struct rte_mbuf *const mbufs[], const uint64_t stamps_ns[],
                       unsigned count, enum dp_link_type link_type)
{
    struct dp_worker *worker = replay->engine->workers[0];
    struct dp_burst *burst = &worker->burst;
    for (unsigned i = 0; i < count; i++) {
        burst->mbuf[i] = mbufs[i];
        burst->number[i] = ++replay->number;
        burst->now_ns[i] = clock_at(replay, stamps_ns[i]);
        burst->link[i] = 0;
        burst->side[i] = DP_SIDES;
        burst->link_type[i] = (uint8_t)link_type;
    }
    burst->count = count;
    dp_worker_receive(worker, burst);
    dp_worker_housekeeping(worker, replay->now_ns);
    take_events(replay);
}

static void run_burst(struct dp_replay *replay, struct rte_mbuf *const mbufs[], const uint64_t stamps_ns[],
                      unsigned count, enum dp_link_type link_type)
{
    if (!replay->threaded) {
        run_inline(replay, mbufs, stamps_ns, count, link_type);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        replay->number++;
        feed(replay, mbufs[i], clock_at(replay, stamps_ns[i]), link_type);
    }
    take_events(replay);
}

/* Takes out what lies before the join; returns how many are left. */
static unsigned join_flows(struct dp_replay *replay, struct rte_mbuf *mbufs[], uint64_t stamps_ns[], unsigned count,
                           enum dp_link_type link_type)
{
    const dp_tunnel_policy tunnels = replay->engine->config.tunnels;
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        struct dp_view view;
        dp_parse(mbufs[i], link_type, &view);
        if (tunnels)
            dp_tunnel_enter(mbufs[i], tunnels, &view);
        if (!dp_join_passes(replay->join, &view)) {
            rte_pktmbuf_free(mbufs[i]);
            continue;
        }
        mbufs[kept] = mbufs[i];
        stamps_ns[kept++] = stamps_ns[i];
    }
    return kept;
}

int dp_replay_file(struct dp_replay *replay, const char *path, char *error, size_t error_size)
{
    char open_error[DP_SOURCE_PCAP_ERROR_BYTES];
    struct dp_source_pcap *source = dp_source_pcap_open(path, open_error);
    if (!source) {
        snprintf(error, error_size, "%s", open_error);
        return -EIO;
    }
    struct rte_mbuf *mbufs[DP_BURST_MAX];
    uint64_t stamps_ns[DP_BURST_MAX];
    enum dp_link_type link_type = dp_source_pcap_link_type(source);
    int count;
    for (unsigned bursts = 0;; bursts++) {
        count = dp_source_pcap_read(source, replay->pool, mbufs, stamps_ns, DP_BURST_MAX);
        if (count == -ENOBUFS && replay->sent != finished(replay)) {
            wait_in_flight(replay, 0);
            continue;
        }
        if (count <= 0)
            break;
        unsigned kept =
            replay->join ? join_flows(replay, mbufs, stamps_ns, (unsigned)count, link_type) : (unsigned)count;
        if (kept)
            run_burst(replay, mbufs, stamps_ns, kept, link_type);
        if (replay->options.progress && bursts % PROGRESS_EVERY == PROGRESS_EVERY - 1) {
            uint64_t read_bytes, size_bytes;
            dp_source_pcap_progress(source, &read_bytes, &size_bytes);
            replay->options.progress(replay->options.progress_context, read_bytes, size_bytes);
        }
    }
    if (count < 0)
        snprintf(error, error_size, "%s", dp_source_pcap_error(source));
    dp_source_pcap_close(source);
    return count;
}

uint64_t dp_replay_packets(const struct dp_replay *replay)
{
    return replay->number;
}

uint64_t dp_replay_finish(struct dp_replay *replay)
{
    struct dp_engine *engine = replay->engine;
    if (!replay->threaded) {
        dp_worker_close_all(engine->workers[0], replay->now_ns);
    } else {
        wait_in_flight(replay, 0);
        wait_for_move(replay);
        unsigned request = atomic_fetch_add_explicit(&replay->close_request, 1, memory_order_release) + 1;
        for (unsigned i = 0; i < engine->config.worker_count; i++)
            while (atomic_load_explicit(&replay->runners[i].closed, memory_order_acquire) != request) {
                take_events(replay);
                sched_yield();
            }
    }
    while (take_events(replay))
        ;
    return replay->now_ns - replay->offset_ns;
}

void dp_replay_reset(struct dp_replay *replay)
{
    replay->now_ns = replay->number = replay->sent = replay->offset_ns = 0;
    replay->step_count = 0;
    replay->settled_ns = 0;
    if (replay->join)
        dp_join_reset(replay->join);
    dp_learning_clear(&replay->engine->learning);
    for (unsigned i = 0; i < replay->engine->config.worker_count; i++) {
        struct dp_worker *worker = replay->engine->workers[i];
        memset(&worker->stats, 0, sizeof worker->stats);
        memset(worker->usage, 0, sizeof worker->usage);
        dp_fragments_stats_reset(worker->fragments);
        worker->sweep_shard = 0;
        worker->now_ns = 0;
        worker->swept_ns = worker->sweep_due_slots = 0;
        atomic_store_explicit(&replay->runners[i].finished, 0, memory_order_relaxed);
    }
}

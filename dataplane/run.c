#include "dataplane/run.h"

#include <errno.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define SHARED_TX_RING     4096u
#define TX_TRIES           16u
#define RECORDS_AT_ONCE    4096u
#define RECORD_WAIT_MS     10
#define STOP_WAIT_US       1000u
#define IDLE_SLEEP_US      50u
#define EVENT_WAIT_US      100u
#define MBUF_CACHE         256u
#define ENGINE_MBUFS_EXTRA 4096u

/* Phases of a run; w: control, release; r: workers and record thread, acquire. */
enum { PHASE_RUN, PHASE_DRAIN, PHASE_CLOSE, PHASE_RECORDS };

/* Nanoseconds since 1970 from the TSC: read once a burst, never a system call. */
struct clock {
    uint64_t tsc_start, wall_start_ns;
    uint64_t ns_per_tick_q32; /* 32.32 fixed point */
};

/* A port whose driver has fewer tx queues than there are workers: the others' packets go through a ring to its sender. */
struct tx_path {
    struct rte_ring *shared; /* multi-producer, single consumer; NULL: every worker has a queue */
    unsigned sender;
};

struct dp_run {
    struct dp_config config;
    struct dp_engine *engine;
    struct dp_ports ports;
    struct tx_path tx[DP_PORTS_MAX];
    struct rte_mempool *pool;
    struct rdr_formatter *formatter;
    struct dp_records *records;
    struct clock clock;
    enum dp_idle idle;
    bool ports_started, threads_started;
    pthread_t record_thread;
    bool drained;
    unsigned drain_ms;
    _Atomic int phase;
    _Atomic unsigned draining; /* workers that have stopped receiving; w: workers, release; r: control, acquire */
    _Atomic unsigned left;     /* workers that have ended; the same pairing */
};

static void clock_start(struct clock *clock)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock->tsc_start = rte_rdtsc();
    clock->wall_start_ns = (uint64_t)wall.tv_sec * NS_PER_S + (uint64_t)wall.tv_nsec;
    clock->ns_per_tick_q32 = (uint64_t)(((__uint128_t)NS_PER_S << 32) / rte_get_tsc_hz());
}

static uint64_t clock_now_ns(const struct clock *clock)
{
    __uint128_t ticks = rte_rdtsc() - clock->tsc_start;
    return clock->wall_start_ns + (uint64_t)(ticks * clock->ns_per_tick_q32 >> 32);
}

/* ---- sending ---- */

static unsigned send_some(const struct dp_port *port, uint16_t queue, struct rte_mbuf **mbufs, unsigned count)
{
    unsigned sent = 0;
    for (unsigned tries = 0; sent < count && tries < TX_TRIES; tries++)
        sent += rte_eth_tx_burst(port->port_id, queue, mbufs + sent, (uint16_t)(count - sent));
    return sent;
}

/*
 * A worker's packets for one port, in order. To its own queue: sent or refused. To the port's sender: its packets from now
 * on, with the outcome that it will count when it has sent them.
 */
static void send_to_port(struct dp_run *run, const struct dp_worker *worker, unsigned port_index,
                         struct dp_burst *burst, const uint8_t index[], unsigned count)
{
    const struct tx_path *path = &run->tx[port_index];
    struct rte_mbuf *mbufs[DP_BURST_MAX];
    for (unsigned k = 0; k < count; k++) {
        mbufs[k] = burst->mbuf[index[k]];
        if (path->shared)
            ((struct dp_meta *)rte_mbuf_to_priv(mbufs[k]))->outcome = burst->outcome[index[k]];
    }
    unsigned sent = path->shared ? rte_ring_mp_enqueue_burst(path->shared, (void **)mbufs, count, NULL)
                                 : send_some(&run->ports.port[port_index], worker->number, mbufs, count);
    for (unsigned k = 0; k < count; k++) {
        if (k >= sent) {
            burst->outcome[index[k]] = DP_OUTCOME_tx_refused;
            continue;
        }
        burst->mbuf[index[k]] = NULL;
        if (path->shared)
            burst->outcome[index[k]] = DP_OUTCOME_HANDED_OFF;
    }
}

static void transmit(void *context, struct dp_worker *worker, struct dp_burst *burst)
{
    struct dp_run *run = context;
    uint64_t unsent = 0;
    uint8_t port_of[DP_BURST_MAX];
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] == DP_OUTCOME_HANDED_OFF || dp_outcome_fate(burst->outcome[i]) == DP_FATE_DROPPED)
            continue;
        if (run->engine->config.links[burst->link[i]].mode == DP_RECEIVE_ONLY)
            continue;
        port_of[i] = (uint8_t)(burst->link[i] * DP_SIDES + !burst->side[i]);
        unsent |= 1ull << i;
    }
    while (unsent) {
        uint8_t index[DP_BURST_MAX];
        unsigned count = 0, first = (unsigned)__builtin_ctzll(unsent);
        for (unsigned i = first; i < burst->count; i++)
            if (unsent & 1ull << i && port_of[i] == port_of[first]) {
                index[count++] = (uint8_t)i;
                unsent &= ~(1ull << i);
            }
        send_to_port(run, worker, port_of[first], burst, index, count);
    }
}

/* Sends what other workers left for ports of ours, and counts how those packets ended. */
static unsigned send_shared(struct dp_run *run, struct dp_worker *worker)
{
    unsigned total = 0;
    for (unsigned p = 0; p < run->ports.count; p++) {
        if (!run->tx[p].shared || run->tx[p].sender != worker->number)
            continue;
        struct rte_mbuf *mbufs[DP_BURST_MAX];
        uint32_t frame_bytes[DP_BURST_MAX];
        uint8_t outcome[DP_BURST_MAX];
        unsigned count = rte_ring_sc_dequeue_burst(run->tx[p].shared, (void **)mbufs, DP_BURST_MAX, NULL);
        for (unsigned i = 0; i < count; i++) {
            frame_bytes[i] = rte_pktmbuf_pkt_len(mbufs[i]);
            outcome[i] = ((const struct dp_meta *)rte_mbuf_to_priv(mbufs[i]))->outcome;
        }
        unsigned sent = send_some(&run->ports.port[p], 0, mbufs, count);
        for (unsigned i = 0; i < count; i++)
            dp_count_outcome(worker, i < sent ? outcome[i] : DP_OUTCOME_tx_refused, frame_bytes[i]);
        rte_pktmbuf_free_bulk(mbufs + sent, count - sent);
        total += count;
    }
    return total;
}

/* ---- receiving ---- */

/* A full burst waits for the next one to come; a smaller one says that there is time. */
static unsigned poll_queue(struct dp_run *run, struct dp_worker *worker, const struct dp_port *port, uint16_t queue)
{
    struct dp_burst *burst = dp_worker_next(worker);
    burst->count = rte_eth_rx_burst(port->port_id, queue, burst->mbuf, (uint16_t)run->config.workers.burst_pkts);
    if (!burst->count)
        return 0;
    uint64_t now_ns = clock_now_ns(&run->clock);
    if (now_ns < worker->now_ns)
        now_ns = worker->now_ns;
    for (unsigned i = 0; i < burst->count; i++) {
        burst->now_ns[i] = now_ns;
        burst->number[i] = 0;
        burst->link[i] = (uint8_t)port->link;
        burst->side[i] = (uint8_t)port->side;
        burst->link_type[i] = DP_LINK_ETHERNET;
    }
    unsigned count = burst->count;
    if (count == run->config.workers.burst_pkts) {
        dp_worker_receive_ahead(worker);
    } else {
        dp_worker_finish(worker);
        dp_worker_receive(worker, burst);
    }
    return count;
}

/* Queue q of a port belongs to worker q mod workers; a port with a single queue to worker (port mod workers). */
static bool polls(const struct dp_run *run, const struct dp_worker *worker, unsigned port, unsigned queue)
{
    unsigned workers = run->engine->config.worker_count;
    return (run->ports.port[port].rx_queues == 1 ? port : queue) % workers == worker->number;
}

static unsigned poll_ports(struct dp_run *run, struct dp_worker *worker)
{
    unsigned work = 0;
    for (unsigned p = 0; p < run->ports.count; p++)
        for (uint16_t q = 0; q < run->ports.port[p].rx_queues; q++)
            if (polls(run, worker, p, q))
                work += poll_queue(run, worker, &run->ports.port[p], q);
    if (!work)
        dp_worker_finish(worker);
    return work;
}

static void idle(const struct dp_run *run)
{
    if (run->idle == DP_IDLE_YIELD)
        sched_yield();
    else if (run->idle == DP_IDLE_SLEEP)
        usleep(IDLE_SLEEP_US);
    else
        rte_pause();
}

/* While a worker ends its flows: there are many more of them than its ring holds events. */
static void event_wait(void *context)
{
    (void)context;
    usleep(EVENT_WAIT_US);
}

static int worker_main(void *context)
{
    struct dp_run *run = context;
    struct dp_worker *worker = run->engine->workers[rte_lcore_id() - 1];
    bool draining = false;
    for (;;) {
        int phase = atomic_load_explicit(&run->phase, memory_order_acquire);
        if (phase == PHASE_CLOSE)
            break;
        if (phase == PHASE_DRAIN && !draining) {
            draining = true;
            dp_worker_finish(worker);
            atomic_fetch_add_explicit(&run->draining, 1, memory_order_release);
        }
        unsigned work = draining ? 0 : poll_ports(run, worker);
        work += dp_worker_take_handoffs(worker) + send_shared(run, worker);
        dp_worker_housekeeping(worker, clock_now_ns(&run->clock));
        if (!work)
            idle(run);
    }
    dp_worker_close_all(worker, clock_now_ns(&run->clock));
    atomic_fetch_add_explicit(&run->left, 1, memory_order_release);
    return 0;
}

/* ---- records ---- */

static void *record_main(void *context)
{
    struct dp_run *run = context;
    for (;;) {
        int phase = atomic_load_explicit(&run->phase, memory_order_acquire);
        unsigned work = dp_engine_drain_events(run->engine, RECORDS_AT_ONCE, dp_records_event, run->records);
        uint64_t now_ns = clock_now_ns(&run->clock);
        dp_records_tick(run->records, now_ns);
        rdr_formatter_poll(run->formatter, now_ns, work ? 0 : RECORD_WAIT_MS);
        if (!work && !run->config.rdr.destination_count)
            usleep(RECORD_WAIT_MS * 1000);
        if (phase == PHASE_RECORDS && !work)
            break;
    }
    dp_records_link_usage(run->records, clock_now_ns(&run->clock));
    run->drained = rdr_formatter_drain(run->formatter, run->drain_ms);
    return NULL;
}

/* ---- life ---- */

static bool create_tx_paths(struct dp_run *run)
{
    unsigned workers = run->engine->config.worker_count;
    for (unsigned p = 0; p < run->ports.count; p++) {
        char name[RTE_RING_NAMESIZE];
        if (!run->ports.port[p].sends || run->ports.port[p].tx_queues >= workers)
            continue;
        snprintf(name, sizeof name, "tx%u", p);
        run->tx[p].sender = p % workers;
        run->tx[p].shared = rte_ring_create(name, SHARED_TX_RING, (int)rte_socket_id(), RING_F_SC_DEQ);
        if (!run->tx[p].shared)
            return false;
    }
    return true;
}

static void configure_engine(const struct dp_config *config, struct dp_engine_config *engine)
{
    dp_engine_config_init(engine);
    engine->worker_count = config->workers.count;
    engine->creator = config->creator;
    engine->flow_events = config->rdr.flow_events;
    engine->started_before_ns = (uint64_t)config->classification.started_before_s * 1000000000u;
    engine->pending_bytes = (uint64_t)config->classification.pending_megabytes << 20;
    engine->checksums = config->classification.checksums;
    engine->link_count = config->link_count;
    memcpy(engine->links, config->links, sizeof engine->links);
    dp_config_flow_table(config, &engine->flow_table);
    dp_config_classification(config, &engine->classification);
    engine->tunnels = dp_config_tunnels(config);
    engine->learning = (struct dp_learning_config){.enabled = config->classification.learning,
                                                   .expectations = config->classification.expectations,
                                                   .names = config->classification.learned_names,
                                                   .per_host_max = config->classification.learned_per_host_max};
}

static bool create_records(struct dp_run *run, char *error, size_t error_size)
{
    const struct dp_config *config = &run->config;
    struct rdr_formatter_config formatter;
    dp_config_rdr(config, &formatter);
    run->formatter = rdr_formatter_create(&formatter, error, error_size);
    if (!run->formatter)
        return false;
    bool any = config->rdr.destination_count != 0;
    struct dp_records_config records = {
        .transaction_rate_per_s = any ? config->rdr.transaction_rate_per_s : 0,
        .transaction_usage = any && config->rdr.transaction_usage,
        .transaction_usage_minimum_bytes = config->rdr.transaction_usage_minimum_bytes,
        .flow_events = any && config->rdr.flow_events,
        .header_ids = config->rdr.header_ids == DP_HEADER_IDS_ON,
        .processor_id = config->rdr.processor_id,
        .link_usage_interval_ns = any ? (uint64_t)config->rdr.link_usage_interval_s * NS_PER_S : 0,
    };
    run->records = dp_records_create(run->engine, &records, run->formatter, clock_now_ns(&run->clock));
    if (!run->records)
        snprintf(error, error_size, "memory is short for records");
    return run->records;
}

/* What comes with the ports: packet buffers, tx paths, the ports' own set-up. */
static bool create_ports(struct dp_run *run, char *error, size_t error_size)
{
    const struct dp_config *config = &run->config;
    if (dp_ports_find(config, config->workers.count, &run->ports, error, error_size))
        return false;
    uint8_t owner[FT_SHARDS];
    dp_ports_owners(&run->ports, owner);
    dp_owner_set(run->engine, owner);
    uint32_t mbufs = config->memory.mbufs ? config->memory.mbufs : dp_ports_mbufs(&run->ports, ENGINE_MBUFS_EXTRA);
    run->pool = rte_pktmbuf_pool_create("packets", mbufs, MBUF_CACHE, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE,
                                        (int)rte_socket_id());
    if (!run->pool || !create_tx_paths(run)) {
        snprintf(error, error_size, "no DPDK memory for %u mbufs; raise memory.megabytes or lower memory.mbufs", mbufs);
        return false;
    }
    return !dp_ports_setup(&run->ports, run->pool, error, error_size);
}

struct dp_run *dp_run_create(const struct dp_config *config, int *ret_error, char *error, size_t error_size)
{
    *ret_error = -EIO;
    struct dp_run *run = calloc(1, sizeof *run);
    if (!run) {
        snprintf(error, error_size, "memory is short");
        return NULL;
    }
    run->config = *config;
    run->idle = dp_config_idle(config);
    clock_start(&run->clock);
    struct dp_engine_config engine;
    configure_engine(config, &engine);
    run->engine = dp_engine_create(&engine, error, error_size);
    if (!run->engine) {
        *ret_error = -EINVAL;
        dp_run_destroy(run);
        return NULL;
    }
    run->engine->transmit = transmit;
    run->engine->transmit_context = run;
    run->engine->event_wait = event_wait;
    run->engine->started_ns = run->clock.wall_start_ns;
    if (!create_records(run, error, error_size) || !create_ports(run, error, error_size)) {
        dp_run_destroy(run);
        return NULL;
    }
    return run;
}

int dp_run_start(struct dp_run *run, char *error, size_t error_size)
{
    int result = dp_ports_start(&run->ports, run->engine->owner, error, error_size);
    if (result)
        return result;
    run->ports_started = true;
    /* Before the workers: at their end they wait for it. */
    result = rte_ctrl_thread_create(&run->record_thread, "sce-records", NULL, record_main, run);
    if (result) {
        snprintf(error, error_size, "record thread: %s", strerror(-result));
        return result;
    }
    for (unsigned i = 1; i <= run->engine->config.worker_count; i++)
        rte_eal_remote_launch(worker_main, run, i);
    run->threads_started = true;
    return 0;
}

/* Nothing is on its way any more when every packet that was received has ended. */
static bool all_ended(struct dp_run *run)
{
    struct dp_stats stats;
    uint64_t ended = 0;
    dp_engine_stats(run->engine, &stats);
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        ended += stats.outcome_packets[i];
    for (unsigned p = 0; p < run->ports.count; p++)
        if (run->tx[p].shared && !rte_ring_empty(run->tx[p].shared))
            return false;
    return ended == stats.received_packets;
}

bool dp_run_stop(struct dp_run *run, unsigned drain_ms)
{
    if (!run->threads_started)
        return true;
    run->drain_ms = drain_ms;
    atomic_store_explicit(&run->phase, PHASE_DRAIN, memory_order_release);
    while (atomic_load_explicit(&run->draining, memory_order_acquire) < run->engine->config.worker_count ||
           !all_ended(run) || dp_owner_state(run->engine) != DP_MOVE_IDLE) {
        dp_owner_release(run->engine); /* a shard that was frozen when the end came */
        usleep(STOP_WAIT_US);
    }
    atomic_store_explicit(&run->phase, PHASE_CLOSE, memory_order_release);
    while (atomic_load_explicit(&run->left, memory_order_acquire) < run->engine->config.worker_count)
        usleep(STOP_WAIT_US);
    rte_eal_mp_wait_lcore();
    atomic_store_explicit(&run->phase, PHASE_RECORDS, memory_order_release);
    pthread_join(run->record_thread, NULL);
    run->threads_started = false;
    dp_ports_stop(&run->ports);
    run->ports_started = false;
    return run->drained;
}

void dp_run_destroy(struct dp_run *run)
{
    if (!run)
        return;
    if (run->ports_started)
        dp_ports_stop(&run->ports);
    dp_ports_close(&run->ports);
    dp_records_destroy(run->records);
    rdr_formatter_destroy(run->formatter);
    for (unsigned p = 0; p < run->ports.count; p++)
        rte_ring_free(run->tx[p].shared);
    dp_engine_destroy(run->engine);
    rte_mempool_free(run->pool);
    free(run);
}

struct dp_engine *dp_run_engine(struct dp_run *run)
{
    return run->engine;
}

struct dp_ports *dp_run_ports(struct dp_run *run)
{
    return &run->ports;
}

const struct dp_config *dp_run_config(const struct dp_run *run)
{
    return &run->config;
}

void dp_run_record_stats(const struct dp_run *run, struct dp_record_stats *ret_made,
                         struct rdr_formatter_stats *ret_sent)
{
    dp_records_stats(run->records, ret_made);
    rdr_formatter_stats(run->formatter, ret_sent);
}

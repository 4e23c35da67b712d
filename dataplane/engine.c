#include "dataplane/worker.h"

#include <stdio.h>
#include <stdlib.h>

#define DATAGRAMS_MAX 4096u /* in fragments, per worker */

void dp_engine_config_init(struct dp_engine_config *config)
{
    memset(config, 0, sizeof *config);
    config->worker_count = 1;
    config->creator = 1;
    config->sweep_slots = 64;
    config->pending_bytes = 64u << 20;
    config->attribute_blocks = 1u << 16;
    ft_config_init(&config->flow_table);
    cl_options_init(&config->classification);
    dp_learning_config_init(&config->learning);
}

static void *ring_create(unsigned count, unsigned element_bytes)
{
    struct rte_ring *ring =
        aligned_alloc(RTE_CACHE_LINE_SIZE,
                      RTE_ALIGN_CEIL((size_t)rte_ring_get_memsize_elem(element_bytes, count), RTE_CACHE_LINE_SIZE));
    if (ring && rte_ring_init(ring, "sce", count, RING_F_SP_ENQ | RING_F_SC_DEQ)) {
        free(ring);
        return NULL;
    }
    return ring;
}

static void worker_destroy(struct dp_worker *worker)
{
    if (!worker)
        return;
    struct cl_worker *given = atomic_load_explicit(&worker->classifier_given, memory_order_acquire);
    if (given != worker->classifier)
        cl_worker_free(given);
    cl_worker_free(worker->classifier);
    dp_pending_pool_free(worker->pending);
    dp_fragments_destroy(worker->fragments);
    free(worker->events);
    for (unsigned i = 0; worker->handoff && i < worker->engine->config.worker_count; i++)
        free(worker->handoff[i]);
    free(worker->handoff);
    free(worker);
}

static struct dp_worker *worker_create(struct dp_engine *engine, unsigned number)
{
    const struct dp_engine_config *config = &engine->config;
    struct dp_worker *worker = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof *worker);
    if (!worker)
        return NULL;
    memset(worker, 0, sizeof *worker);
    worker->engine = engine;
    worker->number = (uint8_t)number;
    worker->attributes.blocks = &engine->attributes;
    struct dp_fragment_config fragments = {.capacity_datagrams = DATAGRAMS_MAX,
                                           .timeout_ns = DP_FRAGMENT_TIMEOUT_NS,
                                           .secret_seed = config->flow_table.secret_seed};
    bool ok = (worker->classifier = cl_worker_create(engine->classifier)) &&
              (worker->pending = number ? dp_pending_pool_share(engine->workers[0]->pending)
                                        : dp_pending_pool_create(config->pending_bytes)) &&
              (worker->fragments = dp_fragments_create(&fragments)) &&
              (worker->events = ring_create(DP_EVENT_RING_EVENTS, sizeof(struct dp_event))) &&
              (worker->handoff = calloc(config->worker_count, sizeof(void *)));
    for (unsigned i = 0; ok && i < config->worker_count; i++)
        ok = i == number || (worker->handoff[i] = ring_create(DP_HANDOFF_RING_PACKETS, sizeof(void *)));
    worker->pack = cl_engine_number(engine->classifier);
    atomic_store_explicit(&worker->classifier_given, worker->classifier, memory_order_relaxed);
    atomic_store_explicit(&worker->classifier_taken, worker->classifier, memory_order_relaxed);
    if (!ok) {
        worker_destroy(worker);
        return NULL;
    }
    return worker;
}

struct dp_engine *dp_engine_create(const struct dp_engine_config *config, char *error, size_t error_size)
{
    struct dp_engine *engine = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof *engine);
    if (!engine) {
        snprintf(error, error_size, "memory is short");
        return NULL;
    }
    memset(engine, 0, sizeof *engine);
    engine->config = *config;
    if (!(engine->classifier = cl_engine_load(&config->classification, error, error_size)) ||
        !(engine->flows = ft_create(&config->flow_table, error, error_size))) {
        dp_engine_destroy(engine);
        return NULL;
    }
    bool ok = (engine->service_of = calloc(UINT16_MAX + 1u, 1)) &&
              dp_learning_create(&engine->learning, &config->learning, config->flow_table.secret_seed) &&
              dp_pool_init(&engine->attributes, config->attribute_blocks * config->worker_count,
                           sizeof(struct dp_attributes)) &&
              (engine->move.fragments = dp_fragment_carrier_create(DATAGRAMS_MAX)) &&
              (engine->waiting_events = calloc(config->worker_count, sizeof *engine->waiting_events));
    engine->event_attributes.blocks = &engine->attributes;
    if (ok)
        dp_reload_map_services(engine, engine->classifier, 1);
    for (unsigned i = 0; ok && i < config->worker_count; i++)
        ok = (engine->workers[i] = worker_create(engine, i));
    if (!ok) {
        snprintf(error, error_size, "memory is short for %u workers", config->worker_count);
        dp_engine_destroy(engine);
        return NULL;
    }
    uint8_t owner[FT_SHARDS];
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        owner[shard] = (uint8_t)(shard % config->worker_count);
    dp_owner_set(engine, owner);
    return engine;
}

void dp_engine_destroy(struct dp_engine *engine)
{
    if (!engine)
        return;
    dp_reload_drop(engine);
    for (unsigned i = 0; i < engine->config.worker_count; i++)
        worker_destroy(engine->workers[i]);
    dp_learning_destroy(&engine->learning);
    dp_pool_fini(&engine->attributes);
    dp_fragment_carrier_destroy(engine->move.fragments);
    free(engine->waiting_events);
    ft_destroy(engine->flows);
    cl_engine_free(engine->classifier);
    free(engine->service_of);
    free(engine);
}

/* The next event of a worker: NULL when its ring is empty. */
static struct dp_event *next_event(struct dp_engine *engine, unsigned worker)
{
    struct dp_event *event = &engine->waiting_events[worker];
    if (!engine->event_waits[worker])
        engine->event_waits[worker] = !rte_ring_sc_dequeue_elem(engine->workers[worker]->events, event, sizeof *event);
    return engine->event_waits[worker] ? event : NULL;
}

/* Takes events up to the current order, a share of each worker. *ret_next: the lowest later one that was met, 0 = none. */
static unsigned drain_order(struct dp_engine *engine, unsigned share, dp_event_handler handler, void *context,
                            uint32_t *ret_next, bool *ret_all)
{
    unsigned taken = 0;
    *ret_next = 0;
    *ret_all = true;
    for (unsigned w = 0; w < engine->config.worker_count; w++) {
        struct dp_event *event = NULL;
        unsigned i = 0;
        for (; i < share && (event = next_event(engine, w)) && event->order <= engine->event_order; i++) {
            handler(context, event, dp_attributes_get(&engine->event_attributes, event->attributes));
            dp_attributes_drop(&engine->event_attributes, event->attributes);
            engine->event_waits[w] = false;
        }
        taken += i;
        *ret_all &= i < share;
        if (i < share && event && (!*ret_next || event->order < *ret_next))
            *ret_next = event->order;
    }
    return taken;
}

/*
 * A flow's events come from one ring until its shard changes hands, then from another, with a larger order. Whoever sees one
 * of order n finds all that came before it, of smaller orders, in the other rings: so the order goes on to n after a round
 * over all rings that began when n had been met, and found nothing smaller.
 */
unsigned dp_engine_drain_events(struct dp_engine *engine, unsigned limit, dp_event_handler handler, void *context)
{
    unsigned taken = 0, share = RTE_MAX(limit / engine->config.worker_count, 1u); /* a busy worker starves no other */
    uint32_t next;
    do {
        bool all;
        taken += drain_order(engine, share, handler, context, &next, &all);
        if (next && all && next == engine->event_order_next)
            engine->event_order = next;
        engine->event_order_next = next;
    } while (next && !taken);
    dp_attributes_flush(&engine->event_attributes);
    return taken;
}

/* dp_stats is made of 64-bit counters alone, so it is summed as an array of them. */
static_assert(sizeof(struct dp_stats) % sizeof(uint64_t) == 0, "counters only");

void dp_engine_stats(const struct dp_engine *engine, struct dp_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof *ret_stats);
    uint64_t *sum = (uint64_t *)ret_stats;
    for (unsigned w = 0; w < engine->config.worker_count; w++) {
        const uint64_t *counters = (const uint64_t *)&engine->workers[w]->stats;
        for (size_t i = 0; i < sizeof *ret_stats / sizeof *sum; i++)
            sum[i] += __atomic_load_n(&counters[i], __ATOMIC_RELAXED);
    }
    for (unsigned w = 0; w < engine->config.worker_count; w++) {
        struct dp_fragment_stats fragments;
        dp_fragments_stats(engine->workers[w]->fragments, &fragments);
        uint64_t *to = (uint64_t *)&ret_stats->fragments;
        for (size_t i = 0; i < sizeof fragments / sizeof *to; i++)
            to[i] += ((const uint64_t *)&fragments)[i];
    }
}

void dp_engine_usage(const struct dp_engine *engine, unsigned link, struct dp_usage ret_usage[DP_SERVICES_MAX])
{
    memset(ret_usage, 0, DP_SERVICES_MAX * sizeof *ret_usage);
    for (unsigned w = 0; w < engine->config.worker_count; w++)
        for (unsigned s = 0; s < DP_SERVICES_MAX; s++) {
            const uint64_t *from = (const uint64_t *)&engine->workers[w]->usage[link][s];
            uint64_t *to = (uint64_t *)&ret_usage[s];
            for (size_t i = 0; i < sizeof *ret_usage / sizeof *to; i++)
                to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
        }
}

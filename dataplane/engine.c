#include "dataplane/worker.h"

#include <stdio.h>
#include <stdlib.h>

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
    dp_attributes_fini(&worker->attributes);
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
    struct dp_fragment_config fragments = {.capacity_datagrams = 4096,
                                           .timeout_ns = DP_FRAGMENT_TIMEOUT_NS,
                                           .secret_seed = config->flow_table.secret_seed};
    bool ok = (worker->classifier = cl_worker_create(engine->classifier)) &&
              (worker->pending = dp_pending_pool_create(config->pending_bytes / config->worker_count)) &&
              (worker->fragments = dp_fragments_create(&fragments)) &&
              (worker->events = ring_create(DP_EVENT_RING_EVENTS, sizeof(struct dp_event))) &&
              (worker->handoff = calloc(config->worker_count, sizeof(void *))) &&
              !dp_attributes_init(&worker->attributes, config->attribute_blocks);
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
    struct dp_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        snprintf(error, error_size, "memory is short");
        return NULL;
    }
    engine->config = *config;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        engine->owner[shard] = (uint8_t)(shard % config->worker_count);
    if (!(engine->classifier = cl_engine_load(&config->classification, error, error_size)) ||
        !(engine->flows = ft_create(&config->flow_table, error, error_size))) {
        dp_engine_destroy(engine);
        return NULL;
    }
    bool ok = (engine->service_of = calloc(UINT16_MAX + 1u, 1)) &&
              dp_learning_create(&engine->learning, &config->learning, config->flow_table.secret_seed);
    if (ok)
        dp_reload_map_services(engine, engine->classifier, 1);
    for (unsigned i = 0; ok && i < config->worker_count; i++)
        ok = (engine->workers[i] = worker_create(engine, i));
    if (!ok) {
        snprintf(error, error_size, "memory is short for %u workers", config->worker_count);
        dp_engine_destroy(engine);
        return NULL;
    }
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
    ft_destroy(engine->flows);
    cl_engine_free(engine->classifier);
    free(engine->service_of);
    free(engine);
}

unsigned dp_engine_drain_events(struct dp_engine *engine, unsigned limit, dp_event_handler handler, void *context)
{
    unsigned taken = 0, share = RTE_MAX(limit / engine->config.worker_count, 1u); /* a busy worker starves no other */
    struct dp_event event;
    for (unsigned w = 0; w < engine->config.worker_count; w++) {
        struct dp_worker *worker = engine->workers[w];
        for (unsigned i = 0; i < share && !rte_ring_sc_dequeue_elem(worker->events, &event, sizeof event); i++) {
            handler(context, &event, event.attributes ? &worker->attributes.blocks[event.attributes] : NULL);
            dp_attributes_return(&worker->attributes, event.attributes);
            taken++;
        }
    }
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

#include "dataplane/reload.h"

#include <stdio.h>
#include <stdlib.h>

#include "dataplane/worker.h"

void dp_reload_map_services(struct dp_engine *engine, const struct cl_engine *classifier, unsigned first)
{
    for (unsigned i = first; i < cl_protocol_count(classifier); i++) {
        uint16_t service = cl_protocol_get(classifier, (cl_protocol)i)->service_id;
        engine->service_of[i] = (uint8_t)(service < DP_SERVICES_MAX ? service : 0);
    }
}

/* ---- control thread ---- */

static void free_workers(struct dp_engine *engine)
{
    struct dp_reload *reload = &engine->reload;
    for (unsigned i = 0; reload->workers && i < engine->config.worker_count; i++)
        cl_worker_free(reload->workers[i]);
    free(reload->workers);
    reload->workers = NULL;
}

static bool create_workers(struct dp_engine *engine, const struct cl_engine *classifier)
{
    struct dp_reload *reload = &engine->reload;
    bool ok = (reload->workers = calloc(engine->config.worker_count, sizeof *reload->workers));
    for (unsigned i = 0; ok && i < engine->config.worker_count; i++)
        ok = (reload->workers[i] = cl_worker_create(classifier));
    if (!ok)
        free_workers(engine);
    return ok;
}

bool dp_reload_start(struct dp_engine *engine, const char *path, char *error, size_t error_size)
{
    struct dp_reload *reload = &engine->reload;
    if (!dp_reload_poll(engine)) {
        snprintf(error, error_size, "the pack before it is still being handed out; try again");
        return false;
    }
    if (dp_owner_state(engine) !=
        DP_MOVE_IDLE) { /* its flows must not come to a worker whose pack is older than theirs */
        snprintf(error, error_size, "a shard is changing hands; try again");
        return false;
    }
    struct cl_options options = engine->config.classification;
    options.pack_path = path;
    struct cl_engine *loaded = cl_engine_reload(engine->classifier, &options, error, error_size);
    if (!loaded)
        return false;
    if (!create_workers(engine, loaded)) {
        snprintf(error, error_size, "memory is short for %u workers", engine->config.worker_count);
        cl_engine_free(loaded);
        return false;
    }
    /* Only names that nobody has yet; whoever gets one of them got the new pack first. */
    dp_reload_map_services(engine, loaded, cl_protocol_count(engine->classifier));
    reload->old = engine->classifier;
    engine->classifier = loaded;
    reload->step = DP_RELOAD_READER;
    atomic_store_explicit(&reload->reader_given, loaded, memory_order_release);
    return true;
}

static void give_to_workers(struct dp_engine *engine)
{
    for (unsigned i = 0; i < engine->config.worker_count; i++) {
        struct dp_worker *worker = engine->workers[i];
        struct cl_worker *old = atomic_load_explicit(&worker->classifier_taken, memory_order_relaxed);
        atomic_store_explicit(&worker->classifier_given, engine->reload.workers[i], memory_order_release);
        engine->reload.workers[i] = old;
    }
}

static bool all_workers_took(const struct dp_engine *engine)
{
    for (unsigned i = 0; i < engine->config.worker_count; i++) {
        struct dp_worker *worker = engine->workers[i];
        if (atomic_load_explicit(&worker->classifier_taken, memory_order_acquire) !=
            atomic_load_explicit(&worker->classifier_given, memory_order_relaxed))
            return false;
    }
    return true;
}

bool dp_reload_poll(struct dp_engine *engine)
{
    struct dp_reload *reload = &engine->reload;
    if (reload->step == DP_RELOAD_READER) {
        /* Records first: events that a worker made under the new pack have names that the old engine has not. */
        if (reload->has_reader &&
            atomic_load_explicit(&reload->reader_taken, memory_order_acquire) != engine->classifier)
            return false;
        give_to_workers(engine);
        reload->step = DP_RELOAD_WORKERS;
    }
    if (reload->step == DP_RELOAD_WORKERS) {
        if (!all_workers_took(engine))
            return false;
        free_workers(engine);
        cl_engine_free(reload->old);
        reload->old = NULL;
        reload->step = DP_RELOAD_NONE;
    }
    return true;
}

void dp_reload_drop(struct dp_engine *engine)
{
    struct dp_reload *reload = &engine->reload;
    /* Workers that never took theirs still have the old ones, which the engine frees with them. */
    if (reload->step == DP_RELOAD_WORKERS)
        for (unsigned i = 0; i < engine->config.worker_count; i++)
            if (engine->workers[i]->classifier == reload->workers[i])
                reload->workers[i] = NULL;
    free_workers(engine);
    cl_engine_free(reload->old);
    reload->old = NULL;
    reload->step = DP_RELOAD_NONE;
}

/* ---- record thread ---- */

void dp_reload_reader_begin(struct dp_engine *engine)
{
    engine->reload.has_reader = true;
    atomic_store_explicit(&engine->reload.reader_given, engine->classifier, memory_order_relaxed);
    atomic_store_explicit(&engine->reload.reader_taken, engine->classifier, memory_order_relaxed);
}

void dp_reload_reader_end(struct dp_engine *engine)
{
    engine->reload.has_reader = false;
}

const struct cl_engine *dp_reload_reader_take(struct dp_engine *engine)
{
    const struct cl_engine *given = atomic_load_explicit(&engine->reload.reader_given, memory_order_acquire);
    atomic_store_explicit(&engine->reload.reader_taken, given, memory_order_release);
    return given;
}

/* ---- worker ---- */

void dp_worker_take_pack(struct dp_worker *worker)
{
    struct cl_worker *given = atomic_load_explicit(&worker->classifier_given, memory_order_acquire);
    if (likely(given == worker->classifier))
        return;
    worker->classifier = given;
    worker->pack = cl_engine_number(cl_worker_engine(given));
    atomic_store_explicit(&worker->classifier_taken, given, memory_order_release);
}

/*
 * A new protocol pack in a running engine. Packets never wait for it: the control thread loads and prepares everything, then
 *   1. the record thread takes the new names (which hold the old ones too, see cl_engine_reload),
 *   2. each worker takes its part of the new pack between two bursts,
 *   3. when all have, the old pack's memory is freed.
 *
 * Verdicts stay: a decided flow is never looked at again. An undecided flow keeps its bytes and texts, and what it waits for
 * where the clause is the same in both packs; else it is looked at anew from its kept bytes, when its next packet comes. Nothing
 * of the old pack is needed for that, so its memory does not wait for idle flows.
 *
 * A flow remembers the pack that judged it: ft_cold.pack, 1 for the first pack of the process, 255 is followed by 1. Names and
 * ids of a flow are those of that pack, whatever was loaded since.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "classifier/classifier.h"

struct dp_engine;
struct dp_worker;

enum dp_reload_step { DP_RELOAD_NONE, DP_RELOAD_READER, DP_RELOAD_WORKERS };

/* Part of dp_engine; the control thread's but for the atomics. */
struct dp_reload {
    enum dp_reload_step step;
    struct cl_engine *old;      /* in use until all have passed */
    struct cl_worker **workers; /* [worker]: parts of the new pack, then of the old, to be freed */
    bool has_reader;            /* a record thread is there */
    /* w: control, release; r: record thread, acquire; and the other way round. */
    _Atomic(const struct cl_engine *) reader_given, reader_taken;
};

/* ---- control thread ---- */

/*
 * Loads the pack at `path` (seconds when it has to be compiled) and starts to hand it out. False with the reason, and nothing
 * changes, when it is refused or when an earlier one is still being handed out.
 */
bool dp_reload_start(struct dp_engine *engine, const char *path, char *error, size_t error_size);
/* Goes on with it; true when nothing is under way any more. Never waits. */
bool dp_reload_poll(struct dp_engine *engine);
/* At the engine's end, when nobody else runs. */
void dp_reload_drop(struct dp_engine *engine);
/* Services of the names from `first` on. */
void dp_reload_map_services(struct dp_engine *engine, const struct cl_engine *classifier, unsigned first);

/* ---- record thread; begin and end: before it starts and after it ended ---- */

void dp_reload_reader_begin(struct dp_engine *engine);
void dp_reload_reader_end(struct dp_engine *engine);
/* The engine to look names up in until the next call; nothing of an earlier one may be in use. */
const struct cl_engine *dp_reload_reader_take(struct dp_engine *engine);

/* ---- worker ---- */

/* Takes what the control thread gave; between bursts. */
void dp_worker_take_pack(struct dp_worker *worker);

/* What ft_cold.pack says for the pack of that number. */
static inline uint8_t dp_pack_label(uint32_t number)
{
    return (uint8_t)((number - 1) % 255 + 1);
}

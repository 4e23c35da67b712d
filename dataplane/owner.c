#include "dataplane/owner.h"

#include <errno.h>

#include "dataplane/worker.h"

#define CREDITS_MAX 16u

static uint64_t state_word(uint32_t number, enum dp_move_state state)
{
    return (uint64_t)number << 2 | state;
}

static void set_state(struct dp_move *move, uint32_t number, enum dp_move_state state)
{
    atomic_store_explicit(&move->state, state_word(number, state), memory_order_release);
}

/* ---- control ---- */

void dp_owner_set(struct dp_engine *engine, const uint8_t owner[FT_SHARDS])
{
    memmove(engine->owner, owner, sizeof engine->owner);
    for (unsigned i = 0; i < engine->config.worker_count; i++)
        memcpy(engine->workers[i]->owner, engine->owner, sizeof engine->owner);
}

enum dp_move_state dp_owner_state(const struct dp_engine *engine)
{
    return atomic_load_explicit(&engine->move.state, memory_order_acquire) & 3;
}

int dp_owner_move(struct dp_engine *engine, unsigned shard, unsigned to, bool hold)
{
    struct dp_move *move = &engine->move;
    if (shard >= FT_SHARDS || to >= engine->config.worker_count)
        return -EINVAL;
    if (dp_owner_state(engine) != DP_MOVE_IDLE || engine->reload.step != DP_RELOAD_NONE)
        return -EBUSY;
    uint32_t number = atomic_load_explicit(&move->number, memory_order_relaxed) + 1;
    move->shard = (uint8_t)shard;
    move->from = engine->owner[shard];
    move->to = (uint8_t)to;
    move->hold = hold;
    engine->owner[shard] = (uint8_t)to;
    set_state(move, number, DP_MOVE_FENCING);
    atomic_store_explicit(&move->number, number, memory_order_release);
    return 0;
}

void dp_owner_release(struct dp_engine *engine)
{
    struct dp_move *move = &engine->move;
    if (dp_owner_state(engine) == DP_MOVE_FROZEN)
        set_state(move, atomic_load_explicit(&move->number, memory_order_relaxed), DP_MOVE_RELEASED);
}

/* ---- workers ---- */

void dp_owner_see(struct dp_worker *worker)
{
    struct dp_move *move = &worker->engine->move;
    uint32_t number = atomic_load_explicit(&move->number, memory_order_acquire);
    if (number == worker->move.number)
        return;
    struct dp_fence *fence = &move->fences[worker->number];
    worker->move = (struct dp_move_seen){number, move->shard, move->from, move->to};
    worker->owner[move->shard] = move->to == worker->number ? DP_OWNER_PARKED : move->to;
    worker->event_order = number - 1; /* the moves before this one are over */
    fence->given = worker->given[move->from];
    /* Release: the count goes before; from here on control may change what the move says. */
    atomic_store_explicit(&fence->seen, number, memory_order_release);
}

/* True when all of the shard's packets that were ever given to us have been judged. */
static bool fences_passed(const struct dp_worker *worker)
{
    const struct dp_engine *engine = worker->engine;
    for (unsigned from = 0; from < engine->config.worker_count; from++) {
        const struct dp_fence *fence = &engine->move.fences[from];
        if (atomic_load_explicit(&fence->seen, memory_order_acquire) != worker->move.number)
            return false;
        if (from != worker->number && atomic_load_explicit(&worker->taken[from], memory_order_relaxed) < fence->given)
            return false;
    }
    return true;
}

/* True when all that we had given away when the fences were passed has been judged. */
static bool is_flushed(const struct dp_worker *worker, struct dp_move *move)
{
    const struct dp_engine *engine = worker->engine;
    if (!move->flushing)
        memcpy(move->flushed, worker->given, sizeof move->flushed);
    move->flushing = true;
    for (unsigned to = 0; to < engine->config.worker_count; to++)
        /* Acquire; partner: the release in dp_worker_take_handoffs(). */
        if (atomic_load_explicit(&engine->workers[to]->taken[worker->number], memory_order_acquire) < move->flushed[to])
            return false;
    return true;
}

static void give_away(struct dp_worker *worker, struct dp_move *move)
{
    move->flushing = false;
    dp_fragments_export(worker->fragments, worker->move.shard, move->fragments);
    set_state(move, worker->move.number, move->hold ? DP_MOVE_FROZEN : DP_MOVE_RELEASED);
}

static unsigned take_over(struct dp_worker *worker, struct dp_move *move)
{
    struct dp_fragment_credit credits[CREDITS_MAX];
    bool done;
    const struct dp_peer *peer = worker->engine->peer;
    worker->owner[worker->move.shard] = peer && peer->remote[worker->move.shard] ? DP_OWNER_REMOTE : worker->number;
    worker->event_order = worker->move.number;
    do {
        uint32_t count = dp_fragments_import(worker->fragments, move->fragments, credits, CREDITS_MAX, &done);
        for (uint32_t i = 0; i < count; i++)
            dp_flow_credit(worker, &credits[i], credits[i].last_ns);
    } while (!done);
    unsigned count = move->parked_count;
    for (unsigned i = 0; i < count; i += DP_BURST_MAX)
        dp_worker_take_strays(worker, &move->parked[i], RTE_MIN(count - i, DP_BURST_MAX));
    move->parked_count = 0;
    DP_COUNT(worker->stats.shards_taken, 1);
    set_state(move, worker->move.number, DP_MOVE_IDLE);
    return count;
}

unsigned dp_owner_poll(struct dp_worker *worker)
{
    struct dp_move *move = &worker->engine->move;
    dp_owner_see(worker);
    if (unlikely(worker->engine->peer != NULL))
        dp_peer_poll_fence(worker);
    uint64_t state = atomic_load_explicit(&move->state, memory_order_acquire);
    if (worker->move.from == worker->number && state == state_word(worker->move.number, DP_MOVE_FENCING)) {
        if (fences_passed(worker) && is_flushed(worker, move))
            give_away(worker, move);
    } else if (worker->move.to == worker->number && state == state_word(worker->move.number, DP_MOVE_RELEASED)) {
        return take_over(worker, move);
    }
    return 0;
}

bool dp_owner_park(struct dp_worker *worker, struct rte_mbuf *mbuf)
{
    struct dp_move *move = &worker->engine->move;
    if (move->parked_count == DP_PARKED_PACKETS)
        return false;
    move->parked[move->parked_count++] = mbuf;
    DP_COUNT(worker->stats.parked, 1);
    return true;
}

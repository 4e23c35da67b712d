/*
 * The slots: chunks that shards take and return, free slots within them, freed slots that wait for readers.
 */
#include "flowtable/table_priv.h"

/* ---- the stack of chunks that no shard owns: lock-free, any owner ---- */

static uint64_t stack_word(uint64_t tag, uint32_t chunk)
{
    return tag << 32 | chunk;
}

static void stack_push(struct ft *ft, uint32_t chunk)
{
    uint64_t head = __atomic_load_n(&ft->free_chunks, __ATOMIC_RELAXED);
    do {
        FT_SET(ft->chunks[chunk].stack_next, (uint32_t)head);
        /* S0: release: its owner's writes go before; partner: the acquire S1 of the next. */
    } while (!__atomic_compare_exchange_n(&ft->free_chunks, &head, stack_word(head >> 32, chunk), true,
                                          __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static uint32_t stack_pop(struct ft *ft)
{
    /* S1: acquire (here and in the exchange); partner: the release S0 of whoever pushed the chunk. */
    uint64_t head = __atomic_load_n(&ft->free_chunks, __ATOMIC_ACQUIRE), popped;
    do {
        if ((uint32_t)head == FT_CHUNK_NONE)
            return FT_CHUNK_NONE;
        /* Another owner may have popped the chunk since, the link be stale: then the tag makes the exchange fail. */
        popped = stack_word((head >> 32) + 1, FT_GET(ft->chunks[(uint32_t)head].stack_next));
    } while (!__atomic_compare_exchange_n(&ft->free_chunks, &head, popped, true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
    return (uint32_t)head;
}

/* ---- a shard's chunks ---- */

static void partial_add(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    ft->chunks[chunk].partial_prev = shard->partial_last;
    ft->chunks[chunk].partial_next = FT_CHUNK_NONE;
    if (shard->partial_last == FT_CHUNK_NONE)
        shard->partial_first = chunk;
    else
        ft->chunks[shard->partial_last].partial_next = chunk;
    shard->partial_last = chunk;
}

static void partial_drop(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    const struct ft_chunk *c = &ft->chunks[chunk];
    if (c->partial_prev == FT_CHUNK_NONE)
        shard->partial_first = c->partial_next;
    else
        ft->chunks[c->partial_prev].partial_next = c->partial_next;
    if (c->partial_next == FT_CHUNK_NONE)
        shard->partial_last = c->partial_prev;
    else
        ft->chunks[c->partial_next].partial_prev = c->partial_prev;
}

static bool chunk_take(struct ft *ft, uint8_t shard_number)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    uint32_t chunk = stack_pop(ft);
    if (chunk == FT_CHUNK_NONE)
        return false;
    struct ft_chunk *c = &ft->chunks[chunk];
    c->prev = shard->last;
    c->next = FT_CHUNK_NONE;
    c->free = FT_SLOT_NONE;
    FT_SET(c->fresh, 0);
    c->used = 0;
    c->earliest_ns = UINT64_MAX;
    if (shard->last == FT_CHUNK_NONE)
        shard->first = chunk;
    else
        ft->chunks[shard->last].next = chunk;
    shard->last = chunk;
    partial_add(ft, shard, chunk);
    /* C0: release: `fresh` goes before; partner: the acquire load C1 of a walk (read.c). */
    __atomic_store_n(&ft->owners[chunk], shard_number, __ATOMIC_RELEASE);
    return true;
}

static void chunk_return(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    const struct ft_chunk *c = &ft->chunks[chunk];
    /* C0: a walk that misses this store meets free slots, or flows whose key says that they are of another shard. */
    __atomic_store_n(&ft->owners[chunk], FT_OWNER_NONE, __ATOMIC_RELEASE);
    partial_drop(ft, shard, chunk);
    if (c->prev == FT_CHUNK_NONE)
        shard->first = c->next;
    else
        ft->chunks[c->prev].next = c->next;
    if (c->next == FT_CHUNK_NONE)
        shard->last = c->prev;
    else
        ft->chunks[c->next].prev = c->prev;
    if (shard->sweep_chunk == chunk) {
        shard->sweep_chunk = c->next;
        shard->sweep_index = 0;
    }
    stack_push(ft, chunk);
}

/* ---- slots ---- */

static ft_slot chunk_slot(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    struct ft_chunk *c = &ft->chunks[chunk];
    ft_slot slot = c->free;
    if (slot != FT_SLOT_NONE) {
        c->free = ft->link[slot];
    } else {
        slot = (chunk << ft->chunk_shift) + c->fresh;
        FT_SET(c->fresh, c->fresh + 1);
    }
    if (++c->used >> ft->chunk_shift)
        partial_drop(ft, shard, chunk);
    return slot;
}

ft_slot ft_slot_take(struct ft *ft, uint8_t shard_number)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    if (unlikely(shard->partial_first == FT_CHUNK_NONE)) {
        /* Slots of its own first: a chunk is taken from the others only when readers hold all that this shard freed. */
        ft_reclaim(ft, shard_number);
        if (shard->partial_first == FT_CHUNK_NONE && !chunk_take(ft, shard_number))
            return FT_SLOT_NONE;
    }
    return chunk_slot(ft, shard, shard->partial_first);
}

void ft_slot_give_back(struct ft *ft, uint8_t shard_number, ft_slot slot)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    uint32_t chunk = ft_chunk_of(ft, slot);
    struct ft_chunk *c = &ft->chunks[chunk];
    ft->link[slot] = c->free;
    c->free = slot;
    if (c->used-- >> ft->chunk_shift)
        partial_add(ft, shard, chunk);
    /* An empty chunk stays while no other has free slots, so that one flow coming and going moves no chunk. */
    if (c->used == 0 && shard->partial_first != shard->partial_last)
        chunk_return(ft, shard, chunk);
}

void ft_slot_forget(struct ft *ft, ft_slot slot)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    uint64_t generation = hot->sequence >> 32;
    /* W1, with the generation counted up to even: free. Nothing else changes, so this one store is the whole write. */
    __atomic_store_n(&hot->sequence, (uint64_t)(uint32_t)(generation + 1) << 32, __ATOMIC_RELEASE);
}

/* Closes the open batch: readers that are quiescent from now on do not hold its slots. */
static void batch_close(struct ft *ft, struct ft_shard *shard)
{
    if (shard->deferred_open == 0 || shard->batch_tail - shard->batch_head == FT_RECLAIM_BATCHES)
        return;
    struct ft_reclaim_batch *batch = &shard->batches[shard->batch_tail++ % FT_RECLAIM_BATCHES];
    batch->count = shard->deferred_open;
    batch->token = rte_rcu_qsbr_start(ft->qsbr);
    shard->deferred_open = 0;
}

void ft_reclaim(struct ft *ft, uint8_t shard_number)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    batch_close(ft, shard);
    while (shard->batch_head != shard->batch_tail) {
        const struct ft_reclaim_batch *batch = &shard->batches[shard->batch_head % FT_RECLAIM_BATCHES];
        if (rte_rcu_qsbr_check(ft->qsbr, batch->token, false) == 0)
            break;
        for (uint32_t i = 0; i < batch->count; i++) {
            ft_slot slot = shard->deferred_first;
            shard->deferred_first = ft->link[slot];
            ft_slot_give_back(ft, shard_number, slot);
        }
        shard->batch_head++;
    }
}

void ft_slot_free(struct ft *ft, uint8_t shard_number, ft_slot slot)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    bool waiting = shard->deferred_open || shard->batch_head != shard->batch_tail;
    /*
     * Relaxed, no partner: a reader that comes online at this very moment may still find the flow in the index; the
     * slot's generation tells it. The deferral is for readers that hold slot numbers, which one of this moment does not
     * yet.
     */
    if (!waiting && __atomic_load_n(&ft->readers_online, __ATOMIC_RELAXED) == 0) {
        ft_slot_give_back(ft, shard_number, slot);
        return;
    }
    if (waiting)
        ft->link[shard->deferred_last] = slot;
    else
        shard->deferred_first = slot;
    shard->deferred_last = slot;
    if (++shard->deferred_open >= FT_RECLAIM_BATCH)
        ft_reclaim(ft, shard_number);
}

void ft_slots_init(struct ft *ft)
{
    for (uint32_t chunk = 0; chunk < ft->chunk_count; chunk++) {
        ft->chunks[chunk].stack_next = chunk + 1 < ft->chunk_count ? chunk + 1 : FT_CHUNK_NONE;
        ft->owners[chunk] = FT_OWNER_NONE;
    }
    ft->free_chunks = stack_word(0, 0);
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        struct ft_shard *shard = &ft->shards[i];
        shard->first = shard->last = shard->partial_first = shard->partial_last = FT_CHUNK_NONE;
        shard->sweep_chunk = FT_CHUNK_NONE;
    }
}

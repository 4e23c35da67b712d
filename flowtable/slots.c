/*
 * The slots: chunks that shards take and return, free slots within them, freed slots that wait for readers.
 */
#include <emmintrin.h>

#include "flowtable/table_priv.h"

#define RECLAIM_SLOTS_MAX 256u /* a call: with FT_WAITING_SLOTS lines fetched ahead, at most about 5 us */

/* ---- the chunks that no shard owns: lock-free, any owner ---- */

static uint64_t stack_word(uint64_t tag, uint32_t chunk)
{
    return tag << 32 | chunk;
}

static void stack_push(struct ft *ft, unsigned family, uint32_t chunk)
{
    uint64_t *stack = &ft->free_chunks[family], head = __atomic_load_n(stack, __ATOMIC_RELAXED);
    do {
        FT_SET(ft->chunks[chunk].stack_next, (uint32_t)head);
        /* S0: release: its owner's writes go before; partner: the acquire S1 of the next. */
    } while (!__atomic_compare_exchange_n(stack, &head, stack_word(head >> 32, chunk), true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

static uint32_t stack_pop(struct ft *ft, unsigned family)
{
    /* S1: acquire (here and in the exchange); partner: the release S0 of whoever pushed the chunk. */
    uint64_t *stack = &ft->free_chunks[family], head = __atomic_load_n(stack, __ATOMIC_ACQUIRE), popped;
    do {
        if ((uint32_t)head == FT_CHUNK_NONE)
            return FT_CHUNK_NONE;
        /* Another owner may have popped the chunk since, the link be stale: then the tag makes the exchange fail. */
        popped = stack_word((head >> 32) + 1, FT_GET(ft->chunks[(uint32_t)head].stack_next));
    } while (!__atomic_compare_exchange_n(stack, &head, popped, true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
    return (uint32_t)head;
}

static uint32_t unused_take(struct ft *ft, unsigned family)
{
    /* Relaxed, no partner: nobody wrote to such a chunk before. */
    uint64_t range = FT_GET(ft->unused), rest;
    uint32_t begin, end;
    do {
        begin = (uint32_t)range;
        end = (uint32_t)(range >> 32);
        if (begin == end)
            return FT_CHUNK_NONE;
        rest = family == FT_V6 ? (uint64_t)(end - 1) << 32 | begin : (uint64_t)end << 32 | (begin + 1);
    } while (!__atomic_compare_exchange_n(&ft->unused, &range, rest, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return family == FT_V6 ? end - 1 : begin;
}

/* One that had flows of the family, else one never used, else one of the other family, which may cost memory. */
static uint32_t pool_take(struct ft *ft, unsigned family)
{
    uint32_t chunk = stack_pop(ft, family);
    if (chunk == FT_CHUNK_NONE)
        chunk = unused_take(ft, family);
    return chunk != FT_CHUNK_NONE ? chunk : stack_pop(ft, !family);
}

/* ---- a shard's chunks ---- */

static void partial_add(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    struct ft_chunk *c = &ft->chunks[chunk];
    uint32_t *first = &shard->partial_first[c->family], *last = &shard->partial_last[c->family];
    c->partial_prev = *last;
    c->partial_next = FT_CHUNK_NONE;
    if (*last == FT_CHUNK_NONE)
        *first = chunk;
    else
        ft->chunks[*last].partial_next = chunk;
    *last = chunk;
}

static void partial_drop(struct ft *ft, struct ft_shard *shard, uint32_t chunk)
{
    const struct ft_chunk *c = &ft->chunks[chunk];
    if (c->partial_prev == FT_CHUNK_NONE)
        shard->partial_first[c->family] = c->partial_next;
    else
        ft->chunks[c->partial_prev].partial_next = c->partial_next;
    if (c->partial_next == FT_CHUNK_NONE)
        shard->partial_last[c->family] = c->partial_prev;
    else
        ft->chunks[c->partial_next].partial_prev = c->partial_prev;
}

/* The first group of an empty chunk. */
static uint64_t group_of_chunk(const struct ft *ft)
{
    return 1u << ft->chunk_shift < FT_GROUP_SLOTS ? (UINT64_C(1) << (1u << ft->chunk_shift)) - 1 : UINT64_MAX;
}

static bool chunk_take(struct ft *ft, uint8_t shard_number, unsigned family)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    uint32_t chunk = pool_take(ft, family);
    if (chunk == FT_CHUNK_NONE)
        return false;
    struct ft_chunk *c = &ft->chunks[chunk];
    c->family = family;
    c->prev = shard->last;
    c->next = FT_CHUNK_NONE;
    FT_SET(c->fresh, 0);
    c->used = 0;
    c->free_group = 0;
    c->free_mask = group_of_chunk(ft);
    if (shard->last == FT_CHUNK_NONE)
        shard->first = chunk;
    else
        ft->chunks[shard->last].next = chunk;
    shard->last = chunk;
    partial_add(ft, shard, chunk);
    shard->chunks[family]++;
    shard->free_slots[family] += 1u << ft->chunk_shift;
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
    shard->chunks[c->family]--;
    shard->free_slots[c->family] -= 1u << ft->chunk_shift;
    stack_push(ft, c->family, chunk);
}

void ft_keep_margin(struct ft *ft, uint8_t shard_number)
{
    const struct ft_shard *shard = &ft->shards[shard_number];
    for (unsigned family = FT_V4; family < FT_FAMILIES; family++)
        if (shard->chunks[family] && shard->free_slots[family] < ft->margin_slots)
            chunk_take(ft, shard_number, family);
}

/* ---- slots ---- */

/* Bit i: slot i of 16 is free. */
static uint32_t free_of_16(const uint16_t due[16])
{
    __m128i low = _mm_load_si128((const __m128i *)(const void *)due), free = _mm_set1_epi16(FT_DUE_FREE);
    __m128i high = _mm_load_si128((const __m128i *)(const void *)(due + 8));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_cmpeq_epi16(low, free), _mm_cmpeq_epi16(high, free)));
}

/* Goes on to the chunk's next group that has a free slot; there is one. */
static void next_group(const struct ft *ft, uint32_t chunk)
{
    static_assert(FT_CHUNK_SLOTS_MIN % 16 == 0, "16 due times are compared at once");
    struct ft_chunk *c = &ft->chunks[chunk];
    const uint16_t *due = ft->due + ((size_t)chunk << ft->chunk_shift);
    uint64_t mask = 0;
    uint32_t group = c->free_group;
    while (!mask) {
        group++;
        for (uint32_t i = 0; i < FT_GROUP_SLOTS; i += 16)
            mask |= (uint64_t)free_of_16(due + group * FT_GROUP_SLOTS + i) << i;
    }
    c->free_group = group;
    c->free_mask = mask;
    /* For the next time, which is many inserts of other shards away; beyond the chunk's end it does no harm. */
    for (uint32_t i = 1; i <= 4; i++)
        rte_prefetch0(due + group * FT_GROUP_SLOTS + i * (FT_GROUP_SLOTS / 2) + FT_GROUP_SLOTS / 2);
}

/* The slot that the chunk, which has one free, gives next. */
static ft_slot slot_next(const struct ft *ft, uint32_t chunk)
{
    const struct ft_chunk *c = &ft->chunks[chunk];
    return (chunk << ft->chunk_shift) + c->free_group * FT_GROUP_SLOTS + (uint32_t)__builtin_ctzll(c->free_mask);
}

ft_slot ft_slot_take(struct ft *ft, uint8_t shard_number, unsigned family)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    if (unlikely(shard->partial_first[family] == FT_CHUNK_NONE)) {
        /* Slots of its own first: a chunk is taken from the others only when readers hold all that this shard freed. */
        ft_reclaim(ft, shard_number);
        if (shard->partial_first[family] == FT_CHUNK_NONE) {
            if (!chunk_take(ft, shard_number, family))
                return FT_SLOT_NONE;
            FT_COUNT(shard->chunks_taken_late, 1);
        }
    }
    uint32_t chunk = shard->partial_first[family];
    struct ft_chunk *c = &ft->chunks[chunk];
    ft_slot slot = slot_next(ft, chunk);
    uint32_t index = slot - (chunk << ft->chunk_shift);
    ft->due[slot] = FT_DUE_NONE;
    if (index >= c->fresh)
        FT_SET(c->fresh, index + 1);
    c->free_mask &= c->free_mask - 1;
    shard->free_slots[family]--;
    if (unlikely(++c->used >> ft->chunk_shift)) {
        c->free_group = FT_GROUP_NONE;
        partial_drop(ft, shard, chunk);
    } else {
        if (c->free_mask == 0)
            next_group(ft, chunk);
        /* The shard's next slot is known, its next insert many inserts of other shards away. */
        ft_slot_prefetch(ft, slot_next(ft, chunk), family);
    }
    return slot;
}

void ft_slot_give_back(struct ft *ft, uint8_t shard_number, ft_slot slot)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    uint32_t chunk = ft_chunk_of(ft, slot), index = slot - (chunk << ft->chunk_shift);
    struct ft_chunk *c = &ft->chunks[chunk];
    uint32_t group = index / FT_GROUP_SLOTS;
    uint64_t bit = UINT64_C(1) << index % FT_GROUP_SLOTS;
    ft->due[slot] = FT_DUE_FREE;
    /* Without branches: which of the three it is, is at random. */
    c->free_mask = (group < c->free_group ? 0 : c->free_mask) | (group <= c->free_group ? bit : 0);
    c->free_group = group < c->free_group ? group : c->free_group;
    shard->free_slots[c->family]++;
    if (c->used-- >> ft->chunk_shift)
        partial_add(ft, shard, chunk);
    /* An empty chunk stays while the others have too few free slots, so that flows coming and going move no chunk. */
    if (c->used == 0 && shard->free_slots[c->family] >= ft->margin_slots + (1u << ft->chunk_shift))
        chunk_return(ft, shard, chunk);
}

void ft_slot_forget(struct ft *ft, ft_slot slot)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    uint64_t generation = hot->sequence >> 32;
    /* W1, with the generation counted up to even: free. Nothing else changes, so this one store is the whole write. */
    __atomic_store_n(&hot->sequence, (uint64_t)(uint32_t)(generation + 1) << 32, __ATOMIC_RELEASE);
    ft->due[slot] = FT_DUE_NONE;
}

/* ---- slots that wait for readers ---- */

static struct ft_waiting *waiting_of(const struct ft *ft, ft_slot slot)
{
    return (struct ft_waiting *)(void *)&ft->arrays.hot[slot];
}

static void wait_for_readers(struct ft *ft, struct ft_shard *shard, ft_slot slot)
{
    struct ft_waiting *last = shard->waiting_first == FT_SLOT_NONE ? NULL : waiting_of(ft, shard->waiting_last);
    shard->waiting_open++;
    if (last && !shard->waiting_sealed && last->length < FT_WAITING_SLOTS) {
        FT_SET(last->slots[last->length], slot);
        FT_SET(last->length, last->length + 1);
        return;
    }
    struct ft_waiting *block = waiting_of(ft, slot);
    /* As W0: that the slot is free, before what follows; partner: the acquire fence R1 of a reader (read.c). */
    rte_atomic_thread_fence(__ATOMIC_RELEASE);
    FT_SET(block->next, FT_SLOT_NONE);
    FT_SET(block->length, 0);
    if (last)
        FT_SET(last->next, slot);
    else
        shard->waiting_first = slot;
    shard->waiting_last = slot;
    shard->waiting_sealed = false;
}

/* Closes the open batch: readers that are quiescent from now on do not hold its slots. */
static void batch_close(struct ft *ft, struct ft_shard *shard)
{
    if (shard->waiting_open == 0 || shard->batch_tail - shard->batch_head == FT_RECLAIM_BATCHES)
        return;
    struct ft_reclaim_batch *batch = &shard->batches[shard->batch_tail++ % FT_RECLAIM_BATCHES];
    batch->count = shard->waiting_open;
    batch->token = rte_rcu_qsbr_start(ft->qsbr);
    shard->waiting_open = 0;
    shard->waiting_sealed = true;
}

/* Gives the slots of the oldest block back; returns how many. */
static uint32_t block_release(struct ft *ft, uint8_t shard_number)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    ft_slot slot = shard->waiting_first;
    const struct ft_waiting *block = waiting_of(ft, slot);
    uint32_t length = block->length;
    shard->waiting_first = block->next;
    if (block->next != FT_SLOT_NONE)
        rte_prefetch0(waiting_of(ft, block->next));
    for (uint32_t i = 0; i < length; i++)
        rte_prefetch0(&ft->due[block->slots[i]]);
    for (uint32_t i = 0; i < length; i++)
        ft_slot_give_back(ft, shard_number, block->slots[i]);
    ft_slot_give_back(ft, shard_number, slot);
    return length + 1;
}

void ft_reclaim(struct ft *ft, uint8_t shard_number)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    batch_close(ft, shard);
    uint32_t released = 0;
    while (shard->batch_head != shard->batch_tail && released < RECLAIM_SLOTS_MAX) {
        struct ft_reclaim_batch *batch = &shard->batches[shard->batch_head % FT_RECLAIM_BATCHES];
        if (rte_rcu_qsbr_check(ft->qsbr, batch->token, false) == 0)
            break;
        uint32_t count = block_release(ft, shard_number);
        batch->count -= count; /* a batch ends with a block */
        shard->batch_head += batch->count == 0;
        released += count;
    }
}

void ft_slot_free(struct ft *ft, uint8_t shard_number, ft_slot slot)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    /*
     * Relaxed, no partner: a reader that comes online at this very moment may still find the flow in the index; the
     * slot's generation tells it. The deferral is for readers that hold slot numbers, which one of this moment does not
     * yet.
     */
    if (shard->waiting_first == FT_SLOT_NONE && __atomic_load_n(&ft->readers_online, __ATOMIC_RELAXED) == 0) {
        ft_slot_give_back(ft, shard_number, slot);
        return;
    }
    wait_for_readers(ft, shard, slot);
    if (shard->waiting_open >= FT_RECLAIM_BATCH)
        ft_reclaim(ft, shard_number);
}

void ft_slots_init(struct ft *ft)
{
    for (uint32_t chunk = 0; chunk < ft->chunk_count; chunk++)
        ft->owners[chunk] = FT_OWNER_NONE;
    /* The first is never taken, so that no flow has slot 0: see candidate() in index.c. */
    ft->unused = (uint64_t)ft->chunk_count << 32 | 1;
    for (unsigned i = 0; i < FT_FAMILIES; i++)
        ft->free_chunks[i] = stack_word(0, FT_CHUNK_NONE);
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        struct ft_shard *shard = &ft->shards[i];
        shard->first = shard->last = shard->sweep_chunk = FT_CHUNK_NONE;
        for (unsigned family = FT_V4; family < FT_FAMILIES; family++)
            shard->partial_first[family] = shard->partial_last[family] = FT_CHUNK_NONE;
        shard->waiting_first = shard->waiting_last = FT_SLOT_NONE;
    }
}

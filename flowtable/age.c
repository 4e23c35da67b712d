/*
 * Ageing. Each chunk's earliest_ns is a lower bound of the times at which its live flows may expire: lowered at once
 * when a flow comes or its time-out class changes (ft_due), found anew when the chunk is looked through. A packet that
 * only renews last_ns touches no chunk: the bound stays low, hence true.
 */
#include "flowtable/table_priv.h"

#define PREFETCH_SLOTS 8u

bool ft_timeout_unanswered(enum ft_timeout timeout_class)
{
    static const bool unanswered[FT_TIMEOUT_COUNT] = {
        [FT_TIMEOUT_tcp_opening] = true,
        [FT_TIMEOUT_tcp_started_before] = true,
        [FT_TIMEOUT_udp_unanswered] = true,
        [FT_TIMEOUT_other] = true,
    };
    return unanswered[timeout_class];
}

void ft_due(struct ft *ft, const struct ft_shard *shard, ft_slot slot)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    struct ft_chunk *chunk = &ft->chunks[ft_chunk_of(ft, slot)];
    /* Not from a stamp ahead of the sweep's clock: one wrong stamp must not make ageing skip the chunk for ever. */
    uint64_t from_ns = hot->last_ns < shard->clock_ns ? hot->last_ns : shard->clock_ns;
    uint64_t due = from_ns + ft->arrays.timeout_ns[hot->timeout_class];
    if (due < chunk->earliest_ns)
        chunk->earliest_ns = due;
}

/* Follows the clock; when it was set back, bounds made by the old one say nothing now. */
static void set_clock(struct ft *ft, struct ft_shard *shard, uint64_t now_ns)
{
    if (likely(now_ns >= shard->clock_ns)) {
        shard->clock_ns = now_ns;
        return;
    }
    if (shard->clock_ns - now_ns <= FT_CLOCK_BACK_NS)
        return; /* stamps of captures swing by a little */
    shard->clock_ns = now_ns;
    for (uint32_t chunk = shard->first; chunk != FT_CHUNK_NONE; chunk = ft->chunks[chunk].next)
        ft->chunks[chunk].earliest_ns = 0;
}

/* A flow stamped by a clock that was set back since starts its time-out anew: neither ends early nor lives for ever. */
static void restamp(struct ft_hot *hot, uint64_t now_ns)
{
    ft_write_begin(hot);
    FT_SET(hot->last_ns, now_ns);
    ft_write_end(hot);
}

/* One live slot; true when it is expired. */
static bool slot_check(struct ft *ft, struct ft_chunk *chunk, ft_slot slot, uint64_t now_ns)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    if (hot->last_ns > now_ns && hot->last_ns - now_ns > FT_CLOCK_BACK_NS)
        restamp(hot, now_ns);
    if (ft_expired(ft, hot, now_ns))
        return true;
    uint64_t due = hot->last_ns + ft->arrays.timeout_ns[hot->timeout_class];
    if (due < chunk->earliest_ns)
        chunk->earliest_ns = due;
    return false;
}

struct sweep {
    uint64_t now_ns;
    unsigned budget_slots;
    ft_slot *slots;
    unsigned size;
    unsigned found;
};

/* Looks on through the chunk at shard->sweep_index; true when its end was reached. */
static bool sweep_chunk(struct ft *ft, struct ft_shard *shard, uint32_t number, struct sweep *sweep)
{
    struct ft_chunk *chunk = &ft->chunks[number];
    if (shard->sweep_index == 0)
        chunk->earliest_ns = UINT64_MAX;
    ft_slot base = number << ft->chunk_shift;
    uint32_t start = shard->sweep_index, index = start;
    for (; index < chunk->fresh && sweep->budget_slots && sweep->found < sweep->size; index++, sweep->budget_slots--) {
        /* Non-temporal: ageing must not push the flows that packets use out of the caches. */
        rte_prefetch_non_temporal(&ft->arrays.hot[base + index + PREFETCH_SLOTS]);
        if ((ft_generation(&ft->arrays.hot[base + index]) & 1) && slot_check(ft, chunk, base + index, sweep->now_ns))
            sweep->slots[sweep->found++] = base + index;
    }
    shard->sweep_index = index;
    FT_COUNT(shard->swept, index - start);
    return index >= chunk->fresh;
}

/* Chunks from where the sweep stopped on; each at most once a call. */
static void sweep_chunks(struct ft *ft, struct ft_shard *shard, struct sweep *sweep)
{
    uint32_t number = shard->sweep_chunk, begun_at = shard->sweep_index ? number : FT_CHUNK_NONE;
    while (sweep->budget_slots && sweep->found < sweep->size) {
        if (number == FT_CHUNK_NONE) {
            number = shard->first;
            shard->sweep_index = 0;
            if (number == FT_CHUNK_NONE)
                break;
        }
        if (shard->sweep_index == 0) {
            if (number == begun_at)
                break; /* once round */
            if (begun_at == FT_CHUNK_NONE)
                begun_at = number;
            uint64_t earliest_ns = ft->chunks[number].earliest_ns;
            if (earliest_ns >= sweep->now_ns || sweep->now_ns - earliest_ns < ft->late_ns) {
                sweep->budget_slots--;
                number = ft->chunks[number].next;
                continue;
            }
        }
        if (!sweep_chunk(ft, shard, number, sweep))
            break;
        number = ft->chunks[number].next;
        shard->sweep_index = 0;
    }
    shard->sweep_chunk = number;
}

unsigned ft_sweep(struct ft *ft, uint8_t shard_number, uint64_t now_ns, unsigned budget_slots, ft_slot ret_slots[],
                  unsigned size)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    ft_reclaim(ft, shard_number);
    if (unlikely(FT_GET(ft->copies_asked))) {
        struct ft_shard_set one = {{0}};
        one.words[shard_number / 64] = UINT64_C(1) << (shard_number & 63);
        ft_answer_copies(ft, &one);
    }
    set_clock(ft, shard, now_ns);
    struct sweep sweep = {.now_ns = now_ns, .budget_slots = budget_slots, .slots = ret_slots, .size = size};
    sweep_chunks(ft, shard, &sweep);
    FT_COUNT(shard->expired, sweep.found);
    return sweep.found;
}

/*
 * Ageing. Each slot has a due time: a tick (2^tick_shift ns, at most FT_SWEEP_LATE_NS) modulo 2^16 before whose end its
 * flow cannot expire. It is set when the flow begins, when its class changes, and when ageing has looked at the flow; a
 * packet that only renews last_ns leaves it, so it stays a lower bound. A round passes over the due times of a shard's
 * chunks, 2 bytes a slot, and looks at the flows alone that may have expired. There is one round a tick, each shard's at
 * another moment of it, so that the work comes evenly.
 *
 * Ticks are compared as differences: right while a due time is less than 2^15 ticks away. It is at most TICKS_AHEAD
 * ahead when set (a longer time-out is met in several looks). When a round comes TICKS_LATE after the last one, or the
 * clock was set back, due times say nothing: what is left of the round and all of the next one take every flow for due.
 * That costs no call more than its budget, and a clock that jumps to and fro keeps no round from its end.
 */
#include <emmintrin.h>

#include "flowtable/table_priv.h"

#define TICKS_AHEAD 16384u
#define TICKS_LATE  4096u
#define GROUP_SLOTS 16u /* due times compared at once */
#define LOOK_SLOTS  32u /* flows fetched, then looked at */

/* The due time of a tick: never one of the two marks, rather a tick or two early. */
static uint16_t due_of_tick(uint64_t tick)
{
    uint16_t due = (uint16_t)tick;
    return due < FT_DUE_FIRST ? UINT16_MAX : due;
}

void ft_due(struct ft *ft, const struct ft_shard *shard, ft_slot slot)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    uint64_t clock_ns = shard->clock_ns, ahead_ns = (uint64_t)TICKS_AHEAD << ft->tick_shift;
    /* Not from a stamp ahead of the sweep's clock: one wrong stamp must not make ageing pass over the flow for ever. */
    uint64_t from_ns = hot->last_ns < clock_ns ? hot->last_ns : clock_ns;
    uint64_t due_ns = from_ns + ft->arrays.timeout_ns[hot->timeout_class];
    if (due_ns < clock_ns)
        due_ns = clock_ns;
    if (due_ns > clock_ns + ahead_ns)
        due_ns = clock_ns + ahead_ns;
    ft->due[slot] = due_of_tick(due_ns >> ft->tick_shift);
}

static void begin_round(struct ft_shard *shard, uint64_t tick)
{
    shard->sweep_tick = tick;
    shard->sweep_chunk = shard->first;
    shard->sweep_index = 0;
}

/* Follows the clock and begins a round when it is time for one. */
static void set_clock(struct ft *ft, struct ft_shard *shard, uint64_t now_ns)
{
    uint64_t phase_ns = ((uint64_t)(shard - ft->shards) << ft->tick_shift) / FT_SHARDS;
    uint64_t round_tick = (now_ns + phase_ns) >> ft->tick_shift;
    bool is_back = now_ns < shard->clock_ns && shard->clock_ns - now_ns > FT_CLOCK_BACK_NS;
    if (is_back || now_ns > shard->clock_ns) /* stamps of captures swing back by a little */
        shard->clock_ns = now_ns;
    bool is_over = shard->sweep_chunk == FT_CHUNK_NONE;
    if (unlikely(is_back || round_tick > shard->sweep_tick + TICKS_LATE)) {
        shard->all_due_rounds = shard->first == FT_CHUNK_NONE ? 0 : is_over ? 1 : 2;
        shard->sweep_tick = round_tick;
        if (is_over)
            begin_round(shard, round_tick);
    } else if (is_over && (round_tick > shard->sweep_tick || shard->all_due_rounds)) {
        begin_round(shard, round_tick);
    }
}

/* Goes on to the next chunk; counts the round when that was the last. */
static void next_chunk(const struct ft *ft, struct ft_shard *shard)
{
    shard->sweep_chunk = ft->chunks[shard->sweep_chunk].next;
    shard->sweep_index = 0;
    if (shard->sweep_chunk == FT_CHUNK_NONE && shard->all_due_rounds)
        shard->all_due_rounds--;
}

/* A flow stamped by a clock that was set back since starts its time-out anew: neither ends early nor lives for ever. */
static void restamp(struct ft_hot *hot, uint64_t now_ns)
{
    ft_write_begin(hot);
    FT_SET(hot->last_ns, now_ns);
    ft_write_end(hot);
}

struct sweep {
    uint64_t now_ns;
    uint16_t tick;
    bool is_all_due;
    unsigned budget_slots;
    ft_slot *slots;
    unsigned size;
    unsigned found;
};

/* One flow that is due. */
static void look(struct ft *ft, const struct ft_shard *shard, ft_slot slot, struct sweep *sweep)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    if (hot->last_ns > sweep->now_ns && hot->last_ns - sweep->now_ns > FT_CLOCK_BACK_NS)
        restamp(hot, sweep->now_ns);
    if (ft_expired(ft, hot, sweep->now_ns))
        sweep->slots[sweep->found++] = slot;
    else
        ft_due(ft, shard, slot);
}

/* Bit i: the flow of slot i of 16 is due before the tick, or there is one and all are due. */
static uint32_t due_before(const uint16_t due[GROUP_SLOTS], uint16_t tick, bool is_all_due)
{
    __m128i now = _mm_set1_epi16((short)tick), all = _mm_set1_epi16((short)-is_all_due),
            first = _mm_set1_epi16(FT_DUE_FIRST - 1), zero = _mm_setzero_si128();
    __m128i is_due[2];
    for (unsigned half = 0; half < 2; half++) {
        __m128i dues = _mm_load_si128((const __m128i *)(const void *)(due + half * 8));
        __m128i is_mark = _mm_cmpeq_epi16(_mm_subs_epu16(dues, first), zero);
        __m128i is_before = _mm_cmpgt_epi16(_mm_sub_epi16(now, dues), zero);
        is_due[half] = _mm_andnot_si128(is_mark, _mm_or_si128(is_before, all));
    }
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(is_due[0], is_due[1]));
}

/*
 * Goes on through the chunk until its end, until `size` due flows are gathered, or until the budget is used up; fetches
 * those flows past the caches' order, since ageing must not push out what packets use.
 */
static unsigned gather(const struct ft *ft, struct ft_shard *shard, struct sweep *sweep, ft_slot ret_due[],
                       unsigned size)
{
    ft_slot base = shard->sweep_chunk << ft->chunk_shift;
    uint32_t end = ft->chunks[shard->sweep_chunk].fresh, index = shard->sweep_index;
    unsigned count = 0;
    while (index < end && count < size && sweep->budget_slots > count) {
        uint32_t group = index - index % GROUP_SLOTS;
        rte_prefetch_non_temporal(ft->due + base + group + 8 * GROUP_SLOTS);
        uint32_t due =
            due_before(ft->due + base + group, sweep->tick, sweep->is_all_due) & ~0u << (index % GROUP_SLOTS);
        index = group + GROUP_SLOTS;
        if (!due)
            sweep->budget_slots--;
        for (; due && count < size && sweep->budget_slots > count; due &= due - 1) {
            ret_due[count] = base + group + (uint32_t)__builtin_ctz(due);
            rte_prefetch_non_temporal(&ft->arrays.hot[ret_due[count++]]);
        }
        if (due)
            index = group + (uint32_t)__builtin_ctz(due);
    }
    shard->sweep_index = index;
    sweep->budget_slots -= count;
    return count;
}

unsigned ft_sweep(struct ft *ft, uint8_t shard_number, uint64_t now_ns, unsigned budget_slots, ft_slot ret_slots[],
                  unsigned size)
{
    struct ft_shard *shard = &ft->shards[shard_number];
    ft_reclaim(ft, shard_number);
    ft_keep_margin(ft, shard_number);
    if (unlikely(FT_GET(ft->copies_asked))) {
        struct ft_shard_set one = {{0}};
        one.words[shard_number / 64] = UINT64_C(1) << (shard_number & 63);
        ft_answer_copies(ft, &one);
    }
    set_clock(ft, shard, now_ns);
    struct sweep sweep = {.now_ns = now_ns,
                          .tick = (uint16_t)(shard->clock_ns >> ft->tick_shift),
                          .is_all_due = shard->all_due_rounds,
                          .budget_slots = budget_slots,
                          .slots = ret_slots,
                          .size = size};
    while (shard->sweep_chunk != FT_CHUNK_NONE && sweep.budget_slots && sweep.found < size) {
        ft_slot due[LOOK_SLOTS];
        unsigned room = size - sweep.found,
                 count = gather(ft, shard, &sweep, due, room < LOOK_SLOTS ? room : LOOK_SLOTS);
        for (unsigned i = 0; i < count; i++)
            look(ft, shard, due[i], &sweep);
        FT_COUNT(shard->swept, count);
        if (shard->sweep_index >= ft->chunks[shard->sweep_chunk].fresh)
            next_chunk(ft, shard);
    }
    FT_COUNT(shard->expired, sweep.found);
    return sweep.found;
}

bool ft_sweep_is_over(const struct ft *ft, uint8_t shard)
{
    return ft->shards[shard].sweep_chunk == FT_CHUNK_NONE && !ft->shards[shard].all_due_rounds;
}

/*
 * Readers: copies of flows under their sequence, lookup and walk by any thread, requests to owners, QSBR registration.
 */
#include <errno.h>
#include <sched.h>

#include "flowtable/table_priv.h"

#define TRIES_BEFORE_ASKING 8u
#define SPINS_BEFORE_YIELD  256u /* the writer may be preempted: on an oversubscribed core spinning keeps it away */

enum read_result { READ_COPIED, READ_FREE, READ_TORN };

static void pause_or_yield(unsigned tries)
{
    if (tries % SPINS_BEFORE_YIELD == SPINS_BEFORE_YIELD - 1)
        sched_yield();
    else
        rte_pause();
}

/* ---- one slot ---- */

static void load_words(void *to, const void *from, size_t size)
{
    const uint64_t *from_words = from;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word = FT_GET(from_words[i]);
        memcpy((uint8_t *)to + 8 * i, &word, 8);
    }
}

static enum read_result read_once(const struct ft *ft, ft_slot slot, struct ft_flow *ret_flow)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    /* R0: acquire; partner: the release W1 that made the count even. */
    uint64_t sequence = __atomic_load_n(&hot->sequence, __ATOMIC_ACQUIRE);
    if (sequence & 1)
        return READ_TORN;
    if (!(sequence >> 32 & 1))
        return READ_FREE;
    struct ft_key *key = &ret_flow->key;
    load_words(&ret_flow->hot, hot, sizeof *hot);
    load_words(&ret_flow->cold, &ft->arrays.cold[slot], sizeof ret_flow->cold);
    if (ret_flow->hot.is_v6)
        load_words(key->addr, &ft->v6[slot], sizeof key->addr);
    /* R1: acquire fence: the loads above go before the one below; partner: the release fence W0 after the odd count. */
    rte_atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&hot->sequence, __ATOMIC_RELAXED) != sequence)
        return READ_TORN;
    if (!ret_flow->hot.is_v6) {
        memset(key->addr, 0, sizeof key->addr);
        memcpy(key->addr[0], ret_flow->hot.addr_v4[0], 4);
        memcpy(key->addr[1], ret_flow->hot.addr_v4[1], 4);
    }
    memcpy(key->port_be16, ret_flow->hot.port_be16, FT_KEY_TAIL_BYTES);
    key->zero = 0;
    ret_flow->hot.sequence = sequence;
    ret_flow->slot = slot;
    return READ_COPIED;
}

/* ---- copies by the owner ----
 *
 * UNUSED -> CLAIMED by a reader (A0), -> ASKED by it when the request is written (A1), -> ANSWERING by the owner (A2),
 * -> ANSWERED by it when the copy is made (A3), -> UNUSED by the reader. A reader that succeeds alone meanwhile takes
 * an ASKED request back. A request whose slot is freed meanwhile may be answered by nobody: the reader then finds the
 * slot free by itself.
 */

static struct ft_copy_request *request_copy(struct ft *ft, ft_slot slot)
{
    for (unsigned i = 0; i < FT_READERS_MAX; i++) {
        struct ft_copy_request *request = &ft->requests[i];
        uint32_t state = FT_COPY_UNUSED;
        /* A0: acquire; partner: the release of UNUSED in copy_answered() and withdraw_copy(). */
        if (!__atomic_compare_exchange_n(&request->state, &state, FT_COPY_CLAIMED, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        FT_SET(request->slot, slot);
        /* A1: release: the slot goes before; partner: the acquire A2. The count only tells owners that looking pays. */
        __atomic_store_n(&request->state, FT_COPY_ASKED, __ATOMIC_RELEASE);
        __atomic_fetch_add(&ft->copies_asked, 1, __ATOMIC_RELAXED);
        return request;
    }
    return NULL;
}

static void close_request(struct ft *ft, struct ft_copy_request *request)
{
    __atomic_fetch_sub(&ft->copies_asked, 1, __ATOMIC_RELAXED);
    /* Release: our reads of the answer go before; partner: A0 of the next reader that claims it. */
    __atomic_store_n(&request->state, FT_COPY_UNUSED, __ATOMIC_RELEASE);
}

/* True when the owner has answered; the request is then closed. */
static bool copy_answered(struct ft *ft, struct ft_copy_request *request, struct ft_flow *ret_flow, bool *ret_found)
{
    /* Acquire; partner: the release A3. */
    if (__atomic_load_n(&request->state, __ATOMIC_ACQUIRE) != FT_COPY_ANSWERED)
        return false;
    *ret_found = request->found;
    if (request->found)
        *ret_flow = request->flow;
    close_request(ft, request);
    return true;
}

static void withdraw_copy(struct ft *ft, struct ft_copy_request *request)
{
    uint32_t state = FT_COPY_ASKED;
    if (__atomic_compare_exchange_n(&request->state, &state, FT_COPY_CLAIMED, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        close_request(ft, request);
        return;
    }
    /* The owner is at it; partner of the acquire: the release A3. */
    for (unsigned tries = 0; __atomic_load_n(&request->state, __ATOMIC_ACQUIRE) != FT_COPY_ANSWERED; tries++)
        pause_or_yield(tries);
    close_request(ft, request);
}

void ft_answer_copies(struct ft *ft, const struct ft_shard_set *owned)
{
    for (unsigned i = 0; i < FT_READERS_MAX; i++) {
        struct ft_copy_request *request = &ft->requests[i];
        /* Acquire; partner: the release A1. */
        if (__atomic_load_n(&request->state, __ATOMIC_ACQUIRE) != FT_COPY_ASKED)
            continue;
        ft_slot slot = FT_GET(request->slot);
        uint16_t shard = FT_GET(ft->owners[ft_chunk_of(ft, slot)]);
        if (shard == FT_OWNER_NONE || !(owned->words[shard / 64] >> (shard & 63) & 1))
            continue;
        uint32_t state = FT_COPY_ASKED;
        /* A2: acquire; partner: the release A1 (the request may be another one than the one read above). */
        if (!__atomic_compare_exchange_n(&request->state, &state, FT_COPY_ANSWERING, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        if (FT_GET(request->slot) != slot) {
            /* A3 undone: it was another one; it waits for the next poll. */
            __atomic_store_n(&request->state, FT_COPY_ASKED, __ATOMIC_RELEASE);
            continue;
        }
        request->found = ft_generation(&ft->arrays.hot[slot]) & 1;
        if (request->found)
            ft_copy(ft, slot, &request->flow);
        /* A3: release: the copy goes before; partner: the acquire loads in copy_answered() and withdraw_copy(). */
        __atomic_store_n(&request->state, FT_COPY_ANSWERED, __ATOMIC_RELEASE);
    }
}

void ft_owner_poll(struct ft *ft, const struct ft_shard_set *owned)
{
    if (unlikely(FT_GET(ft->copies_asked)))
        ft_answer_copies(ft, owned);
}

static bool read_starved(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow)
{
    struct ft_copy_request *request = request_copy(ft, slot);
    bool found = false;
    enum read_result result;
    for (unsigned tries = 0;; tries++) {
        if (request && copy_answered(ft, request, ret_flow, &found))
            return found;
        result = read_once(ft, slot, ret_flow);
        if (result != READ_TORN)
            break;
        pause_or_yield(tries);
    }
    if (request)
        withdraw_copy(ft, request);
    return result == READ_COPIED;
}

bool ft_read(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow)
{
    if (slot >> ft->chunk_shift >= ft->chunk_count)
        return false;
    for (unsigned tries = 0; tries < TRIES_BEFORE_ASKING; tries++) {
        enum read_result result = read_once(ft, slot, ret_flow);
        if (result != READ_TORN)
            return result == READ_COPIED;
        rte_pause();
    }
    return read_starved(ft, slot, ret_flow);
}

/* ---- lookup ---- */

/* What a reader takes of a bucket between Q0 and Q1. */
struct bucket_view {
    uint32_t version;
    uint32_t overflow;
};

/* Q0: acquire; partner: the release B1 that made the version even. False: it is being written. */
static bool view_begin(const struct ft_bucket *bucket, struct bucket_view *view)
{
    view->version = __atomic_load_n(&bucket->version, __ATOMIC_ACQUIRE);
    view->overflow = FT_GET(bucket->overflow);
    return !(view->version & 1);
}

static bool view_holds(const struct ft_bucket *bucket, const struct bucket_view *view)
{
    return FT_GET(bucket->version) == view->version;
}

static bool view_find(struct ft *ft, const struct ft_bucket *bucket, uint16_t tag, const struct ft_key *key,
                      struct ft_flow *ret_flow)
{
    for (unsigned place = 0; place < FT_BUCKET_PLACES; place++) {
        if (FT_GET(bucket->tag[place]) != tag)
            continue;
        ft_slot slot = FT_GET(bucket->slot[place]);
        /* All the flow's lines at once, whatever the processor guesses of what the copy goes through. */
        ft_slot_prefetch(ft, slot, key->is_v6 ? FT_V6 : FT_V4);
        /* Whatever the bucket said, a copy under the slot's sequence that holds the key is the flow. */
        if (ft_read(ft, slot, ret_flow) && memcmp(&ret_flow->key, key, sizeof *key) == 0)
            return true;
    }
    return false;
}

enum find_result { FIND_FOUND, FIND_ABSENT, FIND_AGAIN };

static enum find_result find_once(struct ft *ft, const struct ft_key *key, uint64_t hash, struct ft_flow *ret_flow)
{
    uint16_t tag = ft_tag(hash);
    uint32_t first_number = ft_first_bucket(ft, hash);
    const struct ft_bucket *first = &ft->buckets[first_number];
    const struct ft_bucket *second = &ft->buckets[ft_other_bucket(ft, (uint8_t)hash, first_number, tag)];
    struct bucket_view first_view, second_view;
    if (!view_begin(first, &first_view))
        return FIND_AGAIN;
    if (view_find(ft, first, tag, key, ret_flow))
        return FIND_FOUND;
    bool both = first_view.overflow;
    if (both) {
        if (!view_begin(second, &second_view))
            return FIND_AGAIN;
        if (view_find(ft, second, tag, key, ret_flow))
            return FIND_FOUND;
    }
    /*
     * Q1: acquire fence: the loads above go before those of the versions; partner: the release fence B0. Both
     * unchanged: at the moment when the second view began the key stood in neither, so it was not in the table.
     */
    rte_atomic_thread_fence(__ATOMIC_ACQUIRE);
    return view_holds(first, &first_view) && (!both || view_holds(second, &second_view)) ? FIND_ABSENT : FIND_AGAIN;
}

bool ft_find(struct ft *ft, const struct ft_key *key, struct ft_flow *ret_flow)
{
    uint64_t hash = ft_hash(ft, key);
    for (unsigned tries = 0;; tries++) {
        enum find_result result = find_once(ft, key, hash, ret_flow);
        if (result != FIND_AGAIN)
            return result == FIND_FOUND;
        pause_or_yield(tries);
    }
}

/* ---- walk ---- */

bool ft_walk(struct ft *ft, uint8_t shard, uint64_t *position, struct ft_flow *ret_flow)
{
    uint64_t chunk_slots = UINT64_C(1) << ft->chunk_shift, end = (uint64_t)ft->chunk_count << ft->chunk_shift;
    while (*position < end) {
        uint32_t chunk = (uint32_t)(*position >> ft->chunk_shift);
        /* C1: acquire; partner: the release C0 of the owner that took the chunk. */
        bool ours = __atomic_load_n(&ft->owners[chunk], __ATOMIC_ACQUIRE) == shard;
        if (!ours || (*position & (chunk_slots - 1)) >= FT_GET(ft->chunks[chunk].fresh)) {
            *position = (uint64_t)(chunk + 1) << ft->chunk_shift;
            continue;
        }
        ft_slot slot = (ft_slot)(*position)++;
        /* The chunk may have gone to another shard since: the key tells whose the flow is. */
        if (ft_read(ft, slot, ret_flow) && ft_shard_of(&ret_flow->key) == shard)
            return true;
    }
    return false;
}

/* ---- registration ---- */

int ft_reader_register(struct ft *ft)
{
    uint64_t readers = FT_GET(ft->readers);
    unsigned reader;
    do {
        if (readers == UINT64_MAX || (reader = (unsigned)__builtin_ctzll(~readers)) >= ft->readers_max)
            return -ENOSPC;
        /* Acquire; partner: the release in ft_reader_unregister() of the number's last holder. */
    } while (!__atomic_compare_exchange_n(&ft->readers, &readers, readers | UINT64_C(1) << reader, true,
                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    rte_rcu_qsbr_thread_register(ft->qsbr, reader);
    return (int)reader;
}

void ft_reader_unregister(struct ft *ft, int reader)
{
    rte_rcu_qsbr_thread_unregister(ft->qsbr, (unsigned)reader);
    /* Release; partner: the acquire in ft_reader_register(). */
    __atomic_fetch_and(&ft->readers, ~(UINT64_C(1) << reader), __ATOMIC_RELEASE);
}

void ft_reader_online(struct ft *ft, int reader)
{
    /* Relaxed: see ft_slot_free(). rte_rcu_qsbr_thread_online() ends with a full fence. */
    __atomic_fetch_add(&ft->readers_online, 1, __ATOMIC_RELAXED);
    rte_rcu_qsbr_thread_online(ft->qsbr, (unsigned)reader);
}

void ft_reader_quiescent(struct ft *ft, int reader)
{
    rte_rcu_qsbr_quiescent(ft->qsbr, (unsigned)reader);
}

void ft_reader_offline(struct ft *ft, int reader)
{
    rte_rcu_qsbr_thread_offline(ft->qsbr, (unsigned)reader);
    __atomic_fetch_sub(&ft->readers_online, 1, __ATOMIC_RELAXED);
}

int ft_stuck_reader(struct ft *ft, uint64_t now_ns, uint64_t limit_ns)
{
    int stuck = -1;
    for (uint64_t left = FT_GET(ft->readers); left; left &= left - 1) {
        int reader = __builtin_ctzll(left);
        struct ft_reader_watch *watch = &ft->watches[reader];
        /* Relaxed, no partner: compared with what was seen before; changes at each quiescent state after a token. */
        uint64_t count = __atomic_load_n(&ft->qsbr->qsbr_cnt[reader].cnt, __ATOMIC_RELAXED);
        if (count == __RTE_QSBR_CNT_THR_OFFLINE || count != watch->count || now_ns < watch->since_ns)
            *watch = (struct ft_reader_watch){.count = count, .since_ns = now_ns};
        else if (now_ns - watch->since_ns >= limit_ns && stuck < 0)
            stuck = reader;
    }
    /* A new token, so that the next quiescent state of each reader changes its count. */
    rte_rcu_qsbr_start(ft->qsbr);
    return stuck;
}

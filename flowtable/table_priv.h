/*
 * Inside of the flow table: what table.c (create, insert, remove), index.c (buckets), slots.c (chunks, reclaim), age.c
 * and read.c (readers) share.
 *
 * Atomics. Each name below is a place in the code; "pairs with" is the whole proof of a reader's safety.
 *   W0/W1  a slot's write (table.h)            pair with R0/R1, a slot's read (read.c)
 *   B0/B1  a bucket's write (index.c)          pair with Q0/Q1, a bucket's read (read.c)
 *   C0     a chunk's owner set (slots.c)       pairs with C1, the walk (read.c)
 *   S0/S1  push and pop of the shared stack    pair with each other (slots.c)
 *   A0..A3 a copy request                      (read.c)
 */
#pragma once

#include <rte_branch_prediction.h>
#include <rte_pause.h>
#include <rte_prefetch.h>
#include <rte_rcu_qsbr.h>
#include <stdbool.h>

#include "flowtable/table.h"

#define FT_BUCKET_PLACES   8u
#define FT_KEY_WORDS       11u
#define FT_CHUNK_SLOTS_MIN 16u
#define FT_CHUNK_SLOTS_MAX 4096u
#define FT_GROUP_SLOTS     64u
#define FT_GROUP_NONE      UINT32_MAX
#define FT_CHUNK_NONE      UINT32_MAX
#define FT_BUCKET_NONE     UINT32_MAX
#define FT_OWNER_NONE      UINT16_MAX
#define FT_READERS_MAX     64u
#define FT_RECLAIM_BATCH   64u
#define FT_RECLAIM_BATCHES 16u /* a power of two */

/* Of an IPv4 flow and of an IPv6 flow; the latter also have a place in the table's v6 array. */
enum { FT_V4, FT_V6, FT_FAMILIES };

/* A slot's due time: FT_DUE_FREE, FT_DUE_NONE, or a tick of ageing's clock modulo 2^16 (age.c). */
enum {
    FT_DUE_FREE, /* the slot is free; memory that was never used says so, too */
    FT_DUE_NONE, /* it is not, but no flow in it can expire: it is being filled or waits for readers */
    FT_DUE_FIRST,
};

/*
 * One line. tag 0 = the place is free. w: owner of the shard, between B0 and B1, relaxed; r: the owner plainly, others
 * relaxed between Q0 and Q1.
 */
struct ft_bucket {
    uint16_t tag[FT_BUCKET_PLACES];
    ft_slot slot[FT_BUCKET_PLACES];
    uint32_t version; /* odd: being written */
    uint32_t
        overflow;   /* keys whose first bucket is this one but that stand in their second; 0: no need to look there */
    uint8_t second; /* bit i: the key in place i stands in its second bucket */
    uint8_t zero[7];
};
static_assert(sizeof(struct ft_bucket) == 64 && offsetof(struct ft_bucket, slot) == 16, "one line, tags one SSE load");

/* Addresses of an IPv6 flow, by slot. w: owner at insert, within the slot's write. */
struct ft_v6 {
    uint8_t addr[2][16];
};
static_assert(sizeof(struct ft_v6) == 32, "half a line");

/* One line. w, r: the owner of the chunk's shard, except where said. */
struct ft_chunk {
    uint32_t stack_next; /* in a shared stack; relaxed, ordered by S0/S1 */
    uint32_t prev;       /* in the shard's list, in the order in which the shard took its chunks */
    uint32_t next;
    uint32_t partial_prev; /* in the shard's list of the family's chunks with a free slot */
    uint32_t partial_next;
    uint32_t fresh;      /* slots from here on were not used since the chunk was taken; walkers read it relaxed */
    uint32_t used;       /* live, or waiting for readers */
    uint32_t family;     /* of all its flows */
    uint32_t free_group; /* the first group of FT_GROUP_SLOTS that has a free slot; FT_GROUP_NONE: none has */
    uint8_t zero_1[4];
    uint64_t free_mask; /* bit: a free slot of that group */
    uint8_t zero_2[16];
};
static_assert(sizeof(struct ft_chunk) == 64, "one line");

/*
 * Slots that wait for readers: kept in the hot line of one of them, so that memory is there however many they are. The
 * line's sequence goes on saying that the slot is free. w, r: the owner; by relaxed atomics, since a reader may be
 * copying the line.
 */
#define FT_WAITING_SLOTS 12u
struct ft_waiting {
    uint64_t sequence;
    ft_slot next; /* its list, or FT_SLOT_NONE */
    uint32_t length;
    ft_slot slots[FT_WAITING_SLOTS];
};
static_assert(sizeof(struct ft_waiting) == sizeof(struct ft_hot), "stands in its place");

struct ft_reclaim_batch {
    uint64_t token; /* of rte_rcu_qsbr_start() */
    uint32_t count; /* of slots, from the oldest on */
};

/* w: owner of the shard. r: the owner plainly; `flows`, `unanswered` and the counters by anyone, relaxed. */
struct ft_shard {
    /* One line: what an insert or a remove needs. */
    uint32_t partial_first[FT_FAMILIES]; /* chunks with a free slot; filled from here, emptied ones go to the end */
    uint32_t free_slots[FT_FAMILIES];    /* of its chunks */
    ft_slot waiting_first;               /* see below */
    uint32_t zero;
    uint64_t clock_ns; /* of ageing: the latest handed in, until it is set back by more than FT_CLOCK_BACK_NS */
    uint64_t flows;
    uint64_t unanswered;
#define X(name) uint64_t name;
    FT_COUNTERS(X) /* the first two are in the line */
#undef X

    uint32_t first; /* its chunks */
    uint32_t last;
    uint32_t partial_last[FT_FAMILIES];
    uint32_t chunks[FT_FAMILIES];
    uint32_t sweep_chunk; /* where ageing goes on; FT_CHUNK_NONE: its round is over */
    uint32_t sweep_index;
    uint64_t sweep_tick;     /* in which the round began */
    uint32_t all_due_rounds; /* which take every flow for due, the present one included */

    /* Slots waiting for readers, oldest first, in blocks (struct ft_waiting): those of batches[], then waiting_open more.
     */
    ft_slot waiting_last;
    uint32_t waiting_open;
    bool waiting_sealed; /* the last block ends a batch */
    uint32_t batch_head;
    uint32_t batch_tail;
    struct ft_reclaim_batch batches[FT_RECLAIM_BATCHES];
} __rte_cache_aligned;
static_assert(offsetof(struct ft_shard, removed) == 56, "the last of the line");

enum ft_copy_state { FT_COPY_UNUSED, FT_COPY_CLAIMED, FT_COPY_ASKED, FT_COPY_ANSWERING, FT_COPY_ANSWERED };

/* A starved reader's request that the owner copy a flow; see read.c for who may change which state. */
struct ft_copy_request {
    uint32_t state; /* enum ft_copy_state */
    ft_slot slot;
    bool found;
    struct ft_flow flow;
} __rte_cache_aligned;

/* Of each reader. w: the control thread that calls ft_stuck_reader(). */
struct ft_reader_watch {
    uint64_t count; /* QSBR counter seen last */
    uint64_t since_ns;
};

struct ft {
    /* ro after create */
    struct ft_arrays arrays;
    struct ft_v6 *v6;
    uint16_t *due; /* by slot: when ageing must look at it; its owner's */
    struct ft_bucket *buckets;
    struct ft_chunk *chunks;
    uint16_t
        *owners; /* by chunk: its shard or FT_OWNER_NONE; w: whoever takes or returns the chunk (C0); r: any (C1) */
    uint32_t shard_buckets;
    uint32_t chunk_count;
    uint32_t chunk_shift;
    uint32_t unanswered_max; /* a shard */
    uint32_t readers_max;
    uint32_t margin_slots; /* free ones that a sweep leaves a shard with, of each family it has */
    uint32_t tick_shift;   /* a tick of ageing is 2^tick_shift ns */
    uint64_t capacity_flows;
    uint64_t secret[2][FT_KEY_WORDS + 1];
    void *memory;  /* the arrays, aligned to large pages */
    void *mapping; /* what munmap() takes */
    size_t memory_bytes;
    struct rte_rcu_qsbr *qsbr;

    /*
     * rw: any owner that takes or returns a chunk. Chunks never used: those from the lower half of `unused` up to its
     * upper half; IPv4 flows take the first, IPv6 flows the last, so that the v6 array is touched from its end only.
     * Chunks returned, by the family they had: tag << 32 | chunk; the tag is counted up at each pop against ABA.
     */
    uint64_t unused __rte_cache_aligned;
    uint64_t free_chunks[FT_FAMILIES];

    /* rw: readers, when they register, come online, ask; r: owners, once a burst */
    uint32_t readers_online __rte_cache_aligned;
    uint32_t copies_asked; /* requests in FT_COPY_ASKED, or about to be */
    uint64_t readers;      /* bit: registered */

    struct ft_copy_request requests[FT_READERS_MAX];
    struct ft_reader_watch watches[FT_READERS_MAX]; /* control thread */
    struct ft_shard shards[FT_SHARDS];
};
static_assert(offsetof(struct ft, arrays) == 0, "the inline calls of table.h cast to it");

/* An owner's own counter, which others may read: no read-modify-write. */
#define FT_COUNT(field, n) FT_SET(field, (field) + (n))

static inline uint32_t ft_chunk_of(const struct ft *ft, ft_slot slot)
{
    return slot >> ft->chunk_shift;
}

/* The shard of a live slot; owner only. */
static inline uint8_t ft_owner_of(const struct ft *ft, ft_slot slot)
{
    return (uint8_t)FT_GET(ft->owners[ft_chunk_of(ft, slot)]);
}

static inline uint16_t ft_tag(uint64_t hash)
{
    uint16_t tag = (uint16_t)(hash >> 16);
    return tag ? tag : 1;
}

/* shard * n + (upper half of the hash scaled to 0..n-1), in one multiplication: n has at most 24 bits. */
static inline uint32_t ft_first_bucket(const struct ft *ft, uint64_t hash)
{
    return (uint32_t)(((hash & 0xff) << 32 | hash >> 32) * ft->shard_buckets >> 32);
}

/*
 * The other bucket of a tag that stands in `bucket`: with n buckets a shard and m(tag) in 0..n-1, second = m(tag) -
 * first mod n, hence first = m(tag) - second: the same step leads back.
 */
static inline uint32_t ft_other_bucket(const struct ft *ft, uint8_t shard, uint32_t bucket, uint16_t tag)
{
    uint32_t n = ft->shard_buckets, base = shard * n;
    uint32_t mixed = (uint32_t)((uint64_t)(tag * 0x9e3779b1u) * n >> 32);
    uint32_t within = bucket - base;
    return base + (mixed >= within ? mixed - within : mixed + n - within);
}

/* The hot line keeps ports to is_v6 in the key's order, so that these 10 bytes compare and copy as one. */
#define FT_KEY_TAIL_BYTES 10u
static_assert(offsetof(struct ft_hot, is_v6) - offsetof(struct ft_hot, port_be16) == FT_KEY_TAIL_BYTES - 1 &&
                  offsetof(struct ft_key, is_v6) - offsetof(struct ft_key, port_be16) == FT_KEY_TAIL_BYTES - 1 &&
                  offsetof(struct ft_hot, context) - offsetof(struct ft_hot, port_be16) == 4 &&
                  offsetof(struct ft_key, context) - offsetof(struct ft_key, port_be16) == 4,
              "ports, context, protocol, version");

/* Owner only. */
static inline bool ft_slot_holds(const struct ft *ft, ft_slot slot, const struct ft_key *key)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    if (memcmp(hot->port_be16, key->port_be16, FT_KEY_TAIL_BYTES) != 0)
        return false;
    if (unlikely(hot->is_v6))
        return memcmp(ft->v6[slot].addr, key->addr, sizeof key->addr) == 0;
    return memcmp(hot->addr_v4[0], key->addr[0], 4) == 0 && memcmp(hot->addr_v4[1], key->addr[1], 4) == 0;
}

/* The lines of a flow, to be read or written. */
static inline void ft_slot_prefetch(const struct ft *ft, ft_slot slot, unsigned family)
{
    rte_prefetch0(&ft->arrays.hot[slot]);
    rte_prefetch0(&ft->arrays.cold[slot]);
    if (family == FT_V6)
        rte_prefetch0(&ft->v6[slot]);
}

/* table.c */
void ft_slot_key(const struct ft *ft, ft_slot slot, struct ft_key *ret_key);

/* index.c: one key's slot; the bucket that has a place for a key not there yet, or FT_BUCKET_NONE; putting it there; taking it out */
ft_slot ft_index_find(const struct ft *ft, const struct ft_key *key, uint64_t hash);
uint32_t ft_index_make_room(struct ft *ft, uint64_t hash);
void ft_index_insert(struct ft *ft, uint64_t hash, uint32_t bucket, ft_slot slot);
void ft_index_remove(struct ft *ft, uint64_t hash, ft_slot slot);

/* slots.c: the family is FT_V4 or FT_V6 */
ft_slot ft_slot_take(struct ft *ft, uint8_t shard, unsigned family);
void ft_slot_give_back(struct ft *ft, uint8_t shard, ft_slot slot); /* never used: at once */
void ft_slot_free(struct ft *ft, uint8_t shard, ft_slot slot);      /* when readers have passed */
void ft_slot_forget(struct ft *ft, ft_slot slot);                   /* its flow ended */
void ft_reclaim(struct ft *ft, uint8_t shard);
void ft_keep_margin(struct ft *ft, uint8_t shard);
void ft_slots_init(struct ft *ft);

/* age.c: tells ageing when the flow may expire */
void ft_due(struct ft *ft, const struct ft_shard *shard, ft_slot slot);

/* read.c */
void ft_answer_copies(struct ft *ft, const struct ft_shard_set *owned);

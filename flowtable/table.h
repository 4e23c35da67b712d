/*
 * The flow table: 256 shards, each with one writer; any thread may look up and walk without a lock.
 *
 * Shape. A shard has a range of the bucket array and a list of chunks. A *bucket* is one cache line: 8 tags of 16 bits,
 * 8 slot numbers, a version, the count of keys that overflowed to their second bucket. A key has two candidate buckets,
 * both within its shard's range (partial-key cuckoo: the second follows from the first and the tag). A *chunk* is 4,096
 * consecutive slots (fewer in a small table: capacity / 16,384 rounded down to a power of two, at least 16) that belong
 * to one shard and one family, IPv4 or IPv6, while any of them is in use, so walking, ageing, exporting or taking over
 * one shard is sequential over its chunks, and the array of IPv6 addresses is touched only where IPv6 flows are; chunks
 * move between shards through a shared pool (the only structure here that several owners touch: a compare-and-swap a
 * chunk, never a flow). A chunk and a margin are reserved for each shard and family on top of the capacity, so that a
 * shard's partly filled chunks take nothing from the others. The margin, an eighth of a chunk, is how many free slots a
 * sweep leaves a shard with, so that an insert need not take a chunk.
 *
 * Writers. Insert, remove, ageing and all writes to a shard's buckets and slots are its owner's alone: the worker that
 * the dataplane's owner map names. Two owners never touch one line of a shard, so the fast path has no
 * read-modify-write. A shard may change hands when the dataplane orders the old owner's last write before the new
 * owner's first.
 *
 * Readers. A slot's `sequence` is generation << 32 | count. The owner makes count odd before and even after a change.
 * The generation is odd while a flow lives in the slot and even while the slot is free; it is counted up at insert and
 * at remove, so {slot, generation} names a flow over 2^31 reuses of its slot. A reader copies between two equal, even
 * loads. A reader that fails 8 times on a hot flow asks the flow's owner to copy, which the owner does in
 * ft_owner_poll() or ft_sweep(). Lookup by other threads checks both buckets' versions, since a displacement may move a
 * key between them meanwhile: it writes the new place before it clears the old one, so a live key is never missed.
 *
 * Reclaim. A freed slot returns to its chunk when every online reader has passed a quiescent state (rte_rcu_qsbr), in
 * batches of 64, never a grace period a flow; with no reader online, at once. A reader that never reports one is named
 * by ft_stuck_reader(); meanwhile freed slots wait in lists that are kept in their own lines, so memory is bounded.
 *
 * Full. A shard whose slots or buckets are exhausted refuses new flows, counted by reason; the caller lets the
 * packet pass unclassified. Half-open and unanswered flows are bounded per shard (unanswered_share_pct), so that a
 * flood does not push established flows out: ft_timeout_unanswered() says which classes count as such. A flow counts
 * from its insert on until ft_set_timeout_class() moves it into another class.
 *
 * Ageing. Each slot has a lower bound, 2 bytes, of the time at which its flow may expire; ft_sweep() reads these and
 * looks at those flows alone that are due: a flow that packets renew is looked at once a time-out. A flow is found at
 * most FT_SWEEP_LATE_NS (or an eighth of the shortest time-out, if that is less, but a millisecond) after its time, plus
 * what the caller's budget takes to come round; ft_expired() is exact. A clock that is set back: `last_ns` only grows
 * (FT_SET it when now_ns is later), so nothing expires early; and a flow that the sweep finds stamped more than
 * FT_CLOCK_BACK_NS after now_ns starts its time-out anew at now_ns, so nothing lives for ever.
 *
 * Determinism. What a shard answers (hits, refusals, the order in which ageing finds flows) depends on the operations
 * on that shard alone, on no other shard and on no timing, with two exceptions: a shard may find the shared stack of
 * chunks empty because of others, and slot numbers (hence the order of ft_walk) depend on which owner took which chunk
 * first. With secret_seed set, the same operations give the same results for any number of owners while no reader is
 * online.
 *
 * Memory: 64 (hot) + 64 (cold) + 2 (due time) + 16 (bucket, half full) bytes an IPv4 flow, 32 more an IPv6 flow, and
 * the reserve of chunks, 3.5 % (less from 64 million flows on): 152 and 186 bytes from a million flows on. All of it is
 * reserved at ft_create(), touched as it is used. Nothing is allocated later. Time is always handed in.
 */
#pragma once

#include <rte_atomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flowtable/flow.h"
#include "flowtable/tcp_track.h"

#define FT_BURST_MAX     32u
#define FT_SWEEP_LATE_NS 1000000000u /* how late ageing may find a flow */
#define FT_CLOCK_BACK_NS 1000000000u /* a flow stamped further ahead of the clock than this: the clock was set back */

#define FT_CAPACITY_FLOWS_MIN (UINT64_C(1) << 12)
#define FT_CAPACITY_FLOWS_MAX (UINT64_C(1) << 31)

struct ft;

/* Time-out classes: names are configuration keys (flow_table.timeouts_s.NAME), defaults in seconds. */
#define FT_TIMEOUTS(X)                                                                                                 \
    X(tcp_opening, 30) /* SYN seen, handshake not finished */                                                          \
    X(tcp_established, 3600)                                                                                           \
    X(tcp_closing, 60)         /* one FIN seen */                                                                      \
    X(tcp_closed, 10)          /* both FINs or a RST seen: waits for last packets */                                   \
    X(tcp_started_before, 300) /* TCP without its SYN, not (yet) seen both ways */                                     \
    X(udp_unanswered, 60)                                                                                              \
    X(udp_answered, 180)                                                                                               \
    X(other, 60) /* ICMP and all other IP protocols */

enum ft_timeout {
#define X(name, seconds) FT_TIMEOUT_##name,
    FT_TIMEOUTS(X)
#undef X
        FT_TIMEOUT_COUNT
};

struct ft_config {
    uint64_t capacity_flows; /* FT_CAPACITY_FLOWS_MIN .. _MAX; rounded up to whole chunks */
    uint64_t timeout_ns[FT_TIMEOUT_COUNT];
    uint64_t secret_seed;          /* 0: drawn from getrandom(); replay gives a fixed one */
    uint32_t readers_max;          /* threads that may call ft_reader_register(); 1..64 */
    uint32_t unanswered_share_pct; /* of a shard's share of the capacity; 1..99, or 100: no bound of their own */
    bool hugepages;                /* ask for them by madvise; without them it works all the same */
};

/*
 * True for the classes that a flood from one side alone can fill: tcp_opening, tcp_started_before, udp_unanswered, and
 * other, where nobody tells an answer from a question.
 */
static inline bool ft_timeout_unanswered(enum ft_timeout timeout_class)
{
    return (1u << FT_TIMEOUT_tcp_opening | 1u << FT_TIMEOUT_tcp_started_before | 1u << FT_TIMEOUT_udp_unanswered |
            1u << FT_TIMEOUT_other) >>
               timeout_class &
           1;
}

/* Counters of refusals and events, one place each; summed over shards by ft_stats(). */
#define FT_COUNTERS(X)                                                                                                 \
    X(inserted)                                                                                                        \
    X(removed)                                                                                                         \
    X(refused_no_slot)    /* no free slot and no free chunk */                                                         \
    X(refused_no_bucket)  /* both buckets full and no displacement found */                                            \
    X(refused_unanswered) /* the region of half-open and unanswered flows is full */                                   \
    X(displaced)          /* keys moved to their other bucket */                                                       \
    X(swept)              /* slots looked at by ageing */                                                              \
    X(expired)            /* flows found expired by ageing */                                                          \
    X(chunks_taken_late)  /* by an insert, not by a sweep ahead of it */

struct ft_stats {
#define X(name) uint64_t name;
    FT_COUNTERS(X)
#undef X
    uint64_t flows;      /* live now */
    uint64_t unanswered; /* of these, half-open or unanswered */
    uint64_t capacity_flows;
    uint64_t memory_bytes; /* address space reserved; memory is taken as flows come */
};

/* Defaults for every field. */
void ft_config_init(struct ft_config *config);

/*
 * Reserves the memory. NULL with a message in `error` when a value is out of range (names it) or the machine has less
 * memory than a full table of IPv4 flows needs (names the sizes). Control thread. Needs no EAL.
 */
struct ft *ft_create(const struct ft_config *config, char *error, size_t error_size);
void ft_destroy(struct ft *ft); /* NULL is allowed */

/*
 * The hash of a key: bits 32..63 and bits 8..31 are two independent keyed hashes (each multilinear over the key's
 * 32-bit words with a secret of 64 bits a word, of which the upper half is kept: strongly universal, so that two keys
 * collide with probability 2^-32 over the secret, whoever chose them); bits 0..7 are the public shard, ft_shard_of().
 * Any thread; about 15 cycles. It must not leave the process.
 */
uint64_t ft_hash(const struct ft *ft, const struct ft_key *key);

/* ---- the owner of the keys' shards only ---- */

/*
 * Looks up `count` <= FT_BURST_MAX keys: prefetches all first buckets, then the entries, then compares. ret_slots[i] is
 * FT_SLOT_NONE on a miss. Returns the mask of hits. Cost: about 12 cycles a key besides the memory.
 */
uint32_t ft_lookup_bulk(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                        ft_slot ret_slots[]);

/*
 * The same in its three steps. ft_lookup_bulk() takes them one after the other, and waits twice for the memory: for the
 * buckets, then for the flows. A caller that has the next bursts at hand does other things between them, and waits
 * hardly ever; while burst n is current,
 *
 *     ft_prefetch_index(burst n + 2); ft_prefetch_flows(burst n + 1); ft_lookup_hinted(burst n); ... its other stages
 *
 * A hint is where the key's flow seems to be. It holds nothing, promises nothing and may grow old: flows may come, go,
 * and their slots be used again meanwhile, even by another owner. Any slot of the table is one, and 0 is none. So the
 * first two steps may be left out, and be taken by one who is not the keys' owner. `ret_slots` may be `hints`. Cost: 2, 5 and 6 cycles a key.
 */
void ft_prefetch_index(struct ft *ft, const uint64_t hashes[], unsigned count);
void ft_prefetch_flows(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                       ft_slot ret_hints[]);
uint32_t ft_lookup_hinted(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], const ft_slot hints[],
                          unsigned count, ft_slot ret_slots[]);

/*
 * Adds a flow that is not in the table. Sets the key, uid, first_ns = last_ns = now_ns, generation; all else zero, so
 * its time-out class is tcp_opening until ft_set_timeout_class(). 0, or why not, counted: -ENOSPC (no slot), -EXFULL
 * (both buckets), -EDQUOT (unanswered flows). Cost: about 100 cycles when the bucket line is in cache; at most 64
 * buckets are looked at for a displacement.
 */
int ft_insert(struct ft *ft, const struct ft_key *key, uint64_t hash, uint64_t uid, uint64_t now_ns, ft_slot *ret_slot);

/*
 * The same for those keys of a burst that `wanted` has a bit for, in their order, after ft_lookup_bulk() missed them.
 * Returns the mask of the flows added. Of the other bits of `wanted`: a key that the burst has twice is added once, and
 * ret_slots[] of the second is that flow, ret_errors[] 0; a refused one has FT_SLOT_NONE and its error. What `wanted`
 * has no bit for is neither read nor written.
 */
uint32_t ft_insert_bulk(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], uint32_t wanted,
                        const uint64_t uids[], const uint64_t now_ns[], ft_slot ret_slots[], int ret_errors[]);

/* Takes the flow out of the index; its slot is reused when all readers have passed. */
void ft_remove(struct ft *ft, ft_slot slot);

/* `count` <= FT_BURST_MAX different flows. */
void ft_remove_bulk(struct ft *ft, const ft_slot slots[], unsigned count);

/* What the inline calls below need: the first member of struct ft. Fixed at create. */
struct ft_arrays {
    struct ft_hot *hot;
    struct ft_cold *cold;
    uint64_t timeout_ns[FT_TIMEOUT_COUNT];
};

/* The parts of a live slot. A write goes between begin and end; the owner's own reads need neither. */
static inline struct ft_hot *ft_hot(struct ft *ft, ft_slot slot)
{
    return ((const struct ft_arrays *)ft)->hot + slot;
}

static inline struct ft_cold *ft_cold(struct ft *ft, ft_slot slot)
{
    return ((const struct ft_arrays *)ft)->cold + slot;
}

/* Odd while a flow lives in the slot. */
static inline uint32_t ft_generation(const struct ft_hot *hot)
{
    return (uint32_t)(FT_GET(hot->sequence) >> 32);
}

static inline void ft_write_begin(struct ft_hot *hot)
{
    FT_SET(hot->sequence, hot->sequence + 1);
    /* W0: the odd count before all stores of the write; partner: the acquire fence R1 of a reader (read.c). */
    rte_atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void ft_write_end(struct ft_hot *hot)
{
    /* The count wraps within its 32 bits: it must not carry into the generation. */
    uint64_t sequence = (hot->sequence & ~(uint64_t)UINT32_MAX) | (uint32_t)(hot->sequence + 1);
    /* W1: release: who sees the even count sees the write; partner: the acquire load R0 of a reader (read.c). */
    __atomic_store_n(&hot->sequence, sequence, __ATOMIC_RELEASE);
}

/* Counts up the version: a change worth sending to a peer was made. Within a write. */
static inline void ft_touch(struct ft_cold *cold)
{
    FT_SET(cold->version, cold->version + 1);
}

/* Changes the time-out class, keeps the count of unanswered flows true and ageing punctual. Within a write. */
void ft_set_timeout_class(struct ft *ft, ft_slot slot, enum ft_timeout timeout_class);

/* True when `now_ns` is past the flow's time-out, exactly. A clock that goes backwards never expires a flow. */
static inline bool ft_expired(const struct ft *ft, const struct ft_hot *hot, uint64_t now_ns)
{
    return now_ns > hot->last_ns &&
           now_ns - hot->last_ns > ((const struct ft_arrays *)ft)->timeout_ns[hot->timeout_class];
}

/*
 * Ageing: goes on through one shard from where it stopped, once round a tick (half a second, with the default
 * time-outs), and writes the expired flows to ret_slots (at most `size`), each at most once a call. A flow looked at
 * costs one of the budget, and so do 16 slots passed over. The caller reports each flow found and calls ft_remove(); one
 * that it keeps alive it may give to ft_set_timeout_class(), else it is found again in the next round. Returns how many
 * it found. Also reclaims freed slots (at most 256 a call), keeps the margin of free slots, and answers copy requests.
 * Cost: about 10 ns a flow looked at, 2 ns for 16 slots passed over; 20 ns when the shard's round is over. After a clock
 * that was set back by more than FT_CLOCK_BACK_NS, or came more than half an hour later, every flow of the shard is
 * looked at, within the budget of the calls that follow.
 */
unsigned ft_sweep(struct ft *ft, uint8_t shard, uint64_t now_ns, unsigned budget_slots, ft_slot ret_slots[],
                  unsigned size);

/* True when ageing has been through the whole shard: ft_sweep() finds nothing before the next tick. */
bool ft_sweep_is_over(const struct ft *ft, uint8_t shard);

/* A set of shards: bit s & 63 of word s / 64. */
struct ft_shard_set {
    uint64_t words[FT_SHARDS / 64];
};

/* Answers starved readers' copy requests for flows of `owned` shards. Once a burst; one relaxed load if none. */
void ft_owner_poll(struct ft *ft, const struct ft_shard_set *owned);

/* The owner's copy of a live flow, without validation. */
void ft_copy(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow);

/* ---- any thread, as a registered reader ---- */

/*
 * A reader's number, or -ENOSPC. Between online and offline a slot whose number it holds is not reused, and it reports
 * a quiescent state, holding none, whenever it can. Copies that the calls below return may be kept for ever.
 */
int ft_reader_register(struct ft *ft);
void ft_reader_unregister(struct ft *ft, int reader);
void ft_reader_online(struct ft *ft, int reader);
void ft_reader_quiescent(struct ft *ft, int reader);
void ft_reader_offline(struct ft *ft, int reader);

/* Looks one key up and copies the flow; false when it is not there. */
bool ft_find(struct ft *ft, const struct ft_key *key, struct ft_flow *ret_flow);

/* Copies a slot's flow, torn never; false when the slot is free. */
bool ft_read(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow);

/*
 * Walks one shard over its chunks in order of slots: start with *position = 0, call until it returns false. Each flow
 * that lives during the whole walk is returned exactly once, whatever the index does meanwhile; one that begins or ends
 * meanwhile at most once. Cost besides the flows: two bytes a chunk of the table.
 */
bool ft_walk(struct ft *ft, uint8_t shard, uint64_t *position, struct ft_flow *ret_flow);

/* Slots are numbered 0 .. count - 1: for arrays beside the table. Fixed at create. */
uint32_t ft_slot_count(const struct ft *ft);

/* Sums over shards; counters are read relaxed, so they are exact when owners rest. */
void ft_stats(const struct ft *ft, struct ft_stats *ret_stats);

/*
 * Number of an online reader that has not been quiescent for `limit_ns`, or -1. Called again and again by one control
 * thread: time counts from the first call that saw the reader's present state.
 */
int ft_stuck_reader(struct ft *ft, uint64_t now_ns, uint64_t limit_ns);

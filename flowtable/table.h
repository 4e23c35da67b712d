/*
 * The flow table: 256 shards, each with one writer; any thread may look up and walk without a lock.
 *
 * Shape. A shard has a range of the bucket array and a list of chunks. A *bucket* is one cache line: 8 tags of 16 bits, 8
 * slot numbers, a version. A key has two candidate buckets, both within its shard's range (partial-key cuckoo: the second
 * follows from the first and the tag). A *chunk* is 4,096 consecutive slots that belong to one shard while any of them is
 * in use, so walking, ageing, exporting or taking over one shard is sequential over its chunks; chunks move between shards
 * through a shared free stack (the only structure here that several owners touch: a compare-and-swap a chunk, never a flow).
 *
 * Writers. Insert, remove, ageing and all writes to a shard's buckets and slots are its owner's alone: the worker that the
 * dataplane's owner map names. Two owners never touch one line of a shard, so the fast path has no read-modify-write.
 *
 * Readers. A slot's `sequence` is generation << 32 | count; the owner makes count odd before and even after a change, and
 * counts the generation up when the slot is reused. A reader copies between two equal, even loads; {slot, generation} names
 * a flow for ever. A reader that fails 8 times on a hot flow asks its owner to copy (ft_copy_request) at its next burst boundary.
 * Lookup by other threads checks both buckets' versions, since a displacement may move a key between them meanwhile.
 *
 * Reclaim. A freed slot returns to its shard when every registered reader has passed a quiescent state (rte_rcu_qsbr),
 * in batches, never a grace period a flow. A reader that never reports one is named by ft_stuck_reader().
 *
 * Full. A shard whose slots or buckets are exhausted refuses new flows (-ENOSPC, counted by reason); the caller lets the
 * packet pass unclassified. Half-open and unanswered flows are bounded per shard (unanswered_share), so that a flood
 * does not push established flows out.
 *
 * Memory: 64 (hot) + 64 (cold) + 10.7 (bucket, at 75 % load) bytes an IPv4 flow, 32 more an IPv6 flow; reserved at
 * ft_create(), touched as it is used. Nothing is allocated later. Time is always handed in.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "flowtable/flow.h"
#include "flowtable/tcp_track.h"

#define FT_BURST_MAX 32u

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
    uint64_t capacity_flows; /* 4,096 .. 2^31; rounded up to whole chunks, at least one a shard in use */
    uint64_t timeout_ns[FT_TIMEOUT_COUNT];
    uint64_t secret_seed;          /* 0: drawn from getrandom(); replay gives a fixed one */
    uint32_t readers_max;          /* threads that may call ft_reader_register(); 1..64 */
    uint32_t unanswered_share_pct; /* of a shard's slots, for half-open and unanswered flows; 1..100 */
    bool hugepages;                /* ask for them by madvise; without them it works all the same */
};

/* Counters of refusals and events, one place each; summed over shards by ft_stats(). */
#define FT_COUNTERS(X)                                                                                                 \
    X(inserted)                                                                                                        \
    X(removed)                                                                                                         \
    X(refused_no_slot)    /* no free slot and no free chunk */                                                         \
    X(refused_no_bucket)  /* both buckets full and no displacement found */                                            \
    X(refused_unanswered) /* the region of half-open and unanswered flows is full */                                   \
    X(displaced)          /* keys moved to their other bucket */                                                       \
    X(swept)              /* slots looked at by ageing */                                                              \
    X(expired)            /* flows found expired by ageing */

struct ft_stats {
#define X(name) uint64_t name;
    FT_COUNTERS(X)
#undef X
    uint64_t flows;      /* live now */
    uint64_t unanswered; /* of these, half-open or unanswered */
    uint64_t capacity_flows;
    uint64_t memory_bytes; /* reserved */
};

/* Defaults for every field. */
void ft_config_init(struct ft_config *config);

/*
 * Reserves the memory. NULL with a message in `error` when a value is out of range (names it) or memory is short (names
 * the size). Control thread.
 */
struct ft *ft_create(const struct ft_config *config, char *error, size_t error_size);
void ft_destroy(struct ft *ft); /* NULL is allowed */

/* The keyed hash of a key: multilinear over its 32-bit words with a secret as long as the key. Any thread; ~10 cycles. */
uint64_t ft_hash(const struct ft *ft, const struct ft_key *key);

/* ---- the owner of the keys' shards only ---- */

/*
 * Looks up `count` <= FT_BURST_MAX keys: prefetches all first buckets, then the entries, then compares. ret_slots[i] is
 * FT_SLOT_NONE on a miss. Returns the mask of hits.
 */
uint32_t ft_lookup_bulk(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                        ft_slot ret_slots[]);

/*
 * Adds a flow that is not in the table. Sets the key, uid, first_ns = last_ns = now_ns, generation; all else zero.
 * 0, or -ENOSPC (counted by reason). Cost: about 100 cycles when the bucket line is in cache.
 */
int ft_insert(struct ft *ft, const struct ft_key *key, uint64_t hash, uint64_t uid, uint64_t now_ns, ft_slot *ret_slot);

/* Takes the flow out of the index; its slot is reused when all readers have passed. */
void ft_remove(struct ft *ft, ft_slot slot);

/* The parts of a live slot. A write goes between begin and end; the owner's own reads need neither. */
struct ft_hot *ft_hot(struct ft *ft, ft_slot slot);
struct ft_cold *ft_cold(struct ft *ft, ft_slot slot);
void ft_write_begin(struct ft_hot *hot);
void ft_write_end(struct ft_hot *hot);

/* Changes the time-out class and keeps the count of unanswered flows true. Within a write. */
void ft_set_timeout_class(struct ft *ft, ft_slot slot, enum ft_timeout timeout_class);

/* True when `now_ns` is past the flow's time-out. A clock that goes backwards never expires a flow. */
bool ft_expired(const struct ft *ft, const struct ft_hot *hot, uint64_t now_ns);

/*
 * Ageing: looks at up to `budget_slots` slots of one shard from where it stopped, and writes the expired ones to
 * ret_slots (at most `size`). The caller reports them and calls ft_remove(). Skips chunks that cannot hold an expired flow
 * yet. Returns how many it found. Also reclaims freed slots and answers copy requests.
 */
unsigned ft_sweep(struct ft *ft, uint8_t shard, uint64_t now_ns, unsigned budget_slots, ft_slot ret_slots[],
                  unsigned size);

/* The owner's copy of a live flow, without validation. */
void ft_copy(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow);

/* ---- any thread, as a registered reader ---- */

/* A reader's number, or -ENOSPC. Between online and offline it may hold slot numbers. */
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
 * Walks one shard over its chunks: start with *position = 0, call until it returns false. Each flow that lives during the
 * whole walk is returned exactly once, whatever the index does meanwhile.
 */
bool ft_walk(struct ft *ft, uint8_t shard, uint64_t *position, struct ft_flow *ret_flow);

/* Sums over shards; counters are read relaxed, so they are exact when owners rest. */
void ft_stats(const struct ft *ft, struct ft_stats *ret_stats);

/* Number of a reader that has not been quiescent for `limit_ns`, or -1. Control thread. */
int ft_stuck_reader(struct ft *ft, uint64_t now_ns, uint64_t limit_ns);

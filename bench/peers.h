/*
 * What our table is measured against, each at its best: keys hashed beforehand, bulk calls and prefetching where there
 * are any, memory on large pages.
 *
 *   rte_hash  DPDK's cuckoo hash, RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF: readers without locks, which is what our
 *             table offers. Keys of 48 bytes (36 used): the length nearest ours for which it has a SIMD comparison.
 *             Entries of one line in an array of our own, by position. With the next burst at hand it is looked up
 *             while the entries of this one are fetched; its buckets only its own call can fetch, as that begins.
 *   cds_lfht  liburcu's split-ordered list, QSBR flavour, all its buckets allocated at the start. Nodes of one line.
 *   floor     no table at all: one line read, a second one whose address depends on what was read, written. What any
 *             table with a line of buckets and a line of entry must pay, in memory of the same size. With the next
 *             bursts at hand, the lines are fetched two ahead and the entries one.
 */
#pragma once

#include "bench/keys.h"
#include "bench/memory.h"

#define BENCH_PEER_KEY_BYTES 48u

/* Queries over a population, with everything that may be computed beforehand. */
struct bench_stream {
    uint32_t length;
    uint32_t *flows;
    struct ft_key *keys;
    uint64_t *hashes; /* ft_hash() */
    uint8_t (*peer_keys)[BENCH_PEER_KEY_BYTES];
    uint32_t *peer_hashes;
    uint32_t *floor_lines, *floor_entries;
};

/* Entry of a peer: one line. What the pipeline keeps of a decided flow beside its key. */
struct bench_entry {
    uint64_t bytes[2];
    uint32_t packets[2];
    uint64_t last_ns;
    uint8_t tcp_state, timeout_class;
    uint16_t flags, name;
    uint8_t rest[26];
};
static_assert(sizeof(struct bench_entry) == 64, "one line");

struct bench_rte {
    struct bench_heap heap;
    struct rte_hash *hash;
    struct bench_entry *entries; /* by position */
    size_t entries_bytes;
};
void bench_rte_create(struct bench_rte *rte, uint64_t capacity_flows);
void bench_rte_destroy(struct bench_rte *rte);
void bench_peer_key(const struct ft_key *key, uint8_t ret_key[BENCH_PEER_KEY_BYTES]);
/* Its hash is a part of ours, so that neither side pays for one of its own. */
static inline uint32_t bench_peer_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}
/* 32 keys that are new, or there already: looked up, added, their entries zeroed. */
void bench_rte_insert(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[],
                      int32_t ret_positions[]);
/* 32 keys that are there: looked up and taken out. */
void bench_rte_remove(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[]);
/* 32 keys that are there: positions, entries prefetched. */
void bench_rte_find(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[],
                    int32_t ret_positions[]);

struct bench_floor {
    uint8_t *lines;
    struct bench_entry *entries;
    uint64_t line_count, entry_count;
};
void bench_floor_create(struct bench_floor *floor, uint64_t flows);
void bench_floor_destroy(struct bench_floor *floor);
/* 32 look-ups, in two steps: fetches the lines; reads them, and fetches the entries that they lead to. */
void bench_floor_fetch_lines(const struct bench_floor *floor, const uint32_t lines[]);
void bench_floor_fetch_entries(const struct bench_floor *floor, const uint32_t lines[], const uint32_t entries[],
                               struct bench_entry *ret_entries[]);

#ifdef SCE_BENCH_URCU
struct bench_lfht;
struct bench_lfht *bench_lfht_create(uint64_t capacity_flows);
void bench_lfht_destroy(struct bench_lfht *lfht);
void bench_lfht_add(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash);
/* Returns false when it is not there. */
bool bench_lfht_account(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash);
bool bench_lfht_remove(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash);
void bench_lfht_quiescent(void);
#endif

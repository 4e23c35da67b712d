#include "bench/peers.h"

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_prefetch.h>
#include <stdio.h>

#define BATCH 32u

/* ---- rte_hash ---- */

void bench_peer_key(const struct ft_key *key, uint8_t ret_key[BENCH_PEER_KEY_BYTES])
{
    memcpy(ret_key, key, sizeof *key);
    memset(ret_key + sizeof *key, 0, BENCH_PEER_KEY_BYTES - sizeof *key);
}

void bench_rte_create(struct bench_rte *rte, uint64_t capacity_flows)
{
    static unsigned number;
    char name[32];
    uint64_t power = rte_align64pow2(capacity_flows + 1);
    /* keys with their headers, buckets of 8 places in a line, ring of free positions */
    bench_heap_create(&rte->heap, capacity_flows * 64 + power * 8 + power * 8 + ((size_t)32 << 20));
    snprintf(name, sizeof name, "bench%u", number++);
    struct rte_hash_parameters parameters = {.name = name,
                                             .entries = (uint32_t)capacity_flows,
                                             .key_len = BENCH_PEER_KEY_BYTES,
                                             .hash_func = rte_hash_crc,
                                             .socket_id = rte->heap.socket,
                                             .extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF};
    rte->hash = rte_hash_create(&parameters);
    if (!rte->hash)
        bench_fail("rte_hash of %u entries: %s", parameters.entries, rte_strerror(rte_errno));
    rte->entries_bytes = ((size_t)rte_hash_max_key_id(rte->hash) + 1) * sizeof(struct bench_entry);
    rte->entries = bench_alloc(rte->entries_bytes);
}

void bench_rte_destroy(struct bench_rte *rte)
{
    if (!rte->hash)
        return;
    rte_hash_free(rte->hash);
    rte->hash = NULL;
    bench_free(rte->entries, rte->entries_bytes);
    bench_heap_destroy(&rte->heap);
}

static void look_up(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[],
                    int32_t ret_positions[])
{
    const void *pointers[BATCH];
    hash_sig_t signatures[BATCH]; /* the call takes them as not const */
    for (unsigned i = 0; i < BATCH; i++)
        pointers[i] = keys[i];
    memcpy(signatures, hashes, sizeof signatures);
    rte_hash_lookup_with_hash_bulk(rte->hash, pointers, signatures, BATCH, ret_positions);
}

void bench_rte_insert(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[],
                      int32_t ret_positions[])
{
    look_up(rte, keys, hashes, ret_positions);
    for (unsigned i = 0; i < BATCH; i++) {
        if (ret_positions[i] < 0)
            ret_positions[i] = rte_hash_add_key_with_hash(rte->hash, keys[i], hashes[i]);
        if (ret_positions[i] < 0)
            bench_fail("rte_hash is full");
        memset(&rte->entries[ret_positions[i]], 0, sizeof *rte->entries);
    }
}

void bench_rte_remove(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[])
{
    int32_t positions[BATCH];
    look_up(rte, keys, hashes, positions);
    for (unsigned i = 0; i < BATCH; i++) {
        int32_t position = rte_hash_del_key_with_hash(rte->hash, keys[i], hashes[i]);
        if (position < 0)
            bench_fail("rte_hash lost a key");
        rte_hash_free_key_with_position(rte->hash, position);
    }
}

void bench_rte_find(struct bench_rte *rte, uint8_t keys[][BENCH_PEER_KEY_BYTES], const uint32_t hashes[],
                    int32_t ret_positions[])
{
    look_up(rte, keys, hashes, ret_positions);
    for (unsigned i = 0; i < BATCH; i++) {
        if (unlikely(ret_positions[i] < 0))
            bench_fail("rte_hash lost a key");
        rte_prefetch0(&rte->entries[ret_positions[i]]);
    }
}

/* ---- floor ---- */

void bench_floor_create(struct bench_floor *floor, uint64_t flows)
{
    floor->entry_count = flows;
    floor->line_count = flows / 6 + 1;
    floor->lines = bench_alloc(floor->line_count * 64);
    floor->entries = bench_alloc(floor->entry_count * 64);
}

void bench_floor_destroy(struct bench_floor *floor)
{
    if (!floor->lines)
        return;
    bench_free(floor->lines, floor->line_count * 64);
    bench_free(floor->entries, floor->entry_count * 64);
    floor->lines = NULL;
}

void bench_floor_fetch_lines(const struct bench_floor *floor, const uint32_t lines[])
{
    for (unsigned i = 0; i < BATCH; i++)
        rte_prefetch0(floor->lines + (size_t)lines[i] * 64);
}

void bench_floor_fetch_entries(const struct bench_floor *floor, const uint32_t lines[], const uint32_t entries[],
                               struct bench_entry *ret_entries[])
{
    for (unsigned i = 0; i < BATCH; i++) {
        /* always 0, but the processor must wait for the line to know where the entry is */
        uint32_t read = *(volatile uint32_t *)(floor->lines + (size_t)lines[i] * 64);
        ret_entries[i] = &floor->entries[entries[i] + read];
        rte_prefetch0(ret_entries[i]);
    }
}

/*
 * The sending side of a flow table's replica: what has changed in a shard since the last round, as records.
 *
 * A round walks one shard's flows (ft_walk(): by slot, untorn copies, any thread that is a registered reader) and compares
 * each with what was sent of it: a flow that is new, or whose `version` has changed, goes out as `flow`; one whose entry was
 * merely written since (each packet does that), as `flow_touch`; one that has ended since, as `flow_gone`. So what is sent
 * is always the present state, a lost or late round costs nothing but time, and memory is bounded by the table: 24 bytes a
 * slot, touched as slots are used, and a roaring bitmap a shard of the slots that the peer has.
 *
 * When the sink is full, a round stops and goes on where it was: nothing is dropped.
 *
 * Digest of a shard: the sum over its flows of a hash of the last `flow` record and one of the last `flow_touch` record that
 * were sent; the receiver keeps the same sums of what it applied. Equal count and digest: every record arrived and was applied.
 *
 * One thread.
 */
#pragma once

#include <roaring/roaring.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cascade/flow_state.h"
#include "flowtable/table.h"

struct cascade_digest {
    uint64_t flows; /* live at the peer, when all was applied */
    uint64_t sum;
};

static inline bool cascade_digest_equal(const struct cascade_digest *a, const struct cascade_digest *b)
{
    return a->flows == b->flows && a->sum == b->sum;
}

struct cascade_export_stats {
    uint64_t walked, flows, touches, gone, bytes;
    uint64_t paused; /* rounds that found the sink full */
};

/* Where records go: false when there is no room now; then nothing of it was taken. */
typedef bool (*cascade_sink)(void *context, const uint8_t *record, size_t size_bytes);

/*
 * What a `flow` record carries besides the entry. Each fills a blob that stays valid until the next call and may leave it
 * empty. `frozen` says that the shard's writer rests, so that what inspection keeps may be read.
 */
struct cascade_attachments {
    void (*texts)(void *context, const struct ft_flow *flow, struct cascade_blob *ret_texts);
    void (*pending)(void *context, const struct ft_flow *flow, struct cascade_blob *ret_pending);
    void *context;
};

struct cascade_export;

/* NULL when memory is short. `reader` is the calling thread's number in the table (ft_reader_register()). */
struct cascade_export *cascade_export_create(struct ft *flows, int reader, const struct cascade_names *names,
                                             const struct cascade_attachments *attachments);
void cascade_export_destroy(struct cascade_export *export);
/* Forgets what was sent: the next round of each shard sends all. For a new connection. */
void cascade_export_reset(struct cascade_export *export);
/* The same for one shard, which is ours no more: its ends are not told. */
void cascade_export_forget(struct cascade_export *export, uint8_t shard);
/*
 * Goes on with a round of the shard, or begins one. True when the round is complete: from then on the peer has what was there
 * when the round came by. *ret_changed: records that the round sent so far. Cost: about 60 ns a flow that has not changed,
 * 200 ns a record.
 */
bool cascade_export_round(struct cascade_export *export, uint8_t shard, bool frozen, cascade_sink sink, void *context,
                          uint64_t *ret_changed);
/* After a complete round. */
void cascade_export_digest(const struct cascade_export *export, uint8_t shard, struct cascade_digest *ret_digest);
void cascade_export_stats(const struct cascade_export *export, struct cascade_export_stats *ret_stats);

/* Hash of one record's bytes, as both sides use it: XXH3, of a touch with another seed. */
uint64_t cascade_record_hash(const uint8_t *record, size_t size_bytes, bool is_touch);

/*
 * The receiving side of a flow table's replica: the peer's records into entries of this engine's table, in shards that this
 * engine does not own.
 *
 * Records of a shard are applied by the one thread that writes that shard (its worker); several threads may so work on
 * several shards at once. A replica is not aged, not counted as traffic and makes no records until its shard is taken over.
 *
 * A `flow_touch` names its flow by the sender's {slot, generation}; an array of 16 bytes a slot of the sender's table says
 * which entry that is. What is older than what is here, or names a flow that is not here, is refused by name and counted;
 * nothing is indexed by a number of the peer's that was not checked. An end is remembered in that array by its generation,
 * so a late record cannot raise a flow that is gone.
 *
 * The digest is the sum of hashes over what was applied, as in export.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cascade/export.h"
#include "dataplane/cascade/flow_state.h"
#include "flowtable/table.h"

struct cascade_replica_stats {
    uint64_t flows, touches, gone;
    uint64_t refused[CASCADE_FLOW_REFUSAL_COUNT];
    uint64_t skipped; /* records of kinds that this version does not know */
    uint64_t malformed[CASCADE_REFUSAL_COUNT];
};

/* The other way round of struct cascade_attachments: handles for an entry from what came with it, and their end. All are there. */
struct cascade_adopters {
    uint32_t (*texts)(void *context, const struct cascade_blob *texts);
    uint32_t (*pending)(void *context, const struct cascade_flow *flow, const struct cascade_blob *pending);
    void (*drop)(void *context, uint32_t texts, uint32_t pending);
    void *context;
    uint8_t link_flip; /* bits of a link's number that are the other way round here, see peer.h */
};

struct cascade_replica;

/* `peer_slots` is the size of the sender's table, from the handshake. NULL when memory is short. Control thread. */
struct cascade_replica *cascade_replica_create(struct ft *flows, uint32_t peer_slots,
                                               const struct cascade_names *names);
void cascade_replica_destroy(struct cascade_replica *replica);

/*
 * Applies whole records that were sent for one shard, one after the other. `clock_ns`: ours less the sender's. Returns how
 * many were applied; what was refused is counted. The shard's writer.
 */
unsigned cascade_replica_apply(struct cascade_replica *replica, const struct cascade_reader *reader, uint8_t shard,
                               const uint8_t *records, size_t size_bytes, int64_t clock_ns,
                               const struct cascade_adopters *adopters);
/* Removes all replicas of a shard, with what they hold: the peer starts anew, or has gone for good. The shard's writer. */
void cascade_replica_clear(struct cascade_replica *replica, uint8_t shard, const struct cascade_adopters *adopters);
/* The shard has been taken over: its replicas are flows of this engine from now on. The shard's writer. */
void cascade_replica_own(struct cascade_replica *replica, uint8_t shard);
/* The shard's writer, or anyone while it rests. */
void cascade_replica_digest(const struct cascade_replica *replica, uint8_t shard, struct cascade_digest *ret_digest);
/* Sums over shards; exact when the writers rest. Any thread. */
void cascade_replica_stats(const struct cascade_replica *replica, struct cascade_replica_stats *ret_stats);

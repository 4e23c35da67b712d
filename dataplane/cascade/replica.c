#include "dataplane/cascade/replica.h"

#include <rte_common.h>
#include <stdlib.h>

/* What an entry of this table was made of. Written by the writer of its shard. */
struct entry {
    uint64_t hash_flow, hash_touch;
    uint32_t from; /* the sender's slot */
    uint8_t shard;
    bool is_replica;
};

/* One line a shard: its writer counts here. */
struct shard {
    struct cascade_digest digest;
    struct cascade_replica_stats stats;
} __rte_cache_aligned;

struct cascade_replica {
    struct ft *flows;
    struct cascade_names names;
    uint32_t peer_slots;
    /*
     * [sender's slot]: its generation << 32 | our slot, FT_SLOT_NONE after the end; 0: never heard of. Written by the writer
     * of the flow's shard; the writer of the shard that had the sender's slot before may read it meanwhile, hence atomic, in
     * one piece; relaxed: an entry that it finds is looked at only when it lies in its own shard.
     */
    uint64_t *here;
    struct entry *entries; /* [our slot] */
    struct shard *shards;
};

struct cascade_replica *cascade_replica_create(struct ft *flows, uint32_t peer_slots, const struct cascade_names *names)
{
    struct cascade_replica *replica = calloc(1, sizeof *replica);
    if (!replica)
        return NULL;
    replica->flows = flows;
    replica->names = *names;
    replica->peer_slots = peer_slots;
    replica->here = calloc(peer_slots ? peer_slots : 1, sizeof *replica->here);
    replica->entries = calloc(ft_slot_count(flows), sizeof *replica->entries);
    replica->shards = aligned_alloc(RTE_CACHE_LINE_SIZE, FT_SHARDS * sizeof *replica->shards);
    if (!replica->here || !replica->entries || !replica->shards) {
        cascade_replica_destroy(replica);
        return NULL;
    }
    memset(replica->shards, 0, FT_SHARDS * sizeof *replica->shards);
    return replica;
}

void cascade_replica_destroy(struct cascade_replica *replica)
{
    if (!replica)
        return;
    free(replica->here);
    free(replica->entries);
    free(replica->shards);
    free(replica);
}

/* Our slot for the sender's, when the entry is there, of that generation, in this shard; else FT_SLOT_NONE. */
static ft_slot find(const struct cascade_replica *replica, uint8_t shard, uint32_t slot, uint32_t generation)
{
    uint64_t here = slot < replica->peer_slots ? FT_GET(replica->here[slot]) : 0;
    ft_slot found = (ft_slot)here;
    if (!generation || here >> 32 != generation || found == FT_SLOT_NONE)
        return FT_SLOT_NONE;
    const struct entry *entry = &replica->entries[found];
    return FT_GET(entry->shard) == shard && FT_GET(entry->is_replica) ? found : FT_SLOT_NONE;
}

/* Takes an entry out of the table, with what it holds. */
static void remove_entry(struct cascade_replica *replica, ft_slot slot, const struct cascade_adopters *adopters)
{
    const struct ft_cold *cold = ft_cold(replica->flows, slot);
    struct entry *entry = &replica->entries[slot];
    if (adopters)
        adopters->drop(adopters->context, cold->attributes, cascade_pending_of(ft_hot(replica->flows, slot), cold));
    ft_remove(replica->flows, slot);
    if (!entry->is_replica)
        return;
    struct cascade_digest *digest = &replica->shards[entry->shard].digest;
    digest->sum -= entry->hash_flow + entry->hash_touch;
    digest->flows--;
    FT_SET(entry->is_replica, false);
    uint64_t here = FT_GET(replica->here[entry->from]);
    if ((ft_slot)here == slot)
        FT_SET(replica->here[entry->from], here | FT_SLOT_NONE);
}

/* A new entry for the key, or the one that is there: of a flow whose end was told under another slot. */
static enum cascade_flow_refusal enter(struct cascade_replica *replica, const struct cascade_flow *record,
                                       const struct ft_key *key, const struct cascade_adopters *adopters,
                                       ft_slot *ret_slot)
{
    uint64_t hash = ft_hash(replica->flows, key);
    if (ft_lookup_bulk(replica->flows, key, &hash, 1, ret_slot)) {
        const struct ft_cold *cold = ft_cold(replica->flows, *ret_slot);
        if (cold->uid == record->uid && !cascade_is_newer(record->version, cold->version))
            return CASCADE_FLOW_REFUSAL_stale;
        remove_entry(replica, *ret_slot, adopters);
    }
    return ft_insert(replica->flows, key, hash, record->uid, 0, ret_slot) ? CASCADE_FLOW_REFUSAL_no_space
                                                                          : CASCADE_FLOW_REFUSAL_none;
}

/* Finds or makes the entry of a checked record. */
static enum cascade_flow_refusal place(struct cascade_replica *replica, uint8_t shard,
                                       const struct cascade_flow *record, const struct ft_key *key,
                                       const struct cascade_adopters *adopters, ft_slot *ret_slot)
{
    uint64_t here = FT_GET(replica->here[record->touch.slot]);
    uint32_t generation = (uint32_t)(here >> 32);
    if (generation && (int32_t)(record->touch.generation - generation) < 0)
        return CASCADE_FLOW_REFUSAL_stale;
    *ret_slot = find(replica, shard, record->touch.slot, generation);
    if (*ret_slot != FT_SLOT_NONE && generation == record->touch.generation) {
        uint32_t version = ft_cold(replica->flows, *ret_slot)->version;
        return cascade_is_newer(version, record->version) ? CASCADE_FLOW_REFUSAL_stale : CASCADE_FLOW_REFUSAL_none;
    }
    if (generation == record->touch.generation) /* it ended here already */
        return CASCADE_FLOW_REFUSAL_stale;
    if (*ret_slot != FT_SLOT_NONE)
        remove_entry(replica, *ret_slot, adopters);
    return enter(replica, record, key, adopters, ret_slot);
}

static enum cascade_flow_refusal apply_flow(struct cascade_replica *replica, uint8_t number,
                                            const struct cascade_flow *record, uint64_t hash, int64_t clock_ns,
                                            const struct cascade_adopters *adopters)
{
    struct ft_key key;
    struct ft_hot hot_try = {0};
    struct ft_cold cold_try = {0};
    ft_slot slot;
    enum cascade_flow_refusal refusal = cascade_flow_key(record, &key);
    if (refusal)
        return refusal;
    if (ft_shard_of(&key) != number || record->touch.slot >= replica->peer_slots || !(record->touch.generation & 1))
        return CASCADE_FLOW_REFUSAL_wrong_shard;
    /* Before anything is changed: a record that is refused leaves no trace. */
    refusal = cascade_flow_apply(record, &replica->names, clock_ns, &hot_try, &cold_try);
    if (!refusal)
        refusal = place(replica, number, record, &key, adopters, &slot);
    if (refusal)
        return refusal;
    struct ft_hot *hot = ft_hot(replica->flows, slot);
    struct entry *entry = &replica->entries[slot];
    struct shard *shard = &replica->shards[number];
    struct ft_cold *cold = ft_cold(replica->flows, slot);
    uint32_t texts = 0, pending = 0;
    if (adopters) {
        adopters->drop(adopters->context, cold->attributes, cascade_pending_of(hot, cold));
        texts = record->texts.size_bytes ? adopters->texts(adopters->context, &record->texts) : 0;
        pending = record->pending.size_bytes ? adopters->pending(adopters->context, record, &record->pending) : 0;
    }
    ft_write_begin(hot);
    cascade_flow_apply(record, &replica->names, clock_ns, hot, cold);
    ft_set_timeout_class(replica->flows, slot, record->touch.timeout_class);
    FT_SET(cold->attributes, texts);
    if (!(hot->flags & FT_FLOW_DECIDED))
        FT_SET(cold->pending, pending);
    ft_write_end(hot);
    if (entry->is_replica)
        shard->digest.sum -= entry->hash_flow + entry->hash_touch;
    else
        shard->digest.flows++;
    entry->hash_flow = hash;
    entry->hash_touch = 0;
    entry->from = record->touch.slot;
    FT_SET(entry->shard, number);
    FT_SET(entry->is_replica, true);
    FT_SET(replica->here[record->touch.slot], (uint64_t)record->touch.generation << 32 | slot);
    shard->digest.sum += hash;
    shard->stats.flows++;
    return CASCADE_FLOW_REFUSAL_none;
}

static enum cascade_flow_refusal apply_touch(struct cascade_replica *replica, uint8_t number,
                                             const struct cascade_flow_touch *record, uint64_t hash, int64_t clock_ns)
{
    ft_slot slot = find(replica, number, record->slot, record->generation);
    if (slot == FT_SLOT_NONE)
        return CASCADE_FLOW_REFUSAL_unknown_flow;
    struct ft_hot *hot = ft_hot(replica->flows, slot);
    ft_write_begin(hot);
    enum cascade_flow_refusal refusal = cascade_touch_apply(record, clock_ns, hot, ft_cold(replica->flows, slot));
    if (!refusal)
        ft_set_timeout_class(replica->flows, slot, record->timeout_class);
    ft_write_end(hot);
    if (refusal)
        return refusal;
    replica->shards[number].digest.sum += hash - replica->entries[slot].hash_touch;
    replica->entries[slot].hash_touch = hash;
    replica->shards[number].stats.touches++;
    return CASCADE_FLOW_REFUSAL_none;
}

/* An entry by its uid alone: its slot at the sender has another flow already, of another shard. Rare; a walk. */
static ft_slot find_uid(struct cascade_replica *replica, uint8_t shard, uint64_t uid)
{
    struct ft_flow flow;
    uint64_t position = 0;
    while (ft_walk(replica->flows, shard, &position, &flow))
        if (flow.cold.uid == uid && replica->entries[flow.slot].is_replica)
            return flow.slot;
    return FT_SLOT_NONE;
}

static enum cascade_flow_refusal apply_gone(struct cascade_replica *replica, uint8_t number,
                                            const struct cascade_flow_gone *record,
                                            const struct cascade_adopters *adopters)
{
    ft_slot slot = find(replica, number, record->slot, record->generation);
    if (slot == FT_SLOT_NONE && record->slot >= replica->peer_slots)
        return CASCADE_FLOW_REFUSAL_unknown_flow;
    uint64_t here = FT_GET(replica->here[record->slot]);
    if (slot == FT_SLOT_NONE && here != ((uint64_t)record->generation << 32 | FT_SLOT_NONE))
        slot = find_uid(replica, number, record->uid);
    if (slot ==
        FT_SLOT_NONE) /* it ended here before, when a new flow with its key or its slot came: what it says holds */
        return here >> 32 && (int32_t)((uint32_t)(here >> 32) - record->generation) >= 0
                   ? CASCADE_FLOW_REFUSAL_none
                   : CASCADE_FLOW_REFUSAL_unknown_flow;
    remove_entry(replica, slot, adopters);
    replica->shards[number].stats.gone++;
    return CASCADE_FLOW_REFUSAL_none;
}

union any_record {
    struct cascade_flow flow;
    struct cascade_flow_touch touch;
    struct cascade_flow_gone gone;
};

unsigned cascade_replica_apply(struct cascade_replica *replica, const struct cascade_reader *reader, uint8_t number,
                               const uint8_t *records, size_t size_bytes, int64_t clock_ns,
                               const struct cascade_adopters *adopters)
{
    struct cascade_replica_stats *stats = &replica->shards[number].stats;
    struct cursor c = cursor_of(records, size_bytes);
    unsigned applied = 0;
    while (cursor_left(&c)) {
        union any_record record;
        const struct cascade_kind *kind;
        const uint8_t *from = c.p;
        enum cascade_refusal malformed = cascade_read_record(reader, &c, &kind, &record, sizeof record);
        if (malformed) {
            stats->malformed[malformed]++;
            continue;
        }
        size_t bytes = (size_t)(c.p - from);
        enum cascade_flow_refusal refusal;
        if (kind == &cascade_flow_kind && adopters)
            record.flow.link ^= adopters->link_flip;
        if (kind == &cascade_flow_kind)
            refusal =
                apply_flow(replica, number, &record.flow, cascade_record_hash(from, bytes, false), clock_ns, adopters);
        else if (kind == &cascade_flow_touch_kind)
            refusal = apply_touch(replica, number, &record.touch, cascade_record_hash(from, bytes, true), clock_ns);
        else if (kind == &cascade_flow_gone_kind)
            refusal = apply_gone(replica, number, &record.gone, adopters);
        else {
            stats->skipped++;
            continue;
        }
        stats->refused[refusal] += refusal != CASCADE_FLOW_REFUSAL_none;
        applied += refusal == CASCADE_FLOW_REFUSAL_none;
    }
    return applied;
}

void cascade_replica_clear(struct cascade_replica *replica, uint8_t shard, const struct cascade_adopters *adopters)
{
    struct ft_flow flow;
    uint64_t position = 0;
    while (ft_walk(replica->flows, shard, &position, &flow))
        if (replica->entries[flow.slot].is_replica) {
            uint32_t from = replica->entries[flow.slot].from;
            remove_entry(replica, flow.slot, adopters);
            FT_SET(replica->here[from], 0); /* the sender may send the same generation again */
        }
}

void cascade_replica_own(struct cascade_replica *replica, uint8_t shard)
{
    struct ft_flow flow;
    uint64_t position = 0;
    while (ft_walk(replica->flows, shard, &position, &flow)) {
        struct entry *entry = &replica->entries[flow.slot];
        if (entry->is_replica)
            FT_SET(replica->here[entry->from], 0);
        FT_SET(entry->is_replica, false);
    }
    replica->shards[shard].digest = (struct cascade_digest){0};
}

void cascade_replica_digest(const struct cascade_replica *replica, uint8_t shard, struct cascade_digest *ret_digest)
{
    *ret_digest = replica->shards[shard].digest;
}

void cascade_replica_stats(const struct cascade_replica *replica, struct cascade_replica_stats *ret_stats)
{
    static_assert(sizeof *ret_stats % sizeof(uint64_t) == 0, "counters only");
    memset(ret_stats, 0, sizeof *ret_stats);
    uint64_t *sum = (uint64_t *)ret_stats;
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        const uint64_t *counters = (const uint64_t *)&replica->shards[i].stats;
        for (size_t k = 0; k < sizeof *ret_stats / sizeof *sum; k++)
            sum[k] += __atomic_load_n(&counters[k], __ATOMIC_RELAXED);
    }
}

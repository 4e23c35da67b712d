#include "dataplane/cascade/export.h"

#include <stdlib.h>
#include <xxhash.h>

#define RECORD_BYTES (1u << 16)

/* What the peer has of a slot. generation 0: nothing. */
struct sent {
    uint64_t sequence; /* ft_hot.sequence: generation and count of writes */
    uint64_t hash_flow, hash_touch;
};

/*
 * A flow whose slot went to another shard, with its chunk, before this shard's round came by and saw that it had ended.
 */
struct orphan {
    struct cascade_flow_gone gone;
    uint64_t hash;
};

struct shard {
    roaring_bitmap_t *at_peer; /* slots that the peer has */
    roaring_bitmap_t *seen;    /* slots of the round that is on */
    bool in_round;
    uint64_t position, changed;
    struct cascade_digest digest;
    struct orphan *orphans;
    uint32_t orphan_count, orphan_room;
};

struct cascade_export {
    struct ft *flows;
    int reader;
    struct cascade_names names;
    struct cascade_attachments attachments;
    struct sent *sent; /* [slot] */
    uint32_t *version; /* [slot] */
    uint64_t *uid;     /* [slot]: for the end of a flow */
    uint8_t *shard_of; /* [slot] that the peer has */
    struct shard shards[FT_SHARDS];
    struct cascade_export_stats stats;
    uint8_t record[RECORD_BYTES];
};

uint64_t cascade_record_hash(const uint8_t *record, size_t size_bytes, bool is_touch)
{
    return XXH3_64bits_withSeed(record, size_bytes, is_touch);
}

struct cascade_export *cascade_export_create(struct ft *flows, int reader, const struct cascade_names *names,
                                             const struct cascade_attachments *attachments)
{
    struct cascade_export *export = calloc(1, sizeof *export);
    if (!export)
        return NULL;
    uint32_t slots = ft_slot_count(flows);
    export->flows = flows;
    export->reader = reader;
    export->names = *names;
    if (attachments)
        export->attachments = *attachments;
    export->sent = calloc(slots, sizeof *export->sent);
    export->version = calloc(slots, sizeof *export->version);
    export->uid = calloc(slots, sizeof *export->uid);
    export->shard_of = calloc(slots, 1);
    bool ok = export->sent && export->version && export->uid && export->shard_of;
    for (unsigned i = 0; i < FT_SHARDS; i++)
        ok = (export->shards[i].at_peer = roaring_bitmap_create()) &&
             (export->shards[i].seen = roaring_bitmap_create()) && ok;
    if (!ok) {
        cascade_export_destroy(export);
        return NULL;
    }
    return export;
}

void cascade_export_destroy(struct cascade_export *export)
{
    if (!export)
        return;
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        if (export->shards[i].at_peer)
            roaring_bitmap_free(export->shards[i].at_peer);
        if (export->shards[i].seen)
            roaring_bitmap_free(export->shards[i].seen);
        free(export->shards[i].orphans);
    }
    free(export->shard_of);
    free(export->sent);
    free(export->version);
    free(export->uid);
    free(export);
}

void cascade_export_forget(struct cascade_export *export, uint8_t number)
{
    struct shard *shard = &export->shards[number];
    roaring_uint32_iterator_t *it = roaring_create_iterator(shard->at_peer);
    for (; it->has_value; roaring_advance_uint32_iterator(it))
        export->sent[it->current_value] = (struct sent){0};
    roaring_free_uint32_iterator(it);
    roaring_bitmap_clear(shard->at_peer);
    roaring_bitmap_clear(shard->seen);
    shard->in_round = false;
    shard->orphan_count = 0;
    shard->digest = (struct cascade_digest){0};
}

void cascade_export_reset(struct cascade_export *export)
{
    for (unsigned i = 0; i < FT_SHARDS; i++)
        cascade_export_forget(export, (uint8_t)i);
}

/* Writes one record into the sink; false: no room, nothing was sent. */
static bool put(struct cascade_export *export, const struct cascade_kind *kind, const void *values, cascade_sink sink,
                void *context, uint64_t *ret_hash)
{
    size_t size_bytes = cascade_write_record(kind, values, export->record, sizeof export->record);
    if (!sink(context, export->record, size_bytes))
        return false;
    *ret_hash = cascade_record_hash(export->record, size_bytes, kind == &cascade_flow_touch_kind);
    export->stats.bytes += size_bytes;
    return true;
}

static bool put_flow(struct cascade_export *export, struct shard *shard, const struct ft_flow *flow, bool frozen,
                     cascade_sink sink, void *context)
{
    struct cascade_flow record;
    struct sent *sent = &export->sent[flow->slot];
    uint64_t hash;
    cascade_flow_from(&record, flow, &export->names);
    if (export->attachments.texts)
        export->attachments.texts(export->attachments.context, flow, &record.texts);
    if (export->attachments.pending && frozen && !(flow->hot.flags & FT_FLOW_DECIDED))
        export->attachments.pending(export->attachments.context, flow, &record.pending);
    if (!put(export, &cascade_flow_kind, &record, sink, context, &hash))
        return false;
    bool had = roaring_bitmap_contains(shard->at_peer, flow->slot);
    shard->digest.sum += hash - (had ? sent->hash_flow + sent->hash_touch : 0);
    shard->digest.flows += !had;
    *sent = (struct sent){.sequence = flow->hot.sequence, .hash_flow = hash};
    export->version[flow->slot] = flow->cold.version;
    export->uid[flow->slot] = flow->cold.uid;
    export->shard_of[flow->slot] = (uint8_t)(shard - export->shards);
    roaring_bitmap_add(shard->at_peer, flow->slot);
    export->stats.flows++;
    return true;
}

static bool put_touch(struct cascade_export *export, struct shard *shard, const struct ft_flow *flow, cascade_sink sink,
                      void *context)
{
    struct cascade_flow_touch record;
    struct sent *sent = &export->sent[flow->slot];
    uint64_t hash;
    cascade_touch_from(&record, flow);
    if (!put(export, &cascade_flow_touch_kind, &record, sink, context, &hash))
        return false;
    shard->digest.sum += hash - sent->hash_touch;
    sent->hash_touch = hash;
    sent->sequence = flow->hot.sequence;
    export->stats.touches++;
    return true;
}

static struct cascade_flow_gone gone_of(const struct cascade_export *export, uint32_t slot)
{
    return (struct cascade_flow_gone){.slot = slot,
                                      .generation = (uint32_t)(export->sent[slot].sequence >> 32),
                                      .uid = export->uid[slot],
                                      .version = export->version[slot]};
}

static bool put_gone(struct cascade_export *export, struct shard *shard, uint32_t slot, cascade_sink sink,
                     void *context)
{
    struct sent *sent = &export->sent[slot];
    struct cascade_flow_gone record = gone_of(export, slot);
    uint64_t hash;
    if (!put(export, &cascade_flow_gone_kind, &record, sink, context, &hash))
        return false;
    shard->digest.sum -= sent->hash_flow + sent->hash_touch;
    shard->digest.flows--;
    *sent = (struct sent){0};
    roaring_bitmap_remove(shard->at_peer, slot);
    export->stats.gone++;
    return true;
}

/* Leaves it to the slot's former shard to tell the end of what was there. False: memory is short; then the flow waits. */
static bool disown(struct cascade_export *export, uint32_t slot)
{
    struct shard *former = &export->shards[export->shard_of[slot]];
    if (former->orphan_count == former->orphan_room) {
        uint32_t room = former->orphan_room ? former->orphan_room * 2 : 64;
        struct orphan *orphans = realloc(former->orphans, room * sizeof *orphans);
        if (!orphans)
            return false;
        former->orphans = orphans;
        former->orphan_room = room;
    }
    const struct sent *sent = &export->sent[slot];
    former->orphans[former->orphan_count++] =
        (struct orphan){.gone = gone_of(export, slot), .hash = sent->hash_flow + sent->hash_touch};
    roaring_bitmap_remove(former->at_peer, slot);
    export->sent[slot] = (struct sent){0};
    return true;
}

static bool send_orphans(struct cascade_export *export, struct shard *shard, cascade_sink sink, void *context)
{
    while (shard->orphan_count) {
        const struct orphan *orphan = &shard->orphans[shard->orphan_count - 1];
        uint64_t hash;
        if (!put(export, &cascade_flow_gone_kind, &orphan->gone, sink, context, &hash))
            return false;
        shard->digest.sum -= orphan->hash;
        shard->digest.flows--;
        shard->orphan_count--;
        shard->changed++;
        export->stats.gone++;
    }
    return true;
}

/* One flow of the walk. False: no room. */
static bool send_change(struct cascade_export *export, struct shard *shard, const struct ft_flow *flow, bool frozen,
                        cascade_sink sink, void *context, bool *ret_sent)
{
    const struct sent *sent = &export->sent[flow->slot];
    *ret_sent = true;
    bool at_peer = roaring_bitmap_contains(shard->at_peer, flow->slot);
    if (at_peer && sent->sequence >> 32 != flow->hot.sequence >> 32) { /* the slot has another flow now */
        if (!put_gone(export, shard, flow->slot, sink, context))
            return false;
        at_peer = false;
    }
    if (!at_peer && sent->sequence && !disown(export, flow->slot))
        return false;
    bool undecided = !(flow->hot.flags & FT_FLOW_DECIDED);
    if (!at_peer || export->version[flow->slot] != flow->cold.version || (frozen && undecided))
        return put_flow(export, shard, flow, frozen, sink, context);
    if (sent->sequence != flow->hot.sequence)
        return put_touch(export, shard, flow, sink, context);
    *ret_sent = false;
    return true;
}

/* What the peer has and the walk did not meet. False: no room; what is left is found again. */
static bool send_ends(struct cascade_export *export, struct shard *shard, cascade_sink sink, void *context)
{
    roaring_bitmap_t *ended = roaring_bitmap_andnot(shard->at_peer, shard->seen);
    if (!ended)
        return false;
    roaring_uint32_iterator_t *it = roaring_create_iterator(ended);
    bool room = true;
    for (; room && it->has_value; roaring_advance_uint32_iterator(it)) {
        room = put_gone(export, shard, it->current_value, sink, context);
        shard->changed += room;
    }
    roaring_free_uint32_iterator(it);
    roaring_bitmap_free(ended);
    return room;
}

bool cascade_export_round(struct cascade_export *export, uint8_t number, bool frozen, cascade_sink sink, void *context,
                          uint64_t *ret_changed)
{
    struct shard *shard = &export->shards[number];
    struct ft_flow flow;
    if (!shard->in_round) {
        shard->in_round = true;
        shard->position = shard->changed = 0;
        roaring_bitmap_clear(shard->seen);
    }
    bool room = true;
    ft_reader_online(export->flows, export->reader);
    for (;;) {
        uint64_t before = shard->position;
        if (!ft_walk(export->flows, number, &shard->position, &flow))
            break;
        bool sent;
        room = send_change(export, shard, &flow, frozen, sink, context, &sent);
        if (!room) {
            shard->position = before;
            break;
        }
        export->stats.walked++;
        shard->changed += sent;
        roaring_bitmap_add(shard->seen, flow.slot);
    }
    ft_reader_offline(export->flows, export->reader);
    room = room && send_ends(export, shard, sink, context) && send_orphans(export, shard, sink, context);
    *ret_changed = shard->changed;
    shard->in_round = !room;
    export->stats.paused += !room;
    return room;
}

void cascade_export_digest(const struct cascade_export *export, uint8_t shard, struct cascade_digest *ret_digest)
{
    *ret_digest = export->shards[shard].digest;
}

void cascade_export_stats(const struct cascade_export *export, struct cascade_export_stats *ret_stats)
{
    *ret_stats = export->stats;
}

/*
 * A shard's flows out of one engine and into another: flow records with their texts and what inspection has kept, through
 * the classifier's stable ids and the engine's pools. What stands between the records (export.h, replica.h) and an engine.
 *
 * One thread of each engine (the cascade thread) calls this. It has caches of the pools of its own.
 */
#pragma once

#include "dataplane/cascade/export.h"
#include "dataplane/cascade/replica.h"
#include "dataplane/cascade/undecided.h"
#include "dataplane/worker.h"

/* Kinds that carry a flow; NULL at the end. */
extern const struct cascade_kind *const cascade_carry_kinds[];

/* Ids and indexes of a pack, both ways. */
struct cascade_pack_names;

/* NULL when memory is short. The classifier must outlive it: make it anew after a reload. */
struct cascade_pack_names *cascade_pack_names_create(const struct cl_engine *classifier);
void cascade_pack_names_destroy(struct cascade_pack_names *names);
const struct cascade_names *cascade_pack_names(const struct cascade_pack_names *names);
/*
 * A digest over every index, id and name: equal in two engines when what one calls by an index the other does too, so that
 * the classifier's state of undecided flows can be carried.
 */
uint64_t cascade_pack_names_digest(const struct cascade_pack_names *names);

/* One engine's side. */
struct cascade_carrier {
    struct dp_engine *engine;
    struct cascade_pack_names *names;
    struct dp_pending_pool *pending;
    struct dp_attribute_pool attributes;
    /* Receiving: the sender's definitions, and the number of our pack if it is the sender's too, else 0. */
    const struct cascade_reader *reader;
    uint32_t same_pack;
    uint64_t undecided_lost; /* flows whose kept bytes found no room or made no sense: looked at anew */
    struct dp_attributes texts;
    uint8_t undecided[CASCADE_UNDECIDED_MAX_BYTES];
};

/* NULL when memory is short. */
struct cascade_carrier *cascade_carrier_create(struct dp_engine *engine);
void cascade_carrier_destroy(struct cascade_carrier *carrier);
struct cascade_attachments cascade_carrier_attachments(struct cascade_carrier *carrier);
struct cascade_adopters cascade_carrier_adopters(struct cascade_carrier *carrier);

/*
 * Takes all flows of a shard out of the table, without records or events: they are another engine's now. The shard's writer,
 * or whoever froze it. Returns how many.
 */
uint64_t cascade_carrier_drop(struct cascade_carrier *carrier, uint8_t shard);

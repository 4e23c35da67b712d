/*
 * What verdicts depend on besides the flow itself: announcements of flows to come, and which application an address stands
 * for. These tables belong to no shard: each engine of a pair has them whole, from the handshake on, and what either learns
 * is given to the other. An entry that comes twice is the same entry; life times are relative.
 */
#pragma once

#include "dataplane/cascade/export.h"
#include "dataplane/fragment.h"
#include "dataplane/learn.h"

#define CASCADE_KIND_EXPECTATION 5u
#define CASCADE_KIND_DATAGRAM    6u

extern const struct cascade_kind cascade_expectation_kind, cascade_datagram_kind;

/*
 * Sends every living entry; *position (0 at the start) says where to go on when the sink was full. True when all were sent.
 * Any thread.
 */
bool cascade_tables_export(const struct dp_learning *learning, const struct cascade_names *names, uint64_t now_ns,
                           uint64_t *position, cascade_sink sink, void *context);
/*
 * Enters the records; those of other kinds are left to others. Returns how many were entered. Any thread.
 */
unsigned cascade_tables_apply(struct dp_learning *learning, const struct cascade_reader *reader,
                              const struct cascade_names *names, uint64_t now_ns, const uint8_t *records,
                              size_t size_bytes);

/*
 * Datagrams whose fragments are under way go along with the shard of their addresses. What a carrier holds, as records; true
 * when all were sent: *index (0 at the start) says where to go on.
 */
bool cascade_datagrams_export(const struct dp_fragment_carrier *carrier, uint32_t *index, cascade_sink sink,
                              void *context);
/* The records into a carrier, checked; returns how many. `clock_ns`: ours less the sender's. */
unsigned cascade_datagrams_apply(struct dp_fragment_carrier *carrier, const struct cascade_reader *reader,
                                 int64_t clock_ns, const uint8_t *records, size_t size_bytes);

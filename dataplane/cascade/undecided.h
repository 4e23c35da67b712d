/*
 * An undecided flow on its way to another engine: the first bytes of each direction, what was found so far, and the
 * classifier's own state. It lies as one record (schema.h) in the `pending` blob of the flow's record.
 *
 * The bytes are what counts: an engine with another pack, or of another version, looks at them anew when the flow's next
 * packet comes. The classifier's state is carried besides, and used only where the receiver has the very same pack (by
 * digest) and the same form of the state (CASCADE_STATE_FORM): then inspection goes on as if nothing had happened, which
 * for UDP, where no bytes are kept, is the only way to go on.
 *
 * A field that struct dp_pending gets needs its place here: test_cascade_twin finds flows that are judged otherwise without.
 *
 * Whoever calls has the shard's flows at rest (a frozen shard), or owns them.
 */
#pragma once

#include "dataplane/cascade/flow_state.h"
#include "dataplane/cascade/schema.h"
#include "dataplane/pending.h"

#define CASCADE_KIND_UNDECIDED 4u
/* Counted up when the meaning of struct cl_state changes. */
#define CASCADE_STATE_FORM          1u
#define CASCADE_UNDECIDED_MAX_BYTES (2u * CL_STREAM_MAX_BYTES + 4096u)

extern const struct cascade_kind cascade_undecided_kind;

/*
 * The record of what is kept for a flow. Its size, or 0 when `size` is too small (CASCADE_UNDECIDED_MAX_BYTES never is).
 */
size_t cascade_undecided_write(struct dp_pending_pool *pool, const struct dp_pending *pending,
                               const struct cascade_names *names, uint8_t *to, size_t size);

/*
 * Takes a block from the pool and fills it. 0 when the pool is empty or the record makes no sense (*ret_refusal says
 * which: no_space or bad_state); the flow is then looked at from its next packet on. `same_pack`: the sender's pack is the
 * one of that number here, 0 else. `reader` has the sender's definition of the kind.
 */
uint32_t cascade_undecided_read(struct dp_pending_pool *pool, const struct cascade_reader *reader,
                                const struct cascade_names *names, uint32_t same_pack, const uint8_t *record,
                                size_t size, enum cascade_flow_refusal *ret_refusal);

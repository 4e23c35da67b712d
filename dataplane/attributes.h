/*
 * The texts of a flow (host, URL, ...) from the packet in which they were found to the records that carry them: blocks of
 * 512 bytes from a bounded pool, because a decided flow's entry has no room for them and most flows have none.
 *
 * A worker takes a block and fills it; with the flow's last event it goes to the record thread, which gives it back to the
 * pool. A block has one owner at any time: an interim event takes a copy along, so that a block whose last event
 * is lost can be used again at once. An empty pool costs a flow its texts, never its packets: counted as
 * attributes_exhausted.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "classifier/classifier.h"
#include "dataplane/pool.h"

#define DP_ATTRIBUTES_TEXT_BYTES 504u

struct dp_attributes {
    uint8_t size_bytes[CL_TEXT_COUNT]; /* of each text; the texts follow each other in this order */
    uint8_t reserved[8 - CL_TEXT_COUNT];
    char text[DP_ATTRIBUTES_TEXT_BYTES];
};
static_assert(sizeof(struct dp_attributes) == 512, "eight lines");

/* One thread's access to the blocks that all share. */
struct dp_attribute_pool {
    struct dp_pool *blocks; /* of struct dp_attributes; a handle is an index + 1 */
    struct dp_pool_cache cache;
};

/* The texts of `info` one after the other, cut where the block ends; false when there are none. */
bool dp_attributes_pack(struct dp_attributes *block, const struct cl_info *info);
void dp_attributes_unpack(const struct dp_attributes *block, struct cl_info *ret_info);

/* Packs the texts of `info` into a block; 0 when there is nothing to keep or no block (*ret_exhausted says which). */
uint32_t dp_attributes_store(struct dp_attribute_pool *pool, const struct cl_info *info, bool *ret_exhausted);
/* A second block with the same texts; 0 when there is nothing to copy or no block, as above. */
uint32_t dp_attributes_copy(struct dp_attribute_pool *pool, uint32_t handle, bool *ret_exhausted);
/* Back to the pool; 0 is allowed. */
void dp_attributes_drop(struct dp_attribute_pool *pool, uint32_t handle);
/* Gives what it holds back for its thread to the others. */
void dp_attributes_flush(struct dp_attribute_pool *pool);
/* Blocks that this thread can take now, while the others rest. */
uint32_t dp_attributes_available(const struct dp_attribute_pool *pool);
/* NULL for handle 0. */
const struct dp_attributes *dp_attributes_get(const struct dp_attribute_pool *pool, uint32_t handle);

/* One text of a block; *ret_size_bytes 0 and "" when there is none. `attributes` may be NULL. */
const char *dp_attributes_text(const struct dp_attributes *attributes, enum cl_text text, unsigned *ret_size_bytes);

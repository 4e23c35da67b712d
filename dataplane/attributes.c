#include "dataplane/attributes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int dp_attributes_init(struct dp_attribute_pool *pool, uint32_t block_count)
{
    memset(pool, 0, sizeof *pool);
    uint32_t ring_size = rte_align32pow2(block_count + 1);
    pool->blocks = calloc(block_count + 1, sizeof *pool->blocks);
    pool->free = calloc(block_count, sizeof *pool->free);
    pool->returned = aligned_alloc(64, RTE_ALIGN_CEIL((size_t)rte_ring_get_memsize(ring_size), 64));
    if (!pool->blocks || !pool->free || !pool->returned)
        return -ENOMEM;
    if (rte_ring_init(pool->returned, "attributes", ring_size, RING_F_SP_ENQ | RING_F_SC_DEQ))
        return -EINVAL;
    pool->block_count = block_count;
    for (uint32_t i = 0; i < block_count; i++)
        pool->free[i] = block_count - i;
    pool->free_count = block_count;
    return 0;
}

void dp_attributes_fini(struct dp_attribute_pool *pool)
{
    free(pool->blocks);
    free(pool->free);
    free(pool->returned);
    memset(pool, 0, sizeof *pool);
}

static uint32_t attributes_take(struct dp_attribute_pool *pool)
{
    if (!pool->free_count) {
        void *handles[64];
        unsigned count = rte_ring_sc_dequeue_burst(pool->returned, handles, RTE_DIM(handles), NULL);
        for (unsigned i = 0; i < count; i++)
            pool->free[pool->free_count++] = (uint32_t)(uintptr_t)handles[i];
    }
    return pool->free_count ? pool->free[--pool->free_count] : 0;
}

uint32_t dp_attributes_store(struct dp_attribute_pool *pool, const struct cl_info *info, bool *ret_exhausted)
{
    *ret_exhausted = false;
    unsigned total = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
        total += info->size_bytes[i];
    if (!total)
        return 0;
    uint32_t handle = attributes_take(pool);
    if (!handle) {
        *ret_exhausted = true;
        return 0;
    }
    struct dp_attributes *block = &pool->blocks[handle];
    unsigned used = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        unsigned size = RTE_MIN((unsigned)info->size_bytes[i], DP_ATTRIBUTES_TEXT_BYTES - used);
        block->size_bytes[i] = (uint8_t)size;
        memcpy(block->text + used, info->text[i], size);
        used += size;
    }
    return handle;
}

uint32_t dp_attributes_copy(struct dp_attribute_pool *pool, uint32_t handle, bool *ret_exhausted)
{
    uint32_t copy = handle ? attributes_take(pool) : 0;
    *ret_exhausted = handle && !copy;
    if (copy)
        pool->blocks[copy] = pool->blocks[handle];
    return copy;
}

uint32_t dp_attributes_available(const struct dp_attribute_pool *pool)
{
    return pool->free_count + rte_ring_count(pool->returned);
}

void dp_attributes_drop(struct dp_attribute_pool *pool, uint32_t handle)
{
    if (handle)
        pool->free[pool->free_count++] = handle;
}

void dp_attributes_return(struct dp_attribute_pool *pool, uint32_t handle)
{
    if (handle)
        rte_ring_sp_enqueue(pool->returned, (void *)(uintptr_t)handle);
}

const char *dp_attributes_text(const struct dp_attributes *attributes, enum cl_text text, unsigned *ret_size_bytes)
{
    *ret_size_bytes = 0;
    if (!attributes)
        return "";
    unsigned offset = 0;
    for (unsigned i = 0; i < (unsigned)text; i++)
        offset += attributes->size_bytes[i];
    *ret_size_bytes = attributes->size_bytes[text];
    return attributes->text + offset;
}

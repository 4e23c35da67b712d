#include "dataplane/attributes.h"

#include <rte_common.h>
#include <string.h>

bool dp_attributes_pack(struct dp_attributes *block, const struct cl_info *info)
{
    unsigned used = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        unsigned size = RTE_MIN((unsigned)info->size_bytes[i], DP_ATTRIBUTES_TEXT_BYTES - used);
        block->size_bytes[i] = (uint8_t)size;
        if (!size)
            continue;
        memcpy(block->text + used, info->text[i], size);
        used += size;
    }
    return used != 0;
}

void dp_attributes_unpack(const struct dp_attributes *block, struct cl_info *ret_info)
{
    const char *text = block->text;
    memcpy(ret_info->size_bytes, block->size_bytes, sizeof ret_info->size_bytes);
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
        if (block->size_bytes[i]) {
            memcpy(ret_info->text[i], text, block->size_bytes[i]);
            text += block->size_bytes[i];
        }
}

uint32_t dp_attributes_store(struct dp_attribute_pool *pool, const struct cl_info *info, bool *ret_exhausted)
{
    *ret_exhausted = false;
    unsigned total = 0;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++)
        total += info->size_bytes[i];
    if (!total)
        return 0;
    uint32_t item = dp_pool_take(pool->blocks, &pool->cache);
    if (item == DP_POOL_NONE) {
        *ret_exhausted = true;
        return 0;
    }
    dp_attributes_pack(dp_pool_at(pool->blocks, item), info);
    return item + 1;
}

uint32_t dp_attributes_copy(struct dp_attribute_pool *pool, uint32_t handle, bool *ret_exhausted)
{
    *ret_exhausted = false;
    if (!handle)
        return 0;
    uint32_t item = dp_pool_take(pool->blocks, &pool->cache);
    *ret_exhausted = item == DP_POOL_NONE;
    if (item == DP_POOL_NONE)
        return 0;
    memcpy(dp_pool_at(pool->blocks, item), dp_attributes_get(pool, handle), sizeof(struct dp_attributes));
    return item + 1;
}

void dp_attributes_drop(struct dp_attribute_pool *pool, uint32_t handle)
{
    if (handle)
        dp_pool_give(pool->blocks, &pool->cache, handle - 1);
}

void dp_attributes_flush(struct dp_attribute_pool *pool)
{
    dp_pool_flush(pool->blocks, &pool->cache);
}

uint32_t dp_attributes_available(const struct dp_attribute_pool *pool)
{
    return dp_pool_available(pool->blocks) + pool->cache.count;
}

const struct dp_attributes *dp_attributes_get(const struct dp_attribute_pool *pool, uint32_t handle)
{
    return handle ? dp_pool_at(pool->blocks, handle - 1) : NULL;
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

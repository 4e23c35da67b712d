/*
 * Any bytes as a peer's records of a shard, after our own definitions: flows, touches, ends, undecided ones, expectations,
 * datagrams. Whatever is accepted must leave a table that can be walked, and pools that get everything back.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/cascade/carry.h"
#include "dataplane/cascade/tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint32_t id_of(const void *context, uint16_t index)
{
    (void)context;
    return index;
}

static uint16_t index_of(const void *context, uint32_t id)
{
    (void)context;
    return (uint16_t)(id & 0xff);
}

static const struct cascade_names names = {id_of, id_of, index_of, index_of, NULL};
static struct dp_pending_pool *pool;
static struct cascade_reader reader;

static uint32_t keep_texts(void *context, const struct cascade_blob *texts)
{
    (void)context;
    return texts->size_bytes;
}

static uint32_t keep_pending(void *context, const struct cascade_flow *flow, const struct cascade_blob *pending)
{
    enum cascade_flow_refusal refusal;
    (void)context;
    uint32_t handle =
        cascade_undecided_read(pool, &reader, &names, flow->pack & 1, pending->bytes, pending->size_bytes, &refusal);
    if ((handle == 0) != (refusal != CASCADE_FLOW_REFUSAL_none))
        abort();
    return handle;
}

static void drop(void *context, uint32_t texts, uint32_t pending)
{
    (void)context;
    (void)texts;
    dp_pending_drop(pool, pending);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct ft *flows;
    static struct cascade_replica *replica;
    static struct dp_fragment_carrier *carrier;
    static const struct cascade_adopters adopters = {keep_texts, keep_pending, drop, NULL, 0};
    if (!flows) {
        struct ft_config config;
        char error[256];
        ft_config_init(&config);
        config.capacity_flows = FT_CAPACITY_FLOWS_MIN;
        flows = ft_create(&config, error, sizeof error);
        pool = dp_pending_pool_create(1 << 20);
        replica = cascade_replica_create(flows, 64, &names);
        carrier = dp_fragment_carrier_create(16);
        cascade_reader_init(&reader, cascade_carry_kinds);
        for (unsigned i = 0; cascade_carry_kinds[i]; i++) {
            uint8_t text[1024];
            struct cursor c = cursor_of(text, cascade_write_definition(cascade_carry_kinds[i], text, sizeof text));
            if (cascade_define(&reader, &c) != CASCADE_REFUSAL_none)
                abort();
        }
    }
    if (size < 1)
        return 0;
    cascade_replica_apply(replica, &reader, bytes[0], bytes + 1, size - 1, -5, &adopters);
    dp_fragment_carrier_clear(carrier);
    cascade_datagrams_apply(carrier, &reader, -5, bytes + 1, size - 1);
    cascade_replica_clear(replica, bytes[0], &adopters);
    struct cascade_digest digest;
    struct ft_stats stats;
    struct dp_pending_usage usage;
    cascade_replica_digest(replica, bytes[0], &digest);
    ft_stats(flows, &stats);
    dp_pending_usage(pool, &usage);
    if (digest.flows || digest.sum || stats.flows || usage.blocks || usage.infos || usage.buffers[0])
        abort();
    return 0;
}

#include "dataplane/join.h"

#include <stdlib.h>
#include <string.h>

#define IP_PROTO_TCP 6
#define IP_PROTO_UDP 17
#define TCP_SYN      0x02
#define FIRST_SLOTS  1024u /* a power of two */
#define COUNT_MAX    255u

struct joined {
    struct ft_key key;
    uint8_t used;
    uint8_t payload_packets[2]; /* [view.swap] */
};

struct dp_join {
    unsigned after;
    uint64_t slots, count;
    struct joined *table; /* open addressing, at most half full */
};

struct dp_join *dp_join_create(unsigned after)
{
    struct dp_join *join = calloc(1, sizeof *join);
    if (!join)
        abort();
    join->after = after < COUNT_MAX ? after : COUNT_MAX;
    dp_join_reset(join);
    return join;
}

void dp_join_destroy(struct dp_join *join)
{
    if (join)
        free(join->table);
    free(join);
}

void dp_join_reset(struct dp_join *join)
{
    free(join->table);
    join->slots = FIRST_SLOTS;
    join->count = 0;
    join->table = calloc(join->slots, sizeof *join->table);
    if (!join->table)
        abort();
}

static struct joined *find(const struct dp_join *join, const struct ft_key *key)
{
    const uint8_t *bytes = (const uint8_t *)key;
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a: the tool's own memory, no table of the engine */
    for (unsigned i = 0; i < sizeof *key; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    hash ^= hash >> 32;
    for (uint64_t at = hash & (join->slots - 1);; at = (at + 1) & (join->slots - 1))
        if (!join->table[at].used || !memcmp(&join->table[at].key, key, sizeof *key))
            return &join->table[at];
}

static void grow(struct dp_join *join)
{
    struct joined *before = join->table;
    uint64_t slots = join->slots;
    join->slots *= 2;
    join->table = calloc(join->slots, sizeof *join->table);
    if (!join->table)
        abort();
    for (uint64_t i = 0; i < slots; i++)
        if (before[i].used)
            *find(join, &before[i].key) = before[i];
    free(before);
}

static struct joined *flow_of(struct dp_join *join, const struct ft_key *key)
{
    struct joined *flow = find(join, key);
    if (flow->used)
        return flow;
    if (2 * ++join->count > join->slots) {
        grow(join);
        flow = find(join, key);
    }
    flow->key = *key;
    flow->used = 1;
    return flow;
}

bool dp_join_passes(struct dp_join *join, const struct dp_view *view)
{
    bool is_tcp = view->key.ip_proto == IP_PROTO_TCP;
    if (view->result != DP_PARSE_ok || (!is_tcp && view->key.ip_proto != IP_PROTO_UDP))
        return true;
    if (view->flags & DP_VIEW_FRAGMENT)
        return false;
    struct joined *flow = flow_of(join, &view->key);
    uint8_t *own = &flow->payload_packets[view->swap], *other = &flow->payload_packets[!view->swap];
    if (is_tcp && view->tcp_flags & TCP_SYN) {
        *own = *other = 0;
        return false;
    }
    if (!view->payload_bytes)
        return *own >= join->after || *other >= join->after;
    if (*own >= join->after)
        return true;
    ++*own;
    return false;
}

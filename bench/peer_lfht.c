/* liburcu's table; compiled only where liburcu is there. */
#include <string.h>

/* urcu's headers define inline calls that our warnings do not like */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <urcu/rculfhash.h>
#include <urcu/urcu-qsbr.h>
#pragma GCC diagnostic pop

#include <stdlib.h>

#include "bench/peers.h"

#define KEY_BYTES 40u /* without the context, which no flow of the benches has */

struct node {
    struct cds_lfht_node link;
    uint8_t key[KEY_BYTES];
    uint32_t packets, bytes;
};
static_assert(sizeof(struct node) == 64, "one line");

struct bench_lfht {
    struct cds_lfht *table;
    struct node *nodes;
    size_t nodes_bytes;
    uint64_t used, free_count;
    uint32_t *free_nodes; /* a stack */
    uint64_t capacity;
};

static void key_of(const struct ft_key *key, uint8_t ret_key[KEY_BYTES])
{
    memcpy(ret_key, key, 36);
    ret_key[36] = key->ip_proto;
    ret_key[37] = key->is_v6;
    ret_key[38] = ret_key[39] = 0;
}

static int match(struct cds_lfht_node *link, const void *key)
{
    return memcmp(((const struct node *)link)->key, key, KEY_BYTES) == 0;
}

struct bench_lfht *bench_lfht_create(uint64_t capacity_flows)
{
    struct bench_lfht *lfht = calloc(1, sizeof *lfht);
    unsigned long buckets = 1;
    while (buckets < capacity_flows)
        buckets <<= 1;
    if (!lfht)
        bench_fail("memory is short");
    urcu_qsbr_register_thread();
    lfht->capacity = capacity_flows;
    lfht->nodes_bytes = capacity_flows * sizeof *lfht->nodes;
    lfht->nodes = bench_alloc(lfht->nodes_bytes);
    lfht->free_nodes = bench_alloc(capacity_flows * sizeof *lfht->free_nodes);
    lfht->table = cds_lfht_new_flavor(buckets, buckets, buckets, 0, &urcu_qsbr_flavor, NULL);
    if (!lfht->table)
        bench_fail("memory is short for cds_lfht");
    bench_collapse();
    return lfht;
}

void bench_lfht_destroy(struct bench_lfht *lfht)
{
    if (!lfht)
        return;
    struct cds_lfht_iter iter;
    struct node *node;
    cds_lfht_for_each_entry(lfht->table, &iter, node, link) cds_lfht_del(lfht->table, &node->link);
    urcu_qsbr_quiescent_state();
    cds_lfht_destroy(lfht->table, NULL);
    bench_free(lfht->nodes, lfht->nodes_bytes);
    bench_free(lfht->free_nodes, lfht->capacity * sizeof *lfht->free_nodes);
    free(lfht);
    urcu_qsbr_unregister_thread();
}

void bench_lfht_add(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash)
{
    uint32_t index = lfht->free_count ? lfht->free_nodes[--lfht->free_count] : (uint32_t)lfht->used++;
    if (index >= lfht->capacity)
        bench_fail("cds_lfht has no node left");
    struct node *node = &lfht->nodes[index];
    cds_lfht_node_init(&node->link);
    key_of(key, node->key);
    node->packets = node->bytes = 0;
    if (cds_lfht_add_unique(lfht->table, hash, match, node->key, &node->link) != &node->link)
        bench_fail("cds_lfht has a key twice");
}

static struct node *find(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash)
{
    uint8_t bytes[KEY_BYTES];
    struct cds_lfht_iter iter;
    key_of(key, bytes);
    cds_lfht_lookup(lfht->table, hash, match, bytes, &iter);
    return (struct node *)cds_lfht_iter_get_node(&iter);
}

bool bench_lfht_account(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash)
{
    struct node *node = find(lfht, key, hash);
    if (!node)
        return false;
    node->packets++;
    node->bytes += 64;
    return true;
}

bool bench_lfht_remove(struct bench_lfht *lfht, const struct ft_key *key, uint64_t hash)
{
    struct node *node = find(lfht, key, hash);
    if (!node || cds_lfht_del(lfht->table, &node->link))
        return false;
    lfht->free_nodes[lfht->free_count++] = (uint32_t)(node - lfht->nodes);
    return true;
}

void bench_lfht_quiescent(void)
{
    urcu_qsbr_quiescent_state();
}

#include "dataplane/learn.h"

#include <string.h>

#include "dataplane/worker.h"

#define NS_PER_SECOND 1000000000u

void dp_learning_config_init(struct dp_learning_config *config)
{
    *config = (struct dp_learning_config){
        .enabled = true, .expectations = 1u << 16, .names = 1u << 16, .per_host_max = 1u << 12};
}

bool dp_learning_create(struct dp_learning *learning, const struct dp_learning_config *config, uint64_t secret_seed)
{
    if (!config->enabled)
        return true;
    struct dp_expect_config expected = {
        .capacity = config->expectations, .per_host_max = config->per_host_max, .secret_seed = secret_seed};
    struct dp_expect_config names = {.capacity = config->names,
                                     .per_host_max = config->per_host_max,
                                     .is_by_pair = true,
                                     .secret_seed = secret_seed};
    learning->expected = dp_expect_create(&expected);
    learning->names = dp_expect_create(&names);
    return learning->expected && learning->names;
}

void dp_learning_destroy(struct dp_learning *learning)
{
    dp_expect_destroy(learning->expected);
    dp_expect_destroy(learning->names);
}

void dp_learning_clear(struct dp_learning *learning)
{
    if (learning->expected)
        dp_expect_clear(learning->expected);
    if (learning->names)
        dp_expect_clear(learning->names);
}

bool dp_learn_expected(struct dp_worker *worker, const struct dp_learn_packet *packet, struct dp_learned *ret_learned,
                       struct cl_verdict *ret_verdict)
{
    const struct dp_expect *expected = worker->engine->learning.expected;
    const struct ft_key *key = packet->key;
    struct dp_expectation found;
    memset(ret_learned, 0, sizeof *ret_learned);
    if (!expected || !dp_expect_any(expected, packet->key->ip_proto, packet->now_ns))
        return false;
    unsigned server = !packet->client_endpoint; /* most are announced as the side that is called */
    if (!dp_expect_find(expected, key, server, key->port_be16[server], key->ip_proto, packet->now_ns, &found) &&
        !dp_expect_find(expected, key, !server, key->port_be16[!server], key->ip_proto, packet->now_ns, &found))
        return false;
    if (cl_expected(cl_worker_engine(worker->classifier), (enum cl_announced)found.kind, packet->payload,
                    packet->payload_bytes, ret_verdict))
        return true;
    ret_learned->fallback = *ret_verdict;
    ret_learned->kind = found.kind;
    return false;
}

void dp_learn_named(struct dp_worker *worker, const struct dp_learn_packet *packet, struct dp_learned *learned)
{
    const struct dp_expect *names = worker->engine->learning.names;
    struct dp_expectation found;
    if (names && dp_expect_any(names, 0, packet->now_ns) &&
        dp_expect_find(names, packet->key, !packet->client_endpoint, 0, 0, packet->now_ns, &found))
        learned->named = found.named;
}

static void count(struct dp_worker *worker, enum dp_expect_result result)
{
    switch (result) {
    case DP_EXPECT_EVICTED:
        DP_COUNT(worker->stats.expectations_evicted, 1);
        DP_COUNT(worker->stats.announcements, 1);
        break;
    case DP_EXPECT_ADDED:
        DP_COUNT(worker->stats.announcements, 1);
        break;
    case DP_EXPECT_REFUSED:
        DP_COUNT(worker->stats.announcements_refused, 1);
        break;
    case DP_EXPECT_BUSY:
        DP_COUNT(worker->stats.announcements_busy, 1);
        break;
    }
}

static uint8_t ip_proto_of(enum cl_announced kind)
{
    static const uint8_t ip_protos[CL_ANNOUNCED_COUNT] = {
#define X(name, protocol, ip_proto, lifetime_s, confidence, is_enough) ip_proto,
        CL_ANNOUNCED(X)
#undef X
    };
    return ip_protos[kind];
}

/* An announcement as an entry of the table that it belongs to. */
static void keep(struct dp_worker *worker, const struct dp_learn_packet *packet, const struct cl_announcement *a)
{
    const struct ft_key *key = packet->key;
    unsigned sender = packet->swap;
    bool is_name = a->kind == CL_ANNOUNCED_name;
    struct dp_expectation entry = {.context = key->context,
                                   .port_be16 = rte_cpu_to_be_16(a->port),
                                   .ip_proto = ip_proto_of((enum cl_announced)a->kind),
                                   .is_v6 = a->whose == CL_OF_ANOTHER ? a->is_v6 : key->is_v6,
                                   .kind = a->kind,
                                   .named = a->named};
    unsigned owner = a->whose == CL_OF_RECEIVER ? !sender : sender;
    memcpy(entry.address, a->whose == CL_OF_ANOTHER ? a->address : key->addr[owner], 16);
    /* A name's peer is who asked; that of a port is the other end of its owner. */
    if (a->has_peer && entry.is_v6 == key->is_v6)
        memcpy(entry.peer, key->addr[is_name ? !sender : !owner], 16);
    else if (is_name)
        return; /* asked over the other family: who it is there is not known */
    const uint8_t *account = key->addr[is_name ? !sender : sender];
    count(worker, dp_expect_add(is_name ? worker->engine->learning.names : worker->engine->learning.expected, &entry,
                                account, (uint64_t)a->lifetime_s * NS_PER_SECOND, packet->now_ns));
}

void dp_learn_announced(struct dp_worker *worker, cl_protocol protocol, const struct dp_learn_packet *packet)
{
    const struct ft_key *key = packet->key;
    if (!worker->engine->learning.expected || !cl_may_announce(key->ip_proto, packet->payload, packet->payload_bytes))
        return;
    struct cl_announcement list[CL_ANNOUNCEMENTS_MAX];
    struct cl_sender sender = {.address = key->addr[packet->swap], .is_v6 = key->is_v6};
    struct cl_packet bytes = {.bytes = packet->payload,
                              .size_bytes = packet->payload_bytes,
                              .ip_proto = key->ip_proto,
                              .from_server = packet->swap ^ packet->client_endpoint,
                              .client_port = rte_be_to_cpu_16(key->port_be16[packet->client_endpoint]),
                              .server_port = rte_be_to_cpu_16(key->port_be16[!packet->client_endpoint])};
    unsigned length = cl_announce(cl_worker_engine(worker->classifier), protocol, &bytes, &sender, list);
    for (unsigned i = 0; i < length; i++)
        keep(worker, packet, &list[i]);
}

/* "show flows" and "show protocols": walks over the live flow table. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "dataplane/run.h"
#include "dataplane/show.h"

enum sort { SORT_NONE, SORT_BYTES, SORT_PACKETS, SORT_AGE, SORT_IDLE };
static const char *const sort_names[] = {"none", "bytes", "packets", "age", "idle", NULL};

const struct dp_argument dp_show_flow_arguments[] = {
    {"protocol", DP_ARGUMENT_TEXT, 0},   {"application", DP_ARGUMENT_TEXT, 0},
    {"client", DP_ARGUMENT_TEXT, 0},     {"server", DP_ARGUMENT_TEXT, 0},
    {"port", DP_ARGUMENT_NUMBER, 65535}, {"ip_proto", DP_ARGUMENT_NUMBER, 255},
    {"state", DP_ARGUMENT_TEXT, 0},      {"limit", DP_ARGUMENT_NUMBER, DP_SHOW_FLOWS_MAX},
    {"sort", DP_ARGUMENT_TEXT, 0},       {.name = NULL},
};

/* ---- filters ---- */

struct net {
    bool given;
    uint8_t address[16];
    unsigned bits;
    bool is_v6;
};

struct filter {
    cl_protocol protocol, application; /* 0 = any */
    struct net client, server;
    uint32_t port, ip_proto; /* UINT32_MAX = any */
    const char *state;       /* NULL = any */
    enum sort sort;
    unsigned limit;
};

/* "10.0.0.0/8", "2001:db8::1" */
static bool parse_net(const char *text, struct net *net)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t size_bytes = slash ? (size_t)(slash - text) : strlen(text);
    if (size_bytes >= sizeof address)
        return false;
    memcpy(address, text, size_bytes);
    address[size_bytes] = 0;
    net->given = true;
    net->is_v6 = strchr(address, ':') != NULL;
    net->bits = net->is_v6 ? 128 : 32;
    if (inet_pton(net->is_v6 ? AF_INET6 : AF_INET, address, net->address) != 1)
        return false;
    if (!slash)
        return true;
    char *end;
    unsigned long bits = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end || bits > net->bits)
        return false;
    net->bits = (unsigned)bits;
    return true;
}

static bool in_net(const struct net *net, bool is_v6, const uint8_t *address)
{
    if (net->is_v6 != is_v6 || memcmp(net->address, address, net->bits / 8) != 0)
        return false;
    unsigned rest = net->bits % 8;
    return !rest || (net->address[net->bits / 8] ^ address[net->bits / 8]) >> (8 - rest) == 0;
}

/* A name of the pack; false with the error said. */
static bool read_name(const struct cl_engine *classifier, const json_t *request, const char *argument, cl_protocol *ret,
                      struct dp_reply *reply)
{
    const char *name = dp_request_text(request, argument, NULL);
    *ret = name ? cl_protocol_find(classifier, name) : 0;
    if (!name || *ret)
        return true;
    dp_reply_error(reply, "%s: the pack has no \"%.64s\"; sce protocols lists what it has", argument, name);
    return false;
}

static bool read_net(const json_t *request, const char *argument, struct net *net, struct dp_reply *reply)
{
    const char *text = dp_request_text(request, argument, NULL);
    if (!text || parse_net(text, net))
        return true;
    dp_reply_error(reply, "%s: \"%.64s\", expected an address or a prefix such as 10.0.0.0/8", argument, text);
    return false;
}

static bool read_filter(const struct cl_engine *classifier, const json_t *request, struct filter *filter,
                        struct dp_reply *reply)
{
    *filter = (struct filter){.port = (uint32_t)dp_request_number(request, "port", UINT32_MAX),
                              .ip_proto = (uint32_t)dp_request_number(request, "ip_proto", UINT32_MAX),
                              .state = dp_request_text(request, "state", NULL),
                              .limit = (unsigned)dp_request_number(request, "limit", DP_SHOW_FLOWS_DEFAULT)};
    const char *sort = dp_request_text(request, "sort", "none");
    while (sort_names[filter->sort] && strcmp(sort_names[filter->sort], sort) != 0)
        filter->sort++;
    if (!sort_names[filter->sort]) {
        dp_reply_error(reply, "sort: \"%.64s\", expected one of none, bytes, packets, age, idle", sort);
        return false;
    }
    return read_name(classifier, request, "protocol", &filter->protocol, reply) &&
           read_name(classifier, request, "application", &filter->application, reply) &&
           read_net(request, "client", &filter->client, reply) && read_net(request, "server", &filter->server, reply);
}

/* TCP: the state of tracking; else whether both sides were heard. */
static const char *state_of(const struct ft_flow *flow)
{
    if (flow->hot.tcp_state)
        return ft_tcp_state_name(flow->hot.tcp_state);
    return flow->hot.flags & FT_FLOW_ANSWERED ? "answered" : "unanswered";
}

static bool fits(const struct filter *filter, const struct ft_flow *flow)
{
    const struct ft_key *key = &flow->key;
    unsigned client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
    if (filter->protocol && flow->cold.protocol != filter->protocol && flow->hot.name != filter->protocol)
        return false;
    if (filter->application && ft_flow_application(&flow->hot, &flow->cold) != filter->application)
        return false;
    if (filter->client.given && !in_net(&filter->client, key->is_v6, key->addr[client]))
        return false;
    if (filter->server.given && !in_net(&filter->server, key->is_v6, key->addr[!client]))
        return false;
    if (filter->port != UINT32_MAX && ntohs(key->port_be16[0]) != filter->port &&
        ntohs(key->port_be16[1]) != filter->port)
        return false;
    if (filter->ip_proto != UINT32_MAX && key->ip_proto != filter->ip_proto)
        return false;
    return !filter->state || !strcasecmp(filter->state, state_of(flow));
}

/* ---- the flows to show ---- */

/* The `limit` flows of most weight: a heap with the lightest on top. Without sorting, the first ones. */
struct chosen {
    struct {
        uint64_t weight;
        struct ft_flow flow;
    } * items;
    unsigned count, limit;
};

static uint64_t packets_of(const struct ft_flow *flow, unsigned direction)
{
    uint64_t high = ft_flow_packets_high(&flow->hot, &flow->cold, direction);
    return high << 32 | flow->hot.packets[direction];
}

static uint64_t weight_of(enum sort sort, const struct ft_flow *flow)
{
    switch (sort) {
    case SORT_BYTES:
        return flow->hot.bytes[0] + flow->hot.bytes[1];
    case SORT_PACKETS:
        return packets_of(flow, 0) + packets_of(flow, 1);
    case SORT_AGE:
        return UINT64_MAX - flow->cold.first_ns;
    case SORT_IDLE:
        return UINT64_MAX - flow->hot.last_ns;
    case SORT_NONE:
        break;
    }
    return 0;
}

static void swap(struct chosen *chosen, unsigned a, unsigned b)
{
    __typeof__(*chosen->items) item = chosen->items[a];
    chosen->items[a] = chosen->items[b];
    chosen->items[b] = item;
}

static void sift_down(struct chosen *chosen)
{
    for (unsigned at = 0;;) {
        unsigned least = at;
        for (unsigned child = 2 * at + 1; child <= 2 * at + 2 && child < chosen->count; child++)
            if (chosen->items[child].weight < chosen->items[least].weight)
                least = child;
        if (least == at)
            return;
        swap(chosen, at, least);
        at = least;
    }
}

static void choose(struct chosen *chosen, uint64_t weight, const struct ft_flow *flow)
{
    if (chosen->count < chosen->limit) {
        unsigned at = chosen->count++;
        chosen->items[at].weight = weight;
        chosen->items[at].flow = *flow;
        for (; at && chosen->items[at].weight < chosen->items[(at - 1) / 2].weight; at = (at - 1) / 2)
            swap(chosen, at, (at - 1) / 2);
    } else if (chosen->limit && weight > chosen->items[0].weight) {
        chosen->items[0].weight = weight;
        chosen->items[0].flow = *flow;
        sift_down(chosen);
    }
}

static int compare_weight(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b; /* the weight is the first member */
    return (*left < *right) - (*left > *right);
}

/* ---- rows ---- */

static void add_flow(struct dp_reply *reply, struct dp_run *run, const struct ft_flow *flow, uint64_t now_ns)
{
    const struct cl_engine *classifier = dp_run_engine(run)->classifier;
    const struct cl_protocol_info *protocol = cl_protocol_get(classifier, flow->cold.protocol);
    cl_protocol application = ft_flow_application(&flow->hot, &flow->cold);
    unsigned client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
    uint8_t up = ft_flow_up_direction(&flow->hot);
    int family = flow->key.is_v6 ? AF_INET6 : AF_INET;
    char address[INET6_ADDRSTRLEN];
    struct json *row = dp_reply_row(reply, "flow");
    json_u64(row, "flow_id", flow->cold.uid & 0xffffffffffffu);
    json_text(row, "link", dp_run_config(run)->links[flow->hot.flags >> FT_FLOW_LINK_SHIFT].name);
    json_u64(row, "ip_proto", flow->key.ip_proto);
    json_text(row, "client_ip", inet_ntop(family, flow->key.addr[client], address, sizeof address));
    json_u64(row, "client_port", ntohs(flow->key.port_be16[client]));
    json_text(row, "server_ip", inet_ntop(family, flow->key.addr[!client], address, sizeof address));
    json_u64(row, "server_port", ntohs(flow->key.port_be16[!client]));
    json_time_ns(row, "first_ts", flow->cold.first_ns);
    json_time_ns(row, "last_ts", flow->hot.last_ns);
    json_u64(row, "age_s", now_ns > flow->cold.first_ns ? (now_ns - flow->cold.first_ns) / 1000000000u : 0);
    json_u64(row, "idle_s", now_ns > flow->hot.last_ns ? (now_ns - flow->hot.last_ns) / 1000000000u : 0);
    json_text(row, "state", state_of(flow));
    json_bool(row, "decided", flow->hot.flags & FT_FLOW_DECIDED);
    json_bool(row, "started_before", flow->hot.flags & FT_FLOW_STARTED_BEFORE);
    json_bool(row, "ambiguous", flow->hot.flags & FT_FLOW_AMBIGUOUS);
    json_text(row, "protocol", protocol ? protocol->name : "");
    json_text(row, "application", application ? cl_protocol_get(classifier, application)->name : "");
    json_text(row, "service", flow->hot.name ? cl_protocol_get(classifier, flow->hot.name)->service : "");
    json_text(row, "signature", cl_signature_name(classifier, flow->cold.signature));
    json_text(row, "method", cl_method_name(flow->cold.method));
    json_u64(row, "confidence", flow->cold.confidence);
    json_u64(row, "pack", flow->cold.pack);
    json_u64(row, "packets_up", packets_of(flow, up));
    json_u64(row, "packets_down", packets_of(flow, !up));
    json_u64(row, "bytes_up", flow->hot.bytes[up]);
    json_u64(row, "bytes_down", flow->hot.bytes[!up]);
    json_u64(row, "packets_to_verdict", flow->cold.packets_to_verdict);
    json_u64(row, "payload_packets_to_verdict", flow->cold.payload_packets_to_verdict);
    dp_reply_row_end(reply);
}

/* Calls `visit` for each live flow until it returns false; false when no reader's place is free (said). */
static bool walk(struct ft *flows, struct dp_reply *reply, bool (*visit)(void *context, const struct ft_flow *flow),
                 void *context)
{
    int reader = ft_reader_register(flows);
    bool goes_on = true;
    if (reader < 0) {
        dp_reply_error(reply, "too many readers of the flow table");
        return false;
    }
    ft_reader_online(flows, reader);
    for (unsigned shard = 0; shard < FT_SHARDS && goes_on; shard++) {
        struct ft_flow flow;
        uint64_t position = 0;
        while (goes_on && ft_walk(flows, (uint8_t)shard, &position, &flow))
            goes_on = visit(context, &flow);
        ft_reader_quiescent(flows, reader);
    }
    ft_reader_offline(flows, reader);
    ft_reader_unregister(flows, reader);
    return true;
}

struct flow_visit {
    struct filter filter;
    struct chosen chosen;
    uint64_t seen, matched;
};

static bool visit_flow(void *context, const struct ft_flow *flow)
{
    struct flow_visit *visit = context;
    visit->seen++;
    if (!fits(&visit->filter, flow))
        return true;
    visit->matched++;
    choose(&visit->chosen, weight_of(visit->filter.sort, flow), flow);
    return true;
}

void dp_show_flows(const json_t *request, struct dp_reply *reply, void *context)
{
    struct dp_engine *engine = dp_run_engine(context);
    struct flow_visit visit = {0};
    struct timespec now;
    if (!read_filter(engine->classifier, request, &visit.filter, reply))
        return;
    visit.chosen.limit = visit.filter.limit;
    visit.chosen.items = malloc((visit.filter.limit + 1u) * sizeof *visit.chosen.items);
    if (!visit.chosen.items)
        abort();
    if (walk(engine->flows, reply, visit_flow, &visit)) {
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        if (visit.filter.sort != SORT_NONE)
            qsort(visit.chosen.items, visit.chosen.count, sizeof *visit.chosen.items, compare_weight);
        for (unsigned i = 0; i < visit.chosen.count; i++)
            add_flow(reply, context, &visit.chosen.items[i].flow, now_ns);
        struct json *row = dp_reply_row(reply, "flows_summary");
        json_u64(row, "shown", visit.chosen.count);
        json_u64(row, "matched", visit.matched);
        json_u64(row, "flows", visit.seen);
        dp_reply_row_end(reply);
    }
    free(visit.chosen.items);
}

/* ---- protocols ---- */

struct protocol_sum {
    uint64_t flows, packets_up, packets_down, bytes_up, bytes_down;
};

static bool visit_protocol(void *context, const struct ft_flow *flow)
{
    struct protocol_sum *sum = (struct protocol_sum *)context + flow->hot.name;
    uint8_t up = ft_flow_up_direction(&flow->hot);
    sum->flows++;
    sum->packets_up += packets_of(flow, up);
    sum->packets_down += packets_of(flow, !up);
    sum->bytes_up += flow->hot.bytes[up];
    sum->bytes_down += flow->hot.bytes[!up];
    return true;
}

void dp_show_protocols(const json_t *request, struct dp_reply *reply, void *context)
{
    struct dp_engine *engine = dp_run_engine(context);
    struct protocol_sum *sums = calloc(UINT16_MAX + 1u, sizeof *sums);
    (void)request;
    if (!sums)
        abort();
    if (walk(engine->flows, reply, visit_protocol, sums))
        for (unsigned i = 0; i < cl_protocol_count(engine->classifier); i++) {
            const struct cl_protocol_info *info = i ? cl_protocol_get(engine->classifier, (cl_protocol)i) : NULL;
            if (!sums[i].flows)
                continue;
            struct json *row = dp_reply_row(reply, "protocol");
            json_text(row, "protocol", info ? info->name : "");
            json_text(row, "kind", !info ? "undecided" : info->is_application ? "application" : "protocol");
            json_text(row, "family", info ? info->family : "");
            json_text(row, "service", info ? info->service : "");
            json_u64(row, "flows", sums[i].flows);
            json_u64(row, "packets_up", sums[i].packets_up);
            json_u64(row, "packets_down", sums[i].packets_down);
            json_u64(row, "bytes_up", sums[i].bytes_up);
            json_u64(row, "bytes_down", sums[i].bytes_down);
            dp_reply_row_end(reply);
        }
    free(sums);
}

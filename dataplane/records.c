#include "dataplane/records.h"

#include <arpa/inet.h>
#include <roaring/roaring.h>
#include <rte_cycles.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "rdr/rdr.h"

#define BYTES_PER_KB    1024u
#define CLOSE_MODE_FIN  0 /* FIN or RST */
#define CLOSE_MODE_AGED 1 /* time-out, or the end of the run */
#define CLOSE_MODE_OPEN 3 /* interim: not a value of the original's, which leaves this open */

/* What LINK_USAGE has told of one service on one link. */
struct link_service {
    uint64_t reported_kb[2];
    struct dp_usage reported;
    roaring_bitmap_t *subscribers; /* addresses active in this interval: IPv4 as they are, IPv6 as 32-bit hashes */
    bool was_zero;
};

struct dp_records {
    struct dp_engine *engine;
    const struct cl_engine *classifier; /* to look names up in, see reload.h */
    struct dp_records_config config;
    struct rdr_formatter *formatter;
    struct dp_record_stats stats;
    int reader;
    uint64_t interval_start_ns; /* 0: not known, but for earliest_ns */
    uint64_t earliest_ns;       /* first packet of the flows told of in this interval */
    bool first_interval;
    uint64_t transaction_tokens_ns, transaction_refill_ns;
    uint32_t skipped; /* TRANSACTION flows since the last one that was sent */
    struct link_service usage[FT_LINKS_MAX][DP_SERVICES_MAX];
};

static void forget_usage(struct dp_records *records)
{
    for (unsigned link = 0; link < FT_LINKS_MAX; link++)
        for (unsigned service = 0; service < DP_SERVICES_MAX; service++)
            if (records->usage[link][service].subscribers)
                roaring_bitmap_free(records->usage[link][service].subscribers);
    memset(records->usage, 0, sizeof records->usage);
}

static void start(struct dp_records *records, uint64_t now_ns)
{
    forget_usage(records);
    for (unsigned link = 0; link < FT_LINKS_MAX; link++)
        for (unsigned service = 0; service < DP_SERVICES_MAX; service++)
            records->usage[link][service].was_zero = true;
    records->interval_start_ns = now_ns;
    records->earliest_ns = UINT64_MAX;
    records->first_interval = true;
    records->transaction_tokens_ns = records->transaction_refill_ns = 0;
    records->skipped = 0;
}

struct dp_records *dp_records_create(struct dp_engine *engine, const struct dp_records_config *config,
                                     struct rdr_formatter *formatter, uint64_t now_ns)
{
    struct dp_records *records = calloc(1, sizeof *records);
    if (!records)
        return NULL;
    records->engine = engine;
    records->classifier = engine->classifier;
    dp_reload_reader_begin(engine);
    records->config = *config;
    records->formatter = formatter;
    records->reader = ft_reader_register(engine->flows);
    start(records, now_ns);
    return records;
}

void dp_records_destroy(struct dp_records *records)
{
    if (!records)
        return;
    dp_reload_reader_end(records->engine);
    if (records->reader >= 0)
        ft_reader_unregister(records->engine->flows, records->reader);
    forget_usage(records);
    free(records);
}

void dp_records_reset(struct dp_records *records, uint64_t now_ns)
{
    records->config.epoch++;
    start(records, now_ns);
}

void dp_records_stats(const struct dp_records *records, struct dp_record_stats *ret_stats)
{
#define X(name, text) ret_stats->name = __atomic_load_n(&records->stats.name, __ATOMIC_RELAXED);
    DP_RECORD_COUNTERS(X)
#undef X
}

/* The endpoint (index into the key) that is the subscriber's. */
static unsigned subscriber_endpoint(const struct ft_flow *flow)
{
    unsigned client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
    return client ^ ft_flow_up_direction(&flow->hot);
}

void dp_flow_subscriber(const struct ft_flow *flow, char *text)
{
    inet_ntop(flow->key.is_v6 ? AF_INET6 : AF_INET, flow->key.addr[subscriber_endpoint(flow)], text, INET6_ADDRSTRLEN);
}

static uint32_t ipv4_of(const struct ft_key *key, unsigned endpoint)
{
    uint32_t address_be;
    memcpy(&address_be, key->addr[endpoint], sizeof address_be);
    return key->is_v6 ? 0 : ntohl(address_be);
}

static void send_record(struct dp_records *records, const struct rdr_schema *schema, const struct ft_flow *flow,
                        const struct rdr_value values[])
{
    uint8_t buffer[RDR_RECORD_MAX_BYTES];
    struct rdr_header_ids ids = {0};
    if (records->config.header_ids && flow)
        ids = (struct rdr_header_ids){.creator = (uint16_t)(flow->cold.uid >> 48),
                                      .epoch = records->config.epoch,
                                      .interval = flow->cold.interval,
                                      .uid_low = (uint32_t)flow->cold.uid};
    int size = rdr_encode(schema, records->config.processor_id, &ids, values, buffer, sizeof buffer, NULL);
    if (size < 0) {
        DP_COUNT(records->stats.unencodable, 1);
        return;
    }
    DP_COUNT(records->stats.made, 1);
    rdr_formatter_put(records->formatter, schema->category, buffer, (uint32_t)size);
}

static void set_string(struct rdr_value *value, const char *string, size_t size_bytes)
{
    value->string = string;
    value->string_bytes = (uint16_t)size_bytes;
}

static void set_text(struct rdr_value *value, const struct dp_attributes *attributes, enum cl_text text)
{
    unsigned size_bytes;
    const char *bytes = dp_attributes_text(attributes, text, &size_bytes);
    set_string(value, bytes, size_bytes);
}

/* What the records of one event share. */
struct flow_facts {
    const struct dp_event *event;
    const struct dp_attributes *attributes;
    const struct cl_protocol_info *protocol, *application;
    uint32_t signature_id;
    uint16_t service;
    char subscriber[INET6_ADDRSTRLEN], client_v6[INET6_ADDRSTRLEN], server_v6[INET6_ADDRSTRLEN];
    unsigned client, server; /* endpoints */
    bool is_http;
};

static void gather(struct dp_records *records, const struct dp_event *event, const struct dp_attributes *attributes,
                   struct flow_facts *f)
{
    const struct cl_engine *classifier = records->classifier;
    const struct ft_flow *flow = &event->flow;
    memset(f, 0, sizeof *f);
    f->event = event;
    f->attributes = attributes;
    cl_protocol application = ft_flow_application(&flow->hot, &flow->cold);
    f->protocol = cl_protocol_get(classifier, flow->cold.protocol);
    f->application = application ? cl_protocol_get(classifier, application) : NULL;
    f->service = records->engine->service_of[flow->hot.name];
    f->signature_id = cl_signature_id(classifier, flow->cold.signature);
    f->client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
    f->server = !f->client;
    dp_flow_subscriber(flow, f->subscriber);
    if (flow->key.is_v6) {
        inet_ntop(AF_INET6, flow->key.addr[f->client], f->client_v6, sizeof f->client_v6);
        inet_ntop(AF_INET6, flow->key.addr[f->server], f->server_v6, sizeof f->server_v6);
    }
    f->is_http = f->protocol && !strcmp(f->protocol->name, "HTTP");
}

static uint8_t close_mode(const struct dp_event *event)
{
    if (event->kind != DP_EVENT_FLOW_END)
        return CLOSE_MODE_OPEN;
    return event->close == DP_CLOSE_FIN || event->close == DP_CLOSE_RST ? CLOSE_MODE_FIN : CLOSE_MODE_AGED;
}

/* Fields 1..25, which TRANSACTION and the TRANSACTION_USAGE family have at the same places. */
static void fill_transaction(const struct flow_facts *f, uint32_t up_bytes, uint32_t down_bytes, int64_t skipped,
                             struct rdr_value v[])
{
    const struct ft_flow *flow = &f->event->flow;
    const struct ft_key *key = &flow->key;
    uint64_t duration_ns = flow->hot.last_ns > flow->cold.first_ns ? flow->hot.last_ns - flow->cold.first_ns : 0;
    uint64_t duration_ms = duration_ns / 1000000u;
    set_string(&v[RDR_TUR_SUBSCRIBER_ID], f->subscriber, strlen(f->subscriber));
    v[RDR_TUR_PACKAGE_ID].integer = 0;
    v[RDR_TUR_SERVICE_ID].integer = f->service;
    v[RDR_TUR_PROTOCOL_ID].integer = f->protocol ? (int64_t)f->protocol->id : 0;
    v[RDR_TUR_SKIPPED_SESSIONS].integer = skipped;
    v[RDR_TUR_SERVER_IP].integer = ipv4_of(key, f->server);
    v[RDR_TUR_SERVER_PORT].integer = ntohs(key->port_be16[f->server]);
    set_text(&v[RDR_TUR_ACCESS_STRING], f->attributes, CL_TEXT_host);
    set_text(&v[RDR_TUR_INFO_STRING], f->attributes, CL_TEXT_url);
    v[RDR_TUR_CLIENT_IP].integer = ipv4_of(key, f->client);
    v[RDR_TUR_CLIENT_PORT].integer = ntohs(key->port_be16[f->client]);
    v[RDR_TUR_INITIATING_SIDE].integer = ft_flow_up_direction(&flow->hot);
    v[RDR_TUR_REPORT_TIME].integer = (int64_t)(f->event->now_ns / NS_PER_S);
    v[RDR_TUR_MILLISEC_DURATION].integer = (int64_t)RTE_MIN(duration_ms, UINT32_MAX);
    v[RDR_TUR_SESSION_UPSTREAM_VOLUME].integer = up_bytes;
    v[RDR_TUR_SESSION_DOWNSTREAM_VOLUME].integer = down_bytes;
    v[RDR_TUR_SUBSCRIBER_COUNTER_ID].integer = f->service;
    v[RDR_TUR_GLOBAL_COUNTER_ID].integer = f->service;
    v[RDR_TUR_IP_PROTOCOL].integer = key->ip_proto;
    v[RDR_TUR_PROTOCOL_SIGNATURE].integer = f->signature_id;
    v[RDR_TUR_FLAVOR_ID].integer = f->application ? (int64_t)f->application->id : 0;
    v[RDR_TUR_FLOW_CLOSE_MODE].integer = close_mode(f->event);
}

static void send_transaction(struct dp_records *records, const struct flow_facts *f, uint32_t up_bytes,
                             uint32_t down_bytes, int64_t stands_for)
{
    struct rdr_value values[RDR_TR_FIELDS] = {0};
    fill_transaction(f, up_bytes, down_bytes, stands_for, values);
    send_record(records, rdr_schema_find(RDR_TAG_TRANSACTION), &f->event->flow, values);
}

static void send_usage(struct dp_records *records, const struct flow_facts *f, uint32_t up_bytes, uint32_t down_bytes)
{
    static_assert((int)RDR_HTTP_USER_AGENT == (int)RDR_HTTP_IPV6_USER_AGENT, "one family");
    const struct ft_flow *flow = &f->event->flow;
    struct rdr_value v[RDR_HTTP_IPV6_FIELDS] = {0};
    uint32_t tag = f->is_http ? RDR_TAG_HTTP_TRANSACTION_USAGE : RDR_TAG_TRANSACTION_USAGE;
    fill_transaction(f, up_bytes, down_bytes, 1, v);
    if (f->is_http)
        set_text(&v[RDR_HTTP_USER_AGENT], f->attributes, CL_TEXT_user_agent);
    if (!flow->key.is_v6) {
        if (f->is_http)
            set_text(&v[RDR_HTTP_HTTP_URL], f->attributes, CL_TEXT_url);
        send_record(records, rdr_schema_find(tag), flow, v);
        return;
    }
    const struct rdr_schema *schema = rdr_schema_find_ipv6(tag);
    if (!schema) {
        DP_COUNT(records->stats.no_ipv6_layout, 1);
        return;
    }
    int link =
        f->is_http ? RDR_HTTP_IPV6_LINK_ID : RDR_TUR_IPV6_LINK_ID; /* the four fields follow each other in both */
    v[link].integer = flow->hot.flags >> FT_FLOW_LINK_SHIFT;
    v[link + 1].integer = 1;
    set_string(&v[link + 2], f->server_v6, strlen(f->server_v6));
    set_string(&v[link + 3], f->client_v6, strlen(f->client_v6));
    if (f->is_http)
        set_text(&v[RDR_HTTP_IPV6_HTTP_REFERER], f->attributes, CL_TEXT_referer);
    send_record(records, schema, flow, v);
}

/* True when this flow gets a TRANSACTION record; then *ret_stands_for counts it and those skipped since the last one. */
static bool sample(struct dp_records *records, uint64_t now_ns, int64_t *ret_stands_for)
{
    uint32_t rate = records->config.transaction_rate_per_s;
    *ret_stands_for = 1;
    if (rate == UINT32_MAX || !rate)
        return rate;
    uint64_t cost_ns = NS_PER_S / rate;
    if (now_ns > records->transaction_refill_ns) {
        uint64_t tokens_ns = records->transaction_tokens_ns + (now_ns - records->transaction_refill_ns);
        records->transaction_tokens_ns = RTE_MIN(tokens_ns, (uint64_t)NS_PER_S);
        records->transaction_refill_ns = now_ns;
    }
    if (records->transaction_tokens_ns < cost_ns) {
        records->skipped++;
        DP_COUNT(records->stats.transactions_skipped, 1);
        return false;
    }
    records->transaction_tokens_ns -= cost_ns;
    *ret_stands_for = records->skipped + 1;
    records->skipped = 0;
    return true;
}

/* The next part of two volumes that a record can carry. */
static void take_part(uint64_t left[2], uint32_t ret_part[2])
{
    for (unsigned d = 0; d < 2; d++) {
        ret_part[d] = (uint32_t)RTE_MIN(left[d], DP_RECORD_VOLUME_MAX);
        left[d] -= ret_part[d];
    }
}

/* The volumes since the last record. An interim event has the worker's ledger closed behind it, so it is always told. */
static void send_usages(struct dp_records *records, const struct flow_facts *f, struct dp_event *event)
{
    const struct ft_hot *hot = &event->flow.hot;
    struct ft_cold *cold = &event->flow.cold;
    uint8_t up = ft_flow_up_direction(hot);
    uint64_t left[2] = {hot->bytes[up] - cold->reported_bytes[up], hot->bytes[!up] - cold->reported_bytes[!up]};
    bool is_continued = event->kind == DP_EVENT_FLOW_INTERIM || cold->interval;
    if (!records->config.transaction_usage)
        return;
    if (!is_continued && left[0] + left[1] < records->config.transaction_usage_minimum_bytes) {
        DP_COUNT(records->stats.below_minimum, 1);
        return;
    }
    for (uint32_t count = dp_records_of(left[0], left[1]); count; count--) {
        uint32_t part[2];
        take_part(left, part);
        send_usage(records, f, part[0], part[1]);
        cold->interval++;
    }
}

static void send_transactions(struct dp_records *records, const struct flow_facts *f, struct dp_event *event)
{
    const struct ft_hot *hot = &event->flow.hot;
    uint8_t up = ft_flow_up_direction(hot);
    uint64_t left[2] = {hot->bytes[up], hot->bytes[!up]};
    int64_t stands_for;
    if (event->flow.key.is_v6) {
        DP_COUNT(records->stats.no_ipv6_layout, records->config.transaction_rate_per_s != 0);
        return;
    }
    if (!sample(records, event->now_ns, &stands_for))
        return;
    for (uint32_t count = dp_records_of(left[0], left[1]); count; count--) {
        uint32_t part[2];
        take_part(left, part);
        send_transaction(records, f, part[0], part[1], stands_for);
        event->flow.cold.interval++;
        stands_for = 0;
    }
}

static void send_flow_record(struct dp_records *records, const struct flow_facts *f, uint32_t tag)
{
    const struct ft_flow *flow = &f->event->flow;
    struct rdr_value v[RDR_FLOW_FIELDS] = {0};
    if (flow->key.is_v6) {
        DP_COUNT(records->stats.no_ipv6_layout, 1);
        return;
    }
    set_string(&v[RDR_FLOW_SUBSCRIBER_ID], f->subscriber, strlen(f->subscriber));
    v[RDR_FLOW_SERVICE_ID].integer = f->service;
    v[RDR_FLOW_IP_PROTOCOL].integer = flow->key.ip_proto;
    v[RDR_FLOW_SERVER_IP].integer = ipv4_of(&flow->key, f->server);
    v[RDR_FLOW_SERVER_PORT].integer = ntohs(flow->key.port_be16[f->server]);
    v[RDR_FLOW_CLIENT_IP].integer = ipv4_of(&flow->key, f->client);
    v[RDR_FLOW_CLIENT_PORT].integer = ntohs(flow->key.port_be16[f->client]);
    v[RDR_FLOW_INITIATING_SIDE].integer = ft_flow_up_direction(&flow->hot);
    v[RDR_FLOW_START_TIME].integer = (int64_t)(flow->cold.first_ns / NS_PER_S);
    v[RDR_FLOW_REPORT_TIME].integer = (int64_t)(f->event->now_ns / NS_PER_S);
    v[RDR_FLOW_FLOW_ID].integer = (uint32_t)flow->cold.uid;
    send_record(records, rdr_schema_find(tag), flow, v);
}

static void note_subscriber(struct dp_records *records, const struct ft_flow *flow)
{
    if (!(flow->hot.flags & FT_FLOW_DECIDED) || flow->hot.last_ns < records->interval_start_ns)
        return;
    struct link_service *usage =
        &records->usage[flow->hot.flags >> FT_FLOW_LINK_SHIFT][records->engine->service_of[flow->hot.name]];
    unsigned endpoint = subscriber_endpoint(flow);
    uint32_t id = flow->key.is_v6 ? XXH32(flow->key.addr[endpoint], 16, 0) : ipv4_of(&flow->key, endpoint);
    if (!usage->subscribers)
        usage->subscribers = roaring_bitmap_create();
    if (usage->subscribers)
        roaring_bitmap_add(usage->subscribers, id);
}

void dp_records_event(void *context, const struct dp_event *event, const struct dp_attributes *attributes)
{
    struct dp_records *records = context;
    struct dp_event own = *event; /* the record's number is carried on in it */
    struct flow_facts facts;
    gather(records, &own, attributes, &facts);
    records->earliest_ns = RTE_MIN(records->earliest_ns, own.flow.cold.first_ns);
    note_subscriber(records, &own.flow);
    if (own.kind == DP_EVENT_FLOW_START) {
        if (records->config.flow_events)
            send_flow_record(records, &facts, RDR_TAG_FLOW_START);
        return;
    }
    send_usages(records, &facts, &own);
    if (own.kind != DP_EVENT_FLOW_END)
        return;
    own.flow.cold.interval = event->flow.cold.interval;
    send_transactions(records, &facts, &own);
    own.flow.cold.interval = event->flow.cold.interval;
    if (records->config.flow_events)
        send_flow_record(records, &facts, RDR_TAG_FLOW_END);
}

/* Subscribers of flows that live on: the ended ones were noted with their events. */
static void note_live_subscribers(struct dp_records *records)
{
    struct ft *flows = records->engine->flows;
    struct ft_flow flow;
    if (records->reader < 0)
        return;
    ft_reader_online(flows, records->reader);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint64_t position = 0;
        while (ft_walk(flows, (uint8_t)shard, &position, &flow))
            note_subscriber(records, &flow);
        ft_reader_quiescent(flows, records->reader);
    }
    ft_reader_offline(flows, records->reader);
}

static void send_link_usage(struct dp_records *records, unsigned link, unsigned service, uint64_t begin_ns,
                            uint64_t end_ns, const uint32_t numbers[])
{
    struct rdr_value v[RDR_LUR_FIELDS] = {0};
    v[RDR_LUR_LINK_ID].integer = link;
    v[RDR_LUR_SERVICE_USAGE_COUNTER_ID].integer = service;
    v[RDR_LUR_CONFIGURED_DURATION].integer = (int64_t)(records->config.link_usage_interval_ns / NS_PER_S);
    v[RDR_LUR_DURATION].integer = (int64_t)((end_ns - begin_ns + NS_PER_S / 2) / NS_PER_S);
    v[RDR_LUR_END_TIME].integer = (int64_t)(end_ns / NS_PER_S);
    for (unsigned i = 0; i < RDR_LUR_FIELDS - RDR_LUR_UPSTREAM_VOLUME; i++)
        v[RDR_LUR_UPSTREAM_VOLUME + i].integer = numbers[i];
    send_record(records, rdr_schema_find(RDR_TAG_LINK_USAGE), NULL, v);
}

static uint64_t interval_begin(const struct dp_records *records, uint64_t now_ns)
{
    uint64_t begin_ns = records->interval_start_ns ? records->interval_start_ns : records->earliest_ns;
    return RTE_MIN(begin_ns, now_ns);
}

/* Kilobytes since the last record; what is left of a whole one stays for the next. */
static uint32_t take_kb(struct link_service *usage, unsigned direction, uint64_t bytes)
{
    uint64_t kb = bytes / BYTES_PER_KB - usage->reported_kb[direction];
    kb = RTE_MIN(kb, UINT32_MAX);
    usage->reported_kb[direction] += kb;
    return (uint32_t)kb;
}

static void report_link_service(struct dp_records *records, unsigned link, unsigned service, const struct dp_usage *now,
                                uint32_t total_subscribers, uint64_t now_ns)
{
    struct link_service *usage = &records->usage[link][service];
    uint64_t begin_ns = interval_begin(records, now_ns), interval_ns = records->config.link_usage_interval_ns;
    uint64_t sessions = now->sessions - usage->reported.sessions;
    uint64_t duration_s = now->duration_ns / NS_PER_S - usage->reported.duration_ns / NS_PER_S;
    uint32_t subscribers = usage->subscribers ? (uint32_t)roaring_bitmap_get_cardinality(usage->subscribers) : 0;
    uint32_t numbers[] = {take_kb(usage, 0, now->bytes[0]),
                          take_kb(usage, 1, now->bytes[1]),
                          (uint32_t)sessions,
                          (uint32_t)duration_s,
                          (uint32_t)now->concurrent_sessions,
                          subscribers,
                          total_subscribers};
    static_assert(RTE_DIM(numbers) == RDR_LUR_FIELDS - RDR_LUR_UPSTREAM_VOLUME, "the numbers close the record");
    static const uint32_t zeros[RTE_DIM(numbers)];
    /* Kilobytes may be left from an interval that had more than a record holds. */
    bool used = memcmp(now, &usage->reported, sizeof *now) != 0 || now->concurrent_sessions || numbers[0] || numbers[1];
    if (used && usage->was_zero && !records->first_interval)
        send_link_usage(records, link, service, begin_ns - RTE_MIN(begin_ns, interval_ns), begin_ns, zeros);
    if (used || !usage->was_zero)
        send_link_usage(records, link, service, begin_ns, now_ns, used ? numbers : zeros);
    usage->was_zero = !used;
    usage->reported = *now;
    if (usage->subscribers)
        roaring_bitmap_clear(usage->subscribers);
}

void dp_records_link_usage(struct dp_records *records, uint64_t now_ns)
{
    note_live_subscribers(records);
    for (unsigned link = 0; link < RTE_MAX(records->engine->config.link_count, 1u); link++) {
        struct dp_usage usage[DP_SERVICES_MAX];
        dp_engine_usage(records->engine, link, usage);
        roaring_bitmap_t *all = roaring_bitmap_create();
        for (unsigned service = 0; all && service < DP_SERVICES_MAX; service++)
            if (records->usage[link][service].subscribers)
                roaring_bitmap_or_inplace(all, records->usage[link][service].subscribers);
        uint32_t total = all ? (uint32_t)roaring_bitmap_get_cardinality(all) : 0;
        if (all)
            roaring_bitmap_free(all);
        for (unsigned service = 0; service < DP_SERVICES_MAX; service++)
            report_link_service(records, link, service, &usage[service], total, now_ns);
    }
    records->interval_start_ns = now_ns;
    records->first_interval = false;
}

void dp_records_tick(struct dp_records *records, uint64_t now_ns)
{
    uint64_t interval_ns = records->config.link_usage_interval_ns;
    records->classifier = dp_reload_reader_take(records->engine);
    if (interval_ns && now_ns >= records->interval_start_ns + interval_ns)
        dp_records_link_usage(records, now_ns);
}

#include "dataplane/show.h"

#include <string.h>
#include <time.h>

#include "dataplane/run.h"

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- stats ---- */

/* Packets and bytes of each fate: sums over its reasons, which "show drops" lists. */
static void add_fates(struct json *row, const struct dp_stats *stats)
{
    uint64_t packets[DP_FATE_COUNT] = {0}, bytes[DP_FATE_COUNT] = {0};
    char key[48];
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++) {
        packets[dp_outcome_fate(i)] += stats->outcome_packets[i];
        bytes[dp_outcome_fate(i)] += stats->outcome_bytes[i];
    }
    for (unsigned fate = 0; fate < DP_FATE_COUNT; fate++) {
        snprintf(key, sizeof key, "%s_packets", dp_fate_name(fate));
        json_u64(row, key, packets[fate]);
        snprintf(key, sizeof key, "%s_bytes", dp_fate_name(fate));
        json_u64(row, key, bytes[fate]);
    }
}

static void add_engine(struct json *row, const struct dp_engine *engine)
{
    struct dp_stats stats;
    char key[48];
    dp_engine_stats(engine, &stats);
    json_u64(row, "received_packets", stats.received_packets);
    json_u64(row, "received_bytes", stats.received_bytes);
    add_fates(row, &stats);
#define X(name, text) json_u64(row, #name, stats.name);
    DP_COUNTERS(X)
#undef X
#define X(name, text) json_u64(row, #name, stats.fragments.name);
    DP_FRAGMENT_COUNTERS(X)
#undef X
    for (unsigned method = 1; method < CL_METHOD_COUNT; method++) {
        snprintf(key, sizeof key, "verdicts_%s", cl_method_name(method));
        json_u64(row, key, stats.verdicts[method]);
    }
    for (unsigned close = 0; close < DP_CLOSE_COUNT; close++) {
        snprintf(key, sizeof key, "closed_%s", dp_close_name(close));
        json_u64(row, key, stats.closes[close]);
    }
}

static void add_flow_table(struct json *row, const struct ft *flows)
{
    struct ft_stats stats;
    ft_stats(flows, &stats);
    json_u64(row, "flows", stats.flows);
    json_u64(row, "flows_unanswered", stats.unanswered);
    json_u64(row, "flow_capacity", stats.capacity_flows);
    json_u64(row, "flow_table_bytes", stats.memory_bytes);
#define X(name) json_u64(row, "flow_table_" #name, stats.name);
    FT_COUNTERS(X)
#undef X
}

static void add_records(struct json *row, const struct dp_record_stats *made, const struct rdr_formatter_stats *sent)
{
#define X(name, text) json_u64(row, "records_" #name, made->name);
    DP_RECORD_COUNTERS(X)
#undef X
    json_u64(row, "records_given", sent->given);
    json_u64(row, "records_sent", sent->sent);
    json_u64(row, "records_discarded", sent->discarded);
    json_u64(row, "records_unconfirmed", sent->unconfirmed);
    json_u64(row, "records_queued", sent->queued);
    json_u64(row, "records_sent_bytes", sent->sent_bytes);
}

static void show_stats(const json_t *request, struct dp_reply *reply, void *context)
{
    struct dp_run *run = context;
    struct dp_engine *engine = dp_run_engine(run);
    const struct dp_config *config = dp_run_config(run);
    struct dp_record_stats made;
    struct rdr_formatter_stats sent;
    (void)request;
    dp_run_record_stats(run, &made, &sent);
    struct json *row = dp_reply_row(reply, "stats");
    uint64_t now_ns = wall_ns();
    json_u64(row, "uptime_s", now_ns > engine->started_ns ? (now_ns - engine->started_ns) / 1000000000u : 0);
    json_text(row, "pack", cl_pack_info(engine->classifier)->name);
    json_text(row, "pack_version", cl_pack_info(engine->classifier)->version);
    json_text(row, "pack_sha256", cl_pack_info(engine->classifier)->sha256_hex);
    json_u64(row, "packs_loaded", cl_engine_number(engine->classifier));
    json_u64(row, "workers", engine->config.worker_count);
    add_engine(row, engine);
    add_flow_table(row, engine->flows);
    add_records(row, &made, &sent);
    dp_reply_row_end(reply);
    for (unsigned i = 0; i < config->rdr.destination_count; i++) {
        row = dp_reply_row(reply, "destination");
        json_text(row, "host", config->rdr.destinations[i].host);
        json_u64(row, "port", config->rdr.destinations[i].port);
        json_bool(row, "connected", sent.destination[i].connected);
        json_u64(row, "records_sent", sent.destination[i].sent);
        json_u64(row, "records_unconfirmed", sent.destination[i].unconfirmed);
        json_u64(row, "connects", sent.destination[i].connects);
        json_u64(row, "disconnects", sent.destination[i].disconnects);
        dp_reply_row_end(reply);
    }
}

/* ---- links, drops ---- */

static void show_links(const json_t *request, struct dp_reply *reply, void *context)
{
    struct dp_run *run = context;
    const struct dp_ports *ports = dp_run_ports(run);
    const struct dp_config *config = dp_run_config(run);
    (void)request;
    for (unsigned i = 0; i < ports->count; i++) {
        const struct dp_port *port = &ports->port[i];
        struct dp_link_state state;
        struct dp_port_counters counters;
        dp_port_link_state(port, &state);
        dp_port_counters(port, &counters);
        struct json *row = dp_reply_row(reply, "link");
        json_text(row, "link", config->links[port->link].name);
        json_text(row, "mode", dp_link_mode_name(config->links[port->link].mode));
        json_text(row, "side", dp_side_name(port->side));
        json_text(row, "port", port->name);
        json_text(row, "driver", port->driver_name);
        json_text(row, "spread", dp_spread_name(port->spread));
        if (state.known)
            json_bool(row, "up", state.up);
        else
            json_none(row, "up");
        json_u64(row, "speed_mbps", state.speed_mbps);
        json_u64(row, "received_packets", counters.received_packets);
        json_u64(row, "received_bytes", counters.received_bytes);
        json_u64(row, "sent_packets", counters.sent_packets);
        json_u64(row, "sent_bytes", counters.sent_bytes);
        json_u64(row, "missed_packets", counters.missed_packets);
        json_u64(row, "no_mbuf", counters.no_mbuf);
        json_u64(row, "receive_errors", counters.receive_errors);
        json_u64(row, "send_errors", counters.send_errors);
        dp_reply_row_end(reply);
    }
}

static void show_drops(const json_t *request, struct dp_reply *reply, void *context)
{
    struct dp_stats stats;
    (void)request;
    dp_engine_stats(dp_run_engine(context), &stats);
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++) {
        if (i == DP_OUTCOME_forwarded)
            continue;
        struct json *row = dp_reply_row(reply, "drop");
        json_text(row, "fate", dp_fate_name(dp_outcome_fate(i)));
        json_text(row, "reason", dp_outcome_reason(i));
        json_u64(row, "packets", stats.outcome_packets[i]);
        json_u64(row, "bytes", stats.outcome_bytes[i]);
        json_text(row, "text", dp_outcome_text(i));
        dp_reply_row_end(reply);
    }
}

const struct dp_command dp_show_commands[] = {
    {"show stats", "counters of the engine, the flow table and the records", NULL, show_stats},
    {"show flows", "live flows that fit the filters", dp_show_flow_arguments, dp_show_flows},
    {"show links", "each side of each link: port, link state, counters", NULL, show_links},
    {"show protocols", "live flows by protocol and application", NULL, dp_show_protocols},
    {"load pack", "a new protocol pack takes the place of the one in use", dp_load_arguments, dp_load_pack},
    {"show shards", "each shard of the flow table: its owner, its flows", NULL, dp_show_shards},
    {"set shard", "another worker takes a shard over, while packets flow", dp_set_shard_arguments, dp_set_shard},
    {"show drops", "packets that were dropped or bypassed, by reason", NULL, show_drops},
    {.name = NULL},
};

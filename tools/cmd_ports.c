#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/table.h"
#include "dataplane/ports.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce ports -c FILE [--json]\n\n"
    "Opens each port of the configuration, prints what it can do and what sce run will do about it, and closes it\n"
    "again. No packet is received or sent. docs/nics.md explains the words.\n\n"
    "  -c FILE   configuration of sce run\n"
    "  --json    one JSON object a port\n\n"
    "examples:\n"
    "  sce ports -c etc/lab-veth.yaml\n"
    "  sce ports -c /etc/opensce/sce.yaml --json | jq -r 'select(.spread == \"software\") .device'\n";

static const struct table_column columns[] = {
    {"link", "link", TABLE_TEXT, 0},
    {"side", "side", TABLE_TEXT, 0},
    {"mode", "mode", TABLE_TEXT, 0},
    {"device", "device", TABLE_TEXT, 0},
    {"driver", "driver", TABLE_TEXT, 0},
    {"rx_queues", "receive queues", TABLE_NUMBER, 0},
    {"tx_queues", "send queues", TABLE_NUMBER, 0},
    {"rss", "symmetric RSS", TABLE_SWITCH, 0},
    {"reta_entries", "RETA entries", TABLE_NUMBER, 0},
    {"spread", "spread", TABLE_TEXT, 0},
    {"mtu", "MTU", TABLE_NUMBER, 0},
    {"link_source", "link state from", TABLE_TEXT, 0},
    {"up", "link up", TABLE_SWITCH, 0},
    {"speed_mbps", "speed, Mbit/s", TABLE_NUMBER, 0},
    {"rx_offloads", "receive offloads used", TABLE_TEXT, 0},
    {"rx_offloads_able", "receive offloads able", TABLE_TEXT, 0},
    {"tx_offloads", "send offloads used", TABLE_TEXT, 0},
    {"tx_offloads_able", "send offloads able", TABLE_TEXT, 0},
    {"plan", "sce run will", TABLE_TEXT, 0},
    {"remark", "remark", TABLE_TEXT, 0},
    {.key = NULL},
};

static void list_offloads(uint64_t offloads, const char *(*name)(uint64_t), char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (unsigned bit = 0; bit < 64 && used < size; bit++)
        if (offloads & 1ull << bit)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", name(1ull << bit));
}

/* What sce run will do about a port, in a sentence. */
static void describe_plan(const struct dp_port *port, unsigned workers, char *text, size_t size)
{
    int used = 0;
    const char *plural = port->rx_queues == 1 ? "" : "s";
    switch (port->spread) {
    case DP_SPREAD_SINGLE:
        used = snprintf(text, size, "poll %u queue%s with its one worker", port->rx_queues, plural);
        break;
    case DP_SPREAD_RSS:
        used =
            snprintf(text, size, "give each of %u workers a queue, filled by symmetric RSS: queue = owner of the shard",
                     workers);
        break;
    case DP_SPREAD_SOFTWARE:
        used =
            snprintf(text, size,
                     "poll %u queue%s and hand each packet to the one of %u workers that owns its shard, in software",
                     port->rx_queues, plural, workers);
        break;
    }
    if (!port->sends)
        snprintf(text + used, size - (size_t)used, "; send nothing (receive-only)");
    else if (port->tx_queues < workers)
        snprintf(text + used, size - (size_t)used, "; send through %u queue%s for all workers", port->tx_queues,
                 port->tx_queues == 1 ? "" : "s");
}

static void add_row(struct table *table, const struct dp_config *config, const struct dp_port *port)
{
    char text[1024];
    struct dp_link_state state;
    const struct dp_link_config *link = &config->links[port->link];
    dp_port_link_state(port, &state);
    table_text(table, link->name);
    table_text(table, dp_side_name(port->side));
    table_text(table, dp_link_mode_name(link->mode));
    table_text(table, port->device);
    table_text(table, port->driver_name);
    table_number(table, port->rx_queues);
    table_number(table, port->tx_queues);
    table_switch(table, port->rss);
    table_number(table, port->reta_entries);
    table_text(table, dp_spread_name(port->spread));
    table_number(table, port->mtu);
    table_text(table, dp_link_source_name(port->driver->link_source));
    if (state.known)
        table_switch(table, state.up);
    else
        table_none(table);
    if (state.speed_mbps)
        table_number(table, state.speed_mbps);
    else
        table_none(table);
    list_offloads(port->rx_offloads, rte_eth_dev_rx_offload_name, text, sizeof text);
    table_text(table, text);
    list_offloads(port->rx_offloads_able, rte_eth_dev_rx_offload_name, text, sizeof text);
    table_text(table, text);
    list_offloads(port->tx_offloads, rte_eth_dev_tx_offload_name, text, sizeof text);
    table_text(table, text);
    list_offloads(port->tx_offloads_able, rte_eth_dev_tx_offload_name, text, sizeof text);
    table_text(table, text);
    describe_plan(port, config->workers.count, text, sizeof text);
    table_text(table, text);
    table_text(table, port->driver->remark);
}

static int show_ports(const struct dp_config *config, bool as_json)
{
    static struct dp_ports ports;
    char error[DP_ERROR_BYTES];
    struct dp_eal_options options;
    uint32_t cpus[DP_WORKERS_MAX];
    dp_eal_options_config(&options, config, cpus);
    /* A look needs neither hugepages nor their warning, nor a socket of telemetry beside that of a running engine */
    options.hugepages = DP_HUGEPAGES_OFF;
    options.megabytes = 0;
    options.telemetry = false;
    if (dp_eal_start(&options, error, sizeof error) < 0) {
        fprintf(stderr, "sce ports: %s\n", error);
        return CLI_RUNTIME;
    }
    int result = dp_ports_find(config, config->workers.count, &ports, error, sizeof error);
    if (result < 0) {
        fprintf(stderr, "sce ports: %s\n", error);
    } else {
        struct table table;
        table_init(&table, columns);
        for (unsigned i = 0; i < ports.count; i++)
            add_row(&table, config, &ports.port[i]);
        if (as_json)
            table_print_json(&table, "port", stdout);
        else
            table_print_upright(&table, stdout);
        table_free(&table);
    }
    dp_ports_close(&ports);
    dp_eal_stop();
    return result < 0 ? CLI_RUNTIME : CLI_OK;
}

int cmd_ports(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    static struct dp_config config;
    const char *path = NULL;
    bool as_json = false;
    int c;
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 'j':
            as_json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("ports", "see the options");
        }
    if (optind < argc)
        return cli_usage_error("ports", "unexpected argument \"%s\"", argv[optind]);
    if (!path)
        return cli_usage_error("ports", "-c FILE is missing");
    char error[DP_ERROR_BYTES];
    if (dp_config_load(path, &config, error, sizeof error) < 0) {
        fprintf(stderr, "sce ports: %s\n", error);
        return CLI_CONFIG;
    }
    return show_ports(&config, as_json);
}

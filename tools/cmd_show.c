#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "base/yaml.h"
#include "dataplane/control.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce show stats|flows|links|protocols|drops|shards [OPTIONS]\n\n"
    "Asks a running sce run over its control socket.\n\n"
    "  stats       counters of the engine, the flow table, the records; collectors\n"
    "  flows       live flows (100 unless --limit says otherwise)\n"
    "  links       each side of each link: port, link state, counters\n"
    "  protocols   live flows by protocol and application\n"
    "  shards      each shard of the flow table: its owner (sce set changes it), its flows\n"
    "  drops       packets dropped or bypassed, by reason (reasons that never happened: with --all)\n\n"
    "  --json             the engine's answer, one JSON object a line\n"
    "  --socket PATH      control socket (default: /run/opensce/sce.sock for root, else in $XDG_RUNTIME_DIR)\n"
    "  --all              also rows of nothing but zeros\n\n"
    "filters of flows:\n"
    "  --protocol NAME    --application NAME    names of sce protocols\n"
    "  --client ADDRESS   --server ADDRESS      or a prefix: 10.0.0.0/8, 2001:db8::/32\n"
    "  --port N           of client or server   --ip-proto N      6 is TCP, 17 is UDP\n"
    "  --state NAME       established, syn_sent, closed ...; answered, unanswered\n"
    "  --limit N          at most N flows       --sort KEY        bytes, packets, age, idle\n\n"
    "examples:\n"
    "  sce show flows --protocol TLS --sort bytes --limit 20\n"
    "  sce show drops\n"
    "  sce show stats --json | jq .forwarded_packets\n\n"
    "exit codes: 0 ok, 1 usage, 3 no engine answers, or it refused the request\n";

/* Columns for people; --json prints all that the engine answers. */
static const struct table_column flow_columns[] = {
    {"link", "LINK", TABLE_TEXT, 12},
    {"ip_proto", "IP", TABLE_NUMBER, 0},
    {"client_ip", "CLIENT", TABLE_TEXT, 0},
    {"client_port", "PORT", TABLE_NUMBER, 0},
    {"server_ip", "SERVER", TABLE_TEXT, 0},
    {"server_port", "PORT", TABLE_NUMBER, 0},
    {"protocol", "PROTOCOL", TABLE_TEXT, 24},
    {"application", "APPLICATION", TABLE_TEXT, 24},
    {"method", "METHOD", TABLE_TEXT, 0},
    {"state", "STATE", TABLE_TEXT, 0},
    {"packets_up", "PKTS UP", TABLE_NUMBER, 0},
    {"packets_down", "DOWN", TABLE_NUMBER, 0},
    {"bytes_up", "BYTES UP", TABLE_BYTES, 0},
    {"bytes_down", "DOWN", TABLE_BYTES, 0},
    {"age_s", "AGE S", TABLE_NUMBER, 0},
    {"idle_s", "IDLE S", TABLE_NUMBER, 0},
    {.key = NULL},
};

static const struct table_column link_columns[] = {
    {"link", "LINK", TABLE_TEXT, 0},
    {"mode", "MODE", TABLE_TEXT, 0},
    {"side", "SIDE", TABLE_TEXT, 0},
    {"port", "PORT", TABLE_TEXT, 0},
    {"spread", "SPREAD", TABLE_TEXT, 0},
    {"up", "UP", TABLE_SWITCH, 0},
    {"speed_mbps", "MBIT/S", TABLE_NUMBER, 0},
    {"received_packets", "RX PKTS", TABLE_NUMBER, 0},
    {"received_bytes", "RX BYTES", TABLE_BYTES, 0},
    {"sent_packets", "TX PKTS", TABLE_NUMBER, 0},
    {"sent_bytes", "TX BYTES", TABLE_BYTES, 0},
    {"missed_packets", "MISSED", TABLE_NUMBER, 0},
    {"no_mbuf", "NO MBUF", TABLE_NUMBER, 0},
    {"receive_errors", "RX ERRORS", TABLE_NUMBER, 0},
    {"send_errors", "TX ERRORS", TABLE_NUMBER, 0},
    {.key = NULL},
};

static const struct table_column protocol_columns[] = {
    {"protocol", "PROTOCOL", TABLE_TEXT, 32},  {"kind", "KIND", TABLE_TEXT, 0},
    {"family", "FAMILY", TABLE_TEXT, 0},       {"service", "SERVICE", TABLE_TEXT, 0},
    {"flows", "FLOWS", TABLE_NUMBER, 0},       {"packets_up", "PKTS UP", TABLE_NUMBER, 0},
    {"packets_down", "DOWN", TABLE_NUMBER, 0}, {"bytes_up", "BYTES UP", TABLE_BYTES, 0},
    {"bytes_down", "DOWN", TABLE_BYTES, 0},    {.key = NULL},
};

static const struct table_column drop_columns[] = {
    {"fate", "FATE", TABLE_TEXT, 0},    {"reason", "REASON", TABLE_TEXT, 0}, {"packets", "PACKETS", TABLE_NUMBER, 0},
    {"bytes", "BYTES", TABLE_BYTES, 0}, {"text", "", TABLE_TEXT, 0},         {.key = NULL},
};

static const struct table_column shard_columns[] = {
    {"shard", "SHARD", TABLE_NUMBER, 0},
    {"owner", "OWNER", TABLE_NUMBER, 0},
    {"state", "STATE", TABLE_TEXT, 0},
    {"flows", "FLOWS", TABLE_NUMBER, 0},
    {.key = NULL},
};

static const struct table_column destination_columns[] = {
    {"host", "COLLECTOR", TABLE_TEXT, 40},
    {"port", "PORT", TABLE_NUMBER, 0},
    {"connected", "CONNECTED", TABLE_SWITCH, 0},
    {"records_sent", "SENT", TABLE_NUMBER, 0},
    {"records_unconfirmed", "UNCONFIRMED", TABLE_NUMBER, 0},
    {"connects", "CONNECTS", TABLE_NUMBER, 0},
    {"disconnects", "DISCONNECTS", TABLE_NUMBER, 0},
    {.key = NULL},
};

/* What can be shown; `event` names the rows of its table. */
static const struct view {
    const char *what, *event;
    const struct table_column *columns;
    const char *zero_key; /* rows with 0 here are left out unless --all; NULL = none are */
} views[] = {
    {"stats", "destination", destination_columns, NULL},
    {"flows", "flow", flow_columns, NULL},
    {"links", "link", link_columns, NULL},
    {"protocols", "protocol", protocol_columns, NULL},
    {"drops", "drop", drop_columns, "packets"},
    {"shards", "shard", shard_columns, "flows"},
    {.what = NULL},
};

struct show {
    const struct view *view;
    struct table table;
    bool as_json, all;
    uint64_t matched, flows, shown; /* of "flows_summary" */
    bool has_summary;
};

/* ---- rows ---- */

static void add_cell(struct table *table, const struct table_column *column, const json_t *value)
{
    if (column->kind == TABLE_TEXT && json_is_string(value))
        table_text(table, json_string_value(value));
    else if (column->kind == TABLE_SWITCH && json_is_boolean(value))
        table_switch(table, json_is_true(value));
    else if ((column->kind == TABLE_NUMBER || column->kind == TABLE_BYTES) && json_is_integer(value))
        table_number(table, (uint64_t)json_integer_value(value));
    else
        table_none(table);
}

/* The row of stats: every member on a line of its own, numbers that are 0 only with --all. */
static void print_stats(const struct show *show, const json_t *row)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)row, key, value)
    {
        if (json_is_integer(value) && (json_integer_value(value) || show->all))
            printf("%-32s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
        else if (json_is_string(value) && strcmp(key, "event") != 0)
            printf("%-32s %s\n", key, json_string_value(value));
    }
}

static void print_json(const json_t *row)
{
    char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(16));
    if (!text)
        return;
    puts(text);
    free(text);
}

static bool on_row(void *context, const json_t *row)
{
    struct show *show = context;
    const char *event = json_string_value(json_object_get(row, "event"));
    if (show->as_json) {
        print_json(row);
        return true;
    }
    if (!strcmp(event, "stats"))
        print_stats(show, row);
    if (!strcmp(event, "flows_summary")) {
        show->has_summary = true;
        show->shown = (uint64_t)json_integer_value(json_object_get(row, "shown"));
        show->matched = (uint64_t)json_integer_value(json_object_get(row, "matched"));
        show->flows = (uint64_t)json_integer_value(json_object_get(row, "flows"));
    }
    if (strcmp(event, show->view->event) != 0)
        return true;
    if (show->view->zero_key && !show->all && !json_integer_value(json_object_get(row, show->view->zero_key)))
        return true;
    for (const struct table_column *column = show->view->columns; column->key; column++)
        add_cell(&show->table, column, json_object_get(row, column->key));
    return true;
}

static int ask(struct show *show, const char *socket_path, json_t *request)
{
    char error[512];
    table_init(&show->table, show->view->columns);
    int result = dp_control_ask(socket_path, request, on_row, show, error, sizeof error);
    bool is_empty = !table_row_count(&show->table);
    if (result < 0)
        fprintf(stderr, "sce show: %s\n", error);
    else if (!show->as_json && (!is_empty || strcmp(show->view->what, "stats") != 0)) {
        if (!strcmp(show->view->what, "stats"))
            puts("");
        table_print(&show->table, stdout);
    }
    if (result == 0 && show->has_summary)
        printf("%" PRIu64 " shown of %" PRIu64 " that fit, %" PRIu64 " flows in all\n", show->shown, show->matched,
               show->flows);
    table_free(&show->table);
    return result < 0 ? CLI_RUNTIME : CLI_OK;
}

/* ---- arguments ---- */

enum { OPTION_JSON = 256, OPTION_SOCKET, OPTION_ALL, OPTION_TEXT, OPTION_NUMBER };

static const struct option options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"all", no_argument, NULL, OPTION_ALL},
    {"protocol", required_argument, NULL, OPTION_TEXT},
    {"application", required_argument, NULL, OPTION_TEXT},
    {"client", required_argument, NULL, OPTION_TEXT},
    {"server", required_argument, NULL, OPTION_TEXT},
    {"state", required_argument, NULL, OPTION_TEXT},
    {"sort", required_argument, NULL, OPTION_TEXT},
    {"port", required_argument, NULL, OPTION_NUMBER},
    {"ip-proto", required_argument, NULL, OPTION_NUMBER},
    {"limit", required_argument, NULL, OPTION_NUMBER},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* "ip-proto" is "ip_proto" in requests, as in every JSON key. */
static bool add_argument(json_t *request, const char *option, const char *text, bool is_number)
{
    char name[32], *end;
    snprintf(name, sizeof name, "%s", option);
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : *p;
    if (!is_number)
        return json_object_set_new(request, name, json_string(text)) == 0;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number > INT64_MAX)
        return false;
    return json_object_set_new(request, name, json_integer((json_int_t)number)) == 0;
}

/* CLI_OK, or an exit code after the error was said; -1 when help was printed. */
static int read_arguments(int argc, char **argv, struct show *show, json_t *request, const char **ret_socket)
{
    int c, index = 0;
    while ((c = getopt_long(argc, argv, "h", options, &index)) != -1)
        switch (c) {
        case OPTION_JSON:
            show->as_json = true;
            break;
        case OPTION_SOCKET:
            *ret_socket = optarg;
            break;
        case OPTION_ALL:
            show->all = true;
            break;
        case OPTION_TEXT:
        case OPTION_NUMBER:
            if (!add_argument(request, options[index].name, optarg, c == OPTION_NUMBER))
                return cli_usage_error("show", "--%s: \"%s\", expected %s", options[index].name, optarg,
                                       c == OPTION_NUMBER ? "a number" : "a text in UTF-8");
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return cli_usage_error("show", "see the options");
        }
    if (optind == argc)
        return cli_usage_error("show", "what? stats, flows, links, protocols, drops or shards");
    if (optind + 1 < argc)
        return cli_usage_error("show", "unexpected argument \"%s\"", argv[optind + 1]);
    for (show->view = views; show->view->what; show->view++)
        if (!strcmp(show->view->what, argv[optind]))
            return CLI_OK;
    const char *near = yml_nearest(argv[optind], &views->what, sizeof *views);
    return cli_usage_error("show", "\"%s\" cannot be shown%s%s%s", argv[optind], near ? ", did you mean \"" : "",
                           near ? near : "", near ? "\"?" : "");
}

int cmd_show(int argc, char **argv)
{
    struct show show = {0};
    const char *socket_path = "";
    json_t *request = json_object();
    if (!request)
        abort();
    int result = read_arguments(argc, argv, &show, request, &socket_path);
    if (result == CLI_OK) {
        json_object_set_new(request, "command", json_string("show"));
        json_object_set_new(request, "what", json_string(show.view->what));
        result = ask(&show, socket_path, request);
    }
    json_decref(request);
    return result < 0 ? CLI_OK : result;
}

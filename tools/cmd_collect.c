#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "rdr/address.h"
#include "rdr/collector.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce collect [OPTIONS]\n"
    "\n"
    "Receives Raw Data Records (RDRv1 over TCP), checks them strictly and stores them: one SQLite table per record\n"
    "(RPT_TR, RPT_TUR, RPT_HTTP, RPT_FLOW_START, RPT_FLOW_END, RPT_LUR), a column a field. TERM or INT stores what "
    "has\n"
    "arrived, prints the totals and ends with 0.\n"
    "\n"
    "  --listen HOST:PORT  where to listen (127.0.0.1:33000; [::1]:33000; port 0 = any free one, printed)\n"
    "  --db FILE           the database, made when it is not there (rdr.sqlite)\n"
    "  --csv DIR           CSV files too: DIR/TAG/N.csv, .tmp while they are written\n"
    "  --names FILE        names of services and protocols for reports, kept in the table INI_VALUES;\n"
    "                      FILE is what `sce protocols --json` prints\n"
    "  --once              end when the last connection has closed\n"
    "  --idle-exit S       end after S seconds without a record\n"
    "  --json              totals as one line of JSON on stdout\n"
    "\n"
    "examples:\n"
    "  sce collect                                        on 127.0.0.1:33000 into ./rdr.sqlite, until ^C\n"
    "  sce collect --listen 0.0.0.0:33000 --db /var/lib/opensce/rdr.sqlite\n"
    "  sce collect --once & sce replay --rdr 127.0.0.1:33000 capture.pcap; wait; sce report\n"
    "  sqlite3 rdr.sqlite 'SELECT ACCESS_STRING, count(*) FROM RPT_HTTP GROUP BY 1'\n";

enum {
    OPTION_LISTEN = 256,
    OPTION_DB,
    OPTION_CSV,
    OPTION_NAMES,
    OPTION_ONCE,
    OPTION_IDLE_EXIT,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option options[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"db", required_argument, NULL, OPTION_DB},
    {"csv", required_argument, NULL, OPTION_CSV},
    {"names", required_argument, NULL, OPTION_NAMES},
    {"once", no_argument, NULL, OPTION_ONCE},
    {"idle-exit", required_argument, NULL, OPTION_IDLE_EXIT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void print_json(const struct rdr_collector_totals *totals)
{
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    struct json j;
    json_init(&j);
    json_object_begin(&j, NULL);
    json_text(&j, "event", "collect");
    json_u64(&j, "connections", totals->connections);
    json_u64(&j, "bytes", totals->bytes);
    json_u64(&j, "records", totals->records);
    json_u64(&j, "stored", totals->store.stored);
    json_u64(&j, "doubles", totals->store.doubles);
    json_u64(&j, "truncated", totals->truncated);
    json_u64(&j, "refused", totals->refused_sum);
    json_object_begin(&j, "refused_by_reason");
    for (unsigned i = 1; i < RDR_REFUSAL_COUNT; i++)
        if (totals->refused[i])
            json_u64(&j, rdr_refusal_name((enum rdr_refusal)i), totals->refused[i]);
    json_object_end(&j);
    json_object_begin(&j, "tables");
    for (unsigned i = 0; i < count; i++)
        if (totals->store.stored_by_schema[i])
            json_u64(&j, schemas[i].table, totals->store.stored_by_schema[i]);
    json_object_end(&j);
    json_object_end(&j);
    json_line(&j, stdout);
    json_free(&j);
}

static void print_table(const struct rdr_collector_totals *totals)
{
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    printf("%" PRIu64 " connections, %" PRIu64 " records (%" PRIu64 " bytes): %" PRIu64 " stored, %" PRIu64
           " doubles\n",
           totals->connections, totals->records, totals->bytes, totals->store.stored, totals->store.doubles);
    for (unsigned i = 0; i < count; i++)
        if (totals->store.stored_by_schema[i])
            printf("  %-16s %12" PRIu64 "\n", schemas[i].table, totals->store.stored_by_schema[i]);
    for (unsigned i = 1; i < RDR_REFUSAL_COUNT; i++)
        if (totals->refused[i])
            printf("  %" PRIu64 " connections closed: %s\n", totals->refused[i], rdr_refusal_text((enum rdr_refusal)i));
    if (totals->truncated)
        printf("  %" PRIu64 " connections ended inside a record\n", totals->truncated);
}

static int run(const struct rdr_collector_config *config, bool is_json)
{
    char error[1000];
    struct rdr_collector *collector = rdr_collector_create(config, error, sizeof error);
    if (!collector) {
        fprintf(stderr, "sce collect: %s\n", error);
        return CLI_RUNTIME;
    }
    log_line(LOG_INFO, "collect", "listening on %s:%u, storing to %s", config->host, rdr_collector_port(collector),
             config->db_path);
    int result = rdr_collector_run(collector, error, sizeof error);
    struct rdr_collector_totals totals;
    rdr_collector_totals(collector, &totals);
    rdr_collector_destroy(collector);
    if (is_json)
        print_json(&totals);
    else
        print_table(&totals);
    if (result)
        fprintf(stderr, "sce collect: %s\n", error);
    return result ? CLI_RUNTIME : CLI_OK;
}

int cmd_collect(int argc, char **argv)
{
    char host[256] = "127.0.0.1", *end;
    struct rdr_collector_config config = {.host = host, .port = 33000, .db_path = "rdr.sqlite"};
    bool is_json = false;
    unsigned long seconds;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case OPTION_LISTEN:
            if (rdr_address_parse(optarg, host, sizeof host, &config.port))
                return cli_usage_error("collect", "--listen %s: expected HOST:PORT or [IPV6]:PORT", optarg);
            break;
        case OPTION_DB:
            config.db_path = optarg;
            break;
        case OPTION_CSV:
            config.csv_folder = optarg;
            break;
        case OPTION_NAMES:
            config.names_path = optarg;
            break;
        case OPTION_ONCE:
            config.is_once = true;
            break;
        case OPTION_IDLE_EXIT:
            seconds = strtoul(optarg, &end, 10);
            if (*end || !seconds || seconds > 1000000)
                return cli_usage_error("collect", "--idle-exit %s: expected seconds, 1 to 1000000", optarg);
            config.idle_exit_s = (unsigned)seconds;
            break;
        case OPTION_JSON:
            is_json = true;
            break;
        case OPTION_HELP:
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("collect", "wrong arguments");
        }
    }
    if (optind < argc)
        return cli_usage_error("collect", "unexpected argument \"%s\"", argv[optind]);
    return run(&config, is_json);
}

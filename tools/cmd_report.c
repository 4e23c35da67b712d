#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/table.h"
#include "rdr/report.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce report [--db FILE] [--top N] [--from tur|tr] [--names FILE] [--json]\n"
    "\n"
    "Prints the top services, protocols, subscribers and hosts by volume, from the records that `sce collect` stored.\n"
    "\n"
    "  --db FILE       the collector's database (rdr.sqlite); the collector may be running\n"
    "  --top N         rows a section (10)\n"
    "  --from tur      read RPT_TUR and RPT_HTTP: each flow once, HTTP flows in the one, others in the other "
    "(default)\n"
    "  --from tr       read RPT_TR: the same flows again or a sample of them, so never added to the former\n"
    "  --names FILE    names of services and protocols: what `sce protocols --json` prints; without it those that\n"
    "                  `sce collect --names` kept in the database, else numbers\n"
    "  --json          one JSON object a line: {\"event\":\"report\"...}, then {\"event\":\"top\"...} for each row\n"
    "\n"
    "up = sent by the subscriber's side. A host is the host name that the flow showed, else the server's address.\n"
    "\n"
    "examples:\n"
    "  sce protocols --json > names.json; sce report --names names.json\n"
    "  sce report --db /var/lib/opensce/rdr.sqlite --top 3 --json\n";

enum { OPTION_DB = 256, OPTION_TOP, OPTION_FROM, OPTION_NAMES, OPTION_JSON, OPTION_HELP };

static const struct option options[] = {
    {"db", required_argument, NULL, OPTION_DB},
    {"top", required_argument, NULL, OPTION_TOP},
    {"from", required_argument, NULL, OPTION_FROM},
    {"names", required_argument, NULL, OPTION_NAMES},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const struct table_column columns[] = {
    {"by", "by", TABLE_TEXT, 0},
    {"rank", "#", TABLE_NUMBER, 0},
    {"name", "name", TABLE_TEXT, 44},
    {"id", "id", TABLE_NUMBER, 0},
    {"bytes_up", "up", TABLE_BYTES, 0},
    {"bytes_down", "down", TABLE_BYTES, 0},
    {"bytes", "bytes", TABLE_BYTES, 0},
    {"share_percent", "%", TABLE_NUMBER, 0},
    {"records", "records", TABLE_NUMBER, 0},
    {NULL, NULL, TABLE_TEXT, 0},
};

/* One table a section, printed when the next begins. */
struct printer {
    bool is_json;
    struct table table;
};

static void print_section(struct printer *printer)
{
    if (printer->is_json) {
        table_print_json(&printer->table, "top", stdout);
    } else if (table_row_count(&printer->table)) {
        putchar('\n');
        table_print(&printer->table, stdout);
    }
    table_free(&printer->table);
    table_init(&printer->table, columns);
}

static void print_row(const struct rdr_report_row *row, void *context)
{
    struct printer *printer = context;
    if (row->rank == 1)
        print_section(printer);
    char *name = strndup(row->name ? row->name : "", row->name_bytes);
    if (!name)
        abort();
    table_text(&printer->table, row->by);
    table_number(&printer->table, row->rank);
    table_text(&printer->table, name);
    if (row->has_id && row->id >= 0)
        table_number(&printer->table, (uint64_t)row->id);
    else
        table_none(&printer->table);
    table_number(&printer->table, row->bytes_up);
    table_number(&printer->table, row->bytes_down);
    table_number(&printer->table, row->bytes_up + row->bytes_down);
    table_number(&printer->table, (uint64_t)(100 * row->share + 0.5));
    table_number(&printer->table, row->records);
    free(name);
}

static void time_text(int64_t time_s, char text[32])
{
    time_t t = (time_t)time_s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(text, 32, "%" PRId64, time_s);
}

static void print_sum_json(const struct rdr_report_config *config, const struct rdr_report_sum *sum)
{
    struct json j;
    json_init(&j);
    json_object_begin(&j, NULL);
    json_text(&j, "event", "report");
    json_text(&j, "db", config->db_path);
    json_text(&j, "from", config->source == RDR_REPORT_TR ? "tr" : "tur");
    json_u64(&j, "records", sum->records);
    json_u64(&j, "other_records", sum->other_records);
    json_u64(&j, "bytes_up", sum->bytes_up);
    json_u64(&j, "bytes_down", sum->bytes_down);
    json_i64(&j, "first_report_time", sum->first_report_time);
    json_i64(&j, "last_report_time", sum->last_report_time);
    json_object_end(&j);
    json_line(&j, stdout);
    json_free(&j);
}

static void print_sum(const struct rdr_report_config *config, const struct rdr_report_sum *sum)
{
    const char *tables = config->source == RDR_REPORT_TR ? "RPT_TR" : "RPT_TUR and RPT_HTTP";
    if (!sum->records) {
        printf("%s: no records in %s", config->db_path, tables);
        if (sum->other_records)
            printf("; %" PRIu64 " in the other tables: --from %s reads them", sum->other_records,
                   config->source == RDR_REPORT_TR ? "tur" : "tr");
        printf("\n");
        return;
    }
    char first[32], last[32], up[32], down[32];
    time_text(sum->first_report_time, first);
    time_text(sum->last_report_time, last);
    table_format_bytes(sum->bytes_up, up, sizeof up);
    table_format_bytes(sum->bytes_down, down, sizeof down);
    printf("%s: %" PRIu64 " records of %s, reported %s to %s UTC: %s up, %s down\n", config->db_path, sum->records,
           tables, first, last, up, down);
}

static int run(const struct rdr_report_config *config, bool is_json)
{
    char error[900];
    struct rdr_report *report = rdr_report_open(config, error, sizeof error);
    struct rdr_report_sum sum;
    struct printer printer = {.is_json = is_json};
    table_init(&printer.table, columns);
    int result = report ? rdr_report_sum(report, &sum, error, sizeof error) : -1;
    if (!result) {
        if (is_json)
            print_sum_json(config, &sum);
        else
            print_sum(config, &sum);
        result = rdr_report_rows(report, print_row, &printer, error, sizeof error);
        print_section(&printer);
    }
    if (result)
        fprintf(stderr, "sce report: %s\n", error);
    table_free(&printer.table);
    rdr_report_close(report);
    return result ? CLI_RUNTIME : CLI_OK;
}

int cmd_report(int argc, char **argv)
{
    struct rdr_report_config config = {.db_path = "rdr.sqlite", .top = 10};
    bool is_json = false;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        char *end;
        unsigned long top;
        switch (option) {
        case OPTION_DB:
            config.db_path = optarg;
            break;
        case OPTION_TOP:
            top = strtoul(optarg, &end, 10);
            if (*end || !top || top > 1000000)
                return cli_usage_error("report", "--top %s: expected a number from 1 to 1000000", optarg);
            config.top = (unsigned)top;
            break;
        case OPTION_FROM:
            if (strcmp(optarg, "tur") && strcmp(optarg, "tr"))
                return cli_usage_error("report", "--from %s: expected tur or tr", optarg);
            config.source = !strcmp(optarg, "tr") ? RDR_REPORT_TR : RDR_REPORT_TUR;
            break;
        case OPTION_NAMES:
            config.names_path = optarg;
            break;
        case OPTION_JSON:
            is_json = true;
            break;
        case OPTION_HELP:
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("report", "wrong arguments");
        }
    }
    if (optind < argc)
        return cli_usage_error("report", "unexpected argument \"%s\"", argv[optind]);
    return run(&config, is_json);
}

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce bench [--quick | --full] [--only PART] [--flows LIST] [--rounds N] [--captures DIR] [--json]\n\n"
    "Measures the flow table and the whole pipeline, packets in memory, against their peers in the same process: each\n"
    "row in turns with its peer. Ratios are what counts; run it on an idle machine.\n\n"
    "  --quick        the rows of the goals, less than 50 seconds\n"
    "  --full         also 64 million flows; needs 16 GiB\n"
    "  --only PART    rows whose name contains it: table.lookup, pipeline.64B.1M, rte_hash ...\n"
    "  --flows LIST   populations instead of the usual ones: 1K,1M,16M\n"
    "  --rounds N     1 to 15; 5 with --quick, else 7\n"
    "  --captures DIR what the dpi rows classify, instead of the project's own captures\n"
    "  --json         one JSON object a line: "
    "{\"event\":\"row\",\"name\":..,\"ours\":..,\"peer\":..,\"unit\":..,\"ratio\":..}\n"
    "  --svg FILE     also draws cycles against flows\n\n"
    "examples:\n"
    "  sce bench --quick\n"
    "  sce bench --only pipeline.64B --flows 1M,16M\n"
    "  sce bench --json | jq -c 'select(.goal_met == false) | [.name, .ratio, .goal_ratio]'\n";

/* "1K", "100K", "16M" or plain; 0 when it is none of these. */
static uint64_t parse_flows(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    uint64_t unit = *end == 'K' ? 1000 : *end == 'M' ? 1000000 : 1;
    if (unit > 1)
        end++;
    if (errno || end == text || *end || value > 128000000 / unit)
        return 0;
    return value * unit;
}

static bool parse_list(struct bench_options *options, char *list)
{
    char *rest = list;
    for (char *item; (item = strsep(&rest, ","));) {
        uint64_t flows = parse_flows(item);
        if (flows < 100 || options->population_count == BENCH_POPULATIONS_MAX)
            return false;
        options->populations[options->population_count++] = flows;
    }
    return true;
}

int cmd_bench(int argc, char **argv)
{
    enum { QUICK = 256, FULL, ONLY, FLOWS, ROUNDS, JSON, SVG, CAPTURES };
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},          {"quick", no_argument, NULL, QUICK},
        {"full", no_argument, NULL, FULL},         {"only", required_argument, NULL, ONLY},
        {"flows", required_argument, NULL, FLOWS}, {"rounds", required_argument, NULL, ROUNDS},
        {"json", no_argument, NULL, JSON},         {"captures", required_argument, NULL, CAPTURES},
        {"svg", required_argument, NULL, SVG},     {NULL, 0, NULL, 0},
    };
    struct bench_options options = {0};
    for (int c; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        switch (c) {
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        case QUICK:
            options.quick = true;
            break;
        case FULL:
            options.full = true;
            break;
        case ONLY:
            options.only = optarg;
            break;
        case FLOWS:
            if (!parse_list(&options, optarg))
                return cli_usage_error("bench", "--flows takes up to %u numbers from 100 to 128M, as in 1K,1M,16M",
                                       BENCH_POPULATIONS_MAX);
            break;
        case ROUNDS:
            options.rounds = (unsigned)strtoul(optarg, NULL, 10);
            if (options.rounds < 1 || options.rounds > BENCH_ROUNDS_MAX)
                return cli_usage_error("bench", "--rounds takes a number from 1 to %u", BENCH_ROUNDS_MAX);
            break;
        case CAPTURES:
            options.captures = optarg;
            break;
        case SVG:
            options.svg = optarg;
            break;
        case JSON:
            options.json = true;
            break;
        default:
            return cli_usage_error("bench", "no such argument");
        }
    }
    if (optind != argc)
        return cli_usage_error("bench", "unexpected \"%s\"", argv[optind]);
    if (options.quick && options.full)
        return cli_usage_error("bench", "--quick and --full exclude each other");
    if (!bench_run(&options, stdout))
        return cli_usage_error("bench", "no row's name contains \"%s\"", options.only);
    return CLI_OK;
}

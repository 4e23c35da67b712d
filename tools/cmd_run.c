#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "dataplane/control.h"
#include "dataplane/run.h"
#include "dataplane/show.h"
#include "tools/cli.h"

#define DRAIN_MS        10000u
#define CONTROL_WAIT_MS 200

static const char help_text[] =
    "usage: sce run -c FILE [OPTIONS]\n"
    "\n"
    "Bridges the links of a configuration, classifies every flow, sends Raw Data Records. Ends at TERM or INT: "
    "packets\n"
    "that were received are sent on, flows are ended, records are drained.\n"
    "\n"
    "  -c, --config FILE    the configuration; docs/configuration.md has every key\n"
    "  -T, --check-config   read it and its pack, say what is wrong with file:line:column, start nothing\n"
    "      --dump-config    print every key with its value, start nothing\n"
    "  -q, --quiet          warnings and errors only\n"
    "\n"
    "examples:\n"
    "  sce run -c etc/lab-veth.yaml\n"
    "  sce run -T -c /etc/opensce/sce.yaml\n"
    "  sce show flows --protocol TLS        (asks the running engine)\n"
    "\n"
    "Needs root, or CAP_NET_ADMIN and CAP_NET_RAW; hugepages are used when present.\n"
    "exit codes: 0 ok, 1 usage, 2 configuration or pack refused, 3 a port or socket failed, or records were left "
    "unsent\n";

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'T'},
    {"dump-config", no_argument, NULL, 'd'},  {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

static volatile sig_atomic_t stop_signals;

/* The second signal ends the process at once: the operator means it. */
static void on_stop(int number)
{
    if (++stop_signals > 1) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int fail(int code, const char *error)
{
    log_line(LOG_ERROR, "run", "%s", error);
    return code;
}

static void say_started(struct dp_run *run)
{
    const struct dp_config *config = dp_run_config(run);
    const struct dp_ports *ports = dp_run_ports(run);
    for (unsigned link = 0; link < config->link_count; link++)
        log_line(LOG_INFO, "run", "link %s: %s <-> %s, %s", config->links[link].name,
                 ports->port[link * DP_SIDES + DP_SUBSCRIBER].name, ports->port[link * DP_SIDES + DP_NETWORK].name,
                 config->links[link].mode == DP_INLINE ? "inline" : "receive-only");
    log_line(LOG_INFO, "run", "%u workers; running", config->workers.count);
}

static void say_stopped(struct dp_run *run)
{
    struct dp_stats stats;
    struct dp_record_stats made;
    struct rdr_formatter_stats sent;
    dp_engine_stats(dp_run_engine(run), &stats);
    dp_run_record_stats(run, &made, &sent);
    log_line(LOG_INFO, "run", "stopped: %" PRIu64 " packets received, %" PRIu64 " forwarded, %" PRIu64 " flows",
             stats.received_packets, stats.outcome_packets[DP_OUTCOME_forwarded], stats.flows_closed);
    log_line(LOG_INFO, "run",
             "records: %" PRIu64 " made, %" PRIu64 " sent, %" PRIu64 " discarded, %" PRIu64 " unconfirmed, %" PRIu64
             " left, %" PRIu64 " events lost",
             made.made, sent.sent, sent.discarded, sent.unconfirmed, sent.queued, stats.events_lost);
}

static int run(const struct dp_config *config)
{
    char error[DP_ERROR_BYTES];
    uint32_t cpus[DP_WORKERS_MAX];
    struct dp_eal_options eal;
    catch_signals(); /* before the start: a signal in the middle of it ends the run in order as well */
    dp_eal_options_config(&eal, config, cpus);
    if (dp_eal_start(&eal, error, sizeof error))
        return fail(CLI_RUNTIME, error);
    int create_error;
    struct dp_run *engine = dp_run_create(config, &create_error, error, sizeof error);
    if (!engine)
        return fail(create_error == -EINVAL ? CLI_CONFIG : CLI_RUNTIME, error);
    struct dp_control *control = dp_control_open(config->control.socket, dp_show_commands, engine, error, sizeof error);
    int result = CLI_OK;
    if (!control || dp_run_start(engine, error, sizeof error)) {
        result = fail(CLI_RUNTIME, error);
    } else {
        say_started(engine);
        while (!stop_signals)
            dp_control_poll(control, CONTROL_WAIT_MS);
        if (!dp_run_stop(engine, DRAIN_MS)) {
            log_line(LOG_WARNING, "run", "records were left when the engine stopped: no collector took them");
            result = CLI_RUNTIME;
        }
        say_stopped(engine);
    }
    dp_control_close(control);
    dp_run_destroy(engine);
    dp_eal_stop();
    return result;
}

/* The file itself has been read; what it names is read here. */
static int check(const struct dp_config *config, const char *path)
{
    char error[DP_ERROR_BYTES];
    struct cl_options classification;
    dp_config_classification(config, &classification);
    struct cl_engine *classifier = cl_engine_load(&classification, error, sizeof error);
    if (!classifier)
        return fail(CLI_CONFIG, error);
    cl_engine_free(classifier);
    printf("%s: ok\n", path);
    return CLI_OK;
}

int cmd_run(int argc, char **argv)
{
    const char *path = NULL;
    bool check_only = false, dump = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "c:Tqh", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'T':
            check_only = true;
            break;
        case 'd':
            dump = true;
            break;
        case 'q':
            log_level_max = LOG_WARNING;
            break;
        case 'h':
            fputs(help_text, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("run", "unknown option or missing value");
        }
    }
    if (!path || optind != argc)
        return cli_usage_error("run", path ? "unexpected argument \"%s\"" : "no configuration: give -c FILE",
                               argv[optind]);
    static struct dp_config config;
    char error[DP_ERROR_BYTES];
    if (dp_config_load(path, &config, error, sizeof error))
        return fail(CLI_CONFIG, error);
    if (dump)
        dp_config_dump(&config, stdout);
    if (check_only)
        return check(&config, path);
    return dump ? CLI_OK : run(&config);
}

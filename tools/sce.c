#include <stdio.h>
#include <string.h>

#include "tools/cli.h"

static const struct cli_command commands[] = {
    {"pack", cmd_pack, "check, build or show a protocol pack"},
    {"ports", cmd_ports, "what the ports of a configuration can do, and what sce run will do about each"},
    {"protocols", cmd_protocols, "list what the protocol pack can name"},
    {"run", cmd_run, "bridge the links of a configuration, classify, report, until told to stop"},
    {"replay", cmd_replay, "captures through the pipeline: every flow with its verdict, records to a collector"},
    {"collect", cmd_collect, "receive records and store them in SQLite"},
    {"report", cmd_report, "top services, protocols, subscribers and hosts of what was collected"},
    {"show", cmd_show, "ask a running engine: stats, flows, links, protocols, drops"},
    {NULL, NULL, NULL},
};

static void help(FILE *out)
{
    fprintf(out, "usage: sce COMMAND [ARGUMENTS]\n\n");
    for (const struct cli_command *c = commands; c->name; c++)
        fprintf(out, "  %-10s %s\n", c->name, c->summary);
    fprintf(out, "\nsce COMMAND --help    one screen with examples\n"
                 "sce --version         versions, pack name and SHA-256\n\n"
                 "exit codes: 0 ok, 1 usage, 2 configuration, 3 runtime, 4 a comparison failed\n");
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_USAGE : CLI_OK;
    }
    for (const struct cli_command *c = commands; c->name; c++)
        if (!strcmp(argv[1], c->name))
            return c->run(argc - 1, argv + 1);
    fprintf(stderr, "sce: no command \"%s\"; see: sce --help\n", argv[1]);
    return CLI_USAGE;
}

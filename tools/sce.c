#include <hs.h>
#include <pcap/pcap.h>
#include <rte_version.h>
#include <stdio.h>
#include <string.h>

#include "classifier/classifier.h"
#include "tools/cli.h"

static const struct cli_command commands[] = {
    {"pack", cmd_pack, "check, build, compare, merge or take apart a protocol pack"},
    {"ports", cmd_ports, "what the ports of a configuration can do, and what sce run will do about each"},
    {"protocols", cmd_protocols, "list what the protocol pack can name"},
    {"run", cmd_run, "bridge the links of a configuration, classify, report, until told to stop"},
    {"replay", cmd_replay, "captures through the pipeline: every flow with its verdict, records to a collector"},
    {"collect", cmd_collect, "receive records and store them in SQLite"},
    {"report", cmd_report, "top services, protocols, subscribers and hosts of what was collected"},
    {"show", cmd_show, "ask a running engine: stats, flows, links, protocols, drops, shards"},
    {"set", cmd_set, "give a shard of a running engine to another worker"},
    {"bench", cmd_bench, "measure the flow table and the pipeline against their peers on this machine"},
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

/* The pack is the one that would be used; a program without one is no classifier, so that is an error. */
static int version(void)
{
    char error[1024];
    struct cl_options options;
    cl_options_init(&options);
    struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
    printf("sce %s\n%s\nHyperscan %s\n%s\n", SCE_VERSION, rte_version(), hs_version(), pcap_lib_version());
    if (!engine) {
        fprintf(stderr, "sce: pack: %s\n", error);
        return CLI_CONFIG;
    }
    const struct cl_pack_info *pack = cl_pack_info(engine);
    printf("pack %s %s, %u protocols, SHA-256 %s\n", pack->name, pack->version, pack->protocols, pack->sha256_hex);
    cl_engine_free(engine);
    return CLI_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_USAGE : CLI_OK;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
        return version();
    for (const struct cli_command *c = commands; c->name; c++)
        if (!strcmp(argv[1], c->name))
            return c->run(argc - 1, argv + 1);
    fprintf(stderr, "sce: no command \"%s\"; see: sce --help\n", argv[1]);
    return CLI_USAGE;
}

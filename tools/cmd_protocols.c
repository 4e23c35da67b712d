#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "classifier/classifier.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce protocols [--json] [--pack FILE]\n\n"
    "Lists every protocol and application that the pack knows: id, name, family, best way it is told, ports, and\n"
    "whether one direction of a flow is enough.\n\n"
    "  --json        one JSON object a line\n"
    "  --pack FILE   a compiled pack or a folder of sources (default: the pack built with the program, or "
    "$SCE_PACK)\n\n"
    "examples:\n"
    "  sce protocols | grep mail\n"
    "  sce protocols --json | jq -r 'select(.method == \"inspector\") .name'\n";

static void print_json(struct json *j, const struct cl_engine *engine, const struct cl_protocol_info *info)
{
    json_object_begin(j, NULL);
    json_u64(j, "id", info->id);
    json_text(j, "name", info->name);
    json_text(j, "family", info->family);
    json_text(j, "service", info->service);
    json_u64(j, "service_id", info->service_id);
    json_array_begin(j, "parents");
    for (unsigned i = 0; i < info->parent_count; i++)
        json_text(j, NULL, cl_protocol_get(engine, info->parents[i])->name);
    json_array_end(j);
    json_array_begin(j, "aliases");
    for (unsigned i = 0; i < info->alias_count; i++)
        json_text(j, NULL, info->aliases[i]);
    json_array_end(j);
    json_text(j, "method", info->method);
    json_text(j, "ports", info->ports);
    json_bool(j, "unidirectional", info->unidirectional);
    json_object_end(j);
    json_line(j, stdout);
}

static void print_all(const struct cl_engine *engine, bool as_json)
{
    struct json j;
    json_init(&j);
    if (!as_json)
        printf("%7s  %-28s %-14s %-10s %-4s %s\n", "ID", "NAME", "FAMILY", "METHOD", "UNI", "PORTS");
    for (unsigned i = 1; i < cl_protocol_count(engine); i++) {
        const struct cl_protocol_info *info = cl_protocol_get(engine, (cl_protocol)i);
        if (as_json)
            print_json(&j, engine, info);
        else
            printf("%7u  %-28s %-14s %-10s %-4s %s\n", info->id, info->name, info->family, info->method,
                   info->unidirectional ? "yes" : "no", info->ports);
    }
    json_free(&j);
}

int cmd_protocols(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"pack", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct cl_options engine_options;
    bool as_json = false;
    int c;
    cl_options_init(&engine_options);
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
        switch (c) {
        case 'j':
            as_json = true;
            break;
        case 'p':
            engine_options.pack_path = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("protocols", "see the options");
        }
    if (optind < argc)
        return cli_usage_error("protocols", "unexpected argument \"%s\"", argv[optind]);
    char error[1024];
    struct cl_engine *engine = cl_engine_load(&engine_options, error, sizeof error);
    if (!engine) {
        fprintf(stderr, "sce protocols: %s\n", error);
        return CLI_CONFIG;
    }
    print_all(engine, as_json);
    cl_engine_free(engine);
    return CLI_OK;
}

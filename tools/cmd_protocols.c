#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "classifier/classifier.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce protocols [--json] [--totals] [--pack FILE]\n\n"
    "Lists every protocol and application that the pack knows: id, name, family, the ways it is told, whether one\n"
    "direction of a flow is enough, ports; then how many are told in which way. By content means by an inspector, a\n"
    "signature or a host name.\n\n"
    "  --json        one JSON object a line, without totals\n"
    "  --totals      the totals alone\n"
    "  --pack FILE   a compiled pack or a folder of sources (default: the pack built with the program, or "
    "$SCE_PACK)\n\n"
    "examples:\n"
    "  sce protocols | grep mail\n"
    "  sce protocols --totals --json\n"
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
    json_array_begin(j, "ways");
    for (unsigned way = 0; way < CL_WAY_COUNT; way++)
        if (info->ways & 1u << way)
            json_text(j, NULL, cl_way_name((enum cl_way)way));
    json_array_end(j);
    json_text(j, "ports", info->ports);
    json_bool(j, "application", info->is_application);
    json_bool(j, "unidirectional", info->unidirectional);
    json_object_end(j);
    json_line(j, stdout);
}

static void print_row(const struct cl_protocol_info *info)
{
    char ways[80] = "";
    for (unsigned way = 0; way < CL_WAY_COUNT; way++) {
        size_t used = strlen(ways);
        if (info->ways & 1u << way)
            snprintf(ways + used, sizeof ways - used, "%s%s", used ? "," : "", cl_way_name((enum cl_way)way));
    }
    printf("%7u  %-32s %-14s %-26s %-4s %s\n", info->id, info->name, info->family, ways[0] ? ways : "generic",
           info->unidirectional ? "yes" : "no", info->ports);
}

static void print_all(const struct cl_engine *engine, bool as_json)
{
    struct json j;
    json_init(&j);
    if (!as_json)
        printf("%7s  %-32s %-14s %-26s %-4s %s\n", "ID", "NAME", "FAMILY", "WAYS", "UNI", "PORTS");
    for (unsigned i = 1; i < cl_protocol_count(engine); i++) {
        const struct cl_protocol_info *info = cl_protocol_get(engine, (cl_protocol)i);
        if (as_json)
            print_json(&j, engine, info);
        else
            print_row(info);
    }
    json_free(&j);
}

/* ---- totals ---- */

struct totals {
    unsigned all, protocols, applications, by_content, way[CL_WAY_COUNT], only_port, unidirectional;
};

static struct totals sum(const struct cl_engine *engine)
{
    struct totals t = {0};
    for (unsigned i = 1; i < cl_protocol_count(engine); i++) {
        const struct cl_protocol_info *info = cl_protocol_get(engine, (cl_protocol)i);
        t.all++;
        t.protocols += !info->is_application;
        t.applications += info->is_application;
        t.by_content += (info->ways & CL_WAYS_BY_CONTENT) != 0;
        t.only_port += info->ways == 1u << CL_WAY_port;
        t.unidirectional += (info->ways & CL_WAYS_BY_CONTENT) && info->unidirectional;
        for (unsigned way = 0; way < CL_WAY_COUNT; way++)
            t.way[way] += (info->ways & 1u << way) != 0;
    }
    return t;
}

static void print_totals_json(const struct totals *t)
{
    struct json j;
    char key[40];
    json_init(&j);
    json_object_begin(&j, NULL);
    json_u64(&j, "all", t->all);
    json_u64(&j, "protocols", t->protocols);
    json_u64(&j, "applications", t->applications);
    json_u64(&j, "by_content", t->by_content);
    json_u64(&j, "by_content_unidirectional", t->unidirectional);
    for (unsigned way = 0; way < CL_WAY_COUNT; way++) {
        snprintf(key, sizeof key, "by_%s", cl_way_name((enum cl_way)way));
        json_u64(&j, key, t->way[way]);
    }
    json_u64(&j, "by_port_only", t->only_port);
    json_object_end(&j);
    json_line(&j, stdout);
    json_free(&j);
}

static void print_totals(const struct totals *t)
{
    printf("%u entries: %u protocols, %u applications\n"
           "%u told by content, %u of them on one direction alone; by",
           t->all, t->protocols, t->applications, t->by_content, t->unidirectional);
    for (unsigned way = 0; way < CL_WAY_COUNT; way++)
        printf("%s %s %u", way ? "," : "", cl_way_name((enum cl_way)way), t->way[way]);
    printf("; by port only %u\n", t->only_port);
}

int cmd_protocols(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"totals", no_argument, NULL, 't'},
                                            {"pack", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct cl_options engine_options;
    bool as_json = false, totals_only = false;
    int c;
    cl_options_init(&engine_options);
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
        switch (c) {
        case 'j':
            as_json = true;
            break;
        case 't':
            totals_only = true;
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
    if (!totals_only)
        print_all(engine, as_json);
    struct totals totals = sum(engine);
    if (totals_only && as_json)
        print_totals_json(&totals);
    else if (!as_json)
        print_totals(&totals);
    cl_engine_free(engine);
    return CLI_OK;
}

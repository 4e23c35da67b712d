#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"
#include "dataplane/control.h"
#include "tools/cli.h"
#include "tools/pack_diff.h"

static const char help[] =
    "usage: sce pack show [--json] PACK\n"
    "       sce pack check SOURCES\n"
    "       sce pack build -o FILE SOURCES\n"
    "       sce pack diff [--json] OLD NEW\n"
    "       sce pack merge -o FILE [--renumber] PACK SET...\n"
    "       sce pack extract [--origin NAME] [-o FILE] PACK\n"
    "       sce pack load [--json] [--socket PATH] PACK\n\n"
    "SOURCES is a folder of *.yaml or one such file (docs/pack.md is the language); PACK, OLD, NEW and SET are that or "
    "a\n"
    "compiled pack.\n\n"
    "  show     name, version, digest, how much of what, families\n"
    "  check    reads the sources and compiles every pattern; an error names file:line:column\n"
    "  build    writes one compiled file for sce to load\n"
    "  diff     entries and signatures added, removed, renamed, changed, by their ids; exit code 4 when there are any\n"
    "  merge    joins a pack with your own sets of signatures; ids that both use are refused, all listed, or with\n"
    "           --renumber the set's are given new ones, from 3000000 (signatures) and 900000 (entries) on\n"
    "  extract  the pack as source text, over which its digest is taken; --origin NAME: what set NAME brought, the\n"
    "           pack's own name: all but the sets\n"
    "  load     gives the pack to the running engine, which takes it between two packets; flows keep their verdicts\n\n"
    "exit codes: 0 ok, 1 usage, 2 a pack or set was refused (nothing is written), 3 a file cannot be written or no "
    "engine\n"
    "answers, 4 diff found differences\n\n"
    "examples:\n"
    "  sce pack build -o my.pack etc/pack && SCE_PACK=my.pack sce replay trace.pcap\n"
    "  sce pack merge -o new.pack my.pack acme.yaml && sce pack diff my.pack new.pack\n"
    "  sce pack extract --origin acme new.pack > acme.yaml\n";

struct arguments {
    const char *output, *origin, *socket;
    bool as_json, renumbers;
    char **paths;
    unsigned count;
};

struct loaded {
    struct pack *pack;
    struct pack_databases databases;
};

static int fail(const char *error)
{
    fprintf(stderr, "sce pack: %s\n", error);
    return CLI_CONFIG;
}

static int load(const char *path, bool compiles, struct loaded *ret)
{
    char error[1024];
    memset(ret, 0, sizeof *ret);
    bool is_compiled = pack_file_is_compiled(path);
    if (is_compiled)
        ret->pack = pack_file_read(path, &ret->databases, error, sizeof error);
    else
        ret->pack = pack_read(path, error, sizeof error);
    if (!ret->pack)
        return fail(error);
    if (!compiles)
        return CLI_OK;
    pack_databases_free(&ret->databases);
    if (pack_compile(ret->pack, &ret->databases, error, sizeof error))
        return CLI_OK;
    pack_free(ret->pack);
    return fail(error);
}

static void unload(struct loaded *l)
{
    pack_databases_free(&l->databases);
    pack_free(l->pack);
}

/* ---- show ---- */

/* Entries, without Generic and the like. */
static uint32_t count_entries(const struct pack *pack, bool applications)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        count += pack->protocols[i].info.id >= PACK_FIRST_ID && pack->protocols[i].info.is_application == applications;
    return count;
}

static void hex_digest(const struct pack *pack, char ret[65])
{
    for (unsigned i = 0; i < sizeof pack->sha256; i++)
        snprintf(ret + 2 * i, 3, "%02x", pack->sha256[i]);
}

static void print_summary(const struct pack *pack, const char *what)
{
    char digest[65];
    hex_digest(pack, digest);
    printf("%s %s: %u protocols and applications, %u signatures, %u patterns, %u hosts, sha256 %s: %s\n", pack->name,
           pack->version, pack->protocol_count - 1, pack->signature_count - 1, pack->pattern_count, pack->host_count,
           digest, what);
}

struct family_sum {
    uint32_t protocols, applications, signatures;
};

static struct family_sum sum_family(const struct pack *pack, const char *family)
{
    struct family_sum sum = {0};
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        const struct cl_protocol_info *info = &pack->protocols[i].info;
        if (info->id >= PACK_FIRST_ID && !strcmp(info->family, family))
            ++*(info->is_application ? &sum.applications : &sum.protocols);
    }
    for (uint32_t i = 1; i < pack->signature_count; i++)
        sum.signatures += !strcmp(pack->protocols[pack->signatures[i].protocol].info.family, family);
    return sum;
}

static void show_text(const struct loaded *l, const char *databases)
{
    const struct pack *pack = l->pack;
    char digest[65];
    hex_digest(pack, digest);
    printf(
        "name          %s\nversion       %s\nsha256        %s\nprotocols     %u\napplications  %u\nsignatures    %u\n"
        "clauses       %u\npatterns      %u\nhosts         %u\nports         %u\ndatabases     %s\n",
        pack->name, pack->version, digest, count_entries(pack, false), count_entries(pack, true),
        pack->signature_count - 1, pack->rule_count, pack->pattern_count, pack->host_count, pack->port_count,
        databases);
    for (uint32_t i = 1; i < pack->origin_count; i++)
        printf("set           %s\n", pack->origins[i]);
    printf("\n%-16s %9s %12s %10s\n", "FAMILY", "PROTOCOLS", "APPLICATIONS", "SIGNATURES");
    for (unsigned i = 0; cl_family_names[i]; i++) {
        struct family_sum sum = sum_family(pack, cl_family_names[i]);
        if (sum.protocols + sum.applications)
            printf("%-16s %9u %12u %10u\n", cl_family_names[i], sum.protocols, sum.applications, sum.signatures);
    }
}

static void show_json(const struct loaded *l, const char *databases)
{
    const struct pack *pack = l->pack;
    struct json j;
    char digest[65];
    hex_digest(pack, digest);
    json_init(&j);
    json_object_begin(&j, NULL);
    json_text(&j, "name", pack->name);
    json_text(&j, "version", pack->version);
    json_text(&j, "sha256", digest);
    json_u64(&j, "protocols", count_entries(pack, false));
    json_u64(&j, "applications", count_entries(pack, true));
    json_u64(&j, "signatures", pack->signature_count - 1);
    json_u64(&j, "clauses", pack->rule_count);
    json_u64(&j, "patterns", pack->pattern_count);
    json_u64(&j, "hosts", pack->host_count);
    json_u64(&j, "ports", pack->port_count);
    json_text(&j, "databases", databases);
    json_array_begin(&j, "sets");
    for (uint32_t i = 1; i < pack->origin_count; i++)
        json_text(&j, NULL, pack->origins[i]);
    json_array_end(&j);
    json_array_begin(&j, "families");
    for (unsigned i = 0; cl_family_names[i]; i++) {
        struct family_sum sum = sum_family(pack, cl_family_names[i]);
        if (!(sum.protocols + sum.applications))
            continue;
        json_object_begin(&j, NULL);
        json_text(&j, "family", cl_family_names[i]);
        json_u64(&j, "protocols", sum.protocols);
        json_u64(&j, "applications", sum.applications);
        json_u64(&j, "signatures", sum.signatures);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    json_line(&j, stdout);
    json_free(&j);
}

static int show(const struct arguments *a)
{
    struct loaded l;
    int code = load(a->paths[0], false, &l);
    if (code)
        return code;
    const char *databases = l.databases.count                    ? "ready for this machine"
                            : pack_file_is_compiled(a->paths[0]) ? "of another machine or library, compiled at load"
                                                                 : "none, these are sources";
    if (a->as_json)
        show_json(&l, databases);
    else
        show_text(&l, databases);
    unload(&l);
    return CLI_OK;
}

/* ---- check, build, merge ---- */

static int check(const struct arguments *a)
{
    struct loaded l;
    int code = load(a->paths[0], true, &l);
    if (code)
        return code;
    print_summary(l.pack, "ok");
    unload(&l);
    return CLI_OK;
}

static int write_pack(const char *output, const struct loaded *l)
{
    char error[1024];
    if (pack_file_write(output, l->pack, &l->databases, error, sizeof error)) {
        print_summary(l->pack, output);
        return CLI_OK;
    }
    fail(error);
    return CLI_RUNTIME;
}

static int build(const struct arguments *a)
{
    struct loaded l;
    if (!a->output)
        return cli_usage_error("pack", "build without -o FILE");
    int code = load(a->paths[0], true, &l);
    if (code)
        return code;
    code = write_pack(a->output, &l);
    unload(&l);
    return code;
}

static int merge(const struct arguments *a)
{
    char error[1024], *report;
    struct loaded l = {0};
    if (!a->output)
        return cli_usage_error("pack", "merge without -o FILE");
    l.pack = pack_merge((const char *const *)a->paths, a->count, a->renumbers, &report, error, sizeof error);
    if (report)
        fputs(report, l.pack ? stdout : stderr);
    free(report);
    int code = CLI_OK;
    if (!l.pack || !pack_compile(l.pack, &l.databases, error, sizeof error))
        code = fail(error);
    if (!code)
        code = write_pack(a->output, &l);
    unload(&l);
    return code;
}

/* ---- extract, diff ---- */

static int find_origin(const struct pack *pack, const char *name, char *error, size_t error_size)
{
    if (!strcmp(name, pack->name))
        return 0;
    for (uint32_t i = 1; i < pack->origin_count; i++)
        if (!strcmp(name, pack->origins[i]))
            return (int)i;
    snprintf(error, error_size, "no set \"%s\" in this pack; sce pack show lists them", name);
    return -1;
}

static int extract(const struct arguments *a)
{
    struct loaded l;
    char error[512];
    int code = load(a->paths[0], false, &l), origin = 0;
    if (code)
        return code;
    if (a->origin && (origin = find_origin(l.pack, a->origin, error, sizeof error)) < 0) {
        unload(&l);
        return fail(error);
    }
    size_t size;
    char *text = a->origin ? pack_text_of_origin(l.pack, (unsigned)origin, &size) : pack_text(l.pack, &size);
    FILE *out = a->output ? fopen(a->output, "we") : stdout;
    bool ok = out && fwrite(text, 1, size, out) == size;
    if (out && (out == stdout ? fflush(out) : fclose(out)))
        ok = false;
    if (!ok)
        fprintf(stderr, "sce pack: %s: cannot be written\n", a->output ? a->output : "standard output");
    free(text);
    unload(&l);
    return ok ? CLI_OK : CLI_RUNTIME;
}

static int diff(const struct arguments *a)
{
    struct loaded old, new;
    int code = load(a->paths[0], false, &old);
    if (code)
        return code;
    code = load(a->paths[1], false, &new);
    if (!code) {
        code = pack_diff_print(old.pack, new.pack, a->as_json) ? CLI_MISMATCH : CLI_OK;
        unload(&new);
    }
    unload(&old);
    return code;
}

/* ---- load ---- */

static bool on_loaded(void *context, const json_t *row)
{
    const struct arguments *a = context;
    if (a->as_json) {
        json_dumpf(row, stdout, JSON_COMPACT);
        printf("\n");
    } else {
        printf("%s %s, sha256 %s: loaded as pack %" JSON_INTEGER_FORMAT "%s\n",
               json_string_value(json_object_get(row, "name")), json_string_value(json_object_get(row, "version")),
               json_string_value(json_object_get(row, "sha256")), json_integer_value(json_object_get(row, "pack")),
               json_is_true(json_object_get(row, "handed_out")) ? "" : ", some workers have yet to take it");
    }
    return true;
}

/* The engine reads the file itself, wherever it was started. */
static int load_running(const struct arguments *a)
{
    char error[1024];
    char *path = realpath(a->paths[0], NULL);
    if (!path) {
        snprintf(error, sizeof error, "%s: %s", a->paths[0], strerror(errno));
        return fail(error);
    }
    json_t *request = json_object();
    json_object_set_new(request, "command", json_string("load"));
    json_object_set_new(request, "what", json_string("pack"));
    json_object_set_new(request, "path", json_string(path));
    free(path);
    int result = dp_control_ask(a->socket, request, on_loaded, (void *)(uintptr_t)a, error, sizeof error);
    json_decref(request);
    if (!result)
        return CLI_OK;
    fail(error);
    return result == -EREMOTEIO ? CLI_CONFIG : CLI_RUNTIME;
}

/* ---- arguments ---- */

static const struct action {
    const char *name;
    int (*run)(const struct arguments *a);
    unsigned paths_min, paths_max;
} actions[] = {
    {"show", show, 1, 1},
    {"check", check, 1, 1},
    {"build", build, 1, 1},
    {"diff", diff, 2, 2},
    {"merge", merge, 2, PACK_MAX_ORIGINS},
    {"extract", extract, 1, 1},
    {"load", load_running, 1, 1},
};

static int run_action(const char *name, const struct arguments *a)
{
    for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++) {
        const struct action *action = &actions[i];
        if (strcmp(name, action->name) != 0)
            continue;
        if (a->count < action->paths_min || a->count > action->paths_max)
            return cli_usage_error("pack", "%s takes %s%u path%s", name,
                                   action->paths_max > action->paths_min ? "at least " : "", action->paths_min,
                                   action->paths_min == 1 ? "" : "s");
        return action->run(a);
    }
    return cli_usage_error("pack", "no action \"%s\"; there are show, check, build, diff, merge, extract and load",
                           name);
}

int cmd_pack(int argc, char **argv)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"origin", required_argument, NULL, 'n'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"socket", required_argument, NULL, 's'},
                                            {"renumber", no_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct arguments a = {.socket = ""};
    int c;
    while ((c = getopt_long(argc, argv, "o:h", options, NULL)) != -1)
        switch (c) {
        case 'o':
            a.output = optarg;
            break;
        case 'n':
            a.origin = optarg;
            break;
        case 's':
            a.socket = optarg;
            break;
        case 'j':
            a.as_json = true;
            break;
        case 'r':
            a.renumbers = true;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("pack", "see the options");
        }
    if (optind == argc)
        return cli_usage_error("pack", "no action; there are show, check, build, diff, merge, extract and load");
    a.paths = argv + optind + 1;
    a.count = (unsigned)(argc - optind - 1);
    return run_action(argv[optind], &a);
}

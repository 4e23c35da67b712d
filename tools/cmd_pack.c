#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"
#include "tools/cli.h"

static const char help[] = "usage: sce pack check SOURCES\n"
                           "       sce pack build -o FILE SOURCES\n"
                           "       sce pack show PACK\n\n"
                           "SOURCES is a folder of *.yaml or one such file (docs/pack.md is the language); PACK is "
                           "that or a compiled pack.\n\n"
                           "  check   reads the sources and compiles every pattern; an error names file:line:column\n"
                           "  build   writes one compiled file for sce to load\n"
                           "  show    prints the pack as one canonical source text, over which its digest is taken\n\n"
                           "examples:\n"
                           "  sce pack check etc/pack\n"
                           "  sce pack build -o my.pack etc/pack && SCE_PACK=my.pack sce replay trace.pcap\n";

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
    if (pack_file_is_compiled(path))
        ret->pack = pack_file_read(path, &ret->databases, error, sizeof error);
    else
        ret->pack = pack_read(path, error, sizeof error);
    if (!ret->pack)
        return fail(error);
    if (!compiles || pack_compile(ret->pack, &ret->databases, error, sizeof error))
        return CLI_OK;
    pack_free(ret->pack);
    return fail(error);
}

static void unload(struct loaded *l)
{
    pack_databases_free(&l->databases);
    pack_free(l->pack);
}

static void print_summary(const struct pack *pack, const char *what)
{
    printf("%s %s: %u protocols and applications, %u signatures, %u patterns, %u hosts, sha256 ", pack->name,
           pack->version, pack->protocol_count - 1, pack->signature_count - 1, pack->pattern_count, pack->host_count);
    for (unsigned i = 0; i < sizeof pack->sha256; i++)
        printf("%02x", pack->sha256[i]);
    printf(": %s\n", what);
}

static int check(const char *path)
{
    struct loaded l;
    int code = load(path, true, &l);
    if (code)
        return code;
    print_summary(l.pack, "ok");
    unload(&l);
    return CLI_OK;
}

static int build(const char *path, const char *output)
{
    struct loaded l;
    char error[1024];
    int code = load(path, true, &l);
    if (code)
        return code;
    bool ok = pack_file_write(output, l.pack, &l.databases, error, sizeof error);
    if (ok)
        print_summary(l.pack, output);
    unload(&l);
    return ok ? CLI_OK : fail(error);
}

static int show(const char *path)
{
    struct loaded l;
    int code = load(path, false, &l);
    if (code)
        return code;
    size_t size;
    char *text = pack_text(l.pack, &size);
    fwrite(text, 1, size, stdout);
    free(text);
    unload(&l);
    return CLI_OK;
}

int cmd_pack(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *output = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "o:h", options, NULL)) != -1)
        switch (c) {
        case 'o':
            output = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("pack", "see the options");
        }
    if (argc - optind != 2)
        return cli_usage_error("pack", "expected check, build or show, and one path");
    const char *action = argv[optind], *path = argv[optind + 1];
    if (!strcmp(action, "check"))
        return check(path);
    if (!strcmp(action, "show"))
        return show(path);
    if (strcmp(action, "build"))
        return cli_usage_error("pack", "no action \"%s\"; there are check, build and show", action);
    return output ? build(path, output) : cli_usage_error("pack", "build without -o FILE");
}

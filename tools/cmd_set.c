#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/control.h"
#include "tools/cli.h"

static const char help[] =
    "usage: sce set shard N owner W [--json] [--socket PATH]\n\n"
    "Has another worker of a running sce run take over a shard of the flow table. No packet is lost, none of a flow\n"
    "overtakes another; the shard's packets wait for some microseconds. sce show shards lists owners.\n\n"
    "  --json             the engine's answer, one JSON object a line\n"
    "  --socket PATH      control socket (default: /run/opensce/sce.sock for root, else in $XDG_RUNTIME_DIR)\n\n"
    "example:\n"
    "  sce set shard 17 owner 1\n\n"
    "exit codes: 0 ok, 1 usage, 3 no engine answers, or it refused the request\n";

static const struct option options[] = {
    {"json", no_argument, NULL, 'j'}, {"socket", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};

static bool on_row(void *context, const json_t *row)
{
    const bool *as_json = context;
    if (*as_json) {
        char *text = json_dumps(row, JSON_COMPACT);
        if (text)
            puts(text);
        free(text);
        return true;
    }
    printf("shard %" JSON_INTEGER_FORMAT " owner %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " flows\n",
           json_integer_value(json_object_get(row, "shard")), json_integer_value(json_object_get(row, "owner")),
           json_integer_value(json_object_get(row, "flows")));
    return true;
}

static bool add_number(json_t *request, const char *name, const char *text)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number > UINT16_MAX)
        return false;
    return json_object_set_new(request, name, json_integer((json_int_t)number)) == 0;
}

static int ask(json_t *request, char **words, const char *socket_path, bool as_json)
{
    char error[512];
    for (unsigned i = 0; i < 4; i += 2)
        if (!add_number(request, words[i], words[i + 1]))
            return cli_usage_error("set", "%s: \"%s\", expected a number", words[i], words[i + 1]);
    json_object_set_new(request, "command", json_string("set"));
    json_object_set_new(request, "what", json_string("shard"));
    if (dp_control_ask(socket_path, request, on_row, &as_json, error, sizeof error) == 0)
        return CLI_OK;
    fprintf(stderr, "sce set: %s\n", error);
    return CLI_RUNTIME;
}

int cmd_set(int argc, char **argv)
{
    const char *socket_path = "";
    bool as_json = false;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        switch (c) {
        case 'j':
            as_json = true;
            break;
        case 's':
            socket_path = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return cli_usage_error("set", "see the options");
        }
    if (argc - optind != 4 || strcmp(argv[optind], "shard") != 0 || strcmp(argv[optind + 2], "owner") != 0)
        return cli_usage_error("set", "expected: sce set shard N owner W");
    json_t *request = json_object();
    if (!request)
        abort();
    int result = ask(request, argv + optind, socket_path, as_json);
    json_decref(request);
    return result;
}

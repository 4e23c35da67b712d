/* From a request line to the lines of its answer. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"
#include "dataplane/control.h"

#define NAME_BYTES    64u
#define COMMANDS_MAX  64u
#define ARGUMENTS_MAX 32u
#define END_LINE      "{\"event\":\"end\"}\n"
#define FULL_LINE     "{\"event\":\"error\",\"text\":\"the answer is cut: it is larger than 64 MiB; ask for less\"}\n"

struct dp_reply {
    struct json row;
    char *bytes;
    size_t size_bytes, capacity_bytes;
    bool is_full;
};

static void append(struct dp_reply *reply, const char *bytes, size_t size_bytes)
{
    if (reply->size_bytes + size_bytes > reply->capacity_bytes) {
        size_t capacity = reply->capacity_bytes ? reply->capacity_bytes : 4096;
        while (capacity < reply->size_bytes + size_bytes)
            capacity *= 2;
        char *grown = realloc(reply->bytes, capacity);
        if (!grown)
            abort();
        reply->bytes = grown;
        reply->capacity_bytes = capacity;
    }
    memcpy(reply->bytes + reply->size_bytes, bytes, size_bytes);
    reply->size_bytes += size_bytes;
}

struct json *dp_reply_row(struct dp_reply *reply, const char *event)
{
    json_reset(&reply->row);
    json_object_begin(&reply->row, NULL);
    json_text(&reply->row, "event", event);
    return &reply->row;
}

bool dp_reply_row_end(struct dp_reply *reply)
{
    json_object_end(&reply->row);
    if (reply->size_bytes + reply->row.size_bytes + 1 > DP_CONTROL_REPLY_BYTES)
        reply->is_full = true;
    if (reply->is_full)
        return false;
    append(reply, reply->row.text, reply->row.size_bytes);
    append(reply, "\n", 1);
    return true;
}

void dp_reply_error(struct dp_reply *reply, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_text(dp_reply_row(reply, "error"), "text", text);
    dp_reply_row_end(reply);
}

/* ---- requests ---- */

const char *dp_request_text(const json_t *request, const char *name, const char *missing)
{
    const char *text = json_string_value(json_object_get(request, name));
    return text ? text : missing;
}

uint64_t dp_request_number(const json_t *request, const char *name, uint64_t missing)
{
    const json_t *value = json_object_get(request, name);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : missing;
}

bool dp_request_switch(const json_t *request, const char *name)
{
    return json_is_true(json_object_get(request, name));
}

/* "show flows" of {"command":"show","what":"flows"}; false when there is no command. */
static bool name_of(const json_t *request, char *ret_name, size_t size)
{
    const char *command = dp_request_text(request, "command", NULL);
    const char *what = dp_request_text(request, "what", "");
    if (!command)
        return false;
    snprintf(ret_name, size, "%s%s%s", command, what[0] ? " " : "", what);
    return true;
}

/* Whether a value fits its argument; if not, what was expected. */
static const char *misfit(const struct dp_argument *argument, const json_t *value, char *buffer, size_t size)
{
    if (argument->kind == DP_ARGUMENT_TEXT)
        return json_is_string(value) ? NULL : "a text";
    if (argument->kind == DP_ARGUMENT_SWITCH)
        return json_is_boolean(value) ? NULL : "true or false";
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        (uint64_t)json_integer_value(value) <= argument->max)
        return NULL;
    snprintf(buffer, size, "a number from 0 to %llu", (unsigned long long)argument->max);
    return buffer;
}

static const struct dp_argument *find_argument(const struct dp_argument *arguments, const char *name)
{
    for (const struct dp_argument *a = arguments; a && a->name; a++)
        if (!strcmp(a->name, name))
            return a;
    return NULL;
}

static void explain_argument(const struct dp_command *command, const char *name, struct dp_reply *reply)
{
    const char *names[ARGUMENTS_MAX + 1];
    unsigned count = 0;
    for (const struct dp_argument *a = command->arguments; a && a->name && count < ARGUMENTS_MAX; a++)
        names[count++] = a->name;
    names[count] = NULL;
    const char *near = yml_nearest(name, names, sizeof *names);
    dp_reply_error(reply, "\"%.64s\" is no argument of \"%s\"%s%s%s", name, command->name,
                   near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static bool check_arguments(const struct dp_command *command, json_t *request, struct dp_reply *reply)
{
    const char *name;
    json_t *value;
    json_object_foreach(request, name, value)
    {
        char buffer[64];
        if (!strcmp(name, "command") || !strcmp(name, "what"))
            continue;
        const struct dp_argument *argument = find_argument(command->arguments, name);
        if (!argument) {
            explain_argument(command, name, reply);
            return false;
        }
        const char *expected = misfit(argument, value, buffer, sizeof buffer);
        if (expected) {
            dp_reply_error(reply, "%s: expected %s", name, expected);
            return false;
        }
    }
    return true;
}

static void list_commands(const struct dp_command *commands, struct dp_reply *reply)
{
    for (const struct dp_command *c = commands; c->name; c++) {
        struct json *row = dp_reply_row(reply, "command");
        json_text(row, "name", c->name);
        json_text(row, "help", c->help);
        json_array_begin(row, "arguments");
        for (const struct dp_argument *a = c->arguments; a && a->name; a++)
            json_text(row, NULL, a->name);
        json_array_end(row);
        dp_reply_row_end(reply);
    }
}

static void run(const struct dp_command *commands, void *context, json_t *request, struct dp_reply *reply)
{
    char name[NAME_BYTES];
    if (!name_of(request, name, sizeof name)) {
        dp_reply_error(reply, "no \"command\", expected {\"command\":\"help\"} or another");
        return;
    }
    if (!strcmp(name, "help")) {
        list_commands(commands, reply);
        return;
    }
    const char *names[COMMANDS_MAX + 2] = {"help"};
    unsigned count = 1;
    for (const struct dp_command *c = commands; c->name; c++) {
        if (!strcmp(c->name, name)) {
            if (check_arguments(c, request, reply))
                c->run(request, reply, context);
            return;
        }
        if (count <= COMMANDS_MAX)
            names[count++] = c->name;
    }
    names[count] = NULL;
    const char *near = yml_nearest(name, names, sizeof *names);
    dp_reply_error(reply, "no command \"%s\"%s%s%s; \"help\" lists them", name, near ? ", did you mean \"" : "",
                   near ? near : "", near ? "\"?" : "");
}

void dp_control_answer(const struct dp_command *commands, void *context, const char *line, size_t size_bytes,
                       char **ret_bytes, size_t *ret_size_bytes)
{
    struct dp_reply reply = {0};
    json_error_t reason;
    json_init(&reply.row);
    json_t *request = json_loadb(line, size_bytes, JSON_REJECT_DUPLICATES, &reason);
    if (!request)
        dp_reply_error(&reply, "column %d: %s; expected one JSON object a line", reason.column, reason.text);
    else if (!json_is_object(request))
        dp_reply_error(&reply, "expected a JSON object");
    else
        run(commands, context, request, &reply);
    json_decref(request);
    if (reply.is_full)
        append(&reply, FULL_LINE, strlen(FULL_LINE));
    append(&reply, END_LINE, strlen(END_LINE));
    json_free(&reply.row);
    *ret_bytes = reply.bytes;
    *ret_size_bytes = reply.size_bytes;
}

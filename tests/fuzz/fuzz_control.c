/*
 * A request line of the control socket: whatever the bytes, the answer is lines of JSON objects with "event", the last one the end.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void run(const json_t *request, struct dp_reply *reply, void *context)
{
    (void)context;
    struct json *row = dp_reply_row(reply, "row");
    json_text(row, "text", dp_request_text(request, "text", ""));
    json_u64(row, "number", dp_request_number(request, "number", 0));
    json_bool(row, "switch", dp_request_switch(request, "switch"));
    dp_reply_row_end(reply);
}

static const struct dp_argument arguments[] = {
    {"text", DP_ARGUMENT_TEXT, 0},
    {"number", DP_ARGUMENT_NUMBER, 1000},
    {"switch", DP_ARGUMENT_SWITCH, 0},
    {.name = NULL},
};

static const struct dp_command commands[] = {{"show rows", "rows", arguments, run}, {.name = NULL}};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *answer;
    size_t answer_bytes;
    bool has_ended = false;
    dp_control_answer(commands, NULL, (const char *)bytes, size, &answer, &answer_bytes);
    for (const char *p = answer, *end = answer + answer_bytes; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        json_t *row =
            newline ? json_loadb(p, (size_t)(newline - p), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
        const char *event = json_string_value(json_object_get(row, "event"));
        if (!event || has_ended)
            abort();
        has_ended = !strcmp(event, "end");
        json_decref(row);
        p = newline + 1;
    }
    if (!has_ended)
        abort();
    free(answer);
    return 0;
}

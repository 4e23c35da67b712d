/*
 * The control socket: one UNIX stream socket, JSON lines, served by the control thread.
 *
 * A client sends requests, one JSON object a line: {"command":"show","what":"flows","limit":10}. Each is answered by any number
 * of JSON objects, one a line, each with "event", the last one {"event":"end"}. What is refused is answered by
 * {"event":"error","text":...} and the end. Requests of one client are answered in order.
 *
 * Bounds: DP_CONTROL_CLIENTS_MAX clients (one more takes the place of the one that was silent longest), a request of
 * DP_CONTROL_REQUEST_BYTES, a reply of DP_CONTROL_REPLY_BYTES (what does not fit is cut at a line and said). A client that takes
 * nothing for DP_CONTROL_SLOW_MS while it owes us reading is dropped. The socket's mode is 0660: who may open it may ask.
 *
 * All of it is the control thread's; packets never wait for it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

#define DP_CONTROL_CLIENTS_MAX   16u
#define DP_CONTROL_REQUEST_BYTES 65536u
#define DP_CONTROL_REPLY_BYTES   (64u << 20)
#define DP_CONTROL_SLOW_MS       5000u

/* ---- commands ---- */

struct dp_reply;

/* Starts a line: an object with "event"; members are added to what is returned. */
struct json *dp_reply_row(struct dp_reply *reply, const char *event);
/* Ends it. False when the reply is full: this row and later ones are left out, the handler may stop. */
bool dp_reply_row_end(struct dp_reply *reply);
/* A line {"event":"error","text":...}. */
__attribute__((format(printf, 2, 3))) void dp_reply_error(struct dp_reply *reply, const char *format, ...);

enum dp_argument_kind { DP_ARGUMENT_TEXT, DP_ARGUMENT_NUMBER, DP_ARGUMENT_SWITCH };

/* A member that a request may have besides "command" and "what". */
struct dp_argument {
    const char *name;
    enum dp_argument_kind kind;
    uint64_t max; /* of numbers */
};

struct dp_command {
    const char *name;                    /* "command", or "command what": "show flows" */
    const char *help;                    /* one line */
    const struct dp_argument *arguments; /* end with .name = NULL; NULL = none */
    /* Control thread. Arguments were checked against the table. */
    void (*run)(const json_t *request, struct dp_reply *reply, void *context);
};

/* Checked arguments of a request; `missing` when it has none of that name. */
const char *dp_request_text(const json_t *request, const char *name, const char *missing);
uint64_t dp_request_number(const json_t *request, const char *name, uint64_t missing);
bool dp_request_switch(const json_t *request, const char *name);

/*
 * Answers one request line (without its newline), end line included. Bytes are hostile. `commands` end with .name = NULL; "help"
 * is always there and lists them. The caller frees *ret_bytes.
 */
void dp_control_answer(const struct dp_command *commands, void *context, const char *line, size_t size_bytes,
                       char **ret_bytes, size_t *ret_size_bytes);

/* ---- server ---- */

struct dp_control;

struct dp_control_stats {
    uint64_t connected;         /* clients accepted */
    uint64_t requests;          /* answered, refused ones included */
    uint64_t dropped_long_line; /* clients whose request passed the limit */
    uint64_t dropped_slow;      /* clients that took nothing */
    uint64_t dropped_crowded;   /* clients that made room for another */
    unsigned clients;           /* now */
};

/* /run/opensce/sce.sock for root, else $XDG_RUNTIME_DIR/opensce/sce.sock, else /tmp/opensce-UID/sce.sock. */
void dp_control_default_path(char *ret_path, size_t size);

/*
 * Listens on `path` ("" = the default); makes the socket's folder when only that is missing. A socket file that nobody listens on
 * is replaced. NULL with the reason in `error`: another process listens there, or the path is no socket.
 */
struct dp_control *dp_control_open(const char *path, const struct dp_command *commands, void *context, char *error,
                                   size_t error_size);
/* Waits for clients up to `timeout_ms` (a signal ends the wait), answers what is due. */
void dp_control_poll(struct dp_control *control, int timeout_ms);
void dp_control_get_stats(const struct dp_control *control, struct dp_control_stats *ret_stats);
/* Another limit than DP_CONTROL_SLOW_MS. */
void dp_control_set_slow_ms(struct dp_control *control, uint64_t slow_ms);
const char *dp_control_path(const struct dp_control *control);
/* Closes all clients and removes the socket file. NULL is allowed. */
void dp_control_close(struct dp_control *control);

/* ---- client ---- */

/* Called for each line of the answer but the end; false stops reading. */
typedef bool (*dp_control_row)(void *context, const json_t *row);

/*
 * Connects to `path` ("" = the default), sends the request, hands on each row. 0; -errno with the reason in `error` when the
 * socket cannot be reached, the answer breaks off, or the server answered with an error (-EREMOTEIO).
 */
int dp_control_ask(const char *path, const json_t *request, dp_control_row on_row, void *context, char *error,
                   size_t error_size);

/* "load pack": see show.h and reload.h. */
#include <unistd.h>

#include "dataplane/run.h"
#include "dataplane/show.h"

#define WAIT_US 500u
#define WAIT_MS 5000u

const struct dp_argument dp_load_arguments[] = {{.name = "path", .kind = DP_ARGUMENT_TEXT}, {.name = NULL}};

void dp_load_pack(const json_t *request, struct dp_reply *reply, void *run)
{
    struct dp_engine *engine = dp_run_engine(run);
    const char *path = dp_request_text(request, "path", NULL);
    char error[1024];
    bool done = false;
    if (!path || path[0] != '/') {
        dp_reply_error(reply, "path: expected an absolute path of a pack");
        return;
    }
    if (!dp_reload_start(engine, path, error, sizeof error)) {
        dp_reply_error(reply, "%s", error);
        return;
    }
    for (unsigned waited_us = 0; !(done = dp_reload_poll(engine)) && waited_us < WAIT_MS * 1000; waited_us += WAIT_US)
        usleep(WAIT_US);
    const struct cl_pack_info *info = cl_pack_info(engine->classifier);
    struct json *row = dp_reply_row(reply, "pack");
    json_text(row, "name", info->name);
    json_text(row, "version", info->version);
    json_text(row, "sha256", info->sha256_hex);
    json_u64(row, "protocols", info->protocols);
    json_u64(row, "signatures", info->signatures);
    json_u64(row, "pack", dp_pack_label(cl_engine_number(engine->classifier)));
    json_bool(row, "handed_out", done);
    dp_reply_row_end(reply);
}

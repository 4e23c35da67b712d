#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/run.h"
#include "dataplane/show.h"

#define MOVE_WAIT_US  200u
#define MOVE_WAIT_MAX 5000u /* a second: with idle workers that sleep it takes a millisecond */

static void shard_row(struct dp_reply *reply, const struct dp_engine *engine, unsigned shard, uint64_t flows)
{
    static const char *const states[] = {[DP_MOVE_IDLE] = "owned",
                                         [DP_MOVE_FENCING] = "fencing",
                                         [DP_MOVE_FROZEN] = "frozen",
                                         [DP_MOVE_RELEASED] = "released"};
    enum dp_move_state state = dp_owner_state(engine);
    struct json *row = dp_reply_row(reply, "shard");
    json_u64(row, "shard", shard);
    json_u64(row, "owner", engine->owner[shard]);
    json_text(row, "state", states[engine->move.shard == shard ? state : DP_MOVE_IDLE]);
    json_u64(row, "flows", flows);
    dp_reply_row_end(reply);
}

static uint64_t flows_of(struct ft *flows, unsigned shard)
{
    uint64_t position = 0, count = 0;
    struct ft_flow flow;
    while (ft_walk(flows, (uint8_t)shard, &position, &flow))
        count++;
    return count;
}

void dp_show_shards(const json_t *request, struct dp_reply *reply, void *run)
{
    struct dp_engine *engine = dp_run_engine(run);
    int reader = ft_reader_register(engine->flows);
    (void)request;
    if (reader < 0) {
        dp_reply_error(reply, "too many readers of the flow table");
        return;
    }
    ft_reader_online(engine->flows, reader);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        shard_row(reply, engine, shard, flows_of(engine->flows, shard));
        ft_reader_quiescent(engine->flows, reader);
    }
    ft_reader_offline(engine->flows, reader);
    ft_reader_unregister(engine->flows, reader);
}

const struct dp_argument dp_set_shard_arguments[] = {
    {"shard", DP_ARGUMENT_NUMBER, FT_SHARDS - 1},
    {"owner", DP_ARGUMENT_NUMBER, DP_WORKERS_MAX - 1},
    {.name = NULL},
};

void dp_set_shard(const json_t *request, struct dp_reply *reply, void *run)
{
    struct dp_engine *engine = dp_run_engine(run);
    uint64_t shard = dp_request_number(request, "shard", UINT64_MAX);
    uint64_t owner = dp_request_number(request, "owner", UINT64_MAX);
    if (shard == UINT64_MAX || owner >= engine->config.worker_count) {
        dp_reply_error(reply, "expected \"shard\", 0 to %u, and \"owner\", a worker, 0 to %u", FT_SHARDS - 1,
                       engine->config.worker_count - 1);
        return;
    }
    if (dp_owner_move(engine, (unsigned)shard, (unsigned)owner, false)) {
        dp_reply_error(reply, "another shard is changing hands, or a pack is being loaded; try again");
        return;
    }
    for (unsigned waits = 0; dp_owner_state(engine) != DP_MOVE_IDLE && waits < MOVE_WAIT_MAX; waits++)
        usleep(MOVE_WAIT_US);
    if (dp_owner_state(engine) == DP_MOVE_IDLE)
        shard_row(reply, engine, (unsigned)shard, flows_of(engine->flows, (unsigned)shard));
    else
        dp_reply_error(reply, "shard %u has not changed hands yet: a worker is stuck, see sce show shards",
                       (unsigned)shard);
}

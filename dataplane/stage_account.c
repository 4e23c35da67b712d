#include "dataplane/worker.h"

/* A record carries at most 2^32 - 1 bytes a direction: each time a total crosses a multiple of this, the rest is looked at. */
#define CHECK_SHIFT 31

static void report_interim(struct dp_worker *worker, ft_slot slot, uint64_t now_ns)
{
    struct ft *flows = worker->engine->flows;
    struct ft_hot *hot = ft_hot(flows, slot);
    struct ft_cold *cold = ft_cold(flows, slot);
    if (!(hot->flags & FT_FLOW_DECIDED) || !dp_event_send(worker, slot, DP_EVENT_FLOW_INTERIM, DP_CLOSE_END, now_ns))
        return;
    ft_write_begin(hot);
    FT_SET(cold->reported_bytes[0], hot->bytes[0]);
    FT_SET(cold->reported_bytes[1], hot->bytes[1]);
    FT_SET(cold->interval, (uint16_t)(cold->interval + 1));
    ft_write_end(hot);
}

void dp_account_bytes(struct dp_worker *worker, ft_slot slot, uint8_t from_server, uint64_t bytes, uint64_t now_ns)
{
    struct ft_hot *hot = ft_hot(worker->engine->flows, slot);
    uint64_t total = hot->bytes[from_server] + bytes;
    bool crossed = total >> CHECK_SHIFT != hot->bytes[from_server] >> CHECK_SHIFT;
    /* Before the addition: what is reported then is surely below the limit, packets being below 2^31 bytes. */
    if (unlikely(crossed))
        report_interim(worker, slot, now_ns);
    ft_write_begin(hot);
    FT_SET(hot->bytes[from_server], total);
    ft_write_end(hot);
    if (hot->flags & FT_FLOW_DECIDED) {
        unsigned down = from_server ^ ft_flow_up_direction(hot);
        DP_COUNT(worker->usage[hot->flags >> FT_FLOW_LINK_SHIFT][worker->engine->service_of[hot->name]].bytes[down],
                 bytes);
    }
}

void dp_stage_account(struct dp_worker *worker, struct dp_burst *burst, unsigned begin, unsigned end)
{
    for (unsigned i = begin; i < end; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        dp_account_bytes(worker, burst->slot[i], burst->from_server[i], burst->view[i].ip_bytes, burst->now_ns[i]);
        const struct dp_fragment_credit *credit = &burst->credit[i];
        if (unlikely(credit->packets)) {
            uint8_t from_server =
                credit->swap ^ (ft_hot(worker->engine->flows, burst->slot[i])->flags & FT_FLOW_CLIENT_ENDPOINT);
            dp_account_bytes(worker, burst->slot[i], from_server, credit->bytes, burst->now_ns[i]);
            DP_COUNT(worker->stats.credited_fragments, credit->packets);
        }
        burst->outcome[i] = DP_OUTCOME_forwarded;
    }
}

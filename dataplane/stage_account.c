#include "dataplane/worker.h"

#define CHECK_BYTES (UINT64_C(1) << DP_VOLUME_CHECK_SHIFT)

/* True when a record could not carry any more what will have come by the next time that it is looked at. */
static bool volume_is_due(const struct ft_hot *hot, const struct ft_cold *cold, uint8_t from_server, uint64_t total)
{
    uint64_t next_check = (total & ~(CHECK_BYTES - 1)) + CHECK_BYTES;
    return hot->flags & FT_FLOW_DECIDED &&
           next_check - cold->reported_bytes[from_server] > (uint64_t)DP_RECORD_VOLUME_MAX + 1;
}

static __rte_noinline void report_interim(struct dp_worker *worker, ft_slot slot, uint64_t now_ns)
{
    struct ft *flows = worker->engine->flows;
    struct ft_hot *hot = ft_hot(flows, slot);
    struct ft_cold *cold = ft_cold(flows, slot);
    if (!dp_event_send(worker, slot, DP_EVENT_FLOW_INTERIM, DP_CLOSE_END, now_ns))
        return;
    uint32_t records = dp_records_of(hot->bytes[0] - cold->reported_bytes[0], hot->bytes[1] - cold->reported_bytes[1]);
    ft_write_begin(hot);
    FT_SET(cold->reported_bytes[0], hot->bytes[0]);
    FT_SET(cold->reported_bytes[1], hot->bytes[1]);
    FT_SET(cold->interval, (uint16_t)(cold->interval + records));
    ft_write_end(hot);
}

static inline void account(struct dp_worker *worker, ft_slot slot, uint8_t from_server, uint64_t bytes, uint64_t now_ns)
{
    struct ft_hot *hot = ft_hot(worker->engine->flows, slot);
    uint64_t total = hot->bytes[from_server] + bytes;
    bool crossed = total >> DP_VOLUME_CHECK_SHIFT != hot->bytes[from_server] >> DP_VOLUME_CHECK_SHIFT;
    /* Before the addition: what is reported then is within the limit. */
    if (unlikely(crossed) && volume_is_due(hot, ft_cold(worker->engine->flows, slot), from_server, total))
        report_interim(worker, slot, now_ns);
    ft_write_begin(hot);
    FT_SET(hot->bytes[from_server], total);
    ft_write_end(hot);
    if (hot->flags & FT_FLOW_STARTED_BEFORE)
        DP_COUNT(worker->stats.started_before_bytes, bytes);
    if (hot->flags & FT_FLOW_DECIDED) {
        unsigned down = from_server ^ ft_flow_up_direction(hot);
        DP_COUNT(worker->usage[hot->flags >> FT_FLOW_LINK_SHIFT][worker->engine->service_of[hot->name]].bytes[down],
                 bytes);
    }
}

void dp_account_bytes(struct dp_worker *worker, ft_slot slot, uint8_t from_server, uint64_t bytes, uint64_t now_ns)
{
    account(worker, slot, from_server, bytes, now_ns);
}

void dp_stage_account(struct dp_worker *worker, struct dp_burst *burst, unsigned begin, unsigned end)
{
    for (unsigned i = begin; i < end; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        account(worker, burst->slot[i], burst->from_server[i], burst->view[i].ip_bytes, burst->now_ns[i]);
        if (unlikely(burst->credited & 1u << i)) {
            const struct dp_fragment_credit *credit = &burst->credit[i];
            uint8_t from_server =
                credit->swap ^ (ft_hot(worker->engine->flows, burst->slot[i])->flags & FT_FLOW_CLIENT_ENDPOINT);
            dp_account_bytes(worker, burst->slot[i], from_server, credit->bytes, burst->now_ns[i]);
            DP_COUNT(worker->stats.credited_fragments, credit->packets);
        }
        burst->outcome[i] = DP_OUTCOME_forwarded;
    }
}

#include "dataplane/worker.h"

#define SWEEP_FLOWS_MAX     FT_BURST_MAX
#define EXPIRED_CREDITS_MAX 16u

static void pipeline(struct dp_worker *worker, struct dp_burst *burst)
{
    dp_stage_route(worker, burst);
    for (unsigned begin = 0; begin < burst->count;) {
        unsigned end = dp_stage_flow(worker, burst, begin);
        if (burst->has_rest) {
            dp_stage_classify(worker, burst, begin, end);
            dp_stage_account(worker, burst, begin, end);
        }
        begin = end;
    }
    dp_stage_sink(worker, burst);
}

void dp_worker_receive(struct dp_worker *worker, struct dp_burst *burst)
{
    burst->strays = false;
    dp_stage_parse(worker, burst);
    dp_stage_flow_prefetch(worker, burst);
    pipeline(worker, burst);
}

void dp_worker_receive_ahead(struct dp_worker *worker)
{
    struct dp_burst *burst = dp_worker_next(worker);
    if (likely(worker->held != NULL))
        dp_stage_flow_prefetch(worker, worker->held);
    burst->strays = false;
    dp_stage_parse(worker, burst);
    if (likely(worker->held != NULL))
        pipeline(worker, worker->held);
    worker->held = burst;
}

void dp_worker_finish(struct dp_worker *worker)
{
    if (worker->held) {
        dp_stage_flow_prefetch(worker, worker->held);
        pipeline(worker, worker->held);
    }
    worker->held = NULL;
}

/*
 * A packet that the peer has judged goes on to the sink; a fence has met what came before it, once that has gone through the
 * pipeline.
 */
static void take_from_peer(struct dp_worker *worker, struct dp_burst *burst, unsigned *i, struct rte_mbuf *mbuf)
{
    const struct dp_meta *meta = rte_mbuf_to_priv(mbuf);
    if (meta->kind == DP_META_FENCE) {
        burst->count = *i;
        pipeline(worker, burst);
        *i = 0;
        burst->credited = 0;
        dp_peer_meet_fence(worker, mbuf);
        return;
    }
    unsigned at = (*i)++;
    memset(&burst->view[at], 0, sizeof burst->view[at]);
    burst->mbuf[at] = mbuf;
    burst->now_ns[at] = meta->now_ns;
    burst->number[at] = 0;
    burst->link[at] = meta->link;
    burst->side[at] = meta->side;
    burst->link_type[at] = DP_LINK_ETHERNET;
    burst->resolved[at] = false;
    burst->hops[at] = 0;
    burst->shard[at] = meta->shard;
    burst->slot[at] = FT_SLOT_NONE;
    burst->outcome[at] = DP_OUTCOME_returned;
}

void dp_worker_take_strays(struct dp_worker *worker, struct rte_mbuf *const mbufs[], unsigned count)
{
    struct dp_burst *burst = &worker->burst;
    burst->count = count;
    burst->credited = 0;
    burst->strays = true;
    unsigned i = 0;
    for (unsigned k = 0; k < count; k++) {
        const struct dp_meta *meta = rte_mbuf_to_priv(mbufs[k]);
        if (unlikely(meta->kind != DP_META_PACKET)) {
            take_from_peer(worker, burst, &i, mbufs[k]);
            continue;
        }
        burst->mbuf[i] = mbufs[k];
        burst->view[i] = meta->view;
        if (meta->credit.packets) {
            burst->credit[i] = meta->credit;
            burst->credited |= 1u << i;
        }
        burst->now_ns[i] = meta->now_ns;
        burst->number[i] = meta->number;
        burst->link[i] = meta->link;
        burst->side[i] = meta->side;
        burst->link_type[i] = meta->link_type;
        burst->resolved[i] = meta->resolved;
        burst->hops[i] = meta->hops;
        burst->hash[i] = ft_hash(worker->engine->flows, &burst->view[i].key);
        burst->shard[i] = (uint8_t)burst->hash[i];
        burst->outcome[i] = DP_OUTCOME_NONE;
        i++;
    }
    burst->count = i;
    ft_prefetch_index(worker->engine->flows, burst->hash, i);
    dp_stage_flow_prefetch(worker, burst);
    pipeline(worker, burst);
}

unsigned dp_worker_take_handoffs(struct dp_worker *worker)
{
    unsigned taken = dp_owner_poll(worker);
    for (unsigned from = 0; from < worker->engine->config.worker_count; from++) {
        if (from == worker->number)
            continue;
        struct rte_mbuf *mbufs[DP_BURST_MAX];
        unsigned count = rte_ring_sc_dequeue_burst(worker->handoff[from], (void **)mbufs, DP_BURST_MAX, NULL);
        if (!count)
            continue;
        dp_worker_take_strays(worker, mbufs, count);
        /* Release: what became of them goes before; partner: the acquire in owner.c. */
        atomic_store_explicit(&worker->taken[from],
                              atomic_load_explicit(&worker->taken[from], memory_order_relaxed) + count,
                              memory_order_release);
        taken += count;
    }
    return taken;
}

bool dp_event_send(struct dp_worker *worker, ft_slot slot, enum dp_event_kind kind, enum dp_close close,
                   uint64_t now_ns)
{
    struct dp_engine *engine = worker->engine;
    struct dp_event event = {.now_ns = now_ns,
                             .order = worker->event_order,
                             .kind = (uint8_t)kind,
                             .close = (uint8_t)close,
                             .worker = worker->number};
    ft_copy(engine->flows, slot, &event.flow);
    if (kind == DP_EVENT_FLOW_END) {
        event.attributes = event.flow.cold.attributes;
    } else if (kind == DP_EVENT_FLOW_INTERIM) {
        bool exhausted;
        event.attributes = dp_attributes_copy(&worker->attributes, event.flow.cold.attributes, &exhausted);
        DP_COUNT(worker->stats.attributes_exhausted, exhausted ? 1 : 0);
    }
    while (rte_ring_sp_enqueue_elem(worker->events, &event, sizeof event)) {
        if (!engine->event_wait || !(engine->config.offline || worker->closing)) {
            DP_COUNT(worker->stats.events_lost, 1);
            dp_attributes_drop(&worker->attributes, event.attributes);
            return false;
        }
        engine->event_wait(engine->event_wait_context);
    }
    return true;
}

/* The usage counters of a flow's service on its link. */
static struct dp_usage *usage_of(struct dp_worker *worker, const struct ft_hot *hot)
{
    return &worker->usage[hot->flags >> FT_FLOW_LINK_SHIFT][worker->engine->service_of[hot->name]];
}

static void charge(struct dp_worker *worker, const struct ft_hot *hot)
{
    struct dp_usage *usage = usage_of(worker, hot);
    uint8_t up = ft_flow_up_direction(hot);
    DP_COUNT(usage->bytes[0], hot->bytes[up]);
    DP_COUNT(usage->bytes[1], hot->bytes[!up]);
    DP_COUNT(usage->sessions, 1);
    DP_COUNT(usage->concurrent_sessions, 1);
}

static uint16_t decided_flags(const struct dp_worker *worker, unsigned flags, cl_protocol protocol)
{
    flags &= ~(3u * FT_FLOW_SEQ_KNOWN); /* bits of undecided flows */
    if (worker->engine->learning.expected && cl_announces(cl_worker_engine(worker->classifier), protocol))
        flags |= FT_FLOW_ANNOUNCES;
    return (uint16_t)(flags | FT_FLOW_DECIDED);
}

void dp_flow_decide(struct dp_worker *worker, ft_slot slot, const struct cl_verdict *verdict,
                    const struct cl_info *info, uint32_t packets, uint32_t payload_packets)
{
    struct dp_engine *engine = worker->engine;
    struct ft_hot *hot = ft_hot(engine->flows, slot);
    struct ft_cold *cold = ft_cold(engine->flows, slot);
    bool exhausted = false;
    uint32_t attributes = info ? dp_attributes_store(&worker->attributes, info, &exhausted) : 0;
    DP_COUNT(worker->stats.attributes_exhausted, exhausted ? 1 : 0);

    ft_write_begin(hot);
    FT_SET(hot->name, verdict->application ? verdict->application : verdict->protocol);
    FT_SET(hot->flags, decided_flags(worker, hot->flags, verdict->protocol));
    FT_SET(cold->protocol, verdict->protocol);
    FT_SET(cold->signature, verdict->signature);
    FT_SET(cold->method, verdict->method);
    FT_SET(cold->confidence, verdict->confidence);
    FT_SET(cold->pack, dp_pack_label(worker->pack));
    FT_SET(cold->packets_to_verdict, (uint16_t)RTE_MIN(packets, (uint32_t)UINT16_MAX));
    FT_SET(cold->payload_packets_to_verdict, (uint8_t)RTE_MIN(payload_packets, (uint32_t)UINT8_MAX));
    FT_SET(cold->attributes, attributes);
    FT_SET(cold->packets_high[0], 0);
    FT_SET(cold->packets_high[1], 0);
    FT_SET(cold->version, cold->version + 1);
    uint32_t pending = cold->pending;
    FT_SET(cold->pending, 0);
    ft_write_end(hot);

    charge(worker, hot);
    DP_COUNT(worker->stats.verdicts[verdict->method], 1);
    if (engine->config.flow_events && dp_event_send(worker, slot, DP_EVENT_FLOW_START, DP_CLOSE_END, hot->last_ns)) {
        ft_write_begin(hot);
        FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_START_REPORTED));
        ft_write_end(hot);
    }
    dp_pending_drop(worker->pending, pending);
}

void dp_flow_conclude(struct dp_worker *worker, ft_slot slot, struct dp_pending *pending, const struct cl_info *info,
                      bool established, uint32_t packets)
{
    static const struct cl_state nothing;
    static const struct dp_learned unlearned;
    const struct dp_learned *learned = pending ? &pending->learned : &unlearned;
    const struct ft_hot *hot = ft_hot(worker->engine->flows, slot);
    if (pending && pending->packets_to_verdict) {
        struct cl_verdict found = pending->verdict;
        cl_complete(cl_worker_engine(worker->classifier), &learned->fallback, learned->named, info, &found);
        dp_flow_decide(worker, slot, &found, info, pending->packets_to_verdict, pending->payload_packets_to_verdict);
        return;
    }
    unsigned client = hot->flags & FT_FLOW_CLIENT_ENDPOINT;
    struct cl_verdict verdict;
    if (pending)
        dp_pending_adopt(worker, pending);
    cl_conclude(cl_worker_engine(worker->classifier), pending ? &pending->state : &nothing, hot->ip_proto,
                rte_be_to_cpu_16(hot->port_be16[client]), rte_be_to_cpu_16(hot->port_be16[!client]), established,
                &verdict);
    cl_complete(cl_worker_engine(worker->classifier), &learned->fallback, learned->named, info, &verdict);
    dp_flow_decide(worker, slot, &verdict, info, packets,
                   pending ? (uint32_t)pending->payload_packets[0] + pending->payload_packets[1] : 0);
}

/* A flow that ends undecided. */
static void judge_at_close(struct dp_worker *worker, ft_slot slot)
{
    const struct ft_hot *hot = ft_hot(worker->engine->flows, slot);
    struct dp_pending *pending = dp_pending_get(worker->pending, ft_cold(worker->engine->flows, slot)->pending);
    if (pending)
        dp_pending_texts(worker->pending, pending, &worker->info);
    dp_flow_conclude(worker, slot, pending, pending ? &worker->info : NULL, hot->flags & FT_FLOW_ESTABLISHED,
                     hot->packets[0] + hot->packets[1]);
}

/* All of a flow's end but its leaving the table. */
static void end_flow(struct dp_worker *worker, ft_slot slot, uint64_t now_ns, bool at_end)
{
    struct dp_engine *engine = worker->engine;
    const struct ft_hot *hot = ft_hot(engine->flows, slot);
    struct ft_cold *cold = ft_cold(engine->flows, slot);
    if (!(hot->flags & FT_FLOW_DECIDED))
        judge_at_close(worker, slot);
    enum dp_close close = hot->flags & FT_FLOW_RESET               ? DP_CLOSE_RST
                          : hot->flags & FT_FLOW_FINISHED          ? DP_CLOSE_FIN
                          : ft_expired(engine->flows, hot, now_ns) ? DP_CLOSE_AGED
                          : at_end                                 ? DP_CLOSE_END
                                                                   : DP_CLOSE_FIN;                        /* one FIN, then a SYN: begun anew */
    if (engine->config.offline && ft_expired(engine->flows, hot, now_ns)) /* told as of then, whoever noticed when */
        now_ns = hot->last_ns + engine->config.flow_table.timeout_ns[hot->timeout_class];
    struct dp_usage *usage = usage_of(worker, hot);
    if (hot->last_ns > cold->first_ns)
        DP_COUNT(usage->duration_ns, hot->last_ns - cold->first_ns);
    DP_COUNT(usage->concurrent_sessions, (uint64_t)-1);
    DP_COUNT(worker->stats.flows_closed, 1);
    if (ft_hot(worker->engine->flows, slot)->flags & FT_FLOW_STARTED_BEFORE)
        DP_COUNT(worker->stats.flows_started_before_closed, 1);
    DP_COUNT(worker->stats.closes[close], 1);
    dp_event_send(worker, slot, DP_EVENT_FLOW_END, close, now_ns);
}

void dp_flow_close(struct dp_worker *worker, ft_slot slot, uint64_t now_ns, bool at_end)
{
    end_flow(worker, slot, now_ns, at_end);
    ft_remove(worker->engine->flows, slot);
}

/* Flows that timed out. Fetched first: nobody touched them since. */
static void close_expired(struct dp_worker *worker, const ft_slot slots[], unsigned count, uint64_t now_ns)
{
    struct ft *flows = worker->engine->flows;
    for (unsigned i = 0; i < count; i++)
        rte_prefetch0(ft_cold(flows, slots[i]));
    for (unsigned i = 0; i < count; i++)
        end_flow(worker, slots[i], now_ns, false);
    ft_remove_bulk(flows, slots, count);
}

void dp_worker_expire_fragments(struct dp_worker *worker, uint64_t now_ns)
{
    struct dp_fragment_credit credits[EXPIRED_CREDITS_MAX];
    bool done;
    do {
        uint32_t count = dp_fragments_expire(worker->fragments, now_ns, credits, EXPIRED_CREDITS_MAX, &done);
        for (uint32_t i = 0; i < count; i++)
            dp_flow_credit(worker, &credits[i], credits[i].first_ns + DP_FRAGMENT_TIMEOUT_NS);
    } while (!done);
}

/*
 * How many slots ageing may look at now: as many as time has passed for, so that the whole table is looked at once in
 * DP_SWEEP_ROUND_NS, in portions, since each slot is a line that is not in cache. After a jump of the clock one portion of
 * each shard is due at once, not more. Flows that it finds are on top of that: it keeps up with any rate at which they
 * begin, SWEEP_FLOWS_MAX a loop, which is more than a burst can begin.
 */
static unsigned sweep_budget(struct dp_worker *worker, uint64_t sweep_ns)
{
    const struct dp_engine_config *config = &worker->engine->config;
    uint64_t capacity = config->flow_table.capacity_flows;
    uint64_t table_slots = capacity + RTE_MAX(capacity / 16, FT_CAPACITY_FLOWS_MIN); /* each shard's spare chunk */
    /* Of a small table no more than a shard has: what is left of a portion looks at nothing, and the round takes longer. */
    uint64_t portion = RTE_MIN((uint64_t)config->sweep_slots, table_slots / FT_SHARDS), most = portion * FT_SHARDS;
    uint64_t elapsed_ns = sweep_ns > worker->swept_ns ? sweep_ns - worker->swept_ns : 0;
    uint64_t share = table_slots / config->worker_count;
    uint64_t slots = elapsed_ns < DP_SWEEP_ROUND_NS ? share * elapsed_ns / DP_SWEEP_ROUND_NS : most;
    if (slots) {
        worker->swept_ns = sweep_ns;
        worker->sweep_due_slots = RTE_MIN(worker->sweep_due_slots + slots, most);
    }
    if (worker->sweep_due_slots < portion)
        return 0;
    worker->sweep_due_slots -= portion;
    return (unsigned)portion;
}

/* Goes through one of the worker's shards, then the next, so that flows end evenly over time; false when it has none. */
static bool next_shard(struct dp_worker *worker)
{
    const uint8_t *owner = worker->owner;
    if (owner[worker->sweep_shard] == worker->number &&
        !ft_sweep_is_over(worker->engine->flows, (uint8_t)worker->sweep_shard))
        return true;
    for (unsigned step = 1; step <= FT_SHARDS; step++) {
        unsigned shard = (worker->sweep_shard + step) % FT_SHARDS;
        if (owner[shard] != worker->number)
            continue;
        worker->sweep_shard = shard;
        return true;
    }
    return false;
}

void dp_worker_housekeeping(struct dp_worker *worker, uint64_t now_ns)
{
    struct dp_engine *engine = worker->engine;
    bool offline = engine->config.offline;
    if (now_ns > worker->now_ns)
        worker->now_ns = now_ns;
    dp_worker_take_pack(worker);
    /*
     * Offline what this worker has seen says nothing of what is on its way to it. And behind the disorder of a capture's
     * stamps, else ageing could end a flow that its next packet would find alive.
     */
    uint64_t clock_ns = offline ? now_ns : worker->now_ns, slack_ns = offline ? DP_CLOCK_DISORDER_NS : 0;
    uint64_t sweep_ns = clock_ns > slack_ns ? clock_ns - slack_ns : 0;
    dp_worker_expire_fragments(worker, sweep_ns); /* before ageing, which would find their flows without them */
    unsigned budget_slots = sweep_budget(worker, sweep_ns);
    if (!budget_slots)
        return;
    if (!next_shard(worker))
        return;
    ft_slot slots[SWEEP_FLOWS_MAX];
    unsigned count =
        ft_sweep(engine->flows, (uint8_t)worker->sweep_shard, sweep_ns, budget_slots, slots, SWEEP_FLOWS_MAX);
    close_expired(worker, slots, count, sweep_ns);
    worker->sweep_due_slots += count == SWEEP_FLOWS_MAX ? budget_slots : count;
}

void dp_worker_close_all(struct dp_worker *worker, uint64_t now_ns)
{
    struct dp_engine *engine = worker->engine;
    worker->closing = true;
    dp_worker_expire_fragments(worker, UINT64_MAX);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        if (worker->owner[shard] != worker->number)
            continue;
        uint64_t position = 0;
        struct ft_flow flow;
        while (ft_walk(engine->flows, (uint8_t)shard, &position, &flow))
            dp_flow_close(worker, flow.slot, now_ns, true);
    }
    worker->closing = false;
    dp_pending_pool_flush(worker->pending);
    dp_attributes_flush(&worker->attributes);
}

const char *dp_close_name(enum dp_close close)
{
    static const char *const names[DP_CLOSE_COUNT] = {"fin", "rst", "aged", "end"};
    return names[close];
}

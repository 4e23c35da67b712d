#include <errno.h>

#include "dataplane/worker.h"

#define IP_PROTO_TCP 6
#define IP_PROTO_UDP 17

/* True when this packet does not belong to the flow that has its key: that one timed out, or TCP begins anew. */
static bool begins_anew(const struct dp_worker *worker, const struct ft_hot *hot, const struct dp_view *view,
                        uint64_t now_ns)
{
    if (ft_expired(worker->engine->flows, hot, now_ns))
        return true;
    uint8_t from_server = view->swap ^ (hot->flags & FT_FLOW_CLIENT_ENDPOINT);
    return view->key.ip_proto == IP_PROTO_TCP &&
           ft_tcp_reopens(hot->tcp_state, from_server, ft_tcp_event(view->tcp_flags));
}

static bool net_contains(const struct dp_subscriber_net *net, const uint8_t *address)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->address, address, whole))
        return false;
    return !rest || !((net->address[whole] ^ address[whole]) >> (8 - rest));
}

static bool is_subscriber(const struct dp_engine_config *config, const struct ft_key *key, unsigned endpoint)
{
    for (unsigned i = 0; i < config->subscriber_net_count; i++)
        if (config->subscriber_nets[i].is_v6 == key->is_v6 &&
            net_contains(&config->subscriber_nets[i], key->addr[endpoint]))
            return true;
    return false;
}

/*
 * Which end is the subscriber: live, the side the first packet came in at; in replay the end within a subscriber net, the
 * client when neither or both are.
 */
static bool subscriber_is_server(const struct dp_worker *worker, uint8_t side, const struct ft_key *key,
                                 uint8_t client_endpoint)
{
    if (side != DP_SIDES)
        return side == DP_NETWORK;
    const struct dp_engine_config *config = &worker->engine->config;
    return config->subscriber_net_count && !is_subscriber(config, key, client_endpoint) &&
           is_subscriber(config, key, !client_endpoint);
}

static uint8_t outcome_of_refusal(int error)
{
    switch (error) {
    case -EDQUOT:
        return DP_OUTCOME_flow_table_unanswered;
    case -EXFULL:
        return DP_OUTCOME_flow_table_no_bucket;
    default:
        return DP_OUTCOME_flow_table_no_slot;
    }
}

struct flow_opening {
    const struct ft_key *key;
    uint64_t hash, number, now_ns;
    uint8_t swap, link, side, tcp_flags;
};

/* A flow begins with this packet, or with those of its datagram that came before their first fragment. */
static struct flow_opening opening_of(const struct dp_burst *burst, unsigned i, const struct ft_key *key, uint64_t hash)
{
    struct flow_opening opening = {.key = key,
                                   .hash = hash,
                                   .number = burst->number[i],
                                   .now_ns = burst->now_ns[i],
                                   .swap = burst->view[i].swap,
                                   .link = burst->link[i],
                                   .side = burst->side[i],
                                   .tcp_flags = burst->view[i].tcp_flags};
    if (burst->credited & 1u << i) {
        opening.number = burst->credit[i].origin.number;
        opening.now_ns = burst->credit[i].first_ns;
    }
    return opening;
}

/* Its beginning was not seen: TCP without its SYN, UDP right after the start. */
static bool is_started_before(const struct dp_engine *engine, const struct flow_opening *o)
{
    if (o->key->ip_proto == IP_PROTO_TCP)
        return ft_tcp_event(o->tcp_flags) != FT_TCP_EVENT_SYN;
    return o->key->ip_proto == IP_PROTO_UDP && o->now_ns - engine->started_ns < engine->config.started_before_ns;
}

/* Makes a flow; its first packet is not counted yet. 0 or the table's refusal. */
static int open_flow(struct dp_worker *worker, const struct flow_opening *o, ft_slot *ret_slot)
{
    struct dp_engine *engine = worker->engine;
    uint64_t number = o->number ? o->number : (uint64_t)worker->number << 40 | ++worker->uid_next;
    uint64_t uid = (uint64_t)engine->config.creator << 48 | number;
    int error = ft_insert(engine->flows, o->key, o->hash, uid, o->now_ns, ret_slot);
    if (error)
        return error;
    struct ft_hot *hot = ft_hot(engine->flows, *ret_slot);
    unsigned flags = o->swap | (unsigned)o->link << FT_FLOW_LINK_SHIFT;
    if (subscriber_is_server(worker, o->side, o->key, o->swap))
        flags |= FT_FLOW_SUBSCRIBER_IS_SERVER;
    if (is_started_before(engine, o)) {
        flags |= FT_FLOW_STARTED_BEFORE;
        DP_COUNT(worker->stats.flows_started_before, 1);
    }
    ft_write_begin(hot);
    if (o->key->ip_proto != IP_PROTO_TCP)
        ft_set_timeout_class(engine->flows, *ret_slot,
                             o->key->ip_proto == IP_PROTO_UDP ? FT_TIMEOUT_udp_unanswered : FT_TIMEOUT_other);
    FT_SET(hot->flags, (uint16_t)flags);
    ft_write_end(hot);
    DP_COUNT(worker->stats.flows_opened, 1);
    return 0;
}

/* TCP's next state, and what follows from it for flags and time-out. Within a write. */
static unsigned track_tcp(struct ft *flows, ft_slot slot, struct ft_hot *hot, uint8_t from_server, uint8_t tcp_flags,
                          unsigned flags)
{
    enum ft_tcp_state state = ft_tcp_next(hot->tcp_state, from_server, ft_tcp_event(tcp_flags));
    if (state != hot->tcp_state) {
        FT_SET(hot->tcp_state, (uint8_t)state);
        ft_set_timeout_class(flows, slot, ft_tcp_timeout(state));
    }
    if (state == FT_TCP_ESTABLISHED)
        flags |= FT_FLOW_ESTABLISHED;
    if (state == FT_TCP_CLOSED)
        flags |= FT_FLOW_FINISHED;
    if (state == FT_TCP_RESET)
        flags |= FT_FLOW_RESET;
    return flags;
}

/* Counts packets of one direction, carrying into the high half, which an undecided flow has no place for and no time to need. */
static void count_packets(struct ft *flows, ft_slot slot, struct ft_hot *hot, uint8_t direction, uint32_t packets)
{
    uint32_t count = hot->packets[direction] + packets;
    if (unlikely(count < packets) && (hot->flags & FT_FLOW_DECIDED) && !ft_flow_is_watched(hot)) {
        struct ft_cold *cold = ft_cold(flows, slot);
        FT_SET(cold->packets_high[direction], cold->packets_high[direction] + 1);
    }
    FT_SET(hot->packets[direction], count);
}

/* The packet's mark on its flow: state, time, packet counts. */
static void touch(struct dp_worker *worker, struct dp_burst *burst, unsigned i, ft_slot slot)
{
    struct ft *flows = worker->engine->flows;
    struct ft_hot *hot = ft_hot(flows, slot);
    const struct dp_view *view = &burst->view[i];
    uint8_t from_server = view->swap ^ (hot->flags & FT_FLOW_CLIENT_ENDPOINT);
    unsigned flags = hot->flags;

    ft_write_begin(hot);
    count_packets(flows, slot, hot, from_server, 1);
    if (unlikely(burst->credited & 1u << i))
        count_packets(flows, slot, hot, burst->credit[i].swap ^ (hot->flags & FT_FLOW_CLIENT_ENDPOINT),
                      burst->credit[i].packets);
    if (burst->now_ns[i] > hot->last_ns)
        FT_SET(hot->last_ns, burst->now_ns[i]);
    if (view->key.ip_proto == IP_PROTO_TCP) {
        flags = track_tcp(flows, slot, hot, from_server, view->tcp_flags, flags);
        if (from_server && (flags & FT_FLOW_STARTED_BEFORE))
            flags |= FT_FLOW_ESTABLISHED;
    }
    if (from_server && !(flags & FT_FLOW_ANSWERED)) {
        flags |= FT_FLOW_ANSWERED;
        if (view->key.ip_proto == IP_PROTO_UDP)
            ft_set_timeout_class(flows, slot, FT_TIMEOUT_udp_answered);
    }
    if (flags != hot->flags)
        FT_SET(hot->flags, (uint16_t)flags);
    ft_write_end(hot);

    /* Classification will want it. */
    if (!(flags & FT_FLOW_DECIDED) && (view->payload_bytes || from_server))
        rte_prefetch0(ft_cold(flows, slot));
    burst->slot[i] = slot;
    burst->from_server[i] = from_server;
    burst->ordinal[i] = hot->packets[0] + hot->packets[1];
}

#define TCP_FIN_SYN_RST 0x07 /* without these ft_tcp_event() says ACK */

/*
 * The fast path: all that later stages would do for a plain packet, in one write of one line. Plain: there is nothing but
 * counters to change; the flow is decided, answered, open, in time, announces no others and is not watched (judged.h); of
 * TCP the packet is an ACK of an established one. False, and nothing done, when it is not, or when a count carries or a
 * volume is to be looked at.
 */
static inline bool pass_plain(struct dp_worker *worker, struct dp_burst *burst, unsigned i, struct ft_hot *hot)
{
    const unsigned want = FT_FLOW_DECIDED | FT_FLOW_ANSWERED;
    const unsigned refuse = FT_FLOW_FINISHED | FT_FLOW_RESET | FT_FLOW_ANNOUNCES | FT_FLOW_WATCHED;
    const struct dp_engine *engine = worker->engine;
    const struct dp_view *view = &burst->view[i];
    const uint64_t now_ns = burst->now_ns[i], last_ns = hot->last_ns, ip_bytes = view->ip_bytes;
    const unsigned flags = hot->flags, from_server = view->swap ^ (flags & FT_FLOW_CLIENT_ENDPOINT);
    const uint64_t old_bytes = hot->bytes[from_server], bytes = old_bytes + ip_bytes;
    const uint32_t packets = hot->packets[from_server] + 1;
    bool is_ack = hot->tcp_state == FT_TCP_ESTABLISHED && !(view->tcp_flags & TCP_FIN_SYN_RST);
    if (unlikely((flags & (want | refuse)) != want || ft_expired(engine->flows, hot, now_ns) || !packets ||
                 (bytes ^ old_bytes) >> DP_VOLUME_CHECK_SHIFT))
        return false;
    if (unlikely(view->key.ip_proto == IP_PROTO_TCP && !is_ack))
        return false;
    const unsigned down = from_server ^ ft_flow_up_direction(hot);
    uint64_t *usage = &worker->usage[flags >> FT_FLOW_LINK_SHIFT][engine->service_of[hot->name]].bytes[down];

    ft_write_begin(hot);
    FT_SET(hot->packets[from_server], packets);
    FT_SET(hot->bytes[from_server], bytes);
    if (now_ns > last_ns)
        FT_SET(hot->last_ns, now_ns);
    ft_write_end(hot);
    DP_COUNT(*usage, ip_bytes);
    if (unlikely(flags & FT_FLOW_STARTED_BEFORE))
        DP_COUNT(worker->stats.started_before_bytes, ip_bytes);
    burst->outcome[i] = DP_OUTCOME_forwarded;
    return true;
}

void dp_stage_flow_prefetch(struct dp_worker *worker, struct dp_burst *burst)
{
    struct ft_key keys[DP_BURST_MAX];
    uint64_t hashes[DP_BURST_MAX];
    ft_slot hints[DP_BURST_MAX];
    uint8_t index[DP_BURST_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE || worker->owner[burst->shard[i]] != worker->number)
            continue;
        keys[count] = burst->view[i].key;
        hashes[count] = burst->hash[i];
        index[count++] = (uint8_t)i;
    }
    if (count)
        ft_prefetch_flows(worker->engine->flows, keys, hashes, count, hints);
    for (unsigned k = 0; k < count; k++)
        burst->hint[index[k]] = hints[k];
}

unsigned dp_stage_flow(struct dp_worker *worker, struct dp_burst *burst, unsigned begin)
{
    struct ft *flows = worker->engine->flows;
    struct ft_key keys[DP_BURST_MAX];
    uint64_t hashes[DP_BURST_MAX];
    ft_slot slots[DP_BURST_MAX]; /* first hints */
    uint8_t index[DP_BURST_MAX];
    unsigned count = 0;
    burst->has_rest = false;
    for (unsigned i = begin; i < burst->count; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        keys[count] = burst->view[i].key;
        hashes[count] = burst->hash[i];
        slots[count] = burst->hint[i];
        index[count++] = (uint8_t)i;
    }
    if (count)
        ft_lookup_hinted(flows, keys, hashes, slots, count, slots);

    bool changed = false; /* the index changed since the bulk look-up: a miss may be a hit by now */
    for (unsigned k = 0; k < count; k++) {
        unsigned i = index[k];
        const struct dp_view *view = &burst->view[i];
        if (slots[k] == FT_SLOT_NONE && changed)
            ft_lookup_bulk(flows, &keys[k], &hashes[k], 1, &slots[k]);
        if (likely(slots[k] != FT_SLOT_NONE)) {
            struct ft_hot *hot = ft_hot(flows, slots[k]);
            if (likely(!(burst->credited & 1u << i)) && likely(pass_plain(worker, burst, i, hot)))
                continue;
        }
        if (slots[k] != FT_SLOT_NONE && begins_anew(worker, ft_hot(flows, slots[k]), view, burst->now_ns[i])) {
            if (k)
                return i; /* earlier packets of this burst may still hold the flow */
            dp_flow_close(worker, slots[k], burst->now_ns[i], false);
            /* Later packets of the closed flow were found in its slot, which is not theirs any more. */
            ft_lookup_bulk(flows, keys, hashes, count, slots);
        }
        if (slots[k] == FT_SLOT_NONE) {
            struct flow_opening opening = opening_of(burst, i, &keys[k], hashes[k]);
            int error = open_flow(worker, &opening, &slots[k]);
            if (error) {
                burst->outcome[i] = outcome_of_refusal(error);
                if (burst->credited & 1u << i)
                    DP_COUNT(worker->stats.uncredited_fragments, burst->credit[i].packets);
                continue;
            }
            changed = true;
        }
        touch(worker, burst, i, slots[k]);
        burst->has_rest = true;
    }
    return burst->count;
}

void dp_flow_credit(struct dp_worker *worker, const struct dp_fragment_credit *credit, uint64_t now_ns)
{
    struct ft *flows = worker->engine->flows;
    uint64_t hash = ft_hash(flows, &credit->key);
    ft_slot slot;
    ft_lookup_bulk(flows, &credit->key, &hash, 1, &slot);
    if (slot != FT_SLOT_NONE && ft_expired(flows, ft_hot(flows, slot), now_ns)) {
        dp_flow_close(worker, slot, now_ns, false);
        slot = FT_SLOT_NONE;
    }
    if (slot == FT_SLOT_NONE) {
        struct flow_opening opening = {.key = &credit->key,
                                       .hash = hash,
                                       .number = credit->origin.number,
                                       .now_ns = credit->first_ns,
                                       .swap = credit->swap,
                                       .link = credit->origin.link,
                                       .side = credit->origin.side};
        if (open_flow(worker, &opening, &slot)) {
            DP_COUNT(worker->stats.uncredited_fragments, credit->packets);
            return;
        }
    }
    struct ft_hot *hot = ft_hot(flows, slot);
    uint8_t from_server = credit->swap ^ (hot->flags & FT_FLOW_CLIENT_ENDPOINT);
    ft_write_begin(hot);
    count_packets(flows, slot, hot, from_server, credit->packets);
    if (credit->last_ns > hot->last_ns)
        FT_SET(hot->last_ns, credit->last_ns);
    ft_write_end(hot);
    dp_account_bytes(worker, slot, from_server, credit->bytes, now_ns);
    DP_COUNT(worker->stats.credited_fragments, credit->packets);
}

#include "classifier/sctp.h"
#include "dataplane/judged.h"
#include "dataplane/sctp.h"
#include "dataplane/worker.h"

#define IP_PROTO_TCP  6
#define IP_PROTO_UDP  17
#define IP_PROTO_SCTP 132
#define TCP_SYN       0x02
/* Packets after which an association that has sent no message is SCTP and nothing else. */
#define SCTP_PACKETS_MAX 32u

/* A payload-bearing packet of an undecided flow, on its way to the classifier. */
struct inspection {
    ft_slot slot;
    struct ft_hot *hot;
    struct ft_cold *cold;
    const uint8_t *payload; /* contiguous, at most CL_STREAM_MAX_BYTES */
    uint32_t payload_bytes;
    uint32_t ordinal;
    uint64_t hash;    /* of the flow's key: secret */
    uint32_t tcp_seq; /* of the first payload byte */
    uint32_t tcp_ack;
    uint8_t from_server;
    bool has_seq; /* TCP */
    struct dp_learn_packet learn;
};

static bool seq_known(const struct ft_hot *hot, uint8_t from_server)
{
    return hot->flags & FT_FLOW_SEQ_KNOWN << from_server;
}

static void note_pending(struct ft_hot *hot, struct ft_cold *cold, uint32_t handle)
{
    ft_write_begin(hot);
    FT_SET(cold->pending, handle);
    ft_write_end(hot);
}

static void flag_ambiguous(struct dp_worker *worker, struct ft_hot *hot)
{
    if (hot->flags & FT_FLOW_AMBIGUOUS)
        return;
    DP_COUNT(worker->stats.flows_ambiguous, 1);
    ft_write_begin(hot);
    FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_AMBIGUOUS));
    ft_write_end(hot);
}

/*
 * Remembers where a direction's bytes begin: behind its SYN. Costs nothing but two fields of the entry. Two that begin
 * elsewhere: one of them is not what the other side goes by.
 */
static void note_syn(struct dp_worker *worker, struct ft_hot *hot, struct ft_cold *cold, uint8_t from_server,
                     uint32_t seq)
{
    if (seq_known(hot, from_server) && cold->next_seq[from_server] != seq + 1)
        flag_ambiguous(worker, hot);
    ft_write_begin(hot);
    FT_SET(cold->next_seq[from_server], seq + 1);
    FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_SEQ_KNOWN << from_server));
    ft_write_end(hot);
}

static uint16_t port_of(const struct ft_hot *hot, bool server)
{
    unsigned endpoint = (hot->flags & FT_FLOW_CLIENT_ENDPOINT) ^ (server ? 1u : 0u);
    return rte_be_to_cpu_16(hot->port_be16[endpoint]);
}

/* A name by port, by what another flow said, or none, is not changed by other bytes. */
static bool rests_on_bytes(uint8_t method)
{
    return method == CL_METHOD_signature || method == CL_METHOD_inspector;
}

/* A segment of fewer bytes counts for its share of a packet. */
#define WHOLE_PACKET_BYTES 16u

/*
 * Charges a packet to its direction's budget. Segments of a few bytes count together as one until they have 16, so that a
 * stream typed, or cut, byte by byte is judged by as many bytes as patterns need.
 */
static void charge(const struct inspection *in, struct dp_pending *pending)
{
    bool is_small = in->has_seq && in->payload_bytes < WHOLE_PACKET_BYTES;
    uint16_t part = (uint16_t)(is_small ? in->payload_bytes : WHOLE_PACKET_BYTES);
    pending->payload_packets[in->from_server]++;
    pending->charged[in->from_server] = (uint16_t)(pending->charged[in->from_server] + part);
    pending->payload_bytes[in->from_server] += in->payload_bytes;
}

static uint16_t charged_packets(const struct dp_pending *pending, unsigned direction)
{
    return (uint16_t)((pending->charged[direction] + WHOLE_PACKET_BYTES - 1) / WHOLE_PACKET_BYTES);
}

/* A direction that has spent its budget ends the flow's inspection: the other may never be seen. */
static bool is_budget_spent(const struct dp_worker *worker, const struct inspection *in,
                            const struct dp_pending *pending)
{
    const struct cl_options *budget = &worker->engine->config.classification;
    return pending->charged[in->from_server] >= budget->payload_packets_max * WHOLE_PACKET_BYTES ||
           pending->payload_bytes[in->from_server] >= budget->payload_bytes_max;
}

/* The bytes that a verdict rests on, as judged.h keeps them; size_bytes 0: none. */
struct judged {
    uint32_t seq, size_bytes, digest;
    uint8_t direction;
};

/*
 * `bytes` of the packet that brought the verdict; but where it does not acknowledge what the other side sent before, that:
 * those bytes named the flow, and may still be replaced.
 */
static struct judged judged_bytes(const struct inspection *in, const struct dp_pending *pending, const uint8_t *bytes,
                                  uint32_t size_bytes)
{
    struct judged judged = {.direction = in->from_server};
    if (!in->has_seq || in->hot->flags & FT_FLOW_AMBIGUOUS)
        return judged;
    const struct dp_stream *own = &pending->stream[in->from_server], *other = &pending->stream[!in->from_server];
    judged.seq = own->started ? own->base_seq : in->tcp_seq;
    judged.size_bytes = size_bytes;
    if (other->in_order_bytes && (int32_t)(in->tcp_ack - other->base_seq - other->in_order_bytes) < 0) {
        judged.direction = !in->from_server;
        judged.seq = other->base_seq;
        judged.size_bytes = other->in_order_bytes;
        bytes = other->bytes;
    }
    judged.digest = dp_judged_digest(in->hash, bytes, judged.size_bytes);
    return judged;
}

static void keep_judged(const struct inspection *in, const struct judged *judged)
{
    if (judged->size_bytes && rests_on_bytes(in->cold->method))
        dp_judged_begin(in->hot, in->cold, judged->direction, judged->seq, judged->size_bytes, judged->digest);
}

/* One call of the classifier with `bytes`; true when the flow was decided. */
static bool inspect(struct dp_worker *worker, const struct inspection *in, struct dp_pending *pending,
                    struct cl_info *info, const uint8_t *bytes, uint32_t size_bytes)
{
    struct cl_packet packet = {
        .bytes = bytes,
        .size_bytes = size_bytes,
        .ip_proto = in->hot->ip_proto,
        .from_server = in->from_server,
        .client_port = port_of(in->hot, false),
        .server_port = port_of(in->hot, true),
        .payload_packets = {charged_packets(pending, 0), charged_packets(pending, 1)},
        .started_before = in->hot->flags & FT_FLOW_STARTED_BEFORE,
    };
    dp_pending_adopt(worker, pending);
    enum cl_step step = cl_inspect(worker->classifier, &pending->state, &packet, &pending->verdict, info);
    if (step == CL_UNDECIDED)
        return false;
    if (!pending->packets_to_verdict) {
        unsigned payload_packets = (unsigned)pending->payload_packets[0] + pending->payload_packets[1];
        pending->packets_to_verdict = (uint16_t)RTE_MIN(in->ordinal, (uint32_t)UINT16_MAX);
        pending->payload_packets_to_verdict = (uint8_t)RTE_MIN(payload_packets, (unsigned)UINT8_MAX);
    }
    if (step == CL_FINAL)
        return false;
    cl_complete(cl_worker_engine(worker->classifier), &pending->learned.fallback, pending->learned.named, info,
                &pending->verdict);
    struct judged judged = judged_bytes(in, pending, bytes, size_bytes);
    dp_flow_decide(worker, in->slot, &pending->verdict, info, pending->packets_to_verdict,
                   pending->payload_packets_to_verdict);
    keep_judged(in, &judged);
    return true;
}

/* The budget is spent, or there is no memory: the flow is judged by what is known. */
static void give_up(struct dp_worker *worker, const struct inspection *in, struct dp_pending *pending,
                    const struct cl_info *info)
{
    const struct dp_stream *stream = &pending->stream[in->from_server];
    struct judged judged = judged_bytes(in, pending, stream->bytes, stream->in_order_bytes);
    dp_flow_conclude(worker, in->slot, pending, info, true, in->ordinal);
    keep_judged(in, &judged);
}

static void give_up_without_memory(struct dp_worker *worker, const struct inspection *in, struct dp_pending *pending,
                                   const struct cl_info *info)
{
    DP_COUNT(worker->stats.pending_exhausted, 1);
    give_up(worker, in, pending, info);
}

/* The texts found so far, in scratch: most flows are judged before they need memory for any. */
static struct cl_info *texts_of(struct dp_worker *worker, struct dp_pending *pending)
{
    dp_pending_texts(worker->pending, pending, &worker->info);
    return &worker->info;
}

static void keep_texts(struct dp_worker *worker, struct dp_pending *pending, const struct cl_info *info)
{
    if (!dp_pending_keep_texts(worker->pending, pending, info))
        DP_COUNT(worker->stats.attributes_exhausted, 1);
}

/* The stream of a direction begins behind its SYN, else with the first payload seen. */
static void start_stream(const struct inspection *in, struct dp_stream *stream)
{
    if (stream->started)
        return;
    stream->started = true;
    stream->base_seq = seq_known(in->hot, in->from_server) ? in->cold->next_seq[in->from_server] : in->tcp_seq;
}

/* Puts a TCP payload in its place. */
static enum dp_stream_result add_to_stream(struct dp_worker *worker, const struct inspection *in,
                                           struct dp_stream *stream)
{
    start_stream(in, stream);
    enum dp_stream_result result = dp_stream_add(worker->pending, stream, in->tcp_seq, in->payload, in->payload_bytes);
    if (stream->ambiguous)
        flag_ambiguous(worker, in->hot);
    return result;
}

/* Before media come packets that only open the way for them. */
static bool confirms_expectation(struct dp_worker *worker, const struct inspection *in, struct dp_pending *pending)
{
    struct cl_verdict verdict;
    if (!pending->learned.fallback.protocol || pending->packets_to_verdict ||
        !cl_expected(cl_worker_engine(worker->classifier), (enum cl_announced)pending->learned.kind, in->payload,
                     in->payload_bytes, &verdict))
        return false;
    dp_flow_decide(worker, in->slot, &verdict, texts_of(worker, pending), in->ordinal,
                   (uint32_t)pending->payload_packets[0] + pending->payload_packets[1]);
    return true;
}

/* The bytes with which the direction's stream begins, all that there is of it: they can be judged where they lie. */
static bool begins_stream(const struct inspection *in, struct dp_stream *stream)
{
    start_stream(in, stream);
    return in->tcp_seq == stream->base_seq && !stream->in_order_bytes && !stream->segment_count;
}

static void inspect_more(struct dp_worker *worker, const struct inspection *in, struct dp_pending *pending)
{
    struct cl_info *info = texts_of(worker, pending);
    struct dp_stream *stream = in->has_seq ? &pending->stream[in->from_server] : NULL;
    bool has_memory = true;
    charge(in, pending);
    if (confirms_expectation(worker, in, pending))
        return;
    if (!stream || begins_stream(in, stream)) {
        if (inspect(worker, in, pending, info, in->payload, in->payload_bytes))
            return;
        has_memory = !stream || add_to_stream(worker, in, stream) != DP_STREAM_NO_MEMORY;
    } else {
        enum dp_stream_result result = add_to_stream(worker, in, stream);
        has_memory = result != DP_STREAM_NO_MEMORY;
        if (result == DP_STREAM_GREW && inspect(worker, in, pending, info, stream->bytes, stream->in_order_bytes))
            return;
    }
    if (!has_memory)
        give_up_without_memory(worker, in, pending, info);
    else if (is_budget_spent(worker, in, pending))
        give_up(worker, in, pending, info);
    else
        keep_texts(worker, pending, info);
}

/* The first payload packet of a flow: judged where it lies; only what is left undecided takes memory. */
static void inspect_first(struct dp_worker *worker, const struct inspection *in)
{
    struct dp_pending first = {.payload_packets = {0, 0}};
    charge(in, &first);
    bool in_order =
        !in->has_seq || !seq_known(in->hot, in->from_server) || in->tcp_seq == in->cold->next_seq[in->from_server];
    if (dp_learn_expected(worker, &in->learn, &first.learned, &first.verdict)) {
        dp_flow_decide(worker, in->slot, &first.verdict, NULL, in->ordinal, 1);
        return;
    }
    dp_learn_named(worker, &in->learn, &first.learned);
    struct cl_info *info = texts_of(worker, &first);
    if (in_order && inspect(worker, in, &first, info, in->payload, in->payload_bytes))
        return;
    uint32_t handle;
    struct dp_pending *pending = dp_pending_take(worker->pending, &handle);
    if (!pending) {
        give_up_without_memory(worker, in, &first, info);
        return;
    }
    note_pending(in->hot, in->cold, handle);
    if (!in_order) {
        pending->learned = first.learned;
        inspect_more(worker, in, pending);
        return;
    }
    *pending = first;
    if (in->has_seq && add_to_stream(worker, in, &pending->stream[in->from_server]) == DP_STREAM_NO_MEMORY)
        give_up_without_memory(worker, in, pending, info);
    else if (is_budget_spent(worker, in, pending))
        give_up(worker, in, pending, info);
    else
        keep_texts(worker, pending, info);
}

/* What a packet of a flow whose protocol is known tells of other flows. */
static void announce(struct dp_worker *worker, const struct inspection *in)
{
    cl_protocol protocol = in->cold->protocol;
    if (!(in->hot->flags & FT_FLOW_DECIDED)) {
        const struct dp_pending *pending = dp_pending_get(worker->pending, in->cold->pending);
        protocol = pending && pending->packets_to_verdict ? pending->verdict.protocol : 0;
        if (!cl_announces(cl_worker_engine(worker->classifier), protocol))
            return;
    }
    dp_learn_announced(worker, protocol, &in->learn);
}

static struct dp_learn_packet learn_packet(const struct dp_burst *burst, unsigned i, const struct ft_hot *hot)
{
    return (struct dp_learn_packet){.key = &burst->view[i].key,
                                    .now_ns = burst->now_ns[i],
                                    .swap = burst->view[i].swap,
                                    .client_endpoint = hot->flags & FT_FLOW_CLIENT_ENDPOINT};
}

/* A flow that is expected may need no payload to be known. */
static void expect_first(struct dp_worker *worker, const struct dp_burst *burst, unsigned i, const struct ft_hot *hot)
{
    struct dp_learn_packet packet = learn_packet(burst, i, hot);
    struct dp_learned ignored;
    struct cl_verdict verdict;
    if (dp_learn_expected(worker, &packet, &ignored, &verdict))
        dp_flow_decide(worker, burst->slot[i], &verdict, NULL, burst->ordinal[i], 0);
}

/* A packet with payload of a flow that is not decided, or that announces others. */
static void inspect_packet(struct dp_worker *worker, const struct dp_burst *burst, unsigned i, struct ft_hot *hot)
{
    const struct dp_view *view = &burst->view[i];
    struct inspection in = {.slot = burst->slot[i],
                            .hot = hot,
                            .cold = ft_cold(worker->engine->flows, burst->slot[i]),
                            .payload_bytes = RTE_MIN(view->payload_bytes, CL_STREAM_MAX_BYTES),
                            .ordinal = burst->ordinal[i],
                            .hash = burst->hash[i],
                            .tcp_seq = view->tcp_seq,
                            .tcp_ack = view->tcp_ack,
                            .from_server = burst->from_server[i],
                            .has_seq = hot->ip_proto == IP_PROTO_TCP,
                            .learn = learn_packet(burst, i, hot)};
    if (in.has_seq && view->tcp_flags & TCP_SYN)
        in.tcp_seq++; /* data in a SYN follow the SYN's own number */
    in.payload = dp_bytes(burst->mbuf[i], view->payload_offset, in.payload_bytes, worker->linear);
    if (!in.payload)
        return;
    in.learn.payload = in.payload;
    in.learn.payload_bytes = in.payload_bytes;
    if (!(hot->flags & FT_FLOW_DECIDED)) {
        struct dp_pending *pending = dp_pending_get(worker->pending, in.cold->pending);
        if (pending)
            inspect_more(worker, &in, pending);
        else
            inspect_first(worker, &in);
    }
    if ((hot->flags & (FT_FLOW_DECIDED | FT_FLOW_ANNOUNCES)) != FT_FLOW_DECIDED)
        announce(worker, &in);
}

/* Payload as far as it is ever looked at: only the first fragment of a datagram says where its payload begins. */
static bool has_payload(const struct dp_view *view)
{
    return view->payload_bytes && (!(view->flags & DP_VIEW_FRAGMENT) || view->flags & DP_VIEW_FIRST_FRAGMENT);
}

/* A packet of a flow that was just decided: the bytes that the verdict rests on may come again, and differ. */
static void watch(struct dp_worker *worker, const struct dp_burst *burst, unsigned i, struct ft_hot *hot)
{
    const struct dp_view *view = &burst->view[i];
    uint32_t size_bytes = RTE_MIN(view->payload_bytes, CL_STREAM_MAX_BYTES);
    const uint8_t *payload = NULL;
    if (has_payload(view))
        payload = dp_bytes(burst->mbuf[i], view->payload_offset, size_bytes, worker->linear);
    uint32_t seq = view->tcp_seq + (view->tcp_flags & TCP_SYN ? 1 : 0);
    struct ft_cold *cold = ft_cold(worker->engine->flows, burst->slot[i]);
    if (dp_judged_packet(hot, cold, view, burst->from_server[i], burst->hash[i], seq, payload, size_bytes))
        flag_ambiguous(worker, hot);
}

/* An association is judged by its first message, which comes behind the handshake. */
static void judge_sctp(struct dp_worker *worker, const struct dp_burst *burst, unsigned i, const struct ft_hot *hot)
{
    const struct dp_view *view = &burst->view[i];
    uint32_t size_bytes = RTE_MIN(view->payload_bytes, CL_STREAM_MAX_BYTES);
    const uint8_t *payload =
        has_payload(view) ? dp_bytes(burst->mbuf[i], view->payload_offset, size_bytes, worker->linear) : NULL;
    struct dp_sctp_message message;
    if (!payload || !dp_sctp_message(payload, size_bytes, &message)) {
        if (burst->ordinal[i] >= SCTP_PACKETS_MAX)
            dp_flow_conclude(worker, burst->slot[i], NULL, NULL, true, burst->ordinal[i]);
        return;
    }
    struct cl_packet packet = {.bytes = message.bytes,
                               .size_bytes = message.size_bytes,
                               .ip_proto = IP_PROTO_SCTP,
                               .from_server = burst->from_server[i],
                               .client_port = port_of(hot, false),
                               .server_port = port_of(hot, true)};
    struct cl_verdict verdict;
    memset(worker->info.size_bytes, 0, sizeof worker->info.size_bytes);
    cl_sctp(worker->classifier, message.ppid, &packet, &verdict, &worker->info);
    dp_flow_decide(worker, burst->slot[i], &verdict, &worker->info, burst->ordinal[i], 1);
}

void dp_stage_classify(struct dp_worker *worker, struct dp_burst *burst, unsigned begin, unsigned end)
{
    struct ft *flows = worker->engine->flows;
    for (unsigned i = begin; i < end; i++) {
        if (burst->outcome[i] != DP_OUTCOME_NONE)
            continue;
        struct ft_hot *hot = ft_hot(flows, burst->slot[i]);
        if (hot->flags & FT_FLOW_DECIDED) {
            if (ft_flow_is_watched(hot))
                watch(worker, burst, i, hot);
            if (hot->flags & FT_FLOW_ANNOUNCES && has_payload(&burst->view[i]))
                inspect_packet(worker, burst, i, hot);
            continue;
        }
        const struct dp_view *view = &burst->view[i];
        bool is_tcp = hot->ip_proto == IP_PROTO_TCP;
        if (is_tcp && view->tcp_flags & TCP_SYN) {
            note_syn(worker, hot, ft_cold(flows, burst->slot[i]), burst->from_server[i], view->tcp_seq);
            if (burst->ordinal[i] == 1 && !view->payload_bytes) {
                expect_first(worker, burst, i, hot);
                continue;
            }
        }
        if (hot->ip_proto == IP_PROTO_SCTP)
            judge_sctp(worker, burst, i, hot);
        else if (!is_tcp && hot->ip_proto != IP_PROTO_UDP)
            dp_flow_conclude(worker, burst->slot[i], NULL, NULL, true, burst->ordinal[i]);
        else if (has_payload(view))
            inspect_packet(worker, burst, i, hot);
    }
}

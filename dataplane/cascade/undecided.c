#include "dataplane/cascade/undecided.h"

/* A direction's first bytes. The runs ahead of a gap are {begin, end} pairs, big-endian. */
struct direction {
    uint8_t started, ambiguous, waited, run_count;
    uint32_t base_seq;
    uint16_t in_order_bytes, payload_packets, charged;
    uint32_t payload_bytes;
    uint8_t runs[4 * DP_PENDING_SEGMENTS];
    struct cascade_blob bytes; /* in order, then the runs at their places; what lies between them is zero */
};

struct undecided {
    uint16_t state_form;
    uint8_t state[sizeof(struct cl_state)];
    struct direction client, server;
    uint32_t protocol_id, application_id, signature_id;
    uint8_t method, confidence;
    uint16_t packets_to_verdict;
    uint8_t payload_packets_to_verdict;
    /* What was learned from other flows. */
    uint32_t learned_protocol_id, learned_application_id, learned_signature_id, named_id;
    uint8_t learned_method, learned_confidence, learned_kind;
    struct cascade_blob texts; /* a size byte for each, then the texts */
};

#define FIELD(number, type, member) CASCADE_FIELD(struct undecided, number, CASCADE_##type, member, false)
#define DIRECTION(number, side)                                                                                        \
    FIELD((number), UINT, side.started), FIELD((number) + 1, UINT, side.ambiguous),                                    \
        FIELD((number) + 2, UINT, side.waited), FIELD((number) + 3, UINT, side.run_count),                             \
        FIELD((number) + 4, UINT, side.base_seq), FIELD((number) + 5, UINT, side.in_order_bytes),                      \
        FIELD((number) + 6, UINT, side.payload_packets), FIELD((number) + 7, BYTES, side.runs),                        \
        FIELD((number) + 8, BLOB, side.bytes)

static const struct cascade_field fields[] = {
    FIELD(1, UINT, state_form),
    FIELD(2, BYTES, state),
    DIRECTION(10, client),
    DIRECTION(20, server),
    FIELD(30, UINT, protocol_id),
    FIELD(31, UINT, application_id),
    FIELD(32, UINT, signature_id),
    FIELD(33, UINT, method),
    FIELD(34, UINT, confidence),
    FIELD(35, UINT, packets_to_verdict),
    FIELD(36, UINT, payload_packets_to_verdict),
    FIELD(40, UINT, learned_protocol_id),
    FIELD(41, UINT, learned_application_id),
    FIELD(42, UINT, learned_signature_id),
    FIELD(43, UINT, named_id),
    FIELD(44, UINT, learned_method),
    FIELD(45, UINT, learned_confidence),
    FIELD(46, UINT, learned_kind),
    FIELD(50, BLOB, texts),
    FIELD(51, UINT, client.charged),
    FIELD(52, UINT, server.charged),
    FIELD(53, UINT, client.payload_bytes),
    FIELD(54, UINT, server.payload_bytes),
};

const struct cascade_kind cascade_undecided_kind = {.number = CASCADE_KIND_UNDECIDED,
                                                    .field_count = sizeof fields / sizeof fields[0],
                                                    .struct_bytes = sizeof(struct undecided),
                                                    .name = "undecided",
                                                    .fields = fields};

/* ---- out ---- */

static void put_be16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static void write_direction(struct direction *to, const struct dp_pending *pending, unsigned from_server,
                            uint8_t *bytes)
{
    const struct dp_stream *stream = &pending->stream[from_server];
    *to = (struct direction){.started = stream->started,
                             .ambiguous = stream->ambiguous,
                             .waited = stream->waited,
                             .run_count = stream->segment_count,
                             .base_seq = stream->base_seq,
                             .in_order_bytes = stream->in_order_bytes,
                             .payload_packets = pending->payload_packets[from_server],
                             .charged = pending->charged[from_server],
                             .payload_bytes = pending->payload_bytes[from_server]};
    if (!stream->bytes)
        return;
    memcpy(bytes, stream->bytes, stream->in_order_bytes);
    unsigned end = stream->in_order_bytes;
    for (unsigned i = 0; i < stream->segment_count; i++) {
        unsigned begin = stream->segments[i].begin, run_end = stream->segments[i].end;
        memset(bytes + end, 0, begin - end);
        memcpy(bytes + begin, stream->bytes + begin, run_end - begin);
        put_be16(to->runs + 4 * i, begin);
        put_be16(to->runs + 4 * i + 2, run_end);
        end = run_end;
    }
    to->bytes = (struct cascade_blob){bytes, (uint16_t)end};
}

static struct cascade_blob write_texts(const struct cl_info *info, uint8_t *to)
{
    unsigned used = CL_TEXT_COUNT;
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        to[i] = info->size_bytes[i];
        memcpy(to + used, info->text[i], info->size_bytes[i]);
        used += info->size_bytes[i];
    }
    return (struct cascade_blob){to, (uint16_t)used};
}

size_t cascade_undecided_write(struct dp_pending_pool *pool, const struct dp_pending *pending,
                               const struct cascade_names *names, uint8_t *to, size_t size)
{
    uint8_t bytes[2][CL_STREAM_MAX_BYTES], texts[CL_TEXT_COUNT * (1 + CL_TEXT_MAX_BYTES)];
    const struct cl_verdict *verdict = &pending->verdict, *learned = &pending->learned.fallback;
    struct undecided record = {
        .state_form = CASCADE_STATE_FORM,
        .protocol_id = names->id_of_protocol(names->context, verdict->protocol),
        .application_id = names->id_of_protocol(names->context, verdict->application),
        .signature_id = names->id_of_signature(names->context, verdict->signature),
        .method = verdict->method,
        .confidence = verdict->confidence,
        .packets_to_verdict = pending->packets_to_verdict,
        .payload_packets_to_verdict = pending->payload_packets_to_verdict,
        .learned_protocol_id = names->id_of_protocol(names->context, learned->protocol),
        .learned_application_id = names->id_of_protocol(names->context, learned->application),
        .learned_signature_id = names->id_of_signature(names->context, learned->signature),
        .named_id = names->id_of_protocol(names->context, pending->learned.named),
        .learned_method = learned->method,
        .learned_confidence = learned->confidence,
        .learned_kind = pending->learned.kind,
    };
    memcpy(record.state, &pending->state, sizeof record.state);
    write_direction(&record.client, pending, 0, bytes[0]);
    write_direction(&record.server, pending, 1, bytes[1]);
    struct cl_info info;
    dp_pending_texts(pool, pending, &info);
    if (pending->info)
        record.texts = write_texts(&info, texts);
    return cascade_write_record(&cascade_undecided_kind, &record, to, size);
}

/* ---- in ---- */

static bool direction_is_sound(const struct direction *from)
{
    struct cursor runs = cursor_of(from->runs, sizeof from->runs);
    unsigned end = from->in_order_bytes;
    if (from->run_count > DP_PENDING_SEGMENTS)
        return false;
    for (unsigned i = 0; i < from->run_count; i++) {
        unsigned begin = cursor_be16(&runs), run_end = cursor_be16(&runs);
        if (begin <= end || run_end <= begin)
            return false;
        end = run_end;
    }
    return end == from->bytes.size_bytes && end <= CL_STREAM_MAX_BYTES && (!end || from->started);
}

/* Feeds the bytes to the stream as if they came from the network, so that nothing of its shape is the peer's. */
static bool read_direction(struct dp_pending_pool *pool, struct dp_stream *stream, const struct direction *from)
{
    struct cursor runs = cursor_of(from->runs, sizeof from->runs);
    stream->started = from->started;
    stream->base_seq = from->base_seq;
    bool kept = true;
    if (from->in_order_bytes)
        kept =
            dp_stream_add(pool, stream, from->base_seq, from->bytes.bytes, from->in_order_bytes) != DP_STREAM_NO_MEMORY;
    for (unsigned i = 0; kept && i < from->run_count; i++) {
        unsigned begin = cursor_be16(&runs), end = cursor_be16(&runs);
        stream->waited = 0; /* a gap at the beginning is not to be given up for this */
        kept = dp_stream_add(pool, stream, from->base_seq + begin, from->bytes.bytes + begin, end - begin) !=
               DP_STREAM_NO_MEMORY;
    }
    stream->ambiguous = from->ambiguous;
    stream->waited = from->waited;
    return kept;
}

static bool read_texts(struct dp_pending_pool *pool, struct dp_pending *pending, const struct cascade_blob *from)
{
    struct cursor c = cursor_of(from->bytes, from->size_bytes);
    const uint8_t *sizes = cursor_take(&c, CL_TEXT_COUNT);
    if (!from->size_bytes || !sizes)
        return !from->size_bytes;
    struct cl_info info = {.size_bytes = {0}};
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        const uint8_t *text = cursor_take(&c, sizes[i]);
        if (!text)
            return false;
        if (sizes[i])
            cl_info_set(&info, (enum cl_text)i, text, sizes[i]);
    }
    dp_pending_keep_texts(pool, pending, &info); /* without memory the flow goes on without them */
    return true;
}

static struct cl_verdict read_verdict(const struct cascade_names *names, uint32_t protocol, uint32_t application,
                                      uint32_t signature, uint8_t method, uint8_t confidence)
{
    return (struct cl_verdict){.protocol = names->protocol_of_id(names->context, protocol),
                               .application = names->protocol_of_id(names->context, application),
                               .signature = names->signature_of_id(names->context, signature),
                               .method = method,
                               .confidence = confidence};
}

static bool fill(struct dp_pending_pool *pool, struct dp_pending *pending, const struct cascade_names *names,
                 uint32_t same_pack, const struct undecided *from)
{
    if (same_pack && from->state_form == CASCADE_STATE_FORM) {
        memcpy(&pending->state, from->state, sizeof pending->state);
        pending->pack = same_pack;
    }
    pending->payload_packets[0] = from->client.payload_packets;
    pending->payload_packets[1] = from->server.payload_packets;
    pending->charged[0] = from->client.charged;
    pending->charged[1] = from->server.charged;
    pending->payload_bytes[0] = from->client.payload_bytes;
    pending->payload_bytes[1] = from->server.payload_bytes;
    pending->verdict = read_verdict(names, from->protocol_id, from->application_id, from->signature_id, from->method,
                                    from->confidence);
    if (pending->verdict.protocol) { /* else it is to be found anew */
        pending->packets_to_verdict = from->packets_to_verdict;
        pending->payload_packets_to_verdict = from->payload_packets_to_verdict;
    }
    pending->learned.fallback =
        read_verdict(names, from->learned_protocol_id, from->learned_application_id, from->learned_signature_id,
                     from->learned_method, from->learned_confidence);
    pending->learned.kind = from->learned_kind;
    pending->learned.named = names->protocol_of_id(names->context, from->named_id);
    return read_direction(pool, &pending->stream[0], &from->client) &&
           read_direction(pool, &pending->stream[1], &from->server) && read_texts(pool, pending, &from->texts);
}

uint32_t cascade_undecided_read(struct dp_pending_pool *pool, const struct cascade_reader *reader,
                                const struct cascade_names *names, uint32_t same_pack, const uint8_t *record,
                                size_t size, enum cascade_flow_refusal *ret_refusal)
{
    struct undecided from;
    const struct cascade_kind *kind;
    struct cursor c = cursor_of(record, size);
    *ret_refusal = CASCADE_FLOW_REFUSAL_bad_state;
    if (cascade_read_record(reader, &c, &kind, &from, sizeof from) || kind != &cascade_undecided_kind ||
        cursor_left(&c) || !direction_is_sound(&from.client) || !direction_is_sound(&from.server) ||
        from.method >= CL_METHOD_COUNT || from.learned_method >= CL_METHOD_COUNT ||
        from.learned_kind >= CL_ANNOUNCED_COUNT)
        return 0;
    uint32_t handle;
    struct dp_pending *pending = dp_pending_take(pool, &handle);
    *ret_refusal = CASCADE_FLOW_REFUSAL_no_space;
    if (!pending)
        return 0;
    if (!fill(pool, pending, names, same_pack, &from)) {
        dp_pending_drop(pool, handle);
        return 0;
    }
    *ret_refusal = CASCADE_FLOW_REFUSAL_none;
    return handle;
}

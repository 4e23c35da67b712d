#include "dataplane/cascade/flow_state.h"

#include <stdbool.h>

#include "flowtable/table.h"

#define UINT(number, member, required)  CASCADE_FIELD(struct cascade_flow, number, CASCADE_UINT, member, required)
#define BYTES(number, member, required) CASCADE_FIELD(struct cascade_flow, number, CASCADE_BYTES, member, required)

#define FLAGS_CARRIED ((1u << FT_FLOW_LINK_SHIFT) - 1)

static const struct cascade_field flow_fields[] = {
    UINT(1, touch.slot, true),
    UINT(2, touch.generation, true),
    UINT(3, touch.last_ns, true),
    UINT(4, touch.packets_client, true),
    UINT(5, touch.packets_server, true),
    UINT(6, touch.bytes_client, true),
    UINT(7, touch.bytes_server, true),
    UINT(8, touch.flags, true),
    UINT(9, touch.tcp_state, true),
    UINT(10, touch.timeout_class, true),
    UINT(11, uid, true),
    UINT(12, version, true),
    BYTES(13, address_0, true),
    BYTES(14, address_1, true),
    BYTES(15, ports, true),
    UINT(16, context, true),
    UINT(17, ip_proto, true),
    UINT(18, is_v6, true),
    UINT(19, link, true),
    UINT(20, first_ns, true),
    UINT(21, reported_bytes_client, true),
    UINT(22, reported_bytes_server, true),
    UINT(23, interval, true),
    UINT(24, protocol_id, true),
    UINT(25, application_id, false),
    UINT(26, signature_id, false),
    UINT(27, method, false),
    UINT(28, confidence, false),
    UINT(29, packets_to_verdict, false),
    UINT(30, payload_packets_to_verdict, false),
    UINT(31, pack, true),
    UINT(32, next_seq_client, false),
    UINT(33, next_seq_server, false),
    UINT(36, touch.judged_packets_left, false),
    UINT(37, judged_seq, false),
    UINT(38, judged_digest, false),
    UINT(39, judged_size_bytes, false),
    UINT(40, judged_from_server, false),
    CASCADE_FIELD(struct cascade_flow, 34, CASCADE_BLOB, texts, false),
    CASCADE_FIELD(struct cascade_flow, 35, CASCADE_BLOB, pending, false),
};

#undef UINT
#define UINT(number, member) CASCADE_FIELD(struct cascade_flow_touch, number, CASCADE_UINT, member, true)
static const struct cascade_field touch_fields[] = {
    UINT(1, slot),
    UINT(2, generation),
    UINT(3, last_ns),
    UINT(4, packets_client),
    UINT(5, packets_server),
    UINT(6, bytes_client),
    UINT(7, bytes_server),
    UINT(8, flags),
    UINT(9, tcp_state),
    UINT(10, timeout_class),
    CASCADE_FIELD(struct cascade_flow_touch, 11, CASCADE_UINT, judged_packets_left, false),
};

#undef UINT
#define UINT(number, member) CASCADE_FIELD(struct cascade_flow_gone, number, CASCADE_UINT, member, true)
static const struct cascade_field gone_fields[] = {
    UINT(1, slot),
    UINT(2, generation),
    UINT(3, uid),
    UINT(4, version),
};

#define KIND(kind_number, struct_type, kind_name, table)                                                               \
    {                                                                                                                  \
        .number = (kind_number), .field_count = sizeof(table) / sizeof((table)[0]),                                    \
        .struct_bytes = sizeof(struct_type), .name = (kind_name), .fields = (table)                                    \
    }
const struct cascade_kind cascade_flow_kind = KIND(CASCADE_KIND_FLOW, struct cascade_flow, "flow", flow_fields);
const struct cascade_kind cascade_flow_touch_kind =
    KIND(CASCADE_KIND_FLOW_TOUCH, struct cascade_flow_touch, "flow_touch", touch_fields);
const struct cascade_kind cascade_flow_gone_kind =
    KIND(CASCADE_KIND_FLOW_GONE, struct cascade_flow_gone, "flow_gone", gone_fields);

const char *cascade_flow_refusal_name(enum cascade_flow_refusal refusal)
{
    static const char *const names[CASCADE_FLOW_REFUSAL_COUNT] = {
#define X(name, text) #name,
        CASCADE_FLOW_REFUSALS(X)
#undef X
    };
    return names[refusal];
}

const char *cascade_flow_refusal_text(enum cascade_flow_refusal refusal)
{
    static const char *const texts[CASCADE_FLOW_REFUSAL_COUNT] = {
#define X(name, text) text,
        CASCADE_FLOW_REFUSALS(X)
#undef X
    };
    return texts[refusal];
}

/* ---- out ---- */

static uint64_t packets_of(const struct ft_flow *flow, unsigned from_server)
{
    return (uint64_t)ft_flow_packets_high(&flow->hot, &flow->cold, from_server) << 32 | flow->hot.packets[from_server];
}

void cascade_touch_from(struct cascade_flow_touch *to, const struct ft_flow *flow)
{
    *to = (struct cascade_flow_touch){
        .slot = flow->slot,
        .generation = ft_generation(&flow->hot),
        .last_ns = flow->hot.last_ns,
        .packets_client = packets_of(flow, 0),
        .packets_server = packets_of(flow, 1),
        .bytes_client = flow->hot.bytes[0],
        .bytes_server = flow->hot.bytes[1],
        .flags = (uint16_t)(flow->hot.flags & FLAGS_CARRIED),
        .tcp_state = flow->hot.tcp_state,
        .timeout_class = flow->hot.timeout_class,
        .judged_packets_left = ft_flow_is_watched(&flow->hot) ? flow->cold.judged.packets_left : 0,
    };
}

void cascade_flow_from(struct cascade_flow *to, const struct ft_flow *flow, const struct cascade_names *names)
{
    const struct ft_hot *hot = &flow->hot;
    const struct ft_cold *cold = &flow->cold;
    bool decided = hot->flags & FT_FLOW_DECIDED;
    memset(to, 0, sizeof *to);
    cascade_touch_from(&to->touch, flow);
    to->uid = cold->uid;
    to->version = cold->version;
    memcpy(to->address_0, flow->key.addr[0], sizeof to->address_0);
    memcpy(to->address_1, flow->key.addr[1], sizeof to->address_1);
    memcpy(to->ports, flow->key.port_be16, sizeof to->ports);
    to->context = flow->key.context;
    to->ip_proto = flow->key.ip_proto;
    to->is_v6 = flow->key.is_v6;
    to->link = (uint8_t)(hot->flags >> FT_FLOW_LINK_SHIFT);
    to->first_ns = cold->first_ns;
    to->reported_bytes_client = cold->reported_bytes[0];
    to->reported_bytes_server = cold->reported_bytes[1];
    to->interval = cold->interval;
    to->protocol_id = names->id_of_protocol(names->context, cold->protocol);
    to->application_id = names->id_of_protocol(names->context, ft_flow_application(hot, cold));
    to->signature_id = names->id_of_signature(names->context, cold->signature);
    to->method = cold->method;
    to->confidence = cold->confidence;
    to->packets_to_verdict = cold->packets_to_verdict;
    to->payload_packets_to_verdict = cold->payload_packets_to_verdict;
    to->pack = cold->pack;
    to->next_seq_client = decided ? 0 : cold->next_seq[0];
    to->next_seq_server = decided ? 0 : cold->next_seq[1];
    if (!ft_flow_is_watched(hot))
        return;
    to->judged_seq = cold->judged.seq;
    to->judged_size_bytes = cold->judged.size_bytes;
    to->judged_from_server = cold->judged.from_server;
    to->judged_digest = cold->judged_digest;
}

/* ---- in ---- */

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

enum cascade_flow_refusal cascade_flow_key(const struct cascade_flow *from, struct ft_key *ret_key)
{
    uint16_t ports[2];
    memcpy(ports, from->ports, sizeof ports);
    if (from->is_v6 > 1 || (!from->is_v6 && (!is_zero(from->address_0 + 4, 12) || !is_zero(from->address_1 + 4, 12))))
        return CASCADE_FLOW_REFUSAL_bad_key;
    uint8_t swap = ft_key_make(ret_key, from->is_v6, from->address_0, from->address_1, ports[0], ports[1],
                               from->ip_proto, from->context);
    return swap ? CASCADE_FLOW_REFUSAL_bad_key : CASCADE_FLOW_REFUSAL_none;
}

/* A time of the sender as one of ours; one that would lie before time began is the beginning. */
static uint64_t our_time(uint64_t theirs_ns, int64_t clock_ns)
{
    if (clock_ns < 0 && theirs_ns < (uint64_t)-clock_ns)
        return 0;
    return theirs_ns + (uint64_t)clock_ns;
}

static bool states_are_known(const struct cascade_flow_touch *from)
{
    return from->tcp_state < FT_TCP_STATE_COUNT && from->timeout_class < FT_TIMEOUT_COUNT;
}

enum cascade_flow_refusal cascade_touch_apply(const struct cascade_flow_touch *from, int64_t clock_ns,
                                              struct ft_hot *hot, struct ft_cold *cold)
{
    if (!states_are_known(from))
        return CASCADE_FLOW_REFUSAL_bad_state;
    FT_SET(hot->last_ns, our_time(from->last_ns, clock_ns));
    FT_SET(hot->packets[0], (uint32_t)from->packets_client);
    FT_SET(hot->packets[1], (uint32_t)from->packets_server);
    FT_SET(hot->bytes[0], from->bytes_client);
    FT_SET(hot->bytes[1], from->bytes_server);
    FT_SET(hot->flags, (uint16_t)((hot->flags & ~FLAGS_CARRIED) | (from->flags & FLAGS_CARRIED)));
    FT_SET(hot->tcp_state, from->tcp_state);
    if (ft_flow_is_watched(hot)) {
        FT_SET(cold->judged.packets_left, from->judged_packets_left);
    } else if (from->flags & FT_FLOW_DECIDED) {
        FT_SET(cold->packets_high[0], (uint32_t)(from->packets_client >> 32));
        FT_SET(cold->packets_high[1], (uint32_t)(from->packets_server >> 32));
        FT_SET(cold->judged_digest, 0);
    }
    return CASCADE_FLOW_REFUSAL_none;
}

enum cascade_flow_refusal cascade_flow_apply(const struct cascade_flow *from, const struct cascade_names *names,
                                             int64_t clock_ns, struct ft_hot *hot, struct ft_cold *cold)
{
    if (!states_are_known(&from->touch) || from->link >= FT_LINKS_MAX)
        return CASCADE_FLOW_REFUSAL_bad_state;
    FT_SET(hot->flags, (uint16_t)(from->link << FT_FLOW_LINK_SHIFT));
    if (!(from->touch.flags & FT_FLOW_DECIDED)) {
        FT_SET(cold->next_seq[0], from->next_seq_client);
        FT_SET(cold->next_seq[1], from->next_seq_server);
    }
    cascade_touch_apply(&from->touch, clock_ns, hot, cold);
    if (ft_flow_is_watched(hot)) {
        FT_SET(cold->judged.seq, from->judged_seq);
        FT_SET(cold->judged.size_bytes, from->judged_size_bytes);
        FT_SET(cold->judged.from_server, from->judged_from_server & 1);
        FT_SET(cold->judged_digest, from->judged_digest);
    }
    uint16_t protocol = names->protocol_of_id(names->context, from->protocol_id);
    uint16_t application = names->protocol_of_id(names->context, from->application_id);
    FT_SET(hot->name, application ? application : protocol);
    FT_SET(cold->uid, from->uid);
    FT_SET(cold->version, from->version);
    FT_SET(cold->first_ns, our_time(from->first_ns, clock_ns));
    FT_SET(cold->reported_bytes[0], from->reported_bytes_client);
    FT_SET(cold->reported_bytes[1], from->reported_bytes_server);
    FT_SET(cold->interval, from->interval);
    FT_SET(cold->protocol, protocol);
    FT_SET(cold->signature, names->signature_of_id(names->context, from->signature_id));
    FT_SET(cold->method, from->method);
    FT_SET(cold->confidence, from->confidence);
    FT_SET(cold->packets_to_verdict, from->packets_to_verdict);
    FT_SET(cold->payload_packets_to_verdict, from->payload_packets_to_verdict);
    return CASCADE_FLOW_REFUSAL_none;
}

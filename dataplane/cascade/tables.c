#include "dataplane/cascade/tables.h"

#include "dataplane/config.h"

/* The highest bit of an export's position: the second table. */
#define SECOND_TABLE    (UINT64_C(1) << 63)
#define LIFETIME_MAX_NS (CL_ANNOUNCED_LIFETIME_MAX_S * UINT64_C(1000000000))

struct expectation {
    uint8_t table; /* 0: flows to come, 1: names of addresses */
    uint8_t address[16], peer[16];
    uint32_t context;
    uint8_t port[2]; /* network order */
    uint8_t ip_proto, is_v6;
    uint8_t announced; /* enum cl_announced */
    uint32_t named_id;
    uint64_t left_ns;
};

#define UINT(number, member)  CASCADE_FIELD(struct expectation, number, CASCADE_UINT, member, true)
#define BYTES(number, member) CASCADE_FIELD(struct expectation, number, CASCADE_BYTES, member, true)
static const struct cascade_field fields[] = {
    UINT(1, table),    BYTES(2, address), BYTES(3, peer),     UINT(4, context),  BYTES(5, port),
    UINT(6, ip_proto), UINT(7, is_v6),    UINT(8, announced), UINT(9, named_id), UINT(10, left_ns),
};
const struct cascade_kind cascade_expectation_kind = {.number = CASCADE_KIND_EXPECTATION,
                                                      .field_count = sizeof fields / sizeof fields[0],
                                                      .struct_bytes = sizeof(struct expectation),
                                                      .name = "expectation",
                                                      .fields = fields};

#undef UINT
#undef BYTES
#define UINT(number, member)  CASCADE_FIELD(struct dp_datagram_state, number, CASCADE_UINT, member, true)
#define BYTES(number, member) CASCADE_FIELD(struct dp_datagram_state, number, CASCADE_BYTES, member, true)
static const struct cascade_field datagram_fields[] = {
    BYTES(1, addr),        UINT(2, context),           UINT(3, fragment_id),      UINT(4, id_ip_proto),
    UINT(5, is_v6),        UINT(6, direction),         BYTES(7, port_be16),       UINT(8, ip_proto),
    UINT(9, swap),         UINT(10, is_named),         UINT(11, pending_packets), UINT(12, pending_bytes),
    UINT(13, created_ns),  UINT(14, pending_first_ns), UINT(15, pending_last_ns), UINT(16, origin.number),
    UINT(17, origin.link), UINT(18, origin.side),      UINT(19, seen_bytes),      UINT(20, total_bytes),
};
static_assert(sizeof(bool) == 1, "is_named is read as a byte");
const struct cascade_kind cascade_datagram_kind = {.number = CASCADE_KIND_DATAGRAM,
                                                   .field_count = sizeof datagram_fields / sizeof datagram_fields[0],
                                                   .struct_bytes = sizeof(struct dp_datagram_state),
                                                   .name = "datagram",
                                                   .fields = datagram_fields};

static bool put_entry(const struct dp_expectation *entry, unsigned table, const struct cascade_names *names,
                      cascade_sink sink, void *context)
{
    uint8_t record[256];
    struct expectation values = {.table = (uint8_t)table,
                                 .context = entry->context,
                                 .ip_proto = entry->ip_proto,
                                 .is_v6 = entry->is_v6,
                                 .announced = entry->kind,
                                 .named_id = names->id_of_protocol(names->context, entry->named),
                                 .left_ns = entry->until_ns};
    memcpy(values.address, entry->address, sizeof values.address);
    memcpy(values.peer, entry->peer, sizeof values.peer);
    memcpy(values.port, &entry->port_be16, sizeof values.port);
    return sink(context, record, cascade_write_record(&cascade_expectation_kind, &values, record, sizeof record));
}

bool cascade_tables_export(const struct dp_learning *learning, const struct cascade_names *names, uint64_t now_ns,
                           uint64_t *position, cascade_sink sink, void *context)
{
    const struct dp_expect *const tables[2] = {learning->expected, learning->names};
    for (unsigned t = (*position & SECOND_TABLE) != 0; t < 2; t++) {
        uint64_t at = *position & ~SECOND_TABLE, before = at;
        struct dp_expectation entry;
        while (tables[t] && dp_expect_walk(tables[t], &at, now_ns, &entry)) {
            if (!put_entry(&entry, t, names, sink, context)) {
                *position = before | (t ? SECOND_TABLE : 0);
                return false;
            }
            before = at;
        }
        *position = SECOND_TABLE;
    }
    return true;
}

static bool enter(struct dp_learning *learning, const struct cascade_names *names, uint64_t now_ns,
                  const struct expectation *from)
{
    struct dp_expect *table = from->table ? learning->names : learning->expected;
    if (!table || from->table > 1 || from->is_v6 > 1 || from->announced >= CL_ANNOUNCED_COUNT)
        return false;
    uint16_t named = names->protocol_of_id(names->context, from->named_id);
    if (from->table && !named)
        return false; /* an application that our pack has not: there is nothing to learn */
    struct dp_expectation entry = {.context = from->context,
                                   .ip_proto = from->ip_proto,
                                   .is_v6 = from->is_v6,
                                   .kind = from->announced,
                                   .named = named};
    memcpy(entry.address, from->address, sizeof entry.address);
    memcpy(entry.peer, from->peer, sizeof entry.peer);
    memcpy(&entry.port_be16, from->port, sizeof entry.port_be16);
    uint64_t left_ns = from->left_ns < LIFETIME_MAX_NS ? from->left_ns : LIFETIME_MAX_NS;
    enum dp_expect_result result = dp_expect_add(table, &entry, from->address, left_ns, now_ns);
    return result == DP_EXPECT_ADDED || result == DP_EXPECT_EVICTED;
}

unsigned cascade_tables_apply(struct dp_learning *learning, const struct cascade_reader *reader,
                              const struct cascade_names *names, uint64_t now_ns, const uint8_t *records,
                              size_t size_bytes)
{
    struct cursor c = cursor_of(records, size_bytes);
    unsigned entered = 0;
    while (cursor_left(&c)) {
        struct expectation values;
        const struct cascade_kind *kind;
        if (!cascade_read_record(reader, &c, &kind, &values, sizeof values) && kind == &cascade_expectation_kind)
            entered += enter(learning, names, now_ns, &values);
    }
    return entered;
}

bool cascade_datagrams_export(const struct dp_fragment_carrier *carrier, uint32_t *index, cascade_sink sink,
                              void *context)
{
    for (; *index < dp_fragment_carrier_count(carrier); (*index)++) {
        uint8_t record[256];
        struct dp_datagram_state state;
        dp_fragment_carrier_get(carrier, *index, &state);
        if (!sink(context, record, cascade_write_record(&cascade_datagram_kind, &state, record, sizeof record)))
            return false;
    }
    return true;
}

/* As a key's: IPv4 addresses of four bytes, in order. */
static bool datagram_is_sound(const struct dp_datagram_state *state)
{
    struct ft_key key;
    uint8_t named;
    memcpy(&named, &state->is_named, 1); /* before it is looked at as a bool */
    return named <= 1 && state->is_v6 <= 1 && state->direction <= 1 && state->swap <= 1 &&
           !ft_key_make(&key, state->is_v6, state->addr[0], state->addr[1], 0, 0, 0, 0) &&
           state->total_bytes <= 65535 && state->origin.link < FT_LINKS_MAX && state->origin.side <= DP_SIDES;
}

static uint64_t moved(uint64_t theirs_ns, int64_t clock_ns)
{
    return clock_ns < 0 && theirs_ns < (uint64_t)-clock_ns ? 0 : theirs_ns + (uint64_t)clock_ns;
}

unsigned cascade_datagrams_apply(struct dp_fragment_carrier *carrier, const struct cascade_reader *reader,
                                 int64_t clock_ns, const uint8_t *records, size_t size_bytes)
{
    struct cursor c = cursor_of(records, size_bytes);
    unsigned entered = 0;
    while (cursor_left(&c)) {
        struct dp_datagram_state state;
        const struct cascade_kind *kind;
        if (cascade_read_record(reader, &c, &kind, &state, sizeof state) || kind != &cascade_datagram_kind ||
            !datagram_is_sound(&state))
            continue;
        state.created_ns = moved(state.created_ns, clock_ns);
        state.pending_first_ns = moved(state.pending_first_ns, clock_ns);
        state.pending_last_ns = moved(state.pending_last_ns, clock_ns);
        entered += dp_fragment_carrier_add(carrier, &state);
    }
    return entered;
}

/*
 * A hand-over at any packet changes nothing: every capture of the project goes through one engine, and through a first one up
 * to packet k and a second one from there on, between which every shard's flows crossed as records. What is told of each flow
 * at its end is the same: name, how and when it was found, counters, times, texts.
 */
#include <dirent.h>

#include "dataplane/cascade/carry.h"
#include "dataplane/cascade/tables.h"
#include "dataplane/source_pcap.h"
#include "tests/unit/engine_util.h"

#define PACKETS_MAX  4000u
#define FLOWS_MAX    2000u
#define CUTS_ALL     24u /* captures of so few packets are cut everywhere */
#define CUTS_SAMPLED 12u

struct packet {
    uint8_t *bytes;
    uint32_t size;
    uint64_t time_ns;
};

static struct packet packets[PACKETS_MAX];
static unsigned packet_count;
static enum dp_link_type link_type;
static struct lab_event told[2][FLOWS_MAX]; /* of the twin, of the pair */
static unsigned told_count[2];
static uint8_t wire[1 << 22];
static size_t wire_used;
static bool looks_anew; /* the second engine has another pack, as far as it knows */
static unsigned compared, judged_otherwise, named_otherwise;

TestSuite(cascade_twin, .timeout = 110);

static void read_capture(const char *file, struct rte_mempool *pool)
{
    char path[512], error[DP_SOURCE_PCAP_ERROR_BYTES];
    snprintf(path, sizeof path, SOURCE_ROOT "/pcaps/%s", file);
    struct dp_source_pcap *source = dp_source_pcap_open(path, error);
    cr_assert(source, "%s", error);
    link_type = dp_source_pcap_link_type(source);
    struct rte_mbuf *mbuf;
    uint64_t time_ns, latest_ns = 0;
    for (packet_count = 0; packet_count < PACKETS_MAX && dp_source_pcap_read(source, pool, &mbuf, &time_ns, 1) == 1;
         packet_count++) {
        struct packet *packet = &packets[packet_count];
        latest_ns = RTE_MAX(latest_ns, time_ns);
        packet->size = rte_pktmbuf_pkt_len(mbuf);
        packet->time_ns = latest_ns; /* live: the clock does not go back */
        packet->bytes = malloc(packet->size + 1);
        rte_memcpy(packet->bytes, rte_pktmbuf_read(mbuf, 0, packet->size, packet->bytes), packet->size);
        rte_pktmbuf_free(mbuf);
    }
    dp_source_pcap_close(source);
}

static void forget_capture(void)
{
    while (packet_count)
        free(packets[--packet_count].bytes);
}

/* ---- one engine's part ---- */

static void send_packets(struct lab *lab, unsigned begin, unsigned end)
{
    for (unsigned i = begin; i < end; i++) {
        lab->now_ns = packets[i].time_ns;
        lab->number = i + 1;
        lab_add_bytes(lab, packets[i].bytes, packets[i].size);
        lab->burst.link_type[lab->burst.count ? lab->burst.count - 1 : DP_BURST_MAX - 1] = (uint8_t)link_type;
        lab_flush(lab);
        dp_worker_housekeeping(lab->engine->workers[0], lab->now_ns);
    }
}

static void take_ends(struct lab *lab, unsigned which)
{
    lab_take_events(lab);
    for (unsigned i = 0; i < lab->event_count; i++)
        if (lab->events[i].event.kind == DP_EVENT_FLOW_END && told_count[which] < FLOWS_MAX)
            told[which][told_count[which]++] = lab->events[i];
    lab->event_count = 0;
}

static void finish(struct lab *lab, unsigned which)
{
    struct dp_worker *worker = lab->engine->workers[0];
    dp_worker_close_all(worker, worker->now_ns);
    take_ends(lab, which);
    dp_learning_clear(&lab->engine->learning);
    worker->now_ns = 0;
}

/* ---- between them ---- */

static bool into_wire(void *context, const uint8_t *record, size_t size_bytes)
{
    (void)context;
    if (wire_used + size_bytes > sizeof wire)
        return false;
    memcpy(wire + wire_used, record, size_bytes);
    wire_used += size_bytes;
    return true;
}

struct side {
    struct lab lab;
    struct cascade_carrier *carrier;
    struct cascade_export *export;
    struct cascade_replica *replica;
    struct dp_fragment_carrier *datagrams;
};
static struct side a, b;
static struct cascade_reader reader;

static void hand_over_datagrams(struct side *from, struct side *to, uint8_t shard)
{
    uint32_t index = 0;
    struct dp_fragment_credit credits[4];
    bool done;
    wire_used = 0;
    dp_fragments_export(from->lab.engine->workers[0]->fragments, shard, from->datagrams);
    cr_assert(cascade_datagrams_export(from->datagrams, &index, into_wire, NULL));
    dp_fragment_carrier_clear(to->datagrams);
    cr_assert_eq(cascade_datagrams_apply(to->datagrams, &reader, 0, wire, wire_used), index);
    dp_fragments_import(to->lab.engine->workers[0]->fragments, to->datagrams, credits, 4, &done);
    cr_assert(done);
}

static void hand_over(struct side *from, struct side *to)
{
    struct cascade_adopters adopters = cascade_carrier_adopters(to->carrier);
    cascade_export_reset(from->export);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        struct cascade_digest sent, applied;
        uint64_t changed;
        /* What a running pair does before: a round while the flows live, then what is left of them at rest. */
        for (unsigned frozen = 0; frozen < 2; frozen++) {
            wire_used = 0;
            cr_assert(cascade_export_round(from->export, (uint8_t)shard, frozen, into_wire, NULL, &changed));
            cascade_replica_apply(to->replica, &reader, (uint8_t)shard, wire, wire_used, 0, &adopters);
        }
        cascade_export_digest(from->export, (uint8_t)shard, &sent);
        cascade_replica_digest(to->replica, (uint8_t)shard, &applied);
        cr_assert(cascade_digest_equal(&sent, &applied));
        cascade_replica_own(to->replica, (uint8_t)shard);
        hand_over_datagrams(from, to, (uint8_t)shard);
        cascade_carrier_drop(from->carrier, (uint8_t)shard);
    }
    uint64_t position = 0, now_ns = from->lab.engine->workers[0]->now_ns;
    wire_used = 0;
    cr_assert(cascade_tables_export(&from->lab.engine->learning, cascade_pack_names(from->carrier->names), now_ns,
                                    &position, into_wire, NULL));
    cascade_tables_apply(&to->lab.engine->learning, &reader, cascade_pack_names(to->carrier->names), now_ns, wire,
                         wire_used);
    struct ft_stats stats;
    ft_stats(from->lab.engine->flows, &stats);
    cr_assert_eq(stats.flows, 0);
    to->lab.engine->workers[0]->now_ns = now_ns;
}

/* ---- comparison ---- */

static int compare_told(const void *x, const void *y)
{
    uint64_t p = ((const struct lab_event *)x)->event.flow.cold.uid,
             q = ((const struct lab_event *)y)->event.flow.cold.uid;
    return p < q ? -1 : p > q;
}

/* What is another when the second engine looks at undecided flows anew, as with another pack. */
static const char *difference_of_judgement(const struct lab_event *x, const struct lab_event *y)
{
    const struct ft_flow *p = &x->event.flow, *q = &y->event.flow;
    if (p->hot.name != q->hot.name || p->cold.protocol != q->cold.protocol)
        return "name";
    if (p->cold.signature != q->cold.signature || p->cold.method != q->cold.method ||
        p->cold.confidence != q->cold.confidence)
        return "how it was told";
    if (p->cold.packets_to_verdict != q->cold.packets_to_verdict ||
        p->cold.payload_packets_to_verdict != q->cold.payload_packets_to_verdict)
        return "when it was told";
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        unsigned p_size, q_size;
        const char *p_text = dp_attributes_text(x->has_texts ? &x->attributes : NULL, i, &p_size);
        const char *q_text = dp_attributes_text(y->has_texts ? &y->attributes : NULL, i, &q_size);
        if (p_size != q_size || memcmp(p_text, q_text, p_size))
            return "texts";
    }
    return NULL;
}

/* What must be the same whatever the packs. */
static const char *difference_of_account(const struct lab_event *x, const struct lab_event *y)
{
    const struct ft_flow *p = &x->event.flow, *q = &y->event.flow;
    unsigned judged = looks_anew ? FT_FLOW_ANNOUNCES | FT_FLOW_WATCHED | FT_FLOW_AMBIGUOUS : 0;
    if (memcmp(&p->key, &q->key, sizeof p->key))
        return "key";
    if (memcmp(p->hot.packets, q->hot.packets, sizeof p->hot.packets) ||
        memcmp(p->hot.bytes, q->hot.bytes, sizeof p->hot.bytes))
        return "counters";
    if (p->cold.first_ns != q->cold.first_ns || p->hot.last_ns != q->hot.last_ns)
        return "times";
    if ((p->hot.flags | judged) != (q->hot.flags | judged) || p->hot.tcp_state != q->hot.tcp_state ||
        x->event.close != y->event.close)
        return "state";
    return NULL;
}

static unsigned compare_with_twin(const char *file, unsigned cut)
{
    unsigned differ = 0;
    qsort(told[1], told_count[1], sizeof told[1][0], compare_told);
    cr_expect_eq(told_count[0], told_count[1], "%s cut at %u: %u flows, %u", file, cut, told_count[0], told_count[1]);
    for (unsigned i = 0; i < told_count[0] && i < told_count[1]; i++) {
        const char *what = difference_of_account(&told[0][i], &told[1][i]);
        const char *judgement = difference_of_judgement(&told[0][i], &told[1][i]);
        compared++;
        judged_otherwise += judgement != NULL;
        named_otherwise += told[0][i].event.flow.hot.name != told[1][i].event.flow.hot.name;
        if (!looks_anew && !what)
            what = judgement;
        const struct ft_flow *p = &told[0][i].event.flow, *q = &told[1][i].event.flow;
        const struct cl_engine *pack = a.lab.engine->classifier;
        cr_expect(!what, "%s cut at %u: flow %lu: %s; %s, %s", file, cut, p->cold.uid & 0xffffffff, what,
                  cl_protocol_get(pack, p->hot.name)->name, cl_protocol_get(pack, q->hot.name)->name);
        differ += what != NULL;
    }
    return differ;
}

/* ---- the captures ---- */

static void start_side(struct side *side, struct rte_mempool *pool)
{
    char error[1024];
    lab_config(&side->lab);
    side->lab.config.offline = true;
    side->lab.config.flow_events = false;
    side->lab.pool = pool;
    side->lab.segment_bytes = 1500;
    side->lab.engine = dp_engine_create(&side->lab.config, error, sizeof error);
    cr_assert(side->lab.engine, "%s", error);
    side->lab.events = calloc(LAB_EVENTS_MAX, sizeof *side->lab.events);
    struct ft *flows = side->lab.engine->flows;
    side->carrier = cascade_carrier_create(side->lab.engine);
    struct cascade_attachments attachments = cascade_carrier_attachments(side->carrier);
    side->export =
        cascade_export_create(flows, ft_reader_register(flows), cascade_pack_names(side->carrier->names), &attachments);
    side->replica = cascade_replica_create(flows, ft_slot_count(flows), cascade_pack_names(side->carrier->names));
    side->datagrams = dp_fragment_carrier_create(4096);
    cr_assert(side->export && side->replica && side->datagrams);
}

static void start(void)
{
    lab_start_eal();
    struct rte_mempool *pool =
        rte_pktmbuf_pool_create("lab", LAB_MBUFS, 0, DP_META_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    start_side(&a, pool);
    start_side(&b, pool);
    cascade_reader_init(&reader, cascade_carry_kinds);
    for (unsigned i = 0; cascade_carry_kinds[i]; i++) {
        uint8_t text[1024];
        struct cursor c = cursor_of(text, cascade_write_definition(cascade_carry_kinds[i], text, sizeof text));
        cr_assert_eq(cascade_define(&reader, &c), CASCADE_REFUSAL_none);
    }
    b.carrier->reader = &reader;
    cr_assert_eq(cascade_pack_names_digest(a.carrier->names), cascade_pack_names_digest(b.carrier->names));
}

static void stop_side(struct side *side)
{
    cascade_export_destroy(side->export);
    cascade_replica_destroy(side->replica);
    cascade_carrier_destroy(side->carrier);
    dp_fragment_carrier_destroy(side->datagrams);
    dp_engine_destroy(side->lab.engine);
    free(side->lab.events);
}

static bool is_capture(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".pcap") || !strcmp(dot, ".pcapng"));
}

static unsigned cut_capture(const char *file)
{
    unsigned cuts = 0, step;
    read_capture(file, a.lab.pool);
    told_count[0] = 0;
    send_packets(&a.lab, 0, packet_count);
    finish(&a.lab, 0);
    qsort(told[0], told_count[0], sizeof told[0][0], compare_told);
    step = packet_count <= CUTS_ALL ? 1 : packet_count / CUTS_SAMPLED;
    for (unsigned cut = 1; cut < packet_count; cut += cut < CUTS_ALL / 2 ? 1 : step, cuts++) {
        told_count[1] = 0;
        send_packets(&a.lab, 0, cut);
        take_ends(&a.lab, 1);
        hand_over(&a, &b);
        send_packets(&b.lab, cut, packet_count);
        finish(&a.lab, 1);
        finish(&b.lab, 1);
        if (compare_with_twin(file, cut))
            break;
    }
    forget_capture();
    return cuts;
}

static void cut_all(void)
{
    DIR *folder = opendir(SOURCE_ROOT "/pcaps");
    unsigned captures = 0, cuts = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (is_capture(entry->d_name)) {
            cuts += cut_capture(entry->d_name);
            captures++;
        }
    closedir(folder);
    cr_expect_gt(captures, 50);
    cr_expect_gt(cuts, 500);
    cr_expect_eq(b.carrier->undecided_lost, 0);
}

/* The same pack: inspection goes on where it was. */
Test(cascade_twin, same_pack_at_every_cut)
{
    start();
    b.carrier->same_pack = cl_engine_number(b.lab.engine->classifier);
    cut_all();
    stop_side(&a);
    stop_side(&b);
}

/*
 * Another pack: what was decided stays, what was not is looked at anew. Nothing of the accounts changes; of the names only
 * those of flows cut between their first packets, where UDP keeps no bytes.
 */
Test(cascade_twin, another_pack_at_every_cut)
{
    start();
    looks_anew = true;
    cut_all();
    cr_expect_lt(named_otherwise * 200, compared, "%u of %u flows have another name, %u were judged otherwise",
                 named_otherwise, compared, judged_otherwise);
    stop_side(&a);
    stop_side(&b);
}

#include <string.h>

#include "base/cursor.h"
#include "classifier/engine.h"
#include "classifier/midflow.h"

#define IP_PROTO_TCP 6u
#define IP_PROTO_UDP 17u

#define CONFIDENCE_CERTAIN 95u /* a pattern from here on needs no inspector to be final */
#define PORT_HINT_GAIN     8u
#define MAX_PENDING        4u
#define FIRST_DYNAMIC_PORT 49152u
#define SYSTEM_PORTS       1024u /* below: given to services alone */

/* cl_state as the engine uses it; all zero at the start. */
struct flow {
    uint64_t inspector_state[CL_INSPECT_STATE_BYTES / 8];
    struct cl_verdict verdict; /* protocol set: it is final */
    uint32_t rejected;         /* bit per inspector that said no */
    uint16_t rule;             /* that suggested the running inspector */
    uint8_t inspector;         /* running, index + 1; 0 = none */
    uint8_t is_host_known;     /* info's host was looked up */
    uint8_t pending_count;     /* rules that wait for a second packet */
    uint8_t first_side;        /* who sent the packet that they matched */
    uint8_t head_bytes;
    uint8_t reserved;
    uint16_t pending[MAX_PENDING];
    uint8_t head[PACK_HEAD_BYTES]; /* first bytes of that packet */
    struct midflow midflow;
};
_Static_assert(sizeof(struct flow) <= sizeof(struct cl_state), "a flow's memory must fit its state");
_Static_assert(CL_INSPECTORS_MAX <= 32, "rejected has a bit per inspector");

/* ---- conditions ---- */

static const uint8_t *bytes_at(const uint8_t *bytes, uint32_t size, int32_t at, uint32_t count)
{
    int64_t offset = at < 0 ? (int64_t)size + at : at;
    if (offset < 0)
        return NULL;
    struct cursor c = cursor_of(bytes, size);
    cursor_skip(&c, (size_t)offset);
    return cursor_take(&c, count);
}

static bool compare_length(const struct pack_check *k, uint64_t value, uint32_t size)
{
    int64_t expected = (int64_t)(value & UINT32_MAX) * k->unit + k->plus;
    if (k->compare == PACK_AT_LEAST)
        return size >= expected;
    if (k->compare == PACK_AT_MOST)
        return size <= expected;
    return size == expected;
}

/* Against the first packet of the pair. */
static bool compare_head(const struct pack_check *k, const uint8_t *p, const struct flow *f)
{
    const uint8_t *first = bytes_at(f->head, f->head_bytes, (int32_t)k->first_at, k->size);
    if (!first)
        return false;
    if (k->kind == PACK_SAME)
        return !memcmp(p, first, k->size);
    uint64_t modulus_mask = k->size == 8 ? UINT64_MAX : (1ull << 8 * k->size) - 1;
    uint64_t step = (cl_number(p, k->size, k->little) - cl_number(first, k->size, k->little)) & modulus_mask;
    return step >= k->min && step <= k->max;
}

static bool check_holds(const struct pack_check *k, const struct cl_packet *packet, const struct flow *f)
{
    const uint8_t *p = bytes_at(packet->bytes, packet->size_bytes, k->at, k->size);
    if (!p)
        return false;
    if (k->kind == PACK_BYTES)
        return !memcmp(p, k->bytes, k->size);
    if (k->kind == PACK_SAME || k->kind == PACK_STEP)
        return compare_head(k, p, f);
    uint64_t value = cl_number(p, k->size, k->little) & k->mask;
    if (k->kind == PACK_LENGTH_FIELD)
        return compare_length(k, value, packet->size_bytes);
    return value >= k->min && value <= k->max;
}

/* `hits` are the slots that this packet hit for the rule, or may have hit. */
static bool step_holds(const struct pack_step *s, uint8_t hits, const struct cl_packet *packet, const struct flow *f)
{
    if ((hits & s->slots) != s->slots || (s->lengths.count && !cl_in_ranges(&s->lengths, packet->size_bytes)))
        return false;
    for (uint32_t i = 0; i < s->check_count; i++)
        if (!check_holds(&s->checks[i], packet, f))
            return false;
    return true;
}

static bool first_holds(const struct pack_rule *r, uint8_t hits, const struct cl_packet *packet, const struct flow *f)
{
    return (!r->ports.count || cl_has_port(&r->ports, packet)) && step_holds(&r->first, hits, packet, f);
}

/* ---- candidates ---- */

struct candidate {
    uint16_t rule;
    uint8_t confidence;
    uint8_t slots; /* that must be hit, some of them perhaps by Hyperscan's word only */
};

struct candidates {
    uint32_t count;
    struct candidate list[CL_MAX_TOUCHED + MAX_PENDING];
};

static void add_candidate(struct candidates *c, const struct cl_engine *e, uint16_t rule, uint8_t slots,
                          const struct cl_packet *packet)
{
    const struct pack_rule *r = &e->pack->rules[rule];
    unsigned confidence = r->confidence;
    if (r->port_hints.count && confidence < CONFIDENCE_CERTAIN && cl_has_port(&r->port_hints, packet)) {
        confidence += PORT_HINT_GAIN;
        if (confidence >= CONFIDENCE_CERTAIN)
            confidence = CONFIDENCE_CERTAIN - 1;
    }
    if (c->count < sizeof c->list / sizeof *c->list)
        c->list[c->count++] = (struct candidate){rule, (uint8_t)confidence, slots};
}

static bool is_better(const struct cl_engine *e, const struct candidate *a, const struct candidate *b)
{
    const struct pack_rule *x = &e->pack->rules[a->rule], *y = &e->pack->rules[b->rule];
    if (a->confidence != b->confidence)
        return a->confidence > b->confidence;
    if (x->specificity != y->specificity)
        return x->specificity > y->specificity;
    return a->rule < b->rule;
}

/* Takes the best one out of the list. */
static struct candidate take_best(const struct cl_engine *e, struct candidates *c)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < c->count; i++)
        if (is_better(e, &c->list[i], &c->list[best]))
            best = i;
    struct candidate taken = c->list[best];
    c->list[best] = c->list[--c->count];
    return taken;
}

/* ---- patterns: how the payload begins; the rest, and searches, where a clause hangs on them alone ---- */

static void note_hit(struct cl_worker *w, uint16_t rule, uint8_t bits)
{
    if (!w->hits[rule]) {
        if (w->touched_count == CL_MAX_TOUCHED)
            return;
        w->touched[w->touched_count++] = rule;
    }
    w->hits[rule] |= bits;
}

/* Short rows are judged at once; one with repetitions or for Hyperscan stays open. */
static void scan_rows(struct cl_worker *w, const struct cl_packet *packet, unsigned transport, unsigned side)
{
    const struct plain_table *t = &w->engine->plain;
    const uint32_t *start = t->by_first[transport][side].start;
    const struct plain_entry *list = t->by_first[transport][side].list;
    uint64_t head = plain_head(packet->bytes, packet->size_bytes);
    unsigned first = head & 255;
    for (uint32_t i = start[first]; i < start[first + 1]; i++) {
        const struct plain_entry *entry = &list[i];
        if ((head & entry->mask) != entry->value || packet->size_bytes < entry->length)
            continue;
        struct cl_pattern_target target = w->engine->targets[entry->pattern];
        bool is_open = false;
        if (entry->is_more) {
            const struct plain_row *row = &t->rows[entry->row];
            is_open = row->repeats || row->is_partial;
            if (!plain_passes(t, row, packet->bytes) || (is_open && w->open_count == CL_MAX_OPEN))
                continue;
        }
        if (is_open) {
            w->open[w->open_count].row = entry->row;
            w->open[w->open_count++].target = target;
        }
        note_hit(w, target.rule, (uint8_t)(target.slot_bit << (is_open ? CL_MAYBE_SHIFT : 0)));
    }
}

static bool is_looked_at(const struct cl_packet *packet, unsigned side)
{
    return side == packet->from_server || packet->started_before;
}

/* Where the beginning was not seen the sides are a guess: both sides' patterns are tried. */
static void scan(struct cl_worker *w, const struct cl_packet *packet)
{
    const struct cl_engine *e = w->engine;
    unsigned transport = packet->ip_proto == IP_PROTO_TCP ? PACK_TCP : PACK_UDP;
    for (unsigned side = 0; side < PACK_SIDES; side++)
        if (is_looked_at(packet, side))
            scan_rows(w, packet, transport, side);
    for (uint32_t i = 0; i < e->searches.bare_count; i++) {
        uint16_t rule = e->searches.bare[i];
        for (unsigned side = 0; side < PACK_SIDES; side++)
            if (is_looked_at(packet, side) && pack_applies(&e->pack->rules[rule], PACK_SLOT_SEARCH, transport, side))
                note_hit(w, rule, 1u << PACK_SLOT_SEARCH << CL_MAYBE_SHIFT);
    }
}

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context)
{
    (void)id, (void)from, (void)to, (void)flags;
    *(bool *)context = true;
    return 1; /* enough */
}

static bool is_found(struct cl_worker *w, uint16_t pattern, const struct cl_packet *packet)
{
    const struct pack_pattern *p = &w->engine->pack->patterns[pattern];
    uint32_t size = packet->size_bytes;
    if (p->within && size > p->within + 2u)
        size = p->within + 2u; /* a match ends before; \b and $ look two bytes on at most */
    const struct pack_databases *d = &w->engine->databases;
    const hs_database_t *db = d->count ? d->database[pattern] : NULL;
    bool is_hit = false;
    if (db) /* a compiled pack may say of a pattern that it needs none */
        hs_scan(db, (const char *)packet->bytes, size, 0, w->scratch, on_match, &is_hit);
    return is_hit;
}

/* Slots that are hit, or would be if what is open were; a search may always be. */
static uint8_t possible_hits(const struct cl_worker *w, uint16_t rule)
{
    return (uint8_t)(w->hits[rule] | w->hits[rule] >> CL_MAYBE_SHIFT | 1u << PACK_SLOT_SEARCH |
                     1u << PACK_SLOT_THEN_SEARCH);
}

/* The rest of a row that the payload begins as. */
static bool row_holds(struct cl_worker *w, const struct plain_row *row, const struct cl_packet *packet)
{
    return (!row->repeats || plain_goes_on(&w->engine->plain, row, packet->bytes, packet->size_bytes)) &&
           (!row->is_partial || is_found(w, row->pattern, packet));
}

/* Whether all of `slots`, which are possible, are hit. */
static bool are_hit(struct cl_worker *w, uint16_t rule, uint8_t slots, const struct cl_packet *packet)
{
    const struct cl_engine *e = w->engine;
    for (uint32_t i = 0; i < w->open_count && slots & ~w->hits[rule]; i++) {
        struct cl_pattern_target target = w->open[i].target;
        if (target.rule == rule && target.slot_bit & slots & ~w->hits[rule] &&
            row_holds(w, &e->plain.rows[w->open[i].row], packet))
            note_hit(w, rule, target.slot_bit);
    }
    for (uint32_t i = e->searches.start[rule]; i < e->searches.start[rule + 1u] && slots & ~w->hits[rule]; i++) {
        uint8_t bit = e->targets[e->searches.list[i]].slot_bit;
        if (bit & slots & ~w->hits[rule] && is_found(w, e->searches.list[i], packet))
            note_hit(w, rule, bit);
    }
    return (w->hits[rule] & slots) == slots;
}

static void clear_hits(struct cl_worker *w)
{
    for (uint32_t i = 0; i < w->touched_count; i++)
        w->hits[w->touched[i]] = 0;
    w->touched_count = 0;
    w->open_count = 0;
}

/* Rules that waited for this packet: those that hold become candidates, those that do not are dropped. */
static void judge_pending(struct cl_worker *w, struct flow *f, const struct cl_packet *packet, struct candidates *c)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < f->pending_count; i++) {
        uint16_t rule = f->pending[i];
        const struct pack_rule *r = &w->engine->pack->rules[rule];
        bool is_due = (packet->from_server != f->first_side) == r->then_other;
        if (is_due && step_holds(&r->then, possible_hits(w, rule), packet, f) &&
            are_hit(w, rule, r->then.slots, packet))
            add_candidate(c, w->engine, rule, 0, packet);
        else if (is_due ? packet->ip_proto == IP_PROTO_TCP : !r->or_none) /* a stream may have more of it to come */
            f->pending[kept++] = rule;
    }
    f->pending_count = (uint8_t)kept;
}

static void keep_head(struct flow *f, const struct cl_packet *packet)
{
    f->first_side = packet->from_server;
    f->head_bytes = (uint8_t)(packet->size_bytes < PACK_HEAD_BYTES ? packet->size_bytes : PACK_HEAD_BYTES);
    memcpy(f->head, packet->bytes, f->head_bytes);
}

/* A datagram flow's beginning is never known for sure: it may go on after its time-out. */
static bool is_midflow(const struct cl_packet *packet)
{
    return packet->started_before || packet->ip_proto == IP_PROTO_UDP;
}

static bool is_joined_stream(const struct cl_packet *packet)
{
    return packet->started_before && packet->ip_proto == IP_PROTO_TCP;
}

/* Rules whose first conditions hold: candidates now, or pending when they ask for a second packet. */
static void judge_touched(struct cl_worker *w, struct flow *f, const struct cl_packet *packet, struct candidates *c)
{
    uint16_t waiting[MAX_PENDING];
    unsigned waiting_count = 0;
    bool may_wait = !f->pending_count || packet->from_server == f->first_side;
    for (uint32_t i = 0; i < w->touched_count; i++) {
        uint16_t rule = w->touched[i];
        const struct pack_rule *r = &w->engine->pack->rules[rule];
        if (r->later || (r->midflow && !is_midflow(packet)) || !first_holds(r, possible_hits(w, rule), packet, f))
            continue;
        if (!r->has_then)
            add_candidate(c, w->engine, rule, r->first.slots, packet);
        else if (may_wait && waiting_count < MAX_PENDING && are_hit(w, rule, r->first.slots, packet))
            waiting[waiting_count++] = rule;
    }
    if (!waiting_count)
        return;
    memcpy(f->pending, waiting, sizeof waiting);
    f->pending_count = (uint8_t)waiting_count;
    keep_head(f, packet);
}

/* ---- verdicts ---- */

static void set_verdict(const struct cl_engine *e, struct flow *f, uint16_t rule, enum cl_method method,
                        uint8_t confidence)
{
    cl_signature signature = e->pack->rules[rule].signature;
    const struct pack_signature *s = &e->pack->signatures[signature];
    f->verdict = (struct cl_verdict){
        .protocol = s->over ? s->over : s->protocol,
        .application = s->over ? s->protocol : 0,
        .signature = signature,
        .method = (uint8_t)method,
        .confidence = confidence,
    };
}

static bool is_carried_by(const struct cl_engine *e, cl_protocol application, cl_protocol protocol)
{
    const struct cl_protocol_info *info = &e->pack->protocols[application].info;
    for (unsigned i = 0; i < info->parent_count; i++)
        if (info->parents[i] == protocol)
            return true;
    return false;
}

/* A host's application is finer than the version of HTTP that carries it. */
static void refine_by_host(const struct cl_engine *e, struct flow *f, const struct cl_info *info)
{
    size_t size = info->size_bytes[CL_TEXT_host];
    if (f->is_host_known || !size)
        return;
    f->is_host_known = 1;
    cl_protocol now = f->verdict.application;
    if (now && now != e->hint[CL_HINT_http1] && now != e->hint[CL_HINT_http2] && now != e->hint[CL_HINT_http3])
        return;
    cl_protocol found = cl_hosts_find(&e->hosts, info->text[CL_TEXT_host], size);
    if (found && is_carried_by(e, found, f->verdict.protocol))
        f->verdict.application = found;
}

/* A client that shows itself by its hello where no host tells the application. */
static void refine_by_ja4(const struct cl_engine *e, struct flow *f, const struct cl_info *info)
{
    size_t size = info->size_bytes[CL_TEXT_ja4];
    if (!size || !e->wants_ja4 || f->verdict.application)
        return;
    cl_protocol found = cl_hosts_find(&e->hosts, info->text[CL_TEXT_ja4], size);
    if (found && is_carried_by(e, found, f->verdict.protocol))
        f->verdict.application = found;
}

/* The protocol is set once; an application may come later. */
static void apply_result(const struct cl_engine *e, struct flow *f, const struct cl_inspect_result *result)
{
    if (f->verdict.protocol == 0) {
        set_verdict(e, f, f->rule, CL_METHOD_inspector, result->confidence ? result->confidence : 100);
        cl_protocol named = result->protocol < CL_HINT_COUNT ? e->hint[result->protocol] : 0;
        if (named && e->pack->protocols[named].info.is_application)
            f->verdict.application = named;
        else if (named) {
            f->verdict.protocol = named;
            f->verdict.application = 0;
        }
    }
    if (!f->verdict.application && result->application < CL_HINT_COUNT)
        f->verdict.application = e->hint[result->application];
}

/* The budget of packets: a direction beyond its own is not looked at, the flow ends at both together. */
static bool is_over_budget(const struct cl_engine *e, const struct flow *f, const struct cl_packet *packet)
{
    return packet->payload_packets[0] + packet->payload_packets[1] >= 2 * e->options.payload_packets_max ||
           (packet->ip_proto == IP_PROTO_TCP &&
            packet->size_bytes + f->midflow.begin[packet->from_server] >= CL_STREAM_MAX_BYTES);
}

static enum cl_step final_or_done(const struct cl_engine *e, const struct flow *f, const struct cl_packet *packet)
{
    return is_over_budget(e, f, packet) ? CL_DONE : CL_FINAL;
}

/* Calls the running inspector; CL_UNDECIDED with f->inspector == 0 means that it said no. */
static enum cl_step run_inspector(struct cl_worker *w, struct flow *f, const struct cl_packet *packet,
                                  struct cl_info *info)
{
    const struct cl_engine *e = w->engine;
    unsigned index = f->inspector - 1u;
    struct cl_inspect_result result = {0};
    enum cl_inspect_step step =
        cl_inspectors[index]->inspect(w->inspector_scratch[index], f->inspector_state, packet, info, &result);
    bool was_final = f->verdict.protocol != 0;
    switch (step) {
    case CL_INSPECT_REJECTED:
        f->inspector = 0;
        f->rejected |= 1u << index;
        memset(f->inspector_state, 0, sizeof f->inspector_state);
        return was_final ? CL_DONE : CL_UNDECIDED;
    case CL_INSPECT_MORE:
        if (!was_final && is_over_budget(e, f, packet))
            set_verdict(e, f, f->rule, CL_METHOD_signature, e->pack->rules[f->rule].confidence);
        if (!f->verdict.protocol)
            return CL_UNDECIDED;
        refine_by_host(e, f, info);
        refine_by_ja4(e, f, info);
        return final_or_done(e, f, packet);
    case CL_INSPECT_CONFIRMED:
    case CL_INSPECT_DONE:
        break;
    }
    apply_result(e, f, &result);
    refine_by_host(e, f, info);
    refine_by_ja4(e, f, info);
    return step == CL_INSPECT_DONE ? CL_DONE : final_or_done(e, f, packet);
}

/* Best first; an inspector that says no gives way to the next. */
static enum cl_step settle(struct cl_worker *w, struct flow *f, struct candidates *c, const struct cl_packet *packet,
                           struct cl_info *info)
{
    const struct cl_engine *e = w->engine;
    while (c->count) {
        struct candidate best = take_best(e, c);
        const struct pack_rule *r = &e->pack->rules[best.rule];
        bool has_inspector = r->inspector && !e->options.inspectors_off;
        if ((has_inspector && f->rejected & 1u << (r->inspector - 1u)) || !are_hit(w, best.rule, best.slots, packet))
            continue;
        if (!has_inspector) {
            set_verdict(e, f, best.rule, CL_METHOD_signature, best.confidence);
            return e->has_later[f->verdict.protocol] ? final_or_done(e, f, packet) : CL_DONE;
        }
        f->inspector = r->inspector;
        f->rule = best.rule;
        enum cl_step step = run_inspector(w, f, packet, info);
        if (!f->inspector)
            continue;
        if (step == CL_UNDECIDED && best.confidence >= CONFIDENCE_CERTAIN) {
            set_verdict(e, f, best.rule, CL_METHOD_signature, best.confidence);
            refine_by_host(e, f, info);
            refine_by_ja4(e, f, info);
            return CL_FINAL;
        }
        return step;
    }
    return CL_UNDECIDED;
}

/* `whole`: the packet with all bytes of its direction, also those that `packet` begins behind. */
static enum cl_step match_patterns(struct cl_worker *w, struct flow *f, const struct cl_packet *packet,
                                   const struct cl_packet *whole, struct cl_info *info)
{
    struct candidates c;
    c.count = 0;
    if (is_joined_stream(packet)) {
        uint16_t rule = midflow_find(w->engine, &f->midflow, whole);
        if (rule != UINT16_MAX)
            add_candidate(&c, w->engine, rule, 0, packet);
    }
    scan(w, packet);
    judge_pending(w, f, packet, &c);
    judge_touched(w, f, packet, &c);
    enum cl_step step = settle(w, f, &c, packet, info);
    clear_hits(w);
    return step;
}

/*
 * What ordinary signatures and inspectors look at of a stream joined in its middle: from a segment's begin on, a later one
 * each time until something is found there.
 */
static struct cl_packet view_of(const struct flow *f, const struct cl_packet *packet)
{
    struct cl_packet view = *packet;
    uint32_t begin = f->midflow.begin[packet->from_server];
    if (begin < packet->size_bytes) {
        view.bytes += begin;
        view.size_bytes -= begin;
    }
    return view;
}

static void move_view(struct flow *f, const struct cl_packet *packet)
{
    uint16_t *begin = &f->midflow.begin[packet->from_server];
    if (is_joined_stream(packet) && !f->inspector && packet->size_bytes >= *begin + MIDFLOW_SHORT_BYTES)
        *begin = (uint16_t)packet->size_bytes;
}

/* A flow that is told: the first signature that asks for such a flow names what it turned to. */
static enum cl_step match_later(struct cl_worker *w, struct flow *f, const struct cl_packet *packet)
{
    const struct cl_engine *e = w->engine;
    enum cl_step step = final_or_done(e, f, packet);
    scan(w, packet);
    for (uint32_t i = 0; i < w->touched_count && !f->verdict.application; i++) {
        uint16_t rule = w->touched[i];
        const struct pack_rule *r = &e->pack->rules[rule];
        if (!r->later || e->pack->signatures[r->signature].over != f->verdict.protocol ||
            !first_holds(r, possible_hits(w, rule), packet, f) || !are_hit(w, rule, r->first.slots, packet))
            continue;
        set_verdict(e, f, rule, CL_METHOD_signature, r->confidence);
        step = CL_DONE;
    }
    clear_hits(w);
    return step;
}

enum cl_step cl_inspect(struct cl_worker *worker, struct cl_state *state, const struct cl_packet *packet,
                        struct cl_verdict *verdict, struct cl_info *info)
{
    struct flow *f = (struct flow *)(void *)state;
    const struct cl_engine *e = worker->engine;
    enum cl_step step = CL_UNDECIDED;
    bool has_patterns = packet->ip_proto == IP_PROTO_TCP || packet->ip_proto == IP_PROTO_UDP;
    if (!has_patterns) {
        cl_fallback(e, packet->ip_proto, packet->client_port, packet->server_port, true, verdict);
        return CL_DONE;
    }
    info->wants_ja4 = e->wants_ja4;
    struct cl_packet view = view_of(f, packet);
    if (f->inspector)
        step = run_inspector(worker, f, &view, info);
    else if (f->verdict.protocol)
        step = match_later(worker, f, &view);
    if (!f->inspector && step == CL_UNDECIDED &&
        packet->payload_packets[packet->from_server] <= e->options.payload_packets_max)
        step = match_patterns(worker, f, &view, packet, info);
    if (step != CL_UNDECIDED) {
        *verdict = f->verdict;
        return step;
    }
    bool is_over = is_over_budget(e, f, &view);
    move_view(f, packet);
    if (is_over) {
        cl_conclude(e, state, packet->ip_proto, packet->client_port, packet->server_port, true, verdict);
        step = CL_DONE;
    }
    return step;
}

void cl_state_adopt(const struct cl_engine *engine, uint32_t number, struct cl_state *state)
{
    struct flow *f = (struct flow *)(void *)state;
    const uint16_t *map = number + 1 == engine->number ? engine->rule_of_previous : NULL;
    unsigned kept = 0;
    for (unsigned i = 0; i < f->pending_count; i++) {
        uint16_t rule = map ? map[f->pending[i]] : PACK_NO_RULE;
        if (rule != PACK_NO_RULE)
            f->pending[kept++] = rule;
    }
    f->pending_count = (uint8_t)kept;
    if (!f->inspector)
        return;
    uint16_t rule = map ? map[f->rule] : PACK_NO_RULE;
    if (rule != PACK_NO_RULE) {
        f->rule = rule;
    } else if (!f->verdict.protocol) {
        f->inspector = 0;
        memset(f->inspector_state, 0, sizeof f->inspector_state);
    } else {
        f->rule = 0; /* not asked any more once there is a verdict */
    }
}

void cl_conclude(const struct cl_engine *engine, const struct cl_state *state, uint8_t ip_proto, uint16_t client_port,
                 uint16_t server_port, bool established, struct cl_verdict *ret_verdict)
{
    struct flow f;
    memcpy(&f, state, sizeof f);
    if (!f.verdict.protocol && f.inspector)
        set_verdict(engine, &f, f.rule, CL_METHOD_signature, engine->pack->rules[f.rule].confidence);
    for (unsigned i = 0; i < f.pending_count && !f.verdict.protocol; i++)
        if (engine->pack->rules[f.pending[i]].or_none)
            set_verdict(engine, &f, f.pending[i], CL_METHOD_signature, engine->pack->rules[f.pending[i]].confidence);
    if (f.verdict.protocol)
        *ret_verdict = f.verdict;
    else
        cl_fallback(engine, ip_proto, client_port, server_port, established, ret_verdict);
}

void cl_fallback(const struct cl_engine *engine, uint8_t ip_proto, uint16_t client_port, uint16_t server_port,
                 bool established, struct cl_verdict *ret_verdict)
{
    const struct pack *pack = engine->pack;
    struct cl_verdict v = {.method = CL_METHOD_generic};
    if (ip_proto == IP_PROTO_TCP || ip_proto == IP_PROTO_UDP) {
        bool is_tcp = ip_proto == IP_PROTO_TCP;
        const cl_protocol *by_port = engine->by_port[is_tcp ? PACK_TCP : PACK_UDP];
        cl_protocol named = by_port[server_port];
        if (client_port < FIRST_DYNAMIC_PORT && by_port[client_port] &&
            (server_port >= FIRST_DYNAMIC_PORT ||
             (client_port < server_port && (!named || (client_port < SYSTEM_PORTS && server_port >= SYSTEM_PORTS)))))
            named = by_port[client_port]; /* the roles may be turned where the beginning was not seen */
        bool is_open = !is_tcp || established;
        v.protocol = !is_open ? pack->generic_non_established_tcp : is_tcp ? pack->generic_tcp : pack->generic_udp;
        if (is_open && named) {
            v.protocol = named;
            v.method = CL_METHOD_port;
            v.confidence = 30;
        }
    } else if (engine->by_ip_protocol[ip_proto]) {
        v.protocol = engine->by_ip_protocol[ip_proto];
        v.signature = pack->protocols[v.protocol].ip_signature;
        v.method = CL_METHOD_signature;
        v.confidence = 100;
    } else {
        v.protocol = pack->generic_ip;
    }
    *ret_verdict = v;
}

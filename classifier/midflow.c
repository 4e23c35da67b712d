#include "classifier/midflow.h"

#include "classifier/engine.h"

#define NONE UINT16_MAX

/* The size of the frame whose header begins at p: 0 when the number makes no sense. */
static uint32_t frame_bytes(const struct pack_chain *k, uint32_t header_bytes, const uint8_t *p)
{
    int64_t size = (int64_t)(cl_number(p + k->at, k->size, k->little) & k->mask & UINT32_MAX) * k->unit + k->plus;
    return size < (int64_t)header_bytes || size > (int64_t)k->max ? 0 : (uint32_t)size;
}

/* A header at `at`, of that rule, or of any with NONE; NULL for none. `from` is the row to begin with. */
static const struct plain_row *find_header(const struct cl_engine *e, const struct cl_packet *packet, uint32_t at,
                                           uint16_t rule, uint32_t *from)
{
    const struct plain_table *t = &e->chains;
    const uint32_t *start = t->by_first[PACK_TCP][0].start;
    const struct plain_entry *list = t->by_first[PACK_TCP][0].list;
    const uint8_t *p = packet->bytes + at;
    uint32_t left = packet->size_bytes - at;
    uint64_t head = plain_head(p, left);
    uint32_t i = *from ? *from : start[*p];
    for (; i < start[*p + 1]; i++) {
        if ((head & list[i].mask) != list[i].value || left < list[i].length)
            continue;
        const struct plain_row *row = &t->rows[list[i].row];
        uint16_t of = e->targets[row->pattern].rule;
        if ((rule != NONE && of != rule) || !plain_holds(t, row, p, left))
            continue;
        const struct pack_chain *k = &e->pack->rules[of].chain;
        if ((uint32_t)k->at + k->size > left || !frame_bytes(k, row->length, p))
            continue;
        *from = i + 1;
        return row;
    }
    return NULL;
}

/* Goes on with a chain as far as there are bytes. False: it is none. */
static bool follow(const struct cl_engine *e, const struct cl_packet *packet, struct midflow_chain *c)
{
    uint16_t rule = (uint16_t)(c->rule_plus_1 - 1);
    const struct pack_chain *k = &e->pack->rules[rule].chain;
    uint32_t at = c->next;
    while (at < packet->size_bytes && c->frames < k->count) {
        uint32_t from = 0;
        const struct plain_row *row = find_header(e, packet, at, rule, &from);
        if (!row && packet->size_bytes - at >= PLAIN_MAX_BYTES)
            return false;
        if (!row)
            break; /* its header may not be all there */
        c->frames++;
        at += frame_bytes(k, row->length, packet->bytes + at);
    }
    c->next = (uint16_t)(at > UINT16_MAX ? UINT16_MAX : at);
    return true;
}

static bool holds(const struct cl_engine *e, const struct midflow_chain *c, const struct cl_packet *packet)
{
    uint8_t count = e->pack->rules[c->rule_plus_1 - 1].chain.count;
    return c->frames >= count || (c->next == packet->size_bytes && c->frames + 1 >= count);
}

/* Of two that may hold: one whose frames end with the bytes so far is as good as one with a frame more. */
static bool is_longer(const struct midflow_chain *c, const struct midflow_chain *than, const struct cl_packet *packet)
{
    unsigned frames = c->frames + (c->next == packet->size_bytes ? 1u : 0u);
    return frames > than->frames + (than->frames && than->next == packet->size_bytes ? 1u : 0u);
}

/* Chains that begin at `at`; the first that holds, the longest that may is kept. */
static uint16_t begin_at(const struct cl_engine *e, struct midflow_chain *kept, const struct cl_packet *packet,
                         uint32_t at, bool is_start)
{
    uint32_t from = 0;
    for (const struct plain_row *row; (row = find_header(e, packet, at, NONE, &from));) {
        uint16_t rule = e->targets[row->pattern].rule;
        const struct pack_rule *r = &e->pack->rules[rule];
        if ((!is_start && !r->chain.resync) || (r->ports.count && !cl_has_port(&r->ports, packet)))
            continue;
        struct midflow_chain c = {.rule_plus_1 = (uint16_t)(rule + 1), .next = (uint16_t)at};
        if (!follow(e, packet, &c))
            continue;
        if (holds(e, &c, packet))
            return rule;
        if (is_longer(&c, kept, packet))
            *kept = c;
    }
    return NONE;
}

uint16_t midflow_find(const struct cl_engine *e, struct midflow *m, const struct cl_packet *packet)
{
    const uint32_t *start = e->chains.by_first[PACK_TCP][0].start;
    struct midflow_chain *kept = &m->chain[packet->from_server];
    uint32_t begin = m->seen[packet->from_server];
    if (!e->chains.row_count || begin >= packet->size_bytes)
        return NONE;
    m->seen[packet->from_server] = (uint16_t)packet->size_bytes;
    if (kept->rule_plus_1) {
        if (!follow(e, packet, kept))
            *kept = (struct midflow_chain){0};
        else if (holds(e, kept, packet))
            return (uint16_t)(kept->rule_plus_1 - 1);
    }
    for (uint32_t at = begin; at < packet->size_bytes; at++) {
        uint8_t first = packet->bytes[at];
        uint16_t rule = start[first] < start[first + 1] ? begin_at(e, kept, packet, at, at == begin) : NONE;
        if (rule != NONE)
            return rule;
    }
    return NONE;
}

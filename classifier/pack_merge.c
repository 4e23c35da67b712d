/* Ids of entries and signatures: order, overlaps between a pack and a user's set, new ids for the user's. */
#include <stdlib.h>
#include <string.h>

#include "classifier/pack_source.h"

#define MAX_ENTRY_ID 999999u

static int compare_places(const struct yml_node *a, const struct yml_node *b)
{
    if (!a || !b)
        return (a != NULL) - (b != NULL);
    int file = strcmp(a->file, b->file);
    return file ? file : a->line < b->line ? -1 : a->line > b->line;
}

static int compare_entries(const void *a, const void *b)
{
    const struct pack_entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return compare_places(x->node, y->node);
}

static int compare_signatures(const void *a, const void *b)
{
    const struct pack_signature_entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return compare_places(x->node, y->node);
}

static void report_overlap(struct pack_source *s, const struct yml_node *node, const char *what, uint32_t id,
                           uint32_t new_id, const struct yml_node *first)
{
    const struct yml_node *at = yml_get(node, "id");
    s->overlaps++;
    fprintf(s->report, "%s:%u:%u: %s %u", at->file, at->line, at->column, what, id);
    if (s->renumbers)
        fprintf(s->report, " is %u now\n", new_id);
    else if (first)
        fprintf(s->report, " is taken by %s:%u\n", first->file, first->line);
    else
        fputs(" is the engine's own\n", s->report);
}

bool pack_judge_overlaps(struct pack_source *s)
{
    if (!s->overlaps || s->renumbers)
        return true;
    snprintf(s->error->text, sizeof s->error->text,
             "%u ids overlap, expected ids of their own: change them, or merge with --renumber", s->overlaps);
    return false;
}

/* ---- entries ---- */

static bool is_continuation(const struct pack_entry *base, const struct pack_entry *e)
{
    return e->origin != base->origin && e->is_application == base->is_application && !strcmp(e->name, base->name);
}

static uint32_t free_entry_id(const struct pack_vector *entries, uint32_t from)
{
    const struct pack_entry *e = entries->items;
    for (uint32_t i = 0; i < entries->count; i++)
        if (e[i].id == from) {
            from++;
            i = UINT32_MAX; /* from the start: the list is not sorted while ids move */
        }
    return from;
}

static bool check_continuation(struct pack_source *s, const struct pack_entry *e)
{
    static const char *const own[] = {"parents", "aliases", "ip_protocol"};
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++) {
        const struct yml_node *node = yml_get(e->node, own[i]);
        if (node)
            return yml_fail_at_key(s->error, node,
                                   "%s of an entry that another set defines, expected ports, hosts or signatures only",
                                   own[i]);
    }
    return true;
}

/* Marks continuations; all other ids are used once then. The list must be sorted, and is not any more. */
static bool judge_entries(struct pack_source *s, struct pack_vector *entries)
{
    struct pack_entry *e = entries->items, *base = e;
    for (uint32_t i = 1; i < entries->count; i++) {
        if (e[i].id != base->id) {
            base = &e[i];
            continue;
        }
        e[i].continues = is_continuation(base, &e[i]) && !(e[i - 1].continues && e[i - 1].origin == e[i].origin);
        if (e[i].continues && !check_continuation(s, &e[i]))
            return false;
        if (e[i].continues)
            continue;
        if (!s->report || !e[i].origin)
            return yml_fail(s->error, yml_get(e[i].node, "id"), "id %u is taken by \"%s\", expected another", e[i].id,
                            base->name);
        uint32_t id = free_entry_id(entries, PACK_FIRST_USER_ID);
        if (id > MAX_ENTRY_ID)
            return yml_fail(s->error, e[i].node, "no id is free up to %u", MAX_ENTRY_ID);
        report_overlap(s, e[i].node, "id", e[i].id, id, base->node);
        e[i].id = id;
    }
    return true;
}

bool pack_order_entries(struct pack_source *s, struct pack_vector *entries)
{
    qsort(entries->items, entries->count, sizeof(struct pack_entry), compare_entries);
    if (!judge_entries(s, entries))
        return false;
    qsort(entries->items, entries->count, sizeof(struct pack_entry), compare_entries);
    struct pack_entry *e = entries->items;
    cl_protocol protocol = 0;
    for (uint32_t i = 0; i < entries->count; i++) {
        protocol = (cl_protocol)(protocol + !e[i].continues);
        e[i].protocol = protocol;
        if (!e[i].continues && !e[i].family)
            return yml_fail(s->error, e[i].node, "no family, expected \"family\" here or at the top of the file");
    }
    return true;
}

/* ---- signatures ---- */

/* The first id from `from` on that no signature has; `e` is sorted. */
static uint32_t free_signature_id(const struct pack_signature_entry *e, uint32_t count, uint32_t from)
{
    for (uint32_t i = 0; i < count; i++)
        if (e[i].id == from)
            from++;
    return from;
}

bool pack_order_signatures(struct pack_source *s, struct pack_vector *signatures)
{
    struct pack_signature_entry *e = signatures->items;
    uint32_t next = PACK_FIRST_USER_SIGNATURE_ID, count = signatures->count;
    if (!count)
        return true;
    qsort(e, count, sizeof *e, compare_signatures);
    uint32_t *ids = malloc(count * sizeof *ids); /* new ones, set at the end: the list stays sorted until then */
    if (!ids)
        abort();
    bool ok = true;
    for (uint32_t i = 0, first = 0; ok && i < count; i++) {
        ids[i] = e[i].id;
        if (!i || e[i].id != e[first].id) {
            first = i;
            continue;
        }
        if (!s->report || !e[i].origin) {
            ok = yml_fail(s->error, yml_get(e[i].node, "id"), "signature id %u a second time, the first is at %s:%u",
                          e[i].id, e[first].node->file, e[first].node->line);
            break;
        }
        ids[i] = free_signature_id(e, count, next);
        next = ids[i] + 1;
        report_overlap(s, e[i].node, "signature id", e[i].id, ids[i], e[first].node);
        if (ids[i] >= PACK_IP_PROTOCOL_SIGNATURE_ID)
            ok = yml_fail(s->error, e[i].node, "no signature id is free up to %u", PACK_IP_PROTOCOL_SIGNATURE_ID - 1);
    }
    for (uint32_t i = 0; ok && i < count; i++)
        e[i].id = ids[i];
    free(ids);
    qsort(e, count, sizeof *e, compare_signatures);
    return ok;
}

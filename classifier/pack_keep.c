/*
 * Indexes that outlive a pack. Flows remember runtime indexes; when a pack takes the place of another, what is the same entry
 * or signature in both keeps its index, what is new gets an index that none had, and what is gone leaves its name at its
 * index. So an index means one name for as long as the process lives.
 */
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"

/* new index = map[index in `pack` as it was read] */
struct maps {
    uint16_t *protocol, *signature;
    uint32_t protocol_total, signature_total;
};

static bool is_same_protocol(const struct cl_protocol_info *a, const struct cl_protocol_info *b)
{
    return a->id == b->id && a->is_application == b->is_application && !strcmp(a->name, b->name) &&
           !strcmp(a->family, b->family);
}

static void map_protocols(const struct pack *pack, const struct pack *before, struct maps *maps)
{
    uint32_t total = before->protocol_count;
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        uint32_t k = 1;
        while (k < before->protocol_count && !is_same_protocol(&pack->protocols[i].info, &before->protocols[k].info))
            k++;
        maps->protocol[i] = (uint16_t)(k < before->protocol_count ? k : total++);
    }
    maps->protocol_total = total;
}

static void map_signatures(const struct pack *pack, const struct pack *before, struct maps *maps)
{
    uint32_t total = before->signature_count;
    for (uint32_t i = 1; i < pack->signature_count; i++) {
        const struct pack_signature *s = &pack->signatures[i];
        uint32_t k = 1;
        while (k < before->signature_count &&
               (before->signatures[k].id != s->id || before->signatures[k].protocol != maps->protocol[s->protocol] ||
                strcmp(before->signatures[k].name, s->name) != 0))
            k++;
        maps->signature[i] = (uint16_t)(k < before->signature_count ? k : total++);
    }
    maps->signature_total = total;
}

/* The name of what is gone, for the flows that have it. */
static struct pack_protocol name_left(struct pack *pack, const struct pack_protocol *gone)
{
    struct pack_protocol left = *gone;
    left.info.name = pack_strdup(pack, gone->info.name);
    left.info.family = pack_strdup(pack, gone->info.family);
    left.info.method = "none";
    left.info.ways = 0;
    left.info.ports = "";
    left.info.aliases = NULL;
    left.info.alias_count = left.info.parent_count = 0;
    left.info.unidirectional = false;
    left.info.is_gone = true;
    left.ip_protocol = -1;
    left.ip_signature = 0;
    return left;
}

static void place_protocols(struct pack *pack, const struct pack *before, const struct maps *maps)
{
    struct pack_protocol *placed = pack_alloc(pack, maps->protocol_total * sizeof *placed);
    placed[0] = pack->protocols[0];
    for (uint32_t i = 1; i < before->protocol_count; i++)
        placed[i] = name_left(pack, &before->protocols[i]);
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        struct pack_protocol *p = &placed[maps->protocol[i]];
        *p = pack->protocols[i];
        cl_protocol *parents = (cl_protocol *)(uintptr_t)p->info.parents; /* our own arena's */
        for (unsigned k = 0; k < p->info.parent_count; k++)
            parents[k] = maps->protocol[parents[k]];
        p->ip_signature = maps->signature[p->ip_signature];
    }
    pack->protocols = placed;
    pack->protocol_count = maps->protocol_total;
}

static void place_signatures(struct pack *pack, const struct pack *before, const struct maps *maps)
{
    struct pack_signature *placed = pack_alloc(pack, maps->signature_total * sizeof *placed);
    placed[0] = pack->signatures[0];
    for (uint32_t i = 1; i < before->signature_count; i++) {
        placed[i] = before->signatures[i];
        placed[i].name = pack_strdup(pack, before->signatures[i].name);
        placed[i].file = NULL;
    }
    for (uint32_t i = 1; i < pack->signature_count; i++) {
        struct pack_signature *s = &placed[maps->signature[i]];
        *s = pack->signatures[i];
        s->protocol = maps->protocol[s->protocol];
        s->over = maps->protocol[s->over];
    }
    pack->signatures = placed;
    pack->signature_count = maps->signature_total;
}

static void place_rest(struct pack *pack, const struct maps *maps)
{
    cl_protocol *const named[] = {&pack->generic_tcp, &pack->generic_udp, &pack->generic_ip,
                                  &pack->generic_non_established_tcp};
    for (unsigned i = 0; i < sizeof named / sizeof *named; i++)
        *named[i] = maps->protocol[*named[i]];
    for (uint32_t i = 0; i < pack->rule_count; i++)
        pack->rules[i].signature = maps->signature[pack->rules[i].signature];
    for (uint32_t i = 0; i < pack->host_count; i++)
        pack->hosts[i].application = maps->protocol[pack->hosts[i].application];
    for (uint32_t i = 0; i < pack->port_count; i++)
        pack->ports[i].protocol = maps->protocol[pack->ports[i].protocol];
}

bool pack_keep_indexes(struct pack *pack, const struct pack *before)
{
    struct maps maps = {.protocol = calloc(pack->protocol_count, sizeof *maps.protocol),
                        .signature = calloc(pack->signature_count, sizeof *maps.signature)};
    if (!maps.protocol || !maps.signature)
        abort();
    bool fits = pack->protocol_count + before->protocol_count <= PACK_MAX_INDEXES &&
                pack->signature_count + before->signature_count <= PACK_MAX_INDEXES;
    if (fits) {
        map_protocols(pack, before, &maps);
        map_signatures(pack, before, &maps);
        place_protocols(pack, before, &maps);
        place_signatures(pack, before, &maps);
        place_rest(pack, &maps);
    }
    free(maps.protocol);
    free(maps.signature);
    return fits;
}

/* ---- clauses ---- */

/* The first clause of each signature index, UINT16_MAX where there is none; clauses of a signature follow each other. */
static uint16_t *index_rules(const struct pack *pack, uint32_t signature_count)
{
    uint16_t *first = malloc(signature_count * sizeof *first);
    if (!first)
        abort();
    memset(first, 0xff, signature_count * sizeof *first);
    for (uint32_t i = pack->rule_count; i > 0; i--)
        first[pack->rules[i - 1].signature] = (uint16_t)(i - 1);
    return first;
}

static bool is_same_rule(const struct pack *a, uint32_t i, const struct pack *b, uint32_t k)
{
    char *x = pack_rule_text(a, i), *y = pack_rule_text(b, k);
    bool is_same = a->rules[i].inspector == b->rules[k].inspector && !strcmp(x, y);
    free(x);
    free(y);
    return is_same;
}

uint16_t *pack_map_rules(const struct pack *pack, const struct pack *before)
{
    uint16_t *map = malloc((before->rule_count + 1) * sizeof *map);
    uint16_t *first = index_rules(pack, pack->signature_count),
             *first_before = index_rules(before, pack->signature_count);
    if (!map)
        abort();
    for (uint32_t i = 0; i < before->rule_count; i++) {
        uint32_t signature = before->rules[i].signature, k = first[signature] + i - first_before[signature];
        bool is_kept = first[signature] != UINT16_MAX && k < pack->rule_count &&
                       pack->rules[k].signature == signature && is_same_rule(before, i, pack, k);
        map[i] = is_kept ? (uint16_t)k : PACK_NO_RULE;
    }
    free(first);
    free(first_before);
    return map;
}

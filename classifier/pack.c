#include "classifier/pack.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/inspect.h"
#include "classifier/ja4.h"

#define BLOCK_BYTES 65536u

struct pack_block {
    struct pack_block *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

void *pack_alloc(struct pack *pack, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct pack_block *b = pack->arena;
    if (!b || b->size - b->used < size) {
        size_t block_size = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        b = calloc(1, sizeof *b + block_size);
        if (!b)
            abort();
        b->size = block_size;
        b->next = pack->arena;
        pack->arena = b;
    }
    void *p = b->bytes + b->used;
    b->used += size;
    return p;
}

char *pack_strdup(struct pack *pack, const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(pack_alloc(pack, size), text, size);
}

void pack_free(struct pack *pack)
{
    if (!pack)
        return;
    for (struct pack_block *b = pack->arena; b;) {
        struct pack_block *next = b->next;
        free(b);
        b = next;
    }
    free(pack);
}

/* ---- what is derived ---- */

static int compare_ports(const void *a, const void *b)
{
    const struct pack_port_entry *x = a, *y = b;
    return x->transport != y->transport ? x->transport - y->transport : x->first - y->first;
}

static int compare_hosts(const void *a, const void *b)
{
    return strcmp(((const struct pack_host *)a)->suffix, ((const struct pack_host *)b)->suffix);
}

static void print_range(FILE *out, uint32_t first, uint32_t last)
{
    fprintf(out, first == last ? "%u" : "%u..%u", first, last);
}

static void print_port(FILE *out, const struct pack_port_entry *port, const char *separator)
{
    fprintf(out, "%s%s/", separator, pack_transport_names[port->transport]);
    print_range(out, port->first, port->last);
}

static char *print_ports(struct pack *pack, cl_protocol protocol)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        abort();
    const char *separator = "";
    for (uint32_t i = 0; i < pack->port_count; i++)
        if (pack->ports[i].protocol == protocol) {
            print_port(out, &pack->ports[i], separator);
            separator = ",";
        }
    fclose(out);
    char *kept = pack_strdup(pack, text);
    free(text);
    return kept;
}

/* Inspectors name some entries by themselves. */
static bool is_hint(const char *name)
{
    static const char *const names[] = {
#define X(id, name) name,
        CL_HINTS(X)
#undef X
    };
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

static void derive_ways(struct pack *pack)
{
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        struct pack_protocol *p = &pack->protocols[i];
        p->info.ways = (uint8_t)((p->ip_protocol >= 0) << CL_WAY_ip_protocol | (p->info.ports[0] != 0) << CL_WAY_port |
                                 is_hint(p->info.name) << CL_WAY_inspector);
        p->info.unidirectional = p->ip_protocol >= 0 || p->info.is_application || is_hint(p->info.name);
    }
    for (uint32_t i = 0; i < pack->host_count; i++)
        pack->protocols[pack->hosts[i].application].info.ways |= 1u << CL_WAY_host;
    for (uint32_t i = 0; i < pack->rule_count; i++) {
        const struct pack_rule *r = &pack->rules[i];
        struct cl_protocol_info *info = &pack->protocols[pack->signatures[r->signature].protocol].info;
        info->ways |= (uint8_t)(1u << (r->inspector ? CL_WAY_inspector : CL_WAY_signature));
        info->unidirectional |= !r->has_then || !r->then_other;
    }
}

/* The best of the ways, as verdicts call it: a host's application is an inspector's finding. */
static void derive_methods(struct pack *pack)
{
    derive_ways(pack);
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        struct cl_protocol_info *info = &pack->protocols[i].info;
        if (!info->ways && info->id >= PACK_FIRST_ID)
            info->ways = 1u << CL_WAY_learned;
        info->method = info->ways & (1u << CL_WAY_inspector | 1u << CL_WAY_host)          ? "inspector"
                       : info->ways & (1u << CL_WAY_signature | 1u << CL_WAY_ip_protocol) ? "signature"
                       : info->ways & 1u << CL_WAY_learned                                ? "learned"
                       : info->ways                                                       ? "port"
                                                                                          : "generic";
    }
}

static cl_protocol find(const struct pack *pack, const char *name)
{
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        if (!strcmp(pack->protocols[i].info.name, name))
            return (cl_protocol)i;
    return 0;
}

static void set_digest(struct pack *pack)
{
    size_t size;
    char *text = pack_text(pack, &size);
    SHA256((const unsigned char *)text, size, pack->sha256);
    free(text);
}

void pack_finish(struct pack *pack)
{
    if (pack->port_count)
        qsort(pack->ports, pack->port_count, sizeof *pack->ports, compare_ports);
    if (pack->host_count)
        qsort(pack->hosts, pack->host_count, sizeof *pack->hosts, compare_hosts);
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        struct cl_protocol_info *info = &pack->protocols[i].info;
        const struct cl_family *family = cl_family_find(info->family);
        info->service = family ? family->service : "Default Service";
        info->service_id = family ? family->service_id : 0;
        info->ports = "";
    }
    for (uint32_t i = 0; i < pack->port_count; i++) {
        struct cl_protocol_info *info = &pack->protocols[pack->ports[i].protocol].info;
        if (!info->ports[0])
            info->ports = print_ports(pack, pack->ports[i].protocol);
    }
    derive_methods(pack);
    pack->generic_tcp = find(pack, "Generic TCP");
    pack->generic_udp = find(pack, "Generic UDP");
    pack->generic_ip = find(pack, "Generic IP");
    pack->generic_non_established_tcp = find(pack, "Generic Non-Established TCP");
    static const uint8_t none[sizeof pack->sha256];
    if (!memcmp(pack->sha256, none, sizeof none))
        set_digest(pack);
}

/* ---- the canonical text ---- */

/* In single quotes, where YAML knows one escape: a doubled quote. */
static void print_quoted(FILE *out, const char *text)
{
    putc('\'', out);
    for (; *text; text++)
        fputs(*text == '\'' ? "''" : (char[]){*text, 0}, out);
    putc('\'', out);
}

static void print_named(FILE *out, const char *key, const char *text)
{
    fprintf(out, "%s: ", key);
    print_quoted(out, text);
    putc('\n', out);
}

static void print_item(FILE *out, const char *text)
{
    fputs("      - ", out);
    print_quoted(out, text);
    putc('\n', out);
}

static void print_ranges(FILE *out, const char *indent, const char *key, const struct pack_ranges *ranges)
{
    if (!ranges->count)
        return;
    fprintf(out, "%s%s: [", indent, key);
    for (uint32_t i = 0; i < ranges->count; i++) {
        fputs(i ? ", " : "", out);
        print_range(out, ranges->list[i].first, ranges->list[i].last);
    }
    fputs("]\n", out);
}

static void print_field(FILE *out, const struct pack_check *c)
{
    fprintf(out, "{at: %d, size: %u, endian: %s, mask: 0x%" PRIx64, c->at, c->size, pack_endian_names[c->little],
            c->mask);
}

static void print_check(FILE *out, const struct pack_check *c)
{
    switch (c->kind) {
    case PACK_BYTES:
        fprintf(out, "{at: %d, hex: '", c->at);
        for (unsigned i = 0; i < c->size; i++)
            fprintf(out, "%02x", c->bytes[i]);
        fputs("'}", out);
        break;
    case PACK_FIELD:
        print_field(out, c);
        fprintf(out, ", min: %" PRIu64 ", max: %" PRIu64 "}", c->min, c->max);
        break;
    case PACK_LENGTH_FIELD:
        print_field(out, c);
        fprintf(out, ", unit: %u, plus: %d, is: %s}", c->unit, c->plus, pack_compare_names[c->compare]);
        break;
    case PACK_SAME:
        fprintf(out, "{at: %d, size: %u, first_at: %u}", c->at, c->size, c->first_at);
        break;
    case PACK_STEP:
        fprintf(out, "{at: %d, size: %u, endian: %s, first_at: %u, min: %" PRIu64 ", max: %" PRIu64 "}", c->at, c->size,
                pack_endian_names[c->little], c->first_at, c->min, c->max);
        break;
    }
}

static void print_checks(FILE *out, const char *indent, const struct pack_step *step)
{
    static const char *const keys[] = {"bytes", "fields", "length_field", "same", "step"};
    for (unsigned kind = 0; kind < PACK_CHECK_KINDS; kind++) {
        const char *separator = NULL;
        for (uint32_t i = 0; i < step->check_count; i++) {
            if (step->checks[i].kind != kind)
                continue;
            if (separator)
                fputs(separator, out);
            else
                fprintf(out, "%s%s: [", indent, keys[kind]);
            print_check(out, &step->checks[i]);
            separator = ", ";
        }
        if (separator)
            fputs("]\n", out);
    }
}

static void print_patterns(FILE *out, const char *indent, const struct pack *pack, uint32_t rule, enum pack_slot slot)
{
    static const char *const keys[] = {"prefix", "search", "prefix", "search"};
    const char *separator = NULL;
    uint32_t within = 0;
    for (uint32_t i = 0; i < pack->pattern_count; i++) {
        const struct pack_pattern *p = &pack->patterns[i];
        if (p->rule != rule || p->slot != slot)
            continue;
        if (separator)
            fputs(separator, out);
        else
            fprintf(out, "%s%s: [", indent, keys[slot]);
        print_quoted(out, p->regex);
        within = p->within;
        separator = ", ";
    }
    if (separator)
        fputs("]\n", out);
    if (within)
        fprintf(out, "%swithin: %u\n", indent, within);
}

static void print_chain(FILE *out, const char *indent, const struct pack_chain *k)
{
    if (!k->count)
        return;
    fprintf(out,
            "%schain: {at: %u, size: %u, endian: %s, mask: 0x%" PRIx64 ", unit: %u, plus: %d, max: %u, count: %u%s}\n",
            indent, k->at, k->size, pack_endian_names[k->little], k->mask, k->unit, k->plus, k->max, k->count,
            k->resync ? ", resync: true" : "");
}

static const char *side_name(unsigned sides)
{
    return sides == 1 ? "client" : sides == 2 ? "server" : "any";
}

static void print_rule(FILE *out, const struct pack *pack, uint32_t index)
{
    static const char indent[] = "            ", deeper[] = "              ";
    const struct pack_rule *r = &pack->rules[index];
    unsigned transport = r->transports == 1 ? PACK_TCP : r->transports == 2 ? PACK_UDP : PACK_TRANSPORTS;
    fprintf(out, "          - from: %s\n", side_name(r->sides));
    fprintf(out, "%stransport: %s\n%sconfidence: %u\n", indent, pack_transport_names[transport], indent, r->confidence);
    print_chain(out, indent, &r->chain);
    print_ranges(out, indent, "port", &r->ports);
    print_ranges(out, indent, "port_hint", &r->port_hints);
    print_patterns(out, indent, pack, index, PACK_SLOT_PREFIX);
    print_patterns(out, indent, pack, index, PACK_SLOT_SEARCH);
    print_ranges(out, indent, "length", &r->first.lengths);
    print_checks(out, indent, &r->first);
    if (!r->has_then)
        return;
    fprintf(out, "%sthen:\n%sfrom: %s\n", indent, deeper, r->then_other ? "other" : "same");
    if (r->or_none)
        fprintf(out, "%sor_none: true\n", deeper);
    print_patterns(out, deeper, pack, index, PACK_SLOT_THEN_PREFIX);
    print_patterns(out, deeper, pack, index, PACK_SLOT_THEN_SEARCH);
    print_ranges(out, deeper, "length", &r->then.lengths);
    print_checks(out, deeper, &r->then);
}

static void print_signature_body(FILE *out, const struct pack *pack, uint32_t index)
{
    const struct pack_signature *sig = &pack->signatures[index];
    if (sig->over)
        print_named(out, "        over", pack->protocols[sig->over].info.name);
    uint8_t inspector = 0, later = 0, midflow = 0;
    for (uint32_t i = 0; i < pack->rule_count; i++)
        if (pack->rules[i].signature == index) {
            inspector = pack->rules[i].inspector;
            later = pack->rules[i].later;
            midflow = pack->rules[i].midflow;
        }
    if (later)
        fputs("        later: true\n", out);
    if (midflow)
        fputs("        midflow: true\n", out);
    if (inspector)
        fprintf(out, "        inspector: %s\n", cl_inspectors[inspector - 1]->name);
    fputs("        any_of:\n", out);
    for (uint32_t i = 0; i < pack->rule_count; i++)
        if (pack->rules[i].signature == index)
            print_rule(out, pack, i);
}

static void print_signature(FILE *out, const struct pack *pack, uint32_t index)
{
    fprintf(out, "      - id: %u\n", pack->signatures[index].id);
    print_named(out, "        name", pack->signatures[index].name);
    print_signature_body(out, pack, index);
}

/* Signature `i` is one that the origin brought to the entry. */
static bool is_of(const struct pack *pack, uint32_t i, uint32_t entry, unsigned origin)
{
    const struct pack_signature *s = &pack->signatures[i];
    return s->protocol == entry && s->origin == origin && s->id < PACK_IP_PROTOCOL_SIGNATURE_ID;
}

static void print_names(FILE *out, const struct pack *pack, const struct cl_protocol_info *info)
{
    if (info->parent_count)
        fputs("    parents:\n", out);
    for (unsigned i = 0; i < info->parent_count; i++)
        print_item(out, pack->protocols[info->parents[i]].info.name);
    if (info->alias_count)
        fputs("    aliases:\n", out);
    for (unsigned i = 0; i < info->alias_count; i++)
        print_item(out, info->aliases[i]);
}

/* Host suffixes, or JA4 fingerprints, which stand in the same list. */
static void print_hosts(FILE *out, const struct pack *pack, uint32_t entry, unsigned origin, bool ja4)
{
    const char *separator = NULL;
    for (uint32_t i = 0; i < pack->host_count; i++) {
        const struct pack_host *h = &pack->hosts[i];
        if (h->application != entry || h->origin != origin || ja4_is_text(h->suffix) != ja4)
            continue;
        fputs(separator ? separator : ja4 ? "    ja4: [" : "    hosts: [", out);
        print_quoted(out, h->suffix);
        separator = ", ";
    }
    fputs(separator ? "]\n" : "", out);
}

/* What one origin brought to an entry: its definition, or what it adds. `marks` prints the origin's name. */
static void print_part(FILE *out, const struct pack *pack, uint32_t index, unsigned origin, bool marks)
{
    const struct pack_protocol *p = &pack->protocols[index];
    fprintf(out, "  - id: %u\n", p->info.id);
    print_named(out, "    name", p->info.name);
    if (marks && origin)
        print_named(out, "    origin", pack->origins[origin]);
    if (p->origin == origin) {
        fprintf(out, "    family: %s\n", p->info.family);
        print_names(out, pack, &p->info);
        if (p->gives_way)
            fputs("    gives_way: true\n", out);
        if (p->ip_protocol >= 0)
            fprintf(out, "    ip_protocol: %d\n", p->ip_protocol);
    }
    const char *separator = NULL;
    for (uint32_t i = 0; i < pack->port_count; i++)
        if (pack->ports[i].protocol == index && pack->ports[i].origin == origin) {
            print_port(out, &pack->ports[i], separator ? separator : "    ports: [");
            separator = ", ";
        }
    fputs(separator ? "]\n" : "", out);
    print_hosts(out, pack, index, origin, false);
    print_hosts(out, pack, index, origin, true);
    separator = "    signatures:\n";
    for (uint32_t i = 1; i < pack->signature_count; i++)
        if (is_of(pack, i, index, origin)) {
            fputs(separator, out);
            separator = "";
            print_signature(out, pack, i);
        }
}

static bool has_part(const struct pack *pack, uint32_t index, unsigned origin)
{
    bool has = pack->protocols[index].origin == origin;
    for (uint32_t i = 0; !has && i < pack->port_count; i++)
        has = pack->ports[i].protocol == index && pack->ports[i].origin == origin;
    for (uint32_t i = 0; !has && i < pack->host_count; i++)
        has = pack->hosts[i].application == index && pack->hosts[i].origin == origin;
    for (uint32_t i = 1; !has && i < pack->signature_count; i++)
        has = is_of(pack, i, index, origin);
    return has;
}

/* The definition first, then what others add. */
static void print_entry(FILE *out, const struct pack *pack, uint32_t index)
{
    unsigned own = pack->protocols[index].origin;
    print_part(out, pack, index, own, true);
    for (unsigned origin = 0; origin < pack->origin_count; origin++)
        if (origin != own && has_part(pack, index, origin))
            print_part(out, pack, index, origin, true);
}

static FILE *open_text(char **text, size_t *size)
{
    FILE *out = open_memstream(text, size);
    if (!out)
        abort();
    return out;
}

char *pack_entry_text(const struct pack *pack, uint32_t protocol)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_text(&text, &size);
    const struct pack_protocol *p = &pack->protocols[protocol];
    fprintf(out, "%s\n%d\n", p->info.family, p->ip_protocol);
    print_names(out, pack, &p->info);
    for (uint32_t i = 0; i < pack->port_count; i++)
        if (pack->ports[i].protocol == protocol)
            print_port(out, &pack->ports[i], " ");
    for (uint32_t i = 0; i < pack->host_count; i++)
        if (pack->hosts[i].application == protocol)
            fprintf(out, " %s", pack->hosts[i].suffix);
    fclose(out);
    return text;
}

char *pack_signature_text(const struct pack *pack, uint32_t signature)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_text(&text, &size);
    const struct pack_signature *s = &pack->signatures[signature];
    fprintf(out, "%u\n", pack->protocols[s->protocol].info.id);
    print_signature_body(out, pack, signature);
    fclose(out);
    return text;
}

char *pack_rule_text(const struct pack *pack, uint32_t rule)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_text(&text, &size);
    print_rule(out, pack, rule);
    fclose(out);
    return text;
}

/* The part of a merged pack's version that is the origin's: "1+acme-7" is 1 and, of acme, 7. */
static void print_version(FILE *out, const struct pack *pack, unsigned origin)
{
    char mark[300], version[512];
    snprintf(mark, sizeof mark, "+%s-", pack->origins[origin]);
    const char *own = origin ? strstr(pack->version, mark) : pack->version;
    snprintf(version, sizeof version, "%s", !own ? pack->version : origin ? own + strlen(mark) : own);
    version[strcspn(version, "+")] = 0;
    print_named(out, "  version", version);
}

/* `origin` < 0: of all. */
static char *print_text(const struct pack *pack, int origin, size_t *ret_size_bytes)
{
    char *text = NULL;
    FILE *out = open_text(&text, ret_size_bytes);
    fputs("pack:\n", out);
    print_named(out, "  name", origin > 0 ? pack->origins[origin] : pack->name);
    if (origin < 0)
        print_named(out, "  version", pack->version);
    else
        print_version(out, pack, (unsigned)origin);
    for (unsigned applications = 0; applications < 2; applications++) {
        const char *heading = applications ? "applications:\n" : "protocols:\n";
        for (uint32_t i = 1; i < pack->protocol_count; i++) {
            const struct cl_protocol_info *info = &pack->protocols[i].info;
            if (info->is_application != applications || info->id < PACK_FIRST_ID)
                continue;
            if (origin >= 0 && !has_part(pack, i, (unsigned)origin))
                continue;
            fputs(heading, out);
            heading = "";
            if (origin < 0)
                print_entry(out, pack, i);
            else
                print_part(out, pack, i, (unsigned)origin, false);
        }
    }
    fclose(out);
    return text;
}

char *pack_text(const struct pack *pack, size_t *ret_size_bytes)
{
    return print_text(pack, -1, ret_size_bytes);
}

char *pack_text_of_origin(const struct pack *pack, unsigned origin, size_t *ret_size_bytes)
{
    return print_text(pack, (int)origin, ret_size_bytes);
}

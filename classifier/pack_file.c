/*
 * The compiled pack as a file, little-endian:
 *   magic "OPENSCEP", u32 format, u32 body size, 32 bytes SHA-256 of the body, body.
 * The body is what coding functions below list, once for writing and reading; then the Hyperscan database of each pattern that needs one.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/pack.h"
#include "classifier/plain.h"

#define MAGIC          "OPENSCEP"
#define FORMAT         6u
#define HEAD_BYTES     48u
#define MAX_FILE_BYTES (256u << 20)
#define MAX_TEXT_BYTES 65535u

/* One pass over a pack that either appends to `out` or takes from `in`. */
struct codec {
    bool writing, ok;
    struct pack *pack; /* owner of what is read */
    struct cursor in;
    uint8_t *out;
    size_t out_bytes, out_capacity;
};

static void put(struct codec *c, const void *bytes, size_t size)
{
    if (c->out_bytes + size > c->out_capacity) {
        c->out_capacity = (c->out_bytes + size) * 2;
        c->out = realloc(c->out, c->out_capacity);
        if (!c->out)
            abort();
    }
    memcpy(c->out + c->out_bytes, bytes, size);
    c->out_bytes += size;
}

static void code_raw(struct codec *c, void *bytes, size_t size)
{
    if (c->writing) {
        put(c, bytes, size);
        return;
    }
    const uint8_t *p = cursor_take(&c->in, size);
    if (p)
        memcpy(bytes, p, size);
    else
        c->ok = false;
}

/* An unsigned number of `size` bytes; one over `max` is refused. */
static uint64_t code_number(struct codec *c, uint64_t value, size_t size, uint64_t max)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    code_raw(c, bytes, size);
    if (c->writing)
        return value;
    value = 0;
    for (unsigned i = 0; c->ok && i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    if (value > max) {
        c->ok = false;
        return 0;
    }
    return value;
}

#define CODE(c, field, size, max) ((field) = (__typeof__(field))code_number((c), (uint64_t)(field), (size), (max)))

static char *code_text(struct codec *c, const char *text)
{
    size_t size = code_number(c, c->writing ? strlen(text) : 0, 4, MAX_TEXT_BYTES);
    if (c->writing) {
        put(c, text, size);
        return NULL;
    }
    const uint8_t *p = cursor_take(&c->in, size);
    c->ok = c->ok && p && !memchr(p, 0, size);
    char *copy = pack_alloc(c->pack, size + 1);
    if (c->ok)
        memcpy(copy, p, size);
    return copy;
}

#define CODE_TEXT(c, field)                                                                                            \
    do {                                                                                                               \
        char *text = code_text((c), (field));                                                                          \
        if (!(c)->writing)                                                                                             \
            (field) = text;                                                                                            \
    } while (0)

/* Memory for a list that is read, only as much as the bytes that are left can hold. */
static void *list_of(struct codec *c, uint32_t count, size_t item_size, size_t coded_size)
{
    if (count > cursor_left(&c->in) / coded_size)
        c->ok = false;
    return pack_alloc(c->pack, (c->ok && count ? count : 1) * item_size);
}

static void code_ranges(struct codec *c, struct pack_ranges *r)
{
    CODE(c, r->count, 4, PACK_MAX_RANGES);
    if (!c->writing)
        r->list = list_of(c, r->count, sizeof *r->list, 8);
    for (uint32_t i = 0; c->ok && i < r->count; i++) {
        CODE(c, r->list[i].first, 4, UINT32_MAX);
        CODE(c, r->list[i].last, 4, UINT32_MAX);
    }
}

static void code_check(struct codec *c, struct pack_check *k)
{
    CODE(c, k->kind, 1, PACK_CHECK_KINDS - 1);
    CODE(c, k->size, 1, PACK_CHECK_BYTES);
    CODE(c, k->little, 1, 1);
    CODE(c, k->compare, 1, PACK_COMPARES - 1);
    uint32_t at = (uint32_t)k->at, plus = (uint32_t)k->plus;
    CODE(c, at, 4, UINT32_MAX);
    CODE(c, plus, 4, UINT32_MAX);
    k->at = (int32_t)at;
    k->plus = (int32_t)plus;
    CODE(c, k->first_at, 4, 1u << 20);
    CODE(c, k->mask, 8, UINT64_MAX);
    CODE(c, k->min, 8, UINT64_MAX);
    CODE(c, k->max, 8, UINT64_MAX);
    CODE(c, k->unit, 4, UINT32_MAX);
    code_raw(c, k->bytes, sizeof k->bytes);
    bool is_number = k->kind == PACK_FIELD || k->kind == PACK_LENGTH_FIELD || k->kind == PACK_STEP;
    bool is_second = k->kind == PACK_SAME || k->kind == PACK_STEP;
    if (!k->size || (is_number && k->size > 8) || (is_second && k->first_at + k->size > PACK_HEAD_BYTES))
        c->ok = false;
}

static void code_step(struct codec *c, struct pack_step *s)
{
    code_ranges(c, &s->lengths);
    CODE(c, s->check_count, 4, PACK_MAX_CHECKS);
    CODE(c, s->slots, 1, (1u << PACK_SLOTS) - 1);
    if (!c->writing)
        s->checks = list_of(c, s->check_count, sizeof *s->checks, 1);
    for (uint32_t i = 0; c->ok && i < s->check_count; i++)
        code_check(c, &s->checks[i]);
}

static unsigned inspector_count(void)
{
    unsigned n = 0;
    while (cl_inspectors[n])
        n++;
    return n;
}

/* Inspectors go by name: their numbers belong to one program. */
static void code_inspector(struct codec *c, uint8_t *inspector)
{
    char *name = *inspector && c->writing ? (char *)cl_inspectors[*inspector - 1]->name : (char *)"";
    CODE_TEXT(c, name);
    if (c->writing || !c->ok)
        return;
    *inspector = 0;
    for (unsigned i = 0; i < inspector_count(); i++)
        if (!strcmp(cl_inspectors[i]->name, name))
            *inspector = (uint8_t)(i + 1);
    if (name[0] && !*inspector)
        c->ok = false;
}

static void code_chain(struct codec *c, struct pack_chain *k)
{
    CODE(c, k->count, 1, UINT8_MAX);
    CODE(c, k->at, 1, PLAIN_MAX_BYTES);
    CODE(c, k->size, 1, 8);
    CODE(c, k->little, 1, 1);
    CODE(c, k->resync, 1, 1);
    CODE(c, k->mask, 8, UINT64_MAX);
    CODE(c, k->unit, 4, UINT32_MAX);
    CODE(c, k->max, 4, UINT32_MAX);
    uint32_t plus = (uint32_t)k->plus;
    CODE(c, plus, 4, UINT32_MAX);
    k->plus = (int32_t)plus;
    if (k->count && (!k->size || k->at + k->size > PLAIN_MAX_BYTES))
        c->ok = false;
}

static void code_rule(struct codec *c, struct pack_rule *r)
{
    CODE(c, r->signature, 2, c->pack->signature_count - 1);
    CODE(c, r->transports, 1, (1u << PACK_TRANSPORTS) - 1);
    CODE(c, r->sides, 1, (1u << PACK_SIDES) - 1);
    CODE(c, r->confidence, 1, 100);
    code_inspector(c, &r->inspector);
    CODE(c, r->has_then, 1, 1);
    CODE(c, r->then_other, 1, 1);
    CODE(c, r->or_none, 1, 1);
    CODE(c, r->later, 1, 1);
    CODE(c, r->midflow, 1, 1);
    CODE(c, r->specificity, 2, UINT16_MAX);
    code_chain(c, &r->chain);
    code_ranges(c, &r->ports);
    code_ranges(c, &r->port_hints);
    code_step(c, &r->first);
    code_step(c, &r->then);
}

static void code_protocol(struct codec *c, struct pack_protocol *p)
{
    struct cl_protocol_info *info = &p->info;
    CODE_TEXT(c, info->name);
    CODE_TEXT(c, info->family);
    CODE(c, info->id, 4, UINT32_MAX);
    CODE(c, info->is_application, 1, 1);
    uint16_t number = (uint16_t)(p->ip_protocol + 1);
    CODE(c, number, 2, 256);
    p->ip_protocol = (int16_t)(number - 1);
    CODE(c, p->ip_signature, 2, c->pack->signature_count - 1);
    CODE(c, p->origin, 1, c->pack->origin_count - 1);
    CODE(c, p->gives_way, 1, 1);
    CODE(c, info->parent_count, 4, 64);
    CODE(c, info->alias_count, 4, 64);
    if (!c->writing) {
        info->parents = list_of(c, info->parent_count, sizeof *info->parents, 2);
        info->aliases = list_of(c, info->alias_count, sizeof *info->aliases, 4);
    }
    for (unsigned i = 0; c->ok && i < info->parent_count; i++)
        CODE(c, ((cl_protocol *)(uintptr_t)info->parents)[i], 2, c->pack->protocol_count - 1);
    for (unsigned i = 0; c->ok && i < info->alias_count; i++)
        CODE_TEXT(c, ((const char **)(uintptr_t)info->aliases)[i]);
    if (c->ok && !cl_family_find(info->family))
        c->ok = false;
}

static void code_signature(struct codec *c, struct pack_signature *s)
{
    CODE(c, s->id, 4, UINT32_MAX);
    CODE(c, s->protocol, 2, c->pack->protocol_count - 1);
    CODE(c, s->over, 2, c->pack->protocol_count - 1);
    CODE(c, s->origin, 1, c->pack->origin_count - 1);
    CODE_TEXT(c, s->name);
}

static void code_pattern(struct codec *c, struct pack_pattern *p)
{
    CODE_TEXT(c, p->regex);
    CODE(c, p->within, 4, UINT32_MAX);
    CODE(c, p->rule, 2, c->pack->rule_count - 1);
    CODE(c, p->slot, 1, PACK_SLOTS - 1);
    CODE(c, p->is_plain, 1, 1);
}

static void code_host(struct codec *c, struct pack_host *h)
{
    CODE_TEXT(c, h->suffix);
    CODE(c, h->application, 2, c->pack->protocol_count - 1);
    CODE(c, h->origin, 1, c->pack->origin_count - 1);
}

static void code_port(struct codec *c, struct pack_port_entry *p)
{
    CODE(c, p->transport, 1, PACK_TRANSPORTS - 1);
    CODE(c, p->first, 2, UINT16_MAX);
    CODE(c, p->last, 2, UINT16_MAX);
    CODE(c, p->protocol, 2, c->pack->protocol_count - 1);
    CODE(c, p->origin, 1, c->pack->origin_count - 1);
}

#define CODE_LIST(c, list, count, coded_size, code)                                                                    \
    do {                                                                                                               \
        if (!(c)->writing)                                                                                             \
            (list) = list_of((c), (count), sizeof *(list), (coded_size));                                              \
        for (uint32_t i = 0; (c)->ok && i < (count); i++)                                                              \
            code((c), &(list)[i]);                                                                                     \
    } while (0)

static void code_pack(struct codec *c)
{
    struct pack *p = c->pack;
    CODE_TEXT(c, p->name);
    CODE_TEXT(c, p->version);
    code_raw(c, p->sha256, sizeof p->sha256);
    CODE(c, p->protocol_count, 4, PACK_MAX_PROTOCOLS);
    CODE(c, p->signature_count, 4, PACK_MAX_SIGNATURES);
    CODE(c, p->rule_count, 4, PACK_MAX_RULES);
    CODE(c, p->pattern_count, 4, PACK_MAX_PATTERNS);
    CODE(c, p->host_count, 4, PACK_MAX_HOSTS);
    CODE(c, p->port_count, 4, 2 * 65536);
    CODE(c, p->origin_count, 4, PACK_MAX_ORIGINS);
    if (!p->protocol_count || !p->signature_count || !p->origin_count)
        c->ok = false;
    if (!c->writing)
        p->origins = list_of(c, p->origin_count, sizeof *p->origins, 4);
    for (uint32_t i = 0; c->ok && i < p->origin_count; i++)
        CODE_TEXT(c, p->origins[i]);
    CODE_LIST(c, p->protocols, p->protocol_count, 16, code_protocol);
    CODE_LIST(c, p->signatures, p->signature_count, 8, code_signature);
    CODE_LIST(c, p->rules, p->rule_count, 16, code_rule);
    CODE_LIST(c, p->patterns, p->pattern_count, 8, code_pattern);
    CODE_LIST(c, p->hosts, p->host_count, 4, code_host);
    CODE_LIST(c, p->ports, p->port_count, 7, code_port);
}

/* Those of another CPU or library are left out: the caller compiles anew. */
static void read_databases(struct codec *c, struct pack_databases *ret)
{
    bool fits = true;
    if (c->ok)
        pack_databases_init(ret, c->pack);
    for (uint32_t i = 0; c->ok && i < ret->count; i++) {
        if (c->pack->patterns[i].is_plain)
            continue;
        size_t size = code_number(c, 0, 4, MAX_FILE_BYTES);
        const uint8_t *bytes = cursor_take(&c->in, size);
        c->ok = c->ok && bytes && size;
        if (c->ok && hs_deserialize_database((const char *)bytes, size, &ret->database[i]))
            fits = false;
    }
    if (!c->ok || !fits)
        pack_databases_free(ret);
}

static bool write_databases(struct codec *c, const struct pack_databases *databases)
{
    for (uint32_t i = 0; i < databases->count; i++) {
        char *bytes = NULL;
        size_t size = 0;
        if (!databases->database[i])
            continue;
        if (hs_serialize_database(databases->database[i], &bytes, &size))
            return false;
        code_number(c, size, 4, MAX_FILE_BYTES);
        put(c, bytes, size);
        free(bytes);
    }
    return true;
}

struct pack *pack_file_decode(const char *name, const void *bytes, size_t size_bytes,
                              struct pack_databases *ret_databases, char *error, size_t error_size)
{
    memset(ret_databases, 0, sizeof *ret_databases);
    struct codec c = {.ok = true, .in = cursor_of(bytes, size_bytes)};
    const uint8_t *magic = cursor_take(&c.in, 8);
    uint32_t format = cursor_le32(&c.in), body_bytes = cursor_le32(&c.in);
    const uint8_t *digest = cursor_take(&c.in, 32);
    if (!digest || memcmp(magic, MAGIC, 8)) {
        snprintf(error, error_size, "%s: not a compiled pack", name);
        return NULL;
    }
    if (format != FORMAT) {
        snprintf(error, error_size, "%s: compiled pack of format %u, expected %u: build it anew with sce pack build",
                 name, format, FORMAT);
        return NULL;
    }
    uint8_t actual[32];
    SHA256(c.in.p, cursor_left(&c.in), actual);
    if (body_bytes != cursor_left(&c.in) || memcmp(actual, digest, sizeof actual)) {
        snprintf(error, error_size,
                 "%s: compiled pack is damaged (its digest differs): build it anew with sce pack build", name);
        return NULL;
    }
    c.pack = calloc(1, sizeof *c.pack);
    if (!c.pack)
        abort();
    code_pack(&c);
    read_databases(&c, ret_databases);
    if (c.ok && cursor_left(&c.in) == 0) {
        pack_finish(c.pack);
        return c.pack;
    }
    snprintf(error, error_size, "%s: compiled pack is malformed near byte %zu: build it anew with sce pack build", name,
             size_bytes - (size_t)(c.in.end - c.in.p));
    pack_databases_free(ret_databases);
    pack_free(c.pack);
    return NULL;
}

static uint8_t *read_all(const char *path, size_t *ret_size, char *error, size_t error_size)
{
    FILE *in = fopen(path, "rbe");
    struct stat st;
    uint8_t *bytes = NULL;
    if (in && !fstat(fileno(in), &st) && S_ISREG(st.st_mode) && st.st_size <= (off_t)MAX_FILE_BYTES) {
        bytes = malloc((size_t)st.st_size + 1);
        *ret_size = bytes ? fread(bytes, 1, (size_t)st.st_size, in) : 0;
    } else {
        snprintf(error, error_size, "%s: cannot be read: %s", path,
                 in ? "not a file of a sensible size" : strerror(errno));
    }
    if (in)
        fclose(in);
    return bytes;
}

struct pack *pack_file_read(const char *path, struct pack_databases *ret_databases, char *error, size_t error_size)
{
    size_t size = 0;
    uint8_t *bytes = read_all(path, &size, error, error_size);
    if (!bytes)
        return NULL;
    struct pack *pack = pack_file_decode(path, bytes, size, ret_databases, error, error_size);
    free(bytes);
    return pack;
}

bool pack_file_is_compiled(const char *path)
{
    char magic[8] = {0};
    FILE *in = fopen(path, "rbe");
    bool is = in && fread(magic, 1, sizeof magic, in) == sizeof magic && !memcmp(magic, MAGIC, sizeof magic);
    if (in)
        fclose(in);
    return is;
}

static bool write_all(const char *path, const struct codec *c, char *error, size_t error_size)
{
    char temporary[4200];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    FILE *out = n > 0 && (size_t)n < sizeof temporary ? fopen(temporary, "wbe") : NULL;
    bool ok = out && fwrite(c->out, 1, c->out_bytes, out) == c->out_bytes;
    if (out)
        ok = !fclose(out) && ok;
    ok = ok && !rename(temporary, path);
    if (ok)
        return true;
    snprintf(error, error_size, "%s: cannot be written: %s", path, strerror(errno));
    if (out)
        unlink(temporary);
    return false;
}

bool pack_file_write(const char *path, const struct pack *pack, const struct pack_databases *databases, char *error,
                     size_t error_size)
{
    /* the codec only reads the pack while it writes */
    struct codec c = {.writing = true, .ok = true, .pack = (struct pack *)(uintptr_t)pack};
    static const uint8_t blank[HEAD_BYTES];
    put(&c, blank, sizeof blank);
    code_pack(&c);
    bool ok = write_databases(&c, databases) && c.ok;
    if (!ok)
        snprintf(error, error_size, "%s: the pack cannot be serialised", path);
    size_t body_bytes = c.out_bytes - HEAD_BYTES;
    struct codec head = {.writing = true, .ok = true};
    put(&head, MAGIC, 8);
    code_number(&head, FORMAT, 4, UINT32_MAX);
    code_number(&head, body_bytes, 4, UINT32_MAX);
    memcpy(c.out, head.out, head.out_bytes);
    SHA256(c.out + HEAD_BYTES, body_bytes, c.out + 16);
    ok = ok && write_all(path, &c, error, error_size);
    free(head.out);
    free(c.out);
    return ok;
}

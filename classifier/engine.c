#include "classifier/engine.h"
#include "classifier/ja4.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef OPENSCE_PACK_PATH
#define OPENSCE_PACK_PATH "/usr/local/share/opensce/opensce.pack"
#endif
#define MAX_PATH_BYTES 4096u

void cl_options_init(struct cl_options *options)
{
    *options = (struct cl_options){.payload_packets_max = 8, .payload_bytes_max = 16384};
}

/* ---- finding a pack ---- */

/* In a build tree the pack is etc/opensce.pack under the folder of build.ninja, up to three above the program. */
static bool find_in_build_tree(char *ret_path, size_t size)
{
    char program[MAX_PATH_BYTES], mark[MAX_PATH_BYTES + 64];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return false;
    program[n] = 0;
    for (unsigned up = 0; up < 4; up++) {
        char *slash = strrchr(program, '/');
        if (!slash)
            return false;
        *slash = 0;
        snprintf(mark, sizeof mark, "%s/build.ninja", program);
        snprintf(ret_path, size, "%s/etc/opensce.pack", program);
        if (!access(mark, F_OK) && !access(ret_path, R_OK))
            return true;
    }
    return false;
}

static void find_pack(const struct cl_options *options, char *ret_path, size_t size)
{
    const char *named = options->pack_path ? options->pack_path : getenv("SCE_PACK");
    if (named && named[0])
        snprintf(ret_path, size, "%s", named);
    else if (!find_in_build_tree(ret_path, size))
        snprintf(ret_path, size, "%s", OPENSCE_PACK_PATH);
}

/* ---- databases: from the file, from the cache, or compiled ---- */

static bool has_databases(const struct pack *pack, const struct pack_databases *d)
{
    for (uint32_t i = 0; i < pack->pattern_count; i++)
        if (!pack->patterns[i].is_plain)
            return d->count != 0;
    return true;
}

static void hex_of(const uint8_t *bytes, size_t size, char *ret)
{
    for (size_t i = 0; i < size; i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* $XDG_CACHE_HOME/opensce/DIGEST-CPU-LIBRARY.pack; false when there is no home for it. */
static bool cache_path(const struct pack *pack, char *ret_path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[MAX_PATH_BYTES], digest[65], version[16] = "";
    if (cache && cache[0] == '/')
        snprintf(folder, sizeof folder, "%s", cache);
    else if (home && home[0] == '/')
        snprintf(folder, sizeof folder, "%s/.cache", home);
    else
        return false;
    mkdir(folder, 0700);
    strncat(folder, "/opensce", sizeof folder - strlen(folder) - 1);
    mkdir(folder, 0700);
    hs_platform_info_t platform;
    if (hs_populate_platform(&platform) != HS_SUCCESS)
        return false;
    hex_of(pack->sha256, sizeof pack->sha256, digest);
    const char *library = hs_version();
    for (size_t i = 0; i + 1 < sizeof version && (isdigit((unsigned char)library[i]) || library[i] == '.'); i++)
        version[i] = library[i];
    int n = snprintf(ret_path, size, "%s/%.32s-%llx.%x-hs%s.pack", folder, digest, platform.cpu_features, platform.tune,
                     version);
    return n > 0 && (size_t)n < size;
}

static bool load_cached(const char *path, const struct pack *pack, struct pack_databases *ret)
{
    char ignored[512];
    if (access(path, R_OK))
        return false;
    struct pack *cached = pack_file_read(path, ret, ignored, sizeof ignored);
    bool fits = cached && !memcmp(cached->sha256, pack->sha256, sizeof pack->sha256) && has_databases(cached, ret);
    if (!fits)
        pack_databases_free(ret);
    pack_free(cached);
    return fits;
}

static bool provide_databases(struct cl_engine *e, char *error, size_t error_size)
{
    if (has_databases(e->pack, &e->databases))
        return true;
    char path[MAX_PATH_BYTES + 256], ignored[512];
    bool has_cache = cache_path(e->pack, path, sizeof path);
    if (has_cache && load_cached(path, e->pack, &e->databases))
        return true;
    if (!pack_compile(e->pack, &e->databases, error, error_size))
        return false;
    if (has_cache)
        pack_file_write(path, e->pack, &e->databases, ignored,
                        sizeof ignored); /* a cache that cannot be written is none */
    return true;
}

/* ---- load ---- */

static unsigned count_known(const struct pack *pack)
{
    unsigned count = 0;
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        count += !pack->protocols[i].info.is_gone;
    return count;
}

static void index_searches(struct cl_searches *searches, const struct pack *pack)
{
    searches->start = calloc(pack->rule_count + 2u, sizeof *searches->start);
    searches->list = calloc(pack->pattern_count + 1u, sizeof *searches->list);
    searches->bare = calloc(pack->rule_count + 1u, sizeof *searches->bare);
    if (!searches->start || !searches->list || !searches->bare)
        abort();
    for (uint32_t i = 0; i < pack->pattern_count; i++)
        searches->start[pack->patterns[i].rule + 2u] += !pack_is_prefix(pack->patterns[i].slot);
    for (uint32_t i = 0; i < pack->rule_count; i++) {
        searches->start[i + 2] += searches->start[i + 1];
        if (!(pack->rules[i].first.slots & 1u << PACK_SLOT_PREFIX))
            searches->bare[searches->bare_count++] = (uint16_t)i;
    }
    for (uint32_t i = 0; i < pack->pattern_count; i++)
        if (!pack_is_prefix(pack->patterns[i].slot))
            searches->list[searches->start[pack->patterns[i].rule + 1u]++] = (uint16_t)i;
}

static void index_pack(struct cl_engine *e)
{
    static const char *const hint_names[] = {"",
#define X(id, name) name,
                                             CL_HINTS(X)
#undef X
    };
    const struct pack *pack = e->pack;
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        const struct pack_protocol *p = &pack->protocols[i];
        if (p->info.is_gone)
            continue;
        if (p->ip_protocol >= 0)
            e->by_ip_protocol[p->ip_protocol] = (cl_protocol)i;
        for (unsigned h = 1; h < CL_HINT_COUNT; h++)
            if (!strcmp(hint_names[h], p->info.name))
                e->hint[h] = (cl_protocol)i;
    }
    for (uint32_t i = 0; i < pack->port_count; i++)
        for (uint32_t port = pack->ports[i].first; port <= pack->ports[i].last; port++)
            e->by_port[pack->ports[i].transport][port] = pack->ports[i].protocol;
    e->targets = calloc(pack->pattern_count + 1, sizeof *e->targets);
    if (!e->targets)
        abort();
    for (uint32_t i = 0; i < pack->pattern_count; i++)
        e->targets[i] = (struct cl_pattern_target){pack->patterns[i].rule, (uint8_t)(1u << pack->patterns[i].slot)};
    for (uint32_t i = 0; i < pack->rule_count; i++)
        if (pack->rules[i].later)
            e->has_later[pack->signatures[pack->rules[i].signature].over] = 1;
    plain_build(&e->plain, pack, false);
    plain_build(&e->chains, pack, true);
    index_searches(&e->searches, pack);
    e->wants_ja4 = e->options.ja4;
    for (uint32_t i = 0; i < pack->host_count; i++)
        e->wants_ja4 |= ja4_is_text(pack->hosts[i].suffix);
    cl_hosts_build(&e->hosts, pack->hosts, pack->host_count);
    announce_index(e);
    sctp_index(e);
    e->info = (struct cl_pack_info){.name = pack->name,
                                    .version = pack->version,
                                    .protocols = count_known(pack),
                                    .signatures = e->signature_count,
                                    .patterns = pack->pattern_count};
    memcpy(e->info.sha256, pack->sha256, sizeof pack->sha256);
    hex_of(pack->sha256, sizeof pack->sha256, e->info.sha256_hex);
}

static bool make_scratch(struct cl_engine *e, char *error, size_t error_size)
{
    for (uint32_t i = 0; i < e->databases.count; i++)
        if (e->databases.database[i] && hs_alloc_scratch(e->databases.database[i], &e->scratch) != HS_SUCCESS) {
            snprintf(error, error_size, "no memory for Hyperscan's scratch");
            return false;
        }
    return true;
}

static struct cl_engine *load(const struct cl_options *options, const struct cl_engine *before, char *error,
                              size_t error_size)
{
    char path[MAX_PATH_BYTES + 64];
    find_pack(options, path, sizeof path);
    struct cl_engine *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    e->options = *options;
    e->options.pack_path = NULL; /* the caller's memory */
    if (pack_file_is_compiled(path))
        e->pack = pack_file_read(path, &e->databases, error, error_size);
    else
        e->pack = pack_read(path, error, error_size);
    if (e->pack && !(e->pack->generic_tcp && e->pack->generic_udp && e->pack->generic_ip)) {
        snprintf(error, error_size, "%s: a pack without the Generic entries: build it anew with sce pack build", path);
    } else if (e->pack && provide_databases(e, error, error_size) && make_scratch(e, error, error_size)) {
        e->signature_count = e->pack->signature_count - 1;
        e->number = before ? before->number + 1 : 1;
        if (!before || pack_keep_indexes(e->pack, before->pack)) {
            e->rule_of_previous = before ? pack_map_rules(e->pack, before->pack) : NULL;
            index_pack(e);
            return e;
        }
        snprintf(error, error_size, "%s: more names than one process can tell apart were loaded: start it anew", path);
    }
    cl_engine_free(e);
    return NULL;
}

struct cl_engine *cl_engine_load(const struct cl_options *options, char *error, size_t error_size)
{
    return load(options, NULL, error, error_size);
}

struct cl_engine *cl_engine_reload(const struct cl_engine *before, const struct cl_options *options, char *error,
                                   size_t error_size)
{
    return load(options, before, error, error_size);
}

uint32_t cl_engine_number(const struct cl_engine *engine)
{
    return engine->number;
}

void cl_engine_free(struct cl_engine *e)
{
    if (!e)
        return;
    hs_free_scratch(e->scratch);
    pack_databases_free(&e->databases);
    cl_hosts_free(&e->hosts);
    plain_free(&e->plain);
    plain_free(&e->chains);
    free(e->searches.start);
    free(e->searches.list);
    free(e->searches.bare);
    free(e->targets);
    free(e->rule_of_previous);
    pack_free(e->pack);
    free(e);
}

struct cl_worker *cl_worker_create(const struct cl_engine *engine)
{
    struct cl_worker *w = calloc(1, sizeof *w + engine->pack->rule_count + 1);
    if (!w)
        return NULL;
    w->engine = engine;
    bool ok = !engine->scratch || hs_clone_scratch(engine->scratch, &w->scratch) == HS_SUCCESS;
    for (unsigned i = 0; ok && cl_inspectors[i]; i++)
        if (cl_inspectors[i]->scratch_create) {
            w->inspector_scratch[i] = cl_inspectors[i]->scratch_create();
            ok = w->inspector_scratch[i] != NULL;
        }
    if (ok)
        return w;
    cl_worker_free(w);
    return NULL;
}

void cl_worker_free(struct cl_worker *w)
{
    if (!w)
        return;
    for (unsigned i = 0; cl_inspectors[i]; i++)
        if (w->inspector_scratch[i] && cl_inspectors[i]->scratch_free)
            cl_inspectors[i]->scratch_free(w->inspector_scratch[i]);
    hs_free_scratch(w->scratch);
    free(w);
}

const struct cl_engine *cl_worker_engine(const struct cl_worker *worker)
{
    return worker->engine;
}

/* ---- what the pack knows ---- */

unsigned cl_protocol_count(const struct cl_engine *engine)
{
    return engine->pack->protocol_count;
}

const struct cl_protocol_info *cl_protocol_get(const struct cl_engine *engine, cl_protocol protocol)
{
    return &engine->pack->protocols[protocol < engine->pack->protocol_count ? protocol : 0].info;
}

static cl_protocol find_name(const struct cl_engine *engine, const char *name, bool is_gone)
{
    for (uint32_t i = 1; i < engine->pack->protocol_count; i++) {
        const struct cl_protocol_info *info = &engine->pack->protocols[i].info;
        if (info->is_gone != is_gone)
            continue;
        if (!strcasecmp(info->name, name))
            return (cl_protocol)i;
        for (unsigned a = 0; a < info->alias_count; a++)
            if (!strcasecmp(info->aliases[a], name))
                return (cl_protocol)i;
    }
    return 0;
}

cl_protocol cl_protocol_find(const struct cl_engine *engine, const char *name)
{
    cl_protocol found = find_name(engine, name, false);
    return found ? found : find_name(engine, name, true);
}

const char *cl_signature_name(const struct cl_engine *engine, cl_signature signature)
{
    return engine->pack->signatures[signature < engine->pack->signature_count ? signature : 0].name;
}

uint32_t cl_signature_id(const struct cl_engine *engine, cl_signature signature)
{
    return engine->pack->signatures[signature < engine->pack->signature_count ? signature : 0].id;
}

const struct cl_pack_info *cl_pack_info(const struct cl_engine *engine)
{
    return &engine->info;
}

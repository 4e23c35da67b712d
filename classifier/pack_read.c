#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "classifier/pack_source.h"

#define MAX_FILES   1024u
#define MAX_ALIASES 12u
#define MAX_PARENTS 16u

/* An entry while it is read. */
struct entry {
    uint32_t id;
    bool is_application, is_built_in;
    const char *name, *family;
    const struct yml_node *node; /* NULL: built in */
};

struct signature_entry {
    uint32_t id;
    cl_protocol protocol;
    const struct yml_node *node;
};

struct files {
    char *path[MAX_FILES];
    struct yml_node *root[MAX_FILES];
    unsigned count;
};

static const struct yml_key file_keys[] = {
    {.name = "pack", .type = YML_TYPE_MAP},
    {.name = "family", .type = YML_TYPE_CHOICE, .choices = cl_family_names},
    {.name = "protocols", .type = YML_TYPE_LIST},
    {.name = "applications", .type = YML_TYPE_LIST},
    {.name = NULL},
};
static const struct yml_key pack_keys[] = {
    {.name = "name", .type = YML_TYPE_STRING, .required = true},
    {.name = "version", .type = YML_TYPE_STRING, .required = true},
    {.name = NULL},
};
#define ENTRY_KEYS                                                                                                     \
    {.name = "name", .type = YML_TYPE_STRING, .required = true},                                                       \
        {.name = "id", .type = YML_TYPE_U64, .required = true, .min = PACK_FIRST_ID, .max = 999999},                   \
        {.name = "family", .type = YML_TYPE_CHOICE, .choices = cl_family_names},                                       \
        {.name = "parents", .type = YML_TYPE_STRINGS}, {.name = "aliases", .type = YML_TYPE_STRINGS},                  \
    {                                                                                                                  \
        .name = "signatures", .type = YML_TYPE_LIST                                                                    \
    }
static const struct yml_key protocol_keys[] = {
    ENTRY_KEYS,
    {.name = "ports", .type = YML_TYPE_STRINGS},
    {.name = "ip_protocol", .type = YML_TYPE_U64, .max = 255},
    {.name = NULL},
};
static const struct yml_key application_keys[] = {
    ENTRY_KEYS, {.name = "hosts", .type = YML_TYPE_STRINGS}, {.name = NULL}};

/* What the engine itself falls back to; ids of Generic as SCA BB's are told. */
static const struct entry built_in[] = {
    {0, false, true, "Generic TCP", "generic", NULL},
    {1, false, true, "Generic UDP", "generic", NULL},
    {10, false, true, "Generic IP", "generic", NULL},
    {11, false, true, "Generic Non-Established TCP", "generic", NULL},
};

void *pack_vector_add(struct pack_vector *v, size_t item_size)
{
    if (v->count == v->capacity) {
        v->capacity = v->capacity ? v->capacity * 2 : 64;
        v->items = realloc(v->items, v->capacity * item_size);
        if (!v->items)
            abort();
    }
    void *item = (char *)v->items + v->count++ * item_size;
    memset(item, 0, item_size);
    return item;
}

/* The vector's items moved into the pack's memory, from index 1 on when `from_one`. */
static void *settle(struct pack *pack, struct pack_vector *v, size_t item_size)
{
    void *items = pack_alloc(pack, (v->count ? v->count : 1) * item_size);
    if (v->count)
        memcpy(items, v->items, v->count * item_size);
    free(v->items);
    v->items = NULL;
    return items;
}

/* ---- files ---- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_folder(const char *path, struct files *files, struct yml_error *error)
{
    DIR *dir = opendir(path);
    if (!dir) {
        snprintf(error->text, sizeof error->text, "%s:1:1: cannot be read: %s", path, strerror(errno));
        return false;
    }
    struct dirent *d;
    while ((d = readdir(dir)) && files->count < MAX_FILES) {
        size_t length = strlen(d->d_name);
        if (length > 5 && d->d_name[0] != '.' && !strcmp(d->d_name + length - 5, ".yaml") &&
            asprintf(&files->path[files->count], "%s/%s", path, d->d_name) >= 0)
            files->count++;
    }
    closedir(dir);
    if (!files->count) {
        snprintf(error->text, sizeof error->text, "%s:1:1: no pack sources, expected files *.yaml", path);
        return false;
    }
    qsort(files->path, files->count, sizeof *files->path, compare_paths);
    return true;
}

static bool read_files(const char *path, struct files *files, struct yml_error *error)
{
    struct stat st;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        if (!list_folder(path, files, error))
            return false;
    } else {
        files->path[0] = strdup(path);
        files->count = 1;
    }
    for (unsigned i = 0; i < files->count; i++) {
        files->root[i] = yml_read_file(files->path[i], error);
        if (!files->root[i] || !yml_check_map(files->root[i], file_keys, "a pack source", error))
            return false;
    }
    return true;
}

static bool read_pack_header(struct pack_source *s, const struct files *files)
{
    const struct yml_node *found = NULL;
    for (unsigned i = 0; i < files->count; i++) {
        const struct yml_node *node = yml_get(files->root[i], "pack");
        if (!node)
            continue;
        if (!yml_check_map(node, pack_keys, "pack", s->error))
            return false;
        if (found)
            return yml_fail_at_key(s->error, node, "\"pack\" a second time, the first is at %s:%u", found->file,
                                   found->key_line);
        found = node;
    }
    s->pack->name = pack_strdup(s->pack, found ? yml_get_string(found, "name", "") : "unnamed");
    s->pack->version = pack_strdup(s->pack, found ? yml_get_string(found, "version", "") : "0");
    return true;
}

/* ---- entries ---- */

static bool collect_entries(struct pack_source *s, const struct yml_node *root, const char *list_name,
                            struct pack_vector *entries)
{
    const struct yml_node *list = yml_get(root, list_name);
    bool is_application = !strcmp(list_name, "applications");
    for (const struct yml_node *n = list ? list->first : NULL; n; n = n->next) {
        if (!yml_check_map(n, is_application ? application_keys : protocol_keys,
                           is_application ? "an application" : "a protocol", s->error))
            return false;
        const char *family = yml_get_string(n, "family", yml_get_string(root, "family", NULL));
        if (!family)
            return yml_fail(s->error, n, "no family, expected \"family\" here or at the top of the file");
        if (entries->count == PACK_MAX_PROTOCOLS - 1)
            return yml_fail(s->error, n, "too many entries, expected at most %u", PACK_MAX_PROTOCOLS - 1);
        struct entry *e = pack_vector_add(entries, sizeof *e);
        *e = (struct entry){(uint32_t)yml_get_u64(n, "id", 0), is_application, false,
                            yml_get_string(n, "name", ""),     family,         n};
    }
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    /* for a stable answer about which of two is the double */
    int file = !x->node || !y->node ? 0 : strcmp(x->node->file, y->node->file);
    return file ? file : !x->node || !y->node ? 0 : x->node->line < y->node->line ? -1 : 1;
}

struct used_name {
    char text[72]; /* letters and digits, lower case */
    const struct yml_node *node;
    const char *entry;
};

static int compare_names(const void *a, const void *b)
{
    const struct used_name *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    if (order || !x->node || !y->node)
        return order;
    order = strcmp(x->node->file, y->node->file);
    return order ? order : x->node->line < y->node->line ? -1 : x->node->line > y->node->line;
}

static void use_name(struct pack_vector *names, const char *name, const struct yml_node *node, const char *entry)
{
    struct used_name *used = pack_vector_add(names, sizeof *used);
    used->node = node;
    used->entry = entry;
    size_t length = 0;
    for (const char *p = name; *p && length + 1 < sizeof used->text; p++)
        if (isalnum((unsigned char)*p))
            used->text[length++] = (char)tolower((unsigned char)*p);
}

/* No two entries may share a name or alias, case and punctuation aside: other tools' names must lead to one of ours. */
static bool check_names(struct pack_source *s, const struct pack_vector *entries)
{
    struct pack_vector names = {0};
    for (uint32_t i = 0; i < entries->count; i++) {
        const struct entry *e = (const struct entry *)entries->items + i;
        use_name(&names, e->name, e->node ? yml_get(e->node, "name") : NULL, e->name);
        const struct yml_node *aliases = e->node ? yml_get(e->node, "aliases") : NULL;
        if (aliases && aliases->kind != YML_LIST)
            use_name(&names, aliases->text, aliases, e->name);
        else
            for (const struct yml_node *a = aliases ? aliases->first : NULL; a; a = a->next)
                use_name(&names, a->text, a, e->name);
    }
    qsort(names.items, names.count, sizeof(struct used_name), compare_names);
    const struct used_name *used = names.items;
    bool ok = true;
    for (uint32_t i = 1; ok && i < names.count; i++) {
        const struct used_name *other = used[i].node ? &used[i] : &used[i - 1];
        if (!strcmp(used[i].text, used[i - 1].text))
            ok = yml_fail(s->error, other->node, "the name \"%s\" is taken by \"%s\", expected another",
                          other->node->text, other == &used[i] ? used[i - 1].entry : used[i].entry);
    }
    free(names.items);
    return ok;
}

static cl_protocol find_entry(const struct pack *pack, const char *name)
{
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        if (!strcmp(pack->protocols[i].info.name, name))
            return (cl_protocol)i;
    return 0;
}

static bool resolve_name(struct pack_source *s, const struct yml_node *node, cl_protocol *ret)
{
    *ret = find_entry(s->pack, node->text);
    if (*ret)
        return true;
    const char **names = calloc(s->pack->protocol_count + 1, sizeof *names);
    if (!names)
        abort();
    for (uint32_t i = 1; i < s->pack->protocol_count; i++)
        names[i - 1] = s->pack->protocols[i].info.name;
    const char *near = yml_nearest(node->text, names, sizeof *names);
    yml_fail(s->error, node, "\"%.60s\" is no entry of the pack%s%s%s", node->text, near ? ", did you mean \"" : "",
             near ? near : "", near ? "\"?" : "");
    free(names);
    return false;
}

static bool read_names(struct pack_source *s, const struct entry *e, struct cl_protocol_info *info)
{
    const struct yml_node *aliases = yml_get(e->node, "aliases"), *parents = yml_get(e->node, "parents");
    unsigned alias_count = !aliases ? 0 : aliases->kind == YML_LIST ? aliases->length : 1;
    unsigned parent_count = !parents ? 0 : parents->kind == YML_LIST ? parents->length : 1;
    if (alias_count > MAX_ALIASES)
        return yml_fail(s->error, aliases, "%u aliases, expected at most %u", alias_count, MAX_ALIASES);
    if (parent_count > MAX_PARENTS)
        return yml_fail(s->error, parents, "%u parents, expected at most %u", parent_count, MAX_PARENTS);
    const char **alias = pack_alloc(s->pack, (alias_count + 1) * sizeof *alias);
    const struct yml_node *a = alias_count && aliases->kind == YML_LIST ? aliases->first : aliases;
    for (unsigned i = 0; i < alias_count; i++, a = a->next)
        alias[i] = pack_strdup(s->pack, a->text);
    cl_protocol *parent = pack_alloc(s->pack, (parent_count + 1) * sizeof *parent);
    const struct yml_node *p = parent_count && parents->kind == YML_LIST ? parents->first : parents;
    for (unsigned i = 0; i < parent_count; i++, p = p->next)
        if (!resolve_name(s, p, &parent[i]))
            return false;
    info->aliases = alias;
    info->alias_count = alias_count;
    info->parents = parent;
    info->parent_count = parent_count;
    return true;
}

/* "tcp/25", "udp/6881..6889" */
static bool read_port(struct pack_source *s, const struct yml_node *node, cl_protocol protocol,
                      struct pack_vector *ports)
{
    for (uint8_t t = 0; t < PACK_TRANSPORTS; t++) {
        size_t length = strlen(pack_transport_names[t]);
        if (strncmp(node->text, pack_transport_names[t], length) || node->text[length] != '/')
            continue;
        struct yml_node number = *node;
        number.text = node->text + length + 1;
        struct pack_range range;
        if (!pack_read_range(s, &number, 65535, 0, &range))
            return false;
        const struct pack_port_entry *used = ports->items;
        for (uint32_t i = 0; i < ports->count; i++)
            if (used[i].transport == t && used[i].first <= range.last && range.first <= used[i].last)
                return yml_fail(s->error, node, "%s is taken by \"%s\", expected a port of its own", node->text,
                                s->pack->protocols[used[i].protocol].info.name);
        struct pack_port_entry *port = pack_vector_add(ports, sizeof *port);
        *port = (struct pack_port_entry){t, (uint16_t)range.first, (uint16_t)range.last, protocol};
        return true;
    }
    return yml_fail(s->error, node, "\"%.40s\", expected tcp/N or udp/N, or a range tcp/N..M", node->text);
}

static bool read_host(struct pack_source *s, const struct yml_node *node, cl_protocol application,
                      struct pack_vector *hosts)
{
    size_t length = strlen(node->text);
    if (!length || length > 253 || node->text[0] == '.' ||
        strspn(node->text, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != length)
        return yml_fail(s->error, node, "\"%.60s\", expected a host suffix in lower case without a leading dot",
                        node->text);
    struct pack_host *host = pack_vector_add(hosts, sizeof *host);
    *host = (struct pack_host){pack_strdup(s->pack, node->text), application, node->file, node->line, node->column};
    return true;
}

static int compare_hosts(const void *a, const void *b)
{
    const struct pack_host *x = a, *y = b;
    int order = strcmp(x->suffix, y->suffix);
    if (!order)
        order = strcmp(x->file, y->file);
    return order ? order : x->line != y->line ? (x->line < y->line ? -1 : 1) : x->column < y->column ? -1 : 1;
}

static bool check_hosts(struct pack_source *s, struct pack_vector *hosts)
{
    struct pack_host *host = hosts->items;
    if (hosts->count > PACK_MAX_HOSTS) {
        snprintf(s->error->text, sizeof s->error->text, "%s:%u:%u: too many hosts, expected at most %u", host->file,
                 host->line, host->column, PACK_MAX_HOSTS);
        return false;
    }
    if (hosts->count)
        qsort(host, hosts->count, sizeof *host, compare_hosts);
    for (uint32_t i = 1; i < hosts->count; i++)
        if (!strcmp(host[i].suffix, host[i - 1].suffix)) {
            snprintf(s->error->text, sizeof s->error->text,
                     "%s:%u:%u: the host \"%s\" a second time, the first is at %s:%u", host[i].file, host[i].line,
                     host[i].column, host[i].suffix, host[i - 1].file, host[i - 1].line);
            return false;
        }
    return true;
}

typedef bool read_item(struct pack_source *s, const struct yml_node *node, cl_protocol protocol,
                       struct pack_vector *out);

static bool read_strings(struct pack_source *s, const struct yml_node *list, read_item *read, cl_protocol protocol,
                         struct pack_vector *out)
{
    const struct yml_node *item = !list ? NULL : list->kind == YML_LIST ? list->first : list;
    for (; item; item = list->kind == YML_LIST ? item->next : NULL)
        if (!read(s, item, protocol, out))
            return false;
    return true;
}

/* ---- signatures ---- */

static bool collect_signatures(struct pack_source *s, const struct yml_node *entry, cl_protocol protocol,
                               struct pack_vector *signatures)
{
    const struct yml_node *list = yml_get(entry, "signatures");
    for (const struct yml_node *n = list ? list->first : NULL; n; n = n->next) {
        if (!yml_check_map(n, pack_signature_keys, "a signature", s->error))
            return false;
        if (signatures->count == PACK_MAX_SIGNATURES - 300)
            return yml_fail(s->error, n, "too many signatures, expected at most %u", PACK_MAX_SIGNATURES - 300);
        struct signature_entry *e = pack_vector_add(signatures, sizeof *e);
        *e = (struct signature_entry){(uint32_t)yml_get_u64(n, "id", 0), protocol, n};
    }
    return true;
}

static int compare_signatures(const void *a, const void *b)
{
    const struct signature_entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    int file = strcmp(x->node->file, y->node->file);
    return file ? file : x->node->line < y->node->line ? -1 : 1;
}

static bool read_signature_head(struct pack_source *s, const struct signature_entry *e,
                                struct pack_signature *signature)
{
    const struct pack_protocol *protocol = &s->pack->protocols[e->protocol];
    const char *name = yml_get_string(e->node, "name", protocol->info.name);
    const struct yml_node *over = yml_get(e->node, "over");
    signature->id = e->id;
    signature->protocol = e->protocol;
    signature->name = pack_strdup(s->pack, name);
    if (protocol->info.is_application && !over)
        return yml_fail(s->error, e->node,
                        "a signature of an application without \"over\", expected the wire protocol");
    if (!over)
        return true;
    if (!protocol->info.is_application)
        return yml_fail(s->error, over, "over, expected it in signatures of applications only");
    if (!resolve_name(s, over, &signature->over))
        return false;
    if (s->pack->protocols[signature->over].info.is_application)
        return yml_fail(s->error, over, "over: \"%s\" is an application, expected a protocol", over->text);
    return true;
}

/* Signature N at index N + 1; those of IP protocols follow. */
static bool read_signatures(struct pack_source *s, struct pack_vector *list)
{
    struct pack *pack = s->pack;
    struct signature_entry *e = list->items;
    if (list->count)
        qsort(e, list->count, sizeof *e, compare_signatures);
    uint32_t ip_count = 0;
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        ip_count += pack->protocols[i].ip_protocol >= 0;
    pack->signatures = pack_alloc(pack, (list->count + ip_count + 1) * sizeof *pack->signatures);
    pack->signatures[0].name = pack_strdup(pack, "");
    pack->signature_count = list->count + 1;
    for (uint32_t i = 0; i < list->count; i++) {
        if (i && e[i].id == e[i - 1].id)
            return yml_fail(s->error, yml_get(e[i].node, "id"), "signature id %u a second time, the first is at %s:%u",
                            e[i].id, e[i - 1].node->file, e[i - 1].node->line);
        if (!read_signature_head(s, &e[i], &pack->signatures[i + 1]) ||
            !pack_read_signature(s, e[i].node, (cl_signature)(i + 1)))
            return false;
    }
    for (int number = 0; number < 256; number++)
        for (uint32_t i = 1; i < pack->protocol_count; i++) {
            struct pack_protocol *p = &pack->protocols[i];
            if (p->ip_protocol != number)
                continue;
            char name[32];
            snprintf(name, sizeof name, "IP protocol %d", number);
            struct pack_signature *sig = &pack->signatures[pack->signature_count];
            *sig = (struct pack_signature){PACK_IP_PROTOCOL_SIGNATURE_ID + (uint32_t)number, (cl_protocol)i, 0,
                                           pack_strdup(pack, name)};
            p->ip_signature = (cl_signature)pack->signature_count++;
        }
    return true;
}

/* ---- all ---- */

static bool make_entries(struct pack_source *s, struct pack_vector *entries)
{
    struct pack *pack = s->pack;
    struct entry *e = entries->items;
    qsort(e, entries->count, sizeof *e, compare_entries);
    pack->protocol_count = entries->count + 1;
    pack->protocols = pack_alloc(pack, pack->protocol_count * sizeof *pack->protocols);
    pack->protocols[0].info.name = "";
    pack->protocols[0].info.family = "generic";
    pack->protocols[0].ip_protocol = -1;
    for (uint32_t i = 0; i < entries->count; i++) {
        if (i && e[i].id == e[i - 1].id)
            return yml_fail(s->error, yml_get(e[i].node, "id"), "id %u is taken by \"%s\", expected another", e[i].id,
                            e[i - 1].name);
        struct pack_protocol *p = &pack->protocols[i + 1];
        p->info.name = pack_strdup(pack, e[i].name);
        p->info.id = e[i].id;
        p->info.family = cl_family_find(e[i].family)->name;
        p->info.is_application = e[i].is_application;
        p->ip_protocol = -1;
    }
    return true;
}

static bool read_entries(struct pack_source *s, const struct pack_vector *entries, struct pack_vector *signatures)
{
    struct pack *pack = s->pack;
    struct pack_vector ports = {0}, hosts = {0};
    bool ip_taken[256] = {false}, ok = true;
    for (uint32_t i = 0; ok && i < entries->count; i++) {
        const struct entry *e = (const struct entry *)entries->items + i;
        struct pack_protocol *p = &pack->protocols[i + 1];
        cl_protocol index = (cl_protocol)(i + 1);
        const struct yml_node *number = e->node ? yml_get(e->node, "ip_protocol") : NULL;
        if (number) {
            uint64_t value = yml_get_u64(e->node, "ip_protocol", 0);
            if (ip_taken[value])
                ok = yml_fail(s->error, number, "ip_protocol %u is taken, expected another", (unsigned)value);
            ip_taken[value] = true;
            p->ip_protocol = (int16_t)value;
        }
        if (e->node)
            ok = ok && read_names(s, e, &p->info) &&
                 read_strings(s, yml_get(e->node, "ports"), read_port, index, &ports) &&
                 read_strings(s, yml_get(e->node, "hosts"), read_host, index, &hosts) &&
                 collect_signatures(s, e->node, index, signatures);
    }
    ok = ok && check_hosts(s, &hosts);
    pack->port_count = ports.count;
    pack->ports = settle(pack, &ports, sizeof *pack->ports);
    pack->host_count = hosts.count;
    pack->hosts = settle(pack, &hosts, sizeof *pack->hosts);
    return ok;
}

static bool read_sources(struct pack_source *s, const struct files *files)
{
    struct pack_vector entries = {0}, signatures = {0};
    for (unsigned i = 0; i < sizeof built_in / sizeof *built_in; i++)
        *(struct entry *)pack_vector_add(&entries, sizeof(struct entry)) = built_in[i];
    bool ok = read_pack_header(s, files);
    for (unsigned i = 0; ok && i < files->count; i++)
        ok = collect_entries(s, files->root[i], "protocols", &entries) &&
             collect_entries(s, files->root[i], "applications", &entries);
    ok = ok && check_names(s, &entries) && make_entries(s, &entries) && read_entries(s, &entries, &signatures) &&
         read_signatures(s, &signatures);
    free(entries.items);
    free(signatures.items);
    s->pack->rule_count = s->rules.count;
    s->pack->rules = settle(s->pack, &s->rules, sizeof *s->pack->rules);
    s->pack->pattern_count = s->patterns.count;
    s->pack->patterns = settle(s->pack, &s->patterns, sizeof *s->pack->patterns);
    return ok;
}

/* Marks of patterns and examples point at file names, which must outlive the trees. */
static void keep_file_names(struct pack *pack, const struct files *files)
{
    for (unsigned f = 0; f < files->count; f++) {
        const char *kept = pack_strdup(pack, files->path[f]);
        for (uint32_t i = 0; i < pack->pattern_count; i++)
            if (pack->patterns[i].file == files->path[f])
                pack->patterns[i].file = kept;
        for (struct pack_example *e = pack->examples; e; e = e->next)
            if (e->file == files->path[f])
                e->file = kept;
    }
}

struct pack *pack_read(const char *path, char *error, size_t error_size)
{
    struct yml_error why = {{0}};
    struct files *files = calloc(1, sizeof *files);
    struct pack *pack = calloc(1, sizeof *pack);
    if (!files || !pack)
        abort();
    struct pack_source source = {.pack = pack, .error = &why};
    bool ok = read_files(path, files, &why) && read_sources(&source, files);
    if (ok) {
        keep_file_names(pack, files);
        pack_finish(pack);
    } else {
        snprintf(error, error_size, "%s", why.text);
        pack_free(pack);
        pack = NULL;
    }
    for (unsigned i = 0; i < files->count; i++) {
        yml_free(files->root[i]);
        free(files->path[i]);
    }
    free(files);
    return pack;
}

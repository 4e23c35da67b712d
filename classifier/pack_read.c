#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "classifier/ja4.h"
#include "classifier/pack_source.h"

#define MAX_FILES   1024u
#define MAX_ALIASES 12u
#define MAX_PARENTS 16u

struct files {
    char *path[MAX_FILES];
    struct yml_node *root[MAX_FILES];
    uint8_t input[MAX_FILES]; /* the path of pack_merge() it came by */
    unsigned count;
};

static const struct yml_key file_keys[] = {
    {.name = "pack", .type = YML_TYPE_MAP},
    {.name = "family", .type = YML_TYPE_CHOICE, .choices = cl_family_names},
    {.name = "gives_way", .type = YML_TYPE_BOOL},
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
        {.name = "origin", .type = YML_TYPE_STRING}, {.name = "gives_way", .type = YML_TYPE_BOOL},                     \
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
    ENTRY_KEYS, {.name = "hosts", .type = YML_TYPE_STRINGS}, {.name = "ja4", .type = YML_TYPE_STRINGS}, {.name = NULL}};

/* What the engine itself falls back to; ids of Generic as SCA BB's are told. */
static const struct pack_entry built_in[] = {
    {.id = 0, .is_built_in = true, .name = "Generic TCP", .family = "generic"},
    {.id = 1, .is_built_in = true, .name = "Generic UDP", .family = "generic"},
    {.id = 10, .is_built_in = true, .name = "Generic IP", .family = "generic"},
    {.id = 11, .is_built_in = true, .name = "Generic Non-Established TCP", .family = "generic"},
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
    unsigned first = files->count;
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
    if (files->count == first) {
        snprintf(error->text, sizeof error->text, "%s:1:1: no pack sources, expected files *.yaml", path);
        return false;
    }
    qsort(files->path + first, files->count - first, sizeof *files->path, compare_paths);
    return true;
}

/* A compiled pack's own text, as if it were a source; places in it are those of what `sce pack extract` prints. */
static struct yml_node *read_compiled(const char *path, struct yml_error *error)
{
    struct pack_databases databases;
    struct pack *pack = pack_file_read(path, &databases, error->text, sizeof error->text);
    if (!pack)
        return NULL;
    pack_databases_free(&databases);
    size_t size;
    char *text = pack_text(pack, &size);
    struct yml_node *root = yml_read_memory(path, text, size, error);
    free(text);
    pack_free(pack);
    return root;
}

static bool read_files(const char *path, unsigned input, struct files *files, struct yml_error *error)
{
    struct stat st;
    unsigned first = files->count;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        if (!list_folder(path, files, error))
            return false;
    } else if (files->count < MAX_FILES) {
        files->path[files->count++] = strdup(path);
    }
    for (unsigned i = first; i < files->count; i++) {
        files->input[i] = (uint8_t)input;
        files->root[i] = pack_file_is_compiled(files->path[i]) ? read_compiled(files->path[i], error)
                                                               : yml_read_file(files->path[i], error);
        if (!files->root[i] || !yml_check_map(files->root[i], file_keys, "a pack source", error))
            return false;
    }
    return true;
}

/* ---- origins ---- */

/* Its index, made when it is new; PACK_MAX_ORIGINS when there are too many. */
static uint8_t origin_of(struct pack *pack, const char *name)
{
    for (uint32_t i = 0; i < pack->origin_count; i++)
        if (!strcmp(pack->origins[i], name))
            return (uint8_t)i;
    if (pack->origin_count == PACK_MAX_ORIGINS)
        return PACK_MAX_ORIGINS;
    pack->origins[pack->origin_count] = pack_strdup(pack, name);
    return (uint8_t)pack->origin_count++;
}

static bool read_pack_header(struct pack_source *s, const struct files *files, unsigned input,
                             const struct yml_node **ret)
{
    const struct yml_node *found = NULL;
    for (unsigned i = 0; i < files->count; i++) {
        const struct yml_node *node = yml_get(files->root[i], "pack");
        if (!node || files->input[i] != input)
            continue;
        if (!yml_check_map(node, pack_keys, "pack", s->error))
            return false;
        if (found)
            return yml_fail_at_key(s->error, node, "\"pack\" a second time, the first is at %s:%u", found->file,
                                   found->key_line);
        found = node;
    }
    *ret = found;
    return true;
}

/* The first input's name; versions of all, since each change of one makes another pack. */
static bool read_pack_headers(struct pack_source *s, const struct files *files, unsigned inputs, uint8_t *ret_origins)
{
    char version[512] = "";
    for (unsigned input = 0; input < inputs; input++) {
        const struct yml_node *header = NULL;
        if (!read_pack_header(s, files, input, &header))
            return false;
        const char *name = header ? yml_get_string(header, "name", "") : input ? "user" : "unnamed";
        size_t used = strlen(version);
        snprintf(version + used, sizeof version - used, "%s%s%s%s", input ? "+" : "", input ? name : "",
                 input ? "-" : "", header ? yml_get_string(header, "version", "") : "0");
        if (!input)
            s->pack->name = pack_strdup(s->pack, name);
        ret_origins[input] = origin_of(s->pack, input ? name : "");
        if (ret_origins[input] == PACK_MAX_ORIGINS) {
            snprintf(s->error->text, sizeof s->error->text, "more than %u sets, expected fewer", PACK_MAX_ORIGINS - 1);
            return false;
        }
    }
    s->pack->version = pack_strdup(s->pack, version);
    return true;
}

/* ---- entries ---- */

static bool collect_entries(struct pack_source *s, const struct yml_node *root, const char *list_name, uint8_t origin,
                            struct pack_vector *entries)
{
    const struct yml_node *list = yml_get(root, list_name);
    bool is_application = !strcmp(list_name, "applications");
    for (const struct yml_node *n = list ? list->first : NULL; n; n = n->next) {
        if (!yml_check_map(n, is_application ? application_keys : protocol_keys,
                           is_application ? "an application" : "a protocol", s->error))
            return false;
        const char *family = yml_get_string(n, "family", yml_get_string(root, "family", NULL));
        const char *named = yml_get_string(n, "origin", NULL);
        uint8_t index = named ? origin_of(s->pack, named) : origin;
        if (index == PACK_MAX_ORIGINS)
            return yml_fail(s->error, n, "too many origins, expected at most %u", PACK_MAX_ORIGINS - 1);
        if (entries->count == PACK_MAX_PROTOCOLS - 1)
            return yml_fail(s->error, n, "too many entries, expected at most %u", PACK_MAX_PROTOCOLS - 1);
        struct pack_entry *e = pack_vector_add(entries, sizeof *e);
        *e = (struct pack_entry){.id = (uint32_t)yml_get_u64(n, "id", 0),
                                 .is_application = is_application,
                                 .name = yml_get_string(n, "name", ""),
                                 .family = family,
                                 .gives_way = yml_get_bool(n, "gives_way", yml_get_bool(root, "gives_way", false)),
                                 .node = n,
                                 .origin = index};
    }
    return true;
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

static int compare_text(const void *a, const void *b)
{
    return strcmp(((const struct used_name *)a)->text, ((const struct used_name *)b)->text);
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

static void use_names(struct pack_vector *names, const struct pack_entry *e)
{
    use_name(names, e->name, e->node ? yml_get(e->node, "name") : NULL, e->name);
    const struct yml_node *aliases = e->node ? yml_get(e->node, "aliases") : NULL;
    if (aliases && aliases->kind != YML_LIST)
        use_name(names, aliases->text, aliases, e->name);
    else
        for (const struct yml_node *a = aliases ? aliases->first : NULL; a; a = a->next)
            use_name(names, a->text, a, e->name);
}

/* No two entries may share a name or alias, case and punctuation aside: other tools' names must lead to one of ours. */
static bool check_names(struct pack_source *s, const struct pack_vector *entries)
{
    struct pack_vector names = {0};
    for (uint32_t i = 0; i < entries->count; i++) {
        const struct pack_entry *e = (const struct pack_entry *)entries->items + i;
        if (e->continues)
            continue;
        use_names(&names, e);
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

static bool read_names(struct pack_source *s, const struct pack_entry *e, struct cl_protocol_info *info)
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
static bool parse_port(struct pack_source *s, const struct yml_node *node, uint8_t *ret_transport,
                       struct pack_range *ret_range)
{
    for (uint8_t t = 0; t < PACK_TRANSPORTS; t++) {
        size_t length = strlen(pack_transport_names[t]);
        if (strncmp(node->text, pack_transport_names[t], length) || node->text[length] != '/')
            continue;
        struct yml_node number = *node;
        number.text = node->text + length + 1;
        *ret_transport = t;
        return pack_read_range(s, &number, 65535, 0, ret_range);
    }
    return yml_fail(s->error, node, "\"%.40s\", expected tcp/N or udp/N, or a range tcp/N..M", node->text);
}

static bool read_port(struct pack_source *s, const struct yml_node *node, const struct pack_entry *e,
                      struct pack_vector *ports)
{
    uint8_t transport;
    struct pack_range range;
    if (!parse_port(s, node, &transport, &range))
        return false;
    const struct pack_port_entry *used = ports->items;
    for (uint32_t i = 0; i < ports->count; i++)
        if (used[i].transport == transport && used[i].first <= range.last && range.first <= used[i].last)
            return e->gives_way || yml_fail(s->error, node, "%s is taken by \"%s\", expected a port of its own",
                                            node->text, s->pack->protocols[used[i].protocol].info.name);
    struct pack_port_entry *port = pack_vector_add(ports, sizeof *port);
    *port = (struct pack_port_entry){transport, (uint16_t)range.first, (uint16_t)range.last, e->protocol, e->origin};
    return true;
}

/* ---- entries that give way ---- */

struct claims {
    struct pack_vector names; /* struct used_name, sorted */
    bool port[PACK_TRANSPORTS][65536];
};

typedef bool each_port(struct claims *claims, unsigned transport, uint32_t port);

static bool is_claimed(struct claims *claims, unsigned transport, uint32_t port)
{
    return claims->port[transport][port];
}

static bool claim(struct claims *claims, unsigned transport, uint32_t port)
{
    claims->port[transport][port] = true;
    return true;
}

/* Whether `visit` says yes to all ports of an entry; mistakes are found when the entry is read. */
static bool all_ports(struct pack_source *s, const struct pack_entry *e, struct claims *claims, each_port *visit)
{
    const struct yml_node *list = e->node ? yml_get(e->node, "ports") : NULL;
    const struct yml_node *item = !list ? NULL : list->kind == YML_LIST ? list->first : list;
    uint8_t transport;
    struct pack_range range;
    for (; item; item = list->kind == YML_LIST ? item->next : NULL) {
        if (!parse_port(s, item, &transport, &range))
            continue;
        for (uint32_t port = range.first; port <= range.last; port++)
            if (!visit(claims, transport, port))
                return false;
    }
    return true;
}

static bool has_claimed_name(struct claims *claims, const struct pack_entry *e)
{
    struct pack_vector own = {0};
    use_name(&own, e->name, NULL, e->name);
    const struct used_name *first = claims->names.items;
    bool found = first && bsearch(own.items, first, claims->names.count, sizeof *first, compare_text) != NULL;
    free(own.items);
    return found;
}

/* Drops what others have: an entry whose name is theirs, or all of its ports. Single ports are left out when it is read. */
static void give_way(struct pack_source *s, struct pack_vector *entries)
{
    struct claims *claims = calloc(1, sizeof *claims);
    struct pack_entry *e = entries->items;
    uint32_t kept = 0;
    if (!claims)
        abort();
    for (uint32_t i = 0; i < entries->count; i++)
        if (!e[i].gives_way) {
            use_names(&claims->names, &e[i]);
            all_ports(s, &e[i], claims, claim);
        }
    if (claims->names.count)
        qsort(claims->names.items, claims->names.count, sizeof(struct used_name), compare_text);
    for (uint32_t i = 0; i < entries->count; i++)
        if (!e[i].gives_way || (!has_claimed_name(claims, &e[i]) && !all_ports(s, &e[i], claims, is_claimed)))
            e[kept++] = e[i];
    entries->count = kept;
    s->error->text[0] = 0;
    free(claims->names.items);
    free(claims);
}

static void add_host(struct pack_source *s, const struct yml_node *node, const struct pack_entry *e,
                     struct pack_vector *hosts)
{
    struct pack_host *host = pack_vector_add(hosts, sizeof *host);
    *host = (struct pack_host){.suffix = pack_strdup(s->pack, node->text),
                               .application = e->protocol,
                               .origin = e->origin,
                               .file = node->file,
                               .line = node->line,
                               .column = node->column};
}

/* Fingerprints stand among the hosts: no host has their form, and they are looked up in the same way. */
static bool read_ja4(struct pack_source *s, const struct yml_node *node, const struct pack_entry *e,
                     struct pack_vector *hosts)
{
    if (!ja4_is_text(node->text))
        return yml_fail(s->error, node, "\"%.60s\", expected a JA4 as t13d1516h2_8daaf6152771_e5627efa2ab1",
                        node->text);
    for (const char *p = node->text; *p; p++)
        if (isupper((unsigned char)*p))
            return yml_fail(s->error, node, "\"%.60s\", expected it in lower case", node->text);
    add_host(s, node, e, hosts);
    return true;
}

static bool read_host(struct pack_source *s, const struct yml_node *node, const struct pack_entry *e,
                      struct pack_vector *hosts)
{
    size_t length = strlen(node->text);
    if (!length || length > 253 || node->text[0] == '.' ||
        strspn(node->text, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != length)
        return yml_fail(s->error, node, "\"%.60s\", expected a host suffix in lower case without a leading dot",
                        node->text);
    add_host(s, node, e, hosts);
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

typedef bool read_item(struct pack_source *s, const struct yml_node *node, const struct pack_entry *e,
                       struct pack_vector *out);

static bool read_strings(struct pack_source *s, const struct yml_node *list, read_item *read,
                         const struct pack_entry *e, struct pack_vector *out)
{
    const struct yml_node *item = !list ? NULL : list->kind == YML_LIST ? list->first : list;
    for (; item; item = list->kind == YML_LIST ? item->next : NULL)
        if (!read(s, item, e, out))
            return false;
    return true;
}

/* ---- signatures ---- */

static bool collect_signatures(struct pack_source *s, const struct pack_entry *entry, struct pack_vector *signatures)
{
    const struct yml_node *list = yml_get(entry->node, "signatures");
    for (const struct yml_node *n = list ? list->first : NULL; n; n = n->next) {
        if (!yml_check_map(n, pack_signature_keys, "a signature", s->error))
            return false;
        if (signatures->count == PACK_MAX_SIGNATURES - 300)
            return yml_fail(s->error, n, "too many signatures, expected at most %u", PACK_MAX_SIGNATURES - 300);
        struct pack_signature_entry *e = pack_vector_add(signatures, sizeof *e);
        *e = (struct pack_signature_entry){(uint32_t)yml_get_u64(n, "id", 0), entry->protocol, n, entry->origin};
    }
    return true;
}

static bool read_signature_head(struct pack_source *s, const struct pack_signature_entry *e,
                                struct pack_signature *signature)
{
    const struct pack_protocol *protocol = &s->pack->protocols[e->protocol];
    const char *name = yml_get_string(e->node, "name", protocol->info.name);
    const struct yml_node *over = yml_get(e->node, "over");
    signature->id = e->id;
    signature->protocol = e->protocol;
    signature->origin = e->origin;
    signature->file = e->node->file;
    signature->line = e->node->line;
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
    struct pack_signature_entry *e = list->items;
    if (!pack_order_signatures(s, list))
        return false;
    uint32_t ip_count = 0;
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        ip_count += pack->protocols[i].ip_protocol >= 0;
    pack->signatures = pack_alloc(pack, (list->count + ip_count + 1) * sizeof *pack->signatures);
    pack->signatures[0].name = pack_strdup(pack, "");
    pack->signature_count = list->count + 1;
    for (uint32_t i = 0; i < list->count; i++) {
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
            *sig = (struct pack_signature){PACK_IP_PROTOCOL_SIGNATURE_ID + (uint32_t)number,
                                           (cl_protocol)i,
                                           0,
                                           p->origin,
                                           pack_strdup(pack, name),
                                           NULL,
                                           0};
            p->ip_signature = (cl_signature)pack->signature_count++;
        }
    return true;
}

/* ---- all ---- */

static void make_entries(struct pack *pack, const struct pack_vector *entries)
{
    const struct pack_entry *e = entries->items;
    pack->protocol_count = e[entries->count - 1].protocol + 1u;
    pack->protocols = pack_alloc(pack, pack->protocol_count * sizeof *pack->protocols);
    pack->protocols[0].info.name = "";
    pack->protocols[0].info.family = "generic";
    pack->protocols[0].ip_protocol = -1;
    for (uint32_t i = 0; i < entries->count; i++) {
        if (e[i].continues)
            continue;
        struct pack_protocol *p = &pack->protocols[e[i].protocol];
        p->info.name = pack_strdup(pack, e[i].name);
        p->info.id = e[i].id;
        p->info.family = cl_family_find(e[i].family)->name;
        p->info.is_application = e[i].is_application;
        p->ip_protocol = -1;
        p->origin = e[i].origin;
        p->gives_way = e[i].gives_way;
        p->file = e[i].node ? e[i].node->file : NULL;
        p->line = e[i].node ? e[i].node->line : 0;
    }
}

static bool read_entries(struct pack_source *s, const struct pack_vector *entries, struct pack_vector *signatures)
{
    struct pack *pack = s->pack;
    struct pack_vector ports = {0}, hosts = {0};
    bool ip_taken[256] = {false}, ok = true;
    for (uint32_t i = 0; ok && i < entries->count; i++) {
        const struct pack_entry *e = (const struct pack_entry *)entries->items + i;
        struct pack_protocol *p = &pack->protocols[e->protocol];
        const struct yml_node *number = e->node ? yml_get(e->node, "ip_protocol") : NULL;
        if (number) {
            uint64_t value = yml_get_u64(e->node, "ip_protocol", 0);
            if (ip_taken[value])
                ok = yml_fail(s->error, number, "ip_protocol %u is taken, expected another", (unsigned)value);
            ip_taken[value] = true;
            p->ip_protocol = (int16_t)value;
        }
        if (e->node)
            ok = ok && (e->continues || read_names(s, e, &p->info)) &&
                 (e->gives_way || read_strings(s, yml_get(e->node, "ports"), read_port, e, &ports)) &&
                 read_strings(s, yml_get(e->node, "hosts"), read_host, e, &hosts) &&
                 read_strings(s, yml_get(e->node, "ja4"), read_ja4, e, &hosts) && collect_signatures(s, e, signatures);
    }
    for (uint32_t i = 0; ok && i < entries->count; i++) {
        const struct pack_entry *e = (const struct pack_entry *)entries->items + i;
        ok = !e->gives_way || read_strings(s, yml_get(e->node, "ports"), read_port, e, &ports);
    }
    ok = ok && check_hosts(s, &hosts);
    pack->port_count = ports.count;
    pack->ports = settle(pack, &ports, sizeof *pack->ports);
    pack->host_count = hosts.count;
    pack->hosts = settle(pack, &hosts, sizeof *pack->hosts);
    return ok;
}

static bool read_sources(struct pack_source *s, const struct files *files, unsigned inputs)
{
    struct pack_vector entries = {0}, signatures = {0};
    uint8_t origin[PACK_MAX_ORIGINS] = {0};
    s->pack->origins = pack_alloc(s->pack, PACK_MAX_ORIGINS * sizeof *s->pack->origins);
    for (unsigned i = 0; i < sizeof built_in / sizeof *built_in; i++)
        *(struct pack_entry *)pack_vector_add(&entries, sizeof(struct pack_entry)) = built_in[i];
    bool ok = read_pack_headers(s, files, inputs, origin);
    for (unsigned i = 0; ok && i < files->count; i++)
        ok = collect_entries(s, files->root[i], "protocols", origin[files->input[i]], &entries) &&
             collect_entries(s, files->root[i], "applications", origin[files->input[i]], &entries);
    if (ok)
        give_way(s, &entries);
    ok = ok && pack_order_entries(s, &entries) && check_names(s, &entries);
    if (ok)
        make_entries(s->pack, &entries);
    ok = ok && read_entries(s, &entries, &signatures) && read_signatures(s, &signatures) && pack_judge_overlaps(s);
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
        for (uint32_t i = 0; i < pack->signature_count; i++)
            if (pack->signatures[i].file == files->path[f])
                pack->signatures[i].file = kept;
        for (uint32_t i = 0; i < pack->protocol_count; i++)
            if (pack->protocols[i].file == files->path[f])
                pack->protocols[i].file = kept;
        for (uint32_t i = 0; i < pack->host_count; i++)
            if (pack->hosts[i].file == files->path[f])
                pack->hosts[i].file = kept;
    }
}

static struct pack *read_all(const char *const *paths, unsigned count, struct pack_source *source, char *error,
                             size_t error_size)
{
    struct yml_error why = {{0}};
    struct files *files = calloc(1, sizeof *files);
    struct pack *pack = calloc(1, sizeof *pack);
    if (!files || !pack)
        abort();
    source->pack = pack;
    source->error = &why;
    bool ok = true;
    for (unsigned i = 0; ok && i < count; i++)
        ok = read_files(paths[i], i, files, &why);
    ok = ok && read_sources(source, files, count);
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

struct pack *pack_read(const char *path, char *error, size_t error_size)
{
    struct pack_source source = {0};
    return read_all(&path, 1, &source, error, error_size);
}

struct pack *pack_merge(const char *const *paths, unsigned count, bool renumbers, char **ret_report, char *error,
                        size_t error_size)
{
    size_t size;
    *ret_report = NULL;
    if (count > PACK_MAX_ORIGINS) {
        snprintf(error, error_size, "%u sets, expected at most %u", count - 1, PACK_MAX_ORIGINS - 1);
        return NULL;
    }
    struct pack_source source = {.renumbers = renumbers, .report = open_memstream(ret_report, &size)};
    if (!source.report)
        abort();
    struct pack *pack = read_all(paths, count, &source, error, error_size);
    fclose(source.report);
    if (!size) {
        free(*ret_report);
        *ret_report = NULL;
    }
    return pack;
}

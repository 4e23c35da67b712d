#include "dataplane/config.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"
#include "dataplane/config_keys.h"
#include "dataplane/drivers.h"

/* ---- one value into its field ---- */

/* Names of categories 1..4 in the file. */
static const struct yml_key category_keys[] = {
    {.name = "1", .type = YML_TYPE_ANY},
    {.name = "2", .type = YML_TYPE_ANY},
    {.name = "3", .type = YML_TYPE_ANY},
    {.name = "4", .type = YML_TYPE_ANY},
    {.name = NULL},
};
static_assert(sizeof category_keys / sizeof *category_keys == RDR_CATEGORIES + 1, "one name a category");

static bool check_number(const struct yml_node *node, const char *expected, uint64_t min, uint64_t max,
                         uint64_t *ret_value, struct yml_error *error)
{
    struct yml_key key = {.type = YML_TYPE_U64, .min = min, .max = max, .expected = expected};
    return yml_check_value(node, &key, error) && yml_parse_u64(node, ret_value);
}

static bool set_text(const struct dp_key *key, const struct yml_node *node, char *field, struct yml_error *error)
{
    size_t size_bytes = strlen(node->text);
    if (size_bytes >= key->size)
        return yml_fail(error, node, "%s: %zu bytes, expected at most %u", key->name, size_bytes, key->size - 1u);
    memset(field, 0, key->size);
    memcpy(field, node->text, size_bytes);
    return true;
}

static bool set_cpus(const struct dp_key *key, const struct yml_node *node, struct dp_config *config,
                     struct yml_error *error)
{
    if (node->kind != YML_LIST)
        return yml_fail(error, node, "%s: expected %s", key->name, key->expected);
    if (node->length > DP_WORKERS_MAX)
        return yml_fail(error, node, "%s: %u CPUs, expected at most %u", key->name, node->length, DP_WORKERS_MAX);
    config->workers.cpu_count = 0;
    for (const struct yml_node *item = node->first; item; item = item->next) {
        uint64_t cpu;
        if (!check_number(item, "a CPU number", key->min, key->max, &cpu, error))
            return false;
        config->workers.cpus[config->workers.cpu_count++] = (uint32_t)cpu;
    }
    return true;
}

/* A map of numbers by category; `size` is that of one number. */
static bool set_category_map(const struct dp_key *key, const struct yml_node *node, uint8_t *field, uint16_t size,
                             const char *expected, struct yml_error *error)
{
    if (!yml_check_map(node, category_keys, "the categories 1 to 4", error))
        return false;
    for (const struct yml_node *member = node->first; member; member = member->next) {
        uint64_t value;
        if (!check_number(member, expected, key->min, key->max, &value, error))
            return false;
        dp_number_set(field + (size_t)(member->key[0] - '1') * size, size, value);
    }
    return true;
}

/* Categories that the map leaves out keep what they have, which is the default. */
static bool set_category_numbers(const struct dp_key *key, const struct yml_node *node, uint8_t *field,
                                 struct yml_error *error)
{
    uint64_t value;
    if (node->kind == YML_MAP)
        return set_category_map(key, node, field, sizeof(uint32_t), "a number of KiB", error);
    if (!check_number(node, key->expected, key->min, key->max, &value, error))
        return false;
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        dp_number_set(field + i * sizeof(uint32_t), sizeof(uint32_t), value);
    return true;
}

static bool set_category_priority(const struct dp_key *key, const struct yml_node *node, uint8_t *field,
                                  struct yml_error *error)
{
    if (node->kind == YML_SCALAR || !node->length)
        return yml_fail(error, node, "%s: expected %s", key->name, key->expected);
    memset(field, 0, RDR_CATEGORIES);
    if (node->kind == YML_MAP)
        return set_category_map(key, node, field, sizeof(uint8_t), "a priority", error);
    for (const struct yml_node *item = node->first; item; item = item->next) {
        uint64_t category;
        if (!check_number(item, "a category", 1, RDR_CATEGORIES, &category, error))
            return false;
        if (field[category - 1])
            return yml_fail(error, item, "category %u a second time", (unsigned)category);
        field[category - 1] = (uint8_t)key->max;
    }
    return true;
}

static bool set_section(const struct dp_section *section, const struct yml_node *node, struct dp_config *config,
                        uint8_t *base, struct yml_error *error);
static bool set_list(const struct dp_section *section, const struct dp_key *key, const struct yml_node *node,
                     struct dp_config *config, struct yml_error *error);

/* The value was checked against its type; `base` is what offsets count from. */
static bool set_value(const struct dp_section *section, const struct dp_key *key, const struct yml_node *node,
                      struct dp_config *config, uint8_t *base, struct yml_error *error)
{
    uint8_t *field = base + key->offset;
    uint64_t number = 0;
    switch ((enum dp_key_kind)key->kind) {
    case DP_KEY_NUMBER:
        yml_parse_u64(node, &number);
        dp_number_set(field, key->size, number);
        return true;
    case DP_KEY_SWITCH:
        yml_parse_bool(node, (bool *)field);
        return true;
    case DP_KEY_CHOICE:
        while (key->choices[number] && strcmp(key->choices[number], node->text))
            number++;
        dp_number_set(field, key->size, number);
        return true;
    case DP_KEY_TEXT:
        return set_text(key, node, (char *)field, error);
    case DP_KEY_CPUS:
        return set_cpus(key, node, config, error);
    case DP_KEY_CATEGORY_NUMBERS:
        return set_category_numbers(key, node, field, error);
    case DP_KEY_CATEGORY_PRIORITY:
        return set_category_priority(key, node, field, error);
    case DP_KEY_SECTION:
        return set_section(dp_section_of(section, key), node, config, base, error);
    case DP_KEY_LIST:
        return set_list(dp_section_of(section, key), key, node, config, error);
    }
    return false;
}

/* ---- maps and lists ---- */

static enum yml_type yml_type_of(const struct dp_key *key)
{
    switch ((enum dp_key_kind)key->kind) {
    case DP_KEY_NUMBER:
        return YML_TYPE_U64;
    case DP_KEY_SWITCH:
        return YML_TYPE_BOOL;
    case DP_KEY_CHOICE:
        return YML_TYPE_CHOICE;
    case DP_KEY_TEXT:
        return YML_TYPE_STRING;
    case DP_KEY_LIST:
        return YML_TYPE_LIST;
    case DP_KEY_SECTION:
        return YML_TYPE_MAP;
    case DP_KEY_CPUS:
    case DP_KEY_CATEGORY_NUMBERS:
    case DP_KEY_CATEGORY_PRIORITY:
        break;
    }
    return YML_TYPE_ANY; /* set_value() checks */
}

static bool check_section(const struct dp_section *section, const struct yml_node *node, struct yml_error *error)
{
    struct yml_key keys[DP_SECTION_KEYS_MAX];
    unsigned count = 0;
    for (const struct dp_key *key = section->keys; key->name; key++)
        keys[count++] = (struct yml_key){.name = key->name,
                                         .type = yml_type_of(key),
                                         .required = !key->fallback,
                                         .min = key->min,
                                         .max = key->max,
                                         .expected = key->expected,
                                         .choices = key->choices};
    keys[count] = (struct yml_key){.name = NULL};
    return yml_check_map(node, keys, section->what, error);
}

static bool set_section(const struct dp_section *section, const struct yml_node *node, struct dp_config *config,
                        uint8_t *base, struct yml_error *error)
{
    if (!check_section(section, node, error))
        return false;
    for (const struct dp_key *key = section->keys; key->name; key++) {
        const struct yml_node *member = yml_get(node, key->name);
        if (member && !set_value(section, key, member, config, base, error))
            return false;
    }
    return true;
}

/* Defaults are written in the table as in a file and go the same way. */
static void set_defaults(const struct dp_section *section, struct dp_config *config, uint8_t *base)
{
    for (const struct dp_key *key = section->keys; key->name; key++) {
        struct yml_error error = {""};
        if (key->kind == DP_KEY_SECTION)
            set_defaults(dp_section_of(section, key), config, base);
        if (!key->fallback || key->kind == DP_KEY_SECTION)
            continue;
        struct yml_node *node = yml_read_memory("default", key->fallback, strlen(key->fallback), &error);
        if (!node || !set_value(section, key, node, config, base, &error)) {
            fprintf(stderr, "sce: default of %s.%s: %s\n", section->path, key->name, error.text);
            abort();
        }
        yml_free(node);
    }
}

static bool set_list(const struct dp_section *section, const struct dp_key *key, const struct yml_node *node,
                     struct dp_config *config, struct yml_error *error)
{
    unsigned count = 0;
    if (node->length > section->elements_max)
        return yml_fail(error, node, "%s: %u items, expected at most %u", key->name, node->length,
                        section->elements_max);
    for (const struct yml_node *item = node->first; item; item = item->next, count++) {
        uint8_t *element = (uint8_t *)config + key->offset + (size_t)count * section->element_size;
        memset(element, 0, section->element_size);
        set_defaults(section, config, element);
        if (!set_section(section, item, config, element, error))
            return false;
    }
    dp_number_set((uint8_t *)config + section->count_offset, sizeof(unsigned), count);
    return true;
}

/* ---- what keys mean together ---- */

static bool is_name(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return false;
    return text[0] != 0;
}

/* "net_af_packet0" of "net_af_packet0,iface=p0" */
static size_t device_name_bytes(const char *device)
{
    return strcspn(device, ",");
}

static bool check_device(const struct dp_config *config, unsigned link, enum dp_side side, const struct yml_node *node,
                         struct yml_error *error)
{
    const char *device = config->links[link].device[side];
    char reason[256];
    if (!dp_device_check(device, reason, sizeof reason))
        return yml_fail(error, node, "%s: \"%s\": %s", node->key, device, reason);
    size_t name_bytes = device_name_bytes(device);
    for (unsigned other = 0; other <= link; other++)
        for (unsigned s = 0; s < DP_SIDES; s++) {
            const char *taken = config->links[other].device[s];
            if ((other < link || s < side) && device_name_bytes(taken) == name_bytes &&
                !strncasecmp(taken, device, name_bytes))
                return yml_fail(
                    error, node,
                    "%s: \"%.*s\" a second time, link %s has it as %s; each port belongs to one side of one link",
                    node->key, (int)name_bytes, device, config->links[other].name, dp_side_name((enum dp_side)s));
        }
    return true;
}

static bool check_links(struct dp_config *config, const struct yml_node *list, struct yml_error *error)
{
    const struct yml_node *item = list->first;
    if (!item)
        return yml_fail(error, list, "links: no item, expected at least one link");
    for (unsigned i = 0; i < config->link_count; i++, item = item->next) {
        const struct yml_node *name = yml_get(item, "name");
        if (!is_name(config->links[i].name))
            return yml_fail(error, name, "name: \"%s\", expected a name of letters, digits, \"-\", \"_\", \".\"",
                            config->links[i].name);
        for (unsigned j = 0; j < i; j++)
            if (!strcmp(config->links[i].name, config->links[j].name))
                return yml_fail(error, name, "name: \"%s\" a second time, expected a name of its own for each link",
                                config->links[i].name);
        for (unsigned side = 0; side < DP_SIDES; side++) {
            const struct yml_node *device = yml_get(item, dp_side_name((enum dp_side)side));
            config->links[i].line[side] = device->line;
            if (!check_device(config, i, (enum dp_side)side, device, error))
                return false;
        }
    }
    return true;
}

static bool check_workers(struct dp_config *config, const struct yml_node *root, struct yml_error *error)
{
    const struct yml_node *workers = yml_get(root, "workers");
    const struct yml_node *count = workers ? yml_get(workers, "count") : NULL;
    if (!config->workers.cpu_count)
        return true;
    if (count && config->workers.count != config->workers.cpu_count)
        return yml_fail(error, count, "count: %u, expected %u, the length of cpus, or no such key",
                        config->workers.count, config->workers.cpu_count);
    config->workers.count = config->workers.cpu_count;
    return true;
}

static bool check_destinations(const struct dp_config *config, const struct yml_node *root, struct yml_error *error)
{
    const struct yml_node *rdr = yml_get(root, "rdr");
    const struct yml_node *list = rdr ? yml_get(rdr, "destinations") : NULL;
    const struct yml_node *item = list ? list->first : NULL;
    for (unsigned i = 0; item; i++, item = item->next)
        for (unsigned j = 0; j < i; j++)
            if (!strcmp(config->rdr.destinations[i].host, config->rdr.destinations[j].host) &&
                config->rdr.destinations[i].port == config->rdr.destinations[j].port)
                return yml_fail(error, item, "destination %s port %u a second time, expected it once",
                                config->rdr.destinations[i].host, config->rdr.destinations[i].port);
    return true;
}

/* ---- whole files ---- */

static const cpu_set_t *process_cpus(const struct dp_config *config);

void dp_config_init(struct dp_config *config)
{
    memset(config, 0, sizeof *config);
    process_cpus(config);
    set_defaults(&dp_sections[0], config, (uint8_t *)config);
}

/* 0, or -EINVAL with the error's text in `error`. */
static int load_tree(const char *name, struct yml_node *root, struct yml_error *reason, struct dp_config *ret_config,
                     char *error, size_t error_size)
{
    struct dp_config *config = calloc(1, sizeof *config);
    if (!config)
        abort();
    dp_config_init(config);
    snprintf(config->path, sizeof config->path, "%s", name);
    bool ok = root && set_section(&dp_sections[0], root, config, (uint8_t *)config, reason) &&
              check_links(config, yml_get(root, "links"), reason) && check_workers(config, root, reason) &&
              check_destinations(config, root, reason);
    if (ok)
        *ret_config = *config;
    else
        snprintf(error, error_size, "%s", reason->text);
    yml_free(root);
    free(config);
    return ok ? 0 : -EINVAL;
}

int dp_config_parse(const char *name, const char *text, size_t size_bytes, struct dp_config *ret_config, char *error,
                    size_t error_size)
{
    struct yml_error reason = {""};
    return load_tree(name, yml_read_memory(name, text, size_bytes, &reason), &reason, ret_config, error, error_size);
}

int dp_config_load(const char *path, struct dp_config *ret_config, char *error, size_t error_size)
{
    struct yml_error reason = {""};
    bool is_stdin = !strcmp(path, "-");
    struct yml_node *root = yml_read_file(is_stdin ? "/dev/stdin" : path, &reason);
    return load_tree(path, root, &reason, ret_config, error, error_size);
}

/* ---- for those who work from it ---- */

/*
 * The CPUs that this process may run on, as they were at the first question: EAL pins the control thread to one of them later.
 */
static const cpu_set_t *process_cpus(const struct dp_config *config)
{
    static cpu_set_t cpus;
    if (!CPU_COUNT(&cpus) && (sched_getaffinity(0, sizeof cpus, &cpus) < 0 || !CPU_COUNT(&cpus)))
        CPU_SET(config->main_cpu % CPU_SETSIZE, &cpus);
    return &cpus;
}

bool dp_config_worker_cpus(const struct dp_config *config, uint32_t ret_cpus[])
{
    const cpu_set_t *allowed = process_cpus(config);
    cpu_set_t used;
    CPU_ZERO(&used);
    CPU_SET(config->main_cpu % CPU_SETSIZE, &used);
    bool shared = false;
    uint32_t cpu = config->main_cpu;
    for (unsigned i = 0; i < config->workers.count; i++) {
        if (config->workers.cpu_count)
            cpu = config->workers.cpus[i];
        else
            do
                cpu = (cpu + 1) % CPU_SETSIZE;
            while (!CPU_ISSET(cpu, allowed));
        ret_cpus[i] = cpu;
        shared |= CPU_ISSET(cpu, &used) != 0;
        CPU_SET(cpu, &used);
    }
    return shared;
}

enum dp_idle dp_config_idle(const struct dp_config *config)
{
    uint32_t cpus[DP_WORKERS_MAX];
    if (config->workers.idle != DP_IDLE_AUTO)
        return config->workers.idle;
    return dp_config_worker_cpus(config, cpus) ? DP_IDLE_YIELD : DP_IDLE_PAUSE;
}

/* The configuration as text: the dump of values, and the documentation of keys. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "dataplane/config.h"
#include "dataplane/config_keys.h"

/* ---- dump ---- */

/* A JSON string is a YAML string. */
static void write_quoted(const char *text, FILE *out)
{
    struct json j;
    json_init(&j);
    json_text(&j, NULL, text);
    fputs(j.text, out);
    json_free(&j);
}

static void write_categories(const uint8_t *field, uint16_t size, bool skips_zero, FILE *out)
{
    const char *separator = "";
    fputs("{", out);
    for (unsigned i = 0; i < RDR_CATEGORIES; i++) {
        uint64_t value = dp_number_get(field + i * size, size);
        if (skips_zero && !value)
            continue;
        fprintf(out, "%s%u: %" PRIu64, separator, i + 1, value);
        separator = ", ";
    }
    fputs("}", out);
}

static void write_cpus(const struct dp_config *config, FILE *out)
{
    fputs("[", out);
    for (unsigned i = 0; i < config->workers.cpu_count; i++)
        fprintf(out, "%s%u", i ? ", " : "", config->workers.cpus[i]);
    fputs("]", out);
}

static void write_section(const struct dp_section *section, const struct dp_config *config, const uint8_t *base,
                          unsigned indent, bool in_list, FILE *out);

static void write_list(const struct dp_section *section, const struct dp_key *key, const struct dp_config *config,
                       unsigned indent, FILE *out)
{
    uint64_t count = dp_number_get((const uint8_t *)config + section->count_offset, sizeof(unsigned));
    fputs(count ? "\n" : " []\n", out);
    for (uint64_t i = 0; i < count; i++)
        write_section(section, config, (const uint8_t *)config + key->offset + i * section->element_size, indent + 2,
                      true, out);
}

static void write_value(const struct dp_key *key, const struct dp_config *config, const uint8_t *field, FILE *out)
{
    switch ((enum dp_key_kind)key->kind) {
    case DP_KEY_NUMBER:
        fprintf(out, "%" PRIu64, dp_number_get(field, key->size));
        break;
    case DP_KEY_SWITCH:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case DP_KEY_CHOICE:
        fputs(key->choices[dp_number_get(field, key->size)], out);
        break;
    case DP_KEY_TEXT:
        write_quoted((const char *)field, out);
        break;
    case DP_KEY_CPUS:
        write_cpus(config, out);
        break;
    case DP_KEY_CATEGORY_NUMBERS:
        write_categories(field, sizeof(uint32_t), false, out);
        break;
    case DP_KEY_CATEGORY_PRIORITY:
        write_categories(field, sizeof(uint8_t), true, out);
        break;
    case DP_KEY_SECTION:
    case DP_KEY_LIST:
        break;
    }
    fputs("\n", out);
}

static void write_section(const struct dp_section *section, const struct dp_config *config, const uint8_t *base,
                          unsigned indent, bool in_list, FILE *out)
{
    for (const struct dp_key *key = section->keys; key->name; key++) {
        bool first = in_list && key == section->keys;
        fprintf(out, "%*s%s%s:", (int)(first ? indent - 2 : indent), "", first ? "- " : "", key->name);
        const struct dp_section *inner = dp_section_of(section, key);
        if (key->kind == DP_KEY_SECTION) {
            fputs("\n", out);
            write_section(inner, config, base, indent + 2, false, out);
        } else if (key->kind == DP_KEY_LIST) {
            write_list(inner, key, config, indent + 2, out);
        } else {
            fputs(" ", out);
            write_value(key, config, base + key->offset, out);
        }
    }
}

void dp_config_dump(const struct dp_config *config, FILE *out)
{
    write_section(&dp_sections[0], config, (const uint8_t *)config, 0, false, out);
}

/* ---- documentation ---- */

static void document_type(const struct dp_key *key, FILE *out)
{
    if (key->kind == DP_KEY_CHOICE) {
        for (const char *const *c = key->choices; *c; c++)
            fprintf(out, "%s`%s`", c == key->choices ? "" : ", ", *c);
        return;
    }
    if (key->kind == DP_KEY_SWITCH)
        fputs("`true`, `false`", out);
    else if (key->kind == DP_KEY_SECTION)
        fputs("a map, see below", out);
    else if (key->kind == DP_KEY_LIST)
        fputs("a list, see below", out);
    else
        fputs(key->expected ? key->expected : "a text", out);
    if (key->kind == DP_KEY_NUMBER && key->max)
        fprintf(out, ", %" PRIu64 " to %" PRIu64, key->min, key->max);
}

static void document_section(const struct dp_section *section, FILE *out)
{
    fprintf(out, "\n## %s%s%s\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            section->path[0] ? "`" : "", section->path[0] ? section->path : "Top of the file",
            section->path[0] ? "`" : "", section->text);
    for (const struct dp_key *key = section->keys; key->name; key++) {
        fprintf(out, "| `%s` | ", key->name);
        document_type(key, out);
        if (key->kind == DP_KEY_SECTION)
            fputs(" | ", out);
        else if (key->fallback)
            fprintf(out, " | `%s`", key->fallback);
        else
            fputs(" | required", out);
        fprintf(out, " | %s |\n", key->text);
    }
}

void dp_config_document(FILE *out)
{
    fputs("# Configuration of `sce run`\n\n"
          "This page is generated from the table of keys in `dataplane/config_keys.c` by `ninja configuration.md`; a "
          "unit "
          "test compares the two.\n\n"
          "One YAML file, read strictly: an unknown key, a key that stands twice, a wrong type or a value out of range "
          "is "
          "refused with `FILE:LINE:COLUMN`, what was expected and the nearest known key; the exit code is 2 and "
          "nothing is "
          "started. Numbers carry their unit in the key's name. Anchors, aliases and tags are not read.\n\n"
          "* `sce run --check-config -c FILE` checks a file and starts nothing.\n"
          "* `sce run --dump-config -c FILE` prints every key with the value it has, in a form that can be read back.\n"
          "* `etc/sce.yaml` is a commented example, `etc/lab-veth.yaml` joins two veth interfaces.\n\n"
          "The smallest file:\n\n"
          "```yaml\n"
          "links:\n"
          "  - name: access\n"
          "    subscriber: 0000:03:00.0\n"
          "    network: 0000:03:00.1\n"
          "```\n",
          out);
    for (const struct dp_section *section = dp_sections; section->path; section++)
        document_section(section, out);
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"

/* One hit a pattern is enough; `.` takes every byte. */
#define SCAN_FLAGS (HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH)

/* Free it with free(). */
static char *expression_of(const char *regex, bool is_prefix)
{
    char *text = NULL;
    if (asprintf(&text, is_prefix ? "^(?:%s)" : "%s", regex) < 0)
        abort();
    return text;
}

bool pack_check_pattern(const char *regex, bool is_prefix, char *error, size_t error_size)
{
    if (regex[0] == '^') {
        snprintf(error, error_size,
                 is_prefix ? "a prefix that starts with ^, expected it without: it is anchored"
                           : "a search that starts with ^, expected \"prefix\" instead");
        return false;
    }
    char *expression = expression_of(regex, is_prefix);
    hs_expr_info_t *info = NULL;
    hs_compile_error_t *why = NULL;
    bool ok = hs_expression_info(expression, SCAN_FLAGS, &info, &why) == HS_SUCCESS;
    if (!ok)
        snprintf(error, error_size, "not a pattern: %s", why->message);
    else if (!info->min_width) {
        snprintf(error, error_size, "the pattern matches no bytes at all, expected one that takes some");
        ok = false;
    }
    hs_free_compile_error(why);
    free(info);
    free(expression);
    return ok;
}

bool pack_applies(const struct pack_rule *rule, unsigned slot, unsigned transport, unsigned side)
{
    bool second = slot == PACK_SLOT_THEN_PREFIX || slot == PACK_SLOT_THEN_SEARCH;
    unsigned first_side = second && rule->then_other ? !side : side;
    return rule->transports & 1u << transport && rule->sides & 1u << first_side;
}

static bool compile_one(const struct pack *pack, uint32_t index, hs_database_t **ret, char *error, size_t error_size)
{
    const struct pack_pattern *p = &pack->patterns[index];
    char *expression = expression_of(p->regex, pack_is_prefix(p->slot));
    unsigned flags = SCAN_FLAGS, id = 0;
    hs_expr_ext_t ext = {.flags = p->within ? HS_EXT_FLAG_MAX_OFFSET : 0, .max_offset = p->within};
    const hs_expr_ext_t *exts = &ext;
    hs_compile_error_t *why = NULL;
    bool ok = hs_compile_ext_multi((const char *const *)&expression, &flags, &id, &exts, 1, HS_MODE_BLOCK, NULL, ret,
                                   &why) == HS_SUCCESS;
    if (!ok)
        snprintf(error, error_size, "%s:%u:%u: the pattern does not compile: %s", p->file ? p->file : pack->name,
                 p->line, p->column, why->message);
    hs_free_compile_error(why);
    free(expression);
    return ok;
}

bool pack_compile(const struct pack *pack, struct pack_databases *ret, char *error, size_t error_size)
{
    pack_databases_init(ret, pack);
    for (uint32_t i = 0; i < ret->count; i++)
        if (!pack->patterns[i].is_plain && !compile_one(pack, i, &ret->database[i], error, error_size)) {
            pack_databases_free(ret);
            return false;
        }
    return true;
}

void pack_databases_init(struct pack_databases *databases, const struct pack *pack)
{
    *databases = (struct pack_databases){0};
    for (uint32_t i = 0; i < pack->pattern_count; i++)
        if (!pack->patterns[i].is_plain)
            databases->count = pack->pattern_count;
    databases->database = databases->count ? calloc(databases->count, sizeof *databases->database) : NULL;
    if (databases->count && !databases->database)
        abort();
}

void pack_databases_free(struct pack_databases *databases)
{
    for (uint32_t i = 0; i < databases->count; i++)
        hs_free_database(databases->database[i]);
    free(databases->database);
    *databases = (struct pack_databases){0};
}

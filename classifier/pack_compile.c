#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"

/* One hit a pattern is enough; `.` takes every byte. */
#define SCAN_FLAGS (HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH)

static bool is_prefix_slot(unsigned slot)
{
    return slot == PACK_SLOT_PREFIX || slot == PACK_SLOT_THEN_PREFIX;
}

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

static bool fail_compile(const struct pack *pack, const unsigned *ids, const hs_compile_error_t *why, char *error,
                         size_t error_size)
{
    if (why->expression < 0) {
        snprintf(error, error_size, "the patterns of pack \"%s\" do not compile: %s", pack->name, why->message);
        return false;
    }
    const struct pack_pattern *p = &pack->patterns[ids[why->expression]];
    snprintf(error, error_size, "%s:%u:%u: the pattern does not compile: %s", p->file ? p->file : pack->name, p->line,
             p->column, why->message);
    return false;
}

static bool compile_one(const struct pack *pack, unsigned transport, unsigned side, hs_database_t **ret, char *error,
                        size_t error_size)
{
    uint32_t limit = pack->pattern_count, count = 0;
    char **expressions = calloc(limit + 1, sizeof *expressions);
    unsigned *flags = calloc(limit + 1, sizeof *flags), *ids = calloc(limit + 1, sizeof *ids);
    hs_expr_ext_t *ext = calloc(limit + 1, sizeof *ext);
    const hs_expr_ext_t **exts = calloc(limit + 1, sizeof *exts);
    if (!expressions || !flags || !ids || !ext || !exts)
        abort();
    for (uint32_t i = 0; i < limit; i++) {
        const struct pack_pattern *p = &pack->patterns[i];
        if (p->is_plain || !pack_applies(&pack->rules[p->rule], p->slot, transport, side))
            continue;
        expressions[count] = expression_of(p->regex, is_prefix_slot(p->slot));
        flags[count] = SCAN_FLAGS;
        ids[count] = i;
        ext[count] = (hs_expr_ext_t){.flags = p->within ? HS_EXT_FLAG_MAX_OFFSET : 0, .max_offset = p->within};
        exts[count] = &ext[count];
        count++;
    }
    hs_compile_error_t *why = NULL;
    *ret = NULL;
    bool ok = !count || hs_compile_ext_multi((const char *const *)expressions, flags, ids, exts, count, HS_MODE_BLOCK,
                                             NULL, ret, &why) == HS_SUCCESS;
    if (!ok)
        fail_compile(pack, ids, why, error, error_size);
    hs_free_compile_error(why);
    for (uint32_t i = 0; i < count; i++)
        free(expressions[i]);
    free(expressions);
    free(flags);
    free(ids);
    free(ext);
    free(exts);
    return ok;
}

bool pack_compile(const struct pack *pack, struct pack_databases *ret, char *error, size_t error_size)
{
    memset(ret, 0, sizeof *ret);
    for (unsigned t = 0; t < PACK_TRANSPORTS; t++)
        for (unsigned side = 0; side < PACK_SIDES; side++)
            if (!compile_one(pack, t, side, &ret->database[t][side], error, error_size)) {
                pack_databases_free(ret);
                return false;
            }
    return true;
}

void pack_databases_free(struct pack_databases *databases)
{
    for (unsigned t = 0; t < PACK_TRANSPORTS; t++)
        for (unsigned side = 0; side < PACK_SIDES; side++) {
            hs_free_database(databases->database[t][side]);
            databases->database[t][side] = NULL;
        }
}

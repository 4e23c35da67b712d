#include "tools/pack_diff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "classifier/pack.h"

enum change { ADDED, REMOVED, RENAMED, CHANGED, CHANGES };
static const char *const change_names[] = {"added", "removed", "renamed", "changed"};

/* The two lists that packs have, sorted by id each. */
struct list {
    const char *kind;
    uint32_t (*count)(const struct pack *pack);
    uint32_t (*id)(const struct pack *pack, uint32_t index);
    const char *(*name)(const struct pack *pack, uint32_t index);
    char *(*text)(const struct pack *pack, uint32_t index);
};

static uint32_t protocol_count(const struct pack *pack)
{
    return pack->protocol_count;
}

static uint32_t protocol_id(const struct pack *pack, uint32_t index)
{
    return pack->protocols[index].info.id;
}

static const char *protocol_name(const struct pack *pack, uint32_t index)
{
    return pack->protocols[index].info.name;
}

static uint32_t signature_count(const struct pack *pack)
{
    return pack->signature_count;
}

static uint32_t signature_id(const struct pack *pack, uint32_t index)
{
    return pack->signatures[index].id;
}

static const char *signature_name(const struct pack *pack, uint32_t index)
{
    return pack->signatures[index].name;
}

static const struct list lists[] = {
    {"protocol", protocol_count, protocol_id, protocol_name, pack_entry_text},
    {"signature", signature_count, signature_id, signature_name, pack_signature_text},
};

struct diff {
    bool as_json;
    struct json json;
    uint32_t sums[2][CHANGES];
};

static void say(struct diff *d, unsigned list, enum change change, uint32_t id, const char *old_name,
                const char *new_name)
{
    d->sums[list][change]++;
    if (!d->as_json) {
        printf("%-8s %-9s %u  %s", change_names[change], lists[list].kind, id, old_name ? old_name : new_name);
        printf(change == RENAMED ? " -> %s\n" : "\n", new_name);
        return;
    }
    json_object_begin(&d->json, NULL);
    json_text(&d->json, "change", change_names[change]);
    json_text(&d->json, "kind", lists[list].kind);
    json_u64(&d->json, "id", id);
    json_text(&d->json, "name", new_name ? new_name : old_name);
    if (change == RENAMED)
        json_text(&d->json, "old_name", old_name);
    json_object_end(&d->json);
    json_line(&d->json, stdout);
}

/* One id that both have. */
static void compare_one(struct diff *d, unsigned list, const struct pack *a, uint32_t i, const struct pack *b,
                        uint32_t k)
{
    const struct list *l = &lists[list];
    char *old_text = l->text(a, i), *new_text = l->text(b, k);
    const char *old_name = l->name(a, i), *new_name = l->name(b, k);
    if (strcmp(old_name, new_name))
        say(d, list, RENAMED, l->id(a, i), old_name, new_name);
    if (strcmp(old_text, new_text))
        say(d, list, CHANGED, l->id(a, i), old_name, new_name);
    free(old_text);
    free(new_text);
}

static void compare_lists(struct diff *d, unsigned list, const struct pack *a, const struct pack *b)
{
    const struct list *l = &lists[list];
    uint32_t i = 1, k = 1;
    while (i < l->count(a) || k < l->count(b)) {
        bool old_is_next = k >= l->count(b) || (i < l->count(a) && l->id(a, i) < l->id(b, k));
        bool new_is_next = i >= l->count(a) || (k < l->count(b) && l->id(b, k) < l->id(a, i));
        if (old_is_next) {
            say(d, list, REMOVED, l->id(a, i), l->name(a, i), NULL);
            i++;
        } else if (new_is_next) {
            say(d, list, ADDED, l->id(b, k), NULL, l->name(b, k));
            k++;
        } else {
            compare_one(d, list, a, i++, b, k++);
        }
    }
}

uint32_t pack_diff_print(const struct pack *a, const struct pack *b, bool as_json)
{
    struct diff d = {.as_json = as_json};
    uint32_t total = 0;
    json_init(&d.json);
    for (unsigned list = 0; list < 2; list++) {

        compare_lists(&d, list, a, b);
    }
    if (as_json)
        json_object_begin(&d.json, NULL);
    for (unsigned list = 0; list < 2; list++)
        for (unsigned change = 0; change < CHANGES; change++) {
            char key[40];
            snprintf(key, sizeof key, "%ss_%s", lists[list].kind, change_names[change]);
            total += d.sums[list][change];
            if (as_json)
                json_u64(&d.json, key, d.sums[list][change]);
            else
                printf("%s%u %s", list || change ? ", " : "", d.sums[list][change], key);
        }
    if (as_json) {
        json_object_end(&d.json);
        json_line(&d.json, stdout);
    } else {
        printf("\n");
    }
    json_free(&d.json);
    return total;
}

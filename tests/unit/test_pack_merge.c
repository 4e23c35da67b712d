/* Sets of a user's own signatures: merged, refused, renumbered, taken out again. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classifier/classifier.h"
#include "classifier/pack.h"

#define BASE                                                                                                           \
    "pack: {name: base, version: '1'}\nfamily: mail\nprotocols:\n"                                                     \
    "  - id: 100\n    name: A\n    ports: [tcp/25]\n    signatures:\n"                                                 \
    "      - {id: 10001, prefix: 'AAAA', length: '4..'}\n      - {id: 10002, prefix: 'AAAB'}\n"                        \
    "applications:\n  - {id: 200, name: App, parents: [A], hosts: [app.example]}\n"
#define SET                                                                                                            \
    "pack: {name: acme, version: '7'}\nprotocols:\n"                                                                   \
    "  - id: 100\n    name: A\n    ports: [tcp/26]\n    signatures: [{id: 10001, prefix: 'ACME'}]\n"                   \
    "  - id: 200\n    name: Mine\n    family: web\n    parents: [A]\n    signatures: [{id: 10002, prefix: 'MINE'}]\n"  \
    "applications:\n  - {id: 200, name: App, hosts: [app.acme.example]}\n"

static char folder[64], base[96], set[96], third[96], error[1024];

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    cr_assert(out);
    fputs(text, out);
    fclose(out);
}

static void make_files(void)
{
    snprintf(folder, sizeof folder, "/tmp/test_pack_merge.XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(base, sizeof base, "%s/base.yaml", folder);
    snprintf(set, sizeof set, "%s/set.yaml", folder);
    snprintf(third, sizeof third, "%s/third", folder);
    write_file(base, BASE);
    write_file(set, SET);
}

static void remove_files(void)
{
    unlink(base);
    unlink(set);
    unlink(third);
    rmdir(folder);
}

TestSuite(pack_merge, .init = make_files, .fini = remove_files);

static struct pack *merge(const char *a, const char *b, bool renumbers, char **ret_report)
{
    const char *paths[] = {a, b};
    return pack_merge(paths, 2, renumbers, ret_report, error, sizeof error);
}

static struct pack *merge_or_fail(const char *a, const char *b, bool renumbers)
{
    char *report;
    struct pack *pack = merge(a, b, renumbers, &report);
    cr_assert(pack, "%s", error);
    free(report);
    return pack;
}

static const struct pack_signature *signature_of(const struct pack *pack, uint32_t id)
{
    for (uint32_t i = 1; i < pack->signature_count; i++)
        if (pack->signatures[i].id == id)
            return &pack->signatures[i];
    cr_assert_fail("no signature %u", id);
    return NULL;
}

static void assert_same_digest(const struct pack *a, const struct pack *b)
{
    cr_assert_arr_eq(a->sha256, b->sha256, sizeof a->sha256);
}

Test(pack_merge, overlaps_are_refused_all_with_their_places)
{
    char *report, expected[1024];
    cr_assert_not(merge(base, set, false, &report));
    cr_assert_str_eq(error, "3 ids overlap, expected ids of their own: change them, or merge with --renumber");
    snprintf(expected, sizeof expected,
             "%s:7:9: id 200 is taken by %s:11\n%s:6:23: signature id 10001 is taken by %s:8\n"
             "%s:11:23: signature id 10002 is taken by %s:9\n",
             set, base, set, base, set, base);
    cr_assert_str_eq(report, expected);
    free(report);
}

Test(pack_merge, renumbering_moves_the_sets_ids_alone)
{
    char *report, expected[1024];
    struct pack *pack = merge(base, set, true, &report);
    cr_assert(pack, "%s", error);
    snprintf(expected, sizeof expected,
             "%s:7:9: id 200 is 900000 now\n%s:6:23: signature id 10001 is 3000000 now\n"
             "%s:11:23: signature id 10002 is 3000001 now\n",
             set, set, set);
    cr_assert_str_eq(report, expected);
    cr_assert_str_eq(pack->name, "base");
    cr_assert_str_eq(pack->version, "1+acme-7");
    static const struct {
        uint32_t id, protocol;
        uint8_t origin;
    } wanted[] = {{10001, 100, 0}, {10002, 100, 0}, {3000000, 100, 1}, {3000001, 900000, 1}};
    for (unsigned i = 0; i < 4; i++) {
        const struct pack_signature *s = signature_of(pack, wanted[i].id);
        cr_assert_eq(pack->protocols[s->protocol].info.id, wanted[i].protocol);
        cr_assert_eq(s->origin, wanted[i].origin);
    }
    cr_assert_str_eq(pack->protocols[signature_of(pack, 10001)->protocol].info.ports, "tcp/25,tcp/26");
    cr_assert_eq(pack->host_count, 2);
    cr_assert_eq(pack->hosts[0].application, pack->hosts[1].application);
    pack_free(pack);
    free(report);
}

static void write_text(const char *path, char *text)
{
    write_file(path, text);
    free(text);
}

Test(pack_merge, what_is_extracted_builds_the_same_pack)
{
    size_t size;
    struct pack *merged = merge_or_fail(base, set, true), *own = pack_read(base, error, sizeof error), *again;
    write_text(third, pack_text(merged, &size));
    cr_assert(again = pack_read(third, error, sizeof error), "%s", error);
    assert_same_digest(merged, again);
    cr_assert_eq(again->origin_count, 2);
    pack_free(again);
    /* the pack's own part is the pack as it was */
    write_text(third, pack_text_of_origin(merged, 0, &size));
    cr_assert(again = pack_read(third, error, sizeof error), "%s", error);
    assert_same_digest(own, again);
    pack_free(again);
    /* the set's part, with its new ids, merges without a clash to the same */
    write_text(third, pack_text_of_origin(merged, 1, &size));
    again = merge_or_fail(base, third, false);
    assert_same_digest(merged, again);
    pack_free(again);
    pack_free(own);
    pack_free(merged);
}

Test(pack_merge, a_compiled_pack_is_merged_like_its_sources)
{
    struct pack_databases databases;
    struct pack *own = pack_read(base, error, sizeof error), *merged = merge_or_fail(base, set, true);
    cr_assert(pack_compile(own, &databases, error, sizeof error));
    cr_assert(pack_file_write(third, own, &databases, error, sizeof error), "%s", error);
    pack_databases_free(&databases);
    struct pack *again = merge_or_fail(third, set, true);
    assert_same_digest(merged, again);
    /* origins survive the file */
    cr_assert(pack_compile(again, &databases, error, sizeof error));
    cr_assert(pack_file_write(third, again, &databases, error, sizeof error), "%s", error);
    pack_databases_free(&databases);
    struct pack *read = pack_file_read(third, &databases, error, sizeof error);
    cr_assert(read, "%s", error);
    size_t size;
    char *a = pack_text(again, &size), *b = pack_text(read, &size);
    cr_assert_str_eq(a, b);
    free(a);
    free(b);
    pack_databases_free(&databases);
    pack_free(read);
    pack_free(again);
    pack_free(merged);
    pack_free(own);
}

Test(pack_merge, what_a_set_must_not_do_is_refused_with_its_place)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"protocols:\n  - id: 100\n    name: A\n    aliases: [B]\n", "4:5: aliases of an entry that another set"},
        {"protocols:\n  - id: 300\n    name: X\n", "2:5: no family"},
        {"family: web\nprotocols:\n  - id: 300\n    name: A\n", "4:11: the name \"A\" is taken by \"A\""},
        {"applications:\n  - id: 200\n    name: App\n    hosts: [app.example]\n",
         "4:13: the host \"app.example\" a second"},
        {"protocols:\n  - id: 100\n    name: A\n    ports: [tcp/25]\n", "4:13: tcp/25 is taken by \"A\""},
        {"protocols:\n  - id: 100\n    name: A\n    signatures: [{id: 1, prefix: '('}]\n", "4:34: not a pattern"},
        {"protocols:\n  - {id: 100, name: A}\n  - {id: 100, name: A}\n", NULL},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *report;
        write_file(set, cases[i].text);
        cr_assert_not(merge(base, set, false, &report), "case %u", i);
        if (cases[i].error) {
            cr_assert_eq(strncmp(error, set, strlen(set)), 0, "%s", error);
            cr_assert(strstr(error, cases[i].error), "case %u: %s", i, error);
        } else {
            cr_assert(report && strstr(report, ":3:10: id 100 is taken by"), "%s", report);
        }
        free(report);
    }
}

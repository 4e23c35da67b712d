#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classifier/classifier.h"
#include "classifier/pack.h"
#include "classifier/plain.h"

#define SOURCES SOURCE_ROOT "/etc/pack"

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/test_pack.XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(pack, .init = make_folder, .fini = remove_folder);

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(path_of(name), "we");
    cr_assert(out);
    fputs(text, out);
    fclose(out);
}

#define HEAD "family: web\nprotocols:\n  - id: 100\n    name: A\n"

Test(pack, each_error_names_its_place)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"family: wab\n", "1:9: family: \"wab\", expected one of"},
        {"protocols:\n  - id: 100\n    name: A\n", "2:5: no family, expected \"family\" here or at the top"},
        {HEAD "    port: [tcp/1]\n", "5:5: \"port\" is no key of a protocol, did you mean \"ports\"?"},
        {HEAD "    ports: [tcp/70000]\n", "5:13: \"70000\", expected N or N..M, numbers up to 65535"},
        {HEAD "    ports: [tpc/1]\n", "5:13: \"tpc/1\", expected tcp/N or udp/N"},
        {HEAD "    aliases: [B, b]\n", "5:18: the name \"b\" is taken by \"A\", expected another"},
        {HEAD "  - id: 100\n    name: B\n", "5:9: id 100 is taken by \"A\", expected another"},
        {HEAD "    parents: [C]\n", "5:15: \"C\" is no entry of the pack"},
        {"family: web\nprotocols:\n  - id: 99\n    name: A\n", "3:9: id: 99, expected a whole number from 100"},
        {HEAD "    signatures:\n      - prefix: 'x'\n", "6:9: a signature without \"id\", expected the key"},
        {HEAD "    signatures:\n      - id: 1\n", "6:9: no pattern, expected \"prefix\" or \"search\""},
        {HEAD "    signatures:\n      - id: 1\n        prefix: '^x'\n", "7:17: a prefix that starts with ^"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: '(x'\n", "7:17: not a pattern: "},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x*'\n", "7:17: the pattern matches no bytes at all"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        inspector: tsl\n",
         "8:20: inspector: \"tsl\", expected one that this program has"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n      - id: 1\n        prefix: 'y'\n",
         "8:13: signature id 1 a second time"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        length: 5..3\n",
         "8:17: \"5..3\", expected N, N.. or N..M"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        bytes: [{at: 0, hex: 'zz'}]\n",
         "8:30: hex: \"zz\", expected pairs of hexadecimal digits"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        then: {from: same, length: 4}\n",
         "8:15: a second packet of the same side, expected it with transport: udp"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        then: {from: other}\n",
         "8:15: a second packet without conditions"},
        {HEAD
         "    signatures:\n      - id: 1\n        prefix: 'x'\n        then: {from: other, or_none: true, length: 4}\n",
         "8:15: or_none, expected it with from: same only"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        later: true\n",
         "6:9: later, expected it with \"over\", without \"inspector\""},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        chain: {at: 0, size: 2, count: 2}\n",
         "8:16: a chain, expected it in a signature of TCP from any side with \"midflow\""},
        {HEAD "    signatures:\n      - id: 1\n        midflow: true\n        prefix: 'x+'\n"
              "        chain: {at: 0, size: 2, count: 2}\n",
         "9:16: a chain, expected it in a signature of TCP from any side with \"midflow\""},
        {HEAD "    signatures:\n      - id: 1\n        midflow: true\n        prefix: 'x'\n"
              "        chain: {at: 0, size: 2, count: 17}\n",
         "9:40: count: 17, expected a whole number from 1 to 16"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        fields: [{at: 0, size: 9, equals: 1}]\n",
         "8:32: size: 9, expected a whole number from 1 to 8"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        over: A\n",
         "8:15: over, expected it in signatures of applications only"},
        {HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n        examples: ['\\q']\n",
         "8:20: not a payload"},
        {"family: web\napplications:\n  - id: 100\n    name: A\n    hosts: [.x.com]\n",
         "5:13: \".x.com\", expected a host suffix"},
        {"family: web\napplications:\n  - id: 100\n    name: A\n    hosts: [x.com, x.com]\n",
         "5:20: the host \"x.com\" a second time"},
        {"family: web\napplications:\n  - id: 100\n    name: A\n    signatures:\n      - id: 1\n        prefix: 'x'\n",
         "6:9: a signature of an application without \"over\""},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char error[512] = "", expected[256];
        write_file("a.yaml", cases[i].text);
        struct pack *pack = pack_read(folder, error, sizeof error);
        cr_expect_null(pack, "case %u was taken", i);
        pack_free(pack);
        snprintf(expected, sizeof expected, "%s/a.yaml:%s", folder, cases[i].error);
        cr_expect_eq(strncmp(error, expected, strlen(expected)), 0, "case %u: %s\n     not %s", i, error, expected);
    }
}

static void digest_of(char *ret_hex)
{
    char error[512];
    struct pack *pack = pack_read(folder, error, sizeof error);
    cr_assert(pack, "%s", error);
    for (unsigned i = 0; i < 32; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", pack->sha256[i]);
    pack_free(pack);
}

Test(pack, digest_is_of_what_the_sources_mean)
{
    char one[65], other[65], changed[65];
    write_file("a.yaml", HEAD "    signatures:\n      - id: 1\n        prefix: 'x'\n  - id: 101\n    name: B\n");
    digest_of(one);
    unlink(path_of("a.yaml"));
    write_file("z.yaml", "# moved\nprotocols:\n  - name: 'A'\n    family: web\n    id: 100\n    signatures:\n"
                         "      - {prefix: ['x'], id: 1, examples: ['xyz']}\n");
    write_file("b.yaml", "family: web\n\nprotocols: [{name: B, id: 101}]\n");
    digest_of(other);
    cr_assert_str_eq(one, other);
    write_file("b.yaml", "family: web\n\nprotocols: [{name: B, id: 102}]\n");
    digest_of(changed);
    cr_assert_str_neq(one, changed);
}

Test(pack, canonical_text_of_the_shipped_pack_reads_as_the_same_pack)
{
    char error[512], digest[65], *text;
    size_t size;
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    text = pack_text(pack, &size);
    write_file("a.yaml", text);
    digest_of(digest);
    for (unsigned i = 0; i < 32; i++) {
        char byte[3];
        snprintf(byte, sizeof byte, "%02x", pack->sha256[i]);
        cr_assert_eq(strncmp(digest + 2 * i, byte, 2), 0);
    }
    free(text);
    pack_free(pack);
}

static uint8_t *read_bytes(const char *path, size_t *ret_size)
{
    FILE *in = fopen(path, "rbe");
    cr_assert(in);
    uint8_t *bytes = malloc(1 << 20);
    *ret_size = fread(bytes, 1, 1 << 20, in);
    fclose(in);
    return bytes;
}

Test(pack, a_compiled_file_is_read_back_whole_or_refused)
{
    char error[512];
    write_file("a.yaml", HEAD "    ports: [tcp/1, udp/2..3]\n    aliases: [AA]\n    signatures:\n      - id: 7\n"
                              "        name: N\n        prefix: ['x+xy', 'y']\n        length: [4, '9..']\n"
                              "        fields: [{at: 1, size: 2, min: 3, max: 9}]\n");
    struct pack *pack = pack_read(folder, error, sizeof error);
    cr_assert(pack, "%s", error);
    struct pack_databases databases;
    cr_assert(pack_compile(pack, &databases, error, sizeof error));
    cr_assert(pack_file_write(path_of("p"), pack, &databases, error, sizeof error), "%s", error);
    pack_databases_free(&databases);
    struct pack *again = pack_file_read(path_of("p"), &databases, error, sizeof error);
    cr_assert(again, "%s", error);
    size_t size, other_size;
    char *text = pack_text(pack, &size), *other = pack_text(again, &other_size);
    cr_assert_str_eq(text, other);
    cr_assert_eq(databases.count, pack->pattern_count);
    for (uint32_t i = 0; i < databases.count; i++)
        cr_assert_eq(!databases.database[i], pack->patterns[i].is_plain);
    pack_databases_free(&databases);
    pack_free(again);
    pack_free(pack);
    free(text);
    free(other);

    uint8_t *bytes = read_bytes(path_of("p"), &size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 0x10;
        again = pack_file_decode("p", bytes, size, &databases, error, sizeof error);
        cr_assert_null(again, "byte %zu changed and taken", i);
        bytes[i] ^= 0x10;
        again = pack_file_decode("p", bytes, i, &databases, error, sizeof error);
        cr_assert_null(again, "cut at %zu and taken", i);
    }
    bytes[60] ^= 1;
    pack_file_decode("p", bytes, size, &databases, error, sizeof error);
    cr_assert_str_eq(error, "p: compiled pack is damaged (its digest differs): build it anew with sce pack build");
    free(bytes);
}

Test(pack, a_folder_that_cannot_be_cached_still_loads)
{
    char error[512];
    struct cl_options options;
    cl_options_init(&options);
    write_file("a.yaml", HEAD "    signatures:\n      - id: 7\n        prefix: 'x+xy'\n");
    options.pack_path = folder;
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
    struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    cl_engine_free(engine);
}

Test(pack, a_cached_database_is_used_and_a_broken_one_is_not)
{
    char error[512], command[256];
    struct cl_options options;
    cl_options_init(&options);
    mkdir(path_of("src"), 0700);
    write_file("src/a.yaml", HEAD "    signatures:\n      - id: 7\n        prefix: 'x+xy'\n");
    char source[128];
    snprintf(source, sizeof source, "%s", path_of("src"));
    options.pack_path = source;
    setenv("XDG_CACHE_HOME", folder, 1);
    for (unsigned round = 0; round < 3; round++) {
        struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
        cr_assert(engine, "round %u: %s", round, error);
        cl_engine_free(engine);
        snprintf(command, sizeof command, "test $(ls %s/opensce/*.pack | wc -l) = 1", folder);
        cr_assert_eq(system(command), 0, "round %u", round);
        snprintf(command, sizeof command, "echo garbage > $(ls %s/opensce/*.pack)", folder);
        if (round == 1)
            cr_assert_eq(system(command), 0);
    }
    snprintf(command, sizeof command, "grep -q OPENSCEP %s/opensce/*.pack", folder);
    cr_assert_eq(system(command), 0, "the broken file was not written anew");
}

/* ---- plain patterns are matched as Hyperscan would ---- */

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context)
{
    (void)id, (void)from, (void)to, (void)flags;
    *(bool *)context = true;
    return 1;
}

static bool hyperscan_takes(const char *regex, const uint8_t *bytes, uint32_t size)
{
    char expression[4096];
    hs_database_t *db = NULL;
    hs_scratch_t *scratch = NULL;
    hs_compile_error_t *why = NULL;
    bool is_hit = false;
    snprintf(expression, sizeof expression, "^(?:%s)", regex);
    cr_assert_eq(hs_compile(expression, HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH, HS_MODE_BLOCK, NULL, &db, &why), 0);
    cr_assert_eq(hs_alloc_scratch(db, &scratch), 0);
    hs_scan(db, (const char *)bytes, size, 0, scratch, on_match, &is_hit);
    hs_free_scratch(scratch);
    hs_free_database(db);
    return is_hit;
}

/* Whether a row holds that says all of the pattern, or any row at all. */
static bool table_takes(const struct plain_table *t, uint32_t pattern, bool is_whole, const uint8_t *bytes,
                        uint32_t size)
{
    for (uint32_t i = 0; i < t->row_count; i++)
        if (t->rows[i].pattern == pattern && !(is_whole && t->rows[i].is_partial) &&
            plain_holds(t, &t->rows[i], bytes, size))
            return true;
    return false;
}

/* Bytes that the row takes, with what may be repeated up to three times more. */
static uint32_t bytes_for(const struct plain_table *t, const struct plain_row *row, uint8_t *ret)
{
    uint32_t size = 0;
    for (unsigned i = 0; i < row->length; i++)
        for (unsigned more = 1u + (unsigned)rand() % (row->more[i] < 3 ? row->more[i] + 1u : 4u); more > 0;
             more--, size++)
            do
                ret[size] = (uint8_t)rand();
            while (!plain_has(t, row->sets[i], ret[size]));
    return size;
}

Test(pack, what_is_plain_and_what_is_not)
{
    static const char *const plain[] = {"a",
                                        "\\x05\\x64[\\x05-\\xff].",
                                        "(?:ab|cd)e",
                                        "a?b",
                                        "(?:ab)?c",
                                        "[^a-z].{3}",
                                        "a|bc",
                                        "\\[\\]\\.\\|",
                                        "(?:a|b(?:c|d)?)[]\\]-]",
                                        "a*",
                                        "a+b",
                                        "a{1,3}b",
                                        "a{2,}[^a]",
                                        "(?i)a[^b]",
                                        "\\d",
                                        "\\s*<"};
    static const char *const other[] = {"a$",       "(ab)", "(?:a",    "[a",         "\\b",     "(?:ab)+",
                                        ".{60}",    "a*ab", "[ab]+bc", "a{1,3}a?b",  "a(?i)bc", "[\\d]a",
                                        "(?:a?)+b", "a+?b", "a++b",    "a{300,400}b"};
    for (unsigned i = 0; i < sizeof plain / sizeof *plain - 1; i++)
        cr_expect(plain_fits(plain[i]), "%s", plain[i]);
    for (unsigned i = 0; i < sizeof other / sizeof *other; i++)
        cr_expect_not(plain_fits(other[i]), "%s", other[i]);
}

/* A row that says all of a pattern never says more than Hyperscan, and rows together never less. */
Test(pack, rows_agree_with_hyperscan, .timeout = 120)
{
    char error[512];
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    struct plain_table t;
    plain_build(&t, pack, false);
    unsigned compared = 0, hits = 0, repeats = 0, partial = 0;
    srand(1);
    for (uint32_t i = 0; i < t.row_count; i += 5) {
        const struct plain_row *row = &t.rows[i];
        const char *regex = pack->patterns[row->pattern].regex;
        uint8_t bytes[4 * PLAIN_MAX_BYTES + 1];
        uint32_t whole = bytes_for(&t, row, bytes);
        repeats += row->repeats;
        partial += row->is_partial;
        for (unsigned change = 0; change < 4; change++) {
            uint32_t size = whole - (change == 3);
            if (change == 1 || change == 2)
                bytes[(unsigned)rand() % whole] ^= (uint8_t)(1 + rand() % 255);
            if (!size)
                continue;
            bool expected = hyperscan_takes(regex, bytes, size);
            cr_assert(!expected || table_takes(&t, row->pattern, false, bytes, size), "%s, change %u", regex, change);
            cr_assert(expected || !table_takes(&t, row->pattern, true, bytes, size), "%s, change %u", regex, change);
            compared++;
            hits += expected;
        }
    }
    cr_assert_gt(compared, 500);
    cr_assert_gt(hits, compared / 5);
    cr_assert_gt(repeats, 50);
    cr_assert_gt(partial, 5);
    plain_free(&t);
    pack_free(pack);
}

/* ---- every signature against everybody's examples ---- */

/* Signatures for the middle of a flow are tried in flows whose beginning was not seen. */
static bool is_midflow(const struct pack *pack, cl_signature signature)
{
    for (uint32_t i = 0; i < pack->rule_count; i++)
        if (pack->rules[i].signature == signature)
            return pack->rules[i].midflow;
    return false;
}

static void play(const struct cl_engine *engine, struct cl_worker *worker, const struct pack_example *e,
                 bool started_before, struct cl_verdict *verdict)
{
    struct cl_state state = {{0}};
    struct cl_info info = {.size_bytes = {0}};
    enum cl_step step = CL_UNDECIDED;
    uint16_t packets[2] = {0, 0};
    for (unsigned i = 0; i < e->packet_count && step != CL_DONE; i++) {
        uint8_t side = e->packet[i].side;
        packets[side]++;
        struct cl_packet p = {.bytes = e->packet[i].bytes,
                              .size_bytes = e->packet[i].size_bytes,
                              .ip_proto = e->transport == PACK_TCP ? 6 : 17,
                              .from_server = side,
                              .client_port = e->client_port,
                              .server_port = e->server_port,
                              .payload_packets = {packets[0], packets[1]},
                              .started_before = started_before};
        step = cl_inspect(worker, &state, &p, verdict, &info);
    }
    if (step == CL_UNDECIDED)
        cl_conclude(engine, &state, e->transport == PACK_TCP ? 6 : 17, e->client_port, e->server_port, true, verdict);
}

Test(pack, every_example_is_told_as_its_own_protocol_and_no_other, .timeout = 60)
{
    char error[512];
    struct cl_options options;
    cl_options_init(&options);
    options.inspectors_off = true;
    struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    struct cl_worker *worker = cl_worker_create(engine);
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    cr_assert_eq(memcmp(pack->sha256, cl_pack_info(engine)->sha256, 32), 0, "the built pack is not of these sources");
    unsigned count = 0;
    for (const struct pack_example *e = pack->examples; e; e = e->next, count++) {
        struct cl_verdict verdict = {0};
        const struct pack_signature *s = &pack->signatures[e->signature];
        play(engine, worker, e, is_midflow(pack, e->signature), &verdict);
        const char *told = cl_protocol_get(engine, verdict.protocol)->name;
        const char *expected = pack->protocols[s->over ? s->over : s->protocol].info.name;
        cr_expect_str_eq(told, expected, "%s:%u: %s told as %s by %s", e->file, e->line, expected, told,
                         cl_signature_name(engine, verdict.signature));
        if (s->over)
            cr_expect_eq(verdict.application, s->protocol, "%s:%u: the application is not told", e->file, e->line);
    }
    cr_assert_gt(count, 300);
    pack_free(pack);
    cl_worker_free(worker);
    cl_engine_free(engine);
}

Test(pack, most_protocols_with_signatures_have_an_example)
{
    char error[512];
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    unsigned with = 0, told = 0;
    for (uint32_t i = 1; i < pack->protocol_count; i++) {
        bool has_signature = false, has_example = false;
        for (uint32_t r = 0; r < pack->rule_count; r++)
            has_signature |= pack->signatures[pack->rules[r].signature].protocol == i;
        for (const struct pack_example *e = pack->examples; e; e = e->next)
            has_example |= pack->signatures[e->signature].protocol == i;
        told += has_signature;
        with += has_signature && has_example;
    }
    cr_assert_gt(told, 200);
    cr_assert_gt(with * 100, told * 90, "%u of %u", with, told);
    pack_free(pack);
}

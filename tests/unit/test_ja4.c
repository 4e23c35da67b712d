/* JA4 against the values of its public description. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classifier/ja4.h"
#include "classifier/pack.h"

struct bytes {
    uint8_t b[4096];
    size_t size;
};

static void put(struct bytes *to, uint64_t value, unsigned size)
{
    for (unsigned i = size; i > 0; i--)
        to->b[to->size++] = (uint8_t)(value >> 8 * (i - 1));
}

static void put_all(struct bytes *to, const struct bytes *from)
{
    memcpy(to->b + to->size, from->b, from->size);
    to->size += from->size;
}

/* "1301,1302" as numbers of two bytes. */
static struct bytes list_of(const char *text)
{
    struct bytes list = {.size = 0};
    for (const char *p = text; *p; p += p[4] ? 5 : 4)
        put(&list, strtoul(p, NULL, 16), 2);
    return list;
}

struct hello {
    uint16_t version;
    const char *ciphers, *extensions, *algorithms, *versions;
    const char *alpn; /* the first value; NULL = "h2" */
    size_t alpn_size;
    bool dtls;
};

static struct bytes body_of(const struct hello *h, uint16_t type)
{
    struct bytes body = {.size = 0};
    if (type == 0x0010) {
        size_t size = h->alpn ? h->alpn_size : 2;
        put(&body, size + 1, 2);
        put(&body, size, 1);
        memcpy(body.b + body.size, h->alpn ? h->alpn : "h2", size);
        body.size += size;
    } else if (type == 0x000d || type == 0x002b) {
        struct bytes list = list_of(type == 0x000d ? h->algorithms : h->versions);
        put(&body, list.size, type == 0x000d ? 2 : 1);
        put_all(&body, &list);
    }
    return body;
}

static struct bytes make(const struct hello *h)
{
    struct bytes out = {.size = 0}, ciphers = list_of(h->ciphers), types = list_of(h->extensions), all = {.size = 0};
    put(&out, h->version, 2);
    out.size += 32;
    put(&out, 0, 1);
    if (h->dtls)
        put(&out, 0, 1);
    put(&out, ciphers.size, 2);
    put_all(&out, &ciphers);
    put(&out, 0x0100, 2);
    for (size_t i = 0; i < types.size; i += 2) {
        uint16_t type = (uint16_t)(types.b[i] << 8 | types.b[i + 1]);
        struct bytes body = body_of(h, type);
        put(&all, type, 2);
        put(&all, body.size, 2);
        put_all(&all, &body);
    }
    put(&out, all.size, 2);
    put_all(&out, &all);
    return out;
}

static const char *ja4_of(const struct hello *h)
{
    static char text[JA4_BYTES + 1];
    struct bytes bytes = make(h);
    return ja4_of_hello(cursor_of(bytes.b, bytes.size), h->dtls, text) ? text : "none";
}

/* The description's example, as it came, with GREASE where browsers put it. */
static struct hello example(void)
{
    return (struct hello){
        .version = 0x0303,
        .ciphers = "3a3a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
        .extensions = "4a4a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,fafa",
        .algorithms = "0403,0804,0401,0503,0805,0501,0806,0601",
        .versions = "0a0a,0304,0303",
    };
}

Test(ja4, the_published_example)
{
    struct hello h = example();
    cr_expect_str_eq(ja4_of(&h), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    cr_expect(ja4_is_text(ja4_of(&h)));
    /* without algorithms: the extensions' hash that the description gives for this list */
    h.algorithms = "";
    cr_expect_str_eq(ja4_of(&h), "t13d1516h2_8daaf6152771_6d807ffa2a79");
}

Test(ja4, what_the_first_part_tells)
{
    struct hello h = example();
    h.extensions = "0010,0039,002b";
    cr_expect_eq(strncmp(ja4_of(&h), "q13i1503h2_8daaf6152771_", 24), 0, "%s", ja4_of(&h));
    h.extensions = "";
    cr_expect_str_eq(ja4_of(&h), "t12i150000_8daaf6152771_000000000000");
    h.ciphers = "2a2a";
    cr_expect_str_eq(ja4_of(&h), "t12i000000_000000000000_000000000000");
    h.extensions = "0000,0010";
    cr_expect_str_eq(ja4_of(&h), "t12d0002h2_000000000000_000000000000");
    h.version = 0x1234;
    cr_expect_eq(strncmp(ja4_of(&h), "t00d", 4), 0);
    h = (struct hello){.version = 0xfefd, .ciphers = "c02b", .extensions = "0017", .dtls = true};
    cr_expect_eq(strncmp(ja4_of(&h), "dd2i010100_", 11), 0, "%s", ja4_of(&h));
    h.extensions = "002b";
    h.versions = "fefd,fefc";
    cr_expect_eq(strncmp(ja4_of(&h), "dd3i", 4), 0, "%s", ja4_of(&h));
}

Test(ja4, alpn_of_odd_bytes_is_told_in_hex)
{
    static const struct {
        const char *alpn, *shown;
        size_t size;
    } cases[] = {{"http/1.1", "h1", 8},
                 {"x", "xx", 1},
                 {"\xab", "ab", 1},
                 {"\xab\xcd", "ad", 2},
                 {"0\xab", "3b", 2},
                 {"01\xab\xcd", "3d", 4},
                 {"0\xab\xcd"
                  "1",
                  "01", 4},
                 {"", "00", 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hello h = example();
        h.alpn = cases[i].alpn;
        h.alpn_size = cases[i].size;
        cr_expect_eq(strncmp(ja4_of(&h) + 8, cases[i].shown, 2), 0, "case %u: %s", i, ja4_of(&h));
    }
}

Test(ja4, what_is_cut_or_too_long_has_none)
{
    struct hello h = example();
    struct bytes bytes = make(&h);
    char text[JA4_BYTES];
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, bytes.b, size);
        bool told = ja4_of_hello(cursor_of(copy, size), false, text);
        free(copy);
        cr_expect(!told || size == 2 + 32 + 1 + 2 + 32 + 2, "%zu of %zu bytes", size, bytes.size);
    }
    static char many[5 * (JA4_MAX_VALUES + 1) + 1];
    for (unsigned i = 0; i <= JA4_MAX_VALUES; i++)
        snprintf(many + 5 * i, 6, "%04x,", 0x1000 + i);
    many[5 * (JA4_MAX_VALUES + 1) - 1] = 0;
    h.ciphers = many;
    cr_expect_str_eq(ja4_of(&h), "none");
    h.ciphers = many + 5;
    cr_expect_eq(strncmp(ja4_of(&h) + 4, "99", 2), 0);
}

/* ---- in a pack ---- */

static char path[] = "/tmp/test_ja4.XXXXXX", error[512];

static struct cl_engine *engine_of(const char *fingerprint)
{
    struct cl_options options;
    FILE *out = fdopen(mkstemp(path), "w");
    fprintf(out,
            "pack: {name: p, version: '1'}\nfamily: web\nprotocols:\n  - id: 100\n    name: TLS\n    signatures:\n"
            "      - {id: 1, prefix: '\\x16\\x03', inspector: tls}\napplications:\n"
            "  - {id: 200, name: Client, parents: [TLS], ja4: [%s]}\n",
            fingerprint);
    fclose(out);
    cl_options_init(&options);
    options.pack_path = path;
    struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
    unlink(path);
    return engine;
}

Test(ja4, a_pack_names_a_client_by_it)
{
    struct hello h = example();
    struct bytes body = make(&h), record = {.size = 0};
    put(&record, 0x160301, 3);
    put(&record, body.size + 4, 2);
    put(&record, 1, 1);
    put(&record, body.size, 3);
    put_all(&record, &body);
    struct cl_engine *engine = engine_of("t13d1516h2_8daaf6152771_e5627efa2ab1");
    cr_assert(engine, "%s", error);
    struct cl_worker *worker = cl_worker_create(engine);
    struct cl_state state = {{0}};
    static struct cl_info info;
    struct cl_verdict verdict = {0};
    struct cl_packet packet = {.bytes = record.b,
                               .size_bytes = (uint32_t)record.size,
                               .ip_proto = 6,
                               .client_port = 50000,
                               .server_port = 443,
                               .payload_packets = {1, 0}};
    cr_expect_neq(cl_inspect(worker, &state, &packet, &verdict, &info), CL_UNDECIDED);
    cr_expect_str_eq(cl_protocol_get(engine, verdict.protocol)->name, "TLS");
    cr_expect_str_eq(cl_protocol_get(engine, verdict.application)->name, "Client");
    cr_expect_eq(info.size_bytes[CL_TEXT_ja4], JA4_BYTES);
    cl_worker_free(worker);
    cl_engine_free(engine);
}

Test(ja4, what_is_none_is_refused_in_a_pack)
{
    cr_expect_not(engine_of("t13d1516h2_8daaf6152771"));
    cr_expect(strstr(error, ":9:51: \"t13d1516h2_8daaf6152771\", expected a JA4"), "%s", error);
}

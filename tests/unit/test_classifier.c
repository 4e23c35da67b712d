#include <criterion/criterion.h>
#include <string.h>

#include "classifier/classifier.h"

static struct cl_engine *engine;
static struct cl_worker *worker;

static void setup(void)
{
    char error[512] = "";
    struct cl_options options;
    cl_options_init(&options);
    options.inspectors_off = true;
    engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    worker = cl_worker_create(engine);
    cr_assert(worker);
}

static void teardown(void)
{
    cl_worker_free(worker);
    cl_engine_free(engine);
}

TestSuite(classifier, .init = setup, .fini = teardown);

static const char *name_of(cl_protocol protocol)
{
    return cl_protocol_get(engine, protocol)->name;
}

static struct cl_packet packet_of(const void *bytes, size_t size, uint8_t ip_proto, uint8_t from_server)
{
    struct cl_packet p = {
        .bytes = bytes, .size_bytes = (uint32_t)size, .ip_proto = ip_proto, .from_server = from_server};
    p.client_port = 50000;
    p.server_port = 50001;
    p.payload_packets[from_server] = 1;
    return p;
}

Test(classifier, a_request_is_named_at_its_first_packet)
{
    struct cl_state state = {{0}};
    struct cl_verdict v = {0};
    struct cl_info info = {.size_bytes = {0}};
    const char *text = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    struct cl_packet p = packet_of(text, strlen(text), 6, 0);
    cr_assert_eq(cl_inspect(worker, &state, &p, &v, &info), CL_DONE);
    cr_assert_str_eq(name_of(v.protocol), "HTTP");
    cr_assert_eq(v.method, CL_METHOD_signature);
    cr_assert_eq(cl_signature_id(engine, v.signature), 10001);
}

Test(classifier, one_byte_segments_are_named_when_enough_has_come)
{
    struct cl_state state = {{0}};
    struct cl_verdict v = {0};
    struct cl_info info = {.size_bytes = {0}};
    const char *text = "GET / HTTP/1.1";
    for (size_t n = 1; n < 5; n++) {
        struct cl_packet p = packet_of(text, n, 6, 0);
        p.payload_packets[0] = (uint16_t)n;
        cr_assert_eq(cl_inspect(worker, &state, &p, &v, &info), CL_UNDECIDED, "%zu bytes", n);
    }
    struct cl_packet p = packet_of(text, 5, 6, 0);
    cr_assert_eq(cl_inspect(worker, &state, &p, &v, &info), CL_DONE);
    cr_assert_str_eq(name_of(v.protocol), "HTTP");
}

Test(classifier, a_pattern_of_the_other_side_counts_only_when_the_beginning_was_not_seen)
{
    struct cl_state state = {{0}}, other = {{0}};
    struct cl_verdict v = {0};
    struct cl_info info = {.size_bytes = {0}};
    const char *text = "GET / HTTP/1.1\r\n";
    struct cl_packet p = packet_of(text, strlen(text), 6, 1);
    cr_assert_eq(cl_inspect(worker, &state, &p, &v, &info), CL_UNDECIDED);
    p.started_before = true;
    cr_assert_eq(cl_inspect(worker, &other, &p, &v, &info), CL_DONE);
}

Test(classifier, the_budget_ends_in_the_fallback)
{
    struct cl_state state = {{0}};
    struct cl_verdict v = {0};
    struct cl_info info = {.size_bytes = {0}};
    struct cl_packet p = packet_of("\x01\x02\x03\x04\x05\x06", 6, 17, 0);
    enum cl_step step = CL_UNDECIDED;
    unsigned packets = 0;
    while (step == CL_UNDECIDED && packets < 100) {
        p.payload_packets[0] = (uint16_t)++packets;
        step = cl_inspect(worker, &state, &p, &v, &info);
    }
    cr_assert_eq(packets, 16, "took %u packets", packets);
    cr_assert_str_eq(name_of(v.protocol), "Generic UDP");
    cr_assert_eq(v.method, CL_METHOD_generic);
}

Test(classifier, fallback_goes_by_port_then_generic)
{
    static const struct {
        uint8_t ip_proto;
        uint16_t client_port, server_port;
        bool established;
        const char *name;
        enum cl_method method;
    } cases[] = {
        {6, 50000, 80, true, "HTTP", CL_METHOD_port},
        {6, 80, 50000, true, "HTTP", CL_METHOD_port},
        {6, 50000, 80, false, "Generic Non-Established TCP", CL_METHOD_generic},
        {6, 51000, 51001, true, "Generic TCP", CL_METHOD_generic},
        {17, 51000, 51001, true, "Generic UDP", CL_METHOD_generic},
        {253, 0, 0, true, "Generic IP", CL_METHOD_generic},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cl_verdict v = {0};
        cl_fallback(engine, cases[i].ip_proto, cases[i].client_port, cases[i].server_port, cases[i].established, &v);
        cr_expect_str_eq(name_of(v.protocol), cases[i].name, "case %u: %s", i, name_of(v.protocol));
        cr_expect_eq(v.method, cases[i].method, "case %u", i);
    }
}

Test(classifier, a_protocol_is_found_by_alias_whatever_its_case)
{
    cr_assert_eq(cl_protocol_find(engine, "ssl"), cl_protocol_find(engine, "TLS"));
    cr_assert_neq(cl_protocol_find(engine, "TLS"), 0);
    cr_assert_eq(cl_protocol_find(engine, "no such protocol"), 0);
}

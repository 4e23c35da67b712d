#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classifier/classifier.h"

/* A pack of its own: frames "F", a 16-bit number of bytes that follow, those bytes. */
static const char source[] = "pack: {name: t, version: '1'}\n"
                             "family: web\n"
                             "protocols:\n"
                             "  - {id: 100, name: Port, ports: [tcp/700, udp/700]}\n"
                             "  - id: 101\n"
                             "    name: Text\n"
                             "    signatures:\n"
                             "      - {id: 10101, from: client, prefix: 'HELLO '}\n"
                             "  - id: 102\n"
                             "    name: Resync\n"
                             "    signatures:\n"
                             "      - {id: 10201, midflow: true, prefix: 'F[\\x00-\\x10]', confidence: 80,\n"
                             "         chain: {at: 1, size: 2, plus: 3, max: 4096, count: 3, resync: true}}\n"
                             "  - id: 103\n"
                             "    name: Start\n"
                             "    signatures:\n"
                             "      - {id: 10301, midflow: true, prefix: 'G', confidence: 80, chain: {at: 1, size: 2, "
                             "endian: little, plus: 3, count: 3}}\n"
                             "  - id: 104\n"
                             "    name: On port\n"
                             "    signatures:\n"
                             "      - {id: 10401, midflow: true, port: [900], prefix: 'Q1', confidence: 70,\n"
                             "         chain: {at: 0, size: 1, mask: 0, plus: 2, count: 1, resync: true}}\n"
                             "  - id: 105\n"
                             "    name: Pair\n"
                             "    signatures:\n"
                             "      - {id: 10501, midflow: true, transport: udp, prefix: 'D', confidence: 80,\n"
                             "         then: {from: same, prefix: 'D', same: [{at: 1, size: 2}]}}\n";

static char folder[64];
static struct cl_engine *engine;
static struct cl_worker *worker;
static struct cl_state state;
static struct cl_verdict verdict;
static uint16_t packets[2];

static void setup(void)
{
    char error[512] = "", path[96];
    struct cl_options options;
    snprintf(folder, sizeof folder, "/tmp/test_midflow.XXXXXX");
    cr_assert(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    snprintf(path, sizeof path, "%s/t.yaml", folder);
    FILE *out = fopen(path, "we");
    cr_assert(out);
    fputs(source, out);
    fclose(out);
    cl_options_init(&options);
    options.pack_path = path;
    engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    worker = cl_worker_create(engine);
    cr_assert(worker);
    memset(&state, 0, sizeof state);
    memset(&verdict, 0, sizeof verdict);
    packets[0] = packets[1] = 0;
}

static void teardown(void)
{
    char command[128];
    cl_worker_free(worker);
    cl_engine_free(engine);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(midflow, .init = setup, .fini = teardown);

/* The next payload packet of a direction; TCP: `bytes` are all of the direction so far. */
static enum cl_step give(uint8_t ip_proto, bool started_before, unsigned side, uint16_t port, const void *bytes,
                         size_t size)
{
    struct cl_info info = {.size_bytes = {0}};
    packets[side]++;
    struct cl_packet p = {.bytes = bytes,
                          .size_bytes = (uint32_t)size,
                          .ip_proto = ip_proto,
                          .from_server = (uint8_t)side,
                          .client_port = 50000,
                          .server_port = port,
                          .payload_packets = {packets[0], packets[1]},
                          .started_before = started_before};
    return cl_inspect(worker, &state, &p, &verdict, &info);
}

static const char *told(void)
{
    return verdict.protocol ? cl_protocol_get(engine, verdict.protocol)->name : "";
}

#define GIVE(side, text) give(6, true, side, 50001, text, sizeof text - 1)

Test(midflow, frames_are_found_behind_the_rest_of_an_earlier_one)
{
    cr_assert_eq(GIVE(0, "rest of a frameF\0\2abF\0\3abcF\0\1a"), CL_DONE);
    cr_assert_str_eq(told(), "Resync");
    cr_assert_eq(verdict.method, CL_METHOD_signature);
    cr_assert_eq(verdict.confidence, 80);
    cr_assert_eq(cl_signature_id(engine, verdict.signature), 10201);
}

Test(midflow, a_frame_that_ends_with_the_bytes_counts_as_one_more)
{
    cr_assert_eq(GIVE(0, "restF\0\2abF\0\3abc"), CL_DONE);
    cr_assert_str_eq(told(), "Resync");
}

Test(midflow, two_frames_and_half_of_the_next_are_not_enough)
{
    cr_assert_eq(GIVE(0, "restF\0\2abF\0\3ab"), CL_UNDECIDED);
}

Test(midflow, a_chain_goes_on_over_segments)
{
    static char longer[12 + 3 + 64 + 8];
    memset(longer, '.', sizeof longer);
    memcpy(longer, "restF\0\2abF\0\100", 12);
    memcpy(longer + 12 + 64, "F\0\1a", 4);
    cr_assert_eq(give(6, true, 0, 50001, longer, 30), CL_UNDECIDED);
    cr_assert_eq(give(6, true, 0, 50001, longer, 12 + 64 + 4), CL_DONE);
    cr_assert_str_eq(told(), "Resync");
}

Test(midflow, a_chain_that_breaks_is_forgotten)
{
    cr_assert_eq(GIVE(0, "restF\0\2abF\0\3abcX\0\1aF\0\1"), CL_UNDECIDED);
}

Test(midflow, directions_are_apart)
{
    cr_assert_eq(GIVE(0, "restF\0\2abF\0\5abc"), CL_UNDECIDED);
    cr_assert_eq(GIVE(1, "restF\0\2abF\0\5abc"), CL_UNDECIDED);
}

Test(midflow, without_resync_only_a_segment_start_begins_a_chain)
{
    static const char stream[] = "restG\2\0abG\3\0abcG\1\0a";
    cr_assert_eq(give(6, true, 0, 50001, stream, sizeof stream - 1), CL_UNDECIDED);
    memset(&state, 0, sizeof state);
    cr_assert_eq(give(6, true, 0, 50001, stream, 4), CL_UNDECIDED);
    cr_assert_eq(give(6, true, 0, 50001, stream, sizeof stream - 1), CL_DONE);
    cr_assert_str_eq(told(), "Start");
}

Test(midflow, sizes_over_the_limit_or_a_wrong_port_do_not_count)
{
    cr_assert_eq(GIVE(0, "F\20\1a"), CL_UNDECIDED);
    cr_assert_eq(give(6, true, 1, 901, "..Q1..", 6), CL_UNDECIDED);
    memset(&state, 0, sizeof state);
    cr_assert_eq(give(6, true, 1, 900, "..Q1..", 6), CL_DONE);
    cr_assert_str_eq(told(), "On port");
}

Test(midflow, a_flow_seen_from_its_beginning_is_not_tried)
{
    static const char frames[] = "F\0\2abF\0\3abcF\0\1a";
    cr_assert_eq(give(6, false, 0, 50001, frames, sizeof frames - 1), CL_UNDECIDED);
}

Test(midflow, a_datagram_flow_has_no_sure_beginning)
{
    cr_assert_eq(give(17, false, 0, 50001, "Dxy1", 4), CL_UNDECIDED);
    cr_assert_eq(give(17, false, 0, 50001, "Dxy2", 4), CL_DONE);
    cr_assert_str_eq(told(), "Pair");
}

Test(midflow, ordinary_signatures_are_tried_at_each_segment_start)
{
    char stream[200];
    memset(stream, '.', sizeof stream);
    memcpy(stream + 100, "HELLO you", 9);
    cr_assert_eq(give(6, true, 0, 50001, stream, 100), CL_UNDECIDED);
    cr_assert_eq(give(6, true, 0, 50001, stream, 109), CL_DONE);
    cr_assert_str_eq(told(), "Text");
    memset(&state, 0, sizeof state);
    packets[0] = 0;
    cr_assert_eq(give(6, true, 0, 50001, stream, 99), CL_UNDECIDED);
    cr_assert_eq(give(6, true, 0, 50001, stream, 109), CL_UNDECIDED, "within a segment it is text of another");
}

Test(midflow, the_head_of_a_message_may_come_in_pieces)
{
    cr_assert_eq(GIVE(0, "HEL"), CL_UNDECIDED);
    cr_assert_eq(GIVE(0, "HELLO you"), CL_DONE);
    cr_assert_str_eq(told(), "Text");
}

/* The order of fallback: a specific name by its signature, by port, Generic. */
Test(midflow, the_order_is_signature_then_port_then_generic)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint16_t port;
        const char *name;
        enum cl_method method;
        uint8_t confidence;
    } cases[] = {
        {"restF\0\2abF\0\3abcF\0\1a", 18, 700, "Resync", CL_METHOD_signature, 80},
        {"rest of something else", 22, 700, "Port", CL_METHOD_port, 30},
        {"rest of something else", 22, 50001, "Generic TCP", CL_METHOD_generic, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum cl_step step = CL_UNDECIDED;
        unsigned given = 0;
        memset(&state, 0, sizeof state);
        packets[0] = packets[1] = 0;
        while (step == CL_UNDECIDED && given++ < 100)
            step = give(6, true, 0, cases[i].port, cases[i].bytes, cases[i].size);
        cr_expect_str_eq(told(), cases[i].name, "case %u: %s", i, told());
        cr_expect_eq(verdict.method, cases[i].method, "case %u", i);
        cr_expect_eq(verdict.confidence, cases[i].confidence, "case %u", i);
        cr_expect_leq(given, 16, "case %u took %u packets", i, given);
    }
}

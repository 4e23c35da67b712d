/*
 * What control flows announce, from their bytes: each protocol's forms, what is refused, and what becomes of an expected flow.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "classifier/announce.h"

static struct cl_engine *engine;
static struct cl_announcement list[CL_ANNOUNCEMENTS_MAX];
static uint8_t sender_address[16] = {10, 1, 0, 2};

static void load(void)
{
    char error[512];
    struct cl_options options;
    cl_options_init(&options);
    engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
}

static void unload(void)
{
    cl_engine_free(engine);
}

TestSuite(announce, .init = load, .fini = unload);

static unsigned read_bytes(const char *protocol, bool from_server, const void *bytes, size_t size)
{
    struct cl_packet packet = {.bytes = bytes,
                               .size_bytes = (uint32_t)size,
                               .from_server = from_server,
                               .client_port = 40000,
                               .server_port = 5201};
    struct cl_sender sender = {.address = sender_address};
    cl_protocol found = cl_protocol_find(engine, protocol);
    cr_assert(found, "%s", protocol);
    cr_assert(cl_announces(engine, found), "%s", protocol);
    bool is_udp = !strcmp(protocol, "TFTP") || !strcmp(protocol, "DNS");
    packet.ip_proto = is_udp ? 17 : 6;
    return cl_announce(engine, found, &packet, &sender, list);
}

static unsigned read_text(const char *protocol, bool from_server, const char *text)
{
    return read_bytes(protocol, from_server, text, strlen(text));
}

static void expect_port(unsigned at, enum cl_announced kind, enum cl_whose whose, uint16_t port)
{
    cr_expect_eq(list[at].kind, kind, "%u: %s", at, cl_announced_name(list[at].kind));
    cr_expect_eq(list[at].whose, whose, "%u", at);
    cr_expect_eq(list[at].port, port, "%u: port %u", at, list[at].port);
}

Test(announce, ftp)
{
    static const struct {
        bool from_server;
        const char *text;
        uint16_t port; /* 0: none */
    } cases[] = {
        {true, "227 Entering Passive Mode (192,0,2,1,164,18).\r\n", 42002},
        {true, "227 Entering Passive Mode. 192,0,2,1,164,18\r\n", 42002},
        {true, "229 Entering Extended Passive Mode (|||42105|)\r\n", 42105},
        {true, "229 Extended Passive mode OK (|||6446|)\r\n150 Here it comes\r\n", 6446},
        {false, "PORT 10,1,0,2,175,200\r\n", 45000},
        {false, "port 10,1,0,2,175,200\r\n", 45000},
        {false, "EPRT |1|10.1.0.2|6275|\r\n", 6275},
        {false, "EPRT |2|2001:db8::1|6275|\r\n", 6275},
        {false, "EPRT !2!2001:db8::1!6275!\r\n", 6275},
        {true, "227 Entering Passive Mode (192,0,2,1,164)\r\n", 0},
        {true, "227 Entering Passive Mode (192,0,2,1,164,256)\r\n", 0},
        {true, "227 Entering Passive Mode (192,0,2,1,0,0)\r\n", 0},
        {true, "229 Entering Extended Passive Mode (|||70000|)\r\n", 0},
        {true, "229 Entering Extended Passive Mode (|||421\r\n", 0},
        {true, "220 Welcome (|||42105|)\r\n", 0},
        {false, "227 Entering Passive Mode (192,0,2,1,164,18).\r\n", 0},
        {true, "PORT 10,1,0,2,175,200\r\n", 0},
        {false, "EPRT |1|10.1.0.2|0|\r\n", 0},
        {false, "PORT \r\n\r\n\r\n", 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned length = read_text("FTP", cases[i].from_server, cases[i].text);
        cr_assert_eq(length, cases[i].port ? 1 : 0, "%s", cases[i].text);
        if (!length)
            continue;
        expect_port(0, CL_ANNOUNCED_ftp_data, CL_OF_SENDER, cases[i].port);
        cr_expect(list[0].has_peer, "nobody else's connection");
    }
}

Test(announce, sdp_in_sip)
{
    unsigned length = read_text("SIP", false,
                                "INVITE sip:bob@example.com SIP/2.0\r\nContent-Type: application/sdp\r\n\r\n"
                                "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
                                "m=audio 49170 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\n"
                                "m=video 51372 RTP/SAVPF 99\r\nc=IN IP6 2001:db8::9\r\na=rtcp:51400\r\n"
                                "m=image 4000 udptl t38\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\nm=audio 0 RTP/AVP 0\r\n"
                                "m=audio 6000 TCP/RTP/AVP 0\r\n");
    cr_assert_eq(length, 4);
    expect_port(0, CL_ANNOUNCED_rtp, CL_OF_ANOTHER, 49170);
    expect_port(1, CL_ANNOUNCED_rtcp, CL_OF_ANOTHER, 49171);
    cr_expect(!list[0].is_v6 && !memcmp(list[0].address, (uint8_t[4]){192, 0, 2, 9}, 4));
    expect_port(2, CL_ANNOUNCED_rtp, CL_OF_ANOTHER, 51372);
    expect_port(3, CL_ANNOUNCED_rtcp, CL_OF_ANOTHER, 51400);
    cr_expect(list[2].is_v6 && list[2].address[0] == 0x20 && list[2].address[15] == 9);
    cr_expect_eq(read_text("SIP", true, "SIP/2.0 200 OK\r\n\r\nv=0\nc=IN IP4 0.0.0.0\nm=audio 7000 RTP/AVP 0\n"), 2);
    expect_port(0, CL_ANNOUNCED_rtp, CL_OF_SENDER, 7000);
    cr_expect_eq(read_text("SIP", true, "SIP/2.0 200 OK\r\n\r\nv=0\nc=IN IP4 bogus\nm=audio 7000 RTP/AVP 0\n"), 2);
    expect_port(1, CL_ANNOUNCED_rtcp, CL_OF_SENDER, 7001);
    cr_expect_eq(read_text("SIP", false, "REGISTER sip:a SIP/2.0\r\n\r\nm=audio 7000 RTP/AVP 0\n"), 0);
    cr_expect_eq(
        read_text("MGCP", false, "MDCX 1 a@b MGCP 1.0\r\n\r\nv=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 3456 RTP/AVP 0\r\n"),
        2);
    cr_expect_eq(read_text("Megaco", false,
                           "MEGACO/1 [192.0.2.1] T=1{\n L{\n v=0\n c=IN IP4 192.0.2.9\n m=audio 2222 RTP/AVP 4\n"),
                 2);
}

Test(announce, more_media_than_fit_are_left_out)
{
    char text[4096] = "INVITE sip:b SIP/2.0\r\n\r\nv=0\r\n";
    for (unsigned i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "m=audio %u RTP/AVP 0\r\n", 2000 + 2 * i);
    cr_expect_eq(read_text("SIP", false, text), CL_ANNOUNCEMENTS_MAX);
    expect_port(CL_ANNOUNCEMENTS_MAX - 2, CL_ANNOUNCED_rtp, CL_OF_SENDER, 2000 + CL_ANNOUNCEMENTS_MAX - 2);
}

Test(announce, rtsp)
{
    cr_assert_eq(read_text("RTSP", false,
                           "SETUP rtsp://a/b RTSP/1.0\r\nCSeq: 2\r\n"
                           "Transport: RTP/AVP/TCP;interleaved=0-1, RTP/AVP;unicast; client_port=4588-4589\r\n\r\n"),
                 2);
    expect_port(0, CL_ANNOUNCED_rtp, CL_OF_SENDER, 4588);
    expect_port(1, CL_ANNOUNCED_rtcp, CL_OF_SENDER, 4589);
    cr_assert_eq(read_text("RTSP", true,
                           "RTSP/1.0 200 OK\r\nCSeq: 2\r\n"
                           "transport: RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257\r\n\r\n"),
                 4);
    expect_port(0, CL_ANNOUNCED_rtp, CL_OF_RECEIVER, 4588);
    expect_port(2, CL_ANNOUNCED_rtp, CL_OF_SENDER, 6256);
    expect_port(3, CL_ANNOUNCED_rtcp, CL_OF_SENDER, 6257);
    cr_expect_eq(read_text("RTSP", true, "RTSP/1.0 200 OK\r\nTransport: x-real-rdt/udp;client_port=4588\r\n\r\n"), 0);
    cr_expect_eq(read_text("RTSP", true, "RTSP/1.0 200 OK\r\nTransport: RTP/AVP;client_port=x\r\n\r\n"), 0);
}

Test(announce, tftp_and_iperf3)
{
    static const char request[] = "\0\1boot.img\0octet"; /* its end is the array's */
    cr_assert_eq(read_bytes("TFTP", false, request, sizeof request), 1);
    expect_port(0, CL_ANNOUNCED_tftp, CL_OF_SENDER, 40000);
    cr_expect_eq(read_bytes("TFTP", true, request, sizeof request), 0);
    cr_expect_eq(read_bytes("TFTP", false, "\0\3\0\1boot.img", 13), 0);
    cr_assert_eq(read_bytes("iperf3", false, "abcdefghijklmnopqrstuvwxyz234567abcd", 37), 1);
    expect_port(0, CL_ANNOUNCED_iperf3, CL_OF_RECEIVER, 5201);
    cr_expect_eq(read_bytes("iperf3", false, "abcdefghijklmnopqrstuvwxyz234567abc1", 37), 0);
}

/* An answer with a CNAME, an A and an AAAA record. */
static size_t dns_answer(uint8_t *out, const char *qname, size_t qname_size)
{
    static const uint8_t header[] = {0, 7, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0};
    static const uint8_t records[] = {0xc0, 12,   0,    5,  0, 1,  0, 0, 0, 9, 0,  4, 1, 'x', 0xc0,
                                      12,   0xc0, 40,   0,  1, 0,  1, 0, 0, 0, 90, 0, 4, 192, 0,
                                      2,    7,    0xc0, 40, 0, 28, 0, 1, 0, 1, 0,  0, 0, 16,  0x20,
                                      1,    0xd,  0xb8, 0,  0, 0,  0, 0, 0, 0, 0,  0, 0, 0,   7};
    memcpy(out, header, sizeof header);
    memcpy(out + 12, qname, qname_size);
    memcpy(out + 12 + qname_size, (uint8_t[]){0, 1, 0, 1}, 4);
    memcpy(out + 16 + qname_size, records, sizeof records);
    return 16 + qname_size + sizeof records;
}

Test(announce, dns_addresses_of_a_name_that_is_an_application)
{
    uint8_t bytes[512];
    size_t size = dns_answer(bytes, "\3www\7youtube\3com", 17);
    cr_assert_eq(read_bytes("DNS", true, bytes, size), 2);
    cr_expect_eq(list[0].kind, CL_ANNOUNCED_name);
    cr_expect_eq(list[0].named, cl_protocol_find(engine, "YouTube"));
    cr_expect(!list[0].is_v6 && list[0].address[3] == 7);
    cr_expect_eq(list[0].lifetime_s, 90);
    cr_expect(list[1].is_v6 && list[1].address[0] == 0x20);
    cr_expect_eq(list[1].lifetime_s, CL_ANNOUNCED_LIFETIME_MAX_S);
    cr_expect_eq(read_bytes("DNS", false, bytes, size), 0, "a question from the client's side");
    cr_expect_eq(read_bytes("DNS", true, bytes, size - 8), 1, "cut in its last record");
    bytes[3] = 0x83;
    cr_expect_eq(read_bytes("DNS", true, bytes, size), 0, "no such name");
    size = dns_answer(bytes, "\3www\7example\3com", 17);
    cr_expect_eq(read_bytes("DNS", true, bytes, size), 0, "a name that is no application");
}

Test(announce, h323_has_the_senders_own_addresses)
{
    uint8_t bytes[64] = {3, 0, 0, 64, 8, 2, 0, 1, 1, 5};
    memcpy(bytes + 20, (uint8_t[]){10, 1, 0, 2, 0x2b, 0x0a}, 6);
    memcpy(bytes + 30, (uint8_t[]){10, 1, 0, 3, 0x2b, 0x0b}, 6);
    cr_assert_eq(read_bytes("H.323", false, bytes, sizeof bytes), 3);
    expect_port(0, CL_ANNOUNCED_h245, CL_OF_SENDER, 0x2b0a);
    expect_port(1, CL_ANNOUNCED_rtp, CL_OF_SENDER, 0x2b0a);
    expect_port(2, CL_ANNOUNCED_rtcp, CL_OF_SENDER, 0x2b0b);
    bytes[4] = 0x22;
    cr_assert_eq(read_bytes("H.323", false, bytes, sizeof bytes), 2, "an OpenLogicalChannelAck names media alone");
    bytes[4] = 2;
    cr_expect_eq(read_bytes("H.323", false, bytes, sizeof bytes), 0);
}

static struct cl_verdict expected(enum cl_announced kind, const void *bytes, uint32_t size, bool is_final)
{
    struct cl_verdict verdict;
    cr_expect_eq(cl_expected(engine, kind, bytes, size, &verdict), is_final);
    cr_expect_eq(verdict.method, CL_METHOD_learned);
    return verdict;
}

static void expect_name(const struct cl_verdict *verdict, const char *name)
{
    cr_expect_str_eq(cl_protocol_get(engine, verdict->protocol)->name, name);
}

Test(announce, an_expected_flow_is_named_when_its_payload_does_not_speak_against_it)
{
    static const uint8_t rtp[172] = {0x80, 0}, rtcp[28] = {0x81, 200}, stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
    struct cl_verdict v = expected(CL_ANNOUNCED_ftp_data, NULL, 0, true);
    expect_name(&v, "FTP Data");
    v = expected(CL_ANNOUNCED_rtcp, rtp, sizeof rtp, true);
    expect_name(&v, "RTP");
    v = expected(CL_ANNOUNCED_rtp, rtcp, sizeof rtcp, true);
    expect_name(&v, "RTCP");
    v = expected(CL_ANNOUNCED_rtp, stun, sizeof stun, false);
    expect_name(&v, "RTP");
    cr_expect_lt(v.confidence, 90);
    expected(CL_ANNOUNCED_rtp, rtp, 3, false);
    expected(CL_ANNOUNCED_tftp, "\0\3\0\1", 4, true);
    expected(CL_ANNOUNCED_tftp, "\0\1a\0", 4, false);
    expected(CL_ANNOUNCED_h245, NULL, 0, false);
}

Test(announce, a_fallback_and_a_name_fill_in_only_what_content_left_open)
{
    struct cl_info info = {.size_bytes = {0}};
    cl_protocol youtube = cl_protocol_find(engine, "YouTube"), tls = cl_protocol_find(engine, "TLS");
    const struct cl_verdict none = {.protocol = 0},
                            rtp = {.protocol = cl_protocol_find(engine, "RTP"), .method = CL_METHOD_learned};
    const struct cl_verdict ssh = {.protocol = cl_protocol_find(engine, "SSH"), .method = CL_METHOD_inspector};
    struct cl_verdict generic, v;
    cl_fallback(engine, 17, 40000, 40001, true, &generic);
    v = generic;
    cl_complete(engine, &rtp, youtube, &info, &v);
    cr_expect(v.protocol == rtp.protocol && v.application == 0);
    v = ssh;
    cl_complete(engine, &rtp, youtube, &info, &v);
    cr_expect(v.protocol == ssh.protocol && v.application == 0 && v.method == CL_METHOD_inspector);
    v = generic;
    cl_complete(engine, &none, youtube, &info, &v);
    cr_expect(v.protocol == generic.protocol && v.application == youtube && v.method == CL_METHOD_learned);
    v = (struct cl_verdict){.protocol = tls, .method = CL_METHOD_inspector};
    cl_complete(engine, &none, youtube, &info, &v);
    cr_expect(v.protocol == tls && v.application == youtube);
    cl_info_set(&info, CL_TEXT_host, "other.example", 13);
    v = (struct cl_verdict){.protocol = tls, .method = CL_METHOD_inspector};
    cl_complete(engine, &none, youtube, &info, &v);
    cr_expect(v.application == 0, "it has a name of its own");
}

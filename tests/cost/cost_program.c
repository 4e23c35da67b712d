/*
 * What hostile traffic costs beside usual traffic, through the whole pipeline, in instructions: run under callgrind, which is
 * told where each case begins and ends. Prints one line a case: name, kind, bytes on the wire. tests/cost/cost does the rest.
 */
#include <valgrind/callgrind.h>

#include "tests/pipe.h"
#include "tests/unit/quic_seal.h"

#define TCP_SYN    0x02
#define TCP_ACK    0x10
#define MSS_BYTES  1400u
#define FLOWS      4u /* of each case: the first warms up and is not counted */
#define STREAM_MAX 16384u
#define WIRE_BYTES 24u /* preamble, checksum and gap of a frame */
#define WIRE_FRAME 60u /* least of a frame without them */

static struct pipe pipe;
static uint64_t wire_bytes;

struct flow {
    uint16_t client_port, server_port;
    bool is_udp;
    uint32_t seq[2];
};

static void send_packet(const struct flow *flow, bool from_server, uint32_t seq, unsigned flags, const void *bytes,
                        uint32_t size)
{
    struct frame f = {.size = 0};
    uint16_t src = from_server ? flow->server_port : flow->client_port;
    uint16_t dst = from_server ? flow->client_port : flow->server_port;
    frame_ethernet(&f, 0x0800);
    frame_ipv4(&f, flow->is_udp ? 17 : 6, from_server ? 2 : 1, from_server ? 1 : 2, 0);
    if (flow->is_udp)
        frame_udp(&f, src, dst);
    else
        frame_tcp(&f, src, dst, seq, flags, 0);
    if (size)
        frame_put(&f, bytes, size);
    wire_bytes += RTE_MAX(f.size, WIRE_FRAME) + WIRE_BYTES;
    pipe_send(&pipe, &f);
}

static void send_next(struct flow *flow, bool from_server, const void *bytes, uint32_t size)
{
    send_packet(flow, from_server, flow->seq[from_server], TCP_ACK, bytes, size);
    flow->seq[from_server] += size;
}

static void shake_hands(struct flow *flow)
{
    send_packet(flow, false, flow->seq[0]++, TCP_SYN, NULL, 0);
    send_packet(flow, true, flow->seq[1]++, TCP_SYN | TCP_ACK, NULL, 0);
    send_packet(flow, false, flow->seq[0], TCP_ACK, NULL, 0);
}

/* A stream of one direction, in segments of `part` bytes. */
static void send_stream(struct flow *flow, bool from_server, const uint8_t *bytes, uint32_t size, uint32_t part)
{
    for (uint32_t at = 0; at < size; at += part)
        send_next(flow, from_server, bytes + at, RTE_MIN(part, size - at));
}

static uint8_t stream[STREAM_MAX];
static uint32_t stream_bytes;

static void put(const void *bytes, uint32_t size)
{
    pipe_check(stream_bytes + size <= STREAM_MAX, "a stream that is too long");
    memcpy(stream + stream_bytes, bytes, size);
    stream_bytes += size;
}

static void put_text(const char *text)
{
    put(text, (uint32_t)strlen(text));
}

static void put_be(uint32_t value, unsigned size)
{
    for (unsigned i = size; i-- > 0;)
        stream[stream_bytes++] = (uint8_t)(value >> 8 * i);
}

static void repeat(const char *text, uint32_t size, uint32_t until)
{
    while (stream_bytes + size <= until)
        put(text, size);
}

/* ---- usual traffic ---- */

static void page(struct flow *flow)
{
    static uint8_t body[MSS_BYTES];
    put_text(
        "GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
        "Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n");
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
    stream_bytes = 0;
    put_text("HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 5600\r\n\r\n");
    send_stream(flow, true, stream, stream_bytes, MSS_BYTES);
    for (unsigned i = 0; i < 4; i++)
        send_next(flow, true, body, MSS_BYTES);
}

/* A ClientHello of `extensions` extensions of 4 bytes besides its server name. */
static void put_hello(unsigned extensions)
{
    static const char name[] = "www.example.com";
    uint32_t names = sizeof name - 1, list = 9 + names + 4 * extensions, body = 2 + 32 + 1 + 4 + 2 + 2 + list;
    put("\x01\x00", 2);
    put_be(body, 2);
    put("\x03\x03", 2);
    repeat("r", 1, stream_bytes + 32);
    put("\x00\x00\x02\x13\x01\x01\x00", 7);
    put_be(list, 2);
    for (unsigned i = 0; i < extensions; i++) {
        put_be(0x5000 + i % 0x2000, 2);
        put_be(0, 2);
    }
    put_be(0, 2);
    put_be(5 + names, 2);
    put_be(3 + names, 2);
    put_be(0, 1);
    put_be(names, 2);
    put_text(name);
}

static void put_record_head(uint32_t size)
{
    put("\x16\x03\x01", 3);
    put_be(size, 2);
}

static void tls(struct flow *flow)
{
    stream_bytes = 5;
    put_hello(100);
    uint32_t size = stream_bytes;
    stream_bytes = 0;
    put_record_head(size - 5);
    stream_bytes = size;
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void name_asked(struct flow *flow)
{
    put("\x12\x34\x01\x00\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1", 33);
    flow->is_udp = true;
    flow->server_port = 53;
    send_next(flow, false, stream, stream_bytes);
    stream[2] |= 0x80;
    send_next(flow, true, stream, stream_bytes);
}

/* ---- hostile traffic ---- */

static void http_thousands_of_headers(struct flow *flow)
{
    put_text("GET / HTTP/1.1\r\n");
    repeat("a:b\r\n", 5, 12000);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void http_one_long_header(struct flow *flow)
{
    put_text("GET / HTTP/1.1\r\nCookie: ");
    repeat("x", 1, 12000);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void http_drip(struct flow *flow)
{
    put_text("GET / HTTP/1.1\r\n");
    repeat("Host: a\r\n", 9, 400);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, 1);
}

static void http_drip_of_16(struct flow *flow)
{
    put_text("POST / HTTP/1.1\r\n");
    repeat("a:b\r\n", 5, 400);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, 16);
}

static void tls_records_of_one_byte(struct flow *flow)
{
    static uint8_t hello[STREAM_MAX];
    put_hello(20);
    uint32_t size = stream_bytes;
    memcpy(hello, stream, size);
    stream_bytes = 0;
    for (uint32_t i = 0; i < size; i++) {
        put_record_head(1);
        put(hello + i, 1);
    }
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void tls_thousands_of_extensions(struct flow *flow)
{
    stream_bytes = 5;
    put_hello(1900);
    uint32_t size = stream_bytes;
    stream_bytes = 0;
    put_record_head(size - 5);
    stream_bytes = size;
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void dns_pointers_to_pointers(struct flow *flow)
{
    put("\x12\x34\x01\x00\xff\xff\0\0\0\0\0\0", 12);
    put("\xc0\x0c\0\1\0\1", 6); /* to itself */
    while (stream_bytes < 1300) {
        put_be(0xc000 | (stream_bytes - 6), 2);
        put("\0\1\0\1", 4);
    }
    flow->is_udp = true;
    flow->server_port = 53;
    for (unsigned i = 0; i < 8; i++)
        send_next(flow, i & 1, stream, stream_bytes);
}

static void dns_labels_of_one_byte(struct flow *flow)
{
    put("\x12\x34\x01\x00\0\x20\0\0\0\0\0\0", 12);
    repeat("\1a", 2, 1300);
    flow->is_udp = true;
    flow->server_port = 53;
    for (unsigned i = 0; i < 8; i++)
        send_next(flow, i & 1, stream, stream_bytes);
}

static void dtls_fragments_of_one_byte(struct flow *flow)
{
    for (unsigned i = 0; stream_bytes < 1300; i++) {
        put("\x16\xfe\xfd\0\0\0\0\0\0\0", 10);
        put_be(i, 1);
        put_be(13, 2);
        put("\1\0\0\xc8\0\0", 6);
        put_be(i, 3);
        put("\0\0\1\xfe", 4);
    }
    flow->is_udp = true;
    for (unsigned i = 0; i < 8; i++)
        send_next(flow, false, stream, stream_bytes);
}

/* An Initial whose CRYPTO frames hold a byte each, the last first. */
static void quic_crypto_backwards(struct flow *flow)
{
    static const struct quic_seal_version v1 = {
        1, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic key", "quic iv", "quic hp", 0xc3, "v1"};
    static const char cid[] = "\x83\x94\xc8\xf0\x3e\x51\x57\x08";
    struct quic_seal_keys keys = quic_seal_keys_of(&v1, cid);
    uint8_t packet[1500];
    flow->is_udp = true;
    for (unsigned n = 0; n < 8; n++) {
        stream_bytes = 0;
        for (uint32_t at = 200; at-- > 0;) {
            put("\6", 1);
            put_be(0x4000 | (at + 200 * n), 2);
            put("\1\1", 2);
        }
        uint32_t size = (uint32_t)quic_seal(&v1, &keys, cid, n, stream, stream_bytes, packet);
        send_next(flow, false, packet, size);
    }
}

static void patterns_that_begin_again(struct flow *flow)
{
    static const char bittorrent[] = "\x13"
                                     "BitTorrent";
    static const char *const begins[] = {"GET ", "SSH-", "HELO", bittorrent, "USER ", "* OK", "220 ", "HTTP/1."};
    for (unsigned i = 0; stream_bytes < 10000; i++)
        put_text(begins[i % RTE_DIM(begins)]);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
    send_stream(flow, true, stream, stream_bytes, MSS_BYTES);
}

static void nested_sequences(struct flow *flow)
{
    repeat("\x30\x84\x00\x00\x20\x00", 6, 10000);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

static void ssh_lists(struct flow *flow)
{
    put_text("SSH-2.0-");
    repeat("a,", 2, 10000);
    shake_hands(flow);
    send_stream(flow, false, stream, stream_bytes, MSS_BYTES);
}

/* Eight kilobytes ahead of a gap, again and again: each is compared with what is kept. */
static void segments_again_ahead_of_a_gap(struct flow *flow)
{
    repeat("\xe5", 1, MSS_BYTES);
    shake_hands(flow);
    for (unsigned i = 0; i < 8; i++)
        send_packet(flow, false, flow->seq[0] + 1 + (i & 3) * 8, TCP_ACK, stream, MSS_BYTES);
}

static void every_other_byte(struct flow *flow)
{
    repeat("\xe5", 1, 400);
    shake_hands(flow);
    for (uint32_t i = 1; i < 200; i += 2)
        send_packet(flow, false, flow->seq[0] + i, TCP_ACK, stream, 1);
}

static const struct {
    const char *name;
    bool is_usual;
    void (*send)(struct flow *flow);
} cases[] = {
#define USUAL(name)                                                                                                    \
    {                                                                                                                  \
#name, true, name                                                                                              \
    }
#define HOSTILE(name)                                                                                                  \
    {                                                                                                                  \
#name, false, name                                                                                             \
    }
    USUAL(page),
    USUAL(tls),
    USUAL(name_asked),
    HOSTILE(http_thousands_of_headers),
    HOSTILE(http_one_long_header),
    HOSTILE(http_drip),
    HOSTILE(http_drip_of_16),
    HOSTILE(tls_records_of_one_byte),
    HOSTILE(tls_thousands_of_extensions),
    HOSTILE(dns_pointers_to_pointers),
    HOSTILE(dns_labels_of_one_byte),
    HOSTILE(dtls_fragments_of_one_byte),
    HOSTILE(quic_crypto_backwards),
    HOSTILE(patterns_that_begin_again),
    HOSTILE(nested_sequences),
    HOSTILE(ssh_lists),
    HOSTILE(segments_again_ahead_of_a_gap),
    HOSTILE(every_other_byte),
};

int main(void)
{
    pipe_start(&pipe, DP_CHECKSUMS_IGNORE);
    for (unsigned i = 0; i < RTE_DIM(cases); i++) {
        for (unsigned n = 0; n < FLOWS; n++) {
            struct flow flow = {.client_port = (uint16_t)(40000 + n), .server_port = 61000, .seq = {1000, 2000}};
            stream_bytes = 0;
            if (n == 1) {
                pipe_flush(&pipe);
                wire_bytes = 0;
                CALLGRIND_ZERO_STATS;
            }
            cases[i].send(&flow);
        }
        pipe_flush(&pipe);
        CALLGRIND_DUMP_STATS_AT(cases[i].name);
        printf("%s %s %lu\n", cases[i].name, cases[i].is_usual ? "usual" : "hostile", (unsigned long)wire_bytes);
        pipe_end_flows(&pipe);
    }
    return 0;
}

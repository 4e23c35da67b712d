/* The inspector of QUIC. */
#include "inspect_feed.h"
#include "quic_seal.h"

#define CID "\x83\x94\xc8\xf0\x3e\x51\x57\x08" /* of RFC 9001 and RFC 9369, appendix A */

static const struct quic_seal_version v1 = {
    1, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic key", "quic iv", "quic hp", 0xc3, "QUIC v1"};
static const struct quic_seal_version v2 = {
    0x6b3343cf, "0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2 key", "quicv2 iv", "quicv2 hp", 0xd3, "QUIC v2"};
static const struct quic_seal_version draft_29 = {
    0xff00001d, "afbfec289993d24c9e9786f19c6111e04390a899", "quic key", "quic iv", "quic hp", 0xc3, "QUIC draft-29"};
static const struct quic_seal_version draft_27 = {
    0xff00001b, "c3eef712c72ebb5a11a7d2432bb46365bef9f502", "quic key", "quic iv", "quic hp", 0xc3, "QUIC draft-27"};
static const struct quic_seal_version q050 = {
    0x51303530, "504574efd066fe2f9d945cfcdbd3a7f0d3b56b45", "quic key", "quic iv", "quic hp", 0xc3, "QUIC Q050"};

/* The CRYPTO frame of RFC 9001 appendix A.2. */
static const char sample_frame[] =
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c0000041301130201"
    "0000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c70"
    "6e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74"
    "d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffff"
    "ffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

/* Appends an Initial to `cid`, with the keys of `keys_cid`, of `frames` filled up with padding to `frames_bytes`. */
static void put_initial_with(struct message *m, const struct quic_seal_version *v, const char *keys_cid,
                             const char *cid, uint32_t number, const struct message *frames, size_t frames_bytes)
{
    struct message plain = *frames;
    if (plain.size < frames_bytes)
        put_fill(&plain, 0, frames_bytes - plain.size);
    cr_assert(m->size + plain.size + QUIC_SEAL_OVERHEAD_BYTES <= sizeof(m->bytes));
    struct quic_seal_keys keys = quic_seal_keys_of(v, keys_cid);
    m->size += quic_seal(v, &keys, cid, number, plain.bytes, plain.size, m->bytes + m->size);
}

static void put_initial(struct message *m, const struct quic_seal_version *v, uint32_t number,
                        const struct message *frames, size_t frames_bytes)
{
    put_initial_with(m, v, CID, CID, number, frames, frames_bytes);
}

static void put_crypto(struct message *m, size_t offset, const void *bytes, size_t size)
{
    put_be(m, 0x06, 1);
    put_be(m, 0x4000 | offset, 2);
    put_be(m, 0x4000 | size, 2);
    put(m, bytes, size);
}

static struct message hello_message(const struct hello *h)
{
    struct message m = {.size = 0};
    put_be(&m, 1, 1);
    size_t size = open_size(&m, 3);
    put_client_hello(&m, h);
    close_size(&m, size, 3);
    return m;
}

static void check_sample(const struct quic_seal_version *v, const char *begin, const char *end)
{
    struct message frames = {.size = 0}, packet = {.size = 0};
    uint8_t expected[64];
    frames.size = unhex(sample_frame, frames.bytes);
    put_initial(&packet, v, 2, &frames, 1162);
    cr_assert(packet.size == 1200);
    cr_assert(memcmp(packet.bytes, expected, unhex(begin, expected)) == 0, "the test seals wrongly");
    cr_assert(memcmp(packet.bytes + 1184, expected, unhex(end, expected)) == 0, "the test seals wrongly");

    struct feed f = feed_of("quic", 17);
    cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_host, "example.com");
    feed_expect(&f, CL_TEXT_alpn, "alpn");
    feed_expect(&f, CL_TEXT_version, v->name);
    cr_expect(f.result.confidence == 0);
    feed_end(&f);
}

Test(inspect_quic, sample_packets_of_the_standards)
{
    check_sample(&v1,
                 "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"
                 "d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399",
                 "e221af44860018ab0856972e194cd934");
    check_sample(&v2,
                 "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485"
                 "dd04de806071bf03dceebfa162e75d6c96058bdbfb127cdfcbf903388e99ad04",
                 "a18b2faa745b6fe189cf772a9f84cbfc");
}

Test(inspect_quic, drafts_and_http3)
{
    const struct quic_seal_version *const versions[] = {&draft_29, &draft_27};
    struct hello h = {.version = 0x0303, .host = "Draft.Example.ORG", .alpn = "h3-29"};
    struct message hello = hello_message(&h);
    for (size_t i = 0; i < 2; i++) {
        struct message frames = {.size = 0}, packet = {.size = 0};
        put_crypto(&frames, 0, hello.bytes, hello.size);
        put_initial(&packet, versions[i], 0, &frames, 1162);
        struct feed f = feed_of("quic", 17);
        cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
        feed_expect(&f, CL_TEXT_host, "draft.example.org");
        feed_expect(&f, CL_TEXT_version, versions[i]->name);
        cr_expect(f.result.application == CL_HINT_http3);
        feed_end(&f);
    }
}

/* Pieces of 100 bytes, in an order that leaves gaps, some twice, with PING and ACK between them, over `datagrams` Initials. */
static void feed_in_pieces(struct feed *f, const struct message *hello, unsigned datagrams, bool coalesced)
{
    unsigned pieces = (unsigned)((hello->size + 99) / 100);
    struct message datagram = {.size = 0};
    for (unsigned d = 0; d < datagrams; d++) {
        struct message frames = {.size = 0};
        for (unsigned i = 0; i < pieces; i++) {
            unsigned piece = (i * 7 + 3) % pieces; /* `pieces` is no multiple of 7 here */
            if (i % datagrams != d)
                continue;
            size_t offset = (size_t)piece * 100, left = hello->size - offset;
            put_crypto(&frames, offset, hello->bytes + offset, left < 100 ? left : 100);
            put(&frames, "\1\2\5\0\0\0", 6);
            if (i % 5 == 0)
                put_crypto(&frames, offset, hello->bytes + offset, 50 < left ? 50 : left);
        }
        put_initial(&datagram, &v1, d, &frames, coalesced ? 0 : 1162);
        if (coalesced)
            continue;
        feed_bytes(f, false, datagram.bytes, datagram.size);
        cr_assert(f->step == (d + 1 < datagrams ? CL_INSPECT_CONFIRMED : CL_INSPECT_DONE), "datagram %u", d);
        datagram.size = 0;
    }
    if (coalesced)
        feed_bytes(f, false, datagram.bytes, datagram.size);
}

Test(inspect_quic, hello_in_pieces_of_any_order)
{
    struct hello h = {.version = 0x0303, .host = "pieces.example", .alpn = "doq", .padding_bytes = 1500};
    struct message hello = hello_message(&h);
    cr_assert((hello.size + 99) / 100 % 7);
    for (unsigned datagrams = 1; datagrams <= 4; datagrams++)
        for (unsigned coalesced = 0; coalesced < 2; coalesced++) {
            struct feed f = feed_of("quic", 17);
            feed_in_pieces(&f, &hello, datagrams, coalesced);
            cr_expect(f.step == CL_INSPECT_DONE);
            cr_expect(f.result.application == CL_HINT_doq);
            feed_expect(&f, CL_TEXT_host, "pieces.example");
            feed_end(&f);
        }
}

/* The flow's second Initial goes to the id that the server chose, with the keys of the first. */
Test(inspect_quic, keys_stay_those_of_the_first_id)
{
    struct hello h = {.version = 0x0303, .host = "second.example", .padding_bytes = 600};
    struct message hello = hello_message(&h), frames = {.size = 0}, packet = {.size = 0};
    struct feed f = feed_of("quic", 17);
    put_crypto(&frames, 0, hello.bytes, 500);
    put_initial(&packet, &v1, 0, &frames, 1162);
    cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_CONFIRMED);
    cr_expect(f.info.size_bytes[CL_TEXT_host] == 0);

    frames.size = packet.size = 0;
    put_crypto(&frames, 500, hello.bytes + 500, hello.size - 500);
    put_initial_with(&packet, &v1, CID, "another!", 1, &frames, 1162);
    cr_expect(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_host, "second.example");
    feed_end(&f);
}

/* After a Retry the keys are those of the id that the server gave. */
Test(inspect_quic, keys_change_with_a_retry)
{
    struct hello h = {.version = 0x0303, .host = "retry.example", .padding_bytes = 600};
    struct message hello = hello_message(&h), frames = {.size = 0}, packet = {.size = 0};
    struct feed f = feed_of("quic", 17);
    put_crypto(&frames, 0, hello.bytes, 500);
    put_initial(&packet, &v1, 0, &frames, 1162);
    cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_CONFIRMED);
    static const char retry[] = "\xf0\0\0\0\1\0\bretried!token0123456789abcdef";
    cr_assert(feed_bytes(&f, true, retry, sizeof(retry) - 1) == CL_INSPECT_CONFIRMED);
    frames.size = packet.size = 0;
    put_crypto(&frames, 0, hello.bytes, hello.size);
    put_initial_with(&packet, &v1, "retried!", "retried!", 1, &frames, 1162);
    cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_host, "retry.example");
    feed_end(&f);
}

Test(inspect_quic, every_truncation)
{
    struct hello h = {.version = 0x0303, .host = "short.example", .alpn = "h3"};
    struct message hello = hello_message(&h), frames = {.size = 0}, packet = {.size = 0};
    struct feed f = feed_of("quic", 17);
    put_crypto(&frames, 0, hello.bytes, hello.size);
    put_initial(&packet, &v1, 0, &frames, 300);
    for (size_t size = 1; size < packet.size; size++) {
        feed_restart(&f);
        cr_assert(feed_bytes(&f, false, packet.bytes, size) == CL_INSPECT_REJECTED, "%zu bytes", size);
        cr_assert(f.info.size_bytes[CL_TEXT_host] == 0);
    }
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_end(&f);
}

/* A byte changed anywhere behind the header breaks the tag: no text of it may be believed. */
Test(inspect_quic, wrong_tags_are_told_by_the_header_alone)
{
    struct hello h = {.version = 0x0303, .host = "tag.example"};
    struct message hello = hello_message(&h), frames = {.size = 0}, packet = {.size = 0};
    struct feed f = feed_of("quic", 17);
    put_crypto(&frames, 0, hello.bytes, hello.size);
    put_initial(&packet, &v1, 0, &frames, 400);
    for (size_t at = 18; at < packet.size; at += 13) {
        feed_restart(&f);
        packet.bytes[at] ^= 0x40;
        cr_assert(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_CONFIRMED);
        cr_expect(f.result.confidence > 0 && f.result.confidence < 100);
        cr_expect(f.info.size_bytes[CL_TEXT_host] == 0);
        packet.bytes[at] ^= 0x40;
    }
    feed_end(&f);
}

/* More half-read hellos than a worker has room for: the oldest lose their host, nobody is refused, later ones are read. */
Test(inspect_quic, assemblies_are_bounded)
{
    enum { FLOWS = 300 };
    struct hello h = {.version = 0x0303, .host = "many.example", .padding_bytes = 600};
    struct message hello = hello_message(&h), frames = {.size = 0}, first = {.size = 0}, second = {.size = 0};
    put_crypto(&frames, 0, hello.bytes, 500);
    put_initial(&first, &v1, 0, &frames, 1162);
    frames.size = 0;
    put_crypto(&frames, 500, hello.bytes + 500, hello.size - 500);
    put_initial(&second, &v1, 1, &frames, 1162);

    static struct feed flows[FLOWS];
    struct feed f = feed_of("quic", 17);
    for (unsigned i = 0; i < FLOWS; i++) {
        flows[i] = f;
        cr_assert(feed_bytes(&flows[i], false, first.bytes, first.size) == CL_INSPECT_CONFIRMED);
    }
    unsigned with_host = 0;
    for (unsigned i = 0; i < FLOWS; i++) {
        cr_assert(feed_bytes(&flows[i], false, second.bytes, second.size) == CL_INSPECT_DONE, "flow %u", i);
        if (flows[i].info.size_bytes[CL_TEXT_host])
            with_host++;
        cr_expect(!flows[i].info.size_bytes[CL_TEXT_host] == (i < FLOWS - 256), "flow %u", i);
    }
    cr_expect(with_host == 256);
    /* All were returned: as many again find room. */
    for (unsigned i = 0; i < 256; i++) {
        flows[i] = f;
        feed_bytes(&flows[i], false, first.bytes, first.size);
    }
    for (unsigned i = 0; i < 256; i++) {
        feed_bytes(&flows[i], false, second.bytes, second.size);
        feed_expect(&flows[i], CL_TEXT_host, "many.example");
    }
    feed_end(&f);
}

Test(inspect_quic, server_alone_is_told_by_its_header)
{
    struct message frames = {.size = 0}, packet = {.size = 0};
    struct feed f = feed_of("quic", 17);
    put_fill(&frames, 1, 100);
    put_initial(&packet, &v1, 0, &frames, 1162);
    packet.bytes[6] ^= 1; /* another id than the keys are of, as a server's Initial has */
    for (unsigned i = 0; i < 3; i++) {
        cr_expect(feed_bytes(&f, true, packet.bytes, packet.size) == CL_INSPECT_CONFIRMED);
        cr_expect(f.result.confidence == 85);
    }
    cr_expect(feed_bytes(&f, true, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_end(&f);
}

Test(inspect_quic, version_negotiation)
{
    struct feed f = feed_of("quic", 17);
    static const char known[] = "\x80\0\0\0\0\4abcd\0\x1a\x2a\x3a\x4a\0\0\0\1";
    static const char unknown[] = "\x80\0\0\0\0\4abcd\0\x12\x34\x56\x78";
    static const char uneven[] = "\x80\0\0\0\0\4abcd\0\0\0\0\1\0";
    cr_expect(feed_bytes(&f, true, known, sizeof(known) - 1) == CL_INSPECT_CONFIRMED);
    cr_expect(f.result.confidence == 80);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, unknown, sizeof(unknown) - 1) == CL_INSPECT_REJECTED);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, uneven, sizeof(uneven) - 1) == CL_INSPECT_REJECTED);
    feed_end(&f);
}

Test(inspect_quic, unknown_version_by_the_ids_alone)
{
    struct feed f = feed_of("quic", 17);
    static const char up[] = "\xc0\x12\x34\x56\x78\4dcid\5scid1-and what only this version knows";
    static const char down[] = "\xc0\x12\x34\x56\x78\5scid1\5other-and what only this version knows";
    static const char stranger[] = "\xc0\x12\x34\x56\x78\5scid2\5other-and what only this version knows";
    cr_expect(feed_bytes(&f, false, up, sizeof(up) - 1) == CL_INSPECT_MORE);
    cr_expect(feed_bytes(&f, true, stranger, sizeof(stranger) - 1) == CL_INSPECT_MORE);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, up, sizeof(up) - 1) == CL_INSPECT_MORE);
    cr_expect(feed_bytes(&f, true, down, sizeof(down) - 1) == CL_INSPECT_DONE);
    cr_expect(f.result.confidence == 60);
    feed_end(&f);
}

static void put_le(struct message *m, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        put_be(m, value >> (8 * i) & 0xff, 1);
}

static struct message chlo(void)
{
    struct message m = {.size = 0};
    put(&m, "CHLO\3\0\0\0", 8);
    put(&m, "PAD\0", 4);
    put_le(&m, 20, 4);
    put(&m, "SNI\0", 4);
    put_le(&m, 34, 4);
    put(&m, "UAID", 4);
    put_le(&m, 44, 4);
    put_fill(&m, '-', 20);
    put(&m, "google.exampleBrowser/1a", 24);
    return m;
}

Test(inspect_quic, google_versions)
{
    struct message hello = chlo(), old = {.size = 0}, q046 = {.size = 0};
    put(&old, "\x0d" CID "Q043\1", 14);
    put_fill(&old, 0x77, 12);
    put(&old, "\xa0\1\x2c\0", 4);
    put(&old, hello.bytes, hello.size);
    struct feed f = feed_of("quic", 17);
    cr_expect(feed_bytes(&f, false, old.bytes, old.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_version, "QUIC Q043");
    feed_expect(&f, CL_TEXT_host, "google.example");
    feed_expect(&f, CL_TEXT_user_agent, "Browser/1a");

    put(&q046, "\xc3Q046\x50" CID "\0\0\0\1", 18);
    put_fill(&q046, 0x77, 12);
    put(&q046, "\xa0\1\x2c\0", 4);
    put(&q046, hello.bytes, hello.size);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, q046.bytes, q046.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_version, "QUIC Q046");
    feed_expect(&f, CL_TEXT_host, "google.example");

    struct message frames = {.size = 0}, packet = {.size = 0};
    put_crypto(&frames, 0, hello.bytes, hello.size);
    frames.bytes[0] = 0x08; /* its number of CRYPTO */
    put_initial(&packet, &q050, 1, &frames, 1162);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, packet.bytes, packet.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_version, "QUIC Q050");
    feed_expect(&f, CL_TEXT_host, "google.example");
    for (size_t size = 1; size < old.size; size++) {
        feed_restart(&f);
        feed_bytes(&f, false, old.bytes, size);
        cr_assert(f.step == CL_INSPECT_REJECTED || size >= 13, "%zu bytes", size);
    }
    feed_end(&f);
}

Test(inspect_quic, what_is_not_quic)
{
    struct feed f = feed_of("quic", 17);
    static const char *const others[] = {
        "\x0d" CID "R043", "\x40 a short header of nobody", "GET / HTTP/1.1\r\n\r\n", "\x80", "\xc3\1\2",
        "\x16\xfe\xfd"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_text(&f, false, others[i]) == CL_INSPECT_REJECTED, "%zu", i);
    }
    feed_end(&f);
}

/* The inspectors of HTTP, TLS, DTLS, DNS and SSH on hand-made messages: whole, cut anywhere, and hostile. QUIC has its own file. */
#include "inspect_feed.h"

/* ---- HTTP ---- */

static const char request[] = "GET /index.html?q=1 HTTP/1.1\r\n"
                              "hOST: WWW.Example.COM:8080\r\n"
                              "USER-AGENT:  Mozilla/5.0\r\n"
                              "\t(X11; Linux)\r\n"
                              "Referer: http://from.example/\r\n"
                              "Accept: */*\r\n\r\n";
static const char response[] =
    "HTTP/1.1 200 OK\r\nDate: now\r\nServer: Apache/2.4 (Unix)\r\nContent-Length: 5\r\n\r\nhello";

Test(inspect_http, request_then_response)
{
    struct feed f = feed_of("http", 6);
    feed_every_split(&f, false, request, sizeof(request) - 1);
    cr_expect(f.step == CL_INSPECT_CONFIRMED);
    feed_expect(&f, CL_TEXT_host, "www.example.com");
    feed_expect(&f, CL_TEXT_url, "/index.html?q=1");
    feed_expect(&f, CL_TEXT_user_agent, "Mozilla/5.0 (X11; Linux)");
    feed_expect(&f, CL_TEXT_referer, "http://from.example/");
    feed_expect(&f, CL_TEXT_version, "HTTP/1.1");
    cr_expect(f.result.application == 0 && f.result.protocol == 0);
    cr_expect(feed_text(&f, true, response) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_server, "Apache/2.4 (Unix)");
}

Test(inspect_http, response_alone)
{
    struct feed f = feed_of("http", 6);
    feed_every_split(&f, true, response, sizeof(response) - 1);
    cr_expect(f.step == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_server, "Apache/2.4 (Unix)");
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nserver: late\n\n";
    feed_every_split(&f, true, interim, sizeof(interim) - 1);
    feed_expect(&f, CL_TEXT_server, "late");
}

Test(inspect_http, bare_line_feeds_and_empty_lines_before)
{
    static const char bare[] = "\r\nPOST /a HTTP/1.0\nHost: [2001:db8::1]:80\nServer: no\n\nbody";
    struct feed f = feed_of("http", 6);
    feed_every_split(&f, false, bare, sizeof(bare) - 1);
    feed_expect(&f, CL_TEXT_host, "2001:db8::1");
    feed_expect(&f, CL_TEXT_version, "HTTP/1.0");
}

struct http_case {
    const char *request, *host, *url;
    enum cl_hint application;
};

static const struct http_case http_cases[] = {
    {"CONNECT mail.example:993 HTTP/1.1\r\nHost: other.example\r\n\r\n", "mail.example", "mail.example:993",
     CL_HINT_http_connect},
    {"GET http://user@ab.example:81/x HTTP/1.1\r\nHost: other.example\r\n\r\n", "ab.example",
     "http://user@ab.example:81/x", CL_HINT_http_proxy},
    {"GET /chat HTTP/1.1\r\nHost: w.example\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n", "w.example", "/chat",
     CL_HINT_websocket},
    {"PROPFIND /dav/ HTTP/1.1\r\nHost: d.example\r\n\r\n", "d.example", "/dav/", CL_HINT_webdav},
    {"POST /ipp/print HTTP/1.1\r\nContent-Type: application/ipp\r\nHost: p.example\r\n\r\n", "p.example", "/ipp/print",
     CL_HINT_ipp},
    {"POST /s HTTP/1.1\r\nSOAPAction: \"urn:x\"\r\nContent-Type: text/xml\r\n\r\n", "", "/s", CL_HINT_soap},
    {"POST /dns-query HTTP/1.1\r\ncontent-type: application/dns-message\r\n\r\n", "", "/dns-query", CL_HINT_doh},
    {"GET /announce?x=1&info_hash=%00 HTTP/1.1\r\nHost: t.example\r\n\r\n", "t.example", "/announce?x=1&info_hash=%00",
     CL_HINT_bittorrent},
    {"ANYTHING-GOES_1 * HTTP/1.1\r\nHost: m.example\r\n\r\n", "m.example", "*", 0},
    {"GET /with blank HTTP/1.1\r\nHost: b.example\r\n\r\n", "b.example", "/with blank", 0},
    {"SSTP_DUPLEX_POST /sra_{BA19}/ HTTP/1.1\r\nHost: v.example\r\n\r\n", "v.example", "/sra_{BA19}/", CL_HINT_sstp},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", "", CL_HINT_http2},
    {"GET /old\r\n", "", "/old", 0},
    {"GET /bot.php?id=1\r\nHost: no-version.example\r\n\r\n", "no-version.example", "/bot.php?id=1", 0},
};

Test(inspect_http, what_rides_on_it)
{
    struct feed f = feed_of("http", 6);
    for (size_t i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++) {
        const struct http_case *c = &http_cases[i];
        feed_every_split(&f, false, c->request, strlen(c->request));
        feed_expect(&f, CL_TEXT_host, c->host);
        feed_expect(&f, CL_TEXT_url, c->url);
        cr_expect(f.result.application == c->application, "%s: %u", c->request, f.result.application);
        cr_expect(f.result.protocol == 0, "%s", c->request);
    }
}

Test(inspect_http, http2_server_alone)
{
    static const char settings[] = "\0\0\x0c\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\1\0\0";
    static const char empty_then_update[] = "\0\0\0\4\0\0\0\0\0\0\0\4\x08\0\0\0\0\0\0\1\0\0";
    static const char not_settings[] = "\0\0\x0c\4\0\0\0\0\0\x50\3\0\0\0\x64\0\4\0\1\0\0";
    struct feed f = feed_of("http", 6);
    feed_every_split(&f, true, settings, sizeof(settings) - 1);
    cr_expect(f.result.application == CL_HINT_http2);
    feed_every_split(&f, true, empty_then_update, sizeof(empty_then_update) - 1);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, not_settings, sizeof(not_settings) - 1) == CL_INSPECT_REJECTED);
}

Test(inspect_http, lookalikes)
{
    static const char *const others[] = {
        "OPTIONS rtsp://a.example/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "INVITE sip:a@b.example SIP/2.0\r\nVia: x\r\n\r\n",
        "RTSP/1.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\nicy-name:x\r\n\r\n",
        "REQMOD icap://i.example/ ICAP/1.0\r\n\r\n",
        "EHLO a.example\r\n",
        "220 mail.example ESMTP\r\n",
        "GNUTELLA CONNECT/0.6\r\n",
        "* OK IMAP ready\r\n",
        "GET key\r\n",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 0",
        "HTTP/9.1 200",
        "SSH-2.0-x\r\n",
        "\1\2\3",
        "GET  \r\n",
        " HTTP/1.1\r\n",
        "HTTP/1.x",
    };
    struct feed f = feed_of("http", 6);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_text(&f, false, others[i]) == CL_INSPECT_REJECTED, "%s", others[i]);
    }
    f = feed_of("http", 17);
    cr_expect(feed_text(&f, false, request) == CL_INSPECT_REJECTED);
    feed_restart(&f);
    cr_expect(feed_text(&f, false, "BT-SEARCH * HTTP/1.1\r\nHost: x\r\n\r\n") == CL_INSPECT_REJECTED);
    feed_restart(&f);
    cr_expect(feed_text(&f, false, "M-SEARCH * HTTP/1.1\r\nUSER-AGENT: OS UPnP\r\n\r\n") == CL_INSPECT_DONE);
    cr_expect(f.result.protocol == CL_HINT_ssdp);
    feed_expect(&f, CL_TEXT_user_agent, "OS UPnP");
    feed_restart(&f);
    cr_expect(feed_text(&f, true, "HTTP/1.1 200 OK\r\nST: upnp:x\r\nSERVER: Box/1\r\n\r\n") == CL_INSPECT_DONE);
    cr_expect(f.result.protocol == CL_HINT_ssdp);
}

/* The verdict does not wait for a long line's end, nor for the header block's. */
Test(inspect_http, verdict_with_the_first_bytes)
{
    struct feed f = feed_of("http", 6);
    cr_expect(feed_text(&f, false, "GET /") == CL_INSPECT_CONFIRMED);
    feed_restart(&f);
    cr_expect(feed_text(&f, true, "HTTP/1.1 404") == CL_INSPECT_CONFIRMED);
    feed_restart(&f);
    cr_expect(feed_text(&f, false, "FROBNICATE /x HTTP/1.1\r\n") == CL_INSPECT_CONFIRMED);
}

Test(inspect_http, long_fields_are_cut_and_the_limit_ends_the_wait)
{
    struct message m = {.size = 0};
    put(&m, "GET /", 5);
    put_fill(&m, 'u', 2000);
    put(&m, " HTTP/1.1\r\nCookie: ", 19);
    put_fill(&m, 'c', 3000);
    put(&m, "\r\nHost: long.example\r\nUser-Agent: ", 34);
    put_fill(&m, 'a', CL_STREAM_MAX_BYTES - m.size);
    struct feed f = feed_of("http", 6);
    cr_expect(feed_bytes(&f, false, m.bytes, 1400) == CL_INSPECT_CONFIRMED);
    cr_expect(feed_bytes(&f, false, m.bytes, m.size) == CL_INSPECT_CONFIRMED);
    feed_expect(&f, CL_TEXT_host, "long.example");
    cr_expect(f.info.size_bytes[CL_TEXT_url] == CL_TEXT_MAX_BYTES);
    cr_expect(f.info.size_bytes[CL_TEXT_user_agent] == CL_TEXT_MAX_BYTES);
    feed_restart(&f);
    m.size = 0;
    put_fill(&m, 'T', CL_STREAM_MAX_BYTES);
    cr_expect(feed_bytes(&f, false, m.bytes, m.size) == CL_INSPECT_REJECTED);
}

Test(inspect_http, hostile_fields)
{
    struct message m = {.size = 0};
    struct feed f = feed_of("http", 6);
    put(&m, "GET / HTTP/1.1\r\nHost: ", 22);
    put_fill(&m, 0, 1);
    put(&m, "bad\r\n: nameless\r\nno colon\r\n", 27);
    while (m.size < CL_STREAM_MAX_BYTES - 40)
        put(&m, "Referer:\r\n \r\n", 13);
    put(&m, "\r\n", 2);
    feed_bytes(&f, false, m.bytes, m.size);
    cr_expect(f.step == CL_INSPECT_CONFIRMED);
    feed_expect(&f, CL_TEXT_host, "");
    feed_expect(&f, CL_TEXT_referer, "");
    /* What follows a request may be anything, also from the other side. */
    cr_expect(feed_text(&f, true, "garbage\r\n") == CL_INSPECT_DONE);
}

/* ---- TLS ---- */

static struct message handshake(uint8_t type, const struct message *body)
{
    struct message m = {.size = 0};
    put_be(&m, type, 1);
    put_be(&m, body->size, 3);
    put(&m, body->bytes, body->size);
    return m;
}

/* A stream of handshake records of at most `record_bytes`. */
static struct message records(uint8_t type, const struct message *body, size_t record_bytes)
{
    struct message m = {.size = 0}, h = handshake(type, body);
    for (size_t at = 0; at < h.size; at += record_bytes) {
        size_t size = h.size - at < record_bytes ? h.size - at : record_bytes;
        put(&m, "\x16\3\1", 3);
        put_be(&m, size, 2);
        put(&m, h.bytes + at, size);
    }
    return m;
}

static struct message client_hello(const struct hello *h, size_t record_bytes)
{
    struct message body = {.size = 0};
    put_client_hello(&body, h);
    return records(1, &body, record_bytes);
}

/* `chosen` 0: no extension tells another version than the old field. */
static struct message server_hello(uint16_t version, uint16_t chosen, size_t record_bytes)
{
    struct message body = {.size = 0}, extension = {.size = 0};
    put_be(&body, version, 2);
    put_fill(&body, 0x33, 32);
    put_be(&body, 0, 1);
    put(&body, "\x13\1\0", 3);
    size_t extensions = open_size(&body, 2);
    put_be(&extension, chosen, 2);
    if (chosen)
        put_extension(&body, 43, &extension);
    close_size(&body, extensions, 2);
    return records(2, &body, record_bytes);
}

Test(inspect_tls, both_hellos)
{
    struct hello h = {.version = 0x0303, .host = "WWW.Example.com", .alpn = "h2"};
    struct feed f = feed_of("tls", 6);
    for (size_t record_bytes = 1; record_bytes < 300; record_bytes = record_bytes * 3 + 1) {
        struct message up = client_hello(&h, record_bytes), down = server_hello(0x0303, 0x0304, record_bytes);
        feed_every_split(&f, false, up.bytes, up.size);
        cr_expect(f.step == CL_INSPECT_CONFIRMED);
        feed_expect(&f, CL_TEXT_host, "www.example.com");
        feed_expect(&f, CL_TEXT_alpn, "h2");
        cr_expect(f.result.application == 0);
        cr_expect(feed_bytes(&f, true, down.bytes, down.size) == CL_INSPECT_DONE);
        feed_expect(&f, CL_TEXT_version, "TLS 1.3");
        feed_every_split(&f, true, down.bytes, down.size);
        cr_expect(f.step == CL_INSPECT_DONE);
    }
}

Test(inspect_tls, versions_and_applications)
{
    static const struct {
        uint16_t version, chosen;
        const char *name;
    } versions[] = {{0x0300, 0, "SSL 3.0"}, {0x0301, 0, "TLS 1.0"},      {0x0302, 0, "TLS 1.1"},
                    {0x0303, 0, "TLS 1.2"}, {0x0303, 0x7f1c, "TLS 1.3"}, {0x7f17, 0, "TLS 1.3"}};
    static const struct {
        const char *alpn;
        enum cl_hint application;
    } applications[] = {{"dot", CL_HINT_dot},
                        {"imap", CL_HINT_imaps},
                        {"xmpp-client", CL_HINT_xmpps},
                        {"do", 0},
                        {"http/1.1", 0},
                        {"h2", 0}};
    struct feed f = feed_of("tls", 6);
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct message down = server_hello(versions[i].version, versions[i].chosen, 16384);
        feed_restart(&f);
        cr_expect(feed_bytes(&f, true, down.bytes, down.size) == CL_INSPECT_DONE);
        feed_expect(&f, CL_TEXT_version, versions[i].name);
    }
    for (size_t i = 0; i < sizeof(applications) / sizeof(applications[0]); i++) {
        struct hello h = {.version = 0x0303, .host = "a.example", .alpn = applications[i].alpn};
        struct message up = client_hello(&h, 16384);
        feed_restart(&f);
        feed_bytes(&f, false, up.bytes, up.size);
        cr_expect(f.result.application == applications[i].application, "%s", applications[i].alpn);
        feed_text(&f, true, "\x15\3\1"); /* it stays when the other side's bytes come */
        cr_expect(f.result.application == applications[i].application, "%s", applications[i].alpn);
    }
}

Test(inspect_tls, grease_is_not_the_first_protocol)
{
    struct hello h = {.version = 0x0303, .alpn = "\x1a\x1a"};
    struct message up = client_hello(&h, 16384);
    struct feed f = feed_of("tls", 6);
    feed_bytes(&f, false, up.bytes, up.size);
    feed_expect(&f, CL_TEXT_alpn, "http/1.1");
}

Test(inspect_tls, old_hellos)
{
    struct hello h = {.version = 0x0300, .without_extensions = true};
    struct message up = client_hello(&h, 16384);
    struct feed f = feed_of("tls", 6);
    feed_every_split(&f, false, up.bytes, up.size);

    static const char ssl2[] = "\x80\x2e\1\3\1\0\6\0\0\0\x10"
                               "\1\0\x80\0\0\4"
                               "0123456789abcdef";
    struct message m = {.size = 0};
    put(&m, ssl2, sizeof(ssl2) - 1);
    m.bytes[1] = (uint8_t)(m.size - 2);
    feed_every_split(&f, false, m.bytes, m.size);
    cr_expect(f.step == CL_INSPECT_CONFIRMED);
    m.bytes[1]++;
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, m.bytes, m.size) == CL_INSPECT_REJECTED);

    static const char ssl2_server[] = "\x80\x0f\4\0\1\0\2\0\0\0\3\0\1\7\0\xc0"
                                      "c";
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, ssl2_server, sizeof(ssl2_server) - 1) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_version, "SSL 2.0");
}

Test(inspect_tls, client_that_goes_on_alone)
{
    struct hello h = {.version = 0x0303, .host = "alone.example"};
    struct message up = client_hello(&h, 16384);
    struct feed f = feed_of("tls", 6);
    feed_bytes(&f, false, up.bytes, up.size);
    cr_expect(f.step == CL_INSPECT_CONFIRMED);
    put(&up, "\x14\3\3\0\1\1", 6);
    cr_expect(feed_bytes(&f, false, up.bytes, up.size) == CL_INSPECT_DONE);
    cr_expect(f.info.size_bytes[CL_TEXT_version] == 0);
}

Test(inspect_tls, alert_answers_a_hello_and_clear_text_ends_the_wait)
{
    struct hello h = {.version = 0x0303, .host = "refused.example"};
    struct message up = client_hello(&h, 16384);
    struct feed f = feed_of("tls", 6);
    feed_bytes(&f, false, up.bytes, up.size);
    cr_expect(feed_bytes(&f, true, "\x15\3\1\0\2\2\x28", 7) == CL_INSPECT_DONE);
    feed_restart(&f);
    feed_bytes(&f, false, up.bytes, up.size);
    cr_expect(feed_text(&f, true, "HTTP/1.1 400 Bad Request\r\n\r\n") == CL_INSPECT_DONE);
}

Test(inspect_tls, joined_in_the_middle)
{
    static const char chain[] = "\x17\3\3\0\4\1\2\3\4\x17\3\3\1\0\1\2\3";
    static const char broken[] = "\x17\3\3\0\4\1\2\3\4 no record";
    struct feed f = feed_of("tls", 6);
    f.packet.started_before = true;
    cr_expect(feed_bytes(&f, true, chain, sizeof(chain) - 1) == CL_INSPECT_DONE);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, chain, 9) == CL_INSPECT_CONFIRMED && f.result.confidence == 80);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, broken, sizeof(broken) - 1) == CL_INSPECT_REJECTED);
    feed_restart(&f);
    f.packet.started_before = false;
    cr_expect(feed_bytes(&f, true, chain, sizeof(chain) - 1) == CL_INSPECT_REJECTED, "no flow begins so");
}

Test(inspect_tls, what_is_not_tls)
{
    static const struct {
        const char *bytes;
        size_t size;
    } others[] = {
        {"\x16\2\1\0\5\1\0\0\1\0", 10},
        {"\x16\3\5\0\5\1\0\0\1\0", 10},
        {"\x16\3\1\0\0", 5},
        {"\x16\3\1\xff\xff", 5},
        {"\x16\3\1\0\x40\5\0\0\x3c\3\3", 11},
        {"\x16\3\1\0\x40\1\0\0\x3c\2\3", 11},
        {"GET ", 4},
        {"\x19", 1},
        {"\x80\x2e\2", 3},
        {"\x17\3\3\0\1\1", 6},
    };
    struct feed f = feed_of("tls", 6);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_bytes(&f, false, others[i].bytes, others[i].size) == CL_INSPECT_REJECTED, "%zu", i);
    }
}

/* Lengths that lie, at each place of a hello: nothing is read beyond, what was read before stands. */
Test(inspect_tls, lengths_that_lie)
{
    struct hello h = {.version = 0x0303, .host = "lie.example", .alpn = "h2"};
    struct message up = client_hello(&h, 16384);
    struct feed f = feed_of("tls", 6);
    for (size_t at = 0; at < up.size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct message m = up;
            m.bytes[at] ^= (uint8_t)(1u << bit);
            feed_restart(&f);
            feed_bytes(&f, false, m.bytes, m.size);
            const char *host = f.info.text[CL_TEXT_host];
            for (unsigned i = 0; i < f.info.size_bytes[CL_TEXT_host]; i++)
                cr_assert(host[i] > ' ' && host[i] < 0x7f, "byte %zu bit %u", at, bit);
            cr_assert(f.step != CL_INSPECT_DONE || f.info.size_bytes[CL_TEXT_version] == 0);
        }
}

/* ---- DTLS ---- */

static struct message dtls_record(uint8_t type, uint16_t version, const struct message *payload)
{
    struct message m = {.size = 0};
    put_be(&m, type, 1);
    put_be(&m, version, 2);
    put_be(&m, 0, 8);
    put_be(&m, payload->size, 2);
    put(&m, payload->bytes, payload->size);
    return m;
}

static struct message dtls_handshake(uint8_t type, const struct message *body, size_t fragment)
{
    struct message m = {.size = 0};
    put_be(&m, type, 1);
    put_be(&m, body->size, 3);
    put_be(&m, 0, 2);
    put_be(&m, 0, 3);
    put_be(&m, fragment, 3);
    put(&m, body->bytes, fragment);
    return m;
}

Test(inspect_dtls, hellos)
{
    struct hello h = {.version = 0xfefd, .host = "media.example", .alpn = "webrtc", .dtls = true};
    struct message body = {.size = 0};
    put_client_hello(&body, &h);
    struct message payload = dtls_handshake(1, &body, body.size), up = dtls_record(22, 0xfeff, &payload);
    struct feed f = feed_of("dtls", 17);
    for (size_t size = 1; size < up.size; size++) {
        feed_restart(&f);
        cr_assert(feed_bytes(&f, false, up.bytes, size) == CL_INSPECT_REJECTED, "%zu", size);
    }
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, up.bytes, up.size) == CL_INSPECT_CONFIRMED);
    feed_expect(&f, CL_TEXT_host, "media.example");

    struct message verify = {.size = 0};
    put(&verify, "\xfe\xff\4abcd", 7);
    payload = dtls_handshake(3, &verify, verify.size);
    struct message down = dtls_record(22, 0xfeff, &payload);
    cr_expect(feed_bytes(&f, true, down.bytes, down.size) == CL_INSPECT_CONFIRMED);

    struct message answer = {.size = 0};
    put(&answer, "\xfe\xfd", 2);
    put_fill(&answer, 1, 32);
    put(&answer, "\0\xc0\x2b\0\0\0", 6);
    payload = dtls_handshake(2, &answer, answer.size);
    down = dtls_record(22, 0xfefd, &payload);
    cr_expect(feed_bytes(&f, true, down.bytes, down.size) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_version, "DTLS 1.2");
}

Test(inspect_dtls, fragments_and_lookalikes)
{
    struct hello h = {.version = 0xfefd, .host = "cut.example", .dtls = true};
    struct message body = {.size = 0};
    put_client_hello(&body, &h);
    struct message payload = dtls_handshake(1, &body, 80), up = dtls_record(22, 0xfefd, &payload);
    struct feed f = feed_of("dtls", 17);
    cr_expect(feed_bytes(&f, false, up.bytes, up.size) == CL_INSPECT_CONFIRMED);
    cr_expect(feed_text(&f, true, "\x80stun or media") == CL_INSPECT_CONFIRMED, "what is confirmed stays");
    static const struct {
        const char *bytes;
        size_t size;
    } others[] = {{"\x16\3\3\0\0\0\0\0\0\0\0\0\1\1", 14},
                  {"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\0", 13},
                  {"\x17\xfe\xfd\0\0\0\0\0\0\0\0\0\1\1", 14},
                  {"\x15\xfe\xfd\0\0\0\0\0\0\0\0\0\2\2", 14}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_bytes(&f, false, others[i].bytes, others[i].size) == CL_INSPECT_REJECTED, "%zu", i);
    }
}

/* ---- DNS ---- */

#define DNS_QUERY "\x12\x34\1\0\0\1\0\0\0\0\0\0\3WwW\7example\3COM\0\0\1\0\1"
#define DNS_ANSWER                                                                                                     \
    "\x12\x34\x81\x80\0\1\0\2\0\0\0\1\3www\7example\3com\0\0\1\0\1"                                                    \
    "\xc0\x0c\0\5\0\1\0\0\1\0\0\4\1a\xc0\x10"                                                                          \
    "\xc0\x2d\0\1\0\1\0\0\1\0\0\4\x0a\0\0\1"                                                                           \
    "\0\0\x29\x10\0\0\0\0\0\0\0"

Test(inspect_dns, query_and_answer)
{
    struct feed f = feed_of("dns", 17);
    static const char query[] = DNS_QUERY, answer[] = DNS_ANSWER;
    cr_expect(feed_bytes(&f, false, query, sizeof(query) - 1) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_host, "www.example.com");
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, answer, sizeof(answer) - 1) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_host, "www.example.com");
    cr_expect(f.result.protocol == 0);
    for (size_t size = 1; size < sizeof(answer) - 1; size++) {
        feed_restart(&f);
        cr_assert(feed_bytes(&f, true, answer, size) == CL_INSPECT_REJECTED, "%zu", size);
    }
    f.packet.server_port = 5353;
    feed_restart(&f);
    feed_bytes(&f, false, query, sizeof(query) - 1);
    cr_expect(f.result.protocol == CL_HINT_mdns);
    f.packet.server_port = 5355;
    feed_bytes(&f, false, query, sizeof(query) - 1);
    cr_expect(f.result.protocol == CL_HINT_llmnr);
    f.packet.server_port = 137;
    cr_expect(feed_bytes(&f, false, query, sizeof(query) - 1) == CL_INSPECT_REJECTED);
}

Test(inspect_dns, stream)
{
    struct message m = {.size = 0};
    static const char answer[] = DNS_ANSWER;
    put_be(&m, sizeof(answer) - 1, 2);
    put(&m, answer, sizeof(answer) - 1);
    put(&m, m.bytes, 20); /* the next message begins */
    struct feed f = feed_of("dns", 6);
    feed_every_split(&f, true, m.bytes, m.size);
    feed_expect(&f, CL_TEXT_host, "www.example.com");
    cr_expect(f.step == CL_INSPECT_DONE);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, m.bytes, 40) == CL_INSPECT_DONE, "header and question suffice");
}

struct dns_case {
    const char *what, *bytes;
    size_t size;
};
#define DNS_CASE(what, bytes)                                                                                          \
    {                                                                                                                  \
        what, bytes, sizeof(bytes) - 1                                                                                 \
    }
#define DNS_HEADER "\x12\x34\1\0\0\1\0\0\0\0\0\0"

static const struct dns_case dns_refused[] = {
    DNS_CASE("opcode 3", "\x12\x34\x18\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"),
    DNS_CASE("1,000 questions", "\x12\x34\1\0\3\xe8\0\0\0\0\0\0\1a\0\0\1\0\1"),
    DNS_CASE("empty query", "\x12\x34\1\0\0\0\0\0\0\0\0\0"),
    DNS_CASE("class 77", DNS_HEADER "\1a\0\0\1\0\x4d"),
    DNS_CASE("type 0", DNS_HEADER "\1a\0\0\0\0\1"),
    DNS_CASE("label type 0x40", DNS_HEADER "\x41"
                                           "a\0\0\1\0\1"),
    DNS_CASE("pointer to itself", DNS_HEADER "\xc0\x0c\0\1\0\1"),
    DNS_CASE("pointer forward", DNS_HEADER "\xc0\x10\0\1\0\1\1a\0"),
    DNS_CASE("pointer into the header", DNS_HEADER "\1a\xc0\2\0\1\0\1"),
    DNS_CASE("pointer to the name that it is of", DNS_HEADER "\1a\xc0\x0c\0\1\0\1"),
    DNS_CASE("bytes after the end", DNS_HEADER "\1a\0\0\1\0\1xyz"),
    DNS_CASE("NetBIOS name", DNS_HEADER "\x20"
                                        "EOEPFKFHEFFCDBCACACACACACACACACA\0\0\x20\0\1"),
    DNS_CASE("answer that is not there", "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\1\0\1"),
};

Test(inspect_dns, refused)
{
    struct feed f = feed_of("dns", 17);
    for (size_t i = 0; i < sizeof(dns_refused) / sizeof(dns_refused[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_bytes(&f, false, dns_refused[i].bytes, dns_refused[i].size) == CL_INSPECT_REJECTED, "%s",
                  dns_refused[i].what);
    }
    /* Truncated by the server, and an error without a question: taken. */
    static const char truncated[] = "\x12\x34\x83\x80\0\1\0\1\0\0\0\0\1a\0\0\1\0\1\xc0";
    static const char error[] = "\x12\x34\x81\x81\0\0\0\0\0\0\0\0";
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, error, sizeof(error) - 1) == CL_INSPECT_REJECTED, "too little but on port 53");
    f.packet.server_port = 53;
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, truncated, sizeof(truncated) - 1) == CL_INSPECT_DONE);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, error, sizeof(error) - 1) == CL_INSPECT_DONE);
}

/* Names of 255 bytes are the longest; a chain of pointers ends at 16. */
Test(inspect_dns, limits_of_names)
{
    struct feed f = feed_of("dns", 17);
    for (unsigned last = 61; last <= 62; last++) {
        struct message m = {.size = 0};
        put(&m, DNS_HEADER, 12);
        for (unsigned i = 0; i < 4; i++) {
            unsigned size = i < 3 ? 63 : last;
            put_be(&m, size, 1);
            put_fill(&m, 'a', size);
        }
        put(&m, "\0\0\1\0\1", 5);
        feed_restart(&f);
        feed_bytes(&f, false, m.bytes, m.size);
        cr_expect(f.step == (last == 61 ? CL_INSPECT_DONE : CL_INSPECT_REJECTED), "%u: %d", last, f.step);
    }
    for (unsigned pointers = 16; pointers <= 17; pointers++) {
        struct message m = {.size = 0};
        put(&m, "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\1\0\1", 19);
        put(&m, "\0\0\x10\0\1\0\0\0\0", 9); /* a text record of the root, of pointers that point back one by one */
        size_t size = open_size(&m, 2);
        for (unsigned i = 0; i < pointers - 1; i++)
            put_be(&m, 0xc000 | (i ? m.size - 2 : 12), 2);
        close_size(&m, size, 2);
        m.bytes[7] = 2; /* answers */
        put_be(&m, 0xc000 | (m.size - 2), 2);
        put(&m, "\0\1\0\1\0\0\0\0\0\0", 10);
        feed_restart(&f);
        feed_bytes(&f, true, m.bytes, m.size);
        cr_expect(f.step == (pointers == 16 ? CL_INSPECT_DONE : CL_INSPECT_REJECTED), "%u: %d", pointers, f.step);
    }
}

/* ---- SSH ---- */

Test(inspect_ssh, both_sides)
{
    static const char client[] = "SSH-2.0-PuTTY_Release_0.78\r\n\0\0\1",
                      server[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
    struct feed f = feed_of("ssh", 6);
    feed_every_split(&f, false, client, sizeof(client) - 1);
    cr_expect(f.step == CL_INSPECT_CONFIRMED);
    cr_expect(f.info.size_bytes[CL_TEXT_server] == 0);
    cr_expect(feed_text(&f, true, "SSH-") == CL_INSPECT_CONFIRMED, "what is confirmed stays");
    cr_expect(feed_text(&f, true, server) == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_server, "OpenSSH_9.2p1 Debian-2");
    feed_expect(&f, CL_TEXT_version, "SSH 2.0");
    feed_every_split(&f, true, server, sizeof(server) - 1);
    feed_restart(&f);
    cr_expect(feed_text(&f, true, "SSH-1.99-x") == CL_INSPECT_CONFIRMED, "software may still grow");
    feed_restart(&f);
    cr_expect(feed_text(&f, true, "SSH-1.5-1.2.27\n") == CL_INSPECT_DONE);
    feed_expect(&f, CL_TEXT_server, "1.2.27");
}

Test(inspect_ssh, lines_before_the_servers)
{
    static const char banner[] = "Welcome\r\nno SSH- here\r\nSSH-2.0-dropbear\r\n";
    struct feed f = feed_of("ssh", 6);
    f.packet.server_port = 22;
    feed_every_split(&f, true, banner, sizeof(banner) - 1);
    feed_expect(&f, CL_TEXT_server, "dropbear");
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, banner, sizeof(banner) - 1) == CL_INSPECT_REJECTED, "clients may not");
    f.packet.server_port = 25;
    feed_restart(&f);
    cr_expect(feed_text(&f, true, "220 mail\r\n") == CL_INSPECT_REJECTED);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, banner, sizeof(banner) - 1) == CL_INSPECT_REJECTED);
    f.packet.server_port = 22;
    struct message m = {.size = 0};
    put_fill(&m, '\n', CL_STREAM_MAX_BYTES);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, true, m.bytes, m.size) == CL_INSPECT_REJECTED);
}

Test(inspect_ssh, refused)
{
    static const char *const others[] = {"SSH-x.0-a\r\n",           "SSH--a\r\n", "SSH-2.0\r\n",
                                         "SSH-2.0-a\1b\r\n",        "SSX",        "SSH-2.0-\1",
                                         "SSH-11111111111111111111"};
    struct feed f = feed_of("ssh", 6);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        feed_restart(&f);
        cr_expect(feed_text(&f, false, others[i]) == CL_INSPECT_REJECTED, "%s", others[i]);
    }
    struct message m = {.size = 0};
    put(&m, "SSH-2.0-", 8);
    put_fill(&m, 'a', 300);
    feed_restart(&f);
    cr_expect(feed_bytes(&f, false, m.bytes, m.size) == CL_INSPECT_REJECTED, "no line is that long");
}

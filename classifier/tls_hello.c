#include "classifier/tls_hello.h"

#include "classifier/inspect_text.h"
#include "classifier/ja4.h"

enum { EXTENSION_SERVER_NAME = 0, EXTENSION_ALPN = 16, EXTENSION_SUPPORTED_VERSIONS = 43 };

static const struct {
    uint16_t version;
    const char *name;
} versions[] = {
    {0x0002, "SSL 2.0"}, {0x0300, "SSL 3.0"},  {0x0301, "TLS 1.0"},  {0x0302, "TLS 1.1"},  {0x0303, "TLS 1.2"},
    {0x0304, "TLS 1.3"}, {0x0100, "DTLS 1.0"}, {0xfeff, "DTLS 1.0"}, {0xfefd, "DTLS 1.2"}, {0xfefc, "DTLS 1.3"},
};

/* What a protocol name (IANA, TLS ALPN Protocol IDs) tells of the application; names that add nothing are left out. */
static const struct {
    const char *alpn;
    uint8_t hint;
} alpn_hints[] = {
    {"dot", CL_HINT_dot},
    {"doq", CL_HINT_doq},
    {"imap", CL_HINT_imaps},
    {"pop3", CL_HINT_pop3s},
    {"smtp", CL_HINT_smtps},
    {"ftp", CL_HINT_ftps},
    {"xmpp-client", CL_HINT_xmpps},
    {"xmpp-server", CL_HINT_xmpps},
    {"mqtt", CL_HINT_mqtts},
    {"ntske/1", CL_HINT_nts_ke},
    {"sip", CL_HINT_sips},
    {"nntp", CL_HINT_nntps},
    {"irc", CL_HINT_ircs},
    {"stun.turn", CL_HINT_turns},
    {"coap", CL_HINT_coaps},
    {"smb", CL_HINT_smb},
    {"h3", CL_HINT_http3},
    {"managesieve", CL_HINT_sieve},
    {"postgresql", CL_HINT_postgresql},
};

const char *tls_version_name(uint16_t version)
{
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        if (versions[i].version == version)
            return versions[i].name;
    /* Drafts of TLS 1.3: RFC 8446's own (0x7f) and those of one large site (0xfb). */
    return version >> 8 == 0x7f || version >> 8 == 0xfb ? "TLS 1.3" : NULL;
}

static void read_server_name(struct cursor c, struct cl_info *info)
{
    struct cursor list = cursor_sub(&c, cursor_be16(&c));
    while (cursor_left(&list)) {
        uint8_t type = cursor_u8(&list);
        struct cursor name = cursor_sub(&list, cursor_be16(&list));
        if (name.ok && type == 0) {
            text_set_host(info, name.p, cursor_left(&name));
            return;
        }
    }
}

/* A client may put a name that nobody speaks first (RFC 8701): it is not the first protocol offered. */
static bool is_grease(const uint8_t *name, size_t size)
{
    return size == 2 && name[0] == name[1] && (name[0] & 0x0f) == 0x0a;
}

static void read_alpn(struct cursor c, struct cl_info *info, struct cl_inspect_result *result)
{
    struct cursor list = cursor_sub(&c, cursor_be16(&c));
    if (!list.ok)
        return;
    struct cursor name = cursor_sub(&list, cursor_u8(&list));
    while (name.ok && is_grease(name.p, cursor_left(&name)))
        name = cursor_sub(&list, cursor_u8(&list));
    size_t size = cursor_left(&name);
    if (!size)
        return;
    cl_info_set(info, CL_TEXT_alpn, name.p, size);
    if (size > 3 && memcmp(name.p, "h3-", 3) == 0) /* drafts of HTTP/3 */
        size = 2;
    for (size_t i = 0; i < sizeof(alpn_hints) / sizeof(alpn_hints[0]); i++)
        if (strlen(alpn_hints[i].alpn) == size && memcmp(alpn_hints[i].alpn, name.p, size) == 0)
            result->application = alpn_hints[i].hint;
}

/* Known bytes ended: at the end of the message that is a malformed or old hello, which is a hello all the same. */
static enum tls_hello at_end(bool whole)
{
    return whole ? TLS_HELLO_WHOLE : TLS_HELLO_SHORT;
}

static bool is_hello_version(uint16_t version, bool dtls)
{
    return dtls ? version >> 8 == 0xfe || version == 0x0100 : version >> 8 == 3 || version >> 8 == 0x7f;
}

static void set_ja4(struct cursor hello, bool dtls, struct cl_info *info)
{
    char text[JA4_BYTES];
    if (!info->size_bytes[CL_TEXT_ja4] && ja4_of_hello(hello, dtls, text))
        cl_info_set(info, CL_TEXT_ja4, text, sizeof text);
}

enum tls_hello tls_read_client_hello(struct cursor c, bool whole, bool dtls, struct cl_info *info,
                                     struct cl_inspect_result *result)
{
    const struct cursor hello = c;
    uint16_t version = cursor_be16(&c);
    cursor_skip(&c, 32);
    uint8_t session_size = cursor_u8(&c);
    if (!c.ok)
        return whole || (version && !is_hello_version(version, dtls)) ? TLS_HELLO_BAD : TLS_HELLO_SHORT;
    if (!is_hello_version(version, dtls) || session_size > 32)
        return TLS_HELLO_BAD;
    cursor_skip(&c, session_size);
    if (dtls)
        cursor_skip(&c, cursor_u8(&c));
    uint16_t suites_bytes = cursor_be16(&c);
    if (c.ok && (!suites_bytes || suites_bytes % 2))
        return TLS_HELLO_BAD;
    cursor_skip(&c, suites_bytes);
    uint8_t compression_bytes = cursor_u8(&c);
    if (c.ok && !compression_bytes)
        return TLS_HELLO_BAD;
    cursor_skip(&c, compression_bytes);
    cursor_be16(&c); /* of the extensions; they end where the message ends */
    if (!c.ok)
        return at_end(whole);
    while (cursor_left(&c)) {
        uint16_t type = cursor_be16(&c);
        struct cursor extension = cursor_sub(&c, cursor_be16(&c));
        if (!c.ok || !extension.ok)
            break;
        if (type == EXTENSION_SERVER_NAME)
            read_server_name(extension, info);
        else if (type == EXTENSION_ALPN)
            read_alpn(extension, info, result);
    }
    if (whole && info->wants_ja4)
        set_ja4(hello, dtls, info);
    return at_end(whole);
}

static void set_version(struct cl_info *info, uint16_t version)
{
    const char *name = tls_version_name(version);
    if (name)
        cl_info_set(info, CL_TEXT_version, name, strlen(name));
}

enum tls_hello tls_read_server_hello(struct cursor c, bool whole, struct cl_info *info)
{
    uint16_t version = cursor_be16(&c);
    cursor_skip(&c, 32);
    uint8_t session_size = cursor_u8(&c);
    if (!c.ok)
        return whole || (version && !tls_version_name(version)) ? TLS_HELLO_BAD : TLS_HELLO_SHORT;
    if (!tls_version_name(version) || session_size > 32)
        return TLS_HELLO_BAD;
    cursor_skip(&c, session_size + 3u); /* cipher suite, compression */
    cursor_be16(&c);
    while (cursor_left(&c)) {
        uint16_t type = cursor_be16(&c);
        struct cursor extension = cursor_sub(&c, cursor_be16(&c));
        if (c.ok && extension.ok && type == EXTENSION_SUPPORTED_VERSIONS && cursor_left(&extension) == 2)
            version = cursor_be16(&extension);
    }
    if (!whole)
        return TLS_HELLO_SHORT;
    set_version(info, version);
    return TLS_HELLO_WHOLE;
}

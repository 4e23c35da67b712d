/* The one-shot functions that OpenSSL 3 recommends allocate at each call; these work on the stack. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "classifier/ja4.h"

#include <ctype.h>
#include <openssl/sha.h>
#include <string.h>

enum {
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_SIGNATURE_ALGORITHMS = 13,
    EXTENSION_ALPN = 16,
    EXTENSION_SUPPORTED_VERSIONS = 43,
    EXTENSION_QUIC_PARAMETERS = 57,
    EXTENSION_QUIC_PARAMETERS_DRAFT = 0xffa5,
};

struct values {
    unsigned count;
    uint16_t list[JA4_MAX_VALUES];
};

struct hello {
    uint16_t version;
    bool has_host, is_quic;
    char alpn[2];
    struct values ciphers, extensions, algorithms;
};

static const char hex[] = "0123456789abcdef";

static bool is_grease(uint16_t value)
{
    return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

static bool add(struct values *values, uint16_t value)
{
    if (is_grease(value))
        return true;
    if (values->count == JA4_MAX_VALUES)
        return false;
    values->list[values->count++] = value;
    return true;
}

static void sort(struct values *values)
{
    for (unsigned i = 1; i < values->count; i++) {
        uint16_t value = values->list[i];
        unsigned k = i;
        for (; k && values->list[k - 1] > value; k--)
            values->list[k] = values->list[k - 1];
        values->list[k] = value;
    }
}

/* ---- reading ---- */

static bool read_values(struct cursor c, struct values *values)
{
    while (cursor_left(&c) >= 2)
        if (!add(values, cursor_be16(&c)))
            return false;
    return c.ok;
}

/* The first value's first and last character; in hex when one of them is no letter or digit. */
static void read_alpn(struct cursor c, char alpn[2])
{
    cursor_be16(&c);
    uint8_t size = cursor_u8(&c);
    const uint8_t *p = cursor_take(&c, size);
    if (!p || !size)
        return;
    uint8_t first = p[0], last = p[size - 1];
    bool is_text = first < 0x80 && last < 0x80 && isalnum(first) && isalnum(last);
    alpn[0] = is_text ? (char)first : hex[first >> 4];
    alpn[1] = is_text ? (char)last : hex[last & 15];
}

/* The newest one; versions of DTLS count down. */
static void read_versions(struct cursor c, bool dtls, struct hello *hello)
{
    uint16_t newest = 0;
    cursor_u8(&c);
    while (cursor_left(&c) >= 2) {
        uint16_t version = cursor_be16(&c);
        if (!is_grease(version) && (!newest || (dtls ? version < newest : version > newest)))
            newest = version;
    }
    if (newest)
        hello->version = newest;
}

static bool read_extension(uint16_t type, struct cursor c, bool dtls, struct hello *hello)
{
    if (is_grease(type))
        return true;
    if (type == EXTENSION_SERVER_NAME)
        hello->has_host = true;
    else if (type == EXTENSION_ALPN)
        read_alpn(c, hello->alpn);
    else if (type == EXTENSION_SUPPORTED_VERSIONS)
        read_versions(c, dtls, hello);
    else if (type == EXTENSION_QUIC_PARAMETERS || type == EXTENSION_QUIC_PARAMETERS_DRAFT)
        hello->is_quic = true;
    else if (type == EXTENSION_SIGNATURE_ALGORITHMS)
        return add(&hello->extensions, type) && cursor_be16(&c) != UINT16_MAX && read_values(c, &hello->algorithms);
    return add(&hello->extensions, type);
}

static bool read_hello(struct cursor c, bool dtls, struct hello *hello)
{
    hello->version = cursor_be16(&c);
    cursor_skip(&c, 32);
    cursor_skip(&c, cursor_u8(&c));
    if (dtls)
        cursor_skip(&c, cursor_u8(&c));
    struct cursor ciphers = cursor_sub(&c, cursor_be16(&c));
    cursor_skip(&c, cursor_u8(&c));
    if (!c.ok || !read_values(ciphers, &hello->ciphers))
        return false;
    if (!cursor_left(&c))
        return true;
    struct cursor extensions = cursor_sub(&c, cursor_be16(&c));
    while (extensions.ok && cursor_left(&extensions)) {
        uint16_t type = cursor_be16(&extensions);
        struct cursor body = cursor_sub(&extensions, cursor_be16(&extensions));
        if (!body.ok || !extensions.ok || !read_extension(type, body, dtls, hello))
            return false;
    }
    return c.ok && extensions.ok;
}

/* ---- writing ---- */

static const char *version_text(uint16_t version)
{
    static const struct {
        uint16_t version;
        char text[3];
    } known[] = {{0x0304, "13"}, {0x0303, "12"}, {0x0302, "11"}, {0x0301, "10"}, {0x0300, "s3"},
                 {0x0002, "s2"}, {0xfeff, "d1"}, {0xfefd, "d2"}, {0xfefc, "d3"}};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].version == version)
            return known[i].text;
    return "00";
}

static void hash_list(SHA256_CTX *sha, const struct values *values, const char *before)
{
    for (unsigned i = 0; i < values->count; i++) {
        uint16_t v = values->list[i];
        char text[5] = {i ? ',' : before[0], hex[v >> 12], hex[v >> 8 & 15], hex[v >> 4 & 15], hex[v & 15]};
        unsigned skipped = !i && !before[0];
        SHA256_Update(sha, text + skipped, sizeof text - skipped);
    }
}

/* Twelve digits; zeroes of an empty list. */
static void write_hash(const struct values *list, const struct values *more, char *out)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX sha;
    if (!list->count) {
        memset(out, '0', 12);
        return;
    }
    SHA256_Init(&sha);
    hash_list(&sha, list, "");
    if (more)
        hash_list(&sha, more, "_");
    SHA256_Final(digest, &sha);
    for (unsigned i = 0; i < 6; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
}

static void write_count(unsigned count, char *out)
{
    unsigned shown = count > 99 ? 99 : count;
    out[0] = (char)('0' + shown / 10);
    out[1] = (char)('0' + shown % 10);
}

/* Without host name and ALPN, which the first part tells. */
static void drop_told(struct values *extensions)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < extensions->count; i++)
        if (extensions->list[i] != EXTENSION_SERVER_NAME && extensions->list[i] != EXTENSION_ALPN)
            extensions->list[kept++] = extensions->list[i];
    extensions->count = kept;
}

bool ja4_of_hello(struct cursor c, bool dtls, char ret_text[JA4_BYTES])
{
    struct hello hello;
    hello.has_host = hello.is_quic = false;
    hello.alpn[0] = hello.alpn[1] = '0';
    hello.ciphers.count = hello.extensions.count = hello.algorithms.count = 0;
    if (!read_hello(c, dtls, &hello))
        return false;
    ret_text[0] = dtls ? 'd' : hello.is_quic ? 'q' : 't';
    memcpy(ret_text + 1, version_text(hello.version), 2);
    ret_text[3] = hello.has_host ? 'd' : 'i';
    write_count(hello.ciphers.count, ret_text + 4);
    write_count(hello.extensions.count, ret_text + 6);
    memcpy(ret_text + 8, hello.alpn, 2);
    drop_told(&hello.extensions);
    sort(&hello.ciphers);
    sort(&hello.extensions);
    ret_text[10] = ret_text[23] = '_';
    write_hash(&hello.ciphers, NULL, ret_text + 11);
    write_hash(&hello.extensions, &hello.algorithms, ret_text + 24);
    return true;
}

bool ja4_is_text(const char *text)
{
    if (strlen(text) != JA4_BYTES || !strchr("tqd", text[0]) || text[10] != '_' || text[23] != '_')
        return false;
    for (unsigned i = 0; i < JA4_BYTES; i++)
        if (i != 10 && i != 23 && !(i < 10 ? isalnum((unsigned char)text[i]) != 0 : strchr(hex, text[i]) != NULL))
            return false;
    return true;
}

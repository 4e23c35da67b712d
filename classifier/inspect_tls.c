/*
 * TLS 1.0 to 1.3, SSL 3.0 and SSL 2.0's hello, over TCP (RFC 8446, RFC 5246, RFC 6101). Confirmed by the record and hello
 * headers; then host, ALPN from the client's hello, the version from the server's. A flow whose beginning was not seen is told
 * by a chain of plausible records.
 */
#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/tls_hello.h"

enum tls_content { TLS_CHANGE_CIPHER_SPEC = 20, TLS_ALERT, TLS_HANDSHAKE, TLS_APPLICATION_DATA, TLS_HEARTBEAT };

#define TLS_RECORD_HEADER_BYTES  5u
#define TLS_RECORD_MAX_BYTES     (16384u + 2048u)
#define TLS_HANDSHAKE_HEAD_BYTES 4u
#define TLS_MIDFLOW_RECORDS      2u /* that must follow each other to tell a flow joined in its middle for sure */

struct tls_state {
    uint8_t application; /* enum cl_hint, from the client's hello */
    bool client_hello_read;
    bool confirmed; /* from here on nothing is refused: the other direction may answer in clear text */
};
_Static_assert(sizeof(struct tls_state) <= CL_INSPECT_STATE_BYTES, "inspector state");

struct record {
    uint8_t type;
    uint32_t size_bytes;
    struct cursor payload; /* what there is of it */
};

/* A hello and where it stood. */
struct handshake {
    uint8_t type;
    struct cursor body; /* what there is of it */
    bool whole;
    bool followed; /* the sender went on after it */
};

/* 0: no record, 1: one (perhaps not all of it), -1: too few bytes to tell. */
static int read_record(struct cursor *stream, struct record *ret_record)
{
    struct cursor c = *stream;
    size_t left = cursor_left(&c);
    uint8_t type = cursor_u8(&c), major = cursor_u8(&c), minor = cursor_u8(&c);
    uint16_t size = cursor_be16(&c);
    if (type < TLS_CHANGE_CIPHER_SPEC || type > TLS_HEARTBEAT || (left > 1 && major != 3) || minor > 4)
        return left ? 0 : -1;
    if (!c.ok)
        return -1;
    if (!size || size > TLS_RECORD_MAX_BYTES)
        return 0;
    size_t there = cursor_left(&c) < size ? cursor_left(&c) : size;
    *ret_record = (struct record){.type = type, .size_bytes = size, .payload = cursor_sub(&c, there)};
    *stream = c;
    return 1;
}

/*
 * The handshake message at the head of the stream. It lies in place when one record holds it, and is joined in `buffer`
 * (CL_STREAM_MAX_BYTES) when it was cut over several.
 */
static struct handshake join_handshake(struct cursor stream, uint8_t *buffer)
{
    struct handshake h = {0};
    struct record record;
    size_t joined = 0, wanted = TLS_HANDSHAKE_HEAD_BYTES;
    const uint8_t *bytes = NULL;
    while (read_record(&stream, &record) == 1 && record.type == TLS_HANDSHAKE) {
        size_t there = cursor_left(&record.payload);
        if (there > CL_STREAM_MAX_BYTES - joined)
            break;
        if (joined) {
            memcpy(buffer + joined, record.payload.p, there);
            bytes = buffer;
        } else {
            bytes = record.payload.p;
        }
        size_t before = joined;
        joined += there;
        if (joined >= TLS_HANDSHAKE_HEAD_BYTES)
            wanted = TLS_HANDSHAKE_HEAD_BYTES + ((size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3]);
        if (joined >= wanted || there < record.size_bytes)
            break;
        if (!before)
            memcpy(buffer, bytes, joined);
    }
    struct cursor c = cursor_of(bytes, joined < wanted ? joined : wanted);
    h.type = cursor_u8(&c);
    cursor_skip(&c, 3);
    h.body = c;
    h.whole = joined >= wanted;
    h.followed = joined > wanted || cursor_left(&stream) > 0;
    return h;
}

static enum cl_inspect_step read_hello(struct tls_state *state, const struct handshake *h, struct cl_info *info)
{
    struct cl_inspect_result result = {0};
    enum tls_hello hello;
    if (!h->body.ok)
        return CL_INSPECT_MORE;
    if (h->type == TLS_CLIENT_HELLO)
        hello = tls_read_client_hello(h->body, h->whole, false, info, &result);
    else
        hello = tls_read_server_hello(h->body, h->whole, info);
    if (hello == TLS_HELLO_BAD)
        return CL_INSPECT_REJECTED;
    if (result.application)
        state->application = result.application;
    if (hello == TLS_HELLO_SHORT)
        return cursor_left(&h->body) >= 2 ? CL_INSPECT_CONFIRMED : CL_INSPECT_MORE;
    if (h->type == TLS_SERVER_HELLO)
        return CL_INSPECT_DONE;
    state->client_hello_read = true;
    /* A client that goes on without an answer has one that we do not see: nobody will tell the version. */
    return h->followed ? CL_INSPECT_DONE : CL_INSPECT_CONFIRMED;
}

/* A flow that is joined in its middle: records that follow each other, the more the surer. */
static enum cl_inspect_step read_chain(struct cursor stream, struct cl_inspect_result *result)
{
    struct record record;
    unsigned records = 0;
    int read;
    while ((read = read_record(&stream, &record)) == 1) {
        bool fits = record.type == TLS_CHANGE_CIPHER_SPEC ? record.size_bytes == 1
                    : record.type == TLS_ALERT            ? record.size_bytes == 2 || record.size_bytes >= 18
                                                          : true;
        if (!fits)
            return CL_INSPECT_REJECTED;
        if (++records >= TLS_MIDFLOW_RECORDS)
            return CL_INSPECT_DONE;
        if (cursor_left(&record.payload) < record.size_bytes || !cursor_left(&stream))
            break;
    }
    if (!read)
        return CL_INSPECT_REJECTED;
    if (!records)
        return CL_INSPECT_MORE;
    result->confidence = 80;
    return CL_INSPECT_CONFIRMED;
}

/* SSL 2.0's hellos (its two-byte record header); a client's may offer SSL 3.0 and TLS, which the server then answers in. */
static enum cl_inspect_step read_ssl2(struct cursor c, struct cl_info *info)
{
    uint32_t size = cursor_be16(&c) & 0x7fffu;
    uint8_t type = cursor_u8(&c);
    if (!c.ok)
        return CL_INSPECT_MORE;
    bool client = type == 1;
    if (!client && type != 4)
        return CL_INSPECT_REJECTED;
    uint16_t hit_and_certificate = client ? 0 : cursor_be16(&c);
    uint16_t version = cursor_be16(&c);
    uint32_t first = cursor_be16(&c), second = cursor_be16(&c), third = cursor_be16(&c);
    if (hit_and_certificate > 0x0101)
        return CL_INSPECT_REJECTED;
    if (!c.ok)
        return CL_INSPECT_MORE;
    if (client) { /* cipher specs, session id, challenge */
        bool sizes = first && first % 3 == 0 && (second == 0 || second == 16) && third >= 16 && third <= 32;
        if (!sizes || size != 9 + first + second + third || (version != 2 && version >> 8 != 3))
            return CL_INSPECT_REJECTED;
        return CL_INSPECT_CONFIRMED;
    }
    if (version != 2 || second % 3 || size != 11 + first + second + third)
        return CL_INSPECT_REJECTED;
    const char *name = tls_version_name(version);
    cl_info_set(info, CL_TEXT_version, name, strlen(name));
    return CL_INSPECT_DONE;
}

static enum cl_inspect_step read_stream(struct tls_state *state, const struct cl_packet *packet, struct cl_info *info,
                                        struct cl_inspect_result *result)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    struct cursor stream = c;
    struct record record;
    if (packet->size_bytes && packet->bytes[0] & 0x80)
        return read_ssl2(c, info);
    int read = read_record(&c, &record);
    if (read <= 0)
        return read ? CL_INSPECT_MORE : CL_INSPECT_REJECTED;
    if (!cursor_left(&record.payload))
        return CL_INSPECT_MORE;
    if (record.type == TLS_HANDSHAKE) {
        uint8_t joined[CL_STREAM_MAX_BYTES];
        struct handshake h = join_handshake(stream, joined);
        if (h.type == TLS_CLIENT_HELLO || h.type == TLS_SERVER_HELLO)
            return read_hello(state, &h, info);
    }
    /* A server may refuse the hello that the other direction had. */
    if (record.type == TLS_ALERT && record.size_bytes == 2) {
        uint8_t level = cursor_u8(&record.payload);
        return level == 1 || level == 2 ? CL_INSPECT_DONE : CL_INSPECT_REJECTED;
    }
    return packet->started_before || state->client_hello_read ? read_chain(stream, result) : CL_INSPECT_REJECTED;
}

static enum cl_inspect_step inspect_tls(void *scratch, void *state_bytes, const struct cl_packet *packet,
                                        struct cl_info *info, struct cl_inspect_result *result)
{
    struct tls_state *state = (struct tls_state *)state_bytes;
    (void)scratch;
    enum cl_inspect_step step = read_stream(state, packet, info, result);
    result->application = state->application;
    if (state->confirmed && step == CL_INSPECT_REJECTED)
        return CL_INSPECT_DONE;
    if (state->confirmed && step == CL_INSPECT_MORE)
        return CL_INSPECT_CONFIRMED;
    state->confirmed = step == CL_INSPECT_CONFIRMED;
    return state->confirmed && packet->size_bytes >= CL_STREAM_MAX_BYTES ? CL_INSPECT_DONE : step;
}

const struct cl_inspector cl_inspector_tls = {.name = "tls", .inspect = inspect_tls};

/*
 * DTLS 1.0, 1.2, 1.3 over UDP (RFC 6347, RFC 9147). Confirmed by records that fill the datagram; host, ALPN and version from the
 * hellos. A hello that is cut over several datagrams is read as far as its first one goes.
 */
#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/tls_hello.h"

#define DTLS_HANDSHAKE_HEAD_BYTES 12u
#define DTLS_RECORD_MAX_BYTES     (16384u + 2048u)

enum dtls_content {
    DTLS_CHANGE_CIPHER_SPEC = 20,
    DTLS_HANDSHAKE = 22,
    DTLS_HEARTBEAT = 24,
    DTLS_CID = 25,
    DTLS_ACK = 26
};

struct dtls_state {
    uint8_t application; /* enum cl_hint */
    bool confirmed;
};
_Static_assert(sizeof(struct dtls_state) <= CL_INSPECT_STATE_BYTES, "inspector state");

struct record {
    uint8_t type;
    uint16_t epoch;
    struct cursor payload;
};

/* A connection id (RFC 9146) has no length in the record: a record that has one takes the rest of the datagram. */
static bool read_record(struct cursor *c, struct record *ret_record)
{
    uint8_t type = cursor_u8(c);
    uint16_t version = cursor_be16(c), epoch = cursor_be16(c);
    cursor_skip(c, 6); /* sequence number */
    if (!c->ok || type < DTLS_CHANGE_CIPHER_SPEC || type > DTLS_ACK)
        return false;
    if (version != 0xfeff && version != 0xfefd && version != 0x0100)
        return false;
    size_t size = type == DTLS_CID ? cursor_left(c) : cursor_be16(c);
    struct cursor payload = cursor_sub(c, size);
    *ret_record = (struct record){.type = type, .epoch = epoch, .payload = payload};
    return c->ok && size && size <= DTLS_RECORD_MAX_BYTES;
}

/* DTLS 1.3's encrypted records (RFC 9147 4) follow plain ones only; they are taken as they come. */
static bool is_unified_header(const struct cursor *c)
{
    return cursor_left(c) > 5 && (c->p[0] & 0xe0) == 0x20;
}

static enum cl_inspect_step read_handshake(struct dtls_state *state, struct cursor c, struct cl_info *info)
{
    uint8_t type = cursor_u8(&c);
    uint32_t size = cursor_be24(&c);
    cursor_be16(&c); /* message sequence */
    uint32_t offset = cursor_be24(&c), fragment = cursor_be24(&c);
    if (!c.ok || fragment > cursor_left(&c) || offset + fragment > size)
        return CL_INSPECT_REJECTED;
    struct cursor body = cursor_sub(&c, fragment);
    struct cl_inspect_result result = {0};
    bool whole = fragment == size;
    if (offset)
        return CL_INSPECT_CONFIRMED;
    if (type == TLS_CLIENT_HELLO) {
        if (tls_read_client_hello(body, whole, true, info, &result) == TLS_HELLO_BAD)
            return CL_INSPECT_REJECTED;
        if (result.application)
            state->application = result.application;
        return CL_INSPECT_CONFIRMED;
    }
    if (type == TLS_SERVER_HELLO) {
        enum tls_hello hello = tls_read_server_hello(body, whole, info);
        return hello == TLS_HELLO_BAD ? CL_INSPECT_REJECTED : CL_INSPECT_DONE;
    }
    if (type == TLS_HELLO_VERIFY_REQUEST) {
        uint16_t version = cursor_be16(&body);
        uint8_t cookie_size = cursor_u8(&body);
        bool fits = tls_version_name(version) && body.ok && cookie_size == cursor_left(&body);
        return fits ? CL_INSPECT_CONFIRMED : CL_INSPECT_REJECTED;
    }
    return type <= 25 ? CL_INSPECT_CONFIRMED : CL_INSPECT_REJECTED;
}

static enum cl_inspect_step read_datagram(struct dtls_state *state, struct cursor c, struct cl_info *info,
                                          struct cl_inspect_result *result)
{
    enum cl_inspect_step step = CL_INSPECT_REJECTED;
    struct record record;
    do {
        if (!read_record(&c, &record))
            return CL_INSPECT_REJECTED;
        enum cl_inspect_step now = CL_INSPECT_CONFIRMED;
        if (record.type == DTLS_HANDSHAKE && record.epoch == 0)
            now = read_handshake(state, record.payload, info);
        else if (record.epoch == 0 && record.type > DTLS_HANDSHAKE && record.type != DTLS_ACK)
            now =
                CL_INSPECT_REJECTED; /* nothing but handshakes, their alerts and acknowledgements goes in clear text */
        else
            result->confidence = 90;
        if (now == CL_INSPECT_REJECTED)
            return now;
        if (step != CL_INSPECT_DONE)
            step = now;
    } while (cursor_left(&c) && !is_unified_header(&c));
    return step;
}

static enum cl_inspect_step inspect_dtls(void *scratch, void *state_bytes, const struct cl_packet *packet,
                                         struct cl_info *info, struct cl_inspect_result *result)
{
    struct dtls_state *state = (struct dtls_state *)state_bytes;
    (void)scratch;
    enum cl_inspect_step step = read_datagram(state, cursor_of(packet->bytes, packet->size_bytes), info, result);
    result->application = state->application;
    if (step == CL_INSPECT_REJECTED && state->confirmed)
        return CL_INSPECT_CONFIRMED; /* STUN and RTP share the flow */
    if (step == CL_INSPECT_CONFIRMED)
        state->confirmed = true;
    return step;
}

const struct cl_inspector cl_inspector_dtls = {.name = "dtls", .inspect = inspect_dtls};

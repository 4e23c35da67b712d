/*
 * QUIC v1 and v2 (RFC 8999, 9000, 9001, 9369), their drafts, and Google's QUIC. The client's Initial packets are opened with
 * the keys that their connection id gives and the ClientHello in them is read for host and ALPN; a packet that cannot be opened
 * (the server's side alone, an unknown version) is told by its header with less confidence.
 *
 * A ClientHello that is cut over several datagrams waits in one of a worker's QUIC_ASSEMBLIES assemblies, which the flow's state
 * names by slot and generation; when all are taken the hand of a clock takes one back, and that flow stays without a host.
 */
#include <stdlib.h>

#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/inspect_text.h"
#include "classifier/quic_initial.h"
#include "classifier/tls_hello.h"

#define QUIC_ASSEMBLIES          256u  /* handshakes in the middle of their first flight, a worker */
#define QUIC_HELLO_MAX_BYTES     4096u /* of a ClientHello; what lies beyond is not read */
#define QUIC_PLAIN_MAX_BYTES     16384u
#define QUIC_CLIENT_MIN_BYTES    1200u /* of a datagram with a client's Initial (RFC 9000 14.1) */
#define QUIC_HEADER_ONLY_MAX     4u    /* datagrams told by their header before the flow is let go */
#define QUIC_CHOSEN_ID_MIN_BYTES 4u    /* a shorter one meets by chance */
#define QUIC_RETRY_TAG_BYTES     16u
#define GQUIC_CHLO_SEARCH_BYTES  64u /* header, packet number, hash and frame head in front of the message */
#define GQUIC_TAGS_MAX           128u

enum quic_confidence {
    CONFIDENCE_HEADER = 85,
    CONFIDENCE_VERSION_NEGOTIATION = 80,
    CONFIDENCE_UNKNOWN_VERSION = 60,
};

struct assembly {
    uint32_t generation; /* odd while in use */
    uint8_t cid_size, cid[QUIC_CID_MAX_BYTES];
    uint32_t size; /* bytes from the first on that are there without a gap */
    uint64_t have[QUIC_HELLO_MAX_BYTES / 64];
    uint8_t bytes[QUIC_HELLO_MAX_BYTES];
};

struct quic_worker {
    struct quic_crypto *crypto;
    uint8_t plain[QUIC_PLAIN_MAX_BYTES];
    uint32_t clock_hand, free_count;
    uint16_t free[QUIC_ASSEMBLIES];
    struct assembly assembly[QUIC_ASSEMBLIES];
};

struct chosen_id {
    uint8_t size, bytes[8]; /* the first of them */
};

struct quic_state {
    uint32_t generation; /* of the assembly; 0 = none */
    uint16_t slot;
    uint8_t application;        /* enum cl_hint */
    uint8_t header_only;        /* datagrams that were told by their header alone */
    uint8_t client;             /* as from_server: which side's Initial could be opened */
    bool confirmed, opened;     /* an Initial could be */
    struct chosen_id chosen[2]; /* [from_server]: the id that this side chose, of an unknown version */
};
_Static_assert(sizeof(struct quic_state) <= CL_INSPECT_STATE_BYTES, "inspector state");

/* ---- assemblies ---- */

static struct assembly *assembly_of(struct quic_worker *worker, const struct quic_state *state)
{
    struct assembly *a = &worker->assembly[state->slot % QUIC_ASSEMBLIES];
    return state->generation && a->generation == state->generation ? a : NULL;
}

static struct assembly *assembly_take(struct quic_worker *worker, struct quic_state *state)
{
    uint32_t slot;
    if (worker->free_count) {
        slot = worker->free[--worker->free_count];
    } else {
        slot = worker->clock_hand;
        worker->clock_hand = (slot + 1) % QUIC_ASSEMBLIES;
        worker->assembly[slot].generation++;
    }
    struct assembly *a = &worker->assembly[slot];
    a->generation++;
    a->size = 0;
    memset(a->have, 0, sizeof(a->have));
    state->slot = (uint16_t)slot;
    state->generation = a->generation;
    return a;
}

static void assembly_return(struct quic_worker *worker, struct quic_state *state)
{
    struct assembly *a = assembly_of(worker, state);
    state->generation = 0;
    if (!a)
        return;
    a->generation++;
    worker->free[worker->free_count++] = state->slot;
}

/* Puts a piece of the CRYPTO stream in its place; linear in the piece, also when pieces come in any order or twice. */
static void assembly_add(struct assembly *a, uint64_t offset, const uint8_t *bytes, size_t size)
{
    if (offset >= QUIC_HELLO_MAX_BYTES)
        return;
    if (size > QUIC_HELLO_MAX_BYTES - offset)
        size = QUIC_HELLO_MAX_BYTES - (size_t)offset;
    memcpy(a->bytes + offset, bytes, size);
    for (size_t at = (size_t)offset, end = at + size; at < end;) {
        size_t bit = at % 64, bits = 64 - bit < end - at ? 64 - bit : end - at;
        a->have[at / 64] |= (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) << bit;
        at += bits;
    }
    while (a->size < QUIC_HELLO_MAX_BYTES) {
        uint64_t missing = ~(a->have[a->size / 64] >> (a->size % 64));
        uint32_t run = missing ? (uint32_t)__builtin_ctzll(missing) : 64;
        uint32_t rest = 64 - a->size % 64;
        if (!run)
            return;
        a->size += run < rest ? run : rest;
    }
}

/* ---- Google's handshake message: tags and values (QUIC Crypto) ---- */

static bool read_chlo(struct cursor c, struct cl_info *info)
{
    const uint8_t *tag = cursor_take(&c, 4);
    uint16_t tags = cursor_le16(&c);
    cursor_skip(&c, 2);
    if (!c.ok || memcmp(tag, "CHLO", 4) || !tags || tags > GQUIC_TAGS_MAX)
        return false;
    struct cursor index = cursor_sub(&c, tags * 8u);
    uint32_t start = 0;
    for (unsigned i = 0; i < tags && index.ok; i++) {
        tag = cursor_take(&index, 4);
        uint32_t end = cursor_le32(&index);
        if (!index.ok || end < start)
            return true;
        struct cursor value = cursor_sub(&c, end - start);
        if (!value.ok)
            return true;
        if (memcmp(tag, "SNI\0", 4) == 0)
            text_set_host(info, value.p, cursor_left(&value));
        else if (memcmp(tag, "UAID", 4) == 0)
            cl_info_set(info, CL_TEXT_user_agent, value.p, cursor_left(&value));
        start = end;
    }
    return true;
}

/* Between header and message lie a packet number, a hash and a stream frame's head, of sizes that changed with the versions. */
static void search_chlo(struct cursor c, struct cl_info *info)
{
    size_t left = cursor_left(&c) < GQUIC_CHLO_SEARCH_BYTES ? cursor_left(&c) : GQUIC_CHLO_SEARCH_BYTES;
    const uint8_t *at = left ? memmem(c.p, left, "CHLO", 4) : NULL;
    if (!at)
        return;
    cursor_skip(&c, (size_t)(at - c.p));
    read_chlo(c, info);
}

static bool is_gquic_version(uint32_t version)
{
    uint8_t tens = (uint8_t)(version >> 8), ones = (uint8_t)version;
    return version >> 16 == 0x5130 && tens >= '0' && tens <= '9' && ones >= '0' && ones <= '9'; /* "Q0" */
}

static void set_gquic_version(struct cl_info *info, uint32_t version)
{
    char text[] = "QUIC Q000";
    for (unsigned i = 0; i < 4; i++)
        text[5 + i] = (char)(version >> (24 - 8 * i));
    cl_info_set(info, CL_TEXT_version, text, sizeof(text) - 1);
}

/* The public header of Google's QUIC up to Q043: flags, connection id, version. */
static enum cl_inspect_step read_gquic(struct cursor c, struct cl_info *info)
{
    enum { HAS_VERSION = 0x01, IS_RESET = 0x02, CID_MASK = 0x0c, IS_NEW = 0xc0 };
    uint8_t flags = cursor_u8(&c);
    bool has_cid = flags & CID_MASK;
    if (flags & IS_NEW || !(flags & (HAS_VERSION | IS_RESET)) || (has_cid && !(flags & 0x08)))
        return CL_INSPECT_REJECTED;
    cursor_skip(&c, has_cid ? 8 : 0);
    uint32_t version = cursor_be32(&c);
    if (!c.ok)
        return CL_INSPECT_REJECTED;
    if (flags & IS_RESET)
        return version == 0x50525354 ? CL_INSPECT_DONE : CL_INSPECT_REJECTED; /* "PRST" */
    if (!is_gquic_version(version))
        return CL_INSPECT_REJECTED;
    set_gquic_version(info, version);
    search_chlo(c, info);
    return CL_INSPECT_DONE;
}

/* ---- QUIC's long header ---- */

static uint64_t read_varint(struct cursor *c)
{
    uint8_t first = cursor_u8(c);
    uint64_t value = first & 0x3f;
    for (unsigned more = (1u << (first >> 6)) - 1; more; more--)
        value = value << 8 | cursor_u8(c);
    return value;
}

struct long_header {
    uint8_t first;
    uint32_t version;
    struct cursor cid, source_cid;
};

static bool read_long_header(struct cursor *c, struct long_header *h)
{
    h->first = cursor_u8(c);
    h->version = cursor_be32(c);
    h->cid = cursor_sub(c, cursor_u8(c));
    h->source_cid = cursor_sub(c, cursor_u8(c));
    return c->ok && h->first & 0x80;
}

static bool is_greased(uint32_t version)
{
    return (version & 0x0f0f0f0f) == 0x0a0a0a0a;
}

/* A server's answer to a version that it does not speak: at least one of the versions it names must be known. */
static enum cl_inspect_step read_version_negotiation(struct cursor c)
{
    bool known = false;
    if (!cursor_left(&c) || cursor_left(&c) % 4)
        return CL_INSPECT_REJECTED;
    while (cursor_left(&c)) {
        uint32_t version = cursor_be32(&c);
        known = known || quic_version_find(version) || is_gquic_version(version);
    }
    return known ? CL_INSPECT_CONFIRMED : CL_INSPECT_REJECTED;
}

static void set_version(struct cl_info *info, const struct quic_version *version, uint32_t number)
{
    char text[32];
    size_t size = strlen(version->name);
    memcpy(text, version->name, size);
    if (text[size - 1] == '-') {
        text[size++] = (char)('0' + (number & 0xff) / 10);
        text[size++] = (char)('0' + (number & 0xff) % 10);
    }
    cl_info_set(info, CL_TEXT_version, text, size);
}

/* ---- the CRYPTO stream of the client's Initials ---- */

/* Most of a client's first packet is PADDING: eight at a step. */
static void skip_padding(struct cursor *c)
{
    uint64_t eight;
    while (cursor_left(c) >= sizeof(eight)) {
        memcpy(&eight, c->p, sizeof(eight));
        if (eight)
            break;
        cursor_skip(c, sizeof(eight));
    }
    while (cursor_left(c) && !c->p[0])
        cursor_skip(c, 1);
}

/* Frames that an Initial may hold (RFC 9000 12.4, table 3), up to another or a cut one. Google's own versions number CRYPTO 8. */
static void read_frames(struct cursor c, const struct quic_version *version, struct assembly *a)
{
    unsigned crypto = version->salt >= QUIC_SALT_Q050 ? 0x08 : 0x06;
    for (;;) {
        skip_padding(&c);
        if (!cursor_left(&c))
            return;
        uint64_t type = read_varint(&c);
        if (type == 0x01) /* PING */
            continue;
        if (type == crypto) {
            uint64_t offset = read_varint(&c), size = read_varint(&c);
            const uint8_t *bytes = cursor_take(&c, (size_t)size);
            if (!bytes)
                return;
            assembly_add(a, offset, bytes, (size_t)size);
        } else if (type == 0x02 || type == 0x03) { /* ACK */
            read_varint(&c);
            read_varint(&c);
            uint64_t ranges = read_varint(&c);
            read_varint(&c);
            for (uint64_t i = 0; i < 2 * ranges && c.ok; i++)
                read_varint(&c);
            for (unsigned i = 0; i < 3 && type == 0x03; i++)
                read_varint(&c);
        } else {
            return;
        }
    }
}

/* True when nothing more can be learnt from the stream. */
static bool read_hello(struct quic_state *state, const struct assembly *a, const struct quic_version *version,
                       struct cl_info *info)
{
    struct cursor c = cursor_of(a->bytes, a->size);
    if (version->has_chlo)
        return a->size >= 8 && (!read_chlo(c, info) || info->size_bytes[CL_TEXT_host]);
    uint8_t type = cursor_u8(&c);
    uint32_t size = cursor_be24(&c);
    if (!c.ok)
        return false;
    if (type != TLS_CLIENT_HELLO)
        return true;
    bool whole = cursor_left(&c) >= size;
    struct cl_inspect_result result = {0};
    enum tls_hello hello =
        tls_read_client_hello(cursor_sub(&c, whole ? size : cursor_left(&c)), whole, false, info, &result);
    if (result.application)
        state->application = result.application;
    return hello != TLS_HELLO_SHORT || a->size == QUIC_HELLO_MAX_BYTES;
}

/*
 * Opens the Initial with the connection id that the flow's first one had, else with its own (after a Retry). 0 when neither
 * fits: the server sent it, or the flow's first one was not seen.
 */
static size_t open_initial(struct quic_worker *worker, const struct quic_state *state,
                           const struct quic_version *version, const struct cursor *cid,
                           const struct quic_initial *initial)
{
    const struct assembly *a = assembly_of(worker, state);
    size_t cid_size = cursor_left(cid), size = 0;
    bool is_first_cid = a && a->cid_size == cid_size && memcmp(a->cid, cid->p, cid_size) == 0;
    if (a && !is_first_cid)
        size = quic_open_initial(worker->crypto, version, a->cid, a->cid_size, initial, worker->plain,
                                 sizeof(worker->plain));
    if (!size)
        size =
            quic_open_initial(worker->crypto, version, cid->p, cid_size, initial, worker->plain, sizeof(worker->plain));
    return size;
}

enum initial_read { INITIAL_CLOSED, INITIAL_OPENED, INITIAL_LAST };

static enum initial_read read_initial(struct quic_worker *worker, struct quic_state *state,
                                      const struct quic_version *version, const struct cursor *cid,
                                      const struct quic_initial *initial, struct cl_info *info)
{
    size_t size = open_initial(worker, state, version, cid, initial);
    if (!size)
        return INITIAL_CLOSED;
    struct assembly *a = assembly_of(worker, state);
    if (!a && state->opened)
        return INITIAL_LAST; /* its assembly was taken back: the first part is gone */
    if (!a) {
        a = assembly_take(worker, state);
        a->cid_size = (uint8_t)cursor_left(cid);
        memcpy(a->cid, cid->p, a->cid_size);
    }
    state->opened = true;
    read_frames(cursor_of(worker->plain, size), version, a);
    return read_hello(state, a, version, info) ? INITIAL_LAST : INITIAL_OPENED;
}

/* ---- a datagram ---- */

/* One packet of a known version at `c`, which is moved behind it; false when it is none. */
static bool read_packet(struct quic_worker *worker, struct quic_state *state, struct cursor *c, struct cl_info *info,
                        enum initial_read *read)
{
    const uint8_t *start = c->p;
    struct long_header h;
    const struct quic_version *version = read_long_header(c, &h) ? quic_version_find(h.version) : NULL;
    if (!version)
        return false;
    uint8_t type = h.first >> 4 & 3;
    if (type == ((version->initial_type + 3) & 3)) { /* Retry: the rest is its token and tag */
        cursor_skip(c, QUIC_RETRY_TAG_BYTES);
        cursor_skip(c, cursor_left(c));
        return c->ok;
    }
    if (type == version->initial_type)
        cursor_skip(c, (size_t)read_varint(c));
    uint64_t length = read_varint(c);
    size_t number_offset = (size_t)(c->p - start);
    cursor_skip(c, (size_t)length);
    if (!c->ok)
        return false;
    if (type == version->initial_type && *read != INITIAL_LAST) {
        struct quic_initial initial = {.bytes = start, .number_offset = number_offset, .length = (size_t)length};
        enum initial_read now = read_initial(worker, state, version, &h.cid, &initial, info);
        if (now > *read)
            *read = now;
    }
    set_version(info, version, h.version);
    return true;
}

static enum cl_inspect_step read_known(struct quic_worker *worker, struct quic_state *state,
                                       const struct cl_packet *packet, struct cl_info *info,
                                       struct cl_inspect_result *result)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    enum initial_read read = INITIAL_CLOSED;
    if (state->opened && state->client != packet->from_server)
        return CL_INSPECT_CONFIRMED; /* the server's side has no host */
    if (!read_packet(worker, state, &c, info, &read))
        return CL_INSPECT_REJECTED;
    while (cursor_left(&c) && c.p[0] & 0x80 && read_packet(worker, state, &c, info, &read))
        continue;
    if (read == INITIAL_LAST)
        return CL_INSPECT_DONE;
    if (read == INITIAL_OPENED) {
        state->client = packet->from_server;
        return CL_INSPECT_CONFIRMED;
    }
    result->confidence = CONFIDENCE_HEADER;
    return ++state->header_only < QUIC_HEADER_ONLY_MAX ? CL_INSPECT_CONFIRMED : CL_INSPECT_DONE;
}

/*
 * A version that is not known: believed when it is one of those that exist to be refused, or when the other side answers to the
 * connection id that this side chose, which no version may change (RFC 8999 5.1).
 */
static enum cl_inspect_step read_unknown(struct quic_state *state, const struct cl_packet *packet,
                                         const struct long_header *h, struct cl_inspect_result *result)
{
    struct chosen_id *mine = &state->chosen[packet->from_server], *peer = &state->chosen[!packet->from_server];
    size_t size = cursor_left(&h->cid);
    result->confidence = CONFIDENCE_UNKNOWN_VERSION;
    if (is_greased(h->version) && packet->size_bytes >= QUIC_CLIENT_MIN_BYTES)
        return CL_INSPECT_CONFIRMED;
    if (size >= QUIC_CHOSEN_ID_MIN_BYTES && size == peer->size &&
        memcmp(peer->bytes, h->cid.p, size < sizeof(peer->bytes) ? size : sizeof(peer->bytes)) == 0)
        return CL_INSPECT_DONE;
    size = cursor_left(&h->source_cid);
    mine->size = (uint8_t)size;
    memcpy(mine->bytes, h->source_cid.p, size < sizeof(mine->bytes) ? size : sizeof(mine->bytes));
    return CL_INSPECT_MORE;
}

static enum cl_inspect_step read_long(struct quic_worker *worker, struct quic_state *state,
                                      const struct cl_packet *packet, struct cl_info *info,
                                      struct cl_inspect_result *result)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes), head = c;
    struct long_header h;
    cursor_u8(&head);
    uint32_t version = cursor_be32(&head);
    if (!head.ok)
        return CL_INSPECT_REJECTED;
    if (is_gquic_version(version) && !quic_version_find(version)) { /* Q044 to Q049: lengths of ids in one byte */
        set_gquic_version(info, version);
        search_chlo(head, info);
        return CL_INSPECT_DONE;
    }
    if (!read_long_header(&c, &h))
        return CL_INSPECT_REJECTED;
    if (!version) {
        result->confidence = CONFIDENCE_VERSION_NEGOTIATION;
        return read_version_negotiation(c);
    }
    if (quic_version_find(version))
        return read_known(worker, state, packet, info, result);
    return read_unknown(state, packet, &h, result);
}

static enum cl_inspect_step inspect_quic(void *scratch, void *state_bytes, const struct cl_packet *packet,
                                         struct cl_info *info, struct cl_inspect_result *result)
{
    struct quic_worker *worker = (struct quic_worker *)scratch;
    struct quic_state *state = (struct quic_state *)state_bytes;
    enum cl_inspect_step step;
    if (packet->bytes[0] & 0x80)
        step = read_long(worker, state, packet, info, result);
    else if (state->confirmed)
        step = CL_INSPECT_DONE; /* a short header: the handshake is over */
    else
        step = read_gquic(cursor_of(packet->bytes, packet->size_bytes), info);
    if (state->confirmed && step < CL_INSPECT_CONFIRMED)
        step = CL_INSPECT_CONFIRMED;
    if (step == CL_INSPECT_CONFIRMED)
        state->confirmed = true;
    else
        assembly_return(worker, state);
    result->application = state->application;
    return step;
}

static void scratch_free(void *scratch)
{
    struct quic_worker *worker = (struct quic_worker *)scratch;
    if (!worker)
        return;
    quic_crypto_free(worker->crypto);
    free(worker);
}

static void *scratch_create(void)
{
    struct quic_worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return NULL;
    worker->crypto = quic_crypto_create();
    if (!worker->crypto) {
        scratch_free(worker);
        return NULL;
    }
    while (worker->free_count < QUIC_ASSEMBLIES) {
        uint32_t slot = QUIC_ASSEMBLIES - 1 - worker->free_count;
        worker->free[worker->free_count++] = (uint16_t)slot;
    }
    return worker;
}

const struct cl_inspector cl_inspector_quic = {
    .name = "quic", .inspect = inspect_quic, .scratch_create = scratch_create, .scratch_free = scratch_free};

/*
 * DNS over UDP and over TCP with its two-byte length (RFC 1035, RFC 6891, RFC 7766). Confirmed only when the header is sane and
 * every question and record of the message can be walked to exactly its end: the message alone has no mark of its own. LLMNR
 * (RFC 4795) and multicast DNS (RFC 6762) share the format and are told by their ports, NetBIOS's names (RFC 1002) by theirs.
 */
#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/inspect_text.h"

#define DNS_HEADER_BYTES   12u
#define DNS_NAME_MAX       255u
#define DNS_POINTERS_MAX   16u  /* in one name: each costs a jump */
#define DNS_RECORDS_MAX    512u /* in one message: more than fit a datagram */
#define DNS_CUT_MIN_BYTES  512u /* a shorter answer comes whole */
#define DNS_FLAG_TRUNCATED 0x0200u
#define DNS_QUESTIONS_MAX  16u /* multicast DNS asks several at once */

enum dns_port { DNS_PORT = 53, DNS_PORT_MDNS = 5353, DNS_PORT_LLMNR = 5355, DNS_PORT_NBNS = 137 };
enum dns_type { DNS_TYPE_NB = 32, DNS_TYPE_NBSTAT = 33, DNS_TYPE_OPT = 41, DNS_TYPE_TSIG = 250, DNS_TYPE_ANY = 255 };
enum dns_read { DNS_BAD, DNS_SHORT, DNS_WHOLE };

struct header {
    uint16_t id, flags, questions, answers, authorities, additionals;
};

struct name {
    uint8_t text[DNS_NAME_MAX];
    size_t size;
};

/*
 * Reads a name at `c`; `message` is where pointers count from, and they may only point back. The dotted text is cut off at
 * DNS_NAME_MAX by the limit that the format has itself. `name` may be NULL.
 */
static bool read_name(struct cursor *c, const struct cursor *message, struct name *name)
{
    struct cursor at = *c;
    const uint8_t *before = c->p; /* a pointer points in front of this */
    bool jumped = false;
    unsigned pointers = 0;
    size_t size = 0;
    for (;;) {
        uint8_t length = cursor_u8(&at);
        if (!at.ok)
            goto failed;
        if ((length & 0xc0) == 0xc0) {
            size_t offset = (size_t)(length & 0x3f) << 8 | cursor_u8(&at);
            if (!at.ok)
                goto failed;
            if (!jumped)
                *c = at;
            jumped = true;
            if (++pointers > DNS_POINTERS_MAX || offset < DNS_HEADER_BYTES || offset >= (size_t)(before - message->p))
                return false;
            before = message->p + offset;
            at = *message;
            cursor_skip(&at, offset);
            continue;
        }
        if (length > 63)
            return false;
        if (!length)
            break;
        const uint8_t *label = cursor_take(&at, length);
        if (!label)
            goto failed;
        size_t dot = size ? 1 : 0;
        if (size + dot + length + 2 > DNS_NAME_MAX) /* the first label's length and the root's count too */
            return false;
        if (name) {
            name->text[size] = '.';
            memcpy(name->text + size + dot, label, length);
        }
        size += dot + length;
    }
    if (name)
        name->size = size;
    if (!jumped)
        *c = at;
    return true;
failed:
    c->ok = false;
    return false;
}

/* A message without any question or record is not much to go by: an error's header, a session message (RFC 8490). */
static bool is_sane(const struct header *h, bool on_dns_port)
{
    unsigned opcode = h->flags >> 11 & 0xf, code = h->flags & 0xf;
    bool is_response = h->flags >> 15;
    if (opcode == 3 || opcode > 6 || h->questions > DNS_QUESTIONS_MAX)
        return false;
    if (code > 11 || (h->flags & 0x0040 && opcode != 0)) /* the bit that must be zero, often set by old resolvers */
        return false;
    unsigned records = (unsigned)h->answers + h->authorities + h->additionals;
    if (records > DNS_RECORDS_MAX)
        return false;
    if (h->questions || (records && (is_response || opcode == 5)))
        return true;
    return on_dns_port && (opcode == 6 || (is_response && (code || records)));
}

static bool is_class(uint16_t class)
{
    class &= 0x7fff; /* unicast answer wished, cache flush: multicast DNS */
    return class == 1 || class == 3 || class == 4 || class == 254 || class == 255;
}

/* RFC 1001 14.1: sixteen bytes, each as two letters from A to P. */
static bool is_netbios_name(const struct name *name, uint16_t type)
{
    if ((type != DNS_TYPE_NB && type != DNS_TYPE_NBSTAT) || name->size < 32)
        return false;
    for (size_t i = 0; i < 32; i++)
        if (name->text[i] < 'A' || name->text[i] > 'P')
            return false;
    return name->size == 32 || name->text[32] == '.';
}

static bool read_record(struct cursor *c, const struct cursor *message, bool is_update)
{
    if (!read_name(c, message, NULL))
        return false;
    uint16_t type = cursor_be16(c), class = cursor_be16(c);
    cursor_be32(c); /* time to live */
    uint16_t size = cursor_be16(c);
    cursor_skip(c, size);
    bool pseudo = type == DNS_TYPE_OPT || type == DNS_TYPE_TSIG || is_update;
    return c->ok && type && (pseudo || is_class(class));
}

/* The first question's name goes to `name`. */
static bool read_questions(struct cursor *c, const struct cursor *message, const struct header *h, bool on_dns_port,
                           struct name *name)
{
    for (unsigned i = 0; i < h->questions; i++) {
        struct name *asked = i ? NULL : name;
        if (!read_name(c, message, asked))
            return false;
        uint16_t type = cursor_be16(c), class = cursor_be16(c);
        if (!c->ok || !type || !is_class(class) || (asked && !on_dns_port && is_netbios_name(asked, type)))
            return false;
    }
    return true;
}

/* What may follow a message within its size: some stacks pad, one marks its requests for zones. */
static bool is_padding(struct cursor c)
{
    size_t left = cursor_left(&c);
    if (left <= 2 && memcmp(c.p, "MS", left) == 0)
        return true;
    while (cursor_left(&c))
        if (cursor_u8(&c))
            return false;
    return true;
}

/*
 * Over TCP the known bytes may end before the message does (`whole` false): then header and at least one question must have been
 * there. A large answer of UDP may end in the middle of a record: cut by the server (TC), or the first of several fragments.
 */
static enum dns_read read_message(struct cursor message, bool whole, bool on_dns_port, struct cl_info *info)
{
    struct cursor c = message;
    struct header h;
    h.id = cursor_be16(&c);
    h.flags = cursor_be16(&c);
    h.questions = cursor_be16(&c);
    h.answers = cursor_be16(&c);
    h.authorities = cursor_be16(&c);
    h.additionals = cursor_be16(&c);
    if (!c.ok)
        return whole ? DNS_BAD : DNS_SHORT;
    bool is_update = (h.flags >> 11 & 0xf) == 5;
    if (!is_sane(&h, on_dns_port))
        return DNS_BAD;
    struct name name = {.size = 0};
    if (!read_questions(&c, &message, &h, on_dns_port, &name))
        return c.ok || whole ? DNS_BAD : DNS_SHORT;
    unsigned records = (unsigned)h.answers + h.authorities + h.additionals, read = 0;
    while (read < records && read_record(&c, &message, is_update))
        read++;
    if (read < records) {
        bool is_cut = h.flags & DNS_FLAG_TRUNCATED || (read && cursor_left(&message) >= DNS_CUT_MIN_BYTES);
        if (c.ok || (whole && !is_cut))
            return DNS_BAD;
        if (!whole && !h.questions)
            return DNS_SHORT;
    } else if (!h.questions && cursor_left(&c)) {
        return DNS_BAD;
    }
    if (!is_padding(c))
        return DNS_BAD;
    text_set_name(info, name.text, name.size);
    return DNS_WHOLE;
}

static bool has_port(const struct cl_packet *packet, uint16_t port)
{
    return packet->client_port == port || packet->server_port == port;
}

/* A message that begins within the known bytes is enough, its rest is not waited for. */
static enum cl_inspect_step inspect_stream(const struct cl_packet *packet, struct cl_info *info)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    uint16_t size = cursor_be16(&c);
    if (!c.ok)
        return CL_INSPECT_MORE;
    if (size < DNS_HEADER_BYTES)
        return CL_INSPECT_REJECTED;
    bool whole = cursor_left(&c) >= size;
    struct cursor message = cursor_sub(&c, whole ? size : cursor_left(&c));
    enum dns_read read = read_message(message, whole, has_port(packet, DNS_PORT), info);
    return read == DNS_WHOLE ? CL_INSPECT_DONE : read == DNS_SHORT ? CL_INSPECT_MORE : CL_INSPECT_REJECTED;
}

static enum cl_inspect_step inspect_dns(void *scratch, void *state, const struct cl_packet *packet,
                                        struct cl_info *info, struct cl_inspect_result *result)
{
    (void)scratch;
    (void)state;
    if (has_port(packet, DNS_PORT_NBNS))
        return CL_INSPECT_REJECTED;
    if (has_port(packet, DNS_PORT_MDNS))
        result->protocol = CL_HINT_mdns;
    else if (has_port(packet, DNS_PORT_LLMNR))
        result->protocol = CL_HINT_llmnr;
    if (packet->ip_proto == 6)
        return inspect_stream(packet, info);
    struct cursor message = cursor_of(packet->bytes, packet->size_bytes);
    enum dns_read read = read_message(message, true, has_port(packet, DNS_PORT), info);
    return read == DNS_WHOLE ? CL_INSPECT_DONE : CL_INSPECT_REJECTED;
}

const struct cl_inspector cl_inspector_dns = {.name = "dns", .inspect = inspect_dns};

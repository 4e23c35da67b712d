/*
 * Announcements in binary: TFTP, DNS, H.323, iperf3.
 */
#include <string.h>

#include "base/cursor.h"
#include "classifier/announcers.h"
#include "classifier/engine.h"

/* ---- TFTP: the server answers from a port of its own to the one that asked ---- */

bool announce_may_tftp(const uint8_t *bytes, uint32_t size_bytes)
{
    return bytes[0] == 0 && (bytes[1] == 1 || bytes[1] == 2) && bytes[2] >= ' ' && bytes[2] < 0x7f &&
           bytes[size_bytes - 1] == 0;
}

void announce_tftp(const struct cl_packet *packet, struct announced *out)
{
    if (packet->from_server || !announce_may_tftp(packet->bytes, packet->size_bytes))
        return;
    announce_add(out,
                 (struct cl_announcement){
                     .kind = CL_ANNOUNCED_tftp, .whose = CL_OF_SENDER, .has_peer = true, .port = packet->client_port});
}

/* ---- DNS: the addresses of a name ---- */

#define DNS_NAME_MAX       255u
#define DNS_LABEL_MAX      63u
#define DNS_LIFETIME_MIN_S 60u /* programs keep an address longer than a record that lives for seconds says */
#define DNS_TYPE_A         1u
#define DNS_TYPE_AAAA      28u

/* An answer without an error to one question, with records. */
bool announce_may_dns(const uint8_t *bytes, uint32_t size_bytes)
{
    return size_bytes >= 12 && (bytes[2] & 0xf8) == 0x80 && (bytes[3] & 0x0f) == 0 && bytes[4] == 0 && bytes[5] == 1 &&
           bytes[6] == 0 && bytes[7] != 0;
}

/* The question's name as dotted text: no pointers there. 0 when it is none. */
static size_t read_question(struct cursor *c, char text[DNS_NAME_MAX])
{
    size_t size = 0;
    for (;;) {
        uint8_t length = cursor_u8(c);
        if (!c->ok || length > DNS_LABEL_MAX)
            return 0;
        if (!length)
            break;
        const uint8_t *label = cursor_take(c, length);
        if (!label || size + length + 1 > DNS_NAME_MAX)
            return 0;
        if (size)
            text[size++] = '.';
        memcpy(text + size, label, length);
        size += length;
    }
    cursor_skip(c, 4); /* type, class */
    return c->ok ? size : 0;
}

/* An owner's name is not looked at: a pointer, or labels up to one or to the root. */
static bool skip_name(struct cursor *c)
{
    for (;;) {
        uint8_t length = cursor_u8(c);
        if (!c->ok || length == 0)
            return c->ok;
        if (length >= 0xc0)
            return cursor_skip(c, 1);
        if (length > DNS_LABEL_MAX || !cursor_skip(c, length))
            return false;
    }
}

void announce_dns(const struct cl_packet *packet, struct announced *out)
{
    char name[DNS_NAME_MAX];
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    if (!packet->from_server || packet->ip_proto != 17)
        return;
    cursor_skip(&c, 6);
    unsigned answers = cursor_be16(&c);
    cursor_skip(&c, 4);
    size_t size = read_question(&c, name);
    cl_protocol named = size ? cl_hosts_find(&out->engine->hosts, name, size) : 0;
    if (!named)
        return;
    for (unsigned i = 0; i < answers && skip_name(&c); i++) {
        uint16_t type = cursor_be16(&c), class = cursor_be16(&c);
        uint32_t lifetime_s = cursor_be32(&c);
        uint16_t data_bytes = cursor_be16(&c);
        const uint8_t *data = cursor_take(&c, data_bytes);
        if (!data)
            return;
        bool is_v6 = type == DNS_TYPE_AAAA;
        if (class != 1 || (!is_v6 && type != DNS_TYPE_A) || data_bytes != (is_v6 ? 16 : 4))
            continue;
        if (lifetime_s < DNS_LIFETIME_MIN_S)
            lifetime_s = DNS_LIFETIME_MIN_S;
        if (lifetime_s > CL_ANNOUNCED_LIFETIME_MAX_S)
            lifetime_s = CL_ANNOUNCED_LIFETIME_MAX_S;
        struct cl_announcement a = {.kind = CL_ANNOUNCED_name,
                                    .whose = CL_OF_ANOTHER,
                                    .is_v6 = is_v6,
                                    .has_peer = true,
                                    .named = named,
                                    .lifetime_s = lifetime_s};
        memcpy(a.address, data, data_bytes);
        announce_add(out, a);
    }
}

/* ---- H.323 ---- */

#define TPKT_VERSION       3u
#define Q931               0x08u
#define H245_OPEN          0x03u /* request, openLogicalChannel */
#define H245_OPEN_ACK      0x22u /* response, openLogicalChannelAck */
#define PORT_FIRST         1024u
#define H323_ADDRESSES_MAX 5u

bool announce_may_h323(const uint8_t *bytes, uint32_t size_bytes)
{
    return size_bytes > 8 && bytes[0] == TPKT_VERSION && bytes[1] == 0 &&
           (bytes[4] == Q931 || bytes[4] == H245_OPEN || bytes[4] == H245_OPEN_ACK);
}

static void add_media_pair(uint16_t port, struct announced *out)
{
    announce_add(out, (struct cl_announcement){.kind = CL_ANNOUNCED_rtp, .port = (uint16_t)(port & ~1u)});
    announce_add(out, (struct cl_announcement){.kind = CL_ANNOUNCED_rtcp, .port = (uint16_t)(port | 1u)});
}

/*
 * In aligned PER an IPv4 transport address is four bytes of address and two of port, wherever it stands. The sender's own are looked
 * for: nobody else's can be announced so. Call signalling names the port of H.245, and of media when it starts them at once.
 */
void announce_h323(const struct cl_packet *packet, struct announced *out)
{
    const uint8_t *own = out->sender->address;
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    if (packet->ip_proto != 6 || out->sender->is_v6 || !announce_may_h323(packet->bytes, packet->size_bytes))
        return;
    bool is_call = packet->bytes[4] == Q931;
    cursor_skip(&c, 5);
    for (unsigned found = 0; cursor_left(&c) >= 6 && found < H323_ADDRESSES_MAX;) {
        if (memcmp(c.p, own, 4)) {
            const uint8_t *next = memchr(c.p + 1, own[0], cursor_left(&c) - 1);
            if (!next)
                return;
            cursor_skip(&c, (size_t)(next - c.p));
            continue;
        }
        cursor_skip(&c, 4);
        uint16_t port = cursor_be16(&c);
        if (port < PORT_FIRST)
            continue;
        found++;
        if (is_call)
            announce_add(out, (struct cl_announcement){.kind = CL_ANNOUNCED_h245, .port = port});
        add_media_pair(port, out);
    }
}

/* ---- iperf3: streams go where the control connection went ---- */

#define IPERF3_COOKIE_BYTES 37u /* 36 letters and digits of base 32, and a zero */

bool announce_may_iperf3(const uint8_t *bytes, uint32_t size_bytes)
{
    if (size_bytes != IPERF3_COOKIE_BYTES || bytes[36] != 0)
        return false;
    for (unsigned i = 0; i < 36; i++)
        if (!((bytes[i] >= 'a' && bytes[i] <= 'z') || (bytes[i] >= '2' && bytes[i] <= '7')))
            return false;
    return true;
}

void announce_iperf3(const struct cl_packet *packet, struct announced *out)
{
    if (packet->from_server || !announce_may_iperf3(packet->bytes, packet->size_bytes))
        return;
    announce_add(
        out, (struct cl_announcement){
                 .kind = CL_ANNOUNCED_iperf3, .whose = CL_OF_RECEIVER, .has_peer = true, .port = packet->server_port});
}

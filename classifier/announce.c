#include "classifier/announce.h"

#include <string.h>

#include "base/cursor.h"
#include "classifier/announcers.h"
#include "classifier/engine.h"

#define IP_PROTO_TCP        6u
#define IP_PROTO_UDP        17u
#define NAMED_CONFIDENCE    50u
#define FALLBACK_CONFIDENCE 70u
#define RTP_VERSION_2       0x80u
#define RTCP_FIRST          192u /* packet types that RTP's payload types stay clear of, RFC 5761 */
#define RTCP_LAST           223u

struct kind {
    const char *name, *protocol;
    uint8_t ip_proto, confidence;
    bool is_enough;
    uint16_t lifetime_s;
};
static const struct kind kinds[CL_ANNOUNCED_COUNT] = {
#define X(name, protocol, ip_proto, lifetime_s, confidence, is_enough)                                                 \
    {#name, protocol, ip_proto, confidence, is_enough, lifetime_s},
    CL_ANNOUNCED(X)
#undef X
};

/* Protocols that announce, and who reads them. */
static const struct {
    const char *protocol;
    announcer *read;
} announcers[] = {
    {"FTP", announce_ftp},    {"SIP", announce_sdp},    {"MGCP", announce_sdp},
    {"Megaco", announce_sdp}, {"RTSP", announce_rtsp},  {"TFTP", announce_tftp},
    {"DNS", announce_dns},    {"H.323", announce_h323}, {"iperf3", announce_iperf3},
};
#define ANNOUNCERS (sizeof announcers / sizeof *announcers)
_Static_assert(ANNOUNCERS <= CL_ANNOUNCERS_MAX, "the engine has a place for each");

const char *cl_announced_name(enum cl_announced kind)
{
    return kinds[kind].name;
}

void announce_index(struct cl_engine *e)
{
    for (unsigned i = 0; i < ANNOUNCERS; i++)
        e->announcer[i] = cl_protocol_find(e, announcers[i].protocol);
    for (unsigned i = 0; i < CL_ANNOUNCED_COUNT; i++)
        e->announced[i] = kinds[i].protocol[0] ? cl_protocol_find(e, kinds[i].protocol) : 0;
    e->tls = cl_protocol_find(e, "TLS");
    e->quic = cl_protocol_find(e, "QUIC");
}

bool cl_announces(const struct cl_engine *engine, cl_protocol protocol)
{
    bool found = false;
    for (unsigned i = 0; i < ANNOUNCERS; i++)
        found |= engine->announcer[i] == protocol;
    return protocol && found;
}

void announce_add(struct announced *out, struct cl_announcement announcement)
{
    if (out->count == CL_ANNOUNCEMENTS_MAX)
        return;
    if (!announcement.lifetime_s)
        announcement.lifetime_s = kinds[announcement.kind].lifetime_s;
    out->list[out->count++] = announcement;
}

/* ---- which packets are worth a look ---- */

static bool begins_with_word(const uint8_t *bytes)
{
    static const char words[][4] = {
        "227 ",  "229 ",  "PORT", "EPRT",                         /* FTP */
        "INVI",  "SIP/",  "ACK ", "PRAC", "UPDA",                 /* SIP */
        "v=0\r", "v=0\n",                                         /* its body alone */
        "SETU",  "RTSP",                                          /* RTSP */
        "CRCX",  "MDCX",  "200 ", "!/1 ", "!/2 ", "!/3 ", "MEGA", /* MGCP, Megaco */
    };
    uint8_t upper[4];
    for (unsigned i = 0; i < sizeof upper; i++)
        upper[i] = bytes[i] >= 'a' && bytes[i] <= 'z' ? (uint8_t)(bytes[i] & 0xdf) : bytes[i];
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (!memcmp(upper, words[i], 4) || !memcmp(bytes, words[i], 4))
            return true;
    return false;
}

bool cl_may_announce(uint8_t ip_proto, const uint8_t *bytes, uint32_t size_bytes)
{
    if (size_bytes < ANNOUNCE_MIN_BYTES)
        return false;
    if (begins_with_word(bytes))
        return true;
    if (ip_proto == IP_PROTO_TCP)
        return announce_may_h323(bytes, size_bytes) || announce_may_iperf3(bytes, size_bytes);
    return announce_may_tftp(bytes, size_bytes) || announce_may_dns(bytes, size_bytes);
}

unsigned cl_announce(const struct cl_engine *engine, cl_protocol protocol, const struct cl_packet *packet,
                     const struct cl_sender *sender, struct cl_announcement ret_list[CL_ANNOUNCEMENTS_MAX])
{
    struct announced out = {.engine = engine, .sender = sender, .list = ret_list};
    if (!cl_may_announce(packet->ip_proto, packet->bytes, packet->size_bytes))
        return 0;
    for (unsigned i = 0; i < ANNOUNCERS; i++)
        if (engine->announcer[i] == protocol)
            announcers[i].read(packet, &out);
    return out.count;
}

/* ---- what becomes of it ---- */

/* RTP and RTCP share ports as they like: the packet says which it is. */
static enum cl_announced media_kind(enum cl_announced kind, struct cursor c, bool *ret_fits)
{
    uint8_t first = cursor_u8(&c), second = cursor_u8(&c);
    size_t left = cursor_left(&c);
    *ret_fits = false;
    if (!c.ok || (first & 0xc0) != RTP_VERSION_2)
        return kind;
    bool is_rtcp = second >= RTCP_FIRST && second <= RTCP_LAST;
    *ret_fits = left >= (is_rtcp ? 6u : 10u);
    return is_rtcp ? CL_ANNOUNCED_rtcp : CL_ANNOUNCED_rtp;
}

/* Data, acknowledgement, error, option acknowledgement. */
static bool fits_tftp(struct cursor c)
{
    uint16_t operation = cursor_be16(&c);
    cursor_skip(&c, 2);
    return c.ok && operation >= 3 && operation <= 6;
}

/* A TPKT, or none of its bytes yet. */
static bool fits_tpkt(struct cursor c)
{
    return cursor_left(&c) && cursor_u8(&c) == 3 && cursor_u8(&c) == 0;
}

bool cl_expected(const struct cl_engine *engine, enum cl_announced kind, const uint8_t *bytes, uint32_t size_bytes,
                 struct cl_verdict *ret_verdict)
{
    struct cursor c = cursor_of(size_bytes ? bytes : (const uint8_t *)"", size_bytes); /* a SYN has none */
    bool fits = kinds[kind].is_enough;
    if (kind == CL_ANNOUNCED_rtp || kind == CL_ANNOUNCED_rtcp)
        kind = media_kind(kind, c, &fits);
    else if (kind == CL_ANNOUNCED_tftp)
        fits = fits_tftp(c);
    else if (kind == CL_ANNOUNCED_h245)
        fits = fits_tpkt(c);
    *ret_verdict = (struct cl_verdict){.protocol = engine->announced[kind],
                                       .method = CL_METHOD_learned,
                                       .confidence = fits ? kinds[kind].confidence : FALLBACK_CONFIDENCE};
    return fits && ret_verdict->protocol;
}

static bool is_weak(const struct cl_verdict *verdict)
{
    return verdict->method == CL_METHOD_port || verdict->method == CL_METHOD_generic;
}

void cl_complete(const struct cl_engine *engine, const struct cl_verdict *fallback, cl_protocol named,
                 const struct cl_info *info, struct cl_verdict *verdict)
{
    if (is_weak(verdict) && fallback->protocol) {
        *verdict = *fallback;
        return;
    }
    if (!named || verdict->application || (info && info->size_bytes[CL_TEXT_host]))
        return;
    if (!is_weak(verdict) && verdict->protocol != engine->tls && verdict->protocol != engine->quic)
        return;
    verdict->application = named;
    verdict->method = CL_METHOD_learned;
    verdict->confidence = NAMED_CONFIDENCE;
}

/*
 * Announcements in lines of text: FTP, SDP in whatever carries it, RTSP.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/cursor.h"
#include "classifier/announcers.h"
#include "classifier/inspect_text.h"

#define DISCARD_PORT  9u /* what media offered without a port of its own has, as in WebRTC */
#define PORT_MAX      65535u
#define ADDRESS_BYTES 46u

/* The next line without its end; false at the end of the bytes. */
static bool next_line(struct cursor *c, struct cursor *ret_line)
{
    size_t left = cursor_left(c);
    if (!left)
        return false;
    const uint8_t *end = memchr(c->p, '\n', left);
    size_t size = end ? (size_t)(end - c->p) : left;
    *ret_line = cursor_sub(c, size);
    if (end)
        cursor_skip(c, 1);
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t size = strlen(word);
    if (cursor_left(c) < size || !text_starts(c->p, size, word, size))
        return false;
    return cursor_skip(c, size);
}

static bool take_byte(struct cursor *c, uint8_t byte)
{
    return cursor_left(c) && *c->p == byte && cursor_skip(c, 1);
}

/* A decimal number of at most `max`. */
static bool take_number(struct cursor *c, uint32_t max, uint32_t *ret_number)
{
    uint32_t number = 0;
    bool any = false;
    while (cursor_left(c) && *c->p >= '0' && *c->p <= '9') {
        number = number * 10 + (uint32_t)(cursor_u8(c) - '0');
        any = true;
        if (number > max)
            return false;
    }
    *ret_number = number;
    return any;
}

static bool take_port(struct cursor *c, uint16_t *ret_port)
{
    uint32_t port;
    if (!take_number(c, PORT_MAX, &port) || port == 0)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* Moves behind the next `byte`; false when there is none. */
static bool skip_past(struct cursor *c, uint8_t byte)
{
    size_t left = cursor_left(c);
    const uint8_t *found = left ? memchr(c->p, byte, left) : NULL;
    return found && cursor_skip(c, (size_t)(found - c->p) + 1);
}

/* ---- FTP ---- */

/* "h1,h2,h3,h4,p1,p2". The address is not believed: it is the control connection's own, or somebody else's business. */
static bool take_six(struct cursor *c, uint16_t *ret_port)
{
    uint32_t part[6];
    for (unsigned i = 0; i < 6; i++)
        if ((i && !take_byte(c, ',')) || !take_number(c, 255, &part[i]))
            return false;
    *ret_port = (uint16_t)(part[4] << 8 | part[5]);
    return *ret_port != 0;
}

/* "(|1|192.0.2.1|2021|)" of RFC 2428 from the first delimiter on. */
static bool take_extended(struct cursor *c, uint16_t *ret_port)
{
    uint8_t delimiter = cursor_u8(c);
    return delimiter >= 33 && delimiter <= 126 && skip_past(c, delimiter) && skip_past(c, delimiter) &&
           take_port(c, ret_port) && take_byte(c, delimiter);
}

static bool read_ftp_line(struct cursor line, bool from_server, uint16_t *ret_port)
{
    if (!from_server)
        return take_word(&line, "port ") ? take_six(&line, ret_port)
                                         : take_word(&line, "eprt ") && take_extended(&line, ret_port);
    if (take_word(&line, "229 "))
        return skip_past(&line, '(') && take_extended(&line, ret_port);
    if (!take_word(&line, "227 "))
        return false;
    while (cursor_left(&line) && (*line.p < '0' || *line.p > '9')) /* any text, with or without a parenthesis */
        cursor_skip(&line, 1);
    return take_six(&line, ret_port);
}

void announce_ftp(const struct cl_packet *packet, struct announced *out)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes), line;
    struct cl_announcement a = {.kind = CL_ANNOUNCED_ftp_data, .whose = CL_OF_SENDER, .has_peer = true};
    while (next_line(&c, &line))
        if (read_ftp_line(line, packet->from_server, &a.port))
            announce_add(out, a);
}

/* ---- SDP ---- */

struct sdp {
    struct cl_announcement session, media; /* addresses; kind says nothing yet */
    uint16_t port, rtcp_port;              /* of the media described now; 0 = none */
    bool in_media;
};

static bool is_unicast(const struct cl_announcement *a)
{
    if (a->is_v6)
        return a->address[0] != 0xff && (a->address[0] | a->address[15]);
    return a->address[0] && a->address[0] != 127 && a->address[0] < 224;
}

/* "IN IP4 192.0.2.1" */
static void read_connection(struct cursor line, struct cl_announcement *ret)
{
    char text[ADDRESS_BYTES];
    size_t size = 0;
    struct cl_announcement a = {.whose = CL_OF_ANOTHER};
    if (!take_word(&line, "in ip"))
        return;
    a.is_v6 = cursor_u8(&line) == '6';
    cursor_skip(&line, 1);
    while (cursor_left(&line) && size < sizeof text - 1 && *line.p > ' ' && *line.p != '/')
        text[size++] = (char)cursor_u8(&line);
    text[size] = 0;
    if (inet_pton(a.is_v6 ? AF_INET6 : AF_INET, text, a.address) != 1 || !is_unicast(&a))
        a.whose = CL_OF_SENDER; /* a name, or on hold */
    *ret = a;
}

/* "audio 49170 RTP/AVP 0" */
static void read_media(struct cursor line, struct sdp *sdp)
{
    uint16_t port;
    sdp->port = sdp->rtcp_port = 0;
    sdp->in_media = true;
    sdp->media = sdp->session;
    if (!skip_past(&line, ' ') || !take_port(&line, &port) || port == DISCARD_PORT || !skip_past(&line, ' '))
        return;
    const uint8_t *profile = line.p;
    size_t size = cursor_left(&line);
    const uint8_t *end = size ? memchr(profile, ' ', size) : NULL;
    size = end ? (size_t)(end - profile) : size;
    for (size_t i = 0; i + 4 <= size; i++) /* RTP/AVP, UDP/TLS/RTP/SAVPF, ... but nothing over TCP */
        if (text_starts(profile + i, size - i, "rtp/", 4))
            sdp->port = port;
    if (size >= 3 && text_starts(profile, size, "tcp", 3))
        sdp->port = 0;
    sdp->rtcp_port = sdp->port && sdp->port < PORT_MAX ? (uint16_t)(sdp->port + 1) : 0;
}

static void end_media(struct sdp *sdp, struct announced *out)
{
    struct cl_announcement a = sdp->media;
    if (!sdp->port)
        return;
    a.kind = CL_ANNOUNCED_rtp;
    a.port = sdp->port;
    announce_add(out, a);
    if (!sdp->rtcp_port || sdp->rtcp_port == sdp->port)
        return;
    a.kind = CL_ANNOUNCED_rtcp;
    a.port = sdp->rtcp_port;
    announce_add(out, a);
}

void announce_sdp(const struct cl_packet *packet, struct announced *out)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes), line;
    struct sdp sdp = {.session = {.whose = CL_OF_SENDER}};
    while (next_line(&c, &line)) {
        while (cursor_left(&line) && (*line.p == ' ' || *line.p == '\t')) /* Megaco indents */
            cursor_skip(&line, 1);
        if (take_word(&line, "m=")) {
            end_media(&sdp, out);
            read_media(line, &sdp);
        } else if (take_word(&line, "c=")) {
            read_connection(line, sdp.in_media ? &sdp.media : &sdp.session);
        } else if (take_word(&line, "a=rtcp:")) {
            if (sdp.port && !take_port(&line, &sdp.rtcp_port))
                sdp.rtcp_port = 0;
        }
    }
    end_media(&sdp, out);
}

/* ---- RTSP ---- */

static void add_pair(struct cursor value, uint8_t whose, struct announced *out)
{
    struct cl_announcement a = {.kind = CL_ANNOUNCED_rtp, .whose = whose};
    if (!take_port(&value, &a.port))
        return;
    announce_add(out, a);
    a.kind = CL_ANNOUNCED_rtcp;
    if (take_byte(&value, '-') && take_port(&value, &a.port))
        announce_add(out, a);
}

/* One of the alternatives that commas part: "RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257". */
static void read_transport(struct cursor spec, bool from_server, struct announced *out)
{
    while (cursor_left(&spec) && *spec.p == ' ')
        cursor_skip(&spec, 1);
    if (!take_word(&spec, "rtp/"))
        return;
    while (skip_past(&spec, ';')) {
        while (cursor_left(&spec) && *spec.p == ' ')
            cursor_skip(&spec, 1);
        if (take_word(&spec, "client_port="))
            add_pair(spec, from_server ? CL_OF_RECEIVER : CL_OF_SENDER, out);
        else if (from_server && take_word(&spec, "server_port="))
            add_pair(spec, CL_OF_SENDER, out);
    }
}

void announce_rtsp(const struct cl_packet *packet, struct announced *out)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes), line;
    while (next_line(&c, &line)) {
        if (!take_word(&line, "transport:"))
            continue;
        while (cursor_left(&line)) {
            const uint8_t *comma = memchr(line.p, ',', cursor_left(&line));
            size_t size = comma ? (size_t)(comma - line.p) : cursor_left(&line);
            read_transport(cursor_sub(&line, size), packet->from_server, out);
            if (comma)
                cursor_skip(&line, 1);
        }
    }
}

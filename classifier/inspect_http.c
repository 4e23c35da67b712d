/*
 * HTTP/1.x and 0.9 over TCP (RFC 9110, RFC 9112, WebDAV's and any other method token), requests, responses alone, HTTP/2 with
 * prior knowledge (RFC 9113 3.3), and what rides on HTTP where its own header fields say so. A request or status line decides;
 * RTSP, SIP, ICAP and other line protocols alike are refused by the version at its end. Over UDP only SSDP's messages are known.
 *
 * A header block that is not whole yet is read again from its first byte with the next segment: at most CL_STREAM_MAX_BYTES
 * each time.
 */
#include "base/cursor.h"
#include "classifier/inspect.h"
#include "classifier/inspect_text.h"

#define HTTP_METHOD_MAX_BYTES 32u
#define HTTP_INTERIM_MAX      4u /* 1xx responses in front of the one that counts */
#define HTTP_EMPTY_LINES_MAX  2u /* in front of a request (RFC 9112 2.2) */
#define HTTP2_FRAME_MAX_BYTES 16384u
#define HTTP2_SETTINGS_MAX    16u
#define HTTP2_PREFACE         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_BYTES   24u

struct http_state {
    uint8_t application; /* enum cl_hint */
    bool confirmed, is_ssdp;
    bool request_read;         /* its header block is whole: nothing more to learn from its direction */
    uint8_t request_direction; /* as from_server */
};
_Static_assert(sizeof(struct http_state) <= CL_INSPECT_STATE_BYTES, "inspector state");

enum http_read { HTTP_BAD, HTTP_SHORT, HTTP_SURE, HTTP_WHOLE };

struct text {
    const uint8_t *bytes;
    size_t size;
};

#define WORD(w) (w), sizeof(w) - 1

/* Methods that an HTTP request alone begins with, and what they tell. */
static const struct {
    const char *method;
    size_t size;
    uint8_t hint;
} methods[] = {
    {WORD("GET"), 0},
    {WORD("POST"), 0},
    {WORD("HEAD"), 0},
    {WORD("PUT"), 0},
    {WORD("DELETE"), 0},
    {WORD("PATCH"), 0},
    {WORD("TRACE"), 0},
    {WORD("CONNECT"), CL_HINT_http_connect},
    {WORD("PROPFIND"), CL_HINT_webdav},
    {WORD("PROPPATCH"), CL_HINT_webdav},
    {WORD("MKCOL"), CL_HINT_webdav},
    {WORD("LOCK"), CL_HINT_webdav},
    {WORD("UNLOCK"), CL_HINT_webdav},
    {WORD("REPORT"), CL_HINT_webdav},
    {WORD("BITS_POST"), CL_HINT_bits},
    {WORD("RPC_IN_DATA"), CL_HINT_rpc_over_http},
    {WORD("RPC_OUT_DATA"), CL_HINT_rpc_over_http},
    {WORD("RDG_IN_DATA"), CL_HINT_rpc_over_http},
    {WORD("RDG_OUT_DATA"), CL_HINT_rpc_over_http},
    {WORD("SSTP_DUPLEX_POST"), CL_HINT_sstp},
};

enum field {
    FIELD_none,
    FIELD_host,
    FIELD_user_agent,
    FIELD_referer,
    FIELD_server,
    FIELD_upgrade,
    FIELD_content_type,
    FIELD_soap,
    FIELD_icy,
    FIELD_ssdp
};

static const struct {
    const char *name; /* lower case */
    size_t size;
    enum field field;
} fields[] = {
    {WORD("host"), FIELD_host},       {WORD("user-agent"), FIELD_user_agent},
    {WORD("referer"), FIELD_referer}, {WORD("server"), FIELD_server},
    {WORD("upgrade"), FIELD_upgrade}, {WORD("content-type"), FIELD_content_type},
    {WORD("soapaction"), FIELD_soap}, {WORD("icy-metadata"), FIELD_icy},
    {WORD("icy-name"), FIELD_icy},    {WORD("icy-br"), FIELD_icy},
    {WORD("st"), FIELD_ssdp},         {WORD("usn"), FIELD_ssdp},
};

/* Beginnings of Content-Type's value. */
static const struct {
    const char *type;
    size_t size;
    uint8_t hint;
} content_types[] = {
    {WORD("application/ipp"), CL_HINT_ipp},
    {WORD("application/soap+xml"), CL_HINT_soap},
    {WORD("application/dns-message"), CL_HINT_doh},
    {WORD("application/ocsp-re"), CL_HINT_ocsp}, /* quest, sponse */
    {WORD("application/x-rtsp-tunnelled"), CL_HINT_rtsp},
    {WORD("application/x-fcs"), CL_HINT_rtmpt},
    {WORD("application/json-rpc"), CL_HINT_json_rpc},
    {WORD("application/dash+xml"), CL_HINT_dash},
    {WORD("application/vnd.apple.mpegurl"), CL_HINT_hls},
    {WORD("application/x-mpegurl"), CL_HINT_hls},
    {WORD("application/x-git-"), CL_HINT_git},
    {WORD("application/grpc"), CL_HINT_grpc},
};

/* tchar of RFC 9110 5.6.2 */
static bool is_token_byte(uint8_t b)
{
    return (b >= '0' && b <= '9') || (text_lower(b) >= 'a' && text_lower(b) <= 'z') ||
           (b && memchr("!#$%&'*+-.^_`|~", b, 15));
}

/* The next line without its end (CR LF or a bare LF); false when its end is not there yet. */
static bool read_line(struct cursor *c, struct text *ret_line)
{
    const uint8_t *start = c->p, *end = cursor_left(c) ? memchr(start, '\n', cursor_left(c)) : NULL;
    if (!end)
        return false;
    cursor_skip(c, (size_t)(end - start) + 1);
    size_t size = (size_t)(end - start);
    *ret_line = (struct text){start, size && start[size - 1] == '\r' ? size - 1 : size};
    return true;
}

static struct text trimmed(struct text t)
{
    while (t.size && (t.bytes[0] == ' ' || t.bytes[0] == '\t'))
        t = (struct text){t.bytes + 1, t.size - 1};
    while (t.size && (t.bytes[t.size - 1] == ' ' || t.bytes[t.size - 1] == '\t'))
        t.size--;
    return t;
}

/* "host", "host:port" or "[address]:port", perhaps behind "user@". */
static void set_authority(struct cl_info *info, struct text t)
{
    const uint8_t *at = t.size ? memrchr(t.bytes, '@', t.size) : NULL;
    if (at)
        t = (struct text){at + 1, t.size - (size_t)(at + 1 - t.bytes)};
    if (t.size && t.bytes[0] == '[') {
        const uint8_t *close = memchr(t.bytes, ']', t.size);
        if (close)
            t = (struct text){t.bytes + 1, (size_t)(close - t.bytes) - 1};
    } else if (t.size) {
        const uint8_t *colon = memchr(t.bytes, ':', t.size);
        if (colon)
            t.size = (size_t)(colon - t.bytes);
    }
    text_set_host(info, t.bytes, t.size);
}

/* Where the target names its host itself, that is the one asked for whatever Host says (RFC 9112 3.2.2). */
static void set_target(struct http_state *state, struct text target, struct cl_info *info)
{
    cl_info_set(info, CL_TEXT_url, target.bytes, target.size);
    if (state->application == CL_HINT_http_connect) {
        set_authority(info, target);
        return;
    }
    static const char scheme[] = "http://";
    if (text_starts(target.bytes, target.size, WORD(scheme))) {
        struct text rest = {target.bytes + sizeof(scheme) - 1, target.size - (sizeof(scheme) - 1)};
        size_t size = 0;
        while (size < rest.size && rest.bytes[size] != '/' && rest.bytes[size] != '?')
            size++;
        set_authority(info, (struct text){rest.bytes, size});
        if (!state->application)
            state->application = CL_HINT_http_proxy;
    }
    static const char announce[] = "/announce?";
    if (text_starts(target.bytes, target.size, WORD(announce)) && memmem(target.bytes, target.size, "info_hash=", 10))
        state->application = CL_HINT_bittorrent;
}

static void hint(struct http_state *state, uint8_t application)
{
    if (application && (!state->application || state->application == CL_HINT_http_proxy))
        state->application = application;
}

static void set_field(struct http_state *state, enum field field, struct text value, struct cl_info *info)
{
    switch (field) {
    case FIELD_host:
        set_authority(info, value);
        break;
    case FIELD_user_agent:
        cl_info_set(info, CL_TEXT_user_agent, value.bytes, value.size);
        break;
    case FIELD_referer:
        cl_info_set(info, CL_TEXT_referer, value.bytes, value.size);
        break;
    case FIELD_server:
        cl_info_set(info, CL_TEXT_server, value.bytes, value.size);
        break;
    case FIELD_upgrade:
        if (text_is(value.bytes, value.size, WORD("websocket")))
            hint(state, CL_HINT_websocket);
        else if (text_starts(value.bytes, value.size, WORD("h2c")))
            hint(state, CL_HINT_http2);
        break;
    case FIELD_content_type:
        for (size_t i = 0; i < sizeof(content_types) / sizeof(content_types[0]); i++)
            if (text_starts(value.bytes, value.size, content_types[i].type, content_types[i].size))
                hint(state, content_types[i].hint);
        break;
    case FIELD_soap:
        hint(state, CL_HINT_soap);
        break;
    case FIELD_icy:
        hint(state, CL_HINT_icecast);
        break;
    case FIELD_ssdp:
        state->is_ssdp = true; /* believed over UDP only */
        break;
    case FIELD_none:
        break;
    }
}

/* A field that is being read: its value may go on in the next line (obs-fold), which joins with one blank. */
struct value {
    enum field field;
    struct text text; /* where it lies, or in `joined` */
    uint8_t joined[CL_TEXT_MAX_BYTES];
};

static void append(struct value *value, struct text t)
{
    if (!value->text.size) {
        value->text = (struct text){t.bytes, t.size < sizeof(value->joined) ? t.size : sizeof(value->joined)};
        return;
    }
    if (value->text.bytes != value->joined) {
        memcpy(value->joined, value->text.bytes, value->text.size);
        value->text.bytes = value->joined;
    }
    if (value->text.size < sizeof(value->joined) && t.size)
        value->joined[value->text.size++] = ' ';
    size_t there = sizeof(value->joined) - value->text.size;
    if (t.size > there)
        t.size = there;
    memcpy(value->joined + value->text.size, t.bytes, t.size);
    value->text.size += t.size;
}

static enum field field_of(struct text name)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (text_is(name.bytes, name.size, fields[i].name, fields[i].size))
            return fields[i].field;
    return FIELD_none;
}

/* Takes one line of the header block; true when it is the empty one that ends it. */
static bool take_line(struct http_state *state, struct value *value, struct text line, struct cl_info *info)
{
    if (line.size && (line.bytes[0] == ' ' || line.bytes[0] == '\t')) {
        if (value->field)
            append(value, trimmed(line));
        return false;
    }
    set_field(state, value->field, value->text, info);
    value->field = FIELD_none;
    value->text.size = 0;
    const uint8_t *colon = line.size ? memchr(line.bytes, ':', line.size) : NULL;
    if (colon) {
        size_t name_size = (size_t)(colon - line.bytes);
        value->field = field_of(trimmed((struct text){line.bytes, name_size}));
        if (value->field)
            append(value, trimmed((struct text){colon + 1, line.size - name_size - 1}));
    }
    return !line.size;
}

/*
 * Reads fields up to the empty line: HTTP_WHOLE when it was there. A field counts once the line after it is there, because
 * that one may go on with it; at the end of what is ever looked at it counts as it is.
 */
static enum http_read read_fields(struct http_state *state, struct cursor *c, bool is_last, struct cl_info *info)
{
    struct value value;
    value.field = FIELD_none;
    value.text = (struct text){c->p, 0};
    struct text line;
    while (read_line(c, &line))
        if (take_line(state, &value, line, info))
            return HTTP_WHOLE;
    if (is_last) {
        take_line(state, &value, (struct text){c->p, cursor_left(c)}, info);
        set_field(state, value.field, value.text, info);
    }
    return HTTP_SURE;
}

/* "HTTP/1.1" at the end of a request line, or NULL. */
static const uint8_t *version_of(struct text line)
{
    line = trimmed(line);
    if (line.size < 8)
        return NULL;
    const uint8_t *v = line.bytes + line.size - 8;
    bool is_version =
        text_starts(v, 8, WORD("http/")) && v[5] <= '1' && v[5] >= '0' && v[6] == '.' && v[7] >= '0' && v[7] <= '9';
    return is_version ? v : NULL;
}

/* A method whose name and target alone are HTTP's, so that a long line need not be waited for; -1 when there is none. */
static int known_method(struct text method)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (method.size == methods[i].size && memcmp(method.bytes, methods[i].method, method.size) == 0)
            return (int)i;
    return -1;
}

static enum http_read read_request(struct http_state *state, struct cursor c, bool is_last, struct cl_info *info)
{
    struct cursor start = c;
    struct text line, method = {c.p, 0};
    while (cursor_left(&c) && is_token_byte(c.p[0]) && method.size <= HTTP_METHOD_MAX_BYTES) {
        method.size++;
        cursor_skip(&c, 1);
    }
    if (method.size > HTTP_METHOD_MAX_BYTES)
        return HTTP_BAD;
    if (!cursor_left(&c))
        return HTTP_SHORT;
    if (!method.size || cursor_u8(&c) != ' ')
        return HTTP_BAD;
    int known = known_method(method);
    bool is_path = cursor_left(&c) && c.p[0] == '/';
    c = start;
    if (!read_line(&c, &line)) {
        if (known < 0 || !is_path)
            return is_last ? HTTP_BAD : HTTP_SHORT;
        if (is_last)
            cl_info_set(info, CL_TEXT_url, start.p + method.size + 1, cursor_left(&start) - method.size - 1);
        return HTTP_SURE;
    }
    const uint8_t *version = version_of(line);
    struct text target = {line.bytes + method.size + 1, line.size - method.size - 1};
    if (version) {
        target.size = version > target.bytes ? (size_t)(version - target.bytes) : 0;
    }
    target = trimmed(target);
    if (!target.size)
        return HTTP_BAD;
    if (!version) {
        /* HTTP/0.9 has no version and should have no fields, some clients send them; "GET /x OTHER/1.0" is none of ours. */
        bool is_simple = known == 0 && is_path && !memchr(target.bytes, ' ', target.size);
        if (!is_simple)
            return known >= 0 && is_path ? HTTP_WHOLE : HTTP_BAD;
        cl_info_set(info, CL_TEXT_version, "HTTP/0.9", 8);
    } else {
        cl_info_set(info, CL_TEXT_version, version, 8);
    }
    if (known >= 0)
        hint(state, methods[known].hint);
    set_target(state, target, info);
    return read_fields(state, &c, is_last, info);
}

/* "HTTP/1.1 200": the first twelve bytes of a status line, or as many as there are. */
static enum http_read read_status(struct cursor c, unsigned *ret_status)
{
    static const char shape[] = "HTTP/1.1 200"; /* a 1 stands for 0 to 2, a 2 for 1 to 9, a 0 for any digit */
    size_t left = cursor_left(&c), there = left < sizeof(shape) - 1 ? left : sizeof(shape) - 1;
    for (size_t i = 0; i < there; i++) {
        uint8_t b = c.p[i];
        bool fits = shape[i] == '1'   ? b >= '0' && b <= '2'
                    : shape[i] == '2' ? b >= '1' && b <= '9'
                    : shape[i] == '0' ? b >= '0' && b <= '9'
                                      : b == (uint8_t)shape[i];
        if (!fits)
            return HTTP_BAD;
    }
    if (there < sizeof(shape) - 1)
        return HTTP_SHORT;
    *ret_status = (unsigned)(c.p[9] - '0') * 100 + (unsigned)(c.p[10] - '0') * 10 + (unsigned)(c.p[11] - '0');
    return HTTP_SURE;
}

/* Interim responses (100, 103) come in front of the one that has the fields. */
static enum http_read read_response(struct http_state *state, struct cursor c, bool is_last, struct cl_info *info)
{
    for (unsigned interim = 0; interim < HTTP_INTERIM_MAX; interim++) {
        unsigned status = 0;
        struct text line;
        enum http_read read = read_status(c, &status);
        if (read != HTTP_SURE)
            return interim ? HTTP_SURE : read;
        cl_info_set(info, CL_TEXT_version, c.p, 8);
        if (!read_line(&c, &line))
            return HTTP_SURE;
        read = read_fields(state, &c, is_last, info);
        if (read != HTTP_WHOLE || status / 100 != 1 || status == 101)
            return read;
    }
    return HTTP_WHOLE;
}

static enum http_read read_http2_preface(struct http_state *state, struct cursor c, struct cl_info *info)
{
    size_t left = cursor_left(&c), there = left < HTTP2_PREFACE_BYTES ? left : HTTP2_PREFACE_BYTES;
    if (memcmp(c.p, HTTP2_PREFACE, there))
        return HTTP_BAD;
    if (there < HTTP2_PREFACE_BYTES)
        return HTTP_SHORT;
    hint(state, CL_HINT_http2);
    cl_info_set(info, CL_TEXT_version, "HTTP/2", 6);
    return HTTP_WHOLE;
}

/* The server's side alone: it must open with a SETTINGS frame (RFC 9113 3.4, 6.5). */
static enum http_read read_http2_settings(struct http_state *state, struct cursor c, struct cl_info *info)
{
    uint32_t size = cursor_be24(&c);
    uint8_t type = cursor_u8(&c), flags = cursor_u8(&c);
    uint32_t stream = cursor_be32(&c);
    if (size % 6 || size > HTTP2_SETTINGS_MAX * 6 || type > 4 || flags || stream)
        return HTTP_BAD;
    struct cursor settings = cursor_sub(&c, size);
    if (!c.ok)
        return HTTP_SHORT;
    if (type != 4)
        return HTTP_BAD;
    if (!size) { /* too little to believe: the frame after it must look like one too */
        uint32_t next_size = cursor_be24(&c);
        uint8_t next_type = cursor_u8(&c);
        if (!c.ok)
            return HTTP_SHORT;
        if (next_size > HTTP2_FRAME_MAX_BYTES || next_type > 9)
            return HTTP_BAD;
    }
    while (cursor_left(&settings)) {
        uint16_t id = cursor_be16(&settings);
        cursor_be32(&settings);
        if (!id || (id > 16 && (id & 0x0f0f) != 0x0a0a)) /* above: GREASE, RFC 8701's form */
            return HTTP_BAD;
    }
    hint(state, CL_HINT_http2);
    cl_info_set(info, CL_TEXT_version, "HTTP/2", 6);
    return HTTP_WHOLE;
}

static enum http_read read_icy(struct http_state *state, struct cursor c, bool is_last, struct cl_info *info)
{
    struct text line;
    if (!state->confirmed)
        return HTTP_BAD; /* its own protocol unless HTTP asked for it */
    hint(state, CL_HINT_icecast);
    return read_line(&c, &line) ? read_fields(state, &c, is_last, info) : HTTP_SURE;
}

/* SSDP (UPnP device architecture 1.3): HTTP's form in one datagram. */
static enum cl_inspect_step inspect_ssdp(const struct cl_packet *packet, struct cl_info *info,
                                         struct cl_inspect_result *result)
{
    struct http_state state = {0};
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    enum http_read read;
    bool is_search =
        text_starts(c.p, cursor_left(&c), WORD("m-search * ")) || text_starts(c.p, cursor_left(&c), WORD("notify * "));
    if (is_search)
        read = read_request(&state, c, true, info);
    else
        read = read_response(&state, c, true, info);
    if (read < HTTP_SURE || (!is_search && !state.is_ssdp))
        return CL_INSPECT_REJECTED;
    result->protocol = CL_HINT_ssdp;
    return CL_INSPECT_DONE;
}

static enum cl_inspect_step inspect_stream(struct http_state *state, const struct cl_packet *packet,
                                           struct cl_info *info)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    bool is_last = packet->size_bytes >= CL_STREAM_MAX_BYTES, is_request = false;
    enum http_read read;
    for (unsigned i = 0; i < HTTP_EMPTY_LINES_MAX && cursor_left(&c) && (c.p[0] == '\r' || c.p[0] == '\n'); i++) {
        cursor_skip(&c, c.p[0] == '\r');
        if (cursor_left(&c) && cursor_u8(&c) != '\n')
            return CL_INSPECT_REJECTED;
    }
    size_t left = cursor_left(&c);
    if (!left)
        return CL_INSPECT_MORE;
    if (c.p[0] == 0)
        read = read_http2_settings(state, c, info);
    else if (memcmp(c.p, HTTP2_PREFACE, left < 4 ? left : 4) == 0)
        read = read_http2_preface(state, c, info);
    else if (memcmp(c.p, "HTTP/", left < 5 ? left : 5) == 0)
        read = read_response(state, c, is_last, info);
    else if (left >= 4 && memcmp(c.p, "ICY ", 4) == 0)
        read = read_icy(state, c, is_last, info);
    else {
        read = read_request(state, c, is_last, info);
        is_request = true;
    }
    if (read == HTTP_SHORT)
        return state->confirmed ? CL_INSPECT_CONFIRMED : CL_INSPECT_MORE;
    if (read == HTTP_BAD) /* what answers or follows a request may be anything */
        return state->confirmed ? CL_INSPECT_DONE : CL_INSPECT_REJECTED;
    state->confirmed = true;
    bool is_whole = read == HTTP_WHOLE || is_last;
    if (!is_request)
        return is_whole ? CL_INSPECT_DONE : CL_INSPECT_CONFIRMED;
    state->request_read = is_whole;
    state->request_direction = packet->from_server;
    return CL_INSPECT_CONFIRMED;
}

static enum cl_inspect_step inspect_http(void *scratch, void *state_bytes, const struct cl_packet *packet,
                                         struct cl_info *info, struct cl_inspect_result *result)
{
    struct http_state *state = (struct http_state *)state_bytes;
    (void)scratch;
    if (packet->ip_proto == 17)
        return inspect_ssdp(packet, info, result);
    enum cl_inspect_step step = CL_INSPECT_CONFIRMED;
    if (!state->request_read || state->request_direction != packet->from_server)
        step = inspect_stream(state, packet, info);
    result->application = state->application;
    return step;
}

const struct cl_inspector cl_inspector_http = {.name = "http", .inspect = inspect_http};

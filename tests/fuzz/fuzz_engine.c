/*
 * The whole pipeline: two flows, TCP or UDP, whose packets come in any order, overlap, repeat with other bytes, come in IP
 * fragments, or cut. After each input the books must close and all memory be back in its pools.
 *
 * The input is a byte of settings (bit 0: IPv6, bit 1: UDP, bit 2: no handshake, bit 3: port of the second flow's server is
 * that of the first), two bytes of the servers' port, then packets: a byte of what is done (enum act in the low bits, bit 6:
 * the second flow, bit 7: from the server), a byte of a parameter, two bytes of length, payload.
 */
#include "base/cursor.h"
#include "tests/pipe.h"

#define TCP_SYN 0x02
#define TCP_FIN 0x01
#define TCP_RST 0x04
#define TCP_ACK 0x10

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum act {
    ACT_NEXT,      /* the next bytes of the direction */
    ACT_AGAIN,     /* in the place of the last ones, parameter bytes further on */
    ACT_AHEAD,     /* behind a gap of parameter bytes, which the next ACT_NEXT begins to fill */
    ACT_BEFORE,    /* parameter bytes before the next */
    ACT_BYTES,     /* each byte in a segment of its own */
    ACT_FRAGMENTS, /* in IP fragments of 8 * (parameter + 3) bytes, from the last to the first when it is odd */
    ACT_FLAGS,     /* with the parameter as TCP flags */
    ACT_WAIT,      /* first the parameter in seconds go by */
    ACT_COUNT
};

static struct pipe pipe;

struct side {
    uint32_t next, last; /* numbers of the next byte, and of the first of the last segment */
};

struct flow {
    bool is_v6, is_udp;
    uint8_t number;
    uint16_t server_port;
    struct side side[2];
};

static struct frame ip_frame(const struct flow *flow, bool from_server, unsigned proto)
{
    struct frame f = {.size = 0};
    uint8_t client = (uint8_t)(1 + 2 * flow->number), server = (uint8_t)(2 + 2 * flow->number);
    frame_ethernet(&f, flow->is_v6 ? 0x86dd : 0x0800);
    if (flow->is_v6)
        frame_ipv6(&f, proto, from_server ? server : client, from_server ? client : server);
    else
        frame_ipv4(&f, proto, from_server ? server : client, from_server ? client : server, 0);
    return f;
}

static struct frame packet_frame(const struct flow *flow, bool from_server, uint32_t seq, unsigned flags,
                                 const uint8_t *bytes, uint32_t size)
{
    struct frame f = ip_frame(flow, from_server, flow->is_udp ? 17 : 6);
    uint16_t client_port = 40000, src = from_server ? flow->server_port : client_port;
    uint16_t dst = from_server ? client_port : flow->server_port;
    if (flow->is_udp)
        frame_udp(&f, src, dst);
    else
        frame_tcp(&f, src, dst, seq, flags, 0);
    if (size)
        frame_put(&f, bytes, size);
    return f;
}

static void send_at(const struct flow *flow, bool from_server, uint32_t seq, unsigned flags, const uint8_t *bytes,
                    uint32_t size)
{
    struct frame f = packet_frame(flow, from_server, seq, flags, bytes, size);
    pipe_send(&pipe, &f);
}

static void send_fragments(const struct flow *flow, bool from_server, uint32_t seq, const uint8_t *bytes, uint32_t size,
                           unsigned parameter)
{
    struct frame whole = packet_frame(flow, from_server, seq, TCP_ACK, bytes, size);
    frame_end(&whole);
    uint32_t begin = 14 + (flow->is_v6 ? 40 : 20), total = whole.size - begin, piece = 8 * (parameter % 64 + 3);
    uint32_t pieces = (total + piece - 1) / piece;
    static uint16_t id;
    id++;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t turn = parameter & 1 ? pieces - 1 - i : i, at = turn * piece;
        bool more = turn + 1 < pieces;
        unsigned proto = flow->is_udp ? 17 : 6;
        struct frame f = ip_frame(flow, from_server, flow->is_v6 ? 44 : proto);
        if (flow->is_v6) {
            frame_ipv6_fragment(&f, proto, at, more, id);
        } else {
            f.bytes[14 + 4] = (uint8_t)(id >> 8);
            f.bytes[14 + 5] = (uint8_t)id;
            f.bytes[14 + 6] = (uint8_t)((at / 8) >> 8 | (more ? 0x20 : 0));
            f.bytes[14 + 7] = (uint8_t)(at / 8);
        }
        frame_put(&f, whole.bytes + begin + at, more ? piece : total - at);
        pipe_send(&pipe, &f);
    }
}

static void act_on(struct flow *flow, bool from_server, enum act act, unsigned parameter, const uint8_t *bytes,
                   uint32_t size)
{
    struct side *side = &flow->side[from_server];
    uint32_t seq = side->next;
    if (act == ACT_AGAIN)
        seq = side->last + parameter;
    else if (act == ACT_AHEAD)
        seq = side->next + parameter;
    else if (act == ACT_BEFORE)
        seq = side->next - parameter;
    if (act == ACT_WAIT)
        pipe.now_ns += (uint64_t)parameter * 1000000000;
    if (act == ACT_BYTES)
        for (uint32_t i = 0; i < size; i++)
            send_at(flow, from_server, seq + i, TCP_ACK, bytes + i, 1);
    else if (act == ACT_FRAGMENTS)
        send_fragments(flow, from_server, seq, bytes, size, parameter);
    else
        send_at(flow, from_server, seq, act == ACT_FLAGS ? parameter : TCP_ACK, bytes, size);
    if (act == ACT_NEXT || act == ACT_BYTES || act == ACT_FRAGMENTS || act == ACT_FLAGS || act == ACT_WAIT) {
        side->last = side->next;
        side->next += size;
    }
}

static void shake_hands(struct flow *flow)
{
    send_at(flow, false, flow->side[0].next - 1, TCP_SYN, NULL, 0);
    send_at(flow, true, flow->side[1].next - 1, TCP_SYN | TCP_ACK, NULL, 0);
    send_at(flow, false, flow->side[0].next, TCP_ACK, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (!pipe.engine)
        pipe_start(&pipe, DP_CHECKSUMS_IGNORE);
    struct cursor c = cursor_of(bytes, size);
    uint8_t settings = cursor_u8(&c);
    uint16_t port = cursor_be16(&c);
    struct flow flows[2];
    for (unsigned i = 0; i < 2; i++) {
        flows[i] = (struct flow){.is_v6 = settings & 1, .is_udp = settings & 2, .number = (uint8_t)i};
        flows[i].server_port = settings & 8 || !i ? port : (uint16_t)(port + 1);
        flows[i].side[0].next = flows[i].side[0].last = 0xffffff00u;
        flows[i].side[1].next = flows[i].side[1].last = 1000;
        if (!(settings & 6))
            shake_hands(&flows[i]);
    }
    for (unsigned n = 0; n < 64 && c.ok && cursor_left(&c); n++) {
        uint8_t what = cursor_u8(&c), parameter = cursor_u8(&c);
        size_t length = cursor_be16(&c) % 1400u;
        length = length < cursor_left(&c) ? length : cursor_left(&c);
        const uint8_t *payload = cursor_take(&c, length);
        if (c.ok)
            act_on(&flows[what >> 6 & 1], what >> 7, (what & 0x3f) % ACT_COUNT, parameter, payload, (uint32_t)length);
    }
    pipe_end_flows(&pipe);
    return 0;
}

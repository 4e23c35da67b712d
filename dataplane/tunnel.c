#include "dataplane/tunnel.h"

#include <netinet/in.h>
#include <rte_byteorder.h>
#include <rte_ether.h>

#include "base/cursor.h"

/* Enough of a packet for any tunnel's headers: Geneve's are 8 + 252 bytes. */
#define HEADERS_MAX_BYTES 300u

#define GRE_CHECKSUM     0x8000u
#define GRE_ROUTING      0x4000u
#define GRE_KEY          0x2000u
#define GRE_SEQUENCE     0x1000u
#define GRE_ACKNOWLEDGED 0x0080u /* version 1 */
#define GRE_VERSION      0x0007u
#define ETHER_TYPE_PPP   0x880bu
#define ETHER_TYPE_TEB   0x6558u /* transparent Ethernet bridging */

#define L2TP_CONTROL  0x8000u
#define L2TP_LENGTH   0x4000u
#define L2TP_SEQUENCE 0x0800u
#define L2TP_OFFSET   0x0200u
#define L2TP_VERSION  0x000fu

#define GTP_VERSION_AND_TYPE 0xf0u /* version 1, GTP and not GTP' */
#define GTP_EXTENSION        0x04u
#define GTP_OPTIONAL         0x07u
#define GTP_G_PDU            0xffu
#define GTP_EXTENSIONS_MAX   8u

#define VXLAN_HAS_NETWORK 0x08u

enum {
    PORT_L2TP = 1701,
    PORT_GTP_U = 2152,
    PORT_TEREDO = 3544,
    PORT_VXLAN = 4789,
    PORT_GENEVE = 6081,
    PORT_VXLAN_OLD = 8472
};

/* What a tunnel's headers say of what they carry. */
struct carried {
    enum dp_link_type link_type;
    uint32_t network; /* 24 bits; 0 = none */
};

static const enum ft_tunnel kinds[DP_TUNNEL_COUNT] = {
#define X(name, kind, text) FT_TUNNEL_##kind,
    DP_TUNNELS(X)
#undef X
};

const char *dp_tunnel_name(enum dp_tunnel tunnel)
{
    static const char *const names[DP_TUNNEL_COUNT] = {
#define X(name, kind, text) #name,
        DP_TUNNELS(X)
#undef X
    };
    return names[tunnel];
}

static bool link_of_ether_type(uint16_t ether_type, enum dp_link_type *ret_link_type)
{
    switch (ether_type) {
    case RTE_ETHER_TYPE_IPV4:
    case RTE_ETHER_TYPE_IPV6:
        *ret_link_type = DP_LINK_RAW_IP;
        return true;
    case ETHER_TYPE_TEB:
        *ret_link_type = DP_LINK_ETHERNET;
        return true;
    case ETHER_TYPE_PPP:
        *ret_link_type = DP_LINK_PPP;
        return true;
    default:
        return false;
    }
}

/* Each reads its tunnel's headers and leaves the cursor at what they carry; false when it is not to be entered. */

static bool read_gre(struct cursor *c, struct carried *ret)
{
    uint16_t flags = cursor_be16(c), ether_type = cursor_be16(c);
    uint32_t version = flags & GRE_VERSION, skip = 0;
    if (version > 1 || flags & GRE_ROUTING || (version == 1 && ether_type != ETHER_TYPE_PPP))
        return false;
    skip += flags & GRE_CHECKSUM ? 4 : 0;
    skip += flags & GRE_KEY ? 4 : 0;
    skip += flags & GRE_SEQUENCE ? 4 : 0;
    skip += version == 1 && flags & GRE_ACKNOWLEDGED ? 4 : 0;
    cursor_skip(c, skip);
    return c->ok && link_of_ether_type(ether_type, &ret->link_type);
}

static bool read_l2tp(struct cursor *c, struct carried *ret)
{
    uint16_t flags = cursor_be16(c);
    if (flags & L2TP_CONTROL || (flags & L2TP_VERSION) != 2)
        return false;
    cursor_skip(c, (flags & L2TP_LENGTH ? 2u : 0u) + 4 + (flags & L2TP_SEQUENCE ? 4u : 0u));
    if (flags & L2TP_OFFSET)
        cursor_skip(c, cursor_be16(c));
    ret->link_type = DP_LINK_PPP;
    return c->ok;
}

static bool read_gtp_u(struct cursor *c, struct carried *ret)
{
    uint8_t flags = cursor_u8(c), type = cursor_u8(c);
    if ((flags & GTP_VERSION_AND_TYPE) != 0x30 || type != GTP_G_PDU)
        return false;
    cursor_skip(c, 6); /* length, tunnel */
    if (flags & GTP_OPTIONAL) {
        cursor_skip(c, 3);
        uint8_t next = cursor_u8(c);
        for (unsigned i = 0; flags & GTP_EXTENSION && next; i++) {
            uint32_t words = cursor_u8(c);
            if (!words || i == GTP_EXTENSIONS_MAX)
                return false;
            cursor_skip(c, words * 4 - 2);
            next = cursor_u8(c);
        }
    }
    ret->link_type = DP_LINK_RAW_IP;
    return c->ok;
}

static bool read_vxlan(struct cursor *c, struct carried *ret)
{
    uint8_t flags = cursor_u8(c);
    cursor_skip(c, 3);
    ret->network = cursor_be24(c);
    cursor_skip(c, 1);
    ret->link_type = DP_LINK_ETHERNET;
    return c->ok && flags & VXLAN_HAS_NETWORK;
}

static bool read_geneve(struct cursor *c, struct carried *ret)
{
    uint8_t version_length = cursor_u8(c);
    cursor_skip(c, 1);
    uint16_t ether_type = cursor_be16(c);
    ret->network = cursor_be24(c);
    cursor_skip(c, 1 + (version_length & 0x3fu) * 4);
    return c->ok && !(version_length >> 6) && link_of_ether_type(ether_type, &ret->link_type);
}

/* Authentication and origin may stand before the IPv6 packet, in this order. */
static bool read_teredo(struct cursor *c, struct carried *ret)
{
    for (unsigned i = 0; i < 2 && cursor_left(c) >= 4 && c->p[0] == 0; i++) {
        cursor_skip(c, 1);
        uint8_t indication = cursor_u8(c);
        if (indication == 0) {
            cursor_skip(c, 6);
        } else if (indication == 1) {
            uint32_t id_bytes = cursor_u8(c), value_bytes = cursor_u8(c);
            cursor_skip(c, id_bytes + value_bytes + 9);
        } else {
            return false;
        }
    }
    ret->link_type = DP_LINK_RAW_IP;
    return cursor_left(c) && c->p[0] >> 4 == 6;
}

static const struct {
    bool (*read)(struct cursor *c, struct carried *ret);
    uint16_t ports[2]; /* of UDP; 0: none */
} tunnels[DP_TUNNEL_COUNT] = {
    [DP_TUNNEL_gre] = {read_gre, {0}},
    [DP_TUNNEL_l2tp] = {read_l2tp, {PORT_L2TP}},
    [DP_TUNNEL_gtp_u] = {read_gtp_u, {PORT_GTP_U}},
    [DP_TUNNEL_vxlan] = {read_vxlan, {PORT_VXLAN, PORT_VXLAN_OLD}},
    [DP_TUNNEL_geneve] = {read_geneve, {PORT_GENEVE}},
    [DP_TUNNEL_teredo] = {read_teredo, {PORT_TEREDO}},
};

static bool has_port(const struct ft_key *key, uint16_t port)
{
    rte_be16_t port_be16 = rte_cpu_to_be_16(port);
    return port && (key->port_be16[0] == port_be16 || key->port_be16[1] == port_be16);
}

/* DP_TUNNEL_COUNT: none that is to be entered. */
static enum dp_tunnel tunnel_of(const struct ft_key *key, dp_tunnel_policy policy)
{
    if (key->ip_proto == IPPROTO_GRE)
        return policy & 1u << DP_TUNNEL_gre ? DP_TUNNEL_gre : DP_TUNNEL_COUNT;
    for (unsigned i = 0; key->ip_proto == IPPROTO_UDP && i < DP_TUNNEL_COUNT; i++)
        if (policy & 1u << i && (has_port(key, tunnels[i].ports[0]) || has_port(key, tunnels[i].ports[1])))
            return (enum dp_tunnel)i;
    return DP_TUNNEL_COUNT;
}

/* Parses `bytes` of the frame from `offset` on as a frame of its own; offsets in the view are the whole frame's. */
static bool parse_inside(const struct rte_mbuf *mbuf, uint32_t offset, uint32_t bytes, enum dp_link_type link_type,
                         struct dp_view *ret_view)
{
    const struct rte_mbuf *segment = mbuf;
    uint32_t before = 0;
    while (segment && offset - before >= segment->data_len) {
        before += segment->data_len;
        segment = segment->next;
    }
    if (!segment || offset > UINT16_MAX)
        return false;
    struct rte_mbuf inside = *segment;
    uint16_t skip = (uint16_t)(offset - before);
    inside.data_off = (uint16_t)(inside.data_off + skip);
    inside.data_len = (uint16_t)RTE_MIN((uint32_t)(inside.data_len - skip), bytes);
    inside.pkt_len = bytes;
    dp_parse(&inside, link_type, ret_view);
    if (ret_view->result != DP_PARSE_ok || ret_view->payload_offset + offset > UINT16_MAX)
        return false;
    ret_view->payload_offset = (uint16_t)(ret_view->payload_offset + offset);
    ret_view->ip_offset = (uint16_t)(ret_view->ip_offset + offset);
    return true;
}

static uint32_t context_of(uint32_t outer, enum dp_tunnel tunnel, uint32_t network)
{
    uint32_t vlans = outer & 0xffffffu;
    return (vlans ? vlans : network) | (uint32_t)kinds[tunnel] << 24;
}

static bool enter_one(const struct rte_mbuf *mbuf, dp_tunnel_policy policy, struct dp_view *view)
{
    enum dp_tunnel tunnel = tunnel_of(&view->key, policy);
    uint8_t scratch[HEADERS_MAX_BYTES];
    if (view->result != DP_PARSE_ok || view->flags & DP_VIEW_FRAGMENT || tunnel == DP_TUNNEL_COUNT)
        return false;
    uint32_t size_bytes = RTE_MIN(view->payload_bytes, HEADERS_MAX_BYTES);
    const uint8_t *bytes = size_bytes ? dp_bytes(mbuf, view->payload_offset, size_bytes, scratch) : NULL;
    if (!bytes)
        return false;
    struct cursor c = cursor_of(bytes, size_bytes);
    struct carried carried = {.network = 0};
    struct dp_view inner;
    if (!tunnels[tunnel].read(&c, &carried))
        return false;
    uint32_t header_bytes = (uint32_t)(c.p - bytes);
    if (!parse_inside(mbuf, view->payload_offset + header_bytes, view->payload_bytes - header_bytes, carried.link_type,
                      &inner))
        return false;
    inner.key.context = context_of(view->key.context, tunnel, carried.network);
    inner.ip_bytes = view->ip_bytes;
    inner.flags |= view->flags & DP_VIEW_TRUNCATED;
    *view = inner;
    return true;
}

bool dp_tunnel_enter(const struct rte_mbuf *mbuf, dp_tunnel_policy policy, struct dp_view *view)
{
    uint32_t kind = 0;
    for (unsigned depth = 0; depth < DP_TUNNEL_DEPTH_MAX && enter_one(mbuf, policy, view); depth++) {
        if (!kind)
            kind = view->key.context & 0xff000000u;
        view->key.context = (view->key.context & 0xffffffu) | kind;
    }
    return kind != 0;
}

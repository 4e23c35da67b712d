/*
 * The flow key and the direction algebra.
 *
 * A flow is both directions of a 5-tuple within one context (VLAN tags and tunnel kind). Its key holds the two
 * endpoints ordered by (address, port) as bytes, so that both directions give the same key; `swap` says which way a
 * packet goes:
 *
 *     swap = 0   the packet goes from endpoint 0 (the lower) to endpoint 1
 *     swap = 1   the other way
 *
 * A flow remembers `client_endpoint` = the swap of its first packet, i.e. which endpoint opened it. From these follow
 *
 *     from_server = swap ^ client_endpoint        0: client -> server, 1: server -> client; index of all counters
 *
 * "Up" is from the subscriber's side: the packets of direction 0 when the client is the subscriber (the usual case), of
 * direction 1 when the server is (FT_FLOW_SUBSCRIBER_IS_SERVER in flow.h).
 *
 * Two hashes of a key (design decision "two hashes"):
 *   ft_shard_of()  public: low byte of the symmetric Toeplitz hash (key 6D5A repeated); equal on every box and to
 *                  what a NIC computes over the same fields; says who owns the flow.
 *   ft_hash()      keyed with the table's secret (table.h); says where in the shard the flow is. It stays within.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FT_SHARDS 256u

/* Tunnel kinds of the context: which encapsulation stands between the outer frame and the keyed IP header. */
enum ft_tunnel {
    FT_TUNNEL_NONE,
    FT_TUNNEL_IPIP,
    FT_TUNNEL_6IN4,
    FT_TUNNEL_4IN6,
    FT_TUNNEL_6IN6,
    /* entered by policy alone */
    FT_TUNNEL_GRE,
    FT_TUNNEL_L2TP,
    FT_TUNNEL_GTP_U,
    FT_TUNNEL_VXLAN,
    FT_TUNNEL_GENEVE,
    FT_TUNNEL_TEREDO,
};

/* Compared and hashed as bytes: no padding, unused bytes zero. */
struct ft_key {
    uint8_t addr[2][16];   /* network order; an IPv4 address fills the first 4 bytes, the rest is 0 */
    uint16_t port_be16[2]; /* 0 where the protocol has none, and for a fragment whose first part was not seen */
    uint32_t context;      /* ft_context() */
    uint8_t ip_proto;
    uint8_t is_v6;
    uint16_t zero;
};
static_assert(sizeof(struct ft_key) == 44, "no padding: the key is hashed as bytes");

/* VLAN ids (0 = none) and tunnel kind. Labels that differ by direction (MPLS, PPPoE session) stay out of the key. */
static inline uint32_t ft_context(uint16_t outer_vlan, uint16_t inner_vlan, enum ft_tunnel tunnel)
{
    return (uint32_t)(outer_vlan & 0xfff) | (uint32_t)(inner_vlan & 0xfff) << 12 | (uint32_t)tunnel << 24;
}

/*
 * 1 when the source is the upper endpoint: addresses as numbers, then ports. Whole words, no branch: which end of a packet
 * is the upper one nobody can predict.
 */
static inline uint8_t ft_address_order(bool is_v6, const uint8_t *src, const uint8_t *dst, uint16_t src_port_be16,
                                       uint16_t dst_port_be16)
{
    uint64_t a[2] = {0, __builtin_bswap16(src_port_be16)}, b[2] = {0, __builtin_bswap16(dst_port_be16)};
    if (!is_v6) {
        uint32_t v4[2];
        memcpy(&v4[0], src, 4);
        memcpy(&v4[1], dst, 4);
        return ((uint64_t)__builtin_bswap32(v4[0]) << 16 | a[1]) > ((uint64_t)__builtin_bswap32(v4[1]) << 16 | b[1]);
    }
    unsigned order = a[1] > b[1];
    for (unsigned low = 2; low--;) {
        memcpy(a, src + low * 8, 8);
        memcpy(b, dst + low * 8, 8);
        a[0] = __builtin_bswap64(a[0]);
        b[0] = __builtin_bswap64(b[0]);
        order = (a[0] > b[0]) | ((a[0] == b[0]) & order);
    }
    return (uint8_t)order;
}

/*
 * Fills *ret_key from a packet's addresses (4 or 16 bytes, network order) and ports; returns swap (0 or 1).
 * Any thread; about 10 cycles.
 */
static inline uint8_t ft_key_make(struct ft_key *ret_key, bool is_v6, const uint8_t *src, const uint8_t *dst,
                                  uint16_t src_port_be16, uint16_t dst_port_be16, uint8_t ip_proto, uint32_t context)
{
    uint8_t swap = ft_address_order(is_v6, src, dst, src_port_be16, dst_port_be16);
    /* Masks, since a compiler makes a branch of a condition here, which is guessed wrong half the time. */
    uint32_t mask = 0u - swap;
    uint32_t ports = (uint32_t)src_port_be16 | (uint32_t)dst_port_be16 << 16;
    ports ^= (ports ^ (ports >> 16 | ports << 16)) & mask;
    if (is_v6) {
        intptr_t apart = (intptr_t)((uintptr_t)dst - (uintptr_t)src) & -(intptr_t)swap;
        memcpy(ret_key->addr[0], src + apart, 16);
        memcpy(ret_key->addr[1], dst - apart, 16);
    } else {
        uint32_t lower, upper;
        memcpy(&lower, src, 4);
        memcpy(&upper, dst, 4);
        uint32_t exchange = (lower ^ upper) & mask;
        uint64_t words[2] = {lower ^ exchange, upper ^ exchange};
        memset(ret_key->addr, 0, sizeof ret_key->addr);
        memcpy(ret_key->addr[0], &words[0], 8);
        memcpy(ret_key->addr[1], &words[1], 8);
    }
    /* Written in one piece each: what is written in small ones cannot be read in a large one at once. */
    uint64_t ports_context = (uint64_t)context << 32 | ports;
    uint32_t rest = (uint32_t)is_v6 << 8 | ip_proto;
    memcpy(ret_key->port_be16, &ports_context, 8);
    memcpy(&ret_key->ip_proto, &rest, 4);
    return swap;
}

/*
 * The symmetric Toeplitz hash (Woo and Park 2012: RSS key of 6D5A repeated) over addresses and, for TCP, UDP and SCTP,
 * ports. The key repeats each 16 bits, so the hash is a function of the XOR of the input's 16-bit words. Any thread.
 */
uint32_t ft_toeplitz(const struct ft_key *key);

static inline uint8_t ft_shard_of(const struct ft_key *key)
{
    return (uint8_t)ft_toeplitz(key);
}

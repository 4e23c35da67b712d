/*
 * The packet view: what parsing learns of a frame, once, in one struct per packet of a burst; later stages never look at
 * headers again.
 */
#pragma once

#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

#include "flowtable/key.h"

/*
 * Why a packet has no flow or no payload to inspect. Each malformed packet has a named reason and a counter and is
 * forwarded. `ok` first.
 */
#define DP_PARSE_RESULTS(X)                                                                                            \
    X(ok, "parsed")                                                                                                    \
    X(not_ip, "neither IPv4 nor IPv6 (ARP, LLDP, PPP control, ...)")                                                   \
    X(short_ethernet, "frame shorter than its link header")                                                            \
    X(too_many_tags, "more VLAN tags or MPLS labels than are followed")                                                \
    X(short_vlan, "VLAN tag cut off")                                                                                  \
    X(short_mpls, "MPLS label stack cut off")                                                                          \
    X(bad_pppoe, "PPPoE header cut off, or its version, type or code is not that of session data")                     \
    X(bad_ip_version, "IP version is neither 4 nor 6")                                                                 \
    X(short_ipv4, "IPv4 header cut off")                                                                               \
    X(bad_ipv4_header_length, "IPv4 header length below 20 or past the packet")                                        \
    X(bad_ipv4_total_length, "IPv4 total length below the header length")                                              \
    X(short_ipv6, "IPv6 header cut off")                                                                               \
    X(bad_ipv6_extension, "IPv6 extension header cut off or too many of them")                                         \
    X(bad_fragment, "fragment offset and length past 65,535 or an empty fragment")                                     \
    X(short_tcp, "TCP header cut off")                                                                                 \
    X(bad_tcp_offset, "TCP data offset below 20 or past the packet")                                                   \
    X(short_udp, "UDP header cut off")                                                                                 \
    X(bad_udp_length, "UDP length below 8 or past the IP payload")                                                     \
    X(short_sctp, "SCTP header cut off")                                                                               \
    X(short_icmp, "ICMP header cut off")                                                                               \
    X(too_many_tunnels, "IP-in-IP nested deeper than is followed")

enum dp_parse_result {
#define X(name, text) DP_PARSE_##name,
    DP_PARSE_RESULTS(X)
#undef X
        DP_PARSE_RESULT_COUNT
};

/* dp_view.flags */
enum {
    DP_VIEW_FRAGMENT = 1 << 0,       /* part of a fragmented datagram */
    DP_VIEW_FIRST_FRAGMENT = 1 << 1, /* offset 0: has the ports */
    DP_VIEW_LAST_FRAGMENT = 1 << 2,
    DP_VIEW_TRUNCATED = 1 << 3, /* IP's length passes the frame's end (a capture cut it): what is there was parsed */
};

/* When the result is not ok the fields hold what was learned before the refusal, the rest is 0; the key is then void. */
struct dp_view {
    struct ft_key key; /* complete unless a later fragment (ports 0) */
    uint8_t swap;      /* direction, see flowtable/key.h */
    uint8_t result;    /* enum dp_parse_result; the key is valid when ok */
    uint8_t flags;     /* DP_VIEW_* */
    uint8_t tcp_flags;
    uint8_t dscp;            /* of the keyed IP header */
    uint16_t payload_offset; /* from the start of the frame, at most its end; headers lie in its first 65,535 bytes */
    uint32_t payload_bytes; /* layer-4 payload that is there, without Ethernet padding; of a later fragment: its data */
    uint32_t ip_bytes; /* length counted for the flow: from the frame's outermost IP header on, by its length field */
    uint32_t tcp_seq, tcp_ack;
    uint32_t fragment_id;
    uint16_t fragment_offset_bytes;
    uint16_t fragment_bytes;   /* of the datagram that this fragment carries, by the IP header's length field */
    uint16_t ip_offset;        /* of the keyed IP header */
    uint16_t transport_offset; /* of what follows the IP headers; of a later fragment: its data */
};

/* Link layers of a frame: DPDK ports are Ethernet, captures may be others. */
enum dp_link_type {
    DP_LINK_ETHERNET,
    DP_LINK_RAW_IP,
    DP_LINK_SLL,  /* Linux cooked capture */
    DP_LINK_SLL2, /* its second version */
    DP_LINK_NULL, /* BSD loopback: protocol family in the byte order of the host */
    DP_LINK_LOOP, /* the same, big-endian */
    DP_LINK_PPP,
    DP_LINK_CHDLC, /* Cisco HDLC */
};

/*
 * Parses one packet; reads across segments. Followed are: Ethernet, 802.1Q and QinQ (0x8100, 0x88a8, 0x9100; 4 tags, of
 * which the first two with an id are in the context; Cisco MetaData tags are skipped), MPLS (8 labels; what they carry is
 * guessed by its first 4 bits), PPPoE sessions, IPv4 with options, IPv6 with extension headers (8), IPv4-in-IPv4, 6in4,
 * 4in6 and 6in6 (3 deep; the innermost IP header is keyed, the context names the innermost kind), TCP, UDP, SCTP, ICMP,
 * ICMPv6; of other IP protocols the addresses. A fragmented tunnel packet stays with the tunnel's own addresses, so that
 * all its fragments have one key. A length of 0 in an IP header (a capture taken above segmentation offload, a jumbogram)
 * means all of the frame; a UDP length of 0 all of the IP payload.
 *
 * Any thread, no state, no allocation; about 25 cycles for plain TCP over Ethernet in one segment.
 */
void dp_parse(const struct rte_mbuf *mbuf, enum dp_link_type link_type, struct dp_view *ret_view);

#define DP_PARSE_BULK_MAX 32u
/*
 * The same for `count` <= DP_PARSE_BULK_MAX packets of the link types (enum dp_link_type) beside them, with a short way for
 * whole TCP and UDP packets over Ethernet without options: about 15 cycles for one of these.
 */
void dp_parse_bulk(struct rte_mbuf *const mbufs[], const uint8_t link_types[], unsigned count,
                   struct dp_view ret_views[]);

/*
 * `size` bytes of the packet from `offset`, contiguous: in place, or copied into `scratch` (which must hold `size` bytes)
 * when they cross segments; NULL when the packet is shorter. Any thread.
 */
const uint8_t *dp_bytes(const struct rte_mbuf *mbuf, uint32_t offset, uint32_t size, uint8_t *scratch);

/*
 * What control flows say of flows to come: FTP's data connections, the media that SIP, MGCP, Megaco, RTSP and H.323 agree on, the
 * port that a TFTP server will answer to, the addresses that a name resolved to. Here only bytes are read; who keeps what was
 * announced, and for whom, is the dataplane's business (dataplane/expect.h).
 *
 * A packet announces by itself: nothing of a flow is kept, so that a judged control flow costs no memory. A line that TCP cut in
 * two is not read. cl_may_announce() looks at a few bytes and is true for every packet of which cl_announce() would read anything:
 * who runs several workers need only put those packets in order.
 *
 * Any thread, no state, no allocation; linear in the packet's bytes, at most CL_ANNOUNCEMENTS_MAX announcements a packet.
 * Formats: RFC 959, 1639, 2428 (FTP), 8866 and 3605 (SDP), 7826 and 2326 (RTSP), 1350 and 2347 (TFTP), 1035 and 3596 (DNS),
 * ITU-T H.225.0 and H.245 (addresses as they stand in aligned PER), iperf3's public source (cookie).
 */
#pragma once

#include "classifier/classifier.h"

#define CL_ANNOUNCEMENTS_MAX 16u

/*
 * Kinds: name, protocol in the pack, transport, seconds until it is forgotten, confidence, whether it needs no look at the payload.
 * `name` is an address that a name resolved to: the announcement itself says the application.
 */
#define CL_ANNOUNCED(X)                                                                                                \
    X(ftp_data, "FTP Data", 6, 60, 96, true)                                                                           \
    X(rtp, "RTP", 17, 600, 96, false)                                                                                  \
    X(rtcp, "RTCP", 17, 600, 96, false)                                                                                \
    X(tftp, "TFTP", 17, 15, 96, false)                                                                                 \
    X(h245, "H.323", 6, 60, 95, false)                                                                                 \
    X(iperf3, "iperf3", 17, 60, 95, true)                                                                              \
    X(name, "", 0, 3600, 50, false)
enum cl_announced {
#define X(name, protocol, ip_proto, lifetime_s, confidence, is_enough) CL_ANNOUNCED_##name,
    CL_ANNOUNCED(X)
#undef X
        CL_ANNOUNCED_COUNT
};
const char *cl_announced_name(enum cl_announced kind);
#define CL_ANNOUNCED_LIFETIME_MAX_S 3600u

/* Whose address: the protocols that may not speak for others have the control flow's own. */
enum cl_whose { CL_OF_SENDER, CL_OF_RECEIVER, CL_OF_ANOTHER };

struct cl_announcement {
    uint8_t kind;        /* enum cl_announced */
    uint8_t whose;       /* enum cl_whose */
    bool is_v6;          /* of `address` */
    bool has_peer;       /* the other side of the flow to come is the control flow's other end */
    uint8_t address[16]; /* CL_OF_ANOTHER; IPv4 in the first four bytes */
    uint16_t port;       /* host order; 0 for `name` */
    cl_protocol named;   /* `name`: the application */
    uint32_t lifetime_s; /* at most CL_ANNOUNCED_LIFETIME_MAX_S */
};

/* Who sent a packet: 4 or 16 bytes, network order. */
struct cl_sender {
    const uint8_t *address;
    bool is_v6;
};

/* Whether flows of a protocol announce others. */
bool cl_announces(const struct cl_engine *engine, cl_protocol protocol);

/* A few bytes: whether this payload may announce anything, whatever flow it is of. */
bool cl_may_announce(uint8_t ip_proto, const uint8_t *bytes, uint32_t size_bytes);

/* Reads a payload of a flow of this protocol. How many were written to `ret_list`. */
unsigned cl_announce(const struct cl_engine *engine, cl_protocol protocol, const struct cl_packet *packet,
                     const struct cl_sender *sender, struct cl_announcement ret_list[CL_ANNOUNCEMENTS_MAX]);

/*
 * The verdict of a flow that was announced as `kind`, by its first packet (`size_bytes` may be 0). True: final. False: the bytes do
 * not look like it (another protocol may share the port: STUN, DTLS), content decides; *ret_verdict is what to fall back to, with
 * less confidence. Not for `name`.
 */
bool cl_expected(const struct cl_engine *engine, enum cl_announced kind, const uint8_t *bytes, uint32_t size_bytes,
                 struct cl_verdict *ret_verdict);

/*
 * Fills in what content left open, when that is all there is: `fallback` (from cl_expected(), protocol 0: none) where nothing but a
 * port or nothing at all was told; `named` (0: none), the application that the address stands for, where a flow gave no name of its
 * own: TLS and QUIC without a server name, and what has no better verdict than port or generic.
 */
void cl_complete(const struct cl_engine *engine, const struct cl_verdict *fallback, cl_protocol named,
                 const struct cl_info *info, struct cl_verdict *verdict);

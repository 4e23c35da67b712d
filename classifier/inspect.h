/*
 * Inspectors: small parsers that confirm what a pattern suggests and read the texts of a flow (host, URL, ALPN ...). One
 * file each, classifier/inspect_NAME.c, one line in classifier/inspectors.c, one fuzz target. A signature of the pack names
 * its inspector by `inspector: NAME`.
 *
 * Who calls: the engine, from a worker, with the payload-bearing packets of a flow whose patterns suggested this inspector,
 * both directions as they come. The first call has the packet that the pattern matched; a later call follows only after
 * CL_INSPECT_MORE or CL_INSPECT_CONFIRMED. TCP packets carry all in-order bytes of their direction so far (a longer view
 * of the same bytes with each call), others one datagram.
 *
 * Rules: read through base/cursor.h only; linear in the packet's bytes; no allocation, lock, log or system call; nothing of
 * the flow is kept but `state`. Texts go into `info` by cl_info_set as soon as they are seen, also before the outcome.
 */
#pragma once

#include "classifier/classifier.h"

#define CL_INSPECT_STATE_BYTES 64u /* per flow, all zero at the first call, aligned to 8 */

enum cl_inspect_step {
    CL_INSPECT_REJECTED,  /* it is not this protocol: the engine tries its next candidate */
    CL_INSPECT_MORE,      /* cannot tell yet; once the flow's budget is spent the pattern's own verdict holds */
    CL_INSPECT_CONFIRMED, /* it is; application or texts may still come: say it as soon as it is sure */
    CL_INSPECT_DONE,      /* it is, and nothing more is to be learnt */
};

/*
 * What an inspector can say beyond "yes": names that stand in the pack. The engine resolves them once at load; a name that
 * the pack does not know counts as none. Add a line for a new one, and the entry in etc/pack.
 */
#define CL_HINTS(X)                                                                                                    \
    X(doh, "DoH")                                                                                                      \
    X(dot, "DoT")                                                                                                      \
    X(doq, "DoQ")                                                                                                      \
    X(http_connect, "HTTP CONNECT")                                                                                    \
    X(http_proxy, "HTTP Proxy")                                                                                        \
    X(http1, "HTTP/1.1")                                                                                               \
    X(http2, "HTTP/2")                                                                                                 \
    X(http3, "HTTP/3")                                                                                                 \
    X(imaps, "IMAPS")                                                                                                  \
    X(pop3s, "POP3S")                                                                                                  \
    X(smtps, "SMTPS")                                                                                                  \
    X(ftps, "FTPS")                                                                                                    \
    X(ldaps, "LDAPS")                                                                                                  \
    X(xmpps, "XMPPS")                                                                                                  \
    X(nntps, "NNTPS")                                                                                                  \
    X(ircs, "IRCS")                                                                                                    \
    X(sips, "SIPS")                                                                                                    \
    X(mqtts, "MQTTS")                                                                                                  \
    X(turns, "TURNS")                                                                                                  \
    X(coaps, "CoAPS")                                                                                                  \
    X(nts_ke, "NTS-KE")                                                                                                \
    X(smb, "SMB")                                                                                                      \
    X(sieve, "ManageSieve")                                                                                            \
    X(postgresql, "PostgreSQL")                                                                                        \
    X(ssdp, "SSDP")                                                                                                    \
    X(ipp, "IPP")                                                                                                      \
    X(soap, "SOAP")                                                                                                    \
    X(ocsp, "OCSP")                                                                                                    \
    X(rtsp, "RTSP")                                                                                                    \
    X(rtmpt, "RTMPT")                                                                                                  \
    X(json_rpc, "JSON-RPC")                                                                                            \
    X(dash, "MPEG-DASH")                                                                                               \
    X(hls, "HLS")                                                                                                      \
    X(git, "Git")                                                                                                      \
    X(grpc, "gRPC")                                                                                                    \
    X(webdav, "WebDAV")                                                                                                \
    X(bits, "BITS")                                                                                                    \
    X(rpc_over_http, "RPC over HTTP")                                                                                  \
    X(sstp, "SSTP")                                                                                                    \
    X(icecast, "Icecast")                                                                                              \
    X(bittorrent, "BitTorrent")                                                                                        \
    X(websocket, "WebSocket")                                                                                          \
    X(llmnr, "LLMNR")                                                                                                  \
    X(mdns, "MDNS")                                                                                                    \
    X(nbns, "NBNS")                                                                                                    \
    X(dns, "DNS")
enum cl_hint {
    CL_HINT_none,
#define X(id, name) CL_HINT_##id,
    CL_HINTS(X)
#undef X
        CL_HINT_COUNT
};

/* All zero when the inspector is called. */
struct cl_inspect_result {
    uint8_t
        protocol; /* enum cl_hint: the wire protocol where it is another than the signature's; 0 = the signature's */
    uint8_t application; /* enum cl_hint; 0 = none (the engine still looks the host up in its lists) */
    uint8_t confidence;  /* 0 = 100 */
};

struct cl_inspector {
    const char *name; /* as in the pack */
    /* `scratch` is what scratch_create gave this worker, NULL without one. `state` has CL_INSPECT_STATE_BYTES. */
    enum cl_inspect_step (*inspect)(void *scratch, void *state, const struct cl_packet *packet, struct cl_info *info,
                                    struct cl_inspect_result *result);
    /* Per worker, made before it starts (cipher contexts ...); both NULL when there is none. */
    void *(*scratch_create)(void);
    void (*scratch_free)(void *scratch);
};

/* NULL-terminated; at most CL_INSPECTORS_MAX. */
#define CL_INSPECTORS_MAX 32u
extern const struct cl_inspector *const cl_inspectors[];

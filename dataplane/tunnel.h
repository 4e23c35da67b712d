/*
 * Tunnels that are looked into: by policy, a packet of a tunnel belongs to the flow that it carries instead of the tunnel's.
 *
 * Without a policy (the default) nothing of this runs: a tunnel is one flow and is named as the tunnel. With one, dp_tunnel_enter()
 * is called behind the parser for packets of UDP and GRE; where it finds a tunnel whose kind is to be entered, and a whole and sane
 * packet in it, the view becomes that of the inner packet. Anything else leaves the view as it was: a header that is cut off or does
 * not fit, control messages, an outer fragment, deeper nesting than DP_TUNNEL_DEPTH_MAX: then the flow is the tunnel's, which is safe.
 *
 * The key's context says the kind of the outermost tunnel that was entered, beside the outer VLANs; VXLAN and Geneve without outer
 * VLANs have their network's identifier there instead, so that tenants with equal addresses stay apart. Identifiers that differ by
 * direction (GTP's TEID, L2TP's session) stay out of the key. Bytes are counted from the outermost IP header on.
 *
 * Formats: RFC 2784, 2890, 2637 (GRE, its form in PPTP), 2661 (L2TPv2), 3GPP TS 29.281 (GTP-U), RFC 7348 (VXLAN), 8926 (Geneve),
 * 4380 (Teredo). UDP tunnels are known by their ports: 1701, 2152, 4789 and 8472, 6081, 3544.
 *
 * Any thread, no state; about as much as parsing once more.
 */
#pragma once

#include "dataplane/packet.h"

#define DP_TUNNEL_DEPTH_MAX 2u

/* Names are configuration keys (tunnels.NAME). */
#define DP_TUNNELS(X)                                                                                                  \
    X(gre, GRE, "GRE (also with Ethernet in it), and the GRE of PPTP")                                                 \
    X(l2tp, L2TP, "L2TP version 2")                                                                                    \
    X(gtp_u, GTP_U, "GTP-U, the user's side of GTP")                                                                   \
    X(vxlan, VXLAN, "VXLAN")                                                                                           \
    X(geneve, GENEVE, "Geneve")                                                                                        \
    X(teredo, TEREDO, "Teredo")
enum dp_tunnel {
#define X(name, kind, text) DP_TUNNEL_##name,
    DP_TUNNELS(X)
#undef X
        DP_TUNNEL_COUNT
};
const char *dp_tunnel_name(enum dp_tunnel tunnel);

typedef uint8_t dp_tunnel_policy; /* bit per enum dp_tunnel: 1 = inner; 0 = none is entered */

/* A view that dp_parse() filled in. True when it is the inner packet's now. */
bool dp_tunnel_enter(const struct rte_mbuf *mbuf, dp_tunnel_policy policy, struct dp_view *view);

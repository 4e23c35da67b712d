/*
 * Checksums of IPv4 headers, TCP and UDP. A receiver throws a packet with a wrong one away, so that an inspector that does
 * not look is told what nobody will read. Not looked at by default: captures taken on a host have unfinished checksums, and
 * links change few packets.
 *
 * Taken from the NIC where it checked (RTE_MBUF_F_RX_*_CKSUM_GOOD, _BAD; never for what is tunnelled), else computed: about
 * 30 ns and 0.03 ns a byte. Not known, so never wrong: segments and datagrams in fragments (their IPv4 headers are checked)
 * or cut by the capture, UDP without a checksum, lengths of 0 in an IP header, other protocols.
 */
#pragma once

#include <stdbool.h>

#include "dataplane/packet.h"

/* `view` of that mbuf, its result ok. Any thread. */
bool dp_checksum_is_wrong(const struct rte_mbuf *mbuf, const struct dp_view *view);

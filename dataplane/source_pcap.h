/*
 * Capture files as a source of packets: pcap and pcapng, micro- and nanosecond stamps, any byte order, read by libpcap.
 *
 * A frame of up to 262,144 bytes becomes a chain of mbufs. The packets of a file are delivered in the file's order with
 * the file's own stamps; several files as one stream in time are the caller's business. Frames that the capture cut short
 * (snaplen) are delivered as they are; IP's length fields tell what was on the wire.
 *
 * A source belongs to one thread. Memory: libpcap's buffer and stdio's, under 1 MB a file. Cost: one copy of the frame.
 */
#pragma once

#include <rte_mbuf.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/packet.h"

#define DP_SOURCE_PCAP_FRAME_BYTES_MAX 262144u
/* Room for the longest message of this source with a path of usual length; longer ones are cut. */
#define DP_SOURCE_PCAP_ERROR_BYTES 768u

struct dp_source_pcap;

/*
 * Opens `path`, "-" being stdin. NULL on failure, with a message in ret_error that names the file and what is wrong:
 * unreadable, not a capture, damaged in its header (with the byte), a link type that is not supported (with those that
 * are).
 */
struct dp_source_pcap *dp_source_pcap_open(const char *path, char ret_error[DP_SOURCE_PCAP_ERROR_BYTES]);
void dp_source_pcap_close(struct dp_source_pcap *source);

/*
 * One for the whole source: libpcap refuses a pcapng file where its interfaces differ in it, and, up to 1.10, where several
 * of them are raw IP.
 */
enum dp_link_type dp_source_pcap_link_type(const struct dp_source_pcap *source);

/*
 * Reads up to `length` packets: their mbufs (the caller's from now on) and stamps in ns since 1970. Returns
 *   1 .. length  packets read; fewer than `length` says nothing about the end
 *   0            the file's end
 *   -ENOBUFS     the pool has no mbuf left for the next packet: give some back and call again, nothing is lost
 *   -EIO         the file is damaged from here on; dp_source_pcap_error() says where and how. All packets before the
 *                damage were delivered. Further calls return the same.
 */
int dp_source_pcap_read(struct dp_source_pcap *source, struct rte_mempool *pool, struct rte_mbuf **ret_mbufs,
                        uint64_t *ret_time_ns, uint32_t length);

/* "FILE: packet N at byte N: what is wrong"; "" while nothing is. Valid until the source is closed. */
const char *dp_source_pcap_error(const struct dp_source_pcap *source);

/* Bytes read so far, and the file's size: 0 when it has none (a pipe). */
void dp_source_pcap_progress(const struct dp_source_pcap *source, uint64_t *ret_read_bytes, uint64_t *ret_size_bytes);

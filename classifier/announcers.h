/*
 * The readers of announcements, for announce.c and the files that hold them: announce_text.c, announce_binary.c.
 */
#pragma once

#include "classifier/announce.h"

#define ANNOUNCE_MIN_BYTES 8u /* shorter packets announce nothing */

struct announced {
    const struct cl_engine *engine;
    const struct cl_sender *sender;
    struct cl_announcement *list;
    unsigned count;
};
/* One too many is left out. lifetime_s 0: that of its kind. */
void announce_add(struct announced *out, struct cl_announcement announcement);

typedef void announcer(const struct cl_packet *packet, struct announced *out);
announcer announce_ftp, announce_sdp, announce_rtsp, announce_tftp, announce_dns, announce_h323, announce_iperf3;

/* Parts of cl_may_announce(); at least ANNOUNCE_MIN_BYTES are there. */
bool announce_may_h323(const uint8_t *bytes, uint32_t size_bytes);
bool announce_may_iperf3(const uint8_t *bytes, uint32_t size_bytes);
bool announce_may_tftp(const uint8_t *bytes, uint32_t size_bytes);
bool announce_may_dns(const uint8_t *bytes, uint32_t size_bytes);

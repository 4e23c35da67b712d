/*
 * What runs over SCTP: by the payload protocol identifier of a DATA chunk (RFC 9260 3.3.1; numbers by IANA), by its bytes where that
 * says nothing, else SCTP itself.
 */
#pragma once

#include "classifier/classifier.h"

#define CL_SCTP_PPIDS 74u

/*
 * The verdict of an association by the first bytes of a message: `packet` is as for cl_inspect(), with the IP protocol of SCTP; its
 * bytes may be none. Always succeeds, always final. Worker thread.
 */
void cl_sctp(struct cl_worker *worker, uint32_t ppid, const struct cl_packet *packet, struct cl_verdict *ret_verdict,
             struct cl_info *info);

#include "classifier/sctp.h"

#include <string.h>

#include "classifier/engine.h"

#define IP_PROTO_TCP      6u
#define PPID_CONFIDENCE   94u
#define CONTENT_MAX_BYTES (CL_STREAM_MAX_BYTES - 1) /* of more, the classifier would make an end at once */

/* Payload protocol identifiers as IANA assigns them, and what they are called in the pack. */
static const char *const ppid_names[CL_SCTP_PPIDS] = {
    [1] = "IUA",     [2] = "M2UA",  [3] = "M3UA",   [4] = "SUA",       [5] = "M2PA",      [6] = "V5UA",
    [7] = "Megaco",  [8] = "BICC",  [10] = "DUA",   [11] = "ASAP",     [12] = "ENRP",     [13] = "H.323",
    [18] = "S1AP",   [19] = "RUA",  [20] = "HNBAP", [21] = "ForCES",   [22] = "ForCES",   [23] = "ForCES",
    [24] = "SBc-AP", [25] = "NBAP", [27] = "X2AP",  [29] = "LCS-AP",   [31] = "SABP",     [42] = "RNA",
    [43] = "M2AP",   [44] = "M3AP", [45] = "SSH",   [46] = "Diameter", [47] = "Diameter", [55] = "PUA",
    [60] = "NGAP",   [61] = "XnAP", [62] = "F1AP",  [64] = "E1AP",     [66] = "NGAP",     [67] = "XnAP",
    [68] = "F1AP",   [69] = "E1AP", [70] = "E2AP",  [71] = "E2AP",     [72] = "E2AP",     [73] = "W1AP",
};

void sctp_index(struct cl_engine *e)
{
    for (unsigned i = 0; i < CL_SCTP_PPIDS; i++)
        e->by_ppid[i] = ppid_names[i] ? cl_protocol_find(e, ppid_names[i]) : 0;
}

/* By its bytes, with the signatures of TCP: SCTP's users that have a form of their own speak the same over both. */
static bool judge_content(struct cl_worker *worker, const struct cl_packet *packet, struct cl_verdict *ret_verdict,
                          struct cl_info *info)
{
    struct cl_state state;
    struct cl_packet as_tcp = *packet;
    memset(&state, 0, sizeof state);
    as_tcp.ip_proto = IP_PROTO_TCP;
    as_tcp.payload_packets[packet->from_server] = 1;
    as_tcp.payload_packets[!packet->from_server] = 0;
    if (as_tcp.size_bytes > CONTENT_MAX_BYTES)
        as_tcp.size_bytes = CONTENT_MAX_BYTES;
    if (cl_inspect(worker, &state, &as_tcp, ret_verdict, info) == CL_UNDECIDED)
        return false;
    return ret_verdict->method == CL_METHOD_signature || ret_verdict->method == CL_METHOD_inspector;
}

void cl_sctp(struct cl_worker *worker, uint32_t ppid, const struct cl_packet *packet, struct cl_verdict *ret_verdict,
             struct cl_info *info)
{
    const struct cl_engine *e = worker->engine;
    cl_protocol named = ppid < CL_SCTP_PPIDS ? e->by_ppid[ppid] : 0;
    if (named)
        *ret_verdict =
            (struct cl_verdict){.protocol = named, .method = CL_METHOD_inspector, .confidence = PPID_CONFIDENCE};
    else if (!packet->size_bytes || !judge_content(worker, packet, ret_verdict, info))
        cl_fallback(e, packet->ip_proto, packet->client_port, packet->server_port, true, ret_verdict);
}

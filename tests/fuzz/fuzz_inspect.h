/*
 * What the targets of the inspectors share. A file is: a byte of settings, the two bytes of a cut, then the bytes of one direction
 * (ip_proto TCP) or datagrams, each behind two bytes of its length (UDP).
 *
 * Checked besides what the sanitizers see: steps and hints are of their enumerations; a stream that is taken whole is taken with
 * the same texts in two segments.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "classifier/inspect.h"

enum fuzz_setting { FUZZ_FROM_SERVER = 1, FUZZ_STARTED_BEFORE = 2, FUZZ_PORT = 4 };

struct fuzz_flow {
    uint64_t state[CL_INSPECT_STATE_BYTES / 8];
    struct cl_info info;
    struct cl_inspect_result result;
};

static inline void fuzz_check(bool holds)
{
    if (!holds)
        abort();
}

static inline enum cl_inspect_step fuzz_packet(const struct cl_inspector *inspector, void *scratch,
                                               struct fuzz_flow *flow, struct cl_packet packet, const uint8_t *bytes,
                                               size_t size)
{
    uint8_t *copy = malloc(size); /* exactly its size: a read beyond is seen */
    memcpy(copy, bytes, size);
    packet.bytes = copy;
    packet.size_bytes = (uint32_t)size;
    memset(&flow->result, 0, sizeof(flow->result));
    flow->info.wants_ja4 = true;
    enum cl_inspect_step step = inspector->inspect(scratch, flow->state, &packet, &flow->info, &flow->result);
    free(copy);
    fuzz_check(step <= CL_INSPECT_DONE && flow->result.protocol < CL_HINT_COUNT &&
               flow->result.application < CL_HINT_COUNT && flow->result.confidence <= 100);
    return step;
}

static inline void fuzz_stream(const struct cl_inspector *inspector, void *scratch, struct cl_packet packet, size_t cut,
                               const uint8_t *bytes, size_t size)
{
    struct fuzz_flow whole = {0}, pieces = {0};
    if (size > CL_STREAM_MAX_BYTES)
        size = CL_STREAM_MAX_BYTES;
    if (!size)
        return;
    enum cl_inspect_step expected = fuzz_packet(inspector, scratch, &whole, packet, bytes, size);
    cut = cut % size;
    enum cl_inspect_step step = CL_INSPECT_MORE;
    if (cut)
        step = fuzz_packet(inspector, scratch, &pieces, packet, bytes, cut);
    if (step == CL_INSPECT_MORE || step == CL_INSPECT_CONFIRMED)
        step = fuzz_packet(inspector, scratch, &pieces, packet, bytes, size);
    if (expected >= CL_INSPECT_CONFIRMED && !packet.started_before)
        fuzz_check(step >= CL_INSPECT_CONFIRMED && memcmp(&whole.info, &pieces.info, sizeof(whole.info)) == 0);
}

static inline void fuzz_datagrams(const struct cl_inspector *inspector, void *scratch, struct cl_packet packet,
                                  const uint8_t *bytes, size_t size)
{
    struct fuzz_flow flow = {0};
    for (unsigned i = 0; size > 2 && i < 16; i++) {
        size_t length = (size_t)(bytes[0] & 0x7f) << 8 | bytes[1];
        packet.from_server ^= bytes[0] >> 7;
        bytes += 2;
        size -= 2;
        length = length && length < size ? length : size;
        enum cl_inspect_step step = fuzz_packet(inspector, scratch, &flow, packet, bytes, length);
        if (step == CL_INSPECT_REJECTED || step == CL_INSPECT_DONE)
            memset(&flow, 0, sizeof(flow));
        bytes += length;
        size -= length;
    }
}

static inline int fuzz_inspect(const struct cl_inspector *inspector, uint8_t ip_proto, uint16_t port,
                               const uint8_t *bytes, size_t size)
{
    static void *scratch;
    if (!scratch && inspector->scratch_create)
        scratch = inspector->scratch_create();
    if (size < 4)
        return 0;
    struct cl_packet packet = {.ip_proto = ip_proto,
                               .from_server = bytes[0] & FUZZ_FROM_SERVER,
                               .server_port = bytes[0] & FUZZ_PORT ? port : 0,
                               .started_before = bytes[0] & FUZZ_STARTED_BEFORE};
    if (ip_proto == 6)
        fuzz_stream(inspector, scratch, packet, (size_t)(bytes[1] << 8 | bytes[2]), bytes + 3, size - 3);
    else
        fuzz_datagrams(inspector, scratch, packet, bytes + 1, size - 1);
    return 0;
}

/* Any bytes as a frame at a cascade port. What is accepted must be written as the same header again. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/cascade/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > 9000)
        return 0;
    uint8_t *buffer = malloc(size + 1); /* exactly as large: a read past it is seen */
    if (!buffer)
        return 0;
    memcpy(buffer, bytes, size);
    struct rte_mbuf mbuf = {.buf_addr = buffer,
                            .buf_len = (uint16_t)size,
                            .data_len = (uint16_t)size,
                            .pkt_len = (uint32_t)size,
                            .nb_segs = 1};
    struct cascade_frame frame;
    struct cascade_fence fence;
    enum cascade_frame_result result = cascade_frame_pull(&mbuf, &frame);
    if (result >= CASCADE_FRAME_RESULT_COUNT)
        abort();
    if (result == CASCADE_FRAME_ok) {
        if (mbuf.pkt_len != size - CASCADE_FRAME_BYTES)
            abort();
        cascade_fence_read(&mbuf, &fence);
        struct rte_ether_addr to, from;
        memcpy(&to, bytes, sizeof to);
        memcpy(&from, bytes + sizeof to, sizeof from);
        if (!cascade_frame_push(&mbuf, &frame, &from, &to) || memcmp(buffer, bytes, CASCADE_FRAME_BYTES - 1))
            abort();
    }
    free(buffer);
    return 0;
}

/*
 * dp_parse and dp_tunnel_enter: no frame reads past its end, and cutting it in two segments changes nothing. The first two bytes of the
 * input are the link type and where to cut.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/packet.h"
#include "dataplane/tunnel.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct rte_mbuf mbuf_of(const uint8_t *bytes, size_t size)
{
    struct rte_mbuf m;
    memset(&m, 0, sizeof m);
    m.buf_addr = (void *)(uintptr_t)bytes;
    m.data_len = (uint16_t)size;
    m.pkt_len = (uint32_t)size;
    m.nb_segs = 1;
    return m;
}

/* A copy that ends where the allocation does, so that the sanitizer sees a read past it. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    return copy;
}

/* In a burst a packet gives the same view. */
static void compare_bulk(struct rte_mbuf *m, enum dp_link_type link_type, const struct dp_view *view)
{
    uint8_t link = (uint8_t)link_type;
    struct dp_view of_bulk;
    memset(&of_bulk, 0x5a, sizeof of_bulk);
    dp_parse_bulk(&m, &link, 1, &of_bulk);
    if (memcmp(&of_bulk, view, sizeof of_bulk) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2 || size > 65000)
        return 0;
    enum dp_link_type link_type = (enum dp_link_type)(bytes[0] % (DP_LINK_CHDLC + 1));
    size_t frame_bytes = size - 2, cut = bytes[1] < frame_bytes ? bytes[1] : frame_bytes;
    uint8_t *whole = copy_of(bytes + 2, frame_bytes);
    uint8_t *parts[2] = {copy_of(bytes + 2, cut), copy_of(bytes + 2 + cut, frame_bytes - cut)};

    struct dp_view of_whole, of_parts;
    struct rte_mbuf m = mbuf_of(whole, frame_bytes);
    dp_parse(&m, link_type, &of_whole);
    compare_bulk(&m, link_type, &of_whole);
    struct rte_mbuf segments[2] = {mbuf_of(parts[0], cut), mbuf_of(parts[1], frame_bytes - cut)};
    segments[0].next = &segments[1];
    segments[0].nb_segs = 2;
    segments[0].pkt_len = (uint32_t)frame_bytes;
    memset(&of_parts, 0xa5, sizeof of_parts);
    dp_parse(segments, link_type, &of_parts);
    compare_bulk(segments, link_type, &of_whole);

    if (memcmp(&of_whole, &of_parts, sizeof of_whole) != 0)
        abort();
    if (of_whole.result >= DP_PARSE_RESULT_COUNT || of_whole.payload_offset + of_whole.payload_bytes > frame_bytes)
        abort();
    bool entered = dp_tunnel_enter(&m, UINT8_MAX, &of_whole);
    if (dp_tunnel_enter(segments, UINT8_MAX, &of_parts) != entered ||
        memcmp(&of_whole, &of_parts, sizeof of_whole) != 0)
        abort();
    if (of_whole.payload_offset + of_whole.payload_bytes > frame_bytes)
        abort();
    free(whole);
    free(parts[0]);
    free(parts[1]);
    return 0;
}

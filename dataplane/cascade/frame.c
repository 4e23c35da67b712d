#include "dataplane/cascade/frame.h"

#include <string.h>

#include "base/cursor.h"

static_assert(CASCADE_FRAME_BYTES == RTE_ETHER_HDR_LEN + 16, "Ethernet header and ours");

const char *cascade_frame_result_name(enum cascade_frame_result result)
{
    static const char *const names[CASCADE_FRAME_RESULT_COUNT] = {
#define X(name, text) #name,
        CASCADE_FRAME_RESULTS(X)
#undef X
    };
    return names[result];
}

const char *cascade_frame_result_text(enum cascade_frame_result result)
{
    static const char *const texts[CASCADE_FRAME_RESULT_COUNT] = {
#define X(name, text) text,
        CASCADE_FRAME_RESULTS(X)
#undef X
    };
    return texts[result];
}

static uint8_t *put_be32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    return to + 4;
}

bool cascade_frame_push(struct rte_mbuf *mbuf, const struct cascade_frame *frame, const struct rte_ether_addr *from,
                        const struct rte_ether_addr *to)
{
    uint8_t *p = (uint8_t *)rte_pktmbuf_prepend(mbuf, CASCADE_FRAME_BYTES);
    if (!p)
        return false;
    memcpy(p, to->addr_bytes, RTE_ETHER_ADDR_LEN);
    memcpy(p + RTE_ETHER_ADDR_LEN, from->addr_bytes, RTE_ETHER_ADDR_LEN);
    p += 2 * RTE_ETHER_ADDR_LEN;
    *p++ = CASCADE_ETHER_TYPE >> 8;
    *p++ = CASCADE_ETHER_TYPE & 0xff;
    *p++ = CASCADE_FRAME_VERSION;
    *p++ = frame->kind;
    *p++ = frame->shard;
    *p++ = frame->hops;
    p = put_be32(p, frame->epoch);
    p = put_be32(p, frame->sequence);
    *p++ = frame->link;
    *p++ = frame->side;
    *p++ = frame->outcome;
    *p = 0;
    return true;
}

enum cascade_frame_result cascade_frame_pull(struct rte_mbuf *mbuf, struct cascade_frame *ret_frame)
{
    struct cursor c = cursor_of(rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf));
    cursor_skip(&c, 2 * RTE_ETHER_ADDR_LEN);
    unsigned ether_type = cursor_be16(&c);
    if (!c.ok)
        return CASCADE_FRAME_short_frame;
    if (ether_type != CASCADE_ETHER_TYPE)
        return CASCADE_FRAME_foreign;
    unsigned version = cursor_u8(&c);
    struct cascade_frame frame = {.kind = cursor_u8(&c), .shard = cursor_u8(&c), .hops = cursor_u8(&c)};
    frame.epoch = cursor_be32(&c);
    frame.sequence = cursor_be32(&c);
    frame.link = cursor_u8(&c);
    frame.side = cursor_u8(&c);
    frame.outcome = cursor_u8(&c);
    cursor_skip(&c, 1);
    if (!c.ok)
        return CASCADE_FRAME_short_frame;
    if (version != CASCADE_FRAME_VERSION)
        return CASCADE_FRAME_version;
    if (!frame.kind || frame.kind >= CASCADE_FRAME_KINDS)
        return CASCADE_FRAME_kind;
    if (frame.hops > CASCADE_HOPS_MAX)
        return CASCADE_FRAME_hops;
    rte_pktmbuf_adj(mbuf, CASCADE_FRAME_BYTES);
    *ret_frame = frame;
    return CASCADE_FRAME_ok;
}

bool cascade_fence_write(struct rte_mbuf *mbuf, const struct cascade_fence *fence)
{
    uint8_t *p = (uint8_t *)rte_pktmbuf_append(mbuf, 8);
    if (!p)
        return false;
    put_be32(put_be32(p, fence->move), fence->packets);
    return true;
}

bool cascade_fence_read(const struct rte_mbuf *mbuf, struct cascade_fence *ret_fence)
{
    struct cursor c = cursor_of(rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf));
    ret_fence->move = cursor_be32(&c);
    ret_fence->packets = cursor_be32(&c);
    return c.ok;
}

bool cascade_path_take(struct cascade_path *path, uint32_t sequence)
{
    int32_t ahead = (int32_t)(sequence - path->next);
    if (ahead < 0) {
        path->late++;
        return false;
    }
    path->missing += (uint32_t)ahead;
    path->next = sequence + 1;
    return true;
}

#include "dataplane/judged.h"

#include <xxhash.h>

#include "flowtable/table.h"

#define TCP_ACK 0x10

uint32_t dp_judged_digest(uint64_t key, const uint8_t *bytes, uint32_t size_bytes)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes, size_bytes, key);
}

void dp_judged_begin(struct ft_hot *hot, struct ft_cold *cold, uint8_t direction, uint32_t seq, uint32_t size_bytes,
                     uint32_t digest)
{
    ft_write_begin(hot);
    FT_SET(cold->judged_digest, digest);
    FT_SET(cold->judged.seq, seq);
    FT_SET(cold->judged.size_bytes, (uint16_t)size_bytes);
    FT_SET(cold->judged.packets_left, (uint8_t)DP_JUDGED_PACKETS);
    FT_SET(cold->judged.from_server, direction);
    FT_SET(hot->flags, (uint16_t)(hot->flags | FT_FLOW_WATCHED));
    ft_write_end(hot);
}

static void judged_end(struct ft_hot *hot, struct ft_cold *cold)
{
    ft_write_begin(hot);
    FT_SET(hot->flags, (uint16_t)(hot->flags & ~FT_FLOW_WATCHED));
    FT_SET(cold->judged_digest, 0);
    FT_SET(cold->packets_high[0], 0);
    FT_SET(cold->packets_high[1], 0);
    ft_write_end(hot);
}

/* The segment [begin, begin + size), relative to the judged bytes, against them. */
static bool disagrees(const struct ft_cold *cold, uint64_t key, int64_t begin, const uint8_t *bytes, uint32_t size)
{
    int64_t end = begin + size, judged_end_bytes = cold->judged.size_bytes;
    if (end <= 0 || begin >= judged_end_bytes)
        return false;
    if (begin > 0 || end < judged_end_bytes)
        return true;
    return dp_judged_digest(key, bytes - begin, cold->judged.size_bytes) != cold->judged_digest;
}

bool dp_judged_packet(struct ft_hot *hot, struct ft_cold *cold, const struct dp_view *view, uint8_t from_server,
                      uint64_t key, uint32_t seq, const uint8_t *bytes, uint32_t size_bytes)
{
    bool differs = false, is_taken = false;
    if (from_server == cold->judged.from_server)
        differs = bytes && disagrees(cold, key, (int32_t)(seq - cold->judged.seq), bytes, size_bytes);
    else if (view->tcp_flags & TCP_ACK)
        is_taken = (int32_t)(view->tcp_ack - cold->judged.seq - cold->judged.size_bytes) >= 0;
    uint8_t left = (uint8_t)(cold->judged.packets_left - 1);
    if (differs || is_taken || !left) {
        judged_end(hot, cold);
        return differs;
    }
    ft_write_begin(hot);
    FT_SET(cold->judged.packets_left, left);
    ft_write_end(hot);
    return false;
}

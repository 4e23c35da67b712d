/* Frames of the cascade: their bytes, what is refused, what is missing on a path. No EAL: an mbuf is a struct. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/cascade/frame.h"

#define HEADROOM 64u

static uint8_t buffer[HEADROOM + 256];
static const struct rte_ether_addr from = {{2, 0, 0, 0, 0, 1}}, to = {{2, 0, 0, 0, 0, 2}};
static const struct cascade_frame sample = {.kind = CASCADE_FRAME_PROCESS,
                                            .shard = 0xfe,
                                            .hops = 1,
                                            .link = 3,
                                            .side = 1,
                                            .outcome = 9,
                                            .epoch = 0x01020304,
                                            .sequence = 0xfffefdfc};

static struct rte_mbuf mbuf_of_size(uint16_t size, uint16_t headroom)
{
    for (unsigned i = 0; i < sizeof buffer; i++)
        buffer[i] = (uint8_t)i;
    return (struct rte_mbuf){.buf_addr = buffer,
                             .buf_len = (uint16_t)(headroom + 256),
                             .data_off = headroom,
                             .data_len = size,
                             .pkt_len = size,
                             .nb_segs = 1};
}

Test(cascade_frame, bytes_there_and_back)
{
    static const uint8_t expected[CASCADE_FRAME_BYTES] = {
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 1, 0xfe, 1, 1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc, 3, 1, 9, 0};
    struct rte_mbuf mbuf = mbuf_of_size(60, HEADROOM);
    cr_assert(cascade_frame_push(&mbuf, &sample, &from, &to));
    cr_expect_eq(mbuf.pkt_len, 90);
    cr_expect_arr_eq(rte_pktmbuf_mtod(&mbuf, uint8_t *), expected, sizeof expected);
    cr_expect_eq(rte_pktmbuf_mtod(&mbuf, uint8_t *)[CASCADE_FRAME_BYTES], HEADROOM, "the packet follows");
    struct cascade_frame got;
    cr_assert_eq(cascade_frame_pull(&mbuf, &got), CASCADE_FRAME_ok);
    cr_expect_eq(mbuf.pkt_len, 60);
    cr_expect_eq(rte_pktmbuf_mtod(&mbuf, uint8_t *)[0], HEADROOM);
    cr_expect_eq(memcmp(&got, &sample, sizeof got), 0);
}

Test(cascade_frame, no_room_for_the_header)
{
    struct rte_mbuf mbuf = mbuf_of_size(60, CASCADE_FRAME_BYTES - 1);
    cr_expect_not(cascade_frame_push(&mbuf, &sample, &from, &to));
    cr_expect_eq(mbuf.pkt_len, 60);
}

static enum cascade_frame_result pull_changed(unsigned at, uint8_t value, uint16_t size)
{
    struct rte_mbuf mbuf = mbuf_of_size(20, HEADROOM);
    cr_assert(cascade_frame_push(&mbuf, &sample, &from, &to));
    rte_pktmbuf_mtod(&mbuf, uint8_t *)[at] = value;
    mbuf.data_len = size;
    mbuf.pkt_len = size;
    struct cascade_frame got;
    enum cascade_frame_result result = cascade_frame_pull(&mbuf, &got);
    cr_expect_eq(mbuf.data_len, result == CASCADE_FRAME_ok ? size - CASCADE_FRAME_BYTES : size,
                 "refused: left as it is");
    return result;
}

Test(cascade_frame, what_is_not_ours_is_refused_by_name)
{
    cr_expect_eq(pull_changed(12, 0x08, 50), CASCADE_FRAME_foreign);
    cr_expect_eq(pull_changed(14, 2, 50), CASCADE_FRAME_version);
    cr_expect_eq(pull_changed(15, 0, 50), CASCADE_FRAME_kind);
    cr_expect_eq(pull_changed(15, CASCADE_FRAME_KINDS, 50), CASCADE_FRAME_kind);
    cr_expect_eq(pull_changed(17, CASCADE_HOPS_MAX, 50), CASCADE_FRAME_ok);
    cr_expect_eq(pull_changed(17, CASCADE_HOPS_MAX + 1, 50), CASCADE_FRAME_hops);
    for (uint16_t size = 0; size < CASCADE_FRAME_BYTES; size++)
        cr_expect_eq(pull_changed(0, 2, size), CASCADE_FRAME_short_frame, "%u bytes", size);
    cr_expect_eq(pull_changed(0, 2, CASCADE_FRAME_BYTES), CASCADE_FRAME_ok, "an empty packet");
}

Test(cascade_frame, a_fence_may_be_padded)
{
    struct rte_mbuf mbuf = mbuf_of_size(0, HEADROOM);
    struct cascade_fence fence = {.move = 7, .packets = 0x80000001}, got;
    cr_assert(cascade_fence_write(&mbuf, &fence));
    cr_expect_not_null(rte_pktmbuf_append(&mbuf, 46));
    cr_assert(cascade_fence_read(&mbuf, &got));
    cr_expect_eq(memcmp(&got, &fence, sizeof got), 0);
    mbuf.data_len = 7;
    cr_expect_not(cascade_fence_read(&mbuf, &got));
}

Test(cascade_frame, a_path_counts_what_is_missing)
{
    struct cascade_path path = {.next = UINT32_MAX - 1};
    cr_expect(cascade_path_take(&path, UINT32_MAX - 1));
    cr_expect(cascade_path_take(&path, UINT32_MAX));
    cr_expect(cascade_path_take(&path, 0), "it wraps");
    cr_expect_eq(path.missing, 0);
    cr_expect(cascade_path_take(&path, 4));
    cr_expect_eq(path.missing, 3);
    cr_expect_not(cascade_path_take(&path, 4), "doubled");
    cr_expect_not(cascade_path_take(&path, 2), "overtaken");
    cr_expect_eq(path.late, 2);
    cr_expect(cascade_path_take(&path, 5));
    cr_expect_eq(path.missing, 3);
}

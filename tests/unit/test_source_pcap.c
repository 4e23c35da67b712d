#include <criterion/criterion.h>
#include <errno.h>
#include <rte_eal.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/source_pcap.h"

#define POOL_MBUFS 255u

/* ---- captures, written byte by byte ---- */

struct capture {
    uint8_t *bytes;
    size_t size;
    bool is_big_endian;
};

static void put(struct capture *c, const void *bytes, size_t size)
{
    c->bytes = realloc(c->bytes, c->size + size);
    memcpy(c->bytes + c->size, bytes, size);
    c->size += size;
}

static void put_number(struct capture *c, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[c->is_big_endian ? size - 1 - i : i] = (uint8_t)(value >> 8 * i);
    put(c, bytes, size);
}

static void put_u16(struct capture *c, uint16_t value)
{
    put_number(c, value, 2);
}

static void put_u32(struct capture *c, uint32_t value)
{
    put_number(c, value, 4);
}

static void put_pcap_header(struct capture *c, uint32_t magic, uint32_t link_type)
{
    put_u32(c, magic);
    put_u16(c, 2);
    put_u16(c, 4);
    put_u32(c, 0);
    put_u32(c, 0);
    put_u32(c, 262144);
    put_u32(c, link_type);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static void put_pattern(struct capture *c, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(i);
    put(c, bytes, size);
    free(bytes);
}

static void put_pcap_packet(struct capture *c, uint32_t seconds, uint32_t fraction, uint32_t size)
{
    put_u32(c, seconds);
    put_u32(c, fraction);
    put_u32(c, size);
    put_u32(c, size + 10); /* cut by snaplen */
    put_pattern(c, size);
}

static void put_section(struct capture *c)
{
    put_u32(c, 0x0a0d0d0a);
    put_u32(c, 28);
    put_u32(c, 0x1a2b3c4d);
    put_u16(c, 1);
    put_u16(c, 0);
    put_number(c, UINT64_MAX, 8);
    put_u32(c, 28);
}

/* resolution_power: 10^-power seconds a tick; 6 is written as no option at all. */
static void put_interface(struct capture *c, uint16_t link_type, uint8_t resolution_power)
{
    uint32_t size = resolution_power == 6 ? 20 : 32;
    put_u32(c, 1);
    put_u32(c, size);
    put_u16(c, link_type);
    put_u16(c, 0);
    put_u32(c, 262144);
    if (resolution_power != 6) {
        put_u16(c, 9);
        put_u16(c, 1);
        put(c, (uint8_t[]){resolution_power, 0, 0, 0}, 4);
        put_u32(c, 0);
    }
    put_u32(c, size);
}

static void put_enhanced_packet(struct capture *c, uint32_t interface, uint64_t ticks, uint32_t size)
{
    uint32_t padded = (size + 3) / 4 * 4;
    put_u32(c, 6);
    put_u32(c, 32 + padded);
    put_u32(c, interface);
    put_u32(c, (uint32_t)(ticks >> 32));
    put_u32(c, (uint32_t)ticks);
    put_u32(c, size);
    put_u32(c, size);
    put_pattern(c, padded);
    put_u32(c, 32 + padded);
}

/* ---- the source under test ---- */

static struct rte_mempool *pool;
static char path[64], error[DP_SOURCE_PCAP_ERROR_BYTES];

static void start(void)
{
    char *args[] = {"test", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                    "-m",   "64",        "-l",          "0",        "--log-level=3"};
    cr_assert_geq(rte_eal_init(RTE_DIM(args), args), 0);
    pool = rte_pktmbuf_pool_create("test", POOL_MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    cr_assert_not_null(pool);
    snprintf(path, sizeof path, "/tmp/test_source_pcap.XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void stop(void)
{
    unlink(path);
    rte_eal_cleanup();
}

TestSuite(source_pcap, .init = start, .fini = stop);

static void save(struct capture *c)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    if (c->size)
        cr_assert_eq(fwrite(c->bytes, 1, c->size, file), c->size);
    cr_assert_eq(fclose(file), 0);
    free(c->bytes);
    c->bytes = NULL;
}

static struct dp_source_pcap *open_saved(struct capture *c)
{
    save(c);
    struct dp_source_pcap *source = dp_source_pcap_open(path, error);
    cr_assert_not_null(source, "%s", error);
    return source;
}

static void check_frame(const struct rte_mbuf *mbuf, uint32_t size)
{
    cr_assert_eq(rte_pktmbuf_pkt_len(mbuf), size);
    const char *reason;
    cr_assert_eq(rte_mbuf_check(mbuf, 1, &reason), 0, "%s", reason);
    uint32_t i = 0;
    for (const struct rte_mbuf *segment = mbuf; segment; segment = segment->next)
        for (uint32_t k = 0; k < segment->data_len; k++, i++)
            cr_assert_eq(rte_pktmbuf_mtod(segment, const uint8_t *)[k], pattern(i));
    cr_assert_eq(i, size);
}

/* Reads one packet of `size` bytes. */
static void expect_packet(struct dp_source_pcap *source, uint64_t time_ns, uint32_t size)
{
    struct rte_mbuf *mbuf;
    uint64_t got_ns;
    cr_assert_eq(dp_source_pcap_read(source, pool, &mbuf, &got_ns, 1), 1, "%s", dp_source_pcap_error(source));
    cr_assert_eq(got_ns, time_ns, "%lu", got_ns);
    check_frame(mbuf, size);
    rte_pktmbuf_free(mbuf);
}

static int read_on(struct dp_source_pcap *source)
{
    struct rte_mbuf *mbuf;
    uint64_t time_ns;
    return dp_source_pcap_read(source, pool, &mbuf, &time_ns, 1);
}

static void expect_end(struct dp_source_pcap *source)
{
    cr_assert_eq(read_on(source), 0);
    cr_assert_eq(read_on(source), 0);
    cr_assert_str_empty(dp_source_pcap_error(source));
    uint64_t read_bytes, size_bytes;
    dp_source_pcap_progress(source, &read_bytes, &size_bytes);
    cr_assert_eq(read_bytes, size_bytes);
    dp_source_pcap_close(source);
    cr_assert_eq(rte_mempool_avail_count(pool), POOL_MBUFS, "mbufs were lost");
}

static void expect_damage(struct dp_source_pcap *source, const char *where)
{
    cr_assert_eq(read_on(source), -EIO);
    cr_assert_eq(read_on(source), -EIO, "damage is for good");
    const char *text = dp_source_pcap_error(source);
    cr_assert_eq(strncmp(text, path, strlen(path)), 0, "%s", text);
    cr_assert_not_null(strstr(text, where), "%s", text);
    dp_source_pcap_close(source);
    cr_assert_eq(rte_mempool_avail_count(pool), POOL_MBUFS, "mbufs were lost");
}

Test(source_pcap, both_byte_orders_and_resolutions)
{
    for (int variant = 0; variant < 4; variant++) {
        bool is_ns = variant & 1;
        struct capture c = {.is_big_endian = variant & 2};
        put_pcap_header(&c, is_ns ? 0xa1b23c4d : 0xa1b2c3d4, 1);
        put_pcap_packet(&c, 1700000000, is_ns ? 123456789 : 123456, 60);
        put_pcap_packet(&c, 1700000001, 1, 0);
        struct dp_source_pcap *source = open_saved(&c);
        cr_assert_eq(dp_source_pcap_link_type(source), DP_LINK_ETHERNET);
        expect_packet(source, is_ns ? 1700000000123456789 : 1700000000123456000, 60);
        expect_packet(source, is_ns ? 1700000001000000001 : 1700000001000001000, 0);
        expect_end(source);
    }
}

Test(source_pcap, pcapng_in_both_byte_orders_and_two_resolutions)
{
    for (int variant = 0; variant < 2; variant++) {
        struct capture c = {.is_big_endian = variant};
        put_section(&c);
        put_interface(&c, 1, 6);
        put_interface(&c, 1, 9);
        put_enhanced_packet(&c, 0, 1700000000123456, 61);
        put_enhanced_packet(&c, 1, 1700000000123456789, 62);
        struct dp_source_pcap *source = open_saved(&c);
        cr_assert_eq(dp_source_pcap_link_type(source), DP_LINK_ETHERNET);
        expect_packet(source, 1700000000123456000, 61);
        expect_packet(source, 1700000000123456789, 62);
        expect_end(source);
    }
}

Test(source_pcap, pcapng_of_two_link_types_is_refused_where_the_second_begins)
{
    struct capture c = {.size = 0};
    put_section(&c);
    put_interface(&c, 1, 6);
    put_enhanced_packet(&c, 0, 1000000, 60);
    size_t second = c.size;
    put_interface(&c, 101, 6);
    put_enhanced_packet(&c, 1, 2000000, 60);
    struct dp_source_pcap *source = open_saved(&c);
    expect_packet(source, 1000000000, 60);
    char where[64];
    snprintf(where, sizeof where, ": packet 2 at byte %zu: ", second);
    expect_damage(source, where);
}

Test(source_pcap, stamps_at_the_edges)
{
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    put_pcap_packet(&c, 0, 0, 1);
    put_pcap_packet(&c, 0xf0000000, 999999, 1); /* in the year 2097 */
    struct dp_source_pcap *source = open_saved(&c);
    expect_packet(source, 0, 1);
    expect_packet(source, 0xf0000000 * 1000000000ull + 999999000, 1);
    expect_end(source);

    c = (struct capture){.size = 0};
    put_section(&c);
    put_interface(&c, 1, 6);
    put_enhanced_packet(&c, 0, UINT64_MAX, 1);
    source = open_saved(&c);
    struct rte_mbuf *mbuf;
    uint64_t time_ns;
    cr_assert_eq(dp_source_pcap_read(source, pool, &mbuf, &time_ns, 1), 1);
    cr_assert_gt(time_ns, 0xf0000000 * 1000000000ull, "a far time must not wrap around");
    rte_pktmbuf_free(mbuf);
    expect_end(source);
}

Test(source_pcap, the_longest_frame_is_a_chain)
{
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    put_pcap_packet(&c, 1, 0, DP_SOURCE_PCAP_FRAME_BYTES_MAX);
    put_pcap_packet(&c, 1, 0, 2048);
    put_pcap_packet(&c, 1, 0, 2049);
    struct dp_source_pcap *source = open_saved(&c);
    struct rte_mbuf *mbufs[3];
    uint64_t time_ns[3];
    cr_assert_eq(dp_source_pcap_read(source, pool, mbufs, time_ns, 3), 3);
    check_frame(mbufs[0], DP_SOURCE_PCAP_FRAME_BYTES_MAX);
    cr_assert_eq(mbufs[0]->nb_segs, DP_SOURCE_PCAP_FRAME_BYTES_MAX / 2048);
    check_frame(mbufs[1], 2048);
    cr_assert_eq(mbufs[1]->nb_segs, 1);
    check_frame(mbufs[2], 2049);
    cr_assert_eq(mbufs[2]->nb_segs, 2);
    for (int i = 0; i < 3; i++)
        rte_pktmbuf_free(mbufs[i]);
    expect_end(source);
}

Test(source_pcap, truncated_anywhere_gives_the_packets_before_and_the_place)
{
    enum { HEADER = 24, RECORD = 16 + 50, PACKETS = 3 };
    for (size_t size = HEADER; size < HEADER + PACKETS * RECORD; size++) {
        struct capture c = {.size = 0};
        put_pcap_header(&c, 0xa1b2c3d4, 1);
        for (uint32_t i = 0; i < PACKETS; i++)
            put_pcap_packet(&c, i, 0, 50);
        c.size = size;
        struct dp_source_pcap *source = open_saved(&c);
        size_t whole = (size - HEADER) / RECORD;
        struct rte_mbuf *mbufs[PACKETS];
        uint64_t time_ns[PACKETS];
        if (whole) {
            cr_assert_eq(dp_source_pcap_read(source, pool, mbufs, time_ns, PACKETS), (int)whole, "cut to %zu", size);
            for (size_t i = 0; i < whole; i++)
                rte_pktmbuf_free(mbufs[i]);
        }
        char where[64];
        snprintf(where, sizeof where, ": packet %zu at byte %zu: ", whole + 1, HEADER + whole * RECORD);
        if ((size - HEADER) % RECORD)
            expect_damage(source, where);
        else
            expect_end(source);
    }
}

Test(source_pcap, impossible_packet_length_is_damage)
{
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    put_pcap_packet(&c, 1, 0, 50);
    put_u32(&c, 1);
    put_u32(&c, 0);
    put_u32(&c, 0x7fffffff);
    put_u32(&c, 0x7fffffff);
    put_pattern(&c, 1000);
    struct dp_source_pcap *source = open_saved(&c);
    expect_packet(source, 1000000000, 50);
    expect_damage(source, ": packet 2 at byte 90: ");
}

Test(source_pcap, truncated_pcapng)
{
    struct capture c = {.size = 0};
    put_section(&c);
    put_interface(&c, 1, 6);
    put_enhanced_packet(&c, 0, 1000000, 60);
    size_t second = c.size;
    put_enhanced_packet(&c, 0, 1000000, 60);
    c.size -= 5;
    struct dp_source_pcap *source = open_saved(&c);
    expect_packet(source, 1000000000, 60);
    char where[64];
    snprintf(where, sizeof where, ": packet 2 at byte %zu: ", second);
    expect_damage(source, where);
}

static void expect_refusal(const char *file, const char *const *parts)
{
    error[0] = 0;
    cr_assert_null(dp_source_pcap_open(file, error));
    cr_assert_eq(strncmp(error, file, strlen(file)), 0, "%s", error);
    for (; *parts; parts++)
        cr_assert_not_null(strstr(error, *parts), "%s", error);
}

Test(source_pcap, files_that_are_no_captures)
{
    struct capture c = {.size = 0};
    save(&c);
    expect_refusal(path, (const char *const[]){"file header", "at byte 0", NULL});

    put(&c, "<html>this is no capture</html>", 31);
    save(&c);
    expect_refusal(path, (const char *const[]){"file header", NULL});

    c = (struct capture){.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    c.size = 23;
    save(&c);
    expect_refusal(path, (const char *const[]){"file header", "at byte 23", NULL});

    unlink(path);
    expect_refusal(path, (const char *const[]){"No such file", NULL});
    expect_refusal("/tmp", (const char *const[]){"Is a directory", NULL});
}

Test(source_pcap, link_types)
{
    static const struct {
        uint32_t number;
        enum dp_link_type link_type;
    } supported[] = {
        {1, DP_LINK_ETHERNET}, {12, DP_LINK_RAW_IP}, {14, DP_LINK_RAW_IP}, {101, DP_LINK_RAW_IP}, {228, DP_LINK_RAW_IP},
        {229, DP_LINK_RAW_IP}, {113, DP_LINK_SLL},   {276, DP_LINK_SLL2},  {0, DP_LINK_NULL},     {108, DP_LINK_LOOP},
        {9, DP_LINK_PPP},      {50, DP_LINK_PPP},    {104, DP_LINK_CHDLC},
    };
    for (size_t i = 0; i < RTE_DIM(supported); i++) {
        struct capture c = {.size = 0};
        put_pcap_header(&c, 0xa1b2c3d4, supported[i].number);
        struct dp_source_pcap *source = open_saved(&c);
        cr_assert_eq(dp_source_pcap_link_type(source), supported[i].link_type, "link type %u", supported[i].number);
        expect_end(source);
    }
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 105);
    save(&c);
    expect_refusal(path,
                   (const char *const[]){"link type IEEE802_11 (105) is not supported", "supported: Ethernet", NULL});
}

Test(source_pcap, an_empty_pool_loses_nothing)
{
    struct rte_mempool *small = rte_pktmbuf_pool_create("small", 3, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    cr_assert_not_null(small);
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    put_pcap_packet(&c, 1, 0, 100);
    put_pcap_packet(&c, 2, 0, 4096 + 1); /* three segments */
    put_pcap_packet(&c, 3, 0, 100);
    struct dp_source_pcap *source = open_saved(&c);
    struct rte_mbuf *first, *mbufs[8];
    uint64_t time_ns[8];
    cr_assert_eq(dp_source_pcap_read(source, small, &first, time_ns, 1), 1);
    cr_assert_eq(dp_source_pcap_read(source, small, mbufs, time_ns, 8), -ENOBUFS);
    cr_assert_eq(rte_mempool_avail_count(small), 2, "the segments of a chain that failed go back");
    rte_pktmbuf_free(first);
    cr_assert_eq(dp_source_pcap_read(source, small, mbufs, time_ns, 8), 1);
    cr_assert_eq(time_ns[0], 2000000000);
    check_frame(mbufs[0], 4096 + 1);
    rte_pktmbuf_free(mbufs[0]);
    cr_assert_eq(dp_source_pcap_read(source, small, mbufs, time_ns, 8), 1);
    cr_assert_eq(time_ns[0], 3000000000);
    rte_pktmbuf_free(mbufs[0]);
    cr_assert_eq(rte_mempool_avail_count(small), 3);
    expect_end(source);
}

Test(source_pcap, standard_input_from_a_pipe)
{
    struct capture c = {.size = 0};
    put_pcap_header(&c, 0xa1b2c3d4, 1);
    put_pcap_packet(&c, 1, 0, 100);
    put_pcap_packet(&c, 2, 0, 100);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], c.bytes, c.size - 1), (ssize_t)c.size - 1);
    free(c.bytes);
    close(ends[1]);
    cr_assert_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    struct dp_source_pcap *source = dp_source_pcap_open("-", error);
    cr_assert_not_null(source, "%s", error);
    expect_packet(source, 1000000000, 100);
    uint64_t read_bytes, size_bytes;
    dp_source_pcap_progress(source, &read_bytes, &size_bytes);
    cr_assert_eq(size_bytes, 0);
    cr_assert_eq(read_on(source), -EIO);
    const char *text = dp_source_pcap_error(source);
    cr_assert_eq(strncmp(text, "standard input: packet 2: ", 26), 0, "%s", text);
    dp_source_pcap_close(source);
}

/*
 * Frames put together by hand for tests: headers are appended one after the other, lengths are filled in by frame_end().
 * And mbufs without a pool: they point at the frame.
 */
#pragma once

#include <rte_mbuf.h>
#include <stdint.h>
#include <string.h>

#define FRAME_BYTES_MAX 4096u

struct frame {
    uint8_t bytes[FRAME_BYTES_MAX];
    uint32_t size;
    uint32_t lengths; /* length fields to fill in at the end */
    struct {
        uint32_t field_offset, counted_from;
    } length[16];
};

static inline void frame_put(struct frame *f, const void *bytes, uint32_t size)
{
    memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
}

static inline void frame_put_u8(struct frame *f, unsigned value)
{
    f->bytes[f->size++] = (uint8_t)value;
}

static inline void frame_put_be16(struct frame *f, unsigned value)
{
    frame_put_u8(f, value >> 8);
    frame_put_u8(f, value & 0xff);
}

static inline void frame_put_be32(struct frame *f, uint32_t value)
{
    frame_put_be16(f, value >> 16);
    frame_put_be16(f, value & 0xffff);
}

static inline void frame_put_zeros(struct frame *f, uint32_t size)
{
    memset(f->bytes + f->size, 0, size);
    f->size += size;
}

/* A 16-bit length field that counts from `counted_from` to the frame's end. */
static inline void frame_put_length(struct frame *f, uint32_t counted_from)
{
    f->length[f->lengths].field_offset = f->size;
    f->length[f->lengths++].counted_from = counted_from;
    frame_put_be16(f, 0);
}

static inline void frame_end(struct frame *f)
{
    for (uint32_t i = 0; i < f->lengths; i++) {
        uint32_t value = f->size - f->length[i].counted_from;
        f->bytes[f->length[i].field_offset] = (uint8_t)(value >> 8);
        f->bytes[f->length[i].field_offset + 1] = (uint8_t)value;
    }
    f->lengths = 0;
}

static inline void frame_ethernet(struct frame *f, unsigned ether_type)
{
    frame_put(f, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01", 12);
    frame_put_be16(f, ether_type);
}

/* 10.0.0.LAST -> 10.0.0.LAST; `options` bytes of options, a multiple of 4. */
static inline void frame_ipv4(struct frame *f, unsigned proto, uint8_t src_last, uint8_t dst_last, uint32_t options)
{
    uint32_t start = f->size;
    frame_put_u8(f, 0x40 | (5 + options / 4));
    frame_put_u8(f, 46 << 2);
    frame_put_length(f, start);
    frame_put_be16(f, 0x1234);
    frame_put_be16(f, 0);
    frame_put_u8(f, 64);
    frame_put_u8(f, proto);
    frame_put_be16(f, 0);
    frame_put(f, "\x0a\0\0", 3);
    frame_put_u8(f, src_last);
    frame_put(f, "\x0a\0\0", 3);
    frame_put_u8(f, dst_last);
    memset(f->bytes + f->size, 1, options);
    f->size += options;
}

/* 2001:db8::LAST -> 2001:db8::LAST */
static inline void frame_ipv6(struct frame *f, unsigned next, uint8_t src_last, uint8_t dst_last)
{
    uint32_t start = f->size;
    frame_put_be32(f, 6u << 28 | (46u << 2) << 20 | 0x12345);
    frame_put_length(f, start + 40);
    frame_put_u8(f, next);
    frame_put_u8(f, 64);
    frame_put(f, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
    frame_put_u8(f, src_last);
    frame_put(f, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
    frame_put_u8(f, dst_last);
}

static inline void frame_ipv6_extension(struct frame *f, unsigned next, unsigned length_field, uint32_t size)
{
    frame_put_u8(f, next);
    frame_put_u8(f, length_field);
    frame_put_zeros(f, size - 2);
}

static inline void frame_ipv6_fragment(struct frame *f, unsigned next, unsigned offset_bytes, bool more, uint32_t id)
{
    frame_put_u8(f, next);
    frame_put_u8(f, 0);
    frame_put_be16(f, offset_bytes | more);
    frame_put_be32(f, id);
}

static inline void frame_tcp(struct frame *f, unsigned src_port, unsigned dst_port, uint32_t seq, unsigned flags,
                             uint32_t options)
{
    frame_put_be16(f, src_port);
    frame_put_be16(f, dst_port);
    frame_put_be32(f, seq);
    frame_put_be32(f, 0);
    frame_put_u8(f, (5 + options / 4) << 4);
    frame_put_u8(f, flags);
    frame_put_zeros(f, 6);
    memset(f->bytes + f->size, 1, options);
    f->size += options;
}

static inline void frame_udp(struct frame *f, unsigned src_port, unsigned dst_port)
{
    uint32_t start = f->size;
    frame_put_be16(f, src_port);
    frame_put_be16(f, dst_port);
    frame_put_length(f, start);
    frame_put_be16(f, 0);
}

/* An mbuf over `size` bytes at `bytes`, one segment. */
static inline struct rte_mbuf mbuf_of(const uint8_t *bytes, uint32_t size)
{
    struct rte_mbuf m;
    memset(&m, 0, sizeof m);
    m.buf_addr = (void *)(uintptr_t)bytes;
    m.buf_len = (uint16_t)size;
    m.data_len = (uint16_t)size;
    m.pkt_len = size;
    m.nb_segs = 1;
    return m;
}

/* Makes segments[0..count) a chain over the same bytes, cut at cuts[0..count-1). */
static inline void mbuf_chain(struct rte_mbuf *segments, uint32_t count, const uint8_t *bytes, uint32_t size,
                              const uint32_t *cuts)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t from = i ? cuts[i - 1] : 0, to = i + 1 < count ? cuts[i] : size;
        segments[i] = mbuf_of(bytes + from, to - from);
        segments[i].next = i + 1 < count ? &segments[i + 1] : NULL;
    }
    segments[0].nb_segs = (uint16_t)count;
    segments[0].pkt_len = size;
}

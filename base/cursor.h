/*
 * A bounded read cursor: the only way in which bytes from outside are read in OpenSCE.
 *
 * A read past the end returns 0 (or NULL) and clears `ok` for good, so a parser may read a whole header and test `ok` once
 * at the end. Nothing is copied; the bytes must outlive the cursor. Not thread-safe, meant to live on the stack.
 * Cost: one compare a read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const uint8_t *p;   /* next byte */
    const uint8_t *end; /* one past the last */
    bool ok;            /* false after the first read past the end */
};

static inline struct cursor cursor_of(const void *bytes, size_t size)
{
    const uint8_t *p = (const uint8_t *)bytes;
    return (struct cursor){.p = p, .end = p + size, .ok = true};
}

/* Bytes that are left; 0 once the cursor has failed. */
static inline size_t cursor_left(const struct cursor *c)
{
    return c->ok ? (size_t)(c->end - c->p) : 0;
}

/* Takes `size` bytes; NULL when there are fewer. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t size)
{
    if (!c->ok || cursor_left(c) < size) {
        c->ok = false;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += size;
    return p;
}

static inline bool cursor_skip(struct cursor *c, size_t size)
{
    return cursor_take(c, size) != NULL;
}

/* A cursor over the next `size` bytes, which are skipped in `c`; a failed one when there are fewer. */
static inline struct cursor cursor_sub(struct cursor *c, size_t size)
{
    const uint8_t *p = cursor_take(c, size);
    return (struct cursor){.p = p, .end = p ? p + size : NULL, .ok = p != NULL};
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);
    return p ? p[0] : 0;
}

static inline uint16_t cursor_be16(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 2);
    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t cursor_be24(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 3);
    return p ? (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2] : 0;
}

static inline uint32_t cursor_be32(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t cursor_be64(struct cursor *c)
{
    uint64_t high = cursor_be32(c);
    return high << 32 | cursor_be32(c);
}

static inline uint16_t cursor_le16(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 2);
    return p ? (uint16_t)(p[1] << 8 | p[0]) : 0;
}

static inline uint32_t cursor_le32(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 4);
    return p ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0] : 0;
}

/*
 * Prefix patterns, looked up by the payload's first byte and decided by a few set tests a byte. A pattern is written out as
 * rows of byte sets ("\x05\x64[\x05-\xff]."), alternatives and optional parts each in a row of its own, up to
 * PLAIN_MAX_ROWS; a set may be repeated ("[!-~]+ ") where what comes after it is not in it. Nearly all of a pack's prefixes
 * are nothing but that, and never reach Hyperscan. Of the others the rows say how they begin: Hyperscan is asked only about
 * payloads that begin so.
 *
 * Built by the control thread, then immutable; any thread may match. Cost: about 1 ns a row that may begin with that byte,
 * by a compare of eight bytes; 1 to 2 ns a byte where that agrees.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "classifier/pack.h"

#define PLAIN_MAX_BYTES 48u  /* of a row */
#define PLAIN_MAX_ROWS  256u /* of a pattern */
#define PLAIN_ANY_MORE  255u

/* Whether rows say all of the pattern. */
bool plain_fits(const char *regex);
/* And without repetitions: rows of a known length. */
bool plain_is_fixed(const char *regex);

#define PLAIN_HEAD_BYTES 8u

struct plain_row {
    uint16_t pattern;
    bool is_partial; /* the pattern begins so; the rest of it is for Hyperscan */
    bool repeats;    /* a set does */
    uint8_t length;  /* in sets: the fewest bytes */
    uint8_t fixed;   /* of them, those that stand at the offset of their own number */
    uint8_t test_count;
    uint8_t test_at[PLAIN_MAX_BYTES]; /* of these, what mask and value do not say, the narrowest first */
    uint64_t mask, value;             /* bits of the payload's first bytes (plain_head()) that it cannot do without */
    uint8_t key_at[2];                /* the two narrowest of these, looked at first */
    uint16_t sets[PLAIN_MAX_BYTES];   /* index of each byte's set */
    uint8_t more[PLAIN_MAX_BYTES];    /* how often that set may come again behind it; PLAIN_ANY_MORE: no limit */
};

/* A row in a list, with what mostly tells that it does not hold. */
struct plain_entry {
    uint64_t mask, value;
    uint32_t row;
    uint16_t pattern;
    uint8_t length;
    uint8_t is_more; /* there are tests, repetitions, or something for Hyperscan */
};

struct plain_table {
    uint8_t (*sets)[32]; /* a bit per byte value */
    struct plain_row *rows;
    uint32_t set_count, row_count;
    /* Rows that may begin with a byte: list[start[byte]] up to list[start[byte + 1]]. */
    struct {
        uint32_t start[257];
        struct plain_entry *list;
    } by_first[PACK_TRANSPORTS][PACK_SIDES];
};

/* `chains`: the patterns of rules with a chain of frames alone, else all others. */
void plain_build(struct plain_table *table, const struct pack *pack, bool chains);
void plain_free(struct plain_table *table);

/* The first bytes as a number, the first one lowest. */
static inline uint64_t plain_head(const uint8_t *bytes, uint32_t size)
{
    uint64_t head = 0;
    memcpy(&head, bytes, size < PLAIN_HEAD_BYTES ? size : PLAIN_HEAD_BYTES);
    return head;
}

static inline bool plain_has(const struct plain_table *t, uint16_t set, uint8_t byte)
{
    return t->sets[set][byte >> 3] >> (byte & 7) & 1;
}

/* What mask and value leave: whether the payload begins as the row does, up to its first repetition. */
static inline bool plain_passes(const struct plain_table *t, const struct plain_row *row, const uint8_t *bytes)
{
    for (unsigned i = 0; i < row->test_count; i++)
        if (!plain_has(t, row->sets[row->test_at[i]], bytes[row->test_at[i]]))
            return false;
    return true;
}

/* Of a payload that begins so: the rest. Each repetition takes all it can, what comes after it begins with another byte. */
static inline bool plain_goes_on(const struct plain_table *t, const struct plain_row *row, const uint8_t *bytes,
                                 uint32_t size)
{
    uint32_t at = row->fixed - 1u;
    for (unsigned i = at; i < row->length; i++) {
        if (at == size || !plain_has(t, row->sets[i], bytes[at++]))
            return false;
        uint32_t more = row->more[i] == PLAIN_ANY_MORE ? size : row->more[i];
        while (more && at < size && plain_has(t, row->sets[i], bytes[at])) {
            at++;
            more--;
        }
    }
    return true;
}

static inline bool plain_holds(const struct plain_table *t, const struct plain_row *row, const uint8_t *bytes,
                               uint32_t size)
{
    return size >= row->length && (plain_head(bytes, size) & row->mask) == row->value && plain_passes(t, row, bytes) &&
           (!row->repeats || plain_goes_on(t, row, bytes, size));
}

/*
 * Prefix patterns that are nothing but a row of byte sets ("\x05\x64[\x05-\xff]."), which most binary protocols need: they
 * are matched here, by a table of the payload's first byte and a few set tests, and never reach Hyperscan, whose anchored
 * automaton would grow to megabytes with them. Alternatives and optional parts are written out, up to PLAIN_MAX_ROWS rows.
 *
 * Built by the control thread, then immutable; any thread may match. Cost: about 3 ns a row that begins with that byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "classifier/pack.h"

#define PLAIN_MAX_BYTES 48u  /* of a row */
#define PLAIN_MAX_ROWS  128u /* of a pattern */

/* Whether the pattern can be written as such rows. */
bool plain_fits(const char *regex);

struct plain_row {
    uint16_t pattern;
    uint8_t length;
    uint8_t key_at[2];              /* offsets of its two narrowest sets, looked at first */
    uint16_t sets[PLAIN_MAX_BYTES]; /* index of each byte's set */
};

struct plain_table {
    uint8_t (*sets)[32]; /* a bit per byte value */
    struct plain_row *rows;
    uint32_t set_count, row_count;
    /* Rows that may begin with a byte: list[start[byte]] up to list[start[byte + 1]]. */
    struct {
        uint32_t start[257];
        uint16_t *list;
    } by_first[PACK_TRANSPORTS][PACK_SIDES];
};

/* `chains`: the patterns of rules with a chain of frames alone, else all others. */
void plain_build(struct plain_table *table, const struct pack *pack, bool chains);
void plain_free(struct plain_table *table);

static inline bool plain_has(const struct plain_table *t, const struct plain_row *row, unsigned at,
                             const uint8_t *bytes)
{
    return t->sets[row->sets[at]][bytes[at] >> 3] >> (bytes[at] & 7) & 1;
}

static inline bool plain_holds(const struct plain_table *t, const struct plain_row *row, const uint8_t *bytes,
                               uint32_t size)
{
    if (size < row->length || !plain_has(t, row, row->key_at[0], bytes) || !plain_has(t, row, row->key_at[1], bytes))
        return false;
    for (unsigned i = 0; i < row->length; i++)
        if (!plain_has(t, row, i, bytes))
            return false;
    return true;
}

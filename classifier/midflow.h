/*
 * TCP flows whose beginning was not seen. Messages need not begin where the first known byte stands, so two things differ
 * from flows seen whole: the ordinary signatures are tried at the begin of each segment, and signatures with a chain (frames
 * that say their own size and follow each other, docs/pack.md) are looked for at segment starts or, with `resync`, at every byte.
 *
 * A chain holds when `count` frames stand in a row; one that ends exactly where the bytes known so far end counts as one
 * more, since a sender that has said all hands its message over whole. A chain whose next frame has not come is kept, one a
 * direction, the longest.
 *
 * Worker thread. Cost: about 1 ns a new byte; every byte is looked at once.
 */
#pragma once

#include "classifier/classifier.h"

struct cl_engine;

#define MIDFLOW_SHORT_BYTES 64u /* a direction's bytes that may be the head of one message in several segments */

struct midflow_chain {
    uint16_t rule_plus_1; /* 0 = none is waited for */
    uint16_t next;        /* where its next frame begins, from the direction's first known byte */
    uint8_t frames, reserved;
};

/* Of a flow; all zero at the start. */
struct midflow {
    uint16_t begin[2]; /* [from_server] where the bytes begin that ordinary signatures and inspectors look at */
    uint16_t seen[2];  /* bytes that chains were looked for in */
    struct midflow_chain chain[2];
};

/* `packet` with all bytes of its direction. The rule whose chain holds, UINT16_MAX for none. */
uint16_t midflow_find(const struct cl_engine *engine, struct midflow *m, const struct cl_packet *packet);

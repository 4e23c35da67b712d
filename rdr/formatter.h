/*
 * The RDR formatter: encoded records in, by category; TCP connections to collectors out.
 *
 * Destinations have a priority per category; forwarding modes `redundancy` (default: all to the connected destination of
 * highest priority), `multicast` (to all that are connected; the slowest sets the pace), `simple_load_balancing` (one
 * record per connected destination in turn). One bounded queue of bytes per category: a full queue discards the newest
 * record and counts it, it never blocks; so does a category that no destination takes. A destination that is absent or
 * dies is tried again, by itself, from 1 s doubling to 30 s; the wait starts at 1 s again once records got through.
 *
 * RDRv1 has no acknowledgement, so a record is `sent` when the peer's TCP has acknowledged all of it, which does not say
 * that the collector stored it. Records given to the kernel whole and not acknowledged when a connection broke (SIOCOUTQ)
 * are `unconfirmed` and not sent again: they may have arrived. A record of which only a part was given to the kernel is
 * sent anew from its start. A peer that takes nothing for 30 s counts as dead.
 *
 * Memory: the queues, and 1.1 MiB a destination. Cost: a record is copied twice; one send() for up to 64 KiB of records.
 *
 * One thread at a time: the record thread. rdr_formatter_stats() from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdr/rdr.h"

#define RDR_CATEGORIES       4u
#define RDR_DESTINATIONS_MAX 8u
#define RDR_QUEUE_MIN_BYTES  (RDR_RECORD_MAX_BYTES + 2u) /* a queued record costs 2 bytes beyond its own */
#define RDR_QUEUE_MAX_BYTES  (1u << 30)

enum rdr_forwarding_mode { RDR_REDUNDANCY, RDR_MULTICAST, RDR_SIMPLE_LOAD_BALANCING };

struct rdr_destination_config {
    char host[256]; /* address or name */
    uint16_t port;
    uint8_t priority[RDR_CATEGORIES]; /* 1..100, 0 = not for this category */
};

struct rdr_formatter_config {
    enum rdr_forwarding_mode forwarding_mode;
    unsigned destination_count;
    struct rdr_destination_config destinations[RDR_DESTINATIONS_MAX];
    uint32_t queue_bytes[RDR_CATEGORIES]; /* default 8 MiB each */
};

/*
 * Counters of a record given to the formatter: queued now + sent + discarded + unconfirmed = given, for each category and
 * in sum; each is counted on its own. Exact between two calls of the record thread. With multicast a record counts once:
 * as sent when one destination's TCP acknowledged it; per destination each copy counts.
 */
struct rdr_formatter_stats {
    uint64_t given, sent, discarded, unconfirmed,
        queued;          /* queued: also given to the kernel and not yet acknowledged */
    uint64_t sent_bytes; /* given to the kernel */
    struct {
        bool connected;
        uint64_t sent, unconfirmed, connects, disconnects;
    } destination[RDR_DESTINATIONS_MAX];
    struct {
        uint64_t given, sent, discarded, unconfirmed, queued;
    } category[RDR_CATEGORIES];
};

struct rdr_formatter;

/* No destination; every destination's priority 100 for every category, so that host and port are all it lacks. */
void rdr_formatter_config_init(struct rdr_formatter_config *config);
/* NULL with what is wrong, and what would be right, in `error`. Opens no socket. */
struct rdr_formatter *rdr_formatter_create(const struct rdr_formatter_config *config, char *error, size_t error_size);
/*
 * Queues one encoded record for its category (1..4). 0, or -ENOBUFS when it was discarded (counted), or -EINVAL when category
 * or size cannot be (not counted). Never blocks, makes no system call.
 */
int rdr_formatter_put(struct rdr_formatter *formatter, uint8_t category, const uint8_t *record, uint32_t size_bytes);
/*
 * Connects, sends and reconnects as far as possible without blocking, waiting at most `wait_ms` for sockets. `now_ns` is any
 * clock that runs in real time. Resolving a destination's name is the one thing that can block.
 */
void rdr_formatter_poll(struct rdr_formatter *formatter, uint64_t now_ns, int wait_ms);
/*
 * Sends what is queued until all is out and acknowledged by the peers' TCP or `limit_ms` has passed; true when nothing is
 * left. For the end of a run.
 */
bool rdr_formatter_drain(struct rdr_formatter *formatter, uint64_t limit_ms);
void rdr_formatter_stats(const struct rdr_formatter *formatter, struct rdr_formatter_stats *ret_stats);
void rdr_formatter_destroy(struct rdr_formatter *formatter);

/*
 * The RDR formatter: encoded records in, by category; TCP connections to collectors out.
 *
 * Destinations have a priority per category; forwarding modes `redundancy` (default: all to the connected destination of
 * highest priority), `multicast`, `simple_load_balancing`. One bounded queue of bytes per category: a full queue discards
 * the newest record and counts it, it never blocks. A destination that is absent or dies is tried again, by itself, from
 * 1 s doubling to 30 s. RDRv1 has no acknowledgement: bytes that the peer's TCP had not acknowledged when a connection
 * broke (SIOCOUTQ) are counted as unconfirmed records, and a record of which a part was sent is sent anew from its start.
 *
 * One thread at a time: the record thread. rdr_formatter_stats() from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RDR_CATEGORIES       4u
#define RDR_DESTINATIONS_MAX 8u

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

/* Terminal counters of a record given to the formatter: queued now + sent + discarded + unconfirmed = given. */
struct rdr_formatter_stats {
    uint64_t given, sent, discarded, unconfirmed, queued;
    uint64_t sent_bytes;
    struct {
        bool connected;
        uint64_t sent, unconfirmed, connects, disconnects;
    } destination[RDR_DESTINATIONS_MAX];
    struct {
        uint64_t given, sent, discarded, queued;
    } category[RDR_CATEGORIES];
};

struct rdr_formatter;

void rdr_formatter_config_init(struct rdr_formatter_config *config);
struct rdr_formatter *rdr_formatter_create(const struct rdr_formatter_config *config, char *error, size_t error_size);
/* Queues one encoded record for its category (1..4). 0, or -ENOBUFS when it was discarded (counted). Never blocks. */
int rdr_formatter_put(struct rdr_formatter *formatter, uint8_t category, const uint8_t *record, uint32_t size_bytes);
/* Connects, sends and reconnects as far as possible without blocking, waiting at most `wait_ms` for sockets. */
void rdr_formatter_poll(struct rdr_formatter *formatter, uint64_t now_ns, int wait_ms);
/*
 * Sends what is queued until all is out and acknowledged by the peers' TCP or `limit_ms` has passed; true when nothing is
 * left. For the end of a run.
 */
bool rdr_formatter_drain(struct rdr_formatter *formatter, uint64_t limit_ms);
void rdr_formatter_stats(const struct rdr_formatter *formatter, struct rdr_formatter_stats *ret_stats);
void rdr_formatter_destroy(struct rdr_formatter *formatter);

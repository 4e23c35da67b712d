/*
 * The collector: listens for RDRv1, checks every record strictly, stores to SQLite and, if wished, CSV files.
 *
 * Any number of connections, one thread (libevent). Every byte is hostile: a connection with a malformed record is closed,
 * with the reason and the offset in the log; the records before it are stored, other connections go on. Records are
 * committed 1,000 at a time or 200 ms after they came. SIGTERM and SIGINT end rdr_collector_run() after what has arrived is
 * stored. When the store fails (disk full) the collector ends: it would only pretend to collect.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdr/rdr.h"
#include "rdr/store.h"

struct rdr_collector_config {
    const char *host; /* to listen on; name or address */
    uint16_t port;    /* 0 = any free one, see rdr_collector_port() */
    const char *db_path;
    const char *csv_folder; /* NULL = no CSV */
    const char *names_path; /* NULL = none; see rdr/names.h */
    bool is_once;           /* end when the last connection has closed, one at least */
    unsigned idle_exit_s;   /* end after this long without a record; 0 = never */
};

/* records = stored + doubles, unless the store failed. */
struct rdr_collector_totals {
    uint64_t connections, bytes, records;
    uint64_t refused[RDR_REFUSAL_COUNT]; /* connections closed for a malformed record, by reason */
    uint64_t refused_sum;                /* counted on its own */
    uint64_t truncated;                  /* connections that ended inside a record */
    struct rdr_store_totals store;
};

struct rdr_collector;

/* Opens store and socket. NULL with the reason and the way out in `error`. */
struct rdr_collector *rdr_collector_create(const struct rdr_collector_config *config, char *error, size_t error_size);
uint16_t rdr_collector_port(const struct rdr_collector *collector);
/* Until a signal, `is_once`, `idle_exit_s`, or a failure of the store: then -EIO with the reason in `error`. */
int rdr_collector_run(struct rdr_collector *collector, char *error, size_t error_size);
/* After the run: all records are flushed. */
void rdr_collector_totals(const struct rdr_collector *collector, struct rdr_collector_totals *ret_totals);
void rdr_collector_destroy(struct rdr_collector *collector);

/*
 * The collector's store: SQLite, one table per record (RPT_TUR ...), a column a field, types from the schema table.
 *
 * Columns: TIME_STAMP (when it came, UNIX seconds), RECORD_SOURCE (IPv4 address of the sender as a number, 0 for IPv6),
 * the fields in wire order, the fields that only the IPv6 layout has (NULL in the other), then HEADER_CREATOR, HEADER_EPOCH,
 * HEADER_INTERVAL, HEADER_UID_LOW. A string that is not UTF-8 is kept as a BLOB, byte for byte.
 * INI_VALUES holds names for numbers (rdr/names.h).
 *
 * A record is a double when one with its tag, its header ids (not all zero), its time and its addresses or counter is there:
 * counted, not stored. The ids alone would not do: 32 bits of uid come round, and an engine that is started anew, or a second
 * replay, may begin with them again.
 *
 * WAL, so that reports read while records come in. Records are in a transaction until rdr_store_flush(): what is lost in a
 * crash of the machine is the last batch. One thread. Cost: about 10 us a record.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "rdr/rdr.h"

struct rdr_store;

struct rdr_store_totals {
    uint64_t stored, doubles;
    uint64_t stored_by_schema[16]; /* as rdr_schemas() */
};

/* Opens or creates. NULL with the reason and the way out in `error`. */
struct rdr_store *rdr_store_open(const char *path, char *error, size_t error_size);
/* 1 stored with the next flush, 0 a double, -EIO (see rdr_store_error()). */
int rdr_store_add(struct rdr_store *store, const struct rdr_record *record, uint32_t source_ip, int64_t time_s);
/* Records that wait for a flush, doubles not counted. */
uint32_t rdr_store_pending(const struct rdr_store *store);
/* 0, or -EIO: the pending records are not stored. */
int rdr_store_flush(struct rdr_store *store);
const char *rdr_store_error(const struct rdr_store *store);
/* What was flushed. */
void rdr_store_totals(const struct rdr_store *store, struct rdr_store_totals *ret_totals);
/* Loads names (rdr/names.h) into INI_VALUES. Number of names, or -1 with the reason in `error`. */
int rdr_store_load_names(struct rdr_store *store, const char *path, char *error, size_t error_size);
/* Flushes and closes. */
void rdr_store_close(struct rdr_store *store);

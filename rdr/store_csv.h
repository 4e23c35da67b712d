/*
 * Records as CSV files in the layout of the original's collector: <dir>/<decimal tag>/<n>.csv, written as <n>.csv.tmp and
 * renamed when full (10,000 records) or after a minute, or at the end. A line: receive time in milliseconds since 1970, tag,
 * the sender's IPv4 address dotted (0.0.0.0 for IPv6), the fields in wire order; no header. IPv4 addresses in fields are
 * signed decimal integers, as older versions of the original print them. A string with a comma, a quote or a line break is
 * quoted as in RFC 4180, which the original is not known to do.
 *
 * n continues after the highest that is there, a .tmp that a crash left behind included. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "rdr/rdr.h"

struct rdr_csv;

/* Makes the folder. NULL with the reason in `error`. */
struct rdr_csv *rdr_csv_open(const char *folder, char *error, size_t error_size);
/* 0 or -EIO (see rdr_csv_error()). */
int rdr_csv_add(struct rdr_csv *csv, const struct rdr_record *record, uint32_t source_ip, uint64_t time_ms);
/* To the file system; finishes files that are a minute old. */
int rdr_csv_flush(struct rdr_csv *csv, uint64_t time_ms);
const char *rdr_csv_error(const struct rdr_csv *csv);
/* Finishes all files and frees. 0 or -EIO. */
int rdr_csv_close(struct rdr_csv *csv);

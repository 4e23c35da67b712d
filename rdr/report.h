/*
 * Reports on a collector's database, by SQL alone: who and what made the volume.
 *
 * Source: RPT_TUR and RPT_HTTP, which hold a flow's volume once (HTTP flows are in the one, all others in the other), or
 * RPT_TR on demand: it holds the same flows again, or a sample of them, and is never added to the former.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rdr_report_source { RDR_REPORT_TUR, RDR_REPORT_TR };

struct rdr_report_config {
    const char *db_path;
    const char *names_path; /* NULL = only the names in INI_VALUES; see rdr/names.h */
    enum rdr_report_source source;
    unsigned top;
};

/* What it is about: all records together. */
struct rdr_report_sum {
    uint64_t records, bytes_up, bytes_down;
    int64_t first_report_time, last_report_time; /* UNIX seconds */
    uint64_t other_records;                      /* in the tables that were not read */
};

struct rdr_report_row {
    const char *by;   /* "service", "protocol", "subscriber", "host" */
    unsigned rank;    /* from 1 */
    const char *name; /* any bytes */
    size_t name_bytes;
    int64_t id; /* of service or protocol, else 0 */
    bool has_id;
    uint64_t records, bytes_up, bytes_down;
    double share; /* of all bytes, 0..1 */
};

struct rdr_report;

/* NULL with the reason and the way out in `error`. The database is opened read-only, a collector may be writing. */
struct rdr_report *rdr_report_open(const struct rdr_report_config *config, char *error, size_t error_size);
/* 0 or -EIO with the reason in `error`. */
int rdr_report_sum(struct rdr_report *report, struct rdr_report_sum *ret_sum, char *error, size_t error_size);
/* Calls `on_row` for each row, by sections in the order of `by` above, in each by falling volume. 0 or -EIO. */
int rdr_report_rows(struct rdr_report *report, void (*on_row)(const struct rdr_report_row *row, void *context),
                    void *context, char *error, size_t error_size);
void rdr_report_close(struct rdr_report *report);

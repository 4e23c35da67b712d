/*
 * Names for the numbers in records. Records carry SERVICE_ID and PROTOCOL_ID; the original's console pushed the names to the
 * collector, into the table INI_VALUES, which ours has too: time_stamp, se_ip, value_type, value_key (the name), value (the
 * number). The numbers of value_type are ours.
 *
 * The file is what `sce protocols --json` prints: one object a line, of which "id" and "name" name a protocol, and
 * "service_id" and "service", when both are there, a service. Other members are ignored.
 */
#pragma once

#include <sqlite3.h>
#include <stddef.h>

enum rdr_name_type { RDR_NAME_SERVICE = 1, RDR_NAME_PROTOCOL = 2 };

#define RDR_NAMES_COLUMNS                                                                                              \
    "(time_stamp INTEGER NOT NULL, se_ip TEXT NOT NULL, value_type INTEGER NOT NULL, value_key TEXT NOT NULL,"         \
    " value INTEGER NOT NULL, UNIQUE (se_ip, value_type, value))"

/* Loads `path` into `table`, replacing. Number of lines, or -1 with file:line and reason in `error`: nothing is loaded then. */
int rdr_names_load(sqlite3 *db, const char *table, const char *path, char *error, size_t error_size);

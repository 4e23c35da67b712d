/*
 * Rows and columns that are printed as a table for people or as JSON lines for programs, from the same cells.
 *
 * A column is written once: key (JSON and configuration say it the same way), title, kind. Texts may come from the network: in a
 * table a byte that is no printable part of valid UTF-8 becomes "?", so that no flow can write to an operator's terminal.
 * Not thread-safe. Memory grows by doubling; running out of it ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum table_kind {
    TABLE_TEXT,   /* left; JSON string */
    TABLE_NUMBER, /* right; JSON number */
    TABLE_BYTES,  /* right, "1.2 MB"; JSON number of bytes */
    TABLE_SWITCH, /* "yes", "no"; JSON true, false */
};

struct table_column {
    const char *key;
    const char *title;
    enum table_kind kind;
    unsigned width_max; /* of texts, longer ones are cut in the table; 0 = no limit */
};

struct table_cell {
    char *text; /* TABLE_TEXT */
    uint64_t number;
    bool is_none; /* nothing to say: "-" and null */
};

struct table {
    const struct table_column *columns; /* end with .key = NULL */
    unsigned column_count;
    struct table_cell *cells; /* row by row */
    size_t cell_count, capacity;
};

void table_init(struct table *table, const struct table_column *columns);
void table_free(struct table *table);

/* The next cell of the current row; a full row is followed by the next. The kind must be the column's. */
void table_text(struct table *table, const char *text);
void table_number(struct table *table, uint64_t number); /* also TABLE_BYTES */
void table_switch(struct table *table, bool on);
void table_none(struct table *table);

size_t table_row_count(const struct table *table);
/* Title line, rows. */
void table_print(const struct table *table, FILE *out);
/* One row a block, "title  value" a line, an empty line between rows: for wide rows. */
void table_print_upright(const struct table *table, FILE *out);
/* One JSON object a row; `event` is its first member unless NULL. */
void table_print_json(const struct table *table, const char *event, FILE *out);

/* "0", "999", "1.2 kB", "18.4 EB": 1000 a step. */
void table_format_bytes(uint64_t bytes, char *ret_text, size_t size);

#include "base/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define CELL_TEXT_BYTES 512u /* of a cell as printed */
#define GAP             2

void table_init(struct table *table, const struct table_column *columns)
{
    *table = (struct table){.columns = columns};
    while (columns[table->column_count].key)
        table->column_count++;
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct table){0};
}

static struct table_cell *next_cell(struct table *table)
{
    if (table->cell_count == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->cells = realloc(table->cells, table->capacity * sizeof *table->cells);
        if (!table->cells)
            abort();
    }
    struct table_cell *cell = &table->cells[table->cell_count++];
    *cell = (struct table_cell){0};
    return cell;
}

void table_text(struct table *table, const char *text)
{
    struct table_cell *cell = next_cell(table);
    cell->text = strdup(text);
    if (!cell->text)
        abort();
}

void table_number(struct table *table, uint64_t number)
{
    next_cell(table)->number = number;
}

void table_switch(struct table *table, bool on)
{
    next_cell(table)->number = on;
}

void table_none(struct table *table)
{
    next_cell(table)->is_none = true;
}

size_t table_row_count(const struct table *table)
{
    return table->cell_count / table->column_count;
}

void table_format_bytes(uint64_t bytes, char *ret_text, size_t size)
{
    static const char units[] = "kMGTPE";
    if (bytes < 1000) {
        snprintf(ret_text, size, "%" PRIu64, bytes);
        return;
    }
    unsigned unit = 0;
    uint64_t divisor = 1000;
    /* 999,950 is 1.0 MB, not 1000.0 kB */
    while (unit < sizeof units - 2 && bytes >= divisor * 1000 - divisor / 20) {
        divisor *= 1000;
        unit++;
    }
    uint64_t tenths = bytes / (divisor / 10);
    if (bytes % (divisor / 10) >= divisor / 20)
        tenths++;
    snprintf(ret_text, size, "%" PRIu64 ".%" PRIu64 " %cB", tenths / 10, tenths % 10, units[unit]);
}

/* ---- texts ---- */

/* Bytes of the printable character at p: UTF-8 without control characters; 0 when there is none. */
static size_t printable_bytes(const unsigned char *p)
{
    if (p[0] >= 0x20 && p[0] < 0x7f)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* U+0080 to U+009F are control characters; U+200E to U+202E turn the direction of writing, so do U+2066 to U+2069 */
    if (length == 2 && p[0] == 0xc2 && p[1] < 0xa0)
        return 0;
    if (length == 3 && p[0] == 0xe2 &&
        ((p[1] == 0x80 && p[2] >= 0x8e && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6)))
        return 0;
    return length;
}

/* At most `width_max` characters; returns how many. */
static unsigned copy_printable(const char *text, unsigned width_max, char *buffer, size_t size)
{
    unsigned width = 0;
    size_t used = 0;
    const unsigned char *p = (const unsigned char *)text;
    while (*p && used + 5 < size) {
        size_t length = printable_bytes(p);
        if (width_max && width + 1 == width_max && p[length ? length : 1]) {
            buffer[used++] = '~';
            width++;
            break;
        }
        if (length)
            memcpy(buffer + used, p, length);
        else
            buffer[used] = '?';
        used += length ? length : 1;
        p += length ? length : 1;
        width++;
    }
    buffer[used] = 0;
    return width;
}

/* The cell as printed; returns its width in characters. */
static unsigned format(const struct table_column *column, const struct table_cell *cell, char *buffer, size_t size)
{
    if (cell->is_none) {
        snprintf(buffer, size, "-");
        return 1;
    }
    switch (column->kind) {
    case TABLE_TEXT:
        return copy_printable(cell->text, column->width_max, buffer, size);
    case TABLE_NUMBER:
        return (unsigned)snprintf(buffer, size, "%" PRIu64, cell->number);
    case TABLE_BYTES:
        table_format_bytes(cell->number, buffer, size);
        return (unsigned)strlen(buffer);
    case TABLE_SWITCH:
        return (unsigned)snprintf(buffer, size, "%s", cell->number ? "yes" : "no");
    }
    return 0;
}

static bool is_right(const struct table_column *column)
{
    return column->kind == TABLE_NUMBER || column->kind == TABLE_BYTES;
}

/* ---- printing ---- */

static void print_padded(const char *text, unsigned width, unsigned field, bool right, bool last, FILE *out)
{
    if (right)
        fprintf(out, "%*s%s", (int)(field - width), "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : (int)(field - width), "");
    fprintf(out, "%*s", last ? 0 : GAP, "");
}

void table_print(const struct table *table, FILE *out)
{
    char buffer[CELL_TEXT_BYTES];
    unsigned *widths = calloc(table->column_count, sizeof *widths);
    size_t rows = table_row_count(table);
    if (!widths)
        abort();
    for (unsigned c = 0; c < table->column_count; c++) {
        widths[c] = (unsigned)strlen(table->columns[c].title);
        for (size_t r = 0; r < rows; r++) {
            unsigned width =
                format(&table->columns[c], &table->cells[r * table->column_count + c], buffer, sizeof buffer);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (unsigned c = 0; c < table->column_count; c++) {
        const char *title = table->columns[c].title;
        print_padded(title, (unsigned)strlen(title), widths[c], is_right(&table->columns[c]),
                     c + 1 == table->column_count, out);
    }
    fputs("\n", out);
    for (size_t r = 0; r < rows; r++) {
        for (unsigned c = 0; c < table->column_count; c++) {
            unsigned width =
                format(&table->columns[c], &table->cells[r * table->column_count + c], buffer, sizeof buffer);
            print_padded(buffer, width, widths[c], is_right(&table->columns[c]), c + 1 == table->column_count, out);
        }
        fputs("\n", out);
    }
    free(widths);
}

void table_print_upright(const struct table *table, FILE *out)
{
    char buffer[CELL_TEXT_BYTES];
    size_t widest = 0;
    for (unsigned c = 0; c < table->column_count; c++)
        if (strlen(table->columns[c].title) > widest)
            widest = strlen(table->columns[c].title);
    for (size_t r = 0; r < table_row_count(table); r++) {
        if (r)
            fputs("\n", out);
        for (unsigned c = 0; c < table->column_count; c++) {
            format(&table->columns[c], &table->cells[r * table->column_count + c], buffer, sizeof buffer);
            fprintf(out, "%-*s  %s\n", (int)widest, table->columns[c].title, buffer);
        }
    }
}

void table_print_json(const struct table *table, const char *event, FILE *out)
{
    struct json j;
    json_init(&j);
    for (size_t r = 0; r < table_row_count(table); r++) {
        json_object_begin(&j, NULL);
        if (event)
            json_text(&j, "event", event);
        for (unsigned c = 0; c < table->column_count; c++) {
            const struct table_column *column = &table->columns[c];
            const struct table_cell *cell = &table->cells[r * table->column_count + c];
            if (cell->is_none)
                json_none(&j, column->key);
            else if (column->kind == TABLE_TEXT)
                json_text(&j, column->key, cell->text);
            else if (column->kind == TABLE_SWITCH)
                json_bool(&j, column->key, cell->number != 0);
            else
                json_u64(&j, column->key, cell->number);
        }
        json_object_end(&j);
        json_line(&j, out);
    }
    json_free(&j);
}

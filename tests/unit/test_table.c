#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"

static const struct table_column columns[] = {
    {"name", "NAME", TABLE_TEXT, 8},
    {"packets", "PACKETS", TABLE_NUMBER, 0},
    {"bytes", "BYTES", TABLE_BYTES, 0},
    {"up", "UP", TABLE_SWITCH, 0},
    {.key = NULL},
};

static void fill(struct table *table)
{
    table_init(table, columns);
    table_text(table, "a");
    table_number(table, 7);
    table_number(table, 1234567);
    table_switch(table, true);
    table_text(table, "longer than eight");
    table_number(table, 18446744073709551615u);
    table_number(table, 0);
    table_switch(table, false);
    table_text(table, "exactly8");
    for (unsigned i = 0; i < 3; i++)
        table_none(table);
}

static void expect_text(void (*print)(const struct table *, FILE *), const char *expected)
{
    struct table table;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fill(&table);
    cr_expect_eq(table_row_count(&table), 3);
    print(&table, out);
    fclose(out);
    cr_expect_str_eq(text, expected);
    free(text);
    table_free(&table);
}

static void print_json(const struct table *table, FILE *out)
{
    table_print_json(table, "row", out);
}

Test(table, people_and_programs_get_the_same_cells)
{
    expect_text(table_print, "NAME                   PACKETS   BYTES  UP\n"
                             "a                            7  1.2 MB  yes\n"
                             "longer ~  18446744073709551615       0  no\n"
                             "exactly8                     -       -  -\n");
    expect_text(print_json, "{\"event\":\"row\",\"name\":\"a\",\"packets\":7,\"bytes\":1234567,\"up\":true}\n"
                            "{\"event\":\"row\",\"name\":\"longer than eight\",\"packets\":18446744073709551615,"
                            "\"bytes\":0,\"up\":false}\n"
                            "{\"event\":\"row\",\"name\":\"exactly8\",\"packets\":null,\"bytes\":null,\"up\":null}\n");
    expect_text(table_print_upright, "NAME     a\nPACKETS  7\nBYTES    1.2 MB\nUP       yes\n\n"
                                     "NAME     longer ~\nPACKETS  18446744073709551615\nBYTES    0\nUP       no\n\n"
                                     "NAME     exactly8\nPACKETS  -\nBYTES    -\nUP       -\n");
}

Test(table, no_text_reaches_the_terminal_as_a_command)
{
    static const struct table_column one[] = {{"t", "T", TABLE_TEXT, 0}, {.key = NULL}};
    static const struct {
        const char *text, *printed;
    } cases[] = {
        {"\033[2J", "?[2J"},
        {"a\nb\tc\x7f", "a?b?c?"},
        {"\xc2\x9b"
         "1m",
         "??1m"},
        {"\xff\xfe", "??"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8d", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x8d"},
        {"\xe2\x80\xae"
         "x",
         "???x"},
        {"cut \xe2\x82", "cut ??"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct table table;
        char *text = NULL, expected[64];
        size_t size;
        FILE *out = open_memstream(&text, &size);
        table_init(&table, one);
        table_text(&table, cases[i].text);
        table_print(&table, out);
        fclose(out);
        snprintf(expected, sizeof expected, "T\n%s\n", cases[i].printed);
        cr_expect_str_eq(text, expected, "case %u", i);
        free(text);
        table_free(&table);
    }
}

Test(table, wide_characters_keep_columns_in_line)
{
    static const struct table_column two[] = {{"t", "T", TABLE_TEXT, 3}, {"n", "N", TABLE_NUMBER, 0}, {.key = NULL}};
    struct table table;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    table_init(&table, two);
    table_text(&table, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    table_number(&table, 1);
    table_text(&table, "abc");
    table_number(&table, 2);
    table_print(&table, out);
    fclose(out);
    cr_expect_str_eq(text, "T    N\n\xc3\xa9\xc3\xa9~  1\nabc  2\n");
    free(text);
    table_free(&table);
}

Test(table, bytes_in_steps_of_thousand)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0"},           {999, "999"},           {1000, "1.0 kB"},
                 {1949, "1.9 kB"},   {1950, "2.0 kB"},       {999949, "999.9 kB"},
                 {999950, "1.0 MB"}, {4294967296, "4.3 GB"}, {UINT64_MAX, "18.4 EB"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[16];
        table_format_bytes(cases[i].bytes, text, sizeof text);
        cr_expect_str_eq(text, cases[i].text);
    }
}

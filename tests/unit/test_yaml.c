#include <criterion/criterion.h>
#include <string.h>

#include "base/yaml.h"

static const char *const colours[] = {"red", "green", NULL};
static const struct yml_key keys[] = {
    {.name = "name", .type = YML_TYPE_STRING, .required = true},
    {.name = "idle_timeout", .type = YML_TYPE_U64, .min = 1, .max = 3600, .expected = "a number of seconds"},
    {.name = "enabled", .type = YML_TYPE_BOOL},
    {.name = "colour", .type = YML_TYPE_CHOICE, .choices = colours},
    {.name = "hosts", .type = YML_TYPE_STRINGS},
    {.name = "links", .type = YML_TYPE_LIST},
    {.name = "port", .type = YML_TYPE_MAP},
    {.name = NULL},
};

static bool check(const char *text, struct yml_error *error)
{
    struct yml_node *root = yml_read_memory("f.yaml", text, strlen(text), error);
    bool ok = root && yml_check_map(root, keys, "a thing", error);
    yml_free(root);
    return ok;
}

Test(yaml, each_error_names_its_place_and_what_was_expected)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"name: a\nidle_timeout: soon\n", "f.yaml:2:15: idle_timeout: \"soon\", expected a number of seconds"},
        {"name: a\nidle_timeout: 0\n", "f.yaml:2:15: idle_timeout: 0, expected a number of seconds from 1 to 3600"},
        {"name: a\nidle_timeout: 010\n", "f.yaml:2:15: idle_timeout: \"010\", expected a number of seconds"},
        {"name: a\nidle_timeout: -1\n", "f.yaml:2:15: idle_timeout: \"-1\", expected a number of seconds"},
        {"name: a\nidle_timeout: \"5\"\n", "f.yaml:2:15: idle_timeout: \"5\", expected a number of seconds"},
        {"name: a\nidle_timeout: 18446744073709551616\n",
         "f.yaml:2:15: idle_timeout: \"18446744073709551616\", expected a number of seconds"},
        {"name: a\nenabled: yes\n", "f.yaml:2:10: enabled: \"yes\", expected true or false"},
        {"name: a\nidle_timout: 5\n",
         "f.yaml:2:1: \"idle_timout\" is no key of a thing, did you mean \"idle_timeout\"?"},
        {"name: a\nzzzzzzzz: 5\n", "f.yaml:2:1: \"zzzzzzzz\" is no key of a thing"},
        {"enabled: true\n", "f.yaml:1:1: a thing without \"name\", expected the key"},
        {"name: a\nname: b\n", "f.yaml:2:1: \"name\" a second time, the first is at line 1"},
        {"name: &x a\n", "f.yaml:1:7: an anchor (&), expected a value written out"},
        {"name: *x\n", "f.yaml:1:7: an alias (*), expected a value written out"},
        {"name: !!str a\n", "f.yaml:1:7: a tag (!), expected a value without one"},
        {"name: a\nhosts: &y [a]\n", "f.yaml:2:8: an anchor (&), expected a value written out"},
        {"name:\n", "f.yaml:1:6: name: nothing, expected a text"},
        {"name: a\ncolour: gren\n",
         "f.yaml:2:9: colour: \"gren\", expected one of red, green (did you mean \"green\"?)"},
        {"name: a\nhosts: [b, [c]]\n", "f.yaml:2:12: a list, expected a text"},
        {"name: a\nlinks: b\n", "f.yaml:2:8: links: \"b\", expected a list"},
        {"name: a\nport: 3\n", "f.yaml:2:7: port: \"3\", expected a map of keys"},
        {"- a\n", "f.yaml:1:1: a list, expected a thing"},
        {"", "f.yaml:1:1: nothing in the file, expected keys and values"},
        {"name: a\n---\nname: b\n", "f.yaml:2:1: a second document, expected one a file"},
        {"name: \"a\\0b\"\n", "f.yaml:1:7: a zero byte inside a text"},
        {"[a]: b\n", "f.yaml:1:1: expected a key"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct yml_error error = {{0}};
        cr_expect_not(check(cases[i].text, &error), "case %u passed", i);
        cr_expect_str_eq(error.text, cases[i].error, "case %u: %s", i, error.text);
    }
}

Test(yaml, broken_syntax_names_line_and_column)
{
    struct yml_error error = {{0}};
    cr_assert_not(check("name: a\n  b: [c\nd", &error));
    cr_assert_eq(strncmp(error.text, "f.yaml:2:", 9), 0, "%s", error.text);
    cr_assert_not(check("name: \xff\n", &error));
    cr_assert_eq(strncmp(error.text, "f.yaml:1:", 9), 0, "%s", error.text);
}

Test(yaml, values_are_read_back)
{
    const char *text = "name: \"x y\"\nidle_timeout: 0x10\nenabled: true\ncolour: green\nhosts: [a, b]\n";
    struct yml_error error;
    struct yml_node *root = yml_read_memory("f", text, strlen(text), &error);
    cr_assert(root && yml_check_map(root, keys, "a thing", &error));
    cr_assert_str_eq(yml_get_string(root, "name", ""), "x y");
    cr_assert_eq(yml_get_u64(root, "idle_timeout", 0), 16);
    cr_assert(yml_get_bool(root, "enabled", false));
    cr_assert_eq(yml_get_choice(root, "colour", colours, 9), 1);
    const struct yml_node *hosts = yml_get(root, "hosts");
    cr_assert_eq(hosts->length, 2);
    cr_assert_str_eq(hosts->first->next->text, "b");
    cr_assert_eq(hosts->first->next->column, 12);
    cr_assert_null(yml_get(root, "links"));
    cr_assert_eq(yml_get_u64(root, "absent", 7), 7);
    yml_free(root);
}

Test(yaml, depth_is_bounded)
{
    char text[200] = "name: ";
    memset(text + strlen(text), '[', 40);
    struct yml_error error;
    cr_assert_not(check(text, &error));
    cr_assert(strstr(error.text, "nested too deep"), "%s", error.text);
}

Test(yaml, a_file_that_is_not_there_is_named)
{
    struct yml_error error;
    cr_assert_null(yml_read_file("/nonexistent/x.yaml", &error));
    cr_assert_str_eq(error.text, "/nonexistent/x.yaml:1:1: cannot be read: No such file or directory");
}

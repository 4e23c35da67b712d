#include <criterion/criterion.h>

#include "base/cursor.h"
#include "base/json.h"

Test(cursor, reads_past_the_end_give_zero_and_stay_failed)
{
    uint8_t bytes[] = {1, 2, 3};
    struct cursor c = cursor_of(bytes, sizeof bytes);
    cr_assert_eq(cursor_be16(&c), 0x0102);
    cr_assert_eq(cursor_be16(&c), 0);
    cr_assert_not(c.ok);
    cr_assert_eq(cursor_u8(&c), 0, "the third byte must not be read after a failure");
    cr_assert_eq(cursor_left(&c), 0);
}

Test(cursor, sub_cursor_is_bounded_by_its_parent)
{
    uint8_t bytes[] = {1, 2, 3, 4};
    struct cursor c = cursor_of(bytes, sizeof bytes);
    struct cursor sub = cursor_sub(&c, 2);
    cr_assert_eq(cursor_be16(&sub), 0x0102);
    cr_assert_eq(cursor_left(&sub), 0);
    cr_assert_eq(cursor_be16(&c), 0x0304);
    sub = cursor_sub(&c, 1);
    cr_assert_not(sub.ok);
    cr_assert_not(c.ok);
}

Test(json, nests_and_escapes)
{
    struct json j;
    json_init(&j);
    json_object_begin(&j, NULL);
    json_text(&j, "a", "x\"\\\n\xff\xc3\xa9");
    json_array_begin(&j, "b");
    json_u64(&j, NULL, 1);
    json_i64(&j, NULL, -2);
    json_array_end(&j);
    json_time_ns(&j, "t", 1123456789123u);
    json_object_end(&j);
    cr_assert_str_eq(j.text, "{\"a\":\"x\\\"\\\\\\u000a\\u00ff\xc3\xa9\",\"b\":[1,-2],\"t\":1123.456789}");
    json_free(&j);
}

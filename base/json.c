#include "base/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void json_reserve(struct json *j, size_t more_bytes)
{
    if (j->size_bytes + more_bytes + 1 <= j->capacity_bytes)
        return;
    size_t capacity = j->capacity_bytes ? j->capacity_bytes : 256;
    while (capacity < j->size_bytes + more_bytes + 1)
        capacity *= 2;
    char *text = realloc(j->text, capacity);
    if (!text)
        abort();
    j->text = text;
    j->capacity_bytes = capacity;
}

static void json_append(struct json *j, const char *text, size_t size_bytes)
{
    json_reserve(j, size_bytes);
    memcpy(j->text + j->size_bytes, text, size_bytes);
    j->size_bytes += size_bytes;
    j->text[j->size_bytes] = 0;
}

__attribute__((format(printf, 2, 3))) static void json_printf(struct json *j, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_append(j, text, n < 0 ? 0 : (size_t)n);
}

void json_init(struct json *j)
{
    memset(j, 0, sizeof *j);
    json_reserve(j, 1);
    j->text[0] = 0;
}

void json_free(struct json *j)
{
    free(j->text);
    memset(j, 0, sizeof *j);
}

void json_reset(struct json *j)
{
    j->size_bytes = 0;
    j->depth = 0;
    j->has_members = 0;
    j->text[0] = 0;
}

/* Length of the valid UTF-8 sequence at p, or 0: RFC 3629 table, no surrogates, no overlong forms. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (!length || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

static void json_quoted(struct json *j, const void *bytes, size_t size_bytes)
{
    const uint8_t *p = bytes;
    json_append(j, "\"", 1);
    for (size_t i = 0; i < size_bytes;) {
        size_t length = utf8_length(p + i, size_bytes - i);
        if (p[i] == '"' || p[i] == '\\')
            json_printf(j, "\\%c", p[i]);
        else if (p[i] < 0x20 || p[i] == 0x7f || !length)
            json_printf(j, "\\u%04x", p[i]);
        else
            json_append(j, (const char *)p + i, length);
        i += length ? length : 1;
    }
    json_append(j, "\"", 1);
}

static void json_lead(struct json *j, const char *key)
{
    if (j->has_members & 1u << j->depth)
        json_append(j, ",", 1);
    j->has_members |= 1u << j->depth;
    if (key) {
        json_quoted(j, key, strlen(key));
        json_append(j, ":", 1);
    }
}

static void json_open(struct json *j, const char *key, const char *bracket)
{
    json_lead(j, key);
    json_append(j, bracket, 1);
    if (++j->depth >= 32)
        abort();
    j->has_members &= ~(1u << j->depth);
}

void json_object_begin(struct json *j, const char *key)
{
    json_open(j, key, "{");
}

void json_array_begin(struct json *j, const char *key)
{
    json_open(j, key, "[");
}

void json_object_end(struct json *j)
{
    j->depth--;
    json_append(j, "}", 1);
}

void json_array_end(struct json *j)
{
    j->depth--;
    json_append(j, "]", 1);
}

void json_bytes(struct json *j, const char *key, const void *bytes, size_t size_bytes)
{
    json_lead(j, key);
    json_quoted(j, bytes, size_bytes);
}

void json_text(struct json *j, const char *key, const char *value)
{
    json_bytes(j, key, value, strlen(value));
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
    json_lead(j, key);
    json_printf(j, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
    json_lead(j, key);
    json_printf(j, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    json_lead(j, key);
    json_append(j, value ? "true" : "false", value ? 4 : 5);
}

void json_none(struct json *j, const char *key)
{
    json_lead(j, key);
    json_append(j, "null", 4);
}

void json_decimal(struct json *j, const char *key, double value, unsigned decimals)
{
    json_lead(j, key);
    json_printf(j, "%.*f", (int)decimals, value);
}

void json_time_ns(struct json *j, const char *key, uint64_t time_ns)
{
    json_lead(j, key);
    json_printf(j, "%" PRIu64 ".%06" PRIu64, time_ns / 1000000000u, time_ns % 1000000000u / 1000u);
}

void json_line(struct json *j, FILE *out)
{
    json_append(j, "\n", 1);
    fwrite(j->text, 1, j->size_bytes, out);
    json_reset(j);
}

/*
 * A JSON writer that appends to a growing buffer: objects and arrays by begin/end, commas by itself, strings escaped so
 * that the output is valid UTF-8 whatever the bytes (a byte that is not part of valid UTF-8 becomes \u00XX).
 *
 * One writer per thread. Memory grows by doubling; on allocation failure the process ends (control path only, never in a
 * stage). Depth at most 32.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    char *text; /* NUL terminated after every call */
    size_t size_bytes, capacity_bytes;
    uint32_t depth;
    uint32_t has_members; /* bit per depth: a comma is due */
};

void json_init(struct json *j);
void json_free(struct json *j);
/* Forgets the text, keeps the memory. */
void json_reset(struct json *j);

/* `key` NULL inside an array or at the top. */
void json_object_begin(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array_begin(struct json *j, const char *key);
void json_array_end(struct json *j);
/* Not named json_string(): jansson exports that name, and a program may use both. */
void json_text(struct json *j, const char *key, const char *value);
void json_bytes(struct json *j, const char *key, const void *bytes, size_t size_bytes);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
/* null; jansson has json_none(). */
void json_none(struct json *j, const char *key);
/* Fixed number of decimals, no exponent. */
void json_decimal(struct json *j, const char *key, double value, unsigned decimals);
/* A time in nanoseconds as seconds with six decimals, exactly. */
void json_time_ns(struct json *j, const char *key, uint64_t time_ns);
/* Writes the text and a newline to `out`, then resets. */
void json_line(struct json *j, FILE *out);

/* The older name, where jansson is not included. */
#ifndef JANSSON_H
#define json_string json_text
#endif

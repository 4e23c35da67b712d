/*
 * Small helpers that the inspectors share: names of hosts as they stand in `info`, and comparing text of either case.
 * Any thread; nothing is kept.
 */
#pragma once

#include "classifier/classifier.h"

static inline uint8_t text_lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

/* `word` is in lower case. */
static inline bool text_is(const uint8_t *bytes, size_t size, const char *word, size_t word_size)
{
    if (size != word_size)
        return false;
    for (size_t i = 0; i < size; i++)
        if (text_lower(bytes[i]) != (uint8_t)word[i])
            return false;
    return true;
}

static inline bool text_starts(const uint8_t *bytes, size_t size, const char *word, size_t word_size)
{
    return size >= word_size && text_is(bytes, word_size, word, word_size);
}

/* Sets the host in lower case; nothing is set when it holds a control byte or is longer than a name may be. */
static inline void text_set_name(struct cl_info *info, const uint8_t *bytes, size_t size)
{
    uint8_t name[CL_TEXT_MAX_BYTES];
    if (!size || size > sizeof(name) || info->size_bytes[CL_TEXT_host])
        return;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < ' ' || bytes[i] == 0x7f)
            return;
        name[i] = text_lower(bytes[i]);
    }
    cl_info_set(info, CL_TEXT_host, name, size);
}

/* The same for a host as a URL or TLS writes it: ASCII without blanks; the final dot of a full name is left out. */
static inline void text_set_host(struct cl_info *info, const uint8_t *bytes, size_t size)
{
    if (size > 1 && bytes[size - 1] == '.')
        size--;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f)
            return;
    text_set_name(info, bytes, size);
}

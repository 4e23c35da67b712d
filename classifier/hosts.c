#include "classifier/hosts.h"

#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"

struct cl_host_slot {
    const char *suffix; /* NULL = free */
    uint32_t hash, size;
    cl_protocol application;
};

#define HASH_START 2166136261u
#define HASH_PRIME 16777619u

static uint8_t lower(char c)
{
    return (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static uint32_t add_byte(uint32_t hash, uint8_t byte)
{
    return (hash ^ byte) * HASH_PRIME;
}

/* The multiplication leaves the low bits weak, and names that differ in their last bytes close to each other. */
static uint32_t finish(uint32_t hash)
{
    hash = (hash ^ hash >> 15) * 0x85ebca6bu;
    return hash ^ hash >> 13;
}

void cl_hosts_build(struct cl_hosts *hosts, const struct pack_host *list, uint32_t count)
{
    uint32_t size = 16;
    while (size < count * 4)
        size *= 2;
    hosts->mask = size - 1;
    hosts->slots = calloc(size, sizeof *hosts->slots);
    if (!hosts->slots)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        uint32_t hash = HASH_START, length = (uint32_t)strlen(list[i].suffix);
        for (uint32_t n = length; n > 0; n--)
            hash = add_byte(hash, (uint8_t)list[i].suffix[n - 1]);
        hash = finish(hash);
        uint32_t slot = hash & hosts->mask;
        while (hosts->slots[slot].suffix)
            slot = (slot + 1) & hosts->mask;
        hosts->slots[slot] = (struct cl_host_slot){list[i].suffix, hash, length, list[i].application};
    }
}

void cl_hosts_free(struct cl_hosts *hosts)
{
    free(hosts->slots);
    hosts->slots = NULL;
}

static cl_protocol find_suffix(const struct cl_hosts *hosts, uint32_t hash, const char *text, size_t size)
{
    for (uint32_t slot = hash & hosts->mask; hosts->slots[slot].suffix; slot = (slot + 1) & hosts->mask) {
        const struct cl_host_slot *s = &hosts->slots[slot];
        if (s->hash != hash || s->size != size)
            continue;
        size_t i = 0;
        while (i < size && lower(text[i]) == (uint8_t)s->suffix[i])
            i++;
        if (i == size)
            return s->application;
    }
    return 0;
}

static size_t without_port(const char *host, size_t size)
{
    size_t n = size;
    while (n > 0 && host[n - 1] >= '0' && host[n - 1] <= '9')
        n--;
    if (n > 0 && n < size && host[n - 1] == ':')
        size = n - 1;
    return size > 0 && host[size - 1] == '.' ? size - 1 : size;
}

cl_protocol cl_hosts_find(const struct cl_hosts *hosts, const char *host, size_t size)
{
    size = without_port(host, size);
    uint32_t hash = HASH_START;
    cl_protocol longest = 0;
    for (size_t start = size; start > 0; start--) {
        hash = add_byte(hash, lower(host[start - 1]));
        if (start > 1 && host[start - 2] != '.')
            continue;
        cl_protocol found = find_suffix(hosts, finish(hash), host + start - 1, size - start + 1);
        longest = found ? found : longest;
    }
    return longest;
}

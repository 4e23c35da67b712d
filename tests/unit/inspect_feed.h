/*
 * Feeds hand-made messages to one inspector, as the engine would: a flow's state and texts over several calls. Every packet is
 * handed in as a heap block of exactly its size, so that a sanitizer sees each read beyond it.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/inspect.h"

struct feed {
    const struct cl_inspector *inspector;
    void *scratch;
    uint64_t state[CL_INSPECT_STATE_BYTES / 8];
    struct cl_info info;
    struct cl_inspect_result result; /* of the last call */
    enum cl_inspect_step step;       /* of the last call */
    struct cl_packet packet;         /* ports, protocol ...: set before the first call */
};

static inline const struct cl_inspector *feed_find(const char *name)
{
    for (size_t i = 0; cl_inspectors[i]; i++)
        if (strcmp(cl_inspectors[i]->name, name) == 0)
            return cl_inspectors[i];
    cr_assert_fail("no inspector %s", name);
    return NULL;
}

static inline struct feed feed_of(const char *name, uint8_t ip_proto)
{
    struct feed f = {.inspector = feed_find(name), .packet = {.ip_proto = ip_proto}};
    if (f.inspector->scratch_create)
        f.scratch = f.inspector->scratch_create();
    return f;
}

static inline void feed_end(struct feed *f)
{
    if (f->inspector->scratch_free)
        f->inspector->scratch_free(f->scratch);
    f->scratch = NULL;
}

/* A new flow with the same scratch, ports and protocol. */
static inline void feed_restart(struct feed *f)
{
    memset(f->state, 0, sizeof(f->state));
    memset(&f->info, 0, sizeof(f->info));
    f->step = CL_INSPECT_REJECTED;
    memset(f->packet.payload_packets, 0, sizeof(f->packet.payload_packets));
}

static inline enum cl_inspect_step feed_bytes(struct feed *f, bool from_server, const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    memcpy(copy, bytes, size);
    f->packet.bytes = copy;
    f->packet.size_bytes = (uint32_t)size;
    f->packet.from_server = from_server;
    f->packet.payload_packets[from_server]++;
    memset(&f->result, 0, sizeof(f->result));
    f->step = f->inspector->inspect(f->scratch, f->state, &f->packet, &f->info, &f->result);
    free(copy);
    return f->step;
}

static inline enum cl_inspect_step feed_text(struct feed *f, bool from_server, const char *text)
{
    return feed_bytes(f, from_server, text, strlen(text));
}

static inline void feed_expect(const struct feed *f, enum cl_text text, const char *expected)
{
    cr_expect(f->info.size_bytes[text] == strlen(expected) &&
                  memcmp(f->info.text[text], expected, strlen(expected)) == 0,
              "%s is \"%.*s\", not \"%s\"", cl_text_name(text), f->info.size_bytes[text], f->info.text[text], expected);
}

/*
 * A stream that is taken whole must be taken the same in two segments cut anywhere, and no beginning of it may be refused. The
 * direction is read as `from_server`; the flow is left as the whole stream left it.
 */
static inline void feed_every_split(struct feed *f, bool from_server, const void *bytes, size_t size)
{
    feed_restart(f);
    enum cl_inspect_step whole = feed_bytes(f, from_server, bytes, size);
    struct feed reference = *f;
    cr_assert(whole >= CL_INSPECT_CONFIRMED, "refused, or no verdict (%d)", whole);
    for (size_t cut = 1; cut < size; cut++) {
        feed_restart(f);
        enum cl_inspect_step first = feed_bytes(f, from_server, bytes, cut);
        cr_assert(first != CL_INSPECT_REJECTED, "refused after %zu of %zu bytes", cut, size);
        if (first != CL_INSPECT_DONE)
            feed_bytes(f, from_server, bytes, size);
        cr_assert(f->step == whole, "cut at %zu: step %d, not %d", cut, f->step, whole);
        cr_assert(f->result.application == reference.result.application, "cut at %zu: another application", cut);
        cr_assert(f->result.protocol == reference.result.protocol, "cut at %zu: another protocol", cut);
        cr_assert(memcmp(&f->info, &reference.info, sizeof(f->info)) == 0, "cut at %zu: other texts", cut);
    }
    *f = reference;
}

/* Bytes of hand-made messages, appended. */
struct message {
    uint8_t bytes[16384];
    size_t size;
};

static inline void put(struct message *m, const void *bytes, size_t size)
{
    cr_assert(m->size + size <= sizeof(m->bytes));
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

/* The low `size` bytes of `value`, the highest first. */
static inline void put_be(struct message *m, uint64_t value, unsigned size)
{
    while (size--) {
        uint8_t byte = (uint8_t)(value >> (8 * size));
        put(m, &byte, 1);
    }
}

static inline void put_fill(struct message *m, uint8_t byte, size_t size)
{
    while (size--)
        put(m, &byte, 1);
}

/* A field of `size_bytes` that counts what follows: opened here ... */
static inline size_t open_size(struct message *m, unsigned size_bytes)
{
    put_be(m, 0, size_bytes);
    return m->size;
}

/* ... and filled in when it is closed. */
static inline void close_size(struct message *m, size_t start, unsigned size_bytes)
{
    size_t value = m->size - start;
    for (unsigned i = 0; i < size_bytes; i++)
        m->bytes[start - 1 - i] = (uint8_t)(value >> (8 * i));
}

static inline void put_extension(struct message *m, uint16_t type, const struct message *body)
{
    put_be(m, type, 2);
    put_be(m, body->size, 2);
    put(m, body->bytes, body->size);
}

static inline void put_server_name(struct message *m, const char *host)
{
    struct message body = {.size = 0};
    size_t list = open_size(&body, 2);
    put_be(&body, 0, 1);
    put_be(&body, strlen(host), 2);
    put(&body, host, strlen(host));
    close_size(&body, list, 2);
    put_extension(m, 0, &body);
}

static inline void put_alpn(struct message *m, const char *first, const char *second)
{
    struct message body = {.size = 0};
    size_t list = open_size(&body, 2);
    put_be(&body, strlen(first), 1);
    put(&body, first, strlen(first));
    put_be(&body, strlen(second), 1);
    put(&body, second, strlen(second));
    close_size(&body, list, 2);
    put_extension(m, 16, &body);
}

struct hello {
    uint16_t version;
    const char *host, *alpn; /* NULL = without */
    size_t padding_bytes;    /* of an extension in front of the others */
    bool dtls, without_extensions;
};

/* The body of a ClientHello. */
static inline void put_client_hello(struct message *m, const struct hello *h)
{
    put_be(m, h->version, 2);
    put_fill(m, 0x5a, 32);
    put_be(m, 32, 1);
    put_fill(m, 0xa5, 32);
    if (h->dtls)
        put_be(m, 0, 1);
    put(m, "\0\4\x13\1\x13\2", 6);
    put(m, "\1\0", 2);
    if (h->without_extensions)
        return;
    size_t extensions = open_size(m, 2);
    if (h->padding_bytes) {
        struct message padding = {.size = 0};
        put_fill(&padding, 0, h->padding_bytes);
        put_extension(m, 21, &padding);
    }
    if (h->host)
        put_server_name(m, h->host);
    if (h->alpn)
        put_alpn(m, h->alpn, "http/1.1");
    close_size(m, extensions, 2);
}

/*
 * The engine: any sequence of payloads, both directions, must end in a verdict of the pack within the budget. The input is
 * a run of packets: a byte of flags (side, transport, beginning not seen), two bytes of ports' low halves, one of length.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "classifier/classifier.h"

#define STREAM_BYTES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct cl_engine *engine;
static struct cl_worker *worker;

static void start(void)
{
    char error[512];
    struct cl_options options;
    cl_options_init(&options);
    options.ja4 = true;
    engine = cl_engine_load(&options, error, sizeof error);
    worker = engine ? cl_worker_create(engine) : NULL;
    if (!worker)
        abort();
}

/* A TCP direction's bytes so far, in memory of exactly that size so that a read past them is seen. */
static const uint8_t *view_of(const uint8_t *stream, size_t size, uint8_t **ret_copy)
{
    *ret_copy = malloc(size);
    memcpy(*ret_copy, stream, size);
    return *ret_copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t stream[2][STREAM_BYTES];
    size_t stream_bytes[2] = {0, 0};
    struct cl_state state = {{0}};
    struct cl_verdict verdict = {0};
    struct cl_info info;
    memset(&info, 0, sizeof info);
    if (!engine)
        start();
    struct cursor c = cursor_of(bytes, size);
    uint8_t flags = cursor_u8(&c);
    struct cl_packet p = {.ip_proto = flags & 2 ? 17 : 6, .started_before = flags & 4};
    p.client_port = cursor_be16(&c);
    p.server_port = cursor_be16(&c);
    enum cl_step step = CL_UNDECIDED;
    for (unsigned n = 0; n < 40 && step != CL_DONE; n++) {
        uint8_t side = cursor_u8(&c) & 1;
        size_t length = cursor_u8(&c) * 4u;
        if (length > cursor_left(&c))
            length = cursor_left(&c);
        const uint8_t *payload = cursor_take(&c, length);
        if (!length || !payload || stream_bytes[side] + length > STREAM_BYTES)
            return 0;
        if (p.ip_proto == 17)
            stream_bytes[side] = 0;
        memcpy(stream[side] + stream_bytes[side], payload, length);
        stream_bytes[side] += length;
        uint8_t *copy;
        p.bytes = view_of(stream[side], stream_bytes[side], &copy);
        p.size_bytes = (uint32_t)stream_bytes[side];
        p.from_server = side;
        p.payload_packets[side]++;
        step = cl_inspect(worker, &state, &p, &verdict, &info);
        free(copy);
        if (step != CL_UNDECIDED && !cl_protocol_get(engine, verdict.protocol)->name[0])
            abort(); /* a verdict names something */
        if (n >= 16 && step == CL_UNDECIDED)
            abort(); /* the budget holds */
    }
    return 0;
}

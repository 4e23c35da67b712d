/*
 * cl_announce: whatever a control flow says, by each of its readers. The first byte is the protocol, the second the side and the
 * transport, four bytes are the sender's address, the rest is the payload.
 */
#include <stdlib.h>
#include <string.h>

#include "classifier/announcers.h"
#include "classifier/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const struct {
    const char *name;
    announcer *read;
} readers[] = {{"ftp", announce_ftp}, {"sdp", announce_sdp},   {"rtsp", announce_rtsp},    {"tftp", announce_tftp},
               {"dns", announce_dns}, {"h323", announce_h323}, {"iperf3", announce_iperf3}};

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* One host that every name ends in, so that answers are read. */
static struct cl_engine *engine_of_one_host(void)
{
    struct cl_engine *engine = calloc(1, sizeof *engine);
    static struct pack_host host = {.suffix = (char *)(uintptr_t) "a", .application = 1};
    check(engine);
    cl_hosts_build(&engine->hosts, &host, 1);
    return engine;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct cl_engine *engine;
    if (!engine)
        engine = engine_of_one_host();
    if (size < 6 + ANNOUNCE_MIN_BYTES || size > 65536)
        return 0;
    uint8_t *payload = malloc(size - 6); /* exactly its size: a read beyond is seen */
    check(payload);
    memcpy(payload, bytes + 6, size - 6);
    struct cl_announcement list[CL_ANNOUNCEMENTS_MAX];
    struct cl_sender sender = {.address = bytes + 2};
    struct announced out = {.engine = engine, .sender = &sender, .list = list};
    struct cl_packet packet = {.bytes = payload,
                               .size_bytes = (uint32_t)(size - 6),
                               .from_server = bytes[1] & 1,
                               .ip_proto = bytes[1] & 2 ? 6 : 17,
                               .client_port = 40000,
                               .server_port = 69};
    cl_may_announce(packet.ip_proto, packet.bytes, packet.size_bytes);
    readers[bytes[0] % (sizeof readers / sizeof *readers)].read(&packet, &out);
    check(out.count <= CL_ANNOUNCEMENTS_MAX);
    for (unsigned i = 0; i < out.count; i++) {
        struct cl_verdict verdict;
        check(list[i].kind < CL_ANNOUNCED_COUNT && list[i].whose <= CL_OF_ANOTHER && list[i].lifetime_s &&
              list[i].lifetime_s <= CL_ANNOUNCED_LIFETIME_MAX_S &&
              (list[i].port != 0) != (list[i].kind == CL_ANNOUNCED_name));
        cl_expected(engine, (enum cl_announced)list[i].kind, payload, packet.size_bytes, &verdict);
    }
    free(payload);
    return 0;
}

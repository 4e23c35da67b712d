/*
 * Datagrams as they are; or, with the first bit of the settings, frames that are sealed here: what no chance would get past the
 * tag. Two ids take turns, as after a Retry.
 */
#include "../unit/quic_seal.h"
#include "fuzz_inspect.h"

extern const struct cl_inspector cl_inspector_quic;

static const struct quic_seal_version seal_version = {
    1, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic key", "quic iv", "quic hp", 0xc3, ""};
static const char *const ids[2] = {"first id", "second 1"};

static void fuzz_sealed(const uint8_t *bytes, size_t size)
{
    static void *scratch;
    static struct quic_seal_keys keys[2];
    struct fuzz_flow flow = {0};
    struct cl_packet packet = {.ip_proto = 17};
    uint8_t sealed[9000];
    if (!scratch) {
        scratch = cl_inspector_quic.scratch_create();
        for (unsigned i = 0; i < 2; i++)
            keys[i] = quic_seal_keys_of(&seal_version, ids[i]);
    }
    for (uint32_t i = 0; size > 2 && i < 16; i++) {
        size_t length = (size_t)(bytes[0] & 0x3f) << 8 | bytes[1];
        unsigned keys_of = bytes[0] >> 7, id = bytes[0] >> 6 & 1;
        bytes += 2;
        size -= 2;
        length = length > 2 && length < size ? length : size;
        if (length < 3 || length > sizeof(sealed) - QUIC_SEAL_OVERHEAD_BYTES)
            return;
        size_t sealed_size = quic_seal(&seal_version, &keys[keys_of], ids[id], i, bytes, length, sealed);
        enum cl_inspect_step step = fuzz_packet(&cl_inspector_quic, scratch, &flow, packet, sealed, sealed_size);
        fuzz_check(step == CL_INSPECT_CONFIRMED || step == CL_INSPECT_DONE);
        if (step == CL_INSPECT_DONE)
            memset(&flow, 0, sizeof(flow));
        bytes += length;
        size -= length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > 1 && bytes[0] & 0x80) {
        fuzz_sealed(bytes + 1, size - 1);
        return 0;
    }
    return fuzz_inspect(&cl_inspector_quic, 17, 443, bytes, size);
}

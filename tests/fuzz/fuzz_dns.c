#include "fuzz_inspect.h"

extern const struct cl_inspector cl_inspector_dns;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    /* The first bit of the settings chooses the transport, ports those whose messages share the format. */
    return fuzz_inspect(&cl_inspector_dns, size && bytes[0] & 0x80 ? 17 : 6, 5353, bytes, size);
}

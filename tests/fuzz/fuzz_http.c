#include "fuzz_inspect.h"

extern const struct cl_inspector cl_inspector_http;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    /* The first bit of the settings chooses between HTTP and SSDP, which reads single datagrams. */
    return fuzz_inspect(&cl_inspector_http, size && bytes[0] & 0x80 ? 17 : 6, 1900, bytes, size);
}

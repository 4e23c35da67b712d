#include "fuzz_inspect.h"

extern const struct cl_inspector cl_inspector_quic;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    return fuzz_inspect(&cl_inspector_quic, 17, 443, bytes, size);
}

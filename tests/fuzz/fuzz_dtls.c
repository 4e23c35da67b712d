#include "fuzz_inspect.h"

extern const struct cl_inspector cl_inspector_dtls;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    return fuzz_inspect(&cl_inspector_dtls, 17, 443, bytes, size);
}

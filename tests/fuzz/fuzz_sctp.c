/* dp_sctp_message: what it finds lies within the packet. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/sctp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct dp_sctp_message message;
    uint8_t *copy = malloc(size ? size : 1); /* exactly its size: a read beyond is seen */
    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    if (dp_sctp_message(copy, (uint32_t)size, &message) && (message.bytes < copy || message.bytes > copy + size ||
                                                            message.size_bytes > (size_t)(copy + size - message.bytes)))
        abort();
    free(copy);
    return 0;
}

/* The compiled pack's decoder, behind its digest: the input is a body, to which a right head is put. */
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint8_t *file = malloc(48 + size);
    memcpy(file, "OPENSCEP\x01\x00\x00\x00", 12);
    for (unsigned i = 0; i < 4; i++)
        file[12 + i] = (uint8_t)(size >> 8 * i);
    SHA256(bytes, size, file + 16);
    memcpy(file + 48, bytes, size);
    char error[512] = "";
    struct pack_databases databases;
    struct pack *pack = pack_file_decode("fuzz", file, 48 + size, &databases, error, sizeof error);
    if (!pack && !error[0])
        abort(); /* a refusal says why */
    if (pack) {
        size_t text_bytes;
        free(pack_text(pack, &text_bytes));
        pack_databases_free(&databases);
        pack_free(pack);
    }
    free(file);
    return 0;
}

/*
 * Any bytes as a stream of records, as a collector meets them. What is accepted must come out of the encoder as the same
 * bytes, but for the two types that PACKAGE_ID may have on the wire.
 */
#include <stdlib.h>
#include <string.h>

#include "rdr/rdr.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t again[RDR_RECORD_MAX_BYTES];
    while (size) {
        struct rdr_record record;
        enum rdr_refusal refusal = RDR_ACCEPTED;
        unsigned field = 0, range_field = 0;
        int taken = rdr_decode(bytes, size, &record, &refusal, &field);
        if (taken <= 0) {
            if (taken < 0 && (refusal == RDR_ACCEPTED || refusal >= RDR_REFUSAL_COUNT))
                abort();
            break;
        }
        int encoded = rdr_encode(record.schema, record.processor_id, &record.ids, record.values, again, sizeof again,
                                 &range_field);
        if (encoded < 0) {
            if (!record.schema->fields[range_field].other_type)
                abort();
        } else if (encoded != taken) {
            abort();
        } else {
            for (int i = 0; i < taken; i++)
                if (again[i] != bytes[i] && bytes[i] != RDR_UINT16)
                    abort();
        }
        bytes += taken;
        size -= (size_t)taken;
    }
    return 0;
}

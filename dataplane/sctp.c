#include "dataplane/sctp.h"

#include "base/cursor.h"

#define CHUNK_DATA        0u
#define CHUNK_I_DATA      64u /* interleaved: the message's number behind the stream's */
#define CHUNK_BEGINNING   0x02u
#define CHUNKS_MAX        64u
#define CHUNK_HEAD_BYTES  4u
#define DATA_HEAD_BYTES   16u
#define I_DATA_HEAD_BYTES 20u

bool dp_sctp_message(const uint8_t *bytes, uint32_t size_bytes, struct dp_sctp_message *ret_message)
{
    struct cursor c = cursor_of(bytes, size_bytes);
    for (unsigned i = 0; i < CHUNKS_MAX; i++) {
        struct cursor chunk = c;
        uint8_t type = cursor_u8(&chunk), flags = cursor_u8(&chunk);
        uint32_t length = cursor_be16(&chunk);
        if (!chunk.ok || length < CHUNK_HEAD_BYTES)
            return false;
        uint32_t head = type == CHUNK_DATA ? DATA_HEAD_BYTES : type == CHUNK_I_DATA ? I_DATA_HEAD_BYTES : 0;
        if (head && length >= head && flags & CHUNK_BEGINNING) {
            cursor_skip(&chunk, head - CHUNK_HEAD_BYTES - 4);
            ret_message->ppid = cursor_be32(&chunk);
            if (!chunk.ok)
                return false;
            uint32_t left = (uint32_t)cursor_left(&chunk), want = length - head;
            ret_message->bytes = chunk.p;
            ret_message->size_bytes = want < left ? want : left;
            return true;
        }
        if (!cursor_skip(&c, (length + 3u) & ~3u))
            return false;
    }
    return false;
}

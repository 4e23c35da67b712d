/*
 * SSH's identification line (RFC 4253 4.2): "SSH-protoversion-softwareversion SP comments CR LF", from both sides. A server may
 * send other lines before it; those are believed on SSH's port only, since many protocols open with lines.
 */
#include "base/cursor.h"
#include "classifier/inspect.h"

#define SSH_PORT                  22
#define SSH_LINE_MAX_BYTES        255u
#define SSH_VERSION_MAX_BYTES     8u
#define SSH_LINES_BEFORE_MAX      64u
#define SSH_BANNER_WAIT_MAX_BYTES 4096u

struct ssh_state {
    bool confirmed;
};

static bool is_line(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] < ' ' && bytes[i] != '\t' && bytes[i] != '\r')
            return false;
    return true;
}

/* `c` stands at "SSH-"; the line may still be without its end. */
static enum cl_inspect_step read_identification(struct cursor c, const struct cl_packet *packet, struct cl_info *info)
{
    size_t left = cursor_left(&c);
    size_t there = left < SSH_LINE_MAX_BYTES ? left : SSH_LINE_MAX_BYTES;
    const uint8_t *line = c.p, *end = memchr(line, '\n', there), *zero = memchr(line, 0, there);
    if (zero && (!end || zero < end)) /* one vendor's servers fill their line up with zeros */
        end = zero;
    size_t size = end ? (size_t)(end - line) : there;
    while (end && size && line[size - 1] == '\r')
        size--;
    if (!is_line(line, size) || (!end && left >= SSH_LINE_MAX_BYTES))
        return CL_INSPECT_REJECTED;
    /* protoversion: digits and dots up to the next dash */
    size_t version = 4, at = version;
    while (at < size && ((line[at] >= '0' && line[at] <= '9') || line[at] == '.'))
        at++;
    if (at - version > SSH_VERSION_MAX_BYTES || (at < size && (line[at] != '-' || at == version)))
        return CL_INSPECT_REJECTED;
    if (at == size)
        return end ? CL_INSPECT_REJECTED : CL_INSPECT_MORE;
    if (!end)
        return CL_INSPECT_CONFIRMED;
    char text[4 + SSH_LINE_MAX_BYTES] = "SSH ";
    memcpy(text + 4, line + version, at - version);
    cl_info_set(info, CL_TEXT_version, text, 4 + at - version);
    if (!packet->from_server)
        return CL_INSPECT_CONFIRMED;
    cl_info_set(info, CL_TEXT_server, line + at + 1, size - at - 1);
    return CL_INSPECT_DONE;
}

static enum cl_inspect_step read_stream(const struct cl_packet *packet, struct cl_info *info)
{
    struct cursor c = cursor_of(packet->bytes, packet->size_bytes);
    for (unsigned lines = 0; lines <= SSH_LINES_BEFORE_MAX; lines++) {
        size_t left = cursor_left(&c);
        if (!left)
            break;
        if (memcmp(c.p, "SSH-", left < 4 ? left : 4) == 0)
            return left < 4 ? CL_INSPECT_MORE : read_identification(c, packet, info);
        if (!packet->from_server || packet->server_port != SSH_PORT)
            return CL_INSPECT_REJECTED;
        const uint8_t *end = memchr(c.p, '\n', left);
        if (!is_line(c.p, end ? (size_t)(end - c.p) : left))
            return CL_INSPECT_REJECTED;
        if (!end)
            break;
        cursor_skip(&c, (size_t)(end - c.p) + 1);
    }
    return packet->size_bytes < SSH_BANNER_WAIT_MAX_BYTES ? CL_INSPECT_MORE : CL_INSPECT_REJECTED;
}

static enum cl_inspect_step inspect_ssh(void *scratch, void *state_bytes, const struct cl_packet *packet,
                                        struct cl_info *info, struct cl_inspect_result *result)
{
    struct ssh_state *state = (struct ssh_state *)state_bytes;
    (void)scratch;
    (void)result;
    enum cl_inspect_step step = read_stream(packet, info);
    if (step == CL_INSPECT_CONFIRMED)
        state->confirmed = true;
    /* The server's line is all that is still wanted. */
    if (state->confirmed && step < CL_INSPECT_CONFIRMED)
        return packet->from_server ? (step == CL_INSPECT_REJECTED ? CL_INSPECT_DONE : CL_INSPECT_CONFIRMED)
                                   : CL_INSPECT_CONFIRMED;
    return step;
}

const struct cl_inspector cl_inspector_ssh = {.name = "ssh", .inspect = inspect_ssh};

/*
 * Finds the first message that a packet of SCTP begins (RFC 9260 3.3.1, RFC 8260 2.1): its payload protocol identifier and its bytes.
 * Any thread, no state; linear in the chunks' headers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dp_sctp_message {
    uint32_t ppid;
    const uint8_t *bytes; /* in what was handed in */
    uint32_t size_bytes;  /* that are there */
};

/* `bytes` begin behind the common header. False: no chunk begins a message. */
bool dp_sctp_message(const uint8_t *bytes, uint32_t size_bytes, struct dp_sctp_message *ret_message);

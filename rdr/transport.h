/*
 * Non-blocking TCP as the formatter needs it: connect, send, what the peer has not acknowledged, is the peer still there.
 * Errors are negative errno values. The record thread only. No signals (MSG_NOSIGNAL).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Begins a connection; the socket, or a negative errno. A name is resolved here, which may block for as long as the
 * resolver takes; its addresses are tried in turn with `attempt`. A peer that takes nothing for `timeout_ms` is given up
 * by the kernel (TCP_USER_TIMEOUT).
 */
int rdr_transport_connect(const char *host, uint16_t port, unsigned attempt, unsigned timeout_ms);
/* After the socket became writable: 0, or why the connection failed. */
int rdr_transport_connect_result(int fd);
/* Bytes taken by the kernel, perhaps 0; or a negative errno when the connection is dead. */
int rdr_transport_send(int fd, const uint8_t *bytes, size_t size);
/* Bytes given to the kernel that the peer's TCP has not acknowledged; holds also on a broken connection. */
uint32_t rdr_transport_unacknowledged_bytes(int fd);
/* Takes and forgets what the peer says, which RDRv1 has no meaning for; a negative errno when the peer has gone. */
int rdr_transport_discard_input(int fd);

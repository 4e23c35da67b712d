/*
 * JA4, the fingerprint of a TLS client's hello (FoxIO's public description, technical_details/JA4.md): 36 characters, of which
 * the first ten can be read: t, q or d for TCP, QUIC, DTLS; the version offered; d when a host is named, else i; how many
 * cipher suites and extensions; first and last character of the first ALPN value. Then hashes of the sorted cipher suites and
 * of the sorted extensions with the signature algorithms as they came. GREASE values (RFC 8701) do not count anywhere.
 *
 * Worker thread. No memory but the stack. Cost: linear in the message but for sorting at most JA4_MAX_VALUES numbers; about
 * a microsecond, most of it two SHA-256.
 */
#pragma once

#include <stdbool.h>

#include "base/cursor.h"
#include "classifier/classifier.h"

#define JA4_BYTES      36u
#define JA4_MAX_VALUES 128u /* cipher suites, extensions, algorithms each; a hello of more has no fingerprint */

/* `c` is the whole body of a ClientHello, from its version on. False when it is cut or too long. */
bool ja4_of_hello(struct cursor c, bool dtls, char ret_text[JA4_BYTES]);
/* The form of one: 10 letters or digits, and twice 12 hex digits, with _ between. */
bool ja4_is_text(const char *text);

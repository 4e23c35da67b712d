/*
 * The hello messages of TLS (RFC 8446 4.1, RFC 6066 3, RFC 7301; older versions alike), for TLS over TCP, DTLS and the
 * CRYPTO stream of QUIC. Reads what there is: texts are set as soon as their extension is whole, so a message of which the
 * first part is there serves too. Nothing is copied but the texts. Worker thread. Cost: linear in the message.
 */
#pragma once

#include "base/cursor.h"
#include "classifier/inspect.h"

enum tls_message { TLS_CLIENT_HELLO = 1, TLS_SERVER_HELLO = 2, TLS_HELLO_VERIFY_REQUEST = 3 };

enum tls_hello {
    TLS_HELLO_BAD,   /* not a hello */
    TLS_HELLO_SHORT, /* a hello so far, the rest is to come */
    TLS_HELLO_WHOLE,
};

/*
 * `c` stands behind the header of the handshake message and ends where the known bytes end or the message ends; `whole` says
 * that it is the latter. Reads host (the outer name when there is an encrypted one), alpn and the application that ALPN tells.
 */
enum tls_hello tls_read_client_hello(struct cursor c, bool whole, bool dtls, struct cl_info *info,
                                     struct cl_inspect_result *result);

/* The same for the server's: the version that was chosen; also a hello retry request. */
enum tls_hello tls_read_server_hello(struct cursor c, bool whole, struct cl_info *info);

/* "TLS 1.3" for 0x0304 and its drafts ...; NULL for what is no version. */
const char *tls_version_name(uint16_t version);

/*
 * The control session of a cascade: messages between the two engines over TCP and TLS 1.3, with a pre-shared key or with
 * certificates of one authority; anything else is refused. One side listens (the primary), the other connects, again and
 * again.
 *
 * A message is {type u8, length u24 of the body, body}. What they mean is the caller's; this file knows connections only.
 * There is one peer at a time: a new connection whose handshake succeeds replaces the old one, as a peer that restarted
 * comes back before its old connection is known to be dead.
 *
 * Back-pressure: cascade_session_send() refuses a message that does not fit the send buffer; nothing is dropped.
 *
 * One thread calls all of this. Nothing blocks but cascade_session_poll(), for as long as it is told.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CASCADE_MESSAGE_MAX_BYTES (1u << 18) /* of a body */
#define CASCADE_SEND_BUFFER_BYTES (1u << 22)
#define CASCADE_SECRET_MIN_BYTES  16u

struct cascade_session_config {
    bool listens;
    char address[64]; /* to listen on, or of the peer; numeric */
    uint16_t port;
    /* Either the file of the secret, which both have ... */
    char secret_path[256];
    /* ... or this engine's certificate and key and the authority that signed the peer's, PEM files. */
    char certificate_path[256], key_path[256], authority_path[256];
    uint32_t reconnect_ms_min, reconnect_ms_max; /* drawn between the two; 0, 0: 50 to 2,050 */
    uint32_t handshake_ms_max;                   /* 0: 3,000 */
};

/* Why a connection ended or did not come to be; names as in JSON and metrics. */
#define CASCADE_SESSION_ENDS(X)                                                                                        \
    X(none, "no connection yet")                                                                                       \
    X(unreachable, "the peer cannot be reached")                                                                       \
    X(handshake_timeout, "the TLS handshake was not finished in time")                                                 \
    X(handshake_refused, "the TLS handshake failed: the secret or the certificate is another, or this is no TLS")      \
    X(closed_by_peer, "the peer closed the connection")                                                                \
    X(broken, "the connection broke")                                                                                  \
    X(bad_message, "a message longer than is followed")                                                                \
    X(closed_here, "closed by this engine")                                                                            \
    X(replaced, "the peer connected anew")
enum cascade_session_end {
#define X(name, text) CASCADE_SESSION_END_##name,
    CASCADE_SESSION_ENDS(X)
#undef X
        CASCADE_SESSION_END_COUNT
};
const char *cascade_session_end_name(enum cascade_session_end end);
const char *cascade_session_end_text(enum cascade_session_end end);

struct cascade_session_stats {
    uint64_t sessions; /* handshakes that succeeded */
    uint64_t ends[CASCADE_SESSION_END_COUNT];
    uint64_t messages_sent, messages_received, bytes_sent, bytes_received;
    uint64_t send_refused; /* messages that found the send buffer full */
};

/* All on the thread of cascade_session_poll(). A handler may send and close. */
struct cascade_session_handlers {
    void (*opened)(void *context);
    void (*message)(void *context, uint8_t type, const uint8_t *body, size_t size_bytes);
    void (*closed)(void *context, enum cascade_session_end end, const char *detail);
    void *context;
};

struct cascade_session;

/* NULL with the reason in `error`: a file that cannot be read (named), a secret that is too short, a port in use. */
struct cascade_session *cascade_session_create(const struct cascade_session_config *config,
                                               const struct cascade_session_handlers *handlers, char *error,
                                               size_t error_size);
void cascade_session_destroy(struct cascade_session *session);

/* Sends, receives, connects, accepts; waits at most `timeout_ms` for something to do, or until cascade_session_wake(). */
void cascade_session_poll(struct cascade_session *session, int timeout_ms);
/* Ends a wait. Any thread. */
void cascade_session_wake(struct cascade_session *session);
bool cascade_session_is_open(const struct cascade_session *session);
/* False when the session is not open or its buffer has no room: nothing of the message is sent then. */
bool cascade_session_send(struct cascade_session *session, uint8_t type, const void *body, size_t size_bytes);
/* Bytes of bodies and headers that cascade_session_send() would take now. */
size_t cascade_session_room(const struct cascade_session *session);
/* Ends the connection after what is in the buffer was given to the kernel as far as it takes it at once. */
void cascade_session_close(struct cascade_session *session);
void cascade_session_stats(const struct cascade_session *session, struct cascade_session_stats *ret_stats);
/* The port listened on: for tests, which let the kernel choose. */
uint16_t cascade_session_port(const struct cascade_session *session);

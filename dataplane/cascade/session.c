#include "dataplane/cascade/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cursor.h"

#define HEADER_BYTES    4u
#define RECEIVE_BYTES   (CASCADE_MESSAGE_MAX_BYTES + HEADER_BYTES)
#define RECONNECT_MS    50u
#define RECONNECT_MS_TO 2050u
#define HANDSHAKE_MS    3000u
#define SECRET_BYTES    32u
#define IDENTITY        "opensce-cascade-1"

/* A connection on its way to be the session. */
struct connection {
    int fd; /* -1: none */
    SSL *tls;
    bool connecting; /* TCP is not there yet */
    uint64_t since_ms;
    short events; /* of poll(): what the next step waits for */
};

struct cascade_session {
    struct cascade_session_config config;
    struct cascade_session_handlers handlers;
    SSL_CTX *tls;
    uint8_t secret[SECRET_BYTES];
    bool has_secret;
    int listen_fd, wake_fd;
    struct connection greeting; /* in its handshake */
    struct connection peer;     /* open */
    uint64_t connect_at_ms;
    enum cascade_session_end failed; /* of the last attempt: told once, not each time */
    uint8_t *send;                   /* [CASCADE_SEND_BUFFER_BYTES]: send_begin .. send_end wait */
    size_t send_begin, send_end;
    uint8_t *receive;
    size_t received;
    struct cascade_session_stats stats;
};

const char *cascade_session_end_name(enum cascade_session_end end)
{
    static const char *const names[CASCADE_SESSION_END_COUNT] = {
#define X(name, text) #name,
        CASCADE_SESSION_ENDS(X)
#undef X
    };
    return names[end];
}

const char *cascade_session_end_text(enum cascade_session_end end)
{
    static const char *const texts[CASCADE_SESSION_END_COUNT] = {
#define X(name, text) text,
        CASCADE_SESSION_ENDS(X)
#undef X
    };
    return texts[end];
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- keys ---- */

static bool use_secret(SSL *tls, SSL_SESSION **ret_session)
{
    const struct cascade_session *session = SSL_get_app_data(tls);
    static const uint8_t suite[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256, RFC 8446 B.4 */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(tls, suite);
    SSL_SESSION *made = SSL_SESSION_new();
    if (!made || !cipher || !SSL_SESSION_set1_master_key(made, session->secret, SECRET_BYTES) ||
        !SSL_SESSION_set_cipher(made, cipher) || !SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION)) {
        SSL_SESSION_free(made);
        return false;
    }
    *ret_session = made;
    return true;
}

static int secret_of_client(SSL *tls, const EVP_MD *digest, const unsigned char **ret_identity,
                            size_t *ret_identity_size, SSL_SESSION **ret_session)
{
    *ret_session = NULL;
    if (digest && EVP_MD_get_type(digest) != NID_sha256)
        return 1; /* no session for that digest: the handshake goes on, and fails for want of a certificate */
    *ret_identity = (const unsigned char *)IDENTITY;
    *ret_identity_size = strlen(IDENTITY);
    return use_secret(tls, ret_session);
}

static int secret_of_server(SSL *tls, const unsigned char *identity, size_t identity_size, SSL_SESSION **ret_session)
{
    *ret_session = NULL;
    if (identity_size != strlen(IDENTITY) || memcmp(identity, IDENTITY, identity_size))
        return 1;
    return use_secret(tls, ret_session);
}

/* The file's bytes without blanks at the end, through SHA-256: a passphrase or a random key, at will. */
static bool read_secret(struct cascade_session *session, char *error, size_t error_size)
{
    const char *path = session->config.secret_path;
    uint8_t text[4096];
    FILE *file = fopen(path, "rb");
    if (!file) {
        snprintf(error, error_size, "%s: %s", path, strerror(errno));
        return false;
    }
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    while (size && strchr(" \t\r\n", text[size - 1]))
        size--;
    if (size < CASCADE_SECRET_MIN_BYTES) {
        snprintf(error, error_size,
                 "%s: the secret has %zu bytes, at least %u are needed; make one with: openssl rand -hex 32", path,
                 size, CASCADE_SECRET_MIN_BYTES);
        return false;
    }
    bool made = EVP_Digest(text, size, session->secret, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(text, sizeof text);
    session->has_secret = made;
    return made;
}

static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : "no reason given";
}

static bool read_certificates(struct cascade_session *session, char *error, size_t error_size)
{
    const struct cascade_session_config *config = &session->config;
    const char *failed = NULL;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(session->tls, config->certificate_path) != 1)
        failed = config->certificate_path;
    else if (SSL_CTX_use_PrivateKey_file(session->tls, config->key_path, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(session->tls) != 1)
        failed = config->key_path;
    else if (SSL_CTX_load_verify_locations(session->tls, config->authority_path, NULL) != 1)
        failed = config->authority_path;
    if (failed) {
        snprintf(error, error_size, "%s: %s", failed, tls_reason());
        return false;
    }
    SSL_CTX_set_verify(session->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return true;
}

static bool create_tls(struct cascade_session *session, char *error, size_t error_size)
{
    session->tls = SSL_CTX_new(TLS_method());
    if (!session->tls || !SSL_CTX_set_min_proto_version(session->tls, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(session->tls, "TLS_AES_128_GCM_SHA256")) {
        snprintf(error, error_size, "TLS 1.3 is not available: %s", tls_reason());
        return false;
    }
    SSL_CTX_set_options(session->tls, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(session->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(session->tls, SSL_SESS_CACHE_OFF);
    if (!session->config.secret_path[0])
        return read_certificates(session, error, error_size);
    if (!read_secret(session, error, error_size))
        return false;
    SSL_CTX_set_psk_use_session_callback(session->tls, secret_of_client);
    SSL_CTX_set_psk_find_session_callback(session->tls, secret_of_server);
    return true;
}

/* ---- sockets ---- */

static socklen_t address_of(const struct cascade_session_config *config, struct sockaddr_storage *ret_address)
{
    memset(ret_address, 0, sizeof *ret_address);
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;
    if (inet_pton(AF_INET, config->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(config->port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, config->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(config->port);
        return sizeof *v6;
    }
    return 0;
}

static bool start_listening(struct cascade_session *session, char *error, size_t error_size)
{
    struct sockaddr_storage address;
    socklen_t size = address_of(&session->config, &address);
    int on = 1;
    session->listen_fd = size ? socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (session->listen_fd < 0 || setsockopt(session->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(session->listen_fd, (const struct sockaddr *)&address, size) || listen(session->listen_fd, 4)) {
        snprintf(error, error_size, "%s port %u: %s", session->config.address, session->config.port,
                 size ? strerror(errno) : "no numeric address");
        return false;
    }
    return true;
}

uint16_t cascade_session_port(const struct cascade_session *session)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (session->listen_fd < 0 || getsockname(session->listen_fd, (struct sockaddr *)&address, &size))
        return session->config.port;
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

static void drop(struct connection *connection)
{
    SSL_free(connection->tls);
    if (connection->fd >= 0)
        close(connection->fd);
    *connection = (struct connection){.fd = -1};
}

/* Counts an end; tells it when an open session ended, or when an attempt fails otherwise than the one before. */
static void tell_end(struct cascade_session *session, enum cascade_session_end end, bool was_open, const char *detail)
{
    session->stats.ends[end]++;
    bool news = was_open || end != session->failed;
    session->failed = was_open ? CASCADE_SESSION_END_none : end;
    if (news && session->handlers.closed)
        session->handlers.closed(session->handlers.context, end, detail);
}

static void plan_connect(struct cascade_session *session)
{
    uint32_t random = 0, span = session->config.reconnect_ms_max - session->config.reconnect_ms_min + 1;
    RAND_bytes((unsigned char *)&random, sizeof random);
    session->connect_at_ms = now_ms() + session->config.reconnect_ms_min + random % span;
}

static void end_greeting(struct cascade_session *session, enum cascade_session_end end, const char *detail)
{
    drop(&session->greeting);
    plan_connect(session);
    tell_end(session, end, false, detail);
}

static void end_peer(struct cascade_session *session, enum cascade_session_end end, const char *detail)
{
    if (session->peer.fd < 0)
        return;
    drop(&session->peer);
    session->send_begin = session->send_end = session->received = 0;
    plan_connect(session);
    tell_end(session, end, true, detail);
}

/* Begins the handshake on a socket; the connection is `greeting` from now on, one that was there before gives way. */
static void greet(struct cascade_session *session, int fd, bool connecting)
{
    int on = 1;
    drop(&session->greeting);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL *tls = SSL_new(session->tls);
    if (!tls || !SSL_set_fd(tls, fd)) {
        SSL_free(tls);
        close(fd);
        return;
    }
    SSL_set_app_data(tls, session);
    if (session->config.listens)
        SSL_set_accept_state(tls);
    else
        SSL_set_connect_state(tls);
    session->greeting = (struct connection){
        .fd = fd, .tls = tls, .connecting = connecting, .since_ms = now_ms(), .events = connecting ? POLLOUT : POLLIN};
}

static void start_connect(struct cascade_session *session)
{
    struct sockaddr_storage address;
    socklen_t size = address_of(&session->config, &address);
    int fd = size ? socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0 || (connect(fd, (const struct sockaddr *)&address, size) && errno != EINPROGRESS)) {
        const char *detail = size ? strerror(errno) : "no numeric address";
        if (fd >= 0)
            close(fd);
        end_greeting(session, CASCADE_SESSION_END_unreachable, detail);
        return;
    }
    greet(session, fd, true);
}

/* ---- steps of a connection ---- */

/* What poll() is to wait for after an unfinished TLS call; 0: the connection is at an end. */
static short wanted(const struct connection *connection, int result)
{
    int error = SSL_get_error(connection->tls, result);
    return error == SSL_ERROR_WANT_READ ? POLLIN : error == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
}

static void step_greeting(struct cascade_session *session)
{
    struct connection *greeting = &session->greeting;
    if (greeting->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(greeting->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
            end_greeting(session, CASCADE_SESSION_END_unreachable, strerror(error ? error : errno));
            return;
        }
        greeting->connecting = false;
    }
    ERR_clear_error();
    int result = SSL_do_handshake(greeting->tls);
    if (result != 1) {
        greeting->events = wanted(greeting, result);
        if (!greeting->events)
            end_greeting(session, CASCADE_SESSION_END_handshake_refused, tls_reason());
        return;
    }
    if (session->has_secret && !SSL_session_reused(greeting->tls)) { /* it was not our secret that did it */
        end_greeting(session, CASCADE_SESSION_END_handshake_refused, "the peer did not use the secret");
        return;
    }
    struct connection connection = *greeting;
    *greeting = (struct connection){.fd = -1};
    end_peer(session, CASCADE_SESSION_END_replaced, "");
    session->peer = connection;
    session->stats.sessions++;
    session->failed = CASCADE_SESSION_END_none;
    if (session->handlers.opened)
        session->handlers.opened(session->handlers.context);
}

static void flush(struct cascade_session *session)
{
    while (session->peer.fd >= 0 && session->send_begin < session->send_end) {
        ERR_clear_error();
        size_t sent = 0;
        int result = SSL_write_ex(session->peer.tls, session->send + session->send_begin,
                                  session->send_end - session->send_begin, &sent);
        if (result != 1) {
            session->peer.events = wanted(&session->peer, result);
            if (!session->peer.events)
                end_peer(session, CASCADE_SESSION_END_broken, tls_reason());
            return;
        }
        session->send_begin += sent;
        session->stats.bytes_sent += sent;
    }
    if (session->send_begin == session->send_end)
        session->send_begin = session->send_end = 0;
}

/* Gives whole messages to the handler. A handler may close the session. */
static void deliver(struct cascade_session *session)
{
    size_t used = 0;
    while (session->peer.fd >= 0) {
        struct cursor c = cursor_of(session->receive + used, session->received - used);
        uint8_t type = cursor_u8(&c);
        size_t size_bytes = cursor_be24(&c);
        if (!c.ok)
            break;
        if (size_bytes > CASCADE_MESSAGE_MAX_BYTES) {
            end_peer(session, CASCADE_SESSION_END_bad_message, "");
            return;
        }
        const uint8_t *body = cursor_take(&c, size_bytes);
        if (!body)
            break;
        used += HEADER_BYTES + size_bytes;
        session->stats.messages_received++;
        SSL *before = session->peer.tls;
        session->handlers.message(session->handlers.context, type, body, size_bytes);
        if (session->peer.tls != before)
            return; /* closed meanwhile: the buffer is another connection's */
    }
    if (session->peer.fd < 0)
        return;
    session->received -= used;
    memmove(session->receive, session->receive + used, session->received);
}

static void receive(struct cascade_session *session)
{
    /* A bounded number of reads: the other sockets and the caller have their turn. */
    for (unsigned i = 0; session->peer.fd >= 0 && i < 16; i++) {
        ERR_clear_error();
        size_t got = 0;
        int result = SSL_read_ex(session->peer.tls, session->receive + session->received,
                                 RECEIVE_BYTES - session->received, &got);
        if (result != 1) {
            int error = SSL_get_error(session->peer.tls, result);
            if (error == SSL_ERROR_ZERO_RETURN)
                end_peer(session, CASCADE_SESSION_END_closed_by_peer, "");
            else if (!wanted(&session->peer, result))
                end_peer(session, CASCADE_SESSION_END_broken, tls_reason());
            return;
        }
        session->received += got;
        session->stats.bytes_received += got;
        deliver(session);
    }
}

static void accept_one(struct cascade_session *session)
{
    int fd = accept4(session->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        greet(session, fd, false);
}

/* ---- the caller's side ---- */

struct cascade_session *cascade_session_create(const struct cascade_session_config *config,
                                               const struct cascade_session_handlers *handlers, char *error,
                                               size_t error_size)
{
    struct cascade_session *session = calloc(1, sizeof *session);
    if (!session) {
        snprintf(error, error_size, "memory is short");
        return NULL;
    }
    session->config = *config;
    session->handlers = *handlers;
    if (!session->config.reconnect_ms_max) {
        session->config.reconnect_ms_min = RECONNECT_MS;
        session->config.reconnect_ms_max = RECONNECT_MS_TO;
    }
    if (!session->config.handshake_ms_max)
        session->config.handshake_ms_max = HANDSHAKE_MS;
    session->listen_fd = session->greeting.fd = session->peer.fd = -1;
    session->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    session->send = malloc(CASCADE_SEND_BUFFER_BYTES);
    session->receive = malloc(RECEIVE_BYTES);
    if (session->wake_fd < 0 || !session->send || !session->receive) {
        snprintf(error, error_size, "memory or file descriptors are short");
        cascade_session_destroy(session);
        return NULL;
    }
    if (!create_tls(session, error, error_size) || (config->listens && !start_listening(session, error, error_size))) {
        cascade_session_destroy(session);
        return NULL;
    }
    return session;
}

void cascade_session_destroy(struct cascade_session *session)
{
    if (!session)
        return;
    drop(&session->greeting);
    drop(&session->peer);
    if (session->listen_fd >= 0)
        close(session->listen_fd);
    if (session->wake_fd >= 0)
        close(session->wake_fd);
    SSL_CTX_free(session->tls);
    OPENSSL_cleanse(session->secret, sizeof session->secret);
    free(session->send);
    free(session->receive);
    free(session);
}

void cascade_session_wake(struct cascade_session *session)
{
    uint64_t one = 1;
    ssize_t written = write(session->wake_fd, &one, sizeof one); /* a full counter wakes as well */
    (void)written;
}

static void tick(struct cascade_session *session)
{
    uint64_t now = now_ms();
    if (session->greeting.fd >= 0 && now - session->greeting.since_ms > session->config.handshake_ms_max)
        end_greeting(
            session,
            session->greeting.connecting ? CASCADE_SESSION_END_unreachable : CASCADE_SESSION_END_handshake_timeout, "");
    if (!session->config.listens && session->greeting.fd < 0 && session->peer.fd < 0 && now >= session->connect_at_ms)
        start_connect(session);
}

void cascade_session_poll(struct cascade_session *session, int timeout_ms)
{
    tick(session);
    flush(session);
    bool waits = session->send_begin < session->send_end;
    struct pollfd fds[4] = {
        {.fd = session->wake_fd, .events = POLLIN},
        {.fd = session->listen_fd, .events = POLLIN},
        {.fd = session->greeting.fd, .events = session->greeting.events},
        {.fd = session->peer.fd, .events = (short)(POLLIN | (waits ? session->peer.events : 0))},
    };
    bool pending = session->peer.fd >= 0 && SSL_has_pending(session->peer.tls); /* read already, not yet taken */
    if (poll(fds, 4, pending ? 0 : timeout_ms) <= 0 && !pending)
        return;
    uint64_t count;
    if (fds[0].revents && read(session->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    if ((fds[3].revents || pending) && session->peer.fd == fds[3].fd) {
        receive(session);
        flush(session);
    }
    if (fds[2].revents && session->greeting.fd == fds[2].fd)
        step_greeting(session);
    if (fds[1].revents)
        accept_one(session);
}

bool cascade_session_is_open(const struct cascade_session *session)
{
    return session->peer.fd >= 0;
}

size_t cascade_session_room(const struct cascade_session *session)
{
    return session->peer.fd < 0 ? 0 : CASCADE_SEND_BUFFER_BYTES - (session->send_end - session->send_begin);
}

bool cascade_session_send(struct cascade_session *session, uint8_t type, const void *body, size_t size_bytes)
{
    if (session->peer.fd < 0 || size_bytes > CASCADE_MESSAGE_MAX_BYTES)
        return false;
    if (size_bytes + HEADER_BYTES > cascade_session_room(session)) {
        session->stats.send_refused++;
        return false;
    }
    if (session->send_end + HEADER_BYTES + size_bytes > CASCADE_SEND_BUFFER_BYTES) {
        memmove(session->send, session->send + session->send_begin, session->send_end - session->send_begin);
        session->send_end -= session->send_begin;
        session->send_begin = 0;
    }
    uint8_t *to = session->send + session->send_end;
    to[0] = type;
    to[1] = (uint8_t)(size_bytes >> 16);
    to[2] = (uint8_t)(size_bytes >> 8);
    to[3] = (uint8_t)size_bytes;
    if (size_bytes)
        memcpy(to + HEADER_BYTES, body, size_bytes);
    session->send_end += HEADER_BYTES + size_bytes;
    session->stats.messages_sent++;
    return true;
}

void cascade_session_close(struct cascade_session *session)
{
    flush(session);
    if (session->peer.fd >= 0)
        SSL_shutdown(session->peer.tls);
    end_peer(session, CASCADE_SESSION_END_closed_here, "");
}

void cascade_session_stats(const struct cascade_session *session, struct cascade_session_stats *ret_stats)
{
    *ret_stats = session->stats;
}

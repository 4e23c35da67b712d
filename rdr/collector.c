#include "rdr/collector.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "rdr/store_csv.h"

#define BATCH_RECORDS   1000u
#define BATCH_MS        200
#define READ_BYTES      65536u
#define LAST_READ_MS    3000u /* what senders that do not stop may still take after a signal */
#define ACCEPT_PAUSE_MS 200

struct connection {
    struct rdr_collector *collector;
    struct bufferevent *stream;
    struct connection *previous, *next;
    char peer[64];
    uint32_t source_ip;
    uint64_t offset_bytes; /* of the next record */
    uint64_t records;
};

struct rdr_collector {
    struct rdr_collector_config config;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *on_term, *on_int, *on_flush, *on_csv, *on_idle, *on_accept_again;
    struct rdr_store *store;
    struct rdr_csv *csv;
    struct connection *connections;
    uint64_t idle_bytes; /* seen when the idle timer was last set */
    bool is_failed;
    char error[900];
    struct rdr_collector_totals totals;
};

static uint64_t realtime_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static struct timeval milliseconds(unsigned ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static void store_failed(struct rdr_collector *c, const char *reason)
{
    if (!c->is_failed)
        snprintf(c->error, sizeof c->error, "cannot store: %s", reason);
    c->is_failed = true;
    event_base_loopbreak(c->base);
}

static void flush(struct rdr_collector *c)
{
    event_del(c->on_flush);
    if (rdr_store_flush(c->store))
        store_failed(c, rdr_store_error(c->store));
}

static void store_record(struct rdr_collector *c, const struct rdr_record *record, uint32_t source_ip, uint64_t time_ms)
{
    int added = rdr_store_add(c->store, record, source_ip, (int64_t)(time_ms / 1000));
    if (added < 0) {
        store_failed(c, rdr_store_error(c->store));
        return;
    }
    if (added && c->csv && rdr_csv_add(c->csv, record, source_ip, time_ms))
        store_failed(c, rdr_csv_error(c->csv));
    struct timeval wait = milliseconds(BATCH_MS);
    if (rdr_store_pending(c->store) >= BATCH_RECORDS)
        flush(c);
    else if (!evtimer_pending(c->on_flush, NULL))
        evtimer_add(c->on_flush, &wait);
}

static void close_connection(struct connection *connection)
{
    struct rdr_collector *c = connection->collector;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        c->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    bufferevent_free(connection->stream);
    free(connection);
    if (c->config.is_once && !c->connections)
        event_base_loopbreak(c->base);
}

static void refuse(struct connection *connection, const struct rdr_record *record, enum rdr_refusal refusal,
                   unsigned field)
{
    struct rdr_collector *c = connection->collector;
    char where[100] = "";
    if (refusal == RDR_REFUSED_field_type || refusal == RDR_REFUSED_field_length)
        snprintf(where, sizeof where, ", field %u (%s) of %s", field + 1, record->schema->fields[field].name,
                 record->schema->name);
    log_line(LOG_WARNING, "collect",
             "%s: malformed record at byte %" PRIu64 " of the connection: %s%s; the connection is closed, its %" PRIu64
             " records before that are kept",
             connection->peer, connection->offset_bytes, rdr_refusal_text(refusal), where, connection->records);
    c->totals.refused[refusal]++;
    c->totals.refused_sum++;
    close_connection(connection);
}

static void on_read(struct bufferevent *stream, void *context)
{
    struct connection *connection = context;
    struct rdr_collector *c = connection->collector;
    struct evbuffer *input = bufferevent_get_input(stream);
    size_t size = evbuffer_get_length(input), at = 0;
    const uint8_t *bytes = evbuffer_pullup(input, -1);
    uint64_t time_ms = realtime_ms();
    struct rdr_record record;
    enum rdr_refusal refusal;
    unsigned field;
    int taken = 0;
    while (at < size && !c->is_failed && (taken = rdr_decode(bytes + at, size - at, &record, &refusal, &field)) > 0) {
        store_record(c, &record, connection->source_ip, time_ms);
        c->totals.records++;
        connection->records++;
        connection->offset_bytes += (unsigned)taken;
        at += (size_t)taken;
    }
    evbuffer_drain(input, at);
    c->totals.bytes += at;
    if (taken < 0)
        refuse(connection, &record, refusal, field);
}

static void on_end(struct bufferevent *stream, short what, void *context)
{
    struct connection *connection = context;
    struct rdr_collector *c = connection->collector;
    size_t left = evbuffer_get_length(bufferevent_get_input(stream));
    if (left) {
        log_line(LOG_WARNING, "collect",
                 "%s: the connection ended inside a record, %zu bytes after byte %" PRIu64 "; its %" PRIu64
                 " whole records are kept",
                 connection->peer, left, connection->offset_bytes, connection->records);
        c->totals.truncated++;
    } else {
        log_line(LOG_INFO, "collect", "%s: %s after %" PRIu64 " records", connection->peer,
                 what & BEV_EVENT_EOF ? "closed" : evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()),
                 connection->records);
    }
    close_connection(connection);
}

/* "10.1.2.3:4711" and its address as a number; an IPv4-mapped IPv6 address counts as IPv4. */
static void name_peer(struct connection *connection, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "?";
    uint16_t port = 0;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        connection->source_ip = ntohl(v4->sin_addr.s_addr);
        port = ntohs(v4->sin_port);
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            uint32_t ip_be32;
            memcpy(&ip_be32, v6->sin6_addr.s6_addr + 12, 4);
            connection->source_ip = ntohl(ip_be32);
        }
        port = ntohs(v6->sin6_port);
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    }
    snprintf(connection->peer, sizeof connection->peer, address->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
             port);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int address_size,
                      void *context)
{
    (void)listener;
    (void)address_size;
    struct rdr_collector *c = context;
    struct connection *connection = calloc(1, sizeof *connection);
    struct bufferevent *stream = connection ? bufferevent_socket_new(c->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (!stream) {
        log_line(LOG_ERROR, "collect", "a connection is refused: not enough memory");
        free(connection);
        close(fd);
        return;
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    connection->collector = c;
    connection->stream = stream;
    connection->next = c->connections;
    if (c->connections)
        c->connections->previous = connection;
    c->connections = connection;
    name_peer(connection, address);
    c->totals.connections++;
    log_line(LOG_INFO, "collect", "%s: connected", connection->peer);
    bufferevent_setcb(stream, on_read, NULL, on_end, connection);
    bufferevent_set_max_single_read(stream, READ_BYTES);
    bufferevent_enable(stream, EV_READ);
}

/* Out of file descriptors, most likely: without a pause the loop would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct rdr_collector *c = context;
    struct timeval wait = milliseconds(ACCEPT_PAUSE_MS);
    log_line(LOG_ERROR, "collect", "cannot accept a connection: %s",
             evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    evconnlistener_disable(listener);
    evtimer_add(c->on_accept_again, &wait);
}

static void on_accept_again(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct rdr_collector *c = context;
    evconnlistener_enable(c->listener);
}

static void on_signal(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct rdr_collector *c = context;
    event_base_loopbreak(c->base);
}

static void on_flush(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    flush(context);
}

/* A file is finished when it is old, also when nothing comes any more. */
static void on_csv(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct rdr_collector *c = context;
    if (rdr_csv_flush(c->csv, realtime_ms()))
        store_failed(c, rdr_csv_error(c->csv));
}

static void on_idle(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct rdr_collector *c = context;
    struct timeval wait = milliseconds(c->config.idle_exit_s * 1000);
    if (c->idle_bytes == c->totals.bytes)
        event_base_loopbreak(c->base);
    c->idle_bytes = c->totals.bytes;
    evtimer_add(c->on_idle, &wait);
}

static int open_listener(struct rdr_collector *c, char *error, size_t error_size)
{
    char service[8];
    snprintf(service, sizeof service, "%u", c->config.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *address;
    int result = getaddrinfo(c->config.host, service, &hints, &address);
    if (result) {
        snprintf(error, error_size, "cannot listen on \"%s\": %s", c->config.host, gai_strerror(result));
        return -1;
    }
    c->listener = evconnlistener_new_bind(c->base, on_accept, c,
                                          LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 128,
                                          address->ai_addr, (int)address->ai_addrlen);
    if (!c->listener)
        snprintf(error, error_size,
                 "cannot listen on %s:%u: %s; is another collector running? --listen gives another port",
                 c->config.host, c->config.port, strerror(errno));
    else
        evconnlistener_set_error_cb(c->listener, on_accept_error);
    freeaddrinfo(address);
    return c->listener ? 0 : -1;
}

static int make_events(struct rdr_collector *c, char *error, size_t error_size)
{
    c->base = event_base_new();
    if (!c->base) {
        snprintf(error, error_size, "cannot make an event loop: %s", strerror(errno));
        return -1;
    }
    c->on_term = evsignal_new(c->base, SIGTERM, on_signal, c);
    c->on_int = evsignal_new(c->base, SIGINT, on_signal, c);
    c->on_flush = evtimer_new(c->base, on_flush, c);
    c->on_csv = event_new(c->base, -1, EV_PERSIST, on_csv, c);
    c->on_idle = evtimer_new(c->base, on_idle, c);
    c->on_accept_again = evtimer_new(c->base, on_accept_again, c);
    if (!c->on_term || !c->on_int || !c->on_flush || !c->on_csv || !c->on_idle || !c->on_accept_again) {
        snprintf(error, error_size, "not enough memory");
        return -1;
    }
    return 0;
}

struct rdr_collector *rdr_collector_create(const struct rdr_collector_config *config, char *error, size_t error_size)
{
    struct rdr_collector *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    c->config = *config;
    bool ok = !make_events(c, error, error_size) && (c->store = rdr_store_open(config->db_path, error, error_size)) &&
              (!config->csv_folder || (c->csv = rdr_csv_open(config->csv_folder, error, error_size))) &&
              (!config->names_path || rdr_store_load_names(c->store, config->names_path, error, error_size) >= 0) &&
              !open_listener(c, error, error_size);
    if (!ok) {
        rdr_collector_destroy(c);
        return NULL;
    }
    evsignal_add(c->on_term, NULL);
    evsignal_add(c->on_int, NULL);
    return c;
}

uint16_t rdr_collector_port(const struct rdr_collector *c)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(evconnlistener_get_fd(c->listener), (struct sockaddr *)&address, &size))
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&address)->sin6_port
                                               : ((const struct sockaddr_in *)&address)->sin_port);
}

/* Takes in what is in the sockets already, also of connections that wait to be accepted. */
static void read_what_has_arrived(struct rdr_collector *c)
{
    uint64_t end_ms = realtime_ms() + LAST_READ_MS;
    for (int quiet = 0; quiet < 2 && !c->is_failed && realtime_ms() < end_ms; quiet++) {
        uint64_t bytes = c->totals.bytes, connections = c->totals.connections;
        event_base_loop(c->base, EVLOOP_NONBLOCK);
        if (bytes != c->totals.bytes || connections != c->totals.connections)
            quiet = -1;
    }
}

int rdr_collector_run(struct rdr_collector *c, char *error, size_t error_size)
{
    struct timeval idle = milliseconds(c->config.idle_exit_s * 1000);
    if (c->config.idle_exit_s)
        evtimer_add(c->on_idle, &idle);
    struct timeval second = milliseconds(1000);
    if (c->csv)
        event_add(c->on_csv, &second);
    event_base_dispatch(c->base);
    read_what_has_arrived(c);
    flush(c);
    int csv_error = rdr_csv_close(c->csv);
    c->csv = NULL;
    if (csv_error)
        store_failed(c, "the last CSV files could not be finished");
    if (c->is_failed)
        snprintf(error, error_size, "%s", c->error);
    return c->is_failed ? -EIO : 0;
}

void rdr_collector_totals(const struct rdr_collector *c, struct rdr_collector_totals *ret_totals)
{
    *ret_totals = c->totals;
    rdr_store_totals(c->store, &ret_totals->store);
}

void rdr_collector_destroy(struct rdr_collector *c)
{
    if (!c)
        return;
    c->config.is_once = false;
    while (c->connections)
        close_connection(c->connections);
    if (c->listener)
        evconnlistener_free(c->listener);
    struct event *events[] = {c->on_term, c->on_int, c->on_flush, c->on_csv, c->on_idle, c->on_accept_again};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    if (c->base)
        event_base_free(c->base);
    rdr_store_close(c->store);
    rdr_csv_close(c->csv);
    free(c);
}

#include "rdr/formatter.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "rdr/queue.h"
#include "rdr/rdr.h"
#include "rdr/transport.h"

#define STAGING_BYTES       65536u /* taken from the queues and not yet with the kernel, per destination */
#define ENTRIES             65536u /* records of a destination that are staged or unacknowledged; a power of two */
#define BACKOFF_FIRST_NS    1000000000ull
#define BACKOFF_LAST_NS     30000000000ull
#define CONNECT_TIMEOUT_NS  10000000000ull
#define PEER_TIMEOUT_MS     30000u
#define NO_TICKET           UINT32_MAX
#define QUEUE_DEFAULT_BYTES (8u << 20)

/* Staged records come back in front of their queue when a connection breaks: 2 bytes for each of at least 20. */
#define QUEUE_RESERVE_BYTES (RDR_DESTINATIONS_MAX * (STAGING_BYTES + STAGING_BYTES / RDR_HEADER_BYTES * 2))

/* w: record thread, r: any; relaxed, since each counter stands alone. */
typedef _Atomic uint64_t counter;

static void count(counter *c, uint64_t more)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + more, memory_order_relaxed);
}

static uint64_t counted(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* A record on its way through one connection. */
struct entry {
    uint64_t end;    /* position in the connection's bytes, one past the record */
    uint32_t ticket; /* multicast: shared by the copies */
    uint16_t size_bytes;
    uint8_t category; /* from 0 */
};

/* Multicast: what became of a record's copies. */
struct ticket {
    uint8_t copies;      /* whose fate is open */
    bool is_sent;        /* one was acknowledged */
    bool is_unconfirmed; /* one was lost with its connection */
};

enum state { IDLE, CONNECTING, CONNECTED };

/*
 * Positions count the bytes of one connection: acknowledged <= whole <= handed <= staged_end. The staging buffer holds
 * [whole, staged_end): what the kernel has of an unfinished record stays, to be sent anew on another connection.
 */
struct destination {
    const struct rdr_destination_config *config;
    enum state state;
    int fd;
    unsigned attempts;
    uint64_t next_try_ns, give_up_ns, backoff_ns;
    bool is_absence_logged;
    uint8_t *staging;
    struct entry *entries;
    uint32_t entry_first, entry_open, entry_last; /* free-running: oldest; first not whole with the kernel; next */
    uint64_t whole, handed, staged_end;
    _Atomic bool is_connected;
    counter sent, unconfirmed, connects, disconnects;
};

struct category {
    struct rdr_queue queue;
    bool has_destination, is_discarding;
    unsigned turn;      /* load balancing: the destination that is next */
    counter travelling; /* taken from the queue, fate open */
    counter given, sent, discarded, unconfirmed;
};

struct rdr_formatter {
    struct rdr_formatter_config config;
    struct category categories[RDR_CATEGORIES];
    struct destination destinations[RDR_DESTINATIONS_MAX];
    struct ticket *tickets; /* multicast only */
    uint32_t *tickets_free;
    uint32_t tickets_free_length;
    uint64_t now_ns;
    counter sent_bytes;
};

/* ---- what becomes of a record ---- */

static void record_ended(struct category *category, bool is_sent)
{
    count(&category->travelling, UINT64_MAX); /* one less */
    count(is_sent ? &category->sent : &category->unconfirmed, 1);
}

static void copy_ended(struct rdr_formatter *f, struct destination *d, const struct entry *e, bool is_sent)
{
    count(is_sent ? &d->sent : &d->unconfirmed, 1);
    struct category *category = &f->categories[e->category];
    if (e->ticket == NO_TICKET) {
        record_ended(category, is_sent);
        return;
    }
    struct ticket *ticket = &f->tickets[e->ticket];
    ticket->is_sent |= is_sent;
    ticket->is_unconfirmed |= !is_sent;
    if (--ticket->copies)
        return;
    record_ended(category, ticket->is_sent);
    f->tickets_free[f->tickets_free_length++] = e->ticket;
}

/* A copy that never was with the kernel as a whole: back to its queue, unless other copies of it are on their way. */
static void copy_returned(struct rdr_formatter *f, const struct entry *e, const uint8_t *record)
{
    struct category *category = &f->categories[e->category];
    if (e->ticket != NO_TICKET) {
        struct ticket *ticket = &f->tickets[e->ticket];
        if (--ticket->copies)
            return;
        f->tickets_free[f->tickets_free_length++] = e->ticket;
        if (ticket->is_sent || ticket->is_unconfirmed) {
            record_ended(category, ticket->is_sent);
            return;
        }
    }
    count(&category->travelling, UINT64_MAX);
    rdr_queue_push_front(&category->queue, record, e->size_bytes);
}

/* ---- one destination ---- */

static struct entry *entry_at(const struct destination *d, uint32_t i)
{
    return &d->entries[i & (ENTRIES - 1)];
}

static void take_acknowledgements(struct rdr_formatter *f, struct destination *d)
{
    if (d->entry_first == d->entry_open)
        return;
    uint64_t acknowledged = d->handed - rdr_transport_unacknowledged_bytes(d->fd);
    for (; d->entry_first != d->entry_open && entry_at(d, d->entry_first)->end <= acknowledged; d->entry_first++) {
        copy_ended(f, d, entry_at(d, d->entry_first), true);
        d->backoff_ns = BACKOFF_FIRST_NS;
    }
}

static void wait_before_next_try(struct rdr_formatter *f, struct destination *d)
{
    d->state = IDLE;
    d->fd = -1;
    d->next_try_ns = f->now_ns + d->backoff_ns;
    d->backoff_ns = 2 * d->backoff_ns < BACKOFF_LAST_NS ? 2 * d->backoff_ns : BACKOFF_LAST_NS;
}

static void connect_failed(struct rdr_formatter *f, struct destination *d, int error)
{
    log_line(d->is_absence_logged ? LOG_DEBUG : LOG_WARNING, "rdr",
             "collector %s:%u: %s; records are queued, it is tried again by itself", d->config->host, d->config->port,
             strerror(-error));
    d->is_absence_logged = true;
    if (d->fd >= 0)
        close(d->fd);
    wait_before_next_try(f, d);
}

static void disconnected(struct rdr_formatter *f, struct destination *d, int error)
{
    take_acknowledgements(f, d);
    uint32_t lost = d->entry_open - d->entry_first;
    for (; d->entry_first != d->entry_open; d->entry_first++)
        copy_ended(f, d, entry_at(d, d->entry_first), false);
    for (; d->entry_last != d->entry_open; d->entry_last--) {
        const struct entry *e = entry_at(d, d->entry_last - 1);
        copy_returned(f, e, d->staging + (e->end - e->size_bytes - d->whole));
    }
    log_line(LOG_WARNING, "rdr", "collector %s:%u: connection lost: %s; %u records unconfirmed", d->config->host,
             d->config->port, error == -EPIPE ? "closed by the collector" : strerror(-error), lost);
    count(&d->disconnects, 1);
    atomic_store_explicit(&d->is_connected, false, memory_order_relaxed);
    close(d->fd);
    wait_before_next_try(f, d);
}

static void connected(struct destination *d)
{
    d->state = CONNECTED;
    d->entry_first = d->entry_open = d->entry_last = 0;
    d->whole = d->handed = d->staged_end = 0;
    d->is_absence_logged = false;
    count(&d->connects, 1);
    atomic_store_explicit(&d->is_connected, true, memory_order_relaxed);
    log_line(LOG_INFO, "rdr", "collector %s:%u: connected", d->config->host, d->config->port);
}

static void try_to_connect(struct rdr_formatter *f, struct destination *d)
{
    int fd = rdr_transport_connect(d->config->host, d->config->port, d->attempts++, PEER_TIMEOUT_MS);
    d->fd = fd < 0 ? -1 : fd;
    if (fd < 0) {
        connect_failed(f, d, fd);
        return;
    }
    d->state = CONNECTING;
    d->give_up_ns = f->now_ns + CONNECT_TIMEOUT_NS;
}

static void send_staged(struct rdr_formatter *f, struct destination *d)
{
    int sent = 1;
    while (d->handed != d->staged_end && sent > 0) {
        sent = rdr_transport_send(d->fd, d->staging + (d->handed - d->whole), d->staged_end - d->handed);
        if (sent > 0) {
            d->handed += (uint64_t)sent;
            count(&f->sent_bytes, (uint64_t)sent);
        }
    }
    uint64_t whole = d->whole;
    for (; d->entry_open != d->entry_last && entry_at(d, d->entry_open)->end <= d->handed; d->entry_open++)
        whole = entry_at(d, d->entry_open)->end;
    memmove(d->staging, d->staging + (whole - d->whole), d->staged_end - whole);
    d->whole = whole;
    if (sent < 0)
        disconnected(f, d, sent);
}

static bool has_room(const struct destination *d, uint32_t size_bytes)
{
    return d->staged_end - d->whole + size_bytes <= STAGING_BYTES && d->entry_last - d->entry_first < ENTRIES;
}

/* ---- from queues to destinations ---- */

static void stage(struct destination *d, unsigned category, uint32_t size_bytes, uint32_t ticket,
                  const struct rdr_queue *queue)
{
    rdr_queue_copy_first(queue, d->staging + (d->staged_end - d->whole));
    d->staged_end += size_bytes;
    *entry_at(d, d->entry_last++) = (struct entry){
        .end = d->staged_end, .ticket = ticket, .size_bytes = (uint16_t)size_bytes, .category = (uint8_t)category};
}

static bool takes(const struct destination *d, unsigned category)
{
    return d->state == CONNECTED && d->config->priority[category];
}

/* The destination for the next record of a category; NULL when there is none that can take it now. */
static struct destination *pick(struct rdr_formatter *f, unsigned category, uint32_t size_bytes)
{
    struct destination *best = NULL;
    unsigned length = f->config.destination_count, turn = f->categories[category].turn;
    if (f->config.forwarding_mode == RDR_REDUNDANCY) {
        for (struct destination *d = f->destinations; d < f->destinations + length; d++)
            if (takes(d, category) && (!best || d->config->priority[category] > best->config->priority[category]))
                best = d;
        return best && has_room(best, size_bytes) ? best : NULL;
    }
    for (unsigned i = 0; i < length && !best; i++) {
        unsigned next = (turn + i) % length;
        if (takes(&f->destinations[next], category) && has_room(&f->destinations[next], size_bytes)) {
            best = &f->destinations[next];
            f->categories[category].turn = next + 1;
        }
    }
    return best;
}

static bool stage_for_all(struct rdr_formatter *f, unsigned category, uint32_t size_bytes)
{
    struct destination *end = f->destinations + f->config.destination_count;
    unsigned copies = 0;
    for (struct destination *d = f->destinations; d < end; d++) {
        if (!takes(d, category))
            continue;
        if (!has_room(d, size_bytes))
            return false;
        copies++;
    }
    if (!copies)
        return false;
    uint32_t ticket = f->tickets_free[--f->tickets_free_length];
    f->tickets[ticket] = (struct ticket){.copies = (uint8_t)copies};
    for (struct destination *d = f->destinations; d < end; d++)
        if (takes(d, category))
            stage(d, category, size_bytes, ticket, &f->categories[category].queue);
    return true;
}

/* Moves the first record of a category's queue to whom it is for; false when that cannot be now. */
static bool dispatch_one(struct rdr_formatter *f, unsigned i)
{
    struct category *category = &f->categories[i];
    uint32_t size_bytes = rdr_queue_first_size(&category->queue);
    if (!size_bytes)
        return false;
    if (f->config.forwarding_mode == RDR_MULTICAST) {
        if (!stage_for_all(f, i, size_bytes))
            return false;
    } else {
        struct destination *d = pick(f, i, size_bytes);
        if (!d)
            return false;
        stage(d, i, size_bytes, NO_TICKET, &category->queue);
    }
    rdr_queue_pop(&category->queue);
    count(&category->travelling, 1);
    if (category->is_discarding && rdr_queue_used_bytes(&category->queue) < category->queue.limit_bytes / 2) {
        category->is_discarding = false;
        log_line(LOG_INFO, "rdr", "category %u: records are taken again", i + 1);
    }
    return true;
}

static bool dispatch(struct rdr_formatter *f)
{
    bool any = false, again = true;
    while (again) {
        again = false;
        for (unsigned i = 0; i < RDR_CATEGORIES; i++)
            again |= dispatch_one(f, i);
        any |= again;
    }
    return any;
}

/* Sends until the queues are empty or no socket takes more. */
static void pump(struct rdr_formatter *f)
{
    bool again = true;
    while (again) {
        again = dispatch(f);
        for (unsigned i = 0; i < f->config.destination_count; i++)
            if (f->destinations[i].state == CONNECTED)
                send_staged(f, &f->destinations[i]);
        for (unsigned i = 0; i < f->config.destination_count; i++)
            if (f->destinations[i].state == CONNECTED)
                take_acknowledgements(f, &f->destinations[i]);
    }
}

/* ---- sockets ---- */

static void start_connections(struct rdr_formatter *f)
{
    for (unsigned i = 0; i < f->config.destination_count; i++) {
        struct destination *d = &f->destinations[i];
        if (d->state == IDLE && f->now_ns >= d->next_try_ns)
            try_to_connect(f, d);
        else if (d->state == CONNECTING && f->now_ns >= d->give_up_ns)
            connect_failed(f, d, -ETIMEDOUT);
    }
}

static void handle_events(struct rdr_formatter *f, struct destination *d, short events)
{
    if (d->state == CONNECTING && events & (POLLOUT | POLLERR | POLLHUP)) {
        int error = rdr_transport_connect_result(d->fd);
        if (error)
            connect_failed(f, d, error);
        else
            connected(d);
    } else if (d->state == CONNECTED && events & (POLLIN | POLLERR | POLLHUP)) {
        int error = rdr_transport_discard_input(d->fd);
        if (error)
            disconnected(f, d, error);
    }
}

static void wait_for_sockets(struct rdr_formatter *f, int wait_ms)
{
    struct pollfd fds[RDR_DESTINATIONS_MAX];
    unsigned length = f->config.destination_count;
    for (unsigned i = 0; i < length; i++) {
        const struct destination *d = &f->destinations[i];
        bool is_writing = d->state == CONNECTING || d->handed != d->staged_end;
        fds[i] = (struct pollfd){.fd = d->state == IDLE ? -1 : d->fd,
                                 .events = (short)(POLLIN | (is_writing ? POLLOUT : 0))};
    }
    if (poll(fds, length, wait_ms) <= 0)
        return;
    for (unsigned i = 0; i < length; i++)
        handle_events(f, &f->destinations[i], fds[i].revents);
}

void rdr_formatter_poll(struct rdr_formatter *f, uint64_t now_ns, int wait_ms)
{
    f->now_ns = now_ns;
    start_connections(f);
    pump(f);
    wait_for_sockets(f, wait_ms);
    pump(f);
}

/* ---- interface ---- */

int rdr_formatter_put(struct rdr_formatter *f, uint8_t category_number, const uint8_t *record, uint32_t size_bytes)
{
    if (category_number < 1 || category_number > RDR_CATEGORIES || size_bytes < RDR_HEADER_BYTES ||
        size_bytes > RDR_RECORD_MAX_BYTES)
        return -EINVAL;
    struct category *category = &f->categories[category_number - 1];
    count(&category->given, 1);
    if (category->has_destination && rdr_queue_push(&category->queue, record, size_bytes))
        return 0;
    count(&category->discarded, 1);
    if (!category->is_discarding)
        log_line(LOG_WARNING, "rdr", "category %u: %s; records are discarded and counted", category_number,
                 category->has_destination ? "the queue is full (collector absent or slow?)"
                                           : "no destination takes it");
    category->is_discarding = true;
    return -ENOBUFS;
}

static uint64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_empty(const struct rdr_formatter *f)
{
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        if (rdr_queue_records(&f->categories[i].queue) || counted(&f->categories[i].travelling))
            return false;
    return true;
}

bool rdr_formatter_drain(struct rdr_formatter *f, uint64_t limit_ms)
{
    uint64_t begin_ns = monotonic_ns(), begin_now_ns = f->now_ns, passed_ns = 0;
    while (!is_empty(f) && passed_ns < limit_ms * 1000000u) {
        /* An acknowledgement wakes no poll(): look again soon. */
        rdr_formatter_poll(f, begin_now_ns + passed_ns, 1);
        passed_ns = monotonic_ns() - begin_ns;
    }
    return is_empty(f);
}

void rdr_formatter_stats(const struct rdr_formatter *f, struct rdr_formatter_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof *ret_stats);
    for (unsigned i = 0; i < RDR_CATEGORIES; i++) {
        const struct category *c = &f->categories[i];
        ret_stats->given += ret_stats->category[i].given = counted(&c->given);
        ret_stats->sent += ret_stats->category[i].sent = counted(&c->sent);
        ret_stats->discarded += ret_stats->category[i].discarded = counted(&c->discarded);
        ret_stats->unconfirmed += ret_stats->category[i].unconfirmed = counted(&c->unconfirmed);
        ret_stats->queued += ret_stats->category[i].queued = rdr_queue_records(&c->queue) + counted(&c->travelling);
    }
    ret_stats->sent_bytes = counted(&f->sent_bytes);
    for (unsigned i = 0; i < f->config.destination_count; i++) {
        const struct destination *d = &f->destinations[i];
        ret_stats->destination[i].connected = atomic_load_explicit(&d->is_connected, memory_order_relaxed);
        ret_stats->destination[i].sent = counted(&d->sent);
        ret_stats->destination[i].unconfirmed = counted(&d->unconfirmed);
        ret_stats->destination[i].connects = counted(&d->connects);
        ret_stats->destination[i].disconnects = counted(&d->disconnects);
    }
}

void rdr_formatter_config_init(struct rdr_formatter_config *config)
{
    memset(config, 0, sizeof *config);
    config->forwarding_mode = RDR_REDUNDANCY;
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        config->queue_bytes[i] = QUEUE_DEFAULT_BYTES;
    for (unsigned i = 0; i < RDR_DESTINATIONS_MAX; i++)
        memset(config->destinations[i].priority, 100, RDR_CATEGORIES);
}

/* "" or what is wrong. */
static void check_config(const struct rdr_formatter_config *config, char *error, size_t size)
{
    error[0] = 0;
    if (config->destination_count > RDR_DESTINATIONS_MAX)
        snprintf(error, size, "%u destinations, at most %u are possible", config->destination_count,
                 RDR_DESTINATIONS_MAX);
    for (unsigned i = 0; i < RDR_CATEGORIES && !error[0]; i++)
        if (config->queue_bytes[i] < RDR_QUEUE_MIN_BYTES || config->queue_bytes[i] > RDR_QUEUE_MAX_BYTES)
            snprintf(error, size, "queue of category %u: %u bytes, expected %u to %u", i + 1, config->queue_bytes[i],
                     RDR_QUEUE_MIN_BYTES, RDR_QUEUE_MAX_BYTES);
    for (unsigned i = 0; i < config->destination_count && !error[0]; i++) {
        const struct rdr_destination_config *d = &config->destinations[i];
        unsigned highest = 0;
        for (unsigned c = 0; c < RDR_CATEGORIES; c++)
            highest = d->priority[c] > highest ? d->priority[c] : highest;
        if (!d->host[0] || !d->port)
            snprintf(error, size, "destination %u (\"%.255s\"): needs a host and a port from 1 to 65535", i + 1,
                     d->host);
        else if (!highest || highest > 100)
            snprintf(error, size,
                     "destination %u (\"%.255s\"): priority %u, expected 1 to 100 for one category at least", i + 1,
                     d->host, highest);
    }
}

struct rdr_formatter *rdr_formatter_create(const struct rdr_formatter_config *config, char *error, size_t error_size)
{
    check_config(config, error, error_size);
    if (error[0])
        return NULL;
    struct rdr_formatter *f = calloc(1, sizeof *f);
    bool ok = f != NULL;
    if (ok) {
        f->config = *config;
        for (unsigned i = 0; i < RDR_DESTINATIONS_MAX; i++)
            f->destinations[i].fd = -1;
    }
    for (unsigned i = 0; ok && i < config->destination_count; i++) {
        struct destination *d = &f->destinations[i];
        d->config = &f->config.destinations[i];
        d->backoff_ns = BACKOFF_FIRST_NS;
        d->staging = malloc(STAGING_BYTES);
        d->entries = malloc(ENTRIES * sizeof *d->entries);
        ok = d->staging && d->entries;
    }
    for (unsigned i = 0; ok && i < RDR_CATEGORIES; i++) {
        for (unsigned d = 0; d < config->destination_count; d++)
            f->categories[i].has_destination |= config->destinations[d].priority[i] != 0;
        ok = rdr_queue_init(&f->categories[i].queue, config->queue_bytes[i], QUEUE_RESERVE_BYTES);
    }
    if (ok && config->forwarding_mode == RDR_MULTICAST) {
        uint32_t length = ENTRIES * config->destination_count; /* more cannot be on their way */
        f->tickets = calloc(length + 1, sizeof *f->tickets);
        f->tickets_free = calloc(length + 1, sizeof *f->tickets_free);
        ok = f->tickets && f->tickets_free;
        for (; ok && f->tickets_free_length < length; f->tickets_free_length++)
            f->tickets_free[f->tickets_free_length] = f->tickets_free_length;
    }
    if (!ok) {
        snprintf(error, error_size, "not enough memory for the record queues: make them smaller");
        rdr_formatter_destroy(f);
        return NULL;
    }
    return f;
}

void rdr_formatter_destroy(struct rdr_formatter *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < RDR_DESTINATIONS_MAX; i++) {
        if (f->destinations[i].fd >= 0)
            close(f->destinations[i].fd);
        free(f->destinations[i].staging);
        free(f->destinations[i].entries);
    }
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        rdr_queue_free(&f->categories[i].queue);
    free(f->tickets);
    free(f->tickets_free);
    free(f);
}

#include "dataplane/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG           16
#define REQUESTS_PER_POLL 8u /* of one client, so that others have their turn */
#define READ_BYTES        16384u

struct client {
    int fd; /* -1: free place */
    bool input_ended;
    bool close_when_sent;
    char *input; /* DP_CONTROL_REQUEST_BYTES + 1: a request and its newline */
    size_t input_bytes;
    char *output;
    size_t output_bytes, output_sent;
    uint64_t active_ms; /* last time that bytes went either way */
};

struct dp_control {
    int fd;
    const struct dp_command *commands;
    void *context;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    struct client clients[DP_CONTROL_CLIENTS_MAX];
    struct dp_control_stats stats;
    uint64_t slow_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- clients ---- */

static void drop(struct dp_control *control, struct client *client)
{
    close(client->fd);
    free(client->input);
    free(client->output);
    *client = (struct client){.fd = -1};
    control->stats.clients--;
}

static void answer(struct dp_control *control, struct client *client, const char *line, size_t size_bytes)
{
    dp_control_answer(control->commands, control->context, line, size_bytes, &client->output, &client->output_bytes);
    client->output_sent = 0;
    control->stats.requests++;
}

/* False when the client is gone. */
static bool send_output(struct dp_control *control, struct client *client)
{
    while (client->output_sent < client->output_bytes) {
        ssize_t n = send(client->fd, client->output + client->output_sent, client->output_bytes - client->output_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n < 0) {
            drop(control, client);
            return false;
        }
        client->output_sent += (size_t)n;
        client->active_ms = now_ms();
    }
    free(client->output);
    client->output = NULL;
    client->output_bytes = client->output_sent = 0;
    return true;
}

/* Answers the requests that are there, one after the other, as far as their answers go out at once. */
static void serve(struct dp_control *control, struct client *client)
{
    for (unsigned i = 0; i < REQUESTS_PER_POLL && !client->output && !client->close_when_sent; i++) {
        char *newline = memchr(client->input, '\n', client->input_bytes);
        if (!newline)
            break;
        size_t size_bytes = (size_t)(newline - client->input);
        if (size_bytes)
            answer(control, client, client->input, size_bytes);
        client->input_bytes -= size_bytes + 1;
        memmove(client->input, newline + 1, client->input_bytes);
        if (!send_output(control, client))
            return;
    }
    bool has_request = memchr(client->input, '\n', client->input_bytes) != NULL;
    if (!client->output && !has_request && client->input_bytes > DP_CONTROL_REQUEST_BYTES) {
        static const char refusal[] = "{\"event\":\"error\",\"text\":\"a request of more than 65536 bytes\"}\n"
                                      "{\"event\":\"end\"}\n";
        client->output = strdup(refusal);
        client->output_bytes = client->output ? strlen(refusal) : 0;
        client->close_when_sent = true;
        control->stats.dropped_long_line++;
        if (!send_output(control, client))
            return;
    }
    if (!client->output && (client->close_when_sent || (client->input_ended && !has_request)))
        drop(control, client);
}

static void receive(struct dp_control *control, struct client *client)
{
    size_t room = DP_CONTROL_REQUEST_BYTES + 1 - client->input_bytes;
    if (!room)
        return;
    ssize_t n =
        recv(client->fd, client->input + client->input_bytes, room < READ_BYTES ? room : READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n < 0) {
        drop(control, client);
        return;
    }
    client->input_ended = n == 0;
    client->input_bytes += (size_t)n;
    client->active_ms = now_ms();
}

static struct client *free_place(struct dp_control *control)
{
    struct client *silent = &control->clients[0];
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd < 0)
            return &control->clients[i];
        if (control->clients[i].active_ms < silent->active_ms)
            silent = &control->clients[i];
    }
    drop(control, silent);
    control->stats.dropped_crowded++;
    return silent;
}

static void accept_client(struct dp_control *control)
{
    int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    char *input = fd < 0 ? NULL : malloc(DP_CONTROL_REQUEST_BYTES + 1);
    if (!input) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct client *client = free_place(control);
    *client = (struct client){.fd = fd, .input = input, .active_ms = now_ms()};
    control->stats.clients++;
    control->stats.connected++;
}

/* ---- listening ---- */

void dp_control_default_path(char *ret_path, size_t size)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0)
        snprintf(ret_path, size, "/run/opensce/sce.sock");
    else if (runtime && runtime[0] == '/')
        snprintf(ret_path, size, "%s/opensce/sce.sock", runtime);
    else
        snprintf(ret_path, size, "/tmp/opensce-%u/sce.sock", (unsigned)geteuid());
}

/* The address of "" or a path; -ENAMETOOLONG with the reason. */
static int address_of(const char *path, struct sockaddr_un *ret_address, char *error, size_t error_size)
{
    char text[512];
    if (path[0])
        snprintf(text, sizeof text, "%s", path);
    else
        dp_control_default_path(text, sizeof text);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(text) >= sizeof ret_address->sun_path) {
        snprintf(error, error_size, "control socket %s: a path of %zu bytes, expected at most %zu", text, strlen(text),
                 sizeof ret_address->sun_path - 1);
        return -ENAMETOOLONG;
    }
    memcpy(ret_address->sun_path, text, strlen(text) + 1);
    return 0;
}

static void make_folder(const char *path)
{
    char folder[sizeof((struct sockaddr_un *)0)->sun_path];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return;
    *slash = 0;
    mkdir(folder, 0750);
}

/* 0 when the path is free now: nothing there, or a socket that nobody listens on, which is removed. */
static int clear_path(const struct sockaddr_un *address, char *error, size_t error_size)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(error, error_size, "control socket %s: something that is no socket stands there", address->sun_path);
        return -EEXIST;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int result = connect(fd, (const struct sockaddr *)address, sizeof *address);
    bool is_stale = result < 0 && errno == ECONNREFUSED;
    close(fd);
    if (is_stale)
        return unlink(address->sun_path) < 0 ? -errno : 0;
    snprintf(error, error_size,
             "control socket %s: another process listens there; give control.socket a path of its own",
             address->sun_path);
    return -EADDRINUSE;
}

static int listen_on(const struct sockaddr_un *address, char *error, size_t error_size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* the mode is the file's from its first moment */
    mode_t mask = umask(0117);
    int result = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)address, sizeof *address);
    int reason = errno;
    umask(mask);
    if (result == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    if (result == 0) {
        reason = errno;
        unlink(address->sun_path);
    }
    if (fd >= 0)
        close(fd);
    snprintf(error, error_size, "control socket %s: %s", address->sun_path, strerror(reason));
    return -reason;
}

struct dp_control *dp_control_open(const char *path, const struct dp_command *commands, void *context, char *error,
                                   size_t error_size)
{
    struct sockaddr_un address;
    if (address_of(path, &address, error, error_size) < 0)
        return NULL;
    make_folder(address.sun_path);
    if (clear_path(&address, error, error_size) < 0)
        return NULL;
    int fd = listen_on(&address, error, error_size);
    if (fd < 0)
        return NULL;
    struct dp_control *control = calloc(1, sizeof *control);
    if (!control)
        abort();
    control->fd = fd;
    control->commands = commands;
    control->context = context;
    control->slow_ms = DP_CONTROL_SLOW_MS;
    memcpy(control->path, address.sun_path, sizeof control->path);
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++)
        control->clients[i].fd = -1;
    return control;
}

/* ---- polling ---- */

static short events_of(const struct client *client)
{
    if (client->output)
        return POLLOUT;
    return client->input_ended ? 0 : POLLIN;
}

static void poll_client(struct dp_control *control, struct client *client, short events)
{
    if (client->output && events & (POLLOUT | POLLHUP | POLLERR) && !send_output(control, client))
        return;
    if (events & (POLLIN | POLLHUP | POLLERR) && !client->output && !client->input_ended)
        receive(control, client);
    if (client->fd >= 0 && client->output && now_ms() - client->active_ms > control->slow_ms) {
        control->stats.dropped_slow++;
        drop(control, client);
    }
    if (client->fd >= 0)
        serve(control, client);
}

/* A request that was read but not answered yet must not wait for the next event. */
static bool has_work(const struct dp_control *control)
{
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &control->clients[i];
        if (client->fd >= 0 && !client->output && memchr(client->input, '\n', client->input_bytes))
            return true;
    }
    return false;
}

void dp_control_poll(struct dp_control *control, int timeout_ms)
{
    struct pollfd fds[DP_CONTROL_CLIENTS_MAX + 1];
    fds[DP_CONTROL_CLIENTS_MAX] = (struct pollfd){.fd = control->fd, .events = POLLIN};
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++)
        fds[i] = (struct pollfd){.fd = control->clients[i].fd, .events = events_of(&control->clients[i])};
    if (poll(fds, DP_CONTROL_CLIENTS_MAX + 1, has_work(control) ? 0 : timeout_ms) < 0)
        return;
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++)
        if (control->clients[i].fd >= 0)
            poll_client(control, &control->clients[i], fds[i].revents);
    if (fds[DP_CONTROL_CLIENTS_MAX].revents & POLLIN)
        accept_client(control);
}

void dp_control_get_stats(const struct dp_control *control, struct dp_control_stats *ret_stats)
{
    *ret_stats = control->stats;
}

void dp_control_set_slow_ms(struct dp_control *control, uint64_t slow_ms)
{
    control->slow_ms = slow_ms;
}

const char *dp_control_path(const struct dp_control *control)
{
    return control->path;
}

void dp_control_close(struct dp_control *control)
{
    if (!control)
        return;
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++)
        if (control->clients[i].fd >= 0)
            drop(control, &control->clients[i]);
    close(control->fd);
    unlink(control->path);
    free(control);
}

/* ---- client ---- */

static int connect_to(const char *path, char *error, size_t error_size)
{
    struct sockaddr_un address;
    int result = address_of(path, &address, error, error_size);
    if (result < 0)
        return result;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        struct timeval limit = {.tv_sec = 30};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        return fd;
    }
    result = -errno;
    if (fd >= 0)
        close(fd);
    bool is_absent = result == -ENOENT || result == -ECONNREFUSED;
    snprintf(error, error_size, "%s: %s%s", address.sun_path, strerror(-result),
             is_absent           ? "; is sce run there? --socket names another socket"
             : result == -EACCES ? "; the socket is for root and its group"
                                 : "");
    return result;
}

static bool send_request(int fd, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return false;
    size_t size_bytes = strlen(text);
    text[size_bytes] = '\n';
    size_t sent = 0;
    while (sent <= size_bytes) {
        ssize_t n = send(fd, text + sent, size_bytes + 1 - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        sent += (size_t)n;
    }
    free(text);
    return sent == size_bytes + 1;
}

/* One line of the answer: 1 = end, 0 = go on, -errno. */
static int take_row(const char *line, dp_control_row on_row, void *context, char *error, size_t error_size)
{
    json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    const char *event = json_string_value(json_object_get(row, "event"));
    int result = 0;
    if (!event) {
        snprintf(error, error_size, "an answer that is no JSON object with \"event\"");
        result = -EPROTO;
    } else if (!strcmp(event, "end")) {
        result = 1;
    } else if (!strcmp(event, "error")) {
        const char *text = json_string_value(json_object_get(row, "text"));
        snprintf(error, error_size, "%s", text ? text : "refused");
        result = -EREMOTEIO;
    } else if (!on_row(context, row)) {
        result = 1;
    }
    json_decref(row);
    return result;
}

int dp_control_ask(const char *path, const json_t *request, dp_control_row on_row, void *context, char *error,
                   size_t error_size)
{
    int fd = connect_to(path, error, error_size);
    if (fd < 0)
        return fd;
    FILE *in = fdopen(fd, "r");
    if (!in || !send_request(fd, request)) {
        snprintf(error, error_size, "the request could not be sent: %s", strerror(errno));
        if (in)
            fclose(in);
        else
            close(fd);
        return -EIO;
    }
    char *line = NULL;
    size_t capacity = 0;
    int result = 0;
    while (result == 0) {
        if (getline(&line, &capacity, in) < 0) {
            snprintf(error, error_size, "the answer broke off");
            result = -EPIPE;
        } else {
            result = take_row(line, on_row, context, error, error_size);
        }
    }
    free(line);
    fclose(in);
    return result < 0 ? result : 0;
}

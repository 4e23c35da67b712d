/* Two ends of a control session in one thread, over loopback: who is let in, what arrives, how it ends. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/cascade/session.h"

struct end {
    struct cascade_session *session;
    unsigned opened, closed;
    enum cascade_session_end last;
    unsigned messages;
    uint64_t bytes, sum;
    uint8_t last_type;
    bool closes_at_message;
};

static void on_opened(void *context)
{
    ((struct end *)context)->opened++;
}

static void on_message(void *context, uint8_t type, const uint8_t *body, size_t size_bytes)
{
    struct end *end = context;
    end->messages++;
    end->last_type = type;
    end->bytes += size_bytes;
    for (size_t i = 0; i < size_bytes; i++)
        end->sum = end->sum * 31 + body[i];
    if (end->closes_at_message)
        cascade_session_close(end->session);
}

static void on_closed(void *context, enum cascade_session_end how, const char *detail)
{
    struct end *end = context;
    (void)detail;
    end->closed++;
    end->last = how;
}

static char folder[] = "/dev/shm/opensce-session-XXXXXX";

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

static void write_file(const char *name, const char *text, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s/%s", folder, name);
    FILE *file = fopen(ret_path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static void open_end(struct end *end, bool listens, uint16_t port, const char *secret_path)
{
    struct cascade_session_config config = {.listens = listens,
                                            .address = "127.0.0.1",
                                            .port = port,
                                            .reconnect_ms_min = 1,
                                            .reconnect_ms_max = 2,
                                            .handshake_ms_max = 300};
    snprintf(config.secret_path, sizeof config.secret_path, "%s", secret_path);
    struct cascade_session_handlers handlers = {on_opened, on_message, on_closed, end};
    char error[256];
    end->session = cascade_session_create(&config, &handlers, error, sizeof error);
    cr_assert_not_null(end->session, "%s", error);
}

static void turn(struct end *a, struct end *b, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        if (a)
            cascade_session_poll(a->session, 1);
        if (b)
            cascade_session_poll(b->session, 1);
    }
}

static void until_open(struct end *a, struct end *b)
{
    for (unsigned i = 0; i < 2000 && !(cascade_session_is_open(a->session) && cascade_session_is_open(b->session)); i++)
        turn(a, b, 1);
    cr_assert(cascade_session_is_open(a->session) && cascade_session_is_open(b->session));
}

static void open_pair(struct end *a, struct end *b)
{
    char path[128];
    write_file("secret", "a secret of many letters\n", path, sizeof path);
    open_end(a, true, 0, path);
    open_end(b, false, cascade_session_port(a->session), path);
    until_open(a, b);
}

static void close_pair(struct end *a, struct end *b)
{
    cascade_session_destroy(a->session);
    cascade_session_destroy(b->session);
}

TestSuite(cascade_session, .init = make_folder, .fini = remove_folder);

Test(cascade_session, messages_of_all_sizes_arrive_in_order)
{
    struct end a = {0}, b = {0};
    static uint8_t body[CASCADE_MESSAGE_MAX_BYTES];
    open_pair(&a, &b);
    uint64_t sum = 0, bytes = 0;
    unsigned count = 0;
    for (size_t size = 0; size <= sizeof body; size = size * 3 + 1, count++) {
        for (size_t i = 0; i < size; i++) {
            body[i] = (uint8_t)(i * 7 + size);
            sum = sum * 31 + body[i];
        }
        bytes += size;
        cr_assert(cascade_session_send(b.session, (uint8_t)count, body, size));
    }
    cr_assert(cascade_session_send(a.session, 200, "answer", 6));
    turn(&a, &b, 200);
    cr_expect_eq(a.messages, count);
    cr_expect_eq(a.bytes, bytes);
    cr_expect_eq(a.sum, sum);
    cr_expect_eq(a.last_type, count - 1);
    cr_expect_eq(b.messages, 1);
    cr_expect_eq(b.last_type, 200);
    cr_expect_not(cascade_session_send(a.session, 1, body, sizeof body + 1));
    close_pair(&a, &b);
}

/* A peer that does not read: the sender is told, nothing of what was taken is lost. */
Test(cascade_session, a_full_buffer_refuses)
{
    struct end a = {0}, b = {0};
    static uint8_t body[100000];
    open_pair(&a, &b);
    uint64_t sent = 0;
    unsigned refused = 0;
    for (unsigned i = 0; i < 400; i++) {
        if (cascade_session_send(b.session, 1, body, sizeof body))
            sent++;
        else
            refused++;
        cascade_session_poll(b.session, 0);
    }
    struct cascade_session_stats stats;
    cascade_session_stats(b.session, &stats);
    cr_expect_gt(refused, 0);
    cr_expect_eq(stats.send_refused, refused);
    for (unsigned i = 0; i < 5000 && a.messages < sent; i++)
        turn(&a, &b, 1);
    cr_expect_eq(a.messages, sent);
    cr_expect_eq(a.bytes, sent * sizeof body);
    close_pair(&a, &b);
}

Test(cascade_session, another_secret_is_refused_on_both_sides)
{
    struct end a = {0}, b = {0};
    char right[128], wrong[128];
    write_file("right", "a secret of many letters", right, sizeof right);
    write_file("wrong", "a secret of many ketters", wrong, sizeof wrong);
    open_end(&a, true, 0, right);
    open_end(&b, false, cascade_session_port(a.session), wrong);
    for (unsigned i = 0; i < 2000 && !(a.closed && b.closed); i++)
        turn(&a, &b, 1);
    cr_expect_eq(a.last, CASCADE_SESSION_END_handshake_refused);
    cr_expect_eq(b.last, CASCADE_SESSION_END_handshake_refused);
    turn(&a, &b, 100);
    struct cascade_session_stats stats;
    cascade_session_stats(b.session, &stats);
    cr_expect_gt(stats.ends[CASCADE_SESSION_END_handshake_refused], 1, "it tries again");
    cr_expect_eq(b.closed, 1, "and says so once");
    cr_expect_eq(a.opened + b.opened, 0);
    close_pair(&a, &b);
}

/* Blanks at the end of the file do not make another secret. */
Test(cascade_session, secrets_in_files)
{
    struct end a = {0}, b = {0};
    char with_newline[128], without[128], error[256];
    write_file("one", "0123456789abcdef\r\n \n", with_newline, sizeof with_newline);
    write_file("two", "0123456789abcdef", without, sizeof without);
    open_end(&a, true, 0, with_newline);
    open_end(&b, false, cascade_session_port(a.session), without);
    until_open(&a, &b);
    close_pair(&a, &b);

    struct cascade_session_config config = {.listens = true, .address = "127.0.0.1"};
    struct cascade_session_handlers handlers = {0};
    write_file("short", "0123456789abcde\n", config.secret_path, sizeof config.secret_path);
    cr_expect_null(cascade_session_create(&config, &handlers, error, sizeof error));
    cr_expect_not_null(strstr(error, "has 15 bytes, at least 16"), "%s", error);
    snprintf(config.secret_path, sizeof config.secret_path, "%s/none", folder);
    cr_expect_null(cascade_session_create(&config, &handlers, error, sizeof error));
    cr_expect_not_null(strstr(error, "No such file"), "%s", error);
}

static int plain_connection(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Neither bytes that are no TLS nor silence keep the peer out, and an open session does not notice them. */
Test(cascade_session, strangers_at_the_port)
{
    struct end a = {0}, b = {0};
    open_pair(&a, &b);
    int garbage = plain_connection(cascade_session_port(a.session));
    cr_assert_eq(write(garbage, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    turn(&a, &b, 50);
    struct cascade_session_stats stats;
    cascade_session_stats(a.session, &stats);
    cr_expect_eq(stats.ends[CASCADE_SESSION_END_handshake_refused], 1);
    int silent = plain_connection(cascade_session_port(a.session));
    for (unsigned i = 0; i < 2000 && !stats.ends[CASCADE_SESSION_END_handshake_timeout]; i++) {
        turn(&a, &b, 1);
        cascade_session_stats(a.session, &stats);
    }
    cr_expect_eq(stats.ends[CASCADE_SESSION_END_handshake_timeout], 1);
    cr_expect(cascade_session_is_open(a.session));
    cr_assert(cascade_session_send(b.session, 1, "still here", 10));
    turn(&a, &b, 20);
    cr_expect_eq(a.messages, 1);
    close(garbage);
    close(silent);
    close_pair(&a, &b);
}

Test(cascade_session, ends_and_begins_anew)
{
    struct end a = {0}, b = {0};
    open_pair(&a, &b);
    cascade_session_close(a.session);
    cr_expect_eq(a.last, CASCADE_SESSION_END_closed_here);
    for (unsigned i = 0; i < 2000 && !b.closed; i++)
        turn(&a, &b, 1);
    cr_expect_eq(b.last, CASCADE_SESSION_END_closed_by_peer);
    until_open(&a, &b);
    cr_expect_eq(a.opened, 2);
    b.closes_at_message = true; /* from within the handler */
    cr_assert(cascade_session_send(a.session, 1, "one", 3));
    cr_assert(cascade_session_send(a.session, 2, "two", 3));
    for (unsigned i = 0; i < 2000 && b.closed < 2; i++)
        turn(&a, &b, 1);
    cr_expect_eq(b.messages, 1);
    cr_expect_eq(b.last, CASCADE_SESSION_END_closed_here);
    close_pair(&a, &b);
}

/* A peer that restarted comes back before its old connection is known to be dead. */
Test(cascade_session, the_last_connection_wins)
{
    struct end a = {0}, b = {0}, again = {0};
    char path[128];
    open_pair(&a, &b);
    snprintf(path, sizeof path, "%s/secret", folder);
    open_end(&again, false, cascade_session_port(a.session), path);
    for (unsigned i = 0; i < 2000 && a.opened < 2; i++)
        turn(&a, &again, 1);
    cr_expect_eq(a.opened, 2);
    cr_expect_eq(a.last, CASCADE_SESSION_END_replaced);
    cr_assert(cascade_session_send(again.session, 9, "new", 3));
    turn(&a, &again, 50);
    cr_expect_eq(a.last_type, 9);
    cascade_session_destroy(again.session);
    close_pair(&a, &b);
}

static void run_command(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    cr_assert_eq(system(command), 0, "%s", command);
}

/* A certificate NAME.pem with its key NAME.key, signed by itself. */
static void make_certificate(const char *name)
{
    run_command("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s -days 2 "
                "-keyout %s.key -out %s.pem >/dev/null 2>&1",
                folder, name, name, name);
}

static void open_certified(struct end *end, bool listens, uint16_t port, const char *name)
{
    struct cascade_session_config config = {
        .listens = listens, .address = "127.0.0.1", .port = port, .reconnect_ms_min = 1, .reconnect_ms_max = 2};
    snprintf(config.certificate_path, sizeof config.certificate_path, "%s/%s.pem", folder, name);
    snprintf(config.key_path, sizeof config.key_path, "%s/%s.key", folder, name);
    snprintf(config.authority_path, sizeof config.authority_path, "%s/authority.pem", folder);
    struct cascade_session_handlers handlers = {on_opened, on_message, on_closed, end};
    char error[256];
    end->session = cascade_session_create(&config, &handlers, error, sizeof error);
    cr_assert_not_null(end->session, "%s", error);
}

Test(cascade_session, certificates_of_one_authority)
{
    struct end a = {0}, b = {0}, stranger = {0};
    make_certificate("authority");
    run_command(
        "cd %s && for n in one two; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$n "
        "-keyout $n.key -out $n.csr && openssl x509 -req -in $n.csr -CA authority.pem -CAkey authority.key "
        "-CAcreateserial -days 2 -out $n.pem; done >/dev/null 2>&1",
        folder);
    make_certificate("stranger");
    open_certified(&a, true, 0, "one");
    open_certified(&stranger, false, cascade_session_port(a.session), "stranger");
    for (unsigned i = 0; i < 2000 && !a.closed; i++)
        turn(&a, &stranger, 1);
    cr_expect_eq(a.last, CASCADE_SESSION_END_handshake_refused);
    cr_expect_eq(a.opened, 0);
    cascade_session_destroy(stranger.session);
    open_certified(&b, false, cascade_session_port(a.session), "two");
    until_open(&a, &b);
    cr_expect_eq(a.opened, 1);
    close_pair(&a, &b);
}

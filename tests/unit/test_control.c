#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/control.h"

/* ---- commands of the tests ---- */

static void run_count(const json_t *request, struct dp_reply *reply, void *context)
{
    unsigned *calls = context;
    uint64_t rows = dp_request_number(request, "rows", 1);
    ++*calls;
    for (uint64_t i = 0; i < rows; i++) {
        struct json *row = dp_reply_row(reply, "row");
        json_u64(row, "number", i);
        json_text(row, "text", dp_request_text(request, "text", "none"));
        json_bool(row, "loud", dp_request_switch(request, "loud"));
        if (!dp_reply_row_end(reply))
            return;
    }
}

static const struct dp_argument count_arguments[] = {
    {"rows", DP_ARGUMENT_NUMBER, 10000000},
    {"text", DP_ARGUMENT_TEXT, 0},
    {"loud", DP_ARGUMENT_SWITCH, 0},
    {.name = NULL},
};

static const struct dp_command commands[] = {
    {"show rows", "rows that count up", count_arguments, run_count},
    {"plain", "no arguments", NULL, run_count},
    {.name = NULL},
};

/* ---- answers ---- */

static void expect_answer(const char *line, const char *expected)
{
    char *bytes;
    size_t size_bytes;
    unsigned calls = 0;
    dp_control_answer(commands, &calls, line, strlen(line), &bytes, &size_bytes);
    char *text = strndup(bytes, size_bytes);
    cr_expect_str_eq(text, expected);
    free(text);
    free(bytes);
}

#define END      "{\"event\":\"end\"}\n"
#define ERROR(t) "{\"event\":\"error\",\"text\":\"" t "\"}\n" END

Test(control, requests_are_answered_by_rows_and_an_end)
{
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"rows\":2,\"text\":\"x\\n\",\"loud\":true}",
                  "{\"event\":\"row\",\"number\":0,\"text\":\"x\\u000a\",\"loud\":true}\n"
                  "{\"event\":\"row\",\"number\":1,\"text\":\"x\\u000a\",\"loud\":true}\n" END);
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"rows\":0}", END);
    expect_answer("{\"command\":\"help\"}",
                  "{\"event\":\"command\",\"name\":\"show rows\",\"help\":\"rows that count "
                  "up\",\"arguments\":[\"rows\",\"text\",\"loud\"]}\n"
                  "{\"event\":\"command\",\"name\":\"plain\",\"help\":\"no arguments\",\"arguments\":[]}\n" END);
}

Test(control, refusals_say_what_was_expected)
{
    expect_answer("{}", ERROR("no \\\"command\\\", expected {\\\"command\\\":\\\"help\\\"} or another"));
    expect_answer("[1]", ERROR("expected a JSON object"));
    expect_answer("{\"command\":\"show\",\"what\":\"row\"}",
                  ERROR("no command \\\"show row\\\", did you mean \\\"show rows\\\"?; \\\"help\\\" lists them"));
    expect_answer("{\"command\":\"zzzzzzzzzzzzzzzz\"}",
                  ERROR("no command \\\"zzzzzzzzzzzzzzzz\\\"; \\\"help\\\" lists them"));
    expect_answer("{\"command\":7}", ERROR("no \\\"command\\\", expected {\\\"command\\\":\\\"help\\\"} or another"));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"row\":1}",
                  ERROR("\\\"row\\\" is no argument of \\\"show rows\\\", did you mean \\\"rows\\\"?"));
    expect_answer("{\"command\":\"plain\",\"row\":1}", ERROR("\\\"row\\\" is no argument of \\\"plain\\\""));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"rows\":-1}",
                  ERROR("rows: expected a number from 0 to 10000000"));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"rows\":10000001}",
                  ERROR("rows: expected a number from 0 to 10000000"));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"rows\":1.5}",
                  ERROR("rows: expected a number from 0 to 10000000"));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"text\":1}", ERROR("text: expected a text"));
    expect_answer("{\"command\":\"show\",\"what\":\"rows\",\"loud\":1}", ERROR("loud: expected true or false"));
    expect_answer("{\"command\":\"plain\",\"command\":\"plain\"}",
                  ERROR("column 28: duplicate object key near '\\\"command\\\"'; expected one JSON object a line"));
}

Test(control, hostile_lines_get_one_error_and_the_end)
{
    static const char *const lines[] = {"{",
                                        "}",
                                        "\"",
                                        "{\"command\":\"\\u0000\"}",
                                        "\xff\xfe",
                                        "{\"command\":\"\xc0\x80\"}",
                                        "nul",
                                        "1e999",
                                        "{\"a\":{\"a\":{\"a\":",
                                        "{}{}"};
    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *bytes;
        size_t size_bytes;
        unsigned calls = 0;
        dp_control_answer(commands, &calls, lines[i], strlen(lines[i]), &bytes, &size_bytes);
        char *text = strndup(bytes, size_bytes);
        cr_expect_eq(strncmp(text, "{\"event\":\"error\",", 17), 0, "%s: %s", lines[i], text);
        cr_expect_str_eq(strchr(text, '\n') + 1, END, "%s: %s", lines[i], text);
        cr_expect_eq(calls, 0);
        free(text);
        free(bytes);
    }
    char deep[8192];
    memset(deep, '[', sizeof deep);
    char *bytes;
    size_t size_bytes;
    dp_control_answer(commands, NULL, deep, sizeof deep, &bytes, &size_bytes);
    cr_expect_eq(strncmp(bytes, "{\"event\":\"error\",", 17), 0);
    free(bytes);
}

Test(control, too_large_answer_is_cut_at_a_line_and_says_so)
{
    static const char line[] = "{\"command\":\"show\",\"what\":\"rows\",\"rows\":2000000}";
    char *bytes;
    size_t size_bytes;
    unsigned calls = 0;
    dp_control_answer(commands, &calls, line, strlen(line), &bytes, &size_bytes);
    cr_assert_lt(size_bytes, DP_CONTROL_REPLY_BYTES + 200);
    static const char tail[] =
        "}\n{\"event\":\"error\",\"text\":\"the answer is cut: it is larger than 64 MiB; ask for "
        "less\"}\n" END;
    cr_expect(!memcmp(bytes + size_bytes - strlen(tail), tail, strlen(tail)));
    free(bytes);
}

/* ---- sockets ---- */

static char folder[] = "/tmp/opensce-test-XXXXXX";
static char path[64], error[512];
static unsigned calls;
static struct dp_control *control;

static void open_control(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s/sce.sock", folder);
    control = dp_control_open(path, commands, &calls, error, sizeof error);
    cr_assert_not_null(control, "%s", error);
}

static void close_control(void)
{
    char inner[64];
    dp_control_close(control);
    cr_expect_eq(access(path, F_OK), -1, "the socket file is left");
    snprintf(inner, sizeof inner, "%s/s", folder);
    rmdir(inner);
    rmdir(folder);
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    dp_control_poll(control, 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What has arrived after a few turns of the server. */
static const char *hear(int fd)
{
    static char text[65536];
    size_t size_bytes = 0;
    for (unsigned i = 0; i < 8; i++) {
        dp_control_poll(control, 0);
        ssize_t n = recv(fd, text + size_bytes, sizeof text - 1 - size_bytes, MSG_DONTWAIT);
        size_bytes += n > 0 ? (size_t)n : 0;
    }
    text[size_bytes] = 0;
    return text;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static unsigned client_count(void)
{
    struct dp_control_stats stats;
    dp_control_get_stats(control, &stats);
    return stats.clients;
}

#define ROW0 "{\"event\":\"row\",\"number\":0,\"text\":\"none\",\"loud\":false}\n"

Test(control, several_clients_and_requests_in_pieces, .init = open_control, .fini = close_control)
{
    struct stat status;
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq(status.st_mode & 0777, 0660);
    int a = connect_client(), b = connect_client();
    say(a, "{\"command\":");
    cr_expect_str_eq(hear(a), "");
    say(b, "{\"command\":\"plain\"}\n\n{\"command\":\"plain\"}\n");
    cr_expect_str_eq(hear(b), ROW0 END ROW0 END);
    say(a, "\"plain\"}\n");
    cr_expect_str_eq(hear(a), ROW0 END);
    cr_expect_eq(calls, 3);
    close(a);
    hear(b);
    cr_expect_eq(client_count(), 1);
    close(b);
}

Test(control, half_closed_client_gets_its_answers, .init = open_control, .fini = close_control)
{
    int fd = connect_client();
    for (unsigned i = 0; i < 20; i++)
        say(fd, "{\"command\":\"plain\"}\n");
    say(fd, "{\"command\":\"pla");
    shutdown(fd, SHUT_WR);
    const char *text = hear(fd);
    cr_expect_eq(strlen(text), 20 * strlen(ROW0 END));
    cr_expect(is_closed(fd));
    cr_expect_eq(client_count(), 0);
    cr_expect_eq(calls, 20);
    close(fd);
}

Test(control, too_long_line_is_refused_and_closed, .init = open_control, .fini = close_control)
{
    int fd = connect_client();
    static char long_line[DP_CONTROL_REQUEST_BYTES + 1];
    memset(long_line, ' ', sizeof long_line);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (size_t sent = 0; sent < sizeof long_line;) {
        ssize_t n = send(fd, long_line + sent, sizeof long_line - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        dp_control_poll(control, 0);
    }
    cr_expect_str_eq(hear(fd), ERROR("a request of more than 65536 bytes"));
    cr_expect(is_closed(fd));
    struct dp_control_stats stats;
    dp_control_get_stats(control, &stats);
    cr_expect_eq(stats.dropped_long_line, 1);
    cr_expect_eq(stats.requests, 0);
    close(fd);
}

Test(control, longest_allowed_line_is_answered, .init = open_control, .fini = close_control)
{
    int fd = connect_client();
    static char line[DP_CONTROL_REQUEST_BYTES + 2];
    memset(line, ' ', DP_CONTROL_REQUEST_BYTES);
    memcpy(line, "{\"command\":\"plain\"}", 19);
    line[DP_CONTROL_REQUEST_BYTES] = '\n';
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (size_t sent = 0; sent < DP_CONTROL_REQUEST_BYTES + 1;) {
        ssize_t n = send(fd, line + sent, DP_CONTROL_REQUEST_BYTES + 1 - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        dp_control_poll(control, 0);
    }
    cr_expect_str_eq(hear(fd), ROW0 END);
    close(fd);
}

Test(control, client_that_does_not_read_is_dropped_and_others_go_on, .init = open_control, .fini = close_control)
{
    int slow = connect_client(), other = connect_client();
    say(slow, "{\"command\":\"show\",\"what\":\"rows\",\"rows\":100000}\n");
    hear(other);
    cr_expect_eq(client_count(), 2);
    say(other, "{\"command\":\"plain\"}\n");
    cr_expect_str_eq(hear(other), ROW0 END);
    cr_expect_eq(client_count(), 2, "slow is not too slow yet");
    dp_control_set_slow_ms(control, 0);
    usleep(5000);
    dp_control_poll(control, 0);
    struct dp_control_stats stats;
    dp_control_get_stats(control, &stats);
    cr_expect_eq(stats.clients, 1);
    cr_expect_eq(stats.dropped_slow, 1);
    close(slow);
    close(other);
}

Test(control, vanished_client_is_forgotten, .init = open_control, .fini = close_control)
{
    int fd = connect_client();
    say(fd, "{\"command\":\"show\",\"what\":\"rows\",\"rows\":100000}\n");
    dp_control_poll(control, 0);
    close(fd);
    dp_control_poll(control, 0);
    dp_control_poll(control, 0);
    cr_expect_eq(client_count(), 0);
}

Test(control, newcomer_takes_the_place_of_the_silent, .init = open_control, .fini = close_control)
{
    int fds[DP_CONTROL_CLIENTS_MAX + 1];
    for (unsigned i = 0; i < DP_CONTROL_CLIENTS_MAX; i++) {
        fds[i] = connect_client();
        usleep(2000);
    }
    say(fds[0], "{\"command\":\"plain\"}\n");
    cr_expect_str_eq(hear(fds[0]), ROW0 END);
    fds[DP_CONTROL_CLIENTS_MAX] = connect_client();
    say(fds[DP_CONTROL_CLIENTS_MAX], "{\"command\":\"plain\"}\n");
    cr_expect_str_eq(hear(fds[DP_CONTROL_CLIENTS_MAX]), ROW0 END);
    cr_expect(is_closed(fds[1]));
    cr_expect_not(is_closed(fds[0]));
    cr_expect_eq(client_count(), DP_CONTROL_CLIENTS_MAX);
}

Test(control, path_in_use_is_refused_and_a_stale_one_replaced)
{
    open_control();
    cr_expect_null(dp_control_open(path, commands, NULL, error, sizeof error));
    cr_expect(strstr(error, "another process listens there"), "%s", error);
    /* a daemon that was killed leaves its file */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char stale[64];
    snprintf(stale, sizeof stale, "%s/stale.sock", folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", stale);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 1), 0);
    close(fd);
    struct dp_control *second = dp_control_open(stale, commands, NULL, error, sizeof error);
    cr_expect_not_null(second, "%s", error);
    dp_control_close(second);
    fd = open(stale, O_CREAT | O_WRONLY, 0600);
    close(fd);
    cr_expect_null(dp_control_open(stale, commands, NULL, error, sizeof error));
    cr_expect(strstr(error, "is no socket"), "%s", error);
    unlink(stale);
    close_control();
}

Test(control, too_long_path_is_refused)
{
    char long_path[200] = "/tmp/";
    memset(long_path + 5, 'x', sizeof long_path - 6);
    cr_expect_null(dp_control_open(long_path, commands, NULL, error, sizeof error));
    cr_expect(strstr(error, "a path of 199 bytes, expected at most 107"), "%s", error);
}

/* ---- the client ---- */

static _Atomic bool stop;

static void *serve(void *argument)
{
    while (!stop)
        dp_control_poll(argument, 10);
    return NULL;
}

static bool count_rows(void *context, const json_t *row)
{
    unsigned *count = context;
    cr_expect_eq((unsigned)json_integer_value(json_object_get(row, "number")), *count);
    ++*count;
    return true;
}

Test(control, client_asks_and_gets_rows, .init = open_control, .fini = close_control)
{
    pthread_t thread;
    unsigned rows = 0;
    pthread_create(&thread, NULL, serve, control);
    json_t *request = json_pack("{s:s,s:s,s:i}", "command", "show", "what", "rows", "rows", 50000);
    cr_expect_eq(dp_control_ask(path, request, count_rows, &rows, error, sizeof error), 0, "%s", error);
    cr_expect_eq(rows, 50000);
    json_decref(request);
    request = json_pack("{s:s}", "command", "no");
    cr_expect_eq(dp_control_ask(path, request, count_rows, &rows, error, sizeof error), -EREMOTEIO);
    cr_expect_str_eq(error, "no command \"no\"; \"help\" lists them");
    json_decref(request);
    stop = true;
    pthread_join(thread, NULL);
}

Test(control, client_without_a_server_is_told_what_to_do)
{
    json_t *request = json_pack("{s:s}", "command", "help");
    cr_expect_eq(dp_control_ask("/tmp/no-such-folder/sce.sock", request, count_rows, NULL, error, sizeof error),
                 -ENOENT);
    cr_expect_str_eq(error, "/tmp/no-such-folder/sce.sock: No such file or directory; is sce run there? --socket names "
                            "another socket");
    json_decref(request);
}

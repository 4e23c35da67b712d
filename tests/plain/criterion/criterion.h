/*
 * A stand-in for Criterion, for ThreadSanitizer builds alone: Criterion maps an arena where TSan's shadow lies and
 * cannot start. The same test files build with it. Covers what they use: Test() and TestSuite() without options, the plain assertions,
 * skipping. Each test runs in a process of its own; a failed assertion, a crash or a report of the sanitizer fails it.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
    const char *suite;
    const char *name;
    void (*run)(void);
};

#define PLAIN_TESTS_MAX 256
static struct plain_test plain_tests[PLAIN_TESTS_MAX];
static int plain_test_count;

#define Test(suite_, name_, ...)                                                                                       \
    static void suite_##_##name_##_run(void);                                                                          \
    __attribute__((constructor)) static void suite_##_##name_##_register(void)                                         \
    {                                                                                                                  \
        plain_tests[plain_test_count++] = (struct plain_test){#suite_, #name_, suite_##_##name_##_run};                \
    }                                                                                                                  \
    static void suite_##_##name_##_run(void)

/* Options of a suite are left out: time limits and the like. */
#define TestSuite(suite_, ...) struct plain_suite_##suite_

#define PLAIN_FAIL(condition, ...)                                                                                     \
    do {                                                                                                               \
        fprintf(stderr, "%s:%d: failed: %s", __FILE__, __LINE__, condition);                                           \
        fprintf(stderr, " " __VA_ARGS__);                                                                              \
        fprintf(stderr, "\n");                                                                                         \
        exit(1);                                                                                                       \
    } while (0)

#define cr_assert(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            PLAIN_FAIL(#condition, __VA_ARGS__);                                                                       \
    } while (0)
#define cr_assert_not(condition, ...)    cr_assert(!(condition), ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...)          cr_assert((a) == (b), ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...)         cr_assert((a) != (b), ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...)          cr_assert((a) > (b), ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...)         cr_assert((a) >= (b), ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...)          cr_assert((a) < (b), ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...)         cr_assert((a) <= (b), ##__VA_ARGS__)
#define cr_assert_null(pointer, ...)     cr_assert((pointer) == NULL, ##__VA_ARGS__)
#define cr_assert_not_null(pointer, ...) cr_assert((pointer) != NULL, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)      cr_assert(strcmp(a, b) == 0, ##__VA_ARGS__)
/* What does not end a test in Criterion ends it here. */
#define cr_expect        cr_assert
#define cr_expect_not    cr_assert_not
#define cr_expect_eq     cr_assert_eq
#define cr_expect_geq    cr_assert_geq
#define cr_expect_str_eq cr_assert_str_eq
#define cr_skip_test(...)                                                                                              \
    do {                                                                                                               \
        fprintf(stderr, "skipped: " __VA_ARGS__);                                                                      \
        fprintf(stderr, "\n");                                                                                         \
        exit(0);                                                                                                       \
    } while (0)
#define cr_log_info(...)                                                                                               \
    do {                                                                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fprintf(stderr, "\n");                                                                                         \
    } while (0)

int main(void)
{
    int failed = 0;
    for (int i = 0; i < plain_test_count; i++) {
        int status = 1;
        pid_t pid = fork();
        if (pid == 0) {
            plain_tests[i].run();
            exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "[FAIL] %s::%s\n", plain_tests[i].suite, plain_tests[i].name);
            failed++;
        }
    }
    fprintf(stderr, "%d passed, %d failed\n", plain_test_count - failed, failed);
    return failed != 0;
}

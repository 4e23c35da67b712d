/*
 * Memory that cannot be had at start-up: the n-th allocation fails, for each n until none is left to fail. Each time there
 * is an error that says so, and nothing is kept. The linker puts our allocators in the place of the library's (--wrap in
 * tests/unit/meson.build) for all that is linked in; libraries that are loaded have theirs.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "dataplane/worker.h"

#define CALLS_MAX 4096u /* of one start */
#define KEPT_MAX  4096u

/* What is allocated and not freed: pointers in any order. A pointer that a library gave is not known and is let pass. */
static struct {
    bool is_armed;
    unsigned calls, failing; /* the call that fails; 0: none */
    void *kept[KEPT_MAX];
    unsigned kept_count;
} memory;

static bool fails(void)
{
    return memory.is_armed && ++memory.calls == memory.failing;
}

static void *keep(void *pointer)
{
    if (memory.is_armed && pointer) {
        cr_assert_lt(memory.kept_count, KEPT_MAX);
        memory.kept[memory.kept_count++] = pointer;
    }
    return pointer;
}

static void forget(const void *pointer)
{
    for (unsigned i = 0; pointer && i < memory.kept_count; i++)
        if (memory.kept[i] == pointer) {
            memory.kept[i] = memory.kept[--memory.kept_count];
            return;
        }
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t size);
ssize_t __real_getrandom(void *buffer, size_t size, unsigned flags);
void __real_free(void *pointer);
struct cl_engine *__real_cl_engine_load(const struct cl_options *options, char *error, size_t error_size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t size);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags);
void __wrap_free(void *pointer);
struct cl_engine *__wrap_cl_engine_load(const struct cl_options *options, char *error, size_t error_size);

void *__wrap_malloc(size_t size)
{
    return fails() ? no_memory() : keep(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? no_memory() : keep(__real_calloc(count, size));
}

void *__wrap_realloc(void *pointer, size_t size)
{
    if (fails())
        return no_memory();
    forget(pointer);
    return keep(__real_realloc(pointer, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? no_memory() : keep(__real_aligned_alloc(alignment, size));
}

void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return keep(__real_mmap64(address, size, protection, flags, fd, offset));
}

int __wrap_munmap(void *address, size_t size)
{
    forget(address);
    return __real_munmap(address, size);
}

ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags)
{
    if (fails()) {
        errno = ENOSYS;
        return -1;
    }
    return __real_getrandom(buffer, size, flags);
}

void __wrap_free(void *pointer)
{
    forget(pointer);
    __real_free(pointer);
}

/* Loading a pack has tests of its own; here it always succeeds, and what it keeps is not counted. */
struct cl_engine *__wrap_cl_engine_load(const struct cl_options *options, char *error, size_t error_size)
{
    bool was_armed = memory.is_armed;
    memory.is_armed = false;
    struct cl_engine *engine = __real_cl_engine_load(options, error, error_size);
    memory.is_armed = was_armed;
    return engine;
}

static void arm(unsigned failing)
{
    memory.calls = memory.kept_count = 0;
    memory.failing = failing;
    memory.is_armed = true;
}

/* `start` gives NULL and an error, or what `stop` ends. Returns how many allocations a start takes. */
static unsigned fail_each(void *(*start)(char *error, size_t error_size), void (*stop)(void *))
{
    for (unsigned failing = 1; failing < CALLS_MAX; failing++) {
        char error[512] = "";
        arm(failing);
        void *started = start(error, sizeof error);
        bool has_failed = memory.calls >= failing;
        if (!started)
            cr_expect_neq(error[0], 0, "allocation %u: no reason given", failing);
        cr_expect_eq(!started, has_failed, "allocation %u: %s", failing, started ? "not noticed" : error);
        if (started)
            stop(started);
        memory.is_armed = false;
        cr_expect_eq(memory.kept_count, 0, "allocation %u: %u kept", failing, memory.kept_count);
        if (!has_failed)
            return failing - 1;
    }
    cr_assert_fail("no end of allocations");
    return CALLS_MAX;
}

/* ---- the flow table ---- */

static void *start_table(char *error, size_t error_size)
{
    struct ft_config config;
    ft_config_init(&config);
    config.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    return ft_create(&config, error, error_size);
}

static void stop_table(void *table)
{
    ft_destroy(table);
}

Test(start, a_flow_table_without_memory_says_so)
{
    cr_assert_geq(fail_each(start_table, stop_table), 4, "the table, its readers, its arrays, its secret");
}

/* ---- the engine ---- */

static void *start_engine(char *error, size_t error_size)
{
    struct dp_engine_config config;
    dp_engine_config_init(&config);
    config.worker_count = 2;
    config.link_count = 1;
    config.flow_table.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    return dp_engine_create(&config, error, error_size);
}

static void stop_engine(void *engine)
{
    dp_engine_destroy(engine);
}

Test(start, an_engine_without_memory_says_so, .timeout = 120)
{
    cr_assert_geq(fail_each(start_engine, stop_engine), 16, "the table and two workers");
}

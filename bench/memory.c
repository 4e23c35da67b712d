#include "bench/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EXIT_RUNTIME   3 /* as everywhere in sce */
#define HUGEPAGE_BYTES ((size_t)2 << 20)
#define COLLAPSE       25 /* MADV_COLLAPSE, which Debian 12's headers do not have */

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "sce bench: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(EXIT_RUNTIME);
}

static size_t round_up(size_t size_bytes)
{
    return (size_bytes + HUGEPAGE_BYTES - 1) & ~(HUGEPAGE_BYTES - 1);
}

void bench_touch(void *memory, size_t size_bytes)
{
    if (madvise(memory, size_bytes, MADV_POPULATE_WRITE))
        bench_fail("%zu MiB of memory could not be had: %s", size_bytes >> 20, strerror(errno));
}

void *bench_alloc(size_t size_bytes)
{
    size_t size = round_up(size_bytes), mapped = size + HUGEPAGE_BYTES;
    uint8_t *memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("%zu MiB of address space could not be had: %s", mapped >> 20, strerror(errno));
    size_t before = (size_t)(-(intptr_t)memory) & (HUGEPAGE_BYTES - 1);
    if (before)
        munmap(memory, before);
    munmap(memory + before + size, mapped - before - size);
    madvise(memory + before, size, MADV_HUGEPAGE);
    bench_touch(memory + before, size);
    return memory + before;
}

void bench_free(void *memory, size_t size_bytes)
{
    if (memory)
        munmap(memory, round_up(size_bytes));
}

void bench_collapse(void)
{
    char line[512], access[8], path[256];
    uintptr_t begin, end;
    FILE *in = fopen("/proc/self/maps", "re");
    if (!in)
        return;
    while (fgets(line, sizeof line, in)) {
        path[0] = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %255s", &begin, &end, access, path) < 3)
            continue;
        if (strncmp(access, "rw-p", 4) != 0 || path[0] == '/')
            continue;
        begin = round_up(begin);
        end &= ~(HUGEPAGE_BYTES - 1);
        if (end > begin)
            (void)madvise((void *)begin, end - begin, COLLAPSE);
    }
    fclose(in);
}

void bench_heap_create(struct bench_heap *heap, size_t size_bytes)
{
    static unsigned number;
    heap->size_bytes = round_up(size_bytes);
    heap->memory = bench_alloc(heap->size_bytes);
    snprintf(heap->name, sizeof heap->name, "bench%u", number++);
    if (rte_malloc_heap_create(heap->name) ||
        rte_malloc_heap_memory_add(heap->name, heap->memory, heap->size_bytes, NULL, 0, HUGEPAGE_BYTES) ||
        (heap->socket = rte_malloc_heap_get_socket(heap->name)) < 0)
        bench_fail("DPDK takes no heap of %zu MiB: %s", heap->size_bytes >> 20, rte_strerror(rte_errno));
}

void bench_heap_destroy(struct bench_heap *heap)
{
    if (rte_malloc_heap_memory_remove(heap->name, heap->memory, heap->size_bytes) ||
        rte_malloc_heap_destroy(heap->name))
        bench_fail("a heap is still in use: %s", rte_strerror(rte_errno));
    bench_free(heap->memory, heap->size_bytes);
}

/* A line of a file of the kernel's, in kB; 0 when it is not there. */
static uint64_t read_kb(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *in = fopen(path, "re");
    while (in && fgets(line, sizeof line, in))
        if (strncmp(line, key, strlen(key)) == 0)
            (void)sscanf(line + strlen(key), "%" SCNu64, &value);
    if (in)
        fclose(in);
    return value;
}

void bench_need_bytes(uint64_t bytes)
{
    uint64_t available = read_kb("/proc/meminfo", "MemAvailable:") << 10;
    if (available && bytes > available)
        bench_fail("%" PRIu64 " MiB of memory are needed, %" PRIu64 " MiB are free; fewer flows: --flows 1K,1M",
                   bytes >> 20, available >> 20);
}

uint64_t bench_resident_bytes(void)
{
    return read_kb("/proc/self/smaps_rollup", "Rss:") << 10;
}

unsigned bench_hugepage_pct(void)
{
    uint64_t anonymous = read_kb("/proc/self/smaps_rollup", "Anonymous:");
    uint64_t huge = read_kb("/proc/self/smaps_rollup", "AnonHugePages:");
    return anonymous ? (unsigned)(huge * 100 / anonymous) : 0;
}

/*
 * Memory of the benches: all of it on large pages by madvise (no reservation needed), all of it touched before anything
 * is measured. Running out of it ends the process with a message.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Zeroed, aligned to a large page. */
void *bench_alloc(size_t size_bytes);
void bench_free(void *memory, size_t size_bytes);

/* Touches a range that somebody else has mapped. */
void bench_touch(void *memory, size_t size_bytes);

/* Moves what is already mapped onto large pages, where the kernel can (6.1): memory that libraries take by themselves. */
void bench_collapse(void);

/*
 * A DPDK heap on such memory, so that DPDK's own structures (mbufs, rte_hash) get large pages too, whether or not any
 * are reserved: what DPDK allocates on `socket` comes out of it.
 */
struct bench_heap {
    char name[32];
    void *memory;
    size_t size_bytes;
    int socket;
};
void bench_heap_create(struct bench_heap *heap, size_t size_bytes);
void bench_heap_destroy(struct bench_heap *heap); /* all that was allocated on it must have been freed */

/* Ends the process with a message unless so much is free: better than being killed half-way. */
void bench_need_bytes(uint64_t bytes);
uint64_t bench_resident_bytes(void);

/* What part of the process's own memory is on large pages now. */
unsigned bench_hugepage_pct(void);

/* "sce bench: TEXT" to stderr, exit code 3. */
__attribute__((format(printf, 1, 2), noreturn)) void bench_fail(const char *format, ...);

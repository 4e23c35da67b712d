/*
 * Measuring. The machine's speed moves by a third from minute to minute (neighbours, clocks), so what is compared is
 * run in turns within one process: a round runs every variant once; each variant's round is timed in chunks of
 * BENCH_CHUNK operations, of which the median counts (the mean where the work comes in waves); a variant's figure is the median of its rounds, a ratio the
 * median of the ratios of paired rounds.
 *
 * Time is counted in cycles of the time stamp counter, whatever the core's clock does; ns = cycles / tsc_ghz.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BENCH_CHUNK        4096u
#define BENCH_ROUNDS_MAX   15u
#define BENCH_VARIANTS_MAX 12u
#define BENCH_PARTS_MAX    16u
#define BENCH_SAMPLES_MAX  24u /* of one call of bench_measure() */
#define BENCH_CHUNKS_MAX   4096u

/* One way to do a thing: operations [begin, begin + BENCH_CHUNK) of whatever stream `context` holds. */
struct bench_variant {
    const char *name;
    void (*run)(void *context, uint32_t begin); /* timed as a whole; NULL: */
    void *context;
    /* times `part_count` parts of its work by itself and adds their cycles up */
    void (*run_parts)(void *context, uint32_t begin, uint64_t ret_cycles[]);
    unsigned part_count;
    void (*prepare)(void *context); /* before each round, not timed; or NULL */
    bool in_waves;                  /* not all chunks have the same to do: a round counts as their mean */
};

/* Cycles an operation, one figure a round. */
struct bench_sample {
    unsigned rounds;
    double round[BENCH_ROUNDS_MAX];
};

/* How long to measure. */
struct bench_effort {
    unsigned rounds;
    unsigned chunks; /* a round; at most BENCH_CHUNKS_MAX */
};

/*
 * A round before the first is run and dropped. `stream_length` is a multiple of BENCH_CHUNK; rounds go on around it, unless
 * prepare() makes them begin at 0. Samples are one a variant, those with parts one a part, in order.
 */
void bench_measure(const struct bench_variant variants[], unsigned count, struct bench_effort effort,
                   uint32_t stream_length, struct bench_sample ret_samples[]);

double bench_median(const double values[], unsigned count);
double bench_sample_median(const struct bench_sample *sample);
double bench_sample_min(const struct bench_sample *sample);
double bench_sample_max(const struct bench_sample *sample);
/* Median over rounds of ours / peer. */
double bench_sample_ratio(const struct bench_sample *ours, const struct bench_sample *peer);
/* The inverse of a sample, scaled: cycles an operation to operations a second. */
struct bench_sample bench_sample_rate(const struct bench_sample *sample, double scale);

/* A constant in the place of a peer. */
struct bench_sample bench_sample_constant(double value, unsigned rounds);

/* Of the time stamp counter. */
double bench_tsc_hz(void);

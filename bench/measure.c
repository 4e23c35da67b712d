#include "bench/measure.h"

#include <rte_cycles.h>
#include <stdlib.h>
#include <string.h>

#define INTERRUPTED 4.0 /* times the median */

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double bench_median(const double values[], unsigned count)
{
    double sorted[BENCH_CHUNKS_MAX];
    if (!count)
        return 0;
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* Of chunks whose work comes in waves; without those in which another process had the core. */
static double mean(const double values[], unsigned count)
{
    double sum = 0, most = INTERRUPTED * bench_median(values, count);
    unsigned taken = 0;
    for (unsigned i = 0; i < count; i++)
        if (values[i] <= most) {
            sum += values[i];
            taken++;
        }
    return taken ? sum / taken : 0;
}

static unsigned parts_of(const struct bench_variant *variant)
{
    return variant->run_parts ? variant->part_count : 1;
}

static void run_chunk(const struct bench_variant *variant, uint32_t begin, uint64_t ret_cycles[])
{
    memset(ret_cycles, 0, parts_of(variant) * sizeof *ret_cycles);
    if (variant->run_parts) {
        variant->run_parts(variant->context, begin, ret_cycles);
        return;
    }
    uint64_t before = rte_rdtsc_precise();
    variant->run(variant->context, begin);
    ret_cycles[0] = rte_rdtsc_precise() - before;
}

/* Adds a round to the samples of the variant's parts, unless it is the first. */
static void run_round(const struct bench_variant *variant, unsigned chunks, uint32_t stream_length, uint32_t *position,
                      bool drop, struct bench_sample samples[])
{
    static double figures[BENCH_PARTS_MAX][BENCH_CHUNKS_MAX];
    uint64_t cycles[BENCH_PARTS_MAX];
    if (variant->prepare) {
        variant->prepare(variant->context);
        *position = 0;
    }
    for (unsigned i = 0; i < chunks; i++) {
        run_chunk(variant, *position, cycles);
        for (unsigned part = 0; part < parts_of(variant); part++)
            figures[part][i] = (double)cycles[part] / BENCH_CHUNK;
        *position = (*position + BENCH_CHUNK) % stream_length;
    }
    for (unsigned part = 0; !drop && part < parts_of(variant); part++)
        samples[part].round[samples[part].rounds++] =
            variant->in_waves ? mean(figures[part], chunks) : bench_median(figures[part], chunks);
}

void bench_measure(const struct bench_variant variants[], unsigned count, struct bench_effort effort,
                   uint32_t stream_length, struct bench_sample ret_samples[])
{
    uint32_t position[BENCH_VARIANTS_MAX] = {0};
    for (unsigned round = 0; round <= effort.rounds; round++) {
        struct bench_sample *samples = ret_samples;
        for (unsigned v = 0; v < count; v++) {
            for (unsigned part = 0; part < parts_of(&variants[v]); part++)
                if (!round)
                    samples[part] = (struct bench_sample){0};
            run_round(&variants[v], effort.chunks, stream_length, &position[v], !round, samples);
            samples += parts_of(&variants[v]);
        }
    }
}

struct bench_sample bench_sample_constant(double value, unsigned rounds)
{
    struct bench_sample sample = {.rounds = rounds};
    for (unsigned i = 0; i < rounds; i++)
        sample.round[i] = value;
    return sample;
}

double bench_sample_median(const struct bench_sample *sample)
{
    return bench_median(sample->round, sample->rounds);
}

double bench_sample_min(const struct bench_sample *sample)
{
    double min = sample->round[0];
    for (unsigned i = 1; i < sample->rounds; i++)
        min = sample->round[i] < min ? sample->round[i] : min;
    return min;
}

double bench_sample_max(const struct bench_sample *sample)
{
    double max = sample->round[0];
    for (unsigned i = 1; i < sample->rounds; i++)
        max = sample->round[i] > max ? sample->round[i] : max;
    return max;
}

double bench_sample_ratio(const struct bench_sample *ours, const struct bench_sample *peer)
{
    double ratio[BENCH_ROUNDS_MAX];
    unsigned rounds = ours->rounds < peer->rounds ? ours->rounds : peer->rounds;
    for (unsigned i = 0; i < rounds; i++)
        ratio[i] = ours->round[i] / peer->round[i];
    return bench_median(ratio, rounds);
}

struct bench_sample bench_sample_rate(const struct bench_sample *sample, double scale)
{
    struct bench_sample rate = *sample;
    for (unsigned i = 0; i < sample->rounds; i++)
        rate.round[i] = scale * bench_tsc_hz() / sample->round[i];
    return rate;
}

double bench_tsc_hz(void)
{
    return (double)rte_get_tsc_hz();
}

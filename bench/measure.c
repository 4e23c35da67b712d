#include "bench/measure.h"

#include <rte_cycles.h>
#include <stdlib.h>
#include <string.h>

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

static double run_round(const struct bench_variant *variant, unsigned chunks, uint32_t stream_length,
                        uint32_t *position)
{
    static double chunk[BENCH_CHUNKS_MAX];
    for (unsigned i = 0; i < chunks; i++) {
        uint64_t before = rte_rdtsc_precise();
        variant->run(variant->context, *position);
        chunk[i] = (double)(rte_rdtsc_precise() - before) / BENCH_CHUNK;
        *position = (*position + BENCH_CHUNK) % stream_length;
    }
    return bench_median(chunk, chunks);
}

void bench_measure(const struct bench_variant variants[], unsigned count, struct bench_effort effort,
                   uint32_t stream_length, struct bench_sample ret_samples[])
{
    uint32_t position[BENCH_VARIANTS_MAX] = {0};
    memset(ret_samples, 0, count * sizeof *ret_samples);
    for (unsigned round = 0; round <= effort.rounds; round++)
        for (unsigned v = 0; v < count; v++) {
            double cycles = run_round(&variants[v], effort.chunks, stream_length, &position[v]);
            if (round)
                ret_samples[v].round[ret_samples[v].rounds++] = cycles;
        }
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

/* The keyed hash alone, keys in the nearest cache, against the CRC that DPDK's tables use. */
#include <rte_hash_crc.h>

#include "bench/bench.h"

#define KEYS  4096u
#define BATCH 32u

struct hashing {
    struct ft *flows;
    struct ft_key keys[KEYS];
};

static void keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value));
}

static void ours(void *context, uint32_t begin)
{
    struct hashing *hashing = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at++)
        keep(ft_hash(hashing->flows, &hashing->keys[at % KEYS]));
}

static void crc(void *context, uint32_t begin)
{
    struct hashing *hashing = context;
    for (uint32_t at = begin; at < begin + BENCH_CHUNK; at++)
        keep(rte_hash_crc(&hashing->keys[at % KEYS], sizeof(struct ft_key), 0));
}

void bench_hash_rows(struct bench *bench)
{
    static struct hashing hashing;
    char error[256];
    struct ft_config config;
    struct bench_sample samples[2];
    ft_config_init(&config);
    config.capacity_flows = FT_CAPACITY_FLOWS_MIN;
    for (unsigned family = BENCH_IPV4; family <= BENCH_IPV6; family++) {
        struct bench_row row = {.unit = "cycles", .peer_name = "crc"};
        snprintf(row.name, sizeof row.name, "hash.keyed.%uK.uniform.%s.crc", KEYS / 1024, bench_family_name(family));
        row.flows = KEYS;
        if (!bench_wants(bench, row.name))
            continue;
        hashing.flows = ft_create(&config, error, sizeof error);
        if (!hashing.flows)
            bench_fail("%s", error);
        for (uint32_t i = 0; i < KEYS; i++)
            bench_key(i, family, &hashing.keys[i]);
        const struct bench_variant variants[] = {{.name = "ours", .run = ours, .context = &hashing},
                                                 {.name = "crc", .run = crc, .context = &hashing}};
        bench_measure(variants, 2, bench->effort, KEYS, samples);
        row.ours = samples[0];
        row.peer = samples[1];
        bench_report(bench, &row);
        ft_destroy(hashing.flows);
    }
}

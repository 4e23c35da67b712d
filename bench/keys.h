/*
 * Flow populations: flow number -> 5-tuple by a fixed bijection, so that nothing need be stored; and streams of queries
 * over a population, uniform or by Zipf's law (exponent 0.99).
 */
#pragma once

#include <stdint.h>

#include "flowtable/key.h"

enum bench_family { BENCH_MIX, BENCH_IPV4, BENCH_IPV6 }; /* mix: every fourth flow is IPv6 */
enum bench_distribution { BENCH_UNIFORM, BENCH_ZIPF };

const char *bench_family_name(enum bench_family family);                   /* "mix", "ipv4", "ipv6" */
const char *bench_distribution_name(enum bench_distribution distribution); /* "uniform", "zipf" */

#define BENCH_PORT_SERVER 443u

struct bench_tuple {
    uint8_t client[16], server[16]; /* IPv4 in the first four bytes */
    uint16_t client_port_be16, server_port_be16;
    bool is_v6;
};

/* TCP between a client and a port 443 somewhere. */
void bench_tuple(uint64_t flow, enum bench_family family, struct bench_tuple *ret_tuple);
/* Returns the swap of the client's packets. */
uint8_t bench_key(uint64_t flow, enum bench_family family, struct ft_key *ret_key);

/*
 * Changes the client's port so that the flow falls into a shard: the public hash hides nothing, see ft_toeplitz(). `word`
 * varies which of the 256 ways is taken.
 */
void bench_force_shard(struct bench_tuple *tuple, uint8_t shard, unsigned word);
void bench_tuple_key(const struct bench_tuple *tuple, struct ft_key *ret_key);

/* xorshift64* (Vigna 2016); a fixed seed, so that runs are alike. */
uint64_t bench_random(void);

/* `length` flow numbers below `flows`. */
void bench_draw(uint32_t ret_flows[], uint32_t length, uint64_t flows, enum bench_distribution distribution);

/* "1K", "100K", "1M" ... */
void bench_flows_name(uint64_t flows, char *ret_text, size_t size);

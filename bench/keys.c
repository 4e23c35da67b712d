#include "bench/keys.h"

#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <rte_byteorder.h>
#include <stdio.h>

#define ZIPF_EXPONENT 0.99
#define SCATTER       UINT64_C(2654435761) /* a prime above every population: multiplying by it permutes */

const char *bench_family_name(enum bench_family family)
{
    static const char *const names[] = {"mix", "ipv4", "ipv6"};
    return names[family];
}

const char *bench_distribution_name(enum bench_distribution distribution)
{
    return distribution == BENCH_ZIPF ? "zipf" : "uniform";
}

/* splitmix64's finisher (Steele, Lea and Flood 2014). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void bench_tuple(uint64_t flow, enum bench_family family, struct bench_tuple *ret_tuple)
{
    uint64_t z = mix((flow + 1) * 0x9e3779b97f4a7c15u);
    *ret_tuple = (struct bench_tuple){.is_v6 = family == BENCH_IPV6 || (family == BENCH_MIX && flow % 4 == 0)};
    if (ret_tuple->is_v6) {
        memcpy(ret_tuple->client, (const uint8_t[]){0x20, 0x01, 0x0d, 0xb8}, 4);
        memcpy(ret_tuple->client + 8, &flow, 8);
        memcpy(ret_tuple->server, (const uint8_t[]){0x20, 0x01, 0x0d, 0xb9}, 4);
        memcpy(ret_tuple->server + 8, &z, 8);
    } else {
        uint32_t client_be32 = rte_cpu_to_be_32((uint32_t)(0x0a000000u + flow));
        uint32_t server = (uint32_t)z;
        memcpy(ret_tuple->client, &client_be32, 4);
        memcpy(ret_tuple->server, &server, 4);
    }
    ret_tuple->client_port_be16 = rte_cpu_to_be_16((uint16_t)(1024 + (z >> 32) % 60000));
    ret_tuple->server_port_be16 = rte_cpu_to_be_16(BENCH_PORT_SERVER);
}

static uint8_t make_key(const struct bench_tuple *tuple, struct ft_key *ret_key)
{
    return ft_key_make(ret_key, tuple->is_v6, tuple->client, tuple->server, tuple->client_port_be16,
                       tuple->server_port_be16, IPPROTO_TCP, 0);
}

uint8_t bench_key(uint64_t flow, enum bench_family family, struct ft_key *ret_key)
{
    struct bench_tuple tuple;
    bench_tuple(flow, family, &tuple);
    return make_key(&tuple, ret_key);
}

void bench_tuple_key(const struct bench_tuple *tuple, struct ft_key *ret_key)
{
    make_key(tuple, ret_key);
}

/* The public hash is a function of the XOR of the key's 16-bit words alone. */
static uint16_t folded(const struct bench_tuple *tuple)
{
    uint16_t words[18], sum = 0;
    memcpy(words, tuple->client, 16);
    memcpy(words + 8, tuple->server, 16);
    words[16] = tuple->client_port_be16;
    words[17] = tuple->server_port_be16;
    for (unsigned i = 0; i < 18; i++)
        sum ^= words[i];
    return sum;
}

/* 256 values of that sum for each shard. */
static uint16_t sum_of_shard(uint8_t shard, unsigned word)
{
    static uint16_t sums[FT_SHARDS][256];
    static unsigned counts[FT_SHARDS];
    if (!counts[0])
        for (unsigned sum = 0; sum < 65536; sum++) {
            struct ft_key key = {.port_be16 = {(uint16_t)sum, 0}, .ip_proto = IPPROTO_TCP};
            uint8_t of = ft_shard_of(&key);
            sums[of][counts[of]++ % 256] = (uint16_t)sum;
        }
    return sums[shard][word % 256];
}

void bench_force_shard(struct bench_tuple *tuple, uint8_t shard, unsigned word)
{
    tuple->client_port_be16 ^= folded(tuple) ^ sum_of_shard(shard, word);
}

uint64_t bench_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

void bench_draw(uint32_t ret_flows[], uint32_t length, uint64_t flows, enum bench_distribution distribution)
{
    double a = 1 - ZIPF_EXPONENT, whole = pow((double)flows, a) - 1;
    for (uint32_t i = 0; i < length; i++) {
        if (distribution == BENCH_UNIFORM) {
            ret_flows[i] = (uint32_t)(bench_random() % flows);
            continue;
        }
        double u = (double)(bench_random() >> 11) / 9007199254740992.0;
        uint64_t rank = (uint64_t)(pow(u * whole + 1, 1 / a) - 1);
        ret_flows[i] = (uint32_t)(rank * SCATTER % flows);
    }
}

void bench_flows_name(uint64_t flows, char *ret_text, size_t size)
{
    if (flows % 1000000 == 0)
        snprintf(ret_text, size, "%" PRIu64 "M", flows / 1000000);
    else if (flows % 1000 == 0)
        snprintf(ret_text, size, "%" PRIu64 "K", flows / 1000);
    else
        snprintf(ret_text, size, "%" PRIu64, flows);
}

#include "dataplane/expect.h"

#include <rte_common.h>
#include <rte_pause.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define IP_PROTO_TCP 6
#define WAYS         8u
#define TRIES_WRITE  64u
#define TRIES_READ   16u
#define WORDS        (sizeof(struct dp_expectation) / 8)
#define CAPACITY_MIN 64u

/* What an entry is found by. */
struct place {
    uint8_t address[16], peer[16];
    uint32_t context;
    uint16_t port_be16;
    uint8_t ip_proto, is_v6;
};
static_assert(sizeof(struct place) == 40, "hashed as bytes: no padding");
static_assert(offsetof(struct dp_expectation, kind) == sizeof(struct place), "an entry begins as its place");

struct bucket {
    _Atomic uint32_t sequence; /* odd: being written. w: who has it, release; r: acquire */
    uint32_t reserved;
    _Atomic uint32_t tag[WAYS]; /* of the hash; 0 = free */
} __rte_cache_aligned;

struct slot {
    _Atomic uint64_t word[WORDS];
} __rte_cache_aligned;

struct dp_expect {
    void *memory[2]; /* as it was allocated: buckets, slots */
    struct bucket *buckets;
    struct slot *slots;
    uint32_t bucket_mask, per_host_max;
    bool is_by_pair;
    uint64_t secret;
    _Atomic uint64_t host_due_ns[DP_EXPECT_HOSTS]; /* relaxed: a lost update is a little more for a host */
    /* Nothing lives longer, [TCP]; w: add, release; r: acquire. */
    _Atomic uint64_t alive_until_ns[2] __rte_cache_aligned;
};

static bool draw_secret(struct dp_expect *table, uint64_t seed)
{
    table->secret = seed;
    return seed || getrandom(&table->secret, sizeof table->secret, 0) == sizeof table->secret;
}

/* Zeroed lines that cost nothing until they are touched. */
static void *lines_create(size_t count, void **ret_memory)
{
    uint8_t *memory = calloc(count + 1, RTE_CACHE_LINE_SIZE);
    *ret_memory = memory;
    return memory ? RTE_PTR_ALIGN_CEIL(memory, RTE_CACHE_LINE_SIZE) : NULL;
}

struct dp_expect *dp_expect_create(const struct dp_expect_config *config)
{
    struct dp_expect *table = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof *table);
    uint32_t capacity = rte_align32pow2(RTE_MAX(config->capacity, CAPACITY_MIN));
    if (!table)
        return NULL;
    memset(table, 0, sizeof *table);
    table->bucket_mask = capacity / WAYS - 1;
    table->per_host_max = RTE_MAX(config->per_host_max, 1u);
    table->is_by_pair = config->is_by_pair;
    table->buckets = lines_create((size_t)capacity / WAYS, &table->memory[0]);
    table->slots = lines_create(capacity, &table->memory[1]);
    if (!table->buckets || !table->slots || !draw_secret(table, config->secret_seed)) {
        dp_expect_destroy(table);
        return NULL;
    }
    return table;
}

void dp_expect_destroy(struct dp_expect *table)
{
    if (!table)
        return;
    free(table->memory[0]);
    free(table->memory[1]);
    free(table);
}

void dp_expect_clear(struct dp_expect *table)
{
    if (!atomic_load_explicit(&table->alive_until_ns[0], memory_order_relaxed) &&
        !atomic_load_explicit(&table->alive_until_ns[1], memory_order_relaxed))
        return;
    memset(table->buckets, 0, (table->bucket_mask + 1u) * sizeof *table->buckets);
    memset(table->slots, 0, (table->bucket_mask + 1u) * WAYS * sizeof *table->slots);
    memset(table->host_due_ns, 0, sizeof table->host_due_ns);
    atomic_store_explicit(&table->alive_until_ns[0], 0, memory_order_relaxed);
    atomic_store_explicit(&table->alive_until_ns[1], 0, memory_order_relaxed);
}

static uint64_t hash_of(const struct dp_expect *table, const struct place *place)
{
    struct place where = *place;
    if (!table->is_by_pair)
        memset(where.peer, 0, sizeof where.peer);
    return XXH3_64bits_withSeed(&where, sizeof where, table->secret);
}

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1u;
}

static void load_entry(const struct slot *slot, struct dp_expectation *ret)
{
    uint64_t words[WORDS];
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&slot->word[i], memory_order_relaxed);
    memcpy(ret, words, sizeof words);
}

static void store_entry(struct slot *slot, const struct dp_expectation *entry)
{
    uint64_t words[WORDS];
    memcpy(words, entry, sizeof words);
    for (unsigned i = 0; i < WORDS; i++)
        atomic_store_explicit(&slot->word[i], words[i], memory_order_relaxed);
}

/*
 * Whether a host may have one more: a rate that fills its share in the entries' own lifetime. Each entry moves the time at which
 * the share would be empty on by its part; a host is refused while that time is more than a lifetime ahead.
 */
static bool charge_host(struct dp_expect *table, const uint8_t *host, uint64_t lifetime_ns, uint64_t now_ns)
{
    uint64_t place = XXH3_64bits_withSeed(host, 16, table->secret) % DP_EXPECT_HOSTS;
    uint64_t due_ns = atomic_load_explicit(&table->host_due_ns[place], memory_order_relaxed);
    uint64_t next_ns = RTE_MAX(due_ns, now_ns) + lifetime_ns / table->per_host_max;
    if (next_ns > now_ns + lifetime_ns)
        return false;
    atomic_store_explicit(&table->host_due_ns[place], next_ns, memory_order_relaxed);
    return true;
}

/* Takes a bucket for writing; false after TRIES_WRITE. */
static bool take_bucket(struct bucket *bucket)
{
    for (unsigned tries = 0; tries < TRIES_WRITE; tries++) {
        uint32_t sequence = atomic_load_explicit(&bucket->sequence, memory_order_relaxed);
        if (!(sequence & 1) && atomic_compare_exchange_strong_explicit(&bucket->sequence, &sequence, sequence + 1,
                                                                       memory_order_acquire, memory_order_relaxed)) {
            atomic_thread_fence(memory_order_release); /* the odd count before what is written; r: find_in() */
            return true;
        }
        rte_pause();
    }
    return false;
}

/* Where an entry goes: its own place, one that is free or over, the one that ends first. */
static unsigned choose_way(const struct bucket *bucket, const struct slot *slots, const struct dp_expectation *entry,
                           uint32_t tag, uint64_t now_ns, bool *ret_evicts)
{
    unsigned best = 0;
    uint64_t best_until_ns = UINT64_MAX;
    for (unsigned way = 0; way < WAYS; way++) {
        struct dp_expectation there;
        uint32_t there_tag = atomic_load_explicit(&bucket->tag[way], memory_order_relaxed);
        load_entry(&slots[way], &there);
        uint64_t until_ns = there_tag && there.until_ns > now_ns ? there.until_ns : 0;
        if (there_tag == tag && !memcmp(&there, entry, sizeof(struct place))) {
            *ret_evicts = false;
            return way;
        }
        if (until_ns < best_until_ns) {
            best_until_ns = until_ns;
            best = way;
        }
    }
    *ret_evicts = best_until_ns != 0;
    return best;
}

/* It only grows. */
static void note_alive(_Atomic uint64_t *alive_until_ns, uint64_t until_ns)
{
    uint64_t now = atomic_load_explicit(alive_until_ns, memory_order_relaxed);
    while (now < until_ns && !atomic_compare_exchange_weak_explicit(alive_until_ns, &now, until_ns,
                                                                    memory_order_release, memory_order_relaxed))
        ;
}

enum dp_expect_result dp_expect_add(struct dp_expect *table, const struct dp_expectation *entry, const uint8_t *host,
                                    uint64_t lifetime_ns, uint64_t now_ns)
{
    struct dp_expectation own = *entry;
    struct place place;
    memcpy(&place, entry, sizeof place);
    uint64_t hash = hash_of(table, &place);
    uint32_t index = (uint32_t)hash & table->bucket_mask;
    struct bucket *bucket = &table->buckets[index];
    struct slot *slots = &table->slots[(size_t)index * WAYS];
    own.until_ns = now_ns + lifetime_ns;
    if (!charge_host(table, host, lifetime_ns, now_ns))
        return DP_EXPECT_REFUSED;
    if (!take_bucket(bucket))
        return DP_EXPECT_BUSY;
    bool evicts;
    unsigned way = choose_way(bucket, slots, &own, tag_of(hash), now_ns, &evicts);
    atomic_store_explicit(&bucket->tag[way], tag_of(hash), memory_order_relaxed);
    store_entry(&slots[way], &own);
    atomic_fetch_add_explicit(&bucket->sequence, 1, memory_order_release);
    note_alive(&table->alive_until_ns[own.ip_proto == IP_PROTO_TCP], own.until_ns);
    return evicts ? DP_EXPECT_EVICTED : DP_EXPECT_ADDED;
}

/* For this very peer, or for any; alive. */
static bool fits(const struct dp_expectation *entry, const struct place *place, uint64_t now_ns, bool *ret_is_own)
{
    static const uint8_t any[16];
    if (entry->until_ns <= now_ns || memcmp(entry->address, place->address, 16) || entry->context != place->context ||
        entry->port_be16 != place->port_be16 || entry->ip_proto != place->ip_proto || entry->is_v6 != place->is_v6)
        return false;
    *ret_is_own = !memcmp(entry->peer, place->peer, 16);
    return *ret_is_own || !memcmp(entry->peer, any, 16);
}

/* One try; false when a writer came between. */
static bool find_in(const struct bucket *bucket, const struct slot *slots, const struct place *place, uint32_t tag,
                    uint64_t now_ns, struct dp_expectation *ret, bool *ret_found)
{
    uint32_t before = atomic_load_explicit(&bucket->sequence, memory_order_acquire);
    bool found = false, found_own = false;
    if (before & 1)
        return false;
    for (unsigned way = 0; way < WAYS; way++) {
        struct dp_expectation there;
        bool is_own;
        if (atomic_load_explicit(&bucket->tag[way], memory_order_relaxed) != tag)
            continue;
        load_entry(&slots[way], &there);
        if (!fits(&there, place, now_ns, &is_own) || (found && (found_own || !is_own)))
            continue;
        *ret = there;
        found = true;
        found_own = is_own;
    }
    atomic_thread_fence(memory_order_acquire);
    *ret_found = found;
    return atomic_load_explicit(&bucket->sequence, memory_order_relaxed) == before;
}

bool dp_expect_find(const struct dp_expect *table, const struct ft_key *key, unsigned endpoint, uint16_t port_be16,
                    uint8_t ip_proto, uint64_t now_ns, struct dp_expectation *ret_entry)
{
    struct place place = {.context = key->context, .port_be16 = port_be16, .ip_proto = ip_proto, .is_v6 = key->is_v6};
    memcpy(place.address, key->addr[endpoint], 16);
    memcpy(place.peer, key->addr[!endpoint], 16);
    uint64_t hash = hash_of(table, &place);
    uint32_t index = (uint32_t)hash & table->bucket_mask;
    bool found;
    for (unsigned tries = 0; tries < TRIES_READ; tries++) {
        if (find_in(&table->buckets[index], &table->slots[(size_t)index * WAYS], &place, tag_of(hash), now_ns,
                    ret_entry, &found))
            return found;
        rte_pause();
    }
    return false;
}

bool dp_expect_any(const struct dp_expect *table, uint8_t ip_proto, uint64_t now_ns)
{
    return atomic_load_explicit(&table->alive_until_ns[ip_proto == IP_PROTO_TCP], memory_order_acquire) > now_ns;
}

bool dp_expect_walk(const struct dp_expect *table, uint64_t *position, uint64_t now_ns,
                    struct dp_expectation *ret_entry)
{
    uint64_t end = (uint64_t)(table->bucket_mask + 1u) * WAYS;
    while (*position < end) {
        uint64_t at = (*position)++;
        const struct bucket *bucket = &table->buckets[at / WAYS];
        uint32_t before = atomic_load_explicit(&bucket->sequence, memory_order_acquire);
        uint32_t tag = atomic_load_explicit(&bucket->tag[at % WAYS], memory_order_relaxed);
        load_entry(&table->slots[at], ret_entry);
        atomic_thread_fence(memory_order_acquire);
        bool is_whole = !(before & 1) && atomic_load_explicit(&bucket->sequence, memory_order_relaxed) == before;
        if (!is_whole || !tag || ret_entry->until_ns <= now_ns)
            continue;
        ret_entry->until_ns -= now_ns;
        return true;
    }
    return false;
}

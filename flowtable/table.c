/*
 * The table's memory, keys and hashes, and the owner's calls that change a flow.
 */
#include "flowtable/table.h"

#include <errno.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "flowtable/table_priv.h"

#define HUGEPAGE_BYTES (UINT64_C(2) << 20)
#define TICK_SHIFT_MIN 20u /* 1 ms */
#define TIMEOUT_MAX_NS (UINT64_C(3650) * 86400 * 1000000000)

/* ---- create ---- */

void ft_config_init(struct ft_config *config)
{
    *config = (struct ft_config){
        .capacity_flows = UINT64_C(1) << 20,
        .timeout_ns =
            {
#define X(name, seconds) [FT_TIMEOUT_##name] = UINT64_C(seconds) * 1000000000,
                FT_TIMEOUTS(X)
#undef X
            },
        .readers_max = 8,
        .unanswered_share_pct = 50,
        .hugepages = true,
    };
}

static bool in_range(const char *name, uint64_t value, uint64_t min, uint64_t max, char *error, size_t error_size)
{
    if (value >= min && value <= max)
        return true;
    snprintf(error, error_size, "flow_table.%s: %" PRIu64 " is out of range, expected %" PRIu64 " to %" PRIu64, name,
             value, min, max);
    return false;
}

static bool check_config(const struct ft_config *config, char *error, size_t error_size)
{
    static const char *const timeout_names[] = {
#define X(name, seconds) "timeouts_s." #name " (in nanoseconds)",
        FT_TIMEOUTS(X)
#undef X
    };
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        if (!in_range(timeout_names[i], config->timeout_ns[i], 1, TIMEOUT_MAX_NS, error, error_size))
            return false;
    return in_range("capacity_flows", config->capacity_flows, FT_CAPACITY_FLOWS_MIN, FT_CAPACITY_FLOWS_MAX, error,
                    error_size) &&
           in_range("readers_max", config->readers_max, 1, FT_READERS_MAX, error, error_size) &&
           in_range("unanswered_share_pct", config->unanswered_share_pct, 1, 100, error, error_size);
}

/* splitmix64 (Steele, Lea and Flood 2014): spreads a fixed seed over the secret. */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool draw_secret(struct ft *ft, uint64_t seed, char *error, size_t error_size)
{
    if (seed) {
        for (size_t i = 0; i < 2 * (FT_KEY_WORDS + 1); i++)
            ft->secret[i / (FT_KEY_WORDS + 1)][i % (FT_KEY_WORDS + 1)] = splitmix64(&seed);
        return true;
    }
    /* Up to 256 bytes come whole or not at all. */
    static_assert(sizeof ft->secret <= 256, "getrandom() is not interrupted");
    if (getrandom(ft->secret, sizeof ft->secret, 0) == (ssize_t)sizeof ft->secret)
        return true;
    snprintf(error, error_size, "flow table: no random numbers for the secret of its hash: %s", strerror(errno));
    return false;
}

static uint64_t square_root(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= n)
            root += bit;
    return root;
}

static void set_sizes(struct ft *ft, const struct ft_config *config)
{
    uint64_t capacity = config->capacity_flows;
    while (FT_CHUNK_SLOTS_MIN << ft->chunk_shift < FT_CHUNK_SLOTS_MAX &&
           (uint64_t)(FT_CHUNK_SLOTS_MIN * 2) << ft->chunk_shift <= capacity / 16384)
        ft->chunk_shift++;
    ft->chunk_shift += (uint32_t)__builtin_ctz(FT_CHUNK_SLOTS_MIN);
    uint64_t chunks = (capacity + (UINT64_C(1) << ft->chunk_shift) - 1) >> ft->chunk_shift;
    ft->capacity_flows = chunks << ft->chunk_shift;
    ft->margin_slots = (1u << ft->chunk_shift) / 8;
    /* What shards may hold and not use: of each family, less than a chunk and a margin. And the first chunk. */
    uint64_t chunk_count = chunks + FT_SHARDS * FT_FAMILIES * 9 / 8 + 1;
    /* IPv6 flows have the last chunks: where large pages are few in a hundred, let the arrays end where a page ends. */
    uint64_t page_chunks = (HUGEPAGE_BYTES / sizeof(struct ft_v6)) >> ft->chunk_shift;
    if (chunk_count >= 16 * page_chunks)
        chunk_count = (chunk_count + page_chunks - 1) / page_chunks * page_chunks;
    ft->chunk_count = (uint32_t)chunk_count;

    /*
     * Shards of random keys differ by the square root of their mean; at four times that, buckets are half full. Then 4
     * keys in a thousand stand in their second bucket (at three quarters: 40), each worth two more cache misses in a
     * row, which cost a look-up as much as all else together.
     */
    uint64_t mean = (capacity + FT_SHARDS - 1) / FT_SHARDS;
    uint64_t buckets = (mean + 4 * square_root(mean) + 3) / 4;
    ft->shard_buckets = buckets < 8 ? 8 : (uint32_t)buckets;

    uint64_t share = mean * config->unanswered_share_pct / 100;
    ft->unanswered_max = config->unanswered_share_pct == 100 ? UINT32_MAX : share ? (uint32_t)share : 1;
    ft->readers_max = config->readers_max;

    uint64_t shortest_ns = UINT64_MAX;
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++) {
        ft->arrays.timeout_ns[i] = config->timeout_ns[i];
        if (config->timeout_ns[i] < shortest_ns)
            shortest_ns = config->timeout_ns[i];
    }
    uint64_t late_ns = shortest_ns / 8 < FT_SWEEP_LATE_NS ? shortest_ns / 8 : FT_SWEEP_LATE_NS;
    ft->tick_shift = TICK_SHIFT_MIN;
    while (UINT64_C(2) << ft->tick_shift <= late_ns)
        ft->tick_shift++;
}

/* Takes the next array out of the reserved range; with no range yet (first pass) only adds up the sizes. */
static void *carve(struct ft *ft, size_t *offset, uint64_t size, uint64_t alignment)
{
    *offset = (*offset + alignment - 1) & ~(alignment - 1);
    void *array = ft->memory ? (uint8_t *)ft->memory + *offset : NULL;
    *offset += size;
    return array;
}

/* Where only some of an array's pages are touched, others' do not share them; small arrays share theirs. */
static size_t lay_out(struct ft *ft)
{
    uint64_t slots = (uint64_t)ft->chunk_count << ft->chunk_shift;
    size_t offset = 0;
    ft->buckets = carve(ft, &offset, (uint64_t)ft->shard_buckets * FT_SHARDS * sizeof *ft->buckets, HUGEPAGE_BYTES);
    ft->owners = carve(ft, &offset, (uint64_t)ft->chunk_count * sizeof *ft->owners, RTE_CACHE_LINE_SIZE);
    ft->chunks = carve(ft, &offset, (uint64_t)ft->chunk_count * sizeof *ft->chunks, RTE_CACHE_LINE_SIZE);
    ft->due = carve(ft, &offset, slots * sizeof *ft->due, RTE_CACHE_LINE_SIZE);
    ft->arrays.hot = carve(ft, &offset, slots * sizeof *ft->arrays.hot, HUGEPAGE_BYTES);
    ft->arrays.cold = carve(ft, &offset, slots * sizeof *ft->arrays.cold, HUGEPAGE_BYTES);
    ft->v6 = carve(ft, &offset, slots * sizeof *ft->v6, HUGEPAGE_BYTES);
    return (offset + HUGEPAGE_BYTES - 1) & ~(HUGEPAGE_BYTES - 1);
}

static bool reserve(struct ft *ft, bool hugepages, char *error, size_t error_size)
{
    size_t size = lay_out(ft);
    uint64_t slots = (uint64_t)ft->chunk_count << ft->chunk_shift;
    uint64_t needed = size - slots * sizeof *ft->v6;
    uint64_t present = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (needed > present) {
        snprintf(error, error_size,
                 "flow_table.capacity_flows: %" PRIu64 " flows need %" PRIu64 " MiB, this machine has %" PRIu64 " MiB",
                 ft->capacity_flows, needed >> 20, present >> 20);
        return false;
    }
    ft->memory_bytes = size + HUGEPAGE_BYTES; /* to align the arrays to large pages */
    void *memory =
        mmap(NULL, ft->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        snprintf(error, error_size, "flow_table.capacity_flows: %" PRIu64 " flows need %zu MiB of address space: %s",
                 ft->capacity_flows, ft->memory_bytes >> 20, strerror(errno));
        ft->memory_bytes = 0;
        return false;
    }
    if (hugepages)
        madvise(memory, ft->memory_bytes, MADV_HUGEPAGE);
    uintptr_t aligned = ((uintptr_t)memory + HUGEPAGE_BYTES - 1) & ~(uintptr_t)(HUGEPAGE_BYTES - 1);
    ft->memory = (void *)aligned;
    ft->mapping = memory;
    lay_out(ft);
    return true;
}

struct ft *ft_create(const struct ft_config *config, char *error, size_t error_size)
{
    if (!check_config(config, error, error_size))
        return NULL;
    size_t qsbr_size = rte_rcu_qsbr_get_memsize(config->readers_max);
    struct ft *ft = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof *ft);
    struct rte_rcu_qsbr *qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(qsbr_size));
    if (!ft || !qsbr) {
        snprintf(error, error_size, "flow table: no memory for %zu bytes", sizeof *ft + qsbr_size);
        free(ft);
        free(qsbr);
        return NULL;
    }
    memset(ft, 0, sizeof *ft);
    ft->qsbr = qsbr;
    rte_rcu_qsbr_init(qsbr, config->readers_max);
    set_sizes(ft, config);
    if (!draw_secret(ft, config->secret_seed, error, error_size) ||
        !reserve(ft, config->hugepages, error, error_size)) {
        ft_destroy(ft);
        return NULL;
    }
    ft_slots_init(ft);
    return ft;
}

void ft_destroy(struct ft *ft)
{
    if (!ft)
        return;
    if (ft->mapping)
        munmap(ft->mapping, ft->memory_bytes);
    free(ft->qsbr);
    free(ft);
}

/* ---- keys and hashes ---- */

/*
 * Keys in arithmetic progression (a port scan) give sums in arithmetic progression, which for unlucky secrets fall into
 * few buckets. One step of a bijection scatters them and keeps what is proven of collisions.
 */
static uint32_t scatter(uint64_t sum)
{
    uint32_t upper = (uint32_t)(sum >> 32);
    return (upper ^ upper >> 16) * 0x7feb352du;
}

/* The two sums over the words that all keys use. */
struct sums {
    uint64_t bucket, tag;
};

static inline struct sums sums_of(const struct ft *ft, uint32_t w0, uint32_t w4, uint32_t w8, uint32_t w9, uint32_t w10)
{
    const uint64_t *s = ft->secret[0], *t = ft->secret[1];
    return (struct sums){s[11] + s[0] * w0 + s[4] * w4 + s[8] * w8 + s[9] * w9 + s[10] * w10,
                         t[11] + t[0] * w0 + t[4] * w4 + t[8] * w8 + t[9] * w9 + t[10] * w10};
}

/* Adds the words that are zero in an IPv4 key. */
static inline void add_v6(const struct ft *ft, struct sums *sums, const uint8_t addr[2][16])
{
    const uint64_t *s = ft->secret[0], *t = ft->secret[1];
    uint32_t w[8];
    memcpy(w, addr, sizeof w);
    sums->bucket += s[1] * w[1] + s[2] * w[2] + s[3] * w[3] + s[5] * w[5] + s[6] * w[6] + s[7] * w[7];
    sums->tag += t[1] * w[1] + t[2] * w[2] + t[3] * w[3] + t[5] * w[5] + t[6] * w[6] + t[7] * w[7];
}

static inline uint64_t hash_of(struct sums sums, uint8_t shard)
{
    return (uint64_t)scatter(sums.bucket) << 32 | (scatter(sums.tag) & ~0xffu) | shard;
}

#ifdef __AVX2__
/*
 * One sum over all words, four at a time in lanes that are to be added up. The 64 bits of a secret times 32 of a word are
 * two products of 32 bits each; a load four bytes further on has the secrets' upper halves where a product takes them from.
 * Words 7..10 are the last four, of which the first was counted before.
 */
static inline __m256i lanes_of(const uint64_t secret[FT_KEY_WORDS + 1], __m256i w0, __m256i w4, __m256i w7)
{
    const uint8_t *low = (const uint8_t *)secret, *high = low + 4;
#define SECRET(half, word) _mm256_loadu_si256((const __m256i *)(const void *)((half) + 8 * (word)))
    __m256i lows = _mm256_add_epi64(_mm256_mul_epu32(SECRET(low, 0), w0), _mm256_mul_epu32(SECRET(low, 4), w4));
    __m256i highs = _mm256_add_epi64(_mm256_mul_epu32(SECRET(high, 0), w0), _mm256_mul_epu32(SECRET(high, 4), w4));
    lows = _mm256_add_epi64(lows, _mm256_mul_epu32(SECRET(low, 7), w7));
    highs = _mm256_add_epi64(highs, _mm256_mul_epu32(SECRET(high, 7), w7));
#undef SECRET
    return _mm256_add_epi64(lows, _mm256_slli_epi64(highs, 32));
}

/* Both families alike, without a branch. */
static inline struct sums sums_of_key(const struct ft *ft, const struct ft_key *key)
{
    const uint8_t *bytes = (const uint8_t *)key;
#define WORDS(word) _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(const void *)(bytes + 4 * (word))))
    __m256i w0 = WORDS(0), w4 = WORDS(4), w7 = _mm256_blend_epi32(WORDS(7), _mm256_setzero_si256(), 0x03);
#undef WORDS
    __m256i bucket = lanes_of(ft->secret[0], w0, w4, w7), tag = lanes_of(ft->secret[1], w0, w4, w7);
    __m256i pairs = _mm256_add_epi64(_mm256_unpacklo_epi64(bucket, tag), _mm256_unpackhi_epi64(bucket, tag));
    __m128i both = _mm_add_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    return (struct sums){ft->secret[0][FT_KEY_WORDS] + (uint64_t)_mm_cvtsi128_si64(both),
                         ft->secret[1][FT_KEY_WORDS] + (uint64_t)_mm_extract_epi64(both, 1)};
}
#else
static inline struct sums sums_of_key(const struct ft *ft, const struct ft_key *key)
{
    uint32_t w[FT_KEY_WORDS];
    memcpy(w, key, sizeof w);
    struct sums sums = sums_of(ft, w[0], w[4], w[8], w[9], w[10]);
    if (key->is_v6)
        add_v6(ft, &sums, key->addr);
    return sums;
}
#endif

uint64_t ft_hash(const struct ft *ft, const struct ft_key *key)
{
    static_assert(sizeof *key == 4 * FT_KEY_WORDS && FT_KEY_WORDS == 11, "the key is whole words");
    return hash_of(sums_of_key(ft, key), ft_shard_of(key));
}

/* Of a live slot's key, without making the key; owner only. */
static inline uint64_t slot_hash(const struct ft *ft, ft_slot slot)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    uint32_t addr[2], ports;
    memcpy(addr, hot->addr_v4, sizeof addr);
    memcpy(&ports, hot->port_be16, sizeof ports);
    if (unlikely(hot->is_v6)) {
        memcpy(&addr[0], ft->v6[slot].addr[0], 4);
        memcpy(&addr[1], ft->v6[slot].addr[1], 4);
    }
    struct sums sums = sums_of(ft, addr[0], addr[1], ports, hot->context, (uint32_t)hot->is_v6 << 8 | hot->ip_proto);
    if (unlikely(hot->is_v6))
        add_v6(ft, &sums, ft->v6[slot].addr);
    return hash_of(sums, ft_owner_of(ft, slot));
}

void ft_slot_key(const struct ft *ft, ft_slot slot, struct ft_key *ret_key)
{
    const struct ft_hot *hot = &ft->arrays.hot[slot];
    memset(ret_key, 0, sizeof *ret_key);
    if (hot->is_v6) {
        memcpy(ret_key->addr, ft->v6[slot].addr, sizeof ret_key->addr);
    } else {
        memcpy(ret_key->addr[0], hot->addr_v4[0], 4);
        memcpy(ret_key->addr[1], hot->addr_v4[1], 4);
    }
    memcpy(ret_key->port_be16, hot->port_be16, FT_KEY_TAIL_BYTES);
}

/* ---- the owner's calls ---- */

/* Stores a struct of whole words by relaxed atomics: readers may be copying the slot. */
static void store_words(void *to, const void *from, size_t size)
{
    uint64_t *to_words = to;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)from + 8 * i, 8);
        FT_SET(to_words[i], word);
    }
}

static void slot_fill(struct ft *ft, ft_slot slot, const struct ft_key *key, uint64_t uid, uint64_t now_ns)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    struct ft_hot first = {.last_ns = now_ns};
    struct ft_cold cold = {.uid = uid, .first_ns = now_ns};
    memcpy(first.port_be16, key->port_be16, FT_KEY_TAIL_BYTES);
    if (!key->is_v6) {
        memcpy(first.addr_v4[0], key->addr[0], 4);
        memcpy(first.addr_v4[1], key->addr[1], 4);
    }
    uint64_t generation = hot->sequence >> 32;
    ft_write_begin(hot);
    store_words(&hot->addr_v4, &first.addr_v4, sizeof first - offsetof(struct ft_hot, addr_v4));
    store_words(&ft->arrays.cold[slot], &cold, sizeof cold);
    if (key->is_v6)
        store_words(&ft->v6[slot], key->addr, sizeof key->addr);
    /* W1, with the generation counted up to odd: live. */
    __atomic_store_n(&hot->sequence, (uint64_t)(uint32_t)(generation + 1) << 32, __ATOMIC_RELEASE);
}

/* The rest of an insert, with the slot that was taken for it, or FT_SLOT_NONE. */
static int insert_into(struct ft *ft, ft_slot slot, const struct ft_key *key, uint64_t hash, uint64_t uid,
                       uint64_t now_ns)
{
    uint8_t shard_number = (uint8_t)hash;
    struct ft_shard *shard = &ft->shards[shard_number];
    if (unlikely(shard->unanswered >= ft->unanswered_max)) {
        if (slot != FT_SLOT_NONE)
            ft_slot_give_back(ft, shard_number, slot);
        FT_COUNT(shard->refused_unanswered, 1);
        return -EDQUOT;
    }
    if (unlikely(slot == FT_SLOT_NONE)) {
        FT_COUNT(shard->refused_no_slot, 1);
        return -ENOSPC;
    }
    uint32_t bucket = ft_index_make_room(ft, hash);
    if (unlikely(bucket == FT_BUCKET_NONE)) {
        ft_slot_give_back(ft, shard_number, slot);
        FT_COUNT(shard->refused_no_bucket, 1);
        return -EXFULL;
    }
    slot_fill(ft, slot, key, uid, now_ns);
    ft_index_insert(ft, hash, bucket, slot);
    ft_due(ft, shard, slot);
    FT_COUNT(shard->inserted, 1);
    FT_COUNT(shard->flows, 1);
    FT_COUNT(shard->unanswered, 1);
    return 0;
}

/* A slot for the key; none when the shard would refuse it anyway. */
static ft_slot slot_for(struct ft *ft, const struct ft_key *key, uint64_t hash)
{
    if (unlikely(ft->shards[(uint8_t)hash].unanswered >= ft->unanswered_max))
        return FT_SLOT_NONE;
    return ft_slot_take(ft, (uint8_t)hash, key->is_v6 ? FT_V6 : FT_V4);
}

int ft_insert(struct ft *ft, const struct ft_key *key, uint64_t hash, uint64_t uid, uint64_t now_ns, ft_slot *ret_slot)
{
    ft_slot slot = slot_for(ft, key, hash);
    int error = insert_into(ft, slot, key, hash, uid, now_ns);
    if (!error)
        *ret_slot = slot;
    return error;
}

uint32_t ft_insert_bulk(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], uint32_t wanted,
                        const uint64_t uids[], const uint64_t now_ns[], ft_slot ret_slots[], int ret_errors[])
{
    uint32_t inserted = 0;
    for (uint32_t left = wanted; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        uint32_t chunk = ft->shards[(uint8_t)hashes[i]].partial_first[keys[i].is_v6 ? FT_V6 : FT_V4];
        rte_prefetch0(&ft->chunks[chunk == FT_CHUNK_NONE ? 0 : chunk]);
        rte_prefetch0(&ft->buckets[ft_first_bucket(ft, hashes[i])]);
    }
    /* First the slots, so that the lines of all are fetched while the others are taken. */
    for (uint32_t left = wanted; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        ret_slots[i] = slot_for(ft, &keys[i], hashes[i]);
        if (ret_slots[i] != FT_SLOT_NONE)
            ft_slot_prefetch(ft, ret_slots[i], keys[i].is_v6);
    }
    for (uint32_t left = wanted; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        ft_slot twin = ft_index_find(ft, &keys[i], hashes[i]);
        ret_errors[i] = 0;
        if (unlikely(twin != FT_SLOT_NONE)) {
            if (ret_slots[i] != FT_SLOT_NONE)
                ft_slot_give_back(ft, (uint8_t)hashes[i], ret_slots[i]);
            ret_slots[i] = twin;
            continue;
        }
        ret_errors[i] = insert_into(ft, ret_slots[i], &keys[i], hashes[i], uids[i], now_ns[i]);
        if (unlikely(ret_errors[i]))
            ret_slots[i] = FT_SLOT_NONE;
        inserted |= (uint32_t)(ret_errors[i] == 0) << i;
    }
    return inserted;
}

static void remove_hashed(struct ft *ft, ft_slot slot, uint64_t hash)
{
    uint8_t shard_number = (uint8_t)hash;
    struct ft_shard *shard = &ft->shards[shard_number];
    assert(ft_generation(&ft->arrays.hot[slot]) & 1);
    if (ft_timeout_unanswered(ft->arrays.hot[slot].timeout_class))
        FT_COUNT(shard->unanswered, (uint64_t)-1);
    FT_COUNT(shard->flows, (uint64_t)-1);
    FT_COUNT(shard->removed, 1);
    ft_index_remove(ft, hash, slot);
    ft_slot_forget(ft, slot);
    ft_slot_free(ft, shard_number, slot);
}

void ft_remove(struct ft *ft, ft_slot slot)
{
    remove_hashed(ft, slot, slot_hash(ft, slot));
}

void ft_remove_bulk(struct ft *ft, const ft_slot slots[], unsigned count)
{
    uint64_t hashes[FT_BURST_MAX];
    for (unsigned i = 0; i < count; i++) {
        uint32_t chunk = ft_chunk_of(ft, slots[i]);
        rte_prefetch0(&ft->arrays.hot[slots[i]]);
        rte_prefetch0(&ft->chunks[chunk]);
        rte_prefetch0(&ft->due[slots[i]]);
    }
    for (unsigned i = 0; i < count; i++)
        if (ft->arrays.hot[slots[i]].is_v6)
            rte_prefetch0(&ft->v6[slots[i]]);
    for (unsigned i = 0; i < count; i++) {
        hashes[i] = slot_hash(ft, slots[i]);
        ft_prefetch_index(ft, &hashes[i], 1);
    }
    for (unsigned i = 0; i < count; i++)
        remove_hashed(ft, slots[i], hashes[i]);
}

void ft_set_timeout_class(struct ft *ft, ft_slot slot, enum ft_timeout timeout_class)
{
    struct ft_hot *hot = &ft->arrays.hot[slot];
    struct ft_shard *shard = &ft->shards[ft_owner_of(ft, slot)];
    bool was = ft_timeout_unanswered(hot->timeout_class), is = ft_timeout_unanswered(timeout_class);
    if (was != is)
        FT_COUNT(shard->unanswered, is ? 1 : (uint64_t)-1);
    FT_SET(hot->timeout_class, (uint8_t)timeout_class);
    ft_due(ft, shard, slot);
}

void ft_copy(struct ft *ft, ft_slot slot, struct ft_flow *ret_flow)
{
    ret_flow->slot = slot;
    ret_flow->hot = ft->arrays.hot[slot];
    ret_flow->cold = ft->arrays.cold[slot];
    ft_slot_key(ft, slot, &ret_flow->key);
}

uint32_t ft_slot_count(const struct ft *ft)
{
    return ft->chunk_count << ft->chunk_shift;
}

void ft_stats(const struct ft *ft, struct ft_stats *ret_stats)
{
    *ret_stats = (struct ft_stats){.capacity_flows = ft->capacity_flows, .memory_bytes = ft->memory_bytes};
    for (unsigned i = 0; i < FT_SHARDS; i++) {
        const struct ft_shard *shard = &ft->shards[i];
#define X(name) ret_stats->name += FT_GET(shard->name);
        FT_COUNTERS(X)
#undef X
        ret_stats->flows += FT_GET(shard->flows);
        ret_stats->unanswered += FT_GET(shard->unanswered);
    }
}

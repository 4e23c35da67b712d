/*
 * The buckets: lookup, insert with displacement, remove. All but the prefetches touches one shard's range only.
 */
#include <emmintrin.h>

#include "flowtable/table_priv.h"

/* Buckets looked at in search of a displacement: bounds the cost of one insert. */
#define DISPLACE_NODES_MAX 64u

/*
 * The tags of a bucket that another owner may be writing: those that are only fetched ahead. Each half is one load; two,
 * rather than one of 16 bytes, since that is what C calls atomic.
 */
static inline __m128i load_tags(const struct ft_bucket *bucket)
{
    const uint64_t *halves = (const uint64_t *)(const void *)bucket->tag;
    return _mm_set_epi64x((long long)FT_GET(halves[1]), (long long)FT_GET(halves[0]));
}

/* Bit i: place i has the tag. The owner's plain read: nobody else writes. */
static inline uint32_t places_of(const struct ft_bucket *bucket, uint16_t tag)
{
    __m128i tags = _mm_load_si128((const __m128i *)(const void *)bucket->tag);
    __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
}

static inline unsigned first_place(uint32_t places)
{
    return (unsigned)__builtin_ctz(places);
}

static void bucket_write_begin(struct ft_bucket *bucket)
{
    FT_SET(bucket->version, bucket->version + 1);
    /* B0: the odd version before all stores of the write; partner: the acquire fence Q1 (read.c). */
    rte_atomic_thread_fence(__ATOMIC_RELEASE);
}

static void bucket_write_end(struct ft_bucket *bucket)
{
    /* B1: release, so that who sees the even version sees the write; partner: the acquire load Q0 (read.c). */
    __atomic_store_n(&bucket->version, bucket->version + 1, __ATOMIC_RELEASE);
}

static void place_set(struct ft_bucket *bucket, unsigned place, uint16_t tag, ft_slot slot, bool second)
{
    FT_SET(bucket->slot[place], slot);
    FT_SET(bucket->tag[place], tag);
    bucket->second = (uint8_t)((bucket->second & ~(1u << place)) | (uint32_t)second << place);
}

/* ---- lookup ---- */

static ft_slot bucket_find(const struct ft *ft, const struct ft_bucket *bucket, uint16_t tag, const struct ft_key *key)
{
    for (uint32_t places = places_of(bucket, tag); places; places &= places - 1) {
        ft_slot slot = bucket->slot[first_place(places)];
        if (likely(ft_slot_holds(ft, slot, key)))
            return slot;
    }
    return FT_SLOT_NONE;
}

ft_slot ft_index_find(const struct ft *ft, const struct ft_key *key, uint64_t hash)
{
    uint16_t tag = ft_tag(hash);
    uint32_t first = ft_first_bucket(ft, hash);
    ft_slot slot = bucket_find(ft, &ft->buckets[first], tag, key);
    if (slot == FT_SLOT_NONE && ft->buckets[first].overflow)
        slot = bucket_find(ft, &ft->buckets[ft_other_bucket(ft, (uint8_t)hash, first, tag)], tag, key);
    return slot;
}

/*
 * The slot of the first place that has the tag. Without one: that of the last place, in most buckets free (they fill
 * from the first on), hence slot 0, which no flow ever has: what follows needs no branch, and costs nothing.
 */
static inline ft_slot candidate(const struct ft_bucket *bucket, uint16_t tag, bool *ret_found)
{
    /* Two bits a place. */
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(load_tags(bucket), _mm_set1_epi16((short)tag)));
    *ret_found = bits != 0;
    return FT_GET(bucket->slot[(unsigned)__builtin_ctz(bits | 1u << 14) / 2]);
}

/*
 * A live flow with all of the key but an IPv6 flow's addresses; without branches. The hint may be a slot that was freed
 * since, even another owner's by now: then its new flow's generation, seen odd, makes its whole key seen, too.
 */
static inline bool hot_matches(const struct ft_hot *hot, const struct ft_key *key)
{
    static_assert(offsetof(struct ft_hot, addr_v4) % 8 == 0 && offsetof(struct ft_hot, port_be16) % 8 == 0 &&
                      offsetof(struct ft_hot, is_v6) == offsetof(struct ft_hot, ip_proto) + 1,
                  "whole words");
    uint32_t low, high;
    uint64_t addr, ports;
    uint16_t last;
    memcpy(&low, key->addr[0], 4);
    memcpy(&high, key->addr[1], 4);
    memcpy(&ports, key->port_be16, 8);
    memcpy(&last, &key->ip_proto, 2);
    addr = ((uint64_t)high << 32 | low) & ((uint64_t)key->is_v6 - 1);
    /* Acquire; partner: the release W1 of slot_fill(). Ours or not, the key's words do not change while a flow lives. */
    uint64_t sequence = __atomic_load_n(&hot->sequence, __ATOMIC_ACQUIRE);
    uint64_t hot_addr = FT_GET(*(const uint64_t *)(const void *)hot->addr_v4);
    uint64_t hot_ports = FT_GET(*(const uint64_t *)(const void *)hot->port_be16);
    uint16_t hot_last = FT_GET(*(const uint16_t *)(const void *)&hot->ip_proto);
    uint64_t is_free = ~sequence >> 32 & 1;
    return ((addr ^ hot_addr) | (ports ^ hot_ports) | (uint64_t)(last ^ hot_last) | is_free) == 0;
}

static inline uint64_t v6_word_differs(const struct ft_v6 *v6, const struct ft_key *key, unsigned word)
{
    uint64_t wanted;
    memcpy(&wanted, &key->addr[word / 2][word % 2 * 8], 8);
    return wanted ^ FT_GET(((const uint64_t *)(const void *)v6->addr)[word]);
}

static inline bool v6_matches(const struct ft_v6 *v6, const struct ft_key *key)
{
    return (v6_word_differs(v6, key, 0) | v6_word_differs(v6, key, 1) | v6_word_differs(v6, key, 2) |
            v6_word_differs(v6, key, 3)) == 0;
}

void ft_prefetch_index(struct ft *ft, const uint64_t hashes[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        rte_prefetch0(&ft->buckets[ft_first_bucket(ft, hashes[i])]);
}

void ft_prefetch_flows(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                       ft_slot ret_hints[])
{
    uint32_t v6 = 0, second = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct ft_bucket *bucket = &ft->buckets[ft_first_bucket(ft, hashes[i])];
        bool is_found;
        ret_hints[i] = candidate(bucket, ft_tag(hashes[i]), &is_found);
        rte_prefetch0(&ft->arrays.hot[ret_hints[i]]);
        v6 |= (uint32_t)(is_found & keys[i].is_v6) << i;
        second |= (uint32_t)(!is_found & (FT_GET(bucket->overflow) != 0)) << i;
    }
    for (; v6; v6 &= v6 - 1)
        rte_prefetch0(&ft->v6[ret_hints[first_place(v6)]]);
    for (; second; second &= second - 1) {
        uint64_t hash = hashes[first_place(second)];
        rte_prefetch0(&ft->buckets[ft_other_bucket(ft, (uint8_t)hash, ft_first_bucket(ft, hash), ft_tag(hash))]);
    }
}

uint32_t ft_lookup_hinted(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], const ft_slot hints[],
                          unsigned count, ft_slot ret_slots[])
{
    uint32_t hits = 0, v6 = 0;
    for (unsigned i = 0; i < count; i++) {
        ft_slot slot = ret_slots[i] = hints[i];
        hits |= (uint32_t)hot_matches(&ft->arrays.hot[slot], &keys[i]) << i;
        v6 |= (uint32_t)keys[i].is_v6 << i;
    }
    for (uint32_t left = hits & v6; left; left &= left - 1) {
        unsigned i = first_place(left);
        hits ^= (uint32_t)!v6_matches(&ft->v6[ret_slots[i]], &keys[i]) << i;
    }
    /* New flows; besides these few: keys in their second bucket, tags that two keys have in common, hints out of date. */
    for (uint32_t left = ~hits & (uint32_t)((UINT64_C(1) << count) - 1); left; left &= left - 1) {
        unsigned i = first_place(left);
        ret_slots[i] = ft_index_find(ft, &keys[i], hashes[i]);
        hits |= (uint32_t)(ret_slots[i] != FT_SLOT_NONE) << i;
    }
    return hits;
}

uint32_t ft_lookup_bulk(struct ft *ft, const struct ft_key keys[], const uint64_t hashes[], unsigned count,
                        ft_slot ret_slots[])
{
    ft_prefetch_index(ft, hashes, count);
    ft_prefetch_flows(ft, keys, hashes, count, ret_slots);
    return ft_lookup_hinted(ft, keys, hashes, ret_slots, count, ret_slots);
}

/* ---- insert ---- */

/* A step of the search: `bucket` is reached from the node `parent` by moving the key of its place `place` there. */
struct displace_node {
    uint32_t bucket;
    uint8_t parent; /* of the two roots: themselves */
    uint8_t place;
};

static_assert(DISPLACE_NODES_MAX <= UINT8_MAX, "node numbers fit a byte");

/* Moves the key of one place into a free place of its other bucket; writes the new place before it clears the old. */
static void displace(struct ft *ft, uint32_t from_bucket, unsigned from_place, uint32_t to_bucket)
{
    struct ft_bucket *from = &ft->buckets[from_bucket], *to = &ft->buckets[to_bucket];
    bool was_second = from->second >> from_place & 1;

    bucket_write_begin(to);
    place_set(to, first_place(places_of(to, 0)), from->tag[from_place], from->slot[from_place], !was_second);
    if (was_second)
        FT_SET(to->overflow, to->overflow - 1);
    bucket_write_end(to);

    bucket_write_begin(from);
    place_set(from, from_place, 0, 0, false);
    if (!was_second)
        FT_SET(from->overflow, from->overflow + 1);
    bucket_write_end(from);
}

/* Frees a place in the root bucket of the path that ends in nodes[last], whose place `place` can move to `target`. */
static uint32_t displace_along(struct ft *ft, const struct displace_node nodes[], unsigned last, unsigned place,
                               uint32_t target, unsigned *ret_moves)
{
    unsigned moves = 0;
    for (;;) {
        displace(ft, nodes[last].bucket, place, target);
        moves++;
        if (nodes[last].parent == last)
            break;
        target = nodes[last].bucket;
        place = nodes[last].place;
        last = nodes[last].parent;
    }
    *ret_moves = moves;
    return nodes[last].bucket;
}

/*
 * Breadth-first from both buckets of the key, so the shortest path of moves is found. Returns the bucket in which a
 * place was freed, or FT_BUCKET_NONE. A bucket that is met again may stand in the queue twice; yet no path crosses
 * itself, and no key is moved twice: what its later node could reach, its earlier node reached before. Fills a shard to
 * 99 % of its places.
 */
static uint32_t make_room(struct ft *ft, uint8_t shard, uint32_t first, uint32_t second)
{
    struct displace_node nodes[DISPLACE_NODES_MAX] = {{.bucket = first, .parent = 0}, {.bucket = second, .parent = 1}};
    unsigned count = first == second ? 1 : 2;
    for (unsigned n = 0; n < count; n++) {
        const struct ft_bucket *bucket = &ft->buckets[nodes[n].bucket];
        for (unsigned place = 0; place < FT_BUCKET_PLACES; place++) {
            uint32_t target = ft_other_bucket(ft, shard, nodes[n].bucket, bucket->tag[place]);
            if (places_of(&ft->buckets[target], 0)) {
                unsigned moves;
                uint32_t freed = displace_along(ft, nodes, n, place, target, &moves);
                FT_COUNT(ft->shards[shard].displaced, moves);
                return freed;
            }
            if (count < DISPLACE_NODES_MAX && target != nodes[n].bucket)
                nodes[count++] = (struct displace_node){target, (uint8_t)n, (uint8_t)place};
        }
    }
    return FT_BUCKET_NONE;
}

uint32_t ft_index_make_room(struct ft *ft, uint64_t hash)
{
    uint8_t shard = (uint8_t)hash;
    uint32_t first = ft_first_bucket(ft, hash);
    if (likely(places_of(&ft->buckets[first], 0)))
        return first;
    uint32_t second = ft_other_bucket(ft, shard, first, ft_tag(hash));
    if (places_of(&ft->buckets[second], 0))
        return second;
    return make_room(ft, shard, first, second);
}

void ft_index_insert(struct ft *ft, uint64_t hash, uint32_t chosen, ft_slot slot)
{
    uint32_t first = ft_first_bucket(ft, hash);
    struct ft_bucket *bucket = &ft->buckets[chosen];
    bucket_write_begin(bucket);
    place_set(bucket, first_place(places_of(bucket, 0)), ft_tag(hash), slot, chosen != first);
    bucket_write_end(bucket);
    if (chosen == first)
        return;
    struct ft_bucket *home = &ft->buckets[first];
    bucket_write_begin(home);
    FT_SET(home->overflow, home->overflow + 1);
    bucket_write_end(home);
}

/* ---- remove ---- */

/* The place of a slot, or none. */
static inline uint32_t places_of_slot(const struct ft_bucket *bucket, ft_slot slot)
{
    __m128i slots = _mm_set1_epi32((int)slot);
    __m128i low = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)(const void *)bucket->slot), slots);
    __m128i high = _mm_cmpeq_epi32(_mm_load_si128((const __m128i *)(const void *)(bucket->slot + 4)), slots);
    __m128i words = _mm_packs_epi32(low, high);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(words, _mm_setzero_si128()));
}

static bool bucket_clear(struct ft_bucket *bucket, ft_slot slot)
{
    uint32_t places = places_of_slot(bucket, slot);
    if (unlikely(!places))
        return false;
    bucket_write_begin(bucket);
    place_set(bucket, first_place(places), 0, 0, false);
    bucket_write_end(bucket);
    return true;
}

void ft_index_remove(struct ft *ft, uint64_t hash, ft_slot slot)
{
    uint32_t first = ft_first_bucket(ft, hash);
    struct ft_bucket *home = &ft->buckets[first];
    if (likely(bucket_clear(home, slot)))
        return;
    bool found = bucket_clear(&ft->buckets[ft_other_bucket(ft, (uint8_t)hash, first, ft_tag(hash))], slot);
    assert(found);
    (void)found;
    bucket_write_begin(home);
    FT_SET(home->overflow, home->overflow - 1);
    bucket_write_end(home);
}

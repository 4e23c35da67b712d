#include "dataplane/fragment.h"

#include <errno.h>
#include <netinet/in.h>
#include <rte_common.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "dataplane/stats.h"

#define CAPACITY_MAX (1u << 24)
#define NONE         UINT32_MAX

/* What all fragments of a datagram have in common; compared and hashed as bytes. */
struct datagram_id {
    uint8_t addr[2][16]; /* ordered as in a key */
    uint32_t context;
    uint32_t fragment_id;
    uint8_t ip_proto; /* 0 for IPv6, whose fragments may each name another next header */
    uint8_t is_v6;
    uint8_t direction; /* 1: from the higher address to the lower */
    uint8_t zero;
};
static_assert(sizeof(struct datagram_id) == 44, "no padding: hashed as bytes");

struct datagram {
    struct datagram_id id;
    uint16_t port_be16[2]; /* of the key; 0 until the first fragment is seen, as are the next two */
    uint8_t ip_proto;
    uint8_t swap;
    bool is_named;
    uint32_t pending_packets;
    uint64_t pending_bytes;
    uint64_t created_ns;
    uint64_t pending_first_ns, pending_last_ns;
    struct dp_fragment_origin origin; /* of the first pending packet */
    uint32_t seen_bytes;
    uint32_t total_bytes; /* 0: the last fragment was not seen */
    uint32_t chain_next;  /* of the same bucket, or of the free list */
    uint32_t older, newer;
};
static_assert(sizeof(struct datagram) == 128, "as the header says");

struct dp_fragments {
    struct datagram *datagrams;
    uint32_t *buckets; /* first of a chain, or NONE */
    uint32_t bucket_mask;
    uint32_t free_first;
    uint32_t oldest, newest; /* by creation */
    uint64_t timeout_ns;
    uint64_t secret;
    struct dp_fragment_stats stats;
};

struct dp_fragments *dp_fragments_create(const struct dp_fragment_config *config)
{
    uint32_t capacity = config->capacity_datagrams;
    if (capacity == 0 || capacity > CAPACITY_MAX || config->timeout_ns == 0) {
        errno = EINVAL;
        return NULL;
    }
    uint32_t buckets = rte_align32pow2(capacity);
    struct dp_fragments *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->datagrams = calloc(capacity, sizeof *f->datagrams);
    f->buckets = malloc(buckets * sizeof *f->buckets);
    f->secret = config->secret_seed;
    if (!f->datagrams || !f->buckets ||
        (!f->secret && getrandom(&f->secret, sizeof f->secret, 0) != sizeof f->secret)) {
        dp_fragments_destroy(f);
        errno = ENOMEM;
        return NULL;
    }
    memset(f->buckets, 0xff, buckets * sizeof *f->buckets);
    for (uint32_t i = 0; i < capacity; i++)
        f->datagrams[i].chain_next = i + 1 < capacity ? i + 1 : NONE;
    f->bucket_mask = buckets - 1;
    f->oldest = f->newest = NONE;
    f->timeout_ns = config->timeout_ns;
    return f;
}

void dp_fragments_destroy(struct dp_fragments *f)
{
    if (!f)
        return;
    free(f->datagrams);
    free(f->buckets);
    free(f);
}

void dp_fragments_stats(const struct dp_fragments *f, struct dp_fragment_stats *ret_stats)
{
#define X(name, text) ret_stats->name = __atomic_load_n(&f->stats.name, __ATOMIC_RELAXED);
    DP_FRAGMENT_COUNTERS(X)
#undef X
}

void dp_fragments_stats_reset(struct dp_fragments *f)
{
    memset(&f->stats, 0, sizeof f->stats);
}

uint8_t dp_fragment_shard(const struct dp_view *view)
{
    struct ft_key key = view->key;
    key.port_be16[0] = key.port_be16[1] = 0;
    return ft_shard_of(&key);
}

static struct datagram_id id_of(const struct dp_view *view)
{
    struct datagram_id id = {
        .context = view->key.context,
        .fragment_id = view->fragment_id,
        .ip_proto = view->key.is_v6 ? 0 : view->key.ip_proto,
        .is_v6 = view->key.is_v6,
    };
    memcpy(id.addr, view->key.addr, sizeof id.addr);
    /* Between equal addresses swap depends on the ports, which a later fragment has not. */
    if (memcmp(id.addr[0], id.addr[1], sizeof id.addr[0]) != 0)
        id.direction = view->swap;
    return id;
}

static uint32_t *bucket_of(const struct dp_fragments *f, const struct datagram_id *id)
{
    return &f->buckets[XXH3_64bits_withSeed(id, sizeof *id, f->secret) & f->bucket_mask];
}

static struct datagram *find(const struct dp_fragments *f, const struct datagram_id *id)
{
    for (uint32_t i = *bucket_of(f, id); i != NONE; i = f->datagrams[i].chain_next)
        if (memcmp(&f->datagrams[i].id, id, sizeof *id) == 0)
            return &f->datagrams[i];
    return NULL;
}

static struct datagram *add(struct dp_fragments *f, const struct datagram_id *id, uint64_t now_ns)
{
    uint32_t i = f->free_first;
    if (i == NONE)
        return NULL;
    struct datagram *d = &f->datagrams[i];
    uint32_t *bucket = bucket_of(f, id);
    f->free_first = d->chain_next;
    *d = (struct datagram){.id = *id, .created_ns = now_ns, .chain_next = *bucket, .older = f->newest, .newer = NONE};
    *bucket = i;
    if (f->newest != NONE)
        f->datagrams[f->newest].newer = i;
    else
        f->oldest = i;
    f->newest = i;
    return d;
}

static void remove_datagram(struct dp_fragments *f, struct datagram *d)
{
    uint32_t i = (uint32_t)(d - f->datagrams);
    uint32_t *link = bucket_of(f, &d->id);
    while (*link != i)
        link = &f->datagrams[*link].chain_next;
    *link = d->chain_next;
    *(d->older != NONE ? &f->datagrams[d->older].newer : &f->oldest) = d->newer;
    *(d->newer != NONE ? &f->datagrams[d->newer].older : &f->newest) = d->older;
    d->chain_next = f->free_first;
    f->free_first = i;
}

/* What was counted for the datagram, to the key as it is known now. */
static struct dp_fragment_credit take_credit(struct datagram *d)
{
    struct dp_fragment_credit credit = {
        .key = {.port_be16 = {d->port_be16[0], d->port_be16[1]},
                .context = d->id.context,
                .ip_proto = d->ip_proto,
                .is_v6 = d->id.is_v6},
        .swap = d->swap,
        .packets = d->pending_packets,
        .bytes = d->pending_bytes,
        .first_ns = d->pending_first_ns,
        .last_ns = d->pending_last_ns,
        .origin = d->origin,
    };
    memcpy(credit.key.addr, d->id.addr, sizeof credit.key.addr);
    d->pending_packets = 0;
    return credit;
}

static bool has_timed_out(const struct dp_fragments *f, const struct datagram *d, uint64_t now_ns)
{
    return now_ns >= d->created_ns && now_ns - d->created_ns >= f->timeout_ns;
}

/* Removes a timed-out datagram; true when it leaves a credit. */
static bool expire(struct dp_fragments *f, struct datagram *d, struct dp_fragment_credit *ret_credit)
{
    bool has_credit = d->pending_packets > 0;
    if (has_credit) {
        *ret_credit = take_credit(d);
        DP_COUNT(f->stats.expired_datagrams, 1);
    }
    remove_datagram(f, d);
    return has_credit;
}

/* The fragment's datagram, new or known; NULL when the table is full of younger ones. */
static struct datagram *datagram_of(struct dp_fragments *f, const struct dp_view *view, uint64_t now_ns,
                                    struct dp_fragment_credit *ret_credit)
{
    struct datagram_id id = id_of(view);
    struct datagram *d = find(f, &id);
    if (d && has_timed_out(f, d, now_ns)) {
        expire(f, d, ret_credit);
        d = NULL;
    } else if (d && d->is_named && (view->flags & DP_VIEW_FIRST_FRAGMENT)) {
        remove_datagram(f, d); /* the id is used again */
        d = NULL;
    }
    if (d)
        return d;
    if (f->free_first == NONE && has_timed_out(f, &f->datagrams[f->oldest], now_ns))
        expire(f, &f->datagrams[f->oldest], ret_credit);
    return add(f, &id, now_ns);
}

static void count_pending(struct datagram *d, const struct dp_view *view, uint64_t now_ns,
                          const struct dp_fragment_origin *origin)
{
    if (d->pending_packets == 0) {
        d->origin = *origin;
        d->pending_first_ns = d->pending_last_ns = now_ns;
        d->ip_proto = view->key.ip_proto;
        d->swap = view->swap;
    }
    d->pending_packets++;
    d->pending_bytes += view->ip_bytes;
    d->pending_first_ns = RTE_MIN(d->pending_first_ns, now_ns);
    d->pending_last_ns = RTE_MAX(d->pending_last_ns, now_ns);
}

static void name(struct datagram *d, const struct dp_view *view, struct dp_fragment_credit *ret_credit)
{
    d->is_named = true;
    d->ip_proto = view->key.ip_proto;
    d->swap = view->swap;
    d->port_be16[0] = view->key.port_be16[0];
    d->port_be16[1] = view->key.port_be16[1];
    if (d->pending_packets > 0)
        *ret_credit = take_credit(d);
}

/* A named datagram goes when as many bytes were seen as its last fragment says it has. */
static void note_bytes(struct dp_fragments *f, struct datagram *d, const struct dp_view *view)
{
    d->seen_bytes += view->fragment_bytes;
    if (view->flags & DP_VIEW_LAST_FRAGMENT)
        d->total_bytes = (uint32_t)view->fragment_offset_bytes + view->fragment_bytes;
    if (d->is_named && d->seen_bytes == d->total_bytes)
        remove_datagram(f, d);
}

enum dp_fragment_verdict dp_fragment_judge(struct dp_fragments *f, struct dp_view *view, uint64_t now_ns,
                                           const struct dp_fragment_origin *origin,
                                           struct dp_fragment_credit *ret_credit)
{
    memset(ret_credit, 0, sizeof *ret_credit);
    uint8_t proto = view->key.ip_proto;
    if (!view->key.is_v6 && proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_SCTP) {
        DP_COUNT(f->stats.complete_fragments, 1);
        return DP_FRAGMENT_FLOW;
    }
    bool is_first = view->flags & DP_VIEW_FIRST_FRAGMENT;
    struct datagram *d = datagram_of(f, view, now_ns, ret_credit);
    enum dp_fragment_verdict verdict = DP_FRAGMENT_FLOW;
    if (is_first) {
        DP_COUNT(f->stats.first_fragments, 1);
        DP_COUNT(f->stats.unnamed_datagrams, !d);
        if (d)
            name(d, view, ret_credit);
    } else if (!d) {
        DP_COUNT(f->stats.portless_fragments, 1);
        return DP_FRAGMENT_PORTLESS;
    } else if (d->is_named) {
        DP_COUNT(f->stats.followed_fragments, 1);
        view->key.port_be16[0] = d->port_be16[0];
        view->key.port_be16[1] = d->port_be16[1];
        view->key.ip_proto = d->ip_proto;
        view->swap = d->swap;
    } else {
        DP_COUNT(f->stats.pending_fragments, 1);
        count_pending(d, view, now_ns, origin);
        verdict = DP_FRAGMENT_PENDING;
    }
    if (d)
        note_bytes(f, d, view);
    return verdict;
}

uint32_t dp_fragments_expire(struct dp_fragments *f, uint64_t now_ns, struct dp_fragment_credit *ret_credits,
                             uint32_t length, bool *ret_done)
{
    uint32_t credits = 0;
    for (uint32_t removed = 0; removed < length; removed++) {
        if (f->oldest == NONE || !has_timed_out(f, &f->datagrams[f->oldest], now_ns))
            break;
        credits += expire(f, &f->datagrams[f->oldest], &ret_credits[credits]);
    }
    *ret_done = f->oldest == NONE || !has_timed_out(f, &f->datagrams[f->oldest], now_ns);
    return credits;
}

/* ---- from table to table ---- */

struct dp_fragment_carrier {
    uint32_t capacity, count, taken; /* oldest first; the first `taken` have been imported */
    struct datagram datagrams[];
};

struct dp_fragment_carrier *dp_fragment_carrier_create(uint32_t capacity_datagrams)
{
    struct dp_fragment_carrier *carrier = calloc(1, sizeof *carrier + capacity_datagrams * sizeof(struct datagram));
    if (carrier)
        carrier->capacity = capacity_datagrams;
    return carrier;
}

void dp_fragment_carrier_destroy(struct dp_fragment_carrier *carrier)
{
    free(carrier);
}

uint32_t dp_fragment_carrier_count(const struct dp_fragment_carrier *carrier)
{
    return carrier->count - carrier->taken;
}

void dp_fragment_carrier_clear(struct dp_fragment_carrier *carrier)
{
    carrier->count = carrier->taken = 0;
}

void dp_fragment_carrier_get(const struct dp_fragment_carrier *carrier, uint32_t index,
                             struct dp_datagram_state *ret_state)
{
    const struct datagram *d = &carrier->datagrams[carrier->taken + index];
    *ret_state = (struct dp_datagram_state){.context = d->id.context,
                                            .fragment_id = d->id.fragment_id,
                                            .id_ip_proto = d->id.ip_proto,
                                            .is_v6 = d->id.is_v6,
                                            .direction = d->id.direction,
                                            .port_be16 = {d->port_be16[0], d->port_be16[1]},
                                            .ip_proto = d->ip_proto,
                                            .swap = d->swap,
                                            .is_named = d->is_named,
                                            .pending_packets = d->pending_packets,
                                            .pending_bytes = d->pending_bytes,
                                            .created_ns = d->created_ns,
                                            .pending_first_ns = d->pending_first_ns,
                                            .pending_last_ns = d->pending_last_ns,
                                            .origin = d->origin,
                                            .seen_bytes = d->seen_bytes,
                                            .total_bytes = d->total_bytes};
    memcpy(ret_state->addr, d->id.addr, sizeof ret_state->addr);
}

bool dp_fragment_carrier_add(struct dp_fragment_carrier *carrier, const struct dp_datagram_state *state)
{
    if (carrier->count == carrier->capacity)
        return false;
    struct datagram *d = &carrier->datagrams[carrier->count++];
    *d = (struct datagram){.id = {.context = state->context,
                                  .fragment_id = state->fragment_id,
                                  .ip_proto = state->id_ip_proto,
                                  .is_v6 = state->is_v6,
                                  .direction = state->direction},
                           .port_be16 = {state->port_be16[0], state->port_be16[1]},
                           .ip_proto = state->ip_proto,
                           .swap = state->swap & 1,
                           .is_named = state->is_named,
                           .pending_packets = state->pending_packets,
                           .pending_bytes = state->pending_bytes,
                           .created_ns = state->created_ns,
                           .pending_first_ns = state->pending_first_ns,
                           .pending_last_ns = state->pending_last_ns,
                           .origin = state->origin,
                           .seen_bytes = state->seen_bytes,
                           .total_bytes = state->total_bytes};
    memcpy(d->id.addr, state->addr, sizeof d->id.addr);
    return true;
}

static uint8_t shard_of(const struct datagram *d)
{
    struct ft_key key = {.context = d->id.context, .is_v6 = d->id.is_v6};
    memcpy(key.addr, d->id.addr, sizeof key.addr);
    return ft_shard_of(&key);
}

void dp_fragments_export(struct dp_fragments *f, uint8_t shard, struct dp_fragment_carrier *carrier)
{
    carrier->count = carrier->taken = 0;
    for (uint32_t i = f->oldest, newer; i != NONE; i = newer) {
        struct datagram *d = &f->datagrams[i];
        newer = d->newer;
        if (shard_of(d) != shard || carrier->count == carrier->capacity)
            continue;
        carrier->datagrams[carrier->count++] = *d;
        remove_datagram(f, d);
    }
}

/* Takes it from the end of the list, where add() has put it, to its place by creation. */
static void sort_in(struct dp_fragments *f, struct datagram *d)
{
    uint32_t i = (uint32_t)(d - f->datagrams), older = d->older;
    while (older != NONE && f->datagrams[older].created_ns > d->created_ns)
        older = f->datagrams[older].older;
    if (older == d->older)
        return;
    f->newest = d->older; /* there is one: it was created later */
    f->datagrams[f->newest].newer = NONE;
    d->older = older;
    d->newer = older != NONE ? f->datagrams[older].newer : f->oldest;
    f->datagrams[d->newer].older = i;
    *(older != NONE ? &f->datagrams[older].newer : &f->oldest) = i;
}

uint32_t dp_fragments_import(struct dp_fragments *f, struct dp_fragment_carrier *carrier,
                             struct dp_fragment_credit *ret_credits, uint32_t length, bool *ret_done)
{
    uint32_t credits = 0;
    while (carrier->taken < carrier->count && credits < length) {
        struct datagram *from = &carrier->datagrams[carrier->taken++];
        struct datagram *d = add(f, &from->id, from->created_ns);
        if (d) {
            uint32_t chain_next = d->chain_next, older = d->older;
            *d = *from;
            d->chain_next = chain_next;
            d->older = older;
            d->newer = NONE;
            sort_in(f, d);
        } else if (from->pending_packets) {
            ret_credits[credits++] = take_credit(from);
            DP_COUNT(f->stats.expired_datagrams, 1);
        }
    }
    *ret_done = carrier->taken == carrier->count;
    return credits;
}

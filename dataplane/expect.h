/*
 * Expectations: what control flows announced of flows to come, and which application an address stands for. A bounded table, shared
 * by all workers.
 *
 * Who calls: any worker may add and find at any time. An entry is seen by every worker from the moment that dp_expect_add() returns.
 * Live that is before the announcing packet is sent, so what it causes finds the entry. In replay the reader sees to it that packets
 * which may announce are done before later ones are begun (replay.h): what is found is the same for any number of workers.
 *
 * Shape: buckets of one line, 8 tags and a sequence, and 8 entries each of a line beside it. A writer takes a bucket by one
 * compare-and-swap (even to odd) and gives up after a few tries, counted: nobody ever waits for anybody, and an announcement is lost
 * only when two workers write the same bucket at once for that long. Readers copy an entry between two equal even loads and take it
 * for a miss after a few. Announcements are rare (a call, a transfer, a name), look-ups are one or two lines for each new flow, and
 * none while the table holds nothing that is alive.
 *
 * Bounds: memory is fixed. Full: the entry of the bucket that would end first makes room, counted. A host can have at most
 * per_host_max entries alive (a leaky rate over hosts hashed to 1,024 places, so two may share one): a host that announces a million
 * ports pushes nobody else's out; what is refused is counted. The hash is keyed.
 *
 * Time is handed in. Entries are plain and their times relative when exported, so that a peer can take them over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flowtable/key.h"

#define DP_EXPECT_HOSTS 1024u

/* Why an announcement changed the table or did not. */
enum dp_expect_result {
    DP_EXPECT_ADDED,   /* or renewed */
    DP_EXPECT_EVICTED, /* added, and another one that was alive went */
    DP_EXPECT_REFUSED, /* its host has its share */
    DP_EXPECT_BUSY,    /* somebody else wrote here */
};

/* One entry, as it stands in the table, is exported and imported. Compared as bytes up to `kind`. */
struct dp_expectation {
    uint8_t address[16]; /* network order; IPv4 in the first four bytes, the rest 0 */
    uint8_t peer[16];    /* of the other side; all 0: any */
    uint32_t context;    /* as in struct ft_key */
    uint16_t port_be16;
    uint8_t ip_proto;
    uint8_t is_v6;
    uint8_t kind; /* enum cl_announced */
    uint8_t zero;
    uint16_t named; /* runtime index of an application, or 0 */
    uint32_t zero2;
    uint64_t until_ns; /* exported: what is left */
};
static_assert(sizeof(struct dp_expectation) == 56, "seven words, no padding");

struct dp_expect;

struct dp_expect_config {
    uint32_t capacity; /* entries, rounded up to a power of two; at least 64 */
    uint32_t per_host_max;
    bool is_by_pair;      /* the peer is always known and a part of where an entry stands */
    uint64_t secret_seed; /* 0: drawn from getrandom() */
};

/* NULL when memory is short. */
struct dp_expect *dp_expect_create(const struct dp_expect_config *config);
void dp_expect_destroy(struct dp_expect *table);

/*
 * Adds one that lives for lifetime_ns, on account of `host` (16 bytes); one for the same address, port and peer is replaced.
 * Any thread.
 */
enum dp_expect_result dp_expect_add(struct dp_expect *table, const struct dp_expectation *entry, const uint8_t *host,
                                    uint64_t lifetime_ns, uint64_t now_ns);

/*
 * The expectation that a flow of this key meets at `endpoint` (0 or 1) of it, if it is alive; one for this very peer goes before one
 * for any. `port_be16`, `ip_proto` of 0 are looked up as such. Any thread.
 */
bool dp_expect_find(const struct dp_expect *table, const struct ft_key *key, unsigned endpoint, uint16_t port_be16,
                    uint8_t ip_proto, uint64_t now_ns, struct dp_expectation *ret_entry);

/* False: nothing that it holds for flows of this IP protocol is alive. Any thread; one shared line that is rarely written. */
bool dp_expect_any(const struct dp_expect *table, uint8_t ip_proto, uint64_t now_ns);

/*
 * The next living entry from *position (0 at the start) on, its time relative to now_ns; false at the end. For an export; entries
 * that come and go meanwhile may be missed. Any thread.
 */
bool dp_expect_walk(const struct dp_expect *table, uint64_t *position, uint64_t now_ns,
                    struct dp_expectation *ret_entry);

/* Forgets everything. While nobody else uses the table. */
void dp_expect_clear(struct dp_expect *table);

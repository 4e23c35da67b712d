/*
 * The engine's inside, for engine.c (load, registry) and classify.c (judging). See classifier.h for who may call what.
 */
#pragma once

#include "classifier/announce.h"
#include "classifier/classifier.h"
#include "classifier/hosts.h"
#include "classifier/inspect.h"
#include "classifier/pack.h"
#include "classifier/plain.h"
#include "classifier/sctp.h"

static inline uint64_t cl_number(const uint8_t *p, unsigned size, bool little)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | p[little ? size - 1 - i : i];
    return value;
}

static inline bool cl_in_ranges(const struct pack_ranges *r, uint32_t value)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (value >= r->list[i].first && value <= r->list[i].last)
            return true;
    return false;
}

static inline bool cl_has_port(const struct pack_ranges *r, const struct cl_packet *packet)
{
    return cl_in_ranges(r, packet->server_port) || cl_in_ranges(r, packet->client_port);
}

#define CL_ANNOUNCERS_MAX 16u

struct cl_pattern_target {
    uint16_t rule;
    uint8_t slot_bit;
};

/* What no row says anything of: searches, and clauses that begin with nothing else. */
struct cl_searches {
    uint32_t *start; /* [clause]: list[start[clause]] up to list[start[clause + 1]] */
    uint16_t *list;  /* patterns */
    uint16_t *bare;  /* clauses that no prefix begins; later ones too */
    uint32_t bare_count;
};

/* Immutable after load, shared by all workers. */
struct cl_engine {
    struct pack *pack;
    struct pack_databases databases;
    hs_scratch_t *scratch; /* prototype: workers clone it */
    struct cl_options options;
    struct cl_pack_info info;
    uint32_t number, signature_count;
    uint16_t *rule_of_previous; /* [clause of the engine before]; NULL = there was none */
    struct cl_hosts hosts;
    struct plain_table plain, chains;
    struct cl_searches searches;
    struct cl_pattern_target *targets; /* by pattern id */
    bool wants_ja4;
    cl_protocol hint[CL_HINT_COUNT];
    cl_protocol announcer[CL_ANNOUNCERS_MAX];  /* protocols that announce_index() found, by its table */
    cl_protocol announced[CL_ANNOUNCED_COUNT]; /* what flows of a kind are called */
    cl_protocol tls, quic;
    cl_protocol by_ppid[CL_SCTP_PPIDS];
    cl_protocol by_ip_protocol[256];
    uint8_t has_later[PACK_MAX_PROTOCOLS + 1]; /* by protocol: signatures look for what its flows turn to */
    cl_protocol by_port[PACK_TRANSPORTS][65536];
};

/* Part of the load: finds the protocols that announce.c knows. */
void announce_index(struct cl_engine *engine);
/* The same for users of SCTP. */
void sctp_index(struct cl_engine *engine);

#define CL_MAYBE_SHIFT PACK_SLOTS
_Static_assert(2 * PACK_SLOTS <= 8, "hits has two bits a slot");
#define CL_MAX_OPEN    64u /* likewise, rows */
#define CL_MAX_TOUCHED 64u /* rules that one packet can suggest; more are ignored */

struct cl_worker {
    const struct cl_engine *engine;
    hs_scratch_t *scratch;
    void *inspector_scratch[CL_INSPECTORS_MAX];
    uint32_t touched_count;
    uint16_t touched[CL_MAX_TOUCHED];
    uint32_t open_count;
    struct {
        uint32_t row;
        struct cl_pattern_target target;
    } open[CL_MAX_OPEN]; /* rows that the payload begins as, the rest of which was not looked at */
    /* Per rule: bits of the slots that were hit, and from CL_MAYBE_SHIFT on of those for which a row or search is open; all
     * zero between packets. */
    uint8_t hits[];
};

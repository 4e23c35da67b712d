#include "dataplane/cascade/pair.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/cascade/tables.h"

#define BATCH_BYTES       (1u << 16)
#define SHARDS_A_POLL     8u
#define TABLES_EVERY      64u /* polls */
#define MOVE_TIMEOUT_NS   UINT64_C(200000000)
#define CONVERGED_RECORDS 64u
#define ROUNDS_MAX        50u
#define FENCE_AGAIN_NS    UINT64_C(5000000) /* a frame may be lost: a fence is sent until it is known to have come */

enum message {
    MESSAGE_HELLO = 1,
    MESSAGE_DEFINITION,
    MESSAGE_RECORDS, /* shard u8, records */
    MESSAGE_TABLES,  /* records */
    MESSAGE_DATAGRAMS,
    MESSAGE_SHARD_END, /* shard u8, move u32, flows u64, sum u64 */
    MESSAGE_READY,     /* this and the following: shard u8, move u32 */
    MESSAGE_REFUSED,   /* ..., reason u8 */
    MESSAGE_EPOCH,     /* ..., epoch u32 */
    MESSAGE_EPOCH_ACK,
    MESSAGE_ABORT,
    MESSAGE_ABORTED,
    MESSAGE_TAKEN, /* the fence came */
};

/* Of a shard that we give. */
enum giving {
    GIVING_NONE,
    GIVING_CONVERGE, /* rounds while it lives */
    GIVING_FREEZE,   /* its packets begin to park */
    GIVING_LAST,     /* what is left of it */
    GIVING_READY,    /* the peer's answer and its fence are waited for */
    GIVING_EPOCH,    /* no way back */
    GIVING_RELEASE,  /* parked packets go to the peer */
    GIVING_FENCE,
    GIVING_BACK,    /* given up: parked packets are judged here */
    GIVING_ABORTED, /* the peer's packets come back, its word is waited for */
};

/* Of a shard that we take. */
enum taking {
    TAKING_NONE,
    TAKING_FREEZE,
    TAKING_READY, /* our word and our fence */
    TAKING_EPOCH, /* the owner's word */
    TAKING_FENCE, /* the owner's parked packets are judged */
    TAKING_RELEASE,
    TAKING_BACK, /* given up: our parked packets go to the owner */
};

struct cascade_pair {
    struct dp_engine *engine;
    struct cascade_pair_config config;
    struct cascade_pair_session session;
    struct cascade_carrier *carrier;
    struct cascade_export *export;
    struct cascade_replica *replica;
    struct cascade_reader reader;
    struct cascade_attachments attachments;
    struct cascade_adopters adopters;
    struct dp_peer peer;
    int table_reader;
    bool open, greeted; /* the session; the peer's handshake */
    int64_t clock_ns;   /* ours less the peer's */
    bool synchronised[FT_SHARDS];
    unsigned shard, polls; /* whose round is next */
    uint64_t tables_position;
    /* Records on their way: of one shard (or the tables') at a time. */
    uint8_t batch_type, batch_shard;
    size_t batch_used;
    uint8_t batch[BATCH_BYTES];
    struct {
        enum giving step;
        uint8_t shard;
        uint32_t number, rounds;
        uint32_t datagram;
        uint64_t frozen_ns, released_ns, fence_ns;
        bool ready; /* the peer's word that the step waits for has come */
        bool told;  /* that it was given up */
        bool lost;  /* the session, while it froze */
        enum cascade_move_end why;
    } giving;
    struct {
        enum taking step;
        uint8_t shard;
        uint32_t number;
        uint64_t fence_ns;
        bool given_up; /* while it froze */
    } taking;
    uint32_t moves;
    enum cascade_move_end last_end;
    struct cascade_pair_stats stats;
};

#define NAMES_OF(function, type, count, list)                                                                          \
    const char *function(type value)                                                                                   \
    {                                                                                                                  \
        static const char *const names[count] = {list};                                                                \
        return names[value];                                                                                           \
    }
#define X(name, text) #name,
NAMES_OF(cascade_move_end_name, enum cascade_move_end, CASCADE_MOVE_END_COUNT, CASCADE_MOVE_ENDS(X))
NAMES_OF(cascade_peer_refusal_name, enum cascade_peer_refusal, CASCADE_PEER_REFUSAL_COUNT, CASCADE_PEER_REFUSALS(X))
#undef X
#define X(name, text) text,
NAMES_OF(cascade_move_end_text, enum cascade_move_end, CASCADE_MOVE_END_COUNT, CASCADE_MOVE_ENDS(X))
NAMES_OF(cascade_peer_refusal_text, enum cascade_peer_refusal, CASCADE_PEER_REFUSAL_COUNT, CASCADE_PEER_REFUSALS(X))
#undef X

/* ---- life ---- */

/* A shard of ours becomes the peer's, or the other way round; its worker, `home`, has its map changed. */
static void set_owner(struct cascade_pair *pair, unsigned shard, bool remote)
{
    struct dp_engine *engine = pair->engine;
    unsigned home = engine->owner[shard];
    pair->peer.remote[shard] = remote;
    engine->workers[home]->owner[shard] = remote ? DP_OWNER_REMOTE : (uint8_t)home;
}

struct cascade_pair *cascade_pair_create(struct dp_engine *engine, const struct cascade_pair_config *config,
                                         const struct cascade_pair_session *session)
{
    struct cascade_pair *pair = calloc(1, sizeof *pair);
    if (!pair)
        return NULL;
    pair->engine = engine;
    pair->config = *config;
    pair->session = *session;
    if (!pair->config.move_timeout_ns)
        pair->config.move_timeout_ns = MOVE_TIMEOUT_NS;
    if (!pair->config.converged_records)
        pair->config.converged_records = CONVERGED_RECORDS;
    if (!pair->config.rounds_max)
        pair->config.rounds_max = ROUNDS_MAX;
    dp_peer_init(&pair->peer);
    pair->peer.fence_pool = config->pool;
    pair->table_reader = ft_reader_register(engine->flows);
    pair->carrier = cascade_carrier_create(engine);
    if (pair->table_reader < 0 || !pair->carrier) {
        cascade_pair_destroy(pair);
        return NULL;
    }
    pair->carrier->reader = &pair->reader;
    pair->attachments = cascade_carrier_attachments(pair->carrier);
    pair->adopters = cascade_carrier_adopters(pair->carrier);
    pair->adopters.link_flip = DP_PEER_LINK;
    pair->export = cascade_export_create(engine->flows, pair->table_reader, cascade_pack_names(pair->carrier->names),
                                         &pair->attachments);
    if (!pair->export) {
        cascade_pair_destroy(pair);
        return NULL;
    }
    engine->peer = &pair->peer;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        set_owner(pair, shard, !config->active);
    return pair;
}

void cascade_pair_destroy(struct cascade_pair *pair)
{
    if (!pair)
        return;
    cascade_export_destroy(pair->export);
    cascade_replica_destroy(pair->replica);
    cascade_carrier_destroy(pair->carrier);
    if (pair->table_reader >= 0)
        ft_reader_unregister(pair->engine->flows, pair->table_reader);
    if (pair->engine->peer == &pair->peer)
        pair->engine->peer = NULL;
    free(pair);
}

bool cascade_pair_owns(const struct cascade_pair *pair, unsigned shard)
{
    return !pair->peer.remote[shard];
}

bool cascade_pair_moving(const struct cascade_pair *pair)
{
    return pair->giving.step != GIVING_NONE || pair->taking.step != TAKING_NONE;
}

enum cascade_move_end cascade_pair_last_end(const struct cascade_pair *pair)
{
    return pair->last_end;
}

bool cascade_pair_is_ready(const struct cascade_pair *pair)
{
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        if (cascade_pair_owns(pair, shard) && !pair->synchronised[shard])
            return false;
    return pair->open && pair->greeted;
}

void cascade_pair_stats(const struct cascade_pair *pair, struct cascade_pair_stats *ret_stats)
{
    *ret_stats = pair->stats;
}

void cascade_pair_replica_stats(const struct cascade_pair *pair, struct cascade_replica_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof *ret_stats);
    if (pair->replica)
        cascade_replica_stats(pair->replica, ret_stats);
}

/* ---- writing messages ---- */

struct writer {
    uint8_t bytes[64 + 4 * FT_SHARDS + FT_SHARDS];
    size_t used;
};

static void put(struct writer *w, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = size_bytes; i-- > 0;)
        w->bytes[w->used++] = (uint8_t)(value >> (8 * i));
}

static bool send_bytes(struct cascade_pair *pair, enum message type, const void *bytes, size_t size)
{
    return pair->open && pair->session.send(pair->session.context, (uint8_t)type, bytes, size);
}

static bool send_step(struct cascade_pair *pair, enum message type, uint8_t shard, uint32_t number, uint64_t more,
                      unsigned more_bytes)
{
    struct writer w = {.used = 0};
    put(&w, shard, 1);
    put(&w, number, 4);
    put(&w, more, more_bytes);
    return send_bytes(pair, type, w.bytes, w.used);
}

/* False: the session has no room; the batch stays and goes first. */
static bool flush_batch(struct cascade_pair *pair)
{
    if (pair->batch_used > 1 && !send_bytes(pair, (enum message)pair->batch_type, pair->batch, pair->batch_used))
        return false;
    pair->batch_used = 0;
    return true;
}

/* The sink of rounds: a record is taken when it is in the batch, which is never lost while the session lives. */
static bool into_batch(void *context, const uint8_t *record, size_t size_bytes)
{
    struct cascade_pair *pair = context;
    if (pair->batch_used + size_bytes > sizeof pair->batch && !flush_batch(pair))
        return false;
    if (!pair->batch_used)
        pair->batch[pair->batch_used++] = pair->batch_shard;
    memcpy(pair->batch + pair->batch_used, record, size_bytes);
    pair->batch_used += size_bytes;
    return true;
}

/* Makes the batch one of this type and shard. */
static bool begin_batch(struct cascade_pair *pair, enum message type, uint8_t shard)
{
    if (!flush_batch(pair))
        return false;
    pair->batch_type = (uint8_t)type;
    pair->batch_shard = shard;
    return true;
}

/* ---- the session ---- */

void cascade_pair_opened(struct cascade_pair *pair, uint64_t now_ns)
{
    struct writer w = {.used = 0};
    pair->open = true;
    pair->greeted = false;
    pair->batch_used = 0;
    memset(pair->synchronised, 0, sizeof pair->synchronised);
    cascade_export_reset(pair->export);
    put(&w, CASCADE_WIRE_VERSION, 2);
    put(&w, CASCADE_WIRE_VERSION, 2);
    put(&w, FT_SHARDS, 2);
    put(&w, pair->config.active, 1);
    put(&w, ft_slot_count(pair->engine->flows), 4);
    put(&w, cascade_pack_names_digest(pair->carrier->names), 8);
    put(&w, now_ns, 8);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        put(&w, pair->peer.epoch[shard], 4);
        /* bit 0: ours; bit 1: it was taken over, and the fence has come */
        bool owns = cascade_pair_owns(pair, shard),
             taking = pair->taking.step != TAKING_NONE && pair->taking.shard == shard;
        put(&w, (unsigned)owns | (owns && !taking ? 2u : 0u), 1);
    }
    send_bytes(pair, MESSAGE_HELLO, w.bytes, w.used);
    for (unsigned i = 0; cascade_carry_kinds[i]; i++) {
        uint8_t text[1024];
        send_bytes(pair, MESSAGE_DEFINITION, text, cascade_write_definition(cascade_carry_kinds[i], text, sizeof text));
    }
}

/* The owner keeps the shard: what parked here goes to it. */
static void take_back(struct cascade_pair *pair)
{
    pair->taking.given_up = true;
    if (pair->taking.step == TAKING_FREEZE)
        return; /* when it is frozen */
    dp_owner_release(pair->engine);
    pair->taking.step = TAKING_BACK;
}

static void end_giving(struct cascade_pair *pair, enum cascade_move_end end)
{
    pair->giving.step = GIVING_NONE;
    pair->last_end = end;
    pair->stats.moves[end]++;
}

void cascade_pair_closed(struct cascade_pair *pair, uint64_t now_ns)
{
    (void)now_ns;
    pair->open = pair->greeted = false;
    /* Before the epoch changed the shard is ours as it was; in between, the next handshake says. */
    if (pair->giving.step == GIVING_CONVERGE) {
        end_giving(pair, CASCADE_MOVE_END_session_lost);
    } else if (pair->giving.step != GIVING_NONE && pair->giving.step < GIVING_EPOCH) {
        pair->giving.why = CASCADE_MOVE_END_session_lost;
        pair->giving.lost = true; /* GIVING_FREEZE: when it is frozen */
        if (dp_owner_state(pair->engine) == DP_MOVE_FROZEN) {
            dp_owner_release(pair->engine);
            pair->giving.step = GIVING_BACK;
        }
    } else if (pair->giving.step >= GIVING_BACK) {
        pair->giving.why = CASCADE_MOVE_END_session_lost;
        if (pair->giving.step == GIVING_ABORTED)
            end_giving(pair, CASCADE_MOVE_END_session_lost);
    }
    if (pair->taking.step == TAKING_FREEZE || pair->taking.step == TAKING_READY)
        take_back(pair);
}

/* What the last session left open: whose is the shard that was being given? */
static void settle(struct cascade_pair *pair, uint8_t shard, uint32_t epoch, bool peer_owns, bool has_fence)
{
    if (pair->giving.step == GIVING_EPOCH && pair->giving.shard == shard) {
        if (peer_owns && epoch == pair->peer.epoch[shard] + 1) {
            pair->giving.ready = true; /* as if its word had come: the next poll goes on */
            return;
        }
        pair->giving.why = CASCADE_MOVE_END_session_lost;
        dp_owner_release(pair->engine);
        pair->giving.step = GIVING_BACK;
    } else if (pair->giving.step == GIVING_FENCE && pair->giving.shard == shard && peer_owns && has_fence) {
        pair->giving.ready = true;
    } else if (pair->taking.step == TAKING_EPOCH && pair->taking.shard == shard) {
        take_back(pair); /* it was never ours */
    }
}

static enum cascade_peer_refusal take_hello(struct cascade_pair *pair, struct cursor *c, uint64_t now_ns)
{
    unsigned lowest = cursor_be16(c), highest = cursor_be16(c), shards = cursor_be16(c);
    bool active = cursor_u8(c);
    uint32_t slots = cursor_be32(c);
    uint64_t digest = cursor_be64(c), clock_ns = cursor_be64(c);
    if (!c->ok || pair->greeted || !slots)
        return CASCADE_PEER_REFUSAL_bad_hello;
    if (lowest > CASCADE_WIRE_VERSION || highest < CASCADE_WIRE_VERSION)
        return CASCADE_PEER_REFUSAL_wire_version;
    if (shards != FT_SHARDS)
        return CASCADE_PEER_REFUSAL_shards;
    if (active && pair->config.active)
        return CASCADE_PEER_REFUSAL_both_active;
    pair->clock_ns = (int64_t)(now_ns - clock_ns);
    pair->carrier->same_pack =
        digest == cascade_pack_names_digest(pair->carrier->names) ? cl_engine_number(pair->engine->classifier) : 0;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++) {
        uint32_t epoch = cursor_be32(c);
        unsigned owns = cursor_u8(c);
        if (!c->ok)
            return CASCADE_PEER_REFUSAL_bad_hello;
        settle(pair, (uint8_t)shard, epoch, owns & 1, owns & 2);
    }
    if (pair->replica) {
        for (unsigned shard = 0; shard < FT_SHARDS; shard++)
            cascade_replica_clear(pair->replica, (uint8_t)shard, &pair->adopters);
        cascade_replica_destroy(pair->replica);
    }
    pair->replica = cascade_replica_create(pair->engine->flows, slots, cascade_pack_names(pair->carrier->names));
    cascade_reader_init(&pair->reader, cascade_carry_kinds);
    pair->greeted = pair->replica != NULL;
    return pair->greeted ? CASCADE_PEER_REFUSAL_none : CASCADE_PEER_REFUSAL_bad_hello;
}

/* ---- giving a shard ---- */

int cascade_pair_move(struct cascade_pair *pair, unsigned shard)
{
    if (cascade_pair_moving(pair) || dp_owner_state(pair->engine) != DP_MOVE_IDLE)
        return -EBUSY;
    if (shard >= FT_SHARDS || !cascade_pair_owns(pair, shard))
        return -EPERM;
    if (!pair->open || !pair->greeted || !pair->synchronised[shard])
        return -ENOTCONN;
    pair->giving.step = GIVING_CONVERGE;
    pair->giving.shard = (uint8_t)shard;
    /* Fences of the two engines' moves must not be taken for each other: one counts in even numbers, one in odd. */
    pair->giving.number = ++pair->moves * 2 + pair->config.active;
    pair->giving.rounds = pair->giving.datagram = 0;
    pair->giving.ready = pair->giving.told = pair->giving.lost = false;
    return 0;
}

static void give_up(struct cascade_pair *pair, enum cascade_move_end why)
{
    pair->giving.why = why;
    if (pair->giving.step == GIVING_CONVERGE) {
        end_giving(pair, why);
        return;
    }
    pair->giving.ready = false;
    pair->giving.told = false;
    dp_owner_release(pair->engine);
    pair->giving.step = GIVING_BACK;
}

int cascade_pair_abort(struct cascade_pair *pair)
{
    if (pair->giving.step == GIVING_NONE)
        return -ENOENT;
    if (pair->giving.step >= GIVING_EPOCH)
        return -EALREADY;
    if (pair->giving.step == GIVING_FREEZE && dp_owner_state(pair->engine) != DP_MOVE_FROZEN)
        return -EBUSY; /* it freezes just now: ask again */
    give_up(pair, CASCADE_MOVE_END_aborted);
    return 0;
}

/* One round of the shard, as far as there is room. */
static bool send_round(struct cascade_pair *pair, uint8_t shard, bool frozen, uint64_t *ret_changed)
{
    *ret_changed = 0;
    return begin_batch(pair, MESSAGE_RECORDS, shard) &&
           cascade_export_round(pair->export, shard, frozen, into_batch, pair, ret_changed) && flush_batch(pair);
}

static bool give_converge(struct cascade_pair *pair)
{
    uint64_t changed;
    if (!send_round(pair, pair->giving.shard, false, &changed))
        return false;
    if (changed > pair->config.converged_records) {
        if (++pair->giving.rounds >= pair->config.rounds_max)
            give_up(pair, CASCADE_MOVE_END_not_converged);
        return true;
    }
    if (dp_owner_move(pair->engine, pair->giving.shard, pair->engine->owner[pair->giving.shard], true))
        return false; /* a worker's move is not over: later */
    pair->giving.step = GIVING_FREEZE;
    return true;
}

static bool give_last(struct cascade_pair *pair)
{
    uint8_t shard = pair->giving.shard;
    struct cascade_digest digest;
    uint64_t changed;
    if (!send_round(pair, shard, true, &changed) || !begin_batch(pair, MESSAGE_DATAGRAMS, shard) ||
        !cascade_datagrams_export(pair->engine->move.fragments, &pair->giving.datagram, into_batch, pair) ||
        !flush_batch(pair))
        return false;
    cascade_export_digest(pair->export, shard, &digest);
    struct writer w = {.used = 0};
    put(&w, shard, 1);
    put(&w, pair->giving.number, 4);
    put(&w, digest.flows, 8);
    put(&w, digest.sum, 8);
    if (!send_bytes(pair, MESSAGE_SHARD_END, w.bytes, w.used))
        return false;
    pair->giving.step = GIVING_READY;
    return true;
}

/* Nothing of the shard is on its way to us: all that the peer sent before its fence is parked here. */
static bool has_fence(const struct cascade_pair *pair, uint8_t shard, uint32_t number)
{
    return atomic_load_explicit(&pair->peer.fence[shard], memory_order_acquire) == number;
}

static bool give_epoch(struct cascade_pair *pair)
{
    if (!pair->giving.ready || !has_fence(pair, pair->giving.shard, pair->giving.number) ||
        !send_step(pair, MESSAGE_EPOCH, pair->giving.shard, pair->giving.number,
                   pair->peer.epoch[pair->giving.shard] + 1, 4))
        return false;
    pair->giving.step = GIVING_EPOCH;
    pair->giving.ready = false;
    return true;
}

/* The peer owns the shard: our flows of it are its replica's no more, they are its own. */
static bool give_away(struct cascade_pair *pair)
{
    uint8_t shard = pair->giving.shard;
    if (!pair->giving.ready)
        return false;
    pair->stats.flows_sent += cascade_carrier_drop(pair->carrier, shard);
    cascade_export_forget(pair->export, shard);
    dp_fragment_carrier_clear(pair->engine->move.fragments);
    pair->peer.epoch[shard]++;
    pair->peer.remote[shard] = true;
    pair->synchronised[shard] = false;
    pair->giving.ready = false;
    dp_owner_release(pair->engine);
    pair->giving.step = GIVING_RELEASE;
    return true;
}

/* A fence, now and again. */
static bool send_fence(struct cascade_pair *pair, uint8_t shard, uint32_t number, uint64_t *sent_ns, uint64_t now_ns)
{
    if (*sent_ns && now_ns - *sent_ns < FENCE_AGAIN_NS)
        return false;
    if (!dp_peer_ask_fence(&pair->peer, shard, number))
        return false;
    *sent_ns = now_ns;
    return true;
}

static bool give_fence(struct cascade_pair *pair, uint64_t now_ns)
{
    if (!pair->giving.ready)
        return send_fence(pair, pair->giving.shard, pair->giving.number, &pair->giving.fence_ns, now_ns);
    pair->stats.hold_ns_max = RTE_MAX(pair->stats.hold_ns_max, pair->giving.released_ns - pair->giving.frozen_ns);
    end_giving(pair, CASCADE_MOVE_END_moved);
    return true;
}

static bool poll_giving(struct cascade_pair *pair, uint64_t now_ns)
{
    enum dp_move_state state = dp_owner_state(pair->engine);
    if (pair->giving.step > GIVING_FREEZE && pair->giving.step < GIVING_EPOCH &&
        now_ns - pair->giving.frozen_ns > pair->config.move_timeout_ns)
        give_up(pair, CASCADE_MOVE_END_timeout);
    switch (pair->giving.step) {
    case GIVING_NONE:
        return false;
    case GIVING_ABORTED:
        if (!pair->giving.ready)
            return false;
        end_giving(pair, pair->giving.why);
        return true;
    case GIVING_CONVERGE:
        return give_converge(pair);
    case GIVING_FREEZE:
        if (state != DP_MOVE_FROZEN)
            return false;
        pair->giving.frozen_ns = now_ns;
        pair->giving.step = GIVING_LAST;
        if (pair->giving.lost)
            give_up(pair, CASCADE_MOVE_END_session_lost);
        return true;
    case GIVING_LAST:
        return give_last(pair);
    case GIVING_READY:
        return give_epoch(pair);
    case GIVING_EPOCH:
        return give_away(pair);
    case GIVING_RELEASE:
        if (state != DP_MOVE_IDLE)
            return false;
        pair->giving.released_ns = now_ns;
        pair->giving.fence_ns = 0;
        pair->giving.step = GIVING_FENCE;
        return true;
    case GIVING_FENCE:
        return give_fence(pair, now_ns);
    case GIVING_BACK:
        if (!pair->giving.told && pair->open && pair->giving.why != CASCADE_MOVE_END_session_lost)
            pair->giving.told = send_step(pair, MESSAGE_ABORT, pair->giving.shard, pair->giving.number, 0, 0);
        if (state != DP_MOVE_IDLE || (!pair->giving.told && pair->giving.why != CASCADE_MOVE_END_session_lost))
            return false;
        if (pair->giving.why != CASCADE_MOVE_END_session_lost)
            pair->giving.step = GIVING_ABORTED;
        else
            end_giving(pair, pair->giving.why);
        return true;
    }
    return false;
}

/* ---- taking a shard ---- */

static void begin_taking(struct cascade_pair *pair, uint8_t shard, uint32_t number, const struct cascade_digest *sent)
{
    struct cascade_digest applied;
    enum cascade_move_end why = CASCADE_MOVE_END_none;
    cascade_replica_digest(pair->replica, shard, &applied);
    if (cascade_pair_owns(pair, shard) || cascade_pair_moving(pair))
        why = CASCADE_MOVE_END_peer_busy;
    else if (!cascade_digest_equal(sent, &applied))
        why = CASCADE_MOVE_END_digest_differs;
    else if (dp_owner_move(pair->engine, shard, pair->engine->owner[shard], true))
        why = CASCADE_MOVE_END_peer_busy;
    if (why) {
        send_step(pair, MESSAGE_REFUSED, shard, number, why, 1);
        return;
    }
    pair->taking.step = TAKING_FREEZE;
    pair->taking.shard = shard;
    pair->taking.number = number;
    pair->taking.given_up = false;
}

/* The owner's word: the shard is ours, what it still sends of it is judged at once. */
static void take_epoch(struct cascade_pair *pair, uint32_t epoch)
{
    uint8_t shard = pair->taking.shard;
    struct cascade_digest digest;
    cascade_replica_digest(pair->replica, shard, &digest);
    pair->stats.flows_taken_over += digest.flows;
    cascade_replica_own(pair->replica, shard);
    pair->peer.epoch[shard] = epoch;
    pair->peer.remote[shard] = false;
    /* Release; partner: the acquire in stage_route.c: the flows are in the table. */
    atomic_store_explicit(&pair->peer.adopting, shard, memory_order_release);
    pair->taking.step = TAKING_FENCE;
    send_step(pair, MESSAGE_EPOCH_ACK, shard, pair->taking.number, 0, 0);
}

static bool poll_taking(struct cascade_pair *pair, uint64_t now_ns)
{
    enum dp_move_state state = dp_owner_state(pair->engine);
    uint8_t shard = pair->taking.shard;
    switch (pair->taking.step) {
    case TAKING_NONE:
        return false;
    case TAKING_EPOCH:
        return send_fence(pair, shard, pair->taking.number, &pair->taking.fence_ns, now_ns);
    case TAKING_FREEZE:
        if (state != DP_MOVE_FROZEN)
            return false;
        pair->taking.step = TAKING_READY;
        if (pair->taking.given_up)
            take_back(pair);
        return true;
    case TAKING_READY:
        if (!send_step(pair, MESSAGE_READY, shard, pair->taking.number, 0, 0))
            return false;
        pair->taking.fence_ns = 0;
        pair->taking.step = TAKING_EPOCH;
        return true;
    case TAKING_FENCE:
        if (!has_fence(pair, shard, pair->taking.number))
            return false;
        atomic_store_explicit(&pair->peer.adopting, -1, memory_order_release);
        dp_owner_release(pair->engine);
        pair->taking.step = TAKING_RELEASE;
        return true;
    case TAKING_RELEASE:
        if (state != DP_MOVE_IDLE || (pair->open && !send_step(pair, MESSAGE_TAKEN, shard, pair->taking.number, 0, 0)))
            return false;
        pair->taking.step = TAKING_NONE;
        pair->stats.taken_over++;
        return true;
    case TAKING_BACK:
        if (state != DP_MOVE_IDLE ||
            (pair->open && !send_step(pair, MESSAGE_ABORTED, shard, pair->taking.number, 0, 0)))
            return false;
        pair->taking.step = TAKING_NONE;
        return true;
    }
    return false;
}

/* ---- messages ---- */

static void take_step(struct cascade_pair *pair, enum message type, struct cursor *c)
{
    uint8_t shard = cursor_u8(c);
    uint32_t number = cursor_be32(c);
    bool gives = pair->giving.step != GIVING_NONE && pair->giving.shard == shard && pair->giving.number == number;
    bool takes = pair->taking.step != TAKING_NONE && pair->taking.shard == shard && pair->taking.number == number;
    if (type == MESSAGE_SHARD_END) {
        struct cascade_digest digest = {.flows = cursor_be64(c)};
        digest.sum = cursor_be64(c);
        if (c->ok)
            begin_taking(pair, shard, number, &digest);
    } else if (type == MESSAGE_READY && gives && pair->giving.step == GIVING_READY) {
        pair->giving.ready = true;
    } else if (type == MESSAGE_REFUSED && gives && pair->giving.step == GIVING_READY) {
        unsigned why = cursor_u8(c);
        dp_owner_release(pair->engine);
        pair->giving.why = why < CASCADE_MOVE_END_COUNT ? (enum cascade_move_end)why : CASCADE_MOVE_END_peer_busy;
        end_giving(pair, pair->giving.why); /* the peer never parked anything */
    } else if (type == MESSAGE_EPOCH && takes && pair->taking.step == TAKING_EPOCH) {
        uint32_t epoch = cursor_be32(c);
        if (c->ok)
            take_epoch(pair, epoch);
    } else if (type == MESSAGE_EPOCH_ACK && gives && pair->giving.step == GIVING_EPOCH) {
        pair->giving.ready = true;
    } else if (type == MESSAGE_TAKEN && gives && pair->giving.step == GIVING_FENCE) {
        pair->giving.ready = true;
    } else if (type == MESSAGE_ABORT && takes && pair->taking.step < TAKING_FENCE) {
        take_back(pair);
    } else if (type == MESSAGE_ABORT && !takes) {
        send_step(pair, MESSAGE_ABORTED, shard, number, 0, 0); /* it was refused, or never came */
    } else if (type == MESSAGE_ABORTED && gives && pair->giving.step >= GIVING_BACK) {
        pair->giving.ready = true;
    } else {
        pair->stats.messages_refused++;
    }
}

static void take_records(struct cascade_pair *pair, enum message type, struct cursor *c)
{
    uint8_t shard = cursor_u8(c);
    size_t size = cursor_left(c);
    const uint8_t *records = cursor_take(c, size);
    if (!records || (type != MESSAGE_TABLES && cascade_pair_owns(pair, shard))) {
        pair->stats.messages_refused++;
        return;
    }
    if (type == MESSAGE_RECORDS)
        cascade_replica_apply(pair->replica, &pair->reader, shard, records, size, pair->clock_ns, &pair->adopters);
    else if (type == MESSAGE_DATAGRAMS)
        cascade_datagrams_apply(pair->engine->move.fragments, &pair->reader, pair->clock_ns, records, size);
    else
        cascade_tables_apply(&pair->engine->learning, &pair->reader, cascade_pack_names(pair->carrier->names),
                             pair->engine->workers[0]->now_ns, records, size);
}

enum cascade_peer_refusal cascade_pair_message(struct cascade_pair *pair, uint8_t type, const uint8_t *body,
                                               size_t size_bytes, uint64_t now_ns)
{
    struct cursor c = cursor_of(body, size_bytes);
    if (type == MESSAGE_HELLO)
        return take_hello(pair, &c, now_ns);
    if (!pair->greeted)
        return CASCADE_PEER_REFUSAL_bad_hello;
    if (type == MESSAGE_DEFINITION)
        return cascade_define(&pair->reader, &c) ? CASCADE_PEER_REFUSAL_definition : CASCADE_PEER_REFUSAL_none;
    if (type == MESSAGE_RECORDS || type == MESSAGE_TABLES || type == MESSAGE_DATAGRAMS)
        take_records(pair, (enum message)type, &c);
    else
        take_step(pair, (enum message)type, &c);
    return CASCADE_PEER_REFUSAL_none;
}

/* ---- poll ---- */

/* Rounds of shards that nobody asked for: what keeps the replica near. */
static bool poll_rounds(struct cascade_pair *pair, uint64_t now_ns)
{
    if (!pair->open || !pair->greeted || (pair->giving.step > GIVING_CONVERGE && pair->giving.step < GIVING_RELEASE))
        return false;
    if (pair->polls++ % TABLES_EVERY == 0) {
        pair->tables_position = 0;
        if (begin_batch(pair, MESSAGE_TABLES, 0) &&
            cascade_tables_export(&pair->engine->learning, cascade_pack_names(pair->carrier->names), now_ns,
                                  &pair->tables_position, into_batch, pair))
            flush_batch(pair);
    }
    uint64_t changed, sum = 0;
    for (unsigned i = 0; i < SHARDS_A_POLL; i++) {
        uint8_t shard = (uint8_t)pair->shard;
        if (cascade_pair_owns(pair, shard)) {
            if (!send_round(pair, shard, false, &changed))
                return false;
            pair->synchronised[shard] = true;
            sum += changed;
        }
        pair->shard = (pair->shard + 1) % FT_SHARDS;
    }
    return sum != 0;
}

bool cascade_pair_poll(struct cascade_pair *pair, uint64_t now_ns)
{
    bool more = poll_taking(pair, now_ns);
    more |= poll_giving(pair, now_ns);
    more |= poll_rounds(pair, now_ns);
    return more;
}

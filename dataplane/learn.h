/*
 * What workers learn from one flow about another: the announcements of control flows go into two tables that all share
 * (expect.h), and each new flow is looked up there.
 *
 * A flow is looked up twice at most: at its first packet, by its endpoints, which decides what needs no payload (FTP's data
 * connections); and at its first packet with payload. What was found then waits beside the flow while it is undecided. Content goes
 * before an expectation that the payload does not confirm (STUN and DTLS on a port of media), an expectation before a port or
 * Generic. The application of an address (a DNS answer that this client got) is used where a flow gives no name of its own.
 *
 * Worker threads.
 */
#pragma once

#include "classifier/announce.h"
#include "dataplane/expect.h"

struct dp_worker;

/* What was found for a flow; all zero: nothing. */
struct dp_learned {
    struct cl_verdict fallback; /* for what content leaves open; protocol 0: it was not expected */
    uint8_t kind;               /* enum cl_announced, with a fallback: a later packet may confirm it */
    cl_protocol named;          /* the application that the server's address stands for */
};

/* The engine's two tables. */
struct dp_learning {
    struct dp_expect *expected; /* by address and port */
    struct dp_expect *names;    /* by address of a server and of a client */
};

struct dp_learning_config {
    bool enabled;
    uint32_t expectations, names; /* capacities */
    uint32_t per_host_max;        /* of either, alive at once on account of one host */
};
void dp_learning_config_init(struct dp_learning_config *config);
/* False when memory is short. */
bool dp_learning_create(struct dp_learning *learning, const struct dp_learning_config *config, uint64_t secret_seed);
void dp_learning_destroy(struct dp_learning *learning);
void dp_learning_clear(struct dp_learning *learning);

/* A flow's packet, as look-ups and announcements need it. */
struct dp_learn_packet {
    const struct ft_key *key;
    uint64_t now_ns;
    uint8_t swap;            /* its direction in the key */
    uint8_t client_endpoint; /* of the flow */
    const uint8_t *payload;  /* NULL: none */
    uint32_t payload_bytes;
};

/*
 * Looks up a flow by the endpoints of its first packet. True: *ret_verdict is final. False: *ret_learned is what to keep (all zero:
 * nothing was expected).
 */
bool dp_learn_expected(struct dp_worker *worker, const struct dp_learn_packet *packet, struct dp_learned *ret_learned,
                       struct cl_verdict *ret_verdict);

/* The application of the server's address, into `learned`. */
void dp_learn_named(struct dp_worker *worker, const struct dp_learn_packet *packet, struct dp_learned *learned);

/* Reads what a packet of a flow of `protocol` announces. */
void dp_learn_announced(struct dp_worker *worker, cl_protocol protocol, const struct dp_learn_packet *packet);

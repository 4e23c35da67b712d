/*
 * A protocol pack in memory, for the classifier's own files: what etc/pack/ says (docs/pack.md is the language), checked,
 * sorted by id, with names resolved to indexes. Made from YAML sources (pack_read.c) or from a compiled file
 * (pack_file.c); compiled to Hyperscan databases by pack_compile.c; matched by classify.c.
 *
 * Immutable once made; any thread may read. Memory is one arena a pack. Control thread for everything that makes or frees.
 */
#pragma once

#include <hs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "classifier/classifier.h"

#define PACK_MAX_PROTOCOLS  8192u
#define PACK_MAX_SIGNATURES 16384u
#define PACK_MAX_RULES      16384u
#define PACK_MAX_PATTERNS   32768u
#define PACK_MAX_HOSTS      65536u
#define PACK_MAX_CHECKS     12u /* of one step */
#define PACK_MAX_RANGES     64u /* ports or lengths in one list */
#define PACK_CHECK_BYTES    16u
#define PACK_MAX_ORIGINS    16u
#define PACK_HEAD_BYTES     36u /* of a first packet, kept for conditions of the second that compare with it */

/* Protocol ids of a pack start here; those below are the engine's own (Generic ...). */
#define PACK_FIRST_ID 100u

/* Signature ids that the engine makes itself: IP protocol N is this + N. */
#define PACK_IP_PROTOCOL_SIGNATURE_ID 4000000u

enum pack_transport { PACK_TCP, PACK_UDP, PACK_TRANSPORTS };
extern const char *const pack_transport_names[]; /* NULL terminated, as are the next ones */

enum pack_side { PACK_CLIENT, PACK_SERVER, PACK_SIDES };

/* Inclusive. */
struct pack_range {
    uint32_t first, last;
};

struct pack_ranges {
    uint32_t count;
    struct pack_range *list;
};

/* A condition on the bytes of a packet other than a pattern. */
enum pack_check_kind {
    PACK_BYTES,        /* bytes at `at` equal `bytes` */
    PACK_FIELD,        /* number at `at`, masked, lies in min .. max */
    PACK_LENGTH_FIELD, /* payload length compares to number * unit + plus */
    PACK_SAME,         /* bytes at `at` equal the first packet's at `first_at` (second packet only) */
    PACK_STEP,         /* number at `at` minus the first packet's at `first_at`, modulo its size, lies in min .. max */
    PACK_CHECK_KINDS
};
enum pack_compare { PACK_EQUAL, PACK_AT_LEAST, PACK_AT_MOST, PACK_COMPARES };
extern const char *const pack_compare_names[];
extern const char *const pack_endian_names[]; /* big, little */

struct pack_check {
    uint8_t kind;    /* enum pack_check_kind */
    uint8_t size;    /* bytes of the field */
    uint8_t little;  /* byte order */
    uint8_t compare; /* enum pack_compare, LENGTH_FIELD */
    int32_t at;      /* negative: from the payload's end */
    uint32_t first_at;
    uint64_t mask, min, max;
    uint32_t unit;
    int32_t plus;
    uint8_t bytes[PACK_CHECK_BYTES];
};

/* What one packet must be: all of it. */
struct pack_step {
    struct pack_ranges lengths; /* none = any */
    uint32_t check_count;
    struct pack_check *checks;
    uint8_t slots; /* bits of the pattern slots that must be hit */
};

/*
 * Frames that follow each other, each beginning with the rule's prefix and saying its own size: how a stream shows its protocol
 * again in its middle. See midflow.h.
 */
struct pack_chain {
    uint8_t count; /* frames that must stand in a row; 0 = the rule has no chain */
    uint8_t at, size, little;
    uint8_t resync; /* looked for at every byte, not only where a segment begins */
    uint64_t mask;
    uint32_t unit, max; /* of a frame: number * unit + plus bytes, at most `max` */
    int32_t plus;
};

/* Where a pattern counts; a bit each in hits and pack_step.slots. */
enum pack_slot { PACK_SLOT_PREFIX, PACK_SLOT_SEARCH, PACK_SLOT_THEN_PREFIX, PACK_SLOT_THEN_SEARCH, PACK_SLOTS };

struct pack_pattern {
    char *regex;     /* as in the source */
    uint32_t within; /* SEARCH: bytes from the start in which it must end; 0 = anywhere */
    uint16_t rule;
    uint8_t slot;     /* enum pack_slot */
    uint8_t is_plain; /* plain.h says all of it: it needs no Hyperscan */
    const char *file; /* source only, for errors */
    uint32_t line, column;
};

/* One clause of a signature, its conditions joined with the signature's own. */
struct pack_rule {
    uint16_t signature;
    uint8_t transports; /* bits of enum pack_transport */
    uint8_t sides;      /* bits of enum pack_side: who sends the first packet */
    uint8_t confidence;
    uint8_t inspector;            /* index in cl_inspectors + 1, 0 = none */
    uint8_t has_then, then_other; /* a second packet, from the other side */
    uint8_t or_none;              /* holds too when the flow ends without that packet and without an answer */
    uint8_t later;                /* looked for in flows that are told as the signature's `over` already */
    uint8_t midflow;              /* only for flows whose beginning was not seen, and datagram flows */
    uint16_t specificity;
    struct pack_chain chain;
    struct pack_ranges ports;      /* condition: one of the two ports */
    struct pack_ranges port_hints; /* raise the confidence */
    struct pack_step first, then;
};

struct pack_signature {
    uint32_t id;
    cl_protocol protocol; /* the entry it stands in */
    cl_protocol over;     /* entry is an application: the wire protocol; else 0 */
    uint8_t origin;       /* index in pack->origins */
    char *name;
    const char *file; /* source only, for errors */
    uint32_t line;
};

/* A payload sequence that must be told as its protocol; kept from sources only, for tests. */
struct pack_example {
    struct pack_example *next;
    uint16_t signature;
    uint8_t transport, side;
    uint16_t client_port, server_port;
    unsigned packet_count;
    struct {
        uint8_t *bytes;
        uint32_t size_bytes;
        uint8_t side;
    } packet[4];
    const char *file;
    uint32_t line;
};

struct pack_host {
    char *suffix; /* lower case, no leading dot */
    cl_protocol application;
    uint8_t origin;
    const char *file; /* source only, for errors */
    uint32_t line, column;
};

struct pack_port_entry {
    uint8_t transport;
    uint16_t first, last;
    cl_protocol protocol;
    uint8_t origin;
};

struct pack_protocol {
    struct cl_protocol_info info; /* parents and aliases point into the arena */
    int16_t ip_protocol;          /* -1 = none */
    cl_signature ip_signature;
    uint8_t origin;    /* of its definition; others may add ports, hosts and signatures */
    uint8_t gives_way; /* its name and ports were free: what claims them later takes them */
    const char *file;  /* source only, for errors */
    uint32_t line;
};

struct pack {
    char *name, *version;
    uint32_t protocol_count, signature_count, rule_count, pattern_count, host_count, port_count;
    /* index 0 of protocols and signatures is "none" */
    struct pack_protocol *protocols;
    struct pack_signature *signatures;
    struct pack_rule *rules;
    struct pack_pattern *patterns;
    struct pack_host *hosts;
    struct pack_port_entry *ports;
    struct pack_example *examples;
    /* Who brought an entry or signature: [0] is "", the pack itself; others are the names of sets that were merged in. */
    uint32_t origin_count;
    char **origins;
    cl_protocol generic_tcp, generic_udp, generic_ip, generic_non_established_tcp;
    uint8_t sha256[32];
    struct pack_block *arena;
};

/* A folder of *.yaml, or one file. NULL with "file:line:column: ..." */
struct pack *pack_read(const char *path, char *error, size_t error_size);

/*
 * The pack at `paths[0]` joined with the sets of signatures at the others: each a folder or file of sources, or a compiled
 * pack. What a set brings keeps the set's name as its origin. Refused whole: an entry's or signature's id that is used
 * already (all of them are listed, one a line), and everything that pack_read() refuses. `renumbers`: the set's ids give
 * way instead, to the first free ones from PACK_FIRST_USER_ID and PACK_FIRST_USER_SIGNATURE_ID on.
 * *ret_report tells what was renumbered, one a line, or is the list of overlaps; free() it, NULL when there is none.
 */
struct pack *pack_merge(const char *const *paths, unsigned count, bool renumbers, char **ret_report, char *error,
                        size_t error_size);
#define PACK_FIRST_USER_ID           900000u
#define PACK_FIRST_USER_SIGNATURE_ID 3000000u
void pack_free(struct pack *pack);

/* Zeroed memory that lives as long as the pack. */
void *pack_alloc(struct pack *pack, size_t size);
char *pack_strdup(struct pack *pack, const char *text);
/* Sorts, resolves what is derived (texts of ports, methods), sets the digest. */
void pack_finish(struct pack *pack);
/* The pack as one canonical source text: the digest is over it, and reading it gives the same pack. Free it with free(). */
char *pack_text(const struct pack *pack, size_t *ret_size_bytes);
/* Only what that origin brought, as a set of its own. */
char *pack_text_of_origin(const struct pack *pack, unsigned origin, size_t *ret_size_bytes);
/* What an entry (without its signatures) or a signature says besides its id and name, to compare; free() it. */
char *pack_entry_text(const struct pack *pack, uint32_t protocol);
char *pack_signature_text(const struct pack *pack, uint32_t signature);
char *pack_rule_text(const struct pack *pack, uint32_t rule);

/*
 * Gives what `pack` shares with `before`, which may have been through this itself, the indexes it has there; see pack_keep.c.
 * The digest and the canonical text are those of before the call. False when the indexes of one process are used up.
 */
bool pack_keep_indexes(struct pack *pack, const struct pack *before);
#define PACK_MAX_INDEXES 60000u
/* After it: for each clause of `before` the one of `pack` that says the same, or PACK_NO_RULE. free() it. */
uint16_t *pack_map_rules(const struct pack *pack, const struct pack *before);
#define PACK_NO_RULE UINT16_MAX

/* A database for each pattern that is not plain: it is asked alone, and seldom (classify.c). */
struct pack_databases {
    uint32_t count;           /* 0: not there, or no pattern needs any */
    hs_database_t **database; /* [pattern]; NULL for a plain one */
};
/* About a millisecond a pattern that is not plain. False with the pattern's file:line:column. */
bool pack_compile(const struct pack *pack, struct pack_databases *ret, char *error, size_t error_size);
/* Room for what the pack needs, nothing in it. */
void pack_databases_init(struct pack_databases *databases, const struct pack *pack);
void pack_databases_free(struct pack_databases *databases);
static inline bool pack_is_prefix(unsigned slot)
{
    return slot == PACK_SLOT_PREFIX || slot == PACK_SLOT_THEN_PREFIX;
}
/* Whether a pattern of that slot counts for packets of that transport and side. */
bool pack_applies(const struct pack_rule *rule, unsigned slot, unsigned transport, unsigned side);
/* Whether Hyperscan takes the pattern; its words about it in `error`. */
bool pack_check_pattern(const char *regex, bool is_prefix, char *error, size_t error_size);

/* A compiled pack as a file. `ret_databases` stays empty when those in the file are for another CPU or library. */
struct pack *pack_file_read(const char *path, struct pack_databases *ret_databases, char *error, size_t error_size);
struct pack *pack_file_decode(const char *name, const void *bytes, size_t size_bytes,
                              struct pack_databases *ret_databases, char *error, size_t error_size);
/* Atomic: written beside and renamed. */
bool pack_file_write(const char *path, const struct pack *pack, const struct pack_databases *databases, char *error,
                     size_t error_size);
bool pack_file_is_compiled(const char *path);

struct cl_family {
    const char *name;
    const char *service;
    uint16_t service_id;
};
/* NULL when there is no such family. */
const struct cl_family *cl_family_find(const char *name);
extern const char *const cl_family_names[];

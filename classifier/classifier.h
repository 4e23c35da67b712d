/*
 * The classifier as the dataplane sees it: an engine (a loaded protocol pack, immutable, shared by all workers), a worker's
 * part of it (Hyperscan scratch, cipher contexts), and one call per payload-bearing packet of an undecided flow.
 *
 * The classifier keeps nothing of a flow but `struct cl_state`, which the caller stores and hands in; it never sees packet
 * headers, only the payload bytes of a direction. Flow bytes are hostile: every parser reads through base/cursor.h.
 *
 * Steps of a flow: undecided -> protocol final (perhaps still looking for the application or texts) -> done. A verdict
 * changes only from nothing to final here; behavioural verdicts that sharpen come with the behavioural rules.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CL_STREAM_MAX_BYTES 8192u /* a direction's first bytes beyond this are never looked at */
#define CL_TEXT_MAX_BYTES   255u

/* How a verdict was reached; names as in JSON and records. */
#define CL_METHODS(X) X(none) X(signature) X(inspector) X(learned) X(port) X(behavioral) X(generic) X(carried)
enum cl_method {
#define X(name) CL_METHOD_##name,
    CL_METHODS(X)
#undef X
        CL_METHOD_COUNT
};
const char *cl_method_name(enum cl_method method);

/* Runtime index of a protocol or application in the loaded pack; 0 = none. Not stable across packs: names and ids are. */
typedef uint16_t cl_protocol;
typedef uint16_t cl_signature; /* runtime index of a signature, 0 = none */

struct cl_verdict {
    cl_protocol protocol;    /* the wire protocol */
    cl_protocol application; /* what it carries or a finer name; 0 = none */
    cl_signature signature;  /* what judged; 0 for ports and generic */
    uint8_t method;          /* enum cl_method */
    uint8_t confidence; /* 0..100: 100 confirmed by an inspector, 90 signature of distinct bytes ... see docs/pack.md */
};

/* Texts found in a flow, for records and JSON ("info"). Not NUL terminated; empty = length 0. */
#define CL_TEXTS(X)                                                                                                    \
    X(host)       /* HTTP Host, TLS or QUIC server name, DNS name asked, SSH ... */                                    \
    X(url)        /* HTTP request target */                                                                            \
    X(user_agent) /* HTTP User-Agent */                                                                                \
    X(referer)                                                                                                         \
    X(alpn)    /* first protocol offered, TLS and QUIC */                                                              \
    X(server)  /* server's software, SSH or HTTP or banner */                                                          \
    X(version) /* protocol version spoken */                                                                           \
    X(ja4)     /* fingerprint of a TLS, QUIC or DTLS client's hello, when it is asked for */
enum cl_text {
#define X(name) CL_TEXT_##name,
    CL_TEXTS(X)
#undef X
        CL_TEXT_COUNT
};
const char *cl_text_name(enum cl_text text);

struct cl_info {
    bool wants_ja4; /* the engine's word to its inspectors */
    uint8_t size_bytes[CL_TEXT_COUNT];
    char text[CL_TEXT_COUNT][CL_TEXT_MAX_BYTES];
};
/* Sets a text, cut at CL_TEXT_MAX_BYTES. The first value stays: later ones are ignored. */
void cl_info_set(struct cl_info *info, enum cl_text text, const void *bytes, size_t size);

/* What the classifier remembers of an undecided flow; all zero at the start. The caller moves it about as bytes. */
struct cl_state {
    uint64_t opaque[19];
};

/* A payload-bearing packet of a flow that is not done. */
struct cl_packet {
    const uint8_t
        *bytes; /* TCP: all in-order bytes of this direction from the first one known, at most CL_STREAM_MAX_BYTES;
                               else this datagram's payload */
    uint32_t size_bytes; /* at least 1 */
    uint8_t ip_proto;
    uint8_t from_server;  /* 0: sent by the flow's client */
    uint16_t client_port; /* host order; 0 where the protocol has none */
    uint16_t server_port;
    uint16_t payload_packets[2]; /* [from_server], this one included; those of a few bytes counted together */
    bool started_before;         /* the flow's beginning was not seen */
};

enum cl_step {
    CL_UNDECIDED, /* call again with the next payload packet */
    CL_FINAL,     /* the protocol is final, application or texts may follow: call again */
    CL_DONE,      /* nothing more to learn */
};

struct cl_engine;
struct cl_worker;

struct cl_options {
    const char
        *pack_path; /* a compiled pack or a folder of pack sources; NULL = the pack that was built with the program */
    bool ja4;       /* tell the JA4 of every hello; else only where the pack asks for one */
    bool inspectors_off;          /* patterns of the pack alone judge */
    uint16_t payload_packets_max; /* budget per direction before a flow falls back; default 8 */
    uint32_t payload_bytes_max;   /* likewise, of bytes: the caller's to keep; default 16,384 */
};
void cl_options_init(struct cl_options *options);

/*
 * Loads a pack. A compiled pack whose Hyperscan databases were made for another CPU or library version is compiled anew
 * (seconds) and cached under $XDG_CACHE_HOME/opensce; with a fitting one this takes about a millisecond. NULL with
 * "file:line:column: what" in `error` when the pack is refused, always whole. Control thread.
 */
struct cl_engine *cl_engine_load(const struct cl_options *options, char *error, size_t error_size);
void cl_engine_free(struct cl_engine *engine);

/*
 * Loads a pack to take the place of `before`'s. What both know keeps its index, and the names of what the new one does not
 * know any more stay: verdicts of all earlier engines can be looked up in this one. `before` is not changed and may be
 * freed once nobody uses it. NULL as above. Control thread.
 */
struct cl_engine *cl_engine_reload(const struct cl_engine *before, const struct cl_options *options, char *error,
                                   size_t error_size);
/* How many packs were loaded so far, this one included: 1 for the first. */
uint32_t cl_engine_number(const struct cl_engine *engine);
/*
 * Makes a state that the engine of that number left fit for this one. A second packet that is waited for, or an inspector that
 * is at work, goes on when the clause that asked for it stands in the new pack as it did in the pack before it; else the flow
 * is looked at anew. A verdict stays. Worker thread.
 */
void cl_state_adopt(const struct cl_engine *engine, uint32_t number, struct cl_state *state);

/* A worker's part; NULL when memory is short. One per thread, made by the control thread before the worker starts. */
struct cl_worker *cl_worker_create(const struct cl_engine *engine);
void cl_worker_free(struct cl_worker *worker);
const struct cl_engine *cl_worker_engine(const struct cl_worker *worker);

/*
 * Judges one packet. On CL_FINAL and CL_DONE *verdict is set; texts are added to *info as they are found (also before).
 * Worker thread. Linear in the packet's bytes; 0.1 to 0.4 us for a payload that patterns decide, in cache; 2 us more
 * with a QUIC Initial.
 */
enum cl_step cl_inspect(struct cl_worker *worker, struct cl_state *state, const struct cl_packet *packet,
                        struct cl_verdict *verdict, struct cl_info *info);

/*
 * The verdict of a flow that ends while undecided: what an inspector could not finish to confirm, by its pattern; else
 * cl_fallback. `established` as there. Always succeeds. Any thread.
 */
void cl_conclude(const struct cl_engine *engine, const struct cl_state *state, uint8_t ip_proto, uint16_t client_port,
                 uint16_t server_port, bool established, struct cl_verdict *ret_verdict);

/*
 * The verdict of a flow that no signature claimed: Generic Non-Established TCP when `established` is false for TCP; else
 * by server port (by the client's where the roles seem turned), by IP protocol, else Generic TCP, Generic UDP or Generic
 * IP. Always succeeds. Any thread.
 */
void cl_fallback(const struct cl_engine *engine, uint8_t ip_proto, uint16_t client_port, uint16_t server_port,
                 bool established, struct cl_verdict *ret_verdict);

/* ---- what the pack knows; any thread ---- */

/* Ways in which an entry can be told, names as printed. All but port and learned look at content. */
#define CL_WAYS(X)                                                                                                     \
    X(inspector)   /* a parser names or confirms it */                                                                 \
    X(signature)   /* a pattern alone */                                                                               \
    X(host)        /* host name in HTTP, TLS, QUIC or DNS */                                                           \
    X(ip_protocol) /* number in the IP header */                                                                       \
    X(port)        /* as a last resort */                                                                              \
    X(learned)     /* other flows announced it */
enum cl_way {
#define X(name) CL_WAY_##name,
    CL_WAYS(X)
#undef X
        CL_WAY_COUNT
};
const char *cl_way_name(enum cl_way way);
#define CL_WAYS_BY_CONTENT (1u << CL_WAY_inspector | 1u << CL_WAY_signature | 1u << CL_WAY_host)

struct cl_protocol_info {
    const char *name;
    uint32_t id; /* stable over packs */
    const char *family;
    const char *service; /* name of the family's service until there is a service configuration */
    uint16_t service_id;
    const cl_protocol *parents;
    unsigned parent_count;
    const char *const *aliases;
    unsigned alias_count;
    const char *method;  /* best way it is told: "inspector", "signature", "port", "generic" ... */
    uint8_t ways;        /* bits of enum cl_way; 0 for Generic */
    const char *ports;   /* "tcp/25,tcp/587" or "" */
    bool is_application; /* a flavor: stands in `application`, never in `protocol` */
    bool unidirectional; /* recognised on one direction alone */
    bool is_gone;        /* of an earlier pack: only flows that it judged have it */
};

/* Indexes 1 .. count - 1 are valid; after a reload some of them are gone. */
unsigned cl_protocol_count(const struct cl_engine *engine);
const struct cl_protocol_info *cl_protocol_get(const struct cl_engine *engine, cl_protocol protocol);
/* The index of a name or alias, 0 when there is none. */
cl_protocol cl_protocol_find(const struct cl_engine *engine, const char *name);

const char *cl_signature_name(const struct cl_engine *engine, cl_signature signature); /* "" for 0 */
uint32_t cl_signature_id(const struct cl_engine *engine, cl_signature signature);

struct cl_pack_info {
    const char *name; /* "opensce" */
    const char *version;
    uint8_t sha256[32]; /* over the canonical text of the sources */
    char sha256_hex[65];
    uint32_t protocols, signatures, patterns;
};
const struct cl_pack_info *cl_pack_info(const struct cl_engine *engine);

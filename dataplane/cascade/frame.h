/*
 * Frames on the cascade ports: a packet on its way to the engine that owns its shard, or back to the link it came from,
 * and the fences between them.
 *
 *   Ethernet header  destination, source: the cascade ports' addresses; type 0x88b5 (IEEE 802, local experimental)
 *   version u8 = 1, kind u8, shard u8, hops u8, epoch u32, sequence u32, link u8, side u8, outcome u8, reserved u8
 *   the packet as it was received, from its Ethernet header on; of a fence: move u32, packets u32
 *
 * A shard has one path in each direction, so its frames arrive in order or not at all; `sequence` counts the frames of
 * one shard and direction, whatever their kind, and tells how many are missing. `hops` counts how often a packet was given
 * to a peer: at CASCADE_HOPS_MAX it is passed on its link unclassified. The frame is larger than the packet by
 * CASCADE_FRAME_BYTES: the cascade ports' MTU must leave room, which is checked at start.
 *
 * Any thread, no state but what is handed in. Cost: a line of the packet's headroom.
 */
#pragma once

#include <assert.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

#define CASCADE_ETHER_TYPE    0x88b5u
#define CASCADE_FRAME_VERSION 1u
#define CASCADE_FRAME_BYTES   30u
#define CASCADE_HOPS_MAX      2u

enum cascade_frame_kind {
    CASCADE_FRAME_PROCESS = 1, /* to the owner: link and side it was received on, at the sender */
    CASCADE_FRAME_RETURN,      /* processed: `outcome` says how; it leaves on the link it came from */
    CASCADE_FRAME_FENCE,       /* behind the last packet before a change */
    CASCADE_FRAME_KEEP_ALIVE,
    CASCADE_FRAME_KINDS
};

struct cascade_frame {
    uint8_t kind; /* enum cascade_frame_kind */
    uint8_t shard;
    uint8_t hops;
    uint8_t link, side;
    uint8_t outcome; /* enum dp_outcome of a RETURN, 0 else */
    uint32_t epoch, sequence;
};

/* What a fence carries behind the header. */
struct cascade_fence {
    uint32_t move;    /* number of the attempt */
    uint32_t packets; /* frames of the shard sent before it, mod 2^32: its own sequence number */
};

/* Why a frame at a cascade port is not one of ours; names as in JSON and metrics. */
#define CASCADE_FRAME_RESULTS(X)                                                                                       \
    X(ok, "a frame of the cascade")                                                                                    \
    X(foreign, "another Ethernet type: a port of the cascade is not for other traffic")                                \
    X(short_frame, "shorter than its header")                                                                          \
    X(version, "another version of the frame")                                                                         \
    X(kind, "a kind that is not known")                                                                                \
    X(hops, "given to a peer too often")
enum cascade_frame_result {
#define X(name, text) CASCADE_FRAME_##name,
    CASCADE_FRAME_RESULTS(X)
#undef X
        CASCADE_FRAME_RESULT_COUNT
};
const char *cascade_frame_result_name(enum cascade_frame_result result);
const char *cascade_frame_result_text(enum cascade_frame_result result);

/*
 * Puts the header before the packet, in its headroom; false when there is none (the pool was made with too little). The
 * two addresses are the sending and the receiving cascade port's.
 */
bool cascade_frame_push(struct rte_mbuf *mbuf, const struct cascade_frame *frame, const struct rte_ether_addr *from,
                        const struct rte_ether_addr *to);
/*
 * Reads the header and takes it off; an mbuf that is refused is left as it is. Only the first segment is looked at: a
 * header that does not lie in it whole is `short_frame`.
 */
enum cascade_frame_result cascade_frame_pull(struct rte_mbuf *mbuf, struct cascade_frame *ret_frame);

/* Makes an empty mbuf a fence or keep-alive without its header, and reads it again; false: it is too short. */
bool cascade_fence_write(struct rte_mbuf *mbuf, const struct cascade_fence *fence);
bool cascade_fence_read(const struct rte_mbuf *mbuf, struct cascade_fence *ret_fence);

/* Receiver's account of one shard's path: frames that should have come before this one and did not. */
struct cascade_path {
    uint32_t next; /* sequence number expected */
    uint64_t missing, late;
};
/* Counts a frame: the gap before it, or a frame older than what came (a doubled or reordered one), which returns false. */
bool cascade_path_take(struct cascade_path *path, uint32_t sequence);

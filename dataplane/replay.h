/*
 * Replay: captures through the pipeline, on the captures' own clock, with nothing sampled and nothing lost.
 *
 * What comes out is a function of input, configuration and seed, for any number of workers: the clock follows the stamps
 * and never goes back by more than DP_CLOCK_DISORDER_NS, a flow's time-out is judged at its own next packet, a flow's number is
 * that of its first packet, and a fragment, or a packet that may announce other flows
 * (learn.h), is sent only when all packets before it are done, and waited for. One worker runs
 * in the calling thread; more run as lcores 1 .. n, which the reader feeds through rings as a NIC with symmetric RSS would.
 *
 * Control thread only, which is also the record thread here: it takes the events while it waits.
 */
#pragma once

#include "dataplane/source_pcap.h"
#include "dataplane/worker.h"

struct dp_replay_options {
    dp_event_handler handler; /* called in the control thread for each event */
    void *handler_context;
    /* Called now and then with what was read of the current file; NULL: never. size_bytes 0: not known. */
    void (*progress)(void *context, uint64_t read_bytes, uint64_t size_bytes);
    void *progress_context;
    /* Test of the hand-over between workers: each packet goes to a worker that does not own it first. */
    bool spread_wrong;
    /* Payload packets of each side of a flow that are left out, and the handshake with them (join.h); 0: nothing. */
    unsigned join_after;
    /* Test of shards that change hands: after so many packets the shard of the last one goes to the next worker. 0: never. */
    uint64_t rotate_packets;
};

struct dp_replay;

/* EAL must be up with a lcore for each worker when there are several. NULL with the reason in `error`. */
struct dp_replay *dp_replay_create(struct dp_engine *engine, const struct dp_replay_options *options, char *error,
                                   size_t error_size);
void dp_replay_destroy(struct dp_replay *replay);

/*
 * Reads a whole capture. 0, or -errno with "FILE: ..." in `error`; packets before the damage went through the pipeline.
 */
int dp_replay_file(struct dp_replay *replay, const char *path, char *error, size_t error_size);

/* Packets read so far, those of earlier captures of this run included: the number of the last one. */
uint64_t dp_replay_packets(const struct dp_replay *replay);

/* Ends every flow and hands its events to the handler. Returns the clock: stamp of the last packet, ns. */
uint64_t dp_replay_finish(struct dp_replay *replay);

/* After dp_replay_finish(): zero counters and clock, as if new, for the next capture on its own. */
void dp_replay_reset(struct dp_replay *replay);

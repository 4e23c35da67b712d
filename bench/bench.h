/*
 * Benches: our structures and our pipeline against their peers, in one process, in turns (measure.h says how).
 *
 * Rows are named GROUP.WHAT.FLOWS.DISTRIBUTION.FAMILY.PEER; `only` takes a part of such a name. Groups:
 *
 *   hash               the keyed hash of a flow key                                           hash_rows.c
 *   table              the flow table alone: look-up and account, memory                      table_rows.c
 *                      insert, remove                                                         churn_rows.c
 *                      ageing                                                                 ageing_rows.c
 *   capacity           filled to the brim                                                     capacity_rows.c
 *   pipeline           all stages between a source and a sink in memory, established flows    pipeline_rows.c
 *                      flows that open and close, mixed traffic                               opening_rows.c
 *   flood, overfull,   traffic that means harm                                                hostile_rows.c
 *   adversary
 *   workers            two workers against one                                                workers_rows.c
 *   dpi                classification of captures, whole lives of flows, against libndpi      dpi_rows.c
 *
 * A *world* is one population of flows in our engine and in each peer that a selected row needs; it is built once for
 * all the rows of that population that leave it as it was, and only one exists at a time. One thread, but for workers.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "bench/measure.h"
#include "bench/peers.h"
#include "dataplane/worker.h"

#define BENCH_POPULATIONS_MAX 8u

struct bench_options {
    const char *only; /* NULL: all rows */
    bool quick, full, json, quiet;
    unsigned population_count; /* 0: what quick and full say */
    uint64_t populations[BENCH_POPULATIONS_MAX];
    unsigned rounds;      /* 0: what quick says */
    const char *svg;      /* file, or NULL */
    const char *captures; /* folder of the dpi rows; NULL: the project's own */
};

enum bench_goal { BENCH_NO_GOAL, BENCH_AT_MOST, BENCH_AT_LEAST };

struct bench_row {
    char name[96];
    uint64_t flows;
    const char *unit;      /* "cycles", "Mflows/s" */
    const char *peer_name; /* NULL: none */
    struct bench_sample ours, peer;
    double ratio;         /* ours / peer, median of paired rounds */
    enum bench_goal goal; /* of the ratio; of ours when there is no peer */
    double goal_ratio;
};

struct bench {
    struct bench_options options;
    char machine[128];
    struct bench_effort effort;
    uint32_t stream_length;
    struct rte_mempool *pool;
    struct bench_heap pool_heap;
    FILE *out;
    unsigned hugepage_pct; /* seen when a world was built */
    bool own_populations;  /* the user named them */
    bool has_two_cpus;
    struct bench_row *rows;
    size_t row_count, row_capacity;
};

/* Runs what the options select, prints as it goes; ends the process with a message when it cannot. Returns how many rows. */
size_t bench_run(const struct bench_options *options, FILE *out);

/* True when a row of this name is wanted. */
bool bench_wants(const struct bench *bench, const char *name);
/* For rows of one usual population: true for it, and for those that the user asked for. */
bool bench_takes(const struct bench *bench, uint64_t flows, uint64_t usual_flows);
/* Adds and prints a row; `peer` NULL when there is none. The name's parts are joined by dots. */
void bench_report(struct bench *bench, const struct bench_row *row);

/* The TSC as a clock. */
uint64_t bench_now_ns(void);

/* ---- world.c ---- */

enum bench_need { BENCH_NEED_RTE = 1, BENCH_NEED_LFHT = 2, BENCH_NEED_FLOOR = 4 };

struct bench_world {
    struct bench *bench;
    uint64_t flows, capacity_flows;
    uint64_t table_bytes; /* what the flows took when they came */
    enum bench_family family;
    struct dp_engine *engine;
    struct bench_rte rte;
    struct bench_floor floor;
#ifdef SCE_BENCH_URCU
    struct bench_lfht *lfht;
#endif
    struct bench_stream stream;
    bool is_drawn;
    enum bench_distribution distribution; /* of the stream, when drawn */
};

struct bench_world_options {
    uint64_t flows, spare_flows; /* room for so many more */
    enum bench_family family;
    unsigned needs, workers;
    uint64_t closed_timeout_ns; /* 0: the default */
};
/* Checks that so many flows with these peers fit into memory. */
void bench_need_memory(uint64_t flows, unsigned needs);
/* A peer of these needs is too large beside our table in one process at so many flows. */
bool bench_fits(uint64_t flows, unsigned needs);
/* Flows 0 .. flows-1, established and decided. */
void bench_world_create(struct bench_world *world, struct bench *bench, const struct bench_world_options *options);
void bench_world_destroy(struct bench_world *world);
/* Draws the world's stream, unless it is drawn so already. */
void bench_world_draw(struct bench_world *world, enum bench_distribution distribution);

/* ---- source and sink, source.c ---- */

#define BENCH_FRAME_BYTES 80u /* headers of TCP over IPv6, rounded up */
#define BENCH_TCP_FIN     0x01
#define BENCH_TCP_SYN     0x02
#define BENCH_TCP_ACK     0x10
#define BENCH_FIFO_MBUFS  1024u /* a power of two, a multiple of a burst */

/*
 * Frames in memory. A burst is 32 mbufs from the pool with the first 80 bytes of their frames copied in, as a NIC would
 * write them; the rest of a longer frame is whatever the mbuf held, which no stage looks at in decided flows.
 */
struct bench_source {
    struct rte_mempool *pool;
    uint32_t length;
    uint8_t (*frames)[BENCH_FRAME_BYTES];
    uint16_t *frame_bytes;
    uint8_t *side; /* enum dp_side */
};
enum bench_sizes { BENCH_64_BYTES, BENCH_IMIX }; /* IMIX: 64, 594 and 1,518 bytes, 7 : 4 : 1 */

void bench_source_create(struct bench_source *source, struct rte_mempool *pool, uint32_t length);
void bench_source_destroy(struct bench_source *source);
/* Established flows of the world's stream: ACK segments, either direction. */
void bench_source_draw(struct bench_source *source, const struct bench_world *world, enum bench_sizes sizes);
/* Frame `at`: from the client or the server of a flow. Without CRC; of IPv6 the shortest TCP frame is longer than 64. */
void bench_source_set(struct bench_source *source, uint32_t at, const struct bench_tuple *tuple, bool from_server,
                      uint8_t tcp_flags, enum bench_sizes sizes);
/* The burst from `begin` on through all stages, as an engine's loop does it while bursts are full. */
void bench_source_receive(const struct bench_source *source, struct dp_worker *worker, uint32_t begin, uint64_t now_ns);
/* Fills the burst with the frames from `begin` on. */
void bench_source_burst(const struct bench_source *source, struct dp_burst *burst, uint32_t begin, uint64_t now_ns);

/* The sink: mbufs stay in a first-in first-out queue for a while, as in a NIC's ring, and are freed 32 at a time. */
struct bench_sink {
    struct rte_mbuf *fifo[BENCH_FIFO_MBUFS];
    uint32_t position;
};
void bench_sink_burst(struct bench_sink *sink, struct rte_mbuf *mbufs[], unsigned count);
void bench_sink_flush(struct bench_sink *sink);
/* dp_engine.transmit; its context is an array of such sinks, one a worker. */
void bench_sink_transmit(void *sinks, struct dp_worker *worker, struct dp_burst *burst);

/* The yardstick: one burst from the source through a stage that swaps MACs, addresses and ports to the sink. */
void bench_swap5_burst(const struct bench_source *source, struct bench_sink *sink, struct dp_burst *burst,
                       uint32_t begin);

/* ---- stages.c ---- */

#define BENCH_STAGES(X)                                                                                                \
    X(source)                                                                                                          \
    X(prefetch)                                                                                                        \
    X(parse)                                                                                                           \
    X(route)                                                                                                           \
    X(flow)                                                                                                            \
    X(classify)                                                                                                        \
    X(account)                                                                                                         \
    X(sink)                                                                                                            \
    X(ageing)

enum bench_stage {
#define X(name) BENCH_STAGE_##name,
    BENCH_STAGES(X)
#undef X
        BENCH_STAGE_COUNT
};
static_assert(BENCH_STAGE_COUNT <= BENCH_PARTS_MAX, "a sample a stage");
extern const char *const bench_stage_names[BENCH_STAGE_COUNT];

/* One burst through all stages, from the source to ageing; adds up each one's cycles. */
void bench_stages_burst(const struct bench_source *source, struct dp_worker *worker, uint32_t begin, uint64_t now_ns,
                        uint64_t cycles[]);
/* A row a stage; `first` is that of the first one. */
void bench_stages_report(struct bench *bench, const struct bench_row *first, const struct bench_sample samples[]);

/* ---- groups ---- */

/* What a group needs of the peers for this population; 0 and *ret_any false when it has no row that is wanted. */
unsigned bench_table_needs(struct bench_world *world, bool *ret_any);
void bench_table_rows(struct bench_world *world);
unsigned bench_churn_needs(struct bench_world *world, bool *ret_any);
void bench_churn_rows(struct bench_world *world);
unsigned bench_ageing_needs(struct bench_world *world, bool *ret_any);
void bench_ageing_rows(struct bench_world *world);
unsigned bench_pipeline_needs(struct bench_world *world, bool *ret_any);
void bench_pipeline_rows(struct bench_world *world);
/* Those that build worlds of their own. */
void bench_opening_rows(struct bench *bench, uint64_t flows, enum bench_family family);
void bench_hostile_rows(struct bench *bench, uint64_t flows, enum bench_family family);
void bench_workers_rows(struct bench *bench, uint64_t flows, enum bench_family family);
void bench_capacity_rows(struct bench *bench, uint64_t flows);
/* Without flows. */
void bench_hash_rows(struct bench *bench);
void bench_dpi_rows(struct bench *bench);

/* Writes the plot of the rows so far. */
void bench_plot(const struct bench *bench, const char *path);

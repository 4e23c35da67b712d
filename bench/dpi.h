/*
 * What the rows of classification run on: captures merged into one stream in memory, or one flow of a capture over and over
 * from other clients, and libndpi as a peer that stands in the place of our classification stage.
 */
#pragma once

#include "bench/bench.h"

struct bench_dpi_frame {
    uint8_t *bytes;
    uint64_t at_ns; /* since the stream's beginning */
    uint32_t size_bytes;
    uint32_t order;     /* as it was read */
    uint32_t client_be; /* of a repeated flow: its client's IPv4 address */
    uint16_t client_at; /* which belongs there; 0: the frame is sent as it lies */
    uint8_t link_type;
};

struct bench_dpi_stream {
    struct bench_dpi_frame *frames; /* in order of time, whole bursts of them */
    size_t length, capacity;
    uint64_t span_ns;
    uint64_t payload_packets;
    uint64_t skipped_packets;          /* too long for one segment, or of a flow that another capture has too */
    struct bench_dpi_frame *templates; /* of a repeated flow: `frames` share their bytes */
    unsigned template_count;
};

/* All captures below a folder, each beginning at 0; false when there is none. */
bool bench_dpi_load(struct bench_dpi_stream *stream, const char *folder, struct rte_mempool *pool);
/*
 * The first flow to a server port in a capture, its first packets and its end, from `flows` clients, STEP flows apart; false
 * when the capture has none.
 */
bool bench_dpi_repeat(struct bench_dpi_stream *stream, const char *path, uint8_t ip_proto, uint16_t server_port,
                      uint32_t flows, struct rte_mempool *pool);
void bench_dpi_free(struct bench_dpi_stream *stream);

/* ---- the peer, peer_ndpi.c ---- */

#define BENCH_NDPI_METHOD 200u /* in ft_cold.method: libndpi judged; `protocol` and `signature` are its two names */

struct bench_ndpi;
struct bench_ndpi *bench_ndpi_create(uint64_t capacity_flows);
void bench_ndpi_destroy(struct bench_ndpi *ndpi);
/* In the place of dp_stage_classify(). */
void bench_ndpi_classify(struct bench_ndpi *ndpi, struct dp_worker *worker, const struct dp_burst *burst,
                         unsigned begin, unsigned end);
const char *bench_ndpi_name(const struct bench_ndpi *ndpi, uint16_t protocol);

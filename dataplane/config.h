/*
 * The configuration of `sce run`: a strict YAML file into one plain struct.
 *
 * One const table (config.c) gives the parser, the defaults, the dump and docs/configuration.md. An unknown key, a wrong
 * type, a value out of range, a duplicate or a missing required key is refused with
 *
 *     FILE:LINE:COLUMN: what is wrong; what was expected; the nearest known key
 *
 * and nothing is started. Numbers keep the unit that their key names (timeouts_s in seconds); helpers below convert.
 * Control thread only. After dp_config_load() the struct is read-only and may be read by any thread.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "classifier/classifier.h"
#include "dataplane/tunnel.h"
#include "flowtable/table.h"
#include "rdr/formatter.h"

#define DP_LINKS_MAX    16u
#define DP_WORKERS_MAX  60u /* ft_config.readers_max is 64: workers, the control thread, the record thread, a walker */
#define DP_DEVICE_BYTES 256u
#define DP_NAME_BYTES   32u
#define DP_PATH_BYTES   512u
#define DP_ERROR_BYTES  512u

/* The sides of a link; index of everything that is per side. */
enum dp_side { DP_SUBSCRIBER, DP_NETWORK, DP_SIDES };

enum dp_link_mode {
    DP_INLINE,       /* a packet received on one side leaves by the other */
    DP_RECEIVE_ONLY, /* both sides are fed by taps or mirrors; nothing is ever sent */
};

/* What a worker does after an empty poll. */
enum dp_idle {
    DP_IDLE_AUTO,  /* yield when there are more threads than CPUs, else pause */
    DP_IDLE_PAUSE, /* spin: least delay, one whole CPU a worker */
    DP_IDLE_YIELD, /* sched_yield(): needed when workers share a CPU */
    DP_IDLE_SLEEP, /* 50 us: for idle labs and laptops */
};

/* auto: hugepages when enough are free, else plain pages with a warning; on: refuse to start without; off: plain pages. */
enum dp_hugepages { DP_HUGEPAGES_AUTO, DP_HUGEPAGES_ON, DP_HUGEPAGES_OFF };

/* Packets with a wrong checksum of IPv4, TCP or UDP. */
enum dp_checksums {
    DP_CHECKSUMS_IGNORE, /* not looked at */
    DP_CHECKSUMS_CHECK,  /* sent on, counted (bypassed bad_checksum), of no flow */
    DP_CHECKSUMS_DROP,   /* dropped, counted (bad_checksum_dropped) */
};

/* Whose flow a tunnel's packet belongs to. */
enum dp_tunnel_choice { DP_TUNNEL_OUTER, DP_TUNNEL_INNER };

enum dp_header_ids {
    DP_HEADER_IDS_ON,    /* creator, epoch, interval and uid in the header bytes that receivers ignore */
    DP_HEADER_IDS_ZEROS, /* those bytes are zero */
};

struct dp_link_config {
    char name[DP_NAME_BYTES];
    char device[DP_SIDES][DP_DEVICE_BYTES]; /* PCI address "0000:03:00.0", or vdev "net_af_packet0,iface=p0" */
    uint32_t line[DP_SIDES];                /* where the file names them, for errors found later; 0 = not from a file */
    enum dp_link_mode mode;
    uint16_t mtu; /* of both ports, 0 = as they have it */
};

struct dp_config {
    char path[DP_PATH_BYTES]; /* the file it came from, "" for defaults */
    uint16_t creator;         /* number of this engine among those that may hand flows to each other */
    uint32_t main_cpu;        /* of the control thread */

    unsigned link_count;
    struct dp_link_config links[DP_LINKS_MAX];

    struct {
        unsigned count;     /* always set after loading */
        unsigned cpu_count; /* 0: CPUs are chosen, see dp_config_worker_cpus() */
        uint32_t cpus[DP_WORKERS_MAX];
        enum dp_idle idle;
        uint32_t burst_pkts; /* 1 .. FT_BURST_MAX */
    } workers;

    struct {
        enum dp_hugepages hugepages;
        uint32_t megabytes; /* of DPDK's memory; 0 = what the mbufs need */
        uint32_t mbufs;     /* 0 = what ports, queues and workers need */
    } memory;

    struct {
        uint64_t capacity_flows;
        uint32_t unanswered_share_pct;
        uint32_t timeouts_s[FT_TIMEOUT_COUNT];
    } flow_table;

    struct {
        char pack[DP_PATH_BYTES]; /* "" = the pack that was built with the program */
        bool inspectors, ja4;
        enum dp_checksums checksums;
        uint16_t payload_packets_max;
        uint32_t payload_bytes_max;
        uint32_t started_before_s;  /* UDP flows that begin so soon after the start count as begun before it */
        uint32_t pending_megabytes; /* for the first payloads of undecided flows, all workers together */
        bool learning;
        uint32_t expectations, learned_names, learned_per_host_max;
    } classification;

    uint8_t tunnels[DP_TUNNEL_COUNT]; /* enum dp_tunnel_choice */

    struct {
        unsigned destination_count;
        struct rdr_destination_config destinations[RDR_DESTINATIONS_MAX];
        enum rdr_forwarding_mode forwarding_mode;
        enum dp_header_ids header_ids;
        uint8_t processor_id; /* first byte of each record's header */
        uint32_t queue_kib[RDR_CATEGORIES];
        uint32_t link_usage_interval_s;  /* 0 = off */
        uint32_t transaction_rate_per_s; /* 0 = off */
        bool transaction_usage;          /* a Transaction Usage or HTTP Transaction Usage record a flow */
        uint64_t transaction_usage_minimum_bytes;
        bool flow_events; /* Flow Start and Flow End records */
    } rdr;

    struct {
        char socket[DP_PATH_BYTES];
    } control;
};

/* "subscriber", "network" */
const char *dp_side_name(enum dp_side side);
/* "inline", "receive-only" */
const char *dp_link_mode_name(enum dp_link_mode mode);

/* Defaults for every field; no links, no destinations. */
void dp_config_init(struct dp_config *config);

/*
 * Reads and checks a whole file. 0, or -EINVAL with one line in `error` (also when it cannot be read): exit code 2; *ret_config
 * is untouched on failure. `path` "-" is stdin.
 */
int dp_config_load(const char *path, struct dp_config *ret_config, char *error, size_t error_size);

/* The same from memory; `name` stands for the file in errors. */
int dp_config_parse(const char *name, const char *text, size_t size_bytes, struct dp_config *ret_config, char *error,
                    size_t error_size);

/* Every key with its value as YAML that dp_config_load() reads back to the same struct. */
void dp_config_dump(const struct dp_config *config, FILE *out);

/* docs/configuration.md. */
void dp_config_document(FILE *out);

/*
 * The CPU of each worker: workers.cpus when given, else the CPUs this process may run on, one after the other from the one behind
 * main_cpu, around as often as needed. `ret_cpus` has room for workers.count. True when threads (main included, if its CPU is
 * used) share a CPU, that is when idle loops must yield.
 */
bool dp_config_worker_cpus(const struct dp_config *config, uint32_t ret_cpus[]);

/* DP_IDLE_AUTO resolved. */
enum dp_idle dp_config_idle(const struct dp_config *config);

/* The parts that other rooms are created from. Strings are borrowed from *config. */
void dp_config_flow_table(const struct dp_config *config, struct ft_config *ret_config);
dp_tunnel_policy dp_config_tunnels(const struct dp_config *config);
void dp_config_classification(const struct dp_config *config, struct cl_options *ret_options);
void dp_config_rdr(const struct dp_config *config, struct rdr_formatter_config *ret_config);

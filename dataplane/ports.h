/*
 * DPDK from outside: starting EAL, and the ports of the configured links.
 *
 *     dp_eal_start()      once a process; lcore 0 is the control thread, lcore 1 + w is worker w
 *     dp_ports_find()     ports of the configuration, their abilities, and the plan: queues, spread, descriptors
 *     dp_ports_setup()    configures queues and RSS; takes the mbuf pool
 *     dp_ports_start()    packets begin to arrive
 *     dp_ports_stop(), dp_ports_close(), dp_eal_stop()
 *
 * All of it is for the control thread and may take milliseconds to seconds; nothing here is on a packet's way. Workers read struct
 * dp_port, which does not change between setup and close.
 */
#pragma once

#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/config.h"
#include "dataplane/drivers.h"

#define DP_PORTS_MAX (DP_LINKS_MAX * DP_SIDES)

/* ---- EAL ---- */

struct dp_eal_options {
    unsigned worker_count;       /* lcores 1 .. worker_count */
    const uint32_t *worker_cpus; /* NULL: each thread may run on any CPU of the process */
    int main_cpu;                /* -1: any */
    enum dp_hugepages hugepages;
    uint32_t megabytes; /* DPDK memory, mbufs included; 0 = 64 without hugepages, as needed with them */
    bool telemetry;     /* DPDK's telemetry socket */
    unsigned device_count;
    const char
        *devices[DP_PORTS_MAX]; /* PCI addresses; virtual devices may stand here too: dp_ports_find() makes them */
};

/* For replay, benches and tests: `workers` on any CPU, plain pages, no devices, no telemetry; 0.2 s to start. */
void dp_eal_options_init(struct dp_eal_options *options, unsigned workers);

/*
 * For sce run. Strings are borrowed from *config; `cpus` has room for DP_WORKERS_MAX and must outlive the call of dp_eal_start().
 */
void dp_eal_options_config(struct dp_eal_options *options, const struct dp_config *config, uint32_t cpus[]);

/*
 * Starts EAL. With hugepages (enough of them free): private to the process, no mount needed. Without: one warning with the command
 * that reserves them (auto), or refusal (on). DPDK's own messages of level error and above come through log_line(). 0, or -errno with
 * the reason in `error`. Can be done once in a process.
 */
int dp_eal_start(const struct dp_eal_options *options, char *error, size_t error_size);
void dp_eal_stop(void);

/* The first error that DPDK told since the last call, or "": the reason behind its error codes. */
const char *dp_eal_first_error(void);

/* ---- ports ---- */

/* How a port's packets reach the workers. */
enum dp_spread {
    DP_SPREAD_SINGLE,   /* one worker: it polls every queue */
    DP_SPREAD_RSS,      /* queue w holds exactly the shards that worker w owns, fragments and tunnels aside */
    DP_SPREAD_SOFTWARE, /* queue q is polled by worker q % workers, which hands on what others own */
};
const char *dp_spread_name(enum dp_spread spread);

struct dp_port {
    char device[DP_DEVICE_BYTES];    /* as configured */
    char name[RTE_ETH_NAME_MAX_LEN]; /* DPDK's: "net_af_packet0", "0000:03:00.0" */
    char driver_name[32];            /* "net_i40e" */
    char interface[32];              /* kernel interface below, or "" */
    const struct dp_driver *driver;
    uint16_t port_id; /* DPDK's */
    uint16_t link;    /* index into dp_config.links */
    enum dp_side side;
    bool sends; /* false in receive-only mode: no packet may be sent */
    uint16_t rx_queues, tx_queues;
    uint16_t rx_descriptors, tx_descriptors; /* of each queue */
    enum dp_spread spread;
    bool rss;              /* the port can spread by the symmetric key; used when spread says so */
    bool hash_is_shard;    /* mbuf.hash.rss of a plain TCP, UDP or SCTP packet is ft_toeplitz() of its key */
    uint16_t reta_entries; /* 0 = no RETA */
    uint64_t rss_types;    /* RTE_ETH_RSS_* asked for */
    uint64_t rx_offloads, tx_offloads; /* RTE_ETH_*_OFFLOAD_* asked for */
    uint64_t rx_offloads_able, tx_offloads_able;
    uint16_t mtu; /* as found: it is not changed */
    int numa;
    bool started;
};

struct dp_ports {
    unsigned count; /* 2 a link: port 2 * link + side */
    unsigned workers;
    struct dp_port port[DP_PORTS_MAX];
    uint8_t by_id[RTE_MAX_ETHPORTS]; /* mbuf.port -> index into port[] */
};

static inline struct dp_port *dp_ports_at(struct dp_ports *ports, unsigned link, enum dp_side side)
{
    return &ports->port[link * DP_SIDES + side];
}

/*
 * Makes the virtual devices of the configuration, finds all its ports and plans them for `workers`. 0, or -errno with
 * "FILE:LINE: ..." in `error`.
 */
int dp_ports_find(const struct dp_config *config, unsigned workers, struct dp_ports *ret_ports, char *error,
                  size_t error_size);

/*
 * The owner of each shard that lets every RSS port agree: equal modulo the smallest RETA. Worker (shard % entries) % workers.
 */
void dp_ports_owners(const struct dp_ports *ports, uint8_t ret_owners[FT_SHARDS]);

/* Mbufs that queues, workers' caches and bursts need; `extra` is what the engine holds besides (rings, reassembly). */
uint32_t dp_ports_mbufs(const struct dp_ports *ports, uint32_t extra);
/* The same before EAL has started, as an upper bound from the configuration alone, or memory.mbufs; used for dp_eal_options.megabytes. */
uint32_t dp_config_mbufs(const struct dp_config *config);

/*
 * Configures every port: queues, the symmetric RSS key 0x6D5A over the port's key size, frames larger than an mbuf as chains where the
 * port can. 0, or -errno with the port and what it refused in `error`.
 */
int dp_ports_setup(struct dp_ports *ports, struct rte_mempool *pool, char *error, size_t error_size);

/* Starts every port, promiscuous, with the RETA of RSS ports by `owners`. */
int dp_ports_start(struct dp_ports *ports, const uint8_t owners[FT_SHARDS], char *error, size_t error_size);
/* Rewrites the RETA of RSS ports after the owner map changed; packets in flight reach their old worker as strays. */
int dp_ports_set_owners(struct dp_ports *ports, const uint8_t owners[FT_SHARDS], char *error, size_t error_size);
void dp_ports_stop(struct dp_ports *ports); /* also of ports that were never started */
void dp_ports_close(struct dp_ports *ports);

struct dp_link_state {
    bool known; /* false: there is no cable to ask about */
    bool up;
    bool full_duplex;
    uint32_t speed_mbps; /* 0 = not known */
};
/* Control thread, a system call at most; never waits for a link to come up. */
void dp_port_link_state(const struct dp_port *port, struct dp_link_state *ret_state);

/*
 * What the port itself counted, as far as its driver does: missed = dropped for want of descriptors or of polling.
 */
struct dp_port_counters {
    uint64_t received_packets, received_bytes, sent_packets, sent_bytes, missed_packets, receive_errors, send_errors,
        no_mbuf;
};
void dp_port_counters(const struct dp_port *port, struct dp_port_counters *ret_counters);

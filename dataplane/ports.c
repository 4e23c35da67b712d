#include "dataplane/ports.h"

#include <ctype.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define RX_DESCRIPTORS       1024u
#define TX_DESCRIPTORS       1024u
#define RSS_KEY_BYTES_USUAL  40u
#define RSS_KEY_BYTES_MAX    64u
#define RETA_ENTRIES_MAX     4096u
#define POOL_CACHE_MBUFS     256u
#define HANDOFF_MBUFS        4096u /* per worker, when there are several */
#define ENGINE_MBUFS         8192u /* what an engine may hold besides, of dp_config_mbufs() */
#define FRAME_OVERHEAD_BYTES 26u   /* Ethernet header, two tags, checksum */

/* Without the _EX types: those hash addresses out of extension headers, which the flow key does not have. */
#define RSS_TYPES                                                                                                      \
    (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |          \
     RTE_ETH_RSS_NONFRAG_IPV4_SCTP | RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 |       \
     RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_NONFRAG_IPV6_SCTP |                     \
     RTE_ETH_RSS_NONFRAG_IPV6_OTHER)
/* A port that cannot spread by these leaves most traffic to the software. */
#define RSS_TYPES_NEEDED (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP)

static const char *const spread_names[] = {"single", "rss", "software"};

const char *dp_spread_name(enum dp_spread spread)
{
    return spread_names[spread];
}

/* ---- find and plan ---- */

static uint16_t least(unsigned a, unsigned b)
{
    return (uint16_t)(a < b ? a : b);
}

static bool find_id(struct dp_port *port)
{
    char name[RTE_ETH_NAME_MAX_LEN];
    bool is_short_pci = dp_device_is_pci(port->device) && port->device[2] == ':';
    snprintf(name, sizeof name, "%s%.*s", is_short_pci ? "0000:" : "", (int)strcspn(port->device, ","), port->device);
    return rte_eth_dev_get_port_by_name(name, &port->port_id) == 0;
}

/* Makes a virtual device, or finds what EAL has probed. */
static int open_device(struct dp_port *port, char *error, size_t error_size)
{
    if (find_id(port))
        return 0;
    if (dp_device_is_pci(port->device)) {
        snprintf(error, error_size,
                 "no port: is it bound to a driver that DPDK can use (dpdk-devbind.py --status; docs/nics.md)?");
        return -ENODEV;
    }
    dp_eal_first_error();
    int result = rte_dev_probe(port->device);
    if (result == 0 && find_id(port))
        return 0;
    const char *reason = dp_eal_first_error();
    snprintf(error, error_size, "cannot be opened: %s%s", reason[0] ? reason : strerror(result < 0 ? -result : ENODEV),
             port->interface[0] ? " (does the interface exist, and has this process CAP_NET_RAW?)" : "");
    return result < 0 ? result : -ENODEV;
}

static void plan_queues(struct dp_port *port, const struct rte_eth_dev_info *info, unsigned workers)
{
    uint16_t key_bytes = info->hash_key_size ? info->hash_key_size : RSS_KEY_BYTES_USUAL;
    port->rss_types = info->flow_type_rss_offloads & RSS_TYPES;
    port->rss = (port->rss_types & RSS_TYPES_NEEDED) == RSS_TYPES_NEEDED && !port->driver->rss_is_not_ours &&
                info->reta_size && info->reta_size <= RETA_ENTRIES_MAX && !(info->reta_size & (info->reta_size - 1)) &&
                key_bytes <= RSS_KEY_BYTES_MAX;
    port->reta_entries = port->rss ? info->reta_size : 0;
    if (workers == 1)
        port->spread = DP_SPREAD_SINGLE;
    else if (port->rss && info->max_rx_queues >= workers)
        port->spread = DP_SPREAD_RSS;
    else
        port->spread = DP_SPREAD_SOFTWARE;
    uint16_t rx_queues = port->driver->fixed_queues ? info->max_rx_queues : 1;
    port->rx_queues = port->spread == DP_SPREAD_RSS ? (uint16_t)workers : rx_queues;
    bool many = port->driver->fixed_queues || port->driver->many_tx_queues;
    port->tx_queues = many ? least(workers, info->max_tx_queues) : 1;
}

static void plan_offloads(struct dp_port *port, const struct rte_eth_dev_info *info)
{
    port->rx_offloads_able = info->rx_offload_capa;
    port->tx_offloads_able = info->tx_offload_capa;
    if (port->spread == DP_SPREAD_RSS)
        port->rx_offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;
    port->hash_is_shard = port->rx_offloads & RTE_ETH_RX_OFFLOAD_RSS_HASH;
    uint32_t frame_bytes = port->mtu + FRAME_OVERHEAD_BYTES;
    if (frame_bytes > RTE_MBUF_DEFAULT_DATAROOM)
        port->rx_offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
    port->tx_offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
}

static int find_port(const struct dp_link_config *link, unsigned link_number, enum dp_side side, unsigned workers,
                     struct dp_port *port, char *error, size_t error_size)
{
    struct rte_eth_dev_info info;
    *port = (struct dp_port){.link = (uint16_t)link_number, .side = side, .sends = link->mode == DP_INLINE};
    snprintf(port->device, sizeof port->device, "%s", link->device[side]);
    port->driver = dp_driver_of_device(port->device);
    if (!port->driver) {
        dp_device_check(port->device, error, error_size);
        return -EINVAL;
    }
    if (port->driver->interface_argument)
        dp_device_argument(port->device, port->driver->interface_argument, port->interface, sizeof port->interface);
    int result = open_device(port, error, error_size);
    if (result < 0)
        return result;
    result = rte_eth_dev_info_get(port->port_id, &info);
    if (result < 0) {
        snprintf(error, error_size, "tells nothing of itself: %s", strerror(-result));
        return result;
    }
    rte_eth_dev_get_name_by_port(port->port_id, port->name);
    snprintf(port->driver_name, sizeof port->driver_name, "%s", info.driver_name ? info.driver_name : "");
    port->numa = rte_eth_dev_socket_id(port->port_id);
    rte_eth_dev_get_mtu(port->port_id, &port->mtu);
    if (link->mtu)
        port->mtu = link->mtu;
    plan_queues(port, &info, workers);
    plan_offloads(port, &info);
    port->rx_descriptors = RX_DESCRIPTORS;
    port->tx_descriptors = TX_DESCRIPTORS;
    return 0;
}

int dp_ports_find(const struct dp_config *config, unsigned workers, struct dp_ports *ret_ports, char *error,
                  size_t error_size)
{
    memset(ret_ports, 0, sizeof *ret_ports);
    ret_ports->workers = workers;
    for (unsigned i = 0; i < config->link_count; i++)
        for (unsigned side = 0; side < DP_SIDES; side++) {
            char reason[384];
            struct dp_port *port = &ret_ports->port[ret_ports->count];
            int result = find_port(&config->links[i], i, (enum dp_side)side, workers, port, reason, sizeof reason);
            if (result < 0) {
                snprintf(error, error_size, "%s:%u: link %s, %s %s: %s", config->path, config->links[i].line[side],
                         config->links[i].name, dp_side_name((enum dp_side)side), config->links[i].device[side],
                         reason);
                return result;
            }
            if (config->classification.checksums != DP_CHECKSUMS_IGNORE)
                port->rx_offloads |= port->rx_offloads_able & RTE_ETH_RX_OFFLOAD_CHECKSUM;
            ret_ports->by_id[port->port_id] = (uint8_t)ret_ports->count++;
        }
    return 0;
}

/* ---- sizes and owners ---- */

void dp_ports_owners(const struct dp_ports *ports, uint8_t ret_owners[FT_SHARDS])
{
    unsigned entries = FT_SHARDS;
    for (unsigned i = 0; i < ports->count; i++)
        if (ports->port[i].spread == DP_SPREAD_RSS && ports->port[i].reta_entries < entries)
            entries = ports->port[i].reta_entries;
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        ret_owners[shard] = (uint8_t)(shard % entries % ports->workers);
}

static uint32_t worker_mbufs(unsigned workers)
{
    /* a pool's cache may hold half as much again; two bursts in hand */
    return workers * (POOL_CACHE_MBUFS * 3 / 2 + 2 * FT_BURST_MAX + (workers > 1 ? HANDOFF_MBUFS : 0)) + RX_DESCRIPTORS;
}

uint32_t dp_ports_mbufs(const struct dp_ports *ports, uint32_t extra)
{
    uint32_t mbufs = worker_mbufs(ports->workers) + extra;
    for (unsigned i = 0; i < ports->count; i++) {
        const struct dp_port *port = &ports->port[i];
        mbufs += (uint32_t)port->rx_queues * port->rx_descriptors + (uint32_t)port->tx_queues * port->tx_descriptors;
    }
    return mbufs;
}

uint32_t dp_config_mbufs(const struct dp_config *config)
{
    if (config->memory.mbufs)
        return config->memory.mbufs;
    uint32_t mbufs = worker_mbufs(config->workers.count);
    for (unsigned i = 0; i < config->link_count; i++)
        for (unsigned side = 0; side < DP_SIDES; side++) {
            const struct dp_driver *driver = dp_driver_of_device(config->links[i].device[side]);
            bool is_many = driver && (driver->fixed_queues || driver->many_tx_queues);
            mbufs += (is_many ? config->workers.count : 1) * (RX_DESCRIPTORS + TX_DESCRIPTORS);
        }
    return mbufs + ENGINE_MBUFS;
}

/* ---- set up ---- */

/* "link 0, subscriber, net_null0: what: reason" */
static int refuse(const struct dp_port *port, const char *what, int result, char *error, size_t error_size)
{
    const char *reason = dp_eal_first_error();
    snprintf(error, error_size, "port %s (%s): %s: %s%s%s", port->device, port->driver_name, what, strerror(-result),
             reason[0] ? "; " : "", reason);
    return result;
}

static void make_key(uint8_t key[RSS_KEY_BYTES_MAX])
{
    for (unsigned i = 0; i < RSS_KEY_BYTES_MAX; i++)
        key[i] = i % 2 ? 0x5a : 0x6d;
}

static int configure(struct dp_port *port, const struct rte_eth_dev_info *info, char *error, size_t error_size)
{
    uint8_t key[RSS_KEY_BYTES_MAX];
    struct rte_eth_conf conf = {.rxmode = {.offloads = port->rx_offloads}, .txmode = {.offloads = port->tx_offloads}};
    /* The MTU of a kernel interface is the operator's */
    if (!port->interface[0])
        conf.rxmode.mtu = port->mtu;
    make_key(key);
    if (port->spread == DP_SPREAD_RSS) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf =
            (struct rte_eth_rss_conf){.rss_key = key,
                                      .rss_key_len = info->hash_key_size ? info->hash_key_size : RSS_KEY_BYTES_USUAL,
                                      .rss_hf = port->rss_types};
    }
    int result = rte_eth_dev_configure(port->port_id, port->rx_queues, port->tx_queues, &conf);
    if (result < 0)
        return refuse(port, "configure", result, error, error_size);
    result = rte_eth_dev_adjust_nb_rx_tx_desc(port->port_id, &port->rx_descriptors, &port->tx_descriptors);
    return result < 0 ? refuse(port, "descriptors", result, error, error_size) : 0;
}

static int setup_queues(struct dp_port *port, struct rte_mempool *pool, char *error, size_t error_size)
{
    unsigned numa = port->numa < 0 ? 0 : (unsigned)port->numa;
    for (uint16_t q = 0; q < port->rx_queues; q++) {
        int result = rte_eth_rx_queue_setup(port->port_id, q, port->rx_descriptors, numa, NULL, pool);
        if (result < 0)
            return refuse(port, "receive queue", result, error, error_size);
    }
    for (uint16_t q = 0; q < port->tx_queues; q++) {
        int result = rte_eth_tx_queue_setup(port->port_id, q, port->tx_descriptors, numa, NULL);
        if (result < 0)
            return refuse(port, "send queue", result, error, error_size);
    }
    return 0;
}

int dp_ports_setup(struct dp_ports *ports, struct rte_mempool *pool, char *error, size_t error_size)
{
    for (unsigned i = 0; i < ports->count; i++) {
        struct dp_port *port = &ports->port[i];
        struct rte_eth_dev_info info;
        dp_eal_first_error();
        int result = rte_eth_dev_info_get(port->port_id, &info);
        if (result < 0)
            return refuse(port, "information", result, error, error_size);
        result = configure(port, &info, error, error_size);
        if (result == 0)
            result = setup_queues(port, pool, error, error_size);
        if (result < 0)
            return result;
    }
    return 0;
}

static int set_reta(const struct dp_port *port, const uint8_t owners[FT_SHARDS], char *error, size_t error_size)
{
    struct rte_eth_rss_reta_entry64 reta[RETA_ENTRIES_MAX / RTE_ETH_RETA_GROUP_SIZE];
    memset(reta, 0, sizeof reta);
    for (unsigned i = 0; i < port->reta_entries; i++) {
        reta[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ull << i % RTE_ETH_RETA_GROUP_SIZE;
        reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = owners[i % FT_SHARDS];
    }
    int result = rte_eth_dev_rss_reta_update(port->port_id, reta, port->reta_entries);
    return result < 0 ? refuse(port, "RETA", result, error, error_size) : 0;
}

int dp_ports_set_owners(struct dp_ports *ports, const uint8_t owners[FT_SHARDS], char *error, size_t error_size)
{
    for (unsigned i = 0; i < ports->count; i++) {
        int result = ports->port[i].spread == DP_SPREAD_RSS ? set_reta(&ports->port[i], owners, error, error_size) : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

/*
 * Some drivers overlook the key of the configuration: read back, and given once more. A port that keeps another key still spreads
 * its packets, only its hash is of no use.
 */
static void check_key(struct dp_port *port)
{
    uint8_t key[RSS_KEY_BYTES_MAX], found[RSS_KEY_BYTES_MAX];
    struct rte_eth_dev_info info;
    if (rte_eth_dev_info_get(port->port_id, &info) < 0)
        return;
    uint8_t key_bytes = info.hash_key_size ? info.hash_key_size : RSS_KEY_BYTES_USUAL;
    struct rte_eth_rss_conf ours = {.rss_key = key, .rss_key_len = key_bytes, .rss_hf = port->rss_types};
    struct rte_eth_rss_conf theirs = {.rss_key = found, .rss_key_len = key_bytes};
    make_key(key);
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        memset(found, 0, sizeof found);
        if (rte_eth_dev_rss_hash_conf_get(port->port_id, &theirs) == 0 && !memcmp(key, found, key_bytes))
            return;
        if (attempt == 0)
            rte_eth_dev_rss_hash_update(port->port_id, &ours);
    }
    port->hash_is_shard = false;
    log_line(LOG_WARNING, "ports", "%s does not take the symmetric RSS key: packets change workers in software",
             port->device);
}

int dp_ports_start(struct dp_ports *ports, const uint8_t owners[FT_SHARDS], char *error, size_t error_size)
{
    for (unsigned i = 0; i < ports->count; i++) {
        struct dp_port *port = &ports->port[i];
        int result = rte_eth_dev_start(port->port_id);
        if (result < 0)
            return refuse(port, "start", result, error, error_size);
        port->started = true;
        result = rte_eth_promiscuous_enable(port->port_id);
        /* rings and files have no such mode */
        if (result < 0 && result != -ENOTSUP)
            return refuse(port, "promiscuous mode", result, error, error_size);
        if (port->spread == DP_SPREAD_RSS)
            check_key(port);
    }
    /* Some drivers write a RETA of their own when they start: ours comes after */
    return dp_ports_set_owners(ports, owners, error, error_size);
}

void dp_ports_stop(struct dp_ports *ports)
{
    for (unsigned i = 0; i < ports->count; i++) {
        if (ports->port[i].started)
            rte_eth_dev_stop(ports->port[i].port_id);
        ports->port[i].started = false;
    }
}

void dp_ports_close(struct dp_ports *ports)
{
    dp_ports_stop(ports);
    for (unsigned i = 0; i < ports->count; i++)
        rte_eth_dev_close(ports->port[i].port_id);
    ports->count = 0;
}

/* ---- state ---- */

static void kernel_link_state(const char *interface, struct dp_link_state *state)
{
    struct ifreq request = {0};
    struct ethtool_cmd settings = {.cmd = ETHTOOL_GSET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%.*s", IFNAMSIZ - 1, interface);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        state->known = true;
        state->up = (request.ifr_flags & IFF_UP) && (request.ifr_flags & IFF_RUNNING);
        request.ifr_data = (char *)&settings;
        if (state->up && ioctl(fd, SIOCETHTOOL, &request) == 0) {
            uint32_t speed = ethtool_cmd_speed(&settings);
            state->speed_mbps = speed == (uint32_t)SPEED_UNKNOWN ? 0 : speed;
            state->full_duplex = settings.duplex == DUPLEX_FULL;
        }
    }
    close(fd);
}

void dp_port_link_state(const struct dp_port *port, struct dp_link_state *ret_state)
{
    struct rte_eth_link link;
    *ret_state = (struct dp_link_state){0};
    if (port->driver->link_source == DP_LINK_SOURCE_KERNEL && port->interface[0])
        kernel_link_state(port->interface, ret_state);
    else if (port->driver->link_source == DP_LINK_SOURCE_DRIVER && rte_eth_link_get_nowait(port->port_id, &link) == 0)
        *ret_state =
            (struct dp_link_state){.known = true,
                                   .up = link.link_status == RTE_ETH_LINK_UP,
                                   .full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX,
                                   .speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed};
}

void dp_port_counters(const struct dp_port *port, struct dp_port_counters *ret_counters)
{
    struct rte_eth_stats s;
    memset(&s, 0, sizeof s);
    rte_eth_stats_get(port->port_id, &s);
    *ret_counters = (struct dp_port_counters){.received_packets = s.ipackets,
                                              .received_bytes = s.ibytes,
                                              .sent_packets = s.opackets,
                                              .sent_bytes = s.obytes,
                                              .missed_packets = s.imissed,
                                              .receive_errors = s.ierrors,
                                              .send_errors = s.oerrors,
                                              .no_mbuf = s.rx_nombuf};
}

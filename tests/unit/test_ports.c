#include <criterion/criterion.h>
#include <errno.h>
#include <rte_lcore.h>
#include <string.h>

#include "dataplane/ports.h"

static struct dp_config config;
static struct dp_ports ports;
static char error[DP_ERROR_BYTES];

static void load(const char *text)
{
    cr_assert_eq(dp_config_parse("f.yaml", text, strlen(text), &config, error, sizeof error), 0, "%s", error);
}

static void start_eal(unsigned workers)
{
    struct dp_eal_options options;
    dp_eal_options_init(&options, workers);
    options.megabytes = 160;
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), 0, "%s", error);
}

static struct rte_mempool *make_pool(void)
{
    struct rte_mempool *pool =
        rte_pktmbuf_pool_create("test", dp_ports_mbufs(&ports, 0), 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    cr_assert_not_null(pool);
    return pool;
}

static int lcore_of(void *argument)
{
    *(unsigned *)argument = rte_lcore_id();
    return 0;
}

Test(ports, eal_gives_one_lcore_a_worker)
{
    start_eal(3);
    cr_expect_eq(rte_lcore_count(), 4);
    cr_expect_eq(rte_lcore_id(), 0);
    unsigned lcore = 99;
    cr_assert_eq(rte_eal_remote_launch(lcore_of, &lcore, 3), 0);
    rte_eal_mp_wait_lcore();
    cr_expect_eq(lcore, 3);
    dp_eal_stop();
}

Test(ports, pinned_workers_run_on_their_cpu)
{
    load("links: [{name: a, subscriber: net_null0, network: net_null1}]\n"
         "workers: {cpus: [0, 0]}\nmemory: {hugepages: off}\n");
    struct dp_eal_options options;
    uint32_t cpus[DP_WORKERS_MAX];
    dp_eal_options_config(&options, &config, cpus);
    options.telemetry = false;
    cr_expect_eq(options.device_count, 2);
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), 0, "%s", error);
    rte_cpuset_t set = rte_lcore_cpuset(2);
    cr_expect_eq(CPU_COUNT(&set), 1);
    cr_expect(CPU_ISSET(0, &set));
    dp_eal_stop();
}

Test(ports, absent_cpu_is_refused_by_its_key)
{
    struct dp_eal_options options;
    const uint32_t cpus[] = {0, 100000};
    dp_eal_options_init(&options, 2);
    options.main_cpu = 0;
    options.worker_cpus = cpus;
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), -EINVAL);
    cr_expect_eq(strncmp(error, "workers.cpus: this machine has no CPU 100000; its CPUs are 0 to ", 64), 0, "%s",
                 error);
}

Test(ports, refused_hugepages_say_how_to_reserve_them)
{
    struct dp_eal_options options;
    dp_eal_options_init(&options, 1);
    options.hugepages = DP_HUGEPAGES_ON;
    options.megabytes = 1u << 30;
    cr_assert_eq(dp_eal_start(&options, error, sizeof error), -ENOMEM);
    cr_expect(strstr(error, "echo 536870912 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"), "%s", error);
}

Test(ports, ring_gives_back_what_is_sent)
{
    load("links: [{name: a, subscriber: net_ring0, network: net_null0, mode: receive-only}]\n");
    start_eal(1);
    cr_assert_eq(dp_ports_find(&config, 1, &ports, error, sizeof error), 0, "%s", error);
    cr_assert_eq(ports.count, 2);
    struct dp_port *ring = dp_ports_at(&ports, 0, DP_SUBSCRIBER), *null = dp_ports_at(&ports, 0, DP_NETWORK);
    cr_expect_str_eq(ring->name, "net_ring0");
    cr_expect_str_eq(ring->driver_name, "net_ring");
    cr_expect_eq(ring->spread, DP_SPREAD_SINGLE);
    cr_expect_eq(ring->rx_queues, 1);
    cr_expect_eq(ring->sends, false);
    cr_expect_eq(null->side, DP_NETWORK);
    cr_expect_eq(ports.by_id[null->port_id], 1);
    struct rte_mempool *pool = make_pool();
    uint8_t owners[FT_SHARDS];
    dp_ports_owners(&ports, owners);
    cr_assert_eq(dp_ports_setup(&ports, pool, error, sizeof error), 0, "%s", error);
    cr_assert_eq(dp_ports_start(&ports, owners, error, sizeof error), 0, "%s", error);
    struct rte_mbuf *sent = rte_pktmbuf_alloc(pool), *received[4];
    rte_pktmbuf_append(sent, 60);
    cr_assert_eq(rte_eth_tx_burst(ring->port_id, 0, &sent, 1), 1);
    cr_assert_eq(rte_eth_rx_burst(ring->port_id, 0, received, 4), 1);
    cr_expect_eq(received[0], sent);
    cr_expect_eq(rte_eth_rx_burst(null->port_id, 0, received, 4), 4);
    struct dp_port_counters counters;
    dp_port_counters(ring, &counters);
    cr_expect_eq(counters.sent_packets, 1);
    cr_expect_eq(counters.received_packets, 1);
    struct dp_link_state state;
    dp_port_link_state(ring, &state);
    cr_expect_eq(state.known, false);
    dp_ports_close(&ports);
    dp_eal_stop();
}

Test(ports, rss_port_has_a_queue_a_worker_and_our_reta)
{
    load("links: [{name: a, subscriber: net_null0, network: net_ring0}]\n");
    start_eal(3);
    cr_assert_eq(dp_ports_find(&config, 3, &ports, error, sizeof error), 0, "%s", error);
    struct dp_port *rss = dp_ports_at(&ports, 0, DP_SUBSCRIBER), *ring = dp_ports_at(&ports, 0, DP_NETWORK);
    cr_expect_eq(rss->spread, DP_SPREAD_RSS);
    cr_expect_eq(rss->rx_queues, 3);
    cr_expect_eq(rss->tx_queues, 3);
    cr_expect_eq(ring->spread, DP_SPREAD_SOFTWARE);
    cr_expect_eq(ring->rx_queues, 1);
    cr_expect_eq(ring->tx_queues, 1);
    cr_assert_gt(rss->reta_entries, 0);
    uint8_t owners[FT_SHARDS];
    dp_ports_owners(&ports, owners);
    for (unsigned shard = 0; shard < FT_SHARDS; shard++)
        cr_assert_eq(owners[shard], shard % rss->reta_entries % 3);
    cr_assert_eq(dp_ports_setup(&ports, make_pool(), error, sizeof error), 0, "%s", error);
    cr_assert_eq(dp_ports_start(&ports, owners, error, sizeof error), 0, "%s", error);
    uint8_t key[64] = {0};
    struct rte_eth_rss_conf conf = {.rss_key = key, .rss_key_len = sizeof key};
    cr_assert_eq(rte_eth_dev_rss_hash_conf_get(rss->port_id, &conf), 0);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(key[i], i % 2 ? 0x5a : 0x6d);
    memset(owners, 2, sizeof owners);
    cr_assert_eq(dp_ports_set_owners(&ports, owners, error, sizeof error), 0, "%s", error);
    struct rte_eth_rss_reta_entry64 reta[8];
    memset(reta, 0, sizeof reta);
    for (unsigned i = 0; i < 8; i++)
        reta[i].mask = UINT64_MAX;
    cr_assert_eq(rte_eth_dev_rss_reta_query(rss->port_id, reta, rss->reta_entries), 0);
    for (unsigned i = 0; i < rss->reta_entries; i++)
        cr_assert_eq(reta[i / 64].reta[i % 64], 2, "entry %u", i);
    dp_ports_close(&ports);
    dp_eal_stop();
}

Test(ports, missing_interface_names_file_line_and_reason)
{
    load("links:\n  - name: a\n    subscriber: net_null0\n    network: net_af_packet0,iface=no_such_if\n");
    start_eal(1);
    cr_assert_lt(dp_ports_find(&config, 1, &ports, error, sizeof error), 0);
    cr_expect_eq(strncmp(error, "f.yaml:4: link a, network net_af_packet0,iface=no_such_if: cannot be opened: ", 77), 0,
                 "%s", error);
    dp_eal_stop();
}

Test(ports, unbound_pci_port_is_named)
{
    load("links:\n  - name: a\n    subscriber: 0000:ff:1f.7\n    network: net_null0\n");
    start_eal(1);
    cr_assert_eq(dp_ports_find(&config, 1, &ports, error, sizeof error), -ENODEV);
    cr_expect(strstr(error, "f.yaml:3: link a, subscriber 0000:ff:1f.7: no port: is it bound"), "%s", error);
    dp_eal_stop();
}

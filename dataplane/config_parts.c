/* What other rooms are created from. By itself, so that a program that only reads the file needs none of these rooms. */
#include <string.h>

#include "dataplane/config.h"

void dp_config_flow_table(const struct dp_config *config, struct ft_config *ret_config)
{
    ft_config_init(ret_config);
    ret_config->capacity_flows = config->flow_table.capacity_flows;
    ret_config->unanswered_share_pct = config->flow_table.unanswered_share_pct;
    ret_config->hugepages = config->memory.hugepages != DP_HUGEPAGES_OFF;
    for (unsigned i = 0; i < FT_TIMEOUT_COUNT; i++)
        ret_config->timeout_ns[i] = config->flow_table.timeouts_s[i] * 1000000000ull;
}

dp_tunnel_policy dp_config_tunnels(const struct dp_config *config)
{
    unsigned policy = 0;
    for (unsigned i = 0; i < DP_TUNNEL_COUNT; i++)
        policy |= config->tunnels[i] == DP_TUNNEL_INNER ? 1u << i : 0u;
    return (dp_tunnel_policy)policy;
}

void dp_config_classification(const struct dp_config *config, struct cl_options *ret_options)
{
    cl_options_init(ret_options);
    ret_options->pack_path = config->classification.pack[0] ? config->classification.pack : NULL;
    ret_options->ja4 = config->classification.ja4;
    ret_options->inspectors_off = !config->classification.inspectors;
    ret_options->payload_packets_max = config->classification.payload_packets_max;
    ret_options->payload_bytes_max = config->classification.payload_bytes_max;
}

void dp_config_rdr(const struct dp_config *config, struct rdr_formatter_config *ret_config)
{
    rdr_formatter_config_init(ret_config);
    ret_config->forwarding_mode = config->rdr.forwarding_mode;
    ret_config->destination_count = config->rdr.destination_count;
    memcpy(ret_config->destinations, config->rdr.destinations, sizeof ret_config->destinations);
    for (unsigned i = 0; i < RDR_CATEGORIES; i++)
        ret_config->queue_bytes[i] = config->rdr.queue_kib[i] * 1024u;
}

/*
 * What is known of DPDK drivers and cannot be asked of them, and the check of a device as an operator writes it. Knows nothing of a
 * running DPDK. Any thread, no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Who knows whether the cable is up. */
enum dp_link_source {
    DP_LINK_SOURCE_DRIVER, /* the driver's link status */
    DP_LINK_SOURCE_KERNEL, /* the kernel interface below: the driver's own answer is a constant */
    DP_LINK_SOURCE_NONE,   /* no cable: rings, files */
};
const char *dp_link_source_name(enum dp_link_source source);

struct dp_driver {
    const char *name;               /* "net_af_packet": a virtual device's name begins with it; "" for physical NICs */
    const char *interface_argument; /* argument that names a kernel interface, or NULL */
    const char *required;           /* arguments of which one must be there, separated by "|", or NULL */
    const char *example;
    enum dp_link_source link_source;
    bool fixed_queues;    /* rx queues exist whether configured or not: all are polled */
    bool many_tx_queues;  /* a tx queue a worker, though there is one rx queue */
    bool rss_is_not_ours; /* claims RSS, but does not spread by it */
    const char *remark;   /* what an operator must know, or "" */
};

/* Virtual devices; ends with .name = NULL. */
extern const struct dp_driver dp_drivers[];

/* By a device ("net_af_packet0,iface=p0", "0000:03:00.0"); NULL when it is neither. */
const struct dp_driver *dp_driver_of_device(const char *device);

/* "0000:03:00.0", or without the domain. */
bool dp_device_is_pci(const char *device);

/* False when it is no device that `sce run` takes; `reason` says what was expected. */
bool dp_device_check(const char *device, char *reason, size_t reason_size);

/* Copies the value of one argument ("iface") of a device; false when it has none. */
bool dp_device_argument(const char *device, const char *argument, char *ret_value, size_t size);

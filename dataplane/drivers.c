#include "dataplane/drivers.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/yaml.h"

const struct dp_driver dp_drivers[] = {
    {.name = "net_af_packet",
     .interface_argument = "iface",
     .required = "iface",
     .example = "net_af_packet0,iface=eth1,framecnt=4096",
     .link_source = DP_LINK_SOURCE_KERNEL,
     .fixed_queues = true,
     .remark =
         "give framecnt=4096: a smaller ring loses packets and does not count them; IPv4 fragments arrive put "
         "together by the kernel or not at all, and an outer tag 0x88a8 becomes 0x8100: net_af_xdp has neither fault"},
    {.name = "net_af_xdp",
     .interface_argument = "iface",
     .required = "iface",
     .example = "net_af_xdp0,iface=eth1",
     .link_source = DP_LINK_SOURCE_KERNEL,
     .fixed_queues = true,
     .remark = "needs root; the copy mode that veth has is no slower than net_af_packet"},
    {.name = "net_pcap",
     .interface_argument = "iface",
     .required = "iface|rx_iface|rx_iface_in|rx_pcap",
     .example = "net_pcap0,iface=eth1",
     .link_source = DP_LINK_SOURCE_KERNEL,
     .fixed_queues = true,
     .remark = "about 0.5 ms of delay each way"},
    {.name = "net_tap",
     .interface_argument = "iface",
     .example = "net_tap0,iface=sce0",
     .link_source = DP_LINK_SOURCE_DRIVER,
     .rss_is_not_ours = true,
     .remark = "one system call a packet: 0.1 Mpps"},
    {.name = "net_memif",
     .example = "net_memif0,role=client,socket=/run/memif.sock,id=0",
     .link_source = DP_LINK_SOURCE_DRIVER,
     .remark = "zero-copy=yes on the client is five times faster"},
    {.name = "net_null",
     .example = "net_null0,size=64",
     .link_source = DP_LINK_SOURCE_NONE,
     .many_tx_queues = true,
     .remark = "makes packets up without end, for benches"},
    {.name = "net_ring",
     .example = "net_ring0",
     .link_source = DP_LINK_SOURCE_NONE,
     .remark = "gives back what is sent to it, for tests"},
    {.name = NULL},
};

static const struct dp_driver physical = {
    .name = "",
    .example = "0000:03:00.0",
    .link_source = DP_LINK_SOURCE_DRIVER,
    .many_tx_queues = true,
    .remark = "",
};

static const char *const link_source_names[] = {"driver", "kernel", "none"};

const char *dp_link_source_name(enum dp_link_source source)
{
    return link_source_names[source];
}

/* `format`: 'x' a hex digit, 'o' 0 to 7, the rest itself. */
static bool fits(const char *text, const char *format)
{
    for (; *format && *text; format++, text++)
        if (*format == 'x' ? !isxdigit((unsigned char)*text)
                           : (*format == 'o' ? *text < '0' || *text > '7' : *text != *format))
            return false;
    return !*format && !*text;
}

bool dp_device_is_pci(const char *device)
{
    return fits(device, "xxxx:xx:xx.o") || fits(device, "xx:xx.o");
}

const struct dp_driver *dp_driver_of_device(const char *device)
{
    if (dp_device_is_pci(device))
        return &physical;
    for (const struct dp_driver *d = dp_drivers; d->name; d++) {
        size_t size_bytes = strlen(d->name);
        /* "net_pcap0", not "net_pcapng0" */
        if (!strncmp(device, d->name, size_bytes) && !isalpha((unsigned char)device[size_bytes]))
            return d;
    }
    return NULL;
}

bool dp_device_argument(const char *device, const char *argument, char *ret_value, size_t size)
{
    size_t name_bytes = strlen(argument);
    for (const char *p = strchr(device, ','); p; p = strchr(p, ',')) {
        p++;
        if (strncmp(p, argument, name_bytes) || p[name_bytes] != '=')
            continue;
        p += name_bytes + 1;
        snprintf(ret_value, size, "%.*s", (int)strcspn(p, ","), p);
        return true;
    }
    return false;
}

static bool has_required(const char *device, const char *required)
{
    char value[2];
    for (const char *p = required; p; p = strchr(p, '|')) {
        char argument[32];
        p += *p == '|';
        snprintf(argument, sizeof argument, "%.*s", (int)strcspn(p, "|"), p);
        if (dp_device_argument(device, argument, value, sizeof value) && value[0])
            return true;
    }
    return false;
}

static void explain_unknown(const char *device, char *reason, size_t reason_size)
{
    char word[48];
    size_t size_bytes = strcspn(device, ",");
    while (size_bytes && isdigit((unsigned char)device[size_bytes - 1]))
        size_bytes--;
    snprintf(word, sizeof word, "%.*s", (int)size_bytes, device);
    const char *near = yml_nearest(word, &dp_drivers->name, sizeof *dp_drivers);
    int n = snprintf(reason, reason_size, "expected a PCI address (0000:03:00.0) or a device of");
    for (const struct dp_driver *d = dp_drivers; d->name; d++)
        n += snprintf(reason + n, reason_size - (size_t)n, "%s %s", d == dp_drivers ? "" : ",", d->name);
    if (near)
        snprintf(reason + n, reason_size - (size_t)n, "; did you mean \"%s\"?", near);
}

bool dp_device_check(const char *device, char *reason, size_t reason_size)
{
    const struct dp_driver *driver = dp_driver_of_device(device);
    if (!driver) {
        explain_unknown(device, reason, reason_size);
        return false;
    }
    for (const char *p = strchr(device, ','); p; p = strchr(p, ',')) {
        p++;
        size_t size_bytes = strcspn(p, ",");
        if (!memchr(p, '=', size_bytes) || *p == '=' || strpbrk(p, " \t")) {
            snprintf(reason, reason_size, "expected arguments written NAME=VALUE without spaces, as in %s",
                     driver->example);
            return false;
        }
    }
    if (driver->required && !has_required(device, driver->required)) {
        snprintf(reason, reason_size, "expected an argument %s, as in %s", driver->required, driver->example);
        return false;
    }
    return true;
}

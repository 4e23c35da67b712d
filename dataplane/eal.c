/* Starting and stopping DPDK's environment. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <rte_debug.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/ports.h"

#define EAL_ARGUMENTS_MAX    96u
#define MEGABYTES_FALLBACK   64u
#define MBUF_BYTES           2816u /* data room, header, what the engine keeps beside it, padding of the pool */
#define MEGABYTES_OF_ENGINE  48u   /* rings, device tables */
#define MEGABYTES_PER_WORKER 8u
#define HUGEPAGE_FOLDER      "/sys/kernel/mm/hugepages"

/* ---- messages ---- */

static char first_error[256];

/* DPDK's log stream: a line at a time to ours, the first error kept: those that follow say less of the reason. */
static ssize_t log_write(void *context, const char *bytes, size_t size)
{
    (void)context;
    int level = rte_log_cur_msg_loglevel();
    size_t size_bytes = size;
    while (size_bytes && isspace((unsigned char)bytes[size_bytes - 1]))
        size_bytes--;
    if (!size_bytes)
        return (ssize_t)size;
    if (level <= (int)RTE_LOG_ERR && !first_error[0])
        snprintf(first_error, sizeof first_error, "%.*s", (int)size_bytes, bytes);
    log_line(level <= (int)RTE_LOG_ERR ? LOG_DEBUG : LOG_INFO, "dpdk", "%.*s", (int)size_bytes, bytes);
    return (ssize_t)size;
}

static void route_messages(void)
{
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = log_write});
    if (!stream)
        return;
    setvbuf(stream, NULL, _IOLBF, 0);
    rte_openlog_stream(stream);
}

const char *dp_eal_first_error(void)
{
    static char text[sizeof first_error];
    memcpy(text, first_error, sizeof text);
    first_error[0] = 0;
    return text;
}

/* ---- memory ---- */

static uint64_t read_number(const char *path)
{
    FILE *in = fopen(path, "re");
    unsigned long long value = 0;
    if (!in)
        return 0;
    if (fscanf(in, "%llu", &value) != 1)
        value = 0;
    fclose(in);
    return value;
}

static uint64_t free_hugepage_megabytes(void)
{
    DIR *folder = opendir(HUGEPAGE_FOLDER);
    uint64_t kilobytes = 0;
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        unsigned page_kb;
        char path[512];
        if (sscanf(entry->d_name, "hugepages-%ukB", &page_kb) != 1)
            continue;
        snprintf(path, sizeof path, HUGEPAGE_FOLDER "/%s/free_hugepages", entry->d_name);
        kilobytes += page_kb * read_number(path);
    }
    closedir(folder);
    return kilobytes / 1024;
}

/* 0 with *ret_hugepages set, or -ENOMEM with the reason. */
static int choose_pages(const struct dp_eal_options *options, uint32_t megabytes, bool *ret_hugepages, char *error,
                        size_t error_size)
{
    char command[128];
    uint64_t free_megabytes = options->hugepages == DP_HUGEPAGES_OFF ? 0 : free_hugepage_megabytes();
    *ret_hugepages = options->hugepages != DP_HUGEPAGES_OFF && free_megabytes >= megabytes;
    if (*ret_hugepages || options->hugepages == DP_HUGEPAGES_OFF)
        return 0;
    snprintf(command, sizeof command, "echo %u > " HUGEPAGE_FOLDER "/hugepages-2048kB/nr_hugepages",
             (megabytes + 1) / 2);
    if (options->hugepages == DP_HUGEPAGES_ON) {
        snprintf(error, error_size, "memory.hugepages is on, but of %u MB needed only %u MB are free; reserve them: %s",
                 megabytes, (unsigned)free_megabytes, command);
        return -ENOMEM;
    }
    log_line(LOG_WARNING, "memory", "no hugepages (%u MB needed, %u MB free): slower; to reserve them: %s", megabytes,
             (unsigned)free_megabytes, command);
    return 0;
}

/* ---- arguments ---- */

struct arguments {
    unsigned count;
    char *list[EAL_ARGUMENTS_MAX + 1];
};

/* Of this process; EAL keeps pointers to some of them until it is cleaned up. */
static struct arguments arguments;

__attribute__((format(printf, 2, 3))) static void add(struct arguments *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (a->count == EAL_ARGUMENTS_MAX || vasprintf(&a->list[a->count++], format, args) < 0)
        abort();
    va_end(args);
}

static void add_floating_lcores(struct arguments *a, unsigned workers)
{
    cpu_set_t allowed;
    char cpus[CPU_SETSIZE * 5] = "0";
    size_t used = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &allowed))
                used += (size_t)snprintf(cpus + used, sizeof cpus - used, "%s%u", used ? "," : "", cpu);
    add(a, "--lcores=(0-%u)@(%s)", workers, cpus);
}

static void add_lcores(struct arguments *a, const struct dp_eal_options *options)
{
    char text[DP_WORKERS_MAX * 12 + 32];
    if (!options->worker_cpus || options->main_cpu < 0) {
        add_floating_lcores(a, options->worker_count);
        return;
    }
    size_t used = (size_t)snprintf(text, sizeof text, "0@%d", options->main_cpu);
    for (unsigned i = 0; i < options->worker_count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, ",%u@%u", i + 1, options->worker_cpus[i]);
    add(a, "--lcores=%s", text);
}

static void build_arguments(struct arguments *a, const struct dp_eal_options *options, uint32_t megabytes,
                            bool has_hugepages)
{
    bool has_pci = false;
    add(a, "sce");
    add_lcores(a, options);
    add(a, "-m");
    add(a, "%u", megabytes);
    /* --no-huge --in-memory is refused by DPDK 22.11; --no-shconf keeps such a process private as well */
    if (has_hugepages) {
        add(a, "--in-memory");
    } else {
        add(a, "--no-huge");
        add(a, "--no-shconf");
    }
    for (unsigned i = 0; i < options->device_count; i++)
        if (dp_device_is_pci(options->devices[i])) {
            has_pci = true;
            add(a, "--allow=%s", options->devices[i]);
        }
    if (!has_pci)
        add(a, "--no-pci");
    if (!options->telemetry)
        add(a, "--no-telemetry");
    add(a, "--log-level=error");
}

/* ---- start and stop ---- */

void dp_eal_options_init(struct dp_eal_options *options, unsigned workers)
{
    *options = (struct dp_eal_options){.worker_count = workers, .main_cpu = -1, .hugepages = DP_HUGEPAGES_OFF};
}

static uint32_t config_megabytes(const struct dp_config *config)
{
    if (config->memory.megabytes)
        return config->memory.megabytes;
    uint64_t bytes = (uint64_t)dp_config_mbufs(config) * MBUF_BYTES;
    return (uint32_t)(bytes >> 20) + 1 + MEGABYTES_OF_ENGINE + MEGABYTES_PER_WORKER * config->workers.count;
}

void dp_eal_options_config(struct dp_eal_options *options, const struct dp_config *config, uint32_t cpus[])
{
    dp_config_worker_cpus(config, cpus);
    *options = (struct dp_eal_options){.worker_count = config->workers.count,
                                       .worker_cpus = cpus,
                                       .main_cpu = (int)config->main_cpu,
                                       .hugepages = config->memory.hugepages,
                                       .megabytes = config_megabytes(config),
                                       .telemetry = true};
    for (unsigned i = 0; i < config->link_count; i++)
        for (unsigned side = 0; side < DP_SIDES; side++)
            options->devices[options->device_count++] = config->links[i].device[side];
}

static bool cpu_exists(uint32_t cpu)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology", cpu);
    return access(path, F_OK) == 0;
}

/* EAL would print its own usage at an operator who names a CPU that is not there. */
static int check_cpus(const struct dp_eal_options *options, char *error, size_t error_size)
{
    const char *key = "main_cpu";
    uint32_t cpu = (uint32_t)options->main_cpu;
    bool ok = options->main_cpu < 0 || cpu_exists(cpu);
    for (unsigned i = 0; ok && options->worker_cpus && i < options->worker_count; i++) {
        key = "workers.cpus";
        cpu = options->worker_cpus[i];
        ok = cpu_exists(cpu);
    }
    if (!ok)
        snprintf(error, error_size, "%s: this machine has no CPU %u; its CPUs are 0 to %ld", key, cpu,
                 sysconf(_SC_NPROCESSORS_CONF) - 1);
    return ok ? 0 : -EINVAL;
}

int dp_eal_start(const struct dp_eal_options *options, char *error, size_t error_size)
{
    char *list[EAL_ARGUMENTS_MAX + 1];
    bool has_hugepages;
    uint32_t megabytes = options->megabytes ? options->megabytes : MEGABYTES_FALLBACK;
    int result = check_cpus(options, error, error_size);
    if (result == 0)
        result = choose_pages(options, megabytes, &has_hugepages, error, error_size);
    if (result < 0)
        return result;
    build_arguments(&arguments, options, megabytes, has_hugepages);
    /* EAL permutes the array it is given */
    memcpy(list, arguments.list, sizeof list);
    route_messages();
    if (rte_eal_init((int)arguments.count, list) < 0) {
        int reason = rte_errno ? rte_errno : EIO;
        snprintf(error, error_size, "DPDK does not start: %s (%s)", dp_eal_first_error(), strerror(reason));
        return -reason;
    }
    return 0;
}

void dp_eal_stop(void)
{
    rte_eal_cleanup();
    for (unsigned i = 0; i < arguments.count; i++)
        free(arguments.list[i]);
    arguments = (struct arguments){0};
}

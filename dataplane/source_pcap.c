#include "dataplane/source_pcap.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <rte_cycles.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STDIO_BUFFER_BYTES (256u * 1024)

struct dp_source_pcap {
    pcap_t *pcap;
    FILE *file; /* pcap's, which closes it */
    char *stdio_buffer;
    char *name; /* of the file in messages */
    enum dp_link_type link_type;
    uint64_t packets;
    uint64_t size_bytes; /* 0: not a regular file */
    off_t record_offset; /* of the next packet's record; -1 in a pipe */
    /* A packet that was read while the pool was empty; points into libpcap's buffer. */
    struct pcap_pkthdr *waiting_header;
    const uint8_t *waiting_bytes;
    int end; /* 0 while there is more, then what read returns for good: 1 the end, -EIO damage */
    char error[DP_SOURCE_PCAP_ERROR_BYTES];
};

static const struct {
    int dlt;
    enum dp_link_type link_type;
} link_types[] = {
    {DLT_EN10MB, DP_LINK_ETHERNET}, {DLT_RAW, DP_LINK_RAW_IP}, /* 12 here, 14 where the BSDs made it so, 101 in files */
    {14, DP_LINK_RAW_IP},           {101, DP_LINK_RAW_IP},        {DLT_IPV4, DP_LINK_RAW_IP},
    {DLT_IPV6, DP_LINK_RAW_IP},     {DLT_LINUX_SLL, DP_LINK_SLL}, {DLT_LINUX_SLL2, DP_LINK_SLL2},
    {DLT_NULL, DP_LINK_NULL},       {DLT_LOOP, DP_LINK_LOOP},     {DLT_PPP, DP_LINK_PPP},
    {DLT_PPP_SERIAL, DP_LINK_PPP},  {DLT_C_HDLC, DP_LINK_CHDLC},
};
#define SUPPORTED_LINK_TYPES "Ethernet, raw IP, Linux cooked v1 and v2, BSD null and loop, PPP, Cisco HDLC"

static const char *display_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

static bool find_link_type(int dlt, enum dp_link_type *ret_link_type)
{
    for (size_t i = 0; i < RTE_DIM(link_types); i++) {
        if (link_types[i].dlt == dlt) {
            *ret_link_type = link_types[i].link_type;
            return true;
        }
    }
    return false;
}

static void say_link_type(const char *path, int dlt, char ret_error[DP_SOURCE_PCAP_ERROR_BYTES])
{
    const char *name = pcap_datalink_val_to_name(dlt);
    snprintf(ret_error, DP_SOURCE_PCAP_ERROR_BYTES,
             "%s: link type %s (%d) is not supported; supported: " SUPPORTED_LINK_TYPES, display_name(path),
             name ? name : "unknown to libpcap", dlt);
}

/* Takes over `file`, closes it on failure. */
static pcap_t *open_pcap(FILE *file, const char *path, char ret_error[DP_SOURCE_PCAP_ERROR_BYTES])
{
    char why[PCAP_ERRBUF_SIZE] = "";
    pcap_t *pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, why);
    if (pcap)
        return pcap;
    off_t offset = ftello(file);
    if (offset >= 0)
        snprintf(ret_error, DP_SOURCE_PCAP_ERROR_BYTES, "%s: file header, at byte %lld: %s", display_name(path),
                 (long long)offset, why);
    else
        snprintf(ret_error, DP_SOURCE_PCAP_ERROR_BYTES, "%s: file header: %s", display_name(path), why);
    if (file != stdin)
        fclose(file);
    return NULL;
}

/* NULL with a message when the path cannot be opened or is a folder. */
static FILE *open_file(const char *path, struct stat *ret_status, char ret_error[DP_SOURCE_PCAP_ERROR_BYTES])
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    int error = !file || fstat(fileno(file), ret_status) != 0 ? errno : S_ISDIR(ret_status->st_mode) ? EISDIR : 0;
    if (!error)
        return file;
    snprintf(ret_error, DP_SOURCE_PCAP_ERROR_BYTES, "%s: %s", display_name(path), strerror(error));
    if (file && file != stdin)
        fclose(file);
    return NULL;
}

static struct dp_source_pcap *make_source(const char *name)
{
    struct dp_source_pcap *source = calloc(1, sizeof *source);
    if (!source)
        return NULL;
    source->name = strdup(name);
    source->stdio_buffer = malloc(STDIO_BUFFER_BYTES);
    if (source->name && source->stdio_buffer)
        return source;
    dp_source_pcap_close(source);
    return NULL;
}

struct dp_source_pcap *dp_source_pcap_open(const char *path, char ret_error[DP_SOURCE_PCAP_ERROR_BYTES])
{
    struct dp_source_pcap *source = make_source(display_name(path));
    if (!source) {
        snprintf(ret_error, DP_SOURCE_PCAP_ERROR_BYTES, "%s: %s", display_name(path), strerror(ENOMEM));
        return NULL;
    }
    struct stat status;
    source->file = open_file(path, &status, ret_error);
    if (!source->file)
        goto fail;
    if (source->file != stdin)
        setvbuf(source->file, source->stdio_buffer, _IOFBF, STDIO_BUFFER_BYTES);
    /* After a seek stdio keeps the position by itself; without one each ftello() is a system call. */
    (void)!fseeko(source->file, 0, SEEK_CUR);
    source->size_bytes = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    source->pcap = open_pcap(source->file, path, ret_error);
    if (!source->pcap)
        goto fail;
    if (!find_link_type(pcap_datalink(source->pcap), &source->link_type)) {
        say_link_type(path, pcap_datalink(source->pcap), ret_error);
        goto fail;
    }
    source->record_offset = ftello(source->file);
    return source;
fail:
    dp_source_pcap_close(source);
    return NULL;
}

void dp_source_pcap_close(struct dp_source_pcap *source)
{
    if (!source)
        return;
    if (source->pcap)
        pcap_close(source->pcap);
    free(source->stdio_buffer);
    free(source->name);
    free(source);
}

enum dp_link_type dp_source_pcap_link_type(const struct dp_source_pcap *source)
{
    return source->link_type;
}

const char *dp_source_pcap_error(const struct dp_source_pcap *source)
{
    return source->error;
}

void dp_source_pcap_progress(const struct dp_source_pcap *source, uint64_t *ret_read_bytes, uint64_t *ret_size_bytes)
{
    *ret_read_bytes = source->record_offset > 0 ? (uint64_t)source->record_offset : 0;
    *ret_size_bytes = source->size_bytes;
}

/* A copy of the frame in as many segments as it takes; NULL when the pool runs out. */
static struct rte_mbuf *copy_frame(struct rte_mempool *pool, const uint8_t *bytes, uint32_t size)
{
    struct rte_mbuf *head = NULL, *last = NULL;
    uint32_t copied = 0;
    do {
        struct rte_mbuf *segment = rte_pktmbuf_alloc(pool);
        if (!segment) {
            rte_pktmbuf_free(head);
            return NULL;
        }
        uint32_t room = rte_pktmbuf_tailroom(segment), part = RTE_MIN(size - copied, room);
        memcpy(rte_pktmbuf_mtod(segment, void *), bytes + copied, part);
        segment->data_len = (uint16_t)part;
        copied += part;
        if (head) {
            head->nb_segs++;
            last->next = segment;
        } else {
            head = segment;
        }
        last = segment;
    } while (copied < size);
    head->pkt_len = size;
    return head;
}

/* Seconds before 1970 are what libpcap makes of those after 2038 in a pcap file, where they are unsigned 32 bits. */
static uint64_t time_ns_of(const struct timeval *stamp)
{
    uint64_t seconds = stamp->tv_sec < 0 ? (uint32_t)stamp->tv_sec : (uint64_t)stamp->tv_sec;
    uint64_t ns = stamp->tv_usec < 0 ? 0 : (uint64_t)stamp->tv_usec;
    return RTE_MIN(seconds, UINT64_MAX / NS_PER_S - NS_PER_S) * NS_PER_S + RTE_MIN(ns, UINT32_MAX);
}

static void say_damage(struct dp_source_pcap *source)
{
    char at_byte[48] = "";
    if (source->record_offset >= 0)
        snprintf(at_byte, sizeof at_byte, " at byte %lld", (long long)source->record_offset);
    snprintf(source->error, sizeof source->error, "%s: packet %llu%s: %s", source->name,
             (unsigned long long)source->packets + 1, at_byte, pcap_geterr(source->pcap));
    source->end = -EIO;
}

/* Makes a packet wait to be copied; false at the end or at damage. */
static bool next_record(struct dp_source_pcap *source)
{
    if (source->waiting_header)
        return true;
    if (source->end)
        return false;
    int found = pcap_next_ex(source->pcap, &source->waiting_header, &source->waiting_bytes);
    if (found == 1)
        return true;
    source->waiting_header = NULL;
    if (found == PCAP_ERROR_BREAK)
        source->end = 1;
    else
        say_damage(source);
    return false;
}

int dp_source_pcap_read(struct dp_source_pcap *source, struct rte_mempool *pool, struct rte_mbuf **ret_mbufs,
                        uint64_t *ret_time_ns, uint32_t length)
{
    uint32_t count = 0;
    while (count < length && next_record(source)) {
        struct rte_mbuf *mbuf = copy_frame(pool, source->waiting_bytes, source->waiting_header->caplen);
        if (!mbuf)
            return count ? (int)count : -ENOBUFS;
        ret_mbufs[count] = mbuf;
        ret_time_ns[count] = time_ns_of(&source->waiting_header->ts);
        count++;
        source->waiting_header = NULL;
        source->packets++;
        source->record_offset = ftello(source->file);
    }
    if (count)
        return (int)count;
    return source->end < 0 ? source->end : 0;
}

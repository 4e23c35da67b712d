#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bench/dpi.h"
#include "dataplane/source_pcap.h"

#define PATH_BYTES      4096u
#define FRAME_BYTES_MAX 60000u
#define READ_PACKETS    32u
#define KEYS_MAX        (UINT64_C(1) << 20)
#define LIFE_BYTES_MAX  2048u /* of a frame that is copied into an mbuf */
#define STEP            1024u /* flows between two packets of one */
#define FIRST_PACKETS   7u    /* of a repeated flow, and those that end it */
#define TEMPLATES_MAX   (FIRST_PACKETS * 2)
#define PACKET_NS       300u

#define TCP_ENDS 0x05 /* FIN, RST */

struct loader {
    struct bench_dpi_stream *stream;
    struct rte_mempool *pool;
    struct ft *keys; /* uid: the capture whose flow it is */
    uint64_t file;
};

static struct bench_dpi_frame *add_frame(struct bench_dpi_stream *stream)
{
    if (stream->length == stream->capacity) {
        stream->capacity = stream->capacity ? stream->capacity * 2 : 4096;
        stream->frames = realloc(stream->frames, stream->capacity * sizeof *stream->frames);
        if (!stream->frames)
            bench_fail("no memory for captures");
    }
    return &stream->frames[stream->length++];
}

/* Whether the packet's flow is this capture's: what two captures have would be one flow in the merged stream. */
static bool is_own(struct loader *loader, const struct dp_view *view)
{
    if (view->result != DP_PARSE_ok || !loader->keys)
        return true;
    uint64_t hash = ft_hash(loader->keys, &view->key);
    ft_slot slot;
    ft_lookup_bulk(loader->keys, &view->key, &hash, 1, &slot);
    if (slot == FT_SLOT_NONE && ft_insert(loader->keys, &view->key, hash, loader->file, 0, &slot))
        return false;
    return ft_cold(loader->keys, slot)->uid == loader->file;
}

static void take_packet(struct loader *loader, const struct rte_mbuf *mbuf, enum dp_link_type link_type, uint64_t at_ns)
{
    struct bench_dpi_stream *stream = loader->stream;
    struct dp_view view;
    dp_parse(mbuf, link_type, &view);
    if (mbuf->pkt_len > FRAME_BYTES_MAX || !is_own(loader, &view)) {
        stream->skipped_packets++;
        return;
    }
    uint8_t *bytes = malloc(mbuf->pkt_len + 1);
    if (!bytes)
        bench_fail("no memory for captures");
    const void *from = rte_pktmbuf_read(mbuf, 0, mbuf->pkt_len, bytes);
    if (from != bytes)
        memcpy(bytes, from, mbuf->pkt_len);
    struct bench_dpi_frame *frame = add_frame(stream);
    *frame = (struct bench_dpi_frame){.bytes = bytes,
                                      .at_ns = at_ns,
                                      .size_bytes = mbuf->pkt_len,
                                      .order = (uint32_t)stream->length,
                                      .link_type = (uint8_t)link_type};
    if (at_ns > stream->span_ns)
        stream->span_ns = at_ns;
    stream->payload_packets += view.result == DP_PARSE_ok && view.payload_bytes;
}

/* A damaged capture gives what stands before the damage; what is no capture gives nothing. */
static void load_file(struct loader *loader, const char *path)
{
    char error[DP_SOURCE_PCAP_ERROR_BYTES];
    struct dp_source_pcap *source = dp_source_pcap_open(path, error);
    if (!source)
        return;
    struct rte_mbuf *mbufs[READ_PACKETS];
    uint64_t times_ns[READ_PACKETS], first_ns = UINT64_MAX;
    int count;
    loader->file++;
    while ((count = dp_source_pcap_read(source, loader->pool, mbufs, times_ns, READ_PACKETS)) > 0)
        for (int i = 0; i < count; i++) {
            if (first_ns == UINT64_MAX)
                first_ns = times_ns[i];
            take_packet(loader, mbufs[i], dp_source_pcap_link_type(source),
                        times_ns[i] > first_ns ? times_ns[i] - first_ns : 0);
            rte_pktmbuf_free(mbufs[i]);
        }
    dp_source_pcap_close(source);
}

static bool is_capture(const char *name)
{
    const char *end = strrchr(name, '.');
    return end && (!strcmp(end, ".pcap") || !strcmp(end, ".pcapng") || !strcmp(end, ".cap"));
}

static void load_folder(struct loader *loader, const char *folder, unsigned depth)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES];
        struct stat status;
        int size = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && size > 0 && (unsigned)size < sizeof path && !stat(path, &status)) {
            if (S_ISDIR(status.st_mode) && depth)
                load_folder(loader, path, depth - 1);
            else if (is_capture(path))
                load_file(loader, path);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static int by_time(const void *a, const void *b)
{
    const struct bench_dpi_frame *x = a, *y = b;
    return x->at_ns != y->at_ns ? (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns)
                                : (x->order > y->order) - (x->order < y->order);
}

bool bench_dpi_load(struct bench_dpi_stream *stream, const char *folder, struct rte_mempool *pool)
{
    char error[256];
    struct ft_config config;
    ft_config_init(&config);
    config.capacity_flows = KEYS_MAX;
    config.unanswered_share_pct = 100;
    *stream = (struct bench_dpi_stream){0};
    struct loader loader = {.stream = stream, .pool = pool, .keys = ft_create(&config, error, sizeof error)};
    if (!loader.keys)
        bench_fail("%s", error);
    load_folder(&loader, folder, 3);
    ft_destroy(loader.keys);
    if (stream->length)
        qsort(stream->frames, stream->length, sizeof *stream->frames, by_time);
    return stream->length != 0;
}

/* ---- one flow from many clients ---- */

static void view_of(const struct bench_dpi_frame *frame, struct dp_view *ret_view)
{
    struct rte_mbuf mbuf = {
        .buf_addr = frame->bytes, .data_len = (uint16_t)frame->size_bytes, .pkt_len = frame->size_bytes, .nb_segs = 1};
    dp_parse(&mbuf, frame->link_type, ret_view);
}

/* Takes the flow's frames out of the capture. */
static void find_flow(struct bench_dpi_stream *capture, uint8_t ip_proto, uint16_t server_port,
                      struct bench_dpi_stream *ret)
{
    struct ft_key key;
    uint8_t client_swap = 0;
    ret->templates = calloc(TEMPLATES_MAX, sizeof *ret->templates);
    if (!ret->templates)
        bench_fail("no memory for captures");
    for (size_t i = 0; i < capture->length; i++) {
        struct bench_dpi_frame *frame = &capture->frames[i];
        struct dp_view view;
        view_of(frame, &view);
        if (view.result != DP_PARSE_ok || view.key.is_v6 || view.key.ip_proto != ip_proto)
            continue;
        if (!ret->template_count) {
            if (view.key.port_be16[!view.swap] != rte_cpu_to_be_16(server_port))
                continue;
            key = view.key;
            client_swap = view.swap;
        }
        if (memcmp(&key, &view.key, sizeof key) != 0 || ret->template_count == TEMPLATES_MAX ||
            frame->size_bytes > LIFE_BYTES_MAX ||
            (ret->template_count >= FIRST_PACKETS && !(view.tcp_flags & TCP_ENDS)))
            continue;
        frame->client_at = (uint16_t)(view.ip_offset + (view.swap == client_swap ? 12 : 16));
        ret->templates[ret->template_count++] = *frame;
        frame->bytes = NULL;
    }
}

bool bench_dpi_repeat(struct bench_dpi_stream *stream, const char *path, uint8_t ip_proto, uint16_t server_port,
                      uint32_t flows, struct rte_mempool *pool)
{
    struct bench_dpi_stream capture = {0};
    struct loader loader = {.stream = &capture, .pool = pool};
    *stream = (struct bench_dpi_stream){0};
    load_file(&loader, path);
    find_flow(&capture, ip_proto, server_port, stream);
    bench_dpi_free(&capture);
    for (uint32_t step = 0; step < flows + stream->template_count * STEP; step++)
        for (unsigned packet = 0; packet < stream->template_count; packet++) {
            uint32_t flow = step - packet * STEP;
            if (step < packet * STEP || flow >= flows)
                continue;
            struct bench_dpi_frame *frame = add_frame(stream);
            *frame = stream->templates[packet];
            frame->at_ns = stream->length * PACKET_NS;
            frame->client_be = rte_cpu_to_be_32(UINT32_C(0x0b000000) + (flow * UINT32_C(2654435761) >> 8));
        }
    stream->span_ns = stream->length * PACKET_NS;
    return stream->template_count != 0;
}

void bench_dpi_free(struct bench_dpi_stream *stream)
{
    for (size_t i = 0; i < stream->length && !stream->templates; i++)
        free(stream->frames[i].bytes);
    for (unsigned i = 0; i < stream->template_count; i++)
        free(stream->templates[i].bytes);
    free(stream->templates);
    free(stream->frames);
    *stream = (struct bench_dpi_stream){0};
}

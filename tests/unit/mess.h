/*
 * Flows of captures as scripts of TCP segments, to be sent again in worse order than they came.
 *
 * A script keeps the first segments of a flow that begins with a SYN, with their own ports, numbers and bytes; addresses are the
 * lab's. Segments are cut at MESS_SEGMENT_BYTES. Transformations (mess_transform.h) make one script of another.
 */
#pragma once

#include <dirent.h>

#include "dataplane/source_pcap.h"
#include "tests/unit/engine_util.h"

#define MESS_SEGMENTS_MAX  4096u
#define MESS_ORIGINAL_MAX  40u /* segments kept of a flow of a capture */
#define MESS_FLOWS_MAX     600u
#define MESS_SEGMENT_BYTES 1400u
#define MESS_FRAME_BYTES   65536u

struct mess_segment {
    const uint8_t *bytes;
    uint32_t seq, ack, size;
    uint8_t flags, from_server;
};

struct mess_script {
    char file[64];
    unsigned flow; /* number within the capture */
    struct ft_key key;
    uint8_t client_swap;
    uint16_t client_port, server_port;
    unsigned count;
    struct mess_segment segments[MESS_ORIGINAL_MAX];
};

struct mess_book {
    unsigned count;
    struct mess_script *scripts;
};

static inline const uint8_t *mess_copy(const uint8_t *bytes, uint32_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    return copy;
}

static inline void mess_note_segment(struct mess_script *script, const struct dp_view *view, const uint8_t *payload)
{
    uint8_t from_server = view->swap != script->client_swap;
    uint32_t at = 0;
    do {
        if (script->count == MESS_ORIGINAL_MAX)
            return;
        uint32_t size = RTE_MIN(view->payload_bytes - at, MESS_SEGMENT_BYTES);
        script->segments[script->count++] = (struct mess_segment){.bytes = mess_copy(payload + at, size),
                                                                  .seq = view->tcp_seq + at,
                                                                  .ack = view->tcp_ack,
                                                                  .size = size,
                                                                  .flags = view->tcp_flags,
                                                                  .from_server = from_server};
        at += size;
    } while (at < view->payload_bytes);
}

static inline struct mess_script *mess_script_of(struct mess_book *book, unsigned first, const char *file,
                                                 const struct dp_view *view)
{
    for (unsigned i = book->count; i-- > first;)
        if (!memcmp(&book->scripts[i].key, &view->key, sizeof view->key))
            return &book->scripts[i];
    if ((view->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || book->count == MESS_FLOWS_MAX)
        return NULL;
    struct mess_script *script = &book->scripts[book->count++];
    memset(script, 0, sizeof *script);
    snprintf(script->file, sizeof script->file, "%.63s", file);
    script->flow = book->count - first;
    script->key = view->key;
    script->client_swap = view->swap;
    script->client_port = rte_be_to_cpu_16(view->key.port_be16[view->swap]);
    script->server_port = rte_be_to_cpu_16(view->key.port_be16[!view->swap]);
    return script;
}

/* Adds the first `flows_max` TCP flows of a capture. */
static inline void mess_read(struct mess_book *book, struct rte_mempool *pool, const char *file, unsigned flows_max)
{
    static uint8_t scratch[MESS_FRAME_BYTES];
    char path[512], error[DP_SOURCE_PCAP_ERROR_BYTES];
    snprintf(path, sizeof path, SOURCE_ROOT "/pcaps/%s", file);
    struct dp_source_pcap *source = dp_source_pcap_open(path, error);
    cr_assert(source, "%s", error);
    struct rte_mbuf *mbuf;
    uint64_t time_ns;
    unsigned first = book->count;
    while (dp_source_pcap_read(source, pool, &mbuf, &time_ns, 1) == 1) {
        struct dp_view view;
        dp_parse(mbuf, dp_source_pcap_link_type(source), &view);
        const uint8_t *payload = NULL;
        if (view.result == DP_PARSE_ok && view.key.ip_proto == 6 && !(view.flags & DP_VIEW_FRAGMENT) &&
            view.payload_bytes <= MESS_FRAME_BYTES)
            payload = dp_bytes(mbuf, view.payload_offset, view.payload_bytes, scratch);
        struct mess_script *script = payload ? mess_script_of(book, first, file, &view) : NULL;
        if (script && script->flow <= flows_max)
            mess_note_segment(script, &view, payload);
        rte_pktmbuf_free(mbuf);
    }
    dp_source_pcap_close(source);
    while (book->count > first + flows_max)
        book->count--;
}

static inline int mess_is_capture(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && (!strcmp(dot, ".pcap") || !strcmp(dot, ".pcapng"));
}

/* The first flows of every capture of the project. */
static inline void mess_read_all(struct mess_book *book, struct rte_mempool *pool, unsigned flows_max)
{
    struct dirent **entries;
    book->scripts = calloc(MESS_FLOWS_MAX, sizeof *book->scripts);
    int count = scandir(SOURCE_ROOT "/pcaps", &entries, mess_is_capture, alphasort);
    cr_assert_gt(count, 40);
    for (int i = 0; i < count; i++) {
        mess_read(book, pool, entries[i]->d_name, flows_max);
        free(entries[i]);
    }
    free(entries);
}

static inline void mess_book_free(struct mess_book *book)
{
    for (unsigned i = 0; i < MESS_FLOWS_MAX; i++)
        for (unsigned s = 0; s < book->scripts[i].count; s++)
            free((void *)(uintptr_t)book->scripts[i].segments[s].bytes);
    free(book->scripts);
}

/* ---- sending ---- */

/* A script to be sent: as many segments as a transformation makes. */
struct mess_play {
    const struct mess_script *script;
    unsigned count;
    struct mess_segment segments[MESS_SEGMENTS_MAX];
    uint32_t fragment_bytes; /* 0: whole; else each IP packet is cut into pieces of up to this, a multiple of 8 */
    unsigned fragment_order; /* 0: as cut, 1: backwards, 2: the first in the middle */
    bool is_v6;
};

static inline void mess_fragments(struct lab *lab, const struct lab_flow *flow, const struct mess_play *play,
                                  uint8_t from_server, const struct frame *tcp, uint32_t ip_bytes, uint16_t id)
{
    uint32_t begin = LAB_LINK_BYTES + ip_bytes, total = tcp->size - begin;
    unsigned pieces = (total + play->fragment_bytes - 1) / play->fragment_bytes;
    for (unsigned i = 0; i < pieces; i++) {
        unsigned turn = play->fragment_order == 1   ? pieces - 1 - i
                        : play->fragment_order == 2 ? (i + pieces / 2) % pieces
                                                    : i;
        uint32_t at = turn * play->fragment_bytes, size = RTE_MIN(total - at, play->fragment_bytes);
        bool more = turn + 1 < pieces;
        struct frame f = {.size = 0};
        if (flow->is_v6) {
            frame_ethernet(&f, 0x86dd);
            frame_ipv6(&f, 44, from_server ? flow->server : flow->client, from_server ? flow->client : flow->server);
            frame_ipv6_fragment(&f, 6, at, more, id);
        } else {
            f = lab_ip_frame(flow, from_server, 6);
            f.bytes[LAB_LINK_BYTES + 4] = (uint8_t)(id >> 8);
            f.bytes[LAB_LINK_BYTES + 5] = (uint8_t)id;
            f.bytes[LAB_LINK_BYTES + 6] = (uint8_t)((at / 8) >> 8 | (more ? 0x20 : 0));
            f.bytes[LAB_LINK_BYTES + 7] = (uint8_t)(at / 8);
        }
        frame_put(&f, tcp->bytes + begin + at, size);
        lab_add(lab, &f);
    }
}

static inline void mess_send(struct lab *lab, const struct lab_flow *flow, const struct mess_play *play,
                             const struct mess_segment *s, uint16_t id)
{
    struct frame f = lab_ip_frame(flow, s->from_server, 6);
    uint32_t ip_bytes = f.size - LAB_LINK_BYTES;
    frame_tcp(&f, s->from_server ? flow->server_port : flow->client_port,
              s->from_server ? flow->client_port : flow->server_port, s->seq, s->flags, 0);
    for (unsigned i = 0; i < 4; i++)
        f.bytes[LAB_LINK_BYTES + ip_bytes + 8 + i] = (uint8_t)(s->ack >> (24 - 8 * i));
    frame_put(&f, s->bytes, s->size);
    if (play->fragment_bytes && s->size) {
        frame_end(&f);
        mess_fragments(lab, flow, play, s->from_server, &f, ip_bytes, id);
    } else {
        lab_add(lab, &f);
    }
}

struct mess_verdict {
    const char *protocol, *application;
    uint8_t method;
    bool ambiguous, seen;
};

/* Sends a play as one flow and ends it. */
static inline struct mess_verdict mess_judge(struct lab *lab, const struct mess_play *play)
{
    struct lab_flow flow = {.client = 1,
                            .server = 2,
                            .is_v6 = play->is_v6,
                            .client_port = play->script->client_port,
                            .server_port = play->script->server_port};
    for (unsigned i = 0; i < play->count; i++)
        mess_send(lab, &flow, play, &play->segments[i], (uint16_t)(i + 1));
    lab_flush(lab);
    lab->now_ns += LAB_SECOND_NS;
    lab_close_all(lab);
    lab_take_events(lab);
    struct mess_verdict verdict = {.protocol = "", .application = ""};
    for (unsigned i = 0; i < lab->event_count; i++) {
        const struct ft_flow *end = &lab->events[i].event.flow;
        if (lab->events[i].event.kind != DP_EVENT_FLOW_END || !end->key.port_be16[0])
            continue; /* ports 0: fragments whose first never came */
        const struct cl_engine *classifier = lab->engine->classifier;
        uint16_t application = ft_flow_application(&end->hot, &end->cold);
        if (verdict.seen && (end->hot.flags & FT_FLOW_STARTED_BEFORE))
            continue; /* what came after the flow's end */
        verdict.seen = true;
        verdict.protocol = lab_protocol(lab, end);
        verdict.application = application ? cl_protocol_get(classifier, application)->name : "";
        verdict.method = end->cold.method;
        verdict.ambiguous |= (end->hot.flags & FT_FLOW_AMBIGUOUS) != 0;
    }
    return verdict;
}

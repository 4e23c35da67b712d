#include "tools/flow_output.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One flow, ready to print: the same values for JSON, CSV and table. */
struct flow_row {
    uint64_t flow_id;
    const char *file; /* of its first packet */
    unsigned ip_proto, client_port, server_port, confidence, packets_to_verdict, payload_packets_to_verdict;
    char client_ip[INET6_ADDRSTRLEN], server_ip[INET6_ADDRSTRLEN];
    uint64_t first_ns, last_ns, packets_up, packets_down, bytes_up, bytes_down;
    const char *protocol, *application, *signature, *method, *service, *close;
    bool ambiguous, started_before;
};

void flow_output_init(struct flow_output *output, const struct dp_engine *engine, enum flow_format format, bool stream,
                      FILE *out)
{
    memset(output, 0, sizeof *output);
    output->engine = engine;
    output->format = format;
    output->stream = stream;
    output->out = out;
    json_init(&output->json);
    if (format == FLOW_FORMAT_CSV)
        fputs("file,flow_id,ip_proto,client_ip,client_port,server_ip,server_port,first_ts,last_ts,protocol,application,"
              "signature,method,confidence,service,packets_up,packets_down,bytes_up,bytes_down,packets_to_verdict,"
              "payload_packets_to_verdict,close,host\n",
              out);
}

static void forget_flows(struct flow_output *output)
{
    for (size_t i = 0; i < output->count; i++)
        free(output->flows[i].attributes);
    output->count = 0;
}

void flow_output_file(struct flow_output *output, const char *name, uint64_t first_number)
{
    output->files = realloc(output->files, (output->file_count + 1) * sizeof *output->files);
    if (!output->files)
        abort();
    output->files[output->file_count++] = (struct flow_output_file){name, first_number};
}

static const char *file_of(const struct flow_output *output, uint64_t number)
{
    size_t low = 0, high = output->file_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (output->files[middle].first_number <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? output->files[low - 1].name : "";
}

void flow_output_fini(struct flow_output *output)
{
    forget_flows(output);
    free(output->flows);
    free(output->files);
    json_free(&output->json);
}

static uint64_t packets_of(const struct ft_flow *flow, unsigned direction)
{
    return (uint64_t)ft_flow_packets_high(&flow->hot, &flow->cold, direction) << 32 | flow->hot.packets[direction];
}

static void fill_row(const struct flow_output *output, const struct dp_event *event, struct flow_row *row)
{
    const struct cl_engine *classifier = output->engine->classifier;
    const struct ft_flow *flow = &event->flow;
    unsigned client = flow->hot.flags & FT_FLOW_CLIENT_ENDPOINT;
    uint8_t up = ft_flow_up_direction(&flow->hot);
    int family = flow->key.is_v6 ? AF_INET6 : AF_INET;
    cl_protocol application = ft_flow_application(&flow->hot, &flow->cold);
    const struct cl_protocol_info *protocol = cl_protocol_get(classifier, flow->cold.protocol);
    row->flow_id = flow->cold.uid & DP_UID_NUMBER_MASK;
    row->file = file_of(output, row->flow_id);
    row->ip_proto = flow->key.ip_proto;
    row->client_port = ntohs(flow->key.port_be16[client]);
    row->server_port = ntohs(flow->key.port_be16[!client]);
    inet_ntop(family, flow->key.addr[client], row->client_ip, sizeof row->client_ip);
    inet_ntop(family, flow->key.addr[!client], row->server_ip, sizeof row->server_ip);
    row->first_ns = flow->cold.first_ns;
    row->last_ns = flow->hot.last_ns;
    row->protocol = protocol ? protocol->name : "";
    row->application = application ? cl_protocol_get(classifier, application)->name : "";
    row->service = flow->hot.name ? cl_protocol_get(classifier, flow->hot.name)->service : "";
    row->signature = cl_signature_name(classifier, flow->cold.signature);
    row->method = cl_method_name(flow->cold.method);
    row->confidence = flow->cold.confidence;
    row->packets_up = packets_of(flow, up);
    row->packets_down = packets_of(flow, !up);
    row->bytes_up = flow->hot.bytes[up];
    row->bytes_down = flow->hot.bytes[!up];
    row->packets_to_verdict = flow->cold.packets_to_verdict;
    row->payload_packets_to_verdict = flow->cold.payload_packets_to_verdict;
    row->ambiguous = flow->hot.flags & FT_FLOW_AMBIGUOUS;
    row->started_before = flow->hot.flags & FT_FLOW_STARTED_BEFORE;
    row->close = dp_close_name(event->close);
}

static void print_json(struct flow_output *output, const struct flow_row *row, const struct dp_attributes *attributes)
{
    struct json *j = &output->json;
    json_object_begin(j, NULL);
    json_text(j, "event", "flow");
    json_text(j, "file", row->file);
    json_u64(j, "flow_id", row->flow_id);
    json_u64(j, "ip_proto", row->ip_proto);
    json_text(j, "client_ip", row->client_ip);
    json_u64(j, "client_port", row->client_port);
    json_text(j, "server_ip", row->server_ip);
    json_u64(j, "server_port", row->server_port);
    json_time_ns(j, "first_ts", row->first_ns);
    json_time_ns(j, "last_ts", row->last_ns);
    json_text(j, "protocol", row->protocol);
    json_text(j, "application", row->application);
    json_text(j, "signature", row->signature);
    json_text(j, "method", row->method);
    json_u64(j, "confidence", row->confidence);
    json_text(j, "service", row->service);
    json_u64(j, "packets_up", row->packets_up);
    json_u64(j, "packets_down", row->packets_down);
    json_u64(j, "bytes_up", row->bytes_up);
    json_u64(j, "bytes_down", row->bytes_down);
    json_u64(j, "packets_to_verdict", row->packets_to_verdict);
    json_u64(j, "payload_packets_to_verdict", row->payload_packets_to_verdict);
    json_text(j, "close", row->close);
    if (row->ambiguous)
        json_bool(j, "ambiguous", true);
    if (row->started_before)
        json_bool(j, "started_before", true);
    json_object_begin(j, "info");
    for (unsigned i = 0; i < CL_TEXT_COUNT; i++) {
        unsigned size_bytes;
        const char *text = dp_attributes_text(attributes, (enum cl_text)i, &size_bytes);
        if (size_bytes)
            json_bytes(j, cl_text_name((enum cl_text)i), text, size_bytes);
    }
    json_object_end(j);
    json_object_end(j);
    json_line(j, output->out);
}

/* RFC 4180: quoted when needed; control characters become spaces so that a row stays a line. */
static void csv_text(FILE *out, const char *text, size_t size_bytes)
{
    fputc('"', out);
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] == '"')
            fputc('"', out);
        fputc((unsigned char)text[i] < 0x20 ? ' ' : text[i], out);
    }
    fputc('"', out);
}

static void print_csv(struct flow_output *output, const struct flow_row *row, const struct dp_attributes *attributes)
{
    FILE *out = output->out;
    csv_text(out, row->file, strlen(row->file));
    fprintf(out, ",%" PRIu64 ",%u,%s,%u,%s,%u,%" PRIu64 ".%06" PRIu64 ",%" PRIu64 ".%06" PRIu64 ",", row->flow_id,
            row->ip_proto, row->client_ip, row->client_port, row->server_ip, row->server_port,
            row->first_ns / 1000000000u, row->first_ns % 1000000000u / 1000u, row->last_ns / 1000000000u,
            row->last_ns % 1000000000u / 1000u);
    const char *texts[] = {row->protocol, row->application, row->signature, row->method};
    for (size_t i = 0; i < RTE_DIM(texts); i++) {
        csv_text(out, texts[i], strlen(texts[i]));
        fputc(',', out);
    }
    fprintf(out, "%u,", row->confidence);
    csv_text(out, row->service, strlen(row->service));
    fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%u,%s,", row->packets_up, row->packets_down,
            row->bytes_up, row->bytes_down, row->packets_to_verdict, row->payload_packets_to_verdict, row->close);
    unsigned size_bytes;
    const char *host = dp_attributes_text(attributes, CL_TEXT_host, &size_bytes);
    csv_text(out, host, size_bytes);
    fputc('\n', out);
}

static void print_flow(struct flow_output *output, const struct dp_event *event, const struct dp_attributes *attributes)
{
    struct flow_row row;
    fill_row(output, event, &row);
    if (output->format == FLOW_FORMAT_JSON)
        print_json(output, &row, attributes);
    else if (output->format == FLOW_FORMAT_CSV)
        print_csv(output, &row, attributes);
}

void flow_output_add(struct flow_output *output, const struct dp_event *event, const struct dp_attributes *attributes)
{
    if (event->kind != DP_EVENT_FLOW_END)
        return;
    if (output->stream && output->format != FLOW_FORMAT_TABLE) {
        print_flow(output, event, attributes);
        fflush(output->out);
        return;
    }
    if (output->count == output->capacity) {
        output->capacity = output->capacity ? output->capacity * 2 : 1024;
        output->flows = realloc(output->flows, output->capacity * sizeof *output->flows);
        if (!output->flows)
            abort();
    }
    struct kept_flow *flow = &output->flows[output->count++];
    flow->event = *event;
    flow->attributes = NULL;
    if (attributes && output->format != FLOW_FORMAT_TABLE && (flow->attributes = malloc(sizeof *attributes)))
        *flow->attributes = *attributes;
}

static int by_first_packet(const void *a, const void *b)
{
    uint64_t x = ((const struct kept_flow *)a)->event.flow.cold.uid,
             y = ((const struct kept_flow *)b)->event.flow.cold.uid;
    return (x > y) - (x < y);
}

/* ---- the table: usage by protocol and application ---- */

struct usage_row {
    const char *protocol, *application;
    uint64_t flows, packets, bytes_up, bytes_down;
};

static int by_bytes(const void *a, const void *b)
{
    const struct usage_row *x = a, *y = b;
    uint64_t m = x->bytes_up + x->bytes_down, n = y->bytes_up + y->bytes_down;
    int names = strcmp(x->protocol, y->protocol);
    return m < n ? 1 : m > n ? -1 : names ? names : strcmp(x->application, y->application);
}

static void add_usage(struct usage_row *rows, size_t *count, const struct flow_row *flow)
{
    size_t i = 0;
    while (i < *count && (rows[i].protocol != flow->protocol || rows[i].application != flow->application))
        i++;
    if (i == *count) {
        rows[i] = (struct usage_row){.protocol = flow->protocol, .application = flow->application};
        ++*count;
    }
    rows[i].flows++;
    rows[i].packets += flow->packets_up + flow->packets_down;
    rows[i].bytes_up += flow->bytes_up;
    rows[i].bytes_down += flow->bytes_down;
}

static void print_table(struct flow_output *output)
{
    struct usage_row *rows = calloc(output->count + 1, sizeof *rows);
    size_t count = 0;
    uint64_t total = 0;
    for (size_t i = 0; rows && i < output->count; i++) {
        struct flow_row row;
        fill_row(output, &output->flows[i].event, &row);
        add_usage(rows, &count, &row);
        total += row.bytes_up + row.bytes_down;
    }
    if (!rows)
        return;
    qsort(rows, count, sizeof *rows, by_bytes);
    fprintf(output->out, "%-24s %-20s %8s %10s %14s %14s %6s\n", "protocol", "application", "flows", "packets",
            "bytes_up", "bytes_down", "share");
    for (size_t i = 0; i < count; i++)
        fprintf(output->out, "%-24s %-20s %8" PRIu64 " %10" PRIu64 " %14" PRIu64 " %14" PRIu64 " %5.1f%%\n",
                rows[i].protocol, rows[i].application, rows[i].flows, rows[i].packets, rows[i].bytes_up,
                rows[i].bytes_down,
                total ? 100.0 * (double)(rows[i].bytes_up + rows[i].bytes_down) / (double)total : 0.0);
    free(rows);
}

static void print_summary_json(struct flow_output *output, const struct dp_stats *stats)
{
    struct json *j = &output->json;
    json_object_begin(j, NULL);
    json_text(j, "event", "summary");
    if (output->file)
        json_text(j, "file", output->file);
    json_u64(j, "packets", stats->received_packets);
    json_u64(j, "bytes", stats->received_bytes);
    json_u64(j, "flows", stats->flows_opened);
    if (stats->flows_started_before) {
        json_u64(j, "flows_started_before", stats->flows_started_before);
        json_u64(j, "started_before_bytes", stats->started_before_bytes);
    }
    json_u64(j, "forwarded", stats->outcome_packets[DP_OUTCOME_forwarded]);
    for (enum dp_fate fate = DP_FATE_DROPPED; fate < DP_FATE_HANDED; fate++) { /* a capture has no peer */
        json_object_begin(j, dp_fate_name(fate));
        for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
            if (dp_outcome_fate(i) == fate && !dp_outcome_is_of_cascade(i))
                json_u64(j, dp_outcome_reason(i), stats->outcome_packets[i]);
        json_object_end(j);
    }
    json_object_begin(j, "verdicts");
    for (unsigned i = 1; i < CL_METHOD_COUNT; i++)
        json_u64(j, cl_method_name((enum cl_method)i), stats->verdicts[i]);
    json_object_end(j);
    json_object_end(j);
    json_line(j, output->out);
}

static void print_summary_table(struct flow_output *output, const struct dp_stats *stats)
{
    fprintf(output->out, "\n%" PRIu64 " packets, %" PRIu64 " bytes, %" PRIu64 " flows; forwarded %" PRIu64,
            stats->received_packets, stats->received_bytes, stats->flows_opened,
            stats->outcome_packets[DP_OUTCOME_forwarded]);
    for (unsigned i = 0; i < DP_OUTCOME_COUNT; i++)
        if (i != DP_OUTCOME_forwarded && stats->outcome_packets[i])
            fprintf(output->out, ", %s{%s} %" PRIu64, dp_fate_name(dp_outcome_fate(i)), dp_outcome_reason(i),
                    stats->outcome_packets[i]);
    fputc('\n', output->out);
}

void flow_output_finish(struct flow_output *output, const struct dp_stats *stats)
{
    if (output->count)
        qsort(output->flows, output->count, sizeof *output->flows, by_first_packet);
    if (output->format == FLOW_FORMAT_TABLE) {
        if (output->file)
            fprintf(output->out, "%s\n", output->file);
        print_table(output);
        print_summary_table(output, stats);
    } else {
        for (size_t i = 0; i < output->count; i++)
            print_flow(output, &output->flows[i].event, output->flows[i].attributes);
    }
    if (output->format == FLOW_FORMAT_JSON)
        print_summary_json(output, stats);
    forget_flows(output);
}

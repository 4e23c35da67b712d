#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier/classifier.h"
#include "classifier/engine.h"
#include "classifier/pack.h"

/*
 * Every capture of the project against all signatures but those of its own protocol and its kin: whatever still claims a
 * flow by content, after all its first packets, is a false positive that no second packet ended.
 */

#define CAPTURES     SOURCE_ROOT "/pcaps"
#define MAX_FLOWS    256u
#define MAX_PACKETS  16u /* of a flow */
#define STREAM_BYTES 8192u

struct piece {
    uint8_t from_server;
    uint32_t size_bytes;
    uint8_t *bytes;
};

struct flow {
    uint8_t ip_proto;
    uint16_t client_port, server_port;
    char client[INET6_ADDRSTRLEN], server[INET6_ADDRSTRLEN];
    bool began; /* the handshake's first packet was seen, or it is no TCP */
    unsigned count;
    struct piece pieces[MAX_PACKETS];
};

struct capture {
    unsigned count;
    struct flow flows[MAX_FLOWS];
};

static struct capture capture;
static struct cl_engine *engine;
static struct cl_worker *worker;
static const struct pack_ranges no_port = {1, (struct pack_range[]){{70000, 70000}}};

static struct flow *flow_of(uint8_t ip_proto, const char *src, uint16_t sport, const char *dst, uint16_t dport,
                            bool *is_server)
{
    for (unsigned i = 0; i < capture.count; i++) {
        struct flow *f = &capture.flows[i];
        *is_server =
            f->client_port != sport || f->server_port != dport || strcmp(f->client, src) || strcmp(f->server, dst);
        bool is_reverse =
            f->client_port == dport && f->server_port == sport && !strcmp(f->client, dst) && !strcmp(f->server, src);
        if (f->ip_proto == ip_proto && (!*is_server || is_reverse))
            return f;
    }
    if (capture.count == MAX_FLOWS)
        return NULL;
    struct flow *f = &capture.flows[capture.count++];
    *f = (struct flow){.ip_proto = ip_proto, .client_port = sport, .server_port = dport, .began = ip_proto == 17};
    snprintf(f->client, sizeof f->client, "%s", src);
    snprintf(f->server, sizeof f->server, "%s", dst);
    *is_server = false;
    return f;
}

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* Captures of our own recipes are well-formed; what is not TCP or UDP in plain IP over Ethernet is left out. */
static void add_packet(const uint8_t *p, uint32_t size)
{
    char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
    if (size < 14 + 20)
        return;
    uint16_t type = be16(p + 12);
    const uint8_t *ip = p + 14, *l4;
    uint32_t end;
    uint8_t proto;
    if (type == 0x0800 && (be16(ip + 6) & 0x3fff) == 0) {
        inet_ntop(AF_INET, ip + 12, src, sizeof src);
        inet_ntop(AF_INET, ip + 16, dst, sizeof dst);
        proto = ip[9];
        l4 = ip + (ip[0] & 15) * 4;
        end = be16(ip + 2);
    } else if (type == 0x86dd && size >= 14 + 40) {
        inet_ntop(AF_INET6, ip + 8, src, sizeof src);
        inet_ntop(AF_INET6, ip + 24, dst, sizeof dst);
        proto = ip[6];
        l4 = ip + 40;
        end = 40u + be16(ip + 4);
    } else {
        return;
    }
    const uint8_t *last = ip + end;
    if ((proto != 6 && proto != 17) || last > p + size || last < l4 + (proto == 6 ? 20 : 8))
        return;
    bool is_server;
    struct flow *f = flow_of(proto, src, be16(l4), dst, be16(l4 + 2), &is_server);
    const uint8_t *payload = l4 + (proto == 6 ? (l4[12] >> 4) * 4 : 8);
    if (!f)
        return;
    f->began |= proto == 6 && (l4[13] & 0x02);
    if (payload >= last || f->count == MAX_PACKETS)
        return;
    struct piece *piece = &f->pieces[f->count++];
    *piece = (struct piece){is_server, (uint32_t)(last - payload), malloc((size_t)(last - payload))};
    memcpy(piece->bytes, payload, piece->size_bytes);
}

static bool read_capture(const char *path)
{
    char error[PCAP_ERRBUF_SIZE];
    pcap_t *pcap = pcap_open_offline(path, error);
    cr_assert(pcap, "%s: %s", path, error);
    bool is_ethernet = pcap_datalink(pcap) == DLT_EN10MB;
    struct pcap_pkthdr *head;
    const u_char *bytes;
    for (unsigned i = 0; i < capture.count; i++)
        for (unsigned k = 0; k < capture.flows[i].count; k++)
            free(capture.flows[i].pieces[k].bytes);
    capture.count = 0;
    while (is_ethernet && pcap_next_ex(pcap, &head, &bytes) == 1)
        add_packet(bytes, head->caplen);
    pcap_close(pcap);
    return is_ethernet;
}

static bool stands_under(cl_protocol low, cl_protocol high, unsigned depth)
{
    if (low == high)
        return true;
    const struct cl_protocol_info *info = cl_protocol_get(engine, low);
    for (unsigned i = 0; info && depth && i < info->parent_count; i++)
        if (stands_under(info->parents[i], high, depth - 1))
            return true;
    return false;
}

static bool is_kin(cl_protocol a, cl_protocol b)
{
    return a && b && (stands_under(a, b, 4) || stands_under(b, a, 4));
}

/* The first packets of a flow with the rules of its own kind made to hold never. */
static void judge_by_others(const struct flow *f, cl_protocol protocol, cl_protocol application,
                            struct cl_verdict *verdict)
{
    struct pack *pack = engine->pack;
    struct pack_ranges *saved = malloc(pack->rule_count * sizeof *saved);
    for (uint32_t r = 0; r < pack->rule_count; r++) {
        const struct pack_signature *s = &pack->signatures[pack->rules[r].signature];
        saved[r] = pack->rules[r].ports;
        if (is_kin(s->protocol, protocol) || is_kin(s->protocol, application) || is_kin(s->over, protocol) ||
            is_kin(s->over, application))
            pack->rules[r].ports = no_port;
    }
    static uint8_t stream[2][STREAM_BYTES];
    uint32_t kept[2] = {0, 0};
    uint16_t packets[2] = {0, 0};
    struct cl_state state = {{0}};
    struct cl_info info = {.size_bytes = {0}};
    enum cl_step step = CL_UNDECIDED;
    *verdict = (struct cl_verdict){0};
    for (unsigned i = 0; i < f->count && step == CL_UNDECIDED; i++) {
        const struct piece *piece = &f->pieces[i];
        uint8_t side = piece->from_server;
        bool is_tcp = f->ip_proto == 6;
        uint32_t *size = &kept[side], take = piece->size_bytes;
        if (is_tcp) {
            if (take > STREAM_BYTES - *size)
                take = STREAM_BYTES - *size;
            memcpy(stream[side] + *size, piece->bytes, take);
            *size += take;
        }
        packets[side]++;
        struct cl_packet p = {.bytes = is_tcp ? stream[side] : piece->bytes,
                              .size_bytes = is_tcp ? *size : piece->size_bytes,
                              .ip_proto = f->ip_proto,
                              .from_server = side,
                              .client_port = f->client_port,
                              .server_port = f->server_port,
                              .payload_packets = {packets[0], packets[1]},
                              .started_before = !f->began};
        step = cl_inspect(worker, &state, &p, verdict, &info);
    }
    for (uint32_t r = 0; r < pack->rule_count; r++)
        pack->rules[r].ports = saved[r];
    free(saved);
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

/* What the recipe says of the flow: false when it says nothing. */
static bool truth_of(const char *name, const struct flow *f, cl_protocol *protocol, cl_protocol *application)
{
    char path[512], line[512];
    snprintf(path, sizeof path, "%s/%s.truth.tsv", CAPTURES, name);
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        char *field[8] = {NULL}, *rest = line;
        for (unsigned i = 0; i < 8 && rest; i++)
            field[i] = strsep(&rest, "\t\n");
        if (line[0] == '#' || !field[6] || number(field[0]) != f->ip_proto || strcmp(field[1], f->client) ||
            strcmp(field[3], f->server) || (field[2][0] != '*' && number(field[2]) != f->client_port) ||
            (field[4][0] != '*' && number(field[4]) != f->server_port))
            continue;
        found = true;
        *protocol = cl_protocol_find(engine, field[5]);
        *application = cl_protocol_find(engine, field[6]);
    }
    fclose(file);
    return found;
}

static unsigned claims_in(const char *file, unsigned *judged)
{
    char path[512], name[256];
    unsigned claims = 0;
    snprintf(path, sizeof path, "%s/%s", CAPTURES, file);
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(file, '.') - file), file);
    read_capture(path);
    for (unsigned i = 0; i < capture.count; i++) {
        const struct flow *f = &capture.flows[i];
        cl_protocol protocol = 0, application = 0;
        struct cl_verdict verdict;
        if (!f->count || !truth_of(name, f, &protocol, &application))
            continue;
        ++*judged;
        judge_by_others(f, protocol, application, &verdict);
        bool is_claimed =
            verdict.protocol && (verdict.method == CL_METHOD_signature || verdict.method == CL_METHOD_inspector);
        cr_expect(!is_claimed, "%s: %s:%u -> %s:%u is claimed as %s by signature %u %s", file, f->client,
                  f->client_port, f->server, f->server_port, cl_protocol_get(engine, verdict.protocol)->name,
                  cl_signature_id(engine, verdict.signature), cl_signature_name(engine, verdict.signature));
        claims += is_claimed;
    }
    return claims;
}

Test(claims, no_capture_is_claimed_by_another_protocols_signature, .timeout = 100)
{
    char error[512];
    struct cl_options options;
    cl_options_init(&options);
    engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    worker = cl_worker_create(engine);
    unsigned judged = 0, claims = 0;
    DIR *dir = opendir(CAPTURES);
    cr_assert(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".pcap"))
            claims += claims_in(e->d_name, &judged);
    closedir(dir);
    cr_expect_eq(claims, 0);
    cr_assert_gt(judged, 350);
    cl_worker_free(worker);
    cl_engine_free(engine);
}

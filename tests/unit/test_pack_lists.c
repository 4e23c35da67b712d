/* What the shipped pack has in numbers; lists that give way; the cost of host names; databases of another machine. */
#include <criterion/criterion.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classifier/hosts.c" /* to count steps */

#define SOURCES SOURCE_ROOT "/etc/pack"

static char error[1024];

static struct pack *read_text(const char *text)
{
    char path[] = "/tmp/test_pack_lists.XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct pack *pack = pack_read(path, error, sizeof error);
    unlink(path);
    return pack;
}

static const char *ports_of(const struct pack *pack, const char *name)
{
    for (uint32_t i = 1; i < pack->protocol_count; i++)
        if (!strcmp(pack->protocols[i].info.name, name))
            return pack->protocols[i].info.ports;
    return NULL;
}

Test(pack_lists, what_gives_way_loses_names_and_ports_that_others_claim)
{
    struct pack *pack = read_text("family: mail\nprotocols:\n"
                                  "  - {id: 200, name: yields-1, gives_way: true, ports: [tcp/1, udp/1]}\n"
                                  "  - {id: 201, name: yields-2, gives_way: true, ports: [tcp/2, udp/2]}\n"
                                  "  - {id: 202, name: ya-hoo, gives_way: true, ports: [tcp/3]}\n"
                                  "  - {id: 203, name: yields-3, gives_way: true, ports: [tcp/4, udp/4]}\n"
                                  "  - {id: 300, name: Yahoo!, ports: [tcp/1]}\n"
                                  "  - {id: 301, name: Other, ports: [udp/2, tcp/2]}\n");
    cr_assert(pack, "%s", error);
    cr_expect_str_eq(ports_of(pack, "yields-1"), "udp/1");
    cr_expect_null(ports_of(pack, "yields-2"), "no port is left");
    cr_expect_null(ports_of(pack, "ya-hoo"), "the name is taken");
    cr_expect_str_eq(ports_of(pack, "yields-3"), "tcp/4,udp/4");
    cr_expect_str_eq(ports_of(pack, "Yahoo!"), "tcp/1");
    cr_expect_str_eq(ports_of(pack, "Other"), "tcp/2,udp/2");
    pack_free(pack);
    /* among themselves they do not */
    cr_expect_null(read_text("family: mail\ngives_way: true\nprotocols:\n  - {id: 200, name: A, ports: [tcp/1]}\n"
                             "  - {id: 201, name: a, ports: [tcp/2]}\n"));
    cr_expect(strstr(error, "the name \"a\" is taken"), "%s", error);
}

Test(pack_lists, the_shipped_pack_is_broad)
{
    struct cl_options options;
    cl_options_init(&options);
    struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
    cr_assert(engine, "%s", error);
    unsigned by_content = 0, by_port = 0, by_host = 0;
    for (unsigned i = 1; i < cl_protocol_count(engine); i++) {
        const struct cl_protocol_info *info = cl_protocol_get(engine, (cl_protocol)i);
        by_content += (info->ways & CL_WAYS_BY_CONTENT) != 0;
        by_port += (info->ways & 1u << CL_WAY_port) != 0;
        by_host += (info->ways & 1u << CL_WAY_host) != 0;
        cr_expect(info->ways || info->id < PACK_FIRST_ID, "%s is told in no way", info->name);
        cr_expect(!(info->ways & 1u << CL_WAY_host) || info->is_application, "%s", info->name);
    }
    cr_expect_geq(by_content - by_host, 250, "%u without host names", by_content - by_host);
    cr_expect_geq(by_content, 800, "%u by content", by_content);
    cr_expect_geq(by_port, 900, "%u by port", by_port);
    cl_engine_free(engine);
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    cr_expect_geq(pack->host_count, 1200, "%u hosts", pack->host_count);
    pack_free(pack);
}

/* ---- host names ---- */

/* Slots looked at for one name: as cl_hosts_find() goes, to the end of each label's run where nothing fits. */
static unsigned count_steps(const struct cl_hosts *hosts, const char *host)
{
    uint32_t hash = HASH_START;
    unsigned steps = 0;
    for (size_t start = strlen(host); start > 0; start--) {
        hash = add_byte(hash, lower(host[start - 1]));
        if (start > 1 && host[start - 2] != '.')
            continue;
        uint32_t slot = finish(hash) & hosts->mask;
        for (steps++; hosts->slots[slot].suffix; slot = (slot + 1) & hosts->mask)
            steps++;
    }
    return steps;
}

#define LOOKUPS 20000u

static double steps_per_lookup(const struct pack *pack, unsigned times)
{
    uint32_t count = pack->host_count * times;
    struct pack_host *list = calloc(count, sizeof *list);
    for (uint32_t i = 0; i < count; i++) {
        const struct pack_host *host = &pack->hosts[i % pack->host_count];
        list[i] = *host;
        if (i >= pack->host_count)
            cr_assert_gt(asprintf(&list[i].suffix, "x%u.%s", i / pack->host_count, host->suffix), 0);
    }
    struct cl_hosts hosts;
    cl_hosts_build(&hosts, list, count);
    uint64_t steps = 0;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        char name[300];
        const struct pack_host *host = &list[i % pack->host_count]; /* the same names in both */
        if (i % 2)
            snprintf(name, sizeof name, "www.cdn-%u.%s", i, host->suffix);
        else
            snprintf(name, sizeof name, "www.none-%u.example%u.net", i, i);
        if (i % 2)
            cr_assert_eq(cl_hosts_find(&hosts, name, strlen(name)), host->application, "%s", name);
        steps += count_steps(&hosts, name);
    }
    for (uint32_t i = pack->host_count; i < count; i++)
        free(list[i].suffix);
    cl_hosts_free(&hosts);
    free(list);
    return (double)steps / LOOKUPS;
}

Test(pack_lists, ten_times_the_hosts_cost_no_more_steps)
{
    struct pack *pack = pack_read(SOURCES, error, sizeof error);
    cr_assert(pack, "%s", error);
    double once = steps_per_lookup(pack, 1), ten_times = steps_per_lookup(pack, 10);
    cr_log_info("steps a lookup: %.2f, with ten times the hosts %.2f", once, ten_times);
    cr_expect_lt(ten_times, once * 1.15); /* the tables are not equally full */
    cr_expect_lt(ten_times, 8);           /* four labels, one or two slots each */
    pack_free(pack);
}

/* ---- databases ---- */

/* The serialised databases begin with a mark, then version (4 bytes), length (4), platform (8). */
static unsigned forge(uint8_t *bytes, size_t size, size_t offset)
{
    static const uint8_t mark[] = {0xdb, 0xdb, 0xdb, 0xdb};
    unsigned forged = 0;
    for (size_t i = 48; i + 24 < size; i++)
        if (!memcmp(bytes + i, mark, sizeof mark)) {
            bytes[i + offset] ^= 0x01;
            forged++;
        }
    SHA256(bytes + 48, size - 48, bytes + 16);
    return forged;
}

Test(pack_lists, databases_of_another_library_or_machine_are_made_anew)
{
    static const size_t version_at = 5, platform_at = 14;
    char folder[] = "/tmp/test_pack_lists.XXXXXX", path[64], command[96];
    struct pack_databases databases;
    cr_assert(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    snprintf(path, sizeof path, "%s/p", folder);
    struct pack *pack = read_text("pack: {name: p, version: '1'}\nfamily: mail\nprotocols:\n"
                                  "  - {id: 100, name: A, signatures: [{id: 1, search: 'abc[0-9]+def'}]}\n");
    cr_assert(pack && pack_compile(pack, &databases, error, sizeof error), "%s", error);
    cr_assert(pack_file_write(path, pack, &databases, error, sizeof error));
    pack_databases_free(&databases);
    pack_free(pack);
    static uint8_t bytes[1 << 20];
    FILE *in = fopen(path, "re");
    size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    for (unsigned i = 0; i < 3; i++) {
        size_t at = i == 1 ? version_at : platform_at;
        if (i)
            cr_assert_eq(forge(bytes, size, at), 1);
        pack = pack_file_decode("p", bytes, size, &databases, error, sizeof error);
        cr_assert(pack, "%s", error);
        cr_expect_eq(databases.count, !i, "case %u", i);
        pack_databases_free(&databases);
        pack_free(pack);
        if (!i)
            continue;
        FILE *out = fopen(path, "we");
        cr_assert_eq(fwrite(bytes, 1, size, out), size);
        fclose(out);
        struct cl_options options;
        cl_options_init(&options);
        options.pack_path = path;
        struct cl_engine *engine = cl_engine_load(&options, error, sizeof error);
        cr_assert(engine, "%s", error);
        struct cl_worker *worker = cl_worker_create(engine);
        struct cl_state state = {{0}};
        struct cl_info info = {.size_bytes = {0}};
        struct cl_verdict verdict;
        struct cl_packet packet = {.bytes = (const uint8_t *)"abc12def",
                                   .size_bytes = 8,
                                   .ip_proto = 6,
                                   .client_port = 50000,
                                   .server_port = 50001,
                                   .payload_packets = {1, 0}};
        cr_expect_eq(cl_inspect(worker, &state, &packet, &verdict, &info), CL_DONE);
        cr_expect_str_eq(cl_protocol_get(engine, verdict.protocol)->name, "A");
        cl_worker_free(worker);
        cl_engine_free(engine);
        forge(bytes, size, at); /* back */
    }
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

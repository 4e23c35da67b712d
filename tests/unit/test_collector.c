/*
 * The collector with senders that live in the test: they write to loopback sockets before the collector's loop runs, so
 * that no thread is needed; what SQLite answers is the proof.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <glob.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "rdr/address.h"
#include "rdr/collector.h"
#include "rdr/formatter.h"
#include "rdr/rdr.h"
#include "rdr/report.h"

static char folder[64], db_path[128], csv_path[128], names_path[128], error[1000];
static struct rdr_collector_config config;

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/opensce-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(db_path, sizeof db_path, "%s/rdr.sqlite", folder);
    snprintf(csv_path, sizeof csv_path, "%s/csv/files", folder);
    snprintf(names_path, sizeof names_path, "%s/names.json", folder);
    config = (struct rdr_collector_config){.host = "127.0.0.1", .db_path = db_path, .is_once = true};
    log_level_max = LOG_ERROR;
}

static void teardown(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(collector, .init = setup, .fini = teardown, .timeout = 60);

static int connect_to(const struct rdr_collector *collector)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(rdr_collector_port(collector))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static struct rdr_collector *start(void)
{
    struct rdr_collector *collector = rdr_collector_create(&config, error, sizeof error);
    cr_assert(collector, "%s", error);
    return collector;
}

static struct rdr_collector_totals finish(struct rdr_collector *collector)
{
    struct rdr_collector_totals totals;
    cr_assert_eq(rdr_collector_run(collector, error, sizeof error), 0, "%s", error);
    rdr_collector_totals(collector, &totals);
    rdr_collector_destroy(collector);
    return totals;
}

static int64_t question(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    cr_assert_eq(sqlite3_open_v2(db_path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
    int64_t answer = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return answer;
}

static int64_t extreme(enum rdr_type type, bool high)
{
    switch (type) {
    case RDR_INT8:
        return high ? INT8_MAX : INT8_MIN;
    case RDR_INT16:
        return high ? INT16_MAX : INT16_MIN;
    case RDR_INT32:
        return high ? INT32_MAX : INT32_MIN;
    case RDR_UINT8:
        return high ? UINT8_MAX : 0;
    case RDR_UINT16:
        return high ? UINT16_MAX : 0;
    default:
        return high ? UINT32_MAX : 0;
    }
}

static size_t encode(const struct rdr_schema *schema, const struct rdr_header_ids *ids, const struct rdr_value values[],
                     uint8_t *record)
{
    int size = rdr_encode(schema, 1, ids, values, record, RDR_RECORD_MAX_BYTES, NULL);
    cr_assert_gt(size, 0);
    return (size_t)size;
}

static void send_bytes(int fd, const void *bytes, size_t size)
{
    cr_assert_eq(send(fd, bytes, size, 0), (ssize_t)size);
}

/* A FLOW_START with a number, and the ids it is given. */
static void send_flow_start(int fd, uint32_t number, const struct rdr_header_ids *ids)
{
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    values[RDR_FLOW_SUBSCRIBER_ID].string = "bob";
    values[RDR_FLOW_SUBSCRIBER_ID].string_bytes = 3;
    values[RDR_FLOW_FLOW_ID].integer = number;
    send_bytes(fd, record, encode(rdr_schema_find(RDR_TAG_FLOW_START), ids, values, record));
}

/* Each layout at both ends of its ranges; every column is asked for by the field's name. */
Test(collector, every_field_of_every_record_is_in_its_column)
{
    struct rdr_collector *collector = start();
    int fd = connect_to(collector);
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    for (unsigned i = 0; i < 4 * count; i++) {
        const struct rdr_schema *schema = &schemas[i / 4];
        if (i & 2 && !(schema = rdr_schema_find_ipv6(schema->tag)))
            continue;
        uint8_t record[RDR_RECORD_MAX_BYTES];
        struct rdr_value values[RDR_FIELDS_MAX] = {0};
        for (unsigned f = 0; f < schema->field_count; f++)
            if (schema->fields[f].type == RDR_STRING)
                values[f] = (struct rdr_value){.string = i & 1 ? "it's \"high\"" : "", .string_bytes = i & 1 ? 11 : 0};
            else
                values[f].integer = extreme(schema->fields[f].type, i & 1);
        struct rdr_header_ids ids = {
            .creator = (uint16_t)i, .epoch = UINT16_MAX, .interval = UINT16_MAX, .uid_low = UINT32_MAX};
        send_bytes(fd, record, encode(schema, &ids, values, record));
    }
    close(fd);
    struct rdr_collector_totals totals = finish(collector);
    cr_assert_eq(totals.records, 16);
    cr_assert_eq(totals.store.stored, 16);
    for (unsigned i = 0; i < 4 * count; i++) {
        const struct rdr_schema *schema = &schemas[i / 4];
        if (i & 2 && !(schema = rdr_schema_find_ipv6(schema->tag)))
            continue;
        for (unsigned f = 0; f < schema->field_count; f++) {
            char sql[400], value[40];
            snprintf(value, sizeof value, "%ld", extreme(schema->fields[f].type, i & 1));
            snprintf(sql, sizeof sql,
                     "SELECT count(*) FROM %s WHERE HEADER_CREATOR = %u AND HEADER_EPOCH = 65535 AND HEADER_INTERVAL ="
                     " 65535 AND HEADER_UID_LOW = 4294967295 AND RECORD_SOURCE = 2130706433 AND TIME_STAMP > 1000000000"
                     " AND \"%s\" = %s",
                     schema->table, i, schema->fields[f].name,
                     schema->fields[f].type != RDR_STRING ? value
                     : i & 1                              ? "'it''s \"high\"'"
                                                          : "''");
            cr_assert_eq(question(sql), 1, "%s", sql);
        }
    }
    cr_assert_eq(question("SELECT count(*) FROM RPT_TUR WHERE SERVER_IPV6 IS NULL"), 2);
    cr_assert_eq(question("SELECT count(*) FROM RPT_HTTP WHERE HTTP_URL IS NULL"), 2);
    cr_assert_eq(question("SELECT cid FROM pragma_table_info('RPT_TUR') WHERE name = 'TIME_STAMP'"), 0);
    cr_assert_eq(question("SELECT cid FROM pragma_table_info('RPT_TUR') WHERE name = 'RECORD_SOURCE'"), 1);
    cr_assert_eq(question("SELECT cid FROM pragma_table_info('RPT_TUR') WHERE name = 'FLOW_CLOSE_MODE'"), 26);
}

Test(collector, doubles_by_header_ids_are_counted_and_stored_once)
{
    static const struct rdr_header_ids ids = {.creator = 1, .epoch = 2, .interval = 3, .uid_low = 4}, none;
    struct rdr_header_ids other;
    struct rdr_collector *collector = start();
    int fd = connect_to(collector), again = connect_to(collector);
    send_flow_start(fd, 100, &ids);
    send_flow_start(fd, 100, &ids);    /* a double in the same batch */
    send_flow_start(again, 100, &ids); /* and on another connection */
    send_flow_start(fd, 101, &none);
    send_flow_start(fd, 101, &none); /* ids unknown: both are kept */
#define OTHER(member)                                                                                                  \
    other = ids;                                                                                                       \
    other.member++;                                                                                                    \
    send_flow_start(fd, 102, &other)
    OTHER(creator);
    OTHER(epoch);
    OTHER(interval);
    OTHER(uid_low);
#undef OTHER
    /* Two counters of one link at one time: no flow, so the counter tells them apart. */
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    for (int i = 0; i < 3; i++) {
        values[RDR_LUR_SERVICE_USAGE_COUNTER_ID].integer = i % 2;
        send_bytes(fd, record, encode(rdr_schema_find(RDR_TAG_LINK_USAGE), &ids, values, record));
    }
    close(fd);
    close(again);
    struct rdr_collector_totals totals = finish(collector);
    cr_assert_eq(totals.connections, 2);
    cr_assert_eq(totals.records, 12);
    cr_assert_eq(totals.store.doubles, 3);
    cr_assert_eq(totals.store.stored, 9);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID = 100"), 1);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID = 101"), 2);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID = 102"), 4);
    cr_assert_eq(question("SELECT count(*) FROM RPT_LUR"), 2);

    collector = start(); /* the next run still knows them */
    fd = connect_to(collector);
    send_flow_start(fd, 100, &ids);
    close(fd);
    totals = finish(collector);
    cr_assert_eq(totals.store.doubles, 1);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START"), 7);

    /* The same ids, but the record is of another time or flow: they have come round. */
    collector = start();
    fd = connect_to(collector);
    static const int told_apart[] = {RDR_FLOW_REPORT_TIME, RDR_FLOW_CLIENT_IP,   RDR_FLOW_CLIENT_PORT,
                                     RDR_FLOW_SERVER_IP,   RDR_FLOW_SERVER_PORT, RDR_FLOW_IP_PROTOCOL};
    for (size_t i = 0; i < sizeof told_apart / sizeof told_apart[0]; i++) {
        memset(values, 0, sizeof values);
        values[told_apart[i]].integer = 1;
        send_bytes(fd, record, encode(rdr_schema_find(RDR_TAG_FLOW_START), &ids, values, record));
    }
    close(fd);
    totals = finish(collector);
    cr_assert_eq(totals.store.stored, 6);
}

static char *stderr_text(void)
{
    static char text[8192];
    char path[128];
    snprintf(path, sizeof path, "%s/stderr", folder);
    fflush(stderr);
    FILE *in = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    fclose(in);
    return text;
}

Test(collector, a_malformed_record_closes_its_connection_alone)
{
    char path[128];
    snprintf(path, sizeof path, "%s/stderr", folder);
    log_level_max = LOG_WARNING;
    cr_assert(freopen(path, "w", stderr));
    struct rdr_collector *collector = start();
    int bad = connect_to(collector), good = connect_to(collector), cut = connect_to(collector);
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    size_t size = encode(rdr_schema_find(RDR_TAG_FLOW_END), NULL, values, record);
    for (uint32_t i = 0; i < 3; i++) {
        send_flow_start(good, i, NULL);
        send_flow_start(bad, 10 + i, NULL);
    }
    record[20] = RDR_UINT8; /* SUBSCRIBER_ID */
    send_bytes(bad, record, size);
    send_flow_start(bad, 20, NULL);
    record[20] = RDR_STRING;
    send_flow_start(cut, 30, NULL);
    send_bytes(cut, record, size - 1);
    for (uint32_t i = 3; i < 6; i++)
        send_flow_start(good, i, NULL);
    close(bad);
    close(good);
    close(cut);
    struct rdr_collector_totals totals = finish(collector);
    cr_assert_eq(totals.records, 10);
    cr_assert_eq(totals.store.stored, 10);
    cr_assert_eq(totals.refused_sum, 1);
    cr_assert_eq(totals.refused[RDR_REFUSED_field_type], 1);
    cr_assert_eq(totals.truncated, 1);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID < 10"), 6);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID BETWEEN 10 AND 19"), 3);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID = 20"), 0, "nothing after the damage");
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START WHERE FLOW_ID = 30"), 1);
    char expected[200];
    size_t start_bytes = encode(rdr_schema_find(RDR_TAG_FLOW_START), NULL, values, record) + 3;
    snprintf(expected, sizeof expected,
             "malformed record at byte %zu of the connection: %s, field 1 (SUBSCRIBER_ID) of FLOW_END", 3 * start_bytes,
             rdr_refusal_text(RDR_REFUSED_field_type));
    cr_assert(strstr(stderr_text(), expected), "%s", stderr_text());
    snprintf(expected, sizeof expected, "%zu bytes after byte %zu", size - 1, start_bytes);
    cr_assert(strstr(stderr_text(), expected), "%s", stderr_text());
}

Test(collector, records_in_many_small_pieces_are_put_together)
{
    struct rdr_collector *collector = start();
    int fd = connect_to(collector), on = 1;
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    size_t size = encode(rdr_schema_find(RDR_TAG_FLOW_END), NULL, values, record);
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    pid_t pid = fork();
    if (!pid) {
        for (int i = 0; i < 3; i++)
            for (size_t at = 0; at < size; at++)
                if (send(fd, record + at, 1, 0) != 1)
                    _exit(1);
        _exit(0);
    }
    close(fd);
    struct rdr_collector_totals totals = finish(collector);
    waitpid(pid, NULL, 0);
    cr_assert_eq(totals.store.stored, 3);
    cr_assert_eq(totals.truncated, 0);
    cr_assert_eq(totals.bytes, 3 * size);
}

/* The sender is still connected: what it has sent by then is stored. */
static void check_signal(int number)
{
    config.is_once = false;
    struct rdr_collector *collector = start();
    int fd = connect_to(collector);
    for (uint32_t i = 0; i < 500; i++)
        send_flow_start(fd, i, NULL);
    struct rdr_collector_totals totals;
    kill(getpid(), number);
    totals = finish(collector);
    cr_assert_eq(totals.store.stored, 500);
    cr_assert_eq(question("SELECT count(*) FROM RPT_FLOW_START"), 500);
    close(fd);
}

Test(collector, term_stores_what_has_arrived)
{
    check_signal(SIGTERM);
}

Test(collector, int_stores_what_has_arrived)
{
    check_signal(SIGINT);
}

Test(collector, idle_exit_ends_without_a_connection)
{
    config.is_once = false;
    config.idle_exit_s = 1;
    cr_assert_eq(finish(start()).connections, 0);
}

Test(collector, strings_that_are_not_text_are_kept_as_bytes)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool is_text;
    } cases[] = {
        {"plain", 5, true},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, true},
        {"\xff", 1, false},
        {"a\0b", 3, false},
        {"\xc0\x80", 2, false},
        {"\xed\xa0\x80", 3, false},
        {"\xf4\x90\x80\x80", 4, false},
        {"\xe2\x82", 2, false},
        {"\xe0\x80\x80", 3, false},
        {"\x80", 1, false},
    };
    const unsigned count = sizeof cases / sizeof cases[0];
    struct rdr_collector *collector = start();
    int fd = connect_to(collector);
    for (unsigned i = 0; i < count; i++) {
        uint8_t record[RDR_RECORD_MAX_BYTES];
        struct rdr_value values[RDR_FIELDS_MAX] = {0};
        values[RDR_FLOW_SUBSCRIBER_ID] =
            (struct rdr_value){.string = cases[i].bytes, .string_bytes = (uint16_t)cases[i].size};
        values[RDR_FLOW_FLOW_ID].integer = i;
        send_bytes(fd, record, encode(rdr_schema_find(RDR_TAG_FLOW_START), NULL, values, record));
    }
    close(fd);
    finish(collector);
    for (unsigned i = 0; i < count; i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "SELECT typeof(SUBSCRIBER_ID) = 'text' FROM RPT_FLOW_START WHERE FLOW_ID = %u", i);
        cr_assert_eq(question(sql), cases[i].is_text, "case %u", i);
        snprintf(sql, sizeof sql, "SELECT length(CAST(SUBSCRIBER_ID AS BLOB)) FROM RPT_FLOW_START WHERE FLOW_ID = %u",
                 i);
        cr_assert_eq(question(sql), (int64_t)cases[i].size);
    }
}

Test(collector, csv_has_the_originals_layout)
{
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    const char *subscribers[] = {"bob", "a,\"b\"", ""};
    config.csv_folder = csv_path;
    for (int run = 0; run < 2; run++) {
        struct rdr_collector *collector = start();
        int fd = connect_to(collector);
        for (int i = 0; i < 3; i++) {
            values[RDR_FLOW_SUBSCRIBER_ID] =
                (struct rdr_value){.string = subscribers[i], .string_bytes = (uint16_t)strlen(subscribers[i])};
            values[RDR_FLOW_SERVER_IP].integer = 0xc0a80001;
            values[RDR_FLOW_CLIENT_IP].integer = 0x0a000001;
            values[RDR_FLOW_REPORT_TIME].integer = 4000000000;
            send_bytes(fd, record, encode(rdr_schema_find(RDR_TAG_FLOW_START), NULL, values, record));
        }
        close(fd);
        finish(collector);
    }
    char path[300], line[300];
    glob_t found;
    snprintf(path, sizeof path, "%s/4042321942/*", csv_path);
    cr_assert_eq(glob(path, 0, NULL, &found), 0);
    cr_assert_eq(found.gl_pathc, 2, "one file a run, none overwritten, no .tmp left");
    cr_assert(strstr(found.gl_pathv[0], "/1.csv") && strstr(found.gl_pathv[1], "/2.csv"));
    FILE *in = fopen(found.gl_pathv[0], "r");
    static const char *const expected[] = {
        ",4042321942,127.0.0.1,bob,0,0,0,-1062731775,0,167772161,0,0,0,4000000000,0,0,0\n",
        ",4042321942,127.0.0.1,\"a,\"\"b\"\"\",0,0,0,-1062731775,0,167772161,0,0,0,4000000000,0,0,0\n",
        ",4042321942,127.0.0.1,,0,0,0,-1062731775,0,167772161,0,0,0,4000000000,0,0,0\n",
    };
    for (int i = 0; i < 3; i++) {
        cr_assert(fgets(line, sizeof line, in));
        cr_assert_str_eq(strchr(line, ','), expected[i]);
        cr_assert_gt(strtoull(line, NULL, 10), 1000000000000ull, "milliseconds");
    }
    cr_assert_not(fgets(line, sizeof line, in));
    fclose(in);
    globfree(&found);
}

Test(collector, errors_name_the_way_out)
{
    struct rdr_collector *collector = start();
    config.port = rdr_collector_port(collector);
    cr_assert_null(rdr_collector_create(&config, error, sizeof error));
    cr_assert(strstr(error, "another collector"), "%s", error);
    rdr_collector_destroy(collector);
    config.port = 0;

    FILE *out = fopen(db_path, "w");
    for (int i = 0; i < 1000; i++)
        fprintf(out, "not a database\n");
    fclose(out);
    cr_assert_null(rdr_collector_create(&config, error, sizeof error));
    cr_assert(strstr(error, db_path) && strstr(error, "--db"), "%s", error);
    cr_assert_eq(remove(db_path), 0);

    out = fopen(names_path, "w");
    fprintf(out, "{\"id\":1,\"name\":\"A\"}\n\n{\"id\":\"x\"}\n");
    fclose(out);
    config.names_path = names_path;
    cr_assert_null(rdr_collector_create(&config, error, sizeof error));
    cr_assert(strstr(error, "names.json:3:"), "%s", error);
    cr_assert_eq(question("SELECT count(*) FROM INI_VALUES"), 0, "all names or none");
}

/* The record's way from the formatter's queue to the table. */
Test(collector, formatter_and_collector_agree)
{
    struct rdr_formatter_config formatter_config;
    struct rdr_formatter_stats stats;
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    struct rdr_collector *collector = start();
    rdr_formatter_config_init(&formatter_config);
    formatter_config.destination_count = 1;
    snprintf(formatter_config.destinations[0].host, 256, "127.0.0.1");
    formatter_config.destinations[0].port = rdr_collector_port(collector);
    struct rdr_formatter *formatter = rdr_formatter_create(&formatter_config, error, sizeof error);
    for (uint32_t i = 0; i < 400; i++) {
        struct rdr_header_ids ids = {.creator = 9, .epoch = 1, .uid_low = i};
        values[RDR_FLOW_FLOW_ID].integer = i;
        size_t size = encode(rdr_schema_find(RDR_TAG_FLOW_END), &ids, values, record);
        cr_assert_eq(rdr_formatter_put(formatter, 3, record, (uint32_t)size), 0);
    }
    cr_assert(rdr_formatter_drain(formatter, 10000));
    rdr_formatter_stats(formatter, &stats);
    rdr_formatter_destroy(formatter);
    struct rdr_collector_totals totals = finish(collector);
    cr_assert_eq(stats.sent, 400);
    cr_assert_eq(totals.bytes, stats.sent_bytes);
    cr_assert_eq(question("SELECT count(DISTINCT FLOW_ID) FROM RPT_FLOW_END"), 400);
}

/* ---- reports ---- */

static struct rdr_report_row rows[100];
static char row_names[100][100];
static unsigned row_count;

static void keep_row(const struct rdr_report_row *row, void *context)
{
    (void)context;
    rows[row_count] = *row;
    snprintf(row_names[row_count++], sizeof row_names[0], "%.*s", (int)row->name_bytes, row->name);
}

struct usage {
    uint32_t tag;
    bool is_ipv6;
    int service, protocol;
    const char *subscriber, *host;
    uint32_t up, down;
};

static void send_usage(int fd, const struct usage *u)
{
    uint8_t record[RDR_RECORD_MAX_BYTES];
    struct rdr_value values[RDR_FIELDS_MAX] = {0};
    const struct rdr_schema *schema = u->is_ipv6 ? rdr_schema_find_ipv6(u->tag) : rdr_schema_find(u->tag);
    values[RDR_TUR_SERVICE_ID].integer = u->service;
    values[RDR_TUR_PROTOCOL_ID].integer = u->protocol;
    values[RDR_TUR_SUBSCRIBER_ID] =
        (struct rdr_value){.string = u->subscriber, .string_bytes = (uint16_t)strlen(u->subscriber)};
    values[RDR_TUR_ACCESS_STRING] = (struct rdr_value){.string = u->host, .string_bytes = (uint16_t)strlen(u->host)};
    values[RDR_TUR_SERVER_IP].integer = u->is_ipv6 ? 0 : 0x0a010203;
    values[RDR_TUR_REPORT_TIME].integer = 1700000000 + u->service;
    values[RDR_TUR_SESSION_UPSTREAM_VOLUME].integer = u->up;
    values[RDR_TUR_SESSION_DOWNSTREAM_VOLUME].integer = u->down;
    if (u->is_ipv6)
        values[RDR_TUR_IPV6_SERVER_IPV6] = (struct rdr_value){.string = "2001:db8::1", .string_bytes = 11};
    send_bytes(fd, record, encode(schema, NULL, values, record));
}

static void expect_row(unsigned i, const char *by, unsigned rank, const char *name, uint64_t up, uint64_t down,
                       uint64_t records)
{
    cr_assert_lt(i, row_count);
    cr_assert_str_eq(rows[i].by, by);
    cr_assert_eq(rows[i].rank, rank);
    cr_assert_str_eq(row_names[i], name);
    cr_assert_eq(rows[i].bytes_up, up, "%s: %lu", name, rows[i].bytes_up);
    cr_assert_eq(rows[i].bytes_down, down);
    cr_assert_eq(rows[i].records, records);
}

static void run_report(struct rdr_report_config report_config, struct rdr_report_sum *ret_sum)
{
    row_count = 0;
    report_config.db_path = db_path;
    struct rdr_report *report = rdr_report_open(&report_config, error, sizeof error);
    cr_assert(report, "%s", error);
    cr_assert_eq(rdr_report_sum(report, ret_sum, error, sizeof error), 0, "%s", error);
    cr_assert_eq(rdr_report_rows(report, keep_row, NULL, error, sizeof error), 0, "%s", error);
    rdr_report_close(report);
}

Test(collector, report_counts_each_flow_once_and_names_what_has_a_name)
{
    static const struct usage usages[] = {
        {RDR_TAG_HTTP_TRANSACTION_USAGE, false, 1, 10, "10.0.0.1", "www.example.com", 100, 4000000000},
        {RDR_TAG_TRANSACTION, false, 1, 10, "10.0.0.1", "www.example.com", 100, 4000000000}, /* the same flow again */
        {RDR_TAG_HTTP_TRANSACTION_USAGE, false, 1, 10, "10.0.0.2", "www.example.com", 100, 4000000000},
        {RDR_TAG_TRANSACTION_USAGE, false, 2, 20, "10.0.0.2", "", 1000, 2000},
        {RDR_TAG_TRANSACTION_USAGE, true, 2, 21, "", "", 30, 3},
    };
    FILE *out = fopen(names_path, "w");
    fprintf(out, "{\"id\":10,\"name\":\"HTTP\",\"service\":\"Web\",\"service_id\":1,\"aliases\":[\"x\"]}\n"
                 "{\"id\":20,\"name\":\"DNS\"}\n");
    fclose(out);
    struct rdr_collector *collector = start();
    int fd = connect_to(collector);
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++)
        send_usage(fd, &usages[i]);
    close(fd);
    cr_assert_eq(finish(collector).store.stored, 5);

    struct rdr_report_sum sum;
    run_report((struct rdr_report_config){.names_path = names_path, .top = 10}, &sum);
    cr_assert_eq(sum.records, 4);
    cr_assert_eq(sum.other_records, 1);
    cr_assert_eq(sum.bytes_up, 1230);
    cr_assert_eq(sum.bytes_down, 8000002003);
    cr_assert_eq(sum.first_report_time, 1700000001);
    cr_assert_eq(sum.last_report_time, 1700000002);
    cr_assert_eq(row_count, 11);
    expect_row(0, "service", 1, "Web", 200, 8000000000, 2);
    cr_assert_eq(rows[0].id, 1);
    cr_assert(rows[0].share > 0.99 && rows[0].share < 1.0);
    expect_row(1, "service", 2, "service 2", 1030, 2003, 2);
    expect_row(2, "protocol", 1, "HTTP", 200, 8000000000, 2);
    expect_row(3, "protocol", 2, "DNS", 1000, 2000, 1);
    expect_row(4, "protocol", 3, "protocol 21", 30, 3, 1);
    expect_row(5, "subscriber", 1, "10.0.0.2", 1100, 4000002000, 2);
    expect_row(6, "subscriber", 2, "10.0.0.1", 100, 4000000000, 1);
    expect_row(7, "subscriber", 3, "(unknown)", 30, 3, 1);
    expect_row(8, "host", 1, "www.example.com", 200, 8000000000, 2);
    expect_row(9, "host", 2, "10.1.2.3", 1000, 2000, 1);
    expect_row(10, "host", 3, "2001:db8::1", 30, 3, 1);

    run_report((struct rdr_report_config){.source = RDR_REPORT_TR, .top = 1}, &sum);
    cr_assert_eq(sum.records, 1);
    cr_assert_eq(sum.other_records, 4);
    cr_assert_eq(row_count, 4);
    expect_row(0, "service", 1, "service 1", 100, 4000000000, 1);

    /* Names that the collector kept serve without the file. */
    config.names_path = names_path;
    config.is_once = false;
    config.idle_exit_s = 1;
    finish(start());
    run_report((struct rdr_report_config){.top = 1}, &sum);
    expect_row(0, "service", 1, "Web", 200, 8000000000, 2);
    expect_row(1, "protocol", 1, "HTTP", 200, 8000000000, 2);
}

Test(collector, report_without_records_or_database)
{
    struct rdr_report_sum sum;
    struct rdr_report_config report_config = {.db_path = db_path, .top = 10};
    cr_assert_null(rdr_report_open(&report_config, error, sizeof error));
    cr_assert(strstr(error, "sce collect"), "%s", error);
    rdr_collector_destroy(start());
    run_report(report_config, &sum);
    cr_assert_eq(sum.records, 0);
    cr_assert_eq(row_count, 0);
}

Test(collector, addresses_are_read_strictly)
{
    char host[16];
    uint16_t port;
    cr_assert_eq(rdr_address_parse("127.0.0.1:33000", host, sizeof host, &port), 0);
    cr_assert_str_eq(host, "127.0.0.1");
    cr_assert_eq(port, 33000);
    cr_assert_eq(rdr_address_parse("[::1]:0", host, sizeof host, &port), 0);
    cr_assert_str_eq(host, "::1");
    static const char *const wrong[] = {"",
                                        ":1",
                                        "host",
                                        "host:",
                                        "host:65536",
                                        "host:1x",
                                        "host:-1",
                                        "::1:33000",
                                        "[]:1",
                                        "[::1:33000",
                                        "a-name-that-does-not-fit:1",
                                        "host:000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_lt(rdr_address_parse(wrong[i], host, sizeof host, &port), 0, "%s", wrong[i]);
}

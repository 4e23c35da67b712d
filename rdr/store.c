#include "rdr/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdr/names.h"

#define SCHEMAS_MAX   16u
#define SQL_MAX_BYTES 8192u

enum { PARAMETER_TIME = 1, PARAMETER_SOURCE, PARAMETER_IDS, PARAMETER_FIELDS = PARAMETER_IDS + 4 };

struct rdr_store {
    sqlite3 *db;
    char path[512], error[600];
    unsigned schema_count;
    sqlite3_stmt *insertions[SCHEMAS_MAX][2]; /* [1]: the layout with IPv6 addresses */
    bool is_in_transaction;
    uint32_t pending_by_schema[SCHEMAS_MAX], pending, pending_doubles;
    struct rdr_store_totals totals;
};

/*
 * Ids come round, and start anew with an engine: only a record that says the same of the same is a double. A record that was
 * sent twice is the same in every byte, so that these never keep two of it.
 */
static const char *const identity_fields[] = {
    "REPORT_TIME", "CLIENT_IP", "CLIENT_PORT", "SERVER_IP",    "SERVER_PORT",
    "IP_PROTOCOL", "END_TIME",  "LINK_ID",     "GENERATOR_ID", "SERVICE_USAGE_COUNTER_ID",
};

struct sql {
    char text[SQL_MAX_BYTES];
    size_t size_bytes;
};

__attribute__((format(printf, 2, 3))) static void sql_add(struct sql *sql, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(sql->text + sql->size_bytes, sizeof sql->text - sql->size_bytes, format, args);
    va_end(args);
    sql->size_bytes += (size_t)n;
    if (sql->size_bytes >= sizeof sql->text)
        abort(); /* the statements are functions of the schema table alone */
}

static int failed(struct rdr_store *store)
{
    snprintf(store->error, sizeof store->error, "%s: %s", store->path, sqlite3_errmsg(store->db));
    return -EIO;
}

static int execute(struct rdr_store *store, const char *text)
{
    return sqlite3_exec(store->db, text, NULL, NULL, NULL) ? failed(store) : 0;
}

static void add_columns(struct sql *sql, const struct rdr_schema *schema, const struct rdr_schema *without)
{
    for (unsigned i = 0; i < schema->field_count; i++)
        if (!without || rdr_field_find(without, schema->fields[i].name) < 0)
            sql_add(sql, ", \"%s\" %s", schema->fields[i].name,
                    schema->fields[i].type == RDR_STRING ? "TEXT" : "INTEGER");
}

static int create_table(struct rdr_store *store, const struct rdr_schema *schema)
{
    struct sql sql = {.size_bytes = 0};
    const struct rdr_schema *ipv6 = rdr_schema_find_ipv6(schema->tag);
    sql_add(&sql, "CREATE TABLE IF NOT EXISTS %s (TIME_STAMP INTEGER NOT NULL, RECORD_SOURCE INTEGER NOT NULL",
            schema->table);
    add_columns(&sql, schema, NULL);
    if (ipv6)
        add_columns(&sql, ipv6, schema);
    sql_add(&sql, ", HEADER_CREATOR INTEGER, HEADER_EPOCH INTEGER, HEADER_INTERVAL INTEGER, HEADER_UID_LOW INTEGER);");
    sql_add(&sql, "CREATE INDEX IF NOT EXISTS %s_I1 ON %s (%s);", schema->table, schema->table,
            rdr_field_find(schema, "END_TIME") >= 0 ? "END_TIME" : "REPORT_TIME");
    sql_add(&sql,
            "CREATE INDEX IF NOT EXISTS %s_HEADER ON %s"
            " (HEADER_UID_LOW, HEADER_CREATOR, HEADER_INTERVAL, HEADER_EPOCH);",
            schema->table, schema->table);
    return execute(store, sql.text);
}

static int prepare_insertion(struct rdr_store *store, const struct rdr_schema *schema, sqlite3_stmt **ret_statement)
{
    struct sql sql = {.size_bytes = 0};
    sql_add(&sql,
            "INSERT INTO %s (TIME_STAMP, RECORD_SOURCE, HEADER_CREATOR, HEADER_EPOCH, HEADER_INTERVAL, HEADER_UID_LOW",
            schema->table);
    for (unsigned i = 0; i < schema->field_count; i++)
        sql_add(&sql, ", \"%s\"", schema->fields[i].name);
    sql_add(&sql, ") SELECT ?1, ?2, ?3, ?4, ?5, ?6");
    for (unsigned i = 0; i < schema->field_count; i++)
        sql_add(&sql, ", ?%u", PARAMETER_FIELDS + i);
    sql_add(&sql,
            " WHERE (?3 = 0 AND ?4 = 0 AND ?5 = 0 AND ?6 = 0) OR NOT EXISTS (SELECT 1 FROM %s WHERE HEADER_UID_LOW = ?6"
            " AND HEADER_CREATOR = ?3 AND HEADER_INTERVAL = ?5 AND HEADER_EPOCH = ?4",
            schema->table);
    for (size_t i = 0; i < sizeof identity_fields / sizeof identity_fields[0]; i++) {
        int field = rdr_field_find(schema, identity_fields[i]);
        if (field >= 0)
            sql_add(&sql, " AND %s = ?%d", identity_fields[i], PARAMETER_FIELDS + field);
    }
    sql_add(&sql, ")");
    return sqlite3_prepare_v3(store->db, sql.text, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL) ? failed(store)
                                                                                                       : 0;
}

static int open_all(struct rdr_store *store)
{
    const struct rdr_schema *schemas = rdr_schemas(&store->schema_count);
    if (store->schema_count > SCHEMAS_MAX)
        abort();
    sqlite3_busy_timeout(store->db, 10000);
    int error = execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                               "CREATE TABLE IF NOT EXISTS INI_VALUES " RDR_NAMES_COLUMNS);
    for (unsigned i = 0; !error && i < store->schema_count; i++) {
        const struct rdr_schema *ipv6 = rdr_schema_find_ipv6(schemas[i].tag);
        error = create_table(store, &schemas[i]);
        if (!error)
            error = prepare_insertion(store, &schemas[i], &store->insertions[i][0]);
        if (!error && ipv6)
            error = prepare_insertion(store, ipv6, &store->insertions[i][1]);
    }
    return error;
}

struct rdr_store *rdr_store_open(const char *path, char *error, size_t error_size)
{
    struct rdr_store *store = calloc(1, sizeof *store);
    if (!store) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    snprintf(store->path, sizeof store->path, "%s", path);
    if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
        failed(store);
    else if (!open_all(store))
        return store;
    snprintf(error, error_size,
             "%s (if it is not a database of this version of sce collect: give another one with --db)", store->error);
    rdr_store_close(store);
    return NULL;
}

/* The table's number, and which layout. */
static sqlite3_stmt *insertion_of(const struct rdr_store *store, const struct rdr_schema *schema, unsigned *ret_index)
{
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    for (unsigned i = 0; i < count; i++)
        if (schemas[i].tag == schema->tag) {
            *ret_index = i;
            return store->insertions[i][schema != &schemas[i]];
        }
    return NULL;
}

/* Text that readers of the database can take: UTF-8 (RFC 3629) without NUL. */
static bool is_text(const uint8_t *p, size_t size)
{
    const uint8_t *end = p + size;
    while (p < end) {
        uint32_t lead = *p++, more = 0;
        if (lead >= 0x80)
            more = lead >= 0xc2 && lead < 0xe0 ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : 4;
        if (!lead || more == 4 || (size_t)(end - p) < more)
            return false;
        uint32_t code = more ? lead & (0x3fu >> more) : lead;
        for (uint32_t i = 0; i < more; i++, p++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            code = code << 6 | (*p & 0x3fu);
        }
        if ((more == 2 && code < 0x800) || (more == 3 && (code < 0x10000 || code > 0x10ffff)) ||
            (code >= 0xd800 && code <= 0xdfff))
            return false;
    }
    return true;
}

static void bind_value(sqlite3_stmt *s, int parameter, enum rdr_type type, const struct rdr_value *value)
{
    if (type != RDR_STRING)
        sqlite3_bind_int64(s, parameter, value->integer);
    else if (is_text((const uint8_t *)value->string, value->string_bytes))
        sqlite3_bind_text(s, parameter, value->string, value->string_bytes, SQLITE_STATIC);
    else
        sqlite3_bind_blob(s, parameter, value->string, value->string_bytes, SQLITE_STATIC);
}

int rdr_store_add(struct rdr_store *store, const struct rdr_record *record, uint32_t source_ip, int64_t time_s)
{
    unsigned index = 0;
    sqlite3_stmt *s = insertion_of(store, record->schema, &index);
    if (!store->is_in_transaction && execute(store, "BEGIN IMMEDIATE"))
        return -EIO;
    store->is_in_transaction = true;
    sqlite3_bind_int64(s, PARAMETER_TIME, time_s);
    sqlite3_bind_int64(s, PARAMETER_SOURCE, source_ip);
    sqlite3_bind_int64(s, PARAMETER_IDS, record->ids.creator);
    sqlite3_bind_int64(s, PARAMETER_IDS + 1, record->ids.epoch);
    sqlite3_bind_int64(s, PARAMETER_IDS + 2, record->ids.interval);
    sqlite3_bind_int64(s, PARAMETER_IDS + 3, record->ids.uid_low);
    for (unsigned i = 0; i < record->schema->field_count; i++)
        bind_value(s, (int)(PARAMETER_FIELDS + i), record->schema->fields[i].type, &record->values[i]);
    int result = sqlite3_step(s);
    int rows = sqlite3_changes(store->db);
    if (result != SQLITE_DONE)
        failed(store);
    sqlite3_reset(s);
    if (result != SQLITE_DONE)
        return -EIO;
    store->pending += rows != 0;
    store->pending_by_schema[index] += rows != 0;
    store->pending_doubles += rows == 0;
    return rows != 0;
}

uint32_t rdr_store_pending(const struct rdr_store *store)
{
    return store->pending;
}

int rdr_store_flush(struct rdr_store *store)
{
    if (!store->is_in_transaction)
        return 0;
    int error = execute(store, "COMMIT");
    if (error)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->is_in_transaction = false;
    for (unsigned i = 0; i < store->schema_count; i++) {
        store->totals.stored_by_schema[i] += error ? 0 : store->pending_by_schema[i];
        store->pending_by_schema[i] = 0;
    }
    store->totals.stored += error ? 0 : store->pending;
    store->totals.doubles += store->pending_doubles;
    store->pending = store->pending_doubles = 0;
    return error;
}

const char *rdr_store_error(const struct rdr_store *store)
{
    return store->error;
}

void rdr_store_totals(const struct rdr_store *store, struct rdr_store_totals *ret_totals)
{
    *ret_totals = store->totals;
}

int rdr_store_load_names(struct rdr_store *store, const char *path, char *error, size_t error_size)
{
    return rdr_names_load(store->db, "INI_VALUES", path, error, error_size);
}

void rdr_store_close(struct rdr_store *store)
{
    if (!store)
        return;
    rdr_store_flush(store);
    for (unsigned i = 0; i < SCHEMAS_MAX; i++) {
        sqlite3_finalize(store->insertions[i][0]);
        sqlite3_finalize(store->insertions[i][1]);
    }
    sqlite3_close(store->db);
    free(store);
}

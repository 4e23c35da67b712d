#include "rdr/report.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdr/names.h"

struct rdr_report {
    sqlite3 *db;
    struct rdr_report_config config;
};

/* The views that all questions are put to; only temporary objects, the database itself stays as it is. */
static const char *const views[] = {
    [RDR_REPORT_TUR] =
        "CREATE TEMP VIEW USAGE AS"
        " SELECT SERVICE_ID, PROTOCOL_ID, SUBSCRIBER_ID, ACCESS_STRING, SERVER_IP, SERVER_IPV6, REPORT_TIME,"
        "  SESSION_UPSTREAM_VOLUME AS UP, SESSION_DOWNSTREAM_VOLUME AS DOWN FROM main.RPT_TUR"
        " UNION ALL"
        " SELECT SERVICE_ID, PROTOCOL_ID, SUBSCRIBER_ID, ACCESS_STRING, SERVER_IP, SERVER_IPV6, REPORT_TIME,"
        "  SESSION_UPSTREAM_VOLUME, SESSION_DOWNSTREAM_VOLUME FROM main.RPT_HTTP;"
        "CREATE TEMP VIEW OTHER AS SELECT 1 FROM main.RPT_TR",
    [RDR_REPORT_TR] =
        "CREATE TEMP VIEW USAGE AS"
        " SELECT SERVICE_ID, PROTOCOL_ID, SUBSCRIBER_ID, ACCESS_STRING, SERVER_IP, NULL AS SERVER_IPV6, REPORT_TIME,"
        "  SESSION_UPSTREAM_VOLUME AS UP, SESSION_DOWNSTREAM_VOLUME AS DOWN FROM main.RPT_TR;"
        "CREATE TEMP VIEW OTHER AS SELECT 1 FROM main.RPT_TUR UNION ALL SELECT 1 FROM main.RPT_HTTP",
};

/* Sections: the noun, what rows are grouped by, the name of a group, whether the group is a number with a name. */
static const struct {
    const char *by, *key, *name;
    bool has_id;
} sections[] = {
    {"service", "SERVICE_ID",
     "coalesce((SELECT value_key FROM NAMES WHERE value_type = 1 AND value = KEY ORDER BY se_ip LIMIT 1),"
     " 'service ' || KEY)",
     true},
    {"protocol", "PROTOCOL_ID",
     "coalesce((SELECT value_key FROM NAMES WHERE value_type = 2 AND value = KEY ORDER BY se_ip LIMIT 1),"
     " 'protocol ' || KEY)",
     true},
    {"subscriber", "SUBSCRIBER_ID", "CASE KEY WHEN '' THEN '(unknown)' ELSE KEY END", false},
    {"host",
     "CASE WHEN ACCESS_STRING <> '' THEN ACCESS_STRING"
     " WHEN SERVER_IPV6 <> '' AND SERVER_IPV6 <> ' ' THEN SERVER_IPV6"
     " ELSE printf('%d.%d.%d.%d', SERVER_IP >> 24, SERVER_IP >> 16 & 255, SERVER_IP >> 8 & 255, SERVER_IP & 255) END",
     "KEY", false},
};

static int failed(const struct rdr_report *report, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: %s", report->config.db_path, sqlite3_errmsg(report->db));
    return -EIO;
}

static int open_views(struct rdr_report *report, char *error, size_t error_size)
{
    static const char check[] = "SELECT 1 FROM main.RPT_TUR, main.RPT_HTTP, main.RPT_TR, main.INI_VALUES LIMIT 0";
    sqlite3_busy_timeout(report->db, 10000);
    if (sqlite3_exec(report->db, check, NULL, NULL, NULL)) {
        snprintf(error, error_size, "%s: %s: not a database that `sce collect --db %s` made", report->config.db_path,
                 sqlite3_errmsg(report->db), report->config.db_path);
        return -EIO;
    }
    if (sqlite3_exec(report->db, views[report->config.source], NULL, NULL, NULL) ||
        sqlite3_exec(report->db, "CREATE TEMP TABLE NAMES " RDR_NAMES_COLUMNS, NULL, NULL, NULL) ||
        sqlite3_exec(report->db, "INSERT INTO NAMES SELECT * FROM main.INI_VALUES", NULL, NULL, NULL))
        return failed(report, error, error_size);
    if (report->config.names_path &&
        rdr_names_load(report->db, "NAMES", report->config.names_path, error, error_size) < 0)
        return -EIO;
    return 0;
}

struct rdr_report *rdr_report_open(const struct rdr_report_config *config, char *error, size_t error_size)
{
    struct rdr_report *report = calloc(1, sizeof *report);
    if (!report) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    report->config = *config;
    if (sqlite3_open_v2(config->db_path, &report->db, SQLITE_OPEN_READONLY, NULL))
        snprintf(error, error_size, "%s: %s; records come into it with: sce collect --db %s", config->db_path,
                 sqlite3_errmsg(report->db), config->db_path);
    else if (!open_views(report, error, error_size))
        return report;
    rdr_report_close(report);
    return NULL;
}

int rdr_report_sum(struct rdr_report *report, struct rdr_report_sum *ret_sum, char *error, size_t error_size)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(report->db,
                           "SELECT count(*), coalesce(sum(UP), 0), coalesce(sum(DOWN), 0), min(REPORT_TIME),"
                           " max(REPORT_TIME), (SELECT count(*) FROM OTHER) FROM USAGE",
                           -1, &s, NULL))
        return failed(report, error, error_size);
    int result = sqlite3_step(s);
    if (result == SQLITE_ROW)
        *ret_sum = (struct rdr_report_sum){
            .records = (uint64_t)sqlite3_column_int64(s, 0),
            .bytes_up = (uint64_t)sqlite3_column_int64(s, 1),
            .bytes_down = (uint64_t)sqlite3_column_int64(s, 2),
            .first_report_time = sqlite3_column_int64(s, 3),
            .last_report_time = sqlite3_column_int64(s, 4),
            .other_records = (uint64_t)sqlite3_column_int64(s, 5),
        };
    else
        failed(report, error, error_size);
    sqlite3_finalize(s);
    return result == SQLITE_ROW ? 0 : -EIO;
}

static int section_rows(struct rdr_report *report, size_t section,
                        void (*on_row)(const struct rdr_report_row *, void *), void *context, char *error,
                        size_t error_size)
{
    char sql[1200];
    sqlite3_stmt *s;
    snprintf(sql, sizeof sql,
             "SELECT %s AS NAME, KEY, N, UP, DOWN, SHARE FROM (SELECT %s AS KEY, count(*) AS N, sum(UP) AS UP,"
             " sum(DOWN) AS DOWN, coalesce(sum(UP + DOWN) * 1.0 / nullif(sum(sum(UP + DOWN)) OVER (), 0), 0) AS SHARE"
             " FROM USAGE GROUP BY 1) ORDER BY UP + DOWN DESC, N DESC, KEY LIMIT ?1",
             sections[section].name, sections[section].key);
    if (sqlite3_prepare_v2(report->db, sql, -1, &s, NULL))
        return failed(report, error, error_size);
    sqlite3_bind_int64(s, 1, report->config.top);
    int result;
    for (unsigned rank = 1; (result = sqlite3_step(s)) == SQLITE_ROW; rank++) {
        struct rdr_report_row row = {
            .by = sections[section].by,
            .rank = rank,
            .name = sqlite3_column_blob(s, 0),
            .name_bytes = (size_t)sqlite3_column_bytes(s, 0),
            .has_id = sections[section].has_id,
            .id = sections[section].has_id ? sqlite3_column_int64(s, 1) : 0,
            .records = (uint64_t)sqlite3_column_int64(s, 2),
            .bytes_up = (uint64_t)sqlite3_column_int64(s, 3),
            .bytes_down = (uint64_t)sqlite3_column_int64(s, 4),
            .share = sqlite3_column_double(s, 5),
        };
        on_row(&row, context);
    }
    if (result != SQLITE_DONE)
        failed(report, error, error_size);
    sqlite3_finalize(s);
    return result == SQLITE_DONE ? 0 : -EIO;
}

int rdr_report_rows(struct rdr_report *report, void (*on_row)(const struct rdr_report_row *row, void *context),
                    void *context, char *error, size_t error_size)
{
    int result = 0;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0] && !result; i++)
        result = section_rows(report, i, on_row, context, error, error_size);
    return result;
}

void rdr_report_close(struct rdr_report *report)
{
    if (!report)
        return;
    sqlite3_close(report->db);
    free(report);
}

#include "rdr/names.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int insert(sqlite3_stmt *insertion, enum rdr_name_type type, const json_t *id, const json_t *name)
{
    sqlite3_reset(insertion);
    sqlite3_bind_int64(insertion, 1, (sqlite3_int64)time(NULL));
    sqlite3_bind_int(insertion, 2, (int)type);
    sqlite3_bind_text(insertion, 3, json_string_value(name), -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(insertion, 4, json_integer_value(id));
    return sqlite3_step(insertion) == SQLITE_DONE ? 0 : -1;
}

/* 0, or -1 with the reason in `error`. */
static int load_line(sqlite3 *db, sqlite3_stmt *insertion, const char *line, char *error, size_t error_size)
{
    json_error_t json_error;
    json_t *object = json_loads(line, 0, &json_error);
    if (!object) {
        snprintf(error, error_size, "column %d: %s", json_error.column, json_error.text);
        return -1;
    }
    int result = -1;
    const json_t *id = json_object_get(object, "id"), *name = json_object_get(object, "name");
    const json_t *service_id = json_object_get(object, "service_id"), *service = json_object_get(object, "service");
    if (!json_is_integer(id) || !json_is_string(name))
        snprintf(error, error_size,
                 "expected an object with an integer \"id\" and a string \"name\", as "
                 "`sce protocols --json` prints them");
    else if (insert(insertion, RDR_NAME_PROTOCOL, id, name) ||
             (json_is_integer(service_id) && json_is_string(service) &&
              insert(insertion, RDR_NAME_SERVICE, service_id, service)))
        snprintf(error, error_size, "%s", sqlite3_errmsg(db));
    else
        result = 0;
    json_decref(object);
    return result;
}

static int load_lines(sqlite3 *db, sqlite3_stmt *insertion, FILE *in, const char *path, char *error, size_t error_size)
{
    char *line = NULL, reason[300];
    size_t capacity = 0;
    int number = 0, loaded = 0;
    while (loaded >= 0 && getline(&line, &capacity, in) > 0) {
        number++;
        if (!line[strspn(line, " \t\r\n")])
            continue;
        if (load_line(db, insertion, line, reason, sizeof reason)) {
            snprintf(error, error_size, "%s:%d: %s", path, number, reason);
            loaded = -1;
        } else {
            loaded++;
        }
    }
    free(line);
    return loaded;
}

int rdr_names_load(sqlite3 *db, const char *table, const char *path, char *error, size_t error_size)
{
    FILE *in = fopen(path, "r");
    if (!in) {
        snprintf(error, error_size, "%s: %s; make it with: sce protocols --json > %s", path, strerror(errno), path);
        return -1;
    }
    char sql[200];
    sqlite3_stmt *insertion = NULL;
    int loaded = -1;
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO %s VALUES (?1, '', ?2, ?3, ?4)", table);
    if (sqlite3_exec(db, "SAVEPOINT names", NULL, NULL, NULL) || sqlite3_prepare_v2(db, sql, -1, &insertion, NULL)) {
        snprintf(error, error_size, "%s", sqlite3_errmsg(db));
    } else {
        loaded = load_lines(db, insertion, in, path, error, error_size);
    }
    sqlite3_finalize(insertion);
    if (loaded < 0)
        sqlite3_exec(db, "ROLLBACK TO names", NULL, NULL, NULL);
    sqlite3_exec(db, "RELEASE names", NULL, NULL, NULL);
    fclose(in);
    return loaded;
}

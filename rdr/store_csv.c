#include "rdr/store_csv.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX        16u
#define FILE_RECORDS_MAX 10000u
#define FILE_AGE_MAX_MS  60000u
#define PATH_BYTES       700u

struct csv_file {
    uint32_t tag;
    FILE *out; /* NULL between files */
    unsigned long number;
    unsigned records;
    uint64_t began_ms;
};

struct rdr_csv {
    char folder[512], error[PATH_BYTES + 100];
    struct csv_file files[FILES_MAX];
    unsigned length;
};

static int failed(struct rdr_csv *csv, const char *path)
{
    snprintf(csv->error, sizeof csv->error, "%s: %s", path, strerror(errno));
    return -EIO;
}

static void folder_path(const struct rdr_csv *csv, uint32_t tag, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%" PRIu32, csv->folder, tag);
}

static void file_path(const struct rdr_csv *csv, const struct csv_file *file, const char *suffix, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%" PRIu32 "/%lu.csv%s", csv->folder, file->tag, file->number, suffix);
}

/* Creates a folder and those above it. */
static int make_folder(const char *path)
{
    char part[PATH_BYTES];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    return mkdir(part, 0777) && errno != EEXIST ? -errno : 0;
}

static unsigned long highest_number(const char *folder)
{
    unsigned long highest = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *end;
        unsigned long number = strtoul(entry->d_name, &end, 10);
        if (end != entry->d_name && !strncmp(end, ".csv", 4) && number > highest)
            highest = number;
    }
    if (dir)
        closedir(dir);
    return highest;
}

struct rdr_csv *rdr_csv_open(const char *folder, char *error, size_t error_size)
{
    struct rdr_csv *csv = calloc(1, sizeof *csv);
    if (!csv || make_folder(folder)) {
        snprintf(error, error_size, "%s: %s", folder, strerror(errno));
        free(csv);
        return NULL;
    }
    snprintf(csv->folder, sizeof csv->folder, "%s", folder);
    return csv;
}

static int finish_file(struct rdr_csv *csv, struct csv_file *file)
{
    if (!file->out)
        return 0;
    char path[PATH_BYTES], final_path[PATH_BYTES];
    file_path(csv, file, ".tmp", path);
    file_path(csv, file, "", final_path);
    bool is_written = !fclose(file->out);
    file->out = NULL;
    return is_written && !rename(path, final_path) ? 0 : failed(csv, path);
}

static struct csv_file *file_of(struct rdr_csv *csv, uint32_t tag)
{
    for (unsigned i = 0; i < csv->length; i++)
        if (csv->files[i].tag == tag)
            return &csv->files[i];
    if (csv->length == FILES_MAX)
        return NULL;
    char path[PATH_BYTES];
    folder_path(csv, tag, path);
    csv->files[csv->length] = (struct csv_file){.tag = tag, .number = highest_number(path)};
    return &csv->files[csv->length++];
}

static int begin_file(struct rdr_csv *csv, struct csv_file *file, uint64_t time_ms)
{
    char path[PATH_BYTES];
    folder_path(csv, file->tag, path);
    if (make_folder(path))
        return failed(csv, path);
    file->number++;
    file->records = 0;
    file->began_ms = time_ms;
    file_path(csv, file, ".tmp", path);
    file->out = fopen(path, "w");
    return file->out ? 0 : failed(csv, path);
}

static void write_string(FILE *out, const struct rdr_value *value)
{
    bool is_quoted = false;
    for (unsigned i = 0; i < value->string_bytes; i++)
        is_quoted |= strchr(",\"\r\n", value->string[i]) != NULL && value->string[i];
    if (!is_quoted) {
        fwrite(value->string, 1, value->string_bytes, out);
        return;
    }
    putc('"', out);
    for (unsigned i = 0; i < value->string_bytes; i++) {
        if (value->string[i] == '"')
            putc('"', out);
        putc(value->string[i], out);
    }
    putc('"', out);
}

int rdr_csv_add(struct rdr_csv *csv, const struct rdr_record *record, uint32_t source_ip, uint64_t time_ms)
{
    struct csv_file *file = file_of(csv, record->schema->tag);
    if (!file || (!file->out && begin_file(csv, file, time_ms)))
        return -EIO;
    fprintf(file->out, "%" PRIu64 ",%" PRIu32 ",%u.%u.%u.%u", time_ms, record->schema->tag, source_ip >> 24,
            source_ip >> 16 & 255, source_ip >> 8 & 255, source_ip & 255);
    for (unsigned i = 0; i < record->schema->field_count; i++) {
        const struct rdr_field *field = &record->schema->fields[i];
        putc(',', file->out);
        if (field->type == RDR_STRING)
            write_string(file->out, &record->values[i]);
        else if (!strcmp(field->unit, "IPv4"))
            fprintf(file->out, "%" PRId32, (int32_t)(uint32_t)record->values[i].integer);
        else
            fprintf(file->out, "%" PRId64, record->values[i].integer);
    }
    putc('\n', file->out);
    if (ferror(file->out))
        return failed(csv, csv->folder);
    return ++file->records >= FILE_RECORDS_MAX ? finish_file(csv, file) : 0;
}

int rdr_csv_flush(struct rdr_csv *csv, uint64_t time_ms)
{
    int error = 0;
    for (unsigned i = 0; i < csv->length; i++) {
        struct csv_file *file = &csv->files[i];
        if (file->out && time_ms >= file->began_ms + FILE_AGE_MAX_MS)
            error |= finish_file(csv, file);
        else if (file->out && fflush(file->out))
            error |= failed(csv, csv->folder);
    }
    return error ? -EIO : 0;
}

const char *rdr_csv_error(const struct rdr_csv *csv)
{
    return csv->error;
}

int rdr_csv_close(struct rdr_csv *csv)
{
    if (!csv)
        return 0;
    int error = 0;
    for (unsigned i = 0; i < csv->length; i++)
        error |= finish_file(csv, &csv->files[i]);
    free(csv);
    return error ? -EIO : 0;
}

/*
 * Flows as `sce replay` prints them: kept until the end and put in order of their first packet, or printed as they close.
 * The JSON keys are a contract with programs outside, see docs/replay.md.
 */
#pragma once

#include <stdio.h>

#include "base/json.h"
#include "dataplane/worker.h"

enum flow_format { FLOW_FORMAT_TABLE, FLOW_FORMAT_JSON, FLOW_FORMAT_CSV };

struct kept_flow {
    struct dp_event event;
    struct dp_attributes *attributes; /* NULL = none */
};

struct flow_output {
    const struct dp_engine *engine;
    enum flow_format format;
    bool stream;      /* print at close, keep nothing */
    const char *file; /* the capture of the whole run, NULL when there are several */
    struct flow_output_file {
        const char *name;
        uint64_t first_number; /* of its first packet */
    } * files;                 /* in order */
    size_t file_count;
    FILE *out;
    struct kept_flow *flows;
    size_t count, capacity;
    struct json json;
};

void flow_output_init(struct flow_output *output, const struct dp_engine *engine, enum flow_format format, bool stream,
                      FILE *out);
void flow_output_fini(struct flow_output *output);
/* From packet `first_number` on they are of this capture; the name is borrowed. */
void flow_output_file(struct flow_output *output, const char *name, uint64_t first_number);
/* A flow that ended: printed, or kept. */
void flow_output_add(struct flow_output *output, const struct dp_event *event, const struct dp_attributes *attributes);
/* Prints what was kept, then the summary with every terminal counter, and forgets it. */
void flow_output_finish(struct flow_output *output, const struct dp_stats *stats);

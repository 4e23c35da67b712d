/*
 * What a running engine tells of itself over the control socket: "show stats", "show flows", "show links", "show protocols",
 * "show drops". The context of these commands is the struct dp_run.
 *
 * Answers (docs/show.md):
 *   stats      one row of counters, one row "destination" for each collector
 *   flows      a row a flow that fits the filters, then a row "flows_summary"; the table is walked as a registered reader, no worker
 *              waits for it
 *   links      a row for each side of each link
 *   protocols  a row for each protocol and application that live flows have
 *   drops      a row for each way in which a packet ends other than judged and sent on
 *
 * Control thread. A walk of a million flows takes a few hundred milliseconds.
 */
#pragma once

#include "dataplane/control.h"

#define DP_SHOW_FLOWS_DEFAULT 100u
#define DP_SHOW_FLOWS_MAX     100000u

/* Ends with .name = NULL. */
extern const struct dp_command dp_show_commands[];

/* Two of them, in show_flows.c. */
void dp_show_flows(const json_t *request, struct dp_reply *reply, void *run);
void dp_show_protocols(const json_t *request, struct dp_reply *reply, void *run);
extern const struct dp_argument dp_show_flow_arguments[];
/* In show_shards.c: "show shards", and "set shard", which moves one to another worker and waits until that is done. */
void dp_show_shards(const json_t *request, struct dp_reply *reply, void *run);
void dp_set_shard(const json_t *request, struct dp_reply *reply, void *run);
extern const struct dp_argument dp_set_shard_arguments[];

/* "load pack", see reload.h: a row "pack" tells what was loaded. Waits a few milliseconds for the workers. In load.c. */
void dp_load_pack(const json_t *request, struct dp_reply *reply, void *run);
extern const struct dp_argument dp_load_arguments[];

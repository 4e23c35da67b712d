/*
 * Live use: the links of a configuration, bridged by workers until told to stop.
 *
 * Threads: the control thread (which calls these functions), worker w on lcore 1 + w, and the record thread, which alone
 * touches the formatter and is a registered reader of the flow table. Stopping goes in phases, so that no packet is left
 * between two workers and no record behind: workers stop receiving; when all that was received has an outcome they end
 * their flows and leave; then the record thread drains.
 */
#pragma once

#include "dataplane/config.h"
#include "dataplane/ports.h"
#include "dataplane/records.h"
#include "dataplane/worker.h"

struct dp_run;

/*
 * EAL is up. The pack is read before a port is touched. NULL with the reason in `error`, nothing started; *ret_error is -EINVAL
 * when what the configuration names was refused (pack, flow table), -EIO when a port or memory failed.
 */
struct dp_run *dp_run_create(const struct dp_config *config, int *ret_error, char *error, size_t error_size);
/* 0, or -errno with the reason: ports started, then threads. */
int dp_run_start(struct dp_run *run, char *error, size_t error_size);
/* Stops in phases, waits up to `drain_ms` for collectors; true when every record was sent. */
bool dp_run_stop(struct dp_run *run, unsigned drain_ms);
void dp_run_destroy(struct dp_run *run);

struct dp_engine *dp_run_engine(struct dp_run *run);
struct dp_ports *dp_run_ports(struct dp_run *run);
const struct dp_config *dp_run_config(const struct dp_run *run);
/* Any thread. */
void dp_run_record_stats(const struct dp_run *run, struct dp_record_stats *ret_made,
                         struct rdr_formatter_stats *ret_sent);

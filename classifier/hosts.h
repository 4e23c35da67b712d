/*
 * Host names to applications by the longest suffix: one pass over the name's bytes and one probe a label, whatever the
 * number of suffixes. Built by the control thread, then immutable; any thread may look up.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "classifier/classifier.h"

struct cl_hosts {
    struct cl_host_slot *slots;
    uint32_t mask;
};

struct pack_host;
/* `list` must outlive the table. */
void cl_hosts_build(struct cl_hosts *hosts, const struct pack_host *list, uint32_t count);
void cl_hosts_free(struct cl_hosts *hosts);
/* 0 when no suffix fits. Case does not matter; a trailing dot or ":port" is ignored. */
cl_protocol cl_hosts_find(const struct cl_hosts *hosts, const char *host, size_t size);

/*
 * A capture as if one had joined its flows in the middle: of each flow the handshake and the first payload packets of both sides
 * are left out (`sce replay --join-after`). Packets without payload are left out until one side's are over. A SYN of TCP begins
 * its flow anew. Fragments are left out, what is neither TCP nor UDP passes.
 *
 * Control thread. Memory: 64 bytes a flow of the capture, never given back before dp_join_destroy(); abort() when it is short.
 */
#pragma once

#include "dataplane/packet.h"

#include <stdbool.h>

struct dp_join;

/* `after`: payload packets of a side that are left out, at least 1. */
struct dp_join *dp_join_create(unsigned after);
void dp_join_destroy(struct dp_join *join);
/* Forgets all flows: another capture, on its own. */
void dp_join_reset(struct dp_join *join);
/* Whether the packet belongs to what is left. */
bool dp_join_passes(struct dp_join *join, const struct dp_view *view);

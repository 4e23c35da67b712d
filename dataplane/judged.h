/*
 * What a verdict remembers of the bytes that it rests on. A TCP flow that its first bytes decided gives its buffers back at
 * once; the bytes may still be sent again with other content, and the receiver may take those and not the first. So the
 * entry keeps a digest of them, in fields that a decided flow has no other use for, until the other side has acknowledged
 * them: after that the receiver has taken its choice. A segment that overlaps them and differs makes the flow ambiguous;
 * so does one that covers only a part of them, which a digest cannot check.
 *
 * It ends after DP_JUDGED_PACKETS packets in any case: a flow seen in one direction never sees an acknowledgement. While it
 * lasts the flow's packets do not take the fast path. One direction a flow: the one that the verdict came with, or the other
 * when its bytes were not acknowledged by then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/packet.h"
#include "flowtable/flow.h"

#define DP_JUDGED_PACKETS 64u

/*
 * A keyed digest (XXH3): who does not know `key` does not find other bytes with the same one but by chance. About 10 ns and
 * 0.05 ns a byte. Any thread.
 */
uint32_t dp_judged_digest(uint64_t key, const uint8_t *bytes, uint32_t size_bytes);

/* Begins: `bytes` of `direction`, the first of which has number `seq`. Right after the verdict; worker. */
void dp_judged_begin(struct ft_hot *hot, struct ft_cold *cold, uint8_t direction, uint32_t seq, uint32_t size_bytes,
                     uint32_t digest);

/*
 * A packet of a decided flow with ft_flow_is_watched(). `bytes` is its payload from `seq` on, NULL when it has none or it is
 * not there. True when it disagrees with what the verdict rests on. Worker.
 */
bool dp_judged_packet(struct ft_hot *hot, struct ft_cold *cold, const struct dp_view *view, uint8_t from_server,
                      uint64_t key, uint32_t seq, const uint8_t *bytes, uint32_t size_bytes);

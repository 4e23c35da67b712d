/* What differs between two packs, for `sce pack diff`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pack;

/* Prints a line a difference to standard output, or a JSON object each; then the sums. How many there are. */
uint32_t pack_diff_print(const struct pack *a, const struct pack *b, bool as_json);

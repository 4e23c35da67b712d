/*
 * What the two files that read pack sources share: pack_read.c (files, entries, names) and pack_signature.c (signatures
 * and their examples). Control thread.
 */
#pragma once

#include "base/yaml.h"
#include "classifier/pack.h"

/* A growing array of one type. */
struct pack_vector {
    void *items;
    uint32_t count, capacity;
};
/* A new zeroed item at the end. */
void *pack_vector_add(struct pack_vector *v, size_t item_size);

struct pack_source {
    struct pack *pack;
    struct yml_error *error;
    struct pack_vector rules, patterns; /* struct pack_rule, struct pack_pattern */
};

extern const struct yml_key pack_signature_keys[];

/* Reads the signature at `node` as `index`; pack->signatures[index] has its id and entry already. */
bool pack_read_signature(struct pack_source *s, const struct yml_node *node, cl_signature index);

/* "N", "N..M" or, when `open` is not 0, "N.." up to `open`; numbers up to `max`. */
bool pack_read_range(struct pack_source *s, const struct yml_node *node, uint32_t max, uint32_t open,
                     struct pack_range *ret);

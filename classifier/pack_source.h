/*
 * What the two files that read pack sources share: pack_read.c (files, entries, names) and pack_signature.c (signatures
 * and their examples). Control thread.
 */
#pragma once

#include <stdio.h>

#include "base/yaml.h"
#include "classifier/pack.h"

/* A growing array of one type. */
struct pack_vector {
    void *items;
    uint32_t count, capacity;
};
/* A new zeroed item at the end. */
void *pack_vector_add(struct pack_vector *v, size_t item_size);

/* An entry while it is read. */
struct pack_entry {
    uint32_t id;
    bool is_application, is_built_in;
    const char *name, *family;   /* family NULL: none said */
    const struct yml_node *node; /* NULL: built in */
    uint8_t origin;
    bool gives_way;       /* where its name or a port is another's */
    bool continues;       /* adds to the entry before it, which has its id and name and another origin */
    cl_protocol protocol; /* its index, once they are sorted */
};

/* A signature while it is read. */
struct pack_signature_entry {
    uint32_t id;
    cl_protocol protocol;
    const struct yml_node *node;
    uint8_t origin;
};

struct pack_source {
    struct pack *pack;
    struct yml_error *error;
    bool renumbers;
    FILE *report;                       /* NULL: overlaps are errors like others */
    uint32_t overlaps;                  /* ids of a set that were in use */
    struct pack_vector rules, patterns; /* struct pack_rule, struct pack_pattern */
};

extern const struct yml_key pack_signature_keys[];

/*
 * Both sort. An id that a set uses though it is taken is reported, and the set's is another from then on: so that all
 * overlaps are found. One used twice by the same origin is refused.
 */
bool pack_order_entries(struct pack_source *s, struct pack_vector *entries);
bool pack_order_signatures(struct pack_source *s, struct pack_vector *signatures);
/* False when there were overlaps that nobody asked to solve by new ids. */
bool pack_judge_overlaps(struct pack_source *s);

/* Reads the signature at `node` as `index`; pack->signatures[index] has its id and entry already. */
bool pack_read_signature(struct pack_source *s, const struct yml_node *node, cl_signature index);

/* "N", "N..M" or, when `open` is not 0, "N.." up to `open`; numbers up to `max`. */
bool pack_read_range(struct pack_source *s, const struct yml_node *node, uint32_t max, uint32_t open,
                     struct pack_range *ret);

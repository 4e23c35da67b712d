#include <string.h>

#include "rdr/rdr.h"

#define X(field_name, field_type, field_other_type, field_unit, field_note)                                            \
    {.name = #field_name, .type = field_type, .other_type = field_other_type, .unit = field_unit, .note = field_note},
static const struct rdr_field tr_fields[] = {RDR_FIELDS_TR(X)};
static const struct rdr_field tur_fields[] = {RDR_FIELDS_TUR(X)};
static const struct rdr_field tur_ipv6_fields[] = {RDR_FIELDS_TUR_IPV6(X)};
static const struct rdr_field http_fields[] = {RDR_FIELDS_HTTP(X)};
static const struct rdr_field http_ipv6_fields[] = {RDR_FIELDS_HTTP_IPV6(X)};
static const struct rdr_field flow_fields[] = {RDR_FIELDS_FLOW(X)};
static const struct rdr_field lur_fields[] = {RDR_FIELDS_LUR(X)};
#undef X

#define FIELDS(list) .field_count = sizeof list / sizeof list[0], .fields = list

/* What the later layouts repeat of their record. */
#define TUR_HEAD .tag = RDR_TAG_TRANSACTION_USAGE, .name = "TRANSACTION_USAGE", .table = "RPT_TUR", .category = 1
#define HTTP_HEAD                                                                                                      \
    .tag = RDR_TAG_HTTP_TRANSACTION_USAGE, .name = "HTTP_TRANSACTION_USAGE", .table = "RPT_HTTP", .category = 1

static const struct rdr_schema schemas[] = {
    {.tag = RDR_TAG_LINK_USAGE,
     .name = "LINK_USAGE",
     .table = "RPT_LUR",
     .category = 1,
     FIELDS(lur_fields),
     .certainty = "order and widths of the first fields read in sources; the other types recollected"},
    {.tag = RDR_TAG_TRANSACTION,
     .name = "TRANSACTION",
     .table = "RPT_TR",
     .category = 1,
     FIELDS(tr_fields),
     .certainty = "order and types read in two independent sources that agree"},
    {.tag = RDR_TAG_FLOW_START,
     .name = "FLOW_START",
     .table = "RPT_FLOW_START",
     .category = 3,
     FIELDS(flow_fields),
     .certainty = "order read in two sources; types recollected; the table's name is ours"},
    {.tag = RDR_TAG_FLOW_END,
     .name = "FLOW_END",
     .table = "RPT_FLOW_END",
     .category = 3,
     FIELDS(flow_fields),
     .certainty = "order read in two sources; types recollected; the table's name is ours"},
    {TUR_HEAD, FIELDS(tur_fields), .certainty = "order and types read in two independent sources that agree"},
    {HTTP_HEAD, FIELDS(http_fields),
     .certainty =
         "fields 1 to 25 as TRANSACTION_USAGE; the last two read in one source (order) and recollected (types)"},
};

static const struct rdr_schema schemas_ipv6[] = {
    {TUR_HEAD, FIELDS(tur_ipv6_fields), .certainty = "fields 26 to 29 read in one source, seen in number in another"},
    {HTTP_HEAD, FIELDS(http_ipv6_fields), .certainty = "fields 26 to 49 read in one source"},
};

#define SCHEMA_COUNT      (sizeof schemas / sizeof schemas[0])
#define SCHEMA_IPV6_COUNT (sizeof schemas_ipv6 / sizeof schemas_ipv6[0])

_Static_assert(RDR_TR_FIELDS == 25 && RDR_TUR_FIELDS == 25 && RDR_TUR_IPV6_FIELDS == 29, "transaction family");
_Static_assert(RDR_HTTP_FIELDS == 27 && RDR_HTTP_IPV6_FIELDS == 49, "HTTP transaction usage");
_Static_assert(RDR_FLOW_FIELDS == 14 && RDR_LUR_FIELDS == 13, "flow and link records");
_Static_assert(RDR_HTTP_IPV6_FIELDS <= RDR_FIELDS_MAX, "struct rdr_record holds the longest record");

const struct rdr_schema *rdr_schemas(unsigned *ret_count)
{
    *ret_count = SCHEMA_COUNT;
    return schemas;
}

static const struct rdr_schema *find(const struct rdr_schema *list, size_t length, uint32_t tag)
{
    for (size_t i = 0; i < length; i++)
        if (list[i].tag == tag)
            return &list[i];
    return NULL;
}

const struct rdr_schema *rdr_schema_find(uint32_t tag)
{
    return find(schemas, SCHEMA_COUNT, tag);
}

const struct rdr_schema *rdr_schema_find_ipv6(uint32_t tag)
{
    return find(schemas_ipv6, SCHEMA_IPV6_COUNT, tag);
}

int rdr_field_find(const struct rdr_schema *schema, const char *name)
{
    for (unsigned i = 0; i < schema->field_count; i++)
        if (!strcmp(schema->fields[i].name, name))
            return (int)i;
    return -1;
}

/* The switches are over the enum alone, so that a compiler warns of a type without a case. */
const char *rdr_type_name(enum rdr_type type)
{
    switch (type) {
#define X(name, code, size)                                                                                            \
    case RDR_##name:                                                                                                   \
        return #name;
        RDR_TYPES(X)
#undef X
    }
    return "";
}

uint32_t rdr_type_size_bytes(enum rdr_type type)
{
    switch (type) {
#define X(name, code, size)                                                                                            \
    case RDR_##name:                                                                                                   \
        return size;
        RDR_TYPES(X)
#undef X
    }
    return 0;
}

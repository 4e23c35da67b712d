#include "rdr/schema_doc.h"

#include <string.h>

#include "rdr/rdr.h"

static void doc_layout(FILE *out, const struct rdr_schema *schema, unsigned first)
{
    fprintf(out, "Certainty: %s.\n\n| # | field | type | unit | |\n|---|---|---|---|---|\n", schema->certainty);
    for (unsigned i = first; i < schema->field_count; i++) {
        const struct rdr_field *f = &schema->fields[i];
        fprintf(out, "| %u | `%s` | %s%s%s | %s | %s |\n", i + 1, f->name, rdr_type_name(f->type),
                f->other_type ? ", taken too: " : "", rdr_type_name(f->other_type), f->unit, f->note);
    }
    fprintf(out, "\n");
}

void rdr_schema_doc(FILE *out)
{
    unsigned count;
    const struct rdr_schema *schemas = rdr_schemas(&count);
    fprintf(out, "| record | tag | | fields | category | table |\n|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < count; i++) {
        const struct rdr_schema *s = &schemas[i], *ipv6 = rdr_schema_find_ipv6(s->tag);
        fprintf(out, "| `%s` | %u | 0x%08X | %u", s->name, s->tag, s->tag, s->field_count);
        if (ipv6)
            fprintf(out, ", IPv6 %u", ipv6->field_count);
        fprintf(out, " | %u | `%s` |\n", s->category, s->table);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct rdr_schema *s = &schemas[i], *ipv6 = rdr_schema_find_ipv6(s->tag);
        fprintf(out, "\n### `%s`\n\n", s->name);
        doc_layout(out, s, 0);
        if (!ipv6) {
            fprintf(out, "No layout with IPv6 addresses: not sent for an IPv6 flow.\n");
            continue;
        }
        unsigned same = 0;
        while (same < s->field_count && !strcmp(s->fields[same].name, ipv6->fields[same].name))
            same++;
        fprintf(out, "For IPv6 flows: %u fields, the first %u as above, then:\n\n", ipv6->field_count, same);
        doc_layout(out, ipv6, same);
    }
}

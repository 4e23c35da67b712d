/*
 * The tables of docs/rdr.md, made from the schema table: the document cannot say anything else than the encoder does.
 * A unit test compares; `ninja -C BUILDDIR rdr.md` writes them into the document anew.
 */
#pragma once

#include <stdio.h>

#define RDR_DOC_BEGIN "<!-- records: begin -->\n"
#define RDR_DOC_END   "<!-- records: end -->\n"

/* All records as Markdown, without the two marks. */
void rdr_schema_doc(FILE *out);

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdr/schema_doc.h"

/* SOURCE_ROOT comes from rdr/meson.build. */
Test(rdr_doc, the_document_has_the_tables_of_the_schema)
{
    char *text = NULL, *expected = NULL;
    size_t text_size = 0, expected_size = 0;
    FILE *in = fopen(SOURCE_ROOT "/docs/rdr.md", "r");
    cr_assert(in);
    cr_assert_gt(getdelim(&text, &text_size, 0, in), 0);
    fclose(in);
    FILE *out = open_memstream(&expected, &expected_size);
    rdr_schema_doc(out);
    fclose(out);
    char *begin = strstr(text, RDR_DOC_BEGIN), *end = strstr(text, RDR_DOC_END);
    cr_assert(begin && end);
    begin += strlen(RDR_DOC_BEGIN);
    *end = 0;
    cr_assert_str_eq(begin, expected, "run: ninja -C BUILDDIR rdr.md");
    free(text);
    free(expected);
}

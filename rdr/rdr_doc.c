/* rdr_doc_write FILE: writes the record tables between the two marks of FILE. */
#include <string.h>

#include "rdr/schema_doc.h"

int main(int argc, char **argv)
{
    static char text[1 << 20];
    FILE *in = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!in || !fread(text, 1, sizeof text - 1, in) || fclose(in)) {
        fprintf(stderr, "usage: rdr_doc_write docs/rdr.md\n");
        return 1;
    }
    char *begin = strstr(text, RDR_DOC_BEGIN), *end = strstr(text, RDR_DOC_END);
    FILE *out = begin && end ? fopen(argv[1], "w") : NULL;
    if (!out) {
        fprintf(stderr, "rdr_doc_write: %s has not the marks, or cannot be written:\n" RDR_DOC_BEGIN RDR_DOC_END,
                argv[1]);
        return 3;
    }
    fwrite(text, 1, (size_t)(begin - text) + strlen(RDR_DOC_BEGIN), out);
    rdr_schema_doc(out);
    fputs(end, out);
    return fclose(out) ? 3 : 0;
}

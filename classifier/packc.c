/* opensce-packc OUTPUT SOURCES: compiles the pack at build time; `sce pack build` is the operator's way. */
#include <stdio.h>

#include "classifier/pack.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: opensce-packc OUTPUT SOURCES\n");
        return 1;
    }
    char error[1024];
    struct pack_databases databases;
    struct pack *pack = pack_read(argv[2], error, sizeof error);
    bool ok = pack && pack_compile(pack, &databases, error, sizeof error);
    if (ok) {
        ok = pack_file_write(argv[1], pack, &databases, error, sizeof error);
        pack_databases_free(&databases);
    }
    pack_free(pack);
    if (!ok)
        fprintf(stderr, "%s\n", error);
    return ok ? 0 : 2;
}

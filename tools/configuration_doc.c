/* Writes docs/configuration.md anew: `ninja configuration.md`. */
#include <stdio.h>

#include "dataplane/config.h"

int main(int argc, char **argv)
{
    FILE *out = argc == 2 ? fopen(argv[1], "w") : NULL;
    if (!out) {
        fprintf(stderr, "usage: configuration_doc FILE\n");
        return 1;
    }
    dp_config_document(out);
    return fclose(out) ? 3 : 0;
}

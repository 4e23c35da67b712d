#include "tools/cli.h"

#include <stdarg.h>
#include <stdio.h>

int cli_usage_error(const char *command, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "sce %s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nsee: sce %s --help\n", command);
    return CLI_USAGE;
}

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum log_level log_level_max = LOG_INFO;

void log_line(enum log_level level, const char *part, const char *format, ...)
{
    if (level > log_level_max)
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (getenv("JOURNAL_STREAM"))
        fprintf(stderr, "<%d>sce: %s: %s\n", (int)level, part, text);
    else
        fprintf(stderr, "sce: %s: %s\n", part, text);
}

/*
 * One bench as a program of its own: `sce bench --only GROUP`, for perf and callgrind, or to leave the rest of sce away.
 * BENCH_GROUP is the first part of its rows' names.
 */
#include <stdlib.h>

#include "tools/cli.h"

#define ARGUMENTS_MAX 32

int main(int argc, char **argv)
{
    char command[] = "bench", only[] = "--only", group[] = BENCH_GROUP ".";
    char *arguments[ARGUMENTS_MAX + 4] = {command, only, group};
    int count = 3;
    for (int i = 1; i < argc && count < ARGUMENTS_MAX; i++)
        arguments[count++] = argv[i];
    return cmd_bench(count, arguments);
}

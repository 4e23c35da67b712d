/*
 * What the subcommands of `sce` share: exit codes, the way errors are said, the table of commands.
 */
#pragma once

/* Exit codes, the same for every subcommand; printed by `sce --help`. */
enum {
    CLI_OK = 0,
    CLI_USAGE = 1,    /* wrong arguments */
    CLI_CONFIG = 2,   /* configuration or pack refused; nothing was started */
    CLI_RUNTIME = 3,  /* unreadable capture, port, socket, database */
    CLI_MISMATCH = 4, /* a comparison failed (--expect) */
};

struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name; returns an exit code */
    const char *summary;               /* one line */
};

/* "sce NAME: text", and the way to its help; returns CLI_USAGE. */
__attribute__((format(printf, 2, 3))) int cli_usage_error(const char *command, const char *format, ...);

/* One per file tools/cmd_NAME.c. */
int cmd_bench(int argc, char **argv);
int cmd_collect(int argc, char **argv);
int cmd_pack(int argc, char **argv);
int cmd_ports(int argc, char **argv);
int cmd_protocols(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_set(int argc, char **argv);

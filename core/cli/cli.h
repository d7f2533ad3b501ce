/**
 * cli/cli.h: the command line. Commands take arguments in and put text out; the work is done below.
 *
 * One file a command: cli_<command>.c with `int bk__cli_<command>(int argc, char **argv, struct bk_error *err)`;
 * argv[0] is the command's name. Data goes to stdout, messages to stderr; the returned status gives the exit code.
 */
#ifndef BOSSKIT_CLI_CLI_H
#define BOSSKIT_CLI_CLI_H

#include <bosskit/base.h>

/** The whole program; returns the exit code. */
BK_API int bk_main(int argc, char **argv);

/* X(name, synopsis, one line of help) */
#define BK_COMMANDS(X)                                                                           \
    X(run, "CFG [key=value ...]", "run or continue an experiment")                               \
    X(plan, "CFG [key=value ...]", "what would run, what is cached, and why")                    \
    X(check, "CFG [key=value ...]", "parse and validate an experiment, no side effects")         \
    X(report, "CFG|RUN", "tables again, from stored scores")                                     \
    X(rank, "--space S --truth F --ratings F...", "correlate block ratings with a truth table")  \
    X(search, "--space S --ratings F...", "best architecture by block ratings, under limits")        \
    X(cost, "SPACE ARCH...|--all", "parameters and multiply-adds of architectures")              \
    X(latency, "SPACE --out DIR", "milliseconds of every path here, for searches under a limit")   \
    X(list, "[KIND]", "plugins that were found")                                                 \
    X(describe, "KIND/NAME", "a plugin's options")                                               \
    X(doctor, "", "processor, threads, libraries, devices, directories")

#define BK_COMMAND_DECL(name, synopsis, help)                                                    \
    int bk__cli_##name(int argc, char **argv, struct bk_error *err);
BK_COMMANDS(BK_COMMAND_DECL)
#undef BK_COMMAND_DECL

/** Runs one stage in a child process (not shown in the help). */
int bk__cli_stage(int argc, char **argv, struct bk_error *err);

#endif

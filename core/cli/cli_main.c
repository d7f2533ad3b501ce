/*
 * cli/cli_main.c: the program: global options, dispatch, exit code.
 *
 * Data goes to stdout, messages to stderr. A command returns a status and one sentence; this file prints the sentence
 * and turns the status into the exit code. It does no work of its own.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"

#include <bosskit/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*command_fn)(int argc, char **argv, struct bk_error *err);

struct command {
    const char *name, *synopsis, *help;
    command_fn run;
};

static const struct command commands[] = {
#define COMMAND_ROW(name, synopsis, help) { #name, synopsis, help, bk__cli_##name },
    BK_COMMANDS(COMMAND_ROW)
#undef COMMAND_ROW
};

static void print_usage(FILE *f)
{
    fprintf(f, "usage: bosskit [--plugin-path DIR] [-v|-q] COMMAND ...\n"
               "       bosskit COMMAND --help\n"
               "       bosskit --version\n\n");
    for (size_t i = 0; i < BK_ARRAY_LEN(commands); i++) {
        char left[80];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].synopsis);
        fprintf(f, "  %-46s %s\n", left, commands[i].help);
    }
    fprintf(f, "\n  %-46s %s\n  %-46s %s\n", "--plugin-path DIR",
            "look for plugins there first (may be repeated)", "-v, -q", "more or fewer messages");
}

static int unknown_command(const char *name, struct bk_error *err)
{
    const char *names[BK_ARRAY_LEN(commands)];

    for (size_t i = 0; i < BK_ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    const char *nearest = bk_nearest_word(name, names, BK_ARRAY_LEN(commands));
    if (nearest)
        return bk_fail(err, BK_EUSAGE, "unknown command '%s', nearest is '%s'", name, nearest);
    return bk_fail(err, BK_EUSAGE, "unknown command '%s', see 'bosskit --help'", name);
}

static int run_command(int argc, char **argv, struct bk_error *err)
{
    static const struct command stage = { "stage", "", "", bk__cli_stage };
    const struct command *c = strcmp(argv[0], stage.name) ? NULL : &stage;

    for (size_t i = 0; i < BK_ARRAY_LEN(commands) && !c; i++) {
        if (!strcmp(commands[i].name, argv[0]))
            c = &commands[i];
    }
    if (!c)
        return unknown_command(argv[0], err);
    return c->run(argc, argv, err);
}

/* Options before the command; *first becomes the index of the command, 0 when everything is said. */
static int read_globals(int argc, char **argv, int *first, struct bk_error *err)
{
    *first = 0;
    for (int i = 1; i < argc; i++) {
        bool taken = false;
        if (argv[i][0] != '-') {
            *first = i;
            return BK_OK;
        }
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_usage(stdout);
            return BK_OK;
        }
        if (!strcmp(argv[i], "--version")) {
            printf("bosskit %s\n", BK_VERSION);
            return BK_OK;
        }
        BK_TRY(bk__cli_global(argc, argv, &i, &taken, err));
        if (!taken)
            return bk_fail(err, BK_EUSAGE, "unknown option '%s', see 'bosskit --help'", argv[i]);
    }
    print_usage(stderr);
    return bk_fail(err, BK_EUSAGE, "a command is needed");
}

static int read_environment(struct bk_error *err)
{
    static const char *const words[] = { "error", "warn", "info", "debug", "trace" };
    const char *level = getenv("BOSSKIT_LOG");

    if (!level || !*level)
        return BK_OK;
    for (size_t i = 0; i < BK_ARRAY_LEN(words); i++) {
        if (!strcmp(level, words[i])) {
            bk_log_set_level((enum bk_log_level)(BK_LOG_ERROR + i));
            return BK_OK;
        }
    }
    return bk_fail(err, BK_EUSAGE,
                   "BOSSKIT_LOG is '%s', legal: error, warn, info, debug, trace", level);
}

int bk_main(int argc, char **argv)
{
    struct bk_error err = BK_ERROR_INIT;
    int first = 0;

    int rc = read_environment(&err);
    if (!rc)
        rc = read_globals(argc, argv, &first, &err);
    if (!rc && first)
        rc = run_command(argc - first, argv + first, &err);
    if (fflush(stdout) && !rc)
        rc = bk_fail_errno(&err, BK_EIO, "cannot write to the standard output");
    if (rc)
        fprintf(stderr, "bosskit: %s\n", *err.text ? err.text : bk_status_text(rc));
    bk__cli_global_release();
    return bk_status_exit_code(rc);
}

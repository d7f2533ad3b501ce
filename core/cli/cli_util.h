/**
 * cli/cli_util.h: what the commands share: option parsing, the registry, a space, ratings, JSON text.
 *
 *     static const struct bk__cli_opt opts[] = {
 *         { "space", 0, BK__CLI_ONE, "SPACE", "search space" },
 *         { "json", 0, BK__CLI_FLAG, NULL, "print JSON" },
 *         { 0 }
 *     };
 *     struct bk__cli_args args;
 *     int rc = bk__cli_parse(argc, argv, opts, &args, err);
 *     if (rc || args.helped)
 *         goto done;                  // bk__cli_release(&args) either way
 *
 * Every command also takes --help and the global options (--plugin-path DIR, -v, -q) after its name. Parsing errors are
 * BK_EUSAGE and begin with the command's name.
 */
#ifndef BOSSKIT_CLI_CLI_UTIL_H
#define BOSSKIT_CLI_CLI_UTIL_H

#include "plugin/registry.h"
#include <bosskit/method.h>

enum bk__cli_kind {
    BK__CLI_FLAG = 1,   /* --json */
    BK__CLI_ONE,        /* --seed 3 or --seed=3, at most once */
    BK__CLI_EACH,       /* --option a=1 --option b=2: one value each time */
    BK__CLI_MANY,       /* --ratings A B C: all words up to the next option */
};

/** A row of a command's options; the table ends with a NULL name. */
struct bk__cli_opt {
    const char *name;           /* without dashes */
    char letter;                /* short form, 0 = none */
    enum bk__cli_kind kind;
    const char *value;          /* placeholder in the help; NULL for flags */
    const char *help;
};

/** Parsed arguments; all strings are borrowed from argv. */
struct bk__cli_args {
    const struct bk__cli_opt *opts;
    const char *command;
    const char **word;          /* positional arguments */
    size_t n;
    struct bk__cli_given {
        const struct bk__cli_opt *opt;
        const char *value;
    } *given;
    size_t n_given;
    bool helped;                /* --help was there and has been answered: return BK_OK */
};

/** Errors: BK_EUSAGE, BK_ENOMEM. `out` is set in any case. */
BK_API int bk__cli_parse(int argc, char **argv, const struct bk__cli_opt *opts, struct bk__cli_args *out,
                         struct bk_error *err) BK_MUST_USE;
BK_API void bk__cli_release(struct bk__cli_args *args);

/** Number of values given for an option. */
BK_API size_t bk__cli_count(const struct bk__cli_args *args, const char *name);
/** The i-th value of an option; NULL past the last. */
BK_API const char *bk__cli_at(const struct bk__cli_args *args, const char *name, size_t i);
/** The value of a BK__CLI_ONE option or NULL; a flag that was given answers "". */
BK_API const char *bk__cli_text(const struct bk__cli_args *args, const char *name);
/** The value, or BK_EUSAGE that the option is needed. */
BK_API int bk__cli_need(const struct bk__cli_args *args, const char *name, const char **out,
                        struct bk_error *err) BK_MUST_USE;
/** A number within min..max (inclusive), `def` when the option was not given. */
BK_API int bk__cli_int(const struct bk__cli_args *args, const char *name, int64_t def, int64_t min, int64_t max,
                       int64_t *out, struct bk_error *err) BK_MUST_USE;
BK_API int bk__cli_real(const struct bk__cli_args *args, const char *name, double def, double min, double max,
                        double *out, struct bk_error *err) BK_MUST_USE;

/** Global option at argv[*i]? Takes it (and its value, moving *i to its last word) and sets *taken. */
int bk__cli_global(int argc, char **argv, int *i, bool *taken, struct bk_error *err);
/** Forget the directories of --plugin-path. */
void bk__cli_global_release(void);

/** Synopsis and help line of a command; NULL for an unknown one. */
BK_API const char *bk__cli_synopsis(const char *command, const char **help);

/** The registry with the directories of --plugin-path first; close with bk_registry_close(). */
BK_API int bk__cli_registry(struct bk_registry **out, struct bk_error *err) BK_MUST_USE;

/** The values of option `name`, key=value each, as a group; free *out with bk_value_free(), after an error too. */
BK_API int bk__cli_options(const struct bk__cli_args *args, const char *name, struct bk_value **out,
                           struct bk_error *err) BK_MUST_USE;

/** A space from its name and the values of option `name` ("option"): key=value each. Close the instance afterwards. */
BK_API int bk__cli_space(const struct bk_registry *r, const char *space, const struct bk__cli_args *args,
                         const char *name, struct bk_instance **instance, struct bk_space *out,
                         struct bk_error *err) BK_MUST_USE;

/** Option --better: lower (the default) or higher. */
BK_API int bk__cli_better(const struct bk__cli_args *args, bool *higher, struct bk_error *err) BK_MUST_USE;

/**
 * The files of option --ratings, one a block. Block k is read as entered behind the best paths of the blocks before: that is
 * how it was rated. Release every table with bk_block_table_release(), after an error too; they are empty to begin with.
 */
BK_API int bk__cli_ratings(const struct bk__cli_args *args, const struct bk_space *space, bool higher,
                           struct bk_block_table table[BK_MAX_BLOCKS], struct bk_error *err) BK_MUST_USE;

/** Add a JSON number (null when not finite), a quoted JSON string. */
BK_API void bk__cli_json_real(struct bk_text *t, double v);
BK_API void bk__cli_json_text(struct bk_text *t, const char *s);

/** Write the text to stdout. Errors: BK_ENOMEM when `failed`, BK_EIO */
BK_API int bk__cli_print(const struct bk_text *t, struct bk_error *err) BK_MUST_USE;

#endif

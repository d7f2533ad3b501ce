/*
 * cli/cli_util.c: option parsing for the commands, and the few things several of them open.
 *
 * The options of a command are a table; parsing, the text of --help and the error sentences come from it. The global
 * options live here because they may stand before or after the command. Nothing below the command line uses this.
 */
#include "cli/cli_util.h"
#include "cli/cli.h"

#include <bosskit/table.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- global options -------------------------------------------------------------------------- */

/* Of the process: set while the command line is read, read-only afterwards. */
static const char **plugin_dirs;
static size_t n_plugin_dirs;

static int add_plugin_dir(const char *dir, struct bk_error *err)
{
    const char **p = bk_realloc(plugin_dirs, (n_plugin_dirs + 1) * sizeof *p);

    if (!p)
        return bk_fail(err, BK_ENOMEM, "cannot read the command line: out of memory");
    plugin_dirs = p;
    plugin_dirs[n_plugin_dirs++] = dir;
    return BK_OK;
}

void bk__cli_global_release(void)
{
    bk_free(plugin_dirs);
    plugin_dirs = NULL;
    n_plugin_dirs = 0;
}

static void change_level(int by)
{
    int level = (int)bk_log_get_level() + by;

    if (level >= BK_LOG_ERROR && level <= BK_LOG_TRACE)
        bk_log_set_level((enum bk_log_level)level);
}

int bk__cli_global(int argc, char **argv, int *i, bool *taken, struct bk_error *err)
{
    static const char path_option[] = "--plugin-path";
    const char *word = argv[*i], *dir = NULL;

    *taken = true;
    if (!strcmp(word, "-v") || !strcmp(word, "--verbose")) {
        change_level(+1);
        return BK_OK;
    }
    if (!strcmp(word, "-q") || !strcmp(word, "--quiet")) {
        change_level(-1);
        return BK_OK;
    }
    if (!strncmp(word, path_option, sizeof path_option - 1) &&
        word[sizeof path_option - 1] == '=') {
        dir = word + sizeof path_option;
    } else if (!strcmp(word, path_option)) {
        if (*i + 1 >= argc)
            return bk_fail(err, BK_EUSAGE, "option '%s' needs a directory", path_option);
        dir = argv[++*i];
    }
    *taken = dir != NULL;
    return dir ? add_plugin_dir(dir, err) : BK_OK;
}

/* ---- help ------------------------------------------------------------------------------------ */

const char *bk__cli_synopsis(const char *command, const char **help)
{
    static const struct {
        const char *name, *synopsis, *help;
    } commands[] = {
#define COMMAND_TEXT(name, synopsis, help) { #name, synopsis, help },
        BK_COMMANDS(COMMAND_TEXT)
#undef COMMAND_TEXT
    };

    for (size_t i = 0; i < BK_ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, command))
            continue;
        if (help)
            *help = commands[i].help;
        return commands[i].synopsis;
    }
    return NULL;
}

static void print_help(const char *command, const struct bk__cli_opt *opts)
{
    const char *help = "", *synopsis = bk__cli_synopsis(command, &help);

    printf("usage: bosskit %s %s\n%s%s\n", command, synopsis ? synopsis : "[ARG ...]", help,
           opts && opts->name ? "\n" : "");
    for (const struct bk__cli_opt *o = opts; o && o->name; o++) {
        char left[80];
        snprintf(left, sizeof left, "--%s%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "", o->kind == BK__CLI_MANY ? " ..." : "");
        printf("  %-28s %s%s\n", left, o->help,
               o->kind == BK__CLI_EACH ? " (may be repeated)" : "");
    }
}

/* ---- parsing --------------------------------------------------------------------------------- */

static int unknown_option(const struct bk__cli_args *args, const char *word,
                          struct bk_error *err)
{
    const char *names[64];
    size_t n = 0, length = strcspn(word, "=");
    char plain[64];

    for (const struct bk__cli_opt *o = args->opts; o && o->name && n < 62; o++)
        names[n++] = o->name;
    names[n++] = "help";
    names[n++] = "plugin-path";
    snprintf(plain, sizeof plain, "%.*s", (int)length, word + strspn(word, "-"));
    char *equals = strchr(plain, '=');
    if (equals)
        *equals = '\0';
    const char *nearest = bk_nearest_word(plain, names, n);
    if (nearest)
        return bk_fail(err, BK_EUSAGE, "%s: unknown option '%.*s', nearest is '--%s'",
                       args->command, (int)length, word, nearest);
    return bk_fail(err, BK_EUSAGE, "%s: unknown option '%.*s', see 'bosskit %s --help'",
                   args->command, (int)length, word, args->command);
}

/* The row that `word` ("--name", "--name=value" or "-x") belongs to; *value points behind '='. */
static const struct bk__cli_opt *match_option(const struct bk__cli_opt *opts, const char *word,
                                              const char **value)
{
    *value = NULL;
    for (const struct bk__cli_opt *o = opts; o && o->name; o++) {
        size_t n = strlen(o->name);
        if (word[1] != '-') {
            if (o->letter && word[1] == o->letter && !word[2])
                return o;
            continue;
        }
        if (strncmp(word + 2, o->name, n) || (word[2 + n] && word[2 + n] != '='))
            continue;
        *value = word[2 + n] ? word + 3 + n : NULL;
        return o;
    }
    return NULL;
}

static void give(struct bk__cli_args *args, const struct bk__cli_opt *opt, const char *value)
{
    args->given[args->n_given].opt = opt;
    args->given[args->n_given++].value = value;
}

/* An option starts with '-', but "-" alone and negative numbers are words. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] && !strchr("0123456789.", word[1]);
}

static int take_option(struct bk__cli_args *args, int argc, char **argv, int *i,
                       struct bk_error *err)
{
    const char *value;
    const struct bk__cli_opt *opt = match_option(args->opts, argv[*i], &value);

    if (!opt)
        return unknown_option(args, argv[*i], err);
    if (opt->kind == BK__CLI_FLAG) {
        if (value)
            return bk_fail(err, BK_EUSAGE, "%s: option '--%s' takes no value", args->command,
                           opt->name);
        give(args, opt, "");
        return BK_OK;
    }
    if (opt->kind == BK__CLI_ONE && bk__cli_count(args, opt->name))
        return bk_fail(err, BK_EUSAGE, "%s: option '--%s' is given twice", args->command,
                       opt->name);
    if (!value) {
        if (*i + 1 >= argc || is_option(argv[*i + 1]))
            return bk_fail(err, BK_EUSAGE, "%s: option '--%s' needs a value: %s", args->command,
                           opt->name, opt->value);
        value = argv[++*i];
    }
    give(args, opt, value);
    while (opt->kind == BK__CLI_MANY && *i + 1 < argc && !is_option(argv[*i + 1]))
        give(args, opt, argv[++*i]);
    return BK_OK;
}

int bk__cli_parse(int argc, char **argv, const struct bk__cli_opt *opts, struct bk__cli_args *out,
                  struct bk_error *err)
{
    memset(out, 0, sizeof *out);
    out->opts = opts;
    out->command = argv[0];
    out->word = bk_alloc((size_t)argc * sizeof *out->word);
    out->given = bk_alloc((size_t)argc * sizeof *out->given);
    if (!out->word || !out->given)
        return bk_fail(err, BK_ENOMEM, "cannot read the command line: out of memory");
    for (int i = 1; i < argc; i++) {
        bool taken = false;
        if (!strcmp(argv[i], "--")) {
            while (++i < argc)
                out->word[out->n++] = argv[i];
            break;
        }
        if (!is_option(argv[i])) {
            out->word[out->n++] = argv[i];
            continue;
        }
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(out->command, opts);
            out->helped = true;
            return BK_OK;
        }
        BK_TRY(bk__cli_global(argc, argv, &i, &taken, err));
        if (!taken)
            BK_TRY(take_option(out, argc, argv, &i, err));
    }
    return BK_OK;
}

void bk__cli_release(struct bk__cli_args *args)
{
    bk_free(args->word);
    bk_free(args->given);
    memset(args, 0, sizeof *args);
}

/* ---- values ---------------------------------------------------------------------------------- */

size_t bk__cli_count(const struct bk__cli_args *args, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < args->n_given; i++)
        n += !strcmp(args->given[i].opt->name, name);
    return n;
}

const char *bk__cli_at(const struct bk__cli_args *args, const char *name, size_t i)
{
    for (size_t j = 0; j < args->n_given; j++) {
        if (!strcmp(args->given[j].opt->name, name) && i-- == 0)
            return args->given[j].value;
    }
    return NULL;
}

const char *bk__cli_text(const struct bk__cli_args *args, const char *name)
{
    return bk__cli_at(args, name, 0);
}

int bk__cli_need(const struct bk__cli_args *args, const char *name, const char **out,
                 struct bk_error *err)
{
    const char *value = bk__cli_text(args, name);

    if (!value)
        return bk_fail(err, BK_EUSAGE, "%s: option '--%s' is needed", args->command, name);
    *out = value;
    return BK_OK;
}

int bk__cli_int(const struct bk__cli_args *args, const char *name, int64_t def, int64_t min,
                int64_t max, int64_t *out, struct bk_error *err)
{
    const char *value = bk__cli_text(args, name);
    int64_t v = def;

    if (value && (!bk_parse_i64(value, &v) || v < min || v > max))
        return bk_fail(err, BK_EUSAGE,
                       "%s: option '--%s': '%s' is not an integer in %lld..%lld", args->command,
                       name, value, (long long)min, (long long)max);
    *out = v;
    return BK_OK;
}

int bk__cli_real(const struct bk__cli_args *args, const char *name, double def, double min,
                 double max, double *out, struct bk_error *err)
{
    const char *value = bk__cli_text(args, name);
    double v = def;

    if (value && (!bk_parse_f64(value, &v) || !(v >= min && v <= max)))
        return bk_fail(err, BK_EUSAGE, "%s: option '--%s': '%s' is not a number in %g..%g",
                       args->command, name, value, min, max);
    *out = v;
    return BK_OK;
}

/* ---- registry and spaces --------------------------------------------------------------------- */

int bk__cli_registry(struct bk_registry **out, struct bk_error *err)
{
    return bk_registry_open(plugin_dirs, n_plugin_dirs, out, err);
}

int bk__cli_options(const struct bk__cli_args *args, const char *name, struct bk_value **out,
                    struct bk_error *err)
{
    const char *assignment;
    struct bk_value *group = bk_zalloc(sizeof *group);

    *out = group;
    if (!group)
        return bk_fail(err, BK_ENOMEM, "cannot read the command line: out of memory");
    group->type = BK_VALUE_GROUP;
    for (size_t i = 0; (assignment = bk__cli_at(args, name, i)); i++) {
        if (!strchr(assignment, '='))
            return bk_fail(err, BK_EUSAGE, "%s: option '--%s': '%s' is not key=value",
                           args->command, name, assignment);
        BK_TRY(bk_value_override(group, assignment, err));
    }
    return BK_OK;
}

int bk__cli_space(const struct bk_registry *r, const char *space, const struct bk__cli_args *args,
                  const char *name, struct bk_instance **instance, struct bk_space *out,
                  struct bk_error *err)
{
    struct bk_space s = { .info = { .struct_size = sizeof s.info } };
    struct bk_instance *made = NULL;
    struct bk_value *group = NULL;

    int rc = bk__cli_options(args, name, &group, err);
    if (!rc)
        rc = bk_instance_open(r, BK_KIND_SPACE, space, group, NULL, "space", NULL, &made, err);
    if (rc)
        goto done;
    s.iface = bk_instance_iface(made);
    s.state = made->state;
    s.name = made->found->plugin->name;
    rc = s.iface->info(s.state, &s.info, err);
    if (rc)
        goto done;
    *out = s;
    *instance = made;
    made = NULL;
done:
    bk_instance_close(made);
    bk_value_free(group);
    return rc;
}

/* ---- ratings ------------------------------------------------------------------------------------ */

int bk__cli_better(const struct bk__cli_args *args, bool *higher, struct bk_error *err)
{
    const char *better = bk__cli_text(args, "better");

    if (better && strcmp(better, "lower") && strcmp(better, "higher"))
        return bk_fail(err, BK_EUSAGE, "%s: option '--better': '%s', legal: lower, higher",
                       args->command, better);
    *higher = better && !strcmp(better, "higher");
    return BK_OK;
}

static struct bk_path best_path(const struct bk_block_table *t, bool higher)
{
    size_t best = 0;

    for (size_t i = 1; i < t->n; i++) {
        if (higher ? t->score[i] > t->score[best] : t->score[i] < t->score[best])
            best = i;
    }
    return t->path[best];
}

int bk__cli_ratings(const struct bk__cli_args *args, const struct bk_space *space, bool higher,
                    struct bk_block_table table[BK_MAX_BLOCKS], struct bk_error *err)
{
    struct bk_path prefix[BK_MAX_BLOCKS];
    size_t n = bk__cli_count(args, "ratings");

    if (n != (size_t)space->info.n_blocks)
        return bk_fail(err, BK_EUSAGE, "%s: %zu files of ratings, space '%s' has %d blocks",
                       args->command, n, space->name, (int)space->info.n_blocks);
    for (int32_t k = 0; k < space->info.n_blocks; k++) {
        BK_TRY(bk_ratings_read(bk__cli_at(args, "ratings", (size_t)k), space, k,
                               bk_space_entry(space, k, prefix), &table[k], err));
        prefix[k] = best_path(&table[k], higher);
    }
    return BK_OK;
}

/* ---- text ------------------------------------------------------------------------------------ */

void bk__cli_json_real(struct bk_text *t, double v)
{
    char number[32];

    bk_format_f64(v, number);
    bk_text_add(t, isfinite(v) ? number : "null");
}

void bk__cli_json_text(struct bk_text *t, const char *s)
{
    bk_text_add(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            bk_text_addf(t, "\\%c", c);
        else if (c < 0x20)
            bk_text_addf(t, "\\u%04x", c);
        else
            bk_text_addn(t, s, 1);
    }
    bk_text_add(t, "\"");
}

int bk__cli_print(const struct bk_text *t, struct bk_error *err)
{
    if (t->failed)
        return bk_fail(err, BK_ENOMEM, "cannot print the result: out of memory");
    if (fwrite(bk_text_get(t), 1, t->len, stdout) != t->len || fflush(stdout))
        return bk_fail_errno(err, BK_EIO, "cannot write to the standard output");
    return BK_OK;
}

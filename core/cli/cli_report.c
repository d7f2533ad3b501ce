/*
 * cli/cli_report.c: bosskit report: tables, plots and page again, from the scores that a run stored.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"
#include "pipeline/experiment.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <string.h>
#include <sys/stat.h>

/** The word is a run directory, or an experiment file whose run directory is meant. */
static int find_dir(const char *word, char **out, struct bk_error *err)
{
    struct bk_experiment *e = NULL;
    struct stat st;

    if (stat(word, &st))
        return bk_fail_errno(err, BK_EUSAGE, "report: '%s'", word);
    if (S_ISDIR(st.st_mode)) {
        *out = bk_strdup(word);
    } else {
        BK_TRY(bk_experiment_read(word, NULL, 0, &e, err));
        *out = bk_run_dir(e->name);
        bk_experiment_free(e);
    }
    return *out ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for a path");
}

static int report_again(const char *dir, struct bk_error *err)
{
    struct bk_report r = { 0 };
    struct bk_text text = BK_TEXT_INIT;
    int rc = bk_report_load(dir, &r, err);
    if (!rc)
        rc = bk_report_render(&r, dir, err);
    if (!rc) {
        bk_report_text(&r, &text);
        rc = bk__cli_print(&text, err);
    }
    bk_text_release(&text);
    bk_report_release(&r);
    return rc;
}

int bk__cli_report(int argc, char **argv, struct bk_error *err)
{
    static const struct bk__cli_opt opts[] = { { 0 } };
    struct bk__cli_args args;
    char *dir = NULL;
    int rc = bk__cli_parse(argc, argv, opts, &args, err);

    if (!rc && !args.helped && args.n != 1)
        rc = bk_fail(err, BK_EUSAGE, "report: one run directory or experiment file is needed");
    if (!rc && !args.helped)
        rc = find_dir(args.word[0], &dir, err);
    if (!rc && !args.helped)
        rc = report_again(dir, err);
    bk_free(dir);
    bk__cli_release(&args);
    return rc;
}

/*
 * cli/cli_plan.c: bosskit plan: what would run and why. Opens data sets and truth tables, imports no images, makes nothing
 * in the store.
 */
#include "cli/cli.h"
#include "cli/cli_experiment.h"
#include "pipeline/plan.h"

int bk__cli_plan(int argc, char **argv, struct bk_error *err)
{
    static const struct bk__cli_opt opts[] = { { 0 } };
    struct bk__cli_experiment x;
    struct bk_plan *plan = NULL;
    struct bk_text text = BK_TEXT_INIT;
    int rc = bk__cli_experiment_open(argc, argv, opts, &x, err);

    if (!rc && !x.args.helped) {
        rc = bk_plan_make(x.registry, x.experiment, true, &plan, err);
        if (!rc)
            rc = bk_plan_print(plan, &text, err);
        if (!rc)
            rc = bk__cli_print(&text, err);
    }
    bk_text_release(&text);
    bk_plan_free(plan);
    bk__cli_experiment_close(&x);
    return rc;
}

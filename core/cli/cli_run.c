/*
 * cli/cli_run.c: bosskit run. The table goes to stdout also when rows failed or values are outside the tolerance.
 */
#include "cli/cli.h"
#include "cli/cli_experiment.h"
#include "pipeline/run.h"

int bk__cli_run(int argc, char **argv, struct bk_error *err)
{
    static const struct bk__cli_opt opts[] = { { 0 } };
    struct bk__cli_experiment x;
    struct bk_text table = BK_TEXT_INIT;
    struct bk_error late = BK_ERROR_INIT;
    int rc = bk__cli_experiment_open(argc, argv, opts, &x, err);

    if (!rc && !x.args.helped) {
        rc = bk_experiment_run(x.registry, x.experiment, &table, err);
        if (table.len) {
            int printed = bk__cli_print(&table, &late);
            if (printed && !rc)
                rc = bk_fail(err, printed, "%s", late.text);
        }
    }
    bk_text_release(&table);
    bk__cli_experiment_close(&x);
    return rc;
}

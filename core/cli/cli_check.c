/*
 * cli/cli_check.c: bosskit check: every option of every row with its value and origin, or the first mistake. It reads
 * the configuration and the plugins, nothing else.
 */
#include "cli/cli.h"
#include "cli/cli_experiment.h"
#include "pipeline/plain_host.h"

#include <stdio.h>
#include <string.h>

static int check_rows(const struct bk__cli_experiment *x, struct bk_row **rows, struct bk_error *err)
{
    for (size_t i = 0; i < x->experiment->n_rows; i++) {
        int rc = bk_row_open(x->registry, &x->experiment->row[i], &bk__plain_host, &rows[i], err);
        if (rc) {
            if (x->experiment->n_rows > 1)
                bk_context(err, "row '%s'", x->experiment->row[i].name);
            return rc;
        }
    }
    for (size_t i = 0; i < x->experiment->n_rows; i++) {
        int rc = bk_row_check_supernet(rows[i], rows[x->experiment->row[i].supernet], err);
        if (rc) {
            bk_context(err, "row '%s'", rows[i]->name);
            return rc;
        }
    }
    return BK_OK;
}

int bk__cli_check(int argc, char **argv, struct bk_error *err)
{
    static const struct bk__cli_opt opts[] = { { 0 } };
    struct bk__cli_experiment x;
    struct bk_row **rows = NULL;
    struct bk_text text = BK_TEXT_INIT;
    size_t n = 0;
    int rc = bk__cli_experiment_open(argc, argv, opts, &x, err);

    if (!rc && !x.args.helped) {
        n = x.experiment->n_rows;
        rows = bk_zalloc((n + 1) * sizeof *rows);
        rc = rows ? check_rows(&x, rows, err) : bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
        if (!rc) {
            bk_rows_print(rows, n, &text);
            rc = bk__cli_print(&text, err);
        }
        if (!rc)
            bk_log(BK_LOG_INFO, "%s: %zu row%s, no mistakes found", x.experiment->path, n, n == 1 ? "" : "s");
    }
    for (size_t i = 0; rows && i < n; i++)
        bk_row_close(rows[i]);
    bk_free(rows);
    bk_text_release(&text);
    bk__cli_experiment_close(&x);
    return rc;
}

/*
 * `bosskit run` from end to end: plan, run, results, run directory. Which errors still leave a table behind is decided
 * here: failed rows and values outside the declared tolerance do.
 */
#include "pipeline/child.h"
#include "pipeline/run.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *bk_run_dir(const char *name)
{
    const char *root = getenv("BOSSKIT_RUNS");
    struct bk_text t = BK_TEXT_INIT;
    char file[160];
    bk__report_file_name(name, file, sizeof file);
    bk_text_addf(&t, "%s/%s", root && root[0] ? root : "runs", file);
    return bk_text_take(&t);
}

static int is_leftover(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 4 && strcmp(e->d_name + n - 4, ".tmp") == 0;
}

static int write_resolved(const struct bk_plan *p, const char *dir, struct bk_error *err)
{
    struct bk_row **rows = bk_zalloc((p->n_rows + 1) * sizeof *rows);
    struct bk_text text = BK_TEXT_INIT, path = BK_TEXT_INIT;
    if (!rows)
        return bk_fail(err, BK_ENOMEM, "out of memory for the configuration");
    for (size_t i = 0; i < p->n_rows; i++)
        rows[i] = p->row[i].row;
    bk_rows_print(rows, p->n_rows, &text);
    bk_text_addf(&path, "%s/resolved.cfg", dir);
    int rc = text.failed ? bk_fail(err, BK_ENOMEM, "out of memory for the configuration")
                         : bk_file_write(bk_text_get(&path), bk_text_get(&text), text.len, err);
    bk_free(rows);
    bk_text_release(&text);
    bk_text_release(&path);
    return rc;
}

/** Temporary files of a run that was killed while writing. */
static int drop_leftovers(const char *dir, struct bk_error *err)
{
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, is_leftover, NULL), rc = BK_OK;
    for (int i = 0; i < n; i++) {
        struct bk_text path = BK_TEXT_INIT;
        bk_text_addf(&path, "%s/%s", dir, entry[i]->d_name);
        if (!rc)
            rc = bk_remove_tree(bk_text_get(&path), err);
        bk_text_release(&path);
        free(entry[i]);
    }
    free(entry);
    return rc;
}

static void say_times(const struct bk_plan *p)
{
    double total = 0;
    int made = 0, cached = 0;
    for (size_t i = 0; i < p->n_stages; i++) {
        const struct bk_stage *s = p->stage[i];
        if (!s->dir || s->error.code)
            continue;
        if (s->cached) {
            cached++;
        } else {
            made++;
            total += s->seconds;
            bk_log(BK_LOG_DEBUG, "%s: %.1f s", s->label, s->seconds);
        }
    }
    bk_log(BK_LOG_INFO, "%d stages from the cache, %d made in %.1f s", cached, made, total);
}

static int count_failures(const struct bk_plan *p, const struct bk_report *r, struct bk_error *err)
{
    size_t rows = 0, stages = 0;
    for (size_t i = 0; i < r->n; i++)
        rows += r->entry[i].failure != NULL;
    for (size_t i = 0; i < p->n_stages; i++)
        stages += p->stage[i]->error.code != 0;
    if (!rows && !stages)
        return BK_OK;
    for (size_t i = 0; i < p->n_stages; i++) {
        if (p->stage[i]->error.code)
            return bk_fail(err, BK_EROWS, "%zu rows and %zu stages failed; first %s: %.700s", rows, stages,
                           p->stage[i]->label, p->stage[i]->error.text);
    }
    return bk_fail(err, BK_EROWS, "%zu rows failed; the table says why", rows);
}

static int check_tolerance(const struct bk_plan *p, const struct bk_report *r, struct bk_error *err)
{
    static const char *const names[3] = { "tau", "rho", "R" };
    for (size_t i = 0; i < p->n_rows; i++) {
        size_t at = p->row[i].entry;
        const struct bk_report_entry *e = at < r->n ? &r->entry[at] : NULL;
        if (!e || !bk_row_rates(p->row[i].row))
            continue;
        const double v[3] = { e->corr.kendall_tau, e->corr.spearman_rho, e->corr.pearson_r };
        double limit = p->row[i].row->report.tolerance;
        if (!p->row[i].row->report.has_tolerance || e->failure)
            continue;
        for (int k = 0; k < 3; k++) {
            if (e->has_published[k] && !(fabs(v[k] - e->published[k]) <= limit))
                return bk_fail(err, BK_ETOLERANCE, "row '%s': %s is %.4f, published %.4f, declared tolerance %g", e->name,
                               names[k], v[k], e->published[k], limit);
        }
    }
    return BK_OK;
}

static int report_results(struct bk_plan *p, const char *dir, struct bk_text *table, struct bk_error *err)
{
    struct bk_report r = { 0 };
    int rc = bk_plan_results(p, &r, err);
    if (!rc)
        rc = bk_report_save(&r, dir, err);
    if (!rc)
        rc = bk_report_render(&r, dir, err);
    if (!rc)
        bk_report_text(&r, table);
    if (!rc)
        rc = count_failures(p, &r, err);
    if (!rc)
        rc = check_tolerance(p, &r, err);
    bk_report_release(&r);
    return rc;
}

static int run_in(struct bk_plan *p, const char *dir, struct bk_text *table, struct bk_error *err)
{
    struct bk_events *events = NULL;
    double started = bk_now();

    BK_TRY(bk_make_dirs(dir, err));
    BK_TRY(drop_leftovers(dir, err));
    BK_TRY(write_resolved(p, dir, err));
    BK_TRY(bk__events_open(dir, &events, err));
    bk__events_add(events, json_pack("{s:s,s:s,s:s}", "event", "start", "experiment", p->experiment->path, "bosskit",
                                     BK_VERSION));
    int rc = bk_plan_run(p, events, err);
    if (!rc) {
        say_times(p);
        rc = report_results(p, dir, table, err);
    }
    bk__events_add(events, json_pack("{s:s,s:i,s:f}", "event", "end", "status", rc, "seconds", bk_now() - started));
    bk__events_close(events);
    if (!rc || rc == BK_EROWS || rc == BK_ETOLERANCE)
        bk_log(BK_LOG_INFO, "written: %s (report.html, tables/, scores/, plots/)", dir);
    return rc;
}

int bk_experiment_run(struct bk_registry *r, struct bk_experiment *e, struct bk_text *table, struct bk_error *err)
{
    struct bk_plan *p = NULL;
    char *dir = bk_run_dir(e->name);
    int rc = dir ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for a path");

    bk__interrupt_install();
    if (!rc)
        rc = bk_plan_make(r, e, false, &p, err);
    if (!rc)
        rc = run_in(p, dir, table, err);
    bk_plan_free(p);
    bk_free(dir);
    return rc;
}

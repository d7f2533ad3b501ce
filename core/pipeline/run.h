/**
 * pipeline/run.h: running a plan and turning finished stages into a report.
 */
#ifndef BOSSKIT_PIPELINE_RUN_H
#define BOSSKIT_PIPELINE_RUN_H

#include "pipeline/plan.h"
#include "report/report.h"

/* ---- progress (progress.c) -------------------------------------------------------------------------------- */

/** One stage's progress on stderr: an updating line on a terminal, else a line every ten seconds. */
struct bk_meter {
    char title[200];            /* "[3/30] train block 0 (ensemble_bootstrap)" */
    double started, first_done, first_at, shown_at;
    bool live, drawn;
};
void bk__meter_start(struct bk_meter *m, const char *title);
/** Matches struct bk_child.progress. */
void bk__meter_update(void *meter, double done, double total, const char *unit, const char *note);
void bk__meter_stop(struct bk_meter *m);

/* ---- running (run.c) ------------------------------------------------------------------------------------------ */

/** Appends to events.jsonl of a run directory; NULL-safe. */
struct bk_events;
int bk__events_open(const char *dir, struct bk_events **out, struct bk_error *err);
void bk__events_close(struct bk_events *e);
/** `o` is taken over; a time stamp is added. */
void bk__events_add(struct bk_events *e, json_t *o);

/**
 * Bring every stage the rows need into the store. Failed stages are noted in the stage and do not end the run.
 * Errors: BK_EINTERRUPTED; anything that is no stage's own fault
 */
BK_API int bk_plan_run(struct bk_plan *p, struct bk_events *events, struct bk_error *err) BK_MUST_USE;

/** Is the artefact of every TRAIN stage needed for something that is missing? Sets needed[i] for p->stage[i]. */
void bk__plan_needed(const struct bk_plan *p, bool *needed);

/** Results of all rows and baselines (results.c). Rows with failed stages get a failure instead of numbers. */
BK_API int bk_plan_results(struct bk_plan *p, struct bk_report *out, struct bk_error *err) BK_MUST_USE;

/** Summed block ratings of all architectures of the row's truth, raw sign. */
int bk__rate_by_tables(const struct bk_plan_row *r, const struct bk_block_table *table, double *rating,
                       struct bk_error *err);

/* More results (results_more.c), for reports whose entries are there. */

/** Ratings of a row's blocks, where they were rated. */
void bk__add_blocks(const struct bk_plan_row *r, struct bk_report_entry *e);
/** Correlations during training of a row with rate_every; the last epoch is the entry's own. */
int bk__add_epochs(const struct bk_plan *p, const struct bk_plan_row *r, struct bk_report_entry *e, struct bk_error *err);
/** Every row against every other one with the same truth; in reports of many rows against the first alone. */
int bk__add_pairs(const struct bk_plan *p, struct bk_report *out, struct bk_error *err);
/** Named architectures, and what searches found where the space draws. */
int bk__add_archs(const struct bk_plan *p, struct bk_report *out, struct bk_error *err);
/** What retraining gave (results_retrain.c). */
int bk__add_retrained(const struct bk_plan *p, struct bk_report *out, struct bk_error *err);

/* Numbers that are kept in the store because the bootstrap of a large table takes seconds (result_cache.c). */

/** Correlation, intervals and top-k of one rating. */
int bk__correlate_cached(const struct bk_plan *p, const struct bk_row *row, const double *rating, const double *truth,
                         size_t n, struct bk_report_entry *e, struct bk_error *err);
/** The paired test of ratings a and b; resamples and seed are those of `row`. */
int bk__compare_cached(const struct bk_plan *p, const struct bk_row *row, const double *a, const double *b,
                       const double *truth, size_t n, struct bk_report_pair *pair, struct bk_error *err);

/** $BOSSKIT_RUNS or ./runs, then /<name>; bk_free(). */
BK_API char *bk_run_dir(const char *name);

/** The whole of `bosskit run`: plan, run, report. *table gets the text for stdout. BK_EROWS, BK_ETOLERANCE after a table was made. */
BK_API int bk_experiment_run(struct bk_registry *r, struct bk_experiment *e, struct bk_text *table,
                             struct bk_error *err) BK_MUST_USE;

#endif

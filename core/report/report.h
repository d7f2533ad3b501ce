/**
 * report/report.h: results as files and as text.
 *
 * A report is plain data: one entry a row or baseline, with its correlations and the points behind them. It is saved as
 * run.json and scores/ROW.csv, and everything else (tables, plots, report.html, MANIFEST.sha256) is rendered from those,
 * so `bosskit report` can do it again. Times and paths are not part of it: equal results give equal bytes.
 */
#ifndef BOSSKIT_REPORT_REPORT_H
#define BOSSKIT_REPORT_REPORT_H

#include <bosskit/stats.h>

struct bk_report_point {
    char *arch;
    double rating, truth;       /* rating: higher is better; NaN where there is none */
};

struct bk_report_entry {
    char *name, *rater, *better;        /* better: what the rater's raw numbers say, "lower" or "higher" */
    char *settings;                     /* "seed 0, f32, fast, cpu"; "" for baselines */
    char *failure;                      /* NULL, or why there are no results */
    bool is_baseline, has_ci;
    size_t n, n_excluded;
    struct bk_correlation corr;
    struct bk_correlation_ci ci;
    struct bk_top top;
    size_t top_k;
    bool has_published[3];
    double published[3];                /* tau, rho, R */
    char *published_source;
    char *found_arch;                   /* NULL: no search */
    double found_score, found_params, found_macs, found_truth;   /* found_truth NaN: not known */
    struct bk_report_point *point;
    size_t n_points;
};

struct bk_report {
    char *name, *title, *version;
    char *device;                       /* "cpu: AMD ..., oneDNN ..." */
    struct bk_report_entry *entry;
    size_t n;
};

BK_API void bk_report_release(struct bk_report *r);

/** Write run.json and scores/. */
BK_API int bk_report_save(const struct bk_report *r, const char *dir, struct bk_error *err) BK_MUST_USE;
/** Read them back. Errors: BK_EDATA, BK_EIO */
BK_API int bk_report_load(const char *dir, struct bk_report *out, struct bk_error *err) BK_MUST_USE;
/** Write tables/, plots/, report.html and MANIFEST.sha256 beside them. */
BK_API int bk_report_render(const struct bk_report *r, const char *dir, struct bk_error *err) BK_MUST_USE;

/** The table for a terminal. */
BK_API void bk_report_text(const struct bk_report *r, struct bk_text *out);

/* ---- parts ------------------------------------------------------------------------------------------------ */

void bk__report_markdown(const struct bk_report *r, struct bk_text *out);
void bk__report_csv(const struct bk_report *r, struct bk_text *out);
void bk__report_tex(const struct bk_report *r, struct bk_text *out);
/** Scatter of rating against truth as a stand-alone SVG. */
void bk__report_scatter(const struct bk_report_entry *e, struct bk_text *out);
void bk__report_html(const struct bk_report *r, struct bk_text *out);
/** A name fit for a file: letters, digits, '.', '-' and '_'. */
void bk__report_file_name(const char *name, char *buf, size_t size);
/** "0.534" or "-"; "[0.51, 0.56]" or "". */
void bk__report_number(double v, int decimals, char buf[32]);
void bk__report_interval(const struct bk_interval *i, bool has, char buf[48]);
/** XML text with <, >, & and quotes escaped. */
void bk__report_escape(struct bk_text *out, const char *s);

#endif

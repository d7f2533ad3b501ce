/**
 * report/report.h: results as files and as text.
 *
 * A report is plain data: one entry a row or baseline, with its correlations and the points behind them. It is saved as
 * run.json and scores/ROW.csv, and everything else (tables, plots, report.html, MANIFEST.sha256) is rendered from those,
 * so `bosskit report` can do it again. Times and paths are not part of it: equal results give equal bytes.
 */
#ifndef BOSSKIT_REPORT_REPORT_H
#define BOSSKIT_REPORT_REPORT_H

#include <bosskit/space.h>
#include <bosskit/stats.h>
#include <jansson.h>

struct bk_report_point {
    char *arch;
    double rating, truth;       /* rating: higher is better; NaN where there is none */
};

/** Agreement with the truth when every block had been trained for so many epochs. */
struct bk_report_epoch {
    int64_t epoch;
    struct bk_correlation corr;
};

/** Ratings of one block as the rater gives them. */
struct bk_report_block {
    size_t n_paths;
    char best[BK_MAX_LAYERS + 1];       /* path; of equals the first */
    double best_rating, worst_rating;
    double reliability;                 /* over validation batches (bk_reliability_value()); NaN: not known */
};

struct bk_report_entry {
    char *name, *rater, *better;        /* better: what the rater's raw numbers say, "lower" or "higher" */
    char *settings;                     /* "seed 0, f32, fast, cpu"; "" for baselines */
    char *failure;                      /* NULL, or why there are no results */
    bool is_baseline, has_ci;
    bool uncorrelated;                  /* published values alone, or a search without truth */
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
    double found_published;             /* published truth of what that method found; NaN: none */
    struct bk_report_block block[BK_MAX_BLOCKS];
    int32_t n_blocks;                   /* 0: the rater rates no blocks */
    struct bk_report_epoch *epoch;      /* correlations during training, ascending */
    size_t n_epochs;
    struct bk_report_point *point;
    size_t n_points;
};

/** Row a against row b on the same architectures. */
struct bk_report_pair {
    char *a, *b;
    size_t n;
    struct bk_paired test;              /* differences a - b */
};

/** An architecture that an experiment names or a search found, drawn and priced. NaN: not known, not published. */
struct bk_report_arch {
    char *row, *name;
    char *arch;                         /* NULL: published values alone */
    char *counter_name;                 /* the space's published cost convention */
    char *source;
    bool is_found;                      /* by the row's search: drawn only, its numbers are the row's */
    double params, macs, counter;
    double top1, top5, published_params, published_madds;
    struct bk_drawn_layer *layer;       /* n_layers of them; 0: the space draws none */
    int32_t n_layers;
};

struct bk_report_counts {
    int64_t n, top1, top5;              /* test images, and how many were right; n = 0: there are none */
};

/** An architecture that was trained alone as a result. */
struct bk_report_retrained {
    char *row, *arch, *settings;
    char *failure;                      /* NULL, or why there are no results */
    char *counter_name, *source;
    struct bk_report_counts last, average;      /* last weights; their moving average */
    double params, macs, counter;       /* multiply-adds at cost_size pixels */
    int32_t cost_size, eval_size;
    double published[4];                /* top-1, top-5, parameters, multiply-adds; NaN: not published */
};

struct bk_report {
    char *name, *title, *version;
    char *device;                       /* "cpu: AMD ..., oneDNN ..." */
    struct bk_report_entry *entry;
    size_t n;
    struct bk_report_pair *pair;
    size_t n_pairs;
    struct bk_report_arch *arch;
    size_t n_archs;
    struct bk_report_retrained *retrained;
    size_t n_retrained;
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

/* Paired comparisons (report_pairs.c); nothing is added when there are none. */
void bk__pairs_text(const struct bk_report *r, struct bk_text *out);
void bk__pairs_markdown(const struct bk_report *r, struct bk_text *out);
void bk__pairs_csv(const struct bk_report *r, struct bk_text *out);
void bk__pairs_tex(const struct bk_report *r, struct bk_text *out);
void bk__pairs_html(const struct bk_report *r, struct bk_text *out);

/* Ratings of single blocks (report_blocks.c); nothing is added when there are none. */
void bk__blocks_notes(const struct bk_report *r, const char *bullet, struct bk_text *out);
void bk__blocks_markdown(const struct bk_report *r, struct bk_text *out);
void bk__blocks_csv(const struct bk_report *r, struct bk_text *out);
void bk__blocks_html(const struct bk_report *r, struct bk_text *out);
json_t *bk__blocks_save(const struct bk_report_entry *e);
int bk__blocks_load(struct bk_report_entry *e, const json_t *a, struct bk_error *err);

/* Named architectures (report_archs.c); nothing is added when there are none. */
void bk__archs_text(const struct bk_report *r, struct bk_text *out);
void bk__archs_markdown(const struct bk_report *r, struct bk_text *out);
void bk__archs_csv(const struct bk_report *r, struct bk_text *out);
void bk__archs_tex(const struct bk_report *r, struct bk_text *out);
void bk__archs_html(const struct bk_report *r, struct bk_text *out);

/* Retrained architectures (report_retrain.c); nothing is added when there are none. */
void bk__retrained_text(const struct bk_report *r, struct bk_text *out);
void bk__retrained_markdown(const struct bk_report *r, struct bk_text *out);
void bk__retrained_csv(const struct bk_report *r, struct bk_text *out);
void bk__retrained_tex(const struct bk_report *r, struct bk_text *out);
void bk__retrained_html(const struct bk_report *r, struct bk_text *out);
json_t *bk__retrained_save(const struct bk_report *r);
int bk__retrained_load(struct bk_report *r, const json_t *list, struct bk_error *err);
void bk__retrained_release(struct bk_report *r);

/** Op and scale of every layer as a stand-alone SVG (report_draw.c); an op has one colour in all drawings of `r`. */
void bk__report_drawing(const struct bk_report *r, const struct bk_report_arch *a, struct bk_text *out);
/** Correlations against epochs (report_curve.c): one line plot a row, one table of all rows. */
void bk__report_curve(const struct bk_report_entry *e, struct bk_text *out);
void bk__curves_csv(const struct bk_report *r, struct bk_text *out);

/* Shared by the plots (report_plot.c). */
struct bk__axis {
    double low, high, step;
};
/** Ticks at 1, 2 or 5 times a power of ten, about five of them; a margin on both sides. */
struct bk__axis bk__axis_make(double low, double high);
/** A tick's number with as many decimals as the ticks need. */
void bk__axis_label(const struct bk__axis *a, double v, char buf[32]);
/** The opening of an SVG of w x h with the style of all plots. */
void bk__svg_open(struct bk_text *out, double w, double h);

/* Shared by the tables (report_table.c). */
void bk__csv_field(struct bk_text *out, const char *s);
/** A comma and the number; nothing behind the comma when it is not finite. */
void bk__csv_number(struct bk_text *out, double v);
void bk__tex_text(struct bk_text *out, const char *s);

/* Parts of run.json (report_parts.c). */
/** A number, or null where there is none: JSON has no NaN. A new reference. */
json_t *bk__real_or_null(double v);
/** The other way round: NaN for everything but numbers, NULL too. */
double bk__real_of(const json_t *v);
void bk__report_parts_save(const struct bk_report *r, json_t *o);
int bk__report_parts_load(struct bk_report *r, const json_t *o, struct bk_error *err);
json_t *bk__report_epochs_save(const struct bk_report_entry *e);
int bk__report_epochs_load(struct bk_report_entry *e, const json_t *a, struct bk_error *err);
void bk__report_parts_release(struct bk_report *r);

/** A name fit for a file: letters, digits, '.', '-' and '_'. */
void bk__report_file_name(const char *name, char *buf, size_t size);
/** "0.534" or "-"; "[0.51, 0.56]" or "". */
void bk__report_number(double v, int decimals, char buf[32]);
void bk__report_interval(const struct bk_interval *i, bool has, char buf[48]);
/** A remark on a row or an architecture; NULL or "": none. */
struct bk_report_note {
    const char *name, *text;
};
/** "<bullet><before><text>: name; name", one line for each different text. */
void bk__report_notes(const struct bk_report_note *note, size_t n, const char *bullet, const char *before, struct bk_text *out);

/** XML text with <, >, & and quotes escaped. */
void bk__report_escape(struct bk_text *out, const char *s);

#endif

/**
 * pipeline/plan.h: an experiment as a graph of stages with keys.
 *
 * Every key is known before anything runs, because a key hashes how a stage is made and the keys of its inputs, not
 * their bytes. Rows that need a stage of the same key share one `struct bk_stage`. Planning opens data sets and truth
 * tables and looks into the store; it makes nothing in the store and touches no device in this process.
 */
#ifndef BOSSKIT_PIPELINE_PLAN_H
#define BOSSKIT_PIPELINE_PLAN_H

#include "pipeline/setup.h"
#include "store/store.h"
#include <bosskit/table.h>

/** Raised by hand whenever the engine's numbers change; part of every key. */
#define BK_ENGINE_NUMERICS 1

enum bk_stage_kind {
    BK_STAGE_KIND_INVALID = 0,
    BK_STAGE_TRAIN,     /* a block's supernet */
    BK_STAGE_RATE,      /* a block's paths */
    BK_STAGE_SCORE,     /* architectures of the truth, by a rater that scores them directly */
    BK_STAGE_SEARCH,
    BK_STAGE_ALONE,     /* one architecture trained alone: a value of the truth */
    BK_STAGE_RETRAIN,   /* one architecture trained alone: a result */
    BK_STAGE_TEST,      /* accuracy of what was retrained */
};

/** What ratings are compared with. */
struct bk_truth_set {
    size_t n;
    char **text;
    struct bk_arch *arch;
    double *value;              /* NaN until its stage is done */
    struct bk_stage **alone;    /* n of them; NULL when the values come from a file */
    char digest[65];            /* over the texts */
    char id[65];                /* over everything, for sharing */
};

struct bk_stage {
    enum bk_stage_kind kind;
    char label[160];
    const struct bk_row *row;           /* the first row that needs it */
    const struct bk_setting *setting;
    const struct bk_truth_set *truth;   /* SCORE */
    const struct bk_baseline *baseline; /* SCORE of a baseline; NULL: of the row's own rater */
    const char *arch;                   /* ALONE; RETRAIN, TEST: NULL when it is what a search finds */
    int32_t block, n_classes;
    struct bk_stage *in[2 * BK_MAX_BLOCKS];
    int32_t n_in;
    json_t *identity;
    char key[65];
    enum bk_stage_state state;
    char size[96];                      /* a rough idea of the work */
    double work;                        /* the same as a number that time is proportional to; 0: not known */
    /* filled while running */
    char *dir;                          /* published directory; NULL until then */
    struct bk_block_table table;        /* RATE: its ratings */
    struct bk_path best;                /* RATE: the best path, first of equals */
    struct bk_error error;              /* code != 0: failed */
    bool cached;                        /* was a HIT */
    double seconds;
};

struct bk_plan_row {
    struct bk_row *row;
    const struct bk_plan_row *supernet; /* the row whose supernet is rated along its best paths; most often this one */
    struct bk_setting setting;
    struct bk_row_data data;
    bool has_data;
    int32_t n_classes;
    struct bk_truth_set *truth;
    struct bk_stage *train[BK_MAX_BLOCKS], *rate[BK_MAX_BLOCKS];        /* raters of blocks */
    struct bk_stage *score;                                             /* raters of architectures */
    struct bk_stage *search;
    struct bk_stage *retrain, *test;
    struct bk_stage *baseline[BK_MAX_BASELINES];        /* NULL: a score of the space */
    bool pending;                       /* look only: the images are not imported yet, so keys are not known */
    size_t entry;                       /* in the report; filled by bk_plan_results(), SIZE_MAX: none */
};

struct bk_plan {
    struct bk_registry *registry;       /* borrowed */
    struct bk_store *store;
    struct bk_experiment *experiment;   /* borrowed */
    struct bk_plan_row *row;
    size_t n_rows;
    struct bk_stage **stage;            /* in an order that respects inputs */
    size_t n_stages;
    struct bk_truth_set **truth;
    size_t n_truths;
    char *data_cache;
    bool look_only;
};

/**
 * With `look_only` no image cache is made: rows whose images are not imported yet are `pending`, and all of their stages
 * that need images are RUN. Such a plan can be printed, not run.
 * Errors: BK_ECONFIG, BK_EPLUGIN (backend), BK_EDATA (missing data or truth)
 */
BK_API int bk_plan_make(struct bk_registry *r, struct bk_experiment *e, bool look_only, struct bk_plan **out,
                        struct bk_error *err) BK_MUST_USE;
BK_API void bk_plan_free(struct bk_plan *p);
BK_API const char *bk_stage_kind_name(enum bk_stage_kind kind);
/** A table of rows and stages with HIT, RUN or RESUME and why. */
BK_API int bk_plan_print(const struct bk_plan *p, struct bk_text *out, struct bk_error *err) BK_MUST_USE;

/* ---- estimates (plan_estimate.c) -------------------------------------------------------------------------- */

/** What earlier stages of the same plugin, space, block and device took. Times are scaled by bk_stage.work. */
struct bk_estimate {
    double seconds;             /* NaN: nothing like it was made here */
    double peak_bytes;          /* most host memory; NaN */
    int n_different;            /* options of the plugin that differed: 0 is the same work on other data, seeds or lengths */
};
void bk__stage_estimate(const struct bk_plan *p, const struct bk_stage *s, struct bk_estimate *out);
/** "about 12 min, 830 MiB" or "time unknown". */
void bk__estimate_text(const struct bk_estimate *e, struct bk_text *out);

/* ---- keys (plan_key.c): each returns a new reference or NULL when out of memory ----------------------- */

json_t *bk__json_real(double v);
json_t *bk__json_options(const struct bk_opt *table, const void *state);
/** {plugin, version, digest, options, files}; `files` has digests of what BK_OPT_PATH options name when `files`. */
int bk__json_part(const struct bk_instance *i, bool files, json_t **out, struct bk_error *err);
int bk__stage_identity(const struct bk_plan_row *row, struct bk_stage *s, struct bk_error *err);

/* ---- truth (truth_set.c) ------------------------------------------------------------------------------------ */

/** Architectures and, from a file, values. ALONE stages are made by the caller. */
int bk__truth_open(const struct bk_row *row, struct bk_truth_set **out, struct bk_error *err);
void bk__truth_free(struct bk_truth_set *t);

/** Choose backend, dtype, threads of a row; asks a child process what the device is. */
int bk__setting_choose(const struct bk_registry *r, const struct bk_row *row, struct bk_setting *out,
                       struct bk_error *err);

#endif

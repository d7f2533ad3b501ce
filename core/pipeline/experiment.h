/**
 * pipeline/experiment.h: an experiment file as rows, and a row as bound options and plugin instances.
 *
 * A row is the file, overlaid by its profile, overlaid by the row's own entries in `grid`, overlaid by the command
 * line. Naming another plugin in an overlay starts that part's options afresh. The pipeline's own options are option
 * tables like a plugin's, so unknown keys are refused everywhere. Nothing here touches data, devices or the store.
 */
#ifndef BOSSKIT_PIPELINE_EXPERIMENT_H
#define BOSSKIT_PIPELINE_EXPERIMENT_H

#include "config/config.h"
#include "pipeline/recipe.h"
#include "plugin/registry.h"
#include <bosskit/method.h>

/* ---- the file (experiment.c, experiment_grid.c) -------------------------------------------------- */

struct bk_row_tree {
    char *name;
    struct bk_value *tree;      /* without grid, profiles and profile */
    size_t supernet;            /* index of the row whose supernet is rated; most often its own */
};

struct bk_experiment {
    char *path, *name, *title;
    struct bk_row_tree *row;
    size_t n_rows;
};

/** Read, choose the profile, expand the grid, apply `n` overrides "key=value". Errors: BK_ECONFIG with file:line */
BK_API int bk_experiment_read(const char *path, const char *const *overrides, size_t n, struct bk_experiment **out,
                              struct bk_error *err) BK_MUST_USE;
BK_API void bk_experiment_free(struct bk_experiment *e);

/** Merge with the rule about plugins above. */
int bk__overlay(struct bk_value *into, const struct bk_value *from, const char *label, struct bk_error *err);
/** Rows of `grid` (NULL: one row named `name`), as overlays; names are unique. */
int bk__grid_expand(const struct bk_value *grid, const char *name, struct bk_row_tree **rows, size_t *n,
                    struct bk_error *err);
/** A row's own entries in the grid: with `supernet` there is no trainer and no sampler among them (row_supernet.c). */
int bk__supernet_check_own(const struct bk_row_tree *row, struct bk_error *err);
/** Find the rows that `supernet` names; rows that name one get its trainer and sampler. */
int bk__supernets_resolve(struct bk_experiment *e, struct bk_error *err);
/** A key whose group names a plugin: BK_KIND_..., or BK_KIND_INVALID. */
uint32_t bk__part_kind(const char *key);

/* values made by hand; NULL when out of memory */
struct bk_value *bk__tree_new(enum bk_value_type type, const char *name, const struct bk_value *like);
bool bk__tree_append(struct bk_value *group, struct bk_value *child);
struct bk_value *bk__tree_detach(struct bk_value *group, const char *name);

/* ---- a row (row.c, row_recipe.c, row_options.c) ------------------------------------------------------------------ */

enum bk_truth_source { BK_TRUTH_FILE = 1, BK_TRUTH_STANDALONE = 2 };
enum bk_augment_set { BK_AUGMENT_CIFAR = 1, BK_AUGMENT_IMAGENET, BK_AUGMENT_BYOL, BK_AUGMENT_NONE };

struct bk_top_options {
    const char *name, *title, *supernet;
    int64_t seed, threads, checkpoint_s, n_classes;
    int32_t dtype, determinism;         /* dtype 0: auto */
    bool quoted;                        /* a row of published values alone */
};

struct bk_truth_options {
    int32_t source;
    const char *file, *column, *hint;
    int64_t n, seed;
};

/** Retraining of one architecture. */
struct bk_retrain_options {
    const char *arch;                   /* its text, or "found" */
    int64_t seed, eval_size, eval_batch;
};

/** What was published about the retrained architecture; NaN: nothing. */
struct bk_published_retrain {
    double top1, top5, params, madds;
    const char *source;
};

struct bk_report_options {
    int64_t bootstrap, top_k;
    double tolerance;
    bool has_tolerance;
};

struct bk_published {
    double kendall_tau, spearman_rho, pearson_r, found_truth;
    bool has_tau, has_rho, has_r, has_found;
    const char *source;
};

enum bk_augment_on { BK_AUGMENT_ON_HOST = 1, BK_AUGMENT_ON_DEVICE };

struct bk_data_options {
    int32_t augment;
    int64_t loader_threads;
    int32_t augment_on;         /* enum bk_augment_on */
};

struct bk_rater_options {
    double offset;
    int64_t round_decimals;
    double weight[BK_MAX_BLOCKS];
    int32_t n_weights;                  /* 0: all 1 */
};

struct bk_trainer_options {
    int64_t rate_every;                 /* see bk_row_rate_every() */
    const char *prefix;
    bool has_prefix;                    /* later blocks are behind `fixed`, not behind the best paths */
    struct bk_arch fixed;
};

/** An architecture that the experiment names, to be drawn and priced, with what was published about it (NaN: nothing). */
struct bk_named_arch {
    const char *name, *arch, *source;   /* arch NULL: published values alone */
    double top1, top5, params, madds;
    struct bk_arch parsed;
};

enum bk_part_slot {
    BK_SLOT_BACKEND, BK_SLOT_SPACE, BK_SLOT_DATA, BK_SLOT_TRAINER, BK_SLOT_SAMPLER, BK_SLOT_RATER, BK_SLOT_SEARCHER,
    BK_N_SLOTS
};

#define BK_MAX_BASELINES 16

/** A baseline is a rater that scores architectures, or a named score of the space. */
struct bk_baseline {
    const char *name;
    struct bk_instance *rater;          /* NULL: the space's score of that name */
};

struct bk_row {
    char *name;
    struct bk_value *tree;
    struct bk_owned *owned;
    struct bk_host host;
    struct bk_top_options top;
    struct bk_truth_options truth;
    struct bk_recipe truth_recipe, retrain_recipe;
    bool has_retrain;
    struct bk_retrain_options retrain;
    struct bk_published_retrain retrain_published;
    struct bk_report_options report;
    struct bk_published published;
    struct bk_data_options data;
    struct bk_rater_options rater;
    struct bk_trainer_options trainer;
    struct bk_instance *part[BK_N_SLOTS];       /* NULL: not in the configuration */
    struct bk_space space;
    struct bk_baseline baseline[BK_MAX_BASELINES];
    int32_t n_baselines;
    struct bk_named_arch *named;
    int32_t n_named;
};

/** Bind every section and open its plugins (the backend is bound, not initialised). The row keeps a copy of `tree`. */
BK_API int bk_row_open(const struct bk_registry *r, const struct bk_row_tree *tree, const struct bk_host *host,
                       struct bk_row **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_row_close(struct bk_row *row);

static inline const struct bk_rater_iface *bk_row_rater(const struct bk_row *row)
{
    return bk_instance_iface(row->part[BK_SLOT_RATER]);
}

/** Is anything rated here? Not in rows that only quote, or only draw named architectures. */
static inline bool bk_row_rates(const struct bk_row *row)
{
    return !row->top.quoted && row->part[BK_SLOT_RATER];
}

/** The architecture to retrain is what the search finds. */
bool bk_row_retrains_found(const struct bk_row *row);
/** Does this row's rater need a trained supernet? */
bool bk_row_trains(const struct bk_row *row);
/** The searcher goes block by block and the rater can rate a part of a block: ratings are made during the search. */
bool bk_row_evolves(const struct bk_row *row);
/** Epochs of a block by the trainer's option of that name; 0: it has none. */
int64_t bk_row_epochs(const struct bk_row *row);
/** After how many epochs a block is rated during its training; 0: only at its end. */
int64_t bk_row_rate_every(const struct bk_row *row);

/** Bind truth and retrain with their recipes (row_recipe.c). */
int bk__row_bind_recipes(struct bk_row *row, struct bk_error *err);
/** Checks of retrain against the other parts. */
int bk__row_check_retrain(const struct bk_row *row, struct bk_error *err);

/* Rows that rate another row's supernet (row_supernet.c). */

/** Would both train the same supernet, and does `row` rate one? Errors: BK_ECONFIG */
BK_API int bk_row_check_supernet(const struct bk_row *row, const struct bk_row *owner, struct bk_error *err) BK_MUST_USE;
/** Equal in all options that are part of keys. */
bool bk__same_options(const struct bk_opt *table, const void *x, const void *y);
/** The same plugin with the same options, or none in both. */
bool bk__same_part(const struct bk_row *a, const struct bk_row *b, int slot);

/** One resolved option: "trainer.epochs", "2", "nats.cfg:14" or "default". */
struct bk_resolved {
    char *key, *value, *origin;
};
struct bk_resolved_list {
    struct bk_resolved *at;
    size_t n;
};
BK_API int bk_row_resolve(const struct bk_row *row, struct bk_resolved_list *out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_resolved_release(struct bk_resolved_list *l);
/** Text of all rows: the first in full, the others where they differ. */
BK_API void bk_rows_print(struct bk_row *const *rows, size_t n, struct bk_text *out);

/* option tables (row_options.c) */
extern const struct bk_opt bk__top_table[], bk__truth_table[], bk__report_table[], bk__published_table[],
    bk__data_table[], bk__rater_table[], bk__trainer_table[], bk__named_table[],
    bk__retrain_table[], bk__published_retrain_table[];
extern const char *const bk__slot_key[BK_N_SLOTS];
extern const uint32_t bk__slot_kind[BK_N_SLOTS];
extern const char *const bk__top_sections[];    /* keys of the root that are no options */
/* the pipeline's own keys in these groups */
extern const char *const bk__data_keys[], *const bk__rater_keys[], *const bk__trainer_keys[];

#endif

/**
 * pipeline/child.h: a stage in a process of its own.
 *
 * The parent plans; whatever computes is `bosskit stage SPEC`, started by fork and exec, so that a crash, a leak or a
 * poisoned device context ends with the stage. The child talks on its stderr: control lines begin with \x01 (progress,
 * log, result, final error), everything else is text of some library and is passed on. SIGINT and SIGTERM are forwarded;
 * a second one kills.
 */
#ifndef BOSSKIT_PIPELINE_CHILD_H
#define BOSSKIT_PIPELINE_CHILD_H

#include "pipeline/plan.h"

/* ---- interruption (interrupt.c) ------------------------------------------------------------------------- */

/** Let SIGINT and SIGTERM set a flag instead of ending the process. */
void bk__interrupt_install(void);
bool bk__interrupted(void);
/** How often a signal arrived. */
int bk__interrupt_count(void);

/* ---- the parent's side (child.c) -------------------------------------------------------------------------- */

struct bk_child {
    const char *spec_path;
    int keep_fd;                /* a lock the child inherits; -1: none */
    void (*progress)(void *user, double done, double total, const char *unit, const char *note);
    void *user;
    char *result;               /* out: the child's result line or NULL; bk_free() */
    int64_t peak_bytes;         /* out: most host memory it ever held */
};

/** Run to the end. Errors: the child's own; BK_ECHILD with signal and last lines when it died; BK_EINTERRUPTED */
int bk__child_run(struct bk_child *c, struct bk_error *err);

/**
 * Write row.cfg and spec.json into `dir`: the common part (config, name, backend, dtype, ...) and the members of
 * `extra` (borrowed). *path is spec.json's path, bk_free().
 */
int bk__spec_write(const char *dir, const struct bk_registry *r, const struct bk_row *row,
                   const struct bk_setting *setting, const char *data_cache, const json_t *extra, char **path,
                   struct bk_error *err);

/* ---- the child's side (stage.c, stage_*.c, standalone.c) ----------------------------------------------------- */

/** What a stage function works with. */
struct bk_stage_job {
    const json_t *spec;
    char *dir;                  /* where outputs and checkpoints go: the directory of the spec */
    struct bk_registry *registry;
    struct bk_row *row;
    struct bk_row_data data;
    struct bk_row_device device;
    struct bk_sampler sampler;
    struct bk_env *env;         /* filled in; a stage without images has data of n_classes alone, one without device NULL */
    int64_t checkpoint_s;
};

/** The hidden command. */
BK_API int bk_stage_main(const char *spec_path, struct bk_error *err);

/**
 * Rate the block of job->env with the row's rater and write `file` into job->dir. `trained` may be NULL. *reliability (may be
 * NULL) is NaN where the rater does not know it.
 */
int bk__rate_block_into(struct bk_stage_job *job, const struct bk_bundle *trained, const char *file, double *reliability,
                        struct bk_error *err);

int bk__stage_train(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_rate(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_score(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_search(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_alone(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_retrain(struct bk_stage_job *job, struct bk_error *err);
int bk__stage_test(struct bk_stage_job *job, struct bk_error *err);

/* control lines */
void bk__say_progress(double done, double total, const char *unit, const char *note);
void bk__say_result(const char *json);

/** "epoch-000010.csv": ratings of a block after so many epochs of its training, an output of TRAIN with rate_every. */
void bk__epoch_file(int64_t epoch, char buf[32]);

/** Checkpoints of a stage: numbered bundles, the two newest kept. */
int bk__checkpoint_save(const char *dir, int64_t number, const struct bk_bundle *b, struct bk_error *err);
/** Try `load` on the newest checkpoint, then on the one before; *loaded tells whether one was taken. */
int bk__checkpoint_load(const char *dir, int (*load)(void *user, const struct bk_bundle *b, struct bk_error *err),
                        void *user, bool *loaded, struct bk_error *err);

/** CSV with a header line and rows `name,value`; values with all digits. */
int bk__pairs_write(const char *path, const char *header, const char *const *name, const double *value, size_t n,
                    struct bk_error *err);
/** Values of such a file in order; the names must be those expected. Errors: BK_EDATA */
int bk__pairs_read(const char *path, const char *const *name, double *value, size_t n, struct bk_error *err);

/** One pair of a rating stage, "reliability"; not there when the rater does not know it. */
#define BK__RELIABILITY_FILE "reliability.csv"

#endif

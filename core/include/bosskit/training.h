/**
 * bosskit/training.h: the loop of training one block, which block-wise trainers share.
 *
 * The host asks for time (advance), the trainer knows one iteration: gradients of one batch, added up. Between them is
 * always the same: batches in order, a window of `accumulate` iterations an update, the optimiser, the mean loss, progress,
 * and going on from a checkpoint with the same bytes. Weights change only at updates, so a checkpoint is of the last update
 * and the few iterations after it are repeated.
 *
 *     begin    bk_training_begin(); build the network; choose slots; bk_training_start()
 *     advance  bk_training_advance() with the trainer's methods
 *     save     save weights; bk_training_save()          load: the same with load
 *     end      bk_training_end(); release the network
 *
 * Not here: networks, losses, schedules other than the cosine, artefacts.
 */
#ifndef BOSSKIT_TRAINING_H
#define BOSSKIT_TRAINING_H

#include <bosskit/method.h>
#include <bosskit/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Read freely, change through the functions. Zeroed: no block is in training. */
struct bk_training {
    const struct bk_env *env;           /* NULL: no block is in training */
    const struct bk_host *host;
    struct bk_tape *tape;
    struct bk_weights *weights;         /* the set that learns; the trainer's */
    struct bk_optim *optim;
    struct bk_loader *loader;
    struct bk_tensor *loss_sum;         /* scalar on the device */
    int64_t n_loss;                     /* how many losses are in it */
    int64_t step, n_steps;              /* next iteration; iterations in all */
    int64_t epochs, accumulate;
    int32_t n_batches;                  /* iterations an epoch */
    int64_t input_dim[3];               /* H, W, C of the block's input: bk_training_probe() */
};

struct bk_training_config {
    struct bk_weights *weights;         /* with the slots that learn chosen */
    struct bk_optim_config optim;
    struct bk_loader_config loader;     /* split, batch, views; the rest is filled in: seed, order, threads */
    int64_t epochs, accumulate;
};

struct bk_training_methods {
    /** Add the gradients of one iteration, 1/accumulate of each loss; the tape is empty and records. */
    int (*iteration)(void *trainer, const struct bk_batch *batch, struct bk_error *err);
    /** Learning rate of the update after iteration i. */
    double (*rate)(const void *trainer, int64_t i);
    /** After the update that follows iteration i; NULL: nothing. */
    int (*updated)(void *trainer, int64_t i, struct bk_error *err);
};

/** Errors: BK_ESTATE while a block is in training; BK_EINVAL without data */
BK_API int bk_training_begin(struct bk_training *t, const struct bk_env *env,
                             const struct bk_host *host, struct bk_error *err) BK_MUST_USE;
/** Errors: BK_EINVAL when the block ends before the first update */
BK_API int bk_training_start(struct bk_training *t, const struct bk_training_config *config,
                             struct bk_error *err) BK_MUST_USE;
/**
 * Is `previous`, the artefact of the block before (NULL for block 0), one of `method`, its text "method"? Then load what it holds.
 * Errors    BK_ESTATE when it is missing, BK_EDATA when another method made it
 */
BK_API int bk_training_check_previous(const struct bk_training *t, const struct bk_bundle *previous,
                                      const char *method, struct bk_error *err) BK_MUST_USE;
/** Harmless outside a block; before the weights are freed. */
BK_API void bk_training_end(struct bk_training *t);

/** As bk_trainer_iface.advance. Errors: BK_ENUMERIC when the loss is not finite */
BK_API int bk_training_advance(struct bk_training *t, const struct bk_training_methods *methods,
                               void *trainer, double seconds, struct bk_progress *out,
                               struct bk_error *err) BK_MUST_USE;
/** Count a loss into the reported mean: a scalar of the device. */
BK_API int bk_training_add_loss(struct bk_training *t, const struct bk_tensor *loss,
                                struct bk_error *err) BK_MUST_USE;

/** Optimiser and position ("optim.", "step"); the trainer adds its weights and the integer "block". */
BK_API int bk_training_save(struct bk_training *t, struct bk_bundle *out,
                            struct bk_error *err) BK_MUST_USE;
/** Errors: BK_EDATA for a checkpoint of another block or length */
BK_API int bk_training_load(struct bk_training *t, const struct bk_bundle *in,
                            struct bk_error *err) BK_MUST_USE;
/** BK_ESTATE unless a block is in training. */
BK_API int bk_training_check(const struct bk_training *t, struct bk_error *err) BK_MUST_USE;

/* ---- pieces of an iteration --------------------------------------------------------------------------- */

/** Paths of iteration `step` from env's sampler; wanted = 0: as many as it likes. Errors: BK_EINVAL without a sampler */
BK_API int bk_training_paths(const struct bk_training *t, int64_t step, int64_t wanted,
                             struct bk_path path[BK_MAX_SAMPLED], int32_t *n,
                             struct bk_error *err) BK_MUST_USE;

/** What the block is fed with, from images [N,side,side,3]: an activation on the training's tape. */
typedef int (*bk_training_input_fn)(void *user, struct bk_tensor *images, struct bk_tensor **x,
                                    struct bk_error *err);
/** Learn t->input_dim from two black images. */
BK_API int bk_training_probe(struct bk_training *t, int32_t side, bk_training_input_fn input,
                             void *user, struct bk_error *err) BK_MUST_USE;
/** A tensor for n inputs of the block, on the tape. */
BK_API int bk_training_new_input(struct bk_training *t, int64_t n, struct bk_tensor **out,
                                 struct bk_error *err) BK_MUST_USE;
/** Fill `out` without gradients; what was made on the way is dropped. */
BK_API int bk_training_run_input(struct bk_training *t, bk_training_input_fn input, void *user,
                                 struct bk_tensor *images, struct bk_tensor *out,
                                 struct bk_error *err) BK_MUST_USE;

/** lr cosine warm-up for iteration i: the cosine falls to 0 over the block, every iteration or (by_epoch) every epoch. */
BK_API double bk_training_cosine(const struct bk_training *t, double lr, double warmup_epochs,
                                 bool by_epoch, int64_t i);

#ifdef __cplusplus
}
#endif
#endif

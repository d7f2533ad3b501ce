/*
 * Siamese bootstrapping of one block (Li et al., BossNAS, ICCV 2021): what the trainer keeps and its two files share.
 *
 * Letters: k the block, P paths a step, U iterations an update, i iteration inside the block, I iterations in all.
 */
#ifndef BOSSKIT_BOOTSTRAP_H
#define BOSSKIT_BOOTSTRAP_H

#include <bosskit/training.h>

enum { VIEWS_SHARED = 1, VIEWS_OWN = 2 };
enum { PREFIX_FROZEN = 1, PREFIX_TRAINABLE = 2 };
enum { LR_STEP_EPOCH = 1, LR_STEP_ITERATION = 2 };

struct bootstrap {
    /* options */
    int64_t epochs, batch, accumulate, paths, hidden, embed;
    double lr, weight_decay, momentum, trust, warmup_epochs, ema_start;
    int32_t views, prefix_grad, lr_step, lars_exclude;
    bool ema_adapters, lars_zero_guard;
    bool naive;                         /* each path predicts its own counterpart instead of the ensemble */

    const struct bk_host *host;
    /* the block in training: begin() to end() */
    struct bk_training run;
    struct bk_siamese net;
    int32_t n_paths;                    /* P */
    struct bk_tensor *last;             /* [batch,embed] unit projections of the target along the last iteration's first path */
    bool has_last;
    double *projections;                /* the same in host memory */
};

/* First block whose parameters move while env->block is trained. */
static inline int32_t first_trained_block(const struct bootstrap *t)
{
    return t->prefix_grad == PREFIX_TRAINABLE ? 0 : t->run.env->block;
}

/* A forward pass of one of the two networks with batch statistics; running statistics stay as they are. */
static inline struct bk_forward batch_forward(const struct bootstrap *t, struct bk_weights *weights)
{
    return (struct bk_forward){ .tape = t->run.tape,
                                .weights = weights,
                                .dtype = t->run.env->dtype,
                                .norm_mode = BK_NORM_BATCH,
                                .norm_momentum = 0,
                                .norm_eps = 1e-5 };
}

/* bootstrap_step.c: gradients of one iteration are added up, no update; and each network's input of the block. */
int bootstrap_iteration(void *state, const struct bk_batch *batch, struct bk_error *err);
int bootstrap_online_input(void *state, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err);
int bootstrap_target_input(void *state, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err);

#endif

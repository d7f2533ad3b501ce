/**
 * pipeline/recipe.h: how a network is trained alone.
 *
 * A recipe is one option table whose keys stand in the groups `truth` (source "standalone") and `retrain` beside those
 * groups' own; published recipes are fragments that are included there (configs/recipes). The defaults are NATS-Bench's
 * training (Dong et al. 2021).
 */
#ifndef BOSSKIT_PIPELINE_RECIPE_H
#define BOSSKIT_PIPELINE_RECIPE_H

#include <bosskit/dataset.h>
#include <bosskit/optim.h>
#include <bosskit/option.h>

enum bk_lr_schedule { BK_LR_COSINE = 1, BK_LR_STEP, BK_LR_CONSTANT };
enum bk_lr_step { BK_LR_BY_ITERATION = 1, BK_LR_BY_EPOCH, BK_LR_BY_EPOCH_LATE };

struct bk_recipe {
    int64_t epochs, images, batch, accumulate, size;
    bool drop_last;
    /* optimiser */
    int32_t optimizer;                  /* enum bk_optim_kind */
    double lr, momentum, weight_decay, beta1, beta2, eps;
    bool nesterov, decay_1d;
    /* learning rate */
    int32_t schedule, lr_step;
    double lr_min, warmup_epochs, warmup_lr, decay_epochs, decay_rate;
    /* views */
    int32_t policy;                     /* enum bk_policy */
    int64_t rand_ops, repeat;
    double rand_prob, rand_magnitude, rand_std, color_jitter;
    double erase, erase_area_min, erase_area_max, erase_aspect;
    /* targets */
    double label_smoothing, mixup, cutmix, mix_prob, switch_prob;
    /* network */
    double norm_momentum, norm_eps, ema;
    bool ema_ramp;
};

BK_API extern const struct bk_opt bk__recipe_table[];

/** Checks between options; `where` is "truth" or "retrain". Errors: BK_ECONFIG */
BK_API int bk__recipe_check(const struct bk_recipe *r, const char *where, struct bk_error *err) BK_MUST_USE;

/**
 * Learning rate of optimiser step `step` (0-based) of `per_epoch` steps an epoch. Time t is counted in epochs: as it
 * passes, at the start of the epoch, or "late", the epoch before (0 in epochs 0 and 1), as code that steps its
 * scheduler after an epoch with that epoch's index does. Below warmup_epochs the rate rises linearly from warmup_lr;
 * the decay counts from t = 0 all the same.
 */
BK_API double bk__recipe_lr(const struct bk_recipe *r, int64_t step, int64_t per_epoch);
/** Share of the old average kept in the update after optimiser step `step` (0-based). */
BK_API double bk__recipe_ema(const struct bk_recipe *r, int64_t step);

/** The optimiser's configuration. */
BK_API struct bk_optim_config bk__recipe_optim(const struct bk_recipe *r);
/** Turn a plain training pipeline into the recipe's. */
void bk__recipe_augment(const struct bk_recipe *r, struct bk_augment *a);
/** Order, dropping, mixing of the training loader; its batch too. */
void bk__recipe_loader(const struct bk_recipe *r, int32_t n_classes, struct bk_loader_config *c);
/** Are targets soft? */
static inline bool bk__recipe_mixes(const struct bk_recipe *r)
{
    return r->mixup > 0 || r->cutmix > 0;
}

#endif

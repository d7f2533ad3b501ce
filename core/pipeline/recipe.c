/*
 * A recipe's options and what follows from them: rates, averaging, pipeline and loader settings. Training itself is
 * standalone.c's.
 */
#include "pipeline/recipe.h"

#include <math.h>

/* clang-format off */
static const struct bk_choice optimizers[] = { { "sgd", BK_SGD }, { "adamw", BK_ADAMW }, { "rmsprop", BK_RMSPROP },
                                               { "lars", BK_LARS }, { NULL, 0 } };
static const struct bk_choice schedules[] = { { "cosine", BK_LR_COSINE }, { "step", BK_LR_STEP },
                                              { "constant", BK_LR_CONSTANT }, { NULL, 0 } };
static const struct bk_choice lr_steps[] = { { "iteration", BK_LR_BY_ITERATION }, { "epoch", BK_LR_BY_EPOCH },
                                             { "epoch_late", BK_LR_BY_EPOCH_LATE }, { NULL, 0 } };
static const struct bk_choice policies[] = { { "none", BK_POLICY_NONE }, { "randaugment", BK_POLICY_RAND },
                                             { "autoaugment", BK_POLICY_AUTO }, { NULL, 0 } };

const struct bk_opt bk__recipe_table[] = {
    BK_INT ("epochs",          struct bk_recipe, epochs,          90, 1, 100000, "epochs", "alone: passes over all training images"),
    BK_INT ("images",          struct bk_recipe, images,          0, 0, 100000000, "images", "alone: train on so many of them, every class alike; 0: all"),
    BK_INT ("batch",           struct bk_recipe, batch,           256, 2, 65536, "images", "alone: images at once, the range of batch statistics and of mixing"),
    BK_INT ("accumulate",      struct bk_recipe, accumulate,      1, 1, 65536, "batches", "alone: batches an optimiser step"),
    BK_INT ("size",            struct bk_recipe, size,            0, 0, 8192, "pixels", "alone: side of training images; 0: the data set's or the space's"),
    BK_BOOL("drop_last",       struct bk_recipe, drop_last,       0, "alone: whole optimiser steps only; the images left over wait for another epoch"),
    BK_ENUM("optimizer",       struct bk_recipe, optimizer,       BK_SGD, optimizers, "alone: the optimiser"),
    BK_REAL("lr",              struct bk_recipe, lr,              0.1, 0, 100, "", "alone: peak learning rate"),
    BK_REAL("momentum",        struct bk_recipe, momentum,        0.9, 0, 1, "", "alone: momentum of SGD, RMSprop and LARS"),
    BK_REAL("weight_decay",    struct bk_recipe, weight_decay,    5e-4, 0, 1, "", "alone: weight decay"),
    BK_BOOL("decay_1d",        struct bk_recipe, decay_1d,        1, "alone: decay biases, norm scales and offsets too"),
    BK_BOOL("nesterov",        struct bk_recipe, nesterov,        1, "alone: Nesterov's momentum of SGD"),
    BK_REAL("beta1",           struct bk_recipe, beta1,           0.9, 0, 0.999999, "", "alone: AdamW's average of gradients"),
    BK_REAL("beta2",           struct bk_recipe, beta2,           0.999, 0, 0.999999999, "", "alone: average of squared gradients, AdamW's beta2 and RMSprop's decay"),
    BK_REAL("eps",             struct bk_recipe, eps,             1e-8, 0, 1, "", "alone: added to the root (AdamW) or inside it (RMSprop)"),
    BK_ENUM("schedule",        struct bk_recipe, schedule,        BK_LR_COSINE, schedules, "alone: how the learning rate falls over the epochs"),
    BK_ENUM("lr_step",         struct bk_recipe, lr_step,         BK_LR_BY_ITERATION, lr_steps, "alone: when the rate changes; epoch_late: one epoch behind, as DeiT's code"),
    BK_REAL("lr_min",          struct bk_recipe, lr_min,          0, 0, 100, "", "alone: where the cosine ends"),
    BK_REAL("warmup_epochs",   struct bk_recipe, warmup_epochs,   0, 0, 100000, "epochs", "alone: linear rise from warmup_lr to lr"),
    BK_REAL("warmup_lr",       struct bk_recipe, warmup_lr,       0, 0, 100, "", "alone: where the rise starts"),
    BK_REAL("decay_epochs",    struct bk_recipe, decay_epochs,    2.4, 1e-6, 100000, "epochs", "alone: schedule step: times decay_rate every so many epochs"),
    BK_REAL("decay_rate",      struct bk_recipe, decay_rate,      0.97, 0, 1, "", "alone: schedule step: the factor"),
    BK_ENUM("policy",          struct bk_recipe, policy,          BK_POLICY_NONE, policies, "alone: augmentation policy, timm's operations"),
    BK_INT ("rand_ops",        struct bk_recipe, rand_ops,        2, 0, 16, "operations", "alone: randaugment: operations an image"),
    BK_REAL("rand_prob",       struct bk_recipe, rand_prob,       0.5, 0, 1, "", "alone: randaugment: that an operation is applied"),
    BK_REAL("rand_magnitude",  struct bk_recipe, rand_magnitude,  9, 0, 10, "", "alone: randaugment: mean magnitude"),
    BK_REAL("rand_std",        struct bk_recipe, rand_std,        0.5, 0, 100, "", "alone: randaugment: deviation of the magnitude"),
    BK_REAL("color_jitter",    struct bk_recipe, color_jitter,    0, 0, 1, "", "alone: strength of brightness, contrast and saturation jitter"),
    BK_REAL("erase",           struct bk_recipe, erase,           0, 0, 1, "", "alone: probability of random erasing with noise"),
    BK_REAL("erase_area_min",  struct bk_recipe, erase_area_min,  0.02, 0, 1, "", "alone: least area of the erased box, share of the image"),
    BK_REAL("erase_area_max",  struct bk_recipe, erase_area_max,  1.0 / 3, 0, 1, "", "alone: largest area of the erased box"),
    BK_REAL("erase_aspect",    struct bk_recipe, erase_aspect,    0.3, 0.01, 1, "", "alone: least aspect of the erased box; the largest is one over it"),
    BK_INT ("repeat",          struct bk_recipe, repeat,          1, 1, 1024, "times", "alone: repeated augmentation: views of an image an epoch; fewer images then"),
    BK_REAL("label_smoothing", struct bk_recipe, label_smoothing, 0, 0, 1, "", "alone: share of the uniform distribution in the labels"),
    BK_REAL("mixup",           struct bk_recipe, mixup,           0, 0, 100, "", "alone: mixup with lambda ~ Beta(a, a); 0: none"),
    BK_REAL("cutmix",          struct bk_recipe, cutmix,          0, 0, 100, "", "alone: CutMix with lambda ~ Beta(a, a); 0: none"),
    BK_REAL("mix_prob",        struct bk_recipe, mix_prob,        1, 0, 1, "", "alone: that a batch is mixed"),
    BK_REAL("switch_prob",     struct bk_recipe, switch_prob,     0.5, 0, 1, "", "alone: CutMix rather than mixup, where both are used"),
    BK_REAL("norm_momentum",   struct bk_recipe, norm_momentum,   0.1, 1e-6, 1, "", "alone: weight of a batch in the running statistics"),
    BK_REAL("norm_eps",        struct bk_recipe, norm_eps,        1e-5, 1e-12, 1, "", "alone: added to variances"),
    BK_REAL("ema",             struct bk_recipe, ema,             0, 0, 0.9999999, "", "alone: decay of the moving average of weights and statistics, which truth then takes; 0: none"),
    BK_BOOL("ema_ramp",        struct bk_recipe, ema_ramp,        0, "alone: decay of the average min(ema, (1 + n)/(10 + n)) after n steps"),
    BK_OPT_END
};
/* clang-format on */

int bk__recipe_check(const struct bk_recipe *r, const char *where, struct bk_error *err)
{
    if (r->momentum >= 1)
        return bk_fail(err, BK_ECONFIG, "%s.momentum: is %g, legal: 0 <= momentum < 1", where, r->momentum);
    if (r->warmup_epochs > (double)r->epochs)
        return bk_fail(err, BK_ECONFIG, "%s.warmup_epochs: is %g, but there are %lld epochs", where, r->warmup_epochs,
                       (long long)r->epochs);
    if (r->schedule == BK_LR_COSINE && r->lr_min > r->lr)
        return bk_fail(err, BK_ECONFIG, "%s.lr_min: is %g, larger than lr %g", where, r->lr_min, r->lr);
    if (r->erase_area_min > r->erase_area_max)
        return bk_fail(err, BK_ECONFIG, "%s.erase_area_min: is %g, larger than erase_area_max %g", where, r->erase_area_min,
                       r->erase_area_max);
    if (r->batch % 2 && bk__recipe_mixes(r))
        return bk_fail(err, BK_ECONFIG, "%s.batch: is %lld, mixing needs an even number", where, (long long)r->batch);
    return BK_OK;
}

/* ---- rates ------------------------------------------------------------------------------------------------- */

/** The rate after its warm-up at `t` of `total`, both in steps or both in epochs; `epoch` is t in epochs. */
static double decayed(const struct bk_recipe *r, double t, double total, double epoch)
{
    if (r->schedule == BK_LR_COSINE)
        return r->lr_min + (r->lr - r->lr_min) * bk_schedule_cosine(t, total);
    if (r->schedule == BK_LR_STEP)
        return r->lr * pow(r->decay_rate, floor(epoch / r->decay_epochs));
    return r->lr;
}

double bk__recipe_lr(const struct bk_recipe *r, int64_t step, int64_t per_epoch)
{
    double epoch = (double)step / (double)per_epoch;
    if (r->lr_step != BK_LR_BY_ITERATION)
        epoch = (double)(step / per_epoch);
    if (r->lr_step == BK_LR_BY_EPOCH_LATE)
        epoch = epoch > 0 ? epoch - 1 : 0;
    if (epoch < r->warmup_epochs)
        return r->warmup_lr + epoch * (r->lr - r->warmup_lr) / r->warmup_epochs;
    if (r->lr_step == BK_LR_BY_ITERATION)
        return decayed(r, (double)step, (double)(per_epoch * r->epochs), epoch);
    return decayed(r, epoch, (double)r->epochs, epoch);
}

double bk__recipe_ema(const struct bk_recipe *r, int64_t step)
{
    double n = (double)step + 1;        /* TensorFlow's ExponentialMovingAverage with num_updates */
    return r->ema_ramp ? fmin(r->ema, (1 + n) / (10 + n)) : r->ema;
}

/* ---- settings of others --------------------------------------------------------------------------------------- */

struct bk_optim_config bk__recipe_optim(const struct bk_recipe *r)
{
    struct bk_optim_config c = { .kind = (uint32_t)r->optimizer,
                                 .exclude = r->decay_1d ? BK_EXCLUDE_NONE : BK_EXCLUDE_BY_TYPE,
                                 .momentum = r->momentum,
                                 .weight_decay = r->weight_decay,
                                 .trust = 1e-3,
                                 .beta1 = r->beta1,
                                 .beta2 = r->beta2,
                                 .eps = r->eps,
                                 .nesterov = r->nesterov,
                                 .zero_guard = true };
    return c;
}

void bk__recipe_augment(const struct bk_recipe *r, struct bk_augment *a)
{
    if (r->size)
        a->size = (int32_t)r->size;
    if (r->color_jitter > 0) {
        a->jitter = 1;
        a->brightness = a->contrast = a->saturation = r->color_jitter;
        a->hue = 0;
    }
    a->policy = (uint32_t)r->policy;
    a->rand_ops = (int32_t)r->rand_ops;
    a->rand_prob = r->rand_prob;
    a->rand_magnitude = r->rand_magnitude;
    a->rand_std = r->rand_std;
    a->erase = r->erase;
    a->erase_area_min = r->erase_area_min;
    a->erase_area_max = r->erase_area_max;
    a->erase_aspect = r->erase_aspect;
}

void bk__recipe_loader(const struct bk_recipe *r, int32_t n_classes, struct bk_loader_config *c)
{
    c->batch = (int32_t)r->batch;
    c->drop_last = r->drop_last;
    c->repeat = (int32_t)r->repeat;
    /* batches of one step are what processes would have had: copies of an image fall into different ones */
    c->interleave = r->drop_last || r->repeat > 1 ? (int32_t)r->accumulate : 1;
    if (bk__recipe_mixes(r))
        c->mix = (struct bk_mix){ .mixup = r->mixup, .cutmix = r->cutmix, .prob = r->mix_prob,
                                  .switch_prob = r->switch_prob, .smoothing = r->label_smoothing, .n_classes = n_classes };
}

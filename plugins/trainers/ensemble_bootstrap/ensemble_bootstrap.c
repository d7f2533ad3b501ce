/*
 * Trainers "ensemble_bootstrap" and "naive_bootstrap": block-wise self-supervised training of a Siamese supernet
 * (Li et al., BossNAS, ICCV 2021). P online paths of a block predict the mean of their P moving-average counterparts
 * (naive: each its own). LARS with gradient accumulation, cosine rates, and a target network moved by EMA.
 *
 * This file: options, the life of a block, updates, schedules and state. One iteration is in bootstrap_step.c.
 *
 * Weights and optimiser state change only every `accumulate` iterations; a checkpoint is therefore taken at the last
 * update and the few iterations after it are repeated on resume, which gives the same bytes.
 *
 * Not here: ratings, and the choice of prefixes. Batch-norm running statistics are not kept: raters collect their own.
 */
#include "bootstrap.h"

#include <math.h>
#include <string.h>

static const struct bk_choice views[] = { { "shared", VIEWS_SHARED }, { "own", VIEWS_OWN }, { NULL, 0 } };
static const struct bk_choice prefixes[] = { { "frozen", PREFIX_FROZEN },
                                             { "trainable", PREFIX_TRAINABLE },
                                             { NULL, 0 } };
static const struct bk_choice lr_steps[] = { { "epoch", LR_STEP_EPOCH }, { "iteration", LR_STEP_ITERATION }, { NULL, 0 } };
static const struct bk_choice excludes[] = { { "by_type", BK_EXCLUDE_BY_TYPE },
                                             { "by_name", BK_EXCLUDE_BY_NAME },
                                             { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("epochs",       struct bootstrap, epochs,       20,    1, 100000, "epochs", "passes over the training split a block"),
    BK_INT ("batch",        struct bootstrap, batch,        256,   2, 65536,  "images", "images an iteration; the range of batch statistics"),
    BK_INT ("accumulate",   struct bootstrap, accumulate,   16,    1, 65536,  "iterations", "iterations an update (effective batch = batch * accumulate)"),
    BK_INT ("paths",        struct bootstrap, paths,        0,     0, BK_MAX_SAMPLED, "paths", "paths an iteration; 0: the sampler decides"),
    BK_ENUM("views",        struct bootstrap, views,        VIEWS_SHARED, views, "one pair of views for all paths, or a pair of its own for each"),
    BK_REAL("lr",           struct bootstrap, lr,           4.8,   0, 1000,   "", "peak learning rate, for the effective batch"),
    BK_ENUM("lr_step",      struct bootstrap, lr_step,      LR_STEP_ITERATION, lr_steps, "the cosine falls every epoch (release) or every iteration"),
    BK_REAL("warmup_epochs", struct bootstrap, warmup_epochs, 1,   0, 100000, "epochs", "linear warm-up at the start of a block"),
    BK_REAL("weight_decay", struct bootstrap, weight_decay, 1e-6,  0, 1,      "", "of tensors that are not excluded"),
    BK_REAL("momentum",     struct bootstrap, momentum,     0.9,   0, 1,      "", "of LARS; the rate is inside the buffer"),
    BK_REAL("trust",        struct bootstrap, trust,        1e-3,  0, 1,      "", "trust coefficient of LARS"),
    BK_ENUM("lars_exclude", struct bootstrap, lars_exclude, BK_EXCLUDE_BY_TYPE, excludes, "biases and norms by type, or the release's patterns of names"),
    BK_BOOL("lars_zero_guard", struct bootstrap, lars_zero_guard, true, "trust ratio 1 where weights or gradient are zero (release: off)"),
    BK_REAL("ema_start",    struct bootstrap, ema_start,    0.99,  0, 1,      "", "first momentum of the target network; rises to 1"),
    BK_BOOL("ema_adapters", struct bootstrap, ema_adapters, true,  "move the target's adapters too (release: they keep their initial values)"),
    BK_ENUM("prefix_grad",  struct bootstrap, prefix_grad,  PREFIX_FROZEN, prefixes, "do earlier blocks learn along the prefix (release: trainable)"),
    BK_INT ("hidden",       struct bootstrap, hidden,       4096,  1, 65536,  "", "hidden width of projector and predictor"),
    BK_INT ("embed",        struct bootstrap, embed,        256,   1, 65536,  "", "width of projections"),
    BK_OPT_END
};
/* clang-format on */

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct bootstrap *t = state;
    t->host = host;
    if (t->views == VIEWS_OWN && 2 * t->paths > BK_MAX_VIEWS)
        return bk_fail(err, BK_EINVAL, "views = own with %d paths needs %d views, at most %d are made", (int)t->paths,
                       2 * (int)t->paths, BK_MAX_VIEWS);
    return BK_OK;
}

static int init_naive(void *state, const struct bk_host *host, struct bk_error *err)
{
    ((struct bootstrap *)state)->naive = true;
    return init(state, host, err);
}

/* ---- schedules ------------------------------------------------------------------------------------ */

static double learning_rate(const struct bootstrap *t, int64_t i)
{
    double cosine = t->lr_step == LR_STEP_EPOCH ? bk_schedule_cosine((double)(i / t->n_batches), (double)t->epochs)
                                                : bk_schedule_cosine((double)i, (double)t->n_steps);
    return t->lr * cosine * bk_schedule_warmup((double)i, t->warmup_epochs * t->n_batches, 1e-4);
}

/* The target follows: backbone in the blocks that learn, projector, and adapters on demand. The predictor has none. */
static int move_target(struct bootstrap *t, double m, struct bk_error *err)
{
    struct bk_weights *to = t->net.target, *from = t->net.online;
    int32_t k = t->env->block;
    BK_TRY(bk_weights_ema(to, from, m, BK_PART_BACKBONE, first_trained_block(t), k, err));
    BK_TRY(bk_weights_ema(to, from, m, BK_PART_PROJECTOR, k, k, err));
    return t->ema_adapters ? bk_weights_ema(to, from, m, BK_PART_ADAPTER, k, k, err) : BK_OK;
}

/* After iteration i: update when the window of accumulation is full; a window cut off by the end of the block is dropped. */
static int finish_iteration(struct bootstrap *t, struct bk_error *err)
{
    int64_t i = t->step++;
    if ((i + 1) % t->accumulate == 0) {
        BK_TRY(bk_optim_step(t->optim, learning_rate(t, i), err));
        BK_TRY(bk_weights_zero_grad(t->net.online, err));
        return move_target(t, bk_schedule_ema(t->ema_start, (double)i, (double)t->n_steps), err);
    }
    return t->step == t->n_steps ? bk_weights_zero_grad(t->net.online, err) : BK_OK;
}

/* ---- begin and end -------------------------------------------------------------------------------- */

static void end(void *state)
{
    struct bootstrap *t = state;
    if (!t->env)
        return;
    bk_loader_free(t->loader);
    bk_optim_free(t->optim);
    bk_tensor_free(t->loss_sum);
    bk_tape_free(t->tape);
    bk_siamese_release(&t->net);
    memset(&t->net, 0, sizeof t->net);
    t->loader = NULL;
    t->optim = NULL;
    t->loss_sum = NULL;
    t->tape = NULL;
    t->env = NULL;
}

static int open_loader(struct bootstrap *t, struct bk_error *err)
{
    const struct bk_data *data = t->env->data;
    int32_t pairs = t->views == VIEWS_OWN ? t->n_paths : 1;
    struct bk_loader_config c = { .split = &data->train,
                                  .batch = (int32_t)t->batch,
                                  .n_views = 2 * pairs,
                                  .seed = t->env->seed,
                                  .shuffle = true,
                                  .threads = data->threads };
    if (data->view1.size != data->view2.size)
        return bk_fail(err, BK_EINVAL, "views of %d and %d pixels cannot be compared", (int)data->view1.size,
                       (int)data->view2.size);
    if (2 * pairs > BK_MAX_VIEWS)
        return bk_fail(err, BK_EINVAL, "views = own with %d paths needs %d views, at most %d are made", (int)pairs,
                       2 * (int)pairs, BK_MAX_VIEWS);
    for (int32_t p = 0; p < pairs; p++) {
        c.view[p] = data->view1;
        c.view[pairs + p] = data->view2;
    }
    BK_TRY(bk_loader_new(&c, &t->loader, err));
    t->n_batches = bk_loader_batches(t->loader);
    t->n_steps = t->epochs * t->n_batches;
    if (t->n_steps < t->accumulate)
        return bk_fail(err, BK_EINVAL, "%lld iterations a block never fill accumulate = %lld", (long long)t->n_steps,
                       (long long)t->accumulate);
    return BK_OK;
}

static bool is_learning(const struct bootstrap *t, const struct bk_slot *slot)
{
    int32_t k = t->env->block;
    if (slot->part == BK_PART_BACKBONE)
        return slot->block >= first_trained_block(t) && slot->block <= k;
    return slot->block == k && slot->part != BK_PART_CLASSIFIER;
}

static int choose_parameters(struct bootstrap *t, struct bk_error *err)
{
    for (int32_t i = 0; i < t->net.net.n; i++) {
        const struct bk_slot *slot = &t->net.net.slot[i];
        bool buffer = slot->role == BK_ROLE_RUNNING_MEAN || slot->role == BK_ROLE_RUNNING_VAR;
        if (!buffer && is_learning(t, slot))
            BK_TRY(bk_weights_train(t->net.online, i, true, err));
    }
    return BK_OK;
}

/* Shape of the block's input, from a run of the prefix on two black images. */
static int probe_features(struct bootstrap *t, struct bk_error *err)
{
    int64_t side = t->env->data->view1.size, dim[4] = { 2, side, side, 3 };
    struct bk_forward f = batch_forward(t, t->net.target);
    struct bk_tensor *x;
    if (t->env->block == 0)
        return BK_OK;
    bk_tape_set_recording(t->tape, false);
    int rc = bk_tape_tensor(t->tape, t->env->dtype, 4, dim, &x, err);
    if (!rc)
        rc = bk_tensor_zero(x, err);
    if (!rc)
        rc = bk_siamese_prefix(&t->net, &f, t->env->prefix, x, &x, err);
    if (!rc)
        memcpy(t->feature_dim, x->dim + 1, sizeof t->feature_dim);
    bk_tape_reset(t->tape);
    bk_tape_set_recording(t->tape, true);
    return rc;
}

static int load_previous(struct bootstrap *t, const struct bk_bundle *previous, struct bk_error *err)
{
    if (!previous)
        return t->env->block == 0 ? BK_OK
                                  : bk_fail(err, BK_ESTATE, "block %d needs the weights of the block before",
                                            (int)t->env->block);
    const char *method = bk_bundle_text(previous, "method");
    if (!method || strcmp(method, "siamese") != 0)
        return bk_fail(err, BK_EDATA, "the block before was trained by another method ('%s')", method ? method : "");
    BK_TRY(bk_weights_load(t->net.online, "online.", previous, true, err));
    return bk_weights_load(t->net.target, "target.", previous, true, err);
}

static int set_up(struct bootstrap *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->env;
    struct bk_optim_config lars = { .kind = BK_LARS,
                                    .exclude = (uint32_t)t->lars_exclude,
                                    .momentum = t->momentum,
                                    .weight_decay = t->weight_decay,
                                    .trust = t->trust,
                                    .zero_guard = t->lars_zero_guard };
    struct bk_path path[BK_MAX_SAMPLED];

    if (!env->sampler || !env->data)
        return bk_fail(err, BK_EINVAL, "bootstrapping needs a sampler and data");
    BK_TRY(bootstrap_paths(t, 0, path, &t->n_paths, err));
    BK_TRY(bk_siamese_init(&t->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block,
                           (int32_t)t->hidden, (int32_t)t->embed, env->seed, err));
    BK_TRY(load_previous(t, previous, err));
    BK_TRY(bk_tape_new(env->device, &t->tape, err));
    BK_TRY(bk_tensor_new(env->device, bk_dtype_accum(env->dtype), 0, NULL, &t->loss_sum, err));
    BK_TRY(choose_parameters(t, err));
    BK_TRY(bk_optim_new(t->net.online, &lars, &t->optim, err));
    BK_TRY(open_loader(t, err));
    return probe_features(t, err);
}

static int begin(void *state, const struct bk_env *env, const struct bk_bundle *previous, struct bk_error *err)
{
    struct bootstrap *t = state;
    if (t->env)
        return bk_fail(err, BK_ESTATE, "block %d is still in training", (int)t->env->block);
    t->env = env;
    t->step = t->n_loss = 0;
    int rc = set_up(t, previous, err);
    if (rc)
        end(t);
    return rc;
}

/* ---- advance --------------------------------------------------------------------------------------- */

/* Mean of L_p since the last call; BK_ENUMERIC when training has diverged. */
static int take_loss(struct bootstrap *t, double *loss, struct bk_error *err)
{
    union {
        float f32;
        double f64;
    } v;
    BK_TRY(bk_tensor_read(t->loss_sum, &v, err));       /* raw: a conversion would need memory */
    double sum = t->loss_sum->dtype == BK_F64 ? v.f64 : (double)v.f32;
    BK_TRY(bk_tensor_zero(t->loss_sum, err));
    *loss = t->n_loss ? sum / (double)t->n_loss : 0;
    t->n_loss = 0;
    if (!isfinite(sum))
        return bk_fail(err, BK_ENUMERIC, "the loss of block %d is not finite after iteration %lld of %lld (lr %g)",
                       (int)t->env->block, (long long)t->step, (long long)t->n_steps, t->lr);
    return BK_OK;
}

static int advance(void *state, double seconds, struct bk_progress *out, struct bk_error *err)
{
    struct bootstrap *t = state;
    double start = bk_now(), elapsed = 0;
    int64_t images = 0;

    if (!t->env)
        return bk_fail(err, BK_ESTATE, "no block is in training");
    while (t->step < t->n_steps) {
        int32_t n;
        BK_TRY(bootstrap_iteration(t, &n, err));
        BK_TRY(finish_iteration(t, err));
        images += n;
        elapsed = bk_now() - start;
        if (elapsed >= seconds || t->host->cancelled(t->host->ctx))
            break;
    }
    BK_TRY(take_loss(t, &out->loss, err));
    elapsed = bk_now() - start;
    out->done = t->step == t->n_steps;
    out->step = t->step;
    out->n_steps = t->n_steps;
    out->images_per_s = elapsed > 0 ? (double)images / elapsed : 0;
    return BK_OK;
}

/* ---- state ------------------------------------------------------------------------------------------ */

static int save(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct bootstrap *t = state;
    if (!t->env)
        return bk_fail(err, BK_ESTATE, "no block is in training");
    int64_t at_update = t->step == t->n_steps ? t->step : t->step - t->step % t->accumulate;
    BK_TRY(bk_siamese_save(&t->net, out, err));
    BK_TRY(bk_optim_save(t->optim, "optim.", out, err));
    return bk_bundle_put_i64(out, "step", at_update, err);
}

static int load(void *state, const struct bk_bundle *in, struct bk_error *err)
{
    struct bootstrap *t = state;
    int64_t block, step;
    if (!t->env)
        return bk_fail(err, BK_ESTATE, "no block is in training");
    BK_TRY(bk_bundle_i64(in, "block", &block, err));
    BK_TRY(bk_bundle_i64(in, "step", &step, err));
    if (block != t->env->block || step < 0 || step > t->n_steps)
        return bk_fail(err, BK_EDATA, "a checkpoint of block %lld at iteration %lld does not fit block %d of %lld iterations",
                       (long long)block, (long long)step, (int)t->env->block, (long long)t->n_steps);
    BK_TRY(bk_weights_load(t->net.online, "online.", in, false, err));
    BK_TRY(bk_weights_load(t->net.target, "target.", in, false, err));
    BK_TRY(bk_optim_load(t->optim, "optim.", in, err));
    BK_TRY(bk_weights_zero_grad(t->net.online, err));
    BK_TRY(bk_tensor_zero(t->loss_sum, err));
    BK_TRY(bk_loader_seek(t->loader, (int32_t)(step / t->n_batches), (int32_t)(step % t->n_batches), err));
    t->step = step;
    t->n_loss = 0;
    return BK_OK;
}

static int result(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct bootstrap *t = state;
    if (!t->env)
        return bk_fail(err, BK_ESTATE, "no block is in training");
    return bk_siamese_save(&t->net, out, err);
}

static const struct bk_trainer_iface iface = {
    .struct_size = sizeof iface,
    .begin = begin,
    .advance = advance,
    .save = save,
    .load = load,
    .result = result,
    .end = end,
};

static const struct bk_plugin ensemble = {
    .struct_size = sizeof ensemble,
    .kind = BK_KIND_TRAINER,
    .name = "ensemble_bootstrap",
    .version = "1.0.0",
    .summary = "self-supervised: paths predict the mean of their moving-average counterparts (BossNAS)",
    .help = "Published settings are fragments of configs/recipes: nats_paper.cfg, nats_release.cfg, sane.cfg.",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct bootstrap),
    .init = init,
    .free = end,
    .iface = &iface,
};

static const struct bk_plugin naive = {
    .struct_size = sizeof naive,
    .kind = BK_KIND_TRAINER,
    .name = "naive_bootstrap",
    .version = "1.0.0",
    .summary = "self-supervised: every path predicts its own moving-average counterpart (the ablation of BossNAS)",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct bootstrap),
    .init = init_naive,
    .free = end,
    .iface = &iface,
};

BK_MODULE(&ensemble, &naive);

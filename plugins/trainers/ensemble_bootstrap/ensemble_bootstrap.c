/*
 * Trainers "ensemble_bootstrap" and "naive_bootstrap": block-wise self-supervised training of a Siamese supernet
 * (Li et al., BossNAS, ICCV 2021). P online paths of a block predict the mean of their P moving-average counterparts
 * (naive: each its own). LARS with gradient accumulation, cosine rates, and a target network moved by EMA.
 *
 * This file: options, the life of a block, schedules and state. One iteration is in bootstrap_step.c, the loop around it
 * in <bosskit/training.h>.
 *
 * Not here: ratings, and the choice of prefixes. Batch-norm running statistics are not kept: raters collect their own.
 */
#include "bootstrap.h"

#include <bosskit/stats.h>
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

static double learning_rate(const void *state, int64_t i)
{
    const struct bootstrap *t = state;
    return bk_training_cosine(&t->run, t->lr, t->warmup_epochs, t->lr_step == LR_STEP_EPOCH, i);
}

/* The target follows: backbone in the blocks that learn, projector, and adapters on demand. The predictor has none. */
static int move_target(void *state, int64_t i, struct bk_error *err)
{
    struct bootstrap *t = state;
    struct bk_weights *to = t->net.target, *from = t->net.online;
    double m = bk_schedule_ema(t->ema_start, (double)i, (double)t->run.n_steps);
    int32_t k = t->run.env->block;
    BK_TRY(bk_weights_ema(to, from, m, BK_PART_BACKBONE, first_trained_block(t), k, err));
    BK_TRY(bk_weights_ema(to, from, m, BK_PART_PROJECTOR, k, k, err));
    return t->ema_adapters ? bk_weights_ema(to, from, m, BK_PART_ADAPTER, k, k, err) : BK_OK;
}

/* ---- begin and end -------------------------------------------------------------------------------- */

static void end(void *state)
{
    struct bootstrap *t = state;
    bk_tensor_free(t->last);
    bk_free(t->projections);
    t->last = NULL;
    t->projections = NULL;
    t->has_last = false;
    bk_training_end(&t->run);
    bk_siamese_release(&t->net);
}

/* All first views, then all second ones. */
static int choose_views(const struct bootstrap *t, struct bk_loader_config *c, struct bk_error *err)
{
    const struct bk_data *data = t->run.env->data;
    int32_t pairs = t->views == VIEWS_OWN ? t->n_paths : 1;
    if (2 * pairs > BK_MAX_VIEWS)
        return bk_fail(err, BK_EINVAL, "views = own with %d paths needs %d views, at most %d are made", (int)pairs,
                       2 * (int)pairs, BK_MAX_VIEWS);
    c->n_views = 2 * pairs;
    for (int32_t p = 0; p < pairs; p++) {
        c->view[p] = data->view1;
        c->view[pairs + p] = data->view2;
    }
    return BK_OK;
}

/* Both prefixes are run once: that finds the shape of the block's input, and takes from `previous` what they need. */
static int take_prefix(struct bootstrap *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    BK_TRY(bk_training_check_previous(&t->run, previous, "siamese", err));
    if (!env->block)
        return BK_OK;
    bk_siamese_from(&t->net, previous);
    int rc = bk_training_probe(&t->run, env->data->view1.size, bootstrap_target_input, t, err);
    if (!rc)
        rc = bk_training_probe(&t->run, env->data->view1.size, bootstrap_online_input, t, err);
    bk_siamese_from(&t->net, NULL);
    return rc;
}

static int start(struct bootstrap *t, struct bk_error *err)
{
    struct bk_training_config c = { .weights = t->net.online,
                                    .optim = { .kind = BK_LARS,
                                               .exclude = (uint32_t)t->lars_exclude,
                                               .momentum = t->momentum,
                                               .weight_decay = t->weight_decay,
                                               .trust = t->trust,
                                               .zero_guard = t->lars_zero_guard },
                                    .loader = { .split = &t->run.env->data->train, .batch = (int32_t)t->batch },
                                    .epochs = t->epochs,
                                    .accumulate = t->accumulate };
    BK_TRY(choose_views(t, &c.loader, err));
    return bk_training_start(&t->run, &c, err);
}

/* Projections of a whole batch; there are fewer images than that in a split that is smaller. */
static int make_last(struct bootstrap *t, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    int64_t n = env->data->train.n, dim[2] = { n < t->batch ? n : t->batch, t->net.out };
    t->projections = bk_alloc((size_t)(dim[0] * dim[1]) * sizeof *t->projections);
    if (!t->projections)
        return bk_fail(err, BK_ENOMEM, "out of memory for %lld projections", (long long)dim[0]);
    return bk_tensor_new(env->device, bk_dtype_accum(env->dtype), 2, dim, &t->last, err);
}

static int set_up(struct bootstrap *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    struct bk_path path[BK_MAX_SAMPLED];

    BK_TRY(bk_training_paths(&t->run, 0, t->paths, path, &t->n_paths, err));
    BK_TRY(bk_siamese_init(&t->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block,
                           (int32_t)t->hidden, (int32_t)t->embed, env->seed, err));
    BK_TRY(bk_weights_train_blocks(t->net.online, first_trained_block(t), env->block, err));
    BK_TRY(make_last(t, err));
    BK_TRY(take_prefix(t, previous, err));
    return start(t, err);
}

static int begin(void *state, const struct bk_env *env, const struct bk_bundle *previous, struct bk_error *err)
{
    struct bootstrap *t = state;
    BK_TRY(bk_training_begin(&t->run, env, t->host, err));
    int rc = set_up(t, previous, err);
    if (rc)
        end(t);
    return rc;
}

/* ---- advance and state ------------------------------------------------------------------------------ */

/* The target's projections may have the best of losses because they are nearly the same for all images. */
static int take_dimensions(struct bootstrap *t, double *dimensions, struct bk_error *err)
{
    if (!t->has_last)
        return BK_OK;
    int64_t n = bk_tensor_numel(t->last);
    BK_TRY(bk_tensor_read(t->last, t->projections, err));      /* raw: a conversion would need memory */
    for (int64_t i = n - 1; i >= 0 && t->last->dtype == BK_F32; i--) {
        float v;
        memcpy(&v, (const char *)t->projections + (size_t)i * sizeof v, sizeof v);
        t->projections[i] = v;
    }
    *dimensions = fmax(1, bk_participation_ratio(t->projections, (size_t)t->last->dim[0], (size_t)t->last->dim[1]));
    return BK_OK;
}

static int advance(void *state, double seconds, struct bk_progress *out, struct bk_error *err)
{
    static const struct bk_training_methods methods = { bootstrap_iteration, learning_rate, move_target };
    struct bootstrap *t = state;
    BK_TRY(bk_training_advance(&t->run, &methods, t, seconds, out, err));
    bool looked_at = seconds > 0 || out->done;          /* one iteration at a time is not */
    return looked_at ? take_dimensions(t, &out->dimensions, err) : BK_OK;
}

static int save(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct bootstrap *t = state;
    BK_TRY(bk_training_save(&t->run, out, err));
    return bk_siamese_save(&t->net, out, err);
}

static int load(void *state, const struct bk_bundle *in, struct bk_error *err)
{
    struct bootstrap *t = state;
    BK_TRY(bk_training_load(&t->run, in, err));
    BK_TRY(bk_weights_load(t->net.online, "online.", in, false, err));
    return bk_weights_load(t->net.target, "target.", in, false, err);
}

static int result(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct bootstrap *t = state;
    BK_TRY(bk_training_check(&t->run, err));
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
    .makes = "siamese",
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

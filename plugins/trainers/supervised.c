/*
 * Trainer "supervised": block-wise classification, the "Supv. class." row of BossNAS's ablation (Li et al., ICCV 2021,
 * table 5). The output of block k goes through the space's adapter and pooling into one linear classifier that all paths
 * share; the loss of a path is the cross entropy with the labels, and gradients are summed over the sampler's paths. The
 * paper says no more; earlier blocks are run along their best paths, frozen, with batch statistics as in bootstrapping.
 *
 * The loop, checkpoints and schedules are <bosskit/training.h>, the network is <bosskit/classifier.h>.
 *
 * Not here: ratings (rater supervised_acc). Batch-norm running statistics are not kept: raters collect their own.
 */
#include <bosskit/classifier.h>
#include <bosskit/training.h>

#include <string.h>

enum { SCHEDULE_COSINE = 1, SCHEDULE_CONSTANT = 2 };
enum { AUGMENT_STANDARD = 1, AUGMENT_VIEW1 = 2 };

struct supervised {
    /* options */
    int64_t epochs, batch, accumulate, paths;
    double lr, momentum, weight_decay, trust, warmup_epochs, label_smoothing;
    int32_t optimizer, schedule, exclude, augment;
    bool nesterov;

    const struct bk_host *host;
    /* the block in training: begin() to end() */
    struct bk_training run;
    struct bk_classifier net;
};

static const struct bk_choice optimizers[] = { { "sgd", BK_SGD }, { "lars", BK_LARS }, { NULL, 0 } };
static const struct bk_choice schedules[] = { { "cosine", SCHEDULE_COSINE }, { "constant", SCHEDULE_CONSTANT }, { NULL, 0 } };
static const struct bk_choice excludes[] = { { "none", BK_EXCLUDE_NONE },
                                             { "by_type", BK_EXCLUDE_BY_TYPE },
                                             { "by_name", BK_EXCLUDE_BY_NAME },
                                             { NULL, 0 } };
static const struct bk_choice augments[] = { { "standard", AUGMENT_STANDARD }, { "view1", AUGMENT_VIEW1 }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_INT ("epochs",        struct supervised, epochs,        20,   1, 100000, "epochs", "passes over the training split a block"),
    BK_INT ("batch",         struct supervised, batch,         256,  2, 65536,  "images", "images an iteration; the range of batch statistics"),
    BK_INT ("accumulate",    struct supervised, accumulate,    1,    1, 65536,  "iterations", "iterations an update (effective batch = batch * accumulate)"),
    BK_INT ("paths",         struct supervised, paths,         0,    0, BK_MAX_SAMPLED, "paths", "paths an iteration; 0: the sampler decides"),
    BK_ENUM("augment",       struct supervised, augment,       AUGMENT_STANDARD, augments, "crop and flip as in stand-alone training, or self-supervised pipeline 1"),
    BK_ENUM("optimizer",     struct supervised, optimizer,     BK_SGD, optimizers, "stochastic gradient descent, or LARS"),
    BK_REAL("lr",            struct supervised, lr,            0.1,  0, 1000,   "", "peak learning rate, for the effective batch (0.1 a 256 images)"),
    BK_ENUM("schedule",      struct supervised, schedule,      SCHEDULE_COSINE, schedules, "the rate falls to 0 as a cosine over the block, or stays"),
    BK_REAL("warmup_epochs", struct supervised, warmup_epochs, 0,    0, 100000, "epochs", "linear warm-up at the start of a block"),
    BK_REAL("momentum",      struct supervised, momentum,      0.9,  0, 1,      "", "of either optimiser"),
    BK_BOOL("nesterov",      struct supervised, nesterov,      false, "Nesterov's momentum (sgd)"),
    BK_REAL("weight_decay",  struct supervised, weight_decay,  4e-5, 0, 1,      "", "of tensors that are not excluded"),
    BK_ENUM("exclude",       struct supervised, exclude,       BK_EXCLUDE_BY_TYPE, excludes, "what is not decayed (and has no trust ratio): nothing, biases and norms, or the BossNAS release's patterns"),
    BK_REAL("trust",         struct supervised, trust,         1e-3, 0, 1,      "", "trust coefficient (lars)"),
    BK_REAL("label_smoothing", struct supervised, label_smoothing, 0, 0, 1,     "", "share of the label spread evenly over the classes"),
    BK_OPT_END
};
/* clang-format on */

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct supervised *t = state;
    t->host = host;
    if (t->nesterov && t->optimizer != BK_SGD)
        return bk_fail(err, BK_EINVAL, "nesterov goes with optimizer = sgd only");
    return BK_OK;
}

/* ---- one iteration ------------------------------------------------------------------------------------ */

static struct bk_forward batch_forward(const struct supervised *t)
{
    return (struct bk_forward){ .tape = t->run.tape,
                                .weights = t->net.weights,
                                .dtype = t->run.env->dtype,
                                .norm_mode = BK_NORM_BATCH,
                                .norm_momentum = 0,
                                .norm_eps = 1e-5 };
}

static int run_prefix(void *state, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    const struct supervised *t = state;
    const struct bk_env *env = t->run.env;
    struct bk_forward f = batch_forward(t);
    return bk_space_run_prefix(env->space, &f, env->block, env->prefix, images, x, err);
}

static int add_gradient(struct supervised *t, const struct bk_path *path, struct bk_tensor *x, struct bk_tensor *labels,
                        struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    const struct bk_cross_entropy_attr attr = { t->label_smoothing };
    struct bk_forward f = batch_forward(t);
    struct bk_tape_mark mark = bk_tape_mark(t->run.tape);
    struct bk_tensor *y, *logits, *loss;
    BK_TRY(bk_space_run_block(env->space, &f, env->block, env->entry, path, x, &y, err));
    BK_TRY(bk_classifier_logits(&t->net, &f, path, y, &logits, err));
    BK_TRY(bk_cross_entropy(t->run.tape, logits, labels, &attr, &loss, err));
    BK_TRY(bk_training_add_loss(&t->run, loss, err));
    BK_TRY(bk_tape_backward(t->run.tape, loss, 1. / (double)t->accumulate, err));
    bk_tape_rewind(t->run.tape, mark);
    return BK_OK;
}

static int iteration(void *state, const struct bk_batch *batch, struct bk_error *err)
{
    struct supervised *t = state;
    const struct bk_env *env = t->run.env;
    struct bk_path path[BK_MAX_SAMPLED];
    struct bk_tensor *images, *labels, *x;
    int32_t n;

    BK_TRY(bk_training_paths(&t->run, t->run.step, t->paths, path, &n, err));
    BK_TRY(bk_batch_labels(t->run.tape, batch, &labels, err));
    BK_TRY(bk_batch_view(t->run.tape, env->dtype, batch, 0, env->data->alone.size, &images, err));
    x = images;
    if (env->block) {
        BK_TRY(bk_training_new_input(&t->run, batch->n, &x, err));
        BK_TRY(bk_training_run_input(&t->run, run_prefix, t, images, x, err));
    }
    for (int32_t p = 0; p < n; p++)
        BK_TRY(add_gradient(t, &path[p], x, labels, err));
    return BK_OK;
}

static double learning_rate(const void *state, int64_t i)
{
    const struct supervised *t = state;
    if (t->schedule == SCHEDULE_COSINE)
        return bk_training_cosine(&t->run, t->lr, t->warmup_epochs, false, i);
    return t->lr * bk_schedule_warmup((double)i, t->warmup_epochs * t->run.n_batches, 1e-4);
}

/* ---- begin and end ------------------------------------------------------------------------------------ */

static void end(void *state)
{
    struct supervised *t = state;
    bk_training_end(&t->run);
    bk_classifier_release(&t->net);
}

/* The prefix is run once: that finds the shape of the block's input, and takes from `previous` what it needs. */
static int take_prefix(struct supervised *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    BK_TRY(bk_training_check_previous(&t->run, previous, "supervised", err));
    if (!env->block)
        return BK_OK;
    bk_weights_from(t->net.weights, "net.", previous);
    int rc = bk_training_probe(&t->run, env->data->alone.size, run_prefix, t, err);
    bk_weights_from(t->net.weights, "net.", NULL);
    return rc;
}

/* The pictures of stand-alone training, normalised as those that raters will show. */
static struct bk_augment training_view(const struct supervised *t)
{
    const struct bk_data *data = t->run.env->data;
    struct bk_augment a = t->augment == AUGMENT_VIEW1 ? data->view1 : data->alone;
    memcpy(a.mean, data->plain.mean, sizeof a.mean);
    memcpy(a.std, data->plain.std, sizeof a.std);
    return a;
}

static int start(struct supervised *t, struct bk_error *err)
{
    struct bk_training_config c = { .weights = t->net.weights,
                                    .optim = { .kind = (uint32_t)t->optimizer,
                                               .exclude = (uint32_t)t->exclude,
                                               .momentum = t->momentum,
                                               .weight_decay = t->weight_decay,
                                               .trust = t->trust,
                                               .nesterov = t->nesterov,
                                               .zero_guard = true },
                                    .loader = { .split = &t->run.env->data->train,
                                                .batch = (int32_t)t->batch,
                                                .n_views = 1,
                                                .view = { training_view(t) } },
                                    .epochs = t->epochs,
                                    .accumulate = t->accumulate };
    return bk_training_start(&t->run, &c, err);
}

static int set_up(struct supervised *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    BK_TRY(bk_classifier_init(&t->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block,
                              env->data->info.n_classes, env->seed, err));
    BK_TRY(bk_weights_train_blocks(t->net.weights, env->block, env->block, err));
    BK_TRY(take_prefix(t, previous, err));
    return start(t, err);
}

static int begin(void *state, const struct bk_env *env, const struct bk_bundle *previous, struct bk_error *err)
{
    struct supervised *t = state;
    BK_TRY(bk_training_begin(&t->run, env, t->host, err));
    int rc = set_up(t, previous, err);
    if (rc)
        end(t);
    return rc;
}

/* ---- advance and state -------------------------------------------------------------------------------- */

static int advance(void *state, double seconds, struct bk_progress *out, struct bk_error *err)
{
    static const struct bk_training_methods methods = { .iteration = iteration, .rate = learning_rate };
    struct supervised *t = state;
    return bk_training_advance(&t->run, &methods, t, seconds, out, err);
}

static int save(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct supervised *t = state;
    BK_TRY(bk_training_save(&t->run, out, err));
    return bk_classifier_save(&t->net, out, err);
}

static int load(void *state, const struct bk_bundle *in, struct bk_error *err)
{
    struct supervised *t = state;
    BK_TRY(bk_training_load(&t->run, in, err));
    return bk_weights_load(t->net.weights, "net.", in, false, err);
}

static int result(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct supervised *t = state;
    BK_TRY(bk_training_check(&t->run, err));
    return bk_classifier_save(&t->net, out, err);
}

static const struct bk_trainer_iface iface = {
    .struct_size = sizeof iface,
    .begin = begin,
    .advance = advance,
    .save = save,
    .load = load,
    .result = result,
    .end = end,
    .makes = "supervised",
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_TRAINER,
    .name = "supervised",
    .version = "1.0.0",
    .summary = "labels: each block ends in a linear classifier shared by its paths (Supv. class. of BossNAS)",
    .help = "Rate with supervised_acc.",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct supervised),
    .init = init,
    .free = end,
    .iface = &iface,
};

BK_MODULE(&plugin);

/*
 * Rater "linear_eval": linear evaluation of a bootstrapped supernet, the "Unsupv. EB / Supv. linear eval" row of BossNAS's
 * ablation (Li et al., ICCV 2021, table 5). The supernet is frozen; one linear classifier on the target network's pooled
 * features learns from the labels, along one random path a step, and every path is then rated by its cross entropy or top-1
 * error on the validation images. Lower is better; block scores add up.
 *
 * The paper says no more. Chosen here: features are standardised channel by channel, as linear probing has it since Doersch et
 * al. (2015) and He et al. (MAE, 2022): a batch norm without scale and offset between pooling and classifier. Features of late
 * blocks are large, and differ in size between paths: without it one rate makes their classifier diverge. Batch norms run on statistics recalibrated for every path, in training as in rating;
 * training shows crops and flips, rating the evaluation view; SGD with a cosine rate and without decay. All of it is a
 * function of the seed.
 */
#include "class_score.h"

#include <bosskit/random.h>
#include <bosskit/training.h>
#include <string.h>

struct linear_eval {
    struct class_options o;
    int64_t epochs, train_batch;
    double lr, momentum;
};

/* clang-format off */
static const struct bk_opt options[] = {
    CLASS_OPTIONS(struct linear_eval),
    BK_INT ("epochs",      struct linear_eval, epochs,      5,   1, 100000, "epochs", "passes over the training split for the classifier"),
    BK_INT ("train_batch", struct linear_eval, train_batch, 256, 1, 65536,  "images", "images a step of the classifier"),
    BK_REAL("lr",          struct linear_eval, lr,          0.1, 0, 1000,   "", "first learning rate of the classifier; falls to 0 as a cosine"),
    BK_REAL("momentum",    struct linear_eval, momentum,    0.9, 0, 1,      "", "of the classifier's SGD"),
    BK_OPT_END
};
/* clang-format on */

struct rating {
    struct class_rating r;
    const struct linear_eval *options;
    struct bk_siamese net;
    struct bk_net head;
    struct bk_weights *classifier;
    int32_t fc, norm;
    struct bk_norm_store **feature;     /* by path number: statistics of its pooled features */
    struct bk_training run;
    struct bk_tensor *labels;           /* of the current step */
};

/* ---- the frozen network and the classifier ---------------------------------------------------------- */

static int run_prefix(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x,
                      struct bk_error *err)
{
    const struct rating *s = user;
    return bk_siamese_prefix(&s->net, f, s->r.env->prefix, images, x, err);
}

/* Pooled features in units of their own spread over the calibration images, path by path. */
static int standardised(const struct rating *s, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                        struct bk_tensor **y, struct bk_error *err)
{
    const struct bk_space *space = s->r.env->space;
    struct bk_forward head = *f;
    struct bk_tensor *pooled;
    head.weights = s->classifier;
    head.store = s->feature[leaf->number];
    BK_TRY(space->iface->pool(space->state, f, s->r.env->block, leaf->path, x, &pooled, err));
    return bk_forward_norm(&head, &s->norm, &pooled, 1, NULL, BK_ACT_NONE, y, err);
}

static int calibrate(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                     struct bk_error *err)
{
    struct bk_tensor *feature;
    return standardised(user, leaf, f, x, &feature, err);
}

static int logits_of(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                     struct bk_tensor **logits, struct bk_error *err)
{
    const struct rating *s = user;
    struct bk_forward head = *f;
    struct bk_tensor *feature;
    head.weights = s->classifier;
    BK_TRY(standardised(s, leaf, f, x, &feature, err));
    return bk_forward_linear(&head, s->fc, feature, logits, err);
}

/* Linear(C_k -> classes), weights N(0, 0.01^2), bias 0, as linear evaluation has it since MoCo (He et al. 2020). */
static int make_classifier(struct rating *s, struct bk_error *err)
{
    const struct bk_env *env = s->r.env;
    int64_t width = env->space->info.pooled_width[env->block];
    BK_TRY(bk_net_linear(&s->head, "classifier", BK_PART_CLASSIFIER, env->block, s->r.n_classes, width, BK_INIT_NORMAL,
                         0.01, BK_INIT_ZERO, 0, &s->fc, err));
    BK_TRY(bk_net_norm(&s->head, "standardise", BK_PART_CLASSIFIER, env->block, width, 0, &s->norm, err));
    BK_TRY(bk_weights_new(env->device, &s->head, bk_dtype_accum(env->dtype), &s->classifier, err));
    BK_TRY(bk_weights_init(s->classifier, env->seed, err));
    BK_TRY(bk_weights_train(s->classifier, s->fc, true, err));
    return bk_weights_train(s->classifier, s->fc + 1, true, err);
}

static int make_stores(struct rating *s, struct bk_error *err)
{
    int32_t n = bk_traverse_count(s->r.paths);
    s->feature = bk_zalloc((size_t)n * sizeof(struct bk_norm_store *));
    if (!s->feature)
        return bk_fail(err, BK_ENOMEM, "out of memory for %d paths", (int)n);
    for (int32_t i = 0; i < n; i++)
        BK_TRY(bk_norm_store_new(s->r.env->device, &s->feature[i], err));
    return BK_OK;
}

static void free_stores(struct rating *s)
{
    for (int32_t i = 0; s->feature && i < bk_traverse_count(s->r.paths); i++)
        bk_norm_store_free(s->feature[i]);
    bk_free(s->feature);
}

/* ---- training it ------------------------------------------------------------------------------------------ */

static int add_gradient(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                        struct bk_error *err)
{
    static const struct bk_cross_entropy_attr plain = { 0 };
    struct rating *s = user;
    struct bk_tensor *logits, *loss;
    bool was = bk_tape_set_recording(s->run.tape, true);        /* the supernet's weights take no gradients */
    int rc = logits_of(s, leaf, f, x, &logits, err);
    if (!rc)
        rc = bk_cross_entropy(s->run.tape, logits, s->labels, &plain, &loss, err);
    if (!rc)
        rc = bk_training_add_loss(&s->run, loss, err);
    if (!rc)
        rc = bk_tape_backward(s->run.tape, loss, 1, err);
    bk_tape_set_recording(s->run.tape, was);
    return rc;
}

/* One random path a step, a function of seed, block and step. */
static int iteration(void *user, const struct bk_batch *batch, struct bk_error *err)
{
    struct rating *s = user;
    const struct bk_env *env = s->r.env;
    struct bk_tensor *images;
    struct bk_random random;
    bk_random_init(&random, env->seed, bk_random_stream("linear_eval path"), (uint64_t)s->run.step, (uint32_t)env->block);
    int32_t path = (int32_t)bk_random_below(&random, (uint32_t)bk_traverse_count(s->r.paths));
    BK_TRY(bk_batch_labels(s->run.tape, batch, &s->labels, err));
    BK_TRY(bk_batch_view(s->run.tape, env->dtype, batch, 0, env->data->plain.size, &images, err));
    return bk_traverse_run_path(s->r.paths, 0, path, images, add_gradient, s, err);
}

static double learning_rate(const void *user, int64_t i)
{
    const struct rating *s = user;
    return bk_training_cosine(&s->run, s->options->lr, 0, false, i);
}

static int start_training(struct rating *s, struct bk_error *err)
{
    const struct bk_data *data = s->r.env->data;
    struct bk_training_config c = { .weights = s->classifier,
                                    .optim = { .kind = BK_SGD, .exclude = BK_EXCLUDE_NONE, .momentum = s->options->momentum },
                                    .loader = { .split = &data->train,
                                                .batch = (int32_t)s->options->train_batch,
                                                .n_views = 1,
                                                .view = { data->alone } },
                                    .epochs = s->options->epochs,
                                    .accumulate = 1 };
    memcpy(c.loader.view[0].mean, data->plain.mean, sizeof data->plain.mean);
    memcpy(c.loader.view[0].std, data->plain.std, sizeof data->plain.std);
    return bk_training_start(&s->run, &c, err);
}

static int train(struct rating *s, struct bk_error *err)
{
    static const struct bk_training_methods methods = { .iteration = iteration, .rate = learning_rate };
    const struct bk_host *host = s->r.env->host;
    struct bk_progress p = { .struct_size = sizeof p };
    BK_TRY(start_training(s, err));
    while (!p.done) {
        BK_TRY(bk_training_advance(&s->run, &methods, s, 1, &p, err));
        if (!p.done && host->cancelled(host->ctx))
            return bk_fail(err, BK_EINTERRUPTED, "linear evaluation of block %d interrupted", (int)s->r.env->block);
        host->progress(host->ctx, (double)p.step, (double)p.n_steps, "steps", NULL);
    }
    return BK_OK;
}

/* ---- rate_block ------------------------------------------------------------------------------------------- */

static int run(struct rating *s, const struct bk_bundle *trained, struct bk_block_table *out, struct bk_error *err)
{
    const struct bk_env *env = s->r.env;
    BK_TRY(bk_siamese_open(&s->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block, trained, err));
    BK_TRY(make_classifier(s, err));
    BK_TRY(bk_training_begin(&s->run, env, env->host, err));
    s->r.tape = s->run.tape;
    struct bk_traverse_config c = { .env = env,
                                    .tape = s->r.tape,
                                    .net = { s->net.target },
                                    .n_nets = 1,
                                    .side = env->data->plain.size,
                                    .input = env->block ? run_prefix : NULL,
                                    .user = s };
    BK_TRY(bk_traverse_new(&c, &s->r.paths, err));
    BK_TRY(make_stores(s, err));
    BK_TRY(class_calibrate(&s->r, err));
    BK_TRY(train(s, err));
    return class_rate(&s->r, out, err);
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err)
{
    const struct linear_eval *e = state;
    struct rating s = { .r = { .options = &e->o, .env = env, .calibrate = calibrate, .logits = logits_of, .user = &s },
                        .options = e, .head = BK_NET_INIT };
    if (!trained || !env->data)
        return bk_fail(err, BK_EINVAL, "linear evaluation needs a trained block and data");
    s.r.n_classes = env->data->info.n_classes;
    int rc = run(&s, trained, out, err);
    class_release(&s.r);
    free_stores(&s);
    bk_traverse_free(s.r.paths);
    bk_training_end(&s.run);
    bk_weights_free(s.classifier);
    bk_net_release(&s.head);
    bk_siamese_release(&s.net);
    return rc;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS | BK_RATER_NEEDS_TRAINED | BK_RATER_NEEDS_DATA,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
    .takes = "siamese",
};

const struct bk_plugin linear_eval_plugin = {
    .struct_size = sizeof linear_eval_plugin,
    .kind = BK_KIND_RATER,
    .name = "linear_eval",
    .version = "1.0.0",
    .summary = "cross entropy or error of each path with a linear classifier on the frozen supernet (Supv. linear eval of BossNAS)",
    .help = "Needs the artefact of trainer 'ensemble_bootstrap' or 'naive_bootstrap'. Lower is better; the scores of blocks add up.",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct linear_eval),
    .iface = &iface,
};

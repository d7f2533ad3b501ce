/*
 * Raters "supervised_acc" and "linear_eval" against their definitions carried out path by path: no shared walk, statistics
 * recalibrated in the weight sets themselves, cross entropies, errors and the classifier's gradient written out on the
 * host; on NATS-SS and MBConv.
 */
#include "method_data.h"
#include <bosskit/classifier.h>
#include <bosskit/random.h>

enum { ROWS = 16, MAX_CLASSES = 10, WIDTH = 8, MAX_PATHS = 16 };

enum kind { NATS, MBCONV };

/* Four paths a block, pooled width 8. */
static void open_world(struct world *w, enum kind kind)
{
    world_open(w, BK_F64, 20, 14);
    if (kind == MBCONV)
        fixture_space(&w->f, "mbconv", OPTIONS("widths=[8,8]", "depths=[2,2]", "strides=[2,1]", "ops=[35,23]"), &w->space);
}

/* ---- one path at a time -------------------------------------------------------------------------------------- */

struct plain {
    struct world *w;
    struct bk_weights *weights;         /* the network that is rated */
    struct bk_tape *tape;
    int n_classes;
    bool standardised;                  /* features by mean and spread of the calibration images */
    double mean[WIDTH], var[WIDTH];
    double fc[MAX_CLASSES * WIDTH], bias[MAX_CLASSES];
    double speed[MAX_CLASSES * (WIDTH + 1)];    /* momentum: fc, then bias */
};

/* Pooled features [n][WIDTH] of one view along `path`, prefix included. */
static void features(struct plain *x, const struct bk_path *path, const struct bk_batch *b, uint32_t mode, double *out)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_env *env = &x->w->env;
    const struct bk_space *s = &x->w->space;
    struct bk_forward f = { .tape = x->tape, .weights = x->weights, .dtype = BK_F64, .norm_mode = mode,
                            .norm_momentum = mode == BK_NORM_BATCH, .norm_eps = 1e-5 };
    struct bk_tensor *t;
    bk_tape_reset(x->tape);
    BK_ASSERT_OK(bk_batch_view(x->tape, BK_F64, b, 0, 8, &t, &err));
    BK_ASSERT_OK(bk_space_run_prefix(s, &f, env->block, env->prefix, t, &t, &err));
    BK_ASSERT_OK(bk_space_run_block(s, &f, env->block, env->entry, path, t, &t, &err));
    BK_ASSERT_OK(s->iface->pool(s->state, &f, env->block, path, t, &t, &err));
    CU_ASSERT_EQUAL_FATAL(t->dim[1], WIDTH);
    if (!out)
        return;
    BK_ASSERT_OK(bk_tensor_read_f64(t, out, &err));
    for (int64_t i = 0; x->standardised && mode == BK_NORM_RUNNING && i < bk_tensor_numel(t); i++)
        out[i] = (out[i] - x->mean[i % WIDTH]) / sqrt(x->var[i % WIDTH] + 1e-5);
}

/* Mean and unbiased variance of every feature. */
static void take_spread(struct plain *x, const double *z, int n)
{
    for (int i = 0; i < WIDTH; i++) {
        x->mean[i] = x->var[i] = 0;
        for (int r = 0; r < n; r++)
            x->mean[i] += z[r * WIDTH + i] / n;
        for (int r = 0; r < n; r++)
            x->var[i] += pow(z[r * WIDTH + i] - x->mean[i], 2) / (n - 1);
    }
}

static struct bk_loader *open_loader(struct plain *x, const struct bk_split *split, const struct bk_augment *view, int batch,
                                     bool shuffle, bool fixed)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader_config c = { .split = split, .batch = batch, .n_views = 1, .view = { *view }, .seed = x->w->env.seed,
                                  .shuffle = shuffle, .fixed_views = fixed };
    struct bk_loader *loader;
    BK_ASSERT_OK(bk_loader_new(&c, &loader, &err));
    return loader;
}

/* Eight training images in the order of the first epoch, evaluation view. */
static void recalibrate(struct plain *x, const struct bk_path *path)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader *loader = open_loader(x, &x->w->data.train, &x->w->data.plain, 8, true, true);
    struct bk_batch b;
    double z[ROWS * WIDTH];
    BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
    features(x, path, &b, BK_NORM_BATCH, z);
    take_spread(x, z, b.n);
    bk_loader_free(loader);
}

static void logits_of(const struct plain *x, const double *feature, double *out)
{
    for (int c = 0; c < x->n_classes; c++) {
        out[c] = x->bias[c];
        for (int i = 0; i < WIDTH; i++)
            out[c] += x->fc[c * WIDTH + i] * feature[i];
    }
}

static double log_sum_exp(const double *v, int n)
{
    double m = v[0], s = 0;
    for (int i = 1; i < n; i++)
        m = fmax(m, v[i]);
    for (int i = 0; i < n; i++)
        s += exp(v[i] - m);
    return m + log(s);
}

static double plain_rating(struct plain *x, const struct bk_path *path, bool error)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader *loader = open_loader(x, &x->w->data.val, &x->w->data.plain, 5, false, true);
    double sum = 0, z[ROWS * WIDTH], logits[MAX_CLASSES];
    int n = 0;
    recalibrate(x, path);
    for (int i = 0; i < bk_loader_batches(loader); i++) {
        struct bk_batch b;
        BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
        features(x, path, &b, BK_NORM_RUNNING, z);
        for (int r = 0; r < b.n; r++, n++) {
            int best = 0;
            logits_of(x, z + r * WIDTH, logits);
            for (int c = 1; c < x->n_classes; c++)
                best = logits[c] > logits[best] ? c : best;
            sum += error ? best != b.label[r] : log_sum_exp(logits, x->n_classes) - logits[b.label[r]];
        }
    }
    bk_loader_free(loader);
    return sum / n;
}

static void check_table(struct plain *x, struct bk_block_table t, bool error)
{
    CU_ASSERT_EQUAL_FATAL(t.n, 4);
    CU_ASSERT_EQUAL(t.block, (int)x->w->env.block);
    CU_ASSERT_EQUAL(t.entry, x->w->env.entry);
    for (size_t p = 0; p < t.n; p++) {
        BK_ASSERT_CLOSE(t.score[p], plain_rating(x, &t.path[p], error), 1e-9);
        CU_ASSERT(t.score[p] > 0);
        CU_ASSERT(error || p == 0 || t.score[p] != t.score[p - 1]);
    }
    bk_block_table_release(&t);
}

/* ---- supervised_acc --------------------------------------------------------------------------------------------- */

#define SUPERVISED "epochs=4", "batch=7", "lr=0.05"

static struct bk_bundle *train_supervised(struct world *w, bool two)
{
    struct bk_bundle *first = world_train(w, "supervised", OPTIONS(SUPERVISED), NULL, NULL);
    if (!two)
        return first;
    world_enter_block_1(w);
    struct bk_bundle *second = world_train(w, "supervised", OPTIONS(SUPERVISED), first, NULL);
    bk_bundle_free(first);
    return second;
}

static void check_supervised(enum kind kind, bool two)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    struct bk_classifier net;
    open_world(&w, kind);
    struct bk_bundle *trained = train_supervised(&w, two);
    struct plain x = { .w = &w, .n_classes = w.data.info.n_classes };
    BK_ASSERT_OK(bk_classifier_open(&net, w.device, BK_F64, &w.space, w.env.block, trained, &err));
    CU_ASSERT_EQUAL_FATAL(net.n_classes, x.n_classes);
    x.weights = net.weights;
    BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(net.weights, net.fc), x.fc, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(net.weights, net.fc + 1), x.bias, &err));
    BK_ASSERT_OK(bk_tape_new(w.device, &x.tape, &err));
    bk_tape_set_recording(x.tape, false);
    check_table(&x, world_rate(&w, "supervised_acc", trained, OPTIONS("calib_images=8", "batch=6")), false);
    check_table(&x, world_rate(&w, "supervised_acc", trained, OPTIONS("calib_images=8", "batch=4", "score=error")), true);
    bk_tape_free(x.tape);
    bk_classifier_release(&net);
    bk_bundle_free(trained);
    world_close(&w);
}

static void test_supervised(void)
{
    check_supervised(NATS, false);
    check_supervised(NATS, true);
    check_supervised(MBCONV, false);
    check_supervised(MBCONV, true);
}

/* ---- linear_eval ------------------------------------------------------------------------------------------------ */

#define BOOTSTRAP "epochs=1", "batch=6", "accumulate=4", "hidden=8", "embed=6", "lr=4.0"

static struct bk_bundle *train_bootstrap(struct world *w, bool two)
{
    struct bk_bundle *first = world_train(w, "ensemble_bootstrap", OPTIONS(BOOTSTRAP), NULL, NULL);
    if (!two)
        return first;
    world_enter_block_1(w);
    struct bk_bundle *second = world_train(w, "ensemble_bootstrap", OPTIONS(BOOTSTRAP), first, NULL);
    bk_bundle_free(first);
    return second;
}

/* The classifier's first values are those of a slot "classifier.weight" drawn from N(0, 0.01^2); biases are 0. */
static void draw_classifier(struct plain *x)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *w;
    int32_t fc;
    BK_ASSERT_OK(bk_net_linear(&net, "classifier", BK_PART_CLASSIFIER, 0, x->n_classes, WIDTH, BK_INIT_NORMAL, 0.01, BK_INIT_ZERO,
                               0, &fc, &err));
    BK_ASSERT_OK(bk_weights_new(x->w->device, &net, BK_F64, &w, &err));
    BK_ASSERT_OK(bk_weights_init(w, x->w->env.seed, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(w, fc), x->fc, &err));
    bk_weights_free(w);
    bk_net_release(&net);
}

/* PyTorch's SGD: v = 0.9 v + g, w = w - lr v. */
static void move(double *w, double *v, double g, double lr)
{
    *v = 0.9 * *v + g;
    *w -= lr * *v;
}

static void step_classifier(struct plain *x, const struct bk_batch *b, const double *z, double lr)
{
    static double g[MAX_CLASSES * (WIDTH + 1)];
    memset(g, 0, sizeof g);
    for (int r = 0; r < b->n; r++) {
        double logits[MAX_CLASSES];
        logits_of(x, z + r * WIDTH, logits);
        double norm = log_sum_exp(logits, x->n_classes);
        for (int c = 0; c < x->n_classes; c++) {
            double d = (exp(logits[c] - norm) - (c == b->label[r])) / b->n;
            for (int i = 0; i < WIDTH; i++)
                g[c * WIDTH + i] += d * z[r * WIDTH + i];
            g[x->n_classes * WIDTH + c] += d;
        }
    }
    for (int i = 0; i < x->n_classes * WIDTH; i++)
        move(&x->fc[i], &x->speed[i], g[i], lr);
    for (int c = 0; c < x->n_classes; c++)
        move(&x->bias[c], &x->speed[x->n_classes * WIDTH + c], g[x->n_classes * WIDTH + c], lr);
}

/* Two epochs of 20 images by 6: eight steps. */
static void train_classifier(struct plain *x, const struct bk_path *path, uint32_t n)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment view = x->w->data.alone;          /* normalised as the evaluation view */
    memcpy(view.mean, x->w->data.plain.mean, sizeof view.mean);
    memcpy(view.std, x->w->data.plain.std, sizeof view.std);
    struct bk_loader *loader = open_loader(x, &x->w->data.train, &view, 6, true, false);
    for (int i = 0; i < 8; i++) {
        struct bk_batch b;
        struct bk_random random;
        double z[ROWS * WIDTH];
        bk_random_init(&random, x->w->env.seed, bk_random_stream("linear_eval path"), (uint64_t)i, (uint32_t)x->w->env.block);
        const struct bk_path *p = &path[bk_random_below(&random, n)];
        recalibrate(x, p);
        BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
        features(x, p, &b, BK_NORM_RUNNING, z);
        step_classifier(x, &b, z, 0.3 * (1 + cos(M_PI * i / 8)) / 2);
    }
    bk_loader_free(loader);
}

static void check_linear(enum kind kind, bool two)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    struct bk_siamese net;
    struct bk_path *path;
    size_t n;
    open_world(&w, kind);
    struct bk_bundle *trained = train_bootstrap(&w, two);
    struct plain x = { .w = &w, .n_classes = w.data.info.n_classes, .standardised = true };
    BK_ASSERT_OK(bk_siamese_open(&net, w.device, BK_F64, &w.space, w.env.block, trained, &err));
    x.weights = net.target;
    BK_ASSERT_OK(bk_tape_new(w.device, &x.tape, &err));
    bk_tape_set_recording(x.tape, false);
    BK_ASSERT_OK(bk_space_paths(&w.space, w.env.block, w.env.entry, &path, &n, &err));
    draw_classifier(&x);
    train_classifier(&x, path, (uint32_t)n);
    bk_free(path);
    check_table(&x, world_rate(&w, "linear_eval", trained, OPTIONS("calib_images=8", "batch=6", "epochs=2", "train_batch=6", "lr=0.3")), false);
    check_table(&x, world_rate(&w, "linear_eval", trained, OPTIONS("calib_images=8", "batch=6", "epochs=2", "train_batch=6", "lr=0.3", "score=error")), true);
    bk_tape_free(x.tape);
    bk_siamese_release(&net);
    bk_bundle_free(trained);
    world_close(&w);
}

static void test_linear(void)
{
    check_linear(NATS, false);
    check_linear(NATS, true);
    check_linear(MBCONV, false);
    check_linear(MBCONV, true);
}

/* ---- both ----------------------------------------------------------------------------------------------------------- */

static void test_twice_and_cancelled(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 14);
    struct bk_bundle *a = train_supervised(&w, false), *b = train_bootstrap(&w, false);
    world_rate_twice(&w, "supervised_acc", a, OPTIONS("calib_images=8", "batch=6"));
    world_rate_twice(&w, "linear_eval", b, OPTIONS("calib_images=8", "batch=6", "epochs=2", "train_batch=6"));
    world_check_cancel(&w, "supervised_acc", a, OPTIONS("calib_images=8", "batch=6"));
    world_check_cancel(&w, "linear_eval", b, OPTIONS("calib_images=8", "batch=6", "epochs=2", "train_batch=6"));
    bk_bundle_free(a);
    bk_bundle_free(b);
    world_close(&w);
}

static void test_memory(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 14);
    struct bk_bundle *a = train_supervised(&w, false), *b = train_bootstrap(&w, false);
    world_check_memory(&w, "supervised_acc", a, OPTIONS("calib_images=8", "batch=6", "score=error"));
    world_check_memory(&w, "linear_eval", b, OPTIONS("calib_images=8", "batch=6", "epochs=1", "train_batch=6"));
    world_check_memory(&w, "population_center", b, OPTIONS("calib_images=8", "batch=6"));
    bk_bundle_free(a);
    bk_bundle_free(b);
    world_close(&w);
}

static int refuse(struct world *w, const char *rater, const struct bk_bundle *trained)
{
    struct bk_block_table t;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, rater, NULL);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    return r->rate_block(i->state, &w->env, trained, &t, &w->f.err);
}

static void test_refusals(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 14);
    struct bk_bundle *a = train_supervised(&w, false), *b = train_bootstrap(&w, false);
    CU_ASSERT_EQUAL(refuse(&w, "supervised_acc", b), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.f.err.text, "'supervised' is wanted"));
    CU_ASSERT_EQUAL(refuse(&w, "linear_eval", a), BK_EDATA);
    CU_ASSERT_EQUAL(refuse(&w, "linear_eval", NULL), BK_EINVAL);
    CU_ASSERT_EQUAL(refuse(&w, "supervised_acc", NULL), BK_EINVAL);
    w.data.info.n_classes = 7;
    CU_ASSERT_EQUAL(refuse(&w, "supervised_acc", a), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.f.err.text, "10 classes"));
    bk_bundle_free(a);
    bk_bundle_free(b);
    world_close(&w);
}

BK_SUITE({ "supervised_acc, the definition", test_supervised }, { "linear_eval, the definition", test_linear },
         { "twice the same, and cancelled", test_twice_and_cancelled }, { "out of memory", test_memory }, { "refusals", test_refusals })

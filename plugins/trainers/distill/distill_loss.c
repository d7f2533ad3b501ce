/*
 * Rater "distill_loss" (Li et al., DNA, CVPR 2020; released code): a path is good when the block along it gives the
 * teacher's feature. With D = Y' - Y over all elements of a batch of validation images, averaged over batches by size:
 *
 *   loss       mean D^2
 *   rela_loss  mean D^2 / (var Y + 1e-9)             var and std are unbiased, over all elements of the batch
 *   sq_loss    sqrt(mean D^2) / var Y
 *   gr_loss    mean |D| / (mean |Y| + 1e-9)
 *   cl_loss    mean |D| / (std Y + 1e-9)             the published one: relative L1
 *
 * Batch norms of the teacher and of every path run on statistics of one batch of training images, augmented as in
 * training; for the student's, that batch's features come from the teacher with batch statistics.
 *
 * Not here: walking the paths (bosskit/traverse.h), what is compared (distilled.h).
 */
#include "distill.h"
#include "distilled.h"

#include <bosskit/traverse.h>

#include <math.h>
#include <string.h>

enum { STAT_LOSS = 1, STAT_RELA, STAT_SQ, STAT_GR, STAT_CL };

struct rater {
    int32_t statistic;
    int64_t calib_images, batch, n_images;
};

static const struct bk_choice statistics[] = { { "cl_loss", STAT_CL }, { "loss", STAT_LOSS }, { "rela_loss", STAT_RELA },
                                               { "sq_loss", STAT_SQ }, { "gr_loss", STAT_GR }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("statistic",    struct rater, statistic,    STAT_CL, statistics, "how student and teacher are compared; cl_loss: mean |D| / std of the teacher's feature"),
    BK_INT ("calib_images", struct rater, calib_images, 64, 2, 65536, "images", "training images that recalibrate batch norms"),
    BK_INT ("batch",        struct rater, batch,        64, 1, 65536, "images", "validation images at once"),
    BK_INT ("n_images",     struct rater, n_images,     0,  0, 4294967295., "images", "validation images, the first ones; 0: all (the release: 19 batches of 8 times 64)"),
    BK_OPT_END
};
/* clang-format on */

/* The teacher's side of one exit, for the current batch. */
struct target {
    double *v;
    int64_t n, cap;
    double variance, mean_abs;
    bool ready;
};

struct rating {
    const struct rater *options;
    const struct bk_env *env;
    struct distilled d;
    struct bk_tape *tape;
    struct bk_traverse *walk;
    struct bk_norm_store *teacher_norms;
    uint32_t teacher_mode;              /* enum bk_norm_mode */
    struct bk_tensor *x, *y;            /* the teacher's features of the current batch; x: images for block 0 */
    struct target target[DISTILLED_MAX_EXITS];
    double *output;                     /* the student's side */
    int64_t output_cap;
    int64_t batch_n;
};

/* ---- numbers --------------------------------------------------------------------------------------------- */

static int reserve(double **v, int64_t *cap, int64_t n, struct bk_error *err)
{
    if (n <= *cap)
        return BK_OK;
    double *p = bk_realloc(*v, (size_t)n * sizeof *p);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory for %lld values", (long long)n);
    *v = p;
    *cap = n;
    return BK_OK;
}

static void describe_target(struct target *t)
{
    double sum = 0, magnitude = 0, squares = 0;
    for (int64_t i = 0; i < t->n; i++) {
        sum += t->v[i];
        magnitude += fabs(t->v[i]);
    }
    double mean = sum / (double)t->n;
    for (int64_t i = 0; i < t->n; i++)
        squares += (t->v[i] - mean) * (t->v[i] - mean);
    t->variance = t->n > 1 ? squares / (double)(t->n - 1) : 0;
    t->mean_abs = magnitude / (double)t->n;
}

static double compare(int32_t statistic, const double *v, const struct target *t)
{
    double squares = 0, magnitude = 0, n = (double)t->n;
    for (int64_t i = 0; i < t->n; i++) {
        double d = v[i] - t->v[i];
        squares += d * d;
        magnitude += fabs(d);
    }
    switch (statistic) {
    case STAT_LOSS:
        return squares / n;
    case STAT_RELA:
        return squares / n / (t->variance + 1e-9);
    case STAT_SQ:
        return sqrt(squares / n) / t->variance;
    case STAT_GR:
        return magnitude / n / (t->mean_abs + 1e-9);
    default:
        return magnitude / n / (sqrt(t->variance) + 1e-9);
    }
}

/* ---- callbacks of the walk --------------------------------------------------------------------------------- */

static struct bk_forward teacher_forward(struct rating *r)
{
    return (struct bk_forward){ .tape = r->tape,
                                .weights = r->d.teacher.weights,
                                .dtype = r->env->dtype,
                                .norm_mode = r->teacher_mode,
                                .norm_momentum = r->teacher_mode == BK_NORM_BATCH ? 1 : 0,
                                .norm_eps = 1e-5,
                                .store = r->teacher_norms };
}

static int run_teacher(struct rating *r, struct bk_tensor *images, struct bk_error *err)
{
    struct bk_forward f = teacher_forward(r);
    BK_TRY(distilled_features(&r->d, &f, images, &r->x, &r->y, err));
    if (!r->x)
        r->x = images;
    return BK_OK;
}

/* Shapes are probed with black images before there is a feature. */
static int input(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    struct rating *r = user;
    bool probing = !r->x;
    if (probing)
        BK_TRY(run_teacher(r, images, err));
    int rc = distilled_input(&r->d, f, r->x, x, err);
    if (probing)
        r->x = NULL;
    return rc;
}

static int target_of(struct rating *r, const struct distilled_exit *e, struct target **out, struct bk_error *err)
{
    struct target *t = &r->target[e - r->d.exit];
    struct bk_tensor *y;
    *out = t;
    if (t->ready)
        return BK_OK;
    BK_TRY(distilled_target(&r->d, r->tape, e, r->y, &y, err));
    t->n = bk_tensor_numel(y);
    BK_TRY(reserve(&t->v, &t->cap, t->n, err));
    BK_TRY(bk_tensor_read_f64(y, t->v, err));
    describe_target(t);
    t->ready = true;
    return BK_OK;
}

static int rate_leaf(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                     struct bk_error *err)
{
    struct rating *r = user;
    const struct distilled_exit *e = distilled_exit_of(&r->d, leaf->path);
    struct target *t;
    BK_TRY(target_of(r, e, &t, err));
    BK_TRY(distilled_output(&r->d, f, e, x, &x, err));
    BK_TRY(reserve(&r->output, &r->output_cap, t->n, err));
    BK_TRY(bk_tensor_read_f64(x, r->output, err));
    return bk_traverse_score(r->walk, leaf->number, compare(r->options->statistic, r->output, t), (double)r->batch_n, err);
}

/* ---- passes over images -------------------------------------------------------------------------------------- */

static int calibrate(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct rating *r = user;
    (void)batch;
    r->teacher_mode = BK_NORM_BATCH;
    BK_TRY(run_teacher(r, image[0], err));
    return bk_traverse_calibrate(r->walk, image[0], 1, NULL, NULL, err);
}

static int rate_batch(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct rating *r = user;
    r->teacher_mode = BK_NORM_RUNNING;
    r->batch_n = batch->n;
    for (int i = 0; i < DISTILLED_MAX_EXITS; i++)
        r->target[i].ready = false;
    BK_TRY(run_teacher(r, image[0], err));
    return bk_traverse_run(r->walk, 0, image[0], rate_leaf, r, err);
}

static int run_passes(struct rating *r, struct bk_error *err)
{
    const struct bk_data *data = r->env->data;
    struct bk_pass pass = { .env = r->env,
                            .tape = r->tape,
                            .split = &data->train,
                            .batch = (int32_t)r->options->calib_images,
                            .n_views = 1,
                            .shuffle = true,
                            .max_batches = 1 };
    BK_TRY(distilled_view(&r->d, data, &pass.view[0], err));
    BK_TRY(bk_pass_run(&pass, calibrate, r, err));
    pass.split = &data->val;
    pass.batch = (int32_t)r->options->batch;
    pass.view[0] = data->plain;
    /* Both networks have learned on images normalised as for stand-alone training. */
    memcpy(pass.view[0].mean, data->alone.mean, sizeof data->alone.mean);
    memcpy(pass.view[0].std, data->alone.std, sizeof data->alone.std);
    pass.shuffle = false;
    pass.max_batches = 0;
    pass.limit = (uint32_t)r->options->n_images;
    pass.unit = "batches";
    return bk_pass_run(&pass, rate_batch, r, err);
}

/* ---- rate_block ------------------------------------------------------------------------------------------------ */

static int open_walk(struct rating *r, struct bk_error *err)
{
    const struct bk_env *env = r->env;
    BK_TRY(bk_tape_new(env->device, &r->tape, err));
    bk_tape_set_recording(r->tape, false);
    BK_TRY(bk_norm_store_new(env->device, &r->teacher_norms, err));
    r->teacher_mode = BK_NORM_BATCH;
    struct bk_traverse_config c = { .env = env,
                                    .tape = r->tape,
                                    .net = { r->d.student },
                                    .n_nets = 1,
                                    .side = env->data->alone.size,
                                    .input = input,
                                    .user = r };
    return bk_traverse_new(&c, &r->walk, err);
}

static int run(struct rating *r, const struct bk_bundle *trained, struct bk_block_table *out, struct bk_error *err)
{
    const struct bk_data *data = r->env->data;
    if (data->plain.size != data->alone.size)
        return bk_fail(err, BK_EINVAL, "images of %d pixels in training and of %d in rating do not fit one teacher",
                       (int)data->alone.size, (int)data->plain.size);
    BK_TRY(distilled_open_trained(&r->d, r->env, trained, err));
    BK_TRY(open_walk(r, err));
    BK_TRY(run_passes(r, err));
    return bk_traverse_table(r->walk, out, err);
}

static void release(struct rating *r)
{
    for (int i = 0; i < DISTILLED_MAX_EXITS; i++)
        bk_free(r->target[i].v);
    bk_free(r->output);
    bk_traverse_free(r->walk);
    bk_norm_store_free(r->teacher_norms);
    bk_tape_free(r->tape);
    distilled_release(&r->d);
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained, struct bk_block_table *out,
                      struct bk_error *err)
{
    if (!trained || !env->data)
        return bk_fail(err, BK_EINVAL, "rating by distillation needs a trained block and data");
    struct rating *r = bk_zalloc(sizeof *r);
    if (!r)
        return bk_fail(err, BK_ENOMEM, "out of memory for a rating");
    r->options = state;
    r->env = env;
    int rc = run(r, trained, out, err);
    release(r);
    bk_free(r);
    return rc;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS | BK_RATER_NEEDS_TRAINED | BK_RATER_NEEDS_DATA,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
    .takes = "distill",
};

const struct bk_plugin distill_loss_plugin = {
    .struct_size = sizeof distill_loss_plugin,
    .kind = BK_KIND_RATER,
    .name = "distill_loss",
    .version = "1.0.0",
    .summary = "how far each path's output is from the teacher's feature (DNA)",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct rater),
    .iface = &iface,
};

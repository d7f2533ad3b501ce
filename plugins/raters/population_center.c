/*
 * Rater "population_center" (Li et al., BossNAS, ICCV 2021; the released code): a path is good when the online
 * network's prediction along it is near the mean projection of all paths of the block in the target network,
 *
 *   R_p = H(q(z_p(x1)), c(x2)) + H(q(z_p(x2)), c(x1)),   c(v) = 1/|A| sum_p t_p(v),   H = mean of -2 cos;   lower is better.
 *
 * Batch norms run on statistics recalibrated for every path with one batch of training images; paths share prefixes
 * (<bosskit/traverse.h>). A validation batch is walked through the target network first, so its centres are complete
 * when the online network is walked, and no projections are kept. Batches weigh the same, also a short last one.
 *
 * Both networks are fed by the target network's prefix. The views of an image are fixed, so two ratings agree.
 *
 * Not here: sorting, files, search.
 */
#include <bosskit/traverse.h>

#include <string.h>

enum { PREDICTOR_CALIBRATED = 1, PREDICTOR_IDENTITY = 2 };
enum { CALIB_BOTH = 1, CALIB_LAST = 2, CALIB_FIRST = 3 };
enum { TARGET = 0, ONLINE = 1 };

struct rater {
    int32_t predictor_bn, bn_calib_views;
    bool centre_normalise;
    int64_t calib_images, batch, n_images;
};

static const struct bk_choice predictor_bns[] = { { "calibrated", PREDICTOR_CALIBRATED },
                                                  { "identity", PREDICTOR_IDENTITY },
                                                  { NULL, 0 } };
static const struct bk_choice calib_views[] = { { "both", CALIB_BOTH }, { "last", CALIB_LAST }, { "first", CALIB_FIRST }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("predictor_bn",     struct rater, predictor_bn,     PREDICTOR_CALIBRATED, predictor_bns, "recalibrate the predictor's norm for every path, or mean 0 and variance 1 (release)"),
    BK_ENUM("bn_calib_views",   struct rater, bn_calib_views,   CALIB_BOTH, calib_views, "statistics averaged over both views, or of the second one (release on CIFAR), or of the first one (release on ImageNet, whose two calibration views both come from pipeline 1)"),
    BK_BOOL("centre_normalise", struct rater, centre_normalise, false, "normalise projections before averaging them into the centre (as in training)"),
    BK_INT ("calib_images",     struct rater, calib_images,     256, 2, 65536, "images", "training images that recalibrate batch norms"),
    BK_INT ("batch",            struct rater, batch,            256, 1, 65536, "images", "validation images at once; each batch weighs the same"),
    BK_INT ("n_images",         struct rater, n_images,         0,   0, 4294967295., "images", "validation images, the first ones; 0: all"),
    BK_OPT_END
};
/* clang-format on */

struct rating {
    const struct rater *options;
    const struct bk_env *env;
    struct bk_siamese net;
    struct bk_tape *tape;
    struct bk_traverse *paths;
    struct bk_tensor **loss;                    /* R_p of the current batch, scalars on the device */
    struct bk_tensor *centre[2];                /* of the current batch, by view, on the tape */
    int view;                                   /* in the current walk */
};

/* ---- at the end of a path ---------------------------------------------------------------------------- */

static int calibrate_heads(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                           struct bk_error *err)
{
    struct rating *r = user;
    struct bk_tensor *z, *u;
    BK_TRY(bk_siamese_project(&r->net, f, leaf->path, x, &z, err));
    if (leaf->net == TARGET || r->options->predictor_bn == PREDICTOR_IDENTITY)
        return BK_OK;
    return bk_siamese_predict(&r->net, f, z, &u, err);
}

/* Target network: add projections to the centre of the view. */
static int add_to_centre(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                         struct bk_error *err)
{
    struct rating *r = user;
    struct bk_tensor *z, *u;
    BK_TRY(bk_siamese_project(&r->net, f, leaf->path, x, &z, err));
    if (r->options->centre_normalise)
        BK_TRY(bk_unit(r->tape, z, &u, err));
    else
        BK_TRY(bk_cast(r->tape, z, bk_dtype_accum(r->env->dtype), &u, err));
    return bk_blend(r->centre[r->view], 1, u, 1. / bk_traverse_count(r->paths), err);
}

/* Online network: losses against the centre of the other view. */
static int add_loss(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                    struct bk_error *err)
{
    struct rating *r = user;
    struct bk_tensor *z, *u, *loss;
    BK_TRY(bk_siamese_project(&r->net, f, leaf->path, x, &z, err));
    if (r->options->predictor_bn == PREDICTOR_IDENTITY)
        f->store = NULL;                /* the weight set's statistics: see reset_predictor() */
    BK_TRY(bk_siamese_predict(&r->net, f, z, &u, err));
    BK_TRY(bk_cosine_loss(r->tape, u, r->centre[1 - r->view], &loss, err));
    return bk_blend(r->loss[leaf->number], 1, loss, 1, err);
}

/* ---- batches ----------------------------------------------------------------------------------------- */

static int run_prefix(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x,
                      struct bk_error *err)
{
    struct rating *r = user;
    return bk_siamese_prefix(&r->net, f, r->env->prefix, images, x, err);
}

/* One view after the other; the first replaces, the second is averaged in or replaces it. */
static int calibrate(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct rating *r = user;
    (void)batch;
    BK_TRY(bk_traverse_calibrate(r->paths, image[0], 1, calibrate_heads, r, err));
    if (r->options->bn_calib_views == CALIB_FIRST)
        return BK_OK;
    return bk_traverse_calibrate(r->paths, image[1], r->options->bn_calib_views == CALIB_BOTH ? 0.5 : 1, calibrate_heads,
                                 r, err);
}

static int rate_batch(void *user, const struct bk_batch *batch, struct bk_tensor *const *image, struct bk_error *err)
{
    struct rating *r = user;
    int64_t dim[2] = { batch->n, r->net.out };
    int32_t n = bk_traverse_count(r->paths);
    for (int v = 0; v < 2; v++) {
        BK_TRY(bk_tape_tensor(r->tape, bk_dtype_accum(r->env->dtype), 2, dim, &r->centre[v], err));
        BK_TRY(bk_tensor_zero(r->centre[v], err));
    }
    for (int32_t p = 0; p < n; p++)
        BK_TRY(bk_tensor_zero(r->loss[p], err));
    for (r->view = 0; r->view < 2; r->view++)
        BK_TRY(bk_traverse_run(r->paths, TARGET, image[r->view], add_to_centre, r, err));
    for (r->view = 0; r->view < 2; r->view++)
        BK_TRY(bk_traverse_run(r->paths, ONLINE, image[r->view], add_loss, r, err));
    for (int32_t p = 0; p < n; p++) {
        double value;
        BK_TRY(bk_tensor_read_f64(r->loss[p], &value, err));
        BK_TRY(bk_traverse_score(r->paths, p, value, 1, err));
    }
    return BK_OK;
}

static struct bk_pass pass_over(const struct rating *r, const struct bk_split *split, int64_t batch)
{
    const struct bk_data *data = r->env->data;
    return (struct bk_pass){ .env = r->env,
                             .tape = r->tape,
                             .split = split,
                             .batch = (int32_t)batch,
                             .n_views = 2,
                             .view = { data->view1, data->view2 } };
}

/* Statistics from the first batch of the training split's first permutation, then all validation batches. */
static int run_passes(struct rating *r, struct bk_error *err)
{
    struct bk_pass calibration = pass_over(r, &r->env->data->train, r->options->calib_images);
    struct bk_pass rating = pass_over(r, &r->env->data->val, r->options->batch);
    calibration.shuffle = true;
    calibration.max_batches = 1;
    rating.limit = (uint32_t)r->options->n_images;
    rating.unit = "batches";
    BK_TRY(bk_pass_run(&calibration, calibrate, r, err));
    return bk_pass_run(&rating, rate_batch, r, err);
}

/* ---- rate_block ------------------------------------------------------------------------------------- */

/* The release never recalibrates the predictor, whose norm is left at mean 0, variance 1. */
static int reset_predictor(struct rating *r, struct bk_error *err)
{
    int32_t norm = r->net.predictor[1];
    struct bk_tensor *mean = bk_weights_get(r->net.online, norm + 2), *var = bk_weights_get(r->net.online, norm + 3);
    float *one = bk_alloc((size_t)bk_tensor_numel(var) * sizeof *one);
    if (!one)
        return bk_fail(err, BK_ENOMEM, "out of memory for the predictor's statistics");
    for (int64_t i = 0; i < bk_tensor_numel(var); i++)
        one[i] = 1;
    int rc = bk_tensor_write_f32(var, one, err);
    if (!rc)
        rc = bk_tensor_zero(mean, err);
    bk_weights_changed(r->net.online);
    bk_free(one);
    return rc;
}

static int make_losses(struct rating *r, struct bk_error *err)
{
    int32_t n = bk_traverse_count(r->paths);
    r->loss = bk_zalloc((size_t)n * sizeof(struct bk_tensor *));
    if (!r->loss)
        return bk_fail(err, BK_ENOMEM, "out of memory for %d paths", (int)n);
    for (int32_t p = 0; p < n; p++)
        BK_TRY(bk_tensor_new(r->env->device, bk_dtype_accum(r->env->dtype), 0, NULL, &r->loss[p], err));
    return BK_OK;
}

static void release(struct rating *r)
{
    for (int32_t p = 0; r->loss && p < bk_traverse_count(r->paths); p++)
        bk_tensor_free(r->loss[p]);
    bk_free(r->loss);
    bk_traverse_free(r->paths);
    bk_tape_free(r->tape);
    bk_siamese_release(&r->net);
}

/* Rate all paths of the block, or the n_only in `only` with a centre of their own. */
static int run(struct rating *r, const struct bk_bundle *trained, const struct bk_path *only, size_t n_only,
               struct bk_error *err)
{
    const struct bk_env *env = r->env;
    if (!trained || !env->data)
        return bk_fail(err, BK_EINVAL, "the population centre needs a trained block and data");
    BK_TRY(bk_siamese_open(&r->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block, trained, err));
    BK_TRY(reset_predictor(r, err));
    BK_TRY(bk_tape_new(env->device, &r->tape, err));
    struct bk_traverse_config c = { .env = env,
                                    .tape = r->tape,
                                    .net = { [TARGET] = r->net.target, [ONLINE] = r->net.online },
                                    .n_nets = 2,
                                    .side = env->data->view1.size,
                                    .input = env->block ? run_prefix : NULL,
                                    .user = r,
                                    .only = only,
                                    .n_only = n_only };
    bk_tape_set_recording(r->tape, false);
    BK_TRY(bk_traverse_new(&c, &r->paths, err));
    BK_TRY(make_losses(r, err));
    return run_passes(r, err);
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err)
{
    struct rating r = { .options = state, .env = env };
    int rc = run(&r, trained, NULL, 0, err);
    if (!rc)
        rc = bk_traverse_table(r.paths, out, err);
    release(&r);
    return rc;
}

static int rate_paths(void *state, const struct bk_env *env, const struct bk_bundle *trained, const struct bk_path *path,
                      size_t n, double *score, struct bk_error *err)
{
    struct rating r = { .options = state, .env = env };
    struct bk_block_table table = { 0 };
    int rc = n ? run(&r, trained, path, n, err) : BK_OK;
    if (!rc && n)
        rc = bk_traverse_table(r.paths, &table, err);
    for (size_t i = 0; !rc && i < n; i++) {
        size_t j = 0;
        while (!bk_path_equal(&table.path[j], &path[i]))        /* all are there: bk_traverse_new() has checked */
            j++;
        score[i] = table.score[j];
    }
    bk_block_table_release(&table);
    release(&r);
    return rc;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS | BK_RATER_NEEDS_TRAINED | BK_RATER_NEEDS_DATA,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
    .rate_paths = rate_paths,
    .takes = "siamese",
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_RATER,
    .name = "population_center",
    .version = "1.0.0",
    .summary = "distance of each path's prediction from the mean projection of all paths (BossNAS)",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct rater),
    .iface = &iface,
};

BK_MODULE(&plugin);

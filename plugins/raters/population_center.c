/*
 * Rater "population_center" (Li et al., BossNAS, ICCV 2021; the released code): a path is good when the online
 * network's prediction along it is near the mean projection of all paths of the block in the target network,
 *
 *   R_p = H(q(z_p(x1)), c(x2)) + H(q(z_p(x2)), c(x1)),   c(v) = 1/|A| sum_p t_p(v),   H = mean of -2 cos;   lower is better.
 *
 * Batch norms run on statistics recalibrated for every path with one batch of training images. Paths share prefixes:
 * the tree of choices is walked once for both networks and each view, and the statistics of a layer belong to its node
 * of the tree. A validation batch is walked through the target network first, so its centres are complete when the
 * online network is walked, and no projections are kept. Batches weigh the same, also a short last one.
 *
 * Both networks are fed by the target network's prefix. The views of an image are fixed, so two ratings agree.
 *
 * Not here: sorting, files, search.
 */
#include <bosskit/method.h>

#include <math.h>
#include <string.h>

enum { PREDICTOR_CALIBRATED = 1, PREDICTOR_IDENTITY = 2 };
enum { CALIB_BOTH = 1, CALIB_LAST = 2 };
enum { TARGET = 0, ONLINE = 1 };

struct rater {
    int32_t predictor_bn, bn_calib_views;
    bool centre_normalise;
    int64_t calib_images, batch, n_images;
    const struct bk_host *host;
};

static const struct bk_choice predictor_bns[] = { { "calibrated", PREDICTOR_CALIBRATED },
                                                  { "identity", PREDICTOR_IDENTITY },
                                                  { NULL, 0 } };
static const struct bk_choice calib_views[] = { { "both", CALIB_BOTH }, { "last", CALIB_LAST }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("predictor_bn",     struct rater, predictor_bn,     PREDICTOR_CALIBRATED, predictor_bns, "recalibrate the predictor's norm for every path, or mean 0 and variance 1 (release)"),
    BK_ENUM("bn_calib_views",   struct rater, bn_calib_views,   CALIB_BOTH, calib_views, "statistics averaged over both views, or of the last one (release)"),
    BK_BOOL("centre_normalise", struct rater, centre_normalise, false, "normalise projections before averaging them into the centre (as in training)"),
    BK_INT ("calib_images",     struct rater, calib_images,     256, 2, 65536, "images", "training images that recalibrate batch norms"),
    BK_INT ("batch",            struct rater, batch,            256, 1, 65536, "images", "validation images at once; each batch weighs the same"),
    BK_INT ("n_images",         struct rater, n_images,         0,   0, 4294967295., "images", "validation images, the first ones; 0: all"),
    BK_OPT_END
};
/* clang-format on */

/* ---- the tree of choices ------------------------------------------------------------------------- */

/* A node is a path of one layer or more; node 0, the root, is the empty path. Children follow their parent. */
struct node {
    struct bk_path path;
    int32_t first_child, n_children;            /* children are consecutive */
    int32_t leaf;                               /* number of the complete path; -1: not complete */
    int64_t dim[3];                             /* H, W, C of the output */
    struct bk_norm_store *layer[2], *head[2];   /* statistics of the last layer, and of adapter, projector, predictor */
};

struct rating {
    const struct rater *options;
    const struct bk_env *env;
    struct bk_siamese net;
    struct bk_tape *tape;
    struct node *node;
    int32_t n_nodes, cap_nodes, n_leaves;
    struct bk_norm_store *prefix;
    int64_t prefix_dim[3];
    struct bk_tensor **loss;                    /* R_p of the current batch, scalars on the device */
    double *sum;                                /* over batches */
    struct bk_tensor *image[2], *centre[2];     /* of the current batch, on the tape */
    struct bk_error *err;
};

static int add_node(struct rating *r, const struct bk_path *path)
{
    if (r->n_nodes == r->cap_nodes) {
        int32_t cap = r->cap_nodes ? 2 * r->cap_nodes : 64;
        struct node *p = bk_realloc(r->node, (size_t)cap * sizeof *p);
        if (!p)
            return bk_fail(r->err, BK_ENOMEM, "out of memory for %d paths", (int)cap);
        r->node = p;
        r->cap_nodes = cap;
    }
    struct node *n = &r->node[r->n_nodes++];
    memset(n, 0, sizeof *n);
    n->path = *path;
    n->leaf = -1;
    return BK_OK;
}

static int grow(struct rating *r, int32_t at)
{
    const struct bk_space *s = r->env->space;
    struct bk_path path = r->node[at].path;
    uint8_t choice[BK_MAX_CHOICES];
    int32_t n = 0, first = r->n_nodes;
    int rc = s->iface->choices(s->state, r->env->block, r->env->entry, &path, choice, &n);
    if (rc)
        return bk_fail(r->err, rc, "space '%s' has no choices for block %d", s->name, (int)r->env->block);
    if (n == 0)
        r->node[at].leaf = r->n_leaves++;
    r->node[at].first_child = first;
    r->node[at].n_children = n;
    path.n++;
    for (int32_t i = 0; i < n; i++) {
        path.op[path.n - 1] = choice[i];
        BK_TRY(add_node(r, &path));
    }
    for (int32_t i = 0; i < n; i++)
        BK_TRY(grow(r, first + i));
    return BK_OK;
}

static int make_stores(struct rating *r)
{
    struct bk_device *d = r->env->device;
    BK_TRY(bk_norm_store_new(d, &r->prefix, r->err));
    for (int32_t i = 1; i < r->n_nodes; i++)
        for (int w = 0; w < 2; w++) {
            BK_TRY(bk_norm_store_new(d, &r->node[i].layer[w], r->err));
            if (r->node[i].leaf >= 0)
                BK_TRY(bk_norm_store_new(d, &r->node[i].head[w], r->err));
        }
    return BK_OK;
}

/* ---- walking it ------------------------------------------------------------------------------------ */

enum purpose {
    PROBE,          /* learn the shapes of all outputs, from two black images */
    CALIBRATE,      /* collect statistics */
    CENTRE,         /* target network: add projections to the centre of the view */
    RATE,           /* online network: losses against the centre of the other view */
};

struct walk {
    struct rating *r;
    enum purpose purpose;
    int which, view;            /* network; view */
    struct bk_forward f;
};

static int visit_leaf(struct walk *w, struct node *n, struct bk_tensor *x)
{
    struct rating *r = w->r;
    struct bk_tensor *z, *u, *loss;
    bool identity = r->options->predictor_bn == PREDICTOR_IDENTITY;

    w->f.store = n->head[w->which];
    BK_TRY(bk_siamese_project(&r->net, &w->f, &n->path, x, &z, r->err));
    switch (w->purpose) {
    case CALIBRATE:
        return w->which == ONLINE && !identity ? bk_siamese_predict(&r->net, &w->f, z, &u, r->err) : BK_OK;
    case CENTRE:
        if (r->options->centre_normalise)
            BK_TRY(bk_unit(r->tape, z, &u, r->err));
        else
            BK_TRY(bk_cast(r->tape, z, bk_dtype_accum(r->env->dtype), &u, r->err));
        return bk_blend(r->centre[w->view], 1, u, 1. / r->n_leaves, r->err);
    case RATE:
        if (identity)
            w->f.store = NULL;          /* the weight set's statistics: see reset_predictor() */
        BK_TRY(bk_siamese_predict(&r->net, &w->f, z, &u, r->err));
        BK_TRY(bk_cosine_loss(r->tape, u, r->centre[1 - w->view], &loss, r->err));
        return bk_blend(r->loss[n->leaf], 1, loss, 1, r->err);
    case PROBE:
        break;
    }
    return BK_OK;
}

/* One layer; only its output stays on the tape. */
static int run_layer(struct walk *w, struct node *n, struct bk_tensor *x, struct bk_tensor **y)
{
    struct rating *r = w->r;
    const struct bk_env *env = r->env;
    struct bk_tensor *out;
    int64_t dim[4] = { x->dim[0], n->dim[0], n->dim[1], n->dim[2] };

    w->f.store = n->layer[w->which];
    if (w->purpose == PROBE) {
        BK_TRY(env->space->iface->layer(env->space->state, &w->f, env->block, env->entry, &n->path, x, y, r->err));
        if ((*y)->rank != 4)
            return bk_fail(r->err, BK_ESHAPE, "layer %d of block %d gives no [N,H,W,C]", n->path.n - 1, (int)env->block);
        memcpy(n->dim, (*y)->dim + 1, sizeof n->dim);
        return BK_OK;
    }
    BK_TRY(bk_tape_tensor(r->tape, env->dtype, 4, dim, y, r->err));
    struct bk_tape_mark mark = bk_tape_mark(r->tape);
    BK_TRY(env->space->iface->layer(env->space->state, &w->f, env->block, env->entry, &n->path, x, &out, r->err));
    BK_TRY(bk_tensor_copy(*y, out, r->err));
    bk_tape_rewind(r->tape, mark);
    return BK_OK;
}

static int walk_children(struct walk *w, int32_t at, struct bk_tensor *x)
{
    struct rating *r = w->r;
    for (int32_t i = 0; i < r->node[at].n_children; i++) {
        int32_t child = r->node[at].first_child + i;
        struct bk_tape_mark mark = bk_tape_mark(r->tape);
        struct bk_tensor *y;
        BK_TRY(run_layer(w, &r->node[child], x, &y));
        if (r->node[child].leaf >= 0 && w->purpose != PROBE)
            BK_TRY(visit_leaf(w, &r->node[child], y));
        BK_TRY(walk_children(w, child, y));
        bk_tape_rewind(r->tape, mark);
    }
    return BK_OK;
}

/* Input of the block for one view; the target's prefix in every case. */
static int run_prefix(struct walk *w, struct bk_tensor *image, struct bk_tensor **x)
{
    struct rating *r = w->r;
    struct bk_forward f = w->f;
    struct bk_tensor *y;
    int64_t dim[4] = { image->dim[0], r->prefix_dim[0], r->prefix_dim[1], r->prefix_dim[2] };

    *x = image;
    if (r->env->block == 0)
        return BK_OK;
    f.weights = r->net.target;
    f.store = r->prefix;
    if (w->purpose == PROBE) {
        BK_TRY(bk_siamese_prefix(&r->net, &f, r->env->prefix, image, x, r->err));
        memcpy(r->prefix_dim, (*x)->dim + 1, sizeof r->prefix_dim);
        return BK_OK;
    }
    BK_TRY(bk_tape_tensor(r->tape, r->env->dtype, 4, dim, x, r->err));
    struct bk_tape_mark mark = bk_tape_mark(r->tape);
    BK_TRY(bk_siamese_prefix(&r->net, &f, r->env->prefix, image, &y, r->err));
    BK_TRY(bk_tensor_copy(*x, y, r->err));
    bk_tape_rewind(r->tape, mark);
    return BK_OK;
}

/* Walk one view through both networks (`first`..`last`). Statistics: the first view replaces, the second is averaged in. */
static int walk_view(struct rating *r, enum purpose purpose, int view, int first, int last, struct bk_tensor *image)
{
    bool batch = purpose == PROBE || purpose == CALIBRATE;
    bool average = view == 1 && r->options->bn_calib_views == CALIB_BOTH;
    struct walk w = { .r = r, .purpose = purpose, .view = view };
    struct bk_tape_mark mark = bk_tape_mark(r->tape);
    struct bk_tensor *x;

    w.f = (struct bk_forward){ .tape = r->tape,
                               .weights = r->net.target,
                               .dtype = r->env->dtype,
                               .norm_mode = batch ? BK_NORM_BATCH : BK_NORM_RUNNING,
                               .norm_momentum = purpose == PROBE ? 0 : average ? 0.5 : 1,
                               .norm_eps = 1e-5 };
    BK_TRY(run_prefix(&w, image, &x));
    for (w.which = first; w.which <= last; w.which++) {
        w.f.weights = w.which == ONLINE ? r->net.online : r->net.target;
        BK_TRY(walk_children(&w, 0, x));
    }
    bk_tape_rewind(r->tape, mark);
    return BK_OK;
}

/* ---- batches --------------------------------------------------------------------------------------- */

static int upload(struct rating *r, const struct bk_batch *batch)
{
    int64_t side = r->env->data->view1.size, dim[4] = { batch->n, side, side, 3 };
    bk_tape_reset(r->tape);
    for (int v = 0; v < 2; v++) {
        BK_TRY(bk_tape_tensor(r->tape, r->env->dtype, 4, dim, &r->image[v], r->err));
        BK_TRY(bk_tensor_write_f32(r->image[v], batch->view[v], r->err));
    }
    return BK_OK;
}

static int open_loader(struct rating *r, const struct bk_split *split, int64_t batch, bool calibration,
                       struct bk_loader **out)
{
    const struct bk_data *data = r->env->data;
    struct bk_loader_config c = { .split = split,
                                  .batch = (int32_t)batch,
                                  .n_views = 2,
                                  .view = { data->view1, data->view2 },
                                  .seed = r->env->seed,
                                  .shuffle = calibration,
                                  .fixed_views = true,
                                  .threads = data->threads,
                                  .limit = calibration ? 0 : (uint32_t)r->options->n_images };
    if (data->view1.size != data->view2.size)
        return bk_fail(r->err, BK_EINVAL, "views of %d and %d pixels cannot be compared", (int)data->view1.size,
                       (int)data->view2.size);
    return bk_loader_new(&c, out, r->err);
}

static int probe(struct rating *r)
{
    int64_t side = r->env->data->view1.size, dim[4] = { 2, side, side, 3 };
    BK_TRY(bk_tape_tensor(r->tape, r->env->dtype, 4, dim, &r->image[0], r->err));
    BK_TRY(bk_tensor_zero(r->image[0], r->err));
    return walk_view(r, PROBE, 0, TARGET, TARGET, r->image[0]);
}

/* The first batch of the training split's first permutation, one view after the other. */
static int calibrate(struct rating *r)
{
    struct bk_loader *loader;
    struct bk_batch batch;
    BK_TRY(open_loader(r, &r->env->data->train, r->options->calib_images, true, &loader));
    int rc = bk_loader_next(loader, &batch, r->err);
    if (!rc)
        rc = upload(r, &batch);
    for (int v = 0; v < 2 && !rc; v++)
        rc = walk_view(r, CALIBRATE, v, TARGET, ONLINE, r->image[v]);
    bk_loader_free(loader);
    return rc;
}

static int rate_batch(struct rating *r, const struct bk_batch *batch)
{
    int64_t dim[2] = { batch->n, r->net.out };
    BK_TRY(upload(r, batch));
    for (int v = 0; v < 2; v++) {
        BK_TRY(bk_tape_tensor(r->tape, bk_dtype_accum(r->env->dtype), 2, dim, &r->centre[v], r->err));
        BK_TRY(bk_tensor_zero(r->centre[v], r->err));
    }
    for (int32_t p = 0; p < r->n_leaves; p++)
        BK_TRY(bk_tensor_zero(r->loss[p], r->err));
    for (int v = 0; v < 2; v++)
        BK_TRY(walk_view(r, CENTRE, v, TARGET, TARGET, r->image[v]));
    for (int v = 0; v < 2; v++)
        BK_TRY(walk_view(r, RATE, v, ONLINE, ONLINE, r->image[v]));
    for (int32_t p = 0; p < r->n_leaves; p++) {
        double value;
        BK_TRY(bk_tensor_read_f64(r->loss[p], &value, r->err));
        r->sum[p] += value;
    }
    return BK_OK;
}

static int rate_all(struct rating *r, int32_t *n_batches)
{
    const struct bk_host *host = r->options->host;
    struct bk_loader *loader;
    BK_TRY(open_loader(r, &r->env->data->val, r->options->batch, false, &loader));
    *n_batches = bk_loader_batches(loader);
    int rc = *n_batches > 0 ? BK_OK : bk_fail(r->err, BK_EDATA, "there are no validation images");
    for (int32_t b = 0; b < *n_batches && !rc; b++) {
        struct bk_batch batch;
        if (host->cancelled(host->ctx)) {
            rc = bk_fail(r->err, BK_EINTERRUPTED, "rating of block %d interrupted", (int)r->env->block);
            break;
        }
        rc = bk_loader_next(loader, &batch, r->err);
        if (!rc)
            rc = rate_batch(r, &batch);
        host->progress(host->ctx, b + 1, *n_batches, "batches", NULL);
    }
    bk_loader_free(loader);
    return rc;
}

/* ---- rate_block ------------------------------------------------------------------------------------- */

/* The release never recalibrates the predictor, whose norm is left at mean 0, variance 1. */
static int reset_predictor(struct rating *r)
{
    int32_t norm = r->net.predictor[1];
    struct bk_tensor *mean = bk_weights_get(r->net.online, norm + 2), *var = bk_weights_get(r->net.online, norm + 3);
    float *one = bk_alloc((size_t)bk_tensor_numel(var) * sizeof *one);
    if (!one)
        return bk_fail(r->err, BK_ENOMEM, "out of memory for the predictor's statistics");
    for (int64_t i = 0; i < bk_tensor_numel(var); i++)
        one[i] = 1;
    int rc = bk_tensor_write_f32(var, one, r->err);
    if (!rc)
        rc = bk_tensor_zero(mean, r->err);
    bk_weights_changed(r->net.online);
    bk_free(one);
    return rc;
}

static int make_sums(struct rating *r)
{
    r->loss = bk_zalloc((size_t)r->n_leaves * sizeof(struct bk_tensor *));
    r->sum = bk_zalloc((size_t)r->n_leaves * sizeof *r->sum);
    if (!r->loss || !r->sum)
        return bk_fail(r->err, BK_ENOMEM, "out of memory for %d paths", (int)r->n_leaves);
    for (int32_t p = 0; p < r->n_leaves; p++)
        BK_TRY(bk_tensor_new(r->env->device, bk_dtype_accum(r->env->dtype), 0, NULL, &r->loss[p], r->err));
    return BK_OK;
}

static void release(struct rating *r)
{
    for (int32_t p = 0; r->loss && p < r->n_leaves; p++)
        bk_tensor_free(r->loss[p]);
    for (int32_t i = 0; i < r->n_nodes; i++)
        for (int w = 0; w < 2; w++) {
            bk_norm_store_free(r->node[i].layer[w]);
            bk_norm_store_free(r->node[i].head[w]);
        }
    bk_norm_store_free(r->prefix);
    bk_free(r->node);
    bk_free(r->loss);
    bk_free(r->sum);
    bk_tape_free(r->tape);
    bk_siamese_release(&r->net);
}

static int run(struct rating *r, const struct bk_bundle *trained, int32_t *n_batches)
{
    const struct bk_env *env = r->env;
    BK_TRY(bk_siamese_open(&r->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block, trained, r->err));
    BK_TRY(reset_predictor(r));
    BK_TRY(bk_tape_new(env->device, &r->tape, r->err));
    bk_tape_set_recording(r->tape, false);
    BK_TRY(add_node(r, &(struct bk_path){ .n = 0 }));
    BK_TRY(grow(r, 0));
    if (r->node[0].leaf >= 0)
        return bk_fail(r->err, BK_EINVAL, "block %d has no layers", (int)env->block);
    BK_TRY(make_stores(r));
    BK_TRY(make_sums(r));
    BK_TRY(probe(r));
    BK_TRY(calibrate(r));
    return rate_all(r, n_batches);
}

static int fill_table(const struct rating *r, int32_t n_batches, struct bk_block_table *out)
{
    struct bk_block_table t = { .block = r->env->block, .entry = r->env->entry, .n = (size_t)r->n_leaves };
    t.path = bk_alloc(t.n * sizeof *t.path);
    t.score = bk_alloc(t.n * sizeof *t.score);
    if (!t.path || !t.score) {
        bk_block_table_release(&t);
        return bk_fail(r->err, BK_ENOMEM, "out of memory for %zu ratings", t.n);
    }
    for (int32_t i = 0; i < r->n_nodes; i++) {
        int32_t p = r->node[i].leaf;
        if (p < 0)
            continue;
        t.path[p] = r->node[i].path;
        t.score[p] = r->sum[p] / n_batches;
        if (!isfinite(t.score[p])) {
            bk_block_table_release(&t);
            return bk_fail(r->err, BK_ENUMERIC, "a rating of block %d is not finite", (int)t.block);
        }
    }
    *out = t;
    return BK_OK;
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err)
{
    struct rating r = { .options = state, .env = env, .err = err };
    int32_t n_batches = 0;
    if (!trained || !env->data)
        return bk_fail(err, BK_EINVAL, "the population centre needs a trained block and data");
    int rc = run(&r, trained, &n_batches);
    if (!rc)
        rc = fill_table(&r, n_batches, out);
    release(&r);
    return rc;
}

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    (void)err;
    ((struct rater *)state)->host = host;
    return BK_OK;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS | BK_RATER_NEEDS_TRAINED | BK_RATER_NEEDS_DATA,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
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
    .init = init,
    .iface = &iface,
};

BK_MODULE(&plugin);

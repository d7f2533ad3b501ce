/*
 * One iteration of Siamese bootstrapping: gradients of
 *
 *   L_p = H(q(z_p(v1)), T(v2)) + H(q(z_p(v2)), T(v1)),   T(v) = 1/P sum_p unit(t_p(v))      (released code of BossNAS)
 *
 * summed over the paths p and scaled by 1/U. z_p and t_p are projections of the online and of the target network along
 * path p, q is the predictor, H = mean of -2 cos. The naive variant takes T = unit(t_p) for each path.
 *
 * The two directions of L_p are separate sums, so each is run forward and backward by itself: half the memory. Every
 * forward normalises with the statistics of its own path and view. Target passes keep nothing but T.
 *
 * Not here: updates, schedules, state (ensemble_bootstrap.c).
 */
#include "bootstrap.h"

struct iteration {
    struct bootstrap *t;
    int32_t n;                                          /* images */
    struct bk_path path[BK_MAX_SAMPLED];
    struct bk_tensor *image[BK_MAX_VIEWS];              /* shared: v1, v2; own: P times v1, P times v2 */
    struct bk_tensor *target[BK_MAX_SAMPLED][2];        /* T(v) of a path; [0] alone for the ensemble */
    struct bk_tensor *feature[2];                       /* input of block k > 0: both shared views, or scratch in [0] */
    struct bk_error *err;
};

int bootstrap_paths(struct bootstrap *t, int64_t step, struct bk_path path[BK_MAX_SAMPLED], int32_t *n,
                    struct bk_error *err)
{
    const struct bk_env *env = t->env;
    const struct bk_sampler *s = env->sampler;
    return s->iface->sample(s->state, env->space, env->block, env->entry, env->seed, (uint64_t)step, (int32_t)t->paths,
                            path, n, err);
}

static int upload(struct iteration *it, const struct bk_batch *batch)
{
    struct bootstrap *t = it->t;
    int64_t side = t->env->data->view1.size;
    int64_t dim[4] = { it->n, side, side, 3 };
    int32_t n_views = t->views == VIEWS_OWN ? 2 * t->n_paths : 2;
    for (int32_t v = 0; v < n_views; v++) {
        BK_TRY(bk_tape_tensor(t->tape, t->env->dtype, 4, dim, &it->image[v], it->err));
        BK_TRY(bk_tensor_write_f32(it->image[v], batch->view[v], it->err));
    }
    return BK_OK;
}

static int make_buffers(struct iteration *it)
{
    struct bootstrap *t = it->t;
    int64_t projection[2] = { it->n, t->net.out };
    int64_t feature[4] = { it->n, t->feature_dim[0], t->feature_dim[1], t->feature_dim[2] };
    for (int32_t p = 0; p < (t->naive ? t->n_paths : 1); p++)
        for (int v = 0; v < 2; v++) {
            BK_TRY(bk_tape_tensor(t->tape, bk_dtype_accum(t->env->dtype), 2, projection, &it->target[p][v], it->err));
            BK_TRY(bk_tensor_zero(it->target[p][v], it->err));
        }
    for (int v = 0; v < 2 && t->env->block > 0; v++)
        BK_TRY(bk_tape_tensor(t->tape, t->env->dtype, 4, feature, &it->feature[v], it->err));
    return BK_OK;
}

static struct bk_tensor *image_of(const struct iteration *it, int32_t p, int v)
{
    return it->t->views == VIEWS_OWN ? it->image[v * it->t->n_paths + p] : it->image[v];
}

/* The input of block k for one image tensor, without gradient; intermediate results are dropped. */
static int run_prefix(struct iteration *it, struct bk_weights *w, struct bk_tensor *image, struct bk_tensor *feature)
{
    struct bootstrap *t = it->t;
    struct bk_forward f = batch_forward(t, w);
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    struct bk_tensor *y;
    bool was = bk_tape_set_recording(t->tape, false);
    int rc = bk_siamese_prefix(&t->net, &f, t->env->prefix, image, &y, it->err);
    if (!rc)
        rc = bk_tensor_copy(feature, y, it->err);
    bk_tape_rewind(t->tape, mark);
    bk_tape_set_recording(t->tape, was);
    return rc;
}

/* Views shared by all paths: the prefix runs once a view. */
static int run_shared_prefix(struct iteration *it, struct bk_weights *w)
{
    if (it->t->env->block == 0 || it->t->views == VIEWS_OWN)
        return BK_OK;
    for (int v = 0; v < 2; v++)
        BK_TRY(run_prefix(it, w, it->image[v], it->feature[v]));
    return BK_OK;
}

static int block_input(struct iteration *it, struct bk_weights *w, int32_t p, int v, struct bk_tensor **x)
{
    struct bootstrap *t = it->t;
    if (t->env->block == 0) {
        *x = image_of(it, p, v);
        return BK_OK;
    }
    if (w == t->net.online && t->prefix_grad == PREFIX_TRAINABLE) {
        struct bk_forward f = batch_forward(t, w);
        return bk_siamese_prefix(&t->net, &f, t->env->prefix, image_of(it, p, v), x, it->err);
    }
    *x = it->feature[t->views == VIEWS_OWN ? 0 : v];
    return t->views == VIEWS_OWN ? run_prefix(it, w, image_of(it, p, v), *x) : BK_OK;
}

static int project(struct iteration *it, struct bk_weights *w, int32_t p, int v, struct bk_tensor **z)
{
    struct bootstrap *t = it->t;
    const struct bk_env *env = t->env;
    struct bk_forward f = batch_forward(t, w);
    struct bk_tensor *x;
    BK_TRY(block_input(it, w, p, v, &x));
    BK_TRY(bk_space_run_block(env->space, &f, env->block, env->entry, &it->path[p], x, &x, it->err));
    return bk_siamese_project(&t->net, &f, &it->path[p], x, z, it->err);
}

static int add_target(struct iteration *it, int32_t p, int v)
{
    struct bootstrap *t = it->t;
    struct bk_tensor *z, *u;
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    BK_TRY(project(it, t->net.target, p, v, &z));
    BK_TRY(bk_unit(t->tape, z, &u, it->err));
    double weight = t->naive ? 1 : 1. / t->n_paths;
    BK_TRY(bk_blend(it->target[t->naive ? p : 0][v], 1, u, weight, it->err));
    bk_tape_rewind(t->tape, mark);
    return BK_OK;
}

/* Direction v of L_p: view v online predicts the target of the other view. */
static int add_gradient(struct iteration *it, int32_t p, int v)
{
    struct bootstrap *t = it->t;
    struct bk_forward f = batch_forward(t, t->net.online);
    struct bk_tensor *z, *u, *loss;
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    BK_TRY(project(it, t->net.online, p, v, &z));
    BK_TRY(bk_siamese_predict(&t->net, &f, z, &u, it->err));
    BK_TRY(bk_cosine_loss(t->tape, u, it->target[t->naive ? p : 0][1 - v], &loss, it->err));
    BK_TRY(bk_blend(t->loss_sum, 1, loss, 1, it->err));
    BK_TRY(bk_tape_backward(t->tape, loss, 1. / (double)t->accumulate, it->err));
    bk_tape_rewind(t->tape, mark);
    return BK_OK;
}

static int run_passes(struct iteration *it)
{
    struct bootstrap *t = it->t;
    BK_TRY(run_shared_prefix(it, t->net.target));
    for (int v = 0; v < 2; v++)
        for (int32_t p = 0; p < t->n_paths; p++)
            BK_TRY(add_target(it, p, v));
    if (t->prefix_grad == PREFIX_FROZEN)
        BK_TRY(run_shared_prefix(it, t->net.online));
    bk_tape_set_recording(t->tape, true);
    for (int32_t p = 0; p < t->n_paths; p++)
        for (int v = 0; v < 2; v++)
            BK_TRY(add_gradient(it, p, v));
    t->n_loss += t->n_paths;
    return BK_OK;
}

int bootstrap_iteration(struct bootstrap *t, int32_t *n_images, struct bk_error *err)
{
    struct iteration it = { .t = t, .err = err };
    struct bk_batch batch;
    int32_t n;

    BK_TRY(bk_loader_next(t->loader, &batch, err));
    BK_TRY(bootstrap_paths(t, t->step, it.path, &n, err));
    if (n != t->n_paths)
        return bk_fail(err, BK_ESTATE, "sampler '%s' gave %d paths after %d", t->env->sampler->name, (int)n,
                       (int)t->n_paths);
    it.n = *n_images = batch.n;
    bk_tape_reset(t->tape);
    bool was = bk_tape_set_recording(t->tape, false);
    int rc = upload(&it, &batch);
    if (!rc)
        rc = make_buffers(&it);
    if (!rc)
        rc = run_passes(&it);
    bk_tape_set_recording(t->tape, was);
    return rc;
}

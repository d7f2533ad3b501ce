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

static int upload(struct iteration *it, const struct bk_batch *batch)
{
    struct bootstrap *t = it->t;
    int32_t n_views = t->views == VIEWS_OWN ? 2 * t->n_paths : 2;
    for (int32_t v = 0; v < n_views; v++)
        BK_TRY(bk_batch_view(t->run.tape, t->run.env->dtype, batch, v, t->run.env->data->view1.size, &it->image[v],
                             it->err));
    return BK_OK;
}

static int make_buffers(struct iteration *it)
{
    struct bootstrap *t = it->t;
    uint32_t acc = bk_dtype_accum(t->run.env->dtype);
    int64_t projection[2] = { it->n, t->net.out };
    for (int32_t p = 0; p < (t->naive ? t->n_paths : 1); p++)
        for (int v = 0; v < 2; v++) {
            BK_TRY(bk_tape_tensor(t->run.tape, acc, 2, projection, &it->target[p][v], it->err));
            BK_TRY(bk_tensor_zero(it->target[p][v], it->err));
        }
    for (int v = 0; v < 2 && t->run.env->block > 0; v++)
        BK_TRY(bk_training_new_input(&t->run, it->n, &it->feature[v], it->err));
    return BK_OK;
}

static struct bk_tensor *image_of(const struct iteration *it, int32_t p, int v)
{
    return it->t->views == VIEWS_OWN ? it->image[v * it->t->n_paths + p] : it->image[v];
}

int bootstrap_online_input(void *state, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    struct bootstrap *t = state;
    struct bk_forward f = batch_forward(t, t->net.online);
    return bk_siamese_prefix(&t->net, &f, t->run.env->prefix, images, x, err);
}

int bootstrap_target_input(void *state, struct bk_tensor *images, struct bk_tensor **x, struct bk_error *err)
{
    struct bootstrap *t = state;
    struct bk_forward f = batch_forward(t, t->net.target);
    return bk_siamese_prefix(&t->net, &f, t->run.env->prefix, images, x, err);
}

/* The input of block k for one image tensor, without gradient. */
static int run_prefix(struct iteration *it, struct bk_weights *w, struct bk_tensor *image, struct bk_tensor *feature)
{
    struct bootstrap *t = it->t;
    bk_training_input_fn input = w == t->net.online ? bootstrap_online_input : bootstrap_target_input;
    return bk_training_run_input(&t->run, input, t, image, feature, it->err);
}

/* Views shared by all paths: the prefix runs once a view. */
static int run_shared_prefix(struct iteration *it, struct bk_weights *w)
{
    if (it->t->run.env->block == 0 || it->t->views == VIEWS_OWN)
        return BK_OK;
    for (int v = 0; v < 2; v++)
        BK_TRY(run_prefix(it, w, it->image[v], it->feature[v]));
    return BK_OK;
}

static int block_input(struct iteration *it, struct bk_weights *w, int32_t p, int v, struct bk_tensor **x)
{
    struct bootstrap *t = it->t;
    if (t->run.env->block == 0) {
        *x = image_of(it, p, v);
        return BK_OK;
    }
    if (w == t->net.online && t->prefix_grad == PREFIX_TRAINABLE)
        return bootstrap_online_input(t, image_of(it, p, v), x, it->err);
    *x = it->feature[t->views == VIEWS_OWN ? 0 : v];
    return t->views == VIEWS_OWN ? run_prefix(it, w, image_of(it, p, v), *x) : BK_OK;
}

static int project(struct iteration *it, struct bk_weights *w, int32_t p, int v, struct bk_tensor **z)
{
    struct bootstrap *t = it->t;
    const struct bk_env *env = t->run.env;
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
    struct bk_tape_mark mark = bk_tape_mark(t->run.tape);
    BK_TRY(project(it, t->net.target, p, v, &z));
    BK_TRY(bk_unit(t->run.tape, z, &u, it->err));
    double weight = t->naive ? 1 : 1. / t->n_paths;
    BK_TRY(bk_blend(it->target[t->naive ? p : 0][v], 1, u, weight, it->err));
    if (p == 0 && v == 0 && it->n == t->last->dim[0]) {
        BK_TRY(bk_tensor_copy(t->last, u, it->err));
        t->has_last = true;
    }
    bk_tape_rewind(t->run.tape, mark);
    return BK_OK;
}

/* Direction v of L_p: view v online predicts the target of the other view. */
static int add_gradient(struct iteration *it, int32_t p, int v)
{
    struct bootstrap *t = it->t;
    struct bk_forward f = batch_forward(t, t->net.online);
    struct bk_tensor *z, *u, *loss;
    struct bk_tape_mark mark = bk_tape_mark(t->run.tape);
    BK_TRY(project(it, t->net.online, p, v, &z));
    BK_TRY(bk_siamese_predict(&t->net, &f, z, &u, it->err));
    BK_TRY(bk_cosine_loss(t->run.tape, u, it->target[t->naive ? p : 0][1 - v], &loss, it->err));
    BK_TRY(bk_blend(t->run.loss_sum, 1, loss, 1, it->err));
    BK_TRY(bk_tape_backward(t->run.tape, loss, 1. / (double)t->accumulate, it->err));
    bk_tape_rewind(t->run.tape, mark);
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
    bk_tape_set_recording(t->run.tape, true);
    for (int32_t p = 0; p < t->n_paths; p++)
        for (int v = 0; v < 2; v++)
            BK_TRY(add_gradient(it, p, v));
    t->run.n_loss += t->n_paths;
    return BK_OK;
}

int bootstrap_iteration(void *state, const struct bk_batch *batch, struct bk_error *err)
{
    struct bootstrap *t = state;
    struct iteration it = { .t = t, .n = batch->n, .err = err };
    int32_t n;

    BK_TRY(bk_training_paths(&t->run, t->run.step, t->paths, it.path, &n, err));
    if (n != t->n_paths)
        return bk_fail(err, BK_ESTATE, "sampler '%s' gave %d paths after %d", t->run.env->sampler->name, (int)n,
                       (int)t->n_paths);
    bool was = bk_tape_set_recording(t->run.tape, false);
    int rc = upload(&it, batch);
    if (!rc)
        rc = make_buffers(&it);
    if (!rc)
        rc = run_passes(&it);
    bk_tape_set_recording(t->run.tape, was);
    return rc;
}

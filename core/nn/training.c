/*
 * nn/training.c: the loop around one iteration: batches, update windows, the mean loss, checkpoints.
 *
 * Not here: what an iteration computes (trainers), and files (the host writes the bundles).
 */
#include "autograd/step_memory.h"
#include <bosskit/training.h>

#include <math.h>
#include <string.h>

/* ---- begin and end ------------------------------------------------------------------------------------ */

int bk_training_begin(struct bk_training *t, const struct bk_env *env, const struct bk_host *host, struct bk_error *err)
{
    if (t->env)
        return bk_fail(err, BK_ESTATE, "block %d is still in training", (int)t->env->block);
    if (!env->data)
        return bk_fail(err, BK_EINVAL, "training needs data");
    *t = (struct bk_training){ .env = env, .host = host };
    int rc = bk_tape_new(env->device, &t->tape, err);
    if (!rc)
        rc = bk_tensor_new(env->device, bk_dtype_accum(env->dtype), 0, NULL, &t->loss_sum, err);
    if (rc)
        bk_training_end(t);
    return rc;
}

void bk_training_end(struct bk_training *t)
{
    bk_loader_free(t->loader);
    bk_optim_free(t->optim);
    bk_tensor_free(t->loss_sum);
    bk_tape_free(t->tape);
    *t = (struct bk_training){ 0 };
}

static int open_loader(struct bk_training *t, const struct bk_loader_config *config, struct bk_error *err)
{
    struct bk_loader_config c = *config;
    c.seed = t->env->seed;
    c.shuffle = true;
    c.threads = t->env->data->threads;
    c.plan_only = t->env->data->plan_only;
    for (int32_t v = 1; v < c.n_views; v++)
        if (c.view[v].size != c.view[0].size)
            return bk_fail(err, BK_EINVAL, "views of %d and %d pixels cannot be compared", (int)c.view[0].size,
                           (int)c.view[v].size);
    return bk_loader_new(&c, &t->loader, err);
}

int bk_training_start(struct bk_training *t, const struct bk_training_config *config, struct bk_error *err)
{
    t->weights = config->weights;
    t->epochs = config->epochs;
    t->accumulate = config->accumulate;
    BK_TRY(bk_optim_new(t->weights, &config->optim, &t->optim, err));
    BK_TRY(open_loader(t, &config->loader, err));
    t->n_batches = bk_loader_batches(t->loader);
    t->n_steps = t->epochs * t->n_batches;
    if (t->n_steps < t->accumulate)
        return bk_fail(err, BK_EINVAL, "%lld iterations a block never fill accumulate = %lld", (long long)t->n_steps,
                       (long long)t->accumulate);
    return BK_OK;
}

int bk_training_check(const struct bk_training *t, struct bk_error *err)
{
    return t->env ? BK_OK : bk_fail(err, BK_ESTATE, "no block is in training");
}

int bk_training_check_previous(const struct bk_training *t, const struct bk_bundle *previous, const char *method,
                               struct bk_error *err)
{
    if (!previous)
        return t->env->block == 0 ? BK_OK : bk_fail(err, BK_ESTATE, "block %d needs the weights of the block before",
                                                    (int)t->env->block);
    const char *made_by = bk_bundle_text(previous, "method");
    if (!made_by || strcmp(made_by, method) != 0)
        return bk_fail(err, BK_EDATA, "the block before was trained by another method ('%s')", made_by ? made_by : "");
    return BK_OK;
}

/* ---- advance ------------------------------------------------------------------------------------------ */

int bk_training_add_loss(struct bk_training *t, const struct bk_tensor *loss, struct bk_error *err)
{
    BK_TRY(bk_blend(t->loss_sum, 1, loss, 1, err));
    t->n_loss++;
    return BK_OK;
}

/* Mean loss since the last call; BK_ENUMERIC when training has diverged. */
static int take_loss(struct bk_training *t, double rate, double *loss, struct bk_error *err)
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
                       (int)t->env->block, (long long)t->step, (long long)t->n_steps, rate);
    return BK_OK;
}

/* After iteration i: update when the window is full; a window cut off by the end of the block is dropped. */
static int finish_iteration(struct bk_training *t, const struct bk_training_methods *m, void *trainer,
                            struct bk_error *err)
{
    int64_t i = t->step++;
    if ((i + 1) % t->accumulate == 0) {
        BK_TRY(bk_optim_step(t->optim, m->rate(trainer, i), err));
        BK_TRY(bk_weights_zero_grad(t->weights, err));
        return m->updated ? m->updated(trainer, i, err) : BK_OK;
    }
    return t->step == t->n_steps ? bk_weights_zero_grad(t->weights, err) : BK_OK;
}

struct call {
    struct bk_training *t;
    const struct bk_training_methods *m;
    void *trainer;
    struct bk_batch batch;
};

static int call_iteration(void *user, struct bk_error *err)
{
    struct call *c = user;
    bk_tape_reset(c->t->tape);
    return c->m->iteration(c->trainer, &c->batch, err);
}

static int iterate(struct bk_training *t, const struct bk_training_methods *m, void *trainer, int64_t *images,
                   struct bk_error *err)
{
    struct call c = { .t = t, .m = m, .trainer = trainer };
    BK_TRY(bk_loader_next(t->loader, &c.batch, err));
    *images += c.batch.n;
    BK_TRY(bk__step_run(t->tape, c.batch.n, call_iteration, &c, err));
    return finish_iteration(t, m, trainer, err);
}

int bk_training_advance(struct bk_training *t, const struct bk_training_methods *m, void *trainer, double seconds,
                        struct bk_progress *out, struct bk_error *err)
{
    double start = bk_now(), elapsed = 0;
    int64_t images = 0;

    BK_TRY(bk_training_check(t, err));
    while (t->step < t->n_steps) {
        BK_TRY(iterate(t, m, trainer, &images, err));
        elapsed = bk_now() - start;
        if (elapsed >= seconds || t->host->cancelled(t->host->ctx))
            break;
    }
    BK_TRY(take_loss(t, m->rate(trainer, t->step ? t->step - 1 : 0), &out->loss, err));
    elapsed = bk_now() - start;
    out->done = t->step == t->n_steps;
    out->step = t->step;
    out->n_steps = t->n_steps;
    out->images_per_s = elapsed > 0 ? (double)images / elapsed : 0;
    return BK_OK;
}

/* ---- checkpoints ---------------------------------------------------------------------------------------- */

int bk_training_save(struct bk_training *t, struct bk_bundle *out, struct bk_error *err)
{
    BK_TRY(bk_training_check(t, err));
    int64_t at_update = t->step == t->n_steps ? t->step : t->step - t->step % t->accumulate;
    BK_TRY(bk_optim_save(t->optim, "optim.", out, err));
    return bk_bundle_put_i64(out, "step", at_update, err);
}

int bk_training_load(struct bk_training *t, const struct bk_bundle *in, struct bk_error *err)
{
    int64_t block, step;
    BK_TRY(bk_training_check(t, err));
    BK_TRY(bk_bundle_i64(in, "block", &block, err));
    BK_TRY(bk_bundle_i64(in, "step", &step, err));
    if (block != t->env->block || step < 0 || step > t->n_steps)
        return bk_fail(err, BK_EDATA, "a checkpoint of block %lld at iteration %lld does not fit block %d of %lld iterations",
                       (long long)block, (long long)step, (int)t->env->block, (long long)t->n_steps);
    BK_TRY(bk_optim_load(t->optim, "optim.", in, err));
    BK_TRY(bk_weights_zero_grad(t->weights, err));
    BK_TRY(bk_tensor_zero(t->loss_sum, err));
    BK_TRY(bk_loader_seek(t->loader, (int32_t)(step / t->n_batches), (int32_t)(step % t->n_batches), err));
    t->step = step;
    t->n_loss = 0;
    return BK_OK;
}

/* ---- pieces of an iteration ------------------------------------------------------------------------------- */

int bk_training_paths(const struct bk_training *t, int64_t step, int64_t wanted, struct bk_path path[BK_MAX_SAMPLED],
                      int32_t *n, struct bk_error *err)
{
    const struct bk_env *env = t->env;
    const struct bk_sampler *s = env->sampler;
    if (!s)
        return bk_fail(err, BK_EINVAL, "training needs a sampler");
    return s->iface->sample(s->state, env->space, env->block, env->entry, env->seed, (uint64_t)step, (int32_t)wanted,
                            path, n, err);
}

static int probe(struct bk_training *t, int32_t side, bk_training_input_fn input, void *user, struct bk_error *err)
{
    int64_t dim[4] = { 2, side, side, 3 };
    struct bk_tensor *x;
    BK_TRY(bk_tape_tensor(t->tape, t->env->dtype, 4, dim, &x, err));
    BK_TRY(bk_tensor_zero(x, err));
    BK_TRY(input(user, x, &x, err));
    if (x->rank != 4)
        return bk_fail(err, BK_ESHAPE, "the input of block %d is no [N,H,W,C]", (int)t->env->block);
    memcpy(t->input_dim, x->dim + 1, sizeof t->input_dim);
    return BK_OK;
}

int bk_training_probe(struct bk_training *t, int32_t side, bk_training_input_fn input, void *user, struct bk_error *err)
{
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    bool was = bk_tape_set_recording(t->tape, false);
    int rc = probe(t, side, input, user, err);
    bk_tape_rewind(t->tape, mark);
    bk_tape_set_recording(t->tape, was);
    return rc;
}

int bk_training_new_input(struct bk_training *t, int64_t n, struct bk_tensor **out, struct bk_error *err)
{
    int64_t dim[4] = { n, t->input_dim[0], t->input_dim[1], t->input_dim[2] };
    return bk_tape_tensor(t->tape, t->env->dtype, 4, dim, out, err);
}

int bk_training_run_input(struct bk_training *t, bk_training_input_fn input, void *user, struct bk_tensor *images,
                          struct bk_tensor *out, struct bk_error *err)
{
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    struct bk_tensor *x;
    bool was = bk_tape_set_recording(t->tape, false);
    int rc = input(user, images, &x, err);
    if (!rc)
        rc = bk_tensor_copy(out, x, err);
    bk_tape_rewind(t->tape, mark);
    bk_tape_set_recording(t->tape, was);
    return rc;
}

double bk_training_cosine(const struct bk_training *t, double lr, double warmup_epochs, bool by_epoch, int64_t i)
{
    double cosine = by_epoch ? bk_schedule_cosine((double)(i / t->n_batches), (double)t->epochs)
                             : bk_schedule_cosine((double)i, (double)t->n_steps);
    return lr * cosine * bk_schedule_warmup((double)i, warmup_epochs * t->n_batches, 1e-4);
}

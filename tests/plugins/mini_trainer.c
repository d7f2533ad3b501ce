/*
 * The smallest trainer: supervised, block by block: a linear classifier on the block's pooled output, plain SGD.
 *
 * The host owns the loop: it calls advance() until `done`, and between two calls it may save, load or stop. Everything
 * that a step depends on is the weights, the optimiser's state and the number of the step: batches and paths are
 * functions of it, so a resumed training sees the same ones.
 */
#include <bosskit/method.h>
#include <bosskit/optim.h>

#include <math.h>
#include <stdio.h>

struct mini {
    int64_t steps, batch;
    double lr;

    const struct bk_env *env;           /* from begin() to end() */
    struct bk_net net;
    struct bk_weights *weights;
    struct bk_optim *optim;
    struct bk_loader *loader;
    struct bk_tape *tape;
    int32_t classifier;                 /* slot */
    int64_t step;
};

static const struct bk_opt options[] = {
    BK_INT("steps", struct mini, steps, 20, 1, 1000000, "steps", "training steps a block"),
    BK_INT("batch", struct mini, batch, 16, 1, 4096, "images", "images a step"),
    BK_REAL("lr", struct mini, lr, 0.1, 0, 100, "", "learning rate"),
    BK_OPT_END,
};

/* ---- begin and end ---------------------------------------------------------------------------------- */

static void mini_end(void *state)
{
    struct mini *m = state;
    bk_tape_free(m->tape);
    bk_loader_free(m->loader);
    bk_optim_free(m->optim);
    bk_weights_free(m->weights);
    bk_net_release(&m->net);
    m->tape = NULL;
    m->loader = NULL;
    m->optim = NULL;
    m->weights = NULL;
}

static int describe_net(struct mini *m, struct bk_error *err)
{
    const struct bk_space *space = m->env->space;
    int32_t block = m->env->block, width = space->info.pooled_width[block];
    double scale = 1 / sqrt((double)width);
    char name[32];

    snprintf(name, sizeof name, "mini.classifier%d", (int)block);
    BK_TRY(space->iface->supernet(space->state, &m->net, err));
    return bk_net_linear(&m->net, name, BK_PART_CLASSIFIER, block, m->env->data->info.n_classes, width,
                         BK_INIT_UNIFORM, scale, BK_INIT_UNIFORM, scale, &m->classifier, err);
}

/* Only the slots of this block are trained; those of the blocks before come from `previous`. */
static int make_weights(struct mini *m, const struct bk_bundle *previous, struct bk_error *err)
{
    BK_TRY(bk_weights_new(m->env->device, &m->net, BK_F32, &m->weights, err));
    BK_TRY(bk_weights_init(m->weights, m->env->seed, err));
    if (previous)
        BK_TRY(bk_weights_load(m->weights, "net.", previous, true, err));
    for (int32_t i = 0; i < m->net.n; i++) {
        const struct bk_slot *s = &m->net.slot[i];
        bool buffer = s->role == BK_ROLE_RUNNING_MEAN || s->role == BK_ROLE_RUNNING_VAR;
        if (s->block == m->env->block && !buffer)
            BK_TRY(bk_weights_train(m->weights, i, true, err));
    }
    const struct bk_optim_config sgd = { .kind = BK_SGD, .exclude = BK_EXCLUDE_NONE, .momentum = 0.9 };
    return bk_optim_new(m->weights, &sgd, &m->optim, err);
}

static int make_loader(struct mini *m, struct bk_error *err)
{
    const struct bk_loader_config config = {
        .split = &m->env->data->train,
        .batch = (int32_t)m->batch,
        .n_views = 1,
        .view = { m->env->data->alone },
        .seed = m->env->seed,
        .shuffle = true,
        .threads = m->env->data->threads,
    };
    return bk_loader_new(&config, &m->loader, err);
}

static int mini_begin(void *state, const struct bk_env *env, const struct bk_bundle *previous, struct bk_error *err)
{
    struct mini *m = state;
    m->env = env;
    m->step = 0;
    m->net = (struct bk_net)BK_NET_INIT;
    int rc = describe_net(m, err);
    if (rc == BK_OK)
        rc = make_weights(m, previous, err);
    if (rc == BK_OK)
        rc = make_loader(m, err);
    if (rc == BK_OK)
        rc = bk_tape_new(env->device, &m->tape, err);
    if (rc)
        mini_end(m);
    return rc;
}

/* ---- one step ------------------------------------------------------------------------------------------ */

static int put_batch(struct mini *m, const struct bk_batch *batch, struct bk_tensor **images,
                     struct bk_tensor **labels, struct bk_error *err)
{
    int64_t size = m->env->data->alone.size, n = batch->n;
    BK_TRY(bk_tape_tensor(m->tape, m->env->dtype, 4, (const int64_t[]){ n, size, size, 3 }, images, err));
    BK_TRY(bk_tensor_write_f32(*images, batch->view[0], err));
    BK_TRY(bk_tape_tensor(m->tape, BK_I32, 1, &n, labels, err));
    return bk_tensor_write(*labels, batch->label, err);
}

/* Images -> blocks before, along their best paths -> this block along `path` -> pool -> classifier -> loss. */
static int run(struct mini *m, const struct bk_path *path, struct bk_tensor *x, struct bk_tensor *labels,
               struct bk_tensor **loss, struct bk_error *err)
{
    const struct bk_cross_entropy_attr attr = { .label_smoothing = 0 };
    const struct bk_env *env = m->env;
    struct bk_forward f = { .tape = m->tape,
                            .weights = m->weights,
                            .dtype = env->dtype,
                            .norm_mode = BK_NORM_BATCH,
                            .norm_momentum = 0.1,
                            .norm_eps = 1e-5 };

    for (int32_t b = 0; b < env->block; b++)
        BK_TRY(bk_space_run_block(env->space, &f, b, bk_space_entry(env->space, b, env->prefix), &env->prefix[b], x,
                                  &x, err));
    BK_TRY(bk_space_run_block(env->space, &f, env->block, env->entry, path, x, &x, err));
    BK_TRY(env->space->iface->pool(env->space->state, &f, env->block, path, x, &x, err));
    BK_TRY(bk_forward_linear(&f, m->classifier, x, &x, err));
    return bk_cross_entropy(m->tape, x, labels, &attr, loss, err);
}

static int train_step(struct mini *m, float *loss_value, struct bk_error *err)
{
    const struct bk_env *env = m->env;
    const struct bk_sampler *s = env->sampler;
    struct bk_path path[BK_MAX_SAMPLED];
    struct bk_tensor *images, *labels, *loss;
    struct bk_batch batch;
    int32_t n;

    BK_TRY(s->iface->sample(s->state, env->space, env->block, env->entry, env->seed, (uint64_t)m->step, 1, path, &n,
                            err));
    BK_TRY(bk_loader_next(m->loader, &batch, err));
    bk_tape_reset(m->tape);
    BK_TRY(put_batch(m, &batch, &images, &labels, err));
    BK_TRY(run(m, &path[0], images, labels, &loss, err));
    BK_TRY(bk_tape_backward(m->tape, loss, 1.0, err));
    BK_TRY(bk_optim_step(m->optim, m->lr, err));
    BK_TRY(bk_weights_zero_grad(m->weights, err));
    m->step++;
    return bk_tensor_read_f32(loss, loss_value, err);
}

static int mini_advance(void *state, double seconds, struct bk_progress *out, struct bk_error *err)
{
    struct mini *m = state;
    const struct bk_host *host = m->env->host;
    double start = bk_now(), sum = 0;
    int64_t first = m->step;

    while (m->step < m->steps) {
        float loss;
        BK_TRY(train_step(m, &loss, err));
        if (!isfinite(loss))
            return bk_fail(err, BK_ENUMERIC, "step %lld: the loss is not finite", (long long)m->step);
        sum += loss;
        if (bk_now() - start >= seconds || host->cancelled(host->ctx))
            break;
    }
    int64_t n = m->step - first;
    out->done = m->step >= m->steps;
    out->step = m->step;
    out->n_steps = m->steps;
    out->images_per_s = (double)(n * m->batch) / fmax(bk_now() - start, 1e-9);
    out->loss = n ? sum / (double)n : 0;
    return BK_OK;
}

/* ---- what is kept ------------------------------------------------------------------------------------------ */

static int mini_save(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct mini *m = state;
    BK_TRY(bk_weights_save(m->weights, "net.", out, err));
    BK_TRY(bk_optim_save(m->optim, "optim.", out, err));
    return bk_bundle_put_i64(out, "step", m->step, err);
}

static int mini_load(void *state, const struct bk_bundle *in, struct bk_error *err)
{
    struct mini *m = state;
    int32_t an_epoch = bk_loader_batches(m->loader);
    BK_TRY(bk_bundle_i64(in, "step", &m->step, err));
    BK_TRY(bk_weights_load(m->weights, "net.", in, false, err));
    BK_TRY(bk_optim_load(m->optim, "optim.", in, err));
    return bk_loader_seek(m->loader, (int32_t)(m->step / an_epoch), (int32_t)(m->step % an_epoch), err);
}

static int mini_result(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct mini *m = state;
    BK_TRY(bk_bundle_put_text(out, "method", "mini", err));
    BK_TRY(bk_bundle_put_i64(out, "block", m->env->block, err));
    return bk_weights_save(m->weights, "net.", out, err);
}

static const struct bk_trainer_iface iface = {
    .struct_size = sizeof(struct bk_trainer_iface),
    .begin = mini_begin,
    .advance = mini_advance,
    .save = mini_save,
    .load = mini_load,
    .result = mini_result,
    .end = mini_end,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_TRAINER,
    .name = "mini",
    .version = "1.0.0",
    .summary = "a linear classifier a block, plain SGD",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct mini),
    .iface = &iface,
};

BK_MODULE(&mini);

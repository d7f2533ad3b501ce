/*
 * One architecture trained alone: the truth of a space that has no published table. The recipe is NATS-Bench's
 * (Dong et al. 2021): SGD with Nesterov momentum 0.9, weight decay 5e-4 on every parameter, cosine to 0, cross
 * entropy, running statistics with momentum 0.1; all training images, top-1 on the test images with the last weights.
 */
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <bosskit/optim.h>
#include <bosskit/random.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NORM_MOMENTUM 0.1
#define NORM_EPS 1e-5
#define LOOK_EVERY 20           /* steps between two looks at the loss */

struct alone {
    struct bk_stage_job *job;
    const struct bk_truth_options *o;
    struct bk_arch arch;
    int32_t n_classes;
    struct bk_net net;
    struct bk_weights *weights;
    struct bk_optim *optim;
    struct bk_tape *tape;
    struct bk_loader *train;
    int64_t step, n_steps, batches;
    bool dirty;                 /* a checkpoint was taken in half */
};

/* ---- opening --------------------------------------------------------------------------------------------- */

static int open_loader(const struct alone *a, const struct bk_split *split, const struct bk_augment *augment, bool train,
                       struct bk_loader **out, struct bk_error *err)
{
    const struct bk_dataset_info *info = &a->job->data.data.info;
    struct bk_loader_config *c = bk_zalloc(sizeof *c);
    if (!c)
        return bk_fail(err, BK_ENOMEM, "out of memory for a loader");
    c->split = split;
    c->batch = (int32_t)a->o->batch;
    c->n_views = 1;
    c->view[0] = *augment;
    memcpy(c->view[0].mean, info->alone_mean, sizeof info->alone_mean);
    memcpy(c->view[0].std, info->alone_std, sizeof info->alone_std);
    c->seed = (uint64_t)a->o->seed;
    c->shuffle = train;
    c->fixed_views = !train;
    c->threads = a->job->data.data.threads;
    int rc = bk_loader_new(c, out, err);
    bk_free(c);
    return rc;
}

static int train_all_slots(struct alone *a, struct bk_error *err)
{
    for (int32_t i = 0; i < a->net.n; i++) {
        uint32_t role = a->net.slot[i].role;
        if (role != BK_ROLE_RUNNING_MEAN && role != BK_ROLE_RUNNING_VAR)
            BK_TRY(bk_weights_train(a->weights, i, true, err));
    }
    return BK_OK;
}

static int open_alone(struct alone *a, struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;
    struct bk_device *device = a->job->device.device;
    const struct bk_optim_config sgd = { .kind = BK_SGD, .exclude = BK_EXCLUDE_NONE, .momentum = a->o->momentum,
                                         .weight_decay = a->o->weight_decay, .nesterov = a->o->nesterov };
    const char *text = json_string_value(json_object_get(a->job->spec, "arch"));

    BK_TRY(bk_space_parse(space, text ? text : "", &a->arch, err));
    BK_TRY(space->iface->alone(space->state, &a->arch, a->n_classes, &a->net, err));
    BK_TRY(bk_weights_new(device, &a->net, bk_dtype_accum(a->job->env->dtype), &a->weights, err));
    BK_TRY(bk_weights_init(a->weights, (uint64_t)a->o->seed, err));
    BK_TRY(train_all_slots(a, err));
    BK_TRY(bk_optim_new(a->weights, &sgd, &a->optim, err));
    BK_TRY(bk_tape_new(device, &a->tape, err));
    BK_TRY(open_loader(a, &a->job->data.full, &a->job->data.data.alone, true, &a->train, err));
    a->batches = bk_loader_batches(a->train);
    a->n_steps = a->batches * a->o->epochs;
    return BK_OK;
}

static void close_alone(struct alone *a)
{
    bk_loader_free(a->train);
    bk_tape_free(a->tape);
    bk_optim_free(a->optim);
    bk_weights_free(a->weights);
    bk_net_release(&a->net);
    a->train = NULL;
    a->tape = NULL;
    a->optim = NULL;
    a->weights = NULL;
}

/* ---- one batch ---------------------------------------------------------------------------------------------- */

static int forward(struct alone *a, const struct bk_batch *b, bool train, struct bk_tensor **logits,
                   struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;
    struct bk_forward f = { .tape = a->tape, .weights = a->weights, .dtype = a->job->env->dtype,
                            .norm_mode = train ? BK_NORM_BATCH : BK_NORM_RUNNING,
                            .norm_momentum = train ? NORM_MOMENTUM : 0, .norm_eps = NORM_EPS };
    int32_t size = a->job->data.data.alone.size;
    const int64_t dim[4] = { b->n, size, size, 3 };
    struct bk_tensor *x;

    bk_tape_reset(a->tape);
    (void)bk_tape_set_recording(a->tape, train);
    BK_TRY(bk_tape_tensor(a->tape, a->job->env->dtype, 4, dim, &x, err));
    BK_TRY(bk_tensor_write_f32(x, b->view[0], err));
    return space->iface->alone_run(space->state, &f, &a->arch, a->n_classes, x, logits, err);
}

static int read_loss(const struct bk_tensor *loss, double *out, struct bk_error *err)
{
    BK_TRY(bk_tensor_read_f64(loss, out, err));
    if (!isfinite(*out))
        return bk_fail(err, BK_ENUMERIC, "the loss is not finite; a lower truth.lr may help");
    return BK_OK;
}

static int train_step(struct alone *a, double *loss_value, struct bk_error *err)
{
    const struct bk_cross_entropy_attr attr = { a->o->label_smoothing };
    struct bk_tensor *logits, *labels, *loss;
    struct bk_batch b;

    BK_TRY(bk_loader_next(a->train, &b, err));
    BK_TRY(forward(a, &b, true, &logits, err));
    const int64_t n = b.n;
    BK_TRY(bk_tape_tensor(a->tape, BK_I32, 1, &n, &labels, err));
    BK_TRY(bk_tensor_write(labels, b.label, err));
    BK_TRY(bk_cross_entropy(a->tape, logits, labels, &attr, &loss, err));
    BK_TRY(bk_tape_backward(a->tape, loss, 1.0, err));
    BK_TRY(bk_optim_step(a->optim, a->o->lr * bk_schedule_cosine((double)a->step, (double)a->n_steps), err));
    BK_TRY(bk_weights_zero_grad(a->weights, err));
    a->step++;
    if (a->step % LOOK_EVERY == 0 || a->step == a->n_steps) {
        BK_TRY(read_loss(loss, loss_value, err));
        bk_log(BK_LOG_TRACE, "step %lld: loss %.4f", (long long)a->step, *loss_value);
    }
    return BK_OK;
}

/* ---- training ------------------------------------------------------------------------------------------------- */

static int save(struct alone *a, struct bk_error *err)
{
    struct bk_bundle *b = NULL;
    BK_TRY(bk_bundle_new(&b, err));
    int rc = bk_weights_save(a->weights, "w.", b, err);
    if (!rc)
        rc = bk_optim_save(a->optim, "o.", b, err);
    if (!rc)
        rc = bk_bundle_put_i64(b, "step", a->step, err);
    if (!rc)
        rc = bk__checkpoint_save(a->job->dir, a->step, b, err);
    bk_bundle_free(b);
    return rc;
}

static int load(void *user, const struct bk_bundle *b, struct bk_error *err)
{
    struct alone *a = user;
    int64_t step;
    a->dirty = true;
    BK_TRY(bk_bundle_i64(b, "step", &step, err));
    if (step < 0 || step > a->n_steps)
        return bk_fail(err, BK_EDATA, "step %lld is outside 0..%lld", (long long)step, (long long)a->n_steps);
    BK_TRY(bk_weights_load(a->weights, "w.", b, false, err));
    BK_TRY(bk_optim_load(a->optim, "o.", b, err));
    BK_TRY(bk_loader_seek(a->train, (int32_t)(step / a->batches), (int32_t)(step % a->batches), err));
    a->step = step;
    a->dirty = false;
    return BK_OK;
}

static int train(struct alone *a, struct bk_error *err)
{
    double saved = bk_now(), told = saved, loss = NAN;
    while (a->step < a->n_steps) {
        BK_TRY(train_step(a, &loss, err));
        double now = bk_now();
        bool stop = bk__interrupted();
        if (now - told > 0.5) {
            char note[48];
            snprintf(note, sizeof note, "loss %.4f", loss);
            bk__say_progress((double)a->step, (double)a->n_steps, "steps", note);
            told = now;
        }
        if (stop || now - saved >= (double)a->job->checkpoint_s) {
            BK_TRY(save(a, err));
            saved = bk_now();
        }
        if (stop)
            return bk_fail(err, BK_EINTERRUPTED, "interrupted at step %lld of %lld", (long long)a->step,
                           (long long)a->n_steps);
    }
    return BK_OK;
}

/* ---- testing ---------------------------------------------------------------------------------------------------- */

static int32_t count_right(const float *logits, const int32_t *label, int32_t n, int32_t n_classes)
{
    int32_t right = 0;
    for (int32_t i = 0; i < n; i++) {
        const float *row = logits + (size_t)i * (size_t)n_classes;
        int32_t best = 0;
        for (int32_t c = 1; c < n_classes; c++)
            best = row[c] > row[best] ? c : best;
        right += best == label[i];
    }
    return right;
}

static int test(struct alone *a, double *top1, struct bk_error *err)
{
    const struct bk_split *split = &a->job->data.data.test;
    float *logits = bk_alloc((size_t)a->o->batch * (size_t)a->n_classes * sizeof *logits);
    struct bk_loader *loader = NULL;
    int64_t right = 0, seen = 0;
    int rc = logits ? open_loader(a, split, &a->job->data.data.plain, false, &loader, err)
                    : bk_fail(err, BK_ENOMEM, "out of memory for logits");

    for (int32_t i = 0, n = rc ? 0 : bk_loader_batches(loader); !rc && i < n; i++) {
        struct bk_tensor *y;
        struct bk_batch b;
        rc = bk_loader_next(loader, &b, err);
        if (!rc)
            rc = forward(a, &b, false, &y, err);
        if (!rc)
            rc = bk_tensor_read_f32(y, logits, err);
        if (!rc) {
            right += count_right(logits, b.label, b.n, a->n_classes);
            seen += b.n;
        }
    }
    if (!rc)
        *top1 = seen ? 100.0 * (double)right / (double)seen : 0;
    bk_loader_free(loader);
    bk_free(logits);
    return rc;
}

static int write_result(const struct alone *a, double top1, struct bk_error *err)
{
    const char *name = json_string_value(json_object_get(a->job->spec, "arch"));
    struct bk_text path = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/result.csv", a->job->dir);
    int rc = bk__pairs_write(bk_text_get(&path), "arch,top1", &name, &top1, 1, err);
    bk_text_release(&path);
    return rc;
}

int bk__stage_alone(struct bk_stage_job *job, struct bk_error *err)
{
    struct alone a = { .job = job, .o = &job->row->truth, .n_classes = job->data.data.info.n_classes,
                       .net = BK_NET_INIT };
    bool resumed = false;
    double top1 = 0;
    int rc = open_alone(&a, err);

    if (!rc)
        rc = bk__checkpoint_load(job->dir, load, &a, &resumed, err);
    if (!rc && a.dirty && !resumed) {
        close_alone(&a);
        a.step = 0;
        rc = open_alone(&a, err);
    }
    if (!rc)
        rc = train(&a, err);
    if (!rc)
        rc = test(&a, &top1, err);
    if (!rc)
        rc = write_result(&a, top1, err);
    close_alone(&a);
    return rc;
}

/*
 * One architecture trained alone by a recipe: the truth of a space that has no published table, and the retraining of
 * what was found. Weights start from a seed, all training images are used, the last weights (and their moving average)
 * are tested. Everything random is a function of the seed and the step, so a run continues with the same bytes.
 */
#include "pipeline/standalone.h"

#include "autograd/step_memory.h"

#include <bosskit/file.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOOK_EVERY 20           /* steps between two looks at the loss */

/* ---- opening --------------------------------------------------------------------------------------------- */

int bk__alone_loader(const struct bk__alone *a, const struct bk_split *split, const struct bk_augment *view, bool train,
                     int32_t batch, struct bk_loader **out, struct bk_error *err)
{
    const struct bk_dataset_info *info = &a->job->data.data.info;
    struct bk_loader_config *c = bk_zalloc(sizeof *c);
    if (!c)
        return bk_fail(err, BK_ENOMEM, "out of memory for a loader");
    c->split = split;
    c->batch = batch;
    c->n_views = 1;
    c->view[0] = *view;
    memcpy(c->view[0].mean, info->alone_mean, sizeof info->alone_mean);
    memcpy(c->view[0].std, info->alone_std, sizeof info->alone_std);
    c->seed = a->seed;
    c->shuffle = train;
    c->fixed_views = !train;
    c->threads = a->job->data.data.threads;
    c->plan_only = a->job->data.data.plan_only;
    if (train)
        bk__recipe_loader(a->recipe, a->n_classes, c);
    int rc = bk_loader_new(c, out, err);
    bk_free(c);
    return rc;
}

static int train_all_slots(struct bk__alone *a, struct bk_error *err)
{
    for (int32_t i = 0; i < a->net.n; i++) {
        uint32_t role = a->net.slot[i].role;
        if (role != BK_ROLE_RUNNING_MEAN && role != BK_ROLE_RUNNING_VAR)
            BK_TRY(bk_weights_train(a->weights, i, true, err));
    }
    return BK_OK;
}

int bk__alone_open(struct bk__alone *a, struct bk_error *err)
{
    struct bk_device *device = a->job->device.device;
    uint32_t dtype = bk_dtype_accum(a->job->env->dtype);
    const struct bk_optim_config optim = bk__recipe_optim(a->recipe);

    BK_TRY(bk_weights_new(device, &a->net, dtype, &a->weights, err));
    BK_TRY(bk_weights_init(a->weights, a->seed, err));
    BK_TRY(train_all_slots(a, err));
    BK_TRY(bk_optim_new(a->weights, &optim, &a->optim, err));
    if (a->recipe->ema > 0) {
        BK_TRY(bk_weights_new(device, &a->net, dtype, &a->average, err));
        BK_TRY(bk_weights_copy(a->average, a->weights, err));
    }
    return bk_tape_new(device, &a->tape, err);
}

/** All training images, or a part with the classes in the same proportions. */
static int choose_images(struct bk__alone *a, struct bk_error *err)
{
    const struct bk_split *full = &a->job->data.full;
    a->split = *full;
    if (a->recipe->images == 0 || a->recipe->images >= full->n)
        return BK_OK;
    a->chosen = bk_alloc(full->n * sizeof *a->chosen);
    if (!a->chosen)
        return bk_fail(err, BK_ENOMEM, "out of memory for %u images", full->n);
    BK_TRY(bk_split_order(full->images, full->index, full->n, a->seed, a->chosen, err));
    bk_split_init(&a->split, full->images, a->chosen, (uint32_t)a->recipe->images);
    return BK_OK;
}

static int open_alone(struct bk__alone *a, struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;

    BK_TRY(bk_space_parse(space, a->name, &a->arch, err));
    BK_TRY(space->iface->alone(space->state, &a->arch, a->n_classes, &a->net, err));
    BK_TRY(bk__alone_open(a, err));
    a->view = a->job->data.data.alone;
    bk__recipe_augment(a->recipe, &a->view);
    BK_TRY(choose_images(a, err));
    BK_TRY(bk__alone_loader(a, &a->split, &a->view, true, (int32_t)a->recipe->batch, &a->train, err));
    a->batches = bk_loader_batches(a->train);
    a->per_epoch = (a->batches + a->recipe->accumulate - 1) / a->recipe->accumulate;
    a->n_steps = a->per_epoch * a->recipe->epochs;
    return BK_OK;
}

void bk__alone_close(struct bk__alone *a)
{
    bk_loader_free(a->train);
    bk_tape_free(a->tape);
    bk_optim_free(a->optim);
    bk_weights_free(a->average);
    bk_weights_free(a->weights);
    bk_net_release(&a->net);
    bk_free(a->chosen);
    a->chosen = NULL;
    a->train = NULL;
    a->tape = NULL;
    a->optim = NULL;
    a->average = NULL;
    a->weights = NULL;
}

/* ---- one step ------------------------------------------------------------------------------------------------ */

int bk__alone_forward(struct bk__alone *a, struct bk_weights *weights, const struct bk_batch *b, int32_t size, bool train,
                      uint64_t draw, struct bk_tensor **logits, struct bk_error *err)
{
    const struct bk_space *space = &a->job->row->space;
    struct bk_forward f = { .tape = a->tape, .weights = weights, .dtype = a->job->env->dtype,
                            .norm_mode = train ? BK_NORM_BATCH : BK_NORM_RUNNING,
                            .norm_momentum = train ? a->recipe->norm_momentum : 0, .norm_eps = a->recipe->norm_eps,
                            .seed = a->seed, .step = draw, .training = train };
    struct bk_tensor *x;

    bk_tape_reset(a->tape);
    (void)bk_tape_set_recording(a->tape, train);
    BK_TRY(bk_batch_view(a->tape, a->job->env->dtype, b, 0, size, &x, err));
    return space->iface->alone_run(space->state, &f, &a->arch, a->n_classes, x, logits, err);
}

static int soft_loss(struct bk__alone *a, const struct bk_batch *b, struct bk_tensor *logits, struct bk_tensor **loss,
                     struct bk_error *err)
{
    const int64_t dim[2] = { b->n, a->n_classes };
    struct bk_tensor *target;
    BK_TRY(bk_tape_tensor(a->tape, bk_dtype_accum(a->job->env->dtype), 2, dim, &target, err));
    BK_TRY(bk_tensor_write_f32(target, b->target, err));
    return bk_soft_cross_entropy(a->tape, logits, target, loss, err);
}

static int loss_of(struct bk__alone *a, const struct bk_batch *b, struct bk_tensor *logits, struct bk_tensor **loss,
                   struct bk_error *err)
{
    const struct bk_cross_entropy_attr attr = { a->recipe->label_smoothing };
    const int64_t n = b->n;
    struct bk_tensor *labels;

    if (b->target)
        return soft_loss(a, b, logits, loss, err);
    BK_TRY(bk_tape_tensor(a->tape, BK_I32, 1, &n, &labels, err));
    BK_TRY(bk_tensor_write(labels, b->label, err));
    return bk_cross_entropy(a->tape, logits, labels, &attr, loss, err);
}

static int read_loss(const struct bk__alone *a, const struct bk_tensor *loss, double *out, struct bk_error *err)
{
    BK_TRY(bk_tensor_read_f64(loss, out, err));
    if (!isfinite(*out))
        return bk_fail(err, BK_ENUMERIC, "the loss is not finite; a lower %s.lr may help", a->where);
    return BK_OK;
}

/* Weights and statistics alike, as timm's ModelEma and TensorFlow's EfficientNet do. */
static int average(struct bk__alone *a, struct bk_error *err)
{
    double keep = bk__recipe_ema(a->recipe, a->step);
    if (!a->average)
        return BK_OK;
    for (int32_t i = 0; i < a->net.n; i++)
        BK_TRY(bk_blend(bk_weights_get(a->average, i), keep, bk_weights_get(a->weights, i), 1 - keep, err));
    bk_weights_changed(a->average);
    return BK_OK;
}

struct gradient_call {
    struct bk__alone *a;
    const struct bk_batch *b;
    uint64_t draw;
    double scale;
    struct bk_tensor *loss;
};

static int call_gradient(void *user, struct bk_error *err)
{
    struct gradient_call *c = user;
    struct bk__alone *a = c->a;
    struct bk_tensor *logits;
    BK_TRY(bk__alone_forward(a, a->weights, c->b, a->view.size, true, c->draw, &logits, err));
    BK_TRY(loss_of(a, c->b, logits, &c->loss, err));
    return bk_tape_backward(a->tape, c->loss, c->scale, err);
}

int bk__alone_add_gradient(struct bk__alone *a, const struct bk_batch *b, uint64_t draw, double scale, double *loss_value,
                           struct bk_error *err)
{
    struct gradient_call c = { a, b, draw, scale, NULL };
    BK_TRY(bk__step_run(a->tape, b->n, call_gradient, &c, err));
    return loss_value ? read_loss(a, c.loss, loss_value, err) : BK_OK;
}

int bk__alone_update(struct bk__alone *a, struct bk_error *err)
{
    BK_TRY(bk_optim_step(a->optim, bk__recipe_lr(a->recipe, a->step, a->per_epoch), err));
    BK_TRY(bk_weights_zero_grad(a->weights, err));
    BK_TRY(average(a, err));
    a->step++;
    return BK_OK;
}

/** One step from all its batches; *loss_value is set when it is time to look. */
static int train_step(struct bk__alone *a, double *loss_value, struct bk_error *err)
{
    int64_t first = a->step % a->per_epoch * a->recipe->accumulate, left = a->batches - first;
    int64_t n = left < a->recipe->accumulate ? left : a->recipe->accumulate;
    bool look = (a->step + 1) % LOOK_EVERY == 0 || a->step + 1 == a->n_steps;
    double sum = 0, one = 0;

    for (int64_t k = 0; k < n; k++) {
        struct bk_batch b;
        BK_TRY(bk_loader_next(a->train, &b, err));
        BK_TRY(bk__alone_add_gradient(a, &b, (uint64_t)(a->step * a->recipe->accumulate + k), 1.0 / (double)n,
                                      look ? &one : NULL, err));
        sum += one / (double)n;
    }
    BK_TRY(bk__alone_update(a, err));
    if (look) {
        *loss_value = sum;
        bk_log(BK_LOG_TRACE, "step %lld: loss %.4f", (long long)a->step, sum);
    }
    return BK_OK;
}

/* ---- training ------------------------------------------------------------------------------------------------- */

static int save(struct bk__alone *a, struct bk_error *err)
{
    struct bk_bundle *b = NULL;
    BK_TRY(bk_bundle_new(&b, err));
    int rc = bk_weights_save(a->weights, "w.", b, err);
    if (!rc)
        rc = bk_optim_save(a->optim, "o.", b, err);
    if (!rc && a->average)
        rc = bk_weights_save(a->average, "e.", b, err);
    if (!rc)
        rc = bk_bundle_put_i64(b, "step", a->step, err);
    if (!rc)
        rc = bk__checkpoint_save(a->job->dir, a->step, b, err);
    bk_bundle_free(b);
    return rc;
}

static int load(void *user, const struct bk_bundle *b, struct bk_error *err)
{
    struct bk__alone *a = user;
    int64_t step;
    a->dirty = true;
    BK_TRY(bk_bundle_i64(b, "step", &step, err));
    if (step < 0 || step > a->n_steps)
        return bk_fail(err, BK_EDATA, "step %lld is outside 0..%lld", (long long)step, (long long)a->n_steps);
    BK_TRY(bk_weights_load(a->weights, "w.", b, false, err));
    BK_TRY(bk_optim_load(a->optim, "o.", b, err));
    if (a->average)
        BK_TRY(bk_weights_load(a->average, "e.", b, false, err));
    BK_TRY(bk_loader_seek(a->train, (int32_t)(step / a->per_epoch),
                          (int32_t)(step % a->per_epoch * a->recipe->accumulate), err));
    a->step = step;
    a->dirty = false;
    return BK_OK;
}

static int train(struct bk__alone *a, struct bk_error *err)
{
    double saved = bk_now(), told = saved, loss = NAN;
    while (a->step < a->n_steps) {
        BK_TRY(train_step(a, &loss, err));
        double now = bk_now();
        bool stop = bk__interrupted();
        if (now - told > 0.5) {
            char note[48];
            snprintf(note, sizeof note, "loss %.4f", loss);
            bk__say_progress((double)a->step, (double)a->n_steps, "steps", isfinite(loss) ? note : NULL);
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

/** From the newest checkpoint, or from the start, to the last step. */
static int open_and_train(struct bk__alone *a, struct bk_error *err)
{
    bool resumed = false;
    BK_TRY(open_alone(a, err));
    BK_TRY(bk__checkpoint_load(a->job->dir, load, a, &resumed, err));
    if (a->dirty && !resumed) {
        bk__alone_close(a);
        a->step = 0;
        a->dirty = false;
        BK_TRY(open_alone(a, err));
    }
    return train(a, err);
}

/* ---- the stages -------------------------------------------------------------------------------------------------- */

int bk__stage_alone(struct bk_stage_job *job, struct bk_error *err)
{
    const char *name = json_string_value(json_object_get(job->spec, "arch"));
    struct bk__alone a = { .job = job, .recipe = &job->row->truth_recipe, .where = "truth",
                           .seed = (uint64_t)job->row->truth.seed, .n_classes = job->data.data.info.n_classes,
                           .net = BK_NET_INIT };
    struct bk__test_counts counts;

    snprintf(a.name, sizeof a.name, "%s", name ? name : "");
    int rc = open_and_train(&a, err);
    if (!rc)
        rc = bk__alone_test(&a, a.average ? a.average : a.weights, 0, (int32_t)a.recipe->batch, &counts, err);
    if (!rc)
        rc = bk__alone_write_truth(&a, &counts, err);
    bk__alone_close(&a);
    return rc;
}

/** The architecture that the search stage found. */
static int read_found(const char *path, char *name, size_t size, struct bk_error *err)
{
    char *data = NULL;
    size_t n = 0;
    BK_TRY(bk_file_read(path, 1u << 20, &data, &n, err));
    json_t *o = json_loadb(data, n, 0, NULL);
    const char *arch = json_string_value(json_object_get(o, "arch"));
    int rc = arch && strlen(arch) < size ? BK_OK : bk_fail(err, BK_EDATA, "'%s' is damaged", path);
    if (!rc)
        snprintf(name, size, "%s", arch);
    json_decref(o);
    bk_free(data);
    return rc;
}

int bk__stage_retrain(struct bk_stage_job *job, struct bk_error *err)
{
    const struct bk_retrain_options *o = &job->row->retrain;
    const char *found = json_string_value(json_object_get(job->spec, "found"));
    struct bk__alone a = { .job = job, .recipe = &job->row->retrain_recipe, .where = "retrain", .seed = (uint64_t)o->seed,
                           .n_classes = job->data.data.info.n_classes, .net = BK_NET_INIT };

    snprintf(a.name, sizeof a.name, "%s", o->arch);
    int rc = found ? read_found(found, a.name, sizeof a.name, err) : BK_OK;
    if (!rc)
        rc = open_and_train(&a, err);
    if (!rc)
        rc = bk__alone_write_weights(&a, err);
    bk__alone_close(&a);
    return rc;
}

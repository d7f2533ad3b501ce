/*
 * One block of a student supernet with its teacher: opening, artefacts, and the forward pieces that trainer and rater
 * share. The rules about shapes are in distilled.h; they are applied in distilled_probe.c.
 *
 * Not here: losses, updates, walks over paths.
 */
#include "distilled.h"

#include <string.h>

/* ---- life --------------------------------------------------------------------------------------------- */

static int open_networks(struct distilled *d, const struct bk_env *env, const struct distilled_config *c,
                         struct bk_error *err)
{
    uint32_t dtype = bk_dtype_accum(env->dtype);
    struct teacher_config tc = { .name = c->teacher,
                                 .space = env->space,
                                 .device = env->device,
                                 .dtype = dtype,
                                 .n_classes = c->n_classes,
                                 .taps = c->taps };
    if (!env->data)
        return bk_fail(err, BK_EINVAL, "distillation needs data");
    BK_TRY(teacher_init(&d->teacher, &tc, err));
    BK_TRY(env->space->iface->supernet(env->space->state, &d->net, err));
    d->n_supernet = d->net.n;
    BK_TRY(distilled_probe(d, env, err));
    BK_TRY(bk_weights_new_lazy(env->device, &d->net, dtype, true, env->seed, &d->student, err));
    return bk_weights_need_block(d->student, env->block, err);
}

int distilled_open(struct distilled *d, const struct bk_env *env, const struct distilled_config *c, struct bk_error *err)
{
    *d = (struct distilled){ .space = env->space, .block = env->block, .entry = env->entry, .net = BK_NET_INIT,
                             .compare = c->compare, .augment = c->augment };
    int rc = open_networks(d, env, c, err);
    if (rc)
        distilled_release(d);
    return rc;
}

void distilled_release(struct distilled *d)
{
    bk_weights_free(d->student);
    bk_net_release(&d->net);
    teacher_release(&d->teacher);
    memset(d, 0, sizeof *d);
}

/* ---- artefacts ------------------------------------------------------------------------------------------ */

bool distilled_owns(const struct distilled *d, int32_t slot)
{
    const struct bk_slot *s = &d->net.slot[slot];
    return slot >= d->n_supernet || (s->part == BK_PART_BACKBONE && s->block == d->block);
}

/* Save or load the slots that the block owns. */
static int move_student(const struct distilled *d, struct bk_bundle *out, const struct bk_bundle *in, struct bk_error *err)
{
    struct bk_text name = BK_TEXT_INIT;
    int rc = BK_OK;
    for (int32_t i = 0; i < d->net.n && !rc; i++) {
        struct bk_tensor *t = bk_weights_get(d->student, i);
        if (!distilled_owns(d, i))
            continue;
        name.len = 0;
        bk_text_addf(&name, "student.%s", d->net.slot[i].name);
        if (name.failed)
            rc = bk_fail(err, BK_ENOMEM, "out of memory for a name");
        else
            rc = out ? bk_bundle_put_tensor(out, bk_text_get(&name), t, err)
                     : bk_bundle_get_tensor(in, bk_text_get(&name), t, err);
    }
    bk_text_release(&name);
    return rc;
}

int distilled_save(const struct distilled *d, struct bk_bundle *out, struct bk_error *err)
{
    int64_t n_blocks = d->space->info.n_blocks;
    BK_TRY(move_student(d, out, NULL, err));
    BK_TRY(bk_weights_save(d->teacher.weights, "teacher.", out, err));
    BK_TRY(bk_bundle_put_text(out, "method", "distill", err));
    BK_TRY(bk_bundle_put_text(out, "teacher", d->teacher.name, err));
    BK_TRY(bk_bundle_put_i64(out, "block", d->block, err));
    BK_TRY(bk_bundle_put_i64(out, "entry", d->entry, err));
    BK_TRY(bk_bundle_put_i64(out, "compare", d->compare, err));
    BK_TRY(bk_bundle_put_i64(out, "augment", d->augment, err));
    BK_TRY(bk_bundle_put_i64(out, "teacher_classes", d->teacher.n_classes, err));
    return bk_bundle_put(out, "taps", BK_I32, 1, &n_blocks, d->teacher.tap, err);
}

static int check_method(const struct bk_bundle *b, struct bk_error *err)
{
    const char *method = bk_bundle_text(b, "method");
    if (method && strcmp(method, "distill") == 0 && bk_bundle_text(b, "teacher"))
        return BK_OK;
    return bk_fail(err, BK_EDATA, "the trainer's artefact has method '%.40s', 'distill' is wanted", method ? method : "");
}

int distilled_load(struct distilled *d, const struct bk_bundle *in, struct bk_error *err)
{
    int64_t block, entry;
    BK_TRY(distilled_load_teacher(d, in, err));
    BK_TRY(bk_bundle_i64(in, "block", &block, err));
    BK_TRY(bk_bundle_i64(in, "entry", &entry, err));
    if (block != d->block || entry != d->entry)
        return bk_fail(err, BK_EDATA, "weights of block %lld entered at %lld do not fit block %d entered at %d",
                       (long long)block, (long long)entry, (int)d->block, (int)d->entry);
    BK_TRY(move_student(d, NULL, in, err));
    bk_weights_changed(d->student);
    return BK_OK;
}

int distilled_load_teacher(struct distilled *d, const struct bk_bundle *previous, struct bk_error *err)
{
    BK_TRY(check_method(previous, err));
    const char *name = bk_bundle_text(previous, "teacher");
    if (strcmp(name, d->teacher.name) != 0)
        return bk_fail(err, BK_EDATA, "the artefact's teacher is '%.60s', '%.60s' is wanted", name, d->teacher.name);
    return bk_weights_load(d->teacher.weights, "teacher.", previous, false, err);
}

static int read_config(const struct bk_bundle *b, int32_t n_blocks, struct distilled_config *c,
                       int64_t tap[BK_MAX_BLOCKS], struct bk_error *err)
{
    int64_t n_classes, compare, augment;
    BK_TRY(check_method(b, err));
    BK_TRY(bk_bundle_i64(b, "teacher_classes", &n_classes, err));
    BK_TRY(bk_bundle_i64(b, "compare", &compare, err));
    BK_TRY(bk_bundle_i64(b, "augment", &augment, err));
    const struct bk_bundle_entry *e = bk_bundle_find(b, "taps");
    if (n_classes < 0 || n_classes > INT32_MAX || compare < COMPARE_AUTO || compare > COMPARE_POOLED ||
        augment < AUGMENT_STANDARD || augment > AUGMENT_DNA || !e || e->dtype != BK_I32 || e->rank != 1 || e->dim[0] != n_blocks)
        return bk_fail(err, BK_EDATA, "the trainer's artefact does not describe its teacher");
    for (int32_t k = 0; k < n_blocks; k++)
        tap[k] = ((const int32_t *)e->data)[k];
    *c = (struct distilled_config){ .teacher = bk_bundle_text(b, "teacher"), .n_classes = (int32_t)n_classes,
                                    .taps = { tap, n_blocks }, .compare = (int32_t)compare,
                                    .augment = (int32_t)augment };
    return BK_OK;
}

int distilled_open_trained(struct distilled *d, const struct bk_env *env, const struct bk_bundle *trained,
                           struct bk_error *err)
{
    struct distilled_config c = { 0 };
    int64_t tap[BK_MAX_BLOCKS];
    BK_TRY(read_config(trained, env->space->info.n_blocks, &c, tap, err));
    if (!teacher_net_exists(c.teacher))
        c.taps.n = 0;           /* of the space: its blocks */
    BK_TRY(distilled_open(d, env, &c, err));
    int rc = distilled_load(d, trained, err);
    if (rc)
        distilled_release(d);
    return rc;
}

/* ---- images --------------------------------------------------------------------------------------------------- */

int distilled_view(const struct distilled *d, const struct bk_data *data, struct bk_augment *out, struct bk_error *err)
{
    *out = data->alone;
    if (d->augment == AUGMENT_STANDARD)
        return BK_OK;
    BK_TRY(bk_augment_named("dna", data->alone.size, out, err));
    memcpy(out->mean, data->alone.mean, sizeof out->mean);
    memcpy(out->std, data->alone.std, sizeof out->std);
    return BK_OK;
}

/* ---- running ---------------------------------------------------------------------------------------------- */

static int keep(struct bk_tape *tape, uint32_t dtype, int64_t n, const int64_t hwc[3], struct bk_tensor **t,
                struct bk_error *err)
{
    int64_t dim[4] = { n, hwc[0], hwc[1], hwc[2] };
    return bk_tape_tensor(tape, dtype, 4, dim, t, err);
}

int distilled_features(struct distilled *d, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x,
                       struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *tx = NULL, *ty;
    int64_t n = images->dim[0];
    *x = NULL;
    if (d->block > 0)
        BK_TRY(keep(f->tape, f->dtype, n, d->x_dim, x, err));
    BK_TRY(keep(f->tape, f->dtype, n, d->y_dim, y, err));
    struct bk_tape_mark mark = bk_tape_mark(f->tape);
    bool was = bk_tape_set_recording(f->tape, false);
    int rc = teacher_features(&d->teacher, f, d->block, images, &tx, &ty, err);
    if (!rc && *x)
        rc = bk_tensor_copy(*x, tx, err);
    if (!rc)
        rc = bk_tensor_copy(*y, ty, err);
    bk_tape_rewind(f->tape, mark);
    bk_tape_set_recording(f->tape, was);
    return rc;
}

/* Means over windows; border windows are smaller. */
static int average(struct bk_tape *tape, struct bk_tensor *x, int32_t size, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_pool2d_attr attr = { .size = size, .stride = size, .ceil = 1 };
    *y = x;
    return size > 1 ? bk_avg_pool2d(tape, x, &attr, y, err) : BK_OK;
}

int distilled_input(const struct distilled *d, struct bk_forward *f, struct bk_tensor *x, struct bk_tensor **in,
                    struct bk_error *err)
{
    BK_TRY(average(f->tape, x, d->in_shrink, in, err));
    return d->in_adapter >= 0 ? bk_forward_linear(f, d->in_adapter, *in, in, err) : BK_OK;
}

int distilled_output(const struct distilled *d, struct bk_forward *f, const struct distilled_exit *e, struct bk_tensor *h,
                     struct bk_tensor **out, struct bk_error *err)
{
    BK_TRY(d->pooled ? bk_global_pool(f->tape, h, out, err) : average(f->tape, h, e->shrink_student, out, err));
    return e->adapter >= 0 ? bk_forward_linear(f, e->adapter, *out, out, err) : BK_OK;
}

int distilled_target(const struct distilled *d, struct bk_tape *tape, const struct distilled_exit *e, struct bk_tensor *y,
                     struct bk_tensor **target, struct bk_error *err)
{
    return d->pooled ? bk_global_pool(tape, y, target, err) : average(tape, y, e->shrink_teacher, target, err);
}

const struct distilled_exit *distilled_exit_of(const struct distilled *d, const struct bk_path *path)
{
    int32_t exit = d->space->iface->exit(d->space->state, d->block, d->entry, path);
    for (int32_t i = 0; i < d->n_exits; i++)
        if (d->exit[i].exit == exit)
            return &d->exit[i];
    return NULL;
}

/*
 * nn/forward.c: running modules of a network: the slot-number side of the operations, and norm stores.
 *
 * A `struct bk_forward` says which weights, which activation type and which statistics; the helpers here turn slot
 * numbers into tensors of the right type and call <bosskit/ops.h>. No formula lives here.
 */
#include "nn/weight_set.h"

#include <bosskit/tape.h>

#include <inttypes.h>
#include <string.h>

/* ---- norm stores ------------------------------------------------------------------------------------------ */

struct statistics {
    struct bk_tensor *mean, *var;
};

struct bk_norm_store {
    struct bk_device *device;
    struct statistics *of;      /* by slot number of the scale; NULL tensors: never collected */
    int32_t n;
};

int bk_norm_store_new(struct bk_device *device, struct bk_norm_store **out, struct bk_error *err)
{
    struct bk_norm_store *s = bk_zalloc(sizeof *s);

    if (!s)
        return bk_fail(err, BK_ENOMEM, "cannot make a norm store: out of memory");
    s->device = device;
    *out = s;
    return BK_OK;
}

void bk_norm_store_free(struct bk_norm_store *s)
{
    if (!s)
        return;
    for (int32_t i = 0; i < s->n; i++) {
        bk_tensor_free(s->of[i].mean);
        bk_tensor_free(s->of[i].var);
    }
    bk_free(s->of);
    bk_free(s);
}

static int store_reserve(struct bk_norm_store *s, int32_t slot, struct bk_error *err)
{
    if (slot < s->n)
        return BK_OK;
    int32_t n = slot + 64;
    struct statistics *p = bk_realloc(s->of, (size_t)n * sizeof *p);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "norm store: out of memory");
    memset(p + s->n, 0, (size_t)(n - s->n) * sizeof *p);
    s->of = p;
    s->n = n;
    return BK_OK;
}

/* Statistics as a fresh norm has them: mean 0, variance 1. */
static int make_statistics(struct bk_norm_store *s, const struct bk_tensor *scale,
                           struct statistics *out, struct bk_error *err)
{
    struct statistics new = { NULL, NULL };
    size_t n = (size_t)bk_tensor_numel(scale);
    double *ones = bk_alloc(n * sizeof *ones);
    int rc = ones ? BK_OK : bk_fail(err, BK_ENOMEM, "norm store: out of memory");

    for (size_t i = 0; i < n && !rc; i++)
        ones[i] = 1;
    if (!rc)
        rc = bk_tensor_new(s->device, scale->dtype, 1, scale->dim, &new.mean, err);
    if (!rc)
        rc = bk_tensor_new(s->device, scale->dtype, 1, scale->dim, &new.var, err);
    if (!rc)
        rc = bk_tensor_write_f64(new.var, ones, err);
    bk_free(ones);
    if (rc) {
        bk_tensor_free(new.mean);
        bk_tensor_free(new.var);
        return rc;
    }
    *out = new;
    return BK_OK;
}

static int store_get(struct bk_norm_store *s, const struct bk_slot *slot, int32_t id, bool make,
                     const struct bk_tensor *scale, struct statistics *out, struct bk_error *err)
{
    if (make) {
        BK_TRY(store_reserve(s, id, err));
        if (!s->of[id].mean)
            BK_TRY(make_statistics(s, scale, &s->of[id], err));
    }
    if (id >= s->n || !s->of[id].mean)
        return bk_fail(err, BK_ESTATE, "slot '%s': no statistics were collected in the norm store",
                       slot->name);
    *out = s->of[id];
    if (!bk_tensor_same_shape(out->mean, scale))
        return bk_fail(err, BK_ESTATE, "slot '%s': the norm store is of another network",
                       slot->name);
    return BK_OK;
}

/* ---- modules --------------------------------------------------------------------------------------------------- */

static int check_slots(const struct bk_forward *f, int32_t slot, int32_t n, struct bk_error *err)
{
    if (slot < 0 || slot > f->weights->n - n)
        return bk_fail(err, BK_EINVAL, "slot %" PRId32 " is outside 0..%" PRId32, slot,
                       f->weights->n - n);
    return BK_OK;
}

static const char *slot_name(const struct bk_forward *f, int32_t slot)
{
    return f->weights->net->slot[slot].name;
}

/* Which running statistics the norm at `slot` reads and updates: out->running_* stay NULL for "none". */
static int running_of(struct bk_forward *f, int32_t slot, struct bk_norm_term *out,
                      struct bk_error *err)
{
    const struct bk_slot *s = &f->weights->net->slot[slot];
    bool collect = f->norm_mode == BK_NORM_BATCH;
    struct statistics of = { NULL, NULL };

    if (collect && f->norm_momentum == 0)
        return BK_OK;
    if (f->store) {
        BK_TRY(store_get(f->store, s, slot, collect, out->scale, &of, err));
    } else {
        uint32_t acc = bk_dtype_accum(f->dtype);
        if (collect && acc != f->weights->dtype)
            return bk_fail(err, BK_EINVAL, "slot '%s': %s statistics cannot go into %s weights",
                           s->name, bk_dtype_name(acc), bk_dtype_name(f->weights->dtype));
        BK_TRY(bk_weights_as(f->weights, slot + 2, acc, &of.mean, err));
        BK_TRY(bk_weights_as(f->weights, slot + 3, acc, &of.var, err));
    }
    out->running_mean = of.mean;
    out->running_var = of.var;
    return BK_OK;
}

/* The kernel writes into the set's buffers: copies in other types become stale. */
static void note_update(struct bk_forward *f, int32_t slot)
{
    if (f->norm_mode != BK_NORM_BATCH || f->norm_momentum == 0 || f->store)
        return;
    bk__weights_changed_slot(f->weights, slot + 2);
    bk__weights_changed_slot(f->weights, slot + 3);
}

static int norm_term(struct bk_forward *f, int32_t slot, struct bk_tensor *x,
                     struct bk_norm_term *out, struct bk_error *err)
{
    uint32_t acc = bk_dtype_accum(f->dtype);

    BK_TRY(check_slots(f, slot, 4, err));
    if (f->weights->net->slot[slot].role != BK_ROLE_NORM_SCALE)
        return bk_fail(err, BK_EINVAL, "slot '%s' is not the scale of a norm", slot_name(f, slot));
    *out = (struct bk_norm_term){ .x = x };
    BK_TRY(bk_weights_as(f->weights, slot, acc, &out->scale, err));
    BK_TRY(bk_weights_as(f->weights, slot + 1, acc, &out->offset, err));
    return running_of(f, slot, out, err);
}

static struct bk_batch_norm_attr norm_attr(const struct bk_forward *f, int n, uint32_t activation)
{
    return (struct bk_batch_norm_attr){ .eps = f->norm_eps, .momentum = f->norm_momentum,
                                        .n_terms = n, .activation = (int32_t)activation,
                                        .mode = (int32_t)f->norm_mode };
}

int bk_forward_conv(struct bk_forward *f, int32_t slot, int32_t bias_slot, struct bk_tensor *x,
                    const struct bk_conv2d_attr *attr, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *w, *bias = NULL;

    BK_TRY(bk_weights_as(f->weights, slot, f->dtype, &w, err));
    if (bias_slot >= 0)
        BK_TRY(bk_weights_as(f->weights, bias_slot, bk_dtype_accum(f->dtype), &bias, err));
    if (bk_conv2d(f->tape, x, w, bias, attr, y, err))
        return bk_context(err, "'%s'", slot_name(f, slot));
    return BK_OK;
}

int bk_forward_slim_conv(struct bk_forward *f, int32_t slot, int64_t co, struct bk_tensor *x,
                         const struct bk_conv2d_attr *attr, struct bk_tensor **y,
                         struct bk_error *err)
{
    struct bk_tensor *w, *master;

    BK_TRY(check_slots(f, slot, 1, err));
    BK_TRY(bk_weights_as(f->weights, slot, f->weights->dtype, &master, err));
    if (x->rank != 4 || master->rank != 4 || attr->groups != 1)
        return bk_fail(err, BK_ESHAPE, "'%s': an ungrouped kernel and an image are wanted",
                       slot_name(f, slot));
    int64_t dim[4] = { co, master->dim[1], master->dim[2], x->dim[3] };
    if (!memcmp(dim, master->dim, sizeof dim))
        return bk_forward_conv(f, slot, -1, x, attr, y, err);   /* whole kernel: the cached copy will do */
    if (bk_slice(f->tape, master, dim, f->dtype, &w, err) ||
        bk_conv2d(f->tape, x, w, NULL, attr, y, err))
        return bk_context(err, "'%s'", slot_name(f, slot));
    return BK_OK;
}

int bk_forward_norm(struct bk_forward *f, const int32_t *slot, struct bk_tensor *const *x, int n,
                    struct bk_tensor *residual, uint32_t activation, struct bk_tensor **y,
                    struct bk_error *err)
{
    struct bk_norm_term term[BK_NORM_MAX_TERMS];
    struct bk_batch_norm_attr attr = norm_attr(f, n, activation);

    if (n < 1 || n > BK_NORM_MAX_TERMS)
        return bk_fail(err, BK_EINVAL, "%d norms in one sum, legal: 1..%d", n, BK_NORM_MAX_TERMS);
    for (int i = 0; i < n; i++)
        BK_TRY(norm_term(f, slot[i], x[i], &term[i], err));
    if (bk_batch_norm(f->tape, term, n, residual, &attr, y, err))
        return bk_context(err, "'%s'", slot_name(f, slot[0]));
    for (int i = 0; i < n; i++)
        note_update(f, slot[i]);
    return BK_OK;
}

int bk_forward_linear(struct bk_forward *f, int32_t slot, struct bk_tensor *x,
                      struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *w, *bias;

    BK_TRY(check_slots(f, slot, 2, err));
    BK_TRY(bk_weights_as(f->weights, slot, f->dtype, &w, err));
    BK_TRY(bk_weights_as(f->weights, slot + 1, bk_dtype_accum(f->dtype), &bias, err));
    if (bk_linear(f->tape, x, w, bias, y, err))
        return bk_context(err, "'%s'", slot_name(f, slot));
    return BK_OK;
}

int bk_forward_se(struct bk_forward *f, int32_t reduce_slot, int32_t expand_slot, uint32_t activation,
                  struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *s;

    BK_TRY(bk_global_pool(f->tape, x, &s, err));
    BK_TRY(bk_forward_linear(f, reduce_slot, s, &s, err));
    BK_TRY(bk_activation(f->tape, s, activation, &s, err));
    BK_TRY(bk_forward_linear(f, expand_slot, s, &s, err));
    BK_TRY(bk_activation(f->tape, s, BK_ACT_SIGMOID, &s, err));
    if (bk_scale_channels(f->tape, x, s, y, err))
        return bk_context(err, "'%s'", slot_name(f, expand_slot));
    return BK_OK;
}

static int drop(struct bk_forward *f, uint32_t stream, double rate, int64_t group, struct bk_tensor *x,
                struct bk_tensor **y, struct bk_error *err)
{
    struct bk_dropout_attr attr = { .p = f->training ? rate : 0, .group = group, .seed = f->seed,
                                    .step = f->step, .stream = stream };

    return bk_dropout(f->tape, x, &attr, y, err);
}

int bk_forward_drop_path(struct bk_forward *f, uint32_t stream, double rate, struct bk_tensor *x,
                         struct bk_tensor **y, struct bk_error *err)
{
    int64_t images = x->rank && x->dim[0] ? x->dim[0] : 1;

    return drop(f, stream, rate, bk_tensor_numel(x) / images, x, y, err);
}

int bk_forward_dropout(struct bk_forward *f, uint32_t stream, double rate, struct bk_tensor *x,
                       struct bk_tensor **y, struct bk_error *err)
{
    return drop(f, stream, rate, 1, x, y, err);
}

int bk_forward_pooled_head(struct bk_forward *f, int32_t conv_slot, int32_t norm_slot,
                           struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_batch_norm_attr attr = norm_attr(f, 1, BK_ACT_NONE);
    struct bk_norm_term term;
    struct bk_tensor *master;

    BK_TRY(check_slots(f, conv_slot, 1, err));
    const struct bk_slot *s = &f->weights->net->slot[conv_slot];
    if ((s->rank == 4 && (s->dim[1] != 1 || s->dim[2] != 1)) || (s->rank != 4 && s->rank != 2))
        return bk_fail(err, BK_ESHAPE, "'%s': a 1x1 kernel is wanted", s->name);
    if (f->weights->dtype != bk_dtype_accum(f->dtype))
        return bk_fail(err, BK_EINVAL, "'%s': %s activations do not go with %s weights", s->name,
                       bk_dtype_name(f->dtype), bk_dtype_name(f->weights->dtype));
    BK_TRY(norm_term(f, norm_slot, x, &term, err));
    BK_TRY(bk_weights_as(f->weights, conv_slot, f->weights->dtype, &master, err));
    if (bk_pooled_head(f->tape, x, bk__weights_matrix(f->weights, conv_slot), &term, &attr, y, err))
        return bk_context(err, "'%s'", s->name);
    note_update(f, norm_slot);
    return BK_OK;
}

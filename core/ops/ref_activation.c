/*
 * ops/ref_activation.c: reference kernels of activations, channel factors and dropout.
 */
#include "ops/ref.h"
#include <bosskit/random.h>
#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double bk__ref_act(int32_t activation, double x)
{
    switch (activation) {
    case BK_ACT_NONE:
        return x;
    case BK_ACT_RELU:
        return x < 0 ? 0 : x;           /* NaN stays NaN */
    case BK_ACT_RELU6:
        return x > 6 ? 6 : x < 0 ? 0 : x;
    case BK_ACT_SILU:
        return x * sigmoid(x);
    default:
        return sigmoid(x);
    }
}

double bk__ref_act_slope(int32_t activation, double x)
{
    double s = sigmoid(x);
    switch (activation) {
    case BK_ACT_NONE:
        return 1;
    case BK_ACT_RELU:
        return x > 0;
    case BK_ACT_RELU6:
        return x > 0 && x < 6;
    case BK_ACT_SILU:
        return s * (1 + x * (1 - s));
    default:
        return s * (1 - s);
    }
}

int bk__ref_activation(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_activation_attr *attr = a->attr;
    double *x = bk__ref_load(r, a->in[0]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[0]); i < n; i++)
        x[i] = bk__ref_act(attr->kind, x[i]);
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

int bk__ref_activation_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_activation_attr *attr = a->attr;
    double *g = bk__ref_load_sum(r, a->in, BK_MAX_ADDENDS), *x = bk__ref_load(r, a->in[4]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[4]); i < n; i++)
        g[i] *= bk__ref_act_slope(attr->kind, x[i]);
    bk__ref_store(a->out[0], g);
    return BK_OK;
}

/* The factor of element i of an image tensor shaped like x is s[at(x, i)]. */
static int64_t at(const struct bk_tensor *x, int64_t i)
{
    int64_t C = x->dim[3], image = x->dim[1] * x->dim[2] * C;
    return i / image * C + i % C;
}

int bk__ref_scale_channels(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *x = bk__ref_load(r, a->in[0]), *s = bk__ref_load(r, a->in[1]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[0]); i < n; i++)
        x[i] *= s[at(a->in[0], i)];
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

int bk__ref_scale_channels_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *dy = bk__ref_load(r, a->in[0]), *x = bk__ref_load(r, a->in[1]), *s = bk__ref_load(r, a->in[2]);
    double *ds = bk__ref_new(r, bk_tensor_numel(a->in[2]));
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[1]); i < n; i++) {
        ds[at(a->in[1], i)] += dy[i] * x[i];
        dy[i] *= s[at(a->in[1], i)];
    }
    bk__ref_store(a->out[0], dy);
    bk__ref_store(a->out[1], ds);
    return BK_OK;
}

int bk__ref_dropout(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_dropout_attr *attr = a->attr;
    double *x = bk__ref_load(r, a->in[0]);
    BK_TRY(bk__ref_check(r));
    struct bk_random random;
    bk_random_init(&random, attr->seed, attr->stream, attr->step, 0);
    for (int64_t g = 0, n = bk_tensor_numel(a->in[0]) / attr->group; g < n; g++) {
        bool zero = (double)bk_random_f32(&random) < attr->p;
        for (int64_t i = g * attr->group; i < (g + 1) * attr->group; i++)
            x[i] = zero ? 0 : x[i] / (1 - attr->p);
    }
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

/**
 * tests/ops/op_cases.h: every operation on several shapes, non-square and odd ones among them.
 *
 * The name before the dash is the operation. Comparing and checking is elsewhere (op_harness.h says where).
 */
#ifndef BK_TESTS_OP_CASES_H
#define BK_TESTS_OP_CASES_H

#include "op_harness.h"

/* ---- convolution --------------------------------------------------------------------------------- */

#define CONV(fn, s, p, g, b)                                                             \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        struct bk_conv2d_attr attr = { s, p, g, 0 };                                     \
        struct bk_tensor *w;                                                             \
        BK_TRY(bk_slice(r->tape, r->in[1], r->in[1]->dim, r->dtype, &w, err));           \
        return bk_conv2d(r->tape, r->in[0], w, b, &attr, &r->y, err);                    \
    }
CONV(run_conv_s1p1, 1, 1, 1, NULL)
CONV(run_conv_s2p1, 2, 1, 1, NULL)
CONV(run_conv_s2p0, 2, 0, 1, NULL)
CONV(run_conv_s1p0_bias, 1, 0, 1, r->in[2])
CONV(run_conv_s1p2, 1, 2, 1, NULL)
CONV(run_conv_s2p3, 2, 3, 1, NULL)
CONV(run_conv_g2, 1, 1, 2, r->in[2])

/* Depthwise: as many groups as channels. */
#define DEPTHWISE(fn, s, p)                                                              \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        struct bk_conv2d_attr attr = { s, p, (int32_t)r->in[0]->dim[3], 0 };             \
        struct bk_tensor *w;                                                             \
        BK_TRY(bk_slice(r->tape, r->in[1], r->in[1]->dim, r->dtype, &w, err));           \
        return bk_conv2d(r->tape, r->in[0], w, NULL, &attr, &r->y, err);                 \
    }
DEPTHWISE(run_dw_s1p1, 1, 1)
DEPTHWISE(run_dw_s2p1, 2, 1)
DEPTHWISE(run_dw_s1p2, 1, 2)
DEPTHWISE(run_dw_s2p2, 2, 2)
DEPTHWISE(run_dw_s1p3, 1, 3)
DEPTHWISE(run_dw_s2p3, 2, 3)
DEPTHWISE(run_dw_s2p0, 2, 0)
DEPTHWISE(run_dw_s4p0, 4, 0)
DEPTHWISE(run_dw_s8p0, 8, 0)

/* The weight is a leaf of the activations' type. */
static inline int run_conv_direct(struct op_run *r, struct bk_error *err)
{
    struct bk_conv2d_attr attr = { 1, 1, 1, 0 };
    return bk_conv2d(r->tape, r->in[0], r->in[1], NULL, &attr, &r->y, err);
}

/* Two uses of one slimmable weight at different widths. */
static inline int run_conv_slices(struct op_run *r, struct bk_error *err)
{
    struct bk_conv2d_attr attr = { 1, 1, 1, 0 };
    int64_t narrow[4] = { 5, 3, 3, 6 }, wide[4] = { 6, 3, 3, 5 };
    struct bk_tensor *w, *h;
    BK_TRY(bk_slice(r->tape, r->in[1], narrow, r->dtype, &w, err));
    BK_TRY(bk_conv2d(r->tape, r->in[0], w, NULL, &attr, &h, err));
    BK_TRY(bk_slice(r->tape, r->in[1], wide, r->dtype, &w, err));
    return bk_conv2d(r->tape, h, w, NULL, &attr, &r->y, err);
}

/* ---- normalisation ------------------------------------------------------------------------------- */

/* leaves: residual, then x, scale, offset, running mean, running var of each term */
static inline int norm(struct op_run *r, int n, bool residual, int32_t act, uint32_t mode, bool running,
                       struct bk_error *err)
{
    struct bk_norm_term t[BK_NORM_MAX_TERMS];
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .activation = act, .mode = (int32_t)mode };
    for (int i = 0; i < n; i++) {
        struct bk_tensor **in = r->in + 1 + 5 * i;
        t[i] = (struct bk_norm_term){ in[0], in[1], in[2], running ? in[3] : NULL, running ? in[4] : NULL };
    }
    return bk_batch_norm(r->tape, t, n, residual ? r->in[0] : NULL, &attr, &r->y, err);
}
#define NORM(fn, n, residual, act, mode, running)                                        \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        return norm(r, n, residual, act, mode, running, err);                            \
    }
NORM(run_norm1, 1, false, BK_ACT_NONE, BK_NORM_BATCH, true)
NORM(run_norm1_relu, 1, false, BK_ACT_RELU, BK_NORM_BATCH, false)
NORM(run_norm1_res, 1, true, BK_ACT_NONE, BK_NORM_BATCH, true)
NORM(run_norm2_relu, 2, false, BK_ACT_RELU, BK_NORM_BATCH, true)
NORM(run_norm3_res_relu, 3, true, BK_ACT_RELU, BK_NORM_BATCH, true)
NORM(run_norm3_res, 3, true, BK_ACT_NONE, BK_NORM_BATCH, true)
NORM(run_norm1_run, 1, false, BK_ACT_RELU, BK_NORM_RUNNING, true)
NORM(run_norm3_run, 3, true, BK_ACT_RELU, BK_NORM_RUNNING, true)
NORM(run_norm1_silu, 1, false, BK_ACT_SILU, BK_NORM_BATCH, true)
NORM(run_norm1_res_silu, 1, true, BK_ACT_SILU, BK_NORM_BATCH, false)
NORM(run_norm2_silu, 2, false, BK_ACT_SILU, BK_NORM_BATCH, true)
NORM(run_norm3_res_silu, 3, true, BK_ACT_SILU, BK_NORM_BATCH, true)
NORM(run_norm1_silu_run, 1, true, BK_ACT_SILU, BK_NORM_RUNNING, true)
NORM(run_norm1_relu6, 1, false, BK_ACT_RELU6, BK_NORM_BATCH, true)
NORM(run_norm3_res_relu6, 3, true, BK_ACT_RELU6, BK_NORM_BATCH, true)
NORM(run_norm1_sigmoid, 1, false, BK_ACT_SIGMOID, BK_NORM_BATCH, true)
NORM(run_norm2_res_sigmoid, 2, true, BK_ACT_SIGMOID, BK_NORM_BATCH, true)

/* The output is used four times, so that its gradient arrives as addends; the input is used twice. */
static inline int norm_addends(struct op_run *r, int32_t act, struct bk_error *err)
{
    struct bk_pool2d_attr pool = { 3, 1, 1, 0 };
    struct bk_tensor *sum[4], *x, *y;
    BK_TRY(norm(r, 1, false, act, BK_NORM_BATCH, false, err));
    y = r->y;
    x = r->in[1];
    BK_TRY(bk_avg_pool2d(r->tape, y, &pool, &sum[0], err));
    BK_TRY(bk_max_pool2d(r->tape, y, &pool, &sum[1], err));
    BK_TRY(bk_relu(r->tape, y, &sum[2], err));
    BK_TRY(bk_add(r->tape, (struct bk_tensor *[]){ y, x }, 2, false, &sum[3], err));
    return bk_add(r->tape, sum, 4, false, &r->y, err);
}

static inline int run_norm_addends(struct op_run *r, struct bk_error *err)
{
    return norm_addends(r, BK_ACT_RELU, err);
}

static inline int run_norm_silu_addends(struct op_run *r, struct bk_error *err)
{
    return norm_addends(r, BK_ACT_SILU, err);
}

/* ---- element by element -------------------------------------------------------------------------- */

static inline int run_relu(struct op_run *r, struct bk_error *err)
{
    return bk_relu(r->tape, r->in[0], &r->y, err);
}

static inline int run_relu_addends(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *h, *a, *b;
    BK_TRY(bk_relu(r->tape, r->in[0], &h, err));
    BK_TRY(bk_relu(r->tape, h, &a, err));
    BK_TRY(bk_relu(r->tape, h, &b, err));
    return bk_add(r->tape, (struct bk_tensor *[]){ a, b, h }, 3, true, &r->y, err);
}

/* 8 x, so that values reach the flat parts, then the activation. */
static inline int activate(struct op_run *r, uint32_t kind, struct bk_error *err)
{
    struct bk_tensor *x = r->in[0], *h;
    BK_TRY(bk_add(r->tape, (struct bk_tensor *[]){ x, x }, 2, false, &h, err));
    BK_TRY(bk_add(r->tape, (struct bk_tensor *[]){ h, h, h, h }, 4, false, &h, err));
    return bk_activation(r->tape, h, kind, &r->y, err);
}
#define ACTIVATION(fn, kind)                                                             \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        return activate(r, kind, err);                                                   \
    }
ACTIVATION(run_act_relu, BK_ACT_RELU)
ACTIVATION(run_act_relu6, BK_ACT_RELU6)
ACTIVATION(run_act_silu, BK_ACT_SILU)
ACTIVATION(run_act_sigmoid, BK_ACT_SIGMOID)

static inline int run_act_addends(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *h, *a, *b;
    BK_TRY(bk_activation(r->tape, r->in[0], BK_ACT_SILU, &h, err));
    BK_TRY(bk_activation(r->tape, h, BK_ACT_SIGMOID, &a, err));
    BK_TRY(bk_relu(r->tape, h, &b, err));
    return bk_add(r->tape, (struct bk_tensor *[]){ a, b, h }, 3, false, &r->y, err);
}

static inline int run_scale_channels(struct op_run *r, struct bk_error *err)
{
    return bk_scale_channels(r->tape, r->in[0], r->in[1], &r->y, err);
}

/* The factors come from x itself, as in squeeze-and-excitation. */
static inline int run_scale_self(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *s;
    BK_TRY(bk_global_pool(r->tape, r->in[0], &s, err));
    BK_TRY(bk_activation(r->tape, s, BK_ACT_SIGMOID, &s, err));
    return bk_scale_channels(r->tape, r->in[0], s, &r->y, err);
}

static inline int run_dropout(struct op_run *r, struct bk_error *err)
{
    struct bk_dropout_attr attr = { .p = 0.3, .group = 1, .seed = 3, .step = 5, .stream = 7 };
    return bk_dropout(r->tape, r->in[0], &attr, &r->y, err);
}

static inline int run_drop_images(struct op_run *r, struct bk_error *err)
{
    struct bk_dropout_attr attr = { .p = 0.5, .seed = 1ull << 40, .step = 6, .stream = 8 };
    attr.group = bk_tensor_numel(r->in[0]) / r->in[0]->dim[0];
    return bk_dropout(r->tape, r->in[0], &attr, &r->y, err);
}

static inline int run_attention1(struct op_run *r, struct bk_error *err)
{
    return bk_attention(r->tape, r->in[0], 1, &r->y, err);
}

static inline int run_attention4(struct op_run *r, struct bk_error *err)
{
    return bk_attention(r->tape, r->in[0], 4, &r->y, err);
}

static inline int run_attention_reversed(struct op_run *r, struct bk_error *err)
{
    return bk_attention_reversed(r->tape, r->in[0], 4, &r->y, err);
}

static inline int run_add2(struct op_run *r, struct bk_error *err)
{
    return bk_add(r->tape, r->in, 2, false, &r->y, err);
}

static inline int run_add4_relu(struct op_run *r, struct bk_error *err)
{
    return bk_add(r->tape, r->in, 4, true, &r->y, err);
}

/* Seven gradients arrive at one tensor: more than a rule takes at once. */
static inline int run_add_many(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *h, *a[3];
    BK_TRY(bk_relu(r->tape, r->in[0], &h, err));
    BK_TRY(bk_add(r->tape, (struct bk_tensor *[]){ h, h, h, h }, 4, false, &a[0], err));
    BK_TRY(bk_add(r->tape, (struct bk_tensor *[]){ h, h }, 2, true, &a[1], err));
    BK_TRY(bk_relu(r->tape, h, &a[2], err));
    return bk_add(r->tape, a, 3, false, &r->y, err);
}

static inline int run_slice(struct op_run *r, struct bk_error *err)
{
    int64_t dim[4] = { 3, 2, 3, 4 };
    return bk_slice(r->tape, r->in[0], dim, r->dtype, &r->y, err);
}

static inline int run_slice_vector(struct op_run *r, struct bk_error *err)
{
    return bk_slice(r->tape, r->in[0], (int64_t[]){ 11 }, r->dtype, &r->y, err);
}

static inline int run_cast(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *h;
    BK_TRY(bk_relu(r->tape, r->in[0], &h, err));
    return bk_cast(r->tape, h, bk_dtype_accum(r->dtype), &r->y, err);
}

static inline int run_blend(struct op_run *r, struct bk_error *err)
{
    r->y = r->in[0];
    return bk_blend(r->in[0], 0.75, r->in[1], -0.5, err);
}

/* ---- pooling ------------------------------------------------------------------------------------- */

#define POOL(fn, op, k, s, p, up)                                                          \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        struct bk_pool2d_attr attr = { k, s, p, up };                                    \
        return op(r->tape, r->in[0], &attr, &r->y, err);                                 \
    }
POOL(run_avg_3s2, bk_avg_pool2d, 3, 2, 1, 0)
POOL(run_avg_2s2, bk_avg_pool2d, 2, 2, 0, 0)
POOL(run_avg_3s1, bk_avg_pool2d, 3, 1, 1, 0)
POOL(run_max_3s2, bk_max_pool2d, 3, 2, 1, 0)
POOL(run_max_2s2, bk_max_pool2d, 2, 2, 0, 0)
POOL(run_max_5s1, bk_max_pool2d, 5, 1, 2, 0)

POOL(run_avg_2s2_up, bk_avg_pool2d, 2, 2, 0, 1)
POOL(run_avg_3s2_up, bk_avg_pool2d, 3, 2, 1, 1)
POOL(run_max_2s2_up, bk_max_pool2d, 2, 2, 0, 1)
POOL(run_max_3s2_up, bk_max_pool2d, 3, 2, 1, 1)

static inline int run_global(struct op_run *r, struct bk_error *err)
{
    return bk_global_pool(r->tape, r->in[0], &r->y, err);
}

/* ---- linear maps, head --------------------------------------------------------------------------- */

static inline int run_linear(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *w;
    BK_TRY(bk_slice(r->tape, r->in[1], r->in[1]->dim, r->dtype, &w, err));
    return bk_linear(r->tape, r->in[0], w, r->in[2], &r->y, err);
}

static inline int run_linear_direct(struct op_run *r, struct bk_error *err)
{
    return bk_linear(r->tape, r->in[0], r->in[1], NULL, &r->y, err);
}

/* leaves: x, w, scale, offset, running mean, running var */
static inline int run_head(struct op_run *r, struct bk_error *err)
{
    struct bk_norm_term t = { NULL, r->in[2], r->in[3], r->in[4], r->in[5] };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .mode = BK_NORM_BATCH };
    return bk_pooled_head(r->tape, r->in[0], r->in[1], &t, &attr, &r->y, err);
}

static inline int run_head_running(struct op_run *r, struct bk_error *err)
{
    struct bk_norm_term t = { NULL, r->in[2], r->in[3], r->in[4], r->in[5] };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .mode = BK_NORM_RUNNING };
    bool was = bk_tape_set_recording(r->tape, false);
    int rc = bk_pooled_head(r->tape, r->in[0], r->in[1], &t, &attr, &r->y, err);
    bk_tape_set_recording(r->tape, was);
    return rc;
}

/* ---- losses -------------------------------------------------------------------------------------- */

static inline int run_unit(struct op_run *r, struct bk_error *err)
{
    return bk_unit(r->tape, r->in[0], &r->y, err);
}

static inline int run_cosine(struct op_run *r, struct bk_error *err)
{
    return bk_cosine_loss(r->tape, r->in[0], r->in[1], &r->y, err);
}

static inline int run_xent(struct op_run *r, struct bk_error *err)
{
    struct bk_cross_entropy_attr attr = { 0 };
    return bk_cross_entropy(r->tape, r->in[0], r->in[1], &attr, &r->y, err);
}

static inline int run_xent_smooth(struct op_run *r, struct bk_error *err)
{
    struct bk_cross_entropy_attr attr = { 0.1 };
    return bk_cross_entropy(r->tape, r->in[0], r->in[1], &attr, &r->y, err);
}

static inline int run_mse(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *t;
    BK_TRY(bk_cast(r->tape, r->in[1], r->dtype, &t, err));
    return bk_mse_loss(r->tape, r->in[0], t, &r->y, err);
}

/* The positive leaf, each row divided by its sum, is the target. */
static inline int run_soft_xent(struct op_run *r, struct bk_error *err)
{
    const struct bk_tensor *given = r->in[1];
    int64_t rows = given->dim[0], n = given->dim[1];
    struct bk_tensor *t;
    double *v = malloc((size_t)(rows * n) * sizeof *v);
    int rc = bk_tensor_read_f64(given, v, err);
    for (int64_t i = 0; i < rows && !rc; i++) {
        double sum = 0;
        for (int64_t o = 0; o < n; o++)
            sum += v[i * n + o];
        for (int64_t o = 0; o < n; o++)
            v[i * n + o] /= sum;
    }
    if (!rc)
        rc = bk_tape_tensor(r->tape, given->dtype, 2, given->dim, &t, err);
    if (!rc)
        rc = bk_tensor_write_f64(t, v, err);
    free(v);
    return rc ? rc : bk_soft_cross_entropy(r->tape, r->in[0], t, &r->y, err);
}

/* ---- optimisers: leaves w, g, state, state ------------------------------------------------------- */

static inline int optim(struct op_run *r, uint32_t kernel, uint32_t n, int32_t variant, struct bk_error *err)
{
    struct bk_optim_attr attr = {
        .lr = 0.3, .momentum = 0.9, .weight_decay = 0.01, .trust = 0.02, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3,
        .bias1 = 0.19, .bias2 = 0.0199, .nesterov = variant == 1, .zero_guard = variant == 1, .excluded = variant == 2,
        .first = variant == 3, .skip_zero = 1,
    };
    struct bk_kernel_args args = { .n_in = n, .n_out = n, .attr = &attr };
    for (uint32_t i = 0; i < n; i++)
        args.in[i] = args.out[i] = r->in[i];
    r->y = r->in[0];
    return bk_device_run(bk_tape_device(r->tape), kernel, &args, err);
}
#define OPTIM(fn, kernel, n, variant)                                                    \
    static inline int fn(struct op_run *r, struct bk_error *err)                         \
    {                                                                                    \
        return optim(r, kernel, n, variant, err);                                        \
    }
OPTIM(run_sgd, BK_K_SGD_STEP, 3, 0)
OPTIM(run_sgd_nesterov, BK_K_SGD_STEP, 3, 1)
OPTIM(run_sgd_first, BK_K_SGD_STEP, 3, 3)
OPTIM(run_lars, BK_K_LARS_STEP, 3, 0)
OPTIM(run_lars_guard, BK_K_LARS_STEP, 3, 1)
OPTIM(run_lars_excluded, BK_K_LARS_STEP, 3, 2)
OPTIM(run_lars_first, BK_K_LARS_STEP, 3, 3)
OPTIM(run_adamw, BK_K_ADAMW_STEP, 4, 0)
OPTIM(run_adamw_excluded, BK_K_ADAMW_STEP, 4, 2)
OPTIM(run_rmsprop, BK_K_RMSPROP_STEP, 4, 0)

/* ---- the list ------------------------------------------------------------------------------------ */

/* clang-format off */
#define X4(n, h, w, c) { ACT, 4, { n, h, w, c } }
#define W4(o, i, j, c) { PARAM, 4, { o, i, j, c } }
#define P1(n) { PARAM, 1, { n } }
#define S1(n) { STATE, 1, { n } }
#define V1(n) { POSITIVE, 1, { n } }
#define TERM(n, h, w, c) X4(n, h, w, c), P1(c), P1(c), S1(c), V1(c)

static const struct op_case op_cases[] = {
    { "conv2d-1x1",          { X4(3, 5, 4, 16), W4(24, 1, 1, 16), P1(24) }, run_conv_s1p0_bias, 0 },
    { "conv2d-1x1 odd",      { X4(2, 5, 7, 5), W4(7, 1, 1, 5), P1(7) }, run_conv_s1p0_bias, 0 },
    { "conv2d-3x3",          { X4(2, 7, 6, 8), W4(16, 3, 3, 8) }, run_conv_s1p1, 0 },
    { "conv2d-3x3 rgb",      { X4(2, 9, 8, 3), W4(16, 3, 3, 3) }, run_conv_s1p1, 0 },
    { "conv2d-3x3 stride 2", { X4(2, 7, 9, 5), W4(6, 3, 3, 5) }, run_conv_s2p1, 0 },
    { "conv2d-3x3 stride 2 even", { X4(2, 8, 6, 16), W4(16, 3, 3, 16) }, run_conv_s2p1, 0 },
    { "conv2d-1x1 stride 2", { X4(2, 7, 8, 24), W4(40, 1, 1, 24) }, run_conv_s2p0, 0 },
    { "conv2d-5x5",          { X4(1, 6, 5, 4), W4(3, 5, 5, 4) }, run_conv_s1p2, 0 },
    { "conv2d-7x7 stride 2", { X4(1, 11, 13, 3), W4(8, 7, 7, 3) }, run_conv_s2p3, 0 },
    { "conv2d-3x1",          { X4(2, 5, 6, 4), W4(5, 3, 1, 4) }, run_conv_s1p1, 0 },
    { "conv2d-groups 2",     { X4(2, 5, 6, 6), W4(4, 3, 3, 3), P1(4) }, run_conv_g2, 0 },
    { "conv2d-depthwise 3",  { X4(2, 6, 5, 8), W4(8, 3, 3, 1) }, run_dw_s1p1, 0 },
    { "conv2d-depthwise 3 stride 2", { X4(2, 7, 6, 24), W4(24, 3, 3, 1) }, run_dw_s2p1, 0 },
    { "conv2d-depthwise 5",  { X4(2, 7, 6, 24), W4(24, 5, 5, 1) }, run_dw_s1p2, 0 },
    { "conv2d-depthwise 5 stride 2", { X4(2, 9, 8, 24), W4(24, 5, 5, 1) }, run_dw_s2p2, 0 },
    { "conv2d-depthwise 7 odd", { X4(1, 9, 8, 9), W4(9, 7, 7, 1) }, run_dw_s1p3, 0 },
    { "conv2d-depthwise 3 wide", { X4(2, 6, 5, 72), W4(72, 3, 3, 1) }, run_dw_s1p1, 0 },
    { "conv2d-depthwise 3 stride 2 odd", { X4(1, 8, 7, 19), W4(19, 3, 3, 1) }, run_dw_s2p1, 0 },
    { "conv2d-depthwise 3 narrow", { X4(2, 2, 1, 40), W4(40, 3, 3, 1) }, run_dw_s2p1, 0 },
    { "conv2d-depthwise 7",  { X4(1, 8, 9, 40), W4(40, 7, 7, 1) }, run_dw_s1p3, 0 },
    { "conv2d-depthwise 7 stride 2", { X4(1, 9, 10, 24), W4(24, 7, 7, 1) }, run_dw_s2p3, 0 },
    { "conv2d-depthwise 7 narrow", { X4(2, 4, 2, 24), W4(24, 7, 7, 1) }, run_dw_s2p3, 0 },
    { "conv2d-depthwise 2",  { X4(2, 6, 5, 24), W4(24, 2, 2, 1) }, run_dw_s2p0, 0 },
    { "conv2d-depthwise 4",  { X4(1, 9, 12, 40), W4(40, 4, 4, 1) }, run_dw_s4p0, 0 },
    { "conv2d-depthwise 8",  { X4(1, 16, 9, 24), W4(24, 8, 8, 1) }, run_dw_s8p0, 0 },
    { "conv2d-direct",       { X4(2, 5, 6, 6), { ACT, 4, { 5, 3, 3, 6 } } }, run_conv_direct, 0 },
    { "conv2d-slices",       { X4(2, 5, 6, 6), W4(8, 3, 3, 8) }, run_conv_slices, 0 },

    { "batch_norm-1",            { X4(3, 4, 5, 8), TERM(3, 4, 5, 8) }, run_norm1, 0 },
    { "batch_norm-1 relu odd",   { X4(2, 5, 3, 7), TERM(2, 5, 3, 7) }, run_norm1_relu, 0 },
    { "batch_norm-1 relu wide",  { X4(2, 5, 3, 40), TERM(2, 5, 3, 40) }, run_norm1_relu, 0 },
    { "batch_norm-1 residual",   { X4(3, 4, 5, 24), TERM(3, 4, 5, 24) }, run_norm1_res, 0 },
    { "batch_norm-2 relu",       { X4(3, 4, 5, 16), TERM(3, 4, 5, 16), TERM(3, 4, 5, 16) }, run_norm2_relu, 0 },
    { "batch_norm-3 residual relu", { X4(3, 4, 5, 8), TERM(3, 4, 5, 8), TERM(3, 4, 5, 8), TERM(3, 4, 5, 8) }, run_norm3_res_relu, 0 },
    { "batch_norm-3 residual",   { X4(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5) }, run_norm3_res, 0 },
    { "batch_norm-running",      { X4(3, 4, 5, 8), TERM(3, 4, 5, 8) }, run_norm1_run, 0 },
    { "batch_norm-running 3",    { X4(3, 4, 5, 12), TERM(3, 4, 5, 12), TERM(3, 4, 5, 12), TERM(3, 4, 5, 12) }, run_norm3_run, 0 },
    { "batch_norm-rows",         { { ACT, 2, { 9, 33 } }, { ACT, 2, { 9, 33 } }, P1(33), P1(33), S1(33), V1(33) }, run_norm1_relu, 0 },
    { "batch_norm-addends",      { X4(2, 5, 6, 8), TERM(2, 5, 6, 8) }, run_norm_addends, 0 },
    { "batch_norm-1 silu odd",   { X4(2, 5, 3, 7), TERM(2, 5, 3, 7) }, run_norm1_silu, 0 },
    { "batch_norm-1 silu wide",  { X4(2, 5, 3, 72), TERM(2, 5, 3, 72) }, run_norm1_silu, 0 },
    { "batch_norm-1 residual silu", { X4(3, 4, 5, 24), TERM(3, 4, 5, 24) }, run_norm1_res_silu, 0 },
    { "batch_norm-2 silu",       { X4(3, 4, 5, 16), TERM(3, 4, 5, 16), TERM(3, 4, 5, 16) }, run_norm2_silu, 0 },
    { "batch_norm-3 residual silu", { X4(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5) }, run_norm3_res_silu, 0 },
    { "batch_norm-running silu", { X4(3, 4, 5, 8), TERM(3, 4, 5, 8) }, run_norm1_silu_run, 0 },
    { "batch_norm-1 relu6",      { X4(2, 5, 3, 40), TERM(2, 5, 3, 40) }, run_norm1_relu6, 0 },
    { "batch_norm-3 residual relu6", { X4(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5), TERM(2, 3, 5, 5) }, run_norm3_res_relu6, 0 },
    { "batch_norm-1 sigmoid",    { X4(2, 5, 3, 40), TERM(2, 5, 3, 40) }, run_norm1_sigmoid, 0 },
    { "batch_norm-2 residual sigmoid", { X4(3, 4, 5, 16), TERM(3, 4, 5, 16), TERM(3, 4, 5, 16) }, run_norm2_res_sigmoid, 0 },
    { "batch_norm-rows silu",    { { ACT, 2, { 9, 33 } }, { ACT, 2, { 9, 33 } }, P1(33), P1(33), S1(33), V1(33) }, run_norm1_silu, 0 },
    { "batch_norm-addends silu", { X4(2, 5, 6, 8), TERM(2, 5, 6, 8) }, run_norm_silu_addends, 0 },

    { "relu-4",          { X4(2, 5, 3, 7) }, run_relu, 0 },
    { "relu-addends",    { X4(2, 5, 3, 16) }, run_relu_addends, 0 },
    { "add-2",           { X4(2, 5, 3, 7), X4(2, 5, 3, 7) }, run_add2, 0 },
    { "add-4 relu",      { X4(2, 3, 3, 8), X4(2, 3, 3, 8), X4(2, 3, 3, 8), X4(2, 3, 3, 8) }, run_add4_relu, 0 },
    { "add-many",        { X4(2, 3, 3, 5) }, run_add_many, 0 },
    { "slice-4",         { W4(5, 3, 3, 6) }, run_slice, 0 },
    { "slice-1",         { P1(17) }, run_slice_vector, 0 },
    { "cast-4",          { X4(2, 5, 3, 7) }, run_cast, 0 },
    { "blend-1",         { { STATE, 2, { 7, 19 } }, { STATE, 2, { 7, 19 } } }, run_blend, NO_GRADIENT },

    { "activation-relu",    { X4(2, 5, 3, 7) }, run_act_relu, 0 },
    { "activation-relu6",   { X4(2, 5, 3, 7) }, run_act_relu6, 0 },
    { "activation-silu",    { X4(2, 5, 3, 7) }, run_act_silu, 0 },
    { "activation-sigmoid", { { ACT, 2, { 5, 33 } } }, run_act_sigmoid, 0 },
    { "activation-large",   { X4(2, 17, 13, 40) }, run_act_silu, 0 },
    { "activation-addends", { X4(2, 5, 3, 16) }, run_act_addends, 0 },
    { "scale_channels-24",  { X4(3, 5, 4, 24), { ACT, 2, { 3, 24 } } }, run_scale_channels, 0 },
    { "scale_channels-odd", { X4(2, 3, 7, 7), { ACT, 2, { 2, 7 } } }, run_scale_channels, 0 },
    { "scale_channels-large", { X4(4, 12, 11, 40), { ACT, 2, { 4, 40 } } }, run_scale_channels, 0 },
    { "scale_channels-self", { X4(2, 6, 3, 72) }, run_scale_self, 0 },
    { "attention-1",        { X4(2, 3, 5, 30) }, run_attention1, 0 },
    { "attention-4",        { X4(1, 4, 4, 192) }, run_attention4, 0 },
    { "attention-4 odd",    { X4(2, 7, 3, 36) }, run_attention4, 0 },
    { "attention-reversed", { X4(2, 7, 3, 36) }, run_attention_reversed, 0 },
    { "attention-reversed large", { X4(1, 5, 4, 192) }, run_attention_reversed, 0 },
    { "dropout-elements",   { X4(2, 5, 3, 7) }, run_dropout, 0 },
    { "dropout-large",      { X4(2, 17, 13, 40) }, run_dropout, 0 },
    { "dropout-images",     { X4(7, 3, 2, 5) }, run_drop_images, 0 },

    { "avg_pool2d-3 stride 2", { X4(2, 7, 6, 8) }, run_avg_3s2, 0 },
    { "avg_pool2d-2 stride 2", { X4(2, 7, 6, 5) }, run_avg_2s2, 0 },
    { "avg_pool2d-3",          { X4(1, 5, 4, 24) }, run_avg_3s1, 0 },
    { "max_pool2d-3 stride 2", { X4(2, 7, 6, 8) }, run_max_3s2, 0 },
    { "max_pool2d-2 stride 2", { X4(2, 7, 6, 5) }, run_max_2s2, 0 },
    { "max_pool2d-5",          { X4(1, 5, 7, 24) }, run_max_5s1, 0 },
    { "avg_pool2d-2 rounded up", { X4(2, 7, 7, 24) }, run_avg_2s2_up, 0 },
    { "avg_pool2d-3 rounded up", { X4(2, 6, 5, 5) }, run_avg_3s2_up, 0 },
    { "avg_pool2d-one pixel",    { X4(2, 1, 3, 8) }, run_avg_2s2_up, 0 },
    { "max_pool2d-2 rounded up", { X4(2, 7, 7, 24) }, run_max_2s2_up, 0 },
    { "max_pool2d-3 rounded up", { X4(2, 6, 5, 5) }, run_max_3s2_up, 0 },
    { "global_pool-8",         { X4(3, 5, 4, 8) }, run_global, 0 },
    { "global_pool-odd",       { X4(2, 3, 3, 37) }, run_global, 0 },

    { "linear-2",       { { ACT, 2, { 5, 12 } }, { PARAM, 2, { 7, 12 } }, P1(7) }, run_linear, 0 },
    { "linear-wide",    { { ACT, 2, { 33, 64 } }, { PARAM, 2, { 40, 64 } }, P1(40) }, run_linear, 0 },
    { "linear-3",       { { ACT, 3, { 2, 5, 9 } }, { PARAM, 2, { 4, 9 } }, P1(4) }, run_linear, 0 },
    { "linear-direct",  { { ACT, 2, { 6, 10 } }, { ACT, 2, { 3, 10 } } }, run_linear_direct, 0 },
    { "pooled_head-8",  { X4(5, 3, 4, 8), { PARAM, 2, { 19, 8 } }, P1(19), P1(19), S1(19), V1(19) }, run_head, 0 },
    { "pooled_head-odd", { X4(4, 5, 3, 7), { PARAM, 2, { 32, 7 } }, P1(32), P1(32), S1(32), V1(32) }, run_head, 0 },
    { "pooled_head-running", { X4(4, 5, 3, 7), { PARAM, 2, { 32, 7 } }, P1(32), P1(32), S1(32), V1(32) }, run_head_running, NO_GRADIENT },

    { "unit-2",               { { STATE, 2, { 6, 33 } } }, run_unit, NO_GRADIENT },
    { "unit-act",             { { ACT, 2, { 6, 33 } } }, run_unit, NO_GRADIENT },
    { "cosine_loss-2",        { { ACT, 2, { 6, 33 } }, { STATE, 2, { 6, 33 } } }, run_cosine, 0 },
    { "cross_entropy-10",     { { ACT, 2, { 7, 10 } }, { LABEL, 1, { 7, 10 } } }, run_xent, 0 },
    { "cross_entropy-smooth", { { ACT, 2, { 5, 13 } }, { LABEL, 1, { 5, 13 } } }, run_xent_smooth, 0 },

    { "mse_loss-4",           { X4(2, 5, 3, 7), { STATE, 4, { 2, 5, 3, 7 } } }, run_mse, 0 },
    { "mse_loss-chunks",      { X4(2, 29, 31, 16), { STATE, 4, { 2, 29, 31, 16 } } }, run_mse, 0 },
    { "soft_cross_entropy-10", { { ACT, 2, { 7, 10 } }, { POSITIVE, 2, { 7, 10 } } }, run_soft_xent, 0 },

    { "sgd_step-plain",     { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_sgd, NO_GRADIENT },
    { "sgd_step-nesterov",  { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_sgd_nesterov, NO_GRADIENT },
    { "sgd_step-first",     { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_sgd_first, NO_GRADIENT },
    { "lars_step-plain",    { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_lars, NO_GRADIENT },
    { "lars_step-guard",    { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_lars_guard, NO_GRADIENT },
    { "lars_step-excluded", { P1(37), S1(37), S1(37) }, run_lars_excluded, NO_GRADIENT },
    { "lars_step-first",    { W4(5, 3, 3, 7), { STATE, 4, { 5, 3, 3, 7 } }, { STATE, 4, { 5, 3, 3, 7 } } }, run_lars_first, NO_GRADIENT },
    { "adamw_step-plain",   { P1(137), S1(137), S1(137), V1(137) }, run_adamw, NO_GRADIENT },
    { "adamw_step-excluded", { P1(37), S1(37), S1(37), V1(37) }, run_adamw_excluded, NO_GRADIENT },
    { "rmsprop_step-plain", { P1(137), S1(137), V1(137), S1(137) }, run_rmsprop, NO_GRADIENT },
};
/* clang-format on */

#endif

/**
 * ops/ref.h: inside of the reference backend.
 *
 * A reference kernel reads its tensors into arrays of double, computes with plain loops a student can check against
 * the formula, and writes the result back in the tensor's type; so one text serves f32, bf16 and f64, and rounding
 * happens once. Arrays belong to the call (`struct bk__ref`) and are released by the dispatcher in ref_backend.c. An
 * allocation that fails sets `failed`; kernels check it once after their loads. Speed is not a goal.
 */
#ifndef BK_OPS_REF_H
#define BK_OPS_REF_H

#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/optim.h>

#define BK__REF_MAX_ARRAYS 48

struct bk__ref {
    double *array[BK__REF_MAX_ARRAYS];
    int n;
    bool failed;
    struct bk_error *err;
};

/** n zeroed doubles; NULL (and `failed`) without memory. */
double *bk__ref_new(struct bk__ref *r, int64_t n);
/** The values of t; NULL when t is NULL. */
double *bk__ref_load(struct bk__ref *r, const struct bk_tensor *t);
/** The sum of n tensors of one shape, some of which may be NULL. */
double *bk__ref_load_sum(struct bk__ref *r, const struct bk_tensor *const *t, int n);
/** t = v; nothing when t is NULL. */
void bk__ref_store(struct bk_tensor *t, const double *v);
/** t += v; nothing when t is NULL. */
void bk__ref_accumulate(struct bk_tensor *t, const double *v);
/** BK_ENOMEM when an array could not be had. */
int bk__ref_check(struct bk__ref *r);

/** All dimensions but the last, multiplied. */
static inline int64_t bk__rows(const struct bk_tensor *t)
{
    return bk_tensor_numel(t) / t->dim[t->rank - 1];
}

/** f(x) and f'(x) of a bk_activation; x and 1 without one. */
double bk__ref_act(int32_t activation, double x);
double bk__ref_act_slope(int32_t activation, double x);

typedef int (*bk__ref_fn)(struct bk__ref *r, const struct bk_kernel_args *a);

#define BK__REF_KERNELS(X)                                                               \
    X(CONV2D, conv2d) X(CONV2D_DX, conv2d_dx) X(CONV2D_DW, conv2d_dw)                    \
    X(BATCH_NORM, batch_norm) X(BATCH_NORM_DX, batch_norm_dx)                            \
    X(RELU, relu) X(RELU_DX, relu_dx) X(ADD, add)                                        \
    X(AVG_POOL2D, avg_pool2d) X(AVG_POOL2D_DX, avg_pool2d_dx)                            \
    X(MAX_POOL2D, max_pool2d) X(MAX_POOL2D_DX, max_pool2d_dx)                            \
    X(GLOBAL_POOL, global_pool) X(GLOBAL_POOL_DX, global_pool_dx)                        \
    X(LINEAR, linear) X(LINEAR_DX, linear_dx) X(LINEAR_DW, linear_dw)                    \
    X(SLICE, slice) X(SLICE_DX, slice_dx) X(CAST, cast)                                  \
    X(POOLED_HEAD, pooled_head) X(POOLED_HEAD_DX, pooled_head_dx)                        \
    X(UNIT, unit) X(BLEND, blend)                                                        \
    X(COSINE_LOSS, cosine_loss) X(COSINE_LOSS_DX, cosine_loss_dx)                        \
    X(CROSS_ENTROPY, cross_entropy) X(CROSS_ENTROPY_DX, cross_entropy_dx)                \
    X(SGD_STEP, sgd_step) X(LARS_STEP, lars_step)                                        \
    X(ADAMW_STEP, adamw_step) X(RMSPROP_STEP, rmsprop_step)                              \
    X(ACTIVATION, activation) X(ACTIVATION_DX, activation_dx)                            \
    X(SCALE_CHANNELS, scale_channels) X(SCALE_CHANNELS_DX, scale_channels_dx)            \
    X(ATTENTION, attention) X(ATTENTION_DX, attention_dx) X(DROPOUT, dropout)            \
    X(MSE_LOSS, mse_loss) X(MSE_LOSS_DX, mse_loss_dx)                                    \
    X(SOFT_CROSS_ENTROPY, soft_cross_entropy)                                            \
    X(SOFT_CROSS_ENTROPY_DX, soft_cross_entropy_dx)

#define BK__REF_DECLARE(kernel, name) int bk__ref_##name(struct bk__ref *r, const struct bk_kernel_args *a);
BK__REF_KERNELS(BK__REF_DECLARE)
#undef BK__REF_DECLARE

#endif

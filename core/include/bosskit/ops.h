/**
 * bosskit/ops.h: differentiable operations on a tape.
 *
 * Every function infers shapes, takes its output from the tape's step arena, runs the kernel and,
 * when the tape records and a gradient is wanted, notes the backward rule. Common to all:
 *
 *   Owner     *y belongs to the tape; borrow it until bk_tape_reset() or a rewind past it
 *   Errors    BK_ESHAPE when shapes do not fit, BK_ENOTSUP when the device has no such kernel
 *   Threads   one tape, one thread
 *
 * Activations are f32, bf16 or f64, all alike within a call. Parameters that touch every element
 * (scale, offset, bias) are f32 (f64 beside f64).
 */
#ifndef BOSSKIT_OPS_H
#define BOSSKIT_OPS_H

#include <bosskit/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_conv2d_attr {
    int32_t stride, pad, groups;        /* same in both directions; zero padding */
    int32_t accumulate;                 /* CONV2D_DW only; callers of bk_conv2d leave it 0 */
};

/** y = x * w (+ bias). x [N,H,W,Ci], w [Co,Kh,Kw,Ci/g], bias [Co] or NULL, y [N,Ho,Wo,Co], Ho = (H + 2 pad - Kh)/stride + 1. */
BK_API int bk_conv2d(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w,
                     struct bk_tensor *bias, const struct bk_conv2d_attr *attr,
                     struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

#define BK_NORM_MAX_TERMS 3

enum bk_norm_mode {
    BK_NORM_BATCH = 1,          /* normalise with the batch's statistics; update running ones where given */
    BK_NORM_RUNNING = 2,        /* normalise with the running statistics */
};

enum bk_activation {
    BK_ACT_NONE,                /* f(x) = x; where an operation may go without */
    BK_ACT_RELU,
    BK_ACT_RELU6,               /* min(max(x, 0), 6) */
    BK_ACT_SILU,                /* x sigmoid(x), also called Swish */
    BK_ACT_SIGMOID,
};

struct bk_batch_norm_attr {
    double eps;
    double momentum;            /* weight of the batch in the running statistics; 1 replaces them */
    int32_t n_terms;            /* set by bk_batch_norm */
    int32_t activation;         /* enum bk_activation, of the sum */
    int32_t mode;               /* enum bk_norm_mode */
    int32_t reserved;
};

/** One normalised addend: scale * (x - mean)/sqrt(var + eps) + offset over all but the last dimension. */
struct bk_norm_term {
    struct bk_tensor *x;                /* [..., C] act */
    struct bk_tensor *scale, *offset;   /* [C] */
    struct bk_tensor *running_mean, *running_var;       /* [C]; NULL in batch mode: keep no running statistics */
};

/**
 * y = activation( sum over terms of bn(x_t) + residual ), one pass (Ioffe, Szegedy 2015).
 * At most BK_NORM_MAX_TERMS terms, residual may be NULL; biased variance normalises, unbiased goes into running_var.
 * NaN stays NaN behind every activation. The sum itself is kept nowhere: its gradient reads y for a ReLU and computes the sum again for other activations.
 */
BK_API int bk_batch_norm(struct bk_tape *tape, const struct bk_norm_term *terms, int n_terms,
                         struct bk_tensor *residual, const struct bk_batch_norm_attr *attr,
                         struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

BK_API int bk_relu(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y,
                   struct bk_error *err) BK_MUST_USE;

struct bk_activation_attr {
    int32_t kind;               /* enum bk_activation but BK_ACT_NONE */
    int32_t reserved;
};

/** y = f(x); the gradient reads x. For a plain ReLU prefer bk_relu(), which need not keep x; behind a norm, bk_batch_norm(). */
BK_API int bk_activation(struct bk_tape *tape, struct bk_tensor *x, uint32_t kind,
                         struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

/** y[n,h,w,c] = x[n,h,w,c] s[n,c] (Hu et al. 2018). x [N,H,W,C], s [N,C] of x's type. */
BK_API int bk_scale_channels(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *s,
                             struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

struct bk_dropout_attr {
    double p;                   /* probability of zero, 0 <= p < 1 */
    int64_t group;              /* consecutive elements that share a draw: 1 = dropout, H W C = stochastic depth */
    uint64_t seed, step;
    uint32_t stream, reserved;  /* one stream a layer; equal (seed, step, stream) make equal draws */
};

/**
 * Groups of x are zeroed with probability p and otherwise divided by 1 - p (Srivastava et al. 2014; by images:
 * Huang et al. 2016). p = 0 gives x itself. The draws are a function of the attributes alone; see DROPOUT in ops.def.
 */
BK_API int bk_dropout(struct bk_tape *tape, struct bk_tensor *x, const struct bk_dropout_attr *attr,
                      struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

struct bk_add_attr {
    int32_t relu;
};

/** y = relu?( x[0] + ... + x[n-1] ), n in 1..4, one shape. */
BK_API int bk_add(struct bk_tape *tape, struct bk_tensor *const *x, int n, bool relu,
                  struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

struct bk_pool2d_attr {
    int32_t size, stride, pad;
    int32_t ceil;               /* 1: the output size is rounded up; a window that starts beyond the image is dropped */
};

/** Taps outside the image are not counted, with `ceil` neither. y [N,Ho,Wo,C]. Sizes and values are those of PyTorch. */
BK_API int bk_avg_pool2d(struct bk_tape *tape, struct bk_tensor *x,
                         const struct bk_pool2d_attr *attr, struct bk_tensor **y,
                         struct bk_error *err) BK_MUST_USE;
BK_API int bk_max_pool2d(struct bk_tape *tape, struct bk_tensor *x,
                         const struct bk_pool2d_attr *attr, struct bk_tensor **y,
                         struct bk_error *err) BK_MUST_USE;
/** [N,H,W,C] -> [N,C], mean over positions. */
BK_API int bk_global_pool(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y,
                          struct bk_error *err) BK_MUST_USE;

/** y = x w' + bias. x [R,I], w [O,I], bias [O] or NULL, y [R,O]. */
BK_API int bk_linear(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w,
                     struct bk_tensor *bias, struct bk_tensor **y,
                     struct bk_error *err) BK_MUST_USE;

struct bk_attention_attr {
    int32_t heads;
    int32_t reversed;           /* 1: y = P' v */
    double scale;               /* set by bk_attention: 1/sqrt(M / heads) */
};

/**
 * Multi-head self-attention over the positions of each image, without position encoding (Vaswani et al. 2017, section 3.2;
 * over images: Srinivas et al. 2021). qkv [N,H,W,3M]: channels of q, then k, then v, each heads x M/heads; y [N,H,W,M].
 */
BK_API int bk_attention(struct bk_tape *tape, struct bk_tensor *qkv, int heads,
                        struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/**
 * The same with the matrix of probabilities turned round: a position collects the values of those that attend to it, and
 * what it collects need not sum to one. The search code of BossNAS does so, by mistake.
 */
BK_API int bk_attention_reversed(struct bk_tape *tape, struct bk_tensor *qkv, int heads,
                                 struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

/**
 * The leading slice of a parameter, in the type of the activations (slimmable weights).
 * w f32 of rank 1..4, dim[i] <= w->dim[i]; the gradient is f32 and is added into w's slice.
 */
BK_API int bk_slice(struct bk_tape *tape, struct bk_tensor *w, const int64_t *dim,
                    uint32_t dtype, struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

/** Convert between f32, bf16 and f64; x itself when the type is already right. */
BK_API int bk_cast(struct bk_tape *tape, struct bk_tensor *x, uint32_t dtype,
                   struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

/**
 * global-average-pool(BatchNorm(conv1x1(x, w))) from mean and covariance of x; see POOLED_HEAD in ops.def.
 * x [N,H,W,C] act, w [K,C] f32, scale, offset [K] f32, running_* [K] or NULL; y [N,K] act. attr->activation must be BK_ACT_NONE.
 */
BK_API int bk_pooled_head(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w,
                          const struct bk_norm_term *norm, const struct bk_batch_norm_attr *attr,
                          struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;

/** y f32 = x / max(|x|, 1e-12) for every row of x [R,D]. Not differentiated: the target side has no gradient. */
BK_API int bk_unit(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y,
                   struct bk_error *err) BK_MUST_USE;

struct bk_blend_attr {
    double a, b;
};

/** y := a y + b x in place, f32 (f64); not differentiated. Also the EMA update: a = m, b = 1 - m. */
BK_API int bk_blend(struct bk_tensor *y, double a, const struct bk_tensor *x, double b,
                    struct bk_error *err) BK_MUST_USE;

/**
 * H(u, t) = mean over rows of -2 <unit(u), unit(t)>, in [-2, 2] (BYOL's loss minus 2).
 * u [B,D] act, t [B,D] f32 constant; loss f32 scalar; gradient to u.
 */
BK_API int bk_cosine_loss(struct bk_tape *tape, struct bk_tensor *u, struct bk_tensor *t,
                          struct bk_tensor **loss, struct bk_error *err) BK_MUST_USE;

struct bk_cross_entropy_attr {
    double label_smoothing;     /* 0..1; q = (1 - s) onehot + s / classes */
};

/** Mean cross entropy of logits [B,O] against labels i32 [B] in 0..O-1. */
BK_API int bk_cross_entropy(struct bk_tape *tape, struct bk_tensor *logits,
                            struct bk_tensor *labels, const struct bk_cross_entropy_attr *attr,
                            struct bk_tensor **loss, struct bk_error *err) BK_MUST_USE;

/** Mean over rows of -sum_o target_o log softmax(logits)_o. logits [B,O] act, target [B,O] f32 constant, rows sum to 1. */
BK_API int bk_soft_cross_entropy(struct bk_tape *tape, struct bk_tensor *logits,
                                 struct bk_tensor *target, struct bk_tensor **loss,
                                 struct bk_error *err) BK_MUST_USE;

/** Mean over all elements of (y - t)^2; y and t alike, t constant; loss f32 scalar. */
BK_API int bk_mse_loss(struct bk_tape *tape, struct bk_tensor *y, struct bk_tensor *t,
                       struct bk_tensor **loss, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

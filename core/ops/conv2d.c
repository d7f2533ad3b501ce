/*
 * ops/conv2d.c: convolution of NHWC activations, grouped and depthwise included.
 *
 * The weight may be a parameter (gradient added in place), a slice of one, or a converted copy that shares the
 * parameter's gradient. Kernels are in the backends.
 */
#include "ops/op_support.h"
#include <string.h>

/* node: in = x, w, bias */
static int backward_input(struct bk_tape *tape, const struct bk_node *node, const struct bk_tensor *dy,
                          struct bk_error *err)
{
    struct bk_tensor *dx;
    BK_TRY(bk__target(tape, node->in[0], node->in[0]->dtype, BK__ASSIGN, &dx, err));
    if (!dx)
        return BK_OK;
    struct bk_kernel_args args = { .in = { dy, node->in[1] }, .out = { dx }, .n_in = 2, .n_out = 1, .attr = node->attr };
    BK_TRY(bk__op_run(tape, BK_K_CONV2D_DX, &args, err));
    return bk__target_done(tape, node->in[0], dx, err);
}

/* The kernel assigns both gradients or adds to both: assign unless one of them is persistent. */
static int backward_weight(struct bk_tape *tape, const struct bk_node *node, const struct bk_tensor *dy,
                           struct bk_error *err)
{
    struct bk_tensor *w = node->in[1], *bias = node->in[2], *dw, *dbias = NULL;
    struct bk_conv2d_attr attr;
    uint32_t acc = bk_dtype_accum(w->dtype);
    bool in_place = (w->grad && bk__is_parameter(w)) || (bias && bias->grad && bk__is_parameter(bias));
    enum bk__how how = in_place ? BK__ADD : BK__ASSIGN;
    if (!w->grad && !(bias && bias->grad))
        return BK_OK;
    BK_TRY(bk__target(tape, w, acc, how, &dw, err));
    if (bias)
        BK_TRY(bk__target(tape, bias, acc, how, &dbias, err));
    struct bk_tensor *unwanted = NULL;
    if (!dw)
        BK_TRY(bk__op_like(tape, w, acc, &unwanted, err));
    if (unwanted && in_place)
        BK_TRY(bk_tensor_zero(unwanted, err));
    memcpy(&attr, node->attr, sizeof attr);
    attr.accumulate = in_place;
    struct bk_kernel_args args = {
        .in = { node->in[0], dy }, .out = { dw ? dw : unwanted, dbias }, .n_in = 2, .n_out = 2, .attr = &attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_CONV2D_DW, &args, err));
    BK_TRY(bk__target_done(tape, w, dw, err));
    return bk__target_done(tape, bias, dbias, err);
}

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(backward_weight(tape, node, dy, err));
    return backward_input(tape, node, dy, err);
}

static int check(const struct bk_tensor *x, const struct bk_tensor *w, const struct bk_conv2d_attr *attr,
                 struct bk_error *err)
{
    char a[96], b[96];
    if (attr->stride < 1 || attr->pad < 0 || attr->groups < 1)
        return bk_fail(err, BK_EINVAL, "conv2d: stride %d, pad %d, groups %d; legal are 1 and up, 0 and up, 1 and up",
                       attr->stride, attr->pad, attr->groups);
    if (w->rank != 4 || w->dtype != x->dtype)
        return bk_fail(err, BK_ESHAPE, "conv2d: weight %s beside input %s; it must be [Co,Kh,Kw,Ci/groups] of the same type",
                       bk_tensor_describe(w, a), bk_tensor_describe(x, b));
    if (w->dim[3] * attr->groups != x->dim[3] || w->dim[0] % attr->groups)
        return bk_fail(err, BK_ESHAPE, "conv2d: weight %s does not fit input %s with %d groups", bk_tensor_describe(w, a),
                       bk_tensor_describe(x, b), attr->groups);
    if (w->dim[1] > x->dim[1] + 2 * attr->pad || w->dim[2] > x->dim[2] + 2 * attr->pad)
        return bk_fail(err, BK_ESHAPE, "conv2d: window of weight %s is larger than input %s with padding %d",
                       bk_tensor_describe(w, a), bk_tensor_describe(x, b), attr->pad);
    return BK_OK;
}

int bk_conv2d(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w, struct bk_tensor *bias,
              const struct bk_conv2d_attr *attr, struct bk_tensor **y, struct bk_error *err)
{
    BK_TRY(bk__op_input(tape, BK_K_CONV2D, x, 4, 4, err));
    BK_TRY(check(x, w, attr, err));
    BK_TRY(bk__op_vector(BK_K_CONV2D, "bias", bias, w->dim[0], bk_dtype_accum(x->dtype), err));
    int64_t dim[4] = {
        x->dim[0], (x->dim[1] + 2 * attr->pad - w->dim[1]) / attr->stride + 1,
        (x->dim[2] + 2 * attr->pad - w->dim[2]) / attr->stride + 1, w->dim[0],
    };
    struct bk_conv2d_attr own = *attr;
    own.accumulate = 0;
    struct bk_tensor *out;
    BK_TRY(bk_tape_tensor(tape, x->dtype, 4, dim, &out, err));
    struct bk_kernel_args args = { .in = { x, w, bias }, .out = { out }, .n_in = 3, .n_out = 1, .attr = &own };
    BK_TRY(bk__op_run(tape, BK_K_CONV2D, &args, err));
    if (bk_needs_grad(tape, x) || bk_needs_grad(tape, w) || bk_needs_grad(tape, bias)) {
        struct bk_node node = { .backward = backward, .in = { x, w, bias }, .n_in = 3, .y = out };
        BK_TRY(bk__op_push(tape, &node, &own, sizeof own, err));
    }
    *y = out;
    return BK_OK;
}

/*
 * ops/linear.c: y = x w' + bias over the last dimension of x.
 */
#include "ops/op_support.h"
#include <string.h>

static int backward_weight(struct bk_tape *tape, const struct bk_node *node, const struct bk_tensor *dy,
                           struct bk_error *err)
{
    struct bk_tensor *w = node->in[1], *bias = node->in[2], *dw, *dbias = NULL, *unwanted = NULL;
    uint32_t acc = bk_dtype_accum(w->dtype);
    if (!w->grad && !(bias && bias->grad))
        return BK_OK;
    BK_TRY(bk__target(tape, w, acc, BK__ADD, &dw, err));
    if (bias)
        BK_TRY(bk__target(tape, bias, acc, BK__ADD, &dbias, err));
    if (!dw) {
        BK_TRY(bk__op_like(tape, w, acc, &unwanted, err));
        BK_TRY(bk_tensor_zero(unwanted, err));
    }
    struct bk_kernel_args args = { .in = { node->in[0], dy }, .out = { dw ? dw : unwanted, dbias }, .n_in = 2, .n_out = 2 };
    BK_TRY(bk__op_run(tape, BK_K_LINEAR_DW, &args, err));
    BK_TRY(bk__target_done(tape, w, dw, err));
    return bk__target_done(tape, bias, dbias, err);
}

/* node: in = x, w, bias */
static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(backward_weight(tape, node, dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    if (!dx)
        return BK_OK;
    struct bk_kernel_args args = { .in = { dy, node->in[1] }, .out = { dx }, .n_in = 2, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_LINEAR_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

int bk_linear(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w, struct bk_tensor *bias,
              struct bk_tensor **y, struct bk_error *err)
{
    char a[96], b[96];
    BK_TRY(bk__op_input(tape, BK_K_LINEAR, x, 2, BK_MAX_RANK, err));
    if (w->rank != 2 || w->dim[1] != x->dim[x->rank - 1] || w->dtype != x->dtype)
        return bk_fail(err, BK_ESHAPE, "linear: weight %s does not fit input %s; it must be [O,%lld] of the same type",
                       bk_tensor_describe(w, a), bk_tensor_describe(x, b), (long long)x->dim[x->rank - 1]);
    BK_TRY(bk__op_vector(BK_K_LINEAR, "bias", bias, w->dim[0], bk_dtype_accum(x->dtype), err));
    int64_t dim[BK_MAX_RANK];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank - 1] = w->dim[0];
    struct bk_node node = { .backward = backward, .in = { x, w, bias }, .n_in = 3 };
    BK_TRY(bk_tape_tensor(tape, x->dtype, x->rank, dim, &node.y, err));
    struct bk_kernel_args args = { .in = { x, w, bias }, .out = { node.y }, .n_in = 3, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_LINEAR, &args, err));
    if (bk_needs_grad(tape, x) || bk_needs_grad(tape, w) || bk_needs_grad(tape, bias))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *y = node.y;
    return BK_OK;
}

/*
 * ops/relu.c: y = max(x, 0). Its gradient reads y, not x, so that x need not be kept.
 */
#include "ops/op_support.h"

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    struct bk_kernel_args args = { .n_in = 5, .n_out = 1 };
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    if (!dx)
        return BK_OK;
    bk_grad_addends(node->y, args.in);
    args.in[4] = node->y;
    args.out[0] = dx;
    BK_TRY(bk__op_run(tape, BK_K_RELU_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

int bk_relu(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_node node = { .backward = backward, .in = { x }, .n_in = 1 };
    BK_TRY(bk__op_input(tape, BK_K_RELU, x, 1, BK_MAX_RANK, err));
    BK_TRY(bk__op_like(tape, x, 0, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_RELU, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *y = node.y;
    return BK_OK;
}

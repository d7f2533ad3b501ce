/*
 * ops/mse_loss.c: mean squared error against a constant target, as distillation of feature maps uses it.
 */
#include "ops/op_support.h"

/* node: in = y, target */
static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *y = node->in[0], *dy;
    const struct bk_tensor *dloss;
    BK_TRY(bk_grad_sum(tape, node->y, &dloss, err));
    BK_TRY(bk__target(tape, y, y->dtype, BK__ASSIGN, &dy, err));
    struct bk_kernel_args args = { .in = { y, node->in[1], dloss }, .out = { dy }, .n_in = 3, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_MSE_LOSS_DX, &args, err));
    return bk__target_done(tape, y, dy, err);
}

int bk_mse_loss(struct bk_tape *tape, struct bk_tensor *y, struct bk_tensor *t, struct bk_tensor **loss,
                struct bk_error *err)
{
    struct bk_node node = { .backward = backward, .in = { y, t }, .n_in = 2 };
    BK_TRY(bk__op_input(tape, BK_K_MSE_LOSS, y, 0, BK_MAX_RANK, err));
    BK_TRY(bk__op_alike(BK_K_MSE_LOSS, y, t, err));
    BK_TRY(bk_tape_tensor(tape, bk_dtype_accum(y->dtype), 0, NULL, &node.y, err));
    struct bk_kernel_args args = { .in = { y, t }, .out = { node.y }, .n_in = 2, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_MSE_LOSS, &args, err));
    if (bk_needs_grad(tape, y))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *loss = node.y;
    return BK_OK;
}

/*
 * ops/cosine_loss.c: the regression loss of BYOL (Grill et al. 2020, equation 2) less 2, and unit rows.
 *
 * The target side carries no gradient.
 */
#include "ops/op_support.h"

int bk_unit(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *out;
    BK_TRY(bk__op_input(tape, BK_K_UNIT, x, 2, 2, err));
    BK_TRY(bk__op_like(tape, x, bk_dtype_accum(x->dtype), &out, err));
    struct bk_kernel_args args = { .in = { x }, .out = { out }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_UNIT, &args, err));
    *y = out;
    return BK_OK;
}

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *u = node->in[0], *du;
    const struct bk_tensor *dloss;
    BK_TRY(bk_grad_sum(tape, node->y, &dloss, err));
    BK_TRY(bk__target(tape, u, u->dtype, BK__ASSIGN, &du, err));
    struct bk_kernel_args args = { .in = { u, node->in[1], dloss }, .out = { du }, .n_in = 3, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_COSINE_LOSS_DX, &args, err));
    return bk__target_done(tape, u, du, err);
}

int bk_cosine_loss(struct bk_tape *tape, struct bk_tensor *u, struct bk_tensor *t, struct bk_tensor **loss,
                   struct bk_error *err)
{
    char a[96], b[96];
    uint32_t acc = bk_dtype_accum(u->dtype);
    BK_TRY(bk__op_input(tape, BK_K_COSINE_LOSS, u, 2, 2, err));
    if (t->dtype != acc || !bk_tensor_same_shape(u, t))
        return bk_fail(err, BK_ESHAPE, "cosine_loss: target %s beside %s; it must have the same shape and be %s",
                       bk_tensor_describe(t, a), bk_tensor_describe(u, b), bk_dtype_name(acc));
    struct bk_node node = { .backward = backward, .in = { u, t }, .n_in = 2 };
    BK_TRY(bk_tape_tensor(tape, acc, 0, NULL, &node.y, err));
    struct bk_kernel_args args = { .in = { u, t }, .out = { node.y }, .n_in = 2, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_COSINE_LOSS, &args, err));
    if (bk_needs_grad(tape, u))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *loss = node.y;
    return BK_OK;
}

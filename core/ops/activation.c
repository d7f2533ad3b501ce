/*
 * ops/activation.c: element-wise activations by kind; their gradients read x. A ReLU alone is bk_relu() in relu.c.
 *
 * SiLU: Elfwing et al. 2018; Ramachandran et al. 2017 call it Swish. ReLU6: Krizhevsky 2010, as MobileNets use it.
 */
#include "ops/op_support.h"

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    struct bk_kernel_args args = { .n_in = 5, .n_out = 1, .attr = node->attr };
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    if (!dx)
        return BK_OK;
    bk_grad_addends(node->y, args.in);
    args.in[4] = x;
    args.out[0] = dx;
    BK_TRY(bk__op_run(tape, BK_K_ACTIVATION_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

int bk_activation(struct bk_tape *tape, struct bk_tensor *x, uint32_t kind, struct bk_tensor **y, struct bk_error *err)
{
    struct bk_activation_attr attr = { .kind = (int32_t)kind };
    struct bk_node node = { .backward = backward, .in = { x }, .n_in = 1 };
    if (kind < BK_ACT_RELU || kind > BK_ACT_SIGMOID)
        return bk_fail(err, BK_EINVAL, "activation: kind %u; legal are %d..%d", kind, BK_ACT_RELU, BK_ACT_SIGMOID);
    BK_TRY(bk__op_input(tape, BK_K_ACTIVATION, x, 0, BK_MAX_RANK, err));
    BK_TRY(bk__op_like(tape, x, 0, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1, .attr = &attr };
    BK_TRY(bk__op_run(tape, BK_K_ACTIVATION, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, &attr, sizeof attr, err));
    *y = node.y;
    return BK_OK;
}

/*
 * ops/scale_channels.c: every image's channels times factors of its own, the last step of squeeze-and-excitation
 * (Hu et al. 2018, equation 4). How the factors come about is bk_forward_se()'s matter.
 */
#include "ops/op_support.h"

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *s = node->in[1], *dx, *ds;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    BK_TRY(bk__target(tape, s, s->dtype, BK__ASSIGN, &ds, err));
    struct bk_kernel_args args = { .in = { dy, x, s }, .out = { dx, ds }, .n_in = 3, .n_out = 2 };
    BK_TRY(bk__op_run(tape, BK_K_SCALE_CHANNELS_DX, &args, err));
    BK_TRY(bk__target_done(tape, x, dx, err));
    return bk__target_done(tape, s, ds, err);
}

int bk_scale_channels(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *s, struct bk_tensor **y,
                      struct bk_error *err)
{
    char a[96], b[96];
    struct bk_node node = { .backward = backward, .in = { x, s }, .n_in = 2 };
    BK_TRY(bk__op_input(tape, BK_K_SCALE_CHANNELS, x, 4, 4, err));
    if (s->dtype != x->dtype || s->rank != 2 || s->dim[0] != x->dim[0] || s->dim[1] != x->dim[3])
        return bk_fail(err, BK_ESHAPE, "scale_channels: factors %s beside %s; they must be [%lld,%lld] %s",
                       bk_tensor_describe(s, a), bk_tensor_describe(x, b), (long long)x->dim[0], (long long)x->dim[3],
                       bk_dtype_name(x->dtype));
    BK_TRY(bk__op_like(tape, x, 0, &node.y, err));
    struct bk_kernel_args args = { .in = { x, s }, .out = { node.y }, .n_in = 2, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_SCALE_CHANNELS, &args, err));
    if (bk_needs_grad(tape, x) || bk_needs_grad(tape, s))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *y = node.y;
    return BK_OK;
}

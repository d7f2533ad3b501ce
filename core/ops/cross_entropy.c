/*
 * ops/cross_entropy.c: mean cross entropy against labels, with label smoothing (Szegedy et al. 2016, section 7), and
 * against given distributions (Hinton et al. 2015), which are constants.
 */
#include "ops/op_support.h"

/* node: in = logits, labels, prob */
static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *logits = node->in[0], *dlogits;
    const struct bk_tensor *dloss;
    BK_TRY(bk_grad_sum(tape, node->y, &dloss, err));
    BK_TRY(bk__target(tape, logits, logits->dtype, BK__ASSIGN, &dlogits, err));
    struct bk_kernel_args args = {
        .in = { node->in[2], node->in[1], dloss }, .out = { dlogits }, .n_in = 3, .n_out = 1, .attr = node->attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_CROSS_ENTROPY_DX, &args, err));
    return bk__target_done(tape, logits, dlogits, err);
}

int bk_cross_entropy(struct bk_tape *tape, struct bk_tensor *logits, struct bk_tensor *labels,
                     const struct bk_cross_entropy_attr *attr, struct bk_tensor **loss, struct bk_error *err)
{
    uint32_t acc = bk_dtype_accum(logits->dtype);
    struct bk_node node = { .backward = backward, .in = { logits, labels }, .n_in = 3 };
    BK_TRY(bk__op_input(tape, BK_K_CROSS_ENTROPY, logits, 2, 2, err));
    BK_TRY(bk__op_vector(BK_K_CROSS_ENTROPY, "labels", labels, logits->dim[0], BK_I32, err));
    if (!(attr->label_smoothing >= 0 && attr->label_smoothing <= 1))
        return bk_fail(err, BK_EINVAL, "cross_entropy: label smoothing %g is outside 0..1", attr->label_smoothing);
    BK_TRY(bk_tape_tensor(tape, acc, 0, NULL, &node.y, err));
    BK_TRY(bk__op_like(tape, logits, acc, &node.in[2], err));
    struct bk_kernel_args args = {
        .in = { logits, labels }, .out = { node.y, node.in[2] }, .n_in = 2, .n_out = 2, .attr = attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_CROSS_ENTROPY, &args, err));
    if (bk_needs_grad(tape, logits))
        BK_TRY(bk__op_push(tape, &node, attr, sizeof *attr, err));
    *loss = node.y;
    return BK_OK;
}

/* node: in = logits, target, prob */
static int backward_soft(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *logits = node->in[0], *dlogits;
    const struct bk_tensor *dloss;
    BK_TRY(bk_grad_sum(tape, node->y, &dloss, err));
    BK_TRY(bk__target(tape, logits, logits->dtype, BK__ASSIGN, &dlogits, err));
    struct bk_kernel_args args = {
        .in = { node->in[2], node->in[1], dloss }, .out = { dlogits }, .n_in = 3, .n_out = 1,
    };
    BK_TRY(bk__op_run(tape, BK_K_SOFT_CROSS_ENTROPY_DX, &args, err));
    return bk__target_done(tape, logits, dlogits, err);
}

int bk_soft_cross_entropy(struct bk_tape *tape, struct bk_tensor *logits, struct bk_tensor *target,
                          struct bk_tensor **loss, struct bk_error *err)
{
    char a[96], b[96];
    uint32_t acc = bk_dtype_accum(logits->dtype);
    struct bk_node node = { .backward = backward_soft, .in = { logits, target }, .n_in = 3 };
    BK_TRY(bk__op_input(tape, BK_K_SOFT_CROSS_ENTROPY, logits, 2, 2, err));
    if (target->dtype != acc || !bk_tensor_same_shape(logits, target))
        return bk_fail(err, BK_ESHAPE, "soft_cross_entropy: target %s beside %s; it must have the same shape and be %s",
                       bk_tensor_describe(target, a), bk_tensor_describe(logits, b), bk_dtype_name(acc));
    BK_TRY(bk_tape_tensor(tape, acc, 0, NULL, &node.y, err));
    BK_TRY(bk__op_like(tape, logits, acc, &node.in[2], err));
    struct bk_kernel_args args = { .in = { logits, target }, .out = { node.y, node.in[2] }, .n_in = 2, .n_out = 2 };
    BK_TRY(bk__op_run(tape, BK_K_SOFT_CROSS_ENTROPY, &args, err));
    if (bk_needs_grad(tape, logits))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *loss = node.y;
    return BK_OK;
}

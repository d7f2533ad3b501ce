/*
 * ops/attention.c: multi-head self-attention over the positions of an image (Vaswani et al. 2017, section 3.2).
 *
 * The probabilities are kept for the gradient: N heads L L values, small for the 14 x 14 positions and fewer where such
 * blocks stand. Projections before and after, and position encodings, are convolutions of the caller.
 */
#include "ops/op_support.h"
#include <math.h>

/* node: in = qkv, prob */
static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *qkv = node->in[0], *dqkv;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, qkv, qkv->dtype, BK__ASSIGN, &dqkv, err));
    struct bk_kernel_args args = {
        .in = { dy, qkv, node->in[1] }, .out = { dqkv }, .n_in = 3, .n_out = 1, .attr = node->attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_ATTENTION_DX, &args, err));
    return bk__target_done(tape, qkv, dqkv, err);
}

static int attention(struct bk_tape *tape, struct bk_tensor *qkv, int heads, bool reversed, struct bk_tensor **y,
                     struct bk_error *err)
{
    char buf[96];
    BK_TRY(bk__op_input(tape, BK_K_ATTENTION, qkv, 4, 4, err));
    if (heads < 1 || qkv->dim[3] % (3 * (int64_t)heads))
        return bk_fail(err, BK_ESHAPE, "attention: %d heads do not fit %s; channels must be a multiple of 3 heads", heads,
                       bk_tensor_describe(qkv, buf));
    int64_t L = qkv->dim[1] * qkv->dim[2], M = qkv->dim[3] / 3;
    struct bk_attention_attr attr = { .heads = heads, .reversed = reversed, .scale = 1 / sqrt((double)(M / heads)) };
    struct bk_node node = { .backward = backward, .in = { qkv }, .n_in = 2 };
    BK_TRY(bk_tape_tensor(tape, qkv->dtype, 4, (int64_t[]){ qkv->dim[0], qkv->dim[1], qkv->dim[2], M }, &node.y, err));
    BK_TRY(bk_tape_tensor(tape, bk_dtype_accum(qkv->dtype), 4, (int64_t[]){ qkv->dim[0], heads, L, L }, &node.in[1], err));
    struct bk_kernel_args args = {
        .in = { qkv }, .out = { node.y, node.in[1] }, .n_in = 1, .n_out = 2, .attr = &attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_ATTENTION, &args, err));
    if (bk_needs_grad(tape, qkv))
        BK_TRY(bk__op_push(tape, &node, &attr, sizeof attr, err));
    *y = node.y;
    return BK_OK;
}

int bk_attention(struct bk_tape *tape, struct bk_tensor *qkv, int heads, struct bk_tensor **y, struct bk_error *err)
{
    return attention(tape, qkv, heads, false, y, err);
}

int bk_attention_reversed(struct bk_tape *tape, struct bk_tensor *qkv, int heads, struct bk_tensor **y, struct bk_error *err)
{
    return attention(tape, qkv, heads, true, y, err);
}

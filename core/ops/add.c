/*
 * ops/add.c: sum of up to four tensors, with an optional ReLU.
 *
 * Every input receives the same gradient, so it is computed at most once and shared as an addend.
 */
#include "ops/op_support.h"
#include <string.h>

static int masked(struct bk_tape *tape, const struct bk_node *node, const struct bk_tensor **g, struct bk_error *err)
{
    struct bk_kernel_args args = { .n_in = 5, .n_out = 1 };
    BK_TRY(bk__op_like(tape, node->y, 0, &args.out[0], err));
    bk_grad_addends(node->y, args.in);
    args.in[4] = node->y;
    BK_TRY(bk__op_run(tape, BK_K_RELU_DX, &args, err));
    *g = args.out[0];
    return BK_OK;
}

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_add_attr attr;
    memcpy(&attr, node->attr, sizeof attr);
    const struct bk_tensor *g;
    BK_TRY(attr.relu ? masked(tape, node, &g, err) : bk_grad_sum(tape, node->y, &g, err));
    for (uint32_t i = 0; i < node->n_in; i++)
        BK_TRY(bk__grad_append(tape, node->in[i], g, err));
    return BK_OK;
}

int bk_add(struct bk_tape *tape, struct bk_tensor *const *x, int n, bool relu, struct bk_tensor **y,
           struct bk_error *err)
{
    struct bk_add_attr attr = { relu };
    struct bk_node node = { .backward = backward, .n_in = (uint32_t)n };
    struct bk_kernel_args args = { .n_in = (uint32_t)n, .n_out = 1, .attr = &attr };
    bool wanted = false;
    if (n < 1 || n > BK_MAX_ADDENDS)
        return bk_fail(err, BK_EINVAL, "add: %d inputs; legal are 1..%d", n, BK_MAX_ADDENDS);
    BK_TRY(bk__op_input(tape, BK_K_ADD, x[0], 0, BK_MAX_RANK, err));
    for (int i = 0; i < n; i++) {
        BK_TRY(bk__op_alike(BK_K_ADD, x[0], x[i], err));
        args.in[i] = node.in[i] = x[i];
        wanted |= bk_needs_grad(tape, x[i]);
    }
    BK_TRY(bk__op_like(tape, x[0], 0, &node.y, err));
    args.out[0] = node.y;
    BK_TRY(bk__op_run(tape, BK_K_ADD, &args, err));
    if (wanted)
        BK_TRY(bk__op_push(tape, &node, &attr, sizeof attr, err));
    *y = node.y;
    return BK_OK;
}

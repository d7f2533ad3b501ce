/*
 * ops/dropout.c: inverted dropout of groups of elements (Srivastava et al. 2014; whole images: Huang et al. 2016).
 *
 * Nothing random is stored: the gradient draws the same numbers again.
 */
#include "ops/op_support.h"

#define MOST_GROUPS ((int64_t)1 << 34)  /* words of one Philox sequence, see bosskit/random.h */

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    struct bk_kernel_args args = { .in = { dy }, .out = { dx }, .n_in = 1, .n_out = 1, .attr = node->attr };
    BK_TRY(bk__op_run(tape, BK_K_DROPOUT, &args, err));
    return bk__target_done(tape, x, dx, err);
}

static int check(struct bk_tape *tape, const struct bk_tensor *x, const struct bk_dropout_attr *attr,
                 struct bk_error *err)
{
    char buf[96];
    BK_TRY(bk__op_input(tape, BK_K_DROPOUT, x, 0, BK_MAX_RANK, err));
    int64_t n = bk_tensor_numel(x);
    if (attr->group < 1 || n % attr->group || n / attr->group > MOST_GROUPS)
        return bk_fail(err, BK_ESHAPE, "dropout: groups of %lld do not divide %s", (long long)attr->group,
                       bk_tensor_describe(x, buf));
    return BK_OK;
}

int bk_dropout(struct bk_tape *tape, struct bk_tensor *x, const struct bk_dropout_attr *attr, struct bk_tensor **y,
               struct bk_error *err)
{
    struct bk_node node = { .backward = backward, .in = { x }, .n_in = 1 };
    if (!(attr->p >= 0 && attr->p < 1))
        return bk_fail(err, BK_EINVAL, "dropout: probability %g is outside 0 <= p < 1", attr->p);
    if (attr->p == 0) {
        *y = x;
        return BK_OK;
    }
    BK_TRY(check(tape, x, attr, err));
    BK_TRY(bk__op_like(tape, x, 0, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1, .attr = attr };
    BK_TRY(bk__op_run(tape, BK_K_DROPOUT, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, attr, sizeof *attr, err));
    *y = node.y;
    return BK_OK;
}

/*
 * ops/slice.c: the leading slice of a parameter in the activations' type, and conversion between types.
 *
 * A slice's gradient stays in the type of the parameter and is added into its place in the parameter's gradient, so
 * nothing is rounded on the way. That is also how a parameter is converted as a whole.
 */
#include "ops/op_support.h"

static int backward_slice(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *w = node->in[0], *dw;
    const struct bk_tensor *dv;
    BK_TRY(bk_grad_sum(tape, node->y, &dv, err));
    BK_TRY(bk__target(tape, w, dv->dtype, BK__ADD, &dw, err));
    struct bk_kernel_args args = { .in = { dv }, .out = { dw }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_SLICE_DX, &args, err));
    return bk__target_done(tape, w, dw, err);
}

static int check_slice(const struct bk_tensor *w, const int64_t *dim, uint32_t dtype, bool *whole, struct bk_error *err)
{
    char buf[96];
    uint32_t acc = bk_dtype_accum(dtype);
    if (w->rank < 1 || w->rank > 4 || w->dtype != acc || (dtype != BK_F32 && dtype != BK_BF16 && dtype != BK_F64))
        return bk_fail(err, BK_ESHAPE, "slice: cannot slice %s as %s; a parameter is %s and has 1 to 4 dimensions",
                       bk_tensor_describe(w, buf), bk_dtype_name(dtype), bk_dtype_name(acc));
    *whole = true;
    for (uint32_t i = 0; i < w->rank; i++) {
        if (dim[i] < 1 || dim[i] > w->dim[i])
            return bk_fail(err, BK_ESHAPE, "slice: dimension %u of %s sliced to %lld; legal is 1..%lld", i,
                           bk_tensor_describe(w, buf), (long long)dim[i], (long long)w->dim[i]);
        *whole &= dim[i] == w->dim[i];
    }
    return BK_OK;
}

int bk_slice(struct bk_tape *tape, struct bk_tensor *w, const int64_t *dim, uint32_t dtype, struct bk_tensor **y,
             struct bk_error *err)
{
    bool whole = false;
    BK_TRY(check_slice(w, dim, dtype, &whole, err));
    if (whole && dtype == w->dtype) {
        *y = w;
        return BK_OK;
    }
    if (!bk_device_supports(bk_tape_device(tape), BK_K_SLICE, dtype))
        return bk_fail(err, BK_ENOTSUP, "slice: the device has no such kernel for %s", bk_dtype_name(dtype));
    struct bk_node node = { .backward = backward_slice, .in = { w }, .n_in = 1 };
    BK_TRY(bk_tape_tensor(tape, dtype, w->rank, dim, &node.y, err));
    struct bk_kernel_args args = { .in = { w }, .out = { node.y }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_SLICE, &args, err));
    if (bk_needs_grad(tape, w)) {
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
        bk__grad_set_dtype(node.y, w->dtype);
    }
    *y = node.y;
    return BK_OK;
}

static int backward_cast(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    return bk__grad_append(tape, node->in[0], dy, err);         /* converts */
}

int bk_cast(struct bk_tape *tape, struct bk_tensor *x, uint32_t dtype, struct bk_tensor **y, struct bk_error *err)
{
    if (x->dtype == dtype) {
        *y = x;
        return BK_OK;
    }
    if (bk_needs_grad(tape, x) && bk__is_parameter(x) && x->dtype == bk_dtype_accum(dtype) && x->rank >= 1 &&
        x->rank <= 4)
        return bk_slice(tape, x, x->dim, dtype, y, err);
    if (dtype != BK_F32 && dtype != BK_BF16 && dtype != BK_F64)
        return bk_fail(err, BK_EINVAL, "cast: cannot convert to %s", bk_dtype_name(dtype));
    BK_TRY(bk__op_input(tape, BK_K_CAST, x, 0, BK_MAX_RANK, err));
    struct bk_node node = { .backward = backward_cast, .in = { x }, .n_in = 1 };
    BK_TRY(bk__op_like(tape, x, dtype, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_CAST, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *y = node.y;
    return BK_OK;
}

/*
 * ops/blend.c: y := a y + b x in place, for moving averages and for adding into persistent gradients. Not on the tape.
 *
 * Only the number of elements has to agree: a parameter may be seen as a matrix while its gradient keeps its shape.
 */
#include "ops/op_support.h"

int bk_blend(struct bk_tensor *y, double a, const struct bk_tensor *x, double b, struct bk_error *err)
{
    char one[96], two[96];
    struct bk_blend_attr attr = { a, b };
    struct bk_kernel_args args = { .in = { y, x }, .out = { y }, .n_in = 2, .n_out = 1, .attr = &attr };
    if (y->dtype != x->dtype || (y->dtype != BK_F32 && y->dtype != BK_F64) ||
        bk_tensor_numel(y) != bk_tensor_numel(x))
        return bk_fail(err, BK_ESHAPE, "blend: %s and %s; both must be f32 or f64 and of one size",
                       bk_tensor_describe(y, one), bk_tensor_describe(x, two));
    if (!bk_device_supports(y->device, BK_K_BLEND, y->dtype))
        return bk_fail(err, BK_ENOTSUP, "blend: the device has no such kernel for %s", bk_dtype_name(y->dtype));
    return bk_device_run(y->device, BK_K_BLEND, &args, err);
}

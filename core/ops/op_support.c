/*
 * ops/op_support.c: see the header. No operation is defined here.
 */
#include "ops/op_support.h"
#include <string.h>

static bool is_activation(uint32_t dtype)
{
    return dtype == BK_F32 || dtype == BK_BF16 || dtype == BK_F64;
}

int bk__op_input(struct bk_tape *tape, uint32_t kernel, const struct bk_tensor *x, uint32_t min_rank,
                 uint32_t max_rank, struct bk_error *err)
{
    char buf[96];
    const char *name = bk_kernel_name(kernel);
    if (!is_activation(x->dtype))
        return bk_fail(err, BK_EINVAL, "%s: input is %s; legal types are f32, bf16 and f64", name,
                       bk_tensor_describe(x, buf));
    if (x->rank < min_rank || x->rank > max_rank) {
        if (min_rank == max_rank)
            return bk_fail(err, BK_ESHAPE, "%s: input is %s; it must have %u dimensions", name,
                           bk_tensor_describe(x, buf), min_rank);
        return bk_fail(err, BK_ESHAPE, "%s: input is %s; it must have %u to %u dimensions", name,
                       bk_tensor_describe(x, buf), min_rank, max_rank);
    }
    if (x->device != bk_tape_device(tape))
        return bk_fail(err, BK_EINVAL, "%s: input %s is on another device than the tape", name,
                       bk_tensor_describe(x, buf));
    if (!bk_device_supports(x->device, kernel, x->dtype))
        return bk_fail(err, BK_ENOTSUP, "%s: the device has no such kernel for %s", name, bk_dtype_name(x->dtype));
    return BK_OK;
}

int bk__op_vector(uint32_t kernel, const char *what, const struct bk_tensor *t, int64_t n, uint32_t dtype,
                  struct bk_error *err)
{
    char buf[96];
    if (!t || (t->rank == 1 && t->dim[0] == n && t->dtype == dtype))
        return BK_OK;
    return bk_fail(err, BK_ESHAPE, "%s: %s is %s; it must be [%lld] %s", bk_kernel_name(kernel), what,
                   bk_tensor_describe(t, buf), (long long)n, bk_dtype_name(dtype));
}

int bk__op_alike(uint32_t kernel, const struct bk_tensor *a, const struct bk_tensor *b, struct bk_error *err)
{
    char one[96], two[96];
    if (a->dtype == b->dtype && bk_tensor_same_shape(a, b))
        return BK_OK;
    return bk_fail(err, BK_ESHAPE, "%s: inputs %s and %s must be alike", bk_kernel_name(kernel),
                   bk_tensor_describe(a, one), bk_tensor_describe(b, two));
}

int bk__op_like(struct bk_tape *tape, const struct bk_tensor *t, uint32_t dtype, struct bk_tensor **out,
                struct bk_error *err)
{
    return bk_tape_tensor(tape, dtype ? dtype : t->dtype, t->rank, t->dim, out, err);
}

int bk__op_push(struct bk_tape *tape, struct bk_node *node, const void *attr, size_t attr_size, struct bk_error *err)
{
    if (attr_size > sizeof node->attr)
        return bk_fail(err, BK_EINVAL, "attributes of %zu bytes are too large for a node", attr_size);
    if (attr_size)
        memcpy(node->attr, attr, attr_size);
    node->attr_size = (uint32_t)attr_size;
    return bk_tape_push(tape, node, err);
}

int bk__op_run(struct bk_tape *tape, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    return bk_device_run(bk_tape_device(tape), kernel, args, err);
}

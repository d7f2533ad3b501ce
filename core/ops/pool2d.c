/*
 * ops/pool2d.c: average and maximum pooling over square windows, and global average pooling.
 *
 * Taps outside the image are not counted, so a window must touch the image: pad < size.
 */
#include "ops/op_support.h"

static int backward_avg(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    struct bk_kernel_args args = { .in = { dy }, .out = { dx }, .n_in = 1, .n_out = 1, .attr = node->attr };
    BK_TRY(bk__op_run(tape, BK_K_AVG_POOL2D_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

static int backward_max(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    struct bk_kernel_args args = { .in = { x, node->y, dy }, .out = { dx }, .n_in = 3, .n_out = 1, .attr = node->attr };
    BK_TRY(bk__op_run(tape, BK_K_MAX_POOL2D_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

static int backward_global(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *x = node->in[0], *dx;
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, x, x->dtype, BK__ASSIGN, &dx, err));
    struct bk_kernel_args args = { .in = { dy }, .out = { dx }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_GLOBAL_POOL_DX, &args, err));
    return bk__target_done(tape, x, dx, err);
}

/* Positions of the window along n pixels, as PyTorch counts them; 0 when it does not fit. */
static int64_t windows(int64_t n, const struct bk_pool2d_attr *attr)
{
    int64_t room = n + 2 * attr->pad - attr->size + (attr->ceil ? attr->stride - 1 : 0);
    if (room < 0)
        return 0;
    int64_t count = room / attr->stride + 1;
    return attr->ceil && (count - 1) * attr->stride >= n + attr->pad ? count - 1 : count;
}

static int pool2d(struct bk_tape *tape, uint32_t kernel, bk_backward_fn backward, struct bk_tensor *x,
                  const struct bk_pool2d_attr *attr, struct bk_tensor **y, struct bk_error *err)
{
    char buf[96];
    BK_TRY(bk__op_input(tape, kernel, x, 4, 4, err));
    if (attr->size < 1 || attr->stride < 1 || attr->pad < 0 || attr->pad >= attr->size)
        return bk_fail(err, BK_EINVAL, "%s: size %d, stride %d, pad %d; legal are 1 and up, 1 and up, 0..size - 1",
                       bk_kernel_name(kernel), attr->size, attr->stride, attr->pad);
    int64_t dim[4] = { x->dim[0], windows(x->dim[1], attr), windows(x->dim[2], attr), x->dim[3] };
    if (!dim[1] || !dim[2])
        return bk_fail(err, BK_ESHAPE, "%s: window of %d is larger than input %s with padding %d", bk_kernel_name(kernel),
                       attr->size, bk_tensor_describe(x, buf), attr->pad);
    struct bk_node node = { .backward = backward, .in = { x }, .n_in = 1 };
    BK_TRY(bk_tape_tensor(tape, x->dtype, 4, dim, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1, .attr = attr };
    BK_TRY(bk__op_run(tape, kernel, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, attr, sizeof *attr, err));
    *y = node.y;
    return BK_OK;
}

int bk_avg_pool2d(struct bk_tape *tape, struct bk_tensor *x, const struct bk_pool2d_attr *attr, struct bk_tensor **y,
                  struct bk_error *err)
{
    return pool2d(tape, BK_K_AVG_POOL2D, backward_avg, x, attr, y, err);
}

int bk_max_pool2d(struct bk_tape *tape, struct bk_tensor *x, const struct bk_pool2d_attr *attr, struct bk_tensor **y,
                  struct bk_error *err)
{
    return pool2d(tape, BK_K_MAX_POOL2D, backward_max, x, attr, y, err);
}

int bk_global_pool(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **y, struct bk_error *err)
{
    BK_TRY(bk__op_input(tape, BK_K_GLOBAL_POOL, x, 4, 4, err));
    int64_t dim[2] = { x->dim[0], x->dim[3] };
    struct bk_node node = { .backward = backward_global, .in = { x }, .n_in = 1 };
    BK_TRY(bk_tape_tensor(tape, x->dtype, 2, dim, &node.y, err));
    struct bk_kernel_args args = { .in = { x }, .out = { node.y }, .n_in = 1, .n_out = 1 };
    BK_TRY(bk__op_run(tape, BK_K_GLOBAL_POOL, &args, err));
    if (bk_needs_grad(tape, x))
        BK_TRY(bk__op_push(tape, &node, NULL, 0, err));
    *y = node.y;
    return BK_OK;
}

/*
 * tests/ops/test_pool.c: pooling against PyTorch, ties of the maximum, what is refused.
 */
#include "torch_ops.h"

static const struct bk_pool2d_attr window = { 3, 2, 1, 0 };

static int run_avg(struct op_run *r, struct bk_error *err)
{
    return bk_avg_pool2d(r->tape, r->in[0], &window, &r->y, err);
}

static int run_max(struct op_run *r, struct bk_error *err)
{
    return bk_max_pool2d(r->tape, r->in[0], &window, &r->y, err);
}

static int run_global(struct op_run *r, struct bk_error *err)
{
    return bk_global_pool(r->tape, r->in[0], &r->y, err);
}

static void test_torch(void)
{
    torch_run("avg_pool2d", run_avg);
    torch_run("max_pool2d", run_max);
    torch_run("global_pool", run_global);
}

/* Output sizes rounded up: 7 -> 4, with padding, and an image smaller than the window. */
#define CEIL(fn, op, k, p)                                                               \
    static int fn(struct op_run *r, struct bk_error *err)                                \
    {                                                                                    \
        struct bk_pool2d_attr attr = { k, 2, p, 1 };                                     \
        return op(r->tape, r->in[0], &attr, &r->y, err);                                 \
    }
CEIL(avg_2, bk_avg_pool2d, 2, 0)
CEIL(avg_3, bk_avg_pool2d, 3, 1)
CEIL(max_2, bk_max_pool2d, 2, 0)
CEIL(max_3, bk_max_pool2d, 3, 1)

static void test_ceil(void)
{
    torch_run("avg_pool2d_ceil_7x7", avg_2);
    torch_run("max_pool2d_ceil_7x7", max_2);
    torch_run("avg_pool2d_ceil_6x5", avg_3);
    torch_run("max_pool2d_ceil_6x5", max_3);
    torch_run("avg_pool2d_ceil_1x3", avg_2);
    torch_run("max_pool2d_ceil_1x3", max_2);
}

/* Only the first of equal maxima receives the gradient. */
static void test_ties(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_pool2d_attr attr = { 2, 2, 0, 0 };
    struct bk_tensor *x, *dx, *y;
    BK_ASSERT_OK(bk_tensor_new(b.device, BK_F32, 4, (int64_t[]){ 1, 2, 2, 1 }, &x, &err));
    BK_ASSERT_OK(bk_tensor_new(b.device, BK_F32, 4, x->dim, &dx, &err));
    BK_ASSERT_OK(bk_tensor_set_grad(x, dx, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(x, (double[]){ 1, 3, 3, 3 }, &err));
    BK_ASSERT_OK(bk_max_pool2d(b.tape, x, &attr, &y, &err));
    expect(y, (double[]){ 3 }, 0);
    BK_ASSERT_OK(bk_tape_backward(b.tape, y, 2, &err));
    expect(dx, (double[]){ 0, 2, 0, 0 }, 0);
    bk_tensor_free(x);
    bk_tensor_free(dx);
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 4, NULL, 1, 3, 4, 2);
    refused(bk_avg_pool2d(b.tape, x, &(struct bk_pool2d_attr){ 2, 1, 2, 0 }, &y, &err), &err, BK_EINVAL, "pad 2");
    refused(bk_max_pool2d(b.tape, x, &(struct bk_pool2d_attr){ 4, 1, 0, 0 }, &y, &err), &err, BK_ESHAPE,
            "window of 4 is larger than input [1,3,4,2] f32");
    refused(bk_global_pool(b.tape, PUT(&b, BK_F32, 2, NULL, 3, 2), &y, &err), &err, BK_ESHAPE, "4 dimensions");
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "ceil", test_ceil }, { "ties", test_ties }, { "refused", test_refused })

/*
 * tests/ops/test_conv2d.c: convolution against PyTorch and by hand, shapes and what is refused.
 */
#include "torch_ops.h"

#define RUN(fn, s, p, g, b)                                                              \
    static int fn(struct op_run *r, struct bk_error *err)                                \
    {                                                                                    \
        struct bk_conv2d_attr attr = { s, p, g, 0 };                                     \
        return bk_conv2d(r->tape, r->in[0], r->in[1], b, &attr, &r->y, err);             \
    }
RUN(plain, 1, 1, 1, r->in[2])
RUN(stride, 2, 1, 1, NULL)
RUN(groups, 1, 1, 2, r->in[2])
RUN(depthwise, 2, 2, 5, NULL)

static void test_torch(void)
{
    torch_run("conv2d", plain);
    torch_run("conv2d_stride", stride);
    torch_run("conv2d_groups", groups);
    torch_run("conv2d_depthwise", depthwise);
}

/* A kernel of ones counts and sums what the window covers: corners 4 taps, edges 6, inside 9. */
static void test_box(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    double ones[12];
    for (int i = 0; i < 12; i++)
        ones[i] = 1;
    struct bk_conv2d_attr attr = { 1, 1, 1, 0 };
    struct bk_tensor *y;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t dtype = (const uint32_t[]){ BK_F32, BK_BF16, BK_F64 }[i];
        BK_ASSERT_OK(bk_conv2d(b.tape, PUT(&b, dtype, 4, ones, 1, 3, 4, 1), PUT(&b, dtype, 4, ones, 1, 3, 3, 1), NULL,
                               &attr, &y, &err));
        CU_ASSERT_EQUAL(y->dtype, dtype);
        expect(y, (double[]){ 4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4 }, 0);
    }
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 4, NULL, 2, 5, 4, 6), *w = PUT(&b, BK_F32, 4, NULL, 4, 3, 3, 6);
    struct bk_conv2d_attr attr = { 1, 1, 1, 0 }, bad = { 0, 1, 1, 0 }, grouped = { 1, 1, 2, 0 };
    refused(bk_conv2d(b.tape, x, PUT(&b, BK_F32, 4, NULL, 4, 3, 3, 5), NULL, &attr, &y, &err), &err, BK_ESHAPE,
            "[4,3,3,5] f32 does not fit input [2,5,4,6] f32");
    refused(bk_conv2d(b.tape, x, w, NULL, &grouped, &y, &err), &err, BK_ESHAPE, "with 2 groups");
    refused(bk_conv2d(b.tape, x, PUT(&b, BK_F32, 4, NULL, 3, 3, 3, 3), NULL, &grouped, &y, &err), &err, BK_ESHAPE,
            "with 2 groups");
    refused(bk_conv2d(b.tape, x, PUT(&b, BK_BF16, 4, NULL, 4, 3, 3, 6), NULL, &attr, &y, &err), &err, BK_ESHAPE, "bf16");
    refused(bk_conv2d(b.tape, x, w, NULL, &bad, &y, &err), &err, BK_EINVAL, "stride 0");
    refused(bk_conv2d(b.tape, x, PUT(&b, BK_F32, 4, NULL, 1, 3, 7, 6), NULL, &attr, &y, &err), &err, BK_ESHAPE,
            "larger than input");
    refused(bk_conv2d(b.tape, x, w, PUT(&b, BK_F32, 1, NULL, 5), &attr, &y, &err), &err, BK_ESHAPE, "bias is [5] f32");
    refused(bk_conv2d(b.tape, PUT(&b, BK_F32, 2, NULL, 5, 6), w, NULL, &attr, &y, &err), &err, BK_ESHAPE,
            "must have 4 dimensions");
    refused(bk_conv2d(b.tape, PUT(&b, BK_I32, 4, NULL, 1, 5, 5, 6), w, NULL, &attr, &y, &err), &err, BK_EINVAL,
            "legal types");
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "box filter", test_box }, { "refused", test_refused })

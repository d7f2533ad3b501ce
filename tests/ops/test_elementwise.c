/*
 * tests/ops/test_elementwise.c: ReLU, sums, slices, conversion and blending by hand.
 */
#include "torch_ops.h"

static void test_relu_add(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_BF16, 1, ((double[]){ -2, 0, 3 }), 3), *list[5] = { x, x, x, x, x };
    BK_ASSERT_OK(bk_relu(b.tape, x, &y, &err));
    expect(y, (double[]){ 0, 0, 3 }, 0);
    BK_ASSERT_OK(bk_add(b.tape, list, 4, false, &y, &err));
    expect(y, (double[]){ -8, 0, 12 }, 0);
    BK_ASSERT_OK(bk_add(b.tape, list, 3, true, &y, &err));
    expect(y, (double[]){ 0, 0, 9 }, 0);
    refused(bk_add(b.tape, list, 5, true, &y, &err), &err, BK_EINVAL, "5 inputs");
    list[1] = PUT(&b, BK_F32, 1, NULL, 3);
    refused(bk_add(b.tape, list, 2, true, &y, &err), &err, BK_ESHAPE, "[3] bf16 and [3] f32");
    bench_close(&b);
}

/* The leading [2,2] of 0..11 as [3,4] is 0 1 4 5; its gradient lands there and adds up. */
static void test_slice(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *z, *sum, *loss, *g, *w = PUT(&b, BK_F32, 2, NULL, 3, 4), *t;
    BK_ASSERT_OK(bk_tensor_new(b.device, BK_F32, 2, w->dim, &g, &err));
    BK_ASSERT_OK(bk_tensor_set_grad(w, g, &err));
    BK_ASSERT_OK(bk_slice(b.tape, w, (int64_t[]){ 2, 2 }, BK_BF16, &y, &err));
    CU_ASSERT_EQUAL(y->dtype, BK_BF16);
    expect(y, (double[]){ 0, 1, 4, 5 }, 0);
    BK_ASSERT_OK(bk_slice(b.tape, w, (int64_t[]){ 1, 2 }, BK_BF16, &z, &err));
    t = PUT(&b, BK_BF16, 2, ((double[]){ 1, 2 }), 1, 2);
    BK_ASSERT_OK(bk_linear(b.tape, t, y, NULL, &sum, &err));            /* [1,2]: 2, 14 */
    BK_ASSERT_OK(bk_linear(b.tape, sum, z, NULL, &loss, &err));         /* 0*2 + 1*14 */
    BK_ASSERT_OK(bk_cast(b.tape, loss, BK_F32, &loss, &err));
    expect(loss, (double[]){ 14 }, 0);
    BK_ASSERT_OK(bk_tape_backward(b.tape, loss, 1, &err));
    /* d/dz = sum = (2, 14); d/dy = z' t = rows 0*(1,2), 1*(1,2) */
    expect(g, (double[]){ 2, 14, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0 }, 0);
    CU_ASSERT(bk_tensor_is_touched(w));
    refused(bk_slice(b.tape, w, (int64_t[]){ 2, 5 }, BK_BF16, &y, &err), &err, BK_ESHAPE, "dimension 1 of [3,4] f32");
    refused(bk_slice(b.tape, t, (int64_t[]){ 1, 1 }, BK_BF16, &y, &err), &err, BK_ESHAPE, "a parameter is f32");
    BK_ASSERT_OK(bk_slice(b.tape, w, w->dim, BK_F32, &y, &err));
    CU_ASSERT_PTR_EQUAL(y, w);
    bk_tensor_drop_grad(w);
    bk_tensor_free(g);
    bench_close(&b);
}

static void test_cast_blend(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 1, ((double[]){ 1, 1.00390625, 3 }), 3);
    BK_ASSERT_OK(bk_cast(b.tape, x, BK_BF16, &y, &err));
    expect(y, (double[]){ 1, 1, 3 }, 0);        /* 1 + 2^-8 is half way: to even */
    BK_ASSERT_OK(bk_cast(b.tape, x, BK_F32, &y, &err));
    CU_ASSERT_PTR_EQUAL(y, x);
    refused(bk_cast(b.tape, x, BK_U8, &y, &err), &err, BK_EINVAL, "u8");
    BK_ASSERT_OK(bk_blend(x, 0.5, PUT(&b, BK_F32, 1, ((double[]){ 2, 2, 2 }), 3), 2, &err));
    expect(x, (double[]){ 4.5, 4.501953125, 5.5 }, 0);
    refused(bk_blend(x, 1, PUT(&b, BK_F32, 1, NULL, 4), 1, &err), &err, BK_ESHAPE, "[3] f32 and [4] f32");
    bench_close(&b);
}

BK_SUITE({ "relu and add", test_relu_add }, { "slice", test_slice }, { "cast and blend", test_cast_blend })

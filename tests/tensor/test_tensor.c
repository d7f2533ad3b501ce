/*
 * tests/tensor/test_tensor.c: types, rounding to bf16, transfers, devices.
 */
#include "unit.h"
#include <bosskit/backend.h>

static struct bk_error err;

static struct bk_device *open_ref(void)
{
    struct bk_device *d = NULL;
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &d, &err));
    return d;
}

static void test_types(void)
{
    static const size_t size[] = { 0, 4, 2, 4, 1, 8 };
    static const char *const name[] = { "invalid", "f32", "bf16", "i32", "u8", "f64" };
    for (uint32_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(bk_dtype_size(i), size[i]);
        CU_ASSERT_STRING_EQUAL(bk_dtype_name(i), name[i]);
    }
    CU_ASSERT_EQUAL(bk_dtype_accum(BK_BF16), BK_F32);
    CU_ASSERT_EQUAL(bk_dtype_accum(BK_F64), BK_F64);
    CU_ASSERT_STRING_EQUAL(bk_kernel_name(BK_K_CONV2D), "conv2d");
    CU_ASSERT_STRING_EQUAL(bk_kernel_name(BK_K_RMSPROP_STEP), "rmsprop_step");
    CU_ASSERT_PTR_NULL(bk_kernel_name(0));
    CU_ASSERT_PTR_NULL(bk_kernel_name(BK_KERNEL_COUNT));
}

/* Every bf16 survives; between neighbours the nearer wins, half way the even one. */
static void test_bf16(void)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = bk_bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            CU_ASSERT(isnan(bk_bf16_to_f32(bk_f32_to_bf16(f))));
            continue;
        }
        if (bk_f32_to_bf16(f) != h)
            CU_FAIL("a bf16 number does not survive");
        float next = bk_bf16_to_f32((uint16_t)(h + 1));
        if (!isfinite(f) || !isfinite(next) || (h & 0x7fff) == 0x7fff)
            continue;
        float half = (float)(((double)f + next) / 2), below = (float)(f + ((double)next - f) * 0.49);
        if (bk_f32_to_bf16(half) != (h & 1 ? h + 1 : h) || bk_f32_to_bf16(below) != h)
            CU_FAIL("rounding to bf16 is not to the nearest even");
    }
}

static void test_describe(void)
{
    char buf[96];
    struct bk_tensor t = { .dtype = BK_BF16, .rank = 4, .dim = { 64, 32, 32, 16 } }, s = { .dtype = BK_F32 }, big;
    CU_ASSERT_STRING_EQUAL(bk_tensor_describe(&t, buf), "[64,32,32,16] bf16");
    CU_ASSERT_STRING_EQUAL(bk_tensor_describe(&s, buf), "[] f32");
    CU_ASSERT_EQUAL(bk_tensor_numel(&s), 1);
    CU_ASSERT_EQUAL(bk_tensor_nbytes(&t), 64 * 32 * 32 * 16 * 2);
    CU_ASSERT(!bk_tensor_same_shape(&t, &s));
    big = (struct bk_tensor){ .dtype = BK_BF16, .rank = 5 };
    for (int i = 0; i < 5; i++)
        big.dim[i] = INT64_MAX;
    CU_ASSERT(strlen(bk_tensor_describe(&big, buf)) < 96);
}

static void test_transfers(void)
{
    struct bk_device *d = open_ref(), *other = open_ref();
    const double v[6] = { -1.5, 0, 1, 1.00390625, 255, 3.25 };
    struct bk_tensor *a, *b, *c, *far;
    double back[6];
    float f[6];
    BK_ASSERT_OK(bk_tensor_new(d, BK_F32, 2, (int64_t[]){ 2, 3 }, &a, &err));
    BK_ASSERT_OK(bk_tensor_new(d, BK_BF16, 2, (int64_t[]){ 2, 3 }, &b, &err));
    BK_ASSERT_OK(bk_tensor_new(d, BK_I32, 2, (int64_t[]){ 2, 3 }, &c, &err));
    BK_ASSERT_OK(bk_tensor_new(other, BK_F64, 2, (int64_t[]){ 2, 3 }, &far, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(a, f, &err));
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(f[i], 0);
    BK_ASSERT_OK(bk_tensor_write_f64(a, v, &err));
    BK_ASSERT_OK(bk_tensor_copy(b, a, &err));
    BK_ASSERT_OK(bk_tensor_copy(far, b, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(far, back, &err));
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(back[i], i == 3 ? 1 : v[i]);
    BK_ASSERT_OK(bk_tensor_write_f64(c, v, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(c, f, &err));
    CU_ASSERT_EQUAL(f[4], 255);
    CU_ASSERT_EQUAL(f[5], 3);
    CU_ASSERT_EQUAL(bk_tensor_copy(c, a, &err), BK_EINVAL);
    BK_ASSERT_OK(bk_tensor_zero(b, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(b, back, &err));
    CU_ASSERT_EQUAL(back[4], 0);
    bk_tensor_free(b);
    BK_ASSERT_OK(bk_tensor_new(d, BK_F32, 2, (int64_t[]){ 3, 2 }, &b, &err));
    CU_ASSERT_EQUAL(bk_tensor_copy(b, a, &err), BK_ESHAPE);
    CU_ASSERT_STRING_EQUAL(err.text, "cannot copy [2,3] f32 to [3,2] f32");
    bk_tensor_free(a);
    bk_tensor_free(b);
    bk_tensor_free(c);
    bk_tensor_free(far);
    bk_tensor_free(NULL);
    bk_device_close(d);
    bk_device_close(other);
    bk_device_close(NULL);
}

/* ---- a backend with the required members only ---------------------------------------------------- */

static int lazy_run(void *state, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *e)
{
    (void)state, (void)kernel, (void)args;
    return bk_fail(e, BK_ENOTSUP, "cannot do that");
}

static int no_probe(void *state, struct bk_error *e)
{
    (void)state;
    return bk_fail(e, BK_ENOTSUP, "no such processor");
}

static void test_devices(void)
{
    struct bk_backend_iface lazy = { .struct_size = sizeof lazy, .alloc = bk_ref_backend.alloc,
                                     .dealloc = bk_ref_backend.dealloc, .copy_in = bk_ref_backend.copy_in,
                                     .copy_out = bk_ref_backend.copy_out, .run = lazy_run };
    struct bk_device *d;
    struct bk_tensor *a, *b;
    double v = 5, back = 0;
    BK_ASSERT_OK(bk_device_open(&lazy, NULL, 0, BK_FAST, 1, &d, &err));
    BK_ASSERT_OK(bk_tensor_new(d, BK_F64, 0, NULL, &a, &err));
    BK_ASSERT_OK(bk_tensor_new(d, BK_F64, 0, NULL, &b, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(a, &v, &err));
    BK_ASSERT_OK(bk_tensor_copy(b, a, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(b, &back, &err));
    CU_ASSERT_EQUAL(back, 5);
    BK_ASSERT_OK(bk_device_synchronize(d, &err));
    struct bk_kernel_args args = { .in = { a }, .n_in = 1 };
    CU_ASSERT_EQUAL(bk_device_run(d, BK_K_RELU, &args, &err), BK_ENOTSUP);
    CU_ASSERT_STRING_EQUAL(err.text, "kernel relu ([] f64): cannot do that");
    CU_ASSERT_EQUAL(bk_device_run(d, BK_KERNEL_COUNT, &args, &err), BK_EINVAL);
    bk_tensor_free(a);
    bk_tensor_free(b);
    bk_device_close(d);
    lazy.probe = no_probe;
    CU_ASSERT_EQUAL(bk_device_open(&lazy, NULL, 0, BK_FAST, 1, &d, &err), BK_ENOTSUP);
    lazy.run = NULL;
    CU_ASSERT_EQUAL(bk_device_open(&lazy, NULL, 0, BK_FAST, 1, &d, &err), BK_EPLUGIN);
    CU_ASSERT_EQUAL(bk_device_open(&bk_ref_backend, NULL, 3, BK_FAST, 1, &d, &err), BK_EINVAL);
}

BK_SUITE({ "types", test_types }, { "bf16", test_bf16 }, { "describe", test_describe },
         { "transfers", test_transfers }, { "devices", test_devices })

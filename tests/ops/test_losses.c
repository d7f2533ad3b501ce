/*
 * tests/ops/test_losses.c: linear maps, cross entropy and the cosine loss against PyTorch; limits and errors by hand.
 */
#include "torch_ops.h"

static int run_linear(struct op_run *r, struct bk_error *err)
{
    return bk_linear(r->tape, r->in[0], r->in[1], r->in[2], &r->y, err);
}

static struct bk_tensor *labels_of(struct bk_tape *tape, const int32_t *v, int64_t n)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_I32, 1, &n, &t, &err));
    BK_ASSERT_OK(bk_tensor_write(t, v, &err));
    return t;
}

static int run_entropy(struct op_run *r, struct bk_error *err)
{
    struct bk_tensor *labels = labels_of(r->tape, (int32_t[]){ 3, 0, 4, 1 }, 4);
    struct bk_cross_entropy_attr attr = { 0.1 };
    return bk_cross_entropy(r->tape, r->in[0], labels, &attr, &r->y, err);
}

static int run_cosine(struct op_run *r, struct bk_error *err)
{
    return bk_cosine_loss(r->tape, r->in[0], r->in[1], &r->y, err);
}

static int run_mse(struct op_run *r, struct bk_error *err)
{
    return bk_mse_loss(r->tape, r->in[0], r->in[1], &r->y, err);
}

static int run_soft(struct op_run *r, struct bk_error *err)
{
    return bk_soft_cross_entropy(r->tape, r->in[0], r->in[1], &r->y, err);
}

static void test_torch(void)
{
    torch_run("mse_loss", run_mse);
    torch_run("soft_cross_entropy", run_soft);
    torch_run("linear", run_linear);
    torch_run("cross_entropy", run_entropy);
    torch_run("cosine_loss", run_cosine);
}

/* Equal logits cost log(classes); huge ones do not overflow. */
static void test_entropy(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_cross_entropy_attr attr = { 0 };
    struct bk_tensor *loss, *labels = labels_of(b.tape, (int32_t[]){ 2, 0 }, 2);
    double flat[10] = { 0 }, huge[10] = { 0, 0, 3e4, 0, 0, 3e4, 0, 0, 0, 0 };
    BK_ASSERT_OK(bk_cross_entropy(b.tape, PUT(&b, BK_F32, 2, flat, 2, 5), labels, &attr, &loss, &err));
    expect(loss, (double[]){ log(5) }, 1e-6);
    BK_ASSERT_OK(bk_cross_entropy(b.tape, PUT(&b, BK_F32, 2, huge, 2, 5), labels, &attr, &loss, &err));
    expect(loss, (double[]){ 0 }, 1e-6);
    attr.label_smoothing = 2;
    refused(bk_cross_entropy(b.tape, PUT(&b, BK_F32, 2, flat, 2, 5), labels, &attr, &loss, &err), &err, BK_EINVAL,
            "outside 0..1");
    attr.label_smoothing = 0;
    refused(bk_cross_entropy(b.tape, PUT(&b, BK_F32, 2, flat, 2, 2), labels, &attr, &loss, &err), &err, BK_EINVAL,
            "label 2 of row 0 is outside 0..1");
    refused(bk_cross_entropy(b.tape, PUT(&b, BK_F32, 2, flat, 5, 2), labels, &attr, &loss, &err), &err, BK_ESHAPE,
            "labels is [2] i32");
    bench_close(&b);
}

/* Against one-hot rows it is the cross entropy of labels; against its own softmax the entropy. */
static void test_soft(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *loss, *huge = PUT(&b, BK_F32, 2, ((double[]){ 0, 3e4, 0, 0 }), 2, 2);
    struct bk_tensor *t = PUT(&b, BK_F32, 2, ((double[]){ 0, 1, 0.5, 0.5 }), 2, 2);
    BK_ASSERT_OK(bk_soft_cross_entropy(b.tape, huge, t, &loss, &err));
    expect(loss, (double[]){ 0.5 * log(2) }, 1e-6);
    refused(bk_soft_cross_entropy(b.tape, huge, PUT(&b, BK_BF16, 2, NULL, 2, 2), &loss, &err), &err, BK_ESHAPE,
            "target [2,2] bf16 beside [2,2] f32");
    bench_close(&b);
}

static void test_mse(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *loss, *y = PUT(&b, BK_BF16, 1, ((double[]){ 1, 2, 3, 4 }), 4);
    BK_ASSERT_OK(bk_mse_loss(b.tape, y, PUT(&b, BK_BF16, 1, ((double[]){ 1, 0, 4, 1 }), 4), &loss, &err));
    CU_ASSERT_EQUAL(loss->dtype, BK_F32);
    expect(loss, (double[]){ 3.5 }, 0);
    refused(bk_mse_loss(b.tape, y, PUT(&b, BK_BF16, 1, NULL, 3), &loss, &err), &err, BK_ESHAPE, "must be alike");
    bench_close(&b);
}

/* -2 for the same direction, 2 for the opposite, 0 across; a zero row is harmless. */
static void test_cosine(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *loss, *y, *u = PUT(&b, BK_F32, 2, ((double[]){ 3, 4 }), 1, 2);
    BK_ASSERT_OK(bk_cosine_loss(b.tape, u, PUT(&b, BK_F32, 2, ((double[]){ 6, 8 }), 1, 2), &loss, &err));
    expect(loss, (double[]){ -2 }, 1e-6);
    BK_ASSERT_OK(bk_cosine_loss(b.tape, u, PUT(&b, BK_F32, 2, ((double[]){ -6, -8 }), 1, 2), &loss, &err));
    expect(loss, (double[]){ 2 }, 1e-6);
    BK_ASSERT_OK(bk_cosine_loss(b.tape, u, PUT(&b, BK_F32, 2, ((double[]){ 4, -3 }), 1, 2), &loss, &err));
    expect(loss, (double[]){ 0 }, 1e-6);
    BK_ASSERT_OK(bk_unit(b.tape, PUT(&b, BK_BF16, 2, ((double[]){ 3, 4, 0, 0 }), 2, 2), &y, &err));
    CU_ASSERT_EQUAL(y->dtype, BK_F32);
    expect(y, (double[]){ 0.6, 0.8, 0, 0 }, 1e-6);
    refused(bk_cosine_loss(b.tape, u, PUT(&b, BK_F64, 2, NULL, 1, 2), &loss, &err), &err, BK_ESHAPE, "be f32");
    bench_close(&b);
}

static void test_linear_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 2, NULL, 3, 4);
    refused(bk_linear(b.tape, x, PUT(&b, BK_F32, 2, NULL, 4, 3), NULL, &y, &err), &err, BK_ESHAPE, "[O,4]");
    refused(bk_linear(b.tape, x, PUT(&b, BK_F32, 2, NULL, 2, 4), PUT(&b, BK_F32, 1, NULL, 3), &y, &err), &err, BK_ESHAPE,
            "bias is [3] f32");
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "cross entropy", test_entropy }, { "soft cross entropy", test_soft },
         { "squared error", test_mse }, { "cosine", test_cosine },
         { "linear refused", test_linear_refused })

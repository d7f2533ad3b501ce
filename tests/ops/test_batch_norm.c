/*
 * tests/ops/test_batch_norm.c: sums of normalisations against PyTorch, running statistics by hand, edge cases.
 */
#include "torch_ops.h"

/* in: residual, x1, scale1, offset1, x2, scale2, offset2; extra: running mean 1, 2, variance 1, 2, then all after */
static int run(struct op_run *r, int32_t activation, int32_t mode, struct bk_error *err)
{
    struct bk_norm_term t[2] = { { r->in[1], r->in[2], r->in[3], r->in[7], r->in[9] },
                                 { r->in[4], r->in[5], r->in[6], r->in[8], r->in[10] } };
    struct bk_batch_norm_attr attr = { .eps = 1e-3, .momentum = 0.3, .activation = activation, .mode = mode };
    return bk_batch_norm(r->tape, t, 2, r->in[0], &attr, &r->y, err);
}

#define RUN(fn, activation, mode)                                                        \
    static int fn(struct op_run *r, struct bk_error *err)                                \
    {                                                                                    \
        return run(r, activation, mode, err);                                            \
    }
RUN(run_batch, BK_ACT_RELU, BK_NORM_BATCH)
RUN(run_running, BK_ACT_RELU, BK_NORM_RUNNING)
RUN(run_silu, BK_ACT_SILU, BK_NORM_BATCH)
RUN(run_silu_running, BK_ACT_SILU, BK_NORM_RUNNING)
RUN(run_relu6, BK_ACT_RELU6, BK_NORM_BATCH)
RUN(run_sigmoid, BK_ACT_SIGMOID, BK_NORM_BATCH)

static void check_torch(const char *name, int (*fn)(struct op_run *r, struct bk_error *err))
{
    struct torch_case c;
    torch_open(&c, name);
    torch_check(&c, fn);
    for (size_t i = 0; i < 4; i++)
        torch_compare(c.run.in[7 + i], json_array_get(json_object_get(c.root, "extra"), 4 + i), "running statistic");
    torch_close(&c);
}

static void test_torch_batch(void)
{
    check_torch("batch_norm", run_batch);
}

static void test_torch_running(void)
{
    check_torch("batch_norm_running", run_running);
}

static void test_torch_activations(void)
{
    check_torch("batch_norm_silu", run_silu);
    check_torch("batch_norm_silu_running", run_silu_running);
    check_torch("batch_norm_relu6", run_relu6);
    check_torch("batch_norm_sigmoid", run_sigmoid);
}

/* Columns 0,2,4,6 and 1,3,5,7: mean 3 and 4, biased variance 5, unbiased 20/3. */
static void test_statistics(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    double mean[] = { 1, NAN }, var[] = { 2, NAN };
    struct bk_norm_term t = { PUT(&b, BK_F32, 2, NULL, 4, 2), PUT(&b, BK_F32, 1, ((double[]){ 1, 2 }), 2),
                              PUT(&b, BK_F32, 1, ((double[]){ 0, 1 }), 2), PUT(&b, BK_F32, 1, mean, 2),
                              PUT(&b, BK_F32, 1, var, 2) };
    struct bk_batch_norm_attr attr = { .eps = 0, .momentum = 1, .mode = BK_NORM_BATCH };
    struct bk_tensor *y;
    double s = 1 / sqrt(5);
    BK_ASSERT_OK(bk_batch_norm(b.tape, &t, 1, NULL, &attr, &y, &err));
    expect(y, (double[]){ -3 * s, 1 - 6 * s, -s, 1 - 2 * s, s, 1 + 2 * s, 3 * s, 1 + 6 * s }, 1e-6);
    expect(t.running_mean, (double[]){ 3, 4 }, 1e-6);   /* momentum 1 replaces even NaN */
    expect(t.running_var, (double[]){ 20. / 3, 20. / 3 }, 1e-6);
    attr.momentum = 0.25;
    BK_ASSERT_OK(bk_tensor_write_f64(t.running_mean, (double[]){ 1, 0 }, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(t.running_var, (double[]){ 2, 0 }, &err));
    BK_ASSERT_OK(bk_batch_norm(b.tape, &t, 1, NULL, &attr, &y, &err));
    expect(t.running_mean, (double[]){ 1.5, 1 }, 1e-6);
    expect(t.running_var, (double[]){ 1.5 + 5. / 3, 5. / 3 }, 1e-6);
    bench_close(&b);
}

/* One row: the variance is 0, the output the offset, and the running variance stays finite. */
static void test_one_row(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_norm_term t = { PUT(&b, BK_F64, 2, NULL, 1, 3), PUT(&b, BK_F64, 1, NULL, 3), PUT(&b, BK_F64, 1, NULL, 3),
                              PUT(&b, BK_F64, 1, NULL, 3), PUT(&b, BK_F64, 1, NULL, 3) };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.5, .mode = BK_NORM_BATCH };
    struct bk_tensor *y;
    BK_ASSERT_OK(bk_batch_norm(b.tape, &t, 1, NULL, &attr, &y, &err));
    expect(y, (double[]){ 0, 1, 2 }, 1e-12);
    expect(t.running_var, (double[]){ 0, 0.5, 1 }, 1e-12);
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_BF16, 2, NULL, 4, 2), *v = PUT(&b, BK_F32, 1, NULL, 2);
    struct bk_norm_term t = { x, v, v, NULL, NULL }, terms[2] = { t, t }, half = { x, v, v, v, NULL };
    struct bk_batch_norm_attr batch = { .mode = BK_NORM_BATCH }, run_mode = { .mode = BK_NORM_RUNNING }, none = { 0 };
    struct bk_batch_norm_attr odd = { .mode = BK_NORM_BATCH, .activation = 7 };
    terms[1].x = PUT(&b, BK_BF16, 2, NULL, 2, 4);
    refused(bk_batch_norm(b.tape, &t, 1, NULL, &run_mode, &y, &err), &err, BK_EINVAL, "running statistics");
    refused(bk_batch_norm(b.tape, &half, 1, NULL, &batch, &y, &err), &err, BK_EINVAL, "running statistics");
    refused(bk_batch_norm(b.tape, &t, 4, NULL, &batch, &y, &err), &err, BK_EINVAL, "4 terms");
    refused(bk_batch_norm(b.tape, &t, 1, NULL, &none, &y, &err), &err, BK_EINVAL, "not a mode");
    refused(bk_batch_norm(b.tape, &t, 1, NULL, &odd, &y, &err), &err, BK_EINVAL, "activation 7; legal are 0..4");
    refused(bk_batch_norm(b.tape, terms, 2, NULL, &batch, &y, &err), &err, BK_ESHAPE, "[4,2] bf16 and [2,4] bf16");
    refused(bk_batch_norm(b.tape, &t, 1, v, &batch, &y, &err), &err, BK_ESHAPE, "must be alike");
    t.scale = PUT(&b, BK_F32, 1, NULL, 3);
    refused(bk_batch_norm(b.tape, &t, 1, NULL, &batch, &y, &err), &err, BK_ESHAPE, "scale is [3] f32");
    t.scale = PUT(&b, BK_BF16, 1, NULL, 2);
    refused(bk_batch_norm(b.tape, &t, 1, NULL, &batch, &y, &err), &err, BK_ESHAPE, "must be [2] f32");
    bench_close(&b);
}

BK_SUITE({ "PyTorch, batch", test_torch_batch }, { "PyTorch, running", test_torch_running },
         { "PyTorch, activations", test_torch_activations },
         { "statistics", test_statistics }, { "one row", test_one_row }, { "refused", test_refused })

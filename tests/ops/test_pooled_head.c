/*
 * tests/ops/test_pooled_head.c: the covariance form of the pooled head against the operations it replaces, in outputs,
 * running statistics and every gradient, and against PyTorch.
 */
#include "op_cases.h"
#include "torch_ops.h"

static int run_torch(struct op_run *r, struct bk_error *err)
{
    struct bk_norm_term t = { NULL, r->in[2], r->in[3], NULL, NULL };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .mode = BK_NORM_BATCH };
    static struct bk_tensor flat;       /* the kernel [K,1,1,C] seen as [K,C]; the node points at it */
    flat = *r->in[1];
    flat.rank = 2;
    flat.dim[1] = flat.dim[3];
    return bk_pooled_head(r->tape, r->in[0], &flat, &t, &attr, &r->y, err);
}

static void test_torch(void)
{
    torch_run("pooled_head", run_torch);
}

/* The same function as run_head by conv1x1, batch norm and global pooling; w is [K,C] there, so a linear map does it. */
static int run_explicit(struct op_run *r, struct bk_error *err)
{
    struct bk_norm_term t = { NULL, r->in[2], r->in[3], r->in[4], r->in[5] };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .mode = BK_NORM_BATCH };
    struct bk_tensor *z;
    BK_TRY(bk_linear(r->tape, r->in[0], r->in[1], NULL, &t.x, err));
    BK_TRY(bk_batch_norm(r->tape, &t, 1, NULL, &attr, &z, err));
    return bk_global_pool(r->tape, z, &r->y, err);
}

static void same(const struct bk_tensor *a, const struct bk_tensor *b)
{
    struct bk_error err = BK_ERROR_INIT;
    double *v = malloc(bk_tensor_nbytes(b));
    BK_ASSERT_OK(bk_tensor_read_f64(b, v, &err));
    expect(a, v, 1e-11);
    free(v);
}

static void test_explicit(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    const struct op_case head = { "head",
                                  { X4(4, 5, 3, 7), { PARAM, 2, { 19, 7 } }, P1(19), P1(19), S1(19), V1(19) },
                                  run_head,
                                  0 };
    struct op_case whole = head;
    struct op_run got, want;
    whole.run = run_explicit;
    BK_ASSERT_OK(op_open(b.device, &head, BK_F64, &got, &err));
    BK_ASSERT_OK(op_open(b.device, &whole, BK_F64, &want, &err));
    BK_ASSERT_OK(op_forward_backward(&got, &head, &err));
    BK_ASSERT_OK(op_forward_backward(&want, &whole, &err));
    same(got.y, want.y);
    for (int i = 0; i < 4; i++)
        same(got.grad[i], want.grad[i]);
    same(got.in[4], want.in[4]);
    same(got.in[5], want.in[5]);
    op_close(&got);
    op_close(&want);
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 4, NULL, 2, 3, 2, 4), *w = PUT(&b, BK_F32, 2, NULL, 5, 4);
    struct bk_tensor *v = PUT(&b, BK_F32, 1, NULL, 5);
    struct bk_norm_term t = { NULL, v, v, NULL, NULL };
    struct bk_batch_norm_attr batch = { .mode = BK_NORM_BATCH }, running = { .mode = BK_NORM_RUNNING };
    struct bk_batch_norm_attr relu = { .mode = BK_NORM_BATCH, .activation = BK_ACT_RELU };
    refused(bk_pooled_head(b.tape, x, w, &t, &running, &y, &err), &err, BK_EINVAL, "running statistics");
    refused(bk_pooled_head(b.tape, x, w, &t, &relu, &y, &err), &err, BK_EINVAL, "activation 1");
    refused(bk_pooled_head(b.tape, x, PUT(&b, BK_F32, 2, NULL, 4, 5), &t, &batch, &y, &err), &err, BK_ESHAPE,
            "[4,5] f32 does not fit input [2,3,2,4] f32");
    t.running_mean = t.running_var = v;
    BK_ASSERT_OK(bk_tensor_set_grad(w, PUT(&b, BK_F32, 2, NULL, 5, 4), &err));
    refused(bk_pooled_head(b.tape, x, w, &t, &running, &y, &err), &err, BK_ENOTSUP, "no gradient");
    bk_tensor_drop_grad(w);
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "explicit form", test_explicit }, { "refused", test_refused })

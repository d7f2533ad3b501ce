/*
 * tests/ops/test_attention.c: self-attention against PyTorch, a permutation, a uniform average, what is refused.
 */
#include "torch_ops.h"

static int run_attention(struct op_run *r, struct bk_error *err)
{
    return bk_attention(r->tape, r->in[0], 2, &r->y, err);
}

static void test_torch(void)
{
    torch_run("attention", run_attention);
}

enum { L = 6, HEADS = 2, M = L * HEADS };
static const int perm[HEADS][L] = { { 3, 0, 5, 1, 4, 2 }, { 1, 2, 3, 4, 5, 0 } };

static double value_of(int a, int h, int i)
{
    return 100 * a + 10 * h + i;
}

/*
 * Keys are 60 times the unit vectors, the query of position a is 60 times the key direction of position perm[a]: the
 * probabilities are a permutation matrix (off by exp(-3600 / sqrt(6))).
 */
static struct bk_tensor *put_permutation(struct bench *b)
{
    double qkv[L][3 * M] = { { 0 } };
    for (int a = 0; a < L; a++)
        for (int h = 0; h < HEADS; h++) {
            qkv[a][h * L + perm[h][a]] = 60;
            qkv[a][M + h * L + a] = 60;
            for (int i = 0; i < L; i++)
                qkv[a][2 * M + h * L + i] = value_of(a, h, i);
        }
    return PUT(b, BK_F64, 4, &qkv[0][0], 1, 2, 3, 3 * M);
}

/* y_a = v_perm[a], head by head. Reversed, the value of a goes to position perm[a]: the fault of BossNAS's search code. */
static void test_permutation(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    double want[L][M], reversed[L][M];
    for (int a = 0; a < L; a++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < L; i++) {
                want[a][h * L + i] = value_of(perm[h][a], h, i);
                reversed[perm[h][a]][h * L + i] = value_of(a, h, i);
            }
    struct bk_tensor *y;
    BK_ASSERT_OK(bk_attention(b.tape, put_permutation(&b), HEADS, &y, &err));
    CU_ASSERT_EQUAL(y->dim[3], M);
    expect(y, &want[0][0], 1e-12);
    BK_ASSERT_OK(bk_attention_reversed(b.tape, put_permutation(&b), HEADS, &y, &err));
    expect(y, &reversed[0][0], 1e-12);
    bench_close(&b);
}

/* Without queries every position gets the mean of the values of its own image. */
static void test_uniform(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    double qkv[2][3][6] = { { { 0 } } }, want[2][3][2];
    for (int n = 0; n < 2; n++)
        for (int a = 0; a < 3; a++)
            for (int i = 0; i < 2; i++) {
                qkv[n][a][2 + i] = a - 2 * n;
                qkv[n][a][4 + i] = 10 * n + a + i;
                want[n][a][i] = 10 * n + 1 + i;
            }
    struct bk_tensor *y;
    BK_ASSERT_OK(bk_attention(b.tape, PUT(&b, BK_F64, 4, &qkv[0][0][0], 2, 3, 1, 6), 1, &y, &err));
    expect(y, &want[0][0][0], 1e-12);
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 4, NULL, 1, 2, 2, 12);
    refused(bk_attention(b.tape, x, 3, &y, &err), &err, BK_ESHAPE, "3 heads do not fit [1,2,2,12] f32");
    refused(bk_attention(b.tape, x, 0, &y, &err), &err, BK_ESHAPE, "0 heads");
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "permutation", test_permutation }, { "uniform", test_uniform },
         { "refused", test_refused })

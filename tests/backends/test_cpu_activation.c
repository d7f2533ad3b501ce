/*
 * The cpu backend's e^x under sigmoid, SiLU and softmax: relative error, limits, NaN, for every instruction set. That the
 * kernels agree with `ref` on ordinary values is tests/ops/test_backend_agreement.c.
 */
#include "backends/cpu_fixture.h"

static void activate(uint32_t kind, struct values *x, struct values *y)
{
    struct bk_activation_attr attr = { .kind = (int32_t)kind };
    run_kernel(BK_K_ACTIVATION,
               &(struct bk_kernel_args){ .in = { &x->t }, .n_in = 1, .out = { &y->t }, .n_out = 1, .attr = &attr });
}

/* Largest relative error of any single element. */
static double relative_error(const struct values *y, const double *want)
{
    double worst = 0;
    for (size_t i = 0; i < y->n; i++) {
        double e = fabs(values_get(y, i) - want[i]) / fabs(want[i]);
        worst = isnan(e) || e > worst ? e : worst;
    }
    return worst;
}

/* -85..85 in odd steps: the left tail of the sigmoid is e^x itself. */
static void test_precision(void)
{
    CPU_OPEN(1);
    enum { POINTS = 17003 };
    struct values x = values_new(BK_F32, POINTS, 0, 0, 0, 0, 0), y = values_new(BK_F32, POINTS, 0, 0, 0, 0, 0);
    double *sigmoid = calloc(POINTS, sizeof *sigmoid), *silu = calloc(POINTS, sizeof *silu);
    for (size_t i = 0; i < POINTS; i++) {
        values_put(&x, i, -85 + 170 * ((double)i + 0.25) / POINTS);
        sigmoid[i] = 1 / (1 + exp(-x.v[i]));
        silu[i] = x.v[i] * sigmoid[i];
    }
    activate(BK_ACT_SIGMOID, &x, &y);
    CU_ASSERT(relative_error(&y, sigmoid) < 4e-7);
    activate(BK_ACT_SILU, &x, &y);
    CU_ASSERT(relative_error(&y, silu) < 4e-7);
    free(sigmoid);
    free(silu);
    values_free(&x);
    values_free(&y);
    cpu_close();
}

/* Results in bf16 may be computed more roughly, but not so that it shows beside their rounding. */
static void test_precision_bf16(void)
{
    CPU_OPEN(1);
    enum { POINTS = 4096 };
    struct values x = values_new(BK_BF16, POINTS, 0, 0, 0, 0, 0), y = values_new(BK_BF16, POINTS, 0, 0, 0, 0, 0);
    struct values g = values_new(BK_BF16, POINTS, 0, 0, 0, 0, 0);
    double *sigmoid = calloc(POINTS, sizeof *sigmoid), *silu = calloc(POINTS, sizeof *silu), *slope = calloc(POINTS, sizeof *slope);
    for (size_t i = 0; i < POINTS; i++) {
        values_put(&x, i, -80 + 160 * ((double)i + 0.25) / POINTS);
        values_put(&g, i, 1);
        sigmoid[i] = 1 / (1 + exp(-x.v[i]));
        silu[i] = x.v[i] * sigmoid[i];
        slope[i] = sigmoid[i] * (1 + x.v[i] * (1 - sigmoid[i]));
    }
    activate(BK_ACT_SIGMOID, &x, &y);
    CU_ASSERT(relative_error(&y, sigmoid) < 0x1p-8 + 1e-4);
    activate(BK_ACT_SILU, &x, &y);
    CU_ASSERT(relative_error(&y, silu) < 0x1p-8 + 1e-4);
    struct bk_activation_attr attr = { .kind = BK_ACT_SILU };
    run_kernel(BK_K_ACTIVATION_DX, &(struct bk_kernel_args){ .in = { &g.t, NULL, NULL, NULL, &x.t }, .n_in = 5,
                                                             .out = { &y.t }, .n_out = 1, .attr = &attr });
    ASSERT_NEAR(&y, slope, 0x1p-8 + 1e-5);
    free(sigmoid);
    free(silu);
    free(slope);
    values_free(&x);
    values_free(&y);
    values_free(&g);
    cpu_close();
}

static void test_limits(void)
{
    CPU_OPEN(1);
    for (int t = 0; t < 2; t++) {
        struct values x = values_new(act_types[t], 6, 0, 0, 0, 0, 0), y = values_new(act_types[t], 6, 0, 0, 0, 0, 0);
        static const double in[6] = { -1e4, -INFINITY, 1e4, INFINITY, NAN, 0 };
        for (size_t i = 0; i < 6; i++)
            values_put(&x, i, in[i]);
        activate(BK_ACT_SIGMOID, &x, &y);
        CU_ASSERT(values_get(&y, 0) >= 0 && values_get(&y, 0) < 1e-37);
        CU_ASSERT(values_get(&y, 1) >= 0 && values_get(&y, 1) < 1e-37);
        CU_ASSERT(values_get(&y, 2) == 1 && values_get(&y, 3) == 1);
        CU_ASSERT(isnan(values_get(&y, 4)) && values_get(&y, 5) == 0.5);
        activate(BK_ACT_SILU, &x, &y);
        CU_ASSERT(fabs(values_get(&y, 0)) < 1e-33 && values_get(&y, 2) == x.v[2]);
        CU_ASSERT(isnan(values_get(&y, 4)) && values_get(&y, 5) == 0);
        activate(BK_ACT_RELU6, &x, &y);
        CU_ASSERT(values_get(&y, 0) == 0 && values_get(&y, 2) == 6 && isnan(values_get(&y, 4)));
        activate(BK_ACT_RELU, &x, &y);
        CU_ASSERT(values_get(&y, 0) == 0 && values_get(&y, 2) == x.v[2] && isnan(values_get(&y, 4)));
        values_free(&x);
        values_free(&y);
    }
    cpu_close();
}

/* Where e^-x is not a number of the type: slopes of SiLU are those of its asymptotes, 0 and 1. */
static void test_steep(void)
{
    CPU_OPEN(1);
    static const double in[8] = { -1e4, -1000, -130, -89, -87.5, 89, 130, 1e4 };
    for (int t = 0; t < 2; t++) {
        struct values x = values_new(act_types[t], 8, 0, 0, 0, 0, 0), y = values_new(act_types[t], 8, 0, 0, 0, 0, 0);
        struct values g = values_new(act_types[t], 8, 0, 0, 0, 0, 0);
        struct bk_activation_attr attr = { .kind = BK_ACT_SILU };
        for (size_t i = 0; i < 8; i++) {
            values_put(&x, i, in[i]);
            values_put(&g, i, 1);
        }
        run_kernel(BK_K_ACTIVATION_DX, &(struct bk_kernel_args){ .in = { &g.t, NULL, NULL, NULL, &x.t }, .n_in = 5,
                                                                 .out = { &y.t }, .n_out = 1, .attr = &attr });
        for (size_t i = 0; i < 8; i++)
            CU_ASSERT(fabs(values_get(&y, i) - (in[i] > 0)) < 1e-30);
        values_free(&x);
        values_free(&y);
        values_free(&g);
    }
    cpu_close();
}

/* Keys are scaled unit vectors, the query of position a points at key (a + 3) mod L: y_a is v of that position. */
static void test_permutation(void)
{
    CPU_OPEN(2);
    enum { H = 7, L = H * H, M = L };
    for (int t = 0; t < 2; t++) {
        struct values qkv = values_new(act_types[t], 2, H, H, 3 * M, 0, 1);
        struct values y = values_new(act_types[t], 2, H, H, M, 0, 0), p = values_new(BK_F32, 2, 1, L, L, 0, 0);
        struct bk_attention_attr attr = { .heads = 1, .scale = 1 };
        double *want = calloc(y.n, sizeof *want), *prob = calloc(p.n, sizeof *prob);
        for (size_t r = 0; r < 2 * L; r++)
            for (size_t i = 0; i < M; i++) {
                size_t a = r % L, to = (a + 3) % L;
                values_put(&qkv, r * 3 * M + i, i == to ? 16 : 0);
                values_put(&qkv, r * 3 * M + M + i, i == a ? 16 : 0);
                prob[r * L + i] = i == to;
                want[r * M + i] = qkv.v[(r - a + to) * 3 * M + 2 * M + i];
            }
        run_kernel(BK_K_ATTENTION, &(struct bk_kernel_args){ .in = { &qkv.t }, .n_in = 1, .out = { &y.t, &p.t },
                                                             .n_out = 2, .attr = &attr });
        ASSERT_NEAR(&p, prob, 1e-6);
        ASSERT_NEAR(&y, want, tolerance(act_types[t]));
        struct values *all[] = { &qkv, &y, &p };
        for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
            values_free(all[i]);
        free(want);
        free(prob);
    }
    cpu_close();
}

static void test_older_processors(void)
{
    static const char *const isas[] = { "avx512_plain", "avx2", "base" };
    for (size_t i = 0; i < BK_ARRAY_LEN(isas); i++) {
        cpu_isa = isas[i];
        test_precision();
        test_precision_bf16();
        test_limits();
        test_steep();
        test_permutation();
    }
    cpu_isa = NULL;
}

BK_SUITE({ "precision", test_precision }, { "precision, bf16", test_precision_bf16 }, { "limits", test_limits }, { "steep", test_steep },
         { "permutation", test_permutation },
         { "loops of older processors", test_older_processors })

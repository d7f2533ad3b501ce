/*
 * tests/ops/test_activation.c: activations, channel factors and dropout: PyTorch, known values, the law of the draws.
 */
#include "torch_ops.h"

#define KIND(fn, kind)                                                                   \
    static int fn(struct op_run *r, struct bk_error *err)                                \
    {                                                                                    \
        return bk_activation(r->tape, r->in[0], kind, &r->y, err);                       \
    }
KIND(run_relu, BK_ACT_RELU)
KIND(run_relu6, BK_ACT_RELU6)
KIND(run_silu, BK_ACT_SILU)
KIND(run_sigmoid, BK_ACT_SIGMOID)

static int run_scale(struct op_run *r, struct bk_error *err)
{
    return bk_scale_channels(r->tape, r->in[0], r->in[1], &r->y, err);
}

static void test_torch(void)
{
    torch_run("activation_relu", run_relu);
    torch_run("activation_relu6", run_relu6);
    torch_run("activation_silu", run_silu);
    torch_run("activation_sigmoid", run_sigmoid);
    torch_run("scale_channels", run_scale);
}

/* Far out the functions are flat, without overflow. */
static void test_limits(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 1, ((double[]){ -1e4, 0, 1e4 }), 3);
    BK_ASSERT_OK(bk_activation(b.tape, x, BK_ACT_SIGMOID, &y, &err));
    expect(y, (double[]){ 0, 0.5, 1 }, 1e-30);
    BK_ASSERT_OK(bk_activation(b.tape, x, BK_ACT_SILU, &y, &err));
    expect(y, (double[]){ 0, 0, 1e4 }, 1e-30);
    BK_ASSERT_OK(bk_activation(b.tape, x, BK_ACT_RELU6, &y, &err));
    expect(y, (double[]){ 0, 0, 6 }, 0);
    refused(bk_activation(b.tape, x, 9, &y, &err), &err, BK_EINVAL, "kind 9; legal are 1..4");
    refused(bk_scale_channels(b.tape, PUT(&b, BK_F32, 4, NULL, 2, 1, 1, 3), PUT(&b, BK_F32, 2, NULL, 3, 2), &y, &err),
            &err, BK_ESHAPE, "they must be [2,3] f32");
    bench_close(&b);
}

/* ---- dropout --------------------------------------------------------------------------------------- */

enum { GROUPS = 4000 };

/* y of 4000 groups of `group` ones; every element of a group is alike, each either 0 or 1 / (1 - p). Returns the zeros. */
static int dropped(struct bench *b, struct bk_dropout_attr attr, bool *zero)
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t n = GROUPS * attr.group;
    double *v = malloc((size_t)n * sizeof *v);
    int zeros = 0, odd = 0;
    for (int64_t i = 0; i < n; i++)
        v[i] = 1;
    struct bk_tensor *y, *x = put(b, BK_F64, 1, &n, v);
    BK_ASSERT_OK(bk_dropout(b->tape, x, &attr, &y, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(y, v, &err));
    for (int64_t i = 0; i < n; i++) {
        odd += v[i] != v[i / attr.group * attr.group] || (v[i] != 0 && fabs(v[i] - 1 / (1 - attr.p)) > 1e-15);
        zero[i / attr.group] = v[i] == 0;
    }
    for (int g = 0; g < GROUPS; g++)
        zeros += zero[g];
    CU_ASSERT_EQUAL(odd, 0);
    free(v);
    return zeros;
}

static int equal_draws(const bool *a, const bool *b)
{
    int n = 0;
    for (int i = 0; i < GROUPS; i++)
        n += a[i] == b[i];
    return n;
}

/* Binomial counts within five standard deviations; draws repeat with their attributes and change with each of them. */
static void test_dropout_law(void)
{
    struct bench b = bench_open();
    struct bk_dropout_attr attr = { .p = 0.3, .group = 1, .seed = 5, .step = 7, .stream = 11 }, other;
    bool first[GROUPS], again[GROUPS];
    double sd = sqrt(GROUPS * 0.3 * 0.7), expected = GROUPS * (0.3 * 0.3 + 0.7 * 0.7);
    BK_ASSERT_CLOSE(dropped(&b, attr, first), GROUPS * 0.3, 5 * sd);
    attr.group = 6;
    CU_ASSERT(dropped(&b, attr, again) > 0);
    CU_ASSERT_EQUAL(equal_draws(first, again), GROUPS);         /* the group number decides */
    for (int k = 0; k < 3; k++) {
        other = attr;
        other.seed += k == 0;
        other.step += k == 1;
        other.stream += k == 2;
        dropped(&b, other, again);
        BK_ASSERT_CLOSE(equal_draws(first, again), expected, 5 * sqrt(GROUPS * 0.25));
    }
    bench_close(&b);
}

/* The draw is the documented word of the documented Philox sequence. */
static void test_dropout_words(void)
{
    struct bench b = bench_open();
    struct bk_dropout_attr attr = { .p = 0.25, .group = 2, .seed = 0x123456789abcdefull, .step = 1ull << 40, .stream = 3 };
    bool zero[GROUPS];
    int differ = 0;
    dropped(&b, attr, zero);
    for (uint32_t g = 0; g < GROUPS; g++) {
        uint32_t key[2] = { 0x89abcdefu ^ 3, 0x1234567u ^ (3u << 16) }, counter[4] = { g / 4, 0, 0, 1u << 8 }, word[4];
        bk_philox4x32(counter, key, word);
        differ += zero[g] != (word[g % 4] < 1u << 30);
    }
    CU_ASSERT_EQUAL(differ, 0);
    bench_close(&b);
}

static void test_dropout_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bench b = bench_open();
    struct bk_tensor *y, *x = PUT(&b, BK_F32, 1, NULL, 6);
    BK_ASSERT_OK(bk_dropout(b.tape, x, &(struct bk_dropout_attr){ .p = 0 }, &y, &err));
    CU_ASSERT_PTR_EQUAL(y, x);
    refused(bk_dropout(b.tape, x, &(struct bk_dropout_attr){ .p = 1, .group = 1 }, &y, &err), &err, BK_EINVAL,
            "probability 1 is outside");
    refused(bk_dropout(b.tape, x, &(struct bk_dropout_attr){ .p = 0.5, .group = 4 }, &y, &err), &err, BK_ESHAPE,
            "groups of 4 do not divide [6] f32");
    bench_close(&b);
}

BK_SUITE({ "PyTorch", test_torch }, { "limits", test_limits }, { "dropout law", test_dropout_law },
         { "dropout words", test_dropout_words }, { "dropout refused", test_dropout_refused })

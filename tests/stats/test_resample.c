/*
 * tests/stats/test_resample.c: bootstrap intervals and the paired test.
 *
 * Intervals are compared with an independent, slow bootstrap of the same draws and with the normal-theory width.
 */
#include "unit.h"

#include <bosskit/random.h>
#include <bosskit/stats.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void make_sample(size_t n, double slope, uint32_t index, double *x, double *y)
{
    struct bk_random r;

    bk_random_init(&r, 11, 12, 0, index);
    for (size_t i = 0; i < n; i++) {
        x[i] = bk_random_normal(&r);
        y[i] = slope * x[i] + sqrt(1 - slope * slope) * bk_random_normal(&r);
    }
}

/* The draws are documented: stream "bootstrap", step b, n draws below n. */
static void test_against_slow(void)
{
    enum { N = 40, B = 99 };
    struct bk_error err = BK_ERROR_INIT;
    double x[N], y[N], rx[N], ry[N], tau[B], rho[B], pearson[B];
    struct bk_correlation_ci ci;
    struct bk_random r;

    make_sample(N, 0.5, 0, x, y);
    for (int i = 0; i < N; i++)
        y[i] = round(4 * y[i]);
    for (int b = 0; b < B; b++) {
        bk_random_init(&r, 5, bk_random_stream("bootstrap"), (uint64_t)b, 0);
        for (int i = 0; i < N; i++) {
            uint32_t k = bk_random_below(&r, N);
            rx[i] = x[k];
            ry[i] = y[k];
        }
        struct bk_correlation c;
        BK_ASSERT_OK(bk_correlate(rx, ry, N, &c, &err));
        tau[b] = c.kendall_tau;
        rho[b] = c.spearman_rho;
        pearson[b] = c.pearson_r;
    }
    qsort(tau, B, sizeof *tau, ascending);
    qsort(rho, B, sizeof *rho, ascending);
    qsort(pearson, B, sizeof *pearson, ascending);
    BK_ASSERT_OK(bk_bootstrap(x, y, N, B, 0.9, 5, &ci, &err));
    /* 0.05 of 98 steps = 4.9. */
    BK_ASSERT_CLOSE(ci.kendall_tau.low, tau[4] + 0.9 * (tau[5] - tau[4]), 1e-13);
    BK_ASSERT_CLOSE(ci.kendall_tau.high, tau[93] + 0.1 * (tau[94] - tau[93]), 1e-13);
    BK_ASSERT_CLOSE(ci.spearman_rho.low, rho[4] + 0.9 * (rho[5] - rho[4]), 1e-13);
    BK_ASSERT_CLOSE(ci.pearson_r.high, pearson[93] + 0.1 * (pearson[94] - pearson[93]), 1e-13);
}

/* For bivariate normal data R has standard error (1 - R^2) / sqrt(n) (Fisher 1915). */
static void test_width(void)
{
    enum { N = 4000 };
    struct bk_error err = BK_ERROR_INIT;
    static double x[N], y[N];
    struct bk_correlation_ci ci;

    make_sample(N, 0.6, 1, x, y);
    BK_ASSERT_OK(bk_bootstrap(x, y, N, 1000, 0.95, 1, &ci, &err));
    double width = ci.pearson_r.high - ci.pearson_r.low, want = 2 * 1.96 * 0.64 / sqrt(N);
    CU_ASSERT(fabs(width / want - 1) < 0.12);
    CU_ASSERT(ci.pearson_r.low < 0.6 && 0.6 < ci.pearson_r.high);
    /* tau = 2/pi asin(r) for normal data. */
    double tau = 2 / 3.14159265358979 * asin(0.6);
    CU_ASSERT(ci.kendall_tau.low < tau && tau < ci.kendall_tau.high);
}

static void test_threads(void)
{
    enum { N = 300 };
    struct bk_error err = BK_ERROR_INIT;
    static double x[N], y[N];
    struct bk_correlation_ci one, three, other;
    int before = bk_threads();

    make_sample(N, 0.3, 2, x, y);
    bk_threads_set(1);
    BK_ASSERT_OK(bk_bootstrap(x, y, N, 200, 0.95, 7, &one, &err));
    bk_threads_set(3);
    BK_ASSERT_OK(bk_bootstrap(x, y, N, 200, 0.95, 7, &three, &err));
    BK_ASSERT_OK(bk_bootstrap(x, y, N, 200, 0.95, 8, &other, &err));
    bk_threads_set(before);
    CU_ASSERT_EQUAL(memcmp(&one, &three, sizeof one), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(&one, &other, sizeof one), 0);
}

static void test_paired(void)
{
    enum { N = 400 };
    struct bk_error err = BK_ERROR_INIT;
    static double truth[N], good[N], poor[N];
    struct bk_paired t;
    struct bk_random r;

    bk_random_init(&r, 1, 1, 1, 1);
    for (int i = 0; i < N; i++) {
        truth[i] = bk_random_normal(&r);
        good[i] = truth[i] + 0.5 * bk_random_normal(&r);
        poor[i] = truth[i] + 3 * bk_random_normal(&r);
    }
    BK_ASSERT_OK(bk_paired_test(good, poor, truth, N, 499, 0.95, 1, &t, &err));
    CU_ASSERT(t.ci.kendall_tau.low > 0.2);
    BK_ASSERT_CLOSE(t.p_tau, 2.0 / 500, 1e-15);
    struct bk_correlation a, b;
    BK_ASSERT_OK(bk_correlate(good, truth, N, &a, &err));
    BK_ASSERT_OK(bk_correlate(poor, truth, N, &b, &err));
    BK_ASSERT_CLOSE(t.difference.pearson_r, a.pearson_r - b.pearson_r, 1e-15);
    /* A rating against itself: every resampled difference is 0. */
    BK_ASSERT_OK(bk_paired_test(good, good, truth, N, 99, 0.95, 1, &t, &err));
    CU_ASSERT_EQUAL(t.p_tau, 1);
    CU_ASSERT_EQUAL(t.ci.kendall_tau.low, 0);
    CU_ASSERT_EQUAL(t.ci.kendall_tau.high, 0);
}

static void test_degenerate(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double x[] = { 1, 2, 3 }, y[] = { 1, 2, 3 }, flat[] = { 1, 1, 1 };
    struct bk_correlation_ci ci;

    /* One resample in nine draws a single pair three times; it is left out. */
    BK_ASSERT_OK(bk_bootstrap(x, y, 3, 200, 0.95, 1, &ci, &err));
    CU_ASSERT_EQUAL(ci.kendall_tau.low, 1);
    BK_ASSERT_CLOSE(ci.pearson_r.low, 1, 1e-12);
    BK_ASSERT_OK(bk_bootstrap(x, flat, 3, 20, 0.95, 1, &ci, &err));
    CU_ASSERT(isnan(ci.kendall_tau.low) && isnan(ci.pearson_r.high));
    CU_ASSERT_EQUAL(bk_bootstrap(x, y, 0, 20, 0.95, 1, &ci, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bootstrap(x, y, 3, 0, 0.95, 1, &ci, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bootstrap(x, y, 3, 10, 1.0, 1, &ci, &err), BK_EINVAL);
}

static void test_out_of_memory(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double x[] = { 1, 2, 3 }, y[] = { 1, 2, 3 };
    struct bk_paired t;
    int rc = BK_ENOMEM;

    for (long n = 1; rc; n++) {
        bk_alloc_fail_after(n);
        rc = bk_paired_test(x, y, x, 3, 4, 0.95, 1, &t, &err);
        CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOMEM);
    }
    bk_alloc_fail_after(0);
}

static void test_speed(void)
{
    enum { N = 32768 };
    struct bk_error err = BK_ERROR_INIT;
    double *x = bk_alloc(N * sizeof *x), *y = bk_alloc(N * sizeof *y);
    struct bk_correlation_ci ci;

    make_sample(N, 0.6, 3, x, y);
    for (int i = 0; i < N; i++)
        y[i] = round(130 * y[i]);
    double start = bk_now();
    BK_ASSERT_OK(bk_bootstrap(x, y, N, 200, 0.95, 1, &ci, &err));
    double per_1000 = 5 * (bk_now() - start);
    printf("  1,000 resamples of 32,768 would take %.2f s\n", per_1000);
    CU_ASSERT(per_1000 < 20);
    bk_free(x);
    bk_free(y);
}

BK_SUITE({ "against a slow bootstrap", test_against_slow }, { "width", test_width },
         { "threads", test_threads }, { "paired", test_paired },
         { "degenerate", test_degenerate }, { "out of memory", test_out_of_memory },
         { "speed", test_speed })

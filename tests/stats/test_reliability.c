/*
 * Reliability of means over batches against Cronbach's own formula, which has the variances of batches and of totals instead of an
 * analysis of variance, and against the variances that noise was made with.
 */
#include "unit.h"

#include <bosskit/random.h>
#include <bosskit/stats.h>

#define MAX_ITEMS 400
#define MAX_BATCHES 16

static double x[MAX_BATCHES][MAX_ITEMS];

static double measured(size_t n_items, size_t n_batches)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_reliability r = { .n_items = n_items };
    for (size_t b = 0; b < n_batches; b++)
        BK_ASSERT_OK(bk_reliability_add(&r, x[b], &err));
    double value = bk_reliability_value(&r);
    bk_reliability_release(&r);
    return value;
}

static double variance(const double *v, size_t n)
{
    long double mean = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        mean += v[i] / (long double)n;
    for (size_t i = 0; i < n; i++)
        sum += (v[i] - mean) * (v[i] - mean);
    return (double)(sum / (long double)(n - 1));
}

/* Cronbach 1951: k / (k - 1) (1 - sum of variances of the k parts / variance of the totals). */
static double cronbach(size_t n_items, size_t n_batches)
{
    double total[MAX_ITEMS] = { 0 }, parts = 0, k = (double)n_batches;
    for (size_t b = 0; b < n_batches; b++) {
        parts += variance(x[b], n_items);
        for (size_t i = 0; i < n_items; i++)
            total[i] += x[b][i];
    }
    return k / (k - 1) * (1 - parts / variance(total, n_items));
}

/* Items of variance 1, noise of variance `noise` a batch, and what all items of a batch share. */
static void draw(size_t n_items, size_t n_batches, double noise)
{
    struct bk_random random;
    double item[MAX_ITEMS];
    bk_random_init(&random, 5, bk_random_stream("test reliability"), n_items, n_batches);
    for (size_t i = 0; i < n_items; i++)
        item[i] = bk_random_normal(&random);
    for (size_t b = 0; b < n_batches; b++) {
        double common = 30 * bk_random_normal(&random);
        for (size_t i = 0; i < n_items; i++)
            x[b][i] = item[i] + common + sqrt(noise) * bk_random_normal(&random);
    }
}

static void test_formula(void)
{
    for (size_t n = 2; n <= MAX_ITEMS; n = 3 * n + 1)
        for (size_t k = 2; k <= MAX_BATCHES; k += 5)
            for (double noise = 0.01; noise < 1000; noise *= 20) {
                draw(n, k, noise);
                double wanted = cronbach(n, k);
                BK_ASSERT_CLOSE(measured(n, k), wanted, 1e-9 * fmax(1, fabs(wanted)));
            }
}

/* The share of the variance of means that is not noise: 1 / (1 + noise / batches). */
static void test_meaning(void)
{
    for (double noise = 0.25; noise < 40; noise *= 4) {
        draw(MAX_ITEMS, 16, noise);
        BK_ASSERT_CLOSE(measured(MAX_ITEMS, 16), 1 / (1 + noise / 16), 0.05);
    }
    draw(20, 4, 0);
    BK_ASSERT_CLOSE(measured(20, 4), 1, 1e-12);
}

static void test_undefined(void)
{
    draw(20, 4, 1);
    CU_ASSERT(isnan(measured(20, 1)));
    CU_ASSERT(isnan(measured(1, 4)));
    CU_ASSERT(isnan(measured(20, 0)));
    memset(x, 0, sizeof x);
    CU_ASSERT(isnan(measured(20, 4)));
    x[0][0] = x[1][1] = 1;              /* equal means, nothing but noise */
    x[0][1] = x[1][0] = -1;
    CU_ASSERT(isnan(measured(2, 2)));
    x[0][0] = 1.5;
    CU_ASSERT(measured(2, 2) < -10);
}

BK_SUITE({ "formula", test_formula }, { "meaning", test_meaning }, { "undefined", test_undefined })

/*
 * Wilson's interval: the roots of its defining equation, published values, coverage by enumeration.
 */
#include "unit.h"

#include <bosskit/stats.h>

#define Z 1.959963984540054

/* Both ends p satisfy (k/n - p)^2 = z^2 p (1 - p) / n. */
static void test_equation(void)
{
    const int64_t n[] = { 1, 7, 50, 10000 };
    for (int i = 0; i < 4; i++) {
        for (int64_t k = 0; k <= n[i]; k += 1 + n[i] / 13) {
            struct bk_interval v = bk_proportion_interval(k, n[i]);
            double p = (double)k / (double)n[i], ends[2] = { v.low, v.high };
            CU_ASSERT(v.low >= 0 && v.low <= p && p <= v.high && v.high <= 1);
            for (int e = 0; e < 2; e++) {
                if (ends[e] > 0 && ends[e] < 1)
                    BK_ASSERT_CLOSE((p - ends[e]) * (p - ends[e]), Z * Z * ends[e] * (1 - ends[e]) / (double)n[i], 1e-12);
            }
        }
    }
}

/* Newcombe 1998, table I, method 3 (score without continuity correction). */
static void test_published(void)
{
    struct bk_interval v = bk_proportion_interval(81, 263);
    BK_ASSERT_CLOSE(v.low, 0.2553, 5e-5);
    BK_ASSERT_CLOSE(v.high, 0.3662, 5e-5);
    v = bk_proportion_interval(15, 148);
    BK_ASSERT_CLOSE(v.low, 0.0624, 5e-5);
    BK_ASSERT_CLOSE(v.high, 0.1605, 5e-5);
    v = bk_proportion_interval(0, 20);
    BK_ASSERT_CLOSE(v.low, 0, 0);
    BK_ASSERT_CLOSE(v.high, 0.1611, 5e-5);
    v = bk_proportion_interval(1, 29);
    BK_ASSERT_CLOSE(v.low, 0.0061, 5e-5);
    BK_ASSERT_CLOSE(v.high, 0.1718, 5e-5);
}

/* Coverage at n = 200, averaged over p, is close to 95 %. */
static void test_coverage(void)
{
    double total = 0;
    int n_p = 0;
    for (double p = 0.02; p < 0.99; p += 0.005, n_p++) {
        for (int k = 0; k <= 200; k++) {
            struct bk_interval v = bk_proportion_interval(k, 200);
            if (p >= v.low && p <= v.high)
                total += exp(lgamma(201) - lgamma(k + 1) - lgamma(201 - k) + k * log(p) + (200 - k) * log(1 - p));
        }
    }
    BK_ASSERT_CLOSE(total / n_p, 0.95, 0.004);
    CU_ASSERT(isnan(bk_proportion_interval(1, 0).low));
    CU_ASSERT(isnan(bk_proportion_interval(3, 2).low));
}

BK_SUITE({ "its equation", test_equation }, { "published values", test_published }, { "coverage", test_coverage })

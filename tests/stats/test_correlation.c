/*
 * tests/stats/test_correlation.c: coefficients against counting all pairs, SciPy and closed values.
 *
 * Speed and intervals are in test_resample.c, published rankings in test_published.c.
 */
#include "unit.h"
#include "stats/pair_ranks.h"

#include <bosskit/random.h>
#include <bosskit/stats.h>
#include <jansson.h>

static void count_all_pairs(const double *x, const double *y, const uint32_t *w, size_t n,
                            struct bk_pair_counts *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        int64_t wi = w ? w[i] : 1, inside = wi * (wi - 1) / 2;
        out->pairs += inside;
        out->ties_x += inside;
        out->ties_y += inside;
        out->ties_both += inside;
        for (size_t j = 0; j < i; j++) {
            int64_t m = wi * (w ? w[j] : 1);
            bool tx = x[i] == x[j], ty = y[i] == y[j];
            out->pairs += m;
            out->ties_x += tx * m;
            out->ties_y += ty * m;
            out->ties_both += (tx && ty) * m;
            if (!tx && !ty)
                *((x[i] < x[j]) == (y[i] < y[j]) ? &out->concordant : &out->discordant) += m;
        }
    }
}

static void same_counts(const struct bk_pair_counts *a, const struct bk_pair_counts *b)
{
    CU_ASSERT_EQUAL(a->pairs, b->pairs);
    CU_ASSERT_EQUAL(a->ties_x, b->ties_x);
    CU_ASSERT_EQUAL(a->ties_y, b->ties_y);
    CU_ASSERT_EQUAL(a->ties_both, b->ties_both);
    CU_ASSERT_EQUAL(a->concordant, b->concordant);
    CU_ASSERT_EQUAL(a->discordant, b->discordant);
}

static void test_pair_counts(void)
{
    struct bk_error err = BK_ERROR_INIT;
    double x[97], y[97];
    struct bk_random r;

    for (uint32_t trial = 0; trial < 60; trial++) {
        size_t n = 2 + trial * 95 / 59;
        uint32_t levels_x = 1 + trial % 7 * 8, levels_y = 1 + trial % 5 * 30;
        bk_random_init(&r, 1, 2, trial, 0);
        for (size_t i = 0; i < n; i++) {
            x[i] = bk_random_below(&r, levels_x);
            y[i] = -2.5 * bk_random_below(&r, levels_y);
        }
        struct bk_pair_counts fast, slow;
        BK_ASSERT_OK(bk_pair_count(x, y, n, &fast, &err));
        count_all_pairs(x, y, NULL, n, &slow);
        same_counts(&fast, &slow);
        CU_ASSERT_EQUAL(fast.concordant + fast.discordant,
                        fast.pairs - fast.ties_x - fast.ties_y + fast.ties_both);
    }
}

/* A weighting must give what the expanded sample gives. */
static void test_weights(void)
{
    struct bk_error err = BK_ERROR_INIT;
    double x[50], y[50], ex[200], ey[200];
    uint32_t w[50];
    struct bk_random r;

    for (uint32_t trial = 0; trial < 30; trial++) {
        size_t total = 0;
        bk_random_init(&r, 3, 4, trial, 0);
        for (size_t i = 0; i < 50; i++) {
            x[i] = bk_random_below(&r, 3 + trial);
            y[i] = bk_random_below(&r, 40 - trial) + 0.25 * x[i];
            w[i] = bk_random_below(&r, 4);
            for (uint32_t k = 0; k < w[i]; k++, total++) {
                ex[total] = x[i];
                ey[total] = y[i];
            }
        }
        struct bk__pairs p;
        struct bk_pair_counts fast, slow;
        struct bk_correlation weighted, expanded;
        BK_ASSERT_OK(bk__pairs_init(&p, x, y, 50, &err));
        void *scratch = bk_alloc(bk__pairs_scratch(&p));
        bk__pairs_correlate(&p, w, total, scratch, &fast, &weighted);
        count_all_pairs(x, y, w, 50, &slow);
        same_counts(&fast, &slow);
        BK_ASSERT_OK(bk_correlate(ex, ey, total, &expanded, &err));
        BK_ASSERT_CLOSE(weighted.kendall_tau, expanded.kendall_tau, 1e-15);
        BK_ASSERT_CLOSE(weighted.spearman_rho, expanded.spearman_rho, 1e-13);
        BK_ASSERT_CLOSE(weighted.pearson_r, expanded.pearson_r, 1e-13);
        bk_free(scratch);
        bk__pairs_release(&p);
    }
}

static size_t read_vector(const json_t *object, const char *key, double *out)
{
    const json_t *array = json_object_get(object, key);
    size_t n = json_array_size(array);

    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(array, i));
    return n;
}

static void test_scipy(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[4096];
    size_t i;
    json_t *item;

    snprintf(path, sizeof path, "%s/tests/fixtures/stats.json", bk_test_env("BK_TEST_SOURCE"));
    json_t *cases = json_load_file(path, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cases);
    CU_ASSERT_EQUAL(json_array_size(cases), 7);
    json_array_foreach(cases, i, item) {
        double x[64], y[64], want[64], ranks[64];
        size_t n = read_vector(item, "x", x);
        read_vector(item, "y", y);
        read_vector(item, "ranks_x", want);
        struct bk_correlation c;
        BK_ASSERT_OK(bk_correlate(x, y, n, &c, &err));
        CU_ASSERT_EQUAL(c.n, n);
        BK_ASSERT_CLOSE(c.kendall_tau, json_number_value(json_object_get(item, "kendall_tau")), 1e-14);
        BK_ASSERT_CLOSE(c.spearman_rho, json_number_value(json_object_get(item, "spearman_rho")), 1e-13);
        /* An offset of 1e9 leaves 1e-16 x 1e9 of the values' own precision. */
        BK_ASSERT_CLOSE(c.pearson_r, json_number_value(json_object_get(item, "pearson_r")), 1e-12);
        BK_ASSERT_OK(bk_ranks(x, n, ranks, &err));
        for (size_t k = 0; k < n; k++)
            CU_ASSERT_EQUAL(ranks[k], want[k]);
    }
    json_decref(cases);
}

static void test_closed_values(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double x[] = { 1, 2, 3, 4, 5 }, y[] = { 2, 1, 4, 3, 5 }, flat[] = { 7, 7, 7, 7, 7 };
    struct bk_correlation c;

    /* 8 of 10 pairs agree; sum of squared rank differences 4: rho = 1 - 6 * 4 / (5 * 24). */
    BK_ASSERT_OK(bk_correlate(x, y, 5, &c, &err));
    BK_ASSERT_CLOSE(c.kendall_tau, 0.6, 1e-15);
    BK_ASSERT_CLOSE(c.spearman_rho, 0.8, 1e-15);
    BK_ASSERT_CLOSE(c.pearson_r, 0.8, 1e-15);
    BK_ASSERT_OK(bk_correlate(x, flat, 5, &c, &err));
    CU_ASSERT(isnan(c.kendall_tau) && isnan(c.spearman_rho) && isnan(c.pearson_r));
    BK_ASSERT_OK(bk_correlate(x, y, 1, &c, &err));
    CU_ASSERT(isnan(c.kendall_tau) && isnan(c.spearman_rho) && isnan(c.pearson_r));
    BK_ASSERT_OK(bk_correlate(x, y, 0, &c, &err));
    CU_ASSERT(isnan(c.kendall_tau));
}

static void test_extreme_values(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double huge[] = { -1.7e308, 1.7e308, 0, 1e300 }, tiny[] = { -5e-324, 1e-320, 0, 5e-324 };
    const double bad[] = { 1, NAN, 3, 4 };
    struct bk_correlation c;

    BK_ASSERT_OK(bk_correlate(huge, huge, 4, &c, &err));
    BK_ASSERT_CLOSE(c.pearson_r, 1, 1e-15);
    BK_ASSERT_OK(bk_correlate(tiny, tiny, 4, &c, &err));
    BK_ASSERT_CLOSE(c.pearson_r, 1, 1e-15);
    CU_ASSERT_EQUAL(bk_correlate(huge, bad, 4, &c, &err), BK_ENUMERIC);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "value 1 "));
}

static void test_top(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double truth[] = { 10, 30, 20, 30, 5, 1 }, rating[] = { 6, 5, 4, 1, 9, 0 };
    struct bk_top top;

    /* Best rated: 5, 10, 30; truly best: 30, 30, 20. Their ratings 5, 1, 4 against truth 30, 30, 20: one pair
     * each way, one tied in truth: tau 0. */
    BK_ASSERT_OK(bk_top_k(rating, truth, 6, 3, &top, &err));
    BK_ASSERT_CLOSE(top.precision, 1.0 / 3, 1e-15);
    BK_ASSERT_CLOSE(top.regret, 0, 0);
    BK_ASSERT_CLOSE(top.mean_truth, 15, 1e-15);
    BK_ASSERT_CLOSE(top.tau_top, 0, 1e-15);
    /* With one place, both architectures of truth 30 would have counted as best. */
    const double rating2[] = { 0, 0, 0, 1, 0, 0 };
    BK_ASSERT_OK(bk_top_k(rating2, truth, 6, 1, &top, &err));
    BK_ASSERT_CLOSE(top.precision, 1, 0);
    BK_ASSERT_OK(bk_top_k(rating, truth, 6, 1, &top, &err));
    BK_ASSERT_CLOSE(top.regret, 25, 0);
    CU_ASSERT_EQUAL(bk_top_k(rating, truth, 6, 7, &top, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_top_k(rating, truth, 6, 0, &top, &err), BK_EINVAL);
}

static void test_out_of_memory(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const double x[] = { 1, 2, 3 }, y[] = { 3, 1, 2 };
    struct bk_correlation c;
    struct bk_top top;
    int rc = BK_ENOMEM;

    for (long n = 1; rc; n++) {
        bk_alloc_fail_after(n);
        rc = bk_correlate(x, y, 3, &c, &err);
        CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOMEM);
    }
    rc = BK_ENOMEM;
    for (long n = 1; rc; n++) {
        bk_alloc_fail_after(n);
        rc = bk_top_k(x, y, 3, 2, &top, &err);
        CU_ASSERT_FATAL(rc == BK_OK || rc == BK_ENOMEM);
    }
    bk_alloc_fail_after(0);
}

BK_SUITE({ "pair counts against all pairs", test_pair_counts },
         { "weights are repetitions", test_weights }, { "scipy", test_scipy },
         { "closed values", test_closed_values }, { "extreme values", test_extreme_values },
         { "top k", test_top }, { "out of memory", test_out_of_memory })

/*
 * The participation ratio against eigenvalues that the vectors were made with.
 */
#include "unit.h"

#include <bosskit/stats.h>

#define N 64
#define D 40

static double x[N * D], y[N * D];

static double measured(const double *row, size_t n, size_t d)
{
    memcpy(y, row, n * d * sizeof *y);
    return bk_participation_ratio(y, n, d);
}

static double wanted(const double *eigenvalue, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += eigenvalue[i];
        squares += eigenvalue[i] * eigenvalue[i];
    }
    return sum * sum / squares;
}

/*
 * Columns j = 0, 1, ... are cos(pi (i + 1/2)(j + 1)/N), which are orthogonal and have mean 0: the covariance is diagonal, with
 * eigenvalues that are proportional to the squares of what the columns are scaled with.
 */
static void make(size_t d, const double *eigenvalue, double offset)
{
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < d; j++)
            x[i * d + j] = offset + sqrt(eigenvalue[j]) * cos(acos(-1) * ((double)i + 0.5) * (double)(j + 1) / N);
}

static void test_eigenvalues(void)
{
    static const size_t d[] = { 1, 2, 5, 40 };
    for (int k = 0; k < 4; k++) {
        double flat[D], falling[D];
        for (size_t j = 0; j < d[k]; j++) {
            flat[j] = 3;
            falling[j] = pow(0.7, (double)j);
        }
        make(d[k], flat, 0);
        BK_ASSERT_CLOSE(measured(x, N, d[k]), (double)d[k], 1e-12);
        make(d[k], falling, 1000);
        BK_ASSERT_CLOSE(measured(x, N, d[k]), wanted(falling, d[k]), 1e-8);
    }
}

/* Turning the vectors changes nothing, nor do more components than vectors. */
static void test_wide(void)
{
    const double eigenvalue[3] = { 4, 1, 0.25 };
    static double wide[N * 3 * 4];
    make(3, eigenvalue, -2);
    for (size_t i = 0; i < N; i++) {
        const double *v = &x[i * 3];
        const double turned[12] = { 0.6 * v[0] + 0.8 * v[1], -0.8 * v[0] + 0.6 * v[1], v[2] };
        memcpy(&wide[i * 12], turned, sizeof turned);
    }
    BK_ASSERT_CLOSE(measured(wide, N, 12), wanted(eigenvalue, 3), 1e-12);
    double few[2 * 3] = { 1, 2, 3, -5, 4, 0 };                  /* two vectors make a line */
    BK_ASSERT_CLOSE(measured(few, 2, 3), 1, 1e-12);
    double three[3 * 4] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0 };      /* an equilateral triangle lies in a plane */
    BK_ASSERT_CLOSE(measured(three, 3, 4), 2, 1e-12);
}

static void test_edges(void)
{
    for (size_t i = 0; i < 20; i++)
        x[i] = 0.5;
    CU_ASSERT_EQUAL(measured(x, 4, 5), 0);
    x[7] = NAN;
    CU_ASSERT(isnan(measured(x, 4, 5)));
}

BK_SUITE({ "eigenvalues", test_eigenvalues }, { "wide", test_wide }, { "edges", test_edges })

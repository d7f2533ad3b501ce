/*
 * stats/participation.c: effective dimension of a set of vectors, from traces alone: with X the centred vectors, sum lambda is the
 * sum of squares of X, and sum lambda^2 that of X X^T or of X^T X, whichever is smaller.
 */
#include <bosskit/stats.h>

static void centre(double *row, size_t n, size_t d)
{
    for (size_t j = 0; j < d; j++) {
        double mean = 0;
        for (size_t i = 0; i < n; i++)
            mean += row[i * d + j] / (double)n;
        for (size_t i = 0; i < n; i++)
            row[i * d + j] -= mean;
    }
}

/** Sum of squares of the products of n vectors of d components; `across` and `along` are the strides. */
static double squared_products(const double *x, size_t n, size_t across, size_t d, size_t along)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double product = 0;
            for (size_t k = 0; k < d; k++)
                product += x[i * across + k * along] * x[j * across + k * along];
            sum += (i == j ? 1 : 2) * product * product;
        }
    return sum;
}

double bk_participation_ratio(double *row, size_t n, size_t d)
{
    double trace = 0;
    centre(row, n, d);
    for (size_t i = 0; i < n * d; i++)
        trace += row[i] * row[i];
    if (trace == 0)
        return 0;
    double squares = n <= d ? squared_products(row, n, d, d, 1) : squared_products(row, d, 1, n, d);
    return trace * trace / squares;
}

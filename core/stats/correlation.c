/*
 * stats/correlation.c: pair counts, tau-b, rho, R and figures about the top of a ranking.
 *
 * Thin: the counting is in pair_ranks.c, resampling in resample.c.
 */
#include "stats/pair_ranks.h"

#include <math.h>
#include <string.h>

double bk_tau_b(const struct bk_pair_counts *c)
{
    double x = (double)(c->pairs - c->ties_x), y = (double)(c->pairs - c->ties_y);

    if (!(x > 0 && y > 0))
        return NAN;
    double tau = (double)(c->concordant - c->discordant) / sqrt(x * y);
    return tau > 1 ? 1 : tau < -1 ? -1 : tau;
}

static int correlate(const double *x, const double *y, size_t n, struct bk_pair_counts *counts,
                     struct bk_correlation *out, struct bk_error *err)
{
    struct bk__pairs p = { 0 };
    void *scratch = NULL;

    int rc = bk__pairs_init(&p, x, y, n, err);
    if (rc)
        goto done;
    scratch = bk_alloc(bk__pairs_scratch(&p));
    if (!scratch) {
        rc = bk_fail(err, BK_ENOMEM, "cannot correlate %zu pairs: out of memory", n);
        goto done;
    }
    bk__pairs_correlate(&p, NULL, n, scratch, counts, out);
done:
    bk_free(scratch);
    bk__pairs_release(&p);
    return rc;
}

int bk_pair_count(const double *x, const double *y, size_t n, struct bk_pair_counts *out,
                  struct bk_error *err)
{
    struct bk_correlation unused;

    return correlate(x, y, n, out, &unused, err);
}

int bk_correlate(const double *x, const double *y, size_t n, struct bk_correlation *out,
                 struct bk_error *err)
{
    return correlate(x, y, n, NULL, out, err);
}

/* ---- the top of a ranking -------------------------------------------------------------------- */

/* Indices by descending value; equal values keep the order of the input. */
static int descending(const double *x, size_t n, uint32_t *order, struct bk_error *err)
{
    double *negated = bk_alloc(n * sizeof *negated);

    if (!negated)
        return bk_fail(err, BK_ENOMEM, "cannot rank %zu values: out of memory", n);
    for (size_t i = 0; i < n; i++)
        negated[i] = -x[i];
    int rc = bk__sort_order(negated, n, order, err);
    bk_free(negated);
    return rc;
}

static int tau_among(const double *rating, const double *truth, const uint32_t *chosen, size_t k,
                     double *out, struct bk_error *err)
{
    struct bk_correlation c;
    double *pair = bk_alloc(2 * k * sizeof *pair);

    if (!pair)
        return bk_fail(err, BK_ENOMEM, "cannot correlate %zu pairs: out of memory", k);
    for (size_t i = 0; i < k; i++) {
        pair[i] = rating[chosen[i]];
        pair[k + i] = truth[chosen[i]];
    }
    int rc = bk_correlate(pair, pair + k, k, &c, err);
    if (!rc)
        *out = c.kendall_tau;
    bk_free(pair);
    return rc;
}

int bk_top_k(const double *rating, const double *truth, size_t n, size_t k, struct bk_top *out,
             struct bk_error *err)
{
    struct bk_top top = { 0 };
    int rc;

    if (k < 1 || k > n)
        return bk_fail(err, BK_EINVAL, "the best %zu of %zu are asked for, legal: 1..%zu", k, n, n);
    uint32_t *order = bk_alloc(2 * n * sizeof *order);
    if (!order)
        return bk_fail(err, BK_ENOMEM, "cannot rank %zu values: out of memory", n);
    uint32_t *best = order + n;
    rc = descending(rating, n, order, err);
    if (!rc)
        rc = descending(truth, n, best, err);
    if (!rc)
        rc = tau_among(rating, truth, best, k, &top.tau_top, err);
    if (rc)
        goto done;
    double bar = truth[best[k - 1]], found = truth[order[0]];
    for (size_t i = 0; i < k; i++) {
        double t = truth[order[i]];
        top.precision += (t >= bar) / (double)k;
        top.mean_truth += t / (double)k;
        found = t > found ? t : found;
    }
    top.regret = truth[best[0]] - found;
    *out = top;
done:
    bk_free(order);
    return rc;
}

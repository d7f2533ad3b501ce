/**
 * bosskit/stats.h: how well does a rating agree with the truth.
 *
 * All functions take two vectors of n finite values. Results are NaN where a coefficient is not
 * defined (n < 2, or a vector without variation).
 */
#ifndef BOSSKIT_STATS_H
#define BOSSKIT_STATS_H

#include <bosskit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Pair counts behind tau-b; pairs = n (n - 1) / 2. */
struct bk_pair_counts {
    int64_t pairs, ties_x, ties_y, ties_both, concordant, discordant;
};

/** O(n log n) (Knight 1966). Errors: BK_ENOMEM */
BK_API int bk_pair_count(const double *x, const double *y, size_t n, struct bk_pair_counts *out,
                         struct bk_error *err) BK_MUST_USE;
/** tau-b = (C - D) / sqrt((pairs - ties_x)(pairs - ties_y)) (Kendall 1945). */
BK_API double bk_tau_b(const struct bk_pair_counts *c);

struct bk_correlation {
    size_t n;
    double kendall_tau, spearman_rho, pearson_r;        /* tau-b; rho on mid-ranks */
};

BK_API int bk_correlate(const double *x, const double *y, size_t n, struct bk_correlation *out,
                        struct bk_error *err) BK_MUST_USE;

struct bk_interval {
    double low, high;
};

/** 95 % interval of a proportion when k of n trials succeeded (Wilson 1927); NaN unless 0 <= k <= n, n >= 1. */
BK_API struct bk_interval bk_proportion_interval(int64_t k, int64_t n);

struct bk_correlation_ci {
    struct bk_interval kendall_tau, spearman_rho, pearson_r;
};

/**
 * Percentile bootstrap over architectures (Efron 1979): `resamples` draws of n pairs with replacement, seeded;
 * `level` such as 0.95. The result does not depend on the number of threads. Errors: BK_ENOMEM
 */
BK_API int bk_bootstrap(const double *x, const double *y, size_t n, int resamples, double level,
                        uint64_t seed, struct bk_correlation_ci *out,
                        struct bk_error *err) BK_MUST_USE;

/** Paired bootstrap of the difference (A against truth) - (B against truth), one resample for both. */
struct bk_paired {
    struct bk_correlation difference;           /* A - B on the full sample */
    struct bk_correlation_ci ci;
    double p_tau, p_rho, p_r;                   /* two-sided, (1 + count) / (1 + resamples) based */
};
BK_API int bk_paired_test(const double *a, const double *b, const double *truth, size_t n,
                          int resamples, double level, uint64_t seed, struct bk_paired *out,
                          struct bk_error *err) BK_MUST_USE;

/** Figures about the top of a ranking; `rating` and `truth` both higher-is-better. */
struct bk_top {
    double tau_top;             /* tau-b among the k architectures that are truly best */
    double precision;           /* share of the k best rated that are among the k truly best (ties in truth count as best) */
    double regret;              /* best truth of all minus best truth among the k best rated */
    double mean_truth;          /* mean truth of the k best rated */
};
BK_API int bk_top_k(const double *rating, const double *truth, size_t n, size_t k,
                    struct bk_top *out, struct bk_error *err) BK_MUST_USE;

/**
 * Items that were scored on one batch after the other: would other batches give the same means? With x[i][b] the score of item i
 * on batch b,
 *
 *     reliability = 1 - MS(items x batches) / MS(items)          (Hoyt 1941; Cronbach's alpha 1951)
 *
 * estimates the share of the variance of the items' means that is not noise: 1 without noise, 0 and below when nothing
 * else is seen. What is common to all items of a batch does not count. Set up with n_items; the rest is zero.
 */
struct bk_reliability {
    size_t n_items, n_batches;
    double *sum;                /* by item: x[i][b] - mean over items, over batches; owned */
    double squares;             /* of the same */
};
/** Add score[n_items] of one batch. Errors: BK_ENOMEM */
BK_API int bk_reliability_add(struct bk_reliability *r, const double *score, struct bk_error *err) BK_MUST_USE;
/** NaN with less than two items or batches, or when the items' means are equal. */
BK_API double bk_reliability_value(const struct bk_reliability *r);
BK_API void bk_reliability_release(struct bk_reliability *r);

/**
 * In how many directions do n vectors vary? The participation ratio of the eigenvalues of their covariance,
 *
 *     (sum lambda)^2 / sum lambda^2
 *
 * is 1 when they lie on a line, d when all directions are alike, and at most n - 1; 0 when they are all the same.
 * row [n,d], row after row: their mean is taken away from them. NaN when one is not finite.
 */
BK_API double bk_participation_ratio(double *row, size_t n, size_t d);

/** Mid-ranks 1..n (ties share the mean). */
BK_API int bk_ranks(const double *x, size_t n, double *out, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

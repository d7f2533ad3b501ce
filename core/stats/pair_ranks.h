/**
 * stats/pair_ranks.h: two vectors reduced to integer ranks, so that every coefficient of every resample is cheap.
 *
 * A bootstrap sample of n pairs with replacement is the original sample with whole-number weights. The pairs are sorted
 * and ranked once; afterwards the coefficients of any weighting cost O(n log k), k the number of distinct values of the
 * coarser vector. All counts are integers, so tau-b is exact.
 */
#ifndef BOSSKIT_STATS_PAIR_RANKS_H
#define BOSSKIT_STATS_PAIR_RANKS_H

#include <bosskit/stats.h>

/** Pairs in ascending order of (major, minor). */
struct bk__pairs {
    size_t n;
    uint32_t n_major, n_minor;  /* distinct values; the vector with fewer is the minor one */
    bool swapped;               /* true: major is y */
    uint32_t *order;            /* position -> index in the caller's vectors */
    uint32_t *major, *minor;    /* rank 0.. by position */
    double *a, *b;              /* major, minor: values centred and scaled to at most 1, by position */
};

/** Errors: BK_ENOMEM; BK_ENUMERIC for a value that is not finite; BK_EINVAL for n >= 2^31 */
BK_API int bk__pairs_init(struct bk__pairs *p, const double *x, const double *y, size_t n,
                          struct bk_error *err) BK_MUST_USE;
BK_API void bk__pairs_release(struct bk__pairs *p);

/** Bytes of scratch memory that one evaluation needs (8-byte aligned). */
BK_API size_t bk__pairs_scratch(const struct bk__pairs *p);

/**
 * Coefficients when pair i of the caller's vectors counts weight[i] times (NULL: once each); `total` is the sum of the
 * weights. `counts` may be NULL. Undefined coefficients are NaN.
 */
BK_API void bk__pairs_correlate(const struct bk__pairs *p, const uint32_t *weight, size_t total,
                                void *scratch, struct bk_pair_counts *counts,
                                struct bk_correlation *out);

/** Sort positions of x ascending, equal values by index. order has n entries. */
BK_API int bk__sort_order(const double *x, size_t n, uint32_t *order, struct bk_error *err) BK_MUST_USE;

#endif

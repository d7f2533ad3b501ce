/*
 * stats/pair_ranks.c: ranks once, coefficients of any weighting fast.
 *
 * Tau-b: the pairs are visited in ascending order of the major vector; a Fenwick tree over the ranks of the minor one
 * says how much weight with a smaller minor value came before (the counting of Knight 1966, with a tree for his merge
 * sort because weights change while the order does not). Rho is Pearson on mid-ranks, which for the weighted sample are
 * (weight below) + (own weight + 1) / 2. Pearson is computed in two passes on values that were centred and scaled
 * before, so that neither cancellation nor overflow can spoil it.
 *
 * Sources: Knight, JASA 61 (1966) 436; Kendall, Biometrika 33 (1945) 239; Fenwick, SPE 24 (1994) 327.
 */
#include "stats/pair_ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- sorting and ranking --------------------------------------------------------------------- */

struct keyed {
    double value;
    uint32_t index;
};

static int compare_keyed(const void *pa, const void *pb)
{
    const struct keyed *a = pa, *b = pb;

    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int sort_keyed(const double *x, size_t n, struct keyed **out, struct bk_error *err)
{
    if (n >= INT32_MAX)
        return bk_fail(err, BK_EINVAL, "cannot rank %zu values, at most 2^31 - 2", n);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return bk_fail(err, BK_ENUMERIC, "cannot rank %zu values: value %zu is not finite",
                           n, i);
    }
    struct keyed *k = bk_alloc(n * sizeof *k);
    if (!k)
        return bk_fail(err, BK_ENOMEM, "cannot rank %zu values: out of memory", n);
    for (size_t i = 0; i < n; i++)
        k[i] = (struct keyed){ x[i], (uint32_t)i };
    if (n)
        qsort(k, n, sizeof *k, compare_keyed);
    *out = k;
    return BK_OK;
}

int bk__sort_order(const double *x, size_t n, uint32_t *order, struct bk_error *err)
{
    struct keyed *k;

    BK_TRY(sort_keyed(x, n, &k, err));
    for (size_t i = 0; i < n; i++)
        order[i] = k[i].index;
    bk_free(k);
    return BK_OK;
}

/* rank[i] = number of distinct values below x[i]. */
static int dense_ranks(const double *x, size_t n, uint32_t *rank, uint32_t *n_distinct,
                       struct bk_error *err)
{
    struct keyed *k;
    uint32_t r = 0;

    BK_TRY(sort_keyed(x, n, &k, err));
    for (size_t i = 0; i < n; i++) {
        if (i && k[i].value != k[i - 1].value)
            r++;
        rank[k[i].index] = r;
    }
    *n_distinct = n ? r + 1 : 0;
    bk_free(k);
    return BK_OK;
}

int bk_ranks(const double *x, size_t n, double *out, struct bk_error *err)
{
    struct keyed *k;

    BK_TRY(sort_keyed(x, n, &k, err));
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && k[end].value == k[i].value; end++)
            ;
        for (size_t j = i; j < end; j++)
            out[k[j].index] = 0.5 * (double)(i + end + 1);
    }
    bk_free(k);
    return BK_OK;
}

/* Stable counting sort of `in` (n indices) by key[in[i]] < n_keys. */
static int counting_sort(const uint32_t *key, uint32_t n_keys, const uint32_t *in, size_t n,
                         uint32_t *out, struct bk_error *err)
{
    size_t *start = bk_zalloc(((size_t)n_keys + 1) * sizeof *start);

    if (!start)
        return bk_fail(err, BK_ENOMEM, "cannot sort %zu pairs: out of memory", n);
    for (size_t i = 0; i < n; i++)
        start[key[i] + 1]++;
    for (uint32_t k = 0; k < n_keys; k++)
        start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++) {
        uint32_t index = in ? in[i] : (uint32_t)i;
        out[start[key[index]]++] = index;
    }
    bk_free(start);
    return BK_OK;
}

/* out[i] = (x[order[i]] - mean) / scale, at most 1 in size; 0 for a vector without variation. */
static void centre(const double *x, const uint32_t *order, size_t n, double *out)
{
    double largest = 0, mean = 0;
    int exponent = 0;

    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(x[i]));
    frexp(largest, &exponent);
    for (size_t i = 0; i < n; i++) {
        out[i] = ldexp(x[order[i]], -exponent);
        mean += out[i];
    }
    mean /= n ? (double)n : 1;
    largest = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] -= mean;
        largest = fmax(largest, fabs(out[i]));
    }
    for (size_t i = 0; i < n && largest > 0; i++)
        out[i] /= largest;
}

static int pairs_alloc(struct bk__pairs *p, size_t n, struct bk_error *err)
{
    p->n = n;
    p->order = bk_alloc(n * sizeof *p->order);
    p->major = bk_alloc(n * sizeof *p->major);
    p->minor = bk_alloc(n * sizeof *p->minor);
    p->a = bk_alloc(n * sizeof *p->a);
    p->b = bk_alloc(n * sizeof *p->b);
    if (!p->order || !p->major || !p->minor || !p->a || !p->b)
        return bk_fail(err, BK_ENOMEM, "cannot rank %zu pairs: out of memory", n);
    return BK_OK;
}

static void gather(const uint32_t *from, const uint32_t *order, size_t n, uint32_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = from[order[i]];
}

/* The three arrays of n are scratch. */
static int pairs_fill(struct bk__pairs *p, const double *x, const double *y, uint32_t *rank_x,
                      uint32_t *rank_y, uint32_t *by_minor, struct bk_error *err)
{
    uint32_t kx, ky;

    BK_TRY(dense_ranks(x, p->n, rank_x, &kx, err));
    BK_TRY(dense_ranks(y, p->n, rank_y, &ky, err));
    p->swapped = kx < ky;
    const uint32_t *major = p->swapped ? rank_y : rank_x;
    const uint32_t *minor = p->swapped ? rank_x : rank_y;
    p->n_major = p->swapped ? ky : kx;
    p->n_minor = p->swapped ? kx : ky;
    BK_TRY(counting_sort(minor, p->n_minor, NULL, p->n, by_minor, err));
    BK_TRY(counting_sort(major, p->n_major, by_minor, p->n, p->order, err));
    gather(major, p->order, p->n, p->major);
    gather(minor, p->order, p->n, p->minor);
    centre(p->swapped ? y : x, p->order, p->n, p->a);
    centre(p->swapped ? x : y, p->order, p->n, p->b);
    return BK_OK;
}

int bk__pairs_init(struct bk__pairs *p, const double *x, const double *y, size_t n,
                   struct bk_error *err)
{
    struct bk__pairs made = { 0 };

    if (n >= INT32_MAX)
        return bk_fail(err, BK_EINVAL, "cannot rank %zu pairs, at most 2^31 - 2", n);
    uint32_t *scratch = bk_alloc(3 * n * sizeof *scratch);
    int rc = scratch ? pairs_alloc(&made, n, err)
                     : bk_fail(err, BK_ENOMEM, "cannot rank %zu pairs: out of memory", n);
    if (!rc)
        rc = pairs_fill(&made, x, y, scratch, scratch + n, scratch + 2 * n, err);
    bk_free(scratch);
    if (rc) {
        bk__pairs_release(&made);
        return rc;
    }
    *p = made;
    return BK_OK;
}

void bk__pairs_release(struct bk__pairs *p)
{
    bk_free(p->order);
    bk_free(p->major);
    bk_free(p->minor);
    bk_free(p->a);
    bk_free(p->b);
    memset(p, 0, sizeof *p);
}

/* ---- coefficients of a weighting ------------------------------------------------------------- */

/* Views into the caller's scratch memory. */
struct work {
    double *minor_offset;       /* [n_minor] 2 (mid-rank - mean rank) */
    uint32_t *weight;           /* [n] by position */
    uint32_t *minor_weight;     /* [n_minor] */
    uint32_t *tree;             /* [n_minor + 1] Fenwick tree, 1-based */
};

size_t bk__pairs_scratch(const struct bk__pairs *p)
{
    return p->n_minor * sizeof(double) +
           (p->n + 2 * (size_t)p->n_minor + 1) * sizeof(uint32_t);
}

static struct work work_views(const struct bk__pairs *p, void *scratch)
{
    struct work w;

    w.minor_offset = scratch;
    w.weight = (uint32_t *)(w.minor_offset + p->n_minor);
    w.minor_weight = w.weight + p->n;
    w.tree = w.minor_weight + p->n_minor;
    return w;
}

static int64_t pairs_of(int64_t n)
{
    return n * (n - 1) / 2;
}

/* Gather weights, count the minor ranks; returns tied pairs of the minor vector. */
static int64_t count_minor(const struct bk__pairs *p, const uint32_t *weight, size_t total,
                           struct work *w)
{
    int64_t ties = 0, below = 0;

    memset(w->minor_weight, 0, p->n_minor * sizeof *w->minor_weight);
    for (size_t i = 0; i < p->n; i++) {
        w->weight[i] = weight ? weight[p->order[i]] : 1;
        w->minor_weight[p->minor[i]] += w->weight[i];
    }
    for (uint32_t k = 0; k < p->n_minor; k++) {
        int64_t t = w->minor_weight[k];
        w->minor_offset[k] = (double)(2 * below + t - (int64_t)total);
        below += t;
        ties += pairs_of(t);
    }
    return ties;
}

static uint32_t tree_below(const uint32_t *tree, uint32_t k)
{
    uint32_t sum = 0;

    for (; k; k &= k - 1)
        sum += tree[k];
    return sum;
}

static void tree_add(uint32_t *tree, uint32_t n, uint32_t k, uint32_t weight)
{
    for (k++; k <= n; k += k & -k)
        tree[k] += weight;
}

struct sums {
    int64_t total;              /* weight of everything */
    int64_t concordant, discordant, ties_major, ties_both;
    double dd_major, dd_both;   /* of doubled, centred mid-ranks */
};

/* One group of equal major values, positions i..end-1, `before` the weight of all groups before. */
static int64_t visit_group(const struct bk__pairs *p, struct work *w, size_t i, size_t end,
                           int64_t before, struct sums *s)
{
    int64_t own = 0, same = 0;
    double minor_sum = 0;

    for (size_t j = i; j < end; j++) {
        int64_t t = w->weight[j];
        same = j > i && p->minor[j] == p->minor[j - 1] ? same : 0;
        if (!t)
            continue;
        uint32_t k = p->minor[j];
        int64_t less = tree_below(w->tree, k);
        s->concordant += t * less;
        s->discordant += t * (before - less - w->minor_weight[k]);
        s->ties_both += pairs_of(t) + t * same;
        minor_sum += (double)t * w->minor_offset[k];
        same += t;
        own += t;
    }
    for (size_t j = i; j < end; j++) {
        if (!w->weight[j])
            continue;
        tree_add(w->tree, p->n_minor, p->minor[j], w->weight[j]);
        w->minor_weight[p->minor[j]] += w->weight[j];
    }
    s->ties_major += pairs_of(own);
    double offset = (double)(2 * before + own - s->total);
    s->dd_major += (double)own * offset * offset;
    s->dd_both += offset * minor_sum;
    return own;
}

static void visit_all(const struct bk__pairs *p, struct work *w, struct sums *s)
{
    int64_t before = 0;

    /* From here on minor_weight counts only what the tree holds. */
    memset(w->minor_weight, 0, p->n_minor * sizeof *w->minor_weight);
    memset(w->tree, 0, ((size_t)p->n_minor + 1) * sizeof *w->tree);
    for (size_t i = 0, end; i < p->n; i = end) {
        for (end = i + 1; end < p->n && p->major[end] == p->major[i]; end++)
            ;
        before += visit_group(p, w, i, end, before, s);
    }
}

static double ratio(double ab, double aa, double bb)
{
    double r = ab / (sqrt(aa) * sqrt(bb));

    return r > 1 ? 1 : r < -1 ? -1 : r;
}

static double pearson(const struct bk__pairs *p, const uint32_t *weight, double total)
{
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;

    for (size_t i = 0; i < p->n; i++) {
        ma += weight[i] * p->a[i];
        mb += weight[i] * p->b[i];
    }
    ma /= total;
    mb /= total;
    for (size_t i = 0; i < p->n; i++) {
        double da = p->a[i] - ma, db = p->b[i] - mb, wa = weight[i] * da;
        aa += wa * da;
        ab += wa * db;
        bb += weight[i] * db * db;
    }
    return ratio(ab, aa, bb);
}

void bk__pairs_correlate(const struct bk__pairs *p, const uint32_t *weight, size_t total,
                         void *scratch, struct bk_pair_counts *counts,
                         struct bk_correlation *out)
{
    struct work w = work_views(p, scratch);
    struct sums s = { .total = (int64_t)total };
    struct bk_pair_counts c;

    int64_t ties_minor = count_minor(p, weight, total, &w);
    double minor_dd = 0;
    for (uint32_t k = 0; k < p->n_minor; k++)
        minor_dd += w.minor_weight[k] * w.minor_offset[k] * w.minor_offset[k];
    visit_all(p, &w, &s);
    c.pairs = pairs_of((int64_t)total);
    c.ties_x = p->swapped ? ties_minor : s.ties_major;
    c.ties_y = p->swapped ? s.ties_major : ties_minor;
    c.ties_both = s.ties_both;
    c.concordant = s.concordant;
    c.discordant = s.discordant;
    out->n = total;
    out->kendall_tau = bk_tau_b(&c);
    out->spearman_rho = out->pearson_r = NAN;
    if (c.pairs > c.ties_x && c.pairs > c.ties_y) {
        out->spearman_rho = ratio(s.dd_both, s.dd_major, minor_dd);
        out->pearson_r = pearson(p, w.weight, (double)total);
    }
    if (counts)
        *counts = c;
}

/*
 * stats/resample.c: percentile bootstrap and the paired test.
 *
 * Resample b draws n indices from the stream "bootstrap" at step b, so it is a function of (seed, b) alone; results are
 * stored by b and sorted afterwards, so the interval does not depend on how many threads shared the work. Resamples in
 * which a coefficient is undefined (a vector without variation) are left out of its interval.
 *
 * Source: Efron, Annals of Statistics 7 (1979) 1; percentiles with linear interpolation.
 */
#include "stats/pair_ranks.h"

#include <bosskit/random.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define N_COEFFICIENTS 3

/* Work of one bootstrap: coefficients of the first pairs, less those of the second if there are any. */
struct job {
    const struct bk__pairs *first, *second;     /* second may be NULL */
    size_t n;
    int resamples;
    uint64_t seed;
    double *result[N_COEFFICIENTS];             /* [resamples] each */
    atomic_int next;
};

struct worker {
    struct job *job;
    void *scratch;
    uint32_t *weight;
};

static void draw_weights(const struct job *job, int b, uint32_t *weight)
{
    struct bk_random r;
    uint32_t n = (uint32_t)job->n;

    memset(weight, 0, job->n * sizeof *weight);
    bk_random_init(&r, job->seed, bk_random_stream("bootstrap"), (uint64_t)b, 0);
    for (size_t i = 0; i < job->n; i++)
        weight[bk_random_below(&r, n)]++;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct job *job = w->job;

    for (int b; (b = atomic_fetch_add(&job->next, 1)) < job->resamples;) {
        struct bk_correlation c, d = { 0 };
        draw_weights(job, b, w->weight);
        bk__pairs_correlate(job->first, w->weight, job->n, w->scratch, NULL, &c);
        if (job->second)
            bk__pairs_correlate(job->second, w->weight, job->n, w->scratch, NULL, &d);
        job->result[0][b] = c.kendall_tau - d.kendall_tau;
        job->result[1][b] = c.spearman_rho - d.spearman_rho;
        job->result[2][b] = c.pearson_r - d.pearson_r;
    }
    return NULL;
}

/* Never more threads than resamples; a thread that cannot start is not needed. */
static int run_workers(struct job *job, struct bk_error *err)
{
    enum { MAX_WORKERS = 64 };
    struct worker workers[MAX_WORKERS];
    pthread_t thread[MAX_WORKERS];
    int n = bk_threads(), n_started = 0, rc = BK_OK;

    n = n > MAX_WORKERS ? MAX_WORKERS : n;
    n = n > job->resamples ? job->resamples : n;
    size_t nbytes = bk__pairs_scratch(job->first);
    if (job->second && bk__pairs_scratch(job->second) > nbytes)
        nbytes = bk__pairs_scratch(job->second);
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < n && !rc; i++) {
        workers[i].job = job;
        workers[i].scratch = bk_alloc(nbytes);
        workers[i].weight = bk_alloc(job->n * sizeof *workers[i].weight);
        if (!workers[i].scratch || !workers[i].weight)
            rc = bk_fail(err, BK_ENOMEM, "cannot resample %zu pairs: out of memory", job->n);
    }
    for (int i = 1; i < n && !rc; i++) {
        if (!pthread_create(&thread[n_started], NULL, work, &workers[i]))
            n_started++;
    }
    if (!rc)
        work(&workers[0]);
    for (int i = 0; i < n_started; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < n; i++) {
        bk_free(workers[i].scratch);
        bk_free(workers[i].weight);
    }
    return rc;
}

/* ---- intervals ------------------------------------------------------------------------------- */

static int compare_double(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;

    return (a > b) - (a < b);
}

/* Drop undefined values and sort; returns how many are left. */
static size_t settle(double *v, int n)
{
    size_t m = 0;

    for (int i = 0; i < n; i++) {
        if (!isnan(v[i]))
            v[m++] = v[i];
    }
    qsort(v, m, sizeof *v, compare_double);
    return m;
}

static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1), whole = floor(at);
    size_t i = (size_t)whole;

    return i + 1 < n ? sorted[i] + (at - whole) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static struct bk_interval interval(const double *sorted, size_t n, double level)
{
    struct bk_interval out = { NAN, NAN };

    if (n) {
        out.low = quantile(sorted, n, 0.5 * (1 - level));
        out.high = quantile(sorted, n, 0.5 * (1 + level));
    }
    return out;
}

/* Two-sided: twice the smaller of the shares on either side of 0, each with the sample itself counted in. */
static double p_value(const double *sorted, size_t n)
{
    size_t low = 0, high = 0;

    if (!n)
        return NAN;
    for (size_t i = 0; i < n; i++) {
        low += sorted[i] <= 0;
        high += sorted[i] >= 0;
    }
    double p = 2 * (1 + (double)(low < high ? low : high)) / (1 + (double)n);
    return p > 1 ? 1 : p;
}

static int check_arguments(size_t n, int resamples, double level, struct bk_error *err)
{
    if (n < 1)
        return bk_fail(err, BK_EINVAL, "cannot resample 0 pairs");
    if (resamples < 1)
        return bk_fail(err, BK_EINVAL, "bootstrap: %d resamples, at least 1", resamples);
    if (!(level > 0 && level < 1))
        return bk_fail(err, BK_EINVAL, "bootstrap: level %g is not between 0 and 1", level);
    return BK_OK;
}

/* Runs the job and leaves every result sorted, m of them defined; p may be NULL. */
static int bootstrap(struct job *job, double level, struct bk_correlation_ci *ci,
                     double p[N_COEFFICIENTS], struct bk_error *err)
{
    struct bk_interval *const at[N_COEFFICIENTS] = { &ci->kendall_tau, &ci->spearman_rho,
                                                     &ci->pearson_r };
    size_t n = (size_t)job->resamples;

    double *all = bk_alloc(N_COEFFICIENTS * n * sizeof *all);
    if (!all)
        return bk_fail(err, BK_ENOMEM, "cannot keep %zu resamples: out of memory", n);
    for (int i = 0; i < N_COEFFICIENTS; i++)
        job->result[i] = all + (size_t)i * n;
    int rc = run_workers(job, err);
    for (int i = 0; i < N_COEFFICIENTS && !rc; i++) {
        size_t m = settle(job->result[i], job->resamples);
        *at[i] = interval(job->result[i], m, level);
        if (p)
            p[i] = p_value(job->result[i], m);
    }
    bk_free(all);
    return rc;
}

int bk_bootstrap(const double *x, const double *y, size_t n, int resamples, double level,
                 uint64_t seed, struct bk_correlation_ci *out, struct bk_error *err)
{
    struct bk__pairs p;
    struct job job = { .first = &p, .n = n, .resamples = resamples, .seed = seed };

    BK_TRY(check_arguments(n, resamples, level, err));
    BK_TRY(bk__pairs_init(&p, x, y, n, err));
    int rc = bootstrap(&job, level, out, NULL, err);
    bk__pairs_release(&p);
    return rc;
}

static int difference(const double *a, const double *b, const double *truth, size_t n,
                      struct bk_correlation *out, struct bk_error *err)
{
    struct bk_correlation ca, cb;

    BK_TRY(bk_correlate(a, truth, n, &ca, err));
    BK_TRY(bk_correlate(b, truth, n, &cb, err));
    out->n = n;
    out->kendall_tau = ca.kendall_tau - cb.kendall_tau;
    out->spearman_rho = ca.spearman_rho - cb.spearman_rho;
    out->pearson_r = ca.pearson_r - cb.pearson_r;
    return BK_OK;
}

int bk_paired_test(const double *a, const double *b, const double *truth, size_t n, int resamples,
                   double level, uint64_t seed, struct bk_paired *out, struct bk_error *err)
{
    struct bk__pairs pa = { 0 }, pb = { 0 };
    struct job job = {
        .first = &pa, .second = &pb, .n = n, .resamples = resamples, .seed = seed,
    };
    struct bk_paired made;
    double p[N_COEFFICIENTS];

    BK_TRY(check_arguments(n, resamples, level, err));
    BK_TRY(difference(a, b, truth, n, &made.difference, err));
    int rc = bk__pairs_init(&pa, a, truth, n, err);
    if (!rc)
        rc = bk__pairs_init(&pb, b, truth, n, err);
    if (!rc)
        rc = bootstrap(&job, level, &made.ci, p, err);
    if (!rc) {
        made.p_tau = p[0];
        made.p_rho = p[1];
        made.p_r = p[2];
        *out = made;
    }
    bk__pairs_release(&pa);
    bk__pairs_release(&pb);
    return rc;
}

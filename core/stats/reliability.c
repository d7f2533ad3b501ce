/*
 * stats/reliability.c: how far means over batches would repeat: a two-way analysis of variance, items by batches, in one pass.
 */
#include <bosskit/stats.h>

#include <math.h>
#include <string.h>

int bk_reliability_add(struct bk_reliability *r, const double *score, struct bk_error *err)
{
    double mean = 0;
    if (!r->sum && !(r->sum = bk_zalloc((r->n_items + 1) * sizeof *r->sum)))
        return bk_fail(err, BK_ENOMEM, "out of memory for the scores of %zu items", r->n_items);
    for (size_t i = 0; i < r->n_items; i++)
        mean += score[i] / (double)r->n_items;
    for (size_t i = 0; i < r->n_items; i++) {
        double d = score[i] - mean;
        r->sum[i] += d;
        r->squares += d * d;
    }
    r->n_batches++;
    return BK_OK;
}

double bk_reliability_value(const struct bk_reliability *r)
{
    double items = 0, batches = (double)r->n_batches;
    if (r->n_items < 2 || r->n_batches < 2)
        return NAN;
    for (size_t i = 0; i < r->n_items; i++)
        items += r->sum[i] * r->sum[i] / batches;       /* its degrees of freedom: n_items - 1 */
    double rest = (r->squares - items) / (batches - 1); /* (n_items - 1)(batches - 1) */
    return items > 0 ? 1 - rest / items : NAN;
}

void bk_reliability_release(struct bk_reliability *r)
{
    bk_free(r->sum);
    memset(r, 0, sizeof *r);
}

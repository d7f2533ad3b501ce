/*
 * ops/ref_batch_norm.c: sum of batch normalisations, and its gradient.
 *
 * Source: Ioffe, Szegedy: Batch normalization (2015), algorithm 1 and the derivatives of section 3. Letters: R rows,
 * C channels, xh the normalised x. Statistics are computed in two passes.
 */
#include "ops/ref.h"
#include <math.h>

/* Mean and biased variance of every column of x [R,C]. */
static void column_moments(const double *x, int64_t R, int64_t C, double *mean, double *var)
{
    for (int64_t i = 0; i < R * C; i++)
        mean[i % C] += x[i] / (double)R;
    for (int64_t i = 0; i < R * C; i++)
        var[i % C] += (x[i] - mean[i % C]) * (x[i] - mean[i % C]) / (double)R;
}

/* running := (1 - m) running + m batch; m = 1 replaces even what is not a number. */
static void follow(double *running, const double *batch, double factor, int64_t C, double m)
{
    for (int64_t c = 0; c < C; c++)
        running[c] = m == 1 ? factor * batch[c] : (1 - m) * running[c] + m * factor * batch[c];
}

static int add_term(struct bk__ref *r, const struct bk_kernel_args *a, int t, double *y)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    const struct bk_tensor *const *in = a->in + 1 + 5 * t;
    struct bk_tensor *const *out = a->out + 1 + 4 * t;
    int64_t R = bk__rows(in[0]), C = in[0]->dim[in[0]->rank - 1];
    double *x = bk__ref_load(r, in[0]), *scale = bk__ref_load(r, in[1]), *offset = bk__ref_load(r, in[2]);
    double *run_mean = bk__ref_load(r, in[3]), *run_var = bk__ref_load(r, in[4]);
    double *mean = bk__ref_new(r, C), *var = bk__ref_new(r, C), *rstd = bk__ref_new(r, C);
    BK_TRY(bk__ref_check(r));
    if (attr->mode == BK_NORM_RUNNING) {
        mean = run_mean;
        var = run_var;
    } else {
        column_moments(x, R, C, mean, var);
    }
    for (int64_t c = 0; c < C; c++)
        rstd[c] = 1 / sqrt(var[c] + attr->eps);
    for (int64_t i = 0; i < R * C; i++)
        y[i] += scale[i % C] * (x[i] - mean[i % C]) * rstd[i % C] + offset[i % C];
    bk__ref_store(out[0], mean);
    bk__ref_store(out[1], rstd);
    if (attr->mode == BK_NORM_BATCH && out[2]) {
        follow(run_mean, mean, 1, C, attr->momentum);
        follow(run_var, var, R > 1 ? (double)R / (double)(R - 1) : 1, C, attr->momentum);
        bk__ref_store(out[2], run_mean);
        bk__ref_store(out[3], run_var);
    }
    return BK_OK;
}

int bk__ref_batch_norm(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    int64_t n = bk_tensor_numel(a->out[0]);
    double *y = a->in[0] ? bk__ref_load(r, a->in[0]) : bk__ref_new(r, n);
    BK_TRY(bk__ref_check(r));
    for (int t = 0; t < attr->n_terms; t++)
        BK_TRY(add_term(r, a, t, y));
    for (int64_t i = 0; i < n; i++)
        y[i] = bk__ref_act(attr->activation, y[i]);
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

/* dx = scale rstd (g - mean(g) - xh mean(g xh)) with the batch's statistics, scale rstd g with constant ones. */
static int term_gradient(struct bk__ref *r, const struct bk_kernel_args *a, int t, const double *g)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    const struct bk_tensor *const *in = a->in + 6 + 5 * t;
    struct bk_tensor *const *out = a->out + 1 + 3 * t;
    int64_t R = bk__rows(in[0]), C = in[0]->dim[in[0]->rank - 1];
    double *xh = bk__ref_load(r, in[0]), *scale = bk__ref_load(r, in[1]);
    double *mean = bk__ref_load(r, in[3]), *rstd = bk__ref_load(r, in[4]);
    double *sum_g = bk__ref_new(r, C), *sum_gx = bk__ref_new(r, C), *dx = bk__ref_new(r, R * C);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < R * C; i++) {
        int64_t c = i % C;
        xh[i] = (xh[i] - mean[c]) * rstd[c];
        sum_g[c] += g[i];
        sum_gx[c] += g[i] * xh[i];
    }
    double batch = attr->mode == BK_NORM_BATCH ? 1.0 / (double)R : 0;
    for (int64_t i = 0; i < R * C; i++) {
        int64_t c = i % C;
        dx[i] = scale[c] * rstd[c] * (g[i] - batch * sum_g[c] - batch * xh[i] * sum_gx[c]);
    }
    bk__ref_store(out[0], dx);
    bk__ref_accumulate(out[1], sum_gx);
    bk__ref_accumulate(out[2], sum_g);
    return BK_OK;
}

/* What the activation was applied to; the slope of a ReLU is that of its output. */
static int activated(struct bk__ref *r, const struct bk_kernel_args *a, double **z)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    bool relu = attr->activation == BK_ACT_RELU;
    const struct bk_tensor *given = a->in[relu ? 4 : 5];
    int64_t C = a->in[7]->dim[0], n = bk_tensor_numel(a->in[6]);
    *z = given ? bk__ref_load(r, given) : bk__ref_new(r, n);
    for (int t = 0; t < attr->n_terms && !relu; t++) {
        const struct bk_tensor *const *in = a->in + 6 + 5 * t;
        double *x = bk__ref_load(r, in[0]), *scale = bk__ref_load(r, in[1]), *offset = bk__ref_load(r, in[2]);
        double *mean = bk__ref_load(r, in[3]), *rstd = bk__ref_load(r, in[4]);
        BK_TRY(bk__ref_check(r));
        for (int64_t i = 0; i < n; i++)
            (*z)[i] += scale[i % C] * (x[i] - mean[i % C]) * rstd[i % C] + offset[i % C];
    }
    return bk__ref_check(r);
}

int bk__ref_batch_norm_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    double *g = bk__ref_load_sum(r, a->in, BK_MAX_ADDENDS), *z;
    BK_TRY(bk__ref_check(r));
    if (attr->activation)
        BK_TRY(activated(r, a, &z));
    for (int64_t i = 0, n = attr->activation ? bk_tensor_numel(a->in[6]) : 0; i < n; i++)
        g[i] *= bk__ref_act_slope(attr->activation, z[i]);
    bk__ref_store(a->out[0], g);
    for (int t = 0; t < attr->n_terms; t++)
        BK_TRY(term_gradient(r, a, t, g));
    return BK_OK;
}

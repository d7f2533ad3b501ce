/*
 * ops/ref_pooled_head.c: global-average-pool(BatchNorm(conv1x1(x, w))) from the mean and covariance of x.
 *
 * Pooling commutes with the 1x1 convolution and with the affine map that batch norm is once its statistics are known,
 * and those follow from moments of x (decision record 0003). Letters: N images, P positions, C channels, R = N P rows,
 * K outputs; m_n mean of x over image n, mu mean of m_n, S biased covariance of x over rows, Z_nk = (m_n - mu).w_k.
 *
 *     y_nk = scale_k Z_nk rstd_k + offset_k,   rstd_k = (w_k S w_k' + eps)^(-1/2)
 *
 * Gradient, g = dy, by the chain rule through Z and var_k = w_k S w_k' (both depend on x and w):
 *     doffset_k = sum_n g_nk,   dscale_k = rstd_k A_k,   A_k = sum_n g_nk Z_nk
 *     dvar_k    = -1/2 scale_k rstd_k^3 A_k
 *     dw_k      = scale_k rstd_k sum_n g_nk (m_n - mu) + 2 dvar_k S w_k
 *     e_n       = sum_k scale_k rstd_k g_nk w_k
 *     dx_np     = (e_n - mean_n e) / P + 2/R Q (x_np - mu),   Q = sum_k dvar_k w_k' w_k
 * (the mean inside S has no gradient of its own because sum over rows of x - mu is 0).
 */
#include "ops/ref.h"
#include <math.h>

struct head {
    int64_t N, P, C, K, R;
};

static struct head head_of(const struct bk_tensor *x, int64_t K)
{
    int64_t P = x->dim[1] * x->dim[2];
    return (struct head){ x->dim[0], P, x->dim[3], K, x->dim[0] * P };
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void image_means(const struct head *h, const double *x, double *m, double *mu)
{
    for (int64_t row = 0; row < h->R; row++)
        for (int64_t c = 0; c < h->C; c++)
            m[row / h->P * h->C + c] += x[row * h->C + c] / (double)h->P;
    for (int64_t n = 0; n < h->N; n++)
        for (int64_t c = 0; c < h->C; c++)
            mu[c] += m[n * h->C + c] / (double)h->N;
}

static void covariance(const struct head *h, const double *x, const double *mu, double *S)
{
    for (int64_t row = 0; row < h->R; row++)
        for (int64_t i = 0; i < h->C; i++) {
            double d = (x[row * h->C + i] - mu[i]) / (double)h->R;
            for (int64_t j = 0; j < h->C; j++)
                S[i * h->C + j] += d * (x[row * h->C + j] - mu[j]);
        }
}

/* Sw = S w_k */
static void times(const double *S, const double *wk, int64_t C, double *Sw)
{
    for (int64_t i = 0; i < C; i++)
        Sw[i] = dot(S + i * C, wk, C);
}

static void follow(double *running, int64_t k, double batch, double m)
{
    running[k] = m == 1 ? batch : (1 - m) * running[k] + m * batch;
}

int bk__ref_pooled_head(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_batch_norm_attr *attr = a->attr;
    const struct head h = head_of(a->in[0], a->in[2]->dim[0]);
    double *x = bk__ref_load(r, a->in[0]), *w = bk__ref_load(r, a->in[1]);
    double *scale = bk__ref_load(r, a->in[2]), *offset = bk__ref_load(r, a->in[3]);
    double *run_mean = bk__ref_load(r, a->in[4]), *run_var = bk__ref_load(r, a->in[5]);
    double *m = bk__ref_new(r, h.N * h.C), *mu = bk__ref_new(r, h.C), *S = bk__ref_new(r, h.C * h.C);
    double *Sw = bk__ref_new(r, h.C), *rstd = bk__ref_new(r, h.K), *y = bk__ref_new(r, h.N * h.K);
    BK_TRY(bk__ref_check(r));
    bool batch = attr->mode == BK_NORM_BATCH;
    double unbiased = h.R > 1 ? (double)h.R / (double)(h.R - 1) : 1;
    image_means(&h, x, m, mu);
    if (batch)
        covariance(&h, x, mu, S);
    for (int64_t k = 0; k < h.K; k++) {
        const double *wk = w + k * h.C;
        times(S, wk, h.C, Sw);
        double mean = batch ? dot(mu, wk, h.C) : run_mean[k], var = batch ? dot(wk, Sw, h.C) : run_var[k];
        rstd[k] = 1 / sqrt(var + attr->eps);
        for (int64_t n = 0; n < h.N; n++)
            y[n * h.K + k] = scale[k] * (dot(m + n * h.C, wk, h.C) - mean) * rstd[k] + offset[k];
        if (batch && a->out[5]) {
            follow(run_mean, k, mean, attr->momentum);
            follow(run_var, k, unbiased * var, attr->momentum);
        }
    }
    bk__ref_store(a->out[0], y);
    bk__ref_store(a->out[1], m);
    bk__ref_store(a->out[4], rstd);
    if (batch) {
        bk__ref_store(a->out[2], mu);
        bk__ref_store(a->out[3], S);
        bk__ref_store(a->out[5], run_mean);
        bk__ref_store(a->out[6], run_var);
    }
    return BK_OK;
}

/* What output k contributes to Q and e; its own dw_k, dscale_k, doffset_k. `d` holds the centred m_n. */
static void output_gradient(const struct head *h, int64_t k, const double *g, const double *d, const double *wk,
                            const double *Sw, double scale, double rstd, double *dwk, double *dscale, double *doffset,
                            double *Q, double *e)
{
    double A = 0;
    for (int64_t n = 0; n < h->N; n++) {
        double gn = g[n * h->K + k], s = scale * rstd * gn;
        A += gn * dot(d + n * h->C, wk, h->C);
        *doffset += gn;
        for (int64_t c = 0; c < h->C; c++) {
            dwk[c] += s * d[n * h->C + c];
            e[n * h->C + c] += s * wk[c];
        }
    }
    double dvar = -0.5 * scale * rstd * rstd * rstd * A;
    *dscale = rstd * A;
    for (int64_t i = 0; i < h->C; i++) {
        dwk[i] += 2 * dvar * Sw[i];
        for (int64_t j = 0; j < h->C; j++)
            Q[i * h->C + j] += dvar * wk[i] * wk[j];
    }
}

static void input_gradient(const struct head *h, const double *x, const double *mu, const double *Q, double *e,
                           double *row, double *dx)
{
    for (int64_t c = 0; c < h->C; c++) {
        double mean = 0;
        for (int64_t n = 0; n < h->N; n++)
            mean += e[n * h->C + c] / (double)h->N;
        for (int64_t n = 0; n < h->N; n++)
            e[n * h->C + c] -= mean;
    }
    for (int64_t p = 0; p < h->R; p++) {
        for (int64_t c = 0; c < h->C; c++)
            row[c] = x[p * h->C + c] - mu[c];
        for (int64_t c = 0; c < h->C; c++)
            dx[p * h->C + c] = e[p / h->P * h->C + c] / (double)h->P + 2 / (double)h->R * dot(Q + c * h->C, row, h->C);
    }
}

int bk__ref_pooled_head_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct head h = head_of(a->in[1], a->in[3]->dim[0]);
    double *g = bk__ref_load(r, a->in[0]), *x = bk__ref_load(r, a->in[1]), *w = bk__ref_load(r, a->in[2]);
    double *scale = bk__ref_load(r, a->in[3]), *d = bk__ref_load(r, a->in[4]), *mu = bk__ref_load(r, a->in[5]);
    double *S = bk__ref_load(r, a->in[6]), *rstd = bk__ref_load(r, a->in[7]);
    double *dw = bk__ref_new(r, h.K * h.C), *dscale = bk__ref_new(r, h.K), *doffset = bk__ref_new(r, h.K);
    double *Q = bk__ref_new(r, h.C * h.C), *e = bk__ref_new(r, h.N * h.C), *Sw = bk__ref_new(r, h.C);
    double *dx = bk__ref_new(r, h.R * h.C);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < h.N * h.C; i++)
        d[i] -= mu[i % h.C];
    for (int64_t k = 0; k < h.K; k++) {
        times(S, w + k * h.C, h.C, Sw);
        output_gradient(&h, k, g, d, w + k * h.C, Sw, scale[k], rstd[k], dw + k * h.C, dscale + k, doffset + k, Q, e);
    }
    input_gradient(&h, x, mu, Q, e, Sw, dx);
    bk__ref_store(a->out[0], dx);
    bk__ref_accumulate(a->out[1], dw);
    bk__ref_accumulate(a->out[2], dscale);
    bk__ref_accumulate(a->out[3], doffset);
    return BK_OK;
}

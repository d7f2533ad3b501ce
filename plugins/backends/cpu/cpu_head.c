/*
 * cpu_head.c: the pooled head global-average-pool(BatchNorm(conv1x1(x))) from the mean and covariance of x.
 *
 * The map has no non-linearity inside, so its K batch statistics follow from the C means and the C x C covariance of x: the
 * [N,H,W,K] tensor is never formed. Forward: one pass for the means, one for the covariance of centred chunks of
 * rows that stay in the cache; then products of small matrices. Backward (m_n mean of image n, mu of all,
 * S covariance, u_n = m_n - mu, z = u W', a_k = scale_k rstd_k, v_k = -scale_k rstd_k^3 / 2 sum_n dy_nk z_nk):
 *     dscale_k = rstd_k sum_n dy_nk z_nk           doffset_k = sum_n dy_nk
 *     dW_k = a_k sum_n dy_nk u_n + 2 v_k S w_k     dS = W' diag(v) W
 *     dx = (dm_n - mean of dm)/(H W) + 2/R dS (x - mu),   dm_n = sum_k a_k dy_nk w_k
 * by the chain rule; mu inside S has no gradient because the rows of x - mu sum to zero.
 */
#include "cpu_state.h"
#include <math.h>
#include <string.h>

#define CHUNK 128               /* rows centred at a time */

struct head {
    const struct cpu *cpu;
    const void *x;
    void *dx;
    int bf16;
    int64_t n, positions, c, k;
    int64_t ld;                 /* c rounded up to whole vectors */
    float *rows;                /* a part: CHUNK rows, twice in the backward pass */
    size_t rows_stride;
    float *cov;                 /* a part: [c, ld] */
    double *sums;               /* a part: [c] */
    float *m;                   /* [n,c] */
    const float *mu;            /* [ld] or [c] */
    const float *d_cov;         /* [c, ld]: 2/R dS */
    const float *dm;            /* [n, ld]: dm / positions */
};

static struct head head_of(const struct cpu *cpu, const struct bk_tensor *x,
                           const struct bk_tensor *w)
{
    struct head h = { .cpu = cpu, .x = x->data, .bf16 = cpu_is_bf16(x), .n = x->dim[0],
                      .positions = x->dim[1] * x->dim[2], .c = x->dim[3], .k = w->dim[0] };
    h.ld = (int64_t)cpu_round_up((size_t)h.c, 16);
    h.rows_stride = (size_t)(2 * CHUNK * h.ld);
    return h;
}

static size_t element_size(const struct head *h)
{
    return h->bf16 ? 2 : 4;
}

static const void *row(const struct head *h, int64_t r)
{
    return (const char *)h->x + (size_t)(r * h->c) * element_size(h);
}

/* ---- forward ----------------------------------------------------------------------------------- */

static void means_range(void *ctx, int part, int64_t begin, int64_t end)
{
    struct head *h = ctx;
    double *sum = h->sums + part * h->c;
    for (int64_t n = begin; n < end; n++) {
        memset(sum, 0, (size_t)h->c * sizeof *sum);
        h->cpu->loops->column_sums[h->bf16](row(h, n * h->positions), h->positions, h->c, sum);
        for (int64_t c = 0; c < h->c; c++)
            h->m[n * h->c + c] = (float)(sum[c] / (double)h->positions);
    }
}

static void covariance_range(void *ctx, int part, int64_t begin, int64_t end)
{
    struct head *h = ctx;
    const struct cpu_loops *loops = h->cpu->loops;
    float *chunk = h->rows + (size_t)part * h->rows_stride;
    float *cov = h->cov + part * h->c * h->ld;
    memset(cov, 0, (size_t)(h->c * h->ld) * sizeof *cov);
    for (int64_t r = begin; r < end; r += CHUNK) {
        int64_t rows = end - r < CHUNK ? end - r : CHUNK;
        loops->centre[h->bf16](row(h, r), h->mu, rows, h->c, h->ld, chunk);
        loops->gemm(h->c, h->ld, rows, chunk, 1, h->ld, chunk, h->ld, cov, h->ld);
    }
}

static int means(struct cpu *cpu, struct head *h, float *mu, struct bk_error *err)
{
    int parts = cpu_parts(cpu, h->n, h->positions * h->c);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)(parts * h->c) * sizeof(double), &h->sums, err);
    if (rc)
        return rc;
    cpu_parallel(cpu, parts, h->n, means_range, h);
    for (int64_t c = 0; mu && c < h->c; c++) {
        double s = 0;
        for (int64_t n = 0; n < h->n; n++)
            s += (double)h->m[n * h->c + c];
        mu[c] = (float)(s / (double)h->n);
    }
    return BK_OK;
}

static int covariance(struct cpu *cpu, struct head *h, float *out, struct bk_error *err)
{
    int64_t rows = h->n * h->positions;
    int parts = cpu_parts(cpu, rows, h->c * h->c);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)parts * h->rows_stride * sizeof(float), &h->rows, err);
    if (!rc)
        rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)(parts * h->c * h->ld) * sizeof(float), &h->cov, err);
    if (rc)
        return rc;
    cpu_parallel(cpu, parts, rows, covariance_range, h);
    for (int64_t i = 0; i < h->c; i++)
        for (int64_t j = 0; j < h->c; j++) {
            double s = 0;
            for (int p = 0; p < parts; p++)
                s += (double)h->cov[(p * h->c + i) * h->ld + j];
            out[i * h->c + j] = (float)(s / (double)rows);
        }
    return BK_OK;
}

static void follow(const struct bk_tensor *old, struct bk_tensor *out, int64_t k, double momentum,
                   double value)
{
    if (!out)
        return;
    double from = (double)((const float *)(old ? old->data : out->data))[k];
    ((float *)out->data)[k] = (float)((1 - momentum) * from + momentum * value);
}

/* rstd and running statistics from mu and S; ws [K,C] is work space. */
static int head_statistics(const struct bk_kernel_args *args, const struct head *h, float *ws,
                           struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    const float *w = args->in[1]->data, *mu = args->out[2]->data, *cov = args->out[3]->data;
    float *rstd = args->out[4]->data;
    double rows = (double)(h->n * h->positions);
    int rc = cpu_sgemm(false, false, h->k, h->c, h->c, 1, w, h->c, cov, h->c, 0, ws, h->c, err);
    if (rc)
        return rc;
    for (int64_t k = 0; k < h->k; k++) {
        double var = h->cpu->loops->dot(ws + k * h->c, w + k * h->c, h->c);
        var = var > 0 || isnan(var) ? var : 0;
        rstd[k] = (float)(1 / sqrt(var + attr->eps));
        if (!args->out[5] && !args->out[6])
            continue;
        follow(args->in[4], args->out[5], k, attr->momentum,
               h->cpu->loops->dot(mu, w + k * h->c, h->c));
        follow(args->in[5], args->out[6], k, attr->momentum, rows > 1 ? var * rows / (rows - 1) : var);
    }
    return BK_OK;
}

/* y = (z - shift) scale rstd + offset; shift is the running mean, or NULL where z is centred already. */
static void write_outputs(const struct bk_kernel_args *args, const struct head *h, float *z,
                          const float *shift)
{
    const float *scale = args->in[2]->data, *offset = args->in[3]->data, *rstd = args->out[4]->data;
    void *y = args->out[0]->data;
    for (int64_t n = 0; n < h->n; n++) {
        float *zn = z + n * h->k;
        for (int64_t k = 0; k < h->k; k++)
            zn[k] = (zn[k] - (shift ? shift[k] : 0)) * (scale[k] * rstd[k]) + offset[k];
        if (h->bf16)
            h->cpu->loops->to_bf16(zn, (uint16_t *)y + n * h->k, h->k);
        else
            memcpy((float *)y + n * h->k, zn, (size_t)h->k * sizeof *zn);
    }
}

int cpu_pooled_head(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    struct head h = head_of(cpu, args->in[0], args->in[1]);
    bool batch = attr->mode != BK_NORM_RUNNING;
    const float *w = args->in[1]->data;
    float *mu = batch ? args->out[2]->data : NULL, *z;
    h.m = args->out[1]->data;
    h.mu = mu;
    int64_t larger = h.n > h.k ? h.n : h.k;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_MATRIX,
                         (size_t)(h.n * h.k + (larger + h.k) * h.c) * sizeof *z, &z, err);
    if (!rc)
        rc = means(cpu, &h, mu, err);
    if (rc)
        return rc;
    float *ws = z + h.n * h.k, *u = ws + h.k * h.c;
    if (!batch) {
        const float *mean = args->in[4]->data, *var = args->in[5]->data;
        for (int64_t k = 0; k < h.k; k++)
            ((float *)args->out[4]->data)[k] = (float)(1 / sqrt((double)var[k] + attr->eps));
        rc = cpu_sgemm(false, true, h.n, h.k, h.c, 1, h.m, h.c, w, h.c, 0, z, h.k, err);
        if (!rc)
            write_outputs(args, &h, z, mean);
        return rc;
    }
    rc = covariance(cpu, &h, args->out[3]->data, err);
    if (!rc)
        rc = head_statistics(args, &h, ws, err);
    if (rc)
        return rc;
    for (int64_t i = 0; i < h.n; i++)
        for (int64_t c = 0; c < h.c; c++)
            u[i * h.c + c] = h.m[i * h.c + c] - mu[c];
    rc = cpu_sgemm(false, true, h.n, h.k, h.c, 1, u, h.c, w, h.c, 0, z, h.k, err);
    if (!rc)
        write_outputs(args, &h, z, NULL);
    return rc;
}

/* ---- backward ---------------------------------------------------------------------------------- */

/* dx of rows begin..end-1: (x - mu) d_cov + dm of the row's image. */
static void head_dx_range(void *ctx, int part, int64_t begin, int64_t end)
{
    struct head *h = ctx;
    const struct cpu_loops *loops = h->cpu->loops;
    float *chunk = h->rows + (size_t)part * h->rows_stride, *out = chunk + CHUNK * h->ld;
    for (int64_t r = begin; r < end; r += CHUNK) {
        int64_t rows = end - r < CHUNK ? end - r : CHUNK;
        loops->centre[h->bf16](row(h, r), h->mu, rows, h->c, h->ld, chunk);
        for (int64_t i = 0; i < rows; i++)
            memcpy(out + i * h->ld, h->dm + (r + i) / h->positions * h->ld,
                   (size_t)h->ld * sizeof *out);
        loops->gemm(rows, h->ld, h->c, chunk, h->ld, 1, h->d_cov, h->ld, out, h->ld);
        for (int64_t i = 0; i < rows; i++) {
            char *to = (char *)h->dx + (size_t)((r + i) * h->c) * element_size(h);
            if (h->bf16)
                loops->to_bf16(out + i * h->ld, (uint16_t *)(void *)to, h->c);
            else
                memcpy(to, out + i * h->ld, (size_t)h->c * sizeof *out);
        }
    }
}

/* The small matrices of the backward pass, carved from one block. */
struct head_work {
    float *dz;                  /* [N,K] a_k dy_nk */
    float *z;                   /* [N,K] */
    float *u;                   /* [N,C] m - mu */
    float *v;                   /* [K] */
    float *vw;                  /* [K,C] first W S, then diag(v) W */
    float *d_cov;               /* [C,ld] */
    float *dm;                  /* [N,ld] */
};

static int carve(struct cpu *cpu, const struct head *h, struct head_work *b, struct bk_error *err)
{
    size_t nk = (size_t)(h->n * h->k), nc = (size_t)(h->n * h->c), kc = (size_t)(h->k * h->c);
    size_t cl = (size_t)(h->c * h->ld), nl = (size_t)(h->n * h->ld);
    float *p;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_MATRIX,
                         (2 * nk + nc + (size_t)h->k + kc + cl + nl) * sizeof *p, &p, err);
    if (rc)
        return rc;
    b->dz = p;
    b->z = b->dz + nk;
    b->u = b->z + nk;
    b->v = b->u + nc;
    b->vw = b->v + h->k;
    b->d_cov = b->vw + kc;
    b->dm = b->d_cov + cl;
    return BK_OK;
}

/* Gradients of scale and offset, v, and dy turned into dz. */
static int scale_gradients(struct cpu *cpu, const struct bk_kernel_args *args,
                           const struct head *h, const struct head_work *b, struct bk_error *err)
{
    const float *scale = args->in[3]->data, *rstd = args->in[7]->data;
    double *sum;                /* [K] sum of dy, then [K] sum of dy z */
    float *a;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)h->k * 2 * sizeof *sum, &sum, err);
    if (!rc)
        rc = cpu_scratch(cpu, CPU_SCRATCH_PARAMS, (size_t)h->k * sizeof *a, &a, err);
    if (rc)
        return rc;
    memset(sum, 0, (size_t)h->k * 2 * sizeof *sum);
    memset(a, 0, (size_t)h->k * sizeof *a);
    struct cpu_norm_job job = { .n_dy = 1, .dy = { b->dz }, .x = { b->z }, .mean = { a } };
    cpu->loops->norm_reduce[0][0](&job, 0, h->n, h->k, h->k, sum);
    for (int64_t k = 0; k < h->k; k++) {
        double r = (double)rstd[k], dot = sum[h->k + k];
        a[k] = scale[k] * rstd[k];
        b->v[k] = (float)(-0.5 * (double)scale[k] * r * r * r * dot);
        if (args->out[2])
            ((float *)args->out[2]->data)[k] += (float)(r * dot);
        if (args->out[3])
            ((float *)args->out[3]->data)[k] += (float)sum[k];
    }
    for (int64_t n = 0; n < h->n; n++)
        for (int64_t k = 0; k < h->k; k++)
            b->dz[n * h->k + k] *= a[k];
    return BK_OK;
}

static int weight_gradient(const struct bk_kernel_args *args, const struct head *h,
                           const struct head_work *b, struct bk_error *err)
{
    const float *w = args->in[2]->data, *cov = args->in[6]->data;
    float *dw = args->out[1]->data;
    int rc = cpu_sgemm(true, false, h->k, h->c, h->n, 1, b->dz, h->k, b->u, h->c, 1, dw, h->c, err);
    if (!rc)
        rc = cpu_sgemm(false, false, h->k, h->c, h->c, 1, w, h->c, cov, h->c, 0, b->vw, h->c, err);
    for (int64_t k = 0; !rc && k < h->k; k++)
        h->cpu->loops->blend(dw + k * h->c, 1, b->vw + k * h->c, 2 * b->v[k], h->c);
    return rc;
}

/* d_cov = 2/R W' diag(v) W and dm/positions, both with rows of ld. */
static int image_gradients(const struct bk_kernel_args *args, const struct head *h,
                           const struct head_work *b, struct bk_error *err)
{
    const float *w = args->in[2]->data;
    float factor = (float)(2.0 / (double)(h->n * h->positions));
    for (int64_t k = 0; k < h->k; k++)
        for (int64_t c = 0; c < h->c; c++)
            b->vw[k * h->c + c] = b->v[k] * w[k * h->c + c];
    memset(b->d_cov, 0, (size_t)(h->c * h->ld) * sizeof(float));
    memset(b->dm, 0, (size_t)(h->n * h->ld) * sizeof(float));
    int rc = cpu_sgemm(true, false, h->c, h->c, h->k, factor, w, h->c, b->vw, h->c, 0, b->d_cov, h->ld, err);
    if (!rc)
        rc = cpu_sgemm(false, false, h->n, h->c, h->k, 1 / (float)h->positions, b->dz, h->k, w, h->c,
                       0, b->dm, h->ld, err);
    for (int64_t c = 0; !rc && c < h->c; c++) {
        double mean = 0;
        for (int64_t n = 0; n < h->n; n++)
            mean += (double)b->dm[n * h->ld + c];
        mean /= (double)h->n;
        for (int64_t n = 0; n < h->n; n++)
            b->dm[n * h->ld + c] = (float)((double)b->dm[n * h->ld + c] - mean);
    }
    return rc;
}

int cpu_pooled_head_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0];
    struct head h = head_of(cpu, args->in[1], args->in[2]);
    const float *w = args->in[2]->data, *m = args->in[4]->data;
    struct head_work b;
    h.mu = args->in[5]->data;
    int rc = carve(cpu, &h, &b, err);
    if (rc)
        return rc;
    for (int64_t n = 0; n < h.n; n++)
        for (int64_t c = 0; c < h.c; c++)
            b.u[n * h.c + c] = m[n * h.c + c] - h.mu[c];
    if (h.bf16)
        cpu->loops->to_f32(dy->data, b.dz, h.n * h.k);
    else
        memcpy(b.dz, dy->data, (size_t)(h.n * h.k) * sizeof(float));
    rc = cpu_sgemm(false, true, h.n, h.k, h.c, 1, b.u, h.c, w, h.c, 0, b.z, h.k, err);
    if (!rc)
        rc = scale_gradients(cpu, args, &h, &b, err);
    if (!rc && args->out[1])
        rc = weight_gradient(args, &h, &b, err);
    if (rc || !args->out[0])
        return rc;
    rc = image_gradients(args, &h, &b, err);
    if (rc)
        return rc;
    int64_t rows = h.n * h.positions;
    int parts = cpu_parts(cpu, rows, h.c * h.c);
    rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)parts * h.rows_stride * sizeof(float), &h.rows, err);
    if (rc)
        return rc;
    h.dx = args->out[0]->data;
    h.d_cov = b.d_cov;
    h.dm = b.dm;
    cpu_parallel(cpu, parts, rows, head_dx_range, &h);
    return BK_OK;
}

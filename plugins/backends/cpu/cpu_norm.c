/*
 * cpu_norm.c: batch norm over the rows of NHWC tensors, forward and backward, with up to three normalised terms, a residual
 * and an activation fused (Ioffe, Szegedy 2015).
 *
 * A tensor [R, C] is viewed as [R/g, gC] with gC a multiple of the vector width, so that vectors are full for any channel
 * count; what is left over after R/g rows is one shorter row. Statistics are sums of (x - shift) and its square
 * (shifted data, Chan, Golub, LeVeque 1983) in f32 within a chunk and in f64 across chunks and threads.
 */
#include "cpu_state.h"
#include <math.h>
#include <string.h>

#define MAX_TERMS BK_NORM_MAX_TERMS

/* [rows, c] seen as n_wide rows of `wide` columns and one row of `tail` columns. */
struct view {
    int64_t rows, c, wide, n_wide, tail;
};

static int64_t gcd(int64_t a, int64_t b)
{
    return b ? gcd(b, a % b) : a;
}

static struct view view_of(const struct bk_tensor *x)
{
    struct view v = { .c = cpu_last_dim(x) };
    v.rows = v.c ? cpu_numel(x) / v.c : 0;
    int64_t g = 64 / gcd(v.c, 64);
    if (g * v.c > 1024)
        g = 16 / gcd(v.c, 16);
    if (g * v.c > 4096 || g > v.rows)
        g = 1;
    v.wide = g * v.c;
    v.n_wide = v.rows / g;
    v.tail = v.rows % g * v.c;
    return v;
}

/* Repeat the first c values of p until there are `wide`. */
static void repeat(float *p, int64_t c, int64_t wide)
{
    for (int64_t j = c; j < wide; j++)
        p[j] = p[j - c];
}

/* Add the sums of `parts` threads and of the columns that belong to one channel, in that order, into sum[0..c-1]. */
static void fold(const double *sums, int parts, int64_t part_stride, const struct view *v,
                 double *sum)
{
    for (int64_t c = 0; c < v->c; c++) {
        double s = 0;
        for (int p = 0; p < parts; p++)
            for (int64_t j = c; j < v->wide; j += v->c)
                s += sums[p * part_stride + j];
        sum[c] = s;
    }
}

static const void *element(const void *p, int64_t i, int bf16)
{
    return p ? (const char *)p + i * (bf16 ? 2 : 4) : NULL;
}

/* ---- statistics ------------------------------------------------------------------------------ */

struct stats_ctx {
    const struct cpu *cpu;
    const void *x;
    const float *shift;         /* NULL: plain column sums */
    double *sums;               /* a part: [sum, square][wide] */
    struct view v;
    int bf16, parts;
};

static void stats_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct stats_ctx *ctx = ctx_;
    const struct view *v = &ctx->v;
    const struct cpu_loops *loops = ctx->cpu->loops;
    double *sum = ctx->sums + (int64_t)part * 2 * v->wide, *sq = sum + v->wide;
    bool last = part == ctx->parts - 1;
    const void *x = element(ctx->x, begin * v->wide, ctx->bf16);
    const void *tail = element(ctx->x, v->n_wide * v->wide, ctx->bf16);
    if (ctx->shift) {
        loops->stats[ctx->bf16](x, end - begin, v->wide, ctx->shift, sum, sq);
        if (last && v->tail)
            loops->stats[ctx->bf16](tail, 1, v->tail, ctx->shift, sum, sq);
    } else {
        loops->column_sums[ctx->bf16](x, end - begin, v->wide, sum);
        if (last && v->tail)
            loops->column_sums[ctx->bf16](tail, 1, v->tail, sum);
    }
}

static int run_stats(struct cpu *cpu, struct stats_ctx *ctx, struct bk_error *err)
{
    const struct view *v = &ctx->v;
    ctx->cpu = cpu;
    ctx->parts = cpu_parts(cpu, v->n_wide, v->wide);
    size_t nbytes = (size_t)ctx->parts * 2 * (size_t)v->wide * sizeof(double);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, nbytes, &ctx->sums, err);
    if (rc)
        return rc;
    memset(ctx->sums, 0, nbytes);
    cpu_parallel(cpu, ctx->parts, v->n_wide, stats_range, ctx);
    return BK_OK;
}

/* A value near the mean of each channel: that of the first rows. */
static void guess_means(const struct cpu *cpu, const void *x, int bf16, const struct view *v,
                        double *sum, float *shift)
{
    int64_t rows = v->rows < 16 ? v->rows : 16;
    memset(sum, 0, (size_t)v->c * sizeof *sum);
    cpu->loops->column_sums[bf16](x, rows, v->c, sum);
    for (int64_t c = 0; c < v->c; c++)
        shift[c] = (float)(sum[c] / (double)rows);
    repeat(shift, v->c, v->wide);
}

/* Biased variance and mean of the channels; sum and sq are [c] work space. */
static int batch_statistics(struct cpu *cpu, const struct bk_tensor *x, const struct view *v,
                            float *shift, double *mean, double *var, struct bk_error *err)
{
    struct stats_ctx ctx = { .x = x->data, .v = *v, .bf16 = cpu_is_bf16(x), .shift = shift };
    guess_means(cpu, x->data, ctx.bf16, v, mean, shift);
    int rc = run_stats(cpu, &ctx, err);
    if (rc)
        return rc;
    fold(ctx.sums, ctx.parts, 2 * v->wide, v, mean);
    fold(ctx.sums + v->wide, ctx.parts, 2 * v->wide, v, var);
    for (int64_t c = 0; c < v->c; c++) {
        double d = mean[c] / (double)v->rows, q = var[c] / (double)v->rows - d * d;
        mean[c] = (double)shift[c] + d;
        var[c] = q > 0 || isnan(q) ? q : 0;
    }
    return BK_OK;
}

int cpu_add_column_sums(struct cpu *cpu, const void *x, int bf16, int64_t rows, int64_t cols,
                        float *sum, bool assign, struct bk_error *err)
{
    struct bk_tensor t = { .rank = 2, .dim = { rows, cols } };
    struct stats_ctx ctx = { .x = x, .v = view_of(&t), .bf16 = bf16 };
    int rc = run_stats(cpu, &ctx, err);
    if (rc)
        return rc;
    double *total;
    rc = cpu_scratch(cpu, CPU_SCRATCH_PARAMS, (size_t)cols * sizeof *total, &total, err);
    if (rc)
        return rc;
    fold(ctx.sums, ctx.parts, 2 * ctx.v.wide, &ctx.v, total);
    for (int64_t c = 0; c < cols; c++)
        sum[c] = (float)(assign ? total[c] : (double)sum[c] + total[c]);
    return BK_OK;
}

/* ---- forward ----------------------------------------------------------------------------------- */

struct norm_ctx {
    const struct cpu *cpu;
    struct cpu_norm_job job, tail;
    struct view v;
    int terms, bf16, parts;
    double *sums;
    int64_t sum_stride;         /* of one part */
};

/* The same operands from the left-over row on. */
static void set_tail(struct norm_ctx *ctx)
{
    int64_t i = ctx->v.n_wide * ctx->v.wide;
    struct cpu_norm_job *t = &ctx->tail;
    *t = ctx->job;
    t->y = (void *)element(t->y, i, ctx->bf16);
    t->residual = element(t->residual, i, ctx->bf16);
    t->dresidual = (void *)element(t->dresidual, i, ctx->bf16);
    t->dz = (void *)element(t->dz, i, ctx->bf16);
    for (int k = 0; k < MAX_TERMS; k++) {
        t->x[k] = element(t->x[k], i, ctx->bf16);
        t->dx[k] = (void *)element(t->dx[k], i, ctx->bf16);
    }
    for (int k = 0; k < 4; k++)
        t->dy[k] = element(t->dy[k], i, ctx->bf16);
}

static void apply_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct norm_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    loops->norm_apply[ctx->bf16][ctx->terms - 1](&ctx->job, begin, end, ctx->v.wide);
    if (part == ctx->parts - 1 && ctx->v.tail)
        loops->norm_apply[ctx->bf16][ctx->terms - 1](&ctx->tail, 0, 1, ctx->v.tail);
}

/* Running statistics follow the batch; `var` is biased, the unbiased one is recorded. */
static void update_running(const struct bk_tensor *old, struct bk_tensor *out, double momentum,
                           const double *value, double factor)
{
    if (!out)
        return;
    float *to = out->data;
    const float *from = old ? old->data : out->data;
    for (int64_t c = 0; c < cpu_numel(out); c++)
        to[c] = (float)((1 - momentum) * (double)from[c] + momentum * factor * value[c]);
}

static void write_vector(struct bk_tensor *t, const double *value, int64_t n)
{
    for (int64_t i = 0; t && i < n; i++)
        ((float *)t->data)[i] = (float)value[i];
}

/* Mean and 1/sqrt(var + eps) of term t into mean[], rstd[], by mode; keeps running statistics and outputs up to date. */
static int term_statistics(struct cpu *cpu, const struct bk_kernel_args *args, int t,
                           const struct view *v, float *shift, double *mean, double *rstd,
                           struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    const struct bk_tensor *const *in = args->in + 1 + 5 * t;
    struct bk_tensor *const *out = args->out + 1 + 4 * t;
    if (attr->mode == BK_NORM_RUNNING) {
        for (int64_t c = 0; c < v->c; c++) {
            mean[c] = (double)((const float *)in[3]->data)[c];
            rstd[c] = (double)((const float *)in[4]->data)[c];
        }
    } else {
        int rc = batch_statistics(cpu, in[0], v, shift, mean, rstd, err);
        if (rc)
            return rc;
        double n = (double)v->rows;
        update_running(in[3], out[2], attr->momentum, mean, 1);
        update_running(in[4], out[3], attr->momentum, rstd, n > 1 ? n / (n - 1) : 1);
    }
    for (int64_t c = 0; c < v->c; c++)
        rstd[c] = 1 / sqrt(rstd[c] + attr->eps);
    write_vector(out[0], mean, v->c);
    write_vector(out[1], rstd, v->c);
    return BK_OK;
}

int cpu_batch_norm(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    struct bk_tensor *y = args->out[0];
    struct norm_ctx ctx = { .cpu = cpu, .v = view_of(y), .terms = attr->n_terms,
                            .bf16 = cpu_is_bf16(y) };
    const struct view *v = &ctx.v;
    if (v->rows == 0)
        return BK_OK;
    size_t wide = cpu_round_up((size_t)v->wide, 16);
    float *params;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_PARAMS, wide * (2 * 8 + 8 * 4), &params, err);
    if (rc)
        return rc;
    double *mean = (double *)params, *rstd = mean + wide;
    float *next = (float *)(rstd + wide), *shift = next, *c = next + wide;
    next += 2 * wide;
    memset(c, 0, wide * sizeof *c);
    for (int t = 0; t < attr->n_terms; t++, next += 2 * wide) {
        const struct bk_tensor *const *in = args->in + 1 + 5 * t;
        const float *scale = in[1]->data, *offset = in[2]->data;
        float *m = next, *a = next + wide;
        rc = term_statistics(cpu, args, t, v, shift, mean, rstd, err);
        if (rc)
            return rc;
        for (int64_t k = 0; k < v->c; k++) {
            m[k] = (float)mean[k];
            a[k] = (float)((double)scale[k] * rstd[k]);
            /* what rounding the mean to f32 leaves goes into the offset */
            c[k] += (float)((double)offset[k] + ((double)m[k] - mean[k]) * (double)a[k]);
        }
        repeat(m, v->c, v->wide);
        repeat(a, v->c, v->wide);
        ctx.job.x[t] = in[0]->data;
        ctx.job.mean[t] = m;
        ctx.job.a[t] = a;
    }
    repeat(c, v->c, v->wide);
    ctx.job.offset = c;
    ctx.job.residual = cpu_data(args->in[0]);
    ctx.job.activation = attr->activation;
    ctx.job.y = y->data;
    set_tail(&ctx);
    ctx.parts = cpu_parts(cpu, v->n_wide, v->wide);
    cpu_parallel(cpu, ctx.parts, v->n_wide, apply_range, &ctx);
    return BK_OK;
}

/* ---- backward ---------------------------------------------------------------------------------- */

static void reduce_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct norm_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    int64_t wide = ctx->v.wide;
    double *sums = ctx->sums + part * ctx->sum_stride;
    loops->norm_reduce[ctx->bf16][ctx->terms - 1](&ctx->job, begin, end, wide, wide, sums);
    if (part == ctx->parts - 1 && ctx->v.tail)
        loops->norm_reduce[ctx->bf16][ctx->terms - 1](&ctx->tail, 0, 1, ctx->v.tail, wide, sums);
}

static void dx_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct norm_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    loops->norm_dx[ctx->bf16][ctx->terms - 1](&ctx->job, begin, end, ctx->v.wide);
    if (part == ctx->parts - 1 && ctx->v.tail)
        loops->norm_dx[ctx->bf16][ctx->terms - 1](&ctx->tail, 0, 1, ctx->v.tail);
}

static void add_vector(struct bk_tensor *t, const double *value, int64_t n)
{
    for (int64_t i = 0; t && i < n; i++)
        ((float *)t->data)[i] = (float)((double)((float *)t->data)[i] + value[i]);
}

/* Mean and factor of term t, and its share of the offset. */
static void begin_term(const struct bk_kernel_args *args, int t, const struct view *v, float *mean, float *a, float *offset)
{
    const struct bk_tensor *const *in = args->in + 6 + 5 * t;
    const float *scale = in[1]->data, *rstd = in[4]->data;
    memcpy(mean, in[3]->data, (size_t)v->c * sizeof *mean);
    for (int64_t k = 0; k < v->c; k++) {
        a[k] = (float)((double)scale[k] * (double)rstd[k]);
        offset[k] += ((const float *)in[2]->data)[k];
    }
    repeat(mean, v->c, v->wide);
    repeat(a, v->c, v->wide);
}

/* Gradients of scale and offset of term t, and the coefficients of its dx. dot = sum of dz (x - mean), sum = sum of dz. */
static void finish_term(const struct bk_kernel_args *args, int t, const struct view *v,
                        const double *sum, double *dot, float *b, float *c)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    const struct bk_tensor *const *in = args->in + 6 + 5 * t;
    const float *scale = in[1]->data, *rstd = in[4]->data;
    double n = (double)v->rows;
    bool batch = attr->mode != BK_NORM_RUNNING;
    for (int64_t k = 0; k < v->c; k++) {
        double r = (double)rstd[k], g = (double)scale[k] * r;
        b[k] = batch ? (float)(-g * r * r * dot[k] / n) : 0;
        c[k] = batch ? (float)(-g * sum[k] / n) : 0;
        dot[k] *= r;
    }
    repeat(b, v->c, v->wide);
    repeat(c, v->c, v->wide);
    add_vector(args->out[1 + 3 * t + 1], dot, v->c);
    add_vector(args->out[1 + 3 * t + 2], sum, v->c);
}

/* Operands of the backward loops; false when nothing wants a gradient of an element. */
static bool set_backward_job(const struct bk_kernel_args *args, struct norm_ctx *ctx)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    struct cpu_norm_job *job = &ctx->job;
    bool wanted = args->out[0] != NULL;
    for (int i = 0; i < 4; i++)
        if (args->in[i])
            job->dy[job->n_dy++] = args->in[i]->data;
    job->activation = attr->activation;
    job->y = (void *)cpu_data(args->in[4]);
    job->residual = cpu_data(args->in[5]);
    job->dresidual = (void *)cpu_data(args->out[0]);
    for (int t = 0; t < ctx->terms; t++) {
        job->x[t] = args->in[6 + 5 * t]->data;
        job->dx[t] = (void *)cpu_data(args->out[1 + 3 * t]);
        wanted = wanted || job->dx[t];
    }
    job->dz = job->dresidual;
    for (int t = 0; t < ctx->terms && !job->dz; t++)
        job->dz = job->dx[t];
    return wanted;
}

/* The second pass takes dz from where the first has put it, instead of computing the activation's slope again. */
static void take_dz(struct norm_ctx *ctx)
{
    struct cpu_norm_job *job = &ctx->job;
    if (job->activation == BK_ACT_NONE || job->activation == BK_ACT_RELU)
        return;
    job->activation = BK_ACT_NONE;
    job->dy[0] = job->dz;
    job->n_dy = 1;
    job->dresidual = NULL;
    set_tail(ctx);
}

int cpu_batch_norm_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = args->attr;
    const struct bk_tensor *x = args->in[6];
    struct norm_ctx ctx = { .cpu = cpu, .v = view_of(x), .terms = attr->n_terms,
                            .bf16 = cpu_is_bf16(x) };
    const struct view *v = &ctx.v;
    bool wanted = set_backward_job(args, &ctx);
    size_t wide = cpu_round_up((size_t)v->wide, 16);
    if (v->rows == 0)
        return BK_OK;
    if (ctx.job.n_dy == 0)
        return bk_fail(err, BK_EINVAL, "batch norm backward without an incoming gradient");

    double *total;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_PARAMS, wide * (2 * 8 + 4 + MAX_TERMS * 4 * 4), &total, err);
    if (rc)
        return rc;
    double *dot = total + wide;
    float *offset = (float *)(dot + wide), *next = offset + wide;
    memset(offset, 0, wide * sizeof *offset);
    for (int t = 0; t < ctx.terms; t++, next += 4 * wide) {
        begin_term(args, t, v, next, next + wide, offset);
        ctx.job.mean[t] = next;
        ctx.job.a[t] = next + wide;
        ctx.job.b[t] = next + 2 * wide;
        ctx.job.c[t] = next + 3 * wide;
    }
    repeat(offset, v->c, v->wide);
    ctx.job.offset = offset;
    set_tail(&ctx);

    ctx.parts = cpu_parts(cpu, v->n_wide, v->wide);
    ctx.sum_stride = (1 + ctx.terms) * v->wide;
    size_t nbytes = (size_t)(ctx.parts * ctx.sum_stride) * sizeof(double);
    rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, nbytes, &ctx.sums, err);
    if (rc)
        return rc;
    memset(ctx.sums, 0, nbytes);
    cpu_parallel(cpu, ctx.parts, v->n_wide, reduce_range, &ctx);
    fold(ctx.sums, ctx.parts, ctx.sum_stride, v, total);
    for (int t = 0; t < ctx.terms; t++) {
        fold(ctx.sums + (1 + t) * v->wide, ctx.parts, ctx.sum_stride, v, dot);
        finish_term(args, t, v, total, dot, (float *)ctx.job.b[t], (float *)ctx.job.c[t]);
    }
    take_dz(&ctx);
    if (wanted)
        cpu_parallel(cpu, ctx.parts, v->n_wide, dx_range, &ctx);
    return BK_OK;
}

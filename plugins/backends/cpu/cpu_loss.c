/*
 * cpu_loss.c: losses and unit rows. Row-wise kernels convert a row to f32 first and reduce in f64; they are small beside
 * the convolutions. The squared error may compare whole feature maps and goes in chunks over all threads.
 */
#include "cpu_state.h"
#include <math.h>

/* Row r of x [R,D] as f32: in place, or converted into `buf`. */
static const float *f32_row(const struct cpu *cpu, const struct bk_tensor *x, int64_t r, int64_t d,
                            float *buf)
{
    if (!cpu_is_bf16(x))
        return (const float *)x->data + r * d;
    cpu->loops->to_f32((const uint16_t *)x->data + r * d, buf, d);
    return buf;
}

static void store_row(const struct cpu *cpu, struct bk_tensor *y, int64_t r, int64_t d,
                      const float *row)
{
    int bf16 = cpu_is_bf16(y);
    cpu_convert(cpu, row, 0, (char *)y->data + (size_t)(r * d) * cpu_element_size(bf16), bf16, d);
}

/* 1 / max(|x|, 1e-12) */
static double inverse_norm(const struct cpu *cpu, const float *x, int64_t d)
{
    double norm = sqrt(cpu->loops->dot(x, x, d));
    return 1 / (norm > 1e-12 ? norm : 1e-12);
}

int cpu_unit(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0];
    struct bk_tensor *y = args->out[0];
    int64_t d = cpu_last_dim(x), rows = d ? cpu_numel(x) / d : 0;
    float *buf;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)d * sizeof *buf, &buf, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *row = f32_row(cpu, x, r, d, buf);
        float *out = (float *)y->data + r * d;
        cpu->loops->combine(out, (float)inverse_norm(cpu, row, d), row, 0, row, d);
    }
    return BK_OK;
}

int cpu_cosine_loss(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *u = args->in[0], *t = args->in[1];
    int64_t rows = u->dim[0], d = u->dim[1];
    double loss = 0;
    float *buf;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)d * sizeof *buf, &buf, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *ur = f32_row(cpu, u, r, d, buf), *tr = (const float *)t->data + r * d;
        loss -= 2 * cpu->loops->dot(ur, tr, d) * inverse_norm(cpu, ur, d) * inverse_norm(cpu, tr, d);
    }
    *(float *)args->out[0]->data = (float)(loss / (double)rows);
    return BK_OK;
}

/* d/du of -2/B cos(u,t) = -2/B ( t/(|u||t|) - cos u/|u|^2 ); the second part vanishes where |u| is clamped. */
int cpu_cosine_loss_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *u = args->in[0], *t = args->in[1];
    struct bk_tensor *du = args->out[0];
    int64_t rows = u->dim[0], d = u->dim[1];
    double g = -2 * (double)*(const float *)args->in[2]->data / (double)rows;
    float *buf;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, 2 * cpu_round_up((size_t)d, 16) * sizeof *buf, &buf,
                         err);
    if (rc)
        return rc;
    float *out = buf + cpu_round_up((size_t)d, 16);
    for (int64_t r = 0; r < rows; r++) {
        const float *ur = f32_row(cpu, u, r, d, buf), *tr = (const float *)t->data + r * d;
        double iu = inverse_norm(cpu, ur, d), it = inverse_norm(cpu, tr, d);
        double cosine = cpu->loops->dot(ur, tr, d) * iu * it;
        double radial = iu < 1e12 ? -g * cosine * iu * iu : 0;
        cpu->loops->combine(out, (float)(g * iu * it), tr, (float)radial, ur, d);
        store_row(cpu, du, r, d, out);
    }
    return BK_OK;
}

/* prob = softmax(z); returns log(sum of e^(z - top)), and top. */
static double softmax_row(const float *z, int64_t classes, float *prob, double *top_out)
{
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < classes; c++)
        top = (double)z[c] > top ? (double)z[c] : top;
    for (int64_t c = 0; c < classes; c++) {
        double e = exp((double)z[c] - top);
        prob[c] = (float)e;
        sum += e;
    }
    for (int64_t c = 0; c < classes; c++)
        prob[c] = (float)((double)prob[c] / sum);
    *top_out = top;
    return log(sum);
}

int cpu_cross_entropy(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_cross_entropy_attr *attr = args->attr;
    const struct bk_tensor *logits = args->in[0];
    const int32_t *label = args->in[1]->data;
    int64_t rows = logits->dim[0], classes = logits->dim[1];
    double smooth = attr->label_smoothing, loss = 0;
    float *buf;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)classes * sizeof *buf, &buf, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *z = f32_row(cpu, logits, r, classes, buf);
        float *prob = (float *)args->out[1]->data + r * classes;
        if (label[r] < 0 || label[r] >= classes)
            return bk_fail(err, BK_EINVAL, "label %d is outside 0..%lld", (int)label[r],
                           (long long)classes - 1);
        double top, mean = 0, log_sum = softmax_row(z, classes, prob, &top);
        for (int64_t c = 0; c < classes; c++)
            mean += (double)z[c] - top;
        mean /= (double)classes;
        loss += log_sum - (1 - smooth) * ((double)z[label[r]] - top) - smooth * mean;
    }
    *(float *)args->out[0]->data = (float)(loss / (double)rows);
    return BK_OK;
}

/* dlogits = (prob - q)/B with q = (1 - s) onehot + s/classes. */
int cpu_cross_entropy_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_cross_entropy_attr *attr = args->attr;
    const struct bk_tensor *prob = args->in[0];
    const int32_t *label = args->in[1]->data;
    struct bk_tensor *dx = args->out[0];
    int64_t rows = prob->dim[0], classes = prob->dim[1];
    double g = (double)*(const float *)args->in[2]->data / (double)rows;
    float *row, smooth = (float)(attr->label_smoothing / (double)classes);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)classes * sizeof *row, &row, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *p = (const float *)prob->data + r * classes;
        for (int64_t c = 0; c < classes; c++)
            row[c] = (float)(g * (double)(p[c] - smooth));
        double hit = (double)p[label[r]] - (double)smooth - (1 - attr->label_smoothing);
        row[label[r]] = (float)(g * hit);
        store_row(cpu, dx, r, classes, row);
    }
    return BK_OK;
}

/* -sum t log p = sum over classes of t (log_sum - (z - top)) */
int cpu_soft_cross_entropy(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *logits = args->in[0];
    int64_t rows = logits->dim[0], classes = logits->dim[1];
    double loss = 0;
    float *buf;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)classes * sizeof *buf, &buf, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *z = f32_row(cpu, logits, r, classes, buf);
        const float *t = (const float *)args->in[1]->data + r * classes;
        double top, log_sum = softmax_row(z, classes, (float *)args->out[1]->data + r * classes, &top);
        for (int64_t c = 0; c < classes; c++)
            loss += (double)t[c] * (log_sum + top - (double)z[c]);
    }
    *(float *)args->out[0]->data = (float)(loss / (double)rows);
    return BK_OK;
}

int cpu_soft_cross_entropy_dx(struct cpu *cpu, const struct bk_kernel_args *args,
                              struct bk_error *err)
{
    const struct bk_tensor *prob = args->in[0];
    int64_t rows = prob->dim[0], classes = prob->dim[1];
    float g = *(const float *)args->in[2]->data / (float)rows, *row;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)classes * sizeof *row, &row, err);
    if (rc)
        return rc;
    for (int64_t r = 0; r < rows; r++) {
        const float *p = (const float *)prob->data + r * classes;
        const float *t = (const float *)args->in[1]->data + r * classes;
        cpu->loops->combine(row, g, p, -g, t, classes);
        store_row(cpu, args->out[0], r, classes, row);
    }
    return BK_OK;
}

/* ---- squared error ------------------------------------------------------------------------------- */

#define CHUNK 2048              /* elements; the buffers of a chunk stay in the first-level cache */

struct mse_ctx {
    const struct cpu *cpu;
    const struct bk_tensor *y, *t;
    void *out;                  /* NULL: only add up */
    int64_t n;
    float factor;
    float *rows;                /* a part: three chunks */
    double *sums;               /* a part: one */
};

/* The chunk of x at i as f32: in place, or converted into buf. */
static const float *f32_chunk(const struct cpu *cpu, const struct bk_tensor *x, int64_t i, int64_t n,
                              float *buf)
{
    if (!cpu_is_bf16(x))
        return (const float *)x->data + i;
    cpu->loops->to_f32((const uint16_t *)x->data + i, buf, n);
    return buf;
}

static void mse_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct mse_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    int bf16 = cpu_is_bf16(ctx->y);
    float *a = ctx->rows + part * 3 * CHUNK, *b = a + CHUNK, *d = b + CHUNK;
    for (int64_t k = begin; k < end; k++) {
        int64_t i = k * CHUNK, n = ctx->n - i < CHUNK ? ctx->n - i : CHUNK;
        const float *y = f32_chunk(ctx->cpu, ctx->y, i, n, a);
        const float *t = f32_chunk(ctx->cpu, ctx->t, i, n, b);
        loops->combine(d, ctx->factor, y, -ctx->factor, t, n);
        if (ctx->out)
            cpu_convert(ctx->cpu, d, 0, (char *)ctx->out + (size_t)i * cpu_element_size(bf16), bf16, n);
        else
            ctx->sums[part] += loops->dot(d, d, n);
    }
}

/* Sum of (y - t)^2 into *sum, or out = factor (y - t). */
static int run_mse(struct cpu *cpu, struct mse_ctx *ctx, double *sum, struct bk_error *err)
{
    ctx->cpu = cpu;
    ctx->n = cpu_numel(ctx->y);
    int64_t chunks = (ctx->n + CHUNK - 1) / CHUNK;
    int parts = cpu_parts(cpu, chunks, CHUNK);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)parts * 3 * CHUNK * sizeof(float), &ctx->rows, err);
    if (!rc)
        rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)parts * sizeof(double), &ctx->sums, err);
    if (rc)
        return rc;
    for (int p = 0; p < parts; p++)
        ctx->sums[p] = 0;
    cpu_parallel(cpu, parts, chunks, mse_range, ctx);
    for (int p = 0; sum && p < parts; p++)
        *sum += ctx->sums[p];
    return BK_OK;
}

int cpu_mse_loss(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct mse_ctx ctx = { .y = args->in[0], .t = args->in[1], .factor = 1 };
    double sum = 0;
    int rc = run_mse(cpu, &ctx, &sum, err);
    if (!rc)
        *(float *)args->out[0]->data = (float)(sum / (double)ctx.n);
    return rc;
}

int cpu_mse_loss_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    double dloss = (double)*(const float *)args->in[2]->data, n = (double)cpu_numel(args->in[0]);
    struct mse_ctx ctx = { .y = args->in[0], .t = args->in[1], .out = args->out[0]->data,
                           .factor = (float)(2 * dloss / n) };
    return run_mse(cpu, &ctx, NULL, err);
}

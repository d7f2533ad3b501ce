/*
 * cpu_pool.c: average, maximum and global pooling of NHWC images, forward and backward.
 * Backward average pooling gathers, so that threads never write the same element; backward maximum pooling scatters, one
 * image at a time.
 */
#include "cpu_state.h"
#include <string.h>

struct pool_ctx {
    const struct cpu *cpu;
    struct cpu_pool_shape s;
    const void *x, *y, *dy;
    void *out;
    float *rows;                /* scratch: floats of one part */
    size_t row_stride;
    double *sums;
    int bf16;
};

static struct cpu_pool_shape shape_of(const struct bk_tensor *x, const struct bk_tensor *y,
                                      const struct bk_pool2d_attr *attr)
{
    return (struct cpu_pool_shape){
        .n = x->dim[0], .h = x->dim[1], .w = x->dim[2], .c = x->dim[3],
        .ho = y->dim[1], .wo = y->dim[2],
        .size = attr->size, .stride = attr->stride, .pad = attr->pad,
    };
}

static void avg_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    (void)part;
    ctx->cpu->loops->avg_pool[ctx->bf16](&ctx->s, ctx->x, ctx->out, begin, end);
}

static void max_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    (void)part;
    ctx->cpu->loops->max_pool[ctx->bf16](&ctx->s, ctx->x, ctx->out, begin, end);
}

static void avg_dx_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    (void)part;
    ctx->cpu->loops->avg_pool_dx[ctx->bf16](&ctx->s, ctx->dy, ctx->out, begin, end);
}

static int run_forward(struct cpu *cpu, const struct bk_kernel_args *args, cpu_range_fn fn)
{
    struct pool_ctx ctx = { .cpu = cpu, .s = shape_of(args->in[0], args->out[0], args->attr),
                            .x = args->in[0]->data, .out = args->out[0]->data,
                            .bf16 = cpu_is_bf16(args->in[0]) };
    int64_t rows = ctx.s.n * ctx.s.ho;
    int parts = cpu_parts(cpu, rows, ctx.s.wo * ctx.s.c * ctx.s.size);
    cpu_parallel(cpu, parts, rows, fn, &ctx);
    return BK_OK;
}

int cpu_avg_pool2d(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    return run_forward(cpu, args, avg_range);
}

int cpu_max_pool2d(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    return run_forward(cpu, args, max_range);
}

int cpu_avg_pool2d_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    struct pool_ctx ctx = { .cpu = cpu, .s = shape_of(args->out[0], args->in[0], args->attr),
                            .dy = args->in[0]->data, .out = args->out[0]->data,
                            .bf16 = cpu_is_bf16(args->in[0]) };
    int64_t rows = ctx.s.n * ctx.s.h;
    int parts = cpu_parts(cpu, rows, ctx.s.w * ctx.s.c * ctx.s.size);
    cpu_parallel(cpu, parts, rows, avg_dx_range, &ctx);
    return BK_OK;
}

static float load(const void *p, int64_t i, int bf16)
{
    return bf16 ? bk_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

/* Give dy of one output pixel to the first maximum of each channel's window. */
static void scatter_max(const struct pool_ctx *ctx, int64_t n, int64_t oh, int64_t ow, float *dx)
{
    const struct cpu_pool_shape *s = &ctx->s;
    int64_t o = ((n * s->ho + oh) * s->wo + ow) * s->c;
    for (int64_t c = 0; c < s->c; c++) {
        float y = load(ctx->y, o + c, ctx->bf16);
        bool found = false;
        for (int64_t t = 0; t < s->size * s->size && !found; t++) {
            int64_t ih = oh * s->stride - s->pad + t / s->size;
            int64_t iw = ow * s->stride - s->pad + t % s->size;
            if (ih < 0 || ih >= s->h || iw < 0 || iw >= s->w)
                continue;
            int64_t i = (ih * s->w + iw) * s->c + c;
            found = load(ctx->x, n * s->h * s->w * s->c + i, ctx->bf16) == y;
            if (found)
                dx[i] += load(ctx->dy, o + c, ctx->bf16);
        }
    }
}

static void max_dx_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    const struct cpu_pool_shape *s = &ctx->s;
    int64_t size = s->h * s->w * s->c;
    for (int64_t n = begin; n < end; n++) {
        float *dx = ctx->bf16 ? ctx->rows + (size_t)part * ctx->row_stride : (float *)ctx->out + n * size;
        memset(dx, 0, (size_t)size * sizeof *dx);
        for (int64_t oh = 0; oh < s->ho; oh++)
            for (int64_t ow = 0; ow < s->wo; ow++)
                scatter_max(ctx, n, oh, ow, dx);
        if (ctx->bf16)
            ctx->cpu->loops->to_bf16(dx, (uint16_t *)ctx->out + n * size, size);
    }
}

int cpu_max_pool2d_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct pool_ctx ctx = { .cpu = cpu, .s = shape_of(args->in[0], args->in[1], args->attr),
                            .x = args->in[0]->data, .y = args->in[1]->data,
                            .dy = args->in[2]->data, .out = args->out[0]->data,
                            .bf16 = cpu_is_bf16(args->in[0]) };
    int64_t size = ctx.s.h * ctx.s.w * ctx.s.c;
    int parts = cpu_parts(cpu, ctx.s.n, size);
    if (ctx.bf16) {
        ctx.row_stride = cpu_round_up((size_t)size, 16);
        int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)parts * ctx.row_stride * sizeof(float),
                             &ctx.rows, err);
        if (rc)
            return rc;
    }
    cpu_parallel(cpu, parts, ctx.s.n, max_dx_range, &ctx);
    return BK_OK;
}

/* ---- global pooling ---------------------------------------------------------------------------- */

static void global_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    int64_t c = ctx->s.c, positions = ctx->s.h * ctx->s.w;
    double *sum = ctx->sums + (int64_t)part * c;
    for (int64_t n = begin; n < end; n++) {
        memset(sum, 0, (size_t)c * sizeof *sum);
        const char *x = (const char *)ctx->x + n * positions * c * (ctx->bf16 ? 2 : 4);
        ctx->cpu->loops->column_sums[ctx->bf16](x, positions, c, sum);
        for (int64_t j = 0; j < c; j++) {
            float m = (float)(sum[j] / (double)positions);
            if (ctx->bf16)
                ((uint16_t *)ctx->out)[n * c + j] = bk_f32_to_bf16(m);
            else
                ((float *)ctx->out)[n * c + j] = m;
        }
    }
}

int cpu_global_pool(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0];
    struct pool_ctx ctx = { .cpu = cpu, .s = { .n = x->dim[0], .h = x->dim[1], .w = x->dim[2], .c = x->dim[3] },
                            .x = x->data, .out = args->out[0]->data, .bf16 = cpu_is_bf16(x) };
    int parts = cpu_parts(cpu, ctx.s.n, ctx.s.h * ctx.s.w * ctx.s.c);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)parts * (size_t)ctx.s.c * sizeof(double),
                         &ctx.sums, err);
    if (rc)
        return rc;
    cpu_parallel(cpu, parts, ctx.s.n, global_range, &ctx);
    return BK_OK;
}

static void global_dx_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct pool_ctx *ctx = ctx_;
    int64_t c = ctx->s.c, positions = ctx->s.h * ctx->s.w;
    float *dy = ctx->rows + (size_t)part * ctx->row_stride;
    for (int64_t n = begin; n < end; n++) {
        for (int64_t j = 0; j < c; j++)
            dy[j] = load(ctx->dy, n * c + j, ctx->bf16) / (float)positions;
        char *dx = (char *)ctx->out + n * positions * c * (ctx->bf16 ? 2 : 4);
        ctx->cpu->loops->spread[ctx->bf16](dy, positions, c, dx);
    }
}

int cpu_global_pool_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dx = args->out[0];
    struct pool_ctx ctx = { .cpu = cpu, .s = { .n = dx->dim[0], .h = dx->dim[1], .w = dx->dim[2], .c = dx->dim[3] },
                            .dy = args->in[0]->data, .out = dx->data, .bf16 = cpu_is_bf16(dx) };
    int parts = cpu_parts(cpu, ctx.s.n, ctx.s.h * ctx.s.w * ctx.s.c);
    ctx.row_stride = cpu_round_up((size_t)ctx.s.c, 16);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)parts * ctx.row_stride * sizeof(float),
                         &ctx.rows, err);
    if (rc)
        return rc;
    cpu_parallel(cpu, parts, ctx.s.n, global_dx_range, &ctx);
    return BK_OK;
}

/*
 * cpu_depthwise.c: the weight gradient of depthwise convolutions.
 * oneDNN's NHWC kernel is slow for windows of 5 and more (x7 in f32, x30 in bf16 measured); this one keeps one row of taps in
 * registers, gives each thread whole images and adds per-image sums up in f64. Forward and data gradient are oneDNN's.
 */
#include "cpu_state.h"
#include <string.h>

struct depthwise_ctx {
    const struct cpu *cpu;
    struct cpu_depthwise_shape s;
    const void *x, *dy;
    double *acc;                /* a part: [kh,kw,c] */
    int bf16;
};

static void dw_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct depthwise_ctx *ctx = ctx_;
    int64_t size = ctx->s.kh * ctx->s.kw * ctx->s.c;
    ctx->cpu->loops->depthwise_dw[ctx->bf16](&ctx->s, ctx->x, ctx->dy, begin, end,
                                             ctx->acc + part * size);
}

int cpu_depthwise_dw(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_conv2d_attr *attr = args->attr;
    const struct bk_tensor *x = args->in[0], *dy = args->in[1], *dw = args->out[0];
    struct depthwise_ctx ctx = {
        .cpu = cpu, .x = x->data, .dy = dy->data, .bf16 = cpu_is_bf16(x),
        .s = { .h = x->dim[1], .w = x->dim[2], .c = x->dim[3], .ho = dy->dim[1],
               .wo = dy->dim[2], .kh = dw->dim[1], .kw = dw->dim[2],
               .stride = attr->stride, .pad = attr->pad },
    };
    int64_t taps = ctx.s.kh * ctx.s.kw, size = taps * ctx.s.c;
    int parts = cpu_parts(cpu, x->dim[0], ctx.s.ho * ctx.s.wo * size);
    size_t nbytes = (size_t)(parts * size) * sizeof(double);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, nbytes, &ctx.acc, err);
    if (rc)
        return rc;
    memset(ctx.acc, 0, nbytes);
    cpu_parallel(cpu, parts, x->dim[0], dw_range, &ctx);

    float *w = dw->data;
    for (int64_t c = 0; c < ctx.s.c; c++)
        for (int64_t t = 0; t < taps; t++) {
            double sum = attr->accumulate ? (double)w[c * taps + t] : 0;
            for (int p = 0; p < parts; p++)
                sum += ctx.acc[p * size + t * ctx.s.c + c];
            w[c * taps + t] = (float)sum;
        }
    return BK_OK;
}

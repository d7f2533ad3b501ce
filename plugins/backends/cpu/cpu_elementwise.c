/*
 * cpu_elementwise.c: ReLU, sums, casts, slices and blends. Other activations are in cpu_activation.c.
 */
#include "cpu_state.h"
#include <string.h>

/* ---- whole tensors ----------------------------------------------------------------------------- */

struct add_ctx {
    const struct cpu *cpu;
    const void *in[4];
    int n_in, relu, bf16;
    const void *mask;
    void *out;
};

/* Ranges are counted in blocks of 64 elements so that threads share no cache line. */
static void add_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct add_ctx *ctx = ctx_;
    (void)part;
    ctx->cpu->loops->add[ctx->bf16](ctx->out, ctx->in, ctx->n_in, ctx->mask, ctx->relu, begin * 64,
                                    end * 64);
}

static int run_add(struct cpu *cpu, struct add_ctx *ctx, int64_t n)
{
    ctx->cpu = cpu;
    int64_t blocks = n / 64;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 64), blocks, add_range, ctx);
    cpu->loops->add[ctx->bf16](ctx->out, ctx->in, ctx->n_in, ctx->mask, ctx->relu, blocks * 64, n);
    return BK_OK;
}

static void set_addends(struct add_ctx *ctx, const struct bk_kernel_args *args)
{
    for (int i = 0; i < 4; i++)
        if (args->in[i])
            ctx->in[ctx->n_in++] = args->in[i]->data;
}

int cpu_relu(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    struct add_ctx ctx = { .in = { args->in[0]->data }, .n_in = 1, .relu = 1,
                           .bf16 = cpu_is_bf16(args->in[0]), .out = args->out[0]->data };
    return run_add(cpu, &ctx, cpu_numel(args->in[0]));
}

int cpu_relu_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct add_ctx ctx = { .mask = args->in[4]->data, .bf16 = cpu_is_bf16(args->out[0]),
                           .out = args->out[0]->data };
    set_addends(&ctx, args);
    if (ctx.n_in == 0)
        return bk_fail(err, BK_EINVAL, "relu backward without an incoming gradient");
    return run_add(cpu, &ctx, cpu_numel(args->out[0]));
}

int cpu_add(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_add_attr *attr = args->attr;
    struct add_ctx ctx = { .relu = attr && attr->relu, .bf16 = cpu_is_bf16(args->out[0]),
                           .out = args->out[0]->data };
    set_addends(&ctx, args);
    if (ctx.n_in == 0)
        return bk_fail(err, BK_EINVAL, "a sum of no tensors");
    return run_add(cpu, &ctx, cpu_numel(args->out[0]));
}

void cpu_convert(const struct cpu *cpu, const void *src, int src_bf16, void *dst, int dst_bf16,
                 int64_t n)
{
    if (src_bf16 == dst_bf16)
        memcpy(dst, src, (size_t)n * cpu_element_size(src_bf16));
    else if (src_bf16)
        cpu->loops->to_f32(src, dst, n);
    else
        cpu->loops->to_bf16(src, dst, n);
}

struct cast_ctx {
    const struct cpu *cpu;
    const char *src;
    char *dst;
    int src_bf16, dst_bf16;
    int64_t n;
};

static void cast_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct cast_ctx *ctx = ctx_;
    (void)part;
    int64_t i = begin * 64, j = end * 64 < ctx->n ? end * 64 : ctx->n;
    cpu_convert(ctx->cpu, ctx->src + i * (ctx->src_bf16 ? 2 : 4), ctx->src_bf16,
                ctx->dst + i * (ctx->dst_bf16 ? 2 : 4), ctx->dst_bf16, j - i);
}

int cpu_cast(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *y = args->out[0];
    if ((x->dtype != BK_F32 && x->dtype != BK_BF16) || (y->dtype != BK_F32 && y->dtype != BK_BF16))
        return bk_fail(err, BK_ENOTSUP, "the cpu backend converts between f32 and bf16 only");
    struct cast_ctx ctx = { .cpu = cpu, .src = x->data, .dst = y->data, .src_bf16 = cpu_is_bf16(x),
                            .dst_bf16 = cpu_is_bf16(y), .n = cpu_numel(x) };
    int64_t blocks = (ctx.n + 63) / 64;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 64), blocks, cast_range, &ctx);
    return BK_OK;
}

/* ---- slices ------------------------------------------------------------------------------------ */

/* Visit the contiguous runs of the leading slice `small` of `large`; both have the same rank. */
struct slice_walk {
    int64_t run, n_runs;                /* elements of a run; number of runs */
    int64_t dim[BK_MAX_RANK], step[BK_MAX_RANK];
    int rank;
};

static struct slice_walk walk_of(const struct bk_tensor *large, const struct bk_tensor *small)
{
    struct slice_walk k = { .run = 1, .n_runs = 1 };
    int last = (int)small->rank - 1;
    while (last >= 0 && small->dim[last] == large->dim[last])
        k.run *= small->dim[last--];
    int64_t step = k.run;
    if (last >= 0) {
        k.run *= small->dim[last];
        step *= large->dim[last--];
    }
    k.rank = last + 1;
    for (; last >= 0; last--) {
        k.dim[last] = small->dim[last];
        k.step[last] = step;
        step *= large->dim[last];
        k.n_runs *= small->dim[last];
    }
    return k;
}

/* Offset of run r in the large tensor. */
static int64_t run_offset(const struct slice_walk *k, int64_t r)
{
    int64_t offset = 0;
    for (int d = k->rank - 1; d >= 0; d--) {
        offset += r % k->dim[d] * k->step[d];
        r /= k->dim[d];
    }
    return offset;
}

int cpu_slice(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    const struct bk_tensor *w = args->in[0], *v = args->out[0];
    struct slice_walk k = walk_of(w, v);
    int bf16 = cpu_is_bf16(v);
    for (int64_t r = 0; r < k.n_runs; r++)
        cpu_convert(cpu, (const float *)w->data + run_offset(&k, r), 0,
                    (char *)v->data + r * k.run * (bf16 ? 2 : 4), bf16, k.run);
    return BK_OK;
}

int cpu_slice_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    const struct bk_tensor *dv = args->in[0], *dw = args->out[0];
    struct slice_walk k = walk_of(dw, dv);
    for (int64_t r = 0; r < k.n_runs; r++)
        cpu->loops->blend((float *)dw->data + run_offset(&k, r), 1,
                          (const float *)dv->data + r * k.run, 1, k.run);
    return BK_OK;
}

struct blend_ctx {
    const struct cpu *cpu;
    float *y;
    const float *x;
    float a, b;
    int64_t n;
};

static void blend_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct blend_ctx *ctx = ctx_;
    (void)part;
    int64_t i = begin * 64, j = end * 64 < ctx->n ? end * 64 : ctx->n;
    ctx->cpu->loops->blend(ctx->y + i, ctx->a, ctx->x + i, ctx->b, j - i);
}

int cpu_blend(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    const struct bk_blend_attr *attr = args->attr;
    struct blend_ctx ctx = { .cpu = cpu, .y = args->out[0]->data, .x = args->in[1]->data,
                             .a = (float)attr->a, .b = (float)attr->b,
                             .n = cpu_numel(args->out[0]) };
    int64_t blocks = (ctx.n + 63) / 64;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 64), blocks, blend_range, &ctx);
    return BK_OK;
}

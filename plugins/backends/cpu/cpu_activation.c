/*
 * cpu_activation.c: activations by kind, channel factors of squeeze-and-excitation, dropout.
 */
#include "cpu_state.h"
#include <bosskit/random.h>
#include <string.h>

/* ---- activations ------------------------------------------------------------------------------- */

struct act_ctx {
    const struct cpu *cpu;
    int kind, bf16, n_dy;
    const void *dy[4], *x;
    void *out;
    int64_t n;
};

/* Ranges are counted in blocks of 64 elements so that threads share no cache line. */
static void act_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct act_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    int64_t i = begin * 64, j = end * 64 < ctx->n ? end * 64 : ctx->n;
    (void)part;
    if (ctx->n_dy)
        loops->activation_dx[ctx->bf16](ctx->kind, ctx->dy, ctx->n_dy, ctx->x, ctx->out, i, j);
    else
        loops->activation[ctx->bf16](ctx->kind, ctx->x, ctx->out, i, j);
}

static void run_activation(struct cpu *cpu, const struct bk_kernel_args *args, const struct bk_tensor *x,
                           struct act_ctx *ctx)
{
    const struct bk_activation_attr *attr = args->attr;
    ctx->cpu = cpu;
    ctx->kind = attr->kind;
    ctx->bf16 = cpu_is_bf16(x);
    ctx->x = x->data;
    ctx->out = args->out[0]->data;
    ctx->n = cpu_numel(x);
    int64_t blocks = (ctx->n + 63) / 64;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 256), blocks, act_range, ctx);
}

int cpu_activation(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct act_ctx ctx = { 0 };
    (void)err;
    run_activation(cpu, args, args->in[0], &ctx);
    return BK_OK;
}

int cpu_activation_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct act_ctx ctx = { 0 };
    for (int i = 0; i < 4; i++)
        if (args->in[i])
            ctx.dy[ctx.n_dy++] = args->in[i]->data;
    if (ctx.n_dy == 0)
        return bk_fail(err, BK_EINVAL, "activation backward without an incoming gradient");
    run_activation(cpu, args, args->in[4], &ctx);
    return BK_OK;
}

/* ---- channel factors ----------------------------------------------------------------------------- */

struct channels_ctx {
    const struct cpu *cpu;
    int bf16;
    int64_t positions, c;
    const char *dy, *x;         /* dy is NULL on the way forward */
    const void *s;
    char *out;                  /* y or dx; may be NULL */
    void *ds;                   /* may be NULL */
    float *rows;                /* a part: [c] */
    double *sums;               /* a part: [c] */
};

static void channels_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct channels_ctx *ctx = ctx_;
    const struct cpu_loops *loops = ctx->cpu->loops;
    size_t size = cpu_element_size(ctx->bf16), image = (size_t)(ctx->positions * ctx->c) * size;
    float *row = ctx->rows + part * ctx->c;
    double *sum = ctx->sums + part * ctx->c;
    for (int64_t n = begin; n < end; n++) {
        size_t at = (size_t)n * image, at_s = (size_t)(n * ctx->c) * size;
        if (ctx->out) {
            cpu_convert(ctx->cpu, (const char *)ctx->s + at_s, ctx->bf16, row, 0, ctx->c);
            loops->scale_rows[ctx->bf16]((ctx->dy ? ctx->dy : ctx->x) + at, row, ctx->positions, ctx->c,
                                         ctx->out + at);
        }
        if (!ctx->ds)
            continue;
        memset(sum, 0, (size_t)ctx->c * sizeof *sum);
        loops->product_sums[ctx->bf16](ctx->dy + at, ctx->x + at, ctx->positions, ctx->c, sum);
        for (int64_t c = 0; c < ctx->c; c++)
            row[c] = (float)sum[c];
        cpu_convert(ctx->cpu, row, 0, (char *)ctx->ds + at_s, ctx->bf16, ctx->c);
    }
}

static int run_channels(struct cpu *cpu, const struct bk_tensor *x, struct channels_ctx *ctx, struct bk_error *err)
{
    ctx->cpu = cpu;
    ctx->bf16 = cpu_is_bf16(x);
    ctx->x = x->data;
    ctx->positions = x->dim[1] * x->dim[2];
    ctx->c = x->dim[3];
    int parts = cpu_parts(cpu, x->dim[0], ctx->positions * ctx->c);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)(parts * ctx->c) * sizeof(float), &ctx->rows, err);
    if (!rc)
        rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)(parts * ctx->c) * sizeof(double), &ctx->sums, err);
    if (!rc)
        cpu_parallel(cpu, parts, x->dim[0], channels_range, ctx);
    return rc;
}

int cpu_scale_channels(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct channels_ctx ctx = { .s = args->in[1]->data, .out = args->out[0]->data };
    return run_channels(cpu, args->in[0], &ctx, err);
}

int cpu_scale_channels_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct channels_ctx ctx = { .dy = args->in[0]->data, .s = args->in[2]->data,
                                .out = args->out[0] ? args->out[0]->data : NULL,
                                .ds = args->out[1] ? args->out[1]->data : NULL };
    return run_channels(cpu, args->in[1], &ctx, err);
}

/* ---- dropout --------------------------------------------------------------------------------------- */

struct dropout_ctx {
    const struct cpu *cpu;
    const char *x;
    char *y;
    int bf16;
    int64_t group, groups;
    uint32_t key[2], counter[4];        /* of block 0 */
    uint32_t limit;                     /* words whose upper 24 bits are below it drop their group */
    float factor;
};

/* Four groups a Philox block. */
static void dropout_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct dropout_ctx *ctx = ctx_;
    size_t size = (size_t)ctx->group * cpu_element_size(ctx->bf16);
    uint32_t counter[4], word[4];
    (void)part;
    memcpy(counter, ctx->counter, sizeof counter);
    for (int64_t block = begin; block < end; block++) {
        counter[0] = (uint32_t)block;
        bk_philox4x32(counter, ctx->key, word);
        for (int64_t g = 4 * block; g < 4 * block + 4 && g < ctx->groups; g++) {
            size_t at = (size_t)g * size;
            if (word[g % 4] >> 8 < ctx->limit)
                memset(ctx->y + at, 0, size);
            else
                ctx->cpu->loops->scale[ctx->bf16](ctx->x + at, ctx->factor, ctx->y + at, ctx->group);
        }
    }
}

int cpu_dropout(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_dropout_attr *attr = args->attr;
    const struct bk_tensor *x = args->in[0];
    struct bk_random random;
    (void)err;
    bk_random_init(&random, attr->seed, attr->stream, attr->step, 0);
    double limit = attr->p * 0x1p24;    /* bk_random_f32() < p compares (word >> 8) / 2^24 */
    struct dropout_ctx ctx = {
        .cpu = cpu, .x = x->data, .y = args->out[0]->data, .bf16 = cpu_is_bf16(x), .group = attr->group,
        .groups = cpu_numel(x) / attr->group, .limit = (uint32_t)limit, .factor = (float)(1 / (1 - attr->p)),
    };
    ctx.limit += (double)ctx.limit < limit;
    memcpy(ctx.key, random.key, sizeof ctx.key);
    memcpy(ctx.counter, random.counter, sizeof ctx.counter);
    int64_t blocks = (ctx.groups + 3) / 4;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 4 * attr->group + 64), blocks, dropout_range, &ctx);
    return BK_OK;
}

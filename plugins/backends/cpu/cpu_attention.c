/*
 * cpu_attention.c: self-attention over the positions of an image, one head of one image at a time and a thread.
 *
 * A head's queries, keys and values are gathered into f32 matrices with rows of whole vectors and multiplied by the small
 * matrix product of cpu_loops.h; for the few hundred positions of such blocks everything stays in the cache. The
 * formulas are those of core/ops/ref_attention.c.
 */
#include "cpu_state.h"
#include <string.h>

struct attention_ctx {
    const struct cpu *cpu;
    int bf16, reversed;
    int64_t heads, L, M, d;     /* positions, channels of y, channels of a head */
    int64_t ld, lL;             /* d and L rounded up to whole vectors */
    float scale;
    const void *qkv, *dy;
    void *y, *dqkv;
    float *prob;                /* [N, heads, L, L] */
    float *work;                /* a part: work_size */
    int64_t work_size;
};

/* out [L, ld] = the head's d channels at offset `channel` of rows of `step` channels; zeros behind them. */
static void gather(const struct attention_ctx *c, const void *x, int64_t channel, int64_t step,
                   float *out)
{
    size_t size = cpu_element_size(c->bf16);
    for (int64_t a = 0; a < c->L; a++) {
        cpu_convert(c->cpu, (const char *)x + (size_t)(a * step + channel) * size, c->bf16, out + a * c->ld,
                    0, c->d);
        memset(out + a * c->ld + c->d, 0, (size_t)(c->ld - c->d) * sizeof *out);
    }
}

static void scatter(const struct attention_ctx *c, const float *in, void *x, int64_t channel,
                    int64_t step)
{
    size_t size = cpu_element_size(c->bf16);
    for (int64_t a = 0; a < c->L; a++)
        cpu_convert(c->cpu, in + a * c->ld, 0, (char *)x + (size_t)(a * step + channel) * size, c->bf16,
                    c->d);
}

/* out [d, lL] = in' for in [L, ld]; zeros behind column L. */
static void transpose(const struct attention_ctx *c, const float *in, float *out)
{
    memset(out, 0, (size_t)(c->d * c->lL) * sizeof *out);
    for (int64_t a = 0; a < c->L; a++)
        for (int64_t i = 0; i < c->d; i++)
            out[i * c->lL + a] = in[a * c->ld + i];
}

/* c [m, n rounded up] = a b; see cpu_loops.h. */
static void product(const struct attention_ctx *c, int64_t n, int64_t k, const float *a, int64_t a_row,
                    int64_t a_col, const float *b, float *out)
{
    memset(out, 0, (size_t)(c->L * n) * sizeof *out);
    c->cpu->loops->gemm(c->L, n, k, a, a_row, a_col, b, n, out, n);
}

static void forward_head(const struct attention_ctx *c, int64_t n, int64_t h, float *work)
{
    size_t size = cpu_element_size(c->bf16);
    const char *qkv = (const char *)c->qkv + (size_t)(n * c->L * 3 * c->M) * size;
    float *p = c->prob + (n * c->heads + h) * c->L * c->L;
    float *a = work, *b = a + c->L * c->ld, *bt = b + c->L * c->ld, *s = bt + c->d * c->lL;
    gather(c, qkv, h * c->d, 3 * c->M, a);
    gather(c, qkv, c->M + h * c->d, 3 * c->M, b);
    transpose(c, b, bt);
    product(c, c->lL, c->d, a, c->ld, 1, bt, s);
    for (int64_t i = 0; i < c->L; i++)
        c->cpu->loops->softmax(s + i * c->lL, c->scale, p + i * c->L, c->L);
    gather(c, qkv, 2 * c->M + h * c->d, 3 * c->M, b);
    product(c, c->ld, c->L, p, c->reversed ? 1 : c->L, c->reversed ? c->L : 1, b, a);
    scatter(c, a, (char *)c->y + (size_t)(n * c->L * c->M) * size, h * c->d, c->M);
}

static void backward_head(const struct attention_ctx *c, int64_t n, int64_t h, float *work)
{
    size_t size = cpu_element_size(c->bf16);
    size_t at = (size_t)(n * c->L * 3 * c->M) * size;
    const char *qkv = (const char *)c->qkv + at;
    char *dqkv = (char *)c->dqkv + at;
    const float *p = c->prob + (n * c->heads + h) * c->L * c->L;
    float *a = work, *b = a + c->L * c->ld, *bt = b + c->L * c->ld, *s = bt + c->d * c->lL;
    gather(c, (const char *)c->dy + (size_t)(n * c->L * c->M) * size, h * c->d, c->M, a);
    gather(c, qkv, 2 * c->M + h * c->d, 3 * c->M, b);
    transpose(c, c->reversed ? a : b, bt);
    product(c, c->lL, c->d, c->reversed ? b : a, c->ld, 1, bt, s);      /* dp = dy v', reversed v dy' */
    product(c, c->ld, c->L, p, c->reversed ? c->L : 1, c->reversed ? 1 : c->L, a, b);   /* dv = p' dy, reversed p dy */
    scatter(c, b, dqkv, 2 * c->M + h * c->d, 3 * c->M);
    for (int64_t i = 0; i < c->L; i++)
        c->cpu->loops->softmax_dx(p + i * c->L, s + i * c->lL, c->scale, s + i * c->lL, c->L);
    gather(c, qkv, c->M + h * c->d, 3 * c->M, a);
    product(c, c->ld, c->L, s, c->lL, 1, a, b);                 /* dq = ds k */
    scatter(c, b, dqkv, h * c->d, 3 * c->M);
    gather(c, qkv, h * c->d, 3 * c->M, a);
    product(c, c->ld, c->L, s, 1, c->lL, a, b);                 /* dk = ds' q */
    scatter(c, b, dqkv, c->M + h * c->d, 3 * c->M);
}

static void heads_range(void *ctx, int part, int64_t begin, int64_t end)
{
    struct attention_ctx *c = ctx;
    float *work = c->work + part * c->work_size;
    for (int64_t i = begin; i < end; i++) {
        if (c->dqkv)
            backward_head(c, i / c->heads, i % c->heads, work);
        else
            forward_head(c, i / c->heads, i % c->heads, work);
    }
}

static int run_heads(struct cpu *cpu, const struct bk_tensor *qkv, const struct bk_attention_attr *attr,
                     struct attention_ctx *c, struct bk_error *err)
{
    c->cpu = cpu;
    c->bf16 = cpu_is_bf16(qkv);
    c->qkv = qkv->data;
    c->heads = attr->heads;
    c->reversed = attr->reversed;
    c->scale = (float)attr->scale;
    c->L = qkv->dim[1] * qkv->dim[2];
    c->M = qkv->dim[3] / 3;
    c->d = c->M / c->heads;
    c->ld = (int64_t)cpu_round_up((size_t)c->d, 16);
    c->lL = (int64_t)cpu_round_up((size_t)c->L, 16);
    c->work_size = 2 * c->L * c->ld + c->d * c->lL + c->L * c->lL;
    int64_t items = qkv->dim[0] * c->heads;
    int parts = cpu_parts(cpu, items, c->L * c->L * c->d);
    int rc = cpu_scratch(cpu, CPU_SCRATCH_MATRIX, (size_t)(parts * c->work_size) * sizeof(float), &c->work, err);
    if (!rc)
        cpu_parallel(cpu, parts, items, heads_range, c);
    return rc;
}

int cpu_attention(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct attention_ctx c = { .y = args->out[0]->data, .prob = args->out[1]->data };
    return run_heads(cpu, args->in[0], args->attr, &c, err);
}

int cpu_attention_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct attention_ctx c = { .dy = args->in[0]->data, .dqkv = args->out[0]->data,
                               .prob = args->in[2]->data };
    return run_heads(cpu, args->in[1], args->attr, &c, err);
}

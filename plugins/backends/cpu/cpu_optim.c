/*
 * cpu_optim.c: optimiser steps in place; formulas and what the attributes mean are in bosskit/optim.h.
 * Norms are sums of f64 partial sums over fixed pieces, so that they do not depend on the number of threads.
 */
#include "cpu_state.h"
#include <math.h>

#define PIECE 65536             /* elements of one partial sum */

enum optim_rule { RULE_SGD = 1, RULE_LARS, RULE_ADAMW, RULE_RMSPROP };

struct optim_ctx {
    const struct cpu *cpu;
    enum optim_rule rule;
    struct cpu_step step;
    float *w, *g, *s1, *s2;
    int64_t n;
    double *piece;              /* sums of squares of w, then of g */
    int64_t n_pieces;
};

static void step_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct optim_ctx *c = ctx_;
    const struct cpu_loops *loops = c->cpu->loops;
    int64_t i = begin * 64, n = (end * 64 < c->n ? end * 64 : c->n) - i;
    (void)part;
    switch (c->rule) {
    case RULE_SGD:
        loops->sgd(&c->step, c->w + i, c->g + i, c->s1 + i, n);
        break;
    case RULE_LARS:
        loops->lars(&c->step, c->w + i, c->g + i, c->s1 + i, n);
        break;
    case RULE_ADAMW:
        loops->adamw(&c->step, c->w + i, c->g + i, c->s1 + i, c->s2 + i, n);
        break;
    case RULE_RMSPROP:
        loops->rmsprop(&c->step, c->w + i, c->g + i, c->s1 + i, c->s2 + i, n);
        break;
    }
}

static void run_step(struct cpu *cpu, struct optim_ctx *c)
{
    int64_t blocks = (c->n + 63) / 64;
    cpu_parallel(cpu, cpu_parts(cpu, blocks, 64), blocks, step_range, c);
}

static void squares_range(void *ctx_, int part, int64_t begin, int64_t end)
{
    struct optim_ctx *c = ctx_;
    (void)part;
    for (int64_t p = begin; p < end; p++) {
        int64_t i = p * PIECE, n = c->n - i < PIECE ? c->n - i : PIECE;
        c->piece[p] = c->cpu->loops->dot(c->w + i, c->w + i, n);
        c->piece[c->n_pieces + p] = c->cpu->loops->dot(c->g + i, c->g + i, n);
    }
}

static int norms(struct cpu *cpu, struct optim_ctx *c, double *w_norm, double *g_norm,
                 struct bk_error *err)
{
    c->n_pieces = (c->n + PIECE - 1) / PIECE;
    int rc = cpu_scratch(cpu, CPU_SCRATCH_SUMS, (size_t)(2 * c->n_pieces) * sizeof(double), &c->piece,
                         err);
    if (rc)
        return rc;
    cpu_parallel(cpu, cpu_parts(cpu, c->n_pieces, PIECE), c->n_pieces, squares_range, c);
    double w = 0, g = 0;
    for (int64_t p = 0; p < c->n_pieces; p++) {
        w += c->piece[p];
        g += c->piece[c->n_pieces + p];
    }
    *w_norm = sqrt(w);
    *g_norm = sqrt(g);
    return BK_OK;
}

static bool is_zero_everywhere(const float *g, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (g[i] != 0)
            return false;
    return true;
}

/* Operands; false when the gradient is zero and such tensors are to be left alone. */
static bool set_operands(struct cpu *cpu, const struct bk_kernel_args *args, enum optim_rule rule,
                         struct optim_ctx *c)
{
    const struct bk_optim_attr *attr = args->attr;
    c->cpu = cpu;
    c->rule = rule;
    c->w = args->out[0]->data;
    c->g = args->in[1]->data;
    c->s1 = args->out[2]->data;
    c->s2 = args->out[3] ? args->out[3]->data : NULL;
    c->n = cpu_numel(args->out[0]);
    c->step = (struct cpu_step){
        .lr = (float)attr->lr,
        .momentum = (float)attr->momentum,
        .decay = attr->excluded ? 0 : (float)attr->weight_decay,
        .beta1 = (float)attr->beta1,
        .beta2 = (float)attr->beta2,
        .eps = (float)attr->eps,
        .first = attr->first,
        .nesterov = attr->nesterov,
    };
    return !(attr->skip_zero && is_zero_everywhere(c->g, c->n));
}

int cpu_sgd_step(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    struct optim_ctx c = { 0 };
    if (set_operands(cpu, args, RULE_SGD, &c))
        run_step(cpu, &c);
    return BK_OK;
}

int cpu_lars_step(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_optim_attr *attr = args->attr;
    struct optim_ctx c = { 0 };
    if (!set_operands(cpu, args, RULE_LARS, &c))
        return BK_OK;
    double lambda = 1;
    if (!attr->excluded) {
        double w, g;
        int rc = norms(cpu, &c, &w, &g, err);
        if (rc)
            return rc;
        if (!attr->zero_guard || (w > 0 && g > 0))
            lambda = attr->trust * w / (g + attr->weight_decay * w);
    }
    c.step.scale = (float)(attr->lr * lambda);
    run_step(cpu, &c);
    return BK_OK;
}

int cpu_adamw_step(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    const struct bk_optim_attr *attr = args->attr;
    struct optim_ctx c = { 0 };
    if (!set_operands(cpu, args, RULE_ADAMW, &c))
        return BK_OK;
    c.step.decay = (float)(1 - attr->lr * (attr->excluded ? 0 : attr->weight_decay));
    c.step.step_size = (float)(attr->lr / attr->bias1);
    c.step.root_bias2 = (float)sqrt(attr->bias2);
    run_step(cpu, &c);
    return BK_OK;
}

int cpu_rmsprop_step(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    (void)err;
    struct optim_ctx c = { 0 };
    if (set_operands(cpu, args, RULE_RMSPROP, &c))
        run_step(cpu, &c);
    return BK_OK;
}

/*
 * ops/batch_norm.c: activation( sum of batch normalisations + residual ).
 *
 * One operation instead of norm, add and activation, because each extra pass over the activations costs as much as the
 * arithmetic (decision records 0004 and 0013). Without activation the residual's gradient is the output's, handed on
 * uncopied. The backward rule keeps inputs and y only; what an activation other than ReLU was applied to is computed again.
 */
#include "ops/op_support.h"
#include <string.h>

/* node: in[0] residual, in[1] y; for term t at 2 + 5 t: x, scale, offset, mean, rstd */
enum { N_SAVED = 5, FIRST_SAVED = 2 };

static int term_targets(struct bk_tape *tape, struct bk_tensor *const *in, struct bk_tensor **out, struct bk_error *err)
{
    BK_TRY(bk__target(tape, in[0], in[0]->dtype, BK__ASSIGN, &out[0], err));
    BK_TRY(bk__target(tape, in[1], in[1]->dtype, BK__ADD, &out[1], err));
    return bk__target(tape, in[2], in[2]->dtype, BK__ADD, &out[2], err);
}

static int backward_residual(struct bk_tape *tape, const struct bk_node *node, bool activated,
                             struct bk_kernel_args *args, struct bk_error *err)
{
    struct bk_tensor *residual = node->in[0];
    if (!residual || !residual->grad)
        return BK_OK;
    if (activated)
        return bk__target(tape, residual, residual->dtype, BK__ASSIGN, &args->out[0], err);
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    return bk__grad_append(tape, residual, dy, err);
}

static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_batch_norm_attr attr;
    memcpy(&attr, node->attr, sizeof attr);
    uint32_t n = (uint32_t)attr.n_terms;
    struct bk_kernel_args args = { .n_in = 6 + 5 * n, .n_out = 1 + 3 * n, .attr = &attr };
    BK_TRY(backward_residual(tape, node, attr.activation != BK_ACT_NONE, &args, err));
    bk_grad_addends(node->y, args.in);
    args.in[4] = node->in[1];
    args.in[5] = node->in[0];
    for (uint32_t t = 0; t < n; t++) {
        struct bk_tensor *const *saved = node->in + FIRST_SAVED + N_SAVED * t;
        for (uint32_t k = 0; k < N_SAVED; k++)
            args.in[6 + N_SAVED * t + k] = saved[k];
        BK_TRY(term_targets(tape, saved, args.out + 1 + 3 * t, err));
    }
    BK_TRY(bk__op_run(tape, BK_K_BATCH_NORM_DX, &args, err));
    BK_TRY(bk__target_done(tape, node->in[0], args.out[0], err));
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t k = 0; k < 3; k++)
            BK_TRY(bk__target_done(tape, node->in[FIRST_SAVED + N_SAVED * t + k], args.out[1 + 3 * t + k], err));
    return BK_OK;
}

static int check_term(const struct bk_tensor *first, const struct bk_norm_term *t, const struct bk_batch_norm_attr *attr,
                      struct bk_error *err)
{
    int64_t C = first->dim[first->rank - 1];
    uint32_t acc = bk_dtype_accum(first->dtype);
    BK_TRY(bk__op_alike(BK_K_BATCH_NORM, first, t->x, err));
    if (!t->scale || !t->offset)
        return bk_fail(err, BK_EINVAL, "batch_norm: a term lacks its scale or offset");
    if (!t->running_mean != !t->running_var || (attr->mode == BK_NORM_RUNNING && !t->running_mean))
        return bk_fail(err, BK_EINVAL, "batch_norm: a term lacks running statistics");
    BK_TRY(bk__op_vector(BK_K_BATCH_NORM, "scale", t->scale, C, acc, err));
    BK_TRY(bk__op_vector(BK_K_BATCH_NORM, "offset", t->offset, C, acc, err));
    BK_TRY(bk__op_vector(BK_K_BATCH_NORM, "running mean", t->running_mean, C, acc, err));
    return bk__op_vector(BK_K_BATCH_NORM, "running variance", t->running_var, C, acc, err);
}

static int check(struct bk_tape *tape, const struct bk_norm_term *terms, int n_terms, const struct bk_tensor *residual,
                 const struct bk_batch_norm_attr *attr, struct bk_error *err)
{
    if (n_terms < 1 || n_terms > BK_NORM_MAX_TERMS)
        return bk_fail(err, BK_EINVAL, "batch_norm: %d terms; legal are 1..%d", n_terms, BK_NORM_MAX_TERMS);
    if (attr->mode != BK_NORM_BATCH && attr->mode != BK_NORM_RUNNING)
        return bk_fail(err, BK_EINVAL, "batch_norm: %d is not a mode", attr->mode);
    if (attr->activation < BK_ACT_NONE || attr->activation > BK_ACT_SIGMOID)
        return bk_fail(err, BK_EINVAL, "batch_norm: activation %d; legal are %d..%d", attr->activation, BK_ACT_NONE,
                       BK_ACT_SIGMOID);
    BK_TRY(bk__op_input(tape, BK_K_BATCH_NORM, terms[0].x, 2, BK_MAX_RANK, err));
    for (int t = 0; t < n_terms; t++)
        BK_TRY(check_term(terms[0].x, &terms[t], attr, err));
    return residual ? bk__op_alike(BK_K_BATCH_NORM, terms[0].x, residual, err) : BK_OK;
}

/* Arguments of term t and what its gradient will need. */
static int prepare_term(struct bk_tape *tape, const struct bk_norm_term *term, bool batch, uint32_t t,
                        struct bk_kernel_args *args, struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor **saved = node->in + FIRST_SAVED + N_SAVED * t, **out = args->out + 1 + 4 * t;
    const struct bk_tensor **in = args->in + 1 + 5 * t;
    saved[0] = term->x;
    saved[1] = term->scale;
    saved[2] = term->offset;
    BK_TRY(bk__op_like(tape, term->scale, 0, &saved[3], err));
    BK_TRY(bk__op_like(tape, term->scale, 0, &saved[4], err));
    in[0] = term->x;
    in[1] = term->scale;
    in[2] = term->offset;
    in[3] = term->running_mean;
    in[4] = term->running_var;
    out[0] = saved[3];
    out[1] = saved[4];
    out[2] = batch ? term->running_mean : NULL;
    out[3] = batch ? term->running_var : NULL;
    return BK_OK;
}

int bk_batch_norm(struct bk_tape *tape, const struct bk_norm_term *terms, int n_terms, struct bk_tensor *residual,
                  const struct bk_batch_norm_attr *attr, struct bk_tensor **y, struct bk_error *err)
{
    BK_TRY(check(tape, terms, n_terms, residual, attr, err));
    struct bk_batch_norm_attr own = *attr;
    uint32_t n = (uint32_t)n_terms;
    struct bk_kernel_args args = { .in = { residual }, .n_in = 1 + 5 * n, .n_out = 1 + 4 * n, .attr = &own };
    struct bk_node node = { .backward = backward, .n_in = FIRST_SAVED + N_SAVED * n };
    bool wanted = bk_needs_grad(tape, residual);
    own.n_terms = n_terms;
    BK_TRY(bk__op_like(tape, terms[0].x, 0, &node.y, err));
    args.out[0] = node.in[1] = node.y;
    node.in[0] = residual;
    for (uint32_t t = 0; t < n; t++) {
        BK_TRY(prepare_term(tape, &terms[t], attr->mode == BK_NORM_BATCH, t, &args, &node, err));
        wanted |= bk_needs_grad(tape, terms[t].x) || bk_needs_grad(tape, terms[t].scale) ||
                  bk_needs_grad(tape, terms[t].offset);
    }
    BK_TRY(bk__op_run(tape, BK_K_BATCH_NORM, &args, err));
    if (wanted)
        BK_TRY(bk__op_push(tape, &node, &own, sizeof own, err));
    *y = node.y;
    return BK_OK;
}

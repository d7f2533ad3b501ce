/*
 * ops/pooled_head.c: global pooling of a normalised 1x1 convolution without its [N,H,W,K] tensor.
 *
 * The identity and its gradient are in decision record 0003 and, as formulas, in ref_pooled_head.c. With running
 * statistics there is no gradient: only rating and evaluation use that mode.
 */
#include "ops/op_support.h"

/* node: in = x, w, scale, offset, m, mu, S, rstd */
static int backward(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    struct bk_tensor *const *in = node->in;
    struct bk_tensor *d[4];
    const struct bk_tensor *dy;
    BK_TRY(bk_grad_sum(tape, node->y, &dy, err));
    BK_TRY(bk__target(tape, in[0], in[0]->dtype, BK__ASSIGN, &d[0], err));
    for (int i = 1; i < 4; i++)
        BK_TRY(bk__target(tape, in[i], in[i]->dtype, BK__ADD, &d[i], err));
    struct bk_kernel_args args = {
        .in = { dy, in[0], in[1], in[2], in[4], in[5], in[6], in[7] },
        .out = { d[0], d[1], d[2], d[3] }, .n_in = 8, .n_out = 4, .attr = node->attr,
    };
    BK_TRY(bk__op_run(tape, BK_K_POOLED_HEAD_DX, &args, err));
    for (int i = 0; i < 4; i++)
        BK_TRY(bk__target_done(tape, in[i], d[i], err));
    return BK_OK;
}

static int check(struct bk_tape *tape, const struct bk_tensor *x, const struct bk_tensor *w,
                 const struct bk_norm_term *norm, const struct bk_batch_norm_attr *attr, struct bk_error *err)
{
    char a[96], b[96];
    uint32_t acc = bk_dtype_accum(x->dtype);
    BK_TRY(bk__op_input(tape, BK_K_POOLED_HEAD, x, 4, 4, err));
    if (w->rank != 2 || w->dim[1] != x->dim[3] || w->dtype != acc)
        return bk_fail(err, BK_ESHAPE, "pooled_head: weight %s does not fit input %s; it must be [K,%lld] %s",
                       bk_tensor_describe(w, a), bk_tensor_describe(x, b), (long long)x->dim[3], bk_dtype_name(acc));
    if (attr->activation || (attr->mode != BK_NORM_BATCH && attr->mode != BK_NORM_RUNNING))
        return bk_fail(err, BK_EINVAL, "pooled_head: activation %d, mode %d; legal are none and a norm mode", attr->activation,
                       attr->mode);
    if (!norm->scale || !norm->offset || !norm->running_mean != !norm->running_var ||
        (attr->mode == BK_NORM_RUNNING && !norm->running_mean))
        return bk_fail(err, BK_EINVAL, "pooled_head: the norm lacks scale, offset or running statistics");
    BK_TRY(bk__op_vector(BK_K_POOLED_HEAD, "scale", norm->scale, w->dim[0], acc, err));
    BK_TRY(bk__op_vector(BK_K_POOLED_HEAD, "offset", norm->offset, w->dim[0], acc, err));
    BK_TRY(bk__op_vector(BK_K_POOLED_HEAD, "running mean", norm->running_mean, w->dim[0], acc, err));
    return bk__op_vector(BK_K_POOLED_HEAD, "running variance", norm->running_var, w->dim[0], acc, err);
}

/* y, then what the gradient needs: m [N,C], mu [C], S [C,C], rstd [K] */
static int outputs(struct bk_tape *tape, const struct bk_tensor *x, const struct bk_tensor *w, struct bk_tensor **out,
                   struct bk_error *err)
{
    uint32_t acc = bk_dtype_accum(x->dtype);
    int64_t N = x->dim[0], C = x->dim[3], K = w->dim[0];
    BK_TRY(bk_tape_tensor(tape, x->dtype, 2, (int64_t[]){ N, K }, &out[0], err));
    BK_TRY(bk_tape_tensor(tape, acc, 2, (int64_t[]){ N, C }, &out[1], err));
    BK_TRY(bk_tape_tensor(tape, acc, 1, &C, &out[2], err));
    BK_TRY(bk_tape_tensor(tape, acc, 2, (int64_t[]){ C, C }, &out[3], err));
    return bk_tape_tensor(tape, acc, 1, &K, &out[4], err);
}

int bk_pooled_head(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *w, const struct bk_norm_term *norm,
                   const struct bk_batch_norm_attr *attr, struct bk_tensor **y, struct bk_error *err)
{
    BK_TRY(check(tape, x, w, norm, attr, err));
    struct bk_batch_norm_attr own = *attr;
    own.n_terms = 1;
    bool batch = attr->mode == BK_NORM_BATCH;
    bool wanted = bk_needs_grad(tape, x) || bk_needs_grad(tape, w) || bk_needs_grad(tape, norm->scale) ||
                  bk_needs_grad(tape, norm->offset);
    if (wanted && !batch)
        return bk_fail(err, BK_ENOTSUP, "pooled_head: no gradient with running statistics; stop recording first");
    struct bk_kernel_args args = {
        .in = { x, w, norm->scale, norm->offset, norm->running_mean, norm->running_var },
        .n_in = 6, .n_out = 7, .attr = &own,
    };
    BK_TRY(outputs(tape, x, w, args.out, err));
    args.out[5] = batch ? norm->running_mean : NULL;
    args.out[6] = batch ? norm->running_var : NULL;
    BK_TRY(bk__op_run(tape, BK_K_POOLED_HEAD, &args, err));
    if (wanted) {
        struct bk_node node = {
            .backward = backward, .n_in = 8, .y = args.out[0],
            .in = { x, w, norm->scale, norm->offset, args.out[1], args.out[2], args.out[3], args.out[4] },
        };
        BK_TRY(bk__op_push(tape, &node, &own, sizeof own, err));
    }
    *y = args.out[0];
    return BK_OK;
}

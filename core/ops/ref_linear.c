/*
 * ops/ref_linear.c: y = x w' + bias and its gradients. Letters: R rows, I inputs, O outputs; w is [O,I].
 */
#include "ops/ref.h"

int bk__ref_linear(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *x = bk__ref_load(r, a->in[0]), *w = bk__ref_load(r, a->in[1]), *bias = bk__ref_load(r, a->in[2]);
    int64_t R = bk__rows(a->in[0]), O = a->in[1]->dim[0], I = a->in[1]->dim[1];
    double *y = bk__ref_new(r, R * O);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < R; n++)
        for (int64_t o = 0; o < O; o++) {
            double sum = bias ? bias[o] : 0;
            for (int64_t i = 0; i < I; i++)
                sum += x[n * I + i] * w[o * I + i];
            y[n * O + o] = sum;
        }
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

int bk__ref_linear_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *dy = bk__ref_load(r, a->in[0]), *w = bk__ref_load(r, a->in[1]);
    int64_t R = bk__rows(a->in[0]), O = a->in[1]->dim[0], I = a->in[1]->dim[1];
    double *dx = bk__ref_new(r, R * I);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < R; n++)
        for (int64_t o = 0; o < O; o++)
            for (int64_t i = 0; i < I; i++)
                dx[n * I + i] += dy[n * O + o] * w[o * I + i];
    bk__ref_store(a->out[0], dx);
    return BK_OK;
}

int bk__ref_linear_dw(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_tensor *xt = a->in[0], *dyt = a->in[1];
    double *x = bk__ref_load(r, xt), *dy = bk__ref_load(r, dyt);
    int64_t R = bk__rows(xt), O = dyt->dim[dyt->rank - 1], I = xt->dim[xt->rank - 1];
    double *dw = bk__ref_new(r, O * I), *dbias = bk__ref_new(r, O);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < R; n++)
        for (int64_t o = 0; o < O; o++) {
            dbias[o] += dy[n * O + o];
            for (int64_t i = 0; i < I; i++)
                dw[o * I + i] += dy[n * O + o] * x[n * I + i];
        }
    bk__ref_accumulate(a->out[0], dw);
    bk__ref_accumulate(a->out[1], dbias);
    return BK_OK;
}

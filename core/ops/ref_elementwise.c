/*
 * ops/ref_elementwise.c: reference kernels that look at one element at a time: ReLU, sums, conversion, slices, blends.
 */
#include "ops/ref.h"

int bk__ref_relu(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *x = bk__ref_load(r, a->in[0]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[0]); i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

int bk__ref_relu_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *g = bk__ref_load_sum(r, a->in, BK_MAX_ADDENDS), *y = bk__ref_load(r, a->in[4]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[4]); i < n; i++)
        g[i] = y[i] > 0 ? g[i] : 0;
    bk__ref_store(a->out[0], g);
    return BK_OK;
}

int bk__ref_add(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_add_attr *attr = a->attr;
    double *y = bk__ref_load_sum(r, a->in, BK_MAX_ADDENDS);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->out[0]); attr->relu && i < n; i++)
        y[i] = y[i] < 0 ? 0 : y[i];
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

int bk__ref_cast(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *x = bk__ref_load(r, a->in[0]);
    BK_TRY(bk__ref_check(r));
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

int bk__ref_blend(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_blend_attr *attr = a->attr;
    double *y = bk__ref_load(r, a->in[0]), *x = bk__ref_load(r, a->in[1]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->out[0]); i < n; i++)
        y[i] = attr->a * y[i] + attr->b * x[i];
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

/* Where element i of the leading slice `part` lies in `whole`. */
static int64_t place(const struct bk_tensor *whole, const struct bk_tensor *part, int64_t i)
{
    int64_t at = 0, stride = 1;
    for (uint32_t d = part->rank; d-- > 0;) {
        at += i % part->dim[d] * stride;
        stride *= whole->dim[d];
        i /= part->dim[d];
    }
    return at;
}

int bk__ref_slice(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *w = bk__ref_load(r, a->in[0]);
    int64_t n = bk_tensor_numel(a->out[0]);
    double *v = bk__ref_new(r, n);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < n; i++)
        v[i] = w[place(a->in[0], a->out[0], i)];
    bk__ref_store(a->out[0], v);
    return BK_OK;
}

int bk__ref_slice_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *dv = bk__ref_load(r, a->in[0]), *dw = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0, n = bk_tensor_numel(a->in[0]); i < n; i++)
        dw[place(a->out[0], a->in[0], i)] = dv[i];
    bk__ref_accumulate(a->out[0], dw);
    return BK_OK;
}

/*
 * ops/ref_loss.c: unit rows, the cosine loss, cross entropies and the squared error. Letters: B rows, D columns, O classes.
 */
#include "ops/ref.h"
#include <math.h>

#define SHORTEST 1e-12

static double length(const double *v, int64_t D)
{
    double sum = 0;
    for (int64_t i = 0; i < D; i++)
        sum += v[i] * v[i];
    return sqrt(sum);
}

static void to_unit(double *v, int64_t D)
{
    double l = length(v, D);
    for (int64_t i = 0; i < D; i++)
        v[i] /= l > SHORTEST ? l : SHORTEST;
}

int bk__ref_unit(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t R = bk__rows(a->in[0]), D = a->in[0]->dim[a->in[0]->rank - 1];
    double *x = bk__ref_load(r, a->in[0]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < R; i++)
        to_unit(x + i * D, D);
    bk__ref_store(a->out[0], x);
    return BK_OK;
}

int bk__ref_cosine_loss(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t B = a->in[0]->dim[0], D = a->in[0]->dim[1];
    double *u = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), loss = 0;
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < B; n++) {
        to_unit(u + n * D, D);
        to_unit(t + n * D, D);
        for (int64_t i = 0; i < D; i++)
            loss -= 2 * u[n * D + i] * t[n * D + i] / (double)B;
    }
    bk__ref_store(a->out[0], &loss);
    return BK_OK;
}

/* d unit(u) = (I - uh uh') / |u|; below the shortest length unit() is linear. */
int bk__ref_cosine_loss_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t B = a->in[0]->dim[0], D = a->in[0]->dim[1];
    double *u = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), *dloss = bk__ref_load(r, a->in[2]);
    double *du = bk__ref_new(r, B * D);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < B; n++) {
        double *un = u + n * D, *tn = t + n * D, l = length(un, D), c = 0;
        bool linear = l <= SHORTEST;
        to_unit(un, D);
        to_unit(tn, D);
        for (int64_t i = 0; i < D && !linear; i++)
            c += un[i] * tn[i];
        for (int64_t i = 0; i < D; i++)
            du[n * D + i] = -2 * *dloss / (double)B * (tn[i] - c * un[i]) / (linear ? SHORTEST : l);
    }
    bk__ref_store(a->out[0], du);
    return BK_OK;
}

static int check_labels(struct bk__ref *r, const struct bk_tensor *labels, int64_t O)
{
    const int32_t *l = labels->data;
    for (int64_t n = 0; n < labels->dim[0]; n++)
        if (l[n] < 0 || l[n] >= O)
            return bk_fail(r->err, BK_EINVAL, "label %d of row %lld is outside 0..%lld", l[n], (long long)n,
                           (long long)O - 1);
    return BK_OK;
}

/* q_o = (1 - s) [o is the label] + s / O */
static double wanted(double s, int64_t O, bool is_label)
{
    return (is_label ? 1 - s : 0) + s / (double)O;
}

static void to_log_softmax(double *v, int64_t O)
{
    double top = v[0], sum = 0;
    for (int64_t o = 1; o < O; o++)
        top = v[o] > top ? v[o] : top;
    for (int64_t o = 0; o < O; o++)
        sum += exp(v[o] - top);
    for (int64_t o = 0; o < O; o++)
        v[o] -= top + log(sum);
}

int bk__ref_cross_entropy(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_cross_entropy_attr *attr = a->attr;
    int64_t B = a->in[0]->dim[0], O = a->in[0]->dim[1];
    const int32_t *label = a->in[1]->data;
    double *p = bk__ref_load(r, a->in[0]), loss = 0;
    BK_TRY(bk__ref_check(r));
    BK_TRY(check_labels(r, a->in[1], O));
    for (int64_t n = 0; n < B; n++) {
        double *pn = p + n * O;
        to_log_softmax(pn, O);
        for (int64_t o = 0; o < O; o++) {
            loss -= wanted(attr->label_smoothing, O, o == label[n]) * pn[o] / (double)B;
            pn[o] = exp(pn[o]);
        }
    }
    bk__ref_store(a->out[0], &loss);
    bk__ref_store(a->out[1], p);
    return BK_OK;
}

int bk__ref_cross_entropy_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_cross_entropy_attr *attr = a->attr;
    int64_t B = a->in[0]->dim[0], O = a->in[0]->dim[1];
    const int32_t *label = a->in[1]->data;
    double *p = bk__ref_load(r, a->in[0]), *dloss = bk__ref_load(r, a->in[2]);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < B; n++)
        for (int64_t o = 0; o < O; o++)
            p[n * O + o] = *dloss / (double)B *
                           (p[n * O + o] - wanted(attr->label_smoothing, O, o == label[n]));
    bk__ref_store(a->out[0], p);
    return BK_OK;
}

int bk__ref_soft_cross_entropy(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t B = a->in[0]->dim[0], O = a->in[0]->dim[1];
    double *p = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), loss = 0;
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < B; n++)
        to_log_softmax(p + n * O, O);
    for (int64_t i = 0; i < B * O; i++) {
        loss -= t[i] * p[i] / (double)B;
        p[i] = exp(p[i]);
    }
    bk__ref_store(a->out[0], &loss);
    bk__ref_store(a->out[1], p);
    return BK_OK;
}

/* For rows of the target that sum to 1. */
int bk__ref_soft_cross_entropy_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t B = a->in[0]->dim[0], n = bk_tensor_numel(a->in[0]);
    double *p = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), *dloss = bk__ref_load(r, a->in[2]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < n; i++)
        p[i] = *dloss / (double)B * (p[i] - t[i]);
    bk__ref_store(a->out[0], p);
    return BK_OK;
}

int bk__ref_mse_loss(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t n = bk_tensor_numel(a->in[0]);
    double *y = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), loss = 0;
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < n; i++)
        loss += (y[i] - t[i]) * (y[i] - t[i]) / (double)n;
    bk__ref_store(a->out[0], &loss);
    return BK_OK;
}

int bk__ref_mse_loss_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    int64_t n = bk_tensor_numel(a->in[0]);
    double *y = bk__ref_load(r, a->in[0]), *t = bk__ref_load(r, a->in[1]), *dloss = bk__ref_load(r, a->in[2]);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; i < n; i++)
        y[i] = 2 * *dloss / (double)n * (y[i] - t[i]);
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

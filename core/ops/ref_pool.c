/*
 * ops/ref_pool.c: average, maximum and global pooling as their definitions read.
 *
 * Letters: window taps (r, c) inside the image only; y is [N,Ho,Wo,C].
 */
#include "ops/ref.h"

/* The taps of output (p, q) that lie inside an image of h x w: rows r0..r1-1, columns c0..c1-1. */
struct window {
    int64_t r0, r1, c0, c1;
};

static struct window window_of(const struct bk_tensor *x, const struct bk_pool2d_attr *attr, int64_t p, int64_t q)
{
    int64_t r = p * attr->stride - attr->pad, c = q * attr->stride - attr->pad;
    return (struct window){
        r > 0 ? r : 0, r + attr->size < x->dim[1] ? r + attr->size : x->dim[1],
        c > 0 ? c : 0, c + attr->size < x->dim[2] ? c + attr->size : x->dim[2],
    };
}

/* What one output does: x and y are at image n, channel k; `step` is the distance between pixels. */
typedef void (*window_fn)(double *x, double *y, double *extra, struct window v, int64_t width, int64_t step);

static void average(double *x, double *y, double *extra, struct window v, int64_t width, int64_t step)
{
    (void)extra;
    double taps = (double)((v.r1 - v.r0) * (v.c1 - v.c0));
    for (int64_t r = v.r0; r < v.r1; r++)
        for (int64_t c = v.c0; c < v.c1; c++)
            *y += x[(r * width + c) * step] / taps;
}

static void spread(double *dx, double *dy, double *extra, struct window v, int64_t width, int64_t step)
{
    (void)extra;
    double taps = (double)((v.r1 - v.r0) * (v.c1 - v.c0));
    for (int64_t r = v.r0; r < v.r1; r++)
        for (int64_t c = v.c0; c < v.c1; c++)
            dx[(r * width + c) * step] += *dy / taps;
}

static int64_t first_maximum(const double *x, struct window v, int64_t width, int64_t step)
{
    int64_t best = (v.r0 * width + v.c0) * step;
    for (int64_t r = v.r0; r < v.r1; r++)
        for (int64_t c = v.c0; c < v.c1; c++)
            if (x[(r * width + c) * step] > x[best])
                best = (r * width + c) * step;
    return best;
}

static void maximum(double *x, double *y, double *extra, struct window v, int64_t width, int64_t step)
{
    (void)extra;
    *y = x[first_maximum(x, v, width, step)];
}

static void route(double *x, double *dy, double *dx, struct window v, int64_t width, int64_t step)
{
    dx[first_maximum(x, v, width, step)] += *dy;
}

/* xt and yt give the shapes; extra (may be NULL) is shaped like x. */
static void walk(const struct bk_tensor *xt, const struct bk_tensor *yt, const struct bk_pool2d_attr *attr, double *x,
                 double *y, double *extra, window_fn visit)
{
    int64_t image = xt->dim[1] * xt->dim[2] * xt->dim[3], C = xt->dim[3];
    for (int64_t n = 0; n < yt->dim[0]; n++)
        for (int64_t p = 0; p < yt->dim[1]; p++)
            for (int64_t q = 0; q < yt->dim[2]; q++)
                for (int64_t k = 0; k < C; k++)
                    visit(x + n * image + k, y + ((n * yt->dim[1] + p) * yt->dim[2] + q) * C + k,
                          extra ? extra + n * image + k : NULL, window_of(xt, attr, p, q), xt->dim[2], C);
}

static int forward(struct bk__ref *r, const struct bk_kernel_args *a, window_fn visit)
{
    double *x = bk__ref_load(r, a->in[0]), *y = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    BK_TRY(bk__ref_check(r));
    walk(a->in[0], a->out[0], a->attr, x, y, NULL, visit);
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

int bk__ref_avg_pool2d(struct bk__ref *r, const struct bk_kernel_args *a)
{
    return forward(r, a, average);
}

int bk__ref_max_pool2d(struct bk__ref *r, const struct bk_kernel_args *a)
{
    return forward(r, a, maximum);
}

int bk__ref_avg_pool2d_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *dy = bk__ref_load(r, a->in[0]), *dx = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    BK_TRY(bk__ref_check(r));
    walk(a->out[0], a->in[0], a->attr, dx, dy, NULL, spread);
    bk__ref_store(a->out[0], dx);
    return BK_OK;
}

int bk__ref_max_pool2d_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *x = bk__ref_load(r, a->in[0]), *dy = bk__ref_load(r, a->in[2]);
    double *dx = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    BK_TRY(bk__ref_check(r));
    walk(a->in[0], a->in[2], a->attr, x, dy, dx, route);
    bk__ref_store(a->out[0], dx);
    return BK_OK;
}

int bk__ref_global_pool(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_tensor *x = a->in[0];
    int64_t N = x->dim[0], P = x->dim[1] * x->dim[2], C = x->dim[3];
    double *v = bk__ref_load(r, x), *y = bk__ref_new(r, N * C);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t c = 0; c < C; c++)
                y[n * C + c] += v[(n * P + p) * C + c] / (double)P;
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

int bk__ref_global_pool_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_tensor *x = a->out[0];
    int64_t N = x->dim[0], P = x->dim[1] * x->dim[2], C = x->dim[3];
    double *dy = bk__ref_load(r, a->in[0]), *dx = bk__ref_new(r, N * P * C);
    BK_TRY(bk__ref_check(r));
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t c = 0; c < C; c++)
                dx[(n * P + p) * C + c] = dy[n * C + c] / (double)P;
    bk__ref_store(a->out[0], dx);
    return BK_OK;
}

/*
 * ops/ref_conv2d.c: convolution and its two gradients as the definition reads.
 *
 * Letters: N images, Ho Wo outputs, Co Ci channels, G groups, (i, j) a tap; x is NHWC, w is [Co,Kh,Kw,Ci/G]. All three
 * kernels visit the same (output, tap) pairs; `walk` enumerates them once.
 */
#include "ops/ref.h"

struct geometry {
    int64_t n, h, w, ci, ho, wo, co, kh, kw, cg, og, stride, pad;
};

static struct geometry geometry_of(const struct bk_tensor *x, const struct bk_tensor *w, const struct bk_tensor *y,
                                   const struct bk_conv2d_attr *attr)
{
    return (struct geometry){
        .n = x->dim[0], .h = x->dim[1], .w = x->dim[2], .ci = x->dim[3], .ho = y->dim[1], .wo = y->dim[2],
        .co = w->dim[0], .kh = w->dim[1], .kw = w->dim[2], .cg = w->dim[3], .og = w->dim[0] / attr->groups,
        .stride = attr->stride, .pad = attr->pad,
    };
}

/* What one (output, tap) pair does with its cg channels of x and of w. */
typedef void (*tap_fn)(double *x, double *w, double *y, int64_t cg);

static void tap_forward(double *x, double *w, double *y, int64_t cg)
{
    for (int64_t c = 0; c < cg; c++)
        *y += x[c] * w[c];
}

static void tap_dx(double *dx, double *w, double *dy, int64_t cg)
{
    for (int64_t c = 0; c < cg; c++)
        dx[c] += *dy * w[c];
}

static void tap_dw(double *x, double *dw, double *dy, int64_t cg)
{
    for (int64_t c = 0; c < cg; c++)
        dw[c] += *dy * x[c];
}

static void one_output(const struct geometry *g, double *image, double *w, double *y, int64_t p, int64_t q, int64_t o,
                       tap_fn tap)
{
    for (int64_t i = 0; i < g->kh; i++)
        for (int64_t j = 0; j < g->kw; j++) {
            int64_t r = p * g->stride - g->pad + i, c = q * g->stride - g->pad + j;
            if (r < 0 || r >= g->h || c < 0 || c >= g->w)
                continue;
            tap(image + (r * g->w + c) * g->ci + o / g->og * g->cg, w + ((o * g->kh + i) * g->kw + j) * g->cg, y, g->cg);
        }
}

static void walk(const struct geometry *g, double *x, double *w, double *y, tap_fn tap)
{
    for (int64_t n = 0; n < g->n; n++)
        for (int64_t p = 0; p < g->ho; p++)
            for (int64_t q = 0; q < g->wo; q++)
                for (int64_t o = 0; o < g->co; o++)
                    one_output(g, x + n * g->h * g->w * g->ci, w, y + ((n * g->ho + p) * g->wo + q) * g->co + o, p, q,
                               o, tap);
}

int bk__ref_conv2d(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct geometry g = geometry_of(a->in[0], a->in[1], a->out[0], a->attr);
    double *x = bk__ref_load(r, a->in[0]), *w = bk__ref_load(r, a->in[1]), *bias = bk__ref_load(r, a->in[2]);
    int64_t n = bk_tensor_numel(a->out[0]);
    double *y = bk__ref_new(r, n);
    BK_TRY(bk__ref_check(r));
    for (int64_t i = 0; bias && i < n; i++)
        y[i] = bias[i % g.co];
    walk(&g, x, w, y, tap_forward);
    bk__ref_store(a->out[0], y);
    return BK_OK;
}

int bk__ref_conv2d_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct geometry g = geometry_of(a->out[0], a->in[1], a->in[0], a->attr);
    double *dy = bk__ref_load(r, a->in[0]), *w = bk__ref_load(r, a->in[1]);
    double *dx = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    BK_TRY(bk__ref_check(r));
    walk(&g, dx, w, dy, tap_dx);
    bk__ref_store(a->out[0], dx);
    return BK_OK;
}

int bk__ref_conv2d_dw(struct bk__ref *r, const struct bk_kernel_args *a)
{
    const struct bk_conv2d_attr *attr = a->attr;
    const struct geometry g = geometry_of(a->in[0], a->out[0], a->in[1], attr);
    double *x = bk__ref_load(r, a->in[0]), *dy = bk__ref_load(r, a->in[1]);
    double *dw = bk__ref_new(r, bk_tensor_numel(a->out[0])), *dbias = bk__ref_new(r, g.co);
    BK_TRY(bk__ref_check(r));
    walk(&g, x, dw, dy, tap_dw);
    for (int64_t i = 0, n = bk_tensor_numel(a->in[1]); i < n; i++)
        dbias[i % g.co] += dy[i];
    void (*finish)(struct bk_tensor *, const double *) = attr->accumulate ? bk__ref_accumulate : bk__ref_store;
    finish(a->out[0], dw);
    finish(a->out[1], dbias);
    return BK_OK;
}

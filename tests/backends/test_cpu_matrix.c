/* The cpu backend's convolutions, linear maps and pooled head against plain loops in double. */
#include "backends/cpu_fixture.h"

struct conv_case {
    int64_t n, h, w, ci, co, k;
    int32_t stride, pad, groups;
};

static const struct conv_case conv_cases[] = {
    { 2, 7, 9, 16, 32, 3, 1, 1, 1 },   { 3, 8, 8, 8, 24, 3, 1, 1, 1 },
    { 2, 9, 7, 24, 40, 3, 2, 1, 1 },   { 2, 8, 8, 3, 16, 3, 1, 1, 1 },
    { 4, 6, 5, 40, 17, 1, 1, 0, 1 },   { 2, 8, 8, 24, 16, 1, 2, 0, 1 },
    { 2, 9, 8, 24, 24, 3, 1, 1, 24 },  { 2, 11, 9, 40, 40, 5, 2, 2, 40 },
    { 3, 8, 7, 20, 20, 7, 1, 3, 20 },  { 2, 6, 6, 16, 32, 3, 1, 1, 4 },
};

#define AT4(a, i, j, k, l) ((((i) * (a).t.dim[1] + (j)) * (a).t.dim[2] + (k)) * (a).t.dim[3] + (l))

enum { FORWARD, DATA, WEIGHTS };

/* One visit of every product x w -> y; pass says which of the three is summed up. */
static void conv_loops(const struct conv_case *c, const struct values *x, const struct values *w,
                       const struct values *y, int pass, double *out)
{
    int64_t ci = c->ci / c->groups, co = c->co / c->groups;
    for (int64_t n = 0; n < c->n; n++)
    for (int64_t oh = 0; oh < y->t.dim[1]; oh++)
    for (int64_t ow = 0; ow < y->t.dim[2]; ow++)
    for (int64_t o = 0; o < c->co; o++)
    for (int64_t a = 0; a < c->k; a++)
    for (int64_t b = 0; b < c->k; b++) {
        int64_t ih = oh * c->stride - c->pad + a, iw = ow * c->stride - c->pad + b;
        if (ih < 0 || ih >= c->h || iw < 0 || iw >= c->w)
            continue;
        for (int64_t i = 0; i < ci; i++) {
            int64_t xi = AT4(*x, n, ih, iw, o / co * ci + i), wi = AT4(*w, o, a, b, i);
            int64_t yi = AT4(*y, n, oh, ow, o);
            if (pass == FORWARD)
                out[yi] += x->v[xi] * w->v[wi];
            else if (pass == DATA)
                out[xi] += y->v[yi] * w->v[wi];
            else
                out[wi] += y->v[yi] * x->v[xi];
        }
    }
}

static void check_conv(const struct conv_case *c, uint32_t dtype)
{
    struct bk_conv2d_attr attr = { c->stride, c->pad, c->groups, 0 };
    int64_t ho = (c->h + 2 * c->pad - c->k) / c->stride + 1, wo = (c->w + 2 * c->pad - c->k) / c->stride + 1;
    struct values x = values_new(dtype, c->n, c->h, c->w, c->ci, 0, 1);
    struct values w = values_new(dtype, c->co, c->k, c->k, c->ci / c->groups, 0, 1);
    struct values bias = values_new(BK_F32, c->co, 0, 0, 0, 0, 1);
    struct values y = values_new(dtype, c->n, ho, wo, c->co, 0, 0);
    struct values dy = values_new(dtype, c->n, ho, wo, c->co, 0, 1);
    struct values dx = values_new(dtype, c->n, c->h, c->w, c->ci, 0, 1);
    struct values dw = values_new(BK_F32, c->co, c->k, c->k, c->ci / c->groups, 0, 1);
    struct values dbias = values_new(BK_F32, c->co, 0, 0, 0, 0, 1);
    double *want = calloc(x.n + y.n + w.n + (size_t)c->co, sizeof *want);

    for (int with_bias = 0; with_bias < 2; with_bias++) {
        memset(want, 0, y.n * sizeof *want);
        conv_loops(c, &x, &w, &y, FORWARD, want);
        for (size_t i = 0; with_bias && i < y.n; i++)
            want[i] += bias.v[i % (size_t)c->co];
        run_kernel(BK_K_CONV2D, &(struct bk_kernel_args){ .in = { &x.t, &w.t, with_bias ? &bias.t : NULL },
                                                          .out = { &y.t }, .n_in = 3, .n_out = 1, .attr = &attr });
        ASSERT_NEAR(&y, want, tolerance(dtype));
    }
    memset(want, 0, x.n * sizeof *want);
    conv_loops(c, &x, &w, &dy, DATA, want);
    run_kernel(BK_K_CONV2D_DX, &(struct bk_kernel_args){ .in = { &dy.t, &w.t }, .out = { &dx.t },
                                                         .n_in = 2, .n_out = 1, .attr = &attr });
    ASSERT_NEAR(&dx, want, tolerance(dtype));

    double *want_bias = want + w.n;
    for (attr.accumulate = 0; attr.accumulate < 2; attr.accumulate++) {
        memset(want, 0, (w.n + (size_t)c->co) * sizeof *want);
        for (size_t i = 0; attr.accumulate && i < w.n; i++)
            want[i] = values_get(&dw, i);
        for (size_t i = 0; attr.accumulate && i < (size_t)c->co; i++)
            want_bias[i] = values_get(&dbias, i);
        conv_loops(c, &x, &w, &dy, WEIGHTS, want);
        for (size_t i = 0; i < dy.n; i++)
            want_bias[i % (size_t)c->co] += dy.v[i];
        run_kernel(BK_K_CONV2D_DW, &(struct bk_kernel_args){ .in = { &x.t, &dy.t }, .out = { &dw.t, &dbias.t },
                                                             .n_in = 2, .n_out = 2, .attr = &attr });
        ASSERT_NEAR(&dw, want, 2e-5);
        ASSERT_NEAR(&dbias, want_bias, 2e-5);
    }
    free(want);
    struct values *all[] = { &x, &w, &bias, &y, &dy, &dx, &dw, &dbias };
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        values_free(all[i]);
}

static void test_convolution(void)
{
    CPU_OPEN(2);
    for (size_t i = 0; i < BK_ARRAY_LEN(conv_cases); i++)
        for (int t = 0; t < 2; t++)
            if (cpu_iface->supports(cpu_state, BK_K_CONV2D, act_types[t]))
                check_conv(&conv_cases[i], act_types[t]);
    cpu_close();
}

/* C [m,n] += sum over k of a(i,k) b(k,j) with element strides. */
static void product(int64_t m, int64_t n, int64_t k, const double *a, int64_t ar, int64_t ac,
                    const double *b, int64_t br, int64_t bc, double *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t p = 0; p < k; p++)
                c[i * n + j] += a[i * ar + p * ac] * b[p * br + j * bc];
}

static void check_linear(uint32_t dtype, int64_t r, int64_t in, int64_t o)
{
    struct values x = values_new(dtype, r, in, 0, 0, 0, 1), w = values_new(dtype, o, in, 0, 0, 0, 1);
    struct values bias = values_new(BK_F32, o, 0, 0, 0, 0, 1), y = values_new(dtype, r, o, 0, 0, 0, 1);
    struct values dy = values_new(dtype, r, o, 0, 0, 0, 1), dx = values_new(dtype, r, in, 0, 0, 0, 1);
    struct values dw = values_new(BK_F32, o, in, 0, 0, 0, 1), db = values_new(BK_F32, o, 0, 0, 0, 0, 1);
    double *want = calloc((size_t)(r * in + r * o + o * in + o), sizeof *want);
    for (int64_t i = 0; i < r * o; i++)
        want[i] = bias.v[i % o];
    product(r, o, in, x.v, in, 1, w.v, 1, in, want);
    run_kernel(BK_K_LINEAR, &(struct bk_kernel_args){ .in = { &x.t, &w.t, &bias.t }, .out = { &y.t }, .n_in = 3, .n_out = 1 });
    ASSERT_NEAR(&y, want, tolerance(dtype));
    memset(want, 0, x.n * sizeof *want);
    product(r, in, o, dy.v, o, 1, w.v, in, 1, want);
    run_kernel(BK_K_LINEAR_DX, &(struct bk_kernel_args){ .in = { &dy.t, &w.t }, .out = { &dx.t }, .n_in = 2, .n_out = 1 });
    ASSERT_NEAR(&dx, want, tolerance(dtype));
    double *want_b = want + w.n;
    memcpy(want, dw.v, w.n * sizeof *want);
    memcpy(want_b, db.v, db.n * sizeof *want);
    product(o, in, r, dy.v, 1, o, x.v, in, 1, want);
    for (int64_t i = 0; i < r * o; i++)
        want_b[i % o] += dy.v[i];
    run_kernel(BK_K_LINEAR_DW, &(struct bk_kernel_args){ .in = { &x.t, &dy.t }, .out = { &dw.t, &db.t }, .n_in = 2, .n_out = 2 });
    ASSERT_NEAR(&dw, want, 1e-5);
    ASSERT_NEAR(&db, want_b, 1e-5);
    free(want);
    struct values *all[] = { &x, &w, &bias, &y, &dy, &dx, &dw, &db };
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        values_free(all[i]);
}

static void test_linear(void)
{
    CPU_OPEN(2);
    for (int t = 0; t < 2; t++)
        if (cpu_iface->supports(cpu_state, BK_K_LINEAR, act_types[t])) {
            check_linear(act_types[t], 5, 24, 33);
            check_linear(act_types[t], 64, 128, 96);
            check_linear(act_types[t], 1, 7, 10);
        }
    cpu_close();
}

/* ---- the pooled head against conv1x1, batch norm, global pooling, done literally ----------------- */

struct literal {
    int64_t n, p, c, k;
    double *z, *xhat, *y, *mean, *rstd;         /* [n p,k], [n p,k], [n,k], [k], [k] */
};

static void literal_forward(struct literal *l, const double *x, const double *w, const double *scale,
                            const double *offset, double eps)
{
    int64_t rows = l->n * l->p;
    l->z = calloc((size_t)(rows * l->k), sizeof(double));
    l->xhat = calloc((size_t)(rows * l->k), sizeof(double));
    l->y = calloc((size_t)(l->n * l->k), sizeof(double));
    l->mean = calloc((size_t)l->k, sizeof(double));
    l->rstd = calloc((size_t)l->k, sizeof(double));
    product(rows, l->k, l->c, x, l->c, 1, w, 1, l->c, l->z);
    for (int64_t k = 0; k < l->k; k++) {
        double var = 0;
        for (int64_t r = 0; r < rows; r++)
            l->mean[k] += l->z[r * l->k + k] / (double)rows;
        for (int64_t r = 0; r < rows; r++)
            var += pow(l->z[r * l->k + k] - l->mean[k], 2) / (double)rows;
        l->rstd[k] = 1 / sqrt(var + eps);
        for (int64_t r = 0; r < rows; r++) {
            l->xhat[r * l->k + k] = (l->z[r * l->k + k] - l->mean[k]) * l->rstd[k];
            l->y[r / l->p * l->k + k] += (scale[k] * l->xhat[r * l->k + k] + offset[k]) / (double)l->p;
        }
    }
}

/* dz of the literal chain, in place of z. */
static void literal_backward(struct literal *l, const double *dy, const double *scale, double *dscale,
                             double *doffset)
{
    int64_t rows = l->n * l->p;
    for (int64_t k = 0; k < l->k; k++) {
        double s = 0, q = 0;
        for (int64_t r = 0; r < rows; r++) {
            double g = dy[r / l->p * l->k + k] / (double)l->p;
            s += g;
            q += g * l->xhat[r * l->k + k];
        }
        dscale[k] += q;
        doffset[k] += s;
        for (int64_t r = 0; r < rows; r++) {
            double g = dy[r / l->p * l->k + k] / (double)l->p;
            l->z[r * l->k + k] = scale[k] * l->rstd[k] *
                                 (g - s / (double)rows - l->xhat[r * l->k + k] * q / (double)rows);
        }
    }
}

static void check_head(uint32_t dtype, int64_t n, int64_t h, int64_t w_, int64_t c, int64_t k)
{
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .n_terms = 1, .mode = BK_NORM_BATCH };
    struct values x = values_new(dtype, n, h, w_, c, 0.7, 1), w = values_new(BK_F32, k, c, 0, 0, 0, 0.5);
    struct values scale = values_new(BK_F32, k, 0, 0, 0, 1, 0.3), offset = values_new(BK_F32, k, 0, 0, 0, 0, 1);
    struct values rm = values_new(BK_F32, k, 0, 0, 0, 0, 1), rv = values_new(BK_F32, k, 0, 0, 0, 2, 0.3);
    struct values y = values_new(dtype, n, k, 0, 0, 0, 0), m = values_new(BK_F32, n, c, 0, 0, 0, 0);
    struct values mu = values_new(BK_F32, c, 0, 0, 0, 0, 0), cov = values_new(BK_F32, c, c, 0, 0, 0, 0);
    struct values rstd = values_new(BK_F32, k, 0, 0, 0, 0, 0), dy = values_new(dtype, n, k, 0, 0, 0, 1);
    struct values dx = values_new(dtype, n, h, w_, c, 0, 0), dw = values_new(BK_F32, k, c, 0, 0, 0, 0.1);
    struct values ds = values_new(BK_F32, k, 0, 0, 0, 0, 0.1), db = values_new(BK_F32, k, 0, 0, 0, 0, 0.1);
    struct literal l = { .n = n, .p = h * w_, .c = c, .k = k };
    double rows = (double)(n * h * w_), *want = calloc(x.n + w.n, sizeof *want);

    literal_forward(&l, x.v, w.v, scale.v, offset.v, attr.eps);
    run_kernel(BK_K_POOLED_HEAD, &(struct bk_kernel_args){
        .in = { &x.t, &w.t, &scale.t, &offset.t, &rm.t, &rv.t }, .n_in = 6, .n_out = 7, .attr = &attr,
        .out = { &y.t, &m.t, &mu.t, &cov.t, &rstd.t, &rm.t, &rv.t } });
    ASSERT_NEAR(&y, l.y, tolerance(dtype));
    ASSERT_NEAR(&rstd, l.rstd, 1e-5);
    for (int64_t i = 0; i < k; i++)
        want[i] = 0.9 * rm.v[i] + 0.1 * l.mean[i];
    ASSERT_NEAR(&rm, want, 1e-5);
    for (int64_t i = 0; i < k; i++)
        want[i] = 0.9 * rv.v[i] + 0.1 * (1 / (l.rstd[i] * l.rstd[i]) - attr.eps) * rows / (rows - 1);
    ASSERT_NEAR(&rv, want, 1e-5);

    literal_backward(&l, dy.v, scale.v, ds.v, db.v);
    run_kernel(BK_K_POOLED_HEAD_DX, &(struct bk_kernel_args){
        .in = { &dy.t, &x.t, &w.t, &scale.t, &m.t, &mu.t, &cov.t, &rstd.t }, .n_in = 8, .n_out = 4,
        .out = { &dx.t, &dw.t, &ds.t, &db.t }, .attr = &attr });
    ASSERT_NEAR(&ds, ds.v, 2e-5);
    ASSERT_NEAR(&db, db.v, 2e-5);
    memset(want, 0, x.n * sizeof *want);
    product(n * h * w_, c, k, l.z, k, 1, w.v, c, 1, want);
    ASSERT_NEAR(&dx, want, tolerance(dtype));
    memcpy(want, dw.v, dw.n * sizeof *want);
    product(k, c, n * h * w_, l.z, 1, k, x.v, c, 1, want);
    ASSERT_NEAR(&dw, want, 2e-5);

    attr.mode = BK_NORM_RUNNING;
    for (size_t i = 0; i < rm.n; i++) {
        rm.v[i] = values_get(&rm, i);
        rv.v[i] = values_get(&rv, i);
    }
    memset(want, 0, y.n * sizeof *want);
    for (int64_t i = 0; i < n * k; i++) {
        for (int64_t j = 0; j < c; j++)
            want[i] += values_get(&m, (size_t)(i / k * c + j)) * w.v[i % k * c + j];
        want[i] = scale.v[i % k] * (want[i] - rm.v[i % k]) / sqrt(rv.v[i % k] + attr.eps) + offset.v[i % k];
    }
    run_kernel(BK_K_POOLED_HEAD, &(struct bk_kernel_args){
        .in = { &x.t, &w.t, &scale.t, &offset.t, &rm.t, &rv.t }, .n_in = 6, .n_out = 7, .attr = &attr,
        .out = { &y.t, &m.t, &mu.t, &cov.t, &rstd.t, NULL, NULL } });
    ASSERT_NEAR(&y, want, tolerance(dtype));

    double *owned[] = { l.z, l.xhat, l.y, l.mean, l.rstd, want };
    for (size_t i = 0; i < BK_ARRAY_LEN(owned); i++)
        free(owned[i]);
    struct values *all[] = { &x, &w, &scale, &offset, &rm, &rv, &y, &m, &mu, &cov, &rstd, &dy, &dx, &dw, &ds, &db };
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        values_free(all[i]);
}

static void test_pooled_head(void)
{
    CPU_OPEN(2);
    for (int t = 0; t < 2; t++) {
        check_head(act_types[t], 6, 8, 8, 16, 40);
        check_head(act_types[t], 5, 7, 9, 24, 33);
        check_head(act_types[t], 4, 4, 3, 70, 64);
    }
    cpu_close();
}

/* oneDNN's "ref" implementations are 100x slower; none may serve the shapes of the spaces we have. */
static void test_no_slow_implementation(void)
{
    CPU_OPEN(2);
    cpu_warning[0] = '\0';
    static const struct conv_case wide[] = {
        { 4, 8, 8, 8, 8, 3, 1, 1, 1 },    { 4, 8, 8, 24, 56, 3, 1, 1, 1 }, { 4, 8, 8, 48, 64, 3, 2, 1, 1 },
        { 4, 8, 8, 64, 64, 3, 1, 1, 1 },  { 2, 14, 14, 96, 24, 1, 1, 0, 1 }, { 2, 14, 14, 96, 96, 3, 1, 1, 96 },
        { 2, 14, 14, 72, 72, 5, 2, 2, 72 }, { 2, 14, 14, 144, 144, 7, 1, 3, 144 },
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(wide); i++)
        for (int t = 0; t < 2; t++)
            if (cpu_iface->supports(cpu_state, BK_K_CONV2D, act_types[t]))
                check_conv(&wide[i], act_types[t]);
    if (cpu_warning[0])
        printf("\n    %s\n", cpu_warning);
    struct bk_backend_info info = { .struct_size = sizeof info };
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(cpu_iface->info(cpu_state, &info, &err));
    if (info.fast_bf16)         /* older processors have no fast kernels for some bf16 shapes */
        CU_ASSERT_EQUAL(cpu_warning[0], '\0');
    cpu_close();
}

/* Depthwise gradient and pooled head are our own loops. */
static void test_older_processors(void)
{
    static const char *const isas[] = { "avx512_plain", "avx2", "base" };
    for (size_t i = 0; i < BK_ARRAY_LEN(isas); i++) {
        cpu_isa = isas[i];
        test_convolution();
        test_pooled_head();
    }
    cpu_isa = NULL;
}

BK_SUITE({ "convolution, its data and weight gradients", test_convolution },
         { "linear map and its gradients", test_linear },
         { "pooled head equals conv, batch norm and pooling", test_pooled_head },
         { "no slow implementation is picked", test_no_slow_implementation },
         { "loops of older processors", test_older_processors })

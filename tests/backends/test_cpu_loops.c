/* The cpu backend's own loops (batch norm, pooling, element-wise, losses, optimisers) against plain loops in double. */
#include "backends/cpu_fixture.h"

/* ---- batch norm -------------------------------------------------------------------------------- */

struct norm_case {
    int64_t n, h, w, c;
    int terms, residual, act, n_dy;
    double mean;
};

static const struct norm_case norm_cases[] = {
    { 4, 8, 8, 16, 1, 0, 1, 1, 0.5 },   { 3, 5, 7, 24, 2, 1, 1, 3, -1 },   { 2, 9, 9, 40, 3, 1, 0, 2, 3 },
    { 16, 16, 16, 64, 1, 0, 1, 4, 100 }, { 5, 3, 3, 7, 1, 1, 1, 1, 0 },    { 32, 1, 1, 300, 1, 0, 0, 1, 2 },
    { 4, 9, 9, 24, 1, 0, BK_ACT_SILU, 1, 0.5 },   { 3, 5, 7, 7, 1, 1, BK_ACT_SILU, 3, -1 },
    { 2, 9, 9, 40, 3, 1, BK_ACT_SILU, 2, 3 },     { 8, 16, 16, 144, 1, 0, BK_ACT_SILU, 2, 10 },
    { 3, 5, 7, 24, 2, 0, BK_ACT_SILU, 1, 1 },     { 4, 8, 8, 72, 1, 0, BK_ACT_RELU6, 2, 1 },
    { 3, 5, 7, 40, 2, 1, BK_ACT_SIGMOID, 1, 0 },
    { 8, 16, 16, 8, 3, 1, 1, 1, 0.2 },  { 2, 1, 1, 2048, 2, 0, 1, 1, 0 },  { 7, 8, 8, 56, 2, 0, 1, 1, 10 },
};

struct norm_want {
    double *z, *y, *dz, *mean[3], *var[3];        /* z: the sum before the activation */
};

static double want_act(int act, double z)
{
    double s = 1 / (1 + exp(-z));
    return act == BK_ACT_NONE ? z : act == BK_ACT_SILU ? z * s : act == BK_ACT_SIGMOID ? s : z < 0 ? 0
           : act == BK_ACT_RELU6 && z > 6 ? 6 : z;
}

static double want_slope(int act, double z)
{
    double s = 1 / (1 + exp(-z));
    return act == BK_ACT_NONE ? 1 : act == BK_ACT_SILU ? s * (1 + z * (1 - s)) : act == BK_ACT_SIGMOID ? s * (1 - s)
           : z > 0 && (act == BK_ACT_RELU || z < 6);
}

static void want_forward(const struct norm_case *k, const struct values *x, const struct values *scale,
                         const struct values *offset, const struct values *res, double eps, struct norm_want *o)
{
    size_t n = x[0].n, c = (size_t)k->c, rows = n / c;
    o->z = calloc(n, sizeof(double));
    o->y = calloc(n, sizeof(double));
    o->dz = calloc(n, sizeof(double));
    for (int t = 0; t < k->terms; t++) {
        o->mean[t] = calloc(c, sizeof(double));
        o->var[t] = calloc(c, sizeof(double));
        for (size_t i = 0; i < n; i++)
            o->mean[t][i % c] += x[t].v[i] / (double)rows;
        for (size_t i = 0; i < n; i++)
            o->var[t][i % c] += pow(x[t].v[i] - o->mean[t][i % c], 2) / (double)rows;
        for (size_t i = 0; i < n; i++)
            o->z[i] += scale[t].v[i % c] * (x[t].v[i] - o->mean[t][i % c]) / sqrt(o->var[t][i % c] + eps) +
                       offset[t].v[i % c];
    }
    for (size_t i = 0; i < n; i++) {
        o->z[i] += k->residual ? res->v[i] : 0;
        o->y[i] = want_act(k->act, o->z[i]);
    }
}

/* dx of term t into dx[], gradients of scale and offset added. */
static void want_backward(const struct norm_case *k, const struct norm_want *o, int t, const struct values *x,
                          const struct values *scale, double eps, double *dx, double *dscale, double *doffset)
{
    size_t n = x->n, c = (size_t)k->c, rows = n / c;
    double *s = calloc(c, sizeof *s), *q = calloc(c, sizeof *q);
    for (size_t i = 0; i < n; i++) {
        double xhat = (x->v[i] - o->mean[t][i % c]) / sqrt(o->var[t][i % c] + eps);
        s[i % c] += o->dz[i];
        q[i % c] += o->dz[i] * xhat;
    }
    for (size_t i = 0; i < n; i++) {
        double r = 1 / sqrt(o->var[t][i % c] + eps), xhat = (x->v[i] - o->mean[t][i % c]) * r;
        dx[i] = scale->v[i % c] * r * (o->dz[i] - s[i % c] / (double)rows - xhat * q[i % c] / (double)rows);
    }
    for (size_t i = 0; i < c; i++) {
        dscale[i] += q[i];
        doffset[i] += s[i];
    }
    free(s);
    free(q);
}

struct norm_tensors {
    struct values x[3], scale[3], offset[3], rm[3], rv[3], mean[3], rstd[3], dx[3], ds[3], db[3];
    struct values res, y, dres, dy[4];
};

static void norm_tensors_new(struct norm_tensors *a, const struct norm_case *k, uint32_t dtype)
{
    for (int t = 0; t < 3; t++) {
        a->x[t] = values_new(dtype, k->n, k->h, k->w, k->c, k->mean, 1 + t);
        a->dx[t] = values_new(dtype, k->n, k->h, k->w, k->c, 0, 0);
        a->scale[t] = values_new(BK_F32, k->c, 0, 0, 0, 1, 0.4);
        a->offset[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 0.4);
        a->rm[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 1);
        a->rv[t] = values_new(BK_F32, k->c, 0, 0, 0, 2, 0.5);
        a->mean[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 0);
        a->rstd[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 0);
        a->ds[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 1);
        a->db[t] = values_new(BK_F32, k->c, 0, 0, 0, 0, 1);
    }
    a->res = values_new(dtype, k->n, k->h, k->w, k->c, 0, 1);
    a->y = values_new(dtype, k->n, k->h, k->w, k->c, 0, 0);
    a->dres = values_new(dtype, k->n, k->h, k->w, k->c, 0, 0);
    for (int i = 0; i < 4; i++)
        a->dy[i] = values_new(dtype, k->n, k->h, k->w, k->c, 0, 1);
}

static void norm_tensors_free(struct norm_tensors *a)
{
    struct values *v = (struct values *)a;
    for (size_t i = 0; i < sizeof *a / sizeof *v; i++)
        values_free(&v[i]);
}

static void norm_forward_args(struct norm_tensors *a, const struct norm_case *k, struct bk_kernel_args *f)
{
    f->in[0] = k->residual ? &a->res.t : NULL;
    f->out[0] = &a->y.t;
    for (int t = 0; t < k->terms; t++) {
        const struct values *in[5] = { &a->x[t], &a->scale[t], &a->offset[t], &a->rm[t], &a->rv[t] };
        struct values *out[4] = { &a->mean[t], &a->rstd[t], &a->rm[t], &a->rv[t] };
        for (int i = 0; i < 5; i++)
            f->in[1 + 5 * t + i] = &in[i]->t;
        for (int i = 0; i < 4; i++)
            f->out[1 + 4 * t + i] = &out[i]->t;
    }
    f->n_in = 1 + 5 * (uint32_t)k->terms;
    f->n_out = 1 + 4 * (uint32_t)k->terms;
}

static void norm_backward_args(struct norm_tensors *a, const struct norm_case *k, struct bk_kernel_args *b)
{
    for (int i = 0; i < k->n_dy; i++)
        b->in[i] = &a->dy[i].t;
    b->in[4] = k->act == BK_ACT_RELU ? &a->y.t : NULL;
    b->in[5] = k->residual ? &a->res.t : NULL;
    b->out[0] = k->residual ? &a->dres.t : NULL;
    for (int t = 0; t < k->terms; t++) {
        const struct values *in[5] = { &a->x[t], &a->scale[t], &a->offset[t], &a->mean[t], &a->rstd[t] };
        struct values *out[3] = { &a->dx[t], &a->ds[t], &a->db[t] };
        for (int i = 0; i < 5; i++)
            b->in[6 + 5 * t + i] = &in[i]->t;
        for (int i = 0; i < 3; i++)
            b->out[1 + 3 * t + i] = &out[i]->t;
    }
    b->n_in = 6 + 5 * (uint32_t)k->terms;
    b->n_out = 1 + 3 * (uint32_t)k->terms;
}

static void check_norm(const struct norm_case *k, uint32_t dtype)
{
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .n_terms = k->terms, .activation = k->act,
                                       .mode = BK_NORM_BATCH };
    struct norm_tensors a;
    struct norm_want o = { 0 };
    struct bk_kernel_args f = { .attr = &attr }, b = { .attr = &attr };
    norm_tensors_new(&a, k, dtype);
    double tol = tolerance(dtype), rows = (double)(k->n * k->h * k->w);
    want_forward(k, a.x, a.scale, a.offset, &a.res, attr.eps, &o);
    norm_forward_args(&a, k, &f);
    run_kernel(BK_K_BATCH_NORM, &f);
    ASSERT_NEAR(&a.y, o.y, tol);
    double *want = calloc(a.y.n, sizeof *want);
    for (int t = 0; t < k->terms; t++) {
        ASSERT_NEAR(&a.mean[t], o.mean[t], 5e-6);
        for (int64_t c = 0; c < k->c; c++)
            want[c] = 0.9 * a.rm[t].v[c] + 0.1 * o.mean[t][c];
        ASSERT_NEAR(&a.rm[t], want, 1e-6);
        for (int64_t c = 0; c < k->c; c++)
            want[c] = 0.9 * a.rv[t].v[c] + 0.1 * o.var[t][c] * rows / (rows - 1);
        ASSERT_NEAR(&a.rv[t], want, 1e-5);
    }
    for (size_t i = 0; i < a.y.n; i++) {
        for (int d = 0; d < k->n_dy; d++)
            o.dz[i] += a.dy[d].v[i];
        o.dz[i] *= want_slope(k->act, k->act == BK_ACT_RELU ? values_get(&a.y, i) : o.z[i]);
    }
    norm_backward_args(&a, k, &b);
    run_kernel(BK_K_BATCH_NORM_DX, &b);
    if (k->residual)
        ASSERT_NEAR(&a.dres, o.dz, tol);
    for (int t = 0; t < k->terms; t++) {
        want_backward(k, &o, t, &a.x[t], &a.scale[t], attr.eps, want, a.ds[t].v, a.db[t].v);
        ASSERT_NEAR(&a.dx[t], want, tol);
        ASSERT_NEAR(&a.ds[t], a.ds[t].v, 1e-5);
        ASSERT_NEAR(&a.db[t], a.db[t].v, 1e-5);
        free(o.mean[t]);
        free(o.var[t]);
    }
    free(want);
    free(o.z);
    free(o.y);
    free(o.dz);
    norm_tensors_free(&a);
}

static void test_norm(void)
{
    CPU_OPEN(2);
    for (size_t i = 0; i < BK_ARRAY_LEN(norm_cases); i++)
        for (int t = 0; t < 2; t++)
            check_norm(&norm_cases[i], act_types[t]);
    cpu_close();
}

/* Running statistics: y = scale (x - rm)/sqrt(rv + eps) + offset, dx = scale/sqrt(rv + eps) dy. */
static void test_norm_running(void)
{
    CPU_OPEN(2);
    struct norm_case k = { 4, 6, 6, 24, 1, 0, 0, 1, 0.5 };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .n_terms = 1, .mode = BK_NORM_RUNNING };
    struct norm_tensors a;
    norm_tensors_new(&a, &k, BK_F32);
    struct bk_kernel_args f = { .attr = &attr }, b = { .attr = &attr };
    norm_forward_args(&a, &k, &f);
    f.out[3] = f.out[4] = NULL;
    run_kernel(BK_K_BATCH_NORM, &f);
    double *want = calloc(a.y.n, sizeof *want);
    for (size_t i = 0; i < a.y.n; i++)
        want[i] = a.scale[0].v[i % 24] * (a.x[0].v[i] - a.rm[0].v[i % 24]) / sqrt(a.rv[0].v[i % 24] + 1e-5) + a.offset[0].v[i % 24];
    ASSERT_NEAR(&a.y, want, 1e-6);
    norm_backward_args(&a, &k, &b);
    run_kernel(BK_K_BATCH_NORM_DX, &b);
    for (size_t i = 0; i < a.y.n; i++)
        want[i] = a.scale[0].v[i % 24] / sqrt(a.rv[0].v[i % 24] + 1e-5) * a.dy[0].v[i];
    ASSERT_NEAR(&a.dx[0], want, 1e-6);
    free(want);
    norm_tensors_free(&a);
    cpu_close();
}

/* Same bytes again, and nothing depends on where the threads meet by more than rounding. */
static void test_repeatable(void)
{
    CPU_OPEN(2);
    struct norm_case k = { 16, 16, 16, 24, 1, 0, 1, 1, 0 };
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .n_terms = 1, .mode = BK_NORM_BATCH, .activation = BK_ACT_RELU };
    struct norm_tensors a;
    norm_tensors_new(&a, &k, BK_F32);
    struct bk_kernel_args f = { .attr = &attr };
    norm_forward_args(&a, &k, &f);
    f.out[3] = f.out[4] = NULL;
    run_kernel(BK_K_BATCH_NORM, &f);
    float *first = malloc(a.y.n * sizeof *first);
    memcpy(first, a.y.t.data, a.y.n * sizeof *first);
    for (int i = 0; i < 5; i++) {
        run_kernel(BK_K_BATCH_NORM, &f);
        CU_ASSERT_EQUAL(memcmp(first, a.y.t.data, a.y.n * sizeof *first), 0);
    }
    free(first);
    norm_tensors_free(&a);
    cpu_close();
}

/* ---- pooling ------------------------------------------------------------------------------------- */

struct pool_case {
    int64_t n, h, w, c;
    int32_t size, stride, pad;
};

static void check_pool(const struct pool_case *k, uint32_t dtype, bool is_max)
{
    struct bk_pool2d_attr attr = { k->size, k->stride, k->pad, 0 };
    int64_t ho = (k->h + 2 * k->pad - k->size) / k->stride + 1, wo = (k->w + 2 * k->pad - k->size) / k->stride + 1;
    struct values x = values_new(dtype, k->n, k->h, k->w, k->c, 0, 1), y = values_new(dtype, k->n, ho, wo, k->c, 0, 0);
    struct values dy = values_new(dtype, k->n, ho, wo, k->c, 0, 1), dx = values_new(dtype, k->n, k->h, k->w, k->c, 0, 1);
    double *want = calloc(y.n, sizeof *want), *want_dx = calloc(x.n, sizeof *want);
    for (size_t i = 0; i < y.n; i++) {
        int64_t c = (int64_t)i % k->c, ow = (int64_t)i / k->c % wo, oh = (int64_t)i / k->c / wo % ho;
        int64_t n = (int64_t)i / k->c / wo / ho, taps = 0, best = -1;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t t = 0; t < k->size * k->size; t++) {
                int64_t ih = oh * k->stride - k->pad + t / k->size, iw = ow * k->stride - k->pad + t % k->size;
                if (ih < 0 || ih >= k->h || iw < 0 || iw >= k->w)
                    continue;
                int64_t j = ((n * k->h + ih) * k->w + iw) * k->c + c;
                if (pass == 0) {
                    taps++;
                    want[i] += x.v[j];
                    best = best < 0 || x.v[j] > x.v[best] ? j : best;
                } else if (!is_max) {
                    want_dx[j] += dy.v[i] / (double)taps;
                }
            }
        want[i] = is_max ? x.v[best] : want[i] / (double)taps;
        if (is_max)
            want_dx[best] += dy.v[i];
    }
    run_kernel(is_max ? BK_K_MAX_POOL2D : BK_K_AVG_POOL2D,
               &(struct bk_kernel_args){ .in = { &x.t }, .out = { &y.t }, .n_in = 1, .n_out = 1, .attr = &attr });
    ASSERT_NEAR(&y, want, tolerance(dtype));
    struct bk_kernel_args b = { .in = { &dy.t }, .out = { &dx.t }, .n_in = 1, .n_out = 1, .attr = &attr };
    if (is_max) {
        b.in[0] = &x.t;
        b.in[1] = &y.t;
        b.in[2] = &dy.t;
    }
    run_kernel(is_max ? BK_K_MAX_POOL2D_DX : BK_K_AVG_POOL2D_DX, &b);
    ASSERT_NEAR(&dx, want_dx, tolerance(dtype));
    free(want);
    free(want_dx);
    values_free(&x);
    values_free(&y);
    values_free(&dx);
    values_free(&dy);
}

static void test_pooling(void)
{
    CPU_OPEN(2);
    static const struct pool_case cases[] = {
        { 2, 8, 8, 16, 2, 2, 0 }, { 3, 9, 7, 24, 3, 1, 1 }, { 2, 11, 10, 7, 3, 2, 1 }, { 4, 16, 16, 40, 2, 2, 0 },
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++)
        for (int t = 0; t < 2; t++) {
            check_pool(&cases[i], act_types[t], false);
            check_pool(&cases[i], act_types[t], true);
        }
    for (int t = 0; t < 2; t++) {
        struct values x = values_new(act_types[t], 5, 7, 9, 24, 1, 1), y = values_new(act_types[t], 5, 24, 0, 0, 0, 0);
        struct values dy = values_new(act_types[t], 5, 24, 0, 0, 0, 1), dx = values_new(act_types[t], 5, 7, 9, 24, 0, 1);
        double *want = calloc(x.n, sizeof *want);
        for (size_t i = 0; i < x.n; i++)
            want[i / (63 * 24) * 24 + i % 24] += x.v[i] / 63;
        run_kernel(BK_K_GLOBAL_POOL, &(struct bk_kernel_args){ .in = { &x.t }, .out = { &y.t }, .n_in = 1, .n_out = 1 });
        ASSERT_NEAR(&y, want, tolerance(act_types[t]));
        for (size_t i = 0; i < x.n; i++)
            want[i] = dy.v[i / (63 * 24) * 24 + i % 24] / 63;
        run_kernel(BK_K_GLOBAL_POOL_DX, &(struct bk_kernel_args){ .in = { &dy.t }, .out = { &dx.t }, .n_in = 1, .n_out = 1 });
        ASSERT_NEAR(&dx, want, tolerance(act_types[t]));
        free(want);
        values_free(&x);
        values_free(&y);
        values_free(&dx);
        values_free(&dy);
    }
    cpu_close();
}

/* ---- element-wise -------------------------------------------------------------------------------- */

static void test_elementwise(void)
{
    CPU_OPEN(2);
    for (int t = 0; t < 2; t++) {
        uint32_t d = act_types[t];
        struct values x[4], y = values_new(d, 5, 77, 131, 0, 0, 0);
        double *want = calloc(y.n, sizeof *want);
        struct bk_add_attr relu = { 1 };
        for (int i = 0; i < 4; i++) {
            x[i] = values_new(d, 5, 77, 131, 0, 0, 1);
            for (size_t j = 0; j < y.n; j++)
                want[j] += x[i].v[j];
        }
        for (size_t j = 0; j < y.n; j++)
            want[j] = want[j] > 0 ? want[j] : 0;
        run_kernel(BK_K_ADD, &(struct bk_kernel_args){ .in = { &x[0].t, &x[1].t, &x[2].t, &x[3].t }, .n_in = 4,
                                                       .out = { &y.t }, .n_out = 1, .attr = &relu });
        ASSERT_NEAR(&y, want, tolerance(d));
        for (size_t j = 0; j < y.n; j++)
            want[j] = x[3].v[j] > 0 ? x[0].v[j] + x[2].v[j] : 0;
        run_kernel(BK_K_RELU_DX, &(struct bk_kernel_args){ .in = { &x[0].t, NULL, &x[2].t, NULL, &x[3].t }, .n_in = 5,
                                                           .out = { &y.t }, .n_out = 1 });
        ASSERT_NEAR(&y, want, tolerance(d));
        for (size_t j = 0; j < y.n; j++)
            want[j] = x[1].v[j] > 0 ? x[1].v[j] : 0;
        run_kernel(BK_K_RELU, &(struct bk_kernel_args){ .in = { &x[1].t }, .n_in = 1, .out = { &y.t }, .n_out = 1 });
        ASSERT_NEAR(&y, want, 0);
        struct values other = values_new(act_types[1 - t], 5, 77, 131, 0, 0, 0);
        for (size_t j = 0; j < y.n; j++)
            want[j] = d == BK_F32 ? (double)bk_bf16_to_f32(bk_f32_to_bf16((float)x[0].v[j])) : x[0].v[j];
        run_kernel(BK_K_CAST, &(struct bk_kernel_args){ .in = { &x[0].t }, .n_in = 1, .out = { &other.t }, .n_out = 1 });
        ASSERT_NEAR(&other, want, 0);
        values_free(&other);
        for (int i = 0; i < 4; i++)
            values_free(&x[i]);
        values_free(&y);
        free(want);
    }
    cpu_close();
}

static void test_slice(void)
{
    CPU_OPEN(1);
    static const int64_t shapes[][4] = { { 5, 3, 3, 7 }, { 9, 3, 3, 12 }, { 4, 3, 2, 12 }, { 9, 3, 3, 5 } };
    struct values w = values_new(BK_F32, 9, 3, 3, 12, 0, 1);
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++)
        for (int t = 0; t < 2; t++) {
            const int64_t *d = shapes[s];
            struct values v = values_new(act_types[t], d[0], d[1], d[2], d[3], 0, 0);
            double *want = calloc(v.n, sizeof *want), *want_dw = calloc(w.n, sizeof *want);
            memcpy(want_dw, w.v, w.n * sizeof *want);
            for (size_t i = 0; i < v.n; i++) {
                size_t a = i / (size_t)(d[1] * d[2] * d[3]), b = i / (size_t)(d[2] * d[3]) % (size_t)d[1];
                size_t c = i / (size_t)d[3] % (size_t)d[2], e = i % (size_t)d[3];
                size_t j = ((a * 3 + b) * 3 + c) * 12 + e;
                want[i] = w.v[j];
                want_dw[j] += w.v[j];
            }
            run_kernel(BK_K_SLICE, &(struct bk_kernel_args){ .in = { &w.t }, .n_in = 1, .out = { &v.t }, .n_out = 1 });
            ASSERT_NEAR(&v, want, act_types[t] == BK_F32 ? 0 : 4e-3);
            if (act_types[t] == BK_F32) {
                struct values dw = values_new(BK_F32, 9, 3, 3, 12, 0, 0);
                memcpy(dw.t.data, w.t.data, w.n * 4);
                run_kernel(BK_K_SLICE_DX, &(struct bk_kernel_args){ .in = { &v.t }, .n_in = 1, .out = { &dw.t }, .n_out = 1 });
                ASSERT_NEAR(&dw, want_dw, 1e-7);
                values_free(&dw);
            }
            free(want);
            free(want_dw);
            values_free(&v);
        }
    values_free(&w);
    cpu_close();
}

/* ---- losses: values by definition, gradients by central differences of the definition ---------------- */

static double cosine_loss(const double *u, const double *t, int64_t rows, int64_t d)
{
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        double uu = 0, tt = 0, ut = 0;
        for (int64_t i = r * d; i < (r + 1) * d; i++) {
            uu += u[i] * u[i];
            tt += t[i] * t[i];
            ut += u[i] * t[i];
        }
        loss -= 2 * ut / sqrt(uu * tt) / (double)rows;
    }
    return loss;
}

static double entropy_loss(const double *z, const double *label, int64_t rows, int64_t d)
{
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += exp(z[r * d + i]);
        for (int64_t i = 0; i < d; i++) {
            double q = 0.1 / (double)d + (i == (int64_t)label[r] ? 0.9 : 0);
            loss -= q * (z[r * d + i] - log(sum)) / (double)rows;
        }
    }
    return loss;
}

static void test_losses(void)
{
    CPU_OPEN(2);
    struct bk_cross_entropy_attr attr = { 0.1 };
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < 2; kind++) {
            int64_t rows = 5, d = 37;
            double (*loss)(const double *, const double *, int64_t, int64_t) = kind ? entropy_loss : cosine_loss;
            struct values u = values_new(act_types[t], rows, d, 0, 0, 0.1, 1), du = values_new(act_types[t], rows, d, 0, 0, 0, 0);
            struct values target = values_new(BK_F32, rows, d, 0, 0, 0, 1), label = values_new(BK_I32, rows, 0, 0, 0, 0, 0);
            struct values out = values_new(BK_F32, 1, 0, 0, 0, 0, 0), dloss = values_new(BK_F32, 1, 0, 0, 0, 0.5, 0);
            struct values prob = values_new(BK_F32, rows, d, 0, 0, 0, 0);
            for (size_t i = 0; i < label.n; i++)
                values_put(&label, i, (double)(i * 11 % 37));
            const double *other = kind ? label.v : target.v;
            double value = loss(u.v, other, rows, d), *want = calloc(u.n, sizeof *want);
            for (size_t i = 0; i < u.n; i++) {
                double keep = u.v[i];
                u.v[i] = keep + 1e-5;
                double up = loss(u.v, other, rows, d);
                u.v[i] = keep - 1e-5;
                want[i] = 0.5 * (up - loss(u.v, other, rows, d)) / 2e-5;
                u.v[i] = keep;
            }
            struct bk_kernel_args f = { .in = { &u.t, kind ? &label.t : &target.t }, .n_in = 2,
                                        .out = { &out.t, kind ? &prob.t : NULL }, .n_out = 2, .attr = &attr };
            run_kernel(kind ? BK_K_CROSS_ENTROPY : BK_K_COSINE_LOSS, &f);
            ASSERT_NEAR(&out, &value, 1e-6);
            struct bk_kernel_args b = { .in = { kind ? &prob.t : &u.t, kind ? &label.t : &target.t, &dloss.t },
                                        .n_in = 3, .out = { &du.t }, .n_out = 1, .attr = &attr };
            run_kernel(kind ? BK_K_CROSS_ENTROPY_DX : BK_K_COSINE_LOSS_DX, &b);
            ASSERT_NEAR(&du, want, tolerance(act_types[t]));
            free(want);
            struct values *all[] = { &u, &du, &target, &label, &out, &dloss, &prob };
            for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
                values_free(all[i]);
        }
    cpu_close();
}

static void test_unit_and_blend(void)
{
    CPU_OPEN(2);
    struct values x = values_new(BK_BF16, 6, 50, 0, 0, 0, 1), y = values_new(BK_F32, 6, 50, 0, 0, 0, 0);
    double want[300];
    for (int r = 0; r < 6; r++) {
        double s = 0;
        for (int i = 0; i < 50; i++)
            s += x.v[r * 50 + i] * x.v[r * 50 + i];
        for (int i = 0; i < 50; i++)
            want[r * 50 + i] = x.v[r * 50 + i] / sqrt(s);
    }
    run_kernel(BK_K_UNIT, &(struct bk_kernel_args){ .in = { &x.t }, .n_in = 1, .out = { &y.t }, .n_out = 1 });
    ASSERT_NEAR(&y, want, 1e-6);
    struct values z = values_new(BK_F32, 6, 50, 0, 0, 0, 1);
    struct bk_blend_attr attr = { 0.75, 0.25 };
    for (int i = 0; i < 300; i++)
        want[i] = 0.75 * values_get(&y, (size_t)i) + 0.25 * z.v[i];
    run_kernel(BK_K_BLEND, &(struct bk_kernel_args){ .in = { &y.t, &z.t }, .n_in = 2, .out = { &y.t }, .n_out = 1, .attr = &attr });
    ASSERT_NEAR(&y, want, 1e-6);
    values_free(&x);
    values_free(&y);
    values_free(&z);
    cpu_close();
}

/* ---- optimisers: two steps of the published formulas --------------------------------------------------- */

enum { N_W = 1000 };

static void formula(uint32_t kernel, const struct bk_optim_attr *a, double *w, const double *g, double *s1, double *s2)
{
    double ww = 0, gg = 0, wd = a->excluded ? 0 : a->weight_decay;
    for (int i = 0; i < N_W; i++) {
        ww += w[i] * w[i];
        gg += g[i] * g[i];
    }
    double lambda = a->excluded ? 1 : a->trust * sqrt(ww) / (sqrt(gg) + a->weight_decay * sqrt(ww));
    for (int i = 0; i < N_W; i++) {
        double d = g[i] + wd * w[i];
        if (kernel == BK_K_SGD_STEP) {
            s1[i] = a->first ? d : a->momentum * s1[i] + d;
            w[i] -= a->lr * (a->nesterov ? d + a->momentum * s1[i] : s1[i]);
        } else if (kernel == BK_K_LARS_STEP) {
            s1[i] = (a->first ? 0 : a->momentum * s1[i]) + a->lr * lambda * d;
            w[i] -= s1[i];
        } else if (kernel == BK_K_ADAMW_STEP) {
            s1[i] = a->beta1 * s1[i] + (1 - a->beta1) * g[i];
            s2[i] = a->beta2 * s2[i] + (1 - a->beta2) * g[i] * g[i];
            w[i] -= a->lr * wd * w[i];
            w[i] -= a->lr * (s1[i] / a->bias1) / (sqrt(s2[i] / a->bias2) + a->eps);
        } else {
            s1[i] = a->beta2 * s1[i] + (1 - a->beta2) * d * d;
            s2[i] = a->momentum * s2[i] + a->lr * d / sqrt(s1[i] + a->eps);
            w[i] -= s2[i];
        }
    }
}

static void check_optim(uint32_t kernel, int excluded, int nesterov)
{
    struct bk_optim_attr a = { .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .trust = 0.02, .beta1 = 0.9,
                               .beta2 = 0.99, .eps = 1e-3, .nesterov = nesterov, .excluded = excluded,
                               .zero_guard = 1, .skip_zero = 1 };
    struct values w = values_new(BK_F32, N_W, 0, 0, 0, 0, 1), g = values_new(BK_F32, N_W, 0, 0, 0, 0, 1);
    struct values s1 = values_new(BK_F32, N_W, 0, 0, 0, 0, 0), s2 = values_new(BK_F32, N_W, 0, 0, 0, 0, 0);
    bool two = kernel == BK_K_ADAMW_STEP || kernel == BK_K_RMSPROP_STEP;
    struct bk_kernel_args args = { .in = { &w.t, &g.t, &s1.t, two ? &s2.t : NULL }, .n_in = two ? 4 : 3,
                                   .out = { &w.t, &g.t, &s1.t, two ? &s2.t : NULL }, .n_out = two ? 4 : 3, .attr = &a };
    for (int step = 1; step <= 3; step++) {
        a.first = step == 1;
        a.bias1 = 1 - pow(a.beta1, step);
        a.bias2 = 1 - pow(a.beta2, step);
        formula(kernel, &a, w.v, g.v, s1.v, s2.v);
        run_kernel(kernel, &args);
    }
    ASSERT_NEAR(&w, w.v, 3e-6);
    ASSERT_NEAR(&s1, s1.v, 3e-6);
    memset(g.t.data, 0, N_W * sizeof(float));
    float *before = malloc(N_W * sizeof *before);
    memcpy(before, w.t.data, N_W * sizeof *before);
    run_kernel(kernel, &args);
    CU_ASSERT_EQUAL(memcmp(before, w.t.data, N_W * sizeof *before), 0);
    free(before);
    struct values *all[] = { &w, &g, &s1, &s2 };
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        values_free(all[i]);
}

static void test_optimisers(void)
{
    CPU_OPEN(2);
    static const uint32_t kernels[] = { BK_K_SGD_STEP, BK_K_LARS_STEP, BK_K_ADAMW_STEP, BK_K_RMSPROP_STEP };
    for (size_t i = 0; i < BK_ARRAY_LEN(kernels); i++) {
        check_optim(kernels[i], 0, 0);
        check_optim(kernels[i], 1, 1);
    }
    cpu_close();
}

static void test_every_kernel(void)
{
    CPU_OPEN(1);
    for (uint32_t k = 1; k < BK_KERNEL_COUNT; k++) {
        CU_ASSERT(cpu_iface->supports(cpu_state, k, BK_F32));
        CU_ASSERT_FALSE(cpu_iface->supports(cpu_state, k, BK_F64));
    }
    CU_ASSERT_FALSE(cpu_iface->supports(cpu_state, BK_KERNEL_COUNT, BK_F32));
    cpu_close();
}

/* The same loops as other processors run them. */
static void test_older_processors(void)
{
    static const char *const isas[] = { "avx512_plain", "avx2", "base" };
    for (size_t i = 0; i < BK_ARRAY_LEN(isas); i++) {
        cpu_isa = isas[i];
        test_norm();
        test_pooling();
        test_elementwise();
        test_losses();
        test_optimisers();
    }
    cpu_isa = NULL;
}

BK_SUITE({ "every kernel of ops.def in f32", test_every_kernel }, { "batch norm", test_norm },
         { "batch norm with running statistics", test_norm_running }, { "same bytes twice", test_repeatable },
         { "pooling", test_pooling }, { "element-wise", test_elementwise }, { "slices", test_slice },
         { "losses", test_losses }, { "unit and blend", test_unit_and_blend }, { "optimisers", test_optimisers },
         { "loops of older processors", test_older_processors })

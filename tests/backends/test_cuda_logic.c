/*
 * What the CUDA kernels compute with, on the host: every block and thread of a launch is walked in plain loops over the
 * functions of cuda_shared.h, and the result is compared with `ref`, with closed forms or by counting. Launches, memory
 * and vendor libraries need a GPU and are not tested here.
 */
#include "../../plugins/backends/cuda/cuda_shared.h"
#include "unit.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/random.h>

/* ---- tensors on ref, in double ------------------------------------------------------------------- */

static struct bk_device *ref;
static struct bk_error err;

static void open_ref(void)
{
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &ref, &err));
}

static double noise(uint32_t stream, uint32_t i)
{
    struct bk_random r;
    bk_random_init(&r, 4, stream, 0, i);
    return 2 * bk_random_f64(&r) - 1;
}

/* Values of `ref` are readable in place. */
static struct bk_tensor *tensor(uint32_t stream, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    const int64_t dim[4] = { d0, d1, d2, d3 };
    struct bk_tensor *t;
    uint32_t rank = 0;
    while (rank < 4 && dim[rank])
        rank++;
    BK_ASSERT_OK(bk_tensor_new(ref, BK_F64, rank, dim, &t, &err));
    for (int64_t i = 0; stream && i < bk_tensor_numel(t); i++)
        ((double *)t->data)[i] = noise(stream, (uint32_t)i);
    return t;
}

static double *values(struct bk_tensor *t)
{
    return t->data;
}

/* Largest difference, in units of the largest wanted value. */
static double difference(const double *got, const double *want, int64_t n)
{
    double worst = 0, scale = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(got[i] - want[i]);
        worst = isnan(d) ? INFINITY : fmax(worst, d);
        scale = fmax(scale, fabs(want[i]));
    }
    return worst / scale;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static void test_size_classes(void)
{
    size_t size_of[CUDA_SIZE_CLASSES] = { 0 }, previous = 0;
    int highest = 0;
    for (size_t n = 1; n <= CUDA_SMALL_MAX; n += n < 5000 ? 1 : 97) {
        size_t size;
        int c = cuda_size_class(n, &size);
        CU_ASSERT_FATAL(c >= 0 && c < CUDA_SIZE_CLASSES);
        CU_ASSERT_FATAL(size >= n && size % 256 == 0 && size >= previous);
        CU_ASSERT_FATAL(!size_of[c] || size_of[c] == size);
        CU_ASSERT_FATAL(n <= 1024 || size <= n + n / 4);
        size_of[c] = previous = size;
        highest = c;
    }
    size_t size;
    CU_ASSERT_EQUAL(cuda_size_class(CUDA_SMALL_MAX, &size), CUDA_SIZE_CLASSES - 1);
    CU_ASSERT_EQUAL(size, CUDA_SMALL_MAX);
    CU_ASSERT(highest >= CUDA_SIZE_CLASSES - 2);
}

/* ---- rows ------------------------------------------------------------------------------------------- */

static const struct {
    int64_t rows;
    int c, v, per_thread, max_parts;
} plans[] = {
    { 1, 1, 1, 8, 512 },     { 60, 8, 8, 8, 512 },    { 30, 7, 1, 8, 512 },  { 9, 33, 1, 8, 512 },   { 5000, 24, 8, 8, 512 },
    { 5000, 24, 4, 4, 99 },  { 777, 20, 4, 16, 3 },   { 3, 2048, 8, 8, 64 }, { 40, 2056, 8, 1, 64 }, { 11, 5003, 1, 8, 100 },
    { 1, 4096, 8, 1, 1 },    { 100000, 16, 8, 8, 512 }, { 100000, 3, 1, 8, 512 },
};

/* Every vector of every row is visited exactly once. */
static void test_rows(void)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(plans); i++) {
        struct cuda_rows p = cuda_rows_plan(plans[i].rows, plans[i].c, plans[i].v, plans[i].per_thread, plans[i].max_parts);
        int64_t n = p.rows * p.cv;
        unsigned char *seen = calloc((size_t)n, 1);
        CU_ASSERT(p.parts <= plans[i].max_parts && p.tx * p.ty <= CUDA_BLOCK);
        for (int part = 0; part < p.parts; part++)
            for (int tile = 0; tile < p.tiles; tile++)
                for (int thread = 0; thread < CUDA_BLOCK; thread++) {
                    int column;
                    int64_t row;
                    if (!cuda_rows_at(&p, tile, part, thread, &column, &row))
                        continue;
                    for (; row < cuda_rows_end(&p, part); row += p.ty)
                        seen[row * p.cv + column]++;
                }
        int64_t wrong = 0;
        for (int64_t k = 0; k < n; k++)
            wrong += seen[k] != 1;
        CU_ASSERT_EQUAL(wrong, 0);
        free(seen);
    }
}

/* ---- batch norm -------------------------------------------------------------------------------------- */

struct sums {
    double sum, dot;
};

/* Channel `c` as the reduction kernels sum it: f32 in a thread, f64 across threads and blocks. g NULL: x - shift and its square. */
static struct sums reduce(const struct cuda_rows *p, const float *x, const float *g, float centre, int c)
{
    struct sums total = { 0, 0 };
    int column;
    int64_t row;
    for (int part = 0; part < p->parts; part++)
        for (int thread = 0; thread < CUDA_BLOCK; thread++) {
            if (!cuda_rows_at(p, c / p->v / p->tx, part, thread, &column, &row) || column != c / p->v)
                continue;
            float sum = 0, dot = 0;
            for (; row < cuda_rows_end(p, part); row += p->ty) {
                float d = x[row * p->c + c] - centre, w = g ? g[row * p->c + c] : d;
                sum += w;
                dot += w * d;
            }
            total.sum += (double)sum;
            total.dot += (double)dot;
        }
    return total;
}

static void check_norm(int64_t R, int C, int v, double mean_at, double spread)
{
    struct cuda_rows p = cuda_rows_plan(R, C, v, 8, cuda_reduce_parts(C));
    size_t n = (size_t)(R * C);
    float *x = malloc(n * sizeof *x), *g = malloc(n * sizeof *g);
    const double scale = 1.3, offset = -0.4, eps = 1e-5;
    double worst_y = 0, worst_dx = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(mean_at + spread * noise(7, (uint32_t)i));
        g[i] = (float)noise(8, (uint32_t)i);
    }
    for (int c = 0; c < C; c++) {
        double mean = 0, var = 0, sum_g = 0, sum_gx = 0, m, q;
        for (int64_t r = 0; r < R; r++)
            mean += (double)x[r * C + c] / (double)R;
        for (int64_t r = 0; r < R; r++)
            var += ((double)x[r * C + c] - mean) * ((double)x[r * C + c] - mean) / (double)R;
        double rstd = 1 / sqrt(var + eps);
        struct sums s = reduce(&p, x, NULL, x[c], c);
        cuda_norm_moments(s.sum, s.dot, (double)x[c], (double)R, &m, &q);
        BK_ASSERT_CLOSE(m, mean, 1e-6);
        BK_ASSERT_CLOSE(q / var, 1, 1e-5);
        float mean32, a, offset32, b, k;
        cuda_norm_forward(m, 1 / sqrt(q + eps), scale, offset, &mean32, &a, &offset32);
        for (int64_t r = 0; r < R; r++) {
            double want = scale * ((double)x[r * C + c] - mean) * rstd + offset;
            worst_y = fmax(worst_y, fabs((double)((x[r * C + c] - mean32) * a + offset32) - want));
            sum_g += (double)g[r * C + c];
            sum_gx += (double)g[r * C + c] * ((double)x[r * C + c] - mean) * rstd;
        }
        s = reduce(&p, x, g, mean32, c);
        cuda_norm_backward(s.sum, s.dot, scale, rstd, (double)R, &b, &k);
        a = (float)scale * (float)rstd;
        for (int64_t r = 0; r < R; r++) {
            double xh = ((double)x[r * C + c] - mean) * rstd, dz = (double)g[r * C + c];
            double want = scale * rstd * (dz - sum_g / (double)R - xh * sum_gx / (double)R);
            double got = (double)(a * g[r * C + c] + b * (x[r * C + c] - mean32) + k);
            worst_dx = fmax(worst_dx, fabs(got - want) / (scale * rstd));
        }
    }
    CU_ASSERT(worst_y < 2e-5);
    CU_ASSERT(worst_dx < 2e-5);
    free(x);
    free(g);
}

static void test_norm(void)
{
    check_norm(60, 8, 8, 0.2, 1);
    check_norm(30, 7, 1, -0.2, 1);
    check_norm(4001, 24, 4, 3, 1);
    check_norm(20000, 3, 1, 100, 2);            /* squares would cancel without the shift */
    float b, c;
    cuda_norm_backward(3, 5, 2, 0.5, 0, &b, &c);        /* constant statistics */
    CU_ASSERT(b == 0 && c == 0);
    CU_ASSERT(cuda_norm_follow(NAN, 2, 1) == 2 && cuda_norm_follow(4, 2, 0.25) == 3.5f);
}

/* ---- activations ---------------------------------------------------------------------------------------- */

/* Values and slopes of every kind against `ref`. */
static void test_activations(void)
{
    enum { N = 401 };
    open_ref();
    for (int32_t kind = BK_ACT_RELU; kind <= BK_ACT_SIGMOID; kind++) {
        struct bk_activation_attr attr = { kind, 0 };
        struct bk_tensor *x = tensor(0, N, 0, 0, 0), *y = tensor(0, N, 0, 0, 0);
        struct bk_tensor *dy = tensor(0, N, 0, 0, 0), *dx = tensor(0, N, 0, 0, 0);
        double my[N], mdx[N];
        for (int i = 0; i < N; i++) {
            values(x)[i] = (i - N / 2) / 16.0 + 1 / 64.0;
            values(dy)[i] = 1;
            my[i] = (double)cuda_act(kind, (float)values(x)[i]);
            mdx[i] = (double)cuda_act_slope(kind, (float)values(x)[i]);
        }
        struct bk_kernel_args forward = { .in = { x }, .out = { y }, .n_in = 1, .n_out = 1, .attr = &attr };
        struct bk_kernel_args back = { .in = { dy, NULL, NULL, NULL, x }, .out = { dx }, .n_in = 5, .n_out = 1, .attr = &attr };
        BK_ASSERT_OK(bk_device_run(ref, BK_K_ACTIVATION, &forward, &err));
        BK_ASSERT_OK(bk_device_run(ref, BK_K_ACTIVATION_DX, &back, &err));
        CU_ASSERT(difference(my, values(y), N) < 1e-6);
        CU_ASSERT(difference(mdx, values(dx), N) < 1e-6);
        struct bk_tensor *all[] = { x, y, dy, dx };
        for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
            bk_tensor_free(all[i]);
    }
    bk_device_close(ref);
    CU_ASSERT(cuda_act(BK_ACT_NONE, -2.5f) == -2.5f && cuda_act_slope(BK_ACT_NONE, -2.5f) == 1);
}

/* ---- convolution ---------------------------------------------------------------------------------------- */

static void check_conv(int n, int h, int w, int ci, int co, int kh, int kw, int stride, int pad, int groups)
{
    struct cuda_geometry g = { n, h, w, ci, (h + 2 * pad - kh) / stride + 1, (w + 2 * pad - kw) / stride + 1, co, kh, kw,
                               ci / groups, co / groups, groups, stride, pad };
    struct bk_conv2d_attr attr = { stride, pad, groups, 0 };
    struct bk_tensor *x = tensor(1, n, h, w, ci), *f = tensor(2, co, kh, kw, g.cg), *dy = tensor(3, n, g.ho, g.wo, co);
    struct bk_tensor *y = tensor(0, n, g.ho, g.wo, co), *dx = tensor(0, n, h, w, ci), *df = tensor(0, co, kh, kw, g.cg);
    struct bk_kernel_args forward = { .in = { x, f }, .out = { y }, .n_in = 3, .n_out = 1, .attr = &attr };
    struct bk_kernel_args back = { .in = { dy, f }, .out = { dx }, .n_in = 2, .n_out = 1, .attr = &attr };
    struct bk_kernel_args weights = { .in = { x, dy }, .out = { df }, .n_in = 2, .n_out = 2, .attr = &attr };
    BK_ASSERT_OK(bk_device_run(ref, BK_K_CONV2D, &forward, &err));
    BK_ASSERT_OK(bk_device_run(ref, BK_K_CONV2D_DX, &back, &err));
    BK_ASSERT_OK(bk_device_run(ref, BK_K_CONV2D_DW, &weights, &err));
    double *my = calloc((size_t)bk_tensor_numel(y), 8), *mdx = calloc((size_t)bk_tensor_numel(x), 8);
    double *mdf = calloc((size_t)bk_tensor_numel(f), 8);
    int outputs = n * g.ho * g.wo, inner = kh * kw * g.cg;
    for (int group = 0; group < groups; group++) {
        for (int i = 0; i < outputs; i++)
            for (int k = 0; k < inner; k++) {
                int64_t at = cuda_conv_x(&g, group, i, k);
                for (int o = 0; at >= 0 && o < g.og; o++) {
                    int64_t out = (int64_t)i * co + group * g.og + o, tap = cuda_conv_w(&g, group, o, k);
                    my[out] += values(x)[at] * values(f)[tap];
                    mdf[tap] += values(x)[at] * values(dy)[out];
                }
            }
        for (int i = 0; i < n * h * w; i++)
            for (int k = 0; k < kh * kw * g.og; k++) {
                int64_t at = cuda_conv_dy(&g, group, i, k);
                for (int c = 0; at >= 0 && c < g.cg; c++)
                    mdx[(int64_t)i * ci + group * g.cg + c] += values(dy)[at] * values(f)[cuda_conv_w_dx(&g, group, c, k)];
            }
    }
    CU_ASSERT(difference(my, values(y), bk_tensor_numel(y)) < 1e-12);
    CU_ASSERT(difference(mdx, values(dx), bk_tensor_numel(dx)) < 1e-12);
    CU_ASSERT(difference(mdf, values(df), bk_tensor_numel(df)) < 1e-12);
    free(my), free(mdx), free(mdf);
    bk_tensor_free(x), bk_tensor_free(f), bk_tensor_free(dy), bk_tensor_free(y), bk_tensor_free(dx), bk_tensor_free(df);
}

static void test_conv(void)
{
    open_ref();
    check_conv(2, 7, 6, 5, 4, 3, 3, 1, 1, 1);
    check_conv(2, 7, 9, 5, 6, 3, 3, 2, 1, 1);
    check_conv(1, 8, 7, 6, 4, 5, 5, 2, 2, 2);
    check_conv(2, 5, 6, 4, 5, 3, 1, 1, 1, 1);
    check_conv(1, 9, 8, 9, 9, 7, 7, 1, 3, 9);
    check_conv(2, 7, 8, 3, 4, 1, 1, 2, 0, 1);
    bk_device_close(ref);
}

/* ---- tiles ------------------------------------------------------------------------------------------------ */

static void test_tiles(void)
{
    for (int inner = 0; inner < 2; inner++) {
        int seen[CUDA_TILE][CUDA_TILE_K] = { { 0 } }, wrong = 0;
        for (int thread = 0; thread < CUDA_BLOCK; thread++)
            for (int e = 0; e < 4; e++) {
                int i, k;
                cuda_tile_at(inner, thread, e, &i, &k);
                CU_ASSERT_FATAL(i >= 0 && i < CUDA_TILE && k >= 0 && k < CUDA_TILE_K);
                seen[i][k]++;
            }
        for (int i = 0; i < CUDA_TILE * CUDA_TILE_K; i++)
            wrong += seen[i / CUDA_TILE_K][i % CUDA_TILE_K] != 1;
        CU_ASSERT_EQUAL(wrong, 0);
    }
    static const int64_t depths[] = { 1, 5, 16, 100, 128, 255, 2048, 100000, 262144, 50000000 };
    for (size_t i = 0; i < BK_ARRAY_LEN(depths); i++)
        for (int64_t tiles = 1; tiles < 5000; tiles = 3 * tiles + 1) {
            int per, n = cuda_splits(depths[i], tiles, 128, &per);
            CU_ASSERT(n >= 1 && per % 16 == 0 && per <= 8192 + 16);
            CU_ASSERT((int64_t)(n - 1) * per < depths[i] && (int64_t)n * per >= depths[i]);
        }
}

/* ---- pooling, slices ---------------------------------------------------------------------------------------- */

/* An input lies in an output's window exactly when the output is among those that hold the input. */
static void test_pool_windows(void)
{
    for (int size = 1; size <= 5; size++)
        for (int stride = 1; stride <= 3; stride++)
            for (int pad = 0; 2 * pad <= size; pad++)
                for (int n = size; n < 12; n++)
                    for (int ceiled = 0; ceiled < 2; ceiled++) {
                        struct cuda_pool s = { .size = size, .stride = stride, .pad = pad };
                        int n_out = (n + 2 * pad - size + (ceiled ? stride - 1 : 0)) / stride + 1, wrong = 0;
                        if (ceiled && (n_out - 1) * stride >= n + pad)
                            n_out--;
                        for (int r = 0; r < n; r++)
                            for (int p = 0; p < n_out; p++) {
                                int b, e, p0, p1;
                                cuda_pool_window(&s, p, n, &b, &e);
                                cuda_pool_outputs(&s, r, n_out, &p0, &p1);
                                wrong += b >= e || (r >= b && r < e) != (p >= p0 && p < p1);
                            }
                        CU_ASSERT_EQUAL(wrong, 0);
                    }
}

static void test_slice(void)
{
    struct cuda_slice s = { { 5, 3, 3, 6 }, { 4, 2, 3, 5 } };
    int64_t i = 0;
    for (int64_t a = 0; a < 4; a++)
        for (int64_t b = 0; b < 2; b++)
            for (int64_t c = 0; c < 3; c++)
                for (int64_t d = 0; d < 5; d++)
                    CU_ASSERT_EQUAL(cuda_slice_place(&s, i++), ((a * 3 + b) * 3 + c) * 6 + d);
}

/* ---- pooled head ---------------------------------------------------------------------------------------------- */

struct head {
    int N, P, C, K;
    struct bk_tensor *g, *x, *w, *scale, *m, *mu, *S, *rstd;
};

/* m, mu and S as POOLED_HEAD gives them; rstd follows. */
static void fill_statistics(struct head *h)
{
    struct bk_tensor *offset = tensor(9, h->K, 0, 0, 0), *y = tensor(0, h->N, h->K, 0, 0);
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .momentum = 0.1, .n_terms = 1, .mode = BK_NORM_BATCH };
    struct bk_kernel_args args = { .in = { h->x, h->w, h->scale, offset }, .out = { y, h->m, h->mu, h->S, h->rstd },
                                   .n_in = 6, .n_out = 7, .attr = &attr };
    BK_ASSERT_OK(bk_device_run(ref, BK_K_POOLED_HEAD, &args, &err));
    bk_tensor_free(offset), bk_tensor_free(y);
}

/* The backward pass by way of G = g' u, as cuda_head.cu orders it. */
static void head_gradient(const struct head *h, double *dx, double *dw, double *dscale)
{
    int N = h->N, C = h->C, K = h->K, R = h->N * h->P;
    double *G = calloc((size_t)(K * C), 8), *T = calloc((size_t)(K * C), 8), *Q = calloc((size_t)(C * C), 8);
    double *e = calloc((size_t)(N * C), 8), *mean = calloc((size_t)C, 8);
    const double *w = values(h->w), *g = values(h->g);
    for (int k = 0; k < K; k++) {
        double A = 0;
        float a, v;
        for (int c = 0; c < C; c++) {
            for (int n = 0; n < N; n++)
                G[k * C + c] += g[n * K + k] * (values(h->m)[n * C + c] - values(h->mu)[c]);
            for (int i = 0; i < C; i++)
                T[k * C + c] += w[k * C + i] * values(h->S)[i * C + c];
            A += G[k * C + c] * w[k * C + c];
        }
        cuda_head_output(values(h->scale)[k], values(h->rstd)[k], A, &a, &v, &dscale[k]);
        for (int c = 0; c < C; c++) {
            dw[k * C + c] = (double)a * G[k * C + c] + 2 * (double)v * T[k * C + c];
            for (int i = 0; i < C; i++)
                Q[i * C + c] += 2.0 / R * (double)v * w[k * C + i] * w[k * C + c];
            for (int n = 0; n < N; n++)
                e[n * C + c] += g[n * K + k] * (double)a * w[k * C + c] / h->P;
        }
    }
    for (int i = 0; i < N * C; i++)
        mean[i % C] += e[i] / N;
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            dx[r * C + c] = e[r / h->P * C + c] - mean[c];
            for (int i = 0; i < C; i++)
                dx[r * C + c] += (values(h->x)[r * C + i] - values(h->mu)[i]) * Q[i * C + c];
        }
    free(G), free(T), free(Q), free(e), free(mean);
}

static void test_head(void)
{
    open_ref();
    struct head h = { 5, 12, 7, 19, tensor(1, 5, 19, 0, 0), tensor(2, 5, 3, 4, 7), tensor(3, 19, 7, 0, 0), tensor(4, 19, 0, 0, 0),
                      tensor(0, 5, 7, 0, 0), tensor(0, 7, 0, 0, 0), tensor(0, 7, 7, 0, 0), tensor(0, 19, 0, 0, 0) };
    struct bk_tensor *dx = tensor(0, 5, 3, 4, 7), *dw = tensor(0, 19, 7, 0, 0), *ds = tensor(0, 19, 0, 0, 0);
    struct bk_batch_norm_attr attr = { .eps = 1e-5, .n_terms = 1, .mode = BK_NORM_BATCH };
    struct bk_kernel_args args = { .in = { h.g, h.x, h.w, h.scale, h.m, h.mu, h.S, h.rstd }, .out = { dx, dw, ds },
                                   .n_in = 8, .n_out = 4, .attr = &attr };
    double mdx[5 * 12 * 7], mdw[19 * 7], mds[19];
    fill_statistics(&h);
    BK_ASSERT_OK(bk_device_run(ref, BK_K_POOLED_HEAD_DX, &args, &err));
    head_gradient(&h, mdx, mdw, mds);
    CU_ASSERT(difference(mdx, values(dx), 5 * 12 * 7) < 1e-6);
    CU_ASSERT(difference(mdw, values(dw), 19 * 7) < 1e-6);
    CU_ASSERT(difference(mds, values(ds), 19) < 1e-12);
    struct bk_tensor *all[] = { h.g, h.x, h.w, h.scale, h.m, h.mu, h.S, h.rstd, dx, dw, ds };
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++)
        bk_tensor_free(all[i]);
    bk_device_close(ref);
}

/* ---- optimisers, randomness ------------------------------------------------------------------------------------- */

static void test_lars_ratio(void)
{
    BK_ASSERT_CLOSE(cuda_lars_ratio(9, 16, 0.5, 0.01, false, false), 0.01 * 3 / (4 + 0.5 * 3), 1e-15);
    CU_ASSERT_EQUAL(cuda_lars_ratio(9, 16, 0, 0.01, true, false), 1);
    CU_ASSERT_EQUAL(cuda_lars_ratio(0, 16, 0.5, 0.01, false, true), 1);
    CU_ASSERT_EQUAL(cuda_lars_ratio(0, 16, 0.5, 0.01, false, false), 0);
    CU_ASSERT_EQUAL(cuda_lars_ratio(0, 0, 0.5, 0.01, false, false), 1);
}

static void test_randomness(void)
{
    const uint32_t counter[4] = { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, key[2] = { 0xa4093822, 0x299f31d0 };
    static const uint32_t want[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };    /* Random123, kat_vectors */
    uint32_t got[4];
    cuda_philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1], got);
    CU_ASSERT(!memcmp(got, want, sizeof want));

    struct bk_random r;
    uint64_t seed = 0x123456789abcdefu, step = (7ull << 32) + 3;
    uint32_t stream = bk_random_stream("dropout");
    int wrong = 0, zeros = 0;
    bk_random_init(&r, seed, stream, step, 0);
    for (int64_t group = 0; group < 4001; group++) {
        bool zero = (double)bk_random_f32(&r) < 0.3;
        wrong += zero != cuda_dropout_is_zero(seed, stream, step, group, 0.3);
        zeros += zero;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(zeros > 1100 && zeros < 1300);
}

BK_SUITE({ "size classes", test_size_classes }, { "rows of a block", test_rows }, { "batch norm", test_norm },
         { "activations", test_activations },
         { "convolution as a product", test_conv }, { "tiles and splits", test_tiles }, { "pooling windows", test_pool_windows },
         { "slices", test_slice }, { "pooled head", test_head }, { "trust ratio", test_lars_ratio },
         { "randomness", test_randomness })

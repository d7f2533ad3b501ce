/*
 * cpu_loops_dense.h: element-wise loops, dot products, the small matrix product of the pooled head and the optimiser
 * steps; included by the cpu_isa_*.c files only.
 */

INLINE void add_range(void *out, const void *const *in, int n_in, const void *mask, int relu,
                      int64_t begin, int64_t end, int bf16)
{
    for (int64_t i = begin; i < end; i += VL) {
        int n = end - i < VL ? (int)(end - i) : VL;
        vf v = vload_n(in[0], i, bf16, n);
        for (int k = 1; k < n_in; k++)
            v += vload_n(in[k], i, bf16, n);
        if (mask)
            v = vwhere_positive(v, vload_n(mask, i, bf16, n));
        if (relu)
            v = vrelu(v);
        vstore_n(out, i, bf16, v, n);
    }
}

static void add_f32(void *out, const void *const *in, int n_in, const void *mask, int relu,
                    int64_t begin, int64_t end)
{
    add_range(out, in, n_in, mask, relu, begin, end, 0);
}

static void add_bf16(void *out, const void *const *in, int n_in, const void *mask, int relu,
                     int64_t begin, int64_t end)
{
    add_range(out, in, n_in, mask, relu, begin, end, 1);
}

static void to_f32(const uint16_t *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        vstore(y, i, 0, vload(x, i, 1));
    if (i < n)
        vstore_n(y, i, 0, vload_n(x, i, 1, (int)(n - i)), (int)(n - i));
}

static void to_bf16(const float *x, uint16_t *y, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        vstore(y, i, 1, vload(x, i, 0));
    if (i < n)
        vstore_n(y, i, 1, vload_n(x, i, 0, (int)(n - i)), (int)(n - i));
}

/* f32 partial sums over at most 4096 elements, added in f64. */
static double dot(const float *x, const float *y, int64_t n)
{
    double total = 0;
    for (int64_t i0 = 0; i0 < n; i0 += 4096) {
        int64_t end = n - i0 < 4096 ? n : i0 + 4096, i = i0;
        vf s[4] = { { 0 }, { 0 }, { 0 }, { 0 } };
        for (; i + 4 * VL <= end; i += 4 * VL)
            for (int v = 0; v < 4; v++)
                s[v] += vload(x, i + v * VL, 0) * vload(y, i + v * VL, 0);
        for (; i < end; i += VL) {
            int m = end - i < VL ? (int)(end - i) : VL;
            s[0] += vload_n(x, i, 0, m) * vload_n(y, i, 0, m);
        }
        total += vtotal((s[0] + s[1]) + (s[2] + s[3]));
    }
    return total;
}

static void blend(float *restrict y, float a, const float *restrict x, float b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a * y[i] + b * x[i];
}

static void combine(float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a * x[i] + b * z[i];
}

INLINE void centre_rows(const void *x, const float *mu, int64_t rows, int64_t cols, int64_t ld,
                        float *out, int bf16)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < ld; j += VL) {
            int n = cols - j >= VL ? VL : cols > j ? (int)(cols - j) : 0;
            vf v = vload_n(x, r * cols + j, bf16, n) - vload_n(mu, j, 0, n);
            vstore(out, r * ld + j, 0, v);
        }
}

static void centre_f32(const void *x, const float *mu, int64_t rows, int64_t cols, int64_t ld,
                       float *out)
{
    centre_rows(x, mu, rows, cols, ld, out, 0);
}

static void centre_bf16(const void *x, const float *mu, int64_t rows, int64_t cols, int64_t ld,
                        float *out)
{
    centre_rows(x, mu, rows, cols, ld, out, 1);
}

#if defined(__AVX512F__)
#define GEMM_NV 4               /* 4 x 4 zmm accumulators */
#else
#define GEMM_NV 1               /* 4 x 1 vectors of two ymm or four xmm */
#endif

INLINE void gemm_tile(int64_t k, const float *a, int64_t a_row, int64_t a_col, const float *b,
                      int64_t ldb, float *c, int64_t ldc, int mr, int nv)
{
    vf acc[4][4];
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++)
            acc[i][v] = vload(c, i * ldc + v * VL, 0);
    for (int64_t p = 0; p < k; p++) {
        vf bv[4];
        for (int v = 0; v < nv; v++)
            bv[v] = vload(b, p * ldb + v * VL, 0);
        for (int i = 0; i < mr; i++) {
            vf av = vset(a[i * a_row + p * a_col]);
            for (int v = 0; v < nv; v++)
                acc[i][v] += av * bv[v];
        }
    }
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++)
            vstore(c, i * ldc + v * VL, 0, acc[i][v]);
}

INLINE void gemm_columns(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_col,
                         const float *b, int64_t ldb, float *c, int64_t ldc, int nv)
{
    int64_t i = 0;
    for (; i + 4 <= m; i += 4)
        gemm_tile(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, 4, nv);
    for (; i < m; i++)
        gemm_tile(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, 1, nv);
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_col,
                 const float *b, int64_t ldb, float *c, int64_t ldc)
{
    int64_t j = 0;
    for (; j + GEMM_NV * VL <= n; j += GEMM_NV * VL)
        gemm_columns(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, GEMM_NV);
    for (; j < n; j += VL)
        gemm_columns(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, 1);
}

/* PyTorch's SGD: d = g + wd w; buf = d on the first step, else momentum buf + d; w -= lr (d + momentum buf, or buf). */
static void sgd(const struct cpu_step *s, float *restrict w, const float *restrict g,
                float *restrict buf, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float d = g[i] + s->decay * w[i];
        float b = s->first ? d : s->momentum * buf[i] + d;
        buf[i] = b;
        w[i] -= s->lr * (s->nesterov ? d + s->momentum * b : b);
    }
}

/* scale is lr * lambda of bosskit/optim.h. */
static void lars(const struct cpu_step *s, float *restrict w, const float *restrict g,
                 float *restrict buf, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float d = s->scale * (g[i] + s->decay * w[i]);
        float b = s->first ? d : s->momentum * buf[i] + d;
        buf[i] = b;
        w[i] -= b;
    }
}

/* Loshchilov, Hutter 2019, as PyTorch writes it; step_size = lr / bias1, decay = 1 - lr wd. */
static void adamw(const struct cpu_step *s, float *restrict w, const float *restrict g,
                  float *restrict m, float *restrict v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float mi = s->beta1 * m[i] + (1 - s->beta1) * g[i];
        float vi = s->beta2 * v[i] + (1 - s->beta2) * g[i] * g[i];
        m[i] = mi;
        v[i] = vi;
        w[i] = s->decay * w[i] - s->step_size * mi / (__builtin_sqrtf(vi) / s->root_bias2 + s->eps);
    }
}

/* TensorFlow's RMSprop: epsilon inside the root, lr inside the buffer. */
static void rmsprop(const struct cpu_step *s, float *restrict w, const float *restrict g,
                    float *restrict sq, float *restrict buf, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float d = g[i] + s->decay * w[i];
        float q = s->beta2 * sq[i] + (1 - s->beta2) * d * d;
        float b = s->momentum * buf[i] + s->lr * d / __builtin_sqrtf(q + s->eps);
        sq[i] = q;
        buf[i] = b;
        w[i] -= b;
    }
}

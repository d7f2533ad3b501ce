/*
 * cpu_loops_activation.h: activations, channel factors, softmax rows and multiples; included by the cpu_isa_*.c files only.
 */
INLINE void act_range(int kind, const void *x, void *y, int64_t begin, int64_t end, int bf16)
{
    int64_t i = begin;
    for (; i + VL <= end; i += VL)
        vstore(y, i, bf16, act_value(kind, vload(x, i, bf16), bf16));
    if (i < end) {
        int n = (int)(end - i);
        vstore_n(y, i, bf16, act_value(kind, vload_n(x, i, bf16, n), bf16), n);
    }
}

INLINE void act_dx_range(int kind, const void *const *dy, int n_dy, const void *x, void *dx,
                         int64_t begin, int64_t end, int bf16)
{
    for (int64_t i = begin; i < end; i += VL) {
        int n = end - i < VL ? (int)(end - i) : VL;
        vf g = vload_n(dy[0], i, bf16, n);
        for (int k = 1; k < n_dy; k++)
            g += vload_n(dy[k], i, bf16, n);
        vstore_n(dx, i, bf16, act_gradient(kind, g, vload_n(x, i, bf16, n), bf16), n);
    }
}

/* The factors of a block of columns stay in registers while its rows pass. */
INLINE void scale_block(const void *x, const float *s, int64_t rows, int64_t cols, int64_t j, void *y,
                        int bf16, int nv, int n)
{
    vf f[NORM_MAX_NV];
    for (int v = 0; v < nv; v++)
        f[v] = vload_n(s, j + v * VL, 0, n);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vstore_n(y, i, bf16, vload_n(x, i, bf16, n) * f[v], n);
        }
}

INLINE void product_block(const void *dy, const void *x, int64_t rows, int64_t cols, int64_t j,
                          double *sum, int bf16, int nv, int n)
{
    vf s[NORM_MAX_NV];
    for (int v = 0; v < nv; v++)
        s[v] = vset(0);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            s[v] += vload_n(dy, i, bf16, n) * vload_n(x, i, bf16, n);
        }
    for (int v = 0; v < nv; v++)
        vflush(sum + j + v * VL, s[v], n);
}

INLINE void scale_all(const void *x, const float *s, int64_t rows, int64_t cols, void *y, int bf16)
{
    int64_t step = chunk_rows(cols);
    for (int64_t r = 0; r < rows; r += step) {
        int64_t nr = rows - r < step ? rows - r : step;
#define CALL(nv, n)                                                                      \
    scale_block(at(x, r * cols, bf16), s, nr, cols, j, (void *)at(y, r * cols, bf16), bf16, nv, n)
        FOR_COLUMNS(cols, 4, CALL);
#undef CALL
    }
}

INLINE void product_all(const void *dy, const void *x, int64_t rows, int64_t cols, double *sum,
                        int bf16)
{
    int64_t step = chunk_rows(cols);
    for (int64_t r = 0; r < rows; r += step) {
        int64_t nr = rows - r < step ? rows - r : step;
#define CALL(nv, n)                                                                      \
    product_block(at(dy, r * cols, bf16), at(x, r * cols, bf16), nr, cols, j, sum, bf16, nv, n)
        FOR_COLUMNS(cols, 4, CALL);
#undef CALL
    }
}

INLINE void multiple(const void *x, float a, void *y, int64_t n, int bf16)
{
    for (int64_t i = 0; i < n; i += VL) {
        int m = n - i < VL ? (int)(n - i) : VL;
        vstore_n(y, i, bf16, vload_n(x, i, bf16, m) * a, m);
    }
}

#define ACTIVATION_LOOPS(suffix, bf16)                                                   \
    static void activation_##suffix(int kind, const void *x, void *y, int64_t begin, int64_t end) \
    {                                                                                    \
        ACT_SWITCH(kind, ACT_CALL_##suffix)                                              \
    }                                                                                    \
    static void activation_dx_##suffix(int kind, const void *const *dy, int n_dy,        \
                                       const void *x, void *dx, int64_t begin, int64_t end) \
    {                                                                                    \
        ACT_SWITCH(kind, ACT_DX_CALL_##suffix)                                           \
    }                                                                                    \
    static void scale_##suffix(const void *x, float a, void *y, int64_t n)               \
    {                                                                                    \
        multiple(x, a, y, n, bf16);                                                      \
    }                                                                                    \
    static void scale_rows_##suffix(const void *x, const float *s, int64_t rows, int64_t cols, \
                                    void *y)                                             \
    {                                                                                    \
        scale_all(x, s, rows, cols, y, bf16);                                            \
    }                                                                                    \
    static void product_sums_##suffix(const void *dy, const void *x, int64_t rows, int64_t cols, \
                                      double *sum)                                       \
    {                                                                                    \
        product_all(dy, x, rows, cols, sum, bf16);                                       \
    }
#define ACT_CALL_f32(k) act_range(k, x, y, begin, end, 0)
#define ACT_CALL_bf16(k) act_range(k, x, y, begin, end, 1)
#define ACT_DX_CALL_f32(k) act_dx_range(k, dy, n_dy, x, dx, begin, end, 0)
#define ACT_DX_CALL_bf16(k) act_dx_range(k, dy, n_dy, x, dx, begin, end, 1)

ACTIVATION_LOOPS(f32, 0)
ACTIVATION_LOOPS(bf16, 1)

static void softmax(const float *x, float a, float *p, int64_t n)
{
    int64_t whole = n / VL * VL;
    int rest = (int)(n - whole);
    vf most = vset(-__builtin_inff()), s = vset(0);
    for (int64_t i = 0; i < whole; i += VL)
        most = vmax(vload(x, i, 0) * a, most);
    float top = -__builtin_inff();
    for (int k = 0; k < VL; k++)
        top = most[k] > top ? most[k] : top;
    for (int64_t i = whole; i < n; i++)
        top = x[i] * a > top ? x[i] * a : top;
    for (int64_t i = 0; i < whole; i += VL) {
        vf e = vexp(vload(x, i, 0) * a - top);
        vstore(p, i, 0, e);
        s += e;
    }
    double sum = vtotal(s);
    vf e = vexp(vload_n(x, whole, 0, rest) * a - top);
    vstore_n(p, whole, 0, e, rest);
    for (int k = 0; k < rest; k++)
        sum += (double)e[k];
    multiple(p, (float)(1 / sum), p, n, 0);
}

static void softmax_dx(const float *p, const float *dp, float a, float *ds, int64_t n)
{
    vf s = vset(0);
    for (int64_t i = 0; i < n; i += VL) {
        int m = n - i < VL ? (int)(n - i) : VL;
        s += vload_n(p, i, 0, m) * vload_n(dp, i, 0, m);
    }
    float mean = (float)vtotal(s);
    for (int64_t i = 0; i < n; i += VL) {
        int m = n - i < VL ? (int)(n - i) : VL;
        vstore_n(ds, i, 0, a * vload_n(p, i, 0, m) * (vload_n(dp, i, 0, m) - mean), m);
    }
}

/*
 * cpu_loops_image.h: pooling and depthwise range loops; included by the cpu_isa_*.c files only.
 * Letters: H W input positions, Ho Wo output positions, C channels; a vector runs along C.
 */

struct span {
    int64_t begin, end;
};

/* Taps 0..size-1 of the window at output position o that lie inside 0..n-1. */
INLINE struct span taps_inside(int64_t o, int64_t stride, int64_t pad, int64_t size, int64_t n)
{
    int64_t i0 = o * stride - pad;
    return (struct span){ i0 < 0 ? -i0 : 0, n - i0 < size ? n - i0 : size };
}

/* Outputs 0..n_out-1 whose window contains input position i. */
INLINE struct span windows_over(int64_t i, int64_t stride, int64_t pad, int64_t size, int64_t n_out)
{
    int64_t lo = i + pad - size + 1, hi = (i + pad) / stride + 1;
    lo = lo <= 0 ? 0 : (lo + stride - 1) / stride;
    return (struct span){ lo, hi < n_out ? hi : n_out };
}

INLINE void pool_rows(const struct cpu_pool_shape *s, const void *x, void *y, int64_t begin,
                      int64_t end, int bf16, int is_max)
{
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / s->ho, oh = row % s->ho;
        struct span th = taps_inside(oh, s->stride, s->pad, s->size, s->h);
        for (int64_t ow = 0; ow < s->wo; ow++) {
            struct span tw = taps_inside(ow, s->stride, s->pad, s->size, s->w);
            int64_t taps = (th.end - th.begin) * (tw.end - tw.begin);
            float scale = taps > 0 ? 1.0f / (float)taps : 0.0f;
            for (int64_t c = 0; c < s->c; c += VL) {
                int m = s->c - c < VL ? (int)(s->c - c) : VL;
                vf v = is_max ? vset(-__builtin_inff()) : vset(0);
                for (int64_t a = th.begin; a < th.end; a++)
                    for (int64_t b = tw.begin; b < tw.end; b++) {
                        int64_t ih = oh * s->stride - s->pad + a, iw = ow * s->stride - s->pad + b;
                        vf t = vload_n(x, ((n * s->h + ih) * s->w + iw) * s->c + c, bf16, m);
                        v = is_max ? vmax(t, v) : v + t;
                    }
                vstore_n(y, (row * s->wo + ow) * s->c + c, bf16, is_max ? v : v * scale, m);
            }
        }
    }
}

INLINE void avg_dx_rows(const struct cpu_pool_shape *s, const void *dy, void *dx, int64_t begin,
                        int64_t end, int bf16)
{
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / s->h, ih = row % s->h;
        struct span wh = windows_over(ih, s->stride, s->pad, s->size, s->ho);
        for (int64_t iw = 0; iw < s->w; iw++) {
            struct span ww = windows_over(iw, s->stride, s->pad, s->size, s->wo);
            for (int64_t c = 0; c < s->c; c += VL) {
                int m = s->c - c < VL ? (int)(s->c - c) : VL;
                vf v = vset(0);
                for (int64_t a = wh.begin; a < wh.end; a++) {
                    struct span th = taps_inside(a, s->stride, s->pad, s->size, s->h);
                    for (int64_t b = ww.begin; b < ww.end; b++) {
                        struct span tw = taps_inside(b, s->stride, s->pad, s->size, s->w);
                        float taps = (float)((th.end - th.begin) * (tw.end - tw.begin));
                        int64_t i = ((n * s->ho + a) * s->wo + b) * s->c + c;
                        v += vload_n(dy, i, bf16, m) * (1.0f / taps);
                    }
                }
                vstore_n(dx, (row * s->w + iw) * s->c + c, bf16, v, m);
            }
        }
    }
}

INLINE void spread_rows(const float *dy, int64_t rows, int64_t cols, void *dx, int bf16)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j += VL) {
            int m = cols - j < VL ? (int)(cols - j) : VL;
            vstore_n(dx, r * cols + j, bf16, vload_n(dy, j, 0, m), m);
        }
}

#define IMAGE_LOOPS(suffix, bf16)                                                        \
    static void avg_pool_##suffix(const struct cpu_pool_shape *s, const void *x, void *y, \
                                  int64_t begin, int64_t end)                            \
    {                                                                                    \
        pool_rows(s, x, y, begin, end, bf16, 0);                                         \
    }                                                                                    \
    static void max_pool_##suffix(const struct cpu_pool_shape *s, const void *x, void *y, \
                                  int64_t begin, int64_t end)                            \
    {                                                                                    \
        pool_rows(s, x, y, begin, end, bf16, 1);                                         \
    }                                                                                    \
    static void avg_pool_dx_##suffix(const struct cpu_pool_shape *s, const void *dy,     \
                                     void *dx, int64_t begin, int64_t end)               \
    {                                                                                    \
        avg_dx_rows(s, dy, dx, begin, end, bf16);                                        \
    }                                                                                    \
    static void spread_##suffix(const float *dy, int64_t rows, int64_t cols, void *dx)   \
    {                                                                                    \
        spread_rows(dy, rows, cols, dx, bf16);                                           \
    }

IMAGE_LOOPS(f32, 0)
IMAGE_LOOPS(bf16, 1)

/* One row of dy against one row of x: acc[kw] += sum over wo in lo..hi-1 (all taps inside) of dy[wo] x[wo stride - pad + kw]. */
INLINE void depthwise_row(const void *x, const void *dy, int64_t ld, int64_t stride, int64_t pad,
                          int64_t lo, int64_t hi, vf *acc, int k, int bf16, int n)
{
    int64_t wo = lo;
    vf a[7];
    for (int t = 0; t < k; t++)
        a[t] = acc[t];
    for (; stride == 1 && wo + 4 <= hi; wo += 4) {
        vf xv[10];
        for (int t = 0; t < k + 3; t++)
            xv[t] = vload_n(x, (wo - pad + t) * ld, bf16, n);
        for (int u = 0; u < 4; u++) {
            vf d = vload_n(dy, (wo + u) * ld, bf16, n);
            for (int t = 0; t < k; t++)
                a[t] += d * xv[u + t];
        }
    }
    for (; wo < hi; wo++) {
        vf d = vload_n(dy, wo * ld, bf16, n);
        for (int t = 0; t < k; t++)
            a[t] += d * vload_n(x, (wo * stride - pad + t) * ld, bf16, n);
    }
    for (int t = 0; t < k; t++)
        acc[t] = a[t];
}

/* The outputs whose window leaves the image, tap by tap. */
INLINE void depthwise_edge(const struct cpu_depthwise_shape *s, const void *x, const void *dy,
                           int64_t wo, vf *acc, int bf16, int n)
{
    struct span t = taps_inside(wo, s->stride, s->pad, s->kw, s->w);
    vf d = vload_n(dy, wo * s->c, bf16, n);
    for (int64_t b = t.begin; b < t.end; b++)
        acc[b] += d * vload_n(x, (wo * s->stride - s->pad + b) * s->c, bf16, n);
}

/* Channels c..c+n-1 of one image; k = kw as a constant, 0 for widths without a loop of their own. */
INLINE void depthwise_image(const struct cpu_depthwise_shape *s, const void *x, const void *dy,
                            double *acc, int64_t c, int k, int bf16, int n)
{
    enum { MAX_K = 16 };
    vf sum[MAX_K];
    int64_t lo = (s->pad + s->stride - 1) / s->stride;
    int64_t hi = s->w + s->pad >= s->kw ? (s->w + s->pad - s->kw) / s->stride + 1 : 0;
    if (hi > s->wo)
        hi = s->wo;
    if (k == 0 || lo > hi)
        lo = hi = s->wo;
    for (int64_t kh = 0; kh < s->kh; kh++) {
        for (int64_t b = 0; b < s->kw; b++)
            sum[b] = vset(0);
        for (int64_t oh = 0; oh < s->ho; oh++) {
            int64_t ih = oh * s->stride - s->pad + kh;
            if (ih < 0 || ih >= s->h)
                continue;
            const void *xr = at(x, ih * s->w * s->c + c, bf16);
            const void *dr = at(dy, oh * s->wo * s->c + c, bf16);
            for (int64_t wo = 0; wo < lo; wo++)
                depthwise_edge(s, xr, dr, wo, sum, bf16, n);
            if (k)
                depthwise_row(xr, dr, s->c, s->stride, s->pad, lo, hi, sum, k, bf16, n);
            for (int64_t wo = hi; wo < s->wo; wo++)
                depthwise_edge(s, xr, dr, wo, sum, bf16, n);
        }
        for (int64_t b = 0; b < s->kw; b++)
            vflush(acc + (kh * s->kw + b) * s->c + c, sum[b], n);
    }
}

INLINE void depthwise_images(const struct cpu_depthwise_shape *s, const void *x, const void *dy,
                             int64_t begin, int64_t end, double *acc, int k, int bf16)
{
    for (int64_t i = begin; i < end; i++) {
        const void *xi = at(x, i * s->h * s->w * s->c, bf16);
        const void *di = at(dy, i * s->ho * s->wo * s->c, bf16);
        int64_t c = 0;
        for (; c + VL <= s->c; c += VL)
            depthwise_image(s, xi, di, acc, c, k, bf16, VL);
        if (c < s->c)
            depthwise_image(s, xi, di, acc, c, k, bf16, (int)(s->c - c));
    }
}

#define DEPTHWISE_LOOPS(suffix, bf16)                                                    \
    static void depthwise_dw_##suffix(const struct cpu_depthwise_shape *s, const void *x, \
                                      const void *dy, int64_t begin, int64_t end,        \
                                      double *acc)                                       \
    {                                                                                    \
        switch (s->kw) {                                                                 \
        case 3:                                                                          \
            depthwise_images(s, x, dy, begin, end, acc, 3, bf16);                        \
            break;                                                                       \
        case 5:                                                                          \
            depthwise_images(s, x, dy, begin, end, acc, 5, bf16);                        \
            break;                                                                       \
        case 7:                                                                          \
            depthwise_images(s, x, dy, begin, end, acc, 7, bf16);                        \
            break;                                                                       \
        default:                                                                         \
            depthwise_images(s, x, dy, begin, end, acc, 0, bf16);                        \
        }                                                                                \
    }

DEPTHWISE_LOOPS(f32, 0)
DEPTHWISE_LOOPS(bf16, 1)

/*
 * cuda_depthwise.cu: depthwise convolutions (groups = channels) with square windows of 3, 5 and 7, NHWC.
 *
 * Forward and dx: a thread computes V neighbouring channels of one pixel; weights are first turned into [taps][C] f32 so
 * that a vector of channels reads a vector of weights. dw: a thread keeps all taps of one channel in registers and walks
 * outputs; blocks add their threads, partial sums of the blocks are added in f64 in order. No atomics.
 */
#include "cuda_device.cuh"

bool cuda_depthwise_takes(const struct cuda_geometry *g)
{
    return g->groups == g->ci && g->ci == g->co && g->groups > 1 && g->kh == g->kw &&
           (g->kh == 3 || g->kh == 5 || g->kh == 7);
}

/* w [C][taps] -> out [taps][C] */
template <typename T> struct spread_weights {
    const T *w;
    float *out;
    int c, taps;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        out[i] = to_f32(w[i % c * taps + i / c]);
    }
};

template <typename T, int V, int K, bool DX> struct depthwise {
    struct cuda_geometry g;
    const T *in;
    const float *w;             /* [K K][C] */
    T *out;
    /* item: one vector of channels of one pixel of the output tensor (y, or dx) */
    template <int> __device__ __forceinline__ void at(int64_t item) const
    {
        const int ih = DX ? g.ho : g.h, iw = DX ? g.wo : g.w;
        const place to = place_of<V>(item, g.ci, DX ? g.h : g.ho, DX ? g.w : g.wo);
        const int p = to.p, q = to.q, c = to.c;
        const T *image = in + (int64_t)to.n * ih * iw * g.ci + c;
        float sum[V] = {};
#pragma unroll 1                        /* a row of taps in flight is enough, and whole windows compile for minutes */
        for (int i = 0; i < K; i++) {
            int r = DX ? p + g.pad - i : p * g.stride - g.pad + i;
            if (r < 0 || (DX && r % g.stride))
                continue;
            r = DX ? r / g.stride : r;
            if (r >= ih)
                continue;
#pragma unroll
            for (int j = 0; j < K; j++) {
                int s = DX ? q + g.pad - j : q * g.stride - g.pad + j;
                if (s < 0 || (DX && s % g.stride))
                    continue;
                s = DX ? s / g.stride : s;
                if (s >= iw)
                    continue;
                float x[V], f[V];
                load<V>(image + ((int64_t)r * iw + s) * g.ci, x);
                load<V>(w + (int64_t)(i * K + j) * g.ci + c, f);
#pragma unroll
                for (int v = 0; v < V; v++)
                    sum[v] += x[v] * f[v];
            }
        }
        store<V>(out + to.pixel * g.ci + c, sum);
    }
};

template <typename T, int V, int K>
static int run_pass(struct cuda *cuda, bool dx, const struct cuda_geometry *g, const void *in, const float *w, void *out,
                    struct bk_error *err)
{
    const int64_t pixels = dx ? (int64_t)g->n * g->h * g->w : (int64_t)g->n * g->ho * g->wo;
    const int64_t items = pixels * (g->ci / V);
    if (dx) {
        const depthwise<T, V, K, true> f = { *g, static_cast<const T *>(in), w, static_cast<T *>(out) };
        return elementwise<1>(cuda, f, items, "depthwise convolution dx", err);
    }
    const depthwise<T, V, K, false> f = { *g, static_cast<const T *>(in), w, static_cast<T *>(out) };
    return elementwise<1>(cuda, f, items, "depthwise convolution", err);
}

/* ---- weight gradient -------------------------------------------------------------------------------------------- */

struct depthwise_dw_job {
    struct cuda_geometry g;
    struct cuda_rows plan;      /* rows: output pixels; one channel a thread */
    const void *x, *dy;
    double *partial;            /* [taps][C][parts] */
};

/* One tap of every thread, summed over the block into the block's partial sums. Called K K times: not worth inlining. */
static __device__ __noinline__ void fold_tap(float tap, int tx, int ty, int c, int parts, fold_space<1> *space, double *out)
{
    const float v[1] = { tap };
    const int first = blockIdx.y * tx;
    fold_columns<1>(v, tx, ty, *space, [&](int e, double s) {
        if (first + e < c)
            out[(int64_t)(first + e) * parts + blockIdx.x] = s;
    });
}

template <typename T, int K> __global__ void __launch_bounds__(CUDA_BLOCK) depthwise_dw_kernel(const depthwise_dw_job job)
{
    __shared__ fold_space<1> space;
    const struct cuda_geometry &g = job.g;
    const struct cuda_rows &plan = job.plan;
    const T *dy = static_cast<const T *>(job.dy);
    int c;
    int64_t row;
    const bool active = cuda_rows_at(&plan, blockIdx.y, blockIdx.x, threadIdx.x, &c, &row);
    const int64_t end = active ? cuda_rows_end(&plan, blockIdx.x) : 0;
    float sum[K * K] = {};
    for (int64_t pixel = active ? row : 0; pixel < end; pixel += plan.ty) {
        const float d = to_f32(dy[pixel * g.co + c]);
        const place at = place_of<1>(pixel, 1, g.ho, g.wo);
        const int p = at.p, q = at.q;
        const T *image = static_cast<const T *>(job.x) + (int64_t)at.n * g.h * g.w * g.ci + c;
#pragma unroll
        for (int i = 0; i < K; i++) {
            const int r = p * g.stride - g.pad + i;
#pragma unroll
            for (int j = 0; j < K; j++) {
                const int s = q * g.stride - g.pad + j;
                if (r >= 0 && r < g.h && s >= 0 && s < g.w)
                    sum[i * K + j] += d * to_f32(image[((int64_t)r * g.w + s) * g.ci]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < K * K; t++)
        fold_tap(sum[t], plan.tx, plan.ty, plan.c, plan.parts, &space, job.partial + (int64_t)t * plan.c * plan.parts);
}

/* dw [C][taps] (+)= sums of the parts; a warp a value. */
__global__ void __launch_bounds__(CUDA_BLOCK) depthwise_finish_kernel(const double *partial, int parts, int c, int taps,
                                                                       float *dw, bool accumulate)
{
    const int k = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32;
    if (k >= c * taps)
        return;
    const double *p = partial + (int64_t)k * parts;
    double s = 0;
    for (int i = threadIdx.x % 32; i < parts; i += 32)
        s += p[i];
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0) {
        float *to = dw + (int64_t)(k % c) * taps + k / c;
        *to = (float)(accumulate ? (double)*to + s : s);
    }
}

template <typename T, int K>
static int run_dw(struct cuda *cuda, const struct cuda_geometry *g, const void *x, const void *dy, float *dw,
                  bool accumulate, struct bk_error *err)
{
    depthwise_dw_job job = {};
    void *space;
    const int taps = K * K;
    job.g = *g;
    job.plan = cuda_rows_plan((int64_t)g->n * g->ho * g->wo, g->ci, 1, 16, cuda_reduce_parts(g->ci));
    job.x = x;
    job.dy = dy;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)taps * g->ci * job.plan.parts * sizeof(double), &space, err));
    job.partial = static_cast<double *>(space);
    const dim3 grid((unsigned)job.plan.parts, (unsigned)job.plan.tiles);
    CUDA_LAUNCH(cuda, grid, depthwise_dw_kernel<T, K>)(job);
    BK_TRY(cuda_launched(cuda, "depthwise convolution dw", err));
    const unsigned blocks = (unsigned)cuda_ceil_div((int64_t)g->ci * taps, CUDA_BLOCK / 32);
    CUDA_LAUNCH(cuda, blocks, depthwise_finish_kernel)(job.partial, job.plan.parts, g->ci, taps, dw, accumulate);
    return cuda_launched(cuda, "depthwise convolution dw", err);
}

/* ---- dispatch ------------------------------------------------------------------------------------------------------ */

template <typename T, int K>
static int run_kind(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, const void *a,
                    const void *b, void *out, bool accumulate, struct bk_error *err)
{
    if (kind == CUDA_CONV_DW)
        return run_dw<T, K>(cuda, g, a, b, static_cast<float *>(out), accumulate, err);
    constexpr int V = full_vector<T>::value;
    const int taps = K * K;
    void *space;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_PARAMS, (size_t)taps * g->ci * sizeof(float), &space, err));
    const spread_weights<T> f = { static_cast<const T *>(b), static_cast<float *>(space), g->ci, taps };
    BK_TRY(elementwise<1>(cuda, f, (int64_t)taps * g->ci, "depthwise weights", err));
    const float *w = f.out;
    const bool dx = kind == CUDA_CONV_DX;
    if (g->ci % V == 0 && is_aligned(a, 16) && is_aligned(out, 16))
        return run_pass<T, V, K>(cuda, dx, g, a, w, out, err);
    return run_pass<T, 1, K>(cuda, dx, g, a, w, out, err);
}

template <typename T>
static int run_window(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, const void *a,
                      const void *b, void *out, bool accumulate, struct bk_error *err)
{
    switch (g->kh) {
    case 3:
        return run_kind<T, 3>(cuda, kind, g, a, b, out, accumulate, err);
    case 5:
        return run_kind<T, 5>(cuda, kind, g, a, b, out, accumulate, err);
    default:
        return run_kind<T, 7>(cuda, kind, g, a, b, out, accumulate, err);
    }
}

int cuda_depthwise_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16,
                        const void *a, const void *b, void *out, bool accumulate, struct bk_error *err)
{
    return bf16 ? run_window<bf16_t>(cuda, kind, g, a, b, out, accumulate, err)
                : run_window<float>(cuda, kind, g, a, b, out, accumulate, err);
}

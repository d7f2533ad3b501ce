/*
 * cuda_device.cuh: what the .cu files share: activations as f32 vectors, sums within a block, element-wise launches.
 *
 * Activations are float or uint16_t (the bits of a bf16); arithmetic is f32. A vector access is 16 bytes at most and is
 * only used where the driver has checked that every pointer and every row start is aligned to it.
 */
#ifndef CUDA_DEVICE_CUH
#define CUDA_DEVICE_CUH

#include "cuda_state.h"

typedef uint16_t bf16_t;

#define ALL_LANES 0xffffffffu

template <typename T> struct full_vector;       /* elements of a 16-byte access */
template <> struct full_vector<float> {
    static constexpr int value = 4;
};
template <> struct full_vector<bf16_t> {
    static constexpr int value = 8;
};

/* ---- one value --------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float to_f32(float x)
{
    return x;
}

static __device__ __forceinline__ float to_f32(bf16_t x)
{
    return __uint_as_float((unsigned)x << 16);
}

/* As bk_f32_to_bf16(): to nearest even, NaN stays NaN. */
static __device__ __forceinline__ unsigned bf16_bits(float f)
{
    unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return u >> 16 | 0x40u;
    return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

static __device__ __forceinline__ void put(float *p, float v)
{
    *p = v;
}

static __device__ __forceinline__ void put(bf16_t *p, float v)
{
    *p = (bf16_t)bf16_bits(v);
}

/* ---- V values ------------------------------------------------------------------------------------------ */

template <int V> static __device__ __forceinline__ void load(const float *p, float (&v)[V])
{
    if constexpr (V % 4 == 0) {
#pragma unroll
        for (int i = 0; i < V; i += 4) {
            float4 q = *reinterpret_cast<const float4 *>(p + i);
            v[i] = q.x, v[i + 1] = q.y, v[i + 2] = q.z, v[i + 3] = q.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = p[i];
    }
}

static __device__ __forceinline__ void widen(unsigned pair, float &low, float &high)
{
    low = __uint_as_float(pair << 16);
    high = __uint_as_float(pair & 0xffff0000u);
}

template <int V> static __device__ __forceinline__ void load(const bf16_t *p, float (&v)[V])
{
    if constexpr (V == 8) {
        uint4 q = *reinterpret_cast<const uint4 *>(p);
        widen(q.x, v[0], v[1]);
        widen(q.y, v[2], v[3]);
        widen(q.z, v[4], v[5]);
        widen(q.w, v[6], v[7]);
    } else if constexpr (V == 4) {
        uint2 q = *reinterpret_cast<const uint2 *>(p);
        widen(q.x, v[0], v[1]);
        widen(q.y, v[2], v[3]);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = to_f32(p[i]);
    }
}

template <int V> static __device__ __forceinline__ void store(float *p, const float (&v)[V])
{
    if constexpr (V % 4 == 0) {
#pragma unroll
        for (int i = 0; i < V; i += 4)
            *reinterpret_cast<float4 *>(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            p[i] = v[i];
    }
}

static __device__ __forceinline__ unsigned narrow(float low, float high)
{
    return bf16_bits(low) | bf16_bits(high) << 16;
}

template <int V> static __device__ __forceinline__ void store(bf16_t *p, const float (&v)[V])
{
    if constexpr (V == 8) {
        *reinterpret_cast<uint4 *>(p) =
            make_uint4(narrow(v[0], v[1]), narrow(v[2], v[3]), narrow(v[4], v[5]), narrow(v[6], v[7]));
    } else if constexpr (V == 4) {
        *reinterpret_cast<uint2 *>(p) = make_uint2(narrow(v[0], v[1]), narrow(v[2], v[3]));
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            put(p + i, v[i]);
    }
}

/* ---- sums, always in the same order ---------------------------------------------------------------------- */

static __device__ __forceinline__ double warp_sum(double v)
{
#pragma unroll
    for (int d = 16; d; d /= 2)
        v += __shfl_xor_sync(ALL_LANES, v, d);
    return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int d = 16; d; d /= 2)
        v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, d));
    return v;
}

/* The sum over a block of CUDA_BLOCK threads, in every thread. Every thread must call it. */
static __device__ __forceinline__ double block_sum(double v)
{
    __shared__ double warps[CUDA_BLOCK / 32];
    v = warp_sum(v);
    __syncthreads();            /* `warps` may still be read by an earlier call */
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = v;
    __syncthreads();
    double sum = 0;
#pragma unroll
    for (int i = 0; i < CUDA_BLOCK / 32; i++)
        sum += warps[i];
    return sum;
}

static __device__ __forceinline__ float block_max(float v)
{
    __shared__ float warps[CUDA_BLOCK / 32];
    v = warp_max(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = v;
    __syncthreads();
    float top = warps[0];
#pragma unroll
    for (int i = 1; i < CUDA_BLOCK / 32; i++)
        top = fmaxf(top, warps[i]);
    return top;
}

/* Shared memory of fold_columns(). */
template <int V> struct fold_space {
    float value[CUDA_BLOCK * V];
    double group[CUDA_BLOCK];
};

/*
 * Sum v over the ty rows of a block (thread = row * tx + column vector; threads from tx * ty on idle) and call
 * out(e, sum) once for each channel e = 0..tx*V-1 of the block. Every thread must call it.
 */
template <int V, typename F>
static __device__ __forceinline__ void fold_columns(const float (&v)[V], int tx, int ty, fold_space<V> &space, F out)
{
    const int thread = threadIdx.x, n = tx * V;
    __syncthreads();            /* `space` may still be read by an earlier call */
#pragma unroll
    for (int i = 0; i < V; i++)
        space.value[thread * V + i] = v[i];
    __syncthreads();
    if (n >= CUDA_BLOCK) {
        for (int e = thread; e < n; e += CUDA_BLOCK) {
            double sum = 0;
            for (int y = 0; y < ty; y++)
                sum += (double)space.value[y * n + e];
            out(e, sum);
        }
        return;
    }
    const int groups = CUDA_BLOCK / n, g = thread / n, e = thread % n;
    double sum = 0;
    if (g < groups)
        for (int y = g; y < ty; y += groups)
            sum += (double)space.value[y * n + e];
    space.group[thread] = sum;
    __syncthreads();
    if (g == 0) {
        sum = 0;
        for (int i = 0; i < groups; i++)
            sum += space.group[i * n + e];
        out(e, sum);
    }
}

/* n = quotient * d + remainder; 64-bit division only where it is needed. */
static __device__ __forceinline__ void divide(int64_t n, int d, int64_t &quotient, int &remainder)
{
    if (n >> 32 == 0) {
        const unsigned q = (unsigned)n / (unsigned)d;
        quotient = q;
        remainder = (int)((unsigned)n - q * (unsigned)d);
    } else {
        quotient = n / d;
        remainder = (int)(n - quotient * d);
    }
}

/* A vector of channels of a pixel: image n, row p, column q, first channel c. */
struct place {
    int64_t pixel;
    int n, p, q, c;
};

template <int V> static __device__ __forceinline__ place place_of(int64_t item, int c, int h, int w)
{
    place at;
    divide(item, c / V, at.pixel, at.c);
    at.c *= V;
    const unsigned pixel = (unsigned)at.pixel, row = pixel / (unsigned)w;      /* drivers check that pixels fit */
    at.q = (int)(pixel - row * (unsigned)w);
    at.n = (int)(row / (unsigned)h);
    at.p = (int)(row - (unsigned)at.n * (unsigned)h);
    return at;
}

/* ---- drivers ------------------------------------------------------------------------------------------------ */

/* CUDA_LAUNCH(cuda, grid, kernel)(arguments): every kernel has blocks of CUDA_BLOCK threads. Tests compile it as plain loops. */
#ifndef CUDA_LAUNCH
#define CUDA_LAUNCH(cuda, grid, ...) __VA_ARGS__<<<grid, CUDA_BLOCK, 0, (cuda)->stream>>>
#endif

static inline bool is_aligned(const void *p, size_t to)
{
    return (uintptr_t)p % to == 0;      /* NULL is */
}

/* Blocks for n items at one item a thread, within the limit of the grid (kernels stride). */
static inline unsigned blocks_for(int64_t n)
{
    int64_t blocks = cuda_ceil_div(n, CUDA_BLOCK);
    return (unsigned)(blocks < 1 ? 1 : blocks > (1 << 20) ? 1 << 20 : blocks);
}

/* f.at<V>(i) computes elements i..i+V-1. */
template <int V, typename F> __global__ void __launch_bounds__(CUDA_BLOCK) elementwise_kernel(const F f, int64_t n)
{
    const int64_t stride = (int64_t)gridDim.x * CUDA_BLOCK;
    int64_t item = (int64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x;
    for (; item * V + V <= n; item += stride)
        f.template at<V>(item * V);
    if (V > 1 && item * V < n)          /* the one thread whose vector is not whole */
        for (int64_t i = item * V; i < n; i++)
            f.template at<1>(i);
}

/* V > 1 only when every pointer of f is aligned for it. */
template <int V, typename F>
static int elementwise(struct cuda *cuda, const F &f, int64_t n, const char *name, struct bk_error *err)
{
    if (n <= 0)
        return BK_OK;
    CUDA_LAUNCH(cuda, blocks_for(cuda_ceil_div(n, V)), elementwise_kernel<V, F>)(f, n);
    return cuda_launched(cuda, name, err);
}

#endif

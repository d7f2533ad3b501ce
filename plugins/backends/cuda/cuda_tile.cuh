/*
 * cuda_tile.cuh: one matrix product in f32 whose operands are functions of their indices.
 *
 * C [m,n] = sum over k of a(i, k) b(k, j), by tiles of 64 x 64 held in registers, 16 inner indices at a time in shared
 * memory. An operation says where its operands come from (a centred activation, an image under a convolution window, the
 * head of an attention) and what becomes of a result, so one kernel serves everything that the vendor libraries do not.
 * An inner dimension may be split over blocks; parts are f32, summed in f64 in order by finish_splits_kernel.
 *
 *     struct op {
 *         static constexpr bool a_inner, b_inner;      neighbours in memory are neighbours in k (else in i or j)
 *         __device__ float a(int batch, int i, int k) const;     never called outside m, n, k
 *         __device__ float b(int batch, int k, int j) const;
 *         __device__ void store(int batch, int split, int i, int j, float sum) const;
 *     };
 */
#ifndef CUDA_TILE_CUH
#define CUDA_TILE_CUH

#include "cuda_device.cuh"

#define TILE CUDA_TILE
#define TILE_K CUDA_TILE_K
#define TILE_PAD 4              /* keeps rows 16-byte aligned and spreads them over banks */

struct tile_shape {
    int m, n, k;
    int splits, k_per_split;    /* k_per_split is a multiple of TILE_K */
    int batches;
};

template <typename Op>
static __device__ __forceinline__ void tile_load(const Op &op, const tile_shape &s, int batch, int i0, int j0, int k0,
                                                 int k_end, float (&a)[4], float (&b)[4])
{
#pragma unroll
    for (int e = 0; e < 4; e++) {
        int i, k;
        cuda_tile_at(Op::a_inner, threadIdx.x, e, &i, &k);
        a[e] = i0 + i < s.m && k0 + k < k_end ? op.a(batch, i0 + i, k0 + k) : 0.0f;
        cuda_tile_at(Op::b_inner, threadIdx.x, e, &i, &k);
        b[e] = j0 + i < s.n && k0 + k < k_end ? op.b(batch, k0 + k, j0 + i) : 0.0f;
    }
}

template <typename Op> __global__ void __launch_bounds__(CUDA_BLOCK) tile_kernel(const Op op, const tile_shape s)
{
    __shared__ __align__(16) float A[TILE_K][TILE + TILE_PAD], B[TILE_K][TILE + TILE_PAD];
    const int i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE;
    const int ty = threadIdx.x / 16 * 4, tx = threadIdx.x % 16 * 4;
    for (int z = blockIdx.z; z < s.batches * s.splits; z += gridDim.z) {
        const int batch = z / s.splits, split = z % s.splits;
        const int k_begin = split * s.k_per_split;
        const int k_end = s.k - k_begin < s.k_per_split ? s.k : k_begin + s.k_per_split;
        float sum[4][4] = {}, a[4], b[4];
        tile_load(op, s, batch, i0, j0, k_begin, k_end, a, b);
        for (int k0 = k_begin; k0 < k_end; k0 += TILE_K) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int i, k;
                cuda_tile_at(Op::a_inner, threadIdx.x, e, &i, &k);
                A[k][i] = a[e];
                cuda_tile_at(Op::b_inner, threadIdx.x, e, &i, &k);
                B[k][i] = b[e];
            }
            __syncthreads();
            if (k0 + TILE_K < k_end)
                tile_load(op, s, batch, i0, j0, k0 + TILE_K, k_end, a, b);
#pragma unroll
            for (int k = 0; k < TILE_K; k++) {
                const float4 u = *reinterpret_cast<const float4 *>(&A[k][ty]);
                const float4 v = *reinterpret_cast<const float4 *>(&B[k][tx]);
                const float row[4] = { u.x, u.y, u.z, u.w }, col[4] = { v.x, v.y, v.z, v.w };
#pragma unroll
                for (int y = 0; y < 4; y++)
#pragma unroll
                    for (int x = 0; x < 4; x++)
                        sum[y][x] += row[y] * col[x];
            }
            __syncthreads();
        }
#pragma unroll
        for (int y = 0; y < 4; y++)
#pragma unroll
            for (int x = 0; x < 4; x++)
                if (i0 + ty + y < s.m && j0 + tx + x < s.n)
                    op.store(batch, split, i0 + ty + y, j0 + tx + x, sum[y][x]);
    }
}

template <typename Op>
static int run_tile(struct cuda *cuda, const Op &op, const tile_shape &s, const char *name, struct bk_error *err)
{
    const int64_t z = (int64_t)s.batches * s.splits;
    const int64_t tiles_n = cuda_ceil_div(s.n, TILE);
    if (tiles_n > 65535 || z > INT32_MAX)
        return bk_fail(err, BK_ENOTSUP, "%s: a product [%d,%d], %lld times, exceeds the grid", name, s.m, s.n, (long long)z);
    const dim3 grid((unsigned)cuda_ceil_div(s.m, TILE), (unsigned)tiles_n, (unsigned)(z < 65535 ? z : 65535));
    CUDA_LAUNCH(cuda, grid, tile_kernel<Op>)(op, s);
    return cuda_launched(cuda, name, err);
}

static inline tile_shape whole(int m, int n, int k, int batches)
{
    return { m, n, k, 1, (int)(cuda_ceil_div(k, TILE_K) * TILE_K), batches };
}

static inline tile_shape split_over_blocks(int m, int n, int k)
{
    tile_shape s = { m, n, k, 1, 0, 1 };
    s.splits = cuda_splits(k, cuda_ceil_div(m, TILE) * cuda_ceil_div(n, TILE), 128, &s.k_per_split);
    return s;
}

/* Where a product that is split over blocks puts its parts: [splits][m n]. */
struct split_parts {
    float *part;
    int n;
    int64_t size;
    __device__ __forceinline__ void store(int split, int i, int j, float v) const
    {
        part[split * size + (int64_t)i * n + j] = v;
    }
};

/*
 * out[i] = (accumulate ? out[i] : 0) + factor * sum of the parts. 32 results a block, their parts shared by 8 lanes: there
 * are few results and many parts.
 */
[[maybe_unused]] static __global__ void __launch_bounds__(CUDA_BLOCK)
finish_splits_kernel(const float *part, int splits, int64_t size, double factor, float *out, bool accumulate)
{
    __shared__ double lanes[8][32];
    const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
    for (int64_t first = (int64_t)blockIdx.x * 32; first < size; first += (int64_t)gridDim.x * 32) {
        const int64_t i = first + tx;
        double sum = 0;
        if (i < size) {
#pragma unroll 8
            for (int s = ty; s < splits; s += 8)
                sum += (double)part[s * size + i];
        }
        lanes[ty][tx] = sum;
        __syncthreads();
        if (ty == 0 && i < size) {
            for (int y = 1; y < 8; y++)
                sum += lanes[y][tx];
            out[i] = (float)((accumulate ? (double)out[i] : 0) + factor * sum);
        }
        __syncthreads();
    }
}

/* A split product, finished into out [m,n]. op.parts is set here; SUMS scratch is used. */
template <typename Op>
static int run_split(struct cuda *cuda, Op &op, int m, int n, int k, double factor, float *out, bool accumulate,
                     const char *name, struct bk_error *err)
{
    const tile_shape s = split_over_blocks(m, n, k);
    const int64_t size = (int64_t)m * n;
    void *space;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)(s.splits * size) * sizeof(float), &space, err));
    op.parts = { static_cast<float *>(space), n, size };
    BK_TRY(run_tile(cuda, op, s, name, err));
    CUDA_LAUNCH(cuda, blocks_for(8 * size), finish_splits_kernel)(op.parts.part, s.splits, size, factor, out,
                                                               accumulate);
    return cuda_launched(cuda, name, err);
}

#endif

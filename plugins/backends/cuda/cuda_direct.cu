/*
 * cuda_direct.cu: convolutions and matrix products by our own tiles, for what cuDNN and cuBLASLt refuse.
 *
 * A convolution is a product over (tap, channel) whose left operand is looked up in the image (index functions in
 * cuda_shared.h); groups are batches. Slow beside the libraries, complete, and the same at every determinism level.
 */
#include "cuda_tile.cuh"

template <typename T> struct conv_forward {
    static constexpr bool a_inner = true, b_inner = true;
    struct cuda_geometry g;
    const T *x, *w;
    T *y;
    __device__ float a(int group, int i, int k) const
    {
        const int64_t at = cuda_conv_x(&g, group, i, k);
        return at < 0 ? 0.0f : to_f32(x[at]);
    }
    __device__ float b(int group, int k, int j) const
    {
        return to_f32(w[cuda_conv_w(&g, group, j, k)]);
    }
    __device__ void store(int group, int, int i, int j, float v) const
    {
        put(y + (int64_t)i * g.co + (int64_t)group * g.og + j, v);
    }
};

template <typename T> struct conv_dx {
    static constexpr bool a_inner = true, b_inner = false;
    struct cuda_geometry g;
    const T *dy, *w;
    T *dx;
    __device__ float a(int group, int i, int k) const
    {
        const int64_t at = cuda_conv_dy(&g, group, i, k);
        return at < 0 ? 0.0f : to_f32(dy[at]);
    }
    __device__ float b(int group, int k, int j) const
    {
        return to_f32(w[cuda_conv_w_dx(&g, group, j, k)]);
    }
    __device__ void store(int group, int, int i, int j, float v) const
    {
        put(dx + (int64_t)i * g.ci + (int64_t)group * g.cg + j, v);
    }
};

template <typename T> struct conv_dw {
    static constexpr bool a_inner = false, b_inner = false;
    struct cuda_geometry g;
    const T *x, *dy;
    float *part;                /* [groups][splits][og][Kh Kw cg] */
    int splits, n;
    int64_t size;
    __device__ float a(int group, int i, int k) const
    {
        return to_f32(dy[(int64_t)k * g.co + (int64_t)group * g.og + i]);
    }
    __device__ float b(int group, int k, int j) const
    {
        const int64_t at = cuda_conv_x(&g, group, k, j);
        return at < 0 ? 0.0f : to_f32(x[at]);
    }
    __device__ void store(int group, int split, int i, int j, float v) const
    {
        part[((int64_t)group * splits + split) * size + (int64_t)i * n + j] = v;
    }
};

__global__ void __launch_bounds__(CUDA_BLOCK) finish_groups_kernel(const float *part, int splits, int64_t size,
                                                                    int64_t total, float *out, bool accumulate)
{
    const int64_t stride = (int64_t)gridDim.x * CUDA_BLOCK;
    for (int64_t i = (int64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x; i < total; i += stride) {
        const float *p = part + i / size * splits * size + i % size;
        double sum = 0;
        for (int s = 0; s < splits; s++)
            sum += (double)p[s * size];
        out[i] = (float)((accumulate ? (double)out[i] : 0) + sum);
    }
}

template <typename T>
static int run_dw(struct cuda *cuda, const struct cuda_geometry *g, const void *x, const void *dy, float *dw,
                  bool accumulate, struct bk_error *err)
{
    const int m = g->og, n = g->kh * g->kw * g->cg, k = g->n * g->ho * g->wo;
    tile_shape s = { m, n, k, 1, 0, g->groups };
    s.splits = cuda_splits(k, cuda_ceil_div(m, TILE) * cuda_ceil_div(n, TILE) * g->groups, 128, &s.k_per_split);
    const int64_t size = (int64_t)m * n, total = size * g->groups;
    void *space;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)(total * s.splits) * sizeof(float), &space, err));
    const conv_dw<T> op = { *g, static_cast<const T *>(x), static_cast<const T *>(dy), static_cast<float *>(space),
                            s.splits, n, size };
    BK_TRY(run_tile(cuda, op, s, "direct convolution dw", err));
    CUDA_LAUNCH(cuda, blocks_for(total), finish_groups_kernel)(op.part, s.splits, size, total, dw, accumulate);
    return cuda_launched(cuda, "direct convolution dw", err);
}

template <typename T>
static int run_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, const void *a,
                    const void *b, void *out, bool accumulate, struct bk_error *err)
{
    if (kind == CUDA_CONV_FORWARD) {
        const conv_forward<T> op = { *g, static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(out) };
        return run_tile(cuda, op, whole(g->n * g->ho * g->wo, g->og, g->kh * g->kw * g->cg, g->groups),
                        "direct convolution", err);
    }
    if (kind == CUDA_CONV_DX) {
        const conv_dx<T> op = { *g, static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(out) };
        return run_tile(cuda, op, whole(g->n * g->h * g->w, g->cg, g->kh * g->kw * g->og, g->groups),
                        "direct convolution dx", err);
    }
    return run_dw<T>(cuda, g, a, b, static_cast<float *>(out), accumulate, err);
}

int cuda_direct_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16,
                     const void *a, const void *b, void *out, bool accumulate, struct bk_error *err)
{
    return bf16 ? run_conv<bf16_t>(cuda, kind, g, a, b, out, accumulate, err)
                : run_conv<float>(cuda, kind, g, a, b, out, accumulate, err);
}

/* ---- matrix products ---------------------------------------------------------------------------------------- */

template <typename T, typename O> struct product {
    static constexpr bool a_inner = true, b_inner = false;
    const T *left, *right;
    O *result;
    int64_t a_row, a_col, b_row, b_col;         /* distances between rows and columns of op(A), op(B) */
    int n;
    float beta;
    __device__ float a(int, int i, int k) const
    {
        return to_f32(left[i * a_row + k * a_col]);
    }
    __device__ float b(int, int k, int j) const
    {
        return to_f32(right[k * b_row + j * b_col]);
    }
    __device__ void store(int, int, int i, int j, float v) const
    {
        O *to = result + (int64_t)i * n + j;
        put(to, beta == 0 ? v : v + beta * to_f32(*to));
    }
};

template <typename T, typename O>
static int run_product(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err)
{
    const product<T, O> op = { static_cast<const T *>(p->a), static_cast<const T *>(p->b), static_cast<O *>(p->c),
                               p->trans_a ? 1 : p->k,        p->trans_a ? p->m : 1,        p->trans_b ? 1 : p->n,
                               p->trans_b ? p->k : 1,        (int)p->n,                    p->beta };
    return run_tile(cuda, op, whole((int)p->m, (int)p->n, (int)p->k, 1), "direct matrix product", err);
}

int cuda_direct_matmul(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err)
{
    BK_TRY(cuda_fits(p->m, "rows", err));
    BK_TRY(cuda_fits(p->n, "columns", err));
    BK_TRY(cuda_fits(p->k, "inner dimensions", err));
    if (p->bf16)
        return p->bf16_out ? run_product<bf16_t, bf16_t>(cuda, p, err) : run_product<bf16_t, float>(cuda, p, err);
    return run_product<float, float>(cuda, p, err);
}

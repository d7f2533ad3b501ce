/*
 * cuda_attention.cu: multi-head self-attention and its gradient as batches of tile products.
 *
 * Letters as in ref_attention.c: L positions, d channels of a head; q, k, v of head h start at h d, M + h d, 2 M + h d of
 * a position's 3 M channels; a batch is one head of one image. Forward: scores, softmax in place (the probabilities are
 * an output), y = P v. Backward: dP = dy v', dS = scale P (dP - sum of P dP), dq = dS k, dk = dS' q, dv = P' dy, with
 * dS in scratch memory. Reversed: y = P' v, dP = v dy', dv = P dy. f32 arithmetic throughout.
 */
#include "cuda_tile.cuh"

template <typename T> struct heads {
    const T *qkv;
    int L, d, M, heads, reversed;
    float scale;
    /* Row 0 of q, k or v (part 0, 1, 2) of a batch; rows are 3 M apart. */
    __device__ __forceinline__ int64_t start(int batch, int part) const
    {
        return (int64_t)(batch / heads) * L * 3 * M + (int64_t)part * M + (int64_t)(batch % heads) * d;
    }
    __device__ __forceinline__ float at(int batch, int part, int row, int c) const
    {
        return to_f32(qkv[start(batch, part) + (int64_t)row * 3 * M + c]);
    }
    __device__ __forceinline__ int64_t output(int batch, int row, int c) const
    {
        return ((int64_t)(batch / heads) * L + row) * M + (int64_t)(batch % heads) * d + c;
    }
    __device__ __forceinline__ int64_t pair(int batch, int i, int j) const
    {
        return ((int64_t)batch * L + i) * L + j;
    }
};

/* p = scale q k' */
template <typename T> struct scores {
    static constexpr bool a_inner = true, b_inner = true;
    heads<T> h;
    float *p;
    __device__ float a(int batch, int i, int k) const
    {
        return h.at(batch, 0, i, k);
    }
    __device__ float b(int batch, int k, int j) const
    {
        return h.at(batch, 1, j, k);
    }
    __device__ void store(int batch, int, int i, int j, float v) const
    {
        p[h.pair(batch, i, j)] = h.scale * v;
    }
};

/* y = P v */
template <typename T> struct mix {
    static constexpr bool a_inner = true, b_inner = false;
    heads<T> h;
    const float *p;
    T *y;
    __device__ float a(int batch, int i, int k) const
    {
        return p[h.reversed ? h.pair(batch, k, i) : h.pair(batch, i, k)];
    }
    __device__ float b(int batch, int k, int j) const
    {
        return h.at(batch, 2, k, j);
    }
    __device__ void store(int batch, int, int i, int j, float v) const
    {
        put(y + h.output(batch, i, j), v);
    }
};

/* dP = dy v' */
template <typename T> struct score_gradient {
    static constexpr bool a_inner = true, b_inner = true;
    heads<T> h;
    const T *dy;
    float *dp;
    __device__ float a(int batch, int i, int k) const
    {
        return h.reversed ? h.at(batch, 2, i, k) : to_f32(dy[h.output(batch, i, k)]);
    }
    __device__ float b(int batch, int k, int j) const
    {
        return h.reversed ? to_f32(dy[h.output(batch, j, k)]) : h.at(batch, 2, j, k);
    }
    __device__ void store(int batch, int, int i, int j, float v) const
    {
        dp[h.pair(batch, i, j)] = v;
    }
};

/* part 0: dq = dS k; part 1: dk = dS' q; part 2: dv = P' dy. `w` is dS or P. */
template <typename T, int PART> struct input_gradient {
    static constexpr bool a_inner = PART == 0, b_inner = false;
    heads<T> h;
    const float *w;
    const T *dy;
    T *dqkv;
    __device__ float a(int batch, int i, int k) const
    {
        return w[PART == 0 || (PART == 2 && h.reversed) ? h.pair(batch, i, k) : h.pair(batch, k, i)];
    }
    __device__ float b(int batch, int k, int j) const
    {
        if (PART == 2)
            return to_f32(dy[h.output(batch, k, j)]);
        return h.at(batch, PART == 0 ? 1 : 0, k, j);
    }
    __device__ void store(int batch, int, int i, int j, float v) const
    {
        put(dqkv + h.start(batch, PART) + (int64_t)i * 3 * h.M + j, v);
    }
};

/* A block a row of L. */
__global__ void __launch_bounds__(CUDA_BLOCK) softmax_kernel(float *p, int64_t rows, int L)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        float *row = p + r * L, top = -INFINITY;
        double sum = 0;
        for (int i = threadIdx.x; i < L; i += CUDA_BLOCK)
            top = fmaxf(top, row[i]);
        top = block_max(top);
        for (int i = threadIdx.x; i < L; i += CUDA_BLOCK) {
            const float e = expf(row[i] - top);
            row[i] = e;
            sum += (double)e;
        }
        const float inverse = (float)(1 / block_sum(sum));
        for (int i = threadIdx.x; i < L; i += CUDA_BLOCK)
            row[i] *= inverse;
    }
}

/* dp := scale p (dp - sum of p dp), row by row */
__global__ void __launch_bounds__(CUDA_BLOCK) softmax_dx_kernel(const float *p, float *dp, int64_t rows, int L,
                                                                 float scale)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *row = p + r * L;
        float *to = dp + r * L;
        double sum = 0;
        for (int i = threadIdx.x; i < L; i += CUDA_BLOCK)
            sum += (double)row[i] * (double)to[i];
        const float mean = (float)block_sum(sum);
        for (int i = threadIdx.x; i < L; i += CUDA_BLOCK)
            to[i] = scale * row[i] * (to[i] - mean);
    }
}

template <typename T>
static int heads_of(const struct bk_tensor *qkv, const void *attr_, heads<T> *h, int *batches, struct bk_error *err)
{
    const struct bk_attention_attr *attr = static_cast<const struct bk_attention_attr *>(attr_);
    const int64_t L = qkv->dim[1] * qkv->dim[2], M = qkv->dim[3] / 3;
    BK_TRY(cuda_fits(L, "positions", err));
    BK_TRY(cuda_fits(qkv->dim[3], "channels", err));
    BK_TRY(cuda_fits(qkv->dim[0] * attr->heads, "heads", err));
    *h = { static_cast<const T *>(qkv->data), (int)L, (int)(M / attr->heads), (int)M, attr->heads,
           attr->reversed, (float)attr->scale };
    *batches = (int)(qkv->dim[0] * attr->heads);
    return BK_OK;
}

static unsigned row_blocks(int64_t rows)
{
    return (unsigned)(rows < 1 << 20 ? rows : 1 << 20);
}

template <typename T>
static int run_attention(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    float *p = static_cast<float *>(args->out[1]->data);
    scores<T> s = { {}, p };
    int n;
    BK_TRY(heads_of<T>(args->in[0], args->attr, &s.h, &n, err));
    const int L = s.h.L, d = s.h.d;
    const int64_t rows = (int64_t)n * L;
    BK_TRY(run_tile(cuda, s, whole(L, L, d, n), "attention scores", err));
    CUDA_LAUNCH(cuda, row_blocks(rows), softmax_kernel)(p, rows, L);
    BK_TRY(cuda_launched(cuda, "attention softmax", err));
    const mix<T> y = { s.h, p, static_cast<T *>(args->out[0]->data) };
    return run_tile(cuda, y, whole(L, d, L, n), "attention", err);
}

int cuda_attention(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_attention<bf16_t>(cuda, args, err) : run_attention<float>(cuda, args, err);
}

template <typename T, int PART>
static int run_part(struct cuda *cuda, const heads<T> &h, int n, const float *w, const T *dy, T *dqkv, struct bk_error *err)
{
    const input_gradient<T, PART> op = { h, w, dy, dqkv };
    return run_tile(cuda, op, whole(h.L, h.d, h.L, n), "attention gradient", err);
}

template <typename T>
static int run_attention_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const T *dy = static_cast<const T *>(args->in[0]->data);
    const float *p = static_cast<const float *>(args->in[2]->data);
    T *dqkv = static_cast<T *>(args->out[0]->data);
    heads<T> h;
    int n;
    void *space;
    BK_TRY(heads_of<T>(args->in[1], args->attr, &h, &n, err));
    const int64_t rows = (int64_t)n * h.L;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_MATRIX, (size_t)rows * h.L * sizeof(float), &space, err));
    float *ds = static_cast<float *>(space);
    const score_gradient<T> op = { h, dy, ds };
    BK_TRY(run_tile(cuda, op, whole(h.L, h.L, h.d, n), "attention gradient", err));
    CUDA_LAUNCH(cuda, row_blocks(rows), softmax_dx_kernel)(p, ds, rows, h.L, h.scale);
    BK_TRY(cuda_launched(cuda, "attention softmax gradient", err));
    BK_TRY((run_part<T, 0>(cuda, h, n, ds, dy, dqkv, err)));
    BK_TRY((run_part<T, 1>(cuda, h, n, ds, dy, dqkv, err)));
    return run_part<T, 2>(cuda, h, n, p, dy, dqkv, err);
}

int cuda_attention_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[1]) ? run_attention_dx<bf16_t>(cuda, args, err)
                                     : run_attention_dx<float>(cuda, args, err);
}

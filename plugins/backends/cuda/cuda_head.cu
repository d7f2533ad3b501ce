/*
 * cuda_head.cu: the pooled head global-average-pool(BatchNorm(conv1x1(x))) from the mean and covariance of x.
 *
 * The [N,H,W,K] tensor is never formed (decision record 0003; formulas in ref_pooled_head.c). Forward: image means, their
 * mean, the covariance of centred rows (tiles split over rows, parts added in f64), W S, variances, outputs. Backward,
 * with u = m - mu and g = dy:
 *     G = g' u                     A_k = w_k . G_k          doffset_k = sum_n g_nk,  dscale_k = rstd_k A_k
 *     dW_k = a_k G_k + 2 v_k S w_k,  a_k = scale_k rstd_k,  v_k = -scale_k rstd_k^3 A_k / 2
 *     Q = W' diag(v) W             e = (g a) W
 *     dx = (e - mean of e)/P + 2/R (x - mu) Q
 * A_k from G instead of from z = u W' spares the [N,K] matrix z. Everything is f32 with f64 where parts meet.
 */
#include "cuda_tile.cuh"

struct head {
    int n, c, k, rows;
    int64_t positions;
};

static int head_of(const struct bk_tensor *x, const struct bk_tensor *w, struct head *h, struct bk_error *err)
{
    const int64_t positions = x->dim[1] * x->dim[2];
    BK_TRY(cuda_fits(x->dim[0] * positions, "positions", err));
    BK_TRY(cuda_fits(w->dim[0], "outputs", err));
    BK_TRY(cuda_fits(x->dim[3], "channels", err));
    *h = { (int)x->dim[0], (int)x->dim[3], (int)w->dim[0], (int)(x->dim[0] * positions), positions };
    return BK_OK;
}

static float *f32_of(const struct bk_tensor *t)
{
    return static_cast<float *>(cuda_data(t));
}

static unsigned warps_for(int n)
{
    return (unsigned)cuda_ceil_div(n, CUDA_BLOCK / 32);
}

/* ---- products --------------------------------------------------------------------------------------------------- */

/* S = (x - mu)' (x - mu) / R: split over rows */
template <typename T> struct covariance {
    static constexpr bool a_inner = false, b_inner = false;
    const T *x;
    const float *mu;
    int c;
    split_parts parts;
    __device__ float a(int, int i, int k) const
    {
        return to_f32(x[(int64_t)k * c + i]) - mu[i];
    }
    __device__ float b(int, int k, int j) const
    {
        return to_f32(x[(int64_t)k * c + j]) - mu[j];
    }
    __device__ void store(int, int split, int i, int j, float v) const
    {
        parts.store(split, i, j, v);
    }
};

/* T = W S; S is symmetric */
struct weight_times {
    static constexpr bool a_inner = true, b_inner = false;
    const float *w, *s;
    float *out;
    int c;
    __device__ float a(int, int i, int k) const
    {
        return w[(int64_t)i * c + k];
    }
    __device__ float b(int, int k, int j) const
    {
        return s[(int64_t)k * c + j];
    }
    __device__ void store(int, int, int i, int j, float v) const
    {
        out[(int64_t)i * c + j] = v;
    }
};

/* y = ((m - shift_c) W' - shift_k) scale rstd + offset; one of the shifts is NULL */
template <typename T> struct outputs {
    static constexpr bool a_inner = true, b_inner = true;
    const float *m, *mu, *w, *running_mean, *scale, *offset, *rstd;
    T *y;
    int c, k_out;
    __device__ float a(int, int i, int k) const
    {
        return m[(int64_t)i * c + k] - (mu ? mu[k] : 0.0f);
    }
    __device__ float b(int, int k, int j) const
    {
        return w[(int64_t)j * c + k];
    }
    __device__ void store(int, int, int i, int j, float v) const
    {
        const float z = running_mean ? v - running_mean[j] : v;
        put(y + (int64_t)i * k_out + j, z * (scale[j] * rstd[j]) + offset[j]);
    }
};

/* G = g' (m - mu), split over images */
template <typename T> struct weight_gradient {
    static constexpr bool a_inner = false, b_inner = false;
    const T *g;
    const float *m, *mu;
    int c, k_out;
    split_parts parts;
    __device__ float a(int, int i, int k) const
    {
        return to_f32(g[(int64_t)k * k_out + i]);
    }
    __device__ float b(int, int k, int j) const
    {
        return m[(int64_t)k * c + j] - mu[j];
    }
    __device__ void store(int, int split, int i, int j, float v) const
    {
        parts.store(split, i, j, v);
    }
};

/* Q = W' diag(v) W, split over outputs */
struct covariance_gradient {
    static constexpr bool a_inner = false, b_inner = false;
    const float *w, *v;
    int c;
    split_parts parts;
    __device__ float a(int, int i, int k) const
    {
        return w[(int64_t)k * c + i] * v[k];
    }
    __device__ float b(int, int k, int j) const
    {
        return w[(int64_t)k * c + j];
    }
    __device__ void store(int, int split, int i, int j, float s) const
    {
        parts.store(split, i, j, s);
    }
};

/* e = (g a) W, split over outputs */
template <typename T> struct mean_gradient {
    static constexpr bool a_inner = true, b_inner = false;
    const T *g;
    const float *factor, *w;
    int c, k_out;
    split_parts parts;
    __device__ float a(int, int i, int k) const
    {
        return to_f32(g[(int64_t)i * k_out + k]) * factor[k];
    }
    __device__ float b(int, int k, int j) const
    {
        return w[(int64_t)k * c + j];
    }
    __device__ void store(int, int split, int i, int j, float v) const
    {
        parts.store(split, i, j, v);
    }
};

/* dx = (x - mu) Q + e_n - mean e, with the factors 2/R and 1/P already in Q and e */
template <typename T> struct input_gradient {
    static constexpr bool a_inner = true, b_inner = false;
    const T *x;
    const float *mu, *q, *e, *mean_e;
    T *dx;
    int c, positions;
    __device__ float a(int, int i, int k) const
    {
        return to_f32(x[(int64_t)i * c + k]) - mu[k];
    }
    __device__ float b(int, int k, int j) const
    {
        return q[(int64_t)k * c + j];
    }
    __device__ void store(int, int, int i, int j, float v) const
    {
        put(dx + (int64_t)i * c + j, v + (e[(int64_t)(i / positions) * c + j] - mean_e[j]));
    }
};

/* ---- vectors ----------------------------------------------------------------------------------------------------- */

/* mean[j] of the columns of x [rows, c]; 32 columns and 8 row lanes a block. Adds to `mean` when `add`, without dividing. */
template <typename T>
__global__ void __launch_bounds__(CUDA_BLOCK) column_means_kernel(const T *x, int rows, int c, float *mean, bool add)
{
    __shared__ double lane[8][32];
    const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, j = blockIdx.x * 32 + tx;
    double sum = 0;
    if (j < c) {
#pragma unroll 8
        for (int r = ty; r < rows; r += 8)
            sum += (double)to_f32(x[(int64_t)r * c + j]);
    }
    lane[ty][tx] = sum;
    __syncthreads();
    if (ty || j >= c)
        return;
    for (int i = 1; i < 8; i++)
        sum += lane[i][tx];
    mean[j] = add ? (float)((double)mean[j] + sum) : (float)(sum / (double)rows);
}

template <typename T>
static int column_means(struct cuda *cuda, const T *x, int rows, int c, float *mean, bool add, struct bk_error *err)
{
    CUDA_LAUNCH(cuda, (unsigned)cuda_ceil_div(c, 32), column_means_kernel<T>)(x, rows, c, mean, add);
    return cuda_launched(cuda, "column means", err);
}

static __device__ __forceinline__ double warp_dot(const float *a, const float *b, int n)
{
    double s = 0;
    for (int i = threadIdx.x % 32; i < n; i += 32)
        s += (double)a[i] * (double)b[i];
    return warp_sum(s);
}

struct statistics_job {
    const float *w, *ws, *mu, *old_mean, *old_var;
    float *rstd, *new_mean, *new_var;
    double eps, momentum, unbiased;
    int k, c;
};

/* A warp an output: var_k = w_k . (S w_k), the running statistics follow. */
__global__ void __launch_bounds__(CUDA_BLOCK) head_statistics_kernel(const statistics_job job)
{
    const int k = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32;
    if (k >= job.k)
        return;
    const float *w = job.w + (int64_t)k * job.c;
    double var = warp_dot(job.ws + (int64_t)k * job.c, w, job.c);
    const double mean = warp_dot(job.mu, w, job.c);
    if (threadIdx.x % 32)
        return;
    var = var > 0 || var != var ? var : 0;
    job.rstd[k] = (float)(1 / sqrt(var + job.eps));
    if (job.new_mean)
        job.new_mean[k] = cuda_norm_follow(job.old_mean ? job.old_mean[k] : job.new_mean[k], mean, job.momentum);
    if (job.new_var)
        job.new_var[k] = cuda_norm_follow(job.old_var ? job.old_var[k] : job.new_var[k], var * job.unbiased, job.momentum);
}

struct running_rstd {
    const float *var;
    float *rstd;
    double eps;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        rstd[i] = (float)(1 / sqrt((double)var[i] + eps));
    }
};

/* ---- forward ------------------------------------------------------------------------------------------------------ */

template <typename T>
static int batch_statistics(struct cuda *cuda, const struct bk_kernel_args *args, const struct head &h,
                            struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = static_cast<const struct bk_batch_norm_attr *>(args->attr);
    float *m = f32_of(args->out[1]), *mu = f32_of(args->out[2]), *S = f32_of(args->out[3]);
    const float *w = f32_of(args->in[1]);
    void *space;
    BK_TRY(column_means<float>(cuda, m, h.n, h.c, mu, false, err));
    covariance<T> cov = { static_cast<const T *>(args->in[0]->data), mu, h.c, {} };
    BK_TRY(run_split(cuda, cov, h.c, h.c, h.rows, 1.0 / (double)h.rows, S, false, "covariance", err));
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_MATRIX, (size_t)h.k * h.c * sizeof(float), &space, err));
    const weight_times ws = { w, S, static_cast<float *>(space), h.c };
    BK_TRY(run_tile(cuda, ws, whole(h.k, h.c, h.c, 1), "pooled head variances", err));
    const double rows = (double)h.rows;
    const statistics_job job = { w, ws.out, mu, f32_of(args->in[4]), f32_of(args->in[5]), f32_of(args->out[4]),
                                 f32_of(args->out[5]), f32_of(args->out[6]), attr->eps, attr->momentum,
                                 rows > 1 ? rows / (rows - 1) : 1, h.k, h.c };
    CUDA_LAUNCH(cuda, warps_for(h.k), head_statistics_kernel)(job);
    return cuda_launched(cuda, "pooled head statistics", err);
}

template <typename T>
static int run_head(struct cuda *cuda, const struct bk_kernel_args *args, const struct head &h, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = static_cast<const struct bk_batch_norm_attr *>(args->attr);
    const bool batch = attr->mode != BK_NORM_RUNNING;
    BK_TRY(cuda_image_means(cuda, args->in[0], args->out[1], err));
    if (batch) {
        BK_TRY(batch_statistics<T>(cuda, args, h, err));
    } else {
        const running_rstd f = { f32_of(args->in[5]), f32_of(args->out[4]), attr->eps };
        BK_TRY(elementwise<1>(cuda, f, h.k, "pooled head statistics", err));
    }
    const outputs<T> op = { f32_of(args->out[1]), batch ? f32_of(args->out[2]) : nullptr, f32_of(args->in[1]),
                            batch ? nullptr : f32_of(args->in[4]), f32_of(args->in[2]), f32_of(args->in[3]),
                            f32_of(args->out[4]), static_cast<T *>(args->out[0]->data), h.c, h.k };
    return run_tile(cuda, op, whole(h.n, h.k, h.c, 1), "pooled head", err);
}

int cuda_pooled_head(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct head h;
    BK_TRY(head_of(args->in[0], args->in[1], &h, err));
    return cuda_is_bf16(args->in[0]) ? run_head<bf16_t>(cuda, args, h, err) : run_head<float>(cuda, args, h, err);
}

/* ---- backward ----------------------------------------------------------------------------------------------------- */

struct gradient_job {
    const float *w, *ws, *G, *scale, *rstd;
    float *a, *v;               /* [K] */
    float *dw, *dscale;         /* += ; or NULL */
    int k, c;
};

/* A warp an output: A_k, the factors a and v, dscale and the row of dW. */
__global__ void __launch_bounds__(CUDA_BLOCK) head_gradient_kernel(const gradient_job job)
{
    const int k = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (k >= job.k)
        return;
    const int64_t row = (int64_t)k * job.c;
    const double A = warp_dot(job.G + row, job.w + row, job.c);
    float a, v;
    double dscale;
    cuda_head_output(job.scale[k], job.rstd[k], A, &a, &v, &dscale);
    if (lane == 0) {
        job.a[k] = a;
        job.v[k] = v;
        if (job.dscale)
            job.dscale[k] = (float)((double)job.dscale[k] + dscale);
    }
    for (int c = lane; job.dw && c < job.c; c += 32)
        job.dw[row + c] += a * job.G[row + c] + 2 * v * job.ws[row + c];
}

/* The small matrices of the backward pass, carved from one block. */
struct head_work {
    float *G, *ws;              /* [K,C] */
    float *a, *v;               /* [K] */
    float *q;                   /* [C,C] */
    float *e, *mean_e;          /* [N,C], [C] */
};

static int carve(struct cuda *cuda, const struct head &h, struct head_work *b, struct bk_error *err)
{
    const size_t kc = (size_t)h.k * h.c, k = (size_t)h.k, cc = (size_t)h.c * h.c, nc = (size_t)h.n * h.c;
    void *space;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_MATRIX, (2 * kc + 2 * k + cc + nc + h.c) * sizeof(float), &space, err));
    b->G = static_cast<float *>(space);
    b->ws = b->G + kc;
    b->a = b->ws + kc;
    b->v = b->a + k;
    b->q = b->v + k;
    b->e = b->q + cc;
    b->mean_e = b->e + nc;
    return BK_OK;
}

template <typename T>
static int input_gradients(struct cuda *cuda, const struct bk_kernel_args *args, const struct head &h,
                           const struct head_work &b, struct bk_error *err)
{
    const float *w = f32_of(args->in[2]);
    covariance_gradient q = { w, b.v, h.c, {} };
    BK_TRY(run_split(cuda, q, h.c, h.c, h.k, 2.0 / (double)h.rows, b.q, false, "covariance gradient", err));
    mean_gradient<T> e = { static_cast<const T *>(args->in[0]->data), b.a, w, h.c, h.k, {} };
    BK_TRY(run_split(cuda, e, h.n, h.c, h.k, 1.0 / (double)h.positions, b.e, false, "image mean gradient", err));
    BK_TRY(column_means<float>(cuda, b.e, h.n, h.c, b.mean_e, false, err));
    const input_gradient<T> dx = { static_cast<const T *>(args->in[1]->data), f32_of(args->in[5]), b.q, b.e, b.mean_e,
                                   static_cast<T *>(args->out[0]->data), h.c, (int)h.positions };
    return run_tile(cuda, dx, whole(h.rows, h.c, h.c, 1), "pooled head gradient", err);
}

template <typename T>
static int run_head_dx(struct cuda *cuda, const struct bk_kernel_args *args, const struct head &h, struct bk_error *err)
{
    const T *g = static_cast<const T *>(args->in[0]->data);
    const float *w = f32_of(args->in[2]), *S = f32_of(args->in[6]);
    struct head_work b;
    BK_TRY(carve(cuda, h, &b, err));
    weight_gradient<T> G = { g, f32_of(args->in[4]), f32_of(args->in[5]), h.c, h.k, {} };
    BK_TRY(run_split(cuda, G, h.k, h.c, h.n, 1, b.G, false, "pooled head weight gradient", err));
    const weight_times ws = { w, S, b.ws, h.c };
    BK_TRY(run_tile(cuda, ws, whole(h.k, h.c, h.c, 1), "pooled head variances", err));
    const gradient_job job = { w,   b.ws, b.G,  f32_of(args->in[3]), f32_of(args->in[7]),
                               b.a, b.v,  f32_of(args->out[1]), f32_of(args->out[2]), h.k, h.c };
    CUDA_LAUNCH(cuda, warps_for(h.k), head_gradient_kernel)(job);
    BK_TRY(cuda_launched(cuda, "pooled head parameters", err));
    if (args->out[3])
        BK_TRY(column_means<T>(cuda, g, h.n, h.k, f32_of(args->out[3]), true, err));
    return args->out[0] ? input_gradients<T>(cuda, args, h, b, err) : BK_OK;
}

int cuda_pooled_head_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct head h;
    BK_TRY(head_of(args->in[1], args->in[2], &h, err));
    return cuda_is_bf16(args->in[1]) ? run_head_dx<bf16_t>(cuda, args, h, err) : run_head_dx<float>(cuda, args, h, err);
}

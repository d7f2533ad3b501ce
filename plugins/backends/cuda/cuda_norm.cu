/*
 * cuda_norm.cu: sums of batch normalisations with residual and activation, forward and backward, and column sums.
 *
 * Forward: partial sums of all terms in one launch, statistics and coefficients in a second, one pass over the
 * activations in a third. Backward: partial sums of dz and dz (x - mean), coefficients, one pass; the slope of an activation
 * other than ReLU is computed from the terms in both passes over the activations. Partial sums are f32
 * within a thread (a few hundred rows, shifted by the channel's first value so that squares do not cancel), f64 from
 * there on, combined in a fixed order. The plan of rows and columns and the formulas are in cuda_shared.h.
 */
#include "cuda_device.cuh"

#define TERMS BK_NORM_MAX_TERMS

/* 16 bytes with one term; half of that with more, whose coefficients must stay in registers. */
template <typename T, int N> struct norm_vector {
    static constexpr int value = N == 1 ? full_vector<T>::value : 4;
};

/* ---- statistics ------------------------------------------------------------------------------------------- */

struct stats_job {
    const void *x[TERMS];
    double *partial;            /* [terms][2][C][parts] */
    struct cuda_rows plan;
    int shifted;                /* 0: plain sums, without squares */
};

template <typename T, int V> __global__ void __launch_bounds__(CUDA_BLOCK) stats_kernel(const stats_job job)
{
    __shared__ fold_space<V> space;
    const struct cuda_rows &p = job.plan;
    const T *x = static_cast<const T *>(job.x[blockIdx.z]);
    int column;
    int64_t row;
    const bool active = cuda_rows_at(&p, blockIdx.y, blockIdx.x, threadIdx.x, &column, &row);
    float shift[V] = {}, sum[V] = {}, square[V] = {};
    if (active) {
        const T *at = x + (int64_t)column * V;
        const int64_t end = cuda_rows_end(&p, blockIdx.x);
        if (job.shifted)
            load<V>(at, shift);
#pragma unroll 4
        for (int64_t r = row; r < end; r += p.ty) {
            float v[V];
            load<V>(at + r * p.c, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float d = v[i] - shift[i];
                sum[i] += d;
                square[i] += d * d;
            }
        }
    }
    double *out = job.partial + (int64_t)blockIdx.z * 2 * p.c * p.parts;
    const int first = blockIdx.y * p.tx * V;
    fold_columns<V>(sum, p.tx, p.ty, space, [&](int e, double s) {
        if (first + e < p.c)
            out[(int64_t)(first + e) * p.parts + blockIdx.x] = s;
    });
    if (!job.shifted)
        return;
    out += (int64_t)p.c * p.parts;
    fold_columns<V>(square, p.tx, p.ty, space, [&](int e, double s) {
        if (first + e < p.c)
            out[(int64_t)(first + e) * p.parts + blockIdx.x] = s;
    });
}

static dim3 grid_of(const struct cuda_rows &p, int z)
{
    return dim3((unsigned)p.parts, (unsigned)p.tiles, (unsigned)z);
}

template <typename T, int V>
static int run_stats(struct cuda *cuda, const stats_job &job, int terms, struct bk_error *err)
{
    CUDA_LAUNCH(cuda, grid_of(job.plan, terms), stats_kernel<T, V>)(job);
    return cuda_launched(cuda, "column statistics", err);
}

/* A warp's sum of parts 0..n-1, in every lane. */
static __device__ __forceinline__ double sum_parts(const double *p, int n)
{
    double s = 0;
    for (int i = threadIdx.x % 32; i < n; i += 32)
        s += p[i];
    return warp_sum(s);
}

/* ---- column sums ------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(CUDA_BLOCK) finish_sums_kernel(const double *partial, int parts, int c, float *sum,
                                                                  bool accumulate)
{
    const int k = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32;
    if (k >= c)
        return;
    const double s = sum_parts(partial + (int64_t)k * parts, parts);
    if (threadIdx.x % 32 == 0)
        sum[k] = (float)(accumulate ? (double)sum[k] + s : s);
}

int cuda_column_sums(struct cuda *cuda, const void *x, int bf16, int64_t rows, int c, float *sum, bool accumulate,
                     struct bk_error *err)
{
    const int full = bf16 ? 8 : 4;
    const bool vectors = c % full == 0 && is_aligned(x, 16);
    stats_job job = {};
    void *partial;
    job.x[0] = x;
    job.plan = cuda_rows_plan(rows, c, vectors ? full : 1, 8, cuda_reduce_parts(c));
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)c * job.plan.parts * sizeof(double), &partial, err));
    job.partial = static_cast<double *>(partial);
    if (bf16)
        BK_TRY(vectors ? (run_stats<bf16_t, 8>(cuda, job, 1, err)) : (run_stats<bf16_t, 1>(cuda, job, 1, err)));
    else
        BK_TRY(vectors ? (run_stats<float, 4>(cuda, job, 1, err)) : (run_stats<float, 1>(cuda, job, 1, err)));
    CUDA_LAUNCH(cuda, (unsigned)cuda_ceil_div(c, CUDA_BLOCK / 32), finish_sums_kernel)(
        job.partial, job.plan.parts, c, sum, accumulate);
    return cuda_launched(cuda, "column sums", err);
}

/* ---- forward ------------------------------------------------------------------------------------------------ */

struct norm_term {
    const void *x;
    const float *scale, *offset, *running_mean, *running_var;
    float *mean, *rstd, *new_mean, *new_var;
};

struct norm_job {
    struct norm_term term[TERMS];
    const void *residual;
    void *y;
    bool batch;                 /* statistics of the batch, from `partial` */
    const double *partial;
    float *coefficient;         /* [terms][3][C]: mean, a, c */
    struct cuda_rows plan;      /* of the statistics, then of the pass */
    double eps, momentum;
    int activation;
};

/* A warp a channel; grid y counts terms. */
template <typename T> __global__ void __launch_bounds__(CUDA_BLOCK) norm_coefficients_kernel(const norm_job job)
{
    const int c = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32, C = job.plan.c, parts = job.plan.parts;
    const struct norm_term &t = job.term[blockIdx.y];
    if (c >= C)
        return;
    double mean, var;
    if (job.batch) {
        const double *sums = job.partial + ((int64_t)blockIdx.y * 2 * C + c) * parts;
        const double sum = sum_parts(sums, parts), square = sum_parts(sums + (int64_t)C * parts, parts);
        const double rows = (double)job.plan.rows, shift = to_f32(static_cast<const T *>(t.x)[c]);
        cuda_norm_moments(sum, square, shift, rows, &mean, &var);
        if (threadIdx.x % 32)
            return;
        const double unbiased = rows > 1 ? var * (rows / (rows - 1)) : var;
        if (t.new_mean)
            t.new_mean[c] = cuda_norm_follow(t.running_mean ? t.running_mean[c] : t.new_mean[c], mean, job.momentum);
        if (t.new_var)
            t.new_var[c] = cuda_norm_follow(t.running_var ? t.running_var[c] : t.new_var[c], unbiased, job.momentum);
    } else {
        if (threadIdx.x % 32)
            return;
        mean = t.running_mean[c];
        var = t.running_var[c];
    }
    const double rstd = 1 / sqrt(var + job.eps);
    float *to = job.coefficient + (int64_t)blockIdx.y * 3 * C + c;
    cuda_norm_forward(mean, rstd, t.scale[c], t.offset[c], to, to + C, to + 2 * C);
    if (t.mean)
        t.mean[c] = (float)mean;
    if (t.rstd)
        t.rstd[c] = (float)rstd;
}

template <typename T, int V, int N> __global__ void __launch_bounds__(CUDA_BLOCK) norm_apply_kernel(const norm_job job)
{
    const struct cuda_rows &p = job.plan;
    int column;
    int64_t row;
    if (!cuda_rows_at(&p, blockIdx.y, blockIdx.x, threadIdx.x, &column, &row))
        return;
    const int first = column * V;
    float mean[N][V], a[N][V], c[V] = {};
#pragma unroll
    for (int t = 0; t < N; t++) {
        const float *from = job.coefficient + (int64_t)t * 3 * p.c + first;
        float offset[V];
        load<V>(from, mean[t]);
        load<V>(from + p.c, a[t]);
        load<V>(from + 2 * p.c, offset);
#pragma unroll
        for (int i = 0; i < V; i++)
            c[i] += offset[i];
    }
    const int64_t end = cuda_rows_end(&p, blockIdx.x);
#pragma unroll 2
    for (int64_t r = row; r < end; r += p.ty) {
        const int64_t at = r * p.c + first;
        float y[V];
#pragma unroll
        for (int i = 0; i < V; i++)
            y[i] = c[i];
        if (job.residual) {
            float v[V];
            load<V>(static_cast<const T *>(job.residual) + at, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                y[i] += v[i];
        }
#pragma unroll
        for (int t = 0; t < N; t++) {
            float v[V];
            load<V>(static_cast<const T *>(job.term[t].x) + at, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                y[i] += (v[i] - mean[t][i]) * a[t][i];
        }
        if (job.activation != BK_ACT_NONE)
#pragma unroll
            for (int i = 0; i < V; i++)
                y[i] = cuda_act(job.activation, y[i]);
        store<V>(static_cast<T *>(job.y) + at, y);
    }
}

/* Rows for a pass that reads and writes activations: enough blocks to fill the device, coefficients read once a thread. */
static struct cuda_rows pass_plan(const struct cuda *cuda, int64_t rows, int c, int v)
{
    return cuda_rows_plan(rows, c, v, 4, cuda->multiprocessors * 16);
}

template <typename T, int V, int N> static int run_norm(struct cuda *cuda, norm_job &job, struct bk_error *err)
{
    const int64_t rows = job.plan.rows;
    const int C = job.plan.c;
    void *space;
    if (job.batch) {
        stats_job stats = {};
        for (int t = 0; t < N; t++)
            stats.x[t] = job.term[t].x;
        stats.plan = cuda_rows_plan(rows, C, V, 8, cuda_reduce_parts(C));
        stats.shifted = 1;
        BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)N * 2 * C * stats.plan.parts * sizeof(double), &space, err));
        stats.partial = static_cast<double *>(space);
        job.partial = stats.partial;
        job.plan = stats.plan;
        BK_TRY((run_stats<T, V>(cuda, stats, N, err)));
    }
    const dim3 grid((unsigned)cuda_ceil_div(C, CUDA_BLOCK / 32), N);
    CUDA_LAUNCH(cuda, grid, norm_coefficients_kernel<T>)(job);
    BK_TRY(cuda_launched(cuda, "batch norm coefficients", err));
    job.plan = pass_plan(cuda, rows, C, V);
    CUDA_LAUNCH(cuda, grid_of(job.plan, 1), norm_apply_kernel<T, V, N>)(job);
    return cuda_launched(cuda, "batch norm", err);
}

/* Pick the vector width, then the number of terms. */
template <typename T, int N> static int run_norm_width(struct cuda *cuda, norm_job &job, bool aligned, struct bk_error *err)
{
    constexpr int V = norm_vector<T, N>::value;
    if (aligned && job.plan.c % V == 0)
        return run_norm<T, V, N>(cuda, job, err);
    return run_norm<T, 1, N>(cuda, job, err);
}

template <typename T> static int run_norm_terms(struct cuda *cuda, norm_job &job, int n, bool aligned, struct bk_error *err)
{
    switch (n) {
    case 1:
        return run_norm_width<T, 1>(cuda, job, aligned, err);
    case 2:
        return run_norm_width<T, 2>(cuda, job, aligned, err);
    default:
        return run_norm_width<T, 3>(cuda, job, aligned, err);
    }
}

static float *f32_of(const struct bk_tensor *t)
{
    return static_cast<float *>(cuda_data(t));
}

static int rows_and_channels(const struct bk_tensor *x, struct cuda_rows *plan, struct bk_error *err)
{
    const int64_t C = cuda_last_dim(x);
    BK_TRY(cuda_fits(C, "channels", err));
    plan->c = (int)C;
    plan->rows = cuda_numel(x) / C;
    return BK_OK;
}

int cuda_batch_norm(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = static_cast<const struct bk_batch_norm_attr *>(args->attr);
    const struct bk_tensor *y = args->out[0];
    norm_job job = {};
    bool aligned = is_aligned(y->data, 16) && is_aligned(cuda_data(args->in[0]), 16);
    void *space;
    BK_TRY(rows_and_channels(y, &job.plan, err));
    for (int t = 0; t < attr->n_terms; t++) {
        const struct bk_tensor *const *in = args->in + 1 + 5 * t;
        struct bk_tensor *const *out = args->out + 1 + 4 * t;
        job.term[t] = { in[0]->data,    f32_of(in[1]),  f32_of(in[2]),  f32_of(in[3]), f32_of(in[4]),
                        f32_of(out[0]), f32_of(out[1]), f32_of(out[2]), f32_of(out[3]) };
        aligned = aligned && is_aligned(in[0]->data, 16);
    }
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_PARAMS, (size_t)attr->n_terms * 3 * job.plan.c * sizeof(float), &space, err));
    job.coefficient = static_cast<float *>(space);
    job.residual = cuda_data(args->in[0]);
    job.y = y->data;
    job.batch = attr->mode != BK_NORM_RUNNING;
    job.eps = attr->eps;
    job.momentum = attr->momentum;
    job.activation = attr->activation;
    return cuda_is_bf16(y) ? run_norm_terms<bf16_t>(cuda, job, attr->n_terms, aligned, err)
                           : run_norm_terms<float>(cuda, job, attr->n_terms, aligned, err);
}

/* ---- backward ------------------------------------------------------------------------------------------------- */

struct back_term {
    const void *x;
    const float *scale, *offset, *mean, *rstd;
    void *dx;
    float *dscale, *doffset;
};

struct back_job {
    struct back_term term[TERMS];
    const void *dy[BK_MAX_ADDENDS];
    const void *y;              /* NULL: no ReLU */
    const void *residual;       /* NULL: none, or not needed */
    void *dresidual;
    double *partial;            /* [1 + terms][C][parts]: sum of dz, then sums of dz (x - mean) */
    float *coefficient;         /* [terms][2][C]: b, c */
    struct cuda_rows plan;
    int n_dy, constant;         /* constant: running statistics */
    int activation;             /* whose slope is computed from the terms; BK_ACT_NONE with a ReLU, too */
};

/* dz = sum of the incoming gradients where y > 0. */
template <typename T, int V> static __device__ __forceinline__ void load_dz(const back_job &job, int64_t at, float (&dz)[V])
{
    load<V>(static_cast<const T *>(job.dy[0]) + at, dz);
#pragma unroll
    for (int k = 1; k < BK_MAX_ADDENDS; k++)
        if (k < job.n_dy) {
            float v[V];
            load<V>(static_cast<const T *>(job.dy[k]) + at, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                dz[i] += v[i];
        }
    if (job.y) {
        float y[V];
        load<V>(static_cast<const T *>(job.y) + at, y);
#pragma unroll
        for (int i = 0; i < V; i++)
            dz[i] = y[i] > 0 ? dz[i] : 0;
    }
}

/* Columns first..first + V - 1 of the sum before the activation: sum of (x - mean) a over the terms, + offset. */
template <int V, int N> struct norm_sum {
    float mean[N][V], a[N][V], offset[V];
    /* factors: is `a` wanted even without an activation? */
    __device__ __forceinline__ norm_sum(const back_job &job, int first, bool factors)
    {
#pragma unroll
        for (int i = 0; i < V; i++)
            offset[i] = 0;
#pragma unroll
        for (int t = 0; t < N; t++) {
            float v[V];
            load<V>(job.term[t].mean + first, mean[t]);
            if (job.activation != BK_ACT_NONE) {
                load<V>(job.term[t].offset + first, v);
#pragma unroll
                for (int i = 0; i < V; i++)
                    offset[i] += v[i];
            }
            if (job.activation == BK_ACT_NONE && !factors)
                continue;
            load<V>(job.term[t].scale + first, a[t]);
            load<V>(job.term[t].rstd + first, v);
#pragma unroll
            for (int i = 0; i < V; i++)
                a[t][i] *= v[i];
        }
    }
    /* Element `at`: d = x - mean of every term; dz is multiplied by the activation's slope. */
    template <typename T>
    __device__ __forceinline__ void activate(const back_job &job, int64_t at, float (&d)[N][V], float (&dz)[V]) const
    {
#pragma unroll
        for (int t = 0; t < N; t++) {
            load<V>(static_cast<const T *>(job.term[t].x) + at, d[t]);
#pragma unroll
            for (int i = 0; i < V; i++)
                d[t][i] -= mean[t][i];
        }
        if (job.activation == BK_ACT_NONE)
            return;
        float z[V] = {};
        if (job.residual)
            load<V>(static_cast<const T *>(job.residual) + at, z);
#pragma unroll
        for (int i = 0; i < V; i++) {
            z[i] += offset[i];
#pragma unroll
            for (int t = 0; t < N; t++)
                z[i] += d[t][i] * a[t][i];
            dz[i] *= cuda_act_slope(job.activation, z[i]);
        }
    }
};

template <typename T, int V, int N> __global__ void __launch_bounds__(CUDA_BLOCK) norm_reduce_kernel(const back_job job)
{
    __shared__ fold_space<V> space;
    const struct cuda_rows &p = job.plan;
    int column;
    int64_t row;
    const bool active = cuda_rows_at(&p, blockIdx.y, blockIdx.x, threadIdx.x, &column, &row);
    float sum[V] = {}, dot[N][V] = {};
    if (active) {
        const int first = column * V;
        const int64_t end = cuda_rows_end(&p, blockIdx.x);
        const norm_sum<V, N> terms(job, first, false);
#pragma unroll 2
        for (int64_t r = row; r < end; r += p.ty) {
            const int64_t at = r * p.c + first;
            float dz[V], d[N][V];
            load_dz<T, V>(job, at, dz);
            terms.template activate<T>(job, at, d, dz);
#pragma unroll
            for (int i = 0; i < V; i++) {
                sum[i] += dz[i];
#pragma unroll
                for (int t = 0; t < N; t++)
                    dot[t][i] += dz[i] * d[t][i];
            }
        }
    }
    const int base = blockIdx.y * p.tx * V;
    double *out = job.partial;
    fold_columns<V>(sum, p.tx, p.ty, space, [&](int e, double s) {
        if (base + e < p.c)
            out[(int64_t)(base + e) * p.parts + blockIdx.x] = s;
    });
#pragma unroll
    for (int t = 0; t < N; t++) {
        out += (int64_t)p.c * p.parts;
        fold_columns<V>(dot[t], p.tx, p.ty, space, [&](int e, double s) {
            if (base + e < p.c)
                out[(int64_t)(base + e) * p.parts + blockIdx.x] = s;
        });
    }
}

/* A warp a channel; grid y counts terms. */
__global__ void __launch_bounds__(CUDA_BLOCK) norm_dx_coefficients_kernel(const back_job job)
{
    const int c = blockIdx.x * (CUDA_BLOCK / 32) + threadIdx.x / 32, C = job.plan.c, parts = job.plan.parts;
    const struct back_term &t = job.term[blockIdx.y];
    if (c >= C)
        return;
    const double sum = sum_parts(job.partial + (int64_t)c * parts, parts);
    const double dot = sum_parts(job.partial + ((int64_t)(1 + blockIdx.y) * C + c) * parts, parts);
    if (threadIdx.x % 32)
        return;
    const double rstd = t.rstd[c];
    float *to = job.coefficient + (int64_t)blockIdx.y * 2 * C + c;
    cuda_norm_backward(sum, dot, t.scale[c], rstd, job.constant ? 0 : (double)job.plan.rows, to, to + C);
    if (t.dscale)
        t.dscale[c] = (float)((double)t.dscale[c] + rstd * dot);
    if (t.doffset)
        t.doffset[c] = (float)((double)t.doffset[c] + sum);
}

template <typename T, int V, int N> __global__ void __launch_bounds__(CUDA_BLOCK) norm_dx_kernel(const back_job job)
{
    const struct cuda_rows &p = job.plan;
    int column;
    int64_t row;
    if (!cuda_rows_at(&p, blockIdx.y, blockIdx.x, threadIdx.x, &column, &row))
        return;
    const int first = column * V;
    const norm_sum<V, N> terms(job, first, true);
    float b[N][V], c[N][V];
#pragma unroll
    for (int t = 0; t < N; t++) {
        const float *from = job.coefficient + (int64_t)t * 2 * p.c + first;
        load<V>(from, b[t]);
        load<V>(from + p.c, c[t]);
    }
    const int64_t end = cuda_rows_end(&p, blockIdx.x);
    for (int64_t r = row; r < end; r += p.ty) {
        const int64_t at = r * p.c + first;
        float dz[V], d[N][V];
        load_dz<T, V>(job, at, dz);
        terms.template activate<T>(job, at, d, dz);
        if (job.dresidual)
            store<V>(static_cast<T *>(job.dresidual) + at, dz);
#pragma unroll
        for (int t = 0; t < N; t++) {
            if (!job.term[t].dx)
                continue;
            float dx[V];
#pragma unroll
            for (int i = 0; i < V; i++)
                dx[i] = terms.a[t][i] * dz[i] + b[t][i] * d[t][i] + c[t][i];
            store<V>(static_cast<T *>(job.term[t].dx) + at, dx);
        }
    }
}

template <typename T, int V, int N> static int run_back(struct cuda *cuda, back_job &job, struct bk_error *err)
{
    const int64_t rows = job.plan.rows;
    const int C = job.plan.c;
    bool wanted = job.dresidual != nullptr;
    void *space;
    for (int t = 0; t < N; t++)
        wanted = wanted || job.term[t].dx;
    job.plan = cuda_rows_plan(rows, C, V, 8, cuda_reduce_parts(C));
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)(1 + N) * C * job.plan.parts * sizeof(double), &space, err));
    job.partial = static_cast<double *>(space);
    CUDA_LAUNCH(cuda, grid_of(job.plan, 1), norm_reduce_kernel<T, V, N>)(job);
    BK_TRY(cuda_launched(cuda, "batch norm sums", err));
    const dim3 grid((unsigned)cuda_ceil_div(C, CUDA_BLOCK / 32), N);
    CUDA_LAUNCH(cuda, grid, norm_dx_coefficients_kernel)(job);
    BK_TRY(cuda_launched(cuda, "batch norm gradient coefficients", err));
    if (!wanted)
        return BK_OK;
    job.plan = pass_plan(cuda, rows, C, V);
    CUDA_LAUNCH(cuda, grid_of(job.plan, 1), norm_dx_kernel<T, V, N>)(job);
    return cuda_launched(cuda, "batch norm gradient", err);
}

template <typename T, int N> static int run_back_width(struct cuda *cuda, back_job &job, bool aligned, struct bk_error *err)
{
    constexpr int V = norm_vector<T, N>::value;
    if (aligned && job.plan.c % V == 0)
        return run_back<T, V, N>(cuda, job, err);
    return run_back<T, 1, N>(cuda, job, err);
}

template <typename T> static int run_back_terms(struct cuda *cuda, back_job &job, int n, bool aligned, struct bk_error *err)
{
    switch (n) {
    case 1:
        return run_back_width<T, 1>(cuda, job, aligned, err);
    case 2:
        return run_back_width<T, 2>(cuda, job, aligned, err);
    default:
        return run_back_width<T, 3>(cuda, job, aligned, err);
    }
}

int cuda_batch_norm_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_batch_norm_attr *attr = static_cast<const struct bk_batch_norm_attr *>(args->attr);
    const struct bk_tensor *x = args->in[6];
    back_job job = {};
    bool aligned = true;
    void *space;
    BK_TRY(rows_and_channels(x, &job.plan, err));
    for (int i = 0; i < BK_MAX_ADDENDS; i++)
        if (args->in[i]) {
            job.dy[job.n_dy++] = args->in[i]->data;
            aligned = aligned && is_aligned(args->in[i]->data, 16);
        }
    if (!job.n_dy)
        return bk_fail(err, BK_EINVAL, "batch norm backward without an incoming gradient");
    if (attr->activation == BK_ACT_RELU)
        job.y = args->in[4]->data;
    else
        job.activation = attr->activation;
    if (job.activation != BK_ACT_NONE)
        job.residual = cuda_data(args->in[5]);
    job.dresidual = cuda_data(args->out[0]);
    aligned = aligned && is_aligned(job.y, 16) && is_aligned(job.residual, 16) && is_aligned(job.dresidual, 16);
    for (int t = 0; t < attr->n_terms; t++) {
        const struct bk_tensor *const *in = args->in + 6 + 5 * t;
        struct bk_tensor *const *out = args->out + 1 + 3 * t;
        job.term[t] = { in[0]->data,   f32_of(in[1]),     f32_of(in[2]),  f32_of(in[3]),
                        f32_of(in[4]), cuda_data(out[0]), f32_of(out[1]), f32_of(out[2]) };
        aligned = aligned && is_aligned(cuda_data(out[0]), 16);
        for (int k = 0; k < 5; k++)
            aligned = aligned && is_aligned(in[k]->data, 16);
    }
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_PARAMS, (size_t)attr->n_terms * 2 * job.plan.c * sizeof(float), &space, err));
    job.coefficient = static_cast<float *>(space);
    job.constant = attr->mode == BK_NORM_RUNNING;
    return cuda_is_bf16(x) ? run_back_terms<bf16_t>(cuda, job, attr->n_terms, aligned, err)
                           : run_back_terms<float>(cuda, job, attr->n_terms, aligned, err);
}

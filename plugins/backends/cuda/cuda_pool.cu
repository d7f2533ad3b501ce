/*
 * cuda_pool.cu: average, maximum and global pooling. Gradients gather: a thread owns the inputs it writes, so that
 * nothing is added twice and no atomics are needed. Windows are the functions of cuda_shared.h.
 */
#include "cuda_device.cuh"

/* ---- windows ------------------------------------------------------------------------------------------------- */

/* y of one output pixel and V channels: mean or maximum of the taps inside the image. */
template <typename T, int V, bool MAX> struct pool_forward {
    struct cuda_pool s;
    const T *x;
    T *y;
    template <int> __device__ __forceinline__ void at(int64_t item) const
    {
        const place to = place_of<V>(item, s.c, s.ho, s.wo);
        const T *image = x + (int64_t)to.n * s.h * s.w * s.c + to.c;
        int r0, r1, c0, c1;
        cuda_pool_window(&s, to.p, s.h, &r0, &r1);
        cuda_pool_window(&s, to.q, s.w, &c0, &c1);
        float out[V] = {};
        bool first = true;
        for (int r = r0; r < r1; r++)
            for (int k = c0; k < c1; k++) {
                float v[V];
                load<V>(image + ((int64_t)r * s.w + k) * s.c, v);
#pragma unroll
                for (int e = 0; e < V; e++)
                    out[e] = MAX ? (first || v[e] > out[e] ? v[e] : out[e]) : out[e] + v[e];
                first = false;
            }
        if (!MAX) {
            const float taps = (float)((r1 - r0) * (c1 - c0));
#pragma unroll
            for (int e = 0; e < V; e++)
                out[e] /= taps;
        }
        store<V>(y + to.pixel * s.c + to.c, out);
    }
};

template <typename T, int V> struct avg_pool_dx {
    struct cuda_pool s;
    const T *dy;
    T *dx;
    template <int> __device__ __forceinline__ void at(int64_t item) const
    {
        const place to = place_of<V>(item, s.c, s.h, s.w);
        const T *image = dy + (int64_t)to.n * s.ho * s.wo * s.c + to.c;
        int p0, p1, q0, q1, r0, r1, c0, c1;
        cuda_pool_outputs(&s, to.p, s.ho, &p0, &p1);
        cuda_pool_outputs(&s, to.q, s.wo, &q0, &q1);
        float sum[V] = {};
        for (int p = p0; p < p1; p++) {
            cuda_pool_window(&s, p, s.h, &r0, &r1);
            for (int q = q0; q < q1; q++) {
                float v[V];
                cuda_pool_window(&s, q, s.w, &c0, &c1);
                const float taps = (float)((r1 - r0) * (c1 - c0));
                load<V>(image + ((int64_t)p * s.wo + q) * s.c, v);
#pragma unroll
                for (int e = 0; e < V; e++)
                    sum[e] += v[e] / taps;
            }
        }
        store<V>(dx + to.pixel * s.c + to.c, sum);
    }
};

/* An input receives dy of the windows whose first maximum it is: equal to y, and no earlier tap of the window is. */
template <typename T> struct max_pool_dx {
    struct cuda_pool s;
    const T *x, *y, *dy;
    T *dx;
    template <int> __device__ __forceinline__ void at(int64_t item) const
    {
        const place to = place_of<1>(item, s.c, s.h, s.w);
        const int r = to.p, k = to.q;
        const T *image = x + (int64_t)to.n * s.h * s.w * s.c + to.c;
        const float own = to_f32(x[item]);
        int p0, p1, q0, q1;
        cuda_pool_outputs(&s, r, s.ho, &p0, &p1);
        cuda_pool_outputs(&s, k, s.wo, &q0, &q1);
        float sum = 0;
        for (int p = p0; p < p1; p++)
            for (int q = q0; q < q1; q++) {
                const int64_t out = (((int64_t)to.n * s.ho + p) * s.wo + q) * s.c + to.c;
                if (to_f32(y[out]) == own && is_first(image, p, q, r, k, own))
                    sum += to_f32(dy[out]);
            }
        put(dx + item, sum);
    }
    __device__ __forceinline__ bool is_first(const T *image, int p, int q, int row, int column, float own) const
    {
        int r0, r1, c0, c1;
        cuda_pool_window(&s, p, s.h, &r0, &r1);
        cuda_pool_window(&s, q, s.w, &c0, &c1);
        for (int r = r0; r <= row; r++)
            for (int k = c0; k < (r < row ? c1 : column); k++)
                if (to_f32(image[((int64_t)r * s.w + k) * s.c]) == own)
                    return false;
        return true;
    }
};

static int pool_of(const struct bk_tensor *x, const struct bk_tensor *y, const void *attr_, struct cuda_pool *s,
                   struct bk_error *err)
{
    const struct bk_pool2d_attr *attr = static_cast<const struct bk_pool2d_attr *>(attr_);
    BK_TRY(cuda_fits(x->dim[0] * x->dim[1] * x->dim[2], "positions", err));
    BK_TRY(cuda_fits(y->dim[0] * y->dim[1] * y->dim[2], "positions", err));
    BK_TRY(cuda_fits(x->dim[3], "channels", err));
    *s = { (int)x->dim[0], (int)x->dim[1], (int)x->dim[2], (int)x->dim[3], (int)y->dim[1], (int)y->dim[2],
           attr->size,     attr->stride,   attr->pad };
    return BK_OK;
}

template <typename T, bool MAX>
static int run_forward(struct cuda *cuda, const struct cuda_pool *s, const struct bk_tensor *x, struct bk_tensor *y,
                       struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const T *from = static_cast<const T *>(x->data);
    T *to = static_cast<T *>(y->data);
    if (s->c % V == 0 && is_aligned(from, 16) && is_aligned(to, 16)) {
        const pool_forward<T, V, MAX> f = { *s, from, to };
        return elementwise<1>(cuda, f, cuda_numel(y) / V, "pooling", err);
    }
    const pool_forward<T, 1, MAX> f = { *s, from, to };
    return elementwise<1>(cuda, f, cuda_numel(y), "pooling", err);
}

int cuda_avg_pool2d(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda_pool s;
    BK_TRY(pool_of(args->in[0], args->out[0], args->attr, &s, err));
    return cuda_is_bf16(args->in[0]) ? run_forward<bf16_t, false>(cuda, &s, args->in[0], args->out[0], err)
                                     : run_forward<float, false>(cuda, &s, args->in[0], args->out[0], err);
}

int cuda_max_pool2d(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda_pool s;
    BK_TRY(pool_of(args->in[0], args->out[0], args->attr, &s, err));
    return cuda_is_bf16(args->in[0]) ? run_forward<bf16_t, true>(cuda, &s, args->in[0], args->out[0], err)
                                     : run_forward<float, true>(cuda, &s, args->in[0], args->out[0], err);
}

template <typename T>
static int run_avg_dx(struct cuda *cuda, const struct cuda_pool *s, const struct bk_tensor *dy, struct bk_tensor *dx,
                      struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const T *from = static_cast<const T *>(dy->data);
    T *to = static_cast<T *>(dx->data);
    if (s->c % V == 0 && is_aligned(from, 16) && is_aligned(to, 16)) {
        const avg_pool_dx<T, V> f = { *s, from, to };
        return elementwise<1>(cuda, f, cuda_numel(dx) / V, "average pooling gradient", err);
    }
    const avg_pool_dx<T, 1> f = { *s, from, to };
    return elementwise<1>(cuda, f, cuda_numel(dx), "average pooling gradient", err);
}

int cuda_avg_pool2d_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda_pool s;
    BK_TRY(pool_of(args->out[0], args->in[0], args->attr, &s, err));
    return cuda_is_bf16(args->in[0]) ? run_avg_dx<bf16_t>(cuda, &s, args->in[0], args->out[0], err)
                                     : run_avg_dx<float>(cuda, &s, args->in[0], args->out[0], err);
}

template <typename T>
static int run_max_dx(struct cuda *cuda, const struct cuda_pool *s, const struct bk_kernel_args *args, struct bk_error *err)
{
    const max_pool_dx<T> f = { *s, static_cast<const T *>(args->in[0]->data), static_cast<const T *>(args->in[1]->data),
                               static_cast<const T *>(args->in[2]->data), static_cast<T *>(args->out[0]->data) };
    return elementwise<1>(cuda, f, cuda_numel(args->out[0]), "maximum pooling gradient", err);
}

int cuda_max_pool2d_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda_pool s;
    BK_TRY(pool_of(args->in[0], args->in[2], args->attr, &s, err));
    return cuda_is_bf16(args->in[0]) ? run_max_dx<bf16_t>(cuda, &s, args, err) : run_max_dx<float>(cuda, &s, args, err);
}

/* ---- global ------------------------------------------------------------------------------------------------------ */

/* A block an image and tile of columns: the plan's rows are the positions of one image. */
template <typename T, typename O, int V>
__global__ void __launch_bounds__(CUDA_BLOCK) image_means_kernel(const T *x, O *y, const struct cuda_rows plan)
{
    __shared__ fold_space<V> space;
    const T *image = x + (int64_t)blockIdx.x * plan.rows * plan.c;
    O *out = y + (int64_t)blockIdx.x * plan.c;
    int column;
    int64_t row;
    const bool active = cuda_rows_at(&plan, blockIdx.y, 0, threadIdx.x, &column, &row);
    float sum[V] = {};
#pragma unroll 4
    for (int64_t r = row; active && r < plan.rows; r += plan.ty) {
        float v[V];
        load<V>(image + r * plan.c + (int64_t)column * V, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[i] += v[i];
    }
    const int first = blockIdx.y * plan.tx * V;
    fold_columns<V>(sum, plan.tx, plan.ty, space, [&](int e, double s) {
        if (first + e < plan.c)
            put(out + first + e, (float)(s / (double)plan.rows));
    });
}

template <typename T, typename O>
static int run_means(struct cuda *cuda, const void *x, void *y, int64_t images, int64_t positions, int c,
                     struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const bool vectors = c % V == 0 && is_aligned(x, 16);
    const struct cuda_rows plan = cuda_rows_plan(positions, c, vectors ? V : 1, 1, 1);
    const dim3 grid((unsigned)images, (unsigned)plan.tiles);
    const T *from = static_cast<const T *>(x);
    O *to = static_cast<O *>(y);
    if (vectors)
        CUDA_LAUNCH(cuda, grid, image_means_kernel<T, O, V>)(from, to, plan);
    else
        CUDA_LAUNCH(cuda, grid, image_means_kernel<T, O, 1>)(from, to, plan);
    return cuda_launched(cuda, "image means", err);
}

int cuda_image_means(struct cuda *cuda, const struct bk_tensor *x, struct bk_tensor *y, struct bk_error *err)
{
    const int64_t positions = x->dim[1] * x->dim[2];
    BK_TRY(cuda_fits(x->dim[0], "images", err));
    BK_TRY(cuda_fits(x->dim[3], "channels", err));
    const int c = (int)x->dim[3];
    if (!cuda_is_bf16(x))
        return run_means<float, float>(cuda, x->data, y->data, x->dim[0], positions, c, err);
    return cuda_is_bf16(y) ? run_means<bf16_t, bf16_t>(cuda, x->data, y->data, x->dim[0], positions, c, err)
                           : run_means<bf16_t, float>(cuda, x->data, y->data, x->dim[0], positions, c, err);
}

int cuda_global_pool(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_image_means(cuda, args->in[0], args->out[0], err);
}

template <typename T> struct spread_mean {
    const T *dy;
    T *dx;
    int64_t image;              /* values of an image */
    int c;
    float positions;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float v[V];
        load<V>(dy + i / image * c + i % c, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] /= positions;
        store<V>(dx + i, v);
    }
};

template <typename T>
static int run_spread(struct cuda *cuda, const struct bk_tensor *dy, struct bk_tensor *dx, struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const int64_t positions = dx->dim[1] * dx->dim[2];
    const spread_mean<T> f = { static_cast<const T *>(dy->data), static_cast<T *>(dx->data), positions * dx->dim[3],
                               (int)dx->dim[3], (float)positions };
    if (f.c % V == 0 && is_aligned(f.dy, 16) && is_aligned(f.dx, 16))
        return elementwise<V>(cuda, f, cuda_numel(dx), "global pooling gradient", err);
    return elementwise<1>(cuda, f, cuda_numel(dx), "global pooling gradient", err);
}

int cuda_global_pool_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    BK_TRY(cuda_fits(args->out[0]->dim[3], "channels", err));
    return cuda_is_bf16(args->in[0]) ? run_spread<bf16_t>(cuda, args->in[0], args->out[0], err)
                                     : run_spread<float>(cuda, args->in[0], args->out[0], err);
}

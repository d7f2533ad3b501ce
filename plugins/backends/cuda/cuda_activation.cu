/*
 * cuda_activation.cu: activations that stand behind no norm, channel factors (squeeze-and-excitation), dropout,
 * squared error. A dropout draw is the word that a bk_random cursor of the same (seed, stream, step) would give as its
 * group's turn, so that masks are those of the CPU.
 */
#include "cuda_device.cuh"

/* ---- activations ------------------------------------------------------------------------------------------------ */

template <typename T> struct activate {
    const T *x;
    T *y;
    int kind;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float v[V];
        load<V>(x + i, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = cuda_act(kind, v[e]);
        store<V>(y + i, v);
    }
};

template <typename T> struct activate_dx {
    const T *dy[BK_MAX_ADDENDS];
    const T *x;
    T *dx;
    int n, kind;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float sum[V], v[V];
        load<V>(dy[0] + i, sum);
#pragma unroll
        for (int k = 1; k < BK_MAX_ADDENDS; k++)
            if (k < n) {
                load<V>(dy[k] + i, v);
#pragma unroll
                for (int e = 0; e < V; e++)
                    sum[e] += v[e];
            }
        load<V>(x + i, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            sum[e] *= cuda_act_slope(kind, v[e]);
        store<V>(dx + i, sum);
    }
};

template <typename T, typename F>
static int vectors_if(struct cuda *cuda, const F &f, bool aligned, int64_t n, const char *name, struct bk_error *err)
{
    return aligned ? elementwise<full_vector<T>::value>(cuda, f, n, name, err) : elementwise<1>(cuda, f, n, name, err);
}

template <typename T>
static int run_activation(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const activate<T> f = { static_cast<const T *>(args->in[0]->data), static_cast<T *>(args->out[0]->data),
                            static_cast<const struct bk_activation_attr *>(args->attr)->kind };
    return vectors_if<T>(cuda, f, is_aligned(f.x, 16) && is_aligned(f.y, 16), cuda_numel(args->out[0]), "activation", err);
}

int cuda_activation(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_activation<bf16_t>(cuda, args, err) : run_activation<float>(cuda, args, err);
}

template <typename T>
static int run_activation_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    activate_dx<T> f = {};
    bool aligned = is_aligned(args->in[4]->data, 16) && is_aligned(args->out[0]->data, 16);
    for (int i = 0; i < BK_MAX_ADDENDS; i++)
        if (args->in[i]) {
            aligned = aligned && is_aligned(args->in[i]->data, 16);
            f.dy[f.n++] = static_cast<const T *>(args->in[i]->data);
        }
    if (!f.n)
        return bk_fail(err, BK_EINVAL, "activation gradient without an incoming gradient");
    f.x = static_cast<const T *>(args->in[4]->data);
    f.dx = static_cast<T *>(args->out[0]->data);
    f.kind = static_cast<const struct bk_activation_attr *>(args->attr)->kind;
    return vectors_if<T>(cuda, f, aligned, cuda_numel(args->out[0]), "activation gradient", err);
}

int cuda_activation_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[4]) ? run_activation_dx<bf16_t>(cuda, args, err)
                                     : run_activation_dx<float>(cuda, args, err);
}

/* ---- channel factors ---------------------------------------------------------------------------------------------- */

/* out = x s, s [N,C] */
template <typename T> struct scale {
    const T *x, *s;
    T *out;
    int64_t image;              /* values of an image */
    int c;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float v[V], f[V];
        load<V>(x + i, v);
        load<V>(s + i / image * c + i % c, f);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] *= f[e];
        store<V>(out + i, v);
    }
};

template <typename T>
static int run_scale(struct cuda *cuda, const struct bk_tensor *x, const struct bk_tensor *s, struct bk_tensor *out,
                     struct bk_error *err)
{
    const scale<T> f = { static_cast<const T *>(x->data), static_cast<const T *>(s->data), static_cast<T *>(out->data),
                         x->dim[1] * x->dim[2] * x->dim[3], (int)x->dim[3] };
    const bool aligned = f.c % full_vector<T>::value == 0 && is_aligned(f.x, 16) && is_aligned(f.s, 16) &&
                         is_aligned(f.out, 16);
    return vectors_if<T>(cuda, f, aligned, cuda_numel(out), "channel factors", err);
}

/* ds[n,c] = sum over positions of dy x; a block an image and tile of columns. */
template <typename T, int V>
__global__ void __launch_bounds__(CUDA_BLOCK) scale_ds_kernel(const T *dy, const T *x, T *ds, const struct cuda_rows plan)
{
    __shared__ fold_space<V> space;
    const int64_t image = (int64_t)blockIdx.x * plan.rows * plan.c;
    T *out = ds + (int64_t)blockIdx.x * plan.c;
    int column;
    int64_t row;
    const bool active = cuda_rows_at(&plan, blockIdx.y, 0, threadIdx.x, &column, &row);
    float sum[V] = {};
#pragma unroll 2
    for (int64_t r = row; active && r < plan.rows; r += plan.ty) {
        const int64_t at = image + r * plan.c + (int64_t)column * V;
        float a[V], b[V];
        load<V>(dy + at, a);
        load<V>(x + at, b);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[i] += a[i] * b[i];
    }
    const int first = blockIdx.y * plan.tx * V;
    fold_columns<V>(sum, plan.tx, plan.ty, space, [&](int e, double s) {
        if (first + e < plan.c)
            put(out + first + e, (float)s);
    });
}

template <typename T>
static int run_scale_ds(struct cuda *cuda, const struct bk_tensor *dy, const struct bk_tensor *x, struct bk_tensor *ds,
                        struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const int c = (int)x->dim[3];
    const T *a = static_cast<const T *>(dy->data), *b = static_cast<const T *>(x->data);
    T *out = static_cast<T *>(ds->data);
    const bool vectors = c % V == 0 && is_aligned(a, 16) && is_aligned(b, 16);
    const struct cuda_rows plan = cuda_rows_plan(x->dim[1] * x->dim[2], c, vectors ? V : 1, 1, 1);
    const dim3 grid((unsigned)x->dim[0], (unsigned)plan.tiles);
    if (vectors)
        CUDA_LAUNCH(cuda, grid, scale_ds_kernel<T, V>)(a, b, out, plan);
    else
        CUDA_LAUNCH(cuda, grid, scale_ds_kernel<T, 1>)(a, b, out, plan);
    return cuda_launched(cuda, "channel factor gradient", err);
}

static int scale_fits(const struct bk_tensor *x, struct bk_error *err)
{
    BK_TRY(cuda_fits(x->dim[0], "images", err));
    return cuda_fits(x->dim[3], "channels", err);
}

int cuda_scale_channels(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    BK_TRY(scale_fits(args->in[0], err));
    return cuda_is_bf16(args->in[0]) ? run_scale<bf16_t>(cuda, args->in[0], args->in[1], args->out[0], err)
                                     : run_scale<float>(cuda, args->in[0], args->in[1], args->out[0], err);
}

int cuda_scale_channels_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0], *x = args->in[1], *s = args->in[2];
    struct bk_tensor *dx = args->out[0], *ds = args->out[1];
    BK_TRY(scale_fits(x, err));
    if (dx)
        BK_TRY(cuda_is_bf16(dy) ? run_scale<bf16_t>(cuda, dy, s, dx, err) : run_scale<float>(cuda, dy, s, dx, err));
    if (ds)
        BK_TRY(cuda_is_bf16(dy) ? run_scale_ds<bf16_t>(cuda, dy, x, ds, err) : run_scale_ds<float>(cuda, dy, x, ds, err));
    return BK_OK;
}

/* ---- dropout -------------------------------------------------------------------------------------------------------- */

template <typename T> struct drop {
    const T *x;
    T *y;
    int64_t group;
    double p;
    uint64_t seed, step;
    uint32_t stream;
    const cuda_live *live;      /* seed and step of a replayed graph, or NULL */
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        const float v = to_f32(x[i]);
        const uint64_t root = live ? live->seed : seed, draw = live ? live->step : step;
        put(y + i, cuda_dropout_is_zero(root, stream, draw, i / group, p) ? 0.0f : (float)(v / (1 - p)));
    }
};

template <typename T>
static int run_dropout(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_dropout_attr *attr = static_cast<const struct bk_dropout_attr *>(args->attr);
    const drop<T> f = { static_cast<const T *>(args->in[0]->data), static_cast<T *>(args->out[0]->data), attr->group,
                        attr->p, attr->seed, attr->step, attr->stream, cuda->live };
    return elementwise<1>(cuda, f, cuda_numel(args->out[0]), "dropout", err);
}

int cuda_dropout(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_dropout<bf16_t>(cuda, args, err) : run_dropout<float>(cuda, args, err);
}

/*
 * cuda_elementwise.cu: kernels that look at one element at a time: ReLU, sums, conversion, slices, blends, biases.
 */
#include "cuda_device.cuh"

/* ---- sums and masks --------------------------------------------------------------------------------------- */

/* out = relu?( sum of in where mask > 0 ) */
template <typename T> struct add_terms {
    const T *in[BK_MAX_ADDENDS];
    const T *mask;              /* NULL: none */
    T *out;
    int n, relu;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float sum[V], v[V];
        load<V>(in[0] + i, sum);
#pragma unroll
        for (int k = 1; k < BK_MAX_ADDENDS; k++)
            if (k < n) {
                load<V>(in[k] + i, v);
#pragma unroll
                for (int e = 0; e < V; e++)
                    sum[e] += v[e];
            }
        if (mask) {
            load<V>(mask + i, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum[e] = v[e] > 0 ? sum[e] : 0;
        }
        if (relu)
#pragma unroll
            for (int e = 0; e < V; e++)
                sum[e] = sum[e] < 0 ? 0 : sum[e];  /* NaN stays NaN */
        store<V>(out + i, sum);
    }
};

template <typename T>
static int run_add(struct cuda *cuda, const struct bk_tensor *const *in, uint32_t n_in, const struct bk_tensor *mask,
                   struct bk_tensor *out, int relu, const char *name, struct bk_error *err)
{
    add_terms<T> f = {};
    bool aligned = is_aligned(out->data, 16) && is_aligned(cuda_data(mask), 16);
    for (uint32_t i = 0; i < n_in && i < BK_MAX_ADDENDS; i++)
        if (in[i]) {
            aligned = aligned && is_aligned(in[i]->data, 16);
            f.in[f.n++] = static_cast<const T *>(in[i]->data);
        }
    if (!f.n)
        return bk_fail(err, BK_EINVAL, "%s: no addend", name);
    f.mask = static_cast<const T *>(cuda_data(mask));
    f.out = static_cast<T *>(out->data);
    f.relu = relu;
    if (aligned)
        return elementwise<full_vector<T>::value>(cuda, f, cuda_numel(out), name, err);
    return elementwise<1>(cuda, f, cuda_numel(out), name, err);
}

static int add(struct cuda *cuda, const struct bk_tensor *const *in, uint32_t n_in, const struct bk_tensor *mask,
               struct bk_tensor *out, int relu, const char *name, struct bk_error *err)
{
    return cuda_is_bf16(out) ? run_add<bf16_t>(cuda, in, n_in, mask, out, relu, name, err)
                             : run_add<float>(cuda, in, n_in, mask, out, relu, name, err);
}

int cuda_relu(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return add(cuda, args->in, 1, nullptr, args->out[0], 1, "relu", err);
}

int cuda_relu_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return add(cuda, args->in, BK_MAX_ADDENDS, args->in[4], args->out[0], 0, "relu gradient", err);
}

int cuda_add(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_add_attr *attr = static_cast<const struct bk_add_attr *>(args->attr);
    return add(cuda, args->in, args->n_in, nullptr, args->out[0], attr->relu, "add", err);
}

/* ---- conversion --------------------------------------------------------------------------------------------- */

/* out = (accumulate ? out : 0) + in */
template <typename I, typename O> struct convert {
    const I *in;
    O *out;
    int accumulate;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float v[V];
        load<V>(in + i, v);
        if (accumulate) {
            float old[V];
            load<V>(out + i, old);
#pragma unroll
            for (int e = 0; e < V; e++)
                v[e] += old[e];
        }
        store<V>(out + i, v);
    }
};

template <typename I, typename O>
static int run_convert(struct cuda *cuda, const void *in, void *out, int64_t n, bool accumulate, struct bk_error *err)
{
    const convert<I, O> f = { static_cast<const I *>(in), static_cast<O *>(out), accumulate };
    if (is_aligned(in, 16) && is_aligned(out, 16))
        return elementwise<4>(cuda, f, n, "conversion", err);
    return elementwise<1>(cuda, f, n, "conversion", err);
}

int cuda_gather_f32(struct cuda *cuda, float *dst, const void *src, int bf16, int64_t n, bool accumulate,
                    struct bk_error *err)
{
    return bf16 ? run_convert<bf16_t, float>(cuda, src, dst, n, accumulate, err)
                : run_convert<float, float>(cuda, src, dst, n, accumulate, err);
}

int cuda_cast(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0];
    struct bk_tensor *y = args->out[0];
    const int64_t n = cuda_numel(x);
    if (x->dtype == BK_F64 || y->dtype == BK_F64)
        return bk_fail(err, BK_ENOTSUP, "the cuda backend has no f64");
    if (cuda_is_bf16(x))
        return cuda_is_bf16(y) ? run_convert<bf16_t, bf16_t>(cuda, x->data, y->data, n, false, err)
                               : run_convert<bf16_t, float>(cuda, x->data, y->data, n, false, err);
    return cuda_is_bf16(y) ? run_convert<float, bf16_t>(cuda, x->data, y->data, n, false, err)
                           : run_convert<float, float>(cuda, x->data, y->data, n, false, err);
}

/* ---- slices --------------------------------------------------------------------------------------------------- */

template <typename T> struct take_slice {
    struct cuda_slice s;
    const float *whole;
    T *part;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        put(part + i, whole[cuda_slice_place(&s, i)]);
    }
};

struct add_slice {
    struct cuda_slice s;
    const float *part;
    float *whole;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        whole[cuda_slice_place(&s, i)] += part[i];
    }
};

/* True when the slice is the whole, so that a plain copy serves. */
static bool slice_of(const struct bk_tensor *whole, const struct bk_tensor *part, struct cuda_slice *s)
{
    bool all = true;
    for (int d = 0; d < 4; d++) {
        const int at = d - (4 - (int)part->rank);
        s->whole[d] = at < 0 ? 1 : whole->dim[at];
        s->part[d] = at < 0 ? 1 : part->dim[at];
        all = all && s->whole[d] == s->part[d];
    }
    return all;
}

int cuda_slice(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *w = args->in[0];
    struct bk_tensor *v = args->out[0];
    const int64_t n = cuda_numel(v);
    struct cuda_slice s;
    if (slice_of(w, v, &s))
        return cuda_is_bf16(v) ? run_convert<float, bf16_t>(cuda, w->data, v->data, n, false, err)
                               : run_convert<float, float>(cuda, w->data, v->data, n, false, err);
    const float *whole = static_cast<const float *>(w->data);
    if (cuda_is_bf16(v)) {
        const take_slice<bf16_t> f = { s, whole, static_cast<bf16_t *>(v->data) };
        return elementwise<1>(cuda, f, n, "slice", err);
    }
    const take_slice<float> f = { s, whole, static_cast<float *>(v->data) };
    return elementwise<1>(cuda, f, n, "slice", err);
}

int cuda_slice_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dv = args->in[0];
    struct bk_tensor *dw = args->out[0];
    struct cuda_slice s;
    if (slice_of(dw, dv, &s))
        return run_convert<float, float>(cuda, dv->data, dw->data, cuda_numel(dv), true, err);
    const add_slice f = { s, static_cast<const float *>(dv->data), static_cast<float *>(dw->data) };
    return elementwise<1>(cuda, f, cuda_numel(dv), "slice gradient", err);
}

/* ---- blends, biases ------------------------------------------------------------------------------------------- */

struct blend {
    float *y;
    const float *x;
    float a, b;
    const cuda_live *live;      /* a and b of a replayed graph, or NULL */
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        const float keep = live ? live->a : a, take = live ? live->b : b;
        float u[V], v[V];
        load<V>(y + i, u);
        load<V>(x + i, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            u[e] = keep * u[e] + take * v[e];
        store<V>(y + i, u);
    }
};

int cuda_blend(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const cuda_live now = cuda_live_of(BK_K_BLEND, args->attr);
    struct bk_tensor *y = args->out[0];
    const blend f = { static_cast<float *>(y->data), static_cast<const float *>(args->in[1]->data), now.a, now.b, cuda->live };
    if (is_aligned(f.x, 16) && is_aligned(f.y, 16))
        return elementwise<4>(cuda, f, cuda_numel(y), "blend", err);
    return elementwise<1>(cuda, f, cuda_numel(y), "blend", err);
}

template <typename T> struct add_bias {
    T *x;
    const float *bias;
    int c;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        float v[V], b[V];
        load<V>(x + i, v);
        load<V>(bias + i % c, b);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] += b[e];
        store<V>(x + i, v);
    }
};

template <typename T>
static int run_bias(struct cuda *cuda, void *x, int64_t rows, int c, const float *bias, struct bk_error *err)
{
    constexpr int V = full_vector<T>::value;
    const add_bias<T> f = { static_cast<T *>(x), bias, c };
    if (c % V == 0 && is_aligned(x, 16) && is_aligned(bias, 16))
        return elementwise<V>(cuda, f, rows * c, "bias", err);
    return elementwise<1>(cuda, f, rows * c, "bias", err);
}

int cuda_add_bias(struct cuda *cuda, void *x, int bf16, int64_t rows, int c, const float *bias, struct bk_error *err)
{
    return bf16 ? run_bias<bf16_t>(cuda, x, rows, c, bias, err) : run_bias<float>(cuda, x, rows, c, bias, err);
}

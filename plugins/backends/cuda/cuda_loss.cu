/*
 * cuda_loss.cu: unit rows, cosine loss, cross entropy (labels or distributions), squared error.
 *
 * A block a row; its share of the loss goes to scratch memory and one block adds the shares in order, so a loss is the
 * same bits every time and nothing waits for the host. A label outside 0..classes-1 cannot be refused without waiting:
 * it makes the loss NaN, which the trainers refuse. Letters: B rows, D columns, O classes.
 */
#include "cuda_device.cuh"

#define SHORTEST 1e-12

static float *f32_of(const struct bk_tensor *t)
{
    return static_cast<float *>(cuda_data(t));
}

/* B and D of [B, ..., D]. */
static int rows_of(const struct bk_tensor *t, int *rows, int *columns, struct bk_error *err)
{
    const int64_t d = cuda_last_dim(t), r = cuda_numel(t) / d;
    BK_TRY(cuda_fits(d, "columns", err));
    BK_TRY(cuda_fits(r, "rows", err));
    *rows = (int)r;
    *columns = (int)d;
    return BK_OK;
}

/* loss = factor * sum of n shares */
__global__ void __launch_bounds__(CUDA_BLOCK) total_kernel(const double *share, int n, double factor, float *loss)
{
    double s = 0;
    for (int i = threadIdx.x; i < n; i += CUDA_BLOCK)
        s += share[i];
    s = block_sum(s);
    if (threadIdx.x == 0)
        *loss = (float)(factor * s);
}

static int total(struct cuda *cuda, const double *share, int n, double factor, float *loss, struct bk_error *err)
{
    CUDA_LAUNCH(cuda, 1, total_kernel)(share, n, factor, loss);
    return cuda_launched(cuda, "loss", err);
}

static int shares(struct cuda *cuda, int n, double **out, struct bk_error *err)
{
    void *space;
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, (size_t)n * sizeof(double), &space, err));
    *out = static_cast<double *>(space);
    return BK_OK;
}

/* ---- unit rows ------------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ double longer(double square)
{
    const double l = sqrt(square);
    return l > SHORTEST ? l : SHORTEST;
}

template <typename T> __global__ void __launch_bounds__(CUDA_BLOCK) unit_kernel(const T *x, float *y, int columns)
{
    const int64_t row = (int64_t)blockIdx.x * columns;
    double s = 0;
    for (int i = threadIdx.x; i < columns; i += CUDA_BLOCK) {
        const double v = to_f32(x[row + i]);
        s += v * v;
    }
    const double l = longer(block_sum(s));
    for (int i = threadIdx.x; i < columns; i += CUDA_BLOCK)
        y[row + i] = (float)(to_f32(x[row + i]) / l);
}

int cuda_unit(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0];
    float *y = f32_of(args->out[0]);
    int rows, columns;
    BK_TRY(rows_of(x, &rows, &columns, err));
    if (cuda_is_bf16(x))
        CUDA_LAUNCH(cuda, rows, unit_kernel)(static_cast<const bf16_t *>(x->data), y, columns);
    else
        CUDA_LAUNCH(cuda, rows, unit_kernel)(static_cast<const float *>(x->data), y, columns);
    return cuda_launched(cuda, "unit", err);
}

/* ---- cosine ------------------------------------------------------------------------------------------------------ */

/* Lengths of a row of u and t and the cosine between them. */
struct angle {
    double u, t, cosine;
    bool linear;                /* u is shorter than SHORTEST: unit() is linear there */
};

template <typename T> static __device__ __forceinline__ angle angle_of(const T *u, const float *t, int columns)
{
    double uu = 0, tt = 0, ut = 0;
    for (int i = threadIdx.x; i < columns; i += CUDA_BLOCK) {
        const double a = to_f32(u[i]), b = t[i];
        uu += a * a;
        tt += b * b;
        ut += a * b;
    }
    angle at;
    uu = block_sum(uu);
    at.u = longer(uu);
    at.t = longer(block_sum(tt));
    at.cosine = block_sum(ut) / (at.u * at.t);
    at.linear = sqrt(uu) <= SHORTEST;
    return at;
}

template <typename T>
__global__ void __launch_bounds__(CUDA_BLOCK) cosine_kernel(const T *u, const float *t, int columns, double *share)
{
    const int64_t row = (int64_t)blockIdx.x * columns;
    const angle at = angle_of(u + row, t + row, columns);
    if (threadIdx.x == 0)
        share[blockIdx.x] = at.cosine;
}

/* d unit(u) = (I - uh uh') / |u|; below the shortest length unit() is linear. */
template <typename T>
__global__ void __launch_bounds__(CUDA_BLOCK) cosine_dx_kernel(const T *u, const float *t, const float *dloss, int rows,
                                                               int columns, T *du)
{
    const int64_t row = (int64_t)blockIdx.x * columns;
    const angle at = angle_of(u + row, t + row, columns);
    const double factor = -2 * (double)*dloss / rows / at.u, along = at.linear ? 0 : at.cosine / at.u;
    for (int i = threadIdx.x; i < columns; i += CUDA_BLOCK)
        put(du + row + i, (float)(factor * (t[row + i] / at.t - along * to_f32(u[row + i]))));
}

int cuda_cosine_loss(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *u = args->in[0];
    const float *t = f32_of(args->in[1]);
    int rows, columns;
    double *share;
    BK_TRY(rows_of(u, &rows, &columns, err));
    BK_TRY(shares(cuda, rows, &share, err));
    if (cuda_is_bf16(u))
        CUDA_LAUNCH(cuda, rows, cosine_kernel)(static_cast<const bf16_t *>(u->data), t, columns, share);
    else
        CUDA_LAUNCH(cuda, rows, cosine_kernel)(static_cast<const float *>(u->data), t, columns, share);
    BK_TRY(cuda_launched(cuda, "cosine loss", err));
    return total(cuda, share, rows, -2.0 / rows, f32_of(args->out[0]), err);
}

template <typename T>
static int run_cosine_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    int rows, columns;
    BK_TRY(rows_of(args->in[0], &rows, &columns, err));
    const T *u = static_cast<const T *>(args->in[0]->data);
    T *du = static_cast<T *>(args->out[0]->data);
    CUDA_LAUNCH(cuda, rows, cosine_dx_kernel)(u, f32_of(args->in[1]), f32_of(args->in[2]), rows, columns, du);
    return cuda_launched(cuda, "cosine loss gradient", err);
}

int cuda_cosine_loss_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_cosine_dx<bf16_t>(cuda, args, err) : run_cosine_dx<float>(cuda, args, err);
}

/* ---- cross entropy ------------------------------------------------------------------------------------------------ */

/* What a row is compared with: a label with smoothing, or a distribution. */
struct wanted {
    const int32_t *label;       /* or NULL */
    const float *target;        /* or NULL */
    float on, off;              /* share of the label, share of every class */
    __device__ __forceinline__ float operator()(int row, int o, int classes) const
    {
        return label ? (o == label[row] ? on : 0.0f) + off : target[(int64_t)row * classes + o];
    }
    __device__ __forceinline__ bool is_legal(int row, int classes) const
    {
        return !label || (label[row] >= 0 && label[row] < classes);
    }
};

template <typename T>
__global__ void __launch_bounds__(CUDA_BLOCK) entropy_kernel(const T *logits, const wanted q, int classes, float *prob,
                                                             double *share)
{
    const int64_t row = (int64_t)blockIdx.x * classes;
    float top = -INFINITY;
    double sum = 0, loss = 0;
    for (int o = threadIdx.x; o < classes; o += CUDA_BLOCK)
        top = fmaxf(top, to_f32(logits[row + o]));
    top = block_max(top);
    for (int o = threadIdx.x; o < classes; o += CUDA_BLOCK)
        sum += (double)expf(to_f32(logits[row + o]) - top);
    const float log_sum = (float)log(block_sum(sum));
    for (int o = threadIdx.x; o < classes; o += CUDA_BLOCK) {
        const float log_p = to_f32(logits[row + o]) - top - log_sum;
        prob[row + o] = expf(log_p);
        const float share_o = q(blockIdx.x, o, classes);
        if (share_o != 0)       /* 0 log 0 is 0 */
            loss -= (double)share_o * (double)log_p;
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0)
        share[blockIdx.x] = q.is_legal(blockIdx.x, classes) ? loss : (double)NAN;
}

template <typename T> struct entropy_dx {
    const float *prob, *dloss;
    wanted q;
    T *dlogits;
    int rows, classes;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        int64_t row;
        int o;
        divide(i, classes, row, o);
        put(dlogits + i, *dloss / (float)rows * (prob[i] - q((int)row, o, classes)));
    }
};

static int entropy(struct cuda *cuda, const struct bk_tensor *logits, const wanted &q, struct bk_tensor *loss,
                   struct bk_tensor *prob, struct bk_error *err)
{
    int rows, classes;
    double *share;
    BK_TRY(rows_of(logits, &rows, &classes, err));
    BK_TRY(shares(cuda, rows, &share, err));
    if (cuda_is_bf16(logits))
        CUDA_LAUNCH(cuda, rows, entropy_kernel)(static_cast<const bf16_t *>(logits->data), q, classes,
                                                f32_of(prob), share);
    else
        CUDA_LAUNCH(cuda, rows, entropy_kernel)(static_cast<const float *>(logits->data), q, classes,
                                                f32_of(prob), share);
    BK_TRY(cuda_launched(cuda, "cross entropy", err));
    return total(cuda, share, rows, 1.0 / rows, f32_of(loss), err);
}

template <typename T>
static int run_entropy_dx(struct cuda *cuda, const struct bk_kernel_args *args, const wanted &q, struct bk_error *err)
{
    entropy_dx<T> f = { f32_of(args->in[0]), f32_of(args->in[2]), q, static_cast<T *>(args->out[0]->data), 0, 0 };
    BK_TRY(rows_of(args->in[0], &f.rows, &f.classes, err));
    return elementwise<1>(cuda, f, cuda_numel(args->out[0]), "cross entropy gradient", err);
}

/* (1 - s) [o is the label] + s / O */
static wanted labels_of(const struct bk_tensor *labels, const void *attr, int64_t classes)
{
    const double s = static_cast<const struct bk_cross_entropy_attr *>(attr)->label_smoothing;
    return { static_cast<const int32_t *>(labels->data), nullptr, (float)(1 - s), (float)(s / (double)classes) };
}

int cuda_cross_entropy(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const wanted q = labels_of(args->in[1], args->attr, cuda_last_dim(args->in[0]));
    return entropy(cuda, args->in[0], q, args->out[0], args->out[1], err);
}

int cuda_cross_entropy_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const wanted q = labels_of(args->in[1], args->attr, cuda_last_dim(args->in[0]));
    return cuda_is_bf16(args->out[0]) ? run_entropy_dx<bf16_t>(cuda, args, q, err)
                                      : run_entropy_dx<float>(cuda, args, q, err);
}

/* A distribution of every row instead of a label. */
int cuda_soft_cross_entropy(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const wanted q = { nullptr, f32_of(args->in[1]), 0, 0 };
    return entropy(cuda, args->in[0], q, args->out[0], args->out[1], err);
}

int cuda_soft_cross_entropy_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const wanted q = { nullptr, f32_of(args->in[1]), 0, 0 };
    return cuda_is_bf16(args->out[0]) ? run_entropy_dx<bf16_t>(cuda, args, q, err)
                                      : run_entropy_dx<float>(cuda, args, q, err);
}

/* ---- squared error ------------------------------------------------------------------------------------------------ */

template <typename T>
__global__ void __launch_bounds__(CUDA_BLOCK) squared_error_kernel(const T *y, const T *t, int64_t n, double *share)
{
    const int64_t stride = (int64_t)gridDim.x * CUDA_BLOCK;
    double s = 0;
#pragma unroll 4
    for (int64_t i = (int64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x; i < n; i += stride) {
        const float d = to_f32(y[i]) - to_f32(t[i]);
        s += (double)d * (double)d;
    }
    s = block_sum(s);
    if (threadIdx.x == 0)
        share[blockIdx.x] = s;
}

template <typename T>
static int run_squared_error(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const int64_t n = cuda_numel(args->in[0]), wanted_blocks = cuda_ceil_div(n, CUDA_BLOCK * 8);
    const int blocks = (int)(wanted_blocks < 1024 ? wanted_blocks : 1024);
    double *share;
    BK_TRY(shares(cuda, blocks, &share, err));
    const T *y = static_cast<const T *>(args->in[0]->data), *t = static_cast<const T *>(args->in[1]->data);
    CUDA_LAUNCH(cuda, blocks, squared_error_kernel)(y, t, n, share);
    BK_TRY(cuda_launched(cuda, "squared error", err));
    return total(cuda, share, blocks, 1.0 / (double)n, f32_of(args->out[0]), err);
}

int cuda_mse_loss(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_squared_error<bf16_t>(cuda, args, err)
                                     : run_squared_error<float>(cuda, args, err);
}

template <typename T> struct squared_error_dx {
    const T *y, *t;
    const float *dloss;
    T *dy;
    float factor;
    template <int V> __device__ __forceinline__ void at(int64_t i) const
    {
        put(dy + i, factor * *dloss * (to_f32(y[i]) - to_f32(t[i])));
    }
};

template <typename T>
static int run_squared_error_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    const int64_t n = cuda_numel(args->in[0]);
    const squared_error_dx<T> f = { static_cast<const T *>(args->in[0]->data), static_cast<const T *>(args->in[1]->data),
                                    f32_of(args->in[2]), static_cast<T *>(args->out[0]->data), (float)(2.0 / (double)n) };
    return elementwise<1>(cuda, f, n, "squared error gradient", err);
}

int cuda_mse_loss_dx(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return cuda_is_bf16(args->in[0]) ? run_squared_error_dx<bf16_t>(cuda, args, err)
                                     : run_squared_error_dx<float>(cuda, args, err);
}

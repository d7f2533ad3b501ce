/*
 * cuda_optim.cu: one step of each optimiser, in place, with the norms it needs taken on the device.
 *
 * The first launch writes partial sums of squares of w and g and whether any g differs from zero, a pair a block; every
 * block of the second adds all of them in the same order, so that the trust ratio (or the decision to leave the tensor
 * alone) never visits the host. Formulas: <bosskit/optim.h> and ref_optim.c.
 */
#include "cuda_device.cuh"

#define MAX_PARTS 256

struct norm_part {
    double w2, g2;
    int any;                    /* a gradient that is not zero */
    int reserved;
};

struct step {
    float *w, *s1, *s2;         /* s1, s2: state in the order of ops.def */
    const float *g;
    int64_t n;
    const norm_part *part;      /* NULL: no norms were taken */
    int parts;
    float lr, momentum, decay, beta1, beta2, eps, bias1, root_bias2, trust;
    int nesterov, guard, excluded, first, skip_zero;
};

__global__ void __launch_bounds__(CUDA_BLOCK) norms_kernel(const float *w, const float *g, int64_t n, norm_part *out)
{
    const int64_t stride = (int64_t)gridDim.x * CUDA_BLOCK;
    double w2 = 0, g2 = 0;
    int any = 0;
#pragma unroll 4
    for (int64_t i = (int64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x; i < n; i += stride) {
        const double a = w[i], b = g[i];
        w2 += a * a;
        g2 += b * b;
        any |= b != 0;
    }
    w2 = block_sum(w2);
    g2 = block_sum(g2);
    any = __syncthreads_or(any);
    if (threadIdx.x == 0)
        out[blockIdx.x] = { w2, g2, any, 0 };
}

/* False when the tensor shall stay as it is; *lambda is the trust ratio of LARS. Every thread of a block must call it. */
static __device__ __forceinline__ bool decide(const step &s, double *lambda)
{
    *lambda = 1;
    if (!s.part)
        return true;
    double w2 = 0, g2 = 0;
    int any = 0;
    if ((int)threadIdx.x < s.parts) {   /* parts <= CUDA_BLOCK */
        const norm_part p = s.part[threadIdx.x];
        w2 = p.w2;
        g2 = p.g2;
        any = p.any;
    }
    w2 = block_sum(w2);
    g2 = block_sum(g2);
    any = __syncthreads_or(any);
    *lambda = cuda_lars_ratio(w2, g2, (double)s.decay, (double)s.trust, s.excluded != 0, s.guard != 0);
    return any || !s.skip_zero;
}

struct sgd {
    static __device__ __forceinline__ void update(const step &s, int64_t i, float)
    {
        const float w = s.w[i], d = s.g[i] + s.decay * w;
        const float buf = s.first ? d : s.momentum * s.s1[i] + d;
        s.s1[i] = buf;
        s.w[i] = w - s.lr * (s.nesterov ? d + s.momentum * buf : buf);
    }
};

struct lars {
    static __device__ __forceinline__ void update(const step &s, int64_t i, float lambda)
    {
        const float w = s.w[i], d = s.lr * lambda * (s.g[i] + s.decay * w);
        const float buf = s.first ? d : s.momentum * s.s1[i] + d;
        s.s1[i] = buf;
        s.w[i] = w - buf;
    }
};

struct adamw {
    static __device__ __forceinline__ void update(const step &s, int64_t i, float)
    {
        const float g = s.g[i];
        const float m = s.beta1 * s.s1[i] + (1 - s.beta1) * g, v = s.beta2 * s.s2[i] + (1 - s.beta2) * g * g;
        s.s1[i] = m;
        s.s2[i] = v;
        const float w = s.w[i] - s.lr * s.decay * s.w[i];
        s.w[i] = w - s.lr * (m / s.bias1) / (sqrtf(v) / s.root_bias2 + s.eps);
    }
};

struct rmsprop {
    static __device__ __forceinline__ void update(const step &s, int64_t i, float)
    {
        const float w = s.w[i], d = s.g[i] + s.decay * w;
        const float sq = s.beta2 * s.s1[i] + (1 - s.beta2) * d * d;
        const float buf = s.momentum * s.s2[i] + s.lr * d / sqrtf(sq + s.eps);
        s.s1[i] = sq;
        s.s2[i] = buf;
        s.w[i] = w - buf;
    }
};

/* live: what changes from step to step, in a replayed graph; else NULL. */
template <typename O> __global__ void __launch_bounds__(CUDA_BLOCK) step_kernel(const step given, const cuda_live *live)
{
    const int64_t stride = (int64_t)gridDim.x * CUDA_BLOCK;
    step s = given;
    if (live) {
        s.lr = live->lr;
        s.bias1 = live->bias1;
        s.root_bias2 = live->root_bias2;
        s.first = live->first;
    }
    double lambda;
    if (!decide(s, &lambda))
        return;
    for (int64_t i = (int64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x; i < s.n; i += stride)
        O::update(s, i, (float)lambda);
}

template <typename O>
static int run_step(struct cuda *cuda, const struct bk_kernel_args *args, bool norms, const char *name,
                    struct bk_error *err)
{
    const struct bk_optim_attr *attr = static_cast<const struct bk_optim_attr *>(args->attr);
    step s = {};
    s.w = static_cast<float *>(args->out[0]->data);
    s.g = static_cast<const float *>(args->in[1]->data);
    s.s1 = static_cast<float *>(args->out[2]->data);
    s.s2 = args->n_out > 3 ? static_cast<float *>(args->out[3]->data) : nullptr;
    s.n = cuda_numel(args->out[0]);
    const cuda_live now = cuda_live_of(BK_K_SGD_STEP, attr);
    s.lr = now.lr;
    s.momentum = (float)attr->momentum;
    s.decay = attr->excluded ? 0.0f : (float)attr->weight_decay;
    s.beta1 = (float)attr->beta1;
    s.beta2 = (float)attr->beta2;
    s.eps = (float)attr->eps;
    s.bias1 = now.bias1;
    s.root_bias2 = now.root_bias2;
    s.trust = (float)attr->trust;
    s.nesterov = attr->nesterov;
    s.guard = attr->zero_guard;
    s.excluded = attr->excluded;
    s.first = now.first;
    s.skip_zero = attr->skip_zero;
    if (norms || attr->skip_zero) {
        void *space;
        const int64_t parts = cuda_ceil_div(s.n, CUDA_BLOCK * 8);
        s.parts = (int)(parts < MAX_PARTS ? parts : MAX_PARTS);
        BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_SUMS, MAX_PARTS * sizeof(norm_part), &space, err));
        norm_part *part = static_cast<norm_part *>(space);
        CUDA_LAUNCH(cuda, s.parts, norms_kernel)(s.w, s.g, s.n, part);
        BK_TRY(cuda_launched(cuda, "optimiser norms", err));
        s.part = part;
    }
    CUDA_LAUNCH(cuda, blocks_for(cuda_ceil_div(s.n, 4)), step_kernel<O>)(s, cuda->live);
    return cuda_launched(cuda, name, err);
}

int cuda_sgd_step(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return run_step<sgd>(cuda, args, false, "sgd step", err);
}

int cuda_lars_step(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return run_step<lars>(cuda, args, true, "lars step", err);
}

int cuda_adamw_step(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return run_step<adamw>(cuda, args, false, "adamw step", err);
}

int cuda_rmsprop_step(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err)
{
    return run_step<rmsprop>(cuda, args, false, "rmsprop step", err);
}

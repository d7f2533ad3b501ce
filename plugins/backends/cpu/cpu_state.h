/*
 * cpu_state.h: what the files of the cpu backend share: the instance, threads, scratch memory and the list of kernels.
 *
 * A kernel is a driver (`cpu_conv2d`, ...) that looks at tensors, splits the work and combines partial results, and one or
 * more range loops of cpu_loops.h that are compiled once per instruction set. Drivers know no vector widths, range loops
 * know no tensors and no threads. oneDNN is reached through cpu_dnnl.c alone. Ranges are split the same way every time
 * for a number of threads and partial results are combined in thread order, so results repeat exactly.
 */
#ifndef CPU_STATE_H
#define CPU_STATE_H

#include "cpu_loops.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/optim.h>

/* Grow-only pieces of scratch memory; a piece is valid until the same slot is asked for again. */
enum cpu_scratch_slot {
    CPU_SCRATCH_DNNL,           /* oneDNN's scratchpad */
    CPU_SCRATCH_WEIGHTS,        /* weights in the layout oneDNN picked */
    CPU_SCRATCH_SUMS,           /* partial sums of the threads */
    CPU_SCRATCH_PARAMS,         /* per-channel numbers of a kernel */
    CPU_SCRATCH_ROWS,           /* chunks of rows in f32 */
    CPU_SCRATCH_MATRIX,         /* small matrices of the pooled head */
    CPU_SCRATCH_COUNT
};

struct cpu_dnnl;

struct cpu {
    int32_t isa;                /* option: which loops, enum isa of cpu_backend.c; 0 like "auto" */
    const struct cpu_loops *loops;
    struct cpu_dnnl *dnnl;
    int threads;
    bool is_open;
    struct {
        void *ptr;
        size_t nbytes;
    } scratch[CPU_SCRATCH_COUNT];
};

typedef int (*cpu_kernel_fn)(struct cpu *cpu, const struct bk_kernel_args *args,
                             struct bk_error *err);

/** Work on begin..end-1 of a range as part `part`. */
typedef void (*cpu_range_fn)(void *ctx, int part, int64_t begin, int64_t end);

/** Number of parts that cpu_parallel() will make of n items costing `cost` simple steps each; 1..threads. */
int cpu_parts(const struct cpu *cpu, int64_t n, int64_t cost);
/** Run fn over 0..n-1 in `parts` equal ranges, at once. */
void cpu_parallel(const struct cpu *cpu, int parts, int64_t n, cpu_range_fn fn, void *ctx);

/** Scratch memory, 64-byte aligned, not cleared. Errors: BK_ENOMEM */
int cpu_scratch(struct cpu *cpu, enum cpu_scratch_slot slot, size_t nbytes, void *out,
                struct bk_error *err);
void cpu_scratch_release(struct cpu *cpu);

static inline int cpu_is_bf16(const struct bk_tensor *t)
{
    return t->dtype == BK_BF16;
}

static inline int64_t cpu_numel(const struct bk_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static inline int64_t cpu_last_dim(const struct bk_tensor *t)
{
    return t->rank ? t->dim[t->rank - 1] : 1;
}

static inline const void *cpu_data(const struct bk_tensor *t)
{
    return t ? t->data : NULL;
}

static inline size_t cpu_round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static inline size_t cpu_element_size(int bf16)
{
    return bf16 ? 2 : 4;
}

/** n elements of src into dst, among f32 and bf16. */
void cpu_convert(const struct cpu *cpu, const void *src, int src_bf16, void *dst, int dst_bf16,
                 int64_t n);

/** sum[c] += sums of the columns of x [rows, cols] (bias gradients). */
int cpu_add_column_sums(struct cpu *cpu, const void *x, int bf16, int64_t rows, int64_t cols,
                        float *sum, bool assign, struct bk_error *err);

/* ---- oneDNN (cpu_dnnl.c) --------------------------------------------------------------------- */

int cpu_dnnl_open(struct cpu_dnnl **out, struct bk_error *err);
void cpu_dnnl_close(struct cpu_dnnl *d);
/** "oneDNN 2.6.3" */
void cpu_dnnl_version(char *buf, size_t n);
/** Can oneDNN compute in bf16 here (AVX-512, possibly by emulation), and does the processor do it natively? */
bool cpu_dnnl_has_bf16(void);
bool cpu_dnnl_is_bf16_fast(void);
/** Row-major C [m,n] = op(A) op(B) + beta C; op transposes when the flag is set. */
int cpu_sgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
              int64_t ldc, struct bk_error *err);

/* ---- kernels --------------------------------------------------------------------------------- */

#define CPU_KERNEL_LIST(X)                                                               \
    X(CONV2D, conv2d)                                                                    \
    X(CONV2D_DX, conv2d_dx)                                                              \
    X(CONV2D_DW, conv2d_dw)                                                              \
    X(BATCH_NORM, batch_norm)                                                            \
    X(BATCH_NORM_DX, batch_norm_dx)                                                      \
    X(RELU, relu)                                                                        \
    X(RELU_DX, relu_dx)                                                                  \
    X(ADD, add)                                                                          \
    X(AVG_POOL2D, avg_pool2d)                                                            \
    X(AVG_POOL2D_DX, avg_pool2d_dx)                                                      \
    X(MAX_POOL2D, max_pool2d)                                                            \
    X(MAX_POOL2D_DX, max_pool2d_dx)                                                      \
    X(GLOBAL_POOL, global_pool)                                                          \
    X(GLOBAL_POOL_DX, global_pool_dx)                                                    \
    X(LINEAR, linear)                                                                    \
    X(LINEAR_DX, linear_dx)                                                              \
    X(LINEAR_DW, linear_dw)                                                              \
    X(SLICE, slice)                                                                      \
    X(SLICE_DX, slice_dx)                                                                \
    X(CAST, cast)                                                                        \
    X(POOLED_HEAD, pooled_head)                                                          \
    X(POOLED_HEAD_DX, pooled_head_dx)                                                    \
    X(UNIT, unit)                                                                        \
    X(BLEND, blend)                                                                      \
    X(COSINE_LOSS, cosine_loss)                                                          \
    X(COSINE_LOSS_DX, cosine_loss_dx)                                                    \
    X(CROSS_ENTROPY, cross_entropy)                                                      \
    X(CROSS_ENTROPY_DX, cross_entropy_dx)                                                \
    X(SGD_STEP, sgd_step)                                                                \
    X(LARS_STEP, lars_step)                                                              \
    X(ADAMW_STEP, adamw_step)                                                            \
    X(RMSPROP_STEP, rmsprop_step)                                                        \
    X(ACTIVATION, activation)                                                            \
    X(ACTIVATION_DX, activation_dx)                                                      \
    X(SCALE_CHANNELS, scale_channels)                                                    \
    X(SCALE_CHANNELS_DX, scale_channels_dx)                                              \
    X(ATTENTION, attention)                                                              \
    X(ATTENTION_DX, attention_dx)                                                        \
    X(DROPOUT, dropout)                                                                  \
    X(MSE_LOSS, mse_loss)                                                                \
    X(MSE_LOSS_DX, mse_loss_dx)                                                          \
    X(SOFT_CROSS_ENTROPY, soft_cross_entropy)                                            \
    X(SOFT_CROSS_ENTROPY_DX, soft_cross_entropy_dx)

#define CPU_KERNEL_DECLARE(upper, lower)                                                 \
    int cpu_##lower(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err);
CPU_KERNEL_LIST(CPU_KERNEL_DECLARE)
#undef CPU_KERNEL_DECLARE

/** Weight gradient of a depthwise convolution; called by cpu_conv2d_dw. */
int cpu_depthwise_dw(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err);

#endif

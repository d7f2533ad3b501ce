/*
 * cuda_state.h: what the files of the cuda backend share: the instance, its memory, vendor libraries and kernels.
 *
 * A kernel is a driver (`cuda_relu`, ...) that looks at tensors and launches on the instance's one stream; it never
 * waits. Everything is submitted to that stream, so scratch memory and freed blocks may be reused at once by whatever
 * comes later. cuDNN is reached through cuda_dnn.c alone, cuBLASLt through cuda_blas.c alone; both libraries are opened
 * at run time (cuda_vendor.c), so that a machine without them loads the plugin and hears why it cannot be used.
 * Own kernels use no atomics, but for counting pixels: what they compute repeats bit by bit at every determinism level. Images on
 * their way to become views have a stream of their own, and events between the two (cuda_views.c).
 */
#ifndef CUDA_STATE_H
#define CUDA_STATE_H

#include "cuda_shared.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/optim.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The workspace region: grow-only pieces; a piece is valid until the same slot is asked for again. */
enum cuda_scratch_slot {
    CUDA_SCRATCH_SUMS,          /* partial sums of reductions */
    CUDA_SCRATCH_PARAMS,        /* per-channel numbers of a kernel, gradients of weights on their way */
    CUDA_SCRATCH_MATRIX,        /* small matrices of the pooled head and of attention */
    CUDA_SCRATCH_DNN,           /* cuDNN's workspace */
    CUDA_SCRATCH_BLAS,          /* cuBLASLt's workspace */
    CUDA_SCRATCH_VIEWS,         /* images on their way to views */
    CUDA_SCRATCH_COUNT
};

struct cuda_free_list {
    void **at;
    size_t n, cap;
};

/* The parameter region: slabs that small blocks are cut from; larger blocks (step arena, wide weights) stand alone. */
struct cuda_memory {
    void **slab;
    size_t n_slabs, cap_slabs;
    char *next, *end;           /* unused rest of the newest slab */
    struct cuda_free_list list[CUDA_SIZE_CLASSES];
    size_t slab_bytes, large_bytes, scratch_bytes;
};

#define CUDA_STAGING_PIECES 8

/* Pinned host memory through which data enters the device without waiting. */
struct cuda_staging {
    char *base;
    size_t used;                /* of the current piece */
    int piece;
    cudaEvent_t done[CUDA_STAGING_PIECES];
    bool submitted[CUDA_STAGING_PIECES];
};

#define CUDA_UPLOADS 4

/* Images and plans of a batch of views, pinned and on the device; batches take turns (cuda_views.c). */
struct cuda_upload {
    char *host, *device;
    size_t nbytes;              /* room in each */
    cudaEvent_t copied, used;   /* the device has it; the kernel is done with it */
    bool is_under_way;          /* the events were recorded */
};

/* What a replayed graph reads from device memory, because it changes while the kernels stay the same (cuda_graph.c). */
struct cuda_live {
    float lr, bias1, root_bias2;        /* optimisers */
    int32_t first;
    float a, b;                         /* blend */
    uint64_t seed, step;                /* dropout */
};

struct cuda_vendor;
struct cuda_dnn;
struct cuda_blas;
struct cuda_graphs;

struct cuda {
    /* options */
    int64_t device_option, workspace_mib, graphs_option;
    bool tf32, wait;
    /* state */
    struct cuda_vendor *vendor; /* opened by probe */
    bool is_open, lost;         /* lost: the context is beyond repair */
    int device, multiprocessors;
    uint32_t determinism;
    cudaStream_t stream;
    struct cuda_memory memory;
    struct cuda_staging staging;
    struct cuda_upload upload[CUDA_UPLOADS];
    int next_upload;
    cudaStream_t upload_stream; /* NULL: no views were made yet */
    struct cuda_dnn *dnn;
    struct cuda_blas *blas;
    struct cuda_graphs *graphs; /* NULL: off */
    const struct cuda_live *live;       /* of the kernel that is being captured; NULL: attributes go by value */
    bool capturing;
    struct {
        void *ptr;
        size_t nbytes;
    } scratch[CUDA_SCRATCH_COUNT];
};

typedef int (*cuda_kernel_fn)(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err);

/* ---- errors, launches ------------------------------------------------------------------------------ */

/** One sentence for a failed runtime call; clears the error so that the next call is not blamed for it. */
int cuda_fail(struct cuda *cuda, cudaError_t rc, const char *what, struct bk_error *err);
/** Did the launch just made go well? With option `wait` also waits for the kernel. */
int cuda_launched(struct cuda *cuda, const char *kernel, struct bk_error *err);

/* ---- memory (cuda_memory.c) ------------------------------------------------------------------------ */

int cuda_alloc(struct cuda *cuda, size_t nbytes, void **out, struct bk_error *err);
/** Bytes of the device that are free, and all of them. */
int cuda_memory(struct cuda *cuda, size_t *available, size_t *total, struct bk_error *err);
void cuda_dealloc(struct cuda *cuda, void *p, size_t nbytes);
int cuda_copy(struct cuda *cuda, void *dst, const void *src, size_t nbytes, struct bk_error *err);
int cuda_zero(struct cuda *cuda, void *dst, size_t nbytes, struct bk_error *err);
int cuda_copy_in(struct cuda *cuda, void *dst, const void *src_host, size_t nbytes, struct bk_error *err);
int cuda_staging_open(struct cuda *cuda, struct bk_error *err);
void cuda_memory_close(struct cuda *cuda);
/** A piece of the workspace region, 256-byte aligned, not cleared. Errors: BK_ENOMEM */
int cuda_scratch(struct cuda *cuda, enum cuda_scratch_slot slot, size_t nbytes, void **out, struct bk_error *err);

/** The sentence for memory that could not be had. */
int cuda_out_of_memory(struct cuda *cuda, cudaError_t rc, size_t nbytes, struct bk_error *err);

/* ---- views (cuda_views.c, cuda_augment.cu) ----------------------------------------------------------- */

int cuda_make_views(struct cuda *cuda, const struct bk_view_plan *plan, int32_t n, struct bk_tensor *out,
                    struct bk_error *err);
void cuda_views_close(struct cuda *cuda);
/** The kernel: `upload` and `scratch` as cuda_views.h says, on the device. */
int cuda_launch_views(struct cuda *cuda, int n, const void *upload, void *scratch, struct bk_tensor *out,
                      struct bk_error *err);

/* ---- graphs (cuda_graph.c) ------------------------------------------------------------------------- */

/** Submit a kernel. */
int cuda_run_kernel(struct cuda *cuda, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err);
/** The changing attributes of an optimiser, a blend or a dropout. */
struct cuda_live cuda_live_of(uint32_t kernel, const void *attr);

int cuda_graphs_open(struct cuda *cuda, struct bk_error *err);
/** What was written down and not submitted is lost. */
void cuda_graphs_close(struct cuda *cuda);
/** Note a kernel, a copy or (src NULL) a clearing. Errors: of what was noted before and is submitted now */
int cuda_graphs_kernel(struct cuda *cuda, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err);
int cuda_graphs_memory(struct cuda *cuda, void *dst, const void *src, size_t nbytes, struct bk_error *err);
/** Submit what was noted; nothing when graphs are off. */
int cuda_graphs_flush(struct cuda *cuda, struct bk_error *err);
/** The same; an error is told by the next call. */
void cuda_graphs_section(struct cuda *cuda);
/** Scratch memory has moved: no graph is valid any more. */
void cuda_graphs_forget(struct cuda *cuda);

/* ---- vendor libraries ------------------------------------------------------------------------------ */

/** Open cuDNN and cuBLASLt; BK_ENOTSUP with the reason. Kept for the life of the process once opened. */
int cuda_vendor_open(struct cuda_vendor **out, struct bk_error *err);
void cuda_vendor_free(struct cuda_vendor *v);
/** "cuDNN 9.10.2, cuBLASLt 13.0.1" */
void cuda_vendor_versions(const struct cuda_vendor *v, char *buf, size_t n);
/** BK_ENOTSUP when parts of cuDNN are mapped from more than one directory. */
int cuda_vendor_check_maps(struct bk_error *err);

enum cuda_conv_kind { CUDA_CONV_FORWARD = 1, CUDA_CONV_DX, CUDA_CONV_DW };

int cuda_dnn_open(struct cuda *cuda, struct bk_error *err);
void cuda_dnn_close(struct cuda *cuda);
/**
 * A convolution by cuDNN; a, b, out are (x, w, y), (dy, w, dx) or (x, dy, dw in the type of x). *taken is false when cuDNN
 * offers no permitted algorithm for the shape.
 */
int cuda_dnn_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16, const void *a,
                  const void *b, void *out, bool *taken, struct bk_error *err);

int cuda_blas_open(struct cuda *cuda, struct bk_error *err);
void cuda_blas_close(struct cuda *cuda);
/** Row-major C [m,n] = op(A) op(B) + beta C. A and B bf16 or both f32; C of their type or f32. */
struct cuda_product {
    int64_t m, n, k;
    bool trans_a, trans_b, bf16, bf16_out;
    const void *a, *b;
    void *c;
    float beta;
};
int cuda_matmul(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err);

/* ---- pieces used by several drivers ------------------------------------------------------------------ */

/** Own convolution kernels for shapes the libraries refuse; dw and the rest as in cuda_dnn_conv, but dw is f32 (+=). */
int cuda_direct_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16,
                     const void *a, const void *b, void *out, bool accumulate, struct bk_error *err);
/** Depthwise (groups = channels, square windows of 3, 5, 7): as cuda_direct_conv. */
int cuda_depthwise_conv(struct cuda *cuda, enum cuda_conv_kind kind, const struct cuda_geometry *g, int bf16,
                        const void *a, const void *b, void *out, bool accumulate, struct bk_error *err);
/** y [N,C] (bf16 or f32) = means of x [N,H,W,C] over positions. */
int cuda_image_means(struct cuda *cuda, const struct bk_tensor *x, struct bk_tensor *y, struct bk_error *err);
bool cuda_depthwise_takes(const struct cuda_geometry *g);
/** Own matrix product, where cuBLASLt has none. */
int cuda_direct_matmul(struct cuda *cuda, const struct cuda_product *p, struct bk_error *err);
/** sum[c] (+)= sums of the columns of x [rows, c]; sum is f32. */
int cuda_column_sums(struct cuda *cuda, const void *x, int bf16, int64_t rows, int c, float *sum, bool accumulate,
                     struct bk_error *err);
/** x [rows, c] += bias[c] in place. */
int cuda_add_bias(struct cuda *cuda, void *x, int bf16, int64_t rows, int c, const float *bias, struct bk_error *err);
/** dst f32 (+)= src (f32 or bf16). */
int cuda_gather_f32(struct cuda *cuda, float *dst, const void *src, int bf16, int64_t n, bool accumulate,
                    struct bk_error *err);

/* ---- tensors --------------------------------------------------------------------------------------- */

static inline int cuda_is_bf16(const struct bk_tensor *t)
{
    return t->dtype == BK_BF16;
}

static inline int64_t cuda_numel(const struct bk_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static inline int64_t cuda_last_dim(const struct bk_tensor *t)
{
    return t->rank ? t->dim[t->rank - 1] : 1;
}

static inline void *cuda_data(const struct bk_tensor *t)
{
    return t ? t->data : NULL;
}

/** BK_ENOTSUP when n does not fit the 32-bit indices of a kernel. */
int cuda_fits(int64_t n, const char *what, struct bk_error *err);

/* ---- kernels --------------------------------------------------------------------------------------- */

#define CUDA_KERNEL_LIST(X)                                                              \
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

#define CUDA_KERNEL_DECLARE(upper, lower)                                                \
    int cuda_##lower(struct cuda *cuda, const struct bk_kernel_args *args, struct bk_error *err);
CUDA_KERNEL_LIST(CUDA_KERNEL_DECLARE)
#undef CUDA_KERNEL_DECLARE

#ifdef __cplusplus
}
#endif
#endif

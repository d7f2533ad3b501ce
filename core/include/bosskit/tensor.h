/**
 * bosskit/tensor.h: dense tensors in the memory of a device.
 *
 * Layout is contiguous, last dimension fastest; there are no strides and no views. Activations are
 * [N,H,W,C], convolution weights [Co,Kh,Kw,Ci/groups], linear weights [O,I], rows [N,C].
 *
 * f32 and bf16 are the types of training; i32 holds labels, u8 pixels; f64 exists on the `ref`
 * backend alone and serves gradient checks. Statistics, losses, parameters, their gradients and
 * optimiser state are f32 whatever the activations are ("f32" reads f64 where activations are f64).
 */
#ifndef BOSSKIT_TENSOR_H
#define BOSSKIT_TENSOR_H

#include <bosskit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_MAX_RANK 5

/* X(enum, number, bytes, name in files and messages) */
#define BK_DTYPE_LIST(X)                                                                 \
    X(BK_F32, 1, 4, "f32")                                                               \
    X(BK_BF16, 2, 2, "bf16")                                                             \
    X(BK_I32, 3, 4, "i32")                                                               \
    X(BK_U8, 4, 1, "u8")                                                                 \
    X(BK_F64, 5, 8, "f64")

enum bk_dtype {
    BK_DTYPE_INVALID = 0,
#define BK_DTYPE_ENUM(name, number, nbytes, text) name = number,
    BK_DTYPE_LIST(BK_DTYPE_ENUM)
#undef BK_DTYPE_ENUM
};

BK_API size_t bk_dtype_size(uint32_t dtype);
BK_API const char *bk_dtype_name(uint32_t dtype);

/** The type of statistics, parameters and losses beside activations of `dtype`: f64 for f64, else f32. */
static inline uint32_t bk_dtype_accum(uint32_t dtype)
{
    return dtype == BK_F64 ? BK_F64 : BK_F32;
}

static inline float bk_bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = { (uint32_t)h << 16 };
    return v.f;
}

/** Round to nearest even; NaN stays NaN. */
static inline uint16_t bk_f32_to_bf16(float f)
{
    union { float f; uint32_t u; } v = { f };
    if ((v.u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((v.u >> 16) | 0x40u);
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}

struct bk_device;
struct bk_grad;

struct bk_tensor {
    uint32_t dtype;             /* enum bk_dtype */
    uint32_t rank;              /* 0 (a scalar) .. BK_MAX_RANK */
    int64_t dim[BK_MAX_RANK];
    void *data;                 /* memory of `device`, 64-byte aligned; the host reads it through bk_tensor_read() */
    struct bk_device *device;
    struct bk_grad *grad;       /* where its gradient goes (autograd); NULL: none flows */
};

BK_API int64_t bk_tensor_numel(const struct bk_tensor *t);
BK_API size_t bk_tensor_nbytes(const struct bk_tensor *t);
BK_API bool bk_tensor_same_shape(const struct bk_tensor *a, const struct bk_tensor *b);
/** "[64,32,32,16] bf16" */
BK_API const char *bk_tensor_describe(const struct bk_tensor *t, char buf[96]);

/** A zeroed tensor with memory of its own (not a tape's); free with bk_tensor_free(). */
BK_API int bk_tensor_new(struct bk_device *device, uint32_t dtype, uint32_t rank,
                         const int64_t *dim, struct bk_tensor **out,
                         struct bk_error *err) BK_MUST_USE;
BK_API void bk_tensor_free(struct bk_tensor *t);

/** Copy all of `t` to the host, converting to f32 (t is f32, bf16, f64, i32 or u8); waits for the device. */
BK_API int bk_tensor_read_f32(const struct bk_tensor *t, float *out,
                              struct bk_error *err) BK_MUST_USE;
/** Copy numel f32 values from the host into `t`, converting to its type. */
BK_API int bk_tensor_write_f32(struct bk_tensor *t, const float *in,
                               struct bk_error *err) BK_MUST_USE;
/** The same with f64 on the host side. */
BK_API int bk_tensor_read_f64(const struct bk_tensor *t, double *out,
                              struct bk_error *err) BK_MUST_USE;
BK_API int bk_tensor_write_f64(struct bk_tensor *t, const double *in,
                               struct bk_error *err) BK_MUST_USE;
/** Raw bytes, bk_tensor_nbytes() of them. */
BK_API int bk_tensor_read(const struct bk_tensor *t, void *out,
                          struct bk_error *err) BK_MUST_USE;
BK_API int bk_tensor_write(struct bk_tensor *t, const void *in,
                           struct bk_error *err) BK_MUST_USE;
/** dst = src; same shape; types may differ among f32, bf16, f64. */
BK_API int bk_tensor_copy(struct bk_tensor *dst, const struct bk_tensor *src,
                          struct bk_error *err) BK_MUST_USE;
BK_API int bk_tensor_zero(struct bk_tensor *t, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

/*
 * tensor/tensor.c: dense tensors that own their memory, and transfers to and from the host.
 *
 * Conversions between types happen on the host, value by value: they serve initialisation, checkpoints and tests, not
 * the inside of a training step (the SLICE and CAST kernels do that on the device). Tensors of a step come from the
 * tape instead.
 */
#include "tensor/tensor_shape.h"
#include "device/device.h"
#include <bosskit/tape.h>
#include <stdio.h>
#include <string.h>

size_t bk_dtype_size(uint32_t dtype)
{
    switch (dtype) {
#define X(name, number, nbytes, text)                                                    \
    case name:                                                                           \
        return nbytes;
        BK_DTYPE_LIST(X)
#undef X
    }
    return 0;
}

const char *bk_dtype_name(uint32_t dtype)
{
    switch (dtype) {
#define X(name, number, nbytes, text)                                                    \
    case name:                                                                           \
        return text;
        BK_DTYPE_LIST(X)
#undef X
    }
    return "invalid";
}

int64_t bk_tensor_numel(const struct bk_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

size_t bk_tensor_nbytes(const struct bk_tensor *t)
{
    return (size_t)bk_tensor_numel(t) * bk_dtype_size(t->dtype);
}

bool bk_tensor_same_shape(const struct bk_tensor *a, const struct bk_tensor *b)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

const char *bk_tensor_describe(const struct bk_tensor *t, char buf[96])
{
    size_t len = 0;
    if (!t) {
        snprintf(buf, 96, "(none)");
        return buf;
    }
    buf[len++] = '[';
    for (uint32_t i = 0; i < t->rank && i < BK_MAX_RANK && len < 80; i++)
        len += (size_t)snprintf(buf + len, 96 - len, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    if (len > 86)
        len = 86;
    snprintf(buf + len, 96 - len, "] %s", bk_dtype_name(t->dtype));
    return buf;
}

int bk__tensor_shape(struct bk_tensor *t, uint32_t dtype, uint32_t rank, const int64_t *dim, struct bk_error *err)
{
    if (!bk_dtype_size(dtype))
        return bk_fail(err, BK_EINVAL, "%u is not a tensor type", dtype);
    if (rank > BK_MAX_RANK)
        return bk_fail(err, BK_ESHAPE, "rank %u is above %d", rank, BK_MAX_RANK);
    memset(t, 0, sizeof *t);
    t->dtype = dtype;
    t->rank = rank;
    int64_t n = (int64_t)bk_dtype_size(dtype);
    for (uint32_t i = 0; i < rank; i++) {
        if (dim[i] < 1 || dim[i] > INT64_MAX / 4 / n)
            return bk_fail(err, BK_ESHAPE, "dimension %u of a tensor is %lld; legal is 1 and up, within memory", i,
                           (long long)dim[i]);
        t->dim[i] = dim[i];
        n *= dim[i];
    }
    return BK_OK;
}

int bk_tensor_new(struct bk_device *device, uint32_t dtype, uint32_t rank, const int64_t *dim, struct bk_tensor **out,
                  struct bk_error *err)
{
    struct bk_tensor shape;
    BK_TRY(bk__tensor_shape(&shape, dtype, rank, dim, err));
    struct bk_tensor *t = bk_alloc(sizeof *t);
    if (!t)
        return bk_fail(err, BK_ENOMEM, "no memory for a tensor");
    *t = shape;
    t->device = device;
    size_t nbytes = bk_tensor_nbytes(t);
    int rc = bk_device_alloc(device, nbytes, &t->data, err);
    if (rc)
        bk_context(err, "parameter region");
    else
        rc = bk__device_zero(device, t->data, nbytes, err);
    if (rc) {
        bk_tensor_free(t);
        return rc;
    }
    *out = t;
    return BK_OK;
}

void bk_tensor_free(struct bk_tensor *t)
{
    if (!t)
        return;
    bk_tensor_drop_grad(t);
    bk_device_dealloc(t->device, t->data, bk_tensor_nbytes(t));
    bk_free(t);
}

/* ---- one value ----------------------------------------------------------------------------------- */

static double get_value(const void *p, uint32_t dtype, int64_t i)
{
    switch (dtype) {
    case BK_F32:
        return ((const float *)p)[i];
    case BK_BF16:
        return bk_bf16_to_f32(((const uint16_t *)p)[i]);
    case BK_F64:
        return ((const double *)p)[i];
    case BK_I32:
        return ((const int32_t *)p)[i];
    default:
        return ((const uint8_t *)p)[i];
    }
}

static void set_value(void *p, uint32_t dtype, int64_t i, double v)
{
    switch (dtype) {
    case BK_F32:
        ((float *)p)[i] = (float)v;
        break;
    case BK_BF16:
        ((uint16_t *)p)[i] = bk_f32_to_bf16((float)v);
        break;
    case BK_F64:
        ((double *)p)[i] = v;
        break;
    case BK_I32:
        ((int32_t *)p)[i] = (int32_t)v;
        break;
    default:
        ((uint8_t *)p)[i] = (uint8_t)v;
    }
}

/* ---- transfers ----------------------------------------------------------------------------------- */

static int read_as(const struct bk_tensor *t, uint32_t dtype, void *out, struct bk_error *err)
{
    size_t nbytes = bk_tensor_nbytes(t);
    if (t->dtype == dtype)
        return bk__device_copy_out(t->device, out, t->data, nbytes, err);
    void *raw = bk_alloc(nbytes);
    if (!raw)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu bytes of a tensor read", nbytes);
    int rc = bk__device_copy_out(t->device, raw, t->data, nbytes, err);
    for (int64_t i = 0, n = rc ? 0 : bk_tensor_numel(t); i < n; i++)
        set_value(out, dtype, i, get_value(raw, t->dtype, i));
    bk_free(raw);
    return rc;
}

static int write_as(struct bk_tensor *t, uint32_t dtype, const void *in, struct bk_error *err)
{
    size_t nbytes = bk_tensor_nbytes(t);
    if (t->dtype == dtype)
        return bk__device_copy_in(t->device, t->data, in, nbytes, err);
    uint64_t small[8];
    void *raw = nbytes <= sizeof small ? small : bk_alloc(nbytes);
    if (!raw)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu bytes of a tensor write", nbytes);
    for (int64_t i = 0, n = bk_tensor_numel(t); i < n; i++)
        set_value(raw, t->dtype, i, get_value(in, dtype, i));
    int rc = bk__device_copy_in(t->device, t->data, raw, nbytes, err);
    if (raw != small)
        bk_free(raw);
    return rc;
}

int bk_tensor_read_f32(const struct bk_tensor *t, float *out, struct bk_error *err)
{
    return read_as(t, BK_F32, out, err);
}

int bk_tensor_write_f32(struct bk_tensor *t, const float *in, struct bk_error *err)
{
    return write_as(t, BK_F32, in, err);
}

int bk_tensor_read_f64(const struct bk_tensor *t, double *out, struct bk_error *err)
{
    return read_as(t, BK_F64, out, err);
}

int bk_tensor_write_f64(struct bk_tensor *t, const double *in, struct bk_error *err)
{
    return write_as(t, BK_F64, in, err);
}

int bk_tensor_read(const struct bk_tensor *t, void *out, struct bk_error *err)
{
    return bk__device_copy_out(t->device, out, t->data, bk_tensor_nbytes(t), err);
}

int bk_tensor_write(struct bk_tensor *t, const void *in, struct bk_error *err)
{
    return bk__device_copy_in(t->device, t->data, in, bk_tensor_nbytes(t), err);
}

static bool is_float(uint32_t dtype)
{
    return dtype == BK_F32 || dtype == BK_BF16 || dtype == BK_F64;
}

/* Across devices, or where the device cannot convert: through the host. */
static int copy_by_host(struct bk_tensor *dst, const struct bk_tensor *src, struct bk_error *err)
{
    size_t nbytes = bk_tensor_nbytes(dst);
    void *host = bk_alloc(nbytes);
    if (!host)
        return bk_fail(err, BK_ENOMEM, "no memory for %zu bytes of a tensor copy", nbytes);
    int rc = read_as(src, dst->dtype, host, err);
    if (!rc)
        rc = bk_tensor_write(dst, host, err);
    bk_free(host);
    return rc;
}

int bk_tensor_copy(struct bk_tensor *dst, const struct bk_tensor *src, struct bk_error *err)
{
    char a[96], b[96];
    bool alike = dst->dtype == src->dtype;
    if (!bk_tensor_same_shape(dst, src))
        return bk_fail(err, BK_ESHAPE, "cannot copy %s to %s", bk_tensor_describe(src, a), bk_tensor_describe(dst, b));
    if (!alike && (!is_float(dst->dtype) || !is_float(src->dtype)))
        return bk_fail(err, BK_EINVAL, "cannot convert %s to %s", bk_dtype_name(src->dtype), bk_dtype_name(dst->dtype));
    if (dst->device == src->device && alike)
        return bk__device_copy(dst->device, dst->data, src->data, bk_tensor_nbytes(dst), err);
    if (dst->device == src->device && bk_device_supports(dst->device, BK_K_CAST, dst->dtype)) {
        struct bk_kernel_args args = { .in = { src }, .out = { dst }, .n_in = 1, .n_out = 1 };
        return bk_device_run(dst->device, BK_K_CAST, &args, err);
    }
    return copy_by_host(dst, src, err);
}

int bk_tensor_zero(struct bk_tensor *t, struct bk_error *err)
{
    return bk__device_zero(t->device, t->data, bk_tensor_nbytes(t), err);
}

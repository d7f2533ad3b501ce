/**
 * tensor/tensor_shape.h: checked construction of a tensor header, shared by owned tensors and the tape's.
 *
 * It fills type, rank and dimensions and leaves data, device and gradient NULL. It allocates nothing.
 */
#ifndef BK_TENSOR_TENSOR_SHAPE_H
#define BK_TENSOR_TENSOR_SHAPE_H

#include <bosskit/tensor.h>

/** Errors: BK_EINVAL for an unknown type, BK_ESHAPE for a rank or dimension out of range. */
int bk__tensor_shape(struct bk_tensor *t, uint32_t dtype, uint32_t rank, const int64_t *dim, struct bk_error *err)
    BK_MUST_USE;

#endif

/**
 * ops/op_support.h: the checks and calls that every operation makes.
 *
 * An operation is a file <name>.c: check shapes, take the output from the tape, run the kernel, push a node whose rule
 * runs the gradient kernel. What differs between operations stays in their files.
 */
#ifndef BK_OPS_OP_SUPPORT_H
#define BK_OPS_OP_SUPPORT_H

#include "autograd/grad.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>

/** x is an activation (f32, bf16, f64) of at least `min_rank` and at most `max_rank` dimensions, and the kernel exists. */
int bk__op_input(struct bk_tape *tape, uint32_t kernel, const struct bk_tensor *x, uint32_t min_rank,
                 uint32_t max_rank, struct bk_error *err) BK_MUST_USE;
/** t (may be NULL) is a vector of n values of `dtype`. */
int bk__op_vector(uint32_t kernel, const char *what, const struct bk_tensor *t, int64_t n, uint32_t dtype,
                  struct bk_error *err) BK_MUST_USE;
/** b has a's shape and type. */
int bk__op_alike(uint32_t kernel, const struct bk_tensor *a, const struct bk_tensor *b, struct bk_error *err)
    BK_MUST_USE;
/** An uninitialised step tensor like `t` in another type (0 = the same). */
int bk__op_like(struct bk_tape *tape, const struct bk_tensor *t, uint32_t dtype, struct bk_tensor **out,
                struct bk_error *err) BK_MUST_USE;
/** Node with a copy of the attributes. */
int bk__op_push(struct bk_tape *tape, struct bk_node *node, const void *attr, size_t attr_size, struct bk_error *err)
    BK_MUST_USE;
/** Run on the tape's device. */
int bk__op_run(struct bk_tape *tape, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
    BK_MUST_USE;

#endif

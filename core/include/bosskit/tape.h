/**
 * bosskit/tape.h: the tape: step memory and reverse-mode differentiation.
 *
 * A tape owns the tensors of one training step, cut from a step arena that grows to the largest
 * step and is then reused without allocation. While recording, each operation appends a node; a
 * backward pass walks the nodes in reverse. Parameters (tensors with a gradient of their own) receive "+=";
 * activations collect up to BK_MAX_ADDENDS gradient tensors, which the producer's rule sums while
 * it reads them.
 *
 * Typical step
 *     bk_tape_reset(tape);  ...operations...;  bk_tape_backward(tape, loss, 1.0, &err);
 * Without gradients (target network, rating)
 *     bk_tape_set_recording(tape, false); mark = bk_tape_mark(tape); ...; bk_tape_rewind(tape, mark);
 */
#ifndef BOSSKIT_TAPE_H
#define BOSSKIT_TAPE_H

#include <bosskit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_tape;

BK_API int bk_tape_new(struct bk_device *device, struct bk_tape **out,
                       struct bk_error *err) BK_MUST_USE;
BK_API void bk_tape_free(struct bk_tape *tape);
BK_API struct bk_device *bk_tape_device(struct bk_tape *tape);

/** Drop all nodes and tensors; keeps the memory for the next step. */
BK_API void bk_tape_reset(struct bk_tape *tape);

/** A new tape records. Returns the previous state. */
BK_API bool bk_tape_set_recording(struct bk_tape *tape, bool on);
BK_API bool bk_tape_is_recording(const struct bk_tape *tape);

/** Position in the step arena and in the node list. Rewinding drops every tensor and node made since. */
struct bk_tape_mark {
    size_t chunk, offset, n_nodes, n_headers;
};
BK_API struct bk_tape_mark bk_tape_mark(const struct bk_tape *tape);
BK_API void bk_tape_rewind(struct bk_tape *tape, struct bk_tape_mark mark);

/** Largest number of bytes of step memory that was in use at once. */
BK_API size_t bk_tape_peak(const struct bk_tape *tape);

/** An uninitialised tensor of the step, without gradient. */
BK_API int bk_tape_tensor(struct bk_tape *tape, uint32_t dtype, uint32_t rank,
                          const int64_t *dim, struct bk_tensor **out,
                          struct bk_error *err) BK_MUST_USE;

/**
 * Run all nodes backward from the scalar `loss` with d(loss) = scale, then drop the nodes (tensors
 * stay until reset or rewind). Parameter gradients are added to.
 */
BK_API int bk_tape_backward(struct bk_tape *tape, struct bk_tensor *loss, double scale,
                            struct bk_error *err) BK_MUST_USE;

/* ---- parameters ------------------------------------------------------------------------------ */

/** Give a tensor a persistent gradient `g` (same shape, f32/f64, owned by the caller); NULL g takes it away. */
BK_API int bk_tensor_set_grad(struct bk_tensor *t, struct bk_tensor *g,
                              struct bk_error *err) BK_MUST_USE;
/** The persistent gradient of a parameter, or NULL. */
BK_API struct bk_tensor *bk_tensor_get_grad(const struct bk_tensor *t);
/**
 * Let `copy` (a parameter in another type, of the same shape) send its gradient where `t` sends it. The copy borrows:
 * free it, or take its gradient away, before `t`.
 */
BK_API void bk_tensor_share_grad(struct bk_tensor *copy, const struct bk_tensor *t);
/** Has anything been added to this parameter's gradient since bk_tensor_clear_touched()? */
BK_API bool bk_tensor_is_touched(const struct bk_tensor *t);
BK_API void bk_tensor_clear_touched(struct bk_tensor *t);
/** Release what bk_tensor_set_grad() attached. */
BK_API void bk_tensor_drop_grad(struct bk_tensor *t);

/* ---- for authors of operations ---------------------------------------------------------------- */

#define BK_MAX_ADDENDS 4
#define BK_NODE_MAX 24

struct bk_node;
typedef int (*bk_backward_fn)(struct bk_tape *tape, const struct bk_node *node,
                              struct bk_error *err);

struct bk_node {
    bk_backward_fn backward;
    struct bk_tensor *in[BK_NODE_MAX];  /* what the rule needs: inputs and saved tensors, in the rule's own order */
    struct bk_tensor *y;                /* the output whose gradient starts the rule */
    uint32_t n_in, attr_size;
    uint64_t attr[16];                  /* a copy of the attributes, up to 128 bytes */
};

/** Does a gradient flow into t on this tape (recording, and t is a parameter or depends on one)? */
BK_API bool bk_needs_grad(const struct bk_tape *tape, const struct bk_tensor *t);

/** Append a node and mark node->y as carrying a gradient. The struct is copied. */
BK_API int bk_tape_push(struct bk_tape *tape, const struct bk_node *node,
                        struct bk_error *err) BK_MUST_USE;

/** Addends of y's gradient (at most BK_MAX_ADDENDS, unused entries NULL); 0 when y received none. */
BK_API int bk_grad_addends(const struct bk_tensor *y, const struct bk_tensor *dy[BK_MAX_ADDENDS]);

/** y's gradient as one tensor (summing if needed); NULL in *dy when y received none. */
BK_API int bk_grad_sum(struct bk_tape *tape, const struct bk_tensor *y,
                       const struct bk_tensor **dy, struct bk_error *err) BK_MUST_USE;

/**
 * Where a rule writes the gradient of x. For an activation a new tensor (of x's type) to assign, which becomes one
 * more addend; for a parameter its persistent gradient, to be added to. *dx is NULL when x wants none.
 */
BK_API int bk_grad_target(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **dx,
                          bool *accumulate, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

/**
 * autograd/grad.h: where gradients go; shared by the tape and the operations.
 *
 * A parameter has a persistent gradient that is added to. A tensor of the step collects addends. The calls below
 * hide the difference from backward rules, whose kernels either assign their result or add to it:
 *
 *     bk__target(tape, x, dtype, how, &dx)   what the kernel writes; NULL when x wants no gradient
 *     ...kernel...
 *     bk__target_done(tape, x, dx)           converts and adds where dx was not the final place already
 */
#ifndef BK_AUTOGRAD_GRAD_H
#define BK_AUTOGRAD_GRAD_H

#include <bosskit/tape.h>

enum bk__how {
    BK__ASSIGN = 1,             /* the kernel assigns every element */
    BK__ADD = 2,                /* the kernel adds: dx is persistent or zeroed */
};

int bk__target(struct bk_tape *tape, struct bk_tensor *x, uint32_t dtype, enum bk__how how, struct bk_tensor **dx,
               struct bk_error *err) BK_MUST_USE;
int bk__target_done(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *dx, struct bk_error *err) BK_MUST_USE;

/** One more addend of x's gradient that exists already and is not written again; nothing when x wants none. */
int bk__grad_append(struct bk_tape *tape, struct bk_tensor *x, const struct bk_tensor *dx, struct bk_error *err)
    BK_MUST_USE;

/** After bk_tape_push: gradients of y come in `dtype` rather than y's own type (slices of parameters). */
void bk__grad_set_dtype(struct bk_tensor *y, uint32_t dtype);

/** Has x a persistent gradient? */
bool bk__is_parameter(const struct bk_tensor *x);

#endif

/**
 * autograd/step_memory.h: one step of a batch, and what to say when the device has no memory for it.
 *
 * Trainers, raters and stand-alone training all run their steps through bk__step_run(). When a step was refused memory, it is
 * run once more dry: the tape hands out addresses of nothing, kernels and copies do nothing. That shows how much the whole step
 * would have taken, which the point of failure does not, and hence the batch that would fit.
 */
#ifndef BK_AUTOGRAD_STEP_MEMORY_H
#define BK_AUTOGRAD_STEP_MEMORY_H

#include <bosskit/tape.h>

/** Does its work on `tape`, whatever is left there from before; must not mind being called again. */
typedef int (*bk__step_fn)(void *user, struct bk_error *err);

/**
 * Run a step of `batch` images.
 * Errors    those of `step`; to BK_ENOMEM of the device are added the step memory that the batch needs and, where the backend
 *           knows its free memory, the batch that would fit. What the step worked on is then without meaning: cached copies of
 *           weights count as filled
 */
BK_API int bk__step_run(struct bk_tape *tape, int64_t batch, bk__step_fn step, void *user, struct bk_error *err) BK_MUST_USE;

#endif

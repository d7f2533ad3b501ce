/**
 * data/augment_policy.h: RandAugment, AutoAugment and random erasing: what a plan gets.
 *
 * An operation has a magnitude of 0..10 that its level function turns into an argument
 * (degrees, a factor, a threshold), as in timm. Choosing a step and carrying it out are
 * separate calls, so that tests can apply one operation at one magnitude.
 */
#ifndef BOSSKIT_DATA_AUGMENT_POLICY_H
#define BOSSKIT_DATA_AUGMENT_POLICY_H

#include <bosskit/view.h>

/** Number of an operation by timm's name ("ShearX", "PosterizeIncreasing"); -1 when unknown. */
BK_API int bk__policy_op(const char *name);

/**
 * Operation `op` at `magnitude` 0..10 for images [height][width][3]; operations with a
 * direction take the negative one when `negate`.
 */
BK_API void bk__policy_step(int op, double magnitude, bool negate, int32_t width,
                            int32_t height, struct bk_view_step *out);

/** Draw what a->policy says and add it to the plan. */
void bk__policy_decide(const struct bk_augment *a, struct bk_random *r,
                       struct bk_view_plan *plan);

/** Draw the box that is erased with probability a->erase. */
void bk__erase_decide(const struct bk_augment *a, struct bk_random *r,
                      struct bk_view_plan *plan);

#endif

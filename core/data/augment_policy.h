/**
 * data/augment_policy.h: RandAugment, AutoAugment and random erasing.
 *
 * An operation has a magnitude of 0..10 that its level function turns into an argument
 * (degrees, a factor, a threshold), as in timm. Drawing and applying are separate calls,
 * so that tests can apply one operation at one magnitude.
 */
#ifndef BOSSKIT_DATA_AUGMENT_POLICY_H
#define BOSSKIT_DATA_AUGMENT_POLICY_H

#include "data/pixels.h"
#include <bosskit/dataset.h>
#include <bosskit/random.h>

/** Number of an operation by timm's name ("ShearX", "PosterizeIncreasing"); -1 when unknown. */
BK_API int bk__policy_op(const char *name);

/**
 * Apply operation `op` at `magnitude` 0..10 to p [height][width][3]; operations with a
 * direction take the negative one when `negate`. Errors: BK_ENOMEM
 */
BK_API int bk__policy_apply(struct bk__scratch *s, int op, double magnitude,
                            bool negate, const uint8_t fill[3], uint8_t *p,
                            int32_t width, int32_t height,
                            struct bk_error *err) BK_MUST_USE;

/** Draw and apply what a->policy says to a square image of a->size. Errors: BK_ENOMEM */
int bk__policy_run(struct bk__scratch *s, const struct bk_augment *a,
                   struct bk_random *r, uint8_t *p, struct bk_error *err) BK_MUST_USE;

/** Random erasing of normalised pixels [a->size][a->size][3] with probability a->erase. */
void bk__random_erase(const struct bk_augment *a, struct bk_random *r, float *out);

#endif

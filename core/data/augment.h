/**
 * data/augment.h: views of images in two halves, decisions and pixels, with memory that
 * is kept between images (one scratch a thread).
 */
#ifndef BOSSKIT_DATA_AUGMENT_H
#define BOSSKIT_DATA_AUGMENT_H

#include "data/pixels.h"
#include <bosskit/view.h>

/** Operations of RandAugment that a plan has room for. */
#define BK__MAX_RAND_OPS (BK_VIEW_MAX_STEPS - 8)

/** Ranges of every field of a pipeline; `what` names it in the sentence. Errors:
 * BK_EINVAL */
int bk__augment_check(const struct bk_augment *a, const char *what,
                      struct bk_error *err) BK_MUST_USE;

/**
 * Draw all decisions of a view, for a pipeline that passed bk__augment_check(). The plan
 * borrows the image's pixels. Errors: BK_ESHAPE when the image does not suit the crop
 */
BK_API int bk__view_decide(const struct bk_augment *a, const struct bk_image *image,
                           uint64_t seed, uint32_t epoch, uint32_t image_number,
                           uint32_t view, struct bk_view_plan *out,
                           struct bk_error *err) BK_MUST_USE;

/** Carry a plan out: f32 [size][size][3]. Errors: BK_ENOMEM */
BK_API int bk__view_make(struct bk__scratch *s, const struct bk_view_plan *plan,
                         float *out, struct bk_error *err) BK_MUST_USE;

/** One operation on p [height][width][3] in place. Errors: BK_ENOMEM */
BK_API int bk__view_step(struct bk__scratch *s, const struct bk_view_step *step,
                         const uint8_t fill[3], uint8_t *p, int32_t width,
                         int32_t height, struct bk_error *err) BK_MUST_USE;

/** As bk_augment_apply() for a pipeline that passed bk__augment_check(). */
int bk__augment_run(struct bk__scratch *s, const struct bk_augment *a,
                    const struct bk_image *image, uint64_t seed, uint32_t epoch,
                    uint32_t image_number, uint32_t view, float *out,
                    struct bk_error *err) BK_MUST_USE;

#endif

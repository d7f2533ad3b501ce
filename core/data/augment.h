/**
 * data/augment.h: applying a pipeline with memory that is kept between images (one
 * scratch a thread).
 */
#ifndef BOSSKIT_DATA_AUGMENT_H
#define BOSSKIT_DATA_AUGMENT_H

#include "data/pixels.h"
#include <bosskit/dataset.h>

/** Ranges of every field of a pipeline; `what` names it in the sentence. Errors:
 * BK_EINVAL */
int bk__augment_check(const struct bk_augment *a, const char *what,
                      struct bk_error *err) BK_MUST_USE;

/** As bk_augment_apply() for a pipeline that passed bk__augment_check(). */
int bk__augment_run(struct bk__scratch *s, const struct bk_augment *a,
                    const struct bk_image *image, uint64_t seed, uint32_t epoch,
                    uint32_t image_number, uint32_t view, float *out,
                    struct bk_error *err) BK_MUST_USE;

#endif

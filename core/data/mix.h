/**
 * data/mix.h: mixing the images of a batch, and soft targets.
 *
 * Image i is mixed with image n-1-i. One draw decides for the whole batch.
 */
#ifndef BOSSKIT_DATA_MIX_H
#define BOSSKIT_DATA_MIX_H

#include <bosskit/dataset.h>

struct bk__mix_draw {
    bool cut;           /* CutMix: the box [y0,y1) x [x0,x1) comes from the partner */
    double lambda;      /* share of the image itself; 1: nothing is mixed */
    int32_t y0, x0, y1, x1;
};

/** Ranges of the fields. Errors: BK_EINVAL */
int bk__mix_check(const struct bk_mix *m, struct bk_error *err) BK_MUST_USE;

/** The decision for batch `index` of `epoch` with images of side `size`. */
BK_API void bk__mix_decide(const struct bk_mix *m, uint64_t seed, int32_t epoch,
                           int32_t index, int32_t size, struct bk__mix_draw *out);
/** images [n][size][size][3] in place. */
BK_API void bk__mix_images(const struct bk__mix_draw *d, int32_t n, int32_t size,
                           float *images);
/** target [n][m->n_classes]: smoothed one-hots, mixed in the same proportion. */
BK_API void bk__mix_targets(const struct bk_mix *m, const struct bk__mix_draw *d,
                            const int32_t *label, int32_t n, float *target);

#endif

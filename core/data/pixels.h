/**
 * data/pixels.h: operations on 8-bit RGB images, bit-exact with Pillow.
 *
 * Every operation rounds to 8 bits, as the original training pipelines do (torchvision
 * on Pillow images); errors of one grey level would be harmless, but exactness lets
 * tests compare bytes. Loops over images are here, the arithmetic of one value in
 * <bosskit/pixel.h>. No randomness: view_plan.c draws.
 */
#ifndef BOSSKIT_DATA_PIXELS_H
#define BOSSKIT_DATA_PIXELS_H

#include <bosskit/base.h>

/** A buffer that grows and is kept between images. */
struct bk__buffer {
    void *p;
    size_t nbytes;
};

/** At least nbytes of memory (contents undefined); NULL when out of memory. */
void *bk__buffer_get(struct bk__buffer *b, size_t nbytes);
void bk__buffer_release(struct bk__buffer *b);

/** Working memory of one thread. */
struct bk__scratch {
    struct bk__buffer weights, pass, image, line, pixels;
    float stats[6];      /* mean and std that `table` was made for */
    float table[3][256]; /* normalised value of each grey level */
};

BK_API void bk__scratch_release(struct bk__scratch *s);

/** A window of an image: rgb points at its first pixel, lines are `stride` bytes apart.
 */
struct bk__window {
    const uint8_t *rgb;
    size_t stride;
    int32_t width, height;
};

/**
 * Bicubic (a = -0.5) or linear, antialiased, separable, horizontal pass first, taps
 * outside the window dropped. out [height][width][3]. Errors: BK_ENOMEM
 */
BK_API int bk__resize(struct bk__scratch *s, bool linear, const struct bk__window *in,
                      int32_t width, int32_t height, uint8_t *out,
                      struct bk_error *err) BK_MUST_USE;

/** p [n][3] in place; factor 1 changes nothing. */
BK_API void bk__adjust_brightness(uint8_t *p, size_t n, float factor);
BK_API void bk__adjust_contrast(uint8_t *p, size_t n, float factor);
BK_API void bk__adjust_saturation(uint8_t *p, size_t n, float factor);
/** `shift` in turns, -0.5..0.5. */
BK_API void bk__adjust_hue(uint8_t *p, size_t n, double shift);
BK_API void bk__to_grey(uint8_t *p, size_t n);
/** v < threshold keeps v, else 255 - v. */
BK_API void bk__solarize(uint8_t *p, size_t n, int threshold);
/** Gaussian of deviation sigma (pixels) by three box blurs each way. Errors: BK_ENOMEM
 */
BK_API int bk__gaussian_blur(struct bk__scratch *s, uint8_t *p, int32_t width,
                             int32_t height, float sigma,
                             struct bk_error *err) BK_MUST_USE;

/* ---- operations of AutoAugment and RandAugment, p [height][width][3] in place ----- */

/** Each channel stretched to 0..255; its histogram made flat. */
BK_API void bk__autocontrast(uint8_t *p, size_t n);
BK_API void bk__equalize(uint8_t *p, size_t n);
BK_API void bk__invert(uint8_t *p, size_t n);
/** Keep the `bits` (0..8) highest bits. */
BK_API void bk__posterize(uint8_t *p, size_t n, int bits);
/** v < threshold becomes min(v + add, 255). */
BK_API void bk__solarize_add(uint8_t *p, size_t n, int add, int threshold);
/** Blend with the smoothed image; factor 1 changes nothing, 0 smoothes. Errors: BK_ENOMEM */
BK_API int bk__adjust_sharpness(struct bk__scratch *s, uint8_t *p, int32_t width,
                                int32_t height, float factor,
                                struct bk_error *err) BK_MUST_USE;
/**
 * The pixel at (x, y) becomes the one at (m0 x + m1 y + m2, m3 x + m4 y + m5) of the
 * image as it was, pixel centres at halves; `fill` where that is outside. BK_ENOMEM
 */
BK_API int bk__affine_bicubic(struct bk__scratch *s, uint8_t *p, int32_t width,
                              int32_t height, const double m[6], const uint8_t fill[3],
                              struct bk_error *err) BK_MUST_USE;
/** The map that turns an image about its middle. */
BK_API void bk__rotation(double degrees, int32_t width, int32_t height, double m[6]);

#endif

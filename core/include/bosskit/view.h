/**
 * bosskit/view.h: what is done to one image to make a view of it.
 *
 * An augmentation is decided first and carried out afterwards. Decisions (crop, flip, order and strengths of the jitter,
 * operations of a policy, the erased box) are drawn by the host from the counter-based generator, as a function of
 * (seed, epoch, image, view); a plan holds them all. Pixels are then made from the plan by the host, or by a device whose
 * backend has `make_views` (<bosskit/backend.h>), with the arithmetic of <bosskit/pixel.h>: the same bytes.
 *
 * Plugins other than backends need nothing of this: bk_batch_view() gives them tensors.
 */
#ifndef BOSSKIT_VIEW_H
#define BOSSKIT_VIEW_H

#include <bosskit/dataset.h>
#include <bosskit/random.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Operations on a view [size][size][3] of 8-bit values, each rounded to 8 bits. */
enum bk_view_op {
    BK_VIEW_BRIGHTNESS = 1,     /* amount: factor; 1 changes nothing */
    BK_VIEW_CONTRAST,           /* amount: factor */
    BK_VIEW_SATURATION,         /* amount: factor */
    BK_VIEW_HUE,                /* amount: turns, -0.5..0.5 */
    BK_VIEW_GREY,
    BK_VIEW_BLUR,               /* amount: sigma in pixels */
    BK_VIEW_SOLARIZE,           /* level: threshold; values from it on become 255 - v */
    BK_VIEW_AUTOCONTRAST,
    BK_VIEW_EQUALIZE,
    BK_VIEW_INVERT,
    BK_VIEW_POSTERIZE,          /* level: bits that stay */
    BK_VIEW_SOLARIZE_ADD,       /* level: what values below 128 gain */
    BK_VIEW_SHARPNESS,          /* amount: factor */
    BK_VIEW_AFFINE,             /* map: where a pixel comes from, see bk_pixel_affine() */
};

#define BK_VIEW_ADD_BELOW 128   /* threshold of BK_VIEW_SOLARIZE_ADD */

struct bk_view_step {
    uint32_t op;                /* enum bk_view_op */
    int32_t level;
    double amount;
    double map[6];
};

#define BK_VIEW_MAX_STEPS 24    /* four of the jitter, grey, blur, solarise, and a policy's */

/** In this order: window, resizing, cut, flip, steps, normalising, erasing. */
struct bk_view_plan {
    struct bk_image image;      /* pixels borrowed from the cache */
    int32_t x, y, width, height;        /* the window of the image that is used */
    int32_t resized_width, resized_height;      /* it is resized to this; equal to its own size: it stays as it is */
    int32_t linear;             /* 1: resized linearly, 0: bicubically */
    int32_t left, top;          /* corner of the view in the resized window; outside of that is black */
    int32_t size;               /* side of the view */
    int32_t flip;               /* 1: left and right are swapped */
    int32_t erase_x, erase_y, erase_width, erase_height;        /* box that becomes noise; width or height 0: none */
    float mean[3], std[3];      /* of values in [0,1] */
    uint8_t fill[4];            /* RGB where a map points outside */
    int32_t n_steps;
    /** Noise: row by row, 3 erase_width values each, in pairs from two bk_random_f64() (a last one of a pair is dropped). */
    struct bk_random noise;
    struct bk_view_step step[BK_VIEW_MAX_STEPS];        /* n_steps are set */
};

#ifdef __cplusplus
}
#endif
#endif

/*
 * Augmentation pipelines: random choices, in a fixed order of draws, over the
 * operations of pixels.h.
 *
 * crop -> flip -> jitter -> grey -> blur -> solarise -> policy -> normalise -> erase.
 * All randomness of one view comes from one Philox sequence named by (seed, epoch, image, view), so a
 * view never depends on which thread makes it, or when. Choices as in torchvision
 * (RandomResizedCrop, ColorJitter) and BYOL/BossNAS (blur, solarise).
 */
#include "data/augment.h"
#include "data/augment_policy.h"

#include <bosskit/random.h>

#include <math.h>
#include <string.h>

#define SOLARIZE_THRESHOLD 128
#define CROP_TRIES         10

/* ---- named pipelines ------------------------------------------------------------- */

#define IMAGENET_STATS .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 }

/* Self-supervised ImageNet views; BYOL, appendix B, and the BossNAS configs differ in
 * blur and solarise only. */
#define SSL_VIEW(b, s)                                                            \
    {                                                                             \
        .crop = BK_CROP_RESIZED, .area_min = 0.08, .area_max = 1,                 \
        .aspect_min = 3.0 / 4, .aspect_max = 4.0 / 3, .flip = 0.5, .jitter = 0.8, \
        .brightness = 0.4, .contrast = 0.4, .saturation = 0.2, .hue = 0.1,        \
        .grey = 0.2, .blur = (b), .blur_sigma_min = 0.1, .blur_sigma_max = 2,     \
        .solarize = (s), IMAGENET_STATS                                           \
    }

static const struct named_pipeline {
    const char *name;
    struct bk_augment augment;
} pipelines[] = {
    { "cifar",
      { .crop = BK_CROP_PAD,
        .pad = 4,
        .flip = 0.5,
        .mean = { 0.4914, 0.4822, 0.4465 },
        .std = { 0.2023, 0.1994, 0.2010 } } },
    { "imagenet_1", SSL_VIEW(0.1, 0) },
    { "imagenet_2", SSL_VIEW(1, 0.2) },
    { "byol_1", SSL_VIEW(1, 0) },
    { "byol_2", SSL_VIEW(0.1, 0.2) },
    /* Supervised distillation's training images (Li et al. 2020, released code; timm of that
     * time): jitter always, noise boxes of an evenly drawn aspect. */
    { "dna",
      { .crop = BK_CROP_RESIZED,
        .area_min = 0.08,
        .area_max = 1,
        .aspect_min = 3.0 / 4,
        .aspect_max = 4.0 / 3,
        .resample = BK_RESAMPLE_EITHER,
        .flip = 0.5,
        .jitter = 1,
        .brightness = 0.4,
        .contrast = 0.4,
        .saturation = 0.4,
        .erase = 0.5,
        .erase_area_min = 0.02,
        .erase_area_max = 1.0 / 3,
        .erase_aspect = 0.3,
        .erase_tries = 100,
        .erase_even = 1,
        IMAGENET_STATS } },
    { "center", { .crop = BK_CROP_CENTER, .center_ratio = 0.875, IMAGENET_STATS } },
    { "none", { .crop = BK_CROP_NONE, .std = { 1, 1, 1 } } },
};

int bk_augment_named(const char *name, int32_t size, struct bk_augment *out,
                     struct bk_error *err)
{
    const char *names[BK_ARRAY_LEN(pipelines)];
    for (size_t i = 0; i < BK_ARRAY_LEN(pipelines); i++) {
        names[i] = pipelines[i].name;
        if (strcmp(name, pipelines[i].name) != 0)
            continue;
        struct bk_augment a = pipelines[i].augment;
        a.size = size;
        BK_TRY(bk__augment_check(&a, name, err));
        *out = a;
        return BK_OK;
    }
    const char *near = bk_nearest_word(name, names, BK_ARRAY_LEN(names));
    return bk_fail(
        err, BK_ENOTFOUND,
        "no augmentation pipeline '%s'%s%s%s; legal: cifar, imagenet_1, imagenet_2, "
        "byol_1, byol_2, dna, center, none",
        name, near ? ", did you mean '" : "", near ? near : "", near ? "'" : "");
}

/* ---- checks ---------------------------------------------------------------------- */

static int check_range(const char *what, const char *field, double v, double lo,
                       double hi, struct bk_error *err)
{
    if (v >= lo && v <= hi)
        return BK_OK;
    return bk_fail(err, BK_EINVAL, "augmentation '%s': %s %g is outside %g..%g", what,
                   field, v, lo, hi);
}

static int check_crop(const struct bk_augment *a, const char *what,
                      struct bk_error *err)
{
    BK_TRY(check_range(what, "crop", a->crop, BK_CROP_NONE, BK_CROP_CENTER, err));
    BK_TRY(check_range(what, "size", a->size, 1, 8192, err));
    if (a->crop == BK_CROP_PAD)
        BK_TRY(check_range(what, "pad", a->pad, 0, 4096, err));
    if (a->crop == BK_CROP_CENTER)
        BK_TRY(check_range(what, "center_ratio", a->center_ratio, 0.01, 1, err));
    if (a->crop == BK_CROP_RESIZED) {
        BK_TRY(check_range(what, "area_max", a->area_max, 1e-4, 1, err));
        BK_TRY(check_range(what, "area_min", a->area_min, 1e-4, a->area_max, err));
        BK_TRY(check_range(what, "aspect_max", a->aspect_max, 0.01, 100, err));
        BK_TRY(
            check_range(what, "aspect_min", a->aspect_min, 0.01, a->aspect_max, err));
        BK_TRY(check_range(what, "resample", a->resample, BK_RESAMPLE_BICUBIC,
                           BK_RESAMPLE_EITHER, err));
    }
    return BK_OK;
}

static int check_policy(const struct bk_augment *a, const char *what,
                        struct bk_error *err)
{
    BK_TRY(check_range(what, "policy", a->policy, BK_POLICY_NONE, BK_POLICY_AUTO, err));
    BK_TRY(check_range(what, "erase", a->erase, 0, 1, err));
    if (a->policy == BK_POLICY_RAND) {
        BK_TRY(check_range(what, "rand_ops", a->rand_ops, 0, 100, err));
        BK_TRY(check_range(what, "rand_prob", a->rand_prob, 0, 1, err));
        BK_TRY(check_range(what, "rand_magnitude", a->rand_magnitude, 0, 10, err));
        BK_TRY(check_range(what, "rand_std", a->rand_std, 0, 100, err));
    }
    if (a->erase > 0) {
        BK_TRY(check_range(what, "erase_area_max", a->erase_area_max, 0, 1, err));
        BK_TRY(check_range(what, "erase_area_min", a->erase_area_min, 0,
                           a->erase_area_max, err));
        BK_TRY(check_range(what, "erase_aspect", a->erase_aspect, 0.01, 1, err));
        BK_TRY(check_range(what, "erase_tries", a->erase_tries, 0, 1000, err));
        BK_TRY(check_range(what, "erase_even", a->erase_even, 0, 1, err));
    }
    return BK_OK;
}

int bk__augment_check(const struct bk_augment *a, const char *what,
                      struct bk_error *err)
{
    BK_TRY(check_crop(a, what, err));
    const struct {
        const char *field;
        double value, max;
    } rows[] = {
        { "flip", a->flip, 1 },
        { "jitter", a->jitter, 1 },
        { "brightness", a->brightness, 1 },
        { "contrast", a->contrast, 1 },
        { "saturation", a->saturation, 1 },
        { "hue", a->hue, 0.5 },
        { "grey", a->grey, 1 },
        { "blur", a->blur, 1 },
        { "solarize", a->solarize, 1 },
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++)
        BK_TRY(check_range(what, rows[i].field, rows[i].value, 0, rows[i].max, err));
    if (a->blur > 0) {
        BK_TRY(check_range(what, "blur_sigma_max", a->blur_sigma_max, 0, 64, err));
        BK_TRY(check_range(what, "blur_sigma_min", a->blur_sigma_min, 0,
                           a->blur_sigma_max, err));
    }
    BK_TRY(check_policy(a, what, err));
    for (int c = 0; c < 3; c++) {
        BK_TRY(check_range(what, "mean", a->mean[c], -100, 100, err));
        BK_TRY(check_range(what, "std", a->std[c], 1e-6, 1e6, err));
    }
    return BK_OK;
}

/* ---- crops ----------------------------------------------------------------------- */

static double draw_uniform(struct bk_random *r, double lo, double hi)
{
    return lo + (hi - lo) * bk_random_f64(r);
}

static bool draw_chance(struct bk_random *r, double p)
{
    return bk_random_f64(r) < p;
}

struct rect {
    int32_t x, y, w, h;
};

/* torchvision's RandomResizedCrop.get_params: ten tries, then the largest centred crop
 * of a legal aspect. */
static struct rect draw_rect(struct bk_random *r, const struct bk_augment *a, int32_t W,
                             int32_t H)
{
    for (int i = 0; i < CROP_TRIES; i++) {
        double area = (double)W * H * draw_uniform(r, a->area_min, a->area_max);
        double aspect = exp(draw_uniform(r, log(a->aspect_min), log(a->aspect_max)));
        double w = rint(sqrt(area * aspect)), h = rint(sqrt(area / aspect));
        if (w < 1 || w > W || h < 1 || h > H)
            continue;
        struct rect c = { 0, 0, (int32_t)w, (int32_t)h };
        c.y = (int32_t)bk_random_below(r, (uint32_t)(H - c.h) + 1);
        c.x = (int32_t)bk_random_below(r, (uint32_t)(W - c.w) + 1);
        return c;
    }
    struct rect c = { 0, 0, W, H };
    double aspect = (double)W / H;
    if (aspect < a->aspect_min)
        c.h = (int32_t)fmin(H, fmax(1, rint(W / a->aspect_min)));
    else if (aspect > a->aspect_max)
        c.w = (int32_t)fmin(W, fmax(1, rint(H * a->aspect_max)));
    c.x = (W - c.w) / 2;
    c.y = (H - c.h) / 2;
    return c;
}

static int crop_resized(struct bk__scratch *s, const struct bk_augment *a,
                        const struct bk_image *image, struct bk_random *r, uint8_t *out,
                        struct bk_error *err)
{
    struct rect c = draw_rect(r, a, image->width, image->height);
    struct bk__window w = { .stride = (size_t)image->width * 3,
                            .width = c.w,
                            .height = c.h };
    w.rgb = image->rgb + (size_t)c.y * w.stride + (size_t)c.x * 3;
    bool linear = a->resample == BK_RESAMPLE_BILINEAR ||
                  (a->resample == BK_RESAMPLE_EITHER && draw_chance(r, 0.5));
    return linear ? bk__resize_bilinear(s, &w, a->size, a->size, out, err)
                  : bk__resize_bicubic(s, &w, a->size, a->size, out, err);
}

/* Copy the size x size window whose corner is at (x0, y0) of the image; outside the
 * image is black. */
static void copy_window(const struct bk_image *image, int32_t x0, int32_t y0,
                        int32_t size, uint8_t *out)
{
    int32_t lo = x0 < 0 ? -x0 : 0,
            hi = image->width - x0 < size ? image->width - x0 : size;
    size_t line = (size_t)size * 3;
    for (int32_t y = 0; y < size; y++, out += line) {
        int32_t sy = y + y0;
        if (sy < 0 || sy >= image->height || hi <= lo) {
            memset(out, 0, line);
            continue;
        }
        const uint8_t *in =
            image->rgb + ((size_t)sy * (size_t)image->width + (size_t)(lo + x0)) * 3;
        memset(out, 0, (size_t)lo * 3);
        memcpy(out + (size_t)lo * 3, in, (size_t)(hi - lo) * 3);
        memset(out + (size_t)hi * 3, 0, (size_t)(size - hi) * 3);
    }
}

static int crop_pad(const struct bk_augment *a, const struct bk_image *image,
                    struct bk_random *r, uint8_t *out, struct bk_error *err)
{
    int32_t room_x = image->width + 2 * a->pad - a->size;
    int32_t room_y = image->height + 2 * a->pad - a->size;
    if (room_x < 0 || room_y < 0)
        return bk_fail(
            err, BK_ESHAPE,
            "an image of %d x %d pixels padded by %d is smaller than the crop of %d",
            image->width, image->height, a->pad, a->size);
    int32_t y = (int32_t)bk_random_below(r, (uint32_t)room_y + 1) - a->pad;
    int32_t x = (int32_t)bk_random_below(r, (uint32_t)room_x + 1) - a->pad;
    copy_window(image, x, y, a->size, out);
    return BK_OK;
}

/* Short side to floor(size / ratio), then the centre: torchvision's Resize and
 * CenterCrop. */
static int crop_center(struct bk__scratch *s, const struct bk_augment *a,
                       const struct bk_image *image, uint8_t *out, struct bk_error *err)
{
    int32_t short_in = image->width < image->height ? image->width : image->height;
    int32_t side = (int32_t)floor(a->size / a->center_ratio + 1e-9);
    int64_t w = (int64_t)side * image->width / short_in;
    int64_t h = (int64_t)side * image->height / short_in;
    if (w > 65535 || h > 65535)
        return bk_fail(err, BK_ESHAPE,
                       "an image of %d x %d pixels is too thin to be resized",
                       image->width, image->height);
    struct bk_image mid = { .width = (int32_t)w, .height = (int32_t)h };
    uint8_t *p = bk__buffer_get(&s->image, (size_t)(w * h) * 3);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing an image");
    const struct bk__window all = { image->rgb, (size_t)image->width * 3, image->width,
                                    image->height };
    BK_TRY(bk__resize_bicubic(s, &all, mid.width, mid.height, p, err));
    mid.rgb = p;
    copy_window(&mid, (int32_t)rint((double)(w - a->size) / 2),
                (int32_t)rint((double)(h - a->size) / 2), a->size, out);
    return BK_OK;
}

static int crop(struct bk__scratch *s, const struct bk_augment *a,
                const struct bk_image *image, struct bk_random *r, uint8_t *out,
                struct bk_error *err)
{
    switch (a->crop) {
    case BK_CROP_PAD:
        return crop_pad(a, image, r, out, err);
    case BK_CROP_RESIZED:
        return crop_resized(s, a, image, r, out, err);
    case BK_CROP_CENTER:
        return crop_center(s, a, image, out, err);
    default:
        if (image->width != a->size || image->height != a->size)
            return bk_fail(err, BK_ESHAPE,
                           "an image of %d x %d pixels needs a crop to become %d x %d",
                           image->width, image->height, a->size, a->size);
        memcpy(out, image->rgb, (size_t)a->size * (size_t)a->size * 3);
        return BK_OK;
    }
}

/* ---- the rest -------------------------------------------------------------------- */

static void flip(uint8_t *p, int32_t size)
{
    for (int32_t y = 0; y < size; y++, p += (size_t)size * 3)
        for (uint8_t *l = p, *r = p + ((size_t)size - 1) * 3; l < r; l += 3, r -= 3)
            for (int c = 0; c < 3; c++) {
                uint8_t v = l[c];
                l[c] = r[c];
                r[c] = v;
            }
}

/* All four factors are drawn whether used or not: what follows does not depend on the
 * strengths. */
static void jitter(const struct bk_augment *a, struct bk_random *r, uint8_t *p,
                   size_t n)
{
    uint32_t order[4];
    bk_random_permutation(r, 4, order);
    double brightness = draw_uniform(r, 1 - a->brightness, 1 + a->brightness);
    double contrast = draw_uniform(r, 1 - a->contrast, 1 + a->contrast);
    double saturation = draw_uniform(r, 1 - a->saturation, 1 + a->saturation);
    double hue = draw_uniform(r, -a->hue, a->hue);
    for (int i = 0; i < 4; i++) {
        if (order[i] == 0 && a->brightness > 0)
            bk__adjust_brightness(p, n, (float)brightness);
        if (order[i] == 1 && a->contrast > 0)
            bk__adjust_contrast(p, n, (float)contrast);
        if (order[i] == 2 && a->saturation > 0)
            bk__adjust_saturation(p, n, (float)saturation);
        if (order[i] == 3 && a->hue > 0)
            bk__adjust_hue(p, n, hue);
    }
}

static int recolor(struct bk__scratch *s, const struct bk_augment *a,
                   struct bk_random *r, uint8_t *p, struct bk_error *err)
{
    size_t n = (size_t)a->size * (size_t)a->size;
    if (a->jitter > 0 && draw_chance(r, a->jitter))
        jitter(a, r, p, n);
    if (a->grey > 0 && draw_chance(r, a->grey))
        bk__to_grey(p, n);
    if (a->blur > 0 && draw_chance(r, a->blur)) {
        double sigma = draw_uniform(r, a->blur_sigma_min, a->blur_sigma_max);
        BK_TRY(bk__gaussian_blur(s, p, a->size, a->size, (float)sigma, err));
    }
    if (a->solarize > 0 && draw_chance(r, a->solarize))
        bk__solarize(p, n, SOLARIZE_THRESHOLD);
    return BK_OK;
}

/* In single precision as torchvision: v / 255, minus mean, over std. */
static void make_table(struct bk__scratch *s, const struct bk_augment *a)
{
    const double stats[6] = { a->mean[0], a->mean[1], a->mean[2],
                              a->std[0],  a->std[1],  a->std[2] };
    if (memcmp(stats, s->stats, sizeof stats) == 0)
        return;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            s->table[c][v] = ((float)v / 255.0f - (float)a->mean[c]) / (float)a->std[c];
    memcpy(s->stats, stats, sizeof stats);
}

static void normalize(struct bk__scratch *s, const struct bk_augment *a,
                      const uint8_t *p, float *out)
{
    size_t n = (size_t)a->size * (size_t)a->size;
    make_table(s, a);
    for (size_t i = 0; i < n; i++, p += 3, out += 3) {
        out[0] = s->table[0][p[0]];
        out[1] = s->table[1][p[1]];
        out[2] = s->table[2][p[2]];
    }
}

int bk__augment_run(struct bk__scratch *s, const struct bk_augment *a,
                    const struct bk_image *image, uint64_t seed, uint32_t epoch,
                    uint32_t image_number, uint32_t view, float *out,
                    struct bk_error *err)
{
    struct bk_random r;
    size_t nbytes = (size_t)a->size * (size_t)a->size * 3;
    uint8_t *p = bk__buffer_get(&s->pixels, nbytes);

    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory for an image of %d pixels",
                       a->size);
    bk_random_init(&r, seed, bk_random_stream("augment"), (uint64_t)view << 32 | epoch,
                   image_number);
    BK_TRY(crop(s, a, image, &r, p, err));
    if (a->flip > 0 && draw_chance(&r, a->flip))
        flip(p, a->size);
    BK_TRY(recolor(s, a, &r, p, err));
    BK_TRY(bk__policy_run(s, a, &r, p, err));
    normalize(s, a, p, out);
    if (a->erase > 0)
        bk__random_erase(a, &r, out);
    return BK_OK;
}

int bk_augment_apply(const struct bk_augment *a, const struct bk_image *image,
                     uint64_t seed, uint32_t epoch, uint32_t image_number,
                     uint32_t view, float *out, struct bk_error *err)
{
    struct bk__scratch s = { 0 };
    int rc = bk__augment_check(a, "view", err);
    if (rc == BK_OK)
        rc = bk__augment_run(&s, a, image, seed, epoch, image_number, view, out, err);
    bk__scratch_release(&s);
    return rc;
}

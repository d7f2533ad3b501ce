/*
 * Augmentation pipelines: their names, what their fields may be, and one image through
 * a pipeline: decisions (view_plan.c), then pixels (view_make.c).
 */
#include "data/augment.h"

#include <string.h>

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
        BK_TRY(check_range(what, "rand_ops", a->rand_ops, 0, BK__MAX_RAND_OPS, err));
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

/* ---- applying -------------------------------------------------------------------- */

int bk__augment_run(struct bk__scratch *s, const struct bk_augment *a,
                    const struct bk_image *image, uint64_t seed, uint32_t epoch,
                    uint32_t image_number, uint32_t view, float *out,
                    struct bk_error *err)
{
    struct bk_view_plan plan;
    BK_TRY(bk__view_decide(a, image, seed, epoch, image_number, view, &plan, err));
    return bk__view_make(s, &plan, out, err);
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

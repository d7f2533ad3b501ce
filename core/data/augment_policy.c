/*
 * Which operations an image gets under RandAugment (Cubuk et al. 2020) and AutoAugment
 * (Cubuk et al. 2019), and random erasing (Zhong et al. 2020), in the form timm gives
 * them and the published recipes use: operations, level functions and order of
 * decisions are timm's, the random numbers are ours. The pixels are pixels_*.c's.
 */
#include "data/augment_policy.h"

#include <math.h>
#include <string.h>

#define MAX_LEVEL     10.0
#define ERASE_TRIES   10
#define ADD_THRESHOLD 128

/* ---- operations ------------------------------------------------------------------ */

enum action {
    AUTOCONTRAST, EQUALIZE, INVERT, ROTATE, POSTERIZE, SOLARIZE, SOLARIZE_ADD, COLOR,
    CONTRAST, BRIGHTNESS, SHARPNESS, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y
};

/* How a magnitude becomes an argument. "Increasing": 0 changes least. */
enum level {
    NO_LEVEL, DEGREES, BITS, BITS_INCREASING, THRESHOLD, THRESHOLD_INCREASING, ADDEND,
    FACTOR, FACTOR_INCREASING, SLOPE, SHARE
};

enum op {
    OP_AUTOCONTRAST, OP_EQUALIZE, OP_INVERT, OP_ROTATE, OP_POSTERIZE_INC,
    OP_SOLARIZE_INC, OP_SOLARIZE_ADD, OP_COLOR_INC, OP_CONTRAST_INC, OP_BRIGHTNESS_INC,
    OP_SHARPNESS_INC, OP_SHEAR_X, OP_SHEAR_Y, OP_TRANSLATE_X, OP_TRANSLATE_Y,
    N_RAND_OPS,
    OP_POSTERIZE = N_RAND_OPS, OP_SOLARIZE, OP_COLOR,
    N_OPS
};

/* The first N_RAND_OPS are what RandAugment draws from. */
static const struct {
    const char *name;
    enum action action;
    enum level level;
} ops[N_OPS] = {
    [OP_AUTOCONTRAST] = { "AutoContrast", AUTOCONTRAST, NO_LEVEL },
    [OP_EQUALIZE] = { "Equalize", EQUALIZE, NO_LEVEL },
    [OP_INVERT] = { "Invert", INVERT, NO_LEVEL },
    [OP_ROTATE] = { "Rotate", ROTATE, DEGREES },
    [OP_POSTERIZE_INC] = { "PosterizeIncreasing", POSTERIZE, BITS_INCREASING },
    [OP_SOLARIZE_INC] = { "SolarizeIncreasing", SOLARIZE, THRESHOLD_INCREASING },
    [OP_SOLARIZE_ADD] = { "SolarizeAdd", SOLARIZE_ADD, ADDEND },
    [OP_COLOR_INC] = { "ColorIncreasing", COLOR, FACTOR_INCREASING },
    [OP_CONTRAST_INC] = { "ContrastIncreasing", CONTRAST, FACTOR_INCREASING },
    [OP_BRIGHTNESS_INC] = { "BrightnessIncreasing", BRIGHTNESS, FACTOR_INCREASING },
    [OP_SHARPNESS_INC] = { "SharpnessIncreasing", SHARPNESS, FACTOR_INCREASING },
    [OP_SHEAR_X] = { "ShearX", SHEAR_X, SLOPE },
    [OP_SHEAR_Y] = { "ShearY", SHEAR_Y, SLOPE },
    [OP_TRANSLATE_X] = { "TranslateXRel", TRANSLATE_X, SHARE },
    [OP_TRANSLATE_Y] = { "TranslateYRel", TRANSLATE_Y, SHARE },
    [OP_POSTERIZE] = { "Posterize", POSTERIZE, BITS },
    [OP_SOLARIZE] = { "Solarize", SOLARIZE, THRESHOLD },
    [OP_COLOR] = { "Color", COLOR, FACTOR },
};

int bk__policy_op(const char *name)
{
    for (int i = 0; i < N_OPS; i++)
        if (!strcmp(ops[i].name, name))
            return i;
    return -1;
}

static double argument(enum level level, double magnitude, bool negate)
{
    double share = magnitude / MAX_LEVEL, sign = negate ? -1 : 1;
    switch (level) {
    case DEGREES:
        return sign * (share * 30.0);
    case BITS:
        return (int)(share * 4);
    case BITS_INCREASING:
        return 4 - (int)(share * 4);
    case THRESHOLD:
        return (int)(share * 256);
    case THRESHOLD_INCREASING:
        return 256 - (int)(share * 256);
    case ADDEND:
        return (int)(share * 110);
    case FACTOR:
        return share * 1.8 + 0.1;
    case FACTOR_INCREASING:
        return fmax(0.1, 1.0 + sign * (share * .9));
    case SLOPE:
        return sign * (share * 0.3);
    case SHARE:
        return sign * (share * 0.45);
    default:
        return 0;
    }
}

static int move(struct bk__scratch *s, enum action action, double v,
                const uint8_t fill[3], uint8_t *p, int32_t width, int32_t height,
                struct bk_error *err)
{
    double m[6] = { 1, 0, 0, 0, 1, 0 };
    if (action == ROTATE)
        bk__rotation(v, width, height, m);
    else if (action == SHEAR_X)
        m[1] = v;
    else if (action == SHEAR_Y)
        m[3] = v;
    else if (action == TRANSLATE_X)
        m[2] = v * width;
    else
        m[5] = v * height;
    return bk__affine_bicubic(s, p, width, height, m, fill, err);
}

int bk__policy_apply(struct bk__scratch *s, int op, double magnitude, bool negate,
                     const uint8_t fill[3], uint8_t *p, int32_t width, int32_t height,
                     struct bk_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    double v = argument(ops[op].level, magnitude, negate);

    switch (ops[op].action) {
    case AUTOCONTRAST:
        bk__autocontrast(p, n);
        return BK_OK;
    case EQUALIZE:
        bk__equalize(p, n);
        return BK_OK;
    case INVERT:
        bk__invert(p, n);
        return BK_OK;
    case POSTERIZE:
        bk__posterize(p, n, (int)v);
        return BK_OK;
    case SOLARIZE:
        bk__solarize(p, n, (int)v);
        return BK_OK;
    case SOLARIZE_ADD:
        bk__solarize_add(p, n, (int)v, ADD_THRESHOLD);
        return BK_OK;
    case COLOR:
        bk__adjust_saturation(p, n, (float)v);
        return BK_OK;
    case CONTRAST:
        bk__adjust_contrast(p, n, (float)v);
        return BK_OK;
    case BRIGHTNESS:
        bk__adjust_brightness(p, n, (float)v);
        return BK_OK;
    case SHARPNESS:
        return bk__adjust_sharpness(s, p, width, height, (float)v, err);
    default:
        return move(s, ops[op].action, v, fill, p, width, height, err);
    }
}

/* ---- policies -------------------------------------------------------------------- */

struct step {
    uint8_t op;
    double prob, magnitude;
};

/* AutoAugment on ImageNet as EfficientNet's TPU training code has it ("v0" in timm):
 * 25 pairs, one is drawn for an image. */
static const struct step autoaugment[25][2] = {
    { { OP_EQUALIZE, 0.8, 1 }, { OP_SHEAR_Y, 0.8, 4 } },
    { { OP_COLOR, 0.4, 9 }, { OP_EQUALIZE, 0.6, 3 } },
    { { OP_COLOR, 0.4, 1 }, { OP_ROTATE, 0.6, 8 } },
    { { OP_SOLARIZE, 0.8, 3 }, { OP_EQUALIZE, 0.4, 7 } },
    { { OP_SOLARIZE, 0.4, 2 }, { OP_SOLARIZE, 0.6, 2 } },
    { { OP_COLOR, 0.2, 0 }, { OP_EQUALIZE, 0.8, 8 } },
    { { OP_EQUALIZE, 0.4, 8 }, { OP_SOLARIZE_ADD, 0.8, 3 } },
    { { OP_SHEAR_X, 0.2, 9 }, { OP_ROTATE, 0.6, 8 } },
    { { OP_COLOR, 0.6, 1 }, { OP_EQUALIZE, 1.0, 2 } },
    { { OP_INVERT, 0.4, 9 }, { OP_ROTATE, 0.6, 0 } },
    { { OP_EQUALIZE, 1.0, 9 }, { OP_SHEAR_Y, 0.6, 3 } },
    { { OP_COLOR, 0.4, 7 }, { OP_EQUALIZE, 0.6, 0 } },
    { { OP_POSTERIZE, 0.4, 6 }, { OP_AUTOCONTRAST, 0.4, 7 } },
    { { OP_SOLARIZE, 0.6, 8 }, { OP_COLOR, 0.6, 9 } },
    { { OP_SOLARIZE, 0.2, 4 }, { OP_ROTATE, 0.8, 9 } },
    { { OP_ROTATE, 1.0, 7 }, { OP_TRANSLATE_Y, 0.8, 9 } },
    { { OP_SHEAR_X, 0.0, 0 }, { OP_SOLARIZE, 0.8, 4 } },
    { { OP_SHEAR_Y, 0.8, 0 }, { OP_COLOR, 0.6, 4 } },
    { { OP_COLOR, 1.0, 0 }, { OP_ROTATE, 0.6, 2 } },
    { { OP_EQUALIZE, 0.8, 4 }, { OP_EQUALIZE, 0.0, 8 } },
    { { OP_EQUALIZE, 1.0, 4 }, { OP_AUTOCONTRAST, 0.6, 2 } },
    { { OP_SHEAR_Y, 0.4, 7 }, { OP_SOLARIZE_ADD, 0.6, 7 } },
    { { OP_POSTERIZE, 0.8, 2 }, { OP_SOLARIZE, 0.6, 10 } },
    { { OP_SOLARIZE, 0.6, 8 }, { OP_EQUALIZE, 0.6, 1 } },
    { { OP_COLOR, 0.8, 6 }, { OP_ROTATE, 0.4, 5 } },
};

/* Where an operation moves the picture away: the mean colour, as timm. */
static void fill_color(const struct bk_augment *a, uint8_t fill[3])
{
    for (int c = 0; c < 3; c++) {
        double v = rint(255 * a->mean[c]);
        fill[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* RandAugment draws magnitudes anew for every application; AutoAugment's are fixed. The
 * same draws are made whether the operation is applied or uses them. */
static int draw_and_apply(struct bk__scratch *s, const struct bk_augment *a,
                          struct bk_random *r, const struct step *step, double std,
                          uint8_t *p, struct bk_error *err)
{
    uint8_t fill[3];
    bool apply = bk_random_f64(r) < step->prob;
    double magnitude = step->magnitude + std * bk_random_normal(r);
    bool negate = bk_random_f64(r) < 0.5;

    if (!apply)
        return BK_OK;
    fill_color(a, fill);
    magnitude = magnitude < 0 ? 0 : magnitude > MAX_LEVEL ? MAX_LEVEL : magnitude;
    return bk__policy_apply(s, step->op, magnitude, negate, fill, p, a->size, a->size,
                            err);
}

int bk__policy_run(struct bk__scratch *s, const struct bk_augment *a,
                   struct bk_random *r, uint8_t *p, struct bk_error *err)
{
    if (a->policy == BK_POLICY_AUTO) {
        const struct step *pair = autoaugment[bk_random_below(r, 25)];
        BK_TRY(draw_and_apply(s, a, r, &pair[0], 0, p, err));
        BK_TRY(draw_and_apply(s, a, r, &pair[1], 0, p, err));
    }
    for (int32_t i = 0; a->policy == BK_POLICY_RAND && i < a->rand_ops; i++) {
        const struct step step = { (uint8_t)bk_random_below(r, N_RAND_OPS),
                                   a->rand_prob, a->rand_magnitude };
        BK_TRY(draw_and_apply(s, a, r, &step, a->rand_std, p, err));
    }
    return BK_OK;
}

/* ---- erasing --------------------------------------------------------------------- */

static double uniform(struct bk_random *r, double lo, double hi)
{
    return lo + (hi - lo) * bk_random_f64(r);
}

/* Both values of each Box-Muller pair (1958): noise is most of what erasing costs. */
static void fill_noise(struct bk_random *r, float *p, int32_t n)
{
    for (int32_t k = 0; k < n; k += 2) {
        double radius = sqrt(-2.0 * log(1.0 - bk_random_f64(r)));
        double angle = 6.283185307179586476925 * bk_random_f64(r);
        p[k] = (float)(radius * cos(angle));
        if (k + 1 < n)
            p[k + 1] = (float)(radius * sin(angle));
    }
}

void bk__random_erase(const struct bk_augment *a, struct bk_random *r, float *out)
{
    int32_t size = a->size;
    if (bk_random_f64(r) >= a->erase)
        return;
    int32_t tries = a->erase_tries ? a->erase_tries : ERASE_TRIES;
    for (int32_t i = 0; i < tries; i++) {
        double area =
            (double)size * size * uniform(r, a->erase_area_min, a->erase_area_max);
        double least = a->erase_aspect, edge = log(least);
        double aspect = a->erase_even ? uniform(r, least, 1 / least)
                                      : exp(uniform(r, edge, -edge));
        double dh = rint(sqrt(area * aspect)), dw = rint(sqrt(area / aspect));
        if (dh >= size || dw >= size)
            continue;
        int32_t h = (int32_t)dh, w = (int32_t)dw;
        int32_t y0 = (int32_t)bk_random_below(r, (uint32_t)(size - h) + 1);
        int32_t x0 = (int32_t)bk_random_below(r, (uint32_t)(size - w) + 1);
        for (int32_t y = y0; y < y0 + h; y++)
            fill_noise(r, out + ((size_t)y * (size_t)size + (size_t)x0) * 3, 3 * w);
        return;
    }
}

/*
 * Which operations an image gets under RandAugment (Cubuk et al. 2020) and AutoAugment
 * (Cubuk et al. 2019), and random erasing (Zhong et al. 2020), in the form timm gives
 * them and the published recipes use: operations, level functions and order of
 * decisions are timm's, the random numbers are ours. Here is what to do; view_make.c does
 * it.
 */
#include "data/augment_policy.h"
#include "data/pixels.h"

#include <math.h>
#include <string.h>

#define MAX_LEVEL   10.0
#define ERASE_TRIES 10

/* ---- operations ------------------------------------------------------------------ */

/* Maps that BK_VIEW_AFFINE takes. */
enum map { ROTATE = 1, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y };

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
    enum bk_view_op op;
    enum level level;
    enum map map;
} ops[N_OPS] = {
    [OP_AUTOCONTRAST] = { "AutoContrast", BK_VIEW_AUTOCONTRAST, NO_LEVEL, 0 },
    [OP_EQUALIZE] = { "Equalize", BK_VIEW_EQUALIZE, NO_LEVEL, 0 },
    [OP_INVERT] = { "Invert", BK_VIEW_INVERT, NO_LEVEL, 0 },
    [OP_ROTATE] = { "Rotate", BK_VIEW_AFFINE, DEGREES, ROTATE },
    [OP_POSTERIZE_INC] = { "PosterizeIncreasing", BK_VIEW_POSTERIZE, BITS_INCREASING, 0 },
    [OP_SOLARIZE_INC] = { "SolarizeIncreasing", BK_VIEW_SOLARIZE, THRESHOLD_INCREASING, 0 },
    [OP_SOLARIZE_ADD] = { "SolarizeAdd", BK_VIEW_SOLARIZE_ADD, ADDEND, 0 },
    [OP_COLOR_INC] = { "ColorIncreasing", BK_VIEW_SATURATION, FACTOR_INCREASING, 0 },
    [OP_CONTRAST_INC] = { "ContrastIncreasing", BK_VIEW_CONTRAST, FACTOR_INCREASING, 0 },
    [OP_BRIGHTNESS_INC] = { "BrightnessIncreasing", BK_VIEW_BRIGHTNESS, FACTOR_INCREASING, 0 },
    [OP_SHARPNESS_INC] = { "SharpnessIncreasing", BK_VIEW_SHARPNESS, FACTOR_INCREASING, 0 },
    [OP_SHEAR_X] = { "ShearX", BK_VIEW_AFFINE, SLOPE, SHEAR_X },
    [OP_SHEAR_Y] = { "ShearY", BK_VIEW_AFFINE, SLOPE, SHEAR_Y },
    [OP_TRANSLATE_X] = { "TranslateXRel", BK_VIEW_AFFINE, SHARE, TRANSLATE_X },
    [OP_TRANSLATE_Y] = { "TranslateYRel", BK_VIEW_AFFINE, SHARE, TRANSLATE_Y },
    [OP_POSTERIZE] = { "Posterize", BK_VIEW_POSTERIZE, BITS, 0 },
    [OP_SOLARIZE] = { "Solarize", BK_VIEW_SOLARIZE, THRESHOLD, 0 },
    [OP_COLOR] = { "Color", BK_VIEW_SATURATION, FACTOR, 0 },
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

static void make_map(enum map map, double v, int32_t width, int32_t height, double m[6])
{
    const double identity[6] = { 1, 0, 0, 0, 1, 0 };
    memcpy(m, identity, sizeof identity);
    if (map == ROTATE)
        bk__rotation(v, width, height, m);
    else if (map == SHEAR_X)
        m[1] = v;
    else if (map == SHEAR_Y)
        m[3] = v;
    else if (map == TRANSLATE_X)
        m[2] = v * width;
    else
        m[5] = v * height;
}

void bk__policy_step(int op, double magnitude, bool negate, int32_t width,
                     int32_t height, struct bk_view_step *out)
{
    double v = argument(ops[op].level, magnitude, negate);
    *out = (struct bk_view_step){ .op = ops[op].op };
    switch (out->op) {
    case BK_VIEW_POSTERIZE:
    case BK_VIEW_SOLARIZE:
    case BK_VIEW_SOLARIZE_ADD:
        out->level = (int32_t)v;
        break;
    case BK_VIEW_AFFINE:
        make_map(ops[op].map, v, width, height, out->map);
        break;
    default:
        out->amount = v;
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

/* RandAugment draws magnitudes anew for every application; AutoAugment's are fixed. The
 * same draws are made whether the operation is applied or uses them. */
static void draw_step(struct bk_random *r, const struct step *step, double std,
                      struct bk_view_plan *plan)
{
    bool apply = bk_random_f64(r) < step->prob;
    double magnitude = step->magnitude + std * bk_random_normal(r);
    bool negate = bk_random_f64(r) < 0.5;

    if (!apply)
        return;
    magnitude = magnitude < 0 ? 0 : magnitude > MAX_LEVEL ? MAX_LEVEL : magnitude;
    bk__policy_step(step->op, magnitude, negate, plan->size, plan->size,
                    &plan->step[plan->n_steps++]);
}

void bk__policy_decide(const struct bk_augment *a, struct bk_random *r,
                       struct bk_view_plan *plan)
{
    if (a->policy == BK_POLICY_AUTO) {
        const struct step *pair = autoaugment[bk_random_below(r, 25)];
        draw_step(r, &pair[0], 0, plan);
        draw_step(r, &pair[1], 0, plan);
    }
    for (int32_t i = 0; a->policy == BK_POLICY_RAND && i < a->rand_ops; i++) {
        const struct step step = { (uint8_t)bk_random_below(r, N_RAND_OPS),
                                   a->rand_prob, a->rand_magnitude };
        draw_step(r, &step, a->rand_std, plan);
    }
}

/* ---- erasing --------------------------------------------------------------------- */

static double uniform(struct bk_random *r, double lo, double hi)
{
    return lo + (hi - lo) * bk_random_f64(r);
}

void bk__erase_decide(const struct bk_augment *a, struct bk_random *r,
                      struct bk_view_plan *plan)
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
        plan->erase_height = (int32_t)dh;
        plan->erase_width = (int32_t)dw;
        plan->erase_y = (int32_t)bk_random_below(r, (uint32_t)(size - (int32_t)dh) + 1);
        plan->erase_x = (int32_t)bk_random_below(r, (uint32_t)(size - (int32_t)dw) + 1);
        return;
    }
}

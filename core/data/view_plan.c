/*
 * Deciding what is done to an image: random choices in a fixed order of draws.
 *
 * crop -> flip -> jitter -> grey -> blur -> solarise -> policy -> erase. All randomness
 * of one view comes from one Philox sequence named by (seed, epoch, image, view), so a
 * view never depends on which thread or device makes it, or when. Choices as in
 * torchvision (RandomResizedCrop, ColorJitter) and BYOL/BossNAS (blur, solarise).
 * Pixels are not touched here: view_make.c.
 */
#include "data/augment.h"
#include "data/augment_policy.h"

#include <math.h>

#define SOLARIZE_THRESHOLD 128
#define CROP_TRIES         10

static double draw_uniform(struct bk_random *r, double lo, double hi)
{
    return lo + (hi - lo) * bk_random_f64(r);
}

static bool draw_chance(struct bk_random *r, double p)
{
    return bk_random_f64(r) < p;
}

/* ---- crops ----------------------------------------------------------------------- */

static void set_window(struct bk_view_plan *p, int32_t x, int32_t y, int32_t width,
                       int32_t height)
{
    p->x = x;
    p->y = y;
    p->width = width;
    p->height = height;
}

/* torchvision's RandomResizedCrop.get_params: ten tries, then the largest centred crop
 * of a legal aspect. */
static void draw_window(struct bk_random *r, const struct bk_augment *a, int32_t W,
                        int32_t H, struct bk_view_plan *p)
{
    for (int i = 0; i < CROP_TRIES; i++) {
        double area = (double)W * H * draw_uniform(r, a->area_min, a->area_max);
        double aspect = exp(draw_uniform(r, log(a->aspect_min), log(a->aspect_max)));
        double w = rint(sqrt(area * aspect)), h = rint(sqrt(area / aspect));
        if (w < 1 || w > W || h < 1 || h > H)
            continue;
        int32_t y = (int32_t)bk_random_below(r, (uint32_t)(H - (int32_t)h) + 1);
        int32_t x = (int32_t)bk_random_below(r, (uint32_t)(W - (int32_t)w) + 1);
        set_window(p, x, y, (int32_t)w, (int32_t)h);
        return;
    }
    int32_t w = W, h = H;
    double aspect = (double)W / H;
    if (aspect < a->aspect_min)
        h = (int32_t)fmin(H, fmax(1, rint(W / a->aspect_min)));
    else if (aspect > a->aspect_max)
        w = (int32_t)fmin(W, fmax(1, rint(H * a->aspect_max)));
    set_window(p, (W - w) / 2, (H - h) / 2, w, h);
}

static int crop_pad(const struct bk_augment *a, struct bk_random *r,
                    struct bk_view_plan *p, struct bk_error *err)
{
    const struct bk_image *image = &p->image;
    int32_t room_x = image->width + 2 * a->pad - a->size;
    int32_t room_y = image->height + 2 * a->pad - a->size;
    if (room_x < 0 || room_y < 0)
        return bk_fail(
            err, BK_ESHAPE,
            "an image of %d x %d pixels padded by %d is smaller than the crop of %d",
            image->width, image->height, a->pad, a->size);
    p->top = (int32_t)bk_random_below(r, (uint32_t)room_y + 1) - a->pad;
    p->left = (int32_t)bk_random_below(r, (uint32_t)room_x + 1) - a->pad;
    return BK_OK;
}

/* Short side to floor(size / ratio), then the centre: torchvision's Resize and
 * CenterCrop. */
static int crop_center(const struct bk_augment *a, struct bk_view_plan *p,
                       struct bk_error *err)
{
    const struct bk_image *image = &p->image;
    int32_t short_in = image->width < image->height ? image->width : image->height;
    int32_t side = (int32_t)floor(a->size / a->center_ratio + 1e-9);
    int64_t w = (int64_t)side * image->width / short_in;
    int64_t h = (int64_t)side * image->height / short_in;
    if (w > 65535 || h > 65535)
        return bk_fail(err, BK_ESHAPE,
                       "an image of %d x %d pixels is too thin to be resized",
                       image->width, image->height);
    p->resized_width = (int32_t)w;
    p->resized_height = (int32_t)h;
    p->left = (int32_t)rint((double)(w - a->size) / 2);
    p->top = (int32_t)rint((double)(h - a->size) / 2);
    return BK_OK;
}

static int crop(const struct bk_augment *a, struct bk_random *r, struct bk_view_plan *p,
                struct bk_error *err)
{
    const struct bk_image *image = &p->image;
    set_window(p, 0, 0, image->width, image->height);
    p->resized_width = image->width;
    p->resized_height = image->height;
    switch (a->crop) {
    case BK_CROP_PAD:
        return crop_pad(a, r, p, err);
    case BK_CROP_RESIZED:
        draw_window(r, a, image->width, image->height, p);
        p->resized_width = p->resized_height = a->size;
        p->linear = a->resample == BK_RESAMPLE_BILINEAR ||
                    (a->resample == BK_RESAMPLE_EITHER && draw_chance(r, 0.5));
        return BK_OK;
    case BK_CROP_CENTER:
        return crop_center(a, p, err);
    default:
        if (image->width != a->size || image->height != a->size)
            return bk_fail(err, BK_ESHAPE,
                           "an image of %d x %d pixels needs a crop to become %d x %d",
                           image->width, image->height, a->size, a->size);
        return BK_OK;
    }
}

/* ---- colours --------------------------------------------------------------------- */

static void add_step(struct bk_view_plan *p, uint32_t op, int32_t level, double amount)
{
    p->step[p->n_steps++] =
        (struct bk_view_step){ .op = op, .level = level, .amount = amount };
}

/* All four factors are drawn whether used or not: what follows does not depend on the
 * strengths. */
static void jitter(const struct bk_augment *a, struct bk_random *r,
                   struct bk_view_plan *p)
{
    static const uint32_t op[4] = { BK_VIEW_BRIGHTNESS, BK_VIEW_CONTRAST,
                                    BK_VIEW_SATURATION, BK_VIEW_HUE };
    const double strength[4] = { a->brightness, a->contrast, a->saturation, a->hue };
    double amount[4];
    uint32_t order[4];
    bk_random_permutation(r, 4, order);
    for (int i = 0; i < 3; i++)
        amount[i] = draw_uniform(r, 1 - strength[i], 1 + strength[i]);
    amount[3] = draw_uniform(r, -a->hue, a->hue);
    for (int i = 0; i < 4; i++)
        if (strength[order[i]] > 0)
            add_step(p, op[order[i]], 0, amount[order[i]]);
}

static void recolor(const struct bk_augment *a, struct bk_random *r,
                    struct bk_view_plan *p)
{
    if (a->jitter > 0 && draw_chance(r, a->jitter))
        jitter(a, r, p);
    if (a->grey > 0 && draw_chance(r, a->grey))
        add_step(p, BK_VIEW_GREY, 0, 0);
    if (a->blur > 0 && draw_chance(r, a->blur))
        add_step(p, BK_VIEW_BLUR, 0,
                 draw_uniform(r, a->blur_sigma_min, a->blur_sigma_max));
    if (a->solarize > 0 && draw_chance(r, a->solarize))
        add_step(p, BK_VIEW_SOLARIZE, SOLARIZE_THRESHOLD, 0);
}

/* ---- all ------------------------------------------------------------------------- */

/* The fill is the mean colour, as timm. */
static void set_colors(const struct bk_augment *a, struct bk_view_plan *p)
{
    for (int c = 0; c < 3; c++) {
        double v = rint(255 * a->mean[c]);
        p->fill[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        p->mean[c] = (float)a->mean[c];
        p->std[c] = (float)a->std[c];
    }
    p->fill[3] = 0;
}

int bk__view_decide(const struct bk_augment *a, const struct bk_image *image,
                    uint64_t seed, uint32_t epoch, uint32_t image_number, uint32_t view,
                    struct bk_view_plan *p, struct bk_error *err)
{
    struct bk_random r;

    p->image = *image;
    p->size = a->size;
    p->left = p->top = p->linear = 0;
    p->erase_x = p->erase_y = p->erase_width = p->erase_height = 0;
    p->n_steps = 0;
    set_colors(a, p);
    bk_random_init(&r, seed, bk_random_stream("augment"), (uint64_t)view << 32 | epoch,
                   image_number);
    BK_TRY(crop(a, &r, p, err));
    p->flip = a->flip > 0 && draw_chance(&r, a->flip);
    recolor(a, &r, p);
    bk__policy_decide(a, &r, p);
    if (a->erase > 0)
        bk__erase_decide(a, &r, p);
    p->noise = r;
    return BK_OK;
}

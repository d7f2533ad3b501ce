/*
 * Carrying out a plan on the host: the operations of pixels.h in the plan's order, in
 * 8 bits, then normalising to f32 and erasing. A device does the same from the same
 * plan; nothing is drawn here but the noise of an erased box.
 */
#include "data/augment.h"

#include <bosskit/pixel.h>
#include <string.h>

/* ---- crop and flip --------------------------------------------------------------- */

/* Copy the size x size cut whose corner is at (x0, y0) of the window; outside the window
 * is black. */
static void copy_cut(const struct bk__window *in, int32_t x0, int32_t y0, int32_t size,
                     uint8_t *out)
{
    int32_t lo = x0 < 0 ? -x0 : 0, hi = in->width - x0 < size ? in->width - x0 : size;
    size_t line = (size_t)size * 3;
    for (int32_t y = 0; y < size; y++, out += line) {
        int32_t sy = y + y0;
        if (sy < 0 || sy >= in->height || hi <= lo) {
            memset(out, 0, line);
            continue;
        }
        const uint8_t *from = in->rgb + (size_t)sy * in->stride + (size_t)(lo + x0) * 3;
        memset(out, 0, (size_t)lo * 3);
        memcpy(out + (size_t)lo * 3, from, (size_t)(hi - lo) * 3);
        memset(out + (size_t)hi * 3, 0, (size_t)(size - hi) * 3);
    }
}

static int crop(struct bk__scratch *s, const struct bk_view_plan *p, uint8_t *out,
                struct bk_error *err)
{
    const int32_t w = p->resized_width, h = p->resized_height;
    const size_t stride = (size_t)p->image.width * 3;
    struct bk__window in = { p->image.rgb + (size_t)p->y * stride + (size_t)p->x * 3,
                             stride, p->width, p->height };

    if (w == p->width && h == p->height) {
        copy_cut(&in, p->left, p->top, p->size, out);
        return BK_OK;
    }
    if (w == p->size && h == p->size && !p->left && !p->top)
        return bk__resize(s, p->linear, &in, w, h, out, err);
    uint8_t *whole = bk__buffer_get(&s->image, (size_t)w * (size_t)h * 3);
    if (!whole)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing an image");
    BK_TRY(bk__resize(s, p->linear, &in, w, h, whole, err));
    const struct bk__window resized = { whole, (size_t)w * 3, w, h };
    copy_cut(&resized, p->left, p->top, p->size, out);
    return BK_OK;
}

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

/* ---- steps ----------------------------------------------------------------------- */

int bk__view_step(struct bk__scratch *s, const struct bk_view_step *step,
                  const uint8_t fill[3], uint8_t *p, int32_t width, int32_t height,
                  struct bk_error *err)
{
    size_t n = (size_t)width * (size_t)height;
    const float amount = (float)step->amount;

    switch (step->op) {
    case BK_VIEW_BRIGHTNESS:
        bk__adjust_brightness(p, n, amount);
        return BK_OK;
    case BK_VIEW_CONTRAST:
        bk__adjust_contrast(p, n, amount);
        return BK_OK;
    case BK_VIEW_SATURATION:
        bk__adjust_saturation(p, n, amount);
        return BK_OK;
    case BK_VIEW_HUE:
        bk__adjust_hue(p, n, step->amount);
        return BK_OK;
    case BK_VIEW_GREY:
        bk__to_grey(p, n);
        return BK_OK;
    case BK_VIEW_BLUR:
        return bk__gaussian_blur(s, p, width, height, amount, err);
    case BK_VIEW_SOLARIZE:
        bk__solarize(p, n, step->level);
        return BK_OK;
    case BK_VIEW_AUTOCONTRAST:
        bk__autocontrast(p, n);
        return BK_OK;
    case BK_VIEW_EQUALIZE:
        bk__equalize(p, n);
        return BK_OK;
    case BK_VIEW_INVERT:
        bk__invert(p, n);
        return BK_OK;
    case BK_VIEW_POSTERIZE:
        bk__posterize(p, n, step->level);
        return BK_OK;
    case BK_VIEW_SOLARIZE_ADD:
        bk__solarize_add(p, n, step->level, BK_VIEW_ADD_BELOW);
        return BK_OK;
    case BK_VIEW_SHARPNESS:
        return bk__adjust_sharpness(s, p, width, height, amount, err);
    case BK_VIEW_AFFINE:
        return bk__affine_bicubic(s, p, width, height, step->map, fill, err);
    default:
        return bk_fail(err, BK_EINVAL, "a view has no operation %u", step->op);
    }
}

/* ---- to floats ------------------------------------------------------------------- */

/* For every grey level; kept while pipelines have the same normalisation. */
static void make_table(struct bk__scratch *s, const struct bk_view_plan *p)
{
    const float stats[6] = { p->mean[0], p->mean[1], p->mean[2],
                             p->std[0],  p->std[1],  p->std[2] };
    if (memcmp(stats, s->stats, sizeof stats) == 0)
        return;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            s->table[c][v] = bk_pixel_normalize(v, p->mean[c], p->std[c]);
    memcpy(s->stats, stats, sizeof stats);
}

static void normalize(struct bk__scratch *s, const struct bk_view_plan *plan,
                      const uint8_t *p, float *out)
{
    size_t n = (size_t)plan->size * (size_t)plan->size;
    make_table(s, plan);
    for (size_t i = 0; i < n; i++, p += 3, out += 3) {
        out[0] = s->table[0][p[0]];
        out[1] = s->table[1][p[1]];
        out[2] = s->table[2][p[2]];
    }
}

/* Both values of each pair are used: noise is most of what erasing costs. */
static void fill_noise(struct bk_random *r, float *p, int32_t n)
{
    float dropped;
    for (int32_t k = 0; k < n; k += 2) {
        double u1 = bk_random_f64(r), u2 = bk_random_f64(r);
        bk_pixel_noise(u1, u2, &p[k], k + 1 < n ? &p[k + 1] : &dropped);
    }
}

static void erase(const struct bk_view_plan *p, float *out)
{
    struct bk_random r = p->noise;
    for (int32_t y = p->erase_y; y < p->erase_y + p->erase_height; y++)
        fill_noise(&r, out + ((size_t)y * (size_t)p->size + (size_t)p->erase_x) * 3,
                   3 * p->erase_width);
}

int bk__view_make(struct bk__scratch *s, const struct bk_view_plan *plan, float *out,
                  struct bk_error *err)
{
    uint8_t *p =
        bk__buffer_get(&s->pixels, (size_t)plan->size * (size_t)plan->size * 3);

    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory for an image of %d pixels",
                       plan->size);
    BK_TRY(crop(s, plan, p, err));
    if (plan->flip)
        flip(p, plan->size);
    for (int32_t i = 0; i < plan->n_steps; i++)
        BK_TRY(bk__view_step(s, &plan->step[i], plan->fill, p, plan->size, plan->size,
                             err));
    normalize(s, plan, p, out);
    erase(plan, out);
    return BK_OK;
}

/*
 * Colour operations and blur on 8-bit RGB, bit-exact with Pillow (ImageEnhance,
 * ImageOps, ImageFilter) and hence with torchvision's ColorJitter on Pillow images.
 *
 * One value at a time is <bosskit/pixel.h>'s; here are the loops. Blur: Gwosdek et al.,
 * Theoretical foundations of Gaussian convolution by extended box filtering (SSVM
 * 2011), three passes each way.
 */
#include "data/pixels.h"

#include <bosskit/pixel.h>
#include <string.h>

/* Against one constant a blend is a table. */
static void blend_constant(uint8_t *p, size_t n, int base, float factor)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = bk_pixel_blend(base, v, factor);
    for (size_t i = 0; i < 3 * n; i++)
        p[i] = table[p[i]];
}

void bk__adjust_brightness(uint8_t *p, size_t n, float factor)
{
    blend_constant(p, n, 0, factor);
}

void bk__adjust_contrast(uint8_t *p, size_t n, float factor)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bk_pixel_luma(p + 3 * i);
    blend_constant(p, n, bk_pixel_mean((double)sum, (double)n), factor);
}

void bk__adjust_saturation(uint8_t *p, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++, p += 3) {
        int grey = bk_pixel_luma(p);
        for (int c = 0; c < 3; c++)
            p[c] = bk_pixel_blend(grey, p[c], factor);
    }
}

void bk__to_grey(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++, p += 3)
        p[0] = p[1] = p[2] = bk_pixel_luma(p);
}

void bk__solarize(uint8_t *p, size_t n, int threshold)
{
    for (size_t i = 0; i < 3 * n; i++)
        p[i] = bk_pixel_solarize(p[i], threshold);
}

void bk__adjust_hue(uint8_t *p, size_t n, double shift)
{
    struct bk_hue table[256];
    for (int hue = 0; hue < 256; hue++)
        table[hue] = bk_hue_make(hue, bk_hue_addend(shift));
    for (size_t i = 0; i < n; i++, p += 3)
        bk_pixel_hue(table, p);
}

/* ---- blur ------------------------------------------------------------------------ */

/*
 * One pass along a line of n pixels. `padded` is a copy of the line with radius + 1
 * replicated pixels on each side; `out` may be the line itself.
 */
static void box_across(const uint8_t *padded, uint8_t *out, size_t n,
                       const struct bk_box *b)
{
    size_t reach = 3 * ((size_t)b->radius + 1);
    for (size_t c = 0; c < 3; c++) {
        const uint8_t *p = padded + reach + c;
        uint32_t sum = 0;
        for (size_t k = 3; k < 2 * reach; k += 3)
            sum += p[k - reach];
        for (size_t x = 0; x < 3 * n; x += 3) {
            uint32_t ahead = p[x + reach];
            out[x + c] = bk_box_level(b, sum, ahead + p[x - reach]);
            sum += ahead - p[x + 3 - reach];
        }
    }
}

static void pad_line(const uint8_t *line, size_t n, size_t pad, uint8_t *padded)
{
    for (size_t k = 0; k < pad; k++) {
        memcpy(padded + 3 * k, line, 3);
        memcpy(padded + 3 * (pad + n + k), line + 3 * (n - 1), 3);
    }
    memcpy(padded + 3 * pad, line, 3 * n);
}

/* One pass down all columns at once; `sum` has one entry a byte of a line. */
static void box_down(const uint8_t *in, uint8_t *out, int32_t height, size_t line,
                     const struct bk_box *b, uint32_t *sum)
{
    const int32_t r = b->radius;
#define ROW(y) (in + line * (size_t)((y) < 0 ? 0 : (y) >= height ? height - 1 : (y)))
    memset(sum, 0, line * sizeof *sum);
    for (int32_t y = -r; y <= r; y++)
        for (size_t x = 0; x < line; x++)
            sum[x] += ROW(y)[x];
    for (int32_t y = 0; y < height; y++, out += line) {
        const uint8_t *behind = ROW(y - r - 1), *ahead = ROW(y + r + 1),
                      *drop = ROW(y - r);
        for (size_t x = 0; x < line; x++) {
            out[x] = bk_box_level(b, sum[x], (uint32_t)ahead[x] + behind[x]);
            sum[x] += ahead[x] - (uint32_t)drop[x];
        }
    }
#undef ROW
}

int bk__gaussian_blur(struct bk__scratch *s, uint8_t *p, int32_t width, int32_t height,
                      float sigma, struct bk_error *err)
{
    size_t line = (size_t)width * 3, nbytes = line * (size_t)height;
    struct bk_box b = bk_box_make(sigma);
    if (b.radius < 0)
        return BK_OK;
    size_t pad = (size_t)b.radius + 1;
    uint8_t *other = bk__buffer_get(&s->pass, nbytes);
    uint32_t *room = bk__buffer_get(&s->line, line * sizeof *room + 6 * pad);
    if (!other || !room)
        return bk_fail(err, BK_ENOMEM, "out of memory for blurring an image");
    for (int32_t y = 0; y < height; y++)
        for (int pass = 0; pass < BK_BLUR_PASSES; pass++) {
            uint8_t *at = p + (size_t)y * line;
            pad_line(at, (size_t)width, pad, (uint8_t *)room);
            box_across((const uint8_t *)room, at, (size_t)width, &b);
        }
    box_down(p, other, height, line, &b, room);
    box_down(other, p, height, line, &b, room);
    box_down(p, other, height, line, &b, room);
    memcpy(p, other, nbytes);
    return BK_OK;
}

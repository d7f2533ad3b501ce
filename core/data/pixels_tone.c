/*
 * Tone operations of AutoAugment and RandAugment on 8-bit RGB, bit-exact with Pillow
 * (ImageOps, ImageEnhance.Sharpness): stretching and equalising histograms, inverting,
 * dropping bits, lightening, sharpening. Blends with a constant and with grey are in
 * pixels_color.c, geometry is in pixels_affine.c.
 */
#include "data/pixels.h"

#include <bosskit/pixel.h>
#include <string.h>

/* Counts of one channel. */
static void histogram(const uint8_t *p, size_t n, int channel, uint32_t count[256])
{
    memset(count, 0, 256 * sizeof *count);
    for (size_t i = 0; i < n; i++)
        count[p[3 * i + (size_t)channel]]++;
}

static void map_channel(uint8_t *p, size_t n, int channel, const uint8_t table[256])
{
    for (size_t i = 0; i < n; i++)
        p[3 * i + (size_t)channel] = table[p[3 * i + (size_t)channel]];
}

static void map_all(uint8_t *p, size_t n, const uint8_t table[256])
{
    for (size_t i = 0; i < 3 * n; i++)
        p[i] = table[p[i]];
}

void bk__autocontrast(uint8_t *p, size_t n)
{
    for (int c = 0; c < 3; c++) {
        uint32_t count[256];
        uint8_t table[256];
        histogram(p, n, c, count);
        if (bk_pixel_autocontrast(count, table))
            map_channel(p, n, c, table);
    }
}

void bk__equalize(uint8_t *p, size_t n)
{
    for (int c = 0; c < 3; c++) {
        uint32_t count[256];
        uint8_t table[256];
        histogram(p, n, c, count);
        if (bk_pixel_equalize(count, n, table))
            map_channel(p, n, c, table);
    }
}

void bk__invert(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < 3 * n; i++)
        p[i] = (uint8_t)(255 - p[i]);
}

void bk__posterize(uint8_t *p, size_t n, int bits)
{
    const uint8_t mask = bk_pixel_posterize_mask(bits);
    for (size_t i = 0; i < 3 * n; i++)
        p[i] &= mask;
}

void bk__solarize_add(uint8_t *p, size_t n, int add, int threshold)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = bk_pixel_solarize_add(v, add, threshold);
    map_all(p, n, table);
}

/* Edge pixels are not smoothed, so they stay whatever the factor. */
int bk__adjust_sharpness(struct bk__scratch *s, uint8_t *p, int32_t width,
                         int32_t height, float factor, struct bk_error *err)
{
    size_t line = (size_t)width * 3, nbytes = line * (size_t)height;
    uint8_t *from = bk__buffer_get(&s->pass, nbytes);

    if (!from)
        return bk_fail(err, BK_ENOMEM, "out of memory for sharpening an image");
    memcpy(from, p, nbytes);
    for (int32_t y = 1; y + 1 < height; y++) {
        const uint8_t *own = from + (size_t)y * line;
        uint8_t *out = p + (size_t)y * line;
        for (size_t x = 3; x + 3 < line; x++) {
            int base = bk_pixel_smooth(own + x - line, own + x, own + x + line);
            out[x] = bk_pixel_blend(base, own[x], factor);
        }
    }
    return BK_OK;
}

/*
 * Tone operations of AutoAugment and RandAugment on 8-bit RGB, bit-exact with Pillow
 * (ImageOps, ImageEnhance.Sharpness): stretching and equalising histograms, inverting,
 * dropping bits, lightening, sharpening. Blends with a constant and with grey are in
 * pixels_color.c, geometry is in pixels_affine.c.
 */
#include "data/pixels.h"

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

static uint8_t clip(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Darkest to 0, lightest to 255; truncation as in ImageOps.autocontrast. */
void bk__autocontrast(uint8_t *p, size_t n)
{
    for (int c = 0; c < 3; c++) {
        uint32_t count[256];
        uint8_t table[256];
        int low = 0, high = 255;
        histogram(p, n, c, count);
        while (low < 255 && !count[low])
            low++;
        while (high > 0 && !count[high])
            high--;
        if (high <= low)
            continue;
        double scale = 255.0 / (high - low), offset = -low * scale;
        for (int v = 0; v < 256; v++)
            table[v] = clip((int)(v * scale + offset));
        map_channel(p, n, c, table);
    }
}

/* ImageOps.equalize: a step is a 255th of all pixels but those of the lightest value. */
void bk__equalize(uint8_t *p, size_t n)
{
    for (int c = 0; c < 3; c++) {
        uint32_t count[256];
        uint8_t table[256];
        int last = 255;
        histogram(p, n, c, count);
        while (last > 0 && !count[last])
            last--;
        uint64_t step = (n - count[last]) / 255, sum = step / 2;
        if (!step)
            continue;
        for (int v = 0; v < 256; v++) {
            table[v] = sum / step > 255 ? 255 : (uint8_t)(sum / step);
            sum += count[v];
        }
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
    const uint8_t mask = (uint8_t)~((1u << (8 - bits)) - 1u);
    for (size_t i = 0; i < 3 * n; i++)
        p[i] &= mask;
}

void bk__solarize_add(uint8_t *p, size_t n, int add, int threshold)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = v < threshold ? clip(v + add) : (uint8_t)v;
    map_all(p, n, table);
}

/* ---- sharpness ------------------------------------------------------------------- */

/* ImageFilter.SMOOTH: weights [1 1 1; 1 5 1; 1 1 1] / 13 in single precision, summed in
 * Pillow's order (line below, own line, line above), half added for rounding. */
static uint8_t smooth_at(const uint8_t *above, const uint8_t *own, const uint8_t *below)
{
    const float side = 1.0f / 13.0f, center = 5.0f / 13.0f;
    float sum = 0.5f;
    sum += (float)below[-3] * side + (float)below[0] * side + (float)below[3] * side;
    sum += (float)own[-3] * side + (float)own[0] * center + (float)own[3] * side;
    sum += (float)above[-3] * side + (float)above[0] * side + (float)above[3] * side;
    return sum <= 0 ? 0 : sum >= 255 ? 255 : (uint8_t)sum;
}

static uint8_t blend(int base, int value, float factor)
{
    float v = (float)base + factor * (float)(value - base);
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
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
            int base = smooth_at(own + x - line, own + x, own + x + line);
            out[x] = blend(base, own[x], factor);
        }
    }
    return BK_OK;
}

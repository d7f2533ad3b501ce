/*
 * Colour operations and blur on 8-bit RGB, bit-exact with Pillow (ImageEnhance, ImageOps, ImageFilter) and hence with
 * torchvision's ColorJitter on Pillow images.
 *
 * blend(D, x, c) = clip(trunc(D + c (x - D))) in single precision. Blur: Gwosdek et al., Theoretical foundations of
 * Gaussian convolution by extended box filtering (SSVM 2011), equations 7, 11 and 14, three passes each way.
 */
#include "data/pixels.h"

#include <math.h>
#include <string.h>

#define BLUR_PASSES 3

/* ITU-R 601 luma in 16-bit fixed point, as Pillow's conversion to "L". */
static inline uint8_t luma(const uint8_t *p)
{
    return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

static inline uint8_t blend(int base, int value, float factor)
{
    float v = (float)base + factor * (float)(value - base);
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

/* Against one constant a blend is a table. */
static void blend_constant(uint8_t *p, size_t n, int base, float factor)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = blend(base, v, factor);
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
        sum += luma(p + 3 * i);
    blend_constant(p, n, (int)((double)sum / (double)n + 0.5), factor);
}

void bk__adjust_saturation(uint8_t *p, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++, p += 3) {
        int grey = luma(p);
        for (int c = 0; c < 3; c++)
            p[c] = blend(grey, p[c], factor);
    }
}

void bk__to_grey(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++, p += 3)
        p[0] = p[1] = p[2] = luma(p);
}

void bk__solarize(uint8_t *p, size_t n, int threshold)
{
    for (size_t i = 0; i < 3 * n; i++)
        p[i] = p[i] < threshold ? p[i] : (uint8_t)(255 - p[i]);
}

/* ---- hue ----------------------------------------------------------------------------------------------- */

static inline int max3(int a, int b, int c)
{
    int m = a > b ? a : b;
    return m > c ? m : c;
}

static inline int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* 8 bits a channel: h = trunc(255 turns), s = trunc(255 s), v = max. */
static void rgb_to_hsv(const uint8_t *p, uint8_t *hsv)
{
    int r = p[0], g = p[1], b = p[2], hi = max3(r, g, b), lo = min3(r, g, b);
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)hi;
    if (hi == lo)
        return;
    float range = (float)(hi - lo), h;
    float s = range / (float)hi;
    float rc = (float)(hi - r) / range, gc = (float)(hi - g) / range, bc = (float)(hi - b) / range;
    if (r == hi)
        h = bc - gc;
    else if (g == hi)
        h = (float)(2.0 + (double)rc - (double)bc);
    else
        h = (float)(4.0 + (double)gc - (double)rc);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    hsv[0] = (uint8_t)((double)h * 255.0);
    hsv[1] = (uint8_t)((double)s * 255.0);
}

static inline uint8_t round8(double v)
{
    v = round(v);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void hsv_to_rgb(const uint8_t *hsv, uint8_t *p)
{
    double v = hsv[2];
    if (hsv[1] == 0) {
        p[0] = p[1] = p[2] = hsv[2];
        return;
    }
    int sector = (int)floor((double)(float)hsv[0] * 6.0 / 255.0);
    float f = (float)((double)(float)hsv[0] * 6.0 / 255.0 - (double)(float)sector);
    float s = (float)((double)(float)hsv[1] / 255.0);
    uint8_t w = hsv[2], a = round8(v * (1.0 - (double)s));
    uint8_t q = round8(v * (1.0 - (double)(s * f)));
    uint8_t t = round8(v * (1.0 - (double)s * (1.0 - (double)f)));
    const uint8_t rgb[6][3] = { { w, t, a }, { q, w, a }, { a, w, t },
                                { a, q, w }, { t, a, w }, { w, a, q } };
    memcpy(p, rgb[sector % 6], 3);
}

void bk__adjust_hue(uint8_t *p, size_t n, double shift)
{
    uint8_t add = (uint8_t)(int)(shift * 255);
    for (size_t i = 0; i < n; i++, p += 3) {
        uint8_t hsv[3];
        rgb_to_hsv(p, hsv);
        hsv[0] = (uint8_t)(hsv[0] + add);
        hsv_to_rgb(hsv, p);
    }
}

/* ---- blur ----------------------------------------------------------------------------------------------- */

/* Equations 7, 11, 14: the box of real radius whose `passes`-fold convolution has variance sigma^2. */
static float box_radius(float sigma, int passes)
{
    float var = sigma * sigma / (float)passes;
    float length = (float)sqrt(12.0 * (double)var + 1.0);
    float l = (float)floor(((double)length - 1.0) / 2.0);
    float a = (2 * l + 1) * (l * (l + 1) - 3 * var);
    a /= 6 * (var - (l + 1) * (l + 1));
    return l + a;
}

/* A box: 2 radius + 1 inner taps of weight `inner` and two of weight `outer`, in 2^-24. */
struct box {
    int32_t radius;
    uint32_t inner, outer;
};

static struct box make_box(float radius)
{
    struct box b = { .radius = (int32_t)radius };
    b.inner = (uint32_t)((float)(1u << 24) / (radius * 2 + 1));
    b.outer = ((1u << 24) - (uint32_t)(b.radius * 2 + 1) * b.inner) / 2;
    return b;
}

static inline size_t clamp_index(int64_t i, int64_t n)
{
    return (size_t)(i < 0 ? 0 : i >= n ? n - 1 : i);
}

/* One pass along n pixels that are `step` bytes apart; edge pixels are replicated. */
static void box_line(const uint8_t *in, uint8_t *out, int64_t n, size_t step,
                     const struct box *b)
{
    int64_t r = b->radius;
    uint32_t sum[3] = { 0, 0, 0 };
    for (int64_t i = -r; i <= r; i++)
        for (size_t c = 0; c < 3; c++)
            sum[c] += in[clamp_index(i, n) * step + c];
    for (int64_t x = 0; x < n; x++) {
        const uint8_t *left = in + clamp_index(x - r - 1, n) * step;
        const uint8_t *right = in + clamp_index(x + r + 1, n) * step;
        const uint8_t *drop = in + clamp_index(x - r, n) * step;
        uint8_t *o = out + (size_t)x * step;
        for (size_t c = 0; c < 3; c++) {
            uint32_t edge = (uint32_t)left[c] + right[c];
            o[c] = (uint8_t)((sum[c] * b->inner + edge * b->outer + (1u << 23)) >> 24);
            sum[c] += right[c] - (uint32_t)drop[c];
        }
    }
}

/* All passes in one direction over every line; lines are `next` bytes apart. */
static void blur_lines(uint8_t *p, uint8_t *other, int32_t n_lines, size_t next, int32_t n,
                       size_t step, const struct box *b)
{
    for (int32_t y = 0; y < n_lines; y++) {
        uint8_t *from = p + (size_t)y * next, *to = other + (size_t)y * next;
        for (int pass = 0; pass < BLUR_PASSES; pass++) {
            box_line(from, to, n, step, b);
            uint8_t *swap = from;
            from = to;
            to = swap;
        }
    }
}

int bk__gaussian_blur(struct bk__scratch *s, uint8_t *p, int32_t width, int32_t height,
                      float sigma, struct bk_error *err)
{
    size_t line = (size_t)width * 3, nbytes = line * (size_t)height;
    float radius = box_radius(sigma, BLUR_PASSES);
    if (!(radius > 0))
        return BK_OK;
    uint8_t *other = bk__buffer_get(&s->pass, nbytes);
    if (!other)
        return bk_fail(err, BK_ENOMEM, "out of memory for blurring an image");
    struct box b = make_box(radius);
    /* an odd number of passes leaves the result in the other buffer; twice odd brings it home */
    blur_lines(p, other, height, line, width, 3, &b);
    blur_lines(other, p, width, 3, height, line, &b);
    return BK_OK;
}

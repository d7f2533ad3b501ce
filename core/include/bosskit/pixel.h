/**
 * bosskit/pixel.h: the arithmetic of views, one value at a time, for C and for CUDA C++.
 *
 * The host and every backend that makes views (`make_views` of <bosskit/backend.h>) compute with these functions, so
 * that their bytes are the same. That holds where single and double precision are IEEE's and products are not
 * contracted with sums: -ffp-contract=off, nvcc -fmad=false. Noise alone may differ in its last bit: it needs
 * logarithms and sines.
 *
 * Formulas and the order of their steps are Pillow's, which rounds to 8 bits after every operation. `p` is one pixel
 * [3], values are 0..255. Loops over images are not here (core/data/pixels*.c, a backend's kernels).
 */
#ifndef BOSSKIT_PIXEL_H
#define BOSSKIT_PIXEL_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define BK_PIXEL static __host__ __device__ __forceinline__
#else
#define BK_PIXEL static inline
#endif

/* ---- levels -------------------------------------------------------------------------------------- */

BK_PIXEL uint8_t bk_pixel_clip(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/** ITU-R 601 luma in 16-bit fixed point, as Pillow's conversion to "L". */
BK_PIXEL uint8_t bk_pixel_luma(const uint8_t *p)
{
    return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

/** clip(trunc(base + factor (value - base))): ImageEnhance. */
BK_PIXEL uint8_t bk_pixel_blend(int base, int value, float factor)
{
    float v = (float)base + factor * (float)(value - base);
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

/** What contrast blends with: the mean of n lumas. */
BK_PIXEL int bk_pixel_mean(double sum, double n)
{
    return (int)(sum / n + 0.5);
}

BK_PIXEL uint8_t bk_pixel_solarize(int v, int threshold)
{
    return (uint8_t)(v < threshold ? v : 255 - v);
}

BK_PIXEL uint8_t bk_pixel_solarize_add(int v, int add, int threshold)
{
    return v < threshold ? bk_pixel_clip(v + add) : (uint8_t)v;
}

/** The `bits` highest bits. */
BK_PIXEL uint8_t bk_pixel_posterize_mask(int bits)
{
    return (uint8_t)~((1u << (8 - bits)) - 1u);
}

/** ((v / 255) - mean) / std in single precision, as torchvision. */
BK_PIXEL float bk_pixel_normalize(int v, float mean, float std)
{
    return ((float)v / 255.0f - mean) / std;
}

/* ---- levels by the histogram of a channel; false: the channel stays as it is, `table` is not set --- */

/** Darkest to 0, lightest to 255; truncation as in ImageOps.autocontrast. */
BK_PIXEL bool bk_pixel_autocontrast(const uint32_t count[256], uint8_t table[256])
{
    int low = 0, high = 255;
    while (low < 255 && !count[low])
        low++;
    while (high > 0 && !count[high])
        high--;
    if (high <= low)
        return false;
    double scale = 255.0 / (high - low), offset = -low * scale;
    for (int v = 0; v < 256; v++)
        table[v] = bk_pixel_clip((int)(v * scale + offset));
    return true;
}

/** ImageOps.equalize on n pixels: a step is a 255th of all pixels but those of the lightest value. */
BK_PIXEL bool bk_pixel_equalize(const uint32_t count[256], uint64_t n, uint8_t table[256])
{
    int last = 255;
    while (last > 0 && !count[last])
        last--;
    uint64_t step = (n - count[last]) / 255, sum = step / 2;
    if (!step)
        return false;
    for (int v = 0; v < 256; v++) {
        table[v] = sum / step > 255 ? 255 : (uint8_t)(sum / step);
        sum += count[v];
    }
    return true;
}

/* ---- hue ----------------------------------------------------------------------------------------- */

/** A hue of 8 bits after the shift: how far into its sixth of the circle, and the order of levels there. */
struct bk_hue {
    float within;
    uint8_t order; /* two bits a channel: which of bk_pixel_hue()'s four levels */
};

/** What a shift in turns adds to hues of 8 bits. */
BK_PIXEL uint8_t bk_hue_addend(double shift)
{
    return (uint8_t)(int)(shift * 255);
}

/** Entry `hue` of the table for an addend. */
BK_PIXEL struct bk_hue bk_hue_make(int hue, uint8_t add)
{
    /* (0 3 1) (2 0 1) (1 0 3) (1 2 0) (3 1 0) (0 1 2), the first channel lowest */
    const uint64_t orders = 28u | 18u << 6 | 49u << 12 | 9u << 18 | 7u << 24 | (uint64_t)36 << 30;
    double six = (double)(float)(uint8_t)(hue + add) * 6.0 / 255.0;
    int sector = (int)six;
    struct bk_hue h;
    h.within = (float)(six - (double)(float)sector);
    h.order = (uint8_t)(orders >> (6 * (sector % 6)) & 63u);
    return h;
}

/**
 * To 8 bits a channel: h = trunc(255 turns), s = trunc(255 s), v = max. Without branches on the largest channel, which
 * nobody can predict; the order and precision of every step is Pillow's. hi > lo.
 */
BK_PIXEL void bk_pixel_hue_and_saturation(int r, int g, int b, int hi, int lo, uint8_t *h8, uint8_t *s8)
{
    float range = (float)(hi - lo);
    bool is_r = r == hi, is_g = g == hi;
    int plus = is_r ? hi - b : is_g ? hi - r : hi - g;
    int minus = is_r ? hi - g : is_g ? hi - b : hi - r;
    double base = is_r ? 0 : is_g ? 2 : 4;
    float h = (float)(base + (double)((float)plus / range) - (double)((float)minus / range));
    double turns = (double)h / 6.0 + 1.0;
    float wrapped = (float)(turns - (turns >= 1.0 ? 1.0 : 0.0)); /* fmod(turns, 1), exact */
    *h8 = (uint8_t)((double)wrapped * 255.0);
    *s8 = (uint8_t)((double)(range / (float)hi) * 255.0);
}

BK_PIXEL uint8_t bk_pixel_nearest(double v)
{
    return (uint8_t)(v + 0.5);
}

/** Shift the hue of p by the table's addend. */
BK_PIXEL void bk_pixel_hue(const struct bk_hue table[256], uint8_t *p)
{
    int r = p[0], g = p[1], b = p[2];
    int hi = r > g ? r : g, lo = r < g ? r : g;
    uint8_t h8, s8;
    hi = hi > b ? hi : b;
    lo = lo < b ? lo : b;
    if (hi == lo)
        return; /* grey has no hue */
    bk_pixel_hue_and_saturation(r, g, b, hi, lo, &h8, &s8);
    if (s8 == 0) {
        p[0] = p[1] = p[2] = (uint8_t)hi;
        return;
    }
    const struct bk_hue h = table[h8];
    double v = hi, f = (double)h.within;
    float s = (float)((double)(float)s8 / 255.0);
    const uint8_t level[4] = { (uint8_t)hi, bk_pixel_nearest(v * (1.0 - (double)s)),
                               bk_pixel_nearest(v * (1.0 - (double)(s * h.within))),
                               bk_pixel_nearest(v * (1.0 - (double)s * (1.0 - f))) };
    for (int c = 0; c < 3; c++)
        p[c] = level[h.order >> (2 * c) & 3];
}

/* ---- resizing: bicubic or linear, antialiased, in 22-bit fixed point ------------------------------- */

#define BK_FILTER_BITS 22

/** One axis, n_in to n_out pixels; an output is a sum of at most `taps` inputs. */
struct bk_filter {
    double scale, stretch, support;
    int32_t n_in, taps;
    bool linear;
};

BK_PIXEL struct bk_filter bk_filter_make(int32_t n_in, int32_t n_out, bool linear)
{
    struct bk_filter f;
    f.scale = (double)n_in / n_out;
    f.stretch = f.scale > 1 ? f.scale : 1;
    f.support = (linear ? 1 : 2) * f.stretch;
    f.linear = linear;
    f.n_in = n_in;
    f.taps = (int32_t)ceil(f.support) * 2 + 1;
    return f;
}

/** The inputs first..first+count-1 of output o; taps outside the image are dropped. */
BK_PIXEL void bk_filter_range(const struct bk_filter *f, int32_t o, int32_t *first, int32_t *count)
{
    double center = (o + 0.5) * f->scale;
    int32_t lo = (int32_t)(center - f->support + 0.5), hi = (int32_t)(center + f->support + 0.5);
    lo = lo < 0 ? 0 : lo;
    hi = hi > f->n_in ? f->n_in : hi;
    *first = lo;
    *count = hi - lo;
}

/**
 * Weight of input i for output o before normalising: the cubic of Keys (1981) with a = -0.5, or a triangle, stretched by
 * the scale when shrinking.
 */
BK_PIXEL double bk_filter_weight(const struct bk_filter *f, int32_t o, int32_t i)
{
    const double a = -0.5;
    double center = (o + 0.5) * f->scale;
    double x = fabs((i - center + 0.5) * (1 / f->stretch));
    if (f->linear)
        return x < 1 ? 1 - x : 0;
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

/** The weight in fixed point; `sum` is that of all weights of the output, in order. */
BK_PIXEL int32_t bk_filter_fixed(double weight, double sum)
{
    double v = sum != 0 ? weight * (1 / sum) : 0;
    return (int32_t)(v * (1 << BK_FILTER_BITS) + (v < 0 ? -0.5 : 0.5));
}

/** What a sum of products starts from, so that bk_filter_level() rounds. */
#define BK_FILTER_HALF (1 << (BK_FILTER_BITS - 1))

BK_PIXEL uint8_t bk_filter_level(int32_t sum)
{
    return bk_pixel_clip(sum >> BK_FILTER_BITS);
}

/* ---- blur: extended boxes (Gwosdek et al., SSVM 2011) ---------------------------------------------- */

#define BK_BLUR_PASSES 3

/** A box: 2 radius + 1 inner taps of weight `inner` and two of weight `outer`, in 2^-24; radius < 0: no blur. */
struct bk_box {
    int32_t radius;
    uint32_t inner, outer;
};

/** Equations 7, 11, 14: the box of real radius whose BK_BLUR_PASSES-fold convolution has variance sigma^2. */
BK_PIXEL struct bk_box bk_box_make(float sigma)
{
    struct bk_box b = { -1, 0, 0 };
    float var = sigma * sigma / (float)BK_BLUR_PASSES;
    float length = (float)sqrt(12.0 * (double)var + 1.0);
    float l = (float)floor(((double)length - 1.0) / 2.0);
    float a = (2 * l + 1) * (l * (l + 1) - 3 * var);
    a /= 6 * (var - (l + 1) * (l + 1));
    float radius = l + a;
    if (!(radius > 0))
        return b;
    b.radius = (int32_t)radius;
    b.inner = (uint32_t)((float)(1u << 24) / (radius * 2 + 1));
    b.outer = ((1u << 24) - (uint32_t)(b.radius * 2 + 1) * b.inner) / 2;
    return b;
}

/** From the sum of the inner taps and that of the two outer ones. */
BK_PIXEL uint8_t bk_box_level(const struct bk_box *b, uint32_t sum, uint32_t edge)
{
    return (uint8_t)((sum * b->inner + edge * b->outer + (1u << 23)) >> 24);
}

/* ---- neighbours ---------------------------------------------------------------------------------- */

/**
 * One value of ImageFilter.SMOOTH: weights [1 1 1; 1 5 1; 1 1 1] / 13 in single precision, summed in Pillow's order
 * (line below, own line, line above), half added for rounding. Pixels are 3 bytes apart.
 */
BK_PIXEL uint8_t bk_pixel_smooth(const uint8_t *above, const uint8_t *own, const uint8_t *below)
{
    const float side = 1.0f / 13.0f, center = 5.0f / 13.0f;
    float sum = 0.5f;
    sum += (float)below[-3] * side + (float)below[0] * side + (float)below[3] * side;
    sum += (float)own[-3] * side + (float)own[0] * center + (float)own[3] * side;
    sum += (float)above[-3] * side + (float)above[0] * side + (float)above[3] * side;
    return sum <= 0 ? 0 : sum >= 255 ? 255 : (uint8_t)sum;
}

/** Through v2 at d = 0 and v3 at d = 1: the cubic of a = -1. */
BK_PIXEL double bk_pixel_cubic(double v1, double v2, double v3, double v4, double d)
{
    double p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
    return v2 + d * (p2 + d * (p3 + d * p4));
}

BK_PIXEL int32_t bk_pixel_clamp(int32_t v, int32_t n)
{
    return v < 0 ? 0 : v < n ? v : n - 1;
}

/** The 4 x 4 pixels around a point: lines (NULL: as the line before), columns in bytes, and where between. */
struct bk_taps {
    const uint8_t *line[4];
    int32_t column[4];
    double dx, dy;
};

/** As Image.transform: lines outside repeat the one before them, columns are clamped. */
BK_PIXEL struct bk_taps bk_taps_find(const uint8_t *from, int32_t width, int32_t height, double x, double y)
{
    struct bk_taps t;
    int32_t x0 = (int32_t)floor(x - 0.5), y0 = (int32_t)floor(y - 0.5);
    t.dx = x - 0.5 - x0;
    t.dy = y - 0.5 - y0;
    for (int32_t k = 0; k < 4; k++) {
        int32_t row = k ? y0 - 1 + k : bk_pixel_clamp(y0 - 1, height);
        t.line[k] = row >= 0 && row < height ? from + (size_t)row * (size_t)width * 3 : NULL;
        t.column[k] = bk_pixel_clamp(x0 - 1 + k, width) * 3;
    }
    return t;
}

/** A channel between the taps. */
BK_PIXEL uint8_t bk_taps_level(const struct bk_taps *t, int channel)
{
    double v[4] = { 0, 0, 0, 0 };
    for (int k = 0; k < 4; k++) {
        const uint8_t *p = t->line[k];
        if (!p) {
            v[k] = k ? v[k - 1] : 0;
            continue;
        }
        p += channel;
        v[k] = bk_pixel_cubic(p[t->column[0]], p[t->column[1]], p[t->column[2]], p[t->column[3]], t->dx);
    }
    double out = bk_pixel_cubic(v[0], v[1], v[2], v[3], t->dy);
    return out <= 0 ? 0 : out >= 255 ? 255 : (uint8_t)out;
}

/** Pixel (x, y) of `from` [height][width][3] under the affine map m; `fill` where that is outside. */
BK_PIXEL void bk_pixel_affine(const uint8_t *from, int32_t width, int32_t height, const double m[6],
                              const uint8_t fill[3], int32_t x, int32_t y, uint8_t *out)
{
    double xin = x + 0.5, yin = y + 0.5;
    double xs = m[0] * xin + m[1] * yin + m[2];
    double ys = m[3] * xin + m[4] * yin + m[5];
    if (!(xs >= 0 && xs < width && ys >= 0 && ys < height)) {
        out[0] = fill[0], out[1] = fill[1], out[2] = fill[2];
        return;
    }
    const struct bk_taps t = bk_taps_find(from, width, height, xs, ys);
    for (int c = 0; c < 3; c++)
        out[c] = bk_taps_level(&t, c);
}

/* ---- noise --------------------------------------------------------------------------------------- */

/** Two normal values from two uniform ones in [0, 1) (Box and Muller 1958). */
BK_PIXEL void bk_pixel_noise(double u1, double u2, float *a, float *b)
{
    double radius = sqrt(-2.0 * log(1.0 - u1)), angle = 6.283185307179586476925 * u2;
    *a = (float)(radius * cos(angle));
    *b = (float)(radius * sin(angle));
}

#endif

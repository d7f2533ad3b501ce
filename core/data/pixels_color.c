/*
 * Colour operations and blur on 8-bit RGB, bit-exact with Pillow (ImageEnhance,
 * ImageOps, ImageFilter) and hence with torchvision's ColorJitter on Pillow images.
 *
 * blend(D, x, c) = clip(trunc(D + c (x - D))) in single precision. Blur: Gwosdek et
 * al., Theoretical foundations of Gaussian convolution by extended box filtering (SSVM
 * 2011), equations 7, 11 and 14, three passes each way.
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

/* ---- hue ------------------------------------------------------------------------- */

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

/*
 * To 8 bits a channel: h = trunc(255 turns), s = trunc(255 s), v = max. Without
 * branches on the largest channel, which nobody can predict; the order and precision of
 * every step is Pillow's. hi > lo.
 */
static inline void hue_and_saturation(int r, int g, int b, int hi, int lo, uint8_t *h8,
                                      uint8_t *s8)
{
    float range = (float)(hi - lo);
    bool is_r = r == hi, is_g = g == hi;
    int plus = is_r ? hi - b : is_g ? hi - r : hi - g;
    int minus = is_r ? hi - g : is_g ? hi - b : hi - r;
    double base = is_r ? 0 : is_g ? 2 : 4;
    float h =
        (float)(base + (double)((float)plus / range) - (double)((float)minus / range));
    double turns = (double)h / 6.0 + 1.0;
    float wrapped =
        (float)(turns - (turns >= 1.0 ? 1.0 : 0.0)); /* fmod(turns, 1), exact */
    *h8 = (uint8_t)((double)wrapped * 255.0);
    *s8 = (uint8_t)((double)(range / (float)hi) * 255.0);
}

/* A hue: one of six sectors of the circle and how far into it. */
struct hue {
    float within;
    uint8_t sector;
};

static void make_hues(struct hue table[256], uint8_t add)
{
    for (int i = 0; i < 256; i++) {
        double six = (double)(float)(uint8_t)(i + add) * 6.0 / 255.0;
        int sector = (int)six;
        table[i].within = (float)(six - (double)(float)sector);
        table[i].sector = (uint8_t)(sector % 6);
    }
}

static inline uint8_t nearest8(double v)
{
    return (uint8_t)(v + 0.5);
}

static inline void put_color(const struct hue *h, uint8_t s8, uint8_t v8, uint8_t *p)
{
    static const uint8_t order[6][3] = { { 0, 3, 1 }, { 2, 0, 1 }, { 1, 0, 3 },
                                         { 1, 2, 0 }, { 3, 1, 0 }, { 0, 1, 2 } };
    double v = v8, f = (double)h->within;
    float s = (float)((double)(float)s8 / 255.0);
    const uint8_t level[4] = { v8, nearest8(v * (1.0 - (double)s)),
                               nearest8(v * (1.0 - (double)(s * h->within))),
                               nearest8(v * (1.0 - (double)s * (1.0 - f))) };
    for (int c = 0; c < 3; c++)
        p[c] = level[order[h->sector][c]];
}

void bk__adjust_hue(uint8_t *p, size_t n, double shift)
{
    struct hue hues[256];
    make_hues(hues, (uint8_t)(int)(shift * 255));
    for (size_t i = 0; i < n; i++, p += 3) {
        uint8_t h8, s8;
        int hi = max3(p[0], p[1], p[2]), lo = min3(p[0], p[1], p[2]);
        if (hi == lo)
            continue; /* grey has no hue */
        hue_and_saturation(p[0], p[1], p[2], hi, lo, &h8, &s8);
        if (s8 == 0)
            p[0] = p[1] = p[2] = (uint8_t)hi;
        else
            put_color(&hues[h8], s8, (uint8_t)hi, p);
    }
}

/* ---- blur ------------------------------------------------------------------------ */

/* Equations 7, 11, 14: the box of real radius whose `passes`-fold convolution has
 * variance sigma^2. */
static float box_radius(float sigma, int passes)
{
    float var = sigma * sigma / (float)passes;
    float length = (float)sqrt(12.0 * (double)var + 1.0);
    float l = (float)floor(((double)length - 1.0) / 2.0);
    float a = (2 * l + 1) * (l * (l + 1) - 3 * var);
    a /= 6 * (var - (l + 1) * (l + 1));
    return l + a;
}

/* A box: 2 radius + 1 inner taps of weight `inner` and two of weight `outer`, in 2^-24.
 */
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

static inline uint8_t box_value(const struct box *b, uint32_t sum, uint32_t edge)
{
    return (uint8_t)((sum * b->inner + edge * b->outer + (1u << 23)) >> 24);
}

/*
 * One pass along a line of n pixels. `padded` is a copy of the line with radius + 1
 * replicated pixels on each side; `out` may be the line itself.
 */
static void box_across(const uint8_t *padded, uint8_t *out, size_t n,
                       const struct box *b)
{
    size_t reach = 3 * ((size_t)b->radius + 1);
    for (size_t c = 0; c < 3; c++) {
        const uint8_t *p = padded + reach + c;
        uint32_t sum = 0;
        for (size_t k = 3; k < 2 * reach; k += 3)
            sum += p[k - reach];
        for (size_t x = 0; x < 3 * n; x += 3) {
            uint32_t ahead = p[x + reach];
            out[x + c] = box_value(b, sum, ahead + p[x - reach]);
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
                     const struct box *b, uint32_t *sum)
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
            out[x] = box_value(b, sum[x], (uint32_t)ahead[x] + behind[x]);
            sum[x] += ahead[x] - (uint32_t)drop[x];
        }
    }
#undef ROW
}

int bk__gaussian_blur(struct bk__scratch *s, uint8_t *p, int32_t width, int32_t height,
                      float sigma, struct bk_error *err)
{
    size_t line = (size_t)width * 3, nbytes = line * (size_t)height;
    float radius = box_radius(sigma, BLUR_PASSES);
    if (!(radius > 0))
        return BK_OK;
    struct box b = make_box(radius);
    size_t pad = (size_t)b.radius + 1;
    uint8_t *other = bk__buffer_get(&s->pass, nbytes);
    uint32_t *room = bk__buffer_get(&s->line, line * sizeof *room + 6 * pad);
    if (!other || !room)
        return bk_fail(err, BK_ENOMEM, "out of memory for blurring an image");
    for (int32_t y = 0; y < height; y++)
        for (int pass = 0; pass < BLUR_PASSES; pass++) {
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

/*
 * Affine maps of 8-bit RGB with bicubic interpolation, bit-exact with Pillow's
 * Image.transform and Image.rotate: rotating, shearing and shifting of AutoAugment and
 * RandAugment.
 *
 * Pillow interpolates here with the cubic of a = -1 (Catmull-Rom would be -0.5) in
 * double precision and without antialiasing, other than when it resizes; lines outside
 * the image repeat the one before them, columns are clamped, results are truncated.
 */
#include "data/pixels.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* Through v2 at d = 0 and v3 at d = 1. */
static inline double cubic(double v1, double v2, double v3, double v4, double d)
{
    double p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
    return v2 + d * (p2 + d * (p3 + d * p4));
}

static inline int32_t clamp(int32_t v, int32_t n)
{
    return v < 0 ? 0 : v < n ? v : n - 1;
}

/* What is sampled: an image and, for one output pixel, the 4 x 4 taps around it. */
struct taps {
    const uint8_t *line[4]; /* NULL: as the line before */
    size_t column[4];
    double dx, dy;
};

static void find_taps(const uint8_t *from, int32_t width, int32_t height, double x,
                      double y, struct taps *t)
{
    int32_t x0 = (int32_t)floor(x - 0.5), y0 = (int32_t)floor(y - 0.5);
    t->dx = x - 0.5 - x0;
    t->dy = y - 0.5 - y0;
    for (int32_t k = 0; k < 4; k++) {
        int32_t row = y0 - 1 + k;
        t->column[k] = (size_t)clamp(x0 - 1 + k, width) * 3;
        if (k == 0)
            row = clamp(row, height);
        t->line[k] = row >= 0 && row < height
                         ? from + (size_t)row * (size_t)width * 3
                         : NULL;
    }
}

static uint8_t sample(const struct taps *t, size_t channel)
{
    double v[4];
    for (int k = 0; k < 4; k++) {
        const uint8_t *p = t->line[k];
        if (!p) {
            v[k] = v[k - 1];
            continue;
        }
        p += channel;
        v[k] = cubic(p[t->column[0]], p[t->column[1]], p[t->column[2]], p[t->column[3]],
                     t->dx);
    }
    double out = cubic(v[0], v[1], v[2], v[3], t->dy);
    return out <= 0 ? 0 : out >= 255 ? 255 : (uint8_t)out;
}

int bk__affine_bicubic(struct bk__scratch *s, uint8_t *p, int32_t width, int32_t height,
                       const double m[6], const uint8_t fill[3], struct bk_error *err)
{
    size_t nbytes = (size_t)width * (size_t)height * 3;
    uint8_t *from = bk__buffer_get(&s->pass, nbytes);

    if (!from)
        return bk_fail(err, BK_ENOMEM, "out of memory for turning an image");
    memcpy(from, p, nbytes);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++, p += 3) {
            double xin = x + 0.5, yin = y + 0.5;
            double xs = m[0] * xin + m[1] * yin + m[2];
            double ys = m[3] * xin + m[4] * yin + m[5];
            struct taps t;
            if (!(xs >= 0 && xs < width && ys >= 0 && ys < height)) {
                memcpy(p, fill, 3);
                continue;
            }
            find_taps(from, width, height, xs, ys, &t);
            for (size_t c = 0; c < 3; c++)
                p[c] = sample(&t, c);
        }
    }
    return BK_OK;
}

static double round15(double v)
{
    return rint(v * 1e15) / 1e15;
}

/* Image.rotate: about the middle, counter-clockwise on the screen. */
void bk__rotation(double degrees, int32_t width, int32_t height, double m[6])
{
    double angle = fmod(degrees, 360), cx = width / 2.0, cy = height / 2.0;
    if (angle < 0)
        angle += 360;
    angle = -(angle * (pi / 180));
    m[0] = m[4] = round15(cos(angle));
    m[1] = round15(sin(angle));
    m[3] = round15(-sin(angle));
    m[2] = m[0] * -cx + m[1] * -cy + 0.0;
    m[5] = m[3] * -cx + m[4] * -cy + 0.0;
    m[2] += cx;
    m[5] += cy;
}

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

#include <bosskit/pixel.h>
#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

int bk__affine_bicubic(struct bk__scratch *s, uint8_t *p, int32_t width, int32_t height,
                       const double m[6], const uint8_t fill[3], struct bk_error *err)
{
    size_t nbytes = (size_t)width * (size_t)height * 3;
    uint8_t *from = bk__buffer_get(&s->pass, nbytes);

    if (!from)
        return bk_fail(err, BK_ENOMEM, "out of memory for turning an image");
    memcpy(from, p, nbytes);
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++, p += 3)
            bk_pixel_affine(from, width, height, m, fill, x, y, p);
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

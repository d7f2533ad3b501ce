/*
 * Bicubic and bilinear resampling of 8-bit RGB with antialiasing, in 22-bit fixed point.
 *
 * Method and constants: Pillow's "reduce with the filter stretched by the scale"
 * resampling, which the published recipes use through torchvision; kernel of Keys
 * (1981) with a = -0.5, or a triangle. Weights are computed in double, normalised to sum 1, rounded to
 * 2^-22; each pass rounds to 8 bits.
 */
#include "data/pixels.h"

#include <math.h>
#include <string.h>

#define WEIGHT_BITS 22

void *bk__buffer_get(struct bk__buffer *b, size_t nbytes)
{
    if (nbytes > b->nbytes) {
        bk_free(b->p);
        b->nbytes = nbytes + nbytes / 2;
        b->p = bk_alloc(b->nbytes);
        if (!b->p)
            b->nbytes = 0;
    }
    return b->p;
}

void bk__buffer_release(struct bk__buffer *b)
{
    bk_free(b->p);
    b->p = NULL;
    b->nbytes = 0;
}

void bk__scratch_release(struct bk__scratch *s)
{
    bk__buffer_release(&s->weights);
    bk__buffer_release(&s->pass);
    bk__buffer_release(&s->image);
    bk__buffer_release(&s->line);
    bk__buffer_release(&s->pixels);
}

/* For each output position: the first tap, how many, and `taps` weights (the unused
 * ones zero). */
struct filter {
    double *real; /* the weights of one position before rounding */
    int32_t *first, *count, *weight;
    int32_t taps;
};

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

struct kernel {
    double (*at)(double x);
    double support;
};

static const struct kernel bicubic = { cubic, 2 }, bilinear = { triangle, 1 };

static void fill_filter_at(const struct filter *f, const struct kernel *k, int32_t o,
                           int32_t n_in, double scale, double stretch, double support)
{
    double *w = f->real, sum = 0;
    double center = (o + 0.5) * scale;
    int32_t lo = (int32_t)(center - support + 0.5),
            hi = (int32_t)(center + support + 0.5);
    lo = lo < 0 ? 0 : lo;
    hi = hi > n_in ? n_in : hi;
    f->first[o] = lo;
    f->count[o] = hi - lo;
    for (int32_t i = 0; i < hi - lo; i++)
        sum += w[i] = k->at((i + lo - center + 0.5) * (1 / stretch));
    for (int32_t i = 0; i < f->taps; i++) {
        double v = i < hi - lo && sum != 0 ? w[i] * (1 / sum) : 0;
        f->weight[(size_t)o * (size_t)f->taps + (size_t)i] =
            (int32_t)(v * (1 << WEIGHT_BITS) + (v < 0 ? -0.5 : 0.5));
    }
}

static int make_filter(struct bk__buffer *memory, const struct kernel *k, int32_t n_in,
                       int32_t n_out, struct filter *f, struct bk_error *err)
{
    double scale = (double)n_in / n_out, stretch = scale > 1 ? scale : 1;
    double support = k->support * stretch;
    f->taps = (int32_t)ceil(support) * 2 + 1;
    size_t n = (size_t)n_out, taps = (size_t)f->taps;
    void *room = bk__buffer_get(memory, taps * sizeof(double) +
                                            (2 + taps) * n * sizeof(int32_t));
    if (!room)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing %d to %d pixels",
                       n_in, n_out);
    f->real = room;
    int32_t *p = (void *)(f->real + taps);
    f->first = p;
    f->count = p + n;
    f->weight = p + 2 * n;
    for (int32_t o = 0; o < n_out; o++)
        fill_filter_at(f, k, o, n_in, scale, stretch, support);
    return BK_OK;
}

static inline uint8_t clip8(int32_t fixed)
{
    int32_t v = fixed >> WEIGHT_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void resize_line(const uint8_t *in, const struct filter *f, int32_t n_out,
                        uint8_t *out)
{
    for (int32_t o = 0; o < n_out; o++, out += 3) {
        const uint8_t *p = in + (size_t)f->first[o] * 3;
        const int32_t *w = f->weight + (size_t)o * (size_t)f->taps;
        int32_t r = 1 << (WEIGHT_BITS - 1), g = r, b = r;
        for (int32_t i = 0; i < f->count[o]; i++, p += 3) {
            r += p[0] * w[i];
            g += p[1] * w[i];
            b += p[2] * w[i];
        }
        out[0] = clip8(r);
        out[1] = clip8(g);
        out[2] = clip8(b);
    }
}

/* One line of output from count lines of input: a sum over lines, so that the inner
 * loop runs over neighbours. */
static void combine_lines(const uint8_t *in, size_t stride, int32_t count,
                          const int32_t *w, int32_t *sum, uint8_t *out)
{
    for (size_t x = 0; x < stride; x++)
        sum[x] = 1 << (WEIGHT_BITS - 1);
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *p = in + (size_t)i * stride;
        int32_t wi = w[i];
        for (size_t x = 0; x < stride; x++)
            sum[x] += p[x] * wi;
    }
    for (size_t x = 0; x < stride; x++)
        out[x] = clip8(sum[x]);
}

static int resize(struct bk__scratch *s, const struct kernel *k,
                  const struct bk__window *in, int32_t width, int32_t height,
                  uint8_t *out, struct bk_error *err)
{
    struct filter f;
    size_t line = (size_t)width * 3;
    uint8_t *mid = bk__buffer_get(&s->pass, line * (size_t)in->height);
    int32_t *sum = bk__buffer_get(&s->line, line * sizeof *sum);

    if (!mid || !sum)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing an image");
    BK_TRY(make_filter(&s->weights, k, in->width, width, &f, err));
    for (int32_t y = 0; y < in->height; y++)
        resize_line(in->rgb + (size_t)y * in->stride, &f, width,
                    mid + (size_t)y * line);
    BK_TRY(make_filter(&s->weights, k, in->height, height, &f, err));
    for (int32_t y = 0; y < height; y++)
        combine_lines(mid + (size_t)f.first[y] * line, line, f.count[y],
                      f.weight + (size_t)y * (size_t)f.taps, sum,
                      out + (size_t)y * line);
    return BK_OK;
}

int bk__resize_bicubic(struct bk__scratch *s, const struct bk__window *in,
                       int32_t width, int32_t height, uint8_t *out,
                       struct bk_error *err)
{
    return resize(s, &bicubic, in, width, height, out, err);
}

int bk__resize_bilinear(struct bk__scratch *s, const struct bk__window *in,
                        int32_t width, int32_t height, uint8_t *out,
                        struct bk_error *err)
{
    return resize(s, &bilinear, in, width, height, out, err);
}

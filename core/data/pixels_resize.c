/*
 * Bicubic and bilinear resampling of 8-bit RGB with antialiasing, in 22-bit fixed point.
 *
 * Method and constants: Pillow's "reduce with the filter stretched by the scale"
 * resampling, which the published recipes use through torchvision. Weights
 * (<bosskit/pixel.h>) are computed in double, normalised to sum 1, rounded to 2^-22;
 * each pass rounds to 8 bits.
 */
#include "data/pixels.h"

#include <bosskit/pixel.h>
#include <string.h>

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

static void fill_filter_at(const struct filter *f, const struct bk_filter *axis, int32_t o)
{
    double sum = 0;
    int32_t *weight = f->weight + (size_t)o * (size_t)f->taps;
    bk_filter_range(axis, o, &f->first[o], &f->count[o]);
    for (int32_t i = 0; i < f->count[o]; i++)
        sum += f->real[i] = bk_filter_weight(axis, o, f->first[o] + i);
    for (int32_t i = 0; i < f->taps; i++)
        weight[i] = i < f->count[o] ? bk_filter_fixed(f->real[i], sum) : 0;
}

static int make_filter(struct bk__buffer *memory, bool linear, int32_t n_in,
                       int32_t n_out, struct filter *f, struct bk_error *err)
{
    const struct bk_filter axis = bk_filter_make(n_in, n_out, linear);
    f->taps = axis.taps;
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
        fill_filter_at(f, &axis, o);
    return BK_OK;
}

static void resize_line(const uint8_t *in, const struct filter *f, int32_t n_out,
                        uint8_t *out)
{
    for (int32_t o = 0; o < n_out; o++, out += 3) {
        const uint8_t *p = in + (size_t)f->first[o] * 3;
        const int32_t *w = f->weight + (size_t)o * (size_t)f->taps;
        int32_t r = BK_FILTER_HALF, g = r, b = r;
        for (int32_t i = 0; i < f->count[o]; i++, p += 3) {
            r += p[0] * w[i];
            g += p[1] * w[i];
            b += p[2] * w[i];
        }
        out[0] = bk_filter_level(r);
        out[1] = bk_filter_level(g);
        out[2] = bk_filter_level(b);
    }
}

/* One line of output from count lines of input: a sum over lines, so that the inner
 * loop runs over neighbours. */
static void combine_lines(const uint8_t *in, size_t stride, int32_t count,
                          const int32_t *w, int32_t *sum, uint8_t *out)
{
    for (size_t x = 0; x < stride; x++)
        sum[x] = BK_FILTER_HALF;
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *p = in + (size_t)i * stride;
        int32_t wi = w[i];
        for (size_t x = 0; x < stride; x++)
            sum[x] += p[x] * wi;
    }
    for (size_t x = 0; x < stride; x++)
        out[x] = bk_filter_level(sum[x]);
}

int bk__resize(struct bk__scratch *s, bool linear, const struct bk__window *in,
               int32_t width, int32_t height, uint8_t *out, struct bk_error *err)
{
    struct filter f;
    size_t line = (size_t)width * 3;
    uint8_t *mid = bk__buffer_get(&s->pass, line * (size_t)in->height);
    int32_t *sum = bk__buffer_get(&s->line, line * sizeof *sum);

    if (!mid || !sum)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing an image");
    BK_TRY(make_filter(&s->weights, linear, in->width, width, &f, err));
    for (int32_t y = 0; y < in->height; y++)
        resize_line(in->rgb + (size_t)y * in->stride, &f, width,
                    mid + (size_t)y * line);
    BK_TRY(make_filter(&s->weights, linear, in->height, height, &f, err));
    for (int32_t y = 0; y < height; y++)
        combine_lines(mid + (size_t)f.first[y] * line, line, f.count[y],
                      f.weight + (size_t)y * (size_t)f.taps, sum,
                      out + (size_t)y * line);
    return BK_OK;
}

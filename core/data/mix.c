/*
 * Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) with soft targets, as timm does
 * them "per batch": partner is the batch in reverse order, CutMix replaces lambda by the
 * share of the area that is left after clipping the box.
 */
#include "data/mix.h"

#include <bosskit/random.h>

#include <math.h>
#include <string.h>

static int check(const char *field, double v, double hi, struct bk_error *err)
{
    if (v >= 0 && v <= hi)
        return BK_OK;
    return bk_fail(err, BK_EINVAL, "mixing: %s %g is outside 0..%g", field, v, hi);
}

int bk__mix_check(const struct bk_mix *m, struct bk_error *err)
{
    BK_TRY(check("mixup", m->mixup, 100, err));
    BK_TRY(check("cutmix", m->cutmix, 100, err));
    BK_TRY(check("prob", m->prob, 1, err));
    BK_TRY(check("switch_prob", m->switch_prob, 1, err));
    BK_TRY(check("smoothing", m->smoothing, 1, err));
    return check("n_classes", m->n_classes, 1e6, err);
}

/* Marsaglia, Tsang 2000: gamma variates of shape a >= 1 by squeezing a normal; below 1
 * through shape a + 1 and a power of a uniform. */
static double draw_gamma(struct bk_random *r, double a)
{
    double scale = 1;
    if (a < 1) {
        scale = pow(1.0 - bk_random_f64(r), 1 / a);
        a += 1;
    }
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = bk_random_normal(r), v = 1 + c * x;
        double u = 1.0 - bk_random_f64(r);
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return scale * d * v;
    }
}

static double draw_beta(struct bk_random *r, double a)
{
    double x = draw_gamma(r, a), y = draw_gamma(r, a);
    return x + y > 0 ? x / (x + y) : 0.5;
}

static int32_t clip(int32_t v, int32_t n)
{
    return v < 0 ? 0 : v > n ? n : v;
}

static void draw_box(struct bk_random *r, int32_t size, struct bk__mix_draw *d)
{
    int32_t side = (int32_t)(size * sqrt(1 - d->lambda));
    int32_t cy = (int32_t)bk_random_below(r, (uint32_t)size);
    int32_t cx = (int32_t)bk_random_below(r, (uint32_t)size);
    d->y0 = clip(cy - side / 2, size);
    d->y1 = clip(cy + side / 2, size);
    d->x0 = clip(cx - side / 2, size);
    d->x1 = clip(cx + side / 2, size);
    d->lambda = 1 - (double)(d->y1 - d->y0) * (d->x1 - d->x0) / ((double)size * size);
}

void bk__mix_decide(const struct bk_mix *m, uint64_t seed, int32_t epoch, int32_t index,
                    int32_t size, struct bk__mix_draw *out)
{
    struct bk_random r;
    *out = (struct bk__mix_draw){ .lambda = 1 };
    bk_random_init(&r, seed, bk_random_stream("mix"), (uint64_t)epoch,
                   (uint32_t)index);
    if ((m->mixup <= 0 && m->cutmix <= 0) || bk_random_f64(&r) >= m->prob)
        return;
    out->cut = m->cutmix > 0;
    if (m->mixup > 0 && m->cutmix > 0)
        out->cut = bk_random_f64(&r) < m->switch_prob;
    out->lambda = draw_beta(&r, out->cut ? m->cutmix : m->mixup);
    if (out->cut)
        draw_box(&r, size, out);
}

static void swap_box(const struct bk__mix_draw *d, int32_t size, float *a, float *b)
{
    for (int32_t y = d->y0; y < d->y1; y++) {
        size_t at = ((size_t)y * (size_t)size + (size_t)d->x0) * 3;
        size_t n = (size_t)(d->x1 - d->x0) * 3;
        for (size_t i = at; i < at + n; i++) {
            float v = a[i];
            a[i] = b[i];
            b[i] = v;
        }
    }
}

static void blend_pair(double lambda, size_t n, float *a, float *b)
{
    const float own = (float)lambda, other = (float)(1 - lambda);
    for (size_t i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = x * own + y * other;
        b[i] = y * own + x * other;
    }
}

void bk__mix_images(const struct bk__mix_draw *d, int32_t n, int32_t size,
                    float *images)
{
    size_t each = (size_t)size * (size_t)size * 3;
    if (d->lambda == 1)
        return;
    for (int32_t i = 0; i < n / 2; i++) { /* the middle one of an odd batch is its own partner */
        float *a = images + (size_t)i * each, *b = images + (size_t)(n - 1 - i) * each;
        if (d->cut)
            swap_box(d, size, a, b);
        else
            blend_pair(d->lambda, each, a, b);
    }
}

void bk__mix_targets(const struct bk_mix *m, const struct bk__mix_draw *d,
                     const int32_t *label, int32_t n, float *target)
{
    const double off = m->smoothing / m->n_classes, on = 1 - m->smoothing;
    size_t classes = (size_t)m->n_classes;
    for (int32_t i = 0; i < n; i++, target += classes) {
        for (size_t c = 0; c < classes; c++)
            target[c] = (float)off;
        double own = label[i] == label[n - 1 - i] ? 1 : d->lambda;
        target[label[i]] = (float)(off + on * own);
        if (own < 1)
            target[label[n - 1 - i]] = (float)(off + on * (1 - own));
    }
}

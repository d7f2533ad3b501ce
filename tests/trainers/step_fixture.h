/*
 * tests/trainers/step_fixture.h: the step fixtures of PyTorch (tests/fixtures/step_common.py) as tests read them: paths, views
 * and the settings that the scripts fix. Not a test itself.
 */
#ifndef BK_TESTS_STEP_FIXTURE_H
#define BK_TESTS_STEP_FIXTURE_H

#include "formula.h"
#include "method_fixture.h"

enum { STEP_HIDDEN = 24, STEP_OUT = 12, STEP_SEED = 11 };

/* Of the largest element of each tensor (of a norm: of its scale and offset together), in f32, on every backend. */
static const double step_tolerance = 1e-5;

/* Files "<fixture><variant>_block<block>.safetensors" and the space they were made for. */
struct step_case {
    const char *fixture, *space;
    const char *const *options;
    int block;
    bool own;                   /* every path has views of its own */
};

static const char *const nats_step_options[] = { "widths=[8,16]", "pooled_width=20", NULL };
static const char *const mbconv_step_options[] = { "widths=[6,8]", "depths=[2,2]", "strides=[2,1]", "ops=[35,23,13,15]", NULL };

static const struct step_case nats_step[2] = { { "nats_step", "nats_ss", nats_step_options, 0, false },
                                               { "nats_step", "nats_ss", nats_step_options, 1, false } };
static const struct step_case mbconv_step[2] = { { "mbconv_step", "mbconv", mbconv_step_options, 0, true },
                                                 { "mbconv_step", "mbconv", mbconv_step_options, 1, true } };

static const char *const hytra_step_options[] = { "width=16", NULL };
static const struct step_case hytra_step[2] = { { "hytra_step", "hytra", hytra_step_options, 0, true },
                                                { "hytra_step", "hytra", hytra_step_options, 1, true } };

static inline struct bk_bundle *step_read(const struct step_case *c, const char *variant)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *data;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s%s_block%d.safetensors", bk_test_env("BK_TEST_SOURCE"), c->fixture, variant, c->block);
    BK_ASSERT_OK(bk_bundle_read(path, &data, &err));
    return data;
}

/* The strings of a metadata list such as ["10", "01"]; returns how many. */
static inline int32_t step_paths(const struct bk_bundle *b, const char *key, struct bk_path *out)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t n = 0;
    for (const char *p = bk_bundle_text(b, key); p && (p = strchr(p, '"')); n++) {
        char digits[BK_MAX_LAYERS + 1] = "";
        const char *end = strchr(p + 1, '"');
        memcpy(digits, p + 1, (size_t)(end - p - 1));
        BK_ASSERT_OK(bk_path_parse(digits, &out[n], &err));
        p = end + 1;
    }
    return n;
}

/* As draw_formula() of step_common.py. */
static inline void step_formula(const struct bk_bundle *data, const char *name, int64_t fan_in, int64_t n, float *out)
{
    const char *dot = strrchr(name, '.'), *faint = bk_bundle_text(data, "faint");
    bool ends_so = strlen(faint) <= strlen(name) && !strcmp(name + strlen(name) - strlen(faint), faint);
    formula_parameter(!strcmp(dot, ".weight") ? BK_ROLE_WEIGHT : !strcmp(dot, ".scale") ? BK_ROLE_NORM_SCALE : BK_ROLE_BIAS, name,
                      fan_in, n, out);
    for (int64_t i = 0; i < n && ends_so; i++)
        out[i] /= 16;
}

/* Value of a parameter in the online or the target network (stored, or from the formula); false for buffers and slots not in the fixture. */
static inline bool step_weight(const struct bk_bundle *data, bool target, const char *slot, uint32_t rank, const int64_t *dim,
                               float *out)
{
    const char *dot = strrchr(slot, '.');
    const char *formula = bk_bundle_text(data, "weights");
    int64_t n = 1;
    char key[128];
    for (uint32_t i = 0; i < rank; i++)
        n *= dim[i];
    snprintf(key, sizeof key, "%c.%s", target && !formula ? 't' : 'w', slot);
    const struct bk_bundle_entry *e = bk_bundle_find(data, key);
    if (e) {
        CU_ASSERT_EQUAL_FATAL(e->nbytes, (size_t)n * sizeof *out);
        memcpy(out, e->data, e->nbytes);
    } else if (formula && strncmp(dot, ".running", 8)) {
        step_formula(data, key, n / dim[0], n, out);
    } else {
        return false;
    }
    if (!formula)
        return true;
    if (target) {
        float *more = malloc((size_t)n * sizeof *more);
        key[0] = 't';
        step_formula(data, key, n / dim[0], n, more);
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)(out[i] + 0.03 * more[i]);
        free(more);
    }
    return true;
}

enum { STEP_DIGEST = 16 };

/* As digest() of step_common.py. */
static inline void step_digest(const float *x, int64_t n, double out[STEP_DIGEST])
{
    memset(out, 0, STEP_DIGEST * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        out[0] = fmax(out[0], fabs((double)x[i]));
        out[1] += (double)x[i] * x[i];
    }
    out[1] = sqrt(out[1]);
    for (int j = 0; j < 6; j++) {
        char name[16];
        snprintf(name, sizeof name, "projection%d", j);
        for (int64_t i = 0; i < n; i++)
            out[2 + j] += formula_value(name, (uint64_t)i) < 0 ? -x[i] : x[i];
    }
    for (int j = 0; j < 8; j++)
        out[8 + j] = x[j * (n / 8)];
}

/* Largest difference of n values relative to the largest wanted one; of a digest also the norm of all differences, which the squares of
 * projections on random signs estimate without bias, relative to the norm of what is wanted. `least` bounds both from below. */
static inline double step_difference(const struct bk_bundle_entry *e, const float *got, int64_t n, double least)
{
    const float *want = e->data;
    double worst = 0, scale = least, digest[STEP_DIGEST];
    if (e->nbytes == (size_t)n * sizeof *got) {
        for (int64_t i = 0; i < n; i++) {
            worst = fmax(worst, fabs((double)got[i] - want[i]));
            scale = fmax(scale, fabs((double)want[i]));
        }
        return worst / (scale > 0 ? scale : 1);
    }
    CU_ASSERT_EQUAL_FATAL(e->nbytes, STEP_DIGEST * sizeof *got);
    step_digest(got, n, digest);
    const double largest = fmax(least, (double)want[0]), norm = fmax(least, (double)want[1]);
    double squares = 0;
    for (int j = 2; j < 8; j++)
        squares += (digest[j] - want[j]) * (digest[j] - want[j]);
    worst = fmax(fabs(digest[1] - want[1]), sqrt(squares / 6)) / norm;
    for (int j = 0; j < STEP_DIGEST; j += j ? 1 : 8)
        worst = fmax(worst, fabs(digest[j] - want[j]) / largest);
    return worst;
}

/* For the `n` values of a norm's "<key>.offset" the largest of its scale, so that both are measured alike: an offset in front of another
 * norm has hardly any gradient. 0 for other keys. */
static inline double step_partner(const struct bk_bundle *data, const char *key, int64_t n)
{
    const char *dot = strrchr(key, '.');
    char partner[160];
    double largest = 0;
    if (strcmp(dot, ".offset"))
        return 0;
    snprintf(partner, sizeof partner, "%.*s.scale", (int)(dot - key), key);
    const struct bk_bundle_entry *e = bk_bundle_find(data, partner);
    bool digest = e && e->nbytes != (size_t)n * sizeof(float);
    for (int64_t i = 0; e && i < (digest ? 1 : n); i++)
        largest = fmax(largest, fabs((double)((const float *)e->data)[i]));
    return largest;
}

/* Images [B,S,S,3] as bytes. */
static inline const struct bk_bundle_entry *step_images(const struct bk_bundle *data)
{
    const struct bk_bundle_entry *e = bk_bundle_find(data, "images");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL_FATAL(e->rank, 4);
    return e;
}

static const double step_mean[2][3] = { { 0.4914, 0.4822, 0.4465 }, { 0.3, 0.6, 0.45 } };
static const double step_std[2][3] = { { 0.2023, 0.1994, 0.2010 }, { 0.3, 0.15, 0.25 } };

/* Pipeline 1 or 2 (side 0 or 1); views of a path's own are mirrored at random. */
static inline struct bk_augment step_view(const struct step_case *c, const struct bk_bundle *data, int side)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    BK_ASSERT_OK(bk_augment_named("none", (int32_t)step_images(data)->dim[1], &a, &err));
    memcpy(a.mean, step_mean[side], sizeof a.mean);
    memcpy(a.std, step_std[side], sizeof a.std);
    a.flip = c->own ? 0.5 : 0;
    return a;
}

#endif

/*
 * tests/trainers/step_fixture.h: the step fixtures of PyTorch (tests/fixtures/step_common.py) as tests read them: paths, views
 * and the settings that the scripts fix. Not a test itself.
 */
#ifndef BK_TESTS_STEP_FIXTURE_H
#define BK_TESTS_STEP_FIXTURE_H

#include "method_fixture.h"

enum { STEP_HIDDEN = 24, STEP_OUT = 12, STEP_SEED = 11 };

/* A file "<fixture>_block<block>.safetensors" and the space it was made for. */
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

static inline struct bk_bundle *step_read(const struct step_case *c)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *data;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s_block%d.safetensors", bk_test_env("BK_TEST_SOURCE"), c->fixture, c->block);
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

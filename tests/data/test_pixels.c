/*
 * Operations on pixels and decoding against what Pillow gives (fixtures/augment.bin,
 * decode.bin), byte by byte.
 */
#include "data/pixels.h"
#include "fixture_bin.h"

#include <bosskit/dataset.h>

static struct bk__scratch scratch;

/* Run the operation a record names on a copy of the source; false for records that are
 * not operations. */
static bool apply(const struct fixture *source, const struct fixture *want, uint8_t *p)
{
    struct bk_error err = BK_ERROR_INIT;
    size_t n = (size_t)source->width * (size_t)source->height;
    struct bk__window all = { source->rgb, (size_t)source->width * 3, source->width,
                              source->height };
    double v = want->parameter;

    if (n == (size_t)want->width * (size_t)want->height)
        memcpy(p, source->rgb, 3 * n);
    if (!strcmp(want->name, "brightness"))
        bk__adjust_brightness(p, n, (float)v);
    else if (!strcmp(want->name, "contrast"))
        bk__adjust_contrast(p, n, (float)v);
    else if (!strcmp(want->name, "saturation"))
        bk__adjust_saturation(p, n, (float)v);
    else if (!strcmp(want->name, "hue"))
        bk__adjust_hue(p, n, v);
    else if (!strcmp(want->name, "grey"))
        bk__to_grey(p, n);
    else if (!strcmp(want->name, "solarize"))
        bk__solarize(p, n, (int)v);
    else if (!strcmp(want->name, "blur"))
        BK_ASSERT_OK(bk__gaussian_blur(&scratch, p, source->width, source->height,
                                       (float)v, &err));
    else if (!strcmp(want->name, "resize"))
        BK_ASSERT_OK(
            bk__resize(&scratch, false, &all, want->width, want->height, p, &err));
    else if (!strcmp(want->name, "resize_linear"))
        BK_ASSERT_OK(
            bk__resize(&scratch, true, &all, want->width, want->height, p, &err));
    else if (!strcmp(want->name, "resize_crop")) {
        all.rgb += (3 * (size_t)source->width + 5) * 3;
        all.width = 23;
        all.height = 19;
        BK_ASSERT_OK(
            bk__resize(&scratch, false, &all, want->width, want->height, p, &err));
    } else
        return false;
    return true;
}

static void test_operations(void)
{
    struct fixture source, want;
    int n = 0;
    FILE *f = fixture_open("augment.bin");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_FATAL(fixture_next(f, &source));
    while (fixture_next(f, &want)) {
        size_t nbytes = (size_t)want.width * (size_t)want.height * 3;
        uint8_t *p = malloc(nbytes);
        if (apply(&source, &want, p)) {
            int d = fixture_distance(p, want.rgb, nbytes);
            if (d)
                printf("\n    %s %g to %d x %d: off by %d", want.name, want.parameter,
                       want.width, want.height, d);
            CU_ASSERT_EQUAL(d, 0);
            n++;
        }
        free(p);
        free(want.rgb);
    }
    CU_ASSERT_EQUAL(n, 12 + 5 + 2 + 6 + 13);
    free(source.rgb);
    fclose(f);
    bk__scratch_release(&scratch);
}

/* The whole center pipeline: resize, centre crop, normalise. */
static void test_center(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture source, want;
    struct bk_augment a;
    float out[14 * 14 * 3];
    double worst = 0;
    FILE *f = fixture_open("augment.bin");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_FATAL(fixture_next(f, &source));
    while (fixture_next(f, &want) && strcmp(want.name, "center"))
        free(want.rgb);
    CU_ASSERT_STRING_EQUAL_FATAL(want.name, "center");
    BK_ASSERT_OK(bk_augment_named("center", 14, &a, &err));
    const struct bk_image image = { source.rgb, source.width, source.height, 0 };
    BK_ASSERT_OK(bk_augment_apply(&a, &image, 1, 2, 3, 4, out, &err));
    for (int i = 0; i < 14 * 14 * 3; i++) {
        double v = (want.rgb[i] / 255.0 - a.mean[i % 3]) / a.std[i % 3];
        worst = fmax(worst, fabs(v - out[i]));
    }
    CU_ASSERT(worst < 1e-6);
    free(source.rgb);
    free(want.rgb);
    fclose(f);
}

static void test_decode(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture want;
    int n = 0;
    FILE *f = fixture_open("decode.bin");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (; fixture_next(f, &want); n++) {
        char path[1024];
        uint8_t *rgb;
        int32_t w, h;
        snprintf(path, sizeof path, "%s/tests/fixtures/images/%s",
                 bk_test_env("BK_TEST_SOURCE"), want.name);
        BK_ASSERT_OK(bk_image_decode(path, &rgb, &w, &h, &err));
        CU_ASSERT_EQUAL_FATAL(w, want.width);
        CU_ASSERT_EQUAL_FATAL(h, want.height);
        int d = fixture_distance(rgb, want.rgb, (size_t)w * (size_t)h * 3);
        int allowed =
            strstr(want.name, ".png") ? 0 : 2; /* JPEG decoders may round differently */
        if (d > allowed)
            printf("\n    %s: off by %d", want.name, d);
        CU_ASSERT(d <= allowed);
        bk_free(rgb);
        free(want.rgb);
    }
    CU_ASSERT_EQUAL(n, 11);
    fclose(f);
}

BK_SUITE({ "operations are Pillow's", test_operations },
         { "center pipeline", test_center }, { "decoding", test_decode })

/*
 * Operations of RandAugment and AutoAugment against timm's on Pillow images, byte by byte (fixtures/policy.bin); how
 * often and how they are drawn; random erasing.
 */
#include "data/augment.h"
#include "data/augment_policy.h"
#include "fixture_bin.h"

#define SIZE 32

static void test_operations(void)
{
    static const uint8_t fill[3] = { 124, 116, 104 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk__scratch scratch = { 0 };
    struct fixture source = { .rgb = NULL }, want;
    int n = 0, wrong = 0;
    FILE *f = fixture_open("policy.bin");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while (fixture_next(f, &want)) {
        size_t nbytes = (size_t)want.width * (size_t)want.height * 3;
        if (!strcmp(want.name, "source")) {
            free(source.rgb);
            source = want;
            continue;
        }
        uint8_t *p = malloc(nbytes);
        int op = bk__policy_op(want.name);
        CU_ASSERT_FATAL(op >= 0);
        memcpy(p, source.rgb, nbytes);
        struct bk_view_step step;
        bk__policy_step(op, fabs(want.parameter), want.parameter < 0, want.width, want.height, &step);
        BK_ASSERT_OK(bk__view_step(&scratch, &step, fill, p, want.width, want.height, &err));
        int d = fixture_distance(p, want.rgb, nbytes);
        if (d)
            printf("\n    %s %g on %d x %d: off by %d", want.name, want.parameter, want.width, want.height, d);
        wrong += d != 0;
        n++;
        free(p);
        free(want.rgb);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(n > 180);
    free(source.rgb);
    fclose(f);
    bk__scratch_release(&scratch);
    CU_ASSERT_EQUAL(bk__policy_op("Nothing"), -1);
}

static struct bk_augment plain(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    BK_ASSERT_OK(bk_augment_named("none", SIZE, &a, &err));
    return a;
}

/** How many of n views of one image differ from the image itself. */
static double share_changed(const struct bk_augment *a, const uint8_t *rgb, int n)
{
    static float got[SIZE * SIZE * 3], want[SIZE * SIZE * 3];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_augment none = plain();
    int changed = 0;
    BK_ASSERT_OK(bk_augment_apply(&none, &image, 0, 0, 0, 0, want, &err));
    for (int i = 0; i < n; i++) {
        BK_ASSERT_OK(bk_augment_apply(a, &image, 3, 0, (uint32_t)i, 0, got, &err));
        changed += memcmp(got, want, sizeof got) != 0;
    }
    return (double)changed / n;
}

static void fill_noise(uint8_t *rgb)
{
    struct bk_random r;
    bk_random_init(&r, 1, 2, 3, 4);
    for (int i = 0; i < SIZE * SIZE * 3; i++)
        rgb[i] = (uint8_t)(20 + bk_random_below(&r, 200));
}

/* Each of two operations is applied with probability 1/2, and every one of the 15 changes noise at magnitude 9: a
 * quarter of the views is unchanged. Five deviations of 1500 draws are 0.056. */
static void test_draws(void)
{
    static uint8_t rgb[SIZE * SIZE * 3];
    struct bk_augment a = plain();
    fill_noise(rgb);
    a.policy = BK_POLICY_RAND;
    a.rand_ops = 2;
    a.rand_prob = 0.5;
    a.rand_magnitude = 9;
    a.rand_std = 0.5;
    BK_ASSERT_CLOSE(share_changed(&a, rgb, 1500), 0.75, 0.056);
    a.rand_ops = 1;
    a.rand_prob = 1;
    BK_ASSERT_CLOSE(share_changed(&a, rgb, 300), 1, 0);
    a.rand_prob = 0;
    BK_ASSERT_CLOSE(share_changed(&a, rgb, 100), 0, 0);
    a.policy = BK_POLICY_AUTO;
    double share = share_changed(&a, rgb, 500);
    CU_ASSERT(share > 0.7 && share < 1);
}

/* Erasing: frequency, and mean share of the area, which for a box that always fits is the mean of U(lo, hi); the box
 * is N(0,1), and what is outside is untouched. */
static void test_erasing(void)
{
    static uint8_t rgb[SIZE * SIZE * 3];
    static float got[SIZE * SIZE * 3];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_augment a = plain();
    double sum = 0, square = 0, area = 0;
    size_t n = 0, erased = 0;

    memset(rgb, 255, sizeof rgb);                       /* 1 after normalising; N(0,1) never gives exactly 1 */
    a.erase = 0.25;
    a.erase_area_min = 0.02;
    a.erase_area_max = 1.0 / 3;
    a.erase_aspect = 0.3;
    for (uint32_t i = 0; i < 4000; i++) {
        size_t here = 0;
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 3, 0, i, 0, got, &err));
        for (int k = 0; k < SIZE * SIZE * 3; k++) {
            if (got[k] == 1)
                continue;
            here++;
            sum += got[k];
            square += (double)got[k] * got[k];
        }
        n += here;
        erased += here > 0;
        area += (double)here / (SIZE * SIZE * 3);
    }
    BK_ASSERT_CLOSE((double)erased / 4000, 0.25, 0.035);
    /* boxes that do not fit are drawn again, and those are the large ones: a little below (0.02 + 1/3)/2 */
    BK_ASSERT_CLOSE(area / (double)erased, 0.1767, 0.02);
    BK_ASSERT_CLOSE(sum / (double)n, 0, 0.01);
    BK_ASSERT_CLOSE(square / (double)n, 1, 0.01);
}

/* The box whose pixels are no longer 1, as the normalised image was; false where nothing was erased. */
static bool erased_box(const float *p, int *w, int *h)
{
    int x0 = SIZE, y0 = SIZE, x1 = -1, y1 = -1;
    for (int i = 0; i < SIZE * SIZE; i++) {
        if (p[3 * i] == 1)
            continue;
        x0 = i % SIZE < x0 ? i % SIZE : x0;
        x1 = i % SIZE > x1 ? i % SIZE : x1;
        y0 = i / SIZE < y0 ? i / SIZE : y0;
        y1 = i / SIZE > y1 ? i / SIZE : y1;
    }
    *w = x1 - x0 + 1;
    *h = y1 - y0 + 1;
    return x1 >= 0;
}

/* An even aspect (height over width) in 0.3..10/3 is above 1.2 with probability (10/3 - 1.2) / (10/3 - 0.3) = 0.70; a
 * log-uniform one with probability log(10/3 / 1.2) / log(100/9) = 0.42. Boxes are small enough to fit at once. */
static void test_erased_aspect(void)
{
    static uint8_t rgb[SIZE * SIZE * 3];
    static float got[SIZE * SIZE * 3];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_augment a = plain();
    memset(rgb, 255, sizeof rgb);
    a.erase = 1;
    a.erase_area_min = a.erase_area_max = 0.25;
    a.erase_aspect = 0.3;
    for (a.erase_even = 0; a.erase_even < 2; a.erase_even++) {
        int tall = 0, w, h;
        for (uint32_t i = 0; i < 2000; i++) {
            BK_ASSERT_OK(bk_augment_apply(&a, &image, 3, 0, i, 0, got, &err));
            CU_ASSERT_FATAL(erased_box(got, &w, &h));
            CU_ASSERT(abs(w * h - 256) < 32);
            tall += h > 1.2 * w;
        }
        BK_ASSERT_CLOSE(tall / 2000., a.erase_even ? 0.70 : 0.42, 0.06);
    }
}

/* Boxes of the whole image never fit: after the last try the image stays as it is. */
static void test_erasing_tries(void)
{
    static uint8_t rgb[SIZE * SIZE * 3];
    static float got[SIZE * SIZE * 3];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_augment a = plain();
    int erased[2] = { 0, 0 }, w, h;
    memset(rgb, 255, sizeof rgb);
    a.erase = 1;
    a.erase_area_min = 0.85;
    a.erase_area_max = 1;
    a.erase_aspect = 0.3;
    for (int k = 0; k < 2; k++) {
        a.erase_tries = k ? 100 : 1;
        for (uint32_t i = 0; i < 300; i++) {
            BK_ASSERT_OK(bk_augment_apply(&a, &image, 3, 0, i, 0, got, &err));
            erased[k] += erased_box(got, &w, &h);
        }
    }
    CU_ASSERT(erased[0] < 60);
    CU_ASSERT(erased[1] > 240);
}

/* The whole image, resized: each view is one of the two kernels' results, half of them either's. */
static void test_either_kernel(void)
{
    static uint8_t rgb[SIZE * SIZE * 3];
    enum { N = 3 * 20 * 20 };
    float got[N], want[2][N];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_augment a = plain();
    int n[2] = { 0, 0 };
    fill_noise(rgb);
    a.crop = BK_CROP_RESIZED;
    a.size = 20;
    a.area_min = a.area_max = a.aspect_min = a.aspect_max = 1;
    for (a.resample = BK_RESAMPLE_BICUBIC; a.resample <= BK_RESAMPLE_BILINEAR; a.resample++)
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 3, 0, 0, 0, want[a.resample], &err));
    CU_ASSERT(memcmp(want[0], want[1], sizeof got) != 0);
    for (uint32_t i = 0; i < 1000; i++) {
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 3, 0, i, 0, got, &err));
        n[0] += !memcmp(got, want[0], sizeof got);
        n[1] += !memcmp(got, want[1], sizeof got);
    }
    CU_ASSERT_EQUAL(n[0] + n[1], 1000);
    BK_ASSERT_CLOSE(n[0] / 1000., 0.5, 0.08);
}

/* Distillation's images: what Li et al. 2020 (released code) do, by its figures. */
static void test_dna(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    BK_ASSERT_OK(bk_augment_named("dna", 224, &a, &err));
    CU_ASSERT(a.crop == BK_CROP_RESIZED && a.area_min == 0.08 && a.area_max == 1 && a.aspect_max == 4. / 3);
    CU_ASSERT(a.resample == BK_RESAMPLE_EITHER && a.flip == 0.5);
    CU_ASSERT(a.jitter == 1 && a.brightness == 0.4 && a.contrast == 0.4 && a.saturation == 0.4 && a.hue == 0);
    CU_ASSERT(a.grey == 0 && a.blur == 0 && a.solarize == 0 && a.policy == BK_POLICY_NONE);
    CU_ASSERT(a.erase == 0.5 && a.erase_area_min == 0.02 && a.erase_area_max == 1. / 3 && a.erase_aspect == 0.3);
    CU_ASSERT(a.erase_even == 1 && a.erase_tries == 100);
    CU_ASSERT(a.mean[0] == 0.485 && a.std[2] == 0.225);
}

static void test_refusals(void)
{
    static const uint8_t rgb[SIZE * SIZE * 3];
    static float out[SIZE * SIZE * 3];
    const struct bk_image image = { rgb, SIZE, SIZE, 0 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a = plain();
    a.erase = 1.5;
    CU_ASSERT_EQUAL(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "erase 1.5 is outside 0..1"));
    a.erase = 0.5;
    a.erase_aspect = 0.3;
    a.erase_tries = -1;
    CU_ASSERT_EQUAL(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "erase_tries -1 is outside"));
    a = plain();
    a.crop = BK_CROP_RESIZED;
    a.area_min = a.area_max = a.aspect_min = a.aspect_max = 1;
    a.resample = 3;
    CU_ASSERT_EQUAL(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "resample 3 is outside 0..2"));
    a = plain();
    a.policy = BK_POLICY_RAND;
    a.rand_magnitude = 11;
    CU_ASSERT_EQUAL(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL);
    a.rand_magnitude = 9;
    a.rand_ops = 16;
    a.rand_prob = 1;
    a.jitter = a.grey = a.blur = a.solarize = a.hue = 0.5;      /* the longest plan there is */
    a.brightness = a.contrast = a.saturation = 0.5;
    for (uint32_t i = 0; i < 40; i++)
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 0, 0, i, 0, out, &err));
    a.rand_ops = 17;
    CU_ASSERT_EQUAL(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "rand_ops 17 is outside 0..16"));
}

BK_SUITE({ "operations are timm's", test_operations }, { "draws", test_draws }, { "erasing", test_erasing },
         { "erased boxes' aspect", test_erased_aspect }, { "tries of erasing", test_erasing_tries },
         { "either kernel", test_either_kernel }, { "distillation's images", test_dna }, { "refusals", test_refusals })

/*
 * Views made by the cuda backend against those of the host, on a GPU (skipped without one) or emulated: every operation by itself,
 * whole pipelines on images of several sizes, batches of a loader. All values are the host's to the bit; only the noise of erased
 * boxes, which needs logarithms and sines, may differ by 1e-5.
 */
#include "backends/cuda_fixture.h"
#include "data/augment.h"
#include "data/augment_policy.h"
#include "fixture_bin.h"
#include <bosskit/backend.h>
#include <bosskit/file.h>
#include <bosskit/method.h>
#include <unistd.h>

/* ---- images ---------------------------------------------------------------------------------------------- */

/* A picture of a kind: soft gradients, edges, grain, a few saturated and black spots. */
static struct bk_image picture(int32_t width, int32_t height, uint32_t seed)
{
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    struct bk_random r;
    bk_random_init(&r, seed, 9, 0, 0);
    double phase = 6 * bk_random_f64(&r);
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                double v = 120 + 90 * sin(0.05 * x + phase + c) * cos(0.04 * y - c) + (x / 9 + y / 7) % 2 * 25;
                v += 20 * (bk_random_f64(&r) - 0.5);
                if (bk_random_f64(&r) < 0.01)
                    v = c == 1 ? 300 : -20;
                rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    return (struct bk_image){ rgb, width, height, 0 };
}

static void drop(struct bk_image *image)
{
    free((void *)(uintptr_t)image->rgb);
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static bool is_erased(const struct bk_view_plan *p, int32_t i)
{
    int32_t y = i / 3 / p->size - p->erase_y, x = i / 3 % p->size - p->erase_x;
    return y >= 0 && y < p->erase_height && x >= 0 && x < p->erase_width;
}

/* Values of `got` that are not the host's. */
static int count_wrong(const struct bk_view_plan *p, const float *want, const float *got, bool bf16)
{
    int wrong = 0;
    for (int32_t i = 0; i < 3 * p->size * p->size; i++) {
        float w = bf16 ? bk_bf16_to_f32(bk_f32_to_bf16(want[i])) : want[i];
        if (is_erased(p, i))
            wrong += !(fabs((double)(got[i] - w)) <= (bf16 ? 0.02 : 1e-5));
        else
            wrong += memcmp(&got[i], &w, sizeof w) != 0;
    }
    return wrong;
}

/* n plans of one size in one batch, in both types. */
static void check(const struct bk_view_plan *plan, int n, const char *what)
{
    const size_t each = (size_t)plan->size * (size_t)plan->size * 3;
    const int64_t dim[4] = { n, plan->size, plan->size, 3 };
    float *want = malloc((size_t)n * each * sizeof *want), *got = malloc((size_t)n * each * sizeof *got);
    struct bk__scratch scratch = { 0 };
    for (int i = 0; i < n; i++)
        BK_ASSERT_OK(bk__view_make(&scratch, &plan[i], want + (size_t)i * each, &err));
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct bk_tensor *t;
        int wrong = 0;
        BK_ASSERT_OK(bk_tensor_new(device, bf16 ? BK_BF16 : BK_F32, 4, dim, &t, &err));
        BK_ASSERT_OK(bk_device_make_views(device, plan, n, t, &err));
        BK_ASSERT_OK(bk_tensor_read_f32(t, got, &err));
        for (int i = 0; i < n; i++)
            wrong += count_wrong(&plan[i], want + (size_t)i * each, got + (size_t)i * each, bf16);
        if (wrong)
            printf("\n    %s, %s: %d of %zu values are not the host's", what, bf16 ? "bf16" : "f32", wrong, (size_t)n * each);
        CU_ASSERT_EQUAL(wrong, 0);
        bk_tensor_free(t);
    }
    bk__scratch_release(&scratch);
    free(want);
    free(got);
}

/* ---- every operation ------------------------------------------------------------------------------------- */

static struct bk_augment named(const char *name, int32_t size)
{
    struct bk_augment a;
    BK_ASSERT_OK(bk_augment_named(name, size, &a, &err));
    return a;
}

static void check_step(const struct bk_image *image, struct bk_view_step step, const char *what)
{
    struct bk_augment a = named("none", image->width);
    struct bk_view_plan plan;
    BK_ASSERT_OK(bk__view_decide(&a, image, 0, 0, 0, 0, &plan, &err));
    plan.fill[0] = 124, plan.fill[1] = 116, plan.fill[2] = 104;
    plan.step[plan.n_steps++] = step;
    check(&plan, 1, what);
}

static void check_steps(const struct bk_image *image)
{
    static const struct {
        uint32_t op;
        double amount[5];
        const char *name;
    } amounts[] = {
        { BK_VIEW_BRIGHTNESS, { 0.6, 1, 1.37, 0, 1.9 }, "brightness" }, { BK_VIEW_CONTRAST, { 0.6, 1, 1.37, 0, 1.9 }, "contrast" },
        { BK_VIEW_SATURATION, { 0.8, 1, 1.2, 0, 1.9 }, "saturation" }, { BK_VIEW_HUE, { -0.1, 0, 0.1, 0.5, -0.37 }, "hue" },
        { BK_VIEW_BLUR, { 0.1, 0.7, 2, 5.5, 0 }, "blur" }, { BK_VIEW_SHARPNESS, { 0.1, 1, 1.9, 0, 1.5 }, "sharpness" },
    };
    static const struct {
        uint32_t op;
        int32_t level[3];
        const char *name;
    } levels[] = {
        { BK_VIEW_SOLARIZE, { 128, 0, 256 }, "solarize" }, { BK_VIEW_POSTERIZE, { 0, 3, 8 }, "posterize" },
        { BK_VIEW_SOLARIZE_ADD, { 0, 40, 110 }, "solarize add" }, { BK_VIEW_GREY, { 0 }, "grey" },
        { BK_VIEW_AUTOCONTRAST, { 0 }, "autocontrast" }, { BK_VIEW_EQUALIZE, { 0 }, "equalize" }, { BK_VIEW_INVERT, { 0 }, "invert" },
    };
    static const char *const maps[] = { "Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel" };
    for (size_t i = 0; i < BK_ARRAY_LEN(amounts); i++)
        for (int k = 0; k < 5; k++)
            check_step(image, (struct bk_view_step){ .op = amounts[i].op, .amount = amounts[i].amount[k] }, amounts[i].name);
    for (size_t i = 0; i < BK_ARRAY_LEN(levels); i++)
        for (int k = 0; k < 3; k++)
            check_step(image, (struct bk_view_step){ .op = levels[i].op, .level = levels[i].level[k] }, levels[i].name);
    for (size_t i = 0; i < BK_ARRAY_LEN(maps); i++)
        for (int k = 0; k < 4; k++) {
            struct bk_view_step step;
            bk__policy_step(bk__policy_op(maps[i]), k < 2 ? 3.3 : 10, k % 2, image->width, image->height, &step);
            check_step(image, step, maps[i]);
        }
}

static void test_steps(void)
{
    OPEN_CUDA();
    static const int32_t sides[] = { 1, 2, 17, 40 };
    for (size_t i = 0; i < BK_ARRAY_LEN(sides); i++) {
        struct bk_image image = picture(sides[i], sides[i], 3 + (uint32_t)i);
        check_steps(&image);
        drop(&image);
    }
    uint8_t flat[12 * 12 * 3];                  /* nothing to stretch, no hue */
    memset(flat, 77, sizeof flat);
    const struct bk_image image = { flat, 12, 12, 0 };
    check_steps(&image);
    close_cuda();
}

/* ---- crops ----------------------------------------------------------------------------------------------- */

/* Windows, sizes and corners that the pipelines seldom draw; both kernels. */
static void test_windows(void)
{
    OPEN_CUDA();
    struct bk_image image = picture(61, 47, 5);
    struct bk_augment a = named("none", 16);
    struct bk_random r;
    enum { N = 60 };
    static struct bk_view_plan plan[N];
    bk_random_init(&r, 8, 8, 8, 8);
    a.crop = BK_CROP_PAD;
    for (int i = 0; i < N; i++) {
        struct bk_view_plan *p = &plan[i];
        BK_ASSERT_OK(bk__view_decide(&a, &image, 1, 0, (uint32_t)i, 0, p, &err));
        p->width = 1 + (int32_t)bk_random_below(&r, 61);
        p->height = 1 + (int32_t)bk_random_below(&r, 47);
        p->x = (int32_t)bk_random_below(&r, (uint32_t)(61 - p->width) + 1);
        p->y = (int32_t)bk_random_below(&r, (uint32_t)(47 - p->height) + 1);
        p->resized_width = i % 5 ? 1 + (int32_t)bk_random_below(&r, 50) : p->width;
        p->resized_height = i % 5 ? 1 + (int32_t)bk_random_below(&r, 50) : p->height;
        p->left = (int32_t)bk_random_below(&r, 40) - 20;
        p->top = (int32_t)bk_random_below(&r, 40) - 20;
        p->linear = i % 2;
        p->flip = i % 3 == 0;
    }
    check(plan, N, "windows");
    drop(&image);
    close_cuda();
}

/* ---- pipelines ------------------------------------------------------------------------------------------- */

static void check_pipeline(const struct bk_augment *a, const struct bk_image *image, int n_images, int n, const char *what)
{
    struct bk_view_plan *plan = malloc((size_t)n * sizeof *plan);
    for (int i = 0; i < n; i++)
        BK_ASSERT_OK(bk__view_decide(a, &image[i % n_images], 7, 2, (uint32_t)i, 1, &plan[i], &err));
    check(plan, n, what);
    free(plan);
}

static void test_pipelines(void)
{
    OPEN_CUDA();
    static const char *const names[] = { "imagenet_1", "imagenet_2", "byol_1", "byol_2", "dna", "center" };
    struct bk_image photo[4] = { picture(160, 120, 1), picture(97, 150, 2), picture(48, 48, 3), picture(20, 31, 4) };
    struct bk_image small[2] = { picture(32, 32, 5), picture(32, 32, 6) };
    struct bk_image large = picture(500, 375, 7);
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        struct bk_augment a = named(names[i], 40);
        check_pipeline(&a, photo, 4, 40, names[i]);
        a = named(names[i], 224);
        check_pipeline(&a, &large, 1, 2, names[i]);
    }
    struct bk_augment a = named("cifar", 32);
    check_pipeline(&a, small, 2, 64, "cifar");
    a.policy = BK_POLICY_AUTO;
    check_pipeline(&a, small, 2, 60, "cifar with AutoAugment");
    a = named("imagenet_1", 33);
    a.jitter = a.grey = a.blur = 0;
    a.policy = BK_POLICY_RAND;
    a.rand_ops = 2;
    a.rand_prob = 1;
    a.rand_magnitude = 9;
    a.rand_std = 0.5;
    a.erase = 0.5;
    a.erase_area_min = 0.02;
    a.erase_area_max = 1.0 / 3;
    a.erase_aspect = 0.3;
    check_pipeline(&a, photo, 4, 80, "RandAugment and erasing");
    for (int i = 0; i < 4; i++)
        drop(&photo[i]);
    drop(&small[0]), drop(&small[1]), drop(&large);
    close_cuda();
}

/* ---- batches ---------------------------------------------------------------------------------------------- */

#define N_IMAGES 40

static struct bk_images *write_images(void)
{
    struct bk_images_writer *w;
    struct bk_images *images;
    char path[256];
    snprintf(path, sizeof path, "/tmp/bk_test_cuda_views_%ld.images", (long)getpid());
    BK_ASSERT_OK(bk_images_create(path, &w, &err));
    for (uint32_t i = 0; i < N_IMAGES; i++) {
        struct bk_image image = picture(30 + (int32_t)(i * 7 % 20), 28 + (int32_t)(i * 5 % 30), i);
        image.label = (int32_t)(i % 5);
        BK_ASSERT_OK(bk_images_add(w, &image, &err));
        drop(&image);
    }
    BK_ASSERT_OK(bk_images_finish(w, &err));
    BK_ASSERT_OK(bk_images_open(path, &images, &err));
    unlink(path);
    return images;
}

/* More batches than uploads that may be under way, without reading in between. */
static void check_loaders(const struct bk_loader_config *c)
{
    enum { N_BATCHES = 11 };
    struct bk_loader_config planned = *c;
    struct bk_loader *host, *plans;
    struct bk_tape *tape;
    struct bk_tensor *x[N_BATCHES][2];
    struct bk_batch b;
    int n[N_BATCHES], wrong = 0;
    planned.plan_only = true;
    BK_ASSERT_OK(bk_loader_new(c, &host, &err));
    BK_ASSERT_OK(bk_loader_new(&planned, &plans, &err));
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));
    for (int k = 0; k < N_BATCHES; k++) {
        BK_ASSERT_OK(bk_loader_next(plans, &b, &err));
        n[k] = b.n;
        for (int v = 0; v < 2; v++) {
            CU_ASSERT_PTR_NULL(b.view[v]);
            BK_ASSERT_OK(bk_batch_view(tape, BK_F32, &b, v, c->view[v].size, &x[k][v], &err));
        }
    }
    for (int k = 0; k < N_BATCHES; k++) {
        BK_ASSERT_OK(bk_loader_next(host, &b, &err));
        CU_ASSERT_EQUAL(b.n, n[k]);
        for (int v = 0; v < 2; v++) {
            size_t nbytes = bk_tensor_nbytes(x[k][v]);
            float *got = malloc(nbytes);
            BK_ASSERT_OK(bk_tensor_read_f32(x[k][v], got, &err));
            wrong += memcmp(got, b.view[v], nbytes) != 0;
            free(got);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    bk_tape_free(tape);
    bk_loader_free(plans);
    bk_loader_free(host);
}

static void test_batches(void)
{
    OPEN_CUDA();
    struct bk_images *images = write_images();
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = { .split = &split, .batch = 9, .n_views = 2, .seed = 4, .shuffle = true };
    for (uint32_t i = 0; i < N_IMAGES; i++)
        index[i] = i;
    bk_split_init(&split, images, index, N_IMAGES);
    c.view[0] = named("imagenet_2", 24);
    c.view[1] = named("byol_1", 24);
    for (c.threads = 0; c.threads < 3; c.threads += 2)
        check_loaders(&c);
    bk_images_close(images);
    close_cuda();
}

/* ---- refusals -------------------------------------------------------------------------------------------- */

static void check_refused(int64_t n, int64_t side, uint32_t dtype, int want)
{
    struct bk_image image = picture(8, 8, 1);
    struct bk_augment a = named("none", 8);
    struct bk_view_plan plan[2];
    struct bk_tensor *t;
    const int64_t dim[4] = { n, side, side, 3 };
    for (uint32_t i = 0; i < 2; i++)
        BK_ASSERT_OK(bk__view_decide(&a, &image, 0, 0, i, 0, &plan[i], &err));
    BK_ASSERT_OK(bk_tensor_new(device, dtype, 4, dim, &t, &err));
    CU_ASSERT_EQUAL(bk_device_make_views(device, plan, 2, t, &err), want);
    bk_tensor_free(t);
    drop(&image);
}

static void test_refusals(void)
{
    OPEN_CUDA();
    check_refused(2, 8, BK_F32, BK_OK);
    check_refused(3, 8, BK_F32, BK_ESHAPE);
    check_refused(2, 9, BK_F32, BK_ESHAPE);
    check_refused(2, 8, BK_I32, BK_EINVAL);
    close_cuda();
}

BK_SUITE({ "operations", test_steps }, { "windows", test_windows }, { "pipelines", test_pipelines }, { "batches", test_batches },
         { "refusals", test_refusals })

/*
 * Views and batches: distributions of the random choices, independence of the number of
 * threads, resuming, order.
 */
#include "data/augment.h"
#include "unit.h"

#include <bosskit/backend.h>
#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <bosskit/random.h>
#include <unistd.h>

#define N_IMAGES 83
#define SIDE     16

static char cache_path[256];

/* Pixel (x, y, c) of image i; distinct enough to see which image and which pixel a
 * value came from. */
static uint8_t pixel(uint32_t i, int x, int y, int c)
{
    return (uint8_t)(i * 7 + (uint32_t)x * 13 + (uint32_t)y * 29 + (uint32_t)c * 101 +
                     1);
}

static struct bk_images *make_images(int odd_one)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images_writer *w;
    struct bk_images *images = NULL;
    uint8_t rgb[SIDE * SIDE * 3];
    snprintf(cache_path, sizeof cache_path, "/tmp/bk_test_loader_%ld.images",
             (long)getpid());
    BK_ASSERT_OK(bk_images_create(cache_path, &w, &err));
    for (uint32_t i = 0; i < N_IMAGES; i++) {
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                for (int c = 0; c < 3; c++)
                    rgb[(y * SIDE + x) * 3 + c] = pixel(i, x, y, c);
        int side = (int)i == odd_one ? 8 : SIDE;
        const struct bk_image image = { rgb, side, side, (int32_t)(i % 5) };
        BK_ASSERT_OK(bk_images_add(w, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(w, &err));
    BK_ASSERT_OK(bk_images_open(cache_path, &images, &err));
    unlink(cache_path);
    return images;
}

static struct bk_loader_config config_for(struct bk_images *images,
                                          struct bk_split *split, uint32_t *index)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader_config c = {
        .split = split, .batch = 10, .n_views = 2, .seed = 5, .shuffle = true
    };
    for (uint32_t i = 0; i < N_IMAGES; i++)
        index[i] = N_IMAGES - 1 - i;
    bk_split_init(split, images, index, N_IMAGES);
    BK_ASSERT_OK(bk_augment_named("cifar", SIDE, &c.view[0], &err));
    BK_ASSERT_OK(bk_augment_named("imagenet_2", 20, &c.view[1], &err));
    return c;
}

/* Everything a batch says, as one digest. */
static void digest_batch(struct bk_sha256 *sha, const struct bk_loader_config *c,
                         const struct bk_batch *b)
{
    const int32_t head[4] = { b->n, b->epoch, b->index, b->n_batches };
    bk_sha256_add(sha, head, sizeof head);
    bk_sha256_add(sha, b->label, (size_t)b->n * 4);
    bk_sha256_add(sha, b->image, (size_t)b->n * 4);
    for (int v = 0; v < c->n_views; v++)
        bk_sha256_add(sha, b->view[v],
                      (size_t)b->n * (size_t)c->view[v].size * (size_t)c->view[v].size *
                          12);
}

static void digest_run(const struct bk_loader_config *c, int skip_epoch, int skip_index,
                       int n, char out[65])
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader *l;
    struct bk_batch b;
    struct bk_sha256 sha;
    bk_sha256_init(&sha);
    BK_ASSERT_OK(bk_loader_new(c, &l, &err));
    if (skip_epoch || skip_index)
        BK_ASSERT_OK(bk_loader_seek(l, skip_epoch, skip_index, &err));
    for (int i = 0; i < n; i++) {
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        digest_batch(&sha, c, &b);
    }
    bk_loader_free(l);
    bk_sha256_hex(&sha, out);
}

static void test_threads(void)
{
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    char want[65], got[65];
    digest_run(&c, 0, 0, 25, want);
    const int threads[] = { 1, 3, 7 };
    for (int i = 0; i < 3; i++) {
        c.threads = threads[i];
        digest_run(&c, 0, 0, 25, got);
        CU_ASSERT_STRING_EQUAL(got, want);
    }
    c.seed = 6;
    digest_run(&c, 0, 0, 25, got);
    CU_ASSERT_STRING_NOT_EQUAL(got, want);
    bk_images_close(images);
}

/* A new loader after seek() continues a straight run, at every position, and so does
 * the same loader. */
static void test_seek(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_loader *l;
    struct bk_batch b;
    char straight[20][65], got[65];
    for (c.threads = 0; c.threads <= 2; c.threads += 2) {
        BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
        CU_ASSERT_EQUAL(bk_loader_batches(l), 9);
        for (int i = 0; i < 20; i++) {
            struct bk_sha256 sha;
            bk_sha256_init(&sha);
            BK_ASSERT_OK(bk_loader_next(l, &b, &err));
            CU_ASSERT_EQUAL(b.epoch, i / 9);
            CU_ASSERT_EQUAL(b.index, i % 9);
            CU_ASSERT_EQUAL(b.n, i % 9 == 8 ? 3 : 10);
            digest_batch(&sha, &c, &b);
            bk_sha256_hex(&sha, straight[i]);
        }
        for (int i = 19; i >= 0; i--) {
            struct bk_sha256 sha;
            digest_run(&c, i / 9, i % 9, 1, got);
            CU_ASSERT_STRING_EQUAL(got, straight[i]);
            bk_sha256_init(&sha);
            BK_ASSERT_OK(bk_loader_seek(l, i / 9, i % 9, &err));
            BK_ASSERT_OK(bk_loader_next(l, &b, &err));
            digest_batch(&sha, &c, &b);
            bk_sha256_hex(&sha, got);
            CU_ASSERT_STRING_EQUAL(got, straight[i]);
        }
        BK_ASSERT_OK(bk_loader_seek(l, 0, 9, &err));
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        CU_ASSERT(b.epoch == 1 && b.index == 0);
        bk_loader_free(l);
    }
    bk_images_close(images);
}

/* Each epoch has every image once; orders differ between epochs; labels and pixels
 * belong to the image. */
static void test_order(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES], first[2][10];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_loader *l;
    struct bk_batch b;
    c.n_views = 1;
    BK_ASSERT_OK(bk_augment_named("none", SIDE, &c.view[0], &err));
    BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[N_IMAGES] = { 0 };
        for (int k = 0; k < 9; k++) {
            BK_ASSERT_OK(bk_loader_next(l, &b, &err));
            if (k == 0)
                memcpy(first[epoch], b.image, sizeof first[0]);
            for (int i = 0; i < b.n; i++) {
                uint32_t number = index[b.image[i]];
                seen[b.image[i]]++;
                CU_ASSERT_EQUAL(b.label[i], (int32_t)(number % 5));
                float v = b.view[0][((i * SIDE + 3) * SIDE + 2) * 3 + 1];
                CU_ASSERT_EQUAL(v, (float)pixel(number, 2, 3, 1) / 255.0f);
            }
        }
        for (int i = 0; i < N_IMAGES; i++)
            CU_ASSERT_EQUAL(seen[i], 1);
    }
    CU_ASSERT_NOT_EQUAL(memcmp(first[0], first[1], sizeof first[0]), 0);
    bk_loader_free(l);

    c.shuffle = false;
    c.drop_last = true;
    c.limit = 39;
    BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
    CU_ASSERT_EQUAL(bk_loader_batches(l), 3);
    for (uint32_t k = 0; k < 6; k++) {
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        CU_ASSERT_EQUAL(b.n, 10);
        CU_ASSERT_EQUAL(b.image[4], k % 3 * 10 + 4);
    }
    bk_loader_free(l);
    bk_images_close(images);
}

/* A view is a function of (seed, epoch, image, view): the loader's equal
 * bk_augment_apply()'s. */
static void test_fixed_views(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_loader *l;
    struct bk_batch b;
    struct bk_image image;
    float want[20 * 20 * 3];
    for (int fixed = 0; fixed < 2; fixed++) {
        c.fixed_views = fixed;
        BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
        BK_ASSERT_OK(bk_loader_seek(l, 3, 2, &err));
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        for (int i = 0; i < b.n; i++)
            for (uint32_t v = 0; v < 2; v++) {
                size_t n = (size_t)c.view[v].size * (size_t)c.view[v].size * 3;
                bk_images_get(images, index[b.image[i]], &image);
                BK_ASSERT_OK(bk_augment_apply(&c.view[v], &image, c.seed, fixed ? 0 : 3,
                                              b.image[i], v, want, &err));
                CU_ASSERT_EQUAL(memcmp(want, b.view[v] + (size_t)i * n, n * 4), 0);
            }
        bk_loader_free(l);
    }
    bk_images_close(images);
}

/* Plans instead of views: carried out they are the views of a loader that makes them, and every other thing is alike. A
 * backend that makes none refuses them. */
static void test_plans(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk__scratch scratch = { 0 };
    struct bk_loader *views, *plans;
    struct bk_batch v, p;
    float got[20 * 20 * 3];
    for (c.threads = 0; c.threads < 5; c.threads += 2) {
        c.plan_only = false;
        BK_ASSERT_OK(bk_loader_new(&c, &views, &err));
        c.plan_only = true;
        BK_ASSERT_OK(bk_loader_new(&c, &plans, &err));
        for (int k = 0; k < 12; k++) {
            BK_ASSERT_OK(bk_loader_next(views, &v, &err));
            BK_ASSERT_OK(bk_loader_next(plans, &p, &err));
            CU_ASSERT(p.n == v.n && !memcmp(p.label, v.label, (size_t)v.n * 4));
            for (int i = 0; i < 2 * v.n; i++) {
                int w = i % 2;
                size_t n = (size_t)c.view[w].size * (size_t)c.view[w].size * 3;
                CU_ASSERT(!p.view[w] && !v.plan[w]);
                BK_ASSERT_OK(bk__view_make(&scratch, &p.plan[w][i / 2], got, &err));
                CU_ASSERT_EQUAL(memcmp(got, v.view[w] + (size_t)(i / 2) * n, n * 4), 0);
            }
        }
        bk_loader_free(views);
        bk_loader_free(plans);
    }
    c.n_views = 1;
    c.mix.n_classes = 5;
    BK_ASSERT_OK(bk_loader_new(&c, &plans, &err));
    BK_ASSERT_OK(bk_loader_next(plans, &p, &err));
    CU_ASSERT(p.view[0] && !p.plan[0]); /* mixed images are the host's */
    bk_loader_free(plans);
    bk__scratch_release(&scratch);
    bk_images_close(images);
}

/* A device without `make_views`, and what does not suit a plan. */
static void test_plan_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_view_plan plan = { .size = 4 };
    const int64_t dim[4] = { 1, 4, 4, 3 };
    struct bk_device *ref;
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &ref, &err));
    BK_ASSERT_OK(bk_tensor_new(ref, BK_F32, 4, dim, &t, &err));
    CU_ASSERT(!bk_device_makes_views(ref));
    CU_ASSERT_EQUAL(bk_device_make_views(ref, &plan, 1, t, &err), BK_ENOTSUP);
    bk_tensor_free(t);
    bk_device_close(ref);
}

/* One image is too small for the pipeline: the same sentence for any number of threads,
 * and seek() gets past it. */
static void test_failing_image(void)
{
    struct bk_images *images = make_images(40);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    char first[1020] = "";
    c.n_views = 1;
    c.shuffle = false;
    c.view[0].pad = 2; /* 8 + 4 < 16 */
    for (c.threads = 0; c.threads < 4; c.threads++) {
        struct bk_error err = BK_ERROR_INIT;
        struct bk_loader *l;
        struct bk_batch b;
        BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
        for (int i = 0; i < 4; i++)
            BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        CU_ASSERT_EQUAL(bk_loader_next(l, &b, &err), BK_ESHAPE);
        CU_ASSERT_EQUAL(bk_loader_next(l, &b, &err), BK_ESHAPE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "image 42 of the split"));
        if (!first[0])
            strcpy(first, err.text);
        CU_ASSERT_STRING_EQUAL(first, err.text);
        BK_ASSERT_OK(bk_loader_seek(l, 0, 5, &err));
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        CU_ASSERT_EQUAL(b.index, 5);
        bk_loader_free(l);
    }
    bk_images_close(images);
}

/* Free while workers are in the middle of things; sanitizers watch. */
static void test_free_early(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = make_images(-1);
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_batch b;
    c.threads = 3;
    for (int i = 0; i < 20; i++) {
        struct bk_loader *l;
        BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
        for (int k = 0; k < i % 4; k++)
            BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        if (i % 3 == 0)
            BK_ASSERT_OK(bk_loader_seek(l, i, 1, &err));
        bk_loader_free(l);
    }
    bk_images_close(images);
}

/* Frequencies of the random choices of the cifar pipeline: 81 offsets and flips, each
 * view independent. */
static void test_choices(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    enum { N = 32, DRAWS = 20000 };
    static uint8_t rgb[N * N * 3];
    static float out[N * N * 3];
    int offset[81] = { 0 }, flips = 0;
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N; x++) {
            rgb[(y * N + x) * 3] = (uint8_t)(100 + x);
            rgb[(y * N + x) * 3 + 1] = (uint8_t)(100 + y);
        }
    const struct bk_image image = { rgb, N, N, 0 };
    BK_ASSERT_OK(bk_augment_named("cifar", N, &a, &err));
    for (int c = 0; c < 3; c++) {
        a.mean[c] = 0;
        a.std[c] = 1;
    }
    for (uint32_t i = 0; i < DRAWS; i++) {
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 9, 0, i, 0, out, &err));
        const float *mid = out + (16 * N + 16) * 3, *next = mid + 3;
        bool flip = next[0] < mid[0];
        int x = (int)lrint(mid[0] * 255.0) - 100, y = (int)lrint(mid[1] * 255.0) - 100;
        int dx = flip ? x - 15 : x - 16, dy = y - 16;
        CU_ASSERT_FATAL(dx >= -4 && dx <= 4 && dy >= -4 && dy <= 4);
        offset[(dy + 4) * 9 + dx + 4]++;
        flips += flip;
    }
    double chi2 = 0, want = DRAWS / 81.0;
    for (int i = 0; i < 81; i++)
        chi2 += (offset[i] - want) * (offset[i] - want) / want;
    CU_ASSERT(chi2 < 124.8); /* 80 degrees of freedom, p = 0.001 */
    CU_ASSERT(abs(flips - DRAWS / 2) < 3.3 * sqrt(DRAWS / 4.0));
}

/* Images of one colour show which steps ran: frequencies of grey, solarise, and the
 * jitter's range. */
static void test_color_choices(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    enum { N = 4, DRAWS = 8000 };
    uint8_t rgb[N * N * 3];
    float out[N * N * 3];
    int grey = 0, solarized = 0, plain = 0;
    for (int i = 0; i < N * N; i++)
        memcpy(rgb + 3 * i, (uint8_t[]){ 180, 120, 60 }, 3);
    const struct bk_image image = { rgb, N, N, 0 };
    BK_ASSERT_OK(bk_augment_named("imagenet_2", N, &a, &err));
    for (int c = 0; c < 3; c++) {
        a.mean[c] = 0;
        a.std[c] = 1;
    }
    a.hue = a.saturation = a.contrast = a.brightness = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 11, 0, i, 1, out, &err));
        int v[3];
        for (int c = 0; c < 3; c++)
            v[c] = (int)lrint(out[c] * 255.0);
        grey += v[0] == v[1] && v[1] == v[2];
        solarized += v[0] == 75 && v[1] == 120;
        plain += v[0] == 180;
    }
    CU_ASSERT(abs(grey - DRAWS / 5) < 3.3 * sqrt(DRAWS * 0.16));
    /* grey (129) is solarised to 126, the rest counts here */
    CU_ASSERT(fabs(solarized - DRAWS * 0.16) < 3.3 * sqrt(DRAWS * 0.16 * 0.84));
    CU_ASSERT(fabs(plain - DRAWS * 0.64) < 3.3 * sqrt(DRAWS * 0.64 * 0.36));

    BK_ASSERT_OK(bk_augment_named("imagenet_1", N, &a, &err));
    a = (struct bk_augment){ .crop = BK_CROP_NONE,
                             .size = N,
                             .jitter = 0.8,
                             .brightness = 0.4,
                             .std = { 1, 1, 1 } };
    double lo = 1, hi = 0;
    int untouched = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        BK_ASSERT_OK(bk_augment_apply(&a, &image, 11, 0, i, 0, out, &err));
        lo = fmin(lo, out[1]);
        hi = fmax(hi, out[1]);
        untouched += lrint(out[1] * 255.0) == 120;
    }
    CU_ASSERT(lo >= 72 / 255.0 - 1e-6 && lo < 74 / 255.0); /* 120 U(0.6, 1.4) */
    CU_ASSERT(hi <= 168 / 255.0 && hi > 165 / 255.0);
    CU_ASSERT(fabs(untouched - DRAWS * (0.2 + 0.8 / 96)) < 3.5 * sqrt(DRAWS * 0.16));
}

BK_SUITE({ "same for any threads", test_threads }, { "seek", test_seek },
         { "order", test_order }, { "fixed views", test_fixed_views }, { "plans", test_plans },
         { "plans are refused", test_plan_refused },
         { "failing image", test_failing_image }, { "free early", test_free_early },
         { "crop and flip", test_choices }, { "colour choices", test_color_choices })

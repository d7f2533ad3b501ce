/*
 * Mixup, CutMix and soft targets: distributions against closed forms, pixels and targets against a direct computation,
 * the loader's batches for any number of threads, repeated augmentation.
 */
#include "unit.h"

#include "data/mix.h"
#include <bosskit/file.h>
#include <unistd.h>

#define N_DRAWS 20000
#define SIZE 32

static struct bk_mix deit(void)
{
    struct bk_mix m = { .mixup = 0.8, .cutmix = 1, .prob = 1, .switch_prob = 0.5, .smoothing = 0.1, .n_classes = 10 };
    return m;
}

/* Beta(a,a) has mean 1/2 and variance 1/(4(2a+1)); at a = 1 it is uniform. */
static void test_beta(void)
{
    const double alphas[] = { 0.2, 0.8, 1, 3.5 };
    for (int k = 0; k < 4; k++) {
        struct bk_mix m = deit();
        struct bk__mix_draw d;
        double sum = 0, square = 0, below = 0;
        m.mixup = alphas[k];
        m.cutmix = 0;
        for (int i = 0; i < N_DRAWS; i++) {
            bk__mix_decide(&m, 1, i / 1000, i % 1000, SIZE, &d);
            CU_ASSERT_FALSE(d.cut);
            CU_ASSERT(d.lambda >= 0 && d.lambda <= 1);
            sum += d.lambda;
            square += (d.lambda - 0.5) * (d.lambda - 0.5);
            below += d.lambda < 0.25;
        }
        double var = 1 / (4 * (2 * alphas[k] + 1));
        BK_ASSERT_CLOSE(sum / N_DRAWS, 0.5, 5 * sqrt(var / N_DRAWS));
        BK_ASSERT_CLOSE(square / N_DRAWS, var, 0.005);
        if (alphas[k] == 1)
            BK_ASSERT_CLOSE(below / N_DRAWS, 0.25, 0.016);
    }
}

/*
 * The box before clipping has side s = int(size sqrt(1 - lambda)), lambda uniform; a centre uniform in 0..size-1 clips
 * it. Mean kept area by summing over all centres and integrating over lambda, without any random numbers.
 */
static double mean_box_area(void)
{
    double total = 0;
    const int steps = 20000;
    for (int k = 0; k < steps; k++) {
        double lambda = (k + 0.5) / steps, length = 0;
        int half = (int)(SIZE * sqrt(1 - lambda)) / 2;
        for (int c = 0; c < SIZE; c++) {
            int lo = c - half < 0 ? 0 : c - half, hi = c + half > SIZE ? SIZE : c + half;
            length += hi - lo;
        }
        total += length / SIZE * (length / SIZE);       /* rows and columns are independent */
    }
    return total / steps / (SIZE * SIZE);
}

static void test_box(void)
{
    struct bk_mix m = deit();
    struct bk__mix_draw d;
    double area = 0;
    m.mixup = 0;
    for (int i = 0; i < N_DRAWS; i++) {
        bk__mix_decide(&m, 2, i / 1000, i % 1000, SIZE, &d);
        double share = (double)(d.y1 - d.y0) * (d.x1 - d.x0) / (SIZE * SIZE);
        CU_ASSERT(d.cut && d.y0 >= 0 && d.x0 >= 0 && d.y1 <= SIZE && d.x1 <= SIZE && d.y0 <= d.y1 && d.x0 <= d.x1);
        BK_ASSERT_CLOSE(d.lambda, 1 - share, 1e-15);
        area += share;
    }
    BK_ASSERT_CLOSE(area / N_DRAWS, mean_box_area(), 0.01);
}

static void test_switch(void)
{
    struct bk_mix m = deit();
    struct bk__mix_draw d;
    int cut = 0, mixed = 0;
    m.prob = 0.8;
    m.switch_prob = 0.3;
    for (int i = 0; i < N_DRAWS; i++) {
        bk__mix_decide(&m, 3, i / 1000, i % 1000, SIZE, &d);
        mixed += d.cut || d.lambda != 1;
        cut += d.cut;
    }
    BK_ASSERT_CLOSE((double)mixed / N_DRAWS, 0.8, 0.015);
    BK_ASSERT_CLOSE((double)cut / N_DRAWS, 0.24, 0.016);
    m.mixup = m.cutmix = 0;
    bk__mix_decide(&m, 3, 0, 0, SIZE, &d);
    CU_ASSERT(!d.cut && d.lambda == 1);
}

/** images [n]: the value of a pixel says which image and where. */
static void fill_images(float *images, int n)
{
    for (int i = 0; i < n * SIZE * SIZE * 3; i++)
        images[i] = (float)(i % 977) / 977 + (float)(i / (SIZE * SIZE * 3));
}

static void check_images(const struct bk__mix_draw *d, int n)
{
    size_t each = SIZE * SIZE * 3;
    float *before = malloc((size_t)n * each * 4), *after = malloc((size_t)n * each * 4);
    double worst = 0;
    fill_images(before, n);
    fill_images(after, n);
    bk__mix_images(d, n, SIZE, after);
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < each; k++) {
            int y = (int)(k / (SIZE * 3)), x = (int)(k / 3 % SIZE);
            double own = before[(size_t)i * each + k], other = before[(size_t)(n - 1 - i) * each + k];
            bool inside = y >= d->y0 && y < d->y1 && x >= d->x0 && x < d->x1;
            double want = d->cut ? (inside ? other : own) : d->lambda * own + (1 - d->lambda) * other;
            worst = fmax(worst, fabs(after[(size_t)i * each + k] - want));
        }
    }
    CU_ASSERT(worst <= (d->cut ? 0 : 1e-6));
    free(before);
    free(after);
}

static void test_images(void)
{
    const struct bk__mix_draw mixup = { .lambda = 0.3 }, cut = { true, 0.9, 3, 20, 9, 31 }, none = { .lambda = 1 };
    check_images(&mixup, 4);
    check_images(&mixup, 5);
    check_images(&cut, 4);
    check_images(&cut, 5);
    check_images(&none, 4);
}

/* lambda y + (1 - lambda) y' with y = off + (1 - smoothing) onehot, off = smoothing / classes. */
static void test_targets(void)
{
    struct bk_mix m = deit();
    const struct bk__mix_draw d = { .lambda = 0.3 };
    const int32_t label[4] = { 7, 2, 2, 0 };
    float target[40];
    bk__mix_targets(&m, &d, label, 4, target);
    for (int i = 0; i < 4; i++) {
        double sum = 0;
        for (int c = 0; c < 10; c++) {
            double own = label[i] == c, other = label[3 - i] == c;
            double want = 0.3 * (0.01 + 0.9 * own) + 0.7 * (0.01 + 0.9 * other);
            BK_ASSERT_CLOSE(target[10 * i + c], want, 1e-7);
            sum += target[10 * i + c];
        }
        BK_ASSERT_CLOSE(sum, 1, 1e-6);
    }
}

/* ---- the loader ------------------------------------------------------------------------------------------- */

#define N_IMAGES 101

static struct bk_images *make_images(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images_writer *w;
    struct bk_images *images = NULL;
    uint8_t rgb[12 * 12 * 3];
    char path[64];
    snprintf(path, sizeof path, "/tmp/bk_test_mix_%ld.images", (long)getpid());
    BK_ASSERT_OK(bk_images_create(path, &w, &err));
    for (int i = 0; i < N_IMAGES; i++) {
        for (int k = 0; k < 12 * 12 * 3; k++)
            rgb[k] = (uint8_t)(i * 31 + k * 7);
        const struct bk_image image = { rgb, 12, 12, i % 10 };
        BK_ASSERT_OK(bk_images_add(w, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(w, &err));
    BK_ASSERT_OK(bk_images_open(path, &images, &err));
    unlink(path);
    return images;
}

static struct bk_loader_config config_for(struct bk_images *images, struct bk_split *split, uint32_t *index)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader_config c = { .split = split, .batch = 8, .n_views = 1, .seed = 5, .shuffle = true,
                                  .mix = deit() };
    for (uint32_t i = 0; i < N_IMAGES; i++)
        index[i] = i;
    bk_split_init(split, images, index, N_IMAGES);
    BK_ASSERT_OK(bk_augment_named("cifar", 12, &c.view[0], &err));
    c.view[0].policy = BK_POLICY_RAND;
    c.view[0].rand_ops = 2;
    c.view[0].rand_prob = 0.5;
    c.view[0].rand_magnitude = 9;
    c.view[0].rand_std = 0.5;
    c.view[0].erase = 0.25;
    c.view[0].erase_area_min = 0.02;
    c.view[0].erase_area_max = 0.33;
    c.view[0].erase_aspect = 0.3;
    return c;
}

static void digest_run(struct bk_loader_config *c, int first, int n, char out[65])
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_loader *l;
    struct bk_batch b;
    struct bk_sha256 sha;
    bk_sha256_init(&sha);
    BK_ASSERT_OK(bk_loader_new(c, &l, &err));
    int32_t each = bk_loader_batches(l);
    BK_ASSERT_OK(bk_loader_seek(l, first / each, first % each, &err));
    for (int i = 0; i < n; i++) {
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        bk_sha256_add(&sha, b.label, (size_t)b.n * 4);
        bk_sha256_add(&sha, b.target, (size_t)b.n * 40);
        bk_sha256_add(&sha, b.view[0], (size_t)b.n * 12 * 12 * 12);
    }
    bk_loader_free(l);
    bk_sha256_hex(&sha, out);
}

static void test_threads(void)
{
    struct bk_images *images = make_images();
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    char want[65], got[65];
    c.repeat = 3;
    c.interleave = 2;
    digest_run(&c, 7, 20, want);
    const int threads[] = { 1, 3, 7 };
    for (int i = 0; i < 3; i++) {
        c.threads = threads[i];
        digest_run(&c, 7, 20, got);
        CU_ASSERT_STRING_EQUAL(got, want);
    }
    bk_images_close(images);
}

/*
 * DeiT's sampler written out: the permutation with every index three times in a row; process r of G takes entries
 * r, r+G, ...; our batch s G + r must be batch s of process r. Copies of an image are augmented differently.
 */
static void test_repeated(void)
{
    struct bk_images *images = make_images();
    struct bk_error err = BK_ERROR_INIT;
    struct bk_split split;
    uint32_t index[N_IMAGES], order[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_loader *plain, *l;
    struct bk_batch b;

    c.mix = (struct bk_mix){ 0 };
    BK_ASSERT_OK(bk_loader_new(&c, &plain, &err));      /* the permutation itself */
    for (int i = 0, k = 0; i < bk_loader_batches(plain); i++) {
        BK_ASSERT_OK(bk_loader_next(plain, &b, &err));
        for (int j = 0; j < b.n; j++)
            order[k++] = b.image[j];
        CU_ASSERT_PTR_NULL(b.target);
    }
    c.repeat = 3;
    c.interleave = 4;
    BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
    CU_ASSERT_EQUAL(bk_loader_batches(l), 101 / 32 * 4);
    for (int i = 0; i < bk_loader_batches(l); i++) {
        BK_ASSERT_OK(bk_loader_next(l, &b, &err));
        CU_ASSERT_EQUAL(b.n, 8);
        for (int j = 0; j < 8; j++) {
            int s = i / 4, r = i % 4;
            CU_ASSERT_EQUAL(b.image[j], order[((s * 8 + j) * 4 + r) / 3]);
        }
    }
    bk_loader_free(plain);
    bk_loader_free(l);
    c.interleave = 1;
    BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
    BK_ASSERT_OK(bk_loader_next(l, &b, &err));
    CU_ASSERT_EQUAL(b.image[0], b.image[1]);
    CU_ASSERT_EQUAL(b.image[0], b.image[2]);
    CU_ASSERT_NOT_EQUAL(b.image[2], b.image[3]);
    size_t each = 12 * 12 * 3;
    CU_ASSERT(memcmp(b.view[0], b.view[0] + each, each * 4) != 0);
    CU_ASSERT(memcmp(b.view[0] + each, b.view[0] + 2 * each, each * 4) != 0);
    bk_loader_free(l);
    bk_images_close(images);
}

static void test_refusals(void)
{
    struct bk_images *images = make_images();
    struct bk_error err = BK_ERROR_INIT;
    struct bk_split split;
    uint32_t index[N_IMAGES];
    struct bk_loader_config c = config_for(images, &split, index);
    struct bk_loader *l;
    struct bk_batch b;
    c.mix.switch_prob = 2;
    CU_ASSERT_EQUAL(bk_loader_new(&c, &l, &err), BK_EINVAL);
    c.mix.switch_prob = 0.5;
    c.interleave = 20;
    CU_ASSERT_EQUAL(bk_loader_new(&c, &l, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "101 images do not fill 20 batches of 8"));
    c.interleave = 0;
    c.mix.n_classes = 9;                                /* there is a label 9 */
    BK_ASSERT_OK(bk_loader_new(&c, &l, &err));
    int rc = BK_OK;
    for (int i = 0; i < bk_loader_batches(l) && !rc; i++)
        rc = bk_loader_next(l, &b, &err);
    CU_ASSERT_EQUAL(rc, BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "label 9 is outside 0..8"));
    bk_loader_free(l);
    bk_images_close(images);
}

BK_SUITE({ "lambda", test_beta }, { "box", test_box }, { "which of the two", test_switch }, { "images", test_images },
         { "targets", test_targets }, { "any number of threads", test_threads },
         { "repeated augmentation", test_repeated }, { "refusals", test_refusals })

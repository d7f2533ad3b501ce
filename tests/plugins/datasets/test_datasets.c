/*
 * The dataset plugins as the program loads them: splits, fingerprints, caches, what is
 * said when data is missing.
 */
#include "unit.h"

#include "plugin/registry.h"
#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <bosskit/random.h>
#include <unistd.h>

static char dir[256];
static struct bk_registry *registry;

static void start(void)
{
    struct bk_error err = BK_ERROR_INIT;
    snprintf(dir, sizeof dir, "/tmp/bk_datasets_%ld", (long)getpid());
    BK_ASSERT_OK(bk_make_dirs(dir, &err));
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &registry, &err));
    unsetenv("BOSSKIT_DATA");
}

static void finish(void)
{
    struct bk_error err = BK_ERROR_INIT;
    bk_registry_close(registry);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static int try_open(const char *name, const char *options, struct bk_instance **out,
                    struct bk_error *err)
{
    char cfg[512], cache[512];
    struct bk_value *v = NULL;
    snprintf(cfg, sizeof cfg, "%s/data.cfg", dir);
    snprintf(cache, sizeof cache, "%s/cache", dir);
    *out = NULL;
    BK_TRY(bk_file_write(cfg, options, strlen(options), err));
    BK_TRY(bk_value_read(cfg, &v, err));
    int rc = bk_instance_open(registry, BK_KIND_DATASET, name, v, NULL, "data", NULL,
                              out, err);
    bk_value_free(v);
    if (rc)
        return rc;
    const struct bk_dataset_iface *d = bk_instance_iface(*out);
    rc = d->open((*out)->state, cache, err);
    if (rc) {
        bk_instance_close(*out);
        *out = NULL;
    }
    return rc;
}

static struct bk_instance *open_dataset(const char *name, const char *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *in;
    BK_ASSERT_OK(try_open(name, options, &in, &err));
    return in;
}

static struct bk_split split_of(struct bk_instance *in, const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_dataset_iface *d = bk_instance_iface(in);
    struct bk_split s;
    BK_ASSERT_OK(d->split(in->state, name, &s, &err));
    return s;
}

/* Images of both splits, when these are over the same cache. */
static uint32_t common(const struct bk_split *a, const struct bk_split *b)
{
    uint32_t n = 0;
    if (strcmp(bk_images_digest(a->images), bk_images_digest(b->images)) != 0)
        return 0;
    bool *seen = calloc(bk_images_count(a->images), 1);
    for (uint32_t i = 0; i < a->n; i++)
        seen[a->index[i]] = true;
    for (uint32_t i = 0; i < b->n; i++)
        n += seen[b->index[i]];
    free(seen);
    return n;
}

/* Largest difference between two classes' numbers of images among the first n. */
static int imbalance(const struct bk_split *s, uint32_t n, int classes)
{
    int count[128] = { 0 }, lo = 1 << 30, hi = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct bk_image im;
        bk_images_get(s->images, s->index[i], &im);
        count[im.label]++;
    }
    for (int c = 0; c < classes; c++) {
        lo = count[c] < lo ? count[c] : lo;
        hi = count[c] > hi ? count[c] : hi;
    }
    return hi - lo;
}

static void test_synthetic(void)
{
    struct bk_error err = BK_ERROR_INIT;
    start();
    const char *options =
        "classes = 10; size = 16; n_train = 200; n_val = 50; n_test = 30;";
    struct bk_instance *in = open_dataset("synthetic", options), *again;
    struct bk_split train = split_of(in, "train"), val = split_of(in, "val"),
                    test = split_of(in, "test"), full = split_of(in, "full"), s;
    CU_ASSERT(train.n == 200 && val.n == 50 && test.n == 30 && full.n == 250);
    CU_ASSERT(common(&train, &val) == 0 && common(&train, &test) == 0 &&
              common(&val, &test) == 0);
    CU_ASSERT_EQUAL(imbalance(&train, 200, 10), 0);
    struct bk_dataset_info info = { .struct_size = sizeof info };
    const struct bk_dataset_iface *d = bk_instance_iface(in);
    BK_ASSERT_OK(d->info(in->state, &info, &err));
    CU_ASSERT(info.n_classes == 10 && info.size == 16);
    CU_ASSERT_EQUAL(d->split(in->state, "valid", &s, &err), BK_ENOTFOUND);

    again = open_dataset("synthetic", options); /* from the cache */
    s = split_of(again, "train");
    CU_ASSERT_STRING_EQUAL(s.fingerprint, train.fingerprint);
    CU_ASSERT_STRING_NOT_EQUAL(val.fingerprint, train.fingerprint);
    bk_instance_close(again);
    again = open_dataset(
        "synthetic", "size = 16; n_train = 200; n_val = 50; n_test = 30; seed = 1;");
    s = split_of(again, "train");
    CU_ASSERT_STRING_NOT_EQUAL(s.fingerprint, train.fingerprint);
    bk_instance_close(again);
    bk_instance_close(in);
    finish();
}

/* Nearest class mean on raw pixels stays far from right, but is above chance: neither
 * trivial nor noise. */
static void test_synthetic_difficulty(void)
{
    start();
    struct bk_instance *in = open_dataset(
        "synthetic", "size = 16; n_train = 3000; n_val = 500; n_test = 10;");
    struct bk_split train = split_of(in, "train"), val = split_of(in, "val");
    static double mean[10][768];
    int count[10] = { 0 }, right = 0;
    struct bk_image im;
    for (uint32_t i = 0; i < train.n; i++) {
        bk_images_get(train.images, train.index[i], &im);
        count[im.label]++;
        for (int k = 0; k < 768; k++)
            mean[im.label][k] += im.rgb[k];
    }
    for (uint32_t i = 0; i < val.n; i++) {
        double best = INFINITY;
        int best_class = -1;
        bk_images_get(val.images, val.index[i], &im);
        for (int c = 0; c < 10; c++) {
            double d = 0;
            for (int k = 0; k < 768; k++)
                d += pow(im.rgb[k] - mean[c][k] / count[c], 2);
            if (d < best) {
                best = d;
                best_class = c;
            }
        }
        right += best_class == im.label;
    }
    printf("\n    nearest class mean: %d of %u right", right, (unsigned)val.n);
    CU_ASSERT(right < (int)val.n * 4 / 10);
    bk_instance_close(in);
    finish();
}

/* ---- cifar ----------------------------------------------------------------------- */

/* Batches in the official format, small: `n` images, label i mod classes, pixels from a
 * formula. */
static void write_batch(const char *name, int n_labels, uint32_t n, uint32_t first,
                        int classes)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[512];
    size_t record = (size_t)n_labels + 3072;
    uint8_t *data = calloc(n, record);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *r = data + i * record;
        r[n_labels - 1] = (uint8_t)((first + i) % (uint32_t)classes);
        for (int k = 0; k < 3072; k++)
            r[n_labels + k] = (uint8_t)((first + i) * 31 + (uint32_t)(k % 1024) * 3 +
                                        (uint32_t)(k / 1024) * 50);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    BK_ASSERT_OK(bk_file_write(path, data, n * record, &err));
    free(data);
}

static void write_cifar10(void)
{
    for (uint32_t k = 0; k < 5; k++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%u.bin", (unsigned)k + 1);
        write_batch(name, 1, 40, k * 40, 10);
    }
    write_batch("test_batch.bin", 1, 60, 1000, 10);
}

static void test_cifar10_binary(void)
{
    struct bk_error err = BK_ERROR_INIT;
    start();
    write_cifar10();
    bk_log_set_level(BK_LOG_ERROR); /* small sets are warned about */
    struct bk_instance *in = open_dataset("cifar", "root = \".\";"), *other;
    struct bk_split train = split_of(in, "train"), val = split_of(in, "val"),
                    test = split_of(in, "test"), full = split_of(in, "full"), s;
    CU_ASSERT(train.n == 100 && val.n == 100 && test.n == 60 && full.n == 200);
    CU_ASSERT_EQUAL(common(&train, &val), 0);
    CU_ASSERT_EQUAL(common(&train, &full), 100);
    for (uint32_t n = 10; n <= 100; n += 10) {
        CU_ASSERT(imbalance(&train, n, 10) <= 1);
        CU_ASSERT(imbalance(&val, n, 10) <= 1);
    }
    struct bk_image im;
    bk_images_get(full.images, 57, &im); /* planes became pixels */
    CU_ASSERT_EQUAL(im.label, 7);
    for (int k = 0; k < 1024; k += 101)
        for (int c = 0; c < 3; c++)
            CU_ASSERT_EQUAL(im.rgb[3 * k + c], (uint8_t)(57 * 31 + k * 3 + c * 50));

    other = open_dataset("cifar", "root = \".\"; split = \"release\"; n_train = 50;");
    s = split_of(other, "train");
    CU_ASSERT(s.n == 50 && imbalance(&s, 50, 10) == 0);
    s = split_of(other, "val");
    CU_ASSERT(s.n == 60 && common(&s, &test) == 60);
    bk_instance_close(other);
    other = open_dataset("cifar", "root = \".\"; split_seed = 1;");
    s = split_of(other, "train");
    CU_ASSERT_STRING_NOT_EQUAL(s.fingerprint, train.fingerprint);
    bk_instance_close(other);

    char path[512];
    snprintf(path, sizeof path, "%s/halves.txt", dir);
    const char *halves = "{\n  \"train\" : [\"int\", [\"0\", \"5\", \"7\"]],\n  "
                         "\"valid\" : [\"int\", [\"1\", \"199\"]]\n}\n";
    BK_ASSERT_OK(bk_file_write(path, halves, strlen(halves), &err));
    other = open_dataset("cifar", "root = \".\"; split_file = \"halves.txt\";");
    s = split_of(other, "train");
    CU_ASSERT_EQUAL(s.n, 3);
    CU_ASSERT_EQUAL(s.index[0] + s.index[1] + s.index[2], 12);
    s = split_of(other, "val");
    CU_ASSERT(s.n == 2 && s.index[0] + s.index[1] == 200);
    bk_instance_close(other);
    const char *wrong[][2] = {
        { "{\"train\": [\"int\", [\"0\"]], \"valid\": [\"int\", [\"0\"]]}",
          "named twice" },
        { "{\"train\": [\"int\", [\"200\"]]}", "outside the dataset" },
        { "{\"train\": [\"int\", [\"2\"]]}", "no list 'valid'" },
        { "{\"train\": [\"int\", []]}", "is empty" }
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        BK_ASSERT_OK(bk_file_write(path, wrong[i][0], strlen(wrong[i][0]), &err));
        CU_ASSERT_EQUAL(try_open("cifar", "root = \".\"; split_file = \"halves.txt\";",
                                 &other, &err),
                        BK_EDATA);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, wrong[i][1]));
    }
    bk_instance_close(in);
    bk_log_set_level(BK_LOG_INFO);
    finish();
}

/* A changed batch file is imported again; a damaged cache as well. */
static void test_cifar_reimport(void)
{
    start();
    write_cifar10();
    bk_log_set_level(BK_LOG_ERROR);
    struct bk_instance *in = open_dataset("cifar", "root = \".\";");
    struct bk_split a = split_of(in, "train"), b;
    bk_instance_close(in);
    write_batch("data_batch_3.bin", 1, 40, 500, 10);
    in = open_dataset("cifar", "root = \".\";");
    b = split_of(in, "train");
    CU_ASSERT_STRING_NOT_EQUAL(a.fingerprint, b.fingerprint);
    bk_instance_close(in);
    char command[600];
    snprintf(command, sizeof command,
             "for f in %s/cache/*.images; do truncate -s 5000 $f; done", dir);
    CU_ASSERT_EQUAL(system(command), 0);
    bk_log_set_level(0); /* being rebuilt is warned about */
    in = open_dataset("cifar", "root = \".\";");
    struct bk_split again = split_of(in, "train");
    CU_ASSERT_STRING_EQUAL(again.fingerprint, b.fingerprint);
    bk_instance_close(in);
    bk_log_set_level(BK_LOG_INFO);
    finish();
}

static void test_cifar100_binary(void)
{
    start();
    write_batch("train.bin", 2, 300, 0, 100);
    write_batch("test.bin", 2, 200, 0, 100);
    bk_log_set_level(BK_LOG_ERROR);
    struct bk_instance *in = open_dataset("cifar", "root = \".\"; classes = 100;");
    struct bk_split train = split_of(in, "train"), val = split_of(in, "val"),
                    test = split_of(in, "test"), full = split_of(in, "full");
    CU_ASSERT(train.n == 300 && full.n == 300 && val.n == 100 && test.n == 100);
    CU_ASSERT_EQUAL(common(&val, &test), 0);
    CU_ASSERT(imbalance(&val, 100, 100) == 0 && imbalance(&test, 100, 100) == 0);
    bk_instance_close(in);
    bk_log_set_level(BK_LOG_INFO);
    finish();
}

static void expect_refused(const char *name, const char *options, int status,
                           const char *const *words)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *in;
    int rc = try_open(name, options, &in, &err);
    CU_ASSERT_EQUAL(rc, status);
    for (; *words; words++) {
        if (!strstr(err.text, *words))
            printf("\n    no '%s' in: %s", *words, err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, *words));
    }
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_refused(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[512];
    start();
    /* what is missing, where to get it, where to put it */
    expect_refused("cifar", "", BK_EDATA,
                   WORDS("CIFAR-10 is not in",
                         "https://www.cs.toronto.edu/~kriz/cifar.html",
                         "cifar-10-binary.tar.gz", "$BOSSKIT_DATA", "data.root"));
    expect_refused("cifar", "root = \"nowhere\"; classes = 100;", BK_EDATA,
                   WORDS("nowhere", "cifar-100-binary.tar.gz", "train.bin"));
    expect_refused("cifar", "classes = 20;", BK_ECONFIG, WORDS("neither 10 nor 100"));
    expect_refused("cifar", "split = \"release\"; split_file = \"x\";", BK_ECONFIG,
                   WORDS("split 'paper'"));
    expect_refused("image_folder", "", BK_EDATA,
                   WORDS("data.root", "train/<class>/*.jpg"));
    expect_refused("image_folder", "root = \"nowhere\";", BK_EDATA,
                   WORDS("nowhere/train", "<class>"));
    expect_refused("image_folder", "root = \".\"; mean = \"0.5,0.5\";", BK_ECONFIG,
                   WORDS("three numbers"));
    expect_refused("image_folder", "root = \".\"; std = \"1,0,1\";", BK_ECONFIG,
                   WORDS("std '1,0,1'"));
    expect_refused("synthetic", "classes = 1;", BK_ECONFIG, WORDS("classes"));

    write_cifar10();
    snprintf(path, sizeof path, "%s/test_batch.bin", dir);
    unlink(path);
    expect_refused("cifar", "root = \".\";", BK_EDATA,
                   WORDS("is incomplete", "test_batch.bin"));
    write_batch("test_batch.bin", 1, 60, 0, 10);
    CU_ASSERT_EQUAL(truncate(path, 3073 * 60 - 1), 0);
    bk_log_set_level(BK_LOG_ERROR);
    expect_refused("cifar", "root = \".\";", BK_EDATA,
                   WORDS("test_batch.bin", "not a multiple of 3073"));
    write_batch("test_batch.bin", 1, 60, 0, 11);
    expect_refused("cifar", "root = \".\";", BK_EDATA, WORDS("label 10", "0..9"));
    bk_log_set_level(BK_LOG_INFO);

    snprintf(path, sizeof path, "%s/tree/train/cat", dir);
    BK_ASSERT_OK(bk_make_dirs(path, &err));
    expect_refused("cifar", "root = \"tree\";", BK_EDATA,
                   WORDS("1 class folders", "data.classes is 10"));
    expect_refused("image_folder", "root = \"tree\";", BK_EDATA,
                   WORDS("no JPEG or PNG"));
    finish();
}

/* ---- image_folder ---------------------------------------------------------------- */

static void copy_images(const char *part, const char *class_name, int n)
{
    char command[1400];
    snprintf(command, sizeof command,
             "mkdir -p %s/tree/%s/%s && for i in $(seq %d); do cp "
             "%s/tests/fixtures/images/rgb.jpg "
             "%s/tree/%s/%s/$i.jpg; done && cp %s/tests/fixtures/images/rgb.png "
             "%s/tree/%s/%s/0.png",
             dir, part, class_name, n, bk_test_env("BK_TEST_SOURCE"), dir, part,
             class_name, bk_test_env("BK_TEST_SOURCE"), dir, part, class_name);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static void test_image_folder(void)
{
    struct bk_error err = BK_ERROR_INIT;
    start();
    copy_images("train", "b", 29);
    copy_images("train", "a", 9);
    copy_images("val", "a", 3);
    copy_images("val", "b", 4);
    const char *options = "root = \"tree\"; size = 12; n_train = 20;";
    struct bk_instance *in = open_dataset("image_folder", options);
    struct bk_split train = split_of(in, "train"), val = split_of(in, "val"),
                    test = split_of(in, "test"), full = split_of(in, "full"), s;
    CU_ASSERT(train.n == 20 && val.n == 9 && test.n == 9 && full.n == 40);
    struct bk_dataset_info info = { .struct_size = sizeof info };
    const struct bk_dataset_iface *d = bk_instance_iface(in);
    BK_ASSERT_OK(d->info(in->state, &info, &err));
    CU_ASSERT(info.n_classes == 2 && info.size == 12);
    CU_ASSERT_STRING_EQUAL(info.class_names[0], "a");
    BK_ASSERT_CLOSE(info.mean[1], 0.456, 0);
    int n_a = 0;
    struct bk_image im;
    for (uint32_t i = 0; i < train.n; i++) {
        bk_images_get(train.images, train.index[i], &im);
        n_a += im.label == 0;
        CU_ASSERT(im.width == 21 && im.height == 14);
    }
    CU_ASSERT_EQUAL(n_a, 5); /* 20 of 40 with 10 "a" */
    bk_instance_close(in);

    /* BossNAS's protocol: rating images from the training folder, the val folder is the
     * test */
    in = open_dataset(
        "image_folder",
        "root = \"tree\"; val = \"\"; test = \"val\"; n_val = 8; short_side = 7;");
    train = split_of(in, "train");
    val = split_of(in, "val");
    s = split_of(in, "test");
    CU_ASSERT(train.n == 32 && val.n == 8 && s.n == 9 && common(&train, &val) == 0);
    bk_images_get(train.images, 0, &im);
    CU_ASSERT(im.width == 10 && im.height == 7);
    bk_instance_close(in);

    copy_images("val", "c", 1);
    expect_refused("image_folder", options, BK_EDATA,
                   WORDS("class folder 'c'", "tree/train"));
    finish();
}

/* Any prefix has classes in proportion, whatever the sizes; parts are disjoint and
 * complete; stable numbers. */
static void test_order(void)
{
    struct bk_error err = BK_ERROR_INIT;
    start();
    struct bk_instance *in = open_dataset(
        "synthetic", "size = 8; classes = 7; n_train = 1000; n_val = 1; n_test = 1;");
    struct bk_split train = split_of(in, "train"), s;
    uint32_t from[700], n = 0, out[700];
    int total[7] = { 0 };
    for (uint32_t i = 0; i < 1000 && n < 700; i++) { /* thin some classes out */
        struct bk_image im;
        bk_images_get(train.images, i, &im);
        if (im.label < 3 || (int)(i % 10) < im.label) {
            from[n++] = i;
            total[im.label]++;
        }
    }
    BK_ASSERT_OK(bk_split_order(train.images, from, n, 42, out, &err));
    int have[7] = { 0 };
    double worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct bk_image im;
        bk_images_get(train.images, out[i], &im);
        have[im.label]++;
        for (int c = 0; c < 7; c++)
            worst = fmax(worst, fabs(have[c] - (i + 1.0) * total[c] / n));
    }
    CU_ASSERT(worst < 2.5);
    bk_split_init(&s, train.images, out, n);
    struct bk_split whole;
    bk_split_init(&whole, train.images, from, n);
    CU_ASSERT_EQUAL(common(&s, &whole), n);
    bk_instance_close(in);
    finish();
}

BK_SUITE({ "synthetic", test_synthetic },
         { "synthetic is not trivial", test_synthetic_difficulty },
         { "cifar10 binary", test_cifar10_binary },
         { "cifar reimport", test_cifar_reimport },
         { "cifar100 binary", test_cifar100_binary }, { "refused", test_refused },
         { "image folder", test_image_folder }, { "stratified order", test_order })

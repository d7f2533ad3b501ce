/*
 * Bad input files and arguments: each gives its status and a sentence that names the
 * culprit, and leaks nothing.
 */
#include "unit.h"

#include "data/image_cache.h"
#include <bosskit/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];

static const char *path_of(const char *name)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void start(void)
{
    struct bk_error err = BK_ERROR_INIT;
    snprintf(dir, sizeof dir, "/tmp/bk_bad_data_%ld", (long)getpid());
    BK_ASSERT_OK(bk_make_dirs(dir, &err));
}

static void finish(void)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static void put(const char *name, const void *data, size_t n)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_file_write(path_of(name), data, n, &err));
}

static char *fixture(const char *name, size_t *n)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[1024], *data = NULL;
    snprintf(path, sizeof path, "%s/tests/fixtures/images/%s",
             bk_test_env("BK_TEST_SOURCE"), name);
    BK_ASSERT_OK(bk_file_read(path, 1 << 20, &data, n, &err));
    return data;
}

static void expect(int rc, int want, const struct bk_error *err, const char *words,
                   int line)
{
    bool ok = rc == want && strstr(err->text, words);
    if (!ok)
        printf("\n    line %d: status %d, '%s'; wanted %d with '%s'", line, rc,
               err->text, want, words);
    CU_ASSERT(ok);
}

static void expect_bad_image(const char *name, const char *words, int line)
{
    struct bk_error err = BK_ERROR_INIT;
    uint8_t *rgb = NULL;
    int32_t w, h;
    int rc = bk_image_decode(path_of(name), &rgb, &w, &h, &err);
    expect(rc, BK_EDATA, &err, words, line);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, name));
    CU_ASSERT_PTR_NULL(rgb);
}

/* Every truncation of every fixture is refused; none is filled up with grey. */
static void test_truncated_images(void)
{
    static const char *const names[] = { "rgb.jpg", "progressive.jpg", "grey.jpg",
                                         "rgb.png", "palette.png" };
    start();
    for (size_t k = 0; k < BK_ARRAY_LEN(names); k++) {
        size_t n;
        char *data = fixture(names[k], &n);
        for (size_t cut = 0; cut < n; cut += cut + 40 < n ? 37 : 1) {
            put("cut.img", data, cut);
            expect_bad_image("cut.img", "'", __LINE__);
        }
        bk_free(data);
    }
    finish();
}

static void test_damaged_images(void)
{
    size_t n;
    start();
    char *data = fixture("rgb.png", &n);
    data[n / 2] ^= 0x40; /* the checksum of IDAT fails */
    put("crc.png", data, n);
    expect_bad_image("crc.png", "PNG", __LINE__);
    bk_free(data);

    data = fixture("rgb.jpg", &n);
    memmove(data + n - 120, data + n - 20,
            20); /* 100 bytes of the scan are lost, the end marker is there */
    put("hole.jpg", data, n - 100);
    expect_bad_image("hole.jpg", "JPEG", __LINE__);
    bk_free(data);

    put("empty.jpg", "", 0);
    expect_bad_image("empty.jpg", "is empty", __LINE__);
    put("text.jpg", "hello", 5);
    expect_bad_image("text.jpg", "neither a JPEG nor a PNG", __LINE__);
    put("only_magic.png", "\x89PNG\r\n\x1a\n", 8);
    expect_bad_image("only_magic.png", "premature end", __LINE__);
    finish();

    struct bk_error err = BK_ERROR_INIT;
    uint8_t *rgb;
    int32_t w, h;
    CU_ASSERT_EQUAL(bk_image_decode("/nonexistent/a.jpg", &rgb, &w, &h, &err), BK_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/a.jpg"));
}

/* Dimensions come from the file: 65000 x 65000 in a few bytes must not allocate 12 GB.
 */
static void test_huge_images(void)
{
    size_t n;
    start();
    char *data = fixture("rgb.jpg", &n);
    for (size_t i = 2; i + 9 < n; i++)
        if ((uint8_t)data[i] == 0xff && (uint8_t)data[i + 1] == 0xc0) {
            memcpy(data + i + 5, "\xfd\xe8\xfd\xe8", 4);
            break;
        }
    put("huge.jpg", data, n);
    expect_bad_image("huge.jpg", "too many", __LINE__);
    bk_free(data);
    finish();
}

/* ---- caches ---------------------------------------------------------------------- */

static char *make_cache(size_t *n)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images_writer *w;
    uint8_t rgb[5 * 7 * 3];
    char *data = NULL;
    BK_ASSERT_OK(bk_images_create(path_of("good"), &w, &err));
    for (int i = 0; i < 4; i++) {
        memset(rgb, 10 + i, sizeof rgb);
        const struct bk_image image = { rgb, 5, i + 1, i };
        BK_ASSERT_OK(bk_images_add(w, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(w, &err));
    BK_ASSERT_OK(bk_file_read(path_of("good"), 1 << 20, &data, n, &err));
    return data;
}

static void expect_bad_cache(const void *data, size_t n, const char *words, int line)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images = NULL;
    put("bad", data, n);
    int rc = bk_images_open(path_of("bad"), &images, &err);
    expect(rc, BK_EDATA, &err, words, line);
    CU_ASSERT_PTR_NULL(images);
}

static void test_bad_caches(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images;
    size_t n;
    start();
    char *good = make_cache(&n), *bad = malloc(n + 8);

    CU_ASSERT_EQUAL(bk_images_open(path_of("absent"), &images, &err), BK_ENOTFOUND);
    for (size_t cut = 0; cut < n; cut += 11)
        expect_bad_cache(good, cut, "bad'", __LINE__);
    memcpy(bad, good, n);
    memset(bad + n, 0, 8);
    expect_bad_cache(bad, n + 8, "has grown", __LINE__);
    /* flip each byte in turn: header, pixels, padding aside, index */
    struct bk__cache_header h;
    memcpy(&h, good, sizeof h);
    size_t pixels_end = sizeof h + 5 * (1 + 2 + 3 + 4) * 3;
    for (size_t i = 0; i < n; i++) {
        if (i >= pixels_end && i < h.index_offset)
            continue;
        memcpy(bad, good, n);
        bad[i] = (char)(bad[i] ^ 0x11);
        expect_bad_cache(bad, n, "bad'", __LINE__);
    }
    memcpy(bad, good, n);
    bad[8] = 2;
    expect_bad_cache(bad, n, "version 2", __LINE__);
    put("dir_not_file", "", 0);
    expect_bad_cache("", 0, "0 bytes", __LINE__);
    CU_ASSERT_NOT_EQUAL(bk_images_open(dir, &images, &err), BK_OK);
    free(bad);
    bk_free(good);
    finish();
}

/* The digest protects a structure that points outside the file even when it is "right".
 */
static void test_hostile_cache(void)
{
    size_t n;
    start();
    char *data = make_cache(&n), hex[65];
    struct bk__cache_header *h = (void *)data;
    struct bk__cache_entry *e = (void *)(data + h->index_offset);
    e[2].offset = UINT64_MAX - 8;
    bk__cache_structure(h, e, 4 * sizeof *e, hex);
    memcpy(h->structure, hex, 64);
    expect_bad_cache(data, n, "entry of image 2", __LINE__);
    e[2].offset = 256;
    e[2].width = 60000;
    bk__cache_structure(h, e, 4 * sizeof *e, hex);
    memcpy(h->structure, hex, 64);
    expect_bad_cache(data, n, "entry of image 2", __LINE__);
    bk_free(data);
    finish();
}

static void test_bad_writes(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images_writer *w;
    uint8_t rgb[3] = { 0 };
    start();
    int rc = bk_images_create(path_of("no/such/folder"), &w, &err);
    expect(rc, BK_EIO, &err, "no/such/folder", __LINE__);
    BK_ASSERT_OK(bk_images_create(path_of("dropped"), &w, &err));
    const struct bk_image no_pixels = { NULL, 1, 1, 0 }, no_side = { rgb, 0, 1, 0 },
                          bad_label = { rgb, 1, 1, -1 };
    expect(bk_images_add(w, &no_pixels, &err), BK_EINVAL, &err, "image 0", __LINE__);
    expect(bk_images_add(w, &no_side, &err), BK_EINVAL, &err, "0 x 1", __LINE__);
    expect(bk_images_add(w, &bad_label, &err), BK_EINVAL, &err, "label -1", __LINE__);
    bk_images_drop(w);
    CU_ASSERT_FALSE(bk_file_exists(path_of("dropped")));
    finish();
}

/* ---- folders --------------------------------------------------------------------- */

static void test_bad_folders(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_class_list classes = BK_CLASS_LIST_INIT;
    struct bk_images *images;
    size_t n;
    start();
    expect(bk_class_list_scan(path_of("none"), &classes, &err), BK_EDATA, &err, "none",
           __LINE__);
    BK_ASSERT_OK(bk_make_dirs(path_of("tree"), &err));
    expect(bk_class_list_scan(path_of("tree"), &classes, &err), BK_EDATA, &err,
           "no class folders", __LINE__);
    BK_ASSERT_OK(bk_make_dirs(path_of("tree/cat"), &err));
    BK_ASSERT_OK(bk_make_dirs(path_of("tree/dog"), &err));
    BK_ASSERT_OK(bk_class_list_scan(path_of("tree"), &classes, &err));
    CU_ASSERT_EQUAL(classes.n, 2);
    int rc = bk_images_import_folder(path_of("tree"), &classes, 0, path_of("cache"),
                                     NULL, &images, &err);
    expect(rc, BK_EDATA, &err, "no JPEG or PNG", __LINE__);

    char *data = fixture("rgb.jpg", &n);
    put("tree/dog/1.jpg", data, n);
    put("tree/dog/2.jpg", data, n / 2);
    put("tree/dog/3.jpg", data, n / 3);
    put("tree/dog/notes.txt", "x", 1);
    rc = bk_images_import_folder(path_of("tree"), &classes, 0, path_of("cache"), NULL,
                                 &images, &err);
    expect(rc, BK_EDATA, &err, "tree/dog/2.jpg", __LINE__);
    put("tree/dog/2.jpg", data, n);
    put("tree/dog/3.jpg", data, n);
    BK_ASSERT_OK(bk_images_import_folder(path_of("tree"), &classes, 0, path_of("cache"),
                                         NULL, &images, &err));
    CU_ASSERT_EQUAL(bk_images_count(images), 3);
    BK_ASSERT_OK(bk_images_verify(images, &err));
    bk_images_close(images);
    rc = bk_images_import_folder(path_of("tree"), &classes, -1, path_of("cache"), NULL,
                                 &images, &err);
    expect(rc, BK_EINVAL, &err, "negative", __LINE__);
    bk_free(data);
    bk_class_list_release(&classes);
    finish();
}

/* ---- loaders and pipelines ------------------------------------------------------- */

static void test_bad_loaders(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images;
    struct bk_split split;
    struct bk_loader *l = NULL;
    size_t n;
    uint32_t index[4] = { 0, 1, 2, 3 }, wrong[1] = { 4 }, out[1];
    start();
    bk_free(make_cache(&n));
    BK_ASSERT_OK(bk_images_open(path_of("good"), &images, &err));
    bk_split_init(&split, images, index, 4);
    struct bk_loader_config good = { .split = &split, .batch = 2, .n_views = 1 }, c;
    BK_ASSERT_OK(bk_augment_named("cifar", 4, &good.view[0], &err));
    const struct {
        int32_t batch, views, threads;
        double flip;
        const char *words;
    } cases[] = {
        { 0, 1, 0, 0.5, "batch 0" },  { 2, 17, 0, 0.5, "17 views" },
        { 2, 0, 0, 0.5, "0 views" },  { 2, 1, -1, 0.5, "-1 threads" },
        { 2, 1, 0, 1.5, "flip 1.5" }, { 2, 1, 0, NAN, "flip nan" },
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        c = good;
        c.batch = cases[i].batch;
        c.n_views = cases[i].views;
        c.threads = cases[i].threads;
        c.view[0].flip = cases[i].flip;
        expect(bk_loader_new(&c, &l, &err), BK_EINVAL, &err, cases[i].words, __LINE__);
    }
    c = good;
    c.batch = 5;
    c.drop_last = true;
    expect(bk_loader_new(&c, &l, &err), BK_EINVAL, &err, "do not fill", __LINE__);
    struct bk_split outside;
    bk_split_init(&outside, images, wrong, 1);
    c = good;
    c.split = &outside;
    expect(bk_loader_new(&c, &l, &err), BK_EINVAL, &err, "image 4 of 4", __LINE__);
    expect(bk_split_order(images, wrong, 1, 0, out, &err), BK_EINVAL, &err, "image 4",
           __LINE__);
    bk_split_init(&outside, images, index, 0);
    expect(bk_loader_new(&c, &l, &err), BK_EINVAL, &err, "no images", __LINE__);
    BK_ASSERT_OK(bk_loader_new(&good, &l, &err));
    expect(bk_loader_seek(l, 0, 3, &err), BK_EINVAL, &err, "batch 3", __LINE__);
    expect(bk_loader_seek(l, -1, 0, &err), BK_EINVAL, &err, "epoch -1", __LINE__);
    bk_loader_free(l);
    bk_images_close(images);
    finish();
}

static void test_bad_pipelines(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment a;
    float out[3];
    uint8_t rgb[12] = { 0 };
    const struct bk_image image = { rgb, 2, 2, 0 };
    expect(bk_augment_named("imagnet_1", 8, &a, &err), BK_ENOTFOUND, &err,
           "did you mean 'imagenet_1'", __LINE__);
    expect(bk_augment_named("cifar", 0, &a, &err), BK_EINVAL, &err, "size 0", __LINE__);
    BK_ASSERT_OK(bk_augment_named("none", 1, &a, &err));
    expect(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_ESHAPE, &err,
           "2 x 2", __LINE__);
    a.std[1] = 0;
    expect(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL, &err,
           "std 0", __LINE__);
    a = (struct bk_augment){ .size = 1 };
    expect(bk_augment_apply(&a, &image, 0, 0, 0, 0, out, &err), BK_EINVAL, &err,
           "crop 0", __LINE__);
}

/* Out of memory at every allocation: a status, nothing leaked (under the address
 * sanitizer), then success. */
static void test_out_of_memory(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images;
    struct bk_split split;
    size_t n;
    uint32_t index[4] = { 0, 1, 2, 3 };
    start();
    bk_free(make_cache(&n));
    BK_ASSERT_OK(bk_images_open(path_of("good"), &images, &err));
    bk_split_init(&split, images, index, 4);
    struct bk_loader_config c = { .split = &split, .batch = 2, .n_views = 2 };
    BK_ASSERT_OK(bk_augment_named("imagenet_2", 4, &c.view[0], &err));
    BK_ASSERT_OK(bk_augment_named("center", 4, &c.view[1], &err));
    int rc = BK_ENOMEM;
    for (long k = 1; k < 100 && rc; k++) {
        struct bk_loader *l = NULL;
        struct bk_images *again = NULL;
        struct bk_batch b;
        bk_alloc_fail_after(k);
        rc = bk_images_open(path_of("good"), &again, &err);
        if (rc == BK_OK)
            rc = bk_loader_new(&c, &l, &err);
        if (rc == BK_OK)
            rc = bk_loader_next(l, &b, &err);
        bk_alloc_fail_after(0);
        CU_ASSERT(rc == BK_OK || rc == BK_ENOMEM);
        bk_loader_free(l);
        bk_images_close(again);
    }
    CU_ASSERT_EQUAL(rc, BK_OK);
    bk_images_close(images);
    finish();
}

BK_SUITE({ "truncated images", test_truncated_images },
         { "damaged images", test_damaged_images }, { "huge images", test_huge_images },
         { "bad caches", test_bad_caches }, { "hostile cache", test_hostile_cache },
         { "bad writes", test_bad_writes }, { "bad folders", test_bad_folders },
         { "bad loaders", test_bad_loaders }, { "bad pipelines", test_bad_pipelines },
         { "out of memory", test_out_of_memory })

/*
 * Importing image trees: the same cache for any number of threads, order of names,
 * cancellation, reuse.
 */
#include "unit.h"

#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <unistd.h>

static char dir[256];

struct watch {
    double last;
    int calls, cancel_after;
};

static void on_progress(void *ctx, double done, double total, const char *unit,
                        const char *note)
{
    struct watch *w = ctx;
    (void)unit, (void)note, (void)total;
    w->last = done;
    w->calls++;
}

static bool on_cancelled(void *ctx)
{
    struct watch *w = ctx;
    return w->cancel_after && --w->cancel_after == 0;
}

static void make_tree(void)
{
    char command[1600];
    const char *src = bk_test_env("BK_TEST_SOURCE");
    snprintf(dir, sizeof dir, "/tmp/bk_import_%ld", (long)getpid());
    snprintf(command, sizeof command,
             "mkdir -p %s/t/b %s/t/a/deep %s/t/.hidden && cd %s/t && "
             "for i in $(seq 100 399); do cp %s/tests/fixtures/images/rgb.jpg "
             "b/$i.jpg; done && "
             "cp %s/tests/fixtures/images/grey.png a/deep/x.PNG && "
             "cp %s/tests/fixtures/images/rgba.png a/z.jpeg && cp "
             "%s/tests/fixtures/images/cmyk.jpg a/b.jpg && "
             "cp a/b.jpg .hidden/ && touch a/.c.jpg a/list.txt",
             dir, dir, dir, dir, src, src, src, src);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static int import(const char *cache, struct watch *w, struct bk_images **out,
                  struct bk_error *err)
{
    struct bk_host host = { .struct_size = sizeof host,
                            .ctx = w,
                            .progress = on_progress,
                            .cancelled = on_cancelled };
    struct bk_class_list classes;
    char tree[512], cache_dir[512];
    snprintf(tree, sizeof tree, "%s/t", dir);
    snprintf(cache_dir, sizeof cache_dir, "%s/%s", dir, cache);
    BK_TRY(bk_class_list_scan(tree, &classes, err));
    int rc = bk_images_import_folder(tree, &classes, 0, cache_dir, w ? &host : NULL,
                                     out, err);
    CU_ASSERT(classes.n == 2 && !strcmp(classes.name[0], "a"));
    bk_class_list_release(&classes);
    return rc;
}

static void test_threads(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *one, *five;
    int threads = bk_threads();
    make_tree();
    bk_threads_set(1);
    BK_ASSERT_OK(import("one", NULL, &one, &err));
    bk_threads_set(5);
    BK_ASSERT_OK(import("five", NULL, &five, &err));
    bk_threads_set(threads);
    CU_ASSERT_STRING_EQUAL(bk_images_digest(one), bk_images_digest(five));
    CU_ASSERT_EQUAL(bk_images_count(one), 303);
    BK_ASSERT_OK(bk_images_verify(five, &err));
    struct bk_image im;
    bk_images_get(one, 1,
                  &im); /* a/b.jpg, a/deep/x.PNG, a/z.jpeg: a grey one is second */
    CU_ASSERT(im.label == 0 && im.rgb[0] == im.rgb[1] && im.rgb[1] == im.rgb[2]);
    bk_images_get(one, 302, &im);
    CU_ASSERT(im.label == 1 && im.width == 21 && im.height == 14);
    bk_images_close(one);
    bk_images_close(five);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static void test_cancel_and_reuse(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images *images;
    struct watch w = { .cancel_after = 150 };
    char command[600];
    make_tree();
    CU_ASSERT_EQUAL(import("c", &w, &images, &err), BK_EINTERRUPTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "149 of 303"));
    snprintf(command, sizeof command, "test -z \"$(ls %s/c)\"", dir);
    CU_ASSERT_EQUAL(system(command), 0); /* nothing left behind */

    w = (struct watch){ 0 };
    BK_ASSERT_OK(import("c", &w, &images, &err));
    CU_ASSERT(w.calls >= 1 && w.last == 303);
    bk_images_close(images);
    w = (struct watch){ 0 };
    BK_ASSERT_OK(import("c", &w, &images, &err));
    CU_ASSERT_EQUAL(w.calls, 0); /* from the cache */
    bk_images_close(images);
    snprintf(command, sizeof command, "touch %s/t/b/200.jpg", dir);
    CU_ASSERT_EQUAL(system(command), 0);
    BK_ASSERT_OK(import("c", &w, &images, &err));
    CU_ASSERT(w.calls >= 1); /* a file changed */
    bk_images_close(images);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

BK_SUITE({ "same for any threads", test_threads },
         { "cancel and reuse", test_cancel_and_reuse })

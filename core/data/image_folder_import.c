/*
 * Image trees into caches: decode once, in parallel, and remember the result under a
 * digest of the file list.
 *
 * Threads decode a window of files ahead of the writer; the caller's thread writes them
 * in order, reports progress and notices cancellation. The cache's bytes and the error
 * that is reported do not depend on the number of threads.
 */
#include "data/image_cache.h"
#include "data/image_folder.h"
#include "data/pixels.h"

#include <bosskit/file.h>

#include <pthread.h>
#include <string.h>

#define WINDOW           256 /* decoded images that may wait for the writer */
#define MAX_THREADS      64
#define PROGRESS_EVERY_S 0.5

enum ready_state { READY_NO = 0, READY_OK, READY_ERROR };

struct ready {
    enum ready_state state;
    uint8_t *rgb;
    int32_t width, height;
    struct bk_error error;
};

struct import {
    const struct bk__file_list *files;
    int32_t short_side;
    pthread_mutex_t lock;
    pthread_cond_t room, done;  /* the window moved; an image is ready */
    struct ready ready[WINDOW]; /* of file i at i % WINDOW */
    uint32_t next, written;
    bool stop;
};

/* ---- one image ------------------------------------------------------------------- */

static int shrink(struct bk__scratch *s, int32_t short_side, struct ready *r,
                  struct bk_error *err)
{
    int32_t side = r->width < r->height ? r->width : r->height;
    if (short_side == 0 || side <= short_side)
        return BK_OK;
    int32_t w = (int32_t)((int64_t)r->width * short_side / side);
    int32_t h = (int32_t)((int64_t)r->height * short_side / side);
    uint8_t *out = bk_alloc((size_t)w * (size_t)h * 3);
    if (!out)
        return bk_fail(err, BK_ENOMEM, "out of memory for resizing an image");
    const struct bk__window in = { r->rgb, (size_t)r->width * 3, r->width, r->height };
    int rc = bk__resize(s, false, &in, w, h, out, err);
    if (rc) {
        bk_free(out);
        return rc;
    }
    bk_free(r->rgb);
    r->rgb = out;
    r->width = w;
    r->height = h;
    return BK_OK;
}

static void decode(struct bk__scratch *s, const struct import *im, uint32_t i,
                   struct ready *r)
{
    const char *path = im->files->at[i].path;
    int rc = bk_image_decode(path, &r->rgb, &r->width, &r->height, &r->error);
    if (rc == BK_OK)
        rc = shrink(s, im->short_side, r, &r->error);
    r->state = rc ? READY_ERROR : READY_OK;
}

static void *decoder(void *arg)
{
    struct import *im = arg;
    struct bk__scratch scratch = { 0 };

    pthread_mutex_lock(&im->lock);
    while (!im->stop && im->next < im->files->n) {
        if (im->next >= im->written + WINDOW) {
            pthread_cond_wait(&im->room, &im->lock);
            continue;
        }
        uint32_t i = im->next++;
        struct ready r = { .error = BK_ERROR_INIT };
        pthread_mutex_unlock(&im->lock);
        decode(&scratch, im, i, &r);
        pthread_mutex_lock(&im->lock);
        im->ready[i % WINDOW] = r;
        pthread_cond_signal(&im->done);
    }
    pthread_mutex_unlock(&im->lock);
    bk__scratch_release(&scratch);
    return NULL;
}

/* ---- all images ------------------------------------------------------------------ */

/* Wait for file i and take it out of the window. */
static struct ready take(struct import *im, uint32_t i)
{
    pthread_mutex_lock(&im->lock);
    struct ready *slot = &im->ready[i % WINDOW];
    while (slot->state == READY_NO)
        pthread_cond_wait(&im->done, &im->lock);
    struct ready r = *slot;
    slot->state = READY_NO;
    slot->rgb = NULL;
    im->written++;
    pthread_cond_signal(&im->room);
    pthread_mutex_unlock(&im->lock);
    return r;
}

static int write_all(struct import *im, struct bk_images_writer *w,
                     const struct bk_host *host, struct bk_error *err)
{
    double reported = bk_now();
    for (uint32_t i = 0; i < im->files->n; i++) {
        if (host && host->cancelled(host->ctx))
            return bk_fail(err, BK_EINTERRUPTED,
                           "interrupted after importing %u of %u images", (unsigned)i,
                           (unsigned)im->files->n);
        struct ready r = take(im, i);
        if (r.state == READY_ERROR) {
            bk_free(r.rgb);
            return bk_fail(err, r.error.code == BK_EIO ? BK_EDATA : r.error.code, "%s",
                           r.error.text);
        }
        const struct bk_image image = { r.rgb, r.width, r.height,
                                        im->files->at[i].label };
        int rc = bk_images_add(w, &image, err);
        bk_free(r.rgb);
        if (rc)
            return rc;
        if (host && (bk_now() - reported > PROGRESS_EVERY_S || i + 1 == im->files->n)) {
            host->progress(host->ctx, i + 1.0, im->files->n, "images", "importing");
            reported = bk_now();
        }
    }
    return BK_OK;
}

static void stop_decoders(struct import *im, const pthread_t *thread, int n)
{
    pthread_mutex_lock(&im->lock);
    im->stop = true;
    pthread_cond_broadcast(&im->room);
    pthread_mutex_unlock(&im->lock);
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < WINDOW; i++)
        bk_free(im->ready[i].rgb);
}

static int import_files(const struct bk__file_list *files, int32_t short_side,
                        struct bk_images_writer *w, const struct bk_host *host,
                        struct bk_error *err)
{
    pthread_t thread[MAX_THREADS];
    int n = 0, want = bk_threads(), rc = BK_OK;
    struct import *im = bk_zalloc(sizeof *im);

    if (!im)
        return bk_fail(err, BK_ENOMEM, "out of memory for an import");
    im->files = files;
    im->short_side = short_side;
    pthread_mutex_init(&im->lock, NULL);
    pthread_cond_init(&im->room, NULL);
    pthread_cond_init(&im->done, NULL);
    want = want < 1 ? 1 : want > MAX_THREADS ? MAX_THREADS : want;
    while (n < want && pthread_create(&thread[n], NULL, decoder, im) == 0)
        n++;
    rc = n ? write_all(im, w, host, err)
           : bk_fail(err, BK_ENOMEM, "cannot start a thread for an import");
    stop_decoders(im, thread, n);
    pthread_mutex_destroy(&im->lock);
    pthread_cond_destroy(&im->room);
    pthread_cond_destroy(&im->done);
    bk_free(im);
    return rc;
}

/* ---- remembering ----------------------------------------------------------------- */

static void add_number(struct bk_sha256 *sha, int64_t v)
{
    bk_sha256_add(sha, &v, sizeof v);
}

/* Names count from the folder, so that a tree that was moved with its times is not
 * imported again. */
static void list_key(const struct bk__file_list *files,
                     const struct bk_class_list *classes, size_t folder_len,
                     int32_t short_side, char out[65])
{
    struct bk_sha256 sha;
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, "bosskit image folder 1", 22);
    add_number(&sha, short_side);
    for (uint32_t c = 0; c < classes->n; c++)
        bk_sha256_add(&sha, classes->name[c], strlen(classes->name[c]) + 1);
    for (uint32_t i = 0; i < files->n; i++) {
        const struct bk__file *f = &files->at[i];
        const char *name = f->path + folder_len;
        bk_sha256_add(&sha, name, strlen(name) + 1);
        add_number(&sha, f->label);
        add_number(&sha, f->nbytes);
        add_number(&sha, f->changed_s);
        add_number(&sha, f->changed_ns);
    }
    bk_sha256_hex(&sha, out);
}

static int build_cache(const struct bk__file_list *files, int32_t short_side,
                       const char *path, const struct bk_host *host,
                       struct bk_error *err)
{
    struct bk_images_writer *w;
    BK_TRY(bk_images_create(path, &w, err));
    int rc = import_files(files, short_side, w, host, err);
    if (rc == BK_OK)
        return bk_images_finish(w, err);
    bk_images_drop(w);
    return rc;
}

static _Thread_local bool look_only;

void bk__images_look_only(bool on)
{
    look_only = on;
}

int bk_images_cached(const char *cache_dir, const char *prefix, const char *key,
                     char **path, struct bk_images **out, struct bk_error *err)
{
    struct bk_error local = BK_ERROR_INIT;
    struct bk_text t = BK_TEXT_INIT;
    int rc = look_only ? BK_OK : bk_make_dirs(cache_dir, err);
    if (rc)
        return rc;
    bk_text_addf(&t, "%s/%s-%.32s.images", cache_dir, prefix, key);
    char *name = bk_text_take(&t);
    bk_text_release(&t);
    if (!name)
        return bk_fail(err, BK_ENOMEM, "out of memory for a cache's name");
    rc = bk_images_open(name, out, &local);
    if (rc == BK_EDATA) {
        bk_log(BK_LOG_WARN, "%s; building it again", local.text);
        rc = BK_ENOTFOUND;
    }
    if (rc == BK_ENOTFOUND && look_only) {
        bk_fail(err, rc, "the images are not imported yet");
    } else if (rc == BK_ENOTFOUND) {
        *out = NULL;
        rc = BK_OK;
    } else if (rc) {
        bk_fail(err, rc, "%s", local.text);
    }
    if (rc)
        bk_free(name);
    else
        *path = name;
    return rc;
}

int bk_images_import_folder(const char *folder, const struct bk_class_list *classes,
                            int32_t short_side, const char *cache_dir,
                            const struct bk_host *host, struct bk_images **out,
                            struct bk_error *err)
{
    struct bk__file_list files = { 0 };
    struct bk_images *images = NULL;
    char key[65], *path = NULL;
    int rc;

    if (short_side < 0)
        return bk_fail(err, BK_EINVAL, "short side %d is negative", short_side);
    rc = bk__file_list_scan(folder, classes, &files, err);
    if (rc)
        return rc;
    list_key(&files, classes, strlen(folder), short_side, key);
    rc = bk_images_cached(cache_dir, "folder", key, &path, &images, err);
    if (rc == BK_OK && !images) {
        rc = build_cache(&files, short_side, path, host, err);
        if (rc == BK_OK)
            rc = bk_images_open(path, &images, err);
    }
    if (rc == BK_OK)
        *out = images;
    bk_free(path);
    bk__file_list_release(&files);
    return rc;
}

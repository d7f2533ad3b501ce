/*
 * Writing image caches: images are appended to a temporary file beside the final one,
 * which takes its name only when it is complete and on disk. A crash leaves a
 * ".partial" file and no cache. Layout: image_cache.h.
 */
#include "data/image_cache.h"

#include <bosskit/file.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct bk_images_writer {
    FILE *file;
    char *path, *partial;
    struct bk__cache_entry *entry;
    uint32_t count, cap;
    uint64_t offset;
    struct bk_sha256 sha;
};

static int write_bytes(struct bk_images_writer *w, const void *p, size_t n,
                       struct bk_error *err)
{
    if (n && fwrite(p, 1, n, w->file) != n)
        return bk_fail_errno(err, BK_EIO, "cannot write '%s'", w->partial);
    w->offset += n;
    return BK_OK;
}

/* Unique among the threads of this process and among processes. */
static char *partial_name(const char *path)
{
    static atomic_uint serial;
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s.%ld.%u.partial", path, (long)getpid(),
                 atomic_fetch_add(&serial, 1));
    char *name = bk_text_take(&t);
    bk_text_release(&t);
    return name;
}

int bk_images_create(const char *path, struct bk_images_writer **out,
                     struct bk_error *err)
{
    const struct bk__cache_header blank = { 0 };
    struct bk_images_writer *w = bk_zalloc(sizeof *w);
    int rc;

    if (!w || !(w->path = bk_strdup(path)) || !(w->partial = partial_name(path))) {
        rc = bk_fail(err, BK_ENOMEM, "out of memory for image cache '%s'", path);
        goto fail;
    }
    w->file = fopen(w->partial, "wb");
    if (!w->file) {
        rc = bk_fail_errno(err, BK_EIO, "cannot create '%s'", w->partial);
        goto fail;
    }
    bk_sha256_init(&w->sha);
    rc = write_bytes(w, &blank, sizeof blank, err);
    if (rc)
        goto fail;
    *out = w;
    return BK_OK;
fail:
    bk_images_drop(w);
    return rc;
}

static int reserve_entry(struct bk_images_writer *w, struct bk_error *err)
{
    if (w->count < w->cap)
        return BK_OK;
    if (w->count >= UINT32_MAX / 2)
        return bk_fail(err, BK_EINVAL, "image cache '%s': more than %u images", w->path,
                       UINT32_MAX / 2);
    uint32_t cap = w->cap ? w->cap * 2 : 1024;
    void *p = bk_realloc(w->entry, cap * sizeof *w->entry);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory for the index of '%s'", w->path);
    w->entry = p;
    w->cap = cap;
    return BK_OK;
}

int bk_images_add(struct bk_images_writer *w, const struct bk_image *image,
                  struct bk_error *err)
{
    if (!image->rgb || image->width < 1 || image->width > BK__CACHE_MAX_SIDE ||
        image->height < 1 || image->height > BK__CACHE_MAX_SIDE || image->label < 0)
        return bk_fail(
            err, BK_EINVAL,
            "image cache '%s': image %u is %d x %d with label %d; legal are sides of "
            "1..%d and labels from 0",
            w->path, (unsigned)w->count, image->width, image->height, image->label,
            BK__CACHE_MAX_SIDE);
    BK_TRY(reserve_entry(w, err));
    size_t n = (size_t)image->width * (size_t)image->height * 3;
    struct bk__cache_entry e = { w->offset, image->width, image->height, image->label,
                                 bk__pixel_sum(image->rgb, n) };
    BK_TRY(write_bytes(w, image->rgb, n, err));
    bk__cache_digest_add(&w->sha, image);
    w->entry[w->count++] = e;
    return BK_OK;
}

static int write_index(struct bk_images_writer *w, struct bk_error *err)
{
    static const uint8_t zeros[8];
    struct bk__cache_header h = { .version = BK__CACHE_VERSION, .count = w->count };
    size_t index_bytes = w->count * sizeof *w->entry;
    char hex[65];

    BK_TRY(write_bytes(w, zeros, (8 - w->offset % 8) % 8, err));
    memcpy(h.magic, BK__CACHE_MAGIC, sizeof h.magic);
    h.index_offset = w->offset;
    h.file_size = w->offset + index_bytes;
    bk_sha256_hex(&w->sha, hex);
    memcpy(h.digest, hex, sizeof h.digest);
    bk__cache_structure(&h, w->entry, index_bytes, hex);
    memcpy(h.structure, hex, sizeof h.structure);
    BK_TRY(write_bytes(w, w->entry, index_bytes, err));
    if (fseek(w->file, 0, SEEK_SET))
        return bk_fail_errno(err, BK_EIO, "cannot write '%s'", w->partial);
    return write_bytes(w, &h, sizeof h, err);
}

/* The rename is on disk only once the directory is. */
static void sync_directory(const char *path)
{
    struct bk_text t = BK_TEXT_INIT;
    const char *slash = strrchr(path, '/');
    if (slash)
        bk_text_addn(&t, path, slash == path ? 1 : (size_t)(slash - path));
    else
        bk_text_add(&t, ".");
    int fd = t.failed ? -1 : open(t.ptr, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* not every file system can; the file itself is safe */
        close(fd);
    }
    bk_text_release(&t);
}

int bk_images_finish(struct bk_images_writer *w, struct bk_error *err)
{
    int rc = write_index(w, err);
    if (rc)
        goto done;
    if (fflush(w->file) || fsync(fileno(w->file))) {
        rc = bk_fail_errno(err, BK_EIO, "cannot write '%s'", w->partial);
        goto done;
    }
    if (rename(w->partial, w->path)) {
        rc = bk_fail_errno(err, BK_EIO, "cannot rename '%s' to '%s'", w->partial,
                           w->path);
        goto done;
    }
    sync_directory(w->path);
    bk_free(w->partial);
    w->partial = NULL;
done:
    bk_images_drop(w);
    return rc;
}

void bk_images_drop(struct bk_images_writer *w)
{
    if (!w)
        return;
    if (w->file) {
        fclose(w->file);
        if (w->partial)
            unlink(w->partial);
    }
    bk_free(w->entry);
    bk_free(w->path);
    bk_free(w->partial);
    bk_free(w);
}

/*
 * Reading image caches: a file of decoded images, mapped read-only.
 *
 * Everything that would make a later access go wrong is checked at open: a cache that
 * opens can be used without further checks. Writing is in image_cache_write.c; what the
 * cache is made from is the business of datasets.
 */
#include "data/image_cache.h"

#include <bosskit/file.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct bk_images {
    const uint8_t *map;
    size_t nbytes;
    const struct bk__cache_header *header;
    const struct bk__cache_entry *entry;
    char *path;
    char digest[65];
};

static size_t entry_bytes(const struct bk__cache_entry *e)
{
    return (size_t)e->width * (size_t)e->height * 3;
}

/* Four independent multiply-xorshift lanes over 32-byte blocks, the rest byte by byte.
 */
uint32_t bk__pixel_sum(const uint8_t *p, size_t nbytes)
{
    const uint64_t k = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lane[4] = { nbytes, k, ~k, k >> 1 };
    for (; nbytes >= 32; p += 32, nbytes -= 32) {
        uint64_t w[4];
        memcpy(w, p, sizeof w);
        for (int i = 0; i < 4; i++) {
            lane[i] = (lane[i] ^ w[i]) * k;
            lane[i] ^= lane[i] >> 29;
        }
    }
    uint64_t h = lane[0];
    for (int i = 1; i < 4; i++)
        h = ((h ^ lane[i]) * k) ^ (h >> 31);
    for (; nbytes; p++, nbytes--)
        h = ((h ^ *p) * k) ^ (h >> 31);
    h = (h ^ (h >> 32)) * k;
    return (uint32_t)(h >> 32);
}

void bk__cache_structure(const struct bk__cache_header *header, const void *index,
                         size_t index_bytes, char out[65])
{
    struct bk__cache_header h = *header;
    struct bk_sha256 sha;
    memset(h.structure, 0, sizeof h.structure);
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, &h, sizeof h);
    bk_sha256_add(&sha, index, index_bytes);
    bk_sha256_hex(&sha, out);
}

void bk__cache_digest_add(struct bk_sha256 *sha, const struct bk_image *image)
{
    const int32_t head[3] = { image->width, image->height, image->label };
    bk_sha256_add(sha, head, sizeof head);
    bk_sha256_add(sha, image->rgb, (size_t)image->width * (size_t)image->height * 3);
}

static int map_file(struct bk_images *im, struct bk_error *err)
{
    struct stat st;
    int rc = BK_OK;
    int fd = open(im->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return bk_fail_errno(err, errno == ENOENT ? BK_ENOTFOUND : BK_EIO,
                             "cannot open image cache '%s'", im->path);
    if (fstat(fd, &st)) {
        rc = bk_fail_errno(err, BK_EIO, "cannot examine image cache '%s'", im->path);
        goto done;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct bk__cache_header)) {
        rc = bk_fail(err, BK_EDATA,
                     "image cache '%s' is %lld bytes long, less than its header",
                     im->path, (long long)st.st_size);
        goto done;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rc = bk_fail_errno(err, BK_EIO, "cannot map image cache '%s'", im->path);
        goto done;
    }
    im->map = map;
    im->nbytes = (size_t)st.st_size;
done:
    close(fd);
    return rc;
}

static int check_header(struct bk_images *im, struct bk_error *err)
{
    const struct bk__cache_header *h = (const void *)im->map;
    char want[65];

    if (memcmp(h->magic, BK__CACHE_MAGIC, sizeof h->magic) != 0)
        return bk_fail(err, BK_EDATA, "'%s' is not an image cache", im->path);
    if (h->version != BK__CACHE_VERSION)
        return bk_fail(err, BK_EDATA,
                       "image cache '%s' has version %u, this program reads %u",
                       im->path, (unsigned)h->version, BK__CACHE_VERSION);
    if (h->file_size != im->nbytes)
        return bk_fail(
            err, BK_EDATA,
            "image cache '%s' is truncated or has grown: %llu bytes instead of %llu",
            im->path, (unsigned long long)im->nbytes, (unsigned long long)h->file_size);
    size_t index_bytes = (size_t)h->count * sizeof(struct bk__cache_entry);
    if (h->index_offset < sizeof *h || h->index_offset % 8 ||
        h->index_offset > im->nbytes || im->nbytes - h->index_offset != index_bytes)
        return bk_fail(err, BK_EDATA, "image cache '%s' has a damaged header",
                       im->path);
    bk__cache_structure(h, im->map + h->index_offset, index_bytes, want);
    if (memcmp(want, h->structure, 64) != 0)
        return bk_fail(err, BK_EDATA, "image cache '%s' has a damaged header or index",
                       im->path);
    im->header = h;
    im->entry = (const void *)(im->map + h->index_offset);
    memcpy(im->digest, h->digest, 64);
    return BK_OK;
}

/* The structure digest holds, so a bad entry means a faulty writer: still never trust
 * it with memory. */
static int check_entries(const struct bk_images *im, bool pixels, struct bk_error *err)
{
    for (uint32_t i = 0; i < im->header->count; i++) {
        const struct bk__cache_entry *e = &im->entry[i];
        uint64_t end = im->header->index_offset;
        if (e->width < 1 || e->width > BK__CACHE_MAX_SIDE || e->height < 1 ||
            e->height > BK__CACHE_MAX_SIDE || e->label < 0 || e->offset < 256 ||
            e->offset > end || end - e->offset < entry_bytes(e))
            return bk_fail(err, BK_EDATA,
                           "image cache '%s': entry of image %u is damaged", im->path,
                           (unsigned)i);
        if (pixels && bk__pixel_sum(im->map + e->offset, entry_bytes(e)) != e->sum)
            return bk_fail(err, BK_EDATA,
                           "image cache '%s': pixels of image %u are damaged", im->path,
                           (unsigned)i);
    }
    return BK_OK;
}

int bk_images_open(const char *path, struct bk_images **out, struct bk_error *err)
{
    struct bk_images *im = bk_zalloc(sizeof *im);
    int rc = BK_ENOMEM;

    if (!im || !(im->path = bk_strdup(path))) {
        bk_fail(err, BK_ENOMEM, "out of memory for image cache '%s'", path);
        goto fail;
    }
    rc = map_file(im, err);
    if (rc)
        goto fail;
    rc = check_header(im, err);
    if (rc)
        goto fail;
    rc = check_entries(im, im->nbytes <= BK__CACHE_EAGER_BYTES, err);
    if (rc)
        goto fail;
    *out = im;
    return BK_OK;
fail:
    bk_images_close(im);
    return rc;
}

void bk_images_close(struct bk_images *im)
{
    if (!im)
        return;
    if (im->map)
        munmap((void *)(uintptr_t)im->map, im->nbytes);
    bk_free(im->path);
    bk_free(im);
}

uint32_t bk_images_count(const struct bk_images *im)
{
    return im->header->count;
}

void bk_images_get(const struct bk_images *im, uint32_t i, struct bk_image *out)
{
    const struct bk__cache_entry *e = &im->entry[i];
    out->rgb = im->map + e->offset;
    out->width = e->width;
    out->height = e->height;
    out->label = e->label;
}

const char *bk_images_digest(const struct bk_images *im)
{
    return im->digest;
}

int bk_images_verify(const struct bk_images *im, struct bk_error *err)
{
    struct bk_sha256 sha;
    char digest[65];

    BK_TRY(check_entries(im, true, err));
    bk_sha256_init(&sha);
    for (uint32_t i = 0; i < im->header->count; i++) {
        struct bk_image image;
        bk_images_get(im, i, &image);
        bk__cache_digest_add(&sha, &image);
    }
    bk_sha256_hex(&sha, digest);
    if (strcmp(digest, im->digest) != 0)
        return bk_fail(err, BK_EDATA,
                       "image cache '%s': its content does not match its digest",
                       im->path);
    return BK_OK;
}

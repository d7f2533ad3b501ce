/**
 * data/image_cache.h: layout of an image cache file, shared by reader and writer.
 *
 *     header (256 bytes) | pixels of all images, one after the other | index (24 bytes
 * an image)
 *
 * Little-endian. The header carries two digests: `digest` over the content (what
 * fingerprints are made of) and `structure` over header and index, which is checked at
 * every open. Each index entry has a fast checksum of its pixels.
 */
#ifndef BOSSKIT_DATA_IMAGE_CACHE_H
#define BOSSKIT_DATA_IMAGE_CACHE_H

#include <bosskit/dataset.h>

#define BK__CACHE_MAGIC    "bkimages"
#define BK__CACHE_VERSION  1u
#define BK__CACHE_MAX_SIDE 65535
/** Pixels are checked at open up to this many bytes: half a second at most. */
#define BK__CACHE_EAGER_BYTES ((uint64_t)1 << 30)

struct bk__cache_header {
    char magic[8];
    uint32_t version;
    uint32_t count;
    uint64_t index_offset;
    uint64_t file_size;
    char digest[64];    /* SHA-256 in hexadecimal, no NUL */
    char structure[64]; /* the same over header (this field zero) and index */
    uint8_t reserved[96];
};

struct bk__cache_entry {
    uint64_t offset; /* from the start of the file */
    int32_t width, height, label;
    uint32_t sum; /* bk__pixel_sum() */
};

_Static_assert(sizeof(struct bk__cache_header) == 256, "cache header layout");
_Static_assert(sizeof(struct bk__cache_entry) == 24, "cache entry layout");

/** A fast checksum against damage on disk (not against intent); about 10 GB/s. */
uint32_t bk__pixel_sum(const uint8_t *p, size_t nbytes);

/** Digest of header (its `structure` taken as zero) and index. */
BK_API void bk__cache_structure(const struct bk__cache_header *header,
                                const void *index, size_t index_bytes, char out[65]);

/**
 * While on (for this thread), bk_images_cached() makes nothing and fails with BK_ENOTFOUND where a cache would have to be
 * written: for looking at what a run would do.
 */
BK_API void bk__images_look_only(bool on);

/** Add one image to the content digest. */
struct bk_sha256;
void bk__cache_digest_add(struct bk_sha256 *sha, const struct bk_image *image);

#endif

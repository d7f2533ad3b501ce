/*
 * Splits: which images of a cache, in which order, and a fingerprint of both.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <bosskit/random.h>

#include <stdlib.h>
#include <string.h>

void bk_split_init(struct bk_split *out, const struct bk_images *images,
                   const uint32_t *index, uint32_t n)
{
    struct bk_sha256 sha;
    out->images = images;
    out->index = index;
    out->n = n;
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, "bosskit split 1", 15);
    bk_sha256_add(&sha, bk_images_digest(images), 64);
    bk_sha256_add(&sha, &n, sizeof n);
    bk_sha256_add(&sha, index, n * sizeof *index);
    bk_sha256_hex(&sha, out->fingerprint);
}

/* An image and where in the order it belongs: member k of a class of n gets (k + u) /
 * n, 0 <= u < 1. */
struct ranked {
    double key;
    uint32_t image;
    int32_t label;
};

static int compare_ranked(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->image < b->image ? -1 : a->image > b->image;
}

static int compare_class(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    if (a->label != b->label)
        return a->label < b->label ? -1 : 1;
    return compare_ranked(pa, pb);
}

/* Every class separately: its members, in a random order already, are spread evenly
 * over 0..1. */
static void spread_classes(struct ranked *r, uint32_t n, uint64_t seed)
{
    for (uint32_t lo = 0, hi; lo < n; lo = hi) {
        for (hi = lo; hi < n && r[hi].label == r[lo].label;)
            hi++;
        for (uint32_t i = lo; i < hi; i++) {
            struct bk_random random;
            bk_random_init(&random, seed, bk_random_stream("split spread"), 0,
                           r[i].image);
            r[i].key = (i - lo + bk_random_f64(&random)) / (hi - lo);
        }
    }
}

int bk_split_order(const struct bk_images *images, const uint32_t *from, uint32_t n,
                   uint64_t seed, uint32_t *out, struct bk_error *err)
{
    uint32_t count = bk_images_count(images);
    struct ranked *r = bk_alloc((n ? n : 1) * sizeof *r);
    int rc = BK_OK;

    if (!r)
        return bk_fail(err, BK_ENOMEM, "out of memory for a split of %u images",
                       (unsigned)n);
    for (uint32_t i = 0; i < n; i++) {
        struct bk_random random;
        struct bk_image image;
        uint32_t k = from ? from[i] : i;
        if (k >= count) {
            rc = bk_fail(err, BK_EINVAL, "image %u is outside the cache's 0..%lld",
                         (unsigned)k, (long long)count - 1);
            goto done;
        }
        bk_images_get(images, k, &image);
        bk_random_init(&random, seed, bk_random_stream("split"), 0, k);
        r[i] = (struct ranked){ bk_random_f64(&random), k, image.label };
    }
    qsort(r, n, sizeof *r, compare_class);
    spread_classes(r, n, seed);
    qsort(r, n, sizeof *r, compare_ranked);
    for (uint32_t i = 0; i < n; i++)
        out[i] = r[i].image;
done:
    bk_free(r);
    return rc;
}

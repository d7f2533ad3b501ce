/*
 * The smallest dataset: generated images whose brightness rises in one of four directions, the class.
 *
 * open() writes the images into a cache file once and maps it; later runs with the same options find it by its key. The
 * splits are ranges of that file.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>
#include <bosskit/random.h>

#include <string.h>

#define N_CLASSES 4

struct mini {
    int64_t n, size;
    struct bk_images *images;
    uint32_t *index;            /* 0, 1, 2, ... */
};

static const struct bk_opt options[] = {
    BK_INT("n", struct mini, n, 64, 8, 100000, "images", "images in all: half to train, a quarter to rate and to test"),
    BK_INT("size", struct mini, size, 16, 4, 256, "pixels", "side of the images"),
    BK_OPT_END,
};

/* Brightness 0..255 along the direction of the class, times a random colour, plus a little noise. */
static void draw(const struct mini *m, uint32_t i, uint8_t *rgb)
{
    uint32_t label = i % N_CLASSES;
    struct bk_random r;
    float color[3];

    bk_random_init(&r, 0, bk_random_stream("mini dataset"), 0, i);
    for (int c = 0; c < 3; c++)
        color[c] = 0.5f + 0.5f * bk_random_f32(&r);
    for (int64_t y = 0; y < m->size; y++)
        for (int64_t x = 0; x < m->size; x++) {
            int64_t along = label < 2 ? x : y, last = m->size - 1;
            float rise = (float)(label & 1 ? last - along : along) / (float)last;
            for (int c = 0; c < 3; c++)
                *rgb++ = (uint8_t)(rise * color[c] * 235 + bk_random_f32(&r) * 20);
        }
}

static int write_cache(const struct mini *m, const char *path, struct bk_error *err)
{
    uint8_t *rgb = bk_alloc((size_t)(m->size * m->size * 3));
    struct bk_images_writer *w = NULL;
    int rc;

    if (!rgb)
        return bk_fail(err, BK_ENOMEM, "out of memory for an image");
    rc = bk_images_create(path, &w, err);
    for (uint32_t i = 0; i < m->n && rc == BK_OK; i++) {
        const struct bk_image image = { rgb, (int32_t)m->size, (int32_t)m->size, (int32_t)(i % N_CLASSES) };
        draw(m, i, rgb);
        rc = bk_images_add(w, &image, err);
    }
    bk_free(rgb);
    if (rc == BK_OK)
        return bk_images_finish(w, err);        /* publishes the file */
    if (w)
        bk_images_drop(w);
    return rc;
}

static int mini_open(void *state, const char *cache_dir, struct bk_error *err)
{
    struct mini *m = state;
    struct bk_sha256 sha;
    char key[65], *path;
    int rc = BK_OK;

    if (m->images)
        return BK_OK;
    m->index = bk_alloc((size_t)m->n * sizeof *m->index);
    if (!m->index)
        return bk_fail(err, BK_ENOMEM, "out of memory for %lld images", (long long)m->n);
    for (uint32_t i = 0; i < m->n; i++)
        m->index[i] = i;
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, &m->n, sizeof m->n);
    bk_sha256_add(&sha, &m->size, sizeof m->size);
    bk_sha256_hex(&sha, key);
    BK_TRY(bk_images_cached(cache_dir, "mini", key, &path, &m->images, err));
    if (!m->images) {
        rc = write_cache(m, path, err);
        if (rc == BK_OK)
            rc = bk_images_open(path, &m->images, err);
    }
    bk_free(path);
    return rc;
}

static void mini_free(void *state)
{
    struct mini *m = state;
    bk_images_close(m->images);
    bk_free(m->index);
}

static int mini_info(void *state, struct bk_dataset_info *out, struct bk_error *err)
{
    static const char *const names[N_CLASSES] = { "right", "left", "down", "up" };
    const struct mini *m = state;
    (void)err;
    out->n_classes = N_CLASSES;
    out->size = (int32_t)m->size;
    out->class_names = names;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = out->alone_mean[c] = 0.4;
        out->std[c] = out->alone_std[c] = 0.25;
    }
    return BK_OK;
}

static int mini_split(void *state, const char *name, struct bk_split *out, struct bk_error *err)
{
    struct mini *m = state;
    uint32_t half = (uint32_t)m->n / 2, quarter = (uint32_t)m->n / 4;

    if (!m->images)
        return bk_fail(err, BK_ESTATE, "dataset 'mini' is not open");
    if (strcmp(name, "train") == 0)
        bk_split_init(out, m->images, m->index, half);
    else if (strcmp(name, "val") == 0)
        bk_split_init(out, m->images, m->index + half, quarter);
    else if (strcmp(name, "test") == 0)
        bk_split_init(out, m->images, m->index + half + quarter, (uint32_t)m->n - half - quarter);
    else if (strcmp(name, "full") == 0)
        bk_split_init(out, m->images, m->index, half + quarter);
    else
        return bk_fail(err, BK_ENOTFOUND, "no split '%s', legal: train, val, test, full", name);
    return BK_OK;
}

static const struct bk_dataset_iface iface = {
    .struct_size = sizeof(struct bk_dataset_iface),
    .open = mini_open,
    .info = mini_info,
    .split = mini_split,
};

static const struct bk_plugin mini = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_DATASET,
    .name = "mini",
    .version = "1.0.0",
    .summary = "generated gradients in four directions",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct mini),
    .free = mini_free,
    .iface = &iface,
};

BK_MODULE(&mini);

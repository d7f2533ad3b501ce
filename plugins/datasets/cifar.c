/*
 * CIFAR-10 and CIFAR-100, from the official binary batches or from a tree of image
 * files.
 *
 * Splits. "paper": CIFAR-10 halves its training images into train and val; CIFAR-100
 * halves its test images into val and test, as NATS-Bench does. With `split_file`
 * (NATS-Bench's cifar-split.txt, cifar100-test-split.txt) the halves are the published
 * ones, otherwise seeded and stratified. "release": all training images, val = test =
 * all test images, as BossNAS's released configurations. Normalisation: BossNAS
 * specification 8.2 and 8.4.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIDE            32
#define PIXELS          (SIDE * SIDE)
#define SPLIT_FILE_MAX  ((size_t)16 << 20)
#define MAX_BATCH_FILES 5

enum { SPLIT_PAPER = 1, SPLIT_RELEASE };
enum { TRAIN, VAL, TEST, FULL, N_PARTS };

struct part {
    const struct bk_images *images;
    uint32_t *index;
    uint32_t n;
};

struct cifar {
    const char *root, *split_file;
    int64_t classes, n_train, n_val, n_test, split_seed;
    int32_t split;
    const struct bk_host *host;
    struct bk_images *train, *test;
    struct bk_class_list names;
    struct part part[N_PARTS];
    bool official; /* binary batches: images are in the published order */
};

static const struct bk_choice splits[] = { { "paper", SPLIT_PAPER },
                                           { "release", SPLIT_RELEASE },
                                           { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_PATH("root",       struct cifar, root, NULL, "folder of the binary batches, or with train/<class>/*.jpg and test/<class>/*.jpg; unset: below BOSSKIT_DATA"),
    BK_INT ("classes",    struct cifar, classes, 10, 10, 100, "classes", "10 or 100"),
    BK_ENUM("split",      struct cifar, split, SPLIT_PAPER, splits, "paper: NATS-Bench's halves; release: BossNAS's released configurations"),
    BK_PATH("split_file", struct cifar, split_file, NULL, "NATS-Bench's cifar-split.txt or cifar100-test-split.txt; unset: seeded, stratified halves"),
    BK_INT ("split_seed", struct cifar, split_seed, 0, 0, 4294967295, "", "seed of the halves and subsets"),
    BK_INT ("n_train",    struct cifar, n_train, 0, 0, 50000, "images", "use so many training images, every class alike; 0 = all"),
    BK_INT ("n_val",      struct cifar, n_val,   0, 0, 50000, "images", "the same for rating"),
    BK_INT ("n_test",     struct cifar, n_test,  0, 0, 50000, "images", "the same for the test"),
    BK_OPT_END
};
/* clang-format on */

static const char *const names_10[] = {
    "airplane", "automobile", "bird",  "cat",  "deer",
    "dog",      "frog",       "horse", "ship", "truck",
};

/* ---- where it is ----------------------------------------------------------------- */

static char *join(const char *a, const char *b)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/%s", a, b);
    char *s = bk_text_take(&t);
    bk_text_release(&t);
    return s;
}

static bool has(const char *folder, const char *name)
{
    char *path = join(folder, name);
    bool yes = path && bk_file_exists(path);
    bk_free(path);
    return yes;
}

static bool has_batches(const struct cifar *d, const char *folder)
{
    return has(folder, d->classes == 10 ? "data_batch_1.bin" : "train.bin");
}

static bool is_root(const struct cifar *d, const char *folder)
{
    return has_batches(d, folder) || has(folder, "train");
}

static int missing(const struct cifar *d, const char *looked_in, struct bk_error *err)
{
    bool ten = d->classes == 10;
    return bk_fail(
        err, BK_EDATA,
        "CIFAR-%lld is not in '%s': download %s from "
        "https://www.cs.toronto.edu/~kriz/cifar.html, unpack it, and set data.root to "
        "its "
        "folder '%s' (with %s), or put that folder into $BOSSKIT_DATA; a folder with "
        "train/<class>/*.jpg and test/<class>/*.jpg also serves",
        (long long)d->classes, looked_in,
        ten ? "cifar-10-binary.tar.gz" : "cifar-100-binary.tar.gz",
        ten ? "cifar-10-batches-bin" : "cifar-100-binary",
        ten ? "data_batch_1.bin ... data_batch_5.bin, test_batch.bin"
            : "train.bin, test.bin");
}

/* *out is bk_free()d by the caller. */
static int find_root(const struct cifar *d, char **out, struct bk_error *err)
{
    static const char *const below_10[] = { "cifar-10-batches-bin", "cifar10-jpeg",
                                            "cifar10" };
    static const char *const below_100[] = { "cifar-100-binary", "cifar100-jpeg",
                                             "cifar100" };
    const char *const *below = d->classes == 10 ? below_10 : below_100;
    const char *base = d->root && d->root[0] ? d->root : getenv("BOSSKIT_DATA");
    char *found = NULL;

    if (!base || !base[0])
        return missing(d, "$BOSSKIT_DATA (which is not set)", err);
    if (is_root(d, base) && base == d->root) {
        found = bk_strdup(base);
        if (!found)
            return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    }
    for (int i = 0; !found && i < 3; i++) {
        found = join(base, below[i]);
        if (found && !is_root(d, found)) {
            bk_free(found);
            found = NULL;
        }
    }
    if (!found)
        return missing(d, base, err);
    *out = found;
    return BK_OK;
}

/* ---- binary batches -------------------------------------------------------------- */

struct batch_set {
    const char *prefix;
    const char *file[MAX_BATCH_FILES];
    int n_files;
    uint32_t official; /* images */
};

static const struct batch_set sets[2][2] = {
    { { "cifar10-train",
        { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
          "data_batch_4.bin", "data_batch_5.bin" },
        5,
        50000 },
      { "cifar10-test", { "test_batch.bin" }, 1, 10000 } },
    { { "cifar100-train", { "train.bin" }, 1, 50000 },
      { "cifar100-test", { "test.bin" }, 1, 10000 } },
};

/* Records: label (CIFAR-100: coarse, then fine label), then planes of R, G, B. */
static int add_batch(const struct cifar *d, const char *path,
                     struct bk_images_writer *w, struct bk_error *err)
{
    size_t n_labels = d->classes == 10 ? 1 : 2, record = n_labels + 3 * PIXELS, nbytes;
    uint8_t rgb[3 * PIXELS];
    char *data;

    BK_TRY(bk_file_read(path, (size_t)1 << 30, &data, &nbytes, err));
    int rc = BK_OK;
    if (nbytes == 0 || nbytes % record)
        rc = bk_fail(err, BK_EDATA,
                     "'%s' has %zu bytes, not a multiple of %zu: it is truncated or "
                     "not a CIFAR-%lld batch",
                     path, nbytes, record, (long long)d->classes);
    for (size_t at = 0; rc == BK_OK && at < nbytes; at += record) {
        const uint8_t *r = (const uint8_t *)data + at, *plane = r + n_labels;
        struct bk_image image = { rgb, SIDE, SIDE, r[n_labels - 1] };
        if (image.label >= d->classes) {
            rc = bk_fail(err, BK_EDATA, "'%s': image %zu has label %d, legal: 0..%lld",
                         path, at / record, image.label, (long long)d->classes - 1);
            break;
        }
        for (size_t i = 0; i < PIXELS; i++)
            for (size_t c = 0; c < 3; c++)
                rgb[3 * i + c] = plane[c * PIXELS + i];
        rc = bk_images_add(w, &image, err);
    }
    bk_free(data);
    return rc;
}

static int batch_key(const char *root, const struct batch_set *set, char key[65],
                     struct bk_error *err)
{
    struct bk_sha256 sha;
    bk_sha256_init(&sha);
    bk_sha256_add(&sha, "bosskit cifar 1", 15);
    for (int i = 0; i < set->n_files; i++) {
        struct stat st;
        char *path = join(root, set->file[i]);
        if (!path || stat(path, &st)) {
            bk_free(path);
            return bk_fail(err, BK_EDATA,
                           "'%s' is incomplete: there is no '%s'; unpack the archive "
                           "from https://www.cs.toronto.edu/~kriz/cifar.html again",
                           root, set->file[i]);
        }
        bk_free(path);
        const int64_t numbers[3] = { st.st_size, st.st_mtim.tv_sec,
                                     st.st_mtim.tv_nsec };
        bk_sha256_add(&sha, set->file[i], strlen(set->file[i]) + 1);
        bk_sha256_add(&sha, numbers, sizeof numbers);
    }
    bk_sha256_hex(&sha, key);
    return BK_OK;
}

static int write_batches(const struct cifar *d, const char *root,
                         const struct batch_set *set, const char *cache,
                         struct bk_error *err)
{
    struct bk_images_writer *w;
    BK_TRY(bk_images_create(cache, &w, err));
    for (int i = 0; i < set->n_files; i++) {
        char *path = join(root, set->file[i]);
        int rc = path ? add_batch(d, path, w, err)
                      : bk_fail(err, BK_ENOMEM, "out of memory for a path");
        bk_free(path);
        if (rc) {
            bk_images_drop(w);
            return rc;
        }
        d->host->progress(d->host->ctx, i + 1, set->n_files, "files", "importing");
    }
    return bk_images_finish(w, err);
}

static int open_batches(const struct cifar *d, const char *root,
                        const struct batch_set *set, const char *cache_dir,
                        struct bk_images **out, struct bk_error *err)
{
    struct bk_images *images = NULL;
    char key[65], *cache = NULL;

    BK_TRY(batch_key(root, set, key, err));
    BK_TRY(bk_images_cached(cache_dir, set->prefix, key, &cache, &images, err));
    int rc = BK_OK;
    if (!images) {
        rc = write_batches(d, root, set, cache, err);
        if (rc == BK_OK)
            rc = bk_images_open(cache, &images, err);
    }
    bk_free(cache);
    if (rc == BK_OK && bk_images_count(images) != set->official)
        bk_log(BK_LOG_WARN, "'%s' has %u images for %s, the official set has %u", root,
               (unsigned)bk_images_count(images), set->prefix, (unsigned)set->official);
    if (rc == BK_OK)
        *out = images;
    return rc;
}

/* ---- image trees ----------------------------------------------------------------- */

static int check_sides(const struct bk_images *images, const char *folder,
                       struct bk_error *err)
{
    for (uint32_t i = 0; i < bk_images_count(images); i++) {
        struct bk_image im;
        bk_images_get(images, i, &im);
        if (im.width != SIDE || im.height != SIDE)
            return bk_fail(err, BK_EDATA,
                           "'%s': image %u is %d x %d, CIFAR's are 32 x 32 (for other "
                           "images use dataset 'image_folder')",
                           folder, (unsigned)i, im.width, im.height);
    }
    return BK_OK;
}

static int open_tree(struct cifar *d, const char *root, const char *name,
                     const char *cache_dir, struct bk_images **out,
                     struct bk_error *err)
{
    char *folder = join(root, name);
    int rc = BK_OK;
    if (!folder)
        return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    if (!d->names.n)
        rc = bk_class_list_scan(folder, &d->names, err);
    if (rc == BK_OK && d->names.n != d->classes)
        rc = bk_fail(err, BK_EDATA, "'%s' has %u class folders, data.classes is %lld",
                     folder, (unsigned)d->names.n, (long long)d->classes);
    if (rc == BK_OK)
        rc =
            bk_images_import_folder(folder, &d->names, 0, cache_dir, d->host, out, err);
    if (rc == BK_OK)
        rc = check_sides(*out, folder, err);
    bk_free(folder);
    return rc;
}

/* ---- splits ---------------------------------------------------------------------- */

/* Images of a part in a seeded order whose prefixes are class-balanced, cut after
 * `limit` of them. */
static int set_part(struct cifar *d, int which, const struct bk_images *images,
                    const uint32_t *from, uint32_t n, int64_t limit,
                    struct bk_error *err)
{
    struct part *p = &d->part[which];
    p->index = bk_alloc((n ? n : 1) * sizeof *p->index);
    if (!p->index)
        return bk_fail(err, BK_ENOMEM, "out of memory for a split");
    p->images = images;
    p->n = limit && limit < n ? (uint32_t)limit : n;
    return bk_split_order(images, from, n, (uint64_t)d->split_seed, p->index, err);
}

/* The numbers in the list after "key" of a NATS-Bench split file: "key": ["int", ["0",
 * "5", ...]]. */
static int read_numbers(const char *path, const char *text, const char *key,
                        uint32_t count, bool *taken, uint32_t *out, uint32_t *n,
                        struct bk_error *err)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *p = strstr(text, quoted);
    const char *end = p ? strchr(p, '}') : NULL;
    const char *close = p ? strchr(p, ']') : NULL;
    if (!close || (end && end < close))
        return bk_fail(err, BK_EDATA, "split file '%s' has no list '%s'", path, key);
    *n = 0;
    for (p += strlen(quoted); p < close; p++) {
        if (*p < '0' || *p > '9')
            continue;
        char *next;
        unsigned long v = strtoul(p, &next, 10);
        if (v >= count || taken[v])
            return bk_fail(err, BK_EDATA, "split file '%s', list '%s': image %lu is %s",
                           path, key, v,
                           v >= count ? "outside the dataset" : "named twice");
        taken[v] = true;
        out[(*n)++] = (uint32_t)v;
        p = next - 1;
    }
    return *n ? BK_OK
              : bk_fail(err, BK_EDATA, "split file '%s': list '%s' is empty", path,
                        key);
}

static int read_split_file(const struct cifar *d, uint32_t count, uint32_t *index,
                           uint32_t n[2], struct bk_error *err)
{
    const char *keys[2] = { d->classes == 10 ? "train" : "xvalid",
                            d->classes == 10 ? "valid" : "xtest" };
    char *text = NULL;
    size_t nbytes;

    if (!d->official)
        return bk_fail(
            err, BK_EDATA,
            "a split file numbers the images of the binary batches, but '%s' "
            "is a tree of image files; leave data.split_file out",
            d->root ? d->root : "root");
    BK_TRY(bk_file_read(d->split_file, SPLIT_FILE_MAX, &text, &nbytes, err));
    bool *taken = bk_zalloc(count * sizeof *taken);
    int rc = taken ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for a split");
    if (rc == BK_OK)
        rc =
            read_numbers(d->split_file, text, keys[0], count, taken, index, &n[0], err);
    if (rc == BK_OK)
        rc = read_numbers(d->split_file, text, keys[1], count, taken, index + n[0],
                          &n[1], err);
    bk_free(taken);
    bk_free(text);
    return rc;
}

/* Two halves of `images` become the parts a and b. */
static int set_halves(struct cifar *d, const struct bk_images *images, int a,
                      int64_t limit_a, int b, int64_t limit_b, struct bk_error *err)
{
    uint32_t count = bk_images_count(images), n[2] = { count / 2, count - count / 2 };
    uint32_t *index = bk_alloc(count * sizeof *index);
    int rc;

    if (!index)
        return bk_fail(err, BK_ENOMEM, "out of memory for a split");
    if (d->split_file && d->split_file[0])
        rc = read_split_file(d, count, index, n, err);
    else
        rc = bk_split_order(images, NULL, count, (uint64_t)d->split_seed, index, err);
    if (rc == BK_OK)
        rc = set_part(d, a, images, index, n[0], limit_a, err);
    if (rc == BK_OK)
        rc = set_part(d, b, images, index + n[0], n[1], limit_b, err);
    bk_free(index);
    return rc;
}

static int make_splits(struct cifar *d, struct bk_error *err)
{
    uint32_t n_train = bk_images_count(d->train), n_test = bk_images_count(d->test);
    bool halve_train = d->split == SPLIT_PAPER && d->classes == 10;
    bool halve_test = d->split == SPLIT_PAPER && d->classes == 100;

    BK_TRY(set_part(d, FULL, d->train, NULL, n_train, 0, err));
    if (halve_train)
        BK_TRY(set_halves(d, d->train, TRAIN, d->n_train, VAL, d->n_val, err));
    else
        BK_TRY(set_part(d, TRAIN, d->train, NULL, n_train, d->n_train, err));
    if (halve_test)
        return set_halves(d, d->test, VAL, d->n_val, TEST, d->n_test, err);
    BK_TRY(set_part(d, TEST, d->test, NULL, n_test, d->n_test, err));
    return halve_train ? BK_OK : set_part(d, VAL, d->test, NULL, n_test, d->n_val, err);
}

/* ---- the table ------------------------------------------------------------------- */

static int cifar_init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct cifar *d = state;
    d->host = host;
    if (d->classes != 10 && d->classes != 100)
        return bk_fail(err, BK_ECONFIG,
                       "dataset 'cifar': classes %lld is neither 10 nor 100",
                       (long long)d->classes);
    if (d->split == SPLIT_RELEASE && d->split_file && d->split_file[0])
        return bk_fail(
            err, BK_ECONFIG,
            "dataset 'cifar': split_file belongs to split 'paper', not to 'release'");
    return BK_OK;
}

static void cifar_free(void *state)
{
    struct cifar *d = state;
    for (int i = 0; i < N_PARTS; i++) {
        bk_free(d->part[i].index);
        d->part[i] = (struct part){ 0 };
    }
    bk_images_close(d->train);
    bk_images_close(d->test);
    d->train = d->test = NULL;
    bk_class_list_release(&d->names);
}

static int open_all(struct cifar *d, const char *root, const char *cache_dir,
                    struct bk_error *err)
{
    d->official = has_batches(d, root);
    if (d->official) {
        const struct batch_set *set = sets[d->classes == 100];
        BK_TRY(open_batches(d, root, &set[0], cache_dir, &d->train, err));
        BK_TRY(open_batches(d, root, &set[1], cache_dir, &d->test, err));
    } else {
        BK_TRY(open_tree(d, root, "train", cache_dir, &d->train, err));
        BK_TRY(open_tree(d, root, "test", cache_dir, &d->test, err));
    }
    return make_splits(d, err);
}

static int cifar_open(void *state, const char *cache_dir, struct bk_error *err)
{
    struct cifar *d = state;
    char *root = NULL;

    if (d->train)
        return BK_OK;
    BK_TRY(find_root(d, &root, err));
    int rc = open_all(d, root, cache_dir, err);
    if (rc)
        cifar_free(d); /* nothing half open */
    bk_free(root);
    return rc;
}

static int cifar_info(void *state, struct bk_dataset_info *out, struct bk_error *err)
{
    static const double mean[3] = { 0.4914, 0.4822, 0.4465 },
                        std[3] = { 0.2023, 0.1994, 0.2010 };
    static const double alone_mean[2][3] = { { 125.3, 123.0, 113.9 },
                                             { 129.3, 124.1, 112.4 } };
    static const double alone_std[2][3] = { { 63.0, 62.1, 66.7 },
                                            { 68.2, 65.4, 70.4 } };
    const struct cifar *d = state;
    (void)err;
    out->n_classes = (int32_t)d->classes;
    out->size = SIDE;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = mean[c];
        out->std[c] = std[c];
        out->alone_mean[c] = alone_mean[d->classes == 100][c] / 255;
        out->alone_std[c] = alone_std[d->classes == 100][c] / 255;
    }
    out->class_names = d->names.n         ? (const char *const *)d->names.name
                       : d->classes == 10 ? names_10
                                          : NULL;
    return BK_OK;
}

static int cifar_split(void *state, const char *name, struct bk_split *out,
                       struct bk_error *err)
{
    static const char *const names[N_PARTS] = { "train", "val", "test", "full" };
    const struct cifar *d = state;

    if (!d->train)
        return bk_fail(err, BK_ESTATE, "dataset 'cifar' is not open");
    for (int i = 0; i < N_PARTS; i++)
        if (strcmp(name, names[i]) == 0) {
            bk_split_init(out, d->part[i].images, d->part[i].index, d->part[i].n);
            return BK_OK;
        }
    return bk_fail(err, BK_ENOTFOUND,
                   "dataset 'cifar' has no split '%s'; legal: train, val, test, full",
                   name);
}

static const struct bk_dataset_iface iface = {
    .struct_size = sizeof(struct bk_dataset_iface),
    .open = cifar_open,
    .info = cifar_info,
    .split = cifar_split,
};

static const struct bk_plugin cifar = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_DATASET,
    .name = "cifar",
    .version = "1.0.0",
    .summary = "CIFAR-10 and CIFAR-100, binary batches or image files",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct cifar),
    .init = cifar_init,
    .free = cifar_free,
    .iface = &iface,
};

BK_MODULE(&cifar);

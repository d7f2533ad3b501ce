/*
 * Any tree of images: <root>/{train,val,test}/<class>/ with JPEG or PNG files,
 * ImageNet's layout.
 *
 * Every part is imported into a cache once. Without a validation folder (absent, or
 * option `val` empty) a stratified part of the training images becomes "val"; for
 * BossNAS's ImageNet protocol use `val = ""`, `test = "val"`, `n_val = 50000`. Without
 * a test folder "test" is the validation folder. Class numbers are those of the train
 * folder.
 */
#include <bosskit/dataset.h>
#include <bosskit/file.h>

#include <math.h>
#include <string.h>

struct part {
    struct bk_images *images;
    uint32_t *index; /* in stratified order */
    uint32_t n;
};

struct image_folder {
    const char *root, *train, *val, *test, *mean, *std;
    int64_t size, short_side, n_train, n_val, n_test, split_seed;
    double val_fraction;
    const struct bk_host *host;
    double mean_values[3], std_values[3];
    struct bk_class_list classes;
    struct part part[3]; /* folders: train, val, test; absent ones have no images */
    uint32_t
        n_carved; /* "val" is so many of the first train images; 0: it has a folder */
};

enum { TRAIN, VAL, TEST };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_PATH("root",         struct image_folder, root,  NULL,    "folder with the folders below"),
    BK_INT ("size",         struct image_folder, size,  224, 0, 4096, "pixels", "side of the network's input; 0: the augmentation decides"),
    BK_INT ("short_side",   struct image_folder, short_side, 0, 0, 8192, "pixels", "reduce larger images on import to this shorter side; 0 keeps them"),
    BK_TEXT("train",        struct image_folder, train, "train", "name of the training folder"),
    BK_TEXT("val",          struct image_folder, val,   "val",   "name of the rating folder; empty: take a part of the training images"),
    BK_TEXT("test",         struct image_folder, test,  "test",  "name of the test folder; absent: the rating folder serves"),
    BK_REAL("val_fraction", struct image_folder, val_fraction, 0.1, 0.0001, 0.9, "", "part of the training images for rating when there is no rating folder"),
    BK_INT ("n_train",      struct image_folder, n_train, 0, 0, 100000000, "images", "use so many training images, every class alike; 0 = all"),
    BK_INT ("n_val",        struct image_folder, n_val,   0, 0, 100000000, "images", "the same for rating; without a rating folder: how many to set apart"),
    BK_INT ("n_test",       struct image_folder, n_test,  0, 0, 100000000, "images", "the same for the test"),
    BK_INT ("split_seed",   struct image_folder, split_seed, 0, 0, 4294967295, "", "which images a part gets"),
    BK_TEXT("mean",         struct image_folder, mean, "0.485,0.456,0.406", "normalisation: means of R, G, B in [0,1]"),
    BK_TEXT("std",          struct image_folder, std,  "0.229,0.224,0.225", "normalisation: standard deviations"),
    BK_OPT_END
};
/* clang-format on */

/* ---- options --------------------------------------------------------------------- */

static int parse_three(const char *name, const char *text, double lo, double hi,
                       double out[3], struct bk_error *err)
{
    char buf[96];
    size_t n = 0;
    if (text && strlen(text) < sizeof buf) {
        strcpy(buf, text);
        for (char *p = buf, *next; p && n < 4; p = next, n++) {
            next = strchr(p, ',');
            if (next)
                *next++ = '\0';
            p += strspn(p, " ");
            if (n == 3 || !bk_parse_f64(p, &out[n]) || !(out[n] >= lo && out[n] <= hi))
                break;
        }
    }
    return n == 3 ? BK_OK
                  : bk_fail(err, BK_ECONFIG,
                            "dataset 'image_folder': %s '%s' is not three numbers "
                            "within %g..%g such as '0.485,0.456,0.406'",
                            name, text ? text : "", lo, hi);
}

static int folder_init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct image_folder *d = state;
    d->host = host;
    if (!d->train || !d->train[0])
        return bk_fail(
            err, BK_ECONFIG,
            "dataset 'image_folder': the name of the training folder is empty");
    BK_TRY(parse_three("mean", d->mean, 0, 1, d->mean_values, err));
    return parse_three("std", d->std, 0.001, 10, d->std_values, err);
}

static void folder_free(void *state)
{
    struct image_folder *d = state;
    for (int i = 0; i < 3; i++) {
        bk_images_close(d->part[i].images);
        bk_free(d->part[i].index);
        d->part[i] = (struct part){ 0 };
    }
    bk_class_list_release(&d->classes);
}

/* ---- import ---------------------------------------------------------------------- */

static char *part_path(const struct image_folder *d, const char *name)
{
    struct bk_text t = BK_TEXT_INIT;
    bk_text_addf(&t, "%s/%s", d->root, name);
    char *s = bk_text_take(&t);
    bk_text_release(&t);
    return s;
}

static int check_classes(const struct image_folder *d, const char *path,
                         struct bk_error *err)
{
    struct bk_class_list have;
    int rc = bk_class_list_scan(path, &have, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; rc == BK_OK && i < have.n; i++) {
        bool known = false;
        for (uint32_t c = 0; !known && c < d->classes.n; c++)
            known = strcmp(have.name[i], d->classes.name[c]) == 0;
        if (!known)
            rc = bk_fail(err, BK_EDATA,
                         "class folder '%s' of '%s' does not exist in '%s/%s'",
                         have.name[i], path, d->root, d->train);
    }
    if (rc == BK_OK && have.n != d->classes.n)
        rc = bk_fail(err, BK_EDATA, "'%s' has %u class folders, '%s/%s' has %u", path,
                     (unsigned)have.n, d->root, d->train, (unsigned)d->classes.n);
    bk_class_list_release(&have);
    return rc;
}

static int open_part(struct image_folder *d, struct part *p, const char *path,
                     const char *cache_dir, struct bk_error *err)
{
    BK_TRY(check_classes(d, path, err));
    BK_TRY(bk_images_import_folder(path, &d->classes, (int32_t)d->short_side, cache_dir,
                                   d->host, &p->images, err));
    p->n = bk_images_count(p->images);
    p->index = bk_alloc(p->n * sizeof *p->index);
    if (!p->index)
        return bk_fail(err, BK_ENOMEM, "out of memory for %u images", (unsigned)p->n);
    return bk_split_order(p->images, NULL, p->n, (uint64_t)d->split_seed, p->index,
                          err);
}

/* A folder that may be absent. */
static int open_optional(struct image_folder *d, struct part *p, const char *name,
                         const char *cache_dir, struct bk_error *err)
{
    int rc = BK_OK;
    if (!name || !name[0])
        return BK_OK;
    char *path = part_path(d, name);
    if (!path)
        return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    if (bk_file_exists(path))
        rc = open_part(d, p, path, cache_dir, err);
    bk_free(path);
    return rc;
}

static int open_train(struct image_folder *d, const char *cache_dir,
                      struct bk_error *err)
{
    char *path = part_path(d, d->train);
    int rc;
    if (!path)
        return bk_fail(err, BK_ENOMEM, "out of memory for a path");
    if (!bk_file_exists(path))
        rc = bk_fail(err, BK_EDATA,
                     "there is no folder '%s': put the training images into "
                     "'%s/<class>/*.jpg' (or .png), or set data.root and data.train",
                     path, path);
    else
        rc = bk_class_list_scan(path, &d->classes, err);
    if (rc == BK_OK)
        rc = open_part(d, &d->part[TRAIN], path, cache_dir, err);
    bk_free(path);
    return rc;
}

static int carve_val(struct image_folder *d, struct bk_error *err)
{
    uint32_t n = d->part[TRAIN].n;
    uint64_t want = d->n_val ? (uint64_t)d->n_val : (uint64_t)rint(n * d->val_fraction);
    if (want < 1 || want >= n)
        return bk_fail(err, BK_EDATA,
                       "cannot set %llu of the %u training images apart for rating: "
                       "some must remain",
                       (unsigned long long)want, (unsigned)n);
    d->n_carved = (uint32_t)want;
    return BK_OK;
}

static int open_all(struct image_folder *d, const char *cache_dir, struct bk_error *err)
{
    if (!d->root || !d->root[0])
        return bk_fail(err, BK_EDATA,
                       "dataset 'image_folder' has no root: set data.root to a folder "
                       "with train/<class>/*.jpg below it");
    BK_TRY(open_train(d, cache_dir, err));
    BK_TRY(open_optional(d, &d->part[VAL], d->val, cache_dir, err));
    BK_TRY(open_optional(d, &d->part[TEST], d->test, cache_dir, err));
    return d->part[VAL].images ? BK_OK : carve_val(d, err);
}

static int folder_open(void *state, const char *cache_dir, struct bk_error *err)
{
    struct image_folder *d = state;
    if (d->part[TRAIN].images)
        return BK_OK;
    int rc = open_all(d, cache_dir, err);
    if (rc)
        folder_free(d); /* nothing half open */
    return rc;
}

/* ---- the table ------------------------------------------------------------------- */

static int folder_info(void *state, struct bk_dataset_info *out, struct bk_error *err)
{
    const struct image_folder *d = state;
    if (!d->part[TRAIN].images)
        return bk_fail(err, BK_ESTATE, "dataset 'image_folder' is not open");
    out->n_classes = (int32_t)d->classes.n;
    out->size = (int32_t)d->size;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = out->alone_mean[c] = d->mean_values[c];
        out->std[c] = out->alone_std[c] = d->std_values[c];
    }
    out->class_names = (const char *const *)d->classes.name;
    return BK_OK;
}

static uint32_t at_most(uint32_t n, int64_t limit)
{
    return limit && limit < n ? (uint32_t)limit : n;
}

static int folder_split(void *state, const char *name, struct bk_split *out,
                        struct bk_error *err)
{
    const struct image_folder *d = state;
    const struct part *train = &d->part[TRAIN], *val = &d->part[VAL],
                      *test = &d->part[TEST];

    if (!train->images)
        return bk_fail(err, BK_ESTATE, "dataset 'image_folder' is not open");
    if (strcmp(name, "full") == 0) {
        bk_split_init(out, train->images, train->index, train->n);
    } else if (strcmp(name, "train") == 0) {
        bk_split_init(out, train->images, train->index + d->n_carved,
                      at_most(train->n - d->n_carved, d->n_train));
    } else if (strcmp(name, "val") == 0) {
        if (d->n_carved)
            bk_split_init(out, train->images, train->index, d->n_carved);
        else
            bk_split_init(out, val->images, val->index, at_most(val->n, d->n_val));
    } else if (strcmp(name, "test") == 0) {
        const struct part *p = test->images ? test : val;
        if (!p->images)
            return bk_fail(err, BK_ENOTFOUND,
                           "'%s' has neither a test folder '%s' nor a rating folder",
                           d->root, d->test ? d->test : "");
        bk_split_init(out, p->images, p->index, at_most(p->n, d->n_test));
    } else {
        return bk_fail(
            err, BK_ENOTFOUND,
            "dataset 'image_folder' has no split '%s'; legal: train, val, test, full",
            name);
    }
    return BK_OK;
}

static const struct bk_dataset_iface iface = {
    .struct_size = sizeof(struct bk_dataset_iface),
    .open = folder_open,
    .info = folder_info,
    .split = folder_split,
};

static const struct bk_plugin image_folder = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_DATASET,
    .name = "image_folder",
    .version = "1.0.0",
    .summary = "JPEG and PNG files in <root>/{train,val,test}/<class>/",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct image_folder),
    .init = folder_init,
    .free = folder_free,
    .iface = &iface,
};

BK_MODULE(&image_folder);

/**
 * bosskit/dataset.h: images, splits, views and batches.
 *
 * A dataset plugin turns its source into image caches (decoded once, memory-mapped, 8-bit RGB) and
 * names splits over them. The core makes batches of augmented views from a split: each view is a
 * function of (seed, epoch, image, view number), so batches are the same for any number of threads.
 */
#ifndef BOSSKIT_DATASET_H
#define BOSSKIT_DATASET_H

#include <bosskit/plugin.h>
#include <bosskit/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- image cache ------------------------------------------------------------------------------- */

struct bk_view_plan;            /* <bosskit/view.h> */

/** A memory-mapped file of decoded images: 8-bit RGB, each of its own size, with a label. */
struct bk_images;

struct bk_image {
    const uint8_t *rgb;         /* [height][width][3], borrowed from the cache */
    int32_t width, height, label;
};

BK_API int bk_images_open(const char *path, struct bk_images **out,
                          struct bk_error *err) BK_MUST_USE;
BK_API void bk_images_close(struct bk_images *images);
BK_API uint32_t bk_images_count(const struct bk_images *images);
BK_API void bk_images_get(const struct bk_images *images, uint32_t i, struct bk_image *out);
/** SHA-256 over pixels, sizes and labels, stored in the cache when it was written. */
BK_API const char *bk_images_digest(const struct bk_images *images);
/** Compute the digest again and compare: open() checks structure always, but pixels only up to 1 GiB. BK_EDATA */
BK_API int bk_images_verify(const struct bk_images *images, struct bk_error *err) BK_MUST_USE;

/** Write a cache: add images in order, then finish (publishes atomically) or drop. */
struct bk_images_writer;
BK_API int bk_images_create(const char *path, struct bk_images_writer **out,
                            struct bk_error *err) BK_MUST_USE;
BK_API int bk_images_add(struct bk_images_writer *w, const struct bk_image *image,
                         struct bk_error *err) BK_MUST_USE;
BK_API int bk_images_finish(struct bk_images_writer *w, struct bk_error *err) BK_MUST_USE;
BK_API void bk_images_drop(struct bk_images_writer *w);

/** Decode a JPEG or PNG file to RGB (grey is replicated, alpha dropped); *rgb from bk_alloc. BK_EDATA names the file and the fault. */
BK_API int bk_image_decode(const char *path, uint8_t **rgb, int32_t *width, int32_t *height,
                           struct bk_error *err) BK_MUST_USE;

/* ---- importing ---------------------------------------------------------------------------------- */

/** Names of the sub-folders of `folder`, sorted: the classes of an image tree. */
struct bk_class_list {
    char **name;
    uint32_t n;
};

#define BK_CLASS_LIST_INIT { NULL, 0 }

/** BK_EDATA: `folder` cannot be read or has no sub-folder. */
BK_API int bk_class_list_scan(const char *folder, struct bk_class_list *out,
                              struct bk_error *err) BK_MUST_USE;
BK_API void bk_class_list_release(struct bk_class_list *c);

/**
 * The cache of <folder>/<class>/<name>.{jpg,jpeg,png}, any depth below the class; labels are positions in `classes`,
 * images are in order of class and name. Built below `cache_dir` unless one with the same names, sizes and change
 * times exists; a damaged one is built again. Files are decoded by bk_threads() threads.
 * short_side > 0: larger images are reduced (bicubic) until their shorter side has so many pixels; 0 keeps all sizes.
 * host (may be NULL) gets progress and may cancel (BK_EINTERRUPTED).
 * Errors    BK_EDATA names the first file, in order, that cannot be used, or a folder without images
 */
BK_API int bk_images_import_folder(const char *folder, const struct bk_class_list *classes,
                                   int32_t short_side, const char *cache_dir,
                                   const struct bk_host *host, struct bk_images **out,
                                   struct bk_error *err) BK_MUST_USE;

/**
 * For plugins that write caches themselves: look for "<cache_dir>/<prefix>-<first 32 of key>.images".
 * *path (bk_free()) is its name; *out is the open cache, or NULL when it must be written (absent, or damaged: logged).
 * Makes cache_dir. Errors: BK_EIO, BK_ENOMEM
 */
BK_API int bk_images_cached(const char *cache_dir, const char *prefix, const char *key,
                            char **path, struct bk_images **out,
                            struct bk_error *err) BK_MUST_USE;

/* ---- datasets ----------------------------------------------------------------------------------- */

/** Some images of a cache, in order. */
struct bk_split {
    const struct bk_images *images;
    const uint32_t *index;      /* n numbers of images; borrowed from the dataset */
    uint32_t n;
    char fingerprint[65];       /* over the cache's digest and the index */
};

/** A split over `index` (borrowed) with its fingerprint. */
BK_API void bk_split_init(struct bk_split *out, const struct bk_images *images,
                          const uint32_t *index, uint32_t n);

/**
 * Put the n images `from` (NULL: images 0..n-1) into a seeded order in which every prefix has the classes in the
 * proportions of the whole, to within two images a class. Subsets are prefixes; two parts are a prefix and the rest.
 * Errors: BK_ENOMEM; BK_EINVAL for a number outside the cache.
 */
BK_API int bk_split_order(const struct bk_images *images, const uint32_t *from, uint32_t n,
                          uint64_t seed, uint32_t *out, struct bk_error *err) BK_MUST_USE;

struct bk_dataset_info {
    uint32_t struct_size;
    int32_t n_classes;
    int32_t size;               /* side of the square network input; 0: the augmentation decides */
    int32_t reserved;
    double mean[3], std[3];     /* of RGB in [0,1], for normalisation of self-supervised views */
    double alone_mean[3], alone_std[3]; /* the same for stand-alone training */
    const char *const *class_names;     /* n_classes of them, or NULL */
};

struct bk_dataset_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /**
     * Find the source, build missing caches below `cache_dir`. BK_EDATA says what is missing, where to get it and
     * where to put it. Progress through the host.
     */
    int (*open)(void *state, const char *cache_dir, struct bk_error *err);
    int (*info)(void *state, struct bk_dataset_info *out, struct bk_error *err);
    /** "train" (supernet training), "val" (rating), "test", "full" (all training images). BK_ENOTFOUND otherwise. Valid until free(). */
    int (*split)(void *state, const char *name, struct bk_split *out, struct bk_error *err);
};

/* ---- augmentation ------------------------------------------------------------------------------- */

enum bk_crop {
    BK_CROP_NONE = 1,           /* the image must have the output size */
    BK_CROP_PAD,                /* zero-pad by `pad` on each side, random crop of the output size */
    BK_CROP_RESIZED,            /* random resized crop (area, log-uniform aspect, 10 tries, centre fallback) */
    BK_CROP_CENTER,             /* resize the short side to size / center_ratio, centre crop */
};

enum bk_policy {
    BK_POLICY_NONE = 0,
    BK_POLICY_RAND,             /* RandAugment: rand_ops operations of 15, timm's "increasing" set */
    BK_POLICY_AUTO,             /* AutoAugment's ImageNet policy, timm's "v0" */
};

enum bk_resample {
    BK_RESAMPLE_BICUBIC = 0,
    BK_RESAMPLE_BILINEAR,
    BK_RESAMPLE_EITHER,         /* one of the two, an even chance for each image */
};

/** One pipeline: crop, flip, jitter, grey, blur, solarise, policy, normalise, erase. Arithmetic on 8 bits as Pillow's. */
struct bk_augment {
    uint32_t crop;              /* enum bk_crop */
    int32_t size;               /* output side */
    int32_t pad;
    double area_min, area_max, aspect_min, aspect_max;
    double center_ratio;        /* BK_CROP_CENTER: size / resized short side, e.g. 0.875 */
    double flip;                /* probability */
    double jitter, brightness, contrast, saturation, hue;      /* jitter = probability, the rest strengths */
    double grey;                /* probability */
    double blur, blur_sigma_min, blur_sigma_max;
    double solarize;            /* probability, threshold 128 */
    double mean[3], std[3];     /* normalisation of values in [0,1] */
    uint32_t policy;            /* enum bk_policy */
    int32_t rand_ops;
    double rand_prob;           /* of each operation */
    double rand_magnitude, rand_std;    /* magnitude ~ N(rand_magnitude, rand_std^2) clipped to 0..10 */
    double erase;               /* probability of random erasing: a box of pixels becomes N(0,1) after normalising */
    double erase_area_min, erase_area_max;      /* of the box, as a share of the image */
    double erase_aspect;        /* log-uniform in [erase_aspect, 1 / erase_aspect] */
    int32_t erase_tries;        /* boxes that are drawn until one fits; 0: 10 */
    int32_t erase_even;         /* 1: the aspect is uniform, not log-uniform */
    uint32_t resample;          /* enum bk_resample, of BK_CROP_RESIZED */
    uint32_t reserved;
};

/** Named pipelines: "cifar" (pad 4, flip), "imagenet_1", "imagenet_2" (released), "byol_1", "byol_2", "dna" (distillation's), "center", "none". */
BK_API int bk_augment_named(const char *name, int32_t size, struct bk_augment *out,
                            struct bk_error *err) BK_MUST_USE;

/** One image through a pipeline to f32 [size][size][3]. The randomness is (seed, epoch, image, view). [any] */
BK_API int bk_augment_apply(const struct bk_augment *a, const struct bk_image *image,
                            uint64_t seed, uint32_t epoch, uint32_t image_number, uint32_t view,
                            float *out, struct bk_error *err) BK_MUST_USE;

/* ---- batches ------------------------------------------------------------------------------------- */

#define BK_MAX_VIEWS 16

/** Mixing the images of a batch with one another: mixup, CutMix, soft targets. All zero: none of it. */
struct bk_mix {
    double mixup, cutmix;       /* lambda ~ Beta(a, a); 0: not used */
    double prob;                /* that a batch is mixed at all */
    double switch_prob;         /* of CutMix where both are used */
    double smoothing;           /* share of the uniform distribution in the targets */
    int32_t n_classes;          /* > 0: batches come with soft targets; needs one view */
    int32_t reserved;
};

struct bk_loader_config {
    const struct bk_split *split;
    int32_t batch;
    int32_t n_views;
    struct bk_augment view[BK_MAX_VIEWS];
    uint64_t seed;
    bool shuffle;               /* a fresh permutation every epoch, from (seed, epoch); else in order */
    bool fixed_views;           /* views do not depend on the epoch (rating) */
    bool drop_last;             /* leave out a short last batch */
    int32_t threads;            /* workers; 0 = in the caller */
    uint32_t limit;             /* at most so many images of the split, the first ones; 0 = all */
    /**
     * Repeated augmentation (Hoffer et al. 2020): every image of the order comes `repeat` times in a row (0, 1: once),
     * each with a view of its own; an epoch keeps its length, so it sees only a part of the images.
     */
    int32_t repeat;
    /**
     * Deal the order out to this many batches at once (0, 1: none), as processes that share the work would: batch
     * s G + r has entries (s batch + i) G + r. An epoch then has whole groups of G batches alone.
     */
    int32_t interleave;
    struct bk_mix mix;
    /**
     * Decide views only and leave their pixels to a device (bk_batch_view() has them made): for a device that makes views.
     * Where images are mixed, the host makes them all the same.
     */
    bool plan_only;
};

struct bk_batch {
    int32_t n;                          /* images */
    int32_t epoch, index, n_batches;    /* position; n_batches an epoch */
    const float *view[BK_MAX_VIEWS];    /* [n][size][size][3], normalised; NULL where there is a plan */
    const int32_t *label;               /* [n] */
    const uint32_t *image;              /* [n] numbers within the split */
    const float *target;                /* [n][mix.n_classes], NULL without mix.n_classes */
    const struct bk_view_plan *plan[BK_MAX_VIEWS];      /* [n], of views whose pixels nobody has made yet */
};

struct bk_loader;
BK_API int bk_loader_new(const struct bk_loader_config *config, struct bk_loader **out,
                         struct bk_error *err) BK_MUST_USE;
BK_API void bk_loader_free(struct bk_loader *l);
BK_API int32_t bk_loader_batches(const struct bk_loader *l);       /* an epoch */
/** Continue at this position (resume). A new loader stands at (0, 0). */
BK_API int bk_loader_seek(struct bk_loader *l, int32_t epoch, int32_t index,
                          struct bk_error *err) BK_MUST_USE;
/** The next batch, on and on over epochs; borrowed until the next call. */
BK_API int bk_loader_next(struct bk_loader *l, struct bk_batch *out,
                          struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

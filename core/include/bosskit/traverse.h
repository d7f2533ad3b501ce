/**
 * bosskit/traverse.h: every path of a block, each layer run once a prefix; for raters.
 *
 * A block is a tree of choices. Walking it depth first runs a layer once for all paths that share the
 * choices so far: 4 layers of 4 candidates are 340 layers instead of 1024. Recalibrated batch-norm
 * statistics belong to the nodes of the tree, so they are shared the same way. A rater says only where
 * the block's input comes from and what happens at a leaf, the end of a complete path.
 *
 *     bk_traverse_new(&config, &t, err);                         shapes, from two black images
 *     bk_traverse_calibrate(t, images, 1, leaf, user, err);      statistics of training images
 *     bk_traverse_run(t, net, images, leaf, user, err);          again and again, with those statistics
 *     bk_traverse_score(t, number, score, 1);                    of every path, once a batch
 *     bk_traverse_table(t, &table, err);
 *
 * One or two networks (weight sets of one description, e.g. online and target) are walked on the same
 * input, each with its own statistics. Weight sets are only read. What a walk puts on the tape is gone
 * when it returns; what must last (centres) is put there before, or has memory of its own.
 *
 * Not here: data (see bk_pass_run() below for batches), losses, files.
 */
#ifndef BOSSKIT_TRAVERSE_H
#define BOSSKIT_TRAVERSE_H

#include <bosskit/method.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_TRAVERSE_NETS 2

struct bk_traverse;

/**
 * The block's input for a batch: earlier blocks along the prefix, or a teacher's feature.
 *
 * Shapes    images [N,side,side,3]   *x [N,H,W,C], H W C the same in every call
 * Owner     *x is on f->tape, or is `images`
 * f         mode of the walk, weights of net 0, and a store of its own for the norms on the way: change a copy to run
 *           other weights
 */
typedef int (*bk_traverse_input_fn)(void *user, struct bk_forward *f, struct bk_tensor *images,
                                    struct bk_tensor **x, struct bk_error *err);

struct bk_leaf {
    const struct bk_path *path;
    int32_t number;             /* position in the order of bk_space_paths(), of those that are walked */
    int32_t net;                /* which weight set */
};

/**
 * The end of a path: x [N,H,W,C] in env->dtype is the block's output along leaf->path. What comes after it
 * (pooling, heads) is run with `f`, whose store is this leaf's own, so that its norms are calibrated for this path.
 * Tensors that are made here are dropped on return. Calls are in the order of leaf->number.
 */
typedef int (*bk_traverse_leaf_fn)(void *user, const struct bk_leaf *leaf, struct bk_forward *f,
                                   struct bk_tensor *x, struct bk_error *err);

struct bk_traverse_config {
    const struct bk_env *env;   /* space, block, entry, device, dtype, host; outlives the traversal, as does all below */
    struct bk_tape *tape;
    struct bk_weights *net[BK_TRAVERSE_NETS];
    int32_t n_nets;             /* 1 or 2 */
    int32_t side;               /* of the images */
    bk_traverse_input_fn input; /* NULL: the images themselves */
    void *user;                 /* of input */
    const struct bk_path *only; /* the n_only different paths to walk, as if the block had no others; NULL: all */
    size_t n_only;
};

/** Errors: BK_EINVAL for a block without layers, or when `only` has something that is no path of the block, or one twice; BK_ESHAPE when a layer gives no [N,H,W,C] */
BK_API int bk_traverse_new(const struct bk_traverse_config *config, struct bk_traverse **out,
                           struct bk_error *err) BK_MUST_USE;
BK_API void bk_traverse_free(struct bk_traverse *t);

/** How many complete paths there are, and path `number`. */
BK_API int32_t bk_traverse_count(const struct bk_traverse *t);
BK_API const struct bk_path *bk_traverse_path(const struct bk_traverse *t, int32_t number);

/**
 * Recalibrate: run all networks on [N,side,side,3] images with batch statistics, which are kept with `weight`:
 * kept := (1 - weight) kept + weight batch. 1 replaces; the mean over n batches or views is weights 1, 1/2, ... 1/n.
 * `leaf` runs the heads whose norms shall be calibrated; NULL: none.
 * Errors    BK_EINTERRUPTED when the host cancels, here and below
 */
BK_API int bk_traverse_calibrate(struct bk_traverse *t, struct bk_tensor *images, double weight,
                                 bk_traverse_leaf_fn leaf, void *user, struct bk_error *err) BK_MUST_USE;

/** Run network `net` along all paths with the kept statistics. Errors: BK_ESTATE before calibration */
BK_API int bk_traverse_run(struct bk_traverse *t, int32_t net, struct bk_tensor *images,
                           bk_traverse_leaf_fn leaf, void *user, struct bk_error *err) BK_MUST_USE;

/** The same along path `number` alone. */
BK_API int bk_traverse_run_path(struct bk_traverse *t, int32_t net, int32_t number,
                                struct bk_tensor *images, bk_traverse_leaf_fn leaf, void *user,
                                struct bk_error *err) BK_MUST_USE;

/**
 * Path `number` has this score on the current batch. Every path is told once a batch, in any order; a batch ends with the last of
 * them. `weight` is that of the batch: 1, or its images.
 * Errors    BK_ESTATE when the path has been told in this batch
 */
BK_API int bk_traverse_score(struct bk_traverse *t, int32_t number, double score, double weight,
                             struct bk_error *err) BK_MUST_USE;

/**
 * The block's table: weighted means over the batches, and their reliability (<bosskit/stats.h>; each batch alike).
 * Errors    BK_ESTATE without batches or inside one; BK_ENUMERIC when a mean is not finite
 */
BK_API int bk_traverse_table(const struct bk_traverse *t, struct bk_block_table *out, struct bk_error *err) BK_MUST_USE;

/* ---- batches for raters ------------------------------------------------------------------------------- */

/**
 * A pass over a split whose views are the same in every pass. Each batch resets the tape and puts its views on it in
 * env->dtype. With a unit the host is told the progress.
 */
struct bk_pass {
    const struct bk_env *env;
    struct bk_tape *tape;
    const struct bk_split *split;
    int32_t batch, n_views;
    struct bk_augment view[2];          /* of one size */
    bool shuffle;                       /* the training split's first permutation */
    uint32_t limit;                     /* images, the first ones; 0: all */
    int32_t max_batches;                /* 0: all */
    const char *unit;                   /* "batches"; NULL: silent */
};

typedef int (*bk_pass_fn)(void *user, const struct bk_batch *batch,
                          struct bk_tensor *const *image, struct bk_error *err);

/**
 * Call fn for every batch: image[v] [n,side,side,3].
 * Errors    BK_EDATA without images; BK_EINTERRUPTED when the host cancels
 */
BK_API int bk_pass_run(const struct bk_pass *pass, bk_pass_fn fn, void *user,
                       struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

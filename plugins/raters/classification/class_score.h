/*
 * Rating paths by how well logits fit labels: what supervised_acc and linear_eval share. They differ in the network and in
 * where the logits come from.
 */
#ifndef BOSSKIT_CLASS_SCORE_H
#define BOSSKIT_CLASS_SCORE_H

#include <bosskit/traverse.h>

enum { SCORE_CROSS_ENTROPY = 1, SCORE_ERROR = 2 };

struct class_options {
    int32_t score;
    int64_t calib_images, batch, n_images;
};

extern const struct bk_choice class_scores[];

/* The rows of an option table whose state `T` has a `struct class_options o`. */
#define CLASS_OPTIONS(T)                                                                                               \
    BK_ENUM("score", T, o.score, SCORE_CROSS_ENTROPY, class_scores, "mean cross entropy, or the share of wrong classes"), \
    BK_INT("calib_images", T, o.calib_images, 256, 2, 65536, "images", "training images that recalibrate batch norms"), \
    BK_INT("batch", T, o.batch, 256, 1, 65536, "images", "validation images at once; cannot change a rating but by rounding"), \
    BK_INT("n_images", T, o.n_images, 0, 0, 4294967295., "images", "validation images, the first ones; 0: all")

struct class_rating {
    const struct class_options *options;
    const struct bk_env *env;
    struct bk_tape *tape;
    struct bk_traverse *paths;
    int32_t n_classes;
    /* Block output x along the leaf's path -> what the norms after it need (calibration) and logits [N,n_classes]. */
    bk_traverse_leaf_fn calibrate;
    int (*logits)(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                  struct bk_tensor **logits, struct bk_error *err);
    void *user;
    /* of the current pass */
    const struct bk_batch *current;
    struct bk_tensor *labels;
    float *host_logits;         /* [batch, n_classes] for SCORE_ERROR */
};

/* Batch-norm statistics of all paths from the first calib_images of the training split's first permutation, evaluation view. */
int class_calibrate(struct class_rating *r, struct bk_error *err);

/* Walk all validation images once and make the table. */
int class_rate(struct class_rating *r, struct bk_block_table *out, struct bk_error *err);

/* Frees nothing that the caller made (tape, paths). */
void class_release(struct class_rating *r);

extern const struct bk_plugin supervised_acc_plugin, linear_eval_plugin;

#endif

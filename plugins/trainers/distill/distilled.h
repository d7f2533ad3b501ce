/*
 * One block of a student supernet with its teacher: what trainer "distill" trains and rater "distill_loss" reads.
 *
 * Block k is fed with the teacher's feature in front of it (block 0: with the image) and compared with the teacher's
 * feature behind it. Where the two networks do not agree, shapes decide, in this order:
 *
 *   input    a teacher's map that is larger than the block expects is averaged down; a smaller one is taken as it is.
 *            Another width goes through a 1x1 linear map.
 *   output   maps are compared when all paths of the block end with the same map and the larger of student's and
 *            teacher's can be averaged down to the smaller. Otherwise means over positions are compared (HyTra, whose
 *            paths end at different scales). Another width than the teacher's goes through a linear map, one for each
 *            width, to the teacher's width.
 *
 * "Averaged down" is the mean over windows of n x n positions, with smaller windows at the border. The linear maps are
 * slots of the student, learned with the block. What a path ends with is a function of the entry of the next block.
 *
 * Artefact (a bundle): "student.<slot>" of the block, "teacher.<slot>", text "method" = "distill", "teacher", integers
 * "block", "entry", "compare", "augment", "teacher_classes", i32 "taps".
 */
#ifndef BOSSKIT_DISTILLED_H
#define BOSSKIT_DISTILLED_H

#include "teacher.h"

enum { COMPARE_AUTO = 1, COMPARE_MAP = 2, COMPARE_POOLED = 3 };
enum { AUGMENT_STANDARD = 1, AUGMENT_DNA = 2 };
enum { DISTILLED_MAX_EXITS = 64 };

/* What paths that lead to one entry of the next block end with. */
struct distilled_exit {
    int32_t exit;
    int64_t dim[3];                             /* H, W, C */
    int32_t shrink_student, shrink_teacher;     /* windows of averaging; 1: none */
    int32_t adapter;                            /* linear map to the teacher's width; -1: none */
};

struct distilled {
    const struct bk_space *space;
    int32_t block, entry;
    struct teacher teacher;
    struct bk_net net;                  /* the supernet's slots, then the linear maps */
    int32_t n_supernet;                 /* slots of the supernet */
    struct bk_weights *student;
    int32_t augment;
    int32_t compare;
    bool pooled;                        /* means over positions are compared */
    int64_t x_dim[3], y_dim[3];         /* the teacher's features in front of the block and behind it */
    int64_t in_dim[3];                  /* what the block is fed with */
    int32_t in_shrink, in_adapter;
    struct distilled_exit exit[DISTILLED_MAX_EXITS];
    int32_t n_exits;
};

struct distilled_config {
    const char *teacher;
    int32_t n_classes;                  /* of the teacher; 0: without classifier */
    struct bk_ints taps;
    int32_t compare, augment;
};

/* Both networks for env->block, weights zeroed. */
int distilled_open(struct distilled *d, const struct bk_env *env, const struct distilled_config *c, struct bk_error *err);
/* The same as an artefact describes it, with its weights. */
int distilled_open_trained(struct distilled *d, const struct bk_env *env, const struct bk_bundle *trained,
                           struct bk_error *err);
void distilled_release(struct distilled *d);

/* Is this slot of the student part of the block or of its linear maps? */
bool distilled_owns(const struct distilled *d, int32_t slot);
int distilled_save(const struct distilled *d, struct bk_bundle *out, struct bk_error *err);
int distilled_load(struct distilled *d, const struct bk_bundle *in, struct bk_error *err);
/* The teacher alone, from the artefact of the block before. */
int distilled_load_teacher(struct distilled *d, const struct bk_bundle *previous, struct bk_error *err);

/*
 * The teacher's features for images, without gradients: *x (NULL for block 0) and *y stay on the tape, what led to them
 * does not. `f` runs the teacher's weights.
 */
int distilled_features(struct distilled *d, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x,
                       struct bk_tensor **y, struct bk_error *err);
/* The block's input from the teacher's feature x; `f` runs the student's weights. */
int distilled_input(const struct distilled *d, struct bk_forward *f, struct bk_tensor *x, struct bk_tensor **in,
                    struct bk_error *err);
/* The student's side of the comparison from the block's output h along `path`. */
int distilled_output(const struct distilled *d, struct bk_forward *f, const struct distilled_exit *e, struct bk_tensor *h,
                     struct bk_tensor **out, struct bk_error *err);
/* The teacher's side. */
int distilled_target(const struct distilled *d, struct bk_tape *tape, const struct distilled_exit *e, struct bk_tensor *y,
                     struct bk_tensor **target, struct bk_error *err);
const struct distilled_exit *distilled_exit_of(const struct distilled *d, const struct bk_path *path);

/* The student's training images, normalised as for stand-alone training. */
int distilled_view(const struct distilled *d, const struct bk_data *data, struct bk_augment *out, struct bk_error *err);

/* distilled_probe.c: fill shapes and append the linear maps to the net; the teacher is open, d->net holds the supernet. */
int distilled_probe(struct distilled *d, const struct bk_env *env, struct bk_error *err);

#endif

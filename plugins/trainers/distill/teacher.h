/*
 * The teacher of distillation: a network that is cut into as many blocks as the student, whose features at the cuts
 * are the input and the target of each block (Li et al., DNA, CVPR 2020).
 *
 * A teacher is a chain of units (residual blocks; unit 0 is the stem) with slots of its own. "resnet50",
 * "efficientnet_b0" and "mobilenetv1" have the structure and the names of the published networks; "resnet20" is He et
 * al.'s network for 32-pixel images. "space", or the text of an architecture of the space, is a network of the search
 * space itself, whose units are its blocks.
 *
 * Not here: the student, and losses (distilled.h).
 */
#ifndef BOSSKIT_DISTILL_TEACHER_H
#define BOSSKIT_DISTILL_TEACHER_H

#include <bosskit/method.h>

enum { TEACHER_MAX_UNITS = 24, TEACHER_MAX_LAYERS = 3 };

/* A convolution with its norm; conv < 0: absent. */
struct teacher_layer {
    int32_t conv, norm, k, stride, groups;
};

/*
 * layer .. layer, squeeze-and-excitation before the last layer, shortcut, activation. The last layer is followed by the
 * activation only with last_act, which comes behind the sum with the shortcut.
 */
struct teacher_unit {
    struct teacher_layer layer[TEACHER_MAX_LAYERS], shortcut;
    int32_t n_layers;
    int32_t squeeze, expand;            /* linear maps of squeeze-and-excitation; -1: none */
    bool identity;                      /* the input is added */
    bool last_act;
    bool max_pool;                      /* 3x3, stride 2, behind the unit */
    int64_t width;                      /* channels of the output */
};

struct teacher_net {
    uint32_t act;                       /* enum bk_activation */
    struct teacher_unit unit[TEACHER_MAX_UNITS];
    int32_t n_units;
    struct teacher_layer head;          /* 1x1 convolution in front of the pooling; conv < 0: none */
    int32_t classifier;                 /* -1: none */
};

struct teacher {
    char name[160];                     /* of the network, or the text of `arch` */
    const struct bk_space *space;
    bool of_space;
    struct bk_arch arch;                /* of_space */
    struct teacher_net body;            /* !of_space */
    int32_t classifier;                 /* slot; -1: none */
    struct bk_net net;
    struct bk_weights *weights;
    int32_t n_classes;                  /* 0: no classifier */
    int32_t tap[BK_MAX_BLOCKS];         /* block k ends behind unit tap[k] */
};

struct teacher_config {
    const char *name;
    const struct bk_space *space;
    struct bk_device *device;
    uint32_t dtype;                     /* of the weights */
    int32_t n_classes;                  /* 0: without classifier (not for a network of the space) */
    struct bk_ints taps;                /* n = 0: the teacher's own for as many blocks */
};

/* Description and zeroed weights. Errors: BK_EINVAL for an unknown name or bad taps */
int teacher_init(struct teacher *t, const struct teacher_config *c, struct bk_error *err);
void teacher_release(struct teacher *t);

/* Features behind the unit that ends `block`, and (block > 0, x not NULL) behind the one that ends the block before. */
int teacher_features(struct teacher *t, struct bk_forward *f, int32_t block, struct bk_tensor *images,
                     struct bk_tensor **x, struct bk_tensor **y, struct bk_error *err);
int teacher_logits(struct teacher *t, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **logits,
                   struct bk_error *err);
/* Gradients for all parameters, or for none. */
int teacher_train(struct teacher *t, bool on, struct bk_error *err);

/* teacher_file.c: published weights: PyTorch's names and layouts in a safetensors file, or an artefact of this trainer. */
int teacher_read(struct teacher *t, const char *path, struct bk_error *err);

/* teacher_net.c: is there a network of this name; its slots; one unit; logits from the last unit's output. */
bool teacher_net_exists(const char *name);
int teacher_net_describe(struct teacher_net *n, const char *name, int32_t n_classes, struct bk_net *net,
                         struct bk_error *err);
/* The unit that ends each of n_blocks blocks; NULL when the network has no customary cut into so many. */
const int8_t *teacher_net_taps(const char *name, int32_t n_blocks);
int teacher_net_unit(const struct teacher_net *n, struct bk_forward *f, int32_t unit, struct bk_tensor *x,
                     struct bk_tensor **y, struct bk_error *err);
int teacher_net_head(const struct teacher_net *n, struct bk_forward *f, struct bk_tensor *x, struct bk_tensor **logits,
                     struct bk_error *err);

#endif

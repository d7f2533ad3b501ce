/**
 * bosskit/classifier.h: a supernet whose block ends in a linear classifier: what the supervised trainer trains and its rater
 * reads.
 *
 * Block k's output goes through the space's adapter and pooling into one linear map "classifier<k>" that all paths share:
 * Linear(C_k -> classes, bias), both U(+-1/sqrt(C_k)) as PyTorch's default.
 *
 * Of the backbone only the block and the path in front of it exist (a lazy weight set), in memory and in the artefact.
 *
 * Artefact of a trainer (a bundle): slots as "net.<name>"; text "method" = "supervised", integers "block", "n_classes".
 */
#ifndef BOSSKIT_CLASSIFIER_H
#define BOSSKIT_CLASSIFIER_H

#include <bosskit/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_classifier {
    const struct bk_space *space;
    struct bk_net net;
    struct bk_weights *weights;
    int32_t block, n_classes;
    int32_t fc;                 /* slot of the linear map */
};

/** Description and the weights of block `block`, drawn from `seed`; those of earlier blocks as bk_weights_from() says. */
BK_API int bk_classifier_init(struct bk_classifier *c, struct bk_device *device, uint32_t dtype,
                              const struct bk_space *space, int32_t block, int32_t n_classes,
                              uint64_t seed, struct bk_error *err) BK_MUST_USE;
BK_API void bk_classifier_release(struct bk_classifier *c);

/** Sizes and weights from a trainer's artefact. Errors: BK_EDATA when it is no supervised artefact of `block` */
BK_API int bk_classifier_open(struct bk_classifier *c, struct bk_device *device, uint32_t dtype,
                              const struct bk_space *space, int32_t block,
                              const struct bk_bundle *trained, struct bk_error *err) BK_MUST_USE;
BK_API int bk_classifier_save(struct bk_classifier *c, struct bk_bundle *out,
                              struct bk_error *err) BK_MUST_USE;

/** Output x of the block along `path` -> logits [N,n_classes] in activation type. */
BK_API int bk_classifier_logits(const struct bk_classifier *c, struct bk_forward *f,
                                const struct bk_path *path, struct bk_tensor *x,
                                struct bk_tensor **logits, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

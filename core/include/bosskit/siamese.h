/**
 * bosskit/siamese.h: the pair of supernets that bootstrapping trainers train and that the
 * population-centre and linear-evaluation raters read.
 *
 * Online: backbone, projector, predictor. Target: the same description, moved by EMA, predictor unused.
 *   projector  Linear(C_k -> hidden, bias) - BN1d - ReLU - Linear(hidden -> out, bias); weights N(0, 2/fan_in), bias 0
 *   predictor  Linear(out -> hidden, bias) - BN1d - ReLU - Linear(hidden -> out, bias); weights N(0, 0.01^2), bias 0
 * hidden = 4096 and out = 256 in the paper. Block k owns projector k and predictor k.
 *
 * Of the backbone only the block and the path in front of it exist (lazy weight sets): in memory, and in the artefact of a
 * trainer. The next block and raters of this one need no more.
 *
 * Artefact of a trainer (a bundle): slots as "online.<name>" and "target.<name>"; text "method" =
 * "siamese", integers "block", "hidden", "out".
 */
#ifndef BOSSKIT_SIAMESE_H
#define BOSSKIT_SIAMESE_H

#include <bosskit/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bk_siamese {
    const struct bk_space *space;
    struct bk_net net;
    struct bk_weights *online, *target;
    int32_t block;                      /* whose projector and predictor are present */
    int32_t hidden, out;
    int32_t projector[3], predictor[3]; /* slots: first linear, norm, second linear */
};

/** Build the description of block `block` and both weight sets, with the slots of that block; values are drawn from `seed`, target = online. */
BK_API int bk_siamese_init(struct bk_siamese *s, struct bk_device *device, uint32_t dtype,
                           const struct bk_space *space, int32_t block, int32_t hidden,
                           int32_t out, uint64_t seed, struct bk_error *err) BK_MUST_USE;
BK_API void bk_siamese_release(struct bk_siamese *s);

/** Read sizes and weights from a trainer's artefact. Errors: BK_EDATA when it is no siamese artefact of `block`. */
BK_API int bk_siamese_open(struct bk_siamese *s, struct bk_device *device, uint32_t dtype,
                           const struct bk_space *space, int32_t block,
                           const struct bk_bundle *trained, struct bk_error *err) BK_MUST_USE;
/**
 * Earlier blocks, which do not exist yet, take their values from the artefact of the block before from now on; NULL: no more.
 * Run the prefix once in between: what it does not touch is not needed.
 */
BK_API void bk_siamese_from(struct bk_siamese *s, const struct bk_bundle *previous);
BK_API int bk_siamese_save(struct bk_siamese *s, struct bk_bundle *out,
                           struct bk_error *err) BK_MUST_USE;

/** Run prefix blocks 0..s->block-1 along prefix[], from images [N,H,W,3] to the input of the block. */
BK_API int bk_siamese_prefix(const struct bk_siamese *s, struct bk_forward *f,
                             const struct bk_path *prefix, struct bk_tensor *images,
                             struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** Block output x -> adapter and pooling of the space -> projector; y [N,out] in activation type. */
BK_API int bk_siamese_project(const struct bk_siamese *s, struct bk_forward *f,
                              const struct bk_path *path, struct bk_tensor *x,
                              struct bk_tensor **y, struct bk_error *err) BK_MUST_USE;
/** Predictor on [N,out]. */
BK_API int bk_siamese_predict(const struct bk_siamese *s, struct bk_forward *f,
                              struct bk_tensor *z, struct bk_tensor **y,
                              struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

/**
 * bosskit/random.h: counter-based randomness (Philox4x32-10).
 *
 * A value is a function of (seed, stream, step, index) and of nothing else: not of threads, call
 * order, device or number of processes. `stream` names what the numbers are for
 * (bk_random_stream("augment")), `step` is an iteration or epoch, `index` an image, slot, element.
 *
 * Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
 */
#ifndef BOSSKIT_RANDOM_H
#define BOSSKIT_RANDOM_H

#include <bosskit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One Philox4x32-10 block; agrees with the known-answer vectors of Random123. */
BK_API void bk_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/** A cursor in one (seed, stream, step, index) sequence of 2^34 words; copy it freely. */
struct bk_random {
    uint32_t key[2];
    uint32_t counter[4];        /* word block, index, step low, step high */
    uint32_t block[4];
    uint32_t used;              /* words of `block` already given out; 4 = none left */
};

/** Stable 32-bit number of a stream name (FNV-1a). */
BK_API uint32_t bk_random_stream(const char *name);

/** The key is (seed low ^ stream, seed high ^ rotl(stream, 16)); `index` and `step` go into the counter. */
BK_API void bk_random_init(struct bk_random *r, uint64_t seed, uint32_t stream, uint64_t step,
                           uint32_t index);

BK_API uint32_t bk_random_u32(struct bk_random *r);
/** Uniform in [0, 1): 24 bits of one word, exact in f32. */
BK_API float bk_random_f32(struct bk_random *r);
/** Uniform in [0, 1): 53 bits of two words. */
BK_API double bk_random_f64(struct bk_random *r);
/** Uniform integer in [0, n), n >= 1, unbiased (rejection). */
BK_API uint32_t bk_random_below(struct bk_random *r, uint32_t n);
/** Standard normal (Box-Muller, one value a call from two f64 draws). */
BK_API double bk_random_normal(struct bk_random *r);
/** A uniform permutation of 0..n-1 (Fisher-Yates from the end). */
BK_API void bk_random_permutation(struct bk_random *r, uint32_t n, uint32_t *out);

#ifdef __cplusplus
}
#endif
#endif

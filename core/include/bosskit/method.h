/**
 * bosskit/method.h: trainers, samplers, raters, searchers: the parts of a method.
 *
 * The pipeline owns the loop. For every block: train (advance until done), rate, take the best path
 * as the block's prefix for the next one; then search; then correlate with the truth. All of an
 * experiment row that a part may see is in `struct bk_env`.
 */
#ifndef BOSSKIT_METHOD_H
#define BOSSKIT_METHOD_H

#include <bosskit/dataset.h>
#include <bosskit/siamese.h>
#include <bosskit/space.h>
#include <bosskit/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- samplers ------------------------------------------------------------------------------------- */

#define BK_MAX_SAMPLED 64

struct bk_sampler_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /**
     * Paths of one training iteration, a function of (seed, block, step). *n <= BK_MAX_SAMPLED.
     * `wanted` paths are asked for; 0 lets the sampler choose (fair: one a candidate).
     */
    int (*sample)(void *state, const struct bk_space *space, int32_t block, int32_t entry,
                  uint64_t seed, uint64_t step, int32_t wanted,
                  struct bk_path out[BK_MAX_SAMPLED], int32_t *n, struct bk_error *err);
};

struct bk_sampler {
    const struct bk_sampler_iface *iface;
    void *state;
    const char *name;
};

/* ---- what a part sees ------------------------------------------------------------------------------ */

/** Data as the config describes it: splits and pipelines. */
struct bk_data {
    struct bk_dataset_info info;
    struct bk_split train, val, test;
    struct bk_augment view1, view2;     /* self-supervised pipelines 1 and 2 */
    struct bk_augment plain;            /* evaluation transform */
    struct bk_augment alone;            /* training transform of stand-alone networks */
    int32_t threads;                    /* loader workers */
    bool plan_only;                     /* the device makes views: for bk_loader_config */
};

struct bk_env {
    uint32_t struct_size;
    uint32_t dtype;                     /* of activations: BK_F32 or BK_BF16 */
    struct bk_device *device;
    const struct bk_host *host;
    const struct bk_space *space;
    const struct bk_data *data;         /* for parts that need none only info.n_classes is set */
    const struct bk_sampler *sampler;   /* NULL for raters and searchers */
    uint64_t seed;
    int32_t block;                      /* the block to train or rate */
    int32_t entry;                      /* its entry along prefix */
    struct bk_path prefix[BK_MAX_BLOCKS];       /* best paths of blocks 0..block-1 */
};

/* ---- batches on a device ---------------------------------------------------------------------------- */

/** One view of a batch on the tape: [n,side,side,3] in `dtype`, uploaded or, where the batch has a plan, made on the device. */
BK_API int bk_batch_view(struct bk_tape *tape, uint32_t dtype, const struct bk_batch *batch,
                         int32_t view, int32_t side, struct bk_tensor **out,
                         struct bk_error *err) BK_MUST_USE;
/** Its labels on the tape: i32 [n]. */
BK_API int bk_batch_labels(struct bk_tape *tape, const struct bk_batch *batch,
                           struct bk_tensor **out, struct bk_error *err) BK_MUST_USE;

/* ---- trainers --------------------------------------------------------------------------------------- */

struct bk_progress {
    uint32_t struct_size;
    uint32_t done;              /* 1: the block is trained */
    int64_t step, n_steps;      /* iterations */
    double images_per_s;
    double loss;                /* mean over the last iterations */
    double dimensions;          /* in which what is learned varies from image to image (bk_participation_ratio()), 1 and more; 0: not said */
};

struct bk_trainer_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /** [stage] Start block env->block. `previous` is result() of the block before, NULL for block 0, and gone when this returns. env outlives end(). */
    int (*begin)(void *state, const struct bk_env *env, const struct bk_bundle *previous,
                 struct bk_error *err);
    /** [stage] Train for about `seconds` (at least one iteration), or until done or cancelled (then BK_OK, done = 0). */
    int (*advance)(void *state, double seconds, struct bk_progress *out, struct bk_error *err);
    /** [stage] All that is needed to go on with the same bytes, between two advance() calls. */
    int (*save)(void *state, struct bk_bundle *out, struct bk_error *err);
    /** [stage] After begin(): continue from a saved state. */
    int (*load)(void *state, const struct bk_bundle *in, struct bk_error *err);
    /**
     * [stage] The artefact for raters and for the next block: after done, or what it would be now, between two
     * advance() calls (trainer.rate_every). Changes nothing in the training.
     */
    int (*result)(void *state, struct bk_bundle *out, struct bk_error *err);
    /** [stage] Release what begin() took. */
    void (*end)(void *state);
    /** What result() makes, its text "method"; NULL: not said. */
    const char *makes;
};

/* ---- raters ------------------------------------------------------------------------------------------- */

/** Ratings of the paths of one block. */
struct bk_block_table {
    int32_t block, entry;       /* entry: under which the block was rated */
    size_t n;
    struct bk_path *path;
    double *score;
    double reliability;         /* of the scores over validation batches (bk_reliability_value()), if the rater knows it */
    bool has_reliability;
};
BK_API void bk_block_table_release(struct bk_block_table *t);

enum bk_better { BK_LOWER_IS_BETTER = 1, BK_HIGHER_IS_BETTER = 2 };

enum bk_rater_flags {
    BK_RATER_BLOCKS = 1,        /* rate_block: a table per block, scores add up */
    BK_RATER_ARCHS = 2,         /* rate_archs: a score an architecture */
    BK_RATER_NEEDS_TRAINED = 4, /* a trainer's artefact */
    BK_RATER_NEEDS_DATA = 8,
};

struct bk_rater_iface {
    uint32_t struct_size;
    uint32_t flags;             /* enum bk_rater_flags */
    uint32_t better;            /* enum bk_better */
    uint32_t reserved;
    /** [stage] Rate every path of env->block (entered at env->entry); `trained` is the trainer's artefact of the block. Fills *out (its arrays by bk_alloc). */
    int (*rate_block)(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err);
    /** [stage] Score n architectures. */
    int (*rate_archs)(void *state, const struct bk_env *env, const struct bk_arch *archs,
                      size_t n, double *scores, struct bk_error *err);
    /**
     * [stage] Rate n different paths of env->block as if it had no others: what a rating is relative to (the population
     * centre) is made from them alone. All paths of the block give exactly rate_block's scores, in whatever order they
     * come. Only for raters whose ratings depend on the company; NULL for all others.
     */
    int (*rate_paths)(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      const struct bk_path *path, size_t n, double *score, struct bk_error *err);
    /** The artefact it takes: `makes` of its trainers, of which a configuration with another is refused. NULL: any. */
    const char *takes;
};

/* ---- searchers ------------------------------------------------------------------------------------------ */

struct bk_found {
    struct bk_arch arch;
    double score;
    struct bk_cost cost;
    double extra;               /* the task's own cost; 0 without one */
};

/** What a searcher that works on block tables is given. */
struct bk_search_task {
    uint32_t struct_size;
    uint32_t better;                    /* enum bk_better */
    const struct bk_space *space;
    const struct bk_block_table *table; /* space->info.n_blocks of them */
    const double *weight;               /* lambda per block; NULL = 1 */
    int32_t n_classes;
    int32_t reserved;
    uint64_t seed;
    const struct bk_host *host;         /* may be NULL */
    /**
     * For bk_search_exact(): one more cost that adds up over blocks, such as a latency, of a path of a block entered at
     * `entry`; finite and not negative. NULL: none. A searcher sets it in a copy of its task.
     */
    int (*extra)(void *user, int32_t block, int32_t entry, const struct bk_path *path, double *cost,
                 struct bk_error *err);
    void *extra_user;
    double max_extra;                   /* INFINITY: no limit */
};

#define BK_MAX_GENERATION 4096

struct bk_searcher_iface {
    uint32_t struct_size;
    uint32_t reserved;
    /** [stage] Best architecture of the whole space by summed block scores within the limits of the options. BK_ENOTFOUND when none satisfies them. May be NULL. */
    int (*solve)(void *state, const struct bk_search_task *task, struct bk_found *out,
                 struct bk_error *err);
    /** [stage] Searchers without tables: begin, then ask for at most `cap` architectures (*n = 0: finished), be told their scores. May be NULL. */
    int (*begin)(void *state, const struct bk_env *env, uint32_t better, struct bk_error *err);
    int (*ask)(void *state, struct bk_arch *out, size_t cap, size_t *n, struct bk_error *err);
    int (*tell)(void *state, const struct bk_arch *archs, const double *scores, size_t n,
                struct bk_error *err);
    int (*best)(void *state, struct bk_found *out, struct bk_error *err);
    /**
     * [stage] Searchers that go through the blocks one after the other (may be NULL; these three and solve together):
     * begin with env->block, ask for different paths that are rated together (*n = 0: finished with the block), be told
     * their scores. The scores of the last generation of every block become the tables that solve() is given.
     */
    int (*begin_block)(void *state, const struct bk_env *env, uint32_t better, struct bk_error *err);
    int (*ask_paths)(void *state, struct bk_path out[BK_MAX_GENERATION], size_t *n, struct bk_error *err);
    int (*tell_paths)(void *state, const struct bk_path *path, const double *score, size_t n,
                      struct bk_error *err);
};

/**
 * The best architecture by summed block scores within `limit` (parameters, multiply-accumulates, published counter;
 * INFINITY: none) and the task's max_extra, exactly: partial architectures are merged block by block and entry by entry, the dominated ones
 * dropped. Of equals the first in order of enumeration. Paths without a score are left out.
 * Errors    BK_ENOTFOUND no architecture satisfies the limits; BK_ENUMERIC a score or an extra cost is not a number that
 *           it may be; BK_EINTERRUPTED
 */
BK_API int bk_search_exact(const struct bk_search_task *task, const double limit[3],
                           struct bk_found *out, struct bk_error *err) BK_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

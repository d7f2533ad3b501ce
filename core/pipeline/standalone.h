/**
 * pipeline/standalone.h: one network while it is trained alone, shared by standalone.c (training: the stages ALONE and
 * RETRAIN) and standalone_test.c (testing: the end of ALONE, and TEST).
 */
#ifndef BOSSKIT_PIPELINE_STANDALONE_H
#define BOSSKIT_PIPELINE_STANDALONE_H

#include "pipeline/child.h"

struct bk__alone {
    struct bk_stage_job *job;
    const struct bk_recipe *recipe;
    const char *where;          /* "truth" or "retrain", for messages */
    char name[512];             /* the architecture's text */
    struct bk_arch arch;
    uint64_t seed;
    int32_t n_classes;
    struct bk_net net;
    struct bk_weights *weights, *average;       /* average: NULL without recipe->ema */
    struct bk_optim *optim;
    struct bk_tape *tape;
    struct bk_loader *train;
    struct bk_augment view;     /* of training */
    struct bk_split split;      /* of training; `chosen` are its images when the recipe takes a part */
    uint32_t *chosen;
    int64_t step, n_steps, per_epoch, batches;  /* steps are the optimiser's; batches an epoch */
    bool dirty;                 /* a checkpoint was taken in half */
};

/** Weights, average, optimiser and tape for a->net, which is filled in; bk__alone_close() releases them in any case. */
BK_API int bk__alone_open(struct bk__alone *a, struct bk_error *err);
BK_API void bk__alone_close(struct bk__alone *a);
/**
 * Add `scale` times the gradient of one batch; *loss (may be NULL) is read from the device. `draw` numbers the batch
 * for dropout. Errors: BK_ENUMERIC when a loss that is read is not finite
 */
BK_API int bk__alone_add_gradient(struct bk__alone *a, const struct bk_batch *b, uint64_t draw, double scale,
                                  double *loss, struct bk_error *err);
/** The optimiser's step, then the average's; a->step counts it. */
BK_API int bk__alone_update(struct bk__alone *a, struct bk_error *err);

/** For training batch, order and mixing are the recipe's; else the images of `split` in order, `batch` at once. */
int bk__alone_loader(const struct bk__alone *a, const struct bk_split *split, const struct bk_augment *view, bool train,
                     int32_t batch, struct bk_loader **out, struct bk_error *err);

/** Logits of a batch of images of side `size`; `draw` names the random draws of a training step. */
int bk__alone_forward(struct bk__alone *a, struct bk_weights *weights, const struct bk_batch *b, int32_t size, bool train,
                      uint64_t draw, struct bk_tensor **logits, struct bk_error *err);

struct bk__test_counts {
    int64_t n, top1, top5;
};

/** Images of the test split that are among the largest 1 and 5 logits, at side `size` (0: as the data pipeline has it). */
int bk__alone_test(struct bk__alone *a, struct bk_weights *weights, int32_t size, int32_t batch,
                   struct bk__test_counts *out, struct bk_error *err);

/** result.csv of the truth: top-1 in per cent. */
int bk__alone_write_truth(const struct bk__alone *a, const struct bk__test_counts *c, struct bk_error *err);
/** weights.safetensors and, with an average, average.safetensors: what TEST reads. */
int bk__alone_write_weights(const struct bk__alone *a, struct bk_error *err);

#endif

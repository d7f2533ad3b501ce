/**
 * bosskit/optim.h: optimisers and schedules over a weight set.
 *
 * LARS (spec: BossNAS release; You et al. 2017). For a tensor w with gradient g:
 *     lambda = 1                                  if excluded, or (guard) if |w| = 0 or |g| = 0
 *     lambda = trust |w| / (|g| + wd |w|)         otherwise
 *     d = lr lambda (g + wd w)                    wd = 0 if excluded
 *     buf := d on the first step, else momentum buf + d;   w := w - buf
 * The norm is over the whole tensor; lr is inside the momentum buffer; a gradient that is zero
 * everywhere leaves tensor and buffer untouched.
 */
#ifndef BOSSKIT_OPTIM_H
#define BOSSKIT_OPTIM_H

#include <bosskit/net.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bk_optim_kind { BK_SGD = 1, BK_LARS = 2, BK_ADAMW = 3, BK_RMSPROP = 4 };

enum bk_exclude {
    BK_EXCLUDE_NONE = 1,
    BK_EXCLUDE_BY_TYPE = 2,     /* every bias, norm scale and norm offset: no decay, no trust ratio */
    BK_EXCLUDE_BY_NAME = 3,     /* the released expressions: slots flagged BK_SLOT_BY_NAME_ADAPTED are not excluded */
};

struct bk_optim_config {
    uint32_t kind, exclude;
    double momentum, weight_decay;
    double trust;               /* LARS */
    double beta1, beta2, eps;   /* AdamW; RMSprop uses beta2 as its decay */
    bool nesterov;              /* SGD */
    bool zero_guard;            /* LARS: lambda = 1 when |w| = 0 */
};

/** Attributes of the *_STEP kernels. */
struct bk_optim_attr {
    double lr, momentum, weight_decay, trust;
    double beta1, beta2, eps, bias1, bias2;     /* bias1 = 1 - beta1^t, bias2 = 1 - beta2^t */
    int32_t nesterov, zero_guard, excluded, first, skip_zero, reserved;
};

struct bk_optim;

/** State for every slot; state tensors are made when a slot is first stepped. */
BK_API int bk_optim_new(struct bk_weights *w, const struct bk_optim_config *config,
                        struct bk_optim **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_optim_free(struct bk_optim *o);
/** Step every trained slot whose gradient was touched. */
BK_API int bk_optim_step(struct bk_optim *o, double lr, struct bk_error *err) BK_MUST_USE;
BK_API int bk_optim_save(struct bk_optim *o, const char *prefix, struct bk_bundle *b,
                         struct bk_error *err) BK_MUST_USE;
BK_API int bk_optim_load(struct bk_optim *o, const char *prefix, const struct bk_bundle *b,
                         struct bk_error *err) BK_MUST_USE;

/** Half cosine from 1 to 0: (1 + cos(pi t / T)) / 2, t in 0..T. */
BK_API double bk_schedule_cosine(double t, double total);
/** Linear warm-up factor of the release: 1 - (1 - i/n)(1 - ratio) for i < n, else 1; ratio 1e-4 there. */
BK_API double bk_schedule_warmup(double i, double n, double ratio);
/** EMA momentum m(i) = 1 - (1 - m0)(cos(pi i / total) + 1)/2. */
BK_API double bk_schedule_ema(double m0, double i, double total);

#ifdef __cplusplus
}
#endif
#endif

/*
 * nn/weight_set.h: inside of a weight set, shared by weights.c, forward.c and optim.c.
 *
 * `as[d]` holds a slot in dtype d: the master under the set's own type, cached copies under others. A copy is `stale`
 * once the master changed and is refilled, in place, when it is next asked for. In a lazy set a slot has no master until somebody
 * needs it.
 */
#ifndef BOSSKIT_NN_WEIGHT_SET_H
#define BOSSKIT_NN_WEIGHT_SET_H

#include <bosskit/net.h>

#define BK__N_DTYPES (BK_F64 + 1)

struct bk__weight {
    struct bk_tensor *as[BK__N_DTYPES];
    bool stale[BK__N_DTYPES];
    struct bk_tensor *grad;     /* NULL: not trained */
    bool learns;                /* gets a gradient as soon as it has a master */
    struct bk_tensor flat;      /* the master seen as [dim 0, the rest], for the pooled head */
};

struct bk_weights {
    struct bk_device *device;
    const struct bk_net *net;
    uint32_t dtype;
    int32_t n;
    struct bk__weight *slot;
    /* of lazy sets: */
    bool lazy, draws;           /* draws: a slot that `source` lacks gets its initial value, else it is an error */
    uint64_t seed;
    const struct bk_bundle *source;     /* borrowed; NULL: none */
    const char *source_prefix;  /* of entries in `source` */
};

/** The master of one slot got new values. */
void bk__weights_changed_slot(struct bk_weights *w, int32_t slot);

/** The master of one slot as a matrix [dim 0, product of the others], sharing memory and gradient. */
struct bk_tensor *bk__weights_matrix(struct bk_weights *w, int32_t slot);

static inline bool bk__is_buffer(const struct bk_slot *s)
{
    return s->role == BK_ROLE_RUNNING_MEAN || s->role == BK_ROLE_RUNNING_VAR;
}

#endif

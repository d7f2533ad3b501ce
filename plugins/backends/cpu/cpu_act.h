/*
 * cpu_act.h: activations of one vector and their gradients, for the loops of the activation kernel and of batch norm.
 *
 * `kind` is an enum bk_activation and a constant wherever speed matters. What is rounded to bf16 afterwards may be computed more
 * roughly (vsigmoid_rough).
 */
#ifndef CPU_ACT_H
#define CPU_ACT_H

#include "cpu_simd.h"
#include <bosskit/ops.h>

INLINE vf act_value(int kind, vf x, int bf16)
{
    switch (kind) {
    case BK_ACT_NONE:
        return x;
    case BK_ACT_RELU:
        return vrelu(x);
    case BK_ACT_RELU6:
        return vclamp(x, 0.0f, 6.0f);
    case BK_ACT_SILU:
        return x * (bf16 ? vsigmoid_rough(x) : vsigmoid(x));
    default:
        return bf16 ? vsigmoid_rough(x) : vsigmoid(x);
    }
}

/* g f'(x) */
INLINE vf act_gradient(int kind, vf g, vf x, int bf16)
{
    switch (kind) {
    case BK_ACT_NONE:
        return g;
    case BK_ACT_RELU:
        return vwhere_positive(g, x);
    case BK_ACT_RELU6:
        return vwhere_positive(vwhere_positive(g, x), 6.0f - x);
    case BK_ACT_SILU: {
        vf s = bf16 ? vsigmoid_fair(x) : vsigmoid(x);
        return g * s * (1.0f + x * (1.0f - s));
    }
    default: {
        vf s = bf16 ? vsigmoid_fair(x) : vsigmoid(x);
        return g * s * (1.0f - s);
    }
    }
}

/* `call(kind)` with the kind as a constant. */
#define ACT_SWITCH(kind, call)                                                           \
    switch (kind) {                                                                      \
    case BK_ACT_RELU:                                                                    \
        call(BK_ACT_RELU);                                                               \
        break;                                                                           \
    case BK_ACT_RELU6:                                                                   \
        call(BK_ACT_RELU6);                                                              \
        break;                                                                           \
    case BK_ACT_SILU:                                                                    \
        call(BK_ACT_SILU);                                                               \
        break;                                                                           \
    default:                                                                             \
        call(BK_ACT_SIGMOID);                                                            \
    }

#endif

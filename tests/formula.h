/*
 * tests/formula.h: weights and images from a formula, so that fixtures need not hold them. The same as
 * fixtures/formula.py: numbers in [-1, 1) from a name and a position, exact in f32. Not a test itself.
 */
#ifndef BK_TESTS_FORMULA_H
#define BK_TESTS_FORMULA_H

#include <bosskit/net.h>
#include <math.h>
#include <stdlib.h>

static inline double formula_value(const char *name, uint64_t i)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    uint32_t x = (uint32_t)(i * 2654435761u + h);
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    x ^= x >> 16;
    return (double)(x >> 8) / 8388608.0 - 1;
}

/* n values of a parameter of this role. */
static inline void formula_parameter(uint32_t role, const char *name, int64_t fan_in, int64_t n, float *out)
{
    double a = sqrt(3.0 / (double)fan_in);
    for (int64_t i = 0; i < n; i++) {
        double v = formula_value(name, (uint64_t)i);
        out[i] = (float)(role == BK_ROLE_WEIGHT        ? v * a
                         : role == BK_ROLE_NORM_SCALE  ? 1 + 0.2 * v
                         : role == BK_ROLE_RUNNING_VAR ? 1 + 0.5 * v
                                                       : 0.1 * v);
    }
}

#endif

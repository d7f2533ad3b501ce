/*
 * tests/nn/nn_fixture.h: what several suites of core/nn need: the reference device, values in and out of tensors,
 * gradients put in by hand, a scratch directory.
 */
#ifndef BK_TESTS_NN_FIXTURE_H
#define BK_TESTS_NN_FIXTURE_H

#include "unit.h"

#include <bosskit/backend.h>
#include <bosskit/file.h>
#include <bosskit/net.h>

#include <bosskit/tape.h>
#include <unistd.h>

#define MAX_VALUES 65536

/* Errors of the call at hand; BK_ASSERT_OK reads it. */
static struct bk_error err;

static inline struct bk_device *open_ref(void)
{
    struct bk_device *d = NULL;

    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &d, &err));
    return d;
}

/* All values of a tensor; borrowed until the next call. */
static inline const double *values(const struct bk_tensor *t)
{
    static double v[MAX_VALUES];

    CU_ASSERT_FATAL(bk_tensor_numel(t) <= MAX_VALUES);
    BK_ASSERT_OK(bk_tensor_read_f64(t, v, &err));
    return v;
}

static inline double value(const struct bk_tensor *t, int64_t i)
{
    return values(t)[i];
}

static inline void put_values(struct bk_tensor *t, const double *v)
{
    BK_ASSERT_OK(bk_tensor_write_f64(t, v, &err));
}

static inline void put_constant(struct bk_tensor *t, double c)
{
    static double v[MAX_VALUES];

    for (int64_t i = 0; i < bk_tensor_numel(t); i++)
        v[i] = c;
    put_values(t, v);
}

/* Some reproducible values in (-1, 1) without pattern. */
static inline double scrambled(uint32_t i)
{
    i = (i + 1) * 2654435761u;
    i ^= i >> 15;
    i *= 2246822519u;
    i ^= i >> 13;
    return (double)i / 2147483648.0 - 1;
}

static inline void put_scrambled(struct bk_tensor *t, uint32_t first)
{
    static double v[MAX_VALUES];

    for (int64_t i = 0; i < bk_tensor_numel(t); i++)
        v[i] = scrambled(first + (uint32_t)i);
    put_values(t, v);
}

/* Let a trained slot receive `g`, through the call by which operations find a parameter's gradient. */
static inline void put_grad(struct bk_weights *w, int32_t slot, struct bk_tape *tape,
                            const double *g)
{
    struct bk_tensor *dx = NULL;
    bool accumulate = false;

    BK_ASSERT_OK(bk_grad_target(tape, bk_weights_get(w, slot), &dx, &accumulate, &err));
    CU_ASSERT_PTR_NOT_NULL_FATAL(dx);
    CU_ASSERT_TRUE(accumulate);
    put_values(dx, g);
}

/* "<build>/<name>.<pid>", made; remove with bk_remove_tree(). */
static inline const char *scratch_dir(const char *name)
{
    static char path[4096];
    const char *base = bk_test_env("BK_TEST_BINARY");

    snprintf(path, sizeof path, "%s/%s.%ld", *base ? base : "/tmp", name, (long)getpid());
    BK_ASSERT_OK(bk_make_dirs(path, &err));
    return path;
}

#endif

/*
 * tests/method_data.h: a small synthetic data set, the reference device and an environment, for tests of trainers and
 * raters. Not a test itself.
 */
#ifndef BK_TESTS_METHOD_DATA_H
#define BK_TESTS_METHOD_DATA_H

#include "method_fixture.h"
#include <bosskit/backend.h>
#include <bosskit/file.h>
#include <sys/types.h>
#include <unistd.h>

struct world {
    struct fixture f;
    char cache[4096];
    struct bk_space space;
    struct bk_sampler sampler;
    struct bk_data data;
    struct bk_device *device;
    struct bk_env env;
};

static void world_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static void world_progress(void *ctx, double done, double total, const char *unit, const char *note)
{
    (void)ctx, (void)done, (void)total, (void)unit, (void)note;
}

static bool world_cancelled(void *ctx)
{
    (void)ctx;
    return false;
}

static const void *world_extension(void *ctx, const char *id)
{
    (void)ctx, (void)id;
    return NULL;
}

static const struct bk_host world_host = { .struct_size = sizeof world_host,
                                           .log = world_log,
                                           .progress = world_progress,
                                           .cancelled = world_cancelled,
                                           .get_extension = world_extension };

/* Images of `side` pixels instead; views crop and flip them. */
static inline void world_use_images(struct world *w, int side, int n_train, int n_val)
{
    struct bk_error err = BK_ERROR_INIT;
    char option[3][32];
    snprintf(option[0], sizeof option[0], "size=%d", side);
    snprintf(option[1], sizeof option[1], "n_train=%d", n_train);
    snprintf(option[2], sizeof option[2], "n_val=%d", n_val);
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_DATASET, "synthetic", OPTIONS("n_test=1", option[0], option[1], option[2]));
    const struct bk_dataset_iface *d = bk_instance_iface(i);
    BK_ASSERT_OK(d->open(i->state, w->cache, &err));
    BK_ASSERT_OK(d->info(i->state, &w->data.info, &err));
    BK_ASSERT_OK(d->split(i->state, "train", &w->data.train, &err));
    BK_ASSERT_OK(d->split(i->state, "val", &w->data.val, &err));
    BK_ASSERT_OK(bk_augment_named("cifar", side, &w->data.view1, &err));
    w->data.view2 = w->data.alone = w->data.view1;
    BK_ASSERT_OK(bk_augment_named("none", side, &w->data.plain, &err));
}

/* n_train training and n_val validation images of 8x8 pixels; views crop and flip them. */
static inline void world_open(struct world *w, uint32_t dtype, int n_train, int n_val)
{
    struct bk_error err = BK_ERROR_INIT;
    memset(w, 0, sizeof *w);
    fixture_open(&w->f);
    fixture_space(&w->f, "nats_ss", OPTIONS("widths=[4,6]", "pooled_width=8"), &w->space);
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_SAMPLER, "fair", NULL);
    w->sampler = (struct bk_sampler){ bk_instance_iface(i), i->state, "fair" };
    snprintf(w->cache, sizeof w->cache, "%s/method-data-%d", bk_test_env("BK_TEST_BINARY"), (int)getpid());
    BK_ASSERT_OK(bk_make_dirs(w->cache, &err));
    w->data.info.struct_size = sizeof w->data.info;
    world_use_images(w, 8, n_train, n_val);
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &w->device, &err));
    w->env = (struct bk_env){ .struct_size = sizeof w->env,
                              .dtype = dtype,
                              .device = w->device,
                              .host = &world_host,
                              .space = &w->space,
                              .data = &w->data,
                              .sampler = &w->sampler,
                              .seed = 11 };
}

static inline void world_close(struct world *w)
{
    bk_device_close(w->device);
    fixture_close(&w->f);
    if (bk_remove_tree(w->cache, &w->f.err))
        printf("\n    %s\n", w->f.err.text);
}

/* Train env->block from scratch or from `previous` with the trainer's options; the result is the caller's. */
static inline struct bk_bundle *world_train(struct world *w, const char *trainer, const char *const *options,
                                            const struct bk_bundle *previous, double *loss)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer, options);
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *out;
    BK_ASSERT_OK(t->begin(i->state, &w->env, previous, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.done, 1);
    BK_ASSERT_OK(bk_bundle_new(&out, &err));
    BK_ASSERT_OK(t->result(i->state, out, &err));
    t->end(i->state);
    bk_instance_close(w->f.instance[--w->f.n]);
    if (loss)
        *loss = p.loss;
    return out;
}

/* Stand before block 1 behind the prefix "01". */
static inline void world_enter_block_1(struct world *w)
{
    w->env.block = 1;
    w->env.prefix[0] = (struct bk_path){ 2, { 0, 1 } };
    w->env.entry = bk_space_entry(&w->space, 1, w->env.prefix);
}

/* Open the device of a plugin with these options instead; false when it is not built or cannot work here (world->f.err says why). */
static inline bool world_use_options(struct world *w, const char *name, const char *const *options)
{
    struct bk_instance *i = fixture_try(&w->f, BK_KIND_BACKEND, name, options);
    struct bk_device *d;
    if (!i)
        return false;
    int rc = bk_device_open(bk_instance_iface(i), i->state, 0, BK_REPEATABLE, 1, &d, &w->f.err);
    if (rc == BK_ENOTSUP)
        return false;
    if (rc)
        printf("\n    %s\n", w->f.err.text);
    CU_ASSERT_FATAL(rc == BK_OK);
    bk_device_close(w->device);
    w->env.device = w->device = d;
    return true;
}

static inline bool world_use_backend(struct world *w, const char *name)
{
    return world_use_options(w, name, NULL);
}

/* Leave the test unless `name` (as bk_test_backend() gives it: NULL for "not asked for") is the backend of the world from here on. */
#define WORLD_ON(w, name)                                                                \
    do {                                                                                 \
        const char *on_ = (name);                                                        \
        if (!on_ || !world_use_backend(w, on_)) {                                        \
            world_close(w);                                                              \
            BK_SKIP("backend '%s' is not asked for, not built or not available", on_ ? on_ : "ref"); \
        }                                                                                \
    } while (0)

static inline struct bk_block_table world_rate(struct world *w, const char *rater, const struct bk_bundle *trained,
                                               const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table t;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, rater, options);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    CU_ASSERT_EQUAL(r->better, BK_LOWER_IS_BETTER);
    BK_ASSERT_OK(r->rate_block(i->state, &w->env, trained, &t, &err));
    bk_instance_close(w->f.instance[--w->f.n]);
    return t;
}

/* Two ratings must have the same bytes. */
static inline void world_rate_twice(struct world *w, const char *rater, const struct bk_bundle *trained,
                                    const char *const *options)
{
    struct bk_block_table a = world_rate(w, rater, trained, options), b = world_rate(w, rater, trained, options);
    CU_ASSERT_EQUAL_FATAL(a.n, b.n);
    CU_ASSERT_EQUAL(memcmp(a.score, b.score, a.n * sizeof *a.score), 0);
    for (size_t i = 0; i < a.n; i++)
        CU_ASSERT(bk_path_equal(&a.path[i], &b.path[i]));
    bk_block_table_release(&a);
    bk_block_table_release(&b);
}

static bool world_cancelled_late(void *ctx)
{
    return --*(int *)ctx < 0;
}

/* However long the host waits before it cancels, the rater stops with BK_EINTERRUPTED or is done before. */
static inline void world_check_cancel(struct world *w, const char *rater, const struct bk_bundle *trained,
                                      const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, rater, options);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    int left, stopped = 0, rc = BK_EINTERRUPTED;
    struct bk_host host = world_host;
    host.ctx = &left;
    host.cancelled = world_cancelled_late;
    w->env.host = &host;
    for (int wait = 0; rc == BK_EINTERRUPTED; wait += 1 + wait / 2) {
        struct bk_block_table t = { 0 };
        left = wait;
        rc = r->rate_block(i->state, &w->env, trained, &t, &err);
        stopped += rc == BK_EINTERRUPTED;
        bk_block_table_release(&t);
    }
    CU_ASSERT_EQUAL(rc, BK_OK);
    CU_ASSERT(stopped > 3);
    w->env.host = &world_host;
    bk_instance_close(w->f.instance[--w->f.n]);
}

/* Whichever allocation fails, a rater says so and leaks nothing (under a sanitizer); steps grow, so not each is tried. */
static inline void world_check_memory(struct world *w, const char *rater, const struct bk_bundle *trained,
                                      const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, rater, options);
    const struct bk_rater_iface *r = bk_instance_iface(i);
    int rc = BK_ENOMEM;
    for (long n = 1; rc == BK_ENOMEM; n += 1 + n / 16) {
        struct bk_block_table t = { 0 };
        bk_alloc_fail_after(n);
        rc = r->rate_block(i->state, &w->env, trained, &t, &err);
        bk_alloc_fail_after(0);
        bk_block_table_release(&t);
    }
    BK_ASSERT_OK(rc);
    bk_instance_close(w->f.instance[--w->f.n]);
}

#endif

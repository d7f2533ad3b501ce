/*
 * tests/trainers/trainer_checks.h: what every trainer must do: go on from a checkpoint with the same bytes, allocate nothing in
 * a steady state; and comparing artefacts. Not a test itself.
 */
#ifndef BK_TESTS_TRAINER_CHECKS_H
#define BK_TESTS_TRAINER_CHECKS_H

#include "method_data.h"

static inline bool same_entry(const struct bk_bundle *a, const struct bk_bundle *b, const char *name_a, const char *name_b)
{
    const struct bk_bundle_entry *x = bk_bundle_find(a, name_a), *y = bk_bundle_find(b, name_b);
    return x && y && x->nbytes == y->nbytes && !memcmp(x->data, y->data, x->nbytes);
}

static inline void check_same(const struct bk_bundle *a, const struct bk_bundle *b)
{
    CU_ASSERT_EQUAL_FATAL(bk_bundle_count(a), bk_bundle_count(b));
    int different = 0;
    for (size_t i = 0; i < bk_bundle_count(a); i++)
        different += !same_entry(a, b, bk_bundle_at(a, i)->name, bk_bundle_at(a, i)->name);
    CU_ASSERT_EQUAL(different, 0);
}

/* Stopped after 1, 4, 7 and 10 of 12 iterations and gone on from a file: the bytes of a straight run. */
static inline void check_resume(struct world *w, const char *trainer, const struct bk_bundle *previous, const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *straight = world_train(w, trainer, options, previous, NULL);
    char path[4200];
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", w->cache);
    for (int stop = 1; stop <= 10; stop += 3) {
        struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer, options);
        const struct bk_trainer_iface *t = bk_instance_iface(i);
        struct bk_bundle *b, *result;
        BK_ASSERT_OK(t->begin(i->state, &w->env, previous, &err));
        for (int s = 0; s < stop; s++) {
            BK_ASSERT_OK(t->advance(i->state, 0, &p, &err));
            CU_ASSERT_EQUAL(p.step, s + 1);
        }
        CU_ASSERT_EQUAL(p.n_steps, 12);
        BK_ASSERT_OK(bk_bundle_new(&b, &err));
        BK_ASSERT_OK(t->save(i->state, b, &err));
        BK_ASSERT_OK(bk_bundle_write(b, path, &err));
        bk_bundle_free(b);
        bk_instance_close(w->f.instance[--w->f.n]);     /* killed: no end() of ours */

        i = fixture_get(&w->f, BK_KIND_TRAINER, trainer, options);
        BK_ASSERT_OK(bk_bundle_read(path, &b, &err));
        BK_ASSERT_OK(t->begin(i->state, &w->env, previous, &err));
        BK_ASSERT_OK(t->load(i->state, b, &err));
        BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
        CU_ASSERT_EQUAL(p.done, 1);
        BK_ASSERT_OK(bk_bundle_new(&result, &err));
        BK_ASSERT_OK(t->result(i->state, result, &err));
        t->end(i->state);
        check_same(straight, result);
        bk_bundle_free(result);
        bk_bundle_free(b);
        bk_instance_close(w->f.instance[--w->f.n]);
    }
    bk_bundle_free(straight);
}

/* After `warm` iterations one allocates nothing, on a backend that keeps its plans. */
static inline void check_no_allocation(struct world *w, const char *trainer, const struct bk_bundle *previous,
                                       const char *const *options, int warm)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer, options);
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    BK_ASSERT_OK(t->begin(i->state, &w->env, previous, &err));
    for (int s = 0; s < warm; s++)
        BK_ASSERT_OK(t->advance(i->state, 0, &p, &err));
    CU_ASSERT_EQUAL(p.done, 0);
    bk_alloc_fail_after(1);
    int rc = t->advance(i->state, 1e9, &p, &err);
    bk_alloc_fail_after(0);
    BK_ASSERT_OK(rc);
    CU_ASSERT_EQUAL(p.done, 1);
    t->end(i->state);
}

/* Whichever allocation of begin() or of the first iteration fails, the trainer says so, leaks nothing and can begin again. */
static inline void check_memory(struct world *w, const char *trainer, const struct bk_bundle *previous, const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer, options);
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    int rc = BK_ENOMEM;
    for (long n = 1; rc == BK_ENOMEM; n += 1 + n / 16) {
        bk_alloc_fail_after(n);
        rc = t->begin(i->state, &w->env, previous, &err);
        if (!rc)
            rc = t->advance(i->state, 0, &p, &err);
        bk_alloc_fail_after(0);
        t->end(i->state);
    }
    BK_ASSERT_OK(rc);
}

#endif

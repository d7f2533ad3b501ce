/*
 * tests/trainers/composed_step.h: an ensemble-bootstrapping step composed of the public calls, against a fixture that
 * PyTorch made in double precision (tests/fixtures/step_common.py): losses, ensemble targets, every gradient, one LARS and one
 * EMA update, on the reference backend or on `cpu` (BK_TEST_BACKEND names another) where it is there. The trainers are tested on the same fixtures elsewhere.
 *
 * Not a test itself.
 */
#ifndef BK_TESTS_COMPOSED_STEP_H
#define BK_TESTS_COMPOSED_STEP_H

#include "step_fixture.h"
#include <bosskit/optim.h>

struct composed {
    const struct step_case *c;
    struct fixture f;
    struct bk_device *device;
    struct bk_space space;
    struct bk_bundle *data;
    struct bk_siamese s;
    struct bk_tape *tape;
    struct bk_path prefix[BK_MAX_BLOCKS], path[BK_MAX_SAMPLED];
    int n_paths;
};

static struct bk_error err;

static inline void composed_weights(struct composed *t)
{
    const struct bk_net *net = &t->s.net;
    int found = 0, wanted = 0;
    for (int32_t b = 0; b < t->space.info.n_blocks; b++) {
        BK_ASSERT_OK(bk_weights_need_block(t->s.online, b, &err));
        BK_ASSERT_OK(bk_weights_need_block(t->s.target, b, &err));
    }
    for (int32_t i = 0; i < net->n; i++) {
        const struct bk_slot *slot = &net->slot[i];
        if (!bk_weights_get(t->s.online, i))
            continue;
        struct bk_tensor *x[2] = { bk_weights_get(t->s.online, i), bk_weights_get(t->s.target, i) };
        float *v = bk_alloc((size_t)bk_tensor_numel(x[0]) * sizeof *v);
        for (int target = 0; target < 2; target++)
            if (step_weight(t->data, target, slot->name, slot->rank, slot->dim, v)) {
                BK_ASSERT_OK(bk_tensor_write_f32(x[target], v, &err));
                BK_ASSERT_OK(bk_weights_train(t->s.online, i, true, &err));
                found += target;
            }
        bk_free(v);
    }
    for (size_t i = 0; i < bk_bundle_count(t->data); i++)
        wanted += !strncmp(bk_bundle_at(t->data, i)->name, "w.", 2);
    CU_ASSERT(found == wanted || bk_bundle_text(t->data, "weights"));
    bk_weights_changed(t->s.online);
    bk_weights_changed(t->s.target);
}

/* False when the backend is not built or cannot work here. */
static inline bool composed_open(struct composed *t, const struct step_case *c, const char *backend)
{
    *t = (struct composed){ .c = c };
    fixture_open(&t->f);
    struct bk_instance *i = fixture_try(&t->f, BK_KIND_BACKEND, backend, NULL);
    int rc = i ? bk_device_open(bk_instance_iface(i), i->state, 0, BK_REPEATABLE, 1, &t->device, &err) : BK_ENOTSUP;
    if (rc == BK_ENOTSUP) {
        fixture_close(&t->f);
        return false;
    }
    BK_ASSERT_OK(rc);
    fixture_space(&t->f, c->space, c->options, &t->space);
    t->data = step_read(c, "");
    t->n_paths = step_paths(t->data, "paths", t->path);
    CU_ASSERT_EQUAL(step_paths(t->data, "prefix", t->prefix), c->block);
    BK_ASSERT_OK(bk_siamese_init(&t->s, t->device, BK_F32, &t->space, c->block, STEP_HIDDEN, STEP_OUT, 0, &err));
    composed_weights(t);
    BK_ASSERT_OK(bk_tape_new(t->device, &t->tape, &err));
    return true;
}

static inline void composed_close(struct composed *t)
{
    bk_tape_free(t->tape);
    bk_siamese_release(&t->s);
    bk_bundle_free(t->data);
    bk_device_close(t->device);
    fixture_close(&t->f);
}

static inline double composed_check(struct composed *t, const char *key, const struct bk_tensor *x)
{
    float *got = bk_alloc((size_t)bk_tensor_numel(x) * sizeof *got);
    BK_ASSERT_OK(bk_tensor_read_f32(x, got, &err));
    const struct bk_bundle_entry *e = bk_bundle_find(t->data, key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    double d = step_difference(e, got, bk_tensor_numel(x), step_partner(t->data, key, bk_tensor_numel(x)));
    if (!(d <= step_tolerance))
        printf("\n    %s differs by %.3g\n", key, d);
    CU_ASSERT(d <= step_tolerance);
    bk_free(got);
    return d;
}

/* View `side` of all images as path p sees it; normalised in double, as the fixture is. */
static inline void composed_view(struct composed *t, int side, int p, struct bk_tensor **out)
{
    const struct bk_bundle_entry *e = step_images(t->data);
    struct bk_augment view = step_view(t->c, t->data, side);
    size_t per_image = (size_t)(e->dim[1] * e->dim[2] * 3);
    uint32_t number = (uint32_t)(t->c->own ? side * t->n_paths + p : side);
    float *values = bk_alloc(e->nbytes * sizeof *values);
    for (uint32_t i = 0; i < (uint32_t)e->dim[0]; i++) {
        struct bk_image image = { (const uint8_t *)e->data + i * per_image, view.size, view.size, 0 };
        BK_ASSERT_OK(bk_augment_apply(&view, &image, STEP_SEED, 0, i, number, values + i * per_image, &err));
    }
    for (size_t i = 0; i < e->nbytes; i++) {
        const double mean = step_mean[side][i % 3], std = step_std[side][i % 3];
        double pixel = rint((values[i] * std + mean) * 255);
        values[i] = (float)((pixel / 255 - mean) / std);
    }
    BK_ASSERT_OK(bk_tape_tensor(t->tape, BK_F32, 4, e->dim, out, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(*out, values, &err));
    bk_free(values);
}

static inline void composed_embed(struct composed *t, struct bk_forward *f, const struct bk_path *path, struct bk_tensor *x,
                                  struct bk_tensor **z)
{
    int32_t entry = bk_space_entry(&t->space, t->s.block, t->prefix);
    struct bk_tensor *y;
    BK_ASSERT_OK(bk_space_run_block(&t->space, f, t->s.block, entry, path, x, &y, &err));
    BK_ASSERT_OK(bk_siamese_project(&t->s, f, path, y, z, &err));
}

/* Inputs of the online block, and ensemble targets, of one side. */
static inline void composed_targets(struct composed *t, int side, struct bk_forward *online, struct bk_forward *target,
                                    struct bk_tensor *input[], struct bk_tensor **ensemble)
{
    struct bk_tensor *view, *x, *z, *u;
    double weight = 1.0 / t->n_paths;
    for (int p = 0; p < t->n_paths; p++) {
        composed_view(t, side, p, &view);
        BK_ASSERT_OK(bk_siamese_prefix(&t->s, online, t->prefix, view, &input[p], &err));
        BK_ASSERT_OK(bk_siamese_prefix(&t->s, target, t->prefix, view, &x, &err));
        composed_embed(t, target, &t->path[p], x, &z);
        BK_ASSERT_OK(bk_unit(t->tape, z, &u, &err));
        if (p == 0)
            *ensemble = u;
        BK_ASSERT_OK(bk_blend(*ensemble, p ? 1 : weight, u, p ? weight : 0, &err));
    }
    composed_check(t, side ? "ensemble.1" : "ensemble.0", *ensemble);
}

static inline void composed_run(struct composed *t)
{
    struct bk_forward online = { .tape = t->tape, .weights = t->s.online, .dtype = BK_F32, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
    struct bk_forward target = online;
    struct bk_tensor *input[2][BK_MAX_SAMPLED], *ensemble[2];
    target.weights = t->s.target;

    bk_tape_set_recording(t->tape, false);
    for (int v = 0; v < 2; v++)
        composed_targets(t, v, &online, &target, input[v], &ensemble[v]);
    bk_tape_set_recording(t->tape, true);
    const double *want = bk_bundle_find(t->data, "loss")->data;
    for (int p = 0; p < t->n_paths; p++) {
        double total = 0;
        for (int v = 0; v < 2; v++) {
            struct bk_tensor *z, *q, *loss;
            double value;
            composed_embed(t, &online, &t->path[p], input[v][p], &z);
            BK_ASSERT_OK(bk_siamese_predict(&t->s, &online, z, &q, &err));
            BK_ASSERT_OK(bk_cosine_loss(t->tape, q, ensemble[1 - v], &loss, &err));
            BK_ASSERT_OK(bk_tensor_read_f64(loss, &value, &err));
            BK_ASSERT_OK(bk_tape_backward(t->tape, loss, 1.0, &err));
            total += value;
        }
        BK_ASSERT_CLOSE(total, want[p], 1e-5);
    }
}

/* A bias in front of a batch norm has no gradient but rounding errors. */
static inline void composed_vanishes(const struct bk_tensor *g)
{
    float *got = bk_alloc((size_t)bk_tensor_numel(g) * sizeof *got);
    BK_ASSERT_OK(bk_tensor_read_f32(g, got, &err));
    for (int64_t i = 0; i < bk_tensor_numel(g); i++)
        CU_ASSERT(fabsf(got[i]) < 1e-6f);
    bk_free(got);
}

/* Each slot's tensor (the gradient, or the value of `set`) against "<prefix><slot>"; there must be more than 40. */
static inline void composed_slots(struct composed *t, const char *prefix, struct bk_weights *set, bool gradient)
{
    double worst = 0;
    int n = 0, wanted = 0;
    for (size_t i = 0; i < bk_bundle_count(t->data); i++)
        wanted += !strncmp(bk_bundle_at(t->data, i)->name, prefix, strlen(prefix));
    for (int32_t i = 0; i < t->s.net.n; i++) {
        char key[120];
        struct bk_tensor *x = bk_weights_get(set, i);
        snprintf(key, sizeof key, "%s%s", prefix, t->s.net.slot[i].name);
        if (!bk_bundle_find(t->data, key)) {
            if (gradient && x && bk_tensor_is_touched(x))
                composed_vanishes(bk_tensor_get_grad(x));
            continue;
        }
        n++;
        worst = fmax(worst, composed_check(t, key, gradient ? bk_tensor_get_grad(x) : x));
    }
    if (gradient)
        printf("  %d gradients, largest difference %.2g ...", n, worst);
    CU_ASSERT_EQUAL(n, wanted);
    CU_ASSERT(n > 40);
}

static inline void composed_update(struct composed *t)
{
    struct bk_optim_config config = { .kind = BK_LARS, .exclude = BK_EXCLUDE_BY_TYPE, .momentum = 0.9,
                                      .weight_decay = 1e-6, .trust = 1e-3, .zero_guard = true };
    struct bk_optim *optim;
    BK_ASSERT_OK(bk_optim_new(t->s.online, &config, &optim, &err));
    BK_ASSERT_OK(bk_optim_step(optim, 0.3, &err));
    bk_optim_free(optim);
    BK_ASSERT_OK(bk_weights_ema(t->s.target, t->s.online, 0.99, 0, t->s.block, t->s.block, &err));
}

static inline void composed_test(const struct step_case *c, const char *backend)
{
    struct composed t;
    backend = bk_test_backend(backend);
    if (!backend)
        BK_SKIP("not asked for");
    if (!composed_open(&t, c, backend))
        BK_SKIP("backend '%s' is not built or not available: %s", backend, err.text);
    composed_run(&t);
    composed_slots(&t, "g.", t.s.online, true);
    composed_update(&t);
    composed_slots(&t, "new.", t.s.online, false);
    composed_slots(&t, "ema.", t.s.target, false);
    composed_close(&t);
}

#endif

/*
 * The trainers "ensemble_bootstrap" and "naive_bootstrap" against PyTorch: one iteration with its update on given weights, images and
 * paths (tests/fixtures/step_common.py), through the trainer's own loader, optimiser and moving average: the loss, every gradient,
 * both networks after the update. NATS-SS with views that all paths share, MBConv and HyTra with views of each path's own.
 * On `ref` and on `cpu`; the naive one, which runs the same operations, on one of them.
 */
#include "step_world.h"

static const double lr = 0.3, trust = 1e-3;

struct outcome {
    const char *label;
    double loss;
    struct bk_bundle *before, *after, *result;
};

static void outcome_release(struct outcome *o)
{
    bk_bundle_free(o->before);
    bk_bundle_free(o->after);
    bk_bundle_free(o->result);
}

/* Begin, overwrite the networks through a checkpoint, run the one iteration. */
static struct outcome train_fixture(struct world *w, const struct step_case *c, const char *trainer, const struct bk_bundle *data)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, trainer,
                                        OPTIONS("epochs=1", "batch=16", "accumulate=1", "lr=0.3", "lr_step=epoch",
                                                "warmup_epochs=0.0", "hidden=24", "embed=12", "weight_decay=0.0",
                                                c->own ? "views=own" : "views=shared"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct outcome o = { .label = trainer };
    struct bk_bundle *previous;
    struct bk_siamese before;
    BK_ASSERT_OK(bk_siamese_init(&before, w->device, BK_F32, &w->space, 0, STEP_HIDDEN, STEP_OUT, 1, &err));
    BK_ASSERT_OK(bk_bundle_new(&previous, &err));
    BK_ASSERT_OK(bk_siamese_save(&before, previous, &err));
    BK_ASSERT_OK(t->begin(i->state, &w->env, w->env.block ? previous : NULL, &err));
    BK_ASSERT_OK(bk_bundle_new(&o.before, &err));
    BK_ASSERT_OK(t->save(i->state, o.before, &err));
    CU_ASSERT(step_put_weights(o.before, "online", data, false) > 40);
    CU_ASSERT(step_put_weights(o.before, "target", data, true) > 40);
    BK_ASSERT_OK(t->load(i->state, o.before, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.step, 1);
    CU_ASSERT_EQUAL(p.done, 1);
    o.loss = p.loss;
    BK_ASSERT_OK(bk_bundle_new(&o.after, &err));
    BK_ASSERT_OK(t->save(i->state, o.after, &err));
    BK_ASSERT_OK(bk_bundle_new(&o.result, &err));
    BK_ASSERT_OK(t->result(i->state, o.result, &err));
    t->end(i->state);
    bk_bundle_free(previous);
    bk_siamese_release(&before);
    return o;
}

static double norm_of(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum);
}

/* Without decay the first momentum buffer of LARS is lr g, for weights times trust |w| / |g|. */
static int check_gradients(const struct bk_bundle *data, const struct outcome *o)
{
    int n = 0;
    for (size_t k = 0; k < bk_bundle_count(data); k++) {
        const struct bk_bundle_entry *want = bk_bundle_at(data, k);
        char name[128];
        if (strncmp(want->name, "g.", 2))
            continue;
        snprintf(name, sizeof name, "optim.%s.buf", want->name + 2);
        const struct bk_bundle_entry *got = bk_bundle_find(o->after, name);
        snprintf(name, sizeof name, "online.%s", want->name + 2);
        const struct bk_bundle_entry *w = bk_bundle_find(o->before, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        CU_ASSERT_PTR_NOT_NULL_FATAL(w);
        int64_t count = (int64_t)(got->nbytes / sizeof(float));
        double step = lr;
        if (!strcmp(strrchr(name, '.'), ".weight")) {
            const float *g = want->data;
            step *= trust * norm_of(w->data, count) / (want->nbytes == got->nbytes ? norm_of(g, count) : (double)g[1]);
        }
        float *v = bk_alloc(got->nbytes);
        for (int64_t i = 0; i < count; i++)
            v[i] = (float)(((const float *)got->data)[i] / step);
        double d = step_difference(want, v, count, step_partner(data, want->name, count));
        if (!(d <= step_tolerance))
            printf("\n    %s: gradient of %s differs by %g\n", o->label, want->name + 2, d);
        CU_ASSERT(d <= step_tolerance);
        bk_free(v);
        n++;
    }
    return n;
}

static void check_loss(const struct bk_bundle *data, double loss)
{
    const double *losses = bk_bundle_find(data, "loss")->data;
    double wanted = 0;
    for (int32_t p = 0; p < step_n_paths; p++)
        wanted += losses[p] / step_n_paths;
    BK_ASSERT_CLOSE(loss, wanted, 1e-6);
}

static void run_trainer(struct step_world *s, const struct step_case *c, bool naive)
{
    struct bk_bundle *data = naive ? step_read(c, "_naive") : s->data;
    struct outcome o = train_fixture(&s->w, c, naive ? "naive_bootstrap" : "ensemble_bootstrap", s->data);
    check_loss(data, o.loss);
    CU_ASSERT(check_gradients(data, &o) > 40);
    if (naive) {
        bk_bundle_free(data);
    } else {
        CU_ASSERT(step_compare(data, "new.", o.result, "online", "", 1e-3) > 40);
        CU_ASSERT(step_compare(data, "ema.", o.result, "target", "", 1e-3) > 40);
    }
    outcome_release(&o);
}

/* The naive trainer on backend 0 (ref) or 1 (cpu), or not at all; a backend that BK_TEST_BACKEND names takes it from either. */
static void run(const struct step_case *c, int naive_backend)
{
    bool done = false;
    for (int backend = 0; backend < 2; backend++) {
        const char *name = bk_test_backend(backend ? "cpu" : "ref");
        struct step_world s;
        step_open(&s, c, NULL);
        s.w.data.view1 = step_view(c, s.data, 0);
        s.w.data.view2 = step_view(c, s.data, 1);
        if (name && world_use_backend(&s.w, name)) {
            done = true;
            run_trainer(&s, c, false);
            if (backend == naive_backend || (naive_backend == 0 && *bk_test_env("BK_TEST_BACKEND")))
                run_trainer(&s, c, true);
        }
        step_close(&s);
    }
    if (!done)
        BK_SKIP("backend '%s' is not built or not available", bk_test_backend("cpu"));
}

static void test_first_block(void)
{
    run(&nats_step[0], -1);
}

static void test_block_behind_a_prefix(void)
{
    run(&nats_step[1], -1);
}

static void test_own_views(void)
{
    run(&mbconv_step[0], 0);
}

static void test_own_views_behind_a_prefix(void)
{
    run(&mbconv_step[1], 0);
}

static void test_fabric(void)
{
    run(&hytra_step[0], 1);
}

static void test_fabric_behind_a_prefix(void)
{
    run(&hytra_step[1], 1);
}

BK_SUITE({ "first block", test_first_block }, { "block behind a prefix", test_block_behind_a_prefix },
         { "own views", test_own_views }, { "own views behind a prefix", test_own_views_behind_a_prefix },
         { "fabric", test_fabric }, { "fabric behind a prefix", test_fabric_behind_a_prefix })

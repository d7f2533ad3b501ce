/*
 * Trainers "ensemble_bootstrap" and "naive_bootstrap" on the reference device: gradients against central differences
 * of the loss written out here, updates against closed forms, and resuming against a straight run.
 */
#include "trainer_checks.h"
#include <bosskit/optim.h>

/* One update of all 20 images: 4 iterations of 6, 6, 6 and 2. */
#define ONE_UPDATE "epochs=1", "batch=6", "accumulate=4", "hidden=8", "embed=6", "warmup_epochs=0.0"

/* ---- comparing artefacts -------------------------------------------------------------------------------- */

static void read_entry(const struct bk_bundle *b, const char *name, double *v, int64_t cap, int64_t *n)
{
    const struct bk_bundle_entry *e = bk_bundle_find(b, name);
    if (!e)
        printf("\n    no entry '%s'\n", name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    *n = (int64_t)(e->nbytes / bk_dtype_size(e->dtype));
    CU_ASSERT_FATAL(*n <= cap);
    for (int64_t i = 0; i < *n; i++)
        v[i] = e->dtype == BK_F64 ? ((const double *)e->data)[i] : (double)((const float *)e->data)[i];
}

static double norm_of(const double *v, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += v[i] * v[i];
    return sqrt(s);
}

/* The initial weights of a block, as an artefact. */
static struct bk_bundle *initial(struct world *w)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_siamese s;
    struct bk_bundle *b;
    BK_ASSERT_OK(bk_siamese_init(&s, w->device, bk_dtype_accum(w->env.dtype), &w->space, w->env.block, 8, 6,
                                 w->env.seed, &err));
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_siamese_save(&s, b, &err));
    bk_siamese_release(&s);
    return b;
}

/* ---- the loss of an update window, written out ------------------------------------------------------------ */

struct window {
    struct world *w;
    struct bk_siamese net;
    struct bk_tape *tape;
    int n_iterations;
    bool naive, own;
    double target[8][4][2][6 * 8];      /* iteration, path, view: T; computed once, constant as in training */
    bool have_target;
};

static void unit_rows(double *v, int rows, int d)
{
    for (int r = 0; r < rows; r++) {
        double n = norm_of(v + r * d, d);
        for (int c = 0; c < d; c++)
            v[r * d + c] /= n > 1e-12 ? n : 1e-12;
    }
}

static void run_side(struct window *x, struct bk_weights *w, const struct bk_path *path, const float *pixels, int n,
                     bool predict, double *out)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_env *env = &x->w->env;
    struct bk_forward f = { .tape = x->tape, .weights = w, .dtype = BK_F64, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
    struct bk_tensor *t;
    int64_t dim[4] = { n, 8, 8, 3 };
    bk_tape_reset(x->tape);
    BK_ASSERT_OK(bk_tape_tensor(x->tape, BK_F64, 4, dim, &t, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(t, pixels, &err));
    BK_ASSERT_OK(bk_siamese_prefix(&x->net, &f, env->prefix, t, &t, &err));
    BK_ASSERT_OK(bk_space_run_block(&x->w->space, &f, env->block, env->entry, path, t, &t, &err));
    BK_ASSERT_OK(bk_siamese_project(&x->net, &f, path, t, &t, &err));
    if (predict)
        BK_ASSERT_OK(bk_siamese_predict(&x->net, &f, t, &t, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(t, out, &err));
}

/* sum over iterations and paths of ( H(q(z(v1)), T(v2)) + H(q(z(v2)), T(v1)) ) / U */
static double window_loss(struct window *x)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_env *env = &x->w->env;
    int pairs = x->own ? 2 : 1;
    struct bk_loader_config c = { .split = &x->w->data.train, .batch = 6, .n_views = 2 * pairs, .seed = env->seed, .shuffle = true };
    for (int v = 0; v < 2 * pairs; v++)
        c.view[v] = x->w->data.view1;
    struct bk_loader *loader;
    BK_ASSERT_OK(bk_loader_new(&c, &loader, &err));
    double total = 0;
    for (int i = 0; i < x->n_iterations; i++) {
        struct bk_batch b;
        struct bk_path path[BK_MAX_SAMPLED];
        int32_t n_paths;
        BK_ASSERT_OK(bk_loader_next(loader, &b, &err));
        BK_ASSERT_OK(x->w->sampler.iface->sample(x->w->sampler.state, &x->w->space, env->block, env->entry, env->seed,
                                                 (uint64_t)i, 0, path, &n_paths, &err));
        CU_ASSERT_EQUAL_FATAL(n_paths, 2);
        for (int v = 0; v < 2 && !x->have_target; v++) {
            double t[2][48];
            for (int p = 0; p < 2; p++) {
                run_side(x, x->net.target, &path[p], b.view[x->own ? 2 * v + p : v], b.n, false, t[p]);
                unit_rows(t[p], b.n, 6);
            }
            for (int p = 0; p < 2; p++)
                for (int e = 0; e < b.n * 6; e++)
                    x->target[i][p][v][e] = x->naive ? t[p][e] : (t[0][e] + t[1][e]) / 2;
        }
        for (int p = 0; p < n_paths; p++)
            for (int v = 0; v < 2; v++) {
                double u[48], t[48];
                run_side(x, x->net.online, &path[p], b.view[x->own ? 2 * v + p : v], b.n, true, u);
                memcpy(t, x->target[i][p][1 - v], sizeof t);
                unit_rows(u, b.n, 6);
                unit_rows(t, b.n, 6);
                for (int e = 0; e < b.n * 6; e++)
                    total -= 2 * u[e] * t[e] / b.n / x->n_iterations;
            }
    }
    bk_loader_free(loader);
    x->have_target = true;
    return total;
}

static double derivative(struct window *x, const char *name, int64_t element)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_tensor *t = bk_weights_get(x->net.online, bk_net_find(&x->net.net, name));
    double v[4096], loss[2], step = 1e-5;
    BK_ASSERT_OK(bk_tensor_read_f64(t, v, &err));
    for (int side = 0; side < 2; side++) {
        v[element] += side ? -2 * step : step;
        BK_ASSERT_OK(bk_tensor_write_f64(t, v, &err));
        bk_weights_changed(x->net.online);
        loss[side] = window_loss(x);
    }
    v[element] += step;
    BK_ASSERT_OK(bk_tensor_write_f64(t, v, &err));
    bk_weights_changed(x->net.online);
    return (loss[0] - loss[1]) / (2 * step);
}

/*
 * Excluded parameters move by lr g in the first update, so the trainer shows its gradient there. (Biases in front of a
 * norm, and offsets of a block's output, have none.)
 */
static void check_gradient(struct world *w, bool naive, bool own, bool trainable, const struct bk_bundle *previous)
{
    struct bk_error err = BK_ERROR_INIT;
    struct window x = { .w = w, .n_iterations = 4, .naive = naive, .own = own };
    static const char *const slots[2][6] = {
        { "predictor0.norm.scale", "projector0.norm.offset", "predictor0.fc2.bias", "adapter0.width6.norm.scale",
          "block0.cell1.conv_a.norm4.offset", NULL },
        { "predictor1.norm.scale", "projector1.norm.offset", "predictor1.fc2.bias", "adapter1.width6.norm.scale",
          "block1.cell2.f3.norm4.offset", "block0.cell0.f1.norm4.scale" },
    };
    double loss;
    struct bk_bundle *result =
        world_train(w, naive ? "naive_bootstrap" : "ensemble_bootstrap",
                    OPTIONS(ONE_UPDATE, "lr=0.01", "lr_step=epoch", "weight_decay=0.0", own ? "views=own" : "views=shared",
                            trainable ? "prefix_grad=trainable" : "prefix_grad=frozen"),
                    previous, &loss);
    BK_ASSERT_OK(bk_siamese_init(&x.net, w->device, BK_F64, &w->space, w->env.block, 8, 6, w->env.seed, &err));
    if (previous) {
        BK_ASSERT_OK(bk_weights_load(x.net.online, "online.", previous, true, &err));
        BK_ASSERT_OK(bk_weights_load(x.net.target, "target.", previous, true, &err));
    }
    BK_ASSERT_OK(bk_tape_new(w->device, &x.tape, &err));
    bk_tape_set_recording(x.tape, false);
    BK_ASSERT_CLOSE(loss, window_loss(&x) / 2, 1e-9);       /* mean over the two paths */
    CU_ASSERT(loss > -4 && loss < 4);
    for (int i = 0; i < (trainable ? 6 : 5); i++) {
        const char *name = slots[w->env.block][i];
        char full[112];
        double before[4096], after[4096];
        int64_t n;
        snprintf(full, sizeof full, "online.%s", name);
        read_entry(result, full, after, 4096, &n);
        BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(x.net.online, bk_net_find(&x.net.net, name)), before, &err));
        double wanted = derivative(&x, name, 1), got = (before[1] - after[1]) / 0.01;
        CU_ASSERT(fabs(wanted) > 1e-9);
        if (fabs(got - wanted) > 1e-5 * fabs(wanted) + 1e-8)
            printf("\n    %s: gradient %.9g, wanted %.9g\n", name, got, wanted);
        CU_ASSERT(fabs(got - wanted) <= 1e-5 * fabs(wanted) + 1e-8);
    }
    bk_tape_free(x.tape);
    bk_siamese_release(&x.net);
    bk_bundle_free(result);
}

static void test_gradient_of_first_block(void)
{
    struct world w;
    world_open(&w, BK_F64, 20, 4);
    check_gradient(&w, false, false, false, NULL);
    check_gradient(&w, true, false, false, NULL);
    check_gradient(&w, false, true, false, NULL);
    world_close(&w);
}

/* Train block 0 a little, then stand before block 1 with a prefix. */
static struct bk_bundle *enter_block_1(struct world *w)
{
    struct bk_bundle *first = world_train(w, "ensemble_bootstrap", OPTIONS(ONE_UPDATE, "lr=4.0"), NULL, NULL);
    world_enter_block_1(w);
    return first;
}

static void test_gradient_behind_a_prefix(void)
{
    struct world w;
    world_open(&w, BK_F64, 20, 4);
    struct bk_bundle *first = enter_block_1(&w);
    check_gradient(&w, false, false, false, first);
    check_gradient(&w, false, true, false, first);
    check_gradient(&w, false, false, true, first);
    bk_bundle_free(first);
    world_close(&w);
}

/* ---- updates ------------------------------------------------------------------------------------------------- */

/* First LARS step without decay: |dw| = lr trust |w|, whatever the gradient. */
static void check_step(struct world *w, double lr, const char *const *options)
{
    static const char *const slots[] = { "online.projector0.fc1.weight", "online.block0.cell0.f5.weight",
                                         "online.predictor0.fc2.weight", "online.adapter0.width4.weight" };
    struct bk_bundle *before = initial(w), *after = world_train(w, "ensemble_bootstrap", options, NULL, NULL);
    for (size_t i = 0; i < BK_ARRAY_LEN(slots); i++) {
        static double a[65536], b[65536];
        int64_t n;
        read_entry(before, slots[i], a, 65536, &n);
        read_entry(after, slots[i], b, 65536, &n);
        double size = norm_of(a, n);
        for (int64_t e = 0; e < n; e++)
            b[e] -= a[e];
        BK_ASSERT_CLOSE(norm_of(b, n) / (lr * 1e-3 * size), 1, 1e-6);
    }
    bk_bundle_free(before);
    bk_bundle_free(after);
}

static void test_learning_rates(void)
{
    struct world w;
    world_open(&w, BK_F64, 20, 4);
    check_step(&w, 4.8, OPTIONS(ONE_UPDATE, "weight_decay=0.0", "lr_step=epoch"));
    check_step(&w, 4.8 * (1 + cos(M_PI * 3 / 4)) / 2, OPTIONS(ONE_UPDATE, "weight_decay=0.0", "lr_step=iteration"));
    check_step(&w, 4.8 * (1 - (1 - 3. / 8) * (1 - 1e-4)), OPTIONS(ONE_UPDATE, "weight_decay=0.0", "lr_step=epoch", "warmup_epochs=2.0"));
    world_close(&w);
}

static void check_target(const struct bk_bundle *before, const struct bk_bundle *after, const char *slot, double m)
{
    char online[112], target[112];
    static double w0[65536], w1[65536], t1[65536];
    int64_t n;
    double worst = 0, moved = 0;
    snprintf(online, sizeof online, "online.%s", slot);
    snprintf(target, sizeof target, "target.%s", slot);
    read_entry(before, target, w0, 65536, &n);
    read_entry(after, online, w1, 65536, &n);
    read_entry(after, target, t1, 65536, &n);
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(t1[i] - (m * w0[i] + (1 - m) * w1[i])));
        moved = fmax(moved, fabs(w1[i] - w0[i]));
    }
    CU_ASSERT(moved > 1e-9);
    CU_ASSERT(worst < 1e-12);
}

static void test_target_follows(void)
{
    struct world w;
    double m = 1 - 0.01 * (cos(M_PI * 3 / 4) + 1) / 2;      /* the first update uses m(U - 1) */
    world_open(&w, BK_F64, 20, 4);
    struct bk_bundle *before = initial(&w);
    for (int adapters = 0; adapters < 2; adapters++) {
        struct bk_bundle *after = world_train(&w, "ensemble_bootstrap",
                                              OPTIONS(ONE_UPDATE, adapters ? "ema_adapters=true" : "ema_adapters=false"), NULL, NULL);
        check_target(before, after, "block0.cell1.conv_a.weight", m);
        check_target(before, after, "block0.stem.weight", m);
        check_target(before, after, "block0.cell0.f2.norm6.offset", m);
        check_target(before, after, "projector0.fc2.weight", m);
        check_target(before, after, "predictor0.fc2.weight", 1);
        check_target(before, after, "adapter0.width6.weight", adapters ? m : 1);
        CU_ASSERT_PTR_NULL(bk_bundle_find(after, "online.block1.cell2.f1.weight"));      /* later blocks do not exist yet */
        CU_ASSERT_PTR_NULL(bk_bundle_find(after, "target.block1.cell2.f1.weight"));
        CU_ASSERT(same_entry(before, after, "online.block0.cell0.f1.norm6.running_mean", "online.block0.cell0.f1.norm6.running_mean"));
        bk_bundle_free(after);
    }
    bk_bundle_free(before);
    world_close(&w);
}

/* Of block 0 the artefact of block 1 has what the prefix, path (1,0) or another, runs through. */
static void check_prefix_alone(const struct bk_bundle *first, const struct bk_bundle *second)
{
    int had = 0, has = 0;
    for (size_t i = 0; i < bk_bundle_count(first); i++) {
        const char *name = bk_bundle_at(first, i)->name;
        if (strncmp(name + 7, "block0.", 7))
            continue;
        had++;
        has += bk_bundle_find(second, name) != NULL;
    }
    CU_ASSERT(has > 0 && 2 * has <= had);       /* norms of the other widths and running statistics are left out */
}

static void test_prefix(void)
{
    static const char *const slot = "online.block0.cell0.f1.weight", *const target = "target.block0.cell0.f1.weight";
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_bundle *first = enter_block_1(&w);
    struct bk_bundle *frozen = world_train(&w, "ensemble_bootstrap", OPTIONS(ONE_UPDATE), first, NULL);
    struct bk_bundle *moving = world_train(&w, "ensemble_bootstrap", OPTIONS(ONE_UPDATE, "prefix_grad=trainable"), first, NULL);
    CU_ASSERT(same_entry(first, frozen, slot, slot));
    CU_ASSERT(same_entry(first, frozen, target, target));
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(frozen, "online.block1.cell2.f1.weight"));
    check_prefix_alone(first, frozen);
    check_prefix_alone(first, moving);
    CU_ASSERT(!same_entry(first, moving, slot, slot));
    CU_ASSERT(!same_entry(first, moving, target, target));
    bk_bundle_free(first);
    bk_bundle_free(frozen);
    bk_bundle_free(moving);
    world_close(&w);
}

/* ---- one path, and several times the same ----------------------------------------------------------------------- */

static int same_path(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                     uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n, struct bk_error *err)
{
    (void)state, (void)space, (void)block, (void)entry, (void)seed, (void)step, (void)err;
    for (int32_t p = 0; p < wanted; p++)
        out[p] = (struct bk_path){ 2, { 1, 0 } };
    *n = wanted;
    return BK_OK;
}

static void test_one_path(void)
{
    static const struct bk_sampler_iface same = { .struct_size = sizeof same, .sample = same_path };
    struct world w;
    double loss[3];
    struct bk_bundle *r[3];
    world_open(&w, BK_F64, 20, 4);
    w.sampler = (struct bk_sampler){ &same, NULL, "same" };
    struct bk_bundle *before = initial(&w);
    r[0] = world_train(&w, "ensemble_bootstrap", OPTIONS(ONE_UPDATE, "weight_decay=0.0", "paths=1"), NULL, &loss[0]);
    r[1] = world_train(&w, "naive_bootstrap", OPTIONS(ONE_UPDATE, "weight_decay=0.0", "paths=1"), NULL, &loss[1]);
    r[2] = world_train(&w, "ensemble_bootstrap", OPTIONS(ONE_UPDATE, "weight_decay=0.0", "paths=4"), NULL, &loss[2]);
    check_same(r[0], r[1]);
    CU_ASSERT_EQUAL(loss[0], loss[1]);
    BK_ASSERT_CLOSE(loss[2], loss[0], 1e-12);
    /* gradients of four equal paths add up: an excluded tensor moves four times as far, a normalised one as far */
    double a[64], b[64], c[64];
    int64_t n;
    read_entry(before, "online.projector0.fc2.bias", a, 64, &n);
    read_entry(r[0], "online.projector0.fc2.bias", b, 64, &n);
    read_entry(r[2], "online.projector0.fc2.bias", c, 64, &n);
    for (int64_t i = 0; i < n; i++)
        CU_ASSERT(fabs((c[i] - a[i]) - 4 * (b[i] - a[i])) < 1e-10 + 1e-9 * fabs(c[i] - a[i]));
    read_entry(r[0], "online.predictor0.fc2.weight", b, 64, &n);
    read_entry(r[2], "online.predictor0.fc2.weight", c, 64, &n);
    for (int64_t i = 0; i < n; i++)
        CU_ASSERT(fabs(c[i] - b[i]) < 1e-10);
    for (int i = 0; i < 3; i++)
        bk_bundle_free(r[i]);
    bk_bundle_free(before);
    world_close(&w);
}

/* The same on another space: one path is all there is to average. */
static void check_one_path(const char *space, const char *const *options, int side)
{
    struct world w;
    double loss[2];
    struct bk_bundle *r[2];
    world_open(&w, BK_F32, 1, 1);
    world_use_images(&w, side, 8, 1);
    fixture_space(&w.f, space, options, &w.space);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_SAMPLER, "uniform", NULL);
    w.sampler = (struct bk_sampler){ bk_instance_iface(i), i->state, "uniform" };
    r[0] = world_train(&w, "ensemble_bootstrap", OPTIONS("epochs=2", "batch=8", "accumulate=1", "hidden=8", "embed=6", "paths=1"), NULL, &loss[0]);
    r[1] = world_train(&w, "naive_bootstrap", OPTIONS("epochs=2", "batch=8", "accumulate=1", "hidden=8", "embed=6", "paths=1"), NULL, &loss[1]);
    check_same(r[0], r[1]);
    CU_ASSERT_EQUAL(loss[0], loss[1]);
    bk_bundle_free(r[0]);
    bk_bundle_free(r[1]);
    r[1] = world_train(&w, "naive_bootstrap", OPTIONS("epochs=2", "batch=8", "accumulate=1", "hidden=8", "embed=6", "paths=2"), NULL, &loss[1]);
    CU_ASSERT(loss[0] != loss[1]);
    bk_bundle_free(r[1]);
    world_close(&w);
}

static void test_one_path_elsewhere(void)
{
    check_one_path("mbconv", OPTIONS("widths=[6,8]", "depths=[2,2]", "strides=[2,1]", "ops=[35,23]"), 16);
    check_one_path("hytra", OPTIONS("width=16"), 32);
}

/* ---- stopping and going on ------------------------------------------------------------------------------------ */

#define THREE_EPOCHS "epochs=3", "batch=6", "accumulate=5", "hidden=8", "embed=6"

static void test_resume(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    check_resume(&w, "ensemble_bootstrap", NULL, OPTIONS(THREE_EPOCHS));
    struct bk_bundle *first = enter_block_1(&w);
    check_resume(&w, "ensemble_bootstrap", first, OPTIONS(THREE_EPOCHS, "views=own"));
    check_resume(&w, "ensemble_bootstrap", first, OPTIONS(THREE_EPOCHS, "prefix_grad=trainable", "lr_step=epoch"));
    bk_bundle_free(first);
    world_close(&w);
}

static void test_no_allocation(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    if (!world_use_backend(&w, "cpu")) {
        world_close(&w);
        BK_SKIP("no backend 'cpu'");
    }
    struct bk_bundle *first = enter_block_1(&w);
    check_no_allocation(&w, "ensemble_bootstrap", first, OPTIONS("epochs=12", "batch=6", "accumulate=2", "hidden=8", "embed=6"), 24);
    bk_bundle_free(first);
    world_close(&w);
}

static double dimensions_of(struct world *w)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "ensemble_bootstrap",
                                        OPTIONS("epochs=2", "batch=6", "accumulate=1", "hidden=8", "embed=6"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    BK_ASSERT_OK(t->begin(i->state, &w->env, NULL, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.done, 1);
    t->end(i->state);
    bk_instance_close(w->f.instance[--w->f.n]);
    return p.dimensions;
}

/* Six images vary in five directions at most, and one image six times in none; single precision sees what double does. */
static void test_dimensions(void)
{
    static const uint32_t dtype[] = { BK_F64, BK_F32 };
    static const uint32_t same[20] = { 0 };
    double found[2];
    for (int i = 0; i < 2; i++) {
        struct world w;
        world_open(&w, dtype[i], 20, 4);
        found[i] = dimensions_of(&w);
        CU_ASSERT(found[i] > 1.2 && found[i] <= 5);
        bk_split_init(&w.data.train, w.data.train.images, same, 20);
        w.data.view1 = w.data.view2 = w.data.plain;
        BK_ASSERT_CLOSE(dimensions_of(&w), 1, 1e-6);
        world_close(&w);
    }
    BK_ASSERT_CLOSE(found[1], found[0], 1e-3);
}

static void test_memory(void)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_bundle *first = enter_block_1(&w);
    check_memory(&w, "ensemble_bootstrap", first, OPTIONS("epochs=2", "batch=6", "accumulate=2", "hidden=8", "embed=6"));
    bk_bundle_free(first);
    world_close(&w);
}

static void test_refusals(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_TRAINER, "ensemble_bootstrap", OPTIONS("epochs=1", "batch=6", "accumulate=5", "hidden=8", "embed=6"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    CU_ASSERT_EQUAL(t->begin(i->state, &w.env, NULL, &err), BK_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "accumulate"));
    CU_ASSERT_EQUAL(t->advance(i->state, 1, &p, &err), BK_ESTATE);
    w.env.block = 1;
    CU_ASSERT_EQUAL(t->begin(i->state, &w.env, NULL, &err), BK_ESTATE);
    CU_ASSERT_PTR_NULL(fixture_try(&w.f, BK_KIND_TRAINER, "ensemble_bootstrap", OPTIONS("views=own", "paths=9")));
    world_close(&w);
}

BK_SUITE({ "gradient of the first block", test_gradient_of_first_block },
         { "gradient behind a prefix", test_gradient_behind_a_prefix }, { "learning rates", test_learning_rates },
         { "target follows", test_target_follows }, { "prefix", test_prefix }, { "one path", test_one_path },
         { "one path of other spaces", test_one_path_elsewhere },
         { "resume gives the same bytes", test_resume }, { "no allocation", test_no_allocation },
         { "out of memory", test_memory }, { "dimensions", test_dimensions },
         { "refusals", test_refusals })

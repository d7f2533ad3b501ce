/*
 * The trainer "distill" against PyTorch: loss and all gradients of one iteration on given weights, images and paths
 * (fixtures/make_distill_step.py), through the trainer's own loader and optimiser. Adam's first moment after one step is
 * a tenth of the gradient. Teachers of the space and another network, maps of other sizes and widths, pooled features.
 */
#include "formula.h"
#include "method_data.h"
#include "trainers/step_fixture.h"

enum { N_IMAGES = 16, MAX_SIDE = 64 };

struct distill_case {
    const char *name, *space;
    const char *const *space_options;
    const char *options[6];
    int block, side;
    const char *faint;          /* ending of the names of parameters that are a sixteenth */
    struct bk_path path, prefix[2];
};

static struct bk_path the_path;

static int fixed_sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                        uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n,
                        struct bk_error *err)
{
    (void)state, (void)space, (void)block, (void)entry, (void)seed, (void)step, (void)err;
    CU_ASSERT_EQUAL(wanted, 1);
    out[0] = the_path;
    *n = 1;
    return BK_OK;
}

/* The formula's images as the training split of a cache of their own; normalised, not augmented. */
static struct bk_images *store_images(struct world *w, int side)
{
    static uint32_t index[N_IMAGES];
    static uint8_t rgb[MAX_SIDE * MAX_SIDE * 3];
    struct bk_error err = BK_ERROR_INIT;
    struct bk_images_writer *writer;
    struct bk_images *images;
    char path[4200];
    int pixels = side * side * 3;
    snprintf(path, sizeof path, "%s/step.images", w->cache);
    BK_ASSERT_OK(bk_images_create(path, &writer, &err));
    for (int i = 0; i < N_IMAGES; i++) {
        struct bk_image image = { rgb, side, side, 0 };
        index[i] = (uint32_t)i;
        for (int p = 0; p < pixels; p++)
            rgb[p] = (uint8_t)((formula_value("images", (uint64_t)(i * pixels + p)) + 1) * 128);
        BK_ASSERT_OK(bk_images_add(writer, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(writer, &err));
    BK_ASSERT_OK(bk_images_open(path, &images, &err));
    w->data.train = (struct bk_split){ .images = images, .index = index, .n = N_IMAGES };
    return images;
}

static void set_pipeline(struct world *w, int side)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_augment_named("none", side, &w->data.alone, &err));
    memcpy(w->data.alone.mean, step_mean[0], sizeof step_mean[0]);
    memcpy(w->data.alone.std, step_std[0], sizeof step_std[0]);
    w->data.plain = w->data.alone;
}

static uint32_t role_of(const char *name)
{
    const char *last = strrchr(name, '.') + 1;
    return !strcmp(last, "weight")        ? BK_ROLE_WEIGHT
           : !strcmp(last, "scale")       ? BK_ROLE_NORM_SCALE
           : !strcmp(last, "running_var") ? BK_ROLE_RUNNING_VAR
                                          : BK_ROLE_BIAS;
}

static int64_t count(const struct bk_bundle_entry *e)
{
    return (int64_t)(e->nbytes / bk_dtype_size(e->dtype));
}

static double value(const struct bk_bundle_entry *e, int64_t i)
{
    return e->dtype == BK_F64 ? ((const double *)e->data)[i] : (double)((const float *)e->data)[i];
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return m <= n && !strcmp(text + n - m, end);
}

/* "student.<slot>" of a bundle becomes the fixture's "<case>.w.<slot>", else the formula's "s.<slot>"; "teacher.<slot>" its "t.<slot>". */
static void put_weights(const struct distill_case *c, const struct bk_bundle *data, struct bk_bundle *b)
{
    struct bk_error err = BK_ERROR_INIT;
    for (size_t i = 0; i < bk_bundle_count(b); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(b, i);
        bool student = !strncmp(e->name, "student.", 8);
        char name[128];
        if (!student && strncmp(e->name, "teacher.", 8))
            continue;
        int64_t n = count(e);
        float *v = malloc((size_t)n * sizeof *v);
        double *wide = malloc((size_t)n * sizeof *wide);
        snprintf(name, sizeof name, "%s.%s", student ? "s" : "t", e->name + 8);
        formula_parameter(role_of(e->name), name, n / e->dim[0], n, v);
        if (c->faint && ends_with(name, c->faint))
            for (int64_t k = 0; k < n; k++)
                v[k] /= 16;
        snprintf(name, sizeof name, "%s.w.%s", c->name, e->name + 8);
        const struct bk_bundle_entry *moved = student ? bk_bundle_find(data, name) : NULL;
        for (int64_t k = 0; k < n; k++) {
            v[k] = moved ? ((const float *)moved->data)[k] : v[k];
            wide[k] = (double)v[k];
        }
        BK_ASSERT_OK(bk_bundle_put(b, e->name, e->dtype, e->rank, e->dim, e->dtype == BK_F64 ? (void *)wide : (void *)v, &err));
        free(wide);
        free(v);
    }
}

static double largest(const struct bk_bundle_entry *e)
{
    double m = 0;
    for (int64_t i = 0; i < count(e); i++)
        m = fmax(m, fabs(value(e, i)));
    return m;
}

/* Of large tensors the fixture has every 8th element. */
static int64_t stride_of(const struct bk_bundle_entry *some, const struct bk_bundle_entry *all)
{
    int64_t stride = count(all) > 2048 ? 8 : 1;
    CU_ASSERT_EQUAL_FATAL(count(all), count(some) * stride);
    return stride;
}

static int compare_gradients(const struct bk_bundle *data, const char *name, const struct bk_bundle *after)
{
    char prefix[64], moment[160];
    int n = 0;
    snprintf(prefix, sizeof prefix, "%s.g.", name);
    for (size_t i = 0; i < bk_bundle_count(data); i++) {
        const struct bk_bundle_entry *want = bk_bundle_at(data, i);
        if (strncmp(want->name, prefix, strlen(prefix)))
            continue;
        snprintf(moment, sizeof moment, "optim.%s.m", want->name + strlen(prefix));
        const struct bk_bundle_entry *got = bk_bundle_find(after, moment);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        double worst = 0, scale = fmax(largest(want), 1e-3);
        int64_t stride = stride_of(want, got);
        for (int64_t e = 0; e < count(want); e++)
            worst = fmax(worst, fabs(10 * value(got, e * stride) - value(want, e)));
        if (!(worst <= 1e-5 * scale))
            printf("\n    %s: gradient of %s differs by %g of %g", name, want->name + strlen(prefix), worst, scale);
        CU_ASSERT(worst <= 1e-5 * scale);
        n++;
    }
    return n;
}

/* No gradient that PyTorch does not have (but for rounding in biases in front of a norm). */
static void check_no_others(const struct bk_bundle *data, const char *name, const struct bk_bundle *after)
{
    for (size_t i = 0; i < bk_bundle_count(after); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(after, i);
        size_t length = strlen(e->name);
        char wanted[160];
        if (strncmp(e->name, "optim.", 6) || strcmp(e->name + length - 2, ".m"))
            continue;
        snprintf(wanted, sizeof wanted, "%s.g.%.*s", name, (int)(length - 8), e->name + 6);
        CU_ASSERT(bk_bundle_find(data, wanted) || largest(e) < 1e-6);
    }
}

/* The first update of Adam is lr g / (|g| + eps), whatever the size of g: lr 0.002 or 0.005, once times 0.9. */
static void check_update(const struct distill_case *c, const struct bk_bundle *data, const struct bk_bundle *before,
                         const struct bk_bundle *after)
{
    double lr = (c->block ? 0.005 : 0.002) * 0.9;
    char prefix[64], slot[160];
    snprintf(prefix, sizeof prefix, "%s.g.", c->name);
    for (size_t i = 0; i < bk_bundle_count(data); i++) {
        const struct bk_bundle_entry *g = bk_bundle_at(data, i);
        if (strncmp(g->name, prefix, strlen(prefix)))
            continue;
        snprintf(slot, sizeof slot, "student.%s", g->name + strlen(prefix));
        const struct bk_bundle_entry *old = bk_bundle_find(before, slot), *new = bk_bundle_find(after, slot);
        int64_t stride = stride_of(g, old);
        double worst = 0;
        for (int64_t e = 0; e < count(g); e++) {
            double v = value(g, e), step = value(old, e * stride) - value(new, e * stride);
            if (fabs(v) > 1e-4)
                worst = fmax(worst, fabs(step - lr * v / (fabs(v) + 1e-8)));
        }
        CU_ASSERT(worst < 2e-6);
    }
}

/* The artefact of the block before, of which only the teacher counts; its values are overwritten. */
static struct bk_bundle *previous_of(struct world *w, struct bk_instance *i)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_env env = w->env;
    struct bk_bundle *b;
    if (!w->env.block)
        return NULL;
    env.block = env.entry = 0;
    BK_ASSERT_OK(t->begin(i->state, &env, NULL, &err));
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(t->save(i->state, b, &err));
    t->end(i->state);
    return b;
}

/* Begin, overwrite the networks through a checkpoint, run one iteration of two. */
static void run_step(struct world *w, const struct distill_case *c, const struct bk_bundle *data)
{
    struct bk_error err = BK_ERROR_INIT;
    const char *options[16] = { "batch=16", "epochs=2", "weight_decay=0.0", "teacher_epochs=0" };
    for (int k = 0; k < 6; k++)
        options[4 + k] = c->options[k];
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "distill", options);
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_bundle *previous = previous_of(w, i), *before, *after;
    struct bk_progress p = { .struct_size = sizeof p };
    char name[64];
    BK_ASSERT_OK(t->begin(i->state, &w->env, previous, &err));
    BK_ASSERT_OK(bk_bundle_new(&before, &err));
    BK_ASSERT_OK(t->save(i->state, before, &err));
    put_weights(c, data, before);
    BK_ASSERT_OK(t->load(i->state, before, &err));
    BK_ASSERT_OK(t->advance(i->state, 0, &p, &err));
    CU_ASSERT_EQUAL(p.step, 1);
    CU_ASSERT_EQUAL(p.n_steps, 2);
    BK_ASSERT_OK(bk_bundle_new(&after, &err));
    BK_ASSERT_OK(t->save(i->state, after, &err));
    t->end(i->state);
    snprintf(name, sizeof name, "%s.loss", c->name);
    double loss = *(const double *)bk_bundle_find(data, name)->data;
    BK_ASSERT_CLOSE(p.loss, loss, 2e-6 * loss);
    CU_ASSERT(compare_gradients(data, c->name, after) > 15);
    check_no_others(data, c->name, after);
    check_update(c, data, before, after);
    bk_bundle_free(after);
    bk_bundle_free(before);
    bk_bundle_free(previous);
}

static void run(const struct distill_case *c)
{
    static const struct bk_sampler_iface fixed = { .struct_size = sizeof fixed, .sample = fixed_sample };
    struct bk_error err = BK_ERROR_INIT;
    struct world w;
    struct bk_bundle *data;
    char path[4096];
    bool done = false;
    snprintf(path, sizeof path, "%s/tests/fixtures/distill_step.safetensors", bk_test_env("BK_TEST_SOURCE"));
    BK_ASSERT_OK(bk_bundle_read(path, &data, &err));
    for (int backend = 0; backend < 2; backend++) {
        world_open(&w, BK_F32, 8, 8);
        const char *name = bk_test_backend(backend ? "cpu" : "ref");
        if (name && world_use_backend(&w, name)) {
            done = true;
            fixture_space(&w.f, c->space, c->space_options, &w.space);
            struct bk_images *images = store_images(&w, c->side);
            set_pipeline(&w, c->side);
            the_path = c->path;
            w.sampler = (struct bk_sampler){ &fixed, NULL, "fixed" };
            w.env.block = c->block;
            memcpy(w.env.prefix, c->prefix, sizeof c->prefix);
            w.env.entry = bk_space_entry(&w.space, c->block, w.env.prefix);
            run_step(&w, c, data);
            bk_images_close(images);
        }
        world_close(&w);
    }
    bk_bundle_free(data);
    if (!done)
        BK_SKIP("backend '%s' is not built or not available", bk_test_backend("cpu"));
}

static const char *const nats_options[] = { "widths=[4,8]", "pooled_width=20", NULL };

static const char *const hytra_options[] = { "width=16", NULL };

#define NATS .space = "nats_ss", .space_options = nats_options, .side = 12
#define MBCONV .space = "mbconv", .space_options = mbconv_step_options, .side = 20, .options = { "teacher_arch=\"13 01\"" }

#define HYTRA .faint = ".expand.norm.scale", .space = "hytra", .space_options = hytra_options, .side = 64, .options = { "teacher_arch=\"5433 3220 0000 0000\"" }

static void test_first_block(void)
{
    run(&(struct distill_case){ .name = "nats0", NATS, .options = { "teacher_arch=8:4:8:8:8" }, .path = { 2, { 0, 1 } } });
}

static void test_adapters(void)
{
    run(&(struct distill_case){ .name = "nats1", NATS, .options = { "teacher_arch=8:4:8:8:8" }, .block = 1,
                             .path = { 2, { 1, 0 } }, .prefix = { { 2, { 0, 1 } } } });
}

static void test_other_maps(void)
{
    run(&(struct distill_case){ .name = "maps", NATS, .options = { "teacher_arch=resnet20", "teacher_taps=[3,6,9]" },
                             .block = 1, .path = { 2, { 0, 1 } }, .prefix = { { 2, { 0, 1 } } } });
}

static void test_pooled(void)
{
    run(&(struct distill_case){ .name = "pooled", NATS, .block = 1, .path = { 2, { 0, 1 } }, .prefix = { { 2, { 0, 1 } } },
                             .options = { "teacher_arch=resnet20", "teacher_taps=[3,6,9]", "compare=pooled" } });
}

static void test_mbconv(void)
{
    run(&(struct distill_case){ .name = "mbconv0", MBCONV, .path = { 2, { 0, 2 } } });
    run(&(struct distill_case){ .name = "mbconv1", MBCONV, .block = 1, .path = { 2, { 2, 0 } }, .prefix = { { 2, { 0, 1 } } } });
}

static void test_hytra(void)
{
    run(&(struct distill_case){ .name = "hytra0", HYTRA, .path = { 4, { 5, 4, 3, 1 } } });
    run(&(struct distill_case){ .name = "hytra1", HYTRA, .block = 1, .path = { 4, { 4, 3, 3, 3 } },
                                .prefix = { { 4, { 5, 5, 4, 4 } } } });
}

BK_SUITE({ "first block", test_first_block }, { "adapters", test_adapters }, { "other maps", test_other_maps },
         { "pooled", test_pooled }, { "mbconv", test_mbconv }, { "hytra", test_hytra })

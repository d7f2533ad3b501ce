/*
 * The trainer "ensemble_bootstrap" against PyTorch: one iteration with its update on given weights, images and paths
 * (tests/fixtures/step_common.py), through the trainer's own loader, optimiser and moving average: NATS-SS with views that
 * all paths share, MBConv with views of each path's own.
 */
#include "method_data.h"
#include "step_fixture.h"

enum { MAX_IMAGES = 32 };

static struct bk_path fixed_path[BK_MAX_SAMPLED];
static int32_t n_fixed;

static int fixed_sample(void *state, const struct bk_space *space, int32_t block, int32_t entry, uint64_t seed,
                        uint64_t step, int32_t wanted, struct bk_path out[BK_MAX_SAMPLED], int32_t *n,
                        struct bk_error *err)
{
    (void)state, (void)space, (void)block, (void)entry, (void)seed, (void)step, (void)wanted, (void)err;
    memcpy(out, fixed_path, sizeof fixed_path);
    *n = n_fixed;
    return BK_OK;
}

/* The fixture's images as the training split of a cache of their own. */
static struct bk_images *store_images(struct world *w, const struct bk_bundle *data)
{
    static uint32_t index[MAX_IMAGES];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_bundle_entry *e = step_images(data);
    int32_t n = (int32_t)e->dim[0], side = (int32_t)e->dim[1];
    struct bk_images_writer *writer;
    struct bk_images *images;
    char path[4200];
    CU_ASSERT_FATAL(n <= MAX_IMAGES);
    snprintf(path, sizeof path, "%s/step.images", w->cache);
    BK_ASSERT_OK(bk_images_create(path, &writer, &err));
    for (int32_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
        struct bk_image image = { (const uint8_t *)e->data + i * side * side * 3, side, side, 0 };
        BK_ASSERT_OK(bk_images_add(writer, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(writer, &err));
    BK_ASSERT_OK(bk_images_open(path, &images, &err));
    w->data.train = (struct bk_split){ .images = images, .index = index, .n = (uint32_t)n };
    return images;
}

/* Replace the networks in a checkpoint by the fixture's "w.<slot>" and "t.<slot>". */
static void put_weights(struct bk_bundle *checkpoint, const struct bk_bundle *data)
{
    struct bk_error err = BK_ERROR_INIT;
    for (size_t i = 0; i < bk_bundle_count(data); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(data, i);
        char name[128];
        if (strncmp(e->name, "w.", 2) && strncmp(e->name, "t.", 2))
            continue;
        snprintf(name, sizeof name, "%s.%s", e->name[0] == 'w' ? "online" : "target", e->name + 2);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bk_bundle_find(checkpoint, name));
        BK_ASSERT_OK(bk_bundle_put(checkpoint, name, e->dtype, e->rank, e->dim, e->data, &err));
    }
}

/* Every "<prefix><slot>" of the fixture against "<network>.<slot>" of the result; returns how many. */
static int compare(const struct bk_bundle *data, const char *prefix, const struct bk_bundle *result, const char *network)
{
    int n = 0;
    for (size_t i = 0; i < bk_bundle_count(data); i++) {
        const struct bk_bundle_entry *want = bk_bundle_at(data, i);
        char name[128];
        if (strncmp(want->name, prefix, strlen(prefix)))
            continue;
        snprintf(name, sizeof name, "%s.%s", network, want->name + strlen(prefix));
        const struct bk_bundle_entry *got = bk_bundle_find(result, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        CU_ASSERT_EQUAL_FATAL(got->nbytes, want->nbytes);
        double worst = 0, scale = 1e-3;
        for (size_t e = 0; e < want->nbytes / sizeof(float); e++) {
            worst = fmax(worst, fabs((double)((const float *)got->data)[e] - ((const float *)want->data)[e]));
            scale = fmax(scale, fabs(((const float *)want->data)[e]));
        }
        if (!(worst <= 1e-5 * scale))
            printf("\n    %s differs by %g of %g\n", name, worst, scale);
        CU_ASSERT(worst <= 1e-5 * scale);
        n++;
    }
    return n;
}

/* Begin, overwrite the networks through a checkpoint, run the one iteration. */
static struct bk_bundle *train_fixture(struct world *w, const struct step_case *c, const struct bk_bundle *data, double *loss)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "ensemble_bootstrap",
                                        OPTIONS("epochs=1", "batch=16", "accumulate=1", "lr=0.3", "lr_step=epoch",
                                                "warmup_epochs=0.0", "hidden=24", "embed=12",
                                                c->own ? "views=own" : "views=shared"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *checkpoint, *result, *previous;
    struct bk_siamese before;
    BK_ASSERT_OK(bk_siamese_init(&before, w->device, BK_F32, &w->space, 0, STEP_HIDDEN, STEP_OUT, 1, &err));
    BK_ASSERT_OK(bk_bundle_new(&previous, &err));
    BK_ASSERT_OK(bk_siamese_save(&before, previous, &err));
    BK_ASSERT_OK(t->begin(i->state, &w->env, w->env.block ? previous : NULL, &err));
    BK_ASSERT_OK(bk_bundle_new(&checkpoint, &err));
    BK_ASSERT_OK(t->save(i->state, checkpoint, &err));
    put_weights(checkpoint, data);
    BK_ASSERT_OK(t->load(i->state, checkpoint, &err));
    BK_ASSERT_OK(t->advance(i->state, 1e9, &p, &err));
    CU_ASSERT_EQUAL(p.step, 1);
    CU_ASSERT_EQUAL(p.done, 1);
    *loss = p.loss;
    BK_ASSERT_OK(bk_bundle_new(&result, &err));
    BK_ASSERT_OK(t->result(i->state, result, &err));
    t->end(i->state);
    bk_bundle_free(checkpoint);
    bk_bundle_free(previous);
    bk_siamese_release(&before);
    return result;
}

static void run(const struct step_case *c)
{
    static const struct bk_sampler_iface fixed = { .struct_size = sizeof fixed, .sample = fixed_sample };
    struct world w;
    double loss, wanted = 0;
    struct bk_bundle *data = step_read(c);
    world_open(&w, BK_F32, 8, 8);
    CU_ASSERT_EQUAL(w.env.seed, STEP_SEED);
    fixture_space(&w.f, c->space, c->options, &w.space);
    struct bk_images *images = store_images(&w, data);
    w.data.view1 = step_view(c, data, 0);
    w.data.view2 = step_view(c, data, 1);
    n_fixed = step_paths(data, "paths", fixed_path);
    w.sampler = (struct bk_sampler){ &fixed, NULL, "fixed" };
    w.env.block = c->block;
    CU_ASSERT_EQUAL(step_paths(data, "prefix", w.env.prefix), c->block);
    w.env.entry = bk_space_entry(&w.space, c->block, w.env.prefix);

    struct bk_bundle *result = train_fixture(&w, c, data, &loss);
    const double *losses = bk_bundle_find(data, "loss")->data;
    for (int32_t p = 0; p < n_fixed; p++)
        wanted += losses[p] / n_fixed;
    BK_ASSERT_CLOSE(loss, wanted, 1e-6);
    CU_ASSERT(compare(data, "new.", result, "online") > 40);
    CU_ASSERT(compare(data, "ema.", result, "target") > 40);
    bk_bundle_free(result);
    bk_bundle_free(data);
    bk_images_close(images);
    world_close(&w);
}

static void test_first_block(void)
{
    run(&nats_step[0]);
}

static void test_block_behind_a_prefix(void)
{
    run(&nats_step[1]);
}

static void test_own_views(void)
{
    run(&mbconv_step[0]);
}

static void test_own_views_behind_a_prefix(void)
{
    run(&mbconv_step[1]);
}

BK_SUITE({ "first block", test_first_block }, { "block behind a prefix", test_block_behind_a_prefix },
         { "own views", test_own_views }, { "own views behind a prefix", test_own_views_behind_a_prefix })

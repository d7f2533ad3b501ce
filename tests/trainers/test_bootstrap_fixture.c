/*
 * The trainer "ensemble_bootstrap" against PyTorch: one iteration with its update on given weights, images and paths
 * (tests/fixtures/make_nats_step.py), through the trainer's own loader, optimiser and moving average.
 */
#include "method_data.h"

enum { N_IMAGES = 16, SIDE = 12 };

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

/* The strings of a list such as ["10", "01"]. */
static int32_t read_paths(const struct bk_bundle *b, const char *key, struct bk_path *out)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t n = 0;
    for (const char *p = bk_bundle_text(b, key); p && (p = strchr(p, '"')); n++) {
        char digits[8] = "";
        const char *end = strchr(p + 1, '"');
        memcpy(digits, p + 1, (size_t)(end - p - 1));
        BK_ASSERT_OK(bk_path_parse(digits, &out[n], &err));
        p = end + 1;
    }
    return n;
}

/* The fixture's images as the training split of a cache of their own. */
static struct bk_images *store_images(struct world *w, const struct bk_bundle *data)
{
    static uint32_t index[N_IMAGES];
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_bundle_entry *e = bk_bundle_find(data, "images");
    struct bk_images_writer *writer;
    struct bk_images *images;
    char path[4200];
    CU_ASSERT_EQUAL_FATAL(e->nbytes, N_IMAGES * SIDE * SIDE * 3);
    snprintf(path, sizeof path, "%s/step.images", w->cache);
    BK_ASSERT_OK(bk_images_create(path, &writer, &err));
    for (int i = 0; i < N_IMAGES; i++) {
        index[i] = (uint32_t)i;
        struct bk_image image = { (const uint8_t *)e->data + i * SIDE * SIDE * 3, SIDE, SIDE, 0 };
        BK_ASSERT_OK(bk_images_add(writer, &image, &err));
    }
    BK_ASSERT_OK(bk_images_finish(writer, &err));
    BK_ASSERT_OK(bk_images_open(path, &images, &err));
    w->data.train = (struct bk_split){ .images = images, .index = index, .n = N_IMAGES };
    return images;
}

static void set_views(struct world *w)
{
    static const double mean[2][3] = { { 0.4914, 0.4822, 0.4465 }, { 0.3, 0.6, 0.45 } };
    static const double std[2][3] = { { 0.2023, 0.1994, 0.2010 }, { 0.3, 0.15, 0.25 } };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_augment *view[2] = { &w->data.view1, &w->data.view2 };
    for (int v = 0; v < 2; v++) {
        BK_ASSERT_OK(bk_augment_named("none", SIDE, view[v], &err));
        memcpy(view[v]->mean, mean[v], sizeof mean[v]);
        memcpy(view[v]->std, std[v], sizeof std[v]);
    }
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

static struct bk_bundle *read_fixture(int block)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *data;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/nats_step_block%d.safetensors", bk_test_env("BK_TEST_SOURCE"), block);
    BK_ASSERT_OK(bk_bundle_read(path, &data, &err));
    return data;
}

/* Begin, overwrite the networks through a checkpoint, run the one iteration. */
static struct bk_bundle *train_fixture(struct world *w, const struct bk_bundle *data, double *loss)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_TRAINER, "ensemble_bootstrap",
                                        OPTIONS("epochs=1", "batch=16", "accumulate=1", "lr=0.3", "lr_step=epoch",
                                                "warmup_epochs=0.0", "hidden=24", "embed=12"));
    const struct bk_trainer_iface *t = bk_instance_iface(i);
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *checkpoint, *result, *previous;
    struct bk_siamese before;
    BK_ASSERT_OK(bk_siamese_init(&before, w->device, BK_F32, &w->space, 0, 24, 12, 1, &err));
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

static void run(int block)
{
    static const struct bk_sampler_iface fixed = { .struct_size = sizeof fixed, .sample = fixed_sample };
    struct world w;
    double loss, wanted = 0;
    struct bk_bundle *data = read_fixture(block);
    world_open(&w, BK_F32, 8, 8);
    fixture_space(&w.f, "nats_ss", OPTIONS("widths=[8,16]", "pooled_width=20"), &w.space);
    struct bk_images *images = store_images(&w, data);
    set_views(&w);
    n_fixed = read_paths(data, "paths", fixed_path);
    w.sampler = (struct bk_sampler){ &fixed, NULL, "fixed" };
    w.env.block = block;
    CU_ASSERT_EQUAL(read_paths(data, "prefix", w.env.prefix), block);
    w.env.entry = bk_space_entry(&w.space, block, w.env.prefix);

    struct bk_bundle *result = train_fixture(&w, data, &loss);
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
    run(0);
}

static void test_block_behind_a_prefix(void)
{
    run(1);
}

BK_SUITE({ "first block", test_first_block }, { "block behind a prefix", test_block_behind_a_prefix })

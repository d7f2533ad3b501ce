/*
 * HyTra networks at work: stand-alone networks against PyTorch in double precision (fixtures/make_hytra_alone.py), what LARS
 * does to the zero norms of attention, images of any size, and a rating. The supernet's numbers are checked on a whole training step,
 * in tests/trainers.
 */
#include "formula.h"
#include "method_data.h"
#include <bosskit/optim.h>
#include <bosskit/siamese.h>

/* ---- stand-alone networks ------------------------------------------------------------------------------ */

enum { N = 8, CLASSES = 10 };

struct network {
    struct fixture f;
    struct bk_space space;
    struct bk_device *device;
    struct bk_arch arch;
    struct bk_net net;
    struct bk_weights *weights;
    struct bk_tape *tape;
};

static void fill(struct network *n)
{
    struct bk_error err = BK_ERROR_INIT;
    for (int32_t i = 0; i < n->net.n; i++) {
        const struct bk_slot *slot = &n->net.slot[i];
        struct bk_tensor *t = bk_weights_get(n->weights, i);
        int64_t numel = bk_tensor_numel(t);
        float *v = malloc((size_t)numel * sizeof *v);
        formula_parameter(slot->role, slot->name, numel / slot->dim[0], numel, v);
        BK_ASSERT_OK(bk_tensor_write_f32(t, v, &err));
        free(v);
    }
    bk_weights_changed(n->weights);
}

static void open_network(struct network *n, const char *backend, uint32_t dtype, const char *arch, const char *const *options)
{
    struct bk_error err = BK_ERROR_INIT;
    memset(n, 0, sizeof *n);
    fixture_open(&n->f);
    struct bk_instance *i = fixture_get(&n->f, BK_KIND_BACKEND, backend, NULL);
    BK_ASSERT_OK(bk_device_open(bk_instance_iface(i), i->state, 0, BK_REPEATABLE, 1, &n->device, &err));
    fixture_space(&n->f, "hytra", options, &n->space);
    BK_ASSERT_OK(bk_space_parse(&n->space, arch, &n->arch, &err));
    BK_ASSERT_OK(n->space.iface->alone(n->space.state, &n->arch, CLASSES, &n->net, &err));
    BK_ASSERT_OK(bk_weights_new(n->device, &n->net, dtype, &n->weights, &err));
    BK_ASSERT_OK(bk_tape_new(n->device, &n->tape, &err));
    bk_tape_set_recording(n->tape, false);
    fill(n);
}

static void close_network(struct network *n)
{
    bk_tape_free(n->tape);
    bk_weights_free(n->weights);
    bk_net_release(&n->net);
    bk_device_close(n->device);
    fixture_close(&n->f);
}

static void run_network(struct network *n, struct bk_forward *f, int64_t side, double logits[N * CLASSES])
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t dim[4] = { N, side, side, 3 };
    size_t numel = (size_t)(N * side * side * 3);
    double *v = malloc(numel * sizeof *v);
    struct bk_tensor *x, *y;
    for (size_t i = 0; i < numel; i++)
        v[i] = formula_value("images", i);
    f->tape = n->tape;
    f->weights = n->weights;
    f->norm_eps = 1e-5;
    bk_tape_reset(n->tape);
    BK_ASSERT_OK(bk_tape_tensor(n->tape, f->dtype, 4, dim, &x, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(x, v, &err));
    BK_ASSERT_OK(n->space.iface->alone_run(n->space.state, f, &n->arch, CLASSES, x, &y, &err));
    CU_ASSERT_EQUAL_FATAL(bk_tensor_numel(y), N * CLASSES);
    BK_ASSERT_OK(bk_tensor_read_f64(y, logits, &err));
    free(v);
}

static void check_alone(const char *backend, uint32_t dtype, double tolerance)
{
    static const struct {
        const char *name, *arch;
        int side;
        const char *options[6];
    } cases[] = { { "bossnet", "BossNet-T0", 64, { "width=16" } },
                  { "unnas", "UnNAS-T", 64, { "width=16", "se=false", "activation=relu", "avg_down=false", "last_stride=1" } },
                  { "dna", "DNA-T", 72, { "width=16" } },
                  { "vit", "ViT-T/16", 72, { "width=16" } } };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *data;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/fixtures/hytra_alone.safetensors", bk_test_env("BK_TEST_SOURCE"));
    BK_ASSERT_OK(bk_bundle_read(path, &data, &err));
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        struct network n;
        open_network(&n, backend, dtype, cases[i].arch, cases[i].options);
        for (int running = 0; running < 2; running++) {
            struct bk_forward f = { .dtype = dtype, .norm_mode = running ? BK_NORM_RUNNING : BK_NORM_BATCH };
            double got[N * CLASSES], worst = 0, scale = 0;
            char key[64];
            run_network(&n, &f, cases[i].side, got);
            snprintf(key, sizeof key, "%s.%s", cases[i].name, running ? "running" : "batch");
            const struct bk_bundle_entry *e = bk_bundle_find(data, key);
            CU_ASSERT_PTR_NOT_NULL_FATAL(e);
            for (int j = 0; j < N * CLASSES; j++) {
                worst = fmax(worst, fabs(got[j] - ((const double *)e->data)[j]));
                scale = fmax(scale, fabs(((const double *)e->data)[j]));
            }
            if (!(worst <= tolerance * scale))
                printf("\n    %s differs by %g of %g\n", key, worst, scale);
            CU_ASSERT(worst <= tolerance * scale);
        }
        close_network(&n);
    }
    bk_bundle_free(data);
}

static void test_alone_in_double(void)
{
    check_alone("ref", BK_F64, 1e-11);
}

static bool is_built(const char *backend)
{
    struct fixture f;
    fixture_open(&f);
    bool found = fixture_try(&f, BK_KIND_BACKEND, backend, NULL) != NULL;
    fixture_close(&f);
    return found;
}

static void test_alone_on_cpu(void)
{
    if (!is_built("cpu"))
        BK_SKIP("backend 'cpu' is not built");
    check_alone("cpu", BK_F32, 2e-4);
}

/* Stochastic depth: only in training, only in convolutional operations, none with rate 0. */
static void test_drop_path(void)
{
    static const struct {
        const char *arch, *rate;
        bool moves;
    } cases[] = { { "BossNet-T0", "drop_path=0.9", true }, { "BossNet-T0", "drop_path=0.0", false }, { "ViT-T/32", "drop_path=0.9", false } };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        struct network n;
        struct bk_forward f = { .dtype = BK_F64, .norm_mode = BK_NORM_RUNNING, .seed = 5 };
        double still[N * CLASSES], again[N * CLASSES], moved[N * CLASSES];
        open_network(&n, "ref", BK_F64, cases[i].arch, OPTIONS("width=16", cases[i].rate));
        run_network(&n, &f, 32, still);
        f.training = true;
        run_network(&n, &f, 32, moved);
        run_network(&n, &f, 32, again);
        CU_ASSERT_EQUAL(memcmp(again, moved, sizeof moved), 0);
        CU_ASSERT_EQUAL(memcmp(still, moved, sizeof moved) != 0, cases[i].moves);
        close_network(&n);
    }
}

/* ---- attention under LARS -------------------------------------------------------------------------------- */

static double *read_slot(struct bk_weights *w, const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t id = bk_net_find(bk_weights_net(w), name);
    CU_ASSERT_FATAL(id >= 0);
    struct bk_tensor *t = bk_weights_get(w, id);
    double *v = malloc((size_t)bk_tensor_numel(t) * sizeof *v);
    BK_ASSERT_OK(bk_tensor_read_f64(t, v, &err));
    return v;
}

/* Does the slot change over three updates, starting from the supernet's initial values? */
struct lars_run {
    bool attention_scale, attention, convolution;
};

static void one_update(struct world *w, struct bk_weights *weights, struct bk_optim *optim, struct bk_tape *tape, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_forward f = { .tape = tape, .weights = weights, .dtype = BK_F64, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
    int64_t input[4] = { 3, 2, 2, 128 }, goal[2] = { 3, 128 };
    double v[3 * 2 * 2 * 128];
    struct bk_tensor *x, *t, *y, *loss;
    struct bk_path path;
    for (size_t i = 0; i < BK_ARRAY_LEN(v); i++)
        v[i] = formula_value("input", i);
    bk_tape_reset(tape);
    BK_ASSERT_OK(bk_path_parse(text, &path, &err));
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F64, 4, input, &x, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(x, v, &err));
    BK_ASSERT_OK(bk_tape_tensor(tape, BK_F64, 2, goal, &t, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(t, v, &err));
    BK_ASSERT_OK(bk_space_run_block(&w->space, &f, 3, 1, &path, x, &y, &err));
    BK_ASSERT_OK(w->space.iface->pool(w->space.state, &f, 3, &path, y, &y, &err));
    BK_ASSERT_OK(bk_weights_zero_grad(weights, &err));
    BK_ASSERT_OK(bk_cosine_loss(tape, y, t, &loss, &err));
    BK_ASSERT_OK(bk_tape_backward(tape, loss, 1, &err));
    BK_ASSERT_OK(bk_optim_step(optim, 0.5, &err));
}

static bool moves(const double *before, struct bk_weights *w, const char *name)
{
    double *after = read_slot(w, name);
    int64_t n = bk_tensor_numel(bk_weights_get(w, bk_net_find(bk_weights_net(w), name)));
    bool same = !memcmp(before, after, (size_t)n * sizeof *after);
    free(after);
    return !same;
}

static struct lars_run train_with(uint32_t exclude, bool guard)
{
    static const char *const slot[3] = { "block3.layer1.op0.expand.norm.scale", "block3.layer1.op0.qkv.weight",
                                         "block3.layer2.op1.spatial.weight" };
    const struct bk_optim_config config = { .kind = BK_LARS, .exclude = exclude, .momentum = 0.9, .weight_decay = 1e-6,
                                            .trust = 1e-3, .zero_guard = guard };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *weights;
    struct bk_optim *optim;
    struct bk_tape *tape;
    struct world w;
    double *before[3];
    bool moved[3];
    world_open(&w, BK_F64, 8, 8);
    fixture_space(&w.f, "hytra", OPTIONS("width=16"), &w.space);
    BK_ASSERT_OK(w.space.iface->supernet(w.space.state, &net, &err));
    BK_ASSERT_OK(bk_weights_new(w.device, &net, BK_F64, &weights, &err));
    BK_ASSERT_OK(bk_weights_init(weights, 4, &err));
    for (int32_t i = 0; i < net.n; i++)
        if (net.slot[i].role < BK_ROLE_RUNNING_MEAN && net.slot[i].block == 3)
            BK_ASSERT_OK(bk_weights_train(weights, i, true, &err));
    BK_ASSERT_OK(bk_optim_new(weights, &config, &optim, &err));
    BK_ASSERT_OK(bk_tape_new(w.device, &tape, &err));
    for (int i = 0; i < 3; i++)
        before[i] = read_slot(weights, slot[i]);
    for (int i = 0; i < 3; i++)
        one_update(&w, weights, optim, tape, "0010");
    for (int i = 0; i < 3; i++) {
        moved[i] = moves(before[i], weights, slot[i]);
        free(before[i]);
    }
    bk_tape_free(tape);
    bk_optim_free(optim);
    bk_weights_free(weights);
    bk_net_release(&net);
    world_close(&w);
    return (struct lars_run){ moved[0], moved[1], moved[2] };
}

/* In the release ResAtt never trains: LARS takes its last norm's zero scale as having no length. */
static void test_zero_norms_under_lars(void)
{
    struct lars_run by_type = train_with(BK_EXCLUDE_BY_TYPE, true), by_name = train_with(BK_EXCLUDE_BY_NAME, false);
    struct lars_run guarded = train_with(BK_EXCLUDE_BY_NAME, true);
    CU_ASSERT(by_type.attention_scale && by_type.attention && by_type.convolution);
    CU_ASSERT(!by_name.attention_scale && !by_name.attention && by_name.convolution);
    CU_ASSERT(guarded.attention_scale && guarded.attention && guarded.convolution);
}

/* ---- training and rating on images of 32 pixels ---------------------------------------------------------- */

static void open_images(struct world *w)
{
    struct bk_error err = BK_ERROR_INIT;
    world_open(w, BK_F32, 8, 8);
    fixture_space(&w->f, "hytra", OPTIONS("width=16"), &w->space);
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_SAMPLER, "uniform", NULL);
    w->sampler = (struct bk_sampler){ bk_instance_iface(i), i->state, "uniform" };
    i = fixture_get(&w->f, BK_KIND_DATASET, "synthetic", OPTIONS("size=32", "n_test=1", "n_train=16", "n_val=8"));
    const struct bk_dataset_iface *d = bk_instance_iface(i);
    BK_ASSERT_OK(d->open(i->state, w->cache, &err));
    BK_ASSERT_OK(d->split(i->state, "train", &w->data.train, &err));
    BK_ASSERT_OK(d->split(i->state, "val", &w->data.val, &err));
    BK_ASSERT_OK(bk_augment_named("cifar", 32, &w->data.view1, &err));
    w->data.view2 = w->data.view1;
}

static struct bk_block_table rate(struct world *w, const struct bk_bundle *trained)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table t;
    struct bk_instance *i = fixture_get(&w->f, BK_KIND_RATER, "population_center", OPTIONS("calib_images=8", "batch=8"));
    const struct bk_rater_iface *r = bk_instance_iface(i);
    BK_ASSERT_OK(r->rate_block(i->state, &w->env, trained, &t, &err));
    bk_instance_close(w->f.instance[--w->f.n]);
    return t;
}

/* Give the branches whose last norm begins at zero a part in what is rated. */
static void wake_branches(struct bk_bundle *trained)
{
    struct bk_error err = BK_ERROR_INIT;
    for (size_t i = 0; i < bk_bundle_count(trained); i++) {
        const struct bk_bundle_entry *e = bk_bundle_at(trained, i);
        char name[128];
        float scale[128];
        if (!strstr(e->name, ".expand.norm.scale"))
            continue;
        CU_ASSERT_FATAL(e->dim[0] <= 128 && strlen(e->name) < sizeof name);
        strcpy(name, e->name);
        formula_parameter(BK_ROLE_NORM_SCALE, strchr(name, '.') + 1, 1, e->dim[0], scale);
        BK_ASSERT_OK(bk_bundle_put(trained, name, BK_F32, 1, e->dim, scale, &err));
    }
}

static void compare_ratings(struct bk_block_table *cpu, struct bk_block_table *ref)
{
    double worst = 0, low = 4, high = -4;
    CU_ASSERT_EQUAL_FATAL(cpu->n, ref->n);
    for (size_t i = 0; i < cpu->n; i++) {
        CU_ASSERT(bk_path_equal(&cpu->path[i], &ref->path[i]));
        worst = fmax(worst, fabs(cpu->score[i] - ref->score[i]));
        low = fmin(low, cpu->score[i]);
        high = fmax(high, cpu->score[i]);
    }
    if (!(worst < 1e-3 * (high - low)))
        printf("\n    ratings of block %d differ by %g in %g .. %g\n", (int)cpu->block, worst, low, high);
    CU_ASSERT(worst < 1e-3 * (high - low));
    CU_ASSERT(low >= -4 && high <= 4);
}

/* Block 0, then block 1 entered at 1/16: trained on cpu, rated on cpu and on ref. */
static void test_ratings(void)
{
    static const char *const training[] = { "epochs=1", "batch=8", "accumulate=1", "hidden=8", "embed=6", "lr=0.1", "views=own", NULL };
    static const size_t n_paths[2] = { 50, 80 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_bundle *previous = NULL;
    struct bk_device *cpu, *ref;
    struct world w;
    if (!is_built("cpu"))
        BK_SKIP("backend 'cpu' is not built");
    open_images(&w);
    ref = w.device;
    struct bk_instance *i = fixture_get(&w.f, BK_KIND_BACKEND, "cpu", NULL);
    BK_ASSERT_OK(bk_device_open(bk_instance_iface(i), i->state, 0, BK_REPEATABLE, 1, &cpu, &err));
    for (int k = 0; k < 2; k++) {
        w.env.device = cpu;
        struct bk_bundle *trained = world_train(&w, "ensemble_bootstrap", training, previous, NULL);
        wake_branches(trained);
        struct bk_block_table a = rate(&w, trained);
        w.env.device = ref;
        struct bk_block_table b = rate(&w, trained);
        CU_ASSERT_EQUAL(a.n, n_paths[k]);
        CU_ASSERT_EQUAL(a.entry, k ? 2 : 0);
        compare_ratings(&a, &b);
        bk_block_table_release(&a);
        bk_block_table_release(&b);
        bk_bundle_free(previous);
        previous = trained;
        BK_ASSERT_OK(bk_path_parse("5433", &w.env.prefix[0], &err));
        w.env.block = 1;
        w.env.entry = bk_space_entry(&w.space, 1, w.env.prefix);
    }
    bk_bundle_free(previous);
    bk_device_close(cpu);
    world_close(&w);
}

/* ---- sizes of images ---------------------------------------------------------------------------------------- */

static void test_image_sizes(void)
{
    static const struct {
        int64_t h, w;
        int rc;
    } sizes[] = { { 32, 32, BK_OK }, { 96, 64, BK_OK }, { 224, 224, BK_OK }, { 48, 32, BK_ESHAPE } };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *weights;
    struct bk_tape *tape;
    struct world w;
    world_open(&w, BK_F32, 8, 8);
    fixture_space(&w.f, "hytra", OPTIONS("width=16"), &w.space);
    BK_ASSERT_OK(w.space.iface->supernet(w.space.state, &net, &err));
    BK_ASSERT_OK(bk_weights_new(w.device, &net, BK_F32, &weights, &err));
    BK_ASSERT_OK(bk_weights_init(weights, 4, &err));
    BK_ASSERT_OK(bk_tape_new(w.device, &tape, &err));
    bk_tape_set_recording(tape, false);
    for (size_t i = 0; i < BK_ARRAY_LEN(sizes); i++) {
        static const char *const blocks[4] = { "5433", "3230", "0010", "0001" };
        struct bk_forward f = { .tape = tape, .weights = weights, .dtype = BK_F32, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
        int64_t dim[4] = { 1, sizes[i].h, sizes[i].w, 3 };
        struct bk_tensor *x, *pooled;
        struct bk_path path;
        int rc = BK_OK;
        bk_tape_reset(tape);
        BK_ASSERT_OK(bk_tape_tensor(tape, BK_F32, 4, dim, &x, &err));
        BK_ASSERT_OK(bk_tensor_zero(x, &err));
        for (int k = 0, entry = 0; k < 4 && !rc; k++) {
            BK_ASSERT_OK(bk_path_parse(blocks[k], &path, &err));
            rc = bk_space_run_block(&w.space, &f, k, entry, &path, x, &x, &err);
            if (rc)
                break;
            entry = w.space.iface->exit(w.space.state, k, entry, &path);
            BK_ASSERT_OK(w.space.iface->pool(w.space.state, &f, k, &path, x, &pooled, &err));
            CU_ASSERT(pooled->rank == 2 && pooled->dim[1] == 128);
        }
        CU_ASSERT_EQUAL(rc, sizes[i].rc);
        CU_ASSERT(rc || (x->dim[1] == sizes[i].h / 32 && x->dim[2] == sizes[i].w / 32 && x->dim[3] == 128));
    }
    bk_tape_free(tape);
    bk_weights_free(weights);
    bk_net_release(&net);
    world_close(&w);
}

/* ---- the fault of the search code ------------------------------------------------------------------------------- */

/* Mean of the output of block 0 of the supernet with all norms at work. */
static double mean_output(const char *attention, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    struct network n = { 0 };
    int64_t dim[4] = { 2, 32, 32, 3 };
    double v[2 * 32 * 32 * 3], sum = 0;
    struct bk_tensor *x;
    struct bk_path path;
    fixture_open(&n.f);
    fixture_space(&n.f, "hytra", OPTIONS("width=16", attention), &n.space);
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &n.device, &err));
    BK_ASSERT_OK(n.space.iface->supernet(n.space.state, &n.net, &err));
    BK_ASSERT_OK(bk_weights_new(n.device, &n.net, BK_F64, &n.weights, &err));
    fill(&n);
    BK_ASSERT_OK(bk_tape_new(n.device, &n.tape, &err));
    bk_tape_set_recording(n.tape, false);
    struct bk_forward f = { .tape = n.tape, .weights = n.weights, .dtype = BK_F64, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
    for (size_t i = 0; i < BK_ARRAY_LEN(v); i++)
        v[i] = formula_value("images", i);
    BK_ASSERT_OK(bk_tape_tensor(n.tape, BK_F64, 4, dim, &x, &err));
    BK_ASSERT_OK(bk_tensor_write_f64(x, v, &err));
    BK_ASSERT_OK(bk_path_parse(text, &path, &err));
    BK_ASSERT_OK(bk_space_run_block(&n.space, &f, 0, 0, &path, x, &x, &err));
    int64_t count = bk_tensor_numel(x);
    double *y = malloc((size_t)count * sizeof *y);
    BK_ASSERT_OK(bk_tensor_read_f64(x, y, &err));
    for (int64_t i = 0; i < count; i++)
        sum += y[i] * cos((double)i) / (double)count;
    free(y);
    close_network(&n);
    return sum;
}

static void test_untransposed_attention(void)
{
    struct fixture f;
    CU_ASSERT_EQUAL(mean_output("attention=correct", "5433"), mean_output("attention=untransposed", "5433"));
    double right = mean_output("attention=correct", "4322"), wrong = mean_output("attention=untransposed", "4322");
    CU_ASSERT(fabs(right - wrong) > 1e-6 * fabs(right));
    fixture_open(&f);
    CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SPACE, "hytra", OPTIONS("attention=reversed")));
    fixture_close(&f);
}

BK_SUITE({ "stand-alone networks in double", test_alone_in_double }, { "stand-alone networks on cpu", test_alone_on_cpu },
         { "stochastic depth", test_drop_path }, { "zero norms under LARS", test_zero_norms_under_lars },
         { "image sizes", test_image_sizes }, { "ratings", test_ratings }, { "untransposed attention", test_untransposed_attention })

/*
 * A complete ensemble-bootstrapping step on a small NATS-SS supernet against PyTorch in double precision: losses, ensemble
 * targets, every gradient, one LARS and one EMA update (tests/fixtures/make_nats_step.py). The step is composed here from the
 * public calls, on the reference backend and on `cpu` where it is built; the trainers are tested on the same fixture elsewhere.
 */
#include "plugin/registry.h"
#include "unit.h"
#include <bosskit/method.h>
#include <bosskit/optim.h>
#include <unistd.h>

enum { HIDDEN = 24, OUT = 12, SIZE = 12 };
static const double mean1[3] = { 0.4914, 0.4822, 0.4465 }, std1[3] = { 0.2023, 0.1994, 0.2010 };
static const double mean2[3] = { 0.3, 0.6, 0.45 }, std2[3] = { 0.3, 0.15, 0.25 };

struct fixture {
    struct bk_registry *registry;
    struct bk_instance *space_instance, *backend_instance;
    struct bk_device *device;
    struct bk_space space;
    struct bk_bundle *data;
    struct bk_siamese s;
    struct bk_tape *tape;
    struct bk_path prefix[1], path[4];
    int n_paths;
};

static struct bk_error err;

static void open_space(struct fixture *f)
{
    struct bk_value root = { .type = BK_VALUE_GROUP };
    BK_ASSERT_OK(bk_value_override(&root, "space.widths=[8,16]", &err));
    BK_ASSERT_OK(bk_value_override(&root, "space.pooled_width=20", &err));
    BK_ASSERT_OK(bk_instance_open(f->registry, BK_KIND_SPACE, "nats_ss", bk_value_find(&root, "space"), NULL, "space", NULL,
                                  &f->space_instance, &err));
    f->space = (struct bk_space){ .iface = bk_instance_iface(f->space_instance),
                                  .state = f->space_instance->state,
                                  .name = "nats_ss" };
    f->space.info.struct_size = sizeof f->space.info;
    BK_ASSERT_OK(f->space.iface->info(f->space.state, &f->space.info, &err));
}

/* The strings of a metadata list such as ["10", "01"]. */
static int read_paths(const struct bk_bundle *b, const char *key, struct bk_path *out)
{
    int n = 0;
    for (const char *p = bk_bundle_text(b, key); p && (p = strchr(p, '"')); n++) {
        const char *end = strchr(p + 1, '"');
        char digits[8] = "";
        memcpy(digits, p + 1, (size_t)(end - p - 1));
        BK_ASSERT_OK(bk_path_parse(digits, &out[n], &err));
        p = end + 1;
    }
    return n;
}

static void fill_weights(struct fixture *f)
{
    const struct bk_net *net = &f->s.net;
    int found = 0;
    for (int32_t i = 0; i < net->n; i++) {
        char key[120];
        snprintf(key, sizeof key, "w.%s", net->slot[i].name);
        if (!bk_bundle_find(f->data, key))
            continue;
        BK_ASSERT_OK(bk_bundle_get_tensor(f->data, key, bk_weights_get(f->s.online, i), &err));
        snprintf(key, sizeof key, "t.%s", net->slot[i].name);
        BK_ASSERT_OK(bk_bundle_get_tensor(f->data, key, bk_weights_get(f->s.target, i), &err));
        BK_ASSERT_OK(bk_weights_train(f->s.online, i, true, &err));
        found++;
    }
    int wanted = 0;
    for (size_t i = 0; i < bk_bundle_count(f->data); i++)
        wanted += !strncmp(bk_bundle_at(f->data, i)->name, "w.", 2);
    CU_ASSERT_EQUAL(found, wanted);
    bk_weights_changed(f->s.online);
    bk_weights_changed(f->s.target);
}

/* False when the backend is not there. */
static bool setup(struct fixture *f, int block, const char *backend)
{
    char path[1024];
    *f = (struct fixture){ 0 };
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &f->registry, &err));
    if (!strcmp(backend, "ref")) {
        BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &f->device, &err));
    } else {
        const struct bk_found_plugin *found;
        if (bk_registry_find(f->registry, BK_KIND_BACKEND, backend, &found, &err)) {
            bk_registry_close(f->registry);
            return false;
        }
        BK_ASSERT_OK(bk_instance_open(f->registry, BK_KIND_BACKEND, backend, NULL, NULL, "backend", NULL, &f->backend_instance, &err));
        BK_ASSERT_OK(bk_device_open(bk_instance_iface(f->backend_instance), f->backend_instance->state, 0, BK_REPEATABLE, 1,
                                    &f->device, &err));
    }
    open_space(f);
    snprintf(path, sizeof path, "%s/tests/fixtures/nats_step_block%d.safetensors", bk_test_env("BK_TEST_SOURCE"), block);
    BK_ASSERT_OK(bk_bundle_read(path, &f->data, &err));
    f->n_paths = read_paths(f->data, "paths", f->path);
    CU_ASSERT_EQUAL(read_paths(f->data, "prefix", f->prefix), block);
    BK_ASSERT_OK(bk_siamese_init(&f->s, f->device, BK_F32, &f->space, block, HIDDEN, OUT, 0, &err));
    fill_weights(f);
    BK_ASSERT_OK(bk_tape_new(f->device, &f->tape, &err));
    return true;
}

static void teardown(struct fixture *f)
{
    bk_tape_free(f->tape);
    bk_siamese_release(&f->s);
    bk_bundle_free(f->data);
    bk_device_close(f->device);
    bk_instance_close(f->space_instance);
    bk_instance_close(f->backend_instance);
    bk_registry_close(f->registry);
}

/* Largest difference relative to the largest wanted value. */
static double difference(const char *key, const float *got, const struct bk_bundle *data)
{
    const struct bk_bundle_entry *e = bk_bundle_find(data, key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    const float *want = e->data;
    double worst = 0, scale = 0;
    for (size_t i = 0; i < e->nbytes / sizeof(float); i++) {
        worst = fmax(worst, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs((double)want[i]));
    }
    return worst / (scale > 0 ? scale : 1);
}

static void check_tensor(struct fixture *f, const char *key, const struct bk_tensor *t, double tolerance)
{
    float *got = bk_alloc((size_t)bk_tensor_numel(t) * sizeof *got);
    BK_ASSERT_OK(bk_tensor_read_f32(t, got, &err));
    double d = difference(key, got, f->data);
    if (!(d <= tolerance))
        printf("\n    %s differs by %.3g\n", key, d);
    CU_ASSERT(d <= tolerance);
    bk_free(got);
}

static void make_view(struct fixture *f, int view, struct bk_tensor **out)
{
    const struct bk_bundle_entry *e = bk_bundle_find(f->data, "images");
    const uint8_t *rgb = e->data;
    const double *mean = view ? mean2 : mean1, *std = view ? std2 : std1;
    float values[16 * SIZE * SIZE * 3];
    CU_ASSERT_EQUAL_FATAL(e->nbytes, BK_ARRAY_LEN(values));
    for (size_t i = 0; i < e->nbytes; i++)
        values[i] = (float)((rgb[i] / 255.0 - mean[i % 3]) / std[i % 3]);
    BK_ASSERT_OK(bk_tape_tensor(f->tape, BK_F32, 4, e->dim, out, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(*out, values, &err));
}

static void embed(struct fixture *f, struct bk_forward *fw, const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **z)
{
    int32_t entry = bk_space_entry(&f->space, f->s.block, f->prefix);
    struct bk_tensor *y;
    BK_ASSERT_OK(bk_space_run_block(&f->space, fw, f->s.block, entry, path, x, &y, &err));
    BK_ASSERT_OK(bk_siamese_project(&f->s, fw, path, y, z, &err));
}

static void step(struct fixture *f)
{
    struct bk_forward online = { .tape = f->tape, .weights = f->s.online, .dtype = BK_F32, .norm_mode = BK_NORM_BATCH, .norm_eps = 1e-5 };
    struct bk_forward target = online;
    struct bk_tensor *xo[2], *xt[2], *ensemble[2], *view;
    double weight = 1.0 / f->n_paths;
    target.weights = f->s.target;

    bk_tape_set_recording(f->tape, false);
    for (int v = 0; v < 2; v++) {
        make_view(f, v, &view);
        BK_ASSERT_OK(bk_siamese_prefix(&f->s, &online, f->prefix, view, &xo[v], &err));
        BK_ASSERT_OK(bk_siamese_prefix(&f->s, &target, f->prefix, view, &xt[v], &err));
        for (int p = 0; p < f->n_paths; p++) {
            struct bk_tensor *z, *u;
            embed(f, &target, &f->path[p], xt[v], &z);
            BK_ASSERT_OK(bk_unit(f->tape, z, &u, &err));
            if (p == 0) {
                ensemble[v] = u;
                BK_ASSERT_OK(bk_blend(u, weight, u, 0, &err));
            } else {
                BK_ASSERT_OK(bk_blend(ensemble[v], 1, u, weight, &err));
            }
        }
        check_tensor(f, v ? "ensemble.1" : "ensemble.0", ensemble[v], 1e-5);
    }
    bk_tape_set_recording(f->tape, true);
    const double *want = bk_bundle_find(f->data, "loss")->data;
    for (int p = 0; p < f->n_paths; p++) {
        double total = 0;
        for (int v = 0; v < 2; v++) {
            struct bk_tensor *z, *q, *loss;
            double value;
            embed(f, &online, &f->path[p], xo[v], &z);
            BK_ASSERT_OK(bk_siamese_predict(&f->s, &online, z, &q, &err));
            BK_ASSERT_OK(bk_cosine_loss(f->tape, q, ensemble[1 - v], &loss, &err));
            BK_ASSERT_OK(bk_tensor_read_f64(loss, &value, &err));
            BK_ASSERT_OK(bk_tape_backward(f->tape, loss, 1.0, &err));
            total += value;
        }
        BK_ASSERT_CLOSE(total, want[p], 1e-5);
    }
}

/* A bias in front of a batch norm has no gradient but rounding errors. */
static void check_vanishes(const struct bk_tensor *g)
{
    float *got = bk_alloc((size_t)bk_tensor_numel(g) * sizeof *got);
    BK_ASSERT_OK(bk_tensor_read_f32(g, got, &err));
    for (int64_t i = 0; i < bk_tensor_numel(g); i++)
        CU_ASSERT(fabsf(got[i]) < 1e-6f);
    bk_free(got);
}

/* Each slot's tensor (the gradient, or the value of `set`) against "<prefix><slot>"; returns how many there were. */
static int check_slots(struct fixture *f, const char *prefix, struct bk_weights *set, bool gradient)
{
    int n = 0;
    for (int32_t i = 0; i < f->s.net.n; i++) {
        char key[120];
        struct bk_tensor *t = bk_weights_get(set, i);
        snprintf(key, sizeof key, "%s%s", prefix, f->s.net.slot[i].name);
        if (!bk_bundle_find(f->data, key)) {
            if (gradient && bk_tensor_is_touched(t))
                check_vanishes(bk_tensor_get_grad(t));
            continue;
        }
        n++;
        check_tensor(f, key, gradient ? bk_tensor_get_grad(t) : t, 1e-5);
    }
    return n;
}

static void update(struct fixture *f)
{
    struct bk_optim_config config = { .kind = BK_LARS, .exclude = BK_EXCLUDE_BY_TYPE, .momentum = 0.9,
                                      .weight_decay = 1e-6, .trust = 1e-3, .zero_guard = true };
    struct bk_optim *optim;
    BK_ASSERT_OK(bk_optim_new(f->s.online, &config, &optim, &err));
    BK_ASSERT_OK(bk_optim_step(optim, 0.3, &err));
    bk_optim_free(optim);
    BK_ASSERT_OK(bk_weights_ema(f->s.target, f->s.online, 0.99, 0, f->s.block, f->s.block, &err));
}

static void run(int block, const char *backend)
{
    struct fixture f;
    if (!setup(&f, block, backend))
        BK_SKIP("backend '%s' is not built", backend);
    step(&f);
    CU_ASSERT(check_slots(&f, "g.", f.s.online, true) > 40);
    update(&f);
    CU_ASSERT(check_slots(&f, "new.", f.s.online, false) > 40);
    CU_ASSERT(check_slots(&f, "ema.", f.s.target, false) > 40);
    teardown(&f);
}

static void test_block0_ref(void) { run(0, "ref"); }
static void test_block1_ref(void) { run(1, "ref"); }
static void test_block0_cpu(void) { run(0, "cpu"); }
static void test_block1_cpu(void) { run(1, "cpu"); }

BK_SUITE({ "block 0 on ref", test_block0_ref }, { "block 1 on ref", test_block1_ref }, { "block 0 on cpu", test_block0_cpu },
         { "block 1 on cpu", test_block1_cpu })

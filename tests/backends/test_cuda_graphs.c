/*
 * Option `graphs` of the cuda backend, on a GPU (skipped without one) or emulated: replayed sequences compute, bit by bit, what
 * submitting each kernel does, while rates, moving averages, draws of dropout and the order of paths change; the number of graphs is
 * kept; what cannot be captured is submitted. How often graphs were captured and launched only the emulation tells.
 */
#include "trainers/trainer_checks.h"
#include <bosskit/ops.h>
#include <bosskit/optim.h>
#include <dlfcn.h>

static struct bk_error err;

/* As in cuda_emulation/cuda_runtime_api.h. */
struct counts {
    int captured, launched, alive, fail_captures;
};
static struct counts *counts, on_gpu;

/* Open the backend with `graphs=most` in place of ref; false when it cannot work here. */
static bool use_graphs(struct world *w, int most)
{
    const char *wanted = bk_test_env("BK_TEST_BACKEND");
    char option[32], path[4200];
    snprintf(option, sizeof option, "graphs=%d", most);
    if (!world_use_options(w, *wanted ? wanted : "cuda", OPTIONS(option))) {
        err = w->f.err;
        return false;
    }
    snprintf(path, sizeof path, "%s/tests/cuda_emulation/backends/cuda_emulation.so", bk_test_env("BK_TEST_BINARY"));
    void *module = strcmp(wanted, "cuda_emulation") ? NULL : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    counts = module ? dlsym(module, "emulated_graphs") : &on_gpu;
    CU_ASSERT_PTR_NOT_NULL_FATAL(counts);
    *counts = (struct counts){ 0 };
    return true;
}

/* `n`: what it must be where it can be known. */
static void expect(int got, int n)
{
    if (counts != &on_gpu && got != n)
        printf("\n    %d, wanted %d\n", got, n);
    CU_ASSERT(counts == &on_gpu || got == n);
}

/* ---- kernels ----------------------------------------------------------------------------------------------- */

enum { N = 1500, OPTIMISERS = 4, STEPS = 7 };

struct state {
    struct bk_tensor *g, *relu, *dropped, *average;
    struct bk_tensor *w[OPTIMISERS], *s[OPTIMISERS][2];
};

static struct bk_tensor *tensor(struct bk_device *d, double scale, double offset)
{
    const int64_t n = N;
    float v[N];
    struct bk_tensor *t;
    BK_ASSERT_OK(bk_tensor_new(d, BK_F32, 1, &n, &t, &err));
    for (int i = 0; i < N; i++)
        v[i] = (float)(scale * sin(0.37 * i) + offset);
    BK_ASSERT_OK(bk_tensor_write_f32(t, v, &err));
    return t;
}

static void run_kernel(struct bk_device *d, uint32_t kernel, struct bk_tensor *const *list, uint32_t n, struct bk_tensor *out,
                       const void *attr)
{
    struct bk_kernel_args args = { .n_in = n, .n_out = out ? 1 : n, .attr = attr };
    for (uint32_t i = 0; i < n; i++) {
        args.in[i] = list[i];
        args.out[i] = list[i];
    }
    if (out)
        args.out[0] = out;
    BK_ASSERT_OK(bk_device_run(d, kernel, &args, &err));
}

/* A step in which everything changes that may. */
static void run_step(struct bk_device *d, struct state *x, int step)
{
    static const uint32_t kernel[OPTIMISERS] = { BK_K_SGD_STEP, BK_K_LARS_STEP, BK_K_ADAMW_STEP, BK_K_RMSPROP_STEP };
    struct bk_dropout_attr dropout = { .p = 0.3, .group = 3, .seed = 77 + (uint64_t)(step / 4), .step = (uint64_t)step, .stream = 5 };
    struct bk_blend_attr blend = { 0.9 + 0.01 * step, 0.1 - 0.01 * step };
    run_kernel(d, BK_K_RELU, &x->g, 1, x->relu, NULL);
    run_kernel(d, BK_K_DROPOUT, &x->relu, 1, x->dropped, &dropout);
    for (int k = 0; k < OPTIMISERS; k++) {
        struct bk_optim_attr attr = { .lr = 0.1 / (1 + step), .momentum = 0.9, .weight_decay = 0.01, .trust = 0.1, .beta1 = 0.9,
                                      .beta2 = 0.99, .eps = 1e-6, .bias1 = 1 - pow(0.9, step + 1), .bias2 = 1 - pow(0.99, step + 1),
                                      .first = step == 0, .skip_zero = kernel[k] == BK_K_LARS_STEP };
        struct bk_tensor *list[4] = { x->w[k], x->dropped, x->s[k][0], x->s[k][1] };
        run_kernel(d, kernel[k], list, k < 2 ? 3 : 4, NULL, &attr);
        run_kernel(d, BK_K_BLEND, (struct bk_tensor *[]){ x->average, x->w[k] }, 2, x->average, &blend);
    }
}

static void open_state(struct bk_device *d, struct state *x)
{
    x->g = tensor(d, 1, 0.2);
    x->relu = tensor(d, 0, 0);
    x->dropped = tensor(d, 0, 0);
    x->average = tensor(d, 0, 0);
    for (int k = 0; k < OPTIMISERS; k++) {
        x->w[k] = tensor(d, 2, 0.1 * k);
        x->s[k][0] = tensor(d, 0, 0);
        x->s[k][1] = tensor(d, 0, 0);
    }
}

static void close_state(struct state *x)
{
    bk_tensor_free(x->g), bk_tensor_free(x->relu), bk_tensor_free(x->dropped), bk_tensor_free(x->average);
    for (int k = 0; k < OPTIMISERS; k++)
        bk_tensor_free(x->w[k]), bk_tensor_free(x->s[k][0]), bk_tensor_free(x->s[k][1]);
}

/* The weights and their average after some steps, each a section. */
static bool run_steps(int most, float out[(OPTIMISERS + 1) * N])
{
    struct world w;
    struct state x;
    struct bk_tape *tape;
    world_open(&w, BK_F32, 4, 4);
    if (!use_graphs(&w, most)) {
        world_close(&w);
        return false;
    }
    BK_ASSERT_OK(bk_tape_new(w.device, &tape, &err));
    open_state(w.device, &x);
    for (int step = 0; step < STEPS; step++) {
        run_step(w.device, &x, step);
        bk_tape_reset(tape);
    }
    for (int k = 0; k <= OPTIMISERS; k++)
        BK_ASSERT_OK(bk_tensor_read_f32(k < OPTIMISERS ? x.w[k] : x.average, out + k * N, &err));
    expect(counts->captured, most ? 1 : 0);
    expect(counts->launched, most ? STEPS - 1 : 0);     /* the first one was submitted */
    close_state(&x);
    bk_tape_free(tape);
    world_close(&w);
    expect(counts->alive, 0);
    return true;
}

static void test_changing_attributes(void)
{
    static float plain[(OPTIMISERS + 1) * N], replayed[(OPTIMISERS + 1) * N];
    if (!run_steps(0, plain))
        BK_SKIP("%s", err.text);
    run_steps(8, replayed);
    CU_ASSERT(!memcmp(plain, replayed, sizeof plain));
    CU_ASSERT(isfinite(plain[OPTIMISERS * N]) && plain[OPTIMISERS * N] != 0);
}

/* ---- training ----------------------------------------------------------------------------------------------- */

/* Two blocks of a trainer with changing rate, moving average and order of paths. */
static struct bk_bundle *train(int most, const char *trainer, const char *const *options, bool fail, bool *there)
{
    struct world w;
    world_open(&w, BK_F32, 20, 4);
    *there = use_graphs(&w, most);
    if (!*there) {
        world_close(&w);
        return NULL;
    }
    counts->fail_captures = fail;
    struct bk_bundle *first = world_train(&w, trainer, options, NULL, NULL);
    world_enter_block_1(&w);
    struct bk_bundle *second = world_train(&w, trainer, options, first, NULL);
    printf("  %d: %d captured, %d launched ...", most, counts->captured, counts->launched);
    CU_ASSERT(counts->alive <= most);
    bk_bundle_free(first);
    world_close(&w);
    expect(counts->alive, 0);
    return second;
}

/* With `short_of_places` once more with two graphs: most are dropped again. */
static void check_trainer(const char *trainer, const char *const *options, bool short_of_places)
{
    bool there;
    struct bk_bundle *plain = train(0, trainer, options, false, &there), *replayed;
    if (!there)
        BK_SKIP("%s", err.text);
    expect(counts->captured, 0);
    replayed = train(64, trainer, options, false, &there);
    check_same(plain, replayed);
    CU_ASSERT(counts == &on_gpu || (counts->captured > 4 && counts->launched > 2 * counts->captured));
    bk_bundle_free(replayed);
    if (short_of_places) {
        replayed = train(2, trainer, options, false, &there);
        check_same(plain, replayed);
        CU_ASSERT(counts == &on_gpu || counts->captured > 2);
        bk_bundle_free(replayed);
    }
    bk_bundle_free(plain);
}

static void test_bootstrapping(void)
{
    check_trainer("ensemble_bootstrap", OPTIONS("epochs=4", "batch=10", "accumulate=1", "hidden=8", "embed=6", "lr=0.3",
                                                "lr_step=iteration", "warmup_epochs=1.0", "ema_start=0.9"), false);
}

static void test_supervised(void)
{
    check_trainer("supervised", OPTIONS("epochs=4", "batch=10", "accumulate=2", "lr=0.1"), true);
}

/* What cannot be captured is submitted. */
static void test_refused(void)
{
    static const char *const options[] = { "epochs=2", "batch=10", "lr=0.1", NULL };
    bool there;
    struct bk_bundle *plain = train(0, "supervised", options, false, &there);
    if (!there)
        BK_SKIP("%s", err.text);
    struct bk_bundle *refused = train(64, "supervised", options, true, &there);
    check_same(plain, refused);
    expect(counts->captured, 0);
    bk_bundle_free(refused);
    bk_bundle_free(plain);
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

/* Scratch memory that grows takes the graphs with it, and freeing what unsubmitted kernels use submits them. */
static void test_memory(void)
{
    struct world w;
    struct state x;
    struct bk_tape *tape;
    world_open(&w, BK_F32, 4, 4);
    if (!use_graphs(&w, 8)) {
        world_close(&w);
        BK_SKIP("%s", err.text);
    }
    BK_ASSERT_OK(bk_tape_new(w.device, &tape, &err));
    open_state(w.device, &x);
    for (int step = 0; step < 3; step++) {
        run_step(w.device, &x, step);
        bk_tape_reset(tape);
    }
    expect(counts->alive, 1);
    const int64_t image[4] = { 1, 3, 3, 256 }, window[4] = { 256, 3, 3, 256 };
    struct bk_tensor *y, *dw, *copy;
    BK_ASSERT_OK(bk_tensor_new(w.device, BK_F32, 4, image, &y, &err));
    BK_ASSERT_OK(bk_tensor_new(w.device, BK_F32, 4, window, &dw, &err));
    BK_ASSERT_OK(bk_tensor_new(w.device, BK_F32, 4, window, &copy, &err));
    struct bk_blend_attr one = { 0, 1 };
    struct bk_conv2d_attr same = { 1, 1, 1, 0 };
    run_kernel(w.device, BK_K_CONV2D_DW, (struct bk_tensor *[]){ y, y }, 2, dw, &same);
    BK_ASSERT_OK(bk_device_synchronize(w.device, &err));
    expect(counts->alive, 0);
    run_kernel(w.device, BK_K_BLEND, (struct bk_tensor *[]){ copy, dw }, 2, copy, &one);
    bk_tensor_free(dw);
    BK_ASSERT_OK(bk_device_synchronize(w.device, &err));
    bk_tensor_free(y), bk_tensor_free(copy);
    close_state(&x);
    bk_tape_free(tape);
    world_close(&w);
}

BK_SUITE({ "changing attributes", test_changing_attributes }, { "bootstrapping", test_bootstrapping },
         { "supervised", test_supervised }, { "refused", test_refused }, { "memory", test_memory })

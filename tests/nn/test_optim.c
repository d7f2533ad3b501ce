/*
 * Optimisers: trajectories in double precision against PyTorch and numpy (tests/fixtures/make_optim.py), the rules of
 * LARS one by one, exclusion, saved state.
 */
#include "nn_fixture.h"

#include <bosskit/optim.h>
#include <jansson.h>

/* "w" [3,2] and "b" [3], a bias, on a device of their own. */
struct bench {
    struct bk_device *device;
    struct bk_net net;
    struct bk_weights *w;
    struct bk_tape *tape;
    int32_t weight, bias;
};

static void bench_open(struct bench *b)
{
    *b = (struct bench){ .net = BK_NET_INIT, .device = open_ref() };
    BK_ASSERT_OK(bk_net_linear(&b->net, "l", BK_PART_BACKBONE, 0, 3, 2, BK_INIT_ZERO, 0, BK_INIT_ZERO, 0,
                               &b->weight, &err));
    b->bias = b->weight + 1;
    BK_ASSERT_OK(bk_weights_new(b->device, &b->net, BK_F64, &b->w, &err));
    BK_ASSERT_OK(bk_weights_train(b->w, b->weight, true, &err));
    BK_ASSERT_OK(bk_weights_train(b->w, b->bias, true, &err));
    BK_ASSERT_OK(bk_tape_new(b->device, &b->tape, &err));
}

static void bench_close(struct bench *b)
{
    bk_tape_free(b->tape);
    bk_weights_free(b->w);
    bk_net_release(&b->net);
    bk_device_close(b->device);
}

static struct bk_optim *optim_of(struct bench *b, const struct bk_optim_config *c)
{
    struct bk_optim *o = NULL;

    BK_ASSERT_OK(bk_optim_new(b->w, c, &o, &err));
    return o;
}

static void step_with(struct bench *b, struct bk_optim *o, double lr, const double *gw,
                      const double *gb)
{
    BK_ASSERT_OK(bk_weights_zero_grad(b->w, &err));
    if (gw)
        put_grad(b->w, b->weight, b->tape, gw);
    if (gb)
        put_grad(b->w, b->bias, b->tape, gb);
    BK_ASSERT_OK(bk_optim_step(o, lr, &err));
}

/* ---- recorded trajectories --------------------------------------------------------------------------------- */

static void numbers(const json_t *array, double *out)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = json_number_value(json_array_get(array, i));
}

static double setting(const json_t *config, const char *name)
{
    return json_number_value(json_object_get(config, name));
}

static uint32_t kind_of(const char *name)
{
    static const char *const names[] = { "sgd", "lars", "adamw", "rmsprop" };

    for (uint32_t i = 0; i < 4; i++)
        if (!strcmp(names[i], name))
            return i + 1;
    return 0;
}

static struct bk_optim_config config_of(const json_t *c)
{
    const json_t *j = json_object_get(c, "config");

    return (struct bk_optim_config){
        .kind = kind_of(json_string_value(json_object_get(c, "kind"))), .exclude = BK_EXCLUDE_BY_TYPE,
        .momentum = setting(j, "momentum"), .weight_decay = setting(j, "weight_decay"),
        .trust = setting(j, "trust"), .beta1 = setting(j, "beta1"), .beta2 = setting(j, "beta2"),
        .eps = setting(j, "eps"), .nesterov = json_is_true(json_object_get(j, "nesterov")),
        .zero_guard = true,
    };
}

static void check_values(const struct bk_tensor *t, const json_t *wanted, const char *name)
{
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        double v = value(t, (int64_t)i), x = json_number_value(json_array_get(wanted, i));
        if (!(fabs(v - x) <= 1e-13 * fmax(1, fabs(x))))
            printf("\n    %s [%zu]: %.17g, wanted %.17g\n", name, i, v, x);
        CU_ASSERT_TRUE(fabs(v - x) <= 1e-13 * fmax(1, fabs(x)));
    }
}

/* Saved and loaded into a new optimiser before step `resume_at`, when that is >= 0. */
static void run_case(const json_t *root, const json_t *c, int resume_at)
{
    struct bk_optim_config config = config_of(c);
    const json_t *start = json_object_get(root, "start"), *grads = json_object_get(root, "grad");
    const json_t *after = json_object_get(c, "after"), *lr = json_object_get(root, "lr");
    const char *name = json_string_value(json_object_get(c, "name"));
    double gw[6], gb[3];
    struct bench b;

    bench_open(&b);
    numbers(json_object_get(start, "w"), gw);
    numbers(json_object_get(start, "b"), gb);
    put_values(bk_weights_get(b.w, b.weight), gw);
    put_values(bk_weights_get(b.w, b.bias), gb);
    struct bk_optim *o = optim_of(&b, &config);
    for (size_t i = 0; i < json_array_size(after); i++) {
        if ((int)i == resume_at) {
            struct bk_bundle *saved = NULL;
            BK_ASSERT_OK(bk_bundle_new(&saved, &err));
            BK_ASSERT_OK(bk_optim_save(o, "opt.", saved, &err));
            bk_optim_free(o);
            o = optim_of(&b, &config);
            BK_ASSERT_OK(bk_optim_load(o, "opt.", saved, &err));
            bk_bundle_free(saved);
        }
        numbers(json_object_get(json_array_get(grads, i), "w"), gw);
        numbers(json_object_get(json_array_get(grads, i), "b"), gb);
        step_with(&b, o, json_number_value(json_array_get(lr, i)), gw, gb);
        check_values(bk_weights_get(b.w, b.weight), json_object_get(json_array_get(after, i), "w"), name);
        check_values(bk_weights_get(b.w, b.bias), json_object_get(json_array_get(after, i), "b"), name);
    }
    bk_optim_free(o);
    bench_close(&b);
}

static json_t *read_cases(void)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/tests/fixtures/optim.json", bk_test_env("BK_TEST_SOURCE"));
    json_t *root = json_load_file(path, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    return root;
}

static void test_trajectories(void)
{
    json_t *root = read_cases(), *cases = json_object_get(root, "cases");

    CU_ASSERT_EQUAL(json_array_size(cases), 6);
    for (size_t i = 0; i < json_array_size(cases); i++)
        run_case(root, json_array_get(cases, i), -1);
    json_decref(root);
}

static void test_resume(void)
{
    json_t *root = read_cases(), *cases = json_object_get(root, "cases");

    for (size_t i = 0; i < json_array_size(cases); i++)
        for (int at = 0; at < 6; at += 3)
            run_case(root, json_array_get(cases, i), at);
    json_decref(root);
}

/* ---- LARS ------------------------------------------------------------------------------------------------------ */

static struct bk_optim_config lars(uint32_t exclude, bool guard)
{
    return (struct bk_optim_config){ .kind = BK_LARS, .exclude = exclude, .momentum = 0.9,
                                     .weight_decay = 1e-6, .trust = 0.001, .zero_guard = guard };
}

/* buf := 0.9 buf + lr g; w := w - buf: with a rate that falls, old rates stay in the buffer. */
static void test_lars_excluded(void)
{
    struct bk_optim_config c = lars(BK_EXCLUDE_BY_TYPE, true);
    double g[3] = { 1, -2, 0.5 }, w[3] = { 0, 1, 2 }, buf[3] = { 0 };
    struct bench b;

    bench_open(&b);
    put_values(bk_weights_get(b.w, b.bias), w);
    struct bk_optim *o = optim_of(&b, &c);
    for (int step = 0; step < 5; step++) {
        double lr = 0.5 / (step + 1);
        step_with(&b, o, lr, NULL, g);
        for (int i = 0; i < 3; i++) {
            buf[i] = 0.9 * buf[i] + lr * g[i];
            w[i] -= buf[i];
            BK_ASSERT_CLOSE(value(bk_weights_get(b.w, b.bias), i), w[i], 1e-15);
        }
    }
    bk_optim_free(o);
    bench_close(&b);
}

static void test_lars_zero_weight(void)
{
    static const double g[6] = { 1, 2, 3, -4, 5, 6 };
    struct bench b;

    for (int guard = 0; guard < 2; guard++) {
        struct bk_optim_config c = lars(BK_EXCLUDE_BY_TYPE, guard);
        bench_open(&b);
        struct bk_optim *o = optim_of(&b, &c);
        step_with(&b, o, 0.5, g, NULL);
        step_with(&b, o, 0.5, g, NULL);
        /* Guarded, the first step has lambda = 1: w = -0.5 g; without, lambda = 0 for ever. */
        CU_ASSERT_TRUE(guard ? value(bk_weights_get(b.w, b.weight), 3) > 2
                             : value(bk_weights_get(b.w, b.weight), 3) == 0);
        bk_optim_free(o);
        bench_close(&b);
    }
}

static void test_lars_guarded_first_step(void)
{
    static const double g[6] = { 1, 2, 3, -4, 5, 6 };
    struct bk_optim_config c = lars(BK_EXCLUDE_BY_TYPE, true);
    struct bench b;

    bench_open(&b);
    struct bk_optim *o = optim_of(&b, &c);
    step_with(&b, o, 0.5, g, NULL);
    for (int i = 0; i < 6; i++)
        BK_ASSERT_CLOSE(value(bk_weights_get(b.w, b.weight), i), -0.5 * g[i], 1e-15);
    bk_optim_free(o);
    bench_close(&b);
}

static void test_lars_zero_gradient(void)
{
    static const double w[6] = { 1, 2, 3, 4, 5, 6 }, g[6] = { 1, 0, 0, 0, 0, 1 }, none[6] = { 0 };
    struct bk_optim_config c = lars(BK_EXCLUDE_NONE, true);
    double before[6], delta[6];
    struct bench b;

    bench_open(&b);
    put_values(bk_weights_get(b.w, b.weight), w);
    struct bk_optim *o = optim_of(&b, &c);
    step_with(&b, o, 1, none, NULL);
    CU_ASSERT_EQUAL(memcmp(values(bk_weights_get(b.w, b.weight)), w, sizeof w), 0);
    step_with(&b, o, 1, g, NULL);
    memcpy(before, values(bk_weights_get(b.w, b.weight)), sizeof before);
    for (int i = 0; i < 6; i++)
        delta[i] = w[i] - before[i];    /* the buffer */
    step_with(&b, o, 1, none, NULL);
    CU_ASSERT_EQUAL(memcmp(values(bk_weights_get(b.w, b.weight)), before, sizeof before), 0);

    /* The buffer did not decay while the gradient was zero: w -= 0.9 buf + d. */
    double nw = 0, ng = sqrt(2);
    for (int i = 0; i < 6; i++)
        nw += before[i] * before[i];
    nw = sqrt(nw);
    step_with(&b, o, 1, g, NULL);
    for (int i = 0; i < 6; i++) {
        double d = 0.001 * nw / (ng + 1e-6 * nw) * (g[i] + 1e-6 * before[i]);
        BK_ASSERT_CLOSE(value(bk_weights_get(b.w, b.weight), i), before[i] - (0.9 * delta[i] + d), 1e-14);
    }
    bk_optim_free(o);
    bench_close(&b);
}

/* ---- which slots are excluded ------------------------------------------------------------------------------------- */

/* One step of the norm scale with weight decay 1, lr 1, lambda = trust |w|/(|g| + |w|) or 1. */
static double scale_after(uint32_t exclude, uint32_t flags)
{
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *w = NULL;
    struct bk_tape *tape = NULL;
    struct bk_optim *o = NULL;
    struct bk_device *d = open_ref();
    struct bk_optim_config c = { .kind = BK_LARS, .exclude = exclude, .weight_decay = 1, .trust = 0.5,
                                 .zero_guard = true };
    int32_t id;

    BK_ASSERT_OK(bk_net_norm(&net, "n", BK_PART_BACKBONE, 0, 1, flags, &id, &err));
    BK_ASSERT_OK(bk_weights_new(d, &net, BK_F64, &w, &err));
    BK_ASSERT_OK(bk_weights_train(w, id, true, &err));
    BK_ASSERT_OK(bk_tape_new(d, &tape, &err));
    BK_ASSERT_OK(bk_optim_new(w, &c, &o, &err));
    put_constant(bk_weights_get(w, id), 3);
    put_grad(w, id, tape, (double[]){ 1 });
    BK_ASSERT_OK(bk_optim_step(o, 1, &err));
    double v = value(bk_weights_get(w, id), 0);
    bk_optim_free(o);
    bk_tape_free(tape);
    bk_weights_free(w);
    bk_net_release(&net);
    bk_device_close(d);
    return v;
}

static void test_exclusion(void)
{
    /* excluded: 3 - 1 = 2; otherwise 3 - 0.5 * 3/(1 + 3) * (1 + 3) = 1.5 */
    CU_ASSERT_EQUAL(scale_after(BK_EXCLUDE_NONE, 0), 1.5);
    CU_ASSERT_EQUAL(scale_after(BK_EXCLUDE_BY_TYPE, 0), 2);
    CU_ASSERT_EQUAL(scale_after(BK_EXCLUDE_BY_TYPE, BK_SLOT_BY_NAME_ADAPTED), 2);
    CU_ASSERT_EQUAL(scale_after(BK_EXCLUDE_BY_NAME, 0), 2);
    CU_ASSERT_EQUAL(scale_after(BK_EXCLUDE_BY_NAME, BK_SLOT_BY_NAME_ADAPTED), 1.5);
}

/* ---- the rest --------------------------------------------------------------------------------------------------------- */

static void test_untouched(void)
{
    struct bk_optim_config c = { .kind = BK_SGD, .exclude = BK_EXCLUDE_NONE, .momentum = 0.9,
                                 .weight_decay = 0.1 };
    static const double g[3] = { 1, 1, 1 };
    struct bk_tensor *half = NULL;
    struct bench b;

    bench_open(&b);
    put_constant(bk_weights_get(b.w, b.weight), 1);
    put_constant(bk_weights_get(b.w, b.bias), 1);
    bk_weights_changed(b.w);
    BK_ASSERT_OK(bk_weights_as(b.w, b.bias, BK_F32, &half, &err));
    struct bk_optim *o = optim_of(&b, &c);
    step_with(&b, o, 1, NULL, g);
    CU_ASSERT_EQUAL(value(bk_weights_get(b.w, b.weight), 0), 1);        /* no decay without a gradient */
    BK_ASSERT_CLOSE(value(bk_weights_get(b.w, b.bias), 0), 1 - 1.1, 1e-15);
    BK_ASSERT_OK(bk_weights_as(b.w, b.bias, BK_F32, &half, &err));
    BK_ASSERT_CLOSE(value(half, 0), -0.1, 1e-7);                        /* the copy was renewed */
    bk_optim_free(o);
    bench_close(&b);
}

static void test_refused(void)
{
    struct bk_optim_config good = { .kind = BK_ADAMW, .exclude = BK_EXCLUDE_NONE, .beta1 = 0.9,
                                    .beta2 = 0.999, .eps = 1e-8 }, bad;
    struct bk_bundle *saved = NULL;
    struct bk_optim *o = NULL, *sgd;
    struct bench b;

    bench_open(&b);
    bad = good, bad.kind = 9;
    CU_ASSERT_EQUAL(bk_optim_new(b.w, &bad, &o, &err), BK_EINVAL);
    bad = good, bad.exclude = 0;
    CU_ASSERT_EQUAL(bk_optim_new(b.w, &bad, &o, &err), BK_EINVAL);
    bad = good, bad.beta2 = 1;
    CU_ASSERT_EQUAL(bk_optim_new(b.w, &bad, &o, &err), BK_EINVAL);
    bad = good, bad.weight_decay = NAN;
    CU_ASSERT_EQUAL(bk_optim_new(b.w, &bad, &o, &err), BK_EINVAL);
    o = optim_of(&b, &good);
    CU_ASSERT_EQUAL(bk_optim_step(o, NAN, &err), BK_EINVAL);
    BK_ASSERT_OK(bk_bundle_new(&saved, &err));
    CU_ASSERT_EQUAL(bk_optim_load(o, "opt.", saved, &err), BK_EDATA);
    BK_ASSERT_OK(bk_optim_save(o, "opt.", saved, &err));
    bad = good, bad.kind = BK_SGD;
    sgd = optim_of(&b, &bad);
    CU_ASSERT_EQUAL(bk_optim_load(sgd, "opt.", saved, &err), BK_EDATA);
    bk_optim_free(sgd);
    bk_optim_free(o);
    bk_optim_free(NULL);
    bk_bundle_free(saved);
    bench_close(&b);
}

BK_SUITE({ "recorded trajectories", test_trajectories }, { "saved and resumed", test_resume },
         { "LARS, excluded", test_lars_excluded }, { "LARS, zero weight", test_lars_zero_weight },
         { "LARS, guarded first step", test_lars_guarded_first_step },
         { "LARS, zero gradient", test_lars_zero_gradient }, { "exclusion", test_exclusion },
         { "untouched slots", test_untouched }, { "refused", test_refused })

/*
 * Recipes: learning rates against timm's schedulers and EfficientNet's formulas, the moving average, and optimiser steps
 * of a small network on soft targets against PyTorch in double precision (fixtures/schedule.json, retrain_step.json).
 */
#include "unit.h"

#include "config/config.h"
#include "pipeline/standalone.h"
#include <jansson.h>

static json_t *fixture(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s", bk_test_env("BK_TEST_SOURCE"), name);
    json_t *o = json_load_file(path, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    return o;
}

/** The options of a fragment below configs/recipes, as a row binds them. */
static struct bk_recipe read_recipe(const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_owned *owned = NULL;
    struct bk_value *tree = NULL;
    struct bk_recipe r;
    char path[1024];
    snprintf(path, sizeof path, "%s/configs/recipes/%s.cfg", bk_test_env("BK_TEST_SOURCE"), name);
    BK_ASSERT_OK(bk_value_read(path, &tree, &err));
    BK_ASSERT_OK(bk_options_bind(bk__recipe_table, &r, tree, name, NULL, &owned, &err));
    BK_ASSERT_OK(bk__recipe_check(&r, name, &err));
    bk_value_free(tree);
    bk_owned_free(owned);
    return r;
}

static struct bk_recipe defaults(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_owned *owned = NULL;
    struct bk_recipe r;
    BK_ASSERT_OK(bk_options_bind(bk__recipe_table, &r, NULL, "recipe", NULL, &owned, &err));
    bk_owned_free(owned);
    return r;
}

/* ---- rates -------------------------------------------------------------------------------------------------- */

static void check_rates(const struct bk_recipe *r, const json_t *want, int64_t per_epoch, int64_t stride)
{
    double worst = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double w = json_number_value(json_array_get(want, i)), got = bk__recipe_lr(r, (int64_t)i * stride, per_epoch);
        worst = fmax(worst, fabs(got - w) / fmax(w, 1e-6));
    }
    CU_ASSERT(json_array_size(want) > 0);
    CU_ASSERT(worst < 1e-12);
    if (worst >= 1e-12)
        printf("\n    rates differ by %g\n", worst);
}

static void test_rates(void)
{
    json_t *want = fixture("schedule.json");
    struct bk_recipe r = read_recipe("deit");
    check_rates(&r, json_object_get(want, "deit"), 1251, 1251);
    /* the whole epoch has one rate; epochs 0 and 1 have the same; the last one is t = 298 */
    CU_ASSERT(bk__recipe_lr(&r, 1250, 1251) == 1e-6 && bk__recipe_lr(&r, 2501, 1251) == 1e-6);
    BK_ASSERT_CLOSE(bk__recipe_lr(&r, 299 * 1251, 1251), 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + cos(acos(-1) * 298 / 300)), 1e-15);
    r = read_recipe("efficientnet");
    check_rates(&r, json_object_get(want, "efficientnet"), 10, 1);
    r.lr = 0.064;               /* DNA's command */
    r.warmup_lr = 1e-4;
    r.decay_epochs = 3;
    r.decay_rate = 0.963;
    r.lr_step = BK_LR_BY_EPOCH;
    check_rates(&r, json_object_get(want, "dna"), 7, 7);
    json_decref(want);
}

/** The defaults and the fragment are NATS-Bench's: lr/2 (1 + cos(pi t/T)) by iteration. */
static void test_nats(void)
{
    struct bk_recipe r = read_recipe("nats_alone"), d = defaults();
    struct bk_text a = BK_TEXT_INIT, b = BK_TEXT_INIT;
    CU_ASSERT_EQUAL(bk_options_canonical(bk__recipe_table, &r, true, &a), BK_OK);
    CU_ASSERT_EQUAL(bk_options_canonical(bk__recipe_table, &d, true, &b), BK_OK);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&a), bk_text_get(&b));
    for (int64_t s = 0; s < 90 * 196; s += 1111)
        BK_ASSERT_CLOSE(bk__recipe_lr(&r, s, 196), 0.05 * (1 + cos(acos(-1) * (double)s / (90 * 196))), 1e-14);
    bk_text_release(&a);
    bk_text_release(&b);
}

static void test_average(void)
{
    struct bk_recipe r = read_recipe("deit");
    CU_ASSERT_EQUAL(bk__recipe_ema(&r, 0), 0.99996);
    r = read_recipe("efficientnet");
    BK_ASSERT_CLOSE(bk__recipe_ema(&r, 0), 2.0 / 11, 1e-15);
    BK_ASSERT_CLOSE(bk__recipe_ema(&r, 89), 91.0 / 100, 1e-15);
    CU_ASSERT_EQUAL(bk__recipe_ema(&r, 10000000), 0.9999);
}

static void refused(struct bk_recipe r, const char *sentence)
{
    struct bk_error err = BK_ERROR_INIT;
    CU_ASSERT_EQUAL(bk__recipe_check(&r, "retrain", &err), BK_ECONFIG);
    if (!strstr(err.text, sentence))
        printf("\n    wanted '%s' in '%s'\n", sentence, err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, sentence));
}

static void test_refusals(void)
{
    struct bk_recipe r = defaults();
    r.momentum = 1;
    refused(r, "retrain.momentum: is 1, legal: 0 <= momentum < 1");
    r = defaults();
    r.warmup_epochs = 91;
    refused(r, "retrain.warmup_epochs: is 91, but there are 90 epochs");
    r = defaults();
    r.lr_min = 0.2;
    refused(r, "retrain.lr_min: is 0.2, larger than lr 0.1");
    r = defaults();
    r.mixup = 1;
    r.batch = 255;
    refused(r, "retrain.batch: is 255, mixing needs an even number");
}

/* ---- steps of a small network ------------------------------------------------------------------------------------ */

enum { CONV1, NORM1, CONV2 = NORM1 + 4, NORM2, FC = NORM2 + 4 };

static int net_run(void *state, struct bk_forward *f, const struct bk_arch *arch, int32_t n_classes,
                   struct bk_tensor *x, struct bk_tensor **logits, struct bk_error *err)
{
    const struct bk_conv2d_attr one = { 1, 1, 1, 0 }, two = { 2, 1, 1, 0 };
    const int32_t norm1 = NORM1, norm2 = NORM2;
    (void)state, (void)arch, (void)n_classes;
    BK_TRY(bk_forward_conv(f, CONV1, -1, x, &one, &x, err));
    BK_TRY(bk_forward_norm(f, &norm1, &x, 1, NULL, BK_ACT_RELU, &x, err));
    BK_TRY(bk_forward_conv(f, CONV2, -1, x, &two, &x, err));
    BK_TRY(bk_forward_norm(f, &norm2, &x, 1, NULL, BK_ACT_RELU, &x, err));
    BK_TRY(bk_global_pool(f->tape, x, &x, err));
    return bk_forward_linear(f, FC, x, logits, err);
}

static void make_net(struct bk_net *net)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t id;
    BK_ASSERT_OK(bk_net_conv(net, "conv1", BK_PART_BACKBONE, 0, 4, 3, 3, &id, &err));
    BK_ASSERT_OK(bk_net_norm(net, "norm1", BK_PART_BACKBONE, 0, 4, 0, &id, &err));
    BK_ASSERT_OK(bk_net_conv(net, "conv2", BK_PART_BACKBONE, 0, 6, 3, 4, &id, &err));
    BK_ASSERT_OK(bk_net_norm(net, "norm2", BK_PART_BACKBONE, 0, 6, 0, &id, &err));
    BK_ASSERT_OK(bk_net_linear(net, "fc", BK_PART_CLASSIFIER, -1, 5, 6, BK_INIT_ZERO, 0, BK_INIT_ZERO, 0, &id, &err));
    CU_ASSERT_EQUAL(id, FC);
}

static void numbers(const json_t *list, double *out)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        out[i] = json_number_value(json_array_get(list, i));
}

static void floats(const json_t *list, float *out)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        out[i] = (float)json_number_value(json_array_get(list, i));
}

static void put_state(struct bk_weights *w, const json_t *state)
{
    struct bk_error err = BK_ERROR_INIT;
    double v[512];
    for (int32_t i = 0; i < bk_weights_net(w)->n; i++) {
        const json_t *list = json_object_get(state, bk_weights_net(w)->slot[i].name);
        CU_ASSERT_EQUAL_FATAL((int64_t)json_array_size(list), bk_tensor_numel(bk_weights_get(w, i)));
        numbers(list, v);
        BK_ASSERT_OK(bk_tensor_write_f64(bk_weights_get(w, i), v, &err));
    }
    bk_weights_changed(w);
}

static double distance(struct bk_weights *w, const json_t *state)
{
    struct bk_error err = BK_ERROR_INIT;
    double got[512], want[512], worst = 0;
    for (int32_t i = 0; i < bk_weights_net(w)->n; i++) {
        const json_t *list = json_object_get(state, bk_weights_net(w)->slot[i].name);
        numbers(list, want);
        BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(w, i), got, &err));
        for (size_t k = 0; k < json_array_size(list); k++)
            worst = fmax(worst, fabs(got[k] - want[k]));
    }
    return worst;
}

static void run_steps(struct bk__alone *a, const json_t *batches, const json_t *want)
{
    struct bk_error err = BK_ERROR_INIT;
    float x[4 * 6 * 6 * 3], target[4 * 5];
    for (size_t step = 0; step < json_array_size(batches) / 2; step++) {
        double loss = 0, one;
        for (size_t k = 0; k < 2; k++) {
            const json_t *b = json_array_get(batches, 2 * step + k);
            struct bk_batch batch = { .n = 4, .view = { x }, .target = target };
            floats(json_object_get(b, "x"), x);
            floats(json_object_get(b, "target"), target);
            BK_ASSERT_OK(bk__alone_add_gradient(a, &batch, 2 * step + k, 0.5, &one, &err));
            loss += one / 2;
        }
        BK_ASSERT_OK(bk__alone_update(a, &err));
        BK_ASSERT_CLOSE(loss, json_number_value(json_array_get(json_object_get(want, "losses"), step)), 1e-8);
    }
    CU_ASSERT_EQUAL(a->step, 5);
    double last = distance(a->weights, json_object_get(want, "last"));
    double average = distance(a->average, json_object_get(want, "average"));
    printf("  last %.1e, average %.1e ", last, average);
    /* rows of f32 targets sum to 1 within 1e-8, and our gradient takes them to sum to 1 */
    CU_ASSERT(last < 1e-8);
    CU_ASSERT(average < 1e-8);
}

static void check_steps(const struct bk_recipe *recipe, const char *which)
{
    static const struct bk_space_iface space = { .struct_size = sizeof space, .alone_run = net_run };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_row row = { .space = { .iface = &space, .name = "small" } };
    struct bk_env env = { .struct_size = sizeof env, .dtype = BK_F64 };
    struct bk_stage_job job = { .row = &row, .env = &env };
    struct bk__alone a = { .job = &job, .recipe = recipe, .where = "retrain", .n_classes = 5, .net = BK_NET_INIT,
                           .view = { .size = 6 }, .per_epoch = 2 };
    json_t *f = fixture("retrain_step.json");

    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &job.device.device, &err));
    make_net(&a.net);
    BK_ASSERT_OK(bk__alone_open(&a, &err));
    put_state(a.weights, json_object_get(f, "initial"));
    BK_ASSERT_OK(bk_weights_copy(a.average, a.weights, &err));
    run_steps(&a, json_object_get(f, "batches"), json_object_get(f, which));
    bk__alone_close(&a);
    bk_device_close(job.device.device);
    json_decref(f);
}

static void test_adamw(void)
{
    struct bk_recipe r = read_recipe("deit");
    r.epochs = 4;
    r.lr = 1e-2;
    r.lr_min = 1e-4;
    r.warmup_epochs = 1;
    r.warmup_lr = 1e-3;
    r.ema = 0.9;
    check_steps(&r, "adamw");
}

static void test_rmsprop(void)
{
    struct bk_recipe r = read_recipe("efficientnet");
    r.epochs = 4;
    r.lr = 0.05;
    r.decay_epochs = 0.75;
    r.decay_rate = 0.7;
    r.warmup_epochs = 0;
    r.weight_decay = 1e-2;
    r.norm_momentum = 0.1;
    r.norm_eps = 1e-5;
    r.ema = 0.99;
    check_steps(&r, "rmsprop");
}

BK_SUITE({ "rates", test_rates }, { "NATS-Bench's recipe", test_nats }, { "moving average", test_average },
         { "refusals", test_refusals }, { "steps with AdamW", test_adamw }, { "steps with RMSprop", test_rmsprop })

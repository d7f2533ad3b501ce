/* Weight sets: initial distributions, copies in other types, gradients, moving averages, files. */
#include "nn_fixture.h"

#include <bosskit/ops.h>

static struct bk_device *device;

/* conv (uniform), norm, linear (normal weight) */
struct sample {
    struct bk_net net;
    int32_t conv, norm, linear;
};

static void sample_init(struct sample *s, bool extra_slot)
{
    int32_t id;

    *s = (struct sample){ .net = BK_NET_INIT };
    if (extra_slot)
        BK_ASSERT_OK(bk_net_conv(&s->net, "extra", BK_PART_BACKBONE, 0, 5, 1, 3, &id, &err));
    BK_ASSERT_OK(bk_net_conv(&s->net, "conv", BK_PART_BACKBONE, 0, 64, 3, 64, &s->conv, &err));
    BK_ASSERT_OK(bk_net_norm(&s->net, "norm", BK_PART_BACKBONE, 0, 64, 0, &s->norm, &err));
    BK_ASSERT_OK(bk_net_linear(&s->net, "head", BK_PART_PROJECTOR, 1, 128, 256, BK_INIT_NORMAL, 0.01,
                               BK_INIT_ZERO, 0, &s->linear, &err));
}

static struct bk_weights *set_of(const struct sample *s, uint32_t dtype)
{
    struct bk_weights *w = NULL;

    BK_ASSERT_OK(bk_weights_new(device, &s->net, dtype, &w, &err));
    return w;
}

struct moments {
    double mean, var, kurtosis, low, high;
};

static struct moments moments_of(const struct bk_tensor *t)
{
    int64_t n = bk_tensor_numel(t);
    const double *v = values(t);
    struct moments m = { .low = v[0], .high = v[0] };

    for (int64_t i = 0; i < n; i++) {
        m.mean += v[i] / (double)n;
        m.low = fmin(m.low, v[i]);
        m.high = fmax(m.high, v[i]);
    }
    for (int64_t i = 0; i < n; i++)
        m.var += (v[i] - m.mean) * (v[i] - m.mean) / (double)n;
    for (int64_t i = 0; i < n; i++)
        m.kurtosis += pow(v[i] - m.mean, 4) / (m.var * m.var) / (double)n;
    return m;
}

static void test_distributions(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *w = set_of(&s, BK_F32);
    BK_ASSERT_OK(bk_weights_init(w, 1, &err));

    /* U(-a, a), a = 1/sqrt(576) = 1/24: variance a^2/3, kurtosis 1.8; 36864 values, 4.5 standard errors. */
    struct moments m = moments_of(bk_weights_get(w, s.conv));
    double a = 1.0 / 24, n = 36864;
    CU_ASSERT_TRUE(m.high <= (float)a && m.low >= -(float)a);
    CU_ASSERT_TRUE(m.high > a * 0.999 && m.low < -a * 0.999);
    CU_ASSERT_TRUE(fabs(m.mean) < 4.5 * a / sqrt(3 * n));
    CU_ASSERT_TRUE(fabs(m.var / (a * a / 3) - 1) < 4.5 * sqrt(0.8 / n));
    CU_ASSERT_TRUE(fabs(m.kurtosis - 1.8) < 0.05);

    /* N(0, 0.01^2): kurtosis 3; 32768 values. */
    m = moments_of(bk_weights_get(w, s.linear));
    n = 32768;
    CU_ASSERT_TRUE(fabs(m.mean) < 4.5 * 0.01 / sqrt(n));
    CU_ASSERT_TRUE(fabs(m.var / 1e-4 - 1) < 4.5 * sqrt(2 / n));
    CU_ASSERT_TRUE(fabs(m.kurtosis - 3) < 4.5 * sqrt(24 / n));
    CU_ASSERT_TRUE(m.high > 0.035 && m.high < 0.06);

    static const double constant[] = { 1, 0, 0, 1 };
    for (int k = 0; k < 4; k++) {
        m = moments_of(bk_weights_get(w, s.norm + k));
        CU_ASSERT_TRUE(m.low == constant[k] && m.high == constant[k]);
    }
    m = moments_of(bk_weights_get(w, s.linear + 1));
    CU_ASSERT_TRUE(m.low == 0 && m.high == 0);
    bk_weights_free(w);
    bk_net_release(&s.net);
}

static void test_values_by_name(void)
{
    struct sample s, t;
    sample_init(&s, false);
    sample_init(&t, true);
    struct bk_weights *a = set_of(&s, BK_F32), *b = set_of(&t, BK_F32), *c = set_of(&s, BK_F32);
    int64_t n = bk_tensor_numel(bk_weights_get(a, s.conv));
    double *first = malloc((size_t)n * sizeof *first), dot = 0, equal = 0;
    BK_ASSERT_OK(bk_weights_init(a, 5, &err));
    BK_ASSERT_OK(bk_weights_init(b, 5, &err));
    BK_ASSERT_OK(bk_weights_init(c, 6, &err));

    /* Another slot before it changes nothing; another seed everything; another slot is independent. */
    memcpy(first, values(bk_weights_get(a, s.conv)), (size_t)n * sizeof *first);
    CU_ASSERT_EQUAL(memcmp(first, values(bk_weights_get(b, t.conv)), (size_t)n * sizeof *first), 0);
    const double *v = values(bk_weights_get(c, s.conv));
    for (int64_t i = 0; i < n; i++)
        equal += first[i] == v[i];
    CU_ASSERT_TRUE(equal < 10);
    n = bk_tensor_numel(bk_weights_get(a, s.linear));
    v = values(bk_weights_get(a, s.linear));
    for (int64_t i = 0; i < n; i++)
        dot += first[i] * 24 * sqrt(3) * v[i] / 0.01;
    CU_ASSERT_TRUE(fabs(dot) < 4.5 * sqrt((double)n));
    free(first);
    bk_weights_free(a);
    bk_weights_free(b);
    bk_weights_free(c);
    bk_net_release(&s.net);
    bk_net_release(&t.net);
}

/* Two slots alike in all but the name: neither equal nor correlated. */
static void test_slots_are_independent(void)
{
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *w = NULL;
    int32_t a, b, n = 16 * 9 * 16;
    double first[16 * 9 * 16], dot = 0, equal = 0;

    BK_ASSERT_OK(bk_net_conv(&net, "a", BK_PART_BACKBONE, 0, 16, 3, 16, &a, &err));
    BK_ASSERT_OK(bk_net_conv(&net, "b", BK_PART_BACKBONE, 0, 16, 3, 16, &b, &err));
    BK_ASSERT_OK(bk_weights_new(device, &net, BK_F64, &w, &err));
    BK_ASSERT_OK(bk_weights_init(w, 5, &err));
    memcpy(first, values(bk_weights_get(w, a)), sizeof first);
    const double *v = values(bk_weights_get(w, b));
    for (int32_t i = 0; i < n; i++) {
        equal += first[i] == v[i];
        dot += first[i] * v[i] * 3 * 144;       /* both of variance 1/(3 * 144) */
    }
    CU_ASSERT_EQUAL(equal, 0);
    CU_ASSERT_TRUE(fabs(dot) < 4.5 * sqrt(n));
    bk_weights_free(w);
    bk_net_release(&net);
}

static void test_copies_in_bf16(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *w = set_of(&s, BK_F32);
    struct bk_tensor *half = NULL, *again = NULL, *full = NULL;
    BK_ASSERT_OK(bk_weights_init(w, 1, &err));

    BK_ASSERT_OK(bk_weights_as(w, s.conv, BK_F32, &full, &err));
    CU_ASSERT_PTR_EQUAL(full, bk_weights_get(w, s.conv));
    BK_ASSERT_OK(bk_weights_as(w, s.conv, BK_BF16, &half, &err));
    CU_ASSERT_EQUAL(half->dtype, BK_BF16);
    double x = value(full, 17);
    CU_ASSERT_EQUAL(value(half, 17), (double)bk_bf16_to_f32(bk_f32_to_bf16((float)x)));

    /* Cached until the set is told of new values, then refilled in place. */
    put_constant(bk_weights_get(w, s.conv), 1.00390625);        /* 1 + 2^-8: a tie, goes to 1 */
    BK_ASSERT_OK(bk_weights_as(w, s.conv, BK_BF16, &again, &err));
    CU_ASSERT_PTR_EQUAL(again, half);
    CU_ASSERT_NOT_EQUAL(value(again, 17), 1);
    bk_weights_changed(w);
    BK_ASSERT_OK(bk_weights_as(w, s.conv, BK_BF16, &again, &err));
    CU_ASSERT_PTR_EQUAL(again, half);
    CU_ASSERT_EQUAL(value(again, 17), 1);
    CU_ASSERT_EQUAL(bk_weights_as(w, s.conv, BK_I32, &again, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_weights_as(w, 99, BK_F32, &again, &err), BK_EINVAL);
    CU_ASSERT_PTR_NULL(bk_weights_get(w, -1));
    bk_weights_free(w);
    bk_net_release(&s.net);
}

static void test_gradients(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *w = set_of(&s, BK_F32);
    struct bk_tape *tape = NULL;
    double g[64];
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));

    CU_ASSERT_FALSE(bk_weights_is_trained(w, s.norm));
    for (int k = 0; k < 4; k++)
        BK_ASSERT_OK(bk_weights_train(w, s.norm + k, true, &err));
    BK_ASSERT_OK(bk_weights_train(w, s.norm, true, &err));
    CU_ASSERT_TRUE(bk_weights_is_trained(w, s.norm));
    CU_ASSERT_TRUE(bk_weights_is_trained(w, s.norm + 1));
    CU_ASSERT_FALSE(bk_weights_is_trained(w, s.norm + 2));
    CU_ASSERT_FALSE(bk_weights_is_trained(w, s.norm + 3));
    for (int i = 0; i < 64; i++)
        g[i] = i;
    put_grad(w, s.norm, tape, g);
    struct bk_tensor *t = bk_weights_get(w, s.norm);
    CU_ASSERT_TRUE(bk_tensor_is_touched(t));
    CU_ASSERT_FALSE(bk_tensor_is_touched(bk_weights_get(w, s.norm + 1)));
    CU_ASSERT_EQUAL(value(bk_tensor_get_grad(t), 63), 63);
    BK_ASSERT_OK(bk_weights_zero_grad(w, &err));
    CU_ASSERT_FALSE(bk_tensor_is_touched(t));
    CU_ASSERT_EQUAL(value(bk_tensor_get_grad(t), 63), 0);
    BK_ASSERT_OK(bk_weights_train(w, s.norm, false, &err));
    CU_ASSERT_FALSE(bk_weights_is_trained(w, s.norm));
    CU_ASSERT_PTR_NULL(bk_tensor_get_grad(t));
    bk_tape_free(tape);
    bk_weights_free(w);
    bk_net_release(&s.net);
}

/* The gradient of a product with the bf16 copy arrives at the f32 master: y = x w', loss = CE of two equal logits. */
static void test_gradient_of_a_copy(void)
{
    struct bk_net net = BK_NET_INIT;
    struct bk_weights *w = NULL;
    struct bk_tape *tape = NULL;
    struct bk_tensor *x = NULL, *labels = NULL, *half, *bias, *y, *loss;
    int32_t id, label = 1;
    BK_ASSERT_OK(bk_net_linear(&net, "l", BK_PART_CLASSIFIER, -1, 2, 3, BK_INIT_ZERO, 0, BK_INIT_ZERO,
                               0, &id, &err));
    BK_ASSERT_OK(bk_weights_new(device, &net, BK_F32, &w, &err));
    BK_ASSERT_OK(bk_weights_train(w, id, true, &err));
    BK_ASSERT_OK(bk_weights_train(w, id + 1, true, &err));
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));
    BK_ASSERT_OK(bk_tensor_new(device, BK_BF16, 2, (int64_t[]){ 1, 3 }, &x, &err));
    BK_ASSERT_OK(bk_tensor_new(device, BK_I32, 1, (int64_t[]){ 1 }, &labels, &err));
    BK_ASSERT_OK(bk_tensor_write(labels, &label, &err));
    put_values(x, (double[]){ 1, -2, 4 });
    struct bk_cross_entropy_attr attr = { 0 };
    BK_ASSERT_OK(bk_weights_as(w, id, BK_BF16, &half, &err));
    BK_ASSERT_OK(bk_weights_as(w, id + 1, BK_F32, &bias, &err));
    BK_ASSERT_OK(bk_linear(tape, x, half, bias, &y, &err));
    BK_ASSERT_OK(bk_cross_entropy(tape, y, labels, &attr, &loss, &err));
    BK_ASSERT_CLOSE(value(loss, 0), log(2), 1e-6);
    BK_ASSERT_OK(bk_tape_backward(tape, loss, 1, &err));
    /* dlogits = (0.5, -0.5) */
    static const double wanted[] = { 0.5, -1, 2, -0.5, 1, -2 };
    for (int i = 0; i < 6; i++)
        BK_ASSERT_CLOSE(value(bk_tensor_get_grad(bk_weights_get(w, id)), i), wanted[i], 1e-6);
    CU_ASSERT_TRUE(bk_tensor_is_touched(bk_weights_get(w, id)));
    BK_ASSERT_CLOSE(value(bk_tensor_get_grad(bk_weights_get(w, id + 1)), 1), -0.5, 1e-6);
    bk_tape_free(tape);
    bk_tensor_free(x);
    bk_tensor_free(labels);
    bk_weights_free(w);
    bk_net_release(&net);
}

static void test_moving_average(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *online = set_of(&s, BK_F64), *target = set_of(&s, BK_F64);
    for (int32_t i = 0; i < s.net.n; i++) {
        put_constant(bk_weights_get(online, i), 2);
        put_constant(bk_weights_get(target, i), 1);
    }

    /* Block 0 and the backbone only: t = 0.9 + 0.1 * 2. */
    BK_ASSERT_OK(bk_weights_ema(target, online, 0.9, BK_PART_BACKBONE, 0, 5, &err));
    BK_ASSERT_CLOSE(value(bk_weights_get(target, s.conv), 9), 1.1, 1e-15);
    BK_ASSERT_CLOSE(value(bk_weights_get(target, s.norm), 9), 1.1, 1e-15);
    BK_ASSERT_CLOSE(value(bk_weights_get(target, s.norm + 1), 9), 1.1, 1e-15);
    CU_ASSERT_EQUAL(value(bk_weights_get(target, s.norm + 2), 9), 1);
    CU_ASSERT_EQUAL(value(bk_weights_get(target, s.norm + 3), 9), 1);
    CU_ASSERT_EQUAL(value(bk_weights_get(target, s.linear), 9), 1);
    BK_ASSERT_OK(bk_weights_ema(target, online, 0.5, 0, 1, 1, &err));
    CU_ASSERT_EQUAL(value(bk_weights_get(target, s.linear), 9), 1.5);
    BK_ASSERT_CLOSE(value(bk_weights_get(target, s.conv), 9), 1.1, 1e-15);
    CU_ASSERT_EQUAL(value(bk_weights_get(online, s.conv), 9), 2);

    /* n updates: t_n = o - (o - t_0) m^n. */
    put_constant(bk_weights_get(target, s.conv), 0);
    for (int i = 0; i < 20; i++)
        BK_ASSERT_OK(bk_weights_ema(target, online, 0.99, 0, 0, 0, &err));
    BK_ASSERT_CLOSE(value(bk_weights_get(target, s.conv), 0), 2 - 2 * pow(0.99, 20), 1e-13);
    CU_ASSERT_EQUAL(bk_weights_ema(target, online, 1.5, 0, 0, 0, &err), BK_EINVAL);
    bk_weights_free(online);
    bk_weights_free(target);
    bk_net_release(&s.net);
}

static void test_average_renews_copies(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *online = set_of(&s, BK_F32), *target = set_of(&s, BK_F32);
    struct bk_tensor *half = NULL;
    put_constant(bk_weights_get(online, s.conv), 4);
    bk_weights_changed(online);

    BK_ASSERT_OK(bk_weights_as(target, s.conv, BK_BF16, &half, &err));
    CU_ASSERT_EQUAL(value(half, 0), 0);
    BK_ASSERT_OK(bk_weights_ema(target, online, 0.5, 0, -1, 9, &err));
    BK_ASSERT_OK(bk_weights_as(target, s.conv, BK_BF16, &half, &err));
    CU_ASSERT_EQUAL(value(half, 0), 2);
    BK_ASSERT_OK(bk_weights_copy(target, online, &err));
    BK_ASSERT_OK(bk_weights_as(target, s.conv, BK_BF16, &half, &err));
    CU_ASSERT_EQUAL(value(half, 0), 4);
    bk_weights_free(online);
    bk_weights_free(target);
    bk_net_release(&s.net);
}

static void test_files(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *a = set_of(&s, BK_F32), *b = set_of(&s, BK_F32);
    struct bk_bundle *bundle = NULL, *empty = NULL;
    BK_ASSERT_OK(bk_bundle_new(&bundle, &err));
    BK_ASSERT_OK(bk_bundle_new(&empty, &err));
    BK_ASSERT_OK(bk_weights_init(a, 3, &err));
    put_constant(bk_weights_get(a, s.norm + 2), 7);

    BK_ASSERT_OK(bk_weights_save(a, "online.", bundle, &err));
    CU_ASSERT_EQUAL(bk_bundle_count(bundle), (size_t)s.net.n);
    CU_ASSERT_PTR_NOT_NULL(bk_bundle_find(bundle, "online.norm.running_mean"));
    BK_ASSERT_OK(bk_weights_load(b, "online.", bundle, false, &err));
    CU_ASSERT_EQUAL(value(bk_weights_get(b, s.norm + 2), 1), 7);
    CU_ASSERT_EQUAL(value(bk_weights_get(b, s.conv), 77), value(bk_weights_get(a, s.conv), 77));
    BK_ASSERT_OK(bk_weights_load(b, "online.", empty, true, &err));
    CU_ASSERT_EQUAL(value(bk_weights_get(b, s.norm + 2), 1), 7);
    CU_ASSERT_EQUAL(bk_weights_load(b, "online.", empty, false, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "online."));
    BK_ASSERT_OK(bk_bundle_put(bundle, "online.norm.scale", BK_F32, 1, (int64_t[]){ 1 }, "....", &err));
    CU_ASSERT_EQUAL(bk_weights_load(b, "online.", bundle, true, &err), BK_EDATA);
    bk_bundle_free(bundle);
    bk_bundle_free(empty);
    bk_weights_free(a);
    bk_weights_free(b);
    bk_net_release(&s.net);
}

/* Slots come when they are needed, with the values that an eager set has. */
static void test_lazy(void)
{
    struct sample s;
    sample_init(&s, false);
    struct bk_weights *eager = set_of(&s, BK_F64), *lazy, *strict;
    struct bk_tensor *t;
    struct bk_bundle *b;
    BK_ASSERT_OK(bk_weights_init(eager, 5, &err));
    BK_ASSERT_OK(bk_weights_new_lazy(device, &s.net, BK_F64, true, 5, &lazy, &err));
    for (int32_t i = 0; i < s.net.n; i++)
        CU_ASSERT_PTR_NULL(bk_weights_get(lazy, i));
    BK_ASSERT_OK(bk_weights_train(lazy, s.conv, true, &err));
    CU_ASSERT_FALSE(bk_weights_is_trained(lazy, s.conv));
    BK_ASSERT_OK(bk_weights_as(lazy, s.conv, BK_F64, &t, &err));
    CU_ASSERT_TRUE(bk_weights_is_trained(lazy, s.conv));
    CU_ASSERT_EQUAL(memcmp(values(t), values(bk_weights_get(eager, s.conv)), (size_t)bk_tensor_numel(t) * sizeof(double)), 0);
    CU_ASSERT_PTR_NULL(bk_weights_get(lazy, s.linear));
    /* What it has is saved; a set that does not draw has what was saved, and running statistics. */
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_weights_save(lazy, "x.", b, &err));
    CU_ASSERT_EQUAL(bk_bundle_count(b), 1);
    BK_ASSERT_OK(bk_weights_new_lazy(device, &s.net, BK_F64, false, 0, &strict, &err));
    bk_weights_from(strict, "x.", b);
    BK_ASSERT_OK(bk_weights_as(strict, s.conv, BK_F64, &t, &err));
    CU_ASSERT_EQUAL(value(t, 3), value(bk_weights_get(eager, s.conv), 3));
    CU_ASSERT_EQUAL(bk_weights_as(strict, s.linear, BK_F64, &t, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not in the artefact"));
    CU_ASSERT_PTR_NULL(bk_weights_get(strict, s.linear));
    BK_ASSERT_OK(bk_weights_as(strict, s.norm + 3, BK_F64, &t, &err));
    CU_ASSERT_EQUAL(value(t, 0), 1);
    bk_weights_free(strict);
    /* Loading makes what the bundle has; averaging and copying make the other set's. */
    BK_ASSERT_OK(bk_weights_new_lazy(device, &s.net, BK_F64, true, 6, &strict, &err));
    BK_ASSERT_OK(bk_weights_load(strict, "x.", b, false, &err));
    CU_ASSERT_PTR_NOT_NULL(bk_weights_get(strict, s.conv));
    CU_ASSERT_PTR_NULL(bk_weights_get(strict, s.linear));
    BK_ASSERT_OK(bk_weights_as(lazy, s.linear, BK_F64, &t, &err));
    BK_ASSERT_OK(bk_weights_copy(strict, lazy, &err));
    CU_ASSERT_EQUAL(value(bk_weights_get(strict, s.linear), 1), value(t, 1));
    bk_weights_free(strict);
    bk_weights_free(lazy);
    bk_weights_free(eager);
    bk_bundle_free(b);
    bk_net_release(&s.net);
}

static void test_device(void)
{
    device = open_ref();
}

static void test_close(void)
{
    bk_device_close(device);
}

BK_SUITE({ "open the device", test_device }, { "initial distributions", test_distributions },
         { "values depend on names", test_values_by_name },
         { "slots are independent", test_slots_are_independent },
         { "copies in bf16", test_copies_in_bf16 }, { "gradients", test_gradients },
         { "the gradient of a copy", test_gradient_of_a_copy },
         { "moving average", test_moving_average },
         { "moving average and copies", test_average_renews_copies }, { "files", test_files }, { "lazy sets", test_lazy },
         { "close the device", test_close })

/* Running modules by slot numbers: slimmable kernels, statistics in the set and in a store, pooled heads, against loops in double. */
#include "nn_fixture.h"

#include <bosskit/ops.h>

#define N 3
#define H 4
#define W 5
#define CI 4        /* of 6 */
#define CO 3        /* of 5 */
#define EPS 1e-5

struct rig {
    struct bk_device *device;
    struct bk_net net;
    struct bk_weights *w;
    struct bk_tape *tape;
    int32_t conv, norm, linear, point, point_norm;
    struct bk_forward f;
};

static void rig_open(struct rig *r, uint32_t dtype)
{
    *r = (struct rig){ .net = BK_NET_INIT, .device = open_ref() };
    BK_ASSERT_OK(bk_net_conv(&r->net, "conv", BK_PART_BACKBONE, 0, 5, 3, 6, &r->conv, &err));
    BK_ASSERT_OK(bk_net_norm(&r->net, "norm", BK_PART_BACKBONE, 0, CO, 0, &r->norm, &err));
    BK_ASSERT_OK(bk_net_linear(&r->net, "lin", BK_PART_PROJECTOR, 0, 2, CI, BK_INIT_NORMAL, 1, BK_INIT_NORMAL,
                               1, &r->linear, &err));
    BK_ASSERT_OK(bk_net_conv(&r->net, "point", BK_PART_ADAPTER, 0, 7, 1, CI, &r->point, &err));
    BK_ASSERT_OK(bk_net_norm(&r->net, "point_norm", BK_PART_ADAPTER, 0, 7, 0, &r->point_norm, &err));
    BK_ASSERT_OK(bk_weights_new(r->device, &r->net, dtype, &r->w, &err));
    BK_ASSERT_OK(bk_weights_init(r->w, 11, &err));
    BK_ASSERT_OK(bk_tape_new(r->device, &r->tape, &err));
    r->f = (struct bk_forward){ .tape = r->tape, .weights = r->w, .dtype = dtype,
                                .norm_mode = BK_NORM_BATCH, .norm_momentum = 0, .norm_eps = EPS };
}

static void rig_close(struct rig *r)
{
    bk_tape_free(r->tape);
    bk_weights_free(r->w);
    bk_net_release(&r->net);
    bk_device_close(r->device);
}

static struct bk_tensor *image(struct rig *r, int64_t c, uint32_t first)
{
    struct bk_tensor *x = NULL;

    BK_ASSERT_OK(bk_tape_tensor(r->tape, r->f.dtype, 4, (int64_t[]){ N, H, W, c }, &x, &err));
    put_scrambled(x, first);
    return x;
}

/* ---- slimmable convolution ---------------------------------------------------------------------------------- */

static void test_slim_conv(void)
{
    static double x[N * H * W * CI], k[5 * 9 * 6];
    struct bk_conv2d_attr attr = { .stride = 1, .pad = 1, .groups = 1 };
    struct bk_tensor *y = NULL;
    struct rig r;

    rig_open(&r, BK_F64);
    struct bk_tensor *in = image(&r, CI, 0);
    memcpy(x, values(in), sizeof x);
    memcpy(k, values(bk_weights_get(r.w, r.conv)), sizeof k);
    BK_ASSERT_OK(bk_forward_slim_conv(&r.f, r.conv, CO, in, &attr, &y, &err));
    CU_ASSERT_TRUE(y->rank == 4 && y->dim[1] == H && y->dim[2] == W && y->dim[3] == CO);
    const double *v = values(y);
    for (int n = 0; n < N; n++)
        for (int p = 0; p < H * W * CO; p++) {
            int i = p / CO / W, j = p / CO % W, o = p % CO;
            double sum = 0;
            for (int t = 0; t < 9 * CI; t++) {
                int c = t % CI, a = i + t / CI / 3 - 1, b = j + t / CI % 3 - 1;
                if (a >= 0 && a < H && b >= 0 && b < W)
                    sum += x[((n * H + a) * W + b) * CI + c] * k[(o * 9 + t / CI) * 6 + c];
            }
            BK_ASSERT_CLOSE(v[n * H * W * CO + p], sum, 1e-13);
        }
    rig_close(&r);
}

/* At full size the slice is the kernel itself. */
static void test_slim_conv_full(void)
{
    struct bk_conv2d_attr attr = { .stride = 1, .pad = 1, .groups = 1 };
    struct bk_tensor *a = NULL, *b = NULL;
    struct rig r;

    rig_open(&r, BK_F64);
    struct bk_tensor *x = image(&r, 6, 0);
    BK_ASSERT_OK(bk_forward_slim_conv(&r.f, r.conv, 5, x, &attr, &a, &err));
    BK_ASSERT_OK(bk_forward_conv(&r.f, r.conv, -1, x, &attr, &b, &err));
    for (int i = 0; i < N * H * W * 5; i += 7)
        CU_ASSERT_EQUAL(value(a, i), value(b, i));
    CU_ASSERT_EQUAL(bk_forward_slim_conv(&r.f, r.conv, 6, x, &attr, &a, &err), BK_ESHAPE);
    CU_ASSERT_EQUAL(bk_forward_slim_conv(&r.f, -1, 6, x, &attr, &a, &err), BK_EINVAL);
    rig_close(&r);
}

/* The kernel's gradient is zero outside the slice. */
static void test_slim_gradient(void)
{
    struct bk_conv2d_attr attr = { .stride = 1, .pad = 1, .groups = 1 };
    struct bk_tensor *y = NULL, *t = NULL, *pooled = NULL, *loss = NULL;
    double ones[N * CO];
    struct rig r;

    rig_open(&r, BK_F64);
    BK_ASSERT_OK(bk_weights_train(r.w, r.conv, true, &err));
    BK_ASSERT_OK(bk_forward_slim_conv(&r.f, r.conv, CO, image(&r, CI, 0), &attr, &y, &err));
    BK_ASSERT_OK(bk_global_pool(r.tape, y, &pooled, &err));
    BK_ASSERT_OK(bk_tape_tensor(r.tape, BK_F64, 2, (int64_t[]){ N, CO }, &t, &err));
    for (int i = 0; i < N * CO; i++)
        ones[i] = i % 3;
    put_values(t, ones);
    BK_ASSERT_OK(bk_cosine_loss(r.tape, pooled, t, &loss, &err));
    BK_ASSERT_OK(bk_tape_backward(r.tape, loss, 1, &err));
    const double *g = values(bk_tensor_get_grad(bk_weights_get(r.w, r.conv)));
    for (int i = 0; i < 5 * 9 * 6; i++) {
        bool inside = i / 54 < CO && i % 6 < CI;
        CU_ASSERT_TRUE(inside ? g[i] != 0 : g[i] == 0);
    }
    rig_close(&r);
}

/* ---- norms ----------------------------------------------------------------------------------------------------- */

/* Mean and unbiased variance of each channel. */
static void channel_moments(const double *x, int rows, int c, double *mean, double *var)
{
    for (int k = 0; k < c; k++) {
        mean[k] = var[k] = 0;
        for (int i = 0; i < rows; i++)
            mean[k] += x[i * c + k] / rows;
        for (int i = 0; i < rows; i++)
            var[k] += (x[i * c + k] - mean[k]) * (x[i * c + k] - mean[k]) / (rows - 1);
    }
}

static void check_running(struct rig *r, const double *x, const double *mean, const double *var,
                          struct bk_tensor *in)
{
    struct bk_tensor *y = NULL;

    r->f.norm_mode = BK_NORM_RUNNING;
    BK_ASSERT_OK(bk_forward_norm(&r->f, &r->norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    const double *v = values(y);
    for (int i = 0; i < N * H * W * CO; i++)
        BK_ASSERT_CLOSE(v[i], (x[i] - mean[i % CO]) / sqrt(var[i % CO] + EPS), 1e-12);
    r->f.norm_mode = BK_NORM_BATCH;
}

static void test_statistics_of_the_set(void)
{
    static double x[N * H * W * CO];
    double mean[CO], var[CO];
    struct bk_tensor *y = NULL;
    struct rig r;

    rig_open(&r, BK_F64);
    struct bk_tensor *in = image(&r, CO, 5);
    memcpy(x, values(in), sizeof x);
    channel_moments(x, N * H * W, CO, mean, var);

    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_RELU, &y, &err));     /* momentum 0 */
    CU_ASSERT_EQUAL(value(bk_weights_get(r.w, r.norm + 2), 1), 0);
    CU_ASSERT_EQUAL(value(bk_weights_get(r.w, r.norm + 3), 1), 1);
    double biased = var[1] * (N * H * W - 1) / (N * H * W), want = (x[1] - mean[1]) / sqrt(biased + EPS);
    BK_ASSERT_CLOSE(value(y, 1), want > 0 ? want : 0, 1e-12);

    r.f.norm_momentum = 0.1;
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    for (int k = 0; k < CO; k++) {
        mean[k] *= 0.1;
        var[k] = 0.9 + 0.1 * var[k];
        BK_ASSERT_CLOSE(value(bk_weights_get(r.w, r.norm + 2), k), mean[k], 1e-13);
        BK_ASSERT_CLOSE(value(bk_weights_get(r.w, r.norm + 3), k), var[k], 1e-13);
    }
    check_running(&r, x, mean, var, in);
    int32_t wrong = r.norm + 1;
    CU_ASSERT_EQUAL(bk_forward_norm(&r.f, &wrong, &in, 1, NULL, BK_ACT_NONE, &y, &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_forward_norm(&r.f, &r.norm, &in, 0, NULL, BK_ACT_NONE, &y, &err), BK_EINVAL);
    rig_close(&r);
}

static void test_statistics_of_a_store(void)
{
    static double x[N * H * W * CO];
    double mean[CO], var[CO];
    struct bk_tensor *y = NULL;
    struct rig r;

    rig_open(&r, BK_F64);
    struct bk_tensor *in = image(&r, CO, 5);
    memcpy(x, values(in), sizeof x);
    channel_moments(x, N * H * W, CO, mean, var);
    BK_ASSERT_OK(bk_norm_store_new(r.device, &r.f.store, &err));

    r.f.norm_mode = BK_NORM_RUNNING;
    CU_ASSERT_EQUAL(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err), BK_ESTATE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "norm.scale"));
    r.f.norm_mode = BK_NORM_BATCH;              /* momentum 0 collects nothing */
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    r.f.norm_mode = BK_NORM_RUNNING;
    CU_ASSERT_EQUAL(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err), BK_ESTATE);

    r.f.norm_mode = BK_NORM_BATCH;
    r.f.norm_momentum = 1;                      /* as calibration does: the batch's own statistics */
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    check_running(&r, x, mean, var, in);
    r.f.norm_momentum = 0.25;                   /* a second batch that is the same: nothing moves */
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    check_running(&r, x, mean, var, in);
    CU_ASSERT_EQUAL(value(bk_weights_get(r.w, r.norm + 2), 1), 0);
    CU_ASSERT_EQUAL(value(bk_weights_get(r.w, r.norm + 3), 1), 1);
    bk_norm_store_free(r.f.store);

    BK_ASSERT_OK(bk_norm_store_new(r.device, &r.f.store, &err));        /* fresh: mean 0, variance 1 */
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &in, 1, NULL, BK_ACT_NONE, &y, &err));
    for (int k = 0; k < CO; k++) {
        mean[k] *= 0.25;
        var[k] = 0.75 + 0.25 * var[k];
    }
    check_running(&r, x, mean, var, in);
    bk_norm_store_free(r.f.store);
    bk_norm_store_free(NULL);
    rig_close(&r);
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

static void test_linear(void)
{
    double x[N * CI], k[2 * CI], bias[2];
    struct bk_tensor *in = NULL, *y = NULL;
    struct rig r;

    rig_open(&r, BK_F64);
    BK_ASSERT_OK(bk_tape_tensor(r.tape, BK_F64, 2, (int64_t[]){ N, CI }, &in, &err));
    put_scrambled(in, 3);
    memcpy(x, values(in), sizeof x);
    memcpy(k, values(bk_weights_get(r.w, r.linear)), sizeof k);
    memcpy(bias, values(bk_weights_get(r.w, r.linear + 1)), sizeof bias);
    BK_ASSERT_OK(bk_forward_linear(&r.f, r.linear, in, &y, &err));
    for (int i = 0; i < 2 * N; i++) {
        double sum = bias[i % 2];
        for (int c = 0; c < CI; c++)
            sum += x[i / 2 * CI + c] * k[i % 2 * CI + c];
        BK_ASSERT_CLOSE(value(y, i), sum, 1e-14);
    }
    rig_close(&r);
}

/* The pooled head is conv, norm and pooling one after the other, in values, statistics and gradients. */
static void head_once(struct rig *r, bool fused, double *out, double *grad, double *running)
{
    struct bk_conv2d_attr attr = { .stride = 1, .pad = 0, .groups = 1 };
    struct bk_tensor *x = image(r, CI, 9), *y = NULL, *t = NULL, *loss = NULL;

    if (fused) {
        BK_ASSERT_OK(bk_forward_pooled_head(&r->f, r->point, r->point_norm, x, &y, &err));
    } else {
        BK_ASSERT_OK(bk_forward_conv(&r->f, r->point, -1, x, &attr, &y, &err));
        BK_ASSERT_OK(bk_forward_norm(&r->f, &r->point_norm, &y, 1, NULL, BK_ACT_NONE, &y, &err));
        BK_ASSERT_OK(bk_global_pool(r->tape, y, &y, &err));
    }
    BK_ASSERT_OK(bk_tape_tensor(r->tape, BK_F64, 2, (int64_t[]){ N, 7 }, &t, &err));
    put_scrambled(t, 77);
    memcpy(out, values(y), N * 7 * sizeof *out);
    BK_ASSERT_OK(bk_cosine_loss(r->tape, y, t, &loss, &err));
    BK_ASSERT_OK(bk_tape_backward(r->tape, loss, 1, &err));
    memcpy(grad, values(bk_tensor_get_grad(bk_weights_get(r->w, r->point))), 7 * CI * sizeof *grad);
    memcpy(running, values(bk_weights_get(r->w, r->point_norm + 3)), 7 * sizeof *running);
}

static void test_pooled_head(void)
{
    double y[2][N * 7], g[2][7 * CI], v[2][7];

    for (int fused = 0; fused < 2; fused++) {
        struct rig r;
        rig_open(&r, BK_F64);
        r.f.norm_momentum = 0.1;
        BK_ASSERT_OK(bk_weights_train(r.w, r.point, true, &err));
        put_scrambled(bk_weights_get(r.w, r.point_norm), 50);
        head_once(&r, fused, y[fused], g[fused], v[fused]);
        rig_close(&r);
    }
    for (int i = 0; i < N * 7; i++)
        BK_ASSERT_CLOSE(y[1][i], y[0][i], 1e-12);
    for (int i = 0; i < 7 * CI; i++)
        BK_ASSERT_CLOSE(g[1][i], g[0][i], 1e-11);
    for (int i = 0; i < 7; i++)
        BK_ASSERT_CLOSE(v[1][i], v[0][i], 1e-13);
}

/* Activations in bf16 beside f32 weights. */
static void test_bf16(void)
{
    struct bk_conv2d_attr attr = { .stride = 2, .pad = 1, .groups = 1 };
    struct bk_tensor *x, *y = NULL;
    struct rig r;

    rig_open(&r, BK_F32);
    r.f.dtype = BK_BF16;
    r.f.norm_momentum = 0.1;
    x = image(&r, CI, 2);
    BK_ASSERT_OK(bk_forward_slim_conv(&r.f, r.conv, CO, x, &attr, &y, &err));
    CU_ASSERT_EQUAL(y->dtype, BK_BF16);
    BK_ASSERT_OK(bk_forward_norm(&r.f, &r.norm, &y, 1, NULL, BK_ACT_RELU, &y, &err));
    CU_ASSERT_EQUAL(y->dtype, BK_BF16);
    BK_ASSERT_OK(bk_forward_pooled_head(&r.f, r.point, r.point_norm, x, &y, &err));
    CU_ASSERT_TRUE(y->dtype == BK_BF16 && y->dim[1] == 7);
    CU_ASSERT_NOT_EQUAL(value(bk_weights_get(r.w, r.norm + 2), 0), 0);
    rig_close(&r);
}

/* ---- squeeze and excitation, stochastic depth ------------------------------------------------------------------ */

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

/* y = x s, s = sigmoid(B silu(A mean(x) + a) + b) by loops. */
static void test_se(void)
{
    static double x[N * H * W * CI];
    double a[2 * CI], abias[2], b[CI * 2], bbias[CI];
    struct bk_tensor *y = NULL;
    int32_t reduce, expand;
    struct rig r;

    rig_open(&r, BK_F64);
    bk_weights_free(r.w);
    BK_ASSERT_OK(bk_net_linear(&r.net, "se.reduce", BK_PART_BACKBONE, 0, 2, CI, BK_INIT_NORMAL, 1, BK_INIT_NORMAL, 1,
                               &reduce, &err));
    BK_ASSERT_OK(bk_net_linear(&r.net, "se.expand", BK_PART_BACKBONE, 0, CI, 2, BK_INIT_NORMAL, 1, BK_INIT_NORMAL, 1,
                               &expand, &err));
    BK_ASSERT_OK(bk_weights_new(r.device, &r.net, BK_F64, &r.w, &err));
    BK_ASSERT_OK(bk_weights_init(r.w, 3, &err));
    r.f.weights = r.w;
    memcpy(a, values(bk_weights_get(r.w, reduce)), sizeof a);
    memcpy(abias, values(bk_weights_get(r.w, reduce + 1)), sizeof abias);
    memcpy(b, values(bk_weights_get(r.w, expand)), sizeof b);
    memcpy(bbias, values(bk_weights_get(r.w, expand + 1)), sizeof bbias);
    struct bk_tensor *in = image(&r, CI, 0);
    memcpy(x, values(in), sizeof x);
    BK_ASSERT_OK(bk_forward_se(&r.f, reduce, expand, BK_ACT_SILU, in, &y, &err));
    for (int n = 0; n < N; n++)
        for (int c = 0; c < CI; c++) {
            double z = bbias[c];
            for (int h = 0; h < 2; h++) {
                double u = abias[h];
                for (int i = 0; i < H * W * CI; i++)
                    u += a[h * CI + i % CI] * x[n * H * W * CI + i] / (H * W);
                z += b[c * 2 + h] * u * logistic(u);
            }
            for (int p = 0; p < H * W; p++) {
                int i = (n * H * W + p) * CI + c;
                BK_ASSERT_CLOSE(value(y, i), x[i] * logistic(z), 1e-13);
            }
        }
    CU_ASSERT_EQUAL(bk_forward_se(&r.f, expand, reduce, BK_ACT_SILU, in, &y, &err), BK_ESHAPE);
    rig_close(&r);
}

/* Whole images vanish or double; evaluation leaves x alone. */
static void test_drop_path(void)
{
    struct bk_tensor *x, *y = NULL;
    int zeros = 0;
    struct rig r;

    rig_open(&r, BK_F64);
    x = image(&r, CI, 0);
    BK_ASSERT_OK(bk_forward_drop_path(&r.f, 1, 0.5, x, &y, &err));
    CU_ASSERT_PTR_EQUAL(y, x);
    r.f.training = true;
    r.f.seed = 4;
    BK_ASSERT_OK(bk_forward_drop_path(&r.f, 1, 0, x, &y, &err));
    CU_ASSERT_PTR_EQUAL(y, x);
    for (r.f.step = 0; r.f.step < 100; r.f.step++) {
        BK_ASSERT_OK(bk_forward_drop_path(&r.f, 1, 0.5, x, &y, &err));
        for (int n = 0; n < N; n++) {
            int at = n * H * W * CI;
            bool zero = value(y, at) == 0;
            for (int i = at; i < at + H * W * CI; i++)
                CU_ASSERT_EQUAL(value(y, i), zero ? 0 : 2 * value(x, i));
            zeros += zero;
        }
    }
    BK_ASSERT_CLOSE(zeros, 150, 5 * sqrt(300 * 0.25));
    BK_ASSERT_OK(bk_forward_dropout(&r.f, 1, 0.5, x, &y, &err));
    zeros = 0;
    for (int i = 0; i < N * H * W * CI; i++)
        zeros += value(y, i) == 0;
    BK_ASSERT_CLOSE(zeros, 120, 5 * sqrt(240 * 0.25));
    rig_close(&r);
}

BK_SUITE({ "slimmable convolution", test_slim_conv }, { "at full size", test_slim_conv_full },
         { "gradient of a slice", test_slim_gradient },
         { "statistics of the set", test_statistics_of_the_set },
         { "statistics of a store", test_statistics_of_a_store }, { "linear", test_linear },
         { "pooled head", test_pooled_head }, { "bf16", test_bf16 }, { "squeeze and excitation", test_se },
         { "drop path", test_drop_path })

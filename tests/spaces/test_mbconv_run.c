/*
 * MBConv networks against a plain composition written here from the definition of the layers, in double, on the `ref` device in
 * f64: the supernet with its shared skips, also where a map is odd or only the map changes, and the stand-alone network with
 * EfficientNet's residuals. A whole training step is compared with PyTorch in tests/trainers/test_mbconv_step.c.
 */
#include "plain_maps.h"

static struct map silu(struct map x)
{
    struct map y = new_map(x.n, x.h, x.w, x.c);
    for (size_t i = 0; i < (size_t)x.n * x.h * x.w * x.c; i++)
        y.v[i] = x.v[i] / (1 + exp(-x.v[i]));
    return y;
}

static int width_of(struct bk_weights *w, const char *conv_name)
{
    char full[96];
    snprintf(full, sizeof full, "%s.weight", conv_name);
    int32_t id = bk_net_find(bk_weights_net(w), full);
    return id < 0 ? 0 : (int)bk_weights_net(w)->slot[id].dim[0];
}

/* "<layer>.<part>" and its norm; x itself when there is no such convolution. */
static struct map conv_norm(struct bk_weights *w, const char *layer, const char *part, struct map x, int stride, bool act)
{
    char name[64], norm_name[72];
    snprintf(name, sizeof name, "%s%s%s", layer, *part ? "." : "", part);
    snprintf(norm_name, sizeof norm_name, "%s.norm", name);
    int co = width_of(w, name);
    if (!co)
        return x;
    struct map y = norm(w, norm_name, conv(w, name, x, co, stride));
    return act ? silu(y) : y;
}

static struct map excited(struct bk_weights *w, const char *layer, struct map x)
{
    char name[64];
    snprintf(name, sizeof name, "%s.squeeze", layer);
    if (bk_net_find(bk_weights_net(w), strcat(name, ".weight")) < 0)
        return x;
    snprintf(name, sizeof name, "%s.squeeze", layer);
    struct map s = silu(linear(w, name, pooled(x)));
    snprintf(name, sizeof name, "%s.excite", layer);
    s = linear(w, name, s);
    struct map y = new_map(x.n, x.h, x.w, x.c);
    for (int n = 0; n < x.n; n++)
        for (int p = 0; p < x.h * x.w; p++)
            for (int c = 0; c < x.c; c++) {
                size_t i = ((size_t)n * x.h * x.w + p) * x.c + c;
                y.v[i] = x.v[i] / (1 + exp(-s.v[n * x.c + c]));
            }
    return y;
}

static struct map branch(struct bk_weights *w, const char *layer, struct map x, int stride)
{
    x = conv_norm(w, layer, "expand", x, 1, true);
    x = conv_norm(w, layer, "depthwise", x, stride, true);
    return conv_norm(w, layer, "project", excited(w, layer, x), 1, false);
}

/* Average of the pixels that are there, 2x2 with stride 2. */
static struct map half_up(struct map x)
{
    struct map y = new_map(x.n, (x.h + 1) / 2, (x.w + 1) / 2, x.c);
    for (int n = 0; n < x.n; n++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int c = 0; c < x.c; c++) {
                    int taps = 0;
                    double sum = 0;
                    for (int a = 2 * i; a < 2 * i + 2 && a < x.h; a++)
                        for (int b = 2 * j; b < 2 * j + 2 && b < x.w; b++, taps++)
                            sum += at(x, n, a, b)[c];
                    at(y, n, i, j)[c] = sum / taps;
                }
    return y;
}

/* Maps of 19, 10 (stem), 5, 3, 2: block 1 changes width and an odd map, block 2 the map alone. */
static const char *const small[] = { "widths=[4,6,6]", "depths=[1,2,2]", "strides=[2,2,2]", "ops=[35,63,13]", "se=true",
                                     NULL };
static const char *const small_plain[] = { "widths=[4,6,6]", "depths=[1,2,2]", "strides=[2,2,2]", "ops=[35,63,13]", "se=false",
                                           NULL };
enum { SIDE = 19 };
static const int depth[3] = { 1, 2, 2 }, width[3] = { 4, 6, 6 };

static void check_supernet(struct setup *s, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_forward f = forward_of(s, 0);
    struct bk_arch arch;
    struct bk_tensor *y = s->images, *p;
    char name[64];
    BK_ASSERT_OK(bk_space_parse(&s->space, text, &arch, &err));
    struct map m = branch(s->w, "block0.stem", conv_norm(s->w, "block0.stem", "", s->x, 2, true), 1);
    for (int k = 0; k < 3; k++) {
        for (int l = 0; l < depth[k]; l++) {
            int stride = l ? 1 : 2;
            snprintf(name, sizeof name, "block%d.layer%d", k, l);
            struct map skip = conv_norm(s->w, name, "skip", stride == 2 ? half_up(m) : m, 1, false);
            snprintf(name, sizeof name, "block%d.layer%d.op%d", k, l, arch.block[k].op[l]);
            m = add(branch(s->w, name, m, stride), skip);
        }
        BK_ASSERT_OK(bk_space_run_block(&s->space, &f, k, 0, &arch.block[k], y, &y, &err));
        CU_ASSERT_EQUAL(y->dim[3], width[k]);
        check_equal(y, m);
        BK_ASSERT_OK(s->space.iface->pool(s->space.state, &f, k, &arch.block[k], y, &p, &err));
        check_equal(p, pooled(m));
    }
    bk_tape_reset(s->tape);
}

static void test_supernet(void)
{
    struct bk_error err = BK_ERROR_INIT;
    for (int se = 0; se < 2; se++) {
        struct setup s;
        set_up(&s, "mbconv", se ? small : small_plain, SIDE);
        BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
        make_weights(&s);
        check_supernet(&s, "0 12 01");
        check_supernet(&s, "2 01 20");
        check_supernet(&s, "1 20 12");
        tear_down(&s);
    }
}

static void run_alone(struct setup *s, struct bk_forward *f, const struct bk_arch *arch, struct bk_tensor **y)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(s->space.iface->alone_run(s->space.state, f, arch, 4, s->images, y, &err));
}

static void check_alone(struct setup *s, const struct bk_arch *arch)
{
    struct bk_forward f = forward_of(s, 0);
    struct bk_tensor *y;
    char name[32] = "layer0";
    int i = 1;
    struct map m = branch(s->w, name, conv_norm(s->w, "stem", "", s->x, 2, true), 1);
    for (int k = 0; k < 3; k++)
        for (int l = 0; l < depth[k]; l++) {
            snprintf(name, sizeof name, "layer%d", i++);
            struct map b = branch(s->w, name, m, l ? 1 : 2);
            m = l ? add(b, m) : b;
        }
    snprintf(name, sizeof name, "layer%d", i);
    m = branch(s->w, name, m, 1);
    CU_ASSERT_EQUAL(m.c, 320);
    m = pooled(conv_norm(s->w, "head", "", m, 1, true));
    CU_ASSERT_EQUAL(m.c, 1280);
    run_alone(s, &f, arch, &y);
    check_equal(y, linear(s->w, "classifier", m));
}

static void test_alone(void)
{
    static const char *const archs[] = { "0 12 01", "2 20 12" };
    struct bk_error err = BK_ERROR_INIT;
    for (int i = 0; i < 4; i++) {
        struct setup s;
        struct bk_arch arch;
        set_up(&s, "mbconv", i & 1 ? small : small_plain, SIDE);
        BK_ASSERT_OK(bk_space_parse(&s.space, archs[i / 2], &arch, &err));
        BK_ASSERT_OK(s.space.iface->alone(s.space.state, &arch, 4, &s.net, &err));
        make_weights(&s);
        check_alone(&s, &arch);
        tear_down(&s);
    }
}

static double distance(struct bk_tensor *a, struct bk_tensor *b)
{
    struct bk_error err = BK_ERROR_INIT;
    double va[8], vb[8], most = 0;
    CU_ASSERT_EQUAL_FATAL(bk_tensor_numel(a), 8);
    BK_ASSERT_OK(bk_tensor_read_f64(a, va, &err));
    BK_ASSERT_OK(bk_tensor_read_f64(b, vb, &err));
    for (int i = 0; i < 8; i++)
        most = fmax(most, fabs(va[i] - vb[i]));
    return most;
}

/* Dropout and stochastic depth: in training alone, a function of (seed, step), and off at probability 0. */
static void test_training_noise(void)
{
    static const char *const noise[] = { "dropout=0.5", "drop_path=0.9", "drop_path=0.0" };
    struct bk_error err = BK_ERROR_INIT;
    for (int i = 0; i < 3; i++) {
        struct setup s;
        struct bk_arch arch;
        struct bk_tensor *still, *one, *again, *other;
        set_up(&s, "mbconv", OPTIONS("widths=[4,6,6]", "depths=[1,2,2]", "strides=[2,2,2]", i ? "dropout=0.0" : "drop_path=0.0", noise[i]), SIDE);
        BK_ASSERT_OK(bk_space_parse(&s.space, "0 12 01", &arch, &err));
        BK_ASSERT_OK(s.space.iface->alone(s.space.state, &arch, 4, &s.net, &err));
        make_weights(&s);
        struct bk_forward f = forward_of(&s, 0);
        f.seed = 5;
        run_alone(&s, &f, &arch, &still);
        f.training = true;
        run_alone(&s, &f, &arch, &one);
        run_alone(&s, &f, &arch, &again);
        f.step = 9;
        run_alone(&s, &f, &arch, &other);
        CU_ASSERT_EQUAL(distance(one, again), 0);
        CU_ASSERT_EQUAL(distance(one, other) > 0, i < 2);
        CU_ASSERT_EQUAL(distance(one, still) > 0, i < 2);
        tear_down(&s);
    }
}

/* The maps of whole supernets: convolutions of stride 2 and pooled skips agree at every size, odd maps included. */
static void test_sizes(void)
{
    static const int side[][6] = { { 32, 8, 4, 2, 2, 1 },   { 64, 16, 8, 4, 4, 2 },    { 96, 24, 12, 6, 6, 3 },
                                   { 112, 28, 14, 7, 7, 4 }, { 160, 40, 20, 10, 10, 5 }, { 224, 56, 28, 14, 14, 7 } };
    struct bk_error err = BK_ERROR_INIT;
    for (size_t i = 0; i < BK_ARRAY_LEN(side); i++) {
        struct setup s;
        struct bk_arch arch;
        set_up(&s, "mbconv", OPTIONS("depths=[1,1,1,1,1]", "ops=[13,15]"), side[i][0]);
        BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
        make_weights(&s);
        struct bk_forward f = forward_of(&s, 0);
        struct bk_tensor *x = s.images;
        bk_tape_set_recording(s.tape, false);
        BK_ASSERT_OK(bk_space_parse(&s.space, "01010", &arch, &err));
        for (int k = 0; k < 5; k++) {
            BK_ASSERT_OK(bk_space_run_block(&s.space, &f, k, 0, &arch.block[k], x, &x, &err));
            CU_ASSERT_EQUAL(x->dim[1], side[i][k + 1]);
            CU_ASSERT_EQUAL(x->dim[2], side[i][k + 1]);
        }
        tear_down(&s);
    }
}

static void test_refusals(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_tensor *y;
    struct bk_path path = { 1, { 3 } };
    struct setup s;
    set_up(&s, "mbconv", small, SIDE);
    BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
    make_weights(&s);
    struct bk_forward f = forward_of(&s, 0);
    CU_ASSERT_EQUAL(s.space.iface->layer(s.space.state, &f, 0, 0, &path, s.images, &y, &err), BK_EINVAL);
    path.op[0] = 0;
    CU_ASSERT_EQUAL(s.space.iface->layer(s.space.state, &f, 1, 0, &path, s.images, &y, &err), BK_ESHAPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "4 channels"));
    CU_ASSERT_EQUAL(s.space.iface->supernet(s.space.state, &s.net, &err), BK_ESTATE);
    tear_down(&s);
}

BK_SUITE({ "supernet", test_supernet }, { "stand-alone network", test_alone }, { "dropout and stochastic depth", test_training_noise },
         { "sizes", test_sizes }, { "refusals", test_refusals })

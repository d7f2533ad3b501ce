/*
 * NATS-SS networks against a plain composition written here from the definition of the cells, in double: unfused
 * ReLU, convolution with explicitly sliced kernels, batch norm with its own statistics. On the `ref` device in f64.
 */
#include "method_fixture.h"
#include <bosskit/backend.h>

/* ---- the plain composition --------------------------------------------------------------------------- */

struct map {
    int n, h, w, c;
    double *v;
};

/* Everything the composition makes lives until tear_down(). */
static void *pool[65536];
static int n_pool;

static void *pool_get(size_t n)
{
    CU_ASSERT_FATAL(n_pool < (int)BK_ARRAY_LEN(pool));
    return pool[n_pool++] = calloc(n, 1);
}

static struct map new_map(int n, int h, int w, int c)
{
    struct map m = { n, h, w, c, pool_get((size_t)n * h * w * c * sizeof(double)) };
    return m;
}

static double *at(struct map m, int n, int y, int x)
{
    return m.v + ((size_t)(n * m.h + y) * m.w + x) * m.c;
}

struct values {
    double *v;
    int64_t dim[4];
};

static struct values read_slot(struct bk_weights *w, const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t id = bk_net_find(bk_weights_net(w), name);
    if (id < 0)
        printf("\n    no slot '%s'\n", name);
    CU_ASSERT_FATAL(id >= 0);
    struct bk_tensor *t = bk_weights_get(w, id);
    struct values r = { pool_get((size_t)bk_tensor_numel(t) * sizeof(double)), { 0, 0, 0, 0 } };
    memcpy(r.dim, t->dim, sizeof r.dim);
    BK_ASSERT_OK(bk_tensor_read_f64(t, r.v, &err));
    return r;
}

static struct map relu(struct map x)
{
    struct map y = new_map(x.n, x.h, x.w, x.c);
    for (size_t i = 0; i < (size_t)x.n * x.h * x.w * x.c; i++)
        y.v[i] = x.v[i] > 0 ? x.v[i] : 0;
    return y;
}

static struct map add(struct map a, struct map b)
{
    struct map y = new_map(a.n, a.h, a.w, a.c);
    for (size_t i = 0; i < (size_t)a.n * a.h * a.w * a.c; i++)
        y.v[i] = a.v[i] + b.v[i];
    return y;
}

/* kernel[0:co, :, :, 0:x.c] of "<name>.weight" */
static struct map conv(struct bk_weights *w, const char *name, struct map x, int co, int stride)
{
    char full[96];
    snprintf(full, sizeof full, "%s.weight", name);
    struct values k = read_slot(w, full);
    int size = (int)k.dim[1], pad = size / 2;
    struct map y = new_map(x.n, x.h / stride, x.w / stride, co);
    for (int n = 0; n < y.n; n++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int o = 0; o < co; o++)
                    for (int a = 0; a < size; a++)
                        for (int b = 0; b < size; b++) {
                            int yy = i * stride + a - pad, xx = j * stride + b - pad;
                            for (int c = 0; c < x.c && yy >= 0 && yy < x.h && xx >= 0 && xx < x.w; c++)
                                at(y, n, i, j)[o] +=
                                    at(x, n, yy, xx)[c] * k.v[((o * size + a) * size + b) * k.dim[3] + c];
                        }
    return y;
}

static struct map norm(struct bk_weights *w, const char *name, struct map x)
{
    char full[96];
    snprintf(full, sizeof full, "%s.scale", name);
    struct values g = read_slot(w, full);
    snprintf(full, sizeof full, "%s.offset", name);
    struct values b = read_slot(w, full);
    struct map y = new_map(x.n, x.h, x.w, x.c);
    size_t rows = (size_t)x.n * x.h * x.w;
    CU_ASSERT_EQUAL_FATAL(g.dim[0], x.c);
    for (int c = 0; c < x.c; c++) {
        double mean = 0, var = 0;
        for (size_t r = 0; r < rows; r++)
            mean += x.v[r * x.c + c] / rows;
        for (size_t r = 0; r < rows; r++)
            var += (x.v[r * x.c + c] - mean) * (x.v[r * x.c + c] - mean) / rows;
        for (size_t r = 0; r < rows; r++)
            y.v[r * x.c + c] = (x.v[r * x.c + c] - mean) / sqrt(var + 1e-5) * g.v[c] + b.v[c];
    }
    return y;
}

static struct map half(struct map x)
{
    struct map y = new_map(x.n, x.h / 2, x.w / 2, x.c);
    for (int n = 0; n < y.n; n++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int c = 0; c < y.c; c++)
                    at(y, n, i, j)[c] = (at(x, n, 2 * i, 2 * j)[c] + at(x, n, 2 * i + 1, 2 * j)[c] +
                                         at(x, n, 2 * i, 2 * j + 1)[c] + at(x, n, 2 * i + 1, 2 * j + 1)[c]) / 4;
    return y;
}

/* Names of the norm of a position: "<conv>.norm<width>" in the supernet, "<conv>.norm" alone. */
static struct map conv_norm(struct bk_weights *w, bool alone, const char *name, struct map x, int co, int stride)
{
    char full[96];
    if (alone)
        snprintf(full, sizeof full, "%s.norm", name);
    else
        snprintf(full, sizeof full, "%s.norm%d", name, co);
    return norm(w, full, conv(w, name, x, co, stride));
}

static struct map f_of(struct bk_weights *w, bool alone, const char *cell, const char *f, struct map x, int co, int stride)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", cell, f);
    return conv_norm(w, alone, name, relu(x), co, stride);
}

static struct map plain_cell(struct bk_weights *w, bool alone, const char *cell, bool reduction, struct map n0, int co)
{
    char name[96];
    if (reduction) {
        struct map a = f_of(w, alone, cell, "conv_a", n0, co, 2), b = f_of(w, alone, cell, "conv_b", a, co, 1);
        snprintf(name, sizeof name, "%s.shortcut", cell);
        return add(conv(w, name, half(n0), co, 1), b);
    }
    struct map n1 = f_of(w, alone, cell, "f1", n0, co, 1);
    struct map n2 = add(f_of(w, alone, cell, "f2", n0, co, 1), f_of(w, alone, cell, "f3", n1, co, 1));
    struct map skip = n0;
    snprintf(name, sizeof name, "%s.skip", cell);
    if (n0.c != co)
        skip = conv_norm(w, alone, name, alone ? n0 : relu(n0), co, 1);
    return add(skip, add(f_of(w, alone, cell, "f4", n1, co, 1), f_of(w, alone, cell, "f5", n2, co, 1)));
}

static struct map pooled(struct map x)
{
    struct map y = new_map(x.n, 1, 1, x.c);
    for (int n = 0; n < x.n; n++)
        for (int p = 0; p < x.h * x.w; p++)
            for (int c = 0; c < x.c; c++)
                y.v[n * x.c + c] += x.v[((size_t)n * x.h * x.w + p) * x.c + c] / (x.h * x.w);
    return y;
}

/* ---- the tests ------------------------------------------------------------------------------------------ */

struct setup {
    struct fixture f;
    struct bk_space space;
    struct bk_device *device;
    struct bk_tape *tape;
    struct bk_net net;
    struct bk_weights *w;
    struct bk_tensor *images;
    struct map x;
};

/* Scales and offsets away from 1 and 0, different in every norm, so that a wrong choice shows. */
static void shake_norms(struct bk_weights *w)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_net *net = bk_weights_net(w);
    for (int32_t i = 0; i < net->n; i++) {
        if (net->slot[i].role != BK_ROLE_NORM_SCALE && net->slot[i].role != BK_ROLE_NORM_OFFSET)
            continue;
        double v[64];
        for (int64_t c = 0; c < net->slot[i].dim[0]; c++)
            v[c] = 0.7 + 0.6 * sin(1.7 * i + 0.9 * (double)c);
        BK_ASSERT_OK(bk_tensor_write_f64(bk_weights_get(w, i), v, &err));
    }
    bk_weights_changed(w);
}

static void set_up(struct setup *s)
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t dim[4] = { 2, 8, 8, 3 };
    memset(s, 0, sizeof *s);
    fixture_open(&s->f);
    fixture_space(&s->f, "nats_ss", OPTIONS("widths=[2,3,5]", "pooled_width=7"), &s->space);
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &s->device, &err));
    BK_ASSERT_OK(bk_tape_new(s->device, &s->tape, &err));
    BK_ASSERT_OK(bk_tensor_new(s->device, BK_F64, 4, dim, &s->images, &err));
    s->x = new_map(2, 8, 8, 3);
    for (int i = 0; i < 2 * 8 * 8 * 3; i++)
        s->x.v[i] = sin(0.37 * i) + 0.3 * cos(1.9 * i);
    BK_ASSERT_OK(bk_tensor_write_f64(s->images, s->x.v, &err));
}

static void make_weights(struct setup *s)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_weights_new(s->device, &s->net, BK_F64, &s->w, &err));
    BK_ASSERT_OK(bk_weights_init(s->w, 3, &err));
    shake_norms(s->w);
}

static struct bk_forward forward_of(struct setup *s, double momentum)
{
    return (struct bk_forward){ .tape = s->tape, .weights = s->w, .dtype = BK_F64, .norm_mode = BK_NORM_BATCH,
                                .norm_momentum = momentum, .norm_eps = 1e-5 };
}

static void tear_down(struct setup *s)
{
    bk_weights_free(s->w);
    bk_net_release(&s->net);
    bk_tensor_free(s->images);
    bk_tape_free(s->tape);
    bk_device_close(s->device);
    fixture_close(&s->f);
    while (n_pool)
        free(pool[--n_pool]);
}

static void check_equal(struct bk_tensor *y, struct map wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    size_t n = (size_t)wanted.n * wanted.h * wanted.w * wanted.c;
    CU_ASSERT_EQUAL_FATAL(bk_tensor_numel(y), (int64_t)n);
    double *v = malloc(n * sizeof *v), worst = 0;
    BK_ASSERT_OK(bk_tensor_read_f64(y, v, &err));
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(v[i] - wanted.v[i]));
    if (!(worst < 1e-9))
        printf("\n    largest difference %g\n", worst);
    CU_ASSERT(worst < 1e-9);
    free(v);
}

/* All three blocks in a row along `text`, block outputs and pooled outputs. */
static void check_supernet(struct setup *s, const char *text)
{
    static const int first[4] = { 0, 2, 4, 5 }, width[3] = { 2, 3, 5 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_forward f = forward_of(s, 0);
    struct bk_arch arch;
    BK_ASSERT_OK(bk_space_parse(&s->space, text, &arch, &err));
    struct bk_tensor *y = s->images, *p;
    int entry = 0;
    struct map m = conv_norm(s->w, false, "block0.stem", s->x, width[arch.block[0].op[0]], 1);
    for (int k = 0; k < 3; k++) {
        char name[64];
        BK_ASSERT_OK(bk_space_run_block(&s->space, &f, k, entry, &arch.block[k], y, &y, &err));
        for (int l = 0; l < arch.block[k].n; l++) {
            int g = first[k] + l;
            snprintf(name, sizeof name, "block%d.cell%d", k, g);
            m = plain_cell(s->w, false, name, g == 1 || g == 3, m, width[arch.block[k].op[l]]);
        }
        check_equal(y, m);
        int c = width[arch.block[k].op[arch.block[k].n - 1]];
        BK_ASSERT_OK(s->space.iface->pool(s->space.state, &f, k, &arch.block[k], y, &p, &err));
        snprintf(name, sizeof name, "adapter%d.width%d", k, c);
        check_equal(p, pooled(conv_norm(s->w, true, name, m, 7, 1)));
        entry = s->space.iface->exit(s->space.state, k, entry, &arch.block[k]);
    }
    bk_tape_reset(s->tape);
}

static void test_supernet(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct setup s;
    set_up(&s);
    BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
    make_weights(&s);
    check_supernet(&s, "5:5:5:5:5");    /* full width: nothing is sliced */
    check_supernet(&s, "2:5:3:2:3");
    check_supernet(&s, "3:3:3:5:5");
    check_supernet(&s, "5:2:5:3:2");
    tear_down(&s);
}

static void test_other_norms_stay(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct setup s;
    struct bk_path path = { 2, { 0, 2 } };
    struct bk_tensor *y;
    set_up(&s);
    BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
    make_weights(&s);
    struct bk_forward f = forward_of(&s, 0.1);
    BK_ASSERT_OK(bk_space_run_block(&s.space, &f, 0, 0, &path, s.images, &y, &err));
    int moved = 0;
    for (int32_t i = 0; i < s.net.n; i++) {
        const struct bk_slot *slot = &s.net.slot[i];
        if (slot->role != BK_ROLE_RUNNING_VAR || slot->part != BK_PART_BACKBONE)
            continue;
        double v[64];
        BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(s.w, i), v, &err));
        bool used = strstr(slot->name, "block0.stem.norm2.") || strstr(slot->name, "cell0.f") || strstr(slot->name, "cell1.conv");
        used = used && (strstr(slot->name, "cell1") ? strstr(slot->name, ".norm5.") : strstr(slot->name, ".norm2."));
        bool changed = false;
        for (int64_t c = 0; c < slot->dim[0]; c++)
            changed |= v[c] != 1;
        CU_ASSERT_EQUAL(changed, used);
        moved += changed;
    }
    CU_ASSERT_EQUAL(moved, 1 + 5 + 2);
    tear_down(&s);
}

static void test_alone(void)
{
    static const char *const archs[] = { "5:5:5:5:5", "2:5:3:2:3", "3:3:2:5:5" };
    struct bk_error err = BK_ERROR_INIT;
    for (size_t a = 0; a < BK_ARRAY_LEN(archs); a++) {
        struct setup s;
        struct bk_arch arch;
        struct bk_tensor *y;
        int c[5];
        set_up(&s);
        BK_ASSERT_OK(bk_space_parse(&s.space, archs[a], &arch, &err));
        BK_ASSERT_OK(s.space.iface->alone(s.space.state, &arch, 4, &s.net, &err));
        make_weights(&s);
        struct bk_forward f = forward_of(&s, 0);
        BK_ASSERT_OK(s.space.iface->alone_run(s.space.state, &f, &arch, 4, s.images, &y, &err));
        CU_ASSERT_EQUAL_FATAL(sscanf(archs[a], "%d:%d:%d:%d:%d", &c[0], &c[1], &c[2], &c[3], &c[4]), 5);
        struct map m = norm(s.w, "stem.norm", conv(s.w, "stem", s.x, c[0], 1));
        for (int g = 0; g < 5; g++) {
            char name[16];
            snprintf(name, sizeof name, "cell%d", g);
            m = plain_cell(s.w, true, name, g == 1 || g == 3, m, c[g]);
        }
        m = pooled(relu(norm(s.w, "head.norm", m)));
        struct values k = read_slot(s.w, "classifier.weight"), b = read_slot(s.w, "classifier.bias");
        struct map logits = new_map(2, 1, 1, 4);
        for (int n = 0; n < 2; n++)
            for (int o = 0; o < 4; o++) {
                logits.v[n * 4 + o] = b.v[o];
                for (int i = 0; i < c[4]; i++)
                    logits.v[n * 4 + o] += k.v[o * c[4] + i] * m.v[n * c[4] + i];
            }
        check_equal(y, logits);
        double bound = 1 / sqrt(c[4]), most = 0;
        for (int i = 0; i < 4; i++)
            most = fmax(most, fabs(b.v[i]));
        CU_ASSERT(most > 0 && most <= bound);
        tear_down(&s);
    }
}

BK_SUITE({ "supernet", test_supernet }, { "norms of other widths stay", test_other_norms_stay },
         { "stand-alone network", test_alone })

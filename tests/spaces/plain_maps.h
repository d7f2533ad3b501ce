/*
 * tests/spaces/plain_maps.h: networks written out in double: images as arrays, convolution by the definition, batch norm with
 * its own statistics. Tests of spaces compose their networks of it, independently of the engine, and compare on the `ref` device
 * in f64. Not a test itself.
 */
#ifndef BK_TESTS_PLAIN_MAPS_H
#define BK_TESTS_PLAIN_MAPS_H

#include "method_fixture.h"
#include <bosskit/backend.h>

struct map {
    int n, h, w, c;
    double *v;
};

/* Everything the composition makes lives until tear_down(). */
static void *pool[65536];
static int n_pool;

static inline void *pool_get(size_t n)
{
    CU_ASSERT_FATAL(n_pool < (int)BK_ARRAY_LEN(pool));
    return pool[n_pool++] = calloc(n, 1);
}

static inline struct map new_map(int n, int h, int w, int c)
{
    struct map m = { n, h, w, c, pool_get((size_t)n * h * w * c * sizeof(double)) };
    return m;
}

static inline double *at(struct map m, int n, int y, int x)
{
    return m.v + ((size_t)(n * m.h + y) * m.w + x) * m.c;
}

struct values {
    double *v;
    int64_t dim[4];
};

static inline struct values read_slot(struct bk_weights *w, const char *name)
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

static inline struct map relu(struct map x)
{
    struct map y = new_map(x.n, x.h, x.w, x.c);
    for (size_t i = 0; i < (size_t)x.n * x.h * x.w * x.c; i++)
        y.v[i] = x.v[i] > 0 ? x.v[i] : 0;
    return y;
}

static inline struct map add(struct map a, struct map b)
{
    struct map y = new_map(a.n, a.h, a.w, a.c);
    for (size_t i = 0; i < (size_t)a.n * a.h * a.w * a.c; i++)
        y.v[i] = a.v[i] + b.v[i];
    return y;
}

/* kernel[0:co, :, :, 0:x.c] of "<name>.weight"; depthwise when the kernel has one input channel and x has more. */
static inline struct map conv(struct bk_weights *w, const char *name, struct map x, int co, int stride)
{
    char full[96];
    snprintf(full, sizeof full, "%s.weight", name);
    struct values k = read_slot(w, full);
    int size = (int)k.dim[1], pad = size / 2;
    bool depthwise = k.dim[3] == 1 && x.c > 1;
    struct map y = new_map(x.n, (x.h + stride - 1) / stride, (x.w + stride - 1) / stride, co);
    for (int n = 0; n < y.n; n++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int o = 0; o < co; o++)
                    for (int a = 0; a < size; a++)
                        for (int b = 0; b < size; b++) {
                            int yy = i * stride + a - pad, xx = j * stride + b - pad;
                            for (int c = depthwise ? o : 0; c < (depthwise ? o + 1 : x.c) && yy >= 0 && yy < x.h && xx >= 0 && xx < x.w; c++)
                                at(y, n, i, j)[o] +=
                                    at(x, n, yy, xx)[c] * k.v[((o * size + a) * size + b) * k.dim[3] + (depthwise ? 0 : c)];
                        }
    return y;
}

static inline struct map norm(struct bk_weights *w, const char *name, struct map x)
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

static inline struct map pooled(struct map x)
{
    struct map y = new_map(x.n, 1, 1, x.c);
    for (int n = 0; n < x.n; n++)
        for (int p = 0; p < x.h * x.w; p++)
            for (int c = 0; c < x.c; c++)
                y.v[n * x.c + c] += x.v[((size_t)n * x.h * x.w + p) * x.c + c] / (x.h * x.w);
    return y;
}

/* Linear map "<name>.weight", "<name>.bias" of a map of one position. */
static inline struct map linear(struct bk_weights *w, const char *name, struct map x)
{
    char full[96];
    snprintf(full, sizeof full, "%s.weight", name);
    struct values k = read_slot(w, full);
    snprintf(full, sizeof full, "%s.bias", name);
    struct values b = read_slot(w, full);
    struct map y = new_map(x.n, 1, 1, (int)k.dim[0]);
    for (int n = 0; n < x.n; n++)
        for (int o = 0; o < y.c; o++) {
            y.v[n * y.c + o] = b.v[o];
            for (int i = 0; i < x.c; i++)
                y.v[n * y.c + o] += k.v[o * x.c + i] * x.v[n * x.c + i];
        }
    return y;
}

/* ---- the engine's side ----------------------------------------------------------------------------------- */

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
static inline void shake_norms(struct bk_weights *w)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_net *net = bk_weights_net(w);
    for (int32_t i = 0; i < net->n; i++) {
        if (net->slot[i].role != BK_ROLE_NORM_SCALE && net->slot[i].role != BK_ROLE_NORM_OFFSET)
            continue;
        double v[4096];
        for (int64_t c = 0; c < net->slot[i].dim[0]; c++)
            v[c] = 0.7 + 0.6 * sin(1.7 * i + 0.9 * (double)c);
        BK_ASSERT_OK(bk_tensor_write_f64(bk_weights_get(w, i), v, &err));
    }
    bk_weights_changed(w);
}

/* Two images of side x side pixels. */
static inline void set_up(struct setup *s, const char *space, const char *const *options, int side)
{
    struct bk_error err = BK_ERROR_INIT;
    int64_t dim[4] = { 2, side, side, 3 };
    memset(s, 0, sizeof *s);
    fixture_open(&s->f);
    fixture_space(&s->f, space, options, &s->space);
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &s->device, &err));
    BK_ASSERT_OK(bk_tape_new(s->device, &s->tape, &err));
    BK_ASSERT_OK(bk_tensor_new(s->device, BK_F64, 4, dim, &s->images, &err));
    s->x = new_map(2, side, side, 3);
    for (int i = 0; i < 2 * side * side * 3; i++)
        s->x.v[i] = sin(0.37 * i) + 0.3 * cos(1.9 * i);
    BK_ASSERT_OK(bk_tensor_write_f64(s->images, s->x.v, &err));
}

static inline void make_weights(struct setup *s)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_weights_new(s->device, &s->net, BK_F64, &s->w, &err));
    BK_ASSERT_OK(bk_weights_init(s->w, 3, &err));
    shake_norms(s->w);
}

static inline struct bk_forward forward_of(struct setup *s, double momentum)
{
    return (struct bk_forward){ .tape = s->tape, .weights = s->w, .dtype = BK_F64, .norm_mode = BK_NORM_BATCH,
                                .norm_momentum = momentum, .norm_eps = 1e-5 };
}

static inline void tear_down(struct setup *s)
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

static inline void check_equal(struct bk_tensor *y, struct map wanted)
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

#endif
